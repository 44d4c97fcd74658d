"""BrainScaleS-2's neuron: adaptive exponential integrate-and-fire in the order of updates that hxtorch simulates it.

    dv   = gain (i + g (e_leak - v) + g slope exp((v - knee) / slope) - w)      with the old i, v, w
    i[t] = i[t-1] keep_syn + x[t]
    v[t] = v[t-1] + dv
    s[t] = v[t] > vth, and not refractory
    w[t] = w[t-1] keep_w + pull (v[t] - e_adapt) + jump s[t]                    v before the reset, s before refractoriness
    v[t] = v_reset where s[t], and while refractory
    hold[t] = period where s[t], else one less

gain = dt / c, g = c / tau_mem, keep = 1 - dt / tau, pull = a dt / tau_w; a neuron that does not leak is without g (e_leak - v). With
gain = 1 - exp(-dt / tau_mem), g = 1 and keep_syn = exp(-dt / tau_syn) it is hxtorch's older exponential form. Membranes begin at e_leak.
The exponent ends at 60, where float32 would overflow and the neuron has long fired.

What a chip recorded takes the place of spikes or membranes: their value is the recorded one, their gradient the model's. Where
membranes are recorded the reset is in the recording.

EventProp (Wunderlich and Pehle 2021) as hxtorch discretises it has the same membrane: its current is updated first and counted one step
later. Backward, :data:`ADJOINT` runs over the steps in reverse.
"""

from __future__ import annotations

import functools
import linecache
from typing import Any

from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.ops import above, both, exp, inject, leak, lesser, positive, reset, where

WORDS = {f.__name__: f for f in (above, both, exp, inject, leak, lesser, positive, reset, where)}


@functools.cache
def neuron(
    fire: bool = True,
    refractory: bool = False,
    exponential: bool = False,
    adapting: bool = False,
    spikes: bool = False,
    membrane: bool = False,
    leaky: bool = True,
) -> Dynamics:
    """The neuron with the chosen terms; the same object for the same choice.

    Input ``x``, with ``spikes`` also ``s_rec``, with ``membrane`` ``v_rec``: the recorded ones. Output ``s_out``; without ``fire``
    ``v_out``. States ``i``, ``v``, with ``adapting`` ``w``, with ``refractory`` ``hold`` (in steps). Constants: see the module.
    """
    states = ["i", "v", *["w"] * adapting, *["hold"] * (fire and refractory)]
    inputs = ["x", *["s_rec"] * (fire and spikes), *["v_rec"] * membrane]
    constants = [
        "gain",
        *["g"] * (leaky or exponential),
        *["e_leak"] * leaky,
        "keep_syn",
        *["slope", "knee"] * exponential,
        *["keep_w", "pull", "e_adapt", *["jump"] * fire] * adapting,
        *["vth", "v_reset"] * fire,
        *["period"] * (fire and refractory),
    ]
    rise = " + g * slope * exp(lesser((v - knee) / slope, 60.0))" * exponential
    fall = " + g * (e_leak - v)" * leaky
    lines = [
        f"dv = gain * (i{fall}{rise}{' - w' * adapting})",
        "i = leak(i, keep_syn) + x",
        "v = v + dv",
    ]
    if membrane:
        lines.append("v = inject(v, v_rec)")
    if fire:
        lines.append("s_out = above(v, vth)")
        if spikes:
            lines.append("s_out = inject(s_out, s_rec)")
    if adapting:
        lines.append(f"w = leak(w, keep_w) + pull * (v - e_adapt){' + jump * s_out' * fire}")
    if fire and not membrane:
        lines.append("v = reset(s_out, v, v_reset)")
    if fire and refractory:
        lines += [
            "free = hold <= 0",
            "v = where(free, v, v_reset)",
            *["v = inject(v, v_rec)"] * membrane,
            "s_out = both(s_out, free)",
            *["s_out = inject(s_out, s_rec)"] * spikes,
            "hold = where(s_out, period, positive(hold - 1))",
        ]
    flags = "".join(
        n
        for n, on in (
            ("_refractory", fire and refractory),
            ("_exponential", exponential),
            ("_adapting", adapting),
            ("_spikes", fire and spikes),
            ("_membrane", membrane),
            ("_leakless", not leaky),
        )
        if on
    )
    name = f"bss2_{'lif' if fire else 'li'}{flags}"
    return _written(
        name,
        lines,
        inputs,
        "s_out" if fire else "v",
        states,
        constants,
        "s_out" if fire else "v_out",
    )


def adjoint(s, i, grad, lam_i, lam_v, rate, rate_syn, e_leak, vth, v_reset):
    """One step of EventProp's backward pass: of step t the spike and the gradient that reaches it, of the step before it the current."""
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


def _written(
    name: str,
    lines: list[str],
    inputs: list[str],
    result: str,
    states: list[str],
    constants: list[str],
    output: str,
) -> Dynamics:
    head = f"def {name}({', '.join([*inputs, *states, *constants])}):"
    source = "\n    ".join([head, *lines, f"return {', '.join([result, *states])}"]) + "\n"
    file = f"<{name}>"
    linecache.cache[file] = (
        len(source),
        None,
        source.splitlines(True),
        file,
    )  # for equation and tracebacks
    scope: dict[str, Any] = {**WORDS, "__name__": __name__}
    exec(compile(source, file, "exec"), scope)
    return Dynamics(
        scope[name],
        tuple(inputs),
        (output,),
        tuple(states),
        fixed=False,
        graded=() if output == "s_out" else (output,),
    )
