"""What values a step can compute: proof that 32 bits hold them all.

A step is run once on ranges in place of numbers, its words bound to what they make of ranges. A
neuron's loop then computes in 32 bits, eight neurons at a time where 64 took four, in every block
whose inputs and states are as small as was assumed, and looks at nothing else. What a range does
not know (a branch, an operator that is not here) is no proof: the loop computes in 64 bits.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lavalike.dynamics.dynamics import Dynamics, bind
from lavalike.errors import InputError

LOW, HIGH = -(2**31), 2**31 - 1
ASSUMED = (24, 20, 16, 12)  # bits of inputs and states, the first that does


class Unknown(ArithmeticError):
    """No proof."""


@dataclass(frozen=True, eq=False)
class Range:
    """Whole numbers from ``low`` to ``high``, which 32 bits hold."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low < LOW or self.high > HIGH:
            raise Unknown(f"{self.low}..{self.high}")

    def __bool__(self) -> bool:
        raise Unknown("a branch")

    def __add__(self, other: Any) -> Range:
        other = of(other)
        return Range(self.low + other.low, self.high + other.high)

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low)

    def __sub__(self, other: Any) -> Range:
        return self + -of(other)

    def __rsub__(self, other: Any) -> Range:
        return of(other) - self

    def __mul__(self, other: Any) -> Range:
        return corners(lambda x, y: x * y, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def compared(self, *others: Any) -> Range:
        return Range(0, 1)

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = compared  # type: ignore[assignment]  # a range, not a bool

    def __and__(self, other: Any) -> Range:
        if union(self, other).low < 0 or union(self, other).high > 1:
            raise Unknown("bits of numbers")
        return Range(0, 1)

    __rand__ = __and__


class Step(Range):
    """``t``: only compared, and divided."""

    def __post_init__(self) -> None:
        pass

    def __mod__(self, other: Any) -> Range:
        other = of(other)
        if other.low < 1:
            raise Unknown("a divisor that may be 0")
        return Range(0, other.high - 1)


def of(value: Any) -> Range:
    if isinstance(value, Range):
        return value
    if isinstance(value, int):
        return Range(value, value)
    raise Unknown(f"{value!r}")


def union(*values: Any) -> Range:
    ranges = [of(v) for v in values]
    return Range(min(r.low for r in ranges), max(r.high for r in ranges))


def corners(function: Callable[..., int], *values: Any) -> Range:
    """Of a function that rises or falls all along each of its arguments."""
    found = [function(*c) for c in itertools.product(*((of(v).low, of(v).high) for v in values))]
    return Range(min(found), max(found))


def scaled(x: Any, k: Any, bits: Any) -> Range:
    if of(bits).low < 0 or of(bits).high > 62:
        raise Unknown("a shift")
    return corners(lambda x, k, b: (abs(x * k) >> b) * (1 if x * k >= 0 else -1), x, k, bits)


def wrap(x: Any) -> Range:
    x, half, full = of(x), 2**23, 2**24
    parts = [
        (max(x.low, low) + by, min(x.high, high) + by)
        for low, high, by in (
            (LOW, -half, full),
            (1 - half, half, 0),
            (half + 1, HIGH, -full),
        )
        if max(x.low, low) <= min(x.high, high)
    ]
    return union(*(Range(*p) for p in parts))


def unscale(x: Any, e: Any) -> Range:
    if of(e).low < 0 or of(e).high > 31:
        raise Unknown("a shift")
    return corners(lambda x, e: x >> e, x, e)


def clip(x: Any) -> Range:
    return corners(lambda x: min(max(x, 1 - 2**23), 2**23 - 1), x)


def gate(d: Any, m: Any, th: Any) -> Range:
    absolute(m)
    return union(d, 0)


def absolute(x: Any) -> Range:
    return union(x, -of(x))


WORDS: Mapping[str, Callable[..., Range]] = {
    "leak": lambda x, k: scaled(x, k, 12),
    "scaled": scaled,
    "wrap": wrap,
    "clip": clip,
    "unscale": unscale,
    "where": lambda c, a, b: union(a, b),
    **{w: Range(0, 1).compared for w in ("above", "reaches", "crosses")},
    "gate": gate,
    "both": lambda s, c: of(s) & c,
    "positive": lambda x: corners(lambda x: max(x, 0), x),
    "reset": lambda s, v, to: union(v, to),
    "lower": lambda s, v, by: union(v, of(v) - by),
    "carried": lambda x: of(x),
    "absolute": absolute,
    "lesser": lambda x, y: corners(min, x, y),
    "greater": lambda x, y: corners(max, x, y),
    "inject": lambda x, y: of(y),
}


@functools.lru_cache(1024)
def _bound(dynamics: Dynamics) -> tuple[Callable[..., Any], ...] | None:
    """The step and the accumulators on ranges, or None where a word has no form there."""
    try:
        return tuple(bind(f, WORDS) for f in (dynamics.step, *dynamics.accumulators))
    except InputError:
        return None


@functools.lru_cache(4096)
def bits(dynamics: Dynamics, constants: tuple[tuple[str, int, int], ...]) -> int:
    """How many bits inputs and states may have, so that 32 bits hold all that the step and the
    accumulators compute; 0: no proof.

    ``constants``: name, least and greatest of each.
    """
    functions = _bound(dynamics)
    if functions is None:
        return 0
    for some in ASSUMED:
        small = dict.fromkeys((*dynamics.inputs, *dynamics.states), Range(-(2**some), 2**some - 1))
        try:
            known = {
                "t": Step(0, 2**62),
                **small,
                **{name: Range(low, high) for name, low, high in constants},
            }
            step, *sums = functions
            results = step(*(known[n] for n in dynamics.arguments))
            for value in results if isinstance(results, tuple) else (results,):
                union(value)  # the step itself is none
            for f, own in zip(sums, dynamics.accumulators, strict=True):
                absolute(f(*(known[n] for n in inspect.signature(own).parameters)))
        except Exception:  # whatever a user's step makes of ranges: no proof
            continue
        return some
    return 0
