"""Compiled time loops of slayer's neurons: forward and backward one pass over time each.

Tensors are viewed as (rows, time); rows are shared out over torch's threads. The scalar equations are those of
:mod:`lavalike.dynamics`, in Loihi's integers for integrators and in floating point for delta coding.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from lavalike.backends.numba import kernels
from lavalike.backends.numba.arithmetic import TABLES
from lavalike.backends.numba.kernels import Spec, jit
from lavalike.dynamics import delta, lif
from lavalike.dynamics.dynamics import bind

LIMIT = kernels.ACCUMULATOR_LIMIT
_current = jit(bind(lif.current, TABLES["int32"], jit))
_encode = jit(bind(delta.encode, TABLES["float64"], jit))


def leaky_forward(x, keep, scale, y, overflows):
    """y[t] = leak(y[t-1]) + trunc(scale x[t]), all integers over scale; ``keep`` in 1/4096, one a row."""
    for r in range(x.shape[0]):
        state = np.int64(0)
        out = np.int64(0)
        for t in range(x.shape[1]):
            state = _current(np.int64(scale * x[r, t]), state, keep[r], np.int64(1))
            out += abs(state) >= LIMIT
            y[r, t] = state / scale
        overflows[r] += out


def leaky_backward(g, y, keep, gx, gkeep):
    """g_x[t] = keep g_x[t+1] + g[t]; d y[t] / d keep = y[t-1]."""
    for r in range(g.shape[0]):
        k = keep[r] / 4096
        acc = 0.0
        total = 0.0
        for t in range(g.shape[1] - 1, -1, -1):
            acc = k * acc + g[r, t]
            gx[r, t] = acc
            if t > 0:
                total += acc * y[r, t - 1]
        gkeep[r] = total / 4096


def fire_forward(u, keep, scale, threshold, v, s, overflows):
    """As leaky_forward with a spike and v = 0 where v exceeds ``threshold`` (an integer over scale); v as before."""
    for r in range(u.shape[0]):
        state = np.int64(0)
        out = np.int64(0)
        for t in range(u.shape[1]):
            state = _current(np.int64(scale * u[r, t]), state, keep[r], np.int64(1))
            out += abs(state) >= LIMIT
            v[r, t] = state / scale
            fired = state > threshold[r]
            s[r, t] = fired
            if fired:
                state = np.int64(0)
        overflows[r] += out


def fire_backward(g, v, s, keep, threshold, scale, tau, height, gu, gkeep):
    """The surrogate ``height / (2 tau) exp(-|v - th| / tau)``, then leaky_backward; resets are not differentiated."""
    for r in range(g.shape[0]):
        k = keep[r] / 4096
        th = threshold[r] / scale
        acc = 0.0
        total = 0.0
        for t in range(g.shape[1] - 1, -1, -1):
            acc = k * acc + g[r, t] * (height / (2 * tau) * np.exp(-abs(v[r, t] - th) / tau))
            gu[r, t] = acc
            if t > 0 and s[r, t - 1] == 0:
                total += acc * v[r, t - 1]
        gkeep[r] = total / 4096


def delta_forward(x, threshold, step, d, y):
    """Delta coding; what is sent is rounded down to multiples of ``step``, what is kept is not. d: before the gate."""
    for r in range(x.shape[0]):
        act = 0.0
        residue = 0.0
        for t in range(x.shape[1]):
            change = x[r, t] - act + residue
            sent, act, residue = _encode(x[r, t], act, residue, threshold[r], 1.0)
            d[r, t] = change
            y[r, t] = np.floor(sent / step) * step


def delta_backward(g, d, threshold, tau, height, gx, gth):
    """g_x[t] = g[t] - g[t+1], the gate taken as open; the threshold's gradient as in lava-dl 0.6 (axon/delta)."""
    for r in range(g.shape[0]):
        th = threshold[r]
        later = 0.0
        total = 0.0
        for t in range(g.shape[1] - 1, -1, -1):
            gx[r, t] = g[r, t] - later
            later = g[r, t]
            size = abs(d[r, t])
            if size > th:
                total -= g[r, t] * d[r, t] * height * np.exp(-(size - th) / tau) / th
            else:
                total -= g[r, t] * np.sign(d[r, t])
        gth[r] = total


# -- calling them ----------------------------------------------------------------------------------------


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lavalike-slayer")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@functools.cache
def _compiled(function: Callable[..., Any], kinds: tuple[kernels.Kind, ...]) -> Callable[..., int]:
    names = function.__code__.co_varnames[:function.__code__.co_argcount]
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
        kernels.address(Spec(function, tuple(zip(names, kinds, strict=True)))))


def run(function: Callable[..., Any], *arguments: torch.Tensor | float) -> None:
    """Call a kernel on C-contiguous CPU tensors; those with the first tensor's number of rows are cut by rows."""
    values = [a.numpy() if isinstance(a, torch.Tensor) else float(a) for a in arguments]
    kinds = [(str(v.dtype), v.ndim) if isinstance(v, np.ndarray) else ("float64", 0) for v in values]
    compiled = _compiled(function, tuple(kinds))
    rows = len(values[0])
    threads = min(torch.get_num_threads(), max(1, values[0].size // 20_000), max(rows, 1))
    cuts = np.linspace(0, rows, threads + 1).astype(int)

    def part(low: int, high: int) -> None:
        block = kernels.pack([v[low:high] if isinstance(v, np.ndarray) else v for v in values], kinds)
        compiled(block.ctypes.data, 0)

    if threads == 1:
        part(0, rows)
    else:
        list(_pool(threads).map(part, cuts[:-1], cuts[1:]))
