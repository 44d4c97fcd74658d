"""A step of another backend's part, as a turn among those of Python models."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lavalike.backends.numpy.ports import DEPTH, Queue, cast
from lavalike.backends.numpy.scheduler import Scheduler
from lavalike.compiler.parts import Part
from lavalike.errors import DeadlockError
from lavalike.process import AbstractProcess, OutPort, Port, Var

if TYPE_CHECKING:
    from lavalike.backends.base import Program

Told = list[tuple[Queue, np.ndarray, Port]]  # where to, a view of the row, and whose


class PartTurn:
    """One step of ``part``; it waits until all is there that the part hears in it.

    Attributes: ``queues``, of each port of a Python model that it hears those of its messages, one
    a sample; ``before``, the turns whose messages of the same step it hears; ``sends``, the rows
    (1, batch, size) of its ports that others hear, which they read there.
    """

    outside = False

    def __init__(
        self, part: Part, program: Program, batch: int, scheduler: Scheduler, python: set[Port]
    ) -> None:
        self.part, self.program, self.scheduler = part, program, scheduler
        self.done = part.step
        self.before: list[PartTurn] = []
        self.queues: dict[Port, list[Queue]] = {
            p: [deque() for _ in range(batch)] for p in part.hears if p in python
        }
        self.heard = {  # of this step, (1, batch, size)
            port: np.zeros((1, batch, port.size), part.dtype_of(port)) for port in part.hears
        }
        self._rows = [
            (queue, self.heard[p][0, k].reshape(p.shape), p)
            for p, queues in self.queues.items()
            for k, queue in enumerate(queues)
        ]
        rows = {p: np.zeros((1, batch, p.size), part.dtype_of(p)) for p in part.sends}
        self.sends: dict[OutPort, np.ndarray] = rows
        # what is settled before the step is read there
        self.ahead = {p: x for p, x in rows.items() if self._lag(p)}
        self.wanted: dict[Port | Var, np.ndarray] = {
            p: x for p, x in rows.items() if p not in self.ahead
        }
        self.step: Callable[[], None] | None = None
        self.recorded: Mapping[Port | Var, np.ndarray] = {}  # rows of all steps of the run
        self.first = 0
        self.told: Told = []

    def _lag(self, port: OutPort) -> int:
        node = self.part.node_of(port.process)
        assert node is not None
        return node.model.lag

    def __call__(self) -> None:
        if not self.ready():
            self.scheduler.wait(self)
        for queue, row, port in self._rows:
            x = queue.popleft()
            if x.dtype is not row.dtype:
                x = cast(port.path, x, row.dtype, "sent", "the port is heard in")
            row[...] = x
        if self.recorded:
            self._recording()
        elif self.step is not None:
            self.step()
        else:
            self.program.run(1, self.heard, self.wanted)
        self.done += 1
        if self.told:
            hand_on(self.told, self.scheduler.step)

    def _recording(self) -> None:
        """A step with its rows of those that are recorded."""
        at = self.scheduler.step - self.first
        recorded = {t: x[at : at + 1] for t, x in self.recorded.items()}
        self.program.run(1, self.heard, {**self.wanted, **recorded})
        for target in self.wanted.keys() & recorded.keys():
            self.wanted[target][...] = recorded[target]

    @property
    def owners(self) -> Sequence[AbstractProcess]:
        return [n.process for n in self.part.nodes]

    def ready(self) -> bool:
        for queue, _, _ in self._rows:
            if not queue:
                return False
        for queue, _, _ in self.told:
            if len(queue) >= DEPTH:
                return False
        if self.before:
            step = self.scheduler.step
            return all(t.done >= step for t in self.before)
        return True

    @property
    def turn(self) -> PartTurn:
        return self

    def begun(self) -> bool:
        return False

    def waits(self) -> str:
        nodes = ", ".join(n.process.path for n in self.part.nodes)
        missing = ", ".join(p.path for p in self.on())
        late = dict.fromkeys(p.path for queue, _, p in self.told if len(queue) >= DEPTH)
        what = f"for {missing}" if missing else f"to send: {_full(', '.join(late))}"
        return f"{nodes} on {self.part.target.backend} waits {what}"

    def on(self) -> list[OutPort]:
        ports = [*dict.fromkeys(p for queue, _, p in self._rows if not queue)]
        late = {
            id(n.process) for t in self.before if t.done < self.scheduler.step for n in t.part.nodes
        }
        ports += [p for p in self.part.hears if id(p.process) in late]
        return [p for p in ports if isinstance(p, OutPort)]


def told(row: np.ndarray, readers: Sequence[Sequence[Queue]], port: Port) -> Told:
    """Where the rows (1, batch, size) of a port are handed to Python models: each reader's queue,
    and its sample's message."""
    return [
        (q, row[0, k].reshape(port.shape), port) for queues in readers for k, q in enumerate(queues)
    ]


def hand_on(messages: Told, step: int) -> None:
    """Give each reader its message, a copy. DeadlockError where one has not received those
    before."""
    for queue, row, port in messages:
        if len(queue) >= DEPTH:
            raise DeadlockError(f"step {step}: {_full(port.path)}; receive what is sent")
        queue.append(row.copy())


def _full(ports: str) -> str:
    return f"{DEPTH} messages of {ports} are there that a reader has not received"
