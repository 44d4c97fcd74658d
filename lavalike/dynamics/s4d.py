"""Diagonal state space models (S4D: Gu et al. 2022), as Lava computes them (reference: Lava 0.10,
proc/s4d); floating_pt only.

    x[t] = a x[t-1] + b a_in[t];  s_out[t] = Re(2 c x[t])

with complex a, b, c and x, a and b those of steps of time. The step has real and imaginary parts as
numbers of their own; outside they are one, ``Dynamics(complexes=...)``. SigmaS4dDelta has it, with
real numbers, between a sigma and a delta (:mod:`lavalike.dynamics.delta`): x of
``sigma[t] = sigma[t-1] + a_in[t]``, and ``2 c x`` is encoded.
"""

from __future__ import annotations

import numpy as np

from lavalike.dynamics.delta import encode
from lavalike.dynamics.dynamics import Dynamics, within
from lavalike.dynamics.parameter import Parameter


def s4d(a_in, re, im, a_re, a_im, b_re, b_im, c_re, c_im):
    new_re = re * a_re - im * a_im + a_in * b_re
    new_im = re * a_im + im * a_re + a_in * b_im
    return (c_re * new_re - c_im * new_im) * 2, new_re, new_im


def sigma_s4d_delta(a_in, sigma, act, residue, s4_state, vth, a, b, c, out_scale):
    sigma = sigma + a_in
    x = s4_state * a + sigma * b
    s_out, act, residue = encode(c * x * 2, act, residue, vth, out_scale)
    return s_out, sigma, act, residue, x


def s4d_constants(values, units, fixed):
    out = {}
    for n in ("a", "b", "c"):
        out[f"{n}_re"], out[f"{n}_im"] = values[n].real, values[n].imag
    return out


def sigma_s4d_constants(values, units, fixed):
    return {"vth": within("vth", values["vth"], 0, np.inf), "out_scale": np.float64(1)}


def _diagonal(kind: str, *arguments: str) -> tuple[Parameter, ...]:
    texts = ("the state matrix", "the input matrix", "the output matrix")
    return tuple(
        Parameter(
            n,
            None,
            argument=argument,
            per="neuron",
            doc=f"diagonal of {text}, {kind}, of the model in steps of time",
        )
        for n, argument, text in zip("abc", arguments, texts, strict=True)
    )


S4D = Dynamics(
    s4d,
    ("a_in",),
    ("s_out",),
    ("re", "im"),
    s4d_constants,
    fixed=False,
    graded=("s_out",),
    parameters=_diagonal("complex numbers", "a_re", "b_re", "c_re"),
    complexes=(("s4_state", "re", "im"),),
)
SIGMA_S4D_DELTA = Dynamics(
    sigma_s4d_delta,
    ("a_in",),
    ("s_out",),
    ("sigma", "act", "residue", "s4_state"),
    sigma_s4d_constants,
    fixed=False,
    graded=("s_out",),
    parameters=(
        Parameter("vth", None, 0, doc="threshold, >= 0, compared with >="),
        *_diagonal("real numbers", "a", "b", "c"),
    ),
)
