"""Straight-line code as vector instructions: what the CPU's loops are printed with.

Numbers are vectors of WIDTH lanes, truth values vectors of bits; a value that is the same for all
neurons is computed once, outside the loops. Multiplications and additions are not contracted, so
that results are those of the plain loop.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import llvmlite
import llvmlite.binding as binding
from llvmlite import ir

from lavalike import cache
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
Word = Callable[..., Any]  # of a Builder and an operation's vectors, the vector that it gives


class Builder:
    """A function ``void kernel(int64* slots)`` under construction: llvmlite's builder with loops
    and vector words."""

    def __init__(self, name: str, real: ir.Type, single: bool) -> None:
        """``real``: the type computed in; ``single``: whether 24 bits of an exponential are
        enough."""
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

    # -- arguments, loops, memory ------------------------------------------------------------------

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
        """WIDTH values of ``storage`` from element ``at``, as reals; only those in ``mask`` if
        given."""
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
        """WIDTH vectors as the rows of a square, turned over its diagonal, in quarters of 8 by 8:
        shuffles within 128 bits, then halves."""

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

    # -- code --------------------------------------------------------------------------------------

    def emit(self, code: Code, values: Mapping[str, Any], uniform: dict[str, Any]) -> list[Any]:
        """The results of ``code`` on the vectors ``values``; what depends on ``uniform`` alone is
        there already."""
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
        return self.does(op.op, *a)

    def does(self, name: str, *a: Any) -> Any:
        """The operation of torch's of that name on vectors."""
        return WORDS[name](self, *a)

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


# -- words -----------------------------------------------------------------------------------------


def _compare(k: Builder, sign: str, x: Any, y: Any) -> Any:
    return (k.b.fcmp_unordered if sign == "!=" else k.b.fcmp_ordered)(sign, x, y)


def _comparison(sign: str) -> Word:
    return lambda k, x, y: _compare(k, sign, x, y)


def _unary(k: Builder, name: str, x: Any) -> Any:
    return k.intrinsic(name, x.type, [x])


def intrinsic(name: str) -> Word:
    """LLVM's function of that name, of one number."""
    return lambda k, x: _unary(k, name, x)


def _reciprocal(k: Builder, x: Any) -> Any:
    return k.b.fdiv(k.constant(1.0), x)


def _real(k: Builder, x: Any) -> Any:
    return k.b.select(x, k.constant(1.0), k.constant(0.0))


def _remainder(k: Builder, x: Any, y: Any) -> Any:
    """x modulo y, of y's sign; exact."""
    r, zero = k.b.frem(x, y), k.constant(0.0)
    signs = k.b.xor(_compare(k, "<", r, zero), _compare(k, "<", y, zero))
    other = k.b.and_(_compare(k, "!=", r, zero), signs)
    return k.b.select(other, k.b.fadd(r, y), r)


def _maximum(k: Builder, x: Any, y: Any) -> Any:
    return k.b.select(_compare(k, ">=", x, y), x, y)


def _minimum(k: Builder, x: Any, y: Any) -> Any:
    return k.b.select(_compare(k, "<=", x, y), x, y)


def _sign(k: Builder, x: Any) -> Any:
    zero = k.constant(0.0)
    return k.b.fsub(_real(k, _compare(k, ">", x, zero)), _real(k, _compare(k, "<", x, zero)))


def _relu(k: Builder, x: Any) -> Any:
    return _threshold_backward(k, x, x, k.constant(0.0))


def _threshold_backward(k: Builder, g: Any, x: Any, threshold: Any) -> Any:
    return k.b.select(_compare(k, ">", x, threshold), g, k.constant(0.0))


def _sigmoid(k: Builder, x: Any) -> Any:
    one = k.constant(1.0)
    return k.b.fdiv(one, k.b.fadd(one, _exp(k, k.b.fneg(x))))


def _sigmoid_backward(k: Builder, g: Any, y: Any) -> Any:
    return k.b.fmul(k.b.fmul(g, y), k.b.fsub(k.constant(1.0), y))


def _tanh(k: Builder, x: Any) -> Any:
    one, two = k.constant(1.0), k.constant(2.0)
    return k.b.fsub(one, k.b.fdiv(two, k.b.fadd(one, _exp(k, k.b.fmul(two, x)))))


def _tanh_backward(k: Builder, g: Any, y: Any) -> Any:
    return k.b.fmul(g, k.b.fsub(k.constant(1.0), k.b.fmul(y, y)))


def _exp(k: Builder, x: Any) -> Any:
    """x = n log 2 + r with |r| <= log(2)/2; the exponential series of r, to the type's precision; n
    into the exponent."""
    single = k.single or k.real == F32
    kind, ints, terms, low, high, shift = (
        (F32, I32, 7, -87.0, 88.0, 23) if single else (F64, I64, 13, -708.0, 709.0, 52)
    )
    x = k.cast(x, kind)
    b, c = k.b, functools.partial(_splat, kind)
    # written so that NaN stays NaN: an unordered comparison is false
    x = b.select(
        b.fcmp_ordered(">", x, c(high)),
        c(high),
        b.select(b.fcmp_ordered("<", x, c(low)), c(low), x),
    )
    n = _unary(k, "rint", b.fmul(x, c(1 / math.log(2))))
    # log 2 in two parts, the first with few bits, so that n times it is exact
    r = b.fsub(b.fsub(x, b.fmul(n, c(0.693359375))), b.fmul(n, c(LOG2_REST)))
    y = c(1 / math.factorial(terms))
    for j in range(terms - 1, -1, -1):
        y = b.fadd(b.fmul(y, r), c(1 / math.factorial(j)))
    whole = b.fptosi(n, ir.VectorType(ints, WIDTH))
    power = b.bitcast(
        b.shl(
            b.add(whole, _splat(ints, (1 << (30 - shift if single else 62 - shift)) - 1)),
            _splat(ints, shift),
        ),
        ir.VectorType(kind, WIDTH),
    )
    return k.cast(b.fmul(y, power))


# torch's operations, each as instructions on vectors of numbers or of truth values; a step is made
# of these
WORDS: dict[str, Word] = {
    "add": lambda k, x, y: k.b.fadd(x, y),
    "sub": lambda k, x, y: k.b.fsub(x, y),
    "rsub": lambda k, x, y: k.b.fsub(y, x),
    "mul": lambda k, x, y: k.b.fmul(x, y),
    "div": lambda k, x, y: k.b.fdiv(x, y),
    "neg": lambda k, x: k.b.fneg(x),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "logical_and": lambda k, x, y: k.b.and_(x, y),
    "logical_or": lambda k, x, y: k.b.or_(x, y),
    "logical_not": lambda k, x: k.b.not_(x),
    "real": _real,
    "where": lambda k, c, x, y: k.b.select(c, x, y),
    "abs": intrinsic("fabs"),
    "trunc": intrinsic("trunc"),
    "floor": intrinsic("floor"),
    "ceil": intrinsic("ceil"),
    "round": intrinsic("rint"),
    "sqrt": intrinsic("sqrt"),
    "log": intrinsic("log"),
    "sin": intrinsic("sin"),
    "cos": intrinsic("cos"),
    "exp": _exp,
    "pow": lambda k, x, y: k.intrinsic("pow", x.type, [x, y]),
    "remainder": _remainder,
    "rsqrt": lambda k, x: _reciprocal(k, _unary(k, "sqrt", x)),
    "reciprocal": _reciprocal,
    "square": lambda k, x: k.b.fmul(x, x),
    "relu": _relu,
    "maximum": _maximum,
    "minimum": _minimum,
    "clamp_min": _maximum,
    "clamp_max": _minimum,
    "clamp": lambda k, x, low, high: _minimum(k, _maximum(k, x, low), high),
    "sign": _sign,
    "sgn": _sign,
    "threshold_backward": _threshold_backward,
    "sigmoid": _sigmoid,
    "sigmoid_backward": _sigmoid_backward,
    "tanh": _tanh,
    "tanh_backward": _tanh_backward,
}


# -- compiling -------------------------------------------------------------------------------------


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
    """The address of ``kernel`` in the module ``text``; machine code is kept on disk, where it is
    to be used again."""
    machine = _machine()
    module = binding.parse_assembly(text)
    compiler = f"{llvmlite.__version__} {binding.llvm_version_info}"
    version = hashlib.sha256(compiler.encode()).hexdigest()[:16]
    host = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    key = hashlib.sha256(f"{version}\n{host}\n{text}".encode()).hexdigest()
    path, code = cache.found(version, "loop", cache.OBJECT, key)
    if code is None:
        module.verify()
        options = binding.create_pipeline_tuning_options(speed_level=3)
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    made: list[bytes] = []
    engine = binding.create_mcjit_compiler(module, machine)
    engine.set_object_cache(lambda _, new: made.append(new), lambda _: code)
    engine.finalize_object()
    _engines.append(engine)
    if path is not None and code is None:
        cache.keep(path, key, made[0])
    return engine.get_function_address("kernel")
