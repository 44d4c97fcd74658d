"""What a network is and what it did in a run, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavalike.errors import InputError
from lavalike.model.config import RunConfig
from lavalike.operations import count
from lavalike.proc.connection import Connection
from lavalike.process import AbstractProcess, OutPort
from lavalike.process.process import walk
from lavalike.runtime.recording import Recording
from lavalike.runtime.simulate import simulate


@dataclass
class LayerFacts:
    """A layer: shapes, sizes, and counts a step and sample, averages; None where nothing of the
    kind is in it.

    Attributes: ``events``, messages that are not 0; ``synops``, synapses that messages went
    through; ``macs``, products that a dense network of the shape computes; ``graded``, whether
    messages into it are taken by their values; ``weights``, all that is trainable.
    """

    name: str
    kind: str
    shape_in: tuple[int, ...] | None
    shape_out: tuple[int, ...] | None
    neurons: int
    synapses: int
    weights: np.ndarray
    out: OutPort | None
    connections: list[Connection] = field(default_factory=list)
    graded: bool = False
    events: float | None = None
    synops: float | None = None
    macs: int | None = None
    uncounted: list[str] = field(default_factory=list)  # connections, and why


@dataclass
class Measured:
    """A run and what it came to."""

    process: AbstractProcess
    config: RunConfig
    layers: list[LayerFacts]
    recording: Recording
    inputs: dict[str, np.ndarray]
    steps: int
    samples: int


def measure(
    process: AbstractProcess,
    inputs: Mapping[Any, Any],
    config: RunConfig,
    steps: int | None = None,
) -> Measured:
    """Simulate ``process`` with what every layer sends and every connection gets recorded, and
    count; arguments and errors as of :func:`lavalike.simulate`."""
    layers = [_facts(p) for p in parts(process)]
    record = [x.out for x in layers if x.out is not None]
    wanted = dict.fromkeys([*record, *(c.s_in for x in layers for c in x.connections)])
    recording = simulate(process, inputs, steps, config, list(wanted))
    if not len(recording.steps):
        raise InputError(f"report: {process.path} ended before its first step")
    for layer in layers:
        _count(layer, recording)
    samples = next((len(recording[t]) for t in recording), 1) if recording.batched else 1
    fed = {str(getattr(k, "path", k)): np.asarray(v) for k, v in inputs.items()}
    return Measured(process, config, layers, recording, fed, len(recording.steps), samples)


def parts(process: AbstractProcess) -> list[AbstractProcess]:
    """What counts as layers: ``process.layers``, as netx's networks have them, else its inner
    processes, else itself."""
    layers = getattr(process, "layers", None)
    found = [*layers] if isinstance(layers, Sequence) else []
    if found and all(isinstance(x, AbstractProcess) for x in found):
        return found
    return process.procs or [process]


def _facts(layer: AbstractProcess) -> LayerFacts:
    inside = [p for p in walk(layer) if not p.procs]
    connections = [p for p in inside if isinstance(p, Connection)]
    neurons = sum(
        max((port.size for port in p.out_ports), default=0)
        for p in inside
        if not isinstance(p, Connection) and p.dynamics is not None and p.dynamics.states
    )
    values = [np.asarray(v.get()).reshape(-1) for p in connections for v in p.vars if v.trainable]
    out = getattr(layer, "out", None)
    if not isinstance(out, OutPort):
        out = layer.out_ports[0] if layer.out_ports else None
    first = layer.in_ports[0].shape if layer.in_ports else None
    found = LayerFacts(
        name=layer.name or type(layer).__name__,
        kind=str(getattr(layer, "kind", "")) if layer.procs else type(layer).__name__,
        shape_in=first,
        shape_out=out.shape if out is not None else None,
        neurons=neurons,
        synapses=0,
        weights=np.concatenate(values) if values else np.empty(0),
        out=out,
        graded=any(c.graded for c in connections),
    )
    found.kind = found.kind or type(layer).__name__
    for c in connections:
        try:
            found.synapses += int(np.asarray(c.fan_out()).sum())
            found.connections.append(c)
        except InputError as e:
            found.uncounted.append(str(e))
    return found


def _count(layer: LayerFacts, recording: Recording) -> None:
    if layer.out is not None:
        sent = recording[layer.out]
        layer.events = np.count_nonzero(sent) / (sent.size / math.prod(layer.out.shape))
    for c in layer.connections:
        found = count(c, recording[c.s_in])
        layer.synops = (layer.synops or 0.0) + found.synops
        layer.macs = (layer.macs or 0) + found.macs
