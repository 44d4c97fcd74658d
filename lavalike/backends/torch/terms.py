"""Sums of terms on tensors: what a port carries, of what others send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from lavalike.compiler.flat import Term
from lavalike.process import Port


def selected(x: torch.Tensor, term: Term, size: int, axis: int = -1) -> torch.Tensor:
    """The elements along ``axis`` that a term takes, where it puts them among ``size``."""
    if term.src is not None:
        x = x.index_select(axis, torch.as_tensor(term.src, device=x.device))
    if term.dst is None:
        return x
    shape = [*x.shape]
    shape[axis] = size
    return x.new_zeros(shape).index_add(axis, torch.as_tensor(term.dst, device=x.device), x)


def summed(
    terms: Iterable[Term], size: int, sent: Callable[[Port], torch.Tensor], axis: int = -1
) -> torch.Tensor | None:
    """The sum of ``terms``, ``size`` along ``axis``, in their order; None of none. ``sent``: what a
    port sends, flat along ``axis``."""
    out: torch.Tensor | None = None
    for term in terms:
        x = selected(sent(term.source), term, size, axis)
        out = x if out is None else out + x
    return out


def gathered(
    terms: Iterable[Term],
    size: int,
    sent: Mapping[Port, torch.Tensor],
    extent: tuple[int, ...],
    like: torch.Tensor,
) -> torch.Tensor:
    """The sum of ``terms``, (*extent, size)."""
    out = summed(terms, size, sent.__getitem__)
    return like.new_zeros(*extent, size) if out is None else out
