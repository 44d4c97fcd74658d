"""A threshold that rises with every spike of a voltage."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments
from lavalike.dynamics import adaptive
from lavalike.slayer.neuron.dynamics import common
from lavalike.slayer.neuron.dynamics.common import INPUT, LIMIT, SIGNAL, THRESHOLD, Number


@arguments(input=SIGNAL, **THRESHOLD, **INPUT)
def dynamics(
    input: torch.Tensor,
    ref_state: Number,
    ref_decay: Number,
    th_state: Number,
    th_decay: Number,
    th_scale: float,
    th0: float,
    w_scale: int,
    debug: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Threshold and r over time; a spike where the voltage is >= their sum adds ``th_scale`` to the
    threshold and twice the threshold to r, which fall back to ``th0`` and 0.

    Args:
        input: the voltage over time.
        ref_state, ref_decay, th_state, th_decay, w_scale, debug: see
            :mod:`lavalike.slayer.neuron.dynamics`; ``ref`` is r's, ``th`` the threshold's.
        th_scale: what a spike adds to the threshold, >= 0.
        th0: the threshold at rest.

    Returns:
        threshold and r, as the voltage meets them. Both pass gradients to the decays (lava-dl's
        had none).
    """
    parameters, before = common.threshold(
        input, w_scale, th_decay, ref_decay, th_scale, th0, th_state, ref_state
    )
    theta, r = common.run(
        "dynamics.adaptive_threshold",
        adaptive.FOLLOW,
        [input],
        parameters,
        before,
        w_scale,
        debug,
    )
    return theta, r


@arguments(ref_state=SIGNAL, spike=SIGNAL, th_state=SIGNAL)
def persistent_ref_state(
    ref_state: torch.Tensor, spike: torch.Tensor, th_state: torch.Tensor
) -> torch.Tensor:
    """r after a step with ``spike``: by twice the threshold more where there was one."""
    return torch.where(spike > 0, ref_state + 2 * th_state, ref_state)


@arguments(th_state=SIGNAL, spike=SIGNAL, th_step=LIMIT)
def persistent_th_state(
    th_state: torch.Tensor, spike: torch.Tensor, th_step: float
) -> torch.Tensor:
    """The threshold after a step with ``spike``: by ``th_step`` more where there was one."""
    return torch.where(spike > 0, th_state + th_step, th_state)
