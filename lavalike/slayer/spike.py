"""Spikes with slayer's surrogate gradients (reference: lava-dl 0.6, slayer/spike)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lavalike.backends.torch.surrogate import Exponential

Slayer = Exponential


@dataclass(frozen=True)
class Phase(Exponential):
    """Slayer's gradient of a resonator's spike, of the distance ``x`` of real from its threshold and of imag ``y``.

    With ``dr = exp(-|x|/tau) / (2 tau)`` and ``di`` the same of y: ``scale dr di`` to real, and to imag
    ``-scale/tau sign(y) di (1 + sign(x) (1 - 2 tau dr)) / 2``.
    """

    def phase(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        er = torch.exp(-x.abs() * (1 / self.tau))
        di = torch.exp(-y.abs() * (1 / self.tau)) * (1 / (2 * self.tau))
        step = 0.5 * (1 + torch.sign(x) * (1 - er))
        return self.scale / (2 * self.tau) * er * di, -self.scale / self.tau * torch.sign(y) * di * step


class Spike(torch.autograd.Function):
    """``Spike.apply(voltage, threshold, tau_rho, scale_rho)``: 1 where voltage >= threshold.

    Backward: ``scale_rho / (2 tau_rho) exp(-|voltage - threshold| / tau_rho)``; none to the threshold.
    """

    @staticmethod
    def forward(ctx: Any, voltage: torch.Tensor, threshold: float | torch.Tensor, tau_rho: float, scale_rho: float) -> torch.Tensor:
        ctx.save_for_backward(voltage, torch.as_tensor(threshold, dtype=voltage.dtype))
        ctx.surrogate = Exponential(tau_rho, scale_rho)
        return (voltage >= threshold).to(voltage.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        voltage, threshold = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(voltage - threshold), None, None, None
