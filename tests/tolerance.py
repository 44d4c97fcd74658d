"""Tolerances that follow from what is added up, so that another CPU's order of sums passes and a
wrong number does not."""

from __future__ import annotations

import torch


def assert_products_close(
    got: torch.Tensor, want: torch.Tensor, x: torch.Tensor, w: torch.Tensor, scale: float = 1.0
) -> None:
    """Two ways to compute ``scale * x @ w`` differ by the rounding of their sums, whatever cancels
    in them.

    Each of the K products and K sums of an element is off by half a unit in the last place of at
    most the sum of magnitudes, in both ways; the scale and what is rounded before are worth four
    more.
    """
    x, w = x.detach().double(), w.detach().double()
    bound = (len(w) + 4) * torch.finfo(got.dtype).eps * abs(scale) * (x.abs() @ w.abs())
    assert got.shape == want.shape
    off = (got.detach().double() - want.detach().double()).abs()
    assert bool((off <= bound).all()), (
        f"off by up to {float((off / bound).max()):.3g} of what rounding explains"
    )
