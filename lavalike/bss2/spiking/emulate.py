"""Spiking networks on an emulated chip.

At level "quantised" weights are whole numbers in -63..63. At "emulated" in addition: every neuron's leak, reset, threshold and time
constants and every synapse's strength are its circuits' own (:class:`lavalike.bss2.Chip`); thresholds vary from sample to sample; spikes
jitter; membranes are what the CADC read; what exceeds the event rate of the link from the host, or from another execution instance, is
lost. The neurons follow the model's equations (:mod:`lavalike.bss2.spiking.neuron`) with these parameters. Joined circuits act together:
their leaks, resets and time constants are averaged, the first one's threshold counts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from lavalike.bss2 import facts
from lavalike.bss2.chip import Chip, Circuits
from lavalike.bss2.errors import RoutingError
from lavalike.bss2.placement import Placement, Population as Placed, place_populations
from lavalike.bss2.report import Report, SpikeRecord
from lavalike.bss2.spiking.converter import cadc, madc
from lavalike.bss2.spiking.events import check_spikes, jittered, limited, peak_rate
from lavalike.bss2.spiking.module import BatchDropout
from lavalike.bss2.spiking.neuron import Params, Recorded, integrate
from lavalike.bss2.spiking.population import Population
from lavalike.bss2.spiking.scales import ChipWeights, Voltage, chip_value, chip_weights, fit_readout, reset_of, voltage_of
from lavalike.bss2.spiking.sites import Arrival, Site, check, sites_of, to_place
from lavalike.bss2.spiking.synapse import weigh
from lavalike.text import table

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import Node


OUTGROWN = 1e-3  # share of CADC samples at the ends of the range


@dataclass(frozen=True)
class Scale:
    """``weight``: chip's LSB per unit of the model's weights, of each projection; ``trace``: model's units per CADC LSB; ``clipped``:
    weights beyond +-63; ``saturated``: share of CADC samples at 0 or 255."""

    weight: dict[str, float]
    trace: float
    clipped: int
    saturated: float


@dataclass
class Outcome:
    """What a run on a chip was: where it lay, with which scales, and what was counted.

    ``duration``: of one sample on the chip, s. ``records``: spikes of populations, lost where jitter made two meet; ``inputs``: spikes
    that came over a link, lost above its event rate.
    """

    chip: Chip
    placement: Placement
    duration: float
    samples: int
    scales: dict[str, Scale] = field(default_factory=dict)
    records: list[SpikeRecord] = field(default_factory=list)
    inputs: list[SpikeRecord] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Placement, events and time on chip."""
        return self.placement.report(self.records, self.chip, self.duration)

    def __str__(self) -> str:
        rows = [(name, "/".join(f"{w:.4g}" for w in s.weight.values()), f"{s.trace:.4g}", str(s.clipped), f"{100 * s.saturated:.2f} %")
                for name, s in self.scales.items()]
        links = [(r.population, str(r.sent), str(r.dropped), f"{r.peak_rate / 1e6:.1f}") for r in self.inputs]
        parts = [table(("population", "weight scale", "trace scale", "clipped", "CADC at its ends"), rows), str(self.report)]
        if links:
            parts.insert(1, table(("over the link to", "events", "dropped", "peak / MHz"), links))
        return "\n\n".join(parts)


class Emulation:
    """A chip, and what stays from run to run of an experiment on it: placement, patterns of the placed neurons, readouts' fitted scales."""

    def __init__(self, chip: Chip, dt: float) -> None:
        self.chip, self.dt = chip, dt
        self._placements: dict[tuple[Placed, ...], Placement] = {}
        self._efficacies: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self._mismatches: dict[str, dict[str, torch.Tensor]] = {}
        self._chips: dict[tuple[int, object], Chip] = {}
        self.fitted: dict[str, float] = {}

    def run(self, nodes: list[Node], runtime: int | None, wait: float = 0.0) -> Outcome:
        """Execute ``nodes``, producers before consumers, with what the chip records of each population."""
        sites = sites_of(nodes)
        check(list(sites.values()))
        placement = self._place(list(sites.values()))
        pass_ = _Pass(self, sites, placement, runtime)
        for node in nodes:
            site = sites.get(id(node))
            hw = pass_.emulate(site) if site is not None else None
            node.module.execute(node.inputs, node.outputs, hw)
            if isinstance(node.module, BatchDropout) and id(node.inputs[0]) in pass_.sent:
                pass_.sent[id(node.outputs[0])] = pass_.sent[id(node.inputs[0])] * node.module.mask
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
        chosen, instance = site.population.chip_coordinate, site.population.execution_instance
        number = number if chosen is None else chosen
        path = None if instance is None else instance.calib_path
        if (number, path) not in self._chips:
            chip = self.chip.neighbour(number)
            if path is not None and chip.emulated:
                from lavalike.bss2.calibration import Calibration

                chip = dataclasses.replace(chip, calibration=Calibration.load(path, chip))
            self._chips[number, path] = chip
        return self._chips[number, path]

    def mismatch(self, site: Site, placement: Placement) -> dict[str, torch.Tensor]:
        """By parameter, of each neuron: offsets in LSB, and factors of the time constants."""
        name = site.population.name
        if name not in self._mismatches:
            placed = placement[name]
            own = {n: np.empty(placed.size, np.float32) for n in Circuits._fields}
            for number in np.unique(placed.chip):
                circuits, here = self.chip_of(int(number), site).circuits, placed.chip == number
                for n in own:
                    joined = getattr(circuits, n)[placed.circuits[here]]
                    own[n][here] = joined[:, 0] if n == "threshold" else joined.mean(1)
            self._mismatches[name] = {n: torch.from_numpy(v) for n, v in own.items()}
        return self._mismatches[name]

    def efficacy(self, site: Site, placement: Placement) -> tuple[torch.Tensor, torch.Tensor]:
        """Relative strength of the inhibitory and the excitatory synapses, (neuron, input) over all that arrives."""
        masks = [getattr(a.projection, "mask", None) for a in site.arrivals]
        key = (site.population.name, *(id(a.projection) for a in site.arrivals))
        if key not in self._efficacies:
            used = [np.ones((a.projection.out_features, a.projection.in_features), bool) if m is None else m.cpu().numpy()
                    for a, m in zip(site.arrivals, masks, strict=True)]
            row = np.maximum(np.cumsum(np.concatenate(used, 1), 1) - 1, 0)
            placed = placement[site.population.name]
            circuit = np.take_along_axis(placed.circuits, row // facts.SIGNED_ROWS, 1)
            out = np.ones((2, *row.shape), np.float32)
            for number in np.unique(placed.chip):
                chip = self.chip_of(int(number), site)
                table = np.stack([chip.efficacy(h) for h in range(facts.HEMISPHERES)])
                here = placed.chip == number
                for sign in range(2):
                    out[sign, here] = table[circuit[here] // facts.COLUMNS, 2 * (row[here] % facts.SIGNED_ROWS) + sign,
                                            circuit[here] % facts.COLUMNS]
            self._efficacies[key] = torch.from_numpy(out[0]), torch.from_numpy(out[1])
        return self._efficacies[key]


class _Pass:
    """One run. ``sent``: spikes that a handle stands for on the chip."""

    def __init__(self, emulation: Emulation, sites: dict[int, Site], placement: Placement, runtime: int | None) -> None:
        self.emulation, self.placement, self.runtime = emulation, placement, runtime
        self.chip, self.dt = emulation.chip, emulation.dt
        self.noisy = self.chip.emulated
        self.sent: dict[int, torch.Tensor] = {}
        self.owner = {id(h): s.population.name for s in sites.values() for h in s.node.outputs}
        self.arrived: dict[int, torch.Tensor] = {}
        self.outcome = Outcome(self.chip, placement, 0.0, 0)

    @torch.no_grad()
    def emulate(self, site: Site) -> Recorded:
        """What the chip records of a population."""
        p = site.population
        weights = chip_weights([a.projection for a in site.arrivals])
        strengths = self._strengths(site, weights)
        x, recurrent = None, None
        for a, w in zip(site.arrivals, strengths, strict=True):
            if a.handle is None:
                recurrent = w if recurrent is None else recurrent + w
            else:
                part = weigh(self._arriving(a, site).to(w.dtype), w)
                x = part if x is None else x + part
        if x is None:
            raise RoutingError(f"{p.name}: nothing arrives from outside; put a Synapse between its input and it")
        x = x[:self.runtime]
        self.outcome.duration, self.outcome.samples = len(x) * self.dt, x.shape[1]
        fitted = self.emulation.fitted
        if not p.fires and p.trace_scale == 1 and p.name not in fitted:
            fitted[p.name] = fit_readout(p, integrate(x, self._set(p, voltage_of(p)), self.dt).membrane)
        voltage = voltage_of(p, fitted.get(p.name))
        made = integrate(x, self._own(site, self._set(p, voltage), voltage, x), self.dt, alpha=p.alpha, recurrent=recurrent)
        spikes = self._spikes(site, made.spikes) if p.fires else None
        membrane, saturated = self._membrane(p, voltage, made.membrane)
        if saturated > OUTGROWN and p.training:
            fitted.pop(p.name, None)  # trained weights have outgrown it: fitted anew in the next run
        self.outcome.scales[p.name] = Scale({a.projection.name: w.scale for a, w in zip(site.arrivals, weights, strict=True)},
                                            float(torch.as_tensor(1 / voltage.per_unit, dtype=torch.float64).mean()),
                                            sum(w.clipped for w in weights), saturated)
        fast = None
        if p.enable_madc_recording:
            lsb = voltage.lsb(made.membrane)[:, :, p.record_neuron_id]
            fast = madc(lsb, self.dt)
            fast[..., 1] = Voltage(_one(voltage.zero, p), _one(voltage.zero_lsb, p), _one(voltage.per_unit, p)).model(fast[..., 1])
        return Recorded(spikes if p.enable_spike_recording else None, membrane if p.enable_cadc_recording else None, fast)

    def _strengths(self, site: Site, weights: list[ChipWeights]) -> list[torch.Tensor]:
        """What the weights are worth in the model's unit."""
        if not self.noisy:
            return [w.values / w.scale for w in weights]
        inhibitory, excitatory = self.emulation.efficacy(site, self.placement)
        out, begin = [], 0
        for w in weights:
            part = slice(begin, begin + w.values.shape[1])
            strength = torch.where(w.values > 0, excitatory[:, part].to(w.values), inhibitory[:, part].to(w.values))
            out.append(w.values * strength / w.scale)
            begin = part.stop
        return out

    def _arriving(self, a: Arrival, site: Site) -> torch.Tensor:
        """A projection's input spikes as they reach the array."""
        spikes = self.sent.get(id(a.handle))
        spikes = a.projection.spikes(a.handle).detach() if spikes is None else spikes
        owner = self.owner.get(id(a.handle))
        if owner is None:
            check_spikes(spikes, a.projection.name)
        mine = self.placement[site.population.name].instance
        linked = owner is None or not np.isin(mine, self.placement[owner].instance).all()
        if not linked or not self.noisy:
            return spikes
        if id(a.handle) not in self.arrived:
            arrived = self.arrived[id(a.handle)] = limited(spikes, self.dt)
            sent, got = int(spikes.sum()), int(arrived.sum())
            self.outcome.inputs.append(SpikeRecord(a.projection.name, sent, got, sent - got, peak_rate(spikes, self.dt)))
        return self.arrived[id(a.handle)]

    def _set(self, p: Population, voltage: Voltage) -> Params:
        """The population's parameters as the chip is set to them, in the model's unit."""
        params = p.physics()
        changed = {n: chip_value(p, n) for n in ("tau_mem", "tau_syn")}
        for n in ("i_synin_gm", "synapse_dac_bias", "holdoff_time"):
            if n in p.chip_parameters:
                chip_value(p, n)  # in range
        if params.fire:
            changed["reset"] = reset_of(p, voltage)
        if params.refractory:
            held = chip_value(p, "refractory_time") / self.dt
            changed["refractory_time"] = (torch.round(held) if isinstance(held, torch.Tensor) else round(held)) * self.dt
        params = dataclasses.replace(params, **changed)
        return dataclasses.replace(params, **{n: v.detach() for n, v in vars(params).items() if isinstance(v, torch.Tensor)})

    def _own(self, site: Site, params: Params, voltage: Voltage, x: torch.Tensor) -> Params:
        """``params`` as the population's circuits have them."""
        if not self.noisy:
            return params
        mine = {n: v.to(x) for n, v in self.emulation.mismatch(site, self.placement).items()}
        trial = self.chip.noise.threshold_trial * torch.randn(x.shape[1:], dtype=x.dtype, device=x.device)
        unit = voltage.per_unit
        return dataclasses.replace(params, leak=params.leak + mine["leak"] / unit, reset=params.reset + mine["reset"] / unit,
                                   threshold=params.threshold + (mine["threshold"] + trial) / unit,
                                   tau_mem=params.tau_mem * mine["tau_mem"], tau_syn=params.tau_syn * mine["tau_syn"])

    def _spikes(self, site: Site, spikes: torch.Tensor) -> torch.Tensor:
        p = site.population
        spikes = spikes if p.mask is None else spikes * p.mask.to(spikes)
        out = jittered(spikes, self.chip.noise.jitter, self.dt) if self.noisy else spikes
        sent, got = int(spikes.sum()), int(out.sum())
        self.outcome.records.append(SpikeRecord(p.name, sent, got, sent - got, peak_rate(out, self.dt)))
        for h in site.node.outputs:
            if "spikes" in h.names:
                self.sent[id(h)] = out
        return out

    def _membrane(self, p: Population, voltage: Voltage, v: torch.Tensor) -> tuple[torch.Tensor, float]:
        """What the CADC gives, in the model's unit; the share of its samples at its ends."""
        if not self.noisy or not p.enable_cadc_recording:
            return v, 0.0
        lsb, ends = cadc(v, voltage, self.dt, p.cadc_period, self.chip.noise.cadc, p.interpolation_mode, p.name)
        if p.cadc_time_shift:
            lsb = lsb[(torch.arange(len(lsb), device=lsb.device) + p.cadc_time_shift).clamp(0, len(lsb) - 1)]
        if p.shift_cadc_to_first:
            return (lsb - lsb[:1]) * p.trace_scale, ends
        if p.trace_scale != 1 or p.trace_offset != 0:
            return (lsb - p.trace_offset) * p.trace_scale, ends
        return voltage.model(lsb), ends


def _one(value: float | torch.Tensor, p: Population) -> float:
    return float(value.expand(p.size)[p.record_neuron_id]) if isinstance(value, torch.Tensor) else value
