"""Integer arithmetic as the chip does it."""

from __future__ import annotations

from typing import Any

import torch

from lavalike.arguments import TENSOR, arguments, integer
from lavalike.errors import InputError


@arguments(x=TENSOR, bits=integer(0))
def right_shift_to_zero(x: torch.Tensor, bits: int) -> torch.Tensor:
    """``sign(x) * (|x| >> bits)``: division by 2**bits, rounded towards zero, of an integer
    tensor."""
    if x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool:
        raise InputError(
            f"utils.int_utils.right_shift_to_zero: an integer tensor is expected, got {x.dtype}"
        )
    if not 0 <= bits < torch.iinfo(x.dtype).bits:
        raise InputError(
            f"utils.int_utils.right_shift_to_zero: bits of a {x.dtype} are 0..{torch.iinfo(x.dtype).bits - 1}, got {bits}"
        )
    floor = x >> bits
    return floor + ((x < 0) & ((floor << bits) != x))


class Q2Zero(torch.autograd.Function):
    """Rounding towards zero, the gradient passed through: ``Q2Zero.apply(x)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.trunc()

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        return grad_output
