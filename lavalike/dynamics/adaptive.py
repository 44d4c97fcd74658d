"""Neurons whose threshold rises with every spike and falls back, as slayer computes them (reference: lava-dl 0.6).

    theta[t]  = vth + offset[t];  offset[t] = offset[t-1] (1 - d_theta)
    r[t]      = r[t-1] (1 - d_r)
    s[t]      = v[t] >= theta[t] + r[t];  then offset += step, r += 2 theta where s

ALIF: v is that of a LIF (:mod:`lavalike.dynamics.lif`) that is not reset, and the bias adds to its current. ADRF,
ADRF_IZ: the states of a resonator (:mod:`lavalike.dynamics.resonator`); ADRF spikes where real >= theta + r as imag
passes zero upwards, ADRF_IZ where imag >= theta + r; neither is reset.

fixed_pt: decays in 1/4096, products rounded toward zero; threshold and step shifted left as inputs are. Neither is
negative, so offset and r stay below the step and twice the state that spiked.
"""

from __future__ import annotations

import numpy as np

from lavalike.dynamics.dynamics import Dynamics, integral, within
from lavalike.dynamics.lif import DECAY_ONE, current, leaks, membrane, raw_voltage, threshold
from lavalike.dynamics.ops import crosses, leak, reaches, where, wrap
from lavalike.dynamics.resonator import imag_sum, real_sum, rf_constants, rotate


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


def alif_late_bias(t, a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step, bias_start):
    return alif(a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, where(t > bias_start, bias, 0), vth, step)


def adrf(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step):
    new_real, new_imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    offset, r, theta = relax(offset, r, keep_theta, keep_r, vth)
    s_out = crosses(new_real, new_imag, imag, theta)
    offset, r = adapt(s_out, offset, r, vth, step)
    return s_out, new_real, new_imag, offset, r


def adrf_iz(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step):
    real, imag = rotate(a_real_in, a_imag_in, real, imag, cos, sin, bits, gain)
    offset, r, theta = relax(offset, r, keep_theta, keep_r, vth)
    s_out = reaches(imag, theta)
    offset, r = adapt(s_out, offset, r, vth, step)
    return s_out, real, imag, offset, r


def alif_graded(a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step):
    s_out, u, v, new_offset, new_r = alif(a_in, u, v, offset, r, keep_u, keep_v, keep_theta, keep_r, gain, bias, vth, step)
    return s_out, v, relax(offset, r, keep_theta, keep_r, vth)[2], u, v, new_offset, new_r


def adrf_graded(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step):
    theta = relax(offset, r, keep_theta, keep_r, vth)[2]
    s_out, real, imag, offset, r = adrf(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step)
    return s_out, real, imag, theta, real, imag, offset, r


def adrf_iz_graded(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step):
    theta = relax(offset, r, keep_theta, keep_r, vth)[2]
    s_out, real, imag, offset, r = adrf_iz(a_real_in, a_imag_in, real, imag, offset, r, cos, sin, bits, keep_theta, keep_r, gain, vth, step)
    return s_out, imag, theta, real, imag, offset, r


def adaptation(values, params, fixed, gain):
    """keep_theta, keep_r and step: what all adaptive neurons share. ``gain`` is that of the inputs."""
    keep = {"keep_theta": "threshold_decay", "keep_r": "refractory_decay"}
    if fixed or params.get("loihi_units"):
        constants = {k: DECAY_ONE - integral(n, values[n], 0, DECAY_ONE) for k, n in keep.items()}
        if not fixed:
            constants = {k: x / DECAY_ONE for k, x in constants.items()}
    else:
        constants = {k: 1 - within(n, values[n], 0, 1) for k, n in keep.items()}
    step = values["threshold_step"]
    step = integral("threshold_step", step, 0, 2**18) if fixed else within("threshold_step", step, 0, np.inf)
    return constants | {"step": step * gain}


def alif_constants(values, params, fixed):
    constants = leaks(values, params, fixed)
    vth = within("vth", threshold("vth", values, params, fixed), 0, np.inf)
    return constants | adaptation(values, params, fixed, constants["gain"]) | {"vth": vth}


def alif_late_bias_constants(values, params, fixed):
    return alif_constants(values, params, fixed) | {"bias_start": integral("bias_start", values["bias_start"], 0, 2**62)}


def adrf_constants(values, params, fixed):
    constants = rf_constants(values, params, fixed)
    within("vth", constants["vth"], 0, np.inf)
    return constants | adaptation(values, params, fixed, constants["gain"])


def _alif(step, constants, graded=()) -> Dynamics:
    return Dynamics(step, ("a_in",), ("s_out", *graded), ("u", "v", "offset", "r"), constants, per_neuron=("bias",),
                    accumulators=(biased_current, raw_voltage), graded=graded)


def _adrf(step, graded=()) -> Dynamics:
    return Dynamics(step, ("a_real_in", "a_imag_in"), ("s_out", *graded), ("real", "imag", "offset", "r"), adrf_constants,
                    accumulators=(real_sum, imag_sum), graded=graded)


ALIF = _alif(alif, alif_constants)
ALIF_LATE_BIAS = _alif(alif_late_bias, alif_late_bias_constants)
ADRF = _adrf(adrf)
ADRF_IZ = _adrf(adrf_iz)
# for graded spikes: the state that is sent and the threshold that it met
ALIF_GRADED = _alif(alif_graded, alif_constants, ("v_out", "theta_out"))
ADRF_GRADED = _adrf(adrf_graded, ("real_out", "imag_out", "theta_out"))
ADRF_IZ_GRADED = _adrf(adrf_iz_graded, ("imag_out", "theta_out"))
