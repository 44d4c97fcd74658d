"""What all neurons share: scales, threshold, quantisation, normalisation, dropout, overflow counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lavalike.errors import InputError
from lavalike.slayer.utils.quantize import quantize

W_SCALE = 64
P_SCALE = 4096


class Neuron(nn.Module):
    """Base of the neurons.

    Args:
        threshold: > 0, rounded down to a multiple of 1/scale.
        tau_grad, scale_grad: width (of spikes in thresholds, of deltas as it is) and height of the surrogate gradient.
        scale: of weights; states count in 1 / (64 scale).
        norm: a class from :mod:`lavalike.slayer.neuron.norm`, or None.
        dropout: an nn.Module, or None.
        requires_grad: whether decays (and sigma-delta thresholds) are trained.

    ``overflows`` counts state values that left 24 bits since the last ``reset_overflows``: where it is 0, fixed_pt
    computes the same bits.
    """

    def __init__(self, threshold: float, tau_grad: float = 1, scale_grad: float = 1, scale: int = W_SCALE,
                 norm: Callable[..., Any] | None = None, dropout: nn.Module | None = None, requires_grad: bool = False) -> None:
        super().__init__()
        name = f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}"
        if not 0 < threshold < float("inf"):
            raise InputError(f"{name}: threshold is > 0, got {threshold!r}")
        if not scale >= 1:
            raise InputError(f"{name}: scale is >= 1, got {scale!r}")
        if not (tau_grad > 0 and scale_grad > 0):
            raise InputError(f"{name}: tau_grad and scale_grad are > 0, got {tau_grad!r}, {scale_grad!r}")
        self.w_scale, self.s_scale, self.p_scale = int(scale), int(scale) * W_SCALE, P_SCALE
        self._threshold = int(threshold * self.w_scale) / self.w_scale
        if self._threshold == 0:
            raise InputError(f"{name}: threshold {threshold} is below the resolution of 1/{self.w_scale}")
        self.tau_rho = tau_grad * self._threshold
        self.scale_rho = scale_grad
        self.requires_grad = requires_grad
        self.norm = norm(pre_hook_fx=self.quantize_8bit) if norm is not None else None
        self.drop = dropout
        self.register_buffer("overflows", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def threshold(self) -> float:
        return self._threshold

    @property
    def v_th_mant(self) -> int:
        """The threshold as an integer in 1/scale."""
        return round(self._threshold * self.w_scale)

    def reset_overflows(self) -> None:
        self.overflows.zero_()

    def quantize_8bit(self, weight: torch.Tensor, descale: bool = False) -> torch.Tensor:
        """``weight`` on Loihi's grid of 2/scale, within [-256, 254]/scale; integers with ``descale``."""
        out = quantize(weight, 2 / self.w_scale).clamp(-256 / self.w_scale, 254 / self.w_scale)
        return out * self.w_scale if descale else out

    def fit(self, channels: int) -> None:
        """Give channel-wise buffers their size, so that a state dict loads before the first call."""
        if self.norm is not None:
            self.norm.fit(channels)


def decay_parameter(name: str, value: float, trained: bool) -> nn.Parameter:
    """A decay in 0..1 as slayer stores it, times 4096."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is in 0..1, got {value!r}")
    return nn.Parameter(torch.tensor([value * P_SCALE], dtype=torch.float32), requires_grad=trained)


def in_range(decay: nn.Parameter) -> nn.Parameter:
    """The decay, brought back into 0..1 where training left it; in place, so that its gradient stays alive."""
    with torch.no_grad():
        decay.clamp_(0, P_SCALE)
    return decay
