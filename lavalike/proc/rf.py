"""Resonate-and-fire processes. Equations and what their parameters mean:
:mod:`lavalike.dynamics.resonator` and ``adaptive``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import adaptive, resonator
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var


class RF(Neuron):
    """Resonate-and-fire; spikes as the phase passes zero with ``real >= vth``. Never reset.

    Example:
        >>> rf = proc.RF(shape=(1,), period=10, alpha=0.05, vth=0.2)
        >>> x = np.zeros((1, 30))
        >>> x[0, 0] = 1.0  # one push, and it rings
        >>> np.flatnonzero(lv.simulate(rf, {"a_real_in": x})["s_out"])
        array([10, 20])
    """

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
    below vth.

    Example:
        >>> rf = proc.RF_IZ(shape=(1,), period=10, alpha=0.05, vth=0.3)
        >>> x = np.zeros((1, 30))
        >>> x[0, 0] = 1.0
        >>> np.flatnonzero(lv.simulate(rf, {"a_real_in": x})["s_out"])
        array([1])
    """

    dynamics = resonator.RF_IZ


class ADRF(RF):
    """RF whose threshold rises with every spike: it spikes as the phase passes zero with
    ``real >= vth + offset + r``, after which ``offset += threshold_step`` and
    ``r += 2 (vth + offset)``.

    Example:
        >>> rf = proc.ADRF(shape=(1,), period=10, alpha=0.02, vth=0.2, threshold_step=0.2)
        >>> x = np.zeros((1, 60))
        >>> x[0, 0] = 1.0
        >>> np.flatnonzero(lv.simulate(rf, {"a_real_in": x})["s_out"])  # once
        array([11])
    """

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
    """ADRF that spikes where ``imag >= vth + offset + r``; not reset.

    Example:
        >>> rf = proc.ADRF_IZ(shape=(1,), period=10, alpha=0.02, vth=0.2, threshold_step=0.2)
        >>> x = np.zeros((1, 60))
        >>> x[0, 0] = 1.0
        >>> np.flatnonzero(lv.simulate(rf, {"a_real_in": x})["s_out"])
        array([1, 2])
    """

    dynamics = adaptive.ADRF_IZ


class RFZero(Neuron):
    """Resonate-and-fire with a frequency and a decay time, which sends its amplitude:
    ``s_out = u where u > uth`` as v passes zero upwards. Never reset.

    Example:
        >>> rf = proc.RFZero(shape=(1,), freqs=20, decay_tau=1, dt=0.001, uth=0.1)
        >>> x = np.zeros((1, 200))
        >>> x[0, 0] = 1.0
        >>> rec = lv.simulate(rf, {"u_in": x})
        >>> np.flatnonzero(rec["s_out"])  # a period of 1 / 20 s is 50 steps
        array([ 51, 101, 151])
    """

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
