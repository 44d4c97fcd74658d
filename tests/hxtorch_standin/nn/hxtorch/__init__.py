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
from tests.hxtorch_standin.connection import (
    CalibrationPath as CalibrationPath,
    HWDBPath as HWDBPath,
    get_unique_identifier as get_unique_identifier,
    init_hardware as init_hardware,
    init_hardware_minimal as init_hardware_minimal,
    release_hardware as release_hardware,
)

from . import nn as nn
