"""Convolution, event by event: an input value adds its kernel into the outputs it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.connections import narrowed
from lavalike.backends.numba.events import list_events
from lavalike.backends.numba.model import NumbaModel
from lavalike.dynamics import integral
from lavalike.model.model import implements
from lavalike.proc.conv import Conv


@implements(Conv, backend="numba", delay=1)
class ConvModel(NumbaModel):
    """Scatter form. For an input at padded (x, y, c), output (ox, oy) is reached through tap
    ``a = x - ox sx``, ``b = y - oy sy`` (in units of the dilation). Taps along y that hit neighbouring
    outputs are stored one after the other, so with dilation 1 and one group an event adds, for each a, one
    contiguous run of about ``ky / sy * out channels`` values. Events are listed first; those of one pixel share
    their runs and are added four at a time, so that an output is loaded and stored once for four events.
    """

    trusted = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        p = self.process
        weight = values["weight"]
        if self.config.fixed:
            # as in Lava the sum wraps into 24 bits, and weight_exp and num_weight_bits play no part
            weight = integral("weight", weight, -(2**15), 2**15 - 1)
        weight, left = narrowed(weight, self.config)
        flipped = weight[:, ::-1, ::-1, :].transpose(3, 1, 2, 0)  # (in, kx, ky, out)
        cin, kx, ky, out = flipped.shape
        mx, my, _ = p.a_out.shape
        along = p.groups == 1 and p.dilation[1] == 1
        phases = p.stride[1] if along else 1
        runs = [list(range(phase, ky, phases))[::-1] for phase in range(phases)] if along else [list(range(ky))]
        # a row holds, for one phase of y, input channel and a, the taps b that hit outputs in rising order
        most = max(map(len, runs))
        rows = np.zeros((phases, cin, kx, most, out), flipped.dtype)
        for phase, bs in enumerate(runs):
            rows[phase, :, :, :len(bs)] = flipped[:, :, bs]
        # per x: the taps a that hit an output, and where its column begins
        columns = [[(a, (x + p.padding[0] - a * p.dilation[0]) // p.stride[0] * my * out) for a in range(kx)
                    if (x + p.padding[0] - a * p.dilation[0]) % p.stride[0] == 0
                    and 0 <= (x + p.padding[0] - a * p.dilation[0]) // p.stride[0] < mx] for x in range(p.s_in.shape[0])]
        # per y: the rows' phase, where its run begins in the column, how much of a row is cut off, and its length
        lines = []
        for y in range(p.padding[1], p.s_in.shape[1] + p.padding[1]):
            phase, high = y % phases, y // phases
            low = high - len(runs[phase]) + 1
            lo, hi = max(low, 0), min(high, my - 1)
            lines.append((phase * cin * kx, lo * out, (lo - low) * out, max(hi - lo + 1, 0) * out))
        return {"rows": np.ascontiguousarray(rows.reshape(-1)), "pitch": most * out,
                "start": np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64),
                "columns": np.array([e for c in columns for e in c] or [(0, 0)], np.int64), "lines": np.array(lines, np.int64),
                "settings": np.array([p.padding[1], p.stride[1], p.dilation[1], p.groups, kx, ky], np.int64), "along": int(along),
                # one: what the weights were divided by. total: the largest sum of an output's weights; below 24 bits
                # nothing can wrap. Where the neuron behind checks for 24 bits, wrapping would hide what it looks for
                "one": self.message_dtype.type(1 << left), "total": int(np.abs(weight.astype(np.float64)).sum((1, 2, 3)).max()),
                "graded": int(values["num_message_bits"][0] > 0), "wraps": int(self.config.fixed and not p.proc_params.get("checked"))}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        size = self.process.s_in.size
        return {"events": np.zeros((batch, size), np.int64), "values": np.zeros((batch, size), self.message_dtype)}

    def step(s_in, a_out, rows, pitch, start, columns, lines, settings, along, one, total, graded, wraps, events, values):
        _, ny, nc = s_in.shape
        _, my, mc = a_out.shape
        kx = settings[4]
        flat = a_out.reshape(-1)
        flat[:] = 0
        inputs = s_in.reshape(-1)
        count = list_events(inputs, events)
        peak = one
        for p in range(count):
            values[p] = inputs[events[p]] * one if graded else one
            peak = max(peak, abs(values[p]))
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
                            flat[o + i] = flat[o + i] + sa * rows[a + i] + sb * rows[b + i] + sc * rows[c + i] + sd * rows[d + i]
                        r += 4
                    while r < q:
                        a = np.uint64((near + events[r] * kx) * pitch + skip)
                        sa = values[r]
                        for i in range(np.uint64(length)):
                            flat[o + i] += sa * rows[a + i]
                        r += 1
            else:
                pad, stride, dilation, groups, _, ky = settings
                per_in = nc // groups
                per_out = mc // groups
                for r in range(p, q):
                    c = events[r] - first
                    group = c // per_in
                    for k in range(start[x], start[x + 1]):
                        near = ((c - group * per_in) * kx + columns[k, 0]) * pitch
                        for b in range(ky):
                            oy = y + pad - b * dilation
                            if oy < 0 or oy % stride != 0 or oy // stride >= my:
                                continue
                            o = columns[k, 1] + oy // stride * mc
                            for i in range(group * per_out, (group + 1) * per_out):
                                flat[o + i] += values[r] * rows[near + b * mc + i]
            p = q
        if wraps and peak * total >= 8388608:
            for i in range(flat.size):
                # the low 24 bits, signed
                flat[i] = np.int32(((np.int64(flat[i]) + 8388608) & 16777215) - 8388608)
