"""A leaky integrator that sends what is above a threshold, and keeps the rest."""

from __future__ import annotations

from collections.abc import Sequence

import lavalike as lv


class Leaky(lv.AbstractProcess):
    """``v[t] = v[t-1] (1 - dv) + a_in[t]``; sends 1 where v > vth, and v is 0 there.

    Args:
        shape: of the neurons.
        dv: decay of the voltage, 0..1. Default 0.1.
        vth: threshold. Default 1.
    """

    def __init__(self, *, shape: Sequence[int], dv: float = 0.1, vth: float = 1.0) -> None:
        super().__init__()
        self.a_in = lv.InPort(shape)
        self.s_out = lv.OutPort(shape)
        self.v = lv.Var(shape, 0)
        self.dv = lv.Var((1,), dv, role="parameter")
        self.vth = lv.Var((1,), vth, role="parameter")


@lv.implements(Leaky, backend="numba", precision="floating_pt")
class LeakyModel(lv.NumbaModel):
    """Compiled by Numba: one pass over the neurons in each step."""

    @staticmethod
    def step(a_in, s_out, v, dv, vth):
        for k in range(v.size):
            v[k] = v[k] * (1 - dv[0]) + a_in[k]
            s_out[k] = v[k] > vth[0]
            if s_out[k]:
                v[k] = 0


def example() -> Leaky:
    """Four neurons, for ``lavalike check`` and the tests."""
    return Leaky(shape=(4,))
