"""The adaptive LIF neuron (equations: :mod:`lavalike.dynamics.adaptive`, in Loihi's integers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.arguments import arguments, real
from lavalike.dynamics import adaptive
from lavalike.errors import InputError
from lavalike.slayer.neuron.base import (
    DECAY,
    LIMIT,
    P_SCALE,
    SPIKING,
    W_SCALE,
    Neuron as _Neuron,
    Number,
    State,
    deployed,
    from_device,
)


def neuron_params(
    device_params: Mapping[str, Any], scale: int = W_SCALE, p_scale: int = P_SCALE
) -> dict[str, Any]:
    """Arguments of a Neuron that has these ``device_params``, as in a file's neuron group."""
    return from_device(device_params, adaptive.ALIF, scale, p_scale)


class Neuron(_Neuron):
    """``u = LI(norm(x)); v = LI(u)``, not reset; a spike where v >= theta + r raises theta and r,
    which then decay.

    Args:
        threshold_step: what a spike adds to the threshold; >= 0, rounded down to 1/scale.
        current_decay, voltage_decay, threshold_decay, refractory_decay: 0..1, trained if
            requires_grad (lava-dl never trained the last two: they had no gradient).
        threshold and the rest: see the base class.
    """

    declaration = adaptive.ALIF

    @arguments(
        threshold_step=real(0),
        current_decay=DECAY,
        voltage_decay=DECAY,
        threshold_decay=DECAY,
        refractory_decay=DECAY,
        **SPIKING,
    )
    def __init__(
        self,
        threshold: float,
        threshold_step: float,
        current_decay: Number,
        voltage_decay: Number,
        threshold_decay: Number,
        refractory_decay: Number,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        norm: Any = None,
        dropout: torch.nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        reset_grad: str = "slayer",
    ) -> None:
        super().__init__(
            threshold,
            tau_grad,
            scale_grad,
            scale,
            norm,
            dropout,
            shared_param,
            persistent_state,
            requires_grad,
            graded_spike,
            reset_grad,
        )
        self.threshold_step = step_of(self, threshold_step)
        for name, value in (
            ("current_decay", current_decay),
            ("voltage_decay", voltage_decay),
            ("threshold_decay", threshold_decay),
            ("refractory_decay", refractory_decay),
        ):
            self.add_parameter(name, value)

    cx_current_decay, cx_voltage_decay = deployed("current_decay"), deployed("voltage_decay")
    cx_threshold_decay, cx_refractory_decay = (
        deployed("threshold_decay"),
        deployed("refractory_decay"),
    )

    @property
    def device_params(self) -> dict[str, Any]:
        return {
            "type": adaptive.ALIF.kind,
            **self.stored(),
            "refDelay": 1,
            "gradedSpike": self.graded_spike,
        }

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        (z,) = x
        dynamics = adaptive.ALIF_GRADED if self.graded_spike else adaptive.ALIF
        (s, *sent), after = self.scan(
            dynamics,
            [z if self.norm is None else self.norm(z)],
            lambda: (
                self.counted("current_decay", "voltage_decay", *ADAPTATION)
                | {"gain": 1.0, "bias": 0.0}
            ),
            state,
            shift=shift,
        )
        return (self.grade(s, sent[0], threshold=sent[1]) if sent else s), after


# what rises with every spike, and how it falls back
ADAPTATION = ("threshold", "threshold_step", "threshold_decay", "refractory_decay")


def step_of(neuron: _Neuron, step: float) -> float:
    """The threshold's step as it is used."""
    if not step * neuron.w_scale <= LIMIT:
        raise InputError(
            f"{neuron.label}: threshold_step is at most {LIMIT / neuron.w_scale:.10g}, got {step!r}"
        )
    return int(step * neuron.w_scale) / neuron.w_scale
