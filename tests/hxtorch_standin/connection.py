"""The connection, as strict as one: taken once, let go once."""

from __future__ import annotations

import os
from dataclasses import dataclass

calls: list[tuple] = []
held: list[str] = []


@dataclass
class CalibrationPath:
    value: str


@dataclass
class HWDBPath:
    path: str | None = None
    version: str = "stable/latest"


def _take(*said):
    calls.append(said)
    if held:
        raise RuntimeError("hardware is initialised already")
    if "HXTORCH_STANDIN_CHIP" not in os.environ:
        raise RuntimeError("no executor backend out of environment suitable")
    held.append("hxcube9fpga0chip0_1")


def init_hardware(hwdb_path=None, ann=False):
    if not isinstance(hwdb_path, CalibrationPath | HWDBPath | None):
        raise TypeError("init_hardware(): incompatible function arguments")
    _take("init_hardware", hwdb_path, ann)


def init_hardware_minimal():
    _take("init_hardware_minimal")


def release_hardware():
    calls.append(("release_hardware",))
    if not held:
        raise RuntimeError("hardware is not initialised")
    held.clear()


def get_unique_identifier():
    if not held:
        raise RuntimeError("hardware is not initialised")
    return held[0]
