"""Neurons that answer with a number in the step that they hear it (reference: Lava 0.11,
proc/graded and prodneuron).

    graded vector   v = v[t-1] + a_in;  s_out = v where |v| > vth, else 0;  v[t] = 0
    rectified       the same where v > vth
    product         v = a_in1 a_in2;  s_out = v where |v| > vth, else 0
    norm            s2_out = a_in1^2;  w = v a_in2;  s_out = w where |w| > vth, else 0;  v2[t] = v;  v[t] = a_in1[t]
    inverse root    s_out = 1 / sqrt(a_in)

fixed_pt: the product is shifted right by exp (floor). Messages of all of them count as they are,
thresholds too. The inverse root has no fixed-point form in words:
:class:`lavalike.backends.numba.graded.InvSqrtModel` has Lava's table and Newton's steps.
"""  # noqa: W505

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lavalike.dynamics.dynamics import Constants, Dynamics, integral
from lavalike.dynamics.ops import above, absolute, sqrt, unscale, where
from lavalike.dynamics.parameter import Parameter
from lavalike.process.units import Units


def beyond(v, vth):
    return where(above(absolute(v), vth), v, 0)


def graded_vec(a_in, v, vth):
    return beyond(v + a_in, vth), v * 0


def graded_relu_vec(a_in, v, vth):
    x = v + a_in
    return where(above(x, vth), x, 0), v * 0  # of what was: 0 times an infinite message is none


def prod_neuron(a_in1, a_in2, v, out_scale, vth):
    return beyond(unscale(a_in1 * a_in2, out_scale), vth), v


def norm_vec_delay(a_in1, a_in2, v, v2, vth):
    return beyond(v * a_in2, vth), a_in1 * a_in1, a_in1, v


def inv_sqrt(a_in):
    return 1 / sqrt(a_in)


def shifted(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    return {"out_scale": integral("exp", values["exp"], 0, 31) if fixed else np.asarray(1.0)}


def messages(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    return {}  # exp tells what messages count in; nothing is shifted by it


VTH = Parameter("vth", 1, counts="message", doc="threshold, strict, in the unit of messages")
EXP = Parameter(
    "exp",
    0,
    0,
    31,
    argument="out_scale",
    per="one",
    doc="fixed_pt: fractional bits of the messages, by which a product is shifted right, 0..31; floating_pt has no use for them",
)


def _graded(step, inputs=("a_in",), outputs=("s_out",), states=("v",), **kwargs) -> Dynamics:
    return Dynamics(step, inputs, outputs, states, graded=outputs, loihi=True, **kwargs)


BASE = replace(
    EXP,
    argument="exp",
    doc="fractional bits of the messages, for who reads them; nothing is shifted",
)


TWO = ("a_in1", "a_in2")
GRADED_VEC = _graded(graded_vec, constants=messages, parameters=(VTH, BASE))
GRADED_RELU_VEC = _graded(graded_relu_vec, constants=messages, parameters=(VTH, BASE))
PROD_NEURON = _graded(prod_neuron, TWO, constants=shifted, parameters=(VTH, EXP))
NORM_VEC_DELAY = _graded(
    norm_vec_delay,
    TWO,
    ("s_out", "s2_out"),
    ("v", "v2"),
    constants=messages,
    parameters=(VTH, BASE),
)
INV_SQRT = _graded(
    inv_sqrt,
    states=(),
    constants=messages,
    fixed=False,
    parameters=(
        Parameter(
            "fp_base",
            12,
            0,
            20,
            argument="base",
            per="one",
            doc="fixed_pt: fractional bits of the root, 0..20; floating_pt has no use for them",
        ),
    ),
)
