"""Leaky integrate-and-fire processes. Equations: :mod:`lavalike.dynamics.lif`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments, integer
from lavalike.dynamics import lif
from lavalike.errors import VarError
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class _LIF(AbstractProcess):
    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], u: Any = 0, v: Any = 0, du: Any = 0, dv: Any = 0, bias_mant: Any = 0,
                 bias_exp: Any = 0, loihi_units: bool = False, checked: bool = False, name: str | None = None) -> None:
        super().__init__(name=name, loihi_units=loihi_units, checked=checked)
        self.a_in = InPort(shape)
        self.s_out = OutPort(shape)
        self.shape = self.a_in.shape
        self.u = Var(self.shape, u, name="u")
        self.v = Var(self.shape, v, name="v")
        self.du = parameter(self.shape, du, name="du")
        self.dv = parameter(self.shape, dv, name="dv")
        self.bias_mant = Var(self.shape, bias_mant, role="parameter", trainable=True, name="bias_mant")
        self.bias_exp = Var(self.shape, bias_exp, role="parameter", name="bias_exp")


class LIF(_LIF):
    """Leaky integrate-and-fire with current: ``u = u(1-du) + a_in; v = v(1-dv) + u + bias; s_out = v > vth``.

    Args:
        shape: of the population, and of one message.
        u, v: initial current and voltage. Default 0.
        du, dv: decays; floating_pt in 0..1, fixed_pt integers in 0..4095 (1/4096; du counts from 1). Default 0.
        bias_mant, bias_exp: bias, ``bias_mant * 2**bias_exp`` in fixed_pt, ``bias_mant`` in floating_pt.
        vth: threshold, strict; shifted left by 6 in fixed_pt. Default 10.
        loihi_units: the values are fixed_pt integers in floating_pt too (netx sets this): decays count
            in 1/4096, states in 1/64 of the threshold's unit, so ports carry the same numbers in both.
        checked: in fixed_pt, raise OverflowError24 where a state leaves its 24 bits instead of wrapping. Default False.
    """

    dynamics = lif.LIF

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], vth: Any = 10, **kwargs: Any) -> None:
        super().__init__(shape=shape, **kwargs)
        self.vth = parameter(self.shape, vth, name="vth")


class LIFLateBias(LIF):
    """LIF whose bias acts only in steps ``t > bias_start``: a slayer layer does not run before its first input.

    ``bias_start`` is one number or one a neuron. Default 0.
    """

    dynamics = lif.LIF_LATE_BIAS

    @arguments(error=VarError)
    def __init__(self, *, bias_start: Any = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bias_start = parameter(self.shape, bias_start, name="bias_start")


class LIFReset(LIFLateBias):
    """LIF with u = v = 0 before the step whenever ``t % reset_interval == reset_offset % reset_interval``.

    Defaults as in Lava: interval 1, offset 0; bias_start as in LIFLateBias.
    """

    dynamics = lif.LIF_RESET

    @arguments(error=VarError, reset_interval=integer(1), reset_offset=integer())
    def __init__(self, *, reset_interval: int = 1, reset_offset: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reset_interval = Var((1,), reset_interval, role="parameter", name="reset_interval")
        self.reset_offset = Var((1,), reset_offset, role="parameter", name="reset_offset")


class LIFRefractory(LIF):
    """LIF whose v is frozen for ``refractory_period`` steps after a spike. floating_pt only, as in Lava.

    The Var ``refractory_period_end`` is the step in which the last period ends or ended.
    """

    dynamics = lif.LIF_REFRACTORY

    @arguments(error=VarError, refractory_period=integer(1))
    def __init__(self, *, refractory_period: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.refractory_period = Var((1,), refractory_period, role="parameter", name="refractory_period")
        self.refractory_period_end = Var(self.shape, 0, name="refractory_period_end")


class TernaryLIF(_LIF):
    """LIF that sends +1 above ``vth_hi`` and -1 below ``vth_lo``."""

    dynamics = lif.TERNARY_LIF

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], vth_hi: Any = 10, vth_lo: Any = -10, **kwargs: Any) -> None:
        super().__init__(shape=shape, **kwargs)
        self.vth_hi = parameter(self.shape, vth_hi, name="vth_hi")
        self.vth_lo = parameter(self.shape, vth_lo, name="vth_lo")
