"""The words of lavalike.dynamics.ops for compiled scalars: float32, float64, and Loihi's integers.

The functions are plain Python here, so that ``RunConfig(debug=True)`` can run them; kernels compile them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Table = dict[str, Callable[..., Any]]

HALF = np.int64(1 << 23)
FULL = np.int64(1 << 24)
LIMIT = np.int64((1 << 23) - 1)


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


def _fixed() -> Table:
    int64 = np.int64

    def leak(x, k):
        p = int64(int64(x) * k)  # k may have a fraction of 1/4096
        return (p + ((p >> 63) & 4095)) >> 12  # toward zero, as sign(x) * (|x| >> 12)

    def scaled(x, k, bits):
        p = int64(x) * int64(k)
        return (p + ((p >> 63) & ((int64(1) << bits) - 1))) >> bits

    def wrap(x):
        x = x - FULL if x > HALF else x
        return x + FULL if x <= -HALF else x

    def clip(x):
        return min(max(x, -LIMIT), LIMIT)

    def unscale(x, e):
        return x >> e

    return _common(int64) | {
        "leak": leak,
        "scaled": scaled,
        "wrap": wrap,
        "clip": clip,
        "unscale": unscale,
    }


TABLES: dict[str, Table] = {
    "float32": _floating(np.float32),
    "float64": _floating(np.float64),
    "int32": _fixed(),
}
