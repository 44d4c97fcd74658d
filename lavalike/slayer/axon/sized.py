"""Modules with one value a channel, before and after the number of channels is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from lavalike.errors import InputError
from lavalike.fused.ambient import functional


def draw(channels: int) -> torch.Tensor:
    """U(0, 1) for every channel, on the CPU."""
    return torch.rand(channels, device="cpu")


def clamped(p: nn.Parameter, low: float, high: float | None = None) -> torch.Tensor:
    """``p`` in ``low..high``: brought there in place, so that its gradient stays alive, or where
    nothing outside may be changed, straight through."""
    if functional():
        return p + (p.clamp(low, high) - p).detach()
    with torch.no_grad():
        p.clamp_(low, high)
    return p


def check_shapes(module: nn.Module, state_dict: Mapping[str, torch.Tensor], prefix: str) -> None:
    """InputError, with layer and key, where a checkpoint's tensor has another shape than the
    module's."""
    own = {n: t for n, t in module._buffers.items() if n not in module._non_persistent_buffers_set}
    for name, mine in (module._parameters | own).items():
        value = state_dict.get(prefix + name)
        if mine is None or value is None or value.shape == mine.shape:
            continue
        if value.numel() != 1 or mine.dim():  # one number is one, whatever its shape
            label = getattr(module, "label", type(module).__name__)
            where = f"{label} {prefix[:-1]!r}" if prefix else label
            raise InputError(
                f"{where}: {name} of the checkpoint has shape {tuple(value.shape)}, here {tuple(mine.shape)}; make the layer with "
                f"a {name} of that shape"
            )


class Sized(nn.Module):
    """Has tensors of one value a channel, whose number the first call tells, or a state dict that
    is loaded before it.

    Example:
        >>> delay = slayer.axon.Delay(max_delay=10)  # its size comes with the first input
        >>> isinstance(delay, slayer.axon.Sized)
        True
    """

    def unsized(self) -> Iterable[str]:
        """Names of the tensors that wait for their number of channels."""
        raise NotImplementedError(f"{type(self).__name__}: a Sized module defines unsized")

    def size(self, name: str, channels: int) -> None:
        """Give one of them its size; what is drawn is drawn from torch's generator."""
        raise NotImplementedError(f"{type(self).__name__}: a Sized module defines size")

    def fit(self, channels: int) -> None:
        """Give each of them its size, so that a state dict loads before the first call."""
        for name in list(self.unsized()):
            self.size(name, channels)

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any
    ) -> None:
        for name in list(self.unsized()):
            value = state_dict.get(prefix + name)
            if value is not None and value.dim() == 1:
                self.size(name, len(value))
        check_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
