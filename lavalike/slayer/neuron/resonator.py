"""What the resonators share: complex input, a rotation per step (equations:
:mod:`lavalike.dynamics.resonator`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    seen,
)
from lavalike.slayer.states import between_calls

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
    size = np.hypot(sin, cos)
    # integers that rounding made as long as 1, or longer, come of a shorter rotation, which a
    # Neuron leaves as it is
    size = np.where(size <= 1 + 0.5 / p_scale, np.minimum(size, 1 - 0.26 / p_scale), size)
    # where nothing turns, a period so long that sin is 0 on the grid
    return params | {
        "period": 2 * math.pi / np.maximum(np.arctan2(sin, cos), 1e-6),
        "decay": 1 - size,
    }


class Resonator(Neuron):
    """Base of rf, rf_iz, adrf and adrf_iz: takes (real, imag), sends spikes.

    Example:
        >>> neuron = slayer.neuron.rf.Neuron(threshold=0.3, period=10, decay=0.05)
        >>> x = torch.zeros(1, 1, 30)
        >>> x[..., 0] = 1.0
        >>> neuron((x, torch.zeros_like(x))).nonzero()[:, -1]
        tensor([11])

    Args:
        period: of the oscillation in steps, >= 4. With shared_param=False a pair (low, high) draws
            one a channel; an array or tensor is taken as it is.
        decay: of the amplitude a step, 0..1; likewise.
        log_init: frequencies evenly spaced on a logarithmic scale, in order; False: drawn evenly.
            Default True.
        threshold and the rest: see the base class; a graded spike sends real (of the Izhikevich
            kinds imag) as it was before a reset.

    ``dynamics((real, imag))`` is (real, imag) as they meet the threshold, of the adaptive kinds
    (real, imag, threshold, refractory); ``spike(*states)``, of the states that ``dynamics`` last
    returned: whether imag passes zero in their first step, the step before tells. Between calls:
    ``real_state``, ``imag_state``, of the adaptive kinds ``threshold_state``, ``refractory_state``
    too. ``period``, ``decay``, ``frequency`` and ``lam`` are settable, one number or one a channel.
    """

    inputs = 2
    pair = " (real, imag)"
    dynamics_: ClassVar[Dynamics]
    seen_: ClassVar[Dynamics]  # the same, with the states as they meet the threshold
    phase: ClassVar[bool] = False  # a spike is real's, as imag passes zero; else imag's
    _before: torch.Tensor | None = None  # imag, where the states that were last seen begin

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

    @lam.setter
    def lam(self, value: Number) -> None:
        self.decay = -np.expm1(-as_array(value))

    @property
    def decay(self) -> np.ndarray:
        """Of the amplitude a step."""
        return 1 - np.hypot(*self.rotation)

    @decay.setter
    def decay(self, value: Number) -> None:
        DECAY.check(self.label, "decay", value)
        self._turn_by(self.period, value)

    @property
    def frequency(self) -> np.ndarray:
        """Turns a step."""
        return np.arctan2(*self.rotation) / (2 * math.pi)

    @frequency.setter
    def frequency(self, value: Number) -> None:
        with np.errstate(divide="ignore"):
            self.period = 1 / as_array(value)

    @property
    def period(self) -> np.ndarray:
        """Steps a turn."""
        return 1 / self.frequency

    @period.setter
    def period(self, value: Number) -> None:
        PERIOD.check(self.label, "period", value)
        self._turn_by(value, self.decay)

    def _turn_by(self, period: Number, decay: Number) -> None:
        turn = np.broadcast_arrays(*(as_array(v).reshape(-1) for v in (period, decay)))
        for name, value in zip(ROTATION, _rotation(*map(torch.tensor, turn)), strict=True):
            if value.numel() > 1:
                self.separate(name, value.numel())
            self._set(name, value)
        self._drawn = True

    cx_sin_decay, cx_cos_decay = deployed("sin_decay"), deployed("cos_decay")
    real_state, imag_state = between_calls("real"), between_calls("imag")

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

    def dynamics(self, input: Any, *more: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(real, imag) of an input (real, imag), over time, as they meet the threshold; of the
        adaptive kinds also the threshold and r."""
        taken = tuple(map(seen, self.taken((input, *more))))
        state = self.kept(len(taken[0]))
        self._before = (state or {}).get("imag")
        (_, *states), after = self.scan(self.seen_, self.normed(taken), self.constants, state)
        self.keep(after)
        return tuple(states)

    def spike(self, *states: torch.Tensor) -> torch.Tensor:
        """What the states of ``dynamics`` send."""
        due = len(self.seen_.outputs) - 1
        if len(states) != due:
            raise InputError(
                f"{self.label}: spike takes the {due} states of dynamics, got {len(states)}"
            )
        real, imag, *theta = states
        met: Any = theta[0] + theta[1] if theta else self._threshold
        if self.phase:
            first = torch.zeros_like(imag[..., 0]) if self._before is None else self._before
            first = first.to(imag).expand(imag.shape[:-1])[..., None]
            s = self.fired("crosses", real, imag, torch.cat([first, imag[..., :-1]], -1), met)
        else:
            s = self.fired("reaches", imag, met)
        s = self._graded(s, states) if self.graded_spike else s
        return s if self.drop is None else self.drop(s)

    def _graded(self, s: torch.Tensor, states: Sequence[torch.Tensor]) -> torch.Tensor:
        real, imag, *theta = states
        sent = (real, imag) if self.phase else (imag,)
        return self.grade(s, *sent, threshold=theta[0] + theta[1] if theta else None)

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        dynamics = self.seen_ if self.graded_spike else self.dynamics_
        (s, *states), after = self.scan(
            dynamics, self.normed(x), self.constants, state, shift=shift
        )
        return (self._graded(s, states) if states else s), after


def as_array(value: Number) -> np.ndarray:
    return np.asarray(
        value.detach().cpu() if isinstance(value, torch.Tensor) else value, np.float64
    )


def _values(neuron: Neuron, name: str, value: Number) -> torch.Tensor:
    """What is given: one number, a pair (low, high), or one a channel."""
    values = torch.as_tensor(value, dtype=torch.float64).detach()
    if values.dim() > 1 or not values.numel():
        raise InputError(
            f"{neuron.label}: {name} is one value, or one a channel, got shape {tuple(values.shape)}"
        )
    return values.reshape(-1)


def _rotation(period: torch.Tensor, decay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angle = 2 * math.pi / period
    sin, cos = P_SCALE * (1 - decay) * torch.sin(angle), P_SCALE * (1 - decay) * torch.cos(angle)
    return sin.float(), cos.float()
