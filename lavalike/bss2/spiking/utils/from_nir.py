"""A NIR graph as a network on BrainScaleS-2, with hxtorch's names."""

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
from lavalike.bss2.spiking.modules import LI, LIF, InputNeuron, Synapse
from lavalike.bss2.spiking.parameter import HXTransformedModelParameter, MixedHXModelParameter
from lavalike.bss2.spiking.run import run
from lavalike.bss2.spiking.transforms import weight_transforms
from lavalike.errors import NirError

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
    from netx.nir import Graph

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
    from netx.nir import Graph

    return NirNetwork(Graph.of(graph), ConversionConfig() if cfg is None else cfg)


class NirNetwork(torch.nn.Module):
    """What :func:`from_nir` makes.

    Attributes:
        exp: the experiment.
        hxnodes: modules by the names of nodes.
        output: handles of the last pass, by the names of nodes.
    """

    def __init__(self, graph: Any, cfg: ConversionConfig) -> None:
        from netx.nir.lower import ordered

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
