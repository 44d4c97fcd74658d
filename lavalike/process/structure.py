"""What is connected with what, as one counter: a run compares a number instead of walking the
graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lavalike.errors import RunError
from lavalike.process import claims

if TYPE_CHECKING:
    from lavalike.model.config import RunConfig
    from lavalike.process.claims import Claim
    from lavalike.process.process import AbstractProcess
    from lavalike.runtime.runtime import Runtime


class Structure:
    """What the processes of one connected component have in common.

    Each process is made with one of its own; a connection, a probe or an adoption joins two
    (union-find: nothing is ever disconnected), and :meth:`root` is the one that counts.

    version: grows with every edit; of two joined it is larger than both were, so that no program
    takes what was joined for its own. probed: grows with every probe that is put on a member or
    taken off. step, marked: steps done, and how many there were at the last mark. counts: the
    counts of steps that were unequal when components were joined. members: the processes. runtimes:
    the programs bound to some of them. config: the last run's. starting: the call of run that is
    just making a program.
    """

    __slots__ = (
        "config",
        "counts",
        "into",
        "marked",
        "members",
        "places",
        "probed",
        "runtimes",
        "starting",
        "step",
        "version",
    )

    def __init__(self) -> None:
        self.into: Structure | None = None
        self.version, self.probed, self.step, self.marked = 0, 0, 0, 0
        self.counts: tuple[int, ...] = ()
        self.members: list[AbstractProcess] = []
        self.runtimes: list[Runtime] = []
        self.config: RunConfig | None = None
        self.starting: Claim | None = None
        self.places: tuple[int, list[Shared], dict[int, int]] | None = None

    def root(self) -> Structure:
        s = self
        while s.into is not None:
            if s.into.into is not None:
                s.into = s.into.into
            s = s.into
        return s

    def parts(self) -> tuple[list[Shared], dict[int, int]]:
        """All processes with their ports and Vars, and the place of each in that list, by id."""
        if self.places is None or self.places[0] != self.version:
            parts: list[Shared] = [
                x
                for p in self.members
                for x in (p, *p.in_ports, *p.out_ports, *p.ref_ports, *p.var_ports, *p.vars)
            ]
            self.places = (self.version, parts, {id(x): k for k, x in enumerate(parts)})
        return self.places[1:]

    # -- copies: part after part, since a chain of a thousand ports is too deep for what follows
    # references

    def __reduce__(self) -> Any:
        root = self.root()
        if root is not self:
            return _itself, (root,)
        if any(r.running for r in self.runtimes) or self.starting is not None:
            raise RunError(f"cannot copy {self.members[0].path} while it is running; pause() first")
        parts = self.parts()[0]
        for p in self.members:
            p._structure = self
        state = (
            self.step,
            self.marked,
            self.counts,
            self.config,
            [p.__getstate__() for p in parts],
        )
        return _shells, (tuple(type(p) for p in parts),), state

    def __setstate__(self, state: Any) -> None:
        self.step, self.marked, self.counts, self.config, states = state
        assert self.places is not None
        for part, held in zip(self.places[1], states, strict=True):
            if hasattr(part, "__setstate__"):
                part.__setstate__(held)
            else:
                attributes, slots = held if isinstance(held, tuple) else (held, None)
                part.__dict__.update(attributes or {})
                for name, value in (slots or {}).items():
                    object.__setattr__(part, name, value)


class Shared:
    """Base of processes, ports and Vars. A copy of one is its twin in a copy of all that it is
    connected to."""

    def _shared(self) -> Structure | None:
        """The structure this is part of."""
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        structure = self._shared()
        if structure is not None:
            root = structure.root()
            place = root.parts()[1].get(id(self))
            if place is not None:
                return _part, (root, place)
        return super().__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return copy.deepcopy(self)


def _itself(structure: Structure) -> Structure:
    return structure


def _shells(classes: Sequence[type]) -> Structure:
    """A structure whose parts are still empty."""
    from lavalike.process.process import AbstractProcess

    structure = Structure()
    parts: list[Shared] = [object.__new__(cls) for cls in classes]
    structure.members = [p for p in parts if isinstance(p, AbstractProcess)]
    structure.places = (0, parts, {id(x): k for k, x in enumerate(parts)})
    return structure


def _part(structure: Structure, place: int) -> Shared:
    return structure.parts()[0][place]


def join(a: Structure | None, b: Structure | None) -> None:
    """``a`` and ``b`` are of one component from now on, and something about it changed."""
    x, y = a and a.root(), b and b.root()
    if x is None or y is None or x is y:
        one = x or y
        if one is not None:
            one.version += 1
        return
    with claims.lock:
        x, y = x.root(), y.root()
        if len(x.members) < len(y.members):
            x, y = y, x
        x.version += y.version + 1
        x.probed += y.probed + 1
        if x.step and y.step and x.step != y.step:
            x.counts = (*(x.counts or (x.step,)), *(y.counts or (y.step,)))
        else:
            x.counts += y.counts
        if y.step > x.step:
            x.step, x.marked = y.step, y.marked
        x.members += y.members
        x.runtimes += y.runtimes
        x.config, x.starting = x.config or y.config, x.starting or y.starting
        y.members, y.runtimes, y.starting, y.into = [], [], None, x
