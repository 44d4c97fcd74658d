"""What becomes of each node of a NIR graph in steps of dt, and which programs read it as it is
meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import TEXT, arguments, optional
from netx.nir.convention import CONVENTION, STEP, Convention, named, settled
from netx.nir.graph import KINDS, NEURONS, Graph, Node, Shape, vector
from netx.nir.lower import CURRENT, FIRING, canonical, delays, held, numbers, ordered

PEERS = ("Norse", "snnTorch", "sinabs", "SpikingJelly")
COLUMNS = (
    *("node", "type", "process", "keep_u", "gain_u", "keep", "gain", "drive", "vth"),
    *("v_reset", "error", "read as meant by"),
)


@dataclass(frozen=True)
class Row:
    """A node.

    Attributes:
        node, type: its name and NIR's type.
        process: what computes it: "LIF" of :mod:`lavalike.proc`, "nir.LIF" and so on, "-" where
            nothing does.
        values: the numbers of a neuron as :mod:`lavalike.dynamics.nir` names them, each one number
            or one a neuron; ``delay`` in steps; ``factor`` of a Scale, ``vth`` of a Threshold.
        error: the largest difference between what a step leaves of a state and what time would,
            exp(-dt / tau); 0 where there is no time constant.
        peers: the programs whose readers compute the node as NIR means it, where they take its
            dt (docs/nir.md).
        note: what else happens to it, or "".
    """

    node: str
    type: str
    process: str
    values: Mapping[str, float | np.ndarray] = field(default_factory=dict)
    error: float = 0.0
    peers: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Explanation:
    """A graph, node by node; ``print`` shows it as a table.

    Attributes: ``rows``, a :class:`Row` for each node in the order of a step; ``notes`` on the
    whole; ``source``, ``dt`` and ``convention``.

    Example::

        print(explain("network.nir", dt=1e-4))
    """

    source: str
    dt: float
    convention: Convention
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from lavalike.text import table

        used = [c for c in COLUMNS[3:10] if any(c in row.values for row in self.rows)]
        head = [*COLUMNS[:3], *used, *COLUMNS[10:]]
        lines = [
            [
                row.node,
                row.type,
                row.process,
                *(_span(row.values[c]) if c in row.values else "" for c in used),
                f"{row.error:.1e}" if row.error else "",
                ", ".join(row.peers) or "none",
            ]
            for row in self.rows
        ]
        said = [f"{row.node}: {row.note}" for row in self.rows if row.note]
        first = f"{Path(self.source).name}: dt {self.dt:g} s, convention {named(self.convention)}"
        return "\n".join((first, table(head, lines), *said, *self.notes))


def _span(value: float | np.ndarray) -> str:
    low, high = np.min(value), np.max(value)
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"


@arguments(dt=optional(STEP), convention=CONVENTION, source=optional(TEXT))
def explain(
    path_or_graph: Any,
    dt: float | None = None,
    convention: str | Convention = "nir",
    source: str | None = None,
) -> Explanation:
    """How :func:`netx.nir.from_nir` computes each node of a file or graph in steps, by how much its
    decays differ from those of continuous time, and which other programs read it as it is meant.
    Nothing is built or run.

    Args and errors: as of :func:`netx.nir.from_nir`.

    Example:
        >>> import numpy as np
        >>> from netx.nir import Graph, Node, explain
        >>> nodes = {"in": Node("Input", {"shape": (2,)}), "out": Node("Output", {"shape": (2,)})}
        >>> nodes["I"] = Node("I", {"r": np.full(2, 1e4)})
        >>> row = explain(Graph(nodes, [("in", "I"), ("I", "out")]), dt=1e-4).rows[1]
        >>> row.process, row.values["gain"], row.peers
        ('nir.LI', 1.0, ())
    """
    graph = Graph.of(path_or_graph, source).flat()
    dt, convention = settled(dt, convention, graph, "explain")
    shapes = graph.shapes()
    order, back = ordered(graph, dt)
    rows = [
        _row(graph, name, graph.nodes[name], shapes[name].input, dt, convention)  # type: ignore[arg-type]  # flat
        for name in order
    ]
    return Explanation(graph.source, dt, convention, tuple(rows), tuple(_notes(graph, back)))


def _row(
    graph: Graph, name: str, node: Node, shape: Shape, dt: float, convention: Convention
) -> Row:
    peers = tuple(p for p in PEERS if _reads(p, node, shape, dt))
    if node.type in NEURONS:
        n = numbers(graph, name, node, shape, dt, convention)
        cuba = node.type in CURRENT
        plain = node.type in FIRING and canonical(n, cuba, convention) is not None
        made = (
            "LIF"
            if plain
            else f"nir.{'Cuba' if cuba else ''}LI{'F' if node.type in FIRING else ''}"
        )
        if convention.late and node.type in FIRING:
            made = "Synaptic" if cuba else "Leaky"
        keeps = {"u": n.values.get("keep_u"), "v": n.values["keep"]}
        error = max(
            float(np.abs(kept - np.exp(-n.rates[s])).max())
            for s, kept in keeps.items()
            if kept is not None
        )
        notes = [f"{p} is not used by this convention" for p in n.ignored]
        values = {k: _one(v) for k, v in n.values.items()}
        return Row(name, node.type, made, values, error, peers, "; ".join(notes))
    if node.type == "Delay":
        steps = delays(graph, name, node, shape, dt)
        return Row(name, node.type, "DelayLine", {"delay": _one(steps)}, 0.0, peers)
    if node.type == "Scale":
        factor = {"factor": _one(vector(node, "scale", shape))}
        return Row(name, node.type, "nir.Scale", factor, 0.0, peers)
    if node.type == "Threshold":
        vth = {"vth": _one(held(vector(node, "threshold", shape)))}
        return Row(name, node.type, "nir.Threshold", vth, 0.0, peers)
    if node.type in ("Affine", "Linear"):
        weight: Any = node.params["weight"]
        return Row(name, node.type, "Dense" if weight.ndim == 2 else "Sparse", {}, 0.0, peers)
    made = "Conv" if KINDS[node.type].axes else "-"
    return Row(name, node.type, made, {}, 0.0, peers)


def _one(value: np.ndarray) -> Any:
    return value.flat[0].item() if (value == value.flat[0]).all() else value


def _notes(graph: Graph, back: set[tuple[str, str]]) -> list[str]:
    """What programs make of edges."""
    out = [f"{a} -> {b} goes back: what is sent arrives one step later" for a, b in sorted(back)]
    counts = Counter(graph.edges)
    out += [
        f"{a} -> {b} is there {k} times and counts as often; {', '.join(PEERS)} count it once"
        for (a, b), k in sorted(counts.items())
        if k > 1
    ]
    if back:
        out.append(
            "loops: SpikingJelly reads all of them as meant, Norse those of one neuron layer, snnTorch those that are "
            "subgraphs, sinabs none"
        )
    return out


# -- other programs --------------------------------------------------------------------------------


def _reads(peer: str, node: Node, shape: Shape, dt: float) -> bool:
    """Whether the reader of ``peer`` computes ``node`` as NIR means it, dt being its own, as was
    found by running them (docs/nir.md)."""
    kind, p = node.type, node.params
    if kind in ("Input", "Output"):
        return True
    if kind == "Affine":
        return True
    if kind == "Linear":
        return peer != "sinabs"
    if kind == "Conv2d":
        return p["groups"] == 1
    if kind == "SumPool2d":
        return not np.any(p["padding"])
    if kind == "AvgPool2d":
        return peer in ("snnTorch", "SpikingJelly")
    if kind == "Flatten":
        return peer in ("sinabs", "SpikingJelly")
    if kind not in FIRING or peer == "sinabs":
        return False
    n = {name: vector(node, name, shape) for name in p}
    if np.any(n["v_reset"] != 0):
        return False
    even = all((v == v.flat[0]).all() for v in n.values())
    if kind == "IF":
        unit = bool(np.allclose(dt * n["r"], 1))
        return unit and (peer == "Norse" or (peer == "SpikingJelly" and even))
    if kind == "LIF":
        if peer == "Norse":
            return bool((n["r"] == 1).all())
        return even and not np.any(n["v_leak"])
    unit = bool(
        np.allclose(dt / n["tau_syn"] * n["w_in"], 1) and np.allclose(dt / n["tau_mem"] * n["r"], 1)
    )
    return not np.any(n["v_leak"]) and (peer == "Norse" or (unit and even))
