from tests.hxtorch_standin.arrays import (
    MockParameter as MockParameter,
    add as add,
    argmax as argmax,
    converting_relu as converting_relu,
    get_mock_parameter as get_mock_parameter,
    mac as mac,
    matmul as matmul,
    measure_mock_parameter as measure_mock_parameter,
    relu as relu,
    set_mock_parameter as set_mock_parameter,
)

from . import nn as nn
