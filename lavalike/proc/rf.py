"""Resonate-and-fire processes. Equations and what their parameters mean:
:mod:`lavalike.dynamics.resonator` and ``adaptive``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import adaptive, resonator
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var


class RF(Neuron):
    """Resonate-and-fire; spikes as the phase passes zero with ``real >= vth``. Never reset."""

    dynamics = resonator.RF
    a_real_in: InPort
    a_imag_in: InPort
    s_out: OutPort
    real: Var
    imag: Var
    period: Var
    alpha: Var
    vth: Var
    cos_decay: Var
    sin_decay: Var
    state_exp: Var
    decay_bits: Var

    @declared(resonator.RF)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        period: Any = 10,
        alpha: Any = 0.07,
        vth: Any = 1,
        state_exp: int = 0,
        decay_bits: int = 0,
        cos_decay: Any = 0,
        sin_decay: Any = 0,
        real: Any = 0,
        imag: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class RF_IZ(RF):
    """Resonate-and-fire of Izhikevich; spikes where ``imag >= vth``, then real = 0 and imag just
    below vth."""

    dynamics = resonator.RF_IZ


class ADRF(RF):
    """RF whose threshold rises with every spike: it spikes as the phase passes zero with
    ``real >= vth + offset + r``, after which ``offset += threshold_step`` and
    ``r += 2 (vth + offset)``."""

    dynamics = adaptive.ADRF
    threshold_step: Var
    threshold_decay: Var
    refractory_decay: Var
    offset: Var
    r: Var

    @declared(adaptive.ADRF)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        period: Any = 10,
        alpha: Any = 0.07,
        vth: Any = 1,
        state_exp: int = 0,
        decay_bits: int = 0,
        cos_decay: Any = 0,
        sin_decay: Any = 0,
        threshold_step: Any = 0,
        threshold_decay: Any = 0,
        refractory_decay: Any = 0,
        real: Any = 0,
        imag: Any = 0,
        offset: Any = 0,
        r: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


class ADRF_IZ(ADRF):
    """ADRF that spikes where ``imag >= vth + offset + r``; not reset."""

    dynamics = adaptive.ADRF_IZ


class RFZero(Neuron):
    """Resonate-and-fire with a frequency and a decay time, which sends its amplitude:
    ``s_out = u where u > uth`` as v passes zero upwards. Never reset."""

    dynamics = resonator.RF_ZERO
    u_in: InPort
    v_in: InPort
    s_out: OutPort
    u: Var
    v: Var
    freqs: Var
    decay_tau: Var
    dt: Var
    uth: Var

    @declared(resonator.RF_ZERO)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        freqs: Any,
        decay_tau: Any,
        dt: Any = 0.001,
        uth: Any = 1,
        u: Any = 0,
        v: Any = 0,
        name: str | None = None,
    ) -> None: ...
