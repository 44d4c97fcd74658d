"""Models in Python as Lava's programs write them: ``run_spk``, ports that ``recv`` and ``send``, Vars that are arrays."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Self

import numpy as np

from lavalike.backends.numpy import AsyncModel, Declared, NumpyModel
from lavalike.backends.numpy.scheduler import Scheduler
from lavalike.compat.model import AbstractPyProcessModel, StandIn, implements
from lavalike.compat.process import AbstractProcess as LavaProcess
from lavalike.compat.protocols import AsyncProtocol
from lavalike.compat.var import Var as LavaVar
from lavalike.errors import GraphError, GraphTypeError
from lavalike.model.config import NodeConfig
from lavalike.process import AbstractProcess, Var


class _Kind:
    """How a port of a model passes messages; all but VEC_DENSE are refused when the model is compiled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class _Kinds:
    VEC_DENSE: ClassVar[_Kind]
    VEC_SPARSE: ClassVar[_Kind]
    SCALAR_DENSE: ClassVar[_Kind]
    SCALAR_SPARSE: ClassVar[_Kind]

    def __init_subclass__(cls) -> None:
        for name in ("VEC_DENSE", "VEC_SPARSE", "SCALAR_DENSE", "SCALAR_SPARSE"):
            setattr(cls, name, _Kind(f"{cls.__name__}.{name}"))


class PyInPort(_Kinds):
    """A model's end of an InPort: ``recv()``, ``peek()``, ``probe()``."""


class PyOutPort(_Kinds):
    """A model's end of an OutPort: ``send(data)``, ``flush()``."""


class PyRefPort(_Kinds):
    """A model's end of a RefPort."""


class PyVarPort(_Kinds):
    """A model's end of a VarPort."""


class LavaPyType(Declared):
    """What a port or Var of a model is.

    Args:
        cls: ``PyInPort.VEC_DENSE`` and its like; ``np.ndarray``; ``int``, ``float``, ``bool``, ``str`` for a Var that is one
            number or text.
        d_type: of the array. Default float.
        precision: bits, which Lava does not look at either.
    """

    def __init__(
        self, cls: Any, d_type: Any = float, precision: Any = None, reference: Any = None
    ) -> None:
        super().__init__(d_type, number=cls in (int, float, bool, str))
        self.cls, self.d_type, self.precision = cls, d_type, precision


class _PyModel(AbstractPyProcessModel, NumpyModel):
    """What models in Python have in common. A program's ``__init__(self, proc_params)`` is called before ports and Vars are there."""

    def __init__(self, proc_params: Any = None) -> None:
        self.proc_params = {} if proc_params is None else proc_params

    @classmethod
    def made(cls, process: AbstractProcess, config: NodeConfig) -> Self:
        self = cls.__new__(cls)
        self._scheduler = Scheduler()
        self.__init__(process.proc_params)  # type: ignore[misc]
        for parts in (process.in_ports, process.out_ports, process.vars):
            for part in parts:
                self.__dict__.pop(part.name, None)
        NumpyModel.__init__(self, process, config)
        return self

    @classmethod
    def declared(cls) -> dict[str, Declared]:
        found = {
            name: known
            for name, known in super().declared().items()
            if getattr(known, "cls", None) is not PyVarPort.VEC_DENSE
        }
        for name, known in found.items():
            kind = getattr(known, "cls", None)
            if isinstance(kind, _Kind) and not kind.name.endswith("VEC_DENSE"):
                raise GraphError(
                    f"{cls.__name__}.{name}: {kind} is not there, as it is not complete in Lava; VEC_DENSE passes whole messages"
                )
        return found

    def _held(self, var: Var, value: np.ndarray) -> Any:
        """As Lava makes it: cast to the declared dtype, whatever that loses."""
        known = self.declared().get(var.name)
        if known is None or value.dtype.kind not in "biuf" or known.dtype.kind not in "biuf":
            return super()._held(var, value)
        with np.errstate(invalid="ignore"):
            out = value.astype(known.dtype)
        return out.reshape(-1)[0].item() if known.number and out.size == 1 else out

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"lava.{type(self).__name__}")

    @property
    def _req_pause(self) -> bool:
        return self._scheduler.request == "pause"

    @_req_pause.setter
    def _req_pause(self, value: bool) -> None:
        if value:
            self.request_pause()

    @property
    def _req_stop(self) -> bool:
        return self._scheduler.request == "stop"

    @_req_stop.setter
    def _req_stop(self, value: bool) -> None:
        if value:
            self.request_stop()


class PyLoihiProcessModel(_PyModel):
    """A model in Python, step by step."""

    def run_spk(self) -> None:
        """Nothing, where a program's model has no step."""


class PyAsyncProcessModel(_PyModel, AsyncModel):
    """A model in Python that runs beside the steps of others; see :class:`lavalike.AsyncModel`."""

    def check_for_stop_cmd(self) -> bool:
        """Whether the run ends; the others do a step first."""
        return self.over()

    check_for_pause_cmd = check_for_stop_cmd


def PyLoihiModelToPyAsyncModel(py_loihi_model: type) -> type:
    """A model that keeps step as one that says it does not; it computes the same, step by step."""
    if not issubclass(py_loihi_model, StandIn | PyLoihiProcessModel):
        raise GraphTypeError(
            f"PyLoihiModelToPyAsyncModel: a PyLoihiProcessModel is converted, got {py_loihi_model.__name__}"
        )

    def run_async(self: Any) -> None:
        raise NotImplementedError("lavalike does its steps")

    return type(
        f"{py_loihi_model.__name__}Async",
        (py_loihi_model,),
        {"implements_protocol": AsyncProtocol, "run_async": run_async},
    )


class Nothing(LavaProcess):
    """What a RefPort that is not connected refers to."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.zeros = LavaVar(shape, 0)


@implements(proc=Nothing)
class _NothingModel(PyLoihiProcessModel):
    """Is zero again in every step."""

    def run_spk(self) -> None:
        self.zeros: Any
        self.zeros[...] = 0
