"""The BrainScaleS-2 backend: LIF networks and perceptron-type networks on a chip, the rest of the graph on the host. floating_pt.

    lv.simulate(net, {"inp": x}, config=lv.RunConfig(backend="bss2", chip=Chip(seed=3)))
"""

from __future__ import annotations

from collections.abc import Sequence

from lavalike.arguments import arguments, instance, optional
from lavalike.backends.bss2.model import stand_in
from lavalike.backends.bss2.module import ChipModule as ChipModule
from lavalike.backends.bss2.program import ChipProgram as ChipProgram
from lavalike.bss2.chip import Chip, current_chip
from lavalike.bss2.placement import CHIPS, Placement
from lavalike.compiler.graph import Graph, flatten
from lavalike.fused.surrogate import Derivative, Surrogate
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


class Bss2Backend:
    """See :class:`lavalike.backends.base.Backend`."""

    name = "bss2"

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        return stand_in(process)

    def build(self, graph: Graph, batch: int, recordable: Sequence[Port | Var]) -> ChipProgram:
        return ChipProgram(graph, batch, recordable)


BACKEND = Bss2Backend()


def module(process: AbstractProcess, graph: Graph, chip: Chip | None, dt: float, surrogate: Surrogate | Derivative | None) -> ChipModule:
    """What ``to_torch(process, forward="bss2")`` makes; ``graph`` is the torch backend's."""
    config = RunConfig(backend="bss2", dtype=graph.config.dtype, chip=chip, dt=dt)
    on_chip = flatten(process, config, BACKEND.general_model, graph.stimuli)
    return ChipModule(process, graph, on_chip, current_chip() if chip is None else chip, dt, surrogate)


@arguments(process=instance(AbstractProcess), chips=CHIPS, config=optional(instance(RunConfig)))
def place_process(process: AbstractProcess, chips: int = 1, config: RunConfig | None = None) -> Placement:
    """Where the graph of ``process`` lies on the chip.

    Args:
        config: as for a run; default a quantised chip, 1 us a step.
    """
    config = config or RunConfig(backend="bss2", chip=Chip(level="quantised"))
    stimuli = [p for p in process.in_ports if not p.sources]
    graph = flatten(process, config, BACKEND.general_model, stimuli)
    return ChipProgram(graph, 1, []).placement(chips)
