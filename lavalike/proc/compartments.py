"""Neurons of several compartments. Equations: :mod:`lavalike.dynamics.compartments`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lavalike.arguments import TEXT, Rule, arguments, numbers, optional
from lavalike.dynamics.adex import Branch, parameters
from lavalike.dynamics.compartments import COMPARTMENT, tree_dynamics
from lavalike.errors import VarError
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var

# what stands before a compartment's name in the equation
WORDS = ("i", "v", "hold", "seen", "fired", "n", "spike", *(p.name for p in COMPARTMENT))
WORDS += tuple(p.argument for p in COMPARTMENT)
FIELDS = {"vth": "threshold"}  # of a Compartment, where it calls a parameter otherwise


@arguments(
    error=VarError,
    parent=optional(TEXT),
    **{
        FIELDS.get(p.name, p.name): numbers() if p.default is not None else optional(numbers())
        for p in COMPARTMENT
    },
)
@dataclass(frozen=True)
class Compartment:
    """One membrane of a neuron. Numbers are one for the population or one a neuron; conductances
    and decays count per step.

    Example:
        >>> apical = proc.Compartment("soma", g=0.05, dv=0.05)
        >>> tree = {"soma": proc.Compartment(threshold=1.0), "apical": apical}
        >>> [port.name for port in proc.MultiCompartment(shape=(10,), tree=tree).in_ports]
        ['soma_in', 'apical_in']

    Args:
        parent: the compartment it is joined to; None: the soma, whose spikes the neuron sends.
            Default None.
        g: conductance to the parent, dt / tau of the exchange, in 0..1. Default 0.1; the soma has
            none.
        du, dv: decays of synaptic current and membrane, dt / tau, in 0..1. Default 0.1.
        leak: what the membrane decays to. Default 0.
        threshold: None: it never fires. Default None.
        reset: where it is held then; above ``threshold`` on a dendrite: a plateau. Default 0.
        period: for how many steps more, a whole number. Default 0.
    """

    parent: str | None = None
    g: Any = 0.1
    du: Any = 0.1
    dv: Any = 0.1
    leak: Any = 0
    threshold: Any = None
    reset: Any = 0
    period: Any = 0


class MultiCompartment(AbstractProcess):
    """A population of neurons, each a tree of compartments; floating_pt.

    Args:
        shape: of the population, and of one message on every port.
        tree: compartments by name; one has no parent and a threshold, the soma.

    Ports: ``{name}_in`` for every compartment, ``s_out``. Vars: states ``v_{name}``, ``i_{name}``,
    ``hold_{name}``, parameters ``g_``, ``du_``, ``dv_``, ``leak_``, ``vth_``, ``reset_``,
    ``period_{name}``. In each compartment dv and all conductances sum to at most 1 (VarError when
    it is compiled).

    Example::

        MultiCompartment(shape=(10,), tree={"soma": Compartment(threshold=1.0),
                                            "apical": Compartment("soma", g=0.05, threshold=1.0, reset=2.0, period=20)})
    """  # noqa: W505

    @arguments(
        error=VarError,
        tree=Rule(
            "a dict of Compartments",
            lambda v: (
                isinstance(v, Mapping) and all(isinstance(c, Compartment) for c in v.values())
            ),
            lambda v: len(v) > 0,
        ),
    )
    def __init__(
        self, *, shape: Sequence[int], tree: Mapping[str, Compartment], name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.tree = dict(tree)
        self.branches = _ordered(self.tree)
        self.dynamics = tree_dynamics(self.branches)
        for b in self.branches:
            setattr(self, f"{b.name}_in", InPort(shape))
        self.s_out = OutPort(shape)
        self.shape = self.s_out.shape
        for state in self.dynamics.states:
            setattr(self, state, Var(self.shape, 0))
        for b in self.branches:
            of = {b.of(p.name): FIELDS.get(p.name, p.name) for p in COMPARTMENT}
            for p in parameters(b):
                value = getattr(self.tree[b.name], of[p.name])
                setattr(self, p.name, parameter(self.shape, value))


def _ordered(tree: Mapping[str, Compartment]) -> tuple[Branch, ...]:
    """Parents first; VarError where it is no tree with one soma."""
    roots = [n for n, c in tree.items() if c.parent is None]
    if len(roots) != 1:
        raise VarError(
            f"MultiCompartment: one compartment has no parent, the soma; here {roots or 'none'} of {list(tree)}"
        )
    if tree[roots[0]].threshold is None:
        raise VarError(
            f"MultiCompartment: the soma {roots[0]!r} needs a threshold; the neuron sends its spikes"
        )
    for n, c in tree.items():
        if not isinstance(n, str) or not n.isidentifier():
            raise VarError(
                f"MultiCompartment: compartment {n!r}: a name is an identifier, as it becomes part of the ports' names"
            )
        other = next((m for m in tree for word in WORDS if f"{n}_in" == f"{word}_{m}"), None)
        if other is not None:
            raise VarError(
                f"MultiCompartment: compartments {n!r} and {other!r}: the port {n}_in has the name of a Var; choose another"
            )
        if c.parent is not None and c.parent not in tree:
            raise VarError(
                f"MultiCompartment: compartment {n!r} has parent {c.parent!r}; there are {list(tree)}"
            )
    done = roots
    while more := [n for n, c in tree.items() if n not in done and c.parent in done]:
        done = done + more
    if len(done) < len(tree):
        raise VarError(
            f"MultiCompartment: {sorted(set(tree) - set(done))} are joined to each other, not to the soma {roots[0]!r}"
        )
    return tuple(Branch(n, tree[n].parent, tree[n].threshold is not None) for n in done)
