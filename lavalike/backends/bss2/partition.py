"""Which nodes of a graph the chip computes, and as what.

- A neuron: a LIF, LIF with a late bias or a refractory period, or a multi-compartment neuron, whose
  inputs are synapses.
- A synapse: a Connection without delays of its own that takes spikes and feeds such neurons only.
- A product, of perceptron mode: a Connection by a matrix or a convolution, of graded messages, that
  feeds Sigma or SigmaDelta neurons only.

All else stays on the host, other neurons among it, with the synapses that feed them. Neurons and
synapses run together, products by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from lavalike.backends.numba import DynamicsModel
from lavalike.backends.torch.connections import ConnectionModel
from lavalike.bss2.errors import RecordingError
from lavalike.compiler import order
from lavalike.compiler.flat import Flat, Node
from lavalike.compiler.parts import Part
from lavalike.dynamics import Dynamics, lif
from lavalike.errors import GraphError
from lavalike.model.model import candidates
from lavalike.proc import LearningDense, MultiCompartment, Sigma, SigmaDelta
from lavalike.proc.connection import Connection
from lavalike.process import OutPort, Port, Var

LIFS = (lif.LIF, lif.LIF_LATE_BIAS, lif.LIF_REFRACTORY)
HOST, SPIKING, PRODUCT = "host", "spiking", "product"
Roles = dict[Node, str]  # "neuron", "synapse", "product" or "host"
MODES = {"neuron": SPIKING, "synapse": SPIKING, "product": PRODUCT, "host": HOST}


def dynamics_of(node: Node) -> Dynamics | None:
    """The node's equation, where it runs by it and not by a model of the user's."""
    return node.process.dynamics if isinstance(node.model, DynamicsModel) else None


def is_connection(node: Node) -> bool:
    return isinstance(node.process, Connection)


def connection(node: Node) -> Connection:
    """The process of a node that is a connection."""
    assert isinstance(node.process, Connection), node.process.path
    return node.process


def is_plastic(node: Node) -> bool:
    """Whether a connection's synapses learn."""
    return isinstance(node.process, LearningDense)


def model_of(node: Node) -> ConnectionModel | None:
    """The torch model of a connection, which knows its weights; None where it has none that is a
    ConnectionModel."""
    known = (m for m in candidates(node.process) if m.backend == "torch")
    found = (
        next((m for m in known if issubclass(m, ConnectionModel)), None)
        if isinstance(node.process, Connection)
        else None
    )
    return None if found is None else found(node.process, node.model.config)


def graded(node: Node) -> bool:
    """Whether a connection takes messages for their values."""
    return isinstance(node.process, Connection) and node.process.graded


def roles(flat: Flat, nodes: Sequence[Node]) -> Roles:
    """What each of ``nodes`` is, those that may run on the chip; all others are the host's.
    GraphError for neurons and connections that are half on the chip, by name."""
    hears = order.senders(flat.nodes)
    heard: dict[Node, list[Node]] = {n: [] for n in flat.nodes}
    for node, before in hears.items():
        for s in before:
            heard[s].append(node)
    out, mine = dict.fromkeys(flat.nodes, HOST), set(nodes)
    for node in nodes:
        neuron = isinstance(node.process, MultiCompartment) or any(
            dynamics_of(node) is d for d in LIFS
        )
        synapses = [s for s in hears[node] if s in mine and is_connection(s) and not graded(s)]
        if not neuron or not synapses:
            continue
        _only_synapses(node, synapses, hears[node])
        out[node] = "neuron"
        for s in synapses:
            _placeable(s)
            out[s] = "synapse"
    for node in nodes:
        after = heard[node]
        if out[node] == "synapse" and any(out[n] != "neuron" for n in after):
            other = next(n for n in after if out[n] != "neuron")
            raise GraphError(
                f"{node.process.path}: its synapses are on the chip, yet {other.process.path} hears their currents, which "
                "nothing on the chip records; connect it through a connection of its own"
            )
        if graded(node) and _multiplies(node) and after and all(_sums(n) for n in after):
            out[node] = "product"
    return out


def why_not(node: Node) -> str:
    """Why a node is the host's, as what follows "and"."""
    if is_connection(node):
        feeds = "Sigma or SigmaDelta neurons" if graded(node) else "neurons of the chip"
        return f"this connection feeds others than {feeds} on it, or nothing"
    if isinstance(node.process, MultiCompartment) or any(dynamics_of(node) is d for d in LIFS):
        return "no synapse (a connection with num_message_bits=0) on it feeds this neuron"
    return f"{type(node.process).__name__} is nothing that BrainScaleS-2 is configured for here"


def nothing_to_do(flat: Flat, role: Roles) -> None:
    """GraphError for a graph that has nothing for the chip."""
    if any(r != HOST for r in role.values()):
        return
    hears = order.senders(flat.nodes)
    other = next(
        (
            n
            for n in flat.nodes
            if not is_connection(n) and any(is_connection(s) and not graded(s) for s in hears[n])
        ),
        None,
    )
    if other is not None:
        raise GraphError(
            f"{other.process.path}: {type(other.process).__name__} is no neuron BrainScaleS-2 is configured for here; "
            "LIF, LIFLateBias, LIFRefractory and MultiCompartment are. Use one of them, or backend='numba'"
        )
    raise GraphError(
        f"{flat.processes[0].path}: nothing in this graph runs on BrainScaleS-2, which computes LIF and MultiCompartment "
        "neurons behind synapses that take spikes, and connections of graded messages before Sigma or SigmaDelta "
        "neurons; run it with backend='numba'"
    )


def check_recordable(part: Part, target: Port | Var, source: Port | Var) -> None:
    """RecordingError for what the chip does not show: ``source``, of a node of ``part``, wanted for
    ``target``."""
    if isinstance(source, Var):
        if source.role == "parameter":
            return
        shown = (
            [n for n in vars(source.process) if n == "v" or n.startswith("v_")]
            if hasattr(source.process, "s_out")
            else []
        )
        if source.name not in shown:
            raise RecordingError(
                f"{target.path}: on BrainScaleS-2 spikes (s_out) and membranes ({', '.join(shown) or 'of neurons'}) "
                "are recorded, nothing else; record those, or run with backend='numba'"
            )
    node = part.node_of(source.process)
    if (
        isinstance(source, OutPort)
        and node is not None
        and part.target.options.mode == SPIKING
        and is_connection(node)
    ):
        raise RecordingError(
            f"{target.path}: what arrives at a neuron of BrainScaleS-2 is not recorded; its spikes (s_out) and "
            "its membrane (v) are"
        )


def check_synapses(part: Part) -> None:
    """GraphError for a connection of a spiking part that feeds neurons of another part as well."""
    for port in part.sends:
        node = part.node_of(port.process)
        if node is None or not is_connection(node):
            continue
        after = [n for n, before in order.senders(part.flat.nodes).items() if node in before]
        now, later = (
            [n.process.path for n in after if (part.node_of(n.process) is n) is here]
            for here in (True, False)
        )
        raise GraphError(
            f"{node.process.path}: it feeds {', '.join(now)} and {', '.join(later)}, which run on the chip one after the "
            "other, as what is between runs on the host; give each a connection of its own"
        )


def _placeable(synapse: Node) -> None:
    """GraphError for a connection whose synapses a chip does not have."""
    process = synapse.process
    assert isinstance(process, Connection)
    if process.kind == "delays":
        raise GraphError(
            f"{process.path}: synapses of BrainScaleS-2 have no delays of their own, max_delay is {process.max_delay}; put a "
            "DelayLine before a Dense"
        )
    if not process.delay:
        raise GraphError(
            f"{process.path}: delay=0, but a spike of a chip's step reaches membranes in the next; make it with delay=1"
        )
    if model_of(synapse) is None and not is_plastic(synapse):
        raise GraphError(
            f"{process.path}: {type(process).__name__} has no torch model that says its weights; write a ConnectionModel "
            "(lavalike.backends.torch) with product or matrix, or run with backend='numba'"
        )


def _multiplies(node: Node) -> bool:
    """Whether the products of a connection can be the array's, which are sent on in the step
    after."""
    process, model = node.process, model_of(node)
    return (
        isinstance(process, Connection)
        and process.kind in ("matrix", "convolution")
        and process.delay == 1
        and model is not None
    )


def _sums(node: Node) -> bool:
    return isinstance(node.process, Sigma | SigmaDelta) and dynamics_of(node) is not None


def _only_synapses(node: Node, synapses: list[Node], before: list[Node]) -> None:
    other = [s.process.path for s in before if s not in synapses]
    fed = [
        t.source.path
        for terms in node.inputs.values()
        for t in terms
        if not isinstance(t.source, OutPort)
    ]
    if other or fed:
        raise GraphError(
            f"{node.process.path}: a neuron of BrainScaleS-2 hears spikes through synapses (connections with "
            f"num_message_bits=0); it also hears {', '.join(other + fed)}. Put a connection between, or a bias in its place"
        )
