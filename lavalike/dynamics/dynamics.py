"""Dynamics: a neuron as one pure step and a declaration; every backend derives its model from
it."""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    TEXT,
    arguments,
    choice,
    did_you_mean,
    instance,
    optional,
    sequence,
)
from lavalike.dynamics import ops
from lavalike.dynamics.composition import composed, composition
from lavalike.dynamics.ops import lower, reset as to_value, wrap
from lavalike.dynamics.parameter import (
    NAME,
    Parameter as Parameter,
    integral as integral,
    within as within,
)
from lavalike.errors import InputError, InputTypeError
from lavalike.process.units import Units

Constants = dict[str, Any]  # arrays and numbers; tensors where the values are
Step = Callable[..., Any]
WORDS: dict[Any, str] = {
    f: name
    for name, f in vars(ops).items()
    if isinstance(f, types.FunctionType) and not name.startswith("_")
}
FOREIGN = {
    "numpy",
    "torch",
    "numba",
    *sys.stdlib_module_names,
}  # packages whose functions use no words

# every Dynamics that is declared, for who knows but what it computes
ALIVE: weakref.WeakValueDictionary[int, Dynamics] = weakref.WeakValueDictionary()


@arguments(
    **dict.fromkeys(("inputs", "outputs", "states", "per_neuron", "graded"), sequence(NAME)),
    constants=optional(FUNCTION),
    accumulators=sequence(FUNCTION),
    rests=FLAG,
    fixed=FLAG,
    parameters=sequence(instance(Parameter)),
    loihi=FLAG,
    kind=TEXT,
    reset=choice("subtract", "zero", "none"),
    ends=sequence(sequence(NAME, 2)),
    complexes=sequence(sequence(NAME, 3)),
)
@dataclass(frozen=True)
class Dynamics:
    """A neuron.

    Example:
        >>> from lavalike.dynamics.ops import above, reset
        >>> def leaky(a_in, v, keep, vth):
        ...     v = keep * v + a_in
        ...     s_out = above(v, vth)
        ...     return s_out, reset(s_out, v, 0)
        ...
        >>> LEAKY = lv.Dynamics(
        ...     leaky,
        ...     inputs=("a_in",),
        ...     outputs=("s_out",),
        ...     states=("v",),
        ...     parameters=(lv.Parameter("keep", 0.9, 0, 1), lv.Parameter("vth", 1.0)),
        ... )
        >>> neuron = proc.neuron_process(LEAKY)(shape=(1,))
        >>> lv.simulate(neuron, {"a_in": np.full((1, 6), 0.6)})["s_out"]
        array([[0., 1., 0., 1., 0., 1.]], dtype=float32)

    Args:
        step: pure function of named scalars, written with the words of
            :mod:`lavalike.dynamics.ops`, imported by name. Its arguments are inputs, states and
            constants by name, without default values, and ``t`` (the step, from 1) if it wants it;
            it returns the outputs, then the new states, in the order declared here.
        inputs, outputs: names of InPorts and OutPorts.
        states: names of Vars that a step changes.
        constants: ``(values, units, fixed) -> {name: array}``: the step's constants that follow
            from several parameters or from none, from the Vars' values in ``units``
            (:class:`lavalike.dynamics.Units`); raises ValueError on a value out of range. ``fixed``
            tells the arithmetic; without it values may be torch tensors, so use operators. What it
            does not return follows from one parameter as that declares. Default: all do.
        per_neuron: constants that commonly differ from neuron to neuron (a backend may specialise).
        accumulators: functions of the step's arguments, each a value that must stay within 24 bits;
            for the overflow check of networks that promise it.
        rests: after a step with zero input that sent nothing, another such step changes nothing; a
            backend may skip it.
        fixed: whether the equation has a fixed-point form.
        graded: outputs in the unit of the states, where others are spikes.
        ends: states that count steps down, none of them a Var, each with the Var that holds the
            step in which it ends: ``Var - step``, so that no state holds an absolute step; of a
            Dynamics with fixed=False. Default none.
        complexes: Vars of complex numbers, each with the states that are its real and its imaginary
            part, none of which is a Var itself; of a Dynamics with fixed=False. Default none.
        parameters: what a user sets: defaults, ranges, training, names in files, documentation.
        loihi: in fixed_pt the parameters are Loihi's whole numbers, as in Lava; else the user's,
            which are rounded to them. Default False.
        reset: what the words ``discharge`` and ``clear`` mean: "subtract" (the default), "zero" or
            "none".
        kind: the neuron's type in a .net file. Default "": files have no place for it.

    Raises InputError where step and declaration do not fit together.
    """

    step: Step
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    constants: Callable[[Mapping[str, np.ndarray], Units, bool], Constants] | None = None
    per_neuron: tuple[str, ...] = ()
    accumulators: tuple[Step, ...] = ()
    rests: bool = False
    fixed: bool = True
    graded: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    loihi: bool = False
    kind: str = ""
    reset: str = "subtract"
    ends: tuple[tuple[str, str], ...] = ()
    complexes: tuple[tuple[str, str, str], ...] = ()
    _given: ClassVar[tuple[Any, ...]]  # of an instance: the arguments, before what is made of them

    def __post_init__(self) -> None:
        ALIVE[id(self)] = self
        object.__setattr__(self, "_given", self._made)
        if not isinstance(self.step, types.FunctionType):
            raise InputTypeError(
                f"Dynamics: step is a plain function, got {self.step!r}; a def at the top of a module"
            )
        for p in inspect.signature(self.step).parameters.values():
            if p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty:
                raise InputError(
                    f"{self.name}: argument {str(p)!r} of the step; its arguments are plain names, a default value is "
                    f"declared: parameters=(Parameter({p.name!r}, ...),)"
                )
        if any(v in (ops.discharge, ops.clear) for f in _reached(self.step) for v in _functions(f)):
            object.__setattr__(self, "step", _resetting(self.step, self.reset))
        names = tuple(
            inspect.signature(self.step).parameters
        )  # not kept: the step may become another
        late = {p.argument: p.onset for p in self.parameters if p.onset and p.onset not in names}
        if late:
            object.__setattr__(self, "step", _late(self.step, names, late))
            object.__setattr__(
                self,
                "parameters",
                (
                    *self.parameters,
                    *(
                        Parameter(
                            n,
                            0,
                            0,
                            2**62,
                            counts="step",
                            doc=ONSET.format(
                                ", ".join(p.name for p in self.parameters if p.onset == n)
                            ),
                        )
                        for n in dict.fromkeys(late.values())
                    ),
                ),
            )
        missing = [n for n in (*self.inputs, *self.states) if n not in self.arguments]
        if missing:
            raise InputError(
                f"{self.name}: {missing} are inputs or states, but not among the step's arguments {self.arguments}"
            )
        names = (*self.inputs, *self.outputs, *self.states)
        if len({*names}) < len(names):
            raise InputError(
                f"{self.name}: inputs {self.inputs}, outputs {self.outputs} and states {self.states} share a name"
            )
        for field, some, known, what in (
            ("graded", self.graded, self.outputs, "outputs"),
            ("ends", tuple(state for state, _ in self.ends), self.states, "states"),
            ("complexes", tuple(s for c in self.complexes for s in c[1:]), self.states, "states"),
            ("per_neuron", self.per_neuron, self.constant_names, "constants"),
        ):
            for name in some:
                if name not in known:
                    raise InputError(
                        f"{self.name}: {field} names {what}, {known}, got {name!r}{did_you_mean(name, known)}"
                    )
        if self.ends and self.fixed:
            raise InputError(
                f"{self.name}: ends {self.ends} count on below 0, which integers of 32 bits hold for 2**31 steps; declare it "
                "with fixed=False"
            )
        if self.complexes and self.fixed:
            raise InputError(
                f"{self.name}: complexes {self.complexes} are numbers of floating point; declare it with fixed=False"
            )
        unknown = [p.name for p in self.parameters if p.argument not in self.constant_names]
        if unknown and self.constants is None:
            raise InputError(
                f"{self.name}: parameters {unknown} are not among the step's arguments {self.arguments}"
            )

    def __copy__(self) -> Dynamics:
        return self  # nothing of it changes

    def __deepcopy__(self, memo: Any) -> Dynamics:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        step = self.step
        found = getattr(sys.modules.get(step.__module__), step.__qualname__, None) is step
        # else by what was given: a step that was made of it is found nowhere
        return _again, self._made if found else self._given

    @property
    def _made(self) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    @property
    def name(self) -> str:
        return self.step.__name__

    @functools.cached_property
    def arguments(self) -> tuple[str, ...]:
        """The step's argument names, in order."""
        return tuple(inspect.signature(self.step).parameters)

    @functools.cached_property
    def constant_names(self) -> tuple[str, ...]:
        known = {*self.inputs, *self.states, "t"}
        return tuple(a for a in self.arguments if a not in known)

    @functools.cached_property
    def state_vars(self) -> tuple[str, ...]:
        """The names of the Vars that hold the states."""
        held = dict(self.ends) | {s: var for var, *parts in self.complexes for s in parts}
        return tuple(dict.fromkeys(held.get(s, s) for s in self.states))

    @functools.cached_property
    def settings(self) -> tuple[Parameter, ...]:
        """What a user sets: the parameters, and for each of the step's constants that follows from
        none, one without limits."""
        made = {p.argument for p in self.parameters}
        bare = (
            ()
            if self.constants is not None
            else tuple(Parameter(n, None) for n in self.constant_names if n not in made)
        )
        return (*self.parameters, *bare)

    @functools.cached_property
    def knobs(self) -> tuple[Parameter, ...]:
        """What training sets: :attr:`settings` where each of the step's constants follows from one,
        else those constants themselves."""
        if self.constants is None:
            return self.settings
        known = {p.name: p for p in self.parameters if p.argument == p.name}
        return tuple(known.get(n) or Parameter(n, None) for n in self.constant_names)

    @property
    def equation(self) -> str:
        """The step as equations, one a line (see :mod:`lavalike.dynamics.equation`)."""
        from lavalike.dynamics.equation import equation

        return equation(self)

    @property
    def floating(self) -> tuple[str, ...]:
        """What in the step has no fixed-point form: words, true division and powers, numbers that
        are not whole."""
        found: dict[str, None] = {}
        for f in _reached(self.step):
            found |= dict.fromkeys(WORDS[v] for v in _functions(f) if WORDS.get(v) in ops.FLOATING)
            found |= dict.fromkeys(_fractions(f.__code__))
        return tuple(found)

    def may_leave(self, fractions: Iterable[str]) -> bool:
        """Whether whole numbers may become others in the step, of whose constants those in
        ``fractions`` are fractions."""

        def is_safe(value: Any) -> bool:
            if isinstance(value, types.FunctionType):
                return (value.__module__ or "").split(".")[0] not in FOREIGN
            return isinstance(value, int) or any(value is f for f in (abs, min, max, int, bool))

        return (
            any(True for _ in fractions)
            or bool(self.floating)
            or not all(is_safe(v) for f in _reached(self.step) for _, v in outside(f))
        )

    def derive(
        self,
        values: Mapping[str, Any],
        units: Units,
        fixed: bool,
        made: Mapping[str, Any] | None = None,
    ) -> Constants:
        """The constants of the step from the Vars' values; those in ``made`` are there already."""
        out = dict(made or {})
        if self.constants is not None:
            out |= self.constants(values, units, fixed)
        known = {p.argument: p for p in self.parameters}
        for n in self.constant_names:
            if n in out:
                continue
            if n in known:
                out[n] = known[n].constant(values, units, fixed, self.loihi)
            elif self.constants is None:
                out[n] = integral(n, values[n]) if fixed else values[n]
        return out


def _again(*given: Any) -> Dynamics:
    """The Dynamics of these arguments: the one that there is, as kernels belong to its step."""
    known = (d for d in [*ALIVE.values()] if given in (d._given, d._made))
    return next(known, None) or Dynamics(*given)


def _zero(s, v, by):
    return to_value(s, v, 0)


def _cleared(s, x):
    return to_value(s, x, 0)


def _kept(s, v, by):
    return wrap(v)  # a helper is written in words


def _left(s, x):
    return wrap(x)


RESETS: dict[str, dict[str, Step]] = {
    "subtract": {"discharge": lower, "clear": _left},
    "zero": {"discharge": _zero, "clear": _cleared},
    "none": {"discharge": _kept, "clear": _left},
}


def _resetting(step: Step, kind: str) -> Step:
    """``step`` with the words of a reset as those that ``kind`` makes of them."""
    out = bind(step, {**{name: word for word, name in WORDS.items()}, **RESETS[kind]})
    out.__module__, out.__doc__ = step.__module__, step.__doc__
    out.__name__ = out.__qualname__ = (
        step.__name__ if kind == "subtract" else _named(step.__name__, kind)
    )
    return out


def _named(name: str, kind: str) -> str:
    return f"{name.removesuffix('_now')}_{kind}{'_now' if name.endswith('_now') else ''}"


ONSET = "{} acts in steps t > this"


def _late(step: Step, names: tuple[str, ...], late: Mapping[str, str]) -> Step:
    """``step`` whose constants ``late`` are 0 until the step that each of them names is over."""
    head = [n for n in ("t",) if n not in names]
    return _called(
        step,
        f"{step.__name__}_late",
        (*head, *names, *dict.fromkeys(late.values())),
        [f"where(t > {late[n]}, {n}, 0)" if n in late else n for n in names],
    )


def _called(step: Step, name: str, names: tuple[str, ...], given: list[str]) -> Step:
    """A function ``name`` of ``names`` that calls ``step`` with what is ``given``, in the words'
    language."""
    source = f"def {name}({', '.join(names)}):\n    return {step.__name__}({', '.join(given)})\n"
    file = f"<{name}>"
    linecache.cache[file] = (
        len(source),
        None,
        source.splitlines(True),
        file,
    )  # for equation and tracebacks
    scope: dict[str, Any] = {"where": ops.where, step.__name__: step, "__name__": step.__module__}
    exec(compile(source, file, "exec"), scope)
    return scope[name]


@functools.cache
def scaled_inputs(dynamics: Dynamics, factor: int) -> Dynamics:
    """``dynamics`` whose inputs count in 1/factor of its states' unit; the same object for the same
    arguments."""
    given = [f"{n} * {factor}" if n in dynamics.inputs else n for n in dynamics.arguments]
    return replace(
        dynamics,
        step=_called(
            dynamics.step, f"{dynamics.step.__name__}_inputs_{factor}", dynamics.arguments, given
        ),
        kind="",
    )


# -- binding ---------------------------------------------------------------------------------------


def bind(
    function: Step, arithmetic: Mapping[str, Step], compile: Callable[[Step], Step] = lambda f: f
) -> Step:
    """``function`` with the words of ``ops`` replaced by ``arithmetic``'s, helpers it calls
    included.

    A helper is a plain Python function found in ``function``'s globals or closure that itself uses
    such words. InputError where a word would be left as it is: reached through a module, in a
    partial or other object, in a default value.
    """
    return _bind(function, arithmetic, compile, ())


def _form(function: Step, word: Step, arithmetic: Mapping[str, Step]) -> Step:
    """What ``word`` is in ``arithmetic``; InputError where it is nothing there, with the name of
    the ``function`` that uses it."""
    if WORDS[word] not in arithmetic:
        raise InputError(
            f"{function.__name__}: {WORDS[word]} has no form in this arithmetic; fixed=False tells that a neuron is "
            "floating point only"
        )
    return arithmetic[WORDS[word]]


def _bind(
    function: Step,
    arithmetic: Mapping[str, Step],
    compile: Callable[[Step], Step],
    above: tuple[Step, ...],
) -> Step:
    if function in above:
        raise InputError(
            f"{above[0].__name__}: {function.__name__} calls itself; a step is straight-line code"
        )
    parts = composition(function)
    if parts is not None:
        words = {  # each once: compartments share theirs
            f: compile(_form(function, f, arithmetic))
            if f in WORDS
            else _bind(f, arithmetic, compile, (*above, function))
            for f in dict.fromkeys(c.function for c in parts.calls)
        }
        calls = [c._replace(function=words[c.function]) for c in parts.calls]
        return compile(
            composed(function.__name__, function.__module__, parts.arguments, calls, parts.results)
        )
    if any(callable(v) for v in _defaults(function)):
        raise InputError(
            f"{function.__name__}: a function as a default value; call it by its name instead"
        )
    if _imports(function.__code__):
        raise InputError(
            f"{function.__name__}: an import inside the step; import at the top of the module"
        )
    names: dict[str, Step] = {}
    for chain, value in outside(function):
        path = ".".join(chain)
        if isinstance(value, types.FunctionType) and (value in WORDS or _uses_words(value)):
            if len(chain) > 1:
                raise InputError(
                    f"{function.__name__}: {path} is reached through {chain[0]}; words and helpers are imported by name: "
                    f"from {value.__module__} import {value.__name__}"
                )
            if path not in names:
                names[path] = (
                    compile(_form(function, value, arithmetic))
                    if value in WORDS
                    else _bind(value, arithmetic, compile, (*above, function))
                )
        elif _hides_words(value):
            raise InputError(
                f"{function.__name__}: helper {path} is a {type(value).__name__}; a helper is a plain function"
            )
    free = function.__code__.co_freevars
    cells = tuple(
        types.CellType(names[n]) if n in names else c
        for n, c in zip(free, function.__closure__ or (), strict=True)
    )
    bound = types.FunctionType(
        function.__code__,
        {**function.__globals__, **{n: f for n, f in names.items() if n not in free}},
        function.__name__,
        function.__defaults__,
        cells,
    )
    bound.__kwdefaults__ = function.__kwdefaults__
    return compile(bound)


@functools.lru_cache(4096)
def _imports(code: types.CodeType) -> bool:
    return any(i.opname == "IMPORT_NAME" for i in dis.get_instructions(code))


@functools.lru_cache(4096)
def _reads(code: types.CodeType) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    """(whether global, dotted name) of all that ``code`` reads from outside, inner functions
    included."""
    chains: list[tuple[bool, list[str]]] = []
    follows = False
    for i in dis.get_instructions(code):
        if i.opname in ("LOAD_GLOBAL", "LOAD_DEREF"):
            chains.append((i.opname == "LOAD_GLOBAL", [i.argval]))
            follows = True
        elif follows and i.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chains[-1][1].append(i.argval)
        else:
            follows = False
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return (*((g, tuple(c)) for g, c in chains), *(r for c in inner for r in _reads(c)))


def outside(function: Step) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(dotted name, value) of all that ``function`` reads from its globals and closure; the name
    ends where a function is found."""
    closure = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for is_global, chain in _reads(function.__code__):
        scope = function.__globals__ if is_global else closure
        if chain[0] not in scope:
            continue
        value, k = scope[chain[0]], 1
        while (
            k < len(chain)
            and not isinstance(value, types.FunctionType)
            and hasattr(value, chain[k])
        ):
            value, k = getattr(value, chain[k]), k + 1
        yield chain[:k], value


def _uses_words(function: Step) -> bool:
    """Whether a plain function is a word or calls one, itself or in a helper."""
    return any(v in WORDS for f in _reached(function) for v in (f, *_functions(f)))


def _reached(function: Step) -> list[Step]:
    """``function`` and the plain functions it calls, directly or not, without the words and without
    what other packages have."""
    found: list[Step] = []
    todo = [function]
    while todo:
        f = todo.pop()
        if f not in found and f not in WORDS and (f.__module__ or "").split(".")[0] not in FOREIGN:
            found.append(f)
            todo += _functions(f)
    return found


def _functions(function: Step) -> list[Step]:
    """The plain functions that ``function`` reads from outside, is composed of, or has as default
    values."""
    parts = composition(function)
    called = () if parts is None else tuple(c.function for c in parts.calls)
    return [
        v
        for v in (*(v for _, v in outside(function)), *called, *_defaults(function))
        if isinstance(v, types.FunctionType)
    ]


def _defaults(function: Step) -> tuple[Any, ...]:
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())


def _hides_words(value: Any) -> bool:
    """Whether a callable that is no plain function has words inside."""
    if isinstance(
        value,
        types.FunctionType | types.ModuleType | types.BuiltinFunctionType | np.ufunc | np.ndarray,
    ) or not callable(value):
        return False
    inside = [
        type(value).__call__,
        *(getattr(value, n, None) for n in ("func", "py_func", "__wrapped__", "__func__")),
    ]
    return any(isinstance(f, types.FunctionType) and _uses_words(f) for f in inside)


def _fractions(code: types.CodeType) -> list[str]:
    """Operators and numbers of ``code`` that leave the whole numbers."""
    powers = {"/", "/=", "**", "**="}
    out = [
        i.argrepr
        for i in dis.get_instructions(code)
        if i.opname == "BINARY_OP" and i.argrepr in powers
    ]
    return out + [repr(c) for c in code.co_consts if isinstance(c, float) and not c.is_integer()]
