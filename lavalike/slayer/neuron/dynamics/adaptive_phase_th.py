"""A threshold that rises with every spike of a resonator's phase."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments
from lavalike.dynamics import adaptive
from lavalike.slayer.neuron.dynamics import common
from lavalike.slayer.neuron.dynamics.adaptive_threshold import (
    persistent_ref_state as persistent_ref_state,
    persistent_th_state as persistent_th_state,
)
from lavalike.slayer.neuron.dynamics.common import INPUT, SIGNAL, STATE, THRESHOLD, Number


@arguments(re_input=SIGNAL, im_input=SIGNAL, im_state=STATE, **THRESHOLD, **INPUT)
def dynamics(
    re_input: torch.Tensor,
    im_input: torch.Tensor,
    im_state: Number,
    ref_state: Number,
    ref_decay: Number,
    th_state: Number,
    th_decay: Number,
    th_scale: float,
    th0: float,
    w_scale: int,
    debug: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Threshold and r over time, as of
    :func:`lavalike.slayer.neuron.dynamics.adaptive_threshold.dynamics`; a spike is where real is >=
    their sum as imag passes zero upwards.

    Args:
        re_input, im_input: real and imag over time.
        im_state: imag in the step before.
        the others: see there.
    """
    parameters, before = common.threshold(
        re_input, w_scale, th_decay, ref_decay, th_scale, th0, th_state, ref_state
    )
    theta, r = common.run(
        "dynamics.adaptive_phase_th",
        adaptive.FOLLOW_PHASE,
        [re_input, im_input],
        parameters,
        before | common.states(re_input, w_scale, imag=im_state),
        w_scale,
        debug,
    )
    return theta, r
