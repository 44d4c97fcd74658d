"""Losses on spike trains ``(batch, neuron, time)``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lavalike.errors import InputError


def one_hot(label: torch.Tensor, classes: int) -> torch.Tensor:
    if label.numel() == 0 or label.dtype.is_floating_point or label.min() < 0 or label.max() >= classes:
        span = f"{label.min()}..{label.max()}" if label.numel() else "none"
        raise InputError(f"labels are integers in 0..{classes - 1}, got {label.dtype}, {span}")
    return functional.one_hot(label.long(), classes)


class SpikeRate(nn.Module):
    """Squared distance of firing rates from ``true_rate`` for the labelled neuron and ``false_rate`` for others.

    Args:
        true_rate, false_rate: in 0..1.
        moving_window: length of the window in which rates are taken, with one label a step or a sample; None: all time.
        reduction: "sum" or "mean".
    """

    def __init__(self, true_rate: float, false_rate: float, moving_window: int | None = None, reduction: str = "sum") -> None:
        super().__init__()
        if not (0 <= true_rate <= 1 and 0 <= false_rate <= 1):
            raise InputError(f"loss.SpikeRate: rates are in 0..1, got {true_rate}, {false_rate}")
        if moving_window is not None and moving_window < 1:
            raise InputError(f"loss.SpikeRate: moving_window is >= 1, got {moving_window}")
        self.true_rate, self.false_rate, self.reduction = true_rate, false_rate, reduction
        self.moving_window = moving_window

    def forward(self, spike: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        if spike.dim() != 3 or len(label) != len(spike):
            shapes = f"{tuple(spike.shape)}, {tuple(label.shape)}"
            raise InputError(f"loss.SpikeRate: spikes (batch, neuron, time) and a label each are expected, got {shapes}")
        if label.dim() != 1 and (self.moving_window is None or label.shape != (len(spike), spike.shape[-1])):
            raise InputError(f"loss.SpikeRate: labels have shape {tuple(label.shape)}; one a sample, or with moving_window one a step")
        hot = one_hot(label, spike.shape[1]).to(spike.dtype)
        target = self.true_rate * hot + self.false_rate * (1 - hot)
        if self.moving_window is None:
            return functional.mse_loss(spike.mean(-1), target, reduction=self.reduction)
        w = self.moving_window
        rate = functional.avg_pool1d(functional.pad(spike, (w - 1, 0)), w, 1)
        target = target[..., None].expand_as(rate) if target.dim() == 2 else target.movedim(-1, 1)
        return functional.mse_loss(rate, target, reduction=self.reduction)
