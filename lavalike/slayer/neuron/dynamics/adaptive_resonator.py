"""A resonator whose imag meets a threshold that rises with every spike."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments
from lavalike.dynamics import adaptive
from lavalike.slayer.neuron.dynamics import common
from lavalike.slayer.neuron.dynamics.adaptive_threshold import (
    persistent_ref_state as persistent_ref_state,
    persistent_th_state as persistent_th_state,
)
from lavalike.slayer.neuron.dynamics.common import INPUT, SIGNAL, STATE, THRESHOLD, TURN, Number


@arguments(
    real_input=SIGNAL,
    imag_input=SIGNAL,
    sin_decay=TURN,
    cos_decay=TURN,
    real_state=STATE,
    imag_state=STATE,
    **THRESHOLD,
    **INPUT,
)
def dynamics(
    real_input: torch.Tensor,
    imag_input: torch.Tensor,
    sin_decay: Number,
    cos_decay: Number,
    ref_decay: Number,
    th_decay: Number,
    real_state: Number,
    imag_state: Number,
    ref_state: Number,
    th_state: Number,
    th_scale: float,
    th0: float,
    w_scale: int,
    debug: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real, imag, threshold and r over time, none of them reset; a spike is where imag is >=
    threshold + r.

    Args:
        real_input, imag_input, sin_decay, cos_decay, real_state, imag_state: see
            :func:`lavalike.slayer.neuron.dynamics.resonator.dynamics`.
        the others: see :func:`lavalike.slayer.neuron.dynamics.adaptive_threshold.dynamics`.
    """
    parameters, before = common.threshold(
        real_input, w_scale, th_decay, ref_decay, th_scale, th0, th_state, ref_state
    )
    _, real, imag, theta, r = common.run(
        "dynamics.adaptive_resonator",
        adaptive.ADRF_IZ_SEEN,
        [real_input, imag_input],
        parameters | common.turn(real_input, sin_decay, cos_decay),
        before | common.states(real_input, w_scale, real=real_state, imag=imag_state),
        w_scale,
        debug,
    )
    return real, imag, theta, r
