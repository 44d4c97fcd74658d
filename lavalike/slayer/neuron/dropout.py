"""Dropout of whole neurons."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import FLAG, arguments, real


class Dropout(nn.Module):
    """Silences each neuron with probability ``p`` for all of its time, and scales the others by
    1/(1-p)."""

    @arguments(p=real(0, 1), inplace=FLAG)
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = p, inplace

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mask = functional.dropout(torch.ones_like(input[..., :1]), self.p, self.training)
        # in place only where no gradient needs what stands there
        return input.mul_(mask) if self.inplace and not input.requires_grad else input * mask
