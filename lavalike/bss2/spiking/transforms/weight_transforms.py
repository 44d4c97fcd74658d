"""From the model's weights to the chip's, whose range is -63..63; rounding comes after."""

from __future__ import annotations

import torch

from lavalike.arguments import FLAG, TENSOR, arguments, numbers, real
from lavalike.bss2.chip import facts
from lavalike.errors import InputError


@arguments(weight=TENSOR, scale=numbers(), min_weight=numbers(), max_weight=numbers())
def linear_saturating(
    weight: torch.Tensor,
    scale: float = 1.0,
    min_weight: float = -facts.WEIGHT_MAX,
    max_weight: float = facts.WEIGHT_MAX,
) -> torch.Tensor:
    """``clamp(scale * weight, min_weight, max_weight)``.

    As a synapse's ``transform`` without a scale of its own (the default) it leaves the scale to be
    fitted; ``functools.partial(linear_saturating, scale=s)`` tells it.
    """
    return torch.clamp(scale * weight, min_weight, max_weight)


class _SoftClamp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: object, weight: torch.Tensor, cap: float, start: float, quantize: bool
    ) -> torch.Tensor:
        unit = cap / facts.WEIGHT_MAX
        bend, size = start * unit, weight.abs()
        room = cap - bend
        bent = (
            cap - room * torch.exp(-(size - bend).clamp(min=0) / room)
            if room > 0
            else size.clamp(max=cap)
        )
        out = torch.sign(weight) * torch.where(size > bend, bent, size)
        return torch.round(out / unit) * unit if quantize else out

    @staticmethod
    def backward(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return grad, None, None, None


@arguments(weight=TENSOR, cap=real(), start_weight=real(), quantize=FLAG)
def linear_exponential_clamp(
    weight: torch.Tensor, cap: float = 1.5, start_weight: float = 61, quantize: bool = False
) -> torch.Tensor:
    """Linear up to ``start_weight`` / 63 of ``cap``, then exponentially towards ``cap``, in the
    model's unit; gradient as if nothing bent.

    Args:
        weight: any shape.
        cap: the largest weight, which the chip holds as 63. Default 1.5.
        start_weight: where the bend begins, in the chip's unit. Default 61.
        quantize: round to multiples of cap / 63. Default False.
    """
    if not cap > 0 or not 0 <= start_weight <= facts.WEIGHT_MAX:
        raise InputError(
            f"linear_exponential_clamp: cap > 0 and start_weight in 0..{facts.WEIGHT_MAX} are needed, got {cap!r}, "
            f"{start_weight!r}"
        )
    return _SoftClamp.apply(weight, cap, start_weight, quantize)
