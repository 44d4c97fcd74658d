"""NumpyProgram: models in Python, and parts of other backends among them, step by step."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.backends import get_backend
from lavalike.backends.numpy.library import PipeModel, TapModel
from lavalike.backends.numpy.model import AsyncModel, NumpyModel
from lavalike.backends.numpy.phases import Phases
from lavalike.backends.numpy.ports import Queue, cast
from lavalike.backends.numpy.scheduler import Raised, Scheduler
from lavalike.backends.numpy.turns import PartTurn, hand_on, told
from lavalike.compiler.flat import Node
from lavalike.compiler.parts import Part
from lavalike.errors import ChannelDeadlockError, RunError
from lavalike.proc.io import channel
from lavalike.process import OutPort, Port, Var

if TYPE_CHECKING:
    from lavalike.backends.base import Program

Rows = Mapping[Port | Var, np.ndarray]
Fill = Callable[[np.ndarray], None]
Fills = list[tuple[Fill, np.ndarray]]
Fed = list[tuple[np.ndarray, list[list[Queue]], list[PartTurn], Port]]


class NumpyProgram:
    """See :class:`lavalike.backends.base.Program`.

    An error within a step leaves it half done: what Python models did stays, so the program takes
    no further step.
    """

    def __init__(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> None:
        self.part, self.batch, self.step = part, batch, part.step
        self.scheduler = Scheduler()
        self.scheduler.step = part.step
        self._alone = len(part.nodes) == len(
            part.flat.nodes
        )  # no other part is to keep step with it
        self.torn = ""  # what an error left half done
        turns: Sequence[Node | Part] = part.turns or part.nodes
        self.models = {n: _instances(n, batch) for n in turns if isinstance(n, Node)}
        self._pipes = [m for ms in self.models.values() for m in ms if isinstance(m, PipeModel)]
        self.beside = any(isinstance(m, AsyncModel) for ms in self.models.values() for m in ms)
        self._spanned = False  # a run of several stretches is under way
        self.parts: dict[Part, PartTurn] = {}
        python: set[Port] = {p for n in self.models for p in n.process.out_ports}
        for inner in turns:
            if isinstance(inner, Part):
                self.parts[inner] = PartTurn(
                    inner, self._build(inner, recordable), batch, self.scheduler, python
                )
        self._inner: dict[int, PartTurn] = {
            id(n.process): t for p, t in self.parts.items() for n in p.nodes
        }
        self._nodes = {id(n.process): n for n in self.models}
        for turn in turns:
            self.scheduler.turns += (
                [self.parts[turn]]
                if isinstance(turn, Part)
                else [m._body.run_spk for m in self.models[turn]]
            )
        self._wire()
        self._recorded: set[Port | Var] = set()
        self._phases = Phases(self)

    def _build(self, inner: Part, recordable: Sequence[Port | Var]) -> Program:
        summed = [t.source for r in recordable if isinstance(r, Port) for t in self.part.terms(r)]
        own = [
            t
            for t in (*inner.sends, *self.part.sends, *recordable, *summed)
            if inner.node_of(t.process) is not None and isinstance(t, OutPort | Var)
        ]
        backend = get_backend(inner.target.backend)
        return backend.build(inner, self.batch, list(dict.fromkeys(own)))

    def _wire(self) -> None:
        """Who reads what, by queues: of each port that a Python model sends on or hears, those of
        its readers."""
        self._readers: dict[Port, list[list[Queue]]] = {}  # a queue a sample
        self._sources: dict[tuple[Node, str], list[tuple[list[Queue], Any]]] = {}
        for node in self.models:
            for name, terms in node.inputs.items():
                wired = self._sources[node, name] = []
                for term in terms:
                    queues: list[Queue] = [deque() for _ in range(self.batch)]
                    self._readers.setdefault(term.source, []).append(queues)
                    wired.append((queues, term))
        for turn in self.parts.values():
            for port, queues in turn.queues.items():
                self._readers.setdefault(port, []).append(queues)
            for port in turn.part.hears:
                sender = self._inner.get(id(port.process)) if isinstance(port, OutPort) else None
                if sender is not None:
                    assert isinstance(port, OutPort)
                    turn.heard[port] = sender.sends[port]
                    if port not in sender.ahead and sender not in turn.before:
                        turn.before.append(sender)
        self._ahead = [
            (t.program, port, row, told(row, self._readers.get(port, []), port))
            for t in self.parts.values()
            for port, row in t.ahead.items()
        ]
        for turn in self.parts.values():
            stepper = getattr(turn.program, "stepper", None)
            turn.step = None if stepper is None else stepper(turn.heard, turn.wanted)
            turn.told = [
                message
                for p, row in turn.sends.items()
                if p not in turn.ahead
                for message in told(row, self._readers.get(p, []), p)
            ]

    def _bind(self) -> None:
        """Let the models' ports be this program's; they outlive programs, and so does what waits in
        their queues."""
        ends = [o for ms in self.models.values() for m in ms for o in m._outlets.values()]
        before = [(queue, end.port) for end in ends for queue in end.queues]
        for node, models in self.models.items():
            for k, model in enumerate(models):
                model._bind(
                    self.scheduler,
                    {
                        name: [(queues[k], term) for queues, term in self._sources[node, name]]
                        for name in node.inputs
                    },
                    {
                        p.name: [queues[k] for queues in self._readers.get(p, ())]
                        for p in node.process.out_ports
                    },
                    {
                        p.name: [t.queues[p][k] for t in self.parts.values() if p in t.queues]
                        for p in node.process.out_ports
                    },
                    {p.name for p in self._recorded if p.process is node.process},
                )
        self._phases.bind()
        now = {id(queue) for queue in self._queues()}
        for queue, port in before:
            if queue and id(queue) not in now:
                raise RunError(
                    f"{port.path}: {len(queue)} messages wait for a reader that another model computes now; let it receive them "
                    "before the change, or stop() first"
                )

    # -- running -----------------------------------------------------------------------------------

    def begin(self, steps: int | None) -> None:
        """A run of so many steps begins (None: without end), which may come in several stretches,
        until ``finish``."""
        self._spanned = True
        self.scheduler.begin(sys.maxsize if steps is None else steps)

    def finish(self) -> None:
        """The run is over, for models beside the steps too."""
        self._spanned = False
        raised = self.scheduler.finish()
        if raised and not self.torn:
            self.torn = f"{self.part.processes[0].path}: {type(raised[0][1]).__name__} came after step {self.step}"
            self.fail(raised, "run_async")

    def run(self, steps: int, heard: Mapping[Port, np.ndarray], recordings: Rows) -> None:
        if self.beside and not self._spanned:
            self.begin(steps)
            try:
                self.run(steps, heard, recordings)
            finally:
                self.finish()
            return
        self.check_torn()
        sums = [t for t in recordings if isinstance(t, Port) and self._is_sum(t)]
        summed = {t: self.part.terms(t) for t in sums}
        rows = dict(recordings)
        for term in (x for terms in summed.values() for x in terms):
            if term.source not in rows and term.source not in heard:
                shape = (steps, self.batch, term.source.size)
                rows[term.source] = np.zeros(shape, self.dtype_of(term.source))
        before = self.step
        try:
            self._run(steps, heard, {t: x for t, x in rows.items() if t not in summed})
        finally:
            done = self.step - before
            for target, terms in summed.items():
                recordings[target][:done] = 0
                for term in terms:
                    source = heard[term.source] if term.source in heard else rows[term.source]
                    term.add(recordings[target][:done], source[:done])

    def _run(self, steps: int, heard: Mapping[Port, np.ndarray], recordings: Rows) -> None:
        scheduler, ahead, phases = self.scheduler, self._ahead, self._phases
        fed, fills = self._prepare(heard, recordings)
        begun = False
        try:
            for k in range(steps):
                begun = False
                if self._pipes and self._alone and not self._due():
                    break
                scheduler.step, begun = self.step + 1, True
                for program, port, row, messages in ahead:
                    row[...] = program.ahead(port, 1)
                    hand_on(messages, scheduler.step)
                for rows, readers, hearing, source in fed:
                    row = rows[k : k + 1]
                    for turn in hearing:
                        turn.heard[source][...] = row
                    hand_on(told(row, readers, source), scheduler.step)
                if phases.refs:
                    phases.keep()
                raised = scheduler.run()
                if raised:
                    self.fail(raised, "run_spk")
                if phases.any:
                    phases.run()
                    for var in phases.written.keys() & recordings.keys():  # after it was recorded
                        recordings[var][k] = self._values(var).reshape(self.batch, -1)
                for fill, x in fills:
                    fill(x[k])
                self.step += 1
                if scheduler.request and self._alone:
                    break
        except BaseException as e:
            if begun:
                self.torn = f"{self.part.processes[0].path}: {type(e).__name__} left step {scheduler.step} half done"
            raise

    def _due(self) -> bool:
        """Wait until the next step can be done without waiting for the program around the graph, or
        until that waits for the step; False where the run is to end instead. ChannelDeadlockError
        where nobody can go on."""
        scheduler = self.scheduler

        def due() -> bool:
            return (
                all(m.at_once() for m in self._pipes)
                or any(m.channel.wanted for m in self._pipes if isinstance(m, TapModel))
                or scheduler.paused()
            )

        if not due() and not channel.wait_for(due, channel.alone):
            late = [m.waits() for m in self._pipes if not m.at_once()]
            raise ChannelDeadlockError(
                f"step {self.step + 1}: {', and '.join(late)}, and no other thread is there that could; run with blocking=False, or "
                "send and receive in a thread"
            )
        return not scheduler.paused()

    def watch(self, paused: Callable[[], bool]) -> None:
        """``paused`` says whether the run is to end: who waits for the program around the graph
        then waits no more."""
        self.scheduler.paused = paused

    def check_torn(self) -> None:
        """RunError where an error left a step half done."""
        if self.torn:
            raise RunError(
                f"{self.torn}; stop() gives the Vars as they are to the processes, then run again"
            )

    @property
    def request(self) -> str:
        """What a model asked for in the last step: "pause", "stop" or nothing."""
        return self.scheduler.request

    def _prepare(self, heard: Mapping[Port, np.ndarray], recordings: Rows) -> tuple[Fed, Fills]:
        """For a run: what is heard from outside, with who hears it, and what fills the rows of
        Python models' ports and Vars."""
        self.scheduler.request = ""
        sent = {t for t in recordings if isinstance(t, OutPort) and self._node(t) is not None}
        models = next(iter(self.models.values()))
        if sent != self._recorded or models[0]._scheduler is not self.scheduler:
            self._recorded = {*sent}
            self._bind()
        for turn in self.parts.values():
            turn.first = self.step + 1
            turn.recorded = {
                t: x for t, x in recordings.items() if self._inner.get(id(t.process)) is turn
            }
        fed = [
            (
                x,
                self._readers.get(port, []),
                [t for t in self.parts.values() if port in t.part.hears],
                port,
            )
            for port, x in heard.items()
        ]
        fills = [
            (self._filling(t), x) for t, x in recordings.items() if id(t.process) not in self._inner
        ]
        return fed, fills

    def _filling(self, target: Port | Var) -> Fill:
        """What fills a row (batch, size) with what ``target`` is after a step."""
        node = self._node(target)
        if node is None:  # a Var that nobody changes
            assert isinstance(target, Var)
            return lambda row: row.__setitem__(..., target.value.reshape(-1))
        models = self.models[node]
        if isinstance(target, Var):

            def hold(row: np.ndarray) -> None:
                for k, model in enumerate(models):
                    x = model._value_of(target)
                    if x.size != target.size:
                        raise RunError(
                            f"{target.path}: is recorded in shape {target.shape}, and {type(model).__name__} assigned an array of shape "
                            f"{x.shape} to it"
                        )
                    if x.dtype != row.dtype:
                        x = cast(target.path, x, row.dtype, "assigned", "the Var is recorded in")
                    row[k] = x.reshape(-1)

            return hold
        outlets = [m._outlets[target.name] for m in models]

        def carry(row: np.ndarray) -> None:
            for k, outlet in enumerate(outlets):
                x, outlet.sent = outlet.sent, None
                row[k] = (
                    0
                    if x is None
                    else cast(target.path, x, row.dtype, "sent", "the port is recorded in").reshape(
                        -1
                    )
                )

        return carry

    def fail(self, raised: Raised, phase: str) -> None:
        """The first of what was raised in a step, with a note that says whose it is; the others are
        in its notes."""
        notes = []
        for turn, _ in raised:
            body, place = getattr(turn, "__self__", None), ""
            beside = getattr(turn, "__name__", "") == "run_async"
            for node, models in self.models.items():
                for sample, model in enumerate(models):
                    if model._body is body:
                        place = f"in {node.process.path}, {'run_async' if beside else phase}, step {self.scheduler.step}"
                        place += f", sample {sample}" if self.batch > 1 else ""
            notes.append(place)
        error = raised[0][1]
        if notes[0]:
            error.add_note(notes[0])
        for (_, other), place in zip(raised[1:], notes[1:], strict=True):
            error.add_note(f"raised in the same step {place}: {type(other).__name__}: {other}")
        raise error

    # -- what is recorded, and Vars ----------------------------------------------------------------

    def _node(self, target: Port | Var) -> Node | None:
        """The Python model's node that ``target`` is of."""
        return self._nodes.get(id(target.process))

    def _is_sum(self, target: Port | Var) -> bool:
        """Whether it is a port that no model sends on."""
        if not isinstance(target, Port):
            return False
        return not isinstance(target, OutPort) or (
            self._node(target) is None and id(target.process) not in self._inner
        )

    @property
    def record(self) -> Callable[[Sequence[Port | Var]], None] | None:
        """Let runs record these too; None where a part of another backend cannot."""
        adds = {t: getattr(t.program, "record", None) for t in self.parts.values()}
        return None if None in adds.values() else self._record

    def _record(self, recordable: Sequence[Port | Var]) -> None:
        leaves = [*recordable]
        for target in recordable:
            if self._is_sum(target):
                leaves += [t.source for t in self.part.terms(target)]  # type: ignore[arg-type]  # a sum is a port
        for turn in self.parts.values():
            own = [t for t in dict.fromkeys(leaves) if self._inner.get(id(t.process)) is turn]
            turn.program.record([t for t in own if isinstance(t, OutPort | Var)])  # type: ignore[attr-defined]  # each has it, see record

    def dtype_of(self, target: Port | Var) -> np.dtype:
        turn = self._inner.get(id(target.process))
        if turn is not None and not self._is_sum(target):
            return turn.program.dtype_of(target)
        node = self._node(target)
        if isinstance(target, Var):
            return (
                target.value.dtype if node is None else self.models[node][0]._value_of(target).dtype
            )
        if node is not None and isinstance(target, OutPort):
            known = self.models[node][0]._outlets[target.name].dtype
            if known is not None:
                return known
            if not node.model.config.fixed:
                return np.dtype(np.float64)
        return self.part.dtype_of(target)

    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        """Of a part of another backend."""
        return self._inner[id(port.process)].program.ahead(port, steps)

    def read(self, var: Var) -> np.ndarray:
        turn, node = self._inner.get(id(var.process)), self._node(var)
        if turn is not None:
            return turn.program.read(var)
        return var.value if node is None else self.models[node][0]._value_of(var)

    def is_python(self, var: Var) -> bool:
        """Whether the Var is of a Python model."""
        return self._node(var) is not None

    def has_samples(self, var: Var) -> bool:
        """Whether the program of another backend has the Var sample by sample."""
        return self.batch == 1 or hasattr(self._inner[id(var.process)].program, "values")

    def _values(self, var: Var) -> np.ndarray:
        """A Var of another backend over the batch."""
        program: Any = self._inner[id(var.process)].program
        return program.read(var)[None] if self.batch == 1 else program.values(var)

    def value(self, var: Var, sample: int) -> np.ndarray:
        """A copy of the Var's value in a sample."""
        node = self._node(var)
        return np.array(
            self._values(var)[sample] if node is None else self.models[node][sample]._value_of(var)
        )

    def assign(self, var: Var, value: np.ndarray, sample: int) -> None:
        """Set the Var in a sample."""
        node = self._node(var)
        if node is None and self.batch == 1:
            self.write(var, value)
        elif node is None:
            program: Any = self._inner[id(var.process)].program
            program.put(var, value, sample)
        else:
            self.models[node][sample]._assign(var, value)
            self.models[node][sample]._body.on_var_update()

    def write(self, var: Var, value: np.ndarray) -> None:
        turn, node = self._inner.get(id(var.process)), self._node(var)
        if turn is not None:
            turn.program.write(var, value)
        elif node is not None:
            for model in self.models[node]:
                model._assign(var, value)
                model._body.on_var_update()

    # -- states as a whole -------------------------------------------------------------------------

    def _queues(self) -> list[Queue]:
        return [q for readers in self._readers.values() for queues in readers for q in queues]

    def snapshot(self) -> tuple[Any, ...]:
        return (
            self.step,
            [[m._snapshot() for m in models] for models in self.models.values()],
            [t.program.snapshot() for t in self.parts.values()],
            [[*q] for q in self._queues()],
        )

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        self.step, states, parts, queues = snapshot
        self.scheduler.step, self.torn = self.step, ""
        for models, kept in zip(self.models.values(), states, strict=True):
            for model, state in zip(models, kept, strict=True):
                model._restore(state)
        for turn, part in zip(self.parts.values(), parts, strict=True):
            turn.program.restore(part)
            turn.done = self.step
        for queue, messages in zip(self._queues(), queues, strict=True):
            queue.clear()
            queue.extend(messages)


def _instances(node: Node, batch: int) -> list[NumpyModel]:
    """The node's model, and as many more as the batch has samples."""
    first = node.model
    assert isinstance(first, NumpyModel)
    config = first.config
    return [first, *(type(first).of(node.process, config, False) for _ in range(batch - 1))]
