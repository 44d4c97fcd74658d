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
    ``u = u(1-du) + a_in; v = v(1-dv) + u + bias; s_out = v > vth``.

    Example:
        >>> lif = proc.LIF(shape=(2,), du=0.5, dv=0.1, vth=1.0)
        >>> rec = lv.simulate(lif, {"a_in": np.full((2, 6), 0.3)}, record=[lif.v])
        >>> rec["s_out"].astype(int)
        array([[0, 0, 1, 0, 1, 0],
               [0, 0, 1, 0, 1, 0]])
    """

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
    first input.

    Example:
        >>> lif = proc.LIFLateBias(shape=(1,), dv=0, vth=1.0, bias_mant=0.6, bias_start=3)
        >>> lv.simulate(lif, steps=8)["s_out"].astype(int)
        array([[0, 0, 0, 0, 1, 0, 1, 0]])
    """

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
    ``t % reset_interval == reset_offset % reset_interval``; defaults as in Lava.

    Example:
        >>> lif = proc.LIFReset(shape=(1,), dv=0, vth=10, bias_mant=1, reset_interval=3)
        >>> lv.simulate(lif, steps=7, record=[lif.v])[lif.v]
        array([[1., 2., 1., 2., 3., 1., 2.]], dtype=float32)
    """

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

    Example:
        >>> lif = proc.LIFRefractory(shape=(1,), dv=0, vth=1.0, bias_mant=0.6, refractory_period=3)
        >>> lv.simulate(lif, steps=10)["s_out"].astype(int)
        array([[0, 1, 0, 0, 0, 0, 1, 0, 0, 0]])
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
    """LIF that sends +1 above ``vth_hi`` and -1 below ``vth_lo``.

    Example:
        >>> lif = proc.TernaryLIF(shape=(2,), du=1, dv=0, vth_hi=1.0, vth_lo=-1.0)
        >>> rec = lv.simulate(lif, {"a_in": np.array([[0.6] * 4, [-0.6] * 4])})
        >>> rec["s_out"].astype(int)
        array([[ 0,  1,  0,  1],
               [ 0, -1,  0, -1]])
    """

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
