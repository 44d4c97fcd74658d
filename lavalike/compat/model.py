"""Models as Lava's programs know them, and what marks them: implements, requires, tag."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import Any, ClassVar, TypeVar

from lavalike.compat.errors import NoModelError
from lavalike.compat.process import AbstractProcess
from lavalike.compat.protocols import AbstractSyncProtocol, LoihiProtocol
from lavalike.compat.resources import AbstractResource
from lavalike.errors import GraphTypeError
from lavalike.model.model import ProcessModel, SubProcessModel
from lavalike.process import AbstractProcess as CoreProcess

M = TypeVar("M", bound=type)


class AbstractProcessModel:
    """Base of all models."""

    implements_process: ClassVar[type[CoreProcess] | None] = None
    implements_protocol: ClassVar[type[AbstractSyncProtocol] | None] = None
    required_resources: ClassVar[list[Any]] = []
    tags: ClassVar[list[str]] = []


class AbstractPyProcessModel(AbstractProcessModel):
    """Base of the models that a CPU computes."""


class AbstractSubProcessModel(AbstractProcessModel, SubProcessModel):
    """A model that is a graph of other processes, built in ``__init__(self, proc)``."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is AbstractSubProcessModel:
            raise GraphTypeError(
                "AbstractSubProcessModel: a subclass builds the graph in __init__(self, proc)"
            )
        return super().__new__(cls)

    def find_sub_procs(self) -> dict[str, CoreProcess]:
        """The inner processes by the attributes that hold them."""
        return {k: p for k, p in self.assigned.items() if isinstance(p, CoreProcess)}


class StandIn(AbstractPyProcessModel):
    """One of Lava's models of a library process, in a list to choose from: lavalike's own model in
    ``precision`` computes it."""

    precision: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        own = [n for n, v in vars(cls).items() if isfunction(v) and not n.startswith("__")]
        if own and own != ["run_async"]:
            raise NoModelError(
                f"{cls.__name__}.{own[0]} would never be called: {cls.__mro__[1].__name__} only names lavalike's own model of "
                f"{getattr(cls.implements_process, '__name__', 'a process')}; make {cls.__name__} a PyLoihiProcessModel that computes "
                "the whole step"
            )


def stand_in(name: str, process: type, precision: str, resources: list[Any]) -> type[StandIn]:
    """Lava's model ``name`` of ``process``, which computes in ``precision``."""
    tags = [precision] + (["bit_accurate_loihi"] if precision == "fixed_pt" else [])
    return type(
        name,
        (StandIn,),
        {
            "__module__": process.__module__,
            "__doc__": f"{process.__name__} in {precision}, computed by lavalike's own model.",
            "implements_process": process,
            "implements_protocol": LoihiProtocol,
            "precision": precision,
            "tags": tags,
            "required_resources": resources,
        },
    )


def implements(
    proc: type[CoreProcess] | None = None, protocol: type[AbstractSyncProtocol] | None = None
) -> Callable[[M], M]:
    """Class decorator: this model computes ``proc``; ``protocol`` is its order of phases."""
    for what, base, value in (
        ("proc", CoreProcess, proc),
        ("protocol", AbstractSyncProtocol, protocol),
    ):
        if value is not None and not isinstance(value, type):
            raise GraphTypeError(f"implements: {what} is a class, got {value!r:.60}")
        if value is not None and not issubclass(value, base):
            raise NoModelError(f"implements: {what} is a {base.__name__}, got {value.__name__}")

    def mark(model: M) -> M:
        cls = _model(model, "implements")
        for attribute, value in (("implements_process", proc), ("implements_protocol", protocol)):
            old = getattr(cls, attribute)
            if value is None:
                continue
            if old not in (None, value):
                raise NoModelError(
                    f"implements: {cls.__name__} has {attribute} {old.__name__} already, by a base class"
                )
            setattr(cls, attribute, value)
        if proc is not None:
            register(proc, cls)
        return model

    return mark


def register(proc: type[CoreProcess], model: Any) -> None:
    """Let ``model`` be one of those that ``proc`` is computed by."""
    if issubclass(model, ProcessModel):
        fit_out(proc, model)
    own = proc.__dict__.get("lava_models")
    if own is None:
        own = []
        proc.lava_models = own  # type: ignore[attr-defined]  # added to whatever class it is
    if model not in own:
        own.append(model)


def fit_out(proc: type[CoreProcess], model: Any) -> None:
    """Let ``model`` be one of lavalike's that computes ``proc``; a run configuration of Lava's
    knows nothing of it."""
    hidden = dict(getattr(model, "_hidden", {}))
    for name in ("process_class", "precision", "delay", "backend"):
        owner = next((c for c in model.__mro__ if name in vars(c)), object)
        if "_hidden" not in vars(owner) and not owner.__module__.startswith("lavalike."):
            hidden |= {name: vars(owner)[name]} if name in vars(owner) else {}
    model._hidden = hidden  # what the program means by names that say something else here
    model.process_class, model.precision, model.delay = proc, None, 0
    model.backend = "numpy" if model.inline else ""
    proc.models.append(model)


def requires(*resources: Any) -> Callable[[M], M]:
    """Class decorator: what the model runs on; a list names alternatives."""
    for given in resources:
        for one in given if isinstance(given, list | tuple) else [given]:
            if not isinstance(one, type):
                raise GraphTypeError(f"requires: a class of resources, got {one!r:.60}")
            if not issubclass(one, AbstractResource):
                raise NoModelError(f"requires: an AbstractResource, got {one.__name__}")

    def mark(model: M) -> M:
        cls = _model(model, "requires")
        cls.required_resources = [*cls.required_resources, *resources]
        return model

    return mark


def tag(*tags: str) -> Callable[[M], M]:
    """Class decorator: words by which a run configuration chooses among models."""
    if not all(isinstance(t, str) for t in tags):
        raise NoModelError(f"tag: texts, got {tags!r:.60}")

    def mark(model: M) -> M:
        cls = _model(model, "tag")
        cls.tags = [*cls.tags, *tags]
        return model

    return mark


def _model(cls: Any, what: str) -> Any:
    if not isinstance(cls, type) or not issubclass(cls, AbstractProcessModel):
        raise NoModelError(f"{what}: a subclass of AbstractProcessModel, got {cls!r:.60}")
    return cls


def candidates(process: CoreProcess) -> list[type]:
    """The models of a process's class, then of its bases, each list in the order in which it was
    made."""
    if not isinstance(process, AbstractProcess):
        return [*type(process).models]
    return [m for cls in type(process).__mro__ for m in cls.__dict__.get("lava_models", ())]
