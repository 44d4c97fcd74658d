"""Differentiable time loops on tensors ``(batch, channel, ..., time)``."""

from __future__ import annotations

import math
from typing import Any

import torch

from lavalike.errors import InputError
from lavalike.slayer import kernels

DECAY_ONE = 4096


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x.detach().contiguous().reshape(-1, x.shape[-1])


def per_row(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One value, or one a channel, for every row of ``x`` seen as (rows, time)."""
    if parameter.numel() == 1:
        return parameter.detach().reshape(1).expand(x[..., 0].numel()).contiguous()
    shape = [1, -1] + [1] * (x.dim() - 3)
    return parameter.detach().reshape(shape).expand(x.shape[:-1]).contiguous().reshape(-1)


def _per_parameter(rows: torch.Tensor, parameter: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The rows' contributions added up to the parameter's shape."""
    if parameter.numel() == 1:
        return rows.sum().reshape(parameter.shape).to(parameter.dtype)
    return rows.reshape(shape[0], shape[1], -1).sum((0, 2)).reshape(parameter.shape).to(parameter.dtype)


def _check(x: torch.Tensor, what: str) -> None:
    if x.dim() < 3:
        raise InputError(f"{what}: input has shape {tuple(x.shape)}; expected (batch, channel, ..., time)")
    if 0 in x.shape:
        raise InputError(f"{what}: input has shape {tuple(x.shape)}; none may be 0")
    if x.device.type != "cpu":
        raise InputError(f"{what}: input lies on {x.device}; the fused kernels of this release run on the CPU")
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{what}: input has dtype {x.dtype}; expected float32 or float64")
    if not math.isfinite(float(x.detach().sum())):
        raise InputError(f"{what}: {int((~torch.isfinite(x)).sum())} input values are NaN or infinite (diverged weights do that too)")


class LeakyIntegrator(torch.autograd.Function):
    """``y[t] = trunc(y[t-1] (4096 - decay) / 4096) + trunc(scale x[t])`` in integers over ``scale``.

    ``decay`` counts in 1/4096. Backward takes the truncations as exact; the gradient of the decay is that of
    the equation (lava-dl's had the wrong sign and was 4096 times too large).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, decay: torch.Tensor, scale: float, overflows: torch.Tensor) -> torch.Tensor:
        _check(x, "leaky integrator")
        keep = DECAY_ONE - per_row(decay.round(), x).long()
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        count = torch.zeros(len(keep), dtype=torch.int64)
        kernels.run(kernels.leaky_forward, _rows(x), keep, scale, y.reshape(-1, x.shape[-1]), count)
        overflows += count.sum()
        ctx.save_for_backward(y, keep, decay)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        y, keep, decay = ctx.saved_tensors
        gx, gkeep = torch.empty_like(y), torch.empty(len(keep), dtype=torch.float64)
        time = y.shape[-1]
        kernels.run(kernels.leaky_backward, _rows(grad), y.reshape(-1, time), keep, gx.reshape(-1, time), gkeep)
        return gx, -_per_parameter(gkeep, decay, y.shape), None, None


class Fire(torch.autograd.Function):
    """A leaky integrator that spikes and restarts from zero where it exceeds ``threshold``; returns (s, v).

    Backward: ``height / (2 tau) exp(-|v - threshold| / tau)``; resets are not differentiated, as in slayer.
    """

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, decay: torch.Tensor, scale: float, threshold: float, tau: float, height: float,
                overflows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _check(u, "spiking neuron")
        keep = DECAY_ONE - per_row(decay.round(), u).long()
        # the smallest integer that must be exceeded
        th = torch.full((len(keep),), int(threshold * scale), dtype=torch.int64)
        v, s = (torch.empty_like(u, memory_format=torch.contiguous_format) for _ in range(2))
        count = torch.zeros(len(keep), dtype=torch.int64)
        time = u.shape[-1]
        kernels.run(kernels.fire_forward, _rows(u), keep, scale, th, v.reshape(-1, time), s.reshape(-1, time), count)
        overflows += count.sum()
        ctx.save_for_backward(v, s, keep, th, decay)
        ctx.surrogate = scale, tau, height
        ctx.mark_non_differentiable(v)
        return s, v

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        v, s, keep, th, decay = ctx.saved_tensors
        scale, tau, height = ctx.surrogate
        gu, gkeep = torch.empty_like(v), torch.empty(len(keep), dtype=torch.float64)
        time = v.shape[-1]
        kernels.run(kernels.fire_backward, _rows(grad), v.reshape(-1, time), s.reshape(-1, time), keep, th, scale, tau, height,
                    gu.reshape(-1, time), gkeep)
        return gu, -_per_parameter(gkeep, decay, v.shape), None, None, None, None, None


class DeltaEncode(torch.autograd.Function):
    """Delta coding with messages rounded down to multiples of ``step``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, threshold: torch.Tensor, step: float, tau: float, height: float) -> torch.Tensor:
        _check(x, "delta")
        th = per_row(threshold, x).to(x.dtype)
        y, d = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
        time = x.shape[-1]
        kernels.run(kernels.delta_forward, _rows(x), th, step, d.reshape(-1, time), y.reshape(-1, time))
        ctx.save_for_backward(d, th, threshold)
        ctx.surrogate = tau, height
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        d, th, threshold = ctx.saved_tensors
        gx, gth = torch.empty_like(d), torch.empty(len(th), dtype=torch.float64)
        time = d.shape[-1]
        kernels.run(kernels.delta_backward, _rows(grad), d.reshape(-1, time), th, *ctx.surrogate, gx.reshape(-1, time), gth)
        return gx, _per_parameter(gth, threshold, d.shape), None, None, None
