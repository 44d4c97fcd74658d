"""The torch backend: the same processes, differentiable, with a batch axis; fixed_pt too."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lavalike.arguments import MAPPING, arguments, choice, instance, optional, real
from lavalike.backends import get_backend
from lavalike.backends.torch.connections import ConnectionModel as ConnectionModel
from lavalike.backends.torch.mixed import MixedModule as MixedModule
from lavalike.backends.torch.model import (
    DynamicsModel,
    FloatingDynamicsModel,
    TorchModel as TorchModel,
)
from lavalike.backends.torch.module import ProcessModule as ProcessModule
from lavalike.backends.torch.program import TorchProgram
from lavalike.compiler import order
from lavalike.compiler.flat import flatten
from lavalike.compiler.parts import Part, cut
from lavalike.errors import InputError, ModelSelectionError
from lavalike.fused.surrogate import (
    SURROGATE,
    Derivative as Derivative,
    Surrogate as Surrogate,
    exponential as exponential,
    fast_sigmoid as fast_sigmoid,
    straight_through as straight_through,
)
from lavalike.model.config import Choice, RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip


@dataclass(frozen=True)
class TorchOptions:
    """See :class:`lavalike.RunConfig`."""

    check: str | None = None
    device: str | None = None


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
        surrogate: a Surrogate, or a function that gives the derivative of a spike, of
            ``(v - vth) / |vth|``; default ``exponential()``.
        forward: ``"torch"``, or ``"bss2"``: forward runs on a chip, and what it recorded is put in
            the model's place, whose gradient is taken: training in the loop. Default "torch".
        chip, dt: of what runs on a chip: as in :class:`lavalike.RunConfig`.
        select: exceptions, as in :class:`lavalike.RunConfig`: what runs forward on another backend
            or in fixed_pt, and models. What ``"numba"`` computes, in fixed_pt Loihi's integers bit
            for bit, is what it sends, and the gradient is that of the torch backend's model of each
            of its processes, at what it heard. What fixed_pt rounds passes the gradient straight
            through; its weights and biases are trained between whole numbers and count as the
            nearest, its messages are float64 here. What the torch backend has no model of is a
            ModelSelectionError, a loop through parts of two backends a GraphError.

    Returns:
        A module whose parameters are the trainable Vars (weights, biases), whose forward takes and
        returns ``(batch, *shape, time)``, and whose ``write_back()`` sets the Vars to what was
        learnt.

    Example::

        module = lv.to_torch(net, select={net: lv.Choice(backend="numba", precision="fixed_pt")})
        loss = (module(spikes).sum(-1) - wanted).square().mean()  # of Loihi's own counts
    """
    select = select or {}
    config = RunConfig(backend="torch", dtype=dtype, select=select)  # type: ignore[arg-type]  # its rules look at the dtype
    choices = config.choices()
    others = {made.backend for _, made in choices if made.backend not in (None, "torch")}
    if forward != "torch" and others - {forward}:
        asked = next(iter(others - {forward}))
        raise InputError(
            f"to_torch({process.path}): select asks for {asked!r}, and forward={forward!r} leaves to torch what is not on the chip; "
            f"leave forward out, and let select say what is on {forward!r} too"
        )
    on_chip = forward == "bss2" or "bss2" in others
    if not on_chip and (chip is not None or dt != 1e-6):
        raise InputError(f"to_torch({process.path}): chip and dt belong to forward='bss2'")
    stimuli = [p for p in process.in_ports if not p.sources]
    if not stimuli or not process.out_ports:
        raise InputError(
            f"to_torch({process.path}): a process with an unconnected InPort and an OutPort is needed; around several "
            "that are connected, make one:\n    class Net(lv.AbstractProcess): pass\n    net = Net(); "
            "net.inp, net.out, net.layers = lv.InPort(first.s_in.shape), lv.OutPort(last.s_out.shape), [first, ..., last]; "
            "net.inp.connect(first.s_in); last.s_out.connect(net.out)"
        )
    # the module's own graph is torch's in all places
    twins = dataclasses.replace(config, select={key: _twin(made) for key, made in choices})
    try:
        flat = flatten(process, twins, get_backend, stimuli)
    except ModelSelectionError as e:
        if not others:
            raise
        raise ModelSelectionError(
            f"to_torch({process.path}): whatever computes it forward, a gradient is that of the torch backend's models. {e}\n"
            "Write such a model (lavalike.implements), or run that part beforehand (simulate) and give the module what it sends"
        ) from None
    ((part,),) = cut(flat).groups
    _warn_of_unheard(process, part)
    if forward == "torch" and not others:
        return ProcessModule(process, part, surrogate)
    config = dataclasses.replace(config, backend=forward, chip=chip, dt=dt)
    mixed = flatten(process, config, get_backend, stimuli)
    if not on_chip:
        return MixedModule(process, part, mixed, surrogate)
    chips: Any = get_backend("bss2")
    # numba is a chip's host
    modelled = ("torch",) if forward == "torch" else ("torch", chips.host)
    module: ProcessModule = chips.module(process, part, mixed, surrogate, modelled)
    return module


def _warn_of_unheard(process: AbstractProcess, part: Part) -> None:
    """UserWarning where something would be trained that nothing returned depends on: its gradient
    stays None."""
    hears = order.senders(part.nodes)
    sources = {id(t.source.process) for port in process.out_ports for t in part.terms(port)}
    waiting = [n for n in part.nodes if id(n.process) in sources or n.process.var_ports]
    heard = {*waiting}
    while waiting:
        new = [n for n in hears[waiting.pop()] if n not in heard]
        heard.update(new)
        waiting += new
    unheard = [v.path for n in part.nodes if n not in heard for v in n.process.vars if v.trainable]
    if unheard:
        warnings.warn(
            f"to_torch({process.path}): the module returns what {process.path} sends, and {', '.join(unheard)} would be trained "
            "behind it, with a gradient of None; give to_torch a process around all of them, whose OutPort the last one is "
            "connected to",
            stacklevel=4,
        )


def _twin(made: Choice) -> Choice:
    """What a process's gradient is taken of where ``made`` computes it forward."""
    if made.backend in (None, "torch"):
        return made
    model = made.model if made.model is not None and not made.model.backend else None
    return Choice(backend="torch", precision=made.precision, model=model)
