"""Leaky integrate-and-fire processes. Equations and what their parameters mean:
:mod:`lavalike.dynamics.lif`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import lif
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var


class _LIF(Neuron):
    a_in: InPort
    s_out: OutPort
    u: Var
    v: Var
    du: Var
    dv: Var
    bias_mant: Var
    bias_exp: Var


class LIF(_LIF):
    """Leaky integrate-and-fire with current:
    ``u = u(1-du) + a_in; v = v(1-dv) + u + bias; s_out = v > vth``."""

    dynamics = lif.LIF
    vth: Var

    @declared(lif.LIF)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class LIFLateBias(LIF):
    """LIF whose bias acts only in steps ``t > bias_start``: a slayer layer does not run before its
    first input."""

    dynamics = lif.LIF_LATE_BIAS
    bias_start: Var

    @declared(lif.LIF_LATE_BIAS)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        bias_start: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class LIFReset(LIFLateBias):
    """LIF with u = v = 0 before the step whenever
    ``t % reset_interval == reset_offset % reset_interval``; defaults as in Lava."""

    dynamics = lif.LIF_RESET
    reset_interval: Var
    reset_offset: Var

    @declared(lif.LIF_RESET)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        bias_start: Any = 0,
        reset_interval: int = 1,
        reset_offset: int = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class LearningLIF(LIF):
    """LIF that sends what a learning rule may receive: on ``s_out_bap`` its spikes once more, on
    ``s_out_y1`` a trace of them (``y1 = y1(1 - y1_decay) + y1_impulse * s_out``), on ``s_out_y2``
    the third factor that arrives on ``a_third_factor_in`` in the step (a reward), on ``s_out_y3``
    the Var ``y3``, as it was set.

    Example::

        dense.a_out.connect(neurons.a_in)
        reward.s_out.connect(neurons.a_third_factor_in)
        neurons.s_out_bap.connect(dense.s_in_bap)
        neurons.s_out_y2.connect(dense.s_in_y2)
    """

    dynamics = lif.LIF_LEARNING
    a_third_factor_in: InPort
    s_out_bap: OutPort
    s_out_y1: OutPort
    s_out_y2: OutPort
    s_out_y3: OutPort
    y1: Var
    y2: Var
    y3: Var
    y1_decay: Var
    y1_impulse: Var

    @declared(lif.LIF_LEARNING)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        y1: Any = 0,
        y2: Any = 0,
        y3: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        y1_decay: Any = 0,
        y1_impulse: Any = 1,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class LIFRefractory(LIF):
    """LIF whose v is frozen for ``refractory_period`` steps after a spike. floating_pt only, as in
    Lava.

    The Var ``refractory_period_end`` is the step in which the last period ends or ended.
    """

    dynamics = lif.LIF_REFRACTORY
    refractory_period: Var
    refractory_period_end: Var

    @declared(lif.LIF_REFRACTORY, hidden=("refractory_period_end",))
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        refractory_period: int = 1,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class TernaryLIF(_LIF):
    """LIF that sends +1 above ``vth_hi`` and -1 below ``vth_lo``."""

    dynamics = lif.TERNARY_LIF
    vth_hi: Var
    vth_lo: Var

    @declared(lif.TERNARY_LIF)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth_hi: Any = 10,
        vth_lo: Any = -10,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...
