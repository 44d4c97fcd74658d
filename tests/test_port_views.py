"""Slices of ports, as sources and as destinations, and processes that hand an InPort straight
on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import lavalike as lv
from lavalike.proc import LIF, Delay, Dense, Sigma, io
from lavalike.process import InPort, OutPort

CONFIGS = {
    "float": lv.RunConfig(),
    "fixed": lv.RunConfig(precision="fixed_pt"),
    "torch": lv.RunConfig(backend="torch"),
}
EACH = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
BATCHES = pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 9, shape)


class Chain(lv.AbstractProcess):
    """inp -> view -> a Delay -> out"""

    def __init__(self, shape, view):
        super().__init__()
        self.inp, self.first = InPort(shape), Delay(shape=shape)
        self.inp.connect(self.first.s_in)
        taken = view(self.first.a_out)
        self.second, self.out = Delay(shape=taken.shape), OutPort(taken.shape)
        taken.connect(self.second.s_in)
        self.second.a_out.connect(self.out)


VIEWS = {
    "run": (lambda p: p[1:3], lambda x: x[1:3]),
    "to the end": (lambda p: p[2:], lambda x: x[2:]),
    "every second": (lambda p: p[::2], lambda x: x[::2]),
    "backwards": (lambda p: p[::-1], lambda x: x[::-1]),
    "an axis less": (lambda p: p[1], lambda x: x[1]),
    "second axis": (lambda p: p[:, 1:], lambda x: x[:, 1:]),
    "last axis": (lambda p: p[..., 0], lambda x: x[..., 0, :]),
    "from behind": (lambda p: p[-3:-1, -1:], lambda x: x[-3:-1, -1:]),
    "a list": (lambda p: p[[3, 0, 0]], lambda x: x[[3, 0, 0]]),
    "a mask": (lambda p: p[np.array([True, False, True, False])], lambda x: x[[0, 2]]),
    "reshaped": (
        lambda p: p[1:3].reshape((3, 2)),
        lambda x: x[1:3].reshape(*x.shape[3:], 3, 2, -1),
    ),
    "of a reshaped": (lambda p: p.flatten()[4:9], lambda x: x.reshape(12, -1)[4:9]),
    "transposed": (lambda p: p[:2].transpose(), lambda x: x[:2].transpose(1, 0, 2)),
    "of a slice": (lambda p: p[1:][::2], lambda x: x[1:][::2]),
    "joined": (lambda p: p[:1].concat_with([p[3:], p[1:2]]), lambda x: x[[0, 3, 1]]),
    "of joined": (lambda p: p.concat_with(p)[3:6], lambda x: np.concatenate([x, x])[3:6]),
}


@EACH
@BATCHES
def test_slices_carry_what_numpy_slices(config, batch):
    """Every kind of view in one graph: each is a gather of its own, or the place itself where it is
    one run of elements."""
    x = integers(*batch, 4, 3, 5)
    source = Delay(shape=(4, 3))
    ends = {}
    for name, (view, _) in VIEWS.items():
        taken = view(source.a_out)
        ends[name] = Delay(shape=taken.shape)
        taken.connect(ends[name].s_in)
    got = lv.simulate(source, {"s_in": x}, config=config, record=[e.a_out for e in ends.values()])
    for name, (_, take) in VIEWS.items():
        y = got[ends[name].a_out]
        assert not y[..., :2].any()
        want = np.stack([take(sample) for sample in x]) if batch else take(x)
        assert (y[..., 2:] == want[..., :-2]).all(), name


@EACH
@BATCHES
def test_slices_receive(config, batch):
    """What is sent to a part of a port arrives there; parts that overlap are added up, what nothing
    is sent to reads zeros."""
    a, b, total = Delay(shape=(3,)), Delay(shape=(2,)), Delay(shape=(2, 4))
    a.a_out.connect(total.s_in[0, 1:])
    b.a_out.connect(total.s_in[:, 2])
    b.a_out[:1].connect(total.s_in.flatten()[4:5])
    a.a_out[1:].concat_with(b.a_out).reshape((2, 2)).connect(total.s_in[:, :2])
    x, y = integers(*batch, 3, 6), integers(*batch, 2, 6, seed=1)
    got = lv.simulate(total, {a.s_in: x, b.s_in: y}, config=config)[total.a_out]
    want = np.zeros((*batch, 2, 4, 6))
    want[..., 0, 1:, :] += x
    want[..., :, 2, :] += y
    want[..., 1, 0, :] += y[..., 0, :]
    want[..., :, :2, :] += np.concatenate([x[..., 1:, :], y], -2).reshape(*batch, 2, 2, 6)
    assert (got[..., 2:] == want[..., :-2]).all()


def test_a_view_of_several_ports_receives():
    """One sender into parts of two processes."""
    source, a, b = Delay(shape=(4,)), Sigma(shape=(3,)), Sigma(shape=(2,))
    source.a_out.connect(a.a_in[1:].concat_with(b.a_in))
    x = integers(4, 5)
    got = lv.simulate(source, {"s_in": x}, config=CONFIGS["fixed"], record=[a.s_out, b.s_out])
    assert (got[a.s_out][1:, 1:] == x[:2, :-1].cumsum(1)).all()
    assert not got[a.s_out][0].any()
    assert (got[b.s_out][:, 1:] == x[2:, :-1].cumsum(1)).all()


def test_slices_in_a_loop_and_between_runs():
    """Two populations in one process, each heard by its own connection: the bits of two processes;
    also after pickle."""
    g = np.random.default_rng(2)
    w = g.normal(0, 0.4, (6, 6)).astype(np.float32)
    bias = g.random(6).astype(np.float32) * 0.5

    def network(parts):
        lif = LIF(shape=(6,), du=0.5, dv=0.1, vth=1.0, bias_mant=bias)
        for part in parts:
            dense = Dense(weights=w[:, part])
            lif.s_out[part].connect(dense.s_in)
            dense.a_out.connect(lif.a_in)
        return lif

    whole, cut = network([slice(0, 6)]), network([slice(0, 4), slice(4, 6)])
    copy = pickle.loads(pickle.dumps(cut))
    for lif in (whole, cut, copy):
        for steps in (3, 17):
            lif.run(lv.RunSteps(steps), lv.RunConfig(dtype="float64"))
    np.testing.assert_allclose(cut.v.get(), whole.v.get(), rtol=1e-12)
    assert (cut.v.get() == copy.v.get()).all()
    assert whole.v.get().any()


@pytest.mark.parametrize(
    ("view", "error", "match"),
    [
        (lambda p: p[:5], ValueError, r"\[.*\]: 5 is beyond axis 0, which has 4 elements"),
        (lambda p: p[-5:], ValueError, "-5 is beyond axis 0"),
        (lambda p: p[:, 4:], ValueError, "4 is beyond axis 1, which has 3"),
        (lambda p: p[..., :7], ValueError, "7 is beyond axis 1, which has 3"),
        (lambda p: p[4], ValueError, "index 4 is out of bounds"),
        (lambda p: p[[0, 9]], ValueError, "index 9 is out of bounds"),
        (lambda p: p[2:2], ValueError, "no element is left"),
        (
            lambda p: p[1, 2],
            ValueError,
            r"one element without an axis; a slice keeps it, port\[k:k \+ 1\]",
        ),
        (lambda p: p[0, 0, 0], ValueError, "too many indices"),
        (lambda p: p["a"], TypeError, "valid indices"),
        (lambda p: p[1.5], TypeError, "valid indices"),
        (lambda p: p[::0], ValueError, "slice step cannot be zero"),
        (
            lambda p: Delay(shape=(3,)).a_out.connect(p[[0, 0, 1], 0]),
            ValueError,
            "an element of Delay.s_in receives twice",
        ),
        (
            lambda p: Delay(shape=(4,)).a_out.connect(p[:, 0][:3]),
            ValueError,
            r"shapes differ: \(4,\) and \(3,\)",
        ),
        (
            lambda p: Delay(shape=(4,)).a_out.connect([p[:, 0], 3]),
            TypeError,
            "expected|destination",
        ),
    ],
)
def test_wrong_slices_are_told(view, error, match):
    port = Delay(shape=(4, 3)).s_in
    with pytest.raises(lv.ConnectError, match=match) as told:
        view(port)
    assert isinstance(told.value, error) or error is TypeError


def test_a_port_is_no_sequence():
    with pytest.raises(TypeError):
        list(Delay(shape=(3,)).a_out)


def test_a_part_connected_twice_is_refused():
    a, b = Delay(shape=(2,)), Sigma(shape=(3,))
    a.a_out.connect(b.a_in[:2])
    with pytest.raises(lv.ConnectError, match="connected already"):
        a.a_out.connect(b.a_in[:2])
    a.a_out.connect(b.a_in[1:])


# -- handed straight on


class Pass(lv.AbstractProcess):
    """Hands its input on as it is, a part of it, and what an inner process makes of it."""

    def __init__(self):
        super().__init__()
        self.inp, self.out, self.some, self.late = (
            InPort((2, 3)),
            OutPort((2, 3)),
            OutPort((4,)),
            OutPort((6,)),
        )
        self.delay = Delay(shape=(6,))
        self.inp.connect(self.out)
        self.inp[:, 1:].flatten().connect(self.some)
        self.inp.flatten().connect(self.delay.s_in)
        self.delay.a_out.connect(self.late)


class Wire(lv.AbstractProcess):
    """Ports and nothing else."""

    def __init__(self, shape=(2,)):
        super().__init__()
        self.inp, self.out = InPort(shape), OutPort(shape)
        self.inp.connect(self.out)


@EACH
@BATCHES
def test_a_process_hands_its_input_on(config, batch):
    x = integers(*batch, 2, 3, 4)
    got = lv.simulate(Pass(), {"inp": x}, config=config)
    assert (got["out"] == x).all()
    assert (got["some"] == x[..., 1:, :].reshape(*batch, 4, 4)).all()
    assert (got["late"][..., 1:] == x.reshape(*batch, 6, 4)[..., :-1]).all()


@EACH
def test_wires_in_a_chain_cost_no_step(config):
    """source -> wire -> wire -> neuron, as without them; two wires into one port are added up."""
    x = integers(2, 6)
    source, wires, sigma = (
        io.source.RingBuffer(data=x),
        [Wire() for _ in range(3)],
        Sigma(shape=(2,)),
    )
    source.s_out.connect([wires[0].inp, wires[2].inp])
    wires[0].out.connect(wires[1].inp)
    wires[1].out.connect(sigma.a_in)
    wires[2].out.connect(sigma.a_in)
    sigma.run(lv.RunSteps(6), config)
    assert (sigma.sigma.get() == 2 * x.sum(1)).all()
    assert (lv.simulate(Wire(), {"inp": x}, config=config)["out"] == x).all()


def test_wires_in_a_loop_are_named():
    a, b = Wire(), Wire()
    a.name, b.name = "a", "b"
    a.out.connect(b.inp)
    b.out.connect(a.inp)
    sigma = Sigma(shape=(2,))
    a.out.connect(sigma.a_in)
    with pytest.raises(
        lv.GraphError, match=r"a cycle without delay: .*a\.out -> b\.out -> a\.out.*delay=1"
    ):
        sigma.run(lv.RunSteps(1))


def test_a_port_that_a_model_writes_is_not_handed_on():
    sigma = Sigma(shape=(2,))
    sigma.a_in.connect(sigma.s_out)
    with pytest.raises(
        lv.GraphError,
        match=r"Sigma\.s_out: Sigma\.a_in is handed straight on to it, and .* writes it; leave out one",
    ):
        lv.simulate(sigma, {"a_in": np.ones((2, 3))})


def test_an_in_port_of_another_process_is_not_handed_on():
    a, b = Wire(), Wire()
    with pytest.raises(
        lv.ConnectError,
        match="an OutPort is fed by OutPorts of inner processes and by InPorts of its own process only",
    ):
        a.inp.connect(b.out)
