"""NIR: its neurons as processes, and graphs as processes."""

import numpy as np

from netx.nir import Graph, Node, from_nir, write
from tests.doors.proc import NAME, PER_NEURON
from tests.doors.table import ANY, FLAG, FOLDER, PATH, POSITIVE, SHAPE, TEXT, bad, optional, row

SMALL = {"shape": (3,)}
COMMON = {"shape": SHAPE, **NAME}
SPIKING = {"lower": FLAG, "inclusive": FLAG}
ONES = np.ones(2)
GRAPH = Graph(
    {
        "in": Node("Input", {"shape": (2,)}),
        "n": Node("LI", {"tau": ONES, "r": ONES, "v_leak": ONES}),
        "out": Node("Output", {"shape": (2,)}),
    },
    [("in", "n"), ("n", "out")],
)
CONVENTION = bad(3, None, values=("nonsense",))
READING = {
    "dt": optional(POSITIVE),
    "convention": CONVENTION,
    "source": TEXT,
}


def neuron(name, *values, **rules):
    return row(
        f"lavalike.proc.nir.{name}", SMALL, **dict.fromkeys(values, PER_NEURON), **rules, **COMMON
    )


LEAKY = ("v", "keep", "gain", "drive")
CUBA = ("u", "v", "keep_u", "gain_u", "keep", "gain", "r", "v_leak")
CHOICE = bad(3, None, values=("nonsense",))
ROWS = [
    neuron("LI", *LEAKY),
    neuron("LIF", *LEAKY, "vth", "v_reset", **SPIKING),
    neuron("CubaLI", *CUBA),
    neuron("CubaLIF", *CUBA, "vth", "v_reset", **SPIKING),
    neuron("Threshold", "vth"),
    neuron("Scale", "factor", "bias"),
    row(
        "netx.nir.Convention",
        dt=optional(POSITIVE),
        tau=POSITIVE,
        late=FLAG,
        **dict.fromkeys(
            ("integrator", "reset", "compare", "gain", "synapse", "order", "v_init"), CHOICE
        ),
    ),
    # a graph is a path, a dictionary, or what has nodes and edges; errors name node and parameter
    row("netx.nir.from_nir", {"path_or_graph": GRAPH, "dt": 1e-4}, path_or_graph=ANY, **READING),
    row("netx.nir.explain", {"path_or_graph": GRAPH, "dt": 1e-4}, path_or_graph=ANY, **READING),
    row("netx.nir.Network", {"graph": GRAPH, "dt": 1e-4}, graph=ANY, **READING, **NAME),
    row(
        "netx.nir.to_nir",
        lambda: {"process": from_nir(GRAPH, 1e-4)},
        process=bad(3, None, "x"),
        path=optional(PATH),
        dt=POSITIVE,
        strict=FLAG,
    ),
]
ROWS += [
    row("netx.nir.read", lambda: {"path": write(FOLDER / "read.nir", GRAPH)}, path=PATH),
    row("netx.nir.write", {"path": FOLDER / "w.nir", "graph": GRAPH}, path=PATH, graph=ANY),
]
PLAIN = "plain data, looked at by whoever takes it (Graph.of)"
EXEMPT = {
    "netx.nir.Graph": PLAIN,
    "netx.nir.Node": PLAIN,
    "netx.nir.Explanation": "what explain returns",
}
