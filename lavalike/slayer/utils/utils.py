"""Small helpers."""

from __future__ import annotations

from typing import Any

import torch

from lavalike.arguments import TENSOR, arguments, integer
from lavalike.errors import InputError


@arguments(x=TENSOR)
def event_rate(x: torch.Tensor) -> torch.Tensor:
    """Share of non-zero messages in ``x`` (..., time), a 0-d float32.

    The first step starts the states of sigma-delta layers and is left out, unless it is the only
    one.
    """
    if x.dim() == 0 or x.numel() == 0:
        raise InputError(
            f"utils.event_rate: messages (..., time), no axis empty, are expected, got {tuple(x.shape)}"
        )
    x = x[..., 1:] if x.shape[-1] > 1 else x
    return torch.count_nonzero(x.detach()) / x.numel()


@arguments(dim=integer(1), num_diagonals=integer(1))
def diagonal_mask(dim: int, num_diagonals: int) -> torch.Tensor:
    """(dim, dim), ones on the main diagonal and those beside it, else zeros.

    Args:
        num_diagonals: how many diagonals, >= 1; an even number is rounded up to the next odd one.
    """
    index = torch.arange(dim)
    return ((index[:, None] - index).abs() <= num_diagonals // 2).float()


class dotdict(dict[str, Any]):
    """A dict whose items are attributes too.

    Example:
        >>> slayer.utils.dotdict({"a": 1}).a
        1
    """

    __setattr__ = dict.__setitem__

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"no item {name!r}; there are {', '.join(map(str, self)) or 'none'}")

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"no item {name!r}")
        del self[name]


class staticproperty(property):
    """A property of the class itself, of a function without arguments.

    Example:
        >>> class Layer:
        ...     @slayer.utils.staticproperty
        ...     def kind():
        ...         return "dense"
        ...
        >>> Layer.kind
        'dense'
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self.fget()  # type: ignore[misc, call-arg]  # without an instance
