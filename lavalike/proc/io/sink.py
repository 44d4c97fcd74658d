"""Processes that keep what a graph sends."""

from __future__ import annotations

from collections.abc import Sequence

from lavalike.arguments import arguments, integer
from lavalike.errors import VarError
from lavalike.process import AbstractProcess, InPort, Var


class RingBuffer(AbstractProcess):
    """Keeps the message of step t in ``data[..., (t-1) % buffer]``.

    Args:
        shape: of one message.
        buffer: how many steps are kept, >= 1.
    """

    @arguments(error=VarError, buffer=integer(1))
    def __init__(self, *, shape: Sequence[int], buffer: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape)
        self.data = Var((*self.a_in.shape, int(buffer)), 0, time_last=True)
