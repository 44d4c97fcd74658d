"""Adaptive leaky integrate-and-fire processes. Equations and what their parameters mean:
:mod:`lavalike.dynamics.adaptive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import adaptive
from lavalike.proc.lif import LIF
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var


class ALIF(LIF):
    """LIF whose threshold rises with every spike: ``u = u(1-du) + a_in + bias; v = v(1-dv) + u``,
    not reset; ``s_out = v >= vth + offset + r``, after which ``offset += threshold_step`` and
    ``r += 2 (vth + offset)``.

    Example:
        >>> adapting = {"threshold_step": 0.5, "threshold_decay": 0.1}
        >>> alif = proc.ALIF(shape=(1,), du=1, dv=0, vth=1.0, **adapting)
        >>> rec = lv.simulate(alif, {"a_in": np.full((1, 16), 0.6)})
        >>> np.flatnonzero(rec["s_out"])  # further and further apart
        array([ 1,  5, 10, 15])
    """

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
    """ALIF whose bias acts only in steps ``t > bias_start``.

    Example:
        >>> alif = proc.ALIFLateBias(shape=(1,), dv=0, vth=1.0, bias_mant=0.6, bias_start=4)
        >>> np.flatnonzero(lv.simulate(alif, steps=10)["s_out"])
        array([5, 6, 7, 8, 9])
    """

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


class ATRLIF(Neuron):
    """LIF whose threshold rises with every spike:
    ``i = i(1-delta_i) + a_in; v = v(1-delta_v) + i + bias``, not reset;
    ``theta = (theta - theta_0)(1-delta_theta) + theta_0; r = r(1-delta_r)``;
    ``s_out = v - r >= theta``, after which ``r += 2 theta`` and ``theta += theta_step``. s is what
    was sent last. In fixed_pt theta begins at theta_0, shifted left by 6.

    Example:
        >>> neuron = proc.ATRLIF(shape=(1,))
        >>> rec = lv.simulate(neuron, {"a_in": np.full((1, 20), 3.0)})
        >>> np.flatnonzero(rec["s_out"])
        array([ 1,  4,  8, 12, 16])
    """

    dynamics = adaptive.ATRLIF
    a_in: InPort
    s_out: OutPort
    i: Var
    v: Var
    theta: Var
    r: Var
    s: Var
    delta_i: Var
    delta_v: Var
    delta_theta: Var
    delta_r: Var
    theta_0: Var
    theta_step: Var
    bias_mant: Var
    bias_exp: Var

    @declared(adaptive.ATRLIF, hidden=("theta",), extras={"theta": "initial threshold. Default 5."})
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        i: Any = 0,
        v: Any = 0,
        theta: Any = 5,
        r: Any = 0,
        s: Any = 0,
        delta_i: Any = 0.4,
        delta_v: Any = 0.4,
        delta_theta: Any = 0.2,
        delta_r: Any = 0.2,
        theta_0: Any = 5,
        theta_step: Any = 3.75,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...
