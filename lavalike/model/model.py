"""ProcessModel and @implements: how a backend says what a process does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from lavalike.arguments import FLAG, TEXT, Rule, arguments, choice, integer, optional
from lavalike.errors import GraphError, ModelSelectionError, RuleError, VarError
from lavalike.model.config import Choice, NodeConfig, Precision
from lavalike.proc.connection import Connection
from lavalike.process import AbstractProcess

if TYPE_CHECKING:
    from lavalike.backends.base import Backend

M = TypeVar("M", bound="type[ProcessModel]")


class ProcessModel:
    """Base of all models. One instance stands in for one process in one compiled program.

    Class attributes set by :func:`implements`: ``process_class``, ``backend``, ``precision`` (None:
    both), ``delay`` (1: delivers in step t what it computed in step t-1), ``bounds`` (whether
    indices are checked). ``inline``: it is Python that says itself when it hears and sends, and
    computes its process whatever backend a run names. ``local``: it deals with the program around
    the graph, besides steps, and is computed in that program's process.

    Example:
        >>> from lavalike.backends.numba import NumbaModel
        >>> issubclass(NumbaModel, lv.ProcessModel)
        True
    """

    process_class: ClassVar[type[AbstractProcess]]
    backend: ClassVar[str]
    precision: ClassVar[Precision | None] = None
    delay: int = 0
    bounds: ClassVar[bool] = True
    inline: ClassVar[bool] = False
    local: ClassVar[bool] = False

    @classmethod
    def of(cls, process: AbstractProcess, config: NodeConfig, running: bool) -> ProcessModel:
        """A model of ``process``. ``running``: for its next run, so that one that has a state
        besides Vars may go on."""
        return cls(process, config)

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        self.process = process
        self.config = config
        self._shortest: tuple[np.ndarray | None, int] = (None, 0)  # of which delays
        if isinstance(process, Connection):  # which says itself when it delivers
            self.delay = process.delay

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constants for the step from the Vars' values; run at compile and after a ``set``, never
        in a step.

        A name equal to a Var's replaces it in the step; a NumPy scalar or Python number is passed
        by value. Raise ValueError for a value out of range.
        """
        return {}

    @property
    def guards(self) -> bool:
        """Whether it takes part in what models decide together after a step."""
        return False

    @property
    def lag(self) -> int:
        """So many steps before it is sent, a message is settled by the states: what it hears
        meanwhile changes it no more."""
        return self.delay

    def shortest(self, delays: np.ndarray) -> int:
        """The least of ``delays``, looked for once."""
        if self._shortest[0] is not delays:
            self._shortest = delays, int(delays.min())
        return self._shortest[1]

    def port_names(self) -> frozenset[str] | None:
        """Names of the ports that it reads or writes, others may be among them; None where only a
        run can tell."""
        return None

    def check_batch(self, batch: int) -> None:
        """Raise a GraphError where the process is not to be computed for ``batch`` samples at once;
        every size is taken by default."""

    def derived(self) -> dict[str, Any]:
        """``derive`` of the process's present values; a ValueError becomes a VarError with the
        path."""
        try:
            return self.derive({v.name: v.value for v in self.process.vars})
        except (GraphError, RuleError):  # which say where
            raise
        except ValueError as e:
            raise VarError(f"{self.process.path}.{e}") from None


class SubProcessModel(ProcessModel):
    """A model that is a graph of other processes.

    In ``__init__(self, process)`` make inner processes as attributes of self, connect ``process``'s
    InPorts to theirs and their OutPorts to its own, and let its Vars be aliases of theirs. What it
    makes and connects is inside, wherever it is kept. Leaf models are preferred;
    ``RunConfig.select`` asks for this one.

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
        object.__setattr__(
            self, "assigned", {}
        )  # under the attribute's name; what was replaced, made in a loop say, goes on counting
        return self

    def __init__(self, process: AbstractProcess) -> None:
        """Build the inner graph."""
        raise NotImplementedError(
            f"{type(self).__name__}: a SubProcessModel builds its graph in __init__(self, process)"
        )

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if isinstance(value, AbstractProcess | list | tuple | dict):
            name, count = key, 1
            while name in self.assigned and self.assigned[name] is not value:
                count += 1
                name = f"{key}#{count}"
            self.assigned[name] = value


@arguments(
    process=Rule(
        "a process class", lambda v: isinstance(v, type) and issubclass(v, AbstractProcess)
    ),
    backend=optional(TEXT),
    precision=optional(choice("floating_pt", "fixed_pt")),
    delay=integer(0, 1),
    bounds=FLAG,
)
def implements(
    process: type[AbstractProcess],
    *,
    backend: str | None = None,
    precision: Precision | None = None,
    delay: int = 0,
    bounds: bool = True,
) -> Callable[[M], M]:
    """Class decorator: this model computes ``process`` and its subclasses.

    Args:
        process: the process class.
        backend: name of the backend that runs it; None for a SubProcessModel, which any backend
            can.
        precision: the arithmetic it computes in; None for any.
        delay: 1 if an output depends on inputs of earlier steps only; then cycles through it are
            legal. A :class:`lavalike.proc.Connection` has a ``delay`` of its own, which counts. Not
            of a :class:`lavalike.NumpyModel`, which sends when its step says so.
        bounds: of a NumbaModel: whether every index of its step is checked, in the compiled helpers
            that it names too. Without, an index out of bounds reads and writes foreign memory.
            Loops that count their index up cost the same either way; one that takes its indices
            from an array took 2 times as long checked (``python -m benchmarks.bounds``).
    """

    def register(model: M) -> M:
        if not (isinstance(model, type) and issubclass(model, ProcessModel)):
            raise ModelSelectionError(
                f"implements({process.__name__}): {getattr(model, '__name__', model)!r} is no class of models; make one, for instance a "
                "lavalike.NumbaModel with a step, and put the decorator before it"
            )
        if backend is None and not issubclass(model, SubProcessModel):
            raise ModelSelectionError(
                f"implements({process.__name__}): {model.__name__} is no SubProcessModel, so it names its backend"
            )
        if delay and model.inline:
            raise ModelSelectionError(
                f"implements({process.__name__}): delay: {model.__name__} sends when its step says so; leave delay out, and send "
                "before you receive"
            )
        model.process_class, model.backend, model.precision, model.delay = (
            process,
            backend or "",
            precision,
            delay,
        )
        model.bounds = bounds
        process.models.append(model)
        return model

    return register


def candidates(process: AbstractProcess) -> list[type[ProcessModel]]:
    """Models of the process's class, then of its bases."""
    return [m for cls in type(process).__mro__ for m in cls.__dict__.get("models", ())]


def select(
    process: AbstractProcess,
    config: NodeConfig,
    backend: Backend,
    wanted: type[ProcessModel] | None,
    asked: bool = False,
) -> type[ProcessModel]:
    """The model for ``process``: of ``backend``, of its host, or of any; the one that the backend
    derives from the equation of a process with dynamics comes last. An inline model of another
    backend, unless the backend was ``asked`` for by RunConfig.select, goes after those of its own
    class. ``wanted`` is the one that RunConfig.select names."""
    found = candidates(process)
    derived = backend.general_model(process)
    if derived is not None:
        found.append(derived)
    found.sort(key=lambda m: issubclass(m, SubProcessModel))
    if any(m.inline for m in found):
        found = _own_first(process, found, derived, config.backend)
    name, precisions = config.backend, getattr(backend, "precisions", None)
    backends = {"", name, getattr(backend, "host", None)}
    reasons = []
    for model in found:
        if wanted is not None and model is not wanted:
            reasons.append((model, f"select asks for {wanted.__name__}"))
        elif model.backend not in backends and not (model.inline and not asked):
            reasons.append((model, f"backend {model.backend!r}, asked for {name!r}"))
        elif model.precision not in (None, config.precision):
            reasons.append(
                (model, f"precision {model.precision!r}, asked for {config.precision!r}")
            )
        elif precisions is not None and config.precision not in precisions:
            reasons.append(
                (
                    model,
                    f"precision {', '.join(map(repr, precisions))}, asked for {config.precision!r} of backend {name!r}",
                )
            )
        else:
            return model
    if wanted is not None and wanted not in found:
        reasons.append((wanted, f"it does not implement {type(process).__name__}"))
    lines = (
        "".join(f"\n  {m.__name__}: {why}" for m, why in reasons)
        or "\n  none is registered; see lavalike.implements"
    )
    remedy = ""
    if wanted is not None and wanted in found:  # another backend or precision than the run's
        given = {"backend": wanted.backend, "precision": wanted.precision}
        text = ", ".join(f"{k}={v!r}" for k, v in given.items() if v)
        remedy = (
            f"\nRunConfig(select={{...: Choice(model={wanted.__name__}, {text})}}) asks for both"
        )
    raise ModelSelectionError(
        f"{process.path}: no model of {type(process).__name__} fits. Candidates:{lines}{remedy}"
    )


def _own_first(
    process: AbstractProcess,
    found: list[type[ProcessModel]],
    derived: type[ProcessModel] | None,
    backend: str,
) -> list[type[ProcessModel]]:
    """``found`` by class, the nearest first, of each class the backend's own first and inline
    models of others last. What was derived from an equation stands with the class that has it."""
    order = type(process).__mro__
    of = {m: k for k, cls in reversed([*enumerate(order)]) for m in cls.__dict__.get("models", ())}
    if derived is not None:
        of[derived] = next((k for k, cls in enumerate(order) if "dynamics" in cls.__dict__), 0)

    def key(model: type[ProcessModel]) -> tuple[bool, int, int]:
        other = model.backend != backend
        return issubclass(model, SubProcessModel), of[model], other + (other and model.inline)

    return sorted(found, key=key)


def chosen(process: AbstractProcess, choices: list[tuple[Any, Choice]], used: set[int]) -> Choice:
    """What RunConfig.select says of ``process``: of itself or its name, else by a function, else of
    the nearest class; else what it says of the nearest process around it, which then names no
    model. Notes which entries were used."""
    if not choices:
        return _NOTHING
    around: AbstractProcess | None = process
    while around is not None:
        found: list[tuple[int, int, Choice]] = []
        for k, (key, made) in enumerate(choices):
            rank = _rank(key, around)
            if rank is not None and (around is process or made.model is None):
                found.append((rank, k, made))
        used.update(k for _, k, _ in found)
        if found:
            return min(found, key=lambda f: f[:2])[2]
        around = around.parent
    return _NOTHING


_NOTHING = Choice()


def _rank(key: Any, process: AbstractProcess) -> int | None:
    """How near a key of select is to ``process``, the nearest 0; None where it is not meant."""
    if isinstance(key, type):
        return 2 + type(process).__mro__.index(key) if isinstance(process, key) else None
    if key is process or (isinstance(key, str) and key in (process.name, process.path)):
        return 0
    if isinstance(key, str | AbstractProcess) or not key(process):
        return None
    return 1
