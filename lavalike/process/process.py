"""AbstractProcess: Vars, ports and inner processes under names."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from lavalike.arguments import FLAG, PATH, arguments, instance, integer, optional, shown
from lavalike.errors import GraphError, RunError, VarError, VarTypeError
from lavalike.process import drawing
from lavalike.process.made import Made
from lavalike.process.ports import InPort, OutPort, Port
from lavalike.process.refs import RefPort, VarPort
from lavalike.process.runner import runner
from lavalike.process.structure import Shared, Structure, join
from lavalike.process.var import Var

if TYPE_CHECKING:
    from lavalike.dynamics.dynamics import Dynamics
    from lavalike.model.config import RunConfig
    from lavalike.process.monitor import Probe
    from lavalike.runtime.conditions import RunCondition
    from lavalike.runtime.runtime import Runtime


class Expansion(Protocol):
    """What a SubProcessModel is to a process."""

    assigned: dict[str, Any]


_building = threading.local()  # made: the processes made while a SubProcessModel builds its graph


class _Step:
    """Steps done by all that a process is connected to; an attribute of that name of a subclass's
    own goes before it."""

    def __get__(self, process: AbstractProcess | None, owner: type) -> Any:
        return self if process is None else process._structure.root().step


class AbstractProcess(Shared):
    """Base of all processes. Assign Vars, ports and inner processes as attributes in ``__init__``.

    A process says what there is, never how it is computed: that is a ProcessModel's part, chosen by
    the RunConfig. A process made of inner processes needs no model; a process with ``dynamics``
    gets one from every backend. Models belong to a class and all its subclasses.

    Inner processes are found in attributes, also in lists, tuples and dicts there, nested too, and
    go by the attribute (``lif``, ``layers[0]``) unless they have a ``name``; several assigned to
    one attribute in a loop are all kept (``lif``, ``lif#2``). One that is appended to such a list
    later, or put into such a dict, is found when it is connected; one with no connection at all
    when the graph is compiled next. Two inner processes with the same ``name`` are a GraphError.

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
    dynamics: Dynamics | None = None

    name: str
    parent: AbstractProcess | None
    proc_params: dict[str, Any]
    step = _Step()
    _made: Made
    _structure: Structure
    _vars: list[Var]
    _in_ports: list[InPort]
    _out_ports: list[OutPort]
    _ref_ports: list[RefPort]
    _var_ports: list[VarPort]
    _procs: dict[str, AbstractProcess]  # by name
    _holders: dict[str, Any]  # attributes that are lists and dicts: more may be put into them
    _scope: dict[str, AbstractProcess]  # the _procs among which this is
    _expansions: dict[type, tuple[Expansion, dict[str, AbstractProcess], list[tuple[Var, Var]]]]

    _taken: ClassVar[frozenset[str]] = frozenset()  # names that no Var or port has

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.models = []

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        structure = Structure()
        structure.members.append(self)
        made = getattr(_building, "made", None)
        if made is not None:
            made.append(self)
        # attributes may be assigned before a subclass calls super().__init__()
        self.__dict__.update(
            name="",
            parent=None,
            runtime=None,
            probes=[],
            expansion=None,
            proc_params={},
            _made=Made(args, kwargs, (cls.__module__ or "").startswith(OURS)),
            _structure=structure,
            _expansions={},
            _vars=[],
            _in_ports=[],
            _out_ports=[],
            _ref_ports=[],
            _var_ports=[],
            _procs={},
            _holders={},
            _scope={},
        )
        return self

    def __init__(self, *, name: str | None = None, **proc_params: Any) -> None:
        if name is not None and not isinstance(name, str):
            raise VarTypeError(
                f"{type(self).__name__}: name is a text or None, got {shown(name)} ({type(name).__name__})"
            )
        for key in ("loihi_units", "checked"):
            if key in proc_params and type(proc_params[key]) is not bool:
                FLAG.check(type(self).__name__, key, proc_params[key], VarError)
        if name:
            self.name = name
        self.__dict__["proc_params"] = proc_params
        self.runtime: Runtime | None
        self.probes: list[Probe]
        self.expansion: Expansion | None

    def __setattr__(self, key: str, value: Any) -> None:
        old = self.__dict__.get(key)
        part = isinstance(value, PARTS)
        if part and key in self._taken:
            raise GraphError(
                f"{type(self).__name__}.{key}: a process's own {key!r} is something else; give the {type(value).__name__} another name"
            )
        if not part and isinstance(old, PARTS):
            how = f"; {old.path}.set(value) changes its value" if isinstance(old, Var) else ""
            raise VarError(
                f"{old.path}: a {type(old).__name__} is not replaced by {value!r:.60}{how}"
            )
        inside = (
            not part
            and isinstance(value, NESTED)
            and (type(value) is not tuple or any(isinstance(x, NESTED) for x in value))
        )
        strangers = _strangers(self, {key: value}, self._procs) if inside else ()
        if key == "name" and self.parent is not None:
            _rename(self, value)
        object.__setattr__(self, key, value)
        if part:
            self._register(key, value, old)
        elif inside:
            for name, child in strangers:
                _adopt(self, name, child, self._procs)
            if not isinstance(value, AbstractProcess):
                self._holders[key] = value
        elif key in self._holders:
            del self._holders[key]

    def _register(self, key: str, part: Var | Port, old: Any) -> None:
        """``part`` is this process's from now on, in place of ``old``; another's stays the
        other's."""
        if part.process is None:
            if (
                isinstance(part, Var)
                and self.dynamics is not None
                and part.value.dtype.kind in ("U" if self.dynamics.complexes else "cU")
            ):
                raise VarTypeError(
                    f"{type(self).__name__}.{part.name or key}: real numbers expected in an equation, got "
                    f"{shown(part.value.reshape(-1)[0].item())}"
                )
            part.process = self
            part.name = part.name or key
        elif part.process is not self:
            return
        known = self._known(part)
        if old is part or (part in known and not isinstance(old, PARTS)):
            return  # under another name
        gone = isinstance(old, PARTS) and not any(x is old for x in self.__dict__.values())
        if gone and old in self._known(old):
            before = self._known(old)
            place = before.index(old)
            del before[place]
            if before is known and part not in known:
                known.insert(place, part)
        if part not in known:
            known.append(part)
        join(self._structure, None)
        if isinstance(part, Port):  # it may have been connected before it was anyone's
            for port in (*(p for view in part.sources for p in view.ports), *part.targets):
                if port.process is not None:
                    join(self._structure, port.process._structure)

    def _known(self, part: Var | Port) -> list[Any]:
        return (
            self._vars
            if isinstance(part, Var)
            else self._in_ports
            if isinstance(part, InPort)
            else self._ref_ports
            if isinstance(part, RefPort)
            else self._var_ports
            if isinstance(part, VarPort)
            else self._out_ports
        )

    def _shared(self) -> Structure:
        return self._structure

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"runtime": None}  # a copy compiles its own

    @property
    def path(self) -> str:
        """Dotted name from the outermost process down; the outermost one goes by its own or its
        class name."""
        names, at = [self.name or type(self).__name__], self.parent
        while at is not None:
            names.append(at.name or type(at).__name__)
            at = at.parent
        return ".".join(reversed(names))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def remade(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The keyword ``arguments`` it was made with, or others that make the same: for a file
        (:meth:`lavalike.Compiled.save`). One whose Vars hold them in another form says so here."""
        return arguments

    # -- parts -------------------------------------------------------------------------------------

    @property
    def procs(self) -> list[AbstractProcess]:
        """The inner processes, in the order they were assigned; of a SubProcessModel where one
        stands in."""
        if self.expansion is None:
            return self.own_procs
        made, scope, _ = self._expansions[type(self.expansion)]
        return _gathered(self, made.assigned, scope)

    @property
    def own_procs(self) -> list[AbstractProcess]:
        """The inner processes assigned to this process itself."""
        return _gathered(self, self._holders, self._procs)

    def _settle(self) -> None:
        """Called when it is about to be compiled, for a spelling of processes whose values are
        given up to then."""

    def expand(self, model: type[Any] | None) -> None:
        """Let a SubProcessModel's graph stand in (None: none); the graph is built once and keeps
        its state."""
        if model is None and self.expansion is None:
            return
        if (
            model is not None
            and self.expansion is self._expansions.get(model, (None,))[0] is not None
        ):
            return
        for var in self._vars:  # what an inner Var held is the process's own again
            if var.aliased is not None:
                var.value, var.aliased = Var.get(var.aliased), None
        self.expansion = None
        join(self._structure, None)
        if model is None:
            return
        if model not in self._expansions:
            made, inner = self._built(model)
            self._expansions[model] = (
                made,
                inner,
                [(v, v.aliased) for v in self._vars if v.aliased is not None],
            )
        self.expansion, scope, aliases = self._expansions[model]
        _gathered(self, self.expansion.assigned, scope)
        for var, inside in aliases:
            Var.set(inside, var.value)
            var.aliased = inside

    def _built(self, model: type[Any]) -> tuple[Expansion, dict[str, AbstractProcess]]:
        """A SubProcessModel's instance and the processes that it made: those in its attributes,
        those that it let this process have, and those that only its connections lead to."""
        before, outer = {*self._procs}, getattr(_building, "made", None)
        _building.made = fresh = list[AbstractProcess]()
        try:
            made: Expansion = model(self)
        finally:
            _building.made = outer
        inner = {n: p for n, p in self._procs.items() if n not in before}
        for name, child in inner.items():
            del self._procs[name]
            child.__dict__["_scope"] = inner
        _gathered(self, made.assigned, inner)
        for child in fresh:
            if child.parent is None and any(map(_wired, walk(child))):
                _gathered(self, {type(child).__name__: child}, inner)
        return made, inner

    @property
    def vars(self) -> list[Var]:
        return [*self._vars]

    @property
    def in_ports(self) -> list[InPort]:
        return [*self._in_ports]

    @property
    def out_ports(self) -> list[OutPort]:
        return [*self._out_ports]

    @property
    def ref_ports(self) -> list[RefPort]:
        return [*self._ref_ports]

    @property
    def var_ports(self) -> list[VarPort]:
        """Those made by ``RefPort.connect_var`` among them."""
        return [*self._var_ports]

    # -- how it looks ------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        """In a notebook: ports with whom they are connected to, Vars, and the processes inside."""
        return drawing.shown(self)

    @arguments(depth=optional(integer(0)))
    def to_mermaid(self, depth: int | None = None) -> str:
        """The graph as a flowchart in Mermaid's language, which GitHub, Jupyter and many editors
        draw from a block of Markdown: a box a process, a frame around what is inside of one, an
        arrow a connection with the names of its ports; dashed from a RefPort to the process whose
        Var it refers to, dotted to who records.

        Of a process that is inside another, what it has itself; else everything that is connected
        to it. Names are escaped.

        Args:
            depth: how many levels of inner processes are drawn; 0: none. Default None: as many as
                give at most 100 boxes, where of more than 100 processes side by side those of one
                class are one box.

        Example::

            print(net.to_mermaid())
        """
        return drawing.mermaid(drawing.Drawing(self, depth))

    @arguments(depth=optional(integer(0)))
    def to_dot(self, depth: int | None = None) -> str:
        """The graph as :meth:`to_mermaid` draws it, in the language of Graphviz: ``dot -Tsvg``
        draws it, and so does ``graphviz.Source(net.to_dot())`` in a notebook.

        Args:
            depth: as of :meth:`to_mermaid`.
        """
        return drawing.dot(drawing.Drawing(self, depth))

    # -- running -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True while a non-blocking run is under way."""
        return self.runtime is not None and self.runtime.running

    @arguments(
        late=True,
        condition=instance(
            "lavalike.runtime.conditions.RunSteps",
            "lavalike.runtime.conditions.RunContinuous",
            words="RunSteps(n) or RunContinuous()",
        ),
        run_cfg=optional(instance("lavalike.model.config.RunConfig", words="a RunConfig")),
        checkpoint=optional(PATH),
        every=optional(integer(1)),
    )
    def run(
        self,
        condition: RunCondition,
        run_cfg: RunConfig | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
    ) -> None:
        """Run everything this process is connected to.

        States are kept between runs, and steps go on counting (``step``), also after ``stop``,
        ``with``, ``simulate`` and in copies; ``run`` after ``stop`` begins from the Vars as they
        are. Another ``run_cfg`` than the last compiles anew, with the states carried over, and
        warns; so does a process or connection that was added. One run at a time: while another
        thread runs or starts what is connected, and from within a step, it is a RunError, before
        the first step.

        Args:
            condition: ``RunSteps(num_steps)`` or ``RunContinuous()``.
            run_cfg: defaults to the last one used, or ``RunConfig()``.
            checkpoint: an HDF5 file to which all that steps change is written when the run ends or
                is paused, whole and in one step, so that what is there is right whatever becomes of
                this process; :func:`lavalike.resume` goes on from it. GraphFileError, before the
                first step, where a model keeps what no file holds; RunError where it cannot be
                written, as on a full disk.
            every: write it also after each step whose number this divides. Default None: only at
                the end. InputError without ``checkpoint``.
        """
        runner().start(self, condition, run_cfg, checkpoint, every)

    def _live(self, verb: str) -> Runtime:
        if self.runtime is None:
            raise RunError(f"{self.path}: nothing to {verb}: run() it first")
        return self.runtime

    def wait(self) -> None:
        """Block until a run started with ``blocking=False`` has done its steps; raise what it
        raised."""
        self._live("wait for").wait()

    def pause(self) -> None:
        """End a non-blocking run after the step in progress; state is kept, ``run`` goes on from
        it."""
        self._live("pause").pause()

    def stop(self) -> None:
        """Pause, keep the states in the Vars and release the compiled program. Never needed, always
        legal but from within a step."""
        if self.runtime is not None:
            self.runtime.stop()

    def mark(self) -> None:
        """Note states and count of steps of everything this process is connected to, for
        :meth:`reset`.

        Raises RunError while it is running.
        """
        runner().mark(self)

    def reset(self) -> None:
        """Put everything this process is connected to back to where it was last marked, or to where
        its first run began.

        The Vars that are states get the values they had then, ``step`` the count; so sources,
        resets and delays repeat from there. Parameters (weights, thresholds) stay as they are, and
        so does what monitors recorded. The next ``run`` goes on with the last RunConfig. Raises
        RunError while it is running.

        Example::

            for sample in samples:
                source.data.set(sample)
                net.run(RunSteps(100))
                ...
                net.reset()
        """
        runner().reset(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


AbstractProcess.models = []
PARTS = (Var, Port)
OURS = ("lavalike.", "netx.")  # modules of the library
NESTED = (AbstractProcess, list, tuple, dict)
# but for what nothing here asks a process for: that gives way to a Var or port of its name
AbstractProcess._taken = frozenset((*dir(AbstractProcess), *AbstractProcess().__dict__)) - {
    *("mark", "models", "pause", "reset", "step", "to_dot", "to_mermaid", "wait")
}


def _strangers(
    parent: AbstractProcess, values: Mapping[str, Any], scope: Mapping[str, AbstractProcess]
) -> list[tuple[str, AbstractProcess]]:
    """Processes in ``values``, themselves or in lists, tuples and dicts, that belong to none yet,
    with their names in ``scope``; GraphError where one's own name is another's there."""
    out: list[tuple[str, AbstractProcess]] = []
    names: dict[str, AbstractProcess] = {}
    seen: set[int] = set()
    top = None
    for key, child in _inside(values):
        if child.parent is not None or id(child) in seen:
            continue
        seen.add(id(child))
        top = outermost(parent) if top is None else top  # a process may have a length
        if child is top:  # a reference upwards, not an inner process
            continue
        name, count = child.name or key, 1
        while (other := scope.get(name, names.get(name))) is not None:
            if child.name:
                raise GraphError(
                    f"{parent.path}: two inner processes are called {name!r}, {type(other).__name__} and "
                    f"{type(child).__name__}; give one another name=, or none: it goes by its attribute then"
                )
            count += 1  # made in a loop under one attribute, say
            name = f"{key}#{count}"
        names[name] = child
        out.append((name, child))
    return out


def _inside(values: Mapping[str, Any]) -> Iterator[tuple[str, AbstractProcess]]:
    """Processes in ``values`` and in what is nested in them, with the expression that leads to
    each."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [*values.items()][::-1]
    while todo:
        key, value = todo.pop()
        if isinstance(value, AbstractProcess):
            yield key, value
        elif id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [(f"{key}[{k!r}]", x) for k, x in items if isinstance(x, NESTED)][::-1]


def _adopt(
    parent: AbstractProcess, name: str, child: AbstractProcess, scope: dict[str, AbstractProcess]
) -> None:
    child.__dict__.update(parent=parent, name=name, _scope=scope)
    scope[name] = child
    join(parent._structure, child._structure)


def _gathered(
    parent: AbstractProcess, holders: Mapping[str, Any], scope: dict[str, AbstractProcess]
) -> list[AbstractProcess]:
    """The processes in ``scope``, with those that were put into a list or dict of ``holders`` since
    it was assigned."""
    if holders:
        for name, child in _strangers(parent, holders, scope):
            _adopt(parent, name, child, scope)
    return [*scope.values()]


def _wired(process: AbstractProcess) -> bool:
    """Whether anything is connected to the process."""
    ends = (*process._in_ports, *process._out_ports, *process._ref_ports, *process._var_ports)
    return any(port.sources or port.targets for port in ends)


def _rename(child: AbstractProcess, name: Any) -> None:
    scope = child._scope
    if scope.get(name, child) is not child:
        assert child.parent is not None
        raise GraphError(
            f"{child.parent.path}: an inner process is called {name!r} already, {type(scope[name]).__name__}"
        )
    items = [(name if p is child else key, p) for key, p in scope.items()]
    scope.clear()
    scope.update(items)


def outermost(process: AbstractProcess) -> AbstractProcess:
    """The process that contains ``process`` and is itself contained in none."""
    while process.parent is not None:
        process = process.parent
    return process


def walk(process: AbstractProcess) -> Iterator[AbstractProcess]:
    """``process`` and everything inside it, outside first."""
    todo = [process]
    while todo:
        at = todo.pop()
        yield at
        todo += reversed(at.procs)


def component(process: AbstractProcess) -> list[AbstractProcess]:
    """The outermost processes of everything connected with ``process``, itself first."""
    found: dict[int, AbstractProcess] = {}
    walked: set[int] = set()
    todo = [outermost(process)]
    while todo:
        top = todo.pop()
        if id(top) in found:
            continue
        found[id(top)] = top
        near: dict[int, AbstractProcess] = {}
        for proc in walk(top):
            walked.add(id(proc))
            ends = (*proc._in_ports, *proc._out_ports, *proc._ref_ports, *proc._var_ports)
            for port in ends:
                for other in (*(p for view in port.sources for p in view.ports), *port.targets):
                    if other.process is not None:
                        near[id(other.process)] = other.process
            near |= {id(probe.owner): probe.owner for probe in proc.probes}
        todo += reversed([outermost(p) for key, p in near.items() if key not in walked])
    if any(top.parent is not None for top in found.values()):  # found in a list on the way
        return component(process)
    return list(found.values())
