"""hxtorch.perceptron's names: matrix products in the chip's synapse array, mock, emulated or real.

What differs from hxtorch: mock parameters are a context's, not a process's; a product keeps its
gain for the backward pass; digital operations need no hardware; :func:`mock_mode` and
:func:`observe` are new.
"""

from lavalike.bss2.perceptron import constants as constants, nn as nn
from lavalike.bss2.perceptron.functional import (
    add as add,
    argmax as argmax,
    conv1d as conv1d,
    conv2d as conv2d,
    converting_relu as converting_relu,
    expanded_conv1d as expanded_conv1d,
    mac as mac,
    matmul as matmul,
    relu as relu,
)
from lavalike.bss2.perceptron.mock import (
    MockParameter as MockParameter,
    get_mock_parameter as get_mock_parameter,
    measure_mock_parameter as measure_mock_parameter,
    mock_mode as mock_mode,
    set_mock_parameter as set_mock_parameter,
)
from lavalike.bss2.perceptron.trace import (
    InferenceTracer as InferenceTracer,
    Observation as Observation,
    inference_trace as inference_trace,
    observe as observe,
)
