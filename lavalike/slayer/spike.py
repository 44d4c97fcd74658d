"""The spike function with slayer's surrogate gradient."""

from __future__ import annotations

from typing import Any

import torch


class Spike(torch.autograd.Function):
    """``Spike.apply(voltage, threshold, tau_rho, scale_rho)``: 1 where voltage >= threshold.

    Backward: ``scale_rho / (2 tau_rho) exp(-|voltage - threshold| / tau_rho)``; none to the threshold.
    """

    @staticmethod
    def forward(ctx: Any, voltage: torch.Tensor, threshold: float | torch.Tensor, tau_rho: float, scale_rho: float) -> torch.Tensor:
        ctx.save_for_backward(voltage, torch.as_tensor(threshold, dtype=voltage.dtype))
        ctx.rho = tau_rho, scale_rho
        return (voltage >= threshold).to(voltage.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        voltage, threshold = ctx.saved_tensors
        tau, scale = ctx.rho
        return grad * (scale / (2 * tau)) * torch.exp(-(voltage - threshold).abs() / tau), None, None, None
