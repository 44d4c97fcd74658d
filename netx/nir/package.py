"""A graph as the package nir's own, where it is installed: what those expect who know its peers."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from lavalike.errors import NirError
from netx.nir.graph import Graph, Node


def as_package(graph: Graph) -> Any:
    """``nir.NIRGraph`` of ``graph``; ``graph`` itself where the package nir is not installed.

    nir's own check of shapes is left out, as it takes a kernel's height for its width.
    """
    if importlib.util.find_spec("nir") is None:
        return graph
    import nir

    nodes = {
        name: as_package(node) if isinstance(node, Graph) else _node(nir, node)
        for name, node in graph.nodes.items()
    }
    try:
        made = nir.NIRGraph(nodes, list(graph.edges), type_check=False)
    except TypeError:  # before 1.0.6 there is no such argument, and no check
        made = nir.NIRGraph(nodes, list(graph.edges))
    made.metadata = dict(graph.metadata)
    shapes = graph.shapes()
    for name, node in nodes.items():
        if name in shapes and type(node).__name__ not in ("Input", "Output"):
            node.input_type = {"input": np.array(shapes[name].input)}
            node.output_type = {"output": np.array(shapes[name].output)}
    return made


def node_as_package(node: Node) -> Any:
    """One node, likewise."""
    if importlib.util.find_spec("nir") is None:
        return node
    import nir

    return _node(nir, node)


def _node(nir: Any, node: Node) -> Any:
    params = {n: np.array(v) if isinstance(v, np.ndarray) else v for n, v in node.params.items()}
    kind = getattr(nir, node.type)
    if node.type == "Input":
        return kind(input_type=np.array(params["shape"]))
    if node.type == "Output":
        return kind(output_type=np.array(params["shape"]))
    if node.type == "Flatten":
        shape = params.pop("input_type", None)
        return kind(input_type={"input": None if shape is None else np.array(shape)}, **params)
    if node.type in ("Conv1d", "Conv2d"):
        params.setdefault("input_shape", None)
        if node.type == "Conv1d":  # one number each
            for n in ("stride", "padding", "dilation", "input_shape"):
                params[n] = params[n][0] if isinstance(params[n], tuple) else params[n]
    if node.type.endswith("Pool2d"):
        params = {n: np.array(v) for n, v in params.items()}
    if "v_reset" not in getattr(kind, "__dataclass_fields__", ()):  # before 1.0.5
        reset = params.pop("v_reset", 0)
        if np.any(reset):
            raise NirError(
                "nir.NIRGraph",
                "",
                "v_reset",
                f"is not 0, and the package nir {nir.version} has none",
                "install nir >= 1.0.5",
            )
    return kind(**params)
