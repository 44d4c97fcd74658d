"""Models of the connections: event-driven, weights input-major, so that an event adds one
contiguous row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.kernels import WRAPPED, inlined, jit
from lavalike.backends.numba.layouts import Layout, Moved
from lavalike.backends.numba.model import NumbaModel, all_same, held
from lavalike.dynamics import integral, within
from lavalike.dynamics.weights import fixed_weights
from lavalike.model.config import NodeConfig
from lavalike.model.model import implements
from lavalike.proc.conv_in_time import ConvInTime
from lavalike.proc.dense import Delay, DelayDense, DelayLine, Dense
from lavalike.proc.sparse import DelaySparse, Sparse, begins


def narrowed(
    weights: np.ndarray, config: NodeConfig, name: str = "weights"
) -> tuple[np.ndarray, int]:
    """Weights in the smallest dtype that holds them, common factors of two taken out as a left
    shift of the sums: what an event moves through memory is its weights."""
    if not config.fixed:
        return held(name, weights, config.dtype), 0
    low = int(np.bitwise_or.reduce(weights, axis=None)) if weights.size else 0
    shift = (low & -low).bit_length() - 1 if low else 0
    return _smallest(weights >> shift if shift else weights), shift


def _smallest(weights: np.ndarray) -> np.ndarray:
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if not weights.size or (weights.min() >= info.min and weights.max() <= info.max):
            return np.ascontiguousarray(weights, dtype)
    raise ValueError("weights: beyond 32 bits after weight_exp")


MANY = 1 << 20  # synapses at a time, where a pass over all would hold eight bytes of each
VERY_MANY = 1 << 23  # synapses whose memory counts more than time
TILE = 512  # rows of weights that stay in a cache while the samples of a batch go through them


@inlined
def zero(x):
    """``x[:] = 0`` of one axis; that itself takes four times as long to compile."""
    for i in range(x.size):
        x[i] = 0


@jit
def settled(sums, left, right, out):
    """``out = (sums << left) >> right``; WRAPPED where that leaves 32 bits."""
    bad = 0
    for i in range(out.size):
        if left >= right:
            total = sums[i] << (left - right)
            bad |= total >> (left - right) != sums[i]
        else:
            total = sums[i] >> (right - left)
        bad |= total != np.int64(np.int32(total))
        out[i] = total
    return WRAPPED if bad else 0


@jit
def exact(inputs, events, count, rows, left, right, graded, sums, out):
    """A sample's product in 64 bits, where 32 might not hold it."""
    zero(sums)
    for e in range(count):
        j = events[e]
        s = np.int64(inputs[j]) if graded else np.int64(1)
        for i in range(out.size):
            sums[i] += s * np.int64(rows[j, i])
    return settled(sums, left, right, out)


@inlined
def add_rows(out, rows, inputs, events, p, q, graded):
    """Add the rows of events ``p`` to ``q``, times their inputs where graded, four of them a pass
    over ``out``; the last row of all is zeros and fills up the last pass. Each element adds them in
    their order."""
    none = rows.shape[0] - 1
    while p < q:
        a = events[p]
        b = events[p + 1] if p + 1 < q else none
        c = events[p + 2] if p + 2 < q else none
        d = events[p + 3] if p + 3 < q else none
        ra, rb, rc, rd = rows[a], rows[b], rows[c], rows[d]
        if graded:
            zero = inputs.dtype.type(0)
            sa = inputs[a]
            sb = inputs[b] if b < none else zero
            sc = inputs[c] if c < none else zero
            sd = inputs[d] if d < none else zero
            for i in range(out.size):
                out[i] = out[i] + sa * ra[i] + sb * rb[i] + sc * rc[i] + sd * rd[i]
        else:
            for i in range(out.size):
                out[i] = out[i] + ra[i] + rb[i] + rc[i] + rd[i]
        p += 4


class _Connection(NumbaModel):
    process: Dense | Sparse | DelayDense | DelaySparse
    batched = True
    returns = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def weights_and_shift(self, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int]:
        """The weights in the arithmetic of the run, and by how many bits a step's sum is shifted
        right."""
        exp = int(integral("weight_exp", values["weight_exp"], -24, 24)[0])
        if not self.config.fixed:
            return values["weights"] * 2.0**exp if exp else values["weights"], 0
        whole = fixed_weights(
            values["weights"], self.process.num_weight_bits, self.process.sign_mode
        )
        return (whole.astype(np.int64) << exp, 0) if exp > 0 else (whole, -exp)

    def total(self, sums: Callable[[], np.ndarray], graded: int) -> np.float64:
        """What a message is multiplied with at most (the largest of ``sums`` over an output's
        synapses), where products might leave the 32 bits of fixed_pt; 0: they cannot."""
        most = float(sums().max()) if self.config.fixed else 0.0
        return np.float64(most if graded or most >= 2**31 else 0)

    def more_scratch(self, batch: int) -> dict[str, np.ndarray]:
        n_out = self.process.a_out.size if self.config.fixed else 1
        return {"odd": np.zeros((batch, 1), np.int64), "sums": np.zeros((batch, n_out), np.int64)}

    def graded(self, values: Mapping[str, np.ndarray]) -> int:
        return int(values["num_message_bits"][0] > 0)


@implements(Dense, backend="numba", delay=1)
class DenseModel(_Connection):
    """a_out = weights @ s_in. An event costs a row of weights.

    Events are listed first, then added four rows at a time, so that an accumulator is loaded and
    stored once for four events. A batch goes through the weights in tiles of rows, so that samples
    share what was fetched. Every output adds its events in the order of the inputs, whatever the
    tiling: the bits do not depend on the batch.
    """

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        narrow, left = narrowed(weights, self.config) if self.config.fixed else (weights, 0)
        dtype = narrow.dtype if self.config.fixed else np.dtype(self.config.dtype)
        rows = np.empty((weights.shape[1] + 1, weights.shape[0]), dtype)
        rows[-1] = 0  # fills up a pass
        with np.errstate(over="ignore"):  # told below
            for k in range(0, len(narrow), 64):  # a cache's worth of columns at a time
                rows[:-1, k : k + 64] = narrow[k : k + 64].astype(dtype, copy=False).T
        if narrow.dtype.itemsize > dtype.itemsize and not np.isfinite(rows).all():
            held("weights", narrow, dtype)
        graded = self.graded(values)
        return {
            "rows": rows,
            "left": left,
            "right": right,
            "graded": graded,
            "total": self.total(lambda: np.abs(weights, dtype=np.int64).sum(1), graded),
        }

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        n_in = self.process.s_in.size
        return {
            "events": np.zeros((batch, n_in), np.int32),
            "count": np.zeros(batch, np.int64),
            "done": np.zeros(batch, np.int64),
            **self.more_scratch(batch),
        }

    def step(s_in, a_out, rows, left, right, graded, total, events, count, done, odd, sums):
        batch, n_in = s_in.shape
        n_out = rows.shape[1]
        for k in range(batch):
            count[k] = list_events(s_in[k], events[k], odd[k])
            if graded:
                odd[k, 0] = 0
        zero(a_out.reshape(-1))
        zero(done)
        if batch == 1:
            add_rows(a_out[0], rows, s_in[0], events[0], done[0], count[0], graded)
        else:
            for end in range(TILE, n_in + TILE, TILE):
                for k in range(batch):
                    p = done[k]
                    q = p
                    while q < count[k] and events[k, q] < end:
                        q += 1
                    done[k] = q
                    add_rows(a_out[k], rows, s_in[k], events[k], p, q, graded)
        if left != right:
            for k in range(batch):
                out = a_out[k]
                for i in range(n_out):
                    out[i] = (np.int64(out[i]) << left) >> right
        status = 0
        if total > 0:
            for k in range(batch):
                peak = 1.0
                if graded:
                    for e in range(count[k]):
                        peak = max(peak, abs(np.float64(s_in[k, events[k, e]])))
                if peak * total >= 2147483648.0:
                    status |= exact(
                        s_in[k], events[k], count[k], rows, left, right, graded, sums[k], a_out[k]
                    )
        return status


@implements(Sparse, backend="numba", delay=1)
class SparseModel(_Connection):
    """a_out = weights @ s_in over stored entries, sorted by input. Entries that are all the same
    number stay one."""

    process: Sparse

    @functools.cached_property
    def order(self) -> tuple[Any, np.ndarray, np.ndarray]:
        return by_input(self.process)

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        entries, left = narrowed(weights, self.config)
        process = self.process
        order, target, start = self.order
        graded = self.graded(values)
        same = int(not graded and all_same(entries))
        return {
            "entries": entries[order],
            "target": target,
            "start": start,
            "same": same,
            "left": left,
            "right": right,
            "graded": graded,
            "total": self.total(lambda: _most(process.rows, weights, process.a_out.size), graded),
        }

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        events = np.zeros((batch, self.process.s_in.size), np.int32)
        return {"events": events, "last": np.zeros(batch, np.int64), **self.more_scratch(batch)}

    def step(
        s_in,
        a_out,
        entries,
        target,
        start,
        same,
        left,
        right,
        graded,
        total,
        events,
        last,
        odd,
        sums,
    ):
        n_in, n_out = s_in.shape[1], a_out.shape[1]
        status = 0
        for k in range(s_in.shape[0]):
            out = a_out[k]
            count = last[k] - 1  # events of the last step, which stand there yet
            if count >= 0 and 8 * count * target.size < n_in * n_out:  # few outputs are not zero
                for r in range(count):
                    j = events[k, r]
                    for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                        out[np.uint32(target[e])] = 0
            else:
                zero(out)
            count = list_events(s_in[k], events[k], odd[k])
            last[k] = count + 1
            peak = 1.0
            if graded:
                odd[k, 0] = 0
                for r in range(count):
                    j = events[k, r]
                    s = s_in[k, j]
                    peak = max(peak, abs(np.float64(s)))
                    for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                        out[np.uint32(target[e])] += s * entries[e]
            elif same:
                one = entries[0]
                for r in range(count):
                    j = events[k, r]
                    for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                        out[np.uint32(target[e])] += one
            else:
                for r in range(count):
                    j = events[k, r]
                    for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                        out[np.uint32(target[e])] += entries[e]
            if peak * total >= 2147483648.0:
                zero(sums[k])
                for r in range(count):
                    j = events[k, r]
                    times = np.int64(s_in[k, j]) if graded else np.int64(1)
                    for e in range(start[j], start[j + 1]):
                        sums[k, target[e]] += times * np.int64(entries[e])
                status |= settled(sums[k], left, right, out)
            elif left != right:
                for i in range(out.size):
                    out[i] = (np.int64(out[i]) << left) >> right
        return status


def _most(target: np.ndarray, weights: np.ndarray, n_out: int) -> np.ndarray:
    """The sum of the sizes of the weights at each output."""
    sums = np.zeros(n_out)
    for k in range(0, len(target), MANY):
        sizes = np.abs(weights[k : k + MANY], dtype=np.float64)  # of 8 bits, -128 has none in these
        sums += np.bincount(target[k : k + MANY], sizes, minlength=n_out)
    return sums


def _places(lag: np.ndarray, target: np.ndarray, limit: int, n_out: int) -> np.ndarray:
    dtype = np.int32 if (limit + 1) * n_out < 2**31 else np.int64
    place = np.multiply(lag, n_out, dtype=dtype, casting="unsafe")
    place += target
    return place


@jit
def _in_order(keys, before, first, order):
    """The entries ``before`` in the order of their ``keys``, of which each begins at ``first``;
    equal ones stay in theirs."""
    for e in before:
        key = keys[e]
        order[first[key]] = e
        first[key] += 1


def by_input(process: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """An index that puts stored entries in the order of their input and then their output, their
    outputs in it, and where each input's begin. Those that lie by input stay as they are."""
    if process.start is not None:
        return slice(None), process.rows, process.start
    rows, cols = process.rows, process.cols
    if len(rows) < MANY:  # faster than to compile what is faster
        order = np.lexsort((rows, cols))
        counts = np.bincount(cols, minlength=process.s_in.size)
        return order, rows[order], begins(counts)
    order = np.arange(len(rows), dtype=np.int32 if len(rows) < 2**31 else np.int64)
    for keys, size in ((rows, process.a_out.size), (cols, process.s_in.size)):
        start = begins(np.bincount(keys, minlength=size))
        before, order = order, np.empty_like(order)
        _in_order(keys, before, start.copy(), order)
    return order, rows[order], start


def to_ring(columns: np.ndarray, step: int) -> np.ndarray:
    """The ring of slots that holds ``columns`` (out, slots), the first of which is sent in step
    ``step + 1``: slot k belongs to the steps t with t % slots == k."""
    return np.roll(columns.T, step + 1, axis=0)


RING = Moved("ring", lambda ring: np.roll(ring, -1, axis=0).T, turns=True)  # the inverse


class _DelayModel(_Connection):
    """Synapses with delays: a ring of slots, one a future step. a_out is the slot of the next step.

    The Var a_buff (out, max_delay + 1) has the next step's values in column 0, as in Lava. Entries
    lie input-major; ``place`` is where in the ring one adds, from the slot of the next step on. Of
    very many synapses it is where in the slot, and ``wait`` is the slot: slower, and the
    process has both in memory already.
    """

    process: DelayDense | DelaySparse
    apart = False
    batched = False
    aliases: ClassVar = {}
    sends: ClassVar = {"a_buff": "a_out"}

    @property
    def lag(self) -> int:
        return 1 + self.shortest(self.process.delays.value)

    @property
    def layouts(self) -> Mapping[str, Layout]:
        return {"a_buff": RING}

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {"ring": to_ring(values["a_buff"], step)}

    def delays(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        limit = self.process.max_delay
        most = min(limit, 63) if self.config.fixed else limit
        given = values["delays"]
        whole = given if given.dtype.kind in "iu" else integral("delays", given)
        return within("delays", whole, 0, most)

    def entries(
        self, weights: np.ndarray, delays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weights, delays and outputs of the entries by input, and where each input's begin."""
        raise NotImplementedError

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        limit, n_out = self.process.max_delay, self.process.a_out.size
        weights, lag, target, start = self.entries(weights, self.delays(values))
        entries, left = narrowed(weights, self.config)
        if left >= right:  # no bit is lost: the sums need no shift of their own
            entries, left, right = (
                _smallest(entries.astype(np.int64) << (left - right)) if left > right else entries,
                0,
                0,
            )
        graded = self.graded(values)
        total = self.total(lambda: _most(target, weights, n_out), graded)
        apart = self.apart
        wait = np.asarray(lag, np.min_scalar_type(limit)) if apart else np.zeros(0, np.uint8)
        return {
            "entries": entries,
            "place": target if apart else _places(lag, target, limit, n_out),
            "wait": wait,
            "start": start,
            "left": left,
            "right": right,
            "graded": graded,
            "total": total,
        }

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        return {
            "fresh": np.zeros(
                (batch, self.process.max_delay + 1, self.process.a_out.size), self.message_dtype
            ),
            "events": np.zeros((batch, self.process.s_in.size), np.int32),
            "odd": np.zeros((batch, 1), np.int64),
            "base": np.zeros((batch, self.process.max_delay + 1 if self.apart else 0), np.int64),
        }

    def step(
        t,
        s_in,
        a_out,
        ring,
        entries,
        place,
        wait,
        start,
        left,
        right,
        graded,
        total,
        fresh,
        events,
        odd,
        base,
    ):
        # what stands in the ring for this step was handed out already, through a_out
        slots, n_out = ring.shape
        ring[t % slots, :] = 0
        into = fresh.reshape(-1) if left != right else ring.reshape(-1)
        first = 0 if left != right else (t + 1) % slots * n_out
        for d in range(base.size):
            base[d] = (first + d * n_out) % into.size
        count = list_events(s_in, events, odd)
        if graded:
            odd[0] = 0
        bad = 0
        for r in range(count):
            j = events[r]
            s = s_in[j] if graded else s_in.dtype.type(1)
            for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                if base.size:
                    at = base[np.uint64(wait[e])] + place[e]
                else:
                    at = first + place[e]
                    at -= into.size if at >= into.size else 0
                if total > 0:  # 32 bits might not hold it; nor may what is left shifted
                    sum64 = np.int64(into[at]) + np.int64(s) * np.int64(entries[e])
                    bad |= sum64 != np.int64(np.int32(sum64))
                into[np.uint64(at)] += s * entries[e]
        if left != right and count:
            for d in range(slots):
                for i in range(n_out):
                    ready = (np.int64(fresh[d, i]) << left) >> right
                    if total > 0:
                        sum64 = np.int64(ring[(t + 1 + d) % slots, i]) + ready
                        bad |= sum64 != np.int64(np.int32(sum64))
                    ring[(t + 1 + d) % slots, i] += ready
                    fresh[d, i] = 0
        for i in range(n_out):
            a_out[i] = ring[(t + 1) % slots, i]
        return WRAPPED if bad else 0


@implements(DelayDense, backend="numba", delay=1)
class DelayDenseModel(_DelayModel):
    """Every synapse of the matrix."""

    def entries(
        self, weights: np.ndarray, delays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        n_out, n_in = weights.shape
        return (
            weights.T.reshape(-1),
            delays.T.reshape(-1),
            np.tile(np.arange(n_out), n_in),
            np.arange(n_in + 1) * n_out,
        )


@implements(ConvInTime, backend="numba", delay=1)
class ConvInTimeModel(_DelayModel):
    """A synapse a tap of the kernel, of which the newest message meets the last."""

    @property
    def lag(self) -> int:
        return 1  # the newest message is part of what is sent next

    def weights_and_shift(self, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int]:
        weights = values["weights"]
        return (integral("weights", weights) if self.config.fixed else weights), 0

    def delays(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.arange(len(values["weights"]))[::-1]

    def entries(
        self, weights: np.ndarray, delays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        taps, n_out, n_in = weights.shape
        return (
            weights.transpose(2, 0, 1).reshape(-1),
            np.tile(np.repeat(delays, n_out), n_in),
            np.tile(np.arange(n_out), n_in * taps),
            np.arange(n_in + 1) * (taps * n_out),
        )


@implements(DelaySparse, backend="numba", delay=1)
class DelaySparseModel(_DelayModel):
    """The synapses that are stored: memory grows with them, and with max_delay + 1 values an
    output."""

    @functools.cached_property
    def order(self) -> tuple[Any, np.ndarray, np.ndarray]:
        return by_input(self.process)

    @functools.cached_property
    def apart(self) -> bool:  # type: ignore[override]  # of each process, not of the class
        return self.process.delays.size >= VERY_MANY

    def entries(
        self, weights: np.ndarray, delays: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        order, target, start = self.order
        return weights[order], delays[order], target, start


@implements(Delay, backend="numba", delay=1)
class DelayModel(NumbaModel):
    """a_out[t+1] = s_in[t]"""

    batched = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def step(s_in, a_out):
        for k in range(s_in.size):
            a_out.flat[k] = s_in.flat[k]


@implements(DelayLine, backend="numba")
class DelayLineModel(NumbaModel):
    """s_out[t] = s_in[t - delays], from a ring with a row for each of the last steps."""

    process: DelayLine

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Row k of the ring belongs to the steps t with t % rows == k."""
        before = values["a_buff"].reshape(self.process.max_delay, -1)
        ring = np.zeros((self.process.max_delay + 1, before.shape[1]), before.dtype)
        ring[self._last] = before
        return {"ring": np.roll(ring, step, axis=0)}

    @property
    def layouts(self) -> Mapping[str, Layout]:
        shape = self.process.s_in.shape
        return {"a_buff": Moved("ring", lambda r: r[self._last].reshape(-1, *shape), turns=True)}

    @property
    def _last(self) -> np.ndarray:
        """Rows of the last steps, the last one first, after step 0."""
        return -np.arange(self.process.max_delay) % (self.process.max_delay + 1)

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        delays = within("delays", integral("delays", values["delays"]), 0, self.process.max_delay)
        return {
            "lag": np.ascontiguousarray(
                np.broadcast_to(delays, self.process.s_in.shape), np.int64
            ).reshape(-1)
        }

    def step(t, s_in, s_out, ring, lag):
        slots = ring.shape[0]
        now = t % slots
        row = ring[now]
        inp = s_in.reshape(-1)
        out = s_out.reshape(-1)
        for i in range(inp.size):
            row[i] = inp[i]
        for i in range(inp.size):
            k = now - lag[i]
            out[i] = ring[k if k >= 0 else k + slots, i]
