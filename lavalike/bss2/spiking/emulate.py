"""Spiking networks on an emulated chip.

At level "quantised" weights are whole numbers in -63..63. At "emulated" in addition: every neuron's
leak, reset, threshold and time constants and every synapse's strength are its circuits' own
(:class:`lavalike.bss2.Chip`); thresholds vary from sample to sample; spikes jitter; membranes are
what the CADC read; what exceeds the event rate of the link from the host, or from another execution
instance, is lost. The neurons follow the model's equations (:mod:`lavalike.bss2.spiking.neuron`)
with these parameters. Joined circuits act together: their leaks, resets and time constants are
averaged, the first one's threshold counts.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lavalike.bss2.chip import Chip, Circuits, facts
from lavalike.bss2.errors import RoutingError
from lavalike.bss2.hxtorch.connection import EmulatedChipWarning
from lavalike.bss2.placement import (
    PlacedPopulation,
    Placement,
    Population,
    place_populations,
)
from lavalike.bss2.report import Report, SpikeRecord
from lavalike.bss2.spiking.converter import CADC_MAX, cadc, madc, shifted
from lavalike.bss2.spiking.events import check_spikes, jittered, limited, peak_rate
from lavalike.bss2.spiking.handle import alike
from lavalike.bss2.spiking.module import BatchDropout
from lavalike.bss2.spiking.neuron import Integrated, Params, Recorded, integrate
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.bss2.spiking.population import PopulationModule
from lavalike.bss2.spiking.scales import (
    ChipWeights,
    Voltage,
    chip_value,
    chip_weights,
    fit_readout,
    reset_of,
    unfitted,
    voltage_of,
)
from lavalike.bss2.spiking.sites import Arrival, Site, check, notes, sites_of, to_place
from lavalike.bss2.spiking.synapse import weigh
from lavalike.text import table

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import LayerCall


OUTGROWN = 1e-3  # share of CADC samples at the ends of the range


@dataclass(frozen=True)
class Scale:
    """``weight``: chip's LSB per unit of the model's weights, of each projection; ``trace``:
    model's units per CADC LSB; ``clipped``: weights beyond +-63; ``saturated``: share of CADC
    samples at 0 or 255."""

    weight: dict[str, float]
    trace: float
    clipped: int
    saturated: float


@dataclass
class Outcome:
    """What a run on a chip was: where it lay, with which scales, and what was counted.

    ``duration``: of one sample on the chip and the wait after it, s; ``samples`` follow one
    another. ``records``: spikes of populations, lost where jitter made two meet; ``inputs``: spikes
    that came over a link, lost above its event rate; ``notes``: what was asked for and is a real
    chip's.
    """

    chip: Chip
    placement: Placement
    duration: float
    samples: int
    scales: dict[str, Scale] = field(default_factory=dict)
    records: list[SpikeRecord] = field(default_factory=list)
    inputs: list[SpikeRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Placement, events and time on chip."""
        return self.placement.report(self.records, self.chip, self.duration, self.samples)

    def __str__(self) -> str:
        rows = [
            (
                name,
                "/".join(f"{w:.4g}" for w in s.weight.values()),
                f"{s.trace:.4g}",
                str(s.clipped),
                f"{100 * s.saturated:.2f} %",
            )
            for name, s in self.scales.items()
        ]
        links = [
            (r.population, str(r.sent), str(r.dropped), f"{r.peak_rate / 1e6:.1f}")
            for r in self.inputs
        ]
        parts = [
            table(
                ("population", "weight scale", "trace scale", "clipped", "CADC at its ends"), rows
            ),
            str(self.report),
        ]
        parts += self.notes
        if links:
            parts.insert(1, table(("over the link to", "events", "dropped", "peak / MHz"), links))
        return "\n\n".join(parts)


class Emulation:
    """A chip, and what stays from run to run of an experiment on it: placement, patterns of the
    placed neurons, readouts' fitted scales."""

    def __init__(self, chip: Chip, dt: float) -> None:
        self.chip, self.dt = chip, dt
        self._placements: dict[tuple[Population, ...], Placement] = {}
        self._efficacies: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self._mismatches: dict[tuple[object, ...], dict[str, torch.Tensor]] = {}
        self._chips: dict[tuple[int, object], Chip] = {}
        self._foreign: set[str] = set()  # calibration files of real chips that were told of
        self.fitted: dict[str, float] = {}

    def run(self, nodes: list[LayerCall], runtime: int | None, wait: float = 0.0) -> Outcome:
        """Execute ``nodes``, producers before consumers, with what the chip records of each
        population."""
        sites = sites_of(nodes)
        check(list(sites.values()))
        placement = self._place(list(sites.values()))
        pass_ = _Pass(self, sites, placement, runtime)
        pass_.outcome.notes += notes(list(sites.values()))
        for node in nodes:
            site = sites.get(id(node))
            hw = pass_.emulate(site) if site is not None else None
            node.module.execute(node.inputs, node.outputs, hw)
            mask = node.module.mask if isinstance(node.module, BatchDropout) else None
            if mask is not None and id(node.inputs[0]) in pass_.sent:
                pass_.sent[id(node.outputs[0])] = pass_.sent[id(node.inputs[0])] * mask
                pass_.owner[id(node.outputs[0])] = pass_.owner[id(node.inputs[0])]
        pass_.outcome.duration += wait
        return pass_.outcome

    def _place(self, sites: list[Site]) -> Placement:
        key = to_place(sites)
        if key not in self._placements:
            self._placements = {key: place_populations(key, self.chip.chips)}
            self._efficacies, self._mismatches = {}, {}
        return self._placements[key]

    def chip_of(self, number: int, site: Site) -> Chip:
        """The chip a part of a population lies on."""
        path = calib_path(site.population)
        if (number, path) not in self._chips:
            chip = self.chip.neighbour(number)
            if path is not None and chip.emulated:
                chip = self._calibrated(chip, path)
            self._chips[number, path] = chip
        return self._chips[number, path]

    def _calibrated(self, chip: Chip, path: str) -> Chip:
        """With what the file left of the chip's patterns; a real chip's file says nothing of
        them."""
        from lavalike.bss2.chip.calibration import Calibration, of_a_real_chip

        if not of_a_real_chip(path):
            return dataclasses.replace(chip, calibration=Calibration.load(path, chip))
        if path not in self._foreign:
            self._foreign.add(path)
            warnings.warn(
                f"{path} is a real chip's calibration, which says nothing of {self.chip.identifier}; that has its nominal one",
                EmulatedChipWarning,
                stacklevel=2,
            )
        return chip if chip.calibrated else dataclasses.replace(chip, calibrated=True)

    def mismatch(self, site: Site, placement: Placement) -> dict[str, torch.Tensor]:
        """By parameter, of each neuron: offsets in LSB, and factors of the time constants."""
        name = site.population.name
        key = name, calib_path(site.population)
        if key not in self._mismatches:
            placed = _population(placement, name)
            own = {n: np.empty(placed.size, np.float32) for n in Circuits._fields}
            for number in np.unique(placed.chip):
                circuits, here = self.chip_of(int(number), site).circuits, placed.chip == number
                for n in own:
                    joined = getattr(circuits, n)[placed.circuits[here]]
                    own[n][here] = joined[:, 0] if n == "threshold" else joined.mean(1)
            self._mismatches[key] = {n: torch.from_numpy(v) for n, v in own.items()}
        return self._mismatches[key]

    def efficacy(self, site: Site, placement: Placement) -> tuple[torch.Tensor, torch.Tensor]:
        """Relative strength of the inhibitory and the excitatory synapses, (neuron, input) over all
        that arrives."""
        masks = [getattr(a.projection, "mask", None) for a in site.arrivals]
        key = (
            site.population.name,
            calib_path(site.population),
            *(id(a.projection) for a in site.arrivals),
        )
        if key not in self._efficacies:
            used = [
                np.ones((a.projection.out_features, a.projection.in_features), bool)
                if m is None
                else m.cpu().numpy()
                for a, m in zip(site.arrivals, masks, strict=True)
            ]
            row = np.maximum(np.cumsum(np.concatenate(used, 1), 1) - 1, 0)
            placed = _population(placement, site.population.name)
            circuit = np.take_along_axis(placed.circuits, row // facts.SIGNED_ROWS, 1)
            out = np.ones((2, *row.shape), np.float32)
            for number in np.unique(placed.chip):
                chip = self.chip_of(int(number), site)
                table = np.stack([chip.efficacy(h) for h in range(facts.HEMISPHERES)])
                here = placed.chip == number
                for sign in range(2):
                    out[sign, here] = table[
                        circuit[here] // facts.COLUMNS,
                        2 * (row[here] % facts.SIGNED_ROWS) + sign,
                        circuit[here] % facts.COLUMNS,
                    ]
            self._efficacies[key] = torch.from_numpy(out[0]), torch.from_numpy(out[1])
        return self._efficacies[key]


def calib_path(population: PopulationModule) -> str | None:
    """Of the instance it lies on, or of the experiment's default one."""
    instance = population.execution_instance
    return (
        population.experiment.default_execution_instance if instance is None else instance
    ).calib_path


class _Pass:
    """One run. ``sent``: spikes that a handle stands for on the chip; ``arrived``: those of a
    handle that came over the link to a group of instances; ``taken``: how many did, (time,
    batch)."""

    def __init__(
        self,
        emulation: Emulation,
        sites: dict[int, Site],
        placement: Placement,
        runtime: int | None,
    ) -> None:
        self.emulation, self.sites, self.placement, self.runtime = (
            emulation,
            sites,
            placement,
            runtime,
        )
        self.chip, self.dt = emulation.chip, emulation.dt
        self.noisy = self.chip.emulated
        self.sent: dict[int, torch.Tensor] = {}
        self.owner = {id(h): s.population.name for s in sites.values() for h in s.node.outputs}
        self.arrived: dict[tuple[int, frozenset[int]], torch.Tensor] = {}
        self.taken: dict[frozenset[int], torch.Tensor] = {}
        self.outcome = Outcome(self.chip, placement, 0.0, 0)

    @torch.no_grad()
    def emulate(self, site: Site) -> Recorded:
        """What the chip records of a population."""
        p = site.population
        weights = chip_weights([a.projection for a in site.arrivals])
        strengths = self._strengths(site, weights)
        given = list(zip(site.arrivals, strengths, strict=True))
        parts = [
            weigh(self._arriving(a, site).to(w.dtype), w) for a, w in given if a.handle is not None
        ]
        if not parts:
            raise RoutingError(
                f"{p.name}: nothing arrives from outside; put a Synapse between its input and it"
            )
        x = functools.reduce(operator.add, alike(parts, p.name, cut=True))
        back = [w for a, w in given if a.handle is None]
        recurrent = functools.reduce(operator.add, back) if back else None
        self.outcome.duration, self.outcome.samples = len(x) * self.dt, x.shape[1]
        free = not p.fires and p.trace_scale is None
        voltage, made, membrane, saturated = self._read(
            site, x, recurrent, self._fit(p, x) if free else None
        )
        larger = fit_readout(p, made.membrane) if free and saturated > OUTGROWN else None
        if larger is not None:  # weights or inputs have outgrown the scale
            self.emulation.fitted[p.name] = larger
            voltage, made, membrane, saturated = self._read(site, x, recurrent, larger)
        spikes = None if made.spikes is None else self._spikes(site, made.spikes)
        self.outcome.scales[p.name] = Scale(
            {a.projection.name: w.scale for a, w in zip(site.arrivals, weights, strict=True)},
            float(torch.as_tensor(1 / voltage.per_unit, dtype=torch.float64).mean()),
            sum(w.clipped for w in weights),
            saturated,
        )
        slow = membrane if p.enable_cadc_recording else None
        fast = self._fast(p, voltage, made) if p.enable_madc_recording else None
        return Recorded.of(
            spikes if p.enable_spike_recording else None,
            AnalogObservable(None if p.notes_slow else slow, None if p.notes_fast else fast),
            AnalogObservable(slow if p.notes_slow else None, fast if p.notes_fast else None),
        )

    def _fast(self, p: PopulationModule, voltage: Voltage, made: Integrated) -> torch.Tensor:
        """What the MADC reads of one neuron, in the model's unit."""
        read, scale = _source(made, voltage, p.notes_fast)
        one = Voltage(_one(scale.zero, p), _one(scale.zero_lsb, p), _one(scale.per_unit, p))
        fast = madc(one.lsb(read[:, :, p.record_neuron_id]), self.dt)
        fast[1] = one.model(fast[1])
        return fast

    def _fit(self, p: PopulationModule, x: torch.Tensor) -> float:
        """LSB per unit of a readout: fitted to the first input that moves it, and kept."""
        fitted = self.emulation.fitted
        found = fitted.get(p.name) or fit_readout(
            p, integrate(x, self._set(p, voltage_of(p)), self.dt).membrane
        )
        if found is None:
            return unfitted(p)
        fitted[p.name] = found
        return found

    def _read(
        self,
        site: Site,
        x: torch.Tensor,
        recurrent: torch.Tensor | None,
        per_unit: float | None,
    ) -> tuple[Voltage, Integrated, torch.Tensor, float]:
        """What the population does at this scale, and its membranes as they are read; the share of
        samples at the converter's ends."""
        p = site.population
        voltage = voltage_of(p, per_unit)
        made = integrate(
            x,
            self._own(site, self._set(p, voltage), voltage, x),
            self.dt,
            alpha=p.alpha,
            recurrent=recurrent,
            mask=p.mask,
        )
        read, scale = _source(made, voltage, p.notes_slow)
        return voltage, made, *self._membrane(p, scale, read)

    def _strengths(self, site: Site, weights: list[ChipWeights]) -> list[torch.Tensor]:
        """What the weights are worth in the model's unit."""
        if not self.noisy:
            return [w.values / w.scale for w in weights]
        inhibitory, excitatory = self.emulation.efficacy(site, self.placement)
        out, begin = [], 0
        for w in weights:
            part = slice(begin, begin + w.values.shape[1])
            strength = torch.where(
                w.values > 0, excitatory[:, part].to(w.values), inhibitory[:, part].to(w.values)
            )
            out.append(w.values * strength / w.scale)
            begin = part.stop
        return out

    def _arriving(self, a: Arrival, site: Site) -> torch.Tensor:
        """A projection's input spikes as they reach the array."""
        if not self.noisy or not self._linked(a, site):
            return self._given(a)
        group = self._instances(site.population.name)
        if (id(a.handle), group) not in self.arrived:
            self._transmit(group)
        return self.arrived[id(a.handle), group]

    def _transmit(self, group: frozenset[int]) -> None:
        """Send over the link, together, all that is there for these instances and was not sent
        yet."""
        there: dict[int, Arrival] = {}
        for s in self.sites.values():
            if self._instances(s.population.name) == group:
                there |= {
                    id(a.handle): a
                    for a in s.arrivals
                    if a.handle is not None
                    and self._linked(a, s)
                    and self._there(a)
                    and (id(a.handle), group) not in self.arrived
                }
        spikes = alike(
            [self._given(a).to(torch.get_default_dtype()) for a in there.values()],
            "the link",
            cut=True,
        )
        taken = self.taken.get(group)
        if taken is not None:
            *spikes, taken = alike([*spikes, taken.unsqueeze(2)], "the link", cut=True)
            taken = taken.squeeze(2)
        arrived = limited(torch.cat(spikes, 2), self.dt, taken)
        self.taken[group] = arrived.sum(2) if taken is None else taken + arrived.sum(2)
        for (handle, a), x, y in zip(
            there.items(), spikes, arrived.split([x.shape[2] for x in spikes], 2), strict=True
        ):
            self.arrived[handle, group] = y
            sent, got = int(x.sum()), int(y.sum())
            self.outcome.inputs.append(
                SpikeRecord(a.projection.name, sent, got, sent - got, peak_rate(x, self.dt))
            )

    def _linked(self, a: Arrival, site: Site) -> bool:
        """Whether they come over the link, from the host or from another instance."""
        owner = self.owner.get(id(a.handle))
        return owner is None or self._instances(owner) != self._instances(site.population.name)

    def _instances(self, name: str) -> frozenset[int]:
        return frozenset(_population(self.placement, name).instance.tolist())

    def _there(self, a: Arrival) -> bool:
        return id(a.handle) in self.sent or (
            id(a.handle) not in self.owner and a.handle is not None and not a.handle.empty
        )

    def _given(self, a: Arrival) -> torch.Tensor:
        """What is sent, as long as the run."""
        spikes = self.sent.get(id(a.handle))
        if spikes is None:
            assert a.handle is not None  # what comes from the population itself is no input
            spikes = a.projection.spikes(a.handle).detach()
            if id(a.handle) not in self.owner:
                check_spikes(spikes, a.projection.name)
        return spikes[: self.runtime]

    def _set(self, p: PopulationModule, voltage: Voltage) -> Params:
        """The population's parameters as the chip is set to them, in the model's unit."""
        params = p.physics()
        changed: dict[str, Any] = {n: chip_value(p, n) for n in ("tau_mem", "tau_syn")}
        for n in ("i_synin_gm", "synapse_dac_bias", "holdoff_time"):
            if n in p.chip_parameters:
                chip_value(p, n)  # in range
        if params.fire:
            changed["reset"] = reset_of(p, voltage)
        if params.refractory:
            held = chip_value(p, "refractory_time") / self.dt
            changed["refractory_time"] = (
                torch.round(held) if isinstance(held, torch.Tensor) else round(held)
            ) * self.dt
        params = dataclasses.replace(params, **changed)
        cut: dict[str, Any] = {
            n: v.detach() for n, v in vars(params).items() if isinstance(v, torch.Tensor)
        }
        return dataclasses.replace(params, **cut)

    def _own(self, site: Site, params: Params, voltage: Voltage, x: torch.Tensor) -> Params:
        """``params`` as the population's circuits have them."""
        if not self.noisy:
            return params
        mine = {n: v.to(x) for n, v in self.emulation.mismatch(site, self.placement).items()}
        trial = self.chip.noise.threshold_trial * torch.randn(
            x.shape[1:], dtype=x.dtype, device=x.device
        )
        unit = voltage.per_unit
        return dataclasses.replace(
            params,
            leak=params.leak + mine["leak"] / unit,
            reset=params.reset + mine["reset"] / unit,
            threshold=params.threshold + (mine["threshold"] + trial) / unit,
            tau_mem=params.tau_mem * mine["tau_mem"],
            tau_syn=params.tau_syn * mine["tau_syn"],
        )

    def _spikes(self, site: Site, spikes: torch.Tensor) -> torch.Tensor:
        p = site.population
        out = jittered(spikes, self.chip.noise.jitter, self.dt) if self.noisy else spikes
        sent, got = int(spikes.sum()), int(out.sum())
        self.outcome.records.append(
            SpikeRecord(p.name, sent, got, sent - got, peak_rate(out, self.dt))
        )
        for h in site.node.outputs:
            if "spikes" in h.names:
                self.sent[id(h)] = out
        return out

    def _membrane(
        self, p: PopulationModule, voltage: Voltage, v: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        """What the CADC gives, in the model's unit; the share of its samples at its ends."""
        if not self.noisy or not p.enable_cadc_recording:
            return v, 0.0
        lsb, ends = cadc(
            v, voltage, self.dt, p.cadc_period, self.chip.noise.cadc, p.interpolation_mode, p.name
        )
        if p.cadc_time_shift:
            lsb = shifted(lsb, p.cadc_time_shift)
        if p.shift_cadc_to_first:
            rise = lsb - lsb[:1]
            return (
                rise / voltage.per_unit + voltage.zero
                if p.trace_scale is None
                else rise * p.trace_scale
            ), ends
        if p.told_scale is not None:
            offset, scale = p.told_scale
            return (lsb - facts.CADC_BASELINE - offset) * scale, ends
        return voltage.model(lsb), ends


def _source(made: Integrated, voltage: Voltage, noted: bool) -> tuple[torch.Tensor, Voltage]:
    """What a converter reads, and its scale: membranes, or where it is set to them adaptation
    currents, of which 0 is read in the middle of its range."""
    if not noted:
        return made.membrane, voltage
    assert made.adaptation is not None  # a population that has none was refused
    return made.adaptation, Voltage(0.0, (CADC_MAX + 1) / 2, voltage.per_unit)


def _population(placement: Placement, name: str) -> PlacedPopulation:
    placed = placement[name]
    assert isinstance(placed, PlacedPopulation)  # an experiment places populations only
    return placed


def _one(value: float | torch.Tensor, p: PopulationModule) -> float:
    return (
        float(value.expand(p.size)[p.record_neuron_id])
        if isinstance(value, torch.Tensor)
        else value
    )
