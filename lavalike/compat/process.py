"""AbstractProcess as Lava's programs know it."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lavalike.compat import ports, refs
from lavalike.compat.server import ProcessServer
from lavalike.compat.var import UNNAMED, Var
from lavalike.errors import InputError
from lavalike.process import process as core
from lavalike.process.var import Var as CoreVar

DRESSED: dict[type, type] = {**ports.DRESSED, **refs.DRESSED, CoreVar: Var}


class Collection(list[Any]):
    """Ports, Vars or processes of a process: a list, and by name."""

    def __init__(self, process: Any, name: str, members: Any = ()) -> None:
        super().__init__(members)
        self.process, self.name = process, name
        self._show()

    def _show(self) -> None:
        """Let members go before methods of lists that have their names, ``count`` and ``index``."""
        for m in self:
            if hasattr(list, m.name):
                self.__dict__[m.name] = m

    @property
    def members(self) -> list[Any]:
        return [*self]

    @property
    def member_names(self) -> list[str]:
        return [m.name for m in self]

    def is_empty(self) -> bool:
        return not self

    def add_members(self, members: Mapping[str, Any]) -> None:
        """Put named ones in."""
        for name, member in members.items():
            if member.name in ("", UNNAMED):
                member.name = name
            list.append(self, member)
        self._show()

    def has(self, member: Any) -> bool:
        return any(m is member for m in self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copies and pickles ask for
            raise AttributeError(name)
        for m in self:
            if m.name == name:
                return m
        raise AttributeError(f"{self.name}: there is no {name!r}; there are {self.member_names}")


class ProcessParameters:
    """What a process hands to its models. A key is given once; ``overwrite`` changes it."""

    def __init__(self, initial_parameters: Mapping[str, Any]) -> None:
        self._parameters = dict(initial_parameters)

    def __getitem__(self, key: str) -> Any:
        return self._parameters[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self._parameters:
            raise KeyError(
                f"proc_params: {key!r} is there already; overwrite({key!r}, ...) changes it"
            )
        self._parameters[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __repr__(self) -> str:
        return f"ProcessParameters({self._parameters!r})"

    def overwrite(self, key: str, value: Any) -> None:
        self._parameters[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        return self._parameters.get(key, default)

    def keys(self) -> Any:
        return self._parameters.keys()

    def items(self) -> Any:
        return self._parameters.items()

    def values(self) -> Any:
        return self._parameters.values()


@dataclass
class LogConfig:
    """What a process logs, and where. Loggers of Python are left as the program set them up."""

    file: str = "lava.log"
    level: int = logging.WARNING
    level_console: int = logging.WARNING
    logs_to_file: bool = False

    def __post_init__(self) -> None:
        if self.logs_to_file and not self.file:
            raise InputError("LogConfig: logs_to_file takes the name of a file, got ''")


class ProcessPostInitCaller(type):
    """Kept for programs that name Lava's metaclass; processes here need none."""


class AbstractProcess(core.AbstractProcess):
    """A process with Lava's collections, ids, names (``Process_3`` unless it has one) and
    models."""

    _taken: ClassVar[frozenset[str]] = frozenset()  # Lava's programs may use them
    lava_models: ClassVar[list[type]]
    id: int
    log_config: LogConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.lava_models = []

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        number = ProcessServer().register(self)
        self.__dict__.update(
            id=number,
            name=f"Process_{number}",
            proc_params=ProcessParameters({}),
            log_config=LogConfig(),
        )
        return self

    def __init__(
        self, *, name: str | None = None, log_config: LogConfig | None = None, **proc_params: Any
    ) -> None:
        super().__init__(name=name)
        self.__dict__["proc_params"] = ProcessParameters(proc_params)
        self._log(log_config)

    def _log(self, log_config: LogConfig | None) -> None:
        if log_config is not None:
            self.__dict__["log_config"] = log_config
            if log_config.logs_to_file:
                handler = logging.FileHandler(log_config.file, delay=True)
                handler.setLevel(log_config.level)
                self.log.setLevel(log_config.level)
                self.log.addHandler(handler)

    def __setattr__(self, key: str, value: Any) -> None:
        kind = DRESSED.get(type(value))
        if kind is not None and value.process in (None, self):  # a part of another stays what it is
            value.__class__ = kind
        if isinstance(value, Var) and value.name == UNNAMED and value.process is None:
            value.name = ""
        super().__setattr__(key, value)

    @property
    def _log_config(self) -> LogConfig:
        return self.log_config

    def _post_init(self) -> None:
        """Kept for programs that call it after they add ports; they are found when they are
        assigned."""

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"lava.{self.name}")

    # -- parts

    @property
    def procs(self) -> Collection:
        return Collection(self, "procs", super().procs)

    @property
    def vars(self) -> Collection:
        return Collection(self, "vars", sorted(self._vars, key=_name))

    @property
    def in_ports(self) -> Collection:
        return Collection(self, "in_ports", sorted(self._in_ports, key=_name))

    @property
    def out_ports(self) -> Collection:
        return Collection(self, "out_ports", sorted(self._out_ports, key=_name))

    @property
    def ref_ports(self) -> Collection:
        return Collection(self, "ref_ports", sorted(self._ref_ports, key=_name))

    @property
    def var_ports(self) -> Collection:
        return Collection(self, "var_ports", sorted(self._var_ports, key=_name))

    @property
    def parent_proc(self) -> core.AbstractProcess | None:
        return self.parent

    def register_sub_procs(self, procs: Mapping[str, core.AbstractProcess]) -> None:
        """Let ``procs`` be inner processes, under these names."""
        for name, child in procs.items():
            core._adopt(self, name, child, self._procs)

    def is_sub_proc_of(self, proc: core.AbstractProcess) -> bool:
        """Whether this lies inside ``proc``."""
        at = self.parent
        while at is not None and at is not proc:
            at = at.parent
        return at is not None

    def validate_var_aliases(self) -> None:
        """AliasError where a Var is an alias of what does not lie inside."""
        for var in self._vars:
            if isinstance(var, Var):
                var.validate_alias()

    # -- running

    def _settle(self) -> None:
        """Take what the Vars' ``init`` are by now."""
        for var in self._vars:
            if isinstance(var, Var):
                var.settle()

    @property
    def runtime(self) -> Any:
        """The program; what tells that it was stopped, after that; None before."""
        live = self.__dict__["runtime"]
        return self.__dict__.get("_stopped") if live is None else live

    @runtime.setter
    def runtime(self, value: Any) -> None:
        from lavalike.compat.runtime import Bound, Stopped, core

        if value is None:
            live = self.__dict__["runtime"]
            if live is not None:
                self.__dict__["_stopped"] = Stopped(getattr(live, "num_steps", 0))
        else:  # whoever started it: this process is compiled now
            self.__dict__["_compiled"] = True
            if type(value) is core.Runtime:
                value.__class__ = Bound
        self.__dict__["runtime"] = value

    _runtime = runtime  # as programs that look inside call it

    @property
    def model_class(self) -> type | None:
        """The model that stands in for it; None before it is compiled."""
        return self.__dict__.get("_model_class")

    def compile(self, run_cfg: Any, compile_config: Mapping[str, Any] | None = None) -> Any:
        """Choose models for everything this is connected to; the Executable names them."""
        from lavalike.compat import runtime

        return runtime.executable(self, run_cfg)

    def create_runtime(
        self,
        run_cfg: Any = None,
        executable: Any = None,
        compile_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Compile, and run no step."""
        from lavalike.compat import runtime

        runtime.prepare(self, run_cfg if run_cfg is not None else executable)

    def run(
        self,
        condition: Any,
        run_cfg: Any = None,
        compile_config: Mapping[str, Any] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
    ) -> None:
        """Run everything this process is connected to. The first run takes a run configuration;
        ``compile_config`` tells Lava's compiler about channels and boards, which are none here;
        ``checkpoint`` and ``every`` are lavalike's.

        Raises ValueError without a configuration.
        """
        from lavalike.compat import runtime

        runtime.run(self, condition, run_cfg, checkpoint, every)

    def save(self, path: str) -> None:
        """Not there, as in Lava."""
        raise NotImplementedError(f"{self.path}: save; pickle.dumps(process) holds a process")

    def load(self, path: str) -> None:
        """Not there, as in Lava."""
        raise NotImplementedError(f"{self.path}: load; pickle.loads(...) brings a process back")


def _name(part: Any) -> str:
    return str(part.name)


def given(init: Any, process: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """What a process was made with by ``init``, by name and with defaults; its own name apart."""
    bound = inspect.signature(init).bind(process, *args, **kwargs)
    bound.apply_defaults()
    values = dict(bound.arguments)
    values.update(values.pop("kwargs", {}))
    return {n: v for n, v in values.items() if n not in ("self", "name")}


class Library(AbstractProcess):
    """Base of the library's processes under Lava's names: ``__init__`` is that of lavalike's
    own."""

    def __init__(self, *args: Any, log_config: LogConfig | None = None, **kwargs: Any) -> None:
        own = next(
            c.__dict__["__init__"]
            for c in type(self).__mro__
            if "__init__" in c.__dict__ and not issubclass(c, AbstractProcess)
        )
        own(self, *args, **kwargs)
        values = given(own, self, args, kwargs)
        self.__dict__["proc_params"] = ProcessParameters(values)
        for var in self._vars:  # init is one number where one was given
            if var.name in values and np.ndim(values[var.name]) == 0:
                var.__dict__["given"] = values[var.name]
        self._log(log_config)
