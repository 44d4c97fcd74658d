"""Normal numbers from a counter and a key: the n-th is the same whatever the threads, and costs a
fraction of a sequential generator's.

The key of 63 bits comes from torch's global generator, so that ``torch.manual_seed`` rules what is
drawn. A counter is mixed twice with the key (Wellons' low-bias 32-bit hash), 23 of its bits make a
number u in (-1, 1), and ``sqrt(2) erfinv(u)`` is normal (Giles 2010, "Approximating the erfinv
function", single precision: 7 digits). Values end at 5.3 standard deviations.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from llvmlite import ir

from lavalike.fused import threads
from lavalike.fused.llvm import F32, I16, I32, I64, WIDTH, Builder, compiled

GRAIN = 1 << 15  # numbers worth a thread
INTS = ir.VectorType(I32, WIDTH)
MIX = ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None))  # shift right and xor, multiply
CENTRE = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
LOG = tuple((-1) ** (n + 1) / n for n in range(7, 0, -1))  # log(1 + r) / r, for |r| < 0.19


def keys(count: int) -> list[int]:
    """So many keys, from torch's global generator."""
    return torch.empty(count, dtype=torch.int64).random_().tolist()


class Source:
    """Draws vectors inside a kernel. Made at the kernel's beginning.

    Args:
        k: the kernel.
        key: its int64.
    """

    def __init__(self, k: Builder, key: Any) -> None:
        self.k = k
        self.halves = [self._splat(k.b.trunc(k.b.lshr(key, I64(s)), I32)) for s in (0, 32)]
        self.out = k.b.alloca(k.vector)

    def draw(self, at: Any) -> Any:
        """The normal numbers of counters ``at``, ``at + 1``, ..."""
        k, b = self.k, self.k.b
        n = b.add(self._splat(b.trunc(at, I32)), ir.Constant(INTS, list(range(WIDTH))))
        n = self._mix(b.add(self._mix(b.xor(n, self.halves[0])), self.halves[1]))
        # 23 bits and a half: u is exact, and never -1, 0 or 1
        u = b.fsub(
            b.fmul(
                b.fadd(b.uitofp(b.lshr(n, self._int(9)), k.vector), k.constant(0.5)),
                k.constant(2.0**-22),
            ),
            k.constant(1.0),
        )
        w = b.fneg(self._log(b.fmul(b.fsub(k.constant(1.0), u), b.fadd(k.constant(1.0), u))))
        b.store(self._polynomial(CENTRE, b.fsub(w, k.constant(2.5))), self.out)
        far = k.does("ge", w, k.constant(5.0))
        with k.when(b.icmp_unsigned("!=", b.bitcast(far, I16), I16(0))):  # one vector in twenty
            tail = self._polynomial(TAIL, b.fsub(k.does("sqrt", w), k.constant(3.0)))
            b.store(b.select(far, tail, b.load(self.out, typ=k.vector)), self.out)
        return b.fmul(b.fmul(b.load(self.out, typ=k.vector), u), k.constant(math.sqrt(2.0)))

    def _splat(self, x: Any) -> Any:
        b = self.k.b
        one = b.insert_element(ir.Constant(INTS, ir.Undefined), x, I32(0))
        return b.shuffle_vector(
            one, ir.Constant(INTS, ir.Undefined), ir.Constant(INTS, [0] * WIDTH)
        )

    @staticmethod
    def _int(value: int) -> Any:
        return ir.Constant(INTS, [value] * WIDTH)

    def _mix(self, x: Any) -> Any:
        b = self.k.b
        for shift, factor in MIX:
            x = b.xor(x, b.lshr(x, self._int(shift)))
            x = x if factor is None else b.mul(x, self._int(factor))
        return x

    def _polynomial(self, coefficients: tuple[float, ...], x: Any) -> Any:
        y = self.k.constant(coefficients[0])
        for c in coefficients[1:]:
            y = self.k.intrinsic("fma", self.k.vector, [y, x, self.k.constant(c)])
        return y

    def _log(self, x: Any) -> Any:
        """Of a normal float: exponent, and the logarithm of a mantissa in 0.84..1.19 (by steps of
        sqrt(2))."""
        k, b = self.k, self.k.b
        bits = b.bitcast(x, INTS)
        exponent = b.sitofp(b.sub(b.lshr(bits, self._int(23)), self._int(127)), k.vector)
        m = b.bitcast(
            b.or_(b.and_(bits, self._int(0x7FFFFF)), self._int(0x3F800000)), k.vector
        )  # 1..2
        for above, factor, half in ((2**0.75, 0.5, 1.0), (2**0.25, 2**-0.5, 0.5)):
            high = k.does("gt", m, k.constant(above))
            m = b.select(high, b.fmul(m, k.constant(factor)), m)
            exponent = b.select(high, b.fadd(exponent, k.constant(half)), exponent)
        r = b.fsub(m, k.constant(1.0))
        return b.fadd(
            b.fmul(exponent, k.constant(math.log(2.0))), b.fmul(r, self._polynomial(LOG, r))
        )


@functools.cache
def _fill() -> int:
    k = Builder("normal", F32, True)
    first, last = k.slot(I64), k.slot(I64)
    out = k.slot(None)
    source = Source(k, k.slot(I64))
    with k.loop(first, last, WIDTH) as at:
        k.store(source.draw(at), out, at, "float32")
    return compiled(k.finish())


def draw(count: int, key: int) -> torch.Tensor:
    """The first ``count`` normal numbers of ``key``, float32."""
    vectors = -(-count // WIDTH)
    out = torch.empty(vectors * WIDTH, dtype=torch.float32)
    parts = threads.cuts(vectors, count // GRAIN)
    threads.run(
        _fill(),
        np.array(
            [[a * WIDTH, b * WIDTH, out.data_ptr(), key] for a, b in pairwise(parts)], np.int64
        ),
    )
    return out[:count]
