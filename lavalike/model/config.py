"""RunConfig: which model stands in for which process, in which precision, on which backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lavalike import html
from lavalike.arguments import (
    FLAG,
    MAPPING,
    TEXT,
    Rule,
    arguments,
    choice,
    did_you_mean,
    instance,
    integer,
    is_integer,
    optional,
    real,
    shown,
)
from lavalike.errors import InputError, InputTypeError, ModelSelectionError
from lavalike.model.registry import BUILT_IN, known, names

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip

Precision = Literal["floating_pt", "fixed_pt"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
# keywords of RunConfig that are options of backends, with their defaults
KEYWORDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "threads": (None, ("numba",)),
    "debug": (False, ("numba",)),
    "check": (None, ("numba", "torch")),
    "device": (None, ("torch",)),
    "chip": (None, ("bss2",)),
    "dt": (1e-6, ("bss2",)),
}

# what each of them may be, as a keyword and in ``options``
_OPTIONS = {
    "threads": optional(integer(1)),
    "debug": FLAG,
    "check": optional(choice("finite")),
    "device": optional(TEXT),
    "dt": real(above=0),
    "chip": optional(instance("lavalike.bss2.chip.Chip", words="a lavalike.bss2.Chip")),
}


@dataclass(frozen=True)
class NodeConfig:
    """How one process is computed; its model has it as ``self.config``. ``dtype`` is that of
    floating_pt.

    Example:
        >>> from lavalike.model import NodeConfig
        >>> NodeConfig("numba", "fixed_pt", "float32").message_dtype
        dtype('int32')
    """

    backend: str
    precision: Precision
    dtype: Literal["float32", "float64"]

    @property
    def fixed(self) -> bool:
        return self.precision == "fixed_pt"

    @property
    def message_dtype(self) -> np.dtype:
        """The dtype of messages and states: int32 in fixed_pt."""
        return np.dtype(np.int32 if self.fixed else self.dtype)


def _is_model(value: type) -> bool:
    from lavalike.model.model import ProcessModel

    return issubclass(value, ProcessModel) and hasattr(value, "process_class")


MODEL = Rule(
    "a model class (a ProcessModel made with lavalike.implements)",
    lambda v: isinstance(v, type),
    _is_model,
)


@arguments(backend=optional(TEXT), precision=optional(choice(*PRECISIONS)), model=optional(MODEL))
@dataclass(frozen=True, kw_only=True)
class Choice:
    """How some processes are computed, an exception in :class:`RunConfig`'s ``select``; what is
    None is as of the RunConfig.

    Args:
        backend: ``"numba"``, ``"torch"``, ``"bss2"`` or the name of an installed backend.
        precision: ``"floating_pt"`` or ``"fixed_pt"``.
        model: a class made with :func:`lavalike.implements`.

    InputError for a wrong value, and for a model of another backend or precision than are given
    beside it.

    Example::

        RunConfig(select={"encoder": Choice(backend="torch"), LIF: Choice(precision="fixed_pt")})
    """

    backend: str | None = None
    precision: Precision | None = None
    model: type[Any] | None = None

    def __post_init__(self) -> None:
        if self.backend is not None:
            known(self.backend)
        if self.model is None:
            return
        for name, own in (("backend", self.model.backend), ("precision", self.model.precision)):
            asked = getattr(self, name)
            if own and asked is not None and asked != own:
                raise InputError(
                    f"Choice: {name}={asked!r}, and {self.model.__name__} is a model of {name} {own!r}; leave one of them out"
                )


@arguments(
    backend=TEXT,
    precision=choice(*PRECISIONS),
    select=MAPPING,
    dtype=choice("float32", "float64"),
    seed=optional(integer(0)),
    options=MAPPING,
    workers=optional(integer(1)),
    partition=optional(MAPPING),
    timeout=optional(real(above=0)),
    **_OPTIONS,
)
@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a graph is run.

    Example:
        >>> lv.RunConfig(precision="fixed_pt").backend
        'numba'
        >>> config = lv.RunConfig(dtype="float64", select={"hidden": "torch", proc.LIF: "fixed_pt"})

    Args:
        backend: ``"numba"``, ``"torch"``, ``"bss2"`` or the name of an installed backend.
        precision: ``"floating_pt"``, or ``"fixed_pt"`` for Loihi's integers, bit for bit.
        select: exceptions: a process, its name or path, a function that is true of it, or a process
            class, mapped to a model class, the name of a backend, a precision, or a :class:`Choice`
            of several. What comes first in this list counts, of classes the nearest; backends and
            precisions hold for everything inside a process, where nothing nearer says otherwise.
            Messages pass between precisions: whole numbers as they are, others into fixed_pt not at
            all (RunError).
        dtype: ``"float32"`` or ``"float64"``, of floating_pt.
        seed: of all random numbers that steps and noise sources draw; >= 0. With the process's
            path, the step and the sample it decides what is drawn: neither the cut of a run, nor
            threads, nor what else is in the graph do. Default None: NumPy's global generator gives
            one when a run begins that draws (np.random.seed repeats it), for all runs until stop().
        threads: of the numba backend; a batch is shared out over them. Default: one a core. No
            result depends on it.
        chip: of the bss2 backend, a :class:`lavalike.bss2.Chip`. Default: the one in use
            (:func:`lavalike.bss2.use`).
        dt: of the bss2 backend: seconds a step lasts on the chip. Default 1e-6.
        debug: run the numba backend's kernels as plain Python, with bounds checks and full
            tracebacks, and in floating_pt with ``check="finite"``; ``threads`` and ``debug`` are of
            the bss2 backend too where parts of a graph stay on the host.
        check: ``"finite"``: of the numba and torch backends: stop at the first NaN or infinity that
            a port or a state holds, with a RunError that names process, Var and step; the states
            are those of the step before. Costs a look at each of them a step.
        device: of the torch backend: where it computes, as torch names it: ``"cuda"``,
            ``"cuda:1"``, ``"mps"``. Messages come back to NumPy. A run is cut into stretches that
            fit the memory of a CUDA device. Default: the CPU, the only one that has run it yet.
        options: of the backends of this run, by name; ``threads=2`` and ``options={"threads": 2}``
            are the same.
        workers: so many processes compute the graph together, >= 1, bit for bit what one computes;
            they are spawned at its first run and stay until stop() (docs/scaling.md). The graph is
            cut where a connection has a delay, by bytes of Vars. Where a step takes less than about
            50 microseconds it stays in this process, as ``lv.compile(...).explain()`` says. Default
            None: 1. What runs them stands behind ``if __name__ == "__main__":``, and classes of
            one's own in modules. Their results, errors, warnings and log records come here. A batch
            goes through each in one thread unless ``threads`` says more.
        partition: which processes go to which worker, by themselves, name or path:
            ``{net.left: 0, "right": 1}``; what is inside of one, and connections to it, go with it,
            and the rest is dealt out. With it a graph is cut even where that does not pay.
        timeout: seconds that workers may take for a step before a run ends with a WorkerError.
            Default None: as long as they take. One that was killed or stopped is an error within a
            second all the same.

    InputError for a wrong value, InputTypeError for one of the wrong kind or an unknown option.
    """

    backend: str = "numba"
    precision: Precision = "floating_pt"
    select: Mapping[Any, Any] = field(default_factory=dict)
    dtype: Literal["float32", "float64"] = "float32"
    seed: int | None = None
    threads: int | None = None
    debug: bool = False
    chip: Chip | None = None
    dt: float = 1e-6
    check: Literal["finite"] | None = None
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    partition: Mapping[Any, int] | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        known(self.backend)
        backends = {
            self.backend,
            *(made.backend for _, made in self.choices() if made.backend is not None),
        }
        if "bss2" not in backends and (self.chip is not None or self.dt != 1e-6):
            raise InputError(
                f"RunConfig: chip and dt belong to backend='bss2', this is {self.backend!r}"
            )
        self._check_workers()
        for name, value in self.options.items():
            if name in KEYWORDS:
                default, _ = KEYWORDS[name]
                if getattr(self, name) not in (default, value):
                    raise InputError(
                        f"RunConfig: {name}={getattr(self, name)!r} and options={{{name!r}: {value!r}}}; give one of them"
                    )
                _OPTIONS[name].check("RunConfig", f"options: {name}", value)
            elif backends <= BUILT_IN.keys():  # others are asked when a graph is compiled
                near = did_you_mean(name, KEYWORDS)
                raise InputError(
                    f"RunConfig: options: no option {shown(name)}{near}; there are {', '.join(KEYWORDS)}"
                )

    def _check_workers(self) -> None:
        for name in ("partition", "timeout"):
            if getattr(self, name) is not None and (self.workers or 1) == 1:
                raise InputError(
                    f"RunConfig: {name}={shown(getattr(self, name))} is of a graph over several workers; give workers=, 2 or more"
                )
        from lavalike.process.process import AbstractProcess

        for key, rank in (self.partition or {}).items():
            if not isinstance(key, str | AbstractProcess):
                raise InputTypeError(
                    f"RunConfig: partition: {_shown_key(key)}: a process, its name or its path is expected"
                )
            if not is_integer(rank):
                raise InputTypeError(
                    f"RunConfig: partition: {_shown_key(key)}: the number of a worker is expected, got {shown(rank)}"
                )
            if rank < 0:
                raise InputError(
                    f"RunConfig: partition: {_shown_key(key)}: workers are counted from 0, got {rank}"
                )

    def _choice(self, key: Any, value: Any) -> Choice:
        """What ``select`` says for ``key``; InputError."""
        from lavalike.process.process import AbstractProcess

        where = f"RunConfig: select: {_shown_key(key)}"
        if isinstance(key, type):
            if not issubclass(key, AbstractProcess):
                raise InputTypeError(f"{where}: a process class is expected, got {key.__name__}")
        elif not isinstance(key, str | AbstractProcess) and not callable(key):
            raise InputTypeError(
                f"{where}: a process, a name, a process class or a function of one is expected ({type(key).__name__})"
            )
        if isinstance(value, Choice):
            made = value
        elif isinstance(value, str):
            if value in PRECISIONS:
                made = Choice(precision=value)  # type: ignore[arg-type]  # one of PRECISIONS
            elif value in BUILT_IN or value in names():  # which asks what is installed
                made = Choice(backend=value)
            else:
                there = [*PRECISIONS, *names()]
                raise InputError(
                    f"{where}: {value!r} is no precision and no backend; there are {there}{did_you_mean(value, there)}"
                )
        elif isinstance(value, type):
            MODEL.look(where, value)
            made = Choice(model=value)
        else:
            raise InputError(
                f"{where}: select maps to model classes, backends, precisions or Choices, got {value!r}"
            )
        if made.model is not None and isinstance(key, type):
            of = made.model.process_class
            if not issubclass(key, of) and not issubclass(of, key):
                raise ModelSelectionError(
                    f"{where}: {made.model.__name__}: it does not implement {key.__name__}, but {of.__name__}"
                )
        return made

    def choices(self) -> list[tuple[Any, Choice]]:
        """``select``, every value as a :class:`Choice`."""
        return [(key, self._choice(key, value)) for key, value in self.select.items()]

    def of(self, made: Choice) -> NodeConfig:
        """What one process is computed in."""
        return NodeConfig(
            made.backend or self.backend, made.precision or self.precision, self.dtype
        )

    @property
    def node(self) -> NodeConfig:
        """What a process is computed in that ``select`` says nothing of."""
        return self.of(Choice())

    @property
    def fixed(self) -> bool:
        return self.precision == "fixed_pt"

    def _repr_html_(self) -> str:
        rows = []
        for one in fields(self):
            value = getattr(self, one.name)
            default = one.default if one.default is not MISSING else {}
            if one.name == "select":
                value = ", ".join(f"{_shown_key(k)}: {shown(v)}" for k, v in value.items())
                default = ""
            if value != default or one.name in ("backend", "precision", "dtype"):
                rows.append([one.name, value if isinstance(value, str) else shown(value)])
        others = len(fields(self)) - len(rows)
        return html.box(
            "RunConfig",
            f"{others} others as they are by default",
            html.table(["", ""], rows, len(rows)),
        )

    def given(self) -> dict[str, Any]:
        """The options of backends that are not their defaults."""
        own = {
            name: getattr(self, name)
            for name, (default, _) in KEYWORDS.items()
            if getattr(self, name) != default
        }
        return {**own, **self.options}


def belongs(option: str) -> str:
    """Whose an option is, as a message says it."""
    if option not in KEYWORDS:
        return f"option {option!r} is of none of the backends"
    of = KEYWORDS[option][1]
    alike = [name for name, (_, others) in KEYWORDS.items() if others == of]
    verb = "belong" if len(alike) > 1 else "belongs"
    return f"{' and '.join(sorted(alike))} {verb} to the {' and '.join(of)} backend{'s' if len(of) > 1 else ''}"


def _shown_key(key: Any) -> str:
    return key.__name__ if isinstance(key, type) else shown(key)
