"""Processes of Lava's library against loops of their own, and Lava's numbers where its tests have
some."""

from __future__ import annotations

import numpy as np
import pytest

import lavalike as lv
from lavalike import proc
from lavalike.dynamics import Dynamics, Parameter, graded
from lavalike.errors import RunError, VarError

STEPS = 40


def floating(**kwargs):
    return lv.RunConfig(dtype="float64", **kwargs)


FIXED = lv.RunConfig(precision="fixed_pt")


def toward_zero(x, bits):
    return np.sign(x) * (np.abs(x) >> bits)


@pytest.mark.parametrize(
    "decays",
    [
        {},
        {"delta_i": 0.25, "delta_v": 0.1, "delta_theta": 0.0, "delta_r": 1.0},
        {"delta_i": 1 / 3, "delta_v": 1 / 7},
    ],
)
def test_atrlif_in_whole_numbers_as_lava(decays):
    """Its decays are fractions: that of i keeps its own of 1/4096, the others lose it. theta begins
    at theta_0."""
    d = {"delta_i": 0.4, "delta_v": 0.4, "delta_theta": 0.2, "delta_r": 0.2, **decays}
    neuron = proc.ATRLIF(shape=(5,), theta=9, bias_mant=7, bias_exp=2, theta_step=3.75, **decays)
    x = np.random.default_rng(4).integers(-40, 120, (5, STEPS))
    i, v, r, theta = (np.zeros(5, np.int64) for _ in range(4))
    theta[:], step, rest = 320, 240, 320
    wanted = []
    for now in x.T:
        factor = 4096 - (d["delta_i"] * 4096 + 1)
        i = toward_zero(np.int64(i * factor), 12) + now * 64
        i = np.where(i > 2**23, i - 2**24, i)
        kept = {n: int(4096 - d[f"delta_{n}"] * 4096) for n in ("v", "theta", "r")}
        v = np.clip(toward_zero(v * kept["v"], 12) + i + (7 << 2), -(2**23) + 1, 2**23 - 1)
        theta = toward_zero((theta - rest) * kept["theta"], 12) + rest
        r = toward_zero(r * kept["r"], 12)
        s = v - r >= theta
        r, theta = np.where(s, r + 2 * theta, r), np.where(s, theta + step, theta)
        wanted.append((s, i, v, theta, r))
    rec = lv.simulate(neuron, {"a_in": x}, config=FIXED, record=["s_out", "i", "v", "theta", "r"])
    for name, rows in zip(
        ("s_out", "i", "v", "theta", "r"), zip(*wanted, strict=True), strict=True
    ):
        np.testing.assert_array_equal(rec[name], np.stack(rows, -1), err_msg=name)
    assert rec["s_out"].any()


def test_rf_zero_has_the_amplitudes_of_lavas_own_test():
    x = np.zeros((1, 50), int)
    x[:, 3] = 10
    net = proc.RFZero(shape=(4,), uth=1, decay_tau=0.1, freqs=20)
    real = proc.Dense(weights=[[50], [-70], [-90], [110]], num_message_bits=24)
    imag = proc.Dense(weights=[[-50], [-70], [90], [110]], num_message_bits=24)
    source = proc.io.source.RingBuffer(data=x)
    source.s_out.connect([real.s_in, imag.s_in])
    real.a_out.connect(net.u_in)
    imag.a_out.connect(net.v_in)
    out = lv.simulate(net, steps=50, config=FIXED)["s_out"]
    assert out[[0, 1, 2, 3], [11, 23, 36, 48]].tolist() == [661, 833, 932, 1007]
    # floating_pt turns the same, without roundings of 2**-15
    free = lv.simulate(net, steps=50, config=floating())["s_out"]
    np.testing.assert_array_equal(free != 0, out != 0)
    np.testing.assert_allclose(free, out, atol=50)


@pytest.mark.parametrize("config", [floating(), FIXED], ids=["floating_pt", "fixed_pt"])
def test_graded_vectors(config):
    x, y = np.random.default_rng(5).integers(-9, 10, (2, 4, STEPS))
    shape = {"shape": (4,), "vth": 3}

    def out(process, **inputs):
        return lv.simulate(process, inputs, config=config)

    np.testing.assert_array_equal(
        out(proc.GradedVec(**shape), a_in=x)["s_out"], x * (np.abs(x) > 3)
    )
    np.testing.assert_array_equal(out(proc.GradedReluVec(**shape), a_in=x)["s_out"], x * (x > 3))
    product = x * y if config.precision == "floating_pt" else (x * y) >> 2
    found = out(proc.ProdNeuron(**shape, exp=2), a_in1=x, a_in2=y)["s_out"]
    np.testing.assert_array_equal(found, product * (np.abs(product) > 3))
    found = out(proc.NormVecDelay(**shape), a_in1=x, a_in2=y)
    scaled = np.concatenate([np.zeros((4, 1), int), x[:, :-1]], 1) * y
    np.testing.assert_array_equal(found["s_out"], scaled * (np.abs(scaled) > 3))
    np.testing.assert_array_equal(found["s2_out"], x**2)


@pytest.mark.parametrize("debug", [False, True], ids=["compiled", "python"])
def test_a_product_is_shifted_before_32_bits_must_hold_it(debug):
    config = lv.RunConfig(precision="fixed_pt", debug=debug)
    inputs = dict.fromkeys(("a_in1", "a_in2"), np.full((1, 1), 1 << 20))
    out = lv.simulate(proc.ProdNeuron(shape=(1,), exp=12), inputs, config=config)["s_out"]
    assert out.tolist() == [[1 << 28]]
    if not debug:
        with pytest.raises(RunError, match="32 bits"):
            lv.simulate(proc.ProdNeuron(shape=(1,)), inputs, config=config)


def inverse_root(x, base):
    """Lava's, one number by one."""
    table = [2 * int(2**base / (2 ** ((m - base) / 2) * 1.238982962)) for m in range(24)][::-1]
    b, factor = x, table[24 - (int(np.log2(x)) + 1)]
    root = factor // 2
    for _ in range(5):
        b = (((b * factor) >> (base + 1)) * factor) >> (base + 1)
        factor = (3 << base) - b
        root = (root * factor) >> (base + 1)
    return root


def test_inverse_roots():
    x = np.array([[0, 1, 2, 3, 4095, 4096, 4097, 100_000, 2**24 - 1, *(2**k for k in range(24))]])
    for base in (12, 8):
        out = lv.simulate(proc.InvSqrt(shape=(1,), fp_base=base), {"a_in": x}, config=FIXED)
        wanted = [inverse_root(int(v), base) if v else 0 for v in x[0]]
        assert out["s_out"][0].tolist() == wanted
    assert (
        abs(lv.simulate(proc.InvSqrt(shape=(1,)), {"a_in": x[:, 7:8]}, config=FIXED)["s_out"] - 829)
        < 2
    )
    free = lv.simulate(proc.InvSqrt(shape=(1,)), {"a_in": x}, config=floating())["s_out"]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(free, 1 / np.sqrt(x))
    for wrong in (-1, 2**24):
        with pytest.raises(RunError, match=rf"InvSqrt, step 1: the root .*got {wrong}"):
            lv.simulate(proc.InvSqrt(shape=(1,)), {"a_in": np.array([[wrong]])}, config=FIXED)


def test_a_spiker_counts_as_lavas():
    spiker = proc.Spiker(shape=(2,), period=[5, 2], payload=[3, 4])
    rec = lv.simulate(spiker, steps=20, record=["s_out", "counter"])
    assert rec["counter"][0].tolist() == [1, 2, 3, 4, 5] * 4
    assert np.flatnonzero(rec["s_out"][0]).tolist() == [5, 10, 15]
    assert rec["s_out"][1].tolist() == [0, 0, *[4, 0] * 9]
    with pytest.raises(VarError, match="period"):
        lv.simulate(proc.Spiker(period=0), steps=1)


def test_an_encoder_keeps_back_what_a_message_does_not_hold():
    x = np.array([[0, 100, 100, 100, -100, 2]])
    for config, scale in ((FIXED, 4), (floating(), 1)):
        encoder = proc.DeltaEncoder(shape=(1,), vth=3, num_bits=6, spike_exp=2)
        out = lv.simulate(encoder, {"a_in": x}, config=config, record=["s_out", "residue"])
        sent = [0, 0, 31, 31, 31, -32]  # 100 in three messages, the rest with the change of -200
        assert out["s_out"][0].tolist() == [scale * v for v in sent]
        assert (np.cumsum(out["s_out"][0])[-1] + out["residue"][0, -2]) == scale * -100


def test_a_convolution_in_time_is_torchs():
    torch = pytest.importorskip("torch")
    g = np.random.default_rng(6)
    w, x = g.integers(-128, 128, (3, 5, 2)), g.integers(-3, 4, (2, 12))
    for config in (floating(), FIXED):
        out = lv.simulate(
            proc.ConvInTime(weights=w, num_message_bits=8), {"s_in": x}, config=config
        )
        wanted = torch.nn.functional.conv1d(
            torch.tensor(x, dtype=torch.float64)[None],
            torch.tensor(w, dtype=torch.float64).permute(1, 2, 0),
        )[0]
        np.testing.assert_array_equal(out["a_out"][:, 3:], wanted[:, :-1])


def test_the_complex_state_of_an_s4d_is_a_var():
    g = np.random.default_rng(7)
    a, b, c = (g.normal(size=3) / 2 + 1j * g.normal(size=3) / 2 for _ in range(3))
    neuron = proc.S4d(shape=(3,), a=a, b=b, c=c, s4_state=1j)
    x = g.normal(size=(3, STEPS))
    state, wanted, states = np.full(3, 1j), [], []
    for now in x.T:
        state = a * state + b * now
        states.append(state)
        wanted.append((2 * c * state).real)
    for backend in ("numba", "torch"):
        config = floating(backend=backend)
        rec = lv.simulate(neuron, {"a_in": x}, config=config, record=["s_out", "s4_state"])
        np.testing.assert_allclose(rec["s_out"], np.stack(wanted, -1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(rec["s4_state"], np.stack(states, -1), rtol=1e-12, atol=1e-12)
        with neuron:
            neuron.run(lv.RunSteps(2), config)
            np.testing.assert_allclose(neuron.s4_state.get(), a * a * 1j)
            neuron.s4_state.set(2 + 1j)
            neuron.run(lv.RunSteps(1))
            np.testing.assert_allclose(neuron.s4_state.get(), a * (2 + 1j))
        neuron.s4_state.set(1j)
    with pytest.raises(VarError, match=r"SigmaS4dDelta\.a: real numbers"):
        proc.SigmaS4dDelta(shape=(3,), vth=0, a=a, b=1, c=1)


def test_a_layer_of_states_adds_up_what_they_send():
    g = np.random.default_rng(8)
    a, b, c = g.random(6) / 2, g.normal(size=6), g.normal(size=6)
    x = g.random((2, 12)) * 64
    layer = proc.SigmaS4dDeltaLayer(shape=(2,), vth=0, a=a, b=b, c=c, d_states=3)
    out = lv.simulate(layer, {"s_in": np.diff(x, prepend=0)}, config=floating())["a_out"]
    state, wanted = np.zeros(6), []
    for now in x.T:
        state = a * state + b * np.repeat(now, 3)
        wanted.append((2 * c * state).reshape(2, 3).sum(1))
    np.testing.assert_allclose(np.cumsum(out, 1)[:, 2:], np.stack(wanted, -1)[:, :-2])
    assert layer.a.get().tolist() == a.tolist()


def test_a_receiver_keeps_the_last_message():
    receiver = proc.Receiver(shape=(2,))
    source = proc.io.source.RingBuffer(data=[[1, 2, 3], [4, 5, 6]])
    source.s_out.connect(receiver.a_in)
    with receiver:
        receiver.run(lv.RunSteps(5))
        assert receiver.payload.get().tolist() == [2, 5]


def test_a_fraction_among_constants_is_one_for_a_neuron_each_too():
    """Where one parameter is a number a neuron, all constants lie as arrays; delta_i's keeps its
    fraction there."""
    x = np.random.default_rng(5).integers(-40, 120, (2, STEPS))
    one, each = (proc.ATRLIF(shape=(2,), theta_step=step) for step in (3.75, [3.75, 4]))
    found = [lv.simulate(n, {"a_in": x}, config=FIXED, record=["i"])["i"] for n in (one, each)]
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_a_source_of_whole_numbers_without_inputs_and_states():
    def tick(t, period):
        return t % period == 0

    class Tick(lv.AbstractProcess):
        dynamics = Dynamics(tick, (), ("s_out",), (), parameters=(Parameter("period", 3),))

        def __init__(self):
            super().__init__()
            self.s_out = lv.OutPort((1,))
            self.period = lv.Var((1,), 3, role="parameter")

    found = lv.simulate(Tick(), steps=7, config=FIXED, record=["s_out"])["s_out"]
    assert found.astype(int).tolist() == [[0, 0, 1, 0, 0, 1, 0]]


@pytest.mark.parametrize("step", [graded.graded_vec, graded.graded_relu_vec])
def test_what_was_infinite_is_forgotten(step):
    """A message beyond all numbers is heard once, not for good."""
    _, v = step(np.array([np.inf]), np.zeros(1), 1)
    assert step(np.array([5.0]), v, 1)[0].tolist() == [5]


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_convolution_in_time_tells_a_step_ahead(backend):
    """Two parts in a loop ask for how long what goes back is settled."""
    conv = proc.ConvInTime(weights=np.ones((3, 2, 2)))
    neuron = proc.LIF(shape=(2,), du=1.0, dv=0.5, vth=0.5, bias_mant=0.4)
    neuron.s_out.connect(conv.s_in)
    conv.a_out.connect(neuron.a_in)
    alone = lv.simulate(neuron, steps=9, config=floating(), record=[neuron.v])[neuron.v]
    config = floating(select={conv: backend, neuron: {"numba": "torch", "torch": "numba"}[backend]})
    mixed = lv.simulate(neuron, steps=9, config=config, record=[neuron.v])[neuron.v]
    np.testing.assert_allclose(mixed, alone, rtol=1e-12)
