"""Models in Python as Lava's programs write them."""

from __future__ import annotations

from typing import Any

from lavalike.compat.model import AbstractPyProcessModel


class PyLoihiProcessModel(AbstractPyProcessModel):
    """A model that a CPU computes, in phases."""

    time_step = 1

    def __init__(self, proc_params: Any = None) -> None:
        self.proc_params = proc_params


class PyAsyncProcessModel(AbstractPyProcessModel):
    """A model that runs beside the steps of others."""


class LavaPyType:
    """What a Var or port of a model is."""

    def __init__(
        self, cls: Any, d_type: Any = None, precision: Any = None, reference: Any = None
    ) -> None:
        self.cls, self.d_type, self.precision = cls, d_type, precision


class _Kinds:
    VEC_DENSE: Any
    VEC_SPARSE: Any
    SCALAR_DENSE: Any
    SCALAR_SPARSE: Any


class PyInPort(_Kinds):
    pass


class PyOutPort(_Kinds):
    pass


class PyRefPort(_Kinds):
    pass


class PyVarPort(_Kinds):
    pass


for _kind in (PyInPort, PyOutPort, PyRefPort, PyVarPort):
    for _name in ("VEC_DENSE", "VEC_SPARSE", "SCALAR_DENSE", "SCALAR_SPARSE"):
        setattr(_kind, _name, _kind)
