"""BrainScaleS-2's neuron: adaptive exponential integrate-and-fire, membranes joined by
conductances, in hxtorch's order of updates.

    v[t] = v[t-1] + gain (i + dv (leak - v) + dv slope exp((v - knee) / slope) - w + sum g_j (v_j - v))    with the old i, v, w
    i[t] = i[t-1] keep + x[t]
    s[t] = v[t] > vth, and not refractory
    w[t] = w[t-1] keep_w + pull (v[t] - e_adapt) + jump s[t]              v before the reset, s before refractoriness
    v[t] = reset where s[t], and while refractory
    hold[t] = period where s[t], else one less

gain = dt / c, dv = c / tau_mem, keep = 1 - dt / tau, pull = a dt / tau_w; a membrane that does not
leak is without dv (leak - v), one without gain counts with dt / c = 1, so that dv = dt / tau_mem.
With gain = 1 - exp(-dt / tau_mem), dv = 1 and keep = exp(-dt / tau_syn) it is hxtorch's older
exponential form. Membranes begin at leak. The exponent ends at 60, where float32 would overflow and
the neuron has long fired. Every term is a function here; :func:`membrane` says which of them, one
after another, make a membrane's step, and :func:`put_together` makes a neuron of one or more.

What a chip recorded takes the place of spikes or membranes: their value is the recorded one, their
gradient the model's (see :data:`RECORDED`).

EventProp (Wunderlich and Pehle 2021) as hxtorch discretises it has the same membrane: its current
is updated first and counted one step later. Backward, :data:`ADJOINT` runs over the steps in
reverse.
"""  # noqa: W505

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lavalike.dynamics.composition import Call, composed
from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.ops import above, both, exp, inject, leak, lesser, positive, reset, where
from lavalike.dynamics.parameter import Parameter


class Branch(NamedTuple):
    """A membrane as the equations see it.

    Args:
        name: behind the names of its states and constants, ``v_{name}``; "": of a neuron of one
            membrane, ``v``.
        parent: the one it is joined to; None: the root, whose spikes the neuron sends.
        fires: it has a threshold and a reset.
        refractory, leaky, exponential, adapting, gain: which terms it has.
        noted: its adaptation current was recorded, too.
    """

    name: str = ""
    parent: str | None = None
    fires: bool = True
    refractory: bool = True
    leaky: bool = True
    exponential: bool = False
    adapting: bool = False
    gain: bool = False
    noted: bool = False

    def of(self, word: str) -> str:
        """The name of its state, input or constant ``word``."""
        return f"{word}_{self.name}" if self.name else word


# -- the equation ----------------------------------------------------------------------------------


def current(x, i, keep):
    return leak(i, keep) + x


def moved(i, v):
    return v + i


def gained(flow, v, gain):
    return v + gain * flow


def leaking(flow, v, dv, leak):
    return flow + dv * (leak - v)


def rising(flow, v, dv, slope, knee):
    return flow + dv * slope * exp(lesser((v - knee) / slope, 60.0))


def adapted(flow, w):
    return flow - w


def joined(flow, v, g, other):
    return flow + g * (other - v)


def passed(v, vth):
    return above(v, vth)


def entered(v, before, vth):
    return both(
        above(v, vth), before <= vth
    )  # a plateau that ends above the threshold is no new one


def adapting(w, v, keep_w, pull, e_adapt):
    return leak(w, keep_w) + pull * (v - e_adapt)


def jumping(w, v, s, keep_w, pull, e_adapt, jump):
    return leak(w, keep_w) + pull * (v - e_adapt) + jump * s


def held(v, hold, to):
    return where(hold <= 0, v, to)


def free(s, hold):
    return both(s, hold <= 0)


def counted(hold, s, period):
    return where(s, period, positive(hold - 1))


def unreset(v, fired, seen):
    return where(fired, v, inject(v, seen))


def settled(v, s, hold, seen):
    return where(hold <= 0, where(s, seen, v), seen)


# -- what its numbers are --------------------------------------------------------------------------

DU = Parameter(
    "du",
    0.1,
    0,
    1,
    counts="loss",
    argument="keep",
    tau="tau_syn",
    doc="decay of the synaptic current, dt / tau",
)
DV = Parameter(
    "dv",
    0.1,
    0,
    1,
    tau="tau_mem",
    doc="decay of the membrane, dt / tau; with a gain c / tau",
)
LEAK = Parameter("leak", 0, doc="what the membrane decays to")
G = Parameter(
    "g", 0.1, 0, 1, tau="tau_icc", doc="conductance to the parent, dt / tau of the exchange"
)
VTH = Parameter("vth", None, doc="threshold, strict")
RESET = Parameter("reset", 0, doc="where the membrane is held after the threshold was passed")
PERIOD = Parameter(
    "period",
    0,
    0,
    counts="step",
    tau="refractory_time",
    doc="for how many steps more it is held",
)
GAIN = Parameter("gain", 1, doc="dt / c, what a current of 1 raises the membrane by in a step")
SLOPE = Parameter("slope", 1, doc="of the exponential current")
KNEE = Parameter("knee", 1, doc="where the exponential current is dv slope")
DW = Parameter(
    "dw",
    0.01,
    0,
    1,
    counts="loss",
    argument="keep_w",
    tau="tau_adap",
    doc="decay of the adaptation current, dt / tau",
)
PULL = Parameter("pull", 0, doc="a dt / tau, what w gains from the membrane above e_adapt")
E_ADAPT = Parameter("e_adapt", 0, doc="the voltage that w is pulled from")
JUMP = Parameter("jump", 0, doc="what a spike adds to w")


def parameters(b: Branch) -> tuple[Parameter, ...]:
    """What a user sets of a membrane, under the names it has in the neuron."""
    found = (
        *[GAIN] * b.gain,
        *[G] * (b.parent is not None),
        DU,
        *[DV] * (b.leaky or b.exponential),
        *[LEAK] * b.leaky,
        *[SLOPE, KNEE] * b.exponential,
        *[DW, PULL, E_ADAPT, *[JUMP] * b.fires] * b.adapting,
        *[VTH, RESET, *[PERIOD] * b.refractory] * b.fires,
    )
    return tuple(replace(p, name=b.of(p.name), argument=b.of(p.argument)) for p in found)


# -- put together ----------------------------------------------------------------------------------

RECORDED = ("", "spikes", "membrane", "both", "whole")
"""What a chip recorded of a neuron. Of "spikes", "membrane" or "both" hxtorch's injection: a spike's gradient is taken where the recorded
membrane is, whose resets are in the recording. "whole": both of every membrane, and a spike's gradient is taken at the membrane that made
it, which the equation gives as the recording has it only after the reset; none passes through a reset or a membrane that is held."""  # noqa: W505


@dataclass(frozen=True)
class Membrane:
    """What one membrane has in the step: names of its inputs, states, output and new values, and
    the calls that make them.

    ``flows`` take every membrane's old voltage, and come before any ``ends``; ``result``: its
    spikes, of others than the root "" where it does not fire, else its voltage.
    """

    inputs: tuple[str, ...]
    states: tuple[str, ...]
    made: tuple[str, ...]
    result: str
    flows: tuple[Call, ...]
    current: Call
    ends: tuple[Call, ...]


def membrane(b: Branch, tree: Sequence[Branch], recorded: str = "") -> Membrane:
    """The membrane ``b`` of ``tree``, the root first."""
    i, v, w, hold = (b.of(n) for n in ("i", "v", "w", "hold"))
    x = f"{b.name}_in" if b.name else "a_in"
    fired, seen = b.of("fired"), b.of("seen")
    whole = recorded == "whole"
    sees_spikes = b.fires and recorded in ("spikes", "both", "whole")
    sees_membrane = recorded in ("membrane", "both", "whole")
    # the old voltage is needed until all others have their flow
    new = v if len(tree) == 1 else b.of("n")
    spike = "s_out" if b.parent is None else f"spike_{b.name}"

    flows: list[Call] = []
    flow = i

    def add(term: Callable[..., Any], *arguments: str) -> None:
        nonlocal flow
        more = (
            f"flow {len(flows)} of {b.name}"  # no name of Python's, so none of a state or constant
        )
        flows.append(Call(term, (flow, *arguments), (more,)))
        flow = more

    if not b.gain:
        add(moved, v)

    if b.leaky:
        add(leaking, v, b.of("dv"), b.of("leak"))
    if b.exponential:
        add(rising, v, b.of("dv"), b.of("slope"), b.of("knee"))
    if b.adapting:
        add(adapted, w)
    for c in tree:
        if c.parent is not None and c.parent == b.name:
            add(joined, v, c.of("g"), c.of("v"))
    if b.parent is not None:
        add(joined, v, b.of("g"), next(p for p in tree if p.name == b.parent).of("v"))
    if b.gain:
        add(gained, v, b.of("gain"))
    flows[-1] = flows[-1]._replace(results=(new,))

    ends: list[Call] = []

    def end(function: Callable[..., Any], *arguments: str) -> None:
        """It changes what its first argument names."""
        ends.append(Call(function, arguments, (arguments[0],)))

    if sees_membrane and not (whole and b.fires):
        end(inject, new, seen)
    elif sees_membrane:
        end(unreset, new, fired, seen)
    if b.fires:
        if b.parent is not None:
            ends.append(Call(entered, (new, v, b.of("vth")), (spike,)))
        else:
            ends.append(Call(passed, (new, b.of("vth")), (spike,)))
    if sees_spikes and not whole:
        end(inject, spike, fired)
    if b.adapting:
        constants = tuple(b.of(n) for n in ("keep_w", "pull", "e_adapt"))
        if b.fires:
            end(jumping, w, new, spike, *constants, b.of("jump"))
        else:
            end(adapting, w, new, *constants)
        if b.noted:
            end(inject, w, b.of("noted"))
    if b.fires and not sees_membrane:
        ends.append(Call(reset, (spike, new, b.of("reset")), (new,)))
    if b.fires and b.refractory:
        if not whole:
            end(held, new, hold, b.of("reset"))
            if sees_membrane:
                end(inject, new, seen)
        end(free, spike, hold)
        if sees_spikes:
            end(inject, spike, fired)
        if whole:
            end(settled, new, spike, hold, seen)
        end(counted, hold, spike, b.of("period"))
    more = (*[w] * b.adapting, *[hold] * (b.fires and b.refractory))
    return Membrane(
        (x, *[fired] * sees_spikes, *[seen] * sees_membrane, *[b.of("noted")] * b.noted),
        (i, v, *more),
        (i, new, *more),
        spike if b.fires else new if b.parent is None else "",
        tuple(flows),
        Call(current, (x, i, b.of("keep")), (i,)),
        tuple(ends),
    )


def put_together(
    name: str,
    module: str,
    tree: Sequence[Branch],
    chip: bool,
    recorded: str,
    make: Callable[..., Dynamics] = Dynamics,
    constants: Callable[..., Any] | None = None,
) -> Dynamics:
    """The neuron of ``tree``, parents before children, the root first.

    Args:
        name, module: of the step, by which kernels are cached: two steps of one name are one.
        chip: the chip's order of updates, and outputs ``spike_{name}`` of other membranes that
            fire. Else each membrane takes the current of its own step.
        recorded: one of :data:`RECORDED`.
        make: makes the :class:`Dynamics`.
        constants: of it.
    """
    parts = [membrane(b, tree, recorded) for b in tree]
    currents = [p.current for p in parts]
    flows = [c for p in parts for c in p.flows]
    calls = [*flows, *currents] if chip else [*currents, *flows]
    calls += [c for p in parts for c in p.ends]
    sent = [p.result for p in parts[: None if chip else 1] if p.result]
    inputs, states, made = (
        tuple(n for p in parts for n in getattr(p, kind)) for kind in ("inputs", "states", "made")
    )
    known = {*inputs, *states, *(n for c in calls for n in c.results)}
    numbers = dict.fromkeys(n for c in calls for n in c.arguments if n not in known)
    step = composed(name, module, (*inputs, *states, *numbers), calls, (*sent, *made))
    root = "s_out" if tree[0].fires else "v_out"
    return make(
        step,
        inputs,
        (root, *sent[1:]),
        states,
        fixed=False,
        graded=() if tree[0].fires else (root,),
        parameters=tuple(p for b in tree for p in parameters(b) if p.argument in numbers),
        constants=constants,
    )


@functools.cache
def neuron(
    fire: bool = True,
    refractory: bool = False,
    exponential: bool = False,
    adapting: bool = False,
    spikes: bool = False,
    membrane: bool = False,
    leaky: bool = True,
    adaptation: bool = False,
) -> Dynamics:
    """The neuron of one membrane with the chosen terms, in the chip's order; the same object for
    the same choice.

    Input ``a_in``, with ``spikes`` also ``fired``, with ``membrane`` ``seen``, with ``adaptation``
    ``noted``: the recorded ones.
    Output ``s_out``; without ``fire`` ``v_out``. States ``i``, ``v``, with ``adapting`` ``w``, with
    ``refractory`` ``hold`` (in steps). Constants: see the module.
    """
    held, spikes = fire and refractory, fire and spikes
    flags = {
        "refractory": held,
        "exponential": exponential,
        "adapting": adapting,
        "spikes": spikes,
        "membrane": membrane,
        "leakless": not leaky,
        "noted": adaptation,
    }
    name = "_".join(["bss2", "lif" if fire else "li", *(n for n, on in flags.items() if on)])
    recorded = "both" if spikes and membrane else "spikes" * spikes + "membrane" * membrane
    branch = Branch("", None, fire, held, leaky, exponential, adapting, True, adaptation)
    return put_together(name, __name__, (branch,), True, recorded)


def adjoint(s, i, grad, lam_i, lam_v, rate, rate_syn, e_leak, vth, v_reset):
    """One step of EventProp's backward pass: of step t the spike and the gradient that reaches it,
    of the step before it the current."""
    drive = e_leak + i
    below, after = drive - vth, drive - v_reset
    jump = where(
        below == 0, 0, 1 / where(below == 0, 1, below)
    )  # a spike at zero slope passes nothing
    new_i = lam_i + rate_syn * (lam_v - lam_i)
    decayed = lam_v - rate * lam_v
    new_v = where(s, after * jump * decayed + jump * grad, decayed)
    return new_v - new_i, new_i, new_v


ADJOINT = Dynamics(
    adjoint, ("s", "i", "grad"), ("down",), ("lam_i", "lam_v"), fixed=False, graded=("down",)
)
