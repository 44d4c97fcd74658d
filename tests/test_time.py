"""Time and structure: the count of steps, phases, reset, copies, adopted children, hierarchies of
any depth, what a run looks at."""

from __future__ import annotations

import copy
import itertools
import pickle
import threading

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba import NumbaModel
from lavalike.dynamics import Dynamics
from lavalike.dynamics.ops import above, where
from lavalike.proc import (
    LIF,
    Delay,
    DelayDense,
    DelayLine,
    Delta,
    Dense,
    LIFLateBias,
    LIFRefractory,
    LIFReset,
    Monitor,
    Sigma,
    io,
    neuron_process,
)
from lavalike.process.process import component, walk

CONFIGS = [lv.RunConfig(), lv.RunConfig(backend="torch"), lv.RunConfig(debug=True)]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=["numba", "torch", "python"])


def phased():
    """All that depends on the step: a source and a sink that repeat, delays, resets, refractory
    periods, onsets."""
    source = io.source.RingBuffer(data=(np.arange(14).reshape(2, 7) % 3 == 0) * 1.0)
    steady = io.source.Constant(shape=(2,), value=0.1, start=9)
    delay = DelayDense(weights=[[0.6, 0.2], [0.1, 0.9]], delays=[[0, 2], [3, 1]])
    line = DelayLine(shape=(2,), delays=[1, 3])
    lifs = [
        LIFRefractory(shape=(2,), du=0.5, dv=0.1, vth=0.7, bias_mant=0.05, refractory_period=4),
        LIFReset(
            shape=(2,),
            du=0.5,
            dv=0.1,
            vth=0.7,
            reset_interval=5,
            reset_offset=2,
            bias_mant=0.1,
            bias_start=8,
        ),
        LIFLateBias(shape=(2,), dv=0.1, vth=0.7, bias_mant=0.2, bias_start=11),
    ]
    sink = io.sink.RingBuffer(shape=(2,), buffer=6)
    source.s_out.connect(delay.s_in)
    steady.s_out.connect(line.s_in)
    for lif in lifs:
        delay.a_out.connect(lif.a_in)
        line.s_out.connect(lif.a_in)
        lif.s_out.connect(sink.a_in)
    return sink


def values(process):
    return {v.path: v.get() for top in component(process) for p in walk(top) for v in p.vars}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def by_with(net, config):
    with net:
        net.run(lv.RunSteps(4))
    return net


def by_simulate(net, config):
    """simulate goes on from here, and changes nothing."""
    twin = copy.deepcopy(net)
    twin.run(lv.RunSteps(3))
    rec = lv.simulate(net, steps=3, config=config, record=[net.a_in])
    np.testing.assert_array_equal(rec[net.a_in][:, -1], twin.data.get()[:, 8 % 6])
    net.run(lv.RunSteps(4))
    return net


HOW = {
    "stop": lambda net, config: net.stop() or net.run(lv.RunSteps(4)) or net,
    "with": by_with,
    "simulate": by_simulate,
    "another config": lambda net, config: net,
    "deepcopy": lambda net, config: (
        copy.deepcopy(net).run(lv.RunSteps(3)) or net.run(lv.RunSteps(4)) or net
    ),
    "the deepcopy": lambda net, config: (net := copy.deepcopy(net)).run(lv.RunSteps(4)) or net,
    "copy": lambda net, config: (net := copy.copy(net)).run(lv.RunSteps(4)) or net,
    "pickle": lambda net, config: (
        (net := pickle.loads(pickle.dumps(net))).run(lv.RunSteps(4)) or net
    ),
    "pickle of a copy of a stopped one": lambda net, config: (
        net.stop()
        or (net := pickle.loads(pickle.dumps(copy.deepcopy(net)))).run(lv.RunSteps(4))
        or net
    ),
}


@each_config
@pytest.mark.parametrize("how", HOW)
def test_phases_go_on(config, how):
    """6 + 4 + 7 steps, whatever was done between, are 17."""
    whole, cut = phased(), phased()
    whole.run(lv.RunSteps(17), config)
    cut.run(lv.RunSteps(6), config)
    if how == "another config":
        with pytest.warns(lv.RecompileWarning):
            cut.run(lv.RunSteps(4), lv.RunConfig(check="finite", backend=config.backend))
        with pytest.warns(lv.RecompileWarning):
            cut.run(lv.RunSteps(7), config)
    else:
        cut = HOW[how](cut, config)
        assert cut.step == 10
        cut.run(lv.RunSteps(7))
    assert cut.step == whole.step == 17
    assert_same(values(whole), values(cut))


def test_the_count_of_steps_is_of_all_that_is_connected():
    lif, dense, lone = LIF(shape=(2,)), Dense(weights=np.eye(2)), LIF(shape=(2,))
    lif.s_out.connect(dense.s_in)
    assert (lif.step, dense.step) == (0, 0)
    lif.run(lv.RunSteps(3))
    dense.run(lv.RunSteps(2))
    assert (lif.step, dense.step, lone.step) == (5, 5, 0)
    twin = copy.deepcopy(lif)
    twin.run(lv.RunSteps(2))
    assert (lif.step, twin.step) == (5, 7)


def test_a_step_that_fails_is_not_counted():
    sigma, source = Sigma(shape=(1,)), io.source.RingBuffer(data=[[1e38]])
    source.s_out.connect(sigma.a_in)
    with pytest.raises(lv.RunError, match=r"Sigma\..*, step 4"):
        sigma.run(lv.RunSteps(9), lv.RunConfig(check="finite"))
    assert sigma.step == 3
    sigma.stop()
    assert sigma.step == 3


def test_counts_that_differ_are_told_when_they_are_joined():
    a, b, sink = LIF(shape=(1,)), LIF(shape=(1,)), Sigma(shape=(1,))
    a.run(lv.RunSteps(3))
    b.run(lv.RunSteps(7))
    for p in (a, b):
        p.s_out.connect(sink.a_in)
    assert sink.step == 7
    with pytest.warns(
        lv.RecompileWarning,
        match=r"the graph changed; .* had done 3 and 7 steps: all go on from step 7",
    ):
        sink.run(lv.RunSteps(1))
    assert a.step == 8
    c, d = LIF(shape=(1,)), Dense(weights=[[1.0]])
    c.run(lv.RunSteps(1))
    c.stop()
    d.run(lv.RunSteps(2))
    d.stop()
    c.s_out.connect(d.s_in)
    with pytest.warns(lv.RecompileWarning, match="had done 1 and 2 steps"):
        c.run(lv.RunSteps(1))
    c.run(lv.RunSteps(1))
    assert c.step == 4
    e = LIF(shape=(1,))
    d.a_out.connect(e.a_in)  # it has no steps of its own to keep
    with pytest.warns(lv.RecompileWarning) as told:
        e.run(lv.RunSteps(1))
    assert "had done" not in str(told[0].message)


# -- far out ---------------------------------------------------------------------------------------


def at(process, step):
    """As after so many steps."""
    process._structure.root().step = step
    return process


@each_config
@pytest.mark.parametrize("step", [2**24 - 3, 2**24 + 1, 2**32 - 5, 2**33 + 1, 2**53 - 40])
def test_far_out_a_refractory_period_is_as_long_as_at_first(config, step):
    """Beyond 2**24 and 2**32 steps, also over stop and simulate, recorded and set."""

    def made():
        return LIFRefractory(
            shape=(2,), du=1, dv=0, vth=1.0, bias_mant=[0.3, 0.6], refractory_period=3
        )

    first, late = made(), at(made(), step)
    want = lv.simulate(first, steps=30, config=config, record=["v", "refractory_period_end"])
    got = lv.simulate(late, steps=30, config=config, record=["v", "refractory_period_end"])
    np.testing.assert_array_equal(got["s_out"], want["s_out"])
    np.testing.assert_array_equal(got["v"], want["v"])
    ends = want["refractory_period_end"]
    assert ends.max() > 25
    assert ends.dtype == np.float64
    fired = want["s_out"].cumsum(1) > 0
    np.testing.assert_array_equal(got["refractory_period_end"][fired], (ends + step)[fired])
    for p in (first, late):
        p.run(lv.RunSteps(11), config)
        p.stop()
        p.run(lv.RunSteps(4), config)
        p.refractory_period_end.set(p.refractory_period_end.get() + 1)
        p.run(lv.RunSteps(15))
    assert late.step == step + 30
    np.testing.assert_array_equal(first.v.get(), late.v.get())
    np.testing.assert_array_equal(
        first.refractory_period_end.get() + step, late.refractory_period_end.get()
    )


@each_config
def test_far_out_sources_delays_and_resets_keep_their_phase(config):
    step = 2**33 + 2  # a multiple of 7, 6 and 5 and 4 more
    step -= (step - 4) % 210
    near, far = at(phased(), 4), at(phased(), step)
    source = next(p for p in component(far) if isinstance(p, io.source.RingBuffer))
    for net, more in ((near, 0), (far, step - 4)):
        for p in component(net):
            if isinstance(p, LIFLateBias):
                p.bias_start.set(p.bias_start.get() + more)
            if isinstance(p, io.source.Constant):
                p.start.set(p.start.get() + more)
            if isinstance(p, LIFRefractory):
                p.refractory_period_end.set(p.refractory_period_end.get() + more)
        net.run(lv.RunSteps(20), config)
    near, far = values(near), values(far)
    for path, value in near.items():
        if "start" not in path and "end" not in path:
            # torch counts in float64 beyond 2**23 steps: other roundings of some 20 sums
            rounding = 20 * np.finfo(np.float32).eps if config.backend == "torch" else 0
            np.testing.assert_allclose(far[path], value, rtol=rounding, err_msg=path)
    assert source.step == step + 20


def test_a_neuron_of_ones_own_that_counts_down():
    kwargs = {
        "inputs": ("a_in",),
        "outputs": ("s_out",),
        "states": ("left",),
        "ends": (("left", "until"),),
    }
    with pytest.raises(lv.InputError, match="declare it with fixed=False"):
        Dynamics(holding, **kwargs)
    with pytest.raises(lv.InputError, match="ends names states"):
        Dynamics(holding, **{**kwargs, "ends": (("lift", "until"),)}, fixed=False)
    p = neuron_process(Dynamics(holding, **kwargs, fixed=False))(shape=(1,), until=3)
    rec = lv.simulate(p, {"a_in": [[0, 0, 0, 0, 5, 0, 0]]}, record=["until"])
    assert rec["s_out"].tolist() == [[1, 1, 0, 0, 1, 1, 1]]
    assert rec["until"].tolist() == [[3, 3, 3, 3, 10, 10, 10]]


def holding(a_in, left):
    left = where(above(a_in, 0), a_in, left - 1)
    return above(left, 0), left


@pytest.mark.parametrize("var", ["left", "until"])
def test_a_neurons_states_have_no_time(var):
    """Numba would take neurons in another order than that of their messages."""

    class Holding(lv.AbstractProcess):
        dynamics = Dynamics(
            holding,
            ("a_in",),
            ("s_out",),
            ("left",),
            ends=(("left", "until"),) if var == "until" else (),
            fixed=False,
        )

        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = lv.InPort((2, 3)), lv.OutPort((2, 3))
            setattr(self, var, lv.Var((2, 3), np.arange(6.0).reshape(2, 3), time_last=True))

    with pytest.raises(lv.GraphError, match=rf"Holding.{var}: .* make its Var without time_last"):
        lv.simulate(Holding(), steps=1)


def test_a_process_may_have_attributes_called_step_mark_and_reset():
    """A Var, a state or a parameter of that name goes before ours; the count is kept all the
    same."""
    neuron = neuron_process(Dynamics(stepping, ("a_in",), ("s_out",), ("step",)))(
        shape=(1,), reset=2
    )
    other = Sigma(shape=(1,))
    neuron.s_out.connect(other.a_in)
    for _ in range(2):
        neuron.run(lv.RunSteps(3))
        other.stop()
    assert neuron.step.get().tolist() == [12]
    assert neuron.reset.get().tolist() == [2]
    assert other.step == 6
    other.reset()
    assert (other.step, neuron.step.get().tolist()) == (0, [0])


def stepping(a_in, step, reset):
    step = step + reset + a_in
    return step, step


# -- reset -----------------------------------------------------------------------------------------


@each_config
def test_reset_puts_a_network_back_to_where_it_began(config):
    net = phased()
    lif = next(p for p in component(net) if isinstance(p, LIFReset))
    lif.v.set(0.25)  # before the first run: part of where it began
    net.reset()
    begin = values(net)
    net.run(lv.RunSteps(9), config)
    first = values(net)
    for stop in (False, True):
        if stop:
            net.stop()
        net.reset()
        assert net.step == 0
        assert_same(values(net), begin)
        net.run(lv.RunSteps(9))
        assert_same(values(net), first)
    assert net.runtime.config is config


def test_reset_goes_back_to_the_mark_and_leaves_parameters():
    lif, monitor = LIF(shape=(2,), bias_mant=0.25, vth=10.0), Monitor()
    monitor.probe(lif.v, 20)
    lif.run(lv.RunSteps(2))
    lif.mark()
    lif.run(lv.RunSteps(3))
    lif.bias_mant.set(1.0)
    lif.v.set(9.0)
    lif.reset()
    assert lif.step == 2
    assert lif.v.get().tolist() == [0.5, 0.5]
    lif.run(lv.RunSteps(1))
    assert lif.v.get().tolist() == [1.5, 1.5]
    assert monitor.get_data()["LIF"]["v"][:, 0].tolist() == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    twin = copy.deepcopy(lif)
    twin.reset()
    assert (twin.step, lif.step) == (2, 3)
    assert twin.v.get().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_reset_compiles_nothing_and_keeps_what_was_set(backend):
    """Messages on their way at the mark are on it again; weights and a bias set since the mark
    count, also for what was at rest."""
    config = lv.RunConfig(backend=backend)
    lif, dense, end = (
        LIF(shape=(2,), bias_mant=1.0, vth=0.5),
        Dense(weights=np.eye(2)),
        LIF(shape=(2,), du=1.0, vth=100.0),
    )
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(end.a_in)
    still = Delta(shape=(2,), vth=0.0)
    dense.a_out.connect(still.a_in)
    lif.run(lv.RunSteps(3), config)
    runtime = lif.runtime
    lif.mark()
    lif.run(lv.RunSteps(4))
    v, sent = end.v.get(), still.act.get()
    lif.reset()
    assert end.v.get().tolist() == [2, 2]
    lif.run(lv.RunSteps(4))
    np.testing.assert_array_equal(end.v.get(), v)
    np.testing.assert_array_equal(still.act.get(), sent)
    dense.weights.set(2 * np.eye(2))
    lif.reset()
    lif.run(lv.RunSteps(2))
    assert end.v.get().tolist() == [2 + 1 + 2] * 2  # one message was sent before
    assert lif.runtime is runtime


class Learning(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.s_out, self.gain = lv.OutPort((2,)), lv.Var((2,), 1.0, role="parameter")


@lv.implements(Learning, backend="numba", precision="floating_pt")
class LearningModel(NumbaModel):
    """Its step changes what follows from a parameter."""

    def derive(self, values):
        return {"now": values["gain"].astype(np.float64)}

    def step(s_out, now):
        for i in range(s_out.size):
            now[i] += 1
            s_out[i] = now[i]


def test_reset_undoes_what_steps_made_of_a_parameter():
    process, monitor = Learning(), Monitor()
    monitor.probe(process.s_out, 100)
    process.run(lv.RunSteps(2))
    process.reset()
    process.run(lv.RunSteps(1))
    process.gain.set([5.0, 5.0])
    process.reset()
    process.run(lv.RunSteps(2))
    got = monitor.get_data()["Learning"]["s_out"][:, 0]
    assert got.tolist() == [2, 3, 2, 6, 7]


def test_reset_of_a_graph_that_is_made_of_models():
    """States behind a SubProcessModel too, and those of processes that came later."""
    layer = Layer()
    layer.run(lv.RunSteps(4), lv.RunConfig(select={Layer: LayerModel}))
    v = layer.v.get()
    later = Sigma(shape=(2,))
    layer.s_out.connect(later.a_in)
    with pytest.warns(lv.RecompileWarning):
        layer.run(lv.RunSteps(2))
    layer.reset()
    assert layer.v.get().tolist() == [0, 0]
    layer.run(lv.RunSteps(4))
    np.testing.assert_array_equal(layer.v.get(), v)


class Layer(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out, self.v = lv.InPort((2,)), lv.OutPort((2,)), lv.Var((2,))


@lv.implements(Layer)
class LayerModel(lv.SubProcessModel):
    """Its parts: some in a list, some made in a loop under one name."""

    def __init__(self, process):
        self.parts = [Delay(shape=(2,))]
        process.a_in.connect(self.parts[0].s_in)
        port = self.parts[0].a_out
        for _ in range(2):
            self.lif = LIF(shape=(2,), du=1.0, vth=3.0, bias_mant=0.3)
            port.connect(self.lif.a_in)
            port = self.lif.s_out
        port.connect(process.s_out)
        process.v.alias(self.lif.v)


@pytest.mark.parametrize(
    "call", [lambda p: p.reset(), lambda p: p.mark(), copy.deepcopy, copy.copy, pickle.dumps]
)
def test_a_running_network_is_not_copied_marked_or_reset(call):
    sigma, source = Sigma(shape=(1,)), io.source.RingBuffer(data=np.ones((1, 1)))
    source.s_out.connect(sigma.a_in)
    sigma.run(lv.RunContinuous())
    try:
        with pytest.raises(
            lv.RunError, match=r"cannot (reset|mark|copy) .* while .* running; pause\(\) first"
        ):
            call(sigma)
    finally:
        sigma.pause()
    assert sigma.sigma.get() == sigma.step
    call(sigma)
    assert not any(t.name == "lavalike-run" for t in threading.enumerate())


# -- copies ----------------------------------------------------------------------------------------


def test_a_copy_is_a_copy_of_all_that_is_connected():
    lif, dense, monitor = (
        LIF(shape=(3,), bias_mant=0.4, vth=1.0),
        Dense(weights=np.full((3, 3), 0.1)),
        Monitor(),
    )
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    monitor.probe(lif.s_out, 40)
    lif.run(lv.RunSteps(10), lv.RunConfig(dtype="float64"))
    for twin in (
        copy.deepcopy(lif),
        pickle.loads(pickle.dumps(lif)),
        copy.copy(lif),
        copy.deepcopy(lif.v).process,
    ):
        other = twin.s_out.targets[0].process
        assert twin is not lif
        assert other is not dense
        assert other.a_out.targets[0] is twin.a_in
        assert twin.v.process is twin
        twin.run(lv.RunSteps(10))
        assert lif.step == 10
        assert twin.v.get().dtype == np.float64  # with the last config
        assert len(twin.probes[0].data()) == 20
    lif.run(lv.RunSteps(10))
    np.testing.assert_array_equal(lif.v.get(), twin.v.get())
    np.testing.assert_array_equal(lif.probes[0].data(), twin.probes[0].data())
    one, two = copy.deepcopy([lif, dense])
    assert one.s_out.targets[0].process is two


def test_a_copy_keeps_what_a_user_put_into_it():
    class Noted(LIF):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.notes = {"a": [1, 2]}

        def __getstate__(self):
            return super().__getstate__() | {"secret": None}

    p = Noted(shape=(1,))
    p.secret = 3
    twin = copy.deepcopy(p)
    assert twin.notes == p.notes
    assert twin.notes is not p.notes
    assert twin.secret is None


# -- children --------------------------------------------------------------------------------------


def chain(net, hold):
    """Three Dense and LIF in a row from net.inp to net.out; ``hold(net, k, dense, lif)`` puts them
    into the net."""
    net.inp, net.out = lv.InPort((2,)), lv.OutPort((2,))
    port = net.inp
    for k in range(3):
        dense, lif = Dense(weights=np.eye(2)), LIF(shape=(2,), vth=0.5, du=1.0, dv=1.0)
        hold(net, k, dense, lif)
        port.connect(dense.s_in)
        dense.a_out.connect(lif.a_in)
        port = lif.s_out
    port.connect(net.out)
    return net


def appended(net, k, *parts):
    if k == 0:
        net.layers = []
    net.layers.extend(parts)


def appended_to_a_list_of_the_callers(net, k, *parts):
    if k == 0:
        net.mine = mine = []
        net.add = mine.append
    for p in parts:
        net.add(p)


def in_a_dict(net, k, *parts):
    if k == 0:
        net.layers = {}
    net.layers.update({f"{type(p).__name__}{k}": p for p in parts})


def nested(net, k, *parts):
    if k == 0:
        net.layers = {"stack": []}
    net.layers["stack"].append(parts)


def one_name(net, k, dense, lif):
    net.dense, net.lif = dense, lif


def list_anew(net, k, *parts):
    net.layers = [*(net.layers if k else ()), *parts]


def list_replaced(net, k, *parts):
    net.layers = [*parts]


@pytest.mark.parametrize(
    "hold",
    [
        appended,
        appended_to_a_list_of_the_callers,
        in_a_dict,
        nested,
        one_name,
        list_anew,
        list_replaced,
    ],
)
def test_children_are_adopted_however_they_are_held(hold):
    net = chain(lv.AbstractProcess(name="net"), hold)
    x = np.zeros((2, 8))
    x[0, 0] = 1
    for at in (
        (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net)))
        if hold is not appended_to_a_list_of_the_callers
        else (net,)
    ):
        assert lv.simulate(at, {"inp": x})["out"][0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
        assert len(at.procs) == 6
        assert len({p.path for p in at.procs}) == 6
        assert all(p.parent is at for p in at.procs)


def test_names_of_children():
    net = lv.AbstractProcess(name="net")
    net.layers = [LIF(shape=(1,)) for _ in range(2)]
    net.named = {"a": Sigma(shape=(1,)), "b": (Dense(weights=[[1.0]]),)}
    for _ in range(3):
        net.lif = LIF(shape=(1,))
    net.own = LIF(shape=(1,), name="mine")
    assert [p.path for p in net.procs] == [
        "net.layers[0]",
        "net.layers[1]",
        "net.named['a']",
        "net.named['b'][0]",
        "net.lif",
        "net.lif#2",
        "net.lif#3",
        "net.mine",
    ]
    net.layers.append(Sigma(shape=(1,)))
    assert net.procs[-1].path == "net.layers[2]"
    rec = lv.simulate(net, steps=2, record=["net.lif#2.v", "layers[1].v", net.lif.v])
    assert [v.process for v in rec][:2] == [net.procs[5], net.layers[1]]
    with pytest.raises(
        lv.InputError, match=r"'lif\.v' is ambiguous: several processes were assigned to net\.lif"
    ):
        lv.simulate(net, steps=2, record=["lif.v"])


def test_two_children_of_one_name_are_told():
    net = lv.AbstractProcess(name="net")
    net.a = LIF(shape=(1,), name="x")
    other = Sigma(shape=(1,), name="x")
    for assign in (
        lambda: setattr(net, "b", other),
        lambda: setattr(net, "b", [other]),
        lambda: setattr(net, "b", [Sigma(shape=(1,), name="y") for _ in range(2)]),
    ):
        with pytest.raises(
            lv.GraphError,
            match=r"net: two inner processes are called '[xy]', .* and Sigma; give one another name=",
        ):
            assign()
        assert not hasattr(net, "b")
        assert [p.path for p in net.procs] == ["net.x"]
        assert other.parent is None
    other.name = "z"
    net.b = other
    with pytest.raises(lv.GraphError, match=r"net: an inner process is called 'x' already, LIF"):
        other.name = "x"
    other.name = "w"
    assert [p.path for p in net.procs] == ["net.x", "net.w"]
    assert lv.simulate(net, steps=1, record=["w.s_out"])["w.s_out"].tolist() == [[0]]


def test_a_part_that_was_not_assigned_is_told():
    net, lif = lv.AbstractProcess(name="net"), LIF(shape=(2,))
    net.inp, net.out = lv.InPort((2,)), lv.OutPort((2,))
    net.inp.connect(lif.a_in)
    lif.s_out.connect(net.out)
    with pytest.raises(
        lv.ConnectError,
        match=r"If LIF is a part of net, assign it to an attribute there \(self\.lif = \.\.\., or in a",
    ):
        lv.simulate(net, steps=1)
    net.lif = lif
    assert lv.simulate(net, steps=1)["out"].shape == (2, 1)


def test_parts_of_a_sub_process_model_are_adopted():
    layer = Layer()
    layer.run(lv.RunSteps(3), lv.RunConfig(select={Layer: LayerModel}))
    assert [p.path for p in layer.procs] == ["Layer.parts[0]", "Layer.lif", "Layer.lif#2"]
    np.testing.assert_allclose(layer.v.get(), [0.9, 0.9], rtol=1e-6)
    twin = copy.deepcopy(layer)
    twin.run(lv.RunSteps(3))
    np.testing.assert_allclose(twin.v.get(), [1.8, 1.8], rtol=1e-6)
    np.testing.assert_allclose(layer.v.get(), [0.9, 0.9], rtol=1e-6)


def test_replaced_vars_and_ports_are_no_longer_a_processs():
    p = lv.AbstractProcess()
    p.v = lv.Var((1,))
    p.w = lv.Var((2,))
    p.a = lv.InPort((1,))
    p.v, p.a = lv.Var((3,)), lv.InPort((4,))
    assert [v.shape for v in p.vars] == [(3,), (2,)]
    assert [x.shape for x in p.in_ports] == [(4,)]
    version = p._structure.version
    p.again = p.v
    p.v = p.v
    assert [v.name for v in p.vars] == ["v", "w"]
    assert p._structure.version == version


class Wrap(lv.AbstractProcess):
    def __init__(self, inner, where="inner"):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))
        setattr(self, where, inner)
        self.a_in.connect(inner.a_in)
        inner.s_out.connect(self.s_out)


def test_a_hierarchy_of_a_thousand_levels():
    p = inmost = LIF(shape=(2,), vth=0.5, du=1.0)
    for _ in range(1000):
        p = Wrap(p)
    assert inmost.path == "Wrap" + ".inner" * 1000
    assert len(list(walk(p))) == 1001
    assert lv.simulate(p, {"a_in": np.ones((2, 3))})["s_out"].sum() == 6
    p.run(lv.RunSteps(2))
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        twin.run(lv.RunSteps(1))
        assert (twin.step, p.step) == (3, 2)
        assert len(list(walk(twin))) == 1001
    assert lv.simulate(p, steps=1, record=[f"{inmost.path}.v"])[inmost.v].shape == (2, 1)
    with pytest.raises(lv.InputError, match="no port or Var called 'vv'"):
        lv.simulate(p, steps=1, record=["vv"])


def test_a_chain_of_a_thousand_processes():
    """Flat: copied, pickled, compiled without following one port after the other, also where none
    of them has a delay."""
    lifs = [LIF(shape=(1,), vth=0.5, du=1.0, dv=1.0) for _ in range(1100)]
    for a, b in itertools.pairwise(lifs):
        a.s_out.connect(b.a_in)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(lifs[0])))
    assert len(component(twin)) == 1100
    assert lv.simulate(lifs[0], {"a_in": [[1, 0]]}, record=[lifs[-1].s_out])[
        lifs[-1].s_out
    ].tolist() == [[1, 0]]


# -- what a run looks at ---------------------------------------------------------------------------


def test_a_run_looks_at_no_process(monkeypatch):
    """Nor does an equal RunConfig, or a Monitor, compile anew or walk."""
    lifs, dense = [LIF(shape=(2,)) for _ in range(3)], Dense(weights=np.eye(2))
    for a in lifs:
        a.s_out.connect(dense.s_in)
    monitor = Monitor()
    monitor.probe(lifs[0].v, 100)
    dense.run(lv.RunSteps(1), lv.RunConfig())
    engine = dense.runtime.program
    (program,) = engine.programs

    def never(*args):
        raise AssertionError

    for name in ("vars", "in_ports", "out_ports", "procs", "own_procs"):
        monkeypatch.setattr(lv.AbstractProcess, name, property(never))
    monkeypatch.setattr(type(program), "_lay", never)
    for _ in range(3):
        lifs[0].run(lv.RunSteps(2), lv.RunConfig())
    assert dense.runtime.program is engine
    assert dense.step == 7


@pytest.mark.parametrize(
    "edit",
    [
        lambda a, b: b.s_out.connect(a.a_in),
        lambda a, b: setattr(a, "extra", Sigma(shape=(1,))),
        lambda a, b: setattr(a, "more", lv.Var((1,))),
    ],
)
def test_every_edit_compiles_anew(edit):
    a, b = lv.AbstractProcess(), LIF(shape=(1,))
    a = LIF(shape=(1,))
    a.run(lv.RunSteps(1))
    edit(a, b)
    with pytest.warns(lv.RecompileWarning, match="the graph changed"):
        a.run(lv.RunSteps(1))
    a.run(lv.RunSteps(1))


def test_ports_connected_before_they_are_a_processs():
    a, b = lv.AbstractProcess(), LIF(shape=(1,))
    port = lv.OutPort((1,))
    port.connect(b.a_in)
    b.run(lv.RunSteps(2))
    a.s_out = port
    assert a.step == 2


def test_one_monitor_at_two_networks():
    """They stay two, each with its own steps."""
    a, b, monitor = (
        LIF(shape=(1,), bias_mant=0.1, name="a"),
        LIF(shape=(1,), bias_mant=0.5, name="b"),
        Monitor(),
    )
    for p in (a, b):
        monitor.probe(p.v, 10)
    a.run(lv.RunSteps(2))
    b.run(lv.RunSteps(3))
    a.run(lv.RunSteps(1))
    assert (a.step, b.step) == (3, 3)
    data = monitor.get_data()
    np.testing.assert_allclose(data["a"]["v"][:, 0], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(data["b"]["v"][:, 0], [0.5, 1.0, 1.5], rtol=1e-6)
    twin = copy.deepcopy(a)
    twin.run(lv.RunSteps(2))
    assert (twin.step, a.step, len(monitor.get_data()["a"]["v"])) == (5, 3, 3)


def test_a_probes_array_grows():
    """Many short runs are one array; those with another dtype are kept beside."""
    lif, one, two = LIF(shape=(3,), bias_mant=[1, 2, 3], vth=1e6), Monitor(), Monitor()
    one.probe(lif.v, 3000)
    two.probe(lif.v, 2500)
    assert one.get_data()["LIF"]["v"].shape == (0, 3)
    for _ in range(40):
        lif.run(lv.RunSteps(1))
    array = one._targets[0].sink.rows
    for _ in range(20):
        lif.run(lv.RunSteps(3))
    assert one._targets[0].sink.rows is array
    lif.run(lv.RunSteps(900))
    with pytest.warns(lv.RecompileWarning):
        lif.run(lv.RunSteps(500), lv.RunConfig(dtype="float64"))
    for monitor in (one, two):
        data = monitor.get_data()["LIF"]["v"]
        assert data.dtype == np.float64
        np.testing.assert_array_equal(data, np.arange(1, 1501)[:, None] * [1, 2, 3])
        assert len(monitor._targets[0].sink.rows) <= 2 * 500
    with pytest.raises(lv.InputError, match="probed for 2500 steps, 1500 are recorded and 1001"):
        lif.run(lv.RunSteps(1001))
