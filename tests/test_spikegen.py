"""Spike encoders: known values and properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lavalike.errors import InputError
from lavalike.snn import spikegen

T = torch.tensor
examples = settings(max_examples=50, deadline=None)
unit = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8).map(T)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- rate ------------------------------------------------------------------------------------------


def test_rate_fires_with_the_given_probability():
    """Always at 1, never at 0, and 20,000 draws at 0.3 within 5 standard deviations."""
    spikes = spikegen.rate(T([[0.0, 0.3, 1.0], [-2.0, 0.3, 7.0]]), 20_000, generator=generator())
    assert spikes.shape == (20_000, 2, 3)
    mean = spikes.mean(0)
    assert mean[:, 0].tolist() == [0, 0]
    assert mean[:, 2].tolist() == [1, 1]
    assert ((mean[:, 1] - 0.3).abs() < 5 * (0.21 / 20_000) ** 0.5).all()
    assert set(spikes.unique().tolist()) == {0, 1}


def test_rate_is_reproducible_and_keeps_the_dtype():
    x = torch.rand(3, 4, generator=generator())
    a, b, c = (spikegen.rate(x, 10, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert spikegen.rate(x.to(dtype), 2).dtype == dtype
    assert spikegen.rate(T([0, 1]), 2).tolist() == [[0, 1], [0, 1]]


def test_rate_gain_offset_and_first_spike_time():
    x = T([0.0, 1.0])
    assert spikegen.rate(x, 3, gain=-1, offset=1).tolist() == [[1, 0]] * 3
    assert spikegen.rate(x, 5, first_spike_time=3).tolist() == [[0, 0]] * 3 + [[0, 1]] * 2
    moving = T([[0.0, 1.0], [1.0, 0.0]])
    assert spikegen.rate(moving, time_var_input=True).tolist() == moving.tolist()
    assert spikegen.rate(
        moving, gain=0, offset=1, first_spike_time=1, time_var_input=True
    ).tolist() == [[0, 0], [1, 1], [1, 1]]


def test_rate_refuses_what_it_cannot_encode():
    x = torch.rand(2, 3)
    for kwargs, match in [
        ({}, "num_steps is a whole number >= 1, got False"),
        ({"num_steps": 0}, "num_steps is a whole number >= 1, got 0"),
        (
            {"num_steps": 4, "first_spike_time": 4},
            r"first_spike_time is in 0\.\.num_steps - 1 = 3, got 4",
        ),
        ({"num_steps": 4, "time_var_input": True}, "num_steps is left out"),
    ]:
        with pytest.raises(InputError, match=match):
            spikegen.rate(x, **kwargs)
    with pytest.raises(InputError, match="1 values of data are NaN or infinite"):
        spikegen.rate(T([0.5, float("nan")]), 3)
    with pytest.raises(InputError, match=r"rate: data is a torch tensor, got \[0.5\] \(list\)"):
        spikegen.rate([0.5], 3)


# -- latency ---------------------------------------------------------------------------------------


def test_latency_known_values():
    """snnTorch's documented examples."""
    a = T([0.02, 0.5, 1.0])
    assert spikegen.latency(a, 5, normalize=True, linear=True).tolist() == [
        [0, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]
    times, below = spikegen.latency_code(a, 5, normalize=True, linear=True)
    torch.testing.assert_close(times, T([3.92, 2.0, 0.0]))
    assert below.tolist() == [False] * 3
    torch.testing.assert_close(
        spikegen.latency_code(a, 5, normalize=True)[0], T([4.0, 0.1166, 0.0580]), atol=5e-5, rtol=0
    )
    torch.testing.assert_close(
        spikegen.latency_code_linear(T([0.0, 1.0]), 5, first_spike_time=2), T([2.99, 2.0])
    )
    assert spikegen.latency_code_log(T([0.0, 1.0]), 5, first_spike_time=2).round().tolist() == [
        14,
        2,
    ]
    assert spikegen.latency_code(T([0.0, 1.0]), 10, first_spike_time=5)[1].tolist() == [True, False]


def test_latency_is_the_time_at_which_a_leaky_neuron_reaches_threshold():
    """U(t) = x (1 - exp(-t / tau)) is the threshold at t, in float64."""
    x = torch.linspace(0.3, 1, 50, dtype=torch.float64)
    t = spikegen.latency_code_log(x, threshold=0.25, tau=3)
    torch.testing.assert_close(
        x * (1 - torch.exp(-t / 3)), torch.full_like(x, 0.25), rtol=1e-12, atol=0
    )


@given(x=unit, linear=st.booleans(), steps=st.integers(2, 30), data=st.data())
@examples
def test_every_value_spikes_once_and_greater_ones_no_later(x, linear, steps, data):
    first = data.draw(st.integers(0, steps - 2))
    spikes = spikegen.latency(x, steps, first_spike_time=first, normalize=True, linear=linear)
    assert spikes.shape == (steps, len(x))
    assert spikes.sum(0).tolist() == [1] * len(x)
    times = spikes.argmax(0)
    assert times.min() >= first
    assert (times[x.argsort(descending=True)].diff() >= 0).all()
    if not linear:
        assert times.max() == steps - 1


def test_latency_targets_clip_and_bounds():
    x = T([0.001, 0.9])
    assert spikegen.latency(x, 4, normalize=True, linear=True, clip=True).sum(0).tolist() == [0, 1]
    # targets below 0 and in either order hold (snnTorch clamps)
    assert spikegen.latency(T([1.0]), 2, on_target=-2, off_target=-1)[:, 0].tolist() == [-2, -1]
    with pytest.raises(
        InputError, match=r"last spike falls on step 12 of num_steps=5; use normalize=True"
    ):
        spikegen.latency(x, 5)
    assert spikegen.latency(x, 5, bypass=True).sum(0).tolist() == [0, 1]
    assert spikegen.latency(x, bypass=True).shape == (13, 2)
    assert spikegen.latency(x.half(), 3, normalize=True).dtype == torch.float16
    assert torch.isfinite(spikegen.latency_code_log(T([0.0, 0.5]).half(), threshold=0.5)).all()


def test_latency_interpolates():
    assert spikegen.latency_interpolate(T([0.0, 4.0]), 5).T.tolist() == [
        [1, 0, 0, 0, 0],
        [0, 0.25, 0.5, 0.75, 1],
    ]
    high = spikegen.latency_interpolate(T([0.0, 4.0]), 5, 1.25, 0.25)
    assert high.T.tolist() == [[1.25, 0.25, 0.25, 0.25, 0.25], [0.25, 0.5, 0.75, 1, 1.25]]
    assert spikegen.latency_interpolate(T([2.0, 9.0, -1.0]), 4).T.tolist() == [
        [0, 0.5, 1, 0],
        [0] * 4,
        [0] * 4,
    ]
    clipped = spikegen.latency(
        T([0.001, 0.9]), 4, normalize=True, linear=True, clip=True, interpolate=True
    )
    assert clipped[:, 0].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({}, "num_steps is needed; with bypass=True"),
        ({"num_steps": 5, "threshold": 0}, "threshold is in 0..1, both excluded, got 0"),
        ({"num_steps": 5, "tau": 0}, "tau is > 0"),
        ({"num_steps": 5, "epsilon": 0}, "epsilon is a number > 0"),
        ({"num_steps": 5, "first_spike_time": 5}, r"first_spike_time is in 0\.\."),
        ({"bypass": True, "first_spike_time": -1}, "first_spike_time is >= 0"),
        ({"bypass": True, "normalize": True}, "normalize=True needs num_steps"),
    ],
)
def test_latency_refuses_bad_arguments(kwargs, match):
    with pytest.raises(InputError, match=match):
        spikegen.latency(T([0.5]), **kwargs)


def test_latency_refuses_data_outside_its_range():
    with pytest.raises(InputError, match=r"data is in 0\.\.1, got -0\.5\.\.2\.0"):
        spikegen.latency(T([-0.5, 2.0]), 5)
    with pytest.raises(InputError, match=r"data is in 0\.\.1, got no values"):
        spikegen.latency(torch.zeros(0), 5)
    with pytest.raises(InputError, match=r"data is at most 1, got 2\.0"):
        spikegen.latency_code_linear(T([2.0]), 5)


# -- delta -----------------------------------------------------------------------------------------


def test_delta_known_values():
    a = T([1, 2, 2.5, 3, 1, 1])
    assert spikegen.delta(a, 1).tolist() == [1, 1, 0, 0, 0, 0]
    assert spikegen.delta(a, 1, padding=True).tolist() == [0, 1, 0, 0, 0, 0]
    assert spikegen.delta(a, 1, off_spike=True).tolist() == [1, 1, 0, 0, -1, 0]
    # differences of unsigned integers do not wrap
    assert spikegen.delta(T([3, 2, 5], dtype=torch.uint8), 1, True, True).tolist() == [0, -1, 1]


@given(
    x=st.lists(st.integers(-8, 8), min_size=1, max_size=12).map(
        lambda v: T(v, dtype=torch.float64)
    ),
    threshold=st.integers(1, 4),
)
@examples
def test_delta_is_odd(x, threshold):
    """With padding, falls are rises of the negative; a sample alone is the same as in a batch."""
    both = spikegen.delta(x, threshold, True, True)
    assert torch.equal(
        both, spikegen.delta(x, threshold, True) - spikegen.delta(-x, threshold, True)
    )
    assert torch.equal(spikegen.delta(torch.stack([x, -x], 1), threshold, True, True)[:, 0], both)


def test_delta_refuses():
    for data, threshold in [(T(1.0), 0.1), (torch.zeros(0, 2), 0.1), (torch.zeros(3), 0)]:
        with pytest.raises(InputError, match=r"data \[T, \.\.\.\] with T >= 1 and threshold > 0"):
            spikegen.delta(data, threshold)


# -- targets ---------------------------------------------------------------------------------------


def test_one_hot_and_back():
    labels = T([2, 0, 1, 2])
    hot = spikegen.to_one_hot(labels, 3)
    assert hot.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert hot.dtype == torch.float32
    # not the rows' numbers: snnTorch gives 0, 1, 2, 3
    assert torch.equal(spikegen.from_one_hot(hot), labels)
    assert torch.equal(spikegen.from_one_hot(hot[1]), T(0))
    assert torch.equal(spikegen.to_one_hot_inverse(hot), 1 - hot)
    assert torch.equal(spikegen.to_one_hot(labels.float(), 3), hot)


@pytest.mark.parametrize("labels", [T([0, 3]), T([-1])])
def test_labels_out_of_range_are_refused(labels):
    with pytest.raises(InputError, match=r"to_one_hot: targets are labels, integers in 0\.\.2: "):
        spikegen.to_one_hot(labels, 3)


def test_what_is_no_label_is_refused():
    for labels in (T([[0], [1]]), T([0.5]), T([float("nan")])):
        with pytest.raises(InputError, match=r"targets \[B\] of whole numbers"):
            spikegen.to_one_hot(labels, 3)
    for rows in (T([[1.0, 1.0]]), T([[0.0, 0.0]]), T([[0.4, 1.0]])):
        with pytest.raises(InputError, match="rows with a single 1"):
            spikegen.from_one_hot(rows)


@pytest.mark.parametrize(("on", "off"), [(1, 0), (0, -1), (-2, -1), (0.5, -0.5), (1.2, 0.5)])
@pytest.mark.parametrize("first", [0, 2])
def test_targets_hold_the_values_asked_for(on, off, first):
    """Also those below 0 or with off above on."""
    labels = T([2, 1, 0, 2])
    made = spikegen.targets_convert(
        labels, 3, num_steps=5, first_spike_time=first, on_target=on, off_target=off
    )
    expected = torch.full((4, 3), float(off))
    expected[torch.arange(4), labels] = on
    if first:
        expected = expected.repeat(5, 1, 1)
        expected[:first] = off
    torch.testing.assert_close(made, expected)


def test_targets_rate_known_values():
    made = spikegen.targets_rate(T([0, 2]), 3, 6, correct_rate=0.5, incorrect_rate=0.25)
    yes, no = [1, 0, 1, 0, 1, 0], [1, 0, 0, 0, 1, 0]
    assert made.permute(1, 2, 0).tolist() == [[yes, no, no], [no, no, yes]]
    ramp = spikegen.targets_rate(
        T([4]), 5, 5, correct_rate=0.25, on_target=1.2, off_target=0.5, interpolate=True
    )
    torch.testing.assert_close(ramp[:, 0, 4], T([1.2, 0.5, 0.5 + 0.7 / 3, 0.5 + 1.4 / 3, 1.2]))
    assert ramp[:, 0, 0].tolist() == [0.5] * 5
    assert spikegen.targets_rate(T([0]), 2, 4, 2, interpolate=True)[:, 0, 0].tolist() == [
        0,
        0.5,
        1,
        1,
    ]


def test_rate_interpolate_known_values():
    torch.testing.assert_close(spikegen.rate_interpolate(T([0, 4]), 5), T([1, 0, 1 / 3, 2 / 3, 1]))
    torch.testing.assert_close(
        spikegen.rate_interpolate(T([0, 4]), 6, 1.25, 0.25),
        T([1.25, 0.25, 0.25 + 1 / 3, 0.25 + 2 / 3, 1.25, 0.25]),
    )
    assert spikegen.rate_interpolate(T([4]), 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert spikegen.rate_interpolate(T([]), 3, 1, 0.5).tolist() == [0.5] * 3
    with pytest.raises(InputError, match=r"one axis of steps in 0\.\.2, got \[3\]"):
        spikegen.rate_interpolate(T([3]), 3)


def test_target_rate_code_known_values():
    for kwargs, expected in [
        ({}, [1, 1, 1, 1, 1]),
        ({"first_spike_time": 3}, [0, 0, 0, 1, 1]),
        ({"rate": 0.3}, [1, 0, 0, 1, 0]),
        ({"rate": 0.5}, [1, 0, 1, 0, 1]),
        ({"rate": 0}, [0] * 5),
    ]:
        spikes, times = spikegen.target_rate_code(5, **kwargs)
        assert spikes.tolist() == expected
        assert times.tolist() == [t for t, s in enumerate(expected) if s]


@given(
    steps=st.integers(1, 40),
    rate=st.floats(0, 1),
    pattern=st.sampled_from(["regular", "uniform", "poisson"]),
    data=st.data(),
)
@examples
def test_target_rate_code_keeps_to_its_rate(steps, rate, pattern, data):
    """No spikes before the first; regular ones within one of their number; draws reproducible."""
    first = data.draw(st.integers(0, steps - 1))
    spikes, times = spikegen.target_rate_code(steps, first, rate, pattern, generator=generator(3))
    again, _ = spikegen.target_rate_code(steps, first, rate, pattern, generator=generator(3))
    assert torch.equal(spikes, again)
    assert torch.equal(spikes.nonzero()[:, 0], times)
    assert not spikes[:first].any()
    if pattern == "regular":
        assert abs(len(times) - rate * (steps - first)) < 1 + 1e-9


def test_targets_latency_passes_all_its_arguments_on():
    """Also by way of targets_convert (snnTorch drops the values and the interpolation there)."""
    labels = T([0, 3])
    made = spikegen.targets_latency(labels, 4, 5, normalize=True)
    assert made.shape == (5, 2, 4)
    assert made[:, 0, 0].tolist() == [1, 0, 0, 0, 0]
    assert made[:, 0, 1].tolist() == [0, 0, 0, 0, 1]
    kwargs = {
        "num_steps": 5,
        "normalize": True,
        "on_target": 2,
        "off_target": 1,
        "interpolate": True,
        "first_spike_time": 1,
    }
    ramp = spikegen.targets_convert(labels, 4, "latency", **kwargs)
    assert ramp[:, 0, 1].tolist() == [1, 1.25, 1.5, 1.75, 2]
    assert torch.equal(ramp, spikegen.targets_latency(labels, 4, **kwargs))


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"code": "phase"}, "code is 'rate' or 'latency', got 'phase'"),
        ({"correct_rate": 0.2, "incorrect_rate": 0.3}, "0 <= incorrect_rate <= correct_rate <= 1"),
        ({"correct_rate": 0.2}, "num_steps is a whole number >= 1, got False"),
        (
            {"correct_rate": 0.2, "num_steps": 4, "firing_pattern": "bursts"},
            "firing_pattern is 'regular', 'uniform' or 'poisson', got",
        ),
        ({"first_spike_time": 1}, "num_steps is a whole number >= 1, got False"),
        ({"normalize": True}, "code='rate' does not take normalize"),
        (
            {"code": "latency", "num_steps": 5, "correct_rate": 0.5},
            "code='latency' does not take correct_rate",
        ),
    ],
)
def test_targets_refuse_bad_arguments(kwargs, match):
    with pytest.raises(InputError, match=match):
        spikegen.targets_convert(T([0, 1]), 2, **kwargs)
