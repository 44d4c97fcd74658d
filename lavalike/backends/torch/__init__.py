"""The torch backend: the same processes, differentiable, with a batch axis; fixed_pt too, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lavalike.arguments import arguments, choice, instance, optional, real
from lavalike.backends import get_backend
from lavalike.backends.torch.connections import ConnectionModel as ConnectionModel
from lavalike.backends.torch.model import DynamicsModel, FloatingDynamicsModel, TorchModel as TorchModel
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


@arguments(process=instance(AbstractProcess, words="a process"), dtype=choice("float32", "float64"), surrogate=optional(SURROGATE),
           forward=choice("torch", "bss2"), chip=optional(instance("lavalike.bss2.chip.Chip")), dt=real(above=0))
def to_torch(process: AbstractProcess, *, dtype: str = "float32", surrogate: Surrogate | Derivative | None = None,
             forward: str = "torch", chip: Chip | None = None, dt: float = 1e-6) -> ProcessModule:
    """``process`` (and all it is connected to) as an ``nn.Module``.

    Args:
        process: its unconnected InPorts become the inputs, its OutPorts the outputs of ``forward``.
        dtype: ``"float32"`` or ``"float64"``.
        surrogate: a Surrogate, or a function that gives the derivative of a spike, of ``(v - vth) / |vth|``; default
            ``exponential()``.
        forward: ``"torch"``, or ``"bss2"``: forward runs on a chip, and what it recorded is put in the model's place, whose gradient is
            taken: training in the loop. Default "torch".
        chip, dt: of ``forward="bss2"``: as in :class:`lavalike.RunConfig`.

    Returns:
        A module whose parameters are the trainable Vars (weights, biases), whose forward takes and returns
        ``(batch, *shape, time)``, and whose ``write_back()`` sets the Vars to what was learnt.
    """
    if forward == "torch" and (chip is not None or dt != 1e-6):
        raise InputError(f"to_torch({process.path}): chip and dt belong to forward='bss2'")
    stimuli = [p for p in process.in_ports if not p.sources]
    if not stimuli or not process.out_ports:
        raise InputError(f"to_torch({process.path}): a process with an unconnected InPort and an OutPort is needed")
    flat = flatten(process, RunConfig(backend="torch", dtype=dtype), get_backend, stimuli)  # type: ignore[arg-type]
    (part,), = cut(flat).groups
    if forward == "torch":
        return ProcessModule(process, part, surrogate)
    from lavalike.backends import bss2

    return bss2.module(process, part, chip, dt, surrogate)
