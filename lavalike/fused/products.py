"""Matrix products of training: dense ones by torch, those of spikes by
:mod:`lavalike.fused.sparse`."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lavalike.fused import memory, sparse
from lavalike.fused.ambient import stored, transformed

log = logging.getLogger(__name__)
DENSITY = 0.25  # up to here the sparse product is the faster one
NARROW = 64  # outputs below which a row of weights is too short to gain by it
WORTH = 2_000_000  # multiplications of a dense product below which torch is as good


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x @ weight.T + bias`` for x (rows, in), weight (out, in)."""
    if (
        x.device.type != "cpu"
        or x.dtype != weight.dtype
        or x.dim() != 2
        or x.numel() * weight.shape[0] < WORTH
        or not _multiplies(x.dtype)
        or transformed()
        or not (stored(x) and stored(weight))
    ):
        return functional.linear(x, weight, bias)
    y = _Product.apply(x, weight)
    return y if bias is None else y + bias


def _multiplies(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.bfloat16)


class _Product(torch.autograd.Function):
    """``x @ weight.T``, by the entries of x where they are few."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        ctx.entries = sparse.sparse(x, DENSITY) if weight.shape[0] >= NARROW else None
        ctx.save_for_backward(x, weight)
        if ctx.entries is not None:
            return sparse.multiply(ctx.entries, weight.t())
        if log.isEnabledFor(logging.DEBUG):
            few = len(weight) < NARROW
            why = (
                f"{len(weight)} outputs are few"
                if few
                else f"more than {DENSITY:.0%} of it is not 0"
            )
            log.debug("a product of %s takes the dense way: %s", tuple(x.shape), why)
        return torch.mm(x, weight.t(), out=memory.empty((len(x), len(weight)), x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = torch.mm(grad, weight, out=memory.empty_like(x))
        if ctx.needs_input_grad[1]:
            if ctx.entries is not None:
                of_weight = sparse.multiply(sparse.transpose(ctx.entries), grad).t()
            elif weight.stride(0) == 1:  # as the weight lies: the gradient is then kept as it is
                of_weight = torch.mm(
                    x.t(), grad, out=memory.empty((weight.shape[1], weight.shape[0]), x.dtype)
                ).t()
            else:
                of_weight = torch.mm(grad.t(), x, out=memory.empty(weight.shape, x.dtype))
        return of_x, of_weight
