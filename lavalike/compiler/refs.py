"""RefPorts -> the Vars they refer to."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lavalike.errors import GraphError
from lavalike.process.refs import RefPort, VarPort
from lavalike.process.var import Var, resolved

if TYPE_CHECKING:
    from lavalike.backends.base import Backend
    from lavalike.compiler.flat import Flat, Node


@dataclass(frozen=True, eq=False)
class Reference:
    """``var.flat[k]`` is ``port.flat[index[k]]``, and nothing of it where the index is -1."""

    port: RefPort
    var: Var
    index: np.ndarray

    @property
    def whole(self) -> bool:
        """Whether the port is the Var, element by element."""
        return np.array_equal(self.index, np.arange(self.var.size))

    def read(self, value: np.ndarray) -> np.ndarray:
        """What the port reads where the Var holds ``value``."""
        out = np.zeros(self.port.size, value.dtype)
        there = self.index >= 0
        out[self.index[there]] = value.reshape(-1)[there]
        return out.reshape(self.port.shape)

    def written(self, value: np.ndarray, data: np.ndarray) -> np.ndarray:
        """What the Var, which holds ``value``, holds after ``data`` was written to the port."""
        there = self.index >= 0
        out = value.reshape(-1).astype(np.result_type(value, data))
        out[there] = data.reshape(-1)[self.index[there]]
        return out.reshape(value.shape)


def resolve(port: RefPort) -> Reference:
    """The Var that ``port`` refers to, through hierarchy, views and aliases. GraphError where there
    is none."""
    at: RefPort | VarPort = port
    index = np.arange(port.size)
    while True:
        onward = [t for t in at.targets if isinstance(t, RefPort | VarPort)]
        if not onward:
            break
        target = onward[0]
        view = next(v for v in target.sources if at in v.ports)
        flat = view.index.reshape(-1)
        index = np.where(flat >= 0, index[flat], -1)
        at = target
    if not isinstance(at, VarPort):
        raise GraphError(
            f"{at.path}: a RefPort that refers to nothing; connect_var(var) or connect(var_port) says what, or leave it out"
        )
    return Reference(port, resolved(at.var), index)


def varying(flat: Flat) -> list[Var]:
    """Parameters that steps may change: those that RefPorts refer to, and those of Python
    models."""
    found = [v for n in flat.nodes if n.model.inline for v in n.process.vars]
    found += [resolve(port).var for n in flat.nodes for port in n.process.ref_ports]
    return [v for v in dict.fromkeys(found) if v.role == "parameter" and v.aliased is None]


def manage(flat: Flat, backends: Callable[[str], Backend], free: Container[Node]) -> None:
    """Give nodes in Python that act on a Var at set steps to the program that holds it, where its
    backend has rows for all that refers to that Var: they act in the order of the nodes there as
    here, only no step waits for Python. ``free``: those for which RunConfig.select asks for no
    model."""
    referring: dict[Var, list[tuple[Node, Reference]]] = {}
    for node in flat.nodes:
        if node.model.inline:
            for port in node.process.ref_ports:
                reference = resolve(port)
                referring.setdefault(reference.var, []).append((node, reference))
    for var, references in referring.items():
        owner = flat.node_of(var.process)
        if owner is None or owner.model.inline or owner.beside is not None:
            continue
        manages = getattr(backends(owner.target.backend), "manages", None)
        kinds = [
            type(n.model).__dict__.get("rows") if r.whole and n in free else None
            for n, r in references
        ]
        if manages is None or None in kinds:
            continue
        models = [manages(k, n, owner, var) for k, (n, _) in zip(kinds, references, strict=True)]
        if None in models:
            continue
        for (node, _), model in zip(references, models, strict=True):
            node.model, node.target, node.beside = model, owner.target, owner
