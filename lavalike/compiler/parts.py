"""Flat graph -> plan: parts that one backend computes each, and what passes between them.

A graph is cut by backend and its options, never by precision or dtype: those belong to a node.
Parts that hear only those before them run one after another, each for a whole stretch. Parts in a
loop with each other take turns, in stretches of the shortest lag of what goes back: one step for
most, more where synapses have delays of their own.

Where some models are inline (Python that says itself when it hears and sends), all that does not
run all steps at once is one part, whose program takes turns with parts of the other backends in
every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lavalike.compiler import order
from lavalike.compiler.flat import Flat, Node, Target, Term
from lavalike.errors import GraphError
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.process import AbstractProcess


@dataclass(eq=False)
class Part:
    """Nodes that one backend computes, in the order of a step: what it builds a Program for.

    ``hears`` are the ports whose messages it is given, stimuli and OutPorts of other parts;
    ``sends`` its OutPorts that other parts hear. Nodes that act beside one of them are among them.
    ``turns``, where not all of its nodes are its backend's: what a step does in this order, its
    inline nodes, and parts of the others.
    """

    flat: Flat
    target: Target
    nodes: list[Node]
    hears: list[Port] = field(default_factory=list)
    sends: list[OutPort] = field(default_factory=list)
    turns: list[Node | Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = {*self.nodes}
        more = [n for n in self.flat.nodes if n.beside in own and n not in own]
        self.nodes = [*self.nodes, *more]  # the list that was given is its giver's
        self._nodes = {n.process: n for n in self.nodes}

    @property
    def step(self) -> int:
        return self.flat.step

    @property
    def told(self) -> set[Node]:
        return self.flat.told

    @property
    def processes(self) -> list[AbstractProcess]:
        return self.flat.processes

    def node_of(self, process: AbstractProcess | None) -> Node | None:
        return self._nodes.get(process) if process is not None else None

    def terms(self, port: Port) -> list[Term]:
        """See :meth:`lavalike.compiler.flat.Flat.terms`."""
        return self.flat.terms(port)

    def dtype_of(self, port: Port) -> np.dtype:
        """See :meth:`lavalike.compiler.flat.Flat.dtype_of`."""
        return self.flat.dtype_of(port)

    def __repr__(self) -> str:
        return f"<{self.target.backend}: {', '.join(n.process.path for n in self.nodes)}>"


@dataclass(frozen=True, eq=False)
class Edge:
    """``port`` of part ``source``, of ``node`` there, is heard by part ``target``."""

    source: Part
    target: Part
    port: OutPort
    node: Node

    @property
    def lag(self) -> int:
        """So many steps before it is sent, a message is settled; another after a set of delays."""
        return self.node.model.lag


@dataclass(eq=False)
class Plan:
    """``groups`` of parts, each hearing itself and those before; the parts of one group are in a
    loop with each other."""

    flat: Flat
    groups: list[list[Part]]
    edges: list[Edge]

    @property
    def parts(self) -> list[Part]:
        return [p for group in self.groups for p in group]

    def back(self, group: Sequence[Part]) -> list[Edge]:
        """The edges of a loop that go against its order: what the first parts hear of those
        after."""
        place = {p: k for k, p in enumerate(group)}
        return [
            e
            for e in self.edges
            if e.source in place and e.target in place and place[e.source] >= place[e.target]
        ]

    def stretch(self, group: Sequence[Part]) -> float:
        """The most steps that the parts of ``group`` may do one after another."""
        return min((e.lag for e in self.back(group)), default=math.inf)


def cut(flat: Flat) -> Plan:
    """The fewest parts found. GraphError for a loop through a part that runs all steps at once."""
    targets: list[Target] = []
    for node in flat.nodes:
        if node.target not in targets:
            targets.append(node.target)
    if len(targets) <= 1:
        only = Part(
            flat, targets[0] if targets else flat.target, list(flat.nodes), list(flat.stimuli)
        )
        return Plan(flat, [[only]], [])
    nodes = [n for n in flat.nodes if n.beside is None]  # the others go where those are
    if any(n.model.inline for n in nodes):
        groups = _with_inline(flat, nodes, targets)
    else:
        groups = _groups(flat, nodes, targets)
    plan = Plan(flat, groups, [])
    _connect(plan)
    return plan


def _groups(flat: Flat, nodes: list[Node], targets: list[Target]) -> list[list[Part]]:
    """``nodes`` in groups of parts."""
    hears = order.senders(nodes)
    loops = order.components(nodes, hears)
    mixed = [g for g in loops if any(n.target != g[0].target for n in g)]
    for group in mixed:
        _check_stepped(group)
    between = _between(loops, hears)
    kinds: dict[int, Target | None] = {
        k: None if g in mixed else g[0].target for k, g in enumerate(loops)
    }
    place = {n: k for k, n in enumerate(flat.nodes)}
    groups: list[list[Part]] = []
    for kind, members in _runs(list(kinds), between, kinds, targets):
        if kind is None:
            groups += [
                _taking_turns(flat, sorted(loops[k], key=place.__getitem__), targets)
                for k in sorted(members)  # loops are numbered senders first
            ]
        else:
            own = sorted((n for k in members for n in loops[k]), key=place.__getitem__)
            groups.append([Part(flat, kind, own)])
    return groups


def _with_inline(flat: Flat, nodes: list[Node], targets: list[Target]) -> list[list[Part]]:
    """``nodes``, of which some are inline, in groups: a part for all between two that run all steps
    at once."""
    if not any(t.whole for t in targets):
        return [[_stepped(flat, [*nodes], targets)]]
    hears = order.senders(nodes)
    loops = order.components(nodes, hears)
    for group in loops:
        if any(n.target != group[0].target for n in group):
            _check_stepped(group)
    kinds = {k: g[0].target if g[0].target.whole else None for k, g in enumerate(loops)}
    place = {n: k for k, n in enumerate(flat.nodes)}
    groups: list[list[Part]] = []
    for kind, members in _runs(list(kinds), _between(loops, hears), kinds, targets):
        own = sorted((n for k in members for n in loops[k]), key=place.__getitem__)
        if kind is not None:
            groups.append([Part(flat, kind, own)])
        elif any(n.model.inline for n in own):
            groups.append([_stepped(flat, own, targets)])
        else:
            groups += _groups(flat, own, targets)
    return groups


def _stepped(flat: Flat, nodes: list[Node], targets: list[Target]) -> Part:
    """One part for ``nodes``, with its turns. What is in a loop of one step, of which an inline
    model has to send first, has a turn each: only the step tells in which order it can be done."""
    target = next(n.target for n in nodes if n.model.inline)
    part = Part(flat, target, nodes)
    hears = {
        n: [s for s in before if not s.model.lag] for n, before in order.senders(nodes).items()
    }
    loops = order.components(nodes, hears)
    first = order.opened(nodes, hears)
    kinds: dict[int, Target | None] = {
        k: g[0].target if len(g) == 1 else None for k, g in enumerate(loops)
    }
    place = {n: k for k, n in enumerate(nodes)}
    for kind, members in _runs(list(kinds), _between(loops, hears), kinds, targets):
        if kind is not None and kind != target:
            own = sorted((n for k in members for n in loops[k]), key=place.__getitem__)
            part.turns.append(Part(flat, kind, own))
            continue
        for k in sorted(members):  # loops are numbered senders first
            for n in order.upstream_first(loops[k], first):
                part.turns.append(n if n.model.inline else Part(flat, n.target, [n]))
    inner = [p for p in part.turns if isinstance(p, Part)]
    _hear([(p, p.nodes) for p in inner] + [(None, [n]) for n in nodes if n.model.inline], inner)
    return part


def _runs(
    items: list[int],
    hears: dict[int, list[int]],
    kinds: dict[int, Target | None],
    targets: list[Target],
) -> list[tuple[Target | None, list[int]]]:
    """``items`` in runs of one kind (None: by themselves), each hearing itself and runs before; the
    fewest found.

    From the last one backwards: what only one part hears runs with that part, as a synapse with its
    neuron.
    """
    best: list[tuple[Target | None, list[int]]] = []
    for turn in range(len(targets)):
        found = _from_behind(items, hears, kinds, [*targets[turn:], *targets[:turn]])
        if not best or len(found) < len(best):
            best = found
    return best


def _from_behind(
    items: list[int],
    hears: dict[int, list[int]],
    kinds: dict[int, Target | None],
    turns: list[Target],
) -> list[tuple[Target | None, list[int]]]:
    heard = dict.fromkeys(items, 0)
    for k in items:
        for s in hears[k]:
            heard[s] += 1
    ready = [k for k in items if not heard[k]]
    out: list[tuple[Target | None, list[int]]] = []

    def take(kind: Target | None) -> list[int]:
        taken: list[int] = []
        while now := [k for k in ready if kinds[k] == kind]:
            for k in now:
                ready.remove(k)
                taken.append(k)
                for s in hears[k]:
                    heard[s] -= 1
                    if not heard[s]:
                        ready.append(s)
        return taken

    while ready:
        for kind in (*turns, None):
            if taken := take(kind):
                out.append((kind, taken))
    return out[::-1]


def _taking_turns(flat: Flat, nodes: list[Node], targets: list[Target]) -> list[Part]:
    """Parts of one loop, of which the fewest run in a step: more of them where that lets them run
    through more steps in a turn."""
    hears = order.senders(nodes)
    best: tuple[float, list[Part]] | None = None
    for longest in sorted({s.model.lag for before in hears.values() for s in before} - {0}):
        parts = _in_turns_of(longest, flat, nodes, hears, targets)
        if parts and (best is None or len(parts) / longest < best[0]):
            best = len(parts) / longest, parts
    assert best is not None  # a loop without delay was refused, and one step is always possible
    return best[1]


def _in_turns_of(
    longest: int,
    flat: Flat,
    nodes: list[Node],
    hears: dict[Node, list[Node]],
    targets: list[Target],
) -> list[Part]:
    """Parts such that messages of a shorter lag go from one to those after it; none where such go
    round."""
    near = {n: [s for s in hears[n] if s.model.lag < longest] for n in nodes}
    loops = order.components(nodes, near)
    if any(n.target != loop[0].target for loop in loops for n in loop):
        return []
    kinds: dict[int, Target | None] = {k: loop[0].target for k, loop in enumerate(loops)}
    place = {n: k for k, n in enumerate(nodes)}
    return [
        Part(flat, kind, sorted((n for k in members for n in loops[k]), key=place.__getitem__))
        for kind, members in _runs([*kinds], _between(loops, near), kinds, targets)
        if kind is not None
    ]


def _between(
    groups: list[list[Node]], hears: Mapping[Node, Sequence[Node]]
) -> dict[int, list[int]]:
    """The other groups that each of them hears, by number."""
    at = {n: k for k, g in enumerate(groups) for n in g}
    return {
        k: list(dict.fromkeys(at[s] for n in g for s in hears[n] if at[s] != k))
        for k, g in enumerate(groups)
    }


def _check_stepped(group: list[Node]) -> None:
    whole = [n for n in group if n.target.whole]
    if not whole:
        return
    name, other = whole[0].target.backend, [n for n in group if n.target != whole[0].target]
    raise GraphError(
        f"{', '.join(n.process.path for n in group if n not in other)}: on the chip, in a loop with "
        f"{', '.join(n.process.path for n in other)} on the host; a chip cannot be stepped. Put all of the loop on {name}, or none of it"
    )


def _connect(plan: Plan) -> None:
    """Fill in what parts hear and send, and the edges between them."""
    for source, part, port in _hear([(p, p.nodes) for p in plan.parts], plan.parts):
        node = source.node_of(port.process)
        assert node is not None
        plan.edges.append(Edge(source, part, port, node))


def _hear(
    hearers: Sequence[tuple[Part | None, Sequence[Node]]], parts: Sequence[Part]
) -> list[tuple[Part, Part, OutPort]]:
    """Fill in what each of ``hearers``, which has those nodes, hears, and what ``parts`` send;
    sender, hearer and port of what passes between two parts."""
    owner = {n.process: p for p in parts for n in p.nodes}
    passing: list[tuple[Part, Part, OutPort]] = []
    for part, nodes in hearers:
        sources = dict.fromkeys(
            t.source for n in nodes for terms in n.inputs.values() for t in terms
        )
        for port in sources:
            source = (
                None
                if isinstance(port, InPort) or port.process is None
                else owner.get(port.process)
            )
            if source is not None and source is part:
                continue
            if part is not None:
                part.hears.append(port)
            if source is None:
                continue
            assert isinstance(port, OutPort)
            if part is not None:
                passing.append((source, part, port))
            if port not in source.sends:
                source.sends.append(port)
    return passing
