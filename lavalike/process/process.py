"""AbstractProcess: Vars, ports and inner processes under names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from lavalike.arguments import FLAG, arguments, instance, optional, shown
from lavalike.errors import RunError, VarError, VarTypeError
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.var import Var

if TYPE_CHECKING:
    from lavalike.dynamics.dynamics import Dynamics
    from lavalike.model.config import RunConfig
    from lavalike.process.claims import Claim
    from lavalike.process.monitor import Probe
    from lavalike.runtime.conditions import RunCondition
    from lavalike.runtime.runtime import Runtime


class Expansion(Protocol):
    """What a SubProcessModel is to a process."""

    @property
    def procs(self) -> list[AbstractProcess]: ...


class AbstractProcess:
    """Base of all processes. Assign Vars, ports and inner processes as attributes in ``__init__``.

    A process says what there is, never how it is computed: that is a ProcessModel's part, chosen by the
    RunConfig. A process made of inner processes needs no model; a process with ``dynamics`` gets one from
    every backend. Models belong to a class and all its subclasses.

    Example::

        class Net(AbstractProcess):
            def __init__(self, weights):
                super().__init__()
                self.inp = InPort((weights.shape[1],))
                self.dense = Dense(weights=weights)
                self.lif = LIF(shape=(weights.shape[0],), vth=1.0)
                self.out = OutPort(self.lif.shape)
                self.inp.connect(self.dense.s_in)
                self.dense.a_out.connect(self.lif.a_in)
                self.lif.s_out.connect(self.out)
    """

    models: ClassVar[list[type]]
    dynamics: ClassVar[Dynamics | None] = None

    name: str
    parent: AbstractProcess | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.models = []

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        # attributes may be assigned before a subclass calls super().__init__()
        for key, value in (("name", ""), ("parent", None), ("runtime", None), ("probes", []), ("expansion", None), ("starting", None),
                           ("_expansions", {}), ("proc_params", {})):
            object.__setattr__(self, key, value)
        return self

    def __init__(self, *, name: str | None = None, **proc_params: Any) -> None:
        if name is not None and not isinstance(name, str):
            raise VarTypeError(f"{type(self).__name__}: name is a text or None, got {shown(name)} ({type(name).__name__})")
        for key in ("loihi_units", "checked"):
            if key in proc_params and type(proc_params[key]) is not bool:
                FLAG.check(type(self).__name__, key, proc_params[key], VarError)
        self.name = name or self.name
        self.proc_params = proc_params
        self.runtime: Runtime | None
        self.starting: Claim | None
        self.probes: list[Probe]
        self.expansion: Expansion | None

    def __setattr__(self, key: str, value: Any) -> None:
        old = self.__dict__.get(key)
        if isinstance(old, Var | Port) and not isinstance(value, Var | Port):
            how = f"; {old.path}.set(value) changes its value" if isinstance(old, Var) else ""
            raise VarError(f"{old.path}: a {type(old).__name__} is not replaced by {value!r:.60}{how}")
        object.__setattr__(self, key, value)
        if isinstance(value, Var | Port) and value.process is None:
            value.process = self
            value.name = value.name or key
        elif isinstance(value, AbstractProcess):
            self._adopt(key, value)
        elif isinstance(value, list | tuple):
            for k, item in enumerate(value):
                if isinstance(item, AbstractProcess):
                    self._adopt(f"{key}[{k}]", item)
        elif isinstance(value, dict):
            for k, item in value.items():
                if isinstance(item, AbstractProcess):
                    self._adopt(f"{key}[{k!r}]", item)

    def _adopt(self, key: str, child: AbstractProcess) -> None:
        above: AbstractProcess | None = self
        while above is not None:
            if above is child:  # a reference upwards, not an inner process
                return
            above = above.parent
        if child.parent is None:
            object.__setattr__(child, "parent", self)
            object.__setattr__(child, "name", child.name or key)

    @property
    def path(self) -> str:
        """Dotted name from the outermost process down; the outermost one goes by its own or its class name."""
        own = self.name or type(self).__name__
        return own if self.parent is None else f"{self.parent.path}.{own}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    # -- parts ---------------------------------------------------------------------------------------

    def _parts(self, kind: type) -> Iterator[Any]:
        for value in list(vars(self).values()):
            items = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else (value,)
            yield from (v for v in items if isinstance(v, kind))

    @property
    def procs(self) -> list[AbstractProcess]:
        """The inner processes, in the order they were assigned; of a SubProcessModel where one stands in."""
        return self.own_procs if self.expansion is None else self.expansion.procs

    @property
    def own_procs(self) -> list[AbstractProcess]:
        """The inner processes assigned to this process itself."""
        found = {id(p): p for p in self._parts(AbstractProcess) if p.parent is self}
        return list(found.values())

    def expand(self, model: type[Any] | None) -> None:
        """Let a SubProcessModel's graph stand in (None: none); the graph is built once and keeps its state."""
        if model is not None and self.expansion is self._expansions.get(model, (None,))[0] is not None:
            return
        for var in self.vars:  # what an inner Var held is the process's own again
            if var.aliased is not None:
                var.value, var.aliased = var.aliased.get(), None
        self.expansion = None
        if model is None:
            return
        if model not in self._expansions:
            made = model(self)
            for name, part in vars(made).items():
                if isinstance(part, AbstractProcess):
                    self._adopt(name, part)
            self._expansions[model] = (made, [(v, v.aliased) for v in self.vars if v.aliased is not None])
        self.expansion, aliases = self._expansions[model]
        for var, inner in aliases:
            inner.set(var.value)
            var.aliased = inner

    @property
    def vars(self) -> list[Var]:
        return [v for v in self._parts(Var) if v.process is self]

    @property
    def in_ports(self) -> list[InPort]:
        return [p for p in self._parts(InPort) if p.process is self]

    @property
    def out_ports(self) -> list[OutPort]:
        return [p for p in self._parts(OutPort) if p.process is self]

    # -- running -------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True while a non-blocking run is under way."""
        return self.runtime is not None and self.runtime.running

    @arguments(condition=instance("lavalike.runtime.conditions.RunSteps", "lavalike.runtime.conditions.RunContinuous",
                                  words="RunSteps(n) or RunContinuous()"),
               run_cfg=optional(instance("lavalike.model.config.RunConfig", words="a RunConfig")))
    def run(self, condition: RunCondition, run_cfg: RunConfig | None = None) -> None:
        """Run everything this process is connected to.

        State is kept between runs and steps go on counting; ``run`` after ``stop`` begins from the Vars as
        they are. Another ``run_cfg`` than the last compiles anew, with the state carried over, and warns.
        One run at a time: while another thread runs or starts what is connected, and from within a step, it is a RunError,
        before the first step.

        Args:
            condition: ``RunSteps(num_steps)`` or ``RunContinuous()``.
            run_cfg: defaults to the last one used, or ``RunConfig()``.
        """
        from lavalike.runtime.runtime import start

        start(self, condition, run_cfg)

    def _runtime(self, verb: str) -> Runtime:
        if self.runtime is None:
            raise RunError(f"{self.path}: nothing to {verb}: run() it first")
        return self.runtime

    def wait(self) -> None:
        """Block until a run started with ``blocking=False`` has done its steps; raise what it raised."""
        self._runtime("wait for").wait()

    def pause(self) -> None:
        """End a non-blocking run after the step in progress; state is kept, ``run`` goes on from it."""
        self._runtime("pause").pause()

    def stop(self) -> None:
        """Pause, keep the state in the Vars and release the compiled program. Never needed, always legal but from within a step."""
        if self.runtime is not None:
            self.runtime.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


AbstractProcess.models = []


def outermost(process: AbstractProcess) -> AbstractProcess:
    """The process that contains ``process`` and is itself contained in none."""
    while process.parent is not None:
        process = process.parent
    return process


def walk(process: AbstractProcess) -> Iterator[AbstractProcess]:
    """``process`` and everything inside it, outside first."""
    yield process
    for child in process.procs:
        yield from walk(child)


def component(process: AbstractProcess) -> list[AbstractProcess]:
    """The outermost processes of everything connected with ``process``, itself first."""
    found: dict[int, AbstractProcess] = {}
    todo = [outermost(process)]
    while todo:
        top = todo.pop()
        if id(top) in found:
            continue
        found[id(top)] = top
        near: list[AbstractProcess] = []
        for proc in walk(top):
            for port in (*proc.in_ports, *proc.out_ports):
                others = [p for view in port.sources for p in view.ports] + port.targets
                near += [p.process for p in others if p.process is not None]
            near += [probe.owner for probe in proc.probes]
        todo.extend(reversed([outermost(p) for p in near]))
    return list(found.values())
