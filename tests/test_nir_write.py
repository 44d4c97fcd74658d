"""Processes, slayer's and snn's networks as NIR graphs: what reads them computes the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings, strategies as st

import lavalike as lv
import netx
from lavalike import proc, slayer, snn
from lavalike.proc import nir
from lavalike.proc.io.source import Constant
from netx.nir import Graph, NirWarning, from_nir, read, to_nir
from netx.nir.lift import factor, time_constant

CONFIG = lv.RunConfig(precision="floating_pt", dtype="float64")
T = 40


def spikes(shape, seed=0, time=T):
    g = np.random.default_rng(seed)
    return (g.random((*shape, time)) < 0.4) * g.uniform(0.5, 1.5, (*shape, time))


def computed(inp, out, x):
    return np.asarray(lv.simulate(inp.process, {inp: x}, record=[out], config=CONFIG)[out])


def differing(inp, out, graph=None, turn=None, back=None, dt=1e-4):
    """How many outputs of the graph differ from the processes', and how many there are."""
    x = spikes(inp.shape)
    graph = to_nir(inp.process, dt=dt) if graph is None else graph
    net = from_nir(graph)
    y = computed(inp, out, x)
    z = computed(net.inp, net.out, x if turn is None else x.transpose(turn))
    z = z if back is None else z.transpose(back)
    lag = int(graph.metadata["lavalike"].get("lag", 0))
    assert y.any()
    return int((y[..., lag:] != z[..., : T - lag]).sum()), z.size


def kinds(graph):
    return {name: node.type for name, node in graph.nodes.items()}


# -- neurons ---------------------------------------------------------------------------------------

ULP = 2.0**-53  # of what a step takes, which is below 1
DECAY = st.one_of(
    st.sampled_from([0.25, 0.5, 0.04, 1.0]), st.floats(1e-3, 1.0, allow_subnormal=False)
)
VALUE = st.floats(-0.2, 0.2, allow_subnormal=False)


@settings(max_examples=8, deadline=None, phases=[Phase.generate], derandomize=True)
@given(
    du=DECAY,
    dv=DECAY,
    bias=st.one_of(st.just(0.0), VALUE),
    vth=st.floats(0.3, 2.0),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)),
    delays=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    skip=st.booleans(),
    loop=st.sampled_from(["none", "own", "both"]),
    dt=st.sampled_from([1e-4, 1e-3, 0.7e-3]),
)
def test_a_graph_computes_what_the_processes_do(du, dv, bias, vth, sizes, delays, skip, loop, dt):
    n, m, k = sizes
    g = np.random.default_rng(n + 10 * m + 100 * k)
    neuron = {"du": du, "dv": dv, "bias_mant": bias, "vth": vth}
    first = proc.Dense(weights=g.normal(size=(m, n)), num_message_bits=24, delay=delays[0])
    second = proc.Dense(weights=g.normal(size=(k, m)), delay=delays[1])
    a, b = proc.LIF(shape=(m,), **neuron), proc.LIF(shape=(k,), **neuron)
    first.a_out.connect(a.a_in)
    a.s_out.connect(second.s_in)
    second.a_out.connect(b.a_in)
    if skip:
        over = proc.Dense(weights=g.normal(size=(k, n)), num_message_bits=24, delay=delays[1])
        inp = proc.Delay(shape=(n,)) if delays[0] else proc.DelayLine(shape=(n,), delays=0)
        (inp.a_out if delays[0] else inp.s_out).connect(first.s_in)
        (inp.a_out if delays[0] else inp.s_out).connect(over.s_in)
        over.a_out.connect(b.a_in)
    else:
        inp = first
    if loop != "none":
        back = proc.Dense(weights=g.normal(size=(m, m if loop == "own" else k)) * 0.3)
        (a if loop == "own" else b).s_out.connect(back.s_in)
        back.a_out.connect(a.a_in)
    x = spikes((n,))
    y = computed(inp.s_in, b.s_out, x)
    graph = to_nir(inp, dt=dt)
    net = from_nir(graph)
    z = computed(net.inp, net.out, x)
    lag = int(graph.metadata["lavalike"].get("lag", 0))
    assert np.array_equal(y[..., lag:], z[..., : T - lag])
    for layer in net.layers.values():  # decays come back to the last bit but one
        if isinstance(layer, proc.LIF):
            for name, want in (("du", du), ("dv", dv)):
                found = np.ravel(getattr(layer, name).get())[0]
                assert abs((1 - found) - (1 - want)) <= ULP


@pytest.mark.parametrize(
    ("du", "dv", "kind"),
    [
        (1, 0.1, ["LIF"]),
        (1, 0, ["IF"]),
        (0.3, 0.1, ["CubaLIF"]),
        (0.3, 0, ["LI", "IF"]),
        (0, 0.1, ["I", "LIF"]),
        (0, 0, ["I", "IF"]),
        ([1, 0.5, 0.25], 0.1, ["CubaLIF"]),
    ],
)
def test_a_neuron_is_the_node_that_has_its_leaks(du, dv, kind):
    neuron = proc.LIF(shape=(3,), du=du, dv=dv, vth=[1.0, 1.5, 2.0])
    graph = to_nir(neuron)
    assert [t for t in kinds(graph).values() if t not in ("Input", "Output")] == kind
    assert differing(neuron.a_in, neuron.s_out)[0] == 0
    last = next(n for n in graph.nodes.values() if "v_threshold" in n.params)
    assert last.params["v_threshold"].tolist() == [1.0, 1.5, 2.0]
    assert all(v.shape == (3,) for v in last.params.values())


def test_tau_and_r_are_what_a_step_means():
    graph = to_nir(proc.LIF(shape=(2,), du=0.25, dv=0.04, bias_mant=0.02, vth=1), dt=1e-3)
    p = next(n for n in graph.nodes.values() if n.type == "CubaLIF").params
    assert p["tau_mem"] == pytest.approx(0.025, rel=1e-14)
    assert p["tau_syn"] == pytest.approx(0.004, rel=1e-14)
    assert p["r"] == pytest.approx(25, rel=1e-14)
    assert p["w_in"] == pytest.approx(4, rel=1e-14)
    assert p["v_leak"] == pytest.approx(0.5, rel=1e-14)
    assert graph.metadata["lavalike"] == {"dt": 1e-3}


def test_numbers_come_back_to_the_bit():
    keep = 1 - np.random.default_rng(0).uniform(1e-3, 1, 5000)
    for dt in (1e-4, 1.3e-3):
        found = 1 - dt / time_constant(keep, dt)
        assert (np.abs(found - keep) <= ULP).all()
        assert (found == keep).mean() > 0.9
    gain = np.random.default_rng(1).uniform(0.1, 3, 5000)
    found = (1 - keep) * factor(1 - keep, gain)
    assert (np.abs(found - gain) <= np.spacing(gain)).all()


def test_a_gain_of_1_is_1_whatever_r_rounds_to(tmp_path):
    dv = np.random.default_rng(0).uniform(1e-3, 1, 100)
    neuron = proc.LIF(shape=(100,), du=1, dv=dv, vth=1)
    graph = to_nir(neuron, tmp_path / "a.nir")
    assert graph.metadata["lavalike"]["gain"] == "rounded"
    (found,) = from_nir(tmp_path / "a.nir").layers.values()
    assert type(found) is proc.LIF
    assert (np.abs(found.dv.get() - dv) <= ULP).all()
    assert "gain" not in to_nir(proc.LIF(shape=(2,), du=1, dv=0.25, vth=1)).metadata["lavalike"]


def test_a_bias_of_a_connection_is_an_affine():
    dense = proc.Dense(weights=np.eye(3), num_message_bits=24, delay=0)
    constant = Constant(shape=(3,), value=[0.1, 0, -0.1])
    neuron = proc.LIF(shape=(3,), du=0.5, dv=0.1, vth=0.6)
    dense.a_out.connect(neuron.a_in)
    constant.s_out.connect(neuron.a_in)
    graph = to_nir(neuron)
    assert [*kinds(graph).values()] == ["Input", "Affine", "CubaLIF", "Output"]
    assert graph.nodes["dense"].params["bias"].tolist() == [0.1, 0, -0.1]
    assert differing(dense.s_in, neuron.s_out)[0] == 0


@pytest.mark.parametrize("listed", [False, True])
def test_what_is_stored_sparse_and_factors_are_written(listed):
    weights = np.array([[1.5, 0, 2], [0, 0, 0]])
    entries = {"rows": [0, 0, 0], "cols": [2, 0, 0], "data": [2, 1.0, 0.5], "shape": (2, 3)}
    given = entries if listed else {"weights": weights}
    sparse = proc.Sparse(**given, num_message_bits=24, weight_exp=-1, delay=0)
    scale = nir.Scale(shape=(2,), factor=[0.5, 2])
    neuron = proc.LIF(shape=(2,), du=1, dv=0.1, vth=0.6)
    sparse.a_out.connect(scale.a_in)
    scale.s_out.connect(neuron.a_in)
    graph = to_nir(neuron)
    assert [*kinds(graph).values()] == ["Input", "Linear", "Scale", "LIF", "Output"]
    assert graph.nodes["sparse"].params["weight"].tolist() == (weights / 2).tolist()
    assert graph.nodes["scale"].params["scale"].tolist() == [0.5, 2]
    assert differing(sparse.s_in, neuron.s_out)[0] == 0


@pytest.mark.parametrize("delay", [0, 1])
def test_a_bias_without_a_leak_stands_before_the_neuron(delay):
    dense = proc.Dense(weights=np.eye(2), num_message_bits=24, delay=delay)
    neuron = proc.LIF(shape=(2,), du=1, dv=0, bias_mant=0.25, vth=2)
    dense.a_out.connect(neuron.a_in)
    assert "Affine" in kinds(to_nir(neuron)).values()
    assert differing(dense.s_in, neuron.s_out)[0] == 0


# -- time ------------------------------------------------------------------------------------------


def two(delay, bias=0.0):
    first = proc.Dense(weights=np.eye(2), num_message_bits=24, delay=delay, name="w")
    neuron = proc.LIF(shape=(2,), du=1, dv=0.1, bias_mant=bias, vth=0.8, name="lif")
    first.a_out.connect(neuron.a_in)
    return first, neuron


def test_what_all_paths_have_in_common_is_a_lag():
    first, neuron = two(1)
    graph = to_nir(first)
    assert graph.metadata["lavalike"]["lag"] == 1
    assert "Delay" not in kinds(graph).values()
    assert differing(first.s_in, neuron.s_out)[0] == 0


def test_a_neuron_that_is_driven_at_once_waits_for_its_input():
    first, neuron = two(1, bias=0.05)
    graph = to_nir(first)
    assert graph.nodes["w.delay"].params["delay"].tolist() == [1e-4, 1e-4]
    assert "lag" not in graph.metadata["lavalike"]
    assert differing(first.s_in, neuron.s_out)[0] == 0


def test_branches_of_unlike_length_get_a_delay():
    first, neuron = two(1)
    over = proc.Dense(weights=np.eye(2), num_message_bits=24, delay=0, name="over")
    entry = proc.DelayLine(shape=(2,), delays=[0, 2], name="entry")
    entry.s_out.connect(first.s_in)
    entry.s_out.connect(over.s_in)
    over.a_out.connect(neuron.a_in)
    graph = to_nir(entry)
    assert graph.nodes["entry"].params["delay"] == pytest.approx([0, 2e-4])
    assert kinds(graph)["w.delay"] == "Delay"
    assert differing(entry.s_in, neuron.s_out)[0] == 0


def looped(delay):
    """A neuron with an input and a loop, in which ``delay`` says what stands."""
    inp = proc.Dense(weights=np.eye(3), num_message_bits=24, delay=0, name="inp")
    lif = proc.LIF(shape=(3,), du=1, dv=0.1, vth=0.9, name="lif")
    inp.a_out.connect(lif.a_in)
    if delay == "scale":  # the step is that of a Delay, which the loop in NIR has anyway
        line, rec = proc.Delay(shape=(3,)), nir.Scale(shape=(3,), factor=0.2, name="rec")
        lif.s_out.connect(line.s_in)
        line.a_out.connect(rec.a_in)
        rec.s_out.connect(lif.a_in)
    else:
        rec = proc.Dense(weights=np.eye(3) * 0.2, delay=1, name="rec")
        lif.s_out.connect(rec.s_in)
        rec.a_out.connect(lif.a_in)
    return inp, lif, rec


@pytest.mark.parametrize("delay", ["dense", "scale"])
def test_the_neuron_of_the_loop_at_the_end_is_the_output(delay):
    inp, lif, rec = looped(delay)
    for process, output in ((inp, "lif"), (lif, "lif"), (rec, "rec")):
        graph = to_nir(process)
        assert [a for a, b in graph.edges if b == "output"] == [output]
        assert "Delay" not in kinds(graph).values()
    assert differing(inp.s_in, lif.s_out)[0] == 0


def test_which_of_a_loop_is_the_output_is_asked_for():
    inp, lif, rec = looped("dense")
    other = proc.LIF(shape=(3,), du=1, dv=0.1, vth=0.9, name="other")
    lif.s_out.connect(other.a_in)
    other.s_out.connect(rec.s_in)
    with pytest.raises(lv.NirError, match=r"inp: is heard, .* one of lif, other, rec"):
        to_nir(inp)


def test_what_plays_and_what_keeps_are_ends():
    first, neuron = two(0)
    source = proc.io.source.RingBuffer(data=np.ones((2, 4)))
    sink = proc.io.sink.RingBuffer(shape=(2,), buffer=4)
    source.s_out.connect(first.s_in)
    neuron.s_out.connect(sink.a_in)
    assert [*kinds(to_nir(sink)).values()] == ["Input", "Linear", "LIF", "Output"]


def test_several_ends_have_names_that_are_ports():
    (a, left), (b, right) = two(0), two(0)
    both = proc.LIF(shape=(2,), du=1, dv=0.1, vth=0.5, name="both")
    last = proc.LIF(shape=(2,), du=1, dv=0.5, vth=0.5, name="last")
    a.name, b.name = "a", "b"
    for neuron in (left, right):
        neuron.s_out.connect(both.a_in)
    left.s_out.connect(last.a_in)
    net = from_nir(to_nir(both))
    assert {*net.inputs} == {"a_s_in", "b_s_in"}
    assert {*net.outputs} == {"both_s_out", "last_s_out"}
    x = {port: spikes((2,), k) for k, port in enumerate(("a_s_in", "b_s_in"))}
    found = lv.simulate(net, x, config=CONFIG)
    ports = {a.s_in: x["a_s_in"], b.s_in: x["b_s_in"]}
    want = lv.simulate(both, ports, record=[both.s_out, last.s_out], config=CONFIG)
    assert want[both.s_out].any()
    for neuron in (both, last):
        assert np.array_equal(want[neuron.s_out], found[f"{neuron.name}_s_out"])


# -- space -----------------------------------------------------------------------------------------


def convolutional(**given):
    g = np.random.default_rng(0)
    conv = proc.Conv(
        weight=g.normal(size=(4, 3, 2, 1)),
        input_shape=(7, 6, 2),
        padding=(1, 0),
        stride=(1, 2),
        groups=2,
        num_message_bits=24,
        delay=0,
        **given,
    )
    lif = proc.LIF(shape=conv.a_out.shape, du=1, dv=0.1, vth=0.5)
    pool = proc.Conv(
        weight=np.ones((4, 2, 1, 1)), input_shape=lif.shape, groups=4, stride=(2, 1), delay=0
    )
    dense = proc.Dense(weights=g.normal(size=(3, pool.a_out.size)), num_message_bits=24, delay=0)
    out = proc.LIF(shape=(3, 1), du=0.5, dv=0.2, vth=0.5)
    conv.a_out.connect(lif.a_in)
    lif.s_out.connect(pool.s_in)
    pool.a_out.transpose((2, 1, 0)).flatten().connect(dense.s_in)
    dense.a_out.reshape((3, 1)).connect(out.a_in)
    return conv, out


def test_convolutions_are_channel_first():
    conv, out = convolutional()
    graph = to_nir(conv)
    assert [*kinds(graph).values()] == [
        *("Input", "Conv2d", "LIF", "SumPool2d", "Flatten", "Linear", "CubaLIF", "Output")
    ]
    assert graph.shapes()["input"].output == (2, 6, 7)
    net = from_nir(graph)
    x = spikes((7, 6, 2))
    y = computed(conv.s_in, out.s_out, x)
    z = computed(net.inp, net.out, x.transpose((2, 1, 0, 3)))
    assert y.any()
    assert np.array_equal(y.reshape(z.shape), z)


def test_views_of_a_vector_are_matrices():
    first, neuron = two(0)
    other = proc.LIF(shape=(3,), du=1, dv=0.5, vth=0.5, name="other")
    neuron.s_out[[1]].connect(other.a_in[[0]])
    neuron.s_out[::-1].connect(other.a_in[1:])
    graph = to_nir(first)
    assert "Linear" in {t for n, t in kinds(graph).items() if "view" in n}
    assert differing(first.s_in, other.s_out)[0] == 0


def test_a_permuted_input_is_a_permuted_matrix():
    line = proc.DelayLine(shape=(3,), delays=[0, 0, 1])
    dense = proc.Dense(weights=np.array([[1.0, 2, 3]]), num_message_bits=24, delay=0)
    neuron = proc.LIF(shape=(1,), du=1, dv=0.5, vth=2)
    line.s_out[[2, 0, 1]].connect(dense.s_in)
    dense.a_out.connect(neuron.a_in)
    graph = to_nir(line)
    assert graph.nodes["dense"].params["weight"].tolist() == [[2, 3, 1]]
    assert differing(line.s_in, neuron.s_out)[0] == 0


# -- what NIR cannot say ---------------------------------------------------------------------------


def refused():
    lif = {"shape": (2,), "du": 0.5, "dv": 0.1, "vth": 1}
    dense = proc.Dense(weights=np.eye(2), delay=0)
    late = proc.DelayDense(weights=np.eye(2), delays=[[0, 1], [1, 0]])
    begun = proc.LIF(**lif, v=[0.5, 0])
    mixed = proc.LIF(**{**lif, "dv": [0.1, 0]})
    return {
        "sigma-delta": (proc.SigmaDelta(shape=(2,), vth=1), "is a SigmaDelta"),
        "resonators": (proc.RF(shape=(2,), period=7, alpha=0.1), "is a RF"),
        "ALIF": (proc.ALIF(shape=(2,)), "is a ALIF"),
        "ternary": (proc.TernaryLIF(shape=(2,)), "is a TernaryLIF"),
        "refractory": (proc.LIFRefractory(**lif, refractory_period=3), "strict=False"),
        "reset by the clock": (proc.LIFReset(**lif, reset_interval=5), "strict=False"),
        "delays": (late, "delays: of single synapses"),
        "a state": (begun, "v: is not 0"),
        "some leaks": (mixed, "split the process in two"),
        "no output": (dense, None),
    }


@pytest.mark.parametrize("what", [n for n in refused() if n != "no output"])
def test_what_nir_cannot_say_is_refused_by_name(what):
    process, text = refused()[what]
    with pytest.raises(lv.NirError, match=text) as e:
        to_nir(process)
    assert e.value.node == type(process).__name__.lower()


def test_hints_are_written_where_one_is_not_strict():
    neuron = proc.LIFRefractory(shape=(2,), du=1, dv=0.1, vth=1, refractory_period=3, name="lif")
    with pytest.warns(NirWarning, match="lif: NIR cannot say"):
        graph = to_nir(neuron, strict=False)
    hint = graph.metadata["lavalike"]["hints"]["lif"]
    assert hint["process"] == "LIFRefractory"
    assert np.ravel(hint["refractory_period"])[0] == 3


def test_a_reset_by_subtraction_is_told_and_read_again(tmp_path):
    neuron = nir.LIF(shape=(2,), keep=0.9, gain=1.0, vth=0.7, lower=True, inclusive=True)
    with pytest.warns(NirWarning) as told:
        graph = to_nir(neuron, tmp_path / "a.nir")
    assert sorted(str(w.message)[:40] for w in told) == [
        "to_nir: NIR cannot say that a spike sets",
        "to_nir: NIR cannot say that v = threshol",
    ]
    assert graph.metadata["lavalike"] == {"dt": 1e-4, "reset": "subtract", "compare": ">="}
    net = from_nir(tmp_path / "a.nir")
    x = spikes((2,))
    assert np.array_equal(computed(neuron.a_in, neuron.s_out, x), computed(net.inp, net.out, x))


def test_unlike_resets_are_refused():
    a, b = (nir.LIF(shape=(2,), keep=0.9, lower=k, name=f"n{k:d}") for k in (True, False))
    a.s_out.connect(b.a_in)
    with pytest.raises(lv.NirError, match="n1: reset: is 'subtract' here and 'value' elsewhere"):
        to_nir(a)


# -- networks --------------------------------------------------------------------------------------


def test_a_network_of_nir_is_written_as_it_was_read():
    first, _ = two(0)
    graph = to_nir(first)
    again = to_nir(from_nir(graph))
    assert again.nodes.keys() == graph.nodes.keys()
    assert set(again.edges) == set(graph.edges)
    for name, node in graph.nodes.items():
        for parameter, value in node.params.items():
            if isinstance(value, np.ndarray):
                found = again.nodes[name].params[parameter]
                assert np.allclose(found, value, rtol=1e-15, atol=0)


PARAMS = {"threshold": 0.3, "current_decay": 0.3, "voltage_decay": 0.1}


@pytest.mark.parametrize("family", ["dense", "recurrent", "conv"])
def test_slayer_exports_what_it_trained(family, tmp_path):
    torch.manual_seed(0)
    block = slayer.block.cuba
    shape = (2, 5, 5) if family == "conv" else (6,)
    net = torch.nn.Sequential(
        *{
            "dense": [block.Dense(PARAMS, 6, 5), block.Dense(PARAMS, 5, 3)],
            "recurrent": [block.Dense(PARAMS, 6, 5), block.Recurrent(PARAMS, 5, 4)],
            "conv": [
                block.Conv(PARAMS, 2, 4, 3, padding=1),
                block.Flatten(),
                block.Dense(PARAMS, 100, 3),
            ],
        }[family]
    ).eval()
    for layer in net:
        if getattr(layer, "synapse", None) is not None:
            layer.synapse.weight.data *= 3
    x = (torch.rand(1, *shape, T) < 0.5).float()
    y = net(x).detach().numpy()[0]
    graph = slayer.export_nir(net, tmp_path / "a.nir")
    assert read(tmp_path / "a.nir") == graph
    lag = int(graph.metadata["lavalike"]["lag"])
    found = from_nir(tmp_path / "a.nir")
    z = computed(found.inp, found.out, x[0].numpy().astype(float))
    assert y.any()
    assert np.array_equal(y[..., lag:], z[..., : T - lag])


def test_a_net_file_is_written_in_the_units_of_training(tmp_path):
    net = torch.nn.Sequential(slayer.block.cuba.Dense(PARAMS, 4, 3))
    loaded = netx.Network(slayer.export_hdf5(net, tmp_path / "a.net", (4,)))
    graph = to_nir(loaded)
    assert graph.nodes["0.neuron"].params["v_threshold"][0] == pytest.approx(0.3, rel=0.02)
    weight = graph.nodes["0.synapse"].params["weight"]
    assert np.abs(weight).max() < 4
    with pytest.raises(lv.NirError, match="SigmaDelta"):
        slayer.export_nir(
            [slayer.block.sigma_delta.Dense({"threshold": 0.1}, 4, 3)], input_shape=(4,)
        )


# -- snn -------------------------------------------------------------------------------------------

PROMPT = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}


def stepped(net, x):
    """Outputs of a step style module for x (time, ...)."""
    snn.reset(net)
    out = []
    for step in x:
        y = net(step)
        out.append(y[0] if isinstance(y, tuple) else y)
    return torch.stack(out).detach()


class Skipping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 5), torch.nn.Linear(5, 5)
        self.lif = snn.Leaky(beta=0.9, threshold=0.5, **PROMPT)
        self.out = snn.Synaptic(alpha=0.6, beta=0.8, threshold=0.4, **PROMPT)

    def forward(self, x):
        s = self.lif(self.a(x.flatten(1)))
        return self.out(self.b(s) + s)


def recurrent():
    out = {**PROMPT, "output": True}
    return torch.nn.Sequential(
        torch.nn.Linear(6, 5),
        snn.RLeaky(beta=0.9, threshold=0.5, linear_features=5, **PROMPT),
        torch.nn.Linear(5, 4),
        snn.RSynaptic(alpha=0.5, beta=0.8, V=torch.rand(4), all_to_all=False, **out),
    )


@pytest.mark.parametrize("make", [Skipping, recurrent])
def test_snn_is_exported_and_imported(make):
    torch.manual_seed(0)
    net = make().eval()
    x = (torch.rand(T, 3, 6) < 0.5).float() * 2
    y = stepped(net, x)
    graph = snn.export_to_nir(net, x[0])
    graph = Graph.of(graph)
    assert y.any()
    back = snn.import_from_nir(graph)
    assert torch.equal(stepped(back, x), y)
    found = from_nir(graph)
    z = np.stack(
        [computed(found.inp, found.out, x[:, k].numpy().T.astype(float)).T for k in range(3)], 1
    )
    assert (z != y.numpy()).mean() < 0.01  # float32 here, float64 there


def test_snns_defaults_are_told_and_read_again():
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 5), snn.Leaky(beta=0.9, threshold=0.5, init_hidden=True)
    )
    x = (torch.rand(T, 3, 6) < 0.5).float() * 2
    with pytest.warns(NirWarning, match="a reset by subtraction and a reset one step after"):
        graph = Graph.of(snn.export_to_nir(net, x[0]))
    assert graph.metadata["lavalike"] == {"dt": 1e-4, "reset": "subtract", "late": True}
    assert torch.equal(stepped(snn.import_from_nir(graph), x), stepped(net, x))
    found = from_nir(graph)
    z = computed(found.inp, found.out, x[:, 0].numpy().T.astype(float)).T
    assert (z != stepped(net, x)[:, 0].numpy()).mean() < 0.02


def test_the_state_of_an_imported_module_can_be_put_back():
    net = snn.import_from_nir(Graph.of(snn.export_to_nir(recurrent(), torch.ones(2, 6))))
    x = torch.rand(6, 2, 6) * 2
    _, state = net(x[0])
    first = [net(step)[0] for step in x[1:]]
    net(x[0], state)
    again = [net(x[1], state)[0], *(net(step)[0] for step in x[2:])]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def wrongly():
    leaky = {"beta": 0.9, **PROMPT}
    linear = torch.nn.Linear(6, 5)
    seq = torch.nn.Sequential
    return {
        "a layer": (seq(linear, torch.nn.ReLU()), "1: is a ReLU"),
        "a function": (
            type("N", (torch.nn.Module,), {"forward": lambda s, x: s.l(x.abs())}),
            ".abs",
        ),
        "Alpha": (seq(linear, snn.Alpha(alpha=0.9, beta=0.8, init_hidden=True)), "is a Alpha"),
        "none": (
            seq(linear, snn.Leaky(**{**leaky, "reset_mechanism": "none"})),
            "reset_mechanism: is 'none'",
        ),
        "graded": (seq(linear, snn.Leaky(**leaky, graded_spikes_factor=2.0)), "graded_spikes_fac"),
        "inhibition": (
            seq(linear, snn.Leaky(beta=0.9, init_hidden=True, inhibition=True)),
            "inhibition",
        ),
        "unlike": (
            seq(linear, snn.Leaky(beta=0.9, init_hidden=True), snn.Leaky(**leaky)),
            "differs from that of",
        ),
        "no leak": (seq(linear, snn.Leaky(**{**leaky, "beta": 1.0})), "beta below 1"),
        "batch": (seq(torch.nn.Flatten(0, -1)), "flattens the batch"),
    }


@pytest.mark.parametrize("what", wrongly())
def test_what_snn_cannot_export_is_told_by_name(what):
    net, text = wrongly()[what]
    if isinstance(net, type):
        net = net()
        net.l = torch.nn.Linear(6, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NirWarning)
        with pytest.raises(lv.NirError, match=text):
            snn.export_to_nir(net, torch.rand(2, 6))


# -- bss2 ------------------------------------------------------------------------------------------


def chip_graph(**neuron):
    """As hxtorch writes it: time constants in ms."""
    one = np.ones(3)
    p = {"tau_mem": 0.02 * one, "tau_syn": 0.005 * one, "r": 2 * one, "v_leak": 0.1 * one}
    p |= {"v_threshold": one, "v_reset": 0 * one, **neuron}
    weight = np.random.default_rng(0).uniform(0, 0.5, (3, 2)).astype(np.float32)
    nodes = {
        "in": {"type": "Input", "shape": (2,)},
        "w": {"type": "Linear", "weight": weight},
        "lif": {"type": "CubaLIF", **p},
        "out": {"type": "Output", "shape": (3,)},
    }
    return {"nodes": nodes, "edges": [("in", "w"), ("w", "lif"), ("lif", "out")]}


def test_bss2_reads_and_writes_as_hxtorch():
    from lavalike.bss2 import spiking

    given = chip_graph()
    net = spiking.from_nir(given)
    assert net.hxnodes["lif"].tau_mem.model_value == 0.02 * 1e-3
    x = {"in": (torch.rand(50, 2, 2) < 0.5).float()}
    assert net(x)["lif"].shape == (50, 2, 3)
    graph = Graph.of(spiking.to_nir(net, x))
    assert sorted(kinds(graph).values()) == ["CubaLIF", "Input", "Linear", "Output"]
    assert graph.metadata["lavalike"]["dt"] == pytest.approx(1e-3)  # of 1e-6 s
    node = next(n for n in graph.nodes.values() if n.type == "CubaLIF")
    for name, value in given["nodes"]["lif"].items():
        if name != "type":
            assert node.params[name] == pytest.approx(value)
    data = spiking.to_nir_data({"lif": x["in"]}, net)
    assert torch.equal(spiking.from_nir_data(data, net)["lif"], x["in"])


def test_what_bss2_has_not_is_told_by_name():
    from lavalike.bss2 import spiking

    with pytest.raises(lv.NirError, match=r"lif: tau_mem: differs from neuron to neuron"):
        spiking.from_nir(chip_graph(tau_mem=np.array([1.0, 2, 3])))
    looped = chip_graph()
    looped["nodes"]["rec"] = {"type": "Linear", "weight": np.eye(3)}
    looped["edges"] += [("lif", "rec"), ("rec", "lif")]
    with pytest.raises(lv.NirError, match="close a loop"):
        spiking.from_nir(looped)
    other = chip_graph()
    other["nodes"]["lif"] = {"type": "Threshold", "threshold": np.ones(3)}
    with pytest.raises(lv.NirError, match="lif: type: is Threshold"):
        spiking.from_nir(other)
