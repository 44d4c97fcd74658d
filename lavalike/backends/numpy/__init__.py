"""The numpy backend: models in Python that receive and send when they say so, run inline among the
parts of other backends."""

from __future__ import annotations

from collections.abc import Sequence

from lavalike.backends import get_backend
from lavalike.backends.numpy.model import (
    AsyncModel as AsyncModel,
    Declared as Declared,
    NumpyModel as NumpyModel,
)
from lavalike.backends.numpy.ports import Inlet as Inlet, Outlet as Outlet, Ref as Ref
from lavalike.backends.numpy.program import NumpyProgram
from lavalike.compiler.flat import Flat, Node, Target
from lavalike.compiler.parts import Part
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


class NumpyBackend:
    """See :class:`lavalike.backends.base.Backend`. What has no model here runs on the host."""

    name = "numpy"
    host = "numba"

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        return get_backend(self.host).general_model(process)

    def accepts(
        self, flat: Flat, nodes: Sequence[Node], target: Target
    ) -> dict[Node, Target | str]:
        return {
            n: target
            if n.model.inline
            else f"{type(n.process).__name__} has no model there (lavalike.NumpyModel)"
            for n in nodes
        }

    def build(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> NumpyProgram:
        return NumpyProgram(part, batch, recordable)


BACKEND = NumpyBackend()
