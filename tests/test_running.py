"""Life cycle: runs, pauses, Vars between runs, monitors, recordings."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import lavalike as lv
from lavalike.proc import LIF, DelayDense, Dense, Monitor, Sigma, Sparse, io
from lavalike.process import View
from tests.conftest import ROOT

EXACT = lv.RunConfig(precision="fixed_pt")


def loop():
    """A LIF that excites itself through a Dense."""
    lif = LIF(shape=(3,), du=0.1, dv=0.05, vth=1.0, bias_mant=[0.1, 0.2, 0.3])
    dense = Dense(weights=np.full((3, 3), 0.05))
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif, dense


def test_state_is_kept_between_runs():
    a, _ = loop()
    b, _ = loop()
    a.run(lv.RunSteps(30))
    for n in (7, 1, 22):
        b.run(lv.RunSteps(num_steps=n))
    np.testing.assert_array_equal(a.v.get(), b.v.get())
    assert a.v.get().dtype == np.float32


def test_get_and_set_before_the_first_run_and_at_a_pause():
    lif, dense = loop()
    lif.v.set([0.5, 0.0, 0.0])
    np.testing.assert_array_equal(lif.v.get(), [0.5, 0, 0])
    lif.run(lv.RunSteps(1))
    assert lif.v.get()[0] == np.float32(0.5) * np.float32(0.95) + np.float32(0.1)
    lif.v.set(0.25)
    np.testing.assert_array_equal(lif.v.get(), [0.25] * 3)
    lif.v.set(0.75, 1)
    np.testing.assert_array_equal(lif.v.get([0, 1]), [0.25, 0.75])
    assert dense.weights.get().dtype == np.float64


def test_setting_a_parameter_derives_constants_anew():
    """vth << 6 follows a set of vth (in Lava it did not), also from one number to one a neuron."""
    lif = LIF(shape=(2,), vth=100, bias_mant=64, bias_exp=5)
    lif.run(lv.RunSteps(3), EXACT)
    before = lif.v.get()
    lif.vth.set(1)
    lif.run(lv.RunSteps(1))
    np.testing.assert_array_equal(lif.v.get(), [0, 0])
    assert (before > 0).all()
    lif.bias_mant.set([0, 7])
    lif.run(lv.RunSteps(1))
    np.testing.assert_array_equal(lif.v.get(), [0, 0])
    lif.bias_mant.set([0, 1])
    lif.run(lv.RunSteps(1))
    np.testing.assert_array_equal(lif.v.get(), [0, 32])


def test_a_refused_set_changes_nothing():
    lif, _ = loop()
    lif.run(lv.RunSteps(5))
    v = lif.v.get()
    with pytest.raises(lv.VarError, match=r"LIF\.du: 3\.0 is outside"):
        lif.du.set(3.0)
    with pytest.raises(lv.VarError, match="does not fit shape"):
        lif.v.set(np.zeros(4))
    with pytest.raises(lv.VarError, match="NaN"):
        lif.v.set(np.nan)
    np.testing.assert_array_equal(lif.v.get(), v)
    assert lif.du.get() == 0.1
    lif.run(lv.RunSteps(1))


def test_an_integer_state_takes_no_fraction():
    lif = LIF(shape=(2,), vth=100)
    lif.run(lv.RunSteps(1), EXACT)
    assert lif.v.get().dtype == np.int32
    with pytest.raises(lv.VarError, match=r"dtype is int32; 0\.5 cannot be held"):
        lif.v.set(0.5)


def test_stop_is_optional_and_run_after_stop_is_legal():
    lif, _ = loop()
    lif.run(lv.RunSteps(4))
    v = lif.v.get()
    lif.stop()
    lif.stop()
    np.testing.assert_array_equal(lif.v.get(), v)
    lif.run(lv.RunSteps(4))
    other, _ = loop()
    other.run(lv.RunSteps(8))
    np.testing.assert_array_equal(lif.v.get(), other.v.get())


def test_continuous_run_is_paused_and_goes_on():
    """RunContinuous, pause, RunSteps: hangs in Lava."""
    sigma = Sigma(shape=(1,))
    source = io.source.RingBuffer(data=np.ones((1, 1)))
    source.s_out.connect(sigma.a_in)
    sigma.run(lv.RunContinuous(), lv.RunConfig(dtype="float64"))
    with pytest.raises(lv.RunError, match="pause"):
        sigma.sigma.get()
    sigma.pause()
    n = int(sigma.sigma.get()[0])
    sigma.run(lv.RunSteps(5))
    assert sigma.sigma.get()[0] == n + 5
    sigma.run(lv.RunSteps(5, blocking=False))
    sigma.wait()
    assert sigma.sigma.get()[0] == n + 10
    sigma.run(lv.RunContinuous())
    sigma.stop()
    assert not any(t.name == "lavalike-run" for t in threading.enumerate())


def test_another_config_compiles_anew_and_says_so():
    lif = LIF(shape=(1,), vth=1000, bias_mant=3)
    lif.run(lv.RunSteps(2), EXACT)
    assert lif.v.get() == 6 - 0
    with pytest.warns(lv.RecompileWarning, match="compiled anew"):
        lif.run(lv.RunSteps(2), lv.RunConfig(backend="torch"))
    assert lif.v.get() == 12
    sigma = Sigma(shape=(1,))
    lif.s_out.connect(sigma.a_in)
    with pytest.warns(lv.RecompileWarning, match="the graph changed"):
        sigma.run(lv.RunSteps(1))
    assert lif.v.get() == 15


def test_steps_and_periods_go_on_counting():
    """A source repeats its data over runs, a sink keeps the last steps."""
    source = io.source.RingBuffer(data=np.arange(3)[None])
    sink = io.sink.RingBuffer(shape=(1,), buffer=4)
    source.s_out.connect(sink.a_in)
    for n in (2, 3):
        sink.run(lv.RunSteps(n), EXACT)
    np.testing.assert_array_equal(sink.data.get(), [[1, 1, 2, 0]])
    assert sink.data.get().dtype == np.int32


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_monitor_records_many_targets_over_runs(backend):
    lif, dense = loop()
    monitor = Monitor()
    monitor.probe(lif.v, 10)
    monitor.probe(lif.s_out, 10)
    monitor.probe(dense.weights, 10)
    config = lv.RunConfig(backend=backend)
    reference = lv.simulate(lif, steps=10, config=config, record=[lif.v])
    lif.run(lv.RunSteps(4), config)
    lif.run(lv.RunSteps(6))
    data = monitor.get_data()
    np.testing.assert_array_equal(data["LIF"]["v"], reference[lif.v].T)
    np.testing.assert_array_equal(data["LIF"]["s_out"], reference["s_out"].T)
    assert data["Dense"]["weights"].shape == (10, 3, 3)
    with pytest.raises(lv.InputError, match="probed for 10 steps"):
        lif.run(lv.RunSteps(1))


def test_simulate_leaves_the_process_as_it_was():
    lif, _ = loop()
    lif.v.set(0.5)
    first = lv.simulate(lif, steps=20)["s_out"]
    np.testing.assert_array_equal(lv.simulate(lif, steps=20)["s_out"], first)
    np.testing.assert_array_equal(lif.v.get(), [0.5] * 3)


@pytest.mark.parametrize(
    ("inputs", "kwargs", "message"),
    [
        (
            {"s_in": np.zeros((4, 9))},
            {},
            r"input has shape \(4, 9\); expected \(3, 'time'\) or \('batch', 3, 'time'\)",
        ),
        ({"s_in": np.full((3, 9), np.nan)}, {}, "27 NaN"),
        ({"s_in": np.zeros((3, 9))}, {"steps": 10}, "input has 9 steps, the run 10"),
        ({"s_in": np.zeros((3, 9))}, {"steps": 0}, "steps is an integer >= 1, got 0"),
        ({}, {}, "steps is needed"),
        ({"nothing": np.zeros((3, 9))}, {}, "no InPort called 'nothing'; there are .*Dense.s_in"),
        ({"s_in": np.zeros((3, 0))}, {}, "steps is an integer >= 1"),
        ({"s_in": np.array([["a"] * 3] * 3)}, {}, "expected real numbers"),
    ],
)
def test_bad_inputs_are_named(inputs, kwargs, message):
    with pytest.raises(lv.InputError, match=message):
        lv.simulate(Dense(weights=np.eye(3)), inputs, **kwargs)


def test_a_connected_port_cannot_be_fed_and_names_must_be_unique():
    lif, dense = loop()
    with pytest.raises(
        lv.InputError, match=r"Dense\.s_in \(3,\) is connected already, to LIF\.s_out"
    ):
        lv.simulate(lif, {dense.s_in: np.zeros((3, 2))})
    a, b, c = LIF(shape=(1,), name="a"), Dense(weights=[[1.0]], name="b"), LIF(shape=(1,), name="c")
    a.s_out.connect(b.s_in)
    b.a_out.connect(c.a_in)
    with pytest.raises(lv.InputError, match=r"'a_in' is ambiguous: a\.a_in, c\.a_in"):
        lv.simulate(b, {"a_in": np.zeros((1, 2))})
    assert lv.simulate(b, {"a.a_in": np.ones((1, 2))}).keys()


def test_fixed_point_inputs_are_whole_numbers():
    with pytest.raises(lv.InputError, match="fixed_pt needs whole numbers"):
        lv.simulate(Dense(weights=np.eye(2)), {"s_in": np.full((2, 3), 0.5)}, config=EXACT)


def test_run_steps_must_be_positive():
    with pytest.raises(lv.InputError, match="num_steps is an integer >= 1, got 0"):
        lv.RunSteps(num_steps=0)


@pytest.mark.parametrize("graded", [0, 8])
@pytest.mark.parametrize(
    "config",
    [EXACT, lv.RunConfig(), lv.RunConfig(backend="torch")],
    ids=["fixed", "float", "torch"],
)
def test_sparse_and_undelayed_equal_dense(config, graded):
    """Sparse stores less, DelayDense with delay 0 waits no longer: both equal Dense."""
    g = np.random.default_rng(0)
    w = g.integers(-99, 99, (5, 7)) * (g.random((5, 7)) < 0.4)
    x = g.integers(-3, 4, (2, 7, 15))
    want = lv.simulate(Dense(weights=w, num_message_bits=graded), {"s_in": x}, config=config)[
        "a_out"
    ]
    for other in (
        Sparse(weights=w, num_message_bits=graded),
        DelayDense(weights=w, delays=0, num_message_bits=graded),
    ):
        np.testing.assert_allclose(
            lv.simulate(other, {"s_in": x}, config=config)["a_out"], want, rtol=1e-6
        )


@pytest.mark.parametrize("exp", [-3, 0, 2])
def test_delays_shift_and_survive_a_pause(exp):
    """A message of step t arrives at t + 1 + delay, however the run is cut and whatever is read
    between."""
    g = np.random.default_rng(1)
    w, d = g.integers(-99, 99, (4, 3)), g.integers(0, 5, (4, 3))
    x = g.integers(0, 2, (3, 20))
    kwargs = {"weights": w, "delays": d, "weight_exp": exp}
    whole = lv.simulate(DelayDense(**kwargs), {"s_in": x}, config=EXACT)["a_out"]
    arrived = np.zeros((5, 4, 26), np.int64)
    for delay in range(5):
        arrived[delay, :, 1 + delay : 21 + delay] = ((w & ~1) * (d == delay)) @ x
    shifted = arrived << exp if exp > 0 else arrived >> -exp
    np.testing.assert_array_equal(whole, shifted.sum(0)[:, :20])
    dense, source, sigma = DelayDense(**kwargs), io.source.RingBuffer(data=x), Sigma(shape=(4,))
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(sigma.a_in)
    for n in (3, 8, 9):
        sigma.run(lv.RunSteps(n), EXACT)
        dense.a_buff.set(dense.a_buff.get())
    np.testing.assert_array_equal(sigma.sigma.get(), whole.sum(1))


def test_ctrl_c_ends_a_run_between_stretches():
    """A run of a billion steps ends within a moment of SIGINT, with KeyboardInterrupt, and the
    state is readable."""
    code = """
import signal
import numpy as np, lavalike as lv
from lavalike.proc import LIF
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests behind it
lif = LIF(shape=(1000,), du=0.1, dv=0.1, vth=10.0, bias_mant=np.arange(1000) / 1000)
lif.run(lv.RunSteps(1))
try:
    print("ready", flush=True)
    lif.run(lv.RunSteps(10**9))
except KeyboardInterrupt:
    print("interrupted", lif.v.get().shape, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline().strip() == "ready"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.strip() == "interrupted (1000,)"


class Whole(lv.AbstractProcess):
    """A LIF inside of a process that has a model of its own."""

    def __init__(self):
        super().__init__()
        self.lif, self.count = LIF(shape=(2,), bias_mant=1), lv.Var((1,), 0)


@lv.implements(Whole, backend="numba")
class WholeModel(lv.NumbaModel):
    def step(count):
        count[0] += 1


def test_a_graph_is_the_same_from_every_end_and_around_what_a_model_hides():
    """No RecompileWarning (an error here) where nothing changed."""
    whole = Whole()
    whole.run(lv.RunSteps(2), lv.RunConfig(select={Whole: WholeModel}))
    program = whole.runtime.program
    whole.run(lv.RunSteps(3))
    assert whole.runtime.program is program
    assert whole.count.get() == 5
    lif, dense = loop()
    lif.run(lv.RunSteps(2))
    dense.run(lv.RunSteps(3))
    assert lif.runtime.program.step == 5


# -- what simulate takes, and how it refuses the rest ----------------------------------------------


class Inner(lv.AbstractProcess):
    """net.inp -> part.inp -> dense, and net.inp -> other: nothing else sends to any of them."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((3,)), lv.OutPort((2,))
        self.part = Part()
        self.other = Sigma(shape=(3,))
        self.inp.connect(self.part.inp)
        self.inp.connect(self.other.a_in)
        self.part.out.connect(self.out)

    @property
    def in_part(self):
        return self.part


class Part(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((3,)), lv.OutPort((2,))
        self.dense = Dense(weights=[[2, 4, 6], [8, 10, 12]], num_message_bits=8)
        View((self.inp,), np.array([2, 1, 0])).connect(self.dense.s_in)  # turned round on its way
        self.dense.a_out.connect(self.out)


@pytest.mark.parametrize(
    "config",
    [EXACT, lv.RunConfig(), lv.RunConfig(backend="torch")],
    ids=["fixed", "float", "torch"],
)
def test_a_port_behind_unfed_ones_is_fed(config):
    """By object, path and attributes. It gets what it is given, nothing else does; one further up
    the chain hands on."""
    net, x = Inner(), np.arange(12).reshape(3, 4)
    weights = np.array([[2, 4, 6], [8, 10, 12]])
    later = np.pad(x, ((0, 0), (1, 0)))[:, :4]
    for key in (
        net.part.dense.s_in,
        "part.dense.s_in",
        "in_part.dense.s_in",
        "Inner.part.dense.s_in",
    ):
        rec = lv.simulate(
            net,
            {key: x},
            config=config,
            record=[net.part.inp, net.part.dense.s_in, net.other.s_out],
        )
        np.testing.assert_array_equal(rec["out"], weights @ later)
        np.testing.assert_array_equal(rec[net.part.dense.s_in], x)
        assert not rec[net.part.inp].any()
        assert not rec[net.other.s_out].any()
    for key in (net.part.inp, net.inp):
        rec = lv.simulate(net, {key: np.stack([x, x])}, config=config, record=[net.other.s_out])
        np.testing.assert_array_equal(rec["out"], np.stack([weights[:, ::-1] @ later] * 2))
        assert rec[net.other.s_out].any() == (key is net.inp)
    two = lv.simulate(
        net, {net.part.dense.s_in: x, net.other.a_in: x}, config=config, record=[net.other.s_out]
    )
    np.testing.assert_array_equal(two["out"], weights @ later)
    np.testing.assert_array_equal(two[net.other.s_out], x.cumsum(1))


def test_a_port_that_something_sends_to_is_not_fed():
    net, lif = Inner(), LIF(shape=(3,))
    x = np.zeros((3, 4))
    with pytest.raises(
        lv.InputError,
        match=r"Inner\.part\.dense\.s_in \(3,\) gets what Inner\.inp \(3,\) gets, and both are fed",
    ):
        lv.simulate(net, {net.inp: x, net.part.dense.s_in: x})
    lif.s_out.connect(net.inp)
    with pytest.raises(
        lv.InputError,
        match=r"Inner\.part\.dense\.s_in \(3,\) is connected already, to LIF\.s_out \(3,\)",
    ):
        lv.simulate(net, {net.part.dense.s_in: x})


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda d: lv.simulate(Dense), TypeError, "simulate: process is a process, got <class"),
        (
            lambda d: lv.simulate(d, [1]),
            TypeError,
            "simulate: inputs is a dict of InPorts, or their names, to arrays or None, got",
        ),
        (
            lambda d: lv.simulate(d, {"s_inn": np.zeros((3, 2))}),
            ValueError,
            "no InPort called 's_inn'; did you mean 's_in'",
        ),
        (
            lambda d: lv.simulate(d, {3: np.zeros((3, 2))}),
            TypeError,
            "an InPort, or the name of one, expected, got 3",
        ),
        (
            lambda d: lv.simulate(d, {d.a_out: np.zeros((3, 2))}),
            TypeError,
            "an InPort expected, got OutPort Dense.a_out",
        ),
        (
            lambda d: lv.simulate(d, {lv.InPort((3,)): np.zeros((3, 2))}),
            ValueError,
            "belongs to none",
        ),
        (
            lambda d: lv.simulate(d, {LIF(shape=(3,)).a_in: np.zeros((3, 2))}),
            ValueError,
            "is not connected to Dense",
        ),
        (lambda d: lv.simulate(d, {"s_in": None}), TypeError, "input of s_in is None"),
        (
            lambda d: lv.simulate(d, {"s_in": [[1, 2], [3], [4, 5]]}),
            TypeError,
            "input of s_in is .*without gaps",
        ),
        (
            lambda d: lv.simulate(d, {"s_in": np.zeros((3, 2), complex)}),
            TypeError,
            "input of s_in has dtype complex128; expected real numbers",
        ),
        (lambda d: lv.simulate(d, {"s_in": "abc"}), TypeError, "input of s_in is 'abc'"),
        (
            lambda d: lv.simulate(d, {"s_in": np.full((3, 2), np.inf)}),
            ValueError,
            "6 NaN or infinite",
        ),
        (lambda d: lv.simulate(d, {"s_in": np.zeros((4, 2))}), ValueError, "expected .*'time'"),
        (lambda d: lv.simulate(d, {"s_in": np.zeros((0, 3, 2))}), ValueError, "batch of 0"),
        (
            lambda d: lv.simulate(d, {"s_in": np.zeros((3, 2)), d.s_in: np.zeros((3, 2))}),
            ValueError,
            "two inputs for one port",
        ),
        (
            lambda d: lv.simulate(d, steps="3"),
            TypeError,
            "simulate: steps is an integer >= 1, got '3'",
        ),
        (
            lambda d: lv.simulate(d, steps=2.5),
            TypeError,
            "simulate: steps is an integer >= 1, got 2.5",
        ),
        (
            lambda d: lv.simulate(d, steps=True),
            TypeError,
            "simulate: steps is an integer >= 1, got True",
        ),
        (
            lambda d: lv.simulate(d, steps=-1),
            ValueError,
            "simulate: steps is an integer >= 1, got -1",
        ),
        (
            lambda d: lv.simulate(d, steps=10**18),
            ValueError,
            "simulate: record: .* needs .* GiB; record less or run fewer steps",
        ),
        (
            lambda d: lv.simulate(d, steps=10**30),
            ValueError,
            "simulate: record: .* needs .* GiB; record less or run fewer steps",
        ),
        (
            lambda d: lv.simulate(d, steps=2, config="numba"),
            TypeError,
            "simulate: config is a RunConfig or None, got 'numba'",
        ),
        (
            lambda d: lv.simulate(d, steps=2, confg=None),
            TypeError,
            "simulate: no argument 'confg'; did you mean 'config'",
        ),
        (
            lambda d: lv.simulate(d, steps=2, record="weights"),
            TypeError,
            "simulate: record is a list of ports, Vars or names, got 'weights'",
        ),
        (
            lambda d: lv.simulate(d, steps=2, record=d.weights),
            TypeError,
            "simulate: record is a list of ports, Vars or names, got Dense.wei",
        ),
        (
            lambda d: lv.simulate(d, steps=2, record=["wieghts"]),
            ValueError,
            "no port or Var called 'wieghts'; did you mean 'weights'",
        ),
        (
            lambda d: lv.simulate(d, steps=2, record=[None]),
            TypeError,
            "a port or Var, or the name of one, expected, got None",
        ),
        (
            lambda d: lv.simulate(d, steps=2, record=[LIF(shape=(3,)).v]),
            ValueError,
            "is not connected to Dense",
        ),
        (lambda d: lv.simulate(), TypeError, "simulate: process is missing; it is a process"),
    ],
)
def test_what_simulate_does_not_take_is_named(call, kind, message):
    with pytest.raises(lv.InputError, match=message) as e:
        call(Dense(weights=np.eye(3), name="Dense"))
    assert isinstance(e.value, kind)
    assert isinstance(e.value, TypeError) == (kind is TypeError)


def test_a_recording_acts_as_a_dict():
    dense = Dense(weights=np.eye(3))
    rec = lv.simulate(dense, steps=2)
    assert list(rec) == [dense.a_out]
    assert [
        k in rec
        for k in ("a_out", dense.a_out, "Dense.a_out", "s_in", "aout", dense.weights, 3, None)
    ] == [True] * 3 + [False] * 5
    assert rec.get("nothing") is None
    for key, match in (
        ("a_ot", "no port or Var called 'a_ot'; did you mean 'a_out'.*recorded are Dense.a_out"),
        (
            "weights",
            r"Dense\.weights \(3, 3\) was not recorded; recorded are Dense\.a_out; simulate\(record=",
        ),
    ):
        with pytest.raises(KeyError, match=match) as e:
            rec[key]
        assert isinstance(e.value, lv.InputError)
    with pytest.raises(
        TypeError, match="Recording: a port, a Var or a name is expected, got 3"
    ) as e:
        rec[3]
    assert isinstance(e.value, lv.InputError)


def test_a_gradient_that_would_be_dropped_is_told():
    torch = pytest.importorskip("torch")
    x = torch.ones(3, 2, requires_grad=True)
    with pytest.raises(
        lv.InputError, match=r"inputs: .*no gradient passes here: detach\(\) it"
    ) as caught:
        lv.simulate(Dense(weights=np.eye(3)), {"s_in": x})
    assert isinstance(caught.value, TypeError)
    with pytest.raises(lv.VarError, match=r"weights: .*requires_grad=True"):
        Dense(weights=x)
    lv.simulate(Dense(weights=np.eye(3)), {"s_in": x.detach()})
