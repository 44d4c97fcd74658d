"""The checks. They know processes, Vars and RunConfig only: what a user can see."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavalike.arguments import (
    MAPPING,
    TEXT,
    Rule,
    arguments,
    choice,
    did_you_mean,
    instance,
    integer,
    optional,
    real,
    shown,
)
from lavalike.errors import ConformanceError, GraphError, InputError, ModelSelectionError, VarError
from lavalike.model import ProcessModel, RunConfig
from lavalike.model.config import MODEL, Precision
from lavalike.process import AbstractProcess, Port, Var
from lavalike.process.process import walk
from lavalike.runtime.conditions import RunSteps
from lavalike.runtime.simulate import simulate
from lavalike.testing.samples import SAMPLES

Arrays = dict[str, np.ndarray]
Setup = Callable[[AbstractProcess], RunConfig]
BATCH = 3  # so that of two threads one has several samples
PIECES = (3, 1, 5)  # steps of the runs that follow one another


def _names(of: str, least: int) -> Rule:
    return Rule(
        f"a list of names of {of}",
        lambda v: (
            isinstance(v, Collection)
            and not isinstance(v, str)
            and len(v) >= least
            and all(isinstance(x, str) for x in v)
        ),
    )


def _always(config: RunConfig) -> Setup:
    return lambda process: config


@dataclass(frozen=True)
class Checked:
    """What :func:`check_backend` found.

    Attributes:
        passed: samples that the backend computes, "process, precision".
        refused: the others, and the error that says so.
    """

    passed: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)


@arguments(
    name=TEXT,
    only=optional(_names("samples", 0)),
    options=optional(MAPPING),
    steps=integer(1),
    tolerance=real(0),
)
def check_backend(
    name: str,
    *,
    only: Collection[str] | None = None,
    options: Mapping[str, Any] | None = None,
    steps: int = 16,
    tolerance: float = 1e-9,
) -> Checked:
    """Hold a backend to what all are held to, with a sample of every process in the library, and
    one small recurrent network.

    For each sample and precision:

    * outputs and states equal the numba backend's (numba's: its kernels run as plain Python),
      ``fixed_pt`` exactly;
    * a batch is its samples, each with its own state;
    * a run in pieces is one run: states and the count of steps are kept;
    * Vars: what is set before a run and between runs acts, and what is read is what a step left;
    * or it is refused, before its first step, with a ModelSelectionError or GraphError that names
      the process.

    Args:
        name: of the backend, built in or installed (entry point group ``lavalike.backends``).
        only: names of samples, keys of ``lavalike.testing.samples.SAMPLES``. Default: all.
        options: more of RunConfig's. Default: dtype "float64".
        steps: of the longest run. Default 16.
        tolerance: absolute and relative, of floating_pt. Default 1e-9.

    Raises ConformanceError, which names sample, precision, what differs and where; InputError for a
    wrong argument. What a step itself raises is passed on, with a note that names sample and
    precision.

    Example::

        checked = check_backend("numba", only=["LIF", "Dense"])
        assert not checked.refused
    """
    wanted = list(SAMPLES) if only is None else list(only)
    for key in wanted:
        if key not in SAMPLES:
            raise InputError(
                f"check_backend: only: no sample called {key!r}{did_you_mean(key, SAMPLES)}; there are {', '.join(SAMPLES)}"
            )
    passed: list[str] = []
    refused: dict[str, str] = {}
    for key in wanted:
        sample = SAMPLES[key]
        for precision in sample.precisions:
            label, fixed = f"{key}, {precision}", precision == "fixed_pt"
            common: dict[str, Any] = {"dtype": "float64", **(options or {}), "precision": precision}
            config = RunConfig(**common, backend=name)
            reference = RunConfig(dtype="float64", precision=precision, debug=name == "numba")
            check = _Check(
                label,
                functools.partial(sample.make, fixed),
                fixed,
                tolerance,
                steps,
                spikes=sample.spikes,
            )
            own, plain = _always(config), _always(reference)
            try:
                refusal = check.refusal(own)
                if refusal is None:
                    check.equal(own, plain, check.itself(own))
            except Exception as e:
                e.add_note(f"in check_backend({name!r}): {label}")
                raise
            if refusal is None:
                passed.append(label)
            else:
                refused[label] = refusal
    if not passed:
        raise ConformanceError(
            f"check_backend: {name!r} computes none of {', '.join(wanted)}; the last refusal: "
            f"{next(reversed(refused.values()), 'none')}"
        )
    return Checked(tuple(passed), refused)


@arguments(
    process=instance(AbstractProcess, words="a process"),
    model=MODEL,
    reference=optional(MODEL),
    inputs=optional(MAPPING),
    precision=optional(choice("floating_pt", "fixed_pt")),
    steps=integer(1),
    tolerance=real(0),
)
def check_model(
    process: AbstractProcess,
    model: type[ProcessModel],
    *,
    reference: type[ProcessModel] | None = None,
    inputs: Mapping[str, Any] | None = None,
    precision: Precision | None = None,
    steps: int = 16,
    tolerance: float = 1e-9,
) -> None:
    """Hold a model to what every model is held to, on a process it implements: as
    :func:`check_backend`, for one process.

    Args:
        process: as it stands, its Vars' values included; it is left as it was.
        model: of the process's class.
        reference: another model of it, whose outputs and states ``model``'s equal. Default: the
            model that the numba backend chooses, if there is one.
        inputs: InPorts by name to arrays (\\*shape, time). Default: random, normal in floating_pt,
            whole numbers within 60 in fixed_pt.
        precision: default the model's, "floating_pt" for one of both.
        steps: where ``inputs`` do not say. Default 16.
        tolerance: absolute and relative, of floating_pt. Default 1e-9.

    Raises ConformanceError (process, what differs, and where), ModelSelectionError where the model
    does not fit the process.

    Example::

        check_model(Twice(), TwiceModel)
    """
    chosen: Precision = precision or model.precision or "floating_pt"
    common: dict[str, Any] = {"dtype": "float64", "precision": chosen}

    def config(own: AbstractProcess) -> RunConfig:
        return RunConfig(**common, backend=model.backend, select={own: model})

    def plain(own: AbstractProcess) -> RunConfig:
        if reference is not None:
            return RunConfig(**common, backend=reference.backend, select={own: reference})
        return RunConfig(**common, debug=True, select={own: "numba"})

    check = _Check(
        f"{type(process).__name__}, {model.__name__}",
        lambda: copy.deepcopy(process),
        chosen == "fixed_pt",
        tolerance,
        steps,
        inputs,
    )
    found = check.itself(config)
    if reference is not None or check.refusal(plain) is None:
        check.equal(config, plain, found)


@arguments(
    process=instance(AbstractProcess, words="a process"),
    backends=_names("backends", 1),
    precision=choice("floating_pt", "fixed_pt"),
    inputs=optional(MAPPING),
    steps=integer(1),
    tolerance=real(0),
)
def check_process(
    process: AbstractProcess,
    *,
    backends: Collection[str] = ("numba", "torch"),
    precision: Precision = "floating_pt",
    inputs: Mapping[str, Any] | None = None,
    steps: int = 16,
    tolerance: float = 1e-9,
) -> Checked:
    """Hold a process, a whole graph say, to what all are held to, on every backend: a batch is its
    samples, a run in pieces is one run, what is set acts, and outputs and states are those of the
    first of ``backends`` that computes it.

    Args:
        process: as it stands, its Vars' values included; it is left as it was.
        backends: by name. Default numba and torch.
        precision: of the runs, fixed_pt to the bit. Default floating_pt.
        inputs, steps, tolerance: as in :func:`check_model`.

    Returns:
        Which backends passed and which refused it, as "process, precision, backend".

    Raises ConformanceError: process, backend, what differs, and where; or that every backend
    refuses the process, and why the first does.

    Example::

        assert check_process(netx.hdf5.Network("mine.net"), precision="fixed_pt").passed
    """
    passed: list[str] = []
    refused: dict[str, str] = {}
    reference: Setup | None = None
    for name in backends:
        own = _always(RunConfig(backend=name, dtype="float64", precision=precision))
        label = f"{type(process).__name__}, {precision}, {name}"
        fixed = precision == "fixed_pt"
        make = functools.partial(copy.deepcopy, process)
        check = _Check(label, make, fixed, tolerance, steps, inputs)
        if (refusal := check.refusal(own)) is not None:
            refused[label] = refusal
            continue
        found = check.itself(own)
        if reference is not None:
            check.equal(own, reference, found)
        reference = reference or own
        passed.append(label)
    if not passed:
        raise ConformanceError(
            f"check_process: no backend computes {process.path}: {next(iter(refused.values()), 'none was named')}"
        )
    return Checked(tuple(passed), refused)


@dataclass
class _Check:
    """One process under a configuration, which is told by the process at hand as it may name it."""

    label: str
    make: Callable[[], AbstractProcess]
    fixed: bool
    tolerance: float
    steps: int
    given: Mapping[str, Any] | None = None
    spikes: bool = False

    def refusal(self, config: Setup) -> str | None:
        """The error by which the process is refused, or None."""
        process = self.make()
        try:
            simulate(process, steps=1, config=config(process))
        except (ModelSelectionError, GraphError) as e:
            text = str(e)
            if not any(type(p).__name__ in text or p.path in text for p in walk(process)):
                raise ConformanceError(
                    f"{self.label}: refused without the process's name: {text}"
                ) from e
            return text
        return None

    def equal(self, config: Setup, reference: Setup, batch: tuple[set[str], Arrays]) -> None:
        """Outputs, states and what comes of writing Vars are the reference's; ``batch`` is what
        :meth:`itself` gave."""
        states, whole = batch
        self.same(
            "outputs and states of a batch",
            whole,
            self.simulated(reference, self.inputs(BATCH), states),
        )
        wanted, kept = self.written(reference, None)
        found, _ = self.written(config, kept)
        self.same("states after Vars were set", found, wanted)

    def itself(self, config: Setup) -> tuple[set[str], Arrays]:
        """A batch is its samples; a run in pieces is one run. The states that can be recorded, and
        what the batch did."""
        inputs, states = self.inputs(BATCH), self.recordable(config)
        whole = self.simulated(config, inputs, states)
        for k in range(BATCH if inputs else 0):
            alone = self.simulated(config, {n: x[k] for n, x in inputs.items()}, states)
            self.same(
                f"sample {k} of a batch and alone", {n: x[k] for n, x in whole.items()}, alone
            )
        self.same(
            "a run in pieces and in one", self.ran(config, PIECES), self.ran(config, (sum(PIECES),))
        )
        return states, whole

    def inputs(self, batch: int) -> Arrays:
        """By name, (batch, *shape, time)."""
        if self.given is not None:
            return {n: np.stack([np.asarray(x)] * batch) for n, x in self.given.items()}
        g = np.random.default_rng(1)
        shapes = {p.name: (batch, *p.shape, self.steps) for p in self.make().in_ports}
        if self.spikes:
            return {
                n: (g.random(shape) < 0.3).astype(int if self.fixed else float)
                for n, shape in shapes.items()
            }
        return {
            n: g.integers(-60, 61, shape) if self.fixed else g.normal(size=shape)
            for n, shape in shapes.items()
        }

    def recordable(self, config: Setup) -> set[str]:
        """Paths of the states that can be recorded; the others are refused by name."""
        paths = {v.path for v in _states(self.make())}
        if self._refused(config, paths) is None:
            return paths
        taken: set[str] = set()
        for path in paths:
            error = self._refused(config, {path})
            if error is None:
                taken.add(path)
            elif path not in str(error):
                raise ConformanceError(
                    f"{self.label}: {path} cannot be recorded, and the error does not name it: {error}"
                ) from error
        return taken

    def _refused(self, config: Setup, paths: set[str]) -> InputError | None:
        process = self.make()
        try:
            simulate(
                process,
                steps=1,
                config=config(process),
                record=[v for v in _states(process) if v.path in paths],
            )
        except InputError as e:
            return e
        return None

    def simulated(self, config: Setup, inputs: Arrays, of: set[str]) -> Arrays:
        """What the OutPorts and the states ``of`` a name do, the run of all of them at once."""
        process = self.make()
        states = [v for v in _states(process) if v.path in of]
        rec = simulate(
            process, inputs or None, None if inputs else self.steps, config(process), record=states
        )
        parts: list[Port | Var] = [*process.out_ports, *states]
        return {part.path: rec[part] for part in parts}

    def ran(self, config: Setup, pieces: tuple[int, ...]) -> Arrays:
        """States after runs of so many steps, from random ones; nothing is fed."""
        process = self.make()
        g = np.random.default_rng(2)
        for var in _states(process):
            var.set(self.random(var, g))
        with process:
            for steps in pieces:
                process.run(RunSteps(steps), config(process))
            return {v.path: v.get() for v in _states(process)}

    def written(
        self, config: Setup, kept: dict[str, np.ndarray] | None
    ) -> tuple[Arrays, dict[str, np.ndarray]]:
        """States after each of PIECES' runs, with states and parameters set in between; which
        parameters took that (None: see)."""
        process = self.make()
        g = np.random.default_rng(3)
        found: Arrays = {}
        changed: dict[str, np.ndarray] = {}
        with process:
            for number, steps in enumerate(PIECES):
                for var in _states(process):
                    var.set(self.random(var, g))
                if number == 1:
                    changed = self.halved(process, kept)
                process.run(RunSteps(steps), config(process))
                found |= {f"{v.path} after run {number + 1}": v.get() for v in _states(process)}
        found |= {f"{v.path} after stop": v.get() for v in _states(process)}
        return found, changed

    def halved(
        self, process: AbstractProcess, kept: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Set each parameter that is a number to half of it, as far as ``kept`` says it can be;
        those that could."""
        done: dict[str, np.ndarray] = {}
        for var in (v for p in walk(process) for v in p.vars if v.role == "parameter"):
            old = var.get()
            if old.dtype.kind == "U":
                continue
            new = old // 2 if old.dtype.kind in "iub" else old / 2
            if kept is not None and var.path not in kept:
                continue
            try:
                var.set(new)
            except VarError as e:
                if kept is not None:
                    raise ConformanceError(
                        f"{self.label}: {var.path} takes {shown(new)} on the reference: {e}"
                    ) from e
                continue
            if not np.array_equal(var.get(), new):
                raise ConformanceError(
                    f"{self.label}: {var.path} was set to {shown(new)} and is {shown(var.get())}"
                )
            done[var.path] = new
        return done

    def random(self, var: Var, g: np.random.Generator) -> np.ndarray:
        kind = var.value.dtype.kind
        if kind == "b":
            return g.random(var.shape) < 0.5
        if kind == "c":
            return g.normal(size=var.shape) + 1j * g.normal(size=var.shape)
        return g.integers(0, 40, var.shape) if self.fixed else g.normal(size=var.shape)

    def same(self, what: str, found: Arrays, wanted: Arrays) -> None:
        """ConformanceError where one array differs."""
        for name, want in wanted.items():
            have = found[name]
            if have.shape != want.shape:
                raise ConformanceError(
                    f"{self.label}: {what}: {name} has shape {have.shape}, expected {want.shape}"
                )
            close = (
                have == want
                if self.fixed
                else np.isclose(have, want, rtol=self.tolerance, atol=self.tolerance)
            )
            if not close.all():
                at = tuple(int(k) for k in np.argwhere(~close)[0])
                raise ConformanceError(
                    f"{self.label}: {what}: {name} differs in {int((~close).sum())} of {close.size}, first at {at}: "
                    f"{have[at]:g}, expected {want[at]:g}"
                )


def _states(process: AbstractProcess) -> list[Var]:
    return [v for p in walk(process) for v in p.vars if v.role == "state" and v.aliased is None]
