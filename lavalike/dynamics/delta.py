"""Sigma-delta coding, as Lava computes it (reference: Lava 0.11, proc/sdn).

    sigma:        sigma[t] = sigma[t-1] + a_in[t];  s[t] = sigma[t]
    delta:        d = x[t] - act[t-1] + residue[t-1]
                  s[t] = d where |d| >= vth, else 0;  residue[t] = d - s[t];  act[t] = x[t]
    sigma-delta:  x[t] = f(sigma[t] + bias), f = relu or identity, then delta
    cum_error:    the accumulated error e += d is compared instead of d, and is cleared by a message

    encoder:      delta whose message is kept within least..most; what is cut off is kept as residue (Lava: proc/io/encoder)

fixed_pt: Delta shifts its input left by spike_exp + state_exp, SigmaDelta's input is in that scale
already; vth and bias are shifted; the message is shifted right by state_exp (floor), the residue is
not.
"""  # noqa: W505

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lavalike.dynamics.dynamics import Dynamics, integral, within
from lavalike.dynamics.ops import carried, gate, greater, lesser, positive, unscale, where
from lavalike.dynamics.parameter import Parameter


def sigma(a_in, sigma):
    sigma = sigma + a_in
    return sigma, sigma


def encode(x, act, residue, vth, out_scale):
    d = x - act + residue
    s = gate(d, d, vth)
    return unscale(s, out_scale), x, carried(d - s)


def encode_cumulative(x, act, residue, error, vth, out_scale):
    d = x - act + residue
    error = error + d
    s = gate(d, error, vth)
    return unscale(s, out_scale), x, carried(d - s), where(s != 0, 0, error)


def delta(a_in, act, residue, vth, gain, out_scale):
    return encode(a_in * gain, act, residue, vth, out_scale)


def delta_cumulative(a_in, act, residue, error, vth, gain, out_scale):
    return encode_cumulative(a_in * gain, act, residue, error, vth, out_scale)


def sigma_delta(a_in, sigma, act, residue, vth, bias, out_scale):
    sigma = sigma + a_in
    s_out, act, residue = encode(sigma + bias, act, residue, vth, out_scale)
    return s_out, sigma, act, residue


def sigma_delta_relu(a_in, sigma, act, residue, vth, bias, out_scale):
    sigma = sigma + a_in
    s_out, act, residue = encode(positive(sigma + bias), act, residue, vth, out_scale)
    return s_out, sigma, act, residue


def sigma_delta_cumulative(a_in, sigma, act, residue, error, vth, bias, out_scale):
    sigma = sigma + a_in
    s_out, act, residue, error = encode_cumulative(
        sigma + bias, act, residue, error, vth, out_scale
    )
    return s_out, sigma, act, residue, error


def sigma_delta_relu_cumulative(a_in, sigma, act, residue, error, vth, bias, out_scale):
    sigma = sigma + a_in
    s_out, act, residue, error = encode_cumulative(
        positive(sigma + bias), act, residue, error, vth, out_scale
    )
    return s_out, sigma, act, residue, error


def encode_within(a_in, act, residue, vth, gain, least, most):
    x = a_in * gain
    d = x - act + residue
    s = greater(lesser(gate(d, d, vth), most), least)
    return s, x, carried(d - s)


def sigma_sum(a_in, sigma):
    return sigma + a_in


def _exponents(values) -> tuple[np.ndarray, np.ndarray]:
    return (
        integral("spike_exp", values["spike_exp"], 0, 16),
        integral("state_exp", values["state_exp"], 0, 16),
    )


def delta_constants(values, units, fixed):
    if not fixed and not units.loihi:
        # the exponents place the binary point of the fixed-point form; floating point has no use
        # for them
        return {
            "vth": within("vth", values["vth"], 0, np.inf),
            "gain": np.float64(1),
            "out_scale": np.float64(1),
        }
    spike_exp, state_exp = _exponents(values)
    gain = 2 ** (spike_exp + state_exp)
    vth = within("vth", values["vth"], 0, 2**24) * gain
    if fixed:
        return {"vth": integral("vth", vth), "gain": gain, "out_scale": state_exp}
    return {"vth": vth, "gain": gain * 1.0, "out_scale": 2.0**-state_exp}


def sigma_delta_constants(values, units, fixed):
    constants = delta_constants(values, units, fixed)
    bias = values["bias"] * constants.pop("gain")
    return constants | {"bias": integral("bias", bias, -(2**30), 2**30) if fixed else bias}


def encoder_constants(values, units, fixed):
    exp = integral("spike_exp", values["spike_exp"], 0, 16) if fixed else np.int64(0)
    bits = integral("num_bits", values["num_bits"], 0, 31)
    gain = 2**exp
    half = 2 ** (bits - 1.0)
    vth = within("vth", values["vth"], 0, 2**24 if fixed else np.inf) * gain
    # without bits: what all messages stay within
    least = np.where(bits > 0, -half, -(2.0**31)) * np.where(bits > 0, gain, 1)
    most = np.where(bits > 0, half - 1, 2.0**31 - 1) * np.where(bits > 0, gain, 1)
    if fixed:
        return {
            "vth": integral("vth", vth),
            "gain": gain,
            "least": integral("num_bits", least),
            "most": integral("num_bits", most),
        }
    free = bits == 0
    return {
        "vth": vth,
        "gain": np.float64(1),
        "least": np.where(free, -np.inf, least),
        "most": np.where(free, np.inf, most),
    }


CODING = (
    Parameter(
        "vth",
        None,
        0,
        counts="state",
        key="vThMant",
        training="threshold",
        doc="threshold, >= 0, compared with >=",
    ),
    Parameter(
        "spike_exp",
        0,
        0,
        argument="gain",
        per="one",
        doc="fixed_pt: fractional bits of messages, 0..16; floating_pt has no use for them",
    ),
    Parameter(
        "state_exp",
        0,
        0,
        argument="out_scale",
        per="one",
        doc="fixed_pt: further ones of the state, 0..16; likewise",
    ),
)
BIAS = Parameter(
    "bias",
    0,
    trained=True,
    counts="state",
    per="neuron",
    training="bias",
    doc="shifted by spike_exp + state_exp in fixed_pt",
)


def _delta(step, *more: str) -> Dynamics:
    return Dynamics(
        step,
        ("a_in",),
        ("s_out",),
        ("act", "residue", *more),
        delta_constants,
        parameters=CODING,
        loihi=True,
        kind="SDNN",
    )


def _sigma_delta(step, *more: str, bias: Parameter = BIAS, rests: bool = False) -> Dynamics:
    return Dynamics(
        step,
        ("a_in",),
        ("s_out",),
        ("sigma", "act", "residue", *more),
        sigma_delta_constants,
        per_neuron=("bias",),
        accumulators=(sigma_sum,),
        rests=rests,
        parameters=(*CODING, bias),
        loihi=True,
        kind="SDNN",
    )


ENCODING = (
    *CODING[:2],
    Parameter(
        "num_bits",
        0,
        0,
        argument="least",
        per="one",
        doc="of a message, sign included, before it is shifted: what is beyond waits as residue; 0: no limit",
    ),
)
SIGMA = Dynamics(sigma, ("a_in",), ("s_out",), ("sigma",), accumulators=(sigma_sum,), loihi=True)
DELTA = _delta(delta)
DELTA_CUMULATIVE = _delta(delta_cumulative, "error")
ENCODER = Dynamics(
    encode_within,
    ("a_in",),
    ("s_out",),
    ("act", "residue"),
    encoder_constants,
    graded=("s_out",),
    parameters=ENCODING,
    loihi=True,
)
# a sum that did not change is compared with what was sent of it: nothing new; an accumulated error
# grows, though
SIGMA_DELTA = _sigma_delta(sigma_delta, rests=True)
SIGMA_DELTA_RELU = _sigma_delta(sigma_delta_relu, rests=True)
SIGMA_DELTA_LATE_RELU = _sigma_delta(sigma_delta_relu, bias=replace(BIAS, onset="bias_start"))
SIGMA_DELTA_CUMULATIVE = _sigma_delta(sigma_delta_cumulative, "error")
SIGMA_DELTA_RELU_CUMULATIVE = _sigma_delta(sigma_delta_relu_cumulative, "error")
