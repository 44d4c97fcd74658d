"""Helpers for training."""

import torch

from lavalike.slayer.utils import quantize as _quantize
from lavalike.slayer.utils.assistant import Assistant as Assistant
from lavalike.slayer.utils.quantize import MODE as MODE, quantize_hook_fx as quantize_hook_fx
from lavalike.slayer.utils.stats import LearningStat as LearningStat, LearningStats as LearningStats

quantize = _quantize.quantize


def event_rate(x: torch.Tensor) -> torch.Tensor:
    """Share of non-zero messages, the first step left out where there are more."""
    x = x[..., 1:] if x.shape[-1] > 1 else x
    return (x != 0).to(x.dtype).mean()
