"""What all layers of an experiment have in common; layers that compute in software, and layers of
several."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import arguments, integer, real
from lavalike.bss2.errors import OperandError, OperandTypeError
from lavalike.bss2.spiking.handle import Handle, LIFObservables, TensorHandle, spikes_of
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import Experiment


@functools.lru_cache(256)
def _takes_hw_data(function: Callable[..., Any]) -> bool:
    """hxtorch's synapses, and functions written for them, have no hw_data."""
    return "hw_data" in inspect.signature(function).parameters


class HXModule(torch.nn.Module):
    """A layer. Calling it on handles registers it in its experiment and returns an empty handle;
    ``run`` computes.

    Subclasses define ``forward_func(self, input, hw_data=None)``: one handle (a tuple where the
    layer was called on several) to a handle, or to tensors in the order of its observables. It is
    what is differentiated. ``hw_data``: what a chip recorded of this layer
    (:class:`lavalike.bss2.spiking.neuron.Recorded`), None in simulation.

    Attributes:
        output_type: class of the handle it returns.
        name: for messages and reports. Default: the class's name and a number.
    """

    output_type: type[Handle] = TensorHandle
    on_chip = False  # whether a chip takes part in it

    @arguments()
    def __init__(self, experiment: Experiment) -> None:
        from lavalike.bss2.spiking.experiment import Experiment

        super().__init__()
        if not isinstance(experiment, Experiment):
            raise InputTypeError(
                f"{type(self).__name__}: experiment is an Experiment, got {type(experiment).__name__}"
            )
        self.experiment = experiment
        self.name = experiment.name_of(self)

    def forward(self, *inputs: Handle) -> Handle:
        self.check_inputs(inputs)
        output = self.output_type.awaited(self)
        self.experiment.connect(self, inputs, (output,))
        return output

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        if not inputs:
            raise InputTypeError(f"{self.name}: called on no handle; give it its input's")
        for h in inputs:
            if isinstance(h, torch.Tensor):
                raise OperandTypeError(
                    f"{self.name}: a handle is expected, got a tensor {tuple(h.shape)}; wrap it: "
                    "LIFObservables(spikes=...) or TensorHandle(...)"
                )
            if not isinstance(h, Handle):
                raise OperandTypeError(f"{self.name}: a handle is expected, got {type(h).__name__}")
            if h.source is not None and h.source.experiment.dt != self.experiment.dt:
                raise InputError(
                    f"{self.name}: a step is {self.experiment.dt:g} s here and {h.source.experiment.dt:g} s in the experiment "
                    f"of "
                    f"{h.source.name}; give both the same dt"
                )

    def forward_func(
        self, input: Any, *args: Any, **kwargs: Any
    ) -> Any:  # (self, input, hw_data=None), or without hw_data
        raise NotImplementedError(
            f"{type(self).__name__}: a layer defines forward_func(self, input, hw_data=None)"
        )

    def execute(
        self, inputs: tuple[Handle, ...], outputs: tuple[Handle, ...], hw_data: Any = None
    ) -> None:
        """Fill ``outputs`` from ``inputs`` by ``forward_func``."""
        given = inputs[0] if len(inputs) == 1 else inputs
        takes = _takes_hw_data(getattr(self.forward_func, "__func__", self.forward_func))
        result = self.forward_func(given, hw_data=hw_data) if takes else self.forward_func(given)
        self._fill(outputs[0], result)

    def _fill(self, output: Handle, result: Any) -> None:
        if not isinstance(result, Handle):
            values = result if isinstance(result, tuple) else (result,)
            if any(not isinstance(v, torch.Tensor | None) for v in values):
                raise OperandError(
                    f"{self.name}: forward_func returns a {type(output).__name__} or tensors for "
                    f"{', '.join(output.names)}; got {type(result).__name__}"
                )
            result = type(output)(*values)
        output.clone(result)

    def extra_repr(self) -> str:
        return f"name={self.name!r}"


class SpikeSource(HXModule):
    """Spikes that come from outside, a dense tensor (time, batch, size) binned with the
    experiment's dt.

    On a chip at level "emulated" what exceeds the link's event rate does not arrive.
    """

    output_type = LIFObservables

    @arguments(size=integer(1))
    def __init__(self, size: int, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.size = size

    def forward_func(self, input: Handle) -> Handle:
        x = spikes_of(input, self.name)
        if x.shape[2] != self.size:
            raise OperandError(
                f"{self.name}: has {self.size} sources, got spikes of shape {tuple(x.shape)} (time, batch, neuron)"
            )
        return self.output_type(x)

    def extra_repr(self) -> str:
        return f"{self.size}, {super().extra_repr()}"


class InputNeuron(SpikeSource):
    """A :class:`SpikeSource` as the input of a network; without one, what a synapse gets from
    outside is replayed all the same."""


class BatchDropout(HXModule):
    """Silences neurons of the layer before, the same in all samples of a batch: in training each
    with probability ``dropout``, in evaluation none.

    What stays is not scaled up. TypeError where it does not follow a population that fires.
    """

    output_type = LIFObservables

    @arguments(size=integer(1), dropout=real())
    def __init__(self, size: int, dropout: float, experiment: Experiment) -> None:
        super().__init__(experiment)
        if not 0 <= dropout < 1:
            raise InputError(f"{self.name}: dropout is within 0..1, below 1; got {dropout!r}")
        self.size, self.dropout = size, dropout
        self.mask: torch.Tensor | None = None
        self.follows: str | None = None

    def forward(self, *inputs: Handle) -> Handle:
        for h in inputs:
            source: Any = getattr(h, "source", None)
            if not getattr(source, "fires", False):
                raise InputTypeError(
                    f"{self.name}: BatchDropout silences neurons, so it follows a population that fires; got "
                    f"{'an input' if source is None else source.name}"
                )
            self.follows = source.name
        return super().forward(*inputs)

    def forward_func(self, input: Handle) -> Handle:
        if input.spikes.shape[-1] != self.size:
            raise OperandError(
                f"{self.name}: has {self.size} neurons, got spikes of shape {tuple(input.spikes.shape)}"
            )
        kept = (
            torch.rand(self.size, device=input.spikes.device) > self.dropout
            if self.training
            else torch.ones(self.size)
        )
        self.mask = kept.to(input.spikes)
        return self.output_type(
            input.spikes * self.mask, *(getattr(input, n) for n in input.names[1:])
        )

    def extra_repr(self) -> str:
        return f"{self.size}, {self.dropout}, {super().extra_repr()}"
