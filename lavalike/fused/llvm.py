"""Straight-line code as vector instructions: what the CPU's loops are printed with.

Numbers are vectors of WIDTH lanes, truth values vectors of bits; a value that is the same for all neurons is computed
once, outside the loops. Multiplications and additions are not contracted, so that results are those of the plain loop.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as binding
from llvmlite import ir

from lavalike.fused.trace import Code, Op

WIDTH = 16
# of two vectors of 8 lanes: neighbours, pairs and quads of both side by side
SINGLES = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
PAIRS = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
QUADS = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
LOG2_REST = (
    -2.121944400546905827679e-4
)  # log 2 - 0.693359375; the difference of two float64 has too few digits

I64, I32, I16, I1 = ir.IntType(64), ir.IntType(32), ir.IntType(16), ir.IntType(1)
F32, F64 = ir.FloatType(), ir.DoubleType()


class Builder:
    """A function ``void kernel(int64* slots)`` under construction: llvmlite's builder with loops and vector words."""

    def __init__(self, name: str, real: ir.Type, single: bool) -> None:
        """``real``: the type computed in; ``single``: whether 24 bits of an exponential are enough."""
        self.module = ir.Module(name)
        self.module.triple = binding.get_process_triple()
        self.function = ir.Function(
            self.module, ir.FunctionType(ir.VoidType(), [I64.as_pointer()]), "kernel"
        )
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.real, self.single = real, single
        self.vector = ir.VectorType(real, WIDTH)
        self.bits = ir.VectorType(I1, WIDTH)
        self.lanes = ir.Constant(ir.VectorType(I64, WIDTH), list(range(WIDTH)))
        self.slot_count = 0

    # -- arguments, loops, memory ------------------------------------------------------------------------

    def slot(self, kind: ir.Type) -> Any:
        """The next argument: an int64, a float64, or a pointer to ``kind``."""
        place = self.b.gep(self.function.args[0], [I64(self.slot_count)], source_etype=I64)
        self.slot_count += 1
        value = self.b.load(place, typ=I64)
        return (
            value
            if kind == I64
            else self.b.bitcast(value, F64)
            if kind == F64
            else self.b.inttoptr(value, ir.PointerType())
        )

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
        """``for i in range(start, stop, step)``, also downwards; the builder is inside."""
        before = self.b.block
        head, body, after = (self.function.append_basic_block(n) for n in ("head", "body", "after"))
        self.b.branch(head)
        self.b.position_at_end(head)
        i = self.b.phi(I64)
        i.add_incoming(start, before)
        self.b.cbranch(self.b.icmp_signed("<" if step > 0 else ">", i, stop), body, after)
        self.b.position_at_end(body)
        yield i
        i.add_incoming(self.b.add(i, I64(step)), self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        then, after = (
            self.function.append_basic_block("then"),
            self.function.append_basic_block("after"),
        )
        self.b.cbranch(condition, then, after)
        self.b.position_at_end(then)
        yield
        self.b.branch(after)
        self.b.position_at_end(after)

    def smaller(self, x: Any, y: Any) -> Any:
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def load(self, pointer: Any, at: Any, storage: str, mask: Any = None) -> Any:
        """WIDTH values of ``storage`` from element ``at``, as reals; only those in ``mask`` if given."""
        kind = STORED[storage]
        vector = ir.VectorType(kind, WIDTH)
        place = self.b.gep(pointer, [at], source_etype=kind)
        if mask is None:
            x = self.b.load(place, typ=vector)
            x.align = 1
        else:
            x = self.intrinsic(
                "masked.load",
                vector,
                [place, I32(1), mask, ir.Constant(vector, None)],
                f"{_suffix(vector)}.p0",
            )
        if storage == "bfloat16":
            wide = self.b.shl(self.b.zext(x, ir.VectorType(I32, WIDTH)), _splat(I32, 16))
            x = self.b.bitcast(wide, ir.VectorType(F32, WIDTH))
        return self.cast(x)

    def one(self, pointer: Any, at: Any, storage: str) -> Any:
        """One value of ``storage`` as float32 or float64."""
        kind = STORED[storage]
        x = self.b.load(self.b.gep(pointer, [at], source_etype=kind), typ=kind)
        return (
            self.b.bitcast(self.b.shl(self.b.zext(x, I32), I32(16)), F32)
            if storage == "bfloat16"
            else x
        )

    def store(self, value: Any, pointer: Any, at: Any, storage: str, mask: Any = None) -> None:
        kind = STORED[storage]
        vector = ir.VectorType(kind, WIDTH)
        if storage == "bfloat16":
            value = self._narrow(self.cast(value, F32))
        else:
            value = self.cast(value, kind)
        place = self.b.gep(pointer, [at], source_etype=kind)
        if mask is None:
            self.b.store(value, place, align=1)
        else:
            self.intrinsic(
                "masked.store", ir.VoidType(), [value, place, I32(1), mask], f"{_suffix(vector)}.p0"
            )

    def _narrow(self, x: Any) -> Any:
        """float32 to bfloat16, to the nearest, ties to even; NaN stays NaN."""
        b, ints = self.b, ir.VectorType(I32, WIDTH)
        bits = b.bitcast(x, ints)
        odd = b.and_(b.lshr(bits, _splat(I32, 16)), _splat(I32, 1))
        rounded = b.add(b.add(bits, _splat(I32, 0x7FFF)), odd)
        kept = b.select(b.fcmp_unordered("uno", x, x), b.or_(bits, _splat(I32, 0x400000)), rounded)
        return b.trunc(b.lshr(kept, _splat(I32, 16)), ir.VectorType(I16, WIDTH))

    def cast(self, x: Any, kind: ir.Type | None = None) -> Any:
        """A vector of floating point as one of ``kind`` (default: the real type)."""
        kind = kind or self.real
        if x.type.element == kind:
            return x
        return (self.b.fpext if kind == F64 else self.b.fptrunc)(x, ir.VectorType(kind, WIDTH))

    def splat(self, x: Any) -> Any:
        """One number for all lanes."""
        if isinstance(x, float):
            return _splat(self.real, x)
        if x.type != self.real:
            x = self.b.fptrunc(x, self.real) if self.real == F32 else self.b.fpext(x, self.real)
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), x, I32(0))
        return self.b.shuffle_vector(
            one,
            ir.Constant(self.vector, ir.Undefined),
            ir.Constant(ir.VectorType(I32, WIDTH), [0] * WIDTH),
        )

    def mask(self, count: Any) -> Any:
        """The first ``count`` lanes."""
        one = self.b.insert_element(ir.Constant(self.lanes.type, ir.Undefined), count, I32(0))
        all_ = self.b.shuffle_vector(
            one,
            ir.Constant(self.lanes.type, ir.Undefined),
            ir.Constant(ir.VectorType(I32, WIDTH), [0] * WIDTH),
        )
        return self.b.icmp_signed("<", self.lanes, all_)

    def prefetch(self, pointer: Any, at: Any, storage: str) -> None:
        """Ask for the cache line of element ``at``, which need not exist."""
        place = self.b.gep(pointer, [at], source_etype=STORED[storage])
        self.intrinsic("prefetch", ir.VoidType(), [place, I32(0), I32(3), I32(1)], "p0")

    def transposed(self, rows: list[Any]) -> list[Any]:
        """WIDTH vectors as the rows of a square, turned over its diagonal, in quarters of 8 by 8: shuffles within 128 bits, then halves."""

        def shuffle(x: Any, y: Any, lanes: list[int]) -> Any:
            return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

        def turned(r: list[Any]) -> list[Any]:
            singles = [shuffle(r[k], r[k + 1], lanes) for k in range(0, 8, 2) for lanes in SINGLES]
            pairs = [
                shuffle(singles[k], singles[k + 2], lanes) for k in (0, 1, 4, 5) for lanes in PAIRS
            ]
            return [shuffle(pairs[k], pairs[k + 4], lanes) for lanes in QUADS for k in range(4)]

        parts = [
            [
                turned([shuffle(x, x, list(range(first, first + 8))) for x in rows[top : top + 8]])
                for top in (0, 8)
            ]
            for first in (0, 8)
        ]
        return [
            shuffle(left, right, list(range(WIDTH)))
            for quarters in parts
            for left, right in zip(*quarters, strict=True)
        ]

    def intrinsic(self, name: str, result: ir.Type, args: list[Any], suffix: str = "") -> Any:
        full = f"llvm.{name}.{suffix or _suffix(args[0].type)}"
        function = self.module.globals.get(full) or ir.Function(
            self.module, ir.FunctionType(result, [a.type for a in args]), full
        )
        return self.b.call(function, args)

    # -- words ---------------------------------------------------------------------------------------------

    def emit(self, code: Code, values: Mapping[str, Any], uniform: dict[str, Any]) -> list[Any]:
        """The results of ``code`` on the vectors ``values``; what depends on ``uniform`` alone is there already."""
        known: dict[str, Any] = {**uniform, **values}
        for op in code.ops:
            if op.name not in known:
                known[op.name] = self.word(
                    op, [known[a] if isinstance(a, str) else self.constant(a) for a in op.args]
                )
        return [known[r] if isinstance(r, str) else self.constant(r) for r in code.results]

    def hoist(self, code: Code, uniform: dict[str, Any]) -> dict[str, Any]:
        """``uniform`` with every operation that depends on it alone, computed here."""
        known = dict(uniform)
        for op in code.ops:
            if op.name not in known and all(not isinstance(a, str) or a in known for a in op.args):
                known[op.name] = self.word(
                    op, [known[a] if isinstance(a, str) else self.constant(a) for a in op.args]
                )
        return known

    def constant(self, value: float | bool) -> Any:
        return _splat(I1, int(value)) if isinstance(value, bool) else _splat(self.real, value)

    def word(self, op: Op, a: list[Any]) -> Any:
        return getattr(self, f"_{op.op}")(*a)

    def _add(self, x: Any, y: Any) -> Any:
        return self.b.fadd(x, y)

    def _sub(self, x: Any, y: Any) -> Any:
        return self.b.fsub(x, y)

    def _rsub(self, x: Any, y: Any) -> Any:
        return self.b.fsub(y, x)

    def _mul(self, x: Any, y: Any) -> Any:
        return self.b.fmul(x, y)

    def _div(self, x: Any, y: Any) -> Any:
        return self.b.fdiv(x, y)

    def _neg(self, x: Any) -> Any:
        return self.b.fneg(x)

    def _compare(self, sign: str, x: Any, y: Any) -> Any:
        return (self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered)(sign, x, y)

    def _gt(self, x: Any, y: Any) -> Any:
        return self._compare(">", x, y)

    def _ge(self, x: Any, y: Any) -> Any:
        return self._compare(">=", x, y)

    def _lt(self, x: Any, y: Any) -> Any:
        return self._compare("<", x, y)

    def _le(self, x: Any, y: Any) -> Any:
        return self._compare("<=", x, y)

    def _eq(self, x: Any, y: Any) -> Any:
        return self._compare("==", x, y)

    def _ne(self, x: Any, y: Any) -> Any:
        return self._compare("!=", x, y)

    def _logical_and(self, x: Any, y: Any) -> Any:
        return self.b.and_(x, y)

    def _logical_or(self, x: Any, y: Any) -> Any:
        return self.b.or_(x, y)

    def _logical_not(self, x: Any) -> Any:
        return self.b.not_(x)

    def _real(self, x: Any) -> Any:
        return self.b.select(x, self.constant(1.0), self.constant(0.0))

    def _where(self, c: Any, x: Any, y: Any) -> Any:
        return self.b.select(c, x, y)

    def _unary(self, name: str, x: Any) -> Any:
        return self.intrinsic(name, x.type, [x])

    def _abs(self, x: Any) -> Any:
        return self._unary("fabs", x)

    def _trunc(self, x: Any) -> Any:
        return self._unary("trunc", x)

    def _floor(self, x: Any) -> Any:
        return self._unary("floor", x)

    def _ceil(self, x: Any) -> Any:
        return self._unary("ceil", x)

    def _round(self, x: Any) -> Any:
        return self._unary("rint", x)

    def _sqrt(self, x: Any) -> Any:
        return self._unary("sqrt", x)

    def _log(self, x: Any) -> Any:
        return self._unary("log", x)

    def _sin(self, x: Any) -> Any:
        return self._unary("sin", x)

    def _cos(self, x: Any) -> Any:
        return self._unary("cos", x)

    def _pow(self, x: Any, y: Any) -> Any:
        return self.intrinsic("pow", x.type, [x, y])

    def _remainder(self, x: Any, y: Any) -> Any:
        """x modulo y, of y's sign; exact."""
        r, zero = self.b.frem(x, y), self.constant(0.0)
        other = self.b.and_(self._ne(r, zero), self.b.xor(self._lt(r, zero), self._lt(y, zero)))
        return self.b.select(other, self.b.fadd(r, y), r)

    def _rsqrt(self, x: Any) -> Any:
        return self.b.fdiv(self.constant(1.0), self._sqrt(x))

    def _reciprocal(self, x: Any) -> Any:
        return self.b.fdiv(self.constant(1.0), x)

    def _square(self, x: Any) -> Any:
        return self.b.fmul(x, x)

    def _relu(self, x: Any) -> Any:
        return self.b.select(self._gt(x, self.constant(0.0)), x, self.constant(0.0))

    def _maximum(self, x: Any, y: Any) -> Any:
        return self.b.select(self._ge(x, y), x, y)

    def _minimum(self, x: Any, y: Any) -> Any:
        return self.b.select(self._le(x, y), x, y)

    _clamp_min, _clamp_max = _maximum, _minimum

    def _clamp(self, x: Any, low: Any, high: Any) -> Any:
        return self._minimum(self._maximum(x, low), high)

    def _sign(self, x: Any) -> Any:
        zero = self.constant(0.0)
        return self.b.fsub(self._real(self._gt(x, zero)), self._real(self._lt(x, zero)))

    _sgn = _sign

    def _threshold_backward(self, g: Any, x: Any, threshold: Any) -> Any:
        return self.b.select(self._gt(x, threshold), g, self.constant(0.0))

    def _sigmoid(self, x: Any) -> Any:
        one = self.constant(1.0)
        return self.b.fdiv(one, self.b.fadd(one, self._exp(self.b.fneg(x))))

    def _sigmoid_backward(self, g: Any, y: Any) -> Any:
        return self.b.fmul(self.b.fmul(g, y), self.b.fsub(self.constant(1.0), y))

    def _tanh(self, x: Any) -> Any:
        one, two = self.constant(1.0), self.constant(2.0)
        return self.b.fsub(one, self.b.fdiv(two, self.b.fadd(one, self._exp(self.b.fmul(two, x)))))

    def _tanh_backward(self, g: Any, y: Any) -> Any:
        return self.b.fmul(g, self.b.fsub(self.constant(1.0), self.b.fmul(y, y)))

    def _exp(self, x: Any) -> Any:
        """x = n log 2 + r with |r| <= log(2)/2; the exponential series of r, to the type's precision; n into the exponent."""
        single = self.single or self.real == F32
        kind, ints, terms, low, high, shift = (
            (F32, I32, 7, -87.0, 88.0, 23) if single else (F64, I64, 13, -708.0, 709.0, 52)
        )
        x = self.cast(x, kind)
        b, c = self.b, functools.partial(_splat, kind)
        # written so that NaN stays NaN: an unordered comparison is false
        x = b.select(
            b.fcmp_ordered(">", x, c(high)),
            c(high),
            b.select(b.fcmp_ordered("<", x, c(low)), c(low), x),
        )
        n = self._unary("rint", b.fmul(x, c(1 / math.log(2))))
        # log 2 in two parts, the first with few bits, so that n times it is exact
        r = b.fsub(b.fsub(x, b.fmul(n, c(0.693359375))), b.fmul(n, c(LOG2_REST)))
        y = c(1 / math.factorial(terms))
        for k in range(terms - 1, -1, -1):
            y = b.fadd(b.fmul(y, r), c(1 / math.factorial(k)))
        whole = b.fptosi(n, ir.VectorType(ints, WIDTH))
        power = b.bitcast(
            b.shl(
                b.add(whole, _splat(ints, (1 << (30 - shift if single else 62 - shift)) - 1)),
                _splat(ints, shift),
            ),
            ir.VectorType(kind, WIDTH),
        )
        return self.cast(b.fmul(y, power))

    def total(self, x: Any) -> Any:
        """The sum of the lanes in float64, in a fixed order."""
        x = self.cast(x, F64)
        out = F64(0.0)
        for k in range(WIDTH):
            out = self.b.fadd(out, self.b.extract_element(x, I32(k)))
        return out

    def finish(self) -> str:
        self.b.ret_void()
        return str(self.module)


STORED: dict[str, ir.Type] = {"float32": F32, "float64": F64, "bfloat16": I16}


def _splat(kind: ir.Type, value: float) -> Any:
    return ir.Constant(ir.VectorType(kind, WIDTH), [ir.Constant(kind, value)] * WIDTH)


def _suffix(kind: ir.Type) -> str:
    names = {str(F32): "f32", str(F64): "f64", str(I32): "i32", str(I16): "i16", str(I64): "i64"}
    return (
        f"v{WIDTH}{names[str(kind.element)]}"
        if isinstance(kind, ir.VectorType)
        else names[str(kind)]
    )


# -- compiling ---------------------------------------------------------------------------------------------


@functools.cache
def _machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(binding.get_process_triple())
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True, reloc="pic"
    )


_engines: list[Any] = []  # compiled code lives as long as the interpreter


def compiled(text: str) -> int:
    """The address of ``kernel`` in the module ``text``."""
    machine = _machine()
    module = binding.parse_assembly(text)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address("kernel")
