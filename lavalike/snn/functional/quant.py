"""Quantised states: ``snn.Leaky(0.9, state_quant=state_quant(num_bits=4, threshold=1))``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.arguments import FLAG, arguments, integer, optional, real
from lavalike.errors import InputTypeError
from lavalike.fused.arithmetic import straight

# what snnTorch takes for so many bits
RATIOS = {1: 0.05, 2: 0.1, 3: 0.3, 4: 0.5, 5: 0.7, 6: 0.9, 7: 0.925}


def _nearest(x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Of ``levels``, which ascend."""
    above = torch.searchsorted(levels, x.contiguous()).clamp(1, len(levels) - 1)
    low, high = levels[above - 1], levels[above]
    value = torch.where(x - low <= high - x, low, high)
    return torch.where(x.isnan(), x, value)


class StateQuant(torch.autograd.Function):
    """``StateQuant.apply(input_, levels)``: the nearest of ``levels`` (any order, one axis) for
    each value, of two equally near the lower; backward the gradient passes straight through.

    Example:
        >>> levels = torch.tensor([0.0, 1.0])
        >>> snn.functional.quant.StateQuant.apply(torch.tensor([0.4, 0.7]), levels).tolist()
        [0.0, 1.0]
    """

    @staticmethod
    def forward(ctx: Any, input_: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return _nearest(input_, levels.to(input_).sort().values)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad_output, None


@dataclass(frozen=True)
class Quantizer:
    """The nearest of ``levels``, which ascend, for each value of a tensor, of two equally near the
    lower; backward the gradient passes straight through.

    Example:
        >>> quantise = snn.functional.quant.state_quant(num_bits=4)
        >>> quantise(torch.tensor([0.1, 0.5])).shape
        torch.Size([2])
    """

    levels: tuple[float, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputTypeError(f"state_quant: a floating-point tensor is expected, got {kind}")
        levels = torch.tensor(self.levels, dtype=x.dtype, device=x.device)
        with torch.no_grad():
            value = _nearest(x, levels)
        return straight(x, value)


@arguments(
    num_bits=integer(1, 16),
    uniform=FLAG,
    thr_centered=FLAG,
    threshold=real(above=0),
    lower_limit=real(0),
    upper_limit=real(0),
    multiplier=optional(real(above=0)),
)
def state_quant(
    num_bits: int = 8,
    uniform: bool = True,
    thr_centered: bool = True,
    threshold: float = 1.0,
    lower_limit: float = 0.0,
    upper_limit: float = 0.2,
    multiplier: float | None = None,
) -> Quantizer:
    """A function that rounds a neuron's states to ``2**num_bits`` levels, for ``state_quant=``.

    The levels lie within ``-threshold (1 + lower_limit)..threshold (1 + upper_limit)``. Uniform
    ones are equally far apart. Others are dense around the threshold (``thr_centered``) or around
    0: the distances of neighbours are powers of ``multiplier``, smaller towards the middle, and
    each side has levels in proportion to its length. The middle itself is none of them.

    Args:
        num_bits: in 1..16. Default 8.
        uniform, thr_centered: see above. Default True.
        threshold: of the neuron. Default 1.
        lower_limit, upper_limit: how far beyond -threshold and threshold, as shares of it.
            Default 0, 0.2.
        multiplier: > 0. Default None: by num_bits, as in snnTorch, 0.05 (1 bit) to 0.95 (8).
    """
    levels, threshold = 2 ** int(num_bits), float(threshold)
    low, high = -threshold * (1 + float(lower_limit)), threshold * (1 + float(upper_limit))
    if uniform:
        step = (high - low) / (levels - 1)
        return Quantizer((*(low + k * step for k in range(levels - 1)), high))
    ratio = RATIOS.get(int(num_bits), 0.95) if multiplier is None else float(multiplier)
    middle = threshold if thr_centered else 0.0
    below = math.floor(levels * ((middle - low) / (high - low)))
    sides = []
    for count, width in ((below, middle - low), (levels - below, high - middle)):
        top = count - 1 if ratio > 1 else 0  # so that no power leaves the floats
        steps = [ratio ** (k - top) for k in range(count)]
        total = sum(steps)
        sides.append([s * width / total for s in steps])
    found, at = [], low
    for step in sides[0]:  # from the outside in, the smallest step last
        found.append(at)
        at += step
    at = middle
    for step in reversed(sides[1]):
        at += step
        found.append(at)
    return Quantizer(tuple(found))
