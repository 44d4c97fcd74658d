"""Errors of :mod:`lavalike.bss2`: each is hxtorch's type where hxtorch raises one, and lavalike's.

    RangeError        OverflowError   a number outside what the chip can hold
    OperandError      RuntimeError    operands that an operation does not take
    RoutingError      RuntimeError    a network that cannot be placed (hxtorch: UnsuccessfulRouting)
    RecordingError    RuntimeError    a recording the chip cannot serve
    CalibrationError  ValueError      a calibration that cannot be made, or a file that is damaged, foreign or another chip's
    NoChipError       RuntimeError    no chip is there
    HandleError       AssertionError  a handle that lacks what is to be taken over

Of the first, second, fourth and fifth there is a kin for values of the wrong kind that is a
TypeError besides (:func:`lavalike.errors.kind_error`).
"""  # noqa: W505

from __future__ import annotations

from lavalike.errors import KINDS, InputError, RunError


class RangeError(InputError, OverflowError):
    """A value outside the chip's range; nothing is clipped in silence."""


class OperandError(InputError, RuntimeError):
    """Operands of a shape or kind that the operation does not take."""


class RoutingError(InputError, RuntimeError):
    """A network that does not fit: layer, limit, what it has, what to do."""


class RecordingError(InputError, RuntimeError):
    """A recording request the chip cannot serve."""


class CalibrationError(InputError):
    """A calibration that cannot be made, or a file that is none of this chip's."""


class HandleError(InputError, AssertionError):
    """A handle has not the observables that it is to take over from another one."""


class NoChipError(RunError):
    """An operation needs a chip, and none was taken."""


class RangeTypeError(RangeError, TypeError):
    """What is no number where one within the chip's range is needed."""


class OperandTypeError(OperandError, TypeError):
    """An operand or setting of an operation that is of the wrong kind."""


class RecordingTypeError(RecordingError, TypeError):
    """A setting of a recording that is of the wrong kind."""


class CalibrationTypeError(CalibrationError, TypeError):
    """A setting of a calibration that is of the wrong kind."""


KINDS.update(
    {
        RangeError: RangeTypeError,
        OperandError: OperandTypeError,
        RecordingError: RecordingTypeError,
        CalibrationError: CalibrationTypeError,
    }
)
