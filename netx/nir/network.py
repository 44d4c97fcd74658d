"""Network: a NIR graph as a process."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Any

from lavalike.arguments import TEXT, arguments, optional, shown
from lavalike.errors import LavalikeError, NirError
from lavalike.proc import nir
from lavalike.process import AbstractProcess, InPort, OutPort
from netx.nir.convention import CONVENTION, STEP, Convention, named, settled
from netx.nir.graph import Graph
from netx.nir.lower import Lowering

_DOOR: Any = {
    "dt": optional(STEP),
    "convention": CONVENTION,
    "source": optional(TEXT),
}


class Network(AbstractProcess):
    """A NIR graph, ready to be run; made by :func:`from_nir`, which has the arguments.

    Attributes:
        inp, out: ports of the graph's Input and Output, with NIR's axes, (N,) or (C, H, W). Where
            it has several, ports are called as their nodes are, and these are absent.
        layers: the processes by the names of their nodes in the graph, ``"subgraph/node"`` in
            subgraphs, in the order of a step. Nodes that compute nothing (Input, Output, Flatten)
            have none. A convolution or pool counts its axes as (H, W, C).
        sides: what stands beside them: biases, delays of loops, sums.
        inputs, outputs: the ports by the names of Input and Output nodes.
        graph: the flat graph.
        dt, convention: how it is computed in steps.
        lag: column t of ``out`` is the graph's answer in step ``t - lag``: 0.

    Example::

        net = from_nir("network.nir", dt=1e-4)
        rec = lv.simulate(net, {"inp": x}, record=[net.layers["lif"].v])
    """

    lag = 0

    @arguments(**_DOOR, name=optional(TEXT))
    def __init__(
        self,
        graph: Any,
        dt: float | None = None,
        convention: str | Convention = "nir",
        source: str | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.graph = Graph.of(graph, source).flat()
        self.dt, self.convention = settled(dt, convention, self.graph, "from_nir")
        made = Lowering(self.graph, self.dt, self.convention)
        self.inputs: dict[str, InPort] = made.inputs
        self.outputs: dict[str, OutPort] = made.outputs
        self._name("inp", made.inputs, "Input")
        self._name("out", made.outputs, "Output")
        try:
            made.wire()
        except NirError:
            raise
        except (LavalikeError, ValueError, OverflowError, MemoryError) as e:
            found = " ".join(str(e).split()) or f"does not fit into memory ({type(e).__name__})"
            raise self.graph.error("", "", found, "") from e
        self.layers: dict[str, AbstractProcess] = made.layers
        self.sides: list[AbstractProcess] = made.sides
        self._rows = [
            (name, *made.shapes[name], ", ".join(made.heard(name))) for name in made.order
        ]

    def _name(self, single: str, ports: Any, kind: str) -> None:
        """Make ``ports`` attributes."""
        if not ports:
            raise self.graph.error(
                "", "nodes", f"have no {kind}", f"a graph that is run has an {kind} node"
            )
        if len(ports) == 1:
            setattr(self, single, next(iter(ports.values())))
            return
        for name, port in ports.items():
            if not name.isidentifier() or keyword.iskeyword(name) or hasattr(self, name):
                raise self.graph.error(
                    name,
                    "",
                    f"is one of {len(ports)} {kind} nodes, and {shown(name)} cannot be the name of a port",
                    "rename it: a port is called as its node is, by a name of Python's that no process has",
                )
            setattr(self, name, port)

    def __str__(self) -> str:
        from lavalike.text import table

        rows = []
        for name, taken, sent, hears in self._rows:
            node: Any = self.graph.nodes[name]
            process = self.layers.get(name)
            weights = sum(v.size for v in process.vars if v.trainable) if process else 0
            rows.append(
                [
                    name,
                    node.type,
                    "x".join(map(str, taken)),
                    "x".join(map(str, sent)),
                    _kind(process),
                    f"{weights:,}",
                    hears,
                ]
            )
        source = self.graph.source
        head = f"{Path(source).name}: {len(self.graph.nodes)} nodes, NIR, dt {self.dt:g} s, convention {named(self.convention)}"
        return (
            head + "\n" + table(["node", "type", "in", "out", "process", "weights", "hears"], rows)
        )


def _kind(process: AbstractProcess | None) -> str:
    if process is None:
        return "-"
    name = type(process).__name__
    return f"nir.{name}" if type(process).__module__ == nir.__name__ else name


@arguments(**_DOOR)
def from_nir(
    path_or_graph: Any,
    dt: float | None = None,
    convention: str | Convention = "nir",
    source: str | None = None,
) -> Network:
    """A NIR file or graph as a process, run by :func:`lavalike.simulate`, ``run`` and
    :func:`lavalike.to_torch` like any other.

    Args:
        path_or_graph: the path of a file, a :class:`netx.nir.Graph`, a ``nir.NIRGraph`` or any
            object that has ``nodes`` and ``edges`` (it is not changed), or such a dictionary.
        dt: seconds a step, which NIR does not say; 1e-4 is what most programs use. Default: what
            lavalike noted in the file, then the convention's own.
        convention: how the equations are computed in steps: "nir" (default), "norse",
            "norse-exported", "snntorch", "sinabs", "spikingjelly", or a
            :class:`netx.nir.Convention`. What lavalike noted in a file of its own holds for "nir".
        source: what messages call the graph. Default: the file's path, or "graph".

    Edges that close a loop carry what was sent in the last step, all others that of the same step;
    edges that are there twice count twice.

    A LIF or CubaLIF whose input counts as it is, that is reset to 0 and has Euler's decay is a
    :class:`lavalike.proc.LIF`, which :func:`lavalike.to_fixed` and chips take too; other neurons
    are those of :mod:`lavalike.proc.nir`, in floating_pt.

    Raises:
        NirError: dt is missing; a time constant of at most dt / 2 (Euler's step is unstable); an
            unknown node, shapes that do not fit, a loop in which nothing takes time, a delay that
            is no whole number of steps, several Inputs or Outputs that cannot be named; a damaged
            file. It names file, node, parameter, what was found and what to do.

    Example:
        >>> import numpy as np
        >>> import lavalike as lv
        >>> from netx.nir import Graph, Node, from_nir
        >>> one = np.ones(2)
        >>> lif = {"tau": 2e-3 * one, "r": one, "v_leak": 0 * one, "v_threshold": 0.1 * one}
        >>> graph = Graph(
        ...     {
        ...         "in": Node("Input", {"shape": (2,)}),
        ...         "lif": Node("LIF", lif),
        ...         "out": Node("Output", {"shape": (2,)}),
        ...     },
        ...     [("in", "lif"), ("lif", "out")],
        ... )
        >>> net = from_nir(graph, dt=1e-4)
        >>> config = lv.RunConfig(precision="floating_pt")
        >>> lv.simulate(net, {"inp": np.ones((2, 10))}, config=config)["out"].sum(1)
        array([3., 3.], dtype=float32)
    """
    return Network(path_or_graph, dt, convention, source)
