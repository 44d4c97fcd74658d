"""Neurons whose threshold rises with every spike and falls back, as slayer computes them
(reference: lava-dl 0.6).

    theta[t]  = vth + offset[t];  offset[t] = offset[t-1] (1 - d_theta)
    r[t]      = r[t-1] (1 - d_r)
    s[t]      = v[t] >= theta[t] + r[t];  then offset += step, r += 2 theta where s

ATRLIF (reference: Lava 0.11, proc/atrlif): the same with theta itself as the state, theta[t] -
theta_0 = (theta[t-1] - theta_0) (1 - delta_theta), its current i without the bias, which adds to v.
Its decays are fractions in fixed_pt too: that of i keeps its fraction of 1/4096, those of the
others lose it; theta begins at theta_0, whatever it was.

ALIF: v is that of a LIF (:mod:`lavalike.dynamics.lif`) that is not reset, and the bias adds to its
current. ADRF, ADRF_IZ: the states of a resonator (:mod:`lavalike.dynamics.resonator`); ADRF spikes
where real >= theta + r as imag passes zero upwards, ADRF_IZ where imag >= theta + r; neither is
reset.

fixed_pt: decays in 1/4096, products rounded toward zero; threshold and step shifted left as inputs
are. Neither is negative, so offset and r stay below the step and twice the state that spiked.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lavalike.dynamics.dynamics import Dynamics, within
from lavalike.dynamics.lif import (
    BIAS,
    BIAS_EXP,
    LATE,
    LEAKS,
    VTH,
    biased,
    current,
    membrane,
    raw_voltage,
)
from lavalike.dynamics.ops import crosses, leak, reaches, where, wrap
from lavalike.dynamics.parameter import DECAY, SCALE, Parameter
from lavalike.dynamics.resonator import RESONATOR, imag_sum, real_sum, rf_constants, rotate


def relax(offset, r, keep_theta, keep_r, vth):
    """(offset, r, the threshold they make)"""
    offset = leak(offset, keep_theta)
    r = leak(r, keep_r)
    return offset, r, vth + offset + r


def adapt(s, offset, r, vth, step):
    """(offset, r) after ``s``; r rises by the threshold that was met, before its own step."""
    return where(s, offset + step, offset), where(s, r + 2 * (vth + offset), r)


def biased_current(a_in, u, keep_u, gain, bias):
    return current(a_in, u, keep_u, gain) + bias


def alif(a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step):
    u = wrap(biased_current(a_in, u, keep_u, gain, bias))
    v = membrane(u, v, keep_v, 0)
    offset, r, theta = relax(offset, r, keep_theta, keep_r, vth)
    s_out = reaches(v, theta)
    offset, r = adapt(s_out, offset, r, vth, step)
    return s_out, u, v, offset, r


def atrlif(
    t,
    a_in,
    i,
    v,
    theta,
    r,
    s,
    keep_i,
    keep_v,
    keep_theta,
    keep_r,
    gain,
    bias,
    theta_0,
    step,
    begins,
):
    i = wrap(current(a_in, i, keep_i, gain))
    v = membrane(i, v, keep_v, bias)
    offset = where(t > begins, theta - theta_0, 0)
    offset, r, limit = relax(offset, r, keep_theta, keep_r, theta_0)
    s = reaches(v, limit)
    offset, r = adapt(s, offset, r, theta_0, step)
    return s, i, v, theta_0 + offset, r, s


def atrlif_current(a_in, i, keep_i, gain):
    return current(a_in, i, keep_i, gain)


def atrlif_voltage(a_in, i, v, keep_i, keep_v, gain, bias):
    return raw_voltage(a_in, i, v, keep_i, keep_v, gain, bias)


def adrf(
    a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step
):
    new_real, new_imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    offset, r, theta = relax(offset, r, keep_theta, keep_r, vth)
    s_out = crosses(new_real, new_imag, imag, theta)
    offset, r = adapt(s_out, offset, r, vth, step)
    return s_out, new_real, new_imag, offset, r


def adrf_iz(
    a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step
):
    real, imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    offset, r, theta = relax(offset, r, keep_theta, keep_r, vth)
    s_out = reaches(imag, theta)
    offset, r = adapt(s_out, offset, r, vth, step)
    return s_out, real, imag, offset, r


def alif_seen(a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step):
    rise, refractory, _ = relax(offset, r, keep_theta, keep_r, vth)
    s_out, u, v, offset, r = alif(
        a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step
    )
    return s_out, u, v, vth + rise, refractory, u, v, offset, r


def adrf_seen(
    a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step
):
    rise, refractory, _ = relax(offset, r, keep_theta, keep_r, vth)
    s_out, real, imag, offset, r = adrf(
        a_real_in,
        a_imag_in,
        real,
        imag,
        offset,
        r,
        cos,
        sin,
        bits,
        keep_theta,
        keep_r,
        gain,
        vth,
        step,
    )
    return s_out, real, imag, vth + rise, refractory, real, imag, offset, r


def adrf_iz_seen(
    a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step
):
    rise, refractory, _ = relax(offset, r, keep_theta, keep_r, vth)
    s_out, real, imag, offset, r = adrf_iz(
        a_real_in,
        a_imag_in,
        real,
        imag,
        offset,
        r,
        cos,
        sin,
        bits,
        keep_theta,
        keep_r,
        gain,
        vth,
        step,
    )
    return s_out, real, imag, vth + rise, refractory, real, imag, offset, r


def follow(v_in, offset, r, keep_theta, keep_r, vth, step):
    rise, refractory, theta = relax(offset, r, keep_theta, keep_r, vth)
    offset, r = adapt(reaches(v_in, theta), rise, refractory, vth, step)
    return vth + rise, refractory, offset, r


def follow_phase(real_in, imag_in, imag, offset, r, keep_theta, keep_r, vth, step):
    rise, refractory, theta = relax(offset, r, keep_theta, keep_r, vth)
    offset, r = adapt(crosses(real_in, imag_in, imag, theta), rise, refractory, vth, step)
    return vth + rise, refractory, imag_in * 1, offset, r


def atrlif_constants(values, units, fixed):
    decays = {n: within(f"delta_{n}", values[f"delta_{n}"], 0, 1) for n in ("i", "v", "theta", "r")}
    if not fixed:
        kept = {f"keep_{n}": 1 - d for n, d in decays.items()}
        theta = {"theta_0": values["theta_0"], "step": values["theta_step"], "begins": np.int64(0)}
        return biased(values, units, fixed) | kept | theta
    # Lava's way to each of them, its roundings included
    kept = {f"keep_{n}": (DECAY - d * DECAY).astype(np.int64) for n, d in decays.items()}
    kept["keep_i"] = DECAY - (decays["i"] * DECAY + 1.0)
    theta = {
        n: (values[v] * SCALE).astype(np.int64)
        for n, v in (("theta_0", "theta_0"), ("step", "theta_step"))
    }
    return biased(values, units, fixed) | kept | theta | {"begins": np.int64(1)}


def adrf_constants(values, units, fixed):
    within("vth", values["vth"], 0, np.inf)
    return rf_constants(values, units, fixed)


REST = "the threshold at rest, >= 0; shifted left by {} in fixed_pt"
ADAPTATION = (
    Parameter(
        "threshold_step",
        0,
        0,
        counts="state",
        argument="step",
        key="vThStep",
        training="threshold_step",
        doc="what a spike adds to the threshold, >= 0, in the unit of vth",
    ),
    Parameter(
        "threshold_decay",
        0,
        0,
        1,
        counts="loss",
        argument="keep_theta",
        key="thDecay",
        training="threshold_decay",
        doc="decay of offset; floating_pt in 0..1, fixed_pt integers in 0..4096 (1/4096)",
    ),
    Parameter(
        "refractory_decay",
        0,
        0,
        1,
        counts="loss",
        argument="keep_r",
        key="refDecay",
        training="refractory_decay",
        doc="decay of r; likewise",
    ),
)
ADAPTING = (*LEAKS, replace(VTH, low=0, doc=REST.format(6)), *ADAPTATION)
LATE_ADAPTING = (*LATE, *ADAPTING[len(LEAKS) :])
TURNING = (
    *(replace(p, low=0, doc=REST.format("state_exp")) if p.name == "vth" else p for p in RESONATOR),
    replace(ADAPTATION[0], shift="state_exp"),
    *ADAPTATION[1:],
)


FRACTION = "decay of {}, 0..1, in fixed_pt too"
THRESHOLDS = (
    *(
        Parameter(
            f"delta_{n}",
            default,
            0,
            1,
            counts="loss",
            argument=f"keep_{n}",
            tau=tau,
            doc=FRACTION.format(what),
        )
        for n, default, tau, what in (
            ("i", 0.4, "tau_syn", "the current"),
            ("v", 0.4, "tau_mem", "the voltage"),
            ("theta", 0.2, "", "the threshold, to theta_0"),
            ("r", 0.2, "", "r"),
        )
    ),
    Parameter("theta_0", 5, counts="state", doc="threshold at rest; shifted left by 6 in fixed_pt"),
    Parameter(
        "theta_step",
        3.75,
        counts="state",
        argument="step",
        doc="what a spike adds to the threshold; shifted left by 6 in fixed_pt",
    ),
    BIAS,
    BIAS_EXP,
)


def _alif(step, parameters=ADAPTING, graded=(), kind="") -> Dynamics:
    return Dynamics(
        step,
        ("a_in",),
        ("s_out", *graded),
        ("u", "v", "offset", "r"),
        biased,
        per_neuron=("bias",),
        accumulators=(biased_current, raw_voltage),
        graded=graded,
        parameters=parameters,
        loihi=True,
        kind=kind,
    )


def _adrf(step, graded=(), kind="") -> Dynamics:
    return Dynamics(
        step,
        ("a_real_in", "a_imag_in"),
        ("s_out", *graded),
        ("real", "imag", "offset", "r"),
        adrf_constants,
        accumulators=(real_sum, imag_sum),
        graded=graded,
        parameters=TURNING,
        loihi=True,
        kind=kind,
    )


ATRLIF = Dynamics(
    atrlif,
    ("a_in",),
    ("s_out",),
    ("i", "v", "theta", "r", "s"),
    atrlif_constants,
    per_neuron=("bias",),
    accumulators=(atrlif_current, atrlif_voltage),
    parameters=THRESHOLDS,
    loihi=True,
)
ALIF = _alif(alif, kind="ALIF")
ALIF_LATE_BIAS = _alif(alif, LATE_ADAPTING)
ADRF = _adrf(adrf, kind="ADRF_PHASE")
ADRF_IZ = _adrf(adrf_iz, kind="ADRF_IZHIKEVICH")
# with the states that decide over a spike, as they meet it: what graded spikes send, and people see
MET = ("theta_out", "r_out")
ALIF_SEEN = _alif(alif_seen, graded=("u_out", "v_out", *MET))
ADRF_SEEN = _adrf(adrf_seen, ("real_out", "imag_out", *MET))
ADRF_IZ_SEEN = _adrf(adrf_iz_seen, ("real_out", "imag_out", *MET))
# the threshold alone, of a voltage, or of a resonator, that come from elsewhere
FOLLOW = Dynamics(follow, ("v_in",), MET, ("offset", "r"), graded=MET, parameters=ADAPTATION)
FOLLOW_PHASE = Dynamics(
    follow_phase,
    ("real_in", "imag_in"),
    MET,
    ("imag", "offset", "r"),
    graded=MET,
    parameters=ADAPTATION,
)
