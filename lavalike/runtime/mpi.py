"""A graph over the ranks of an MPI program, by mpi4py: the shares and the talk of
:mod:`lavalike.runtime.workers`, over messages.

Rank 0 runs the user's program and, in a thread, a share; every other rank serves it. In each
exchange a share sends to each neighbour one block of all that this one hears of it. A number at its
head tells blocks of a run that was given up.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any

import mpi4py
import numpy as np
from mpi4py import MPI

from lavalike import logs
from lavalike.backends.numba import exchange, kernels, messages
from lavalike.compiler.cut import WORD, in_words
from lavalike.errors import WorkerError
from lavalike.process import OutPort, Port, Var
from lavalike.runtime import parcel, wiring, workers
from lavalike.runtime.engine import Recordings
from lavalike.runtime.worker import Worker
from lavalike.runtime.workers import Workers

log = logging.getLogger(__name__)
HEAD = WORD  # bytes of a block's number
CHUNK = 1 << 30  # bytes of one message, at most
SPINS, YIELDS = 50, 1000  # looks at once, and with the core given away in between
NAP, LONG = 5e-5, 1e-3  # seconds between two looks later, and where nothing is under way
BLOCK, ABORT, AGREE = range(3)  # what shares of a graph send each other, each by a tag of its own
TAGS = 3
MOST_GRAPHS = 32767 // TAGS - 1  # of which every MPI has tags
DONE = 0  # the graph of the message that there are no more
PART = 10.0  # seconds in which a rank is to answer it
_graphs = itertools.count(1)
_closed: list[Exchange] = []  # whose last blocks are not sent yet
_running = threading.Lock()  # ranks compute one graph at a time, and all of them the same


def _nap(count: int) -> None:
    """Between two looks: the core goes to whoever is waited for."""
    if count > YIELDS:
        time.sleep(NAP)
    elif count > SPINS:
        os.sched_yield()


@functools.cache
def _functions() -> list[int]:
    """The addresses of the functions of MPI that a row calls; WorkerError where this mpi4py does
    not tell them."""
    library = ctypes.CDLL(MPI.__file__)
    try:
        found = [ctypes.cast(getattr(library, n), ctypes.c_void_p) for n in messages.FUNCTIONS]
    except AttributeError as e:
        raise WorkerError(
            f"MPI: the functions of mpi4py {mpi4py.__version__}'s MPI are not found: {e}; install mpi4py and its MPI anew"
        ) from e
    return [f.value or 0 for f in found]


class Exchange:
    """See :class:`lavalike.backends.numba.exchange.Exchange`: the row sends messages.

    Args:
        comm: for what shares send each other. tag: the first tag of the graph.
        given_up: the number of the last run that was, in a list.
    """

    def __init__(
        self, layout: wiring.Layout, wires: wiring.Wiring, comm: Any, tag: int, given_up: Any
    ) -> None:
        self.rank, self.comm, self.given_up = wires.rank, comm, given_up
        self.tag = TAGS * tag
        self.others = [r for r in range(len(layout.words)) if r != self.rank]
        self.sent, self.heard = wires.sent, wires.heard
        self._dtypes, self._batch = wires.dtypes, wires.batch
        self.out = np.zeros(layout.words[self.rank], np.int64)
        self.inp = np.zeros(wires.hears // WORD, np.int64)
        self.state = np.zeros(4, np.int64)
        self.tape = np.zeros((1, self.inp.size), np.int64)
        self.run, self._ended = 0, 0
        # of each neighbour the ports of its blocks, there and back
        self.gives = wires.given
        self.takes: dict[int, list[OutPort]] = {r: [] for r in wires.neighbours}
        for port, (rank, _) in wires.sources.items():
            self.takes[rank].append(port)
        self._sends: dict[int, tuple[Any, Any]] = {}  # of swap, under way, with their memory
        self._scratch = np.zeros(messages.HEAD + in_words(MPI._sizeof(MPI.Status)), np.int64)
        self._blocks = np.zeros(0, np.int64)  # of the row
        self._requests = np.full(len(self.takes), MPI._handleof(MPI.REQUEST_NULL), np.uint64)

    def row(self) -> tuple[Any, list[Any]]:
        peers, given, taken, at = [], [], [], 0

        def block(ports: Sequence[OutPort], own: Mapping[OutPort, tuple[int, int]]) -> list[Any]:
            """Of each port its first word in this share's memory, and in the block, and how many;
            then the block's."""
            nonlocal at
            begin, rows = at, []
            at += 1  # its number
            for port in ports:
                first, last = own[port]
                rows.append((first // WORD, at, in_words(last - first)))
                at += rows[-1][2]
            return [rows, begin, at - begin]

        address = kernels.address_of(self._requests)
        for k, rank in enumerate(self.takes):
            rows, *out = block(self.gives[rank], self.sent)
            given += rows
            rows, *back = block(self.takes[rank], self.heard)
            taken += [(there, here, words) for here, there, words in rows]
            peers.append((rank, address + WORD * k, *out, *back, 0))
        self._blocks = blocks = np.zeros(at, np.int64)
        handles = [MPI._handleof(self.comm), MPI._handleof(MPI.BYTE), self.tag + BLOCK]
        runs = [np.array(x, np.int64).reshape(-1, 3) for x in (given, taken)]
        return messages.messages, [
            *(self.out, self.inp, self.state, self.tape),
            *(np.array(peers, np.int64).reshape(-1, 7), *runs, blocks, self._scratch),
            *(
                np.array([*_functions(), *handles], np.uint64).view(np.int64),
                kernels.address_of(blocks),
            ),
            *(kernels.address_of(self._scratch), exchange.give_way()),
        ]

    def prepare(self, stretches: bool, agrees: bool) -> None:
        """Nothing is compiled."""

    def begin(self, run: int) -> None:
        """Run number ``run`` begins, for all."""
        self.run = run
        self.state[exchange.NUMBER] = self.state[exchange.PUBLISHED] = run << 32
        self._ended = run << 32

    def waited(self) -> None:
        """Ended where another has given this run up; a block of one that was is dropped."""
        code, self._scratch[messages.ERROR] = int(self._scratch[messages.ERROR]), 0
        if code:
            raise WorkerError(f"MPI rank {self.rank}: {MPI.Get_error_string(code)}")
        self._look(1 + YIELDS)
        number, status = int(self.state[exchange.NUMBER]) + 1, MPI.Status()
        for rank, ports in self.takes.items():
            if self.comm.Iprobe(rank, self.tag + BLOCK, status):
                size = sum(in_words(b - a) for a, b in (self.heard[p] for p in ports))
                if status.Get_count(MPI.BYTE) != WORD * (1 + size):
                    self._older(rank, status, number, WORD * size)

    def _older(self, rank: int, status: Any, number: int, size: int) -> None:
        """Drop a block that is of a run that was given up; WorkerError where it is not."""
        block = np.empty(status.Get_count(MPI.BYTE), np.uint8)
        self.comm.Recv([block, MPI.BYTE], rank, self.tag + BLOCK)
        if block[:HEAD].view(np.int64)[0] >= number:
            raise WorkerError(
                f"MPI rank {rank} sent {len(block) - HEAD} bytes where {size} are heard"
            )

    def swap(self, steps: int, rows: Mapping[OutPort, np.ndarray]) -> dict[OutPort, np.ndarray]:
        """Send ``rows`` (steps, batch, size) of what this share sends; the same of what it
        hears."""
        number = int(self.state[exchange.NUMBER]) + 1
        flat = {
            p: np.ascontiguousarray(rows[p]).reshape(-1).view(np.uint8)
            for ports in self.gives.values()
            for p in ports
        }
        sizes = {p: steps * (last - first) for p, (first, last) in self.heard.items()}
        whole = {p: in_words(size) * WORD for p, size in sizes.items()}  # as the row has it
        blocks = self._swap(
            number,
            {r: [flat[p] for p in ports] for r, ports in self.gives.items()},
            {r: sum(whole[p] for p in ports) for r, ports in self.takes.items()},
        )
        heard = {}
        for rank, ports in self.takes.items():
            at = HEAD
            for port in ports:
                block = blocks[rank][at : at + sizes[port]]
                heard[port] = block.view(self._dtypes[port]).reshape(steps, self._batch, -1)
                at += whole[port]
        self.state[exchange.NUMBER] = number
        return heard

    def _swap(
        self, number: int, parts: Mapping[int, Sequence[np.ndarray]], sizes: Mapping[int, int]
    ) -> dict[int, np.ndarray]:
        """One block to each neighbour and one from each, which are of exchange ``number``. A
        neighbour that hears nothing, or sends nothing, gets an empty one, so that nobody is ahead
        of it."""
        for rank, own in parts.items():
            if rank in self._sends:
                self._finish(self._sends[rank][0])
            block = np.zeros(HEAD + sum(in_words(len(x)) * WORD for x in own), np.uint8)
            block[:HEAD].view(np.int64)[0] = number
            at = HEAD
            for part in own:
                block[at : at + len(part)] = part
                at += in_words(len(part)) * WORD
            request = self.comm.Isend([block, MPI.BYTE], rank, self.tag + BLOCK)
            self._sends[rank] = request, block
        found: dict[int, np.ndarray] = {}
        for rank, size in sizes.items():
            while rank not in found:
                block = self._received(rank)
                if block[:HEAD].view(np.int64)[0] == number:
                    if len(block) != HEAD + size:
                        raise WorkerError(
                            f"MPI rank {rank} sent {len(block) - HEAD} bytes where {size} are heard"
                        )
                    found[rank] = block  # any other is of a run that was given up
        return found

    def _received(self, rank: int) -> np.ndarray:
        """The next block of a neighbour."""
        status, count = MPI.Status(), 0
        while not self.comm.Iprobe(rank, self.tag + BLOCK, status):
            count += 1
            self._look(count)
        block = np.empty(status.Get_count(MPI.BYTE), np.uint8)
        self.comm.Recv([block, MPI.BYTE], rank, self.tag + BLOCK)
        return block

    def _finish(self, request: Any) -> None:
        count = 0
        while not request.Test():
            count += 1
            self._look(count)

    def _look(self, count: int) -> None:
        """While it waits: Ended where another has given this run up."""
        while self.comm.Iprobe(MPI.ANY_SOURCE, self.tag + ABORT):
            self.given_up[0] = max(
                self.given_up[0], self.comm.recv(source=MPI.ANY_SOURCE, tag=self.tag + ABORT)
            )
        if self.given_up[0] >= self.run:
            raise wiring.Ended
        _nap(count)

    def close(self) -> None:
        """Let go of what was sent in runs that were given up; what MPI still reads is kept."""
        status = MPI.Status()
        for what in (BLOCK, AGREE):
            while self.comm.Iprobe(MPI.ANY_SOURCE, self.tag + what, status):
                block = np.empty(status.Get_count(MPI.BYTE), np.uint8)
                self.comm.Recv([block, MPI.BYTE], status.Get_source(), self.tag + what)
        _closed[:] = [x for x in [*_closed, self] if not x._is_sent()]

    def _is_sent(self) -> bool:
        test = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 3)(_functions()[messages.TEST])
        at, rows = map(kernels.address_of, (self._scratch, self._requests))
        done = [request.Test() for request, _ in self._sends.values()]
        for k in range(len(self._requests)):
            if code := test(rows + WORD * k, at + WORD * messages.FLAG, at + WORD * messages.HEAD):
                raise WorkerError(f"MPI rank {self.rank}: {MPI.Get_error_string(code)}")
            done.append(bool(self._scratch[messages.FLAG] & 1))
        return all(done)

    def give_up(self) -> None:
        """Let all know that this run is not gone on with."""
        for rank in self.others:
            self.comm.send(self.run, rank, self.tag + ABORT)

    def agree(self, asks: bool) -> bool:
        """After a step of all: whether any asks to end the run."""
        self._ended += 1
        words = np.array([self._ended, asks], np.int64)
        requests = [self.comm.Isend(words, r, self.tag + AGREE) for r in self.others]
        found = bool(asks)
        for rank in self.others:
            theirs, status = np.zeros(2, np.int64), MPI.Status()
            while theirs[0] != self._ended:
                count = 0
                while not self.comm.Iprobe(rank, self.tag + AGREE, status):
                    count += 1
                    self._look(count)
                self.comm.Recv(theirs, rank, self.tag + AGREE)
            found = found or bool(theirs[1])
        for request in requests:
            self._finish(request)
        return found


# -- talk ------------------------------------------------------------------------------------------


class Pipe:
    """What a :class:`multiprocessing.connection.Connection` is, to another rank, of one graph."""

    def __init__(self, comm: Any, rank: int, tag: int) -> None:
        self.comm, self.rank, self.tag = comm, rank, tag

    def poll(self, timeout: float | None = 0) -> bool:
        return bool(self.comm.Iprobe(self.rank, self.tag))

    def send(self, message: Any) -> None:
        self.comm.send(message, self.rank, self.tag)

    def recv(self) -> Any:
        self._await()
        return self.comm.recv(source=self.rank, tag=self.tag)

    def send_bytes(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        for at in range(0, len(view), CHUNK):
            self.comm.Send([view[at : at + CHUNK], MPI.BYTE], self.rank, self.tag)

    def recv_bytes_into(self, into: Any) -> None:
        view = memoryview(into).cast("B")
        for at in range(0, len(view), CHUNK):
            self._await()
            self.comm.Recv([view[at : at + CHUNK], MPI.BYTE], self.rank, self.tag)

    def _await(self) -> None:
        count = 0
        while not self.comm.Iprobe(
            self.rank, self.tag
        ):  # a Recv would take the core, and hold the GIL's thread
            count += 1
            _nap(count)

    def close(self) -> None:
        """Nothing: it is a rank's name."""


class Lane:
    """One direction of a pipe within this process."""

    def __init__(self) -> None:
        self.messages = deque[Any]()
        self.told = threading.Condition()

    def put(self, message: Any) -> None:
        with self.told:
            self.messages.append(message)
            self.told.notify_all()

    def there(self, timeout: float | None) -> bool:
        with self.told:
            return bool(self.told.wait_for(lambda: self.messages, timeout))

    def get(self) -> Any:
        self.there(None)
        return self.messages.popleft()


class Inside:
    """An end of a pipe within this process."""

    def __init__(self, to: Lane, of: Lane) -> None:
        self.to, self.of = to, of

    def poll(self, timeout: float | None = 0) -> bool:
        return self.of.there(timeout)

    def send(self, message: Any) -> None:
        self.to.put(message)

    def recv(self) -> Any:
        message = self.of.get()
        if message is None:
            raise EOFError
        return message

    def send_bytes(self, data: Any) -> None:
        self.to.put(bytes(data))

    def recv_bytes_into(self, into: Any) -> None:
        memoryview(into).cast("B")[:] = self.of.get()

    def close(self) -> None:
        self.to.put(None)


class RankWorker(Worker):
    """Serves rank 0 with a share of one graph."""

    def __init__(self, pipe: Any, between: Any, graph: int) -> None:
        super().__init__(pipe)
        self.between, self.graph = between, graph
        self.alone = bool(between.rank)
        self.given_up = [0]  # the last run that was
        self.dropped = False

    @contextmanager
    def memory(self) -> Iterator[int]:
        yield -1  # there is none

    def exchange(self, parcel: parcel.Parcel, fd: int) -> Exchange:
        return Exchange(parcel.layout, parcel.wiring, self.between, self.graph, self.given_up)

    def do_drop(self) -> Any:
        self.dropped = True
        if self.meeting is not None:
            self.meeting.close()
        return super().do_drop()

    def prepare(self, data: bytearray) -> None:
        if b"__main__" in data and self.between.rank and not _imported:
            _imported.append(program)
            spawn.import_main_path(program)  # as a process does that multiprocessing spawns


class _Records:
    """Where the log of a rank goes: to rank 0, with what it does for a graph just now."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def put_nowait(self, record: logging.LogRecord) -> None:
        if self.worker is not None:
            self.worker.put_nowait(record)


def serve(comm: Any, between: Any) -> None:
    """What every rank but 0 does, until rank 0 is done."""
    records, status = _Records(), MPI.Status()
    logs.join((records, logging.NOTSET))
    graphs: dict[int, RankWorker] = {}
    while True:
        count = 0
        while not comm.Iprobe(0, MPI.ANY_TAG, status):
            count += 1
            if count > YIELDS:
                time.sleep(LONG)
            else:
                _nap(count)
        graph = status.Get_tag()
        if graph == DONE:
            comm.recv(source=0, tag=DONE)
            comm.send(None, 0, DONE)
            return
        if graph not in graphs:
            graphs[graph] = RankWorker(Pipe(comm, 0, graph), between, graph)
        records.worker = graphs[graph]
        graphs[graph].serve_waiting()
        records.worker = None
        if graphs[graph].dropped:
            del graphs[graph]


class Hand:
    """A rank, seen from rank 0."""

    def __init__(self, comm: Any, between: Any, rank: int, graph: int) -> None:
        self.pid, self.ended = f"of MPI rank {rank}", False
        self.worker: RankWorker | None = None
        if rank:
            self.pipe: Any = Pipe(comm, rank, graph)
            return
        there, back = Lane(), Lane()
        self.pipe = Inside(there, back)
        self.worker = RankWorker(Inside(back, there), between, graph)
        threading.Thread(target=self._serve, daemon=True, name="lavalike-rank-0").start()

    def _serve(self) -> None:
        assert self.worker is not None
        with contextlib.suppress(EOFError):  # let go of
            self.worker.serve()

    def end(self, kill: bool = False) -> None:
        """Nothing more is asked of it for this graph."""
        self.ended = True
        if self.worker is not None:
            self.pipe.close()


class Ranks(Workers):
    """See :class:`lavalike.runtime.workers.Workers`: shares on MPI ranks."""

    comm: Any = None  # of all ranks, for what rank 0 says
    between: Any = None  # for what shares send each other
    broken: str | None = None  # why ranks are in the middle of something that nobody waits for

    def _start(
        self,
        layout: wiring.Layout,
        packed: Sequence[parcel.Packed],
        recordable: Sequence[Port | Var],
    ) -> None:
        if any(b"__main__" in data for data, _ in packed):
            workers._check_main()
        graph = 1 + next(_graphs) % MOST_GRAPHS
        self.hands: list[Any] = [
            Hand(self.comm, self.between, r, graph) for r in range(len(packed))
        ]
        self._finalizer = weakref.finalize(self, _let_go, self.hands, self._pid)
        self._finalizer.atexit = False
        with _running:
            self._build(packed, recordable)

    def _send_memory(self, hand: Any) -> None:
        """There is none: what is exchanged is sent."""

    def _wait(self, pipes: Sequence[Any]) -> list[Any]:
        end, count = time.monotonic() + workers.LOOK, 0
        own = next((p for p in pipes if isinstance(p, Inside)), None)
        if own is not None:  # which needs this core, and Python; others are no earlier
            own.poll(workers.LOOK)
        while True:
            ready = [p for p in pipes if p.poll()]
            if ready or time.monotonic() > end:
                return ready
            count += 1
            _nap(count)

    def _broken(self, what: str) -> WorkerError:
        Ranks.broken = what
        return super()._broken(what)

    def _progress(self) -> tuple[int, ...]:
        own: Any = self.hands[0]
        meeting = own.worker.meeting  # whose exchanges are everybody's
        return () if meeting is None else (int(meeting.state[exchange.NUMBER]),)

    def _look(self, ranks: Sequence[int], before: set[int]) -> set[int]:
        return set()  # MPI ends all where a rank dies

    def _run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Recordings) -> None:
        with _running:
            super()._run(steps, stimuli, recordings)


def _let_go(hands: Any, pid: int) -> None:
    for hand in hands:
        if not hand.ended:
            hand.pipe.send(("drop",))
            while hand.pipe.recv()[0] != "done":
                pass
            hand.end()


# -- a program -------------------------------------------------------------------------------------


program = ""  # the file that rank 0 runs
_imported: list[str] = []  # it, where another has imported it


def run(call: Callable[[], int], file: str) -> int:
    """Call ``call``, of the program ``file``, on rank 0 and serve it on all others; the status to
    exit with, on each rank.

    WorkerError where ranks cannot part, which whoever calls this is to end.
    """
    global program
    comm, between, program = MPI.COMM_WORLD.Dup(), MPI.COMM_WORLD.Dup(), file
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise WorkerError(
            "MPI: this build gives no THREAD_MULTIPLE, which rank 0 needs for its program and its share; use another build"
        )
    if comm.rank:
        serve(comm, between)
        return 0
    Ranks.comm, Ranks.between = comm, between
    workers.elsewhere = (Ranks, comm.size)
    try:
        status = call()
    finally:
        workers.elsewhere = None
    if Ranks.broken is not None:
        raise WorkerError(f"MPI: {Ranks.broken}; ranks that are not done end with it")
    _part(comm)
    return status


def _part(comm: Any) -> None:
    """Let the ranks go that serve this one, which is done; WorkerError where one does not answer
    within PART seconds, as in the middle of a graph that nobody waits for."""
    others = {*range(1, comm.size)}
    for rank in others:
        comm.send(None, rank, DONE)
    end, count = time.monotonic() + PART, 0
    while others:
        for rank in [r for r in others if comm.Iprobe(r, DONE)]:
            comm.recv(source=rank, tag=DONE)
            others.remove(rank)
        if time.monotonic() > end:
            raise WorkerError(
                f"MPI rank {min(others)} did not end with its program within {PART:g} s; it is aborted"
            )
        count += 1
        _nap(count)
