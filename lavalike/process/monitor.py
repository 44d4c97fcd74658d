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
    """One recorded target: an array that grows as runs fill it, so that a step costs the same however many runs there were.

    ``num_steps`` is the most it may hold, ``recorded`` what it holds.
    """

    owner: AbstractProcess
    target: Var | Port
    num_steps: int
    recorded: int = 0
    rows: np.ndarray | None = None  # (steps, 1, size), of which ``recorded`` less those in ``full`` are filled
    full: list[np.ndarray] = field(default_factory=list)  # arrays of other dtypes, recorded before

    def room(self, steps: int, dtype: np.dtype) -> np.ndarray:
        """The rows (steps, 1, size) that come next, to be filled."""
        rows, done = self.rows, self.recorded - sum(map(len, self.full))
        if rows is None or rows.dtype != dtype:
            if done:
                self.full.append(rows[:done])  # type: ignore[index]
            rows, done = None, 0
        if rows is None or len(rows) < done + steps:
            size = max(done + steps, min(2 * done, self.num_steps - self.recorded + done), LEAST // (self.target.size * dtype.itemsize))
            new = np.empty((size, 1, self.target.size), dtype)
            if rows is not None:
                new[:done] = rows[:done]
            self.rows = rows = new
        return rows[done:done + steps]

    def data(self) -> np.ndarray:
        """All steps recorded so far, ``(steps, *shape)``."""
        if self.rows is None:
            return np.empty((0, *self.target.shape))
        return np.concatenate([*self.full, self.rows[:self.recorded - sum(map(len, self.full))]]).reshape(-1, *self.target.shape)


LEAST = 4096  # bytes of a Probe's first array
