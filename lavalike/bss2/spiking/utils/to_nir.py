"""A network on BrainScaleS-2 as a NIR graph, with hxtorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lavalike.arguments import ANY, Rule, arguments
from lavalike.bss2.spiking.experiment import Experiment
from lavalike.bss2.spiking.modules import AELIF, LI, LIF, Synapse
from lavalike.bss2.spiking.utils.from_nir import MS
from lavalike.errors import NirError

_SNN = Rule(
    "a torch module that has its Experiment as .exp",
    lambda v: isinstance(v, torch.nn.Module),
    lambda v: isinstance(getattr(v, "exp", None), Experiment),
)


def _map_hxtorch_to_nir(module: Any) -> Any:
    """One module as a node: of the package nir, where it is installed."""
    from netx.nir.package import node_as_package

    return node_as_package(_node("module", module))


def _node(name: str, module: Any) -> Any:
    from netx.nir import Graph

    return Graph.of({"nodes": {name: _values(name, module)}, "edges": []}, "to_nir").nodes[name]


def _values(name: str, module: Any) -> dict[str, Any]:
    if isinstance(module, Synapse):
        return {"type": "Linear", "weight": module.weight.detach().cpu().numpy()}
    if not isinstance(module, LIF | LI) or isinstance(module, AELIF):
        raise NirError(
            "to_nir",
            name,
            "",
            f"is a {type(module).__name__}, and NIR has no node that computes it",
            "Synapse, LIF and LI",
        )
    fires = isinstance(module, LIF)
    if fires and _spread(module, "refractory_time").any():
        refractory = _spread(module, "refractory_time").max()
        if refractory > module.experiment.dt * (1 + 1e-6):
            raise NirError(
                "to_nir",
                name,
                "refractory_time",
                f"is {refractory:g} s, and NIR has none",
                f"one step at most, {module.experiment.dt:g} s",
            )
    tau_mem = _spread(module, "tau_mem")
    values: dict[str, Any] = {
        "type": "CubaLIF" if fires else "CubaLI",
        "tau_mem": tau_mem / MS,
        "tau_syn": _spread(module, "tau_syn") / MS,
        "r": np.ones(module.size),
        "v_leak": _spread(module, "leak"),
    }
    if fires:
        values |= {
            "r": tau_mem / _spread(module, "membrane_capacitance"),
            "v_reset": _spread(module, "reset"),
            "v_threshold": _spread(module, "threshold"),
        }
    return values


def _spread(module: Any, name: str) -> np.ndarray:
    """A parameter of the model, one a neuron."""
    value = torch.as_tensor(getattr(module, name).model_value, dtype=torch.float64)
    return np.broadcast_to(value.detach().cpu().numpy(), (module.size,)).copy()


@arguments(snn=_SNN, input_sample=ANY)
def to_nir(snn: torch.nn.Module, input_sample: Any) -> Any:
    """``snn`` as a NIR graph, as hxtorch writes it: nodes are called by their number in the
    experiment, time constants are in ms (so is ``metadata["lavalike"]["dt"]``, which
    :func:`netx.nir.from_nir` takes), w_in is 1.

    Args:
        snn: a module whose ``exp`` is its Experiment; its Synapses, LIFs and LIs.
        input_sample: it is called with this once, and run.

    Returns:
        nir.NIRGraph where the package nir is installed, else :class:`netx.nir.Graph`.

    Raises:
        NirError: another module, or a refractory time of more than a step.
    """
    from netx.nir import Graph, Node
    from netx.nir.package import as_package

    snn(input_sample)
    experiment: Experiment = snn.exp  # type: ignore[assignment]  # by the rule of the argument
    calls = experiment.passed
    if not calls:
        raise NirError("to_nir", "", "", "nothing was run", "call run() in the module's forward")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    for k, (module, senders) in enumerate(calls):
        if not isinstance(module, Synapse | LIF | LI | AELIF) and set(senders) == {None}:
            continue  # an InputNeuron: it is the Input
        nodes[str(k)] = _node(str(k), module)
        inner = [s for s in senders if s is not None and str(s) in nodes]
        edges += [(str(s), str(k)) for s in inner]
        if len(inner) < len(senders):
            edges.append(("input", str(k)))
    heard = {a for a, _ in edges}
    edges += [(n, "output") for n in nodes if n not in heard]
    graph = Graph({**nodes}, edges)
    first = next((b for a, b in edges if a == "input"), None)
    last = next((a for a, b in edges if b == "output"), None)
    if first is None or last is None:
        raise NirError("to_nir", "", "edges", "no module hears the input", "call it on a handle")
    size_in, size_out = _sizes(nodes[first])[0], _sizes(nodes[last])[1]
    made = Graph.of(
        Graph(
            {
                "input": Node("Input", {"shape": (size_in,)}),
                **nodes,
                "output": Node("Output", {"shape": (size_out,)}),
            },
            graph.edges,
            {"lavalike": {"dt": experiment.dt / MS}},
        ),
        "to_nir",
    )
    made.shapes()
    return as_package(made)


def _sizes(node: Any) -> tuple[int, int]:
    if node.type == "Linear":
        out, into = node.params["weight"].shape
        return into, out
    return node.params["r"].size, node.params["r"].size
