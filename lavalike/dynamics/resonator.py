"""Resonate-and-fire, as Lava computes it (reference: Lava 0.11, proc/rf and rf_iz; Izhikevich
2001).

    real[t] = c real[t-1] - s imag[t-1] + a_real_in[t]     c = (1 - alpha) cos(2 pi / period)
    imag[t] = s real[t-1] + c imag[t-1] + a_imag_in[t]     s = (1 - alpha) sin(2 pi / period)

RF spikes where real >= vth as imag passes zero upwards, and is not reset. RF_IZ spikes where imag
>= vth, then real = 0 and imag just below vth.

RFZero (reference: Lava 0.11, proc/resfire) sends its real state u where it passes u > uth as v
passes zero upwards, and has a decay time and a frequency: c = exp(-dt / decay_tau) cos(2 pi freqs
dt), s likewise; in fixed_pt in 2**-15 (truncated), every product rounded down on its own, states
without limits.

fixed_pt: c, s in 2**-decay_bits (truncated), inputs and vth shifted left by state_exp, every
product rounded toward zero on its own, states saturated at 24 bits. A process in Loihi units may
give c and s as integers.
"""

from __future__ import annotations

import numpy as np

from lavalike.dynamics.dynamics import Dynamics, integral, within
from lavalike.dynamics.ops import (
    above,
    both,
    clip,
    crosses,
    reaches,
    reset,
    scaled,
    unscale,
    where,
)
from lavalike.dynamics.parameter import Parameter


def rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain):
    new_real = clip(scaled(real, cos, bits) - scaled(imag, sin, bits) + a_real_in * gain)
    new_imag = clip(scaled(real, sin, bits) + scaled(imag, cos, bits) + a_imag_in * gain)
    return new_real, new_imag


def rotate_out(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain):
    real, imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    return real, imag, real, imag


def rf(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain, vth):
    new_real, new_imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    s_out = crosses(new_real, new_imag, imag, vth)
    return s_out, new_real, new_imag


def rf_iz(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain, vth, after):
    real, imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    s_out = reaches(imag, vth)
    return s_out, reset(s_out, real, 0), reset(s_out, imag, after)


def rf_seen(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain, vth):
    s_out, real, imag = rf(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain, vth)
    return s_out, real, imag, real, imag


def rf_iz_seen(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain, vth, after):
    real, imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    s_out = reaches(imag, vth)
    return s_out, real, imag, reset(s_out, real, 0), reset(s_out, imag, after)


def rf_zero(u_in, v_in, u, v, cos, sin, turn, uth):
    new_u = unscale(u * cos, turn) - unscale(v * sin, turn) + u_in
    new_v = unscale(v * cos, turn) + unscale(u * sin, turn) + v_in
    passes = both(both(above(new_u, uth), new_v >= 0), v < 0)
    return where(passes, new_u, 0), new_u, new_v


def real_sum(a_real_in, real, imag, cos, sin, bits, gain):
    return scaled(real, cos, bits) - scaled(imag, sin, bits) + a_real_in * gain


def imag_sum(a_imag_in, real, imag, cos, sin, bits, gain):
    return scaled(real, sin, bits) + scaled(imag, cos, bits) + a_imag_in * gain


def rf_constants(values, units, fixed):
    bits = integral("decay_bits", values["decay_bits"], 0, 20)
    exp = integral("state_exp", values["state_exp"], 0, 16)
    vth = values["vth"]
    if units.loihi:
        one = 1 << int(bits.max())
        cos = integral("cos_decay", values["cos_decay"], -one, one)
        sin = integral("sin_decay", values["sin_decay"], -one, one)
        if not fixed:
            cos, sin = cos / 2.0**bits, sin / 2.0**bits
    else:
        period = within("period", values["period"], np.nextafter(0, 1), np.inf)
        radius = 1 - within("alpha", values["alpha"], 0, 1)
        angle = 2 * np.pi / np.asarray(period)
        cos, sin = np.asarray(radius) * np.cos(angle), np.asarray(radius) * np.sin(angle)
        if fixed:
            cos, sin = ((x * 2.0**bits).astype(np.int64) for x in (cos, sin))
    if fixed:
        return {
            "cos": cos,
            "sin": sin,
            "bits": bits,
            "gain": 2**exp,
            "vth": (vth * 2.0**exp).astype(np.int64),
        }
    scale = 2.0**exp if units.loihi else np.float64(1)
    return {"cos": cos, "sin": sin, "bits": bits, "gain": scale, "vth": vth * scale}


def rf_iz_constants(values, units, fixed):
    constants = rf_constants(values, units, fixed)
    # just below the threshold: one unit of the integer state, 1e-5 in floating point (Lava 0.11)
    return constants | {"after": constants["vth"] - (1 if fixed else 1e-5 * constants["gain"])}


RF_ZERO_BITS = 15


def rf_zero_constants(values, units, fixed):
    dt = within("dt", np.asarray(values["dt"]), np.nextafter(0, 1), np.inf)
    tau = within("decay_tau", np.asarray(values["decay_tau"]), np.nextafter(0, 1), np.inf)
    freqs = np.asarray(values["freqs"])
    # in the order of Lava's own products, which decides over truncations
    radius, angle = np.exp(dt * (-1 / tau)), dt * freqs * np.pi * 2
    cos, sin = radius * np.cos(angle), radius * np.sin(angle)
    if not fixed:
        return {"cos": cos, "sin": sin, "turn": np.float64(1)}
    whole = ((x * 2**RF_ZERO_BITS).astype(np.int64) for x in (cos, sin))
    return dict(zip(("cos", "sin"), whole, strict=True)) | {"turn": np.int64(RF_ZERO_BITS)}


ZERO = (
    Parameter("freqs", None, unit="Hz", argument="cos", doc="of the oscillation, Hz"),
    Parameter(
        "decay_tau",
        None,
        np.nextafter(0, 1),
        unit="s",
        argument="sin",
        doc="time constant of the amplitude, s, > 0",
    ),
    Parameter(
        "dt",
        0.001,
        np.nextafter(0, 1),
        unit="s",
        argument="turn",
        doc="what a step lasts, s, > 0",
    ),
    Parameter("uth", 1, doc="threshold of u, strict, in the unit of messages"),
)
RESONATOR = (
    Parameter("period", 10, np.nextafter(0, 1), unit="steps", doc="of the oscillation, > 0"),
    Parameter("alpha", 0.07, 0, 1, doc="decay of the amplitude a step, 0..1"),
    Parameter(
        "vth",
        1,
        counts="state",
        shift="state_exp",
        key="vThMant",
        training="threshold",
        doc="threshold; shifted left by state_exp in fixed_pt",
    ),
    Parameter(
        "cos_decay",
        0,
        -1,
        1,
        counts="decay",
        argument="cos",
        key="cosDecay",
        training="cos_decay",
        doc="with ``loihi_units`` the decays as integers in 2**-decay_bits in place of period and alpha",
    ),
    Parameter(
        "sin_decay",
        0,
        -1,
        1,
        counts="decay",
        argument="sin",
        key="sinDecay",
        training="sin_decay",
        doc="likewise",
    ),
    Parameter("state_exp", 0, 0, per="one", doc="fixed_pt: fractional bits of states, 0..16"),
    Parameter(
        "decay_bits",
        0,
        0,
        argument="bits",
        per="one",
        doc="fixed_pt: fractional bits of the decays, 0..20",
    ),
)


def _rf(step, constants, graded=(), kind="") -> Dynamics:
    return Dynamics(
        step,
        ("a_real_in", "a_imag_in"),
        ("s_out", *graded),
        ("real", "imag"),
        constants,
        accumulators=(real_sum, imag_sum),
        graded=graded,
        parameters=RESONATOR,
        loihi=True,
        kind=kind,
    )


RF = _rf(rf, rf_constants, kind="RF_PHASE")
RF_IZ = _rf(rf_iz, rf_iz_constants, kind="RF_IZHIKEVICH")
RF_ZERO = Dynamics(
    rf_zero,
    ("u_in", "v_in"),
    ("s_out",),
    ("u", "v"),
    rf_zero_constants,
    graded=("s_out",),
    parameters=ZERO,
    loihi=True,
)
# with the states as they meet the threshold: what graded spikes send, and people see
RF_SEEN = _rf(rf_seen, rf_constants, ("real_out", "imag_out"))
RF_IZ_SEEN = _rf(rf_iz_seen, rf_iz_constants, ("real_out", "imag_out"))
ROTATE = Dynamics(
    rotate_out,
    ("a_real_in", "a_imag_in"),
    ("real_out", "imag_out"),
    ("real", "imag"),
    graded=("real_out", "imag_out"),
    accumulators=(real_sum, imag_sum),
)
