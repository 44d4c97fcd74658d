"""What acts on another process's Var at set steps, as rows at the end of a step: Reset, Read,
BitCheck.

The library's models of these are Python (``backends/numpy/library.py``), which reach every Var.
Where all that refers to a Var can be rows of the program that holds it, these take their place, and
the graph needs no step in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.base import int32
from lavalike.backends.numba.model import NumbaModel, held
from lavalike.compiler.flat import Node
from lavalike.model.config import NodeConfig
from lavalike.process import AbstractProcess, Var


class ManagingModel(NumbaModel):
    """A model that works on ``target``, the array of ``var`` of another process, (batch * size,),
    after all others have done the step.

    Its own states keep the dtypes of their Vars. ``sets``: it writes ``target``, and ``acted`` says
    whether it has in this step.
    """

    batched = True
    sets: ClassVar[bool] = False

    def __init__(self, process: AbstractProcess, config: NodeConfig, owner: Node, var: Var) -> None:
        super().__init__(process, config)
        assert isinstance(owner.model, NumbaModel)
        self.trusts, self.var = owner.model.trusted, var

    def takes(self) -> bool:
        """Whether it does to ``var``, which is held as it is, what the model in Python does."""
        return self.var.value.dtype.kind != "c"


def _at(values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """In which steps a process acts."""
    interval = int(values["interval"][0])
    if interval < 1:
        raise ValueError(f"interval: steps, at least 1, got {interval}")
    return {"interval": interval, "offset": int(values["offset"][0]) % interval}


class ResetRows(ManagingModel):
    """Of :class:`lavalike.proc.io.Reset`."""

    sets = True

    def takes(self) -> bool:
        reset: Any = self.process
        return super().takes() and reset.reset_value.value.dtype.kind in "biuf"

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        return {"acted": np.zeros(1, np.int64)}

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        given = values["reset_value"].reshape(-1)
        if self.config.fixed and self.var.value.dtype.kind != "b":
            value: Any = int(int32("reset_value", given)[0])
        elif self.trusts or self.var.value.dtype.kind == "f":
            value = float(held("reset_value", given.astype(np.float64), self.config.dtype)[0])
        else:  # a user's model keeps the kind of its Vars
            value = given[0].item()
        return _at(values) | {"value": value}

    def step(target, acted, value, interval, offset, t):
        acted[0] = (t - 1 - offset) % interval == 0
        if acted[0]:
            for i in range(target.size):
                target[i] = value


class ReadRows(ManagingModel):
    """Of :class:`lavalike.proc.io.sink.Read`."""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return _at(values)

    def step(target, data, interval, offset, t):
        k, past = divmod(t - 1 - offset, interval)
        if past == 0:
            rows = data.reshape((target.size, data.size // target.size))
            k %= rows.shape[1]
            for i in range(target.size):
                rows[i, k] = target[i]


class BitRows(ManagingModel):
    """Of :class:`lavalike.proc.BitCheck`."""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {"end": 2 ** (int(values["bits"][0]) - 1)}

    def step(target, found, end):
        size = target.size // found.size
        flat = found.reshape(-1)
        for k in range(flat.size):
            if not flat[k]:
                bad = 0
                for i in range(k * size, (k + 1) * size):
                    bad |= not (-end <= target[i] < end)  # NaN is within nothing
                flat[k] = bad


ROWS: dict[str, type[ManagingModel]] = {"reset": ResetRows, "read": ReadRows, "check": BitRows}


def managing(kind: str, node: Node, owner: Node, var: Var) -> ManagingModel | None:
    """The model with rows of ``kind`` for ``node``, which acts on ``var`` of ``owner``; None where
    that is not held as it is."""
    model = owner.model
    if var.role != "state" or var.time_last or not isinstance(model, NumbaModel):
        return None
    if var.name not in model.aliases:
        if var.name not in model.argument_names() or var.name in model.layouts:
            return None
        values = {v.name: v.value for v in owner.process.vars}
        loaded = model.load(values, owner.process._structure.root().step)
        if var.name not in loaded or loaded[var.name].shape != var.shape:
            return None
    made = ROWS[kind](node.process, model.config, owner, var)
    return made if made.takes() else None
