"""Leaky integrate-and-fire with current (CUBA), as Lava and Loihi compute it (reference: Lava 0.11, proc/lif).

    u[t] = u[t-1] (1 - du) + a_in[t]
    v[t] = v[t-1] (1 - dv) + u[t] + bias
    s[t] = v[t] > vth;  v[t] = 0 where s[t]

fixed_pt: decays in 1/4096 (du counts from 1: du = 0 still leaks 1/4096), a_in, vth shifted left by 6,
u wrapped and v saturated at 24 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lavalike.dynamics.dynamics import Constants, Dynamics, integral, within
from lavalike.dynamics.ops import above, both, clip, leak, reset, where, wrap

STATE_BITS = 23
SCALE = 64  # of inputs and thresholds against states
DECAY_ONE = 4096


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


def lif_reset(t, a_in, u, v, keep_u, keep_v, gain, bias, vth, bias_start, interval, offset):
    clear = t % interval == offset
    return lif_late_bias(t, a_in, where(clear, 0, u), where(clear, 0, v), keep_u, keep_v, gain, bias, vth, bias_start)


def lif_late_bias(t, a_in, u, v, keep_u, keep_v, gain, bias, vth, bias_start):
    return lif(a_in, u, v, keep_u, keep_v, gain, where(t > bias_start, bias, 0), vth)


def lif_refractory(a_in, u, v, hold, keep_u, keep_v, gain, bias, vth, period):
    # v is frozen, not discharged, while the refractory period lasts (Lava 0.11, LIFRefractory); hold counts its steps down, and on below
    # 0, from which the Var tells in which step it ended
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


def leaks(values: Mapping[str, np.ndarray], params: Mapping[str, Any], fixed: bool) -> Constants:
    """keep_u, keep_v, gain and bias: what all LIFs share."""
    du, dv, mant = values["du"], values["dv"], values["bias_mant"]
    if not fixed and not params.get("loihi_units"):
        within("du", du, 0, 1)
        within("dv", dv, 0, 1)
        return {"keep_u": 1 - du, "keep_v": 1 - dv, "gain": np.float64(1), "bias": mant}
    exp = integral("bias_exp", values["bias_exp"], -31, 23)
    # du = -1 cancels Loihi's offset of 1: a file's iDecay = 0 is no leak at all
    keep_u = DECAY_ONE - 1 - integral("du", du, -1, DECAY_ONE - 1)
    keep_v = DECAY_ONE - integral("dv", dv, 0, DECAY_ONE)
    if fixed:
        mant = integral("bias_mant", mant)
        bias = np.where(exp >= 0, mant << np.maximum(exp, 0), mant >> np.maximum(-exp, 0))
        within("bias_mant << bias_exp", bias, 1 - 2**STATE_BITS, 2**STATE_BITS - 1)
        return {"keep_u": keep_u, "keep_v": keep_v, "gain": np.int64(SCALE), "bias": bias}
    return {"keep_u": keep_u / DECAY_ONE, "keep_v": keep_v / DECAY_ONE, "gain": np.float64(SCALE), "bias": mant * 2.0**exp}


def threshold(name: str, values: Mapping[str, np.ndarray], params: Mapping[str, Any], fixed: bool) -> np.ndarray:
    """A threshold in the unit of the states."""
    if fixed:
        return integral(name, values[name], -(2**18), 2**18) * SCALE
    return values[name] * SCALE if params.get("loihi_units") else values[name]


def lif_constants(values, params, fixed):
    return leaks(values, params, fixed) | {"vth": threshold("vth", values, params, fixed)}


def lif_reset_constants(values, params, fixed):
    interval = integral("reset_interval", values["reset_interval"], 1)
    offset = integral("reset_offset", values["reset_offset"], 0)
    return lif_late_bias_constants(values, params, fixed) | {"interval": interval, "offset": offset % interval}


def lif_late_bias_constants(values, params, fixed):
    return lif_constants(values, params, fixed) | {"bias_start": integral("bias_start", values["bias_start"], 0, 2**62)}


def lif_refractory_constants(values, params, fixed):
    return lif_constants(values, params, fixed) | {"period": integral("refractory_period", values["refractory_period"], 1)}


def ternary_constants(values, params, fixed):
    hi, lo = (threshold(n, values, params, fixed) for n in ("vth_hi", "vth_lo"))
    if (lo > hi).any():
        raise ValueError(f"vth_lo: {lo.max()} exceeds vth_hi {hi.min()}")
    return leaks(values, params, fixed) | {"vth_hi": hi, "vth_lo": lo}


def _lif(step, constants, states=("u", "v"), **kwargs) -> Dynamics:
    return Dynamics(step, ("a_in",), ("s_out",), states, constants, per_neuron=("bias",), accumulators=(current, raw_voltage), **kwargs)


LIF = _lif(lif, lif_constants)
# the two halves of a LIF, where something stands between them
INTEGRATE = Dynamics(integrate, ("a_in",), ("u_out",), ("u",), graded=("u_out",), accumulators=(integrate_sum,))
FIRE = Dynamics(fire, ("a_in",), ("s_out", "v_out"), ("v",), graded=("v_out",), accumulators=(fire_sum,))
LIF_RESET = _lif(lif_reset, lif_reset_constants)
LIF_LATE_BIAS = _lif(lif_late_bias, lif_late_bias_constants)
LIF_REFRACTORY = _lif(lif_refractory, lif_refractory_constants, states=("u", "v", "hold"), fixed=False,
                      ends=(("hold", "refractory_period_end"),))
TERNARY_LIF = _lif(ternary_lif, ternary_constants)
