"""Projections: spikes times weights, for all steps at once."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import FUNCTION, Rule, arguments, instance, integer, is_integer, optional
from lavalike.bss2.errors import OperandError, OperandTypeError
from lavalike.bss2.spiking.eventprop import EventPropSynapseFunction, weigh as weigh
from lavalike.bss2.spiking.handle import Handle, SynapseHandle, spikes_of
from lavalike.bss2.spiking.module import CHIP, INSTANCE, ChipNumber, HXModule
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating

if TYPE_CHECKING:
    from lavalike.bss2.spiking.execution_instance import ExecutionInstance
    from lavalike.bss2.spiking.experiment import Experiment

Transform = Callable[[torch.Tensor], torch.Tensor]


def _names_a_device(value: Any) -> bool:
    try:
        torch.device(value)
    except RuntimeError:
        return False
    return True


# of what Synapse and SparseSynapse share
_SHARED = {
    "execution_instance": optional(INSTANCE),
    "chip_coordinate": CHIP,
    "device": optional(
        Rule(
            "a torch device",
            lambda v: isinstance(v, str | torch.device) or is_integer(v),
            _names_a_device,
        )
    ),
    "dtype": optional(instance(torch.dtype)),
    "transform": FUNCTION,
    # of hxtorch's, which need not be there: any object that is no plain value
    "plasticity_rule": Rule(
        "a PlasticityRule or None",
        lambda v: not isinstance(v, Number | str | bytes | Sequence | Mapping),
    ),
}


class Projection(HXModule):
    """A layer whose weights are synapses. In simulation they are floats; what a chip makes of them:
    :mod:`lavalike.bss2.spiking.emulate`."""

    output_type = SynapseHandle
    on_chip = True
    weight: torch.nn.Parameter
    transform: Callable[..., torch.Tensor]  # some take a scale as well

    def __init__(
        self,
        in_features: int,
        out_features: int,
        experiment: Experiment,
        execution_instance: ExecutionInstance | None,
        chip_coordinate: ChipNumber | None,
        transform: Transform,
        plasticity_rule: Any,
    ) -> None:
        super().__init__(experiment)
        self.in_features, self.out_features = (
            operator.index(in_features),
            operator.index(out_features),
        )
        self.execution_instance, self.chip_coordinate = execution_instance, chip_coordinate
        self.transform, self.plasticity_rule = transform, plasticity_rule

    @property
    def weight_transform(self) -> Callable[..., torch.Tensor]:
        """``transform``, under the name that hxtorch keeps it by."""
        return self.transform

    def __setattr__(self, name: str, value: Any) -> None:
        # no property's setter: torch would keep a module beside it
        super().__setattr__("transform" if name == "weight_transform" else name, value)

    def reset_parameters(self) -> None:
        """Weights uniform within +-1 / sqrt(in_features), as torch's Linear."""
        torch.nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def matrix(self) -> torch.Tensor:
        """The weights, (out, in)."""
        return self.weight

    def spikes(self, input: Handle) -> torch.Tensor:
        x = spikes_of(input, self.name)
        if x.shape[2] != self.in_features:
            raise OperandError(
                f"{self.name}: has {self.in_features} inputs, got spikes of shape {tuple(x.shape)} (time, batch, neuron)"
            )
        x = x.to(self.matrix().dtype)
        if not math.isfinite(x.detach().sum()):
            raise OperandError(
                f"{self.name}: spikes are finite numbers, some are nan or infinite; correct the input"
            )
        return x

    def forward_func(self, input: Handle) -> SynapseHandle:
        return SynapseHandle(weigh(self.spikes(input), self.matrix()))

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {super().extra_repr()}"


class Synapse(Projection):
    """All-to-all synapses: ``spikes @ weight.T``.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> bss2.spiking.Synapse(20, 10, experiment).weight.shape
        torch.Size([10, 20])

    Args:
        in_features, out_features: neurons before and after.
        experiment: to register in.
        execution_instance, chip_coordinate: those of the population it ends at, whose circuits its
            synapses are; an emulated chip refuses others. Default: the population's.
        device, dtype: of the weight (out, in).
        transform: from the model's weights to the chip's -63..63. Default
            :func:`linear_saturating`, without a scale: the scale is fitted.
        plasticity_rule: runs on the chip's own processors, at level "hardware" only.
    """

    @arguments(in_features=integer(1), out_features=integer(1), **_SHARED)
    def __init__(
        self,
        in_features: int,
        out_features: int,
        experiment: Experiment,
        execution_instance: ExecutionInstance | None = None,
        chip_coordinate: ChipNumber | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        transform: Transform = linear_saturating,
        plasticity_rule: Any = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            experiment,
            execution_instance,
            chip_coordinate,
            transform,
            plasticity_rule,
        )
        self.weight = torch.nn.Parameter(
            torch.empty(out_features, in_features, device=device, dtype=dtype)
        )
        self.reset_parameters()


class SparseSynapse(Projection):
    """Synapses where ``connections`` (in, out), dense or sparse, is not 0; weights elsewhere are 0
    and get no gradient.

    Args: as :class:`Synapse`.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> connected = torch.eye(4).to_sparse()
        >>> synapse = bss2.spiking.SparseSynapse(connected, experiment)
    """

    @arguments(**_SHARED)
    def __init__(
        self,
        connections: torch.Tensor,
        experiment: Experiment,
        execution_instance: ExecutionInstance | None = None,
        chip_coordinate: ChipNumber | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        transform: Transform = linear_saturating,
        plasticity_rule: Any = None,
    ) -> None:
        if not isinstance(connections, torch.Tensor) or connections.dim() != 2:
            error = OperandError if isinstance(connections, torch.Tensor) else OperandTypeError
            raise error(
                "SparseSynapse: connections is a tensor (in, out), not 0 where a synapse is; "
                f"got {tuple(connections.shape) if isinstance(connections, torch.Tensor) else type(connections).__name__}"
            )
        inputs, outputs = connections.shape
        super().__init__(
            inputs,
            outputs,
            experiment,
            execution_instance,
            chip_coordinate,
            transform,
            plasticity_rule,
        )
        mask = (connections.to_dense() != 0).t().contiguous().to(device)
        self.register_buffer("mask", mask, persistent=False)
        self.weight = torch.nn.Parameter(torch.empty(mask.shape, device=device, dtype=dtype))
        self.reset_parameters()

    mask: torch.Tensor

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            self.weight.mul_(self.mask)

    def matrix(self) -> torch.Tensor:
        return self.weight * self.mask


class EventPropSynapse(Synapse):
    """:class:`Synapse` whose output carries EventProp's two gradients: (2, time, batch, neuron),
    the second zero forward."""

    def forward_func(self, input: Handle) -> SynapseHandle:
        return SynapseHandle(EventPropSynapseFunction.apply(self.spikes(input), self.weight))
