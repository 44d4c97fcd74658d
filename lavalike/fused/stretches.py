"""Long sequences with little memory: a stretch of steps at a time, computed again in backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from lavalike.arguments import FUNCTION, TENSOR, arguments, integer
from lavalike.errors import InputError, InputTypeError

State = TypeVar("State")


@arguments(function=FUNCTION, x=TENSOR, steps=integer(1), dim=integer())
def in_stretches(
    function: Callable[[torch.Tensor, Any], tuple[torch.Tensor, Any]],
    x: torch.Tensor,
    state: Any = None,
    *,
    steps: int,
    dim: int = 0,
) -> tuple[torch.Tensor, Any]:
    """``function`` over all of x, ``steps`` at a time: its outputs, one after another, and the
    state after the last.

    Backward computes each stretch again from the state before it, so that what is kept is the
    states between stretches and what one stretch needs: of T steps least with about sqrt(T) a
    stretch. Values and gradients are those of one call on all of x; it takes one more forward.

    Args:
        function: ``(part of x, state) -> (output, state)``. What it changes besides (running means,
            counters) it changes again in backward.
        x: with time along ``dim``.
        state: before the first step: tensors in tuples, lists and dicts, or None.
        steps: of a stretch; the last one may be shorter.
        dim: of time, in x and in outputs. Default 0, the step style's; slayer's is -1.

    Example::

        def layers(x, states):
            out, a = first.sequence(fc1(x), *states[0])
            out, b = second.sequence(fc2(out["s_out"]), *states[1])
            return out["s_out"], (a, b)

        y, _ = fused.in_stretches(layers, x, ((), ()), steps=50)
    """
    if not -x.dim() <= dim < x.dim() or not x.shape[dim]:
        raise InputError(
            f"in_stretches: dim is an axis of x with steps, got {dim} for shape {tuple(x.shape)}"
        )
    outputs = []
    for part in x.split(steps, dim):
        made = checkpoint(function, part, state, use_reentrant=False)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.Tensor)):
            raise InputTypeError(
                f"in_stretches: function returns a pair (output, state), got {type(made).__name__}"
            )
        y, state = made
        outputs.append(y)
    return torch.cat(outputs, dim), state
