"""ProcessModel and @implements: how a backend says what a process does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from lavalike.arguments import FLAG, TEXT, Rule, arguments, choice, integer, optional
from lavalike.errors import ModelSelectionError, VarError
from lavalike.model.config import Precision, RunConfig
from lavalike.proc.connection import Connection
from lavalike.process import AbstractProcess

M = TypeVar("M", bound="type[ProcessModel]")


class ProcessModel:
    """Base of all models. One instance stands in for one process in one compiled program.

    Class attributes set by :func:`implements`: ``process_class``, ``backend``, ``precision`` (None: both),
    ``delay`` (1: delivers in step t what it computed in step t-1), ``bounds`` (whether indices are checked).
    """

    process_class: ClassVar[type[AbstractProcess]]
    backend: ClassVar[str]
    precision: ClassVar[Precision | None] = None
    delay: int = 0
    bounds: ClassVar[bool] = True

    def __init__(self, process: AbstractProcess, config: RunConfig) -> None:
        self.process = process
        self.config = config
        if isinstance(process, Connection):  # which says itself when it delivers
            self.delay = process.delay

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constants for the step from the Vars' values; run at compile and after a ``set``, never in a step.

        A name equal to a Var's replaces it in the step; a NumPy scalar or Python number is passed by value.
        Raise ValueError for a value out of range.
        """
        return {}

    def port_names(self) -> frozenset[str] | None:
        """Names of the ports that it reads or writes, others may be among them; None where only a run can tell."""
        return None

    def derived(self) -> dict[str, Any]:
        """``derive`` of the process's present values; a ValueError becomes a VarError with the path."""
        try:
            return self.derive({v.name: v.value for v in self.process.vars})
        except ValueError as e:
            raise VarError(f"{self.process.path}.{e}") from None


class SubProcessModel(ProcessModel):
    """A model that is a graph of other processes.

    In ``__init__(self, process)`` make inner processes as attributes of self, connect ``process``'s InPorts to theirs and
    their OutPorts to its own, and let its Vars be aliases of theirs. Leaf models are preferred; ``RunConfig.select`` asks
    for this one.

    Example::

        @implements(Layer)
        class LayerModel(SubProcessModel):
            def __init__(self, process):
                self.dense = Dense(weights=process.weights.get())
                process.s_in.connect(self.dense.s_in)
                self.dense.a_out.connect(process.a_out)
                process.weights.alias(self.dense.weights)
    """

    backend = ""
    assigned: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> SubProcessModel:
        self = super().__new__(cls)
        object.__setattr__(self, "assigned", {})  # under the attribute's name; what was replaced, made in a loop say, goes on counting
        return self

    def __init__(self, process: AbstractProcess) -> None:
        """Build the inner graph."""
        raise NotImplementedError(f"{type(self).__name__}: a SubProcessModel builds its graph in __init__(self, process)")

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if isinstance(value, AbstractProcess | list | tuple | dict):
            name, count = key, 1
            while name in self.assigned and self.assigned[name] is not value:
                count += 1
                name = f"{key}#{count}"
            self.assigned[name] = value


@arguments(process=Rule("a process class", lambda v: isinstance(v, type) and issubclass(v, AbstractProcess)), backend=optional(TEXT),
           precision=optional(choice("floating_pt", "fixed_pt")), delay=integer(0, 1), bounds=FLAG)
def implements(process: type[AbstractProcess], *, backend: str | None = None, precision: Precision | None = None,
               delay: int = 0, bounds: bool = True) -> Callable[[M], M]:
    """Class decorator: this model computes ``process`` and its subclasses.

    Args:
        process: the process class.
        backend: name of the backend that runs it; None for a SubProcessModel, which any backend can.
        precision: the arithmetic it computes in; None for any.
        delay: 1 if an output depends on inputs of earlier steps only; then cycles through it are legal. A
            :class:`lavalike.proc.Connection` has a ``delay`` of its own, which counts.
        bounds: of a NumbaModel: whether every index of its step is checked, in the compiled helpers that it names too. Without, an
            index out of bounds reads and writes foreign memory. Loops that count their index up cost the same either way; one
            that takes its indices from an array took 2 times as long checked (``python -m benchmarks.bounds``).
    """

    def register(model: M) -> M:
        if backend is None and not issubclass(model, SubProcessModel):
            raise ModelSelectionError(f"implements({process.__name__}): {model.__name__} is no SubProcessModel, so it names its backend")
        model.process_class, model.backend, model.precision, model.delay = process, backend or "", precision, delay
        model.bounds = bounds
        process.models.append(model)
        return model

    return register


def candidates(process: AbstractProcess) -> list[type[ProcessModel]]:
    """Models of the process's class, then of its bases."""
    return [m for cls in type(process).__mro__ for m in cls.__dict__.get("models", ())]


General = Callable[[AbstractProcess], "type[ProcessModel] | None"]


def select(process: AbstractProcess, config: RunConfig, general: General, wanted: type[ProcessModel] | None) -> type[ProcessModel]:
    """The model for ``process``; ``general`` offers the backend's model for processes with dynamics, ``wanted`` is the one
    that RunConfig.select names."""
    found = candidates(process)
    derived = general(process)
    if derived is not None:
        found.append(derived)
    found.sort(key=lambda m: issubclass(m, SubProcessModel))
    reasons = []
    for model in found:
        if wanted is not None and model is not wanted:
            reasons.append((model, f"select asks for {wanted.__name__}"))
        elif model.backend not in ("", config.backend):
            reasons.append((model, f"backend {model.backend!r}, asked for {config.backend!r}"))
        elif model.precision not in (None, config.precision):
            reasons.append((model, f"precision {model.precision!r}, asked for {config.precision!r}"))
        else:
            return model
    if wanted is not None and wanted not in found:
        reasons.append((wanted, f"it does not implement {type(process).__name__}"))
    lines = "".join(f"\n  {m.__name__}: {why}" for m, why in reasons) or "\n  none is registered; see lavalike.implements"
    raise ModelSelectionError(f"{process.path}: no model of {type(process).__name__} fits. Candidates:{lines}")


def exception(process: AbstractProcess, config: RunConfig, used: set[int]) -> type[ProcessModel] | None:
    """The model RunConfig.select names for ``process``: by itself or its name, else by class; notes which entries were used."""
    found: list[tuple[int, int, type[ProcessModel]]] = []
    for k, (key, model) in enumerate(config.select.items()):
        if key is process or key in (process.name, process.path):
            found.append((-1, k, model))
        elif isinstance(key, type) and isinstance(process, key):
            found.append((type(process).__mro__.index(key), k, model))
    used.update(k for _, k, _ in found)
    return min(found)[2] if found else None
