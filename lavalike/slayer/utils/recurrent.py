"""Unrolling a recurrent layer over time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lavalike.arguments import FUNCTION, TENSOR, arguments, optional
from lavalike.errors import InputError


@arguments(z=TENSOR, neuron=FUNCTION, recurrent_synapse=FUNCTION, last=optional(TENSOR))
def custom_recurrent(
    z: torch.Tensor,
    neuron: Callable[[torch.Tensor], torch.Tensor],
    recurrent_synapse: Callable[[torch.Tensor], torch.Tensor],
    last: torch.Tensor | None = None,
) -> torch.Tensor:
    """``s[t] = neuron(z[t] + recurrent_synapse(s[t - 1]))``, (batch, neuron, time) to the same.

    The gradient goes back through the feedback and through the neuron's own state: full
    backpropagation through time.

    Args:
        z: input currents, time last.
        neuron: (batch, neuron, 1) -> (batch, neuron, 1); keeps its state from call to call
            (persistent_state).
        recurrent_synapse: (batch, neuron, 1) -> the same.
        last: s of the step before the first, for streams cut in parts: ``s[..., -1:]`` of the part
            before. None: zeros.
    """
    if z.dim() < 2 or 0 in z.shape:
        raise InputError(
            f"utils.recurrent.custom_recurrent: z (batch, neuron, time), no axis empty, is expected, got {tuple(z.shape)}"
        )
    s = torch.zeros_like(z[..., :1]) if last is None else last
    if s.shape != z[..., :1].shape:
        raise InputError(
            f"utils.recurrent.custom_recurrent: last has shape {tuple(s.shape)}; expected {tuple(z[..., :1].shape)}"
        )
    steps = []
    for current in z.split(1, -1):
        s = neuron(current + recurrent_synapse(s))
        steps.append(s)
    return torch.cat(steps, -1)
