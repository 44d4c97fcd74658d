"""Ports, connections, hierarchy and compile-time errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lavalike as lv
from lavalike.proc import LIF, Delay, Dense, LIFRefractory, Sigma, io

EXACT = lv.RunConfig(precision="fixed_pt")


class Through(lv.AbstractProcess):
    """Hands its input on through an inner Sigma-less chain: inp -> Delay -> out."""

    def __init__(self, shape, reorder=lambda port: port, out_shape=None):
        super().__init__()
        self.inp = lv.InPort(shape)
        view = reorder(self.inp)
        self.delay = Delay(shape=view.shape)
        view.connect(self.delay.s_in)
        self.out = lv.OutPort(out_shape or view.shape)
        self.delay.a_out.connect(self.out)


def integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 9, shape)


@pytest.mark.parametrize(
    ("reorder", "reference"),
    [
        (lambda p: p.reshape((4, 3)), lambda x: x.reshape(4, 3, -1)),
        (lambda p: p.flatten(), lambda x: x.reshape(12, -1)),
        (lambda p: p.transpose(), lambda x: x.transpose(1, 0, 2)),
        (lambda p: p.transpose((1, 0)).flatten(), lambda x: x.transpose(1, 0, 2).reshape(12, -1)),
        (
            lambda p: p.concat_with(p.transpose().reshape((3, 4)), axis=0),
            lambda x: np.concatenate([x, x.transpose(1, 0, 2).reshape(3, 4, -1)]),
        ),
    ],
    ids=["reshape", "flatten", "transpose", "transpose-flatten", "concat"],
)
def test_views_reorder_what_a_port_carries(reorder, reference):
    """reshape, flatten, transpose and concat do to messages what NumPy does to arrays."""
    x = integers((3, 4, 5))
    net = Through((3, 4), reorder)
    rec = lv.simulate(net, {"inp": x}, config=EXACT)
    np.testing.assert_array_equal(rec["out"][..., 1:], reference(x)[..., :-1])


def test_fan_in_adds_and_fan_out_copies():
    """Several OutPorts into one InPort are summed; one OutPort feeds several InPorts."""
    a, b, total, other = Delay(shape=(3,)), Delay(shape=(3,)), Sigma(shape=(3,)), Sigma(shape=(3,))
    a.a_out.connect([total.a_in, other.a_in])
    total.a_in.connect_from(b.a_out)
    x, y = integers((3, 6)), integers((3, 6), 1)
    rec = lv.simulate(total, {a.s_in: x, b.s_in: y}, config=EXACT, record=[other.s_out])
    np.testing.assert_array_equal(rec[total.s_out][:, 1:], (x + y).cumsum(1)[:, :-1])
    np.testing.assert_array_equal(rec[other.s_out][:, 1:], x.cumsum(1)[:, :-1])


def test_outside_connects_to_an_inner_port():
    """An OutPort may feed the InPort of a process inside another."""
    net, outer = Through((2,)), Delay(shape=(2,))
    outer.a_out.connect(net.delay.s_in)
    x, y = integers((2, 5)), integers((2, 5), 3)
    rec = lv.simulate(net, {net.inp: x, outer.s_in: y}, config=EXACT)
    np.testing.assert_array_equal(rec["out"][:, 2:], x[:, 1:-1] + y[:, :-2])


def test_concat_of_outports_of_two_processes():
    """concat_with joins OutPorts of different processes; a term that covers part of a port adds to
    that part only."""
    a, b, s = Delay(shape=(2,)), Delay(shape=(3,)), Sigma(shape=(5,))
    a.a_out.concat_with(b.a_out).connect(s.a_in)
    x, y = integers((2, 4)), integers((3, 4), 1)
    rec = lv.simulate(s, {a.s_in: x, b.s_in: y}, config=EXACT)
    np.testing.assert_array_equal(rec[s.s_out][:, 1:], np.concatenate([x, y]).cumsum(1)[:, :-1])


def test_open_in_ports_read_zeros():
    """A process without input runs on zeros."""
    rec = lv.simulate(LIF(shape=(2,), bias_mant=1.0, dv=0.0, vth=3.5), steps=8)
    np.testing.assert_array_equal(rec["s_out"], [[0, 0, 0, 1, 0, 0, 0, 1]] * 2)


def test_shape_mismatch_names_both_ends():
    net = Through((3,))
    with pytest.raises(
        lv.ConnectError, match=r"LIF\.s_out \(4,\).* -> Through\.inp \(3,\): shapes differ"
    ):
        LIF(shape=(4,)).s_out.connect(net.inp)


def test_a_connection_made_twice_is_refused():
    a, b = LIF(shape=(3,), name="a"), Dense(weights=np.eye(3), name="b")
    a.s_out.connect(b.s_in)
    with pytest.raises(lv.ConnectError, match=r"a\.s_out.* -> b\.s_in.*connected already"):
        a.s_out.connect(b.s_in)


def test_a_cycle_without_delay_is_named():
    a, b = LIF(shape=(3,), name="a"), LIF(shape=(3,), name="b")
    a.s_out.connect(b.a_in)
    b.s_out.connect(a.a_in)
    with pytest.raises(lv.GraphError, match=r"cycle without delay: .*a\.s_out -> b\.a_in") as info:
        a.run(lv.RunSteps(1))
    assert "b.s_out -> a.a_in" in str(info.value)


def test_an_outport_does_not_feed_a_foreign_outport():
    net, lif = Through((3,)), LIF(shape=(3,), name="x")
    lif.s_out.connect(net.out)  # x might become a part of net yet
    with pytest.raises(lv.ConnectError, match=r"x\.s_out does not lie inside Through"):
        net.run(lv.RunSteps(1))
    with pytest.raises(lv.ConnectError, match="hands on only to processes inside"):
        Through((3,)).inp.connect(net.delay.s_in)


def test_a_var_out_of_range_is_named():
    with pytest.raises(lv.VarError, match=r"pop\.du: 2\.0 is outside 0\.\.1"):
        lv.simulate(LIF(shape=(3,), du=2.0, name="pop"), steps=1)
    with pytest.raises(lv.VarError, match=r"pop\.dv: 5000 is outside 0\.\.4096"):
        lv.simulate(LIF(shape=(3,), dv=5000, name="pop"), steps=1, config=EXACT)
    with pytest.raises(lv.VarError, match=r"dense\.weights: 300 is outside -256\.\.255"):
        lv.simulate(Dense(weights=[[300, -1]], name="dense"), steps=1, config=EXACT)
    with pytest.raises(lv.VarError, match=r"pop\.vth: whole numbers are needed, got 1\.5"):
        lv.simulate(LIF(shape=(3,), vth=1.5, name="pop"), steps=1, config=EXACT)


def test_nan_is_refused_when_given():
    with pytest.raises(lv.VarError, match="NaN"):
        LIF(shape=(2,), v=[0, np.nan])


def test_failed_choice_lists_candidates():
    class Odd(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.out = lv.OutPort((1,))

    with pytest.raises(lv.ModelSelectionError, match="none is registered"):
        lv.simulate(Odd(), steps=1)
    with pytest.raises(
        lv.ModelSelectionError,
        match=r"FloatingDynamicsModel: precision 'floating_pt', asked for 'fixed_pt'",
    ):
        lv.simulate(LIFRefractory(shape=(1,)), steps=1, config=EXACT)
    with pytest.raises(lv.ModelSelectionError, match="no backend called 'abacus'; there are"):
        lv.simulate(Dense(weights=[[1]]), steps=1, config=lv.RunConfig(backend="abacus"))


def test_subclass_keeps_models():
    """A subclass of a library process runs with its base's model."""

    class MyDense(Dense):
        pass

    rec = lv.simulate(MyDense(weights=[[2.0]]), {"s_in": np.ones((1, 3))})
    np.testing.assert_array_equal(rec["a_out"], [[0, 2, 2]])


@st.composite
def graphs(draw):
    """Random chains and loops of LIFs and Dense connections, integers throughout."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    edges = draw(
        st.lists(
            st.tuples(st.integers(0, len(sizes) - 1), st.integers(0, len(sizes) - 1)), max_size=6
        )
    )
    return sizes, edges, draw(st.integers(0, 2**31))


@given(graphs(), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_random_graphs_do_not_depend_on_how_they_are_run(graph, batch, graded):
    """Batch, chunking and compilation change no bit: a batch equals its samples, one run many,
    kernels Python."""
    sizes, edges, seed = graph
    g = np.random.default_rng(seed)

    def make():
        lifs = [
            LIF(
                shape=(n,),
                du=100 + k,
                dv=50,
                vth=60 + 20 * k,
                bias_mant=np.arange(n) * 30,
                name=f"p{k}",
            )
            for k, n in enumerate(sizes)
        ]
        rng = np.random.default_rng(seed)
        gate = Delay(shape=(sizes[0],), name="gate")
        gate.a_out.connect(lifs[0].a_in)
        for a, b in edges:
            dense = Dense(
                weights=rng.integers(-120, 120, (sizes[b], sizes[a])), num_message_bits=8 * graded
            )
            lifs[a].s_out.connect(dense.s_in)
            dense.a_out.connect(lifs[b].a_in)
        return lifs[0], gate

    x = g.integers(0, 90, (batch, sizes[0], 12))
    lif, gate = make()
    whole = lv.simulate(lif, {gate.s_in: x}, config=EXACT, record=[lif.v])[lif.v]
    python = lv.simulate(
        lif, {gate.s_in: x}, config=lv.RunConfig(precision="fixed_pt", debug=True), record=[lif.v]
    )[lif.v]
    np.testing.assert_array_equal(whole, python)
    for k in range(batch):
        one = lv.simulate(lif, {gate.s_in: x[k]}, config=EXACT, record=[lif.v])[lif.v]
        np.testing.assert_array_equal(one, whole[k])
        again, gate_again = make()
        source = io.source.RingBuffer(data=x[k])
        source.s_out.connect(gate_again.s_in)
        for n in (1, 4, 7):
            again.run(lv.RunSteps(n), EXACT)
        np.testing.assert_array_equal(again.v.get(), one[:, -1])


def test_names_that_mean_something_in_a_process_are_told():
    """What would break it; what is merely hidden by a Var or port, as ``reset``, may have the
    name."""
    p = lv.AbstractProcess()
    for name, part in (("run", lv.Var((1,), 0)), ("path", lv.InPort((1,))), ("name", lv.Var((1,)))):
        with pytest.raises(
            lv.GraphError, match=rf"\.{name}: a process's own '{name}' is something"
        ):
            setattr(p, name, part)
    p.reset = lv.InPort((1,))
    assert [port.name for port in p.in_ports] == ["reset"]
    assert not p.vars
