"""Long short-term memories that spike: SLSTM and SConv2dLSTM, in snnTorch's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import Rule
from lavalike.errors import InputError
from lavalike.snn import record as recording
from lavalike.snn.neuron import State, Stateful
from lavalike.snn.spiking import SIZE, SpikingNeuron, takes


class _Cell(SpikingNeuron):
    """``syn`` is the cell's c, ``mem`` its h, which a spike resets in the step after it."""

    def _checked_input(self, x: Any) -> tuple[int, ...]:
        """The shape of the states; InputError for another input than the cell's."""
        raise NotImplementedError

    def _look(self, x: Any, *sizes: int | str, dtype: torch.dtype) -> None:
        """InputError unless ``x`` is (batch, *sizes), of which names are any."""
        if (
            not isinstance(x, torch.Tensor)
            or x.dim() != 1 + len(sizes)
            or x.shape[1] != sizes[0]
            or x.dtype != dtype
        ):
            got = (
                f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            )
            axes = ", ".join(map(str, ("batch", *sizes)))
            raise InputError(f"{self.label}: the input of a step is ({axes}), {dtype}; got {got}")

    def _gates(
        self, x: torch.Tensor, syn: torch.Tensor, mem: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(syn, mem) after a step, before a reset."""
        raise NotImplementedError

    def _seen(self, mem: torch.Tensor) -> torch.Tensor:
        """What is compared with the threshold."""
        return mem

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        if recording.current() is not None:
            raise InputError(
                f"accelerate: {self.label} cannot be folded: its states go through its weights in every step; train such a "
                "network with the plain loop"
            )
        shape = self._checked_input(x)
        self.check_states(shape, states)
        syn, mem = (x.new_zeros(shape) if s is None or not s.numel() else s for s in states)
        fired = self.mem_reset(mem)
        syn, mem = self._gates(x, syn, mem)
        if self.reset_mechanism == "subtract":
            mem = mem - fired * self._now("threshold")
        elif self.reset_mechanism == "zero":
            mem = mem * (1 - fired)
        if self._state_quant is not None:
            syn, mem = self._state_quant(syn), self._state_quant(mem)
        seen = self._seen(mem)
        spk = self.fire_inhibition(len(seen), seen) if self._inhibition else self.fire(seen)
        return spk, syn, mem

    def _renew(self) -> None:
        super()._renew()
        mine = self.__dict__
        if "spike_grad" in mine or "_spike_grad" in mine:
            mine["_surrogate"] = mine.pop("spike_grad", None) or mine.pop("_spike_grad")


class SLSTM(_Cell):
    """A long short-term memory whose output spikes: ``spk, syn, mem = slstm(x, syn, mem)``, with
    syn the cell's c and mem its h.

    States are of shape (batch, hidden_size) and last for as long as they are passed on, whatever
    input_size (snnTorch takes the input's shape for theirs, and where the two differ begins at 0 in
    every step).

    Example:
        >>> cell = snn.SLSTM(10, 20)
        >>> syn, mem = cell.init_slstm()
        >>> spk, syn, mem = cell(torch.rand(4, 10), syn, mem)
        >>> spk.shape
        torch.Size([4, 20])

    Args:
        input_size, hidden_size: of x (batch, input_size) and of the states.
        bias: of the cell, ``lstm_cell``. Default True.
        reset_mechanism: of mem: "none" (default), "subtract" or "zero", in the step after the
            spike.
        The others: see :mod:`lavalike.snn.neurons`.
    """

    @takes("input_size", "hidden_size", "bias")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
    ) -> None:
        self._own(
            ("syn", "mem"),
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
        )
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size, bias)

    def _checked_input(self, x: Any) -> tuple[int, ...]:
        cell = self.lstm_cell
        self._look(x, cell.input_size, dtype=cell.weight_ih.dtype)
        return len(x), cell.hidden_size

    def _gates(
        self, x: torch.Tensor, syn: torch.Tensor, mem: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mem, syn = self.lstm_cell(x, (mem, syn))
        return syn, mem

    init_slstm = Stateful.reset_mem


def _pooled(value: Any) -> bool:
    return value is not None and value != 0


POOL = Rule(
    f"{SIZE.words}, or 0 for none",
    lambda v: not _pooled(v) or SIZE.kind(v),
    lambda v: not _pooled(v) or SIZE.value(v),
)


class SConv2dLSTM(_Cell):
    """A convolutional long short-term memory whose output spikes:
    ``spk, syn, mem = sconv2dlstm(x, syn, mem)`` with x (batch, in_channels, height, width) and
    states (batch, out_channels, height, width), syn the cell's c and mem its h (Shi et al. 2015,
    without peepholes).

    Example:
        >>> cell = snn.SConv2dLSTM(1, 4, kernel_size=3)
        >>> syn, mem = cell.init_sconv2dlstm()
        >>> spk, syn, mem = cell(torch.rand(2, 1, 8, 8), syn, mem)
        >>> spk.shape
        torch.Size([2, 4, 8, 8])

    Args:
        in_channels, out_channels: of the input and of the states.
        kernel_size: of ``conv``, which makes the four gates (input, forget, output, cell, in this
            order) of x and mem together; padded so that states keep their size, for even sizes too.
        bias: of the convolution. Default True.
        max_pool, avg_pool: window (a number or a pair) of a pooling of mem before it is compared
            with the threshold: spikes are smaller by it, states are not. One of them at most.
            Default 0, none.
        reset_mechanism: of mem: "none" (default), "subtract" or "zero", in the step after the
            spike.
        inhibition: not of images; see :mod:`lavalike.snn.neurons` for the others.

    Raises:
        InputError: both poolings; an input of other channels.
    """

    @takes(
        "in_channels",
        "out_channels",
        "bias",
        kernel_size=SIZE,
        max_pool=POOL,
        avg_pool=POOL,
    )
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        bias: bool = True,
        max_pool: Any = 0,
        avg_pool: Any = 0,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
    ) -> None:
        if _pooled(max_pool) and _pooled(avg_pool):
            raise InputError(f"{self.label}: give max_pool or avg_pool, not both")
        if inhibition:
            raise InputError(
                f"{self.label}: inhibition is among neurons (batch, neurons), not of images; leave it out"
            )
        self._own(
            ("syn", "mem"),
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
        )
        self.__dict__.update(
            in_channels=in_channels,
            out_channels=out_channels,
            max_pool=_window(max_pool),
            avg_pool=_window(avg_pool),
        )
        self.conv = nn.Conv2d(
            in_channels + out_channels, 4 * out_channels, kernel_size, padding="same", bias=bias
        )

    in_channels: int
    out_channels: int
    max_pool: Any
    avg_pool: Any
    _once = SpikingNeuron._once | {"in_channels", "out_channels", "max_pool", "avg_pool"}

    def _together(self, inhibition: bool, state_quant: Any) -> None:
        if inhibition:
            raise InputError(f"{self.label}: inhibition is among neurons, not of images")

    def _checked_input(self, x: Any) -> tuple[int, ...]:
        self._look(x, self.in_channels, "height", "width", dtype=self.conv.weight.dtype)
        return len(x), self.out_channels, *x.shape[2:]

    def _gates(
        self, x: torch.Tensor, syn: torch.Tensor, mem: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, o, g = self.conv(torch.cat([x, mem], 1)).chunk(4, 1)
        syn = torch.sigmoid(f) * syn + torch.sigmoid(i) * torch.tanh(g)
        return syn, torch.sigmoid(o) * torch.tanh(syn)

    def _seen(self, mem: torch.Tensor) -> torch.Tensor:
        if self.max_pool:
            return functional.max_pool2d(mem, self.max_pool)
        return functional.avg_pool2d(mem, self.avg_pool) if self.avg_pool else mem

    init_sconv2dlstm = Stateful.reset_mem


def _window(value: Any) -> Any:
    if not _pooled(value):
        return 0
    return tuple(value) if isinstance(value, list | tuple) else int(value)
