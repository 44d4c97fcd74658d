"""Who hears whom, loops, and the order of a step: once, for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from lavalike.errors import GraphError
from lavalike.process.ports import OutPort

if TYPE_CHECKING:
    from lavalike.compiler.flat import Node

T = TypeVar("T")
Hears = Mapping[T, Sequence[T]]  # of each item, those it hears


def senders(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """The nodes among ``nodes`` that each of them hears, each once."""
    by_process = {id(n.process): n for n in nodes}
    return {
        n: list(
            dict.fromkeys(
                by_process[id(t.source.process)]
                for terms in n.inputs.values()
                for t in terms
                if isinstance(t.source, OutPort) and id(t.source.process) in by_process
            )
        )
        for n in nodes
    }


def upstream_first(items: Sequence[T], hears: Hears[T]) -> list[T]:
    """``items`` with those that each hears before it; stops short of those that are in loops or
    behind one."""
    place = {x: k for k, x in enumerate(items)}
    waits = {x: sum(s in place for s in hears[x]) for x in items}
    after: dict[T, list[T]] = {x: [] for x in items}
    for x in items:
        for s in hears[x]:
            if s in after:
                after[s].append(x)
    wave, done = [x for x in items if not waits[x]], []
    while wave:
        done += wave
        ready: list[T] = []
        for x in wave:
            for y in after[x]:
                waits[y] -= 1
                if not waits[y]:
                    ready.append(y)
        wave = sorted(ready, key=place.__getitem__)
    return done


def has_feedback(nodes: Sequence[Node]) -> bool:
    """Whether any of ``nodes`` hears itself, through others of them or not."""
    return len(upstream_first(nodes, senders(nodes))) < len(nodes)


def components(items: Sequence[T], hears: Hears[T]) -> list[list[T]]:
    """Loops together, all else alone, senders first (Tarjan 1972, without recursion)."""
    index: dict[T, int] = {}
    low: dict[T, int] = {}
    stack: list[T] = []
    on: set[T] = set()
    out: list[list[T]] = []

    def enter(item: T) -> tuple[T, Iterator[T]]:
        index[item] = low[item] = len(index)
        stack.append(item)
        on.add(item)
        return item, iter(hears[item])

    for root in items:
        if root in index:
            continue
        path = [enter(root)]
        while path:
            item, rest = path[-1]
            ahead = next(rest, None)
            if ahead is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[item])
                if low[item] == index[item]:
                    loop = [stack.pop()]
                    while loop[-1] is not item:
                        loop.append(stack.pop())
                    on.difference_update(loop)
                    out.append(loop[::-1])
            elif ahead not in index:
                path.append(enter(ahead))
            elif ahead in on:
                low[item] = min(low[item], index[ahead])
    return out


def step_order(nodes: Sequence[Node]) -> list[Node]:
    """Nodes without delay in topological order, then the delayed ones. GraphError for a loop
    without delay, by name; one through a model that may send before it hears is legal, and only a
    step can tell that it does not."""
    direct = [n for n in nodes if not n.model.delay]
    hears = senders(direct)
    done = upstream_first(direct, hears)
    if len(done) < len(direct) and any(n.model.inline for n in direct):
        hears = opened(direct, hears)
        done = upstream_first(direct, hears)
    if len(done) < len(direct):
        raise GraphError(
            f"a cycle without delay: {cycle(direct, hears)}; put a connection with delay=1 (Dense, Sparse, Conv, Delay) into it"
        )
    return [*done, *(n for n in nodes if n.model.delay)]


def opened(nodes: Sequence[Node], hears: Hears[Node]) -> dict[Node, list[Node]]:
    """``hears`` without what inline models in loops hear there: as if they sent first."""
    out = {n: list(hears[n]) for n in nodes}
    for loop in components(nodes, hears):
        inside = set(loop)
        for n in loop:
            if n.model.inline:
                out[n] = [s for s in out[n] if s not in inside]
    return out


def cycle(nodes: Sequence[Node], hears: Hears[Node]) -> str:
    """The connections of one loop among ``nodes``, in the order in which messages take them."""
    loop = next(c for c in components(nodes, hears) if len(c) > 1 or c[0] in hears[c[0]])
    inside, node = set(loop), loop[0]
    seen: list[Node] = []
    while node not in seen:
        seen.append(node)
        node = next(s for s in hears[node] if s in inside)
    ring = seen[seen.index(node) :]  # each hears the next, the last hears the first
    hops = [_connection(s, n) for n, s in zip(ring, [*ring[1:], ring[0]], strict=True)]
    return ", ".join(reversed(hops))


def _connection(sender: Node, node: Node) -> str:
    for name, terms in node.inputs.items():
        for t in terms:
            if t.source.process is sender.process:
                return f"{t.source.path} -> {node.process.path}.{name}"
    raise LookupError(name)


def names(nodes: Iterable[Node]) -> dict[Node, str]:
    """Paths; a second process of the same path goes by ``path#2``."""
    own = [*nodes]
    return dict(zip(own, unique(n.process.path for n in own), strict=True))


def unique(texts: Iterable[str]) -> list[str]:
    """``texts``, of which the second that is the same goes by ``text#2``."""
    count: dict[str, int] = {}
    out = []
    for text in texts:
        count[text] = count.get(text, 0) + 1
        out.append(text if count[text] == 1 else f"{text}#{count[text]}")
    return out
