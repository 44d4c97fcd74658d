"""Which nodes of a graph the chip computes, and in which order parts of chip and host run, each for the whole stretch.

- A neuron: a LIF, LIF with a late bias or a refractory period, or a multi-compartment neuron, whose inputs are synapses.
- A synapse: a Connection without delays of its own that takes spikes and feeds such neurons only.
- A product, of perceptron mode: a Connection by a matrix or a convolution, of graded messages, that feeds Sigma or SigmaDelta neurons only.

All else stays on the host, in the numba backend, other neurons among it, with the synapses that feed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lavalike.backends.numba import DynamicsModel
from lavalike.backends.torch.connections import ConnectionModel
from lavalike.compiler.graph import Graph, Node
from lavalike.dynamics import Dynamics, lif
from lavalike.errors import GraphError
from lavalike.model.model import candidates
from lavalike.proc import MultiCompartment, Sigma, SigmaDelta
from lavalike.proc.connection import Connection
from lavalike.process import OutPort

LIFS = (lif.LIF, lif.LIF_LATE_BIAS, lif.LIF_REFRACTORY)
HOST, SPIKING, PRODUCT = "host", "spiking", "product"


@dataclass(frozen=True)
class Part:
    """Nodes that run together; ``kind`` HOST, SPIKING or PRODUCT; ``groups``: them, loops together, senders first."""

    kind: str
    groups: list[list[Node]]

    @property
    def nodes(self) -> list[Node]:
        return [n for g in self.groups for n in g]


Roles = dict[Node, str]  # "neuron", "synapse", "product" or "host"
KINDS = {"neuron": SPIKING, "synapse": SPIKING, "product": PRODUCT, "host": HOST}


def senders(graph: Graph) -> dict[Node, list[Node]]:
    """The nodes that each node hears."""
    by_process = {id(n.process): n for n in graph.nodes}
    return {n: list(dict.fromkeys(by_process[id(t.source.process)] for terms in n.inputs.values() for t in terms
                                  if isinstance(t.source, OutPort))) for n in graph.nodes}


def names(graph: Graph) -> dict[Node, str]:
    """Paths; a second process of the same path goes by ``path#2``."""
    count: dict[str, int] = {}
    out = {}
    for node in graph.nodes:
        path = node.process.path
        count[path] = count.get(path, 0) + 1
        out[node] = path if count[path] == 1 else f"{path}#{count[path]}"
    return out


def dynamics_of(node: Node) -> Dynamics | None:
    """The node's equation, where it runs by it and not by a model of the user's."""
    return node.process.dynamics if isinstance(node.model.host, DynamicsModel) else None  # type: ignore[attr-defined]


def is_connection(node: Node) -> bool:
    return isinstance(node.process, Connection)


def model_of(node: Node) -> ConnectionModel | None:
    """The torch model of a connection, which knows its weights; None where it has none that is a ConnectionModel."""
    known = (m for m in candidates(node.process) if m.backend == "torch")
    found = next((m for m in known if issubclass(m, ConnectionModel)), None) if isinstance(node.process, Connection) else None
    return None if found is None else found(node.process, node.model.config)


def graded(node: Node) -> bool:
    """Whether a connection takes messages for their values."""
    return isinstance(node.process, Connection) and node.process.graded


def roles(graph: Graph) -> Roles:
    """GraphError for neurons and connections that are half on the chip, by name."""
    hears = senders(graph)
    heard: dict[Node, list[Node]] = {n: [] for n in graph.nodes}
    for node, before in hears.items():
        for s in before:
            heard[s].append(node)
    out = dict.fromkeys(graph.nodes, "host")
    for node in graph.nodes:
        neuron = isinstance(node.process, MultiCompartment) or any(dynamics_of(node) is d for d in LIFS)
        synapses = [s for s in hears[node] if is_connection(s) and not graded(s)]
        if not neuron or not synapses:
            continue
        _only_synapses(node, synapses, hears[node])
        out[node] = "neuron"
        for s in synapses:
            _placeable(s)
            out[s] = "synapse"
    for node in graph.nodes:
        after = heard[node]
        if out[node] == "synapse" and any(out[n] != "neuron" for n in after):
            other = next(n for n in after if out[n] != "neuron")
            raise GraphError(f"{node.process.path}: its synapses are on the chip, yet {other.process.path} hears their currents, which "
                             "nothing on the chip records; connect it through a connection of its own")
        if graded(node) and _multiplies(node) and after and all(_sums(n) for n in after):
            out[node] = "product"
    return out


def _placeable(synapse: Node) -> None:
    """GraphError for a connection whose synapses a chip does not have."""
    process = synapse.process
    assert isinstance(process, Connection)
    if process.kind == "delays":
        raise GraphError(f"{process.path}: synapses of BrainScaleS-2 have no delays of their own, max_delay is {process.max_delay}; put a "
                         "DelayLine before a Dense")
    if not process.delay:
        raise GraphError(f"{process.path}: delay=0, but a spike of a chip's step reaches membranes in the next; make it with delay=1")
    if model_of(synapse) is None:
        raise GraphError(f"{process.path}: {type(process).__name__} has no torch model that says its weights; write a ConnectionModel "
                         "(lavalike.backends.torch) with product or matrix, or run with backend='numba'")


def _multiplies(node: Node) -> bool:
    """Whether the products of a connection can be the array's, which are sent on in the step after."""
    process, model = node.process, model_of(node)
    return isinstance(process, Connection) and process.kind in ("matrix", "convolution") and process.delay == 1 and model is not None


def _sums(node: Node) -> bool:
    return isinstance(node.process, Sigma | SigmaDelta) and dynamics_of(node) is not None


def _only_synapses(node: Node, synapses: list[Node], before: list[Node]) -> None:
    other = [s.process.path for s in before if s not in synapses]
    fed = [t.source.path for terms in node.inputs.values() for t in terms if not isinstance(t.source, OutPort)]
    if other or fed:
        raise GraphError(f"{node.process.path}: a neuron of BrainScaleS-2 hears spikes through synapses (connections with "
                         f"num_message_bits=0); it also hears {', '.join(other + fed)}. Put a connection between, or a bias in its place")


def parts(graph: Graph, role: Roles) -> list[Part]:
    """In an order in which each hears only itself and those before; GraphError for a loop through chip and host."""
    hears = senders(graph)
    groups = _components(graph.nodes, hears)
    for group in groups:
        kinds = {KINDS[role[n]] for n in group}
        if len(group) == 1 and group[0] not in hears[group[0]]:
            continue
        if kinds != {HOST} and kinds != {SPIKING}:
            chip, host = ([n.process.path for n in group if (KINDS[role[n]] == HOST) is h] for h in (False, True))
            ends = f"with {', '.join(host)} on the host" if host else "in perceptron mode"
            raise GraphError(f"{', '.join(chip)}: on the chip, in a loop {ends}; a chip cannot be stepped. Put all of the loop "
                             "on it (LIFs and synapses), or run with backend='numba'")
    done: set[Node] = set()
    out: list[Part] = []
    while groups:
        for kind in (HOST, SPIKING, PRODUCT):
            taken: list[list[Node]] = []
            while ready := [g for g in groups if KINDS[role[g[0]]] == kind and all(s in done or s in g for n in g for s in hears[n])]:
                for g in ready:
                    groups.remove(g)
                    taken.append(g)
                    done.update(g)
            if kind == SPIKING:
                early = _without_neurons(taken, role, hears)
                taken = [g for g in taken if g not in early]
                groups += early
                done.difference_update(n for g in early for n in g)
            if taken:
                out.append(Part(kind, taken))
    return out


def _without_neurons(taken: list[list[Node]], role: Roles, hears: dict[Node, list[Node]]) -> list[list[Node]]:
    """Of ``taken``, synapses whose neurons run in a later part, with these; GraphError where some run now and some later."""
    now = {n for g in taken for n in g}
    early = []
    for group in taken:
        for synapse in (n for n in group if role[n] == "synapse"):
            after = [n for n, before in hears.items() if synapse in before]
            later = [n.process.path for n in after if n not in now]
            if later and len(later) < len(after):
                together = ", ".join(n.process.path for n in after if n in now)
                raise GraphError(f"{synapse.process.path}: it feeds {together} and {', '.join(later)}, which run on the chip one after the "
                                 "other, as what is between runs on the host; give each a connection of its own")
            if later:
                early.append(group)
    return early


def _components(nodes: list[Node], hears: dict[Node, list[Node]]) -> list[list[Node]]:
    """Strongly connected ones (Tarjan 1972, without recursion), senders first."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    on: set[Node] = set()
    out: list[list[Node]] = []

    def enter(node: Node) -> tuple[Node, Iterator[Node]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        return node, iter(hears[node])

    for root in nodes:
        if root in index:
            continue
        path = [enter(root)]
        while path:
            node, rest = path[-1]
            ahead = next(rest, None)
            if ahead is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    out.append(stack[at:])
                    on.difference_update(stack[at:])
                    del stack[at:]
            elif ahead not in index:
                path.append(enter(ahead))
            elif ahead in on:
                low[node] = min(low[node], index[ahead])
    return out
