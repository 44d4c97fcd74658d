"""Repeating over a last axis, time."""

from __future__ import annotations

import torch

from lavalike.arguments import TENSOR, arguments, integer


@arguments(input=TENSOR, n_sample=integer(1))
def replicate(input: torch.Tensor, n_sample: int) -> torch.Tensor:
    """(...) -> (..., n_sample): the same at every step, without a copy (clone it before writing
    into it)."""
    return input.unsqueeze(-1).expand(*input.shape, n_sample)
