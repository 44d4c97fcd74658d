"""Parameter: what a number of a neuron means, said once, beside the equation.

The process and its signature, the step's constants in both arithmetics, slayer's parameters and
what it exports, the keys of a .net file and their ranges, a chip's time constants and the table in
docs/neurons.md follow from it.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, TEXT, Rule, arguments, choice, integer, optional, real
from lavalike.errors import InputError
from lavalike.process.units import Units

DECAY = 4096  # what a decay of 1 is in fixed point
SCALE = 64  # of Loihi's states against the inputs and thresholds that a user gives
HELD = 2**18  # Loihi's thresholds and their steps stay below it
NAME = Rule(
    "a name of Python's", TEXT.kind, lambda v: v.isidentifier() and not keyword.iskeyword(v)
)
COUNTS = ("", "decay", "loss", "state", "message", "step")
_OPTIONAL = Rule("a name of Python's or ''", TEXT.kind, lambda v: v == "" or NAME.value(v))


@arguments(
    name=NAME,
    default=optional(real()),
    low=real(infinite=True),
    high=real(infinite=True),
    trained=FLAG,
    unit=TEXT,
    counts=TEXT,
    argument=_OPTIONAL,
    offset=integer(),
    shift=_OPTIONAL,
    per=choice("", "one", "neuron"),
    onset=_OPTIONAL,
    key=TEXT,
    training=_OPTIONAL,
    tau=TEXT,
    doc=TEXT,
)
@dataclass(frozen=True)
class Parameter:
    """A parameter of a neuron, for training and for the process made of it.

    Example:
        >>> lv.Parameter("beta", 0.9, 0, 1, trained=True, doc="what a step leaves of v").name
        'beta'

    Args:
        name: of the process's Var, and of the step's argument unless ``argument`` names that.
        default: its value unless told otherwise; None: it must be given.
        low, high: training keeps it within; a value given outside is an error. Default: no limits.
        trained: whether it is trained unless told otherwise.
        unit: for people. Default "".
        counts: what fixed point counts it in: "decay" in 1/4096 (the factor of ``leak``); "loss"
            likewise, and the step's argument is what it leaves, 1 less it; "state" in the unit of
            the states, whose 1 is the process's or the training's ``scale``; "message" in the unit
            of the ports' messages, which nothing shifts; these are rounded. "step": a whole number
            of steps, in floating point too. Default "": a whole number as it is.
        argument: the step's argument that is made of it. Default: its name.
        offset: of a "loss" in fixed point: how many 1/4096 more than it are lost. Default 0.
        shift: of a "state" in Loihi's units: the parameter that holds by how many bits it is
            shifted left; where there is none they are 6. Default "".
        per: "one" number for all, one a "neuron", or either. Default "": either.
        onset: the name of a parameter that this one brings along: the step from which on it acts,
            ``t > onset``; before, it is 0. Default "": it acts from the first step.
        key: its name in a .net file. Default "": it is in none.
        training: its name in slayer's neurons. Default "": theirs have no such parameter.
        tau: what it is on a chip, whose ranges hold for it there: "tau_mem", "tau_syn", "tau_icc",
            "tau_adap" (a time constant: it is dt / tau) or "refractory_time" (in steps of dt).
        doc: what it is, for the process's documentation.
    """

    name: str
    default: float | None
    low: float = -math.inf
    high: float = math.inf
    trained: bool = False
    unit: str = ""
    counts: str = ""
    argument: str = ""
    offset: int = 0
    shift: str = ""
    per: str = ""
    onset: str = ""
    key: str = ""
    training: str = ""
    tau: str = ""
    doc: str = ""

    def __post_init__(self) -> None:
        if self.counts not in COUNTS:
            names = f"{', '.join(map(repr, COUNTS[:-1]))} or {COUNTS[-1]!r}"
            raise InputError(f"parameter {self.name}: counts is {names}, got {self.counts!r}")
        if self.default is not None and not self.low <= self.default <= self.high:
            raise InputError(
                f"parameter {self.name}: its default {self.default} is outside {self.low}..{self.high} (low..high)"
            )
        if self.offset and self.counts != "loss":
            raise InputError(
                f"parameter {self.name}: offset is of a 'loss', and counts is {self.counts!r}"
            )
        if not self.argument:
            object.__setattr__(self, "argument", self.name)

    def unit_of(self, scale: float) -> float:
        """What 1 is in fixed point where a state of 1 is ``scale``."""
        if self.counts in ("decay", "loss"):
            return float(DECAY)
        return float(scale) if self.counts in ("state", "message") else 1.0

    @property
    def limits(self) -> tuple[int, int]:
        """The whole numbers it may be in Loihi's units."""
        if self.counts == "loss":
            return -self.offset, DECAY - self.offset
        least, most = (-HELD, HELD) if self.counts == "state" else (-(2**31), 2**31 - 1)
        if self.counts == "step" and math.isfinite(self.high):
            most = int(self.high)  # steps are counted in 64 bits
        unit = self.unit_of(1)
        return (
            least if self.low * unit < least else math.ceil(self.low * unit),
            most if self.high * unit > most else math.floor(self.high * unit),
        )

    def stored(self, loihi: bool) -> tuple[int, int]:
        """The whole numbers it may be in a .net file; ``loihi`` as in :meth:`constant`."""
        if self.counts == "state":
            return (0, HELD - 1) if loihi else (-(2**31), 2**31 - 1)
        low, high = self.limits
        return low + self.offset, high + self.offset

    def constant(self, values: Mapping[str, Any], units: Units, fixed: bool, loihi: bool) -> Any:
        """The step's argument that is made of ``values[name]``; ValueError where that is out of
        range.

        Args:
            values: of all parameters, arrays or tensors.
            units, fixed: what they count in, and for which arithmetic.
            loihi: in fixed point they are Loihi's whole numbers already; else the user's, which are
                rounded.
        """
        name, value = self.name, values[self.name]
        if self.counts == "step":
            return integral(name, value, *self.limits)
        if units.loihi or (fixed and loihi):
            return self._counted(value, values, fixed, loihi)
        value = (
            within(name, value, self.low, self.high)
            if math.isfinite(self.low) or math.isfinite(self.high)
            else value
        )
        if fixed:
            unit = self.unit_of(units.scale)
            value = integral(name, rounded(value * unit) if self.counts else value)
            return DECAY - self.offset - value if self.counts == "loss" else value
        return 1 - value if self.counts == "loss" else value

    def _counted(self, value: Any, values: Mapping[str, Any], fixed: bool, loihi: bool) -> Any:
        """Of a whole number of Loihi's."""
        if self.counts in ("decay", "loss"):
            whole = integral(self.name, value, *self.limits)
            kept = DECAY - self.offset - whole if self.counts == "loss" else whole
            return kept if fixed else kept / DECAY
        if self.counts == "state" and loihi:
            bits = integral(self.shift, values[self.shift], 0, 16) if self.shift else None
            whole = (
                integral(self.name, value, *self.limits)
                if fixed
                else within(self.name, value, self.low, self.high)
            )
            return whole * (SCALE if bits is None else 2**bits if fixed else 2.0**bits)
        return integral(self.name, value) if fixed else value


def rounded(value: Any) -> Any:
    """The nearest whole number of ``value`` (array or tensor); the gradient of a tensor passes."""
    return (
        np.round(value)
        if isinstance(value, np.ndarray | np.generic)
        else value + (value.round() - value).detach()
    )


def floored(value: Any) -> Any:
    """The whole number below ``value`` (array or tensor), of an array int64; the gradient of a
    tensor passes."""
    return (
        np.floor(value).astype(np.int64)
        if isinstance(value, np.ndarray | np.generic)
        else value + (value.floor() - value).detach()
    )


def integral(name: str, value: Any, low: float = -(2**31), high: float = 2**31 - 1) -> Any:
    """``value`` (array or tensor) as int64, or ValueError when it is not whole or leaves
    ``low..high``. A tensor with a gradient stays, as no integer has one."""
    with np.errstate(invalid="ignore"):  # too large for an integer: told below
        out = (
            value.astype(np.int64)
            if isinstance(value, np.ndarray | np.generic)
            else value.round().long()
        )
    if not bool((out == value).all()):
        bad = value[out != value].flatten()[0]
        raise ValueError(f"{name}: whole numbers are needed, got {bad}")
    return within(name, value if getattr(value, "requires_grad", False) else out, low, high)


def within(name: str, value: Any, low: float, high: float) -> Any:
    """``value`` (array or tensor), or ValueError when an entry lies outside ``low..high``."""
    if value.min() < low or value.max() > high:
        bad = value.min() if value.min() < low else value.max()
        raise ValueError(f"{name}: {bad} is outside {low}..{high}")
    return value
