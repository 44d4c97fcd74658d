"""What the resonators share: complex input, a rotation per step (equations:
:mod:`lavalike.dynamics.resonator`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from lavalike.arguments import FLAG, Rule, arguments, numbers
from lavalike.dynamics import Dynamics, adaptive, resonator
from lavalike.errors import InputError
from lavalike.fused.ambient import transformed
from lavalike.slayer.axon.sized import draw
from lavalike.slayer.neuron.base import (
    DECAY,
    P_SCALE,
    SPIKING,
    W_SCALE,
    Neuron,
    Number,
    State,
    deployed,
    from_device,
    one_a_channel,
)

ROTATION = ("sin_decay", "cos_decay")
PERIOD = Rule(
    "a number >= 4, a pair (low, high), or one a channel",
    numbers(4, kinds="iuf").kind,
    numbers(4, kinds="iuf").value,
)


def neuron_params(
    device_params: Mapping[str, Any], scale: int = W_SCALE, p_scale: int = P_SCALE
) -> dict[str, Any]:
    """Arguments of a Neuron that has these ``device_params``, as in a file's neuron group."""
    params = from_device(
        device_params, adaptive.ADRF if "vThStep" in device_params else resonator.RF, scale, p_scale
    )
    sin, cos = (params.pop(n) for n in ROTATION)
    # where nothing turns, a period so long that sin is 0 on the grid
    return params | {
        "period": 2 * math.pi / np.maximum(np.arctan2(sin, cos), 1e-6),
        "decay": 1 - np.hypot(sin, cos),
    }


class Resonator(Neuron):
    """Base of rf, rf_iz, adrf and adrf_iz: takes (real, imag), sends spikes.

    Args:
        period: of the oscillation in steps, >= 4. With shared_param=False a pair (low, high) draws
            one a channel; an array or tensor is taken as it is.
        decay: of the amplitude a step, 0..1; likewise.
        log_init: frequencies evenly spaced on a logarithmic scale, in order; False: drawn evenly.
            Default True.
        threshold and the rest: see the base class; a graded spike sends real (of the Izhikevich
            kinds imag) as it was before a reset.
    """

    inputs = 2
    pair = " (real, imag)"
    dynamics_: ClassVar[Dynamics]
    graded_: ClassVar[
        Dynamics
    ]  # the same, with the state that spikes send, and the threshold where it varies

    @arguments(period=PERIOD, decay=DECAY, log_init=FLAG, **SPIKING)
    def __init__(
        self,
        threshold: float,
        period: Number,
        decay: Number,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        norm: Any = None,
        dropout: nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        log_init: bool = True,
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
        self.log_init = log_init
        self.decays += ROTATION
        given = _values(self, "period", period), _values(self, "decay", decay)
        self._spans = tuple((float(v.min()), float(v.max())) for v in given)
        exact = any(
            v.numel() > 1 and one_a_channel(g) for v, g in zip(given, (period, decay), strict=True)
        )
        if shared_param and any(v.numel() > 1 and float(v.min()) != float(v.max()) for v in given):
            raise InputError(
                f"{self.label}: period and decay are one number each where parameters are shared; "
                "shared_param=False takes more"
            )
        if exact and min(v.numel() for v in given) not in (1, max(v.numel() for v in given)):
            raise InputError(
                f"{self.label}: period and decay are one a channel, got {given[0].numel()} and {given[1].numel()}"
            )
        sin, cos = _rotation(
            *(
                torch.broadcast_tensors(*given)
                if exact
                else (v.mean(0, keepdim=True) for v in given)
            )
        )
        self.sin_decay, self.cos_decay = (
            nn.Parameter(sin, requires_grad),
            nn.Parameter(cos, requires_grad),
        )
        self._drawn = shared_param or exact

    def _make_norms(self, norm: Callable[..., Any] | None) -> None:
        self.real_norm = norm(pre_hook_fx=self.quantize_8bit) if norm is not None else None
        self.imag_norm = norm(pre_hook_fx=self.quantize_8bit) if norm is not None else None

    @property
    def norms(self) -> list[Any]:
        return [] if self.real_norm is None else [self.real_norm, self.imag_norm]

    def limits(self, name: str) -> tuple[float, float]:
        # a rotation that is trained goes on turning, and never grows (as in slayer)
        return {
            "sin_decay": (1 if self.requires_grad else 0, P_SCALE - 1),
            "cos_decay": (0, P_SCALE - 1),
        }.get(name, (0, P_SCALE))

    def unsized(self) -> Iterable[str]:
        return (*super().unsized(), *(() if self._drawn else ROTATION[:1]))

    def size(self, name: str, channels: int) -> None:
        if name not in ROTATION:
            super().size(name, channels)
            return  # sin and cos are drawn together
        (p0, p1), (d0, d1) = self._spans
        if p0 == p1:
            p0, p1 = max(0.99 * p0, 4), 1.01 * p1
        if self.log_init:
            period = 1 / torch.logspace(math.log10(1 / p1), math.log10(1 / p0), channels)
        else:
            period = 1 / (1 / p1 + (1 / p0 - 1 / p1) * draw(channels))
        if d0 == d1:
            d0, d1 = 0.99 * d0, min(1.01 * d0, 1.0)
        for n, value in zip(
            ROTATION, _rotation(period, d0 + (d1 - d0) * draw(channels)), strict=True
        ):
            self._set(n, value)
        self._drawn = True

    def _turn(self) -> tuple[torch.Tensor, torch.Tensor]:
        """sin and cos in use; an amplitude that would grow is brought back below 1."""
        with torch.no_grad():
            size = torch.sqrt(self.sin_decay**2 + self.cos_decay**2)
            # what was brought back and rounded is left alone: it is at most sqrt(1/2) above
            too_much = size > P_SCALE - 0.25
            # a trace has no values to look at
            if transformed() or bool(too_much.any()):
                factor = torch.where(too_much, (P_SCALE - 1) / size, 1.0)
                self.sin_decay.mul_(factor)
                self.cos_decay.mul_(factor)
        return self.used("sin_decay"), self.used("cos_decay")

    @property
    def rotation(self) -> np.ndarray:
        """(2, 1 or channels) sin and cos in use, without their factor 4096, float64."""
        return (
            np.stack([v.detach().cpu().numpy() for v in self._turn()]).astype(np.float64) / P_SCALE
        )

    @property
    def lam(self) -> np.ndarray:
        """Rate of the amplitude's decay, ``-log(1 - decay)`` a step, (1,) or (channels,); so are
        the following."""
        return -np.log(np.hypot(*self.rotation))

    @property
    def decay(self) -> np.ndarray:
        """Of the amplitude a step."""
        return 1 - np.hypot(*self.rotation)

    @property
    def frequency(self) -> np.ndarray:
        """Turns a step."""
        return np.arctan2(*self.rotation) / (2 * math.pi)

    @property
    def period(self) -> np.ndarray:
        """Steps a turn."""
        return 1 / self.frequency

    cx_sin_decay, cx_cos_decay = deployed("sin_decay"), deployed("cos_decay")

    def integer(self, name: str) -> Any:
        self._turn()  # where training left an amplitude that would grow
        return super().integer(name)

    @property
    def device_params(self) -> dict[str, Any]:
        return {"type": self.declaration.kind, **self.stored(), "gradedSpike": self.graded_spike}

    def turning(self) -> dict[str, Any]:
        """Parameters of the rotation."""
        sin, cos = self._turn()
        return {"sin": sin, "cos": cos, "bits": 12.0, "gain": 1.0}

    def constants(self) -> dict[str, Any]:
        """Parameters of the step."""
        return self.turning() | self.counted("threshold")

    def affine(
        self, *inputs: torch.Tensor, state: State | None = None
    ) -> tuple[tuple[torch.Tensor, ...], State]:
        """(real, imag) without threshold, and the state after it."""
        out, after = self.scan(resonator.ROTATE, self.normed(inputs), self.turning, state)
        return tuple(out), after

    def normed(self, x: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        norms = self.norms
        return tuple(norm(v) for norm, v in zip(norms, x, strict=True)) if norms else x

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        if not self.graded_spike:
            (s,), after = self.scan(
                self.dynamics_, self.normed(x), self.constants, state, shift=shift
            )
            return s, after
        (s, *sent), after = self.scan(
            self.graded_, self.normed(x), self.constants, state, shift=shift
        )
        threshold = sent.pop() if "theta_out" in self.graded_.outputs else None
        return self.grade(s, *sent, threshold=threshold), after


def _values(neuron: Neuron, name: str, value: Number) -> torch.Tensor:
    """What is given: one number, a pair (low, high), or one a channel."""
    values = torch.as_tensor(value, dtype=torch.float64).detach()
    if values.dim() > 1 or not values.numel():
        raise InputError(
            f"{neuron.label}: {name} is one value, or one a channel, got shape {tuple(values.shape)}"
        )
    if not one_a_channel(value) and values.numel() == 2 and values[0] > values[1]:
        raise InputError(f"{neuron.label}: {name} is a pair (low, high), got {value!r}")
    return values.reshape(-1)


def _rotation(period: torch.Tensor, decay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angle = 2 * math.pi / period
    sin, cos = P_SCALE * (1 - decay) * torch.sin(angle), P_SCALE * (1 - decay) * torch.cos(angle)
    return sin.float(), cos.float()
