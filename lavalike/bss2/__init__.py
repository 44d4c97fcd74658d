"""BrainScaleS-2: the chip, emulated at several levels or real, and hxtorch's names on top.

    from lavalike import bss2
    with bss2.use(bss2.Chip(seed=3)):
        y = model(x)                       # a model of bss2.perceptron.nn layers

``import lavalike.bss2 as hxtorch`` runs programs written for hxtorch,
``sys.modules["hxtorch"] = lavalike.bss2`` those that also import its submodules. No chip has run
this code: what is said of levels other than "hardware" is emulated.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lavalike.bss2.chip import (
    LEVELS as LEVELS,
    Chip as Chip,
    Noise as Noise,
    current_chip as current_chip,
    facts as facts,
    use as use,
)
from lavalike.bss2.errors import (
    CalibrationError as CalibrationError,
    NoChipError as NoChipError,
    OperandError as OperandError,
    RangeError as RangeError,
    RecordingError as RecordingError,
    RoutingError as RoutingError,
)
from lavalike.bss2.hxtorch import aliases
from lavalike.bss2.hxtorch.connection import (
    CalibrationPath as CalibrationPath,
    EmulatedChipWarning as EmulatedChipWarning,
    HWDBPath as HWDBPath,
    get_unique_identifier as get_unique_identifier,
    init_hardware as init_hardware,
    init_hardware_minimal as init_hardware_minimal,
    release_hardware as release_hardware,
)

if TYPE_CHECKING:
    from lavalike.bss2 import (
        ann as ann,
        core as core,
        halco as halco,
        logger as logger,
        nn as nn,
        perceptron as perceptron,
        snn as snn,
        spiking as spiking,
    )
    from lavalike.bss2.chip.calibration import Calibration as Calibration, calibrate as calibrate
    from lavalike.bss2.placement import Placement as Placement, place as place

aliases.install()

# loaded on first use: they need torch
_MODULES = ("perceptron", "ann", "nn", "core", "spiking", "snn", "hardware", "halco", "logger")
_NAMES = {
    "Calibration": "chip.calibration",
    "calibrate": "chip.calibration",
    "Placement": "placement",
    "place": "placement",
}
# hxtorch's oldest spelling has them at the top
_NAMES |= dict.fromkeys(
    (
        "add",
        "argmax",
        "conv1d",
        "conv2d",
        "converting_relu",
        "expanded_conv1d",
        "mac",
        "matmul",
        "relu",
        "MockParameter",
        "get_mock_parameter",
        "measure_mock_parameter",
        "set_mock_parameter",
        "InferenceTracer",
        "inference_trace",
    ),
    "perceptron",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"lavalike.bss2.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"lavalike.bss2.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'lavalike.bss2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})
