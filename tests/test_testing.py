"""lavalike.testing, by which our own backends are held to one behaviour, and an example of
another's."""

from __future__ import annotations

import importlib.metadata
import pickle

import numpy as np
import pytest

import lavalike as lv
from lavalike import fused
from lavalike.bss2 import Chip
from lavalike.errors import ConformanceError
from lavalike.proc import LIF, Dense
from lavalike.testing import check_backend, check_model
from lavalike.testing.samples import SAMPLES
from tests import numpy_backend

NO_INTEGERS = {"LIFRefractory", "MultiCompartment"}  # processes without a fixed-point form
OTHERS = {
    "LearningDense",
    "LearningSparse",
    "DelayLearningSparse",
    "LIFRefractory",
    "Sparse",
    "DelayDense",
    "DelaySparse",
    "Conv",
    "ConvTranspose",
    "Delay",
    "DelayLine",
    "DeltaEncoder",
    "ConvInTime",
    "InvSqrt",
    "Receiver",
    "S4d",
    "SigmaS4dDeltaLayer",
}
LABELS = [
    f"{name}, {precision}" for name, sample in SAMPLES.items() for precision in sample.precisions
]


def test_there_is_a_sample_of_every_process():
    names = {
        n
        for n, v in vars(lv.proc).items()
        if isinstance(v, type) and issubclass(v, lv.AbstractProcess)
    }
    assert names - {"Monitor", "Recorder", "Connection", "BitCheck"} <= {
        name.split(",")[0] for name in SAMPLES
    }


def test_numba_computes_every_process():
    checked = check_backend("numba")
    assert {label.split(",")[0] for label in checked.refused} <= NO_INTEGERS
    assert {*checked.passed, *checked.refused} == {*LABELS}


NOT_ON_TORCH = {"LearningDense", "LearningSparse", "DelayLearningSparse", "source.Noise"}
NOT_ON_TORCH |= {"source.Poisson", "InvSqrt"}  # the last in fixed_pt


def test_torch_computes_every_process_that_it_has_a_model_of():
    with fused.plain_loops():  # networks here are too small to be worth compiling for
        checked = check_backend("torch", steps=8)
    assert {label.split(",")[0] for label in checked.refused} == {"LIFRefractory", *NOT_ON_TORCH}
    assert "InvSqrt, floating_pt" in checked.passed
    assert {*checked.passed, *checked.refused} == {*LABELS}


def test_the_chip_computes_spiking_layers_and_refuses_the_others_by_name():
    with fused.plain_loops():
        checked = check_backend("bss2", options={"chip": Chip(level="ideal")}, tolerance=1e-7)
    assert checked.passed == ("Layer, floating_pt",)
    assert set(checked.refused) == set(LABELS) - set(checked.passed)


# -- an example of another's -----------------------------------------------------------------------


@pytest.fixture
def example(monkeypatch):
    """The example as if its package were installed."""
    entry = importlib.metadata.EntryPoint(
        "example", "tests.numpy_backend:BACKEND", "lavalike.backends"
    )
    real = importlib.metadata.entry_points  # Numba asks for its own when it is first imported
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **chosen: [entry] if chosen == {"group": "lavalike.backends"} else real(**chosen),
    )
    model = lv.implements(**numpy_backend.DENSE)(numpy_backend.DenseModel)
    yield "example"
    Dense.models.remove(model)


def test_a_small_backend_passes(example):
    checked = check_backend(example)
    wanted = {
        label
        for label in LABELS
        if label.endswith("floating_pt") and label.split(",")[0] not in OTHERS and "." not in label
    }
    assert set(checked.passed) == wanted
    assert "Sparse: no model of Sparse fits" in checked.refused["Sparse, floating_pt"]


def forgets(self, var, value):
    """A state that is set is lost."""
    node = self.part.node_of(var.process)
    if var.role != "state":
        self.constants[node] = node.model.derive(
            {v.name: v.value for v in node.process.vars} | {var.name: value}
        )


def mixes(self, var):
    """What a state is, turned around over the batch."""
    return self.states[self.part.node_of(var.process)][var.name][::-1]


@pytest.mark.parametrize(
    ("method", "function", "message"),
    [
        (
            "write",
            forgets,
            "LIF, floating_pt: states after Vars were set: LIF.[uv] after run 2 differs in 4 of 4, first at",
        ),
        ("value", mixes, "LIF, floating_pt: sample 0 of a batch and alone: LIF.u differs"),
        (
            "read",
            lambda self, var: self.value(var)[0] + 1,
            r"LIF, floating_pt: LIF.du was set to .*0.65.* and is .*1.65",
        ),
        (
            "dtype_of",
            lambda self, target: np.dtype("float32"),
            "LIF, floating_pt: outputs and states of a batch: LIF.u differs",
        ),
    ],
)
def test_what_a_backend_does_wrong_is_told(example, monkeypatch, method, function, message):
    monkeypatch.setattr(numpy_backend.Program, method, function)
    with pytest.raises(ConformanceError, match=message) as info:
        check_backend(example, only=["LIF"])
    assert info.value.__notes__ == ["in check_backend('example'): LIF, floating_pt"]


def test_steps_that_begin_anew_in_every_run_are_told(example, monkeypatch):
    run = numpy_backend.Program.run

    def anew(self, *args):
        self.step = 0
        run(self, *args)

    monkeypatch.setattr(numpy_backend.Program, "run", anew)
    with pytest.raises(ConformanceError, match=r"LIFReset, floating_pt: .*: LIFReset.* differs in"):
        check_backend(example, only=["LIFReset"])


def test_a_refusal_without_a_name_and_a_backend_that_refuses_all_are_told(example, monkeypatch):
    def refuse(part, batch):
        raise lv.GraphError("not here")

    monkeypatch.setattr(numpy_backend, "Program", refuse)
    with pytest.raises(
        ConformanceError, match="LIF, floating_pt: refused without the process's name: not here"
    ):
        check_backend(example, only=["LIF"])
    with pytest.raises(
        ConformanceError,
        match="'example' computes none of Sparse; the last refusal: Sparse: no model",
    ):
        check_backend(example, only=["Sparse"])


# -- a model of one's own --------------------------------------------------------------------------


class Leaky(lv.AbstractProcess):
    def __init__(self, beta=0.5):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
        self.v, self.beta = lv.Var((3,)), lv.Var((1,), beta, role="parameter")


@lv.implements(Leaky, backend="numba", precision="floating_pt")
class Plain(lv.NumbaModel):
    def step(a_in, s_out, v, beta):
        for i in range(v.size):
            v[i] = beta[0] * v[i] + a_in[i]
            s_out[i] = v[i]


@lv.implements(Leaky, backend="torch", precision="floating_pt")
class Tensors(lv.TorchModel):
    def step(self, t, inputs, state, c):
        v = c["beta"] * state["v"] + inputs["a_in"]
        return {"s_out": v}, {"v": v}


class Wrong(Tensors):
    def step(self, t, inputs, state, c):
        v = 0.5 * state["v"] + inputs["a_in"]
        return {"s_out": v}, {"v": v}


def test_a_model_of_ones_own():
    process = Leaky()
    for model in (Plain, Tensors):
        check_model(process, model)
    check_model(process, Tensors, reference=Plain, inputs={"a_in": np.ones((3, 5))})
    np.testing.assert_array_equal(process.v.get(), 0)
    wrong = lv.implements(Leaky, backend="torch", precision="floating_pt")(Wrong)
    with pytest.raises(
        ConformanceError,
        match=r"Leaky, Wrong: states after Vars were set: Leaky.v after run 2 differs in 3 of 3",
    ):
        check_model(process, wrong)
    Leaky.models.remove(wrong)
    with pytest.raises(lv.ModelSelectionError, match="Plain: it does not implement LIF"):
        check_model(LIF(shape=(2,)), Plain)


def test_states_of_every_kind_are_checked():
    class Latch(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))
            self.on = lv.Var((2,), np.zeros(2, bool))

    @lv.implements(Latch, backend="numba", precision="floating_pt")
    class LatchModel(lv.NumbaModel):
        @staticmethod
        def step(a_in, s_out, on):
            for k in range(on.size):
                on[k] = on[k] or a_in[k] > 1
                s_out[k] = on[k]

    check_model(Latch(), LatchModel)


@pytest.mark.parametrize("name", [n for n in SAMPLES if n != "neuron_process"])
def test_every_process_is_pickled(name):
    process = SAMPLES[name].make(SAMPLES[name].precisions[0] == "fixed_pt")
    again = pickle.loads(pickle.dumps(process))
    assert again.dynamics is process.dynamics  # kernels are its step's
