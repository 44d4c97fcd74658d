"""Resonate-and-fire processes. Equations: :mod:`lavalike.dynamics.resonator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments, integer
from lavalike.dynamics import adaptive, resonator
from lavalike.errors import VarError
from lavalike.proc.alif import adapting
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class RF(AbstractProcess):
    """Resonate-and-fire; spikes as the phase passes zero with ``real >= vth``. Never reset.

    Args:
        period: of the oscillation in steps, > 0. Default 10.
        alpha: decay per step, 0..1. Default 0.07.
        vth: threshold. Default 1.
        state_exp, decay_bits: fixed_pt: fractional bits of states and of the decays. Defaults 0.
        cos_decay, sin_decay: with ``loihi_units`` the decays as integers in 2**-decay_bits instead of
            period and alpha; nothing is derived again.
        checked: see :class:`lavalike.proc.LIF`. Default False.
    """

    dynamics = resonator.RF

    @arguments(error=VarError, state_exp=integer(0), decay_bits=integer(0))
    def __init__(self, *, shape: Sequence[int], period: Any = 10, alpha: Any = 0.07, vth: Any = 1, state_exp: int = 0,
                 decay_bits: int = 0, cos_decay: Any = 0, sin_decay: Any = 0, real: Any = 0, imag: Any = 0,
                 loihi_units: bool = False, checked: bool = False, name: str | None = None) -> None:
        super().__init__(name=name, loihi_units=loihi_units, checked=checked)
        self.a_real_in = InPort(shape)
        self.a_imag_in = InPort(shape)
        self.s_out = OutPort(shape)
        self.shape = self.s_out.shape
        self.real = Var(self.shape, real, name="real")
        self.imag = Var(self.shape, imag, name="imag")
        self.period = parameter(self.shape, period, name="period")
        self.alpha = parameter(self.shape, alpha, name="alpha")
        self.vth = parameter(self.shape, vth, name="vth")
        self.cos_decay = parameter(self.shape, cos_decay, name="cos_decay")
        self.sin_decay = parameter(self.shape, sin_decay, name="sin_decay")
        self.state_exp = Var((1,), state_exp, role="parameter", name="state_exp")
        self.decay_bits = Var((1,), decay_bits, role="parameter", name="decay_bits")


class RF_IZ(RF):
    """Resonate-and-fire of Izhikevich; spikes where ``imag >= vth``, then real = 0 and imag just below vth."""

    dynamics = resonator.RF_IZ


class ADRF(RF):
    """RF whose threshold rises with every spike: it spikes as the phase passes zero with ``real >= vth + offset + r``,
    after which ``offset += threshold_step`` and ``r += 2 (vth + offset)``.

    Args:
        vth: the threshold at rest, >= 0. Default 1.
        threshold_step, threshold_decay, refractory_decay, offset, r: see :class:`lavalike.proc.ALIF`; the step is in the
            unit of vth.
    """

    dynamics = adaptive.ADRF

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], threshold_step: Any = 0, threshold_decay: Any = 0, refractory_decay: Any = 0,
                 offset: Any = 0, r: Any = 0, **kwargs: Any) -> None:
        super().__init__(shape=shape, **kwargs)
        adapting(self, self.shape, threshold_step, threshold_decay, refractory_decay, offset, r)


class ADRF_IZ(ADRF):
    """ADRF that spikes where ``imag >= vth + offset + r``; not reset."""

    dynamics = adaptive.ADRF_IZ
