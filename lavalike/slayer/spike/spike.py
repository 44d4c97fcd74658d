"""Spikes with slayer's surrogate gradients (reference: lava-dl 0.6, slayer/spike)."""

from __future__ import annotations

from typing import Any

import torch

from lavalike.arguments import FLAG, TENSOR, arguments, numbers, real, trained
from lavalike.fused.surrogate import Exponential, spike as fire

Slayer = Exponential


class Phase(Exponential):
    """Slayer's gradient of a resonator's spike, of the distance ``x`` of real from its threshold
    and of imag ``y``.

    With ``dr = exp(-|x|/tau) / (2 tau)`` and ``di`` the same of y: ``scale dr di`` to real, and to
    imag ``-scale/tau sign(y) di (1 + sign(x) (1 - 2 tau dr)) / 2``.
    """

    def phase(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        er = torch.exp(-x.abs() * (1 / self.tau))
        di = torch.exp(-y.abs() * (1 / self.tau)) * (1 / (2 * self.tau))
        step = 0.5 * (1 + torch.sign(x) * (1 - er))
        return self.scale / (2 * self.tau) * er * di, -self.scale / self.tau * torch.sign(
            y
        ) * di * step


class Graded(torch.autograd.Function):
    """``s v``: what spikes, 1 or 0, send of the state. Backward, to the state:
    ``scale exp(min(v - threshold, 0) / tau)``."""

    @staticmethod
    def forward(
        ctx: Any,
        s: torch.Tensor,
        v: torch.Tensor,
        threshold: float | torch.Tensor,
        tau: float,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(v, torch.as_tensor(threshold, dtype=v.dtype))
        ctx.numbers = tau, scale
        return s * v

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        v, threshold = ctx.saved_tensors
        tau, scale = ctx.numbers
        return None, grad * scale * torch.exp((v - threshold).clamp(max=0) / tau), None, None, None


class GradedPhase(torch.autograd.Function):
    """``s real``. Backward :class:`Phase`'s, with ``dr = exp(min(real - threshold, 0) / tau)``."""

    @staticmethod
    def forward(
        ctx: Any,
        s: torch.Tensor,
        real: torch.Tensor,
        imag: torch.Tensor,
        threshold: float | torch.Tensor,
        tau: float,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(real, imag, torch.as_tensor(threshold, dtype=real.dtype))
        ctx.numbers = tau, scale
        return s * real

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        real, imag, threshold = ctx.saved_tensors
        tau, scale = ctx.numbers
        x = real - threshold
        dr = torch.exp(x.clamp(max=0) / tau)
        di = torch.exp(-imag.abs() / tau) / (2 * tau)
        step = 0.5 * (1 + torch.sign(x) * (1 - 2 * tau * dr))
        return (
            None,
            grad * scale * dr * di,
            -grad * scale / tau * torch.sign(imag) * di * step,
            None,
            None,
            None,
        )


class Spike:
    """``Spike.apply(voltage, threshold, tau_rho, scale_rho, graded_spike=False, voltage_last=0,
    scale=1)``: 1 where voltage >= threshold.

    Args:
        voltage, threshold: a tensor; one number, or a tensor that broadcasts.
        tau_rho, scale_rho: > 0, of the gradient:
            ``scale_rho / (2 tau_rho) exp(-|voltage - threshold| / tau_rho)``; none to the
            threshold.
        graded_spike: ``voltage / scale`` instead of 1; its gradient is
            ``scale_rho exp(min(voltage - threshold, 0) / tau_rho)``.
        voltage_last: the voltage before the first step; taken as lava-dl takes it, which never
            looks at it either.
        scale: what graded spikes are divided by (their gradient is not, as in lava-dl).
    """

    @staticmethod
    @arguments(
        voltage=TENSOR,
        threshold=trained(numbers()),
        tau_rho=real(above=0),
        scale_rho=real(above=0),
        graded_spike=FLAG,
        voltage_last=trained(numbers()),
        scale=real(above=0),
    )
    def apply(
        voltage: torch.Tensor,
        threshold: float | torch.Tensor,
        tau_rho: float,
        scale_rho: float,
        graded_spike: bool = False,
        voltage_last: float | torch.Tensor = 0,
        scale: float = 1,
    ) -> torch.Tensor:
        if not graded_spike:
            distance = (
                voltage
                - torch.as_tensor(threshold, dtype=voltage.dtype, device=voltage.device).detach()
            )
            return fire(distance, None, True, Exponential(tau_rho, scale_rho))
        s = (voltage >= threshold).to(voltage.dtype) / scale
        return Graded.apply(s, voltage, threshold, float(tau_rho), float(scale_rho))
