"""Delta coding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from lavalike import fused
from lavalike.arguments import FLAG, arguments, integer, numbers, optional, real
from lavalike.dynamics import delta as equations
from lavalike.errors import InputError
from lavalike.fused.ambient import transformed
from lavalike.fused.arithmetic import shared
from lavalike.fused.surrogate import Exponential
from lavalike.slayer.axon.sized import Sized, clamped
from lavalike.slayer.layout import over_time
from lavalike.slayer.states import Number, State, Stateful, between_calls
from lavalike.text import settings


class Delta(Sized, Stateful):
    """Delta coding: sends the change of its input where it reaches the threshold, rounded down to
    1/scale.

    Example:
        >>> delta = slayer.axon.Delta(threshold=0.5)
        >>> delta(torch.tensor([[[1.0, 1.1, 1.2, 1.6, 1.6]]])).detach()
        tensor([[[1.0000, 0.0000, 0.0000, 0.5938, 0.0000]]])

    Args:
        threshold: > 0, one number, or an array of one a channel; kept >= 1/w_scale, and rounded to
            that grid (straight through) so that what is trained is what is deployed, when
            ``w_scale`` is given.
        scale: messages are multiples of 1/scale.
        tau_grad, scale_grad: of the threshold's gradient.
        cum_error: compare the accumulated error with the threshold, not the last change. Default
            False.
        shared_param: one threshold for all channels, else one a channel. Default True.
        persistent_state: a call goes on where the last one ended, unless the batch is another.
            Default False.
        requires_grad: train the threshold.

    Between two calls, one number or (batch, channel, ...) each, settable: ``pre_state``, the input
    in the step before; ``residual_state``, what was not sent of the last change;
    ``error_state``, the error that ``cum_error`` accumulates.
    """

    debug: bool = False  # the plain loop computes it as well

    @arguments(
        threshold=numbers(above=0, kinds="iuf"),
        scale=integer(1),
        tau_grad=real(above=0),
        scale_grad=real(above=0),
        cum_error=FLAG,
        shared_param=FLAG,
        persistent_state=FLAG,
        requires_grad=FLAG,
        w_scale=optional(integer(1)),
    )
    def __init__(
        self,
        threshold: float | np.ndarray | torch.Tensor,
        scale: int = 64,
        tau_grad: float = 1,
        scale_grad: float = 1,
        cum_error: bool = False,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        w_scale: int | None = None,
    ) -> None:
        super().__init__()
        self.label = "axon.Delta"
        start = torch.as_tensor(threshold, dtype=torch.float32).detach().reshape(-1).clone()
        if not start.numel() or not bool(torch.isfinite(start).all()):
            raise InputError(
                f"{self.label}: threshold is one number, or one a channel, finite in float32, got {threshold!r}"
            )
        if start.numel() > 1 and shared_param:
            raise InputError(
                f"{self.label}: threshold is one number where it is shared, got {start.numel()}; "
                "shared_param=False takes one a channel"
            )
        self.scale, self.tau_grad, self.scale_grad, self.w_scale = (
            scale,
            tau_grad,
            scale_grad,
            w_scale,
        )
        self.cum_error, self.shared_param, self.persistent_state = (
            cum_error,
            shared_param,
            persistent_state,
        )
        self.threshold = nn.Parameter(start, requires_grad=requires_grad)
        self._dynamics = equations.DELTA_CUMULATIVE if cum_error else equations.DELTA
        # no spikes here: the surrogate is not used
        numbers_ = float(scale), float(tau_grad), float(scale_grad)
        self.coding = shared(fused.Training(Exponential(), "slayer", "messages", *numbers_))

    def extra_repr(self) -> str:
        learnt = ["threshold"] if self.threshold.requires_grad else []
        return settings({"threshold": self.threshold, "scale": self.scale}, *learnt)

    def unsized(self) -> Iterable[str]:
        return () if self.shared_param or self.threshold.numel() > 1 else ("threshold",)

    def size(self, name: str, channels: int) -> None:
        self.threshold.data = self.threshold.data.expand(channels).clone()

    def fit(self, channels: int) -> None:
        """Give every channel its threshold, where they do not share one."""
        super().fit(channels)
        if self.threshold.numel() not in (1, channels):
            raise InputError(
                f"{self.label}: {self.threshold.numel()} thresholds for an input of {channels} channels"
            )

    @property
    def device(self) -> torch.device:
        return self.threshold.device

    def clamp(self) -> torch.Tensor:
        """Bring the threshold back to what a message can hold, as every call does, and return
        it."""
        return clamped(self.threshold, 1 / (self.w_scale or self.scale))

    def effective_threshold(self) -> torch.Tensor:
        """The threshold in use."""
        th = self.clamp()
        if self.w_scale is None:
            return th
        grid = torch.floor(th.detach() * self.w_scale) / self.w_scale
        return th + (grid - th).detach()

    def stream(
        self, x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        """(messages, state after them) of inputs (batch, channel, ..., time) that follow on
        ``state``; ``shift``: one step late."""
        if x.dim() < 3 or 0 in x.shape:
            raise InputError(
                f"{self.label}: input has shape {tuple(x.shape)}; expected (batch, channel, ..., time), none of them 0"
            )
        self.fit(x.shape[1])
        self.saw(x)
        own = {s: state[s] for s in self._dynamics.states if s in state} if state else {}
        self.fitting(own, x)
        params = {"vth": self.effective_threshold(), "gain": 1.0, "out_scale": 1.0}
        (y,), after_, _ = over_time(
            self._dynamics, self.coding, [x], params, own, shift, self.debug
        )
        if not transformed() and not bool(torch.isfinite(after_["act"].detach().sum())):
            raise InputError(
                f"{self.label}: input values are NaN or infinite (diverged weights do that too)"
            )
        return y, after_

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        y, after_ = self.stream(input, self.kept(len(input)))
        self.keep(after_)
        return y

    pre_state, residual_state = between_calls("act"), between_calls("residue")

    @property
    def error_state(self) -> torch.Tensor:
        """The accumulated error between two calls; settable where ``cum_error`` has one."""
        return self.held("error")

    @error_state.setter
    def error_state(self, value: Number) -> None:
        if self.cum_error:
            self.hold("error", value)
        elif bool((torch.as_tensor(value) != 0).any()):
            raise InputError(f"{self.label}: error_state: cum_error=False accumulates no error")
