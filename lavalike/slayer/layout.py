"""Tensors (batch, channel, ..., time) as the loops want them: time outermost, the rest as it lies
in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lavalike import fused
from lavalike.dynamics import Dynamics
from lavalike.errors import RunError
from lavalike.slayer.states import State, alike


def over_time(
    dynamics: Dynamics,
    training: fused.Training,
    inputs: Sequence[torch.Tensor],
    parameters: Mapping[str, Any],
    state: State,
    shift: bool = False,
    debug: bool = False,
) -> tuple[list[torch.Tensor], State, torch.Tensor]:
    """``dynamics`` over all steps: (outputs in the inputs' layout, the state after them, how many
    values left 24 bits).

    A parameter is one number or a tensor of one a channel, a state a tensor of the inputs' shape
    without time, or of one number for all neurons. ``debug``: the plain torch loop computes it too,
    and a RunError tells where the two differ. Convolutions are faster with channels
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
    before = {n: inner(v.expand(x.shape[:-1]) if alike(v) else v) for n, v in state.items()}
    result = fused.scan(dynamics, training, times, params, before, shift=shift)
    if debug:
        _compare(dynamics, result, training, times, params, before, shift)
    outputs = [outer(result.outputs[o], 2).movedim(0, -1) for o in dynamics.outputs]
    return outputs, {s: outer(v, 1) for s, v in result.states.items()}, result.overflows


def _compare(
    dynamics: Dynamics,
    result: fused.Result,
    training: fused.Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, Any],
    state: State,
    shift: bool,
) -> None:
    with torch.no_grad():
        plain = fused.reference(dynamics, training, inputs, parameters, state, shift=shift)
        for name, due in plain.outputs.items():
            wrong = ~torch.isclose(result.outputs[name], due, rtol=1e-5, atol=0)
            if bool(wrong.any()):
                step = int(wrong.flatten(1).any(1).nonzero()[0])
                raise RunError(
                    f"{dynamics.name}: debug: {name} of the compiled loop differs from the plain one's in "
                    f"{int(wrong.sum())} of {wrong.numel()} values, first in step {step}"
                )
