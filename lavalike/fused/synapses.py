"""Products with synapses that are stored one by one: memory grows with the synapses and the
messages, never with outputs times inputs."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch

from lavalike.fused.ambient import transformed

AT_ONCE = 1 << 20  # products of a synapse and a message that are held at once


class Synapses:
    """Where synapses stand, on one device: ``rows`` (outputs) and ``cols`` (inputs), a number each;
    several may stand at one place.

    ``shape`` is (out, in). The order is kept for products with the matrix and with its transpose.
    """

    def __init__(self, rows: torch.Tensor, cols: torch.Tensor, shape: tuple[int, int]) -> None:
        self.rows, self.cols, self.shape = rows, cols, shape

    @functools.cached_property
    def _by_row(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return _sorted(self.rows, self.cols, self.shape[0])

    @functools.cached_property
    def _by_col(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return _sorted(self.cols, self.rows, self.shape[1])

    def times(self, weights: torch.Tensor, x: torch.Tensor, turned: bool) -> torch.Tensor:
        """The matrix, or ``turned`` its transpose, times ``x`` (in, n); without gradients."""
        begin, others, order = self._by_col if turned else self._by_row
        shape = self.shape[::-1] if turned else self.shape
        _tell_nothing()
        matrix = torch.sparse_csr_tensor(
            begin, others, weights[order], shape, check_invariants=False
        )
        return matrix @ x.contiguous()


def _sorted(
    lines: torch.Tensor, others: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(where each of ``count`` lines begins, the other place, which synapse it is), line after
    line, each in the order given."""
    order = torch.argsort(lines, stable=True)
    begin = lines.new_zeros(count + 1)
    begin[1:] = torch.bincount(lines, minlength=count).cumsum(0)
    return begin, others[order], order


@functools.cache
def _tell_nothing() -> None:
    """torch warns once a process that its rows of entries are in beta; what is used of them here is
    tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1))


class _Product(torch.autograd.Function):
    """:meth:`Synapses.times`; differentiable, again too."""

    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, x: torch.Tensor, synapses: Synapses, turned: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(weights, x)
        ctx.where = synapses, turned
        return synapses.times(weights, x, turned)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weights, x), (synapses, turned) = ctx.saved_tensors, ctx.where
        of_weights = of_x = None
        if ctx.needs_input_grad[0]:
            of_weights = _Pairs.apply(grad, x, synapses, turned)
        if ctx.needs_input_grad[1]:
            of_x = _Product.apply(weights, grad, synapses, not turned)
        return of_weights, of_x, None, None


class _Pairs(torch.autograd.Function):
    """For each synapse the sum over n of ``y`` (out, n) where it ends times ``x`` (in, n) where it
    begins."""

    @staticmethod
    def forward(
        ctx: Any, y: torch.Tensor, x: torch.Tensor, synapses: Synapses, turned: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(y, x)
        ctx.where = synapses, turned
        ends, begins = synapses.rows, synapses.cols
        if turned:
            ends, begins = begins, ends
        out = x.new_empty(len(ends))
        some = max(1, AT_ONCE // max(1, x.shape[1]))
        for k in range(0, len(ends), some):
            part = slice(k, k + some)
            torch.sum(y[ends[part]] * x[begins[part]], 1, out=out[part])
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (y, x), (synapses, turned) = ctx.saved_tensors, ctx.where
        of_y = of_x = None
        if ctx.needs_input_grad[0]:
            of_y = _Product.apply(grad, x, synapses, turned)
        if ctx.needs_input_grad[1]:
            of_x = _Product.apply(grad, y, synapses, not turned)
        return of_y, of_x, None, None


def product(synapses: Synapses, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What messages ``x`` (in, n) cause, (out, n), of ``weights``, one a synapse.

    Differentiable to both: the gradient of the weights has an entry a synapse.
    """
    if transformed():  # of torch's own operations, which transforms see through
        each = x[synapses.cols] * weights[:, None]
        return x.new_zeros(synapses.shape[0], x.shape[1]).index_add(0, synapses.rows, each)
    return _Product.apply(weights, x, synapses, False)
