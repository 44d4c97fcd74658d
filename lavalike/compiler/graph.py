"""Process graph -> flat graph: leaf processes with models, and for every InPort the terms of its sum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lavalike.arguments import did_you_mean
from lavalike.errors import GradedMessageWarning, GraphError, ModelSelectionError
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel, SubProcessModel, candidates, exception, select
from lavalike.proc.monitor import Monitor
from lavalike.process import claims
from lavalike.process.ports import InPort, OutPort, Port, View
from lavalike.process.process import AbstractProcess, component, walk


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of what a port carries: ``target.flat[dst] += source.flat[src]``; None means all, in order."""

    source: Port
    src: np.ndarray | None = None
    dst: np.ndarray | None = None


@dataclass(eq=False)
class Node:
    """A leaf process, its model, and the terms of each of its InPorts by name."""

    process: AbstractProcess
    model: ProcessModel
    inputs: dict[str, list[Term]] = field(default_factory=dict)


@dataclass(eq=False)
class Graph:
    """What a backend compiles.

    ``nodes`` are in the order of a step: those without delay sorted so that senders come first, then the
    delayed ones. ``stimuli`` are the InPorts that a run feeds; nothing else sends to them.
    """

    processes: list[AbstractProcess]
    nodes: list[Node]
    stimuli: list[InPort]
    config: RunConfig
    step: int = 0  # steps done before: where a run goes on counting
    told: set[Node] = field(default_factory=set)  # those that a warning was given of

    def terms(self, port: Port) -> list[Term]:
        """The terms of any port, resolved through hierarchy down to leaves and stimuli."""
        return _resolve(port, {id(n.process) for n in self.nodes}, {id(p) for p in self.stimuli})

    @cached_property
    def _by_process(self) -> dict[AbstractProcess, Node]:
        return {n.process: n for n in self.nodes}

    def node_of(self, process: AbstractProcess | None) -> Node | None:
        return None if process is None else self._by_process.get(process)


def flatten(process: AbstractProcess, config: RunConfig, general: Callable[[AbstractProcess], type[ProcessModel] | None],
            stimuli: Iterable[InPort] = ()) -> Graph:
    """The flat graph of everything connected to ``process``, after the steps that it has done.

    Raises ModelSelectionError, VarError, and GraphError for a cycle without delay.
    """
    with claims.looking:  # another thread may look at the same processes
        return _flatten(process, config, general, stimuli)


def _flatten(process: AbstractProcess, config: RunConfig, general: Callable[[AbstractProcess], type[ProcessModel] | None],
             stimuli: Iterable[InPort]) -> Graph:
    tops = component(process)
    everything: list[AbstractProcess] = []
    models: dict[AbstractProcess, type[ProcessModel]] = {}
    used: set[int] = set()
    hidden: set[AbstractProcess] = set()
    for part in (p for top in tops for p in walk(top)):
        if part.parent in hidden or part.parent in models:  # a model computes what is around it
            hidden.add(part)
            continue
        everything.append(part)
        for var in part.vars:  # a bound Var's present value is with its program
            if var.binding is not None and var.role == "state":
                var.value = np.array(var.binding.read(var))
        _check_hierarchy(part)
        chosen = exception(part, config, used)
        if (part.own_procs and chosen is None) or isinstance(part, Monitor) or not _computes(part):
            continue
        model = select(part, config, general, chosen)
        expands = issubclass(model, SubProcessModel)
        part.expand(model if expands else None)  # walk goes on into what it made
        if not expands:
            models[part] = model
    unused = [key for k, key in enumerate(config.select) if k not in used]
    if unused:
        raise ModelSelectionError(f"RunConfig.select: {unused[0]!r} is no process, class or name in the graph of {process.path}"
                                  f"{did_you_mean(unused[0], [x for p in everything for x in (p.name, p.path)])}; "
                                  f"there are {', '.join(p.path for p in everything)}")
    for part in everything:
        if part.expansion is not None:  # what its model connected
            _check_hierarchy(part)
    nodes = [Node(leaf, model(leaf, config)) for leaf, model in models.items()]
    ids = {id(n.process) for n in nodes}
    fed = list(stimuli)
    fed_ids = {id(p) for p in fed}
    for node in nodes:
        node.inputs = {p.name: _resolve(p, ids, fed_ids) for p in node.process.in_ports}
        _check_ports(node)
    return Graph(everything, _ordered(nodes), fed, config, process._structure.root().step)


def _check_hierarchy(process: AbstractProcess) -> None:
    """ConnectError where what feeds a port of ``process`` may not."""
    for port in (*process.in_ports, *process.out_ports):
        for view in port.sources:
            for src in view.ports:
                port.check_direction(src, view, settled=True)


def warn_graded(process: AbstractProcess) -> None:
    """Tell that graded messages count as spikes at ``process``."""
    warnings.warn(f"{process.path}: messages arrive that are neither 0 nor 1, and num_message_bits=0 counts each of them as a "
                  "spike, 1; num_message_bits=24 takes their values", GradedMessageWarning, stacklevel=5)


def _check_ports(node: Node) -> None:
    """GraphError where the model does not know a port that something is sent to, or an OutPort."""
    known, process = node.model.port_names(), node.process
    if known is None:
        return
    who = f"which {type(node.model).__name__}, the model of {type(process).__name__}, does not"
    for port in process.in_ports:
        if port.name not in known and node.inputs[port.name]:
            senders = ", ".join(dict.fromkeys(t.source.path for t in node.inputs[port.name]))
            raise GraphError(f"{port.path}: {senders if senders != port.path else 'an input'} is sent there, {who} read; leave the port "
                             "unconnected, or write a model that reads it (lavalike.implements)")
    for port in process.out_ports:
        handed = [src.path for view in port.sources for src in view.ports if isinstance(src, InPort)]
        if handed and not process.own_procs:
            raise GraphError(f"{port.path}: {handed[0]} is handed straight on to it, and {type(node.model).__name__}, the model of "
                             f"{type(process).__name__}, writes it; leave out one of them")
        if port.name not in known:
            raise GraphError(f"{port.path}: an OutPort {who} write; leave it out, or write a model that writes it (lavalike.implements)")


def _computes(process: AbstractProcess) -> bool:
    """False for an empty container, and for one that only hands on."""
    if process.out_ports and all(p.sources for p in process.out_ports) and not candidates(process) and process.dynamics is None:
        return False
    return bool(process.in_ports or process.out_ports or process.vars or candidates(process))


def _resolve(target: Port, leaves: set[int], stimuli: set[int]) -> list[Term]:
    out: list[Term] = []
    # as a Term: port, src, dst; and the OutPorts on the way that hand an InPort of their own process on
    todo: list[tuple[Port, np.ndarray | None, np.ndarray | None, tuple[Port, ...]]] = [(target, None, None, ())]
    while todo:
        port, src, dst, handed = todo.pop()
        # a stimulus has no sources, or none that sends
        if id(port) in stimuli or (isinstance(port, OutPort) and id(port.process) in leaves):
            out.append(Term(port, src, dst))
            continue
        if isinstance(port, OutPort) and any(isinstance(p, InPort) for view in port.sources for p in view.ports):
            if port in handed:
                hops = " -> ".join(p.path for p in reversed((*handed[handed.index(port):], port)))
                raise GraphError(f"a cycle without delay: {hops}, ports that hand on what arrives; put a connection with delay=1 into it")
            handed = (*handed, port)
        todo += [(*x, handed) for view in reversed(port.sources) for x in reversed(_through(view, src, dst, target.size))]
    return out


def _through(view: View, src: np.ndarray | None, dst: np.ndarray | None,
             size: int) -> list[tuple[Port, np.ndarray | None, np.ndarray | None]]:
    """What elements ``src`` of ``view``, which go to ``dst`` of ``size``, are of the view's ports."""
    if view.is_identity:
        return [(view.ports[0], src, dst)]
    flat, offset, out = view.index.reshape(-1), 0, []
    if src is not None:
        flat = flat[src]
    for port in view.ports:
        here = np.flatnonzero((flat >= offset) & (flat < offset + port.size))
        to = here if dst is None else dst[here]
        whole = len(to) == size and np.array_equal(to, np.arange(size))
        if len(here):
            out.append((port, flat[here] - offset, None if whole else to))
        offset += port.size
    return out


def _ordered(nodes: list[Node]) -> list[Node]:
    """Zero-delay nodes in topological order, then the delayed ones."""
    direct = {id(n.process): n for n in nodes if n.model.delay == 0}
    before = {key: _senders(n, direct) for key, n in direct.items()}
    place = {key: k for k, key in enumerate(direct)}
    after: dict[int, set[int]] = {key: set() for key in direct}
    for key, senders in before.items():
        for p, _, _ in senders:
            after[id(p)].add(key)
    missing = {key: len({id(p) for p, _, _ in senders}) for key, senders in before.items()}
    done: dict[int, Node] = {}
    ready = [key for key in direct if not missing[key]]
    while ready:  # all whose senders are done, in the order of ``nodes``; then those that waited for them
        freed: list[int] = []
        for key in ready:
            done[key] = direct[key]
            for heard in after[key]:
                missing[heard] -= 1
                freed += [heard] * (not missing[heard])
        ready = sorted(freed, key=place.__getitem__)
    if len(done) < len(direct):
        raise GraphError(_cycle({key: n for key, n in direct.items() if key not in done}, before))
    return [*done.values(), *(n for n in nodes if n.model.delay)]


def _senders(node: Node, direct: dict[int, Node]) -> list[tuple[AbstractProcess, Port, str]]:
    return [(t.source.process, t.source, name) for name, terms in node.inputs.items() for t in terms
            if t.source.process is not None and id(t.source.process) in direct and isinstance(t.source, OutPort)]


def _cycle(waiting: dict[int, Node], before: dict[int, list[tuple[AbstractProcess, Port, str]]]) -> str:
    """Name one cycle among nodes that all wait for each other."""
    key = next(iter(waiting))
    seen: list[int] = []
    hops: list[str] = []
    while key not in seen:
        seen.append(key)
        sender, port, name = next(b for b in before[key] if id(b[0]) in waiting)
        hops.append(f"{port.path} -> {waiting[key].process.path}.{name}")
        key = id(sender)
    hops = hops[seen.index(key):]
    return ("a cycle without delay: " + ", ".join(reversed(hops))
            + "; put a connection with delay=1 (Dense, Sparse, Conv, Delay) into it")
