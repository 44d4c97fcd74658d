"""Of the processes that compute shares: where in their common memory what lies, that memory, and
what the system says of them."""

from __future__ import annotations

import errno
import mmap
import os
import sys
import tempfile

import numpy as np

from lavalike.compiler.cut import WORD, Cut, in_words
from lavalike.errors import WorkerError
from lavalike.process import OutPort

# words of a line of the cache: what one process writes, and others read, lies in one of its own
LINE = 8
COUNTER, ENDED, ASKS, STEP = range(4)  # words of a share's line


class Ended(Exception):
    """Raised in a worker: the run was given up by another."""


class Layout:
    """Where in the words of the shared memory what lies: a line a share, a line of its own for
    ``abort``, then two blocks a share, each of ``steps`` steps."""

    def __init__(self, cut: Cut, steps: int) -> None:
        shares = len(cut.shares)
        self.steps = steps
        self.abort = LINE * shares
        self.words = [cut.block(s.rank) // WORD for s in cut.shares]
        at = LINE * (shares + 1)
        self.blocks: list[tuple[int, int]] = []
        for words in self.words:
            each = -(-words * steps // LINE) * LINE
            self.blocks.append((at, at + each))
            at += 2 * each
        self.size = at * WORD


class Wiring:
    """What the exchange of share ``rank`` is made of: in its own memory the bytes of each port that
    it sends and hears (``hears`` of the latter in all), of each that it hears the share and the
    offset in its block, its neighbours, and what each of them hears of it, in the order in which it
    counts it."""

    def __init__(self, cut: Cut, rank: int) -> None:
        self.rank, self.neighbours, self.batch = rank, cut.neighbours(rank), cut.batch
        share = cut.shares[rank]
        self.sent = {
            p: (cut.places[p].offset, cut.places[p].offset + cut.places[p].size)
            for p in share.sends
        }
        self.sources = {p: (cut.places[p].rank, cut.places[p].offset) for p in share.hears}
        self.heard: dict[OutPort, tuple[int, int]] = {}
        self.dtypes = {p: cut.flat.dtype_of(p) for p in share.hears}
        self.given = {
            r: [p for p in cut.shares[r].hears if cut.places[p].rank == rank]
            for r in self.neighbours
        }
        self.hears = 0
        for port in share.hears:
            size = cut.places[port].size
            self.heard[port] = (self.hears, self.hears + size)
            self.hears += in_words(size) * WORD


def memory(size: int) -> int:
    """The descriptor of ``size`` bytes of zeros that no name leads to, gone with the last process
    that has it; WorkerError where there is no room for them."""
    fd = -1
    try:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("lavalike", os.MFD_CLOEXEC)
        else:
            fd, path = tempfile.mkstemp(prefix="lavalike-")
            os.unlink(path)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)  # now, not by a signal in the middle of a step
        else:
            os.ftruncate(fd, size)
    except OSError as e:
        if fd >= 0:
            os.close(fd)
        if e.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EDQUOT):
            raise
        raise WorkerError(
            f"RunConfig(workers=): no {size / 2**20:.1f} MiB of shared memory for what workers exchange: {e.strerror}; free some, or "
            "take fewer workers"
        ) from e
    return fd


def state_of(pid: int) -> str:
    """What the system says a process does: "T" where it is held, "" where that cannot be told."""
    try:
        if sys.platform.startswith("linux"):
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rpartition(")")[2].split()[0]
        if os.name == "posix":
            import subprocess

            told = subprocess.run(
                ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True
            )
            return told.stdout.strip()[:1]
    except OSError:
        return ""
    return ""


def words(fd: int, size: int) -> np.ndarray:
    """The memory behind ``fd`` as words."""
    return np.frombuffer(mmap.mmap(fd, size), np.int64)
