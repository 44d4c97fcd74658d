"""Continually learning prototypes (reference: Lava 0.11, proc/clp).

novelty    an input begins to wait, an output ends that; where t > t_wait steps have passed
           without, 1 is sent once
allocator  s = next where a trigger comes, else 0;  next counts on
prototype  a LIF whose states are 0 where a reset comes; a third factor k, the same to all,
           makes the k-th neuron (from 1) spike and no other, tells its synapses so
           (s_out_bap), and sets y1, which is sent, to 127 there and 0 elsewhere
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lavalike.dynamics.dynamics import Constants, Dynamics
from lavalike.dynamics.lif import LEAKS, VTH, biased, current, membrane
from lavalike.dynamics.ops import above, where, wrap
from lavalike.dynamics.parameter import Parameter
from lavalike.process.units import Units

ALLOCATED = 127  # what y1 is of the neuron that was told to learn


def broadcast(a_in, val):
    return a_in, a_in


def novelty(input_aval_in, output_aval_in, waiting, t_passed, t_wait):
    comes = input_aval_in != 0
    known = output_aval_in != 0
    waiting = where(comes, 1, waiting)
    t_passed = where(comes, 0, t_passed)
    late = where(known, 0, where(t_passed > t_wait, 1, 0))
    over = where(known, 1, late)
    waiting = waiting * (1 - over)
    return late, waiting, t_passed * (1 - over) + waiting


def allocator(trigger_in, next_alloc_id):
    asked = trigger_in != 0
    return where(asked, next_alloc_id, 0), where(asked, next_alloc_id + 1, next_alloc_id)


def prototype(a_in, a_third_factor_in, reset_in, u, v, y1, keep_u, keep_v, gain, bias, number, vth):
    u = wrap(current(a_in, u, keep_u, gain))
    v = membrane(u, v, keep_v, bias)
    clear = reset_in > 0
    u = where(clear, 0, u)
    v = where(clear, 0, v)
    told = a_third_factor_in != 0
    mine = where(a_third_factor_in == number, 1, 0)
    y1 = where(told, mine * ALLOCATED, y1)
    s_out = where(told, mine, above(v, vth) * 1)
    return s_out, mine, y1, u, where(s_out != 0, 0, v), y1


def numbered(values: Mapping[str, np.ndarray], units: Units, fixed: bool) -> Constants:
    u = values["u"]
    return biased(values, units, fixed) | {"number": np.arange(1, u.size + 1).reshape(u.shape)}


BROADCAST = Dynamics(broadcast, ("a_in",), ("s_out",), ("val",), graded=("s_out",), loihi=True)
NOVELTY = Dynamics(
    novelty,
    ("input_aval_in", "output_aval_in"),
    ("novelty_detected_out",),
    ("waiting", "t_passed"),
    parameters=(
        Parameter(
            "t_wait",
            None,
            0,
            counts="step",
            per="one",
            doc="steps after an input in which an output means that it is known",
        ),
    ),
    loihi=True,
)
ALLOCATOR = Dynamics(
    allocator,
    ("trigger_in",),
    ("allocate_out",),
    ("next_alloc_id",),
    graded=("allocate_out",),
    loihi=True,
)
PROTOTYPE = Dynamics(
    prototype,
    ("a_in", "a_third_factor_in", "reset_in"),
    ("s_out", "s_out_bap", "s_out_y1"),
    ("u", "v", "y1"),
    numbered,
    per_neuron=("bias", "number"),
    graded=("s_out_y1",),
    parameters=(*LEAKS, VTH),
    loihi=True,
)
