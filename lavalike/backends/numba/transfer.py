"""Kernels that move messages: into the graph, out of it, and between ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lavalike.backends.numba.kernels import NOT_FINITE, NOT_HELD, WRAPPED


def feed(target, rows, t, first):
    row = rows[t - first]
    for i in range(target.size):
        target[i] = row[i]


def record(source, rows, t, first):
    row = rows[t - first]
    for i in range(source.size):
        row[i] = source[i]


def record_end(source, rows, t, first):
    """Of a state that counts steps down: the step in which it ends."""
    row = rows[t - first]
    for i in range(source.size):
        row[i] = source[i] + np.float64(t)


def record_complex(source, rows, t, first, imaginary):
    """Of a state and that of its imaginary part."""
    row = rows[t - first]
    for i in range(source.size):
        row[i] = complex(source[i], imaginary[i])


def record_at(source, rows, t, first, index, turn, size):
    """Of a state of ``size`` elements a sample, those at ``index``, further on by ``turn`` in every
    step and from its end to its beginning."""
    row = rows[t - first]
    on = t * turn % size
    for k in range(source.size // size):
        for i in range(index.size):
            j = index[i] + on
            row[k * index.size + i] = source[k * size + (j if j < size else j - size)]


def clear(target):
    for i in range(target.size):
        target[i] = 0


def copy(source, target):
    for i in range(target.size):
        target[i] = source[i]


def add(source, target):
    for i in range(target.size):
        target[i] += source[i]


def add_two(a, b, target):
    for i in range(target.size):
        target[i] = a[i] + b[i]


def add_whole(source, target):
    """``add`` of int32: WRAPPED where a sum leaves 32 bits."""
    bad = np.int32(0)
    for i in range(target.size):
        a = target[i]
        total = np.int32(a + source[i])
        target[i] = total
        bad |= (a ^ total) & (source[i] ^ total)  # a sum of another sign than both
    return WRAPPED if bad < 0 else 0


def add_two_whole(a, b, target):
    """``add_two`` of int32: WRAPPED where a sum leaves 32 bits."""
    bad = np.int32(0)
    for i in range(target.size):
        total = np.int32(a[i] + b[i])
        bad |= (a[i] ^ total) & (b[i] ^ total)
        target[i] = total
    return WRAPPED if bad < 0 else 0


def gather(source, target, src):
    for k in range(source.shape[0]):
        for i in range(src.size):
            target[k, i] = source[k, src[i]]


def gather_add(source, target, src, dst):
    for k in range(source.shape[0]):
        for i in range(src.size):
            target[k, dst[i]] += source[k, src[i]]


def gather_add_whole(source, target, src, dst):
    """``gather_add`` of int32: WRAPPED where a sum leaves 32 bits."""
    bad = np.int32(0)
    for k in range(source.shape[0]):
        for i in range(src.size):
            a = target[k, dst[i]]
            b = source[k, src[i]]
            total = np.int32(a + b)
            target[k, dst[i]] = total
            bad |= (a ^ total) & (b ^ total)
    return WRAPPED if bad < 0 else 0


def finite(source):
    """NOT_FINITE where a value is NaN or infinite."""
    bad = 0
    for i in range(source.size):
        bad |= source[i] - source[i] != 0
    return NOT_FINITE if bad else 0


def convert(source, target):
    for i in range(target.size):
        target[i] = source[i]


def whole(source, target):
    """Floating point to int32; NOT_HELD where that is not the same number."""
    kind = source.dtype.type
    low, high, zero = kind(-2147483648.0), kind(2147483648.0), kind(0)
    bad = np.int32(0)
    for i in range(target.size):
        x = source[i]
        n = np.int32(x if (x >= low) & (x < high) else zero)
        target[i] = n
        bad |= np.int32(kind(n) != x)
    return NOT_HELD if bad else 0


def single(source, target):
    """int32 to float32; NOT_HELD where a number is beyond 24 bits."""
    bad = np.int32(0)
    for i in range(target.size):
        x = source[i]
        target[i] = x
        bad |= x ^ (x >> np.int32(31))
    return NOT_HELD if bad >> np.int32(24) else 0


def conversion(source: np.dtype, target: np.dtype) -> Callable[..., Any]:
    """The kernel that takes messages from one dtype to another; nothing gets lost in silence."""
    if target.kind == "i":
        return whole
    return single if source.kind == "i" and target == np.float32 else convert


def held(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Which of ``values`` :func:`conversion` to ``dtype`` lets pass."""
    if values.dtype.kind == "i":
        return (values ^ (values >> 31)) >> 24 == 0
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64) == values.astype(dtype).astype(np.float64)


CHECKED = (whole, single)
WHOLE = {add: add_whole, add_two: add_two_whole, gather_add: gather_add_whole}
RETURNS = (finite, *CHECKED, *WHOLE.values())
