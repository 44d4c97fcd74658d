"""The words of lavalike.dynamics.ops for differentiable tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lavalike.backends.torch.surrogate import Spike, Surrogate


def table(surrogate: Surrogate) -> dict[str, Callable[..., Any]]:
    """Floating-point words; spikes get ``surrogate`` as their derivative."""

    def spike(x: torch.Tensor, th: Any, inclusive: bool) -> torch.Tensor:
        th = torch.as_tensor(th, dtype=x.dtype, device=x.device)
        unit = torch.where(th == 0, torch.ones_like(th), th.abs())
        return Spike.apply(x - th, unit, inclusive, surrogate)

    def where(s: Any, a: Any, b: Any) -> Any:
        if isinstance(s, bool):
            return (b * 0 + a) if s else b
        return torch.where(s.detach() != 0, a, b)

    def gate(d: torch.Tensor, m: torch.Tensor, th: Any) -> torch.Tensor:
        return d + (torch.where(m.abs() >= th, d, torch.zeros_like(d)) - d).detach()

    def same(x: Any) -> Any:
        return x

    return {
        "leak": lambda x, k: x * k,
        "scaled": lambda x, k, bits: x * k,
        "wrap": same,
        "clip": same,
        "unscale": lambda x, e: x * e,
        "above": lambda x, th: spike(x, th, False),
        "reaches": lambda x, th: spike(x, th, True),
        "gate": gate,
        "both": lambda s, c: s * c,
        "where": where,
        "positive": torch.relu,
    }
