"""A NIR graph as a process: the numbers of an oracle, of the paper's files, of other programs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import lavalike as lv
from lavalike import proc
from lavalike.cli import main
from lavalike.errors import InputError, NirError
from netx.nir import CONVENTIONS, Convention, Graph, NirWarning, Node, explain, from_nir
from tests import nir_cases
from tests.nir_cases import DT, Rules, data, ones, port, run

CASES = nir_cases.cases()
LINEAR = ("Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d")
SPIKES = [
    name
    for name, (graph, _) in CASES.items()
    if any("v_threshold" in node.params for node in graph.flat().nodes.values())
]
FLOAT64 = {"precision": "floating_pt", "dtype": "float64"}


def sent(net, x, record=None, **config):
    """What ``net`` answers to ``x`` (time, ...), time first; of ``record``, each."""
    config = lv.RunConfig(**{**FLOAT64, **config})
    steps = len(x)
    heard = {"inp": np.moveaxis(x, 0, -1)} if hasattr(net, "inp") else {}
    rec = lv.simulate(net, heard, steps, config, **({"record": record} if record else {}))
    got = [np.moveaxis(rec[t], -1, 0) for t in (record or [net.out])]
    return got if record else got[0]


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_a_graph_computes_what_the_oracle_does(name, backend):
    graph, amplitude = CASES[name]
    x = data(graph, amplitude)
    want, _, _ = run(graph, x)
    got = sent(from_nir(graph, dt=DT), x, backend=backend)
    if name.startswith(LINEAR):  # sums of at most 60 numbers near 1
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", SPIKES)
def test_spikes_in_float32_are_the_oracles_where_the_margin_is_wider(name):
    graph, amplitude = CASES[name]
    x = data(graph, amplitude)
    want, _, nodes = run(graph, x)
    if min(n.margin for n in nodes.values()) > 1e-5:
        np.testing.assert_array_equal(sent(from_nir(graph, dt=DT), x, dtype="float32"), want)


def test_potentials_are_the_oracles():
    for name in ("LIF r=1", "LIF v_reset=-.5", "CubaLIF unit gains", "LIF r=tau/dt", "IF r=1/dt"):
        graph, amplitude = CASES[name]
        x = data(graph, amplitude)
        _, v, _ = run(graph, x, record=["n"])
        net = from_nir(graph, dt=DT)
        (got,) = sent(net, x, [net.layers["n"].v])
        np.testing.assert_array_equal(got, v["n"])
    assert type(net.layers["n"]) is proc.LIF  # whose gain is 1 to the last bit


def test_a_batch_is_its_samples():
    graph, amplitude = CASES["recurrent flat"]
    x = np.stack([data(graph, a) for a in (amplitude, 2 * amplitude)])
    config = lv.RunConfig(**FLOAT64)
    rec = lv.simulate(from_nir(graph, dt=DT), {"inp": np.moveaxis(x, 1, -1)}, config=config)
    for k in range(2):
        np.testing.assert_array_equal(rec["out"][k].T, run(graph, x[k])[0])


# -- files of NIR's paper --------------------------------------------------------------------------

FILES = {
    "braille_noDelay_bias_zero": 5,
    "braille_noDelay_noBias_subtract": 5,
    "braille_noDelay_bias_zero_subgraph": 5,
    "braille_noDelay_noBias_subtract_subgraph": 5,
    "cnn_sinabs": 12,
    "lif_norse": 2,
    "lif_rockpool": 2,
    "two_lif_neurons": 4,
}


@pytest.fixture
def paper(conformance):
    """``paper(name)``: the graph of a file of the paper."""

    def read(name):
        path = conformance(f"nir/{name}.nir")
        if "subgraph" in name or "rockpool" in name:  # a name or a shape is a slip
            with pytest.warns(NirWarning):
                return Graph.of(path).flat()
        return Graph.of(path)

    return read


@pytest.mark.parametrize("name", FILES)
def test_all_files_of_the_paper_load(name, conformance):
    path = conformance(f"nir/{name}.nir")
    if "subgraph" in name:
        with pytest.warns(NirWarning, match="'lif', which is not there"):
            net = from_nir(path, dt=DT)
    elif "rockpool" in name:
        with pytest.warns(NirWarning, match=r"\(1, 1, 1\), and \(1,\) arrives"):
            net = from_nir(path, dt=DT)
    else:
        net = from_nir(str(path), dt=DT)
    assert len(net.layers) == FILES[name]
    assert net.lag == 0
    assert str(path.name) in str(net)


@pytest.mark.parametrize("name", [n for n in FILES if "braille" in n])
def test_the_papers_recurrent_networks_send_the_oracles_spikes(name, paper):
    graph = paper(name)
    x = (np.random.default_rng(0).random((256, 12)) < 0.3) * 1.0
    want, _, _ = run(graph, x)
    assert want.sum() > 50
    np.testing.assert_array_equal(sent(from_nir(graph, dt=DT), x), want)
    if name == "braille_noDelay_bias_zero":
        np.testing.assert_array_equal(sent(from_nir(graph, dt=DT), x, backend="torch"), want)


def test_the_papers_two_neurons_send_the_oracles_spikes(paper):
    graph = paper("two_lif_neurons")
    # as it stands the second never fires
    nodes = dict(graph.nodes)
    nodes["linear2"] = Node("Linear", {"weight": nodes["linear2"].params["weight"] * 5e4})
    graph = replace(graph, nodes=nodes)
    x = np.random.default_rng(0).random((1000, 1)) * 8
    want, _, _ = run(graph, x)
    assert want.sum() > 20
    np.testing.assert_array_equal(sent(from_nir(graph, dt=DT), x), want)


@pytest.mark.parametrize("convention", ["nir", "sinabs"])
def test_the_papers_convolutional_network_sends_the_oracles_spikes(convention, paper):
    graph = paper("cnn_sinabs")
    x = (np.random.default_rng(0).random((15, 2, 34, 34)) < 0.3) * 1.0
    rules = Rules(dt=1.0)
    if convention == "sinabs":
        rules = replace(rules, integrator="exp", reset="subtract", compare=">=", gain="unit")
    want, _, _ = run(graph, x, rules)
    assert want.sum() >= 5
    np.testing.assert_array_equal(sent(from_nir(graph, 1.0, convention), x), want)


def csv(conformance, name):
    """Input, potential and spikes; the columns of Norse's, Lava's and sinabs' potential."""
    return np.loadtxt(conformance(f"nir/lif_{name}.csv"), delimiter=",")


@pytest.mark.parametrize(
    ("name", "late"),
    [
        *(("exact", 0), ("norse", 0), ("snntorch", 0), ("nengo", 0), ("spinnaker2", 0)),
        *(("lava_cpu_float", 1), ("spyx", 1)),
    ],
)
def test_recorded_spikes_of_other_platforms(name, late, conformance, paper):
    x = csv(conformance, "norse")[:, :1]
    want = np.flatnonzero(csv(conformance, name)[:, 2])
    got = np.flatnonzero(sent(from_nir(paper("lif_norse"), dt=DT), x))
    np.testing.assert_array_equal(got + late, want)
    assert len(got) == 4


@pytest.mark.parametrize(
    ("name", "late", "convention"),
    [("norse", 0, "nir"), ("lava_cpu_float", 1, "nir"), ("sinabs", 0, "sinabs")],
)
def test_recorded_potentials_of_other_platforms(name, late, convention, conformance, paper):
    recorded = csv(conformance, name)
    x = recorded[:, :1] if name == "sinabs" else csv(conformance, "norse")[:, :1]
    net = from_nir(paper("lif_norse"), DT, convention)
    (v,) = sent(net, x, [net.layers["1"].v])
    steps = len(v) - late
    np.testing.assert_allclose(v[:steps, 0], recorded[late:, 1], rtol=0, atol=5e-8)


# -- conventions -----------------------------------------------------------------------------------


def chain(kind, shape=4, **values):
    node = Node(kind, {n: np.broadcast_to(np.float64(v), shape) for n, v in values.items()})
    return nir_cases.chain(node, (shape,))


NOISE = np.random.default_rng(3).normal(0.3, 1.0, (200, 4))


def by_hand(step, x=NOISE, **state):
    """Spikes of a neuron as a program computes it: ``step(x, state)`` changes the state."""
    state = {n: np.full(x.shape[1:], v) for n, v in state.items()}
    out = np.array([step(row, state) for row in x])
    assert 10 < out.sum() < out.size
    return out


def test_norse():
    dt, rate, leak, th = 1e-3, 100.0, 0.1, 0.35

    def box(x, s):
        s["v"] = s["v"] + dt * rate * ((leak - s["v"]) + x)
        z = s["v"] > th
        s["v"] = np.where(z, 0, s["v"])
        return z

    graph = chain("LIF", tau=1 / rate, r=1, v_leak=leak, v_threshold=th, v_reset=0)
    want = by_hand(box, v=0.0)
    np.testing.assert_array_equal(sent(from_nir(graph, dt, "norse"), NOISE), want)
    # as older ones export it: a time constant times dt
    scaled = chain("LIF", tau=1e-3 / rate, r=1, v_leak=leak, v_threshold=th, v_reset=0)
    np.testing.assert_array_equal(sent(from_nir(scaled, dt, "norse-exported"), NOISE), want)

    def iaf(x, s):
        s["v"] = s["v"] + x
        z = s["v"] > 1.0
        s["v"] = np.where(z, 0, s["v"])
        return z

    graph = chain("IF", r=1, v_threshold=1, v_reset=0)
    np.testing.assert_array_equal(sent(from_nir(graph, dt, "norse"), NOISE), by_hand(iaf, v=0.0))

    def cell(x, s):  # a jump of the current, which then decays
        i = s["i"] + x
        v = s["v"] + dt * rate * ((leak - s["v"]) + i)
        z = v > th
        s["v"] = np.where(z, 0, v)
        s["i"] = i - dt * 200.0 * i
        return z

    times = {"tau_syn": 1e-3 / 200, "tau_mem": 1e-3 / rate}
    graph = chain("CubaLIF", r=1, w_in=1, v_leak=leak, v_threshold=th, v_reset=0, **times)
    got = sent(from_nir(graph, dt, "norse-exported"), NOISE)
    np.testing.assert_array_equal(got, by_hand(cell, v=0.0, i=0.0))


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("late", [False, True])
def test_snntorch(reset, late):
    beta, alpha, th = 0.9, 0.7, 1.0

    def leaky(x, s):
        if late:
            fired = s["m"] > th
            kept = np.where(fired, 0, s["m"]) if reset == "zero" else s["m"]
            s["m"] = beta * kept + x - (fired * th if reset == "subtract" else 0)
            return s["m"] > th
        s["m"] = beta * s["m"] + x
        z = s["m"] > th
        s["m"] = np.where(z, 0 if reset == "zero" else s["m"] - th, s["m"])
        return z

    dt = 1e-4
    tau, tau_syn = dt / (1 - beta), dt / (1 - alpha)
    convention = replace(CONVENTIONS["snntorch"], reset=reset, late=late)
    graph = chain("LIF", tau=tau, r=tau / dt, v_leak=0, v_threshold=th, v_reset=0)
    got = sent(from_nir(graph, convention=convention), NOISE)
    np.testing.assert_array_equal(got, by_hand(leaky, m=0.0))

    def synaptic(x, s):
        s["i"] = alpha * s["i"] + x
        if late and reset == "zero":
            fired = s["m"] > th
            s["m"] = np.where(fired, 0, beta * s["m"] + s["i"])
            return s["m"] > th
        return leaky(s["i"], s)

    both = {"tau_syn": tau_syn, "tau_mem": tau, "w_in": tau_syn / dt, "r": tau / dt}
    graph = chain("CubaLIF", v_leak=0, v_threshold=th, v_reset=0, **both)
    got = sent(from_nir(graph, convention=convention), NOISE)
    np.testing.assert_array_equal(got, by_hand(synaptic, m=0.0, i=0.0))


def test_snntorch_in_float32_is_read_as_the_unit_gain_it_means():
    beta = np.float32(0.9)
    tau = np.full(4, np.float32(1e-4) / (1 - beta))
    values = {
        "tau": tau,
        "r": tau / np.float32(1e-4),
        "v_leak": 0 * tau,
        "v_threshold": 0 * tau + 1,
    }
    net = from_nir(nir_cases.chain(Node("LIF", values), (4,)), convention="snntorch")
    assert type(net.layers["n"]) is proc.LIF
    assert net.dt == 1e-4


def test_sinabs():
    tau, th = 10.0, 0.3
    decay = np.exp(-1 / tau)

    def lif(x, s, gain):
        s["v"] = decay * s["v"] + gain * x
        z = s["v"] >= th
        s["v"] = s["v"] - z * th
        return z

    graph = chain("LIF", tau=tau, r=1, v_leak=0, v_threshold=th, v_reset=0)
    for gain, kind in ((1.0, "unit"), (1 - decay, "nir")):
        want = by_hand(lambda x, s, gain=gain: lif(x, s, gain), v=0.0)
        got = sent(from_nir(graph, convention=replace(CONVENTIONS["sinabs"], gain=kind)), NOISE)
        np.testing.assert_array_equal(got, want)
    whole = np.random.default_rng(0).integers(-1, 2, (100, 4)) * 1.0

    def iaf(x, s):
        s["v"] = s["v"] + x
        z = s["v"] >= 2
        s["v"] = s["v"] - 2 * z
        return z

    graph = chain("IF", r=1, v_threshold=2, v_reset=0)
    got = sent(from_nir(graph, convention="sinabs"), whole)
    np.testing.assert_array_equal(got, by_hand(iaf, whole, v=0.0))


@pytest.mark.parametrize("decay_input", [True, False])
def test_spikingjelly(decay_input):
    tau, reset, th = 5.0, -0.2, 0.6

    def lif(x, s):
        charge = (x - (s["v"] - reset)) / tau if decay_input else x - (s["v"] - reset) / tau
        s["v"] = s["v"] + charge
        z = s["v"] >= th
        s["v"] = np.where(z, reset, s["v"])
        return z

    values = {"r": 1 if decay_input else tau, "v_leak": reset, "v_reset": reset}
    graph = chain("LIF", tau=tau * DT, v_threshold=th, **values)
    x = NOISE * 2
    got = sent(from_nir(graph, DT, "spikingjelly"), x)
    np.testing.assert_array_equal(got, by_hand(lif, x, v=reset))


@pytest.mark.parametrize(
    ("rules", "convention"),
    [
        (Rules(order="old"), Convention(order="old")),
        (Rules(integrator="exp"), Convention(integrator="exp")),
        (Rules(v_init="leak"), Convention(v_init="leak")),
        (Rules(v_init="reset", compare=">="), Convention(v_init="reset", compare=">=")),
    ],
)
@pytest.mark.parametrize("name", ["CubaLIF v_leak=.3", "CubaLIF v_reset=-.5"])
def test_each_field_of_a_convention_is_the_oracles(name, rules, convention):
    graph, amplitude = CASES[name]
    x = data(graph, amplitude)
    np.testing.assert_array_equal(sent(from_nir(graph, DT, convention), x), run(graph, x, rules)[0])


def test_what_a_convention_has_no_use_for_is_told():
    graph = chain("LIF", tau=2e-3, r=1, v_leak=0, v_threshold=1, v_reset=-0.5)
    with pytest.warns(
        NirWarning, match=r"n: v_reset: this convention has no use for it, and it is -0\.5"
    ):
        from_nir(graph, DT, Convention(reset="subtract"))
    graph = chain("IF", r=3, v_threshold=1, v_reset=0)
    with pytest.warns(NirWarning, match="n: r: .* it is 3; .* as if it were 1"):
        net = from_nir(graph, DT, "norse")
    assert explain(graph, DT, "norse").rows[1].note == "r is not used by this convention"
    assert net.layers["n"].dynamics is proc.LIF.dynamics


def test_what_was_noted_in_a_file_of_ours_is_read():
    graph = chain("LIF", tau=2e-3, r=20, v_leak=0, v_threshold=1, v_reset=0)
    assert from_nir(graph, DT).convention == Convention()
    noted = replace(graph, metadata={"lavalike": {"dt": 1e-4, "reset": "subtract", "late": True}})
    net = from_nir(noted)
    told = Convention(gain="rounded", reset="subtract", late=True)
    assert (net.dt, net.convention) == (1e-4, told)
    steady = replace(graph, metadata={"lavalike": {"dt": 1e-4}})
    assert from_nir(steady, 2e-4).dt == 2e-4
    assert from_nir(noted, convention=Convention()).convention == Convention()
    assert from_nir(noted, convention="spikingjelly").convention == CONVENTIONS["spikingjelly"]
    for name, value in (("dt", "short"), ("dt", -1.0), ("reset", "never")):
        with pytest.raises(NirError, match=f"metadata/lavalike/{name}: is"):
            from_nir(replace(graph, metadata={"lavalike": {"dt": 1e-4, name: value}}))


# -- structure -------------------------------------------------------------------------------------


def net_of(edges, inp=(4,), out=(4,), **nodes):
    both = {"input": port("Input", *inp), **nodes, "output": port("Output", *out)}
    return Graph.of(Graph(both, [tuple(e.split(">")) for e in edges.split()]))


def affine(n_out, n_in, seed=0):
    rng = np.random.default_rng(seed)
    return Node(
        "Affine", {"weight": rng.normal(size=(n_out, n_in)), "bias": rng.normal(size=n_out)}
    )


def same_as_oracle(graph, x=None, **tolerance):
    if x is None:
        heard = any(n.type == "Input" for n in graph.nodes.values())
        x = data(graph, 1.0, 30) if heard else np.empty((30, 0))
    net = from_nir(graph, dt=DT)
    want = run(graph, x)[0]
    if tolerance:
        np.testing.assert_allclose(sent(net, x), want, **tolerance)
    else:
        np.testing.assert_array_equal(sent(net, x), want)
    return net


CLOSE = {"rtol": 1e-14, "atol": 1e-14}


def integrator():
    return Node("LI", {"tau": ones(2.5e-3), "r": ones(1.0), "v_leak": ones(0.1)})


def test_sums_keep_the_order_of_edges():
    whole = Node("Scale", {"scale": ones(0.1, 0.3, 0.7, 1 / 3)})
    bias = Node("Affine", {"weight": np.eye(4) * 0.1, "bias": ones(1e16)})
    graph = net_of("input>s s>l input>a a>l input>l l>output", s=whole, a=bias, l=integrator())
    net = same_as_oracle(graph)
    assert len(net.sides) == 2  # the bias, and a sum of it and the product


def test_edges_count_as_often_as_they_are_there():
    edges = "input>l input>l input>l input>f f>l input>output l>output l>output"
    flatten = Node("Flatten", {"start_dim": 0, "end_dim": 0})
    graph = net_of(edges, l=integrator(), f=flatten)
    net = same_as_oracle(graph)
    assert "input x3" in str(net)


def test_views_stand_for_flattens():
    first = Node("Flatten", {"start_dim": 1, "end_dim": 2})
    second = Node("Flatten", {"start_dim": 0, "end_dim": -1})
    graph = net_of("input>f f>g input>f g>output", (2, 3, 4), (24,), f=first, g=second)
    assert not same_as_oracle(graph).layers


def test_convolutions_of_every_form():
    rng = np.random.default_rng(0)

    def conv2d(kernel, **values):
        values = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | values
        return Node("Conv2d", {"weight": kernel, "bias": rng.normal(size=len(kernel)), **values})

    even = rng.normal(size=(3, 2, 4, 2))
    for node, out in (
        (conv2d(even, padding="same"), (3, 7, 8)),
        (conv2d(even, padding="same", dilation=(3, 2)), (3, 7, 8)),
        (conv2d(even, padding=(2, 1), stride=(2, 3), dilation=(1, 2)), (3, 4, 3)),
        (conv2d(even, padding="valid"), (3, 4, 7)),
        (conv2d(rng.normal(size=(4, 1, 3, 1)), groups=2, padding="same"), (4, 7, 8)),
    ):
        graph = net_of("input>c c>output", (2, 7, 8), out, c=node)
        same_as_oracle(graph, np.random.default_rng(1).normal(size=(4, 2, 7, 8)), **CLOSE)
    for padding, out in (("same", 9), (2, 5)):
        values = {"stride": 1 if padding == "same" else 2, "padding": padding, "dilation": 1}
        kernel = {"weight": rng.normal(size=(3, 2, 4)), "bias": rng.normal(size=3), "groups": 1}
        graph = net_of("input>c c>output", (2, 9), (3, out), c=Node("Conv1d", kernel | values))
        same_as_oracle(graph, np.random.default_rng(1).normal(size=(4, 2, 9)), **CLOSE)


def test_a_matrix_for_each_leading_index():
    weight = np.random.default_rng(0).normal(size=(2, 3, 4))
    graph = net_of("input>w w>output", (2, 4), (2, 3), w=Node("Linear", {"weight": weight}))
    same_as_oracle(graph, **CLOSE)


def test_loops_of_every_form():
    lif, w, u = nir_cases.lif(r=25.0), affine(4, 4), affine(4, 4, 1)
    delay = Node("Delay", {"delay": ones(2 * DT)})
    for edges, nodes in (
        ("input>l l>l l>output", {"l": lif}),
        ("input>l l>w w>l l>d d>l l>output", {"l": lif, "w": w, "d": delay}),
        ("input>a a>b b>a b>w w>a w>b b>output", {"a": lif, "b": lif, "w": w}),
        ("input>d d>w w>u u>d u>output", {"d": delay, "w": w, "u": u}),
        (
            "input>a a>f f>w w>a a>output",
            {"a": lif, "w": w, "f": Node("Flatten", {"start_dim": 0})},
        ),
    ):
        tolerance = {"rtol": 1e-12} if "u" in nodes else {}
        same_as_oracle(net_of(edges, **nodes), **tolerance)


def test_what_no_input_reaches_runs_too():
    graph = net_of("l>w w>output", l=nir_cases.lif(leak=3.0), w=affine(4, 4))
    same_as_oracle(graph, **CLOSE)


def test_subgraphs_within_subgraphs():
    inner = net_of("input>l l>w w>l l>output", l=nir_cases.lif(r=25.0), w=affine(4, 4))
    middle = net_of("input>x x>y y>output", x=inner, y=inner)
    net = same_as_oracle(net_of("input>m m>output", m=middle))
    assert list(net.layers) == ["m/x/l", "m/y/l", "m/y/w", "m/x/w"]


def test_several_inputs_and_outputs_are_ports_by_their_names():
    nodes = {"left": port("Input", 4), "right": port("Input", 4), "sum": port("Output", 4)}
    nodes |= {"l": integrator(), "volts": port("Output", 4)}
    edges = [("left", "sum"), ("right", "sum"), ("right", "l"), ("l", "volts")]
    net = from_nir(Graph(nodes, edges), dt=DT)
    x = np.random.default_rng(0).random((2, 4, 5))
    rec = lv.simulate(net, {"left": x[0], "right": x[1]}, config=lv.RunConfig(**FLOAT64))
    np.testing.assert_array_equal(rec["sum"], x[0] + x[1])
    assert rec["volts"].shape == (4, 5)
    assert not hasattr(net, "inp")
    renamed = {("left-hand" if n == "left" else n): node for n, node in nodes.items()}
    with pytest.raises(NirError, match="'left-hand' cannot be the name of a port"):
        from_nir(Graph(renamed, edges[1:]), dt=DT)


def test_only_spikes_are_taken_as_spikes():
    lif, scale = nir_cases.lif(r=25.0), Node("Scale", {"scale": ones(0.5)})
    edges = "input>a a>w w>b b>f f>v v>output a>s s>z z>output b>x input>x x>output"
    flatten = Node("Flatten", {"start_dim": 0})
    matrices = {n: affine(4, 4) for n in "wvzx"}
    net = from_nir(net_of(edges, a=lif, b=lif, f=flatten, s=scale, **matrices), dt=DT)
    bits = {n: net.layers[n].graded for n in "wvzx"}
    assert bits == {"w": False, "v": False, "z": True, "x": True}


def test_what_is_a_lif_of_the_library_goes_where_it_goes():
    rng = np.random.default_rng(0)
    times = {"tau_syn": 5e-4, "tau_mem": 1e-3, "r": 10.0, "w_in": 5.0}
    rest = {"v_leak": 0.1, "v_threshold": 1.0, "v_reset": 0.0}
    cuba = Node("CubaLIF", {n: np.full(6, v) for n, v in (times | rest).items()})
    w, rec = affine(6, 4), Node("Linear", {"weight": rng.normal(size=(6, 6)) * 0.3})
    graph = net_of("input>w w>l l>r r>l l>output", (4,), (6,), w=w, l=cuba, r=rec)
    assert type(from_nir(graph, dt=DT).layers["l"]) is not proc.LIF  # not to the last bit
    net = from_nir(graph, DT, Convention(gain="rounded"))
    assert type(net.layers["l"]) is proc.LIF
    x = (rng.random((4, 100)) < 0.2) * 1.0
    want = lv.simulate(net, {"inp": x}, config=lv.RunConfig(**FLOAT64))["out"]
    fixed = lv.to_fixed(net, {"inp": x})
    config = lv.RunConfig(precision="fixed_pt")
    got = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=config)["out"]
    assert want.sum() > 100
    assert (got != want).mean() < 0.02  # weights of 8 bits

    module = lv.to_torch(net, dtype="float64")
    import torch

    out = module(torch.from_numpy(x)[None])
    np.testing.assert_array_equal(out[0].detach(), want)
    out.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_argument_stays_as_it_is():
    params = {"tau": [2e-3] * 4, "r": ones(1.0), "v_leak": ones(0.0), "v_threshold": ones(0.1)}
    edges = [("a", "l"), ("l", "o")]

    def node(kind, **values):
        return type(kind, (SimpleNamespace,), {})(**values)

    nodes = {
        "a": node(
            "Input", input_type={"input": np.array([4])}, output_type={"output": np.array([4])}
        ),
        "l": node("LIF", input_type=None, output_type=None, metadata={}, **params),
        "o": node(
            "Output", input_type={"input": np.array([4])}, output_type={"output": np.array([4])}
        ),
    }
    graph = SimpleNamespace(nodes=nodes, edges=edges)
    before = repr(graph)
    net = from_nir(graph, dt=DT)
    lv.simulate(net, {"inp": np.ones((4, 50))}, config=lv.RunConfig(**FLOAT64))
    assert repr(graph) == before
    assert net.graph.nodes["l"].params["r"] is not params["r"]


def test_neither_torch_nor_nir_is_loaded():
    code = (
        "import sys, netx.nir; from netx.nir import from_nir, explain; "
        "print([m for m in ('torch', 'nir', 'numba', 'matplotlib', 'scipy.sparse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- refusals --------------------------------------------------------------------------------------

W = affine(4, 4)
FLAT = Node("Flatten", {"start_dim": 0})


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            chain("LIF", tau=5e-5, r=1, v_leak=0, v_threshold=1),
            "n: tau: is 5e-05 s, and a step of 0.0001 s of Euler's",
        ),
        (
            chain("LIF", tau=-1.0, r=1, v_leak=0, v_threshold=1),
            "n: tau: is -1 s, no time; time constants are above 0",
        ),
        (chain("CubaLI", tau_syn=0, tau_mem=1, r=1, v_leak=0, w_in=1), "n: tau_syn: is 0 s"),
        (chain("Delay", delay=2.5e-4), "n: delay: is 0.00025 s, 2.5 steps of 0.0001 s"),
        (chain("Delay", delay=-1e-4), "n: delay: is -0.0001 s"),
        (
            net_of("input>w w>f f>w f>output", w=W, f=FLAT),
            "the loop w -> f -> w has no neuron and no Delay",
        ),
        (net_of("input>w w>w w>output", w=W), "the loop w -> w has no neuron"),
        (
            net_of("input>w w>d d>w w>output", w=W, d=Node("Delay", {"delay": ones(0.0)})),
            "the loop w -> d -> w has no neuron and no Delay",
        ),
        (net_of("input>w w>input w>output", w=W), "the loop input -> w -> input"),
        (net_of("input>a a>input a>output", a=nir_cases.lif()), "input: edges: an Input hears 'a'"),
        (Graph({"a": port("Input", 4), "f": FLAT}, [("a", "f")]), "nodes: have no Output"),
        (
            Graph({"o": port("Output", 4), "a": nir_cases.lif()}, [("a", "o")]),
            "nodes: have no Input",
        ),
    ],
)
def test_refusals_name_node_parameter_value_and_remedy(graph, says):
    with pytest.raises(NirError) as e:
        from_nir(graph, DT, source="here.nir")
    assert says in str(e.value)
    assert str(e.value).startswith("here.nir: ")
    assert e.value.found
    assert e.value.remedy


def test_a_short_time_constant_is_read_by_the_other_integrator():
    graph = chain("LI", tau=5e-5, r=1, v_leak=0)
    x = data(graph, 1.0)
    got = sent(from_nir(graph, DT, Convention(integrator="exp")), x)
    np.testing.assert_array_equal(got, run(graph, x, Rules(integrator="exp"))[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_threshold_may_be_infinite(dtype):
    values = {"tau": 2e-3, "r": 20, "v_leak": 0, "v_threshold": [1, np.inf, 0.5, -np.inf]}
    x = np.full((40, 4), 0.7)
    for graph in (chain("LIF", **values), chain("Threshold", threshold=values["v_threshold"])):
        want = run(Graph.of(graph), x)[0]
        np.testing.assert_array_equal(sent(from_nir(graph, DT), x, dtype=dtype), want)
        assert want.sum(0)[1] == 0
        assert want.sum(0)[3] == 40


def test_dt_has_no_default():
    graph = CASES["LIF r=1"][0]
    for call in (from_nir, explain):
        with pytest.raises(NirError, match="dt: is missing: a NIR file does not say"):
            call(graph)
    with pytest.raises(InputError, match=r"'norze' is none of .*; did you mean 'norse'"):
        from_nir(graph, DT, "norze")
    with pytest.raises(InputError, match="late is of neurons that compare"):
        Convention(late=True, compare=">=")
    for graph, what in (
        (
            chain("LIF", tau=2e-3, r=1, v_leak=0, v_threshold=1),
            "n: r: gives the input another gain",
        ),
        (chain("LIF", tau=2e-3, r=20, v_leak=0.1, v_threshold=1), "n: v_leak: is not 0"),
    ):
        with pytest.raises(NirError, match=what):
            from_nir(graph, DT, Convention(late=True))


# -- what is told ----------------------------------------------------------------------------------


def test_explain_tells_each_node():
    graph, _ = CASES["recurrent flat"]
    told = explain(graph, DT)
    row = next(r for r in told.rows if r.node == "l.lif")
    assert (row.type, row.process) == ("CubaLIF", "nir.CubaLIF")
    unit = explain(graph, DT, "snntorch").rows[1]
    assert (unit.node, unit.process, unit.values["gain_u"]) == ("l.lif", "LIF", 1)
    assert row.values["keep_u"] == 0.9
    assert row.error == pytest.approx(np.exp(-0.1) - 0.9)
    assert row.peers == ("Norse", "snnTorch", "SpikingJelly")
    assert "l.w_rec -> l.lif goes back" in str(told)
    peers = {
        "LIF r=1": ("Norse", "snnTorch", "SpikingJelly"),
        "LIF r=tau/dt": ("snnTorch", "SpikingJelly"),
        "LIF per-neuron tau,th": (),
        "LIF v_leak=.3": (),
        "LIF v_reset=-.5": (),
        "IF r=1/dt": ("Norse", "SpikingJelly"),
        "CubaLIF r=w_in=1": ("Norse",),
        "CubaLIF v_reset=-.5": (),
        "LI r=1": (),
        "Linear 3x5": ("Norse", "snnTorch", "SpikingJelly"),
        "Conv2d groups=2": (),
        "SumPool2d k3 s2 p1": (),
        "AvgPool2d 2": ("snnTorch", "SpikingJelly"),
        "Flatten": ("sinabs", "SpikingJelly"),
        "Delay 3dt": (),
    }
    for name, want in peers.items():
        assert next(r for r in explain(CASES[name][0], DT).rows if r.node == "n").peers == want, (
            name
        )
    assert "2 times and counts as often" in str(explain(CASES["duplicate edge"][0], DT))
    values = {
        n: explain(CASES[n][0], DT).rows[1].values for n in ("Delay 3dt", "Scale", "Threshold")
    }
    assert values["Delay 3dt"] == {"delay": 3}
    np.testing.assert_array_equal(values["Scale"]["factor"], [1, 2, 3, 4])
    assert values["Threshold"] == {"vth": 0.5}


def test_the_command_line_reads_nir_files(conformance, tmp_path, capsys):
    file = str(conformance("nir/lif_norse.nir"))
    assert main(["info", file, "--dt", "1e-4"]) == 0
    out = capsys.readouterr().out
    assert "lif_norse.nir: 4 nodes, NIR, dt 0.0001 s, convention nir" in out
    assert "Norse, snnTorch, SpikingJelly" in out
    x = csv(conformance, "norse")[:, 0][None]
    np.save(tmp_path / "x.npy", x)
    places = ["--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert main(["run", file, "--dt", "1e-4", "--convention", "norse", *places]) == 0
    np.testing.assert_array_equal(np.flatnonzero(np.load(tmp_path / "y.npy")), [460, 510, 710, 760])
    capsys.readouterr()
    for words, says in (
        (["info", file], "dt: is missing"),
        (["info", file, "--dt", "1e-4", "--convention", "norze"], "did you mean 'norse'"),
        (["info", file, "--dt", "0"], "dt"),
        (["info", file, "--dt", "1e-4", "--exact"], "--exact: "),
        (["run", file, "--dt", "1e-4", "--values", *places], "--values: "),
        (["info", "some.net", "--dt", "1e-4"], "--dt: some.net is a .net file"),
        (["info", str(tmp_path / "none.nir"), "--dt", "1e-4"], "none.nir"),
    ):
        assert main(words) == 2, words
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1, err
