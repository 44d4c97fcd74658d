"""slayer's neurons: recordings, gradients, one parameter a channel, state, dtypes, and what they
refuse."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch.nn import functional

import lavalike as lv
from lavalike import fused, slayer
from tests.test_slayer_conformance import load

neuron = slayer.neuron
MODULES = {
    n: getattr(neuron, n)
    for n in ("cuba", "lif", "alif", "rf", "rf_iz", "adrf", "adrf_iz", "sigma_delta")
}
ADAPTIVE = {"threshold_step": 0.25, "threshold_decay": 0.2, "refractory_decay": 0.25}
PARAMS = {
    "cuba": {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1},
    "lif": {"threshold": 0.5, "voltage_decay": 0.2},
    "alif": {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1, **ADAPTIVE},
    "rf": {"threshold": 0.3, "period": 7, "decay": 0.05},
    "rf_iz": {"threshold": 0.5, "period": 7, "decay": 0.05},
    "adrf": {"threshold": 0.3, "period": 7, "decay": 0.05, **ADAPTIVE},
    "adrf_iz": {"threshold": 0.5, "period": 7, "decay": 0.05, **ADAPTIVE},
    "sigma_delta": {"threshold": 0.1},
}
FAMILIES = list(PARAMS)
SPIKING = [f for f in FAMILIES if f != "sigma_delta"]
WORDS = ["cuba", "adrf_iz", "sigma_delta"]  # with all the words of the others
RESONATORS = ["rf", "rf_iz", "adrf", "adrf_iz"]
DECAYS = {
    "cuba": ["current_decay", "voltage_decay"],
    "lif": ["voltage_decay"],
    "alif": ["current_decay", "voltage_decay", "threshold_decay", "refractory_decay"],
    "rf": ["sin_decay", "cos_decay"],
    "rf_iz": ["sin_decay", "cos_decay"],
    "adrf": ["sin_decay", "cos_decay", "threshold_decay", "refractory_decay"],
    "adrf_iz": ["sin_decay", "cos_decay", "threshold_decay", "refractory_decay"],
}


def make(family, **changes):
    return MODULES[family].Neuron(**{**PARAMS[family], **changes})


def data(family, shape=(2, 3, 20), seed=0, dtype=torch.float32):
    """As many inputs as the family takes; they make it spike."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) * 0.6
        for _ in range(MODULES[family].Neuron.inputs)
    ]


def gradients(module, x, g):
    x = [v.clone().requires_grad_() for v in x]
    y = module(*x)
    y.backward(g)
    return (
        y.detach(),
        [v.grad for v in x],
        {n: p.grad for n, p in module.named_parameters() if p.requires_grad},
    )


# -- against lava-dl -------------------------------------------------------------------------------


def test_alif_recording(conformance):
    d = load(conformance, "neuron_alif_basic")
    n = neuron.alif.Neuron(0.3, 0.2, 0.3, 0.1, 0.2, 0.25, requires_grad=True)
    y, (gx,), _ = gradients(n, [d["x"]], d["g"])
    np.testing.assert_array_equal(y, d["out"])
    np.testing.assert_allclose(
        gx, d["grad_x"], rtol=1e-5, atol=1e-6 * float(d["grad_x"].abs().max())
    )
    assert n.device_params == {
        "type": "ALIF",
        "iDecay": 1229,
        "vDecay": 410,
        "thDecay": 819,
        "refDecay": 1024,
        "vThMant": 19,
        "vThStep": 12,
        "refDelay": 1,
        "gradedSpike": False,
    }


def test_rf_recording(conformance):
    d = load(conformance, "neuron_rf_basic")
    n = neuron.rf.Neuron(0.4, 10, 0.08, requires_grad=True)
    y, (gr, gi), gp = gradients(n, [d["x_real"], d["x_imag"]], d["g"])
    np.testing.assert_array_equal(y, d["out"])
    for got, name in ((gr, "grad_x_real"), (gi, "grad_x_imag")):
        np.testing.assert_allclose(got, d[name], rtol=1e-5, atol=1e-6 * float(d[name].abs().max()))
    for name in (
        "sin_decay",
        "cos_decay",
    ):  # right in lava-dl but for the factor of the parameter's unit
        np.testing.assert_allclose(gp[name] * 4096, d[f"gp_{name}"], rtol=1e-4)
    (real, imag), _ = n.affine(d["x_real"], d["x_imag"])
    np.testing.assert_array_equal(real.detach(), d["trace_real"])
    np.testing.assert_array_equal(imag.detach(), d["trace_imag"])
    assert n.device_params == {
        "type": "RF_PHASE",
        "sinDecay": 2215,
        "cosDecay": 3049,
        "vThMant": 25,
        "gradedSpike": False,
    }


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "parameter"), [(f, p) for f, names in DECAYS.items() for p in names]
)
def test_decay_gradients_match_finite_differences(family, parameter):
    """Below threshold, in float64, from a state in which every decay has something to act on.
    (lava-dl: wrong sign.)"""
    x = [v * 100 for v in data(family, (2, 3, 30), dtype=torch.float64)]
    probe = make(family, threshold=4000.0)
    start = {
        k: torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 200
        for k in probe.stream(*x)[1]
    }
    g = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5

    def total(shift):
        n = make(family, threshold=4000.0, requires_grad=True).double()
        with torch.no_grad():
            getattr(n, parameter).add_(shift)
        y, after = n.stream(*x, state=start)
        assert not y.any()
        return sum(k * v.sum() for k, v in zip(g, after.values(), strict=False)), n

    # compiled loops are held to the plain ones below
    with nullcontext() if family in ("cuba", "rf") else fused.plain_loops():
        value, n = total(0)
        value.backward()
        slope = float((total(32)[0] - total(-32)[0]).detach() / 64)
    assert float(getattr(n, parameter).grad) == pytest.approx(slope, rel=0.03)


@pytest.mark.parametrize("shape", [(2, 3, 20), (2, 3, 2, 3, 18)])
@pytest.mark.parametrize(
    ("family", "shared"), [*((f, True) for f in FAMILIES), *((f, False) for f in WORDS)]
)
def test_fused_loops_equal_the_plain_loop(family, shared, shape, monkeypatch):
    torch.manual_seed(0)
    n = make(family, requires_grad=True, shared_param=shared)
    x, g = data(family, shape), torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    y, gx, gp = gradients(n, x, g)
    assert y.any()
    plain = copy.deepcopy(n)
    plain.zero_grad()
    monkeypatch.setattr(fused, "scan", fused.reference)
    want, want_x, want_p = gradients(plain, x, g)
    np.testing.assert_array_equal(y, want)
    for a, b in zip(gx, want_x, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * float(b.abs().max()))
    for name, b in want_p.items():
        np.testing.assert_allclose(
            gp[name], b, rtol=1e-4, atol=1e-6 * float(b.abs().max()), err_msg=name
        )


@pytest.mark.parametrize(
    ("reset_grad", "factor"), [("slayer", 1.0), ("detach", 0.0), ("full", None)]
)
def test_resets_are_differentiated_as_asked(reset_grad, factor):
    """Two steps of a lif, the first of which spikes; the second spike's gradient to the first
    input, by hand."""
    n = neuron.lif.Neuron(0.5, 0.5, tau_grad=0.01, reset_grad=reset_grad)
    x = torch.tensor([[[0.75, 0.25]]], requires_grad=True)
    y = n(x)
    assert y.tolist() == [[[1, 0]]]
    y[..., 1].sum().backward()
    tau, scale = 0.01 * 0.5 * 100, 0.1
    d1, d2 = (scale / (2 * tau) * math.exp(-0.25 / tau) for _ in range(2))
    factor = -0.75 * d1 if factor is None else factor
    np.testing.assert_allclose(x.grad[0, 0], [0.5 * factor * d2, d2], rtol=1e-5, atol=1e-9)


def test_a_graded_spike_sends_the_voltage():
    n = neuron.lif.Neuron(0.5, 0.5, tau_grad=0.01, graded_spike=True)
    x = torch.tensor([[[0.75, 0.25]]], requires_grad=True)
    y = n(x)
    assert y.tolist() == [[[0.75, 0]]]
    y.sum().backward()
    late = 0.1 * math.exp(
        -0.25 / (0.01 * 0.5 * 100)
    )  # scale exp((v - threshold) / tau) below the threshold, scale above
    np.testing.assert_allclose(x.grad[0, 0], [0.1 + 0.5 * late, late], rtol=1e-5)


# -- one parameter a channel -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 20), (2, 3, 4, 3, 20)])
@pytest.mark.parametrize("family", FAMILIES)
def test_channels_have_parameters_of_their_own(family, shape):
    """Each channel computes what a neuron of its parameters does (lava-dl took the last axis where
    W == C)."""
    spread = {k: v for k, v in PARAMS[family].items() if k not in ("threshold", "threshold_step")}
    arrays = {
        k: np.array([v, v * 0.7 if k != "period" else v + 3, v * 1.3]) for k, v in spread.items()
    }
    if family == "sigma_delta":
        arrays = {"threshold": np.array([0.1, 0.3, 0.6])}
    n = make(family, **arrays, shared_param=False, requires_grad=True)
    x = data(family, shape)
    y = n(*x).detach()
    for c in range(3):
        one = make(family, **{k: float(v[c]) for k, v in arrays.items()})
        np.testing.assert_array_equal(
            y[:, c : c + 1], one(*(v[:, c : c + 1] for v in x)).detach(), err_msg=str(c)
        )
    assert len({tuple(v.flatten().tolist()) for v in y.transpose(0, 1)}) == 3
    with pytest.raises(lv.InputError, match=rf"{family}\.Neuron.*(3 values|3 thresholds)"):
        n(*data(family, (2, 4, 5)))


@pytest.mark.parametrize("family", SPIKING)
def test_parameters_are_drawn_within_their_range_before_they_are_used(family):
    ranges = {
        k: (v, v + 4) if k == "period" else (v, v + 0.1)
        for k, v in PARAMS[family].items()
        if k == "period" or k.endswith("decay")
    }
    torch.manual_seed(0)
    n = make(family, **ranges, shared_param=False)
    optimizer = torch.optim.SGD([p.requires_grad_() for p in n.parameters()], 1.0)
    x = data(family, (2, 5, 20))
    first = n(*x)
    np.testing.assert_array_equal(first.detach(), n(*x).detach())
    assert all(
        p is q for p, q in zip(n.parameters(), optimizer.param_groups[0]["params"], strict=True)
    )
    for name in DECAYS[family]:
        assert getattr(n, name).shape == (5,)
        if name not in ("sin_decay", "cos_decay"):
            low, high = ranges[name]
            assert low - 1e-3 <= getattr(n, name).min() / 4096
            assert getattr(n, name).max() / 4096 <= high + 1e-3
            np.testing.assert_array_equal(
                getattr(n, f"cx_{name}"), getattr(n, name).detach().round()
            )
    if family in RESONATORS:
        assert (n.period >= 6.98).all()
        assert (n.period <= 11.02).all()
        assert (np.diff(n.period) < 0).all()  # frequencies rise from channel to channel
        assert ((n.decay >= 0.049) & (n.decay <= 0.151)).all()


def test_one_percent_around_one_value():
    torch.manual_seed(0)
    n = make("cuba", shared_param=False)
    n(*data("cuba", (1, 200, 2)))
    v = n.current_decay / 4096
    assert 0.297 <= v.min() < v.max() <= 0.303


# -- device parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_neuron_params_inverts_device_params(family, channels):
    torch.manual_seed(0)
    n = make(family, shared_param=channels is None)
    if channels:
        n.fit(channels)
    params = MODULES[family].neuron_params(n.device_params)
    again = MODULES[family].Neuron(**params)
    for key, value in n.device_params.items():
        np.testing.assert_array_equal(again.device_params[key], value, err_msg=key)
    with pytest.raises(lv.InputError, match=r"lack .*vThMant"):
        MODULES[family].neuron_params({})


@given(st.floats(4, 500), st.floats(0, 1))
@example(6.0, 0.25 / 4096)  # rounded, they are longer than they may be
@example(9.0, 0.25 / 4096)
@settings(max_examples=60, deadline=None)
def test_any_rotation_comes_back_from_its_integers(period, decay):
    n = neuron.rf.Neuron(0.5, period, decay)
    again = neuron.rf.Neuron(**neuron.rf.neuron_params(n.device_params))
    assert again.device_params == n.device_params


def test_a_foreign_neurons_iDecay_is_no_lif():
    with pytest.raises(lv.InputError, match="iDecay is 5, a lif neuron's 4096; use cuba"):
        neuron.lif.neuron_params({"vThMant": 5, "vDecay": 3, "iDecay": 5})


def test_properties_users_read():
    n = neuron.rf.Neuron(0.4, 10, 0.08)
    assert n.period == pytest.approx(10, rel=1e-3)
    assert n.frequency == pytest.approx(0.1, rel=1e-3)
    assert n.decay == pytest.approx(0.08, abs=1e-3)
    assert n.lam == pytest.approx(-math.log(0.92), abs=1e-3)
    assert (n.cx_sin_decay, n.cx_cos_decay) == (2215, 3049)
    n = make("alif")
    assert (
        n.cx_current_decay,
        n.cx_voltage_decay,
        n.cx_threshold_decay,
        n.cx_refractory_decay,
    ) == (1229, 410, 819, 1024)
    assert (n.threshold, n.v_th_mant, n.scale, n.w_scale, n.s_scale, n.p_scale, n.ref_delay) == (
        0.5,
        32,
        64,
        64,
        4096,
        4096,
        1,
    )
    assert n.device == torch.device("cpu")
    assert make("lif").cx_current_decay == 4096


def test_a_rotation_that_training_made_grow_is_deployed_as_it_runs():
    n = neuron.rf.Neuron(0.4, 10, 0.0, requires_grad=True)
    with torch.no_grad():
        n.sin_decay.add_(900)
        n.cos_decay.add_(900)
    params = n.device_params
    n(*data("rf"))
    assert n.device_params == params
    assert params["sinDecay"] ** 2 + params["cosDecay"] ** 2 < 4096**2


# -- state -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_persistent_state_goes_on_where_the_last_call_ended(family):
    x = data(family, (2, 3, 20))
    whole = make(family)(*x)
    n = make(family, persistent_state=True, requires_grad=True)
    first, second = (
        [v[..., :9].clone().requires_grad_() for v in x],
        [v[..., 9:].clone().requires_grad_() for v in x],
    )
    y = torch.cat([n(*first), n(*second)], -1)
    np.testing.assert_array_equal(y.detach(), whole.detach())
    y[..., 9:].sum().backward()
    assert all(
        v.grad is None or not v.grad.any() for v in first
    )  # no gradient passes from call to call
    other = data(family, (3, 3, 6), seed=1)
    np.testing.assert_array_equal(
        n(*other).detach(), make(family)(*other).detach()
    )  # another batch, a new beginning
    n.reset_state()
    np.testing.assert_array_equal(n(*x).detach(), whole.detach())
    assert set(n.state_dict()) == set(make(family).state_dict())


@given(
    st.sampled_from(FAMILIES),
    st.lists(st.integers(1, 11), max_size=3),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_stream_may_be_cut_anywhere(family, cuts, normed, spatial):
    norm = neuron.norm.MeanOnlyBatchNorm if normed else None
    n = make(family, norm=norm).eval()
    for part in n.norms:
        part.running_mean.fill_(0.21)
    x = data(family, (2, 3, 2, 2, 12) if spatial else (2, 3, 12))
    whole = n(*x)
    edges, state, parts = [0, *sorted(set(cuts)), 12], None, []
    for a, b in itertools.pairwise(edges):
        y, state = n.stream(*(v[..., a:b] for v in x), state=state)
        parts.append(y)
    np.testing.assert_array_equal(torch.cat(parts, -1).detach(), whole.detach())
    assert "_state" not in " ".join(n.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_pass_through_a_stream(family):
    x, g = data(family), torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(3))
    _, want, _ = gradients(make(family, requires_grad=True), x, g)
    n, x = make(family, requires_grad=True), [v.clone().requires_grad_() for v in x]
    a, state = n.stream(*(v[..., :7] for v in x))
    b, _ = n.stream(*(v[..., 7:] for v in x), state=state)
    torch.cat([a, b], -1).backward(g)
    for got, w in zip(x, want, strict=True):
        np.testing.assert_allclose(got.grad, w, rtol=1e-4, atol=1e-6 * float(w.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_pickles_and_state_dicts(family):
    torch.manual_seed(0)
    n = make(
        family,
        shared_param=False,
        requires_grad=True,
        norm=neuron.norm.MeanOnlyBatchNorm,
        persistent_state=True,
    )
    x = data(family)
    n(*x)
    n.reset_state()
    n.eval()
    want = n(*x).detach()
    for other in (copy.deepcopy(n), pickle.loads(pickle.dumps(n))):
        other.reset_state()
        np.testing.assert_array_equal(other(*x).detach(), want)
        assert all(a is not b for a, b in zip(n.parameters(), other.parameters(), strict=True))
    fresh = make(
        family, shared_param=False, requires_grad=True, norm=neuron.norm.MeanOnlyBatchNorm
    ).eval()
    fresh.load_state_dict(n.state_dict())  # before any call (lava-dl could not)
    np.testing.assert_array_equal(fresh(*x).detach(), want)
    np.testing.assert_array_equal(fresh(*x).detach(), want)


def test_states_beyond_24_bits_are_counted():
    n = make("cuba", threshold=1.0)
    n(torch.full((1, 2, 3), 100.0))
    assert n.overflows == 0
    n(torch.full((1, 2, 3), 3000.0))
    assert n.overflows > 0
    n.reset_overflows()
    assert n.overflows == 0
    s = make("sigma_delta")
    s(torch.full((1, 2, 3), 20.0))
    assert (
        s.overflows == 4
    )  # sums of 40 and 60 in both channels; 24 bits end at 2**23 / (4096 * 64) = 32


# -- tensors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_other_batches_and_views(family):
    n = make(family)
    x = data(family, (4, 3, 20))
    whole = n(*x).detach()
    assert n(*(v[:1, :, :1] for v in x)).shape == (1, 3, 1)
    np.testing.assert_array_equal(n(*(v[:3] for v in x)).detach(), whole[:3])
    views = [v.permute(2, 0, 1).contiguous().permute(1, 2, 0) for v in x]
    np.testing.assert_array_equal(n(*views).detach(), whole)
    half = [torch.stack([v, v], -1)[..., 0] for v in x]
    assert not half[0].is_contiguous()
    np.testing.assert_array_equal(n(*half).detach(), whole)


@pytest.mark.parametrize("family", WORDS)
def test_floating_point_formats(family):
    x = [(v * 16).round() / 16 for v in data(family)]  # exact in bfloat16
    n = make(family, requires_grad=True)
    want = n(*x).detach()
    for dtype in (torch.float64, torch.bfloat16):
        y = n(*(v.to(dtype) for v in x))
        assert y.dtype == dtype
        np.testing.assert_allclose(
            y.detach().float(),
            want,
            rtol=1e-2 if family == "sigma_delta" and dtype == torch.bfloat16 else 0,
        )
    double = make(family, requires_grad=True).double()
    y = double(*(v.double() for v in x))
    y.sum().backward()
    np.testing.assert_array_equal(y.detach().float(), want)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 3, 4), torch.float16, "dtype torch.float16; expected float32, float64 or bfloat16"),
        ((2, 3, 0), torch.float32, r"shape \(2, 3, 0\).*none of them 0"),
        ((0, 3, 4), torch.float32, r"shape \(0, 3, 4\)"),
        ((2, 3), torch.float32, r"shape \(2, 3\); expected \(batch, channel, \.\.\., time\)"),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_it_does_not_take_are_told(family, shape, dtype, message):
    n = make(family)
    with pytest.raises(lv.InputError, match=rf"{family}\.Neuron: .*{message}"):
        n(*(torch.zeros(shape, dtype=dtype) for _ in range(n.inputs)))


@pytest.mark.parametrize("family", FAMILIES)
def test_nan_names_the_neuron(family):
    x = data(family)
    x[-1][1, 2, 3] = float("nan")
    with pytest.raises(lv.InputError, match=rf"{family}\.Neuron: .*NaN or infinite"):
        make(family)(*x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make("rf")(torch.zeros(1, 2, 3)),
            r"rf\.Neuron: takes 2 inputs \(real, imag\), got 1",
        ),
        (lambda: make("rf")(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)), "both are to be alike"),
        (
            lambda: make("rf")(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3).double()),
            "both are to be alike",
        ),
        (
            lambda: make("cuba").stream(torch.zeros(1, 2, 3), state={"u": torch.zeros(2, 2)}),
            r"state u has shape \(2, 2\).* needs \(1, 2\)",
        ),
        (lambda: make("cuba", threshold=0), r"threshold is a number > 0"),
        (lambda: make("sigma_delta", threshold=-1.0), r"threshold is finite numbers > 0"),
        (lambda: make("cuba", threshold=0.001), "below the resolution of 1/64"),
        (lambda: make("cuba", tau_grad=0), "tau_grad is a number > 0"),
        (
            lambda: make("cuba", reset_grad="hard"),
            "reset_grad is 'slayer' or 'detach' or 'full', got 'hard'",
        ),
        (lambda: make("cuba", voltage_decay=1.5), r"voltage_decay is a number in 0\.\.1"),
        (lambda: make("lif", voltage_decay=-0.1), r"voltage_decay is a number in 0\.\.1"),
        (lambda: make("cuba", voltage_decay=float("nan")), r"voltage_decay is a number in 0\.\.1"),
        (
            lambda: make("cuba", voltage_decay=np.array([0.1, 1.2]), shared_param=False),
            r"voltage_decay is a number in 0\.\.1",
        ),
        (lambda: make("cuba", voltage_decay=(0.1, 0.2)), "one number where parameters are shared"),
        (
            lambda: make("cuba", voltage_decay=np.array([0.1, 0.2])),
            "shared_param=False takes one a channel",
        ),
        (lambda: make("alif", refractory_decay=2), r"refractory_decay is a number in 0\.\.1"),
        (lambda: make("alif", threshold_step=-0.1), "threshold_step is a number >= 0"),
        (lambda: make("rf", period=3.9), "period is a number >= 4"),
        (lambda: make("rf", period=float("inf")), "period is a number >= 4"),
        (lambda: make("rf", decay=1.01), r"decay is a number in 0\.\.1"),
        (lambda: make("rf", period=(5, 8)), "one number each where parameters are shared"),
        (lambda: make("adrf", threshold_decay=-1), r"threshold_decay is a number in 0\.\.1"),
        (
            lambda: make("sigma_delta", threshold=np.array([0.1, 0.2])),
            "shared_param=False takes one a channel",
        ),
        (
            lambda: make("sigma_delta", activation="relu"),
            "activation is a function or a module, got 'relu'",
        ),
        (lambda: neuron.Dropout(1.5), r"p is a number in 0\.\.1"),
        (
            lambda: neuron.norm.MeanOnlyBatchNorm(4)(torch.zeros(2, 3, 5)),
            "MeanOnlyBatchNorm: input has shape .*expected 4 channels",
        ),
        (lambda: neuron.norm.MeanOnlyBatchNorm(4, momentum=2), r"momentum is a number in 0\.\.1"),
        (lambda: neuron.norm.WgtScaleBatchNorm(4, eps=0), "eps is a number > 0"),
        (lambda: slayer.axon.delay(torch.zeros(1, 2, 3), -1), "delay_val is a number >= 0"),
        (
            lambda: slayer.axon.Delay(channels=2)(torch.zeros(1, 3, 4)),
            r"expected \(batch, 2, \.\.\., time\)",
        ),
        (lambda: slayer.axon.Delay(max_delay=-1), "max_delay is a number >= 0"),
        (lambda: slayer.axon.Delta(0), "Delta: threshold is finite numbers > 0"),
    ],
)
def test_parameters_out_of_range_are_told(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()


# -- delta, sigma, norm, dropout -------------------------------------------------------------------


def test_a_delta_that_accumulates_its_error():
    """lava-dl raised: a slow ramp crosses the threshold by its sum."""
    x = torch.full((1, 1, 8), 0.25).cumsum(-1)
    y = slayer.axon.Delta(1.0, cum_error=True)(x)
    assert y[0, 0].tolist() == [0, 0, 0.75, 0, 0, 0.75, 0, 0]
    n = make("sigma_delta", cum_error=True, requires_grad=True, threshold=1.0)
    n(torch.rand(2, 3, 8)).sum().backward()
    assert n.delta.threshold.grad.isfinite().all()


def test_thresholds_of_each_channel_get_their_gradients():
    """lava-dl broadcast them along the wrong axis."""
    n = make(
        "sigma_delta", threshold=np.array([0.1, 0.3, 0.6]), shared_param=False, requires_grad=True
    )
    x, g = (
        data("sigma_delta", (2, 3, 3, 3, 9)),
        torch.randn(2, 3, 3, 3, 9, generator=torch.Generator().manual_seed(1)),
    )
    _, _, gp = gradients(n, x, g)
    for c, th in enumerate((0.1, 0.3, 0.6)):
        _, _, one = gradients(
            make("sigma_delta", threshold=th, requires_grad=True),
            [x[0][:, c : c + 1]],
            g[:, c : c + 1],
        )
        np.testing.assert_allclose(gp["delta.threshold"][c], one["delta.threshold"][0], rtol=1e-4)
    assert n.device_params["vThMant"].tolist() == [6, 19, 38]


@pytest.mark.parametrize("activation", [functional.relu, torch.nn.ReLU(), torch.tanh, lambda v: v])
def test_activations_are_functions_or_modules(activation):
    n = make("sigma_delta", activation=activation)
    x = data("sigma_delta")[0]
    y = n(x)
    wanted = activation(x.cumsum(-1))
    assert (y.cumsum(-1) - wanted).abs().max() <= 0.1 + 20 / 4096
    assert isinstance(n.device_params["activation"], str)


def test_a_weight_scale_norm_divides_by_a_power_of_two():
    x = torch.randn(8, 3, 50, generator=torch.Generator().manual_seed(0)) * 3 + 1
    norm = neuron.norm.WgtScaleBatchNorm(momentum=0.5)
    mean_only = neuron.norm.MeanOnlyBatchNorm(momentum=0.5)
    np.testing.assert_array_equal(norm(x), mean_only(x) / 4)  # 2 ** ceil(log2(3))
    var = float(x.var(correction=0))
    np.testing.assert_allclose(
        norm.running_var, [0.25 + 0.5 * var * x.numel() / (x.numel() + 1)], rtol=1e-5
    )
    norm.eval()
    mean_only.eval()
    np.testing.assert_array_equal(norm(x), mean_only(x) / 4)
    assert norm.weight_exp.tolist() == [2]
    for size, exponent in ((1e6, 3), (1e-6, -3), (0.9, 0)):
        assert norm.exponent(torch.tensor(size**2)) == exponent
    fresh = neuron.norm.WgtScaleBatchNorm()
    assert fresh.weight_exp == 0
    fresh.load_state_dict(norm.state_dict())
    np.testing.assert_array_equal(fresh.eval()(x), norm(x))


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_of_all_families(family):
    make_norm = functools.partial(neuron.norm.MeanOnlyBatchNorm, momentum=0.5)
    n = make(family, norm=make_norm)
    assert len(n.norms) == n.inputs
    before = dict(n.state_dict())
    y = n(*data(family, (4, 3, 2, 2, 10)))
    y.sum().backward() if y.requires_grad else None
    assert all(norm.running_mean.shape == (3,) for norm in n.norms)
    assert set(before) == set(n.state_dict())
    n.eval()
    frozen = [norm.running_mean.clone() for norm in n.norms]
    n(*data(family, (1, 3, 2, 2, 10)))
    assert all(torch.equal(a, norm.running_mean) for a, norm in zip(frozen, n.norms, strict=True))


def test_dropout_silences_a_neuron_for_all_time():
    torch.manual_seed(0)
    drop = neuron.Dropout(0.4)
    y = drop(torch.ones(3, 50, 2, 7))
    scaled = y[..., 0] * 0.6
    assert ((scaled == 0) | ((scaled - 1).abs() < 1e-6)).all()
    assert (y == y[..., :1]).all()
    assert 0.3 < (y == 0).float().mean() < 0.5
    drop.eval()
    assert (drop(torch.ones(1, 2, 3)) == 1).all()


def test_a_delay_knows_its_channels_late_and_from_a_state_dict():
    torch.manual_seed(0)
    late = slayer.axon.Delay(max_delay=62)
    optimizer = torch.optim.SGD(late.parameters(), 1.0)
    x = torch.rand(2, 3, 4, 10)
    late(x).sum().backward()
    assert late.delay.grad.shape == (3,)
    assert late.delay is optimizer.param_groups[0]["params"][0]
    with torch.no_grad():
        late.delay.copy_(torch.tensor([0.5, 2.5, 70.0]))
    fresh = slayer.axon.Delay(max_delay=62)
    fresh.load_state_dict(late.state_dict())
    y = fresh(x).detach()
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    np.testing.assert_array_equal(y[:, 1, :, 2:], x[:, 1, :, :-2])
    assert not y[:, 2].any()
    assert fresh.steps().tolist() == [0, 2, 62]
