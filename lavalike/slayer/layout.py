"""Tensors (batch, channel, ..., time) as the loops want them: time outermost, the rest as it lies
in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lavalike import fused
from lavalike.dynamics import Dynamics

State = dict[str, torch.Tensor]


def over_time(
    dynamics: Dynamics,
    training: fused.Training,
    inputs: Sequence[torch.Tensor],
    parameters: Mapping[str, Any],
    state: State,
    shift: bool = False,
) -> tuple[list[torch.Tensor], State, torch.Tensor]:
    """``dynamics`` over all steps: (outputs in the inputs' layout, the state after them, how many
    values left 24 bits).

    A parameter is one number or a tensor of one a channel. Convolutions are faster with channels
    innermost: tensors that have them there keep them, and those that must be copied anyway get them
    there.
    """
    x = inputs[0]
    time_major = x.movedim(-1, 0)
    last = x.dim() == 5 and x.shape[1] > 1 and (x.stride(1) == 1 or not time_major.is_contiguous())

    def inner(v: torch.Tensor) -> torch.Tensor:
        """(batch, channel, ...) in the order of the loops."""
        return v.movedim(1, -1) if last else v

    def outer(v: torch.Tensor, axis: int) -> torch.Tensor:
        return v.movedim(-1, axis) if last else v

    per_channel = (-1,) if last else (-1, *[1] * (x.dim() - 3))
    params = {
        n: p.reshape(per_channel) if isinstance(p, torch.Tensor) and p.numel() > 1 else p
        for n, p in parameters.items()
    }
    times = {
        n: v.movedim(-1, 0).movedim(2, -1) if last else v.movedim(-1, 0)
        for n, v in zip(dynamics.inputs, inputs, strict=True)
    }
    result = fused.scan(
        dynamics, training, times, params, {s: inner(v) for s, v in state.items()}, shift=shift
    )
    outputs = [outer(result.outputs[o], 2).movedim(0, -1) for o in dynamics.outputs]
    return outputs, {s: outer(v, 1) for s, v in result.states.items()}, result.overflows
