"""Learning rules as data: sums of products of spikes, traces and synaptic variables.

    dw = "2^-2 * x0 * y1 - x1 * y0 + u0 * (w - 3)"

A *product* is a number times one *gate* times any factors. The gate says when it is added: ``x0``
(the synapse's input spiked in this epoch), ``y0`` (its output did), ``uk`` (in every ``2**k``-th
epoch). Factors are traces (``x1 x2`` of the inputs, ``y1 y2 y3`` of the outputs), the synapse's
weight ``w`` and tags ``d`` and ``t``, further gates, one of those plus a number in parentheses,
``(y1 + 2)``, or the sign of a synaptic variable, ``sgn(w)``. The language is Loihi's (Davies et al.
2018, "Loihi", IEEE Micro 38(1), section "Learning"); numbers may be any here, in fixed point they
are a mantissa of 4 bits times a power of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lavalike.arguments import FLAG, TEXT, arguments, instance, integer, optional, real
from lavalike.errors import RuleError
from lavalike.learning.parse import Product, parsed

TRACES = ("x1", "x2", "y1", "y2", "y3")
TARGETS = ("w", "d", "t")


@arguments(error=RuleError, impulse=real(0), tau=real(0), received=FLAG)
@dataclass(frozen=True)
class Trace:
    """What a spike leaves behind: it grows by ``impulse`` at a spike and decays by
    ``exp(-1 / tau)`` in a step.

    Example:
        >>> rule = learning.LearningRule(dw="x1 * y0", x1=learning.Trace(impulse=1, tau=10))
        >>> rule.x1
        Trace(impulse=1, tau=10, received=False)

    Args:
        impulse: added at a spike; 0 to 127 in fixed point. Default 0.
        tau: time constant in steps. Default 0: gone after the step.
        received: of ``y1``, ``y2`` and ``y3``: it is what the output neuron sends in each step to
            the connection's port ``s_in_y1``, ``s_in_y2`` or ``s_in_y3``, a third factor; it decays
            within an epoch where ``tau`` is not 0. Default False.
    """

    impulse: float = 0.0
    tau: float = 0.0
    received: bool = False

    def __post_init__(self) -> None:
        if self.received and self.impulse:
            raise RuleError(
                f"Trace: a received trace has no impulse of its own, got impulse={self.impulse!r}; leave it 0"
            )

    @property
    def decay(self) -> float:
        """By which the trace is multiplied in a step."""
        return math.exp(-1 / self.tau) if self.tau else float(self.received)


# what fixed point holds, in bits without sign (Davies et al. 2018; Lava's constants)
TRACE_BITS, VARIABLE_BITS, MANTISSA_BITS, ACCUMULATOR_BITS = 7, 9, 4, 15
LARGEST_TRACE = (1 << TRACE_BITS) - 1
SATURATED = (-(1 << ACCUMULATOR_BITS) - 1, (1 << ACCUMULATOR_BITS) - 1)
RANGES = {"w": (-256, 255), "d": (0, 255), "t": (-257, 255)}  # of the variables, w's in mixed signs
FRACTION = 7  # bits of a variable's accumulator below its own


_TRACE = optional(instance(Trace, words="a Trace, as Trace(impulse=16, tau=10)"))


@arguments(
    error=RuleError,
    dw=optional(TEXT),
    dd=optional(TEXT),
    dt=optional(TEXT),
    x1=_TRACE,
    x2=_TRACE,
    y1=_TRACE,
    y2=_TRACE,
    y3=_TRACE,
    epoch=integer(1),
    seed=integer(0),
)
@dataclass(frozen=True, kw_only=True)
class LearningRule:
    """How synapses learn: what is added to weight and tags at the end of each epoch.

    Args:
        dw, dd, dt: what is added to the weight ``w`` and the tags ``d`` and ``t``, as texts (see
            the module); at least one. All are computed from the values before the epoch's end, then
            written.
        x1, x2: traces of the inputs, :class:`Trace`.
        y1, y2, y3: traces of the outputs.
        epoch: steps of an epoch, >= 1 (at most 63 in fixed point). A trace grows at once at a
            spike; the rule looks at it where the gate's last spike of the epoch was, or, for
            ``uk``, at the epoch's end.
        seed: of fixed point's stochastic rounding.

    Raises:
        RuleError: what cannot be read, with the place; a trace that nothing feeds.

    Example::

        LearningRule(dw="2^-2 * x1 * y0 - 2^-2 * x0 * y1", x1=Trace(16, 10), y1=Trace(16, 20))
    """

    dw: str | None = None
    dd: str | None = None
    dt: str | None = None
    x1: Trace | None = None
    x2: Trace | None = None
    y1: Trace | None = None
    y2: Trace | None = None
    y3: Trace | None = None
    epoch: int = 1
    seed: int = 0
    products: Mapping[str, tuple[Product, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("x1", "x2"):
            if (trace := getattr(self, name)) is not None and trace.received:
                raise RuleError(
                    f"LearningRule: {name} is of the inputs; y1, y2 and y3 can be received"
                )
        texts = {t: getattr(self, f"d{t}") for t in TARGETS}
        found = {t: parsed(text, f"d{t}") for t, text in texts.items() if text is not None}
        if not found:
            raise RuleError("LearningRule: nothing is learnt; give dw, dd or dt")
        for target, products in found.items():
            for name in (f.name for p in products for f in p.factors):
                if name in TRACES and getattr(self, name) is None:
                    raise RuleError(
                        f"LearningRule: d{target} reads {name}, which nothing feeds; give {name}=Trace(impulse, tau)"
                    )
        object.__setattr__(self, "products", found)

    @property
    def traces(self) -> dict[str, Trace]:
        """The traces that there are, by name."""
        named = {name: getattr(self, name) for name in TRACES}
        return {name: trace for name, trace in named.items() if trace is not None}

    @property
    def received(self) -> tuple[str, ...]:
        """The traces that output neurons send."""
        return tuple(name for name, trace in self.traces.items() if trace.received)

    @property
    def variables(self) -> frozenset[str]:
        """Which of ``w``, ``d`` and ``t`` it changes or looks at."""
        read = (f.name for ps in self.products.values() for p in ps for f in p.factors)
        return frozenset([*self.products, *(name for name in read if name in TARGETS)])

    @property
    def gates(self) -> frozenset[str]:
        """Which of ``x0``, ``y0`` and ``uk`` it looks at."""
        products = [p for ps in self.products.values() for p in ps]
        names = [n for p in products for n in (p.gate, *(f.name for f in p.factors))]
        return frozenset(n for n in names if n in ("x0", "y0") or n[0] == "u")
