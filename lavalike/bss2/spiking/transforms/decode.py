"""Spikes or membranes (time, batch, neuron) to scores (batch, neuron)."""

from __future__ import annotations

import torch


class MaxOverTime(torch.nn.Module):
    """The largest value of each.

    Example:
        >>> decode = bss2.spiking.transforms.decode.MaxOverTime()
        >>> decode(torch.rand(50, 4, 3)).shape
        torch.Size([4, 3])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.max(0).values


class SumOverTime(torch.nn.Module):
    """The sum.

    Example:
        >>> decode = bss2.spiking.transforms.decode.SumOverTime()
        >>> decode(torch.rand(50, 4, 3)).shape
        torch.Size([4, 3])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.sum(0)


class MeanOverTime(torch.nn.Module):
    """The mean.

    Example:
        >>> decode = bss2.spiking.transforms.decode.MeanOverTime()
        >>> decode(torch.rand(50, 4, 3)).shape
        torch.Size([4, 3])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.mean(0)
