"""Recorded or stimulating spikes of the package nir as tensors, with hxtorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lavalike.arguments import Rule, arguments
from lavalike.errors import InputError

_DATA = Rule("a nir.NIRGraphData", lambda v: hasattr(v, "nodes"))
_MODEL = Rule("a module that has its Experiment as .exp", lambda v: hasattr(v, "exp"))


@arguments(nir_graph_data=_DATA, hxtorch_model=_MODEL)
def from_nir_data(nir_graph_data: Any, hxtorch_model: Any) -> dict[str, torch.Tensor]:
    """Spikes (time, batch, neuron) by the names of nodes, on the grid of the model's experiment.

    Args:
        nir_graph_data: a nir.NIRGraphData, whose nodes observe "spikes", on a grid of time or as
            events.
        hxtorch_model: what :func:`from_nir` made, or has its Experiment as ``exp``.

    Raises:
        InputError: nested data, another observable, a grid of another step.
    """
    dt = hxtorch_model.exp.dt
    found: dict[str, torch.Tensor] = {}
    for name, node in nir_graph_data.nodes.items():
        observables = getattr(node, "observables", None)
        if observables is None:
            raise InputError(f"from_nir_data: {name} is nested; flatten the data")
        for what, data in observables.items():
            if what != "spikes":
                raise InputError(f"from_nir_data: {name}: observes {what!r}; spikes are taken")
            if hasattr(data, "idx"):
                grid = _gridded(name, data, dt)
            elif not np.isclose(data.dt, dt, rtol=1e-6, atol=0):
                raise InputError(
                    f"from_nir_data: {name}: is on a grid of {data.dt:g} s, the experiment of {dt:g} s"
                )
            else:
                grid = np.asarray(data.data)
            found[name] = torch.as_tensor(grid.astype(np.float32)).permute(1, 0, 2)
    return found


def _gridded(name: str, data: Any, dt: float) -> np.ndarray:
    """Events as (batch, time, neuron); an index of -1 is none."""
    steps = round(data.t_max / dt)
    idx, at = np.asarray(data.idx), np.asarray(data.time)
    there = idx != -1
    grid = np.zeros((len(idx), steps, data.n_neurons), bool)
    when = np.floor(at[there] / dt + 1e-6).astype(np.int64)  # one on the grid stays in its step
    if there.any() and (
        when.min() < 0 or when.max() >= steps or idx[there].min() < 0 or idx.max() >= data.n_neurons
    ):
        raise InputError(
            f"from_nir_data: {name}: events lie outside of 0..{data.t_max:g} s or {data.n_neurons} neurons"
        )
    grid[np.nonzero(there)[0], when, idx[there]] = True
    return grid
