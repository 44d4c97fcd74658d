"""Shifting over the last axis, time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from lavalike.arguments import TENSOR, arguments, numbers, real
from lavalike.errors import InputError


@arguments(input=TENSOR, shift_val=numbers(kinds="iuf"), sampling_time=real(above=0))
def shift(
    input: torch.Tensor, shift_val: float | torch.Tensor | Sequence[float], sampling_time: float = 1
) -> torch.Tensor:
    """``input`` later by ``shift_val``, earlier where it is negative; zeros come in, the length
    stays.

    Args:
        input: (..., time), with one shift a channel (batch, channel, ..., time).
        shift_val: in the unit of sampling_time, whole steps (a fraction of a step is cut off): one,
            or one a channel.
        sampling_time: duration of a step.
    """
    steps = (torch.as_tensor(shift_val).detach().to(input.device) / sampling_time).trunc().long()
    if steps.numel() == 1:
        n = max(-input.shape[-1], min(int(steps), input.shape[-1]))
        return functional.pad(input, (n, -n))
    if steps.dim() != 1 or input.dim() < 3 or len(steps) != input.shape[1]:
        raise InputError(
            f"utils.time.shift: {tuple(steps.shape)} shifts for input {tuple(input.shape)}; expected one, or one a channel"
        )
    source = torch.arange(input.shape[-1], device=input.device) - steps.reshape(
        -1, *[1] * (input.dim() - 2)
    )
    there = (source >= 0) & (source < input.shape[-1])
    moved = input.gather(-1, source.clamp(0, max(input.shape[-1] - 1, 0)).expand(input.shape))
    return torch.where(there, moved, 0)
