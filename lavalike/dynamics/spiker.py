"""A neuron that sends the same number again and again (reference: Lava 0.11, proc/spiker).

s_out[t] = payload where counter[t-1] = period, else 0
counter[t] = 1 where counter[t-1] = period, else counter[t-1] + 1
"""

from __future__ import annotations

from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.ops import where
from lavalike.dynamics.parameter import Parameter


def spiker(counter, period, payload):
    due = counter == period
    return where(due, payload, 0), where(due, 1, counter + 1)


SPIKER = Dynamics(
    spiker,
    (),
    ("s_out",),
    ("counter",),
    graded=("s_out",),
    parameters=(
        Parameter(
            "period",
            10,
            1,
            counts="step",
            doc="steps from message to message, the first of which is sent in step period + 1",
        ),
        Parameter("payload", 1, doc="what is sent"),
    ),
    loihi=True,
)
