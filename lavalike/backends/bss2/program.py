"""Programs of a chip's parts: each runs a whole stretch, from what others sent to what it sends,
and keeps its states in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lavalike.backends.bss2.emulated import Placed
from lavalike.backends.bss2.neurons import ChipPopulation, tensors
from lavalike.backends.bss2.partition import (
    check_recordable,
    check_synapses,
    connection,
    is_plastic,
)
from lavalike.backends.bss2.plasticity import Plastic, plastic
from lavalike.backends.bss2.product import Product
from lavalike.backends.bss2.spiking import (
    Network,
    Projection,
    Tensors,
    Trace,
    events,
    joined,
)
from lavalike.backends.bss2.stored import Matrix, scaled, times
from lavalike.backends.torch.terms import gathered, selected
from lavalike.compiler import order
from lavalike.compiler.parts import Part
from lavalike.process import Port, Var

Rows = Mapping[Port, np.ndarray]
Recordings = Mapping[Port | Var, np.ndarray]


def start(
    net: Network,
    numbers: Mapping[ChipPopulation, Tensors],
    gains: Mapping[ChipPopulation, float],
    held: Callable[..., torch.Tensor],
    step: int,
) -> tuple[dict[ChipPopulation, Tensors], dict[ChipPopulation, Tensors]]:
    """The chip's states from the Vars' (``held(var, less=0)``: (batch, size)) after ``step`` steps,
    and what of its currents has just arrived: they are those that the graph has a step later."""
    states: dict[ChipPopulation, Tensors] = {}
    arrived: dict[ChipPopulation, Tensors] = {}
    for p in net.populations:
        c, states[p], arrived[p] = numbers[p], {}, pending(net, p, gains[p], held)
        for m in p.membranes:
            current, voltage = (held(v) for v in p.state_vars(m))
            states[p] |= {m.current: current * c[m.keep] + arrived[p][m.source], m.voltage: voltage}
        states[p] |= {
            f"hold_{m.name}": torch.zeros_like(states[p][m.voltage]) for m in p.membranes if m.fires
        }
        states[p] |= {name: held(var, until * step).clamp(min=0) for name, var, until in p.holds}
    return states, arrived


def pending(
    net: Network, p: ChipPopulation, gain: float, held: Callable[[Var], torch.Tensor]
) -> Tensors:
    """What the connections onto ``p`` send next (``a_buff``), by input."""
    out: Tensors = {}
    for m in p.membranes:
        out[m.source] = torch.zeros_like(held(p.state_vars(m)[0]))
        for x in (x for x in net.onto(p) if x.port.name == m.port):
            sent = held(connection(x.synapse).a_buff)
            out[m.source] = out[m.source] + gain * selected(sent, x.term, p.size)
    return out


class _Recorded:
    part: Part

    def record(self, recordable: Sequence[Port | Var]) -> None:
        """Let runs record these too: nothing is prepared for it. RecordingError for what the chip
        does not show."""
        for target in recordable:
            check_recordable(self.part, target, target)


class SpikingProgram(_Recorded):
    """Populations on the chip. See :class:`lavalike.backends.base.Program`."""

    def __init__(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> None:
        check_synapses(part)
        self.part, self.dtype = part, getattr(torch, part.flat.config.dtype)
        self.record(recordable)
        options = part.target.options
        self.net = Network(part.nodes, order.names(part.flat.nodes))
        self.chip, self.dt, self.batch, self.step = options.used, options.dt, batch, part.step
        self.vars = [v for n in part.nodes for v in n.process.vars]
        self.gains: dict[ChipPopulation, float] = {}
        self.values = {
            v: np.broadcast_to(v.value, (batch, *v.shape)) for v in self.vars if v.role == "state"
        }
        self.plastic = [
            plastic(n, self.net, self.chip, self.dt, batch)
            for n in self.net.synapses
            if is_plastic(n)
        ]
        self.placed = self.derived()
        self.states, self.arrived = start(
            self.net, self.placed.numbers, self.gains, self._held, self.step
        )

    def tensor(self, var: Var) -> torch.Tensor:
        return torch.as_tensor(
            np.array(self.values[var][0]) if var in self.values else var.value,
            dtype=self.dtype if var.value.dtype.kind == "f" or var.trainable else torch.int64,
        )

    def derived(self) -> Placed:
        """Model and placement from the parameters' present values; VarError, GraphError,
        RoutingError."""
        found = {
            p: p.derive({v.name: v.value for v in p.process.vars}) for p in self.net.populations
        }
        self.gains = {p: float(np.ravel(gain)[0]) for p, (_, gain) in found.items()}
        placed = Placed(
            self.net,
            self.chip,
            self.dt,
            self._weights(),
            {p: tensors(c, self.dtype) for p, (c, _) in found.items()},
        )
        for learner in self.plastic:
            learner.on(placed, self.gains[self.net.fed(learner.node)])
        return placed

    def _weights(self) -> dict[Projection, Matrix]:
        self.connections = self.net.connections(self.tensor, self.dtype)
        found = self.net.matrices(self.connections)
        return {x: scaled(w, self.gains[x.target]) for x, w in found.items()}

    # -- states ------------------------------------------------------------------------------------

    def _load(self, changed: Var) -> None:
        """The chip's states from the Var that was set, all others as they are."""
        for p, state in self.states.items():
            if any(x.synapse.process is changed.process for x in self.net.onto(p)):
                self.arrived[p] = pending(self.net, p, self.gains[p], self._held)
                self._currents(p)
            for m in p.membranes:
                current, voltage = p.state_vars(m)
                if changed is current:
                    self._currents(p)
                elif changed is voltage:
                    state[m.voltage] = self._held(voltage)
            for name, var, until in p.holds:
                if changed is var:
                    state[name] = self._held(var, until * self.step).clamp(min=0)

    def _currents(self, p: ChipPopulation) -> None:
        for m in p.membranes:
            u = self._held(p.state_vars(m)[0])
            self.states[p][m.current] = (
                u * self.placed.numbers[p][m.keep] + self.arrived[p][m.source]
            )

    def _store(self, traces: Mapping[ChipPopulation, Trace]) -> None:
        """The Vars' values from the chip's states."""
        for p, state in self.states.items():
            for m in p.membranes:
                current, voltage = p.state_vars(m)
                keep, before = (
                    self.placed.numbers[p][m.keep],
                    traces[p].before.get(m.source, self.arrived[p][m.source]),
                )
                u = (state[m.current] - traces[p].arrived[m.source]) / torch.where(
                    keep == 0, 1.0, keep
                )
                self._hold(current, torch.where(keep == 0, before, u))
                self._hold(voltage, state[m.voltage])
            for name, var, until in p.holds:
                self._hold(
                    var, self._ends(var, state[name], traces[p].spikes, p) if until else state[name]
                )
        self.arrived = {p: t.arrived for p, t in traces.items()}

    def _ends(
        self, var: Var, hold: torch.Tensor, spikes: torch.Tensor, p: ChipPopulation
    ) -> torch.Tensor:
        """The step in which the last refractory period ends or ended."""
        steps = len(spikes)
        last = self.step - steps + 1 + (torch.arange(steps)[:, None, None] * (spikes != 0)).amax(0)
        ended = (last + self.placed.numbers[p]["period_soma"].double()).clamp(max=self.step)
        before = torch.as_tensor(np.array(self.values[var]), dtype=torch.float64).reshape(
            self.batch, -1
        )
        return torch.where(
            hold > 0, self.step + hold.double(), torch.where((spikes != 0).any(0), ended, before)
        )

    def _held(self, var: Var, less: int = 0) -> torch.Tensor:
        value = self.values[var].astype(np.float64) - less if less else np.array(self.values[var])
        return torch.as_tensor(value, dtype=self.dtype).reshape(self.batch, -1)

    def _hold(self, var: Var, value: torch.Tensor) -> None:
        self.values[var] = value.numpy().reshape(self.batch, *var.shape).copy()

    # -- running -----------------------------------------------------------------------------------

    @torch.no_grad()
    def run(self, steps: int, heard: Rows, recordings: Recordings) -> None:
        self.placed.records.clear()
        received = self.placed.received(
            {p: torch.as_tensor(heard[p], dtype=self.dtype) for p in self.net.outside}
        )
        constants = self.placed.constants(self.batch)
        pieces: list[dict[ChipPopulation, Trace]] = []
        done = 0
        while done < steps:  # between stretches synapses learn
            if pieces:
                self.arrived = {p: t.arrived for p, t in pieces[-1].items()}
            now = min([steps - done, *(x.steps(self.step + done) for x in self.plastic)])
            begun, part = self.step + done, slice(done, done + now)
            connections = self.connections
            stretch = {port: x[part] for port, x in received.items()}
            traces = self.net.run(
                (now, self.batch),
                stretch,
                self.placed.weights(),
                {
                    p: c | {"bias_start": c["bias_start"] - begun} if "bias_start" in c else c
                    for p, c in constants.items()
                },
                self.states,
                sending=self.placed.sent,
            )
            self.states = {p: t.states for p, t in traces.items()}
            pieces.append(traces)
            for learner in self.plastic:
                self._learn(learner, begun, part, heard, {**stretch, **_spikes(traces)})
            done += now
        traces = {p: joined([piece[p] for piece in pieces]) for p in pieces[0]}
        for p, trace in traces.items():
            wanted = {
                getattr(p.process, var): state
                for var, state in p.voltages.items()
                if getattr(p.process, var) in recordings
            }
            if wanted:
                seen = self.placed.observed(p, trace)
                for var, state in wanted.items():
                    recordings[var][...] = seen.membranes[state].numpy()
        spikes = _spikes(traces)
        last = {port: x[-1] for port, x in {**received, **spikes}.items()}
        for n in self.net.synapses:  # what the connection would send next
            inputs, like = connection(n).s_in.size, next(iter(last.values()))
            x = gathered(n.inputs["s_in"], inputs, last, (self.batch,), like)
            self._hold(connection(n).a_buff, times(events(x), connections[n]))
        self.step += steps
        self._store(traces)
        for target, rows in recordings.items():
            if isinstance(target, Port):
                rows[...] = spikes[target].numpy()
            elif target.role == "parameter":
                rows[...] = target.value.reshape(-1)

    def _learn(
        self,
        learner: Plastic,
        begun: int,
        part: slice,
        heard: Rows,
        sent: Mapping[Port, torch.Tensor],
    ) -> None:
        """What a stretch makes of a connection's weights."""
        process, inputs = learner.process, learner.node.inputs
        like = next(iter(sent.values()))
        known = {port: torch.as_tensor(x[part], dtype=self.dtype) for port, x in heard.items()}

        def of(name: str) -> np.ndarray:
            port = getattr(process, name)
            x = gathered(inputs[name], port.size, {**known, **sent}, like.shape[:2], like)
            return x[:, 0].numpy()

        values = {v.name: self.values[v][0] for v in process.vars if v in self.values}
        received = {n: of(f"s_in_{n}") for n in learner.rule.received}
        new = learner.learn(begun, of("s_in"), of("s_in_bap"), received, values)
        for name, value in new.items():
            self.values[getattr(process, name)] = np.array(value, np.float64)[None]
        if "weights" in new:
            self.placed.model = self._weights()

    def dtype_of(self, target: Port | Var) -> np.dtype:
        return recorded_dtype(self.part, target)

    def read(self, var: Var) -> np.ndarray:
        return self.values[var][0] if var in self.values else var.value

    def snapshot(self) -> tuple[Any, ...]:
        # arrays and tensors are replaced, never changed
        return (
            self.step,
            dict(enumerate(self.values.values())),
            [dict(s) for s in self.states.values()],
            [dict(a) for a in self.arrived.values()],
            [learner.state() for learner in self.plastic],
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.step, values, states, arrived, learnt = snapshot
        self.values = dict(zip(self.values, values.values(), strict=True))
        self.states = dict(zip(self.states, map(dict, states), strict=True))
        self.arrived = dict(zip(self.arrived, map(dict, arrived), strict=True))
        for learner, state in zip(self.plastic, learnt, strict=True):
            learner.restore(state)
        if self.plastic:
            self.placed.model = self._weights()

    def write(self, var: Var, value: np.ndarray) -> None:
        if any(var is learner.process.weights for learner in self.plastic):
            old = self.values[var]
            self.values[var] = np.array(value)[None]
            try:
                self.placed = self.derived()
            except Exception:
                self.values[var] = old
                self.placed = self.derived()
                raise
            return
        if var.role == "state":
            self.values[var] = np.broadcast_to(value, (self.batch, *var.shape))
            self._load(var)
            return
        before = self.placed

        def derive() -> None:
            for learner in self.plastic:
                if learner.process is var.process:
                    learner.read()
            self.placed = self.derived()

        changed(var, value, derive)
        for p in self.net.populations:
            if any(
                not torch.equal(before.numbers[p][m.keep], self.placed.numbers[p][m.keep])
                for m in p.membranes
            ):
                self._currents(p)  # what is left of the current in the next step


def _spikes(traces: Mapping[ChipPopulation, Trace]) -> dict[Port, torch.Tensor]:
    return {p.process.s_out: t.spikes for p, t in traces.items()}


class ProductProgram(_Recorded):
    """Connections in perceptron mode, each a product of its own. See
    :class:`lavalike.backends.base.Program`."""

    def __init__(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> None:
        self.part = part
        self.record(recordable)
        names, options = order.names(part.flat.nodes), part.target.options
        chip, dtype = options.used, getattr(torch, part.flat.config.dtype)
        self.products = [Product(n, names[n], chip, batch, dtype) for n in part.nodes]
        self.chip, self.dt, self.batch, self.step = chip, options.dt, batch, part.step
        self.vars = [v for n in part.nodes for v in n.process.vars]

    @torch.no_grad()
    def run(self, steps: int, heard: Rows, recordings: Recordings) -> None:
        for p in self.products:
            s_in, a_out = p.process.s_in, p.process.a_out
            terms = p.node.inputs["s_in"]
            known = {t.source: torch.as_tensor(heard[t.source], dtype=p.dtype) for t in terms}
            sent = p.run(gathered(terms, s_in.size, known, (steps, self.batch), p.total)).numpy()
            if a_out in recordings:
                recordings[a_out][...] = sent
        for target, rows in recordings.items():
            if isinstance(target, Var):
                rows[...] = target.value.reshape(-1)
        self.step += steps

    def dtype_of(self, target: Port | Var) -> np.dtype:
        return recorded_dtype(self.part, target)

    def snapshot(self) -> tuple[Any, ...]:
        return self.step, [
            (p.total, p.last, p.pending, p.lsb, list(p.sends)) for p in self.products
        ]

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.step, states = snapshot
        for p, (total, last, pending, lsb, sends) in zip(self.products, states, strict=True):
            p.total, p.last, p.pending, p.lsb, p.sends = total, last, pending, lsb, list(sends)

    def _of(self, var: Var) -> Product:
        return next(p for p in self.products if p.process is var.process)

    def read(self, var: Var) -> np.ndarray:
        return (
            self._of(var).pending[0].numpy().reshape(var.shape)
            if var.role == "state"
            else var.value
        )

    def write(self, var: Var, value: np.ndarray) -> None:
        p = self._of(var)
        if var.role == "state":
            p.pending = torch.as_tensor(value, dtype=p.dtype).reshape(1, -1).repeat(self.batch, 1)
        else:
            changed(var, value, p.rederive)


def changed(var: Var, value: np.ndarray, derive: Callable[[], None]) -> None:
    """Set a parameter and derive what follows from it; if that fails, nothing has changed."""
    old, var.value = var.value, value
    try:
        derive()
    except Exception:
        var.value = old
        derive()
        raise


def recorded_dtype(part: Part, target: Port | Var) -> np.dtype:
    """The dtype in which a port or Var of ``part`` is recorded."""
    if isinstance(target, Var) and target.role == "parameter":
        return target.value.dtype
    return np.dtype(part.flat.config.dtype)
