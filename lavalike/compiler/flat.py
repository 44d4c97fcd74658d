"""Process graph -> flat graph: leaf processes with models, and for every InPort the terms of its
sum."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lavalike.arguments import did_you_mean, shown
from lavalike.compiler.order import step_order
from lavalike.compiler.refs import manage
from lavalike.errors import (
    GradedMessageWarning,
    GraphError,
    InputError,
    ModelSelectionError,
    RunError,
)
from lavalike.model.config import Choice, NodeConfig, RunConfig, belongs
from lavalike.model.model import ProcessModel, SubProcessModel, candidates, chosen, select
from lavalike.proc.monitor import Monitor
from lavalike.process import claims
from lavalike.process.ports import InPort, OutPort, Port, View
from lavalike.process.process import AbstractProcess, component, walk

if TYPE_CHECKING:
    from lavalike.backends.base import Backend

    Backends = Callable[[str], Backend]  # by name


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of what a port carries: ``target.flat[dst] += source.flat[src]``; None means all,
    in order."""

    source: Port
    src: np.ndarray | None = None
    dst: np.ndarray | None = None

    def add(self, rows: np.ndarray, x: np.ndarray) -> None:
        """Add rows ``x`` of the source to ``rows`` of the target, (..., size) each."""
        x = (x if self.src is None else x[..., self.src]).astype(rows.dtype, copy=False)
        if self.dst is None:
            rows += x
        else:  # which names each element once
            rows[..., self.dst] += x


@dataclass(frozen=True)
class Target:
    """What computes a node: a backend, with its options. ``whole``: it runs all steps at once, as a
    chip does."""

    backend: str
    options: Any = None
    whole: bool = False


@dataclass(eq=False)
class Node:
    """A leaf process, its model (with the precision and dtype of this node in ``model.config``),
    the terms of each of its InPorts by name, and what computes it. ``beside``: the node on whose
    Var it acts at the end of a step, in the same program."""

    process: AbstractProcess
    model: ProcessModel
    inputs: dict[str, list[Term]] = field(default_factory=dict)
    target: Target = Target("")
    beside: Node | None = None


@dataclass(eq=False)
class Flat:
    """What the compiler cuts into parts.

    ``nodes`` are in the order of a step: those without delay sorted so that senders come first,
    then the delayed ones. ``stimuli`` are the InPorts that a run feeds; nothing else sends to them.
    """

    processes: list[AbstractProcess]
    nodes: list[Node]
    stimuli: list[InPort]
    config: RunConfig
    step: int = 0  # steps done before: where a run goes on counting
    told: set[Node] = field(default_factory=set)  # those that a warning was given of
    target: Target = Target("")  # of what ``select`` says nothing of
    drawn: int | None = None  # the seed where the RunConfig gives none

    def __post_init__(self) -> None:
        self._nodes = {n.process: n for n in self.nodes}
        self._called: dict[AbstractProcess, str] = {}
        self._fed: set[Port] = {*self.stimuli}
        self._dtypes: dict[Port, np.dtype] = {}

    def key(self, node: Node) -> int:
        """What the random numbers of ``node`` follow from, besides step and sample: 63 bits of the
        seed of its process where that has one; else of its path and RunConfig's, or of the seed
        that NumPy's global generator gives when the first node asks."""
        own = getattr(node.process, "seed", None)
        return _hashed(f"{own}" if own is not None else f"{self.seed} {self.called(node.process)}")

    @property
    def seed(self) -> int:
        """RunConfig's, or the one that is drawn when it is first asked for."""
        if self.config.seed is not None:
            return self.config.seed
        if self.drawn is None:
            self.drawn = int(np.random.randint(2**63 - 1, dtype=np.int64))  # noqa: NPY002
        return self.drawn

    def called(self, process: AbstractProcess) -> str:
        """The path, and a number, since several may have it."""
        if not self._called:
            alike: dict[str, int] = {}
            for p in self.processes:
                alike[p.path] = alike.get(p.path, 0) + 1
                self._called[p] = f"{p.path} {alike[p.path]}"
        return self._called[process]

    def terms(self, port: Port) -> list[Term]:
        """The terms of any port, resolved through hierarchy down to leaves and stimuli."""
        return _resolve(port, self._nodes, self._fed)

    def node_of(self, process: AbstractProcess | None) -> Node | None:
        return self._nodes.get(process) if process is not None else None

    def dtype_of(self, port: Port) -> np.dtype:
        """The dtype of what ``port`` carries: that of its node; of a stimulus int32 where any that
        hears it is of fixed_pt, since that takes whole numbers only; of any other port int32 where
        all its terms are."""
        if port not in self._dtypes:
            self._dtypes[port] = self._dtype_of(port)
        return self._dtypes[port]

    def recast(self, dtype: Literal["float32", "float64"]) -> None:
        """Let floating_pt be ``dtype``, for programs that are built from now on."""
        self.config = replace(self.config, dtype=dtype)
        for node in self.nodes:
            node.model.config = replace(node.model.config, dtype=dtype)
        self._dtypes.clear()

    def _dtype_of(self, port: Port) -> np.dtype:
        node = self.node_of(port.process)
        if node is not None and port not in self._fed:
            return node.model.config.message_dtype
        if port in self._fed:
            hearing = [
                n.model.config
                for n in self.nodes
                for terms in n.inputs.values()
                if any(t.source is port for t in terms)
            ]
            fixed = any(c.fixed for c in hearing) if hearing else self.config.fixed
        else:
            kinds = {self.dtype_of(t.source).kind for t in self.terms(port)}
            fixed = kinds == {"i"} if kinds else self.config.fixed
        return np.dtype(np.int32 if fixed else self.config.dtype)


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def flatten(
    process: AbstractProcess,
    config: RunConfig,
    backends: Backends,
    stimuli: Iterable[InPort] = (),
    running: bool = False,
) -> Flat:
    """The flat graph of everything connected to ``process``, after the steps that it has done.
    ``running``: for its next run, in which models with a state of their own go on
    (:meth:`ProcessModel.of`).

    Raises ModelSelectionError, VarError, InputError for an option that no backend of this graph
    has, and GraphError for a cycle without delay and for what a backend does not compute.
    """
    with claims.looking:  # another thread may look at the same processes
        return _flatten(process, config, backends, stimuli, running)


def _flatten(
    process: AbstractProcess,
    config: RunConfig,
    backends: Backends,
    stimuli: Iterable[InPort],
    running: bool,
) -> Flat:
    tops = component(process)
    everything: list[AbstractProcess] = []
    models: dict[AbstractProcess, tuple[type[ProcessModel], NodeConfig, Choice]] = {}
    choices, used = config.choices(), set[int]()
    hidden: set[AbstractProcess] = set()
    for part in (p for top in tops for p in walk(top)):
        if part.parent in hidden or part.parent in models:  # a model computes what is around it
            hidden.add(part)
            continue
        everything.append(part)
        part._settle()
        for var in part.vars:  # a bound Var's present value is with its program
            if var.binding is not None and (value := var.binding.read(var)) is not var.value:
                var.value = np.array(value)
        _check_hierarchy(part)
        choice = chosen(part, choices, used)
        if (
            (part.own_procs and choice.model is None)
            or isinstance(part, Monitor)
            or not _computes(part)
        ):
            continue
        node = config.of(choice)
        model = select(part, node, backends(node.backend), choice.model, choice.backend is not None)
        if model.inline:
            node = replace(node, backend=model.backend)
        expands = issubclass(model, SubProcessModel)
        part.expand(model if expands else None)  # walk goes on into what it made
        if not expands:
            models[part] = model, node, choice
    unused = [key for k, key in enumerate(config.select) if k not in used]
    if unused:
        raise ModelSelectionError(
            f"RunConfig.select: {_key(unused[0])} in the graph of {process.path}"
            f"{did_you_mean(unused[0], [x for p in everything for x in (p.name, p.path)])}; "
            f"there are {', '.join(p.path for p in everything)}"
        )
    for part in everything:
        if part.expansion is not None:  # what its model connected
            _check_hierarchy(part)
    nodes = [Node(leaf, model.of(leaf, node, running)) for leaf, (model, node, _) in models.items()]
    leaves, fed = {n.process: n for n in nodes}, list(stimuli)
    given: set[Port] = {*fed}
    for n in nodes:
        n.inputs = {p.name: _resolve(p, leaves, given) for p in n.process.in_ports}
        _check_ports(n)
    flat = Flat(everything, step_order(nodes), fed, config, process._structure.root().step)
    asked = {n: models[n.process][2] for n in nodes}
    _aim(flat, backends, {n for n, c in asked.items() if c.backend is not None})
    manage(flat, backends, {n for n, c in asked.items() if c.backend is c.model is None})
    return flat


def _aim(flat: Flat, backends: Backends, asked: set[Node]) -> None:
    """Give every node its target; ``asked``: those whose backend ``select`` names. GraphError where
    such a one does not compute it."""

    def target_of(name: str) -> Target:
        return Target(
            name, _options(backends(name), flat.config), getattr(backends(name), "whole", False)
        )

    flat.target = target_of(flat.config.backend)
    wanted = {n: n.model.config.backend for n in flat.nodes}
    for name in dict.fromkeys(wanted.values()):
        backend, own = backends(name), [n for n in flat.nodes if wanted[n] == name]
        accepts = getattr(backend, "accepts", None)
        target = target_of(name)
        answers = accepts(flat, own, target) if accepts is not None else dict.fromkeys(own, target)
        for node in own:
            answer = answers[node]
            if isinstance(answer, Target):
                node.target = answer
                continue
            host = getattr(backend, "host", None)
            if host is None or node in asked:
                raise GraphError(
                    f"{node.process.path}: select asks for backend {name!r}, and {answer}"
                )
            node.target = target_of(host)
            node.model.config = replace(node.model.config, backend=host)
    _check_options(flat, backends)


def _options(backend: Backend, config: RunConfig) -> Any:
    kind = getattr(backend, "options", None)
    return (
        None
        if kind is None
        else kind(
            **{
                name: value
                for name, value in config.given().items()
                if name in kind.__dataclass_fields__
            }
        )
    )


def _check_options(flat: Flat, backends: Backends) -> None:
    """InputError for an option that no backend of this graph has."""
    given = flat.config.given()
    if not given:
        return
    names = dict.fromkeys(n.target.backend for n in flat.nodes)
    known = {
        name: [*getattr(getattr(backends(name), "options", None), "__dataclass_fields__", ())]
        for name in names
    }
    for option, value in given.items():
        if any(option in fields for fields in known.values()):
            continue
        there = [f for fields in known.values() for f in fields]
        raise InputError(
            f"RunConfig: {belongs(option)}, which computes nothing of this graph ({option}={shown(value)}); leave it out"
            f"{did_you_mean(option, there)}; {', '.join(known)} takes {', '.join(there) or 'none'}"
        )


def _key(key: Any) -> str:
    if callable(key) and not isinstance(key, type):
        return f"{getattr(key, '__name__', shown(key))} is true of no process"
    return f"{key!r} is no process, class or name"


def _check_hierarchy(process: AbstractProcess) -> None:
    """ConnectError where what feeds a port of ``process`` may not."""
    for port in (*process.in_ports, *process.out_ports):
        for view in port.sources:
            for src in view.ports:
                port.check_direction(src, view, settled=True)


def warn_graded(process: AbstractProcess) -> None:
    """Tell that graded messages count as spikes at ``process``."""
    warnings.warn(
        f"{process.path}: messages arrive that are neither 0 nor 1, and num_message_bits=0 counts each of them as a "
        "spike, 1; num_message_bits=24 takes their values",
        GradedMessageWarning,
        stacklevel=5,
    )


def not_held(
    source: str, target: str, dtype: np.dtype, place: str, value: Any, index: int
) -> RunError:
    """The error for a message of ``source`` that ``target``, whose messages are of ``dtype``, does
    not take as it is."""
    fixed = dtype.kind == "i"
    takes = (
        "fixed_pt, and takes whole numbers of 32 bits"
        if fixed
        else "float32, and holds whole numbers of 24 bits"
    )
    remedy = (
        "send whole numbers, or RunConfig(select=...) that process into floating_pt"
        if fixed
        else "RunConfig(dtype='float64') holds it"
    )
    return RunError(
        f"{source}, {place}: {value} at flat index {index} arrives at {target}, which is of {takes}; {remedy}"
    )


def _check_ports(node: Node) -> None:
    """GraphError where the model does not know a port that something is sent to, or an OutPort."""
    known, process = node.model.port_names(), node.process
    if process.ref_ports and not node.model.inline:
        raise GraphError(
            f"{process.ref_ports[0].path}: a RefPort, and {type(node.model).__name__}, the model of {type(process).__name__}, computes "
            "without one; write a lavalike.NumpyModel, which reads and writes it"
        )
    if known is None:
        return
    who = f"which {type(node.model).__name__}, the model of {type(process).__name__}, does not"
    for port in process.in_ports:
        if port.name not in known and node.inputs[port.name]:
            senders = ", ".join(dict.fromkeys(t.source.path for t in node.inputs[port.name]))
            raise GraphError(
                f"{port.path}: {senders if senders != port.path else 'an input'} is sent there, {who} read; leave the port "
                "unconnected, or write a model that reads it (lavalike.implements)"
            )
    for out in process.out_ports:
        handed = [src.path for view in out.sources for src in view.ports if isinstance(src, InPort)]
        if handed and not process.own_procs:
            raise GraphError(
                f"{out.path}: {handed[0]} is handed straight on to it, and {type(node.model).__name__}, the model of "
                f"{type(process).__name__}, writes it; leave out one of them"
            )
        if out.name not in known:
            raise GraphError(
                f"{out.path}: an OutPort {who} write; leave it out, or write a model that writes it (lavalike.implements)"
            )


def _computes(process: AbstractProcess) -> bool:
    """False for an empty container, and for one that only hands on."""
    if (
        process.out_ports
        and all(p.sources for p in process.out_ports)
        and not candidates(process)
        and process.dynamics is None
    ):
        return False
    return bool(process.in_ports or process.out_ports or process.vars or candidates(process))


def _resolve(target: Port, leaves: dict[AbstractProcess, Node], stimuli: set[Port]) -> list[Term]:
    out: list[Term] = []
    # as a Term: port, src, dst; and the OutPorts on the way that hand an InPort of their own
    # process on
    todo: list[tuple[Port, np.ndarray | None, np.ndarray | None, tuple[Port, ...]]] = [
        (target, None, None, ())
    ]
    while todo:
        port, src, dst, handed = todo.pop()
        # a stimulus has no sources, or none that sends
        if port in stimuli or (isinstance(port, OutPort) and port.process in leaves):
            out.append(Term(port, src, dst))
            continue
        if isinstance(port, OutPort) and any(
            isinstance(p, InPort) for view in port.sources for p in view.ports
        ):
            if port in handed:
                hops = " -> ".join(p.path for p in reversed((*handed[handed.index(port) :], port)))
                raise GraphError(
                    f"a cycle without delay: {hops}, ports that hand on what arrives; put a connection with delay=1 into it"
                )
            handed = (*handed, port)
        todo += [
            (*x, handed)
            for view in reversed(port.sources)
            for x in reversed(_through(view, src, dst, target.size))
        ]
    return out


def _through(
    view: View, src: np.ndarray | None, dst: np.ndarray | None, size: int
) -> list[tuple[Port, np.ndarray | None, np.ndarray | None]]:
    """What elements ``src`` of ``view``, which go to ``dst`` of ``size``, are of the view's
    ports."""
    if view.is_identity:
        return [(view.ports[0], src, dst)]
    out: list[tuple[Port, np.ndarray | None, np.ndarray | None]] = []
    flat, offset = view.index.reshape(-1), 0
    if src is not None:
        flat = flat[src]
    for port in view.ports:
        here = np.flatnonzero((flat >= offset) & (flat < offset + port.size))
        to = here if dst is None else dst[here]
        whole = len(to) == size and np.array_equal(to, np.arange(size))
        if len(to):
            out.append((port, flat[here] - offset, None if whole else to))
        offset += port.size
    return out
