"""Processes of NIR's neurons, as :func:`netx.nir.from_nir` makes them. Equations and what their
parameters mean: :mod:`lavalike.dynamics.nir`.

They hear and answer in the same step, and run in floating_pt: NIR has numbers only. A LIF or
CubaLIF whose input counts as it is (gain 1) and that is reset to 0 is :class:`lavalike.proc.LIF`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import FLAG
from lavalike.dynamics import nir
from lavalike.errors import VarError
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var

RULES: Any = {"lower": FLAG, "inclusive": FLAG}
TEXTS = {
    "lower": "a spike takes vth off v, and v_reset, which is 0, plays no part. Default False: v becomes v_reset.",
    "inclusive": "a spike is v >= vth. Default False: v > vth.",
}


class LI(Neuron):
    """Leaky integrator, sends its potential: ``v = keep v + gain a_in + drive; s_out = v``.

    Example:
        >>> from lavalike.proc import nir
        >>> li = nir.LI(shape=(1,), keep=0.5, gain=2)
        >>> lv.simulate(li, {"a_in": [[1.0, 0.0, 0.0]]})["s_out"].tolist()
        [[2.0, 1.0, 0.5]]
    """

    dynamics = nir.LI
    a_in: InPort
    s_out: OutPort
    v: Var
    keep: Var
    gain: Var
    drive: Var

    @declared(nir.LI)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        v: Any = 0,
        keep: Any = 1,
        gain: Any = 1,
        drive: Any = 0,
        name: str | None = None,
    ) -> None: ...


class LIF(Neuron):
    """Leaky integrate-and-fire: ``v = keep v + gain a_in + drive; s_out = v > vth``, after which v
    is v_reset.

    Example::

        dt, tau, r = 1e-4, 2.5e-3, 1.0
        LIF(shape=(10,), keep=1 - dt / tau, gain=dt / tau * r, vth=0.1)
    """

    a_in: InPort
    s_out: OutPort
    v: Var
    keep: Var
    gain: Var
    drive: Var
    vth: Var
    v_reset: Var

    @declared(nir.LIF[False, False], extras=TEXTS, **RULES)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        v: Any = 0,
        keep: Any = 1,
        gain: Any = 1,
        drive: Any = 0,
        vth: Any = 1,
        v_reset: Any = 0,
        lower: bool = False,
        inclusive: bool = False,
        name: str | None = None,
    ) -> None:
        self.dynamics = nir.LIF[_kind(self, lower, inclusive, v_reset)]


class CubaLI(Neuron):
    """Leaky integrator with a current, sends its potential: ``u = keep_u u + gain_u a_in;
    v = keep v + gain (r u + v_leak); s_out = v``.

    Example:
        >>> from lavalike.proc import nir
        >>> li = nir.CubaLI(shape=(1,), keep_u=0.5, keep=0.5, gain=1)
        >>> lv.simulate(li, {"a_in": [[1.0, 0.0, 0.0]]})["s_out"].tolist()
        [[1.0, 1.0, 0.75]]
    """

    dynamics = nir.CUBA_LI
    a_in: InPort
    s_out: OutPort
    u: Var
    v: Var
    keep_u: Var
    gain_u: Var
    keep: Var
    gain: Var
    r: Var
    v_leak: Var

    @declared(nir.CUBA_LI)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        keep_u: Any = 1,
        gain_u: Any = 1,
        keep: Any = 1,
        gain: Any = 1,
        r: Any = 1,
        v_leak: Any = 0,
        name: str | None = None,
    ) -> None: ...


class CubaLIF(Neuron):
    """Leaky integrate-and-fire with a current: ``u = keep_u u + gain_u a_in;
    v = keep v + gain (r u + v_leak); s_out = v > vth``, after which v is v_reset.

    Example:
        >>> from lavalike.proc import nir
        >>> lif = nir.CubaLIF(shape=(1,), keep_u=0.5, keep=0.5, gain=1, vth=1.2)
        >>> lv.simulate(lif, {"a_in": [[1.0, 1.0, 0.0]]})["s_out"].tolist()
        [[0.0, 1.0, 0.0]]
    """

    a_in: InPort
    s_out: OutPort
    u: Var
    v: Var
    keep_u: Var
    gain_u: Var
    keep: Var
    gain: Var
    r: Var
    v_leak: Var
    vth: Var
    v_reset: Var

    @declared(nir.CUBA_LIF[False, False], extras=TEXTS, **RULES)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        keep_u: Any = 1,
        gain_u: Any = 1,
        keep: Any = 1,
        gain: Any = 1,
        r: Any = 1,
        v_leak: Any = 0,
        vth: Any = 1,
        v_reset: Any = 0,
        lower: bool = False,
        inclusive: bool = False,
        name: str | None = None,
    ) -> None:
        self.dynamics = nir.CUBA_LIF[_kind(self, lower, inclusive, v_reset)]


class Threshold(Neuron):
    """Sends 1 where ``a_in > vth``. Keeps nothing.

    Example:
        >>> from lavalike.proc import nir
        >>> above = nir.Threshold(shape=(1,), vth=0.5)
        >>> lv.simulate(above, {"a_in": [[0.5, 0.75]]})["s_out"].tolist()
        [[0.0, 1.0]]
    """

    dynamics = nir.THRESHOLD
    a_in: InPort
    s_out: OutPort
    vth: Var

    @declared(nir.THRESHOLD)
    def __init__(
        self, *, shape: int | Sequence[int], vth: Any = 1, name: str | None = None
    ) -> None: ...


class Scale(Neuron):
    """Sends ``factor a_in + bias``. Keeps nothing.

    Example:
        >>> from lavalike.proc import nir
        >>> lv.simulate(nir.Scale(shape=(1,), factor=2), {"a_in": [[0.5, 1.0]]})["s_out"].tolist()
        [[1.0, 2.0]]
    """

    dynamics = nir.SCALE
    a_in: InPort
    s_out: OutPort
    factor: Var
    bias: Var

    @declared(nir.SCALE)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        factor: Any = 1,
        bias: Any = 0,
        name: str | None = None,
    ) -> None: ...


def _kind(process: Neuron, lower: bool, inclusive: bool, v_reset: Any) -> tuple[bool, bool]:
    """Which equation; VarError for a potential after a spike that takes vth off."""
    if lower and np.any(np.asarray(v_reset) != 0):
        raise VarError(
            f"{type(process).__name__}: v_reset={v_reset!r:.60} is of no use where a spike takes vth off (lower=True); "
            "leave it out"
        )
    return bool(lower), bool(inclusive)
