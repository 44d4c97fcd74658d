"""Leaky integrate-and-fire without a current (equations: ``FIRE`` of :mod:`lavalike.dynamics.lif`,
in Loihi's integers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lavalike.arguments import arguments
from lavalike.dynamics import lif
from lavalike.errors import InputError
from lavalike.slayer.neuron import cuba
from lavalike.slayer.neuron.base import (
    DECAY,
    P_SCALE,
    SPIKING,
    W_SCALE,
    Neuron as _Neuron,
    Number,
    State,
    from_device,
)


def neuron_params(
    device_params: Mapping[str, Any], scale: int = W_SCALE, p_scale: int = P_SCALE
) -> dict[str, Any]:
    """Arguments of a Neuron that has these ``device_params``, whose iDecay is 4096: its current
    does not last."""
    if "iDecay" in device_params and (np.asarray(device_params["iDecay"]) != p_scale).any():
        raise InputError(
            f"neuron_params: iDecay is {device_params['iDecay']}, a lif neuron's {p_scale}; use cuba"
        )
    return from_device(device_params, lif.FIRE, scale, p_scale)


class Neuron(cuba.Neuron):
    """Voltage and spike: ``v = LI(norm(x)); s = v > threshold; v = 0 where s``. Exported as CUBA
    whose current does not last.

    Example:
        >>> neuron = slayer.neuron.lif.Neuron(threshold=1.0, voltage_decay=0.1)
        >>> neuron(torch.full((1, 1, 8), 0.4)).int()
        tensor([[[0, 0, 1, 0, 0, 1, 0, 0]]], dtype=torch.int32)

    Args:
        voltage_decay: 0..1, trained if requires_grad.
        threshold and the rest: see the base class.

    ``dynamics(x)`` is (voltage,), before its reset; ``spike(voltage)``. Between calls:
    ``voltage_state``.
    """

    declaration = lif.FIRE

    @arguments(voltage_decay=DECAY, **SPIKING)
    def __init__(
        self,
        threshold: float,
        voltage_decay: Number,
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
        _Neuron.__init__(
            self,
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
        self.add_parameter("voltage_decay", voltage_decay)

    cx_current_decay = property(
        lambda self: P_SCALE, doc="As of a cuba neuron without a lasting current."
    )
    current_state = property(doc="There is none.")

    @property
    def device_params(self) -> dict[str, Any]:
        return {
            "type": lif.LIF.kind,
            "iDecay": P_SCALE,
            **self.stored(),
            "refDelay": 1,
            "gradedSpike": self.graded_spike,
        }

    def current(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        return x if self.norm is None else self.norm(x), {}

    def dynamics(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(voltage,) of ``input``, over time, before its reset."""
        return super().dynamics(input)[1:]

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        (z,) = x
        s, _, after = self.fire(self.current(z)[0], state, shift)
        return s, after
