"""Networks that learn: a thousand neurons with STDP, and a reward that a model in Python gives."""

from __future__ import annotations

import numpy as np

import lavalike as lv
from lavalike.learning import LearningRule, Trace
from lavalike.proc import LIF, Dense, LearningDense, Recorder, io

F64 = lv.RunConfig(dtype="float64")


class Neurons:
    """LIF neurons by hand, with :class:`lavalike.proc.LIF`'s equations."""

    def __init__(self, n, du, dv, vth, bias=0.0):
        self.du, self.dv, self.vth, self.bias = du, dv, vth, bias
        self.u, self.v, self.s = np.zeros(n), np.zeros(n), np.zeros(n)

    def step(self, a_in):
        self.u = self.u * (1 - self.du) + a_in
        self.v = self.v * (1 - self.dv) + self.u + self.bias
        self.s = (self.v > self.vth).astype(float)
        self.v[self.s > 0] = 0
        return self.s


def test_a_thousand_excitatory_and_inhibitory_neurons_with_stdp():
    rng, n_e, n_i, steps = np.random.default_rng(1), 800, 200, 60

    def weights(outs, ins, scale, density=0.1):
        chosen = rng.random((outs, ins)) < density
        return np.where(chosen, rng.integers(1, 9, (outs, ins)) * scale, 0)

    ee, ie = weights(n_e, n_e, 2**-8), weights(n_i, n_e, 2**-8)
    ei, ii = weights(n_e, n_i, -(2**-6)), weights(n_i, n_i, -(2**-6))
    drive = (rng.random((n_e, steps)) < 0.08).astype(float)
    rule = LearningRule(  # synapses that are not there stay so
        dw="2^-9 * x1 * y0 * sgn(w) - 2^-9 * x0 * y1 * sgn(w)", x1=Trace(1, 10), y1=Trace(1, 20)
    )
    e = LIF(shape=(n_e,), du=0.25, dv=0.125, vth=1.0)
    i = LIF(shape=(n_i,), du=0.5, dv=0.25, vth=0.5)
    outside, feed = io.source.RingBuffer(data=drive), Dense(weights=np.eye(n_e) * 0.75)
    recurrent = LearningDense(weights=ee, learning_rule=rule)
    outside.s_out.connect(feed.s_in)
    feed.a_out.connect(e.a_in)
    e.s_out.connect(recurrent.s_in)
    recurrent.a_out.connect(e.a_in)
    e.s_out.connect(recurrent.s_in_bap)
    for pre, w, post in ((e, ie, i), (i, ei, e), (i, ii, i)):
        dense = Dense(weights=w)
        pre.s_out.connect(dense.s_in)
        dense.a_out.connect(post.a_in)
    spikes = Recorder()
    spikes.add(e.s_out)
    spikes.add(i.s_out)
    e.run(lv.RunSteps(steps // 2), F64)
    e.run(lv.RunSteps(steps - steps // 2), F64)

    left, right = Neurons(n_e, 0.25, 0.125, 1.0), Neurons(n_i, 0.5, 0.25, 0.5)
    w, to_e, to_i = ee.copy(), np.zeros(n_e), np.zeros(n_i)
    x1, y1, rows = np.zeros(n_e), np.zeros(n_e), []
    for t in range(steps):
        s, r = left.step(to_e), right.step(to_i)
        rows.append((s, r))
        to_e, to_i = 0.75 * drive[:, t] + w @ s + ei @ r, ie @ s + ii @ r
        x1, y1 = x1 * np.exp(-1 / 10) + s, y1 * np.exp(-1 / 20) + s
        w = w + 2**-9 * (np.outer(s, x1) - np.outer(y1, s)) * np.sign(w)
    by_hand = [np.array(side) for side in zip(*rows, strict=True)]
    np.testing.assert_array_equal(spikes[e.s_out], by_hand[0])
    np.testing.assert_array_equal(spikes[i.s_out], by_hand[1])
    assert 500 < by_hand[0].sum() < 0.5 * by_hand[0].size  # both sides take part
    assert by_hand[1].sum() > 100
    learnt = recurrent.weights.get()
    np.testing.assert_allclose(learnt, w, rtol=1e-12, atol=1e-15)
    assert np.abs(learnt - ee).max() > 2**-8
    assert not learnt[ee == 0].any()


class Teacher(lv.AbstractProcess):
    """Rewards the neuron that is to spike, and punishes the others."""

    def __init__(self, wanted):
        super().__init__(wanted=wanted)
        self.seen, self.reward = lv.InPort(wanted.shape), lv.OutPort(wanted.shape)
        self.given = lv.Var((1,), 0.0)


@lv.implements(Teacher, backend="numpy")
class TeacherModel(lv.NumpyModel):
    """In the step in which they spike."""

    def run_spk(self):
        reward = self.seen.recv() * np.where(self.proc_params["wanted"], 1.0, -1.0)
        self.given += np.abs(reward).sum()
        self.reward.send(reward)


def test_a_layer_that_a_model_in_python_rewards():
    rng, n_in, n_out, steps = np.random.default_rng(2), 12, 3, 150
    wanted = np.array([False, True, False])
    w0 = rng.integers(2, 7, (n_out, n_in)) / 16
    bias = rng.integers(4, 12, n_in) / 64
    rule = LearningRule(
        dt="2^-2 * x1 * y0 - u0 * 2^-3 * t",  # what was eligible, forgotten slowly
        dw="2^-3 * u0 * t * y2",
        x1=Trace(1, 5),
        y2=Trace(received=True),
    )
    pre = LIF(shape=(n_in,), du=1.0, dv=0.0, vth=0.9, bias_mant=bias)
    dense = LearningDense(weights=w0, learning_rule=rule)
    post, teacher = LIF(shape=(n_out,), du=0.5, dv=0.25, vth=2.0), Teacher(wanted)
    pre.s_out.connect(dense.s_in)
    dense.a_out.connect(post.a_in)
    post.s_out.connect([dense.s_in_bap, teacher.seen])
    teacher.reward.connect(dense.s_in_y2)
    spikes = Recorder()
    spikes.add(post.s_out)
    for part in (1, 99, 50):
        pre.run(lv.RunSteps(part), F64)

    first, second = Neurons(n_in, 1.0, 0.0, 0.9, bias), Neurons(n_out, 0.5, 0.25, 2.0)
    w, tag, x1, arriving, given, rows = w0.copy(), 0.0 * w0, np.zeros(n_in), np.zeros(n_out), 0, []
    for _ in range(steps):
        s, y = first.step(0.0), second.step(arriving)
        rows.append(y)
        arriving = w @ s
        reward = y * np.where(wanted, 1.0, -1.0)
        given += np.abs(reward).sum()
        x1 = x1 * np.exp(-1 / 5) + s
        w, tag = (
            w + 2**-3 * tag * reward[:, None],
            tag + 2**-2 * np.outer(y, x1) - 2**-3 * tag,
        )
    np.testing.assert_array_equal(spikes[post.s_out], rows)
    np.testing.assert_allclose(dense.weights.get(), w, rtol=1e-12)
    np.testing.assert_allclose(dense.tag_1.get(), tag, rtol=1e-12)
    assert teacher.given.get()[0] == given == np.sum(rows)
    late = np.sum(rows[-50:], 0)
    assert late[1] > 2 * late[[0, 2]].max()  # it learnt what was wanted
