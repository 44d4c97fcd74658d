"""Whose turn it is in a step. Turns are plain calls, one after another; only where one must wait do
others go on in greenlets."""

from __future__ import annotations

import contextlib
import contextvars
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lavalike.errors import DeadlockError
from lavalike.proc.io import channel

if TYPE_CHECKING:
    from greenlet import greenlet

    from lavalike.process.ports import OutPort
    from lavalike.process.process import AbstractProcess

PROBES = 10_000  # of one step that found nothing when nobody else could go on
SORTS = 8  # steps after which turns may be put in another order
Turn = Callable[[], Any]
Raised = list[tuple[Turn, Exception]]
Beside = tuple[Turn, Callable[[], bool]]  # whose, and whether it can go on


class Waits(Protocol):
    """Something a turn waits for. ``outside``: the program around the graph brings it, in another
    thread."""

    outside: bool

    @property
    def turn(self) -> Turn | None:
        """The turn that waits."""

    @property
    def owners(self) -> Sequence[AbstractProcess]:
        """Whose turn it is."""

    def ready(self) -> bool:
        """Whether it has come."""

    def begun(self) -> bool:
        """Whether others may have something from this turn already."""

    def waits(self) -> str:
        """What has not come, in words."""

    def on(self) -> Sequence[OutPort]:
        """The ports from which it has not come."""


def _never() -> bool:
    return False


class _Over(BaseException):
    """Thrown into turns that nobody will go on with."""


class Scheduler:
    """Does a step's turns in their order; who has to wait lets the next ones begin, and goes on
    when what it waits for is there.

    The caller of :meth:`run` does the turns itself; where one waits, a greenlet does those after
    it. None is left when ``run`` returns. A turn that waited before it had sent anything comes
    later in the steps after that.

    Attributes: ``step``, the one that is being done, from 1; ``request``, "pause" or "stop" where a
    model asked for it; ``parks``, how often a turn had to wait; ``paused``, which says whether the
    run is to end; ``steps``, those of the run; ``begun``, the models that began beside them.
    """

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self.turns = [*turns]
        self.step = 0
        self.request = ""
        self.parks = 0
        self.paused: Callable[[], bool] = _never
        self._left: Iterator[Turn] = iter(())
        self._waiting: list[tuple[greenlet, Waits]] = []
        self._probing: list[greenlet] = []
        self._probes = 0
        self._over = False
        self._busy = False  # in ``run``
        self._late: list[Turn] = []
        self._sorted = 0
        self._main: greenlet | None = None
        self._raised: Raised = []
        self._beside: dict[greenlet, Beside] = {}
        self.begun: set[Any] = set()
        self.steps = 0
        self._ending = False

    def run(self, turns: Sequence[Turn] | None = None) -> Raised:
        """Do a step, or ``turns``, as far as it can be done; what was raised, and in which turn.
        DeadlockError where all that are left wait.

        What is no Exception (Ctrl-C) is passed on at once.
        """
        self._left, self._main = iter(self.turns if turns is None else turns), None
        if self._probes:
            self._probes = 0
        self._busy = True
        try:
            self._work()
            while self._waiting or self._probing:
                self._next_or_stuck().switch()
            while self._beside and self._pump():
                pass
        except _Over:
            pass
        finally:
            self._busy = False
            if self._waiting or self._probing:
                self._end()
        if self._late and turns is None:
            self._sort()
        if not self._raised:
            return self._raised
        raised, self._raised = self._raised, []
        return raised

    def _sort(self) -> None:
        """Put those that waited in vain after what they waited for."""
        if self._sorted < SORTS:  # some may wait now here, now there
            self._sorted += 1
            late = {*self._late}
            self.turns = [*(t for t in self.turns if t not in late), *dict.fromkeys(self._late)]
        self._late = []

    def _work(self) -> None:
        """Do turns until none is left."""
        left = self._left
        while True:
            turn: Any = None
            try:
                for turn in left:
                    turn()
                return
            except Exception as e:
                self._raised.append((turn, e))

    def _help(self) -> None:
        """What a greenlet does."""
        with contextlib.suppress(_Over):
            self._work()

    def wait(self, what: Waits) -> None:
        """Let the others go on until ``what`` is ready. DeadlockError where nothing runs that
        could."""
        if not (self._busy or self._over):
            raise DeadlockError(
                f"step {self.step}: {what.waits()} outside of a phase, where nobody else can go on; receive and send in run_spk"
            )
        from greenlet import getcurrent

        me = getcurrent()
        if me in self._beside:
            self._park(me, what.ready)
            return
        if self._main is None:
            self._main = me
        if self._over:
            raise _Over
        self.parks += 1
        entry, begun = (me, what), self._sorted >= SORTS or what.begun()
        self._waiting.append(entry)
        try:
            while not what.ready():
                other = self._next()
                if other is None:
                    other = self._next_or_stuck() if me is self._main else self._main
                other.switch()
        finally:
            self._waiting.remove(entry)
        if not begun and what.turn is not None:
            self._late.append(what.turn)

    def probe(self, what: Waits) -> bool:
        """Whether ``what`` is ready when the others have gone on as far as they can."""
        if not self._busy:
            return what.ready()
        from greenlet import getcurrent

        me = getcurrent()
        if me in self._beside:
            return what.ready()
        if self._main is None:
            self._main = me
        while not what.ready():
            other = self._next(probing=False)
            if other is None:
                self._probes += 1
                if self._probes > PROBES:
                    raise DeadlockError(
                        f"step {self.step}: {what.waits()}, probed {PROBES} times, and nobody can go on to send it; one probe a step "
                        "tells: what is not there then comes in a later step"
                    )
                return False
            self._probing.append(me)
            try:
                other.switch()
            finally:
                self._probing.remove(me)
        return True

    def _next(self, probing: bool = True) -> greenlet | None:
        """Who goes on: a new one while turns are left, else the first whose message is there, else
        the first that only asked."""
        if operator.length_hint(self._left):
            from greenlet import greenlet

            new = greenlet(self._help, self._main)
            new.gr_context = contextvars.copy_context()  # np.errstate among others
            return new
        while True:
            for waiting, what in self._waiting:
                if what.ready():
                    return waiting
            if not (self._beside and self._pump()):
                break
        return self._probing[0] if probing and self._probing else None

    def _next_or_stuck(self) -> greenlet:
        other = self._next()
        if other is None and self._from_outside():
            other = self._next()
        if other is not None:
            return other
        if not self._raised:  # otherwise it is no wonder that something does not come
            error = DeadlockError(f"step {self.step}: {self._circle()}")
            self._raised.append((None, error))  # type: ignore[arg-type]  # no turn's: of the whole step
        raise _Over

    # -- models beside the steps: each is a greenlet that lives as long as the run, and is gone
    # on with where what it waits for has come

    def start(self, turn: Turn) -> None:
        """Begin ``turn``, which may take many steps, and go on with it in those to come."""
        from greenlet import greenlet

        new = greenlet(turn)
        new.gr_context = contextvars.copy_context()
        self._beside[new] = (turn, lambda: True)
        self._resume(new)

    def next_step(self) -> bool:
        """Of a turn beside the steps: let the others do this one. Whether it was the last of the
        run, which is told once."""
        from greenlet import getcurrent

        me, step = getcurrent(), self.step
        if self._ending:
            raise _Over
        self._park(me, lambda: self._ending or self.step > step)
        return self._ending

    def _park(self, me: greenlet, ready: Callable[[], bool]) -> None:
        while not ready():
            self._beside[me] = (self._beside[me][0], ready)
            assert me.parent is not None
            me.parent.switch()

    def _pump(self) -> bool:
        """Go on with those that can; whether any could."""
        from greenlet import getcurrent

        ready = [g for g, (_, come) in self._beside.items() if come() and g is not getcurrent()]
        for g in ready:
            self._resume(g)
        return bool(ready)

    def _resume(self, g: greenlet) -> None:
        from greenlet import getcurrent

        turn, _ = self._beside[g]
        g.parent = getcurrent()
        try:
            g.switch()
        except _Over:
            pass
        except Exception as e:
            self._raised.append((turn, e))
        finally:
            if g.dead:
                self._beside.pop(g, None)

    def begin(self, steps: int) -> None:
        """A run begins, of so many steps."""
        self.steps, self._ending = steps, False
        self.begun.clear()

    def finish(self) -> Raised:
        """The run is over: turns beside the steps that wait for the next are told, the others
        leave. What was raised."""
        from greenlet import getcurrent

        self._ending = True
        self._pump()
        while self._beside:
            g, _ = self._beside.popitem()
            if not g.dead:
                g.parent = getcurrent()
                with contextlib.suppress(_Over):
                    g.throw(_Over)
        raised, self._raised = self._raised, []
        return raised

    def _from_outside(self) -> bool:
        """Whether something has come from the program around the graph, which is waited for as long
        as anybody there can go on."""
        outside = [what for _, what in self._waiting if what.outside]
        if not outside or self._raised:
            return False
        return channel.wait_for(lambda: any(what.ready() for what in outside), channel.alone)

    def _circle(self) -> str:
        """Who waits for whom."""
        outside = [what.waits() for _, what in self._waiting if what.outside]
        if outside:
            return f"{', and '.join(outside)}, and no other thread is there that could; run with blocking=False, or in a thread"
        by_owner = {id(p): what for _, what in self._waiting for p in what.owners}
        what: Waits | None = self._waiting[0][1]
        chain: list[Waits] = []
        silent = None
        while what is not None and what not in chain:
            chain.append(what)
            ports = what.on()
            silent = next((p for p in ports if id(p.process) not in by_owner), None)
            port = silent or next(iter(ports), None)
            what = None if port is None or silent is not None else by_owner[id(port.process)]
        if silent is not None:
            return (
                f"{', and '.join(w.waits() for w in chain)}, which its process has done this step without sending; "
                "send in every step, or ask probe() before recv()"
            )
        if what is None:
            return f"{', and '.join(w.waits() for w in chain)}; receive what is sent, or send less"
        circle = chain[chain.index(what) :]
        return (
            f"all wait for each other: {', '.join(w.waits() for w in circle)}; let one of them send before it receives, or put a "
            "connection with delay=1 (Dense, Sparse, Conv, Delay) between"
        )

    def _end(self) -> None:
        """Nobody goes on: let those that stand within a turn leave it."""
        self._over = True
        try:
            for g in [*(g for g, _ in self._waiting), *self._probing]:
                if g is not self._main and not g.dead:
                    g.throw(_Over)
        finally:
            self._waiting.clear()
            self._probing.clear()
            self._over = False
