"""Running a graph: stretches of steps in the caller's thread or in one of its own."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from lavalike.arguments import PATH, Rule, integer, optional, shown
from lavalike.backends import get_backend
from lavalike.compiler.flat import Flat, flatten
from lavalike.errors import ChannelDeadlockError, InputError, RunError, WorkerError
from lavalike.model.config import RunConfig
from lavalike.proc.io import channel
from lavalike.process.claims import Claim, starting
from lavalike.process.ports import Port
from lavalike.process.process import AbstractProcess
from lavalike.process.structure import Structure
from lavalike.process.var import Var, resolved
from lavalike.runtime.checkpoint import Checkpoint, states
from lavalike.runtime.conditions import RunCondition, RunContinuous, RunSteps
from lavalike.runtime.engine import Engine, State
from lavalike.runtime.workers import Workers, compiled

log = logging.getLogger(__name__)
NOTHING: dict = {}
_EVERY = optional(integer(1))
STRETCH_SECONDS = 0.02  # how long compiled code may run before Ctrl-C and pause() are looked at


class RecompileWarning(UserWarning):
    """A run with another RunConfig, or a changed graph, compiled anew; states were carried over.

    Causes: another configuration than in the run before, or a process that was connected since.
    Remedy: none is needed; one configuration for all runs of a graph saves the time.
    """


class Stretches:
    """Cuts a run into stretches of about STRETCH_SECONDS; those of a ``whole`` program are as long
    as the run."""

    def __init__(self, program: Engine | Workers) -> None:
        self.whole = program.whole
        self.size: int | float = math.inf if self.whole else 1

    def run(
        self,
        program: Engine | Workers,
        steps: int,
        stimuli: Mapping[Port, np.ndarray],
        recordings: Mapping[Port | Var, np.ndarray] | None,
    ) -> None:
        """One stretch of ``steps`` steps, from which the next size is learnt; without recordings
        the last one goes on."""
        began = time.perf_counter()
        if recordings is None:
            program.again(steps)
        else:
            program.run(steps, stimuli, recordings)
        took = time.perf_counter() - began
        if self.whole:
            return
        if took < STRETCH_SECONDS / 2 and steps == self.size:
            self.size *= min(64, max(4, int(STRETCH_SECONDS / 2 / max(took, 1e-9))))
        elif took > STRETCH_SECONDS:
            self.size = max(1, int(self.size * STRETCH_SECONDS / took))


class Runtime:
    """A compiled program bound to the processes it runs.

    One call of ``run`` holds it at a time, by a :class:`Claim`; Vars are read and written while
    none does.
    """

    def __init__(
        self, process: AbstractProcess, config: RunConfig, drawn: int | None = None
    ) -> None:
        self.config, began = config, time.perf_counter()
        flat = flatten(process, config, get_backend, running=True)
        flat.drawn = drawn
        self.structure = process._structure.root()
        self.version = self.structure.version  # what SubProcessModels made is in it
        self.processes = flat.processes
        for var in states(self.processes):
            if var.marked is None:
                var.marked = var.value
        self.flat = flat
        self.program = compiled(flat, 1, self._probed(), get_backend, running=True)
        self._record()
        self._recordable: set[Port | Var] = {t for t, _, _ in self.targets}
        self.stretches = Stretches(self.program)
        root = self.structure.root()
        # where reset() goes back to; None: to the Vars' marks, by another program
        self.marked: State | None = None
        if root.step == root.marked and all(
            var.value is var.marked for var in states(self.processes)
        ):
            with suppress(RunError):  # a model has something that cannot be copied
                self.marked = self.program.state()
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.failed: str | None = None
        self.released = False
        self.ended = False  # a model asked for stop()
        self._claim: Claim | None = None
        self._lock = threading.RLock()  # held for moments
        self._freed = threading.Condition(self._lock)  # told when a claim ends
        self._waiting = 0  # threads that wait for that
        self._torn = False  # in a forked child: a thread of the parent was amid its steps
        self._pause = False
        self.program.watch(lambda: self._pause)
        _runtimes.add(self)
        if log.isEnabledFor(logging.INFO):
            nodes, parts = len(flat.nodes), len(self.program.plan.parts)
            log.info(
                "%s: compiled, %d process%s in %d part%s, in %.3f s",
                *(process.path, nodes, "es" * (nodes != 1), parts, "s" * (parts != 1)),
                time.perf_counter() - began,
            )

    def _probed(self) -> list[Port | Var]:
        """What is recorded; InputError where some of it does not run."""
        self.probed = self.structure.root().probed
        _all_run(self.structure.root().members, self.flat)
        self.probes = [probe for p in self.flat.processes for probe in p.probes]
        return list(dict.fromkeys(resolved(probe.target) for probe in self.probes))

    def _record(self) -> None:
        self.targets = [
            (t, self.program.dtype_of(t), [p for p in self.probes if resolved(p.target) is t])
            for t in dict.fromkeys(resolved(probe.target) for probe in self.probes)
        ]
        # probes whose own arrays the program fills, run after run; None where rows pass through
        # others
        alone = all(len(probes) == 1 and probes[0].plain for _, _, probes in self.targets)
        self._filled = [p for _, _, (p,) in self.targets] if alone else None
        self._bound = False  # the program knows where the next rows are

    def reprobe(self) -> bool:
        """Record what is probed by now; False where that takes another program."""
        known, before = self._recordable, self.probed
        try:
            new = [t for t in self._probed() if t not in known]
            if new and not self.program.record(new):
                return False
        except BaseException:
            self.probed = before
            raise
        self._recordable |= {*new}
        self._record()
        for probe in self.probes:
            probe.owner.runtime = self
        self.processes = list(
            dict.fromkeys([*self.processes, *(probe.owner for probe in self.probes)])
        )
        return True

    def bind(self, claim: Claim) -> None:
        """Become the program of the processes, held by ``claim``."""
        self._claim = claim
        root = self.structure.root()
        root.runtimes.append(self)
        root.config, root.counts = self.config, ()
        for p in self.processes:
            p.runtime = self
            for var in p.vars:
                var.binding = self

    # -- Vars (see lavalike.process.var.Binding) ---------------------------------------------------

    def read(self, var: Var) -> np.ndarray:
        with self._lock:
            self._idle(f"read {var.path}")
            return self.program.read(var)

    def write(self, var: Var, value: np.ndarray) -> None:
        with self._lock:
            self._idle(f"set {var.path}")
            if self.released:
                raise RunError(
                    f"cannot set {var.path}: another thread stopped the process or compiled it anew meanwhile; set it again"
                )
            self.program.write(var, value)

    # -- one run at a time -------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._claim is not None and not self._torn

    def _idle(self, verb: str) -> None:
        """RunError if another thread is running the program."""
        self._check_fork(verb)
        if self._claim is not None and not self._claim.here:
            raise RunError(f"cannot {verb} while the process is running; pause() first")

    def _check_fork(self, verb: str) -> None:
        if self._torn:
            raise RunError(
                f"cannot {verb}: a run was under way when this process was forked, and its steps are not done here; "
                "fork before the run or after it"
            )

    def take(self, claim: Claim, verb: str = "run") -> bool:
        """Hold the program; RunError where another run does, False where it was released."""
        with self._lock:
            if self._claim is not None or self._torn:
                self._idle(verb)
                raise RunError(f"cannot {verb} from within a step of the same run")
            if self.ended:
                self.release()
            if self.released:
                return False
            self._pause = False
            self._claim = claim
            return True

    def free(self, claim: Claim) -> None:
        """End ``claim``, if it holds the program."""
        with self._lock:
            if self._claim is claim:
                self._claim = None
                if self._waiting:
                    self._freed.notify_all()

    def _await(self) -> None:
        """Until nobody holds the program; its lock is held by the caller."""
        self._waiting += 1
        try:
            with channel.awaiting(lambda: self._claim is not None):
                self._freed.wait_for(lambda: self._claim is None)
        finally:
            self._waiting -= 1

    def back(self) -> bool:
        """Be as at the mark; False where that takes another program."""
        if self.marked is None or self.version != self.structure.root().version:
            return False
        self.program.go_back(self.marked)
        self.failed, self.error, self._bound = None, None, False
        return True

    # -- life cycle --------------------------------------------------------------------------------

    def run(self, condition: RunCondition, claim: Claim, keep: Checkpoint | None = None) -> None:
        """Do the steps; ``claim`` holds the program, and ends with them; ``keep`` has the states in
        a file meanwhile."""
        try:
            if self.failed is not None and self.program.lost is None:
                raise RunError(
                    f"the last run failed within a step ({self.failed}); stop() gives the states to the Vars, then run again"
                )
            if self.error is not None:
                self._raise()
            steps = condition.num_steps if isinstance(condition, RunSteps) else None
            if steps is None and self.stretches.whole:
                name = next(p.target.backend for p in self.program.plan.parts if p.target.whole)
                raise RunError(
                    f"backend {name!r} runs for a number of steps that is known before; use RunSteps(n)"
                )
            if keep is not None:
                keep.begin(self)
            ready = steps is not None and self._goes_on(steps)
            if not ready:
                for _, dtype, probes in self.targets:
                    for probe in probes:
                        probe.begin(steps, self.program.step, dtype)
            if steps is not None and condition.blocking:  # type: ignore[union-attr]  # steps are of RunSteps
                self._loop(steps, ready, keep)
            else:
                self._start_aside(steps, claim, keep)
            if self.ended and claim.here:
                self.release()
        finally:
            if claim.here:
                self.free(claim)

    def _start_aside(self, steps: int | None, claim: Claim, keep: Checkpoint | None) -> None:
        self.thread = threading.Thread(
            target=self._aside, args=(steps, claim, keep), daemon=True, name="lavalike-run"
        )
        here, claim.thread = claim.thread, None
        try:
            self.thread.start()
        except RuntimeError:  # no more threads; Ctrl-C instead comes when it has started
            claim.thread, self.thread = here, None
            raise

    def _aside(self, steps: int | None, claim: Claim, keep: Checkpoint | None) -> None:
        claim.thread = threading.get_ident()
        try:
            self._loop(steps, False, keep)
        except BaseException as e:  # handed to wait() or pause(), whichever comes first
            self.error = e
        finally:
            self.free(claim)

    def _loop(self, steps: int | None, ready: bool, keep: Checkpoint | None) -> None:
        """``ready``: there is room for all the steps where the program records."""
        if not self.program.beside:
            self._steps(steps, ready, keep)
            return
        for part in self.program.beside:
            part.begin(steps)
        try:
            self._steps(steps, ready, keep)
        finally:
            for part in self.program.beside:
                part.finish()

    def _steps(self, steps: int | None, ready: bool, keep: Checkpoint | None) -> None:
        program, stretches = self.program, self.stretches
        left: Any = math.inf if steps is None else steps
        while left > 0 and not self._pause:
            n: Any = left if left <= stretches.size else stretches.size
            if keep is not None:
                n = min(n, keep.left(program.step))
            rows = None
            if not (ready or self._goes_on(n)):
                n, rows = self._room(n)
            before = program.step
            try:
                stretches.run(program, n, NOTHING, rows)
            except ChannelDeadlockError:  # between two steps
                raise
            except Exception as e:
                self.failed = str(e).splitlines()[0] if str(e) else type(e).__name__
                raise
            finally:  # what was done before an error or Ctrl-C is kept
                self.structure.root().step = after = program.step
                if self.targets:
                    self._commit(rows, after - before, before)
            self._bound = program.goes_on
            left -= n
            if keep is not None:
                keep.passed(self)
            if program.request:
                self.ended = program.request == "stop"
                break
        if keep is not None:
            keep.write(self)

    def _goes_on(self, steps: float) -> bool:
        """Whether the program may go on for ``steps`` steps as it did, in the rows behind those it
        filled."""
        if not self._bound or self._filled is None:
            return False
        for probe in self._filled:  # noqa: SIM110  (all() takes three times as long)
            if probe.free < steps:
                return False
        return True

    def _room(self, n: Any) -> tuple[Any, dict[Port | Var, np.ndarray]]:
        """Rows for at most ``n`` steps, and for how many: all there are where the program fills the
        probes' own."""
        for _, dtype, probes in self.targets:
            for probe in probes:
                n = min(n, probe.left if self.stretches.whole else probe.most(dtype))
                if n <= 0:
                    raise RunError(
                        f"{probe.owner.path}: the {probe.num_steps} steps probed of {probe.target!r} are recorded; "
                        "the run is paused"
                    )
        longer = self._filled is not None and self.program.longer
        return n, {t: probes[0].room(n, dtype, longer) for t, dtype, probes in self.targets}

    def _commit(
        self, rows: Mapping[Port | Var, np.ndarray] | None, steps: int, before: int
    ) -> None:
        """Give ``steps`` of ``rows`` to the probes; what one raises is raised when all have
        theirs."""
        if self._filled is not None:
            for probe in self._filled:
                probe.commit(steps, before)
            return
        assert rows is not None
        failed: Exception | None = None
        for target, dtype, probes in self.targets:
            for probe in probes:
                try:
                    if probe is not probes[0]:  # of another monitor
                        probe.room(len(rows[target]), dtype)[...] = rows[target]
                    probe.commit(steps, before)
                except Exception as e:
                    failed = failed or e
        if failed is not None:
            raise failed

    def _raise(self) -> None:
        with self._lock:
            error, self.error = self.error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Until no thread is running the program; raises what a non-blocking run raised."""
        with self._lock:
            self._check_fork("wait for it")
            if self._claim is not None and self._claim.here:
                return
            self._await()
            thread, self.thread = self.thread, None
        if thread is not None:
            thread.join()  # it has only to end
        if self.ended:
            self.release()
        self._raise()

    def pause(self) -> None:
        self._pause = True
        channel.tell()
        self.wait()

    def stop(self) -> None:
        with self._lock:
            self._check_fork("stop")
            if self._claim is not None and self._claim.here:
                raise RunError(
                    "cannot stop from within a step of the run; pause() ends it after this step"
                )
        try:
            self.pause()
            channel.hand_over(self.processes)
        finally:
            with self._lock:
                while self._claim is not None:  # another thread was quicker to run again
                    self._pause = True
                    channel.tell()
                    self._await()
                self.release()

    def release(self) -> None:
        """Give the states back to the Vars and let go of the program."""
        with self._lock:
            if self.released:
                return
            failed: WorkerError | None = None
            for p in self.processes:
                for var in p.vars:
                    if var.binding is self:
                        try:
                            if not var.untouched:
                                var.value = np.array(self.program.read(var))
                        except WorkerError as e:  # which is told once, and leaves the value
                            failed = e
                        var.binding = None
                if p.runtime is self:
                    p.runtime = None
            root = self.structure.root()
            if self in root.runtimes:
                root.runtimes.remove(self)
            if self.program.lost is not None:
                root.step = self.flat.step
            self.released = True
            self.program.close()
            if failed is not None:
                raise failed

    def forked(self) -> None:
        """In a child process: locks are new, and what another thread was running is torn."""
        self._lock, self._waiting, self._pause = threading.RLock(), 0, False
        self._freed = threading.Condition(self._lock)
        self._torn = self._torn or (self._claim is not None and not self._claim.here)


_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


def _forked() -> None:
    for runtime in _runtimes:
        runtime.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def start(
    process: AbstractProcess,
    condition: RunCondition,
    config: RunConfig | None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
) -> None:
    """What ``process.run`` does."""
    if (
        type(condition) is not RunSteps and not isinstance(condition, RunSteps | RunContinuous)
    ) or (config is not None and not isinstance(config, RunConfig)):
        raise TypeError("run")  # its rules are looked at only now
    keep = None
    if checkpoint is not None or every is not None:
        if not (_fits(_EVERY, every) and (checkpoint is None or _fits(PATH, checkpoint))):
            raise TypeError("run")
        if checkpoint is None:
            raise InputError(
                f"run: every={shown(every)} says when the states are written to a file, and there is none; give checkpoint='run.h5'"
            )
        keep = Checkpoint(checkpoint, every)
    while not _start(
        process, condition, config, keep
    ):  # again where another thread let go of the program that was there
        pass


def _fits(rule: Rule, value: Any) -> bool:
    return rule.kind(value) and rule.value(value)


def _start(
    process: AbstractProcess,
    condition: RunCondition,
    config: RunConfig | None,
    keep: Checkpoint | None,
) -> bool:
    claim = Claim()
    program = _held_program(process, config, claim)
    if program is None:
        return False
    program.run(condition, claim, keep)
    return True


def prepare(
    process: AbstractProcess, config: RunConfig | None = None, drawn: int | None = None
) -> Runtime:
    """The program of everything ``process`` is connected to, compiled unless it is there; no step
    is run. ``drawn``: the seed of a new one where its RunConfig gives none."""
    while True:
        claim = Claim()
        program = _held_program(process, config, claim, drawn)
        if program is not None:
            program.free(claim)
            return program


def _held_program(
    process: AbstractProcess,
    config: RunConfig | None,
    claim: Claim,
    drawn: int | None = None,
) -> Runtime | None:
    """The program for a run with ``config``, held by ``claim``; None where another thread let go of
    the one that was there."""
    root = process._structure.root()
    bound = [*root.runtimes]
    if (
        len(bound) == 1
        and (old := bound[0]).version == root.version
        and (config is None or config is old.config or config == old.config)
    ):
        if not old.take(claim):
            return None
        if old.probed == root.probed or _reprobed(old, claim):
            return old
        old.free(claim)
    new = None
    try:
        with starting(process, claim):
            root = process._structure.root()
            if root.runtimes != bound or not all(old.take(claim) for old in bound):
                return None
            before = bound[-1].config if bound else root.config
            if config is None:
                config = before or RunConfig()
            if bound or root.counts:
                _warn(process, config != before and f"for {config}")
            # the new program takes the states from the old ones' Vars; if it cannot be made, the
            # old ones stay
            new = Runtime(process, config, bound[-1].flat.drawn if bound else drawn)
            for old in bound:
                old.release()
            new.bind(claim)
    except BaseException:
        if new is not None:
            new.free(claim)
        raise
    finally:
        for old in bound:
            old.free(claim)
    return new


def _reprobed(runtime: Runtime, claim: Claim) -> bool:
    try:
        return runtime.reprobe()
    except BaseException:
        runtime.free(claim)
        raise


def _warn(process: AbstractProcess, why: str | bool) -> None:
    root = process._structure.root()
    text = f"{process.path}: compiled anew, {why or 'the graph changed'}; states are carried over"
    if root.counts:
        counts = " and ".join(map(str, sorted(root.counts)))
        text += (
            f", but what was connected had done {counts} steps: all go on from step {root.step}, the most, and what depends on the "
            "step (sources, resets) with them"
        )
    log.info(text)
    warnings.warn(text, RecompileWarning, stacklevel=7)


def _all_run(members: Iterable[AbstractProcess], flat: Flat) -> None:
    """InputError where something recorded is of a process that is not in the graph."""
    there = {*flat.processes}
    for p in members:
        if p.probes and p not in there:
            target, above = p.probes[0].target, p.parent
            while above is not None and above not in there:
                above = above.parent
            node = flat.node_of(above)
            why = (
                ""
                if node is None
                else f": {type(node.model).__name__} computes {node.process.path} as a whole"
            )
            raise InputError(
                f"{p.probes[0].owner.path}: {target!r} is not in what runs{why}; record what is, or select another model"
            )


@contextmanager
def _held(process: AbstractProcess, verb: str) -> Iterator[Structure]:
    """The structure of ``process``, whose programs nobody else runs meanwhile; RunError where
    somebody does."""
    claim = Claim()
    with starting(process, claim):
        root = process._structure.root()
        bound = [*root.runtimes]
        try:
            for runtime in bound:
                runtime.take(claim, verb)
            yield root
        finally:
            for runtime in bound:
                runtime.free(claim)


def mark(process: AbstractProcess) -> None:
    """What ``process.mark`` does."""
    with _held(process, f"mark {process.path}") as root:
        # all that may fail comes first
        values = [(var, Var.get(var)) for var in states(root.members)]
        kept = [(runtime, runtime.program.state()) for runtime in root.runtimes]
        for var, value in values:
            var.marked = value
        root.marked = root.step
        for runtime, state in kept:
            runtime.marked = state


def reset(process: AbstractProcess) -> None:
    """What ``process.reset`` does."""
    with _held(process, f"reset {process.path}") as root:
        for runtime in [*root.runtimes]:
            if not runtime.back():
                runtime.release()
        for var in states(root.members):
            if var.marked is not None:
                var.value = var.marked
        root.step = root.marked
