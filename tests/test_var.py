"""What a Var holds: its kind, its shape, and what set takes."""

from __future__ import annotations

import copy

import numba
import numpy as np
import pytest

import lavalike as lv
from lavalike import cache
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
    """Given, set as a whole and by index, copied, and beside a model that does not use it while it
    runs."""
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
    """Floats into integers that are a default, lists, tensors, slices, masks; by index as a
    whole."""
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
    """Before the first run and between runs, as a whole and by index; what was trained keeps its
    shape where the value does."""
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


def test_a_step_that_reads_no_numbers_is_told():
    with pytest.raises(
        lv.VarError,
        match=r"Reader\.x: holds texts, and a step of the numba backend takes numbers",
    ):
        lv.simulate(Reader("a"), steps=1)
    with pytest.raises(lv.GraphError, match=r"Reader: the model's step does not compile"):
        lv.simulate(Reader(1j), steps=1)


class Kinds(lv.AbstractProcess):
    """A user's process with states and a parameter of each kind."""

    def __init__(self, n=0):
        super().__init__()
        self.a_in, self.s_out = InPort((2,)), OutPort((2,))
        self.n, self.flag, self.z = Var((2,), n), Var((2,), [True, False]), Var((2,), 1j)
        self.v, self.w = Var((2,), 0), Var((2,), 0.5)
        self.k = Var((2,), [2**25 + 1, 1], role="parameter")
        self.on = Var((2,), [True, False], role="parameter")
        self.turn = Var((1,), 1j, role="parameter")


@lv.implements(Kinds, backend="numba", precision="floating_pt")
class NumbaKinds(NumbaModel):
    def step(a_in, s_out, n, flag, z, v, w, k, on, turn):
        for i in range(2):
            n[i] += k[i] if on[i] else 1
            flag[i] = not flag[i]
            z[i] = z[i] * turn[0]
            v[i] = 0.5 * v[i] + a_in[i]
            w[i] = -w[i]
            s_out[i] = flag[i]


@lv.implements(Kinds, backend="numba", precision="fixed_pt")
class WholeKinds(NumbaModel):
    def step(a_in, s_out, n, flag, z, v, w, k, on, turn):
        for i in range(2):
            n[i] += k[i] if on[i] else 1
            flag[i] = not flag[i]
            z[i] = z[i] * turn[0]
            v[i] = (v[i] >> 1) + a_in[i]
            w[i] = -w[i]
            s_out[i] = flag[i]


@lv.implements(Kinds, backend="torch")
class TorchKinds(lv.TorchModel):
    def step(self, t, inputs, state, c):
        n = state["n"] + c["k"].where(c["on"], 1)
        flag, z, w = ~state["flag"], state["z"] * c["turn"], -state["w"]
        v = 0.5 * state["v"] + inputs["a_in"]
        return {"s_out": flag}, {"n": n, "flag": flag, "z": z, "v": v, "w": w}


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_users_model_keeps_kinds(backend, dtype):
    """Run, recorded, set while it runs, restored, copied, and of a batch. Exact beyond what floats
    hold. Python's integers become floats where the step says so (v)."""
    config = lv.RunConfig(backend=backend, dtype=dtype)
    process = Kinds(np.int64(0))
    real, pairs = np.dtype(dtype), np.result_type(dtype, np.complex64)
    kinds = {"n": np.int64, "flag": bool, "z": pairs, "v": real, "w": real}
    recorder = lv.proc.Recorder()
    for var in (process.n, process.flag, process.z):
        recorder.add(var)
    process.run(lv.RunSteps(3), config)
    assert {v.name: v.get().dtype for v in process.vars if v.role == "state"} == kinds
    assert process.k.get().dtype == np.int64
    assert process.n.get().tolist() == [3 * (2**25 + 1), 3]
    assert process.flag.get().tolist() == [False, True]
    assert (process.z.get() == 1).all()
    assert process.w.get().tolist() == [-0.5, -0.5]
    assert recorder[process.n].tolist() == [[k * (2**25 + 1), k] for k in (1, 2, 3)]
    assert recorder[process.flag].dtype == bool
    assert (recorder[process.z] == np.array([[-1], [-1j], [1]])).all()
    process.n.set(7, 1)
    process.flag.set(True)
    process.z.set([1, 2j])
    with pytest.raises(lv.VarError, match=r"Kinds\.n: dtype is int64; 0\.5 cannot be held"):
        process.n.set(0.5)
    with pytest.raises(lv.VarError, match=r"Kinds\.flag: dtype is bool; 2"):
        process.flag.set(2)
    other = copy.deepcopy(process)
    process.run(lv.RunSteps(1), config)
    other.run(lv.RunSteps(1), config)
    for p in (process, other):
        assert p.n.get().tolist() == [4 * (2**25 + 1), 8]
        assert p.flag.get().tolist() == [False, False]
        assert p.z.get().tolist() == [1j, -2]
    process.stop()
    x = np.array([[[1, 2], [0, 0]], [[3, 4], [0.5, 0]]])
    states = [v for v in process.vars if v.role == "state"]
    rec = lv.simulate(process, {"a_in": x}, config=config, record=states)
    assert {v.name: rec[v].dtype for v in states} == kinds
    assert (rec["n"] == [[5 * (2**25 + 1), 6 * (2**25 + 1)], [9, 10]]).all()
    assert rec["v"].tolist() == [[[1, 2.5], [0, 0]], [[3, 5.5], [0.5, 0.25]]]
    assert (rec["s_out"] == [[1, 0], [1, 0]]).all()
    process.run(lv.RunSteps(1), config)
    process.reset()
    assert process.n.get().tolist() == [0, 0]
    assert process.flag.get().tolist() == [True, False]
    assert (process.z.get() == 1j).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_fixed_pt_holds_whole_numbers_of_32_bits(backend):
    """Beside booleans and complex numbers, which are of no precision."""
    config = lv.RunConfig(backend=backend, precision="fixed_pt")
    process = Kinds()
    process.w.set(2)
    process.on.set(False)
    rec = lv.simulate(
        process, {"a_in": np.array([[4, 8], [0, 2]])}, config=config, record=process.vars
    )
    assert {n: rec[n].dtype.name for n in ("n", "flag", "z", "v", "w")} == {
        "n": "int32",
        "flag": "bool",
        "z": "complex128",
        "v": "int32",
        "w": "int32",
    }
    assert rec["n"].tolist() == [[1, 2]] * 2
    assert rec["flag"].tolist() == [[False, True], [True, False]]
    assert rec["v"].tolist() == [[4, 10], [0, 2]]
    process.n.set(2**40)
    with pytest.raises(lv.VarError, match=r"Kinds\.n: fixed_pt holds whole numbers of 32 bits"):
        lv.simulate(process, steps=1, config=config)


@numba.njit
def put(x, value):
    x[0] = value


def by_element(a_in, s_out, n):
    s_out[:] = 0
    for i in range(2):
        n[i] = n[i] + a_in[i]


def in_place(a_in, s_out, n):
    s_out[:] = 0
    n += a_in


def whole(a_in, s_out, n):
    s_out[:] = 0
    n[:] = n / 2


def filled(a_in, s_out, n):
    s_out[:] = 0
    n.fill(a_in[0])


def by_a_helper(a_in, s_out, n):
    s_out[:] = 0
    put(n[1:], a_in[0])


def rounded(a_in, s_out, n):
    s_out[:] = 0
    n[0] = int(a_in[0])
    n += 1
    put(n[1:], 3)
    own = np.zeros(2, np.int64)
    put(own, 2.0)
    n[:] += own


@pytest.mark.parametrize("step", [by_element, in_place, whole, filled, by_a_helper])
@pytest.mark.parametrize("debug", [False, True])
def test_floats_into_whole_numbers_are_never_cut(step, debug):
    """Numba and NumPy cut them. A dtype that was asked for makes it an error with its line,
    Python's numbers become floats."""
    kind = type("Own", (Reader,), {})
    lv.implements(kind, backend="numba")(type("OwnModel", (NumbaModel,), {"step": step}))
    process = kind(1.0)
    process.n = Var((2,), np.array([4, 5], np.int32))
    config = lv.RunConfig(debug=debug)
    with pytest.raises(
        lv.GraphError,
        match=rf"Own\.n: of int32, and OwnModel\.step \(.*test_var.py:{line(step)}\) writes floats into it; round them there",
    ):
        lv.simulate(process, steps=1, config=config)
    assert process.n.get().dtype == np.int32
    if debug:
        process.n = Var((2,), [4, 5])
        got = lv.simulate(
            process, {"a_in": np.full((2, 1), 0.5)}, config=config, record=[process.n]
        )
        assert got["n"].dtype == np.float32
        assert got["n"][1, 0] in (5.5, 2.5, 0.5)


def line(step):
    return step.__code__.co_firstlineno + (3 if step is by_element else 2)


def test_whole_numbers_that_are_rounded_stay():
    """In a helper's local array floats are the user's. What was found out is kept beside the
    kernels."""
    kind = type("Own", (Reader,), {})
    lv.implements(kind, backend="numba")(type("OwnModel", (NumbaModel,), {"step": rounded}))
    process = kind(1.0)
    process.n = Var((2,), np.array([4, 5], np.int8))
    got = lv.simulate(process, {"a_in": np.full((2, 2), 7.9)}, record=[process.n])
    assert got["n"].dtype == np.int8
    assert got["n"].tolist() == [[10, 10], [3, 3]]
    assert [*cache.root().glob("*/k_rounded_*.kinds")]


def test_a_parameter_that_makes_whole_numbers_fractions_is_refused():
    class Counts(Reader):
        pass

    @lv.implements(Counts, backend="numba")
    class CountsModel(NumbaModel):
        def step(a_in, s_out, n, x):
            s_out[:] = 0
            n[0] += x[0]

    process = Counts(1)
    process.n = Var((2,), 0)
    process.run(lv.RunSteps(2))
    assert process.n.get().tolist() == [2, 0]
    with pytest.raises(lv.GraphError, match=r"Counts\.n: of int64, .* writes floats into it"):
        process.x.set(0.5)
    assert process.x.get().tolist() == [1, 1]
    process.run(lv.RunSteps(1))
    assert process.n.get().tolist() == [3, 0]


@pytest.mark.parametrize(
    ("name", "given"), [("n", "whole numbers"), ("flag", "booleans"), ("z", "complex numbers")]
)
def test_a_torch_step_that_changes_a_kind_is_told(name, given):
    class Own(Kinds):
        pass

    @lv.implements(Own, backend="torch")
    class OwnModel(TorchKinds):
        def step(self, t, inputs, state, c):
            out, new_states = super().step(t, inputs, state, c)
            return out, new_states | {name: new_states["w"]}

    with pytest.raises(
        lv.GraphError,
        match=rf"returns the state {name} as torch\.float32, and the Var was given {given}; convert",
    ):
        lv.simulate(Own(np.int64(1)), steps=1, config=lv.RunConfig(backend="torch"))


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
