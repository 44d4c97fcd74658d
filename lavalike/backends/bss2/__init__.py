"""The BrainScaleS-2 backend: LIF networks and perceptron-type networks on a chip, the rest of the
graph on the host. floating_pt.

lv.simulate(net, {"inp": x}, config=lv.RunConfig(backend="bss2", chip=Chip(seed=3)))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lavalike.arguments import arguments, instance, optional
from lavalike.backends import get_backend
from lavalike.backends.bss2.module import ChipModule as ChipModule
from lavalike.backends.bss2.partition import HOST, MODES, PRODUCT, nothing_to_do, roles, why_not
from lavalike.backends.bss2.program import ProductProgram, SpikingProgram
from lavalike.backends.bss2.reporting import placement
from lavalike.bss2.chip import Chip, current_chip
from lavalike.bss2.placement import CHIPS, Placement
from lavalike.compiler.flat import Flat, Node, Target, flatten
from lavalike.compiler.parts import Part, cut
from lavalike.errors import InputError
from lavalike.fused.surrogate import Derivative, Surrogate
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


@dataclass(frozen=True)
class Bss2Options:
    """See :class:`lavalike.RunConfig`. ``mode``: what a part does on the chip, "spiking" or
    "product"; the backend says it."""

    chip: Chip | None = None
    dt: float = 1e-6
    mode: str = ""

    @property
    def used(self) -> Chip:
        """The chip, the one in use where none is given; RunError where there is none."""
        return current_chip() if self.chip is None else self.chip


class Bss2Backend:
    """See :class:`lavalike.backends.base.Backend`. Nodes have the models of the host, which say
    what they are and whether they delay."""

    name = "bss2"
    options = Bss2Options
    precisions = ("floating_pt",)
    whole = True
    host = "numba"

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        return get_backend(self.host).general_model(process)

    def accepts(
        self, flat: Flat, nodes: Sequence[Node], target: Target
    ) -> dict[Node, Target | str]:
        if flat.config.backend == self.name and flat.config.check is not None:
            raise InputError(
                "RunConfig: check belongs to the numba and torch backends; a chip's membranes and messages are numbers of its "
                "converters, always finite. Leave it out, or run with backend='numba'"
            )
        role = roles(flat, nodes)
        if flat.config.backend == self.name:
            nothing_to_do(flat, role)
        if any(role[n] != HOST for n in nodes) and target.options.chip is None:
            current_chip()  # RunError where there is none
        return {
            n: why_not(n)
            if role[n] == HOST
            else replace(target, options=replace(target.options, mode=MODES[role[n]]))
            for n in nodes
        }

    def build(
        self, part: Part, batch: int, recordable: Sequence[Port | Var]
    ) -> SpikingProgram | ProductProgram:
        kind = ProductProgram if part.target.options.mode == PRODUCT else SpikingProgram
        return kind(part, batch, recordable)

    def module(
        self,
        process: AbstractProcess,
        part: Part,
        on_chip: Flat,
        surrogate: Surrogate | Derivative | None,
        modelled: Sequence[str],
    ) -> ChipModule:
        """What ``to_torch`` makes where some of ``on_chip`` runs on a chip; ``part`` is the whole
        graph on the torch backend."""
        config = on_chip.config
        chip = Bss2Options(config.chip).used
        return ChipModule(process, part, on_chip, chip, config.dt, surrogate, modelled)

    def place(
        self, process: AbstractProcess, chips: int = 1, config: RunConfig | None = None
    ) -> Placement:
        """See :func:`place_process`."""
        config = config or RunConfig(backend=self.name, chip=Chip(level="quantised"))
        stimuli = [p for p in process.in_ports if not p.sources]
        parts = cut(flatten(process, config, get_backend, stimuli)).parts
        own = [self.build(p, 1, p.sends) for p in parts if p.target.backend == self.name]
        return placement(own, chips)


BACKEND = Bss2Backend()


@arguments(process=instance(AbstractProcess), chips=CHIPS, config=optional(instance(RunConfig)))
def place_process(
    process: AbstractProcess, chips: int = 1, config: RunConfig | None = None
) -> Placement:
    """Where the graph of ``process`` lies on the chip.

    Args:
        config: as for a run; default a quantised chip, 1 us a step.
    """
    return BACKEND.place(process, chips, config)
