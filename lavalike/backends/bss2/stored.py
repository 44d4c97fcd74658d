"""Weights of a projection: a matrix, or where that would be large and mostly zeros its synapses one
by one.

Synapses are laid out for a product, by as many neurons at a time as the array has columns, and only
where those have any: what is multiplied is the same, in the same order, so the bits are those of
the whole matrix, and memory that stays grows with the synapses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from lavalike.bss2.chip import facts
from lavalike.compiler.flat import Term
from lavalike.fused.synapses import Synapses, product

LARGE = 2**22  # weights; a network in a loop, stepped one step at a time, has fewer [chosen]
SPARSE = 8  # times as many weights as synapses: a synapse takes five times what a weight does


@dataclass(frozen=True, eq=False)
class Stored:
    """(out, in): ``values`` at ``rows`` and ``cols``, each place once, row by row."""

    rows: torch.Tensor
    cols: torch.Tensor
    values: torch.Tensor
    shape: tuple[int, int]

    def times(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` (..., in) by the transpose, (..., out)."""
        if torch.is_grad_enabled() and (self.values.requires_grad or x.requires_grad):
            flat = x.reshape(-1, self.shape[1])
            y = product(Synapses(self.rows, self.cols, self.shape), self.values, flat.T).T
            return y.reshape(*x.shape[:-1], self.shape[0])
        first = torch.arange(0, self.shape[0], facts.COLUMNS)
        begin = torch.searchsorted(self.rows, torch.cat([first, first.new_tensor(self.shape[:1])]))
        out = x.new_empty(*x.shape[:-1], self.shape[0])
        for k, row in enumerate(first.tolist()):
            held, part = (
                slice(int(begin[k]), int(begin[k + 1])),
                out[..., row : row + facts.COLUMNS],
            )
            if held.start == held.stop:
                part.zero_()
                continue
            tile = self.values.new_zeros(part.shape[-1], self.shape[1])
            tile[self.rows[held] - row, self.cols[held]] = self.values[held]
            part.copy_(x @ tile.T)
        return out

    def selected(self, term: Term, size: int) -> Stored:
        """The rows that a term takes, where it puts them among ``size``."""
        if term.src is None and term.dst is None:
            return self
        taken = np.arange(self.shape[0]) if term.src is None else np.asarray(term.src)
        put = np.arange(len(taken)) if term.dst is None else np.asarray(term.dst)
        order = np.argsort(taken, kind="stable")
        begin, end = (
            np.searchsorted(taken[order], self.rows.numpy(), s) for s in ("left", "right")
        )
        count = end - begin  # how often each synapse is taken
        entry = np.repeat(np.arange(len(count)), count)
        nth = np.arange(len(entry)) - np.repeat(np.cumsum(count) - count, count)
        rows = torch.from_numpy(put[order[np.repeat(begin, count) + nth]])
        entries = torch.from_numpy(entry)
        return stored(rows, self.cols[entries], self.values[entries], (size, self.shape[1]))


Matrix = torch.Tensor | Stored  # (out, in)


def stored(
    rows: torch.Tensor, cols: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]
) -> Stored:
    """Of synapses in any order, several of which may stand at one place."""
    place, of = torch.unique(rows * shape[1] + cols, return_inverse=True)
    held = values.new_zeros(len(place)).index_add(0, of, values)
    return Stored(place // shape[1], place % shape[1], held, shape)


def is_large(synapses: Synapses) -> bool:
    """Whether they are kept one by one."""
    size = synapses.shape[0] * synapses.shape[1]
    return size > LARGE and size >= SPARSE * len(synapses.rows)


def mapped(w: Matrix, function: Callable[[torch.Tensor], torch.Tensor]) -> Matrix:
    """``function`` of every weight, which is 0 of 0."""
    return replace(w, values=function(w.values)) if isinstance(w, Stored) else function(w)


def scaled(w: Matrix, by: float) -> Matrix:
    return mapped(w, lambda v: v * by)


def times(x: torch.Tensor, w: Matrix) -> torch.Tensor:
    """``x`` (..., in) by the transpose of ``w``, (..., out)."""
    return w.times(x) if isinstance(w, Stored) else x @ w.T


def largest(w: Matrix) -> float:
    """The largest weight by its size; 0 of none."""
    values = w.values if isinstance(w, Stored) else w
    return float(values.abs().max()) if values.numel() else 0.0


def fan_in(w: Matrix) -> torch.Tensor:
    """How many weights other than 0 each output has, (out,)."""
    if isinstance(w, Stored):
        return torch.bincount(w.rows[w.values != 0], minlength=w.shape[0])
    return (w != 0).sum(1)


def sources(w: Matrix) -> int:
    """How many inputs have a weight other than 0."""
    if isinstance(w, Stored):
        return len(w.cols[w.values != 0].unique())
    return int((w != 0).any(0).sum())
