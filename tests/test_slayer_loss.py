"""slayer's losses and classifiers: lava-dl's recorded values and gradients, and the rules where
lava-dl was wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from lavalike import InputError
from lavalike.slayer import classifier, loss

RECORDED = {
    "SpikeTime": loss.SpikeTime(),
    "SpikeTime_2": loss.SpikeTime(3, 40, 2, "mean"),
    "SpikeRate": loss.SpikeRate(0.4, 0.05),
    "SpikeRate_mean": loss.SpikeRate(0.4, 0.05, reduction="mean"),
    "SpikeRate_win_labelt": loss.SpikeRate(0.4, 0.05, moving_window=10),
    "SpikeMax": loss.SpikeMax(),
    "SpikeMax_softmax": loss.SpikeMax(mode="softmax"),
    "SpikeMax_win_softmax": loss.SpikeMax(10, "softmax", "mean"),
    "SpikeMoid": loss.SpikeMoid(alpha=0.5, theta=0.2),
    "SpikeMoid_win": loss.SpikeMoid(10, alpha=0.5, theta=0.2),
    "SpikeMoid_win_2dlabel": loss.SpikeMoid(10),
}


@pytest.fixture(scope="module")
def data(conformance):
    with np.load(conformance("lava-dl/slayer/losses.npz"), allow_pickle=False) as z:
        return {k: torch.from_numpy(z[k]) for k in z.files if z[k].dtype.kind in "fi"}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_values_and_gradients(data, name):
    spike = data["spike"].clone().requires_grad_()
    value = RECORDED[name](spike, data[f"{name}_t"])
    np.testing.assert_allclose(value.detach(), data[name], rtol=1e-5)
    value.backward()
    want = data[f"{name}_grad"]
    np.testing.assert_allclose(spike.grad, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))


def test_sparsity_enforcer(data):
    enforcer = loss.SparsityEnforcer(0.01, lam=2)
    assert enforcer.loss == 0
    enforcer.append(data["spike"])
    enforcer.append(3 * data["target"])
    np.testing.assert_allclose(enforcer.loss, data["SparsityEnforcer"], rtol=1e-6)
    enforcer.clear()
    assert enforcer.loss == 0
    x = torch.full((1, 2, 3), 0.5, requires_grad=True)
    enforcer.append(x)
    enforcer.loss.backward()
    np.testing.assert_allclose(x.grad, np.full((1, 2, 3), 2 * 2 * 0.49 / 6), rtol=1e-6)


@pytest.mark.parametrize("name", ["SpikeMax_win", "SpikeRate"])
def test_a_window_takes_one_label_a_sample(data, name):
    """lava-dl's SpikeRate raised; its SpikeMax was inf with NaN gradients as soon as a labelled
    neuron was silent."""
    spike = data["spike"].clone().requires_grad_()
    make = (
        (lambda: loss.SpikeMax(10))
        if name == "SpikeMax_win"
        else (lambda: loss.SpikeRate(0.4, 0.05, 10))
    )
    value = make()(spike, data["label"])
    np.testing.assert_allclose(
        value.detach(), make()(data["spike"], data["label"][:, None].expand(-1, 50))
    )
    value.backward()
    assert bool(spike.grad.isfinite().all())
    if name == "SpikeMax_win":  # exact where the labelled neuron fired in the window
        rate = classifier.MovingWindow(10).rate(data["spike"])
        fired = rate.gather(1, data["label"][:, None, None].expand(-1, 1, 50))[:, 0] > 0
        known = data["SpikeMax_win_grad"].isfinite().all(1)
        assert 0 < int(fired.sum()) < fired.numel()
        last = (
            fired.flip(-1).cumprod(-1).flip(-1).bool() & known
        )  # no silent step later on disturbs the gradient
        assert int(last.sum()) > 10
        got, want = (g.movedim(1, -1)[last] for g in (spike.grad, data["SpikeMax_win_grad"]))
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_a_silent_labelled_neuron_is_pushed():
    spike = torch.zeros(1, 3, 20, requires_grad=True)
    value = loss.SpikeMax()(spike, torch.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(1, abs=1e-4)
    assert float(spike.grad[0, 1].max()) == pytest.approx(
        -1
    )  # a spike more, and the loss is about 1 less
    assert float(spike.grad[0, [0, 2]].abs().max()) == 0
    spike = torch.zeros(1, 3, 20)
    spike[0, 0, :7] = 1
    assert loss.SpikeMax()(spike, torch.tensor([1])).item() == pytest.approx(
        1 + math.log(7), abs=1e-4
    )


@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(1, 15),
)
@settings(max_examples=40, deadline=None)
def test_space_collapses_and_a_full_window_ends_in_the_rate(seed, batch, classes, steps, window):
    g = torch.Generator().manual_seed(seed)
    spike = (torch.rand(batch, classes, 2, 3, steps, generator=g) < 0.3).float()
    flat = spike.reshape(batch, -1, steps)
    label = torch.randint(6 * classes, (batch,), generator=g)
    for error in (
        loss.SpikeRate(0.3, 0.1),
        loss.SpikeMax(),
        loss.SpikeRate(0.3, 0.1, window),
        loss.SpikeMax(window, "softmax"),
    ):
        assert torch.equal(error(spike, label), error(flat, label))
        assert bool(error(spike, label).isfinite())
    moving = classifier.MovingWindow(window)
    for t in range(steps):
        np.testing.assert_allclose(
            moving.rate(flat)[..., t],
            flat[..., max(0, t + 1 - window) : t + 1].sum(-1) / window,
            rtol=1e-6,
        )
    np.testing.assert_allclose(
        classifier.MovingWindow(steps).rate(spike)[..., -1], classifier.Rate.rate(spike), rtol=1e-6
    )


def test_spike_time_is_van_rossums_distance():
    a, b = torch.zeros(1, 1, 40), torch.zeros(1, 1, 40)
    a[..., 3], b[..., 9] = 1, 1
    q = math.exp(-2 / 5)
    h = np.exp(-np.arange(40) / 5)
    want = sum(((h[t - 3] if t >= 3 else 0) - (h[t - 9] if t >= 9 else 0)) ** 2 for t in range(40))
    assert loss.SpikeTime()(a, b).item() == pytest.approx(want, rel=1e-5)
    assert loss.SpikeTime()(a, torch.zeros_like(a)).item() == pytest.approx(
        (1 - q**37) / (1 - q), rel=1e-5
    )
    assert loss.SpikeTime()(a, a) == 0


def test_moid_agrees_with_binary_cross_entropy():
    g = torch.Generator().manual_seed(0)
    spike, target = (torch.rand(3, 4, 30, generator=g) < 0.3).float(), torch.rand(3, 4, generator=g)
    p = torch.sigmoid((spike.mean(-1) - 0.3) / 0.1)
    got = loss.SpikeMoid(alpha=0.1, theta=0.3, reduction="mean")(spike, target)
    np.testing.assert_allclose(got, functional.binary_cross_entropy(p, target), rtol=1e-5)
    assert bool(loss.SpikeMoid(alpha=1e-6)(spike, target).isfinite())  # log(0) otherwise


@pytest.mark.parametrize(("alpha", "value"), [(0.06, 1 / 0.06), (0.05, 20.0), (0.01, 100.0)])
def test_moid_stays_exact_where_float32_rounds_the_probability_to_one(alpha, value):
    """lava-dl takes the cross-entropy of the rounded probability: 100 whatever the rate, without a
    gradient (docs/from_lava_dl.md)."""
    spike, target = torch.ones(1, 1, 20, requires_grad=True), torch.zeros(1, 1)
    got = loss.SpikeMoid(alpha=alpha)(spike, target)
    assert got.item() == pytest.approx(value, rel=1e-6)
    got.backward()
    assert spike.grad.sum().item() == pytest.approx(1 / alpha, rel=1e-5)
    other = spike.detach().clone().requires_grad_()
    rounded = functional.binary_cross_entropy(
        torch.sigmoid((other / alpha).mean(-1)), target, reduction="sum"
    )
    rounded.backward()
    assert (rounded.item(), other.grad.abs().max().item()) == (100, 0)


def test_a_silent_labelled_neuron_in_a_window_is_no_infinity(data):
    """The numbers of docs/from_lava_dl.md."""
    assert math.isinf(data["SpikeMax_win"])
    assert (int(data["SpikeMax_win_grad"].isnan().sum()), data["SpikeMax_win_grad"].numel()) == (
        936,
        1200,
    )
    spike = data["spike"].clone().requires_grad_()
    value = loss.SpikeMax(10)(spike, data["SpikeMax_win_t"])
    value.backward()
    assert value.item() == pytest.approx(432.8, abs=0.05)
    assert bool(spike.grad.isfinite().all())


def test_half_precision_counts_in_float32():
    spike = torch.ones(1, 2, 3000, dtype=torch.bfloat16)
    spike[0, 1, 0] = 0
    assert classifier.Rate.rate(spike)[0, 1].item() == pytest.approx(2999 / 3000, rel=1e-6)
    for error in (loss.SpikeRate(0.3, 0.1), loss.SpikeMax()):
        x = spike.clone().requires_grad_()
        error(x, torch.tensor([0])).backward()
        assert x.grad.dtype == torch.bfloat16
        assert bool(x.grad.isfinite().all())
    assert classifier.Rate.predict(spike.bool())[0] == 0


def test_rate_classifier():
    spike = torch.zeros(2, 3, 10)
    spike[0, 1, :5], spike[0, 2, :3], spike[1, 2, 9] = 1, 1, 1
    assert classifier.Rate()(spike).tolist() == classifier.Rate.predict(spike).tolist() == [1, 2]
    np.testing.assert_allclose(classifier.Rate.confidence(spike)[0], [0, 0.625, 0.375], atol=1e-5)
    np.testing.assert_allclose(
        classifier.Rate.confidence(spike, eps=0.2)[0], [0, 0.5, 0.3], atol=1e-5
    )
    np.testing.assert_allclose(
        classifier.Rate.confidence(spike, "softmax"), torch.softmax(spike.mean(-1), 1)
    )


def test_moving_window_returns_something():
    """lava-dl's call returned None."""
    spike = torch.zeros(1, 2, 6)
    spike[0, 0, :2], spike[0, 1, 3:] = 1, 1
    moving = classifier.MovingWindow(2)
    assert moving(spike).tolist() == moving.predict(spike).tolist() == [[0, 0, 0, 1, 1, 1]]
    soft = classifier.MovingWindow(2, "softmax")(spike)
    np.testing.assert_allclose(soft, torch.softmax(moving.rate(spike), 1))
    shares = classifier.MovingWindow(2, mode="probability", eps=1e-3)(spike)
    np.testing.assert_allclose(shares[0, :, 2], [0.5 / 0.501, 0], rtol=1e-5)
    assert torch.equal(moving.confidence(spike), classifier.MovingWindow(2, "probability")(spike))


@pytest.mark.parametrize("mode", ["probability", "softmax"])
def test_nll_makes_the_losses(data, mode):
    spike = data["spike"]
    np.testing.assert_allclose(
        functional.nll_loss(classifier.NLL(mode=mode)(spike), data["label"], reduction="sum"),
        loss.SpikeMax(mode=mode)(spike, data["label"]),
    )
    nll = classifier.NLL(classifier.MovingWindow(10, mode))
    np.testing.assert_allclose(
        functional.nll_loss(nll(spike), data["label_t"], reduction="sum"),
        loss.SpikeMax(10, mode)(spike, data["label_t"]),
    )
    assert torch.equal(nll.predict(spike), classifier.MovingWindow(10)(spike))
    fired = classifier.MovingWindow(10).rate(spike) > 0
    np.testing.assert_allclose(
        nll(spike).exp()[fired], classifier.MovingWindow(10, mode)(spike)[fired], rtol=1e-5
    )


X, L = torch.zeros(2, 3, 4), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: loss.SpikeMax()(torch.zeros(2, 3), L),
            r"loss.SpikeMax: spikes \(batch, neuron, time\).*got \(2, 3\)",
        ),
        (
            lambda: loss.SpikeRate(0.3, 0.1)(torch.zeros(2, 3, 0), L),
            r"loss.SpikeRate.*got \(2, 3, 0\)",
        ),
        (
            lambda: loss.SpikeMax()(X, torch.tensor([0])),
            r"loss.SpikeMax: labels have shape \(1,\); one a sample, or with.*: \(2,\)",
        ),
        (
            lambda: loss.SpikeMax(2)(X, torch.zeros(2, 5, dtype=torch.long)),
            r"one a sample, or one a step: \(2,\) or \(2, 4\)",
        ),
        (
            lambda: loss.SpikeMax()(X, torch.tensor([0, 3])),
            r"integers in 0\.\.2, got torch.int64, 0\.\.3",
        ),
        (lambda: loss.SpikeMax()(X, torch.tensor([0.0, 1.0])), "integers"),
        (lambda: loss.SpikeMax(mode="max"), "mode is 'probability' or 'softmax', got 'max'"),
        (lambda: loss.SpikeMax(0), "SpikeMax: moving_window is an integer >= 1 or None, got 0"),
        (lambda: loss.SpikeRate(1.5, 0), "true_rate is a number in 0..1, got 1.5"),
        (
            lambda: loss.SpikeRate(0.5, 0, reduction="none"),
            "reduction is 'sum' or 'mean', got 'none'",
        ),
        (lambda: loss.SpikeMoid(alpha=0), "alpha is a number > 0, got 0"),
        (
            lambda: loss.SpikeMoid()(X, torch.zeros(2, 4)),
            r"targets have shape \(2, 4\); expected one a neuron, \(2, 3\)",
        ),
        (
            lambda: loss.SpikeMoid()(X, torch.full((2, 3), 2)),
            r"targets are in 0\.\.1, got 2.0\.\.2.0",
        ),
        (
            lambda: loss.SpikeMoid()(X, torch.full((2, 3), math.nan)),
            r"targets are in 0\.\.1, got nan",
        ),
        (
            lambda: loss.SpikeTime()(X, torch.zeros(2, 3, 5)),
            r"spikes \(2, 3, 4\) and desired spikes \(2, 3, 5\)",
        ),
        (lambda: loss.SpikeTime(0), "time_constant is a number > 0, got 0"),
        (lambda: loss.SparsityEnforcer().append(torch.zeros(0)), "empty"),
        (lambda: classifier.Rate()(torch.zeros(3)), r"classifier.Rate: spikes.*got \(3,\)"),
        (lambda: classifier.MovingWindow(2.5), "time_window is an integer >= 1, got 2.5"),
        (lambda: classifier.MovingWindow(2, "both"), "mode is"),
        (
            lambda: classifier.NLL(classifier.Rate),
            "classifier is a Rate or MovingWindow or None, got <class",
        ),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
