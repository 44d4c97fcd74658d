"""Sigma-delta processes. Equations and what their parameters mean:
:mod:`lavalike.dynamics.delta`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, arguments, integer, optional, shown
from lavalike.dynamics import Dynamics, delta
from lavalike.errors import VarError
from lavalike.proc.dense import Delay
from lavalike.proc.neuron import Neuron, declared
from lavalike.proc.parameters import array, expose
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class ActivationMode(enum.IntEnum):
    """Activation of a SigmaDelta.

    Example:
        >>> layer = proc.SigmaDelta(shape=(1,), vth=0.5, act_mode=proc.ActivationMode.UNIT)
        >>> lv.simulate(layer, {"a_in": np.array([[-1.0, 0, 2]])})["s_out"]  # no rectifier
        array([[-1.,  0.,  2.]], dtype=float32)
    """

    UNIT = 0
    RELU = 1


class Sigma(Neuron):
    """Adds up its input: ``sigma += a_in; s_out = sigma``.

    Example:
        >>> lv.simulate(proc.Sigma(shape=(1,)), {"a_in": np.array([[1.0, 0, 2, -1]])})["s_out"]
        array([[1., 1., 3., 2.]], dtype=float32)
    """

    dynamics = delta.SIGMA
    a_in: InPort
    s_out: OutPort
    sigma: Var

    @declared(delta.SIGMA)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        sigma: Any = 0,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...


CUM_ERROR = {"cum_error": "compare the accumulated change instead of the last. Default False."}


class Delta(Neuron):
    """Sends the change of its input where it reaches ``vth``, and keeps what it did not send.

    Example:
        >>> delta = proc.Delta(shape=(1,), vth=0.5)
        >>> lv.simulate(delta, {"a_in": np.array([[1.0, 1.1, 1.2, 1.6, 1.6]])})["s_out"]
        array([[1. , 0. , 0. , 0.6, 0. ]], dtype=float32)
    """

    a_in: InPort
    s_out: OutPort
    act: Var
    residue: Var
    error: Var
    vth: Var
    spike_exp: Var
    state_exp: Var

    @declared(delta.DELTA_CUMULATIVE, hidden=("error",), extras=CUM_ERROR, cum_error=FLAG)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        cum_error: bool = False,
        spike_exp: int = 0,
        state_exp: int = 0,
        act: Any = 0,
        residue: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None:
        self.dynamics = delta.DELTA_CUMULATIVE if cum_error else delta.DELTA


class SigmaDelta(Delta):
    """Sigma, bias, activation and Delta in one: ``sigma += a_in; x = f(sigma + bias)``, then Delta
    of x.

    Example:
        >>> layer = proc.SigmaDelta(shape=(1,), vth=0.5)
        >>> changes = np.array([[1.0, 0, -3, 3, 0]])  # of an input 1, 1, -2, 1, 1
        >>> lv.simulate(layer, {"a_in": changes})["s_out"]  # changes of 1, 1, 0, 1, 1
        array([[ 1.,  0., -1.,  1.,  0.]], dtype=float32)
    """

    sigma: Var
    bias: Var
    bias_start: Var
    act_mode: ActivationMode

    @declared(
        delta.SIGMA_DELTA_RELU_CUMULATIVE,
        hidden=("error",),
        act_mode=integer(0, 1),
        cum_error=FLAG,
        extras=CUM_ERROR
        | {
            "act_mode": "``ActivationMode.RELU`` (default) or ``UNIT``.",
            "bias_start": "the bias acts in steps ``t > bias_start`` (one number or one a neuron); RELU without cum_error only. Default 0.",
        },
    )
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        bias: Any = 0,
        act_mode: ActivationMode | int = ActivationMode.RELU,
        sigma: Any = 0,
        bias_start: Any = 0,
        cum_error: bool = False,
        spike_exp: int = 0,
        state_exp: int = 0,
        act: Any = 0,
        residue: Any = 0,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None:
        self.act_mode = ActivationMode(act_mode)
        bias_start = array("SigmaDelta: bias_start", bias_start)
        if not np.isfinite(bias_start).all():
            raise VarError(f"SigmaDelta: bias_start is finite, got {shown(bias_start)}")
        self.dynamics = self._chosen(bool(cum_error), bool(np.any(bias_start > 0)))

    def _chosen(self, cum_error: bool, late: bool) -> Dynamics:
        relu = self.act_mode is ActivationMode.RELU
        if late:
            if not relu or cum_error:
                raise VarError(
                    "SigmaDelta: bias_start goes with ActivationMode.RELU and cum_error=False"
                )
            return delta.SIGMA_DELTA_LATE_RELU
        if cum_error:
            return delta.SIGMA_DELTA_RELU_CUMULATIVE if relu else delta.SIGMA_DELTA_CUMULATIVE
        return delta.SIGMA_DELTA_RELU if relu else delta.SIGMA_DELTA


class _Encoder(Neuron):
    """Delta whose messages are kept within so many bits."""

    dynamics = delta.ENCODER
    a_in: InPort
    s_out: OutPort
    act: Var
    residue: Var
    vth: Var
    spike_exp: Var
    num_bits: Var

    @declared(delta.ENCODER)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        spike_exp: int = 0,
        num_bits: int = 0,
        act: Any = 0,
        residue: Any = 0,
        name: str | None = None,
    ) -> None: ...


class DeltaEncoder(AbstractProcess):
    """Sends the change of its input where it reaches ``vth``, a step later, and keeps what it did
    not send: what stands between data and a network on a chip.

    Args:
        shape: of one message.
        vth: threshold, >= 0, compared with >=; one number or one an element.
        spike_exp: fixed_pt: fractional bits of messages, by which the input is shifted left, 0..16;
            floating_pt has no use for them. Default 0.
        num_bits: of a message, sign included, before it is shifted, 2..31: what is beyond waits in
            the residue. Default None: no limit.

    The Vars ``act`` and ``residue`` are the last input and what was not sent of it. A packed
    message (Lava's ``compression``) is the same numbers: there is no link here that it would
    shorten.

    Example::

        DeltaEncoder(shape=(3,), vth=2, num_bits=8)
    """

    @arguments(error=VarError, spike_exp=integer(0, 16), num_bits=optional(integer(2, 31)))
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        spike_exp: int = 0,
        num_bits: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.encoder = _Encoder(shape=shape, vth=vth, spike_exp=spike_exp, num_bits=num_bits or 0)
        self.line = Delay(shape=self.encoder.shape)
        self.a_in, self.s_out = InPort(shape), OutPort(shape)
        expose(self, self.encoder, ("act", "residue", "vth"))
        self.a_in.connect(self.encoder.a_in)
        self.encoder.s_out.connect(self.line.s_in)
        self.line.a_out.connect(self.s_out)
