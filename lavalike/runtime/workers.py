"""A graph over worker processes of this machine: ``RunConfig(workers=)``.

The parent cuts the graph (:mod:`lavalike.compiler.cut`), gives every worker its share and the
memory through which shares exchange, and from then on says how many steps to take; the workers keep
step by themselves. A stretch of steps ends for all with the same step, so pause and stop do. The
parent alone looks at who still lives.

Workers are spawned, and stay for half a minute after they were let go of, since an interpreter with
Numba takes a second or two to start.
"""

from __future__ import annotations

import ast
import atexit
import functools
import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, reduction
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike import logs
from lavalike.compiler.cut import Cut, cut, most
from lavalike.compiler.flat import Flat, Term
from lavalike.compiler.parts import Plan, cut as plan_of
from lavalike.compiler.refs import varying
from lavalike.errors import GraphError, RunError, WorkerError
from lavalike.process.ports import OutPort, Port
from lavalike.process.var import Var
from lavalike.runtime import parcel, wiring, worker
from lavalike.runtime.engine import Engine, Recordings, State, compiled as in_one

if TYPE_CHECKING:
    from lavalike.backends.base import Backend

log = logging.getLogger(__name__)
LOOK = 0.2  # seconds between two looks at workers that have not answered
MOST = 64  # steps that are exchanged at once, at most
# what has shares computed by other processes than those started here, and how many there are
# (runtime/mpi.py)
elsewhere: tuple[type[Workers], int] | None = None
ANSWERS = 5.0  # seconds after which a worker that nothing runs in has to answer
ENDS = 5.0  # seconds in which a worker that was let go of ends


def compiled(
    flat: Flat,
    batch: int,
    recordable: Sequence[Port | Var],
    backends: Callable[[str], Backend],
    running: bool = False,
) -> Engine | Workers:
    """What runs ``flat``: an engine here, or workers where the RunConfig asks for them and they
    pay. ``running``: in place of the program that its processes have."""
    config = flat.config
    count = config.workers or 1
    if config.workers is None and elsewhere is not None and config.partition is None:
        # ranks are there whatever a graph has for them
        count = min(elsewhere[1], most(flat))
        if count < elsewhere[1]:
            log.info("%s: on %d of %d MPI ranks", flat.processes[0].path, count, elsewhere[1])
    if count == 1:
        return in_one(flat, batch, recordable, backends)
    if elsewhere is not None and count > elsewhere[1]:
        raise WorkerError(
            f"RunConfig(workers={count}): more workers than the {elsewhere[1]} MPI ranks; start more, or take fewer workers"
        )
    made = cut(flat, count, config.partition, batch)
    if made.stays:
        log.info("%s: stays in one process: %s", flat.processes[0].path, made.stays)
        engine = in_one(flat, batch, recordable, backends)
        engine.cut = made
        return engine
    for node in flat.nodes:
        if batch > 1:
            node.model.check_batch(batch)
        if node.model.inline and node.process.runtime is not None and running:
            raise GraphError(
                f"{node.process.path}: {type(node.model).__name__} has a state of its own here, which a worker process does not get; "
                "stop() first, which gives its Vars back"
            )
    return (Workers if elsewhere is None else elsewhere[0])(made, batch, recordable)


# -- processes -------------------------------------------------------------------------------------


class Hand:
    """A worker process, seen from its parent."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        level = logs.LOGGER.getEffectiveLevel()
        self.process = context.Process(
            target=worker.main, args=(theirs, level), name="lavalike-worker", daemon=True
        )
        try:
            with _uninterrupted():
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.ended = False
        self.read = _sources()  # files of modules that it may have read
        self.place = _place()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def answer(self) -> Any:
        """What it says while nothing runs; OSError where it does not, as one that is stopped."""
        if not self.pipe.poll(ANSWERS):
            raise TimeoutError(f"worker process {self.pid} does not answer")
        return self.pipe.recv()

    def end(self, kill: bool = False) -> None:
        """Let the process end, and wait for it."""
        if self.ended:
            return
        self.ended = True
        self.pipe.close()
        if kill:
            self.process.kill()
        self.process.join(ENDS)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        log.info("worker process %d ended", self.pid)


_idle: list[Hand] = []
_lock = threading.Lock()


def _sources() -> dict[str, float]:
    """When files of modules that are not the library's or Python's were last written."""
    out = {}
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if file and "site-packages" not in file and not name.startswith(("lavalike", "netx")):
            with suppress(OSError):
                out[file] = os.stat(file).st_mtime
    return out


def _place() -> tuple[str, ...]:
    """Where modules are looked for."""
    return (os.getcwd(), *sys.path)


def _hired(count: int) -> list[Hand]:
    """So many workers, those that wait first; new ones start all at once."""
    _check_start()
    hands: list[Hand] = []
    now = _sources()
    try:
        while len(hands) < count:
            with _lock:
                hand = _idle.pop() if _idle else None
            if hand is None:
                hands.append(Hand())
                continue
            stale = hand.place != _place() or any(now.get(f, t) != t for f, t in hand.read.items())
            if stale or not hand.process.is_alive():
                hand.end()
                continue
            try:
                hand.pipe.send(("hello",))
                hand.answer()
            except (EOFError, OSError):  # its time was up, or it is stopped
                hand.end(kill=True)
                continue
            hands.append(hand)
    except BaseException as e:
        for hand in hands:
            hand.end(kill=True)
        if isinstance(e, OSError):
            raise WorkerError(
                f"RunConfig(workers={count}): a worker process cannot be started: {e}; take fewer workers"
            ) from e
        raise
    return hands


def _end_idle() -> None:
    with _lock:
        hands, _idle[:] = [*_idle], []
    for hand in hands:
        hand.end()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    for hand in _idle:
        hand.pipe.close()
    _idle.clear()


atexit.register(_end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process started within begins with Ctrl-C held back, until it says that it is none of
    its."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_start() -> None:
    """WorkerError where a process that is started now would not come to its work."""
    if os.name != "posix":
        raise WorkerError("RunConfig(workers=): needs a POSIX system; leave out workers here")
    if multiprocessing.current_process().daemon:
        raise WorkerError(
            "RunConfig(workers=): this is a daemonic process of multiprocessing, which may have no processes of its own; leave out "
            "workers here, or start it with daemon=False"
        )
    _check_main()


def _guards(node: ast.AST, line: int) -> bool:
    """Whether ``node`` keeps ``line`` from an import: ``if __name__ == "__main__"``."""
    return (
        isinstance(node, ast.If)
        and any(s.lineno <= line <= (s.end_lineno or line) for s in node.body)
        and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
        and "__main__" in {n.value for n in ast.walk(node.test) if isinstance(n, ast.Constant)}
        and not any(isinstance(n, ast.Or) for n in ast.walk(node.test))
    )


def _check_main() -> None:
    """WorkerError where a process that imports this program would run it."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    named = getattr(getattr(main, "__spec__", None), "name", "") or ""
    if path is None or named.endswith(".__main__"):  # which spawned processes do not import
        return
    if not os.path.isfile(path):
        raise WorkerError(
            f"RunConfig(workers=): the program is {path}, which worker processes cannot import; write it to a file, with "
            'what runs behind if __name__ == "__main__":, or leave out workers'
        )
    line, frame = 0, sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>":
            line = frame.f_lineno
        frame = frame.f_back
    try:
        with open(path, "rb") as f:
            body = ast.parse(f.read()).body if line else []
    except (OSError, SyntaxError, ValueError):  # no program of Python's own: nothing can be told
        return
    at = next((s for s in body if s.lineno <= line <= (s.end_lineno or line)), None)
    if at is None or any(_guards(n, line) for n in ast.walk(at)):
        return
    raise WorkerError(
        f"{path}:{line}: worker processes import this file, and would run this line again; put what runs behind "
        'if __name__ == "__main__":, or leave out workers'
    )


# -- a graph over them -----------------------------------------------------------------------------


class Workers:
    """What :class:`lavalike.runtime.engine.Engine` is, with the shares of a graph in worker
    processes.

    An error of a worker leaves all at the last whole step, as one process does, and is raised as it
    is. A worker that has ended or does not answer is a WorkerError that ends all of them; what was
    computed since they were given their shares is lost then (``lost``), and the Vars hold what they
    held at that step.
    """

    whole = False
    elsewhere = True
    longer = False
    goes_on = False

    def __init__(self, made: Cut, batch: int, recordable: Sequence[Port | Var]) -> None:
        began = time.perf_counter()
        self.cut, self.flat, self.batch = made, made.flat, batch
        self.plan: Plan = plan_of(made.flat)
        self.step = self.flat.step
        self.request = ""
        self.lost: str | None = None
        self.beside: list[Any] = []
        self._pid = os.getpid()
        self._runs = itertools.count(1)
        self._states = itertools.count(1)
        self._forget: list[int] = []
        self._told: list[tuple[str, type[Warning]]] = []  # warnings of workers
        self._where: dict[Port | Var, tuple[int, parcel.Key]] = {}
        for share in made.shares:
            own = parcel.keys(share.nodes)
            self._where |= {t: (share.rank, key) for t, key in own.items()}
        self._varying = {*varying(self.flat)}
        self._sums: dict[Port, list[Term]] = {}
        self.busy = False  # an answer of workers is waited for
        self.why: dict[int, str] = {}  # of a worker that was ended, for what
        layout = wiring.Layout(made, max(1, min(made.interval, MOST)))
        parcels = [parcel.parcel(made, s.rank, layout) for s in made.shares]
        self._most = layout.steps
        self._fed: list[list[Port]] = [[*p.stimuli] for p in parcels]
        packed = [parcel.packed(p) for p in parcels]  # before a process is started
        self._start(layout, packed, recordable)
        log.info(
            "%s: over %d workers in %.3f s, predicted %.3g us a step",
            *(self.flat.processes[0].path, len(self.hands), time.perf_counter() - began),
            1e6 * made.predicted,
        )

    def _start(
        self,
        layout: wiring.Layout,
        packed: Sequence[parcel.Packed],
        recordable: Sequence[Port | Var],
    ) -> None:
        self._fd = wiring.memory(layout.size)
        self._words = wiring.words(self._fd, layout.size)
        try:
            self.hands = _hired(len(packed))
            self._finalizer = weakref.finalize(self, _let_go, self.hands, self._pid)
            self._finalizer.atexit = False
            threading.Thread(
                target=_watch, args=(weakref.ref(self),), name="lavalike-workers", daemon=True
            ).start()
            self.busy = True
            self._build(packed, recordable)
        finally:
            self.busy = False
            os.close(self._fd)

    def _build(self, packed: Sequence[parcel.Packed], recordable: Sequence[Port | Var]) -> None:
        wanted = self._wanted(recordable)
        threads = max(1, (os.cpu_count() or 1) // len(packed))
        try:
            for hand, (data, beside) in zip(self.hands, packed, strict=True):
                rank = self.hands.index(hand)
                level = logs.LOGGER.getEffectiveLevel()
                own = wanted.get(rank, [])
                self._send(hand, "build", level, len(data), len(beside), own, threads)
                for part in (data, *beside):
                    self._send_bytes(hand, part)
                self._in_pipe(hand, functools.partial(self._send_memory, hand))
            told = self._answers(range(len(self.hands)))
            careful = any(c for c, _ in told)
            self._asking = any(a for _, a in told)
            self._keeps = careful and not self._asking
            self._all("ready", self._keeps, self._asking)
        except BaseException as e:
            self._end(f"they could not be given their shares: {e}")
            raise

    # -- talking to them ---------------------------------------------------------------------------

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise RunError(
                f"{self._name}: its worker processes belong to the process that this one was forked from; stop() there before the fork, "
                "or compile in the child"
            )
        if self.lost is not None:
            raise WorkerError(
                f"{self._name}: its worker processes have ended: {self.lost}; stop(), then run again goes on from step {self.flat.step}"
            )

    @property
    def _name(self) -> str:
        return self.flat.processes[0].path

    def _in_pipe(self, hand: Hand, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except (EOFError, OSError):
            raise self._dead(hand) from None

    def _send(self, hand: Hand, *message: Any) -> None:
        self._in_pipe(hand, lambda: hand.pipe.send(message))

    def _send_bytes(self, hand: Hand, data: Any) -> None:
        size = len(data) if isinstance(data, bytes) else data.nbytes
        self._send_plain(hand, size)
        if size:
            self._in_pipe(hand, lambda: hand.pipe.send_bytes(data))

    def _send_memory(self, hand: Hand) -> None:
        reduction.send_handle(hand.pipe, self._fd, hand.pid)

    def _send_plain(self, hand: Hand, value: Any) -> None:
        self._in_pipe(hand, lambda: hand.pipe.send(value))

    def _dead(self, hand: Hand) -> WorkerError:
        """The error for a worker that has ended; the others end with it."""
        rank, pid = self.hands.index(hand), hand.pid
        hand.process.join(1.0)
        code = hand.process.exitcode
        how = (
            self.why[rank]
            if rank in self.why
            else "ended"
            if code is None
            else f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with status {code}"
        )
        return self._broken(f"worker {rank} (process {pid}) {how}")

    def _broken(self, what: str) -> WorkerError:
        self._end(what)
        since = f"what was computed since step {self.flat.step} is lost"
        return WorkerError(
            f"{self._name}: {what}, around step {self.step}; {since}. stop(), and a run goes on from there with the Vars as they were then "
            "and as they were set"
        )

    def _end(self, why: str) -> None:
        """End all workers of this graph."""
        self.lost = self.lost or why
        self._finalizer.detach()
        for hand in self.hands:
            hand.end(kill=True)

    def _all(self, verb: str, *arguments: Any) -> list[Any]:
        with _Deferred(self):
            for hand in self.hands:
                self._send(hand, verb, *arguments)
            return self._answers(range(len(self.hands)))

    def _ask(self, rank: int, verb: str, *arguments: Any, data: Any = None) -> Any:
        self._check()
        with _Deferred(self):
            self._send(self.hands[rank], verb, *arguments)
            if data is not None:
                self._send_bytes(self.hands[rank], data)
            return self._answers([rank])[0]

    def _answers(
        self, ranks: Iterable[int], into: Mapping[int, Sequence[np.ndarray]] | None = None
    ) -> list[Any]:
        """What each of ``ranks`` answers, or the error of one. ``into``: where arrays go."""
        ranks = list(ranks)
        values, errors = self._gathered(ranks, into)
        if errors:
            raise _first(errors)
        return [values[r] for r in ranks]

    def _gathered(
        self,
        ranks: Sequence[int],
        into: Mapping[int, Sequence[np.ndarray]] | None = None,
        limit: float | None = None,
    ) -> tuple[dict[int, Any], dict[int, tuple[int, BaseException]]]:
        """Values and errors (steps done, and the error) of ``ranks``. WorkerError where nothing is
        exchanged for ``limit`` seconds."""
        values: dict[int, Any] = {}
        errors: dict[int, tuple[int, BaseException]] = {}
        waiting: dict[Any, int] = {self.hands[r].pipe: r for r in ranks}
        progress, since = self._progress(), time.monotonic()
        while waiting:
            ready = self._wait([*waiting])
            for pipe in ready:
                rank = waiting[pipe]
                answer = self._answer(rank, (into or {}).get(rank))
                if answer is None:
                    continue
                del waiting[pipe]
                if answer[0] == "done":
                    values[rank] = answer[1]
                else:
                    errors[rank] = answer[1:]
            if ready:
                continue
            if limit is None:
                continue
            if (now := self._progress()) != progress:
                progress, since = now, time.monotonic()
            elif time.monotonic() - since > limit:
                late = ", ".join(f"{r} (process {self.hands[r].pid})" for r in waiting.values())
                raise self._broken(
                    f"no step was done within timeout={limit:g} s, and worker {late} is at it yet; give more, or None to wait as long as "
                    "it takes"
                )
        return values, errors

    def _answer(self, rank: int, into: Sequence[np.ndarray] | None) -> Any:
        """The next message of a worker: ("done", value), ("error", steps, error), or None for one
        by the way."""
        hand = self.hands[rank]
        kind, *rest = self._in_pipe(hand, hand.pipe.recv)
        if kind == "log":
            logs.deliver(rest[0])
        elif kind == "warning":
            self._told.append((rest[1], rest[0]))
        elif kind == "seed":
            self._send_plain(hand, self.flat.seed)
        elif kind == "error":
            done, *error = rest
            return "error", done, worker.unpacked(*error)
        else:
            value, arrays = rest
            made = [np.empty(shape, dtype) for shape, dtype in arrays] if into is None else None
            for k, (shape, _) in enumerate(arrays):
                target = made[k] if made is not None else into[k][: shape[0]]  # type: ignore[index]  # one is there
                if target.size:
                    self._receive(hand, target)
            return "done", value if not made else made[0] if value is None else (value, made)
        return None

    def _receive(self, hand: Hand, target: np.ndarray) -> None:
        whole = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        if whole.nbytes:
            self._in_pipe(
                hand, lambda: hand.pipe.recv_bytes_into(whole.reshape(-1).view(np.uint8).data)
            )
        if whole is not target:
            target[...] = whole

    def _wait(self, pipes: Sequence[Any]) -> list[Any]:
        """Those of ``pipes`` with something to receive, none after LOOK seconds."""
        return connection.wait(pipes, LOOK)

    def _progress(self) -> tuple[int, ...]:
        """What changes while workers exchange."""
        return tuple(int(self._words[wiring.LINE * r]) for r in range(len(self.cut.shares)))

    # -- running -----------------------------------------------------------------------------------

    def watch(self, paused: Callable[[], bool]) -> None:
        """Nothing waits for the program around the graph in a worker."""

    def run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Recordings) -> None:
        """See :meth:`lavalike.runtime.engine.Engine.run`."""
        self._check()
        with _Deferred(self):
            try:
                self._run(steps, stimuli, recordings)
            except KeyboardInterrupt:
                self._end("Ctrl-C, twice")
                raise
        while self._told:  # which may be errors, and then not in the middle of a run
            warnings.warn(*self._told.pop(0), stacklevel=7)

    def _run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Recordings) -> None:
        self.request = ""
        lag = 1 if self._asking else max(1, min(self.cut.interval, self._most))
        rows, summed = self._split(recordings)
        for p in summed:
            rows[p] = np.zeros((steps, self.batch, p.size), self.dtype_of(p))
        of: list[dict[Port | Var, np.ndarray]] = [{} for _ in self.hands]
        for target, x in rows.items():
            of[self._where[target][0]][target] = x
        number = next(self._runs)
        for rank, hand in enumerate(self.hands):
            fed = [(k, stimuli[p]) for k, p in enumerate(self._fed[rank]) if p in stimuli]
            self._send(
                *(hand, "run", number, steps, lag),
                [(("in", k, 0), x.shape, x.dtype.str) for k, x in fed],
                [(self._where[t][1], x.shape, x.dtype.str) for t, x in of[rank].items()],
            )
            for _, x in fed:
                self._send_bytes(hand, _bytes(x))
        ranks = range(len(self.hands))
        into = {r: [*of[r].values()] for r in ranks}
        values, errors = self._gathered(ranks, into, self.flat.config.timeout)
        # who only waited for another takes up with it
        raised = [
            n for n, e in errors.values() if not (self._keeps and isinstance(e, wiring.Ended))
        ]
        done = min([v[0] for v in values.values()] + raised, default=0)
        try:
            if errors:
                self._settle(done, into)
        finally:
            self.step += done
            self._sum(recordings, dict[Port | Var, np.ndarray](stimuli.items()) | rows, done)
        if errors:
            raise _first(errors)
        self.request = next((v[1] for v in values.values() if v[1]), "")

    def _settle(self, steps: int, into: Mapping[int, Sequence[np.ndarray]]) -> None:
        """After an error: all are after the last whole step, where that can be had."""
        number = next(self._runs)
        for hand in self.hands:
            if self._keeps:
                self._send(hand, "again", number, steps)
            else:
                self._send(hand, "rows", steps)
        self._answers(range(len(self.hands)), into)

    def _split(self, recordings: Recordings) -> tuple[dict[Port | Var, np.ndarray], list[OutPort]]:
        """What workers record as it is, and the OutPorts of which the rest are sums."""
        own = {t: x for t, x in recordings.items() if t in self._where}
        sums = [
            term.source
            for t in recordings
            if t not in own and isinstance(t, Port)
            for term in self._terms(t)
            if term.source in self._where and term.source not in own
        ]
        return own, [p for p in dict.fromkeys(sums) if isinstance(p, OutPort)]

    def _terms(self, port: Port) -> list[Term]:
        if port not in self._sums:
            terms = self.flat.terms(port)  # in one process, too, whole ones come first
            self._sums[port] = sorted(terms, key=lambda t: t.src is not None or t.dst is not None)
        return self._sums[port]

    def _sum(
        self,
        recordings: Recordings,
        rows: Mapping[Port | Var, np.ndarray],
        done: int,
    ) -> None:
        for target, x in recordings.items():
            if target in self._where:
                continue
            if isinstance(target, Var):
                x[:done] = target.value.reshape(-1)
                continue
            x[:done] = 0
            for term in self._terms(target):
                term.add(x[:done], rows[term.source][:done])

    def record(self, targets: Sequence[Port | Var]) -> bool:
        """See :meth:`lavalike.runtime.engine.Engine.record`."""
        self._check()
        return all(
            self._ask(rank, "record", wanted) for rank, wanted in self._wanted(targets).items()
        )

    def again(self, steps: int) -> None:
        """Never, as ``goes_on`` says."""
        raise NotImplementedError

    def _wanted(self, targets: Sequence[Port | Var]) -> dict[int, list[parcel.Key]]:
        """By share, what it is to record so that ``targets`` can be had."""
        out: dict[int, list[parcel.Key]] = {}
        for target in targets:
            some = [target] if target in self._where else []
            if not some and isinstance(target, Port):
                some = [t.source for t in self._terms(target)]
            for t in some:
                if t in self._where:
                    rank, key = self._where[t]
                    out.setdefault(rank, []).append(key)
        return out

    # -- Vars and states ---------------------------------------------------------------------------

    def dtype_of(self, target: Port | Var) -> np.dtype:
        """The dtype in which ``target`` is recorded."""
        if isinstance(target, Port):
            return self.flat.dtype_of(target)
        if target not in self._where:
            return target.value.dtype
        rank, key = self._where[target]
        return np.dtype(self._ask(rank, "dtype", key))

    def read(self, var: Var) -> np.ndarray:
        """The Var's value, without batch."""
        here = var.role == "parameter" and var not in self._varying  # steps leave it as it is
        if here or var not in self._where or self.lost is not None:
            return var.value
        rank, key = self._where[var]
        return self._ask(rank, "read", key)

    def write(self, var: Var, value: np.ndarray) -> None:
        """See :meth:`lavalike.runtime.engine.Engine.write`."""
        if var in self._where:
            rank, key = self._where[var]
            self._ask(rank, "write", key, value.shape, value.dtype.str, data=_bytes(value))

    def state(self) -> State:
        """All that steps change, as it is now; it stays with the workers."""
        self._check()
        if self._forget:
            numbers, self._forget[:] = [*self._forget], []
            self._all("forget", numbers)
        kept = Kept(next(self._states), self._forget)
        self._all("state", kept.number)
        return self.step, (kept,)

    def go_back(self, state: State) -> None:
        """Be as when ``state`` was taken. Parameters stay as they are."""
        self._check()
        self.step, (kept,) = state
        self._all("go_back", kept.number)

    def held(self) -> State:
        """See :meth:`lavalike.runtime.engine.Engine.held`: of each share."""
        self._check()
        return self.step, tuple(pickle.loads(x.tobytes()) for x in self._all("snapshot"))

    def hold(self, state: State) -> None:
        """See :meth:`lavalike.runtime.engine.Engine.hold`."""
        step, shares = state
        for rank, share in enumerate(shares):
            self._ask(rank, "restore", data=pickle.dumps(share))
        self.step = step

    def generators(self) -> list[Any]:
        """States of each worker's own generators, see :mod:`lavalike.runtime.generators`."""
        return [pickle.loads(x.tobytes()) for x in self._all("generators")]

    def generate(self, found: Sequence[Any]) -> None:
        """Put each worker's generators where :meth:`generators` found them."""
        for rank, states in enumerate(found):
            self._ask(rank, "generate", data=pickle.dumps(states))

    @property
    def shares(self) -> list[list[str]]:
        """Paths of the processes of each share."""
        return [[n.process.path for n in share.nodes] for share in self.cut.shares]

    def close(self) -> None:
        """Let go of the workers, who wait for another graph."""
        if self.lost is None:
            self.lost = "stop() let go of them"
            self._finalizer()

    # -- what a chip tells -------------------------------------------------------------------------

    def placement(self, chips: int = 1) -> Any:
        """There is none."""
        return Engine.placement(self, chips)  # type: ignore[arg-type]  # of its programs, which are none

    def report(self) -> Any:
        """There is none."""
        return Engine.placement(self)  # type: ignore[arg-type]  # as above

    @property
    def programs(self) -> list[Any]:
        """They are elsewhere."""
        return []


class _Deferred:
    """Within, Ctrl-C waits: half a message to a worker is none. Twice it does not, and ends all
    workers."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers

    def __enter__(self) -> None:
        self.workers.busy = True
        self.count, self.before = 0, None
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self.before = signal.signal(signal.SIGINT, self._asked)

    def _asked(self, number: int, frame: Any) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def __exit__(self, *exc: object) -> None:
        self.workers.busy = False
        if self.before is None:
            return
        signal.signal(signal.SIGINT, self.before)
        if self.count and callable(self.before) and exc[0] is None:
            self.before(signal.SIGINT, None)


class Kept:
    """A state that workers keep, until nobody has this."""

    def __init__(self, number: int, forget: list[int]) -> None:
        self.number = number
        weakref.finalize(self, forget.append, number).atexit = False


def _watch(workers: weakref.ref[Workers]) -> None:
    """End a worker that is stopped (twice looked at, so that Ctrl-Z and on again ends nothing)
    while an answer is waited for; who waits for it then sees its pipe closed."""
    before: set[int] = set()
    while True:
        time.sleep(LOOK)
        graph = workers()
        if graph is None or graph.lost is not None:
            return
        stopped = {
            rank
            for rank, hand in enumerate([*graph.hands] if graph.busy else [])
            if wiring.state_of(hand.pid) in ("T", "t")
        }
        for rank in stopped & before:
            graph.why[rank] = "does not answer: it is stopped (SIGSTOP, a debugger)"
            graph.hands[rank].process.kill()
        before = stopped
        del graph


def _let_go(hands: list[Hand], pid: int) -> None:
    """Of a graph that is gone, or was stopped: its workers wait for another."""
    if pid != os.getpid():
        return
    for hand in [*hands]:
        try:
            hand.pipe.send(("drop",))
            while hand.answer()[0] != "done":
                pass
        except (EOFError, OSError):
            hands.remove(hand)
            hand.end(kill=True)
    with _lock:
        _idle.extend(hands)
    hands.clear()


def _first(errors: Mapping[int, tuple[int, BaseException]]) -> BaseException:
    """The error of the earliest step; that others did not go on is none."""
    return min(errors.values(), key=lambda e: (isinstance(e[1], wiring.Ended), e[0]))[1]


def _bytes(array: np.ndarray) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
