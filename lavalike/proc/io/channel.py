"""Channels between a graph that runs and the program around it: bounded, and what either side does
where it would have to wait."""

from __future__ import annotations

import enum
import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.arguments import Rule
from lavalike.errors import ChannelDeadlockError, InputError, RunError

if TYPE_CHECKING:
    from lavalike.process import AbstractProcess

LOOK = 0.05  # seconds after which one who waits looks whether it is in vain
IDLE = 10.0  # seconds that the main thread waits where nothing runs


class SendFull(enum.IntEnum):
    """What a sender does where the channel is full: wait, or warn and drop its message."""

    BLOCKING = 1
    NON_BLOCKING_DROP = 2


class ReceiveEmpty(enum.IntEnum):
    """What a receiver does where the channel is empty: wait, or take zeros."""

    BLOCKING = 1
    NON_BLOCKING_ZEROS = 2


class ReceiveNotEmpty(enum.IntEnum):
    """What a receiver takes: the first message, or the sum of all."""

    FIFO = 1
    ACCUMULATE = 2


@dataclass(frozen=True)
class ChannelConfig:
    """What is done where a channel is full, empty, and neither. What it is given to checks it.

    Args:
        send_full: of the side that sends. Default: wait.
        receive_empty: of the side that receives. Default: wait.
        receive_not_empty: of the side that receives. Default: the first message.

    Example::

        ChannelConfig(receive_empty=ReceiveEmpty.NON_BLOCKING_ZEROS)
    """

    send_full: SendFull = SendFull.BLOCKING
    receive_empty: ReceiveEmpty = ReceiveEmpty.BLOCKING
    receive_not_empty: ReceiveNotEmpty = ReceiveNotEmpty.FIFO


def _is_config(value: Any) -> bool:
    return (
        isinstance(value, ChannelConfig)
        and isinstance(value.send_full, SendFull)
        and isinstance(value.receive_empty, ReceiveEmpty)
        and isinstance(value.receive_not_empty, ReceiveNotEmpty)
    )


CONFIG = Rule("a ChannelConfig of SendFull, ReceiveEmpty and ReceiveNotEmpty", _is_config)
TIMEOUT = Rule(
    "a number of seconds > 0",
    lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    lambda v: v > 0,
)


class DroppedMessageWarning(UserWarning):
    """A channel was full, and a message of SendFull.NON_BLOCKING_DROP was not taken.

    Causes: messages that are sent faster than steps take them.
    Remedy: a larger ``buffer_size``, or ``SendFull.BLOCKING``.
    """


class MissingMessageWarning(UserWarning):
    """A step was in progress that waited for a message when the run was paused; it was done with
    zeros.

    Causes: ``pause()`` while a model in the middle of a step waits for the program.
    Remedy: send the message before ``pause()``.
    """


_changed = threading.Condition()  # of any channel; told when one, or a run, has gone on
_times = 0  # that it was told
_looked: dict[int, int] = {}  # threads that wait for it: _times when they looked last
_await: dict[int, Callable[[], bool]] = {}  # threads that wait for a run: whether it goes on
# threads of executors without work: when that was seen first, and last
_idle: dict[int | None, tuple[float, float]] = {}
# what the library's own threads are called, which use no channel
SERVANTS = (
    "lavalike-numba",
    "lavalike-fused",
    "lavalike.logs",
    "lavalike-trace",
    "lavalike-workers",
    "lavalike-rank-0",
)


def _forked() -> None:
    global _changed
    _changed = threading.Condition()
    _looked.clear()
    _await.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def tell() -> None:
    """Let all who wait look again."""
    with _changed:
        _told()


def _told() -> None:
    """The same, for one who holds the lock."""
    global _times
    _times += 1
    if _looked:
        _changed.notify_all()


def alone() -> bool:
    """Whether every thread waits, for a channel at which it looked in vain or for a run that goes
    on, so that none will go on.

    Threads of an executor that has no work for them wait, too, and tqdm's does nothing else. One
    that waits for something else may send and receive after that: nothing tells those that never
    will.
    """
    waiting = {*_looked, *(thread for thread, goes_on in _await.items() if goes_on())}
    others = [
        t
        for t in threading.enumerate()
        if t.ident not in waiting
        and not t.name.startswith(SERVANTS)
        and type(t).__module__ != "tqdm._monitor"  # looks after progress bars
    ]
    return all(n == _times for n in _looked.values()) and _without_work(others)


def _without_work(threads: list[threading.Thread]) -> bool:
    """Whether all are threads of executors of concurrent.futures that have had nothing to do for
    LOOK seconds, whenever one has looked: between two tasks a thread is there for a moment, too."""
    module = sys.modules.get("concurrent.futures.thread")
    frames, now = (sys._current_frames() if threads else {}), time.monotonic()
    before = {t: x for t, x in _idle.items() if now - x[1] < 4 * LOOK}
    idle = {
        t.ident: (before.get(t.ident, (now, now))[0], now)
        for t in threads
        if module is not None
        and (frame := frames.get(t.ident or 0)) is not None
        and frame.f_code is module._worker.__code__  # it runs no task, but waits for one
        and frame.f_locals["work_queue"].empty()
    }
    _idle.clear()
    _idle.update(idle)
    return len(idle) == len(threads) and all(now - since >= LOOK for since, _ in idle.values())


@contextmanager
def awaiting(goes_on: Callable[[], bool]) -> Iterator[None]:
    """Within it this thread neither sends nor receives while ``goes_on``: it waits for a run."""
    me = threading.get_ident()
    with _changed:
        _await[me] = goes_on
    try:
        yield
    finally:
        with _changed:
            del _await[me]


def wait_for(ready: Callable[[], bool], hopeless: Callable[[], bool]) -> bool:
    """Wait until ``ready``; False where it is ``hopeless``. ``tell`` makes it look, and time
    does."""
    me = threading.get_ident()
    with _changed:
        try:
            while True:
                _looked[me] = _times
                if ready():
                    return True
                if hopeless():
                    return False
                _changed.wait(LOOK)
        finally:
            del _looked[me]


class Channel:
    """At most ``size`` messages of ``shape`` that one side has sent and the other not received, in
    order.

    One side is the program that made ``owner``, in any thread; the other ``owner``'s model, in a
    run. Attributes: ``wanted``, whether the program asked for a message since the last came.
    Without ``owner`` both sides are the program.
    """

    def __init__(
        self,
        owner: AbstractProcess | None,
        shape: tuple[int, ...],
        size: int,
        config: ChannelConfig | None = None,
    ) -> None:
        self.owner, self.shape, self.size = owner, shape, int(size)
        self.config = config or ChannelConfig()
        self.messages: deque[np.ndarray] = deque()
        self.wanted = False
        self.reader: int | None = None  # the thread that received last

    # -- either side

    @property
    def path(self) -> str:
        return "a channel" if self.owner is None else self.owner.path

    @property
    def room(self) -> bool:
        """Whether it takes a message more."""
        return len(self.messages) < self.size

    @property
    def filled(self) -> bool:
        """Whether there is a message."""
        return bool(self.messages)

    def put(self, data: np.ndarray) -> None:
        """Take a message. One who sends with SendFull.BLOCKING waits for ``room`` first."""
        with _changed:
            taken = self.room or self.config.send_full is SendFull.BLOCKING
            if taken:
                self.messages.append(data)
                self.wanted = False
                _told()
        if not taken:
            warnings.warn(
                f"{self.path}: {self.size} messages wait, and one more is dropped; receive in time, or give a larger "
                "buffer_size",
                DroppedMessageWarning,
                stacklevel=4,
            )

    def take(self) -> np.ndarray:
        """What a receiver takes, zeros where there is nothing. One with ReceiveEmpty.BLOCKING waits
        until it is ``filled`` first."""
        with _changed:
            if not self.messages:
                self.wanted = True
                _told()
                return np.zeros(self.shape)
            out = self.messages.popleft()
            while self.messages and self.config.receive_not_empty is ReceiveNotEmpty.ACCUMULATE:
                out = out + self.messages.popleft()
            _told()
        return out

    @property
    def sends_at_once(self) -> bool:
        """Whether a sender need not wait."""
        return self.room or self.config.send_full is SendFull.NON_BLOCKING_DROP

    @property
    def receives_at_once(self) -> bool:
        """Whether a receiver need not wait."""
        return self.filled or self.config.receive_empty is ReceiveEmpty.NON_BLOCKING_ZEROS

    # -- the program's side

    def send(self, data: Any, timeout: float | None) -> None:
        """``put`` a copy of ``data``, when there is room. InputError for what is no message of
        ``shape``."""
        x = np.array(data)
        if x.dtype.kind not in "biuf" or x.shape != self.shape:
            what = f"{x.dtype} values" if x.dtype.kind not in "biuf" else f"shape {x.shape}"
            raise InputError(f"{self.path}: send takes numbers of shape {self.shape}, got {what}")
        with _changed:  # so that what was waited for is not another thread's
            if not self.sends_at_once:
                what = f"send: {self.size} messages are there that no step has taken"
                self._wait(lambda: self.room, what, timeout)
            self.put(x)

    def receive(self, timeout: float | None) -> np.ndarray:
        """``take``, when there is something."""
        self.reader = threading.get_ident()
        with _changed:
            if not self.receives_at_once:
                self._wait_for_one(timeout)
            return self.take()

    def peek(self, timeout: float | None = None) -> np.ndarray:
        """A copy of the first message, which stays, when there is one."""
        with _changed:
            if not self.filled:
                self._wait_for_one(timeout)
            return self.messages[0].copy()

    def _wait_for_one(self, timeout: float | None) -> None:
        self.wanted = True
        _told()
        self._wait(lambda: self.filled, "receive: no step has sent a message", timeout)

    def _wait(self, ready: Callable[[], bool], what: str, timeout: float | None) -> None:
        process = self.owner
        live = getattr(process, "runtime", None)
        live = live if hasattr(live, "released") else None
        begun = time.monotonic()
        why, stuck = "", False

        def hopeless() -> bool:
            nonlocal why, stuck
            now = time.monotonic()
            idle = process is None or not (
                process.running or process._structure.root().starting is not None
            )
            main = threading.main_thread()
            stuck = alone()
            if stuck:
                why = (
                    "nothing runs that could go on" if idle else "the run waits for another message"
                )
            elif live is not None and live.released:
                why = "it was stopped meanwhile"
            elif timeout is not None and now - begun > timeout:
                why = f"it did not come in {timeout:g} s"
            elif idle and not main.is_alive():
                why = "nothing runs, and the program has ended"
            elif (
                timeout is None
                and idle
                and threading.current_thread() is main
                and now - begun > IDLE
            ):
                why = f"nothing has run for {IDLE:g} s (timeout= waits longer)"
            return bool(why)

        if not wait_for(ready, hopeless):
            self.wanted = False
            kind = ChannelDeadlockError if stuck else RunError
            raise kind(
                f"{self.path}: {what}, and {why}; run it with blocking=False, RunContinuous() or in another thread"
            )


def hand_over(processes: Iterable[AbstractProcess]) -> None:
    """Let threads that receive take what is there, until none has taken one for a moment: the graph
    is being stopped."""
    channels = [c for p in processes if isinstance(c := p.__dict__.get("channel"), Channel)]
    me = threading.get_ident()
    read = [c for c in channels if c.filled and c.reader not in (None, me)]
    left, since = -1, time.monotonic()

    def idle() -> bool:
        nonlocal left, since
        now = sum(len(c.messages) for c in read)
        if now != left:
            left, since = now, time.monotonic()
        return alone() or time.monotonic() - since > 2 * LOOK

    if read:
        wait_for(lambda: not any(c.filled for c in read), idle)
