"""lava.proc.io's processes that reach out of a graph, and Lava's ends of channels, over
lavalike.proc.io."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.backends.numpy import library as own
from lavalike.compat.library import chosen, models
from lavalike.compat.model import implements, requires
from lavalike.compat.process import Library
from lavalike.compat.protocols import LoihiProtocol
from lavalike.compat.pymodel import PyLoihiModelToPyAsyncModel, PyLoihiProcessModel
from lavalike.compat.resources import CPU
from lavalike.errors import VarTypeError
from lavalike.proc import BitCheck as BitCheckCore, io
from lavalike.proc.io.channel import CONFIG, Channel, ChannelConfig, wait_for


class CspSendPort:
    """The end of a channel that a program sends into."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.shape = channel, channel.shape

    def start(self) -> None:
        """Nothing: a channel is there when it is made."""

    join = start

    def probe(self) -> bool:
        """Whether send would not wait."""
        return self.channel.room

    def send(self, data: Any) -> None:
        """Give a message."""
        self.channel.send(data, None)


class CspRecvPort(CspSendPort):
    """The end of a channel that a program receives from."""

    def probe(self) -> bool:
        """Whether recv would not wait."""
        return self.channel.filled

    def recv(self) -> np.ndarray:
        """The next message."""
        return self.channel.receive(None)

    def peek(self) -> np.ndarray:
        """The next message, which stays."""
        wait_for(lambda: self.channel.filled, lambda: False)
        return self.channel.messages[0].copy()


class PyPyChannel:
    """A channel with two ends, ``src_port`` and ``dst_port``."""

    def __init__(
        self,
        message_infrastructure: Any,
        src_name: str,
        dst_name: str,
        shape: tuple[int, ...],
        dtype: Any,
        size: int,
    ) -> None:
        channel = Channel(None, tuple(shape), size, ChannelConfig())
        self.src_port, self.dst_port = CspSendPort(channel), CspRecvPort(channel)


class MultiProcessing:
    """How Lava starts its operating-system processes, of which there are none here."""

    def start(self) -> None:
        """Nothing to start."""

    stop = start


def _checked(process: Any, shape: Any) -> None:
    """VarTypeError unless ``shape`` is a tuple, as Lava wants it."""
    if not isinstance(shape, tuple):
        raise VarTypeError(
            f"{type(process).__name__}: shape is a tuple of integers, got {shape!r:.60}"
        )


def _keep(process: Any) -> None:
    """Let a process's parameters say what its channel does."""
    process.proc_params.overwrite("channel_config", process.channel.config)


class Injector(Library, io.Injector):
    __doc__ = io.Injector.__doc__

    def __init__(
        self,
        shape: tuple[int, ...],
        buffer_size: int = 50,
        channel_config: ChannelConfig | None = None,
        **kwargs: Any,
    ) -> None:
        _checked(self, shape)
        super().__init__(
            shape=shape, buffer_size=buffer_size, channel_config=channel_config, **kwargs
        )
        _keep(self)


class Extractor(Library, io.Extractor):
    __doc__ = io.Extractor.__doc__

    def __init__(
        self,
        shape: tuple[int, ...],
        buffer_size: int = 50,
        channel_config: ChannelConfig | None = None,
        **kwargs: Any,
    ) -> None:
        _checked(self, shape)
        super().__init__(
            shape=shape, buffer_size=buffer_size, channel_config=channel_config, **kwargs
        )
        _keep(self)


class VarWire(Library, io.VarWire):
    __doc__ = io.VarWire.__doc__

    def __init__(
        self, buffer_size: int = 50, channel_config: ChannelConfig | None = None, **kwargs: Any
    ) -> None:
        super().__init__(buffer_size=buffer_size, channel_config=channel_config, **kwargs)
        _keep(self)


@implements(proc=Injector, protocol=LoihiProtocol)
@requires(CPU)
class PyLoihiInjectorModel(own.InjectorModel, PyLoihiProcessModel):
    """Sends what the program gave."""


@implements(proc=Extractor, protocol=LoihiProtocol)
@requires(CPU)
class PyLoihiExtractorModel(own.ExtractorModel, PyLoihiProcessModel):
    """Keeps what it receives for the program."""


@implements(proc=VarWire, protocol=LoihiProtocol)
@requires(CPU)
class PyLoihiVarWireModel(own.VarWireModel, PyLoihiProcessModel):
    """Keeps what the Var is for the program."""


PyLoihiInjectorModelAsync = PyLoihiModelToPyAsyncModel(PyLoihiInjectorModel)
PyLoihiExtractorModelAsync = PyLoihiModelToPyAsyncModel(PyLoihiExtractorModel)


class Reset(Library, io.Reset):
    __doc__ = io.Reset.__doc__


class Read(Library, io.Read):
    __doc__ = io.Read.__doc__


class StateDataloader(Library, io.StateDataloader):
    __doc__ = io.StateDataloader.__doc__


class SpikeDataloader(Library, io.SpikeDataloader):
    __doc__ = io.SpikeDataloader.__doc__


class BitCheck(Library, BitCheckCore):
    __doc__ = BitCheckCore.__doc__

    def __init__(
        self,
        layerid: int | None = None,
        debug: int = 0,
        bits: int = 24,
        shape: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(bits=bits, **kwargs)
        chosen(self, "layerid", layerid)
        chosen(self, "debug", debug)


models(BitCheck, "LoihiBitCheckModelFloat", "LoihiBitCheckModel")
models(Reset, "PyResetFloat", "PyResetFixed")
models(Read, "PyReadFloat", "PyReadFixed")
models(StateDataloader, "PyStateModelFloat", "PyStateModelFixed")
models(SpikeDataloader, "PySpikeModelFloat", "PySpikeModelFixed")


def validate_shape(shape: Any) -> None:
    """Raise unless ``shape`` is a tuple of integers >= 1."""
    Injector(shape=shape)


def validate_buffer_size(buffer_size: Any) -> None:
    """Raise unless ``buffer_size`` is an integer >= 1."""
    VarWire(buffer_size=buffer_size)


def validate_channel_config(channel_config: Any) -> None:
    """Raise unless ``channel_config`` is a ChannelConfig of the three policies."""
    CONFIG.check("ChannelConfig", "channel_config", channel_config)
