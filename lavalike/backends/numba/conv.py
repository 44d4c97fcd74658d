"""Convolution, event by event: an input value adds its kernel into the outputs it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.connections import narrowed
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
        ky = weight.shape[2]
        flipped = weight[:, ::-1, ::-1, :].transpose(3, 1, 2, 0)  # (in, kx, ky, out)
        if p.groups == 1 and p.dilation[1] == 1:
            phases = p.stride[1]
            runs = [list(range(phase, ky, phases))[::-1] for phase in range(phases)]
        else:
            phases, runs = 0, [list(range(ky))]
        # a row holds, for one phase of y, input channel and a, the taps b that hit outputs in rising order
        most = max(map(len, runs))
        rows = np.zeros((len(runs), *flipped.shape[:2], most, flipped.shape[3]), flipped.dtype)
        for phase, bs in enumerate(runs):
            rows[phase, :, :, :len(bs)] = flipped[:, :, bs]
        return {"rows": np.ascontiguousarray(rows.reshape(-1, most * flipped.shape[3])), "taps": np.array([len(bs) for bs in runs]),
                "settings": np.array([*p.padding, *p.stride, *p.dilation, p.groups, *weight.shape[1:3], phases], np.int64),
                "left": left, "graded": int(values["num_message_bits"][0] > 0),
                # where the neuron behind checks for 24 bits, wrapping would hide from it what it looks for
                "wraps": int(self.config.fixed and not p.proc_params.get("checked"))}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        return {"events": np.zeros(self.process.s_in.size, np.int32)}

    def step(s_in, a_out, rows, taps, settings, left, graded, wraps, events):
        px, py, sx, sy, dx, dy, groups, kx, ky, phases = settings
        _, ny, nc = s_in.shape
        mx, my, mc = a_out.shape
        flat = a_out.reshape(-1)
        flat[:] = 0
        inputs = s_in.reshape(-1)
        size = inputs.size
        count = 0
        j = 0
        while j + 16 <= size:  # silence is skipped sixteen inputs at a time
            hits = 0
            for q in range(16):
                hits += inputs[j + q] != 0
            if hits:
                for q in range(16):
                    if inputs[j + q] != 0:
                        events[count] = j + q
                        count += 1
            j += 16
        while j < size:
            if inputs[j] != 0:
                events[count] = j
                count += 1
            j += 1
        per_in = nc // groups
        per_out = mc // groups
        p = 0
        while p < count:
            pixel = events[p] // nc
            first = pixel * nc
            q = p + 1
            while q < count and events[q] < first + nc:
                q += 1
            y = pixel % ny + py
            x = pixel // ny + px
            if phases:
                phase = y % sy
                n = taps[phase]
                high = (y - phase) // sy
                low = high - n + 1
                lo = max(low, 0)
                hi = min(high, my - 1)
                skip = (lo - low) * mc
                length = (hi - lo + 1) * mc
                for a in range(kx):
                    ox = x - a * dx
                    if hi < lo or ox < 0 or ox % sx != 0 or ox // sx >= mx:
                        continue
                    base = ((ox // sx) * my + lo) * mc
                    out = flat[base:base + length]
                    offset = (phase * nc - first) * kx + a
                    r = p
                    while r + 4 <= q:
                        e0 = events[r]
                        e1 = events[r + 1]
                        e2 = events[r + 2]
                        e3 = events[r + 3]
                        w0 = rows[offset + e0 * kx, skip:skip + length]
                        w1 = rows[offset + e1 * kx, skip:skip + length]
                        w2 = rows[offset + e2 * kx, skip:skip + length]
                        w3 = rows[offset + e3 * kx, skip:skip + length]
                        if graded:
                            s0 = inputs[e0]
                            s1 = inputs[e1]
                            s2 = inputs[e2]
                            s3 = inputs[e3]
                            for i in range(length):
                                out[i] = out[i] + s0 * w0[i] + s1 * w1[i] + s2 * w2[i] + s3 * w3[i]
                        else:
                            for i in range(length):
                                out[i] = out[i] + w0[i] + w1[i] + w2[i] + w3[i]
                        r += 4
                    while r < q:
                        e0 = events[r]
                        w0 = rows[offset + e0 * kx, skip:skip + length]
                        if graded:
                            s0 = inputs[e0]
                            for i in range(length):
                                out[i] += s0 * w0[i]
                        else:
                            for i in range(length):
                                out[i] += w0[i]
                        r += 1
            else:
                for r in range(p, q):
                    c = events[r] - first
                    s = inputs[events[r]] if graded else inputs[events[r]] // inputs[events[r]]
                    group = c // per_in
                    for a in range(kx):
                        ox = x - a * dx
                        if ox < 0 or ox % sx != 0 or ox // sx >= mx:
                            continue
                        row = rows[(c % per_in) * kx + a]
                        for b in range(ky):
                            oy = y - b * dy
                            if oy < 0 or oy % sy != 0 or oy // sy >= my:
                                continue
                            base = ((ox // sx) * my + oy // sy) * mc
                            for o in range(group * per_out, (group + 1) * per_out):
                                flat[base + o] += s * row[b * mc + o]
            p = q
        if left:
            for i in range(flat.size):
                flat[i] = np.int64(flat[i]) << left
        if wraps:
            for i in range(flat.size):
                # the low 24 bits, signed
                flat[i] = np.int32(((np.int64(flat[i]) + 8388608) & 16777215) - 8388608)
