"""Spikes or membranes (time, batch, neuron) to scores (batch, neuron)."""

from __future__ import annotations

import torch


class MaxOverTime(torch.nn.Module):
    """The largest value of each."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.max(0).values


class SumOverTime(torch.nn.Module):
    """The sum."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.sum(0)


class MeanOverTime(torch.nn.Module):
    """The mean."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.mean(0)
