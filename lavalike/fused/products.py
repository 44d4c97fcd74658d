"""Matrix products of training: dense ones by torch, those of spikes by
:mod:`lavalike.fused.sparse`, for torch.compile as the operator ``lavalike::product``."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.nn import functional

from lavalike.fused import memory, sparse
from lavalike.fused.ambient import exporting, stored, transformed
from lavalike.fused.operators import LIBRARY, TAGS, below

log = logging.getLogger(__name__)
DENSITY = 0.25  # up to here the sparse product is the faster one
NARROW = 64  # outputs below which a row of weights is too short to gain by it
WORTH = 2_000_000  # multiplications of a dense product below which torch is as good


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x @ weight.T + bias`` for x (rows, in), weight (out, in). torch.compile sees the operator
    ``lavalike::product`` where it pays; what is exported or transformed is torch's own product."""
    if (
        x.device.type != "cpu"
        or x.dtype != weight.dtype
        or x.dim() != 2
        or x.shape[0] * x.shape[1] * weight.shape[0] < WORTH
        or not _multiplies(x.dtype)
    ):
        return functional.linear(x, weight, bias)
    if torch.compiler.is_dynamo_compiling() and not exporting():
        y = torch.ops.lavalike.product.default(x, weight)
    elif transformed() or not (stored(x) and stored(weight)):
        return functional.linear(x, weight, bias)
    else:
        y = _Product.apply(x, weight)
    return y if bias is None else y + bias


def _multiplies(dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.bfloat16)


def _entries(x: torch.Tensor, weight: torch.Tensor) -> sparse.Sparse | None:
    return sparse.sparse(x, DENSITY) if weight.shape[0] >= NARROW else None


def _multiplied(
    x: torch.Tensor, weight: torch.Tensor, entries: sparse.Sparse | None
) -> torch.Tensor:
    if entries is not None:
        return sparse.multiply(entries, weight.t())
    if log.isEnabledFor(logging.DEBUG):
        few = len(weight) < NARROW
        why = f"{len(weight)} outputs are few" if few else f"more than {DENSITY:.0%} of it is not 0"
        log.debug("a product of %s takes the dense way: %s", tuple(x.shape), why)
    return torch.mm(x, weight.t(), out=memory.empty((len(x), len(weight)), x.dtype))


def _of_x(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.mm(grad, weight, out=memory.empty_like(x))


class _Product(torch.autograd.Function):
    """``x @ weight.T``, by the entries of x where they are few."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        held = x.contiguous()
        ctx.entries = _entries(held, weight)
        ctx.save_for_backward(x, weight)
        return _multiplied(held, weight, ctx.entries)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again
            return _plain(grad, x, weight, of_x, of_weight)
        x = x.contiguous()
        return (
            _of_x(grad, x, weight) if of_x else None,
            _Product._of_weight(ctx.entries, grad, x, weight) if of_weight else None,
        )

    @staticmethod
    def _of_weight(
        entries: sparse.Sparse | None, grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        if entries is not None:
            return sparse.multiply(sparse.transpose(entries), grad).t()
        if weight.stride(0) == 1:  # as the weight lies: the gradient is then kept as it is
            return torch.mm(
                x.t(), grad, out=memory.empty((weight.shape[1], weight.shape[0]), x.dtype)
            ).t()
        return torch.mm(grad.t(), x, out=memory.empty(weight.shape, x.dtype))


def _plain(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, of_x: bool, of_weight: bool
) -> tuple[torch.Tensor | None, ...]:
    return grad @ weight if of_x else None, grad.t() @ x if of_weight else None


# -- the operator ----------------------------------------------------------------------------------

LIBRARY.define("product(Tensor x, Tensor weight) -> Tensor", tags=TAGS)
LIBRARY.define(
    "product_backward(Tensor grad, Tensor x, Tensor weight, bool of_x, bool of_weight) -> Tensor[]",
    tags=TAGS,
)


def _op(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    x = x.contiguous()
    return _multiplied(x, weight, _entries(x, weight))


def _op_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, of_x: bool, of_weight: bool
) -> list[torch.Tensor]:
    """The entries are found again: an operator hands on tensors of known shapes only."""
    x, grad = x.contiguous(), grad.contiguous()
    out = [_of_x(grad, x, weight)] if of_x else []
    if of_weight:
        found = _entries(x, weight)
        if found is None:
            out.append(torch.mm(grad.t(), x, out=memory.empty(weight.shape, x.dtype)))
        else:
            out.append(sparse.multiply(sparse.transpose(found), grad).t().contiguous())
    return out


class _Operator(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return run(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        _, of_x, of_weight = ctx.needs_input_grad
        out = torch.ops.lavalike.product_backward.default(grad, x, weight, of_x, of_weight)
        return None, out[0] if of_x else None, out[-1] if of_weight else None


def _autograd(keyset: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    run = below(torch.ops.lavalike.product.default, keyset)
    if not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)):
        return run(x, weight)
    return _Operator.apply(run, x, weight)


def _autograd_backward(
    keyset: Any,
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    of_x: bool,
    of_weight: bool,
) -> list[torch.Tensor]:
    if torch.is_grad_enabled() and any(t.requires_grad for t in (grad, x, weight)):
        return [g for g in _plain(grad, x, weight, of_x, of_weight) if g is not None]
    run = below(torch.ops.lavalike.product_backward.default, keyset)
    return run(grad, x, weight, of_x, of_weight)


def _vmap(info: Any, dims: Any, x: torch.Tensor, weight: torch.Tensor) -> Any:
    at = [v if d is None else v.movedim(d, 0) for v, d in zip((x, weight), dims, strict=True)]
    return at[0] @ at[1].mT, 0


LIBRARY.impl("product", _op, "CompositeExplicitAutograd")
LIBRARY.impl("product_backward", _op_backward, "CompositeExplicitAutograd")
LIBRARY.impl("product", _autograd, "Autograd", with_keyset=True)
LIBRARY.impl("product_backward", _autograd_backward, "Autograd", with_keyset=True)
torch.library.register_fake(
    "lavalike::product", lambda x, w: x.new_empty((x.shape[0], w.shape[0])), lib=LIBRARY
)
torch.library.register_fake(
    "lavalike::product_backward",
    lambda grad, x, w, of_x, of_weight: [
        v.new_empty(v.shape) for v, wanted in ((x, of_x), (w, of_weight)) if wanted
    ],
    lib=LIBRARY,
)
torch.library.register_vmap("lavalike::product", _vmap, lib=LIBRARY)
