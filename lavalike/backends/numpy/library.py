"""The library's models in Python: what passes between a graph and the program around it, and what
sets and reads Vars at set steps.

A class's own ``rows`` names what a backend may do at the end of a step in its place
(``Backend.manages``)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.backends.numpy import clp as clp  # whose models it registers
from lavalike.backends.numpy.model import NumpyModel
from lavalike.backends.numpy.ports import Inlet, Outlet, Ref
from lavalike.backends.numpy.scheduler import Turn
from lavalike.errors import GraphError, VarError
from lavalike.model.model import implements
from lavalike.proc import BitCheck, io
from lavalike.proc.io.channel import Channel
from lavalike.proc.io.sink import Read
from lavalike.process import AbstractProcess, OutPort


class PipeModel(NumpyModel):
    """A model at one end of its process's channel; a turn that waits for the other end."""

    local = True

    @property
    def channel(self) -> Channel:
        return self.process.channel  # type: ignore[attr-defined]  # its processes have one

    def check_batch(self, batch: int) -> None:
        if batch > 1:
            raise GraphError(
                f"{self.process.path}: a channel is of one sample, not of a batch of {batch}; run them one after another"
            )

    def at_once(self) -> bool:
        """Whether the step need not wait for the program around the graph."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether a step in progress goes on."""
        return self.at_once() or self._scheduler.paused()

    def _wait(self) -> None:
        if not self.at_once():
            self._scheduler.wait(self)

    # -- what a scheduler asks who waits

    outside = True

    @property
    def turn(self) -> Turn | None:
        return None

    @property
    def owners(self) -> Sequence[AbstractProcess]:
        return [self.process]

    def begun(self) -> bool:
        return False

    def on(self) -> Sequence[OutPort]:
        return []

    def waits(self) -> str:
        """What has not come, in words."""
        raise NotImplementedError


@implements(io.Injector, backend="numpy")
class InjectorModel(PipeModel):
    """Sends what the program gave."""

    out_port: Outlet

    def at_once(self) -> bool:
        return self.channel.receives_at_once

    def run_spk(self) -> None:
        self._wait()
        if not self.at_once():
            warnings.warn(
                f"{self.process.path}: paused in step {self.time_step}, whose message had not come; zeros are sent",
                io.MissingMessageWarning,
                stacklevel=2,
            )
        self.out_port.send(self.channel.take())

    def waits(self) -> str:
        return f"{self.process.path} waits for send(data)"


class TapModel(PipeModel):
    """A model that gives to the program."""

    def at_once(self) -> bool:
        return self.channel.sends_at_once

    def waits(self) -> str:
        return f"{self.process.path} waits for receive(), as {self.channel.size} messages are there"


@implements(io.Extractor, backend="numpy")
class ExtractorModel(TapModel):
    """Keeps what it receives for the program."""

    in_port: Inlet
    out_port: Outlet

    def run_spk(self) -> None:
        x = self.in_port.recv()
        self._wait()
        self.channel.put(x)
        self.out_port.send(x)


@implements(io.VarWire, backend="numpy")
class VarWireModel(TapModel):
    """Keeps what the Var is for the program."""

    wire_tap: Ref

    def post_guard(self) -> bool:
        return True

    def run_post_mgmt(self) -> None:
        self._wait()
        self.channel.put(self.wire_tap.read())


@implements(BitCheck, backend="numpy")
class BitCheckModel(NumpyModel):
    """Looks at the Var."""

    state: Ref
    bits: Any
    found: Any
    rows = "check"

    def post_guard(self) -> bool:
        return not self.found[0]

    def run_post_mgmt(self) -> None:
        x, end = self.state.read(), 2 ** (int(self.bits[0]) - 1)
        self.found[0] = not ((x >= -end) & (x < end)).all()  # NaN is within nothing


class EveryModel(NumpyModel):
    """Acts at the end of some steps."""

    interval: Any
    offset: Any

    def last(self, step: int) -> tuple[int, int]:
        """The number of the last such step, from 0, and how many steps ``step`` is after it."""
        interval = int(self.interval[0])
        if interval < 1:
            raise VarError(f"{self.process.path}.interval: steps, at least 1, got {interval}")
        return divmod(step - 1 - int(self.offset[0]) % interval, interval)

    def post_guard(self) -> bool:
        return self.last(self.time_step)[1] == 0


@implements(io.Reset, backend="numpy")
class ResetModel(EveryModel):
    """Sets the Var."""

    state: Ref
    reset_value: Any
    rows = "reset"

    def run_post_mgmt(self) -> None:
        self.state.write(np.full(self.state.shape, self.reset_value[0]))


@implements(Read, backend="numpy")
class ReadModel(EveryModel):
    """Keeps the Var's value."""

    state: Ref
    data: Any
    rows = "read"

    def run_post_mgmt(self) -> None:
        k, _ = self.last(self.time_step)
        x = self.state.read()
        if not np.can_cast(x.dtype, self.data.dtype):
            self.data = self.data.astype(np.result_type(x, self.data))
        self.data[..., k % self.data.shape[-1]] = x


class LoaderModel(EveryModel):
    """Loads the next sample."""

    ground_truth: Outlet
    label: Any
    process: Any

    def load(self) -> np.ndarray:
        """The data of the sample that this step loads."""
        data, label = self.process.sample(self.last(self.time_step)[0])
        self.label = label.copy()  # the dataset's own stays as it is
        return data


@implements(io.StateDataloader, backend="numpy")
class StateDataloaderModel(LoaderModel):
    """Sets the Var to the data."""

    state: Ref

    def run_spk(self) -> None:
        self.ground_truth.send(self.label)

    def run_post_mgmt(self) -> None:
        self.state.write(self.load())


@implements(io.SpikeDataloader, backend="numpy")
class SpikeDataloaderModel(LoaderModel):
    """Sends the data step by step."""

    s_out: Outlet
    data: Any

    def run_spk(self) -> None:
        k = self.last(self.time_step - 1)[1]
        more = k < self.data.shape[-1]  # fewer where the interval was set to a longer one
        self.s_out.send(self.data[..., k] if more else np.zeros_like(self.data[..., 0]))
        self.ground_truth.send(self.label)

    def run_post_mgmt(self) -> None:
        interval = int(self.interval[0])
        data = self.load()[..., :interval]
        self.data = np.zeros((*data.shape[:-1], interval), data.dtype)
        self.data[..., : data.shape[-1]] = data
