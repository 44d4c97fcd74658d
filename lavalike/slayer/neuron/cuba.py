"""The CUBA leaky integrate-and-fire neuron (equations: :mod:`lavalike.dynamics.lif`, in Loihi's
integers)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from lavalike.arguments import arguments, choice
from lavalike.dynamics import lif
from lavalike.errors import InputError
from lavalike.slayer.neuron.base import (
    DECAY,
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
    return from_device(device_params, lif.LIF, scale, p_scale)


class Neuron(_Neuron):
    """Current, voltage, spike:
    ``u = LI(x); u = norm(u); v = LI(u); s = v > threshold; v = 0 where s``.

    Example:
        >>> neuron = slayer.neuron.cuba.Neuron(threshold=1.0, current_decay=0.5, voltage_decay=0.1)
        >>> neuron(torch.full((1, 1, 8), 0.3)).int()
        tensor([[[0, 0, 1, 0, 1, 0, 1, 0]]], dtype=torch.int32)

    Args:
        current_decay, voltage_decay: 0..1, trained if requires_grad.
        gradient: "surrogate" (default), or "eventprop": spikes are differentiated by their times,
            exactly as steps become short (Wunderlich and Pehle 2021;
            :mod:`lavalike.dynamics.eventprop`), and tau_grad, scale_grad and reset_grad say
            nothing. Losses are of times or of membranes (an Affine block): counts of spikes have no
            such gradient. Not in Recurrent blocks, nor with graded_spike.
        threshold and the rest: see the base class.

    ``dynamics(x)`` is (current, voltage), the current after the norm, the voltage before its reset;
    ``spike(voltage)``. Between calls: ``current_state``, ``voltage_state``.
    """

    declaration = lif.LIF

    @arguments(
        current_decay=DECAY,
        voltage_decay=DECAY,
        gradient=choice("surrogate", "eventprop"),
        **SPIKING,
    )
    def __init__(
        self,
        threshold: float,
        current_decay: Number,
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
        gradient: str = "surrogate",
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
        if gradient == "eventprop" and graded_spike:
            raise InputError(
                f"{self.label}: gradient='eventprop' is of spikes of 1, and graded_spike sends the voltage; "
                "leave one of them out"
            )
        self.training_ = dataclasses.replace(self.training_, gradient=gradient)
        self.add_parameter("current_decay", current_decay)
        self.add_parameter("voltage_decay", voltage_decay)

    cx_current_decay, cx_voltage_decay = deployed("current_decay"), deployed("voltage_decay")
    current_state, voltage_state = between_calls("u"), between_calls("v")

    @property
    def device_params(self) -> dict[str, Any]:
        return {
            "type": lif.LIF.kind,
            **self.stored(),
            "refDelay": 1,
            "gradedSpike": self.graded_spike,
        }

    def current(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """The current, normalised, and the state after it."""
        (u,), after = self.scan(lif.INTEGRATE, [x], lambda: self.counted("current_decay"), state)
        return u if self.norm is None else self.norm(u), after

    def fire(
        self, u: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        """(spikes, voltage before its reset, state) of a current."""
        (s, v), after = self.scan(
            lif.FIRE, [u], lambda: self.counted("voltage_decay", "threshold"), state, shift=shift
        )
        if self.graded_spike:
            s = self.grade(s, v)
        return s, v, after

    def dynamics(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(current, voltage) of ``input``, over time: the current after normalisation, the
        voltage before its reset."""
        state = self.kept(len(input))
        u, before = self.current(seen(input), state)
        _, v, after = self.fire(u, state)
        self.keep(before | after)
        return u, v

    def spike(self, voltage: torch.Tensor) -> torch.Tensor:
        """What the voltage of ``dynamics`` sends."""
        s = self.fired("above", voltage, self._threshold)
        s = self.grade(s, voltage) if self.graded_spike else s
        return s if self.drop is None else self.drop(s)

    def voltage(self, x: torch.Tensor) -> torch.Tensor:
        """The voltage without threshold and reset."""
        return self.affine(x)[0][0]

    def affine(
        self, *inputs: torch.Tensor, state: State | None = None
    ) -> tuple[tuple[torch.Tensor, ...], State]:
        """The voltage without threshold and reset, and the state after it."""
        (x,) = inputs
        u, after = self.current(x, state)
        before = {"u": state["v"]} if state and "v" in state else None
        (v,), more = self.scan(
            lif.INTEGRATE, [u], lambda: {"keep_u": P_SCALE - self.used("voltage_decay")}, before
        )
        return (v,), after | {"v": more["u"]}

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        if self.norm is None and not self.graded_spike:
            (s,), after = self.scan(
                lif.LIF,
                x,
                lambda: (
                    self.counted("current_decay", "voltage_decay", "threshold")
                    | {"gain": 1.0, "bias": 0.0}
                ),
                state,
                shift=shift,
            )
            return s, after
        (z,) = x
        u, before = self.current(z, state)
        s, _, after = self.fire(u, state, shift)
        return s, before | after
