"""A module of snn's neurons as a NIR graph, in snnTorch's words.

    graph = export_to_nir(net, torch.zeros(1, 784))

The module is called once, and what its layers hear of each other is watched; so any ``forward``
will do that calls its layers, and adds up, flattens or stacks what they send.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lavalike.arguments import FLAG, PATH, TEXT, Rule, arguments, optional, real
from lavalike.errors import NirError
from lavalike.snn.neurons import Lapicque, Leaky, RLeaky, RSynaptic, Synaptic
from lavalike.snn.spiking import SpikingNeuron

if TYPE_CHECKING:
    from netx.nir import Node

MODULE = Rule("a torch module", lambda v: isinstance(v, nn.Module))
TENSOR = Rule("a torch tensor", lambda v: isinstance(v, torch.Tensor))
SEVERAL = Rule("a list or tuple", lambda v: isinstance(v, list | tuple))
# what leaves the numbers of each neuron as they are
THROUGH = {
    *("flatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous", "detach", "clone"),
    *("to", "float", "double", "stack", "cat", "unbind", "__getitem__", "select", "getitem"),
    *("__get__", "requires_grad_", "type_as", "cpu", "split", "chunk"),
}
ADDS = {"add", "__add__", "__radd__", "__iadd__", "add_"}
ASKS = {"size", "dim", "numel", "__len__", "ndimension", "is_floating_point", "item", "__set__"}


@arguments(
    module=MODULE,
    sample_data=TENSOR,
    model_name=TEXT,
    model_fwd_args=SEVERAL,
    ignore_dims=SEVERAL,
    dt=real(above=0),
    path=optional(PATH),
    strict=FLAG,
)
def export_to_nir(
    module: nn.Module,
    sample_data: torch.Tensor,
    model_name: str = "snntorch",
    model_fwd_args: Sequence[Any] = (),
    ignore_dims: Sequence[int] = (),
    *,
    dt: float = 1e-4,
    path: str | os.PathLike[str] | None = None,
    strict: bool = True,
) -> Any:
    """``module`` as a NIR graph; read again by :func:`import_from_nir`, it computes the same.

    Layers are Linear, Conv2d, Conv1d, AvgPool2d and Flatten of torch; Leaky, Synaptic, Lapicque,
    RLeaky and RSynaptic; Identity and Dropout, which do nothing in use. Parameters become vectors
    of the neurons' shape. Thresholds, decays and the input's gain are those of the layers
    (tau = dt / (1 - beta), r = 1 / (1 - beta)).

    NIR has no reset by subtraction, snnTorch's default, and none in the step after the spike,
    another: both are told by a NirWarning and noted in ``metadata["lavalike"]``, which
    import_from_nir and :func:`netx.nir.from_nir` read. ``Leaky(reset_mechanism="zero",
    reset_delay=False)`` is what NIR can say.

    Args:
        module: in eval mode as it stands; it is called once without gradients, and its neurons
            begin anew before and after.
        sample_data: what it takes: a step (batch, ...), or all steps, if its forward loops.
        model_name: kept in the metadata, as snnTorch's. Default "snntorch".
        model_fwd_args: further arguments of forward. Default none.
        ignore_dims: axes of messages between layers that are no neurons'. Default none given: the
            first, the batch.
        dt: seconds a step. Default 1e-4, snnTorch's.
        path: of a file to write. Default None: none.
        strict: refuse what NIR cannot say of neurons (inhibition, quantised states, spikes that
            count other than 1). Default True; False: leave it out with a NirWarning.

    Returns:
        nir.NIRGraph where the package nir is installed, else :class:`netx.nir.Graph`.

    Raises:
        NirError: a layer or an operation between layers that NIR has no node for, by name.
    """
    from netx.nir import Graph, write
    from netx.nir.lift import rounded
    from netx.nir.package import as_package

    dims = tuple(int(d) for d in ignore_dims) or (0,)
    tracer = _Tracer(module, sample_data)
    sent = tracer.run(tuple(model_fwd_args))
    writer = _Writer(module, tracer, dims, dt, bool(strict))
    nodes, edges = writer.graph(sample_data, sent)
    noted = {"dt": dt, **writer.notes()}
    if rounded(nodes.values(), dt):
        noted["gain"] = "rounded"
    graph = Graph.of(
        Graph(nodes, edges, {"lavalike": noted, "model_name": model_name}), source="export_to_nir"
    )
    graph.shapes()
    if path is not None:
        write(path, graph)
    return as_package(graph)


# -- who hears whom --------------------------------------------------------------------------------

INPUT = "input"


class _Tracer(TorchFunctionMode):
    """One call of a module: which layers each layer hears."""

    def __init__(self, module: nn.Module, sample: torch.Tensor) -> None:
        super().__init__()
        self.module, self.sample = module, sample
        self.names = {m: n or "0" for n, m in module.named_modules(remove_duplicate=True)}
        # by the tensor itself, which is kept so that no other takes its id
        self.sent: dict[int, tuple[torch.Tensor, tuple[str, ...] | str]] = {}
        self.hears: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.layers: dict[str, nn.Module] = {}
        self.inside = 0

    def fail(self, node: str, parameter: str, found: str, remedy: str) -> NirError:
        return NirError("export_to_nir", node, parameter, found, remedy)

    def of(self, tensor: Any) -> tuple[str, ...] | str | None:
        """Whom a tensor comes from: layers, each as often as it counts; a text says what made it
        otherwise."""
        held = self.sent.get(id(tensor)) if isinstance(tensor, torch.Tensor) else None
        return None if held is None else held[1]

    def mark(self, tensor: Any, who: tuple[str, ...] | str) -> None:
        if isinstance(tensor, torch.Tensor):
            self.sent[id(tensor)] = tensor, who
        elif isinstance(tensor, tuple | list):
            for t in tensor:
                self.mark(t, who)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.inside:
            return out
        who = [w for w in (self.of(t) for t in _tensors((*args, *(kwargs or {}).values()))) if w]
        name = getattr(func, "__name__", str(func))
        if not who or name in ASKS:
            return out
        bad = next((w for w in who if isinstance(w, str)), None)
        if bad is not None:
            self.mark(out, bad)
        elif name in ADDS and len(who) == len(_tensors(args)):
            self.mark(out, tuple(n for w in who for n in w))
        elif name in THROUGH:
            self.mark(out, who[0] if len({*who}) == 1 else f"torch.{name} of several layers")
        else:
            self.mark(out, f"torch.{name}")
        return out

    @contextmanager
    def watched(self) -> Iterator[None]:
        handles = []
        for m, name in self.names.items():
            if _is_layer(m):
                handles.append(m.register_forward_pre_hook(self.before(name)))
                handles.append(m.register_forward_hook(self.after(name)))
        try:
            yield
        finally:
            for h in handles:
                h.remove()

    def before(self, name: str) -> Any:
        def hook(layer: nn.Module, args: Any) -> None:
            self.inside += 1
            if self.inside > 1:
                return
            x = args[0] if args else None
            who = self.of(x)
            if who is None:
                raise self.fail(
                    name, "", "hears what is neither the input nor a layer's", "pass it that"
                )
            if isinstance(who, str):
                raise self.fail(name, "", f"hears what {who} made", "put a layer in its place")
            if self.hears.setdefault(name, who) != who:
                raise self.fail(
                    name,
                    "",
                    f"is called twice and hears {', '.join(self.hears[name])} and {', '.join(who)}",
                    "use two layers",
                )
            self.shapes.setdefault(name, tuple(x.shape))  # type: ignore[union-attr]  # a tensor
            self.layers[name] = layer

        return hook

    def after(self, name: str) -> Any:
        def hook(layer: nn.Module, args: Any, out: Any) -> None:
            self.inside -= 1
            if self.inside:
                return
            first, *rest = out if isinstance(out, tuple | list) else (out,)
            self.mark(rest, f"the state of {name}")
            self.mark(first, (name,))
            self.shapes[f"{name}>"] = tuple(first.shape)

        return hook

    def run(self, more: tuple[Any, ...]) -> tuple[str, ...]:
        """The layers that the module's output comes from."""
        from lavalike.snn.neuron import reset

        x = self.sample.detach().clone()
        self.mark(x, (INPUT,))
        reset(self.module)
        with torch.no_grad(), self.watched(), self:
            out = self.module(x, *more)
        reset(self.module)
        while isinstance(out, tuple | list) and out:
            out = out[0]
        who = self.of(out)
        if who is None or isinstance(who, str):
            raise self.fail(
                "output",
                "",
                f"is {f'what {who} made' if who else 'of no layer'}",
                "return what a layer sends",
            )
        return who


def _tensors(values: Any) -> list[torch.Tensor]:
    out: list[torch.Tensor] = []
    for v in values:
        if isinstance(v, torch.Tensor):
            out.append(v)
        elif isinstance(v, tuple | list):
            out += _tensors(v)
    return out


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, SpikingNeuron) or not any(True for _ in module.children())


# -- nodes -----------------------------------------------------------------------------------------


@dataclass
class _Recurrent:
    """What a recurrent neuron adds: its connection to itself."""

    node: Node
    bias: np.ndarray | None


class _Writer:
    def __init__(
        self, module: nn.Module, tracer: _Tracer, dims: tuple[int, ...], dt: float, strict: bool
    ) -> None:
        self.module, self.tracer, self.dims, self.dt, self.strict = module, tracer, dims, dt, strict
        self.how: dict[str, tuple[str, bool]] = {}
        self.fail = tracer.fail

    def own(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A message's shape without the axes that are no neurons'."""
        drop = {d % len(shape) for d in self.dims}
        return tuple(int(n) for k, n in enumerate(shape) if k not in drop)

    def graph(
        self, sample: torch.Tensor, sent: tuple[str, ...]
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        from netx.nir import Node

        t = self.tracer
        nodes: dict[str, Any] = {}
        edges: list[tuple[str, str]] = []
        first: dict[str, str] = {}
        last: dict[str, tuple[str, ...]] = {INPUT: (INPUT,)}
        heard = next((n for n, who in t.hears.items() if INPUT in who), None)
        shape = self.own(t.shapes[heard] if heard else sample.shape)
        nodes[INPUT] = Node("Input", {"shape": shape})
        for name, layer in t.layers.items():
            if isinstance(layer, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
                last[name] = tuple(x for n in t.hears[name] for x in last[n])
                continue
            made, recurrent = self.node(name, layer, self.own(t.shapes[name]))
            at = f"{name}.lif" if recurrent else name
            nodes[at], first[name], last[name] = made, at, (at,)
            if recurrent:
                nodes[f"{name}.w_rec"] = recurrent.node
                edges += [(at, f"{name}.w_rec"), (f"{name}.w_rec", at)]
            senders = [x for n in t.hears[name] for x in last[n]]
            if recurrent and recurrent.bias is not None:
                self.before(name, senders, nodes, recurrent.bias)
            edges += [(x, at) for x in senders]
        ends = [x for n in sent for x in last[n]]
        nodes["output"] = Node("Output", {"shape": self.own(t.shapes[f"{sent[0]}>"])})
        return nodes, [*edges, *((x, "output") for x in ends)]

    def before(
        self, name: str, senders: list[str], nodes: dict[str, Any], bias: np.ndarray
    ) -> None:
        """The recurrent connection's bias, which acts from the first step on, in the node before:
        NIR's acts from the second on."""
        from netx.nir import Node

        node = nodes[senders[0]] if len(senders) == 1 else None
        if node is None or node.type not in ("Linear", "Affine"):
            raise self.fail(
                name,
                "recurrent.bias",
                "is not 0, and acts in the first step, where nothing comes back in NIR",
                "make the recurrent layer without a bias, or put one Linear before the neuron",
            )
        old = node.params.get("bias", 0)
        nodes[senders[0]] = Node("Affine", {"weight": node.params["weight"], "bias": old + bias})

    def node(
        self, name: str, layer: nn.Module, shape: tuple[int, ...]
    ) -> tuple[Node, _Recurrent | None]:
        from netx.nir import Node

        if isinstance(layer, nn.Linear):
            params = {"weight": _array(layer.weight)}
            if layer.bias is None:
                return Node("Linear", params), None
            return Node("Affine", {**params, "bias": _array(layer.bias)}), None
        if isinstance(layer, nn.Conv2d | nn.Conv1d):
            return self.conv(name, layer, shape), None
        if isinstance(layer, nn.AvgPool2d):
            if (
                layer.ceil_mode
                or layer.divisor_override
                or (not layer.count_include_pad and np.any(layer.padding))
            ):
                raise self.fail(
                    name,
                    "padding",
                    "is divided otherwise than by the kernel's size",
                    "NIR's AvgPool2d has count_include_pad=True and no ceil_mode",
                )
            size = layer.kernel_size
            pool = {"kernel_size": size, "stride": layer.stride or size, "padding": layer.padding}
            return Node("AvgPool2d", pool), None
        if isinstance(layer, nn.Flatten):
            n = len(shape) + len(self.dims)
            start, end = layer.start_dim % n - len(self.dims), layer.end_dim % n - len(self.dims)
            if start < 0:
                raise self.fail(name, "start_dim", "flattens the batch", "start at 1")
            flat = {"start_dim": start, "end_dim": end, "input_type": shape}
            return Node("Flatten", flat), None
        if isinstance(layer, SpikingNeuron):
            return self.neuron(name, layer, shape)
        raise self.fail(
            name,
            "",
            f"is a {type(layer).__name__}, and NIR has no node for it",
            "Linear, Conv1d, Conv2d, AvgPool2d, Flatten, Leaky, Synaptic, Lapicque, RLeaky, RSynaptic",
        )

    def conv(self, name: str, layer: Any, shape: tuple[int, ...]) -> Node:
        from netx.nir import Node

        if layer.padding_mode != "zeros":
            raise self.fail(name, "padding_mode", f"is {layer.padding_mode!r}", "NIR pads zeros")
        outputs = layer.weight.shape[0]
        bias = np.zeros(outputs, np.float32) if layer.bias is None else _array(layer.bias)
        return Node(
            type(layer).__name__,
            {
                "weight": _array(layer.weight),
                "bias": bias,
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
                "groups": layer.groups,
                "input_shape": shape[1:],
            },
        )

    # -- neurons -----------------------------------------------------------------------------------

    def neuron(
        self, name: str, layer: Any, shape: tuple[int, ...]
    ) -> tuple[Node, _Recurrent | None]:
        from netx.nir import Node
        from netx.nir.lift import factor, reset_notes, time_constant

        if not isinstance(layer, Leaky | Synaptic | Lapicque | RLeaky | RSynaptic):
            raise self.fail(
                name,
                "",
                f"is a {type(layer).__name__}, and NIR has no neuron that computes it",
                "Leaky, Synaptic, Lapicque, RLeaky, RSynaptic",
            )
        self.plain(name, layer)
        late = bool(getattr(layer, "reset_delay", True))
        kind = "CubaLIF" if isinstance(layer, Synaptic | RSynaptic) else "LIF"
        notes = reset_notes(
            layer.reset_mechanism, late, kind, lambda p, f, r: self.fail(name, p, f, r)
        )
        self.how[name] = notes["reset"], notes["late"]
        with torch.no_grad():
            values = {n: _array(v).astype(np.float64) for n, v in layer.values().items()}
        spread = {n: np.broadcast_to(v, shape).copy() for n, v in values.items() if n != "V"}
        keep = spread["decay" if isinstance(layer, Lapicque) else "beta"]
        gain = spread["gain"] if isinstance(layer, Lapicque) else np.ones(shape)
        if (keep >= 1).any() or (keep <= -1).any():
            raise self.fail(
                name, "beta", f"is {keep.max():g}", "a leak, beta below 1; without one there is IF"
            )
        zeros = np.zeros(shape)
        fires = {"v_leak": zeros, "v_threshold": spread["vth"], "v_reset": zeros}
        r = factor(1 - keep, gain)
        if kind == "LIF":
            made = Node("LIF", {"tau": time_constant(keep, self.dt), "r": r, **fires})
        else:
            alpha = spread["alpha"]
            if (alpha >= 1).any():
                raise self.fail(name, "alpha", f"is {alpha.max():g}", "a leak, alpha below 1")
            made = Node(
                "CubaLIF",
                {
                    "tau_syn": time_constant(alpha, self.dt),
                    "tau_mem": time_constant(keep, self.dt),
                    "r": r,
                    "w_in": factor(1 - alpha, np.ones(shape)),
                    **fires,
                },
            )
        return made, self.recurrent(name, layer, shape)

    def plain(self, name: str, layer: Any) -> None:
        """Refuse what no node has a word for."""
        found = {
            "inhibition": layer.inhibition,
            "state_quant": layer.state_quant is not False,
            "graded_spikes_factor": bool((layer.graded_spikes_factor != 1).any()),
        }
        for what in (n for n, there in found.items() if there):
            if self.strict:
                raise self.fail(
                    name, what, "is nothing that NIR can say", "leave it out, or give strict=False"
                )
            from netx.nir import NirWarning

            warnings.warn(
                f"export_to_nir: {name}: {what}: NIR cannot say it; it is left out",
                NirWarning,
                stacklevel=6,
            )

    def recurrent(self, name: str, layer: Any, shape: tuple[int, ...]) -> _Recurrent | None:
        from netx.nir import Node

        if not isinstance(layer, RLeaky | RSynaptic):
            return None
        inner = getattr(layer, "recurrent", None)
        if isinstance(inner, nn.Linear):
            bias = None if inner.bias is None else _array(inner.bias)
            return _Recurrent(
                Node("Linear", {"weight": _array(inner.weight)}),
                bias if bias is not None and np.any(bias) else None,
            )
        if isinstance(inner, nn.Conv2d):
            raise self.fail(
                name, "recurrent", "is a convolution", "all_to_all=False, or linear_features="
            )
        if len(shape) != 1:
            raise self.fail(
                name,
                "V",
                f"of neurons of shape {shape}",
                "recurrence in NIR is of vectors: flatten",
            )
        v = np.broadcast_to(_array(layer.V), shape)
        return _Recurrent(Node("Linear", {"weight": np.diag(v)}), None)

    def notes(self) -> dict[str, Any]:
        """How spikes reset, for the whole graph."""
        from netx.nir import NirWarning

        kinds = {*self.how.values()}
        if len(kinds) > 1:
            names = [next(n for n, k in self.how.items() if k == kind) for kind in kinds]
            raise self.fail(
                max(names),
                "reset_mechanism",
                f"or reset_delay differs from that of {min(names)}",
                "NIR cannot say how neurons reset, and there is one note for all: use one kind",
            )
        if not kinds or kinds == {("value", False)}:
            return {}
        ((reset, late),) = kinds
        what = " and ".join(
            w
            for w, there in (
                ("a reset by subtraction", reset == "subtract"),
                ("a reset one step after the spike", late),
            )
            if there
        )
        warnings.warn(
            f"export_to_nir: NIR cannot say {what}; metadata say it, which import_from_nir and "
            "netx.nir.from_nir read and others do not; reset_mechanism='zero' with reset_delay=False "
            "is what NIR means",
            NirWarning,
            stacklevel=5,
        )
        return {"reset": reset, **({"late": True} if late else {})}


def _array(value: torch.Tensor) -> np.ndarray:
    return np.array(value.detach().cpu().numpy())
