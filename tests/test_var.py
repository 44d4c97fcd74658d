"""What a Var holds: its kind, its shape, and what set takes."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba import NumbaModel
from lavalike.proc import LIF, Dense
from lavalike.process import InPort, OutPort, Var


@pytest.mark.parametrize(
    ("init", "kind", "new"),
    [
        (True, "b", [False, True, False]),
        (3, "i", [1, 2, 3]),
        (0.5, "f", [1.0, 2.5, 3.0]),
        (1 + 2j, "c", [1j, 2.0, 3]),
        ("a", "U", ["b", "abc", ""]),
    ],
)
@pytest.mark.parametrize("role", ["state", "parameter"])
def test_a_var_keeps_its_kind(init, kind, new, role):
    """Given, set as a whole and by index, copied, and beside a model that does not use it while it runs."""
    reader = Reader([1.0, 2.0])
    reader.extra = var = Var((3,), init, role=role)
    assert var.get().dtype.kind == kind
    assert (var.get() == init).all()
    reader.run(lv.RunSteps(2))
    var.set(new)
    var.set(new[1], 0)
    reader.run(lv.RunSteps(2))
    for held in (var, copy.deepcopy(reader).extra):
        assert held.get().dtype.kind == kind
        assert held.get().tolist() == [new[1], *new[1:]]
    reader.stop()
    assert var.get(1) == new[1]


@pytest.mark.parametrize(
    ("init", "wrong", "error", "match"),
    [
        (True, 0.5, ValueError, r"dtype is bool; 0\.5 cannot be held"),
        (True, "x", TypeError, "real numbers expected"),
        (3, 1j, TypeError, "real numbers expected"),
        (0.5, "x", TypeError, "real numbers expected, got 'x'"),
        (0.5, np.nan, ValueError, "NaN or infinite"),
        (1j, complex(0, np.inf), ValueError, "NaN or infinite"),
        (1j, "x", TypeError, "numbers expected"),
        ("a", 3, TypeError, "texts expected, got 3"),
        ("a", None, TypeError, "texts expected, got None"),
    ],
)
@pytest.mark.parametrize("idx", [None, 1])
def test_another_kind_is_refused(init, wrong, error, match, idx):
    var = Var((2,), init, name="x")
    with pytest.raises(lv.VarError, match=match) as told:
        var.set(wrong, idx)
    assert isinstance(told.value, error)
    assert (var.get() == init).all()


def test_an_index_takes_what_set_takes():
    """Floats into integers that are a default, lists, tensors, slices, masks; by index as a whole."""
    torch = pytest.importorskip("torch")
    var = Var((4,), 0, role="parameter", name="x")
    var.set(0.5, 2)
    assert var.get().tolist() == [0, 0, 0.5, 0]
    var.set([1, 2.5], slice(0, 2))
    var.set(torch.tensor([7.0]), [3])
    assert var.get().tolist() == [1, 2.5, 0.5, 7]
    var.set(0, np.array([True, False, False, True]))
    assert var.get().tolist() == [0, 2.5, 0.5, 0]
    with pytest.raises(lv.VarError, match="cannot set index 4"):
        var.set(1, 4)
    with pytest.raises(lv.VarError, match="cannot set index"):
        var.set([1, 2, 3], slice(0, 2))


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("running", [False, True])
def test_one_number_becomes_one_a_neuron(backend, running):
    """Before the first run and between runs, as a whole and by index; what was trained keeps its shape where the value does."""
    config = lv.RunConfig(backend=backend)
    for by_index in (False, True):
        lif = LIF(shape=(3,), du=1.0, dv=1.0, bias_mant=2.5)
        if running:
            lif.run(lv.RunSteps(1), config)
            assert lif.s_out is not None
        if by_index:
            lif.vth.set(3, 2)
            assert lif.vth.get().tolist() == [10, 10, 3]
            lif.vth.set([1, 2], slice(0, 2))
        else:
            lif.vth.set([1, 2, 3])
        assert lif.vth.shape == (3,)
        lif.run(lv.RunSteps(1), config)
        assert lif.v.get().tolist() == [0, 0, 2.5]
        lif.vth.set(1)
        assert lif.vth.get().tolist() == [1, 1, 1]
        lif.run(lv.RunSteps(1), config)
        assert lif.v.get().tolist() == [0, 0, 0]


def test_one_number_becomes_one_a_neuron_of_that_shape_only():
    lif = LIF(shape=(2, 3), vth=1)
    for wrong in ([1, 2], np.ones((3, 2)), np.ones(6)):
        with pytest.raises(
            lv.VarError, match=r"LIF\.vth: value of shape .* does not fit shape \(1,\)"
        ):
            lif.vth.set(wrong)
    with pytest.raises(lv.VarError, match="cannot set index"):
        lif.vth.set(1, (2, 0))
    with pytest.raises(lv.VarError, match="NaN"):
        lif.vth.set([1, np.nan, 2])
    assert lif.vth.get().tolist() == [1]
    assert lif.vth.shape == (1,)
    lif.vth.set([1, 2, 3])
    assert lif.vth.get().tolist() == [[1, 2, 3]] * 2
    own = Var((1,), 4.0, role="parameter", name="own")  # a shape of the user's stays
    with pytest.raises(lv.VarError, match="does not fit"):
        own.set([1, 2])


def test_a_refused_value_leaves_a_running_network():
    """du = 2 for one neuron is refused by the model, after it had grown."""
    lif = LIF(shape=(3,), du=0.5, bias_mant=0.1)
    lif.run(lv.RunSteps(1))
    with pytest.raises(lv.VarError, match=r"outside 0\.\.1"):
        lif.du.set([0.1, 2.0, 0.1])
    assert lif.du.get().tolist() == [0.5]
    lif.run(lv.RunSteps(1))


class Reader(lv.AbstractProcess):
    def __init__(self, value):
        super().__init__()
        self.a_in, self.s_out, self.x = (
            InPort((2,)),
            OutPort((2,)),
            Var((2,), value, role="parameter"),
        )


@lv.implements(Reader, backend="numba")
class ReaderModel(NumbaModel):
    def step(a_in, s_out, x):
        for i in range(s_out.size):
            s_out[i] = x[i] + a_in[i]


@pytest.mark.parametrize(("value", "match"), [("a", "holds texts"), (1j, "holds complex numbers")])
def test_a_step_that_reads_no_real_numbers_is_told(value, match):
    with pytest.raises(
        lv.VarError,
        match=rf"Reader\.x: {match}, and a step of the numba backend takes real numbers",
    ):
        lv.simulate(Reader(value), steps=1)


@pytest.mark.parametrize("value", ["a", 1j])
def test_an_equation_takes_real_numbers(value):
    with pytest.raises(lv.VarError, match=r"LIF\.u: real numbers expected in an equation") as told:
        LIF(shape=(2,), u=value)
    assert isinstance(told.value, TypeError)


def test_weights_that_are_set_are_those_that_run():
    """The laid out weights follow, in blocks of columns and beyond."""
    g = np.random.default_rng(0)
    dense, x = Dense(weights=np.zeros((130, 5))), np.eye(5)
    for _ in range(2):
        w = g.normal(size=(130, 5)).astype(np.float32)
        dense.weights.set(w)
        got = lv.simulate(dense, {"s_in": np.pad(x, ((0, 0), (0, 1)))})["a_out"]
        assert (got[:, 1:] == w).all()


def test_a_circle_of_aliases_is_named():
    class Two(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a, self.b = lv.Var((1,), 1.0), lv.Var((1,), 2.0)

    p = Two()
    with pytest.raises(lv.VarError, match=r"Two\.a -> Two\.a: a circle of aliases"):
        p.a.alias(p.a)
    p.a.alias(p.b)
    with pytest.raises(lv.VarError, match=r"Two\.b -> Two\.a -> Two\.b: a circle"):
        p.b.alias(p.a)
    assert p.a.get() == p.b.get() == 1
