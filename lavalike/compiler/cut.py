"""Flat graph -> shares: which of several processes computes which nodes, and what passes between
them.

A message that a node with delay hears is needed after the direct nodes of its step and not before,
so an edge into such a node can be cut, and what it carries is exchanged once a step, between the
direct and the delayed nodes; any other edge holds its ends together. So a connection lies with what
it sends to. Nodes that are held together, found by union-find, are dealt out by the bytes of their
Vars, or where a partition says.

Every share writes what others hear of it into one block a step, its ports one behind the other; who
hears a port finds it there. Where all that is heard from elsewhere is sent on after so many steps
(synapses with delays), so many steps are exchanged at once (:attr:`Cut.lag`).

What the blocks are written to is the business of an exchange: shared memory between processes of
one machine, or messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavalike.arguments import did_you_mean, shown
from lavalike.compiler.flat import Flat, Node
from lavalike.compiler.refs import resolve
from lavalike.errors import GraphError, InputError
from lavalike.proc.connection import Connection
from lavalike.process.ports import OutPort, Port
from lavalike.process.process import AbstractProcess, walk

WORD = 8  # bytes; ports in a block begin at a multiple of it
# The model of cost, in seconds. docs/scaling.md says where the numbers are from, and how to measure
# them.
ACTIVE = 0.05  # of the inputs of a connection send in a step
NEURON = 1.5e-9  # an element of a state
DENSE, STORED = 0.25e-9, 1.2e-9  # a synapse that gets a message: of a matrix, and stored one by one
SCANNED = 0.1e-9  # an input looked at
PYTHON = 10e-6  # a step of a model in Python
MEETING, MOVED = 0.5e-6, 0.1e-9  # an exchange, and a byte of it
LEAST = 50e-6  # a step shorter than this is not worth a second process


def in_words(size: int) -> int:
    """How many words hold ``size`` bytes."""
    return -(-size // WORD)


@dataclass(frozen=True)
class Place:
    """Where in the block of share ``rank`` a port lies: ``size`` bytes from ``offset`` on."""

    rank: int
    offset: int
    size: int


@dataclass(eq=False)
class Share:
    """What one of the processes computes: its nodes in the order of a step. ``hears``: ports of
    nodes elsewhere; ``sends``: its own that are heard elsewhere, in the order in which they lie in
    its block."""

    rank: int
    nodes: list[Node]
    hears: list[OutPort] = field(default_factory=list)
    sends: list[OutPort] = field(default_factory=list)

    @property
    def late(self) -> list[Node]:
        """Nodes that hear some of ``hears``, which all are delayed."""
        heard = {*self.hears}
        return [
            n
            for n in self.nodes
            if any(t.source in heard for terms in n.inputs.values() for t in terms)
        ]

    def one_table(self, batch: int) -> bool:
        """Whether one program of the numba backend computes all, compiled, in one thread, so that
        its exchange may be a row of it."""
        target = self.nodes[0].target
        return (
            target.backend == "numba"
            and all(n.target == target and not n.model.inline for n in self.nodes)
            and not target.options.debug
            and min(target.options.threads or 1, batch) == 1
        )


@dataclass(eq=False)
class Cut:
    """``shares`` of a graph for a ``batch``, and the ``places`` of what passes between them.

    ``rows``: a share that is one table exchanges within it, in every step; without, all exchange
    between stretches. ``seconds``: what the model of cost says a step takes, of each share;
    ``alone``: of all in one process. ``stays``: why it is better left in one process, or nothing.
    """

    flat: Flat
    batch: int
    shares: list[Share]
    places: dict[Port, Place] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    alone: float = 0.0
    stays: str = ""
    rows: bool = True

    def table(self, rank: int) -> bool:
        """Whether the exchange of share ``rank`` is a row of its table."""
        return self.rows and self.shares[rank].one_table(self.batch)

    def block(self, rank: int) -> int:
        """Bytes that share ``rank`` sends in a step."""
        places = [self.places[p] for p in self.shares[rank].sends]
        return in_words(max((p.offset + p.size for p in places), default=0)) * WORD

    def neighbours(self, rank: int) -> list[int]:
        """The shares that ``rank`` hears, or that hear it: those with which it keeps step."""
        mine = {*self.shares[rank].sends}
        return [
            s.rank
            for s in self.shares
            if s.rank != rank
            and (
                any(p in mine for p in s.hears)
                or any(self.places[p].rank == s.rank for p in self.shares[rank].hears)
            )
        ]

    @property
    def lag(self) -> int:
        """So many steps may be exchanged at once, as the delays are now."""
        return min((n.model.lag for s in self.shares for n in s.late), default=1 << 20)

    @property
    def interval(self) -> int:
        """So many steps are exchanged at once."""
        return 1 if any(self.table(s.rank) for s in self.shares) else self.lag

    @property
    def predicted(self) -> float:
        """Seconds a step that the model of cost says for the cut."""
        return max(self.seconds) if self.seconds else self.alone


def cut(
    flat: Flat,
    workers: int,
    partition: Mapping[Any, int] | None = None,
    batch: int = 1,
    rows: bool = True,
) -> Cut:
    """``flat`` dealt out to ``workers`` shares. ``partition``: which processes, by themselves, name
    or path, go to which share; what is inside of one goes with it. ``rows``: see :class:`Cut`.
    InputError for a partition that does not fit the graph, GraphError where it tears what is held
    together."""
    groups, edge = _held_together(flat)
    asked = _asked(flat, partition or {}, workers)
    whose = [_whose(group, asked, edge) for group in groups]
    if len(groups) < workers:
        raise InputError(
            f"RunConfig: workers={workers}, and {_called(flat)} falls into {len(groups)} part{'s' * (len(groups) != 1)} that a connection "
            f"with delay parts from the others; give workers={len(groups)} at most"
        )
    ranks = _dealt(flat, groups, whose, workers)
    empty = [k for k in range(workers) if k not in ranks]
    if empty:
        raise InputError(
            f"RunConfig: partition leaves nothing for worker {empty[0]} of {workers}; name processes for it, or give fewer workers"
        )
    rank = {n: r for group, r in zip(groups, ranks, strict=True) for n in group}
    shares = [Share(k, [n for n in flat.nodes if rank[n] == k]) for k in range(workers)]
    made = Cut(flat, batch, shares, rows=rows)
    _connect(made, rank)
    _cost(made)
    if partition is None:
        made.stays = _stays(made)
    return made


def most(flat: Flat) -> int:
    """Into how many shares ``flat`` can be cut: 1 where a node is of this process alone."""
    if any(n.target.whole or n.model.local for n in flat.nodes):
        return 1
    return len(_held_together(flat)[0])


def _called(flat: Flat) -> str:
    return f"the graph of {flat.processes[0].path}"


def _held_together(flat: Flat) -> tuple[list[list[Node]], dict[tuple[Node, Node], str]]:
    """The nodes in groups that one process computes, and why two that are next to each other are in
    one."""
    root = {n: n for n in flat.nodes}
    why: dict[tuple[Node, Node], str] = {}

    def find(n: Node) -> Node:
        while root[n] is not n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    def hold(a: Node, b: Node, text: str) -> None:
        why.setdefault((a, b), text)
        root[find(b)] = find(a)

    guarded: Node | None = None
    for node in flat.nodes:
        if node.target.whole:
            raise GraphError(
                f"{node.process.path}: on {node.target.backend}, which computes all steps of a run at once and exchanges nothing in "
                "between; give workers=1"
            )
        if node.model.local:
            raise GraphError(
                f"{node.process.path}: {type(node.model).__name__} deals with the program around the graph, which a worker process is "
                "not part of; give workers=1"
            )
        for name, terms in node.inputs.items():
            for t in terms:
                source = flat.node_of(t.source.process) if isinstance(t.source, OutPort) else None
                if source is not None and source is not node and not node.model.delay:
                    hold(source, node, f"{t.source.path} -> {node.process.path}.{name}")
        for port in node.process.ref_ports:
            var = resolve(port).var
            other = flat.node_of(var.process)
            if other is not None and other is not node:
                hold(other, node, f"{port.path} -> {var.path}")
        if node.model.guards:  # models that ask each other, after each step, what comes next
            if guarded is not None:
                hold(guarded, node, f"phases of {guarded.process.path} and {node.process.path}")
            guarded = guarded or node
    groups: dict[Node, list[Node]] = {}
    for n in flat.nodes:
        groups.setdefault(find(n), []).append(n)
    return list(groups.values()), why


def _asked(flat: Flat, partition: Mapping[Any, int], workers: int) -> dict[Node, tuple[int, str]]:
    """The share of each node that ``partition`` says one of, and of which key; the innermost key
    counts."""
    out: dict[Node, tuple[int, str]] = {}
    depth: dict[Node, int] = {}
    for key, rank in partition.items():
        if rank >= workers:
            raise InputError(
                f"RunConfig: partition: {shown(key)}: worker {rank}, and workers={workers} are counted from 0 to {workers - 1}"
            )
        found = [p for p in flat.processes if key is p or key in (p.name, p.path)]
        if not found:
            names = [x for p in flat.processes for x in (p.name, p.path)]
            raise InputError(
                f"RunConfig: partition: {shown(key)} is no process of {_called(flat)}"
                f"{did_you_mean(str(key), names)}; there are {', '.join(p.path for p in flat.processes)}"
            )
        for process in found:
            for inside in walk(process):
                node = flat.node_of(inside)
                if node is not None and _depth(process) >= depth.get(node, -1):
                    out[node], depth[node] = (rank, process.path), _depth(process)
    return out


def _depth(process: AbstractProcess) -> int:
    return process.path.count(".")


def _whose(
    group: Sequence[Node],
    asked: Mapping[Node, tuple[int, str]],
    why: Mapping[tuple[Node, Node], str],
) -> int | None:
    """The share that is asked for ``group``. GraphError where several are."""
    told = {n: asked[n] for n in group if n in asked}
    ranks = {rank for rank, _ in told.values()}
    if len(ranks) <= 1:
        return next(iter(ranks), None)
    inside = {*group}
    for (a, b), text in why.items():
        if a in inside and a in told and b in told and told[a][0] != told[b][0]:
            raise GraphError(
                f"RunConfig: partition: {told[a][1]} goes to worker {told[a][0]} and {told[b][1]} to worker {told[b][0]}, and between "
                f"them is {text}, which has no delay; give both one worker, or put a connection with delay=1 between them"
            )
    (a, (ra, ka)), (_, (rb, kb)) = next(
        (x, y) for x in told.items() for y in told.items() if x[1][0] != y[1][0]
    )
    chain = ", ".join(text for (s, _), text in why.items() if s in inside)
    raise GraphError(
        f"RunConfig: partition: {ka} goes to worker {ra} and {kb} to worker {rb}, and no delay parts them: {chain}; give both one worker, "
        "or put a connection with delay=1 between them"
    )


def _dealt(
    flat: Flat, groups: list[list[Node]], whose: list[int | None], workers: int
) -> list[int]:
    """The share of each group: the heaviest first to the lightest share, of those that are about as
    light to the one with which it has most to exchange."""
    weights = [sum(map(weight, group)) for group in groups]
    load, count = [0.0] * workers, [0] * workers
    out = [-1 if rank is None else rank for rank in whose]
    group_of = {n: k for k, group in enumerate(groups) for n in group}
    near: list[dict[int, int]] = [{} for _ in groups]
    for node in flat.nodes:
        for terms in node.inputs.values():
            for t in terms:
                source = flat.node_of(t.source.process) if isinstance(t.source, OutPort) else None
                if source is not None and (a := group_of[source]) != (b := group_of[node]):
                    near[a][b] = near[a].get(b, 0) + t.source.size
                    near[b][a] = near[b].get(a, 0) + t.source.size
    for k, rank in enumerate(out):
        if rank >= 0:
            load[rank] += weights[k]
            count[rank] += 1
    left = [k for k, rank in enumerate(out) if rank < 0]
    most = 1.1 * sum(weights) / workers
    # the heaviest first; of equals those in a row of the graph, so that what is next to each other
    # comes together
    for turn, k in enumerate(sorted(left, key=lambda k: (-weights[k], k))):
        empty = [r for r in range(workers) if not count[r]]
        light = min(load)
        fits = [r for r in range(workers) if load[r] + weights[k] <= most or load[r] == light]
        if len(empty) >= len(left) - turn:
            fits = empty
        near_of = {r: sum(x for j, x in near[k].items() if out[j] == r) for r in fits}
        rank = max(fits, key=lambda r: (near_of[r], -load[r], -r))
        out[k] = rank
        load[rank] += weights[k]
        count[rank] += 1
    return out


def weight(node: Node) -> int:
    """Bytes of the Vars of ``node``, of which weights are the most."""
    return sum(v.nbytes for v in node.process.vars)


def _connect(made: Cut, rank: Mapping[Node, int]) -> None:
    flat = made.flat
    for share in made.shares:
        for node in share.nodes:
            for terms in node.inputs.values():
                for t in terms:
                    port = t.source
                    source = flat.node_of(port.process) if isinstance(port, OutPort) else None
                    if source is None or rank[source] == share.rank or port in share.hears:
                        continue
                    assert isinstance(port, OutPort)
                    share.hears.append(port)
                    sends = made.shares[rank[source]].sends
                    if port not in sends:
                        sends.append(port)
    for share in made.shares:
        offset = 0
        for port in share.sends:
            size = made.batch * port.size * flat.dtype_of(port).itemsize
            made.places[port] = Place(share.rank, offset, size)
            offset += in_words(size) * WORD


# -- what a step costs -----------------------------------------------------------------------------


def work(node: Node, batch: int = 1) -> float:
    """Seconds that the model of cost says ``node`` takes a step."""
    process = node.process
    if node.model.inline:
        return PYTHON * batch
    if not isinstance(process, Connection):
        size = sum(p.size for p in process.out_ports) or sum(v.size for v in process.vars)
        return NEURON * size * batch
    inputs = sum(p.size for p in process.in_ports)
    try:
        synapses = float(np.sum(process.fan_out()))
    except InputError:  # it does not say
        synapses = float(sum(v.size for v in process.vars))
    each = DENSE if process.kind == "matrix" and _dense(process) else STORED
    learns = synapses * NEURON if getattr(process, "learning_rule", None) is not None else 0.0
    return batch * (SCANNED * inputs + ACTIVE * synapses * each + learns)


def _dense(process: Connection) -> bool:
    most = max((v.size for v in process.vars), default=0)
    return most == process.s_in.size * process.a_out.size


def _cost(made: Cut) -> None:
    every = [[work(n, made.batch) for n in s.nodes] for s in made.shares]
    made.alone = sum(map(sum, every))
    lag = made.interval
    for share, own in zip(made.shares, every, strict=True):
        heard = {made.places[p].rank for p in share.hears}
        moved = made.block(share.rank) + sum(made.places[p].size for p in share.hears)
        meeting = MEETING / lag if heard or share.sends else 0.0
        made.seconds.append(sum(own) + meeting + MOVED * moved)


def _stays(made: Cut) -> str:
    if made.alone < LEAST:
        return f"a step takes about {1e6 * made.alone:.3g} us, and below {1e6 * LEAST:.0f} us a second process does not pay"
    if made.predicted > 0.9 * made.alone:
        return f"the largest share takes about {1e6 * made.predicted:.3g} us a step, all in one process {1e6 * made.alone:.3g} us"
    return ""


def told(made: Cut, called: Callable[[Node], str]) -> Iterator[str]:
    """The cut in words, a line each."""
    if made.stays:
        yield f"all in one process: {made.stays}; partition= cuts it all the same"
    lag = made.interval
    for share, seconds in zip(made.shares, made.seconds, strict=True):
        size = sum(map(weight, share.nodes))
        yield (
            f"{share.rank}: {', '.join(map(called, share.nodes))}; {size / 2**20:.3g} MiB of Vars, about {1e6 * seconds:.3g} us a step, "
            f"sends {made.block(share.rank)} bytes and hears {sum(made.places[p].size for p in share.hears)} a step"
        )
    for share in made.shares:
        for port in share.hears:
            place = made.places[port]
            yield f"{place.rank} -> {share.rank}: {port.path}, {place.size} bytes"
    shares = len(made.shares)
    balance = sum(made.seconds) / (shares * max(made.seconds)) if max(made.seconds) else 1.0
    yield (
        f"an exchange every {'step' if lag == 1 else f'{lag} steps' if made.places else 'run'}; balance {balance:.2f}; "
        f"predicted {1e6 * made.predicted:.3g} us a step, {1e6 * made.alone:.3g} in one process "
        f"({ACTIVE:.0%} of the inputs active)"
    )
