"""Who holds a graph: one run at a time, from the moment it looks at the graph until its program is
bound."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lavalike.errors import RunError

if TYPE_CHECKING:
    from lavalike.process.process import AbstractProcess


@dataclass(eq=False, slots=True)
class Claim:
    """One call of ``run``: which thread does its steps (None: one that is being made), and, while
    it makes a program, in which process."""

    thread: int | None = field(default_factory=threading.get_ident)
    pid: int | None = None

    @property
    def here(self) -> bool:
        """Whether it is this thread's."""
        return self.thread == threading.get_ident()


lock = threading.RLock()  # held for moments
looking = threading.RLock()  # held while a graph is looked at; before ``lock``, where both are


def _forked() -> None:
    global lock, looking
    lock, looking = threading.RLock(), threading.RLock()  # another thread may have held them


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextmanager
def starting(process: AbstractProcess, claim: Claim) -> Iterator[None]:
    """Within, no other run of what ``process`` is connected to starts, nor is a Var of it set.
    RunError where one does already."""
    with lock:
        root = process._structure.root()
        if root.starting is not None:
            raise RunError(f"cannot run {process.path}: {_why(root.starting)}")
        claim.pid = os.getpid()
        root.starting = claim
    try:
        yield
    finally:
        with lock:
            root = root.root()
            if root.starting is claim:
                root.starting = None


def _why(claim: Claim) -> str:
    if claim.pid != os.getpid():
        return "another thread was just starting its run when this process was forked; fork before the run or after it"
    if claim.here:
        return "its run is just being started by this thread"
    return "another thread is just starting its run; wait for that one"
