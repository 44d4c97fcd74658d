"""Adaptive neurons: what lava-dl recorded, a plain restatement in integers, and what they
refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lavalike as lv
from lavalike.proc import ADRF, ADRF_IZ, ALIF, ALIFLateBias
from tests.conftest import load_meta

EXACT = lv.RunConfig(precision="fixed_pt")
LIMIT = (1 << 23) - 1


def rs(x):
    """Toward zero, by 12 bits."""
    return np.sign(x) * (np.abs(x) >> 12)


def adapted(x, state, theta, r, p):
    """Spikes of a membrane ``x`` that ``state`` says may spike, and theta and r after them, as
    lava-dl writes it."""
    r = rs(r * (4096 - p["refractory_decay"]))
    vth, step = p["vth"] << 6, p["threshold_step"] << 6
    theta = rs((theta - vth) * (4096 - p["threshold_decay"])) + vth
    s = state & (x >= theta + r)
    return s, theta + step * s, r + 2 * theta * s


def alif(a, p):
    """(spikes, u, v) over time, of inputs (N, T) in weight units."""
    u = v = r = np.zeros(len(a), np.int64)
    theta = u + (p["vth"] << 6)
    rows = []
    for t in range(a.shape[-1]):
        bias = p.get("bias", 0) * (t >= p.get("bias_start", 0))
        u = rs(u * (4096 - p["iDecay"])) + ((a[:, t] + bias) << 6)
        v = (rs(v * (4096 - p["dv"])) + u).clip(-LIMIT, LIMIT)
        s, theta, r = adapted(v, True, theta, r, p)
        rows.append((s, u, v))
    return [np.stack(x, -1) for x in zip(*rows, strict=True)]


def adrf(a_real, a_imag, p, izhikevich):
    real = imag = r = np.zeros(len(a_real), np.int64)
    theta = real + (p["vth"] << 6)
    c, s = p["cos_decay"], p["sin_decay"]
    rows = []
    for t in range(a_real.shape[-1]):
        old = imag
        real, imag = (
            rs(c * real) - rs(s * imag) + (a_real[:, t] << 6),
            rs(s * real) + rs(c * imag) + (a_imag[:, t] << 6),
        )
        spiked, theta, r = adapted(
            imag if izhikevich else real,
            True if izhikevich else (imag >= 0) & (old < 0),
            theta,
            r,
            p,
        )
        rows.append((spiked, real, imag))
    return [np.stack(x, -1) for x in zip(*rows, strict=True)]


def test_alif_computes_what_lava_dl_recorded(conformance):
    """The recorded inputs are finer than a message: they come in as a bias in the state's unit, new
    in every step."""
    data, meta = load_meta(conformance("lava-dl/slayer/neuron_alif_basic.npz"))
    p = meta["device_params"]
    x = np.trunc(data["x"] * np.float32(4096)).astype(np.int64)
    neuron = ALIF(
        shape=x.shape[:-1],
        du=p["iDecay"] - 1,
        dv=p["vDecay"],
        vth=p["vThMant"],
        threshold_step=p["vThStep"],
        threshold_decay=p["thDecay"],
        refractory_decay=p["refDecay"],
        loihi_units=True,
        checked=True,
    )
    ring = lv.proc.io.sink.RingBuffer(shape=neuron.shape, buffer=x.shape[-1])
    neuron.s_out.connect(ring.a_in)
    states = {"u": "trace_current", "v": "trace_voltage"}
    for t in range(x.shape[-1]):
        neuron.bias_mant.set(x[..., t])
        neuron.run(lv.RunSteps(1), EXACT)
        for var, key in states.items():
            np.testing.assert_array_equal(
                getattr(neuron, var).get() / 4096, data[key][..., t], err_msg=f"{var}, step {t}"
            )
    np.testing.assert_array_equal(ring.data.get(), data["out"])
    neuron.stop()


decay = st.integers(0, 4096)
shared = {
    "vth": st.integers(1, 60),
    "threshold_step": st.integers(0, 60),
    "threshold_decay": decay,
    "refractory_decay": decay,
}


@given(
    st.fixed_dictionaries(
        shared
        | {
            "iDecay": decay,
            "dv": decay,
            "bias": st.integers(-20, 20),
            "bias_start": st.integers(0, 4),
        }
    ),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_alif_in_integers(p, seed):
    a = np.random.default_rng(seed).integers(-40, 80, (5, 25))
    kwargs = {k: v for k, v in p.items() if k not in ("iDecay", "bias")}
    neuron = ALIFLateBias(
        shape=(5,),
        du=p["iDecay"] - 1,
        bias_mant=p["bias"],
        bias_exp=6,
        loihi_units=True,
        checked=True,
        **kwargs,
    )
    rec = lv.simulate(neuron, {"a_in": a}, config=EXACT, record=[neuron.u, neuron.v])
    for target, want in zip(("s_out", neuron.u, neuron.v), alif(a, p), strict=True):
        np.testing.assert_array_equal(rec[target], want)


@given(
    st.fixed_dictionaries(
        shared | {"cos_decay": st.integers(-2896, 2896), "sin_decay": st.integers(-2896, 2896)}
    ),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_adaptive_resonators_in_integers(p, izhikevich, seed):
    a = np.random.default_rng(seed).integers(-80, 120, (2, 5, 25))
    neuron = (ADRF_IZ if izhikevich else ADRF)(
        shape=(5,), state_exp=6, decay_bits=12, loihi_units=True, checked=True, **p
    )
    rec = lv.simulate(
        neuron,
        {"a_real_in": a[0], "a_imag_in": a[1]},
        config=EXACT,
        record=[neuron.real, neuron.imag],
    )
    for target, want in zip(
        ("s_out", neuron.real, neuron.imag), adrf(*a, p, izhikevich), strict=True
    ):
        np.testing.assert_array_equal(rec[target], want)


def test_the_threshold_rises_and_falls():
    """Known values under a constant voltage."""
    neuron = ALIF(
        shape=(1,),
        du=1,
        dv=1,
        vth=1.0,
        threshold_step=0.5,
        threshold_decay=0.5,
        refractory_decay=0.5,
    )
    rec = lv.simulate(
        neuron,
        {"a_in": np.full((1, 6), 2.0)},
        config=lv.RunConfig(dtype="float64"),
        record=[neuron.offset, neuron.r],
    )
    # against v = 2 stand 1, 1.25 + 1, 1.125 + 0.5, 1.3125 + 1.375, 1.15625 + 0.6875, 1.328125 + 1.5
    np.testing.assert_array_equal(rec["s_out"][0], [1, 0, 1, 0, 1, 0])
    np.testing.assert_allclose(rec[neuron.offset][0], [0.5, 0.25, 0.625, 0.3125, 0.65625, 0.328125])
    np.testing.assert_allclose(rec[neuron.r][0], [2, 1, 2.75, 1.375, 3, 1.5])


CASES = [
    (ALIF, {"du": 0.3, "dv": 0.1, "vth": 0.5, "bias_mant": 0.05}, ["a_in"]),
    (ADRF, {"period": 8, "alpha": 0.1, "vth": 0.4}, ["a_real_in", "a_imag_in"]),
    (ADRF_IZ, {"period": 8, "alpha": 0.1, "vth": 0.4}, ["a_real_in", "a_imag_in"]),
]
ADAPT = {"threshold_step": 0.2, "threshold_decay": 0.2, "refractory_decay": 0.4}


@pytest.mark.parametrize(("kind", "params", "ports"), CASES, ids=[c[0].__name__ for c in CASES])
def test_backends_agree_in_floating_point(kind, params, ports):
    neuron = kind(shape=(6,), **params, **ADAPT)
    x = {name: np.random.default_rng(k).normal(0.3, 1, (2, 6, 40)) for k, name in enumerate(ports)}
    configs = [lv.RunConfig(backend=name, dtype="float64") for name in ("numba", "torch")]
    a, b = (lv.simulate(neuron, x, config=c, record=[neuron.r]) for c in configs)
    assert 0 < a["s_out"].mean() < 1
    for target in ("s_out", neuron.r):
        np.testing.assert_allclose(a[target], b[target], rtol=1e-9)


@pytest.mark.parametrize(("kind", "params", "ports"), CASES, ids=[c[0].__name__ for c in CASES])
def test_floating_point_computes_the_integers_units(kind, params, ports):
    """With loihi_units the floating-point states are those of fixed_pt, without the rounding."""
    numbers = {
        "vth": 30,
        "threshold_step": 10,
        "threshold_decay": 800,
        "refractory_decay": 1600,
        "loihi_units": True,
    }
    more = (
        {"du": 1228, "dv": 409}
        if kind is ALIF
        else {"cos_decay": 2600, "sin_decay": 2600, "decay_bits": 12, "state_exp": 6}
    )
    neuron = kind(shape=(6,), **numbers, **more)
    x = {name: np.random.default_rng(k).integers(-40, 60, (6, 12)) for k, name in enumerate(ports)}
    var = neuron.v if kind is ALIF else neuron.imag
    a, b = (
        lv.simulate(neuron, x, config=c, record=[var, neuron.r])
        for c in (EXACT, lv.RunConfig(dtype="float64"))
    )
    np.testing.assert_allclose(a[var], b[var], atol=40)
    np.testing.assert_array_equal(a["s_out"], b["s_out"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vth": -1}, "vth: -1 is outside 0"),
        ({"threshold_step": -1}, "threshold_step: -1 is outside 0"),
        ({"threshold_decay": 5000}, r"threshold_decay: 5000 is outside 0\.\.4096"),
        ({"refractory_decay": -2}, "refractory_decay: -2 is outside"),
    ],
)
@pytest.mark.parametrize("kind", [ALIF, ADRF, ADRF_IZ])
def test_what_is_out_of_range_is_told(kind, change, message):
    more = {} if kind is ALIF else {"state_exp": 6, "decay_bits": 12}
    with pytest.raises(lv.VarError, match=message):
        lv.simulate(kind(shape=(2,), loihi_units=True, **more, **change), steps=1, config=EXACT)


@pytest.mark.parametrize(
    ("kind", "port"), [(ALIF, "a_in"), (ADRF, "a_real_in"), (ADRF_IZ, "a_imag_in")]
)
def test_overflow_of_24_bits_is_an_error_where_it_was_promised_away(kind, port):
    more = (
        {"du": -1, "dv": 0}
        if kind is ALIF
        else {"cos_decay": 4096, "decay_bits": 12, "state_exp": 6}
    )
    neuron = kind(shape=(2,), vth=1 << 17, loihi_units=True, checked=True, **more)
    x = np.array([[0, 1 << 16, 1 << 16, 0], [0, 0, 0, 0]])
    with pytest.raises(
        lv.OverflowError24, match=rf"{kind.__name__}, step 3: an accumulator left 24 bits"
    ):
        lv.simulate(neuron, {port: x}, config=EXACT)


def test_a_parameter_a_channel():
    """Each neuron with its own parameters computes what it computes alone."""
    rng = np.random.default_rng(0)
    names = {
        "du": 4095,
        "dv": 4096,
        "vth": 60,
        "threshold_step": 40,
        "threshold_decay": 4096,
        "refractory_decay": 4096,
    }
    values = {k: rng.integers(0, high, 7) for k, high in names.items()}
    a = rng.integers(-20, 60, (7, 30))
    together = lv.simulate(ALIF(shape=(7,), loihi_units=True, **values), {"a_in": a}, config=EXACT)[
        "s_out"
    ]
    for k in range(7):
        alone = ALIF(shape=(1,), loihi_units=True, **{n: int(v[k]) for n, v in values.items()})
        np.testing.assert_array_equal(
            lv.simulate(alone, {"a_in": a[k : k + 1]}, config=EXACT)["s_out"][0], together[k]
        )
