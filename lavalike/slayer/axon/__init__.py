"""Axons: delays and delta coding."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.errors import InputError
from lavalike.slayer.functional import DeltaEncode


def delay(x: torch.Tensor, shift: int = 1) -> torch.Tensor:
    """``x`` delayed by ``shift`` >= 0 steps; what leaves the end is lost, zeros enter."""
    if shift < 0:
        raise InputError(f"axon.delay: shift is >= 0, got {shift}")
    time = x.shape[-1]
    return functional.pad(x[..., :max(time - shift, 0)], (min(shift, time), 0))


class _Shift(torch.autograd.Function):
    """Channel-wise delay by whole steps; d y[t] / d delay = y[t-1] - y[t]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, delays: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x)
        steps = delays.detach().floor().long().tolist()
        for c, d in enumerate(steps):
            if d < x.shape[-1]:
                y[:, c, ..., d:] = x[:, c, ..., :x.shape[-1] - d]
        ctx.steps = steps
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (y,) = ctx.saved_tensors
        gx = torch.zeros_like(grad)
        for c, d in enumerate(ctx.steps):
            if d < grad.shape[-1]:
                gx[:, c, ..., :grad.shape[-1] - d] = grad[:, c, ..., d:]
        change = delay(y, 1) - y
        return gx, (grad * change).sum([0, *range(2, grad.dim())])


class Delay(nn.Module):
    """A learnable delay per channel, rounded down to whole steps.

    Args:
        max_delay: delays are kept in 0..max_delay (None: no upper limit).
        channels: if given, delays are drawn from U(0, 1) now, else at the first call.
        grad_scale: factor on the delays' gradient.
    """

    def __init__(self, sampling_time: float = 1, max_delay: float | None = None, grad_scale: float = 1,
                 channels: int | None = None) -> None:
        super().__init__()
        self.sampling_time, self.max_delay, self.grad_scale = sampling_time, max_delay, grad_scale
        self.delay = nn.Parameter(torch.rand(channels)) if channels is not None else nn.UninitializedParameter()

    def clamp(self) -> None:
        with torch.no_grad():
            self.delay.clamp_(0, self.max_delay)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.delay, nn.UninitializedParameter):
            self.delay.materialize((x.shape[1],))
            with torch.no_grad():
                self.delay.uniform_()
        self.clamp()
        scaled = self.delay / self.sampling_time
        if self.grad_scale != 1:
            scaled = scaled.detach() + (scaled - scaled.detach()) * self.grad_scale
        return _Shift.apply(x, scaled)


class Delta(nn.Module):
    """Delta coding: sends the change of its input where it reaches the threshold, rounded down to 1/scale.

    Args:
        threshold: > 0; kept >= 1/w_scale, and rounded to that grid (straight through) so that what is trained is
            what is deployed, when ``w_scale`` is given.
        scale: messages are multiples of 1/scale.
        requires_grad: train the threshold.
    """

    def __init__(self, threshold: float, scale: int = 64, tau_grad: float = 1, scale_grad: float = 1, requires_grad: bool = False,
                 w_scale: int | None = None) -> None:
        super().__init__()
        if not threshold > 0:
            raise InputError(f"axon.Delta: threshold is > 0, got {threshold!r}")
        self.scale, self.tau_grad, self.scale_grad, self.w_scale = scale, tau_grad, scale_grad, w_scale
        self.threshold = nn.Parameter(torch.tensor([threshold], dtype=torch.float32), requires_grad=requires_grad)

    def effective_threshold(self) -> torch.Tensor:
        """The threshold in use."""
        with torch.no_grad():  # in place, so that its gradient stays alive
            self.threshold.clamp_(min=1 / (self.w_scale or self.scale))
        if self.w_scale is None:
            return self.threshold
        th = self.threshold
        grid = torch.floor(th.detach() * self.w_scale) / self.w_scale
        return th + (grid - th).detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return DeltaEncode.apply(x, self.effective_threshold(), 1 / self.scale, self.tau_grad, self.scale_grad)


