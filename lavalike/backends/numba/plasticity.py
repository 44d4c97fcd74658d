"""Models of connections that learn.

A rule is data to the kernel (a table of products and their factors), so that another rule compiles nothing. An epoch's end walks the rows
of inputs that the epoch's spikes require: all of a row where its input spiked or a ``uk`` is 1, and the places of outputs that spiked
where a ``y0`` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.connections import add_rows, settled
from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.kernels import inlined, jit
from lavalike.backends.numba.model import NumbaModel, held
from lavalike.backends.numba.pcg import seed_words, seventh, uniform
from lavalike.dynamics import integral
from lavalike.dynamics.weights import RANGE, SignMode, fixed_weights
from lavalike.errors import GraphError, RuleError
from lavalike.learning.parse import Product
from lavalike.learning.reference import scaled, width
from lavalike.learning.rule import (
    ACCUMULATOR_BITS,
    FRACTION,
    LARGEST_TRACE,
    MANTISSA_BITS,
    RANGES,
    SATURATED,
    TARGETS,
    TRACES,
    LearningRule,
)
from lavalike.model.config import NodeConfig
from lavalike.model.model import implements
from lavalike.proc.learning import TAGS, LearningDense
from lavalike.process import AbstractProcess

X0, Y0, U = 8, 9, 10  # factors that are gates; before them come TRACES, then TARGETS
FACTORS = (*TRACES, *TARGETS, "x0", "y0")
HEAD = 4  # of a product's row: target, gate, every how many epochs, how many factors; then kind and sign of each
LOWEST, HIGHEST = SATURATED
LOWEST_D, HIGHEST_D = RANGES["d"]
LOWEST_T, HIGHEST_T = RANGES["t"]
ONE = 1 << FRACTION


def code(name: str) -> int:
    return U if name[0] == "u" else FACTORS.index(name)


def table(rule: LearningRule, fixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A row a product: what ``HEAD`` says, and its numbers: what it is multiplied with, and what is added to each factor; in fixed
    point mantissa, left and right shift come first."""
    products = [(TARGETS.index(t), p) for t, ps in rule.products.items() for p in ps]
    most = max(len(p.factors) for _, p in products)
    ops = np.zeros((len(products), HEAD + 2 * most), np.int64)
    numbers = np.zeros((len(products), 3 + most), np.int64 if fixed else np.float64)
    for row, values, (target, p) in zip(ops, numbers, products, strict=True):
        row[:HEAD] = target, code(p.gate), p.every, len(p.factors)
        values[:3] = _shifts(p) if fixed else (float(p.number.value), 0, 0)
        for k, factor in enumerate(p.factors):
            row[HEAD + 2 * k : HEAD + 2 * k + 2] = code(factor.name), factor.sign
            values[3 + k] = int(factor.add) if fixed else float(factor.add)
    return ops, numbers


def _shifts(product: Product) -> tuple[int, int, int]:
    mantissa, exponent = scaled(product)
    bits = MANTISSA_BITS + sum(width(f.name) for f in product.factors)
    return mantissa, exponent + FRACTION, max(0, bits - ACCUMULATOR_BITS)


# -- what both arithmetics do ----------------------------------------------------------------------


@jit
def factor(kind, sign, add, at, i, j, hx, hy, rows, tags_d, tags_t, tx, ty, u):
    """One factor of synapse (i, j), its traces at step ``at`` of the epoch."""
    if kind < 2:
        value = hx[kind, at, i] + add
    elif kind < 5:
        value = hy[kind - 2, at, j] + add
    elif kind == 5:
        value = rows[i, j] + add
    elif kind == 6:
        value = tags_d[i, j] + add
    elif kind == 7:
        value = tags_t[i, j] + add
    elif kind == X0:
        value = (1 if tx[i] > 0 else 0) + add
    elif kind == Y0:
        value = (1 if ty[j] > 0 else 0) + add
    else:
        value = u + add
    if sign:
        value = (1 if value > 0 else 0) - (1 if value < 0 else 0) + 0 * add
    return value


@inlined
def fires(every, now, epoch):
    return 1 if every == 1 or now // epoch % every == 0 else 0


@jit
def fired(ty, posts):
    """The outputs that spiked in the epoch; how many."""
    count = 0
    for j in range(ty.size):
        if ty[j] > 0:
            posts[count] = j
            count += 1
    return count


@jit
def gates(ops, now, epoch):
    """Whether products have the gates ``x0``, ``y0`` and a ``uk`` that is 1."""
    by_x0, by_y0, by_u = False, False, False
    for p in range(ops.shape[0]):
        by_x0 |= ops[p, 1] == X0
        by_y0 |= ops[p, 1] == Y0
        by_u |= ops[p, 1] == U and fires(ops[p, 2], now, epoch) == 1
    return by_x0, by_y0, by_u


# -- floating point --------------------------------------------------------------------------------


@jit
def decayed_float(history, times, neurons, fed, decay, impulse, epoch):
    """history[k, n + 1] from history[k, n]."""
    for k in range(history.shape[0]):
        if not fed[k]:
            continue
        for n in range(1, epoch + 1):
            for i in range(neurons):
                value = history[k, n - 1, i] * decay[k]
                if times[i] == n:
                    value += impulse[k]
                history[k, n, i] = value


@jit
def learn_plain(
    now, epoch, rows, tx, ty, hx, hy, ops, numbers, low, high, posts, along
):  # fmt: skip
    """The end of an epoch for a rule that changes weights alone and looks at none: product after product, each only where its gate is."""
    n_in, n_out = rows.shape
    n_post = fired(ty, posts)
    bounded = low > -np.inf or high < np.inf
    for p in range(ops.shape[0]):
        gate, factors = ops[p, 1], ops[p, 3]
        first = numbers[p, 0] * fires(ops[p, 2], now, epoch)
        if first == 0 or (gate == Y0 and n_post == 0):
            continue
        # what does not depend on the input: once for all rows
        for n in range(epoch + 1):
            for j in range(n_out):
                along[n, j] = 1
        for f in range(factors):
            kind, add = ops[p, 4 + 2 * f], numbers[p, 3 + f]
            if kind >= 2 and gate == Y0:
                for q in range(n_post):
                    along[0, q] *= hy[kind - 2, np.int64(ty[posts[q]]), posts[q]] + add
            elif kind >= 2:
                for n in range(1, epoch + 1):
                    for j in range(n_out):
                        along[n, j] *= hy[kind - 2, n, j] + add
        for i in range(n_in):
            if gate == X0 and tx[i] == 0:
                continue
            row = rows[i]
            if gate == Y0 and epoch > 1:  # outputs look at different steps
                for q in range(n_post):
                    d = first * along[0, q]
                    for f in range(factors):
                        if ops[p, 4 + 2 * f] < 2:
                            at = np.int64(ty[posts[q]])
                            d *= hx[ops[p, 4 + 2 * f], at, i] + numbers[p, 3 + f]
                    row[posts[q]] += d
                continue
            n = np.int64(tx[i]) if gate == X0 else epoch
            c = first
            for f in range(factors):
                if ops[p, 4 + 2 * f] < 2:
                    c *= hx[ops[p, 4 + 2 * f], n, i] + numbers[p, 3 + f]
            if c == 0:
                continue
            if gate == Y0:
                for q in range(n_post):
                    row[posts[q]] += c * along[0, q]
            else:
                values = along[n]
                for j in range(n_out):
                    row[j] += c * values[j]
    if bounded:
        for i in range(n_in):
            for j in range(n_out):
                rows[i, j] = min(max(rows[i, j], low), high)


@jit
def learn_float(
    now, epoch, rows, tags_d, tags_t, tx, ty, hx, hy, ops, numbers, low, high, posts, new
):  # fmt: skip
    """The end of an epoch: all targets from the values before, then written."""
    n_in, n_out = rows.shape
    n_post = fired(ty, posts)
    by_x0, by_y0, by_u = gates(ops, now, epoch)
    for i in range(n_in):
        whole = (tx[i] > 0 and by_x0) or by_u
        if not whole and (not by_y0 or n_post == 0):
            continue
        count = n_out if whole else n_post
        for q in range(count):
            j = q if whole else posts[q]
            new[0, q] = rows[i, j]
            if tags_d.size > 0:
                new[1, q] = tags_d[i, j]
            if tags_t.size > 0:
                new[2, q] = tags_t[i, j]
        for p in range(ops.shape[0]):
            u = fires(ops[p, 2], now, epoch)
            gate = ops[p, 1]
            if (gate == X0 and tx[i] == 0) or (gate == U and u == 0):
                continue
            for q in range(count):
                j = q if whole else posts[q]
                if gate == Y0 and ty[j] == 0:
                    continue
                at = np.int64(tx[i]) if gate == X0 else np.int64(ty[j]) if gate == Y0 else epoch
                d = numbers[p, 0]
                for f in range(ops[p, 3]):
                    d *= factor(
                        ops[p, 4 + 2 * f], ops[p, 5 + 2 * f], numbers[p, 3 + f], at, i, j, hx, hy,
                        rows, tags_d, tags_t, tx, ty, u,
                    )  # fmt: skip
                new[ops[p, 0], q] += d
        for q in range(count):
            j = q if whole else posts[q]
            rows[i, j] = min(max(new[0, q], low), high)
            if tags_d.size > 0:
                tags_d[i, j] = max(new[1, q], new.dtype.type(0))
            if tags_t.size > 0:
                tags_t[i, j] = new[2, q]


# -- fixed point -----------------------------------------------------------------------------------


@inlined
def grown(value, whole, part, bit):
    return min(max(np.int64(value) + whole + (1 if bit < part else 0), 0), LARGEST_TRACE)


@jit
def decayed_fixed(history, times, neurons, fed, decay, whole, part, draw, bit, epoch):
    for k in range(history.shape[0]):
        if not fed[k]:
            continue
        for n in range(1, epoch + 1):
            for i in range(neurons):
                value = history[k, n - 1, i] * decay[k]
                low = np.floor(value)
                left = np.int64(low) + (1 if draw < value - low else 0)
                history[k, n, i] = grown(left, whole[k], part[k], bit) if times[i] == n else left


@jit
def learn_fixed(
    now, epoch, rows, tags_d, tags_t, tx, ty, hx, hy, ops, numbers, widths, draw, low, high, posts, new
):  # fmt: skip
    """The end of an epoch in Loihi's 16 bits: see :mod:`lavalike.learning.reference`."""
    n_in, n_out = rows.shape
    n_post = fired(ty, posts)
    by_x0, by_y0, by_u = gates(ops, now, epoch)
    on_w = ops[0, 0] == 0  # targets come in their order
    for i in range(n_in):
        whole = (tx[i] > 0 and by_x0) or by_u
        if not whole and (not by_y0 or n_post == 0):
            continue
        count = n_out if whole else n_post
        for q in range(count):
            j = q if whole else posts[q]
            new[0, q] = np.int64(rows[i, j]) << FRACTION
            if tags_d.size > 0:
                new[1, q] = np.int64(tags_d[i, j]) << FRACTION
            if tags_t.size > 0:
                new[2, q] = np.int64(tags_t[i, j]) << FRACTION
        for p in range(ops.shape[0]):
            u = fires(ops[p, 2], now, epoch)
            gate = ops[p, 1]
            if (gate == X0 and tx[i] == 0) or (gate == U and u == 0):
                continue
            target = ops[p, 0]
            for q in range(count):
                j = q if whole else posts[q]
                if gate == Y0 and ty[j] == 0:
                    continue
                at = np.int64(tx[i]) if gate == X0 else np.int64(ty[j]) if gate == Y0 else epoch
                term = numbers[p, 0]
                for f in range(ops[p, 3]):
                    value = factor(
                        ops[p, 4 + 2 * f], ops[p, 5 + 2 * f], numbers[p, 3 + f], at, i, j, hx, hy,
                        rows, tags_d, tags_t, tx, ty, u,
                    )  # fmt: skip
                    top = widths[ops[p, 4 + 2 * f]]
                    term *= min(max(np.int64(value), -(1 << top)), (1 << top) - 1)
                term = (term >> numbers[p, 2]) << numbers[p, 1]
                term = min(max(term, LOWEST), HIGHEST)
                new[target, q] = min(max(new[target, q] + term, LOWEST), HIGHEST)
        for q in range(count):
            j = q if whole else posts[q]
            if on_w:
                rows[i, j] = rounded(min(max(new[0, q], low * ONE), high * ONE), draw, low, high)
            if tags_d.size > 0:
                tags_d[i, j] = rounded(max(new[1, q], LOWEST_D * ONE), draw, LOWEST_D, HIGHEST_D)
            if tags_t.size > 0:
                tags_t[i, j] = rounded(new[2, q], draw, LOWEST_T, HIGHEST_T)


@inlined
def rounded(total, draw, low, high):
    value = total >> FRACTION
    part = (total - (value << FRACTION)) / float(ONE)
    return min(max(value + (1 if draw < part else 0), low), high)


# -- the models ------------------------------------------------------------------------------------


class _Learning(NumbaModel):
    """What both arithmetics have in common: how states lie, and what is looked at when a graph is compiled."""

    process: LearningDense
    returns = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        super().__init__(process, config)
        self._check()
        try:
            self.ops, self.numbers = table(self.rule, config.fixed)
        except RuleError as e:
            raise RuleError(f"{process.path}: {e}") from None

    @property
    def rule(self) -> LearningRule:
        return self.process.learning_rule

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        weights = values["weights"]
        if self.config.fixed and step == 0:
            weights = fixed_weights(weights, self.process.num_weight_bits, self.process.sign_mode)
        n_out, n_in = weights.shape
        rows = np.zeros((n_in + 1, n_out), weights.dtype)  # the last one fills up a pass
        rows[:-1] = weights.T
        tags = {
            f"tags_{v}": values[TAGS[v]].T if v in self.rule.variables else np.zeros((0, 0))
            for v in TAGS
        }
        traces = {
            side: np.array([values[n] if n in values else np.zeros(size) for n in names])
            for side, names, size in (("x", TRACES[:2], n_in), ("y", TRACES[2:], n_out))
        }
        return {"rows": rows, **tags, **traces, "tx": values["tx"], "ty": values["ty"]}

    def store(self, states: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        tags = {TAGS[v]: states[f"tags_{v}"].T for v in TAGS if v in self.rule.variables}
        traces = {n: states[n[0]][int(n[1]) - 1] for n in self.rule.traces}
        return {
            "weights": states["rows"][:-1].T,
            **tags,
            **traces,
            "tx": states["tx"],
            "ty": states["ty"],
        }

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        fixed, rule, ops, numbers = self.config.fixed, self.rule, self.ops, self.numbers
        given = {name: rule.traces.get(name) for name in TRACES}
        decay = np.array([t.decay if t else 0.0 for t in given.values()])
        impulse = np.array([t.impulse if t else 0.0 for t in given.values()])
        made = {
            "ops": ops,
            "epoch": rule.epoch,
            "graded": int(values["num_message_bits"][0] > 0),
            "fed": np.array([t is not None for t in given.values()], np.int64),
            "received": np.array([bool(t and t.received) for t in given.values()], np.int64),
        }
        exp = int(integral("weight_exp", values["weight_exp"], -24, 24)[0])
        if fixed:
            low, high = RANGE[self.process.sign_mode]
            whole = np.floor(impulse).astype(np.int64)
            return made | {
                "numbers": numbers,
                "decay": decay,
                "whole": whole,
                "part": np.round((impulse - whole) * 256).astype(np.int64),
                "widths": np.array([width(n) for n in (*FACTORS, "u0")], np.int64),
                "seeds": seed_words([*range(rule.seed, rule.seed + 4), 2]),
                "left": max(exp, 0),
                "right": max(-exp, 0),
                "low": low,
                "high": high,
            }
        dtype = np.dtype(self.config.dtype)
        kinds = [row[HEAD : HEAD + 2 * row[3] : 2] for row in ops]
        plain = not ops[:, 0].any() and all((k < len(TRACES)).all() for k in kinds)
        mode = self.process.sign_mode
        return made | {
            "numbers": held("learning_rule", numbers, dtype),
            "decay": held("tau", decay, dtype),
            "impulse": held("impulse", impulse, dtype),
            "plain": int(plain),
            "scale": dtype.type(2.0**exp),
            "low": dtype.type(
                0 if mode == SignMode.EXCITATORY and "w" in rule.products else -np.inf
            ),
            "high": dtype.type(
                0 if mode == SignMode.INHIBITORY and "w" in rule.products else np.inf
            ),
        }

    def _check(self) -> None:
        process, rule = self.process, self.rule
        posts = {n for n in rule.traces if n[0] == "y" and n not in rule.received}
        looked = sorted({"y0"} & rule.gates | posts)
        if looked and not process.s_in_bap.sources:
            raise GraphError(
                f"{process.path}: its rule looks at {', '.join(looked)}, and nothing is connected to s_in_bap; "
                "connect the spikes of its output neurons: post.s_out.connect(dense.s_in_bap)"
            )
        for name in TRACES[2:]:
            port = getattr(process, f"s_in_{name}")
            if port.sources and name not in rule.received:
                raise GraphError(
                    f"{process.path}: {port.name} is connected, and its rule does not receive {name}; say so with "
                    f"{name}=Trace(received=True), or leave it unconnected"
                )
            if name in rule.received and not port.sources:
                raise GraphError(
                    f"{process.path}: its rule receives {name}, and nothing is connected to {port.name}"
                )
        if self.config.fixed and rule.epoch > 63:
            raise GraphError(
                f"{process.path}: an epoch has at most 63 steps in fixed_pt, not {rule.epoch}"
            )

    def check_batch(self, batch: int) -> None:
        if batch > 1 and self.process.plastic_batch is None:
            size = self.process.weights.value.size * self.message_dtype.itemsize
            raise GraphError(
                f"{self.process.path}: in a batch each sample learns weights of its own, {batch} times {size:,} bytes; ask for it with "
                "plastic_batch='per_sample', or run the samples one after another"
            )

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        process, rule, fixed = self.process, self.rule, self.config.fixed
        n_out, n_in = process.weights.shape
        dtype = np.dtype(np.int64 if fixed else self.config.dtype)
        more = (
            {"sums": np.zeros((batch, n_out), np.int64)}
            if fixed
            else {"along": np.zeros((batch, rule.epoch + 1, n_out), dtype)}
        )
        return {
            "events": np.zeros((batch, n_in), np.int32),
            "odd": np.zeros((batch, 1), np.int64),
            "hx": np.zeros((batch, 2, rule.epoch + 1, n_in), dtype),
            "hy": np.zeros((batch, 3, rule.epoch + 1, n_out), dtype),
            "posts": np.zeros((batch, n_out), np.int32),
            "new": np.zeros((batch, 3, n_out), dtype),
            **more,
        }


@jit
def noted(events, count, s_in_bap, x, y, tx, ty, impulse, now):
    """A step's spikes in floating point: a trace grows at once where one came before in the epoch; else at its end."""
    for r in range(count):
        i = events[r]
        if tx[i] > 0:
            x[0, i] += impulse[0]
            x[1, i] += impulse[1]
        tx[i] = now
    for j in range(s_in_bap.size):
        if s_in_bap[j] != 0:
            if ty[j] > 0:
                for k in range(3):
                    y[k, j] += impulse[2 + k]
            ty[j] = now


@jit
def taken(y, k, received, values):
    if received[k]:
        for j in range(values.size):
            y[k, j] = values[j]


@jit
def begun(state, history, times, epoch):
    """The history of an epoch begins with the traces. Times index it: what was set beyond the epoch counts as its last step."""
    for i in range(times.size):
        times[i] = min(max(np.int64(times[i]), 0), epoch)
    for k in range(state.shape[0]):
        for i in range(state.shape[1]):
            history[k, 0, i] = state[k, i]


@jit
def kept(state, history, epoch, received, times):
    """Traces at the end of an epoch; those that are received stay what they are. No spike is in the next yet."""
    for k in range(state.shape[0]):
        for i in range(state.shape[1] if not received[k] else 0):
            state[k, i] = history[k, epoch, i]
    for i in range(times.size):
        times[i] = 0


@implements(LearningDense, backend="numba", precision="floating_pt", delay=1)
class LearningDenseModelFloat(_Learning):
    """The rule in floating point."""

    def step(
        t, s_in, s_in_bap, s_in_y1, s_in_y2, s_in_y3, a_out, rows, tags_d, tags_t, x, y, tx, ty,
        ops, numbers, epoch, graded, fed, received, decay, impulse, plain, scale, low, high,
        events, odd, hx, hy, posts, new, along,
    ):  # fmt: skip
        n_in, n_out = rows.shape[0] - 1, rows.shape[1]
        count = list_events(s_in, events, odd)
        odd[0] = 0
        for j in range(n_out):
            a_out[j] = 0
        add_rows(a_out, rows, s_in, events, 0, count, graded)
        if scale != 1:
            for j in range(n_out):
                a_out[j] *= scale
        now = (t - 1) % epoch + 1
        noted(events, count, s_in_bap, x, y, tx, ty, impulse, now)
        taken(y, 0, received[2:], s_in_y1)
        taken(y, 1, received[2:], s_in_y2)
        taken(y, 2, received[2:], s_in_y3)
        if now == epoch:
            begun(x, hx, tx, epoch)
            begun(y, hy, ty, epoch)
            decayed_float(hx, tx, n_in, fed[:2], decay[:2], impulse[:2], epoch)
            decayed_float(hy, ty, n_out, fed[2:], decay[2:], impulse[2:], epoch)
            if plain:
                learn_plain(
                    t, epoch, rows[:n_in], tx, ty, hx, hy, ops, numbers, low, high, posts, along
                )
            else:
                learn_float(
                    t, epoch, rows[:n_in], tags_d, tags_t, tx, ty, hx, hy, ops, numbers, low, high,
                    posts, new,
                )  # fmt: skip
            kept(x, hx, epoch, received[:2], tx)
            kept(y, hy, epoch, received[2:], ty)
        return 0


@implements(LearningDense, backend="numba", precision="fixed_pt", delay=1)
class LearningDenseModelFixed(_Learning):
    """The rule in Loihi's integers with stochastic rounding, bit for bit what Lava computes: a draw follows from seed and step."""

    def step(
        t, s_in, s_in_bap, s_in_y1, s_in_y2, s_in_y3, a_out, rows, tags_d, tags_t, x, y, tx, ty,
        ops, numbers, epoch, graded, fed, received, decay, whole, part, widths, seeds, left, right, low, high,
        events, odd, hx, hy, posts, new, sums,
    ):  # fmt: skip
        n_in, n_out = rows.shape[0] - 1, rows.shape[1]
        count = list_events(s_in, events, odd)
        odd[0] = 0
        for j in range(n_out):
            sums[j] = 0
        for r in range(count):
            i = events[r]
            s = np.int64(s_in[i]) if graded else np.int64(1)
            for j in range(n_out):
                sums[j] += s * rows[i, j]
        status = settled(sums, left, right, a_out)
        now = (t - 1) % epoch + 1
        for r in range(count):
            i = events[r]
            if tx[i] > 0:
                for k in range(2):
                    x[k, i] = grown(x[k, i], whole[k], part[k], 0)
            tx[i] = now
        drawn = False
        bit = np.int64(0)
        for j in range(n_out):
            if s_in_bap[j] != 0:
                if ty[j] > 0:
                    if not drawn:
                        bit = seventh(seeds, 3, 2 * t - 1)
                        drawn = True
                    for k in range(3):
                        y[k, j] = grown(y[k, j], whole[2 + k], part[2 + k], bit)
                ty[j] = now
        taken(y, 0, received[2:], s_in_y1)
        taken(y, 1, received[2:], s_in_y2)
        taken(y, 2, received[2:], s_in_y3)
        if now == epoch:
            begun(x, hx, tx, epoch)
            begun(y, hy, ty, epoch)
            decayed_fixed(
                hx, tx, n_in, fed[:2], decay[:2], whole[:2], part[:2],
                uniform(seeds, 0, 2 * t), seventh(seeds, 1, 2 * t), epoch,
            )  # fmt: skip
            decayed_fixed(
                hy, ty, n_out, fed[2:], decay[2:], whole[2:], part[2:],
                uniform(seeds, 2, 2 * t), seventh(seeds, 3, 2 * t), epoch,
            )  # fmt: skip
            draw = uniform(seeds, 4, t // epoch)
            learn_fixed(
                t, epoch, rows[:n_in], tags_d, tags_t, tx, ty, hx, hy, ops, numbers, widths, draw, low, high,
                posts, new,
            )  # fmt: skip
            kept(x, hx, epoch, received[:2], tx)
            kept(y, hy, epoch, received[2:], ty)
        return status
