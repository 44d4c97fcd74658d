"""Adaptive leaky integrate-and-fire processes. Equations: :mod:`lavalike.dynamics.adaptive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments
from lavalike.dynamics import adaptive
from lavalike.errors import VarError
from lavalike.proc.lif import LIF
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, Var


def adapting(process: AbstractProcess, shape: tuple[int, ...], threshold_step: Any, threshold_decay: Any, refractory_decay: Any,
             offset: Any, r: Any) -> None:
    """Give ``process`` the Vars of a rising threshold."""
    process.threshold_step = parameter(shape, threshold_step, name="threshold_step")
    process.threshold_decay = parameter(shape, threshold_decay, name="threshold_decay")
    process.refractory_decay = parameter(shape, refractory_decay, name="refractory_decay")
    process.offset = Var(shape, offset, name="offset")
    process.r = Var(shape, r, name="r")


class ALIF(LIF):
    """LIF whose threshold rises with every spike: ``u = u(1-du) + a_in + bias; v = v(1-dv) + u``, not reset;
    ``s_out = v >= vth + offset + r``, after which ``offset += threshold_step`` and ``r += 2 (vth + offset)``.

    Args:
        shape, u, v, du, dv, bias_mant, bias_exp, loihi_units, checked: see LIF; the bias adds to the current here.
        vth: the threshold at rest, >= 0; shifted left by 6 in fixed_pt. Default 10.
        threshold_step: >= 0, in the unit of vth. Default 0.
        threshold_decay, refractory_decay: of offset and r; floating_pt in 0..1, fixed_pt integers in 0..4096 (1/4096).
            Default 0.
        offset, r: initial states. Default 0.
    """

    dynamics = adaptive.ALIF

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], threshold_step: Any = 0, threshold_decay: Any = 0, refractory_decay: Any = 0,
                 offset: Any = 0, r: Any = 0, **kwargs: Any) -> None:
        super().__init__(shape=shape, **kwargs)
        adapting(self, self.shape, threshold_step, threshold_decay, refractory_decay, offset, r)


class ALIFLateBias(ALIF):
    """ALIF whose bias acts only in steps ``t > bias_start``, one number or one a neuron. Default 0."""

    dynamics = adaptive.ALIF_LATE_BIAS

    @arguments(error=VarError)
    def __init__(self, *, bias_start: Any = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bias_start = parameter(self.shape, bias_start, name="bias_start")
