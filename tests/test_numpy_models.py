"""Models in Python: what they receive and send, among parts of other backends; errors that say who
waits for whom."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import threading

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numpy import Inlet
from lavalike.backends.numpy.program import NumpyProgram
from lavalike.errors import DeadlockError
from lavalike.proc import LIF, DelayDense, Dense, Monitor, Sigma
from lavalike.testing import check_model
from tests.conftest import ROOT

F64 = lv.RunConfig(dtype="float64")


class Count(lv.AbstractProcess):
    """Sends 1, 2, 3, ..."""

    def __init__(self, n=2):
        super().__init__()
        self.out, self.k = lv.OutPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Count, backend="numpy")
class CountModel(lv.NumpyModel):
    def run_spk(self):
        self.k += 1
        self.out.send(self.k)


class Through(lv.AbstractProcess):
    def __init__(self, n=2, name=None):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((n,)), lv.OutPort((n,))


@lv.implements(Through, backend="numpy")
class ThroughModel(lv.NumpyModel):
    def run_spk(self):
        self.out.send(self.inp.recv())


class Late(lv.AbstractProcess):
    """Sends what it received in the step before, so that it closes loops."""

    def __init__(self, n=2):
        super().__init__()
        self.inp, self.out, self.held = lv.InPort((n,)), lv.OutPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Late, backend="numpy")
class LateModel(lv.NumpyModel):
    def run_spk(self):
        self.out.send(self.held)
        self.held[:] = self.inp.recv()


class Total(lv.AbstractProcess):
    def __init__(self, n=2):
        super().__init__()
        self.inp, self.total = lv.InPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Total, backend="numpy")
class TotalModel(lv.NumpyModel):
    def run_spk(self):
        self.total += self.inp.recv()


def process(ports=(), outs=(), shape=(2,), name="p", **variables):
    """A process with those ports and Vars."""

    class P(lv.AbstractProcess):
        def __init__(self):
            super().__init__(name=name)
            for port in ports:
                setattr(self, port, lv.InPort(shape))
            for port in outs:
                setattr(self, port, lv.OutPort(shape))
            for key, value in variables.items():
                setattr(self, key, lv.Var(np.shape(value) or (1,), value))

    return P()


def model(of, run_spk=None, **members):
    """A model of the process ``of`` with that step."""
    kind = type("M", (lv.NumpyModel,), members | ({"run_spk": run_spk} if run_spk else {}))
    return lv.implements(type(of), backend="numpy")(kind)


def chain(*parts):
    for a, b in itertools.pairwise(parts):
        out = next(iter(a.out_ports))
        out.connect(next(iter(b.in_ports)))
    return parts


def run(of, steps=1, config=F64):
    with of:
        of.run(lv.RunSteps(steps), config)


# -- messages --------------------------------------------------------------------------------------


def test_a_chain_in_any_order_of_making():
    parts = [Total(), Through(), Through(), Count()]
    chain(*parts[::-1])
    run(parts[0], 4)
    assert parts[0].total.get().tolist() == [10, 10]
    assert parts[3].k.get().tolist() == [4, 4]


def test_what_is_received_is_the_readers_own():
    """Copied when it is sent, one for each reader."""
    source = process(outs=("out",), a=[1.0, 2.0])
    seen = []

    def send(self):
        self.out.send(self.a)
        self.a += 1

    def take(self):
        x = self.inp.recv()
        x *= 10
        seen.append(x.tolist())

    model(source, send)
    sinks = [process(("inp",)), process(("inp",))]
    for sink in sinks:
        model(sink, take)
        source.out.connect(sink.inp)
    run(source, 2)
    assert seen == [[10, 20], [10, 20], [20, 30], [20, 30]]
    assert source.a.get().tolist() == [3, 4]


def test_several_messages_a_step_in_their_order_for_each_reader():
    source, sink = process(outs=("out",)), process(("inp",))
    seen = []

    def send(self):
        for k in range(3):
            self.out.send(np.full(2, 3 * (self.time_step - 1) + k))

    model(source, send)
    model(sink, lambda self: seen.extend(self.inp.recv()[0] for _ in range(3)))
    source.out.connect(sink.inp)
    lif = LIF(shape=(2,), du=1.0, dv=0.0, vth=1e9, name="lif")  # hears one a step, the oldest
    source.out.connect(lif.a_in)
    run(source, 2)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert lif.u.get().tolist() == [1, 1]


def test_more_messages_than_a_queue_holds_are_taken_while_the_sender_waits():
    source, sink = process(outs=("out",)), process(("inp",))
    seen = []
    model(source, lambda self: [self.out.send([k, k]) for k in range(200)])
    model(sink, lambda self: seen.extend(self.inp.recv()[0] for _ in range(200)))
    chain(source, sink)
    run(source)
    assert seen == [*range(200)]


def test_what_waits_for_two_parts_of_a_source_stays_in_its_place():
    """A Monitor on what is sent binds the ports anew."""
    source, sink, seen = process(outs=("out",), shape=(4,)), process(("inp",), shape=(4,)), []

    def send(self):
        for k in (2 * self.time_step - 2, 2 * self.time_step - 1):
            self.out.send(np.arange(4) + 10 * k)

    model(source, send)
    model(sink, lambda self: seen.append(self.inp.recv().tolist()))
    source.out[:2].connect(sink.inp[:2])
    source.out[2:].connect(sink.inp[2:])
    with sink:
        sink.run(lv.RunSteps(2), F64)
        monitor = Monitor()
        monitor.probe(source.out, 10)
        sink.run(lv.RunSteps(2), F64)
        source.out[::-1].connect(sink.inp)  # compiled anew; the new connection brings nothing old
        with pytest.warns(lv.RecompileWarning):
            sink.run(lv.RunSteps(1), F64)
    assert seen[:4] == [[k, k + 1, k + 2, k + 3] for k in (0, 10, 20, 30)]
    assert seen[4] == [40 + 83, 41 + 82, 42 + 81, 43 + 80]


def test_what_waits_for_another_backend_outlives_the_program():
    source, sigma = process(outs=("out",)), Sigma(shape=(2,))
    model(source, lambda self: [self.out.send([k, k]) for k in range(5) if self.time_step == 1])
    chain(source, sigma)
    other = Sigma(shape=(2,))
    with source:
        source.run(lv.RunSteps(2), F64)
        source.out.connect(other.a_in)
        with pytest.warns(lv.RecompileWarning):
            source.run(lv.RunSteps(3), F64)
        assert sigma.sigma.get().tolist() == [0 + 1 + 2 + 3 + 4] * 2
    source, sigma = process(outs=("out",), name="p"), Sigma(shape=(2,))
    model(source, lambda self: [self.out.send([k, k]) for k in range(3)])
    chain(source, sigma)

    class Own(lv.NumpyModel):
        def run_spk(self):
            self.s_out.send(self.a_in.recv())

    lv.implements(Sigma, backend="numpy")(Own)
    try:
        source.run(lv.RunSteps(1), F64)
        config = lv.RunConfig(select={sigma: "numpy"})
        with (
            pytest.warns(lv.RecompileWarning),
            pytest.raises(lv.RunError, match=r"p\.out: 2 messages wait for a reader that another"),
        ):
            source.run(lv.RunSteps(1), config)
        source.stop()
    finally:
        Sigma.models.remove(Own)


def test_dtype_as_sent_or_declared():
    kinds = []

    def of(declared, data):
        source, sink = process(outs=("out",)), process(("inp",))
        model(source, lambda self: self.out.send(data))
        members = {} if declared is None else {"inp": lv.Declared(declared)}
        model(sink, lambda self: kinds.append(self.inp.recv().dtype), **members)
        chain(source, sink)
        run(source)
        return kinds.pop().name

    assert of(None, np.array([True, False])) == "bool"
    assert of(None, np.float32([1, 2])) == "float32"
    assert of(float, np.array([True, False])) == "float64"
    assert of(np.int8, np.int32([1, 2])) == "int32"
    assert of(int, [0.5, 1]) == "float64"  # the one that holds both


def test_an_unconnected_port_reads_zeros_and_drops():
    p, seen = process(("inp",), ("out",)), []

    def step(self):
        assert self.inp.probe()
        seen.append(self.inp.recv())
        self.out.send([1, 2])

    model(p, step)
    run(p)
    np.testing.assert_array_equal(seen, [[0, 0]])


def test_several_sources_are_added_up_also_through_views():
    a, b, sink = process(outs=("out",)), process(outs=("out",), shape=(2, 1)), process(("inp",))
    seen = []
    model(a, lambda self: self.out.send(np.array([True, False])))
    model(b, lambda self: self.out.send(np.array([[True], [True]])))
    model(sink, lambda self: seen.append((self.inp.peek(), self.inp.recv())))
    a.out.connect(sink.inp)
    a.out[::-1].connect(sink.inp)
    b.out.flatten().connect(sink.inp)
    b.out[1:, 0].connect(sink.inp[:1])
    run(sink)
    for x in seen[0]:
        np.testing.assert_array_equal(x, [3, 2])


def test_peek_leaves_the_message_there_and_probe_lets_the_others_go_first():
    late, found = process(("inp",)), []

    def step(self):
        found.append((self.inp.probe(), self.inp.peek()[0], self.inp.recv()[0]))
        found.append(self.inp.probe())

    model(late, step)  # made, and so asked, before what it hears
    source = process(outs=("out",))
    model(source, lambda self: self.out.send([7, 7]))
    chain(source, late)
    run(late)
    assert found == [(True, 7, 7), False]


def test_a_model_that_sends_in_some_steps_only():
    source, sink = process(outs=("out",)), process(("inp",), n=0)
    model(source, lambda self: self.out.send([1, 1]) if self.time_step % 2 else None)

    def count(self):
        if self.inp.probe():
            self.inp.recv()
            self.n += 1

    model(sink, count)
    chain(source, sink)
    with sink:
        sink.run(lv.RunSteps(5))
        assert sink.n.get().item() == 3


# -- among other backends --------------------------------------------------------------------------


class Matrix(lv.AbstractProcess):
    """What Dense does, in Python."""

    def __init__(self, weights):
        super().__init__()
        self.s_in, self.a_out = lv.InPort((weights.shape[1],)), lv.OutPort((weights.shape[0],))
        self.weights, self.a_buff = lv.Var(weights.shape, weights), lv.Var(weights.shape[:1], 0.0)


@lv.implements(Matrix, backend="numpy")
class MatrixModel(lv.NumpyModel):
    def run_spk(self):
        self.a_out.send(self.a_buff)
        self.a_buff[:] = 0
        for j in np.flatnonzero(self.s_in.recv()):  # in the order in which the kernel adds
            self.a_buff += self.weights[:, j]


def recurrent(connection, n=12):
    g = np.random.default_rng(0)
    lif = LIF(shape=(n,), du=0.3, dv=0.1, vth=1.0, bias_mant=g.random(n) * 0.3)
    dense = connection(weights=g.normal(size=(n, n)) * 0.3)
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif


def test_a_loop_of_numba_and_python_is_bit_for_bit_all_numba():
    found = []
    for kind in (Matrix, Dense):
        lif = recurrent(kind)
        rec = lv.simulate(lif, steps=150, config=F64, record=[lif.v, lif.s_out])
        found.append((rec[lif.v], rec[lif.s_out]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert found[0][1].sum() > 100


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_part_runs_in_the_middle_of_a_models_step(backend):
    """What it receives is made of what it sent in the same step, and so is what another part hears
    after."""
    if backend == "torch":
        pytest.importorskip("torch")
    p, seen = process(("back",), ("out", "more")), []

    def step(self):
        self.out.send([self.time_step, 2 * self.time_step])
        x = self.back.recv()
        seen.append(x.tolist())
        self.more.send(x + 1)

    model(p, step)
    first, second, sink = Sigma(shape=(2,)), Sigma(shape=(2,)), Total()
    p.out.connect(first.a_in)
    first.s_out.connect(p.back)
    p.more.connect(second.a_in)
    first.s_out.connect(second.a_in)
    chain(second, sink)
    run(p, 3, lv.RunConfig(dtype="float64", backend=backend))
    assert seen == [[1, 2], [3, 6], [6, 12]]
    assert sink.total.get().tolist() == [3 + (3 + 7) + (3 + 7 + 13), 5 + (5 + 13) + (5 + 13 + 25)]


def test_parts_between_python_models_in_one_step():
    """Python -> LIF -> Python -> LIF -> Python, all without delay: the LIFs are not computed
    together."""
    a, b, c = Count(), Through(), Total()
    first, second = (Sigma(shape=(2,)) for _ in range(2))
    chain(a, first, b, second, c)
    rec = lv.simulate(a, steps=4, config=F64, record=[c.total, second.s_out, b.inp])
    np.testing.assert_array_equal(rec[second.s_out][0], [1, 4, 10, 20])
    np.testing.assert_array_equal(rec[c.total][1], [1, 5, 15, 35])
    np.testing.assert_array_equal(rec[b.inp][0], [1, 3, 6, 10])


def test_two_parts_of_other_backends_hear_each_other_and_python():
    pytest.importorskip("torch")
    expect = None
    for select in ({}, {"b": "torch"}, {"d": "torch", "b": "torch"}, {"a": "torch", "b": "torch"}):
        g = np.random.default_rng(1)
        source, sink = Count(3), Total(3)
        a, b = (LIF(shape=(3,), du=0.5, dv=0.1, vth=1.0, name=n) for n in "ab")
        d = Dense(weights=g.normal(0.5, 0.5, (3, 3)), name="d")
        e = Dense(weights=g.normal(0.2, 0.5, (3, 3)), name="e")
        source.out.connect(a.a_in)
        chain(a, d, b, e)
        e.a_out.connect(a.a_in)
        b.s_out.connect(sink.inp)
        config = lv.RunConfig(dtype="float64", select=select)
        rec = lv.simulate(source, steps=12, config=config, record=[sink.total, a.v])
        found = np.concatenate([rec[sink.total], rec[a.v]])
        expect = found if expect is None else expect
        np.testing.assert_allclose(found, expect, rtol=1e-12)


def test_precisions_meet_in_python():
    source, sink = process(outs=("out",)), process(("inp",), last=[0, 0])
    model(source, lambda self: self.out.send([100.0, 20000.0]))
    model(sink, lambda self: setattr(self, "last", self.inp.recv()))
    lif = LIF(shape=(2,), du=0, dv=4095, vth=1000)
    chain(source, lif, sink)
    run(source, 2, lv.RunConfig(precision="fixed_pt"))
    assert sink.last.get().tolist() == [0, 1]
    bad = process(outs=("out",), name="bad")
    model(bad, lambda self: self.out.send([0.5, 1.0]))
    lif = LIF(shape=(2,), du=0, dv=0, vth=1000)
    chain(bad, lif)
    with pytest.raises(lv.RunError, match=r"bad\.out: 0\.5 is sent.*int32"):
        bad.run(lv.RunSteps(1), lv.RunConfig(precision="fixed_pt"))


def test_a_stimulus_a_batch_and_what_is_recorded():
    """One instance a sample; ports of containers too."""

    class Net(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
            self.late, self.sigma = Late(), Sigma(shape=(2,))
            self.inp.connect(self.late.inp)
            self.late.out.connect(self.sigma.a_in)
            self.sigma.s_out.connect(self.out)
            self.late.out.connect(self.out)

    x = np.random.default_rng(0).normal(size=(3, 2, 6))
    net = Net()
    rec = lv.simulate(
        net, {"inp": x}, config=F64, record=["late.held", "late.out", "sigma.sigma", "inp"]
    )
    shifted = np.concatenate([np.zeros((3, 2, 1)), x[..., :-1]], -1)
    np.testing.assert_array_equal(rec["late.held"], x)
    np.testing.assert_array_equal(rec["late.out"], shifted)
    np.testing.assert_array_equal(rec["inp"], x)
    np.testing.assert_allclose(rec["out"], shifted + shifted.cumsum(-1))
    assert net.late.held.get().tolist() == [0, 0]


def test_a_chip_between_python_models():
    """What computes all steps at once hears all that was sent, and is heard after."""
    pytest.importorskip("torch")
    from lavalike.bss2 import Chip

    spikes = (np.random.default_rng(1).random((4, 20)) < 0.5).astype(float)
    found = []
    for select in ({}, {"dense": "bss2", "lif": "bss2"}):
        source, sink, late = process(outs=("out",), shape=(4,)), Total(3), Late(3)
        model(source, lambda self: self.out.send(spikes[:, self.time_step - 1]))
        dense = Dense(weights=np.random.default_rng(0).normal(0.3, 0.5, (3, 4)), name="dense")
        lif = LIF(shape=(3,), du=0.6, dv=0.2, vth=1.0, name="lif")
        chain(source, dense, lif, late, Sigma(shape=(3,)), sink)
        chip = Chip(level="ideal") if select else None
        config = lv.RunConfig(dtype="float64", select=select, chip=chip)
        rec = lv.simulate(source, steps=20, config=config, record=[sink.total, lif.s_out])
        found.append((rec[sink.total], rec[lif.s_out]))
        assert len(rec.program.plan.parts) == (3 if select else 1)
    np.testing.assert_array_equal(*(x[0] for x in found))
    np.testing.assert_array_equal(*(x[1] for x in found))
    assert found[0][1].sum() > 5


def test_what_a_python_model_sends_past_a_chip_is_recorded_as_it_is_heard(monkeypatch):
    """In float32, whatever it is sent in. After an error on the chip the graph takes no further
    step."""
    pytest.importorskip("torch")
    from lavalike.backends.bss2.program import SpikingProgram
    from lavalike.bss2 import Chip

    spikes = (np.random.default_rng(1).random((4, 20)) < 0.5).astype(float)
    source = process(outs=("out",), shape=(4,), name="source")
    model(source, lambda self: self.out.send(spikes[:, self.time_step - 1]))
    dense = Dense(weights=np.random.default_rng(0).normal(0.3, 0.5, (3, 4)), name="dense")
    lif = LIF(shape=(3,), du=0.6, dv=0.2, vth=1.0, name="lif")
    chain(source, dense, lif)
    sigma = Sigma(shape=(4,))  # after the chip, in a part of its own
    lif.s_out.connect(sigma.a_in[:3])
    source.out.connect(sigma.a_in)
    config = lv.RunConfig(select={"dense": "bss2", "lif": "bss2"}, chip=Chip(level="ideal"))
    found = [
        lv.simulate(source, steps=20, config=config, record=[lif.s_out, sigma.s_out, *more])
        for more in ([], [source.out])
    ]
    np.testing.assert_array_equal(found[0][lif.s_out], found[1][lif.s_out])
    np.testing.assert_array_equal(found[0][sigma.s_out], found[1][sigma.s_out])
    assert found[1][sigma.s_out][3, -1] == spikes[3].sum()
    np.testing.assert_array_equal(found[1][source.out], spikes)

    def interrupted(*args):
        raise KeyboardInterrupt

    source.run(lv.RunSteps(2), config)
    with monkeypatch.context() as patch:
        patch.setattr(SpikingProgram, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source.run(lv.RunSteps(2))
    with pytest.raises(
        lv.RunError, match=r"KeyboardInterrupt left parts of the graph at different steps; stop\(\)"
    ):
        source.run(lv.RunSteps(2))
    source.stop()


# -- which model -----------------------------------------------------------------------------------


def test_a_python_model_of_a_subclass_goes_before_what_its_base_has():
    class Own(LIF):
        pass

    class Silent(lv.NumpyModel):
        def run_spk(self):
            self.s_out.send(self.a_in.recv() * 0 + 7)

    lv.implements(Own, backend="numpy")(Silent)
    assert lv.simulate(Own(shape=(1,)), steps=1)["s_out"].item() == 7
    assert lv.simulate(LIF(shape=(1,)), steps=1)["s_out"].item() == 0


def test_one_for_a_library_class_is_taken_where_it_is_asked_for():
    class Seven(lv.NumpyModel):
        def run_spk(self):
            self.a_in.recv()
            self.s_out.send(np.full(self.s_out.shape, 7))

    lv.implements(LIF, backend="numpy")(Seven)
    try:
        lif = LIF(shape=(1,))
        assert lv.simulate(lif, steps=1)["s_out"].item() == 0
        for config in (
            lv.RunConfig(select={LIF: Seven}),
            lv.RunConfig(select={lif: "numpy"}),
            lv.RunConfig(backend="numpy"),
        ):
            assert lv.simulate(lif, steps=1, config=config)["s_out"].item() == 7
    finally:
        LIF.models.remove(Seven)
    with pytest.raises(lv.GraphError, match="asks for backend 'numpy', and LIF has no model there"):
        lv.simulate(lif, steps=1, config=lv.RunConfig(select={lif: "numpy"}))


def test_check_model_holds_a_python_model_to_what_all_are_held_to():
    class Half(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
            self.v, self.keep = lv.Var((3,), 0.0), lv.Var((1,), 0.5, role="parameter")

    class HalfModel(lv.NumpyModel):
        def run_spk(self):
            self.v = self.v * self.keep + self.a_in.recv()
            self.s_out.send(self.v)

    lv.implements(Half, backend="numpy")(HalfModel)
    check_model(Half(), HalfModel)


# -- errors ----------------------------------------------------------------------------------------


def test_a_circle_of_reads_is_named_at_once():
    a, b = Through(name="a"), Through(name="b")
    chain(a, b, a)
    with pytest.raises(
        DeadlockError,
        match=r"step 1: all wait for each other: waits in recv of a\.inp for b\.out, waits in recv of b\.inp for a\.out; .*delay=1",
    ):
        run(a)


def test_a_circle_through_another_backend_is_named():
    a, lif = Through(name="a"), LIF(shape=(2,), name="lif")
    chain(a, lif, a)
    with pytest.raises(DeadlockError, match=r"lif on numba waits for a\.out"):
        run(a)


def test_who_sends_nothing_is_named():
    source, sink = process(outs=("out",), name="mute"), Total()
    model(source, lambda self: None)
    chain(source, sink)
    with pytest.raises(DeadlockError, match=r"Total\.inp for mute\.out.*without sending"):
        run(source)
    source, lif = process(outs=("out",), name="mute"), LIF(shape=(2,), name="lif")
    model(source, lambda self: None)
    chain(source, lif)
    with pytest.raises(DeadlockError, match=r"lif on numba waits for mute\.out.*without sending"):
        run(source)


def test_who_never_receives_is_named():
    source, sink = Count(), process(("inp",), name="deaf")
    model(sink, lambda self: None)
    chain(source, sink)
    with pytest.raises(DeadlockError, match=r"step 65: waits in send of Count\.out: 64 messages"):
        run(source, 70)


def test_receiving_where_nobody_else_can_go_on_is_told():
    text = r"step 1: waits in recv of p\.inp for Count\.out outside of a phase.*run_spk"

    def made(**members):
        source, p = Count(), process(("inp",), name="p", n=0.0)
        step = lambda self: self.inp.recv()  # noqa: E731
        model(p, step, run_post_mgmt=print, **{"post_guard": lambda self: False} | members)
        chain(source, p)
        return p

    p = made(post_guard=lambda self: self.inp.recv())
    with pytest.raises(DeadlockError, match=text):
        run(p)
    p = made(on_var_update=lambda self: self.inp.recv())
    with p:
        p.run(lv.RunSteps(1), F64)
        with pytest.raises(DeadlockError, match=text):
            p.n.set(1.0)
        end = p.runtime.program.flat.node_of(p).model.inp
        assert not end.probe()
        with pytest.raises(DeadlockError, match=text):
            end.peek()


def test_who_hears_another_backend_and_never_receives_is_named():
    def deaf(outs=(), name="deaf"):
        p = process(("inp",), outs, name=name)
        model(p, lambda self: None)
        return p

    sink, sigma = deaf(), Sigma(shape=(2,), name="s")
    chain(sigma, sink)
    with pytest.raises(
        DeadlockError,
        match=r"step 65: s on numba waits to send: 64 messages of s\.s_out are there that a reader",
    ):
        run(sigma, 70)
    dense = Dense(weights=np.eye(2), name="d")
    chain(dense, deaf())
    with pytest.raises(DeadlockError, match=r"step 65: 64 messages of d\.a_out are there"):
        run(dense, 70)
    sink = deaf()
    with pytest.raises(DeadlockError, match=r"step 65: 64 messages of deaf\.inp are there"):
        lv.simulate(sink, {"inp": np.zeros((2, 70))}, config=F64)


def test_probing_without_end_is_told():
    source, sink = process(outs=("out",), name="mute"), process(("inp",))
    model(source, lambda self: None)

    def spin(self):
        while not self.inp.probe():
            pass

    model(sink, spin)
    chain(source, sink)
    with pytest.raises(DeadlockError, match=r"mute\.out, probed 10000 times"):
        run(source)


def test_what_a_model_raises_is_itself_with_place_and_the_others_do_their_step():
    error = KeyError("planted")
    source, waits, third = Count(), Total(), Total()

    def failing(name, what):
        p = process(("inp",), ("out",), name=name)

        def step(self):
            x = self.inp.recv()
            if self.time_step == 3:
                raise what
            self.out.send(x)

        model(p, step)
        return p

    bad, second, lif = failing("bad", error), failing("second", ValueError("too")), LIF(shape=(2,))
    chain(source, bad, waits)
    chain(source, second, lif)
    chain(source, third)
    with pytest.raises(KeyError) as info:
        source.run(lv.RunSteps(5), F64)
    assert info.value is error
    assert info.value.__notes__ == [
        "in bad, run_spk, step 3",
        "raised in the same step in second, run_spk, step 3: ValueError: too",
    ]
    assert source.step == 2
    assert waits.total.get()[0] == 3
    assert third.total.get()[0] == 6
    with pytest.raises(lv.RunError, match="planted"):
        source.run(lv.RunSteps(1))
    source.stop()


def test_ctrl_c_ends_it_and_no_greenlet_survives():
    greenlet = pytest.importorskip("greenlet").greenlet
    late, p, ended = Late(), process(("inp",), ("out",), name="p"), []

    def step(self):
        try:
            x = self.inp.recv()
            if self.time_step == 2:
                raise KeyboardInterrupt
            self.out.send(x)
        finally:
            ended.append(self.time_step)

    model(p, step)
    chain(late, p, late)
    chain(p, again := Through(), Total())
    again.out.connect(p.inp)
    late.out.connect(again.inp)
    gc.collect()
    before = sum(type(g) is greenlet for g in gc.get_objects())
    with pytest.raises(DeadlockError):
        run(late)
    late.stop()
    late, p = Late(), process(("inp",), ("out",), name="p")
    model(p, step)
    chain(late, p, late)
    with pytest.raises(KeyboardInterrupt):
        late.run(lv.RunSteps(3), F64)
    gc.collect()
    assert ended == [1, 1, 2]
    assert sum(type(g) is greenlet for g in gc.get_objects()) <= before + 1
    with pytest.raises(lv.RunError, match=r"KeyboardInterrupt left step 2 half done; stop\(\)"):
        late.run(lv.RunSteps(1))
    late.stop()


def test_a_swallowed_deadlock_is_told_all_the_same():
    p = process(("inp",), ("out",), name="p")

    def step(self):
        try:
            self.out.send(self.inp.recv())
        except Exception:
            self.out.send([0, 0])

    model(p, step)
    chain(p, Through(), p)
    with pytest.raises(DeadlockError):
        run(p)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (np.zeros(5), r"p\.out: a message of shape \(5,\) is sent, and the port's is \(2,\)"),
        (3, r"p\.out: a message of shape \(\) is sent"),
        ([0.5, 1], r"p\.out: 0\.5 is sent, and the port is declared int32"),
        ([2**40, 1], r"p\.out: 1099511627776 is sent"),
        (["a", "b"], r"p\.out: texts are sent"),
        ([1j, 0], r"p\.out: complex numbers are sent"),
    ],
)
def test_a_message_that_does_not_fit_is_named(data, text):
    p = process(outs=("out",))
    model(p, lambda self: self.out.send(data), out=lv.Declared(np.int32))
    with pytest.raises(lv.RunError, match=text):
        run(p)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"run_spike": lambda self: None}, r"has no run_spk\(self\).*did you mean"),
        ({"run_lrn": lambda self: None}, r"has no run_spk"),
        ({"run_spk": lambda self: None, "run_post_mgmt": print}, r"post_guard\(self\) says"),
        ({"run_spk": lambda self: None, "run_lrn": print}, r"lrn_guard\(self\) says"),
        ({"run_spk": lambda self: None, "inq": lv.Declared(int)}, r"declares 'inq'.*'inp'"),
    ],
)
def test_a_model_that_is_not_one_is_told_when_the_graph_is_compiled(members, text):
    p = process(("inp",), name="p")
    model(p, **members)
    with pytest.raises(lv.GraphError, match=text):
        run(p)


def test_names_that_mean_something_else_in_a_model():
    p = process(config=1.0, name="p")
    model(p, lambda self: None)
    with pytest.raises(lv.GraphError, match=r"p\.config: a model's own 'config'"):
        run(p)


def test_a_delay_of_a_python_model_is_refused():
    with pytest.raises(lv.ModelSelectionError, match="delay: M sends when its step says so"):
        lv.implements(Count, backend="numpy", delay=1)(type("M", (lv.NumpyModel,), {}))


# -- Vars ------------------------------------------------------------------------------------------


def test_vars_are_attributes_that_may_be_assigned_anew():
    updates = []
    p = process(a=[1.0, 2.0], n=0, flag=[True, False], text="ab", k=3, z=[1j])

    def step(self):
        self.a = self.a * 2
        self.n += 1
        self.flag = self.flag & False
        self.text = "xyz"
        assert type(self.k) is int
        assert self.k == 3 + (self.time_step > 2)
        self.z = self.z * 1j

    declared = {"k": lv.Declared(int, number=True), "n": lv.Declared(np.int16)}
    model(p, step, on_var_update=lambda self: updates.append(self.k), **declared)
    with p:
        p.run(lv.RunSteps(2))
        assert p.a.get().tolist() == [4, 8]
        assert p.n.get().dtype == np.int16
        assert not p.flag.get().any()
        assert p.flag.get().dtype == bool
        assert p.text.get().tolist() == ["xyz"]
        assert p.z.get().tolist() == [-1j]
        p.k.set(4)
        p.a.set([1, 1])
        assert updates == [4, 4]
        assert p.k.get().tolist() == [4]
        p.run(lv.RunSteps(1))
        with pytest.raises(lv.VarError, match=r"p\.n: .*int16"):
            p.n.set(70000)
    assert p.a.get().tolist() == [2, 2]
    assert p.step == 3


def test_whole_numbers_of_an_undeclared_state_become_floats():
    p = process(v=[0, 0])

    def step(self):
        self.v[:] = self.v + 0.5

    model(p, step)
    run(p, 3)
    assert p.v.get().tolist() == [1.5, 1.5]


def test_what_is_no_number_is_told_when_it_is_read():
    p = process(a=1.0, name="p")
    model(p, lambda self: setattr(self, "a", object()))
    p.run(lv.RunSteps(1))
    with pytest.raises(lv.VarError, match=r"p\.a: M assigned a object"):
        p.a.get()
    with pytest.raises(lv.VarError):
        p.stop()


def test_declared_dtypes_hold_the_values_they_begin_with():
    p = process(a=0.5, name="p")
    model(p, lambda self: None, a=lv.Declared(int))
    with pytest.raises(lv.VarError, match=r"p\.a: 0\.5 is not held in int64, which M declares"):
        run(p)
    p = process(a=[1, 2], name="p")
    model(p, lambda self: None, a=lv.Declared(int, number=True))
    with pytest.raises(lv.VarError, match=r"p\.a: has shape \(2,\), and M declares a number"):
        run(p)


def test_what_is_recorded_or_read_in_another_dtype_is_told():
    p = process(n=[0], name="p")
    model(p, lambda self: setattr(self, "n", self.n + 0.5), n=lv.Declared(int))
    with pytest.raises(
        lv.RunError, match=r"p\.n: 0\.5 is assigned, and the Var is recorded in int"
    ):
        lv.simulate(p, steps=1, config=F64, record=["n"])
    p = process(n="ab", name="p")
    model(p, lambda self: setattr(self, "n", "abc"))
    with pytest.raises(lv.RunError, match=r"p\.n: abc is assigned, and the Var is recorded in <U2"):
        lv.simulate(p, steps=1, config=F64, record=["n"])
    source, p = Count(), process(name="w")
    p.ref = lv.RefPort((2,))
    model(p, lambda self: self.ref.read(), ref=lv.Declared(int))
    p.ref.connect_var(source.k)
    source.k.set([0.5, 1.0])
    with pytest.raises(lv.RunError, match=r"w\.ref: 0\.5 is read, and the port is declared int64"):
        run(p)


def test_parameters_that_a_model_changed_are_what_the_next_graph_begins_with():
    p = process(v=0.0, name="p")
    p.w = lv.Var((1,), 1.0, role="parameter")
    model(p, lambda self: setattr(self, "w", self.w * 2))
    with p:
        p.run(lv.RunSteps(3), F64)
        assert lv.simulate(p, steps=1, config=F64, record=["w"])["w"].item() == 16
        assert p.w.get().item() == 8


def test_declared_dtypes_lose_nothing():
    for value, dtype, text in (
        ("abcdef", "U3", r"abcdef is not held in <U3"),
        (1e300, np.float32, r"1e\+300 is not held in float32"),
        (2**24 + 1, np.float32, r"16777217 is not held in float32"),
    ):
        p = process(a=value, name="p")
        model(p, lambda self: None, a=lv.Declared(dtype))
        with pytest.raises(lv.VarError, match=r"p\.a: " + text):
            run(p)
    p = process(a=0.1, name="p")
    model(p, lambda self: None, a=lv.Declared(np.float32))
    run(p)
    assert p.a.get().item() == np.float32(0.1)


def test_a_part_that_cannot_record_more_is_compiled_anew(monkeypatch):
    monkeypatch.setattr(NumpyProgram, "record", None)
    source, sigma, monitor = Count(), Sigma(shape=(2,)), Monitor()
    chain(source, sigma)
    with source:
        source.run(lv.RunSteps(2), F64)
        monitor.probe(sigma.sigma, 10)
        with pytest.warns(lv.RecompileWarning):
            source.run(lv.RunSteps(2), F64)
    assert monitor.get_data()["Sigma"]["sigma"][:, 0].tolist() == [6, 10]


# -- life ------------------------------------------------------------------------------------------


def test_an_instance_lives_until_stop():
    made = []
    source, p = Count(), process(("inp",), n=0.0)

    def init(self, process, config):
        lv.NumpyModel.__init__(self, process, config)
        made.append(self)
        self.seen = []

    def step(self):
        self.seen.append(self.inp.recv()[0])
        self.n[:] = len(self.seen)

    model(p, step, __init__=init)
    chain(source, p)
    with p:
        p.run(lv.RunSteps(2), F64)
        monitor = Monitor()
        monitor.probe(p.n, 10)
        p.run(lv.RunSteps(3), F64)
        assert len(made) == 1
        assert made[0].seen == [1, 2, 3, 4, 5]
        assert monitor.get_data()["p"]["n"].reshape(-1).tolist() == [3, 4, 5]
        with pytest.warns(lv.RecompileWarning):
            p.run(lv.RunSteps(1), lv.RunConfig(dtype="float32"))
        assert len(made) == 1
        assert len(made[0].seen) == 6
    p.run(lv.RunSteps(1), F64)
    assert len(made) == 2
    assert made[1].seen == [7]
    assert made[1].time_step == 7
    p.stop()


def test_copies_and_pickles_hold_the_vars():
    source, sink = Count(), Total()
    chain(source, sink)
    source.run(lv.RunSteps(3), F64)
    for twin in (copy.deepcopy(sink), pickle.loads(pickle.dumps(sink))):
        with twin:
            twin.run(lv.RunSteps(1), F64)
        assert twin.total.get()[0] == 10
        assert twin.step == 4
    assert sink.total.get()[0] == 6
    source.stop()


def test_a_snapshot_holds_models_messages_and_parts():
    source, sink = Count(), process(("inp",), last=[0.0, 0.0])

    def step(self):
        self.old = [*getattr(self, "old", []), self.inp.recv()[0]] if self.time_step > 1 else [0]
        self.last[:] = len(self.old) + self.old[-1]

    model(sink, step)
    sigma = Sigma(shape=(2,))
    chain(source, sigma)
    source.out.connect(sink.inp)
    source.run(lv.RunSteps(4), F64)
    engine = source.runtime.program
    kept, results = engine.snapshot(), []
    for _ in range(2):
        engine.restore(kept)
        engine.run(3, {}, {})
        results.append(
            (engine.step, engine.read(sink.last).tolist(), engine.read(sigma.sigma).tolist())
        )
    assert results[0] == results[1] == (7, [13, 13], [28, 28])
    source.runtime.program.flat.node_of(sink).model.lock = threading.Lock()
    with pytest.raises(lv.RunError, match=r"p: M\.lock cannot be copied"):
        engine.snapshot()


def test_what_cannot_be_copied_runs_and_is_told_where_it_is_marked():
    p = process(v=1.0, name="p")

    def step(self):
        self.v += 1

    def init(self, process, config):
        lv.NumpyModel.__init__(self, process, config)
        self.file = threading.Lock()

    model(p, step, __init__=init)
    with p:
        p.run(lv.RunSteps(2), F64)
        with pytest.raises(lv.RunError, match=r"p: M\.file cannot be copied"):
            p.mark()
        p.reset()  # to where it was, by the Vars
        assert (p.step, p.v.get().item()) == (0, 1)
        p.run(lv.RunSteps(1), F64)
        assert p.v.get().item() == 2


def test_reset_leaves_parameters_as_they_are():
    p = process(v=0.0, name="p")
    p.w = lv.Var((1,), 1.0, role="parameter")

    def step(self):
        self.v += self.w
        self.w = self.w + 1
        self.seen = [*getattr(self, "seen", []), self.w.item()]

    model(p, step)
    with p:
        p.run(lv.RunSteps(2), F64)
        p.w.set(10.0)
        p.reset()
        assert (p.v.get().item(), p.w.get().item()) == (0, 10)
        p.run(lv.RunSteps(1), F64)
        assert (p.v.get().item(), p.w.get().item()) == (10, 11)
        assert p.runtime.program.flat.node_of(p).model.seen == [11]


@pytest.mark.parametrize("ask", ["pause", "stop"])
def test_a_model_ends_the_run_after_its_step(ask):
    source, p = Count(), process(("inp",), name="p")

    def step(self):
        self.inp.recv()
        if self.time_step == 3:
            getattr(self, f"request_{ask}")()

    model(p, step)
    lif = LIF(shape=(2,))
    chain(source, p)
    source.out.connect(lif.a_in)
    source.run(lv.RunSteps(100), F64)
    assert source.step == 3
    assert source.k.get()[0] == 3
    assert (source.runtime is None) == (ask == "stop")
    source.run(lv.RunSteps(2), F64)
    assert source.step == 5
    source.stop()
    again = lv.simulate(source, steps=4, record=[source.k])
    assert again[source.k].shape[-1] == 4


def test_a_run_without_end_ends_when_a_model_asks():
    p = process(n=0.0)

    def step(self):
        self.n += 1
        if self.time_step == 50:
            self.request_stop()

    model(p, step)
    p.run(lv.RunContinuous())
    p.wait()
    assert p.n.get().item() == 50
    assert not p.running
    assert p.step == 50
    p.run(lv.RunSteps(1))
    assert p.step == 51
    p.stop()


def test_runs_of_several_threads_one_after_another():
    late, through = Late(), Through()
    chain(late, through, late)
    for _ in range(3):
        thread = threading.Thread(target=late.run, args=(lv.RunSteps(2), F64))
        thread.start()
        thread.join()
    assert late.step == 6
    late.stop()


def test_a_model_may_run_a_graph_of_its_own():
    p = process(n=0.0)

    def step(self):
        inner = Late()
        chain(inner, Through(), inner)
        inner.held.set([1.0, 2.0])
        run(inner, 2)
        self.n += inner.held.get()[1]

    model(p, step)
    run(p, 2)
    assert p.n.get().item() == 4


def test_errstate_of_the_caller_holds_where_a_model_waits():
    late, p = Late(), process(("inp",), ("out",))
    model(p, lambda self: self.out.send(self.inp.recv() / 0))
    chain(late, p, late)
    late.held.set([1.0, 1.0])
    with np.errstate(divide="ignore"):
        run(late)
    assert np.isinf(late.held.get()).all()


def test_what_stands_for_a_port_says_which():
    assert "inp (2,)" in repr(Inlet(Through().inp, None, np.dtype(float)))
    assert repr(lv.Declared(int, number=True)) == "Declared(int64, number=True)"


# -- phases, and RefPorts --------------------------------------------------------------------------


def logging(log, name, **guards):
    """A process whose model notes in which phase it is, where its guards say so."""
    p = process(n=0.0, name=name)

    def noting(phase):
        return lambda self: log.append((name, phase, self.time_step))

    phases = ("run_spk", "run_pre_mgmt", "run_lrn", "run_post_mgmt")
    needed = {"pre_guard": "run_pre_mgmt", "lrn_guard": "run_lrn", "post_guard": "run_post_mgmt"}
    left_out = {needed[g] for g in needed if g not in guards}
    model(p, **{x: noting(x[4:]) for x in phases if x not in left_out}, **guards)
    return p


def joined(*parts):
    """Processes in one graph."""

    class Around(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.parts = [*parts]

    return Around()


def test_phases_in_their_order_after_run_spk_of_all():
    log = []
    even = lambda self: self.time_step % 2 == 0  # noqa: E731
    true = lambda self: True  # noqa: E731
    a = logging(log, "a", lrn_guard=even, pre_guard=true)
    b = logging(log, "b", post_guard=true, pre_guard=true)
    run(joined(a, b), 2)
    assert log == [
        ("a", "spk", 1),
        ("b", "spk", 1),
        ("b", "post_mgmt", 1),
        ("a", "spk", 2),
        ("b", "spk", 2),
        ("a", "pre_mgmt", 2),
        ("b", "pre_mgmt", 2),
        ("a", "lrn", 2),
        ("b", "post_mgmt", 2),
    ]


def test_errors_in_phases_and_guards_say_where():
    def fail(self):
        raise ValueError("planted")

    for members, where in (
        ({"run_lrn": fail, "lrn_guard": lambda self: True}, "in p, run_lrn, step 1"),
        ({"run_lrn": print, "lrn_guard": fail}, "in p, fail, step 1"),
    ):
        p = process(n=0.0, name="p")
        model(p, lambda self: None, **members)
        with pytest.raises(ValueError, match="planted") as info:
            run(p)
        assert info.value.__notes__ == [where]


def watcher(shape, read=True, write=None, when="run_post_mgmt"):
    """A process with a RefPort whose model reads it in every step, and writes what ``write`` makes
    of it."""
    p, seen = process(name="w"), []
    p.ref = lv.RefPort(shape)

    def act(self):
        x = self.ref.read()
        seen.append(x.tolist())
        if write is not None:
            self.ref.write(write(x))

    members = {when: act} if when == "run_spk" else {when: act, "post_guard": lambda self: True}
    model(p, **members)
    return p, seen


def test_a_ref_port_reads_and_writes_a_var_of_another_model():
    source = Count()
    p, seen = watcher((2,), write=lambda x: x * 10)
    p.ref.connect_var(source.k)
    run(p, 3)
    assert seen == [[1, 1], [11, 11], [111, 111]]
    assert source.k.get().tolist() == [1110, 1110]


def test_a_ref_port_of_a_compiled_process_and_what_is_recorded_of_it():
    """In numba: read as the step left it, written for the next one; a recorded Var is what the
    step's end makes it."""
    sigma = Sigma(shape=(2,))
    p, seen = watcher((2,), write=lambda x: x + 100)
    p.ref.connect_var(sigma.sigma)
    chain(Count(), sigma, Total())
    rec = lv.simulate(p, steps=3, config=F64, record=[sigma.sigma, sigma.s_out])
    assert seen == [[1, 1], [103, 103], [206, 206]]
    assert rec[sigma.sigma][0].tolist() == [101, 203, 306]
    assert rec[sigma.s_out][0].tolist() == [1, 103, 206]


def test_a_parameter_set_from_a_model_acts_from_the_next_step():
    dense = Dense(weights=np.eye(2), num_message_bits=8)
    p, _seen = watcher((2, 2), write=lambda w: 2 * w)
    p.ref.connect_var(dense.weights)
    sink = Total()
    chain(Count(), dense, sink)
    with p:
        p.run(lv.RunSteps(4), F64)
        assert sink.total.get().tolist() == [1 + 2 * 2 + 4 * 3] * 2
        assert dense.weights.get().tolist() == [[16, 0], [0, 16]]
    assert dense.weights.get().tolist() == [[16, 0], [0, 16]]


def test_a_ref_port_in_run_spk_reads_the_step_before_and_writes_after_all():
    source = Count()
    p, seen = watcher((2,), write=lambda x: x + 10, when="run_spk")
    p.ref.connect_var(source.k)
    run(p, 3)
    assert seen == [[0, 0], [10, 10], [20, 20]]
    assert source.k.get().tolist() == [30, 30]


def test_ref_ports_through_views_hierarchy_and_aliases():
    class Inner(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.ref = lv.RefPort((2, 3))

    class Outer(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.ref, self.inner = lv.RefPort((3, 2)), Inner()
            self.inner.ref.transpose().connect(self.ref)

    class Holder(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = lv.Var((6,), np.arange(6.0))
            self.port = lv.VarPort(self.v)

    class Leaf(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = lv.Var((6,), 0.0)

    lv.implements(Leaf, backend="numpy")(
        type("LeafModel", (lv.NumpyModel,), {"run_post_mgmt": print, "post_guard": lambda s: False})
    )

    class HolderModel(lv.SubProcessModel):
        def __init__(self, process):
            self.leaf = Leaf()
            process.v.alias(self.leaf.v)

    lv.implements(Holder)(HolderModel)
    seen = []

    def act(self):
        seen.append(self.ref.read().tolist())
        self.ref.write(self.ref.read() + np.array([[10], [20]]))

    members = {"run_post_mgmt": act, "post_guard": lambda self: True}
    lv.implements(Inner, backend="numpy")(type("InnerModel", (lv.NumpyModel,), members))
    outer, holder = Outer(), Holder()
    outer.ref.flatten().connect(holder.port)
    for twin in (copy.deepcopy(holder), holder):
        seen.clear()
        run(twin)
        assert seen == [[[0, 2, 4], [1, 3, 5]]]
        assert twin.v.get().tolist() == [10, 21, 12, 23, 14, 25]


def test_owners_act_before_those_that_refer_to_them_and_circles_read_what_is_there():
    log = []

    def acting(name):
        p = process(n=0.0, name=name)
        p.ref = lv.RefPort((1,))

        def act(self):
            log.append((name, self.ref.read().item()))
            self.n += 1

        model(p, run_post_mgmt=act, post_guard=lambda self: True)
        return p

    a, b, owner = acting("a"), acting("b"), process(n=0.0, name="owner")

    def own(self):
        self.n += 5
        log.append("owner")

    model(owner, run_post_mgmt=own, post_guard=lambda self: True)
    a.ref.connect_var(owner.n)
    b.ref.connect_var(a.n)
    run(b)
    assert log == ["owner", ("a", 5), ("b", 1)]
    log.clear()
    a, b = acting("a"), acting("b")
    a.ref.connect_var(b.n)
    b.ref.connect_var(a.n)
    run(a, 2)
    assert log == [("a", 0), ("b", 1), ("a", 1), ("b", 2)]


def test_a_batch_refers_to_its_own_samples():
    late = Late()
    p, _seen = watcher((2,), write=lambda x: -x)
    p.ref.connect_var(late.held)
    x = np.arange(1.0, 9).reshape(2, 2, 2)
    rec = lv.simulate(late, {"inp": x}, config=F64, record=["held"])
    np.testing.assert_array_equal(rec["held"], -x)


@pytest.mark.parametrize(
    "config", [{"threads": 1}, {"threads": 2}, {"backend": "torch"}], ids=["one", "two", "torch"]
)
def test_each_sample_of_a_batch_has_its_own_of_a_compiled_process(config):
    """Sigma adds its input; the model halves what it has become in its own sample while it is below
    4."""
    config = lv.RunConfig(dtype="float64", **config)
    sigma = Sigma(shape=(2,), name="s")
    p, seen = watcher((2,), write=lambda x: x / 2 if x[0] < 4 else x)
    p.ref.connect_var(sigma.sigma)
    x = np.arange(1.0, 5).reshape(4, 1, 1) * np.ones((4, 2, 3))
    rec = lv.simulate(sigma, {"a_in": x}, config=config, record=["sigma"])
    expected = [[0.5, 0.75, 0.875], [1, 1.5, 1.75], [1.5, 4.5, 7.5], [4, 8, 12]]
    assert rec["sigma"][:, 0].tolist() == expected
    assert rec["sigma"][:, 1].tolist() == expected
    assert len(seen) == 12


def test_one_sample_sets_no_parameter_of_a_batch():
    dense = Dense(weights=np.eye(2), name="d")
    p, seen = watcher((2, 2), write=lambda x: x)
    p.ref.connect_var(dense.weights)
    with pytest.raises(lv.VarError, match=r"d\.weights: a parameter, one value for all samples"):
        lv.simulate(dense, {"s_in": np.ones((2, 2, 1))}, config=F64)
    assert seen[0] == [[1, 0], [0, 1]]


def test_ref_ports_to_states_held_in_another_form():
    """A RefPort to a buffer of delays, which the program has as a ring, in each sample of a
    batch."""
    delay = DelayDense(weights=8 * np.eye(1), delays=2, num_message_bits=8, name="d")
    p, _seen = watcher(delay.a_buff.shape, write=lambda x: x / 2)
    p.ref.connect_var(delay.a_buff)
    x = np.zeros((2, 1, 4))
    x[:, 0, 0] = 1, 10
    rec = lv.simulate(delay, {"s_in": x}, config=F64)
    assert rec["a_out"][:, 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 10]]


def test_ref_ports_that_refer_to_nothing_or_wrongly_are_named():
    p, _ = watcher((2,))
    with pytest.raises(
        lv.GraphError, match=r"w\.ref: a RefPort that refers to nothing; connect_var"
    ):
        run(p)
    source, lif = Count(), LIF(shape=(2,))
    with pytest.raises(lv.ConnectError, match="shapes differ"):
        p.ref.connect_var(Count(3).k)
    with pytest.raises(lv.ConnectError, match="of no process"):
        p.ref.connect_var(lv.Var((2,), 0))
    with pytest.raises(lv.ConnectError, match="an InPort hears OutPorts"):
        p.ref.connect(lif.a_in)
    with pytest.raises(lv.ConnectError, match="VarPort is referred to by RefPorts"):
        lif.s_out.connect(lv.VarPort(source.k))
    hidden = process(v=[1.0, 2.0])
    hidden.v.shareable = False
    with pytest.raises(lv.ConnectError, match="not shareable"):
        p.ref.connect_var(hidden.v)
    p.own = lv.Var((2,), 0.0)
    with pytest.raises(lv.ConnectError, match="a Var of its own"):
        p.ref.connect_var(p.own)
    p.ref.connect_var(source.k)
    with pytest.raises(lv.ConnectError, match=r"refers to Count\.k_port already"):
        p.ref.connect_var(lif.u)
    lif.ref = lv.RefPort((2,))
    lif.ref.connect_var(source.k)
    with pytest.raises(lv.GraphError, match=r"LIF\.ref: a RefPort, and DynamicsModel"):
        run(lif)


def test_what_is_written_has_to_fit():
    source = Count()
    p, _ = watcher((2,), write=lambda x: np.zeros(3))
    p.ref.connect_var(source.k)
    with pytest.raises(lv.RunError, match=r"w\.ref: an array of shape \(3,\) is written"):
        run(p)
    counter = process(n=[1, 2], name="c")
    model(counter, lambda self: None, n=lv.Declared(int))
    p, _ = watcher((2,), write=lambda x: x + 0.5)
    p.ref.connect_var(counter.n)
    with pytest.raises(lv.VarError, match=r"c\.n: 1\.5 is not held in int64") as info:
        run(p)
    assert info.value.__notes__ == ["in w, run_post_mgmt, step 1"]


def test_the_page_on_python_models_runs(capsys):
    text = (ROOT / "docs" / "python_models.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/python_models.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.strip() == code.rsplit("# ", 1)[1].strip()


def test_the_guard_that_raises_is_the_one_that_is_named():
    """Guards are asked one after another; a model without one is among them, and one that learns
    without management before."""
    parts = [process(n=0.0, name=name) for name in ("first", "second", "third")]
    silent = {"run_post_mgmt": print, "post_guard": lambda self: False}
    learns = {"run_lrn": lambda self: None, "lrn_guard": lambda self: True}

    def post_guard(self):
        raise KeyError("guard")

    for p, members in zip(
        parts,
        (silent | learns, {"run_post_mgmt": print, "post_guard": post_guard}, silent),
        strict=True,
    ):
        model(p, **members)
    for p in (parts[0], parts[2]):
        p.ref = lv.RefPort((1,))
        p.ref.connect_var(parts[1].n)
    with pytest.raises(KeyError) as e:
        run(parts[0])
    assert "in second, post_guard, step 1" in e.value.__notes__[0]


def test_models_whose_guard_is_the_same_function_act_each():
    def always():
        return True

    def count(self):
        self.n += 1

    parts = [process(n=0.0, name=name) for name in ("first", "second")]
    for p in parts:
        model(p, post_guard=staticmethod(always), run_post_mgmt=count)
    parts[0].ref = lv.RefPort((1,))  # one graph
    parts[0].ref.connect_var(parts[1].n)
    run(parts[0], 3)
    assert [p.n.get().item() for p in parts] == [3, 3]
