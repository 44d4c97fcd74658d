"""EventProp's adjoint of the CUBA neuron (Wunderlich and Pehle 2021, Event-based backpropagation can
compute exact gradients for spiking neural networks).

The neuron of a step, ``u' = k u + x; v' = K v + u' + bias; s = v' > vth``, reset in the step it
spikes in, is a membrane that flows at ``u + bias - (1 - K) v`` a step. A spike is the passing of its
threshold: it comes earlier by ``dv / f`` where v is greater by dv, f the flow at the threshold, and
the membrane then starts earlier at the flow f+ after the reset. So from the last step to the first,
``q`` the loss's derivative by the time of the spike,

    m[t] = K p[t+1] + dL/dv[t]                  of the membrane after its reset
    p[t] = (f+ m[t] - q[t]) / f where s[t], else m[t];  + dL/dv_out[t], read before the reset
    l[t] = k l[t+1] + p[t] + dL/du[t],          dL/dx = l

Exact as steps become short; f > 0 wherever the membrane passes the threshold upwards.
"""  # noqa: W505

from __future__ import annotations

from dataclasses import dataclass

from lavalike.dynamics import lif, membrane
from lavalike.dynamics.dynamics import Dynamics, Step
from lavalike.dynamics.ops import where


def adjoint(s, u, v, q, of_u, of_v, of_out, lam_u, lam_v, keep_u, keep_v, bias, vth, resets):
    drive = u + bias
    flow = drive - (1 - keep_v) * vth
    fired = where(flow > 0, s, 0)  # what starts above its threshold passes none
    per = 1 / where(fired, flow, 1)
    later = lam_v + of_v
    begun = where(resets, (drive - (1 - keep_v) * v) * per, 1)
    jumped = where(fired, begun * later - q * per, later)
    before = jumped + of_out
    down = keep_u * lam_u + before + of_u
    return down, before, jumped, down, keep_v * before


ADJOINT = Dynamics(
    adjoint,
    ("s", "u", "v", "q", "of_u", "of_v", "of_out"),
    ("down", "before", "jumped"),
    ("lam_u", "lam_v"),
    fixed=False,
    graded=("down", "before", "jumped"),
)


@dataclass(frozen=True)
class Form:
    """How a neuron's step calls what the equations above do; "" is what it has not."""

    current: str
    voltage: str
    keep_u: str
    keep_v: str
    bias: str = ""
    resets: bool = True


FORMS: dict[Step, Form] = {
    lif.lif: Form("u", "v", "keep_u", "keep_v", "bias"),
    lif.fire: Form("", "v", "", "keep_v"),
    **{
        d.step: Form("syn", "mem", "alpha", "beta", resets=kind != "none")
        for kind, d in membrane.SYNAPTIC_NOW.items()
    },
}
LINEAR: tuple[Step, ...] = (lif.integrate,)  # without spikes: its gradient is exact as it is
