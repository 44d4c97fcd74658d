"""A learning rule by whole arrays, a step at a time: what the compiled kernels are held to.

Loihi's learning engine as Lava's CPU models compute it: traces are kept at the epoch's beginning,
the step of each neuron's last spike in the epoch beside them; at its end the traces' history over
the epoch is built, and each product looks at it where its gate was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.errors import RuleError
from lavalike.learning.parse import Factor, Product
from lavalike.learning.rule import (
    ACCUMULATOR_BITS,
    FRACTION,
    LARGEST_TRACE,
    MANTISSA_BITS,
    RANGES,
    SATURATED,
    TARGETS,
    TRACE_BITS,
    TRACES,
    VARIABLE_BITS,
    LearningRule,
    Trace,
)

X, Y = ("x1", "x2"), ("y1", "y2", "y3")


class Learning:
    """The state of all synapses of one connection.

    Args:
        rule: what they learn by.
        w: weights (out, in); d, t: tags, default 0.
        fixed: Loihi's integers and stochastic rounding instead of floating point.
        low, high: bounds of the weights, as a sign mode sets them.
        graded: what a message does to the trace x1, as ``graded_spikes`` of
            :class:`lavalike.proc.LearningDense`.
    """

    def __init__(
        self,
        rule: LearningRule,
        w: np.ndarray,
        d: np.ndarray | float = 0,
        t: np.ndarray | float = 0,
        *,
        fixed: bool = False,
        low: float = -np.inf,
        high: float = np.inf,
        graded: str = "impulse",
    ) -> None:
        self.rule, self.fixed, self.low, self.high = rule, fixed, low, high
        self.graded = graded
        kind = np.int64 if fixed else np.float64
        full = {"w": w, "d": d, "t": t}
        self.synapses = {k: np.broadcast_to(v, w.shape).astype(kind) for k, v in full.items()}
        outs, ins = w.shape
        self.traces = {k: np.zeros(ins if k in X else outs, kind) for k in TRACES}
        self.tx, self.ty = np.zeros(ins, np.int64), np.zeros(outs, np.int64)
        self.step = 0
        if fixed:
            self._scales = {p: scaled(p) for ps in rule.products.values() for p in ps}
            seeds = [np.random.default_rng(rule.seed + k) for k in range(4)]
            self._decays, self._bits = (seeds[0], seeds[2]), (seeds[1], seeds[3])
            self._rounding = np.random.default_rng(2)
            self._rounding.random()
            self._draw()

    def become(self, rule: LearningRule) -> None:
        """Go on by another rule of the same epoch and seed."""
        self.rule = rule
        if self.fixed:
            self._scales = {p: scaled(p) for ps in rule.products.values() for p in ps}

    def _draw(self) -> None:
        self.decay = [float(g.random()) for g in self._decays]
        self.bit = [int(g.integers(0, 1 << TRACE_BITS)) for g in self._bits]

    def _trace(self, name: str) -> Trace:
        return getattr(self.rule, name) or Trace()

    # -- a step ----------------------------------------------------------------------------------

    def spike(self, pre: np.ndarray, post: np.ndarray, **received: np.ndarray) -> None:
        """One step: what inputs (in,) and outputs (out,) sent, what ``y1`` to ``y3`` of those that
        are received are; learns at the epoch's end."""
        self.hear(pre, post, **received)
        if self.step % self.rule.epoch == 0:
            self.learn()

    def hear(self, pre: np.ndarray, post: np.ndarray, **received: np.ndarray) -> None:
        """One step without learning."""
        self.step += 1
        now = (self.step - 1) % self.rule.epoch + 1
        counts = self._set(pre)
        for names, spiked, times in ((X, counts, self.tx), (Y, post != 0, self.ty)):
            again = spiked & (times > 0)
            for name in names:
                bit = 0 if names is X or not self.fixed else self.bit[1]
                if name != "x1" or self.graded == "impulse":
                    self.traces[name][again] = self._grown(name, self.traces[name][again], bit)
            times[spiked] = now
            if self.fixed:
                self._draw()
        for name, value in received.items():
            self.traces[name] = np.array(value, self.traces[name].dtype)

    def _set(self, pre: np.ndarray) -> np.ndarray:
        """Let messages set ``x1`` where they do; which inputs count as having spiked."""
        spiked = pre != 0
        if self.graded == "impulse":
            return spiked
        x1 = self.traces["x1"]
        half = np.round(np.clip(pre, 0, 255) / 2).astype(np.int64) if self.fixed else pre / 2
        value = np.where(spiked, half if self.graded == "set" else x1 + half, x1)
        if self.fixed and self.graded == "add":
            value = np.minimum(value, LARGEST_TRACE)
        over = value > LARGEST_TRACE
        if self.fixed and self.graded == "overflow":
            value, spiked = np.where(spiked & over, value - LARGEST_TRACE, value), spiked & over
        self.traces["x1"] = value.astype(x1.dtype)
        return spiked

    def _grown(self, name: str, value: np.ndarray, bit: int) -> np.ndarray:
        impulse = self._trace(name).impulse
        if not self.fixed:
            return value + impulse
        whole = int(np.floor(impulse))
        up = bit < round((impulse - whole) * 256)
        return np.clip(value + whole + up, 0, LARGEST_TRACE)

    def _decayed(self, name: str, value: np.ndarray) -> np.ndarray:
        new = self._trace(name).decay * value
        if not self.fixed:
            return new
        return (np.floor(new) + (self.decay[name in Y] < new % 1)).astype(np.int64)

    def _history(self, name: str) -> np.ndarray:
        """(epoch + 1, neurons): before the epoch's first step, and at the end of each."""
        times = self.tx if name in X else self.ty
        rows = [self.traces[name]]
        for now in range(1, self.rule.epoch + 1):
            new = self._decayed(name, rows[-1])
            here = times == now
            new[here] = self._grown(name, new[here], self.bit[name in Y] if self.fixed else 0)
            rows.append(new)
        return np.array(rows)

    # -- the end of an epoch ---------------------------------------------------------------------

    def learn(self) -> None:
        """What an epoch's end changes."""
        history = {name: self._history(name) for name in TRACES}
        draw = float(self._rounding.random()) if self.fixed else 0.0
        new = {
            target: self._changed(target, products, history, draw)
            for target, products in self.rule.products.items()
        }
        self.synapses.update(new)
        self.traces.update(
            {n: rows[-1].copy() for n, rows in history.items() if not self._trace(n).received}
        )
        self.tx[:] = 0
        self.ty[:] = 0

    def _gate(self, name: str) -> np.ndarray:
        if name == "x0":
            return (self.tx > 0)[None, :]
        if name == "y0":
            return (self.ty > 0)[:, None]
        return np.asarray(self.step // self.rule.epoch % (1 << int(name[1:])) == 0)

    def _factor(self, factor: Factor, gate: str, history: dict[str, np.ndarray]) -> np.ndarray:
        name = factor.name
        if name in self.synapses:
            value = self.synapses[name]
        elif name not in TRACES:
            value = self._gate(name).astype(np.int64)
        elif gate == "x0":
            rows = history[name][self.tx]  # (in, neurons)
            value = rows.diagonal()[None, :] if name in X else rows.T
        elif gate == "y0":
            rows = history[name][self.ty]  # (out, neurons)
            value = rows if name in X else rows.diagonal()[:, None]
        else:
            value = history[name][-1]
            value = value[None, :] if name in X else value[:, None]
        total: np.ndarray = value + (int(factor.add) if self.fixed else float(factor.add))
        return np.sign(total) if factor.sign else total

    def _changed(
        self,
        target: str,
        products: tuple[Product, ...],
        history: dict[str, np.ndarray],
        draw: float,
    ) -> np.ndarray:
        old: Any = self.synapses[target]
        term: Any
        if not self.fixed:
            for p in products:
                term = self._gate(p.gate) * float(p.number.value)
                for f in p.factors:
                    term = term * self._factor(f, p.gate, history)
                old = old + term
            low, high = {"w": (self.low, self.high), "d": (0, np.inf)}.get(
                target, (-np.inf, np.inf)
            )
            return np.clip(old, low, high)
        total = old << FRACTION
        for p in products:
            mantissa, exponent = self._scales[p]
            term = self._gate(p.gate).astype(np.int64)
            bits = MANTISSA_BITS
            for f in p.factors:
                top = width(f.name)
                bits += top
                value = self._factor(f, p.gate, history)
                term = term * np.clip(value, -(1 << top), (1 << top) - 1)
            term = (term * mantissa) >> max(0, bits - ACCUMULATOR_BITS) << (exponent + FRACTION)
            total = np.clip(total + np.clip(term, *SATURATED), *SATURATED)
        low, high = RANGES[target]
        if target == "w":
            low, high = max(low, self.low), min(high, self.high)
        # a sign is kept before it is rounded, a range after
        exact = np.clip(
            total / (1 << FRACTION), low if target != "t" else None, high if target == "w" else None
        )
        return np.clip(np.floor(exact) + (draw < exact % 1), low, high).astype(np.int64)


def width(name: str) -> int:
    """Bits of a factor in fixed point, without sign."""
    if name in TRACES:
        return TRACE_BITS
    return VARIABLE_BITS if name in TARGETS else 1


def scaled(product: Product) -> tuple[int, int]:
    """Mantissa and exponent of a product's number in fixed point. RuleError where it does not hold
    a number of the product."""
    scale = product.number.fixed()
    if scale is None:
        raise RuleError(
            f"{product}: fixed_pt holds numbers of a mantissa -8..7 times 2**-7..2**8, not "
            f"{product.number.value}; round it"
        )
    for factor in product.factors:
        if factor.add.denominator != 1:
            raise RuleError(f"{product}: fixed_pt adds whole numbers, not {factor.add}")
    return scale
