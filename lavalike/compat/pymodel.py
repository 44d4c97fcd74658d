"""Models in Python as Lava's programs write them: ``run_spk``, ports that ``recv`` and ``send``,
Vars that are arrays."""

from __future__ import annotations

import abc
import functools
import logging
from typing import Any, ClassVar, Self

import numpy as np

from lavalike.arguments import did_you_mean, shown
from lavalike.backends.numpy import AsyncModel, Declared, Inlet, NumpyModel, Outlet, Ref
from lavalike.backends.numpy.scheduler import Scheduler
from lavalike.compat.model import AbstractPyProcessModel, StandIn, implements
from lavalike.compat.process import AbstractProcess as LavaProcess
from lavalike.compat.protocols import AsyncProtocol
from lavalike.compat.var import Var as LavaVar
from lavalike.errors import GraphError, GraphTypeError, InputTypeError
from lavalike.model.config import NodeConfig
from lavalike.process import AbstractProcess, Var


class _Kind:
    """How a port of a model passes messages; all but VEC_DENSE are refused when the model is
    compiled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class _Kinds(abc.ABC):
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


for kind, end in ((PyInPort, Inlet), (PyOutPort, Outlet), (PyRefPort, Ref)):
    kind.register(end)  # what programs ask isinstance of


class LavaPyType(Declared):
    """What a port or Var of a model is.

    Args:
        cls: ``PyInPort.VEC_DENSE`` and its like; ``np.ndarray``; ``int``, ``float``, ``bool``,
            ``str`` for a Var that is one number or text.
        d_type: of the array. Default float.
        precision: bits, which Lava does not look at either.
    """

    def __init__(
        self, cls: Any, d_type: Any = float, precision: Any = None, reference: Any = None
    ) -> None:
        if not isinstance(cls, type | _Kind) or (isinstance(cls, type) and issubclass(cls, _Kinds)):
            near = f"; {cls.__name__}.VEC_DENSE" if isinstance(cls, type) else ""
            raise InputTypeError(
                f"LavaPyType: cls is PyInPort.VEC_DENSE or its like, np.ndarray, int, float, bool or str, got {shown(cls)}{near}"
            )
        number = cls in (int, float, bool, str)
        if d_type in (object, np.ndarray):  # anything
            self.dtype, self.number = np.dtype(object), number
        else:
            super().__init__(d_type, number=number)
        self.cls, self.d_type, self.precision = cls, d_type, precision


class _AlsoStandIns(type):
    def __subclasscheck__(cls, other: type) -> bool:
        if cls.__dict__.get("_all") and issubclass(other, StandIn):
            return True
        return super().__subclasscheck__(other)


class _PyModel(AbstractPyProcessModel, NumpyModel, metaclass=_AlsoStandIns):
    """What models in Python have in common. A program's ``__init__(self, proc_params)`` is called
    before ports and Vars are there.

    A program sees an instance that has what the program gives it, and finds all else in a second
    one, which is the model that lavalike runs: so a program's attributes, ports and Vars have any
    names.
    """

    _hidden: ClassVar[dict[str, Any]] = {}
    lag = 0  # a name that programs have too
    _own = frozenset(("_frame", "_scheduler", "proc_params"))

    def __init__(self, proc_params: Any = None, loglevel: int = logging.WARNING) -> None:
        self.proc_params = {} if proc_params is None else proc_params

    @classmethod
    def made(cls, process: AbstractProcess, config: NodeConfig) -> Self:
        self = cls.__new__(cls)
        NumpyModel.__init__(self, process, config)
        return self

    def _new_body(self) -> Any:
        body = type(self).__new__(type(self))
        vars(body).update(self._hidden, _frame=self, _scheduler=Scheduler())
        body.__init__(self.process.proc_params)  # type: ignore[misc]  # a second instance, made as Lava makes it
        process = self.process
        ends = (*process.in_ports, *process.out_ports, *process.ref_ports)
        for name in (*(p.name for p in ends), *(v.name for v in process.vars)):
            vars(body).pop(name, None)
        return body

    def __getattr__(self, name: str) -> Any:
        frame = vars(self).get("_frame")
        if frame is not None and name == "py_ports":
            ends = {**frame._inlets, **frame._outlets, **frame._refs}
            return [ends[n] for n in sorted(ends)]
        if frame is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        try:
            return vars(frame)[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}") from None

    @classmethod
    def declared(cls) -> dict[str, Declared]:
        found = {
            name: known
            for name, known in {**super().declared(), **cls._hidden}.items()
            if isinstance(known, Declared)
            and getattr(known, "cls", None) is not PyVarPort.VEC_DENSE
        }
        for name, known in found.items():
            kind = getattr(known, "cls", None)
            if isinstance(kind, _Kind) and not kind.name.endswith("VEC_DENSE"):
                raise GraphError(
                    f"{cls.__name__}.{name}: {kind} is not there, as it is not complete in Lava; VEC_DENSE passes whole messages"
                )
        return found

    def _check(self) -> None:
        # a port is declared as a port of its kind, a Var as none
        process, known = self.process, self.declared()
        for kind, names in (
            ("PyInPort", [p.name for p in process.in_ports]),
            ("PyOutPort", [p.name for p in process.out_ports]),
            ("PyRefPort", [p.name for p in process.ref_ports]),
            ("", [v.name for v in process.vars]),
        ):
            for name in names:
                cls = getattr(known.get(name), "cls", None)
                given = cls.name.split(".")[0] if isinstance(cls, _Kind) else ""
                if cls is not None and given != kind:
                    fits = f"{kind}.VEC_DENSE" if kind else "np.ndarray or a number's type"
                    raise GraphError(
                        f"{process.path}.{name}: {type(self).__name__} declares LavaPyType({cls if given else cls.__name__}, ...); "
                        f"{fits} is what it is"
                    )
        super()._check()

    def _held(self, var: Var, value: np.ndarray) -> Any:
        """As Lava makes it: cast to the declared dtype, whatever that loses."""
        known = self.declared().get(var.name)
        if object in (value.dtype, getattr(known, "dtype", None)):
            return value.copy()
        if known is None or value.dtype.kind not in "biuf" or known.dtype.kind not in "biuf":
            return super()._held(var, value)
        with np.errstate(invalid="ignore"):
            out = value.astype(known.dtype)
        return out.reshape(-1)[0].item() if known.number and out.size == 1 else out

    def _value_of(self, var: Var) -> np.ndarray:
        known = self.declared().get(var.name)
        if var.value.dtype.kind != "O" and (known is None or known.dtype.kind != "O"):
            return super()._value_of(var)
        value = getattr(self._body, var.name)
        if isinstance(value, np.ndarray):
            return value
        items = value if isinstance(value, list | tuple) else [value]
        out = np.empty(len(items), object)
        out[:] = items
        return out

    @functools.cached_property
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

    _all = True  # Lava's models of the library are such models, for those who ask

    def run_spk(self) -> None:
        """Nothing, where a program's model has no step."""

    def _check(self) -> None:
        phases = ("run_spk", "run_pre_mgmt", "run_lrn", "run_post_mgmt")
        connected = [
            p for p in (*self.process.in_ports, *self.process.out_ports) if p.sources or p.targets
        ]
        if connected and all(
            getattr(type(self), n) is getattr(PyLoihiProcessModel, n) for n in phases
        ):
            near = did_you_mean("run_spk", [n for n in vars(type(self)) if n.startswith("run")])
            raise GraphError(
                f"{self.process.path}: {type(self).__name__}, its model, has no run_spk(self), and what is connected to "
                f"{connected[0].path} waits for it{near}"
            )
        super()._check()


class PyAsyncProcessModel(_PyModel, AsyncModel):
    """A model in Python that runs beside the steps of others; see :class:`lavalike.AsyncModel`."""

    def check_for_stop_cmd(self) -> bool:
        """Whether the run ends; the others do a step first."""
        return self.over()

    check_for_pause_cmd = check_for_stop_cmd

    def _check(self) -> None:
        if type(self).run_async is AsyncModel.run_async:
            near = did_you_mean("run_async", [n for n in vars(type(self)) if n.startswith("run")])
            raise GraphError(
                f"{self.process.path}: {type(self).__name__}, its model, has no run_async(self), which runs beside the steps{near}"
            )
        super()._check()


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
