"""What a user's step does with its arguments, read from Numba's form of it: no source is needed,
and every line is known.

An array argument may go by other names: slices, rows, reshaped views, entries of tuples. Those are
followed, helpers that a step calls are looked into; where that ends (a function without a body
here) an array that is handed over may be written, and nothing is refused.
"""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba.core import ir, ssa
from numba.core.compiler import run_frontend
from numba.core.dispatcher import Dispatcher

from lavalike.errors import GraphError

VIEWS = {
    "reshape",
    "ravel",
    "view",
    "transpose",
    "swapaxes",
    "squeeze",
    "T",
    "flat",
    "real",
    "imag",
}
WRITERS = {"fill", "sort", "partition", "itemset", "put", "resize", "setfield"}
VIEW_FUNCTIONS = {
    "reshape",
    "ravel",
    "transpose",
    "swapaxes",
    "squeeze",
    "expand_dims",
    "asarray",
    "ascontiguousarray",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "flip",
    "flipud",
    "fliplr",
    "broadcast_to",
    "ndenumerate",
    "split",
    "array_split",
}
WRITE_FUNCTIONS = {
    "copyto",
    "fill_diagonal",
    "put",
    "place",
    "putmask",
    "shuffle",
}  # their first argument
READERS = {
    len,
    range,
    abs,
    min,
    max,
    sum,
    print,
    int,
    float,
    bool,
    complex,
    round,
    slice,
    isinstance,
}
WRAPPERS = {zip, enumerate, reversed, tuple, list, iter}


@dataclass
class Use:
    """What a function does with its arguments: line by name, and what it may do."""

    file: str
    returns: int | None = None  # a line that returns a value
    hands_on: int | None = None  # a line that returns what a call does, which may be nothing
    rebound: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    in_place: dict[str, int] = field(
        default_factory=dict
    )  # written by x += y and its like, as a whole
    touched: set[str] = field(default_factory=set)  # may be written


Ref = tuple[str, int]  # an argument, and how many axes of it are left


def use(function: Callable[..., Any], axes: Mapping[str, int]) -> Use | None:
    """What ``function`` does with its arguments of so many axes; None where Numba cannot read
    it."""
    plain = getattr(function, "py_func", function)
    return _use(
        plain,
        tuple(axes.get(n, 0) for n in plain.__code__.co_varnames[: plain.__code__.co_argcount]),
        (),
    )


@functools.lru_cache(512)
def _use(function: types.FunctionType, axes: tuple[int, ...], above: tuple[Any, ...]) -> Use | None:
    try:
        tree = run_frontend(function)
        made = _returns(tree), _rebound(tree, function)
        tree = ssa.reconstruct_ssa(tree)
    except Exception:  # what Numba cannot read it does not compile, and says why then
        return None
    code = function.__code__
    use = Use(code.co_filename, *made[0], made[1])
    Walk(
        tree,
        dict(zip(code.co_varnames[: code.co_argcount], axes, strict=True)),
        use,
        (*above, function),
    ).run()
    return use


def statements(tree: ir.FunctionIR) -> Iterable[Any]:
    return (s for block in tree.blocks.values() for s in block.body)


def _returns(tree: ir.FunctionIR) -> tuple[int | None, int | None]:
    """The lines of a value that is returned, and of a call's that is."""
    if tree.is_generator:
        return tree.loc.line, None
    call = None
    values: dict[str, list[Any]] = {}
    for s in statements(tree):
        if isinstance(s, ir.Assign):
            values.setdefault(s.target.name, []).append(s.value)
    for s in statements(tree):
        if isinstance(s, ir.Return):
            todo, seen = [s.value], set()
            while todo:
                value = todo.pop()
                if isinstance(value, ir.Var):
                    if value.name not in seen:
                        seen.add(value.name)
                        todo += values.get(value.name, [])
                elif isinstance(value, ir.Expr) and value.op == "cast":
                    todo.append(value.value)
                elif isinstance(value, ir.Expr) and value.op == "call":
                    call = s.loc.line
                elif not (isinstance(value, ir.Const) and value.value is None):
                    return s.loc.line, call
    return None, call


def _rebound(tree: ir.FunctionIR, function: types.FunctionType) -> dict[str, int]:
    """The line where an argument's name is given something else; ``v += x`` changes an array in
    place."""
    names = {*function.__code__.co_varnames[: function.__code__.co_argcount]}
    out: dict[str, int] = {}
    for s in statements(tree):
        if (
            isinstance(s, ir.Assign)
            and s.target.unversioned_name in names
            and not isinstance(s.value, ir.Arg)
        ):
            name, value = s.target.unversioned_name, s.value
            in_place = (
                isinstance(value, ir.Expr)
                and value.op == "inplace_binop"
                and value.lhs.unversioned_name == name
            )
            if not in_place:
                out.setdefault(name, s.loc.line)
    return out


class Walk:
    """Follows arrays through one function's statements until nothing new is found."""

    def __init__(
        self, tree: ir.FunctionIR, axes: Mapping[str, int], use: Use, above: tuple[Any, ...]
    ) -> None:
        self.tree, self.axes, self.use, self.above = tree, axes, use, above
        self.refs: dict[str, set[Ref]] = {}
        self.values = {s.target.name: s.value for s in statements(tree) if isinstance(s, ir.Assign)}

    def run(self) -> None:
        before = -1
        while before != (before := sum(map(len, self.refs.values()))) or before < 0:
            for s in statements(self.tree):
                if isinstance(s, ir.Assign):
                    self.refs.setdefault(s.target.name, set()).update(self.of(s.value, s.loc.line))
                elif isinstance(s, ir.SetItem | ir.StaticSetItem | ir.SetAttr):
                    self.write(self.at(s.target), s.loc.line)

    def at(self, var: ir.Var) -> set[Ref]:
        return self.refs.get(var.name, set())

    def write(self, refs: Iterable[Ref], line: int) -> None:
        for name, _ in refs:
            self.use.written.setdefault(name, line)
            self.use.touched.add(name)

    def of(self, value: Any, line: int) -> set[Ref]:
        """The arguments that ``value`` may be, or be a part of."""
        if isinstance(value, ir.Arg):
            axes = self.axes.get(value.name, 0)
            return {(value.name, axes)} if axes else set()
        if isinstance(value, ir.Var):
            return self.at(value)
        if not isinstance(value, ir.Expr):
            return set()
        if value.op in ("cast", "getiter", "exhaust_iter", "iternext"):
            return self.at(value.value)
        if value.op == "pair_first":
            return _inside(self.at(value.value), 1)
        if value.op == "phi":
            return {r for v in value.incoming_values if isinstance(v, ir.Var) for r in self.at(v)}
        if value.op in ("build_tuple", "build_list", "build_set"):
            return {(n, a + 1) for v in value.items for n, a in self.at(v)}
        if value.op == "getitem":
            return _inside(self.at(value.value), self.taken(value.index))
        if value.op == "static_getitem":
            return _inside(self.at(value.value), 0 if isinstance(value.index, slice) else 1)
        if value.op == "getattr":
            return _viewed(self.at(value.value), value.attr) if value.attr in VIEWS else set()
        if value.op == "inplace_binop":
            whole = {r for r in self.at(value.lhs) if r[1] > 0}
            self.write(whole, line)
            for name, _ in whole:
                self.use.in_place.setdefault(name, line)
            return whole
        return self.call(value, line) if value.op == "call" else set()

    def taken(self, index: ir.Var, depth: int = 0) -> int:
        """How many axes ``index`` takes away: one, none if it is a slice, of a tuple what its
        entries do."""
        value = self.values.get(index.name)
        if isinstance(value, ir.Expr) and value.op == "build_tuple":
            return sum(self.taken(v, depth + 1) for v in value.items)
        if isinstance(value, ir.Expr) and value.op == "call":
            return int(self.function(value.func) is not slice)
        if isinstance(value, ir.Var) and depth < 50:
            return self.taken(value, depth + 1)
        return int(
            not (
                isinstance(value, ir.Const)
                and (value.value is None or isinstance(value.value, slice | type(...)))
            )
        )

    def function(self, var: ir.Var) -> Any:
        """What a called name stands for, or None."""
        value = self.values.get(var.name)
        if isinstance(value, ir.Global | ir.FreeVar):
            return value.value
        if isinstance(value, ir.Expr) and value.op == "getattr":
            owner = self.function(value.value)
            return getattr(owner, value.attr, None) if isinstance(owner, types.ModuleType) else None
        return self.function(value) if isinstance(value, ir.Var) else None

    def call(self, value: ir.Expr, line: int) -> set[Ref]:
        given = [
            *value.args,
            *(v for _, v in value.kws),
            *([value.vararg] if value.vararg is not None else []),
        ]
        handed = {r for v in given for r in self.at(v)}
        made = self.values.get(value.func.name)
        if isinstance(made, ir.Expr) and made.op == "make_function":  # a comprehension reads
            return set()
        if (
            isinstance(made, ir.Expr) and made.op == "getattr" and self.at(made.value)
        ):  # a method of an array
            own = self.at(made.value)
            if made.attr in WRITERS:
                self.write(own, line)
            self.use.touched.update(n for n, _ in handed)  # an out= of it
            flat = (
                made.attr == "reshape" and len(value.args) == 1 and self.taken(value.args[0]) == 1
            )
            return _viewed(own, "flat" if flat else made.attr) if made.attr in VIEWS else set()
        if not handed:
            return set()
        function = self.function(value.func)
        if (
            isinstance(function, types.FunctionType | Dispatcher)
            and value.vararg is None
            and not self.foreign(function)
        ):
            return self.helper(function, value, line, handed)
        name = getattr(function, "__name__", "")
        if isinstance(function, np.ufunc):
            out = [*value.args[function.nin :], *(v for k, v in value.kws if k == "out")]
            refs = {r for v in out for r in self.at(v)}
            self.write(refs, line)
            return refs
        if function in (operator.setitem,) or (self.foreign(function) and name in WRITE_FUNCTIONS):
            self.write(self.at(value.args[0]) if value.args else (), line)
            return set()
        if self.foreign(function):
            self.use.touched.update(r[0] for k, v in value.kws if k == "out" for r in self.at(v))
            if name == "nditer":  # what it goes through are arrays without axes
                return {(n, a + 1) for n, a in handed}
            return {(n, max(a, 1)) for n, a in handed} if name in VIEW_FUNCTIONS else set()
        if function in WRAPPERS:
            return {(n, a + 1) for n, a in handed} if function in (zip, enumerate) else handed
        if function in READERS:
            return set()
        self.use.touched.update(n for n, _ in handed)
        return set()

    def foreign(self, function: Any) -> bool:
        """NumPy's: nothing to look into, and it writes only what is listed here."""
        return (getattr(function, "__module__", None) or "").split(".")[0] == "numpy"

    def helper(self, function: Any, value: ir.Expr, line: int, handed: set[Ref]) -> set[Ref]:
        """A function of the user's: what it writes of what it is handed, this one does."""
        plain = getattr(function, "py_func", function)
        code = plain.__code__
        names = code.co_varnames[: code.co_argcount]
        given = dict(zip(names, value.args, strict=False)) | dict(value.kws)
        axes = tuple(
            max((a for _, a in self.at(given[n])), default=0) if n in given else 0 for n in names
        )
        inner = (
            None if plain in self.above or len(self.above) > 8 else _use(plain, axes, self.above)
        )
        if inner is None:
            self.use.touched.update(n for n, _ in handed)
            return set()
        for name, var in given.items():
            if name in inner.written:
                self.write(self.at(var), line)
            if name in inner.in_place:
                for own, _ in self.at(var):
                    self.use.in_place.setdefault(own, line)
            if name in inner.touched:
                self.use.touched.update(n for n, _ in self.at(var))
        if (
            inner.returns is not None or inner.hands_on is not None
        ):  # perhaps a part of what it was handed
            self.use.touched.update(n for n, _ in handed)
        return set()


def _inside(refs: Iterable[Ref], axes: int) -> set[Ref]:
    """What is left of arrays when ``axes`` axes are taken away; a number is none."""
    return {(n, a - axes) for n, a in refs if a > axes}


def _viewed(refs: Iterable[Ref], how: str) -> set[Ref]:
    """Arrays in another form; flat ones have one axis."""
    return {(n, 1 if how in ("flat", "ravel") else a) for n, a in refs}


def check(model: Any, axes: Mapping[str, int], shared: Iterable[str]) -> set[str]:
    """GraphError with the line where a user's step would be silently wrong. The names of ``shared``
    arrays that it writes.

    Args:
        axes: how many the arrays have that the step takes, by name.
        shared: arrays that all samples and threads have in common: parameters, and what ``derive``
            returned.
    """
    process, function = model.process, model.function()
    found = use(function, axes)
    if found is None:
        return set()
    code = getattr(function, "py_func", function).__code__
    ports = {p.name: "InPort" for p in process.in_ports} | {
        p.name: "OutPort" for p in process.out_ports
    }
    roles = {v.name: "parameter" for v in process.vars if v.role == "parameter"} | ports

    def refused(line: int, why: str) -> GraphError:
        return GraphError(
            f"{process.path}: {type(model).__name__}.{code.co_name} ({found.file}:{line}) {why}"
        )

    if found.returns is not None:
        raise refused(
            found.returns,
            "returns a value, and nothing takes it; write into the port: s_out[:] = ...",
        )
    for name, line in found.rebound.items():
        kind = ports.get(name) or (
            "state" if name in axes and name not in roles and name not in shared else ""
        )
        if kind:
            raise refused(
                line,
                f"gives the name of the {kind} {name} to something else, which leaves the {kind} as it is; write into it: "
                f"{name}[:] = ..."
                + (f", or use another name: x = {name} ..." if kind == "InPort" else ""),
            )
    for name, line in found.written.items():
        if roles.get(name) == "parameter":
            raise refused(
                line,
                f"writes {name}, which {type(process).__name__} declares a parameter: set() alone changes it; let it be a "
                "state, Var(..., role='state')",
            )
        if roles.get(name) == "InPort":
            raise refused(
                line,
                f"writes the InPort {name}, whose array may be the sender's; work on a copy: x = {name}.copy()",
            )
    for name, kind in ports.items():
        if kind == "OutPort" and name in axes and name not in found.touched:
            raise refused(
                code.co_firstlineno,
                f"never writes the OutPort {name}; it assigns every element in every step: {name}[:] = ...",
            )
    return {n for n in found.written if n in shared}
