"""The numba backend: compiled, event-driven, both arithmetics."""

from __future__ import annotations

from collections.abc import Sequence

from lavalike.backends.numba import connections as _connections, conv as _conv, sources as _sources  # noqa: F401  (they register models)
from lavalike.backends.numba.model import DynamicsModel, NumbaModel as NumbaModel
from lavalike.backends.numba.program import NumbaProgram
from lavalike.compiler.graph import Graph
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


class NumbaBackend:
    """See :class:`lavalike.backends.base.Backend`."""

    name = "numba"

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        if process.dynamics is None:
            return None
        return DynamicsModel if process.dynamics.fixed else FloatingDynamicsModel

    def build(self, graph: Graph, batch: int, recordable: Sequence[Port | Var]) -> NumbaProgram:
        return NumbaProgram(graph, batch, recordable)


class FloatingDynamicsModel(DynamicsModel):
    """A DynamicsModel whose equation has no fixed-point form."""

    precision = "floating_pt"


BACKEND = NumbaBackend()
