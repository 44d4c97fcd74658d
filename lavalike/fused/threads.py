"""Compiled functions in parallel: on the threads of torch's own OpenMP team where it has one, else
on a pool.

Two teams on the same cores get in each other's way: idle OpenMP threads wait busily.
"""

from __future__ import annotations

import ctypes
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from lavalike.fused.llvm import F32, I32, I64, Builder, compiled


def cuts(count: int, worth: int) -> list[int]:
    """``0..count`` in as many equal parts as torch has threads and the work is ``worth``."""
    parts = max(1, min(torch.get_num_threads(), worth, count))
    return [count * j // parts for j in range(parts + 1)]


def run(function: int, table: np.ndarray) -> None:
    """``void function(int64* slots)`` at this address, once for every row of ``table``."""
    if len(table) == 1:
        _signature()(function)(table.ctypes.data)
        return
    team = _team()
    if team is None:
        call = _signature()(function)
        list(_pool(len(table)).map(call, (row.ctypes.data for row in table)))
        return
    parallel, member, number, size = team
    job = np.array(
        [function, table.ctypes.data, table.strides[0], len(table), number, size], np.int64
    )
    parallel(member, job.ctypes.data, len(table), 0)


@functools.cache
def _signature() -> Any:
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lavalike-fused")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@functools.cache
def _team() -> tuple[Any, int, int, int] | None:
    """(GOMP_parallel, what each member runs, omp_get_thread_num, omp_get_num_threads), or None
    where torch has another OpenMP."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None)
    try:
        parallel = library.GOMP_parallel
        number, size = (
            ctypes.cast(getattr(library, n), ctypes.c_void_p).value
            for n in ("omp_get_thread_num", "omp_get_num_threads")
        )
    except AttributeError:
        return None
    parallel.argtypes, parallel.restype = (
        [ctypes.c_int64, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint],
        None,
    )
    return parallel, _member(), number, size  # type: ignore[return-value]  # ctypes gives no types


def _member() -> int:
    """``void member(int64* job)``: the rows of this thread; a team may be smaller than was asked
    for."""
    k = Builder("member", F32, True)
    b = k.b
    function, table, stride, rows, number, size = (k.slot(I64) for _ in range(6))
    ask = ir.FunctionType(I32, [])
    first, step = (b.sext(b.call(b.inttoptr(f, ask.as_pointer()), []), I64) for f in (number, size))
    work = ir.FunctionType(ir.VoidType(), [I64])
    before, head, body, after = (
        b.block,
        *(k.function.append_basic_block(n) for n in ("head", "body", "after")),
    )
    b.branch(head)
    b.position_at_end(head)
    row = b.phi(I64)
    row.add_incoming(first, before)
    b.cbranch(b.icmp_signed("<", row, rows), body, after)
    b.position_at_end(body)
    b.call(b.inttoptr(function, work.as_pointer()), [b.add(table, b.mul(row, stride))])
    row.add_incoming(b.add(row, step), b.block)
    b.branch(head)
    b.position_at_end(after)
    return compiled(k.finish())
