"""Multi-compartment neurons: a tree of membranes, each with a synaptic input, joined by conductances.

    i_k[t] = i_k[t-1] (1 - du_k) + a_k[t]
    v_k[t] = v_k[t-1] + i_k[t] + dv_k (leak_k - v_k[t-1]) + sum_j g_kj (v_j[t-1] - v_k[t-1])

that is c dv/dt = i + g_l (leak - v) + sum g_kj (v_j - v) in steps of dt with dt / c = 1, dv = dt g_l / c, g = dt g_kj / c.
Where a compartment has a threshold, passing it holds its membrane at ``reset`` in that step and ``period`` more. The root (the soma)
spikes while above it; others as they come from below, and a ``reset`` above the threshold is a plateau, as Aamir et al. 2018 make NMDA
spikes of BrainScaleS-2's circuits. In the chip's order of updates (``chip``) the membrane takes the current of the step before.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lavalike.dynamics.dynamics import Constants, Dynamics, within
from lavalike.dynamics.ops import above, both, inject, leak, positive, reset, where
from lavalike.process.units import Units


class Branch(NamedTuple):
    """A compartment as the equations see it; ``parent`` None: the root."""

    name: str
    parent: str | None
    fires: bool


WORDS = {f.__name__: f for f in (above, both, inject, leak, positive, reset, where)}


@functools.cache
def tree_dynamics(tree: tuple[Branch, ...], chip: bool = False, recorded: bool = False) -> Dynamics:
    """The neuron of ``tree``, parents before children, the root first; the same object for the same arguments.

    Inputs ``{name}_in``; output ``s_out``, the root's spikes; states ``i_{name}``, ``v_{name}``, where it fires ``hold_{name}``;
    constants ``keep_``, ``dv_``, ``leak_``, of all but the root ``g_`` (to the parent), where it fires ``vth_``, ``reset_``, ``period_``.

    ``chip``: its order of updates; outputs ``spike_{name}`` too, of others that fire. ``recorded``: inputs ``fired_{name}``, spikes, and
    ``seen_{name}``, membranes at the end of the step, take the place of the equation's, while gradients are the equation's: a spike's at
    the membrane that made it, which the equation gives as the recording has it only after the reset, and none through a reset or a
    membrane that is held. Distances from threshold are multiplied by constants ``per_{name}`` there.
    """
    root = tree[0].name
    states = [
        f"{s}_{b.name}" for b in tree for s in (("i", "v", "hold") if b.fires else ("i", "v"))
    ]
    inputs = [f"{b.name}_in" for b in tree]
    if recorded:
        inputs += [f"fired_{b.name}" for b in tree if b.fires] + [f"seen_{b.name}" for b in tree]
    of_firing = ("vth", "reset", "period", *(("per",) if recorded else ()))
    constants = [
        f"{c}_{b.name}"
        for b in tree
        for c in (
            *(("g",) if b.parent else ()),
            "keep",
            "dv",
            "leak",
            *(of_firing if b.fires else ()),
        )
    ]
    others = [b.name for b in tree[1:] if b.fires] if chip else []
    place = {b.name: str(k) for k, b in enumerate(tree)}
    # the name tells trees apart that have the same arguments: kernels are cached by it
    name = "_".join(
        ["compartments", *(place.get(b.parent or "", "r") + "f" * b.fires for b in tree)]
    )
    name += "_chip" * chip + "_recorded" * recorded
    lines = [f"def {name}({', '.join([*inputs, *states, *constants])}):"]
    currents = [f"    i_{b.name} = leak(i_{b.name}, keep_{b.name}) + {b.name}_in" for b in tree]
    lines += [] if chip else currents
    for b in tree:
        edges = [(f"g_{c.name}", c.name) for c in tree if c.parent == b.name] + (
            [(f"g_{b.name}", b.parent)] if b.parent else []
        )
        coupling = "".join(f" + {g} * (v_{other} - v_{b.name})" for g, other in edges)
        lines.append(
            f"    n_{b.name} = v_{b.name} + i_{b.name} + dv_{b.name} * (leak_{b.name} - v_{b.name}){coupling}"
        )
    lines += currents if chip else []
    for b in tree:
        n = b.name
        if not b.fires:
            lines.append(f"    v_{n} = " + (f"inject(n_{n}, seen_{n})" if recorded else f"n_{n}"))
            continue
        # a plateau that ends above the threshold is no new one
        below = f"v_{n} <= vth_{n}" if b.parent else ""
        lines.append(f"    free_{n} = hold_{n} <= 0")
        if recorded:
            lines.append(f"    n_{n} = where(fired_{n}, n_{n}, inject(n_{n}, seen_{n}))")
        passed = (
            f"above(n_{n} * per_{n}, vth_{n} * per_{n})" if recorded else f"above(n_{n}, vth_{n})"
        )
        spike = f"both({passed}, free_{n})"
        spike = f"both({spike}, {below})" if below else spike
        lines.append(f"    s_{n} = " + (f"inject({spike}, fired_{n})" if recorded else spike))
        held = (
            f"where(s_{n}, seen_{n}, n_{n}), seen_{n}"
            if recorded
            else f"reset(s_{n}, n_{n}, reset_{n}), reset_{n}"
        )
        lines += [
            f"    v_{n} = where(free_{n}, {held})",
            f"    hold_{n} = where(s_{n}, period_{n}, positive(hold_{n} - 1))",
        ]
    lines.append(f"    return {', '.join([f's_{n}' for n in (root, *others)] + states)}")
    source = "\n".join(lines) + "\n"
    file = f"<{name} of {', '.join(place)}>"
    linecache.cache[file] = (
        len(source),
        None,
        source.splitlines(True),
        file,
    )  # for equation and tracebacks
    scope: dict[str, Any] = {**WORDS, "__name__": __name__}
    exec(compile(source, file, "exec"), scope)
    outputs = ("s_out", *(f"spike_{n}" for n in others))
    return Dynamics(
        scope[name],
        tuple(inputs),
        outputs,
        tuple(states),
        functools.partial(_constants, tree),
        fixed=False,
    )


def _constants(
    tree: tuple[Branch, ...], values: Mapping[str, np.ndarray], units: Units, fixed: bool
) -> Constants:
    out: Constants = {}
    for b in tree:
        n = b.name
        out[f"keep_{n}"] = 1 - within(f"du_{n}", values[f"du_{n}"], 0, 1)
        out[f"dv_{n}"] = within(f"dv_{n}", values[f"dv_{n}"], 0, 1)
        out[f"leak_{n}"] = values[f"leak_{n}"]
        if b.parent:
            out[f"g_{n}"] = within(f"g_{n}", values[f"g_{n}"], 0, 1)
        if b.fires:
            out |= {
                f"vth_{n}": values[f"vth_{n}"],
                f"reset_{n}": values[f"reset_{n}"],
                f"period_{n}": within(f"period_{n}", values[f"period_{n}"], 0, np.inf),
            }
    for b in tree:
        total = out[f"dv_{b.name}"] + sum(
            out[f"g_{c.name}"]
            for c in tree
            if c.parent is not None and b.name in (c.name, c.parent)
        )
        if total.max() > 1:
            raise ValueError(
                f"dv_{b.name}: with the conductances at {b.name} it sums to {float(total.max()):.3g}; "
                "above 1 a step overshoots. Count them in shorter steps"
            )
    return out
