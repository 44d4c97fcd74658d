"""Unrolling a recurrent layer over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

    The gradient goes back through the feedback, and through the neuron's own state as far as the
    neuron lets it: slayer's keep it detached from call to call, so there through the feedback
    alone (``block.Recurrent(bptt=True)`` goes through the states as well).

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


class CustomRecurrent:
    """:func:`custom_recurrent` of a matrix: ``CustomRecurrent.apply(z, neuron, recurrent_mat)``.

    Example:
        >>> hasattr(slayer.utils.recurrent.CustomRecurrent, "apply")
        True

    Args:
        z, neuron: see :func:`custom_recurrent`.
        recurrent_mat: (neuron, neuron), from the spikes of one step to the currents of the next, as
            it is used: quantised, where it is to be.
    """

    @staticmethod
    @arguments(z=TENSOR, neuron=FUNCTION, recurrent_mat=TENSOR)
    def apply(
        z: torch.Tensor,
        neuron: Callable[[torch.Tensor], torch.Tensor],
        recurrent_mat: torch.Tensor,
    ) -> torch.Tensor:
        if z.dim() != 3 or recurrent_mat.shape != (z.shape[1],) * 2:
            raise InputError(
                f"utils.recurrent.CustomRecurrent: recurrent_mat has shape {tuple(recurrent_mat.shape)}, z {tuple(z.shape)}; "
                "expected (neuron, neuron) and (batch, neuron, time)"
            )
        return custom_recurrent(z, neuron, lambda s: torch.matmul(recurrent_mat, s))


# lava-dl's names for both ways: by the synapse, and by the matrix that it holds
custom_recurrent_ground_truth_1 = custom_recurrent


@arguments(z=TENSOR, neuron=FUNCTION, recurrent_synapse=FUNCTION)
def custom_recurrent_ground_truth_2(
    z: torch.Tensor,
    neuron: Callable[[torch.Tensor], torch.Tensor],
    recurrent_synapse: Any,
) -> torch.Tensor:
    """:func:`custom_recurrent` of the matrix that a dense synapse holds."""
    return CustomRecurrent.apply(z, neuron, recurrent_synapse.effective_weight().flatten(2)[..., 0])
