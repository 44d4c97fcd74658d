"""lava.proc.io's processes that reach out of a graph, and Lava's ends of channels, over
lavalike.proc.io."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import Rule, integer, is_integer
from lavalike.backends.numpy import library as own
from lavalike.compat.library import chosen, models
from lavalike.compat.model import implements, requires
from lavalike.compat.ports import InPort, OutPort
from lavalike.compat.process import AbstractProcess, Library
from lavalike.compat.protocols import LoihiProtocol
from lavalike.compat.pymodel import PyLoihiModelToPyAsyncModel, PyLoihiProcessModel
from lavalike.compat.resources import CPU
from lavalike.errors import VarError
from lavalike.proc import BitCheck as BitCheckCore, io
from lavalike.proc.io.channel import CONFIG, Channel, ChannelConfig
from lavalike.proc.io.pipes import SIZE
from lavalike.process import ports as core

_SIZE = integer(1)
_SHAPE = Rule(
    "a tuple of integers >= 1",
    lambda v: isinstance(v, tuple) and all(map(is_integer, v)),
    lambda v: len(v) > 0 and all(n >= 1 for n in v),
)


class _End:
    """One end of a channel that a program has."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.shape = channel, channel.shape

    def start(self) -> None:
        """Nothing: a channel is there when it is made."""

    join = start


class CspSendPort(_End):
    """The end of a channel that a program sends into."""

    def probe(self) -> bool:
        """Whether send would not wait."""
        return self.channel.room

    def send(self, data: Any) -> None:
        """Give a message."""
        self.channel.send(data, None)


class CspRecvPort(_End):
    """The end of a channel that a program receives from."""

    def probe(self) -> bool:
        """Whether recv would not wait."""
        return self.channel.filled

    def recv(self) -> np.ndarray:
        """The next message."""
        return self.channel.receive(None)

    def peek(self) -> np.ndarray:
        """The next message, which stays."""
        return self.channel.peek()


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
        channel = Channel(None, tuple(shape), size)
        self.src_port, self.dst_port = CspSendPort(channel), CspRecvPort(channel)


class MultiProcessing:
    """How Lava starts its operating-system processes, of which there are none here."""

    def start(self) -> None:
        """Nothing to start."""

    stop = start


def validate_shape(shape: Any) -> None:
    """Raise unless ``shape`` is a tuple of integers >= 1."""
    _SHAPE.check("validate_shape", "shape", shape, VarError)


def validate_buffer_size(buffer_size: Any) -> None:
    """Raise unless ``buffer_size`` is an integer >= 1."""
    _SIZE.check("validate_buffer_size", "buffer_size", buffer_size, VarError)


def validate_channel_config(channel_config: Any) -> None:
    """Raise unless ``channel_config`` is a ChannelConfig of the three policies."""
    CONFIG.check("ChannelConfig", "channel_config", channel_config)


class _Piped(Library):
    """A process with a channel, whose parameters say what that does."""

    channel: Channel

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        given: Any = self.proc_params
        given.overwrite("channel_config", self.channel.config)


class _Shaped(_Piped):
    """One whose messages have a shape, a tuple, as Lava wants it."""

    def __init__(
        self,
        shape: tuple[int, ...],
        buffer_size: int = SIZE,
        channel_config: ChannelConfig | None = None,
        **kwargs: Any,
    ) -> None:
        _SHAPE.check(type(self).__name__, "shape", shape, VarError)
        super().__init__(
            shape=shape, buffer_size=buffer_size, channel_config=channel_config, **kwargs
        )


class Injector(_Shaped, io.Injector):
    __doc__ = io.Injector.__doc__


class Extractor(_Shaped, io.Extractor):
    __doc__ = io.Extractor.__doc__


class VarWire(_Piped, io.VarWire):
    __doc__ = io.VarWire.__doc__

    def __init__(
        self, buffer_size: int = SIZE, channel_config: ChannelConfig | None = None, **kwargs: Any
    ) -> None:
        super().__init__(buffer_size=buffer_size, channel_config=channel_config, **kwargs)


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


class _Handed(OutPort):
    """An OutPort to which an InPort of its own process is handed on, which Lava knows nothing
    of."""

    def check_direction(self, src: core.Port, view: core.View, settled: bool = False) -> None:
        core.OutPort.check_direction(self, src, view, settled)


class _Adapter(AbstractProcess):
    """What lies between a chip of Intel's and this computer there: ``out`` hands on what ``inp``
    hears, in the same step.

    Args:
        shape: of a message.
    """

    def __init__(self, *, shape: Any, **kwargs: Any) -> None:
        super().__init__(shape=shape, **kwargs)
        self.inp, self.out = InPort(shape), _Handed(shape)
        self.inp.connect(self.out)


class PyToNxAdapter(_Adapter):
    __doc__ = _Adapter.__doc__


class NxToPyAdapter(_Adapter):
    __doc__ = _Adapter.__doc__


models(BitCheck, "LoihiBitCheckModelFloat", "LoihiBitCheckModel")
models(Reset, "PyResetFloat", "PyResetFixed")
models(Read, "PyReadFloat", "PyReadFixed")
models(StateDataloader, "PyStateModelFloat", "PyStateModelFixed")
models(SpikeDataloader, "PySpikeModelFloat", "PySpikeModelFixed")
