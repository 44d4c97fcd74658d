"""lv.to_fixed: the whole numbers that a float network becomes, what they compute, and what cannot
be held."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import lavalike as lv
import lavalike.fixed
from lavalike.dynamics.ops import above, leak
from lavalike.learning import LearningRule, Trace
from lavalike.proc import (
    ATRLIF,
    LIF,
    Connection,
    Conv,
    ConvInTime,
    Delay,
    DelayDense,
    Delta,
    DeltaEncoder,
    Dense,
    GradedVec,
    InvSqrt,
    LearningSparse,
    LIFRefractory,
    NormVecDelay,
    ProdNeuron,
    Sigma,
    SigmaDelta,
    Sparse,
    neuron_process,
)
from lavalike.testing.samples import SAMPLES

RNG = np.random.default_rng(5)
# kernels as plain Python: each is used for some steps only
FLOATING, FIXED = (lv.RunConfig(precision=p, debug=True) for p in ("floating_pt", "fixed_pt"))


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setattr(lavalike.fixed, "FLOATING", FLOATING)
    monkeypatch.setattr(lavalike.fixed, "FIXED", FIXED)


def chain(*parts):
    """Processes one behind the other, in one that is called net."""
    net = lv.AbstractProcess(name="net")
    net.parts = list(parts)
    net.inp = lv.InPort(parts[0].in_ports[0].shape)
    net.inp.connect(parts[0].in_ports[0])
    for before, after in pairwise(parts):
        source, shape = before.out_ports[0], after.in_ports[0].shape
        source.reshape(shape).connect(after.in_ports[0])
    net.out = lv.OutPort(parts[-1].out_ports[0].shape)
    parts[-1].out_ports[0].connect(net.out)
    return net


def row(fixed, k):
    return next(r for r in fixed.rows if r.path == fixed.net.parts[k].path)


def loihi(weights, exp, du, dv, vth, bias, x):
    """Spikes (neurons, steps) of a Dense and a LIF in Loihi's integers (Lava 0.11, lif/models)."""
    cut = lambda z: np.sign(z) * (np.abs(z) >> 12)  # noqa: E731
    u = v = buff = np.zeros(len(weights), np.int64)
    out = []
    for s in x.T.astype(np.int64):
        a, acc = buff, weights @ s
        buff = acc << exp if exp > 0 else acc >> -exp
        u = cut(u * (4096 - (du + 1))) + (a << 6)
        v = cut(v * (4096 - dv)) + u + bias
        out.append(v > vth << 6)
        v = np.where(out[-1], 0, v)
    return np.array(out).T


def test_a_lif_becomes_loihis_integers():
    w = np.array([[0.5, -0.25, 0.125], [0.0625, 0.5, -0.5]])
    lif = LIF(shape=(2,), du=0.25, dv=0.125, vth=1.0, bias_mant=0.03125)
    net, x = chain(Dense(weights=w), lif), (RNG.random((3, 60)) < 0.5).astype(float)
    fixed = lv.to_fixed(net, {"inp": x})
    dense, neuron = fixed.net.parts
    # states reached at most 2.xx: 64 of them a unit, half of 24 bits left
    run = lv.simulate(net, {"inp": x}, config=FLOATING, record=[lif.u, lif.v])
    largest = max(np.abs(run[lif.u]).max(), np.abs(run[lif.v]).max())
    scale = 2 ** int(np.log2(2**22 / 64 / largest))
    assert fixed.scales[dense.a_out] == row(fixed, 0).scale == scale
    assert (neuron.du.get()[0], neuron.dv.get()[0]) == (1023, 512)
    assert neuron.vth.get()[0] == scale
    bias = int(neuron.bias_mant.get()[0]) << int(neuron.bias_exp.get()[0])
    assert bias == 0.03125 * scale * 64
    exp = int(dense.weight_exp.get()[0])
    np.testing.assert_array_equal(dense.weights.get() * 2.0**exp, w * scale)
    assert 64 < dense.weights.get().max() <= 254
    assert row(fixed, 0).rounding == row(fixed, 1).rounding == 0
    got = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=FIXED)
    whole = dense.weights.get().astype(np.int64)
    expected = loihi(whole, exp, 1023, 512, scale, bias, x)
    np.testing.assert_array_equal(got["out"], expected)
    assert 0.1 < expected.mean() < 0.9
    assert row(fixed, 1).rates[1] == expected.mean()
    assert row(fixed, 1).differs == np.mean(run["out"] != expected) < 0.05
    assert net.parts[0].weights.get()[0, 0] == 0.5  # what was given stays
    assert "LIF" in str(fixed)


def test_values_of_sigma_delta_layers_come_back():
    net = chain(
        Delta(shape=(4,), vth=0.05),
        Sparse(weights=RNG.normal(size=(5, 4)) * 0.5, num_message_bits=16),
        SigmaDelta(shape=(5,), vth=0.05, bias=0.1),
        Delay(shape=(5,)),
        Dense(weights=RNG.normal(size=(3, 5)), num_message_bits=16),
        Sigma(shape=(3,)),
    )
    x = np.cumsum(RNG.normal(size=(4, 50)) * 0.2, axis=1)
    fixed = lv.to_fixed(net, {"inp": x})
    run = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=FIXED)
    expected = lv.simulate(net, {"inp": x}, config=FLOATING)["out"]
    got = fixed.decode(run, "out")
    # three layers of thresholds of 0.05 on a sum of a few terms, and weights of 8 bits
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max() + 3 * 0.05
    error = np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))
    assert row(fixed, 5).error == pytest.approx(error)
    assert row(fixed, 2).scale * 64 == fixed.scales[fixed.net.parts[2].a_in]  # state_exp
    with pytest.raises(lv.FixedPointError, match=r"net\.inp: 1e\+06 .* samples that reach so far"):
        fixed.encode({"inp": x * 0 + 1e6})


def test_a_convolution_has_no_exponent():
    conv = Conv(weight=RNG.normal(size=(2, 2, 2, 1)), input_shape=(4, 4, 1))
    net = chain(conv, LIF(shape=(3, 3, 2), vth=0.5, dv=0.1))
    x = (RNG.random((4, 4, 1, 40)) < 0.3).astype(float)
    fixed = lv.to_fixed(net, {"inp": x})
    weight = fixed.net.parts[0].weight.get()
    assert np.array_equal(weight, np.round(weight))
    assert 64 < np.abs(weight).max() <= 255  # no exponent: the scale is what makes 8 bits of them
    np.testing.assert_allclose(
        weight / row(fixed, 0).scale, conv.weight.get(), atol=0.51 / row(fixed, 0).scale
    )
    assert row(fixed, 1).differs < 0.1


def test_a_kernel_in_time_has_none_either():
    kernel = ConvInTime(weights=RNG.normal(size=(3, 2, 4)))
    net = chain(kernel, LIF(shape=(2,), vth=0.5, dv=0.1))
    fixed = lv.to_fixed(net, {"inp": (RNG.random((4, 40)) < 0.3).astype(float)})
    weights, scale = fixed.net.parts[0].weights.get(), row(fixed, 0).scale
    assert 64 < np.abs(weights).max() <= 255
    np.testing.assert_array_equal(weights, np.round(kernel.weights.get() * scale))
    assert row(fixed, 0).exponent is None
    assert row(fixed, 1).differs < 0.1


def test_states_begin_where_they_are():
    """What is on its way, and what neurons hold, each in its unit: a message of 1 is the scale, a
    LIF's states count in 1/64 of it."""
    lif = LIF(shape=(2,), du=0.25, dv=0.125, vth=1.0, u=0.125, v=[1.25, -0.25])
    delta, sigma = Delta(shape=(2,), vth=0.125), Sigma(shape=(2,), sigma=0.5)
    delta.act.set(0.25)
    delta.residue.set(0.0625)
    late = DelayDense(weights=np.eye(2), delays=1, num_message_bits=8)
    late.a_buff.set(np.array([[0.25, 0.5], [0.5, 0.125]]))
    nets = chain(Dense(weights=np.eye(2) * 0.5), lif), chain(delta, late, sigma)
    x = np.zeros((2, 8))
    x[0, 4:] = 1
    for net in nets:
        fixed = lv.to_fixed(net, {"inp": x})
        for part, twin in zip(net.parts, fixed.net.parts, strict=True):
            inp = fixed.scales[twin.in_ports[0]]
            unit = {LIF: inp * 64, Delta: inp * 64, DelayDense: fixed.scales[twin.out_ports[0]]}
            for var in (v for v in part.vars if v.role == "state" and v.get().any()):
                expected = var.get() * unit.get(type(part), inp)
                np.testing.assert_array_equal(getattr(twin, var.name).get(), expected)
        run = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=FIXED)
        expected = lv.simulate(net, {"inp": x}, config=FLOATING)["out"]
        np.testing.assert_allclose(fixed.decode(run, "out"), expected, atol=2e-3)
        assert expected[:, :4].any()  # from what it held


def test_an_atrlif_has_fractions_of_4096_and_thresholds_of_its_scale():
    lif = ATRLIF(
        shape=(3,),
        delta_i=0.25,
        delta_v=0.125,
        theta=1,
        theta_0=1,
        theta_step=0.5,
        bias_mant=0.0625,
    )
    net = chain(Dense(weights=np.eye(3) * 0.5), lif)
    fixed = lv.to_fixed(net, {"inp": (RNG.random((2, 3, 60)) < 0.5).astype(float)})
    twin, scale = fixed.net.parts[1], fixed.scales[fixed.net.parts[1].a_in]
    # in fixed point i keeps 4096 - (4096 delta_i + 1) of 4096 (Lava 0.11, proc/atrlif)
    assert 4096 - (4096 * twin.delta_i.get()[0] + 1) == 4096 * 0.75
    assert [twin.delta_theta.get()[0], twin.delta_v.get()[0]] == [819 / 4096, 0.125]
    assert [twin.theta_0.get()[0], twin.theta_step.get()[0]] == [scale, scale / 2]
    assert int(twin.bias_mant.get()[0]) << int(twin.bias_exp.get()[0]) == 0.0625 * scale * 64
    assert 0.1 < row(fixed, 1).rates[1] < 0.9
    assert row(fixed, 1).differs < 0.02


def test_neurons_that_answer_with_numbers_have_their_scale():
    """Sums, products and roots of messages that count in 1/scale, and what an encoder sends of
    them."""
    encoder, vec = DeltaEncoder(shape=(3,), vth=0.0625), GradedVec(shape=(3,), vth=0.25)
    net = chain(encoder, Sigma(shape=(3,)), vec, ProdNeuron(shape=(3,), vth=0.125))
    vec.s_out.connect(net.parts[3].a_in2)
    x = np.cumsum(RNG.normal(size=(3, 40)) * 0.2, axis=1)
    fixed = lv.to_fixed(net, {"inp": x})
    scale = fixed.scales[fixed.net.inp]
    vec, prod = fixed.net.parts[2:]
    assert {fixed.scales[p] for p in (vec.s_out, prod.a_in1, prod.s_out)} == {scale}
    assert 2.0 ** prod.exp.get()[0] == scale >= 2**12
    assert (vec.vth.get()[0], prod.vth.get()[0]) == (scale / 4, scale / 8)
    run = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=FIXED)
    expected = lv.simulate(net, {"inp": x}, config=FLOATING)["out"]
    assert np.abs(expected).max() > 1
    # a message and its square, each rounded once
    np.testing.assert_allclose(fixed.decode(run, "out"), expected, atol=4 * np.abs(x).max() / scale)

    net, x = chain(InvSqrt(shape=(2,))), np.array([[4.0, 1, 0.25, 2], [8, 9, 0.0625, 4]])
    fixed = lv.to_fixed(net, {"inp": x})
    assert fixed.net.parts[0].fp_base.get()[0] == np.log2(fixed.scales[fixed.net.inp]) == 11
    run = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=FIXED)
    expected = [[0.5, 1, 2, np.sqrt(0.5)], [np.sqrt(0.125), 1 / 3, 4, 0.5]]
    np.testing.assert_allclose(fixed.decode(run, "out"), expected, atol=0.01)


def _leaky(a_in, v, beta, vth):
    v = leak(v, beta) + a_in
    return above(v, vth), v


def own(**given):
    """A neuron of one's own, two of them."""
    beta, vth = (lv.Parameter(n, 0.5, counts=c) for n, c in (("beta", "decay"), ("vth", "state")))
    leaky = lv.Dynamics(_leaky, ("a_in",), ("s_out",), ("v",), parameters=(beta, vth))
    return neuron_process(leaky, "Own")(**{"shape": (2,), **given})


def test_a_neuron_of_ones_own_has_its_scale():
    net = chain(Dense(weights=np.eye(3) * 0.75), own(shape=(3,)))
    x = (RNG.random((3, 40)) < 0.5).astype(float)
    fixed = lv.to_fixed(net, {"inp": x})
    scale = fixed.scales[fixed.net.parts[0].a_out]
    assert fixed.net.parts[1].proc_params["scale"] == scale
    assert scale == 2**15  # 0.75 is 192 times an exponent of 7, the largest
    assert row(fixed, 1).differs == 0  # weight and decay are exact
    assert row(fixed, 1).rates[1] > 0.1


def test_a_graded_input_counts_in_what_leaves_weights_their_bits():
    synapse = Dense(weights=RNG.normal(size=(5, 4)) * 0.5, num_message_bits=16)
    x = RNG.normal(size=(4, 60))
    fixed = lv.to_fixed(chain(synapse, LIF(shape=(5,), dv=0.1, vth=1.0)), {"inp": x})
    twin = fixed.net.parts[0]
    assert twin.weight_exp.get()[0] == -8
    assert np.abs(twin.weights.get()).max() >= 127  # 7 bits and more of 8
    scale = fixed.scales[fixed.net.inp]
    np.testing.assert_array_equal(fixed.encode({"inp": x})[fixed.net.inp], np.round(x * scale))
    assert row(fixed, 0).rounding < 1 / 127
    assert row(fixed, 1).differs < 0.1


SPIKES = {"inp": np.ones((2, 20))}


def two(lif, weights=None):
    return chain(Dense(weights=np.eye(2) * 0.5 if weights is None else weights), lif)


def learning(kind):
    rule = LearningRule(dw="2^-2 * x1 * u0", x1=Trace(16, 10))
    return kind(weights=np.eye(2) * 0.5, learning_rule=rule)


class Mine(Connection):
    """A connection of one's own, whose weights are not the library's."""

    def __init__(self):
        super().__init__()
        self.s_in, self.a_out = lv.InPort((2,)), lv.OutPort((2,))


@lv.implements(Mine, backend="numpy")
class MineModel(lv.NumpyModel):
    def run_spk(self):
        self.a_out.send(self.s_in.recv())


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (
            lambda: two(LIF(shape=(2,), dv=1e-5)),
            r"net\.parts\[1\]: dv: 1e-05 would be 0.*1/4096.*at least 0.000244",
        ),
        (lambda: two(LIF(shape=(2,), vth=1e-9, dv=0.5)), "vth: 1e-09 would be 0"),
        (
            lambda: two(own(v=0.5)),
            r"v: holds 0\.5, and nothing says what a state of one's own counts in",
        ),
        (
            lambda: two(SAMPLES["neuron_process"].make(False), np.ones((4, 2))),
            r"beta: 0\.3 is no whole number.* declare counts='decay'",
        ),
        (lambda: two(LIFRefractory(shape=(2,))), "a LIFRefractory has no fixed-point form"),
        (
            lambda: two(ATRLIF(shape=(2,), theta=4)),
            r"theta: holds 4, theta_0 is 5.*; net\.reset\(\), or set it to theta_0",
        ),
        (lambda: two(ATRLIF(shape=(2,), delta_i=0)), "delta_i: 0, and fixed point loses 1/4096"),
        (
            lambda: chain(GradedVec(shape=(2,)), NormVecDelay(shape=(2,))),
            "a NormVecDelay has no conversion: its second port sends squares",
        ),
        (
            lambda: chain(DeltaEncoder(shape=(2,), vth=0.5, num_bits=4), Sigma(shape=(2,))),
            r"num_bits: 4 bits hold whole numbers, and messages count in 1/",
        ),
        (
            lambda: two(ProdNeuron(shape=(2,)), np.eye(2) * 2.0**28),
            r"exp: messages reach so far that they count in \d+, and have no fractional bits",
        ),
        (lambda: chain(learning(LearningSparse), LIF(shape=(2,))), "a LearningSparse has no conv"),
        (lambda: chain(Mine(), LIF(shape=(2,))), "a Mine has no conversion"),
        (lambda: two(LIF(shape=(2,), loihi_units=True)), "whole numbers already"),
        (
            lambda: chain(LIF(shape=(2,), vth=0.5), LIF(shape=(2,), vth=0.25)),
            r"vth: 0\.25 would be 0 in fixed point, which counts it in 1/1",
        ),
    ],
)
def test_what_cannot_be_held_is_told(net, told):
    with pytest.raises(lv.FixedPointError, match=told):
        lv.to_fixed(net(), SPIKES)
