"""Lava's run configurations, and what each is as one of lavalike's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lavalike.compat import search
from lavalike.compat.errors import NoModelError, NoProcessModelFound
from lavalike.compat.library import Fitted
from lavalike.compat.model import (
    AbstractProcessModel,
    AbstractPyProcessModel,
    AbstractSubProcessModel,
    StandIn,
    candidates,
    fit_out,
)
from lavalike.compat.process import AbstractProcess
from lavalike.compat.protocols import SyncDomain
from lavalike.errors import LavalikeError
from lavalike.model.config import PRECISIONS, Choice, RunConfig as CoreConfig
from lavalike.model.model import ProcessModel, candidates as core_candidates
from lavalike.proc.monitor import Monitor
from lavalike.process.process import AbstractProcess as CoreProcess, component, walk


class ConfigError(LavalikeError, AssertionError):
    """A run configuration of wrong parts."""


class RunConfig:
    """Base of the run configurations: ``select(process, models)`` says which of ``models`` stands
    in for ``process``.

    Args:
        custom_sync_domains: SyncDomains; every process that is connected keeps step with the others
            anyhow.
        loglevel: of the logger ``log``.
    """

    def __init__(
        self,
        custom_sync_domains: list[SyncDomain] | None = None,
        loglevel: int = logging.WARNING,
    ) -> None:
        domains = [] if custom_sync_domains is None else custom_sync_domains
        if not isinstance(domains, list) or not all(isinstance(d, SyncDomain) for d in domains):
            raise ConfigError(
                f"RunConfig: custom_sync_domains is a list of SyncDomains, got {domains!r:.60}"
            )
        self.custom_sync_domains = [*domains]
        self.log = logging.getLogger("lava.run_configs")
        self.log.setLevel(loglevel)

    def select(self, process: Any, proc_models: list[type]) -> Any:
        """The model that stands in for ``process``."""
        raise NoModelError(f"{type(self).__name__}: select(process, proc_models) is not written")

    def exclude_nodes(self, nodes: Sequence[Any]) -> None:
        """Nodes of chips, which are none here."""

    def require_nodes(self, nodes: Sequence[Any]) -> None:
        """Nodes of chips, which are none here."""


class AbstractLoihiRunCfg(RunConfig):
    """Chooses by Lava's rules.

    First what ``exception_proc_model_map`` says of the process or its class; a single model, where
    it is untagged or no tag is asked for or the tag is its; of several, with
    ``select_sub_proc_model`` the first that is a graph of processes (and has the tag), else the
    first that is none (and has the tag).

    Args:
        select_tag: word that a model is tagged with (``"fixed_pt"``, ``"floating_pt"``).
        select_sub_proc_model: models that are graphs of processes come first.
        exception_proc_model_map: ``{process class or process: model}``.
    """

    def __init__(
        self,
        custom_sync_domains: list[SyncDomain] | None = None,
        select_tag: str | None = None,
        select_sub_proc_model: bool | None = False,
        exception_proc_model_map: Mapping[Any, Any] | None = None,
        loglevel: int = logging.WARNING,
    ) -> None:
        super().__init__(custom_sync_domains=custom_sync_domains, loglevel=loglevel)
        self.select_tag = select_tag
        self.select_sub_proc_model = bool(select_sub_proc_model)
        self.exception_proc_model_map = dict(exception_proc_model_map or {})

    def select(self, process: Any, proc_models: list[type]) -> Any:
        for key in (process, type(process)):
            if key in self.exception_proc_model_map:
                return self.exception_proc_model_map[key]
        sub = [m for m in proc_models if issubclass(m, AbstractSubProcessModel)]
        leaves = [m for m in proc_models if issubclass(m, AbstractPyProcessModel)]
        if len(proc_models) == 1:
            fitting = self._tagged(proc_models, alone=True)
        elif self.select_sub_proc_model and sub:
            fitting = sub if len(sub) == 1 else self._tagged(sub)
        else:
            fitting = self._tagged(leaves)
        if not fitting:
            there = ", ".join(f"{m.__name__} {getattr(m, 'tags', [])}" for m in proc_models)
            asked = f" has tag {self.select_tag!r}" if self.select_tag else " fits"
            remedy = (
                "; select_sub_proc_model=True takes one that is a graph of processes"
                if sub and not leaves
                else "; exception_proc_model_map={...} chooses one"
            )
            raise NoModelError(
                f"{process.path}: no model of {type(process).__name__}{asked}. There are: {there or 'none'}{remedy}"
            )
        return fitting[0]

    def _tagged(self, models: list[type], alone: bool = False) -> list[type]:
        if self.select_tag is None:
            return models
        return [
            m
            for m in models
            if self.select_tag in getattr(m, "tags", []) or (alone and not getattr(m, "tags", []))
        ]


class AbstractLoihiSimRunCfg(AbstractLoihiRunCfg):
    """On this computer."""


class AbstractLoihiHWRunCfg(AbstractLoihiRunCfg):
    """What would run on a chip of Intel's is simulated in fixed_pt, with one warning.

    Args:
        callback_fxs: called on a chip's host before and after runs; refused unless empty, as there
            is none.
        embedded_allocation_order: of a chip's processors.
    """

    def __init__(
        self,
        custom_sync_domains: list[SyncDomain] | None = None,
        select_tag: str | None = None,
        select_sub_proc_model: bool | None = False,
        exception_proc_model_map: Mapping[Any, Any] | None = None,
        loglevel: int = logging.WARNING,
        callback_fxs: list[Any] | None = None,
        embedded_allocation_order: Any = None,
    ) -> None:
        super().__init__(
            custom_sync_domains,
            select_tag,
            select_sub_proc_model,
            exception_proc_model_map,
            loglevel,
        )
        if callback_fxs:
            raise ConfigError(
                f"{type(self).__name__}: callback_fxs are called on a Loihi's host, and there is none; leave them out"
            )
        self.callback_fxs: list[Any] = []
        self.embedded_allocation_order = embedded_allocation_order
        warnings.warn(
            f"{type(self).__name__}: there is no Loihi here; what would run on it is simulated in fixed_pt",
            stacklevel=2,
        )

    def _tagged(self, models: list[type], alone: bool = False) -> list[type]:
        found = super()._tagged(models, alone)
        return sorted(found, key=lambda m: getattr(m, "precision", None) != "fixed_pt")


class Loihi1SimCfg(AbstractLoihiSimRunCfg):
    """Loihi's processes on this computer."""


class Loihi2SimCfg(AbstractLoihiSimRunCfg):
    """Loihi 2's processes on this computer."""


class Loihi1HwCfg(AbstractLoihiHWRunCfg):
    """Loihi's, in simulation."""


class Loihi2HwCfg(AbstractLoihiHWRunCfg):
    """Loihi 2's, in simulation."""


class Plan:
    """What a run configuration came to for a connected component: one of lavalike's, and the model
    of each process.

    Every process of it holds the plan, which is good until something is connected."""

    def __init__(self, process: CoreProcess, config: RunConfig) -> None:
        self.lava = config
        self.models: dict[CoreProcess, type] = {}
        self.choices: dict[CoreProcess, Choice] = {}
        self.processes: list[CoreProcess] = []
        hidden: set[CoreProcess] = set()
        for part in (p for top in component(process) for p in walk(top)):
            if part.parent in hidden:  # a model computes what is around it
                hidden.add(part)
                continue
            self.processes.append(part)
            if self._choose(part):
                hidden.add(part)
        for part in [*self.processes]:
            if isinstance(part, AbstractProcess) and not isinstance(part, Monitor):
                for ref in part.ref_ports:
                    if not ref.targets:
                        self._to_nothing(ref)
        tags = getattr(config, "select_tag", None)
        hardware = isinstance(config, AbstractLoihiHWRunCfg)
        usual = tags if tags in PRECISIONS else "fixed_pt" if hardware else "floating_pt"
        self.config = CoreConfig(
            precision=usual,  # type: ignore[arg-type]  # one of the two
            dtype="float64",
            select={
                p: c
                for p, c in self.choices.items()
                if c.model is not None or c.backend is not None or c.precision not in (None, usual)
            },
        )
        for part in self.processes:
            part._settle()
            part.__dict__["_plan"] = self
            if isinstance(part, AbstractProcess):
                part.__dict__["_compiled"] = True
        self.version = process._structure.root().version

    def fits(self, process: CoreProcess, config: Any) -> bool:
        """Whether a run with ``config`` may go on with this plan."""
        return self.version == process._structure.root().version and (
            config is None or config is self.lava or _alike(config, self.lava)
        )

    def _to_nothing(self, ref: Any) -> None:
        """Let a RefPort that is not connected read zeros, as in Lava."""
        from lavalike.compat.pymodel import Nothing

        nothing = Nothing(ref.shape)
        ref.connect_var(nothing.zeros)
        self.processes.append(nothing)
        model: Any = type(nothing).lava_models[0]
        self.choices[nothing] = Choice(model=model, backend=model.backend)

    def _mapped(self, part: CoreProcess) -> list[type]:
        """The model that the map of exceptions names, for a process of which there is none."""
        exceptions = getattr(self.lava, "exception_proc_model_map", {})
        model: Any = exceptions.get(part, exceptions.get(type(part)))
        if not isinstance(model, type) or not issubclass(model, AbstractProcessModel):
            return []
        return [model]

    def _choose(self, part: CoreProcess) -> bool:
        """Choose the model of ``part``; whether it computes what is inside too."""
        if isinstance(part, Monitor):
            return False
        if not isinstance(part, AbstractProcess):  # lavalike's own: it chooses itself
            return bool(part.models or part.dynamics) and not part.procs
        own = type(part).__dict__.get("lava_models")
        models = candidates(part) if own else search.models(part)  # its bases' perhaps
        models = models or self._mapped(part)
        if not models:
            if not _container(part):
                raise NoProcessModelFound(
                    f"{part.path}: no model of {type(part).__name__} is there; one is marked @implements(proc="
                    f"{type(part).__name__}), in a module that is imported or beside the process's own"
                )
            return False
        model: Any = self.lava.select(part, models)
        if not isinstance(model, type) or not issubclass(model, AbstractProcessModel):
            raise NoModelError(
                f"{type(self.lava).__name__}.select gives {model!r:.60} for {part.path}; a model class is expected"
            )
        if issubclass(model, ProcessModel) and model not in core_candidates(part):
            fit_out(type(part), model)  # nobody marked it as one of the process's
        self.models[part] = model
        part.__dict__["_model_class"] = model
        if issubclass(model, StandIn):
            self.choices[part] = Choice(precision=model.precision)
            if (
                model.precision == "fixed_pt"
                and isinstance(part, Fitted)
                and not getattr(part, part.fitted).compiled
            ):
                part.fit()
        elif issubclass(model, AbstractSubProcessModel):
            part.expand(model)
            self.choices[part] = Choice(model=model)
            return False
        else:
            backend = getattr(model, "backend", None)
            if backend is None:
                raise NoModelError(
                    f"{part.path}: {model.__name__} is no model that runs; one is a PyLoihiProcessModel, a PyAsyncProcessModel or an "
                    "AbstractSubProcessModel"
                )
            self.choices[part] = Choice(model=model, backend=backend)
        return True


def _container(part: CoreProcess) -> bool:
    """Whether nothing of ``part`` itself is to be computed: what is in it is, or it hands on what
    it hears."""
    handed = part.out_ports and not part.vars and all(p.sources for p in part.out_ports)
    return bool(part.procs or handed) or not (part.vars or part.in_ports or part.out_ports)


def _alike(a: Any, b: Any) -> bool:
    """Whether two run configurations say the same, as far as can be told."""
    if type(a) is not type(b) or vars(a).keys() != vars(b).keys():
        return False
    for x, y in zip(vars(a).values(), (vars(b)[k] for k in vars(a)), strict=True):
        try:
            if x is not y and not bool(x == y):
                return False
        except ValueError:  # arrays, of a program's own class
            return False
    return True


def plan(process: CoreProcess, config: Any) -> Plan:
    """The plan of ``process`` for a run with ``config``; None: with the last one's."""
    old: Plan | None = process.__dict__.get("_plan")
    if old is not None and old.fits(process, config):
        return old
    if config is None:
        config = None if old is None else old.lava
    if not isinstance(config, RunConfig):
        raise ConfigValueError(
            f"{process.path}: run_cfg is a run configuration, Loihi2SimCfg() for example, got {config!r:.60}"
        )
    return Plan(process, config)


class ConfigValueError(ConfigError, ValueError):
    """No run configuration where one is needed."""
