"""What the functions share: arguments on the grid, and the call of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lavalike import fused
from lavalike.arguments import FLAG, TENSOR, integer, numbers, optional, real, trained
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError
from lavalike.fused.surrogate import Exponential
from lavalike.slayer.layout import over_time
from lavalike.slayer.neuron.base import P_SCALE, seen
from lavalike.slayer.states import alike

Number = float | np.ndarray | torch.Tensor

COUNTED = trained(numbers(0, P_SCALE, kinds="iuf"))
TURN = trained(numbers(-P_SCALE, P_SCALE, kinds="iuf"))
STATE = trained(numbers(kinds="iuf"))
INPUT = {"w_scale": integer(1), "debug": FLAG}
LIMIT = real()
THRESHOLD = {
    "ref_state": STATE,
    "ref_decay": COUNTED,
    "th_state": STATE,
    "th_decay": COUNTED,
    "th_scale": real(0),
    "th0": LIMIT,
}
RESET = optional(LIMIT)
SIGNAL = TENSOR


def down(value: Number, like: torch.Tensor, unit: float = 1) -> torch.Tensor:
    """``unit * value``, rounded toward zero, straight through for gradients."""
    scaled = torch.as_tensor(value, device=like.device) * unit
    scaled = scaled if scaled.is_floating_point() else scaled.to(like.dtype)
    return scaled + (scaled.trunc() - scaled).detach()


def keep(decay: Number, like: torch.Tensor) -> torch.Tensor:
    """What a decay leaves, in 1/4096."""
    return P_SCALE - down(decay, like)


def states(like: torch.Tensor, w_scale: int, **given: Number) -> dict[str, torch.Tensor]:
    """States on the grid, by the equation's names."""
    return {n: down(v, like, w_scale) / w_scale for n, v in given.items()}


def turn(like: torch.Tensor, sin_decay: Number, cos_decay: Number) -> dict[str, Any]:
    """Parameters of a rotation."""
    rotation = {"sin": down(sin_decay, like), "cos": down(cos_decay, like)}
    return rotation | {"bits": 12.0, "gain": 1.0}


def threshold(
    like: torch.Tensor,
    w_scale: int,
    th_decay: Number,
    ref_decay: Number,
    th_scale: float,
    th0: float,
    th_state: Number,
    ref_state: Number,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(parameters, states) of a threshold that rises and falls back."""
    rest = int(th0 * w_scale)
    parameters = {
        "keep_theta": keep(th_decay, like),
        "keep_r": keep(ref_decay, like),
        "vth": float(rest),
        "step": float(int(th_scale * w_scale)),
    }
    before = states(like, w_scale, offset=th_state, r=ref_state)
    return parameters, before | {"offset": before["offset"] - rest / w_scale}


def run(
    name: str,
    dynamics: Dynamics,
    inputs: Sequence[torch.Tensor],
    parameters: Mapping[str, Any],
    before: Mapping[str, torch.Tensor],
    w_scale: int,
    debug: bool,
) -> list[torch.Tensor]:
    """The outputs of ``dynamics`` on the grid of 1/w_scale."""
    x = inputs[0]
    for other in inputs:
        if other.dim() < 3 or 0 in other.shape or not other.is_floating_point():
            raise InputError(
                f"{name}: input (batch, channel, ..., time) of floating-point numbers, no axis empty, is expected, got "
                f"{tuple(other.shape)}, {other.dtype}"
            )
        if other.shape != x.shape or other.dtype != x.dtype:
            raise InputError(
                f"{name}: inputs are alike, got {tuple(x.shape)}, {x.dtype} and {tuple(other.shape)}, {other.dtype}"
            )
    for kind, named, fits in (
        ("state", before, lambda v: alike(v) or v.shape == x.shape[:-1]),
        (
            "parameter",
            {n: v for n, v in parameters.items() if isinstance(v, torch.Tensor)},
            lambda v: v.numel() in (1, x.shape[1]),
        ),
    ):
        for n, v in named.items():
            if not fits(v):
                raise InputError(
                    f"{name}: {kind} {n} has shape {tuple(v.shape)}; the input has {tuple(x.shape)}"
                )
    training = fused.Training(Exponential(), "slayer", "grid", float(w_scale))
    out, _, _ = over_time(
        dynamics, training, [seen(v) for v in inputs], parameters, dict(before), debug=debug
    )
    return out
