"""Processes that bring data into a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.errors import VarError
from lavalike.process import AbstractProcess, OutPort, Var


class RingBuffer(AbstractProcess):
    """Sends ``data[..., (t-1) % T]`` in step t.

    Args:
        data: (*shape, T); the last axis is time, and repeats.
    """

    def __init__(self, *, data: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        data = np.asarray(data)
        if data.ndim < 2 or 0 in data.shape:
            raise VarError(f"source.RingBuffer: data has shape (*shape, time), got {data.shape}")
        self.s_out = OutPort(data.shape[:-1])
        self.data = Var(data.shape, data, role="parameter", time_last=True)
