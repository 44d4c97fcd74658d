"""Dendrites: sigma decoding."""

from __future__ import annotations

import torch
from torch import nn


class Sigma(nn.Module):
    """Adds up its input over time. With ``persistent_state`` a call goes on where the last one ended."""

    def __init__(self, persistent_state: bool = False) -> None:
        super().__init__()
        self.persistent_state = persistent_state
        self.register_buffer("pre_state", None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cumsum(x, -1)
        if self.persistent_state:
            if self.pre_state is not None and self.pre_state.shape == x.shape[:-1]:
                y = y + self.pre_state[..., None]
            self.pre_state = y[..., -1].detach().clone()
        return y
