"""A spiking part of a graph over a whole stretch: synapses as matrices, populations by the chip's
equations.

The same code is the chip at every emulated level (other weights and constants) and the model that
is trained (spikes and membranes recorded on the chip put in place of its own). Tensors are (time,
batch, size).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lavalike.backends.bss2.neurons import ChipPopulation
from lavalike.backends.bss2.partition import connection, is_connection, is_plastic, model_of
from lavalike.backends.bss2.stored import Matrix, Stored, is_large, stored, times
from lavalike.backends.torch.connections import ConnectionModel, as_events
from lavalike.backends.torch.terms import gathered, selected
from lavalike.bss2.errors import RoutingError
from lavalike.compiler import order
from lavalike.compiler.flat import Node, Term
from lavalike.errors import VarError
from lavalike.fused import Training, scan
from lavalike.fused.surrogate import FastSigmoid
from lavalike.fused.trace import steps as stepper
from lavalike.process import InPort, Port, Var

Tensors = dict[str, torch.Tensor]
PLAIN = Training(FastSigmoid(), "detach")  # of runs that nobody differentiates
LARGEST = (
    2**28
)  # weights of an unrolled convolution: 8192 sources of 32768 neurons, 1 GB in float32 [chosen]
BLOCK = 256  # inputs that are unrolled at a time


@dataclass(frozen=True, eq=False)
class Projection:
    """One synapse node onto one input of a population, ``term`` of that input; ``recurrent``:
    within a loop."""

    synapse: Node
    target: ChipPopulation
    port: InPort
    term: Term
    recurrent: bool

    @property
    def name(self) -> str:
        return self.synapse.process.path

    @property
    def size(self) -> int:
        return connection(self.synapse).s_in.size

    def terms(self, known: Mapping[Port, torch.Tensor]) -> list[Term]:
        """Those of its inputs that come from ``known``."""
        return [t for t in self.synapse.inputs["s_in"] if t.source in known]


@dataclass
class Injection:
    """What a chip recorded of a population: spikes, membranes by state, and when which other
    compartment fired."""

    spikes: torch.Tensor
    membranes: Tensors
    fired: Tensors


@dataclass
class Trace:
    """Of one population and stretch: spikes, membranes by state, other compartments' spikes by
    input of the recorded equation, the states at the end, and what arrived by input: in the last
    step, and in the one before, where the stretch has one."""

    spikes: torch.Tensor
    membranes: Tensors
    fired: Tensors
    states: Tensors
    arrived: Tensors = field(default_factory=dict)
    before: Tensors = field(default_factory=dict)


def joined(pieces: Sequence[Trace]) -> Trace:
    """Of stretches one after another the whole."""
    last = pieces[-1]
    if len(pieces) == 1:
        return last

    def cat(of: Callable[[Trace], Tensors]) -> Tensors:
        return {n: torch.cat([of(t)[n] for t in pieces]) for n in of(last)}

    return Trace(
        torch.cat([t.spikes for t in pieces]),
        cat(lambda t: t.membranes),
        cat(lambda t: t.fired),
        last.states,
        last.arrived,
        last.before,
    )


class Network:
    """The populations of one spiking part, in an order of evaluation, and what connects them."""

    def __init__(self, nodes: Sequence[Node], names: Mapping[Node, str]) -> None:
        hears = order.senders(nodes)
        for n in nodes:
            if is_plastic(
                n
            ):  # what it learns from is no loop: its weights change between stretches
                sources = {id(t.source.process) for t in n.inputs["s_in"]}
                hears[n] = [s for s in hears[n] if id(s.process) in sources]
        groups = order.components(nodes, hears)
        nodes = [n for g in groups for n in g]
        by_process = {id(n.process): n for n in nodes}
        self.populations = [ChipPopulation(n, names[n]) for n in nodes if not is_connection(n)]
        self.synapses = [n for n in nodes if is_connection(n)]
        at = {p.node: p for p in self.populations}
        group_of = {n: k for k, g in enumerate(groups) for n in g}
        self.projections: list[Projection] = []
        for p in self.populations:
            for m in p.membranes:
                for term in p.node.inputs[m.port]:
                    synapse = by_process[id(term.source.process)]
                    inside = (
                        group_of[synapse] == group_of[p.node] and len(groups[group_of[synapse]]) > 1
                    )
                    self.projections.append(
                        Projection(synapse, p, getattr(p.process, m.port), term, inside)
                    )
        # a loop is stepped as a whole; all else runs population by population
        self.groups = [[at[n] for n in g if n in at] for g in groups]
        self.groups = [g for g in self.groups if g]
        self.output: dict[Port, ChipPopulation] = {p.process.s_out: p for p in self.populations}
        self.outside = list(
            dict.fromkeys(
                t.source
                for n in self.synapses
                for t in n.inputs["s_in"]
                if t.source not in self.output
            )
        )

    def onto(self, population: ChipPopulation) -> list[Projection]:
        return [x for x in self.projections if x.target is population]

    def fed(self, synapse: Node) -> ChipPopulation:
        """The first population that a connection feeds."""
        return next(x.target for x in self.projections if x.synapse is synapse)

    def heard(self, projection: Projection) -> list[ChipPopulation]:
        """The populations of this part that a projection hears."""
        return [
            self.output[t.source]
            for t in projection.synapse.inputs["s_in"]
            if t.source in self.output
        ]

    # -- matrices ----------------------------------------------------------------------------------

    def connections(
        self, tensor: Callable[[Var], torch.Tensor], dtype: torch.dtype
    ) -> dict[Node, Matrix]:
        """(outputs, inputs) of every synapse, in floating point; VarError."""
        return {n: weights(n, tensor, dtype) for n in self.synapses}

    def matrices(self, of_synapse: Mapping[Node, Matrix]) -> dict[Projection, Matrix]:
        """(size of the target's input, size of the synapse's input) of every projection."""

        def taken(w: Matrix, x: Projection) -> Matrix:
            if isinstance(w, Stored):
                return w.selected(x.term, x.port.size)
            return selected(w.T, x.term, x.port.size).T

        return {x: taken(of_synapse[x.synapse], x) for x in self.projections}

    # -- over time ---------------------------------------------------------------------------------

    def run(
        self,
        extent: tuple[int, int],
        outside: Mapping[Port, torch.Tensor],
        weights: Mapping[Projection, Matrix],
        constants: Mapping[ChipPopulation, Tensors],
        states: Mapping[ChipPopulation, Tensors],
        training: Mapping[ChipPopulation, Training] | None = None,
        injected: Mapping[ChipPopulation, Injection] | None = None,
        sending: Callable[[ChipPopulation, torch.Tensor], torch.Tensor] | None = None,
    ) -> dict[ChipPopulation, Trace]:
        """The whole stretch.

        Args:
            extent: (steps, batch).
            outside: events of every port in ``self.outside``, (steps, batch, size), non-zero counts
                1.
            weights: of :meth:`matrices`, the gain of the population's inputs in them.
            constants: of every population's equation; ``bias_start`` in steps from the beginning of
                this stretch.
            states: before the first step, (batch, size).
            training: how each population is differentiated. Default: not at all.
            injected: what a chip recorded, in the place of spikes and membranes.
            sending: what becomes of a population's spikes on their way to others.
        """
        sent: dict[Port, torch.Tensor] = dict(outside)
        traces: dict[ChipPopulation, Trace] = {}
        for group in self.groups:
            loop = any(x.recurrent for p in group for x in self.onto(p))
            members = [
                _Member(
                    self,
                    p,
                    extent,
                    sent,
                    weights,
                    constants[p],
                    states[p],
                    PLAIN if training is None else training[p],
                    None if injected is None else injected[p],
                )
                for p in group
            ]
            if loop:
                _step_together(members, extent[0])
            for m in members:
                traces[m.p] = m.trace() if loop else m.scanned()
                if sending is not None:
                    traces[m.p].spikes = sending(m.p, traces[m.p].spikes)
                sent[m.p.process.s_out] = traces[m.p].spikes
        return traces


class _Member:
    """A population in one run: what it hears from those that ran before, its state, and its
    equation."""

    def __init__(
        self,
        net: Network,
        p: ChipPopulation,
        extent: tuple[int, int],
        sent: Mapping[Port, torch.Tensor],
        weights: Mapping[Projection, Matrix],
        constants: Tensors,
        state: Tensors,
        training: Training,
        hw: Injection | None,
    ) -> None:
        self.p, self.state, self.training, self.weights = p, dict(state), training, weights
        self.like = next(iter(state.values()))
        self.hw = {} if hw is None else recorded(p, hw)
        self.dynamics = p.dynamics(hw is not None)
        self.spans = _stretches(constants, extent[0])
        self.rows: dict[str, list[torch.Tensor]] = {
            n: [] for n in (*self.dynamics.outputs, *p.voltages.values())
        }
        self.source = {m.port: m for m in p.membranes}
        self.loops = [x for x in net.onto(p) if x.recurrent]
        # of a synapse within a loop, what comes from outside the loop
        self.beside = {
            x: gathered(x.terms(sent), x.size, sent, (*extent,), self.like) for x in self.loops
        }
        self.drive: Tensors = {}
        for x in net.onto(p):
            if not x.recurrent:
                self._add(
                    self.drive,
                    x,
                    times(
                        events(gathered(x.terms(sent), x.size, sent, (*extent,), self.like)),
                        weights[x],
                    ),
                )
        zeros = self.like.new_zeros(*extent, p.size)
        self.inputs = {m.source: self.drive.get(m.source, zeros) for m in p.membranes}
        self.arrived = {n: y[-1] for n, y in self.inputs.items()}
        self.before = {n: y[-2] for n, y in self.inputs.items()} if extent[0] > 1 else {}

    def _add(self, to: Tensors, x: Projection, y: torch.Tensor) -> None:
        name = self.source[x.port.name].source
        to[name] = to[name] + y if name in to else y

    def scanned(self) -> Trace:
        """All steps in fused loops."""
        inputs = {**{n: y.contiguous() for n, y in self.inputs.items()}, **self.hw}
        voltages = list(self.p.voltages.values())
        for first, last, c in self.spans:
            got = scan(
                self.dynamics,
                self.training,
                {n: v[first:last] for n, v in inputs.items()},
                c,
                self.state,
                voltages,
            )
            self.state = got.states
            for n, rows in self.rows.items():
                rows.append(got.outputs[n])
        return self._trace({n: v[0] if len(v) == 1 else torch.cat(v) for n, v in self.rows.items()})

    def begin(self) -> None:
        self.step = stepper(self.dynamics, self.training)
        self.numbers = {
            n: torch.tensor(v, dtype=self.like.dtype) for n, v in self.training.numbers.items()
        }

    def advance(self, t: int) -> torch.Tensor:
        """The membranes of step ``t``; what it sends."""
        c = next(c for first, last, c in self.spans if first <= t < last)
        now = {n: y[t] for n, y in (*self.inputs.items(), *self.hw.items())}
        outputs, self.state = self.step(now, self.state, c, self.numbers)
        for n in self.dynamics.outputs:
            self.rows[n].append(outputs[n])
        for v in self.p.voltages.values():
            self.rows[v].append(self.state[v])
        return outputs["s_out"]

    def hear(self, t: int, now: Mapping[Port, torch.Tensor]) -> None:
        """Spikes of step ``t`` within the loop reach the currents of step ``t``: membranes took
        those of the step before."""
        arrived: Tensors = {}
        for x in self.loops:
            heard = self.beside[x][t] + gathered(
                x.terms(now), x.size, now, (len(self.like),), self.like
            )
            self._add(arrived, x, times(events(heard), self.weights[x]))
        for m in self.p.membranes:
            if t > 0:
                self.before[m.source] = self.arrived[m.source]
            if m.source in arrived:
                self.state[m.current] = self.state[m.current] + arrived[m.source]
            self.arrived[m.source] = self.inputs[m.source][t] + arrived.get(m.source, 0.0)

    def trace(self) -> Trace:
        return self._trace({n: torch.stack(v) for n, v in self.rows.items()})

    def _trace(self, joined: Tensors) -> Trace:
        fired = {own: joined[sent] for own, sent in self.p.fired.items()}
        return Trace(
            joined["s_out"],
            {v: joined[v] for v in self.p.voltages.values()},
            fired,
            self.state,
            self.arrived,
            self.before,
        )


def _step_together(members: list[_Member], steps: int) -> None:
    """Populations that hear each other."""
    for m in members:
        m.begin()
    for t in range(steps):
        now = {m.p.process.s_out: m.advance(t) for m in members}
        for m in members:
            m.hear(t, now)


def recorded(p: ChipPopulation, hw: Injection) -> Tensors:
    """A recording as the injecting equation's inputs."""
    return {
        p.membranes[0].fired: hw.spikes,
        **hw.fired,
        **{m.seen: hw.membranes[m.voltage] for m in p.membranes},
    }


def constants(model: ConnectionModel, tensor: Callable[[Var], torch.Tensor]) -> dict[str, Any]:
    """From the Vars; VarError."""
    try:
        return model.constants(
            {v.name: tensor(v) for v in model.process.vars if v.role == "parameter"}
        )
    except ValueError as e:
        raise VarError(f"{model.process.path}.{e}") from None


def weights(node: Node, tensor: Callable[[Var], torch.Tensor], dtype: torch.dtype) -> Matrix:
    """:func:`matrix`, one synapse after another where they are few of many."""
    model = None if is_plastic(node) else model_of(node)
    if model is not None:
        found = model.stored(c := constants(model, tensor))
        if found is not None and is_large(found[0]):
            synapses, values = found
            return stored(synapses.rows, synapses.cols, values.to(dtype), synapses.shape)
        return _matrix(node, model, c, dtype)
    return matrix(node, tensor, dtype)


def matrix(node: Node, tensor: Callable[[Var], torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """(outputs, inputs) of a synapse; differentiable where its weights are."""
    if is_plastic(node):
        p: Any = node.process
        return (tensor(p.weights) * 2.0 ** float(p.weight_exp.value[0])).to(dtype)
    model = model_of(node)
    assert model is not None, node.process.path
    return _matrix(node, model, constants(model, tensor), dtype)


def _matrix(
    node: Node, model: ConnectionModel, c: dict[str, Any], dtype: torch.dtype
) -> torch.Tensor:
    whole = model.matrix(c)
    if whole is not None:
        return whole.to(dtype)
    c = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in c.items()}
    s_in, outputs = connection(node).s_in, connection(node).a_out.size
    if s_in.size * outputs > LARGEST:
        raise RoutingError(
            f"{node.process.path}: its synapses are a matrix of {outputs} x {s_in.size}, {outputs * s_in.size:,} weights; "
            f"at most {LARGEST:,} are laid out for a chip. Make its input smaller, or run with backend='numba'"
        )
    columns = []
    for first in range(0, s_in.size, BLOCK):
        count = min(BLOCK, s_in.size - first)
        one_each = torch.zeros(count, s_in.size, dtype=dtype)
        one_each[:, first : first + count].fill_diagonal_(1)
        columns.append(
            model.product(one_each.reshape(count, *s_in.shape, 1), c, 1).reshape(count, -1)
        )
    return torch.cat(columns).T


def events(x: torch.Tensor) -> torch.Tensor:
    """1 for what is not zero; gradients pass."""
    return as_events(x, False)


def _stretches(c: Tensors, steps: int) -> list[tuple[int, int, Tensors]]:
    """(first, last, constants): until the step of a late bias the leak is ``leak_before``, 0 where
    there is none."""
    if "bias_start" not in c:
        return [(0, steps, c)]
    start = c["bias_start"]
    before = c.get("leak_before", torch.zeros_like(c["leak_soma"]))
    plain = {n: v for n, v in c.items() if n not in ("bias_start", "leak_before")}
    cuts = [0, *(int(s) for s in start.unique() if 0 < s < steps), steps]
    return [
        (a, b, plain | {"leak_soma": torch.where(start <= a, c["leak_soma"], before)})
        for a, b in itertools.pairwise(cuts)
    ]
