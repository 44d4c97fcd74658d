"""Where a setup keeps its calibrations.

An emulated chip has no such file and needs none: its calibration is nominal, or measured by
:func:`lavalike.bss2.calibrate`. The paths are told all the same, so that a program that loads them
runs; an EmulatedChipWarning says that the nominal one is used.
"""

from __future__ import annotations

from pathlib import Path

from lavalike.arguments import TEXT, arguments
from lavalike.bss2.chip.calibration import NIGHTLY
from lavalike.bss2.hxtorch.connection import get_unique_identifier


def _nightly(name: str, kind: str) -> Path:
    return Path(NIGHTLY) / get_unique_identifier() / "stable" / "latest" / f"{name}_{kind}"


@arguments(name=TEXT)
def nightly_calib_path(name: str = "spiking") -> Path:
    """Of last night's calibration of the chip in use, "spiking" or "hagen". NoChipError without
    one."""
    return _nightly(name, "cocolist.pbin")


@arguments(name=TEXT)
def nightly_calix_native_path(name: str = "spiking") -> Path:
    """The same in calix's own form."""
    return _nightly(name, "calix-native.pkl")
