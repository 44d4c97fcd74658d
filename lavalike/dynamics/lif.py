"""Leaky integrate-and-fire with current (CUBA), as Lava and Loihi compute it (reference: Lava 0.11,
proc/lif).

    u[t] = u[t-1] (1 - du) + a_in[t]
    v[t] = v[t-1] (1 - dv) + u[t] + bias
    s[t] = v[t] > vth;  v[t] = 0 where s[t]

fixed_pt: decays in 1/4096 (du counts from 1: du = 0 still leaks 1/4096), a_in, vth shifted left by
6, u wrapped and v saturated at 24 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lavalike.dynamics.dynamics import Constants, Dynamics, integral, within
from lavalike.dynamics.ops import above, both, clip, leak, reset, where, wrap
from lavalike.dynamics.parameter import SCALE, Parameter, floored
from lavalike.process.units import Units

STATE_BITS = 23


def current(a_in, u, keep_u, gain):
    return leak(u, keep_u) + a_in * gain


def membrane(u, v, keep_v, bias):
    return clip(leak(v, keep_v) + u + bias)


def lif(a_in, u, v, keep_u, keep_v, gain, bias, vth):
    u = wrap(current(a_in, u, keep_u, gain))
    v = membrane(u, v, keep_v, bias)
    s_out = above(v, vth)
    return s_out, u, reset(s_out, v, 0)


def integrate(a_in, u, keep_u):
    u = leak(u, keep_u) + a_in
    return u, u


def fire(a_in, v, keep_v, vth):
    v = membrane(a_in, v, keep_v, 0)
    s_out = above(v, vth)
    return s_out, v, reset(s_out, v, 0)


def integrate_sum(a_in, u, keep_u):
    return leak(u, keep_u) + a_in


def fire_sum(a_in, v, keep_v):
    return leak(v, keep_v) + a_in


def raw_voltage(a_in, u, v, keep_u, keep_v, gain, bias):
    return leak(v, keep_v) + current(a_in, u, keep_u, gain) + bias


def lif_reset(t, a_in, u, v, keep_u, keep_v, gain, bias, vth, interval, offset):
    clear = t % interval == offset
    return lif(a_in, where(clear, 0, u), where(clear, 0, v), keep_u, keep_v, gain, bias, vth)


def lif_refractory(a_in, u, v, hold, keep_u, keep_v, gain, bias, vth, period):
    # v is frozen, not discharged, while the refractory period lasts (Lava 0.11, LIFRefractory);
    # hold counts its steps down, and on below 0, from which the Var tells in which step it ended
    u = wrap(current(a_in, u, keep_u, gain))
    left = hold - 1
    free = left < 0
    v = where(free, membrane(u, v, keep_v, bias), v)
    s_out = both(above(v, vth), free)
    return s_out, u, where(s_out, 0, v), where(s_out, period, left)


def ternary_lif(a_in, u, v, keep_u, keep_v, gain, bias, vth_hi, vth_lo):
    u = wrap(current(a_in, u, keep_u, gain))
    v = membrane(u, v, keep_v, bias)
    up = above(v, vth_hi)
    down = above(-v, -vth_lo)
    return up * 1 - down * 1, u, where(up, 0, where(down, 0, v))


def lif_learning(
    a_in,
    a_third_factor_in,
    u,
    v,
    y1,
    y2,
    y3,
    keep_u,
    keep_v,
    gain,
    bias,
    vth,
    keep_y1,
    y1_impulse,
):
    # what a learning rule may receive from a neuron: its spikes, a trace of them, and a third
    # factor that arrives
    s_out, u, v = lif(a_in, u, v, keep_u, keep_v, gain, bias, vth)
    left = leak(y1, keep_y1)
    y1 = where(s_out, left + y1_impulse, left)
    third = a_third_factor_in * 1
    return s_out, s_out, y1, third, y3, u, v, y1, third, y3


def biased(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    """gain and bias, what all LIFs share: ``bias_mant * 2**bias_exp`` in Loihi's units,
    ``bias_mant`` in the user's."""
    mant = values["bias_mant"]
    if not fixed and not units.loihi:
        return {"gain": np.float64(1), "bias": mant}
    exp = integral("bias_exp", values["bias_exp"], -31, 23)
    if fixed:
        mant = integral("bias_mant", mant)
        bias = floored(mant * 2.0**exp)
        within("bias_mant << bias_exp", bias, 1 - 2**STATE_BITS, 2**STATE_BITS - 1)
        return {"gain": np.int64(SCALE), "bias": bias}
    return {"gain": np.float64(SCALE), "bias": mant * 2.0**exp}


def reset_constants(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    interval = integral("reset_interval", values["reset_interval"], 1)
    offset = integral("reset_offset", values["reset_offset"], 0)
    return biased(values, units, fixed) | {"interval": interval, "offset": offset % interval}


def ternary_constants(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    hi, lo = values["vth_hi"], values["vth_lo"]
    if (lo > hi).any():
        raise ValueError(f"vth_lo: {lo.max()} exceeds vth_hi {hi.min()}")
    return biased(values, units, fixed)


# du counts from 1 in fixed_pt: -1 cancels that, a file's iDecay = 0 is no leak at all
DU = Parameter(
    "du",
    0,
    0,
    1,
    counts="loss",
    argument="keep_u",
    offset=1,
    key="iDecay",
    training="current_decay",
    tau="tau_syn",
    doc="decay of the current; floating_pt in 0..1, fixed_pt integers in 0..4095 (1/4096, and 1 more)",
)
DV = Parameter(
    "dv",
    0,
    0,
    1,
    counts="loss",
    argument="keep_v",
    key="vDecay",
    training="voltage_decay",
    tau="tau_mem",
    doc="decay of the voltage; floating_pt in 0..1, fixed_pt integers in 0..4096 (1/4096)",
)
BIAS = Parameter(
    "bias_mant",
    0,
    trained=True,
    argument="bias",
    per="neuron",
    doc="bias, ``bias_mant * 2**bias_exp`` in fixed_pt, ``bias_mant`` in floating_pt",
)
BIAS_EXP = Parameter("bias_exp", 0, per="neuron", doc="of the bias in fixed_pt, -31..23")
VTH = Parameter(
    "vth",
    10,
    counts="state",
    key="vThMant",
    training="threshold",
    doc="threshold, strict; shifted left by 6 in fixed_pt",
)
LEAKS = (DU, DV, BIAS, BIAS_EXP)
LATE = (DU, DV, replace(BIAS, onset="bias_start"), BIAS_EXP)
INTERVAL = Parameter(
    "reset_interval",
    1,
    1,
    counts="step",
    argument="interval",
    per="one",
    doc="steps from reset to reset",
)
OFFSET = Parameter(
    "reset_offset",
    0,
    counts="step",
    argument="offset",
    per="one",
    doc="the first of these steps, modulo reset_interval",
)
PERIOD = Parameter(
    "refractory_period",
    1,
    1,
    counts="step",
    argument="period",
    per="one",
    tau="refractory_time",
    doc="steps after a spike in which v is frozen",
)
HI = Parameter(
    "vth_hi", 10, counts="state", doc="above it 1 is sent; shifted left by 6 in fixed_pt"
)
LO = Parameter(
    "vth_lo", -10, counts="state", doc="below it -1 is sent; shifted left by 6 in fixed_pt"
)


def _lif(
    step,
    parameters,
    constants=biased,
    states=("u", "v"),
    inputs=("a_in",),
    outputs=("s_out",),
    **kwargs,
) -> Dynamics:
    return Dynamics(
        step,
        inputs,
        outputs,
        states,
        constants,
        per_neuron=("bias",),
        accumulators=(current, raw_voltage),
        parameters=parameters,
        loihi=True,
        **kwargs,
    )


LIF = _lif(lif, (*LEAKS, VTH), kind="CUBA")
LIF_LEARNING = _lif(
    lif_learning,
    (
        *LEAKS,
        VTH,
        Parameter(
            "y1_decay",
            0,
            0,
            1,
            counts="loss",
            argument="keep_y1",
            doc="decay of the trace y1; floating_pt in 0..1, fixed_pt integers in 0..4096 (1/4096)",
        ),
        Parameter("y1_impulse", 1, 0, doc="what y1 grows by at a spike"),
    ),
    states=("u", "v", "y1", "y2", "y3"),
    inputs=("a_in", "a_third_factor_in"),
    outputs=("s_out", "s_out_bap", "s_out_y1", "s_out_y2", "s_out_y3"),
    graded=("s_out_y1", "s_out_y2", "s_out_y3"),
)
# the two halves of a LIF, where something stands between them
INTEGRATE = Dynamics(
    integrate,
    ("a_in",),
    ("u_out",),
    ("u",),
    graded=("u_out",),
    accumulators=(integrate_sum,),
    parameters=(DU,),
    loihi=True,
)
FIRE = Dynamics(
    fire,
    ("a_in",),
    ("s_out", "v_out"),
    ("v",),
    graded=("v_out",),
    accumulators=(fire_sum,),
    parameters=(DV, VTH),
    loihi=True,
)
LIF_RESET = _lif(lif_reset, (*LATE, VTH, INTERVAL, OFFSET), reset_constants)
LIF_LATE_BIAS = _lif(lif, (*LATE, VTH))
LIF_REFRACTORY = _lif(
    lif_refractory,
    (*LEAKS, VTH, PERIOD),
    states=("u", "v", "hold"),
    fixed=False,
    ends=(("hold", "refractory_period_end"),),
)
TERNARY_LIF = _lif(ternary_lif, (*LEAKS, HI, LO), ternary_constants)
