"""Surrogate gradients: what a spike's derivative is taken to be.

Each is a function of ``x = (v - vth) / |vth|``; a spike is 1 where x > 0 (or >= 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Surrogate = Callable[[torch.Tensor], torch.Tensor]


def exponential(width: float = 1.0, scale: float = 1.0) -> Surrogate:
    """``scale / (2 width) exp(-|x| / width)``, slayer's (Shrestha and Orchard 2018)."""
    return lambda x: scale / (2 * width) * torch.exp(-x.abs() / width)


def fast_sigmoid(slope: float = 25.0) -> Surrogate:
    """``1 / (1 + slope |x|)**2``, SuperSpike (Zenke and Ganguli 2018)."""
    return lambda x: 1 / (1 + slope * x.abs()) ** 2


def straight_through() -> Surrogate:
    """1 everywhere (Bengio et al. 2013)."""
    return torch.ones_like


class Spike(torch.autograd.Function):
    """Heaviside forward, surrogate backward."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, unit: torch.Tensor, inclusive: bool, surrogate: Surrogate) -> torch.Tensor:
        ctx.save_for_backward(x, unit)
        ctx.surrogate = surrogate
        return ((x >= 0) if inclusive else (x > 0)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, unit = ctx.saved_tensors
        return grad * ctx.surrogate(x / unit) / unit, None, None, None
