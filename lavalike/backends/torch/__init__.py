"""The torch backend: the same processes, differentiable, with a batch axis; fixed_pt too, without gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavalike.arguments import MAPPING, arguments, choice, instance, optional, real
from lavalike.backends import get_backend
from lavalike.backends.torch.connections import ConnectionModel as ConnectionModel
from lavalike.backends.torch.model import (
    DynamicsModel,
    FloatingDynamicsModel,
    TorchModel as TorchModel,
)
from lavalike.backends.torch.module import ProcessModule as ProcessModule
from lavalike.backends.torch.program import TorchProgram
from lavalike.compiler.flat import flatten
from lavalike.compiler.parts import Part, cut
from lavalike.errors import InputError
from lavalike.fused.surrogate import (
    SURROGATE,
    Derivative as Derivative,
    Surrogate as Surrogate,
    exponential as exponential,
    fast_sigmoid as fast_sigmoid,
    straight_through as straight_through,
)
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip


@dataclass(frozen=True)
class TorchOptions:
    """See :class:`lavalike.RunConfig`."""

    check: str | None = None


class TorchBackend:
    """See :class:`lavalike.backends.base.Backend`."""

    name = "torch"
    options = TorchOptions

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        if process.dynamics is None:
            return None
        return DynamicsModel if process.dynamics.fixed else FloatingDynamicsModel

    def build(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> TorchProgram:
        return TorchProgram(part, batch, recordable)


BACKEND = TorchBackend()


@arguments(
    process=instance(AbstractProcess, words="a process"),
    dtype=choice("float32", "float64"),
    surrogate=optional(SURROGATE),
    forward=choice("torch", "bss2"),
    chip=optional(instance("lavalike.bss2.chip.Chip")),
    dt=real(above=0),
    select=optional(MAPPING),
)
def to_torch(
    process: AbstractProcess,
    *,
    dtype: str = "float32",
    surrogate: Surrogate | Derivative | None = None,
    forward: str = "torch",
    chip: Chip | None = None,
    dt: float = 1e-6,
    select: Mapping[Any, Any] | None = None,
) -> ProcessModule:
    """``process`` (and all it is connected to) as an ``nn.Module``.

    Args:
        process: its unconnected InPorts become the inputs, its OutPorts the outputs of ``forward``.
        dtype: ``"float32"`` or ``"float64"``.
        surrogate: a Surrogate, or a function that gives the derivative of a spike, of ``(v - vth) / |vth|``; default
            ``exponential()``.
        forward: ``"torch"``, or ``"bss2"``: forward runs on a chip, and what it recorded is put in the model's place, whose gradient is
            taken: training in the loop. Default "torch".
        chip, dt: of what runs on a chip: as in :class:`lavalike.RunConfig`.
        select: exceptions, as in :class:`lavalike.RunConfig`: what runs forward on ``"torch"`` and what on ``"bss2"``, and models.
            What has no gradient, other backends and fixed_pt, is an InputError.

    Returns:
        A module whose parameters are the trainable Vars (weights, biases), whose forward takes and returns
        ``(batch, *shape, time)``, and whose ``write_back()`` sets the Vars to what was learnt.
    """
    select = select or {}
    config = RunConfig(backend="torch", dtype=dtype, select=select)  # type: ignore[arg-type]  # its rules look at the dtype
    found = [made for _, made in config.choices()]
    other = [
        x
        for made in found
        for x in (made.backend, made.precision)
        if x not in (None, "torch", "bss2", "floating_pt")
    ]
    if other:
        raise InputError(
            f"to_torch({process.path}): select asks for {other[0]!r}, which has no gradient; of torch and bss2 in floating_pt "
            "there is one. Run the rest beforehand (simulate), and give the module what it sends"
        )
    on_chip = forward == "bss2" or any(made.backend == "bss2" for made in found)
    if not on_chip and (chip is not None or dt != 1e-6):
        raise InputError(f"to_torch({process.path}): chip and dt belong to forward='bss2'")
    stimuli = [p for p in process.in_ports if not p.sources]
    if not stimuli or not process.out_ports:
        raise InputError(
            f"to_torch({process.path}): a process with an unconnected InPort and an OutPort is needed"
        )
    if on_chip:  # the module's own graph is torch's in all places
        models = {key: made.model for key, made in config.choices() if made.model is not None}
        chip_config, config = (
            dataclasses.replace(config, backend=forward, chip=chip, dt=dt),
            dataclasses.replace(config, select=models),
        )
    flat = flatten(process, config, get_backend, stimuli)
    ((part,),) = cut(flat).groups
    if not on_chip:
        return ProcessModule(process, part, surrogate)
    chips: Any = get_backend("bss2")
    module: ProcessModule = chips.module(process, part, chip_config, surrogate)
    return module
