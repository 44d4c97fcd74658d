"""BrainScaleS-2: the chip, emulated at several levels or real, and hxtorch's names on top.

    from lavalike import bss2
    with bss2.use(bss2.Chip(seed=3)):
        y = model(x)                       # a model of bss2.perceptron.nn layers

``import lavalike.bss2 as hxtorch`` runs programs written for hxtorch. No chip has run this code: what is said of levels other than
"hardware" is emulated.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lavalike.bss2 import facts as facts
from lavalike.bss2.chip import LEVELS as LEVELS, Chip as Chip, Noise as Noise, current_chip as current_chip, use as use
from lavalike.bss2.connection import (
    CalibrationPath as CalibrationPath,
    EmulatedChipWarning as EmulatedChipWarning,
    HWDBPath as HWDBPath,
    get_unique_identifier as get_unique_identifier,
    init_hardware as init_hardware,
    init_hardware_minimal as init_hardware_minimal,
    release_hardware as release_hardware,
)
from lavalike.bss2.errors import (
    CalibrationError as CalibrationError,
    NoChipError as NoChipError,
    OperandError as OperandError,
    RangeError as RangeError,
    RecordingError as RecordingError,
    RoutingError as RoutingError,
)

if TYPE_CHECKING:
    from lavalike.bss2 import perceptron as perceptron, snn as snn, spiking as spiking
    from lavalike.bss2.calibration import Calibration as Calibration, calibrate as calibrate
    from lavalike.bss2.placement import Placement as Placement, place as place

# loaded on first use: they need torch
_MODULES = {"perceptron": "perceptron", "ann": "perceptron", "nn": "perceptron.nn",
            "spiking": "spiking", "snn": "snn", "hardware": "hardware"}
_NAMES = {"Calibration": "calibration", "calibrate": "calibration", "Placement": "placement", "place": "placement"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"lavalike.bss2.{_MODULES[name]}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"lavalike.bss2.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'lavalike.bss2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})
