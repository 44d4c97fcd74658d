"""hxtorch's top-level names for the connection to a chip, over
:func:`lavalike.bss2.current_chip`."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from lavalike.arguments import FLAG, PATH, TEXT, arguments, optional
from lavalike.bss2.chip import Chip, current_chip, set_current
from lavalike.errors import InputTypeError


class EmulatedChipWarning(UserWarning):
    """No chip is connected; an emulated one was taken.

    Causes: ``hxtorch.init_hardware()`` where hxtorch or a chip is missing.
    Remedy: none where emulation is meant; ``bss2.use(bss2.Chip(seed=0))`` says it and does not
    warn.
    """


@arguments(value=PATH)
@dataclass(frozen=True)
class CalibrationPath:
    """Path of a calibration file."""

    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", os.fspath(self.value))


@arguments(path=optional(PATH), version=TEXT)
@dataclass(frozen=True)
class HWDBPath:
    """Path and version of the real setup's hardware database; hxtorch reads it, an emulated chip
    has none."""

    path: str | None = None
    version: str = "stable/latest"


@arguments(ann=FLAG)
def init_hardware(hwdb_path: HWDBPath | CalibrationPath | None = None, ann: bool = False) -> None:
    """Take a chip: the real one where hxtorch is connected to one, else an emulated one, with an
    EmulatedChipWarning.

    It is taken for this context (thread, asyncio task). In another thread take it there as well, or
    run within ``contextvars.copy_context()``.

    Args:
        hwdb_path: for the real chip; or a :class:`CalibrationPath`: of a file written by
            :class:`lavalike.bss2.Calibration` the emulated chip it was measured on is taken; a real
            chip's file says nothing of an emulated one, which keeps its nominal calibration, and
            the warning says so.
        ann: for the real chip: load its default calibration for perceptron mode.
    """
    from lavalike.bss2.chip.calibration import Calibration, of_a_real_chip
    from lavalike.bss2.hxtorch import hardware

    if hwdb_path is not None and not isinstance(hwdb_path, HWDBPath | CalibrationPath):
        raise InputTypeError(
            f"init_hardware: hwdb_path is a HWDBPath or a CalibrationPath, got {hwdb_path!r}"
        )
    state, reason = hardware.look()
    if state == "connected":
        hardware.init(hwdb_path, ann)
        set_current(Chip(level="hardware"))
        return
    foreign = isinstance(hwdb_path, CalibrationPath) and of_a_real_chip(hwdb_path.value)
    chip = (
        Calibration.load(hwdb_path.value).chip()
        if isinstance(hwdb_path, CalibrationPath) and not foreign
        else Chip()
    )
    set_current(chip)
    why = f", with its nominal calibration: {hwdb_path.value} is a real chip's" if foreign else ""  # type: ignore[union-attr]  # foreign says that there is one
    said = "" if reason is None else f", it says: {reason}"
    warnings.warn(
        f"no BrainScaleS-2 is connected (hxtorch: {state}{said}); {chip.identifier} is used from here on{why}",
        EmulatedChipWarning,
        stacklevel=2,
    )


def init_hardware_minimal() -> None:
    """:func:`init_hardware` without a calibration."""
    init_hardware()


def release_hardware() -> None:
    """Let go of the chip; without one nothing happens."""
    from lavalike.bss2.hxtorch import hardware

    try:
        chip = current_chip()
    except RuntimeError:
        return
    if chip.level == "hardware":
        hardware.release()
    set_current(None)


def get_unique_identifier() -> str:
    """Which chip is used; NoChipError without one."""
    from lavalike.bss2.hxtorch import hardware

    chip = current_chip()
    return hardware.identifier() if chip.level == "hardware" else chip.identifier
