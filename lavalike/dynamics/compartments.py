"""Multi-compartment neurons: a tree of membranes, each with a synaptic input, joined by
conductances.

    i_k[t] = i_k[t-1] (1 - du_k) + a_k[t]
    v_k[t] = v_k[t-1] + i_k[t] + dv_k (leak_k - v_k[t-1]) + sum_j g_kj (v_j[t-1] - v_k[t-1])

that is c dv/dt = i + g_l (leak - v) + sum g_kj (v_j - v) in steps of dt with dt / c = 1, dv = dt
g_l / c, g = dt g_kj / c. Where a compartment has a threshold, passing it holds its membrane at
``reset`` in that step and ``period`` more. The root (the soma) spikes while above it; others as
they come from below, and a ``reset`` above the threshold is a plateau, as Aamir et al. 2018 make
NMDA spikes of BrainScaleS-2's circuits. In the chip's order of updates (``chip``) the membrane
takes the current of the step before.

The equation is :mod:`lavalike.dynamics.adex`'s, of several membranes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.dynamics.adex import DV, Branch, G, parameters, put_together
from lavalike.dynamics.dynamics import Constants, Dynamics
from lavalike.process.units import Units

# of one compartment, as users set it
COMPARTMENT = parameters(Branch("", "", True))


@dataclass(frozen=True)
class Tree(Dynamics):
    """The neuron of :func:`tree_dynamics`, which makes it again where it is copied or pickled: of
    its ``branches``."""

    branches: tuple[Branch, ...] = ()
    chip: bool = False
    recorded: bool = False

    def __reduce__(self) -> Any:
        return tree_dynamics, (self.branches, self.chip, self.recorded)


def tree_dynamics(tree: tuple[Branch, ...], chip: bool = False, recorded: bool = False) -> Dynamics:
    """The neuron of ``tree``, parents before children, the root first; the same object for the same
    arguments.

    Inputs ``{name}_in``; output ``s_out``, the root's spikes; states ``i_{name}``, ``v_{name}``,
    where it fires ``hold_{name}``; constants ``keep_``, ``dv_``, ``leak_``, of all but the root
    ``g_`` (to the parent), where it fires ``vth_``, ``reset_``, ``period_``.

    ``chip``: its order of updates; outputs ``spike_{name}`` too, of others that fire. ``recorded``:
    inputs ``fired_{name}``, spikes, and ``seen_{name}``, membranes at the end of the step, take the
    place of the equation's, while gradients are the equation's ("whole" in
    :data:`lavalike.dynamics.adex.RECORDED`).
    """
    return _tree(tuple(tree), chip, recorded)


@functools.cache
def _tree(tree: tuple[Branch, ...], chip: bool, recorded: bool) -> Dynamics:
    place = {b.name: str(k) for k, b in enumerate(tree)}
    # the name tells trees apart that have the same arguments: kernels are cached by it
    marks = (place.get(b.parent or "", "r") + "f" * b.fires for b in tree)
    name = "_".join(["compartments", *marks, *["chip"] * chip, *["recorded"] * recorded])
    return put_together(
        name,
        __name__,
        tree,
        chip,
        "whole" if recorded else "",
        functools.partial(Tree, branches=tree, chip=chip, recorded=recorded),
        functools.partial(_stable, tree),
    )


def _stable(
    tree: tuple[Branch, ...], values: Mapping[str, np.ndarray], units: Units, fixed: bool
) -> Constants:
    """No constants of its own; ValueError where a step would overshoot."""
    lost = {b.name: _part(DV.name, b, values, units) for b in tree}
    to_parent = {b.name: _part(G.name, b, values, units) for b in tree if b.parent is not None}
    for b in tree:
        joined = [
            to_parent[c.name] for c in tree if c.parent is not None and b.name in (c.name, c.parent)
        ]
        total = lost[b.name] + sum(joined)
        if total.max() > 1:
            raise ValueError(
                f"{b.of('dv')}: with the conductances at {b.name} it sums to {float(total.max()):.3g}; "
                "above 1 a step overshoots. Count them in shorter steps"
            )
    return {}


def _part(word: str, b: Branch, values: Mapping[str, Any], units: Units) -> Any:
    """The constant that is made of a membrane's ``word``, in its range."""
    p = next(p for p in parameters(b) if p.name == b.of(word))
    return p.constant(values, units, False, False)
