"""What a synapse's weights are worth in each arithmetic (reference: Lava 0.11, utils/weightutils).

fixed_pt: with k = 8 - num_weight_bits (+ 1 if signs are mixed) the low k bits are dropped; the sum
of a step is shifted by weight_exp (floor). floating_pt: weights times 2**weight_exp.
"""

from __future__ import annotations

import enum

import numpy as np

from lavalike.dynamics.dynamics import integral, within


class SignMode(enum.IntEnum):
    """Signs a weight matrix may hold; NULL finds out."""

    NULL = 0
    MIXED = 1
    EXCITATORY = 2
    INHIBITORY = 3


def sign_mode_of(weights: np.ndarray) -> SignMode:
    """The narrowest mode that holds ``weights``."""
    if weights.size == 0 or weights.min() >= 0:
        return SignMode.EXCITATORY
    return SignMode.INHIBITORY if weights.max() <= 0 else SignMode.MIXED


RANGE = {SignMode.MIXED: (-256, 255), SignMode.EXCITATORY: (0, 255), SignMode.INHIBITORY: (-255, 0)}


def ends(mode: SignMode) -> tuple[float, float]:
    """Between what weights of a sign mode lie in floating point."""
    low = 0.0 if mode is SignMode.EXCITATORY else -np.inf
    return low, 0.0 if mode is SignMode.INHIBITORY else np.inf


def dropped(num_weight_bits: int, mode: SignMode) -> int:
    """How many of the low bits of a weight are not stored."""
    return max(8 - num_weight_bits + (mode is SignMode.MIXED), 0)


def fixed_weights(weights: np.ndarray, num_weight_bits: int, sign_mode: SignMode) -> np.ndarray:
    """``weights`` as Loihi stores them (int16, or as they are where no bit is dropped of fewer),
    ValueError where they do not fit."""
    mode = sign_mode_of(weights) if sign_mode is SignMode.NULL else sign_mode
    whole = weights if weights.dtype.kind in "iu" else integral("weights", weights)
    whole = within("weights", whole, *RANGE[mode])
    drop = dropped(num_weight_bits, mode)
    if not drop and whole.dtype == np.int8:
        return whole
    whole = whole.astype(np.int16)
    if mode is SignMode.INHIBITORY:
        return -((-whole >> drop) << drop)
    return (whole >> drop) << drop
