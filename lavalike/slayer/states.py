"""States that a module keeps between its calls, or is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.errors import InputError

State = dict[str, torch.Tensor]
Number = float | Sequence[float] | np.ndarray | torch.Tensor


def alike(state: torch.Tensor) -> bool:
    """Whether it is one number for all neurons."""
    return state.dim() <= 1 and state.numel() == 1


class Stateful(nn.Module):
    """Goes on from the states that it has, whoever set them; with ``persistent_state`` from where
    the last call ended, unless the batch is another. They are no part of the state dict, and no
    gradient passes from call to call."""

    persistent_state: bool
    label: Any
    shape: tuple[int, ...] | None = None  # (channel, ...) of the last call
    _state: State | None = None

    def saw(self, x: torch.Tensor) -> None:
        """Note the shape of an input; not where a call is compiled or exported."""
        if self.shape != x.shape[1:-1] and not torch.compiler.is_compiling():
            self.shape = tuple(x.shape[1:-1])  # an assignment to a Module takes 4 us

    def kept(self, batch: int) -> State | None:
        """What a call of ``batch`` samples goes on from."""
        if (
            self._state is not None
            and self.persistent_state
            and any(not alike(v) and len(v) != batch for v in self._state.values())
        ):
            self._state = None  # another batch: a new beginning, as in slayer
        return self._state

    def keep(self, after: State) -> None:
        """Keep the states after a call, where they persist."""
        if self.persistent_state:
            self._state = {k: v.detach() for k, v in after.items()}

    def reset_state(self) -> None:
        """Forget the states that are kept, or were set."""
        self._state = None

    def fitting(self, state: State | None, x: torch.Tensor) -> None:
        """Refuse a ``state`` that does not fit an input x."""
        for name, value in (state or {}).items():
            if value.shape != x.shape[:-1] and not alike(value):
                raise InputError(
                    f"{self.label}: state {name} has shape {tuple(value.shape)}; the input needs {tuple(x.shape[:-1])}"
                )

    def held(self, name: str) -> torch.Tensor:
        """A state between two calls; one zero where there is none yet."""
        state = (self._state or {}).get(name)
        return torch.zeros(1, device=self._place()) if state is None else state

    def hold(self, name: str, value: Number) -> None:
        """Set it, on the grid of the states."""
        state = torch.as_tensor(value, device=self._place()).detach()
        state = state if state.is_floating_point() else state.float()
        if not bool(torch.isfinite(state).all()):
            raise InputError(f"{self.label}: a state is finite, got NaN or infinity")
        self._state = (self._state or {}) | {name: self.on_grid(state)}

    def on_grid(self, state: torch.Tensor) -> torch.Tensor:
        """A state as it is held."""
        return state

    def _place(self) -> torch.device:
        tensors = (*self._parameters.values(), *self._buffers.values())
        return next((t.device for t in tensors if t is not None), torch.device("cpu"))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any) -> Any:
        if self._state is not None:  # to another device, in their own precision
            self._state = {k: fn(v).to(v.dtype) for k, v in self._state.items()}
        return super()._apply(fn, *args)


def between_calls(name: str) -> property:
    """A state between two calls, (batch, channel, ...), or one number for all; settable."""
    return property(
        lambda self: self.held(name),
        lambda self, value: self.hold(name, value),
        doc=between_calls.__doc__,
    )
