"""What all neuron processes share: ports, Vars, argument rules and documentation, as their Dynamics
declares them."""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np

from lavalike.arguments import Rule, arguments, integer
from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.parameter import Parameter
from lavalike.errors import VarError
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var

F = TypeVar("F", bound=Callable[..., Any])

COMMON = {
    "shape": "of the population, and of one message.",
    "loihi_units": "the values are fixed_pt integers in floating_pt too (netx sets this): decays count in 1/4096, states in 1/64 of "
    "the threshold's unit, so ports carry the same numbers in both. Default False.",
    "scale": "what a state of 1 is in fixed_pt, where ports carry whole numbers of 1/scale. Default 4096.",
    "checked": "in fixed_pt, raise OverflowError24 where a state leaves its 24 bits instead of wrapping. Default False.",
    "name": "of the process. Default: that of the attribute it is assigned to.",
}


KINDS: dict[str, type[Neuron]] = {}  # by their type in .net files


def ours(kind: str) -> bool:
    """Whether a .net file's neuron type is one of the library's, which nobody takes from it."""
    return kind in KINDS and KINDS[kind].__module__.startswith("lavalike.")


class Neuron(AbstractProcess):
    """Base of the neurons. One whose ``__init__`` is :func:`declared` is documented by its
    Dynamics, too."""

    shape: tuple[int, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        of = getattr(cls.__dict__.get("__init__"), "declares", None)
        if of is not None or "dynamics" in cls.__dict__:
            dynamics = declaration(cls)
            if dynamics.kind and not ours(dynamics.kind):
                KINDS[dynamics.kind] = cls
        of = of or ("dynamics" in cls.__dict__ and getattr(cls.__init__, "declares", None))
        if of and "Args:\n" not in (cls.__doc__ or ""):
            dynamics, extras = of
            cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\nArgs:\n{explained(dynamics, inspect.signature(cls.__init__), extras)}"


def declaration(cls: type[Neuron]) -> Dynamics:
    """What declares the parameters of ``cls``; where an argument chooses among several equations,
    the one with most of them."""
    if cls.dynamics is not None:
        return cls.dynamics
    return cls.__init__.declares[0]  # type: ignore[attr-defined]  # put there by declared


def declared(
    dynamics: Dynamics,
    hidden: Collection[str] = (),
    extras: Mapping[str, str] | None = None,
    **rules: Rule,
) -> Callable[[F], F]:
    """Decorator of a neuron's ``__init__``, which is a signature: ports, Vars and what its
    arguments may be follow from ``dynamics``.

    The signature spells out what an editor completes: ``shape``, states, parameters, then what of
    :class:`Units` a user sets. It is compared with the declaration; a body runs first.

    Args:
        hidden: states that are no arguments.
        extras: what further arguments are, for the documentation.
        rules: of them.
    """

    def decorate(init: F) -> F:
        defaults = {
            n: p.default for n, p in inspect.signature(init).parameters.items() if n != "self"
        }
        states = [s for s in dynamics.state_vars if s not in hidden]
        expected = {**dict.fromkeys(states, 0), **{p.name: p.default for p in dynamics.parameters}}
        for n, value in expected.items():
            if n not in defaults or (value is not None and defaults[n] != value):
                raise TypeError(
                    f"{init.__qualname__}: {n} is declared with default {value!r}, its signature says {defaults.get(n)!r}"
                )
        ruled = {p.name: one(p) for p in dynamics.parameters if p.per == "one"} | rules
        units = [n for n in ("loihi_units", "checked", "scale") if n in defaults]

        @functools.wraps(init)
        def made(self: Any, *args: Any, **given: Any) -> None:
            init(self, *args, **given)
            given = {**defaults, **given}
            AbstractProcess.__init__(self, name=given["name"], **{n: given[n] for n in units})
            build(self, dynamics, given)
            if "dynamics" in vars(self):  # the body chose one, which may ask for more
                for p in self.dynamics.parameters:
                    if p.name not in expected:
                        setattr(self, p.name, variable(p, self.shape, given[p.name]))

        checked: Any = arguments(error=VarError, **ruled)(made)
        checked.declares = dynamics, extras or {}
        return checked

    return decorate


def build(process: AbstractProcess, dynamics: Dynamics, given: Mapping[str, Any]) -> None:
    """Give ``process`` the ports, states and parameters of ``dynamics``, with the values
    ``given``."""
    for name in dynamics.inputs:
        port: InPort | OutPort = InPort(given["shape"])
        setattr(process, name, port)
    for name in dynamics.outputs:
        port = OutPort(given["shape"])
        setattr(process, name, port)
    shape = process.shape = port.shape
    compound = {var for var, _, _ in dynamics.complexes}
    for name in dynamics.state_vars:
        var = Var(shape, given.get(name, 0), name=name)
        if name in compound and var.value.dtype.kind != "U":  # which is told below
            var.value = var.value.astype(np.complex128)
        setattr(process, name, var)
    for p in dynamics.settings:
        setattr(process, p.name, variable(p, shape, given[p.name]))


def variable(p: Parameter, shape: tuple[int, ...], value: Any) -> Var:
    """The Var of a parameter."""
    if p.per:
        return Var(
            (1,) if p.per == "one" else shape,
            value,
            role="parameter",
            trainable=p.trained,
            name=p.name,
        )
    return parameter(shape, value, trainable=p.trained, name=p.name)


def one(p: Parameter) -> Rule:
    """What a parameter that is one whole number for all may be."""
    return integer(*(int(v) if math.isfinite(v) else None for v in (p.low, p.high)))


def explained(dynamics: Dynamics, signature: inspect.Signature, extras: Mapping[str, str]) -> str:
    """The lines of a process's documentation on its arguments."""
    texts = {
        **COMMON,
        **dict.fromkeys(dynamics.state_vars, "initial state. Default 0."),
        **{p.name: described(p) for p in dynamics.parameters},
        **extras,
    }
    lines: list[tuple[list[str], str]] = []
    for name in signature.parameters:
        if name == "self" or name not in texts:
            continue
        if lines and lines[-1][1] == texts[name]:
            lines[-1][0].append(name)
        else:
            lines.append(([name], texts[name]))
    return "\n".join(
        textwrap.fill(
            f"{', '.join(names)}: {text}", 96, initial_indent="    ", subsequent_indent="        "
        )
        for names, text in lines
    )


def described(p: Parameter) -> str:
    """What a parameter is, one sentence."""
    default = "" if p.default is None else f" Default {p.default:g}."
    return f"{p.doc or 'a parameter'}.{default}"
