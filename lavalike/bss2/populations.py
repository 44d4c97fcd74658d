"""Spiking populations on chips: neurons of joined circuits, split over execution instances where
one chip is too small.

A neuron of c joined circuits takes 128 c signed inputs; a chip holds floor(512 / c) of them. Joined
circuits are neighbours in a hemisphere; where both hemispheres end with too few for another neuron,
one is made across them, in common columns. A population that needs several instances shares them
with none; its spikes are recorded and replayed into the next. A recurrent one has to fit one chip.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from lavalike.arguments import (
    FLAG,
    TEXT,
    arguments,
    integer,
    optional,
    sequence,
    whole,
)
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RoutingError
from lavalike.errors import InputError

_BUS_SIGNED = facts.BUS_ROWS // 2
_SOURCES = (
    facts.SOURCE_LABELS * facts.SIGNED_ROWS
)  # a synapse driver (a signed row) tells 64 labels apart


@arguments(fan_in=integer(0))
def circuits(fan_in: int) -> int:
    """Joined circuits that a neuron of ``fan_in`` signed inputs needs."""
    return max(1, math.ceil(fan_in / facts.SIGNED_ROWS))


@arguments(c=integer())
def neurons_per_chip(c: int) -> int:
    """Neurons of ``c`` joined circuits on a chip."""
    if not 1 <= c <= facts.CIRCUITS:
        raise RoutingError(
            f"neurons_per_chip: c: a neuron has 1 to {facts.CIRCUITS} circuits, got {c}; use fewer inputs a neuron"
        )
    return facts.CIRCUITS // c


@arguments(
    name=TEXT,
    recurrent=FLAG,
    instance=optional(TEXT),
    sources=optional(sequence(TEXT)),
    places=optional(sequence(integer(0, facts.CIRCUITS - 1))),
)
@dataclass(frozen=True)
class Population:
    """What is to be placed.

    Args:
        name, size: of the population.
        fan_in: signed inputs of one neuron, recurrent ones among them.
        recurrent: neurons hear each other. Default False.
        circuits: joined for a neuron. Default: as many as its inputs, and the buses they arrive on,
            need.
        instance: name of the execution instance it shall lie on, with others that name it. Default:
            the placement chooses.
        sources: populations it hears from; None: the one before it in the list. () for inputs from
            outside only.
        inputs: different sources, for the labels. Default fan_in.
        chip: number of the chip it shall lie on. Default: the placement chooses.
        places: for each neuron its first circuit, 0..511; the others follow it in its hemisphere.
            Default: the placement chooses.
    """

    name: str
    size: int
    fan_in: int
    recurrent: bool = False
    circuits: int | None = None
    instance: str | None = None
    sources: tuple[str, ...] | None = None
    inputs: int | None = None
    chip: int | None = None
    places: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        whole(self.size, 1, f"population {self.name!r}: size")
        whole(self.fan_in, 0, f"population {self.name!r}: fan_in")
        for name in ("circuits", "inputs", "chip"):
            value = getattr(self, name)
            if value is not None:
                whole(value, 0, f"population {self.name!r}: {name}")
        if self.places is not None and len(self.places) != self.size:
            raise InputError(
                f"population {self.name!r}: places has one for each of its {self.size} neurons, got {len(self.places)}"
            )


@dataclass(frozen=True)
class Instance:
    """An execution instance: what is on one chip at a time."""

    name: str
    run: int
    chip: int


@dataclass(frozen=True, eq=False)
class PlacedPopulation:
    """``instance``, ``run``, ``chip``: (size,) of each neuron; ``circuits``: (size, c), which of
    0..511 it is made of.

    Circuit k lies in hemisphere k // 256, column k % 256; the first one sends the neuron's spikes.
    """

    name: str
    size: int
    fan_in: int
    instance: np.ndarray
    run: np.ndarray
    chip: np.ndarray
    circuits: np.ndarray


class _Free:
    """Free columns of a chip: an interval in each hemisphere, without the circuits in ``pinned``,
    which were asked for by number."""

    def __init__(self) -> None:
        self.free = [[0, facts.COLUMNS] for _ in range(facts.HEMISPHERES)]
        self.pinned: set[int] = set()
        self.taken: set[int] = set()

    @property
    def used(self) -> int:
        return len(self.taken)

    def copy(self) -> _Free:
        other = _Free()
        other.free = [list(f) for f in self.free]
        other.pinned, other.taken = set(self.pinned), set(self.taken)
        return other

    def give(self, p: Population, c: int) -> np.ndarray | None:
        """Circuits (size, c) of a population, where it asks for them or where there is room; None
        where there is none."""
        return self.take(p.size, c) if p.places is None else self.pin(p.places, c)

    def pin(self, places: Sequence[int], c: int) -> np.ndarray | None:
        """Circuits (size, c) that begin at ``places``."""
        out = np.asarray(places, np.int64).reshape(-1, 1) + np.arange(c)
        asked = set(out.ravel().tolist())
        if asked & self.taken:
            return None
        self.pinned |= asked
        self.taken |= asked
        return out

    def take(self, size: int, c: int) -> np.ndarray | None:
        """Circuits (size, c) of as many neurons, or None (and nothing taken) where they do not
        fit."""
        free = [list(f) for f in self.free]
        out: list[Sequence[int]] = []
        for h, interval in enumerate(free):
            while len(out) < size and interval[1] - interval[0] >= c:
                block = range(h * facts.COLUMNS + interval[0], h * facts.COLUMNS + interval[0] + c)
                in_the_way = self.pinned.intersection(block) if self.pinned else None
                if in_the_way:
                    interval[0] = max(in_the_way) - h * facts.COLUMNS + 1
                    continue
                out.append(block)
                interval[0] += c
        left, right = (b - a for a, b in free)
        # across the hemispheres: both intervals end at the last column unless such a neuron is
        # there, so that they have columns in common
        if (
            len(out) < size
            and min(left, right) > 0
            and left + right >= c
            and free[0][1] == free[1][1]
            and not self.pinned
        ):
            upper = min(left, max(c - right, c // 2))
            ends = [(h * facts.COLUMNS + b) for h, (_, b) in enumerate(free)]
            out.append([*range(ends[0] - upper, ends[0]), *range(ends[1] - (c - upper), ends[1])])
            free[0][1] -= upper
            free[1][1] -= c - upper
        if len(out) < size:
            return None
        self.free = free
        made = np.array([list(r) for r in out], np.int64).reshape(size, c)
        self.taken |= set(made.ravel().tolist())
        return made


def lay_out(
    populations: Sequence[Population], chips: int = 1
) -> tuple[tuple[PlacedPopulation, ...], tuple[Instance, ...]]:
    """What :func:`lavalike.bss2.placement.place_populations` places."""
    names = [p.name for p in populations]
    if len(set(names)) < len(names) or not names:
        raise InputError(
            f"place_populations: populations with different names are expected, got {names}"
        )
    chain = [
        replace(p, sources=tuple(names[max(i - 1, 0) : i]) if p.sources is None else p.sources)
        for i, p in enumerate(populations)
    ]
    chain = [replace(p, recurrent=p.recurrent or p.name in _heard(p)) for p in chain]
    for p in chain:
        unknown = sorted(set(_heard(p)) - set(names))
        if unknown:
            raise InputError(
                f"population {p.name!r}: sources {', '.join(unknown)} are not among {', '.join(names)}"
            )
    for p in chain:
        if p.chip is not None and p.chip >= chips:
            raise RoutingError(
                f"population {p.name!r}: it shall lie on chip {p.chip}, the setup has {chips} (0..{chips - 1}); choose one "
                "of them, or Chip(chips=...) for a larger setup"
            )
    width = {p.name: _circuits(p) for p in chain}
    while True:
        lying = _allocate(chain, width)
        short = {p.name: c for p in chain if (c := _bus_circuits(p, lying)) > width[p.name]}
        if not short:
            return _schedule(chain, lying, chips)
        for p in chain:
            if p.name in short and p.circuits is not None:
                limit = _BUS_SIGNED * p.circuits
                raise RoutingError(
                    f"population {p.name!r}: neurons of {p.circuits} circuits take {limit} signed inputs from one PADI bus "
                    f"({facts.BUS_ROWS} rows a circuit), their sources on the chip need more; join {short[p.name]} circuits"
                )
        width |= short


def _heard(p: Population) -> tuple[str, ...]:
    """Whom it hears from: lay_out has put in the one before where nothing was said."""
    return p.sources or ()


def _circuits(p: Population) -> int:
    """Checked, as asked for or as needed."""
    inputs = p.fan_in if p.inputs is None else p.inputs
    if inputs > _SOURCES:
        raise RoutingError(
            f"population {p.name!r}: at most {_SOURCES} sources ({facts.SOURCE_LABELS} labels on each of "
            f"{facts.SIGNED_ROWS} synapse drivers) can be told apart, got {inputs}; split it over several populations"
        )
    c = circuits(p.fan_in) if p.circuits is None else p.circuits
    if not 1 <= c <= facts.CIRCUITS:
        raise RoutingError(
            f"population {p.name!r}: a neuron has 1 to {facts.CIRCUITS} circuits ({facts.SIGNED_ROWS} signed inputs each), "
            f"got {c} for {p.fan_in} inputs; use fewer inputs a neuron"
        )
    if p.fan_in > facts.SIGNED_ROWS * c:
        raise RoutingError(
            f"population {p.name!r}: neurons of {c} circuits take {facts.SIGNED_ROWS * c} signed inputs, got {p.fan_in}; "
            f"join {circuits(p.fan_in)} circuits, or use fewer inputs"
        )
    return c


def _groups(chain: list[Population]) -> list[list[Population]]:
    """Populations that hear each other, directly or not, together; in the given order."""
    index = {p.name: i for i, p in enumerate(chain)}
    hears = np.eye(len(chain), dtype=bool)
    for p in chain:
        hears[index[p.name], [index[s] for s in _heard(p)]] = True
    for _ in range(max(1, len(chain).bit_length())):
        hears = hears @ hears
    mutual = hears & hears.T
    return [
        [chain[j] for j in np.flatnonzero(row)]
        for i, row in enumerate(mutual)
        if np.flatnonzero(row)[0] == i
    ]


def _allocate(
    chain: list[Population], width: dict[str, int]
) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Of each population the parts: name of the instance, circuits (part of size, c)."""
    chips: dict[str, _Free] = {}
    lying: dict[str, list[tuple[str, np.ndarray]]] = {}
    told = {p.instance for p in chain if p.instance is not None}  # names that are taken
    on_chip: dict[str, int | None] = {}
    open_: str | None = None
    for p in chain:
        _check_places(p, width[p.name])
    for group in _groups(chain):
        named = {p.instance for p in group}
        together = len(group) > 1 or group[0].recurrent
        if len(named) > 1:
            raise RoutingError(
                f"populations {_names(group)} hear each other and have to lie on one chip, got instances "
                f"{', '.join(map(str, sorted(named, key=str)))}; give them one instance"
            )
        need = sum(p.size * width[p.name] for p in group)
        name = group[0].instance
        if name is None:
            fits_alone = _Free()
            alone = all(fits_alone.give(p, width[p.name]) is not None for p in group)
            if not alone:
                if together:
                    raise RoutingError(
                        f"populations {_names(group)}: a recurrent network has to fit one chip of {facts.CIRCUITS} "
                        f"circuits, got {_sizes(group, width)} = {need}; use fewer neurons or fewer inputs a neuron"
                    )
                lying[group[0].name] = _split(group[0], width[group[0].name], chips, told)
                open_ = None
                continue
            fits = open_ is not None and on_chip[open_] == group[0].chip
            trial = chips[open_].copy() if open_ is not None and fits else None
            if (
                open_ is None
                or trial is None
                or any(trial.give(p, width[p.name]) is None for p in group)
            ):
                open_ = _new(chips, told)
            name = open_
        for p in group:
            if on_chip.setdefault(name, p.chip) != p.chip:
                raise RoutingError(
                    f"population {p.name!r}: what lies in one instance lies on one chip, got chip {p.chip} and "
                    f"{on_chip[name]} for instance {name!r}; give them one chip, or other instances"
                )
            on = chips.setdefault(name, _Free())
            taken = on.give(p, width[p.name])
            if taken is None and p.places is not None:
                raise RoutingError(
                    f"population {p.name!r}: its places are taken by others of instance {name!r}; give it others, or an "
                    "instance of its own"
                )
            if taken is None:
                raise RoutingError(
                    f"population {p.name!r}: instance {name!r} has {facts.CIRCUITS} circuits, {on.used} of them taken, "
                    f"got {_sizes([p], width)} = {p.size * width[p.name]} more; leave instance out, then it is split"
                )
            lying[p.name] = [(name, taken)]
    return lying


def _check_places(p: Population, c: int) -> None:
    """Whether neurons of ``c`` circuits can lie where they are asked to."""
    if p.places is None:
        return
    beyond = [k for k in p.places if k % facts.COLUMNS + c > facts.COLUMNS]
    order = sorted(p.places)
    close = [b for a, b in itertools.pairwise(order) if b - a < c]
    if beyond or close:
        raise RoutingError(
            f"population {p.name!r}: neurons of {c} circuits, one after the other in a hemisphere, "
            + (
                f"do not fit at circuit {beyond[0]}, which is column {beyond[0] % facts.COLUMNS} of {facts.COLUMNS}"
                if beyond
                else f"overlap at circuit {close[0]}"
            )
            + "; give them other places, or leave them out"
        )


def _split(
    p: Population, c: int, chips: dict[str, _Free], told: Set[str | None]
) -> list[tuple[str, np.ndarray]]:
    """Over as few instances as the formula says, in parts of nearly the same size."""
    parts = math.ceil(p.size / neurons_per_chip(c))
    out = []
    for i in range(parts):
        name = _new(chips, told)
        taken = chips[name].take((p.size * (i + 1)) // parts - (p.size * i) // parts, c)
        assert taken is not None  # a whole chip is free
        out.append((name, taken))
    return out


def _new(chips: dict[str, _Free], told: Set[str | None]) -> str:
    """A fresh instance, named by number."""
    number = len(chips)
    while str(number) in chips or str(number) in told:
        number += 1
    chips[str(number)] = _Free()
    return str(number)


def _bus_circuits(p: Population, lying: dict[str, list[tuple[str, np.ndarray]]]) -> int:
    """Circuits ``p`` needs so that each PADI bus carries what arrives from the same chip; other
    sources choose their bus."""
    most = 0
    for name, _ in lying[p.name]:
        sending = [
            part[:, 0]
            for s in {*_heard(p), *([p.name] if p.recurrent else [])}
            for on, part in lying[s]
            if on == name
        ]
        if sending:
            column = np.concatenate(sending) % facts.COLUMNS
            most = max(
                most, int(np.bincount(column // facts.OUTPUT_COLUMNS % facts.PADI_BUSES).max())
            )
    return math.ceil(min(most, p.fan_in) / _BUS_SIGNED)


def _schedule(
    chain: list[Population],
    lying: dict[str, list[tuple[str, np.ndarray]]],
    chips: int,
) -> tuple[tuple[PlacedPopulation, ...], tuple[Instance, ...]]:
    """Instances in the order their spikes are needed; those that wait for none of each other are
    dealt to the chips."""
    order = list(dict.fromkeys(name for p in chain for name, _ in lying[p.name]))
    on_chip = {name: p.chip for p in chain for name, _ in lying[p.name]}
    before: dict[str, set[str]] = {name: set() for name in order}
    for p in chain:
        for name, _ in lying[p.name]:
            before[name] |= {on for s in _heard(p) for on, _ in lying[s]} - {name}
    done: dict[str, Instance] = {}
    run = 0
    while len(done) < len(order):
        ready = [n for n in order if n not in done and before[n] <= done.keys()]
        if not ready:
            stuck = ", ".join(n for n in order if n not in done)
            raise RoutingError(
                f"instances {stuck} hear each other; a recurrent network has to lie on one chip: give it one instance"
            )
        rounds: list[set[int]] = []  # free chips
        for n in ready:
            wanted = set(range(chips)) if on_chip[n] is None else {on_chip[n]}
            i = next((i for i, free in enumerate(rounds) if free & wanted), len(rounds))
            if i == len(rounds):
                rounds.append(set(range(chips)))
            chip = min(rounds[i] & wanted)
            rounds[i].remove(chip)
            done[n] = Instance(n, run + i, chip)
        run += len(rounds)
    number = {n: i for i, n in enumerate(order)}

    def placed(p: Population) -> PlacedPopulation:
        parts = lying[p.name]

        def each(value: dict[str, int]) -> np.ndarray:
            return np.concatenate([np.full(len(part), value[name]) for name, part in parts])

        return PlacedPopulation(
            p.name,
            p.size,
            p.fan_in,
            each(number),
            each({n: i.run for n, i in done.items()}),
            each({n: i.chip for n, i in done.items()}),
            np.concatenate([part for _, part in parts]),
        )

    return tuple(placed(p) for p in chain), tuple(done[n] for n in order)


def _names(group: list[Population]) -> str:
    return ", ".join(repr(p.name) for p in group)


def _sizes(group: list[Population], width: dict[str, int]) -> str:
    return " + ".join(f"{p.size} x {width[p.name]}" for p in group)
