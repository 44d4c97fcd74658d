"""Sigma decoding."""

from __future__ import annotations

import torch
from torch import nn

from lavalike.arguments import FLAG, arguments


class Sigma(nn.Module):
    """Adds up its input over time.

    ``stream`` takes and returns its state; with ``persistent_state`` a call goes on where the last
    one ended, unless the batch is another (a plain attribute, never in the state dict).
    """

    @arguments(persistent_state=FLAG)
    def __init__(self, persistent_state: bool = False) -> None:
        super().__init__()
        self.persistent_state = persistent_state
        self._state: dict[str, torch.Tensor] | None = None

    def stream(
        self, x: torch.Tensor, state: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(sums, state after them) of inputs (..., time) that follow on ``state``."""
        y = torch.cumsum(x.movedim(-1, 0), 0).movedim(
            0, -1
        )  # one pass where time is outermost in memory
        if state is not None and "sigma" in state:
            y = y + state["sigma"][..., None]
        return y, {"sigma": y[..., -1]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self._state if self.persistent_state else None
        if state is not None and state["sigma"].shape != x.shape[:-1]:
            state = None
        y, after = self.stream(x, state)
        if self.persistent_state:
            self._state = {"sigma": after["sigma"].detach().clone()}
        return y

    def reset_state(self) -> None:
        """Forget what ``persistent_state`` kept."""
        self._state = None
