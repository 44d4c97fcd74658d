"""The words neuron equations are written in.

An equation uses these names as if they were plain functions; a backend binds them to its arithmetic
(:func:`lavalike.dynamics.dynamics.bind`). Here they stand for floating point on NumPy values, which is
what an unbound equation computes.

    leak(x, k)          x * k              fixed: k is in 1/4096, product rounded toward zero
    scaled(x, k, bits)  x * k              fixed: k is in 2**-bits, product rounded toward zero
    wrap(x)             x                  fixed: one wrap into 24 bits
    clip(x)             x                  fixed: saturated at +-(2**23 - 1)
    unscale(x, e)       x * e              fixed: x >> e (floor)
    above(x, th)        1 where x > th     differentiable backends attach a surrogate gradient
    reaches(x, th)      1 where x >= th    likewise
    gate(d, m, th)      d where |m| >= th  else 0; differentiable backends pass the gradient to d
    both(s, c)          s where c          s a spike, c a plain comparison
    where(s, a, b)      a where s else b   no gradient through s
    positive(x)         max(x, 0)
"""

from __future__ import annotations

from typing import Any

import numpy as np


def leak(x: Any, k: Any) -> Any:
    return x * k


def scaled(x: Any, k: Any, bits: Any) -> Any:
    return x * k


def wrap(x: Any) -> Any:
    return x


def clip(x: Any) -> Any:
    return x


def unscale(x: Any, e: Any) -> Any:
    return x * e


def above(x: Any, th: Any) -> Any:
    return np.greater(x, th)


def reaches(x: Any, th: Any) -> Any:
    return np.greater_equal(x, th)


def gate(d: Any, m: Any, th: Any) -> Any:
    return np.where(np.abs(m) >= th, d, 0)


def both(s: Any, c: Any) -> Any:
    return np.logical_and(s, c)


def where(s: Any, a: Any, b: Any) -> Any:
    return np.where(s, a, b)


def positive(x: Any) -> Any:
    return np.maximum(x, 0)


NAMES = ("leak", "scaled", "wrap", "clip", "unscale", "above", "reaches", "gate", "both", "where", "positive")
