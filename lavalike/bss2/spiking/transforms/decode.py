"""Spikes or membranes (time, batch, neuron) to scores (batch, neuron)."""

from __future__ import annotations

import torch


class MaxOverTime(torch.nn.Module):
    """The largest value of each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.max(0).values


class SumOverTime(torch.nn.Module):
    """The sum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(0)


class MeanOverTime(torch.nn.Module):
    """The mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(0)
