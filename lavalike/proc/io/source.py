"""Processes that bring data into a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments, numbers
from lavalike.errors import VarError
from lavalike.proc.parameters import array, parameter
from lavalike.process import AbstractProcess, OutPort, Var


class RingBuffer(AbstractProcess):
    """Sends ``data[..., (t-1) % T]`` in step t.

    Args:
        data: (*shape, T); the last axis is time, and repeats.
    """

    @arguments(error=VarError)
    def __init__(self, *, data: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        data = array("source.RingBuffer: data", data)
        if data.ndim < 2 or 0 in data.shape:
            raise VarError(f"source.RingBuffer: data has shape (*shape, time), got {data.shape}")
        self.s_out = OutPort(data.shape[:-1])
        self.data = Var(data.shape, data, role="parameter", time_last=True, name="data")


class Constant(AbstractProcess):
    """Sends ``value`` in every step ``t > start``, zeros before.

    Args:
        shape: of one message.
        value: one number or an array that broadcasts to ``shape``.
        start: one number for all elements or one each, >= 0. Default 0.
    """

    @arguments(error=VarError, start=numbers(kinds="iu"))
    def __init__(
        self, *, shape: Sequence[int], value: Any, start: Any = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.s_out = OutPort(shape)
        self.value = Var(
            self.s_out.shape,
            array("Constant: value", value),
            role="parameter",
            trainable=True,
            name="value",
        )
        self.start = parameter(self.s_out.shape, start, name="start")
