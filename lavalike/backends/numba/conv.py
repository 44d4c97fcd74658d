"""Convolution, event by event: an input value adds its kernel into the outputs it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba.model import NumbaModel
from lavalike.dynamics import integral
from lavalike.model.model import implements
from lavalike.proc.conv import Conv


@implements(Conv, backend="numba", delay=1)
class ConvModel(NumbaModel):
    """Scatter form. For an input at padded (x, y, c), output (ox, oy) is reached through tap
    ``a = x - ox sx``, ``b = y - oy sy`` (in units of the dilation). Taps along y that hit neighbouring
    outputs are stored one after the other, so with dilation 1 and one group an event adds, for each a, one
    contiguous run of about ``ky / sy * out channels`` values.
    """

    trusted = True
    aliases: ClassVar = {"a_buff": "a_out"}

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        p = self.process
        weight = values["weight"]
        if self.config.fixed:
            # as in Lava the sum wraps into 24 bits, and weight_exp and num_weight_bits play no part
            weight = integral("weight", weight, -(2**15), 2**15 - 1)
        out, kx, ky, cin = weight.shape
        flipped = weight[:, ::-1, ::-1, :]
        sy, dy = p.stride[1], p.dilation[1]
        along = p.groups == 1 and dy == 1
        phases = sy if along else 1
        most = -(-ky // sy) if along else 1
        # taps[phase, c, a, m] is the row of out channels for b = phase + (n - 1 - m) sy, n taps in this phase
        if along:
            taps = np.zeros((phases, cin, kx, most, out), weight.dtype)
            count = np.zeros(phases, np.int64)
            for phase in range(phases):
                bs = list(range(phase, ky, sy))[::-1]
                count[phase] = len(bs)
                for m, b in enumerate(bs):
                    taps[phase, :, :, m] = flipped[:, :, b, :].transpose(2, 1, 0)
        else:
            taps = flipped.transpose(3, 1, 2, 0)[None]
            count = np.zeros(1, np.int64)
        dtype = np.int32 if self.config.fixed else np.dtype(self.config.dtype)
        settings = np.array([*p.padding, *p.stride, *p.dilation, p.groups, ky, int(along)], np.int64)
        return {"taps": np.ascontiguousarray(taps, dtype), "count": count, "settings": settings,
                "graded": int(values["num_message_bits"][0] > 0),
                # where the neuron behind checks for 24 bits, wrapping would hide from it what it looks for
                "wraps": int(self.config.fixed and not p.proc_params.get("checked"))}

    def step(s_in, a_out, taps, count, settings, graded, wraps):
        px, py, sx, sy, dx, dy, groups, ky, along = settings
        _, ny, nc = s_in.shape
        mx, my, mc = a_out.shape
        kx = taps.shape[2]
        flat = a_out.reshape(-1)
        flat[:] = 0
        inputs = s_in.reshape(-1)
        size = inputs.size
        pos = 0
        while pos < size:
            # skip silent stretches eight at a time
            if pos + 8 <= size:
                any_set = (inputs[pos] != 0) | (inputs[pos + 1] != 0) | (inputs[pos + 2] != 0) | (inputs[pos + 3] != 0)
                any_set |= (inputs[pos + 4] != 0) | (inputs[pos + 5] != 0) | (inputs[pos + 6] != 0) | (inputs[pos + 7] != 0)
                if not any_set:
                    pos += 8
                    continue
                end = pos + 8
            else:
                end = size
            for q in range(pos, end):
                s = inputs[q]
                if s == 0:
                    continue
                if not graded:
                    s = s // s
                c = q % nc
                y = (q // nc) % ny + py
                x = q // (nc * ny) + px
                if along:
                    phase = y % sy
                    n = count[phase]
                    high = (y - phase) // sy
                    low = high - n + 1
                    lo = max(low, 0)
                    hi = min(high, my - 1)
                    if hi < lo:
                        continue
                    skip = (lo - low) * mc
                    length = (hi - lo + 1) * mc
                    for a in range(kx):
                        ox = x - a * dx
                        if ox < 0 or ox % sx != 0:
                            continue
                        ox //= sx
                        if ox >= mx:
                            continue
                        row = taps[phase, c, a].reshape(-1)
                        base = (ox * my + lo) * mc
                        for i in range(length):
                            flat[base + i] += s * row[skip + i]
                else:
                    per_in = nc // groups
                    per_out = mc // groups
                    group = c // per_in
                    for a in range(kx):
                        ox = x - a * dx
                        if ox < 0 or ox % sx != 0 or ox // sx >= mx:
                            continue
                        for b in range(ky):
                            oy = y - b * dy
                            if oy < 0 or oy % sy != 0 or oy // sy >= my:
                                continue
                            base = ((ox // sx) * my + oy // sy) * mc
                            for o in range(group * per_out, (group + 1) * per_out):
                                flat[base + o] += s * taps[0, c % per_in, a, b, o]
            pos = end
        if wraps:
            for i in range(flat.size):
                # the low 24 bits, signed
                flat[i] = np.int32(((np.int64(flat[i]) + 8388608) & 16777215) - 8388608)
