"""Convolutions, event by event: an input value adds its kernel into the outputs it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.connections import narrowed, settled, zero
from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.kernels import jit
from lavalike.backends.numba.model import NumbaModel
from lavalike.dynamics import integral
from lavalike.model.model import implements
from lavalike.proc.conv import Conv, ConvTranspose
from lavalike.proc.sparse import begins
from lavalike.process.units import Units


@jit
def scatter(
    inputs,
    events,
    count,
    rows,
    pitch,
    start,
    columns,
    lines,
    line_start,
    settings,
    along,
    one,
    graded,
    ny,
    nc,
    mc,
    sums,
):
    """A sample's sums in 64 bits, where 32 might not hold them."""
    groups, kx = settings
    per_in = nc // groups
    per_out = mc // groups
    zero(sums)
    for r in range(count):
        pixel = events[r] // nc
        x = pixel // ny
        y = pixel - x * ny
        c = events[r] - pixel * nc
        s = np.int64(inputs[events[r]]) * np.int64(one) if graded else np.int64(one)
        group = c // per_in
        for k in range(start[x], start[x + 1]):
            near = (c - group * per_in) * kx + columns[k, 0]
            if along:
                row, above, skip, length = lines[y]
                for i in range(length):
                    sums[columns[k, 1] + above + i] += s * np.int64(
                        rows[(near + row) * pitch + skip + i]
                    )
            else:
                for h in range(line_start[y], line_start[y + 1]):
                    for i in range(group * per_out, (group + 1) * per_out):
                        sums[columns[k, 1] + lines[h, 1] + i] += s * np.int64(
                            rows[near * pitch + lines[h, 0] * mc + i]
                        )


class _ScatterModel(NumbaModel):
    """Scatter form. An input at (x, y, c) reaches outputs through its taps (a, b), which the
    process lists along each axis. Taps along y that hit neighbouring outputs are stored one after
    the other, so with dilation 1 and one group an event adds, for each a, one contiguous run of
    about ``ky / sy * out channels`` values (``ky * out channels`` where transposed). Events are
    listed first; those of one pixel share their runs and are added four at a time, so that an
    output is loaded and stored once for four events.
    """

    process: Conv | ConvTranspose
    returns = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def by_input(self, weight: np.ndarray) -> np.ndarray:
        """The weights as (in channels / groups, kx, ky, out channels)."""
        raise NotImplementedError

    @property
    def phases(self) -> int:
        """Taps along y that reach neighbouring outputs are so many apart."""
        raise NotImplementedError

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        p = self.process
        weight = values["weight"]
        if self.config.fixed:
            # as in Lava the sum wraps into 24 bits, and weight_exp and num_weight_bits play no part
            weight = integral("weight", weight, -(2**15), 2**15 - 1)
        weight, left = narrowed(self.by_input(weight), self.config, "weight")
        cin, kx, ky, out = weight.shape
        my = p.a_out.shape[1]
        along = p.groups == 1 and p.dilation[1] == 1
        phases = self.phases if along else 1
        # a row holds, for one phase of y, input channel and a, the taps b that hit outputs in
        # rising order
        most = -(-ky // phases)
        rows = np.zeros((phases, cin, kx, most, out), weight.dtype)
        for phase in range(phases):
            run = weight[:, :, phase::phases]
            rows[phase, :, :, : run.shape[2]] = run
        # per x: the taps a that hit an output, and where its column begins
        columns = [[(a, o * my * out) for a, o in p.taps(0, x)] for x in range(p.s_in.shape[0])]
        taps = [p.taps(1, y) for y in range(p.s_in.shape[1])]
        if along:
            # per y: the rows' phase, where its run begins in the column, how much of a row is cut
            # off, and its length
            lines: list[tuple[int, ...]] = [
                (t[0][0] % phases * cin * kx, t[0][1] * out, t[0][0] // phases * out, len(t) * out)
                if t
                else (0, 0, 0, 0)
                for t in taps
            ]
        else:
            # per y: the taps b that hit an output, and where it begins in the column
            lines = [(b, o * out) for t in taps for b, o in t] or [(0, 0)]
        return {
            "rows": np.ascontiguousarray(rows.reshape(-1)),
            "pitch": most * out,
            "start": _starts(columns),
            "columns": np.array([e for c in columns for e in c] or [(0, 0)], np.int64),
            "lines": np.array(lines, np.int64),
            "line_start": _starts(taps),
            "settings": np.array([p.groups, kx], np.int64),
            "along": int(along),
            # one: what the weights were divided by. total: the largest sum of an output's weights;
            # below 24 bits nothing can wrap. Where the neuron behind checks for 24 bits, wrapping
            # would hide what it looks for
            "one": self.message_dtype.type(1 << left),
            "total": np.float64(np.abs(weight.astype(np.float64)).sum((0, 1, 2)).max()),
            "graded": int(values["num_message_bits"][0] > 0),
            "wraps": int(self.config.fixed and not self.exact),
            "exactly": int(self.exact),
        }

    @property
    def exact(self) -> bool:
        """Whether a sum beyond 24 bits stays as it is."""
        return self.config.fixed and Units.of(self.process.proc_params).checked

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        size = self.process.s_in.size
        return {
            "events": np.zeros((batch, size), np.int64),
            "values": np.zeros((batch, size), self.message_dtype),
            "odd": np.zeros((batch, 1), np.int64),
            "sums": np.zeros((batch, self.process.a_out.size if self.exact else 1), np.int64),
        }

    def step(
        s_in,
        a_out,
        rows,
        pitch,
        start,
        columns,
        lines,
        line_start,
        settings,
        along,
        one,
        total,
        graded,
        wraps,
        exactly,
        events,
        values,
        odd,
        sums,
    ):
        _, ny, nc = s_in.shape
        mc = a_out.shape[2]
        groups, kx = settings
        flat = a_out.reshape(-1)
        zero(flat)
        inputs = s_in.reshape(-1)
        count = list_events(inputs, events, odd)
        if graded:
            odd[0] = 0
        peak = 1.0
        for p in range(count):
            values[p] = inputs[events[p]] * one if graded else one
            if graded:
                peak = max(peak, abs(np.float64(inputs[events[p]])))
        p = 0
        while p < count:
            pixel = events[p] // nc
            first = pixel * nc
            q = p + 1
            while q < count and events[q] < first + nc:
                q += 1
            x = pixel // ny
            y = pixel - x * ny
            if along:
                row, above, skip, length = lines[y]
                for k in range(start[x], start[x + 1]):
                    o = np.uint64(columns[k, 1] + above)
                    near = row + columns[k, 0] - first * kx
                    r = p
                    while r + 4 <= q:
                        a = np.uint64((near + events[r] * kx) * pitch + skip)
                        b = np.uint64((near + events[r + 1] * kx) * pitch + skip)
                        c = np.uint64((near + events[r + 2] * kx) * pitch + skip)
                        d = np.uint64((near + events[r + 3] * kx) * pitch + skip)
                        sa = values[r]
                        sb = values[r + 1]
                        sc = values[r + 2]
                        sd = values[r + 3]
                        for i in range(np.uint64(length)):
                            flat[o + i] = (
                                flat[o + i]
                                + sa * rows[a + i]
                                + sb * rows[b + i]
                                + sc * rows[c + i]
                                + sd * rows[d + i]
                            )
                        r += 4
                    while r < q:
                        a = np.uint64((near + events[r] * kx) * pitch + skip)
                        sa = values[r]
                        for i in range(np.uint64(length)):
                            flat[o + i] += sa * rows[a + i]
                        r += 1
            else:
                per_in = nc // groups
                per_out = mc // groups
                for r in range(p, q):
                    c = events[r] - first
                    group = c // per_in
                    for k in range(start[x], start[x + 1]):
                        near = ((c - group * per_in) * kx + columns[k, 0]) * pitch
                        for h in range(line_start[y], line_start[y + 1]):
                            b = near + lines[h, 0] * mc
                            o = columns[k, 1] + lines[h, 1]
                            for i in range(group * per_out, (group + 1) * per_out):
                                flat[o + i] += values[r] * rows[b + i]
            p = q
        most = peak * one * total
        if wraps and most >= 8388608.0:
            for i in range(flat.size):
                # the low 24 bits, signed
                flat[i] = np.int32(((np.int64(flat[i]) + 8388608) & 16777215) - 8388608)
        if exactly and most >= 2147483648.0:
            scatter(
                inputs,
                events,
                count,
                rows,
                pitch,
                start,
                columns,
                lines,
                line_start,
                settings,
                along,
                one,
                graded,
                ny,
                nc,
                mc,
                sums,
            )
            return settled(sums, 0, 0, flat)
        return 0


@implements(Conv, backend="numba", delay=1)
class ConvModel(_ScatterModel):
    """A convolution: an output gathers every stride-th input, so an input's taps are stride
    apart."""

    process: Conv

    def by_input(self, weight: np.ndarray) -> np.ndarray:
        return weight.transpose(3, 1, 2, 0)

    @property
    def phases(self) -> int:
        return self.process.stride[1]


@implements(ConvTranspose, backend="numba", delay=1)
class ConvTransposeModel(_ScatterModel):
    """A transposed convolution: an input's taps reach one output after the other."""

    process: ConvTranspose

    phases = 1

    def by_input(self, weight: np.ndarray) -> np.ndarray:
        groups = self.process.groups
        cin, kx, ky, out = weight.shape
        return (
            weight.reshape(groups, cin // groups, kx, ky, out)
            .transpose(1, 2, 3, 0, 4)
            .reshape(cin // groups, kx, ky, groups * out)
        )


def _starts(lists: list[list[Any]]) -> np.ndarray:
    """Where each list begins when they stand one after the other."""
    return begins(np.array([len(x) for x in lists]))
