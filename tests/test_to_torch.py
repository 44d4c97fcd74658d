"""to_torch of graphs that several backends compute: what each sends is its own, gradients are those
of the torch backend's models."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike.bss2 import Chip
from lavalike.proc import LIF, DelayDense, DelaySparse, Dense, Sparse
from tests.test_mixed import F64, Chain, inputs

FORWARD = {
    "all": {Chain: "numba"},
    "neurons": {LIF: "numba"},
    "synapses": {Dense: "numba"},
    "a layer": {"joints[0]": "numba", "layers[1]": "numba"},
}


@pytest.mark.parametrize("back", [False, True], ids=["forward", "recurrent"])
@pytest.mark.parametrize("case", FORWARD)
def test_a_module_sends_what_numba_computes(case, back):
    """What numba is selected for it sends, and the gradient is that of the module that torch alone
    computes, which is equal to it."""
    net, x, select = Chain(back=back), inputs(3), FORWARD[case]
    given = torch.from_numpy(x).requires_grad_()
    if back and case != "all":
        with pytest.raises(lv.GraphError, match=r"is in a loop with <.*let select put all of the"):
            lv.to_torch(net, select=select)
        return
    plain, mixed = lv.to_torch(net, **F64), lv.to_torch(net, select=select, **F64)
    assert {p.target.backend for p in mixed.plan.parts} == {"numba", "torch"} - (
        {"torch"} if case == "all" else set()
    )
    config = lv.RunConfig(backend="torch", select=select, **F64)
    recipe = torch.sin(torch.arange(3 * 3 * 30).double()).reshape(3, 3, 30)
    for _ in range(2):  # of a program that is there already, with other weights
        want = lv.simulate(net, {"inp": x}, config=config)["out"]
        y = mixed(given)
        assert want.sum() > 5
        assert np.array_equal(y.detach(), want)
        with torch.no_grad():
            assert torch.equal(mixed(given), y)
        assert torch.equal(plain(given), y)
        of = [given, *mixed.parameters()], [given, *plain.parameters()]
        got, exact = (
            torch.autograd.grad((m(given) * recipe).sum(), p)
            for m, p in zip((mixed, plain), of, strict=True)
        )
        for a, b in zip(got, exact, strict=True):
            assert b.any()
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        before = [v.get() for v in net.joints[0].vars]
        with torch.no_grad():
            for m in (mixed, plain):
                for p in m.parameters():
                    p += 0.1
        mixed(given)
        for v, value in zip(net.joints[0].vars, before, strict=True):
            np.testing.assert_array_equal(v.get(), value)
        mixed.write_back()
    single = mixed.float()(given)
    config = dataclasses.replace(config, dtype="float32")
    assert single.dtype == torch.float32
    assert np.array_equal(single.detach(), lv.simulate(net, {"inp": x}, config=config)["out"])
    assert torch.equal(copy.deepcopy(mixed)(given), single)


class Whole(lv.AbstractProcess):
    """Two layers in Loihi's numbers; ``back``: the second hears itself."""

    def __init__(self, back=False, kind=Dense):
        super().__init__()
        g = np.random.default_rng(1)
        self.inp, self.out = lv.InPort((6,)), lv.OutPort((3,))
        last = self.inp
        self.layers, self.joints = [], []
        for n, m in ((8, 6), (3, 8)):
            joint = kind(weights=g.integers(-20, 40, (n, m)) * 2)
            lif = LIF(shape=(n,), du=1200, dv=400, vth=3, bias_mant=[2] * n)
            last.connect(joint.s_in)
            joint.a_out.connect(lif.a_in)
            self.joints, self.layers = [*self.joints, joint], [*self.layers, lif]
            last = lif.s_out
        last.connect(self.out)
        if back:
            self.back = Dense(weights=g.integers(-20, 20, (3, 3)) * 2)
            last.connect(self.back.s_in)
            self.back.a_out.connect(lif.a_in)


EXACT = lv.RunConfig(precision="fixed_pt")


@pytest.mark.parametrize("back", [False, True], ids=["forward", "recurrent"])
def test_fixed_pt_trains_on_what_numba_computes(back):
    """The loss of Loihi's integers goes down, roundings passed straight through; what was learnt
    runs as it was trained. The torch backend has the same bits and gradients."""
    net = Whole(back)
    x = (np.random.default_rng(2).random((5, 6, 20)) < 0.4).astype(float)
    given, target = torch.from_numpy(x), torch.tensor([10.0, 2.0, 15.0])
    made = lv.to_torch(net, select={Whole: lv.Choice(backend="numba", precision="fixed_pt")})
    torchs = lv.to_torch(net, select={Whole: "fixed_pt"})
    assert np.array_equal(made(given).detach(), lv.simulate(net, {"inp": x}, config=EXACT)["out"])

    def loss(module):
        return ((module(given).sum(-1) - target) ** 2).mean()

    mine, others = (torch.autograd.grad(loss(m), list(m.parameters())) for m in (made, torchs))
    for a, b in zip(mine, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)
        assert a.any()
    if back:
        return
    optimizer, losses = torch.optim.Adam(made.parameters(), lr=4.0), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(loss(made))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    y = made(given).detach()
    made.write_back()
    assert net.joints[0].weights.get().dtype == np.int64
    assert np.array_equal(y, lv.simulate(net, {"inp": x}, config=EXACT)["out"])
    with torch.no_grad():
        made.get_parameter("Whole/joints[0]/weights").fill_(300.2)
    with pytest.raises(lv.VarError, match=r"joints\[0\]\.weights: 300 is outside 0\.\.255"):
        made(given)
    with pytest.raises(lv.InputError, match=r"Whole\.inp .*: fixed_pt needs whole numbers"):
        made(given + 0.5)


@pytest.mark.parametrize("kind", [Sparse, DelayDense, DelaySparse])
def test_other_synapses_of_fixed_pt_have_gradients(kind):
    """Those of Dense, whose values they have."""

    def made(kind):
        if kind in (DelayDense, DelaySparse):
            return lambda weights: kind(weights=weights, delays=np.zeros(weights.shape, int))
        return kind

    x = torch.from_numpy((np.random.default_rng(2).random((2, 6, 12)) < 0.4).astype(float))
    grads = []
    for k in (Dense, kind):
        net = Whole(kind=made(k))
        module = lv.to_torch(net, select={Whole: lv.Choice(backend="numba", precision="fixed_pt")})
        y = module(x)
        weights = [p for n, p in module.named_parameters() if "weights" in n]
        g = torch.autograd.grad((y * torch.arange(12.0)).sum(), weights)
        grads.append([y, *(a.reshape(-1) for a in g)])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


def test_a_module_of_numba_torch_and_a_chip():
    """In one graph, and with a part in fixed_pt before the chip."""
    net, x = Chain(sizes=(4, 5, 5, 3)), torch.from_numpy(inputs(2, 40))
    select = {"layers[0]": "numba", "joints[0]": "bss2", "layers[1]": "bss2", "layers[3]": "numba"}
    chip = Chip(level="ideal")
    plain = lv.to_torch(net, **F64)
    mixed = lv.to_torch(net, select=select, chip=chip, **F64)
    assert [p.target.backend for p in mixed.plan.parts] == ["numba", "bss2", "torch", "numba"]
    assert torch.equal(mixed(x), plain(x))
    for a, b in zip(
        *(torch.autograd.grad(m(x).sum(), list(m.parameters())) for m in (mixed, plain)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    fixed = lv.Choice(backend="numba", precision="fixed_pt")
    encoded = lv.to_torch(Encoded(), select={"encoder": fixed, **select}, chip=chip)
    y = encoded(x)
    y.sum().backward()
    assert torch.equal(y, lv.to_torch(net)(x))
    assert [p.target.backend for p in encoded.plan.parts][:2] == ["numba", "bss2"]


class Encoded(lv.AbstractProcess):
    """A neuron an input, which spikes with it, before a Chain."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((4,)), lv.OutPort((3,))
        self.encoder = LIF(shape=(4,), du=4095, dv=4095, vth=0)
        self.net = Chain(sizes=(4, 5, 5, 3))
        self.inp.connect(self.encoder.a_in)
        self.encoder.s_out.connect(self.net.inp)
        self.net.out.connect(self.out)


class Own(lv.AbstractProcess):
    """With a model on numba alone."""

    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))


@lv.implements(Own, backend="numba")
class OwnModel(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = a_in[i]


class Square(Own):
    """On numba one more than on torch."""


@lv.implements(Square, backend="numba", precision="floating_pt")
class OneMore(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = a_in[i] * a_in[i] + 1


@lv.implements(Square, backend="torch", precision="floating_pt")
class SquareModel(lv.TorchModel):
    def step(self, t, inputs, state, c):
        return {"s_out": inputs["a_in"] ** 2}, state


class Squares(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.squares = [Square(), Square(), Square()]
        last = self.inp
        for square in self.squares:
            last.connect(square.a_in)
            last = square.s_out
        last.connect(self.out)


def test_values_are_the_programs_and_gradients_the_models_at_them():
    """Each node's model hears what the program's node before it sent."""
    x = torch.tensor([[[1.0, 2.0], [3.0, 0.5]]], requires_grad=True)
    module = lv.to_torch(Squares(), select={"squares[0]": "numba", "squares[1]": "numba"})
    a, b = x**2 + 1, (x**2 + 1) ** 2 + 1
    y = module(x)
    assert torch.equal(y, b**2)
    with torch.no_grad():
        assert torch.equal(module(x), b**2)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], 2 * b * 2 * a * 2 * x)


def test_what_has_no_gradient_is_named():
    with pytest.raises(
        lv.ModelSelectionError, match=r"(?s)Own: no model of Own fits.*torch.*Write such a model"
    ):
        lv.to_torch(Own(), select={Own: "numba"})
    with pytest.raises(lv.InputError, match="asks for 'numba', and forward='bss2' leaves to torch"):
        lv.to_torch(
            Chain(), forward="bss2", chip=Chip(level="ideal"), select={"layers[0]": "numba"}
        )
    with pytest.raises(lv.ModelSelectionError, match="backend='numba'"):
        lv.to_torch(Own(), select={Own: OwnModel})


class Pair(lv.AbstractProcess):
    """A graph of two squares, and on numba a model of the whole too."""

    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))


@lv.implements(Pair)
class PairModel(lv.SubProcessModel):
    def __init__(self, process):
        self.first, self.second = Square(), Square()
        process.a_in.connect(self.first.a_in)
        self.first.s_out.connect(self.second.a_in)
        self.second.s_out.connect(process.s_out)


@lv.implements(Pair, backend="numba", precision="floating_pt")
class AtOnce(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = (a_in[i] * a_in[i] + 1) ** 2 + 1


def test_a_model_of_a_whole_has_no_gradient_of_its_parts():
    """Which are others' in the graph of the torch backend; the graph of both has one."""
    x = torch.tensor([[[1.0, 2.0], [3.0, 0.5]]], requires_grad=True)
    with pytest.raises(
        lv.ModelSelectionError, match=r"Pair is computed forward by AtOnce, and the gradient"
    ):
        lv.to_torch(Pair(), select={Pair: "numba"})
    module = lv.to_torch(Pair(), select={Pair: PairModel, Square: "numba"})
    y = module(x)
    a = x**2 + 1
    assert torch.equal(y, a**2 + 1)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], 2 * a * 2 * x)
