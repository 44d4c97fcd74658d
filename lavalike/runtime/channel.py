"""Channels: how messages pass from part to part. Here within one process; others keep the same
calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lavalike.process.ports import Port


class Channel(Protocol):
    """Rows (steps, batch, size) of what ports carry in one stretch."""

    def open(self, port: Port, dtype: np.dtype) -> None:
        """From the next stretch on ``port`` passes, in ``dtype``."""

    def begin(self, steps: int, given: Mapping[Port, np.ndarray]) -> None:
        """A stretch of ``steps`` steps; ``given``: rows that the run brings, of stimuli and
        recordings."""

    def rows(self, port: Port, first: int, last: int) -> np.ndarray:
        """The rows of steps ``first`` to ``last`` of this stretch, to be read by who hears
        ``port``, or filled by who sends it."""


class LocalChannel:
    """Arrays in this process."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.made: dict[Port, np.dtype] = {}
        self._kept: dict[Port, np.ndarray] = {}
        self._now: dict[Port, np.ndarray] = {}

    def open(self, port: Port, dtype: np.dtype) -> None:
        self.made[port] = dtype

    def begin(self, steps: int, given: Mapping[Port, np.ndarray]) -> None:
        self._now = dict(given)
        for port, dtype in self.made.items():
            if port not in self._now:
                rows = self._kept.get(port)
                if rows is None or len(rows) < steps:
                    rows = self._kept[port] = np.zeros((steps, self.batch, port.size), dtype)
                self._now[port] = rows[:steps]

    def rows(self, port: Port, first: int, last: int) -> np.ndarray:
        return self._now[port][first:last]
