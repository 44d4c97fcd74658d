"""Dynamics: a neuron as one pure step and a declaration; every backend derives its model from it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.dynamics import ops

Constants = dict[str, np.ndarray]
Step = Callable[..., Any]


@dataclass(frozen=True)
class Dynamics:
    """A neuron.

    Args:
        step: pure function of named scalars, written with the words of :mod:`lavalike.dynamics.ops`. Its
            arguments are inputs, states and constants by name, and ``t`` (the step, from 1) if it wants
            it; it returns the outputs, then the new states, in the order declared here.
        inputs, outputs: names of InPorts and OutPorts.
        states: names of Vars that a step changes.
        constants: ``(values, params, fixed) -> {name: array}``: the step's constants from the Vars'
            values in the user's units; raises ValueError on a value out of range. ``fixed`` tells the
            arithmetic; without it values may be torch tensors, so use operators. By default the parameter
            Vars as they are.
        per_neuron: constants that commonly differ from neuron to neuron (a backend may specialise).
        accumulators: functions of the step's arguments, each a value that must stay within 24 bits; for
            the overflow check of networks that promise it.
        rests: after a step with zero input that sent nothing, another such step changes nothing; a backend may skip it.
        fixed: whether the equation has a fixed-point form.
    """

    step: Step
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    constants: Callable[[Mapping[str, np.ndarray], Mapping[str, Any], bool], Constants] | None = None
    per_neuron: tuple[str, ...] = ()
    accumulators: tuple[Step, ...] = ()
    rests: bool = False
    fixed: bool = True

    @property
    def arguments(self) -> tuple[str, ...]:
        """The step's argument names, in order."""
        return tuple(inspect.signature(self.step).parameters)

    @property
    def constant_names(self) -> tuple[str, ...]:
        known = {*self.inputs, *self.states, "t"}
        return tuple(a for a in self.arguments if a not in known)

    def derive(self, values: Mapping[str, np.ndarray], params: Mapping[str, Any], fixed: bool) -> Constants:
        """The constants of the step from the Vars' values."""
        if self.constants is not None:
            return self.constants(values, params, fixed)
        return {n: integral(n, values[n]) if fixed else values[n] for n in self.constant_names}


def bind(function: Step, arithmetic: Mapping[str, Step], compile: Callable[[Step], Step] = lambda f: f) -> Step:
    """``function`` with the words of ``ops`` replaced by ``arithmetic``'s, helpers it calls included.

    A helper is a plain Python function found in ``function``'s globals that itself uses such words.
    """
    names = {}
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if value is not None and value is getattr(ops, name, None):
            names[name] = compile(arithmetic[name])
        elif isinstance(value, types.FunctionType) and value.__module__ != ops.__name__ and _uses_ops(value):
            names[name] = bind(value, arithmetic, compile)
    bound = types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__,
                               function.__defaults__, function.__closure__)
    return compile(bound)


def _uses_ops(function: types.FunctionType) -> bool:
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if value is not None and value is getattr(ops, name, None):
            return True
        if isinstance(value, types.FunctionType) and value is not function and _uses_ops(value):
            return True
    return False


def integral(name: str, value: Any, low: int = -(2**31), high: int = 2**31 - 1) -> Any:
    """``value`` (array or tensor) as int64, or ValueError when it is not whole or leaves ``low..high``."""
    with np.errstate(invalid="ignore"):  # too large for an integer: told below
        out = value.astype(np.int64) if isinstance(value, np.ndarray | np.generic) else value.round().long()
    if not bool((out == value).all()):
        bad = value[out != value].flatten()[0]
        raise ValueError(f"{name}: whole numbers are needed, got {bad}")
    return within(name, out, low, high)


def within(name: str, value: Any, low: float, high: float) -> Any:
    """``value`` (array or tensor), or ValueError when an entry lies outside ``low..high``."""
    if value.min() < low or value.max() > high:
        bad = value.min() if value.min() < low else value.max()
        raise ValueError(f"{name}: {bad} is outside {low}..{high}")
    return value
