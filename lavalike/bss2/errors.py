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
    """A value outside the chip's range; nothing is clipped in silence.

    Causes: a weight beyond 6 bits, an input beyond 5, a parameter that no circuit reaches.
    Remedy: the message has the range; scale the value.
    """


class OperandError(InputError, RuntimeError):
    """Operands of a shape or kind that the operation does not take.

    Causes: inner dimensions that differ; a batch where one vector is taken.
    Remedy: the message has both shapes.
    """


class RoutingError(InputError, RuntimeError):
    """A network that does not fit: layer, limit, what it has, what to do.

    Causes: a recurrent population larger than a chip; more inputs a neuron than its circuits take;
    synapses that end at no neurons; a coordinate or rule that only a real chip has.
    Remedy: fewer inputs, a smaller population, or leave to placement what was asked for by hand.
    """


class RecordingError(InputError, RuntimeError):
    """A recording request the chip cannot serve.

    Causes: more neurons on the fast converter than it has channels; an adaptation current of
    neurons that have none; a trace of operations that are no chain, or a file that cannot be
    written.
    Remedy: the message has the limit and what to switch off.
    """


class CalibrationError(InputError):
    """A calibration that cannot be made, or a file that is none of this chip's.

    Causes: targets out of reach; a file of another seed or chip.
    Remedy: other targets, or ``bss2.calibrate(chip)`` again.
    """


class HandleError(InputError, AssertionError):
    """A handle has not the observables that it is to take over from another one.

    Causes: ``clone`` between handles of different kinds of layers.
    Remedy: the message lists the observables of both; clone a handle of the same kind.
    """


class NoChipError(RunError):
    """An operation needs a chip, and none was taken.

    Causes: a layer with ``mock=False``, outside of ``bss2.use(chip)`` or in another thread.
    Remedy: ``with bss2.use(bss2.Chip(seed=0)):``, ``init_hardware()``, or ``mock=True`` for the
    linear model.
    """


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
