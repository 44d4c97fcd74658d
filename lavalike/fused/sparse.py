"""Products with a matrix that is mostly zero, as spikes are: a zero costs a test, a spike one row
of weights.

A row of the result is kept in registers, some vectors of it at a time, while the rows of the other
matrix that its non-zeros name are added: per non-zero and column 4 bytes are read (from the
second-level cache: the columns taken at a time are few enough), where a dense product reads
registers. Sums run in the order of the columns of the sparse matrix, whatever the threads.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from lavalike.fused import memory, threads
from lavalike.fused.llvm import F32, I16, I32, I64, WIDTH, Builder, compiled

CHUNKS = (16, 8, 4, 2, 1)  # vectors of a result's row that are taken at a time
POINTER = None


@dataclass(frozen=True)
class Sparse:
    """A matrix (rows, columns) by rows: ``begin[r]..begin[r + 1]`` are the entries of row r in
    ``index`` and ``value``."""

    rows: int
    columns: int
    begin: torch.Tensor
    index: torch.Tensor
    value: torch.Tensor


def _function(build: Callable[[Builder], None], name: str) -> int:
    k = Builder(name, F32, True)
    build(k)
    return compiled(k.finish())


def _vectors(k: Builder, n: Any, body: Callable[[Any, Any], None]) -> None:
    """``body(i, mask)`` for every vector of 0..n, the last one masked where it is not full."""
    full = k.b.and_(n, I64(-WIDTH))
    with k.loop(I64(0), full, WIDTH) as i:
        body(i, None)
    rest = k.b.sub(n, full)
    with k.when(k.b.icmp_signed(">", rest, I64(0))):
        body(full, k.mask(rest))


def _set_bits(k: Builder, x: Any, at: Any, mask: Any, storage: str) -> Any:
    """Which of the values at ``at`` are not zero, as a 16-bit number."""
    return k.b.bitcast(k.b.fcmp_unordered("!=", k.load(x, at, storage, mask), k.constant(0.0)), I16)


def _storage(x: torch.Tensor) -> str:
    return "bfloat16" if x.dtype == torch.bfloat16 else "float32"


@functools.cache
def _count(storage: str) -> int:
    """begin[r + 1] = how many entries row r has."""

    def build(k: Builder) -> None:
        first, last, columns = (k.slot(I64) for _ in range(3))
        x, begin = k.slot(POINTER), k.slot(POINTER)
        with k.loop(first, last) as r:
            place = k.b.gep(begin, [k.b.add(r, I64(1))], source_etype=I64)
            k.b.store(I64(0), place)
            start = k.b.mul(r, columns)

            def add(i: Any, m: Any) -> None:
                bits = _set_bits(k, x, k.b.add(start, i), m, storage)
                ones = k.intrinsic("ctpop", I16, [bits], "i16")
                k.b.store(k.b.add(k.b.load(place, typ=I64), k.b.zext(ones, I64)), place)

            _vectors(k, columns, add)

    return _function(build, "count")


@functools.cache
def _fill(storage: str) -> int:
    """index and value of every entry."""

    def build(k: Builder) -> None:
        b = k.b
        first, last, columns = (k.slot(I64) for _ in range(3))
        x, begin, index, value = (k.slot(POINTER) for _ in range(4))
        at = b.alloca(I64)
        with k.loop(first, last) as r:
            b.store(b.load(b.gep(begin, [r], source_etype=I64), typ=I64), at)
            start = b.mul(r, columns)

            def collect(i: Any, m: Any) -> None:
                bits = _set_bits(k, x, b.add(start, i), m, storage)
                head, body, after = (
                    k.function.append_basic_block(n) for n in ("bits", "bit", "none")
                )
                before = b.block
                b.branch(head)
                b.position_at_end(head)
                left = b.phi(I16)
                left.add_incoming(bits, before)
                b.cbranch(b.icmp_unsigned("!=", left, I16(0)), body, after)
                b.position_at_end(body)
                column = b.add(i, b.zext(k.intrinsic("cttz", I16, [left, I1(1)], "i16"), I64))
                to = b.load(at, typ=I64)
                b.store(b.trunc(column, I32), b.gep(index, [to], source_etype=I32))
                b.store(
                    k.one(x, b.add(start, column), storage), b.gep(value, [to], source_etype=F32)
                )
                b.store(b.add(to, I64(1)), at)
                left.add_incoming(b.and_(left, b.sub(left, I16(1))), b.block)
                b.branch(head)
                b.position_at_end(after)

            _vectors(k, columns, collect)

    return _function(build, "fill")


I1 = ir.IntType(1)


@functools.cache
def _transpose() -> int:
    """The entries by columns; ``cursor`` starts as the columns' beginnings."""

    def build(k: Builder) -> None:
        b = k.b
        first, last = k.slot(I64), k.slot(I64)
        begin, index, value, cursor, to_index, to_value = (k.slot(POINTER) for _ in range(6))
        with k.loop(first, last) as r:
            low, high = (
                b.load(b.gep(begin, [j], source_etype=I64), typ=I64) for j in (r, b.add(r, I64(1)))
            )
            with k.loop(low, high) as e:
                column = b.sext(b.load(b.gep(index, [e], source_etype=I32), typ=I32), I64)
                place = b.gep(cursor, [column], source_etype=I64)
                to = b.load(place, typ=I64)
                b.store(b.add(to, I64(1)), place)
                b.store(b.trunc(r, I32), b.gep(to_index, [to], source_etype=I32))
                b.store(
                    b.load(b.gep(value, [e], source_etype=F32), typ=F32),
                    b.gep(to_value, [to], source_etype=F32),
                )

    return _function(build, "transpose")


@functools.cache
def _multiply(storage: str) -> int:
    """out[r] = the sum of value * dense[index] over row r's entries; dense and out in ``storage``,
    sums in float32."""

    def build(k: Builder) -> None:
        b = k.b
        first, last, width, stride = (k.slot(I64) for _ in range(4))
        begin, index, value, dense, out = (k.slot(POINTER) for _ in range(5))

        def chunk(at: Any, vectors: int, mask: Any) -> None:
            """``vectors`` vectors of every row, from column ``at``."""
            with k.loop(first, last) as r:
                low, high = (
                    b.load(b.gep(begin, [j], source_etype=I64), typ=I64)
                    for j in (r, b.add(r, I64(1)))
                )
                before = b.block
                head, body, after = (
                    k.function.append_basic_block(n) for n in ("entries", "entry", "row")
                )
                b.branch(head)
                b.position_at_end(head)
                e = b.phi(I64)
                e.add_incoming(low, before)
                sums = [b.phi(k.vector) for _ in range(vectors)]
                for s in sums:
                    s.add_incoming(k.constant(0.0), before)
                b.cbranch(b.icmp_signed("<", e, high), body, after)
                b.position_at_end(body)
                row = b.sext(b.load(b.gep(index, [e], source_etype=I32), typ=I32), I64)
                weight = k.splat(b.load(b.gep(value, [e], source_etype=F32), typ=F32))
                start = b.add(b.mul(row, stride), at)
                for j, s in enumerate(sums):
                    x = k.load(dense, b.add(start, I64(j * WIDTH)), storage, mask)
                    s.add_incoming(k.intrinsic("fmuladd", k.vector, [weight, x, s]), b.block)
                e.add_incoming(b.add(e, I64(1)), b.block)
                b.branch(head)
                b.position_at_end(after)
                to = b.add(b.mul(r, width), at)
                for j, s in enumerate(sums):
                    k.store(s, out, b.add(to, I64(j * WIDTH)), storage, mask)

        done: Any = I64(0)
        for vectors in CHUNKS:
            size = vectors * WIDTH
            end = b.add(done, b.mul(b.sdiv(b.sub(width, done), I64(size)), I64(size)))
            with k.loop(done, end, size) as at:
                chunk(at, vectors, None)
            done = end
        rest = b.sub(width, done)
        with k.when(b.icmp_signed(">", rest, I64(0))):
            chunk(done, 1, k.mask(rest))

    return _function(build, "multiply")


def _call(function: int, cuts: list[int], *arguments: torch.Tensor | int) -> None:
    """The function on every range between ``cuts``, each in a thread of its own."""
    rest = [
        a if isinstance(a, int) else memory.address(a, "a product of spikes") for a in arguments
    ]
    threads.run(function, np.array([[a, b, *rest] for a, b in itertools.pairwise(cuts)], np.int64))


def sparse(x: torch.Tensor, limit: float) -> Sparse | None:
    """The matrix ``x`` (float32 or bfloat16) by rows, or None where more than ``limit`` of it is
    not zero."""
    rows, columns = x.shape
    cuts = threads.cuts(rows, x.numel() // 200_000)
    begin = torch.zeros(rows + 1, dtype=torch.int64)
    _call(_count(_storage(x)), cuts, columns, x, begin)
    torch.cumsum(begin, 0, out=begin)
    entries = int(begin[-1])
    if entries > limit * x.numel():
        return None
    index, value = torch.empty(entries, dtype=torch.int32), torch.empty(entries)
    _call(_fill(_storage(x)), cuts, columns, x, begin, index, value)
    return Sparse(rows, columns, begin, index, value)


def transpose(s: Sparse) -> Sparse:
    """The same matrix by columns."""
    begin = torch.zeros(s.columns + 1, dtype=torch.int64)
    begin[1:] = torch.from_numpy(np.bincount(s.index.numpy(), minlength=s.columns).cumsum())
    index, value, cursor = torch.empty_like(s.index), torch.empty_like(s.value), begin.clone()
    _call(_transpose(), [0, s.rows], s.begin, s.index, s.value, cursor, index, value)
    return Sparse(s.columns, s.rows, begin, index, value)


def _spaced(dense: torch.Tensor) -> torch.Tensor:
    """``dense`` with rows that begin on cache lines, an odd number of lines apart: rows across
    lines are read twice, and rows a power of two apart share few places in a cache."""
    rows, width = dense.shape
    line = 64 // dense.element_size()
    stride = (-(-width // line) | 1) * line
    if dense.stride() == (stride, 1) and dense.data_ptr() % 64 == 0:
        return dense
    spaced = memory.empty((rows, stride), dense.dtype)[:, :width]
    return spaced.copy_(dense)


def multiply(s: Sparse, dense: torch.Tensor) -> torch.Tensor:
    """``s @ dense``, dense (s.columns, width), float32 or bfloat16."""
    width = dense.shape[1]
    dense = _spaced(dense)
    out = memory.empty((s.rows, width), dense.dtype)
    entries = len(s.index)
    parts = max(1, min(torch.get_num_threads(), entries * width // 400_000))
    # equal shares of the entries
    cuts = torch.searchsorted(s.begin, torch.arange(1, parts) * (entries / parts)).tolist()
    _call(
        _multiply(_storage(dense)),
        [0, *cuts, s.rows],
        width,
        dense.stride(0),
        s.begin,
        s.index,
        s.value,
        dense,
        out,
    )
    return out
