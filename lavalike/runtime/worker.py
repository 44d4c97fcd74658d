"""A worker process: it computes the shares that it is given, one after another, as its parent says
over a pipe."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing import connection, parent_process, reduction
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike import logs
from lavalike.errors import RunError, step_error

if TYPE_CHECKING:
    from lavalike.runtime.parcel import Parcel

LIVES = 30.0  # seconds that a worker without a share waits for the next


def main(pipe: Any, level: int) -> None:
    """What a worker process runs."""
    if hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who says when to end
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_outlive, daemon=True).start()
    worker = Worker(pipe)
    logs.join((worker, level))
    with contextlib.suppress(EOFError, OSError):  # the parent has ended, or let go of it
        worker.serve()
    os._exit(0)  # programs hold shared memory in arrays, which no order of ending would please


def _outlive() -> None:
    """End with the parent, whatever the other thread does."""
    parent = parent_process()
    assert parent is not None
    while not connection.wait([parent.sentinel], 1.0):
        if os.getppid() != parent.pid:  # what it forked may hold the sentinel's other end
            break
    os._exit(1)


class Worker:
    """Serves one parent. A request is a verb and its arguments, an answer ("done", value, arrays)
    or ("error", ...); arrays follow, as bytes each. ``alone``: the process is the worker's, no
    program's."""

    alone = True

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.member: Any = None
        self.meeting: Any = None
        self.lock = threading.Lock()  # a model's thread may log
        self.states: dict[int, Any] = {}
        self.last: tuple[Any, ...] = ()

    # -- what comes and goes -----------------------------------------------------------------------

    def put_nowait(self, record: logging.LogRecord) -> None:
        """A record of this process, for :class:`logging.handlers.QueueHandler`."""
        self.send("log", record)

    def send(self, *message: Any, arrays: Any = ()) -> None:
        with self.lock:
            self.pipe.send(message)
            for array in (a for a in arrays if a.size):
                self.pipe.send_bytes(array.reshape(-1).view(np.uint8).data)

    def bytes(self) -> bytearray:
        """The next bytes that come."""
        size = self.pipe.recv()
        into = bytearray(size)
        if size:
            self.pipe.recv_bytes_into(into)
        return into

    def ask(self) -> int:
        """The seed of the whole graph."""
        self.send("seed")
        return self.pipe.recv()

    def serve(self) -> None:
        while self.pipe.poll(None if self.member is not None else LIVES):
            self._serve_one()

    def serve_waiting(self) -> None:
        """Do what has been asked for by now."""
        while self.pipe.poll(0):
            self._serve_one()

    def _serve_one(self) -> None:
        verb, *arguments = self.pipe.recv()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                value, arrays = getattr(self, f"do_{verb}")(*arguments)
                answer: tuple[Any, ...] = (
                    "done",
                    value,
                    [(a.shape, a.dtype.str) for a in arrays],
                )
            except BaseException as e:
                if self.member is not None and verb in ("run", "again"):
                    self.meeting.give_up()
                answer, arrays = ("error", self._done(), *packed(e)), []
        for w in told:
            self.send("warning", w.category, str(w.message))
        self.send(*answer, arrays=arrays)

    def _done(self) -> int:
        return self.member.done if self.member is not None else 0

    @contextlib.contextmanager
    def memory(self) -> Iterator[int]:
        """The descriptor of the memory that all workers of a graph have, which comes next."""
        fd = reduction.recv_handle(self.pipe)
        try:
            yield fd
        finally:
            os.close(fd)

    def prepare(self, data: bytearray) -> None:
        """Before the pickle of a share is read."""

    def exchange(self, parcel: Parcel, fd: int) -> Any:
        """How the share exchanges with others."""
        from lavalike.runtime.shared import SharedExchange

        return SharedExchange(parcel.layout, parcel.wiring, fd)

    # -- requests ----------------------------------------------------------------------------------

    def do_hello(self) -> Any:
        return os.getpid(), []

    def do_build(self, level: int, size: int, count: int, recordable: Any, threads: int) -> Any:
        """A share: its pickle, so many arrays, and the memory that all have."""
        if self.alone:
            logs.LOGGER.setLevel(level)
        data = self.bytes()
        beside = [self.bytes() for _ in range(count)]
        with self.memory() as fd:
            from lavalike.runtime.member import Member, threaded
            from lavalike.runtime.parcel import unpacked

            self.prepare(data)
            parcel = unpacked(data, beside)
            threaded(parcel, threads)
            self.meeting = self.exchange(parcel, fd)
        self.member = Member(parcel, self.meeting, recordable, self.ask)
        if self.alone and self.member.draws:
            from lavalike.runtime import generators

            generators.seed(self.member.seed)
        if self.alone and "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        logging.getLogger(__name__).info(
            "worker %d: %d process%s",
            *(parcel.wiring.rank, len(parcel.nodes), "es" * (len(parcel.nodes) != 1)),
        )
        return (self.member.careful, self.member.asking), []

    def do_ready(self, keeps: bool, alert: bool) -> Any:
        self.member.ready(keeps, alert)
        return None, []

    def do_run(self, number: int, steps: int, lag: int, stimuli: Any, recordings: Any) -> Any:
        """Arrays of ``stimuli`` come after it; those of ``recordings`` go back."""
        targets = self.member.targets
        fed = {
            targets[key]: np.frombuffer(self.bytes(), dtype).reshape(shape)
            for key, shape, dtype in stimuli
        }
        rows = {targets[key]: np.zeros(shape, dtype) for key, shape, dtype in recordings}
        self.last = (lag, fed, rows)
        done = self.member.run(number, steps, lag, fed, rows)
        return (done, self.member.request), [x[:done] for x in rows.values()]

    def do_again(self, number: int, steps: int) -> Any:
        """The first steps of the last run once more, from where it began."""
        lag, fed, rows = self.last
        some: Any = {p: x[:steps] for p, x in fed.items()}, {t: x[:steps] for t, x in rows.items()}
        self.member.again(number, steps, lag, *some)
        return None, [x[:steps] for x in rows.values()]

    def do_rows(self, steps: int) -> Any:
        """What the first steps of the last run recorded."""
        return None, [x[:steps] for x in self.last[2].values()]

    def do_record(self, targets: Any) -> Any:
        return self.member.record(targets), []

    def do_dtype(self, key: Any) -> Any:
        return self.member.dtype_of(key).str, []

    def do_read(self, key: Any) -> Any:
        return None, [np.ascontiguousarray(self.member.read(key))]

    def do_write(self, key: Any, shape: Any, dtype: str) -> Any:
        value = np.frombuffer(self.bytes(), dtype).reshape(shape)
        self.member.write(key, value)
        return None, []

    def do_state(self, number: int) -> Any:
        self.states[number] = self.member.state()
        return None, []

    def do_go_back(self, number: int) -> Any:
        self.member.go_back(self.states[number])
        return None, []

    def do_forget(self, numbers: Any) -> Any:
        for number in numbers:
            self.states.pop(number, None)
        return None, []

    def do_snapshot(self) -> Any:
        return None, [np.frombuffer(pickle.dumps(self.member.state(), 5), np.uint8)]

    def do_restore(self) -> Any:
        self.member.go_back(pickle.loads(self.bytes()))
        return None, []

    def do_generators(self) -> Any:
        from lavalike.runtime import generators

        found = generators.states() if self.alone and self.member.draws else {}
        return None, [np.frombuffer(pickle.dumps(found, 5), np.uint8)]

    def do_generate(self) -> Any:
        from lavalike.runtime import generators

        generators.restore(pickle.loads(self.bytes()))
        return None, []

    def do_drop(self) -> Any:
        """Let go of the share."""
        self.member = self.meeting = None
        self.states.clear()
        self.last = ()
        return None, []


def packed(error: BaseException) -> tuple[Any, ...]:
    """``error`` for another process: itself as bytes, where it can be, and in words."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    notes = [*getattr(error, "__notes__", ())]
    return _itself(error), f"{type(error).__name__}: {error}", notes, text


def _itself(error: BaseException) -> bytes:
    """``error`` as bytes, also where its class is made of other arguments than it keeps; b"" where
    they hold what no pickle takes, or its class is found nowhere."""
    for made in (error, _Parts(error)):
        try:
            data = pickle.dumps(made)
            if isinstance(pickle.loads(data), type(error)):
                return data
        except Exception:  # whatever a user's class raises when it is made
            continue
    return b""


class _Parts:
    """An error by its class, ``args`` and attributes."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _put_together, (type(self.error), self.error.args, vars(self.error))


def _put_together(kind: type[BaseException], args: Any, attributes: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def unpacked(data: bytes, words: str, notes: list[str], text: str) -> BaseException:
    """The error of :func:`packed`; a RunError in its words where it cannot be made here."""
    error: BaseException = RunError(words)
    if data:
        try:
            error = pickle.loads(data)
        except Exception:  # its class is not found here
            error = step_error(words, RunError(words))
    have = getattr(error, "__notes__", ())
    for note in notes:
        if note not in have:
            error.add_note(note)
    error.add_note(f"in a worker process:\n{text}")
    return error
