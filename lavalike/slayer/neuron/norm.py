"""Normalisation that becomes a bias of the deployed neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MeanOnlyBatchNorm(nn.Module):
    """Subtracts the channel mean: of the batch in training, the running one in evaluation.

    ``running = (1 - momentum) running + momentum mean``; the mean is quantised by ``pre_hook_fx`` before it is
    subtracted (reference: lava-dl 0.6, neuron/norm).

    Args:
        num_features: channels; found at the first call if None.
    """

    def __init__(self, num_features: int | None = None, momentum: float = 0.1, pre_hook_fx: Callable[..., Any] = lambda x: x) -> None:
        super().__init__()
        self.momentum, self.pre_hook_fx = momentum, pre_hook_fx
        self.register_buffer("running_mean", torch.zeros(1 if num_features is None else num_features))
        self._sized = num_features is not None

    def fit(self, channels: int) -> None:
        if not self._sized:
            self.running_mean = self.running_mean.new_zeros(channels)
            self._sized = True

    @property
    def bias(self) -> torch.Tensor:
        """The bias a deployed neuron adds instead, in weight integers."""
        return -self.pre_hook_fx(self.running_mean, descale=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.fit(x.shape[1])
        if self.training:
            mean = x.mean([0, *range(2, x.dim())])
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum).add_(mean, alpha=self.momentum)
        else:
            mean = self.running_mean
        return x - self.pre_hook_fx(mean).reshape(1, -1, *[1] * (x.dim() - 2))
