"""Learning rules under Lava's names: what a program reads of them, and what each is as one of
lavalike's."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np

from lavalike.arguments import Rule, is_real, real
from lavalike.errors import RuleError
from lavalike.learning import LearningRule, Trace
from lavalike.learning.parse import Product, parsed
from lavalike.learning.rule import TRACES

TARGETS = ("dw", "dd", "dt")
LONGEST = float(np.iinfo(np.uint16).max)  # the time constant of a trace that a neuron sends
_STEPS = Rule("a number of steps >= 1", is_real, lambda v: v >= 1 and float(v).is_integer())


class GradedSpikeCfg(IntEnum):
    """What a graded message does to the trace x1."""

    USE_REGULAR_IMPULSE = 0
    OVERWRITE = 1
    ADD_WITH_SATURATION = 2
    ADD_WITHOUT_SATURATION = 3


class ProductSeries:
    """The products of one target."""

    def __init__(self, target: str, products: tuple[Product, ...]) -> None:
        self.target, self.products = target, [*products]

    @property
    def uks(self) -> list[str]:
        """The gates uk that it has, in the order of the products."""
        names = [n for p in self.products for n in (p.gate, *(f.name for f in p.factors))]
        return [n for n in names if n.startswith("u")]

    @property
    def decimate_exponent(self) -> int | None:
        """The k of its uk; None without one."""
        return next((int(n[1:]) for n in self.uks), None)

    @property
    def active_traces_per_dependency(self) -> dict[str, set[str]]:
        """The traces by the gate of the products that look at them."""
        out: dict[str, set[str]] = {}
        for p in self.products:
            traces = {f.name for f in p.factors if f.name in TRACES}
            if traces:
                out.setdefault("u" if p.gate.startswith("u") else p.gate, set()).update(traces)
        return out

    def __str__(self) -> str:
        return f"{self.target} = {' + '.join(map(str, self.products))}"


class _Number:
    """A number of a rule, none of which is below zero."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, rule: Any, owner: type) -> Any:
        return self if rule is None else rule.__dict__[self.name]

    def __set__(self, rule: Any, value: Any) -> None:
        real(0).check(type(rule).__name__, self.name, value, RuleError)
        rule.__dict__[self.name] = value


class LoihiLearningRule:
    """A learning rule as Lava's programs make it.

    Args:
        dw, dd, dt: sums of products, as in :class:`lavalike.learning.LearningRule`; at least one,
            with one uk among them.
        x1_impulse, x1_tau, ..., y3_tau: of the traces. Default 0.
        t_epoch: steps of an epoch.
        rng_seed: of the stochastic rounding; None draws one from NumPy's global generator.

    Raises RuleError, which is a ValueError.
    """

    x1_impulse, x1_tau, x2_impulse, x2_tau = _Number(), _Number(), _Number(), _Number()
    y1_impulse, y1_tau, y2_impulse, y2_tau = _Number(), _Number(), _Number(), _Number()
    y3_impulse, y3_tau = _Number(), _Number()

    def __init__(
        self,
        dw: str | None = None,
        dd: str | None = None,
        dt: str | None = None,
        x1_impulse: float = 0.0,
        x1_tau: float = 0.0,
        x2_impulse: float = 0.0,
        x2_tau: float = 0.0,
        y1_impulse: float = 0.0,
        y1_tau: float = 0.0,
        y2_impulse: float = 0.0,
        y2_tau: float = 0.0,
        y3_impulse: float = 0.0,
        y3_tau: float = 0.0,
        t_epoch: int = 1,
        rng_seed: int | None = None,
    ) -> None:
        self.dw_str, self.dd_str, self.dt_str = dw, dd, dt
        self.x1_impulse, self.x1_tau = x1_impulse, x1_tau
        self.x2_impulse, self.x2_tau = x2_impulse, x2_tau
        self.y1_impulse, self.y1_tau = y1_impulse, y1_tau
        self.y2_impulse, self.y2_tau = y2_impulse, y2_tau
        self.y3_impulse, self.y3_tau = y3_impulse, y3_tau
        self.t_epoch = t_epoch
        if rng_seed is None:
            rng_seed = int(np.random.randint(1, np.iinfo(np.int32).max))  # noqa: NPY002  (as in Lava)
        self.rng_seed = rng_seed
        _ = self.core  # it is one

    @property
    def t_epoch(self) -> int:
        return self._t_epoch

    @t_epoch.setter
    def t_epoch(self, value: int) -> None:
        _STEPS.check(type(self).__name__, "t_epoch", value, RuleError)
        self._t_epoch = int(value)

    @property
    def received(self) -> bool:
        """Whether y1 to y3 are what neurons send."""
        return False

    @property
    def active_product_series(self) -> dict[str, ProductSeries]:
        """The products by target."""
        texts = {t: getattr(self, f"{t}_str") for t in TARGETS}
        return {t: ProductSeries(t, parsed(x, t)) for t, x in texts.items() if x is not None}

    @property
    def dw(self) -> ProductSeries | None:
        return self.active_product_series.get("dw")

    @property
    def dd(self) -> ProductSeries | None:
        return self.active_product_series.get("dd")

    @property
    def dt(self) -> ProductSeries | None:
        return self.active_product_series.get("dt")

    @property
    def decimate_exponent(self) -> int | None:
        """The k of its uk; None without one."""
        uks = sorted({n for s in self.active_product_series.values() for n in s.uks})
        if len(uks) > 1:
            raise RuleError(f"{type(self).__name__}: a rule has one uk, got {', '.join(uks)}")
        return int(uks[0][1:]) if uks else None

    @property
    def active_traces_per_dependency(self) -> dict[str, set[str]]:
        """The traces that products look at, by their gate: x0, y0 or u."""
        out: dict[str, set[str]] = {}
        for series in self.active_product_series.values():
            for gate, traces in series.active_traces_per_dependency.items():
                out.setdefault(gate, set()).update(traces)
        return out

    @property
    def active_traces(self) -> set[str]:
        """The traces that products look at."""
        return set().union(*self.active_traces_per_dependency.values())

    @property
    def core(self) -> LearningRule:
        """The rule as one of lavalike's."""
        traces = {
            n: Trace(
                0 if self.received and n[0] == "y" else float(getattr(self, f"{n}_impulse")),
                float(getattr(self, f"{n}_tau")),
                self.received and n[0] == "y",
            )
            for n in TRACES
        }
        rule = LearningRule(
            dw=self.dw_str,
            dd=self.dd_str,
            dt=self.dt_str,
            epoch=self.t_epoch,
            seed=self.rng_seed,
            **traces,
        )
        _ = self.decimate_exponent  # there is one
        return rule


class Loihi2FLearningRule(LoihiLearningRule):
    """A rule of two factors: the connection keeps the traces of its outputs."""


class Loihi3FLearningRule(LoihiLearningRule):
    """A rule of three factors: neurons send y1, y2 and y3 in every step."""

    def __init__(
        self,
        dw: str | None = None,
        dd: str | None = None,
        dt: str | None = None,
        x1_impulse: float = 0.0,
        x1_tau: float = 0.0,
        x2_impulse: float = 0.0,
        x2_tau: float = 0.0,
        t_epoch: int = 1,
        rng_seed: int | None = None,
    ) -> None:
        super().__init__(
            dw, dd, dt, x1_impulse, x1_tau, x2_impulse, x2_tau,
            y1_tau=LONGEST, y2_tau=LONGEST, y3_tau=LONGEST, t_epoch=t_epoch, rng_seed=rng_seed,
        )  # fmt: skip

    @property
    def received(self) -> bool:
        return True


def float_to_literal(learning_parameter: float) -> str:
    """A number as a rule has it: its whole part times the power of two that comes nearest."""
    real().check("float_to_literal", "learning_parameter", learning_parameter, RuleError)
    size = abs(learning_parameter)
    if size == 0:
        return "0"
    whole = max(int(size), 1)
    mantissa = f"({'-' if learning_parameter < 0 else ''}{whole})"
    rest = size / whole
    return mantissa if rest == 1 else f"{mantissa} * 2 ^ {round(math.log2(rest))}"


def stochastic_round(values: Any, random_numbers: Any, probabilities: Any) -> Any:
    """``values``, 1 more where the random number is below the probability."""
    return np.asarray(values + (random_numbers < probabilities), int)


def apply_mask(item: Any, nb_bits: int) -> Any:
    """The lowest bits of ``item``."""
    return item & ((1 << nb_bits) - 1)


class STDPLoihi(Loihi2FLearningRule):
    """Pairs of spikes: ``dw = lr * A_minus * x0 * y1 + lr * A_plus * y0 * x1``; impulses are 16
    unless ``x1_impulse`` and ``y1_impulse`` say else. Numbers are rounded as
    :func:`float_to_literal` does, as in Lava; :class:`lavalike.learning.STDP` keeps them."""

    def __init__(
        self,
        learning_rate: float,
        A_plus: float,
        A_minus: float,
        tau_plus: float,
        tau_minus: float,
        x1_impulse: float = 16,
        y1_impulse: float = 16,
        **kwargs: Any,
    ) -> None:
        rate, plus, minus = map(float_to_literal, (learning_rate, A_plus, A_minus))
        self.learning_rate, self.A_plus, self.A_minus = rate, plus, minus
        self.tau_plus, self.tau_minus = tau_plus, tau_minus
        given: dict[str, Any] = {"x1_impulse": x1_impulse, "y1_impulse": y1_impulse, **kwargs}
        super().__init__(
            f"{rate} * {minus} * x0 * y1 + {rate} * {plus} * y0 * x1",
            x1_tau=tau_plus,
            y1_tau=tau_minus,
            **given,
        )


class RewardModulatedSTDP(Loihi3FLearningRule):
    """STDP through an eligibility ``t``, of which the reward ``y2`` makes weight;
    ``eligibility_trace_decay_tau`` is the part of ``t`` that goes in an epoch. Numbers are rounded
    as in STDPLoihi; :class:`lavalike.learning.RewardModulatedSTDP` keeps them."""

    def __init__(
        self,
        learning_rate: float,
        A_plus: float,
        A_minus: float,
        pre_trace_decay_tau: float,
        post_trace_decay_tau: float,
        pre_trace_kernel_magnitude: float,
        post_trace_kernel_magnitude: float,
        eligibility_trace_decay_tau: float,
        **kwargs: Any,
    ) -> None:
        rate, plus, minus = map(float_to_literal, (learning_rate, A_plus, A_minus))
        decay = float_to_literal(eligibility_trace_decay_tau)
        self.learning_rate, self.A_plus, self.A_minus = rate, plus, minus
        self.pre_trace_decay_tau = pre_trace_decay_tau
        self.post_trace_decay_tau = post_trace_decay_tau
        self.pre_trace_kernel_magnitude = pre_trace_kernel_magnitude
        self.post_trace_kernel_magnitude = post_trace_kernel_magnitude
        self.eligibility_trace_decay_tau = decay
        given: dict[str, Any] = {
            "dw": "u0 * t * y2",
            "dt": f"{rate} * {minus} * x0 * y1 + {rate} * {plus} * y0 * x1 - u0 * t * {decay}",
            "x1_impulse": pre_trace_kernel_magnitude,
            "x1_tau": pre_trace_decay_tau,
            **kwargs,
        }
        super().__init__(**given)
