"""A leaky integrator over time."""

from __future__ import annotations

import math

import torch

from lavalike.arguments import arguments
from lavalike.dynamics import lif
from lavalike.slayer.neuron.dynamics.common import (
    COUNTED,
    INPUT,
    RESET,
    SIGNAL,
    STATE,
    Number,
    keep,
    run,
    states,
)


@arguments(input=SIGNAL, decay=COUNTED, state=STATE, threshold=RESET, **INPUT)
def dynamics(
    input: torch.Tensor,
    decay: Number,
    state: Number,
    w_scale: int,
    threshold: float | None = None,
    debug: bool = False,
) -> torch.Tensor:
    """``y[t] = (1 - decay / 4096) y[t-1] + input[t]``; with ``threshold`` > 0 y is 0 after a step
    in which it was >= threshold.

    Args:
        input, decay, state, w_scale, debug: see :mod:`lavalike.slayer.neuron.dynamics`; ``state``
            is y before the first step.
        threshold: None (default), 0 or less: no reset.

    Returns:
        y over time, as it meets the threshold, before a reset.
    """
    name = "dynamics.leaky_integrator"
    kept = keep(decay, input)
    if threshold is None or threshold <= 0:
        before = states(input, w_scale, u=state)
        return run(name, lif.INTEGRATE, [input], {"keep_u": kept}, before, w_scale, debug)[0]
    # the equation's comparison is strict, of whole numbers
    limit = math.ceil(threshold * w_scale) - 1.0
    before, parameters = states(input, w_scale, v=state), {"keep_v": kept, "vth": limit}
    return run(name, lif.FIRE, [input], parameters, before, w_scale, debug)[1]


@arguments(state=SIGNAL, spike=SIGNAL)
def persistent_state(state: torch.Tensor, spike: torch.Tensor) -> torch.Tensor:
    """The state after a step in which it caused ``spike``: 0 where it did."""
    return torch.where(spike > 0, 0, state)
