"""What a placement takes of the chips, and what a run on it did: a dataclass, a table, a
picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavalike import html
from lavalike.bss2.chip import Chip, current_chip, facts
from lavalike.bss2.errors import NoChipError
from lavalike.errors import InputError
from lavalike.text import table

if TYPE_CHECKING:
    from lavalike.bss2.perceptron.trace import Observation
    from lavalike.bss2.placement import PlacedLayer, Placement
    from lavalike.bss2.populations import PlacedPopulation

SHOWN = 24  # tiles in the printed table


@dataclass(frozen=True)
class SpikeRecord:
    """What a spiking run counted of a population.

    Args:
        population: its name.
        sent, delivered, dropped: events; sent = delivered + dropped.
        peak_rate: of its events, 1/s.
    """

    population: str
    sent: int
    delivered: int
    dropped: int
    peak_rate: float

    def __add__(self, later: SpikeRecord) -> SpikeRecord:
        """Of two stretches of one run."""
        counts = (
            self.sent + later.sent,
            self.delivered + later.delivered,
            self.dropped + later.dropped,
        )
        return SpikeRecord(self.population, *counts, max(self.peak_rate, later.peak_rate))


@dataclass(frozen=True)
class TileUse:
    """A tile, or a part of a population in one hemisphere.

    ``rows``, ``columns``: inputs and outputs of the layer (inputs and neurons of the population).
    ``area``: first signed row, first column, height and width on the hemisphere. ``synapses``: two
    a weight, one for each sign; ``utilisation``: of the hemisphere's 65536.
    """

    layer: str
    run: int
    chip: int
    hemisphere: int
    rows: range
    columns: range
    area: tuple[int, int, int, int]
    synapses: int

    @property
    def utilisation(self) -> float:
        return self.synapses / (facts.SYNAPSES // facts.HEMISPHERES)


@dataclass(frozen=True)
class InstanceUse:
    """What is on a chip at a time: neuron circuits of 512, synapse rows of 512, synapses of
    131072."""

    run: int
    chip: int
    circuits: int
    rows: int
    synapses: int


@dataclass(frozen=True)
class LayerUse:
    """A product. Measured, else None: ``saturated``, share of outputs at -128 or 127; ``events``,
    inputs above 0 of a vector.

    Inputs beyond 0..31 are refused by the product, so that there are none to count. ``time``: on
    chip, s; without a measurement every input is taken to send an event.
    """

    layer: str
    kind: str
    k: int
    n: int
    tiles: int
    runs: int
    vectors: int
    num_sends: int
    clipped: int
    rounding: float
    saturated: float | None
    events: float | None
    time: float


@dataclass(frozen=True)
class PopulationUse:
    """A population; what was not measured is None."""

    population: str
    neurons: int
    fan_in: int
    circuits: int
    instances: int
    sent: int | None
    delivered: int | None
    dropped: int | None
    peak_rate: float | None


@dataclass(frozen=True)
class Report:
    """``runs``: rounds one after another; ``reconfigurations``: execution instances, each of which
    is written to a chip once a batch.

    ``time``: on chip, s, without loading weights and without the host, of populations for
    ``samples``; None for them unless the duration was given.
    """

    tiles: tuple[TileUse, ...]
    instances: tuple[InstanceUse, ...]
    layers: tuple[LayerUse, ...]
    populations: tuple[PopulationUse, ...]
    chips: int
    runs: int
    time: float | None
    chip: str | None
    noise: str | None
    samples: int = 1

    @property
    def reconfigurations(self) -> int:
        return len(self.instances)

    def picture(self, path: str | Path | None = None) -> Any:
        """Both hemispheres of every instance, tiles coloured by layer; a matplotlib figure, saved
        to ``path`` if there is one."""
        from lavalike.bss2.picture import draw

        return draw(self, path)

    @property
    def _samples(self) -> str:
        return (
            f" for {_count(self.samples, 'sample')}"
            if self.populations and self.time is not None
            else ""
        )

    def __str__(self) -> str:
        parts = ["\n".join(self._head())]
        for _, head, rows, more in self._tables():
            parts.append(table(head, rows) + (f"\n... and {more}" if more else ""))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        first, *rest = self._head()
        parts = [f"<div>{html.escape(line)}</div>" for line in (first, *rest)]
        for title, head, rows, more in self._tables():
            note = f"<div><em>and {html.escape(more)}</em></div>" if more else ""
            body = html.table(head, rows, len(rows)) + note
            parts.append(html.fold(title, body, title in ("layers", "populations")))
        return html.box("Placement", "BrainScaleS-2", *parts)

    def _head(self) -> list[str]:
        counts = ", ".join(
            (
                _count(self.chips, "chip"),
                _count(self.runs, "run"),
                _count(self.reconfigurations, "reconfiguration"),
            )
        )
        time = f"time on chip {_time(self.time)}{self._samples}"
        first = f"{counts}, {time}; {self.chip or 'no chip named'}"
        return [first, self.noise] if self.noise else [first]

    def _tables(self) -> Iterator[tuple[str, Sequence[str], list[tuple[object, ...]], str]]:
        """Of each table the title, the head, the rows, and what more there is and where."""
        if self.layers:
            yield (
                "layers",
                (
                    "layer",
                    "kind",
                    "inputs",
                    "outputs",
                    "tiles",
                    "runs",
                    "vectors",
                    "sends",
                    "clipped",
                    "rounding",
                    "saturated",
                    "events",
                    "time",
                ),
                [
                    (
                        u.layer,
                        u.kind,
                        u.k,
                        u.n,
                        u.tiles,
                        u.runs,
                        u.vectors,
                        u.num_sends,
                        u.clipped,
                        f"{u.rounding:.2f}",
                        _share(u.saturated),
                        _number(u.events),
                        _time(u.time),
                    )
                    for u in self.layers
                ],
                "",
            )
        if self.populations:
            yield (
                "populations",
                (
                    "population",
                    "neurons",
                    "fan-in",
                    "circuits",
                    "instances",
                    "sent",
                    "delivered",
                    "dropped",
                    "peak rate",
                ),
                [
                    (
                        u.population,
                        u.neurons,
                        u.fan_in,
                        u.circuits,
                        u.instances,
                        _number(u.sent),
                        _number(u.delivered),
                        _number(u.dropped),
                        _rate(u.peak_rate),
                    )
                    for u in self.populations
                ],
                "",
            )
        yield (
            "tiles",
            ("tile", "run", "chip", "hemisphere", "rows", "columns", "synapses", "used"),
            [
                (
                    u.layer,
                    u.run,
                    u.chip,
                    u.hemisphere,
                    _span(u.rows),
                    _span(u.columns),
                    u.synapses,
                    _share(u.utilisation),
                )
                for u in self.tiles[:SHOWN]
            ],
            f"{len(self.tiles) - SHOWN} more in .tiles" if len(self.tiles) > SHOWN else "",
        )
        yield (
            "instances",
            ("instance", "chip", "circuits", "used", "rows", "used", "synapses", "used"),
            [
                (
                    f"run {u.run}",
                    u.chip,
                    u.circuits,
                    _share(u.circuits / facts.CIRCUITS),
                    u.rows,
                    _share(u.rows / (facts.HEMISPHERES * facts.ROWS)),
                    u.synapses,
                    _share(u.synapses / facts.SYNAPSES),
                )
                for u in self.instances[:SHOWN]
            ],
            f"{len(self.instances) - SHOWN} more in .instances"
            if len(self.instances) > SHOWN
            else "",
        )


def report(
    placement: Placement,
    records: list[Observation | SpikeRecord],
    chip: Chip | None,
    duration: float | None,
    samples: int = 1,
) -> Report:
    """See :meth:`lavalike.bss2.placement.Placement.report`."""
    if chip is None:
        try:
            chip = current_chip()
        except NoChipError:
            chip = None
    spikes = {r.population: r for r in records if isinstance(r, SpikeRecord)}
    seen = _by_layer(placement, [r for r in records if not isinstance(r, SpikeRecord)])
    unknown = sorted(spikes.keys() - {p.name for p in placement.populations})
    if unknown:
        raise InputError(
            f"report: records of {', '.join(unknown)}, and no such population was placed; "
            f"there are {', '.join(p.name for p in placement.populations) or 'none'}"
        )
    layers = [_layer_use(x, seen.get(x.name, [])) for x in placement.layers]
    tiles = [t for x in placement.layers for t in _layer_tiles(x)] + [
        t for p in placement.populations for t in _population_tiles(p)
    ]
    spiking = (
        (1 + max((i.run for i in placement.instances), default=-1)) * samples * duration
        if duration is not None
        else None
    )
    time = (
        sum(u.time for u in layers) + (spiking or 0.0)
        if spiking is not None or not placement.populations
        else None
    )
    noise = repr(chip.noise) if chip is not None and chip.emulated else None
    populations = tuple(_population_use(p, spikes.get(p.name)) for p in placement.populations)
    return Report(
        tuple(tiles),
        tuple(_instances(tiles)),
        tuple(layers),
        populations,
        placement.chips,
        placement.runs,
        time,
        None if chip is None else chip.identifier,
        noise,
        samples,
    )


def _by_layer(placement: Placement, records: list[Observation]) -> dict[str, list[Observation]]:
    """Records of each placed call: those of a layer that is called several times belong to its
    calls in turn."""
    layers = {x.name: x for x in placement.layers}
    calls: dict[str, list[str]] = {}
    for x in placement.layers:
        calls.setdefault(x.name.split("#")[0], []).append(x.name)
    count: dict[str, int] = {}
    out: dict[str, list[Observation]] = {}
    for r in records:
        name = r.layer or next(iter(calls), "")  # a model that is a single layer has no name
        if name not in calls:
            raise InputError(
                f"report: a record of layer {r.layer!r}, and no such layer was placed; there are "
                f"{', '.join(calls) or 'none'}. perceptron.observe(model) records layers under their names"
            )
        placed = layers[calls[name][count.get(name, 0) % len(calls[name])]]
        if (r.inputs, r.outputs) != (placed.k, placed.n):
            raise InputError(
                f"report: layer {placed.name!r} was placed with {placed.k} x {placed.n} weights, the record has "
                f"{r.inputs} x {r.outputs}; place the model that was run"
            )
        count[name] = count.get(name, 0) + 1
        out.setdefault(placed.name, []).append(r)
    return out


def _layer_use(x: PlacedLayer, seen: list[Observation]) -> LayerUse:
    vectors = sum(r.rows for r in seen) if seen else x.vectors
    sends, wait, clipped = (
        (seen[-1].num_sends, seen[-1].wait, seen[-1].clipped)
        if seen
        else (x.num_sends, x.wait, x.clipped)
    )
    weights = [r.rows / vectors for r in seen] if vectors else []
    saturated = (
        sum(w * r.saturated for w, r in zip(weights, seen, strict=True)) if weights else None
    )
    parts = range(0, x.k, facts.SIGNED_ROWS)
    events = {
        a: sum(w * r.nonzero[a // facts.SIGNED_ROWS] for w, r in zip(weights, seen, strict=True))
        if weights
        else float(min(facts.SIGNED_ROWS, x.k - a))
        for a in parts
    }
    runs = {t.run: 0.0 for t in x.tiles}
    for t in x.tiles:
        # hemispheres and chips of one run work side by side: the one with most events decides
        # (grenade)
        runs[t.run] = max(runs[t.run], events[t.rows.start])
    time = vectors * sum(
        e * wait * sends * facts.FPGA_CYCLE + facts.CADC_PERIOD for e in runs.values()
    )
    return LayerUse(
        x.name,
        x.kind,
        x.k,
        x.n,
        len(x.tiles),
        len(runs),
        vectors,
        sends,
        clipped,
        x.rounding,
        saturated,
        sum(events.values()) if weights else None,
        time,
    )


def _layer_tiles(x: PlacedLayer) -> list[TileUse]:
    return [
        TileUse(
            x.name,
            t.run,
            t.chip,
            t.hemisphere,
            t.rows,
            t.columns,
            (0, 0, len(t.rows), len(t.columns)),
            2 * w,
        )
        for t, w in zip(x.tiles, x.weights, strict=True)
    ]


def _population_use(p: PlacedPopulation, r: SpikeRecord | None) -> PopulationUse:
    measured = (None,) * 4 if r is None else (r.sent, r.delivered, r.dropped, r.peak_rate)
    return PopulationUse(
        p.name, p.size, p.fan_in, p.circuits.shape[1], len(set(p.instance.tolist())), *measured
    )


def _population_tiles(p: PlacedPopulation) -> list[TileUse]:
    """Stretches of neighbouring columns. A neuron's inputs are dealt to its circuits, 128 each."""
    c = p.circuits.shape[1]
    rows = range(min(p.fan_in, facts.SIGNED_ROWS))
    inputs = [min(facts.SIGNED_ROWS, p.fan_in - i * facts.SIGNED_ROWS) for i in range(c)]
    out: list[TileUse] = []
    held: list[tuple[int, int, int, int, int]] = sorted(
        (int(p.instance[i]), int(k) // facts.COLUMNS, int(k) % facts.COLUMNS, i, max(inputs[j], 0))
        for i in range(p.size)
        for j, k in enumerate(p.circuits[i])
    )
    start = 0
    for end in range(1, len(held) + 1):
        if (
            end < len(held)
            and held[end][:2] == held[end - 1][:2]
            and held[end][2] == held[end - 1][2] + 1
        ):
            continue
        part = held[start:end]
        neurons = range(min(e[3] for e in part), max(e[3] for e in part) + 1)
        out.append(
            TileUse(
                p.name,
                int(p.run[neurons[0]]),
                int(p.chip[neurons[0]]),
                part[0][1],
                range(p.fan_in),
                neurons,
                (0, part[0][2], len(rows), len(part)),
                2 * sum(e[4] for e in part),
            )
        )
        start = end
    return out


def _instances(tiles: list[TileUse]) -> list[InstanceUse]:
    found: dict[tuple[int, int], list[TileUse]] = {}
    for t in tiles:
        found.setdefault((t.run, t.chip), []).append(t)
    return [
        InstanceUse(
            run,
            chip,
            sum(t.area[3] for t in group),
            sum(
                2 * max((t.area[2] for t in group if t.hemisphere == h), default=0)
                for h in range(facts.HEMISPHERES)
            ),
            sum(t.synapses for t in group),
        )
        for (run, chip), group in sorted(found.items())
    ]


def _span(r: range) -> str:
    return "-" if not len(r) else f"{r[0]}..{r[-1]}"


def _share(x: float | None) -> str:
    return "-" if x is None else f"{100 * x:.1f} %"


def _number(x: float | None) -> str:
    return "-" if x is None else str(x) if isinstance(x, int) else f"{x:.1f}"


def _rate(x: float | None) -> str:
    return "-" if x is None else f"{x / 1e6:.3g} M/s"


def _time(x: float | None) -> str:
    return (
        "-"
        if x is None
        else f"{x * 1e6:.1f} us"
        if x < 1e-3
        else f"{x * 1e3:.2f} ms"
        if x < 1
        else f"{x:.2f} s"
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
