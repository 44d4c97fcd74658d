"""Layers between neurons, in snnTorch's words."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lavalike.arguments import FLAG, arguments, integer, optional, real, shown
from lavalike.errors import InputError, InputTypeError

_NORM = {
    "input_features": integer(1),
    "time_steps": integer(1),
    "eps": real(above=0),
    "momentum": optional(real(0, 1)),
    "affine": FLAG,
}


@arguments(**_NORM)
def BatchNormTT1d(
    input_features: int,
    time_steps: int,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
) -> nn.ModuleList:
    """Batch normalisation through time (Kim and Panda 2021): a BatchNorm1d for each step, without
    bias, as a list; ``norm[t](x)`` with x (batch, features) or (batch, features, length).

    Args:
        input_features, eps, momentum, affine: of each BatchNorm1d.
        time_steps: how many.
    """
    return _through_time(nn.BatchNorm1d, input_features, time_steps, eps, momentum, affine)


@arguments(**_NORM)
def BatchNormTT2d(
    input_features: int,
    time_steps: int,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
) -> nn.ModuleList:
    """:func:`BatchNormTT1d` of images: a BatchNorm2d for each step, x (batch, channels, height,
    width)."""
    return _through_time(nn.BatchNorm2d, input_features, time_steps, eps, momentum, affine)


def _through_time(
    kind: Any, features: int, steps: int, eps: float, momentum: float | None, affine: bool
) -> nn.ModuleList:
    norms = nn.ModuleList(kind(features, eps, momentum, affine) for _ in range(steps))
    for norm in norms:
        norm.register_parameter("bias", None)
    return norms


class GradedSpikes(nn.Module):
    """Spikes times a learnt number of each neuron, ``weights`` (size, 1).

    Neurons are the last axis, x (..., size); or, as snnTorch's product has it, the last but one,
    x (..., size, n), where the last is not of ``size`` (there, x of (size, size) is multiplied
    along its first axis, here along the neurons).

    Example:
        >>> graded = snn.GradedSpikes(size=10, constant_factor=None)
        >>> graded(torch.ones(4, 10)).shape
        torch.Size([4, 10])

    Args:
        size: how many neurons.
        constant_factor: where the numbers begin. Default None: drawn from 0.5..1.5.
    """

    @arguments(size=integer(1), constant_factor=optional(real()))
    def __init__(self, size: int, constant_factor: float | None = None) -> None:
        super().__init__()
        self.size = int(size)
        begin = torch.rand(size, 1) + 0.5
        if constant_factor is not None:
            begin = torch.full((size, 1), float(constant_factor))
        self.weights = nn.Parameter(begin)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` times the neurons' numbers, of x's shape."""
        if not isinstance(x, torch.Tensor):
            raise InputTypeError(
                f"snn.GradedSpikes: x is a torch tensor, got {shown(x)} ({type(x).__name__})"
            )
        if x.dim() and x.shape[-1] == self.size:
            return x * self.weights[:, 0]
        if x.dim() > 1 and x.shape[-2] == self.size:
            return x * self.weights
        raise InputError(
            f"snn.GradedSpikes: x has {self.size} neurons in its last axis (or the last but one), got shape {tuple(x.shape)}"
        )
