"""RefPorts -> the Vars they refer to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavalike.errors import GraphError
from lavalike.process.refs import RefPort, VarPort
from lavalike.process.var import Var, resolved


@dataclass(frozen=True, eq=False)
class Reference:
    """``var.flat[k]`` is ``port.flat[index[k]]``, and nothing of it where the index is -1."""

    port: RefPort
    var: Var
    index: np.ndarray

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
    """The Var that ``port`` refers to, through hierarchy, views and aliases. GraphError where there is none."""
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
