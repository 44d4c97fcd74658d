"""Processes that bring data into a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.errors import VarError
from lavalike.proc.parameters import parameter
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


class Constant(AbstractProcess):
    """Sends ``value`` in every step ``t > start``, zeros before.

    Args:
        shape: of one message.
        value: one number or an array that broadcasts to ``shape``.
        start: one number for all elements or one each, >= 0. Default 0.
    """

    def __init__(self, *, shape: Sequence[int], value: Any, start: Any = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_out = OutPort(shape)
        self.value = Var(self.s_out.shape, value, role="parameter", trainable=True)
        self.start = parameter(self.s_out.shape, start)
