"""Spikes of resonators: where real reaches the threshold as imag passes zero upwards."""

from __future__ import annotations

from typing import Any

import torch

from lavalike.arguments import FLAG, TENSOR, arguments, real as number
from lavalike.slayer.spike.spike import GradedPhase, Phase


class _Plain(torch.autograd.Function):
    """``s`` as it is; backward :class:`Phase`'s."""

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
        ctx.surrogate = Phase(tau, scale)
        return s.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        real, imag, threshold = ctx.saved_tensors
        to_real, to_imag = ctx.surrogate.phase(real - threshold, imag)
        return None, grad * to_real, grad * to_imag, None, None, None


class Spike:
    """``Spike.apply(real, imag, threshold, tau_rho, scale_rho, graded_spike=False, imag_last=0,
    scale=1)``.

    1 where ``real >= threshold`` and ``imag >= 0`` and imag was below 0 in the step before.

    Args:
        real, imag: of one shape, time last.
        threshold: one number, or a tensor that broadcasts; it gets no gradient.
        tau_rho, scale_rho: > 0, of the gradient, see :class:`lavalike.slayer.spike.Phase`.
        graded_spike: ``real / scale`` instead of 1.
        imag_last: imag in the step before the first, one number or without the time axis.
        scale: what graded spikes are divided by (their gradient is not, as in lava-dl).
    """

    @staticmethod
    @arguments(
        real=TENSOR,
        imag=TENSOR,
        tau_rho=number(above=0),
        scale_rho=number(above=0),
        graded_spike=FLAG,
        scale=number(above=0),
    )
    def apply(
        real: torch.Tensor,
        imag: torch.Tensor,
        threshold: float | torch.Tensor,
        tau_rho: float,
        scale_rho: float,
        graded_spike: bool = False,
        imag_last: float | torch.Tensor = 0,
        scale: float = 1,
    ) -> torch.Tensor:
        first = torch.as_tensor(imag_last, dtype=imag.dtype, device=imag.device).expand(
            imag.shape[:-1]
        )[..., None]
        before = torch.cat([first, imag[..., :-1]], -1)
        s = ((real >= threshold) & (before < 0) & (imag >= 0)).to(real.dtype)
        if graded_spike:
            return GradedPhase.apply(
                s / scale, real, imag, threshold, float(tau_rho), float(scale_rho)
            )
        return _Plain.apply(s, real, imag, threshold, float(tau_rho), float(scale_rho))
