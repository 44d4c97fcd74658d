"""Graphs of several precisions and backends: equal to what one alone computes, cut into few parts,
refused by name."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.bss2 import Chip
from lavalike.compiler import order
from lavalike.compiler.flat import flatten
from lavalike.compiler.parts import Plan, cut
from lavalike.proc import (
    LIF,
    Delay,
    DelayDense,
    DelaySparse,
    Dense,
    LIFRefractory,
    Monitor,
    Sigma,
    io,
)
from lavalike.process.process import component, walk
from lavalike.runtime.engine import compiled
from tests.test_models import LayerModel

F64 = {"dtype": "float64"}


class Chain(lv.AbstractProcess):
    """LIF and Dense in turn, each under its name; ``back``: from the last LIF to the first."""

    def __init__(self, sizes=(4, 5, 3), back=False, whole=False, seed=0):
        super().__init__()
        g = np.random.default_rng(seed)

        def dense(n, m, scale):
            return Dense(
                weights=g.integers(-2, 4, (n, m)) if whole else g.normal(0.1, scale, (n, m))
            )

        self.inp, self.out = lv.InPort((sizes[0],)), lv.OutPort((sizes[-1],))
        self.layers = [
            LIF(shape=(n,), du=0.6, dv=0.2, vth=1.0, bias_mant=g.uniform(0, 0.3, n)) for n in sizes
        ]
        self.joints = [dense(n, m, 0.5) for m, n in itertools.pairwise(sizes)]
        self.inp.connect(self.layers[0].a_in)
        for a, joint, b in zip(self.layers, self.joints, self.layers[1:], strict=False):
            a.s_out.connect(joint.s_in)
            joint.a_out.connect(b.a_in)
        self.layers[-1].s_out.connect(self.out)
        if back:
            self.back = dense(sizes[0], sizes[-1], 0.3)
            self.layers[-1].s_out.connect(self.back.s_in)
            self.back.a_out.connect(self.layers[0].a_in)


def inputs(batch=None, steps=30, n=4, seed=1):
    shape = (n, steps) if batch is None else (batch, n, steps)
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(float)


def plan_of(process, **kwargs):
    return cut(
        flatten(
            process,
            lv.RunConfig(**kwargs),
            get_backend,
            [p for p in process.in_ports if not p.sources],
        )
    )


def test_a_loop_of_parts_hears_another_loop_of_parts_before_it():
    """Two loops of numba and torch, one behind the other: the first is done first."""
    found = []
    for select in ({}, {"d0": "torch", "d1": "torch"}):
        g = np.random.default_rng(0)
        lifs = [
            LIF(shape=(4,), du=0.6, dv=0.2, vth=1.0, bias_mant=g.uniform(0, 0.3, 4), name=f"l{k}")
            for k in range(2)
        ]
        for k, lif in enumerate(lifs):
            dense = Dense(weights=g.normal(0.1, 0.5, (4, 4)), num_message_bits=8, name=f"d{k}")
            lif.s_out.connect(dense.s_in)
            dense.a_out.connect(lif.a_in)
        lifs[0].s_out.connect(dense.s_in)
        config = lv.RunConfig(select=select, **F64)
        rec = lv.simulate(lifs[0], steps=30, config=config, record=[lifs[1].v, lifs[1].s_out])
        found.append((rec[lifs[1].v], rec[lifs[1].s_out]))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-12)
    np.testing.assert_array_equal(found[1][1], found[0][1])
    assert found[0][1].sum() > 20


# -- precisions, in one table ----------------------------------------------------------------------


class Precisions(lv.AbstractProcess):
    """A floating-point LIF, whole weights and a LIF of fixed_pt, and back through a floating-point
    Dense."""

    def __init__(self, back=True):
        super().__init__()
        g = np.random.default_rng(3)
        self.inp, self.out = lv.InPort((6,)), lv.OutPort((6,))
        self.a = LIF(shape=(6,), du=0.3, dv=0.1, vth=1.0, bias_mant=g.uniform(0, 0.4, 6))
        self.up = Dense(weights=g.integers(-60, 90, (7, 6)))
        self.b = LIF(shape=(7,), du=1000, dv=200, vth=20)
        self.down = Dense(weights=g.normal(0, 0.2, (6, 7)))
        self.inp.connect(self.a.a_in)
        self.a.s_out.connect(self.up.s_in)
        self.up.a_out.connect(self.b.a_in)
        self.b.s_out.connect(self.down.s_in)
        if back:
            self.down.a_out.connect(self.a.a_in)
        self.down.a_out.connect(self.out)


TORCH_FIXED = lv.Choice(backend="torch", precision="fixed_pt")
MIXED = lv.RunConfig(select={"up": "fixed_pt", "b": lv.Choice(precision="fixed_pt")})


def test_parts_of_two_precisions_compute_what_each_computes_alone():
    """Bit for bit, in one program; what is recorded has its own dtype."""
    net, x = Precisions(back=False), inputs(n=6)
    rec = lv.simulate(
        net, {"inp": x}, config=MIXED, record=["a.s_out", "b.v", "b.s_out", "b.a_in", "a.v"]
    )
    assert len(rec.program.programs) == 1
    assert [rec[k].dtype for k in ("a.v", "b.v", "b.a_in", "out")] == [
        np.float32,
        np.int32,
        np.int32,
        np.float32,
    ]
    alone = Precisions(back=False)
    a = LIF(shape=(6,), du=0.3, dv=0.1, vth=1.0, bias_mant=alone.a.bias_mant.get())
    np.testing.assert_array_equal(rec["a.v"], lv.simulate(a, {"a_in": x}, record=["v"])["v"])
    up, b, down = (
        Dense(weights=alone.up.weights.get()),
        LIF(shape=(7,), du=1000, dv=200, vth=20),
        Dense(weights=alone.down.weights.get()),
    )
    up.a_out.connect(b.a_in)
    middle = lv.simulate(
        up,
        {"s_in": rec["a.s_out"]},
        config=lv.RunConfig(precision="fixed_pt"),
        record=[b.v, b.s_out],
    )
    np.testing.assert_array_equal(rec["b.v"], middle[b.v])
    assert middle[b.s_out].sum() > 10
    np.testing.assert_array_equal(rec["out"], lv.simulate(down, {"s_in": middle[b.s_out]})["a_out"])


@pytest.mark.parametrize(
    "torch_too",
    [
        {},
        {"up": TORCH_FIXED},
        {"b": TORCH_FIXED, "down": "torch"},
        {"a": "torch", "up": TORCH_FIXED},
    ],
    ids=["numba", "up", "b down", "a up"],
)
def test_precisions_on_two_backends(torch_too):
    """In one part of torch as well."""
    net, x = Precisions(), inputs(2, n=6)
    want = lv.simulate(
        net,
        {"inp": x},
        config=lv.RunConfig(**{**F64, "select": MIXED.select}),
        record=["b.v", "a.v", "up.a_out"],
    )
    config = lv.RunConfig(**{**F64, "select": {**MIXED.select, **torch_too}})
    got = lv.simulate(net, {"inp": x}, config=config, record=["b.v", "a.v", "up.a_out"])
    for target in want:
        assert got[target].dtype == want[target].dtype
        np.testing.assert_allclose(
            got[target], want[target], rtol=1e-9, atol=1e-12, err_msg=target.path
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loop_through_two_precisions_depends_on_nothing_else(dtype):
    """Batch, threads, debug and cuts change no bit."""
    net, x = Precisions(), inputs(5, n=6)
    select = MIXED.select

    def run(x, **kwargs):
        return lv.simulate(
            net,
            {"inp": x},
            config=lv.RunConfig(select=select, dtype=dtype, **kwargs),
            record=["a.v", "b.v"],
        )

    want = run(x)
    assert want["b.v"].any()
    for k, other in enumerate([run(x, threads=2), run(x, debug=True)]):
        for key in ("out", "a.v", "b.v"):
            np.testing.assert_array_equal(other[key], want[key], err_msg=f"{k} {key}")
    np.testing.assert_array_equal(run(x[2])["b.v"], want["b.v"][2])
    source = io.source.RingBuffer(data=x[2])
    source.s_out.connect(net.inp)
    for n in (1, 12, 17):
        net.run(lv.RunSteps(n), lv.RunConfig(select=select, dtype=dtype))
        net.b.v.set(net.b.v.get())
    np.testing.assert_array_equal(net.a.v.get(), want["a.v"][2, :, -1])
    assert net.b.v.get().dtype == np.int32


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_message_that_fixed_pt_does_not_take_is_told_and_the_last_whole_step_stays(backend):
    dense, sigma = Dense(weights=[[1.0], [0.25]], num_message_bits=8), Sigma(shape=(2,))
    dense.a_out.connect(sigma.a_in)
    source = io.source.RingBuffer(data=[[4, 8, 1, 4]])
    source.s_out.connect(dense.s_in)
    config = lv.RunConfig(backend=backend, select={Sigma: "fixed_pt"})
    match = r"Dense\.a_out, step 4: 0\.25 at flat index 1 arrives at Sigma\.a_in, which is of fixed_pt.*whole numbers.*floating_pt"
    with pytest.raises(lv.RunError, match=match):
        sigma.run(lv.RunSteps(9), config)
    sigma.stop()
    np.testing.assert_array_equal(sigma.sigma.get(), [12, 3])
    with pytest.raises(
        lv.RunError, match=r"step 3, sample 1: 10000000000\.0 at flat index 0 arrives"
    ):
        lv.simulate(Chainless(), {"s_in": np.array([[[1, 1, 1]], [[1, 1e10, 1]]])}, config=config)


class Chainless(lv.AbstractProcess):
    """A floating-point Dense into a Sigma of fixed_pt."""

    def __init__(self):
        super().__init__()
        self.s_in, self.dense, self.sigma = (
            lv.InPort((1,)),
            Dense(weights=[[1.0]], num_message_bits=8),
            Sigma(shape=(1,)),
        )
        self.s_in.connect(self.dense.s_in)
        self.dense.a_out.connect(self.sigma.a_in)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_whole_numbers_beyond_24_bits_do_not_lose_any_in_float32(backend):
    delay, sigma = Delay(shape=(1,)), Sigma(shape=(1,))
    delay.a_out.connect(sigma.a_in)
    select = {Delay: lv.Choice(backend="numba", precision="fixed_pt")}
    x = np.array([[2**24 - 1, 2**24 + 1, 0]])
    with pytest.raises(
        lv.RunError, match=r"Delay\.a_out, step 3: 16777217 .*float32.*RunConfig\(dtype='float64'\)"
    ):
        lv.simulate(sigma, {delay.s_in: x}, config=lv.RunConfig(backend=backend, select=select))
    out = lv.simulate(
        sigma, {delay.s_in: x}, config=lv.RunConfig(backend=backend, select=select, dtype="float64")
    )["s_out"]
    np.testing.assert_array_equal(out, [[0, 2**24 - 1, 2**25]])


def test_inputs_are_checked_by_who_receives_them():
    half = np.full((1, 3), 0.5)
    lv.simulate(Precisions(back=False), {"inp": np.full((6, 3), 0.5)}, config=MIXED)
    lv.simulate(
        Chainless(),
        {"s_in": 2 * half},
        config=lv.RunConfig(precision="fixed_pt", select={Dense: "floating_pt"}),
    )
    with pytest.raises(lv.InputError, match=r"Chainless\.s_in.*fixed_pt needs whole numbers"):
        lv.simulate(Chainless(), {"s_in": half}, config=lv.RunConfig(select={Dense: "fixed_pt"}))


@pytest.mark.parametrize("select", [{}, {"b": "floating_pt"}])
def test_a_reordered_sum_beyond_32_bits_is_told(select):
    a, b, sigma = (
        Delay(shape=(2,), name="a"),
        Delay(shape=(2,), name="b"),
        Sigma(shape=(4,), name="sum"),
    )
    a.a_out.concat_with(b.a_out).connect(sigma.a_in)
    b.a_out.concat_with(a.a_out).connect(sigma.a_in)
    x = {a.s_in: np.full((2, 3), 2**30), b.s_in: np.full((2, 3), 2**30)}
    with pytest.raises(lv.RunError, match=r"sum\.a_in, step 2: a sum left the 32 bits"):
        lv.simulate(sigma, x, config=lv.RunConfig(precision="fixed_pt", select=select))


# -- backends, in parts ----------------------------------------------------------------------------

BACKENDS = {
    "a layer on torch": {"layers[1]": "torch"},
    "torch around": {"layers[0]": "torch", "layers[2]": "torch"},
    "connections on torch": {Dense: "torch"},
    "neurons on torch": {LIF: "torch"},
    "by a function": {lambda p: p.name.endswith("[1]"): "torch"},
}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("case", BACKENDS)
def test_numba_and_torch_in_one_graph(case, back):
    """Zero-delay and delayed boundaries, feed-forward and in loops, for a batch, by simulate and by
    runs: what numba alone computes."""
    net, x = Chain(back=back), inputs(3)
    record = ["layers[1].v", "layers[2].a_in", "layers[0].s_out", "joints[0].weights"]
    want = lv.simulate(net, {"inp": x}, config=lv.RunConfig(**F64), record=record)
    config = lv.RunConfig(select=BACKENDS[case], **F64)
    got = lv.simulate(net, {"inp": x}, config=config, record=record)
    assert len(got.program.programs) > 1
    assert want["out"].sum() > 5
    for target in want:
        np.testing.assert_allclose(
            got[target], want[target], rtol=1e-9, atol=1e-12, err_msg=target.path
        )
    source, monitor = io.source.RingBuffer(data=x[1]), Monitor()
    source.s_out.connect(net.inp)
    monitor.probe(net.layers[1].v, 30)
    monitor.probe(net.layers[2].s_out, 30)
    for n in (1, 12, 1, 16):
        net.run(lv.RunSteps(n), config)
        for var in (net.layers[1].v, net.layers[2].u, net.joints[0].a_buff, net.layers[0].dv):
            var.set(var.get())
    data = monitor.get_data()
    np.testing.assert_allclose(
        data["Chain.layers[1]"]["v"].T, want["layers[1].v"][1], rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(data["Chain.layers[2]"]["s_out"].T, want["out"][1])
    assert net.runtime.program.step == 30
    net.stop()


def test_numba_torch_and_a_chip_in_one_graph():
    """A fixed_pt encoder, a layer on a chip, one on torch."""
    net, x = Chain(sizes=(4, 5, 5, 3)), inputs(2, 40)
    select = {"joints[0]": "bss2", "layers[1]": "bss2", "layers[2]": "torch"}
    config = lv.RunConfig(select=select, chip=Chip(level="ideal"), **F64)
    want = lv.simulate(
        net, {"inp": x}, config=lv.RunConfig(**F64), record=["layers[1].v", "layers[2].v"]
    )
    got = lv.simulate(net, {"inp": x}, config=config, record=["layers[1].v", "layers[2].v"])
    assert [p.target.backend for p in got.program.plan.parts] == [
        "numba",
        "bss2",
        "numba",
        "torch",
        "numba",
    ]
    for target in want:
        np.testing.assert_allclose(got[target], want[target], rtol=1e-9, atol=1e-9)
    assert [p.size for p in got.program.placement().populations] == [5]


def test_boundaries_sum_and_reorder_what_crosses_them():
    """Several senders on several backends into one port, reordered; and a port of the outside that
    none of them is alone."""

    class Fan(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.inp, self.out, self.both = lv.InPort((2, 3)), lv.OutPort((3, 2)), lv.OutPort((12,))
            self.a, self.b, self.sum = Delay(shape=(2, 3)), Delay(shape=(3, 2)), Sigma(shape=(3, 2))
            self.inp.connect(self.a.s_in)
            self.inp.transpose().connect(self.b.s_in)
            self.a.a_out.transpose().connect(self.sum.a_in)
            self.b.a_out.connect(self.sum.a_in)
            self.a.a_out.reshape((3, 2)).connect(self.sum.a_in)
            self.sum.s_out.connect(self.out)
            self.a.a_out.flatten().concat_with(self.b.a_out.flatten()).connect(self.both)

    net, x = Fan(), np.random.default_rng(0).integers(-5, 9, (4, 2, 3, 7))
    want = lv.simulate(net, {"inp": x}, record=["sum.a_in"])
    for select in (
        {"a": "torch"},
        {"sum": "torch"},
        {"a": "fixed_pt", "sum": "torch"},
        {"a": "torch", "sum": "fixed_pt"},
    ):
        got = lv.simulate(net, {"inp": x}, config=lv.RunConfig(select=select), record=["sum.a_in"])
        for target in want:
            np.testing.assert_array_equal(got[target], want[target], err_msg=f"{select} {target}")


def test_what_is_inside_a_process_is_meant_with_it():
    """Nearest first: itself, a function, a class, then what is around; a name means all that is
    inside."""
    net = Chain()
    outer = lv.AbstractProcess(name="outer")
    outer.net = net
    on = {
        n.process.name: (n.target.backend, n.model.config.precision)
        for n in plan_of(
            outer,
            select={
                "net": "torch",
                Dense: "numba",
                "layers[0]": lv.Choice(backend="numba"),
                lambda p: "joints[1]" in p.name: "torch",
            },
        ).flat.nodes
    }
    assert on == {
        "layers[0]": ("numba", "floating_pt"),
        "layers[1]": ("torch", "floating_pt"),
        "layers[2]": ("torch", "floating_pt"),
        "joints[0]": ("numba", "floating_pt"),
        "joints[1]": ("torch", "floating_pt"),
    }


class Own(LIFRefractory):
    """With a model of its own on torch."""


@lv.implements(Own, backend="torch", precision="floating_pt")
class Silent(lv.TorchModel):
    def step(self, t, inputs, state, c):
        return {"s_out": inputs["a_in"] * 0}, state


def test_a_model_with_its_backend_may_be_chosen():
    lif = Own(shape=(2,), du=1.0, vth=1, bias_mant=2)
    assert lv.simulate(lif, steps=3)["s_out"].any()
    rec = lv.simulate(
        lif, steps=3, config=lv.RunConfig(select={Own: lv.Choice(backend="torch", model=Silent)})
    )
    assert not rec["s_out"].any()


def test_a_module_of_torch_and_a_chip():
    """What select puts on a chip runs there, all else on torch, with torch's gradients at level
    "ideal"."""
    net = Chain(sizes=(4, 5, 3))
    x = torch.from_numpy(inputs(3))
    plain = lv.to_torch(net, dtype="float64")
    mixed = lv.to_torch(
        net,
        dtype="float64",
        select={"joints[0]": "bss2", "layers[1]": "bss2"},
        chip=Chip(level="ideal"),
    )
    assert [p.target.backend for p in mixed.plan.parts] == ["torch", "bss2", "torch"]
    y = plain(x)
    assert y.sum() > 5
    assert torch.equal(mixed(x), y)
    weight = torch.sin(torch.arange(y.numel()).double()).reshape(y.shape)
    want, got = (
        torch.autograd.grad((m(x) * weight).sum(), list(m.parameters())) for m in (plain, mixed)
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for select, message in (
        ({"lif": "torch"}, "'lif' is no process"),
        ({"layers[0]": "bss2"}, "feeds this neuron"),
    ):
        with pytest.raises((lv.InputError, lv.ModelSelectionError, lv.GraphError), match=message):
            lv.to_torch(
                net, select=select, chip=Chip(level="ideal") if "bss2" in select.values() else None
            )


# -- a backend of somebody else's ------------------------------------------------------------------


class Beads:
    """A Program of NumPy: what a backend has to do itself."""

    def __init__(self, part, batch, recordable):
        self.part, self.batch, self.step, self.words = (
            part,
            batch,
            part.step,
            part.target.options.words,
        )
        first = {
            n: n.process.vars[0].value[None].astype(part.dtype_of(n.process.out_ports[0]))
            for n in part.nodes
        }
        self.states = {n: np.repeat(x, batch, 0) for n, x in first.items()}

    def total(self, port, terms, now):
        out = np.zeros((self.batch, port.size), self.part.dtype_of(port))
        for t in terms:
            src, dst = (slice(None) if x is None else x for x in (t.src, t.dst))
            np.add.at(out, (slice(None), dst), now[t.source][:, src])
        return out

    def run(self, steps, heard, recordings):
        for k in range(steps):
            now = {p: x[k] for p, x in heard.items()}
            now |= {
                n.process.a_out: self.states[n].copy() for n in self.part.nodes if n.model.delay
            }
            for n in self.part.nodes:  # in the order of a step
                got = self.total(n.process.in_ports[0], n.inputs[n.process.in_ports[0].name], now)
                self.states[n] = got if n.model.delay else self.states[n] + got
                if not n.model.delay:
                    now[n.process.s_out] = self.states[n].copy()
            for target, rows in recordings.items():
                rows[k] = (
                    now[target] if target in now else self.states[self.part.node_of(target.process)]
                )
            self.step += 1

    def ahead(self, port, steps):
        return self.states[self.part.node_of(port.process)][None].copy()

    def dtype_of(self, target):
        node = self.part.node_of(target.process)
        return self.part.dtype_of(node.process.out_ports[0])

    def read(self, var):
        return self.states[self.part.node_of(var.process)][0].reshape(var.shape)

    def write(self, var, value):
        self.states[self.part.node_of(var.process)][...] = np.ravel(value)

    def snapshot(self):
        return self.step, [x.copy() for x in self.states.values()]

    def restore(self, snapshot):
        self.step, states = snapshot
        self.states = dict(zip(self.states, (x.copy() for x in states), strict=True))


class Abacus:
    name = "abacus"

    @dataclasses.dataclass(frozen=True)
    class options:
        words: str = ""

    def general_model(self, process):
        return None

    def build(self, part, batch, recordable):
        return Beads(part, batch, recordable)


@pytest.fixture
def abacus(monkeypatch):
    class Entry:
        name = "abacus"
        load = staticmethod(Abacus)

    kept = [(cls, list(cls.models)) for cls in (Delay, Sigma)]
    monkeypatch.setattr(lv.model.registry, "_installed", lambda: [Entry])
    for cls, delay in ((Delay, 1), (Sigma, 0)):
        lv.implements(cls, backend="abacus", delay=delay)(type("Bead", (lv.ProcessModel,), {}))
    yield
    for cls, models in kept:
        cls.models[:] = models


@pytest.mark.parametrize(
    "select",
    [
        {Delay: "abacus"},
        {Sigma: "abacus"},
        {"back": "abacus", "sum": lv.Choice(precision="fixed_pt")},
    ],
)
@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_a_backend_of_somebody_elses_is_mixed_in(abacus, select, precision):
    """Feed-forward and in a loop, batched, with an option of its own."""
    first, total, back = (
        Delay(shape=(2,), name="first"),
        Sigma(shape=(2,), name="sum"),
        Delay(shape=(2,), name="back"),
    )
    first.a_out.connect(total.a_in)
    total.s_out.connect(back.s_in)
    back.a_out.connect(total.a_in)
    x = np.random.default_rng(0).integers(-3, 4, (3, 2, 9))
    record = [total.s_out, total.a_in, back.a_buff, first.a_buff]
    want = lv.simulate(
        total, {first.s_in: x}, config=lv.RunConfig(precision=precision), record=record
    )
    config = lv.RunConfig(precision=precision, select=select, options={"words": "few"})
    got = lv.simulate(total, {first.s_in: x}, config=config, record=record)
    for target in record:
        np.testing.assert_array_equal(got[target], want[target], err_msg=target.path)
    assert any(p.words == "few" for p in got.program.programs if isinstance(p, Beads))
    with pytest.raises(
        lv.InputError, match=r"option 'wrods' is of none of the backends.*did you mean 'words'"
    ):
        lv.simulate(
            total,
            steps=1,
            config=lv.RunConfig(precision=precision, select=select, options={"wrods": 1}),
        )


# -- the plan --------------------------------------------------------------------------------------


def test_a_graph_of_one_backend_is_one_part_whatever_its_precisions():
    plan = plan_of(Precisions(), select={"up": "fixed_pt"})
    ((part,),) = plan.groups
    assert part.nodes == plan.flat.nodes
    assert part.hears == plan.flat.stimuli
    assert plan.edges == []


def test_a_flat_graph_is_data():
    """A copy through pickle computes the same, and is of nobody's process."""
    net, x = Chain(back=True), np.ascontiguousarray(inputs().T[:, None], np.float32)
    net.run(lv.RunSteps(3))
    flat = flatten(net, lv.RunConfig(select={"layers[1]": "torch"}), get_backend, [net.inp])
    rows = []
    for one in (flat, pickle.loads(pickle.dumps(flat))):
        port = one.nodes[0].process.out_ports[0]
        engine, out = (
            compiled(one, 1, [port], get_backend),
            np.zeros((30, 1, port.size), np.float32),
        )
        engine.run(30, {one.stimuli[0]: x}, {port: out})
        rows.append(out)
        assert engine.step == 33
    assert rows[0].any()
    np.testing.assert_array_equal(*rows)
    assert net.step == 3


def test_loops_take_turns_and_all_else_runs_through():
    net = Chain(back=True)
    after = LIF(shape=(3,))
    net.out.connect(after.a_in)
    plan = plan_of(net, select={"layers[1]": "torch"})
    assert [sorted(p.target.backend for p in group) for group in plan.groups] == [
        ["numba", "torch"],
        ["numba"],
    ]
    assert [plan.stretch(group) for group in plan.groups] == [1, np.inf]
    plan = plan_of(Chain(), select={"layers[1]": "torch"})
    assert [p.target.backend for p in plan.parts] == ["numba", "torch", "numba"]
    assert {e.lag for e in plan.edges} == {0, 1}


LONG = {"neurons": ["layers[1]"], "all behind": ["layers[1]", "back"], "delays": ["back"]}


@pytest.mark.parametrize("kind", [DelayDense, DelaySparse])
@pytest.mark.parametrize("case", LONG)
def test_a_loop_of_long_delays_takes_turns_in_long_stretches(kind, case, monkeypatch):
    """As long as the shortest delay; bit for bit what turns in every step give, for a batch, over
    runs and after a set of delays."""
    g = np.random.default_rng(5)
    loop, delays = Chain(sizes=(4, 4)), g.integers(2, 5, (4, 4))
    delays[0, 0] = 2
    back = kind(weights=g.normal(0, 0.5, (4, 4)), delays=delays, max_delay=6, name="back")
    loop.layers[-1].s_out.connect(back.s_in)
    back.a_out.connect(loop.layers[0].a_in)
    select = dict.fromkeys(LONG[case], "torch")
    plan = plan_of(loop, select=select)
    assert [plan.stretch(group) for group in plan.groups] == [3]
    record, x = [back.a_out, back.a_buff, "layers[0].v"], inputs(3)

    def simulated(config):
        rec = lv.simulate(loop, {"inp": x}, config=config, record=record)
        return [rec[t] for t in ("out", *record)]

    def run(config):
        net = copy.deepcopy(loop)
        behind, (head,) = net.layers[0], back_of(net)
        for n in (1, 8, 2, 5):
            net.run(lv.RunSteps(n), config)
            head.delays.set(head.delays.get() * 0 + n % 4)  # 1, 0, 2, 1
        return behind.v.get(), head.a_buff.get()

    config = lv.RunConfig(select=select, **F64)
    long, runs = simulated(config), run(config)
    assert long[0].any()
    for got, want in (
        (long, simulated(lv.RunConfig(**F64))),
        (runs, run(lv.RunConfig(**F64))),
    ):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(Plan, "stretch", lambda self, group: 1)
    for got, want in ((long, simulated(config)), (runs, run(config))):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def back_of(net):
    return [p for top in component(net) for p in walk(top) if p.name == "back"]


def test_the_first_error_is_told_where_parts_run_long_stretches():
    """A part behind fails in a step before the one in which a part ahead of it does."""
    first, hub, second = Fails(), LIF(shape=(1,), bias_mant=1.0), Fails(at=7)
    first.s_out.connect(hub.a_in)
    hub.s_out.connect(second.a_in)
    first.run(lv.RunSteps(3), lv.RunConfig(select={LIF: "torch"}))
    with pytest.raises(lv.RunError, match="Fails, step 7: "):
        first.run(lv.RunSteps(100))
    first.stop()
    assert (first.n.get(), second.n.get(), first.step) == (6, 6, 6)


def test_long_chains_and_loops_are_ordered_without_recursion():
    n = 5000
    hears = {k: [k - 1] for k in range(1, n)} | {0: []}
    assert order.upstream_first(range(n)[::-1], hears) == list(range(n))
    assert order.components(range(n), hears) == [[k] for k in range(n)]
    ring = {k: [(k - 1) % n] for k in range(n)}
    assert [sorted(c) for c in order.components(range(n), ring)] == [list(range(n))]
    assert order.upstream_first(range(n), ring) == []


# -- states as a whole -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "select",
    [{}, {LIF: "torch"}, {"up": "fixed_pt", "b": "fixed_pt"}],
    ids=["numba", "torch", "precisions"],
)
def test_a_snapshot_is_gone_back_to(select):
    net = Precisions() if "up" in select else Chain(back=True)
    config, a = lv.RunConfig(select=select), net.a if "up" in select else net.layers[0]
    net.run(lv.RunSteps(7), config)
    engine = net.runtime.program
    mark = engine.snapshot()
    net.run(lv.RunSteps(9))
    v = a.v.get()
    engine.restore(mark)
    assert engine.step == 7
    net.run(lv.RunSteps(9))
    np.testing.assert_array_equal(a.v.get(), v)
    other = Chain(sizes=(4, 5, 4))
    other.run(lv.RunSteps(1))
    with pytest.raises(
        lv.RunError, match=r"Chain: the snapshot is of another graph: .* there, .* here"
    ):
        other.runtime.program.restore(mark)
    np.testing.assert_array_equal(a.v.get(), v)


class Fails(lv.AbstractProcess):
    def __init__(self, at=40):
        super().__init__()
        self.a_in, self.s_out, self.n = lv.InPort((1,)), lv.OutPort((1,)), lv.Var((1,), 0)
        self.at = lv.Var((1,), at, role="parameter")


@lv.implements(Fails, backend="numba")
class FailsModel(lv.NumbaModel):
    def step(t, a_in, s_out, n, at):
        n[0] += 1
        s_out[0] = a_in[0]
        if t == at[0]:
            raise ValueError("forty")


def test_an_error_in_one_part_leaves_all_parts_at_the_last_whole_step():
    first, second, last = (
        LIF(shape=(1,), du=1.0, bias_mant=0.25, vth=1e9),
        Fails(),
        Sigma(shape=(1,)),
    )
    first.s_out.connect(second.a_in)
    second.s_out.connect(last.a_in)
    config = lv.RunConfig(select={LIF: "torch", Sigma: "torch"})
    with pytest.raises(lv.RunError, match="Fails, step 40: forty"):
        first.run(lv.RunSteps(100), config)
    first.stop()
    assert (first.v.get(), second.n.get()) == (39 * 0.25, 39)


# -- refused, by name ------------------------------------------------------------------------------


def spiking(back=None):
    """Dense and LIF on a chip; ``back``: a process from the LIF to the Dense."""
    dense, lif = (
        Dense(weights=np.full((2, 2), 0.5), name="dense"),
        LIF(shape=(2,), du=0.5, dv=0.2, vth=1.0, name="lif"),
    )
    dense.a_out.connect(lif.a_in)
    if back is not None:
        lif.s_out.connect(back.in_ports[0])
        back.out_ports[0].connect(dense.s_in)
    return lif


def loop_without_delay():
    a, b = LIF(shape=(2,), name="a"), LIF(shape=(2,), name="b")
    a.s_out.connect(b.a_in)
    b.s_out.connect(a.a_in)
    return a


REFUSED = {
    "a key that fits nothing": (
        lambda: Chain(),
        {"select": {"layer[1]": "torch"}},
        lv.ModelSelectionError,
        r"RunConfig\.select: 'layer\[1\]' is no process.*did you mean 'layers\[1\]'",
    ),
    "a function that is true of nothing": (
        lambda: Chain(),
        {"select": {lambda p: False: "torch"}},
        lv.ModelSelectionError,
        "<lambda> is true of no process",
    ),
    "a class of no process": (
        lambda: Chain(),
        {"select": {int: "torch"}},
        lv.InputError,
        "int: a process class is expected, got int",
    ),
    "a misspelt backend": (
        lambda: Chain(),
        {"select": {LIF: "touch"}},
        lv.InputError,
        "'touch' is no precision and no backend.*'torch'",
    ),
    "a misspelt backend in a Choice": (
        lambda: Chain(),
        {"select": {LIF: {"backend": "touch"}}},
        lv.InputError,
        "no backend called 'touch'",
    ),
    "a misspelt precision": (
        lambda: Chain(),
        {"select": {LIF: "fixed"}},
        lv.InputError,
        "'fixed' is no precision.*did you mean 'fixed_pt'",
    ),
    "a misspelt option": (
        lambda: Chain(),
        {"options": {"thread": 2}},
        lv.InputError,
        "no option 'thread'; did you mean 'threads'",
    ),
    "a wrong option": (
        lambda: Chain(),
        {"options": {"threads": 0}},
        lv.InputError,
        "options: threads is an integer >= 1 or None, got 0",
    ),
    "an option given twice": (
        lambda: Chain(),
        {"threads": 1, "options": {"threads": 2}},
        lv.InputError,
        "give one of them",
    ),
    "an option of another backend": (
        lambda: Chain(),
        {"backend": "torch", "threads": 2},
        lv.InputError,
        "debug and threads belong to the numba backend, which computes nothing of this graph",
    ),
    "a model of another process": (
        lambda: Chain(),
        {"select": {LIF: LayerModel}},
        lv.ModelSelectionError,
        "LIF: LayerModel: it does not implement LIF, but Layer",
    ),
    "a model of another process by name": (
        lambda: Chain(),
        {"select": {"layers[1]": LayerModel}},
        lv.ModelSelectionError,
        "LayerModel: it does not implement LIF",
    ),
    "a model of another backend": (
        lambda: Own(shape=(1,)),
        {"select": {Own: Silent}},
        lv.ModelSelectionError,
        r"Silent: backend 'torch', asked for 'numba'\n(.*\n)*.*Choice\(model=Silent, backend='torch'",
    ),
    "a precision that a backend has not": (
        lambda: spiking(),
        {"select": {LIF: {"backend": "bss2", "precision": "fixed_pt"}}},
        lv.ModelSelectionError,
        "precision 'floating_pt', asked for 'fixed_pt' of backend 'bss2'",
    ),
    "a loop without delay across parts": (
        loop_without_delay,
        {"select": {"a": "torch"}},
        lv.GraphError,
        r"cycle without delay: .*a\.s_out -> b\.a_in",
    ),
    "a chip in a loop with the host": (
        lambda: spiking(Delay(shape=(2,), name="line")),
        {"backend": "bss2", "chip": Chip(level="ideal")},
        lv.GraphError,
        "lif, dense: on the chip, in a loop with line on the host; a chip cannot be stepped",
    ),
    "a chip in a loop with torch": (
        lambda: spiking(Delay(shape=(2,), name="line")),
        {"select": {"dense": "bss2", "lif": "bss2", "line": "torch"}, "chip": Chip(level="ideal")},
        lv.GraphError,
        "in a loop with line on the host; a chip cannot be stepped",
    ),
    "a neuron for a chip without its synapses": (
        lambda: spiking(),
        {"select": {"lif": "bss2"}, "chip": Chip(level="ideal")},
        lv.GraphError,
        "lif: select asks for backend 'bss2', and no synapse .* feeds this neuron",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_mixed_is_refused(case):
    make, kwargs, error, message = REFUSED[case]
    process = make()
    v = [x.get() for x in process.vars]

    def run():
        select = {
            k: lv.Choice(**x) if isinstance(x, dict) else x
            for k, x in kwargs.get("select", {}).items()
        }
        process.run(lv.RunSteps(2), lv.RunConfig(**{**kwargs, "select": select}))

    with pytest.raises(error, match=message):
        run()
    for before, var in zip(v, process.vars, strict=True):
        np.testing.assert_array_equal(var.get(), before)
    assert process.runtime is None


def test_a_choice_that_contradicts_itself_is_refused():
    with pytest.raises(
        lv.InputError, match="Choice: backend='numba', and Silent is a model of backend 'torch'"
    ):
        lv.Choice(backend="numba", model=Silent)
    with pytest.raises(
        lv.InputError,
        match="Choice: precision='fixed_pt', and Silent is a model of precision 'floating_pt'",
    ):
        lv.Choice(precision="fixed_pt", model=Silent)
    with pytest.raises(
        lv.InputError, match=r"Choice: model is a model class \(.*implements\) or None, got .*int"
    ):
        lv.Choice(model=int)
