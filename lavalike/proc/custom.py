"""Processes of neurons of one's own, made from their Dynamics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import TEXT, arguments, instance, optional
from lavalike.dynamics.dynamics import Dynamics, within
from lavalike.errors import InputError, VarError
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var

SCALE = 4096  # of states in fixed_pt, as slayer trains them


class CustomNeuron(AbstractProcess):
    """What the classes that :func:`neuron_process` makes have in common.

    Args:
        shape: of the population, and of one message.
        scale: what a state of 1 is in fixed_pt, where ports carry whole numbers of 1/scale. Default 4096.
        checked: see :class:`lavalike.proc.LIF`. Default False.
        values: parameters and initial states by name, each one number or one a neuron. Defaults: what the Dynamics declares,
            and 0.
    """

    dynamics: Dynamics

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], scale: float = SCALE, checked: bool = False, name: str | None = None,
                 **values: Any) -> None:
        d, label = type(self).dynamics, type(self).__name__
        if not 0 < scale < float("inf"):
            raise VarError(f"{label}: scale is > 0, got {scale!r}")
        super().__init__(name=name, checked=checked, scale=scale)
        for port in d.inputs:
            setattr(self, port, InPort(shape))
        for port in d.outputs:
            setattr(self, port, OutPort(shape))
        self.shape = self.out_ports[0].shape
        known = {p.name: p for p in d.parameters}
        given = {n: p.default for n, p in known.items()} | values
        missing = [n for n in d.constant_names if n not in given]
        states = [dict(d.ends).get(state, state) for state in d.states]
        unknown = [n for n in values if n not in (*states, *d.constant_names)]
        if missing or unknown:
            raise VarError(f"{label}: states {tuple(states)} and parameters {d.constant_names}; missing {missing}, unknown {unknown}")
        for state in states:
            setattr(self, state, Var(self.shape, values.get(state, 0)))
        for n in d.constant_names:
            var = parameter(self.shape, np.asarray(given[n], np.float64), trainable=n in known and known[n].trained)
            if n in known:
                try:
                    within(n, var.value, known[n].low, known[n].high)
                except ValueError as e:
                    raise VarError(f"{label}.{e}") from None
            setattr(self, n, var)


@arguments(dynamics=instance(Dynamics, words="a lavalike.Dynamics"), name=optional(TEXT))
@functools.cache
def neuron_process(dynamics: Dynamics, name: str | None = None) -> type[CustomNeuron]:
    """The process class of ``dynamics``: its ports, a Var for every state and parameter, models from every backend.

    Values are in the user's units in both precisions: fixed_pt rounds parameters as their ``counts`` tells. It needs
    ``dynamics.fixed`` and a step of whole numbers; states are not wrapped unless the step says so.

    Args:
        dynamics: without ``constants``; its step's parameters are the process's.
        name: of the class. Default: the step's name in CamelCase.

    The same class for the same arguments. See :class:`CustomNeuron` for its arguments.
    """
    who = f"neuron_process({dynamics.name})"
    if dynamics.constants is not None:
        raise InputError(f"{who}: a Dynamics with constants derives them from Vars of its own; write the process class, "
                         "as lavalike.proc.LIF is written")
    if not dynamics.inputs or not dynamics.outputs:
        raise InputError(f"{who}: a process needs an input and an output, got {dynamics.inputs} and {dynamics.outputs}")
    own = {"shape", "scale", "checked", "name"}
    taken = [n for n in (*dynamics.inputs, *dynamics.outputs, *dynamics.states, *dynamics.constant_names)
             if n in own or (hasattr(CustomNeuron, n) and n not in ("step", "mark", "reset")) or n == "proc_params"]
    if taken:
        raise InputError(f"{who}: {taken} are names that every process has already; rename them in the step")
    if dynamics.fixed and dynamics.floating:
        raise InputError(f"{who}: no fixed-point form has {', '.join(dynamics.floating)}; declare the Dynamics with fixed=False")
    name = name or dynamics.name.title().replace("_", "")
    if not name.isidentifier():
        raise InputError(f"{who}: {name!r} is no name of a class; give name=")
    return type(name, (CustomNeuron,), {"dynamics": dynamics, "__doc__": f"Made by neuron_process::\n\n{_indented(dynamics)}",
                                        "__module__": dynamics.step.__module__})


def _indented(dynamics: Dynamics) -> str:
    try:
        text = dynamics.equation
    except InputError:  # code that runs, though it cannot be shown
        text = dynamics.name
    return "\n".join(f"    {line}" for line in text.splitlines())
