"""netx.blocks: layers that a program builds by hand, against Loihi's equations in plain
integers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import lavalike as lv
import netx
from lavalike.proc import LIF, RF, DelayDense, DelaySparse, Delta, Sparse
from netx.blocks.process import ComplexDense, ComplexInput, Conv, Dense, Input, RecurrentDense
from tests.test_netx_layers import write

RNG = np.random.default_rng(3)
FIXED = lv.RunConfig(precision="fixed_pt", debug=True)  # kernels as plain Python: short runs
PARAMS = {
    "neuron_proc": LIF,
    "vth": 40,
    "du": 2047,
    "dv": 500,
    "bias_exp": 6,
    "bias_key": "bias_mant",
}
X = (RNG.random((4, 40)) < 0.4).astype(np.int64)


def cut(z):
    return np.sign(z) * (np.abs(z) >> 12)


def lif(arrives, steps, bias=0, feedback=None, delays=0):
    """Spikes (n, steps) of LIFs with PARAMS; ``arrives(t)`` is their input, ``feedback`` (n, n)
    their own weights."""
    u = v = np.zeros(np.shape(arrives(0)), np.int64)
    out = np.zeros((steps, *u.shape), np.int64)
    for t in range(steps):
        a = arrives(t)
        if feedback is not None:
            for k in range(len(feedback)):
                past = t - 1 - np.broadcast_to(delays, feedback.shape)[k]
                a = a + np.eye(len(a), dtype=int)[k] * sum(
                    w * out[p, j]
                    for j, (w, p) in enumerate(zip(feedback[k], past, strict=True))
                    if p >= 0
                )
        u = cut(u * (4096 - 2048)) + (a << 6)
        v = cut(v * (4096 - 500)) + u + (bias << 6)
        out[t] = v > 40 << 6
        v = np.where(out[t], 0, v)
    return np.moveaxis(out, 0, -1)


def arriving(weights, x, delays=0):
    """What a synapse with delays delivers in step t: one step, and its delay, later."""
    delays = np.broadcast_to(delays, weights.shape)

    def at(t):
        past = t - 1 - delays
        sent = np.where(past >= 0, x[np.arange(len(x)), np.maximum(past, 0)], 0)
        return (weights * sent).sum(1)

    return at


def run(block, x, name="inp"):
    return lv.simulate(block, {name: x}, config=FIXED)["out"]


def test_dense_blocks():
    weight, bias = RNG.integers(-20, 30, (3, 4)) * 2, np.array([3, 0, -2])
    given = dict(PARAMS)
    block = Dense(shape=(3,), neuron_params=given, weight=weight, bias=bias)
    assert given == PARAMS  # the caller's
    got = run(block, X)
    np.testing.assert_array_equal(got, lif(arriving(weight, X), 40, bias))
    assert 0.05 < got.mean() < 0.8
    assert (block.block, block.kind, block.shape) == ("Dense", "dense", (3,))

    delay = RNG.integers(0, 5, (3, 4))
    for sparse, kind in ((False, DelayDense), (True, DelaySparse)):
        late = Dense(
            shape=3, neuron_params=PARAMS, weight=weight, delay=delay, sparse_synapse=sparse
        )
        assert type(late.synapse) is kind
        np.testing.assert_array_equal(run(late, X), lif(arriving(weight, X, delay), 40))
    one = Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=np.array([0, 2, 5]))
    expected = lif(arriving(weight, X, np.array([[0], [2], [5]])), 40)
    np.testing.assert_array_equal(run(one, X), expected)

    graded = Dense(
        shape=3, neuron_params=PARAMS, weight=weight, weight_exponent=-1, input_message_bits=16
    )
    halved = lambda t: (weight @ (7 * X[:, t - 1]) >> 1) if t else np.zeros(3, int)  # noqa: E731
    np.testing.assert_array_equal(run(graded, 7 * X), lif(halved, 40))


@pytest.mark.parametrize("delay", [None, 2, np.array([0, 3, 1])])
def test_recurrent_blocks(delay):
    weight, back = RNG.integers(0, 30, (3, 4)) * 2, RNG.integers(-30, 20, (3, 3)) * 2
    block = RecurrentDense(
        shape=(3,), neuron_params=PARAMS, weight=weight, weight_rec=back, delay=delay
    )
    column = 0 if delay is None else np.reshape(delay, (-1, 1))
    got = run(block, X)
    np.testing.assert_array_equal(got, lif(arriving(weight, X, column), 40, 0, back, column))
    assert got.any()
    assert (got != run(Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=delay), X)).any()


def test_other_blocks():
    kernel = RNG.integers(-20, 20, (2, 2, 2, 1)) * 2
    image = (RNG.random((3, 3, 1, 30)) < 0.5).astype(np.int64)
    block = Conv(
        shape=(2, 2, 2), input_shape=(3, 3, 1), neuron_params=PARAMS, weight=kernel, bias=[1, -1]
    )

    def windows(t):
        out = np.zeros((2, 2, 2), np.int64)
        for x, y in np.ndindex(2, 2):
            part = image[x : x + 2, y : y + 2, :, t - 1] if t else np.zeros((2, 2, 1), int)
            out[x, y] = (kernel[:, ::-1, ::-1] * part).sum((1, 2, 3))
        return out

    np.testing.assert_array_equal(run(block, image), lif(windows, 30, np.array([1, -1])))

    source = Input(shape=(2, 1, 1), neuron_params=PARAMS, bias=np.array([30]), transform=abs)
    silent = lambda t: np.zeros((2, 1, 1), int)  # noqa: E731
    got = lv.simulate(source, steps=20, config=FIXED)["out"]
    np.testing.assert_array_equal(got, lif(silent, 20, 30))
    assert source.transform(-3) == 3
    coded = Input(
        shape=(2,), neuron_params={"neuron_proc": Delta, "vth": 3, "num_message_bits": 16}
    )
    assert (coded.output_message_bits, coded.input_message_bits) == (16, 0)
    np.testing.assert_array_equal(run(coded, np.full((2, 3), 5)), [[5, 0, 0], [5, 0, 0]])

    rings = {
        "neuron_proc": RF,
        "vth": 25,
        "period": 11,
        "alpha": 0.05,
        "state_exp": 6,
        "decay_bits": 12,
    }
    real, imag = RNG.integers(-20, 30, (2, 3, 4)) * 2
    turn = 0.95 * np.exp(2j * np.pi / 11) * 4096
    c, s = int(turn.real), int(turn.imag)

    def resonate(a_real, a_imag, steps):
        re = im = np.zeros(len(a_real(0)), np.int64)
        out = []
        for t in range(steps):
            re, im, before = (
                cut(c * re) - cut(s * im) + (a_real(t) << 6),
                cut(s * re) + cut(c * im) + (a_imag(t) << 6),
                im,
            )
            out.append((re >= 25 << 6) & (im >= 0) & (before < 0))
        return np.array(out).T

    for sparse in (False, True):
        block = ComplexDense(
            shape=(3,),
            neuron_params=rings,
            weight_real=real,
            weight_imag=imag,
            sparse_synapse=sparse,
        )
        expected = resonate(arriving(real, X), arriving(imag, X), 40)
        np.testing.assert_array_equal(run(block, X), expected)
    assert isinstance(block.real_synapse, Sparse)
    assert expected.any()
    both = lambda t: 30 * X[:, t]  # noqa: E731
    got = run(ComplexInput(shape=(4,), neuron_params=rings), 30 * X)
    np.testing.assert_array_equal(got, resonate(both, both, 40))


def test_what_a_block_cannot_be_is_told():
    weight = np.ones((3, 4), int)
    for make, text in (
        (lambda: Dense(shape=2, neuron_params=PARAMS, weight=weight), r"weight has shape \(3, 4\)"),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS, weight=weight, bias=[1, 2]),
            r"Dense: bias of shape \(2,\) fits neither",
        ),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=63),
            r"delay: 63\.\.63 is outside 0\.\.62",
        ),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=[1, 2]),
            r"delay of shape \(2,\) does not fit",
        ),
        (
            lambda: RecurrentDense(shape=3, neuron_params=PARAMS, weight=weight, weight_rec=weight),
            r"weight_rec has shape \(3, 4\); \(3, 3\)",
        ),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=[1, 2.5, 3]),
            r"Dense: delay is whole steps, got 2\.5",
        ),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS, weight=weight, delay=np.nan),
            r"delay: nan\.\.nan is outside 0\.\.62",
        ),
        (lambda: Dense(shape=3, neuron_params={"vth": 3}, weight=weight), "neuron_params"),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS | {"num_message_bits": 1.5}, weight=weight),
            r"Dense: neuron_params: num_message_bits is an integer in 0\.\.32, got 1\.5",
        ),
        (
            lambda: Dense(shape=3, neuron_params=PARAMS | {"bias_mant": 1}, weight=weight, bias=2),
            "Dense: bias is given, and bias_mant in neuron_params too",
        ),
        (
            lambda: Conv(
                shape=3, input_shape=(3, 3, 1), neuron_params=PARAMS, weight=np.ones((1, 2, 2, 1))
            ),
            r"Conv: shape is \(3,\), and the convolution has \(2, 2, 1\)",
        ),
    ):
        with pytest.raises(lv.InputError, match=text):
            make()


def test_a_block_is_pickled():
    block = pickle.loads(pickle.dumps(Input(shape=(4,), neuron_params=PARAMS)))
    assert block.transform(3) == 3
    np.testing.assert_array_equal(run(block, X), lif(lambda t: X[:, t], 40))


NEURON = {"type": "CUBA", "vThMant": 40, "iDecay": 2048, "vDecay": 500}


def foreign(path, **more):
    """A recurrent layer as lava-dl writes it."""
    weight, back = RNG.integers(0, 30, (3, 4)) * 2.0, RNG.integers(-30, 20, (3, 3)) * 2.0
    layer = {
        "type": "dense_rec",
        "shape": [3],
        "neuron": NEURON,
        "weight": weight,
        "weight_rec": back,
    }
    write(path, [layer | more], ours=False)
    return path, weight.astype(int), back.astype(int)


@pytest.mark.parametrize("sparse", [False, True])
def test_recurrent_layers_of_files_have_delays(sparse, tmp_path):
    path, weight, back = foreign(tmp_path / "rec.net", delay=np.array([0.0, 3, 1]))
    with pytest.warns(netx.NetFileWarning, match="delays the recurrent synapses too"):
        net = netx.Network(path, sparse_fc_layer=sparse)
    column = np.array([[0], [3], [1]])
    got = run(net, X)
    np.testing.assert_array_equal(got, lif(arriving(weight, X, column), 40, 0, back, column))
    assert got.any()
    assert type(net.layers[0]) is RecurrentDense
    assert type(net.layers[0].synapse_rec) is (DelaySparse if sparse else DelayDense)
    with pytest.raises(netx.NetFileError, match="refused by exact=True"):
        netx.Network(path, exact=True)


def test_a_network_tells_what_its_file_says(tmp_path):
    path, weight, back = foreign(tmp_path / "rec.net", neuron=NEURON | {"refDelay": 2})
    with pytest.warns(netx.NetFileWarning, match="refractory delays above 1 are not computed"):
        net = netx.Network(path)
    layer = net.net_config["layer"][0]  # what was told is not told again
    assert (layer["type"], layer["shape"].tolist()) == ("dense_rec", [3])
    np.testing.assert_array_equal(layer["weight"], weight)
    np.testing.assert_array_equal(layer["weight_rec"], back)
    assert layer["weight"].dtype.kind == "i"
    assert (layer["neuron"]["type"], int(layer["neuron"]["vThMant"])) == ("CUBA", 40)
    assert net.filename == str(path)
    assert len(net.net_config["layer"]) == len(net)
    path.unlink()
    with pytest.raises(netx.NetFileError, match="no such file"):
        _ = net.net_config


def test_in_lavas_words(tmp_path):
    """As lava-dl's programs: a network's Vars have an ``init``, and it runs with a configuration of
    Lava's."""
    from lavalike.compat import configs, finder

    path, weight, back = foreign(tmp_path / "rec.net")
    finder.install()
    try:
        from lava.lib.dl import netx as theirs
        from lava.proc.dense.process import Dense as Synapse
        from lava.proc.io import sink, source
        from lava.proc.lif.process import LIF as Neuron

        net = theirs.hdf5.Network(net_config=str(path))
        layer = net.layers[0]
        assert isinstance(layer, theirs.blocks.process.RecurrentDense)
        assert isinstance(layer.synapse_rec, Synapse)
        assert isinstance(layer.neuron, Neuron)
        layer.neuron.bias_mant.init = np.array([5, 0, 0])
        layer.synapse_rec.proc_params._parameters["weight_exp"] += 1  # twice
        data, out = source.RingBuffer(data=X + 0.5), sink.RingBuffer(shape=(3,), buffer=40)
        data.s_out.connect(net.inp)
        net.out.connect(out.a_in)
        config = configs.Loihi2SimCfg(select_tag="fixed_pt")
        with pytest.warns(UserWarning, match=r"data: .* whole numbers; data are cut"):
            net.run(condition=lv.RunSteps(40), run_cfg=config)
        got = out.data.get()
        net.stop()
        expected = lif(arriving(weight, X), 40, np.array([5, 0, 0]), 2 * back)
        np.testing.assert_array_equal(got, expected)
        assert (got != lif(arriving(weight, X), 40, np.array([5, 0, 0]), back)).any()
        hand = theirs.blocks.process.Dense(
            shape=(3,), neuron_params={**PARAMS, "neuron_proc": Neuron}, weight=weight
        )
        assert isinstance(hand.synapse, Synapse)
        assert hand.neuron.vth.init == 40
    finally:
        finder.uninstall()
