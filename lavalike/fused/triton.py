"""A traced neuron as Triton kernels: the CUDA counterpart of :mod:`lavalike.fused.cpu`, with the
same names and values.

Tensors are time-major, (time, neurons). A program owns BLOCK neighbouring neurons, one to a thread,
whose states stay in registers while time passes. Time goes in segments of SEGMENT steps, printed
one after the other, so that the inputs of a segment are asked for together. Forward keeps the
states at the start of every segment; backward reads them, the inputs and the gradients once,
computes the states in between again and goes back through the segment. A last, shorter segment is
the same code with every step under a condition. Sizes, lengths and numbers are run-time arguments
of one compiled kernel.

Multiplications and additions are not contracted, divisions and roots are rounded correctly and the
exponential is the CPU's, so that spikes are those of the CPU. Sums over neurons are taken program
by program and added up in order.

What has been run: the kernels in Triton's interpreter, against the CPU's, and through Triton's
compiler to machine code. No GPU has run them yet.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import linecache
import math
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.errors import InputError
from lavalike.fused.cpu import Variant
from lavalike.fused.trace import Code, Op, Traced, used

BLOCK = 128
WARP = 32
SEGMENT = 16
LIMIT = float(1 << 23)
OPTIONS = {"num_warps": BLOCK // WARP, "enable_fp_fusion": False}
BYTES = {"float32": 4, "float64": 8, "bfloat16": 2}

EXPONENTIAL = """
@triton.jit
def exponential(x):
    x = x.to({kind})
    x = tl.where(x > {high}, {high}, tl.where(x < {low}, {low}, x))
    n = x * {per_log2} + {magic} - {magic}
    r = x - n * 0.693359375 - n * {rest}
    y = r * 0.0 + {last}
{series}
    return (y * ((n.to({ints}) + {bias}) << {shift}).to({kind}, bitcast=True)).to({real})
"""

NARROW = """
@triton.jit
def narrow(x):
    return x.to(tl.float32).to(tl.bfloat16)
"""

# the interpreter's own conversion cuts off; a GPU's rounds to the nearest, ties to even
NARROW_INTERPRETED = """
@triton.jit
def narrow(x):
    x = x.to(tl.float32)
    bits = x.to(tl.int32, bitcast=True)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (tl.where(x != x, bits | 0x400000, rounded) >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
"""

NEAREST = """
@triton.jit
def nearest(x):
    low = tl.floor(x)
    over = x - low
    odd = low - 2.0 * tl.floor(low * 0.5)
    return tl.where(over > 0.5, low + 1.0, tl.where(over < 0.5, low, low + odd))
"""

Word = Callable[..., str]  # of a _Writer, an Op and the texts of its operands, the expression


@dataclass(frozen=True)
class Source:
    """A printed kernel: a module's text with a function ``kernel``, the names of its arguments
    after ``steps`` and ``width``, and the bytes that a neuron moves in a whole segment."""

    text: str
    names: tuple[str, ...]
    moved: int


def storage(variant: Variant, name: str) -> str:
    """The dtype of the tensor behind argument ``name``."""
    kind = name.split("_")[0]
    return (
        variant.storage
        if kind in ("x", "y", "r", "gx", "gy", "gr")
        else "float64"
        if kind == "gp"
        else variant.real
    )


class _Writer:
    """One kernel under construction."""

    def __init__(self, traced: Traced, variant: Variant, which: str, interpreted: bool) -> None:
        self.traced, self.d, self.v, self.which, self.interpreted = (
            traced,
            traced.dynamics,
            variant,
            which,
            interpreted,
        )
        self.real = f"tl.{variant.real}"
        self.names: list[str] = []
        self.functions: list[str] = []
        self.lines: list[str] = []
        self.depth = 1
        self.constants: dict[str, str] = {}  # what to write, by name
        self.uniform: dict[
            str, str
        ] = {}  # the variable that holds a traced name the same in all steps
        self.moved = 0
        self.counting = False

    # -- text --------------------------------------------------------------------------------------

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def arguments(self, prefix: str, names: Iterable[str]) -> None:
        self.names += [prefix + n for n in names]

    def constant(self, value: float | bool) -> str:
        """The variable that holds ``value`` for all lanes."""
        kind = "tl.int1" if isinstance(value, bool) else self.real
        text = f"tl.full((BLOCK,), {_literal(value)}, {kind})"
        for name, known in self.constants.items():
            if known == text:
                return name
        name = f"k{len(self.constants)}"
        self.constants[name] = text
        return name

    def choice(self, condition: str) -> str:
        """1 where ``condition``, else 0."""
        return f"tl.where({condition}, {self.constant(1.0)}, {self.constant(0.0)})"

    def divided(self, a: str, b: str) -> str:
        return f"tl.div_rn({a}, {b})" if self.v.real == "float32" else f"({a}) / ({b})"

    def root(self, x: str) -> str:
        return f"{'tl.sqrt_rn' if self.v.real == 'float32' else 'tl.sqrt'}({x})"

    def word(self, op: Op, args: list[str]) -> str:
        """The expression of ``op``."""
        if op.op not in WORDS:
            raise InputError(f"{self.d.name}: {op.op} has no CUDA form; write the step without it")
        return WORDS[op.op](self, op, *args)

    def hoist(self, code: Code, tag: str) -> Callable[[Mapping[str, str], str], list[str]]:
        """Print ``code`` as a function ``tag``, what does not change between steps in the kernel's
        head; the result prints its call on the variables given and returns those of its results."""
        names: dict[str, str] = dict(self.uniform)
        body: list[str] = []
        taken: dict[
            str, str
        ] = {}  # the function's arguments: what a step gives, or a variable of the kernel's head

        def inside(operand: str) -> str:
            if operand in names:
                taken[names[operand]] = names[operand]
                return names[operand]
            if operand not in local:
                taken[f"v_{operand}"] = operand
            return f"v_{operand}"

        local: set[str] = set()
        for op in code.ops:
            given = [a if isinstance(a, str) else self.constant(a) for a in op.args]
            heads = [
                names.get(a) if isinstance(a, str) else g
                for a, g in zip(op.args, given, strict=True)
            ]
            if all(heads):
                names[op.name] = f"{tag}_{op.name}"
                self.put(f"{names[op.name]} = {self.word(op, [str(h) for h in heads])}")
                continue
            args = [
                inside(g) if isinstance(a, str) else g for a, g in zip(op.args, given, strict=True)
            ]
            expression = self.word(op, args)
            for k in re.findall(r"\bk\d+\b", expression):
                taken[k] = k
            body.append(f"    v_{op.name} = {expression}")
            local.add(op.name)
        wanted = [r for r in dict.fromkeys(code.results) if isinstance(r, str) and r in local]
        if wanted:
            self.functions.append(
                "\n".join(
                    [
                        "@triton.jit",
                        f"def {tag}({', '.join(taken)}):",
                        *body,
                        f"    return {', '.join(f'v_{r}' for r in wanted)}",
                    ]
                )
            )

        def call(values: Mapping[str, str], suffix: str) -> list[str]:
            made = {r: f"{tag}_{r}_{suffix}" for r in wanted}
            if wanted:
                arguments = ", ".join(
                    inner if inner == outer else values[outer] for inner, outer in taken.items()
                )
                self.put(f"{', '.join(made.values())} = {tag}({arguments})")
            known = {**names, **values, **made}
            return [known[r] if isinstance(r, str) else self.constant(r) for r in code.results]

        return call

    # -- memory ------------------------------------------------------------------------------------

    def load(self, name: str, row: str, mask: str = "inside") -> str:
        """BLOCK values of ``name`` from row ``row``, as reals; 0 outside ``mask``."""
        self.moved += BYTES[storage(self.v, name)] * self.counting
        cast = "" if storage(self.v, name) == self.v.real else f".to({self.real})"
        return f"tl.load({name} + {row} + lane, mask={mask}, other=0.0){cast}"

    def store(self, value: str, name: str, row: str, mask: str = "inside") -> None:
        self.moved += BYTES[storage(self.v, name)] * self.counting
        kind = storage(self.v, name)
        value = (
            f"narrow({value})"
            if kind == "bfloat16"
            else value
            if kind == self.v.real
            else f"{value}.to(tl.{kind})"
        )
        self.put(f"tl.store({name} + {row} + lane, {value}, mask={mask})")

    # -- parts that forward and backward share -----------------------------------------------------

    def head(self, code: Iterable[Code]) -> dict[str, str]:
        """Parameters and numbers into registers; the per-neuron ones as what a step gives."""
        wanted = {a for c in code for op in c.ops for a in op.args} | {
            r for c in code for r in c.results
        }
        per: dict[str, str] = {}
        for p in self.traced.parameters:
            if p not in wanted:
                continue
            self.names.append(f"p_{p}")
            if p in self.v.per_neuron:
                self.put(f"q_{p} = {self.load(f'p_{p}', 'first')}")
                per[p] = f"q_{p}"
            else:
                self.put(f"q_{p} = tl.full((BLOCK,), tl.load(p_{p}), {self.real})")
                self.uniform[p] = f"q_{p}"
        for n in self.traced.numbers:
            if n in wanted or (n == "scale" and self.v.scaled and self.v.record):
                self.names.append(n)
                self.put(f"q_{n} = tl.full((BLOCK,), tl.load({n}), {self.real})")
                self.uniform[n] = f"q_{n}"
        return per

    def segment(self, masked: bool) -> list[str]:
        """The rows of a segment's steps and, ``masked``, which of them there are; the masks."""
        for j in range(1, SEGMENT):
            self.put(f"r{j} = r{j - 1} + stride")
        if not masked:
            return ["inside"] * SEGMENT
        for j in range(1, SEGMENT):
            self.put(f"now{j} = rest > {j}")
            self.put(f"m{j} = inside & now{j}")
        return ["inside", *(f"m{j}" for j in range(1, SEGMENT))]

    def unscaled(self, value: str) -> str:
        return f"({value} / q_scale)" if self.v.scaled else value

    def chosen(self, j: int, masked: bool, value: str, otherwise: str) -> str:
        """``value`` if there is a step j in the segment."""
        return f"tl.where(now{j}, {value}, {otherwise})" if masked and j else value

    def finish(self) -> Source:
        functions = "\n\n\n".join(self.functions)
        lines = "\n".join(self.lines)
        body = f"{functions}\n{lines}"
        helpers = ""
        if "exponential(" in body:
            helpers += _exponential(self.v)
        if "nearest(" in body:
            helpers += NEAREST
        if "narrow(" in body:
            helpers += NARROW_INTERPRETED if self.interpreted else NARROW
        constants = [f"    {name} = {text}" for name, text in self.constants.items()]
        text = "\n".join(
            [
                f'"""{self.d.name}: {self.which}, printed by lavalike.fused.triton."""',
                "import triton",
                "import triton.language as tl",
                *(["from triton.language.extra import libdevice"] if "libdevice." in body else []),
                helpers,
                "",
                functions,
                "",
                "",
                f"@triton.jit(do_not_specialize={['steps', 'width', *self.names]!r})",
                f"def kernel(steps: tl.int64, width: tl.int64, {', '.join(self.names)}, BLOCK: tl.constexpr):",
                "    program = tl.program_id(0).to(tl.int64)",
                "    first = program * BLOCK",
                "    lane = tl.arange(0, BLOCK)",
                "    inside = lane < width - first",
                "    stride = width.to(tl.int64)",
                *constants,
                lines,
                "",
            ]
        )
        return Source(re.sub(r"\n{4,}", "\n\n\n", text), tuple(self.names), self.moved)


# -- words -----------------------------------------------------------------------------------------


def text(form: str) -> Word:
    """An expression of the operands ``{0}``, ``{1}``, ..."""
    return lambda w, op, *args: form.format(*args)


def _div(w: _Writer, op: Op, x: str, y: str) -> str:
    by = op.args[1]
    if isinstance(by, float) and _power_of_two(by):  # exact, and far cheaper
        return f"{x} * {1 / by!r}"
    return w.divided(x, y)


def _pow(w: _Writer, op: Op, x: str, y: str) -> str:
    if op.args[1] in (1.0, 2.0, 3.0):
        return " * ".join([x] * int(op.args[1]))
    return f"libdevice.pow({x}, {y})"


def _sign(w: _Writer, op: Op, x: str) -> str:
    return f"{w.choice(f'{x} > 0.0')} - {w.choice(f'{x} < 0.0')}"


def _tanh(w: _Writer, op: Op, x: str) -> str:
    return f"1.0 - {w.divided(w.constant(2.0), f'1.0 + exponential({x} * 2.0)')}"


MAXIMUM, MINIMUM = text("tl.where({0} >= {1}, {0}, {1})"), text("tl.where({0} <= {1}, {0}, {1})")

# torch's operations as Triton's expressions: those of lavalike.fused.llvm.WORDS, with the same
# values
WORDS: dict[str, Word] = {
    "add": text("{0} + {1}"),
    "sub": text("{0} - {1}"),
    "rsub": text("{1} - {0}"),
    "mul": text("{0} * {1}"),
    "div": _div,
    "neg": text("{0} * -1.0"),
    "gt": text("{0} > {1}"),
    "ge": text("{0} >= {1}"),
    "lt": text("{0} < {1}"),
    "le": text("{0} <= {1}"),
    "eq": text("{0} == {1}"),
    "ne": text("{0} != {1}"),
    "logical_and": text("{0} & {1}"),
    "logical_or": text("{0} | {1}"),
    "logical_not": text("~{0}"),
    "real": lambda w, op, x: w.choice(x),
    "where": text("tl.where({0}, {1}, {2})"),
    "abs": text("tl.abs({0})"),
    "trunc": text("tl.where({0} < 0.0, tl.ceil({0}), tl.floor({0}))"),
    "floor": text("tl.floor({0})"),
    "ceil": text("tl.ceil({0})"),
    "round": text("nearest({0})"),
    "sqrt": lambda w, op, x: w.root(x),
    "log": text("tl.log({0})"),
    "sin": text("tl.sin({0})"),
    "cos": text("tl.cos({0})"),
    "exp": text("exponential({0})"),
    "pow": _pow,
    "remainder": text(
        "tl.where((({0} % {1}) != 0.0) & ((({0} % {1}) < 0.0) != ({1} < 0.0)), "
        "({0} % {1}) + {1}, {0} % {1})"
    ),
    "rsqrt": lambda w, op, x: w.divided(w.constant(1.0), w.root(x)),
    "reciprocal": lambda w, op, x: w.divided(w.constant(1.0), x),
    "square": text("{0} * {0}"),
    "relu": text("tl.where({0} > 0.0, {0}, 0.0)"),
    "maximum": MAXIMUM,
    "minimum": MINIMUM,
    "clamp_min": MAXIMUM,
    "clamp_max": MINIMUM,
    "clamp": text(
        "tl.where(tl.where({0} >= {1}, {0}, {1}) <= {2}, tl.where({0} >= {1}, {0}, {1}), {2})"
    ),
    "sign": _sign,
    "sgn": _sign,
    "threshold_backward": text("tl.where({1} > {2}, {0}, 0.0)"),
    "sigmoid": lambda w, op, x: w.divided(w.constant(1.0), f"1.0 + exponential({x} * -1.0)"),
    "sigmoid_backward": text("{0} * {1} * (1.0 - {1})"),
    "tanh": _tanh,
    "tanh_backward": text("{0} * (1.0 - {1} * {1})"),
}


def _exponential(variant: Variant) -> str:
    """As :meth:`lavalike.fused.llvm.Builder._exp`, operation by operation, so that the bits are the
    same."""
    single = variant.storage != "float64"
    kind, ints, terms, low, high, shift, bias = (
        ("float32", "int32", 7, -87.0, 88.0, 23, 127)
        if single
        else ("float64", "int64", 13, -708.0, 709.0, 52, 1023)
    )
    series = "\n".join(
        f"    y = y * r + {1 / math.factorial(k)!r}" for k in range(terms - 1, -1, -1)
    )
    # adding and subtracting 1.5 * 2**shift rounds to a whole number, ties to even
    return EXPONENTIAL.format(
        kind=f"tl.{kind}",
        ints=f"tl.{ints}",
        real=f"tl.{variant.real}",
        high=high,
        low=low,
        shift=shift,
        bias=bias,
        per_log2=repr(1 / math.log(2)),
        magic=1.5 * 2.0**shift,
        rest=repr(-2.121944400546905827679e-4),
        last=repr(1 / math.factorial(terms)),
        series=series,
    )


def _power_of_two(value: float) -> bool:
    return math.frexp(value)[0] == 0.5 and 2.0**-100 <= value <= 2.0**100


def _literal(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def _forward(w: _Writer) -> None:
    d, t, v = w.d, w.traced, w.v
    counts = [f"n{j}" for j in range(t.counted)]
    per = w.head([t.forward])
    w.arguments("x_", d.inputs)
    w.arguments("y_", d.outputs)
    w.arguments("r_", v.record)
    w.arguments("s_", d.states)  # initial states in, final ones out
    w.arguments("c_", d.states if w.which == "training" else ())
    w.arguments("gp_", counts)
    step = w.hoist(t.forward, "step")
    for s in d.states:
        w.put(f"h_{s} = {w.load(f's_{s}', 'first')}")
    for c in counts:
        w.put(f"a_{c} = {w.constant(0.0)}")
    w.put("r0 = first")
    w.put("keep = first")

    def segment(masked: bool) -> None:
        masks = w.segment(masked)
        if w.which == "training":
            for s in d.states:
                w.store(f"h_{s}", f"c_{s}", "keep")
        for j in range(SEGMENT):
            for x in d.inputs:
                w.put(f"x{j}_{x} = {w.load(f'x_{x}', f'r{j}', masks[j])}")
        for s in d.states:
            w.put(f"h0_{s} = h_{s}")
        for j in range(SEGMENT):
            results = step(
                {**per, **{s: f"h{j}_{s}" for s in d.states}, **{x: f"x{j}_{x}" for x in d.inputs}},
                str(j),
            )
            for o, y in zip(d.outputs, results, strict=False):
                w.store(y, f"y_{o}", f"r{j}", masks[j])
            for s, y in zip(d.states, results[len(d.outputs) :], strict=False):
                if s in v.record:
                    w.store(w.unscaled(y), f"r_{s}", f"r{j}", masks[j])
                w.put(f"h{j + 1}_{s} = {w.chosen(j, masked, y, f'h{j}_{s}')}")
            for c, y in zip(counts, results[len(d.outputs) + len(d.states) :], strict=True):
                w.put(f"a_{c} += {w.choice(f'{masks[j]} & ({y} >= {LIMIT})')}")
        for s in d.states:
            w.put(f"h_{s} = h{SEGMENT}_{s}")

    w.put(f"whole = steps // {SEGMENT}")
    w.put("while whole > 0:")
    w.depth += 1
    w.counting = True
    segment(False)
    w.counting = False
    w.put(f"r0 += {SEGMENT} * stride")
    w.put("keep += stride")
    w.put("whole -= 1")
    w.depth -= 1
    w.put(f"rest = steps % {SEGMENT}")
    w.put("if rest > 0:")
    w.depth += 1
    segment(True)
    w.depth -= 1
    for s in d.states:
        w.store(f"h_{s}", f"s_{s}", "first")
    for c in counts:
        w.put(f"tl.store(gp_{c} + program, tl.sum(a_{c}.to(tl.float64)))")


def _backward(w: _Writer) -> None:
    d, t, v = w.d, w.traced, w.v
    trained = [p for p in t.parameters if p in v.trained]
    given = [o for o in d.outputs if o in v.given]
    recorded = [s for s in v.record if s in v.given]
    again_code = used(t.forward, t.forward.results[len(d.outputs) : len(d.outputs) + len(d.states)])
    code = t.gradients(frozenset((*given, *(f"next_{s}" for s in d.states))), v.trained)
    per = w.head([again_code, code])
    w.arguments("x_", d.inputs)
    w.arguments("gx_", d.inputs)
    w.arguments("gy_", given)
    w.arguments("gr_", recorded)
    w.arguments("gs_", d.states)  # gradients of the final states in, of the initial ones out
    w.arguments("c_", d.states)
    w.arguments("gp_", trained)  # per neuron, or per program
    again, back = w.hoist(again_code, "again"), w.hoist(code, "back")
    for s in d.states:
        w.put(f"d_{s} = {w.load(f'gs_{s}', 'first')}")
    for p in trained:
        w.put(f"a_{p} = {w.constant(0.0)}")

    def segment(masked: bool) -> None:
        masks = w.segment(masked)
        for s in d.states:
            w.put(f"h0_{s} = {w.load(f'c_{s}', 'keep')}")
        for j in range(SEGMENT):
            for x in d.inputs:
                w.put(f"x{j}_{x} = {w.load(f'x_{x}', f'r{j}', masks[j])}")
        for j in range(SEGMENT):
            for o in given:
                if not v.shift:
                    w.put(f"g{j}_{o} = {w.load(f'gy_{o}', f'r{j}', masks[j])}")
                elif j + 1 < SEGMENT:
                    w.put(f"g{j}_{o} = {w.load(f'gy_{o}', f'r{j + 1}', masks[j + 1])}")
                elif masked:  # never a whole segment
                    w.put(f"g{j}_{o} = {w.constant(0.0)}")
                else:
                    w.put(f"g{j}_{o} = {w.load(f'gy_{o}', f'(r{j} + stride)', 'inside & follows')}")
            for s in recorded:
                w.put(f"e{j}_{s} = {w.load(f'gr_{s}', f'r{j}', masks[j])}")
        for j in range(SEGMENT - 1):
            results = again(
                {**per, **{s: f"h{j}_{s}" for s in d.states}, **{x: f"x{j}_{x}" for x in d.inputs}},
                str(j),
            )
            for s, y in zip(d.states, results, strict=True):
                w.put(f"h{j + 1}_{s} = {y}")
        for s in d.states:
            w.put(f"d{SEGMENT}_{s} = d_{s}")
        for j in reversed(range(SEGMENT)):
            later = {s: f"d{j + 1}_{s}" for s in d.states}
            values = {
                **per,
                **{s: f"h{j}_{s}" for s in d.states},
                **{x: f"x{j}_{x}" for x in d.inputs},
                **{f"g_{o}": f"g{j}_{o}" for o in given},
                **{
                    f"g_next_{s}": f"{g} + {w.unscaled(f'e{j}_{s}')}" if s in recorded else g
                    for s, g in later.items()
                },
            }
            results = back(values, str(j))
            for x, g in zip(d.inputs, results, strict=False):
                w.store(g, f"gx_{x}", f"r{j}", masks[j])
            for s, g in zip(d.states, results[len(d.inputs) :], strict=False):
                w.put(f"d{j}_{s} = {w.chosen(j, masked, g, later[s])}")
            for p, g in zip(trained, results[len(d.inputs) + len(d.states) :], strict=True):
                w.put(f"a_{p} += {w.chosen(j, masked, g, w.constant(0.0))}")
        for s in d.states:
            w.put(f"d_{s} = d0_{s}")

    w.put(f"whole = steps // {SEGMENT}")
    w.put(f"rest = steps % {SEGMENT}")
    w.put(f"start = first + whole * {SEGMENT} * stride")
    w.put("keep = first + whole * stride")
    if v.shift:
        w.put("follows = rest > 0")
    w.put("if rest > 0:")
    w.depth += 1
    w.put("r0 = start")
    segment(True)
    w.depth -= 1
    w.put("while whole > 0:")
    w.depth += 1
    w.put(f"start -= {SEGMENT} * stride")
    w.put("keep -= stride")
    w.put("r0 = start")
    w.counting = True
    segment(False)
    w.counting = False
    if v.shift:
        w.put("follows = steps > 0")
    w.put("whole -= 1")
    w.depth -= 1
    for s in d.states:
        w.store(f"d_{s}", f"gs_{s}", "first")
    for p in trained:
        if p in v.per_neuron:
            w.store(f"a_{p}", f"gp_{p}", "first")
        else:
            w.put(
                f"tl.store(gp_{p} + program, tl.sum(tl.where(inside, a_{p}, 0.0).to(tl.float64)))"
            )


def source(traced: Traced, variant: Variant, which: str, interpreted: bool = False) -> Source:
    """The text of "forward" (keeping nothing), "training" (forward with checkpoints) or "backward".
    Needs no Triton.

    Args:
        interpreted: for Triton's interpreter, which differs in one word: how it rounds to bfloat16.
    """
    w = _Writer(traced, variant, which, interpreted)
    if which == "backward":
        _backward(w)
    else:
        _forward(w)
    return w.finish()


def bytes_per_neuron_step(traced: Traced, variant: Variant) -> float:
    """What a neuron moves in a step, training forward and backward together, counted from the loads
    and stores of a whole segment; ``variant.given`` tells which gradients arrive."""
    return sum(source(traced, variant, which).moved for which in ("training", "backward")) / SEGMENT


# -- calling ---------------------------------------------------------------------------------------


def supported() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class Compiled:
    """A kernel: Triton's function, and the names of its arguments after ``steps`` and ``width``."""

    function: Any
    names: tuple[str, ...]


@functools.cache
def kernel(traced: Traced, variant: Variant, which: str) -> Compiled:
    """The kernel, which Triton compiles when it is first called and keeps in its cache on disk."""
    if not supported():
        raise InputError(
            f"{traced.dynamics.name}: tensors on a GPU need Triton, which is not installed; "
            "pip install triton, or move the tensors to the CPU"
        )
    interpreted = os.environ.get("TRITON_INTERPRET", "").lower() in (
        "1",
        "true",
        "yes",
        "on",
        "y",
    )  # as Triton reads it
    made = source(traced, variant, which, interpreted)
    return Compiled(function(made, f"{traced.dynamics.name}_{which}"), made.names)


_count = itertools.count()


def function(made: Source, name: str) -> Any:
    """``kernel`` of a printed module. Triton reads the text of its functions again, and finds it in
    linecache."""
    path = f"<lavalike.fused.triton {name} {next(_count)}>"
    linecache.cache[path] = (len(made.text), None, made.text.splitlines(True), path)
    module = types.ModuleType(f"lavalike_triton_{name}")
    exec(compile(made.text, path, "exec"), module.__dict__)
    return module.kernel


def blocks_of(width: int, variant: Variant) -> int:
    """Programs for ``width`` neurons, whatever the variant."""
    return -(-width // BLOCK)


_Number = tuple[float, torch.dtype, torch.device]
_recent: dict[_Number, torch.Tensor] = {}
_captured: dict[_Number, torch.Tensor] = {}  # what CUDA graphs read: kept for ever
RECENT = 1024  # numbers that are kept


def _number(value: float, real: torch.dtype, device: torch.device, capturing: bool) -> torch.Tensor:
    """``value`` on the device. A CUDA graph reads it where it stood when it was captured, whatever
    else is forgotten; one that a capture sees first lies in the graph's memory, which writes it."""
    key = value, real, device
    made = _captured.get(key)
    if made is not None:
        return made
    made = _recent.get(key)
    if made is None:
        made = torch.full((1,), value, dtype=real, device=device)
        if not capturing:
            while len(_recent) >= RECENT:
                _recent.pop(next(iter(_recent)), None)
            _recent[key] = made
    elif capturing:
        _captured[key] = made
    return made


def launch(
    traced: Traced,
    variant: Variant,
    which: str,
    values: Mapping[str, torch.Tensor | float],
    steps: int,
    width: int,
) -> None:
    """Run a kernel on tensors of one device, by the names of :func:`lavalike.fused.cpu.launch`,
    contiguous and of the variant's dtypes. ``c_*`` hold a row for each SEGMENT steps begun;
    ``gp_*`` of shared parameters and counts ``blocks_of(width)`` float64. A shared parameter or a
    number is a float, or a tensor without dimensions, which stays on the device: no waiting.
    """
    if not width:
        return
    made = kernel(traced, variant, which)
    real = torch.float64 if variant.real == "float64" else torch.float32
    device = next(v.device for v in values.values() if isinstance(v, torch.Tensor) and v.dim())
    capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    tensors = []
    for name in made.names:
        value = values[name]
        if not isinstance(value, torch.Tensor):
            value = _number(float(value), real, device, capturing)
        elif not value.dim():
            value = value.to(device, real)
        tensors.append(value)
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        made.function[(blocks_of(width, variant),)](steps, width, *tensors, BLOCK=BLOCK, **OPTIONS)
