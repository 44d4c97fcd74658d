"""Probes: a wish to have a Var or a port recorded in every step of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lavalike.process.ports import Port
    from lavalike.process.process import AbstractProcess
    from lavalike.process.var import Var


@dataclass(eq=False)
class Probe:
    """One recorded target.

    ``chunks`` holds arrays ``(steps, *shape)``, one a run; ``num_steps`` is the most it may hold.
    """

    owner: AbstractProcess
    target: Var | Port
    num_steps: int
    chunks: list[np.ndarray] = field(default_factory=list)

    @property
    def recorded(self) -> int:
        return sum(len(c) for c in self.chunks)

    def data(self) -> np.ndarray:
        """All steps recorded so far, ``(steps, *shape)``."""
        return np.concatenate(self.chunks) if self.chunks else np.empty((0, *self.target.shape))
