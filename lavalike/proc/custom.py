"""Processes of neurons of one's own, made from their Dynamics."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import TEXT, arguments, instance, optional
from lavalike.dynamics.dynamics import Dynamics, within
from lavalike.errors import InputError, VarError
from lavalike.proc.neuron import KINDS, Neuron, build, explained, ours

SCALE = 4096  # of states in fixed_pt, as slayer trains them


class CustomNeuron(Neuron):
    """What the classes that :func:`neuron_process` makes have in common.

    Args:
        shape: of the population, and of one message.
        scale: what a state of 1 is in fixed_pt, where ports carry whole numbers of 1/scale. Default
            4096.
        loihi_units: values are fixed_pt's whole numbers in both precisions (netx sets this).
            Default False.
        checked: see :class:`lavalike.proc.LIF`. Default False.
        values: parameters and initial states by name, each one number or one a neuron. Defaults:
            what the Dynamics declares, and 0.
    """

    dynamics: Dynamics

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        scale: float = SCALE,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
        **values: Any,
    ) -> None:
        d, label = type(self).dynamics, type(self).__name__
        if not 0 < scale < float("inf"):
            raise VarError(f"{label}: scale is > 0, got {scale!r}")
        super().__init__(name=name, loihi_units=loihi_units, checked=checked, scale=scale)
        given = {p.name: p.default for p in d.settings if p.default is not None} | values
        names = tuple(p.name for p in d.settings)
        missing = [n for n in names if n not in given]
        unknown = [n for n in values if n not in (*d.state_vars, *names)]
        if missing or unknown:
            raise VarError(
                f"{label}: states {d.state_vars} and parameters {names}; missing {missing}, unknown {unknown}"
            )
        # in floating point whatever the user's type: a parameter may be set to a fraction later
        build(
            self,
            d,
            {
                "shape": shape,
                **{
                    n: v if n in d.state_vars else np.asarray(v, np.float64)
                    for n, v in given.items()
                },
            },
        )
        for p in () if loihi_units else d.parameters:
            try:
                within(p.name, getattr(self, p.name).value, p.low, p.high)
            except ValueError as e:
                raise VarError(f"{label}.{e}") from None


@arguments(dynamics=instance(Dynamics, words="a lavalike.Dynamics"), name=optional(TEXT))
@functools.cache
def neuron_process(dynamics: Dynamics, name: str | None = None) -> type[CustomNeuron]:
    """The process class of ``dynamics``: its ports, a Var for every state and parameter, models
    from every backend.

    Values are in the user's units in both precisions: fixed_pt rounds parameters as their
    ``counts`` tells. It needs ``dynamics.fixed`` and a step of whole numbers; states are not
    wrapped unless the step says so.

    Args:
        dynamics: without ``constants``; its step's parameters are the process's.
        name: of the class. Default: the step's name in CamelCase.

    The same class for the same arguments. See :class:`CustomNeuron` for its arguments.
    """
    who = f"neuron_process({dynamics.name})"
    if dynamics.constants is not None:
        raise InputError(
            f"{who}: a Dynamics with constants derives them from Vars of its own; write the process class, "
            "as lavalike.proc.LIF is written"
        )
    if not dynamics.inputs or not dynamics.outputs:
        raise InputError(
            f"{who}: a process needs an input and an output, got {dynamics.inputs} and {dynamics.outputs}"
        )
    if ours(dynamics.kind):
        raise InputError(
            f"{who}: kind {dynamics.kind!r} is the type of {KINDS[dynamics.kind].__name__} in .net files; choose another"
        )
    own = {"shape", "scale", "loihi_units", "checked", "name"}
    taken = [
        n
        for n in (
            *dynamics.inputs,
            *dynamics.outputs,
            *dynamics.state_vars,
            *(p.name for p in dynamics.settings),
        )
        if n in own
        or (hasattr(CustomNeuron, n) and n not in ("step", "mark", "reset"))
        or n == "proc_params"
    ]
    if taken:
        raise InputError(
            f"{who}: {taken} are names that every process has already; rename them in the step"
        )
    if dynamics.fixed and dynamics.floating:
        raise InputError(
            f"{who}: no fixed-point form has {', '.join(dynamics.floating)}; declare the Dynamics with fixed=False"
        )
    name = name or dynamics.name.title().replace("_", "")
    if not name.isidentifier():
        raise InputError(f"{who}: {name!r} is no name of a class; give name=")
    signature = _signature(dynamics)
    text = f"Made by neuron_process::\n\n{_indented(dynamics)}\n\nArgs:\n{explained(dynamics, signature, {})}"
    return type(
        name,
        (CustomNeuron,),
        {
            "dynamics": dynamics,
            "__doc__": text,
            "__signature__": signature,
            "__module__": dynamics.step.__module__,
        },
    )


def _signature(dynamics: Dynamics) -> inspect.Signature:
    """What an editor completes."""

    def argument(name: str, default: Any, kind: Any = Any) -> inspect.Parameter:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
        )

    none = inspect.Parameter.empty
    return inspect.Signature(
        [
            argument("shape", none, Sequence[int]),
            *(argument(s, 0) for s in dynamics.state_vars),
            *(
                argument(p.name, none if p.default is None else p.default)
                for p in dynamics.settings
            ),
            argument("scale", SCALE, float),
            argument("loihi_units", False, bool),
            argument("checked", False, bool),
            argument("name", None, str | None),
        ]
    )


def _indented(dynamics: Dynamics) -> str:
    try:
        text = dynamics.equation
    except InputError:  # code that runs, though it cannot be shown
        text = dynamics.name
    return "\n".join(f"    {line}" for line in text.splitlines())
