"""Compiled kernels behind one C signature, ``int64 kernel(int64 block, int64 t)``, cached on disk.

A kernel is described by a :class:`Spec`. Its argument block is a run of int64 slots: an array takes
its address and its axes' lengths, a number takes one slot holding its bits. Specs, not networks,
are what is compiled: once per model, arithmetic and kind of argument. Each becomes a small module
whose compiled function is kept in the cache folder (:mod:`lavalike.cache`); the folder is named by
a hash of all kernel sources, so nothing stale is ever loaded. Models that live in no importable
file (a notebook, a prompt) compile in memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import struct
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload_attribute

from lavalike.backends.numba import kept, loops
from lavalike.backends.numba.loops import OVERFLOW as OVERFLOW, WRAPPED as WRAPPED
from lavalike.dynamics.composition import composition
from lavalike.dynamics.dynamics import Dynamics
from lavalike.errors import RunError

# a neuron with parameters of its own has more arrays than LLVM checks for overlap by default (8
# pairs), and would not be vectorised
llvmlite.binding.set_option("lavalike", "--runtime-memory-check-threshold=128")

log = logging.getLogger(__name__)
# dtypes of arguments as struct names them
BITS = {
    "float32": "f",
    "float64": "d",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "int8": "b",
    "uint64": "Q",
    "uint32": "I",
    "uint16": "H",
    "uint8": "B",
    "bool": "?",
    "complex64": "ff",
    "complex128": "dd",
}
# a kernel's status, besides those of loops; 0: done
RAISED, NOT_FINITE, NOT_HELD, OUTSIDE = 2, 3, 5, 6
IMPORTS = "from numpy import int32, int64, uint64\n"  # what a generated loop names
RETURNS = "the step returns a value"
DRAWS = "for"  # an argument of a step that draws random numbers: key and sample; a keyword as well
NUMBERS = "draws"  # the same of a step of the library
NUMPY, PYTHON = 1, 2  # whose random numbers a step draws

Kind = tuple[str, int]  # dtype and number of axes; 0 axes: a number by value. ("t", 0): the step


@dataclass(frozen=True)
class Spec:
    """What is compiled.

    ``function`` is a step over arrays, or the Dynamics whose loop is generated in ``arithmetic``.
    ``arguments`` are its names and kinds, in order. ``checked``: stop where an accumulator leaves
    24 bits. ``trusted``: it raises nothing. ``returns``: its result is the kernel's status.
    ``bounds``: every index is checked. ``draws``: whose random numbers it uses, seeded before each
    call by the argument DRAWS.
    """

    function: Callable[..., Any] | Dynamics
    arguments: tuple[tuple[str, Kind], ...]
    arithmetic: str = ""
    checked: bool = False
    trusted: bool = True
    returns: bool = False
    bounds: bool = False
    draws: int = 0


def python_kernel(spec: Spec) -> Callable[..., Any]:
    """The kernel as plain Python over NumPy arrays, for ``RunConfig(debug=True)``."""
    if not isinstance(spec.function, Dynamics):
        from lavalike.backends.numba import transfer

        return (
            _not_finite
            if spec.function is transfer.finite
            else spec.function
            if spec.trusted
            else plain(spec.function)
        )
    namespace = loops.parts(spec.function, spec.arithmetic, False, lambda f: f)
    exec(IMPORTS + _loop(spec, False), namespace)
    return namespace["loop"]


def _not_finite(source: np.ndarray) -> int:
    return 0 if np.isfinite(source).all() else NOT_FINITE


def _loop(spec: Spec, narrow: bool) -> str:
    """The loop of a Dynamics' ``spec``."""
    assert isinstance(spec.function, Dynamics)
    kinds = dict(spec.arguments)
    return loops.source(spec.function, kinds, spec.arithmetic, spec.checked, narrow)


JIT: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# of what kernels alone call: nothing that Python or C would call it by, a quarter of the time it
# takes to compile. RunConfig(debug=True) calls the compiled helpers that a step of the library
# names
INNER = JIT | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@functools.cache
def jit(function: Callable[..., Any]) -> Any:
    """Compile the way all kernels are; a function that is compiled already is left alone."""
    if hasattr(function, "py_func"):
        return function
    return numba.njit(**JIT)(_in_a_row(function))


def _in_a_row(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that Numba reads: of one that is composed of calls, these."""
    parts = composition(function)
    if parts is None:
        return function
    names = dict.fromkeys((*parts.arguments, *(n for c in parts.calls for n in c.results)))
    own = {n: f"x{k}" for k, n in enumerate(names)}

    def some(names: tuple[str, ...]) -> str:
        return ", ".join(own[n] for n in names)

    lines = [f"def step({some(parts.arguments)}):"]
    lines += [
        f"    {some(c.results)} = f{k}({some(c.arguments)})" for k, c in enumerate(parts.calls)
    ]
    lines.append(f"    return {some(parts.results)},")
    namespace: dict[str, Any] = {f"f{k}": c.function for k, c in enumerate(parts.calls)}
    exec("\n".join(lines), namespace)
    return namespace["step"]


@functools.cache
def inner(function: Callable[..., Any]) -> Any:
    """Compile what kernels alone call."""
    return numba.njit(**INNER)(_in_a_row(function))


def inlined(function: Callable[..., Any], **options: bool) -> Any:
    """``jit`` of what becomes part of its caller: arrays are handed on in seven words or more each,
    which costs what fifty neurons do."""
    return numba.njit(forceinline=True, **{**JIT, **options})(function)


def nested(function: Callable[..., Any]) -> Any:
    """``inlined``, of what no step names: compiled functions alone call it."""
    return inlined(function, **INNER)


def bounded(function: Callable[..., Any]) -> Any:
    """A user's function compiled with every index checked, in the compiled helpers that it names
    too."""

    def compile(copy: types.FunctionType, options: dict[str, Any]) -> Any:
        # an index into .flat is not checked, one into an array is
        copy.__code__ = copy.__code__.replace(
            co_names=tuple("_lavalike_flat" if n == "flat" else n for n in copy.__code__.co_names)
        )
        return numba.jit(**{**options, "boundscheck": True})(copy)

    return _remade(function, compile, {})


@overload_attribute(numba.types.Array, "_lavalike_flat")
def _flat(array):
    return (lambda array: array.reshape(-1)) if array.layout == "C" else (lambda array: array.flat)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A user's function without compiled parts."""
    return _remade(function, lambda copy, options: copy, {})


def _remade(
    function: Any, make: Callable[[types.FunctionType, dict[str, Any]], Any], made: dict[Any, Any]
) -> Any:
    """A copy of ``function`` as ``make`` makes it of a copy and Numba's options; likewise the
    compiled functions that it names."""
    old = getattr(function, "py_func", function)
    if old in made:
        return made[old]
    names = dict(old.__globals__)
    cells = tuple(types.CellType() for _ in old.__closure__ or ())
    copy = types.FunctionType(old.__code__, names, old.__name__, old.__defaults__, cells)
    copy.__kwdefaults__, copy.__module__, copy.__qualname__ = (
        old.__kwdefaults__,
        old.__module__,
        old.__qualname__,
    )
    made[old] = make(copy, getattr(function, "targetoptions", JIT | {"nopython": True}))

    def own(value: Any) -> Any:
        return _remade(value, make, made) if isinstance(value, Dispatcher) else value

    names.update({n: own(names[n]) for n in _all_names(old.__code__) if n in names})
    for cell, there in zip(cells, old.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            cell.cell_contents = own(there.cell_contents)
    return made[old]


def _all_names(code: types.CodeType) -> set[str]:
    """Names that ``code`` and the functions inside it read from outside."""
    return {*code.co_names}.union(
        *(_all_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    )


@intrinsic
def nothing(typingctx, result):
    """Compiles for what returns nothing alone."""
    if not isinstance(result, numba.types.NoneType):
        raise TypingError(RETURNS)
    return numba.types.void(
        result
    ), lambda context, builder, signature, args: context.get_dummy_value()


def compiled_parts(dynamics: Dynamics, arithmetic: str, narrow: bool) -> dict[str, Any]:
    """The step and the accumulators of the dynamics, compiled (called by generated modules)."""
    return loops.parts(dynamics, arithmetic, narrow, inner)


def kernel_source(spec: Spec) -> str:
    """The generated module: from ``FUNCTION`` and its ``PLACE`` in the cache it defines
    ``kernel``."""
    lines = [
        "from numba import carray, types",
        IMPORTS,
        "from lavalike.backends.numba.kept import compiled",
        "from lavalike.backends.numba.kernels import INNER, bounded, compiled_parts, inlined, jit, nothing",
    ]
    dtypes = {d for _, (d, _) in spec.arguments if d != "t"} | {"int64"}
    lines += [f"from lavalike.backends.numba.address import pointer_{d}" for d in sorted(dtypes)]
    if isinstance(spec.function, Dynamics):
        narrow = loops.BITS in dict(spec.arguments)
        lines.append(f"globals().update(compiled_parts(FUNCTION, {spec.arithmetic!r}, {narrow}))")
        lines.append(_loop(spec, narrow))
        lines.append("function = inlined(loop, **INNER)")
    else:
        lines.append(
            f"function = {'bounded' if spec.bounds else 'inlined' if spec.trusted else 'jit'}"
            f"(FUNCTION{', **INNER' if spec.trusted else ''})"
        )
    body, slot = [], 0
    for name, (dtype, axes) in spec.arguments:
        if dtype == "t":
            body.append(f"    a_{name} = t")
        elif axes == 0:
            body.append(f"    a_{name} = pointer_{dtype}(block + {8 * slot})[0]")
        else:
            shape = ", ".join(f"slots[{slot + 1 + k}]" for k in range(axes))
            body.append(f"    a_{name} = carray(pointer_{dtype}(slots[{slot}]), ({shape},))")
        slot += slots((dtype, axes))
    if spec.draws:
        lines.append("from lavalike.backends.numba.draws import seed_numpy, seed_python")
        body += [
            f"    {seed}(a_{DRAWS}, t)"
            for bit, seed in ((NUMPY, "seed_numpy"), (PYTHON, "seed_python"))
            if spec.draws & bit
        ]
    call = f"function({', '.join(f'a_{name}' for name, _ in spec.arguments if name != DRAWS)})"
    lines += [
        "@compiled(PLACE, types.int64(types.int64, types.int64), nopython=True, error_model='numpy')",
        "def kernel(block, t):",
        f"    slots = carray(pointer_int64(block), ({max(slot, 1)},))",
        *body,
    ]
    if isinstance(spec.function, Dynamics) or spec.returns:
        lines.append(f"    return {call}")
    elif spec.trusted:
        lines += [f"    {call}", "    return 0"]
    else:
        lines += [
            "    try:",
            f"        nothing({call})",
            "    except Exception:",
            f"        return {RAISED}",
            "    return 0",
        ]
    return "\n".join(lines) + "\n"


# -- the cache on disk -----------------------------------------------------------------------------


@functools.cache
def fingerprint() -> str:
    """Hash of everything a compiled kernel depends on besides the model's own file: what it calls,
    and the constants frozen into it."""
    import lavalike.dynamics
    import lavalike.learning

    h = hashlib.sha256(
        f"{numba.__version__} {llvmlite.__version__} {sys.version} {platform.machine()}".encode()
    )
    for module in (__file__, lavalike.dynamics.__file__, lavalike.learning.__file__):
        for file in sorted(Path(module).parent.glob("*.py")):
            h.update(file.read_bytes())
    return h.hexdigest()[:16]


def _origin(function: Callable[..., Any] | Dynamics) -> tuple[str, str, str] | None:
    """(module, qualified name, hash of its file and of all it uses), or None where that cannot be
    told from files."""
    if isinstance(function, Dynamics):
        parts = [function.step, *function.accumulators]
        origins = [_origin(f) for f in parts]
        return None if None in origins else (*origins[0][:2], str(origins))  # type: ignore[index]  # none of them is None
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if (
        function.__module__ == "__main__"
        or file is None
        or "<" in function.__qualname__
        or not os.path.isfile(file)
    ):
        return None
    # what our own kernels use is in the fingerprint of the cache folder
    used: set[str] | None = (
        set() if function.__module__.startswith("lavalike.") else _used(function, set())
    )
    if used is None:
        return None
    content = Path(file).read_bytes() + repr(sorted(used)).encode()
    return function.__module__, function.__qualname__, hashlib.sha256(content).hexdigest()[:16]


def _used(function: Any, seen: set[Any]) -> set[str] | None:
    """Everything that is frozen into the compiled ``function``: its code, constants by value,
    functions by their code and their file's contents; None where something is neither."""
    function = getattr(function, "py_func", function)
    if function in seen:
        return set()
    seen.add(function)
    if function.__code__.co_freevars:
        return None
    out = {_code(function.__code__)}  # the file may have been edited since it was imported
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        value = getattr(value, "py_func", value)
        if value is None or isinstance(
            value, ModuleType | type | types.BuiltinFunctionType | np.ufunc
        ):
            out.add(f"{name}: {getattr(value, '__name__', value)}")
        elif isinstance(value, bool | int | float | complex | str | np.number | tuple):
            out.add(f"{name} = {value!r}")
        elif isinstance(value, np.ndarray):
            out.add(
                f"{name} = {hashlib.sha256(value.tobytes()).hexdigest()} {value.dtype} {value.shape}"
            )
        elif isinstance(value, types.FunctionType):
            inner = _used(value, seen)
            if inner is None or not os.path.isfile(value.__code__.co_filename):
                return None
            own = (
                value.__module__.split(".")[0] == "lavalike"
            )  # the fingerprint of the folder holds these
            out |= inner | {
                name
                if own
                else hashlib.sha256(Path(value.__code__.co_filename).read_bytes()).hexdigest()
            }
        else:
            return None
    return out


def _code(code: types.CodeType) -> str:
    """What the compiled function follows from in its own code, the same in every interpreter."""
    consts = [
        _code(c)
        if isinstance(c, types.CodeType)
        else sorted(map(repr, c))
        if isinstance(c, frozenset)
        else repr(c)
        for c in code.co_consts
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, consts))


@functools.cache
def _load(spec: Spec) -> Any:
    """The compiled cfunc object of ``spec``."""
    if _torn:
        raise RunError(
            "this process was forked while another thread compiled, whose locks nobody opens here any more; "
            "fork before the first run or after it, or start processes with 'spawn'"
        )
    began, where = time.perf_counter(), place(spec)
    _compiling.append(threading.get_ident())
    try:
        if where is None:
            module = _module("lavalike_kernel", kernel_source(spec), None, spec)
            return _told(module.kernel, spec, began)
        # a name of its own, by which Numba looks up the module of what it has kept
        name = f"{where.name}_{hashlib.sha256(where.key.encode()).hexdigest()[:16]}"
        return _told(_module(name, where.key, where, spec).kernel, spec, began)
    finally:
        _compiling.remove(threading.get_ident())


def place(spec: Spec) -> kept.Kernel | None:
    """Where the kernel of ``spec`` is kept on disk, its key the text of its module; None of a
    function that is in no file."""
    origin = _origin(spec.function)
    if origin is None:
        return None
    name = f"k_{origin[1].replace('.', '_')}"
    return kept.Kernel(fingerprint(), name, f"# {origin}\n{kernel_source(spec)}")


def _told(kernel: Any, spec: Spec, began: float) -> Any:
    """``kernel``; a record where it was compiled, not found on disk."""
    if not kernel.cache_hits:
        f = spec.function
        name = f.name if isinstance(f, Dynamics) else f.__qualname__
        log.info("compiled kernel %s in %.2f s", name, time.perf_counter() - began)
    return kernel


_compiling: list[int] = []  # threads that compile just now
_torn: list[int] = []  # in a forked child: those of its parent that did


def _forked() -> None:
    _torn.extend(thread for thread in _compiling if thread != threading.get_ident())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _module(name: str, text: str, place: kept.Kernel | None, spec: Spec) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(FUNCTION=spec.function, PLACE=place)
    if place is not None:
        sys.modules[name] = module
    exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return module


def loaded() -> int:
    """How many kernels this interpreter has loaded."""
    return _load.cache_info().currsize


def address(spec: Spec) -> int:
    """The address of the compiled kernel; compiles on the first use of a spec on this machine
    only."""
    return _load(spec).address


def engine(block: np.ndarray) -> Callable[[], int]:
    """The compiled step loop as a C function that reads ``block``, kept with it; calling it
    releases the GIL."""
    # made C's own numbers once: that takes half of a call's time
    return functools.partial(_engine(), ctypes.c_int64(address_of(block)), ctypes.c_int64(0))


@functools.cache
def _engine() -> Callable[..., int]:
    from lavalike.backends.numba import engine as module

    spec = Spec(
        module.run,
        (
            ("table", ("int64", 1)),
            ("rows", ("int64", 0)),
            ("first", ("int64", 0)),
            ("steps", ("int64", 0)),
            ("where", ("int64", 1)),
        ),
        returns=True,
    )
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address(spec))


def address_of(array: np.ndarray) -> int:
    """Where ``array`` begins."""
    try:
        memory: Any = array  # a Buffer, which Python 3.11 has no type for
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))  # a third of the other's time
    except (TypeError, ValueError, BufferError):  # read-only, or not in one piece
        return array.__array_interface__["data"][0]


def engine_block(table: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The engine's argument block for ``table``; slots 3 and 4 are the first step and how many."""
    return pack(
        [table, len(table) // 4, 0, 0, where],
        [("int64", 1), ("int64", 0), ("int64", 0), ("int64", 0), ("int64", 1)],
    )


def slots(kind: Kind) -> int:
    """How many slots of an argument block a value of ``kind`` takes."""
    dtype, axes = kind
    return 0 if dtype == "t" else 1 + axes if axes else 1 + (dtype == "complex128")


def pack(values: list[Any], kinds: list[Kind]) -> np.ndarray:
    """An argument block: int64 slots for ``values`` of ``kinds`` (arrays must be C-contiguous and
    stay alive)."""
    out: list[int] = []
    for value, kind in zip(values, kinds, strict=True):
        dtype, axes = kind
        if dtype == "t":
            continue
        if axes:
            assert value.flags.c_contiguous  # a kernel knows no strides
            out += (address_of(value), *value.shape)
            continue
        parts = (value.real, value.imag) if dtype.startswith("complex") else (value,)
        size = slots(kind)
        out += struct.unpack(f"{size}q", struct.pack(BITS[dtype], *parts).ljust(8 * size, b"\0"))
    return np.array(out or [0], np.int64)
