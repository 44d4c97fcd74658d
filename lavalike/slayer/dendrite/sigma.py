"""Sigma decoding."""

from __future__ import annotations

from typing import Any

import torch

from lavalike.arguments import FLAG, arguments
from lavalike.slayer.states import State, Stateful, between_calls


class Sigma(Stateful):
    """Adds up its input over time.

    ``stream`` takes and returns its state; with ``persistent_state`` a call goes on where the last
    one ended, unless the batch is another (a plain attribute, never in the state dict).
    ``pre_state``, the sum between two calls, one number or (batch, ...), may be set: the next call
    goes on from it.

    Example:
        >>> slayer.dendrite.Sigma()(torch.tensor([[[1.0, 0, 2, -1]]]))
        tensor([[[1., 1., 3., 2.]]])
    """

    @arguments(persistent_state=FLAG)
    def __init__(self, persistent_state: bool = False) -> None:
        super().__init__()
        self.persistent_state = persistent_state
        self.label = "dendrite.Sigma"

    def stream(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """(sums, state after them) of inputs (..., time) that follow on ``state``."""
        self.saw(x)
        self.fitting(state, x)
        y = torch.cumsum(x.movedim(-1, 0), 0).movedim(
            0, -1
        )  # one pass where time is outermost in memory
        if state is not None and "sigma" in state:
            y = y + state["sigma"].to(y.device)[..., None]
        return y, {"sigma": y[..., -1]}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        y, after = self.stream(input, self.kept(len(input)))
        if self.persistent_state:
            self.keep({"sigma": after["sigma"].clone()})  # a view of all sums else
        return y

    pre_state = between_calls("sigma")

    @property
    def device_params(self) -> dict[str, Any]:
        """What goes into the HDF5 file."""
        return {"type": "SDNN", "sigma_output": True}
