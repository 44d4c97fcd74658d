"""A step put together of smaller ones: calls by name, one after another, kept as data that every
backend walks through.

A neuron whose terms are chosen, or with a number of compartments, has a step of as many arguments
as those bring along. It is not printed: :func:`composed` makes a function of them, and tells by
:func:`composition` of what. NumPy and torch call it as it stands,
:func:`lavalike.dynamics.dynamics.bind` binds the words of what it calls, Numba is given the calls
in a row, and the equation of each function is read from its own source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Function = Callable[..., Any]


class Call(NamedTuple):
    """``results = function(*arguments)``, by name; a name that is there already stands for the new
    value from then on."""

    function: Function
    arguments: tuple[str, ...]
    results: tuple[str, ...]


class Composition(NamedTuple):
    """What a composed function takes, does and returns."""

    arguments: tuple[str, ...]
    calls: tuple[Call, ...]
    results: tuple[str, ...]


def composed(
    name: str,
    module: str,
    arguments: Sequence[str],
    calls: Sequence[Call],
    results: Sequence[str],
) -> Function:
    """A function ``name`` of ``arguments`` that does ``calls`` in their order and returns
    ``results``, a tuple.

    Example::

        composed("twice", __name__, ("x",), [Call(double, ("x",), ("y",))], ("y", "x"))(3)  # (6, 3)
    """
    made = Composition(tuple(arguments), tuple(calls), tuple(results))

    def step(*values: Any) -> tuple[Any, ...]:
        known = dict(zip(made.arguments, values, strict=True))
        for function, given, out in made.calls:
            value = function(*(known[n] for n in given))
            known.update(zip(out, value if len(out) > 1 else (value,), strict=True))
        return tuple(known[n] for n in made.results)

    step.__name__ = step.__qualname__ = name
    step.__module__ = module
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(n, kind) for n in made.arguments])
    step.__signature__ = signature  # type: ignore[attr-defined]  # functions take attributes
    step.composition = made  # type: ignore[attr-defined]  # read by composition()
    return step


def composition(function: Any) -> Composition | None:
    """Of what :func:`composed` made ``function``; None for all others."""
    return getattr(function, "composition", None)
