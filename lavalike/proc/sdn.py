"""Sigma-delta processes. Equations: :mod:`lavalike.dynamics.delta`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, arguments, integer, shown
from lavalike.dynamics import delta
from lavalike.errors import VarError
from lavalike.proc.parameters import array, parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class ActivationMode(enum.IntEnum):
    """Activation of a SigmaDelta."""

    UNIT = 0
    RELU = 1


class Sigma(AbstractProcess):
    """Adds up its input: ``sigma += a_in; s_out = sigma``."""

    dynamics = delta.SIGMA

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], sigma: Any = 0, checked: bool = False, name: str | None = None) -> None:
        super().__init__(name=name, checked=checked)
        self.a_in = InPort(shape)
        self.s_out = OutPort(shape)
        self.shape = self.a_in.shape
        self.sigma = Var(self.shape, sigma, name="sigma")


class Delta(AbstractProcess):
    """Sends the change of its input where it reaches ``vth``, and keeps what it did not send.

    Args:
        vth: threshold, >= 0, compared with >=.
        cum_error: compare the accumulated change instead of the last.
        spike_exp, state_exp: fixed_pt: fractional bits of messages, and further ones of the state.
            floating_pt has no use for them. Defaults 0.
        loihi_units, checked: see :class:`lavalike.proc.LIF`.
    """

    @arguments(error=VarError, cum_error=FLAG, spike_exp=integer(0), state_exp=integer(0))
    def __init__(self, *, shape: Sequence[int], vth: Any, cum_error: bool = False, spike_exp: int = 0, state_exp: int = 0,
                 act: Any = 0, residue: Any = 0, loihi_units: bool = False, checked: bool = False, name: str | None = None) -> None:
        super().__init__(name=name, loihi_units=loihi_units, checked=checked)
        self.a_in = InPort(shape)
        self.s_out = OutPort(shape)
        self.shape = self.a_in.shape
        self.dynamics = self._dynamics(bool(cum_error))
        self.vth = parameter(self.shape, vth, name="vth")
        self.act = Var(self.shape, act, name="act")
        self.residue = Var(self.shape, residue, name="residue")
        self.error = Var(self.shape, 0, name="error")
        self.spike_exp = Var((1,), spike_exp, role="parameter", name="spike_exp")
        self.state_exp = Var((1,), state_exp, role="parameter", name="state_exp")

    def _dynamics(self, cum_error: bool) -> delta.Dynamics:
        return delta.DELTA_CUMULATIVE if cum_error else delta.DELTA


class SigmaDelta(Delta):
    """Sigma, bias, activation and Delta in one: ``sigma += a_in; x = f(sigma + bias)``, then Delta of x.

    Args:
        act_mode: ``ActivationMode.RELU`` (default) or ``UNIT``.
        bias: shifted by spike_exp + state_exp in fixed_pt.
        bias_start: the bias acts in steps ``t > bias_start`` (one number or one a neuron); RELU without cum_error only.
            Default 0.
    """

    @arguments(error=VarError, act_mode=integer(0, 1))
    def __init__(self, *, shape: Sequence[int], vth: Any, bias: Any = 0, act_mode: ActivationMode | int = ActivationMode.RELU,
                 sigma: Any = 0, bias_start: Any = 0, **kwargs: Any) -> None:
        self.act_mode = ActivationMode(act_mode)
        bias_start = array("SigmaDelta: bias_start", bias_start)
        if not np.isfinite(bias_start).all():
            raise VarError(f"SigmaDelta: bias_start is finite, got {shown(bias_start)}")
        self._late = bool(np.any(bias_start > 0))
        super().__init__(shape=shape, vth=vth, **kwargs)
        self.sigma = Var(self.shape, sigma, name="sigma")
        self.bias = Var(self.shape, bias, role="parameter", trainable=True, name="bias")
        if self._late:
            self.bias_start = parameter(self.shape, bias_start, name="bias_start")

    def _dynamics(self, cum_error: bool) -> delta.Dynamics:
        relu = self.act_mode is ActivationMode.RELU
        if self._late:
            if not relu or cum_error:
                raise VarError("SigmaDelta: bias_start goes with ActivationMode.RELU and cum_error=False")
            return delta.SIGMA_DELTA_LATE_RELU
        if cum_error:
            return delta.SIGMA_DELTA_RELU_CUMULATIVE if relu else delta.SIGMA_DELTA_CUMULATIVE
        return delta.SIGMA_DELTA_RELU if relu else delta.SIGMA_DELTA
