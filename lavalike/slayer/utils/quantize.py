"""Quantisation with straight-through gradients."""

from __future__ import annotations

import enum
from typing import Any

import torch

from lavalike.arguments import FLAG, TENSOR, Rule, arguments, integer, real
from lavalike.fused.ambient import functional
from lavalike.fused.arithmetic import straight


class MODE(enum.IntEnum):
    """How values are brought to multiples of the step.

    Example:
        >>> mode = slayer.utils.QUANTIZE_MODE.FLOOR
        >>> slayer.utils.quantize(torch.tensor([0.3, 1.7]), step=1, mode=mode)
        tensor([0., 1.])
    """

    ROUND = 0
    FLOOR = 1


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, step: float, mode: MODE) -> torch.Tensor:
        return _quantized(x, step, mode)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad, None, None


def _quantized(x: torch.Tensor, step: float, mode: MODE) -> torch.Tensor:
    y = x / step
    return (torch.round(y) if mode == MODE.ROUND else torch.floor(y)) * step


_MODE = Rule(
    "MODE.ROUND or MODE.FLOOR",
    lambda v: isinstance(v, int) and not isinstance(v, bool),
    lambda v: v in (MODE.ROUND, MODE.FLOOR),
)


@arguments(input=TENSOR, step=real(above=0), mode=_MODE)
def quantize(input: torch.Tensor, step: float = 1, mode: MODE = MODE.ROUND) -> torch.Tensor:
    """``input`` at multiples of ``step`` (ROUND: half to even), the gradient passed through."""
    if functional():  # as transforms want a Function, at twice the time of a call
        return straight(input, _quantized(input, step, mode))
    return _Quantize.apply(input, step, mode)


@arguments(x=TENSOR, scale=real(above=0), num_bits=integer(1, 32), descale=FLAG)
def quantize_hook_fx(
    x: torch.Tensor, scale: float = 64, num_bits: int = 8, descale: bool = False
) -> torch.Tensor:
    """Weights as integers of ``num_bits`` on a grid of 2 / scale, in [-2 * 2**num_bits, 2
    (2**num_bits - 1)] / scale."""
    y = quantize(x, 2 / scale).clamp(-2 * 2**num_bits / scale, 2 * (2**num_bits - 1) / scale)
    return y * scale if descale else y
