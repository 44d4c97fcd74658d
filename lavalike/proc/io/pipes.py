"""Injector, Extractor, VarWire: the program around a graph sends into it, and receives from it,
while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import arguments, instance, integer, optional
from lavalike.errors import GraphError, VarError
from lavalike.proc.io.channel import CONFIG, TIMEOUT, Channel, ChannelConfig
from lavalike.process import AbstractProcess, InPort, OutPort, RefPort, Var

SIZE = 50  # messages of a channel


class Injector(AbstractProcess):
    """Sends on ``out_port`` in every step what the program gives to :meth:`send`.

    A step whose message is not there yet waits for it (other threads send meanwhile), or sends
    zeros, as ``channel_config`` says. It waits before it begins, so that ``pause()`` ends the run
    there, unless the program asks an Extractor or a VarWire for what the step may bring. One that
    is in progress when the run is paused is done with zeros, and a MissingMessageWarning.

    Args:
        shape: of one message.
        buffer_size: messages that may wait for a step, >= 1. Default 50.
        channel_config: see :class:`ChannelConfig`. Default: who would have to wait waits, messages
            come one a step.

    Example::

        injector = Injector(shape=(2,))
        injector.out_port.connect(lif.a_in)
        injector.run(RunSteps(3, blocking=False))
        for k in range(3):
            injector.send([k, 1.0])
        injector.wait()
    """

    @arguments(error=VarError, buffer_size=integer(1), channel_config=optional(CONFIG))
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        buffer_size: int = SIZE,
        channel_config: ChannelConfig | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.out_port = OutPort(shape)
        self.channel = Channel(self, self.out_port.shape, buffer_size, channel_config)

    @arguments(timeout=optional(TIMEOUT))
    def send(self, data: Any, timeout: float | None = None) -> None:
        """Give a message, a copy of ``data``, to a step to come, in any thread, also before a run.

        Args:
            data: numbers of the port's shape; integers where a fixed_pt model hears them.
            timeout: seconds to wait at most where the channel is full. Default None: as long as
                another thread may run the graph.

        Raises:
            InputError: for another shape or kind.
            ChannelDeadlockError: where it has to wait and nobody is left who could take a message.
            RunError: where the graph is stopped while it waits, nothing runs for 10 s while the
                main thread waits, and after ``timeout``.
        """
        self.channel.send(data, timeout)


class Extractor(AbstractProcess):
    """Keeps what ``in_port`` receives for the program's :meth:`receive`, and passes it on by
    ``out_port``.

    A step for whose message there is no room waits for a ``receive`` (in another thread), or drops
    it with a warning, as ``channel_config`` says; ``pause()`` ends a run that waits.

    Args:
        shape: of one message.
        buffer_size: messages that may wait for the program, >= 1. Default 50.
        channel_config: see :class:`ChannelConfig`. Default: who would have to wait waits, messages
            come one by one.

    Example::

        extractor = Extractor(shape=(2,))
        lif.s_out.connect(extractor.in_port)
        extractor.run(RunContinuous())
        spikes = [extractor.receive() for _ in range(100)]
        extractor.stop()
    """

    @arguments(error=VarError, buffer_size=integer(1), channel_config=optional(CONFIG))
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        buffer_size: int = SIZE,
        channel_config: ChannelConfig | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.in_port = InPort(shape)
        self.out_port = OutPort(shape)
        self.channel = Channel(self, self.in_port.shape, buffer_size, channel_config)

    @arguments(timeout=optional(TIMEOUT))
    def receive(self, timeout: float | None = None) -> np.ndarray:
        """The next message, an array of the port's shape, in any thread, also after the run.

        Args:
            timeout: seconds to wait at most where there is none. Default None: as long as another
                thread may run the graph.

        Raises:
            ChannelDeadlockError: where it has to wait and nobody is left who could send a message.
            RunError: where the graph is stopped while it waits, nothing runs for 10 s while the
                main thread waits, and after ``timeout``.
        """
        return self.channel.receive(timeout)


class VarWire(AbstractProcess):
    """Keeps the value that a Var has after every step for the program's :meth:`receive`, while the
    graph runs.

    Args:
        buffer_size: values that may wait for the program, >= 1. Default 50.
        channel_config: as an :class:`Extractor`'s.

    Example::

        wire = VarWire()
        wire.connect_var(lif.v)
        lif.run(RunContinuous())
        v = wire.receive()
    """

    @arguments(error=VarError, buffer_size=integer(1), channel_config=optional(CONFIG))
    def __init__(
        self,
        *,
        buffer_size: int = SIZE,
        channel_config: ChannelConfig | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.wire_tap = RefPort((1,))
        self.channel = Channel(self, (1,), buffer_size, channel_config)

    @arguments(error=VarError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Read ``var``, of another process. Once."""
        refer(self, "wire_tap", var)
        self.channel.shape = var.shape

    @arguments(timeout=optional(TIMEOUT))
    def receive(self, timeout: float | None = None) -> np.ndarray:
        """The Var's next value; see :meth:`Extractor.receive`."""
        return self.channel.receive(timeout)


def refer(process: AbstractProcess, name: str, var: Var) -> None:
    """Let the RefPort ``name`` of ``process`` refer to ``var``. GraphError where it does
    already."""
    port: RefPort = getattr(process, name)
    if port.targets:
        raise GraphError(
            f"{process.path}: {name} refers to {port.targets[0].path} already; another Var takes a process of its own"
        )
    if port.shape != var.shape:
        port = RefPort(var.shape)
        setattr(process, name, port)
    getattr(process, name).connect_var(var)
