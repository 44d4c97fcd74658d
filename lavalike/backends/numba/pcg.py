"""NumPy's generator of random numbers, PCG64, looked up at any draw: what is drawn in a step
follows from seed and step alone.

A linear congruential generator of 128 bits, its output its halves xored and turned (O'Neill 2014,
"PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number
Generation", XSL-RR); ``n`` steps of it are one step with other constants, found in as many
doublings as ``n`` has bits (Brown 1994, "Random number generation with arbitrary strides").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavalike.backends.numba.kernels import inner, jit, nested

_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_LOW = (1 << 64) - 1
MULTIPLIER = (np.uint64(_MULTIPLIER >> 64), np.uint64(_MULTIPLIER & _LOW))
ZERO, ONE, HALF, MASK = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
TURN, TURNED, WORD, DOUBLE, SEVENTH = (np.uint64(k) for k in (58, 63, 64, 11, 25))


def seed_words(seeds: Sequence[int]) -> np.ndarray:
    """State and increment of ``np.random.default_rng(seed)``, each in two words, a row a seed."""
    rows = []
    for seed in seeds:
        found = np.random.PCG64(seed).state["state"]
        rows.append([x for k in ("state", "inc") for x in (found[k] >> 64, found[k] & _LOW)])
    return np.array(rows, np.uint64).view(np.int64)  # a kernel has no arrays of words without sign


@nested
def multiplied(ah, al, bh, bl):
    """The lower 128 bits of a product, in two words."""
    a1, a0, b1, b0 = al >> HALF, al & MASK, bl >> HALF, bl & MASK
    low = a0 * b0
    mid = a1 * b0 + (low >> HALF)
    more = a0 * b1 + (mid & MASK)
    high = a1 * b1 + (mid >> HALF) + (more >> HALF)
    return high + ah * bl + al * bh, al * bl


@nested
def added(ah, al, bh, bl):
    low = al + bl
    return ah + bh + (ONE if low < al else ZERO), low


@inner
def jumped(words, draw):
    """The 64 bits of draw ``draw``, from 0, of the generator of ``words``, a row of
    :func:`seed_words`."""
    mh, ml = MULTIPLIER
    ph, pl = np.uint64(words[2]), np.uint64(words[3])
    ah, al, ch, cl = ZERO, ONE, ZERO, ZERO
    left = draw + 1
    while left > 0:
        if left & 1:
            ah, al = multiplied(ah, al, mh, ml)
            ch, cl = multiplied(ch, cl, mh, ml)
            ch, cl = added(ch, cl, ph, pl)
        ph, pl = multiplied(*added(mh, ml, ZERO, ONE), ph, pl)
        mh, ml = multiplied(mh, ml, mh, ml)
        left >>= 1
    sh, sl = multiplied(ah, al, np.uint64(words[0]), np.uint64(words[1]))
    sh, sl = added(sh, sl, ch, cl)
    turn = sh >> TURN
    word = sh ^ sl
    return (word >> turn) | (word << ((WORD - turn) & TURNED))


@jit
def uniform(words, draw):
    """Draw ``draw`` of ``Generator.random()``."""
    return np.float64(jumped(words, draw) >> DOUBLE) * (1.0 / 9007199254740992.0)


@jit
def seventh(words, draw):
    """Draw ``draw`` of ``Generator.integers(0, 128)``: seven bits of a half word, the lower half
    first."""
    word = jumped(words, draw >> 1)
    half = word >> HALF if draw & 1 else word & MASK
    return np.int64(half >> SEVENTH)
