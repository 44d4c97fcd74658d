"""A model's ends of ports: what it receives from and sends on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.backends.numpy.scheduler import Scheduler, Turn
from lavalike.errors import RunError
from lavalike.process.ports import InPort, OutPort
from lavalike.process.refs import RefPort

if TYPE_CHECKING:
    from lavalike.compiler.flat import Term

DEPTH = 64  # messages that wait for one reader; a send beyond waits
Queue = deque[np.ndarray]
_IDLE = Scheduler()  # of ports that no program has bound yet


class Inlet:
    """A model's end of an InPort.

    ``shape`` of a message; ``dtype`` as declared, None: as it is sent. What arrives in another
    dtype comes in the one that holds both; several sources are added up.
    """

    outside = False

    def __init__(self, port: InPort, dtype: np.dtype | None, zeros: np.dtype) -> None:
        self.port, self.shape, self.dtype = port, port.shape, dtype
        self.zeros = zeros if dtype is None else dtype
        self.sources: list[tuple[Queue, Term]] = []
        self.scheduler = _IDLE
        self.turn: Turn | None = None
        self.outlets: Sequence[Outlet] = ()  # of the same model
        self._queue: Queue | None = None

    def bind(
        self,
        scheduler: Scheduler,
        sources: Sequence[tuple[Queue, Term]],
        turn: Turn,
        outlets: Sequence[Outlet],
    ) -> None:
        """Read from ``sources`` from now on; ``turn`` is the model's, which sends on
        ``outlets``."""
        self.turn, self.outlets = turn, outlets
        waiting: dict[Any, list[Queue]] = {}
        for queue, term in self.sources:
            waiting.setdefault(_which(term), []).append(queue)
        for queue, term in sources:  # what was sent before the graph was compiled anew
            if (old := waiting.get(_which(term))) and (kept := old.pop(0)) is not queue:
                queue.extend(kept)
                kept.clear()
        self.scheduler = scheduler
        self.sources = sorted(sources, key=lambda s: s[1].src is not None or s[1].dst is not None)
        self._queue = None
        if len(sources) == 1:
            queue, term = sources[0]
            if term.src is None and term.dst is None and term.source.shape == self.shape:
                self._queue = queue

    def recv(self) -> np.ndarray:
        """The next message, which is the model's own to change; zeros where nothing is connected.
        Waits until it is there: the others go on meanwhile, and DeadlockError says so where nobody
        can."""
        queue = self._queue
        if queue is None:
            return self._gathered(take=True)
        if not queue:
            self.scheduler.wait(self)
        x = queue.popleft()
        return x if x.dtype is self.dtype or self.dtype is None else self._widened(x)

    def peek(self) -> np.ndarray:
        """A copy of what ``recv`` gives next, which stays there; waits as ``recv`` does."""
        return self._gathered(take=False)

    def probe(self) -> bool:
        """Whether ``recv`` would not wait, after the others have done of this step what they
        can."""
        return self.ready() or self.scheduler.probe(self)

    @property
    def owners(self) -> list[Any]:
        return [self.port.process]

    def ready(self) -> bool:
        return all(queue for queue, _ in self.sources)

    def begun(self) -> bool:
        """Whether the model has sent something that is not received yet."""
        return not self.outlets or any(queue for out in self.outlets for queue in out.queues)

    def waits(self) -> str:
        """What is missing, in words."""
        missing = dict.fromkeys(t.source.path for queue, t in self.sources if not queue)
        return f"waits in recv of {self.port.path} for {', '.join(missing)}"

    def on(self) -> list[OutPort]:
        """The ports it waits for."""
        return [
            t.source for queue, t in self.sources if not queue and isinstance(t.source, OutPort)
        ]

    def _gathered(self, take: bool) -> np.ndarray:
        if not self.ready():
            self.scheduler.wait(self)
        parts = [(queue.popleft() if take else queue[0], term) for queue, term in self.sources]
        if not parts:
            return np.zeros(self.shape, self.zeros)
        kinds = [x.dtype for x, _ in parts]
        if self.dtype is not None:
            kinds.append(self.dtype)
        dtype = np.result_type(*kinds)
        if len(parts) > 1 and dtype.kind == "b":  # bools add up to numbers
            dtype = np.dtype(np.int64)
        total = np.zeros(self.shape, dtype)
        flat = total.reshape(-1)
        for x, term in parts:
            term.add(flat, x.reshape(-1))
        return total

    def _widened(self, x: np.ndarray) -> np.ndarray:
        assert self.dtype is not None
        return x.astype(np.promote_types(self.dtype, x.dtype), copy=False)

    def __repr__(self) -> str:
        return f"<Inlet {self.port!r}>"


def _which(term: Term) -> tuple[Any, ...]:
    """What says whether two terms of a port are the same connection."""
    return (term.source, *(None if x is None else x.tobytes() for x in (term.src, term.dst)))


class Outlet:
    """A model's end of an OutPort. ``shape`` of a message; ``dtype`` as declared, None: as it is
    sent."""

    outside = False

    def __init__(self, port: OutPort, dtype: np.dtype | None) -> None:
        self.port, self.shape, self.dtype = port, port.shape, dtype
        self.queues: list[Queue] = []
        self.parts: list[Queue] = []  # those of them that parts of other backends read
        self.scheduler = _IDLE
        self.turn: Turn | None = None
        self.recorded = False
        self.sent: np.ndarray | None = None  # what was sent last, while it is recorded
        self._queue: Queue | None = None

    def bind(
        self,
        scheduler: Scheduler,
        queues: Sequence[Queue],
        parts: Sequence[Queue],
        recorded: bool,
    ) -> None:
        """Send to these from now on; ``parts`` are those of them that parts of other backends
        read."""
        waiting = [*self.parts[0]] if self.parts else []  # each part has taken one a step
        if not any(queue is old for queue in parts for old in self.parts):
            for queue in parts:  # what was sent before the graph was compiled anew
                queue.extend(x.copy() for x in waiting)
            for queue in self.parts if parts else ():
                queue.clear()
        self.scheduler, self.queues, self.recorded = scheduler, list(queues), recorded
        self.parts = list(parts)
        self._queue = self.queues[0] if len(self.queues) == 1 and not recorded else None

    def send(self, data: Any) -> None:
        """Send a copy of ``data``, of the port's shape, to everything connected. Several a step are
        legal: each reader takes them in their order. Waits while a reader has not taken the last
        64.

        RunError for another shape, and for a value that the declared dtype does not hold.
        """
        x = data.copy() if type(data) is np.ndarray else np.array(data)
        if x.shape != self.shape or (x.dtype is not self.dtype and self.dtype is not None):
            x = self._fitted(x)
        queue = self._queue
        if queue is not None and len(queue) < DEPTH:
            queue.append(x)
        elif self.queues or self.recorded:
            self._spread(x)

    def flush(self) -> None:
        """Nothing: a message is there as soon as it is sent. Kept for Lava's programs."""

    @property
    def owners(self) -> list[Any]:
        return [self.port.process]

    def ready(self) -> bool:
        return all(len(queue) < DEPTH for queue in self.queues)

    def begun(self) -> bool:
        return True

    def waits(self) -> str:
        return f"waits in send of {self.port.path}: {DEPTH} messages are there that a reader has not received"

    def on(self) -> list[OutPort]:
        return []

    def _spread(self, x: np.ndarray) -> None:
        if not self.ready():
            self.scheduler.wait(self)
        for k, queue in enumerate(self.queues):
            queue.append(x.copy() if k else x)  # each reader's is its own
        if self.recorded:
            self.sent = x.copy() if self.queues else x

    def _fitted(self, x: np.ndarray) -> np.ndarray:
        if x.shape != self.shape:
            raise RunError(
                f"{self.port.path}: a message of shape {x.shape} is sent, and the port's is {self.shape}"
            )
        assert self.dtype is not None
        return cast(self.port.path, x, self.dtype, "sent", "the port is declared")

    def __repr__(self) -> str:
        return f"<Outlet {self.port!r}>"


class Ref:
    """A model's end of a RefPort. ``shape`` of what is read and written; ``dtype`` as declared,
    None: the Var's."""

    def __init__(self, port: RefPort, dtype: np.dtype | None) -> None:
        self.port, self.shape, self.dtype = port, port.shape, dtype
        self._read: Callable[[], np.ndarray] | None = None
        self._write: Callable[[np.ndarray], None] | None = None

    def bind(self, read: Callable[[], np.ndarray], write: Callable[[np.ndarray], None]) -> None:
        """Refer to what these read and write from now on."""
        self._read, self._write = read, write

    def read(self) -> np.ndarray:
        """The Var's value, a copy: in ``run_spk`` as the step before left it, after that as it is.
        Never waits."""
        if self._read is None:
            raise RunError(f"{self.port.path}: read while nothing runs; the first step can")
        x = self._read()
        if self.dtype is None:
            return x
        return cast(self.port.path, x, self.dtype, "read", "the port is declared")

    def write(self, data: Any) -> None:
        """Set the Var; what is written in ``run_spk`` holds when all have done theirs.

        RunError for another shape, VarError for what the Var does not hold.
        """
        x = np.array(data)
        if x.shape != self.shape:
            raise RunError(
                f"{self.port.path}: an array of shape {x.shape} is written, and the port's is {self.shape}"
            )
        if self._write is None:
            raise RunError(f"{self.port.path}: written while nothing runs; the first step can")
        self._write(x)

    def wait(self) -> None:
        """Nothing: what is written is there when ``write`` returns, of ``run_spk`` when all have
        done theirs. Kept for Lava's programs."""

    def __repr__(self) -> str:
        return f"<Ref {self.port!r}>"


def lost(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Which elements of ``x`` are not held in ``out``, the same in another dtype. Floating point
    may be rounded, not made infinite."""
    if np.can_cast(x.dtype, out.dtype, "safe"):
        return np.zeros(x.shape, bool)
    if x.dtype.kind in "fc" and np.can_cast(x.dtype, out.dtype, "same_kind"):
        return np.isfinite(x) & ~np.isfinite(out)
    return np.asarray(out != x)


def cast(path: str, x: np.ndarray, dtype: np.dtype, done: str, place: str) -> np.ndarray:
    """``x``, which was ``done`` ("sent"), in ``dtype``, which is that of ``place``; RunError where
    it does not hold ``x``."""
    texts = (x.dtype.kind == "U") != (dtype.kind == "U")
    if x.dtype.kind not in "biufcU" or texts or (x.dtype.kind == "c" and dtype.kind != "c"):
        what = {"c": "complex numbers", "U": "texts"}.get(x.dtype.kind, f"{x.dtype} values")
        raise RunError(f"{path}: {what} are {done}, and {place} {dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        out = x.astype(dtype)
    bad = lost(x, out)
    if bad.any():
        raise RunError(
            f"{path}: {x[bad].flat[0]} is {done}, and {place} {dtype}, which does not hold it"
        )
    return out
