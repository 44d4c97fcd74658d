"""The neurons of the neuromorphic interchange format (NIR 1.0; Pedersen et al., Nat. Commun. 15,
8122, 2024), a step of ``dt`` at a time.

    LI    tau v' = (v_leak - v) + r a_in             I    v' = r a_in
    LIF   the same; where v > v_threshold a spike, and v = v_reset
    CubaLI, CubaLIF   tau_syn u' = -u + w_in a_in;  tau_mem v' = (v_leak - v) + r u

One step leaves ``keep`` of a state, 1 - a with a = dt / tau (Euler) or 1 - exp(-dt / tau):

    v[t] = keep v[t-1] + gain a_in[t] + drive              gain = a r, drive = a v_leak
    u[t] = keep_u u[t-1] + gain_u a_in[t]                  gain_u = a_syn w_in
    v[t] = keep v[t-1] + gain (r u[t] + v_leak)            gain = a_mem

so the membrane hears the input and the current of the same step. I and IF are LI and LIF with
keep = 1 and drive = 0. A spike is v > vth, or where NIR is read as others read it v >= vth
(``inclusive``); it sets v to v_reset, or takes vth off (``lower``).

NIR's Threshold sends 1 where a_in > vth, its Scale ``factor a_in``, to which a bias may be added
here. Both keep nothing.
"""

from __future__ import annotations

from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.ops import above, leak, lower, reaches, reset
from lavalike.dynamics.parameter import Parameter


def membrane(a_in, v, keep, gain, drive):
    return leak(v, keep) + a_in * gain + drive


def current(a_in, u, keep_u, gain_u):
    return leak(u, keep_u) + a_in * gain_u


def driven(u, v, keep, gain, r, v_leak):
    return leak(v, keep) + (u * r + v_leak) * gain


def spike(v, vth, v_reset):
    s_out = above(v, vth)
    return s_out, reset(s_out, v, v_reset)


def spike_inclusive(v, vth, v_reset):
    s_out = reaches(v, vth)
    return s_out, reset(s_out, v, v_reset)


def spike_lower(v, vth):
    s_out = above(v, vth)
    return s_out, lower(s_out, v, vth)


def spike_lower_inclusive(v, vth):
    s_out = reaches(v, vth)
    return s_out, lower(s_out, v, vth)


def nir_lif(a_in, v, keep, gain, drive, vth, v_reset):
    return spike(membrane(a_in, v, keep, gain, drive), vth, v_reset)


def nir_lif_inclusive(a_in, v, keep, gain, drive, vth, v_reset):
    return spike_inclusive(membrane(a_in, v, keep, gain, drive), vth, v_reset)


def nir_lif_lower(a_in, v, keep, gain, drive, vth):
    return spike_lower(membrane(a_in, v, keep, gain, drive), vth)


def nir_lif_lower_inclusive(a_in, v, keep, gain, drive, vth):
    return spike_lower_inclusive(membrane(a_in, v, keep, gain, drive), vth)


def nir_li(a_in, v, keep, gain, drive):
    v = membrane(a_in, v, keep, gain, drive)
    return v, v


def nir_cuba_lif(a_in, u, v, keep_u, gain_u, keep, gain, r, v_leak, vth, v_reset):
    u = current(a_in, u, keep_u, gain_u)
    s_out, v = spike(driven(u, v, keep, gain, r, v_leak), vth, v_reset)
    return s_out, u, v


def nir_cuba_lif_inclusive(a_in, u, v, keep_u, gain_u, keep, gain, r, v_leak, vth, v_reset):
    u = current(a_in, u, keep_u, gain_u)
    s_out, v = spike_inclusive(driven(u, v, keep, gain, r, v_leak), vth, v_reset)
    return s_out, u, v


def nir_cuba_lif_lower(a_in, u, v, keep_u, gain_u, keep, gain, r, v_leak, vth):
    u = current(a_in, u, keep_u, gain_u)
    s_out, v = spike_lower(driven(u, v, keep, gain, r, v_leak), vth)
    return s_out, u, v


def nir_cuba_lif_lower_inclusive(a_in, u, v, keep_u, gain_u, keep, gain, r, v_leak, vth):
    u = current(a_in, u, keep_u, gain_u)
    s_out, v = spike_lower_inclusive(driven(u, v, keep, gain, r, v_leak), vth)
    return s_out, u, v


def nir_cuba_li(a_in, u, v, keep_u, gain_u, keep, gain, r, v_leak):
    u = current(a_in, u, keep_u, gain_u)
    v = driven(u, v, keep, gain, r, v_leak)
    return v, u, v


def nir_threshold(a_in, vth):
    return above(a_in, vth)


def nir_scale(a_in, factor, bias):
    return a_in * factor + bias


KEEP = Parameter("keep", 1, -1, 1, counts="decay", doc="what a step leaves of v")
KEEP_U = Parameter("keep_u", 1, -1, 1, counts="decay", doc="what a step leaves of the current u")
GAIN = Parameter("gain", 1, doc="what a step adds of the input to v")
GAIN_U = Parameter("gain_u", 1, doc="what a step adds of the input to u")
GAIN_V = Parameter("gain", 1, doc="what a step adds of ``r u + v_leak`` to v")
DRIVE = Parameter("drive", 0, doc="what every step adds to v")
R = Parameter("r", 1, doc="resistance, the factor of u")
V_LEAK = Parameter("v_leak", 0, counts="state", doc="potential to which v relaxes")
VTH = Parameter("vth", 1, counts="state", doc="threshold, strict unless ``inclusive``")
V_RESET = Parameter("v_reset", 0, counts="state", doc="v after a spike")
LEAKY = (KEEP, GAIN, DRIVE)
CUBA = (KEEP_U, GAIN_U, KEEP, GAIN_V, R, V_LEAK)


def _neuron(
    step, parameters: tuple[Parameter, ...], states: tuple[str, ...] = ("v",), graded: bool = False
) -> Dynamics:
    return Dynamics(
        step,
        ("a_in",),
        ("s_out",),
        states,
        fixed=False,
        graded=("s_out",) if graded else (),
        parameters=parameters,
    )


# by (lower, inclusive)
LIF = {
    (False, False): _neuron(nir_lif, (*LEAKY, VTH, V_RESET)),
    (False, True): _neuron(nir_lif_inclusive, (*LEAKY, VTH, V_RESET)),
    (True, False): _neuron(nir_lif_lower, (*LEAKY, VTH)),
    (True, True): _neuron(nir_lif_lower_inclusive, (*LEAKY, VTH)),
}
CUBA_LIF = {
    (False, False): _neuron(nir_cuba_lif, (*CUBA, VTH, V_RESET), ("u", "v")),
    (False, True): _neuron(nir_cuba_lif_inclusive, (*CUBA, VTH, V_RESET), ("u", "v")),
    (True, False): _neuron(nir_cuba_lif_lower, (*CUBA, VTH), ("u", "v")),
    (True, True): _neuron(nir_cuba_lif_lower_inclusive, (*CUBA, VTH), ("u", "v")),
}
LI = _neuron(nir_li, LEAKY, graded=True)
CUBA_LI = _neuron(nir_cuba_li, CUBA, ("u", "v"), graded=True)
THRESHOLD = _neuron(nir_threshold, (VTH,), ())
SCALE = _neuron(
    nir_scale,
    (
        Parameter("factor", 1, trained=True, doc="factor of the input"),
        Parameter("bias", 0, trained=True, doc="what is added to it"),
    ),
    (),
    graded=True,
)
