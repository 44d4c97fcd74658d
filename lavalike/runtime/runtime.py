"""Running a graph: stretches of steps in the caller's thread or in one of its own."""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Iterable

import numpy as np

from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.errors import InputError, RunError
from lavalike.model.config import RunConfig
from lavalike.process.claims import Claim, starting
from lavalike.process.ports import Port
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.process.var import Var, resolved
from lavalike.runtime.conditions import RunCondition, RunContinuous, RunSteps
from lavalike.runtime.engine import Engine, compiled

STRETCH_SECONDS = 0.02  # how long compiled code may run before Ctrl-C and pause() are looked at


class RecompileWarning(UserWarning):
    """A run with another RunConfig, or a changed graph, compiled anew; states were carried over."""


class Stretches:
    """Cuts a run into stretches of about STRETCH_SECONDS; those of a ``whole`` program are as long as the run."""

    def __init__(self, program: Engine) -> None:
        self.whole = program.whole
        self.size: int | float = math.inf if self.whole else 1

    def run(self, program: Engine, steps: int, stimuli: dict[Port, np.ndarray], recordings: dict[Port | Var, np.ndarray]) -> None:
        """One stretch of ``steps`` steps, from which the next size is learnt."""
        began = time.perf_counter()
        program.run(steps, stimuli, recordings)
        took = time.perf_counter() - began
        if self.whole:
            return
        if took < STRETCH_SECONDS / 2 and steps == self.size:
            self.size *= 4
        elif took > STRETCH_SECONDS:
            self.size = max(1, int(self.size * STRETCH_SECONDS / took))


class Runtime:
    """A compiled program bound to the processes it runs.

    One call of ``run`` holds it at a time, by a :class:`Claim`; Vars are read and written while none does.
    """

    def __init__(self, process: AbstractProcess, config: RunConfig, step: int = 0) -> None:
        self.config = config
        flat = flatten(process, config, get_backend, step=step)
        self.processes = flat.processes
        self.probes = [probe for p in self.processes for probe in p.probes]
        self.signature = graph_signature(p for top in component(process) for p in walk(top))
        self.program = compiled(flat, 1, [resolved(probe.target) for probe in self.probes], get_backend)
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.failed: str | None = None
        self.released = False
        self._claim: Claim | None = None
        self._freed = threading.Condition()  # its lock is held for moments; told when a claim ends
        self._torn = False  # in a forked child: a thread of the parent was amid its steps
        self._pause = threading.Event()
        _runtimes.add(self)

    def bind(self, claim: Claim) -> None:
        """Become the program of the processes, held by ``claim``."""
        self._claim = claim
        for p in self.processes:
            p.runtime = self
            for var in p.vars:
                var.binding = self

    # -- Vars (see lavalike.process.var.Binding) ---------------------------------------------------------

    def read(self, var: Var) -> np.ndarray:
        with self._freed:
            self._idle(f"read {var.path}")
            return self.program.read(var)

    def write(self, var: Var, value: np.ndarray) -> None:
        with self._freed:
            self._idle(f"set {var.path}")
            if self.released:
                raise RunError(f"cannot set {var.path}: another thread stopped the process or compiled it anew meanwhile; set it again")
            self.program.write(var, value)

    # -- one run at a time -------------------------------------------------------------------------------

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
            raise RunError(f"cannot {verb}: a run was under way when this process was forked, and its steps are not done here; "
                           "fork before the run or after it")

    def take(self, claim: Claim) -> bool:
        """Hold the program; RunError where another run does, False where it was released."""
        with self._freed:
            self._idle("run")
            if self._claim is not None:
                raise RunError("cannot run from within a step of the same run")
            if not self.released:
                self._pause.clear()
                self._claim = claim
            return not self.released

    def free(self, claim: Claim) -> None:
        """End ``claim``, if it holds the program."""
        with self._freed:
            if self._claim is claim:
                self._claim = None
                self._freed.notify_all()

    # -- life cycle ----------------------------------------------------------------------------------------

    def run(self, condition: RunCondition, claim: Claim) -> None:
        """Do the steps; ``claim`` holds the program, and ends with them."""
        try:
            if self.failed is not None:
                raise RunError(f"the last run failed within a step ({self.failed}); stop() gives the states to the Vars, then run again")
            self._raise()
            steps = condition.num_steps if isinstance(condition, RunSteps) else None
            if steps is None and Stretches(self.program).whole:
                name = next(p.target.backend for p in self.program.plan.parts if p.target.whole)
                raise RunError(f"backend {name!r} runs for a number of steps that is known before; use RunSteps(n)")
            for probe in self.probes:
                if steps is not None and probe.recorded + steps > probe.num_steps:
                    raise InputError(f"{probe.owner.path}: {probe.target!r} is probed for {probe.num_steps} steps, {probe.recorded} are "
                                     f"recorded and {steps} more were asked for; probe it again with a larger num_steps")
            if isinstance(condition, RunSteps) and condition.blocking:
                self._loop(steps)
            else:
                self._start_aside(steps, claim)
        finally:
            if claim.here:
                self.free(claim)

    def _start_aside(self, steps: int | None, claim: Claim) -> None:
        self.thread = threading.Thread(target=self._aside, args=(steps, claim), daemon=True, name="lavalike-run")
        here, claim.thread = claim.thread, None
        try:
            self.thread.start()
        except RuntimeError:  # no more threads; Ctrl-C instead comes when it has started
            claim.thread, self.thread = here, None
            raise

    def _aside(self, steps: int | None, claim: Claim) -> None:
        claim.thread = threading.get_ident()
        try:
            self._loop(steps)
        except BaseException as e:  # handed to wait() or pause(), whichever comes first
            self.error = e
        finally:
            self.free(claim)

    def _loop(self, steps: int | None) -> None:
        stretches, left = Stretches(self.program), steps
        while (left is None or left > 0) and not self._pause.is_set():
            room = [p.num_steps - p.recorded for p in self.probes]
            if room and min(room) <= 0:
                full = self.probes[room.index(min(room))]
                raise RunError(f"{full.owner.path}: the {full.num_steps} steps probed of {full.target!r} are recorded; the run is paused")
            n = min([stretches.size, *room, *([left] if left is not None else [])])
            chunks = {resolved(p.target): np.empty((n, 1, p.target.size), self.program.dtype_of(resolved(p.target))) for p in self.probes}
            before = self.program.step
            try:
                stretches.run(self.program, n, {}, chunks)
            except Exception as e:
                self.failed = str(e).splitlines()[0] if str(e) else type(e).__name__
                raise
            finally:  # what was done before an error or Ctrl-C is kept
                done = self.program.step - before
                for probe in self.probes:
                    probe.chunks.append(chunks[resolved(probe.target)][:done, 0].reshape(-1, *probe.target.shape))
            left = None if left is None else left - n

    def _raise(self) -> None:
        with self._freed:
            error, self.error = self.error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Until no thread is running the program; raises what a non-blocking run raised."""
        with self._freed:
            self._check_fork("wait for it")
            if self._claim is not None and self._claim.here:
                return
            self._freed.wait_for(lambda: self._claim is None)
            thread, self.thread = self.thread, None
        if thread is not None:
            thread.join()  # it has only to end
        self._raise()

    def pause(self) -> None:
        self._pause.set()
        self.wait()

    def stop(self) -> None:
        with self._freed:
            self._check_fork("stop")
            if self._claim is not None and self._claim.here:
                raise RunError("cannot stop from within a step of the run; pause() ends it after this step")
        try:
            self.pause()
        finally:
            with self._freed:
                while self._claim is not None:  # another thread was quicker to run again
                    self._pause.set()
                    self._freed.wait()
                self.release()

    def release(self) -> None:
        """Give the states back to the Vars and let go of the program."""
        with self._freed:
            if self.released:
                return
            for p in self.processes:
                for var in p.vars:
                    if var.binding is self:
                        var.value = np.array(self.program.read(var))
                        var.binding = None
                if p.runtime is self:
                    p.runtime = None
            self.released = True

    def forked(self) -> None:
        """In a child process: locks are new, and what another thread was running is torn."""
        self._freed, self._pause = threading.Condition(), threading.Event()
        self._torn = self._torn or (self._claim is not None and not self._claim.here)


_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()


def _forked() -> None:
    for runtime in _runtimes:
        runtime.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def graph_signature(processes: Iterable[AbstractProcess]) -> frozenset[object]:
    """Changes when processes, connections or probes were added; the same from whichever process the graph is seen."""
    return frozenset((id(p), *(len(port.sources) for port in (*p.in_ports, *p.out_ports)), *(id(x) for x in p.probes)) for p in processes)


def start(process: AbstractProcess, condition: RunCondition, config: RunConfig | None) -> None:
    """What ``process.run`` does."""
    if not isinstance(condition, RunSteps | RunContinuous):
        raise InputError(f"run: expected RunSteps or RunContinuous, got {condition!r}")
    while not _start(process, condition, config):  # again where another thread let go of the program that was there
        pass


def _start(process: AbstractProcess, condition: RunCondition, config: RunConfig | None) -> bool:
    claim = Claim.mine()
    everything = [p for top in component(process) for p in walk(top)]
    bound = list(dict.fromkeys(p.runtime for p in everything if p.runtime is not None))
    if len(bound) == 1 and config in (None, bound[0].config) and bound[0].signature == graph_signature(everything):
        if not bound[0].take(claim):
            return False
        bound[0].run(condition, claim)
        return True
    new = None
    try:
        with starting(everything, claim):
            if any(p.runtime is not None and p.runtime not in bound for p in everything) or not all(old.take(claim) for old in bound):
                return False
            step = 0
            if bound:
                latest = bound[-1]
                config, step = config or latest.config, latest.program.step
                why = f"for {config}" if config != latest.config else "the graph changed"
                warnings.warn(f"{process.path}: compiled anew, {why}; states are carried over", RecompileWarning, stacklevel=4)
            # the new program takes the states from the old ones' Vars; if it cannot be made, the old ones stay
            new = Runtime(process, config or RunConfig(), step)
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
    new.run(condition, claim)
    return True
