"""NIR graphs as networks on BrainScaleS-2 and these as graphs, with hxtorch's names and as it reads
and writes them; ``lavalike.bss2.spiking`` has the doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from lavalike.arguments import ANY, FLAG, PATH, Rule, arguments, instance, optional, real
from lavalike.bss2.spiking.experiment import Experiment
from lavalike.bss2.spiking.handle import LIFObservables
from lavalike.bss2.spiking.modules import AELIF, LI, LIF, InputNeuron, Synapse
from lavalike.bss2.spiking.parameter import HXTransformedModelParameter, MixedHXModelParameter
from lavalike.bss2.spiking.run import run
from lavalike.bss2.spiking.transforms import weight_transforms
from lavalike.errors import NirError
from netx.nir.graph import Graph, Node
from netx.nir.lower import ordered
from netx.nir.package import as_package, node_as_package

DEVICE = Rule("a torch.device", lambda v: isinstance(v, torch.device))
MS = 1e-3  # hxtorch writes time constants in ms


@arguments(
    dt=real(above=0),
    calib_path=optional(PATH),
    weight_scale=real(above=0),
    trace_scale=real(above=0),
    trace_shift=real(),
    cadc_recording=FLAG,
    mock=FLAG,
    input_loopback=FLAG,
    device=DEVICE,
)
@dataclass
class ConversionConfig:
    """How :func:`from_nir` makes the network.

    Args:
        dt: seconds a step. Default 1e-6.
        calib_path: a calibration of the chip. Default None: that of the chip in use.
        weight_scale: the chip's weights are the model's times this. Default 64.
        trace_scale, trace_shift: of recorded membranes, see
            :class:`lavalike.bss2.spiking.LIF`. Defaults 1 / 50 and 0.
        cadc_recording: record the membranes of neurons that spike. Default True.
        mock: simulate; False: on the chip in use. Default True.
        input_loopback: record what the chip was sent. Default True.
        device: of the modules. Default the CPU.
    """

    dt: float = 1e-6
    calib_path: str | None = None
    weight_scale: float = 64.0
    trace_scale: float = 1.0 / 50.0
    trace_shift: float = 0e-6
    cadc_recording: bool = True
    mock: bool = True
    input_loopback: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def _map_nir_to_hxtorch(exp: Experiment, node: Any, cfg: ConversionConfig) -> torch.nn.Module:
    """One node as a module of ``exp``."""
    made = Graph.of({"nodes": {"node": node}, "edges": []}).nodes["node"]
    return _module(exp, "node", made, cfg)


def _module(exp: Experiment, name: str, node: Any, cfg: ConversionConfig) -> torch.nn.Module:
    p, kind = node.params, node.type
    bias = np.any(p["bias"]) if "bias" in p else False
    if kind in ("Linear", "Affine") and not bias and p["weight"].ndim == 2:
        weight = p["weight"]
        synapse = Synapse(
            in_features=weight.shape[1],
            out_features=weight.shape[0],
            experiment=exp,
            transform=partial(weight_transforms.linear_saturating, scale=cfg.weight_scale),
        )
        synapse.weight.data = torch.Tensor(np.array(weight))
        return synapse
    if kind in ("CubaLI", "CubaLIF"):
        return _population(exp, name, node, cfg)
    if kind == "Input":
        return InputNeuron(int(np.prod(p["shape"])), experiment=exp)
    raise NirError(
        "from_nir",
        name,
        "bias" if bias else "type",
        "is not 0" if bias else f"is {kind}",
        "BrainScaleS-2 has synapses (Linear), LIF (CubaLIF) and LI (CubaLI)",
    )


def _population(exp: Experiment, name: str, node: Any, cfg: ConversionConfig) -> torch.nn.Module:
    one: dict[str, float] = {}
    for parameter, value in node.params.items():
        if (value != value.flat[0]).any():
            raise NirError(
                "from_nir",
                name,
                parameter,
                "differs from neuron to neuron",
                "hxtorch's populations have one value: give all neurons of a node the same",
            )
        one[parameter] = float(value.flat[0])
    size = int(node.params["r"].size)
    tau_mem, tau_syn = one["tau_mem"] * MS, one["tau_syn"] * MS
    common: dict[str, Any] = {
        "experiment": exp,
        "leak": MixedHXModelParameter(one["v_leak"], 80),
        "tau_mem": tau_mem,
        "tau_syn": tau_syn,
        "trace_scale": cfg.trace_scale,
        "cadc_time_shift": cfg.trace_shift,
        "shift_cadc_to_first": True,
    }
    if node.type == "CubaLI":
        return LI(size, **common)
    c = tau_mem / one["r"]
    return LIF(
        size,
        reset=MixedHXModelParameter(one["v_reset"], 80),
        threshold=MixedHXModelParameter(one["v_threshold"], 150),
        membrane_capacitance=HXTransformedModelParameter(c, lambda value: value / c * 63),
        enable_cadc_recording=cfg.cadc_recording,
        **common,
    )


@arguments(graph=ANY, cfg=optional(instance(ConversionConfig)))
def from_nir(graph: Any, cfg: ConversionConfig | None = None) -> NirNetwork:
    """A NIR graph as a module of one experiment: ``net({"input": spikes})`` runs it and returns the
    spikes (time, batch, neuron) of each node that sends some.

    Nodes: one Input, one Output, Linear (a Synapse), CubaLI (LI) and CubaLIF (LIF), as hxtorch
    reads them: time constants in ms, one value a population, w_in left to the synapse.

    Args:
        graph: a nir.NIRGraph, a :class:`netx.nir.Graph`, the path of a file, or what has nodes and
            edges; it is not changed.
        cfg: Default ``ConversionConfig()``.

    Raises:
        NirError: another node, a parameter that differs from neuron to neuron, a loop.
    """
    return NirNetwork(Graph.of(graph), ConversionConfig() if cfg is None else cfg)


class NirNetwork(torch.nn.Module):
    """What :func:`from_nir` makes.

    Attributes:
        exp: the experiment.
        hxnodes: modules by the names of nodes.
        output: handles of the last pass, by the names of nodes.
    """

    def __init__(self, graph: Any, cfg: ConversionConfig) -> None:
        super().__init__()
        flat = graph.flat()
        self.exp = Experiment(mock=cfg.mock, dt=cfg.dt)
        if not cfg.mock:
            if cfg.calib_path is not None:
                self.exp.default_execution_instance.load_calib(cfg.calib_path)
            self.exp.default_execution_instance.input_loopback = cfg.input_loopback
        order, back = ordered(flat, cfg.dt)
        if back:
            a, b = min(back)
            raise flat.error(
                b, "edges", f"close a loop, with {a!r}", "put its layers into one HXModuleWrapper"
            )
        kinds = {n: flat.nodes[n].type for n in order}
        self.inputs = [n for n in order if kinds[n] == "Input"]
        ends = [n for n in order if kinds[n] == "Output"]
        if len(self.inputs) != 1 or len(ends) != 1:
            raise flat.error(
                "", "nodes", f"{len(self.inputs)} Inputs and {len(ends)} Outputs", "one of each"
            )
        self.order = [n for n in order if kinds[n] != "Output"]
        self.heard = {n: [a for a, b in flat.edges if b == n] for n in self.order}
        self.hxnodes = torch.nn.ModuleDict()
        self.keys = {n: n.replace(".", "_") for n in self.order}
        for n in self.order:
            self.hxnodes[self.keys[n]] = _module(self.exp, n, flat.nodes[n], cfg)
        self.spike_keys = [n for n in self.order if kinds[n] in ("Input", "CubaLIF")]
        self.output: dict[str, Any] = {}
        self.device = cfg.device
        self.to(self.device)

    def forward(self, spikes_dict: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Spikes (time, batch, neuron) of the Input, by its name; those of each node."""
        (name,) = self.inputs
        if name not in spikes_dict:
            raise NirError(
                "from_nir", name, "", f"is not among the inputs {sorted(spikes_dict)}", "name it so"
            )
        spikes = spikes_dict[name].to(self.device)
        self.output = {}
        for n in self.order:
            module = self.hxnodes[self.keys[n]]
            if n == name:
                self.output[n] = module(LIFObservables(spikes=spikes))
                continue
            for a in self.heard[n]:  # currents of several synapses add up
                self.output[n] = module(self.output[a])
        run(self.exp, spikes.shape[0])
        return {n: self.output[n].spikes for n in self.spike_keys if n in self.output}


# -- to NIR ----------------------------------------------------------------------------------------

_SNN = Rule(
    "a torch module that has its Experiment as .exp",
    lambda v: isinstance(v, torch.nn.Module),
    lambda v: isinstance(getattr(v, "exp", None), Experiment),
)


def _map_hxtorch_to_nir(module: Any) -> Any:
    """One module as a node: of the package nir, where it is installed."""
    return node_as_package(_node("module", module))


def _node(name: str, module: Any) -> Any:
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
