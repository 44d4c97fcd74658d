"""Running with Lava's run configurations, and the few flags of its runtime that programs look
at."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from lavalike.compat import configs
from lavalike.compat.var import Var
from lavalike.errors import LavalikeError, VarError
from lavalike.model.config import RunConfig as CoreConfig
from lavalike.proc.monitor import Monitor
from lavalike.process.process import AbstractProcess, component, walk
from lavalike.runtime import runtime as core
from lavalike.runtime.conditions import RunContinuous, RunSteps


class Stopped:
    """What a process has as ``runtime`` once its program was released: flags, and calls that have
    nothing to do."""

    _is_initialized, _is_started, _is_running, running = True, False, False, False

    def __init__(self, num_steps: int = 0) -> None:
        self.num_steps = num_steps

    def stop(self) -> None:
        """Nothing is left to stop."""

    wait = pause = stop


class AbstractRunCondition:
    """Base of RunSteps and RunContinuous, in Lava."""


class Executable:
    """What compiling found: processes, and the model of each."""

    def __init__(
        self,
        process_list: list[AbstractProcess] | None = None,
        proc_builders: dict[AbstractProcess, type] | None = None,
    ) -> None:
        self.process_list = [] if process_list is None else process_list
        self.proc_builders = {} if proc_builders is None else proc_builders
        self.plan: configs.Plan | None = None

    def assign_runtime_to_all_processes(self, runtime: Any) -> None:
        """Nothing to do: a program that is compiled is its processes' runtime."""


class Bound(core.Runtime):
    """A compiled program, with Lava's flags."""

    started = False
    num_steps = 0  # of the last run
    aside = False  # a run that did not block has been neither waited for nor paused

    @property
    def _is_initialized(self) -> bool:
        return True

    @property
    def _is_started(self) -> bool:
        return self.started and not self.released

    @property
    def _is_running(self) -> bool:
        return self.running or self.aside

    def wait(self) -> None:
        self.aside = False
        with as_lava():
            super().wait()

    def _var(self, number: int) -> Var:
        for process in self.processes:
            for var in process.vars:
                if isinstance(var, Var) and var.id == number:
                    return var
        raise VarError(f"there is no Var with id {number} in what runs")

    def get_var(self, var_id: int, idx: Any = None) -> Any:
        """The value of the Var with that id."""
        return self._var(var_id).get(idx)

    def set_var(self, var_id: int, value: Any, idx: Any = None) -> None:
        """Replace the value of the Var with that id."""
        self._var(var_id).set(value, idx)


class _Runtimes(type):
    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, Bound | Stopped) or super().__instancecheck__(thing)


class Runtime(metaclass=_Runtimes):
    """Runs an Executable by hand: ``initialize``, ``start``, ``wait``, ``pause``, ``stop``. What a
    process has as ``runtime`` counts as one.

    ``message_infrastructure_type`` says how Lava passes messages between its operating-system
    processes; there are none here.
    """

    def __init__(
        self, exe: Executable, message_infrastructure_type: Any = None, loglevel: Any = None
    ) -> None:
        if exe.plan is None:
            raise configs.ConfigValueError("Runtime: the Executable was not made by compiling")
        self._exe, self._process = exe, exe.plan.processes[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_is_"):
            live = self._process.runtime
            return False if live is None else getattr(live, name)
        raise AttributeError(f"Runtime: there is no {name!r}")

    def initialize(self, node_cfg_idx: int = 0) -> None:
        """Compile, and run no step."""
        prepare(self._process, self._exe)

    def start(self, run_condition: Any) -> None:
        """Run."""
        run(self._process, run_condition, self._exe)

    def wait(self) -> None:
        """Until a run that does not block has done its steps."""
        self._process.wait()

    def pause(self) -> None:
        """End a run after the step in progress."""
        self._process.pause()

    def stop(self) -> None:
        """Release the program."""
        self._process.stop()

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class Compiler:
    """Chooses models; what runs is made when it runs."""

    def __init__(self, compile_config: Any = None, loglevel: Any = None) -> None:
        self._compile_config = dict(compile_config or {})

    def compile(self, process: AbstractProcess, run_cfg: Any) -> Executable:
        """The Executable of everything that ``process`` is connected to."""
        return executable(process, run_cfg)


def find_processes(process: AbstractProcess) -> list[AbstractProcess]:
    """Everything that ``process`` is connected to, and what is recorded there or records it."""
    found: dict[AbstractProcess, None] = {}
    todo = [process]
    while todo:
        for part in (p for top in component(todo.pop()) for p in walk(top)):
            if part not in found:
                found[part] = None
                if isinstance(part, Monitor):
                    todo += [
                        p.target.process for p in part._targets if p.target.process is not None
                    ]
    return [*found]


def executable(process: AbstractProcess, config: Any) -> Executable:
    """The Executable of everything that ``process`` is connected to."""
    made = configs.plan(process, config)
    leaves = [p for p in made.processes if not p.procs]
    out = Executable(leaves, {p: m for p, m in made.models.items() if p in leaves})
    for part in leaves:
        if isinstance(part, Monitor):
            out.proc_builders[part] = type(part).lava_models[0]  # type: ignore[attr-defined]  # which register gave it
    out.plan = made
    return out


def _plan(process: AbstractProcess, config: Any) -> configs.Plan:
    if isinstance(config, Executable) and config.plan is not None:
        config = config.plan.lava
    return configs.plan(process, config)


def prepare(process: AbstractProcess, config: Any) -> None:
    """Compile, and run no step; ``config`` is a run configuration or an Executable."""
    core.prepare(process, _plan(process, config).config)


@contextmanager
def as_lava() -> Iterator[None]:
    """What a model raises within, as the RuntimeError that Lava's programs catch; its cause is the
    model's own."""
    try:
        yield
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if not notes or isinstance(error, LavalikeError):
            raise
        count = 1 + sum(note.startswith("raised in the same step") for note in notes)
        raise RuntimeError(
            f"{count} Exception(s) occurred. {type(error).__name__}: {error} ({'; '.join(notes)})"
        ) from error


def run(
    process: AbstractProcess,
    condition: Any,
    config: Any,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int | None = None,
) -> None:
    """What ``process.run`` does; ``config`` is one of Lava's or of lavalike's."""
    if not isinstance(config, CoreConfig):
        config = _plan(process, config).config
    if not isinstance(condition, RunSteps | RunContinuous):
        raise configs.ConfigValueError(
            f"{process.path}: condition is RunSteps(n) or RunContinuous(), got {condition!r:.60}"
        )
    with as_lava():
        core.start(process, condition, config, checkpoint, every)
    live = process.runtime
    if isinstance(live, Bound):
        live.started = True
        live.num_steps = condition.num_steps if isinstance(condition, RunSteps) else sys.maxsize
        live.aside = isinstance(condition, RunContinuous) or not condition.blocking
