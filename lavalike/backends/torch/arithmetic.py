"""The words of lavalike.dynamics.ops for differentiable tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lavalike.backends.torch.surrogate import Derivative, Surrogate, as_surrogate, spike as fire


def table(surrogate: Surrogate | Derivative) -> dict[str, Callable[..., Any]]:
    """Floating-point words; spikes get ``surrogate`` as their derivative."""
    surrogate = as_surrogate(surrogate)

    def spike(x: torch.Tensor, th: Any, inclusive: bool) -> torch.Tensor:
        th = torch.as_tensor(th, dtype=x.dtype, device=x.device)
        unit = torch.where(th == 0, torch.ones_like(th), th.abs())
        return fire(x - th, unit, inclusive, surrogate)

    def where(s: Any, a: Any, b: Any) -> Any:
        if isinstance(s, bool):
            return (b * 0 + a) if s else b
        return torch.where(s.detach() != 0, a, b)

    def gate(d: torch.Tensor, m: torch.Tensor, th: Any) -> torch.Tensor:
        return d + (torch.where(m.abs() >= th, d, torch.zeros_like(d)) - d).detach()

    def like(y: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(y, dtype=x.dtype, device=x.device)

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
        "crosses": lambda re, im, before, th: spike(re, th, True) * ((im >= 0) & (before < 0)),
        "gate": gate,
        "both": lambda s, c: s * c,
        "where": where,
        "reset": lambda s, v, to: where(s, to, v),
        "lower": lambda s, v, by: v - s.detach() * by,
        "carried": lambda x: x.detach(),
        "inject": lambda x, y: y + (x - x.detach()),
        "positive": torch.relu,
        "exp": torch.exp,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "sqrt": torch.sqrt,
        "log": torch.log,
        "absolute": torch.abs,
        "lesser": lambda x, y: torch.minimum(x, like(y, x)),
        "greater": lambda x, y: torch.maximum(x, like(y, x)),
    }
