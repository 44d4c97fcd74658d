"""A spiking part on a chip: placed, its weights in 6 bits, its circuits as they came out of
calibration, its spikes and membranes as they are read. What is emulated is what
:mod:`lavalike.bss2.spiking.emulate` emulates.

At "ideal" nothing of this acts, at "quantised" weights alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from lavalike.backends.bss2.neurons import ChipPopulation, Membrane, check_ranges
from lavalike.backends.bss2.partition import is_plastic
from lavalike.backends.bss2.spiking import Injection, Network, Projection, Tensors, Trace
from lavalike.backends.bss2.stored import Matrix, Stored, fan_in, largest, mapped, sources
from lavalike.bss2.chip import Chip, facts
from lavalike.bss2.errors import NoChipError
from lavalike.bss2.placement import Placement, Population, circuits, place_populations
from lavalike.bss2.populations import PlacedPopulation
from lavalike.bss2.report import SpikeRecord
from lavalike.bss2.spiking.converter import cadc
from lavalike.bss2.spiking.events import jittered, limited, peak_rate
from lavalike.bss2.spiking.scales import Voltage
from lavalike.process import Port

Weights = Mapping[Projection, Matrix]
HEADROOM = 2  # times the largest weight, as far as weights can grow that learn [chosen]


@dataclass(frozen=True, eq=False)
class Bias:
    """A leak on the chip: what lies ``inside`` its range, and the ``weight`` of ``rows`` synapses a
    neuron, together, for the rest."""

    inside: torch.Tensor
    rows: int
    weight: torch.Tensor


class Placed:
    """``net`` on ``chip``. Made anew when weights or parameters change: scales and placement follow
    from them.

    Args:
        weights, constants: the model's, without batch.
        dt: s a step.
    """

    def __init__(
        self,
        net: Network,
        chip: Chip,
        dt: float,
        weights: Weights,
        constants: Mapping[ChipPopulation, Tensors],
    ) -> None:
        if chip.level == "hardware":
            raise NoChipError(
                f"{net.populations[0].name}: spiking graphs run on emulated chips; level 'hardware' is reached through "
                "lavalike.bss2.spiking. Use a Chip of level 'emulated'"
            )
        self.net, self.chip, self.dt, self.model, self.numbers = net, chip, dt, weights, constants
        self.records: dict[ChipPopulation, SpikeRecord] = {}
        self.link: SpikeRecord | None = None
        self.scales: dict[ChipPopulation, Voltage] = {}
        self.lsb: dict[ChipPopulation, float] = {}
        self.biases: dict[tuple[ChipPopulation, str], Bias] = {}
        if chip.level == "ideal":
            return
        plain = {
            p: {n: v.numpy() for n, v in c.items() if n != "bias_start"}
            for p, c in constants.items()
        }
        check_ranges(list(plain.items()), dt)
        for p in net.populations:
            self.scales[p] = p.scale(plain[p])
            most = max(
                largest(weights[x]) * (HEADROOM if is_plastic(x.synapse) else 1)
                for x in net.onto(p)
            )
            self.lsb[p] = most / facts.WEIGHT_MAX if most > 0 else 1.0
            for m in p.membranes:
                self.biases[p, m.leak] = self._bias(p, m)
        self.placement = place(net, weights, self.rows)

    def _bias(self, p: ChipPopulation, m: Membrane) -> Bias:
        voltage, c, r = self.scales[p], self.numbers[p], facts.RANGES["leak"]
        inside = c[m.leak].clamp(voltage.model(r.low), voltage.model(r.high))
        weight = (
            (c[m.leak] - inside) * c[m.rate] * (1 - c[m.keep])
        )  # that brings a current of (leak - inside) dv, sent in every step
        rows = math.ceil(float(weight.abs().max()) / (facts.WEIGHT_MAX * self.lsb[p]) - 1e-6)
        return Bias(
            inside, rows, _rounded(weight, rows * self.lsb[p]) if rows else torch.zeros_like(weight)
        )

    def rows(self, p: ChipPopulation, m: Membrane) -> int:
        """Synapse rows that a generator drives for the part of the leak beyond its range."""
        return self.biases[p, m.leak].rows if self.biases else 0

    # -- what the chip computes with ---------------------------------------------------------------

    def weights(self) -> dict[Projection, Matrix]:
        """Six bits and a sign for the largest weight onto a population, and at "emulated" each
        synapse's own efficacy."""
        if self.chip.level == "ideal":
            return dict(self.model)
        out = {
            x: mapped(w, functools.partial(_rounded, lsb=self.lsb[x.target]))
            for x, w in self.model.items()
        }
        if self.chip.emulated:
            for p in self.net.populations:
                self._efficacies(p, out)
        return out

    def _efficacies(self, p: ChipPopulation, weights: dict[Projection, Matrix]) -> None:
        for m, own in zip(p.membranes, self._circuits(p), strict=True):
            first = 0
            for x in (x for x in self.net.onto(p) if x.port.name == m.port):
                w, lines = weights[x], np.arange(first, first + x.size)
                if isinstance(w, Stored):
                    rows, cols = w.rows.numpy(), w.cols.numpy()
                    own_efficacy = self._efficacy(own, lines[cols], w.values > 0, rows)
                    weights[x] = replace(w, values=w.values * own_efficacy)
                else:
                    weights[x] = w * self._efficacy(own, lines, w > 0)
                first += x.size

    def _efficacy(
        self,
        own: np.ndarray,
        lines: np.ndarray,
        excitatory: torch.Tensor,
        neurons: np.ndarray | slice = slice(None),
    ) -> torch.Tensor:
        """(neurons, lines), or of pairs of them where neurons are named: excitatory weights lie in
        the odd rows (grenade)."""
        chip = np.stack([self.chip.efficacy(h) for h in range(facts.HEMISPHERES)])
        hemisphere, row, column = _places(own, lines, neurons)
        return torch.from_numpy(chip[hemisphere, row + excitatory.numpy(), column])

    def sensors(self, x: Projection) -> np.ndarray:
        """Amplitude and time constant, relative, of the causal and the anticausal sensors of a
        projection's synapses: (2, 2, neurons, inputs)."""
        if not self.chip.emulated:
            return np.ones((2, 2, x.target.size, x.size))
        (own,) = self._circuits(x.target)
        before = self.net.onto(x.target)
        first = sum(y.size for y in before[: before.index(x)])
        chip = np.stack([self.chip.correlation(h) for h in range(facts.HEMISPHERES)])
        hemisphere, row, column = _places(own, np.arange(first, first + x.size))
        return np.moveaxis(chip[hemisphere, :, :, row + 1, column], (0, 1), (2, 3))

    def _circuits(self, p: ChipPopulation) -> list[np.ndarray]:
        """Of each membrane, the circuits (neurons, joined) it is made of."""
        placed = self.placement[p.name]
        assert isinstance(placed, PlacedPopulation)
        if len(p.membranes) == 1:
            return [placed.circuits]
        cuts = np.cumsum([circuits(n) for n in inputs(self.net, p, self.model, self.rows)])[:-1]
        return np.split(placed.circuits, cuts, axis=1)

    def constants(self, batch: int) -> dict[ChipPopulation, Tensors]:
        """With leaks in their range; at "emulated" with what calibration left, thresholds with what
        varies from sample to sample."""
        if self.chip.level == "ideal":
            return dict(self.numbers)
        return {p: self._own(p, batch) for p in self.net.populations}

    def _own(self, p: ChipPopulation, batch: int) -> Tensors:
        c, unit, spread = dict(self.numbers[p]), self.scales[p].per_unit, self.chip.circuits
        kind = next(iter(c.values())).dtype

        def of(values: np.ndarray, own: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values[own]).to(kind)

        for m, own in zip(p.membranes, self._circuits(p), strict=True):
            bias = self.biases[p, m.leak]
            c[m.leak], weight = bias.inside, bias.weight
            if self.chip.emulated:
                # joined circuits act together, the threshold is the first one's
                c[m.rate] = (c[m.rate] / of(spread.tau_mem, own).mean(1)).clamp(max=1)
                c[m.keep] = (1 - (1 - c[m.keep]) / of(spread.tau_syn, own).mean(1)).clamp(min=0)
                offset = of(spread.leak, own).mean(1) / unit
                c[m.leak] = c[m.leak] + offset
                if p.late:
                    c["leak_before"] = offset
                if bias.rows:
                    first = sum(x.size for x in self.net.onto(p) if x.port.name == m.port)
                    sign = (weight.expand(p.size) > 0)[:, None].expand(-1, bias.rows)
                    weight = weight * self._efficacy(
                        own, np.arange(first, first + bias.rows), sign
                    ).mean(1)
                if m.fires:
                    trial = self.chip.noise.threshold_trial * torch.randn(batch, p.size, dtype=kind)
                    c[m.threshold] = (
                        c[m.threshold] + (of(spread.threshold, own[:, 0]) + trial) / unit
                    )
                    c[m.reset] = c[m.reset] + of(spread.reset, own).mean(1) / unit
            if bias.rows:
                c[m.leak] = c[m.leak] + weight / ((1 - c[m.keep]) * c[m.rate])
        return c

    # -- what goes in and comes out ----------------------------------------------------------------

    def received(self, outside: Mapping[Port, torch.Tensor]) -> dict[Port, torch.Tensor]:
        """Spikes (time, batch, size) of other parts as they arrive over the link, which loses what
        is beyond its rate."""
        if not self.chip.emulated or not outside:
            return dict(outside)
        sent = torch.cat([(x != 0).to(x.dtype) for x in outside.values()], -1)
        arrived = limited(sent, self.dt)
        number = int(sent.sum())
        self.link = SpikeRecord(
            "link",
            number,
            int(arrived.sum()),
            number - int(arrived.sum()),
            peak_rate(sent, self.dt),
        )
        return dict(
            zip(outside, arrived.split([x.shape[-1] for x in outside.values()], -1), strict=True)
        )

    def sent(self, p: ChipPopulation, spikes: torch.Tensor) -> torch.Tensor:
        """Spikes as those hear them that are not in a loop with the population, and as they are
        recorded."""
        out = jittered(spikes, self.chip.noise.jitter, self.dt) if self.chip.emulated else spikes
        number = int(spikes.sum())
        record = SpikeRecord(
            p.name, number, int(out.sum()), number - int(out.sum()), peak_rate(out, self.dt)
        )
        before = self.records.get(p)  # of the run's stretches before this one
        self.records[p] = record if before is None else before + record
        return out

    def observed(self, p: ChipPopulation, trace: Trace) -> Injection:
        """What is recorded: spikes, and membranes, at "emulated" as the CADC reads them, in the
        graph's units."""
        if not self.chip.emulated:
            return Injection(trace.spikes, trace.membranes, trace.fired)
        voltage, noise = self.scales[p], self.chip.noise.cadc
        read = {
            name: cadc(v, voltage, self.dt, facts.CADC_PERIOD, noise, "linear", p.name)[0]
            for name, v in trace.membranes.items()
        }
        return Injection(
            trace.spikes, {name: voltage.model(v) for name, v in read.items()}, trace.fired
        )


def _places(
    own: np.ndarray, lines: np.ndarray, neurons: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hemisphere, row of its inhibitory weight and column of each input of neurons: (neurons,
    lines), or of pairs of them where neurons are named. Inputs are dealt to a neuron's circuits,
    128 each."""
    circuit = own[neurons, lines // facts.SIGNED_ROWS % own.shape[1]]
    row = np.broadcast_to(2 * (lines % facts.SIGNED_ROWS), circuit.shape)
    return circuit // facts.COLUMNS, row, circuit % facts.COLUMNS


def _used(x: Projection, weights: Matrix) -> Matrix:
    """Not 0 where a synapse is there: one with a weight, and one that may learn one."""
    return mapped(weights, torch.ones_like) if is_plastic(x.synapse) else weights


def _rounded(w: torch.Tensor, lsb: float) -> torch.Tensor:
    """To multiples of ``lsb``, half away from zero as hxtorch."""
    return torch.trunc(w / lsb + w.sign() / 2) * lsb


Rows = Callable[[ChipPopulation, Membrane], int]


def inputs(net: Network, p: ChipPopulation, weights: Weights, rows: Rows) -> list[int]:
    """Inputs of the neuron that has most, for each membrane, with those that a generator drives."""
    out = []
    for m in p.membranes:
        counts = [fan_in(_used(x, weights[x])) for x in net.onto(p) if x.port.name == m.port]
        out.append((int(torch.stack(counts).sum(0).max()) if counts else 0) + rows(p, m))
    return out


def place(net: Network, weights: Weights, rows: Rows, chips: int = 1) -> Placement:
    """The part's populations on circuits: as many as inputs need, one a compartment at least.
    RoutingError."""
    wanted = []
    for p in net.populations:
        found = inputs(net, p, weights, rows)
        heard = {q.name for x in net.onto(p) for q in net.heard(x)}
        lines = sum(sources(_used(x, weights[x])) for x in net.onto(p)) + sum(
            rows(p, m) for m in p.membranes
        )
        joined = sum(circuits(n) for n in found) if len(p.membranes) > 1 else None
        wanted.append(
            Population(
                p.name,
                p.size,
                sum(found),
                p.name in heard,
                joined,
                None,
                tuple(sorted(heard - {p.name})),
                lines,
            )
        )
    return place_populations(wanted, chips)
