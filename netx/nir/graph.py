"""A NIR graph as plain data: nodes, edges, and the shapes that follow from them.

Node types and the names of their parameters are NIR's (version 1.0); shapes are NIR's too, without
a batch: (N,) or (C, H, W). Shapes are inferred here, axis by axis, as NIR's own inference takes the
kernel's height for both axes and a grouped convolution's channels for its inputs.
"""

from __future__ import annotations

import math
import operator
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lavalike.arguments import did_you_mean, shown
from lavalike.errors import NirError
from netx.reader import NetFileWarning

MAX_DEPTH = 32  # graphs within graphs
MAX_EDGES = 1 << 20  # of a flat graph
MAX_ELEMENTS = 1 << 31  # of a message

Shape = tuple[int, ...]


class NirWarning(NetFileWarning):
    """A graph says something that NIR does not allow and that has one meaning all the same, or
    something that the way it is read has no use for.

    Causes: an edge that names a node by a name that only one can have, an Input or Output with a
    batch; ``v_reset`` under a convention whose resets take the threshold off.
    Remedy: the message says how it is read; if that is not meant, mend the file or give another
    ``convention``.
    """


@dataclass(frozen=True)
class Kind:
    """What a node type is made of: parameters by name, and how each is written.

    Args:
        elementwise: arrays of the neurons' shape.
        arrays: other arrays.
        pairs: one whole number an axis.
        whole: whole numbers.
        shapes: shapes, which may be missing.
        axes: of the space that it works in.
        defaults: of parameters that older files lack.
    """

    elementwise: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    axes: int = 0
    defaults: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return self.elementwise + self.arrays + self.pairs + self.whole + self.shapes


_RESET = {"v_reset": 0.0}
_CONV = ("stride", "padding", "dilation")
_POOL = Kind(pairs=("kernel_size", "stride", "padding"), axes=2)
KINDS: dict[str, Kind] = {
    "Input": Kind(shapes=("shape",)),
    "Output": Kind(shapes=("shape",)),
    "Affine": Kind(arrays=("weight", "bias")),
    "Linear": Kind(arrays=("weight",)),
    "Scale": Kind(elementwise=("scale",)),
    "Conv1d": Kind(
        arrays=("weight", "bias"), pairs=_CONV, whole=("groups",), shapes=("input_shape",), axes=1
    ),
    "Conv2d": Kind(
        arrays=("weight", "bias"), pairs=_CONV, whole=("groups",), shapes=("input_shape",), axes=2
    ),
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": Kind(
        whole=("start_dim", "end_dim"),
        shapes=("input_type",),
        defaults={"start_dim": 1, "end_dim": -1},
    ),
    "Delay": Kind(elementwise=("delay",)),
    "Threshold": Kind(elementwise=("threshold",)),
    "I": Kind(elementwise=("r",)),
    "LI": Kind(elementwise=("tau", "r", "v_leak")),
    "IF": Kind(elementwise=("r", "v_threshold", "v_reset"), defaults=_RESET),
    "LIF": Kind(elementwise=("tau", "r", "v_leak", "v_threshold", "v_reset"), defaults=_RESET),
    "CubaLI": Kind(
        elementwise=("tau_syn", "tau_mem", "r", "v_leak", "w_in"), defaults={"w_in": 1.0}
    ),
    "CubaLIF": Kind(
        elementwise=("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
        defaults={**_RESET, "w_in": 1.0},
    ),
}
NEURONS = ("I", "LI", "IF", "LIF", "CubaLI", "CubaLIF")
# what may be infinite: a neuron that never spikes, one that never leaks
UNBOUNDED = {"v_threshold", "threshold", "tau", "tau_mem", "tau_syn"}


class Shapes(NamedTuple):
    """The shapes of a node's input and output, without a batch."""

    input: Shape
    output: Shape


@dataclass(frozen=True)
class Node:
    """One node of a graph.

    Args:
        type: NIR's name of it: "LIF", "Conv2d", ..., see ``KINDS``.
        params: its parameters by NIR's names. Those of neurons, Scale, Delay and Threshold, weights
            and biases are arrays in the dtype they came in; ``stride``, ``padding``, ``dilation``
            and ``kernel_size`` tuples of one number an axis (``padding`` also "same"; "valid" is
            zeros); ``groups``, ``start_dim`` and ``end_dim`` ints; ``shape`` (of Input and Output),
            ``input_shape`` and ``input_type`` (of Flatten) tuples, absent where not known.
        metadata: what the graph's author noted beside it; nothing computes with it.

    Example:
        >>> from netx.nir import Node
        >>> Node("Threshold", {"threshold": np.ones(3)}).type
        'Threshold'
    """

    type: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return (
            self.type == other.type
            and _same(dict(self.params), dict(other.params))
            and _same(dict(self.metadata), dict(other.metadata))
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none


@dataclass(frozen=True)
class Graph:
    """A NIR graph: plain data that nothing changes.

    Args:
        nodes: by name; a graph among them is a subgraph.
        edges: (sender, receiver), in their order. An edge that is there twice counts twice, as what
            arrives is added up. The ends of an edge at a subgraph are its only Input and Output, or
            those that ``"subgraph.input"`` names.
        metadata: what the author noted; ours is in ``metadata["lavalike"]``.
        source: the file it came from, for messages.

    Example:
        >>> import numpy as np
        >>> from netx.nir import Graph, Node
        >>> graph = Graph(
        ...     {
        ...         "in": Node("Input", {"shape": (2,)}),
        ...         "w": Node("Linear", {"weight": np.ones((3, 2))}),
        ...         "out": Node("Output", {"shape": (3,)}),
        ...     },
        ...     [("in", "w"), ("w", "out")],
        ... )
        >>> graph.shapes()["w"]
        Shapes(input=(2,), output=(3,))
    """

    nodes: dict[str, Node | Graph]
    edges: list[tuple[str, str]]
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str = field(default="graph", compare=False)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    @staticmethod
    def of(graph: Any, source: str | None = None) -> Graph:
        """A graph of a file (by its path), of a dictionary as ``nir``'s ``to_dict`` makes it, or of
        any object that has ``nodes`` and ``edges``, as a ``nir.NIRGraph``; the argument stays as it
        is, its arrays are copied.

        Raises:
            NirError: a node of an unknown type, a parameter that is missing, unknown or of a wrong
                shape or kind, an edge to a node that is not there; a damaged file.
        """
        if isinstance(graph, str | os.PathLike):
            from netx.nir.file import read

            return read(graph)
        own = graph.source if isinstance(graph, Graph) else "graph"
        return _Builder(source or own).graph(graph, "", 0)

    def flat(self) -> Graph:
        """This graph without subgraphs: their nodes are named ``subgraph/node``, their Inputs and
        Outputs are bridged. Where bridging would take an edge out of a loop, as where two meet and
        part at an inner Input, a Scale of ones stands in its place.

        Raises:
            NirError: an edge whose end names no node, or no one port of a subgraph.
        """
        if not any(isinstance(node, Graph) for node in self.nodes.values()):
            _ends(self, "")
            return self
        return _flatten(self)

    def shapes(self) -> dict[str, Shapes]:
        """The shapes of each node's input and output, by the names of :meth:`flat`.

        Raises:
            NirError: shapes that do not fit each other, or that nothing tells.
        """
        return inferred(self.flat(), warn=True)

    def error(self, node: str, parameter: str, found: str, remedy: str) -> NirError:
        """What is wrong with a node of this graph, to be raised."""
        return NirError(self.source, node, parameter, found, remedy)


def inferred(flat: Graph, warn: bool = False) -> dict[str, Shapes]:
    """:meth:`Graph.shapes` of a flat graph; ``warn`` of an Output that says another shape."""
    return _Inference(flat, warn).run()


def vector(node: Node, name: str, shape: Shape) -> np.ndarray:
    """A node's parameter in float64, one number a neuron."""
    return np.broadcast_to(np.asarray(node.params[name], np.float64), shape)


def pair(value: Any, axes: int = 2) -> Shape:
    """One whole number an axis, of one number or of several."""
    return tuple(int(v) for v in np.broadcast_to(np.asarray(value), (axes,)))


def _same(a: Any, b: Any) -> bool:
    """Whether two values hold the same: type for type, arrays bit for bit but for NaN."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b))
    return bool(a == b)


# -- from other forms ------------------------------------------------------------------------------


class _Builder:
    """Nodes and graphs of dictionaries and objects, each value looked at."""

    def __init__(self, source: str) -> None:
        self.source = source

    def fail(self, node: str, parameter: str, found: str, remedy: str) -> NirError:
        return NirError(self.source, node, parameter, found, remedy)

    def graph(self, given: Any, path: str, depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise self.fail(
                path, "", f"graphs are nested deeper than {MAX_DEPTH}", "flatten the graph"
            )
        if isinstance(given, Mapping):
            if "node" in given and "nodes" not in given:  # as a file lies on disk
                given = given["node"]
            kind = given.get("type", "NIRGraph")
            nodes, edges, notes = given.get("nodes"), given.get("edges"), given.get("metadata")
            if kind != "NIRGraph":
                raise self.fail(
                    path, "type", f"is {shown(kind)}", "the outermost node is a NIRGraph"
                )
        else:
            nodes, edges = getattr(given, "nodes", None), getattr(given, "edges", None)
            notes = getattr(given, "metadata", None)
        if not isinstance(nodes, Mapping) or edges is None:
            raise self.fail(
                path,
                "",
                f"{shown(given)} has no nodes and edges",
                "give a path, a dictionary with 'nodes' and 'edges', or an object that has both, "
                "as a nir.NIRGraph",
            )
        made: dict[str, Node | Graph] = {}
        for name, node in nodes.items():
            flat = isinstance(given, Graph)  # whose names may be those of subgraphs
            if (
                not isinstance(name, str)
                or not name
                or ("/" in name and not flat)
                or name in (".", "..")
            ):
                raise self.fail(
                    f"{path}{name}",
                    "",
                    f"a node is named {shown(name)}",
                    "rename it: a name is a text without '/', which separates the names of subgraphs",
                )
            made[name] = self.node(node, f"{path}{name}", depth)
        notes = dict(notes) if isinstance(notes, Mapping) else {}
        return Graph(made, self.edges(edges, made, path), notes, self.source)

    def edges(
        self, given: Any, nodes: Mapping[str, Node | Graph], path: str
    ) -> list[tuple[str, str]]:
        where = path.rstrip("/")
        try:
            pairs = [(_text(a), _text(b)) for a, b in given]
        except (TypeError, ValueError, UnicodeDecodeError):
            raise self.fail(
                where, "edges", "are no pairs of names", "an edge is (sender, receiver)"
            ) from None
        return self.repaired(pairs, nodes, where)

    def repaired(
        self, edges: list[tuple[str, str]], nodes: Mapping[str, Node | Graph], where: str
    ) -> list[tuple[str, str]]:
        """The edges, each of whose ends is there. Where one name is not, and one node has no edge,
        as in the subgraphs of NIR's paper, they are the same node."""
        at = [(a, *_port(a, nodes)) for e in edges for a in e]
        lost = sorted({a for a, node, _ in at if node is None})
        if not lost:
            return edges
        alone = [n for n in nodes if n not in {node for _, node, _ in at}]
        if len(lost) > 1 or len(alone) != 1:
            raise self.fail(
                where,
                "edges",
                f"name {shown(lost[0])}, and no node is called that",
                f"the nodes are {shown(sorted(nodes))}{did_you_mean(lost[0], nodes)}",
            )
        warnings.warn(
            f"{self.source}: {f'{where}: ' if where else ''}edges name {lost[0]!r}, which is not there; "
            f"{alone[0]!r} has no edge and is taken for it",
            NirWarning,
            stacklevel=6,
        )
        new = {lost[0]: alone[0]}
        return [(new.get(a, a), new.get(b, b)) for a, b in edges]

    def node(self, given: Any, path: str, depth: int) -> Node | Graph:
        if isinstance(given, Node):
            given = {"type": given.type, "metadata": given.metadata, **given.params}
        if isinstance(given, Mapping):
            kind, values = given.get("type"), dict(given)
        else:
            kind = type(given).__name__
            values = dict(vars(given)) if hasattr(given, "__dict__") else {}
        kind = _text(kind) if isinstance(kind, bytes) else kind
        if kind == "NIRGraph" or (hasattr(given, "nodes") and hasattr(given, "edges")):
            return self.graph(given, f"{path}/", depth + 1)
        if kind not in KINDS:
            raise self.fail(
                path,
                "type",
                f"is {shown(kind)}, which is no node of NIR that is known here",
                f"known are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}",
            )
        values.pop("type", None)
        notes = values.pop("metadata", None)
        if not isinstance(given, Mapping):
            # an object keeps the shapes that follow from its parameters, under these names
            types = {key: values.pop(key, None) for key in ("input_type", "output_type")}
            side = {"Input": "input", "Output": "output", "Flatten": "input"}.get(kind)
            if side is not None:
                shape = types[f"{side}_type"]
                shape = shape.get(side) if isinstance(shape, Mapping) else shape
                values["input_type" if kind == "Flatten" else "shape"] = shape
        return make(kind, values, notes, lambda p, f, r: self.fail(path, p, f, r))


def make(kind: str, values: Mapping[str, Any], notes: Any, fail: Any) -> Node:
    """A node of plain values: arrays copied and fixed, whole numbers as ints and tuples.

    ``fail`` makes the error of (parameter, found, remedy).
    """
    rule = KINDS[kind]
    unknown = sorted(set(values) - set(rule.names))
    if unknown:
        raise fail(
            unknown[0],
            f"is no parameter of {kind}",
            f"it has {', '.join(rule.names)}{did_you_mean(unknown[0], rule.names)}",
        )
    params: dict[str, Any] = {}
    for name in rule.names:
        value = values.get(name)
        if value is None:
            if name in rule.defaults or name in rule.shapes:
                continue
            raise fail(name, "is missing", f"a {kind} has {', '.join(rule.names)}")
        if name in rule.elementwise or name in rule.arrays:
            params[name] = _array(name, value, fail)
        elif name == "padding" and isinstance(value, str | bytes):
            text = _text(value)
            if rule.axes and text in ("same", "valid") and "dilation" in rule.pairs:
                params[name] = "same" if text == "same" else (0,) * rule.axes
            else:
                raise fail(name, f"is {shown(text)}", "whole numbers, or 'same' or 'valid'")
        elif name in rule.pairs:
            got = _whole(name, value, fail)
            if len(got) not in (1, rule.axes):
                raise fail(name, f"is {shown(got)}", f"one whole number an axis, so {rule.axes}")
            least = 0 if name == "padding" else 1
            if min(got) < least:
                raise fail(name, f"is {shown(got)}", f"whole numbers of at least {least}")
            params[name] = got * rule.axes if len(got) == 1 else got
        elif name in rule.whole:
            got = _whole(name, value, fail)
            if len(got) != 1 or (name == "groups" and got[0] < 1):
                raise fail(name, f"is {shown(got)}", "one whole number")
            params[name] = got[0]
        else:
            got = _whole(name, value, fail)
            if min(got, default=1) < 1 or math.prod(got) > MAX_ELEMENTS:
                raise fail(name, f"is {shown(got)}", "a shape of positive whole numbers")
            if got or name == "shape":
                params[name] = got
    _fill(rule, params, fail)
    _look(kind, params, fail)
    held = dict(notes) if isinstance(notes, Mapping) else {}
    return Node(kind, params, held)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, got {type(value).__name__}")
    return str(value)


def _array(name: str, value: Any, fail: Any) -> np.ndarray:
    """A copy that nobody can change; what is one already stays."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    fixed = isinstance(value, np.ndarray) and value.base is None and not value.flags.writeable
    try:
        array = value if fixed else np.array(value)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise fail(name, f"is {shown(value)}", "numbers are expected")
    finite = np.isfinite(array)
    if not finite.all():
        bad = array[~finite].flat[0]
        if np.isnan(bad) or name not in UNBOUNDED:
            raise fail(name, f"holds {bad}", "finite numbers are expected")
    array.flags.writeable = False
    return array


def _whole(name: str, value: Any, fail: Any) -> Shape:
    if isinstance(value, Mapping) and len(value) == 1:  # {"input": shape}, as objects hold it
        (value,) = value.values()
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
        numbers = array.reshape(-1).tolist()
        if array.ndim < 2 and len(numbers) <= 32 and array.dtype.kind in "iuf":
            whole = tuple(int(v) for v in numbers)
            if list(whole) == numbers:
                return tuple(operator.index(v) for v in whole)
    except (TypeError, ValueError, OverflowError):
        pass
    raise fail(name, f"is {shown(value)}", "whole numbers are expected")


def _fill(rule: Kind, params: dict[str, Any], fail: Any) -> None:
    """Parameters that are missing, and scalars among vectors, in the neurons' shape."""
    shapes = {np.shape(params[n]) for n in rule.elementwise if n in params} - {()}
    if len(shapes) > 1:
        names = ", ".join(f"{n} {np.shape(params[n])}" for n in rule.elementwise if n in params)
        raise fail("", f"parameters differ in shape: {names}", "give all of them one shape")
    shape = shapes.pop() if shapes else ()
    for name in rule.elementwise:
        if name in params and np.shape(params[name]) == shape:
            continue
        like = params.get(name, rule.defaults.get(name))
        first = next(np.asarray(params[n]).dtype for n in rule.elementwise if n in params)
        dtype = np.asarray(like).dtype if name in params else first
        full = np.full(shape, like, dtype if dtype.kind == "f" else np.float64)
        full.flags.writeable = False
        params[name] = full
    for name, default in rule.defaults.items():
        if name not in rule.elementwise:
            params.setdefault(name, default)


def _look(kind: str, params: Mapping[str, Any], fail: Any) -> None:
    """What the parameters of one node must have to do with each other."""
    weight = params.get("weight")
    if not isinstance(weight, np.ndarray):
        return
    bias = params.get("bias")
    if kind in ("Affine", "Linear"):
        if weight.ndim < 2:
            raise fail("weight", f"has shape {weight.shape}", "(..., outputs, inputs) is expected")
        if isinstance(bias, np.ndarray) and bias.shape not in ((), weight.shape[:-1]):
            raise fail(
                "bias", f"has shape {bias.shape}", f"{weight.shape[:-1]}, one an output, fits"
            )
        return
    axes, groups = KINDS[kind].axes, int(params["groups"])
    if weight.ndim != 2 + axes:
        raise fail(
            "weight",
            f"has shape {weight.shape}",
            f"(outputs, inputs / groups{', H, W' if axes == 2 else ', N'}) is expected",
        )
    if weight.shape[0] % groups:
        raise fail("groups", f"is {groups}", f"a divisor of the {weight.shape[0]} outputs")
    if isinstance(bias, np.ndarray) and bias.shape not in ((), (weight.shape[0],)):
        raise fail("bias", f"has shape {bias.shape}", f"{(weight.shape[0],)}, one an output, fits")
    shape = params.get("input_shape")
    if shape is not None and len(shape) != axes:
        raise fail("input_shape", f"is {shape}", f"{axes} numbers are expected, without channels")
    if params["padding"] == "same" and params["stride"] != (1,) * axes:
        raise fail(
            "stride", f"is {params['stride']} with padding='same'", "only 1 is defined there"
        )


# -- subgraphs -------------------------------------------------------------------------------------


def _port(end: str, nodes: Mapping[str, Node | Graph]) -> tuple[str | None, str | None]:
    """The node at the end of an edge, and the port of it where the end names one."""
    if end in nodes:
        return end, None
    for at in range(len(end)):
        node = nodes.get(end[:at]) if end[at] == "." else None
        if isinstance(node, Graph) and end[at + 1 :] in node.nodes:
            return end[:at], end[at + 1 :]
    return None, None


def _ends(graph: Graph, path: str) -> None:
    for edge in graph.edges:
        for end in edge:
            if _port(end, graph.nodes)[0] is None:
                raise graph.error(
                    path.rstrip("/"),
                    "edges",
                    f"name {shown(end)}, and no node is called that",
                    f"the nodes are {shown(sorted(graph.nodes))}{did_you_mean(end, graph.nodes)}",
                )


def _spread(
    graph: Graph, path: str, nodes: dict[str, Node], edges: list[tuple[str, str]], depth: int
) -> None:
    """All nodes and edges below, inner Inputs and Outputs among them."""
    if depth > MAX_DEPTH:
        raise graph.error(
            path, "", f"graphs are nested deeper than {MAX_DEPTH}", "flatten the graph"
        )
    _ends(graph, path)
    for name, node in graph.nodes.items():
        if isinstance(node, Graph):
            _spread(node, f"{path}{name}/", nodes, edges, depth + 1)
        else:
            nodes[path + name] = node
    for a, b in graph.edges:
        edges.append((_end(graph, path, a, "Output"), _end(graph, path, b, "Input")))


def _end(graph: Graph, path: str, end: str, kind: str) -> str:
    """The node that an edge's end is, within subgraphs."""
    name, port = _port(end, graph.nodes)
    node = graph.nodes[str(name)]
    if not isinstance(node, Graph):
        return f"{path}{name}"
    ports = [n for n, inner in node.nodes.items() if isinstance(inner, Node) and inner.type == kind]
    if port is None and len(ports) == 1:
        port = ports[0]
    if port not in ports:
        where = "input" if kind == "Input" else "output"
        raise graph.error(
            f"{path}{name}",
            "edges",
            f"{end!r} is a subgraph with {len(ports)} {kind} nodes",
            f"name one of them in the edge: {', '.join(f'{name}.{p}' for p in ports)}"
            if ports
            else f"give it an {kind} node, its {where}",
        )
    return f"{path}{name}/{port}"


def _flatten(graph: Graph) -> Graph:
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    _spread(graph, "", nodes, edges, 0)
    looped = {n for group in components(nodes, edges) for n in group}
    for name in [n for n, node in nodes.items() if node.type in ("Input", "Output") and "/" in n]:
        into = [e for e in edges if e[1] == name]
        out = [e for e in edges if e[0] == name]
        if (name, name) in into:
            raise graph.error(
                name, "edges", "a loop without a neuron or delay", "no value follows from it"
            )
        if name in looped and len(into) > 1 and len(out) > 1:
            nodes[name] = _ones(graph, name, nodes[name])
            continue
        if len(edges) + len(into) * len(out) > MAX_EDGES:
            raise graph.error(name, "edges", f"are more than {MAX_EDGES}", "make fewer of them")
        bridged: list[tuple[str, str]] = []
        for e in edges:  # each in the place of the edge that came in, so that sums keep their order
            if e[1] == name:
                bridged.extend((e[0], b) for _, b in out)
            elif e[0] != name:
                bridged.append(e)
        edges = bridged
        del nodes[name]
    return Graph(dict(nodes), edges, dict(graph.metadata), graph.source)


def _ones(graph: Graph, name: str, node: Node) -> Node:
    shape = node.params.get("shape")
    if shape is None:
        raise graph.error(name, "shape", "is missing", "say the shape of a subgraph's ports")
    ones = np.ones(shape)
    ones.flags.writeable = False
    return Node("Scale", {"scale": ones})


def components(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The loops of a graph: its strongly connected components of more than one node, or of one that
    hears itself, each in the order in which they were found (Tarjan, SIAM J. Comput. 1972)."""
    after: dict[str, list[str]] = {n: [] for n in nodes}
    for a, b in edges:
        after[a].append(b)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    held: set[str] = set()
    found: list[list[str]] = []
    for root in after:
        if root in index:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        held.add(root)
        while work:
            node, rest = work[-1]
            nxt = next(rest, None)
            if nxt is not None:
                if nxt not in index:
                    index[nxt] = low[nxt] = len(index)
                    stack.append(nxt)
                    held.add(nxt)
                    work.append((nxt, iter(after[nxt])))
                elif nxt in held:
                    low[node] = min(low[node], index[nxt])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                at = stack.index(node)
                group = stack[at:]
                del stack[at:]
                held.difference_update(group)
                if len(group) > 1 or node in after[node]:
                    found.append(group)
    return found


# -- shapes ----------------------------------------------------------------------------------------


class _Inference:
    """Shapes of a flat graph: those that parameters say, then along the edges, both ways, until
    nothing is new."""

    def __init__(self, graph: Graph, warn: bool) -> None:
        self.graph, self.warn = graph, warn
        self.nodes: dict[str, Node] = {
            n: node for n, node in graph.nodes.items() if isinstance(node, Node)
        }
        self.into: dict[str, Shape] = {}
        self.out: dict[str, Shape] = {}

    def run(self) -> dict[str, Shapes]:
        after: dict[str, list[str]] = {n: [] for n in self.nodes}
        before: dict[str, list[str]] = {n: [] for n in self.nodes}
        for a, b in dict.fromkeys(self.graph.edges):
            after[a].append(b)
            before[b].append(a)
        for name, node in self.nodes.items():
            self.own(name, node)
        todo = list(self.nodes)
        while todo:
            name = todo.pop()
            node = self.nodes[name]
            if name not in self.into:
                known = next((self.out[a] for a in before[name] if a in self.out), None)
                if known is None:  # no sender tells: a receiver may, of what changes no shape
                    known = next((self.into[b] for b in after[name] if b in self.into), None)
                    known = known if node.type in ("Input", *ELEMENTWISE) else None
                if known is None:
                    continue
                axes = 3 if node.type.endswith("Pool2d") else KINDS[node.type].axes + 1
                if axes > 1 and all(self.nodes[a].type == "Input" for a in before[name]):
                    known = known[-axes:]  # without a batch; check() tells
                self.into[name] = known
            if name not in self.out:
                self.out[name] = self.follow(name, node, self.into[name])
                todo.extend(after[name])
                todo.extend(a for a in before[name] if a not in self.out)
        self.check()
        return {n: Shapes(self.into[n], self.out[n]) for n in self.nodes}

    def own(self, name: str, node: Node) -> None:
        """What a node's own parameters say of its input."""
        p = node.params
        if node.type in ("Affine", "Linear"):
            w = np.shape(p["weight"])
            self.into[name] = (*w[:-2], w[-1])
        elif node.type in ("Conv1d", "Conv2d"):
            if "input_shape" in p:
                self.into[name] = (_channels(p), *p["input_shape"])
        elif node.type == "Flatten":
            if "input_type" in p:
                self.into[name] = p["input_type"]
        elif node.type == "Input":
            if p.get("shape"):
                self.into[name] = p["shape"]
        elif KINDS[node.type].elementwise:
            shape = np.shape(p[KINDS[node.type].elementwise[0]])
            if shape:
                self.into[name] = shape

    def follow(self, name: str, node: Node, shape: Shape) -> Shape:
        """The shape of the output, of that of the input."""
        p = node.params
        if node.type in ("Affine", "Linear"):
            return np.shape(p["weight"])[:-1]
        if node.type in ("Conv1d", "Conv2d"):
            axes, weight = KINDS[node.type].axes, np.shape(p["weight"])
            if len(shape) != axes + 1 or shape[0] != _channels(p):
                raise self.graph.error(
                    name,
                    "weight",
                    f"of shape {weight} in {p['groups']} groups hears a message of shape {shape}",
                    f"({_channels(p)}, {'H, W' if axes == 2 else 'N'}) is expected",
                )
            return (weight[0], *self.window(name, p, weight[2:], shape[1:]))
        if node.type in ("SumPool2d", "AvgPool2d"):
            if len(shape) != 3:
                raise self.graph.error(
                    name, "", f"hears a message of shape {shape}", "(C, H, W) is expected"
                )
            return (shape[0], *self.window(name, p, p["kernel_size"], shape[1:]))
        if node.type == "Flatten":
            n = len(shape)
            first, last = (d + n if d < 0 else d for d in (p["start_dim"], p["end_dim"]))
            if not 0 <= first <= last < n:
                raise self.graph.error(
                    name,
                    "start_dim",
                    f"flattens axes {p['start_dim']} to {p['end_dim']} of shape {shape}",
                    "axes are counted without a batch",
                )
            return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
        return shape

    def window(self, name: str, p: Mapping[str, Any], kernel: Shape, size: Shape) -> Shape:
        """Output sizes of a kernel that moves over axes of ``size``."""
        if p["padding"] == "same":
            return size
        dilation = p.get("dilation", (1,) * len(size))
        out = tuple(
            (n + 2 * q - d * (k - 1) - 1) // s + 1
            for n, q, d, k, s in zip(size, p["padding"], dilation, kernel, p["stride"], strict=True)
        )
        if min(out) < 1:
            raise self.graph.error(
                name,
                "weight" if "dilation" in p else "kernel_size",
                f"a kernel of {kernel} is larger than what it hears, {size} with padding {p['padding']}",
                "use a smaller kernel or more padding",
            )
        return out

    def check(self) -> None:
        for name, node in self.nodes.items():
            if name not in self.out:
                raise self.graph.error(
                    name,
                    "shape",
                    f"nothing tells the shape of this {node.type}",
                    "say the shape of its Input, or give its parameters one number a neuron",
                )
        self.batched()
        said = set()
        for a, b in self.graph.edges:
            sent, heard = self.out[a], self.into[b]
            if sent != heard:
                raise self.graph.error(
                    b,
                    "",
                    f"hears shape {sent} of {a!r} and takes {heard}",
                    "make both shapes equal"
                    + (", with a Flatten between" if math.prod(sent) == math.prod(heard) else ""),
                )
            node = self.nodes[b]
            shape = node.params.get("shape")
            if node.type == "Output" and shape and shape != sent and b not in said:
                said.add(b)
                self.output(b, sent, shape)

    def batched(self) -> None:
        """Inputs that say axes before those that all who hear them take, a batch or steps, as some
        programs write them: without these."""
        heard: dict[str, set[Shape]] = {}
        for a, b in self.graph.edges:
            if self.nodes[a].type == "Input":
                heard.setdefault(a, set()).add(self.into[b])
        for name, shapes in heard.items():
            (shape, *others), said = shapes, self.out[name]
            if not others and shape != said and said[-len(shape) :] == shape:
                self.into[name] = self.out[name] = shape
                self.tell(name, said, f"{shape} is heard")

    def output(self, name: str, sent: Shape, shape: Shape) -> None:
        """An Output that says another shape than arrives: of as many numbers, or with axes before
        those, it is a slip."""
        if math.prod(sent) != math.prod(shape) and shape[-len(sent) :] != sent:
            raise self.graph.error(
                name, "shape", f"is {shape}, and {sent} arrives", "make both shapes equal"
            )
        self.tell(name, shape, f"{sent} arrives")

    def tell(self, name: str, shape: Shape, found: str) -> None:
        if self.warn:
            warnings.warn(
                f"{self.graph.source}: {name}: shape is {shape}, and {found}, which is taken",
                NirWarning,
                stacklevel=7,
            )


ELEMENTWISE = (*NEURONS, "Scale", "Delay", "Threshold", "Output")


def _channels(params: Mapping[str, Any]) -> int:
    return int(params["weight"].shape[1] * params["groups"])
