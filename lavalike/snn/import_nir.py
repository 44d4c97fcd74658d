"""A NIR graph as a torch module of snn's neurons, in snnTorch's words.

net = import_from_nir("net.nir")
out, state = net(x)                   # one step, (batch, ...)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import ANY, arguments, optional, real
from lavalike.snn.neuron import Stateful
from lavalike.snn.neurons import Leaky, Synaptic

UNIT = 1e-6  # how far from 1, of itself, the gain of an input may be and count as 1


@arguments(graph=ANY, dt=optional(real(above=0)))
def import_from_nir(graph: Any, dt: float | None = None) -> ImportedNir:
    """A module that computes a NIR graph a step at a time: ``out, state = net(x, state)``.

    Neurons become Leaky and Synaptic with init_hidden, so that ``utils.reset(net)`` begins anew;
    edges that close a loop carry what was sent in the last step. LIF and CubaLIF whose input counts
    otherwise than as it is (r dt / tau is not 1) have their threshold divided by that, which spikes
    alike. What :func:`export_to_nir` noted of resets holds; else v is set to 0 in the step of the
    spike, as NIR says.

    Args:
        graph: the path of a file, a nir.NIRGraph, a :class:`netx.nir.Graph`, or what has nodes and
            edges; it is not changed.
        dt: seconds a step. Default None: what we noted in the file, else 1e-4, snnTorch's.

    Raises:
        NirError: a node, or a parameter, that no layer here computes, by name:
            v_leak or v_reset that are not 0, neurons without a leak, integrators.
    """
    from netx.nir import Graph

    return ImportedNir(Graph.of(graph), dt)


class _Back(Stateful):
    """What an edge back in a loop carries to the next step."""

    def __init__(self) -> None:
        super().__init__(("sent",), True, False)


class ImportedNir(nn.Module):
    """The layers of a graph, in ``layers`` by the names of their nodes (dots and slashes as ``_``),
    called in the order of a step."""

    def __init__(self, graph: Any, dt: float | None = None) -> None:
        from netx.nir.lower import ordered

        super().__init__()
        flat = graph.flat()
        noted = flat.metadata.get("lavalike")
        noted = noted if isinstance(noted, Mapping) else {}
        self.dt = float(noted.get("dt", 1e-4) if dt is None else dt)
        self.reset_mechanism = "subtract" if noted.get("reset") == "subtract" else "zero"
        self.reset_delay = bool(noted.get("late", False))
        self.graph, self.shapes = flat, flat.shapes()
        self.order, self.back = ordered(flat, self.dt)
        self.heard: dict[str, list[str]] = {n: [] for n in self.order}
        for a, b in flat.edges:
            self.heard[b].append(a)
        self.ends = [n for n in self.order if flat.nodes[n].type == "Output"]
        self.begins = [n for n in self.order if flat.nodes[n].type == "Input"]
        if len(self.ends) != 1 or len(self.begins) != 1:
            raise flat.error(
                "",
                "nodes",
                f"{len(self.begins)} Inputs and {len(self.ends)} Outputs",
                "a module of snnTorch's has one of each; netx.nir.from_nir reads others",
            )
        self.keys: dict[str, str] = {}
        self.layers = nn.ModuleDict()
        for name in self.order:
            layer = self._layer(name, flat.nodes[name])
            if layer is not None:
                key = name.replace(".", "_").replace("/", "_")
                while key in self.layers or hasattr(nn.ModuleDict, key):
                    key += "_"
                self.keys[name] = key
                self.layers[key] = layer
        self.carried = nn.ModuleDict(
            {str(k): _Back() for k, _ in enumerate(sorted({a for a, _ in self.back}))}
        )
        self.late = {a: str(k) for k, a in enumerate(sorted({a for a, _ in self.back}))}

    def forward(
        self, x: torch.Tensor, state: Mapping[str, Any] | None = None
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """One step.

        Args:
            x: (batch, *shape of the Input).
            state: what the last call returned; None goes on from where the module is.

        Returns:
            (output, state).
        """
        if state is not None:
            self._put(state)
        sent: dict[str, torch.Tensor] = {self.begins[0]: x}
        for name in self.order:
            if name == self.begins[0]:
                continue
            total: torch.Tensor | None = None
            for a in self.heard[name]:
                term = self._last(a) if (a, name) in self.back else sent[a]
                if term is not None:
                    total = term if total is None else total + term
            if total is None:
                total = x.new_zeros((x.shape[0], *self.shapes[name].input))
            key = self.keys.get(name)
            sent[name] = total if key is None else self.layers[key](total)
        for a, k in self.late.items():
            back: Any = self.carried[k]
            back._hidden = (sent[a],)
        return sent[self.ends[0]], self._state()

    def _last(self, name: str) -> torch.Tensor | None:
        back: Any = self.carried[self.late[name]]
        return None if back._hidden is None else back._hidden[0]

    def _stateful(self) -> list[tuple[str, Any]]:
        return [(n, m) for n, m in self.named_modules() if isinstance(m, Stateful)]

    def _state(self) -> dict[str, Any]:
        return {n: m._hidden for n, m in self._stateful()}

    def _put(self, state: Mapping[str, Any]) -> None:
        for n, m in self._stateful():
            m._hidden = state.get(n)

    # -- layers ------------------------------------------------------------------------------------

    def _layer(self, name: str, node: Any) -> nn.Module | None:
        p, kind = node.params, node.type
        if kind in ("Input", "Output"):
            return None
        if kind in ("Affine", "Linear"):
            return self._linear(name, p)
        if kind in ("Conv1d", "Conv2d"):
            return _convolution(kind, p)
        if kind == "AvgPool2d":
            return nn.AvgPool2d(p["kernel_size"], p["stride"], p["padding"])
        if kind == "SumPool2d":
            return nn.AvgPool2d(p["kernel_size"], p["stride"], p["padding"], divisor_override=1)
        if kind == "Flatten":
            batch = [d + 1 if d >= 0 else d for d in (p["start_dim"], p["end_dim"])]
            return nn.Flatten(*batch)
        if kind in ("LIF", "CubaLIF"):
            return self._neuron(name, kind, p)
        raise self.graph.error(
            name,
            "type",
            f"is {kind}, which no layer of snn computes",
            "netx.nir.from_nir reads it, and lavalike.to_torch makes a module of that",
        )

    def _linear(self, name: str, p: Mapping[str, Any]) -> nn.Module:
        weight = p["weight"]
        if weight.ndim != 2:
            raise self.graph.error(
                name,
                "weight",
                f"has shape {weight.shape}",
                "(outputs, inputs) is a Linear of torch's",
            )
        made = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in p)
        _put(made, weight, p.get("bias"))
        return made

    def _neuron(self, name: str, kind: str, p: Mapping[str, Any]) -> nn.Module:
        shape = self.shapes[name].output
        v = {n: np.broadcast_to(np.asarray(x, np.float64), shape) for n, x in p.items()}
        for n in ("v_leak", "v_reset"):
            if np.any(v[n]):
                raise self.graph.error(
                    name, n, f"is {v[n][v[n] != 0].flat[0]:g}", "0; netx.nir.from_nir reads others"
                )
        tau = {n: x for n, x in v.items() if n.startswith("tau")}
        for n, x in tau.items():
            if (x < self.dt).any():
                raise self.graph.error(
                    name,
                    n,
                    f"is {x.min():g} s, shorter than a step of {self.dt:g} s",
                    "a shorter dt",
                )
        beta = 1 - self.dt / v["tau_mem" if kind == "CubaLIF" else "tau"]
        gain = (1 - beta) * v["r"]
        alpha = None
        if kind == "CubaLIF":
            alpha = 1 - self.dt / v["tau_syn"]
            gain = gain * (1 - alpha) * v["w_in"]
        if (gain <= 0).any():
            raise self.graph.error(
                name, "r", f"gives its input a gain of {gain.min():g}", "a leak, and r above 0"
            )
        unit = (np.abs(gain - 1) <= UNIT).all()
        vth = v["v_threshold"] if unit else v["v_threshold"] / gain
        kept: dict[str, Any] = {
            "threshold": _tensor(vth),
            "reset_mechanism": self.reset_mechanism,
            "reset_delay": self.reset_delay,
            "init_hidden": True,
        }
        if alpha is None:
            return Leaky(beta=_tensor(beta), **kept)
        return Synaptic(alpha=_tensor(alpha), beta=_tensor(beta), **kept)


def _convolution(kind: str, p: Mapping[str, Any]) -> nn.Module:
    weight, groups = p["weight"], p["groups"]
    made_of: Any = nn.Conv2d if kind == "Conv2d" else nn.Conv1d
    made = made_of(
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2:],
        stride=p["stride"],
        padding=p["padding"],
        dilation=p["dilation"],
        groups=groups,
    )
    _put(made, weight, p["bias"])
    return made


def _put(layer: Any, weight: np.ndarray, bias: np.ndarray | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(np.array(weight)))
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(np.array(bias)))


def _tensor(value: np.ndarray) -> torch.Tensor:
    """One number where all are the same."""
    first = value.flat[0]
    return torch.tensor(first if (value == first).all() else value, dtype=torch.get_default_dtype())
