"""NumpyModel: a process's step in Python, which receives and sends when it says so."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lavalike.arguments import FLAG, Rule, arguments, did_you_mean
from lavalike.backends.numpy.ports import Inlet, Outlet, Queue, Ref, lost
from lavalike.backends.numpy.scheduler import Scheduler
from lavalike.errors import GraphError, RunError, VarError
from lavalike.model.config import NodeConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, InPort, Var

if TYPE_CHECKING:
    from lavalike.compiler.flat import Term


def _is_dtype(value: Any) -> bool:
    try:
        return value is not None and np.dtype(value).kind in "biufcU"
    except TypeError:
        return False


class Declared:
    """What a port or Var is in a :class:`NumpyModel`, under its name.

    Args:
        dtype: of a Var's array, checked when it is set; of an OutPort's messages, which are
            converted where it holds them (RunError where not); of an InPort's, which come in the
            dtype that holds this one and what was sent.
        number: a Var of one element is a Python number (or text) instead of an array.

    Without a declaration messages have the dtype in which they are sent. A Var has its own, but for
    whole numbers of a state, which are float64 in floating_pt, as 0 is the default of many a state
    that is none.

    Example::

        class Counting(NumpyModel):
            a_in = Declared(float)
            s_out = Declared(bool)
            count = Declared(int, number=True)
    """

    @arguments(
        dtype=Rule(
            "a dtype of numbers or texts", lambda v: not isinstance(v, int | float) and _is_dtype(v)
        ),
        number=FLAG,
    )
    def __init__(self, dtype: Any, number: bool = False) -> None:
        self.dtype, self.number = np.dtype(dtype), number

    def __repr__(self) -> str:
        return f"Declared({self.dtype}{', number=True' if self.number else ''})"


class NumpyModel(ProcessModel):
    """A model in Python, with NumPy or anything else.

    Write ``run_spk``. In it ``self.PORT.recv()`` gives the next message of an InPort and
    ``self.PORT.send(x)`` sends one on an OutPort; ``self.VAR`` is a Var's array, to be changed in
    place or assigned anew. ``self.time_step`` is the step, from 1, ``self.proc_params`` what the
    process was made with. It computes its process whatever backend a RunConfig names, unless that
    backend has a model of the same class, and runs inline: a ``recv`` whose message is not there
    yet waits while the others go on.

    ``self.PORT.read()`` and ``write(x)`` of a RefPort are another process's Var.

    After ``run_spk`` of all, in every step: ``run_pre_mgmt`` where some model's ``lrn_guard()`` and
    ``pre_guard()`` are true, of those whose ``pre_guard()`` is; ``run_lrn`` where ``lrn_guard()``
    is true; ``run_post_mgmt`` where ``post_guard()`` is.

    An instance lives until ``stop()``; a batch has one a sample. Its attributes are its own; Vars
    are what others read and set, which calls ``on_var_update``. What is raised reaches the caller
    of ``run`` as it is, with a note that says process, phase and step.

    Example::

        @implements(Leaky, backend="numpy")
        class LeakyModel(NumpyModel):
            def run_spk(self):
                self.v[:] = 0.9 * self.v + self.a_in.recv()
                self.s_out.send(self.v > 1)

    GraphError, when a graph is compiled, for a model without ``run_spk``, a phase without its
    guard, a declared name that the process does not have, and a port or Var whose name means
    something else in a model.
    """

    backend = "numpy"
    inline = True

    @classmethod
    def of(cls, process: AbstractProcess, config: NodeConfig, running: bool) -> NumpyModel:
        """The instance that lives, or a new one."""
        live = getattr(process.runtime, "program", None)  # None, too, where it was stopped
        if running and live is not None and live.elsewhere:
            raise GraphError(
                f"{process.path}: {cls.__name__} has a state of its own, in a worker process, that another program does not get; "
                "stop() first, which gives its Vars back"
            )
        node = live.flat.node_of(process) if running and live is not None else None
        if node is None or type(node.model) is not cls:
            return cls.made(process, config)
        model = node.model
        assert isinstance(model, NumpyModel)
        model.config = config
        model._attach()
        return model

    @classmethod
    def made(cls, process: AbstractProcess, config: NodeConfig) -> Self:
        """A new instance."""
        return cls(process, config)

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        super().__init__(process, config)
        self.delay = 0  # of a Connection too: it sends when it says so
        self.proc_params = process.proc_params
        self._scheduler = Scheduler()
        self._scheduler.step = process._structure.root().step
        self._body = self._new_body()
        self._inlets: dict[str, Inlet] = {}
        self._outlets: dict[str, Outlet] = {}
        self._refs: dict[str, Ref] = {}
        self._parameters = frozenset(v.name for v in process.vars if v.role == "parameter")
        self._check()
        self._attach()

    def _new_body(self) -> Any:
        """Whose attributes ports and Vars are, and whose methods are called: the model itself,
        unless names in it are to be free."""
        return self

    # -- what a model says -------------------------------------------------------------------------

    def run_spk(self) -> None:
        """One step: receive, compute, send."""

    def run_pre_mgmt(self) -> None:
        """After ``run_spk`` of all, before learning."""

    def run_lrn(self) -> None:
        """Learning."""

    def run_post_mgmt(self) -> None:
        """After learning."""

    def pre_guard(self) -> bool:
        """Whether ``run_pre_mgmt`` is to run in this step."""
        return False

    def lrn_guard(self) -> bool:
        """Whether ``run_lrn`` is to run in this step."""
        return False

    def post_guard(self) -> bool:
        """Whether ``run_post_mgmt`` is to run in this step."""
        return False

    def on_var_update(self) -> None:
        """A Var of this process was set."""

    # -- what a model may ask ----------------------------------------------------------------------

    @property
    def time_step(self) -> int:
        """The step, from 1."""
        return self._scheduler.step

    def request_pause(self) -> None:
        """End the run after this step; ``run`` goes on from there. Beside a chip, which runs all
        steps at once, only the end of the run is one where it can."""
        self._scheduler.request = self._scheduler.request or "pause"

    def request_stop(self) -> None:
        """End the run after this step, as ``stop()`` does; beside a chip at the end of the run."""
        self._scheduler.request = "stop"

    # -- its parts ---------------------------------------------------------------------------------

    @classmethod
    def declared(cls) -> dict[str, Declared]:
        """Declarations by name, those of base classes among them."""
        return {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Declared)
        }

    @property
    def guards(self) -> bool:
        return self._overrides("lrn_guard") or self._overrides("pre_guard")

    def _overrides(self, method: str) -> bool:
        """Whether the class says what ``method`` does."""
        return getattr(type(self._body), method) is not getattr(NumpyModel, method)

    def _check(self) -> None:
        process, name = self.process, type(self).__name__
        ports = [*process.in_ports, *process.out_ports]
        parts = (*ports, *process.ref_ports)
        names = [*(x.name for x in parts), *(v.name for v in process.vars)]
        phases = {
            "run_pre_mgmt": "pre_guard",
            "run_lrn": "lrn_guard",
            "run_post_mgmt": "post_guard",
        }
        if not self._overrides("run_spk") and (
            ports or not any(self._overrides(phase) for phase in phases)
        ):
            near = did_you_mean("run_spk", [n for n in vars(type(self)) if n.startswith("run")])
            raise GraphError(
                f"{process.path}: {name}, its model, has no run_spk(self), which receives and sends in every step{near}"
            )
        for phase, guard in phases.items():
            if self._overrides(phase) and not self._overrides(guard):
                raise GraphError(
                    f"{process.path}: {name}.{phase} would never run: {guard}(self) says in which steps it does; return True for all"
                )
        known = self.declared()
        for declared in known:
            if declared not in names:
                raise GraphError(
                    f"{process.path}: {name} declares {declared!r}, and {type(process).__name__} has no port or Var of that name"
                    f"{did_you_mean(declared, names)}; there are {', '.join(names) or 'none'}"
                )
        for taken in names:
            if taken in vars(self._body) or (hasattr(NumpyModel, taken) and taken not in known):
                raise GraphError(
                    f"{process.path}.{taken}: a model's own {taken!r} is something else; give the port or Var another name"
                )

    def _attach(self) -> None:
        """Attributes for ports and Vars that have none yet."""
        process, declared, body = self.process, self.declared(), self._body
        for port in (*process.in_ports, *process.out_ports):
            dtype = declared[port.name].dtype if port.name in declared else None
            if port.name in vars(body):
                continue
            if isinstance(port, InPort):
                self._inlets[port.name] = inlet = Inlet(port, dtype, self.config.message_dtype)
                setattr(body, port.name, inlet)
            else:
                self._outlets[port.name] = out = Outlet(port, dtype)  # type: ignore[arg-type]  # what is no InPort is an OutPort
                setattr(body, port.name, out)
        for ref in process.ref_ports:
            if ref.name not in vars(body):
                dtype = declared[ref.name].dtype if ref.name in declared else None
                self._refs[ref.name] = end = Ref(ref, dtype)
                setattr(body, ref.name, end)
        for var in process.vars:
            if var.name not in vars(body):
                setattr(body, var.name, self._held(var, var.value))

    def _bind(
        self,
        scheduler: Scheduler,
        sources: Mapping[str, Sequence[tuple[Queue, Term]]],
        readers: Mapping[str, Sequence[Queue]],
        parts: Mapping[str, Sequence[Queue]],
        recorded: Container[str],
    ) -> None:
        """Let the ports be those of a program: by name, what each hears, and who reads what it
        sends, parts of other backends among them."""
        self._scheduler = self._body._scheduler = scheduler
        outlets, run_spk = [*self._outlets.values()], self._body.run_spk
        for name, inlet in self._inlets.items():
            inlet.bind(scheduler, sources.get(name, ()), run_spk, outlets)
        for name, outlet in self._outlets.items():
            outlet.bind(scheduler, readers.get(name, ()), parts.get(name, ()), name in recorded)

    def _dtype(self, var: Var, value: np.ndarray, known: Declared | None) -> np.dtype:
        """The dtype of the Var's array."""
        if known is not None:
            if known.dtype.kind == "U" and known.dtype.itemsize == 0:  # str
                return value.dtype
            return known.dtype
        if value.dtype.kind in "iu" and var.role == "state" and not self.config.fixed:
            return np.dtype(np.float64)
        return value.dtype

    def _held(self, var: Var, value: np.ndarray) -> Any:
        """``value`` as the model has it; VarError where its dtype does not hold it."""
        known = self.declared().get(var.name)
        dtype = self._dtype(var, value, known)
        if dtype.kind != value.dtype.kind and "U" in (dtype.kind, value.dtype.kind):
            what = "texts" if value.dtype.kind == "U" else f"{value.dtype} numbers"
            raise VarError(f"{var.path}: holds {what}, and {type(self).__name__} declares {dtype}")
        with np.errstate(over="ignore", invalid="ignore"):
            out = value.astype(dtype)
        bad = lost(value, out)
        if bad.any():
            raise VarError(
                f"{var.path}: {value[bad].flat[0]} is not held in {dtype}, which {type(self).__name__} declares"
            )
        if known is None or not known.number:
            return out
        if out.size != 1:
            raise VarError(
                f"{var.path}: has shape {var.shape}, and {type(self).__name__} declares a number; leave number=True out"
            )
        return out.reshape(-1)[0].item()

    def _value_of(self, var: Var) -> np.ndarray:
        """What the Var is now; VarError where the model made something else of it than numbers or
        texts."""
        value = getattr(self._body, var.name)
        array = np.asarray(value)
        if array.dtype.kind not in "biufcU":
            raise VarError(
                f"{var.path}: {type(self).__name__} assigned a {type(value).__name__} to it; a Var's value is an array of numbers or "
                "texts, keep other things in attributes of other names"
            )
        return array.reshape(var.shape) if array.size == var.size else array

    def _assign(self, var: Var, value: np.ndarray) -> None:
        """The Var was set."""
        body = self._body
        new, old = self._held(var, value), getattr(body, var.name, None)
        if (
            isinstance(old, np.ndarray)
            and isinstance(new, np.ndarray)
            and old.shape == new.shape
            and old.dtype == new.dtype
        ):
            old[...] = new
        else:
            setattr(body, var.name, new)

    # -- states as a whole -------------------------------------------------------------------------

    _own: ClassVar[frozenset[str]] = frozenset(
        (
            "process",
            "config",
            "delay",
            "proc_params",
            "_scheduler",
            "_body",
            "_inlets",
            "_outlets",
            "_refs",
            "_parameters",
        )
    )

    def _stays(self, name: str) -> bool:
        """Whether an attribute is no state: it links the model to the graph, or is a parameter."""
        known = (self._own, self._inlets, self._outlets, self._refs, self._parameters)
        return any(name in names for names in known)

    def _links(self) -> dict[int, Any]:
        """What deepcopy leaves as it is: what links the model to the graph."""
        ends = (*self._inlets.values(), *self._outlets.values(), *self._refs.values())
        links = (
            self,
            self._body,
            self.process,
            self.proc_params,
            self.config,
            self._scheduler,
            *ends,
        )
        return {id(x): x for x in links}

    def _snapshot(self) -> dict[str, Any]:
        """A copy of all attributes but parameters and what links it to the graph; RunError for one
        that cannot be copied, by name."""
        out, links = {}, self._links()
        for name, value in vars(self._body).items():
            if self._stays(name):
                continue
            try:
                out[name] = copy.deepcopy(value, links)
            except Exception as e:
                raise RunError(
                    f"{self.process.path}: {type(self).__name__}.{name} cannot be copied ({type(value).__name__}: {e}), so there is no "
                    "snapshot of it; give its class a __deepcopy__"
                ) from e
        return out

    def _restore(self, state: dict[str, Any]) -> None:
        """Be as when ``state`` was copied."""
        links, body = self._links(), self._body
        for name in [*vars(body)]:
            if not self._stays(name) and name not in state:
                delattr(body, name)
        for name, value in state.items():
            setattr(body, name, copy.deepcopy(value, links))


class AsyncModel(NumpyModel):
    """A model beside the steps: ``run_async`` begins with a run, and takes as many steps as it
    takes.

    Its ports pass messages as those of other models do; a ``recv`` whose message has not come lets
    steps go by. :meth:`over` does too, and says when to return; what waits at the end of a run is
    left there, and the next run calls ``run_async`` anew. A loop that neither receives, sends nor
    asks :meth:`over` lets nobody else go on.

    Example::

        @implements(Counter, backend="numpy")
        class CounterModel(AsyncModel):
            def run_async(self):
                while not self.over():
                    self.count += 1
    """

    local = True

    def run_async(self) -> None:
        """From the first step of a run on."""

    @property
    def num_steps(self) -> int:
        """Steps of this run; ``sys.maxsize`` of one without end."""
        return self._scheduler.steps

    def over(self) -> bool:
        """Let the others do this step; whether it was the last, as the run has done its steps, or
        was paused or stopped. Then return: asked again it does not come back."""
        return self._scheduler.next_step()

    def run_spk(self) -> None:
        """Begin, in the first step of a run."""
        scheduler = self._scheduler
        if self not in scheduler.begun:
            scheduler.begun.add(self)
            scheduler.start(self.run_async)
