"""The words of lavalike.dynamics.ops for compiled scalars: float32, float64, and Loihi's integers.

The functions are plain Python here, so that ``RunConfig(debug=True)`` can run them; kernels compile
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Table = dict[str, Callable[..., Any]]


def _common(dtype: type) -> Table:
    def where(c, a, b):
        return dtype(a) if c else dtype(b)

    def above(x, th):
        return x > th

    def reaches(x, th):
        return x >= th

    def crosses(re, im, before, th):
        return (re >= th) & (im >= 0) & (before < 0)

    def gate(d, m, th):
        return dtype(d) if abs(m) >= th else dtype(0)

    def both(s, c):
        return s & c

    def positive(x):
        return dtype(x) if x > 0 else dtype(0)

    def reset(s, v, to):
        return dtype(to) if s else dtype(v)

    def lower(s, v, by):
        return dtype(v) - dtype(by) if s else dtype(v)

    def carried(x):
        return x

    def inject(x, y):
        return y

    def absolute(x):
        return abs(x)

    def lesser(x, y):
        return min(x, y)

    def greater(x, y):
        return max(x, y)

    return {
        "where": where,
        "above": above,
        "reaches": reaches,
        "crosses": crosses,
        "gate": gate,
        "both": both,
        "positive": positive,
        "reset": reset,
        "lower": lower,
        "carried": carried,
        "inject": inject,
        "absolute": absolute,
        "lesser": lesser,
        "greater": greater,
    }


def _floating(dtype: type) -> Table:
    def leak(x, k):
        return x * k

    def scaled(x, k, bits):
        return x * k

    def wrap(x):
        return x

    def unscale(x, e):
        return x * e

    def exp(x):
        return dtype(math.exp(x))

    def tanh(x):
        return dtype(math.tanh(x))

    def sigmoid(x):
        return dtype(1) / (dtype(1) + dtype(math.exp(-x)))

    def sqrt(x):
        return dtype(math.sqrt(x))

    def log(x):
        return dtype(math.log(x))

    return _common(dtype) | {
        "leak": leak,
        "scaled": scaled,
        "wrap": wrap,
        "clip": wrap,
        "unscale": unscale,
        "exp": exp,
        "tanh": tanh,
        "sigmoid": sigmoid,
        "sqrt": sqrt,
        "log": log,
    }


def _fixed(whole: type) -> Table:
    """Loihi's integers, computed in ``whole``: in int32 where all that is computed fits (see
    :mod:`lavalike.backends.numba.ranges`)."""
    half, low, full = whole(1 << 23), whole(-(1 << 23)), whole(1 << 24)
    most, least = whole((1 << 23) - 1), whole(1 - (1 << 23))
    int64, float64 = np.int64, np.float64

    def leak(x, k):
        p = int64(int64(x) * k)  # k may have a fraction of 1/4096
        return (p + ((p >> 63) & 4095)) >> 12  # toward zero, as sign(x) * (|x| >> 12)

    def leak_in_32(x, k):
        return whole(float64(x) * (float64(k) * 2.0**-12))  # the product is exact; toward zero

    def scaled(x, k, bits):
        p = int64(x) * int64(k)
        return whole((p + ((p >> 63) & ((int64(1) << bits) - 1))) >> bits)

    def wrap(x):
        x = whole(x)
        x = whole(x - full) if x > half else x
        return whole(x + full) if x <= low else x

    def clip(x):
        x = whole(x)
        x = most if x > most else x
        return least if x < least else x

    def unscale(x, e):
        return whole(whole(x) >> whole(e))

    return _common(whole) | {
        "leak": leak if whole is int64 else leak_in_32,
        "scaled": scaled,
        "wrap": wrap,
        "clip": clip,
        "unscale": unscale,
    }


TABLES: dict[str, Table] = {
    "float32": _floating(np.float32),
    "float64": _floating(np.float64),
    "int32": _fixed(np.int64),
}
NARROW = _fixed(np.int32)
