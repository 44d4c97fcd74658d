"""A resonator over time."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments
from lavalike.dynamics import resonator
from lavalike.slayer.neuron.dynamics.common import (
    INPUT,
    LIMIT,
    RESET,
    SIGNAL,
    STATE,
    TURN,
    Number,
    run,
    states,
    turn,
)


@arguments(
    real_input=SIGNAL,
    imag_input=SIGNAL,
    sin_decay=TURN,
    cos_decay=TURN,
    real_state=STATE,
    imag_state=STATE,
    threshold=RESET,
    **INPUT,
)
def dynamics(
    real_input: torch.Tensor,
    imag_input: torch.Tensor,
    sin_decay: Number,
    cos_decay: Number,
    real_state: Number,
    imag_state: Number,
    w_scale: int,
    threshold: float | None = None,
    debug: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imag over time, turned by cos and sin (in 1/4096) in every step; with ``threshold``
    >= 0 real is 0 and imag just below the threshold after a step in which imag was >= threshold.

    Args:
        real_input, imag_input, sin_decay, cos_decay, real_state, imag_state, w_scale, debug: see
            :mod:`lavalike.slayer.neuron.dynamics`.
        threshold: None (default) or less than 0: no reset.

    Returns:
        real and imag, as they meet the threshold, before a reset.
    """
    name, inputs = "dynamics.resonator", [real_input, imag_input]
    rotation = turn(real_input, sin_decay, cos_decay)
    before = states(real_input, w_scale, real=real_state, imag=imag_state)
    if threshold is None or threshold < 0:
        real, imag = run(name, resonator.ROTATE, inputs, rotation, before, w_scale, debug)
        return real, imag
    limit = threshold * w_scale
    parameters = rotation | {"vth": limit, "after": float(int(limit - 1))}
    _, real, imag = run(name, resonator.RF_IZ_SEEN, inputs, parameters, before, w_scale, debug)
    return real, imag


@arguments(real_state=SIGNAL, spike=SIGNAL)
def persistent_real_state(real_state: torch.Tensor, spike: torch.Tensor) -> torch.Tensor:
    """Real after a step in which imag caused ``spike``: 0 where it did."""
    return torch.where(spike > 0, 0, real_state)


@arguments(imag_state=SIGNAL, spike=SIGNAL, threshold=LIMIT, scale=INPUT["w_scale"])
def persistent_imag_state(
    imag_state: torch.Tensor, spike: torch.Tensor, threshold: float, scale: int
) -> torch.Tensor:
    """Imag after a step in which it caused ``spike``: 1/scale below the threshold where it did."""
    return torch.where(spike > 0, threshold - 1 / scale, imag_state)
