"""Delays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from lavalike.arguments import TENSOR, arguments, choice, integer, optional, real
from lavalike.errors import InputError
from lavalike.fused.ambient import transformed
from lavalike.slayer.axon.sized import Sized, clamped, draw
from lavalike.slayer.states import State
from lavalike.text import settings


@arguments(input=TENSOR, delay_val=real(0), sampling_time=real(above=0))
def delay(input: torch.Tensor, delay_val: float = 1, sampling_time: float = 1) -> torch.Tensor:
    """``input`` (..., time) later by ``delay_val`` >= 0, in the unit of ``sampling_time``, the
    duration of a step; a fraction of a step is cut off. What leaves the end is lost, zeros
    enter."""
    return after(input, input.new_zeros(*input.shape[:-1], int(delay_val / sampling_time)))[0]


def after(x: torch.Tensor, before: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``x`` behind the steps ``before`` (..., k): as many steps as x has, and the k that are left
    over."""
    # joined with time outermost, as the loops want it
    joined = torch.cat([before.movedim(-1, 0), x.movedim(-1, 0)]).movedim(0, -1)
    return joined[..., : x.shape[-1]], joined[..., x.shape[-1] :]


class _Shift(torch.autograd.Function):
    """Channel-wise delay by whole steps; d y[t] / d delay = y[t-1] - y[t], or with ``central``
    (y[t-1] - y[t+1]) / 2."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, delays: torch.Tensor, central: bool) -> torch.Tensor:
        time = x.shape[-1]
        y = x.new_zeros(
            *x.shape[:-1], time + 1
        )  # and the step after the last, which is known where there is a delay
        steps = delays.detach().floor().long().tolist()
        for c, d in enumerate(steps):
            if d == 0:
                y[:, c, ..., :-1], y[:, c, ..., -1] = x[:, c], x[:, c, ..., -1]
            elif d <= time:
                y[:, c, ..., d:] = x[:, c, ..., : time + 1 - d]
        ctx.steps, ctx.central = steps, central
        ctx.save_for_backward(y)
        return y[..., :-1]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (whole,) = ctx.saved_tensors
        gx = torch.zeros_like(grad)
        for c, d in enumerate(ctx.steps):
            if d < grad.shape[-1]:
                gx[:, c, ..., : grad.shape[-1] - d] = grad[:, c, ..., d:]
        return gx, _of_delays(grad, whole, ctx.central), None


class _Gathered(torch.autograd.Function):
    """:class:`_Shift` for who cannot look at the delays: traces and transforms."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor, delays: torch.Tensor, central: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        time = x.shape[-1]
        steps = delays.floor().long().reshape(-1, *[1] * (x.dim() - 2))
        at = torch.arange(time + 1, device=x.device) - steps
        # the step after the last is the last again where there is no delay
        whole = x.gather(-1, at.clamp(0, time - 1).expand(*x.shape[:-1], time + 1))
        whole = torch.where(at >= 0, whole, 0.0)
        return whole[..., :-1].clone(), whole

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, delays, ctx.central = inputs
        ctx.save_for_backward(output[1], delays)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *others: Any) -> tuple[torch.Tensor | None, ...]:
        whole, delays = ctx.saved_tensors
        time = grad.shape[-1]
        steps = delays.floor().long().reshape(-1, *[1] * (grad.dim() - 2))
        at = torch.arange(time, device=grad.device) + steps
        gx = grad.gather(-1, at.clamp(0, time - 1).expand(grad.shape))
        return torch.where(at < time, gx, 0.0), _of_delays(grad, whole, ctx.central), None


def _of_delays(grad: torch.Tensor, whole: torch.Tensor, central: bool) -> torch.Tensor:
    """The gradient of the delays, of the delayed input and its step after the last."""
    y = whole[..., :-1]
    late = torch.cat([torch.zeros_like(y[..., :1]), y[..., :-1]], -1)
    change = (late - whole[..., 1:]) / 2 if central else late - y
    return (grad * change).sum([0, *range(2, grad.dim())])


DELAY_GRADIENT = choice("forward", "central")


class Delay(Sized):
    """A learnable delay per channel, rounded down to whole steps.

    Example:
        >>> delay = slayer.axon.Delay(20, max_delay=10)
        >>> delay(torch.rand(4, 20, 30)).shape
        torch.Size([4, 20, 30])

    Args:
        sampling_time: of a step, in the unit of the delays. Default 1.
        max_delay: delays are kept in 0..max_delay (None: no upper limit).
        grad_scale: factor on the delays' gradient.
        channels: if given, delays are drawn from U(0, 1) now, else when the channels are known, at
            the latest at the first call.
        delay_gradient: what the output is taken to change by where a delay grows. "forward"
            (default, as in lava-dl): by what one step more of delay does. Between two steps that is
            right on one side only: trained, a delay comes from below, runs past its optimum and on.
            "central": by half of what one step more does less what one step less does; it finds its
            optimum from both sides. (``tests/test_slayer_learning.py`` shifts by 9 from 0.5, 4 and
            14.)

    Delays begin below 1, which rounded down is no delay: an optimizer moves them at a rate of their
    own, see :func:`lavalike.slayer.utils.parameter_groups`.
    """

    @arguments(
        sampling_time=real(above=0),
        max_delay=optional(real(0)),
        grad_scale=real(),
        channels=optional(integer(1)),
        delay_gradient=DELAY_GRADIENT,
    )
    def __init__(
        self,
        sampling_time: float = 1,
        max_delay: float | None = None,
        grad_scale: float = 1,
        channels: int | None = None,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__()
        self.sampling_time, self.max_delay, self.grad_scale, self.delay_gradient = (
            sampling_time,
            max_delay,
            grad_scale,
            delay_gradient,
        )
        self.delay = nn.Parameter(torch.zeros(1) if channels is None else torch.rand(channels))
        self._sized = channels is not None

    def extra_repr(self) -> str:
        channels = len(self.delay) if self._sized else None  # not known before the first call
        return settings({"channels": channels, "max_delay": self.max_delay})

    def unsized(self) -> Iterable[str]:
        return () if self._sized else ("delay",)

    def size(self, name: str, channels: int) -> None:
        # the same parameter object: an optimizer may have it already
        self.delay.data = draw(channels).to(self.delay)
        self._sized = True

    def clamp(self) -> torch.Tensor:
        """Bring the delays back into their limits, as every call does, and return them."""
        return clamped(self.delay, 0, self.max_delay)

    @property
    def device(self) -> torch.device:
        return self.delay.device

    @property
    def shape(self) -> torch.Size | None:
        """Of the delays, (channels,); None until the channels are known."""
        return self.delay.shape if self._sized else None

    def steps(self) -> torch.Tensor:
        """Delays in use, in whole steps."""
        return (self.clamp().detach() / self.sampling_time).floor()

    def stream(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """(delayed, state after it): the state holds the last steps of the input."""
        if x.dim() >= 3:
            self.fit(x.shape[1])
        if x.dim() < 3 or x.shape[1] != len(self.delay):
            raise InputError(
                f"axon.Delay: input has shape {tuple(x.shape)}; expected (batch, {len(self.delay)}, ..., time)"
            )
        scaled = self.clamp() / self.sampling_time
        if self.grad_scale != 1:
            scaled = scaled.detach() + (scaled - scaled.detach()) * self.grad_scale
        past, central = (state or {}).get("past"), self.delay_gradient == "central"
        if past is None:
            past = x.new_zeros(*x.shape[:-1], self._longest())
        whole = torch.cat([past, x], -1)
        y = (
            _Gathered.apply(whole, scaled, central)[0]
            if transformed()
            else _Shift.apply(whole, scaled, central)
        )
        return y[..., past.shape[-1] :], {"past": whole[..., x.shape[-1] :]}

    def _longest(self) -> int:
        """How many steps of the input a state holds: as many as the longest delay has, and in a
        trace, which does not know that, as it may have."""
        if not transformed():
            return int(self.steps().max())
        if self.max_delay is None:
            raise InputError(
                "axon.Delay: torch.compile and other traces need max_delay, the steps of the input that a state holds"
            )
        return int(self.max_delay // self.sampling_time)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.stream(input)[0]
