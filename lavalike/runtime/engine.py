"""Engine: walks a plan. It owns time, hands messages from part to part, records, and reads and
writes Vars."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.compiler.flat import Flat, Node, Term
from lavalike.compiler.parts import Edge, Part, Plan, cut
from lavalike.errors import RunError
from lavalike.process.ports import OutPort, Port
from lavalike.process.var import Var
from lavalike.runtime.channel import Channel, LocalChannel

if TYPE_CHECKING:
    from lavalike.backends.base import Backend, Program
    from lavalike.bss2.placement import Placement
    from lavalike.bss2.report import Report, SpikeRecord
    from lavalike.compiler.cut import Cut

Recordings = Mapping[Port | Var, np.ndarray]


State = tuple[int, tuple[Any, ...]]  # steps done, and what steps change in each part


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that steps change in a graph. ``nodes``: whose, by path, with shapes of their Vars."""

    nodes: tuple[tuple[str, str], ...]
    batch: int
    state: State


class Engine:
    """A compiled graph.

    Between runs ``read`` and ``write`` serve the Vars. ``step`` counts the steps done; after an
    error in one of several parts all of them are where the last whole step left them, but for a
    graph with Python models, which runs no more.

    Attributes: ``plan``, what is walked; ``programs``, one for each of its parts; ``beside``, those
    with models beside the steps, which are told where a run begins and is over; ``whole``: a run is
    one stretch, as one of the parts runs all steps at once.
    """

    def __init__(
        self,
        plan: Plan,
        programs: Sequence[Program],
        batch: int,
        recordable: Iterable[Port | Var] = (),
        channel: Channel | None = None,
    ) -> None:
        self.plan, self.programs, self.batch = plan, list(programs), batch
        self.flat = plan.flat
        self.whole = any(p.target.whole for p in plan.parts)
        self._of = dict(zip(plan.parts, self.programs, strict=True))
        self._single = self.programs[0] if len(self.programs) == 1 and not self.whole else None
        self.longer = hasattr(self._single, "again")
        self._owner = {id(n.process): self._of[p] for p in plan.parts for n in p.nodes}
        self.channel: Channel = channel or LocalChannel(batch)
        self._passed: dict[Part, list[OutPort]] = {part: [] for part in plan.parts}
        self._sent: set[Port | Var] = {p for part in plan.parts for p in part.sends}
        self._pass_on([p for part in plan.parts for p in part.sends])
        self._summed: dict[Port | Var, list[Term]] = {}
        self._sum(t for t in recordable if isinstance(t, Port) and not self._leaf(t))
        self._back: dict[Part, list[Edge]] = {p: [] for p in plan.parts}
        for group in plan.groups:
            for edge in plan.back(group):
                self._back[edge.target].append(edge)
        self._running = self.programs[0]
        self._asking: list[Any] = [p for p in self.programs if hasattr(p, "request")]
        self.beside: list[Any] = [p for p in self._asking if p.beside]
        self.cut: Cut | None = None  # over workers, where those were asked for
        self._step = self.flat.step
        self._last: int | None = None  # steps of the last run
        self.goes_on = False  # whether ``again`` may follow
        self.elsewhere = False  # whether models are in other processes
        self.lost: str | None = None  # why its states are no more

    def close(self) -> None:
        """It is not used any more."""

    def _leaf(self, port: Port) -> bool:
        return isinstance(port, OutPort) and id(port.process) in self._owner

    def _pass_on(self, ports: Iterable[Port]) -> None:
        """Let ``ports`` go through the channel in every stretch."""
        for port in dict.fromkeys(ports):
            for part, passed in self._passed.items():
                if part.node_of(port.process) is not None and port not in passed:
                    assert isinstance(port, OutPort)
                    passed.append(port)
                    self.channel.open(port, self.flat.dtype_of(port))

    def _sum(self, ports: Iterable[Port]) -> None:
        """Let recordings of ``ports``, which are no leaf's own, be summed up from the channel."""
        for port in ports:
            self._summed[port] = self.flat.terms(port)
            self._pass_on(t.source for t in self._summed[port] if isinstance(t.source, OutPort))

    # -- running -----------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        return self._step if self._single is None else self._single.step

    @property
    def request(self) -> str:
        """What a model asked for in the last step done, which then ended the run: "pause", "stop"
        or nothing."""
        return next((p.request for p in self._asking if p.request), "") if self._asking else ""

    def watch(self, paused: Callable[[], bool]) -> None:
        """``paused`` says whether the run is to end, to parts that may wait for the program around
        the graph."""
        for program in self._asking:
            program.watch(paused)

    def run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Recordings) -> None:
        """Do ``steps`` steps.

        Args:
            stimuli: for each of the graph's stimuli an array (steps, batch, size), of the dtype
                that ``flat.dtype_of`` says.
            recordings: arrays (steps, batch, size) to fill; dtype as ``dtype_of`` says. They may
                have rows for steps that ``again`` does where ``longer`` says so.
        """
        if self._single is not None:
            self._single.run(steps, stimuli, recordings)
            self.goes_on = getattr(self._single, "goes_on", False)
            return
        if self._asking:  # Python models go back to no snapshot of their own accord
            for program in self._asking:
                program.check_torn()
            try:
                self._stretch(steps, stimuli, recordings)
            except BaseException as e:  # Ctrl-C among them: some parts are ahead of others
                for program in self._asking:
                    program.torn = program.torn or (
                        f"{self.flat.processes[0].path}: {type(e).__name__} left parts of the graph at different steps"
                    )
                raise
            return
        before = self.state()
        try:
            self._stretch(steps, stimuli, recordings)
        except BaseException as e:  # Ctrl-C among them: some parts are ahead of others
            done = self._running.step - before[0]
            self.go_back(before)
            if isinstance(e, Exception) and 0 < done < steps and not self.whole:
                # a part behind may fail even before: then that is the error
                self.run(
                    done,
                    {p: x[:done] for p, x in stimuli.items()},
                    {t: x[:done] for t, x in recordings.items()},
                )
            raise

    def again(self, steps: int) -> None:
        """Do ``steps`` more as the last run did: recordings go on in the rows behind those that it
        filled, which must be there, and stimuli so too. Where ``goes_on`` says so, and nothing but
        ``write`` came between."""
        self._single.again(steps)  # type: ignore[union-attr]  # goes_on says that there is one

    def _stretch(
        self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Recordings
    ) -> None:
        given = {
            **stimuli,
            **{
                t: x for t, x in recordings.items() if isinstance(t, Port) and t not in self._summed
            },
        }
        self.channel.begin(steps, given)
        for group in self.plan.groups:
            first, longest = 0, self.plan.stretch(group)  # which a set of delays may change
            while first < steps:
                last = steps if math.isinf(longest) else min(first + int(longest), steps)
                for part in group:
                    self._run_part(part, first, last, recordings)
                first = last
        for target, rows in recordings.items():
            if target in self._summed:
                rows[...] = 0
                for term in self._summed[target]:
                    term.add(rows, self.channel.rows(term.source, 0, steps))
            elif isinstance(target, Var) and id(target.process) not in self._owner:
                rows[...] = target.value.reshape(-1)
        self._step += steps
        self._last = steps

    def _run_part(self, part: Part, first: int, last: int, recordings: Recordings) -> None:
        program, rows = self._of[part], self.channel.rows
        self._running = program
        for edge in self._back[part]:
            rows(edge.port, first, last)[...] = self._of[edge.source].ahead(edge.port, last - first)
        heard = {p: rows(p, first, last) for p in part.hears}
        wanted: dict[Port | Var, np.ndarray] = {p: rows(p, first, last) for p in self._passed[part]}
        for target, x in recordings.items():
            if self._owner.get(id(target.process)) is program and target not in self._summed:
                wanted[target] = x[first:last]
        program.run(last - first, heard, wanted)

    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        """What ``port`` will send in the next ``steps`` steps; see
        :meth:`lavalike.backends.base.Program.ahead`."""
        return self._owner[id(port.process)].ahead(port, steps)

    def record(self, targets: Sequence[Port | Var]) -> bool:
        """Let runs record ``targets`` too; False where that takes another program."""
        if self._single is not None:
            own = {self._single: [*targets]}
        else:
            sums = [t for t in targets if isinstance(t, Port) and not self._leaf(t)]
            own = {}
            for t in (
                *(t for t in targets if t not in sums),
                *(term.source for port in sums for term in self.flat.terms(port)),
            ):
                program = self._owner.get(id(t.process))
                if program is not None and isinstance(t, OutPort | Var):
                    own.setdefault(program, []).append(t)
        if any(getattr(program, "record", None) is None for program in own):
            return False
        for program, wanted in own.items():
            program.record(list(dict.fromkeys(wanted)))  # type: ignore[attr-defined]  # each has it, see above
        if self._single is None:
            self._sum(sums)
        return True

    # -- Vars and what is recorded -----------------------------------------------------------------

    def dtype_of(self, target: Port | Var) -> np.dtype:
        """The dtype in which ``target`` is recorded."""
        program = self._owner.get(id(target.process))
        if self._single is not None:
            return self._single.dtype_of(target)
        if target in self._sent:  # as it goes through the channel
            return self.flat.dtype_of(target)  # type: ignore[arg-type]  # only ports are sent
        if target in self._summed or program is None:
            return self.flat.dtype_of(target) if isinstance(target, Port) else target.value.dtype
        return program.dtype_of(target)

    def read(self, var: Var) -> np.ndarray:
        """The Var's value, without batch (the first sample's where there is one)."""
        program = self._owner.get(id(var.process))
        return var.value if program is None else program.read(var)

    def write(self, var: Var, value: np.ndarray) -> None:
        """Set a state, or derive a model's constants anew; VarError leaves everything as it was."""
        program = self._owner.get(id(var.process))
        if program is not None:
            program.write(var, value)

    # -- states as a whole -------------------------------------------------------------------------

    @functools.cached_property
    def _names(self) -> tuple[tuple[str, str], ...]:
        return tuple((n.process.path, _describe(n)) for n in self.flat.nodes)

    def state(self) -> State:
        """All that steps change, as it is now; for this engine."""
        return self.step, tuple(p.snapshot() for p in self.programs)

    def go_back(self, state: State) -> None:
        """Be as when ``state`` was taken. Parameters stay as they are."""
        self._step, parts = state
        for program, part in zip(self.programs, parts, strict=True):
            program.restore(part)

    def held(self) -> State:
        """All that steps change, as data."""
        return self.state()

    def hold(self, state: State) -> None:
        """Be as when ``held`` gave ``state``, of this engine or of one of an equal graph."""
        self.go_back(state)

    @property
    def shares(self) -> list[list[str]]:
        """Paths of the processes that other processes compute, of each: none."""
        return []

    def snapshot(self) -> Snapshot:
        """All that steps change, as it is now."""
        return Snapshot(self._names, self.batch, self.state())

    def restore(self, snapshot: Snapshot) -> None:
        """Be as when ``snapshot`` was taken, of this engine or of one of an equal graph; RunError
        for another graph's, by name."""
        mine = self._names
        if snapshot.nodes != mine or snapshot.batch != self.batch:
            other = next(
                (
                    f"{a[0]} ({a[1]}) there, {b[0]} ({b[1]}) here"
                    for a, b in zip(snapshot.nodes, mine, strict=False)
                    if a != b
                ),
                f"{len(snapshot.nodes)} nodes in batches of {snapshot.batch} there, {len(mine)} in batches of {self.batch} here",
            )
            raise RunError(
                f"{self.flat.processes[0].path}: the snapshot is of another graph: {other}; take one of this graph"
            )
        self.go_back(snapshot.state)

    # -- what a chip tells -------------------------------------------------------------------------

    def placement(self, chips: int = 1) -> Placement:
        """Where the parts of the bss2 backend lie. RoutingError; RunError where there is none."""
        from lavalike.backends.bss2 import reporting

        return reporting.placement(self.programs, chips)

    def report(self) -> Report:
        """The placement, and what the last run counted on the chip. RunError where no part ran on
        one."""
        from lavalike.backends.bss2 import reporting

        return reporting.report(self.programs, self._last)

    @property
    def links(self) -> list[SpikeRecord]:
        """Of each spiking part on an emulated chip, the events of the last run that came from
        outside, and those lost on the way."""
        from lavalike.backends.bss2 import reporting

        return reporting.links(self.programs)


def compiled(
    flat: Flat, batch: int, recordable: Sequence[Port | Var], backends: Callable[[str], Backend]
) -> Engine:
    """An engine for ``flat``: cut into parts, a program built for each."""
    for node in flat.nodes if batch > 1 else ():
        node.model.check_batch(batch)
    plan = cut(flat)
    recordable = list(dict.fromkeys(recordable))
    if len(plan.parts) == 1 and not plan.parts[0].target.whole:
        part = plan.parts[0]
        return Engine(
            plan, [backends(part.target.backend).build(part, batch, recordable)], batch, recordable
        )
    wanted = [
        *recordable,
        *(t.source for r in recordable if isinstance(r, Port) for t in flat.terms(r)),
    ]
    programs = []
    for part in plan.parts:
        own = [
            t
            for t in (*part.sends, *wanted)
            if part.node_of(t.process) is not None and (isinstance(t, OutPort | Var))
        ]
        programs.append(backends(part.target.backend).build(part, batch, list(dict.fromkeys(own))))
    return Engine(plan, programs, batch, recordable)


def _describe(node: Node) -> str:
    shapes = ", ".join(f"{v.name} {v.shape}" for v in node.process.vars if v.role == "state")
    return f"{type(node.process).__name__} with {shapes or 'no states'} in {node.model.config.message_dtype} on {node.target.backend}"
