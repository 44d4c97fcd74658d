"""What all layers of an experiment have in common; layers that compute in software, and layers of
several."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import (
    FUNCTION,
    arguments,
    either,
    instance,
    integer,
    optional,
    real,
    sequence,
    whole,
)
from lavalike.bss2.errors import OperandError, OperandTypeError
from lavalike.bss2.spiking.handle import (
    Handle,
    LIFObservables,
    TensorHandle,
    spikes_of,
    tensor_of,
)
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.execution_instance import ExecutionInstance
    from lavalike.bss2.spiking.experiment import Experiment


@functools.lru_cache(256)
def _form(function: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether it takes hw_data, which hxtorch's synapses and functions written for them do not, and
    whether it takes several inputs one by one: ``*input``, or ``a, b``."""
    parameters = inspect.signature(function).parameters
    kinds = [p.kind for n, p in parameters.items() if n not in ("self", "hw_data")]
    placed = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = "hw_data" in parameters or inspect.Parameter.VAR_KEYWORD in kinds
    return takes, inspect.Parameter.VAR_POSITIONAL in kinds or placed > 1


def called(function: Callable[..., Any], inputs: Sequence[Any], hw_data: Any) -> Any:
    """``function`` of ``inputs``, in the form in which it takes them."""
    takes, apart = _form(getattr(function, "__func__", function))
    given = inputs if apart or len(inputs) == 1 else (tuple(inputs),)
    return function(*given, hw_data=hw_data) if takes else function(*given)


ChipNumber = int | tuple[int, int]  # its number, or (chip, connection) as in hxtorch
CHIP = optional(either(integer(0), sequence(integer(0), least=2)))
INSTANCE = instance("lavalike.bss2.spiking.execution_instance.ExecutionInstance")
_PLACED = optional(either(INSTANCE, FUNCTION))


def chip_number(chip: Any, name: str) -> int:
    """The number of a chip in the setup, which has one connection; InputError for another."""
    what = f"{name}: chip_coordinate, the number of a chip,"
    if not isinstance(chip, tuple | list):
        return whole(chip, 0, what)
    if len(chip) != 2 or whole(chip[1], 0, f"{name}: chip_coordinate, its connection,") != 0:
        raise InputError(
            f"{name}: chip_coordinate is the number of a chip, or (chip, connection), of which there is one, 0; got {chip!r}"
        )
    return whole(chip[0], 0, what)


class HXModule(torch.nn.Module):
    """A layer. Calling it on handles registers it in its experiment and returns an empty handle;
    ``run`` computes.

    Subclasses define ``forward_func(self, input, hw_data=None)``: one handle (a tuple where the
    layer was called on several) to a handle, or to tensors in the order of its observables. It is
    what is differentiated; where it takes ``*input`` or more arguments, each handle is one.
    ``hw_data``: what a chip recorded of this layer
    (:class:`lavalike.bss2.spiking.neuron.Recorded`), None in simulation. A layer that defines none
    and was given no ``func`` hands on the handle it gets.

    Args:
        experiment: to register in.
        execution_instance, chip_coordinate: kept, for layers of one's own that have a place on a
            chip; see :class:`lavalike.bss2.spiking.neuron.LIF`. Default None.
        func: what it computes, of the tensors that the handles hold, instead of ``forward_func``;
            second too. Default None.

    Attributes:
        output_type: class of the handle it returns.
        name: for messages and reports. Default: the class's name and a number.
    """

    output_type: type[Handle] = TensorHandle
    on_chip = False  # whether a chip takes part in it

    func: Callable[..., Any] | None
    execution_instance: ExecutionInstance | None
    chip_coordinate: ChipNumber | None

    @arguments(execution_instance=_PLACED, chip_coordinate=CHIP, func=optional(FUNCTION))
    def __init__(
        self,
        experiment: Experiment,
        execution_instance: ExecutionInstance | Callable[..., Any] | None = None,
        chip_coordinate: ChipNumber | None = None,
        func: Callable[..., Any] | None = None,
    ) -> None:
        from lavalike.bss2.spiking.execution_instance import ExecutionInstance
        from lavalike.bss2.spiking.experiment import Experiment

        super().__init__()
        if execution_instance is not None and not isinstance(execution_instance, ExecutionInstance):
            if func is not None:
                raise InputTypeError(
                    f"{type(self).__name__}: two functions are given, {execution_instance!r} and func={func!r}; one is taken"
                )
            execution_instance, func = None, execution_instance
        if chip_coordinate is not None:
            chip_number(chip_coordinate, type(self).__name__)
        if not isinstance(experiment, Experiment):
            raise InputTypeError(
                f"{type(self).__name__}: experiment is an Experiment, got {type(experiment).__name__}"
            )
        self.experiment, self.func = experiment, func
        self.execution_instance, self.chip_coordinate = execution_instance, chip_coordinate
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
        if self.func is None:
            return input
        xs = [tensor_of(h, h.names, self.name) for h in (input, *args)]
        return called(self.func, xs, kwargs.get("hw_data"))

    def execute(
        self, inputs: tuple[Handle, ...], outputs: tuple[Handle, ...], hw_data: Any = None
    ) -> None:
        """Fill ``outputs`` from ``inputs`` by ``forward_func``."""
        self._fill(outputs[0], called(self.forward_func, inputs, hw_data))

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


HXBaseExperimentModule = HXFunctionalModule = HXModule  # hxtorch's names of its bases


class SpikeSource(HXModule):
    """Spikes that come from outside, a dense tensor (time, batch, size) binned with the
    experiment's dt.

    ``execution_instance`` and ``chip_coordinate`` are kept: what comes from outside is replayed in
    every instance, to every chip, that hears it.

    On a chip at level "emulated" what exceeds the link's event rate does not arrive.
    """

    output_type = LIFObservables

    @arguments(size=integer(1), execution_instance=optional(INSTANCE), chip_coordinate=CHIP)
    def __init__(
        self,
        size: int,
        experiment: Experiment,
        execution_instance: ExecutionInstance | None = None,
        chip_coordinate: ChipNumber | None = None,
    ) -> None:
        super().__init__(experiment, execution_instance, chip_coordinate)
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
    outside is replayed all the same.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> bss2.spiking.InputNeuron(20, experiment).size
        20
    """


class BatchDropout(HXModule):
    """Silences neurons of the layer before, the same in all samples of a batch: in training each
    with probability ``dropout``, in evaluation none.

    What stays is not scaled up. TypeError where it does not follow a population that fires.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> dropout = bss2.spiking.BatchDropout(10, 0.5, experiment)
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

    def check_followed(self, inputs: Sequence[Handle]) -> None:
        """What a run looks at first: whether it follows a population."""
        for h in inputs:
            source: Any = h.source
            if not getattr(source, "fires", False):
                raise InputTypeError(
                    f"{self.name}: BatchDropout silences neurons, so it follows a population that fires; got "
                    f"{'an input' if source is None else source.name}"
                )
            self.follows = source.name

    def set_mask(self) -> torch.Tensor:
        """Draw which neurons stay, as every run does anew: (size,), bool, also ``mask``."""
        stays = torch.rand(self.size) > self.dropout if self.training else torch.ones(self.size)
        self.mask = stays.bool()
        return self.mask

    def forward_func(self, input: Handle) -> Handle:
        if input.spikes.shape[-1] != self.size:
            raise OperandError(
                f"{self.name}: has {self.size} neurons, got spikes of shape {tuple(input.spikes.shape)}"
            )
        mask = self.set_mask().to(input.spikes)
        kept_as_they_are = {n: getattr(input, n) for n in self.output_type.names if n != "spikes"}
        return self.output_type(input.spikes * mask, **kept_as_they_are)

    def extra_repr(self) -> str:
        return f"{self.size}, {self.dropout}, {super().extra_repr()}"
