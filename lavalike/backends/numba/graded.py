"""The inverse square root of Loihi 2 (reference: Lava 0.11, proc/graded): a table, then Newton's
steps in whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lavalike.backends.numba.kernels import OUTSIDE
from lavalike.backends.numba.model import NumbaModel
from lavalike.dynamics import integral
from lavalike.model.model import implements
from lavalike.proc.graded import InvSqrt

BITS = 24
STEPS = 5
ADJUST = 1.238982962  # of the first guess for numbers of so many bits


def guesses(base: int) -> np.ndarray:
    """Twice the first guess for numbers of 24, 23, ... 1 bits."""
    bits = np.arange(BITS)[::-1]
    return 2 * (2**base / (2.0 ** ((bits - base) / 2) * ADJUST)).astype(np.int64)


@implements(InvSqrt, backend="numba", precision="fixed_pt")
class InvSqrtModel(NumbaModel):
    """s_out = 1 / sqrt(a_in), both in 2**-fp_base; 0 for 0."""

    returns = True

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        base = int(integral("fp_base", values["fp_base"], 0, 20)[0])
        return {"table": guesses(base), "base": base}

    def step(a_in, s_out, table, base):
        inp = a_in.reshape(-1)
        out = s_out.reshape(-1)
        status = 0
        for i in range(inp.size):
            x = np.int64(inp[i])
            if x < 0 or x >= 1 << BITS:
                status = OUTSIDE
                x = np.int64(0)
            unused = BITS
            rest = x
            while rest:
                rest >>= 1
                unused -= 1
            root = np.int64(0)
            if x:
                factor = table[unused]
                root = factor // 2
                for _ in range(STEPS):
                    x = (((x * factor) >> (base + 1)) * factor) >> (base + 1)
                    factor = (np.int64(3) << base) - x
                    root = (root * factor) >> (base + 1)
            out[i] = root
        return status
