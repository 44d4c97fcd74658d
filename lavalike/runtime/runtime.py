"""Running a graph: stretches of steps in the caller's thread or in one of its own."""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Sequence

import numpy as np

from lavalike.backends import get_backend
from lavalike.backends.base import Program
from lavalike.compiler.graph import flatten
from lavalike.errors import InputError, RunError
from lavalike.model.config import RunConfig
from lavalike.process.ports import Port
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.process.var import Var, resolved
from lavalike.runtime.conditions import RunCondition, RunContinuous, RunSteps

STRETCH_SECONDS = 0.02  # how long compiled code may run before Ctrl-C and pause() are looked at


class RecompileWarning(UserWarning):
    """A run with another RunConfig, or a changed graph, compiled anew; states were carried over."""


class Stretches:
    """Cuts a run into stretches of about STRETCH_SECONDS; those of a ``whole`` program are as long as the run."""

    def __init__(self, program: Program) -> None:
        self.whole = getattr(program, "whole", False)
        self.size: int | float = math.inf if self.whole else 1

    def run(self, program: Program, steps: int, stimuli: dict[Port, np.ndarray], recordings: dict[Port | Var, np.ndarray]) -> None:
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
    """A compiled program bound to the processes it runs."""

    def __init__(self, process: AbstractProcess, config: RunConfig, step: int = 0) -> None:
        self.config = config
        backend = get_backend(config.backend)
        graph = flatten(process, config, backend.general_model, step=step)
        self.processes = graph.processes
        self.probes = [probe for p in self.processes for probe in p.probes]
        self.signature = graph_signature(self.processes)
        self.program = backend.build(graph, 1, [resolved(probe.target) for probe in self.probes])
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.failed: str | None = None
        self._busy = threading.Lock()  # held while steps are done, in whatever thread
        self._owner = 0
        self._pause = threading.Event()
        for p in self.processes:
            p.runtime = self
            for var in p.vars:
                var.binding = self

    # -- Vars (see lavalike.process.var.Binding) ---------------------------------------------------------

    def read(self, var: Var) -> np.ndarray:
        self.idle(f"read {var.path}")
        return self.program.read(var)

    def write(self, var: Var, value: np.ndarray) -> None:
        self.idle(f"set {var.path}")
        self.program.write(var, value)

    # -- life cycle ----------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._busy.locked() or (self.thread is not None and self.thread.is_alive())

    def idle(self, verb: str) -> None:
        """RunError if another thread is running the program."""
        if self.running and threading.get_ident() != self._owner:
            raise RunError(f"cannot {verb} while the process is running; pause() first")

    def start(self, condition: RunCondition) -> None:
        if self.failed is not None:
            raise RunError(f"the last run failed within a step ({self.failed}); stop() gives the states to the Vars, then run again")
        self.idle("run")
        self._join()
        steps = condition.num_steps if isinstance(condition, RunSteps) else None
        if steps is None and Stretches(self.program).whole:
            raise RunError(f"backend {self.config.backend!r} runs for a number of steps that is known before; use RunSteps(n)")
        for probe in self.probes:
            if steps is not None and probe.recorded + steps > probe.num_steps:
                raise InputError(f"{probe.owner.path}: {probe.target!r} is probed for {probe.num_steps} steps, {probe.recorded} are "
                                 f"recorded and {steps} more were asked for; probe it again with a larger num_steps")
        self._pause.clear()
        if isinstance(condition, RunSteps) and condition.blocking:
            self._run(steps)
        else:
            self.thread = threading.Thread(target=self._guarded, args=(steps,), daemon=True, name="lavalike-run")
            self.thread.start()

    def _guarded(self, steps: int | None) -> None:
        try:
            self._run(steps)
        except BaseException as e:  # handed to wait() or pause(), whichever comes first
            self.error = e

    def _run(self, steps: int | None) -> None:
        with self._busy:
            self._owner = threading.get_ident()
            try:
                self._loop(steps)
            finally:
                self._owner = 0

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

    def _join(self) -> None:
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def wait(self) -> None:
        """Until no thread is running the program; raises what a non-blocking run raised."""
        if threading.get_ident() != self._owner:
            self._join()
            with self._busy:
                pass

    def pause(self) -> None:
        self._pause.set()
        self.wait()

    def stop(self) -> None:
        try:
            self.pause()
        finally:
            self.release()

    def release(self) -> None:
        """Give the states back to the Vars and let go of the program."""
        for p in self.processes:
            for var in p.vars:
                if var.binding is self:
                    var.value = np.array(self.program.read(var))
                    var.binding = None
            if p.runtime is self:
                p.runtime = None


def graph_signature(processes: Sequence[AbstractProcess]) -> tuple[object, ...]:
    """Changes when processes, connections or probes were added."""
    return tuple((id(p), *(len(port.sources) for port in (*p.in_ports, *p.out_ports)), *(id(x) for x in p.probes)) for p in processes)


def start(process: AbstractProcess, condition: RunCondition, config: RunConfig | None) -> None:
    """What ``process.run`` does."""
    if not isinstance(condition, RunSteps | RunContinuous):
        raise InputError(f"run: expected RunSteps or RunContinuous, got {condition!r}")
    everything = [p for top in component(process) for p in walk(top)]
    bound = list(dict.fromkeys(p.runtime for p in everything if p.runtime is not None))
    for old in bound:
        old.idle("run")
    if len(bound) == 1 and config in (None, bound[0].config) and bound[0].signature == graph_signature(everything):
        bound[0].start(condition)
        return
    step = 0
    if bound:
        latest = bound[-1]
        config, step = config or latest.config, latest.program.step
        why = f"for {config}" if config != latest.config else "the graph changed"
        warnings.warn(f"{process.path}: compiled anew, {why}; states are carried over", RecompileWarning, stacklevel=3)
    # the new program takes the states from the old ones' Vars; if it cannot be made, the old ones stay
    new = Runtime(process, config or RunConfig(), step)
    for old in bound:
        old.stop()
    new.start(condition)
