"""Spikes as data of the package nir, with hxtorch's names."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from lavalike.arguments import Rule, arguments
from lavalike.bss2.spiking.utils.from_nir_data import _MODEL

_SPIKES = Rule("a dict of spikes (time, batch, neuron)", lambda v: isinstance(v, Mapping))


@arguments(hxtorch_dict=_SPIKES, hxtorch_model=_MODEL)
def to_nir_data(hxtorch_dict: Mapping[str, torch.Tensor], hxtorch_model: Any) -> Any:
    """``hxtorch_dict``, spikes (time, batch, neuron) by the names of nodes, as a nir.NIRGraphData
    on the grid of the model's experiment; where the package nir (1.0.6 or later) is not installed,
    as objects with the same attributes."""
    dt = hxtorch_model.exp.dt
    kinds = _kinds()
    nodes = {}
    for name, spikes in hxtorch_dict.items():
        grid = np.moveaxis(spikes.detach().cpu().numpy().astype(bool), 1, 0)
        nodes[name] = kinds.node(observables={"spikes": kinds.grid(data=grid, dt=dt)})
    return kinds.graph(nodes=nodes)


class _Kinds(NamedTuple):
    graph: Any
    node: Any
    grid: Any


def _kinds() -> _Kinds:
    try:
        from nir.data_ir import NIRGraphData, NIRNodeData, TimeGriddedData
    except ImportError:
        return _Kinds(SimpleNamespace, SimpleNamespace, SimpleNamespace)
    return _Kinds(NIRGraphData, NIRNodeData, TimeGriddedData)
