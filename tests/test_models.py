"""Choosing models: own ones, exceptions, sub-process models, and what they get wrong."""

from __future__ import annotations

import numpy as np
import pytest

import lavalike as lv
from lavalike.proc import LIF, Dense, LearningLIF


class Layer(lv.AbstractProcess):
    """Dense and LIF by one name."""

    def __init__(self, weights):
        super().__init__()
        self.s_in = lv.InPort((weights.shape[1],))
        self.s_out = lv.OutPort((weights.shape[0],))
        self.weights = lv.Var(weights.shape, weights, role="parameter")
        self.v = lv.Var((weights.shape[0],))


@lv.implements(Layer)
class LayerModel(lv.SubProcessModel):
    def __init__(self, process):
        self.dense = Dense(weights=process.weights.get())
        self.lif = LIF(shape=process.s_out.shape, du=1, dv=0.5, vth=1)
        process.s_in.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(process.s_out)
        process.weights.alias(self.dense.weights)
        process.v.alias(self.lif.v)


class Twice(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
        self.count = lv.Var((1,))


@lv.implements(Twice, backend="numba", precision="floating_pt")
class TwiceModel(lv.NumbaModel):
    def step(a_in, s_out, count):
        for i in range(a_in.size):
            s_out[i] = 2 * a_in[i]
        count[0] += 1


@lv.implements(Twice, backend="numba", precision="floating_pt")
class ThriceModel(lv.NumbaModel):
    def step(a_in, s_out, count):
        for i in range(a_in.size):
            s_out[i] = 3 * a_in[i]
        count[0] += 1


def test_a_subprocess_model_stands_in_on_any_backend():
    """Its graph computes the process, aliases reach its Vars, and state is kept between runs."""
    layer = Layer(np.array([[0.6, 0.6]]))
    x = np.ones((2, 6))
    want = [0, 1, 1, 1, 1, 1]
    for backend in ("numba", "torch"):
        rec = lv.simulate(layer, {"s_in": x}, config=lv.RunConfig(backend=backend))
        np.testing.assert_array_equal(rec["s_out"][0], want)
    layer.weights.set([[0.3, 0.3]])
    source = lv.proc.io.source.RingBuffer(data=x)
    source.s_out.connect(layer.s_in)
    layer.run(lv.RunSteps(2))
    np.testing.assert_allclose(layer.v.get(), 0.6)
    layer.run(lv.RunSteps(1))
    np.testing.assert_allclose(layer.v.get(), 0.9)
    layer.stop()
    np.testing.assert_allclose(layer.v.get(), 0.9)


def test_select_chooses_by_class_instance_or_name():
    x = np.ones((3, 2))
    assert (lv.simulate(Twice(), {"a_in": x})["s_out"] == 2).all()
    process = Twice()
    for key in (Twice, process, "Twice"):
        config = lv.RunConfig(select={key: ThriceModel})
        assert (lv.simulate(process, {"a_in": x}, config=config)["s_out"] == 3).all()
    with pytest.raises(lv.ModelSelectionError, match="LayerModel: it does not implement Twice"):
        lv.simulate(process, {"a_in": x}, config=lv.RunConfig(select={Twice: LayerModel}))
    with pytest.raises(
        lv.ModelSelectionError, match="TwiceModel: precision 'floating_pt', asked for 'fixed_pt'"
    ):
        lv.simulate(process, {"a_in": x}, config=lv.RunConfig(precision="fixed_pt"))


def test_a_batch_is_invisible_to_a_step():
    """A model that knows nothing of a batch runs one, sample by sample, each with its own state."""
    x = np.random.default_rng(0).normal(size=(5, 3, 4))
    process = Twice()
    rec = lv.simulate(
        process, {"a_in": x}, config=lv.RunConfig(dtype="float64"), record=[process.count]
    )
    np.testing.assert_array_equal(rec["s_out"], 2 * x)
    np.testing.assert_array_equal(rec[process.count], np.broadcast_to([1, 2, 3, 4], (5, 1, 4)))


def model_for(step):
    class P(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))

    lv.implements(P, backend="numba")(type("PModel", (lv.NumbaModel,), {"step": step}))
    return P()


def test_a_step_that_asks_for_an_unknown_name_is_told_what_there_is():
    def step(a_in, s_out, membrane):
        pass

    with pytest.raises(
        lv.GraphError,
        match=r"PModel\.step asks for 'membrane'; there are ports and states \['a_in', 's_out'\]",
    ):
        lv.simulate(model_for(step), steps=1)


def test_a_step_that_does_not_compile_is_named():
    def step(a_in, s_out):
        s_out[0] = "one"

    with pytest.raises(lv.GraphError, match="P: the model's step does not compile"):
        lv.simulate(model_for(step), steps=1)


def test_an_exception_in_a_step_reaches_the_caller():
    """Its type and text, with process and step; it is a RunError too."""

    def step(t, a_in, s_out):
        if t == 3:
            raise ValueError("no more")
        s_out[:] = t

    process = model_for(step)
    for debug in (False, True):
        with pytest.raises(
            lv.RunError, match=r"P, step 3: no more \(.*test_models.py:\d+\)"
        ) as info:
            lv.simulate(process, steps=5, config=lv.RunConfig(debug=debug))
        assert isinstance(info.value, ValueError)
        assert repr(info.value.__cause__) == "ValueError('no more')"
        assert info.value.__notes__ == ["in P, step 3, sample 0"]


@pytest.mark.parametrize("kind", [LIF, LearningLIF])
def test_overflow_of_24_bits_is_an_error_where_it_was_promised_away(kind):
    lif = kind(shape=(2,), du=0, dv=0, vth=1 << 17, checked=True)
    x = np.array([[0, 1 << 16, 1 << 16, 0], [0, 0, 0, 0]])
    with pytest.raises(lv.OverflowError24, match=r"LIF, step 3: an accumulator left 24 bits"):
        lv.simulate(lif, {"a_in": x}, config=lv.RunConfig(precision="fixed_pt"))


def test_a_model_is_a_class():
    with pytest.raises(lv.ModelSelectionError, match=r"implements\(Layer\): 'step' is no class"):

        @lv.implements(Layer, backend="numba")
        def step(s_in, s_out):
            s_out[:] = s_in
