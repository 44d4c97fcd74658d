"""Which arrays of whole numbers a user's step writes floats into, by Numba's own types; NumPy and Numba would cut them silently."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numba.core.typed_passes import NopythonTypeInference
from numba.np.numpy_support import from_dtype

from lavalike import cache
from lavalike.backends.numba import kernels, steps
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


@functools.lru_cache(1024)
def fractions(spec: Spec) -> dict[str, int]:
    """The arrays of whole numbers among the arguments of a user's step that it writes floats into, each with the line; kept on disk
    beside the kernels.

    Where Numba finds no types, as for ``n += x`` with whole numbers n and floats x, those are told that are written at all.
    """
    own = {name: axes for name, (kind, axes) in spec.arguments if axes and _whole(kind)}
    axes = {name: axes for name, (_, axes) in spec.arguments}
    use = steps.use(spec.function, axes) if own else None  # type: ignore[arg-type] # a user's: no Dynamics
    if use is None or not own.keys() & use.touched:
        return {}
    place = kernels.place(spec)
    if place is None:
        return _found(spec, axes, own, use)
    digest = hashlib.sha256(f"{place.version}\n{place.key}\nkinds".encode()).hexdigest()
    path = None
    with suppress(OSError):
        path = cache.folder(place.version) / f"{place.name}_{digest[:16]}.kinds"
        if (kept := cache.read(path, digest)) is not None:
            return json.loads(kept)
    found = _found(spec, axes, own, use)
    if path is not None:
        with suppress(OSError):  # the kernel itself will say why nothing is kept
            cache.write(path, digest, json.dumps(found).encode())
    return found


def _whole(dtype: str) -> bool:
    return dtype != "t" and np.dtype(dtype).kind in WHOLE


def _found(spec: Spec, axes: dict[str, int], own: dict[str, int], use: steps.Use) -> dict[str, int]:
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
    try:
        plain = getattr(function, "py_func", function)
        numba.jit(pipeline_class=_Front, **options)(plain).compile(tuple(given))
    except _Typed as typed:
        lines = dict(_written(typed.tree, typed.calls, plain, axes))
        return {n: line for n, line in lines.items() if n in own}
    except (
        NumbaError,
        AttributeError,
    ):  # the latter of an operation in place that it has no form of
        return {n: line for n, line in use.written.items() if n in own}
    return {}


def _written(
    tree: Any, calls: Any, function: Any, axes: dict[str, int], depth: int = 0
) -> Iterator[tuple[str, int]]:
    """Arguments that stand for arrays into which floats are written, with lines; among them those of other arrays."""
    walk = steps.Walk(tree, axes, steps.Use(""), (function,))
    walk.run()
    for s in steps.statements(tree):
        if isinstance(s, ir.SetItem | ir.StaticSetItem):
            into, value = calls[s].args[0], calls[s].args[-1]
            if _is_whole(into) and _is_float(value):
                yield from ((name, s.loc.line) for name, _ in walk.at(s.target))
        elif isinstance(s, ir.Assign) and isinstance(s.value, ir.Expr) and s.value.op == "call":
            made: Any = walk.values.get(s.value.func.name)
            fills = isinstance(made, ir.Expr) and made.op == "getattr" and made.attr == "fill"
            if fills and any(map(_is_float, calls[s.value].args)):
                yield from ((name, s.loc.line) for name, _ in walk.at(made.value))
            called = walk.function(s.value.func)
            if isinstance(called, Dispatcher) and depth < 8 and calls[s.value] is not None:
                inner: Any = called.overloads.get(tuple(map(types.unliteral, calls[s.value].args)))
                if inner is None or inner.type_annotation is None:
                    continue
                code = called.py_func.__code__
                names = code.co_varnames[: code.co_argcount]
                handed = dict(zip(names, s.value.args, strict=False)) | dict(s.value.kws)
                depths = {n: max((a for _, a in walk.at(v)), default=0) for n, v in handed.items()}
                known = inner.type_annotation
                for name, _ in _written(known, known.calltypes, called.py_func, depths, depth + 1):
                    if name in handed:
                        yield from ((n, s.loc.line) for n, _ in walk.at(handed[name]))


def _is_whole(kind: Any) -> bool:
    return isinstance(kind, types.Buffer) and isinstance(kind.dtype, types.Integer)


def _is_float(kind: Any) -> bool:
    """Whether a value of ``kind`` is, or has in it, floats."""
    while isinstance(kind, types.Buffer | types.UniTuple | types.List):
        kind = kind.dtype
    if isinstance(kind, types.Tuple):
        return any(map(_is_float, kind.types))
    return isinstance(kind, types.Float | types.Complex)
