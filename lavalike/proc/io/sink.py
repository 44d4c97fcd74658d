"""Processes that keep what a graph sends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavalike.arguments import arguments, instance, integer
from lavalike.errors import VarError
from lavalike.proc.io.pipes import refer
from lavalike.proc.io.reset import every
from lavalike.process import AbstractProcess, InPort, RefPort, Var


class RingBuffer(AbstractProcess):
    """Keeps the message of step t in ``data[..., (t-1) % buffer]``.

    Example:
        >>> source = proc.io.source.RingBuffer(data=[[1.0, 2, 3]])
        >>> sink = proc.io.sink.RingBuffer(shape=(1,), buffer=4)
        >>> source.s_out.connect(sink.a_in)
        >>> source.run(lv.RunSteps(4))
        >>> sink.data.get()
        array([[1., 2., 3., 1.]], dtype=float32)

    Args:
        shape: of one message.
        buffer: how many steps are kept, >= 1.
    """

    @arguments(error=VarError, buffer=integer(1))
    def __init__(self, *, shape: Sequence[int], buffer: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape)
        self.data = Var((*self.a_in.shape, int(buffer)), 0, time_last=True)


class Read(AbstractProcess):
    """Keeps a Var's value at the end of the steps t with ``(t - 1) % interval == offset %
    interval``, the k-th in ``data[..., k % buffer]``.

    A :class:`lavalike.proc.Recorder` records without a process of its own; this is for graphs that
    are built of processes.

    Args:
        buffer: how many values are kept, >= 1.
        interval: steps from one time to the next, >= 1. Default 1: every step.
        offset: steps before the first time, modulo ``interval``. Default 0: the first step.

    Example::

        read = Read(buffer=10, interval=100, offset=99)
        read.connect_var(lif.v)
        lif.run(RunSteps(1000))
        read.data.get()  # (*lif.v.shape, 10)
    """

    @arguments(error=VarError, buffer=integer(1), interval=integer(1), offset=integer())
    def __init__(
        self, *, buffer: int, interval: int = 1, offset: int = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.buffer = int(buffer)
        every(self, interval, offset)
        self.state = RefPort((1,))
        self.data = Var((1, self.buffer), np.zeros((1, self.buffer)))

    @arguments(error=VarError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Read ``var``, of another process. Once."""
        refer(self, "state", var)
        self.data = Var((*var.shape, self.buffer), np.zeros((*var.shape, self.buffer)))
