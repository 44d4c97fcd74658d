"""Where a user's step makes whole numbers of floats, by Numba's own types; NumPy and Numba would
cut them silently."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import NopythonTypeInference
from numba.np.numpy_support import from_dtype

from lavalike import cache
from lavalike.backends.numba import kernels, loops, steps
from lavalike.backends.numba.arithmetic import TABLES
from lavalike.backends.numba.kernels import Spec

WHOLE = "iu"  # kinds of dtypes


class _Typed(Exception):
    """Ends a compilation where types are known."""

    def __init__(self, state: Any) -> None:
        super().__init__()
        self.tree, self.types, self.calls = state.func_ir, state.typemap, state.calltypes


@register_pass(mutates_CFG=False, analysis_only=True)
class _Stop(FunctionPass):
    _name = "lavalike_typed"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        raise _Typed(state)


class _Front(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_Stop, NopythonTypeInference)
        passes.finalize()
        return [passes]


class Cut(NamedTuple):
    """Floats that are written into whole numbers."""

    line: int  # the first that does
    lost: int  # the first that may cut a fraction off; 0: those that are written are whole


@functools.lru_cache(1024)
def fractions(spec: Spec) -> dict[str, Cut]:
    """The arrays of whole numbers among the arguments of a user's step that it writes floats into;
    kept on disk beside the kernels.

    Where Numba finds no types, as for ``n += x`` with whole numbers n and floats x, those are told
    that are written at all.
    """
    own = {name: axes for name, (kind, axes) in spec.arguments if axes and _whole(kind)}
    axes = {name: axes for name, (_, axes) in spec.arguments}
    use = steps.use(spec.function, axes) if own else None  # type: ignore[arg-type]  # a user's: no Dynamics
    if use is None or not own.keys() & use.touched:
        return {}
    return {
        name: Cut(*lines)
        for name, lines in _kept(spec, lambda: _found(spec, axes, own, use)).items()
    }


def _kept(spec: Spec, find: Callable[[], Any]) -> Any:
    """What ``find`` tells of ``spec``, from disk where it was found before."""
    place = kernels.place(spec)
    if place is None:
        return find()
    digest = hashlib.sha256(f"{place.version}\n{place.key}\nkinds".encode()).hexdigest()
    path = None
    with suppress(OSError):
        path = cache.folder(place.version) / f"{place.name}_{digest[:16]}.kinds"
        if (kept := cache.read(path, digest)) is not None:
            return json.loads(kept)
    found = find()
    if path is not None:
        with suppress(OSError):  # the kernel itself will say why nothing is kept
            cache.write(path, digest, json.dumps(found).encode())
    return found


def _whole(dtype: str) -> bool:
    return dtype != "t" and np.dtype(dtype).kind in WHOLE


def _found(spec: Spec, axes: dict[str, int], own: dict[str, int], use: steps.Use) -> dict[str, Cut]:
    function: Any = spec.function
    options = dict(getattr(function, "targetoptions", kernels.JIT)) | {"nopython": True}
    given = [
        types.int64
        if kind == "t"
        else types.Array(from_dtype(np.dtype(kind)), n, "C")
        if n
        else from_dtype(np.dtype(kind))
        for name, (kind, n) in spec.arguments
        if name != kernels.DRAWS
    ]
    plain = getattr(function, "py_func", function)
    try:
        typed = _typed(plain, given, options)
    except Exception as e:
        # where Numba has no form of an operation in place it looks for the kinds in what it has not
        # found
        if isinstance(e, AttributeError) and e.name == "args" and e.obj is None:
            lines = {n: line for n, line in use.in_place.items() if n in own}
            return {n: Cut(line, line) for n, line in lines.items()}
        # the kernel tells what it is, where other kinds do not help
        return {n: Cut(line, 0) for n, line in use.written.items() if n in own}
    found: dict[str, Cut] = {}
    for name, line, lost in _written(typed.tree, typed.types, typed.calls, plain, axes):
        if name in own:
            before = found.get(name, Cut(line, 0))
            found[name] = Cut(before.line, before.lost or lost * line)
    return found


def _typed(function: Any, given: Sequence[Any], options: dict[str, Any]) -> _Typed:
    """``function`` as Numba has it when it knows the types."""
    try:
        numba.jit(pipeline_class=_Front, **options)(function).compile(tuple(given))
    except _Typed as typed:
        return typed
    raise AssertionError("a compilation that goes on behind its end")


# arguments that the words of fixed_pt make whole numbers of; a decay, leak's second, may be a
# fraction of 1/4096
CUTS = {
    "leak": (0,),
    "scaled": (0, 1, 2),
    "wrap": (0,),
    "clip": (0,),
    "unscale": (0, 1),
    "where": (1, 2),
    "reset": (1, 2),
    "lower": (1, 2),
    "gate": (0,),
    "positive": (0,),
}


@functools.lru_cache(1024)
def lost(spec: Spec) -> tuple[str, str] | None:
    """What the step of a Dynamics makes of a fraction in fixed_pt, a result or an argument of a
    word, and the place; None if nothing."""
    dynamics: Any = spec.function
    given = {
        n: types.float64 if kind == "float64" else types.int64 for n, (kind, _) in spec.arguments
    }
    if not dynamics.may_leave(n for n, kind in given.items() if kind is types.float64):
        return None
    found = _kept(spec, lambda: _lost(dynamics, spec.arithmetic, given))
    return tuple(found) if found else None


def _lost(dynamics: Any, arithmetic: str, given: dict[str, Any]) -> tuple[str, str] | None:
    step = loops.parts(dynamics, arithmetic, False, kernels.inner)["_step"]
    kinds = [given.get(n, types.int64) for n in dynamics.arguments]
    try:
        typed = _typed(step.py_func, kinds, dict(step.targetoptions))
    except Exception:  # the kernel tells what it is
        return None
    words = {kernels.inner(TABLES[arithmetic][name]): name for name in CUTS}
    return next(_cut(typed.tree, typed.types, typed.calls, step.py_func, words, dynamics), None)


def _cut(
    tree: Any,
    known: Any,
    calls: Any,
    function: Any,
    words: dict[Any, str],
    dynamics: Any,
    depth: int = 0,
) -> Iterator[tuple[str, str]]:
    """See :func:`lost`; of a helper without what it returns, which is not cut yet."""
    walk = steps.Walk(tree, {}, steps.Use(""), (function,))
    form = _Form(walk, known)

    def place(s: Any) -> str:
        return f"{function.__code__.co_filename}:{s.loc.line}"

    for s in steps.statements(tree):
        if isinstance(s, ir.Assign) and isinstance(s.value, ir.Expr) and s.value.op == "call":
            called = walk.function(s.value.func)
            word = words.get(called) if isinstance(called, Dispatcher) else None
            if word is not None:
                for k in CUTS[word]:
                    if k < len(s.value.args) and not form.whole(s.value.args[k]):
                        yield f"what {word}(...) is given", place(s)
            elif depth < 8 and (inner := _overload(called, calls, s.value)) is not None:
                yield from _cut(
                    inner,
                    inner.typemap,
                    inner.calltypes,
                    called.py_func,
                    words,
                    dynamics,
                    depth + 1,
                )
        elif isinstance(s, ir.Return) and not depth:
            made = walk.values.get(s.value.name)
            while (isinstance(made, ir.Expr) and made.op == "cast") or isinstance(made, ir.Var):
                made = walk.values.get(made.name if isinstance(made, ir.Var) else made.value.name)
            many = (
                made.items if isinstance(made, ir.Expr) and made.op == "build_tuple" else [s.value]
            )
            for name, var in zip((*dynamics.outputs, *dynamics.states), many, strict=False):
                if not form.whole(var):
                    yield name, place(s)


Found = tuple[str, int, bool]  # a name, the line, whether a fraction may be lost


def _written(
    tree: Any, known: Any, calls: Any, function: Any, axes: dict[str, int], depth: int = 0
) -> Iterator[Found]:
    """Arguments that stand for arrays into which floats are written; among them those of other
    arrays."""
    walk = steps.Walk(tree, axes, steps.Use(""), (function,))
    walk.run()
    form = _Form(walk, known)
    for s in steps.statements(tree):
        if isinstance(s, ir.SetItem | ir.StaticSetItem):
            # of the value not the call's kind, to which Numba may cast it first
            if _is_whole(known[s.target.name]) and _is_float(known[s.value.name]):
                lost = not form.whole(s.value)
                yield from ((name, s.loc.line, lost) for name, _ in walk.at(s.target))
        elif isinstance(s, ir.Assign) and isinstance(s.value, ir.Expr) and s.value.op == "call":
            made: Any = walk.values.get(s.value.func.name)
            called = walk.function(s.value.func)
            fills = isinstance(made, ir.Expr) and made.op == "getattr" and made.attr == "fill"
            if (fills or called is np.fill_diagonal) and any(map(_is_float, calls[s.value].args)):
                into, value = (made.value, s.value.args[0]) if fills else s.value.args[:2]
                lost = not form.whole(value)
                yield from ((name, s.loc.line, lost) for name, _ in walk.at(into))
            inner = _overload(called, calls, s.value) if depth < 8 else None
            if inner is not None:
                code = called.py_func.__code__
                names = code.co_varnames[: code.co_argcount]
                handed = dict(zip(names, s.value.args, strict=False)) | dict(s.value.kws)
                depths = {n: max((a for _, a in walk.at(v)), default=0) for n, v in handed.items()}
                for name, _, lost in _written(
                    inner, inner.typemap, inner.calltypes, called.py_func, depths, depth + 1
                ):
                    if name in handed:
                        yield from ((n, s.loc.line, lost) for n, _ in walk.at(handed[name]))


def _overload(called: Any, calls: Any, value: ir.Expr) -> Any:
    """What Numba knows of the compiled function ``called`` for the kinds it is called with, or
    None."""
    if not isinstance(called, Dispatcher) or calls[value] is None:
        return None
    made: Any = called.overloads.get(tuple(map(types.unliteral, calls[value].args)))
    return None if made is None else made.type_annotation


def _is_whole(kind: Any) -> bool:
    return isinstance(getattr(kind, "dtype", None), types.Integer)


def _is_float(kind: Any) -> bool:
    """Whether a value of ``kind`` is, or has in it, floats."""
    while isinstance(kind, types.Buffer | types.UniTuple | types.List):
        kind = kind.dtype
    if isinstance(kind, types.Tuple):
        return any(map(_is_float, kind.types))
    return isinstance(kind, types.Float | types.Complex)


ROUNDS = {
    np.floor,
    np.ceil,
    np.trunc,
    np.rint,
    np.sign,
    np.zeros,
    np.zeros_like,
    np.ones,
    np.ones_like,
}
KEEPS = {float, abs, min, max, np.float32, np.float64, np.abs, np.minimum, np.maximum}
KEEPS_WHOLE = {operator.add, operator.sub, operator.mul, operator.mod}


class _Form:
    """Which values of a typed function are whole by the way they are made, though Numba has them as
    floats: 0.0, floor(x), n * 1.0."""

    def __init__(self, walk: steps.Walk, known: Any) -> None:
        self.walk, self.known = walk, known
        self.changed = {
            s.target.name
            for s in steps.statements(walk.tree)
            if isinstance(s, ir.SetItem | ir.StaticSetItem)
        }

    def whole(self, var: Any, above: frozenset[str] = frozenset()) -> bool:
        """Whether ``var`` holds whole numbers alone; what depends on itself alone may be."""
        if not _is_float(self.known[var.name]) or var.name in above:
            return True
        value, above = self.walk.values.get(var.name), above | {var.name}

        def all_of(values: Iterable[Any]) -> bool:
            return all(self.whole(v, above) for v in values if isinstance(v, ir.Var))

        if var.name in self.changed:
            return False
        if isinstance(value, ir.Const | ir.Global | ir.FreeVar):
            return isinstance(value.value, float | np.floating) and float(value.value).is_integer()
        if isinstance(value, ir.Var):
            return self.whole(value, above)
        if not isinstance(value, ir.Expr):
            return False
        if value.op in ("cast", "unary"):
            return self.whole(value.value, above)
        if value.op == "phi":
            return all_of(value.incoming_values)
        if value.op in ("build_tuple", "build_list"):
            return all_of(value.items)
        if value.op in ("binop", "inplace_binop"):
            function = value.fn if value.op == "binop" else value.immutable_fn
            return function is operator.floordiv or (
                function in KEEPS_WHOLE and all_of((value.lhs, value.rhs))
            )
        if value.op != "call":
            return False
        function, given = self.walk.function(value.func), [*value.args, *(v for _, v in value.kws)]
        if function is np.where:
            return len(given) == 3 and all_of(given[1:])
        if function is np.full:
            return all_of(given[1:])
        if function in (np.round, np.around):
            return len(given) == 1
        made = self.walk.values.get(value.func.name)
        if isinstance(made, ir.Expr) and made.op == "getattr" and made.attr == "astype":
            return self.whole(made.value, above)
        try:
            return function in ROUNDS or (function in KEEPS and all_of(given))
        except TypeError:  # of what has no hash
            return False
