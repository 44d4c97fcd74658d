"""A share of a graph as a worker process gets it: its own processes with their Vars, and of all
others what it hears of them."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lavalike.compiler.cut import Cut
from lavalike.compiler.flat import Node, Target, Term
from lavalike.errors import WorkerError
from lavalike.model.config import NodeConfig, RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, InPort, Port, Var
from lavalike.process.made import Made
from lavalike.process.ports import View
from lavalike.process.refs import RefPort, VarPort
from lavalike.process.structure import Structure
from lavalike.process.var import Deferred
from lavalike.runtime.wiring import Layout, Wiring

Key = tuple[str, int, int]  # of a port or Var of a share: its kind, the node's number, its own


@dataclass(eq=False)
class Parcel:
    """Share ``wiring.rank``. ``nodes`` as (process, class of model, config, terms of each InPort,
    target); ``beside``: of those that act on a Var of another, by their numbers, that one's number
    and the Var; ``called`` and ``step`` as the whole graph has them; ``dtypes`` of ports that come
    from elsewhere."""

    wiring: Wiring
    layout: Layout
    batch: int
    step: int
    config: RunConfig
    drawn: int | None
    nodes: list[
        tuple[
            AbstractProcess,
            type[ProcessModel],
            NodeConfig,
            dict[str, list[tuple[Port, np.ndarray | None, np.ndarray | None]]],
            Target,
        ]
    ]
    beside: dict[int, tuple[int, Var]]
    called: list[str]
    stimuli: list[InPort]
    dtypes: dict[Port, str]
    late: list[int]  # numbers of the nodes that hear other shares
    table: bool  # whether it exchanges within a table
    structure: Structure = field(default_factory=Structure)

    def unpacked(self) -> list[Node]:
        """The nodes, with models made anew."""
        self.structure.step = self.structure.marked = self.step
        self.structure.members = [p for p, *_ in self.nodes]
        nodes: dict[int, Node] = {}
        for k in sorted(range(len(self.nodes)), key=lambda k: k in self.beside):
            process, model, config, inputs, target = self.nodes[k]
            terms = {name: [Term(*t) for t in ts] for name, ts in inputs.items()}
            if k in self.beside:
                number, var = self.beside[k]
                owner = nodes[number]
                made = model(process, config, owner, var)  # type: ignore[call-arg]  # which acts on a Var
                nodes[k] = Node(process, made, terms, target, owner)
            else:
                nodes[k] = Node(process, model.of(process, config, False), terms, target)
        return [nodes[k] for k in range(len(self.nodes))]


def parcel(cut: Cut, rank: int, layout: Layout) -> Parcel:
    """Share ``rank`` of ``cut``."""
    flat, share = cut.flat, cut.shares[rank]
    late = {*share.late}
    heard = dict.fromkeys(
        t.source for n in share.nodes for terms in n.inputs.values() for t in terms
    )
    stimuli = [p for p in flat.stimuli if p in heard]
    return Parcel(
        Wiring(cut, rank),
        layout,
        cut.batch,
        flat.step,
        replace(
            flat.config,
            select={},
            partition=None,
            workers=None,
            timeout=None,
            chip=None,
            dt=1e-6,
        ),
        flat.drawn,
        [
            (
                n.process,
                type(n.model),
                n.model.config,
                {k: [(t.source, t.src, t.dst) for t in terms] for k, terms in n.inputs.items()},
                n.target,
            )
            for n in share.nodes
        ],
        {
            k: (share.nodes.index(n.beside), n.model.var)  # type: ignore[attr-defined]  # on which it acts
            for k, n in enumerate(share.nodes)
            if n.beside is not None
        },
        [flat.called(n.process) for n in share.nodes],
        stimuli,
        {p: flat.dtype_of(p).name for p in (*stimuli, *share.hears)},
        [k for k, n in enumerate(share.nodes) if n in late or n.beside in late],
        cut.table(rank),
    )


def keys(nodes: Sequence[Node]) -> dict[Port | Var, Key]:
    """How parent and worker call the ports and Vars of a share's nodes."""
    out: dict[Port | Var, Key] = {}
    for k, node in enumerate(nodes):
        out |= {p: ("port", k, j) for j, p in enumerate(node.process.out_ports)}
        out |= {v: ("var", k, j) for j, v in enumerate(node.process.vars)}
    return out


# -- as bytes --------------------------------------------------------------------------------------


Packed = tuple[bytes, list[Any]]  # a pickle, and the arrays beside it


def packed(one: Parcel) -> Packed:
    """``one`` as bytes. WorkerError, by process, for what another process cannot have."""
    try:
        return _pickled(one, one)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as e:
        culprit, cause = _culprit(one, e)
        raise WorkerError(
            f"{culprit}: it cannot be sent to a worker process: {cause}; make its classes importable (in a module, not inside of a "
            "function), keep files, locks and functions without a name out of its attributes, or leave out workers"
        ) from e


def _culprit(one: Parcel, error: Exception) -> tuple[str, Exception]:
    for node in one.nodes:
        try:
            _pickled(node, one)
        except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as e:
            return node[0].path, e
    return one.nodes[0][0].path, error


def _pickled(what: Any, of: Parcel) -> Packed:
    stream, beside = io.BytesIO(), list[Any]()
    _Pickler(stream, of, beside).dump(what)
    return stream.getvalue(), beside


class _Pickler(pickle.Pickler):
    """Of processes, ports and Vars those of the share; of others a place to stand on: path, and
    shape."""

    def __init__(self, stream: io.BytesIO, one: Parcel, beside: list[Any]) -> None:
        super().__init__(stream, 5, buffer_callback=lambda b: beside.append(b.raw()))
        self.structure = one.structure
        self.port = InPort((1,))
        self.view = View((self.port,), np.zeros(1, int))
        self.own = {process for process, *_ in one.nodes}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, AbstractProcess):
            if obj not in self.own:
                return _stranger, (obj.path,)
            state = obj.__getstate__() | {
                "name": obj.path,
                "parent": None,
                "probes": [],
                "expansion": None,
                "_structure": self.structure,
                "_made": Made((), {}),
                "_expansions": {},
                "_procs": {},
                "_holders": {},
                "_scope": {},
            }
            return object.__new__, (type(obj),), state, None, None, _fill
        if isinstance(obj, Port):
            refers = isinstance(obj, RefPort | VarPort)
            state = {**obj.__dict__}
            if not refers:  # what is sent to it stands in the node's terms; that something is, here
                state |= {
                    "sources": [self.view] * (obj.sources != []),
                    "targets": [self.port] * (obj.targets != []),
                }
            return object.__new__, (type(obj),), state, None, None, _fill
        if isinstance(obj, Var):
            own = obj.process in self.own or obj.process is None
            state = {**obj.__dict__, "binding": None, "marked": None}
            if not own:
                state["value"] = None
                state.pop("source", None)
            return object.__new__, (type(obj),), state, None, None, _fill
        if obj is self.structure:
            return Structure, ()
        if isinstance(obj, Deferred) and not obj.made and _travels(obj.rule):
            return object.__new__, (type(obj),), obj.__dict__, None, None, _fill
        if isinstance(obj, type | types.FunctionType):
            _importable(obj)
        return NotImplemented


class _Alone(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | types.FunctionType):
            _importable(obj)
        return NotImplemented


def _travels(rule: Any) -> bool:
    """Whether another process can have ``rule``, as it has no function without a name."""
    try:
        _Alone(io.BytesIO(), 5).dump(rule)
    except (pickle.PicklingError, AttributeError, TypeError, WorkerError):
        return False
    return True


def _fill(obj: Any, state: Mapping[str, Any]) -> None:
    obj.__dict__.update(state)


def _stranger(path: str) -> AbstractProcess:
    """In the place of a process that is computed elsewhere."""
    process = AbstractProcess()
    process.__dict__["name"] = path
    return process


def _importable(obj: Any) -> None:
    """WorkerError for what is defined where no other process finds it."""
    if obj.__module__ == "__main__" and getattr(sys.modules["__main__"], "__file__", None) is None:
        raise WorkerError(
            f"{obj.__qualname__} is defined in a notebook, at a prompt or in a text given to Python, which worker processes cannot "
            "import; put it into a module, or leave out workers"
        )


def unpacked(data: Any, beside: Sequence[Any]) -> Any:
    return pickle.loads(data, buffers=beside)
