"""What a graph takes of the chip: where its parts lie, and what the last run of an engine
counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lavalike.backends.bss2.emulated import place
from lavalike.backends.bss2.program import ProductProgram, SpikingProgram
from lavalike.bss2.placement import Instance, PlacedLayer, PlacedPopulation, Placement
from lavalike.bss2.report import Report, SpikeRecord
from lavalike.errors import RunError

ChipProgram = SpikingProgram | ProductProgram


def on_chip(programs: Sequence[object]) -> list[ChipProgram]:
    """Those of ``programs`` that run on a chip; RunError where there is none."""
    found: list[ChipProgram] = [
        p for p in programs if isinstance(p, SpikingProgram | ProductProgram)
    ]
    if not found:
        raise RunError(
            "no part of this graph ran on a chip; RunConfig(backend='bss2'), or select=, puts it there"
        )
    return found


def placement(programs: Sequence[object], chips: int = 1) -> Placement:
    """Where everything lies; spiking parts and products one after another. RoutingError."""
    layers: list[PlacedLayer] = []
    populations: list[PlacedPopulation] = []
    instances: list[Instance] = []
    run = 0
    for program in on_chip(programs):
        if isinstance(program, SpikingProgram):
            found = place(program.net, program.placed.model, program.placed.rows, chips)
            populations += [
                replace(p, instance=p.instance + len(instances), run=p.run + run)
                for p in found.populations
            ]
            instances += [
                replace(i, name=str(len(instances) + k), run=i.run + run)
                for k, i in enumerate(found.instances)
            ]
            run = 1 + max(i.run for i in instances)
        else:
            for product in program.products:
                layers += product.placed(run, chips)
                run = layers[-1].tiles[-1].run + 1
    return Placement(chips, tuple(layers), tuple(populations), tuple(instances))


def report(programs: Sequence[object], steps: int | None) -> Report:
    """The placement, and what the last run, of ``steps``, counted."""
    chip = on_chip(programs)
    records = [r for p in chip if isinstance(p, SpikingProgram) for r in p.placed.records.values()]
    seen = [r for p in chip if isinstance(p, ProductProgram) for q in p.products for r in q.records]
    duration = None if steps is None else steps * chip[0].dt
    return placement(programs).report([*records, *seen], chip[0].chip, duration, chip[0].batch)


def links(programs: Sequence[object]) -> list[SpikeRecord]:
    """Of each spiking part on an emulated chip, the events of the last run that came from outside,
    and those lost on the way."""
    return [
        p.placed.link
        for p in on_chip(programs)
        if isinstance(p, SpikingProgram) and p.placed.link is not None
    ]
