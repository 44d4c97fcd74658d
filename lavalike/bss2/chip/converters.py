"""Numbers on their way into the synapse array and out of it, one pass each: rounding with a range
check, reading, rectifying.

The compiled passes run on torch's threads; the same in plain torch serves other devices and is what
the tests compare with.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from lavalike.bss2.chip import facts, normal
from lavalike.bss2.errors import OperandError
from lavalike.fused import memory, threads
from lavalike.fused.llvm import F32, F64, I16, I32, I64, WIDTH, Builder, compiled

POINTER = None
GRAIN = 1 << 15  # values worth a thread
BAD = 7  # the argument of the rounding kernel that tells of values outside


@dataclass(frozen=True)
class Readout:
    """How columns turn charge into numbers. Tensors are float32, one value a column.

    Args:
        factor: output LSB for one unit of input x weight; a tensor, or one number for all columns.
        offset: LSB, or None for none.
        sigma: LSB of the noise.
        knee: LSB below which the output bends towards the column's floor; None: it does not.
        span: knee - floor, LSB, where there is a knee.
        rate: -1 / span.
    """

    factor: torch.Tensor | float
    offset: torch.Tensor | None = None
    sigma: float = 0.0
    knee: float | None = None
    span: torch.Tensor | None = None
    rate: torch.Tensor | None = None


def empty(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """A float32 tensor whose memory is used again where it is large."""
    if device.type == "cpu" and math.prod(shape) * 4 >= memory.SMALL:
        return memory.empty(shape, torch.float32)
    return torch.empty(shape, dtype=torch.float32, device=device)


def encode(x: torch.Tensor, pulse_offset: float = 0.0) -> torch.Tensor | None:
    """Inputs rounded half to even, ``pulse_offset`` added where that is above 0; None where a value
    is outside 0..31, or NaN."""
    return _rounded(x, 0, facts.INPUT_MAX, pulse_offset, None)


def hold(w: torch.Tensor, gains: torch.Tensor | None = None) -> torch.Tensor | None:
    """Weights (K, N) rounded half to even, times ``gains``, which lie as the weights do; None where
    a value is outside -63..63, or NaN."""
    return _rounded(w, -facts.WEIGHT_MAX, facts.WEIGHT_MAX, 0.0, gains)


def turned(w: torch.Tensor) -> bool:
    """Whether a matrix lies column by column, as a layer's weight does once it is transposed."""
    return w.dim() == 2 and not w.is_contiguous() and w.t().is_contiguous()


def _rounded(
    x: torch.Tensor, low: int, high: int, offset: float, gains: torch.Tensor | None
) -> torch.Tensor | None:
    if x.device.type != "cpu":
        out = x.round()
        if not bool(((out >= low) & (out <= high)).all()):
            return None
        out = out + offset * (out > 0) if offset else out
        return out if gains is None else out * gains
    if turned(x):
        across = _rounded(x.t(), low, high, offset, None if gains is None else gains.t())
        return None if across is None else across.t()
    x = x.contiguous()
    out = empty(x.shape, x.device)
    gains = None if gains is None else gains.contiguous()
    table = _run(
        _round(offset != 0, gains is not None),
        "qqqqdddqq",
        x.numel(),
        x.numel(),
        x.data_ptr(),
        out.data_ptr(),
        low,
        high,
        offset,
        0,
        0 if gains is None else gains.data_ptr(),
    )
    return None if any(table[:, BAD].tolist()) else out


def _run(kernel: int, form: str, count: int, size: int, *values: float) -> np.ndarray:
    """``kernel(first, last, *values)`` over 0..count, which is worth ``size`` values; its arguments
    afterwards."""
    parts = threads.cuts(count, size // GRAIN)
    packed = b"".join(struct.pack(form, first, last, *values) for first, last in pairwise(parts))
    table = np.frombuffer(bytearray(packed), np.int64).reshape(len(parts) - 1, -1)
    threads.run(kernel, table)
    return table


def digitise(
    charge: torch.Tensor,
    read: Readout,
    key: int = 0,
    total: torch.Tensor | None = None,
    last: bool = True,
) -> torch.Tensor:
    """What the converters read of ``charge``, which is overwritten: integers in -128..127.

    Args:
        charge: (rows, columns), or (batch, columns, ...) of a convolution; contiguous.
        read: how.
        key: of the noise, :func:`lavalike.bss2.chip.normal.keys`; other devices draw theirs from
            torch.
        total: integers of the same shape, to which it is added in place.
        last: limit that sum to -128..127.

    OperandError: not float32, or not contiguous.
    """
    for x in (charge, total):
        if x is not None and (x.dtype != torch.float32 or not x.is_contiguous()):
            raise OperandError(
                f"digitise: contiguous float32 tensors are expected, got {x.dtype} {tuple(x.shape)}"
            )
    if charge.device.type != "cpu":
        return _digitise_torch(
            charge, torch.randn_like(charge) if read.sigma else None, read, total, last
        )
    out = charge if total is None else total
    columns = charge.shape[1]
    across = charge.dim() == 2  # columns lie side by side; else each one's values do
    width = columns if across else math.prod(charge.shape[2:])
    patterned = isinstance(read.factor, torch.Tensor)
    kernel = _digitise(
        patterned,
        across,
        read.offset is not None,
        read.sigma != 0,
        read.knee is not None,
        total is not None,
        last,
    )

    def at(x: torch.Tensor | None) -> int:
        return 0 if x is None else x.data_ptr()

    factor = (at(read.factor), 0.0) if isinstance(read.factor, torch.Tensor) else (0, read.factor)
    _run(
        kernel,
        "qqqqqqqdqqdqqd",
        charge.numel() // max(width, 1),
        charge.numel(),
        width,
        columns,
        at(charge),
        at(out),
        *factor,
        at(read.offset),
        key,
        read.sigma,
        at(read.span),
        at(read.rate),
        read.knee or 0.0,
    )
    return out


def _digitise_torch(
    charge: torch.Tensor,
    noise: torch.Tensor | None,
    read: Readout,
    total: torch.Tensor | None,
    last: bool,
) -> torch.Tensor:
    def each(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, *(1,) * (charge.dim() - 2))

    v = charge.mul_(each(read.factor) if isinstance(read.factor, torch.Tensor) else read.factor)
    if read.offset is not None:
        v += each(read.offset)
    if noise is not None:
        v += noise * read.sigma
    if read.knee is not None and read.span is not None and read.rate is not None:  # given together
        below = (read.knee - v).clamp_(min=0)
        v = torch.where(
            below > 0, read.knee - each(read.span) * (1 - torch.exp(below * each(read.rate))), v
        )
    v = v.floor_().clamp_(facts.OUTPUT_MIN, facts.OUTPUT_MAX)
    if total is None:
        return v
    total += v
    return total.clamp_(facts.OUTPUT_MIN, facts.OUTPUT_MAX) if last else total


def rectify(
    x: torch.Tensor, shift: int, limit: int, grad: torch.Tensor | None = None
) -> torch.Tensor:
    """floor(x / 2**shift) in 0..limit; with ``grad`` its gradient, ``grad / 2**shift`` where x > 0.
    NaN stays NaN."""
    scale = 2.0**-shift
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return (
            (x * scale).floor_().clamp_(0, limit)
            if grad is None
            else torch.where(x > 0, grad * scale, 0.0)
        )
    x = x.contiguous()
    grad = None if grad is None else grad.contiguous()
    out = empty(x.shape, x.device)
    _run(
        _rectify(grad is not None),
        "qqqqqdd",
        x.numel(),
        x.numel(),
        x.data_ptr(),
        0 if grad is None else grad.data_ptr(),
        out.data_ptr(),
        scale,
        limit,
    )
    return out


# -- compiled --------------------------------------------------------------------------------------


def _vectors(k: Builder, first: Any, last: Any, body: Any) -> None:
    """``body(at, mask)`` for every vector of first..last, the last one masked where it is not
    full."""
    full = k.b.add(first, k.b.and_(k.b.sub(last, first), I64(-WIDTH)))
    with k.loop(first, full, WIDTH) as at:
        body(at, None)
    rest = k.b.sub(last, full)
    with k.when(k.b.icmp_signed(">", rest, I64(0))):
        body(full, k.mask(rest))


@functools.cache
def _round(pulse: bool, gained: bool) -> int:
    k = Builder("round", F32, True)
    b = k.b
    first, last = k.slot(I64), k.slot(I64)
    x, out = k.slot(POINTER), k.slot(POINTER)
    low, high, offset = (k.splat(k.slot(F64)) for _ in range(3))
    place = b.gep(k.function.args[0], [I64(BAD)], source_etype=I64)
    k.slot(I64)
    gains = k.slot(POINTER)
    flags = ir.VectorType(I32, WIDTH)
    wrong = b.alloca(flags)
    b.store(ir.Constant(flags, None), wrong)

    def each(at: Any, mask: Any) -> None:
        q = k.does("round", k.load(x, at, "float32", mask))
        inside = b.and_(k.does("ge", q, low), k.does("le", q, high))  # NaN is not
        outside = b.not_(inside) if mask is None else b.and_(b.not_(inside), mask)
        b.store(b.or_(b.load(wrong, typ=flags), b.sext(outside, flags)), wrong)
        if pulse:
            q = b.select(k.does("gt", q, k.constant(0.0)), b.fadd(q, offset), q)
        if gained:
            q = b.fmul(q, k.load(gains, at, "float32", mask))
        k.store(q, out, at, "float32", mask)

    _vectors(k, first, last, each)
    any_ = b.icmp_unsigned("!=", b.bitcast(b.trunc(b.load(wrong, typ=flags), k.bits), I16), I16(0))
    b.store(b.zext(any_, I64), place)
    return compiled(k.finish())


@functools.cache
def _rectify(backward: bool) -> int:
    k = Builder("rectify", F32, True)
    b = k.b
    first, last = k.slot(I64), k.slot(I64)
    x, grad, out = (k.slot(POINTER) for _ in range(3))
    scale, limit = k.splat(k.slot(F64)), k.splat(k.slot(F64))
    zero = k.constant(0.0)

    def each(at: Any, mask: Any) -> None:
        v = k.load(x, at, "float32", mask)
        if backward:
            y = b.select(
                k.does("gt", v, zero), b.fmul(k.load(grad, at, "float32", mask), scale), zero
            )
        else:
            y = k.does("floor", b.fmul(v, scale))
            y = b.select(k.does("lt", y, zero), zero, b.select(k.does("gt", y, limit), limit, y))
        k.store(y, out, at, "float32", mask)

    _vectors(k, first, last, each)
    return compiled(k.finish())


@functools.cache
def _digitise(
    patterned: bool, across: bool, shifted: bool, noisy: bool, bent: bool, added: bool, last: bool
) -> int:
    k = Builder("digitise", F32, True)
    b = k.b
    begin, end, width, columns = (k.slot(I64) for _ in range(4))
    charge, out, factors = (k.slot(POINTER) for _ in range(3))
    factor = k.splat(k.slot(F64))
    offsets = k.slot(POINTER)
    noise = normal.Source(k, k.slot(I64))
    sigma = k.splat(k.slot(F64))
    spans, rates = k.slot(POINTER), k.slot(POINTER)
    knee = k.splat(k.slot(F64))
    low, high, one = (
        k.constant(float(facts.OUTPUT_MIN)),
        k.constant(float(facts.OUTPUT_MAX)),
        k.constant(1.0),
    )
    kept = b.alloca(k.vector)

    with k.loop(begin, end) as row:
        start = b.mul(row, width)
        channel = b.srem(row, columns)

        def of(values: Any, i: Any, mask: Any) -> Any:
            """A column's number: of each lane's column, or of the row's."""
            return (
                k.load(values, i, "float32", mask)
                if across
                else k.splat(k.one(values, channel, "float32"))
            )

        def each(i: Any, mask: Any) -> None:
            at = b.add(start, i)
            v = b.fmul(
                k.load(charge, at, "float32", mask), of(factors, i, mask) if patterned else factor
            )
            if shifted:
                v = b.fadd(v, of(offsets, i, mask))
            if noisy:
                v = b.fadd(v, b.fmul(noise.draw(at), sigma))
            if bent:
                b.store(v, kept)
                below = k.does("lt", v, knee)
                with k.when(
                    b.icmp_unsigned("!=", b.bitcast(below, I16), I16(0))
                ):  # most outputs are above
                    gone = k.does("exp", b.fmul(b.fsub(knee, v), of(rates, i, mask)))
                    curve = b.fsub(knee, b.fmul(of(spans, i, mask), b.fsub(one, gone)))
                    b.store(b.select(below, curve, v), kept)
                v = b.load(kept, typ=k.vector)
            v = k.does("clamp", k.does("floor", v), low, high)
            if added:
                v = b.fadd(k.load(out, at, "float32", mask), v)
                if last:
                    v = k.does("clamp", v, low, high)
            k.store(v, out, at, "float32", mask)

        _vectors(k, I64(0), width, each)
    return compiled(k.finish())
