"""Synapses that learn on a chip: at "ideal" as on numba, at "quantised" by the sensors' arithmetic
written out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike import bss2, fused
from lavalike.bss2 import RoutingError
from lavalike.bss2.chip import facts
from lavalike.dynamics.weights import SignMode
from lavalike.errors import GraphError, RuleError
from lavalike.learning import LearningRule, Trace
from lavalike.proc import LIF, Dense, LearningDense, Recorder, io

STDP = "2^-3 * x1 * y0 - 2^-3 * x0 * y1"
AMPLITUDE = facts.CORRELATION["amplitude"].high


@pytest.fixture(autouse=True)
def small():
    torch.manual_seed(0)
    with fused.plain_loops():
        yield


def on(level: str, **kwargs) -> lv.RunConfig:
    return lv.RunConfig(
        backend="bss2", chip=bss2.Chip(seed=1, level=level), dtype="float64", **kwargs
    )


def pair(rule: LearningRule, third: bool = False, **kwargs) -> tuple[LearningDense, LIF]:
    """Five inputs that fire at random, plastic synapses, three neurons; with a third factor."""
    g = np.random.default_rng(0)
    source = io.source.RingBuffer(data=(g.random((5, 60)) < 0.2).astype(int))
    dense = LearningDense(weights=0.5 + 0.1 * g.random((3, 5)), learning_rule=rule, **kwargs)
    lif = LIF(shape=(3,), vth=1.0, dv=0.1, du=0.5)
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    lif.s_out.connect(dense.s_in_bap)
    if third:
        reward = io.source.RingBuffer(data=g.normal(size=(3, 60)))
        reward.s_out.connect(dense.s_in_y2)
    return dense, lif


@pytest.mark.parametrize("epoch", [1, 4])
def test_ideal_is_numba_whatever_the_cut(epoch):
    rule = LearningRule(
        dw="2^-3 * x1 * y0 * y2 - 2^-3 * x0 * y1 + 2^-6 * u1 * t",
        dt="x1 * y0 - u0 * t",
        x1=Trace(1, 10),
        y1=Trace(1, 8),
        y2=Trace(received=True),
        epoch=epoch,
    )
    found = []
    for config in (lv.RunConfig(dtype="float64"), on("ideal")):
        dense, lif = pair(rule, third=True, tag_1=0.5)
        for steps in (20, 7, 30):
            lif.run(lv.RunSteps(steps), config)
        dense.dw.set("2^-4 * x0 * y1")
        dense.x1_tau.set(9)
        lif.run(lv.RunSteps(10), config)
        found.append([v.get() for v in (*dense.vars, *lif.vars) if v.value.dtype.kind != "U"])
        assert not np.allclose(dense.weights.get(), 0.55, atol=0.1)
    for there, here in zip(*found, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-12, atol=1e-12)


def by_definition(
    pre: np.ndarray, post: np.ndarray, first: int, last: int, tau: float
) -> np.ndarray:
    """(2, out, in): the sensors in LSB at the end of steps first..last (from 1), from all spikes
    (steps, n): nearest pairs, a spike arrives the step after it was sent."""
    sums = np.zeros((2, post.shape[1], pre.shape[1]))
    for i in range(post.shape[1]):
        for j in range(pre.shape[1]):
            fired, arrived = np.flatnonzero(post[:, i]) + 1, np.flatnonzero(pre[:, j]) + 2
            for t in fired[(first <= fired) & (fired <= last)]:
                if (before := arrived[arrived <= t]).size:
                    sums[0, i, j] += AMPLITUDE * np.exp((before.max() - t) / tau)
            for t in arrived[(first <= arrived) & (arrived <= last)]:
                if (before := fired[fired < t]).size:
                    sums[1, i, j] += AMPLITUDE * np.exp((before.max() - t) / tau)
    return sums


def test_quantised_reads_sensors_of_eight_bits_and_writes_weights_of_six():
    tau, epoch = 10.0, 6
    rule = LearningRule(
        dw=f"{STDP} + 2^-5 * u0 * (w - 1)", x1=Trace(1, tau), y1=Trace(0.5, tau), epoch=epoch
    )
    dense, lif = pair(rule)
    lsb = 2 * dense.weights.get().max() / facts.WEIGHT_MAX
    recorder = Recorder()
    recorder.add(dense.s_in)
    recorder.add(lif.s_out)
    changed = 0.0
    w = np.round(dense.weights.get() / lsb) * lsb
    for k in range(5):
        for steps in (2, 4):
            lif.run(lv.RunSteps(steps), on("quantised"))
        pre, post = recorder[dense.s_in], recorder[lif.s_out]
        sums = by_definition(pre, post, k * epoch + 1, (k + 1) * epoch, tau)
        causal, anticausal = np.clip(np.rint(sums), 0, 255) / AMPLITUDE
        wanted = w + 2**-3 * causal * np.exp(-1 / tau) - 2**-4 * anticausal * np.exp(1 / tau)
        wanted += 2**-5 * (w - 1)
        most = facts.WEIGHT_MAX * lsb
        new = dense.weights.get()
        np.testing.assert_allclose(new / lsb, np.round(new / lsb), atol=1e-9)
        assert np.all(np.abs(new - np.clip(wanted, -most, most)) < lsb * 1.0001)
        changed += np.abs(new - w).sum()
        w = new
    assert post.any()
    assert changed > 10 * lsb


def test_quantised_whatever_the_cut():
    found = []
    for cut in ((30,), (7, 1, 22)):
        torch.manual_seed(3)
        dense, lif = pair(LearningRule(dw=STDP, x1=Trace(1, 10), y1=Trace(1, 10), epoch=4))
        for steps in cut:
            lif.run(lv.RunSteps(steps), on("quantised"))
        found.append([dense.weights.get(), lif.v.get(), dense.a_buff.get()])
    for there, here in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)


def test_emulated_synapses_differ_and_keep_their_sign():
    rule = LearningRule(dw=STDP, x1=Trace(1, 10), y1=Trace(1, 10), epoch=5)
    dense, lif = pair(rule, sign_mode=SignMode.EXCITATORY)
    lif.run(lv.RunSteps(60), on("emulated"))
    w = dense.weights.get()
    assert w.min() >= 0
    assert w.max() <= 2 * 0.6
    sensors = bss2.Chip(seed=1).correlation(0)
    assert sensors.shape == (2, 2, facts.ROWS, facts.COLUMNS)
    assert sensors.std() == pytest.approx(0.3, rel=0.02)
    assert (bss2.Chip(seed=1, level="quantised").correlation(1) == 1).all()


def test_reset_and_set():
    dense, lif = pair(LearningRule(dw=STDP, x1=Trace(1, 10), y1=Trace(1, 10), epoch=5))
    before = dense.weights.get()
    lif.run(lv.RunSteps(30), on("quantised"))
    assert (dense.weights.get() != before).any()
    lif.reset()
    np.testing.assert_array_equal(dense.weights.get(), before)
    dense.weights.set(np.zeros((3, 5)))
    lif.run(lv.RunSteps(4), on("quantised"))
    assert not lif.u.get().any()


X, Y = Trace(1, 10), Trace(1, 10)


@pytest.mark.parametrize(
    ("rule", "config", "error", "words"),
    [
        (LearningRule(dw="x1 * x0", x1=X), {}, RuleError, "x1 * y0 and x0 * y1"),
        (LearningRule(dw="x1 * y0 * t", x1=X), {}, RuleError, "backend='numba'"),
        (LearningRule(dw="(x1 + 2) * y0", x1=X), {}, RuleError, "as it is"),
        (LearningRule(dw="x1 * y0", dt="u0 * t", x1=X), {}, RuleError, "no tags"),
        (
            LearningRule(dw="x1 * y0 + x2 * y0", x1=X, x2=X),
            {},
            RuleError,
            "reads x1 and x2",
        ),
        (
            LearningRule(dw="x1 * y0", x1=Trace(1, 1)),
            {},
            RoutingError,
            "RunConfig(dt=...) of 2e-06 to 3e-05 s",
        ),
        (LearningRule(dw="x1 * y0", x1=Trace(1, 0)), {}, RoutingError, "choose one"),
    ],
)
def test_rules_that_a_chip_does_not_have(rule, config, error, words):
    _, lif = pair(rule)
    with pytest.raises(error) as caught:
        lif.run(lv.RunSteps(1), on("quantised"))
    assert words in str(caught.value)
    assert "LearningDense" in str(caught.value)


def test_other_neurons_and_batches_are_refused():
    dense, lif = pair(LearningRule(dw=STDP, x1=X, y1=Y))
    other = LIF(shape=(3,), vth=1.0)
    on_chip = Dense(weights=np.eye(3))
    lif.s_out.connect(on_chip.s_in)
    on_chip.a_out.connect(other.a_in)
    other.s_out.connect(dense.s_in_bap)
    with pytest.raises(GraphError, match=r"its own neuron, LIF\.s_out"):
        lif.run(lv.RunSteps(1), on("quantised"))

    class Net(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.inp, self.out = lv.InPort((5,)), lv.OutPort((3,))
            rule = LearningRule(dw=STDP, x1=X, y1=Y)
            self.dense = LearningDense(
                weights=np.ones((3, 5)), learning_rule=rule, plastic_batch="per_sample"
            )
            self.lif = LIF(shape=(3,), vth=1.0)
            self.inp.connect(self.dense.s_in)
            self.dense.a_out.connect(self.lif.a_in)
            self.lif.s_out.connect(self.dense.s_in_bap)
            self.lif.s_out.connect(self.out)

    with pytest.raises(GraphError, match="one set of weights, in a batch of 2"):
        lv.simulate(Net(), {"inp": np.zeros((2, 5, 4))}, config=on("quantised"))


def test_a_rule_that_is_set_is_the_chips_or_refused():
    dense, lif = pair(LearningRule(dw="x1 * y0", x1=X))
    lif.run(lv.RunSteps(4), on("quantised"))
    with pytest.raises(RuleError, match=r"x1 \* y0 and x0 \* y1"):
        dense.dw.set("x1 * x0")
    assert dense.dw.get().tolist() == ["x1 * y0"]
    before = dense.weights.get()
    dense.dw.set("-2^-1 * u0 * w")
    lif.run(lv.RunSteps(4), on("quantised"))
    assert (dense.weights.get() < before / 4).all()
