"""Adaptive leaky integrate-and-fire processes. Equations and what their parameters mean: :mod:`lavalike.dynamics.adaptive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import adaptive
from lavalike.proc.lif import LIF
from lavalike.proc.neuron import declared
from lavalike.process import Var


class ALIF(LIF):
    """LIF whose threshold rises with every spike: ``u = u(1-du) + a_in + bias; v = v(1-dv) + u``, not reset;
    ``s_out = v >= vth + offset + r``, after which ``offset += threshold_step`` and ``r += 2 (vth + offset)``."""

    dynamics = adaptive.ALIF
    threshold_step: Var
    threshold_decay: Var
    refractory_decay: Var
    offset: Var
    r: Var

    @declared(adaptive.ALIF)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        offset: Any = 0,
        r: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        threshold_step: Any = 0,
        threshold_decay: Any = 0,
        refractory_decay: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class ALIFLateBias(ALIF):
    """ALIF whose bias acts only in steps ``t > bias_start``."""

    dynamics = adaptive.ALIF_LATE_BIAS
    bias_start: Var

    @declared(adaptive.ALIF_LATE_BIAS)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        offset: Any = 0,
        r: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        threshold_step: Any = 0,
        threshold_decay: Any = 0,
        refractory_decay: Any = 0,
        bias_start: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...
