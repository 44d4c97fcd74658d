"""Graphs on BrainScaleS-2: equal to numba where nothing is lost, what each level does, what is
refused, and training in the loop."""

from __future__ import annotations

import contextlib
import copy
import itertools
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st

import lavalike as lv
from lavalike import bss2, fused, slayer
from lavalike.backends.bss2 import place_process, stored
from lavalike.backends.bss2.program import SpikingProgram
from lavalike.backends.torch.connections import SparseModel
from lavalike.bss2 import Chip, Noise, RecordingError, RoutingError
from lavalike.demo import chip as demo_chip, networks
from lavalike.demo.data import Data, yin_yang
from lavalike.errors import GraphError, InputError, ModelSelectionError, RunError, VarError
from lavalike.proc import (
    ALIF,
    LIF,
    ActivationMode,
    Compartment,
    Conv,
    Delay,
    DelayDense,
    DelayLine,
    Delta,
    Dense,
    LIFLateBias,
    LIFRefractory,
    LIFReset,
    MultiCompartment,
    Sigma,
    SigmaDelta,
    Sparse,
    io,
)
from lavalike.process import AbstractProcess, InPort, OutPort

EXACT = lv.RunConfig(dtype="float64")


@pytest.fixture(autouse=True)
def small(request):
    """Networks here are too small to be worth compiling for; but for one test."""
    torch.manual_seed(0)
    if "fused" in request.node.name:
        yield
        return
    with fused.plain_loops():
        yield


def on(level: str = "ideal", **kwargs) -> lv.RunConfig:
    chip = {k: kwargs.pop(k) for k in ("seed", "noise", "calibrated") if k in kwargs}
    return lv.RunConfig(
        backend="bss2", chip=Chip(level=level, **chip), **{"dtype": "float64", **kwargs}
    )


class Net(AbstractProcess):
    """Processes in a row, and connections back."""

    def __init__(
        self, *parts: AbstractProcess, back: tuple[tuple[int, AbstractProcess, int], ...] = ()
    ) -> None:
        super().__init__()
        self.parts = list(parts)
        self.loops = [p for _, p, _ in back]
        self.inp, self.out = (
            InPort(parts[0].in_ports[0].shape),
            OutPort(parts[-1].out_ports[0].shape),
        )
        self.inp.connect(parts[0].in_ports[0])
        for a, b in itertools.pairwise(parts):
            a.out_ports[0].reshape(b.in_ports[0].shape).connect(b.in_ports[0])
        for source, connection, target in back:
            parts[source].out_ports[0].connect(connection.in_ports[0])
            connection.out_ports[0].connect(parts[target].in_ports[0])
        parts[-1].out_ports[0].connect(self.out)


def spikes(shape: tuple[int, ...], rate: float = 0.15, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < rate).astype(float)


def two_layers(recurrent: bool = False, seed: int = 0, bias: float = 0.02) -> Net:
    g = np.random.default_rng(seed)
    hidden = LIF(
        shape=(9,), du=0.3, dv=g.uniform(0.05, 0.3, 9), vth=0.8, bias_mant=g.normal(0, bias, 9)
    )
    back = ((1, Dense(weights=g.normal(0, 0.06, (9, 9))), 1),) if recurrent else ()
    return Net(
        Dense(weights=g.normal(0.1, 0.15, (9, 5))),
        hidden,
        Dense(weights=g.normal(0.1, 0.15, (4, 9))),
        LIF(shape=(4,), du=0.5, dv=0.1, vth=1.0),
        back=back,
    )


# -- at "ideal" a graph is what numba computes -----------------------------------------------------


def neuron(g: np.random.Generator, n: int) -> LIF:
    common = {
        "shape": (n,),
        "du": g.uniform(0.1, 1.0),
        "dv": g.uniform(0.05, 0.9, n),
        "vth": g.uniform(0.3, 1.5),
        "bias_mant": g.normal(0, 0.05, n),
    }
    kind = g.integers(3)
    if kind == 0:
        return LIF(**common)
    if kind == 1:
        return LIFLateBias(bias_start=g.integers(0, 9, n), **common)
    return LIFRefractory(refractory_period=int(g.integers(1, 5)), **common)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    layers=st.integers(1, 3),
    recurrent=st.booleans(),
    batch=st.sampled_from([None, 1, 3]),
)
def test_ideal_equals_numba_column_by_column(seed, layers, recurrent, batch):
    g = np.random.default_rng(seed)
    sizes = g.integers(2, 7, layers + 1)
    parts: list[AbstractProcess] = []
    for a, b in itertools.pairwise(sizes):
        w = g.normal(0.3, 0.5, (b, a))
        if parts and g.random() < 0.3:
            parts.append(
                Delay(shape=(a,))
                if g.random() < 0.5
                else DelayLine(shape=(a,), delays=int(g.integers(1, 4)))
            )
        parts += [Sparse(weights=w) if g.random() < 0.3 else Dense(weights=w), neuron(g, b)]
    back = []
    if recurrent:
        # from the last layer back to a random one whose way to the last holds no Delay, so that the
        # loop stays on the chip
        free = [
            not any(isinstance(p, Delay | DelayLine) for p in parts[k:]) for k in range(len(parts))
        ]
        ends = [k for k, p in enumerate(parts) if isinstance(p, LIF) and free[k]]
        to = int(g.choice(ends))
        back = [
            (len(parts) - 1, Dense(weights=g.normal(0, 0.4, (parts[to].shape[0], sizes[-1]))), to)
        ]
    net = Net(*parts, back=tuple(back))
    x = spikes((*(() if batch is None else (batch,)), int(sizes[0]), 40), 0.3, seed % 1000)
    record = [p.v for p in parts if isinstance(p, LIF)]
    want = lv.simulate(net, {"inp": x}, config=EXACT, record=record)
    got = lv.simulate(net, {"inp": x}, config=on(), record=record)
    np.testing.assert_array_equal(got["out"], want["out"])
    for v in record:
        np.testing.assert_allclose(got[v], want[v], rtol=1e-7, atol=1e-9)


def test_convolutions_are_synapses_too():
    g = np.random.default_rng(0)
    conv = Conv(
        weight=g.normal(0.2, 0.4, (4, 3, 3, 1)),
        input_shape=(6, 5, 2),
        groups=2,
        stride=(2, 1),
        padding=1,
    )
    net = Net(
        conv,
        LIF(shape=conv.a_out.shape, du=0.4, dv=0.2, vth=1.0),
        Dense(weights=g.normal(0, 0.3, (3, conv.a_out.size))),
        LIF(shape=(3,), du=0.4, dv=0.2, vth=0.5),
    )
    x = spikes((2, 6, 5, 2, 30), 0.2)
    want = lv.simulate(net, {"inp": x}, config=EXACT)["out"]
    assert want.sum() > 5
    np.testing.assert_array_equal(lv.simulate(net, {"inp": x}, config=on())["out"], want)


def test_files_units_are_translated():
    net = Net(
        Dense(weights=[[80, -40], [30, 70]], num_weight_bits=9),
        LIF(shape=(2,), du=1023, dv=409, vth=100, bias_mant=3, bias_exp=6, loihi_units=True),
    )
    x = spikes((2, 60), 0.4)
    want = lv.simulate(net, {"inp": x}, config=EXACT)["out"]
    assert want.sum() > 5
    np.testing.assert_array_equal(lv.simulate(net, {"inp": x}, config=on())["out"], want)


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_run_goes_on_where_the_last_one_ended_and_gives_its_states_back(recurrent):
    x = spikes((5, 30))
    source = io.source.RingBuffer(data=x)
    results = []
    for config in (EXACT, on()):
        net = two_layers(recurrent)
        feed = io.source.RingBuffer(data=source.data.get())
        first = net.parts[0]
        first.s_in.sources.clear()
        net.inp.targets.clear()
        feed.s_out.connect(first.s_in)
        sink = io.sink.RingBuffer(shape=(4,), buffer=30)
        net.parts[-1].s_out.connect(sink.a_in)
        net.run(lv.RunSteps(13), config)
        net.parts[1].v.set(net.parts[1].v.get() * 0.5)
        net.run(lv.RunSteps(17))
        net.stop()
        states = [v.get() for p in net.parts for v in p.vars if v.role == "state"]
        results.append((sink.data.get(), states))
    (out, states), (got, mine) = results
    assert out.sum() > 5
    np.testing.assert_array_equal(got, out)
    for a, b in zip(mine, states, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_a_bound_parameter_is_set_and_a_bad_one_leaves_everything():
    net = two_layers()
    net.run(lv.RunSteps(5), on())
    with pytest.raises(VarError, match=r"du: 2.0 is outside 0..1"):
        net.parts[1].du.set(2.0)
    assert net.parts[1].du.get() == 0.3
    net.stop()


def fed(net: Net, x: np.ndarray) -> Net:
    """``net`` with its input from ``x``."""
    first = net.parts[0].in_ports[0]
    first.sources.clear()
    net.inp.targets.clear()
    io.source.RingBuffer(data=x).s_out.connect(first)
    return net


def in_stretches(
    net: Net, x: np.ndarray, config: lv.RunConfig, cuts: tuple[int, ...], between=lambda net: None
) -> tuple[np.ndarray, dict]:
    """Output of runs one after another, and the states at the end."""
    fed(net, x)
    sink = io.sink.RingBuffer(shape=net.out.shape, buffer=sum(cuts))
    net.parts[-1].out_ports[0].connect(sink.a_in)
    for k, steps in enumerate(cuts):
        if k:
            between(net)
        net.run(lv.RunSteps(steps), config)
    states = {
        f"{k}.{v.name}": v.get()
        for k, p in enumerate(net.parts)
        for v in p.vars
        if v.role == "state"
    }
    out = sink.data.get()
    net.stop()
    return out, states


@pytest.mark.parametrize(
    "what",
    [
        "parts[1].du",
        "parts[1].dv",
        "parts[1].vth",
        "parts[1].u",
        "parts[0].a_buff",
        "parts[0].weights",
    ],
)
@pytest.mark.parametrize("recurrent", [False, True])
def test_what_is_set_between_runs_acts_as_on_numba(what, recurrent):
    x = spikes((5, 40), 0.4)
    rising = np.linspace(0, 0.3, 9)
    values = {
        "du": 0.9,
        "dv": 0.4,
        "vth": 0.5,
        "u": rising,
        "a_buff": rising,
        "weights": np.full((9, 5), 0.1),
    }

    def between(net: Net) -> None:
        getattr(net.parts[int(what[6])], what[9:]).set(values[what[9:]])

    want, states = in_stretches(two_layers(recurrent), x, EXACT, (13, 17), between)
    got, mine = in_stretches(two_layers(recurrent), x, on(), (13, 17), between)
    np.testing.assert_array_equal(got, want)
    for name, value in states.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("level", ["quantised", "emulated"])
def test_setting_a_state_leaves_the_others_as_they_are(level):
    config = on(level, seed=2, noise=Noise(trial=0, threshold_trial=0, cadc=0, jitter=0))
    x = spikes((5, 60), 0.4)
    whole, states = in_stretches(two_layers(True), x, config, (10,) * 6)
    poked, mine = in_stretches(
        two_layers(True), x, config, (10,) * 6, lambda net: net.parts[3].v.set(net.parts[3].v.get())
    )
    np.testing.assert_array_equal(poked, whole)
    assert all(np.array_equal(mine[n], v) for n, v in states.items())


@pytest.mark.parametrize("cuts", [(20,), (19, 1)])
def test_states_that_the_chip_has_not_are_read_all_the_same(cuts):
    """A current of du = 1, and when the last refractory period ended."""

    def make() -> Net:
        g = np.random.default_rng(0)
        return Net(
            Dense(weights=g.normal(0.3, 0.3, (3, 3))),
            LIFRefractory(shape=(3,), du=1, dv=0.2, vth=0.6, refractory_period=3),
        )

    x = spikes((3, 60), 0.5)
    (_, want), (_, got) = (in_stretches(make(), x, c, cuts) for c in (EXACT, on()))
    assert set(want["1.refractory_period_end"]) == {18, 19, 23}
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_an_interrupted_run_leaves_all_parts_where_they_were(monkeypatch):
    """Between parts of chip and host, the host's are ahead of the chip's: they are put back."""
    x, config = spikes((5, 30), 0.4), on()
    want, states = in_stretches(two_layers(), x, config, (5, 10))
    net = fed(two_layers(), x)
    sink = io.sink.RingBuffer(shape=net.out.shape, buffer=15)
    net.parts[-1].out_ports[0].connect(sink.a_in)
    net.run(lv.RunSteps(5), config)

    def interrupted(*args):
        """As Ctrl-C; a signal itself is ignored where the suite runs in the background."""
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(SpikingProgram, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            net.run(lv.RunSteps(10))
    net.run(lv.RunSteps(10))
    np.testing.assert_array_equal(sink.data.get(), want)
    for k, p in enumerate(net.parts):
        for v in p.vars:
            if v.role == "state":
                np.testing.assert_array_equal(v.get(), states[f"{k}.{v.name}"])
    net.stop()


def test_a_late_bias_leaves_the_circuits_own_leak():
    quiet = Noise(trial=0, threshold_trial=0, cadc=0, jitter=0)
    late = Net(
        Dense(weights=np.full((3, 2), 0.2)),
        LIFLateBias(shape=(3,), du=0.5, dv=0.1, vth=1.0, bias_mant=0.01, bias_start=30),
    )
    plain = Net(Dense(weights=np.full((3, 2), 0.2)), LIF(shape=(3,), du=0.5, dv=0.1, vth=1.0))
    config = on("emulated", seed=1, noise=quiet, dt=2e-6)
    early, before = (
        lv.simulate(n, steps=60, config=config, record=["parts[1].v"])["parts[1].v"]
        for n in (late, plain)
    )
    assert np.abs(before[:, 29]).max() > 0.005
    np.testing.assert_array_equal(early[:, :30], before[:, :30])
    assert (early[:, 59] > before[:, 59] + 0.05).all()


class Skip(AbstractProcess):
    """A second layer behind a delay line on the host, which hears the input as well."""

    def __init__(self) -> None:
        super().__init__()
        g = np.random.default_rng(0)
        self.inp, self.out = InPort((4,)), OutPort((3,))
        self.d0, self.a = (
            Dense(weights=g.normal(0.3, 0.3, (5, 4))),
            LIF(shape=(5,), du=0.5, dv=0.2, vth=1.0),
        )
        self.line, self.d1 = (
            DelayLine(shape=(5,), delays=2),
            Dense(weights=g.normal(0.3, 0.3, (3, 5))),
        )
        self.skip, self.b = (
            Dense(weights=g.normal(0.2, 0.3, (3, 4))),
            LIF(shape=(3,), du=0.5, dv=0.2, vth=1.0),
        )
        for a, b in (
            (self.inp, self.d0.s_in),
            (self.inp, self.skip.s_in),
            (self.d0.a_out, self.a.a_in),
            (self.a.s_out, self.line.s_in),
            (self.line.s_out, self.d1.s_in),
            (self.d1.a_out, self.b.a_in),
            (self.skip.a_out, self.b.a_in),
            (self.b.s_out, self.out),
        ):
            a.connect(b)


class Shared(AbstractProcess):
    """One connection onto two layers, the second behind the host as well."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = InPort((2,)), OutPort((2,))
        self.s, self.a, self.b = Dense(weights=np.eye(2)), lif(), lif()
        self.line, self.t = Delay(shape=(2,)), Dense(weights=np.eye(2))
        for a, b in (
            (self.inp, self.s.s_in),
            (self.s.a_out, self.a.a_in),
            (self.s.a_out, self.b.a_in),
            (self.a.s_out, self.line.in_ports[0]),
            (self.line.out_ports[0], self.t.s_in),
            (self.t.a_out, self.b.a_in),
            (self.b.s_out, self.out),
        ):
            a.connect(b)


def test_a_connection_runs_with_the_neurons_it_feeds():
    x = spikes((4, 40), 0.4)
    want = lv.simulate(Skip(), {"inp": x}, config=EXACT)["out"]
    assert want.sum() > 5
    np.testing.assert_array_equal(lv.simulate(Skip(), {"inp": x}, config=on())["out"], want)


def test_neurons_that_the_chip_has_not_stay_on_the_host():
    g = np.random.default_rng(0)
    net = Net(
        Dense(weights=g.normal(0.5, 0.3, (6, 4))),
        LIF(shape=(6,), du=0.5, dv=0.2, vth=1.0),
        Dense(weights=g.normal(0.5, 0.3, (3, 6))),
        ALIF(shape=(3,)),
    )
    x = spikes((4, 50), 0.4)
    want, got = (
        lv.simulate(net, {"inp": x}, config=c, record=["parts[3].v"]) for c in (EXACT, on())
    )
    np.testing.assert_allclose(got["parts[3].v"], want["parts[3].v"], rtol=1e-9, atol=1e-12)
    assert [p.target.backend for p in got.program.plan.parts] == ["bss2", "numba"]


def test_parts_of_the_host_lie_before_between_and_behind():
    """An encoder without a synapse, a delay line, and a resonator behind stay on numba; the chip
    runs twice."""
    g = np.random.default_rng(0)
    encoder, first = LIF(shape=(4,), vth=1.0), LIF(shape=(6,), du=0.5, dv=0.2, vth=1.0)
    line = DelayLine(shape=(6,), delays=[0, 1, 2, 0, 1, 2])
    net = Net(
        encoder,
        Dense(weights=g.normal(0.5, 0.3, (6, 4))),
        first,
        line,
        Dense(weights=g.normal(0.3, 0.3, (3, 6))),
        LIF(shape=(3,), du=0.5, dv=0.2, vth=1.0),
    )
    x = g.random((2, 4, 50)) * 0.3
    want = lv.simulate(
        net, {"inp": x}, config=EXACT, record=[encoder.v, encoder.s_out, first.s_out, line.s_out]
    )
    got = lv.simulate(
        net, {"inp": x}, config=on(), record=[encoder.v, encoder.s_out, first.s_out, line.s_out]
    )
    for target in got:
        np.testing.assert_allclose(got[target], want[target], rtol=1e-12)
    assert [p.target.backend for p in got.program.plan.parts] == ["numba", "bss2", "numba", "bss2"]


# -- the levels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", ["ideal", "quantised", "emulated"])
def test_few_synapses_of_many_stay_synapses(level, dtype, monkeypatch):
    """The same spikes and membranes, whose matrix nobody lays out; some synapses at one place, some
    neurons without one, some outputs taken in pieces and twice."""
    g = np.random.default_rng(3)
    rows, cols = g.integers(0, 580, 900), g.integers(0, 150, 900)
    rows[:2], cols[:2] = 7, 9
    x = spikes((150, 12), 0.3)

    class Pieces(AbstractProcess):
        def __init__(self):
            super().__init__()
            self.inp, self.out = InPort((150,)), OutPort((300,))
            self.synapses = Sparse(
                rows=rows, cols=cols, data=g.normal(0.6, 0.2, 900), shape=(580, 150)
            )
            self.n = LIF(shape=(300,), du=0.3, dv=0.1, vth=1.0)
            self.inp.connect(self.synapses.s_in)
            self.synapses.a_out[:300].connect(self.n.a_in)
            self.synapses.a_out[[570, 3, 7, 7]].connect(self.n.a_in[[0, 299, 1, 12]])
            self.n.s_out.connect(self.out)

    net = Pieces()

    def run():
        torch.manual_seed(0)
        got = lv.simulate(net, {"inp": x}, config=on(level, dtype=dtype, seed=1), record=["n.v"])
        return got["out"], got["n.v"], net.synapses.a_buff.get()

    want = run()
    assert want[0].any()
    monkeypatch.setattr(stored, "LARGE", 1000)
    monkeypatch.setattr(SparseModel, "matrix", None)
    for a, b in zip(want, run(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_through_few_synapses_of_many(monkeypatch):
    g = np.random.default_rng(5)
    rows, cols = g.integers(0, 40, 90), g.integers(0, 30, 90)
    x = torch.from_numpy(spikes((1, 30, 15), 0.3))

    def gradients():
        synapses = Sparse(rows=rows, cols=cols, data=np.full(90, 0.4), shape=(40, 30))
        net = Net(synapses, LIF(shape=(40,), du=0.3, dv=0.1, vth=1.0))
        module = lv.to_torch(net, dtype="float64", forward="bss2", chip=Chip(level="ideal"))
        y = module(x)
        y.square().sum().backward()
        return [y, *(p.grad for p in module.parameters())]

    want = gradients()
    monkeypatch.setattr(stored, "LARGE", 100)
    for a, b in zip(want, gradients(), strict=True):
        # sums of some hundred products of order 1, in another order
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(a.detach().abs().max() + 1))


def test_quantised_weights_are_what_hxtorch_writes():
    net = two_layers(bias=0.0)
    x = spikes((5, 60))
    for dense in (net.parts[0], net.parts[2]):
        w = dense.weights.get()
        scale = 63 / np.abs(w).max()
        dense.weights.set(np.trunc(np.abs(w * scale) + 0.5) * np.sign(w) / scale)
    rounded = lv.simulate(net, {"inp": x}, config=EXACT)["out"]
    again = two_layers(bias=0.0)
    np.testing.assert_array_equal(
        lv.simulate(again, {"inp": x}, config=on("quantised"))["out"], rounded
    )
    assert not np.array_equal(lv.simulate(again, {"inp": x}, config=on())["out"], rounded)


def test_a_chip_without_noise_is_quantised_and_a_chip_is_itself():
    net, x = two_layers(recurrent=True), spikes((4, 5, 80))

    def run(**kwargs) -> np.ndarray:
        return lv.simulate(net, {"inp": x}, config=on(**kwargs))["out"]

    quiet = Noise(trial=0, threshold_trial=0, cadc=0, jitter=0)  # its pattern alone
    np.testing.assert_array_equal(run(level="emulated", noise=Noise.none()), run(level="quantised"))
    np.testing.assert_array_equal(
        run(level="emulated", seed=3, noise=quiet), run(level="emulated", seed=3, noise=quiet)
    )
    assert not np.array_equal(
        run(level="emulated", seed=3, noise=quiet), run(level="emulated", seed=4, noise=quiet)
    )
    assert not np.array_equal(run(level="emulated", seed=3), run(level="emulated", seed=3))


def test_membranes_are_read_by_the_cadc():
    net, x = two_layers(), spikes((3, 5, 80))
    v = net.parts[1].v
    model = lv.simulate(net, {"inp": x}, config=on("quantised"), record=[v])[v]
    read = lv.simulate(
        net, {"inp": x}, config=on("emulated", noise=Noise.none(), dt=2e-6), record=[v]
    )[v]  # a sample in every step
    lsb = 0.8 / 70  # from reset, 80, to threshold, 150
    np.testing.assert_allclose(
        read, (np.floor(np.clip(model / lsb + 80, 0, 255)) - 80) * lsb, atol=1e-12
    )


def test_biases_beyond_the_leaks_range_run_over_synapses():
    bias = np.linspace(-1, 1, 9)  # leaks up to ten thresholds
    net = Net(Dense(weights=np.eye(9)), LIF(shape=(9,), du=0.3, dv=0.1, vth=1.0, bias_mant=bias))
    x = spikes((3, 9, 200), 0.1)
    want, got = (
        lv.simulate(net, {"inp": x}, config=c)["out"].mean((0, 2)) for c in (EXACT, on("quantised"))
    )
    np.testing.assert_allclose(got, want, atol=0.03)
    placed = place_process(net).populations[0]
    assert placed.fan_in == 1 + 1  # one input, one row that a generator drives


def test_what_exceeds_the_link_is_lost_and_counted():
    n = 200
    net = Net(Dense(weights=np.full((1, n), 0.01)), LIF(shape=(1,), du=0.5, dv=0.2, vth=1.0))
    rec = lv.simulate(net, {"inp": np.ones((n, 20))}, config=on("emulated"))
    (link,) = rec.program.links
    assert (link.sent, link.delivered, link.dropped) == (20 * n, 20 * 125, 20 * (n - 125))
    assert link.peak_rate == pytest.approx(n / 1e-6)


def test_processes_of_the_same_name_are_told_apart():
    first, second = (LIF(shape=(2,), du=0.5, dv=0.2, vth=0.5) for _ in range(2))
    before, between = (Dense(weights=np.full((2, 2), 0.4)) for _ in range(2))
    for a, b in itertools.pairwise((before, first, between, second)):
        a.out_ports[0].connect(b.in_ports[0])
    x = spikes((2, 30), 0.3)
    rec = lv.simulate(second, {before.s_in: x}, config=on("quantised"))
    assert rec[second.s_out].sum() > 3
    assert {p.name for p in rec.program.placement().populations} == {"LIF", "LIF#2"}
    assert [u.sent > 0 for u in rec.program.report().populations] == [True, True]


def test_the_report_tells_where_it_lies_and_what_it_did():
    net = two_layers(recurrent=True, bias=0.0)
    rec = lv.simulate(net, {"inp": spikes((5, 40))}, config=on("emulated"))
    report = rec.program.report()
    hidden, out = report.populations
    assert (hidden.neurons, hidden.fan_in, hidden.circuits, out.neurons, out.fan_in) == (
        9,
        5 + 9,
        1,
        4,
        9,
    )
    assert hidden.sent == hidden.delivered + hidden.dropped > 0
    assert report.time == pytest.approx(40e-6)
    assert "Net.parts[1]" in str(report)
    assert bss2.place(net).populations[0].size == 9


# -- multi-compartment neurons ---------------------------------------------------------------------


def dendrites(n: int = 3, weights: float = 0.3) -> tuple[AbstractProcess, dict[str, np.ndarray]]:
    tree = {
        "soma": Compartment(threshold=1.0, period=2),
        "basal": Compartment("soma", g=0.3, dv=0.2),
        "apical": Compartment("soma", g=0.15, du=0.3, threshold=0.8, reset=2.0, period=12),
    }

    class Cells(AbstractProcess):
        def __init__(self) -> None:
            super().__init__()
            self.top, self.bottom, self.out = InPort((4,)), InPort((2,)), OutPort((n,))
            self.a, self.b = (
                Dense(weights=np.full((n, 4), weights)),
                Dense(weights=np.full((n, 2), weights)),
            )
            self.cells = MultiCompartment(shape=(n,), tree=tree)
            self.top.connect(self.a.s_in)
            self.bottom.connect(self.b.s_in)
            self.a.a_out.connect(self.cells.apical_in)
            self.b.a_out.connect(self.cells.basal_in)
            self.cells.s_out.connect(self.out)

    return Cells(), {"top": spikes((2, 4, 80), 0.08), "bottom": spikes((2, 2, 80), 0.2, 1)}


def test_compartments_on_the_chip():
    net, x = dendrites()
    record = [f"cells.v_{n}" for n in net.cells.tree]
    want = lv.simulate(net, x, config=EXACT, record=record)
    got = lv.simulate(net, x, config=on(), record=record)
    assert want["out"].sum() > 10
    np.testing.assert_array_equal(got["out"], want["out"])
    for v in record:
        np.testing.assert_allclose(got[v], want[v], rtol=1e-9, atol=1e-12)
    rates = [lv.simulate(net, x, config=on("emulated", seed=k))["out"].mean() for k in range(5)]
    assert np.mean(rates) == pytest.approx(want["out"].mean(), rel=0.3)
    placed = place_process(net).populations[0]
    assert placed.circuits.shape == (3, 3)  # a circuit for every compartment


def test_a_conductance_has_a_range():
    net, x = dendrites()
    net.cells.g_basal.set(0.01)
    with pytest.raises(
        RoutingError,
        match=r"Cells.cells: tau_icc = dt / g_basal = 1e-06 s / 0.01 = 0.0001 s is outside the chip's 1e-07",
    ):
        lv.simulate(net, x, config=on("quantised"))


# -- perceptron mode -------------------------------------------------------------------------------


def sigma_delta(seed: int = 0, act_mode: ActivationMode = ActivationMode.RELU) -> Net:
    g = np.random.default_rng(seed)
    graded = {"num_message_bits": 16}
    return Net(
        Delta(shape=(6,), vth=1 / 64),
        Dense(weights=g.normal(0, 0.4, (40, 6)), **graded),
        SigmaDelta(shape=(40,), vth=1 / 64, bias=g.normal(0, 0.2, 40), act_mode=act_mode),
        Dense(weights=g.normal(0, 0.2, (5, 40)), **graded),
        Sigma(shape=(5,)),
    )


@pytest.mark.parametrize("act_mode", [ActivationMode.RELU, ActivationMode.UNIT])
def test_a_sigma_delta_network_multiplies_in_the_array(act_mode):
    net = sigma_delta(act_mode=act_mode)
    x = np.random.default_rng(1).random((30, 6, 12)).cumsum(-1) / 6
    want = lv.simulate(net, {"inp": x}, config=EXACT)["out"]
    ideal = lv.simulate(net, {"inp": x}, config=on())["out"]
    np.testing.assert_allclose(
        ideal, want, atol=0.1
    )  # float32 in the array: a change at the threshold may go out a step later
    assert np.abs(ideal - want).mean() < 1e-3
    runs = {
        level: lv.simulate(net, {"inp": x}, config=on(level))["out"]
        for level in ("quantised", "emulated")
    }
    errors = {level: (got - want).std() / want.std() for level, got in runs.items()}
    assert errors["quantised"] < 0.09
    assert errors["quantised"] < errors["emulated"] < 0.25
    report = lv.simulate(net, {"inp": x}, config=on("emulated")).program.report()
    assert [(u.k, u.n) for u in report.layers] == [
        (6, 6 * 40),
        (40, 8 * 5),
    ]  # copies in columns that are free
    assert all(u.num_sends > 1 and u.saturated < 0.01 for u in report.layers)


def test_a_convolution_of_graded_messages():
    g = np.random.default_rng(0)
    conv = Conv(
        weight=g.normal(0, 0.3, (6, 3, 2, 2)),
        input_shape=(6, 5, 4),
        groups=2,
        stride=(1, 2),
        padding=(1, 0),
        num_message_bits=16,
    )
    net = Net(Delta(shape=(6, 5, 4), vth=0.0), conv, SigmaDelta(shape=conv.a_out.shape, vth=0.0))
    x = g.random((2, 6, 5, 4, 8)) - 0.3
    want = lv.simulate(net, {"inp": x}, config=EXACT)["out"]
    np.testing.assert_allclose(lv.simulate(net, {"inp": x}, config=on())["out"], want, atol=1e-4)
    quantised = lv.simulate(net, {"inp": x}, config=on("quantised"))["out"].cumsum(-1)
    assert np.abs(quantised - want.cumsum(-1)).max() < 0.15


def test_rounding_down_in_every_tile_is_made_up_for():
    """300 rows are three tiles, each half an LSB too low on average."""
    g = np.random.default_rng(0)
    net = Net(
        Delta(shape=(300,), vth=0.0),
        Dense(weights=g.normal(0, 0.1, (200, 300)), num_message_bits=16),
        Sigma(shape=(200,)),
    )
    x = g.random((20, 300, 2))
    want, got = (
        lv.simulate(net, {"inp": x}, config=c, record=["parts[2].sigma"])
        for c in (EXACT, on("quantised"))
    )
    (product,) = got.program.programs[1].products
    ((weight_lsb, sends),) = product.sends
    assert len(product.placed(0)[0].tiles) == 3
    assert abs(
        (got["parts[2].sigma"] - want["parts[2].sigma"])[..., -1].mean()
    ) < 0.3 * product.lsb * weight_lsb / (0.002 * sends)


def activations(batch: int) -> np.ndarray:
    return np.tile(np.random.default_rng(1).random((30, 6, 12)).cumsum(-1) / 6, (batch // 30, 1, 1))


def test_a_product_of_nothing_is_nothing():
    """No scale is fitted on zeros, and a sample of zeros beside others stays 0."""
    g = np.random.default_rng(0)
    net = Net(
        Delta(shape=(6,), vth=0.0),
        Dense(weights=g.normal(0, 0.4, (5, 6)), num_message_bits=16),
        Sigma(shape=(5,)),
    )
    x = np.zeros((2, 6, 4))
    for level in ("ideal", "quantised", "emulated"):
        assert not lv.simulate(net, {"inp": x}, config=on(level), record=["parts[2].sigma"])[
            "parts[2].sigma"
        ].any()
    x[1] = g.random((6, 1))
    want, got = (
        lv.simulate(net, {"inp": x}, config=c, record=["parts[2].sigma"])["parts[2].sigma"]
        for c in (EXACT, on("quantised"))
    )
    assert not got[0].any()
    np.testing.assert_allclose(got[1], want[1], atol=0.05)


def test_scales_are_those_of_the_whole_stretch():
    """More vectors than are looked at, which grow with time: as exact as a few, and none
    saturated."""
    errors = []
    for batch in (30, 900):
        x = activations(batch)
        want = lv.simulate(sigma_delta(), {"inp": x[:30]}, config=EXACT)["out"].cumsum(-1)
        rec = lv.simulate(sigma_delta(), {"inp": x}, config=on("quantised"))
        errors.append((rec["out"][:30].cumsum(-1) - want).std())
        assert max(u.saturated for u in rec.program.report().layers) < 0.01
    assert errors[1] < 1.5 * errors[0] < 0.5


@pytest.mark.parametrize("cuts", [(1, 11), (2, 10), (6, 6)])
def test_scales_follow_activations_that_leave_the_range(cuts):
    """A first stretch of nothing or of little decides nothing about the next."""
    x = np.full((6, 12), 0.1)
    x[:, 0], x[:, 6:] = 0, 3.0
    want, _ = in_stretches(sigma_delta(), x, EXACT, cuts)
    got, _ = in_stretches(sigma_delta(), x, on("quantised"), cuts)
    np.testing.assert_allclose(got[:, -1], want[:, -1], atol=0.08 * np.abs(want[:, -1]).max())


def test_a_product_goes_on_where_it_was():
    net = sigma_delta()
    x = np.random.default_rng(1).random((6, 12))
    whole = lv.simulate(net, {"inp": x}, config=on(), record=["parts[1].a_out"])["parts[1].a_out"]
    feed = io.source.RingBuffer(data=x)
    net.parts[0].a_in.sources.clear()
    net.inp.targets.clear()
    feed.s_out.connect(net.parts[0].a_in)
    monitor = lv.proc.Monitor()
    monitor.probe(net.parts[1].a_out, 12)
    net.run(lv.RunSteps(5), on())
    net.run(lv.RunSteps(7))
    np.testing.assert_allclose(monitor.get_data()["Net.parts[1]"]["a_out"].T, whole, atol=1e-6)
    net.stop()


# -- refused, by name ------------------------------------------------------------------------------


def lif(**kwargs) -> LIF:
    return LIF(**{"shape": (2,), "du": 0.5, "dv": 0.1, "vth": 1.0, **kwargs})


ONE = np.ones((2, 2))
FOREIGN = {
    "a membrane that never leaks": (
        lambda: Net(Dense(weights=ONE), lif(dv=0)),
        RoutingError,
        "Net.parts[1]: tau_mem = dt / dv = 1e-06 s / 0 = inf s is outside the chip's 5e-07..6e-05 s; a dv",
    ),
    "slow": (
        lambda: Net(Dense(weights=ONE), lif(dv=0.01)),
        RoutingError,
        "RunConfig(dt=...) between 1.5e-07 and 6e-07 s brings Net.parts[1] into range",
    ),
    "slow and fast": (
        lambda: Net(Dense(weights=ONE), lif(dv=0.001, du=1)),
        RoutingError,
        "no dt brings Net.parts[1] into range; change dv",
    ),
    "long refractory": (
        lambda: Net(
            Dense(weights=ONE), LIFRefractory(shape=(2,), du=0.5, dv=0.1, refractory_period=50)
        ),
        RoutingError,
        "refractory_period of 50 steps is a refractory_time of 5e-05 s, the chip's ends at 3.2e-05 s",
    ),
    "reset": (
        lambda: Net(Dense(weights=ONE), LIFReset(shape=(2,), du=0.5, dv=0.1, reset_interval=5)),
        GraphError,
        "Net.parts[1]: LIFReset is no neuron BrainScaleS-2 is configured for here",
    ),
    "delays": (
        lambda: Net(DelayDense(weights=ONE, delays=3), lif()),
        GraphError,
        "Net.parts[0]: synapses of BrainScaleS-2 have no delays of their own, max_delay is 3",
    ),
    "nothing": (
        lambda: Net(Delay(shape=(2,))),
        GraphError,
        "Net: nothing in this graph runs on BrainScaleS-2",
    ),
    "loop": (
        lambda: Net(Dense(weights=ONE), lif(), back=((1, Delay(shape=(2,)), 0),)),
        GraphError,
        "Net.parts[1], Net.parts[0]: on the chip, in a loop with Net.loops[0] on the host; a chip cannot be stepped",
    ),
    "loop in perceptron mode": (
        lambda: Net(
            Dense(weights=ONE, num_message_bits=16),
            SigmaDelta(shape=(2,), vth=0.1),
            back=((1, Dense(weights=ONE, num_message_bits=16), 1),),
        ),
        GraphError,
        "in a loop with Net.parts[1] on the host",
    ),
    "current": (
        lambda: Net(Dense(weights=ONE), lif(), back=((0, Delay(shape=(2,)), 1),)),
        GraphError,
        "hears spikes through synapses (connections with num_message_bits=0); it also hears Net.loops[0]",
    ),
    "no threshold": (
        lambda: Net(Dense(weights=ONE), lif(vth=0)),
        RoutingError,
        "Net.parts[1]: the soma's threshold less its reset is 0 in one of the neurons",
    ),
    "one threshold of few LSB": (
        lambda: Net(Dense(weights=np.ones((3, 2))), lif(shape=(3,), vth=np.array([0.05, 1, 1]))),
        RoutingError,
        "leave 3.5 LSB from the soma's reset to its threshold",
    ),
    "a connection onto two parts": (
        lambda: Shared(),
        GraphError,
        "Shared.s: it feeds Shared.a and Shared.b, which run on the chip",
    ),
    "a huge convolution": (
        lambda: Net(
            Conv(weight=np.ones((24, 5, 5, 3)), input_shape=(66, 200, 3), stride=2),
            lif(shape=(31, 98, 24)),
        ),
        RoutingError,
        "its synapses are a matrix of 72912 x 39600",
    ),
    "debug without a host": (
        lambda: two_layers(),
        InputError,
        "debug and threads belong to the numba backend",
    ),
    "bias without leak": (
        lambda: Net(Dense(weights=ONE), lif(dv=0, bias_mant=0.1)),
        GraphError,
        "Net.parts[1]: a bias is the chip's leak potential times dv",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_a_chip_cannot_run_is_refused_by_name(case):
    make, error, message = FOREIGN[case]
    with pytest.raises(error, match=re.escape(message)):
        lv.simulate(make(), steps=3, config=on("quantised", debug="debug" in case))


def test_a_loop_too_large_for_a_chip_is_refused():
    g = np.random.default_rng(0)
    net = Net(
        Dense(weights=g.random((300, 10))),
        lif(shape=(300,)),
        back=((1, Dense(weights=g.random((300, 300))), 1),),
    )
    with pytest.raises(
        RoutingError,
        match=r"'Net.parts\[1\]': a recurrent network has to fit one chip of 512 circuits",
    ):
        lv.simulate(net, steps=1, config=on("quantised"))
    lv.simulate(net, steps=1, config=on())  # "ideal" knows no limits


def test_a_synapse_heard_beside_its_neuron_is_refused():
    net = Net(Dense(weights=ONE), lif())
    other = Sigma(shape=(2,))
    net.parts[0].a_out.connect(other.a_in)
    with pytest.raises(
        GraphError,
        match=r"Net.parts\[0\]: its synapses are on the chip, yet Sigma hears their currents",
    ):
        lv.simulate(net, steps=1, config=on())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("parts[1].u", "spikes (s_out) and membranes (v) are recorded, nothing else"),
        ("parts[0].a_buff", "membranes (of neurons) are recorded"),
        ("parts[1].a_in", "what arrives at a neuron of BrainScaleS-2 is not recorded"),
    ],
)
def test_what_a_chip_does_not_show_is_not_recorded(what, message):
    with pytest.raises(RecordingError, match=re.escape(message)):
        lv.simulate(two_layers(), steps=3, config=on(), record=[what])


def test_currents_are_no_output():
    net = Net(Dense(weights=ONE), lif())
    outer = AbstractProcess()
    outer.net, outer.out = net, OutPort((2,))
    net.parts[0].a_out.connect(outer.out)
    with pytest.raises(
        RecordingError, match="what arrives at a neuron of BrainScaleS-2 is not recorded"
    ):
        lv.simulate(outer, steps=3, config=on())


def test_parameters_are_recorded_as_they_are():
    net = two_layers()
    rec = lv.simulate(net, steps=3, config=on(), record=["parts[0].weights"])
    np.testing.assert_array_equal(rec["parts[0].weights"][..., 0], net.parts[0].weights.get())


def test_which_chip_and_how():
    net = two_layers()
    with pytest.raises(RunError, match="no chip"):
        lv.simulate(net, steps=3, config=lv.RunConfig(backend="bss2"))
    with bss2.use(Chip(level="ideal")):
        lv.simulate(net, steps=3, config=lv.RunConfig(backend="bss2"))
    with pytest.raises(
        RunError,
        match=r"backend 'bss2' runs for a number of steps that is known before; use RunSteps\(n\)",
    ):
        net.run(lv.RunContinuous(), on())
    net.stop()
    with pytest.raises(ModelSelectionError, match="precision 'floating_pt', asked for 'fixed_pt'"):
        lv.simulate(net, steps=3, config=on(precision="fixed_pt"))
    with pytest.raises(bss2.NoChipError, match="spiking graphs run on emulated chips"):
        lv.simulate(net, steps=3, config=on("hardware"))
    with pytest.raises(InputError, match="chip and dt belong to backend='bss2'"):
        lv.RunConfig(chip=Chip())
    with pytest.raises(InputError, match="dt is a number > 0, got 0"):
        lv.RunConfig(backend="bss2", dt=0)
    with pytest.raises(InputError, match="dt is a number > 0, got '1us'"):
        lv.RunConfig(backend="bss2", dt="1us")
    with pytest.raises(InputError, match=r"chip is a lavalike\.bss2\.Chip or None, got 'emulated'"):
        lv.RunConfig(backend="bss2", chip="emulated")


# -- training in the loop --------------------------------------------------------------------------


@pytest.mark.parametrize("recurrent", [False, True])
def test_at_ideal_a_chips_forward_and_gradient_are_torchs(recurrent):
    net = two_layers(recurrent)
    x = torch.from_numpy(spikes((3, 5, 40), 0.3))
    plain, chip = (
        lv.to_torch(net, dtype="float64"),
        lv.to_torch(net, dtype="float64", forward="bss2", chip=Chip(level="ideal")),
    )
    y = plain(x)
    assert torch.equal(chip(x), y)
    g = torch.randn(y.shape, dtype=torch.float64)
    of_torch, of_chip = (
        torch.autograd.grad((m(x) * g).sum(), list(m.parameters())) for m in (plain, chip)
    )
    assert sum(float(v.abs().sum()) for v in of_torch) > 1
    for a, b in zip(of_chip, of_torch, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_products_of_a_module_and_their_gradient_are_torchs():
    """From the states that the module has, whatever the Vars were set to since."""
    net = Net(Dense(weights=ONE * 0.3, num_message_bits=16), Sigma(shape=(2,)))
    held = net.parts[0].a_buff
    held.set([0.5, -0.25])
    plain, chip = (
        lv.to_torch(net, dtype="float64"),
        lv.to_torch(net, dtype="float64", forward="bss2", chip=Chip(level="ideal")),
    )
    held.set([0.0, 0.0])
    x = torch.linspace(-1, 2, 16).double().reshape(2, 2, 4)
    y = plain(x)
    assert y[0, :, 0].tolist() == [0.5, -0.25]
    torch.testing.assert_close(chip(x), y, rtol=1e-6, atol=1e-6)  # float32 in the array
    weight = torch.sin(torch.arange(y.numel()).double()).reshape(y.shape)
    want, got = (
        torch.autograd.grad((m(x) * weight).sum(), list(m.parameters())) for m in (plain, chip)
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_fused_loops_compute_the_same():
    net, x = two_layers(), torch.from_numpy(spikes((3, 5, 40), 0.3))
    module = lv.to_torch(
        net,
        dtype="float64",
        forward="bss2",
        chip=Chip(seed=2, noise=Noise(threshold_trial=0, cadc=0, jitter=0)),
    )
    results = []
    for how in (contextlib.nullcontext(), fused.plain_loops()):
        with how:
            y = module(x)
            results.append(
                [y, *torch.autograd.grad(y.mean(0).square().sum(), list(module.parameters()))]
            )
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_forward_is_what_the_chip_recorded():
    """Spikes of the module are the program's, to the bit, and the gradient is that of the model at
    them."""
    net, x = two_layers(), spikes((4, 5, 50), 0.3)
    quiet = Chip(seed=5, noise=Noise(trial=0, threshold_trial=0, cadc=0, jitter=0))
    module = lv.to_torch(net, dtype="float64", forward="bss2", chip=quiet)
    y = module(torch.from_numpy(x))
    run = lv.simulate(
        net, {"inp": x}, config=lv.RunConfig(backend="bss2", chip=quiet, dtype="float64")
    )
    np.testing.assert_array_equal(y.detach().numpy(), run["out"])
    with torch.no_grad():
        assert torch.equal(module(torch.from_numpy(x)), y)
    assert not torch.equal(y, lv.to_torch(net, dtype="float64")(torch.from_numpy(x)))
    y.sum().backward()
    assert all(
        float(p.grad.abs().sum()) > 0 for name, p in module.named_parameters() if "weights" in name
    )


@pytest.mark.parametrize("make", [two_layers, sigma_delta])
def test_training_in_the_loop_and_running_what_was_learnt(make):
    net, chip = make(), Chip(seed=1, calibrated=False)
    spiking = make is two_layers
    g = torch.Generator().manual_seed(0)
    x = torch.rand(40, net.inp.shape[0], 30 if spiking else 1, generator=g).double()
    x = (x < 0.3).double() if spiking else x.expand(-1, -1, 6)
    label = (x.mean(-1)[:, 0] > x.mean(-1)[:, 1]).long()

    def loss_of(y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(y.mean(-1) * 10 if spiking else y[..., -1], label)

    module = lv.to_torch(net, dtype="float64", forward="bss2", chip=chip)
    optimizer = torch.optim.Adam(module.parameters(), 0.03)
    losses = []
    for _ in range(15):
        loss = loss_of(module(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:2])
    before = net.parts[1 - spiking].weights.get()
    module.write_back()
    assert not np.array_equal(net.parts[1 - spiking].weights.get(), before)
    run = torch.from_numpy(
        lv.simulate(
            net, {"inp": x.numpy()}, config=lv.RunConfig(backend="bss2", chip=chip, dtype="float64")
        )["out"]
    )
    assert float(loss_of(run)) == pytest.approx(np.mean(losses[-3:]), rel=0.35)


@pytest.mark.parametrize("make", ["thresholds", "resets", "plateaus", "trained"])
def test_at_ideal_gradients_are_torchs_for_every_neuron(make):
    """Thresholds of their own, dendrites that reset below their threshold, and plateaus."""
    if make == "thresholds":
        g = np.random.default_rng(0)
        net = Net(
            Dense(weights=g.normal(0.2, 0.2, (4, 5))),
            LIF(shape=(4,), du=0.5, dv=0.1, vth=np.array([0.2, 0.8, 2.0, 0.5])),
        )
    elif make == "trained":
        net, _ = dendrites(weights=0.2)
    else:
        dendrite = {
            "resets": {"threshold": 0.5},
            "plateaus": {"threshold": 0.5, "reset": 2.0, "period": 5},
        }[make]
        tree = {
            "soma": Compartment(threshold=0.1),
            "den": Compartment("soma", dv=0.1, g=0.2, **dendrite),
        }
        net = Net(
            Dense(weights=np.diag([0.2, 0.5])),
            MultiCompartment(shape=(2,), tree={"den": tree["den"], "soma": tree["soma"]}),
        )
        net.parts[1].soma_in.sources.clear()
        net.parts[0].a_out.targets.clear()
        net.parts[0].a_out.connect(net.parts[1].den_in)
    g = torch.Generator().manual_seed(0)
    x = {p.name: (torch.rand(3, *p.shape, 40, generator=g) < 0.3).double() for p in net.in_ports}
    results = []
    for module in (
        lv.to_torch(net, dtype="float64"),
        lv.to_torch(net, dtype="float64", forward="bss2", chip=Chip(level="ideal")),
    ):
        y = module(x)
        weight = torch.sin(torch.arange(y.numel()).double()).reshape(y.shape)
        results.append((y, torch.autograd.grad((y * weight).sum(), list(module.parameters()))))
    (y, want), (out, got) = results
    assert y.sum() > 5
    assert torch.equal(out, y)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_module_is_refused_and_copied_as_a_whole():
    net = two_layers()
    module = lv.to_torch(net, forward="bss2", chip=Chip(level="ideal"))
    x = torch.from_numpy(spikes((2, 5, 30), 0.3)).float()
    assert torch.equal(copy.deepcopy(module)(x), module(x))
    for make, chip, error, message in (
        (lambda: Net(Dense(weights=ONE), lif(dv=0.001)), Chip(), RoutingError, "tau_mem = dt / dv"),
        (
            two_layers,
            Chip(level="hardware"),
            bss2.NoChipError,
            "spiking graphs run on emulated chips",
        ),
        (
            WithCurrent,
            Chip(),
            RecordingError,
            "WithCurrent.cur: what arrives at a neuron of BrainScaleS-2 is not recorded",
        ),
    ):
        with pytest.raises(error, match=message):
            lv.to_torch(make(), forward="bss2", chip=chip)


class WithCurrent(AbstractProcess):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out, self.cur = InPort((2,)), OutPort((2,)), OutPort((2,))
        self.d, self.l = Dense(weights=ONE), lif()
        for a, b in (
            (self.inp, self.d.s_in),
            (self.d.a_out, self.l.a_in),
            (self.l.s_out, self.out),
            (self.d.a_out, self.cur),
        ):
            a.connect(b)


def test_compartments_train_too():
    net, x = dendrites(weights=0.2)
    module = lv.to_torch(net, dtype="float64", forward="bss2", chip=Chip())
    y = module({k: torch.from_numpy(v) for k, v in x.items()})
    y.sum().backward()
    assert y.sum() > 0
    assert all(float(p.grad.abs().sum()) > 0 for p in module.parameters())


def test_to_torch_tells_what_forward_may_be():
    net = two_layers()
    with pytest.raises(InputError, match="forward is 'torch' or 'bss2', got 'numba'"):
        lv.to_torch(net, forward="numba")
    with pytest.raises(InputError, match="chip and dt belong to forward='bss2'"):
        lv.to_torch(net, chip=Chip())
    with pytest.raises(RunError, match="no chip"):
        lv.to_torch(net, forward="bss2")


# -- networks of files, and the demo ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LIF", "sigma-delta"])
def test_a_network_of_a_file_runs_and_trains_on_the_chip(kind, tmp_path):
    torch.manual_seed(1)
    course = networks.COURSES["yin-yang", kind]
    data = Data("yin-yang", *yin_yang(200, 0), *yin_yang(100, 1))
    x = networks.inputs("yin-yang", course, data.x_test)
    net = networks.build(course, [x.shape[1], 12, 3])
    with fused.plain_loops():
        net(torch.from_numpy(x[:50]))  # batch statistics
    path = slayer.export_hdf5(net.eval(), tmp_path / "net.net")
    what = demo_chip.on_chip(path, seed=0)
    messages = what.loaded.encode(
        networks.inputs("yin-yang", course, data.x_test, course.steps + what.loaded.lag)
    )
    want = lv.simulate(what.loaded, {"inp": messages}, config=EXACT)["out"].sum(-1)
    levels = ("ideal", "quantised", "emulated")
    got = {
        level: lv.simulate(what.loaded, {"inp": messages}, config=on(level))["out"].sum(-1)
        for level in levels
    }
    if kind == "LIF":
        np.testing.assert_array_equal(got["ideal"], want)
    scale = np.abs(want).mean()
    assert np.abs(got["ideal"] - want).mean() <= 0.01 * scale
    assert np.abs(got["quantised"] - want).mean() < 0.2 * scale
    assert np.abs(got["emulated"] - want).mean() < 0.5 * scale
    before = [
        v.get() for layer in what.loaded.layers for p in layer.procs for v in p.vars if v.trainable
    ]
    demo_chip.train(what, data, course, lambda items, label: items, 1, seed=0)
    after = [
        v.get() for layer in what.loaded.layers for p in layer.procs for v in p.vars if v.trainable
    ]
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(np.isfinite(v).all() for v in after)
