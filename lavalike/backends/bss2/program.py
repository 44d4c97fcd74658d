"""A graph on chip and host: each part runs the whole stretch, the parts one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lavalike.backends.bss2.emulated import place
from lavalike.backends.bss2.partition import HOST, SPIKING, Roles, graded, is_connection, parts, roles, senders
from lavalike.backends.bss2.parts import HostPart, Part, ProductPart, Sent, SpikingPart
from lavalike.bss2.chip import current_chip
from lavalike.bss2.errors import RecordingError
from lavalike.bss2.placement import Placement
from lavalike.bss2.report import Report, SpikeRecord
from lavalike.compiler.graph import Graph, Term
from lavalike.errors import GraphError, InputError, RunError
from lavalike.process import OutPort, Port, Var


class ChipProgram:
    """See :class:`lavalike.backends.base.Program`. ``whole``: a run is one stretch, as a chip cannot be stepped."""

    whole = True

    def __init__(self, graph: Graph, batch: int, recordable: Sequence[Port | Var]) -> None:
        self.graph, self.batch, self.step = graph, batch, graph.step
        if graph.config.check is not None:
            raise InputError("RunConfig: check belongs to the numba and torch backends; a chip's membranes and messages are numbers of its "
                             "converters, always finite. Leave it out, or run with backend='numba'")
        self.chip = current_chip() if graph.config.chip is None else graph.config.chip
        role = roles(graph)
        nothing_to_do(graph, role)
        self.terms = {t: graph.terms(t) for t in recordable if isinstance(t, Port)}
        sections = parts(graph, role)
        for target in recordable:
            check_recordable(target, self.terms.get(target, []), role)
        if (graph.config.debug or graph.config.threads is not None) and all(s.kind != HOST for s in sections):
            raise InputError("RunConfig: debug and threads belong to the numba backend, which computes nothing of this graph; leave them "
                             "out")
        wanted = [*(t.source for terms in self.terms.values() for t in terms), *(t for t in recordable if isinstance(t, Var)),
                  *(t.source for n in graph.nodes for terms in n.inputs.values() for t in terms if isinstance(t.source, OutPort))]
        wanted = list(dict.fromkeys(wanted))
        self.parts: list[Part] = [HostPart(s, graph, batch, wanted) if s.kind == HOST else
                                  SpikingPart(s, role, self.chip, graph, batch) if s.kind == SPIKING else
                                  ProductPart(s, self.chip, graph, batch) for s in sections]
        self.owner = {v: p for p in self.parts for v in p.vars}
        self.duration: float | None = None  # of the last run, s
        self.interrupted = False

    # -- running ----------------------------------------------------------------------------------------------

    def run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Mapping[Port | Var, np.ndarray]) -> None:
        if self.interrupted:
            raise RunError("the last run was interrupted between parts of chip and host, which are at different steps now; stop(), set the "
                           "states, then run again")
        sent: Sent = dict(stimuli)
        try:
            for part in self.parts:
                part.run(steps, sent, recordings)
        except BaseException:  # Ctrl-C among them
            self.interrupted = True
            raise
        for target, rows in recordings.items():
            if isinstance(target, Port):
                rows[...] = 0
                for term in self.terms[target]:
                    _add(rows, term, sent[term.source])
            elif target.role == "parameter" or target not in self.owner:
                rows[...] = target.value.reshape(-1)
        self.step += steps
        self.duration = steps * self.graph.config.dt

    def dtype_of(self, target: Port | Var) -> np.dtype:
        static = isinstance(target, Var) and (target.role == "parameter" or target not in self.owner)
        return target.value.dtype if static else np.dtype(self.graph.config.dtype)  # type: ignore[union-attr]

    def read(self, var: Var) -> np.ndarray:
        return self.owner[var].read(var) if var in self.owner else var.value

    def write(self, var: Var, value: np.ndarray) -> None:
        if var in self.owner:
            self.owner[var].write(var, value)

    # -- what it takes of the chip ---------------------------------------------------------------------------

    def placement(self, chips: int = 1) -> Placement:
        """Where everything lies; spiking parts and products one after another. RoutingError."""
        layers, populations, instances, run = [], [], [], 0
        for part in self.parts:
            if isinstance(part, SpikingPart):
                found = place(part.net, part.placed.model, part.placed.rows, chips)
                populations += [replace(p, instance=p.instance + len(instances), run=p.run + run) for p in found.populations]
                instances += [replace(i, name=str(len(instances) + k), run=i.run + run) for k, i in enumerate(found.instances)]
                run = 1 + max(i.run for i in instances)
            elif isinstance(part, ProductPart):
                for product in part.products:
                    layers += product.placed(run, chips)
                    run = layers[-1].tiles[-1].run + 1
        return Placement(chips, tuple(layers), tuple(populations), tuple(instances))

    def report(self) -> Report:
        """The placement, and what the last run counted."""
        records = [r for part in self.parts if isinstance(part, SpikingPart) for r in part.placed.records.values()]
        seen = [r for part in self.parts if isinstance(part, ProductPart) for p in part.products for r in p.records]
        return self.placement().report([*records, *seen], self.chip, self.duration, self.batch)

    @property
    def links(self) -> list[SpikeRecord]:
        """Of each spiking part on an emulated chip, the events of the last run that came from outside, and those lost on the way."""
        return [part.placed.link for part in self.parts if isinstance(part, SpikingPart) and part.placed.link is not None]


def check_recordable(target: Port | Var, terms: list[Term], role: Roles) -> None:
    """RecordingError for what the chip does not show; ``terms``: of a port."""
    if isinstance(target, Var):
        if target.role == "parameter" or all(n.process is not target.process or r == "host" for n, r in role.items()):
            return
        shown = [n for n in vars(target.process) if n == "v" or n.startswith("v_")] if hasattr(target.process, "s_out") else []
        if target.name not in shown:
            raise RecordingError(f"{target.path}: on BrainScaleS-2 spikes (s_out) and membranes ({', '.join(shown) or 'of neurons'}) "
                                 "are recorded, nothing else; record those, or run with backend='numba'")
    silent = [n.process for n, r in role.items() if r == "synapse"]
    if any(term.source.process in silent for term in terms):
        raise RecordingError(f"{target.path}: what arrives at a neuron of BrainScaleS-2 is not recorded; its spikes (s_out) and "
                             "its membrane (v) are")


def nothing_to_do(graph: Graph, role: Roles) -> None:
    """GraphError for a graph that has nothing for the chip."""
    if all(r == "host" for r in role.values()):
        hears = senders(graph)
        other = next((n for n in graph.nodes if not is_connection(n) and any(is_connection(s) and not graded(s) for s in hears[n])), None)
        if other is not None:
            raise GraphError(f"{other.process.path}: {type(other.process).__name__} is no neuron BrainScaleS-2 is configured for here; "
                             "LIF, LIFLateBias, LIFRefractory and MultiCompartment are. Use one of them, or backend='numba'")
        raise GraphError(f"{graph.processes[0].path}: nothing in this graph runs on BrainScaleS-2, which computes LIF and MultiCompartment "
                         "neurons behind synapses that take spikes, and connections of graded messages before Sigma or SigmaDelta "
                         "neurons; run it with backend='numba'")


def _add(rows: np.ndarray, term: Term, x: np.ndarray) -> None:
    x = x if term.src is None else x[..., term.src]
    if term.dst is None:
        rows += x.astype(rows.dtype)
    else:
        np.add.at(rows, (..., term.dst), x)
