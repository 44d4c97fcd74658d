"""The words neuron equations are written in.

An equation uses these names as if they were plain functions; a backend binds them to its arithmetic
(:func:`lavalike.dynamics.dynamics.bind`). Here they stand for floating point on NumPy values, which
is what an unbound equation computes. They are imported by name
(``from lavalike.dynamics.ops import above, leak``), not reached through a module, a partial or a
default value: a word that would stay unbound is an InputError. Beside them stand the operators
``+ - *``, comparisons, and in floating point ``/`` and ``**``; an argument is a value of the step
or a number, and at least one of them a value.

    leak(x, k)          x * k              fixed: k is in 1/4096, product rounded toward zero
    scaled(x, k, bits)  x * k              fixed: k is in 2**-bits, product rounded toward zero
    wrap(x)             x                  fixed: one wrap into 24 bits
    clip(x)             x                  fixed: saturated at +-(2**23 - 1)
    unscale(x, e)       x * e              fixed: x >> e (floor)
    above(x, th)        1 where x > th     differentiable backends attach a surrogate gradient
    reaches(x, th)      1 where x >= th    likewise
    crosses(re, im, im_before, th)   1 where re >= th as im passes zero upwards; likewise
    gate(d, m, th)      d where |m| >= th  else 0; differentiable backends pass the gradient to d
    both(s, c)          s where c          s a spike, c a plain comparison
    where(s, a, b)      a where s else b   no gradient through s
    reset(s, v, to)     to where s else v  gradient as the training asks: none of the reset, detached, full
    lower(s, v, by)     v - by where s     likewise
    discharge(s, v, by) v after spike s    as the Dynamics' ``reset`` says: lower(s, v, by), reset(s, v, 0) or v
    clear(s, x)         x after spike s    reset(s, x, 0) where ``reset`` is "zero", else x
    carried(x)          x                  no gradient
    inject(x, y)        y                  gradient to x: y was recorded elsewhere, x is its model
    positive(x)         max(x, 0)
    absolute(x), lesser(x, y), greater(x, y)
    exp, tanh, sigmoid, sqrt, log: floating point only
"""  # noqa: W505

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FLOATING: set[str] = set()  # words without a fixed-point form


def _floating(word: Callable[..., Any]) -> Callable[..., Any]:
    FLOATING.add(word.__name__)
    return word


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


def crosses(re: Any, im: Any, before: Any, th: Any) -> Any:
    return np.greater_equal(re, th) & np.greater_equal(im, 0) & np.less(before, 0)


def gate(d: Any, m: Any, th: Any) -> Any:
    return np.where(np.abs(m) >= th, d, 0)


def both(s: Any, c: Any) -> Any:
    return np.logical_and(s, c)


def where(s: Any, a: Any, b: Any) -> Any:
    return np.where(s, a, b)


def reset(s: Any, v: Any, to: Any) -> Any:
    return np.where(s, to, v)


def lower(s: Any, v: Any, by: Any) -> Any:
    return v - s * by


def discharge(s: Any, v: Any, by: Any) -> Any:
    return v - s * by


def clear(s: Any, x: Any) -> Any:
    return x


def carried(x: Any) -> Any:
    return x


def inject(x: Any, y: Any) -> Any:
    return y


def positive(x: Any) -> Any:
    return np.maximum(x, 0)


@_floating
def exp(x: Any) -> Any:
    return np.exp(x)


@_floating
def tanh(x: Any) -> Any:
    return np.tanh(x)


@_floating
def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@_floating
def sqrt(x: Any) -> Any:
    return np.sqrt(x)


@_floating
def log(x: Any) -> Any:
    return np.log(x)


def absolute(x: Any) -> Any:
    return np.abs(x)


def lesser(x: Any, y: Any) -> Any:
    return np.minimum(x, y)


def greater(x: Any, y: Any) -> Any:
    return np.maximum(x, y)
