"""The Vars of a program: loaded into the states of its nodes, and read, set and recorded as those
hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lavalike.backends.base import check_real, int32
from lavalike.backends.numba import transfer
from lavalike.backends.numba.layouts import Layout, Moved, Recorded
from lavalike.backends.numba.model import NumbaModel
from lavalike.compiler.flat import Node
from lavalike.compiler.parts import Part
from lavalike.errors import GraphError, VarError
from lavalike.process import Port, Var


class Variables:
    """Of the nodes of ``part``, in ``batch`` samples.

    Args:
        buffers: what each port sends, (batch, *shape).
        states: by node and name, (batch, ...); :meth:`load` fills it in.
    """

    def __init__(
        self,
        part: Part,
        batch: int,
        buffers: Mapping[Port, np.ndarray],
        states: dict[Node, dict[str, np.ndarray]],
    ) -> None:
        self.part, self.batch, self.buffers, self.states = part, batch, buffers, states

    def load(self, node: Node, step: int) -> None:
        """Make the states of ``node`` after ``step`` steps, of its Vars' values."""
        model = model_of(node)
        values = {v.name: time_first(v, v.value) for v in node.process.vars}
        # always a copy: the user's arrays stay the user's, and threads have their own
        self.states[node] = {
            k: np.array(
                np.broadcast_to(v, (self.batch, *v.shape)), model.narrow.get(k, v.dtype), order="C"
            )
            for k, v in self._loaded(node, values, step).items()
        }
        self._fill_aliases(node, values, slice(None))

    def _loaded(
        self, node: Node, values: Mapping[str, np.ndarray], step: int
    ) -> dict[str, np.ndarray]:
        loaded = model_of(node).load(values, step)
        return {k: cast(v, f"{node.process.path}.{k}", node) for k, v in loaded.items()}

    def _fill_aliases(self, node: Node, values: Mapping[str, np.ndarray], at: slice | int) -> None:
        """Into the buffers of ports that hold a Var its value, in the samples ``at``."""
        model, path = model_of(node), node.process.path
        for name, port in model.aliases.items():
            self.buffers[port_of(node, port)][at] = cast(values[name], f"{path}.{name}", node)
        for name, port in model.sends.items():
            first = values[name][..., 0]
            self.buffers[port_of(node, port)][at] = cast(first, f"{path}.{name}", node)

    # -- where a Var is ----------------------------------------------------------------------------

    def array(self, var: Var) -> np.ndarray | None:
        """The buffer that holds a state Var just as it is, or None."""
        node = self.part.node_of(var.process)
        if node is None or var.time_last:
            return None
        model = model_of(node)
        if var.name in model.aliases:
            return self.buffers[port_of(node, model.aliases[var.name])]
        array = self.states[node].get(var.name)
        return array if array is not None and array.shape[1:] == var.shape else None

    def _layout(self, node: Node, var: Var) -> Layout | None:
        """How states that are not the Var just as it is hold it; None too where only its model's
        ``store`` tells."""
        layout = model_of(node).layouts.get(var.name)
        if not var.time_last:
            return layout
        if layout is None:
            return Moved(var.name, _time_last) if var.name in self.states[node] else None
        assert isinstance(layout, Moved)  # a neuron's Vars have no time
        view = layout.view
        return replace(layout, view=lambda state: _time_last(view(state)))

    def is_state(self, var: Var, step: int) -> bool:
        """Whether steps may change the Var: a state its model uses."""
        node = self.part.node_of(var.process)
        if node is None or var.role != "state":
            return False
        model = model_of(node)
        known = (model.aliases, self.states[node], model.layouts)
        return any(var.name in names for names in known) or var.name in self._stored(node, 0, step)

    def _stored(self, node: Node, sample: int, step: int) -> dict[str, np.ndarray]:
        """A sample's states, as the model gives them back."""
        return model_of(node).store({k: v[sample] for k, v in self.states[node].items()}, step)

    # -- what it is --------------------------------------------------------------------------------

    def dtype_of(self, var: Var, step: int) -> np.dtype:
        """The dtype in which the Var is recorded."""
        node = self.part.node_of(var.process)
        if node is None or not self.is_state(var, step):
            return var.value.dtype
        model = model_of(node)
        array, layout = self.array(var), self._layout(node, var)
        if array is not None:
            dtype = array.dtype
        elif layout is not None:
            dtype = layout.dtype(self.states[node])
        else:
            return model.message_dtype
        # states may be held narrower than messages are
        return model.message_dtype if dtype in map(np.dtype, model.narrow.values()) else dtype

    def recorded(self, var: Var) -> Recorded | None:
        """The row that records a state Var; None where its model computes it anew from its
        states."""
        if (array := self.array(var)) is not None:
            return Recorded(transfer.record, array)
        node = self.part.node_of(var.process)
        layout = self._layout(node, var) if node is not None else None
        return None if node is None or layout is None else layout.recorded(self.states[node])

    def values(self, var: Var, step: int) -> np.ndarray:
        """The Var after ``step`` steps over the batch, (batch, *shape)."""
        array = self.array(var)
        if array is not None:
            return array
        node = self.part.node_of(var.process)
        if node is None or not self.is_state(var, step):
            return np.broadcast_to(var.value, (self.batch, *var.shape))
        layout, states = self._layout(node, var), self.states[node]
        samples = range(self.batch)
        if layout is not None:
            shown = [layout.shown({k: v[s] for k, v in states.items()}, step) for s in samples]
            return np.stack(shown).astype(self.dtype_of(var, step), copy=False)
        stored = [self._stored(node, s, step)[var.name] for s in samples]
        return np.stack([_time_last(x) if var.time_last else x for x in stored])

    def put(self, var: Var, value: np.ndarray, sample: int | None, step: int) -> None:
        """Set a state after ``step`` steps, in one sample or all."""
        node = self.part.node_of(var.process)
        assert node is not None
        at = slice(None) if sample is None else sample
        array = self.array(var)
        if array is not None:
            array[at] = cast(value, var.path, node)
            return
        values = {
            v.name: time_first(v, value if v is var else self.values(v, step)[sample or 0])
            for v in node.process.vars
        }
        for name, new in self._loaded(node, values, step).items():
            self.states[node][name][at] = new
        self._fill_aliases(node, values, at)


def cast(value: np.ndarray, path: str, node: Node) -> np.ndarray:
    """A Var's value in the dtype of its node's messages and states, of a user's model in one of its
    own kind; VarError where that cannot hold it. As it is where the node acts beside another."""
    if node.beside is not None:
        return value
    own = not model_of(node).trusted
    check_real(
        path,
        value,
        "a step of the numba backend takes",
        "make such of them in derive"
        + ("" if own else ", or keep real and imaginary parts in Vars of their own"),
        own,
    )
    config = node.model.config
    dtype = config.message_dtype
    if own and value.dtype.kind == "c":
        dtype = np.result_type(dtype, np.complex64)
    elif own and (value.dtype.kind == "b" or (value.dtype.kind in "iu" and not config.fixed)):
        return value
    elif config.fixed:
        return int32(path, value)
    elif value.dtype.kind != "f":
        return value.astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # too large for the dtype: told below
        out = value.astype(dtype)
    if value.dtype.itemsize > out.dtype.itemsize and not np.isfinite(out).all():
        raise VarError(
            f"{path}: {value[~np.isfinite(out)].flat[0]} is beyond {out.dtype}; RunConfig(dtype='float64') holds it"
        )
    return out


def model_of(node: Node) -> NumbaModel:
    if not isinstance(node.model, NumbaModel):
        raise GraphError(f"{node.process.path}: {type(node.model).__name__} is no NumbaModel")
    return node.model


def port_of(node: Node, name: str) -> Port:
    process: Any = node.process
    return next(p for p in (*process._in_ports, *process._out_ports) if p.name == name)


def time_first(var: Var, value: np.ndarray) -> np.ndarray:
    return np.moveaxis(value, -1, 0) if var.time_last else value


def _time_last(value: np.ndarray) -> np.ndarray:
    return np.moveaxis(value, 0, -1)
