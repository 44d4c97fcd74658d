"""Models of the connections: event-driven, weights input-major, so that an event adds one contiguous row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.kernels import WRAPPED, jit
from lavalike.backends.numba.model import NumbaModel, held
from lavalike.dynamics import integral, within
from lavalike.dynamics.weights import fixed_weights
from lavalike.model.config import NodeConfig
from lavalike.model.model import implements
from lavalike.proc.dense import Delay, DelayDense, DelayLine, Dense, Sparse


def narrowed(weights: np.ndarray, config: NodeConfig, name: str = "weights") -> tuple[np.ndarray, int]:
    """Weights in the smallest dtype that holds them, common factors of two taken out as a left shift of the sums:
    what an event moves through memory is its weights."""
    if not config.fixed:
        return held(name, weights, config.dtype), 0
    low = int(np.bitwise_or.reduce(weights, axis=None)) if weights.size else 0
    shift = (low & -low).bit_length() - 1 if low else 0
    weights = weights >> shift
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if not weights.size or (weights.min() >= info.min and weights.max() <= info.max):
            return np.ascontiguousarray(weights, dtype), shift
    raise ValueError("weights: beyond 32 bits after weight_exp")


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
    sums[:] = 0
    for e in range(count):
        j = events[e]
        s = np.int64(inputs[j]) if graded else np.int64(1)
        for i in range(out.size):
            sums[i] += s * np.int64(rows[j, i])
    return settled(sums, left, right, out)


class _Connection(NumbaModel):
    batched = True
    returns = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def weights_and_shift(self, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int]:
        """The weights in the arithmetic of the run, and by how many bits a step's sum is shifted right."""
        exp = int(integral("weight_exp", values["weight_exp"], -24, 24)[0])
        if not self.config.fixed:
            return values["weights"] * 2.0**exp, 0
        whole = fixed_weights(values["weights"], self.process.num_weight_bits, self.process.sign_mode)
        return (whole << exp, 0) if exp > 0 else (whole, -exp)

    def total(self, sums: np.ndarray, graded: int) -> np.float64:
        """What a message is multiplied with at most, where products might leave the 32 bits of fixed_pt; 0: they cannot."""
        most = float(sums.max()) if self.config.fixed else 0.0
        return np.float64(most if graded or most >= 2**31 else 0)

    def more_scratch(self, batch: int) -> dict[str, np.ndarray]:
        n_out = self.process.a_out.size if self.config.fixed else 1
        return {"odd": np.zeros((batch, 1), np.int64), "sums": np.zeros((batch, n_out), np.int64)}

    def graded(self, values: Mapping[str, np.ndarray]) -> int:
        return int(values["num_message_bits"][0] > 0)


@implements(Dense, backend="numba", delay=1)
class DenseModel(_Connection):
    """a_out = weights @ s_in. An event costs a row of weights.

    Events are listed first, then added four rows at a time, so that an accumulator is loaded and stored once for four
    events. A batch goes through the weights in tiles of rows, so that samples share what was fetched. Every output adds
    its events in the order of the inputs, whatever the tiling: the bits do not depend on the batch.
    """

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        rows, left = narrowed(weights.T, self.config)
        graded = self.graded(values)
        return {"rows": rows, "left": left, "right": right, "graded": graded, "total": self.total(np.abs(weights).sum(1), graded)}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        n_in = self.process.s_in.size
        return {"events": np.zeros((batch, n_in), np.int32), "count": np.zeros(batch, np.int64), "done": np.zeros(batch, np.int64),
                **self.more_scratch(batch)}

    def step(s_in, a_out, rows, left, right, graded, total, events, count, done, odd, sums):
        batch, n_in = s_in.shape
        n_out = rows.shape[1]
        for k in range(batch):
            count[k] = list_events(s_in[k], events[k], odd[k])
            if graded:
                odd[k, 0] = 0
        a_out[:] = 0
        done[:] = 0
        tile = n_in if batch == 1 else 512
        for j0 in range(0, n_in, tile):
            for k in range(batch):
                p = done[k]
                q = p
                while q < count[k] and events[k, q] < j0 + tile:
                    q += 1
                done[k] = q
                out = a_out[k]
                while p + 4 <= q:
                    a = events[k, p]
                    b = events[k, p + 1]
                    d = events[k, p + 2]
                    e = events[k, p + 3]
                    ra = rows[a]
                    rb = rows[b]
                    rd = rows[d]
                    re = rows[e]
                    if graded:
                        sa = s_in[k, a]
                        sb = s_in[k, b]
                        sd = s_in[k, d]
                        se = s_in[k, e]
                        for i in range(n_out):
                            out[i] = out[i] + sa * ra[i] + sb * rb[i] + sd * rd[i] + se * re[i]
                    else:
                        for i in range(n_out):
                            out[i] = out[i] + ra[i] + rb[i] + rd[i] + re[i]
                    p += 4
                while p < q:
                    a = events[k, p]
                    ra = rows[a]
                    if graded:
                        sa = s_in[k, a]
                        for i in range(n_out):
                            out[i] += sa * ra[i]
                    else:
                        for i in range(n_out):
                            out[i] += ra[i]
                    p += 1
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
                    status |= exact(s_in[k], events[k], count[k], rows, left, right, graded, sums[k], a_out[k])
        return status


@implements(Sparse, backend="numba", delay=1)
class SparseModel(_Connection):
    """a_out = weights @ s_in over stored entries, sorted by input."""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        entries, left = narrowed(weights, self.config)
        process = self.process
        order = np.lexsort((process.rows, process.cols))
        counts = np.bincount(process.cols, minlength=process.s_in.size)
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        graded = self.graded(values)
        return {"entries": entries[order], "target": process.rows[order].astype(np.int32), "start": start, "left": left, "right": right,
                "graded": graded, "total": self.total(np.bincount(process.rows, np.abs(weights)), graded)}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        return self.more_scratch(batch)

    def step(s_in, a_out, entries, target, start, left, right, graded, total, odd, sums):
        a_out[:] = 0
        status = 0
        for k in range(s_in.shape[0]):
            out = a_out[k]
            peak = 1.0
            for j in range(s_in.shape[1]):
                s = s_in[k, j]
                if s != 0:
                    if not graded:
                        if s != 1:
                            odd[k, 0] = 1
                        s = s // s
                    elif total > 0:
                        peak = max(peak, abs(np.float64(s)))
                    for e in range(start[j], start[j + 1]):
                        out[target[e]] += s * entries[e]
            if peak * total >= 2147483648.0:
                sums[k, :] = 0
                for j in range(s_in.shape[1]):
                    s = s_in[k, j]
                    if s != 0:
                        times = np.int64(s) if graded else np.int64(1)
                        for e in range(start[j], start[j + 1]):
                            sums[k, target[e]] += times * np.int64(entries[e])
                status |= settled(sums[k], left, right, out)
            elif left != right:
                for i in range(out.size):
                    out[i] = (np.int64(out[i]) << left) >> right
        return status


@implements(DelayDense, backend="numba", delay=1)
class DelayDenseModel(_Connection):
    """Dense with delays: a ring of slots, one a future step. a_out is the slot of the next step.

    The Var a_buff (out, max_delay + 1) has the next step's values in column 0, as in Lava.
    """

    batched = False
    aliases: ClassVar = {}
    sends: ClassVar = {"a_buff": "a_out"}

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Slot k of the ring belongs to the steps t with t % slots == k."""
        return {"ring": np.roll(values["a_buff"].T, step + 1, axis=0)}

    def store(self, states: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {"a_buff": np.roll(states["ring"], -(step + 1), axis=0).T}

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        weights, right = self.weights_and_shift(values)
        rows, left = narrowed(weights.T, self.config)
        limit = self.process.max_delay
        delays = within("delays", integral("delays", values["delays"]), 0, min(limit, 63) if self.config.fixed else limit)
        graded = self.graded(values)
        return {"rows": rows, "lag": np.ascontiguousarray(delays.T, np.int32), "left": left, "right": right, "graded": graded,
                "total": self.total(np.abs(weights).sum(1), graded)}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        return {"fresh": np.zeros((batch, self.process.max_delay + 1, self.process.a_out.size), self.message_dtype),
                "odd": np.zeros((batch, 1), np.int64)}

    def step(t, s_in, a_out, ring, rows, lag, left, right, graded, total, fresh, odd):
        # what stands in the ring for this step was handed out already, through a_out
        slots = ring.shape[0]
        n_in, n_out = rows.shape
        ring[t % slots, :] = 0
        into = fresh if left != right else ring
        bad = 0
        for j in range(n_in):
            s = s_in[j]
            if s != 0:
                if not graded:
                    if s != 1:
                        odd[0] = 1
                    s = s // s
                for i in range(n_out):
                    d = lag[j, i]
                    at = d if left != right else (t + 1 + d) % slots
                    if total > 0:  # 32 bits might not hold it; nor may what is left shifted
                        sum64 = np.int64(into[at, i]) + np.int64(s) * np.int64(rows[j, i])
                        bad |= sum64 != np.int64(np.int32(sum64))
                    into[at, i] += s * rows[j, i]
        if left != right:
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

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """Row k of the ring belongs to the steps t with t % rows == k."""
        before = values["a_buff"].reshape(self.process.max_delay, -1)
        ring = np.zeros((self.process.max_delay + 1, before.shape[1]), before.dtype)
        ring[self._rows(step)] = before
        return {"ring": ring}

    def store(self, states: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {"a_buff": states["ring"][self._rows(step)].reshape(-1, *self.process.s_in.shape)}

    def _rows(self, step: int) -> np.ndarray:
        """Rows of the last steps, the last one first."""
        return (step - np.arange(self.process.max_delay)) % (self.process.max_delay + 1)

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        delays = within("delays", integral("delays", values["delays"]), 0, self.process.max_delay)
        return {"lag": np.ascontiguousarray(np.broadcast_to(delays, self.process.s_in.shape), np.int64).reshape(-1)}

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
