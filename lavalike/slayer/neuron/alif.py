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
    seen,
)
from lavalike.slayer.states import between_calls


def neuron_params(
    device_params: Mapping[str, Any], scale: int = W_SCALE, p_scale: int = P_SCALE
) -> dict[str, Any]:
    """Arguments of a Neuron that has these ``device_params``, as in a file's neuron group."""
    return from_device(device_params, adaptive.ALIF, scale, p_scale)


# what rises with every spike, and how it falls back
ADAPTATION = ("threshold", "threshold_step", "threshold_decay", "refractory_decay")


class Adapting(_Neuron):
    """What neurons of a rising threshold have besides."""

    threshold_step: float

    @property
    def v_th_step(self) -> int:
        """The threshold's step as an integer in 1/scale."""
        return round(self.threshold_step * self.w_scale)

    @property
    def threshold_state(self) -> torch.Tensor:
        """theta between two calls, (batch, channel, ...), or one number for all; settable."""
        return self.threshold + self.held("offset")

    @threshold_state.setter
    def threshold_state(self, value: Number) -> None:
        self.hold("offset", torch.as_tensor(value, device=self.device) - self.threshold)

    refractory_state = between_calls("r")


class Neuron(Adapting):
    """``u = LI(norm(x)); v = LI(u)``, not reset; a spike where v >= theta + r raises theta and r,
    which then decay.

    Example:
        >>> neuron = slayer.neuron.alif.Neuron(
        ...     threshold=1.0,
        ...     threshold_step=0.5,
        ...     current_decay=0.5,
        ...     voltage_decay=0.1,
        ...     threshold_decay=0.1,
        ...     refractory_decay=0.1,
        ... )
        >>> neuron(torch.full((1, 1, 20), 0.6)).sum()
        tensor(7.)

    Args:
        threshold_step: what a spike adds to the threshold; >= 0, rounded down to 1/scale.
        current_decay, voltage_decay, threshold_decay, refractory_decay: 0..1, trained if
            requires_grad (lava-dl never trained the last two: they had no gradient).
        threshold and the rest: see the base class.

    ``dynamics(x)`` is (current, voltage, threshold, refractory), theta and r as v meets them;
    ``spike(voltage, threshold, refractory)``. Between calls: ``current_state``, ``voltage_state``,
    ``threshold_state``, ``refractory_state``.
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
    current_state, voltage_state = between_calls("u"), between_calls("v")

    @property
    def device_params(self) -> dict[str, Any]:
        return {
            "type": adaptive.ALIF.kind,
            **self.stored(),
            "refDelay": 1,
            "gradedSpike": self.graded_spike,
        }

    def constants(self) -> dict[str, Any]:
        """Parameters of the step."""
        counted = self.counted("current_decay", "voltage_decay", *ADAPTATION)
        return counted | {"gain": 1.0, "bias": 0.0}

    def normed(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.norm is None else self.norm(x)

    def dynamics(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(current, voltage, threshold, refractory) of ``input``, over time."""
        state = self.kept(len(input))
        (_, *states), after = self.scan(
            adaptive.ALIF_SEEN, [self.normed(seen(input))], self.constants, state
        )
        self.keep(after)
        return tuple(states)

    def spike(
        self, voltage: torch.Tensor, threshold: torch.Tensor, refractory: torch.Tensor
    ) -> torch.Tensor:
        """What these states of ``dynamics`` send."""
        met = threshold + refractory
        s = self.fired("reaches", voltage, met)
        s = self.grade(s, voltage, threshold=met) if self.graded_spike else s
        return s if self.drop is None else self.drop(s)

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        (z,) = x
        dynamics = adaptive.ALIF_SEEN if self.graded_spike else adaptive.ALIF
        (s, *states), after = self.scan(
            dynamics, [self.normed(z)], self.constants, state, shift=shift
        )
        if states:
            _, voltage, threshold, refractory = states
            s = self.grade(s, voltage, threshold=threshold + refractory)
        return s, after


def step_of(neuron: _Neuron, step: float) -> float:
    """The threshold's step as it is used."""
    if not step * neuron.w_scale <= LIMIT:
        raise InputError(
            f"{neuron.label}: threshold_step is at most {LIMIT / neuron.w_scale:.10g}, got {step!r}"
        )
    return int(step * neuron.w_scale) / neuron.w_scale
