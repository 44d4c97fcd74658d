"""What is done after run_spk of all in a step: management, learning, management; and RefPorts,
which act there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lavalike.backends.numpy.model import NumpyModel
from lavalike.compiler.order import upstream_first
from lavalike.compiler.refs import Reference, resolve
from lavalike.errors import GraphError
from lavalike.process import Var

if TYPE_CHECKING:
    from lavalike.backends.numpy.program import NumpyProgram

Guards = list[tuple[NumpyModel, Callable[[], bool]]]


class Phases:
    """The models that have something to do after run_spk, by guard.

    Within a phase a Var's own model comes before those that refer to it, as far as they do not
    refer to each other.

    Attributes: ``any``, whether there is anything to do; ``refs``, whether RefPorts are there;
    ``written``, the Vars of other backends that were set in the last step.
    """

    def __init__(self, program: NumpyProgram) -> None:
        self.program = program
        self.references = {
            (node, port.name): self._resolved(resolve(port))
            for node in program.models
            for port in node.process.ref_ports
        }
        self.refs = bool(self.references)
        owners = {n.process: n for n in program.models}
        hears = {
            n: [
                owners[r.var.process]
                for (at, _), r in self.references.items()
                if at is n and r.var.process in owners
            ]
            for n in program.models
        }
        first = upstream_first([*program.models], hears)
        ordered = [m for n in dict.fromkeys([*first, *program.models]) for m in program.models[n]]
        self._pre, self._lrn, self._post = (
            [(m, getattr(m._body, guard)) for m in ordered if m._overrides(guard)]
            for guard in ("pre_guard", "lrn_guard", "post_guard")
        )
        self.any = bool(self._lrn or self._post or self.references)
        self.written: dict[Var, np.ndarray] = {}
        self._spiking = False  # whether this is run_spk
        self._early = dict.fromkeys(
            r.var
            for (n, _), r in self.references.items()
            if program.models[n][0]._overrides("run_spk")
        )
        self._kept: dict[tuple[Var, int], np.ndarray] = {}  # what _early were when the step began
        self._later: list[tuple[Reference, np.ndarray, int]] = []

    def _resolved(self, reference: Reference) -> Reference:
        """``reference``, where the program has its Var."""
        port, var, program = reference.port, reference.var, self.program
        if program.part.node_of(var.process) is None:
            raise GraphError(
                f"{port.path}: refers to {var.path}, which is not computed step by step with it; only a Python model or a part that takes "
                "turns with one can be referred to"
            )
        if not program.is_python(var) and not program.has_samples(var):
            raise GraphError(
                f"{port.path}: refers to {var.path} of another backend, whose program sets no single samples of a batch of "
                f"{program.batch}; run them one after another"
            )
        return reference

    def bind(self) -> None:
        """Let the models' RefPorts be this program's."""
        for (node, name), reference in self.references.items():
            for k, model in enumerate(self.program.models[node]):
                model._refs[name].bind(
                    partial(self._read, reference, k), partial(self._write, reference, k)
                )

    def keep(self) -> None:
        """A step begins: what RefPorts read in run_spk is what the Vars are now."""
        self._spiking = True
        for var in self._early:
            for sample in range(self.program.batch):
                self._kept[var, sample] = self.program.value(var, sample)

    def _read(self, reference: Reference, sample: int) -> np.ndarray:
        var = reference.var
        value = self._kept[var, sample] if self._spiking else self.program.value(var, sample)
        return reference.read(value)

    def _write(self, reference: Reference, sample: int, data: np.ndarray) -> None:
        if self._spiking:
            self._later.append((reference, data, sample))
            return
        program, var = self.program, reference.var
        new = reference.written(program.value(var, sample), data)
        program.assign(var, new, sample)
        if not program.is_python(var):
            self.written[var] = new

    def run(self) -> None:
        """All that is to be done after run_spk."""
        self._spiking = False
        if self.written:
            self.written = {}
        if self._later:
            later, self._later = self._later, []
            for reference, data, sample in later:
                self._write(reference, sample, data)
        learning = self._asked(self._lrn) if self._lrn else None
        if learning:
            managing = self._asked(self._pre)
            if any(m in learning for m in managing):
                self._do("run_pre_mgmt", managing)
            self._do("run_lrn", learning)
        if self._post:
            self._do("run_post_mgmt", self._asked(self._post))

    def _asked(self, guards: Guards) -> list[NumpyModel]:
        """The models whose guard is true."""
        out = []
        guard: Callable[[], bool] = bool
        try:
            for model, guard in guards:  # in every step: little but the call
                if guard():
                    out.append(model)
        except Exception as e:
            self.program.fail([(guard, e)], guard.__name__)
        return out

    def _do(self, phase: str, models: list[NumpyModel]) -> None:
        if models:
            raised = self.program.scheduler.run([getattr(m._body, phase) for m in models])
            if raised:
                self.program.fail(raised, phase)
