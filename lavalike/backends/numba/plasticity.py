"""Models of connections that learn; the end of an epoch is in
:mod:`lavalike.backends.numba.epochs`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.connections import RING, by_input, to_ring
from lavalike.backends.numba.epochs import (
    LIMITS,
    advanced_fixed,
    advanced_float,
    grown,
    learn_fixed,
    learn_float,
    plain,
    table,
)
from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.kernels import WRAPPED, jit
from lavalike.backends.numba.layouts import Layout, Moved
from lavalike.backends.numba.model import NumbaModel, held
from lavalike.backends.numba.pcg import seed_words, seventh, uniform
from lavalike.dynamics import integral, within
from lavalike.dynamics.weights import RANGE, SignMode, ends, fixed_weights
from lavalike.errors import GraphError, RuleError, VarError
from lavalike.learning.rule import TRACES, LearningRule
from lavalike.model.config import NodeConfig
from lavalike.model.model import implements
from lavalike.proc.learning import (
    GRADED,
    TAGS,
    DelayLearningSparse,
    LearningDense,
    LearningSparse,
    rule_of,
)
from lavalike.proc.sparse import begins
from lavalike.process import AbstractProcess

NONE: dict[str, np.ndarray] = {
    "target": np.zeros(0, np.int32),
    "back": np.zeros(0, np.uint16),
    "upper": np.zeros(0, np.uint8),
    "first": np.zeros(0, np.int64),
}


class _Learning(NumbaModel):
    """What all have in common: how states lie, and what is looked at when a graph is compiled.

    Synapses lie by input: ``order`` gives them from their Var, ``back`` gives it back.
    """

    process: LearningDense | LearningSparse | DelayLearningSparse
    returns = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        super().__init__(process, config)
        rule = rule_of(self.process, {v.name: v.value for v in process.vars})
        if config.fixed and rule.epoch > 63:
            raise GraphError(
                f"{process.path}: an epoch has at most 63 steps in fixed_pt, not {rule.epoch}"
            )

    def by_input(self, values: np.ndarray) -> np.ndarray:
        """Of a Var of synapses, input-major."""
        return values.T.reshape(-1)

    def by_var(self, values: np.ndarray) -> np.ndarray:
        """The inverse."""
        return values.reshape(self.process.s_in.size, -1).T

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        process, weights = self.process, values["weights"]
        if self.config.fixed and step == 0:
            weights = fixed_weights(weights, process.num_weight_bits, process.sign_mode)
        elif self.config.fixed:
            try:
                within("weights", integral("weights", weights), *RANGE[process.sign_mode])
            except ValueError as e:
                raise VarError(f"{process.path}.{e}") from None
        n_in, n_out = process.s_in.size, process.a_out.size
        tags = {
            f"tags_{v}": self.by_input(values[TAGS[v]]) if v in process.variables else np.zeros(0)
            for v in TAGS
        }
        traces = {
            side: np.array([values[n] if n in process.traces else np.zeros(size) for n in names])
            for side, names, size in (("x", TRACES[:2], n_in), ("y", TRACES[2:], n_out))
        }
        rows = self.by_input(weights)
        return {"rows": rows, **tags, **traces, "tx": values["tx"], "ty": values["ty"]}

    @property
    def layouts(self) -> Mapping[str, Layout]:
        process = self.process
        tags = {TAGS[v]: Moved(f"tags_{v}", self.by_var) for v in TAGS if v in process.variables}
        traces = {n: Moved(n[0], itemgetter(int(n[1]) - 1)) for n in process.traces}
        return {"weights": Moved("rows", self.by_var), **tags, **traces}

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        process, fixed = self.process, self.config.fixed
        rule = rule_of(process, values)
        try:
            ops, numbers = table(rule, fixed)
        except RuleError as e:
            raise RuleError(f"{process.path}: {e}") from None
        given = {name: rule.traces.get(name) for name in TRACES}
        decay = np.array([t.decay if t else 0.0 for t in given.values()])
        impulse = np.array([t.impulse if t else 0.0 for t in given.values()])
        made = {
            "ops": ops,
            "epoch": rule.epoch,
            "plain": int(plain(rule, fixed)),
            "graded": int(values["num_message_bits"][0] > 0),
            "payload": GRADED.index(process.graded_spikes),
            "fed": np.array([t is not None for t in given.values()], np.int64),
            "received": np.array([bool(t and t.received) for t in given.values()], np.int64),
            **self.places(rule),
        }
        exp = int(integral("weight_exp", values["weight_exp"], -24, 24)[0])
        if fixed:
            low, high = RANGE[process.sign_mode]
            whole = np.floor(impulse).astype(np.int64)
            return made | {
                "numbers": numbers,
                "limits": LIMITS,
                "decay": decay,
                "whole": whole,
                "part": np.round((impulse - whole) * 256).astype(np.int64),
                "seeds": seed_words([*range(rule.seed, rule.seed + 4), 2]),
                "left": max(exp, 0),
                "right": max(-exp, 0),
                "low": low,
                "high": high,
            }
        dtype = np.dtype(self.config.dtype)
        least, most = ends(process.sign_mode if "w" in rule.products else SignMode.MIXED)
        return made | {
            "numbers": held("learning_rule", numbers, dtype),
            "limits": np.full(LIMITS.shape, np.inf, dtype),
            "decay": held("tau", decay, dtype),
            "impulse": held("impulse", impulse, dtype),
            "scale": dtype.type(2.0**exp),
            "low": dtype.type(least),
            "high": dtype.type(most),
        }

    def places(self, rule: LearningRule) -> dict[str, np.ndarray]:
        """Where stored synapses are, by input and, where the rule looks at ``y0``, by output."""
        n_out, n_in = self.process.weights.shape
        start = np.arange(n_in + 1) * n_out
        return {**NONE, "start": start}

    def check_batch(self, batch: int) -> None:
        if batch > 1 and self.process.plastic_batch is None:
            each = 1 + len(self.process.variables & {*TAGS})
            dtype = np.dtype(self.narrow.get("rows", self.message_dtype))
            size = each * self.process.weights.value.size * dtype.itemsize
            raise GraphError(
                f"{self.process.path}: in a batch each sample learns weights of its own, {batch} times {size:,} bytes; ask for it with "
                "plastic_batch='per_sample', or run the samples one after another"
            )

    @property
    def longest(self) -> int:
        """Synapses of an input or an output, at most."""
        return self.process.a_out.size

    @property
    def slots(self) -> int:
        """Steps that messages are under way."""
        return 1

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        process, fixed = self.process, self.config.fixed
        n_out, n_in = process.a_out.size, process.s_in.size
        rule = rule_of(process, {v.name: v.value for v in process.vars})
        outer = plain(rule, fixed) and not isinstance(self, _Stored)
        products, listed = sum(map(len, rule.products.values())), 0 if outer else self.longest
        dtype = np.dtype(np.int32 if fixed else self.config.dtype)
        wide = np.dtype(np.int64 if fixed else self.config.dtype)

        def zeros(*shape: int, of: Any = dtype) -> np.ndarray:
            return np.zeros((batch, *shape), of)

        more = {"sums": zeros(self.slots * n_out, of=np.int64), "total": zeros(n_out * outer)}
        return {
            **({"ring": zeros(1, n_out)} if self.slots == 1 and self.aliases else {}),
            "events": zeros(n_in, of=np.int32),
            "odd": zeros(1, of=np.int64),
            "hx": zeros(2, rule.epoch, n_in),
            "hy": zeros(3, rule.epoch, n_out),
            "posts": zeros(n_out, of=np.int32),
            "ahead": zeros(products, rule.epoch, n_in),
            "along": zeros(products, rule.epoch, n_out),
            "places": zeros(3, listed, of=np.int64),
            "new": zeros(3, listed, of=wide),
            "term": zeros(listed, of=wide),
            **(more if fixed else {}),
        }


@jit
def spikes_float(events, count, s_in, posts, spiked, x, y, tx, ty, impulse, payload, now):
    """A step's spikes: a trace grows at once where one came before in the epoch, else at its end;
    messages set ``x1`` at once."""
    for r in range(count):
        i = events[r]
        if payload == 1:
            x[0, i] = s_in[i] / 2
        elif payload > 1:
            x[0, i] += s_in[i] / 2
        if tx[i] > 0:
            if payload == 0:
                x[0, i] += impulse[0]
            x[1, i] += impulse[1]
        tx[i] = now
    for r in range(spiked):
        j = posts[r]
        if ty[j] > 0:
            for k in range(3):
                y[k, j] += impulse[2 + k]
        ty[j] = now


@jit
def spikes_fixed(
    t, events, count, s_in, posts, spiked, x, y, tx, ty, whole, part, seeds, payload, now
):  # fmt: skip
    """The same in fixed point: what an input's traces grow by is not drawn; messages count 0 to
    255, their halves are rounded to even."""
    for r in range(count):
        i = events[r]
        again, counts = tx[i] > 0, True
        if payload == 0 and again:
            x[0, i] = grown(x[0, i], whole[0], part[0], 0)
        elif payload > 0:
            s = min(max(np.int64(s_in[i]), 0), 255)
            half = (s >> 1) + (s & (s >> 1) & 1)
            value = half if payload == 1 else np.int64(x[0, i]) + half
            if payload == 2:
                value = min(value, 127)
            elif payload == 3:
                counts = value > 127
                value -= 127 if counts else 0
            x[0, i] = value
        if again and counts:
            x[1, i] = grown(x[1, i], whole[1], part[1], 0)
        if counts:
            tx[i] = now
    drawn = False
    bit = np.int64(0)
    for r in range(spiked):
        j = posts[r]
        if ty[j] > 0:
            if not drawn:
                bit = seventh(seeds[3], 2 * t - 1)
                drawn = True
            for k in range(3):
                y[k, j] = grown(y[k, j], whole[2 + k], part[2 + k], bit)
        ty[j] = now


@jit
def taken(y, received, s_in_y1, s_in_y2, s_in_y3):
    """Traces that are received are what arrives."""
    for j in range(s_in_y1.size if received[2] else 0):
        y[0, j] = s_in_y1[j]
    for j in range(s_in_y2.size if received[3] else 0):
        y[1, j] = s_in_y2[j]
    for j in range(s_in_y3.size if received[4] else 0):
        y[2, j] = s_in_y3[j]


class _Float(_Learning):
    """The rule in floating point."""

    def step(
        t, s_in, s_in_bap, s_in_y1, s_in_y2, s_in_y3, a_out, ring, rows, tags_d, tags_t, x, y, tx, ty,
        ops, numbers, limits, epoch, graded, payload, fed, received, decay, impulse, plain, scale, low,
        high, start, target, back, upper, first, events, odd, hx, hy, posts, places, new, term, ahead, along,
    ):  # fmt: skip
        slots, n_out = ring.shape
        begin = (t + 1) % slots * n_out
        for j in range(n_out):
            ring[t % slots, j] = 0
        into = ring.reshape(-1)
        count = list_events(s_in, events, odd)
        if graded:
            odd[0] = 0
        told = odd[0]
        for r in range(count):
            i = np.int64(events[r])
            s = s_in[i] * scale if graded else scale
            if target.size > 0:
                for e in range(start[i], start[i + 1]):
                    at = begin + target[e]
                    at -= into.size if at >= into.size else 0
                    into[at] += s * rows[e]
            else:
                row = rows[start[i] : start[i + 1]]
                for j in range(n_out):
                    into[j] += s * row[j]
        for j in range(n_out):
            a_out[j] = into[begin + j]
        now = (t - 1) % epoch + 1
        spiked = list_events(s_in_bap, posts, odd)
        odd[0] = told
        spikes_float(events, count, s_in, posts, spiked, x, y, tx, ty, impulse, payload, now)
        taken(y, received, s_in_y1, s_in_y2, s_in_y3)
        if now == epoch:
            advanced_float(x, hx, tx, fed[:2], received[:2], decay[:2], impulse[:2], epoch)
            advanced_float(y, hy, ty, fed[2:], received[2:], decay[2:], impulse[2:], epoch)
            learn_float(
                t, epoch, rows, tags_d, tags_t, start, target, back, upper, first, tx, ty, hx, hy, ops, numbers,
                limits, plain, low, high, posts, places, new, term, ahead, along,
            )  # fmt: skip
            for i in range(tx.size):
                tx[i] = 0
            for j in range(ty.size):
                ty[j] = 0
        return 0


class _Fixed(_Learning):
    """The rule in Loihi's integers with stochastic rounding, bit for bit what Lava computes: a draw
    follows from seed and step.

    Weights and tags, of 9 bits at most, are held in 16.
    """

    narrow: ClassVar = dict.fromkeys(("rows", "tags_d", "tags_t"), np.int16)

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        for name in self.process.variables & {*TAGS}:
            try:
                within(TAGS[name], values[TAGS[name]], -(2**15), 2**15 - 1)
            except ValueError as e:
                raise VarError(f"{self.process.path}.{e}") from None
        return super().load(values, step)

    def step(
        t, s_in, s_in_bap, s_in_y1, s_in_y2, s_in_y3, a_out, ring, rows, tags_d, tags_t, x, y, tx, ty,
        ops, numbers, limits, epoch, graded, payload, fed, received, decay, whole, part, plain, seeds,
        left, right, low, high, start, target, back, upper, first, events, odd, hx, hy, posts, places, new, term,
        ahead, along, sums, total,
    ):  # fmt: skip
        slots, n_out = ring.shape
        begin = (t + 1) % slots * n_out
        for j in range(n_out):
            ring[t % slots, j] = 0
        into = ring.reshape(-1)
        count = list_events(s_in, events, odd)
        if graded:
            odd[0] = 0
        told = odd[0]
        for r in range(count):
            i = np.int64(events[r])
            s = np.int64(s_in[i]) if graded else np.int64(1)
            if target.size > 0:
                for e in range(start[i], start[i + 1]):
                    sums[target[e]] += s * rows[e]
            else:
                row = rows[start[i] : start[i + 1]]
                for j in range(n_out):
                    sums[j] += s * row[j]
        bad = 0
        for k in range(sums.size if count > 0 else 0):  # shifted as sums, one for each delay
            at = begin + k
            at -= into.size if at >= into.size else 0
            after = into[at] + ((sums[k] << left) >> right)
            bad |= after != np.int64(np.int32(after))
            into[at] = after
            sums[k] = 0
        for j in range(n_out):
            a_out[j] = into[begin + j]
        now = (t - 1) % epoch + 1
        spiked = list_events(s_in_bap, posts, odd)
        odd[0] = told
        spikes_fixed(
            t, events, count, s_in, posts, spiked, x, y, tx, ty, whole, part, seeds, payload, now
        )
        taken(y, received, s_in_y1, s_in_y2, s_in_y3)
        if now == epoch:
            advanced_fixed(
                x, hx, tx, fed[:2], received[:2], decay[:2], whole[:2], part[:2],
                uniform(seeds[0], 2 * t), seventh(seeds[1], 2 * t), epoch,
            )  # fmt: skip
            advanced_fixed(
                y, hy, ty, fed[2:], received[2:], decay[2:], whole[2:], part[2:],
                uniform(seeds[2], 2 * t), seventh(seeds[3], 2 * t), epoch,
            )  # fmt: skip
            learn_fixed(
                t, epoch, rows, tags_d, tags_t, start, target, back, upper, first, tx, ty, hx, hy, ops, numbers,
                limits, plain, low, high, posts, places, new, term, ahead, along, total,
                uniform(seeds[4], t // epoch),
            )  # fmt: skip
            for i in range(tx.size):
                tx[i] = 0
            for j in range(ty.size):
                ty[j] = 0
        return WRAPPED if bad else 0


class _Stored(_Learning):
    """Synapses that are stored."""

    process: LearningSparse | DelayLearningSparse

    @functools.cached_property
    def order(self) -> tuple[Any, np.ndarray, np.ndarray]:
        return by_input(self.process)

    def by_input(self, values: np.ndarray) -> np.ndarray:
        return values[self.order[0]]

    def by_var(self, values: np.ndarray) -> np.ndarray:
        out = np.empty_like(values)
        out[self.order[0]] = values
        return out

    @property
    def targets(self) -> np.ndarray:
        """Where a synapse adds."""
        return self.order[1]

    def places(self, rule: LearningRule) -> dict[str, np.ndarray]:
        _, outputs, start = self.order
        made = {**NONE, "start": start, "target": self.targets}
        if "y0" in rule.gates:
            back = np.argsort(outputs, kind="stable")
            made["back"] = (back & 0xFFFF).astype(np.uint16)
            made["upper"] = (back >> 16).astype(np.uint8 if len(back) <= 2**24 else np.uint16)
            counts = np.bincount(outputs, minlength=self.process.a_out.size)
            made["first"] = begins(counts)
        return made

    @property
    def longest(self) -> int:
        _, outputs, start = self.order
        return max(int(np.diff(start).max()), int(np.bincount(outputs).max()))


class _Delayed(_Stored):
    """Stored synapses with delays: a ring of slots, one a future step, as that of DelaySparse."""

    process: DelayLearningSparse
    aliases: ClassVar = {}
    sends: ClassVar = {"a_buff": "a_out"}

    @property
    def lag(self) -> int:
        return 1 + self.shortest(self.process.delays.value)

    @property
    def slots(self) -> int:
        return self.process.max_delay + 1

    @property
    def targets(self) -> np.ndarray:
        """Where in the ring, from the slot of the next step on, a synapse adds."""
        n_out, limit = self.process.a_out.size, self.process.max_delay
        most = min(limit, 63) if self.config.fixed else limit
        delays = within("delays", integral("delays", self.process.delays.value), 0, most)
        place = delays[self.order[0]] * n_out + self.order[1]
        return place.astype(np.int32 if self.slots * n_out < 2**31 else np.int64)

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {**super().load(values, step), "ring": to_ring(values["a_buff"], step)}

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return {**super().layouts, "a_buff": RING}


@implements(LearningDense, backend="numba", precision="floating_pt", delay=1)
class LearningDenseModelFloat(_Float):
    """A matrix, in floating point."""


@implements(LearningDense, backend="numba", precision="fixed_pt", delay=1)
class LearningDenseModelFixed(_Fixed):
    """A matrix, in integers."""


@implements(LearningSparse, backend="numba", precision="floating_pt", delay=1)
class LearningSparseModelFloat(_Stored, _Float):
    """Stored synapses, in floating point."""


@implements(LearningSparse, backend="numba", precision="fixed_pt", delay=1)
class LearningSparseModelFixed(_Stored, _Fixed):
    """Stored synapses, in integers."""


@implements(DelayLearningSparse, backend="numba", precision="floating_pt", delay=1)
class DelayLearningSparseModelFloat(_Delayed, _Float):
    """Stored synapses with delays, in floating point."""


@implements(DelayLearningSparse, backend="numba", precision="fixed_pt", delay=1)
class DelayLearningSparseModelFixed(_Delayed, _Fixed):
    """Stored synapses with delays, in integers."""
