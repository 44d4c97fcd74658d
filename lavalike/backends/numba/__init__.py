"""The numba backend: compiled, event-driven, both arithmetics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lavalike.backends.base import Program
from lavalike.backends.numba import (  # noqa: F401  (they register models)
    connections as _connections,
    conv as _conv,
    graded as _graded,
    managing as _managing,
    plasticity as _plasticity,
    sources as _sources,
)
from lavalike.backends.numba.model import DynamicsModel, NumbaModel as NumbaModel
from lavalike.backends.numba.program import NumbaProgram
from lavalike.backends.numba.threads import ThreadedProgram
from lavalike.compiler.flat import Node
from lavalike.compiler.parts import Part
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


@dataclass(frozen=True)
class NumbaOptions:
    """See :class:`lavalike.RunConfig`."""

    threads: int | None = None
    debug: bool = False
    check: str | None = None


class NumbaBackend:
    """See :class:`lavalike.backends.base.Backend`."""

    name = "numba"
    options = NumbaOptions

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        if process.dynamics is None:
            return None
        return DynamicsModel if process.dynamics.fixed else FloatingDynamicsModel

    def manages(self, kind: str, node: Node, owner: Node, var: Var) -> ProcessModel | None:
        return _managing.managing(kind, node, owner, var)

    def build(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> Program:
        options = part.target.options
        threads = min(options.threads or os.cpu_count() or 1, batch)
        together = any(
            isinstance(n.model, NumbaModel) and n.model.batched and n.model.draws
            for n in part.nodes
        )  # which draws for a whole batch: threads would share out what is drawn
        if threads == 1 or options.debug or together:
            return NumbaProgram(part, batch, recordable)
        return ThreadedProgram(part, batch, recordable, threads)


class FloatingDynamicsModel(DynamicsModel):
    """A DynamicsModel whose equation has no fixed-point form."""

    precision = "floating_pt"


BACKEND = NumbaBackend()
