"""The CUBA leaky integrate-and-fire neuron (equations: :mod:`lavalike.dynamics.lif`, in Loihi's integers)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lavalike.slayer.functional import Fire, LeakyIntegrator
from lavalike.slayer.neuron.base import W_SCALE, Neuron as _Neuron, decay_parameter, in_range

TAU_RHO_MULT = 100
SCALE_RHO_MULT = 0.1


class Neuron(_Neuron):
    """Current, voltage, spike: ``u = LI(x); u = norm(u); v = LI(u); s = v > threshold; v = 0 where s``.

    Args:
        threshold, tau_grad, scale_grad, scale, norm, dropout, requires_grad: see the base class.
        current_decay, voltage_decay: 0..1, trained if requires_grad.

    Input and output: (batch, channel, ..., time).
    """

    def __init__(self, threshold: float, current_decay: float, voltage_decay: float, tau_grad: float = 1, scale_grad: float = 1,
                 scale: int = W_SCALE, norm: Callable[..., Any] | None = None, dropout: nn.Module | None = None,
                 requires_grad: bool = False) -> None:
        super().__init__(threshold, tau_grad, scale_grad, scale, norm, dropout, requires_grad)
        self.current_decay = decay_parameter("cuba.Neuron: current_decay", current_decay, requires_grad)
        self.voltage_decay = decay_parameter("cuba.Neuron: voltage_decay", voltage_decay, requires_grad)

    @property
    def device_params(self) -> dict[str, Any]:
        """What goes into the HDF5 file."""
        return {"type": "CUBA", "iDecay": _decay(self.current_decay), "vDecay": _decay(self.voltage_decay),
                "vThMant": self.v_th_mant, "refDelay": 1, "gradedSpike": False}

    def dynamics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(current, voltage, spikes) of input ``x``; the current after normalisation, the voltage before its reset."""
        u = self.current(x)
        s, v = Fire.apply(u, in_range(self.voltage_decay), self.s_scale, self._threshold,
                          self.tau_rho * TAU_RHO_MULT, self.scale_rho * SCALE_RHO_MULT, self.overflows)
        return u, v, s

    def current(self, x: torch.Tensor) -> torch.Tensor:
        u = LeakyIntegrator.apply(x, in_range(self.current_decay), self.s_scale, self.overflows)
        return u if self.norm is None else self.norm(u)

    def voltage(self, x: torch.Tensor) -> torch.Tensor:
        """The voltage without threshold and reset."""
        return LeakyIntegrator.apply(self.current(x), in_range(self.voltage_decay), self.s_scale, self.overflows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.dynamics(x)[2]
        return s if self.drop is None else self.drop(s)


def _decay(parameter: torch.Tensor) -> int:
    return int(parameter.detach().clamp(0, 4096).round().item())
