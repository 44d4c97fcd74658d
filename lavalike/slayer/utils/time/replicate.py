"""Repeating over a last axis, time."""

from __future__ import annotations

import torch

from lavalike.arguments import TENSOR, arguments, integer


@arguments(input=TENSOR, num_steps=integer(1))
def replicate(input: torch.Tensor, num_steps: int) -> torch.Tensor:
    """(...) -> (..., n_sample): the same at every step, without a copy (clone it before writing
    into it)."""
    return input.unsqueeze(-1).expand(*input.shape, num_steps)
