"""Learning rules: their language, Lava's recorded traces, and compiled kernels against the
reference by whole arrays."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba.pcg import seed_words, seventh, uniform
from lavalike.errors import GraphError, RuleError, VarError
from lavalike.learning import STDP, LearningRule, RewardModulatedSTDP, Trace
from lavalike.learning.reference import Learning
from lavalike.proc import (
    LIF,
    DelayLearningSparse,
    Dense,
    LearningDense,
    LearningLIF,
    LearningSparse,
    Recorder,
    Sparse,
    io,
)
from tests.conftest import ROOT, load_meta

X, Y = Trace(16, 10), Trace(16, 20)


def products(text):
    given = {n: Trace(1, 5) for n in ("x1", "x2", "y1", "y2", "y3")}
    return LearningRule(dw=text, **given).products["w"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x0 * y1", "x0 * y1"),
        ("-x0*y1 + 2^-2 * y0*x1", "-1 * x0 * y1 | 1/4 * y0 * x1"),
        ("(1) * (-2) * x0 * y1 +(1) * (1) * y0 * x1", "-2 * x0 * y1 | y0 * x1"),
        ("u3 * (w - 5) - u3 * sgn(w)", "u3 * (w - 5) | -1 * u3 * sgn(w)"),
        ("0.5 * x1 * y0 * x0", "1/2 * y0 * x1 * x0"),
        ("3 * 2^4 * u0 * t * (y2 + 2^3)", "48 * u0 * t * (y2 + 8)"),
        ("-(2) * x0 * sgn(d + 1)", "-2 * x0 * sgn(d + 1)"),
    ],
)
def test_a_rule_is_a_sum_of_products(text, said):
    assert " | ".join(map(str, products(text))) == said


@pytest.mark.parametrize(
    ("text", "why", "at"),
    [
        ("x0 * y9", "'y9' is no variable of a rule", 5),
        ("x1 * y1", "a product needs a gate", 0),
        ("x0 * y1 + x1", "a product needs a gate", 10),
        ("x0 * (y1 + )", "a number is expected here", 11),
        ("x0 * (y1 + 3", "')' is missing", 12),
        ("x0 y1", "here a product ends", 3),
        ("x0 * $", "'$' is no sign of a rule", 5),
        ("x0 * 1e99999999", "a number has at most 300 digits", 5),
        ("x0 * 10^63 * 1e300", "come to more than a float holds", 0),
        ("u0 * (w - 1e300^2)", "come to more than a float holds", 10),
        ("x0 * sgn(y1)", "sgn is of a synaptic variable, w, d or t, not of y1", 5),
        ("2^y1 * x0", "a power is a whole number", 2),
        ("u1 * u2 * w", "a product has one uk", 0),
        ("u64 * w", "k is at most 63", 0),
        ("x0 * (x0 + 1)", "nothing is added to it", 5),
        ("", "the rule is empty", None),
    ],
)
def test_what_cannot_be_read_is_shown_with_a_caret(text, why, at):
    with pytest.raises(RuleError, match=re.escape(why)) as e:
        products(text)
    if at is not None:
        *_, rule, caret = str(e.value).split("\n")
        assert (rule, caret) == (f"    {text}", f"    {' ' * at}^")


def test_what_a_rule_does_not_take():
    with pytest.raises(RuleError, match=r"dw reads y1, which nothing feeds; give y1=Trace"):
        LearningRule(dw="x0 * y1", x1=X)
    with pytest.raises(RuleError, match=r"nothing is learnt; give dw, dd or dt"):
        LearningRule(x1=X)
    with pytest.raises(RuleError, match=r"x1 is of the inputs; y1, y2 and y3 can be received"):
        LearningRule(dw="x0 * x1", x1=Trace(received=True))
    with pytest.raises(RuleError, match=r"a received trace has no impulse of its own"):
        Trace(3, 2, received=True)


def test_numbers_of_fixed_point():
    """A mantissa of -8..7 times 2**-7..2**8, as written where that fits."""
    found = [products(f"{n} * x0")[0].number.fixed() for n in ("3", "2^-2", "0.75", "64", "7*2^8")]
    assert found == [(3, 0), (1, -2), (3, -2), (4, 4), (7, 8)]
    assert [products(f"{n} * x0")[0].number.fixed() for n in ("9", "0.1", "2^9")] == [None] * 3
    assert products("0.1 * x0")[0].number.value == Fraction(1, 10)
    rule = LearningRule(dw="9 * x0 * x1", x1=X)
    with pytest.raises(RuleError, match=r"9 \* x0 \* x1: fixed_pt holds numbers of a mantissa"):
        run(network(rule, np.zeros((2, 2), int)), 1, "fixed_pt")


def test_draws_are_numpys():
    for seed in (0, 7, 820022071):
        words = seed_words([5, seed])
        g = np.random.default_rng(seed)
        drawn = [g.random() for _ in range(40)]
        assert [uniform(words[1], k) for k in range(40)] == drawn
        g = np.random.default_rng(seed)
        bits = [int(g.integers(0, 128)) for _ in range(40)]
        assert [seventh(words[1], k) for k in range(40)] == bits


# -- networks --------------------------------------------------------------------------------------


def network(rule, weights, pre=None, post=None, third=(), of=LearningDense, **kwargs):
    """A connection that hears given spikes."""
    dense = of(weights=weights, learning_rule=rule, **kwargs)
    n_out, n_in = np.shape(weights)
    pre = np.zeros((n_in, 1), int) if pre is None else pre
    post = np.zeros((n_out, 1), int) if post is None else post
    io.source.RingBuffer(data=pre).s_out.connect(dense.s_in)
    io.source.RingBuffer(data=post).s_out.connect(dense.s_in_bap)
    for name, data in dict(third).items():
        io.source.RingBuffer(data=data).s_out.connect(getattr(dense, f"s_in_{name}"))
    return dense


def run(dense, steps, precision="floating_pt"):
    fixed = precision == "fixed_pt"
    dtype = {} if fixed else {"dtype": "float64"}
    dense.run(lv.RunSteps(steps), lv.RunConfig(precision=precision, **dtype))


@pytest.mark.parametrize("name", ["stdp_float_epoch1", "stdp_fixed_epoch4"])
def test_recorded_in_lava(conformance, name):
    arrays, meta = load_meta(conformance(f"lava/{name}.npz"))
    given = meta["params"]["learning_rule"]
    traces = {n: Trace(given[f"_{n}_impulse"], given[f"_{n}_tau"]) for n in ("x1", "y1")}
    rule = LearningRule(
        dw=given["_dw_str"], epoch=given["_t_epoch"], seed=given["_rng_seed"], **traces
    )
    weights = np.array(meta["params"]["weights"])
    dense = network(rule, weights, arrays["in_s_in"], arrays["in_s_in_bap"])
    recorder, targets = Recorder(), (dense.weights, dense.x1, dense.y1, dense.a_out)
    for target in targets:
        recorder.add(target)
    run(dense, 120, meta["tag"])
    for target, key in zip(targets, ("weights", "x1", "y1", "a_out"), strict=True):
        found = recorder[target]
        expected = arrays[f"out_{key}" if key == "a_out" else f"var_{key}"]
        if meta["tag"] == "fixed_pt":
            np.testing.assert_array_equal(found, np.moveaxis(expected, -1, 0))
        else:
            np.testing.assert_allclose(found, np.moveaxis(expected, -1, 0), rtol=1e-9, atol=1e-9)


RULES = {
    "pairs": LearningRule(dw="2^-2 * y0 * x1 - 2^-2 * x0 * y1", x1=X, y1=Y),
    "pairs in epochs": LearningRule(dw="y0 * x1 - x0 * y1 + u1 * x1 * y1", x1=X, y1=Y, epoch=3),
    "triplets": LearningRule(
        dw="2^-3 * y0 * x1 * (y2 + 2) - 2^-2 * x0 * y1 * (x2 + 1)",
        x1=Trace(16.5, 10), x2=Trace(7.25, 3), y1=Trace(20.75, 6), y2=Trace(9, 30), epoch=2, seed=3,
    ),
    "decay of weights": LearningRule(dw="x0 * sgn(w) - 2^-3 * u2 * (w - 3)"),
    "tags": LearningRule(
        dw="2^-2 * u0 * t", dt="y0 * x1 - 2^-2 * u0 * t", dd="x0 * y0 * (d + 1) - 2^-4 * u1 * w", x1=X
    ),
    "third factor": LearningRule(
        dw="2^-4 * u0 * t * y2", dt="2^-2 * y0 * x1 - 2^-2 * x0 * y1", x1=X, y1=Trace(tau=65535.0, received=True),
        y2=Trace(received=True), epoch=2,
    ),
}  # fmt: skip


SIGNS = {"low": -256, "high": 255}


def learning_beside(rule, precision, of=LearningDense, steps=25, graded="impulse"):
    """A connection's run, cut in two, and the reference's: weights after each step, what was sent,
    and both themselves."""
    fixed, g = precision == "fixed_pt", np.random.default_rng(5)
    weights = g.integers(-40, 40, (5, 4)) * 2
    there = np.full(weights.shape, True) if of is LearningDense else g.random(weights.shape) < 0.7
    weights = np.where(there, np.where(weights == 0, 2, weights), 0)
    delays = np.zeros_like(weights) if of is not DelayLearningSparse else g.integers(0, 4, (5, 4))
    pre, post = (g.random((4, steps)) < 0.4).astype(int), (g.random((5, steps)) < 0.4).astype(int)
    third = {n: g.integers(0, 90, (5, steps)) for n in rule.received}
    tags = {
        tag: g.integers(0, 9, weights.shape)
        for v, tag in (("d", "tag_2"), ("t", "tag_1"))
        if v in rule.variables
    }
    given = {"delays": delays} if of is DelayLearningSparse else {}
    if graded != "impulse":
        pre *= g.integers(1, 256, pre.shape)
        given |= {"graded_spikes": graded, "num_message_bits": 8}
    dense = network(rule, weights, pre, post, third, of, **tags, **given)
    d, t = tags.get("tag_2", 0), tags.get("tag_1", 0)
    signs = SIGNS if fixed else {}
    expected = Learning(rule, weights, d, t, fixed=fixed, graded=graded, **signs)
    recorder = Recorder()
    recorder.add(dense.weights)
    recorder.add(dense.a_out)
    rows, sent = [], np.zeros((steps + 5, 5))
    for k in range(steps):
        message = expected.synapses["w"] * there * pre[:, k]
        for lag in range(4):
            sent[k + 1 + lag] += (message * (delays == lag)).sum(1)
        expected.spike(pre[:, k], post[:, k], **{n: x[:, k] for n, x in third.items()})
        rows.append(expected.synapses["w"][there])
    run(dense, 11, precision)
    run(dense, steps - 11, precision)
    found = recorder[dense.weights]
    found = found.reshape(steps, -1) if of is not LearningDense else found[:, there]
    return dense, expected, there, (found, rows), (recorder[dense.a_out], sent[:steps])


@pytest.mark.parametrize("of", [LearningDense, LearningSparse, DelayLearningSparse])
@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
@pytest.mark.parametrize("name", RULES)
def test_kernels_compute_what_whole_arrays_do(name, precision, of):
    """Every kind of product, gate and epoch; fixed_pt in its bits, cut in two runs."""
    rule = RULES[name]
    dense, expected, there, learnt, sent = learning_beside(rule, precision, of)
    same = np.testing.assert_array_equal if precision == "fixed_pt" else np.testing.assert_allclose
    assert any((row != learnt[1][0]).any() for row in learnt[1])
    same(*learnt)
    np.testing.assert_allclose(*sent, rtol=1e-12, atol=1e-12)
    for variable, tag in (("d", "tag_2"), ("t", "tag_1")):
        if variable in rule.variables:
            found = getattr(dense, tag).get()
            same(found if found.ndim == 1 else found[there], expected.synapses[variable][there])
    for trace in rule.traces:
        same(getattr(dense, trace).get(), expected.traces[trace])


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
@pytest.mark.parametrize("graded", ["set", "add", "overflow"])
def test_messages_set_a_trace(graded, precision):
    rule = LearningRule(
        dw="2^-3 * x0 * x1 - 2^-3 * y0 * x2", x1=Trace(0, 12), x2=Trace(8, 7), epoch=3, seed=4
    )
    dense, expected, _, learnt, _ = learning_beside(rule, precision, graded=graded)
    same = np.testing.assert_array_equal if precision == "fixed_pt" else np.testing.assert_allclose
    same(*learnt)
    same(dense.x1.get(), expected.traces["x1"])
    same(dense.x2.get(), expected.traces["x2"])
    assert expected.traces["x1"].any()


def test_what_messages_need_to_set_a_trace():
    x1 = LearningRule(dw="x0 * x1", x1=Trace(0, 3))
    with pytest.raises(RuleError, match=r"graded_spikes='set' writes the trace x1, which the rule"):
        LearningDense(
            weights=np.zeros((1, 1)), learning_rule=LearningRule(dw="x0"), graded_spikes="set"
        )
    with pytest.raises(
        VarError, match=r"graded_spikes='add' takes messages for their values; give num_"
    ):
        LearningDense(weights=np.zeros((1, 1)), learning_rule=x1, graded_spikes="add")


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_a_rule_is_set_between_runs(precision):
    """Text, time constant and impulse; what has more products finds room."""
    rule = LearningRule(dw="u0 * x1", x1=Trace(8, 0))
    dense = network(rule, np.zeros((1, 1), int), np.ones((1, 1), int))
    run(dense, 2, precision)
    assert dense.weights.get().tolist() == [[16]]
    dense.dw.set("u0 * x1 + 2 * u0 - x0 * x1 + 4^2 * x0 + u0 + u0")
    dense.x1_impulse.set(2)
    run(dense, 1, precision)
    assert dense.weights.get().tolist() == [[16 + 2 + 2 - 2 + 16 + 2]]
    assert dense.dw.get()[0].startswith("u0 * x1 + 2 * u0")
    dense.dw.set("u0 * x1")
    dense.x1_tau.set(1 / np.log(2))  # half a step
    run(dense, 1, precision)
    assert dense.x1.get()[0] == 3  # what was left of 2, and 2
    with pytest.raises(RuleError, match=r"'y7' is no variable of a rule(.|\n)*\n        \^|\n.*\^"):
        dense.dw.set("x0 * y7")
    with pytest.raises(RuleError, match=r"dw reads y1, which nothing feeds; give y1=Trace"):
        dense.dw.set("x0 * y1")
    with pytest.raises(
        RuleError, match=r"its rule uses t, and there is no tag_1; give tag_1=0 when"
    ):
        dense.dw.set("u0 * t")
    assert dense.dw.get().tolist() == ["u0 * x1"]
    with pytest.raises(RuleError, match=r"tau is a number >= 0"):
        dense.x1_tau.set(-1)
    tagged = network(LearningRule(dw="u0"), np.zeros((1, 1), int), tag_1=3)
    run(tagged, 1, precision)
    tagged.dw.set("u0 * t")
    run(tagged, 1, precision)
    assert tagged.weights.get().tolist() == [[4]]


def test_weights_stay_within_their_bits():
    dense = network(LearningRule(dw="4 * x0"), np.full((1, 1), 250), np.ones((1, 1), int))
    run(dense, 9, "fixed_pt")
    assert dense.weights.get().tolist() == [[255]]
    with pytest.raises(VarError, match=r"weights: values from -256 to 255|weights.*-256.*255"):
        dense.weights.set(300)
    assert dense.weights.get().tolist() == [[255]]


def test_ready_rules():
    """STDP's window, of one pair of spikes; an eligibility that a reward makes weight."""
    pre, post = np.eye(1, 40, 10, int), np.eye(1, 40, 15, int)
    rule = STDP(a_plus=0.5, a_minus=-0.25, tau_plus=8, tau_minus=4)
    for before, after, change in (
        (pre, post, 0.5 * np.exp(-5 / 8)),
        (post, pre, -0.25 * np.exp(-5 / 4)),
    ):
        dense = network(rule, np.zeros((1, 1)), before, after)
        run(dense, 39)
        np.testing.assert_allclose(dense.weights.get(), change)
    rewarded = RewardModulatedSTDP(
        a_plus=0.5, a_minus=-0.25, tau_plus=8, tau_minus=4, rate=2, eligibility_decay=0.1
    )
    dense = network(rewarded, np.zeros((1, 1)), pre, post, {"y2": np.eye(1, 40, 20) * 3})
    run(dense, 39)
    # the reward of step 21 meets what step 16 left, after four epochs
    np.testing.assert_allclose(dense.weights.get(), 2 * 3 * 0.9**4 * 0.5 * np.exp(-5 / 8))


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_a_neuron_sends_a_third_factor(precision):
    one = 4096 if precision == "fixed_pt" else 1
    neuron = LearningLIF(
        shape=(1,), du=one - 1 if one > 1 else 1, dv=one, vth=1, y1_decay=one // 2 if one > 1 else 0.5,
        y1_impulse=8, y3=5,
    )  # fmt: skip
    io.source.RingBuffer(data=np.array([[2, 0, 2, 0]])).s_out.connect(neuron.a_in)
    io.source.RingBuffer(data=np.array([[0, 7, 0, 1]])).s_out.connect(neuron.a_third_factor_in)
    recorder = Recorder()
    ports = (neuron.s_out, neuron.s_out_bap, neuron.s_out_y1, neuron.s_out_y2, neuron.s_out_y3)
    for port in ports:
        recorder.add(port)
    run(neuron, 4, precision)
    found = [recorder[p].ravel().tolist() for p in ports]
    assert found == [[1, 0, 1, 0], [1, 0, 1, 0], [8, 4, 10, 5], [0, 7, 0, 1], [5, 5, 5, 5]]


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_one_input_and_many_outputs(precision):
    """Nothing beyond the weights is touched where the rule has no tags."""
    rule = LearningRule(dw="x0 * x1 - x0 * sgn(w)", x1=Trace(4, 5))
    pre = np.array([[1, 0, 1]])
    dense = network(rule, np.full((7, 1), 2), pre)
    expected = Learning(rule, np.full((7, 1), 2), fixed=precision == "fixed_pt")
    for t in range(3):
        expected.spike(pre[:, t], np.zeros(7))
    run(dense, 3, precision)
    np.testing.assert_allclose(dense.weights.get(), expected.synapses["w"], rtol=1e-12)


def test_weights_are_used_one_step_after_they_were_learnt():
    """x0 in step 1 makes the weight 1 in step 1; the message of step 2 arrives with it in step
    3."""
    dense = network(LearningRule(dw="x0"), np.zeros((1, 1)), pre=np.ones((1, 1), int))
    recorder = Recorder()
    recorder.add(dense.a_out)
    run(dense, 4)
    assert recorder[dense.a_out].ravel().tolist() == [0, 0, 1, 2]


def test_signs_are_kept():
    down = LearningRule(dw="-4 * x0")
    for mode, precision, lowest in (
        (2, "floating_pt", 0),
        (2, "fixed_pt", 0),
        (1, "fixed_pt", -256),
    ):
        dense = network(down, np.full((1, 1), 10), pre=np.ones((1, 1), int), sign_mode=mode)
        run(dense, 80, precision)
        assert dense.weights.get().tolist() == [[lowest]]


def test_a_network_learns_while_it_runs_and_goes_on_after_a_stop():
    """Two groups of inputs, one of which comes just before the output spikes: its weights grow, the
    other's fall."""
    g = np.random.default_rng(2)
    early = g.random((10, 200)) < 0.1
    late = np.roll(early, 1, axis=1)  # the output spikes with these: a step after the early ones
    pre = np.concatenate([early[:, :], np.roll(late, 2, axis=1)]).astype(int)
    rule = LearningRule(dw="y0 * x1 - x0 * y1", x1=Trace(0.1, 3), y1=Trace(0.11, 3))
    dense = LearningDense(weights=np.full((1, 20), 0.5), learning_rule=rule)
    teach, neuron = (
        Dense(weights=np.full((1, 10), 5.0), delay=0),
        LIF(shape=(1,), du=1.0, dv=1.0, vth=1.0),
    )
    io.source.RingBuffer(data=pre).s_out.connect(dense.s_in)
    io.source.RingBuffer(data=late.astype(int)).s_out.connect(teach.s_in)
    teach.a_out.connect(neuron.a_in)
    neuron.s_out.connect(dense.s_in_bap)
    run(dense, 100)
    half = dense.weights.get().copy()
    dense.stop()
    run(dense, 100)
    w = dense.weights.get()[0]
    assert w[:10].mean() > half[0, :10].mean() > 0.5 > half[0, 10:].mean() > w[10:].mean()


def test_a_batch_learns_only_where_it_is_asked_for():
    rule = LearningRule(dw="x0")
    inputs = np.zeros((2, 1, 3))
    inputs[1] = 1

    dense = LearningDense(weights=np.zeros((1, 1)), learning_rule=rule)
    with pytest.raises(
        GraphError, match=r"in a batch each sample learns weights of its own, 2 times 4 bytes"
    ):
        lv.simulate(dense, {dense.s_in: inputs}, record=[dense.a_out])
    dense = LearningDense(weights=np.zeros((1, 1)), learning_rule=rule, plastic_batch="per_sample")
    config = lv.RunConfig(dtype="float64")
    found = lv.simulate(dense, {dense.s_in: inputs}, config=config, record=[dense.a_out])[
        dense.a_out
    ]
    np.testing.assert_array_equal(np.asarray(found).reshape(2, 3), [[0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_many_stored_synapses_learn_as_a_matrix_does(precision):
    """More than 16 bits count, found by their outputs; a plastic one takes at most 4 bytes more
    than a plain one."""
    n, g = 260, np.random.default_rng(3)
    weights = g.integers(1, 100, (n, n)) * g.choice([-1, 1], (n, n))
    pre, post = (g.random((2, n, 3)) < 0.1).astype(int)
    rule = LearningRule(dw="2^-4 * x1 * y0 - 2^-4 * x0 * y1", x1=X, y1=Y, epoch=1)
    config, learnt = lv.RunConfig(precision=precision), []
    for kind in (LearningDense, LearningSparse):
        synapses = kind(weights=weights, learning_rule=rule)
        io.source.RingBuffer(data=pre).s_out.connect(synapses.s_in)
        io.source.RingBuffer(data=post).s_out.connect(synapses.s_in_bap)
        synapses.run(lv.RunSteps(3), config)
        learnt.append(synapses.weights.get().reshape(-1))
    np.testing.assert_array_equal(*learnt)
    assert (learnt[0] != weights.reshape(-1)).sum() > n

    def size(synapses):
        program = synapses.runtime.program
        node, (part,) = program.flat.node_of(synapses), program.programs
        arrays = [*part.states[node].values(), *part.constants[node].values()]
        many = [x for x in arrays if isinstance(x, np.ndarray) and x.size >= n * n]
        return sum(x.nbytes for x in many) / n**2

    plain = Sparse(weights=weights)
    plain.run(lv.RunSteps(1), config)
    assert size(synapses) - size(plain) <= 4


def test_what_is_held_in_16_bits_is_read_and_recorded_in_32():
    rule = LearningRule(dw="u0", dt="u0")
    dense = LearningDense(weights=np.full((1, 1), 100), learning_rule=rule, tag_1=200)
    config = lv.RunConfig(precision="fixed_pt")
    rec = lv.simulate(dense, steps=1, record=["weights", dense.tag_1], config=config)
    dense.run(lv.RunSteps(1), config)
    for x, expected in ((dense.weights, 101), (dense.tag_1, 201)):
        assert (rec[x].dtype, rec[x].item()) == (np.int32, expected)
        assert (x.get().dtype, (x.get() * 1000).item()) == (np.int32, expected * 1000)


def test_tags_beyond_16_bits_are_told_in_fixed_pt():
    rule = LearningRule(dw="x0 * t", x1=X)
    dense = LearningDense(weights=np.ones((1, 1)), learning_rule=rule, tag_1=40000)
    with pytest.raises(VarError, match=r"LearningDense\.tag_1: 40000.* is outside -32768\.\.32767"):
        dense.run(lv.RunSteps(1), lv.RunConfig(precision="fixed_pt"))


def test_what_is_not_connected_is_told():
    dense = LearningDense(weights=np.zeros((1, 1)), learning_rule=RULES["pairs"])
    with pytest.raises(
        GraphError, match=r"its rule looks at y0, y1, and nothing is connected to s_in_bap"
    ):
        run(dense, 1)
    dense = LearningDense(weights=np.zeros((1, 1)), learning_rule=LearningRule(dw="u0"))
    run(dense, 1)
    with pytest.raises(
        GraphError, match=rf"^{dense.path}: its rule looks at y0, and nothing is con"
    ):
        dense.dw.set("y0")  # of what has run too
    run(dense, 1)
    assert (dense.dw.get().item(), dense.weights.get().item()) == ("u0", 2)
    rule = LearningRule(dw="u0 * y2", y2=Trace(received=True))
    with pytest.raises(
        GraphError, match=r"its rule receives y2, and nothing is connected to s_in_y2"
    ):
        run(network(rule, np.zeros((1, 1))), 1)
    dense = network(LearningRule(dw="x0"), np.zeros((1, 1)), third={"y1": np.zeros((1, 1))})
    with pytest.raises(GraphError, match=r"s_in_y1 is connected, and its rule does not receive y1"):
        run(dense, 1)
    with pytest.raises(GraphError, match=r"an epoch has at most 63 steps in fixed_pt, not 64"):
        run(network(LearningRule(dw="x0", epoch=64), np.zeros((1, 1), int)), 1, "fixed_pt")
    with pytest.raises(VarError, match=r"sign_mode says which signs learnt weights may have"):
        LearningDense(weights=np.zeros((1, 1)), learning_rule=LearningRule(dw="x0"), sign_mode=0)


def test_the_page_on_learning_runs(capsys):
    text = (ROOT / "docs" / "learning.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/learning.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == "(3, 20) (20,)\n"
