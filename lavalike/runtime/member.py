"""What computes one share of a graph, in step with the others: programs over its nodes, with what
it hears and sends between them.

All of the numba backend: one table, in which the exchange is a row. Else the nodes that hear other
shares, all of them delayed, have an engine of their own: in each stretch the first takes its steps,
the shares exchange, the second takes the same steps with what has come. What the second will send
in them is settled before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from lavalike.backends import get_backend
from lavalike.compiler.flat import Flat, Node, Target
from lavalike.compiler.parts import Part, Plan
from lavalike.process import OutPort, Port, Var
from lavalike.runtime.engine import Engine, compiled
from lavalike.runtime.generators import drawn_from
from lavalike.runtime.parcel import Key, Parcel, keys

Rows = Mapping[Port, np.ndarray]


class Meeting(Protocol):
    """How shares exchange: :class:`lavalike.backends.numba.exchange.Exchange`, and what is besides
    it for stretches of steps."""

    def prepare(self, stretches: bool, agrees: bool) -> None:
        """It will be asked for ``swap``, and for ``agree``: what that takes is compiled, so that no
        step waits for it."""

    def begin(self, run: int) -> None:
        """A run begins, which for all has this number, larger than those before."""

    def swap(self, steps: int, rows: Mapping[OutPort, np.ndarray]) -> dict[OutPort, np.ndarray]:
        """Send ``rows`` (steps, batch, size) of what this share sends; the same of what it
        hears."""

    def agree(self, asks: bool) -> bool:
        """Of all shares, after a step: whether any asks to end the run."""


class ShareFlat(Flat):
    """The flat graph of some nodes of a share: seeds and names are those of the whole graph."""

    ask: Callable[[], int]

    @property
    def seed(self) -> int:
        if self.config.seed is None and self.drawn is None:
            self.drawn = self.ask()
        return super().seed


class Member:
    """One share, compiled. ``step`` counts the steps done.

    ``careful``: a step may stop in its middle for a reason that is not fatal, so states of before
    are kept; ``asking``: models may ask for the end of the run.

    Args:
        ask: gives the seed that the whole graph draws from, where RunConfig gives none.
    """

    def __init__(
        self, parcel: Parcel, meeting: Any, recordable: Sequence[Key], ask: Callable[[], int]
    ) -> None:
        self.parcel, self.meeting, self.batch = parcel, meeting, parcel.batch
        self.nodes = parcel.unpacked()
        self.targets: dict[Key, Port | Var] = {k: t for t, k in keys(self.nodes).items()}
        self.targets |= {("in", k, 0): p for k, p in enumerate(parcel.stimuli)}
        self._ask = ask
        wanted = [self.targets[k] for k in recordable]
        late = [self.nodes[k] for k in parcel.late]
        self.near: Engine | None = None
        self.far: Engine | None = None
        self._row = parcel.table
        if self._row:
            self.near = self._table(wanted)
        else:
            near = [n for n in self.nodes if n not in {*late}]
            own = {p for n in near for p in n.process.out_ports}
            heard = {t.source for n in late for terms in n.inputs.values() for t in terms}
            self._passed = [p for p in own if p in heard or p in parcel.wiring.sent]
            self.near = self._engine(near, [*self._passed, *wanted])
            self.far = self._engine(late, wanted)
        engines = [e for e in (self.near, self.far) if e is not None]
        self.asking = any(e._asking for e in engines)
        self.careful = not self.asking and (
            not self._row or any(p.stops for e in engines for p in e.programs)  # type: ignore[attr-defined]  # numba alone
        )
        for engine in engines:
            for program in engine.programs:
                _compile(program)
        self.alert = False  # whether any share may ask for the end of the run
        self.keeps = False  # whether states are kept before a run
        self.before: Any = None
        self._first = parcel.step
        self._at = engines[0]  # which runs, or ran last

    # -- building ----------------------------------------------------------------------------------

    def _flat(self, nodes: list[Node]) -> ShareFlat:
        parcel = self.parcel
        inside = {p for n in nodes for p in n.process.out_ports}
        heard = dict.fromkeys(t.source for n in nodes for terms in n.inputs.values() for t in terms)
        fed: list[Any] = [p for p in heard if p not in inside]
        flat = ShareFlat(
            [n.process for n in nodes], nodes, fed, parcel.config, parcel.step, drawn=parcel.drawn
        )
        flat.ask = self._ask
        everyone = zip(self.nodes, parcel.called, strict=True)
        flat._called = {n.process: name for n, name in everyone}
        flat._dtypes = {p: np.dtype(name) for p, name in parcel.dtypes.items()}
        for n in self.nodes:
            for port in n.process.out_ports:
                flat._dtypes[port] = n.model.config.message_dtype
        return flat

    def _engine(self, nodes: list[Node], wanted: Sequence[Port | Var]) -> Engine | None:
        if not nodes:
            return None
        flat = self._flat(nodes)
        own = [t for t in wanted if flat.node_of(t.process) is not None]
        return compiled(flat, self.batch, own, get_backend)

    def _table(self, wanted: Sequence[Port | Var]) -> Engine:
        from lavalike.backends.numba.exchange import ExchangingProgram

        flat = self._flat(self.nodes)
        foreign = {*self.parcel.wiring.heard}
        flat.stimuli = [p for p in flat.stimuli if p not in foreign]
        part = Part(flat, self.nodes[0].target, self.nodes, list(flat.stimuli))
        own = [t for t in wanted if flat.node_of(t.process) is not None]
        program = ExchangingProgram(part, self.batch, own, self.meeting)
        return Engine(Plan(flat, [[part]], []), [program], self.batch, own)

    def ready(self, keeps: bool, alert: bool) -> None:
        """What all shares together need: that states are kept, that each step is agreed upon."""
        self.keeps, self.alert = keeps, alert
        self.meeting.prepare(not self._row, alert)

    # -- running -----------------------------------------------------------------------------------

    @property
    def engines(self) -> list[Engine]:
        return [e for e in (self.near, self.far) if e is not None]

    @property
    def step(self) -> int:
        """The last whole step."""
        return min(e.step for e in self.engines)

    @property
    def done(self) -> int:
        """Steps of this run after which all can stand, after an error: those that what raised it
        has done, where states are kept, since all do these once more; else those that are done."""
        return (self._at.step if self.keeps else self.step) - self._first

    @property
    def request(self) -> str:
        return next((e.request for e in self.engines if e.request), "")

    def run(
        self,
        number: int,
        steps: int,
        lag: int,
        stimuli: Rows,
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> int:
        """Do ``steps`` steps, of which ``lag`` may be exchanged at once, in run ``number`` of all
        shares; how many were done."""
        self._first = self.step
        if self.keeps:
            self.before = [e.state() for e in self.engines]
        self._go(number, steps, lag, stimuli, recordings)
        return self.step - self._first

    def again(
        self,
        number: int,
        steps: int,
        lag: int,
        stimuli: Rows,
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        """The first ``steps`` steps of the last run, from where it began."""
        for engine, state in zip(self.engines, self.before, strict=True):
            engine.go_back(state)
        self._go(number, steps, lag, stimuli, recordings)

    def _go(
        self,
        number: int,
        steps: int,
        lag: int,
        stimuli: Rows,
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        self.meeting.begin(number)
        longest = 1 if self.alert else max(steps, 1) if self._row else lag
        for first in range(0, steps, longest):
            some = slice(first, min(first + longest, steps))
            self._stretch(
                some.stop - first,
                {p: x[some] for p, x in stimuli.items()},
                {t: x[some] for t, x in recordings.items()},
            )
            if self.alert and self.meeting.agree(bool(self.request)):
                break

    def _stretch(
        self, steps: int, stimuli: Rows, recordings: Mapping[Port | Var, np.ndarray]
    ) -> None:
        near, far = self.near, self.far
        if self._row:
            assert near is not None
            near.run(steps, stimuli, recordings)
            return
        rows: dict[Port, np.ndarray] = dict(stimuli)
        ahead = () if near is None or far is None else near.flat.stimuli
        for heard in ahead:
            if far is not None and isinstance(heard, OutPort) and far.flat.node_of(heard.process):
                rows[heard] = far.ahead(heard, steps)
        if near is not None:
            own = self._of(near, recordings)
            for port in self._passed:
                if port not in own:
                    shape = (steps, self.batch, port.size)
                    own[port] = np.zeros(shape, near.flat.dtype_of(port))
                rows[port] = own[port]
            self._at = near
            near.run(steps, {p: rows[p] for p in near.flat.stimuli}, own)
        for port in self.parcel.wiring.sent:
            if port not in rows:  # of the other nodes: what they will send
                assert far is not None
                rows[port] = far.ahead(port, steps)
        rows |= self.meeting.swap(steps, {p: rows[p] for p in self.parcel.wiring.sent})
        if far is not None:
            self._at = far
            far.run(steps, {p: rows[p] for p in far.flat.stimuli}, self._of(far, recordings))

    def _of(
        self, engine: Engine, recordings: Mapping[Port | Var, np.ndarray]
    ) -> dict[Port | Var, np.ndarray]:
        return {t: x for t, x in recordings.items() if engine.flat.node_of(t.process) is not None}

    @property
    def draws(self) -> bool:
        """Whether models of the share may draw from the process's generators."""
        return drawn_from(self.nodes)

    @property
    def seed(self) -> int:
        """Of those generators: the same in every run of the graph with the same seed."""
        first = next(n for n in self.nodes if drawn_from([n]))
        return next(e.flat for e in self.engines if first in e.flat.nodes).key(first)

    # -- Vars and states ---------------------------------------------------------------------------

    def _engine_of(self, target: Port | Var) -> Engine:
        return next(e for e in self.engines if e.flat.node_of(target.process) is not None)

    def record(self, targets: Sequence[Key]) -> bool:
        """See :meth:`lavalike.runtime.engine.Engine.record`."""
        wanted = [self.targets[k] for k in targets]
        return all(
            e.record([t for t in wanted if e.flat.node_of(t.process) is not None])
            for e in self.engines
        )

    def dtype_of(self, key: Key) -> np.dtype:
        target = self.targets[key]
        return self._engine_of(target).dtype_of(target)

    def read(self, key: Key) -> np.ndarray:
        var = self.targets[key]
        assert isinstance(var, Var)
        return self._engine_of(var).read(var)

    def write(self, key: Key, value: np.ndarray) -> None:
        var = self.targets[key]
        assert isinstance(var, Var)
        var.shape, before = value.shape, var.shape
        try:
            self._engine_of(var).write(var, value)
        except BaseException:
            var.shape = before
            raise
        var.value = value

    def state(self) -> list[Any]:
        return [e.state() for e in self.engines]

    def go_back(self, state: list[Any]) -> None:
        for engine, own in zip(self.engines, state, strict=True):
            engine.go_back(own)


def _compile(program: Any) -> None:
    """Kernels of the numba backend, which it compiles when they are first called."""
    inner = getattr(program, "parts", ())
    for part in inner.values() if isinstance(inner, dict) else inner:
        _compile(getattr(part, "program", part))
    if hasattr(program, "ops") and not program.options.debug:
        for op in program.ops:
            op.row(program.batch)


def threaded(parcel: Parcel, threads: int) -> None:
    """Let parts of the numba backend take so many threads where nobody said how many."""

    def own(target: Target) -> Target:
        if target.backend != "numba" or target.options.threads is not None:
            return target
        return replace(target, options=replace(target.options, threads=threads))

    parcel.nodes = [(p, model, c, inputs, own(t)) for p, model, c, inputs, t in parcel.nodes]
