"""Bootstrap: the function that is fitted to a spiking block, when what is run, and a network
trained with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import netx
from benchmarks import bootstrap_mnist
from lavalike import bootstrap, fused, slayer
from lavalike.bootstrap import Mode
from lavalike.errors import InputError, RunError

NEURON = {"threshold": 1.25, "current_decay": 1, "voltage_decay": 0.03}


@pytest.fixture(autouse=True)
def loops():
    with fused.plain_loops():
        yield


def spread(rates, steps=16):
    """Spikes of these rates."""
    return (torch.arange(steps) < (torch.as_tensor(rates) * steps).round()[..., None]).float()


def test_the_function_goes_through_the_medians_and_levels_off():
    sampler = bootstrap.AnnSampler(num_centers=2, sample_range=(0.0, 1.0))
    a = torch.tensor([0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.0])
    z = torch.tensor([-3.0, 1.0, 9.0, 2.0, 3.0, 4.0, 4.0])
    sampler.append(spread(a), z[:, None].expand(-1, 16))
    with pytest.raises(RunError, match="no function was fitted yet"):
        sampler(z)
    sampler.fit()
    # bins (0, .5] and (.5, 1]: medians (2, .25) and (4, 1); the line goes on to 0 and to 1
    assert sampler.centers.tolist() == pytest.approx(
        np.array([[4 / 3, 0], [2, 0.25], [4, 1]]), abs=1e-6
    )
    assert sampler.slopes == pytest.approx([0.375, 0.375])
    assert sampler.max == 1
    x = torch.tensor([-1.0, 1.0, 2.0, 3.0, 4.0, 9.0], dtype=torch.float64, requires_grad=True)
    y = sampler(x)
    assert y.tolist() == pytest.approx([0, 0, 0.25, 0.625, 1, 1], abs=1e-6)
    y.sum().backward()
    slope = 0.375 * sampler.scale  # a unit of drive that saturates counts as one
    assert sampler.scale == pytest.approx(4)
    assert x.grad.tolist() == pytest.approx([1e-5, 1e-5, *[slope + 1e-5] * 3, 1e-5], rel=1e-5)


def test_centres_move_by_a_tenth_and_half_of_the_pairs_go():
    sampler = bootstrap.AnnSampler(num_centers=1)
    rate = torch.full((10,), 0.5)
    sampler.append(spread(rate), torch.full((10, 16), 1.0))
    sampler.append(spread(torch.ones(1)), torch.full((1, 16), 3.0))
    sampler.fit()
    assert [1.0, 0.5] in sampler.centers.tolist()
    sampler.clear()
    sampler.append(spread(rate), torch.full((10, 16), 2.0))
    sampler.append(spread(torch.ones(1)), torch.full((1, 16), 3.0))
    sampler.fit()
    assert np.isclose(sampler.centers, [1.1, 0.5]).all(1).any()
    sampler.soft_clear()
    assert len(sampler.a) == len(sampler.z) == 6


@pytest.mark.parametrize(
    ("a", "z"), [([0.0, 0.0], [1.0, 2.0]), ([0.5, 0.5], [1.0, 1.0]), ([0.25, 0.75], [2.0, 1.0])]
)
def test_few_or_falling_points_still_make_a_rising_function(a, z):
    sampler = bootstrap.AnnSampler()
    sampler.append(spread(torch.tensor(a)), torch.tensor(z)[:, None].expand(-1, 16))
    sampler.fit()
    centers = sampler.centers
    assert np.isfinite(centers).all()
    assert (np.diff(centers, axis=0) > 0).all()
    assert centers[0, 1] == 0


def test_a_block_samples_what_it_drives_and_answers_alike():
    torch.manual_seed(0)
    block = bootstrap.block.cuba.Dense(NEURON, 20, 30, weight_norm=True, weight_scale=2)
    plain = slayer.block.cuba.Dense(
        NEURON, 20, 30, weight_norm=True, weight_scale=2, delay_shift=False
    )
    plain.load_state_dict(block.state_dict(), strict=False)
    rates = torch.rand(64, 20, 1)
    x = rates.expand(-1, -1, 16)
    with torch.no_grad():
        assert torch.equal(block(x, mode=Mode.SNN), plain(x))
        assert not len(block.f.a)
        sampled = block(x, mode=Mode.SAMPLE)
        assert torch.equal(sampled, plain(x))
        assert len(block.f.a) == 64 * 30
        assert np.allclose(block.f.z, plain.synapse(x).mean(-1).flatten())
        fitted = block(rates, mode=Mode.FIT)
        assert fitted.shape == (64, 30, 1)
        assert len(block.f.a) == 32 * 30
        # within half a spike in 16 steps, on average
        assert (fitted[..., 0] - sampled.mean(-1)).abs().mean() < 1 / 32
        assert torch.allclose(block(x), fitted, atol=1e-6)  # what spikes before it becomes its mean
        again = bootstrap.block.cuba.Dense(NEURON, 20, 30, weight_norm=True, weight_scale=2)
        again.load_state_dict(block.state_dict())
        assert torch.equal(again(rates), fitted)
        again.load_state_dict(plain.state_dict())  # without a function: its own stays
        assert torch.equal(again(rates), fitted)


def test_what_is_normed_is_sampled_normed():
    torch.manual_seed(0)
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    block = bootstrap.block.cuba.Dense(NEURON | {"norm": norm}, 20, 30, weight_scale=2)
    x = torch.rand(16, 20, 1).expand(-1, -1, 16)
    block(x, mode=Mode.SAMPLE)
    drive = block.synapse(x)
    due = drive - block.neuron.quantize_8bit(drive.mean((0, 2)))[:, None]
    assert np.allclose(block.f.z, due.mean(-1).detach().flatten(), atol=1 / 4096)
    with pytest.raises(InputError, match="it needs current_decay=1"):
        bootstrap.block.cuba.Dense(NEURON | {"norm": norm, "current_decay": 0.5}, 4, 3)


def test_a_call_that_fails_leaves_the_norm_as_it_was():
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    block = bootstrap.block.cuba.Dense(NEURON | {"norm": norm}, 2, 3)
    with pytest.raises(InputError, match="NaN or infinite"):
        block(torch.full((1, 2, 4), torch.nan), mode=Mode.SAMPLE)
    assert not block.neuron.norm._forward_hooks


def test_what_a_block_cannot_be_is_refused():
    block = bootstrap.block.cuba
    with pytest.raises(InputError, match="rates have none"):
        block.Dense(NEURON, 4, 3, delay=True)
    with pytest.raises(InputError, match="mode"):
        block.Dense(NEURON, 4, 3)(torch.zeros(1, 4, 1), mode="ann")
    with pytest.raises(RunError, match="nothing was sampled"):
        block.Dense(NEURON, 4, 3)(torch.zeros(1, 4, 1), mode=Mode.FIT)
    count = block.Dense(NEURON, 4, 3, count_log=True)
    y, rate = count(torch.ones(2, 4, 16), mode=Mode.SAMPLE)
    assert rate == y.count_nonzero() / y.numel()
    conv = block.Conv(NEURON, 1, 2, 3, delay_shift=True)
    assert not conv(torch.ones(1, 1, 5, 5, 4), mode=Mode.SAMPLE)[..., 0].any()
    assert block.Flatten()(torch.ones(1, 2, 3, 4, 5)).shape == (1, 24, 5)


def test_modes_over_a_training():
    scheduler = bootstrap.Scheduler(2, 3, crossover_epochs=[1, 3])
    base = [[scheduler.mode(e, k).base_mode for k in range(4)] for e in range(2)]
    first = [Mode.SAMPLE, Mode.SAMPLE, Mode.FIT, Mode.ANN]
    assert base == [first, [Mode.ANN] * 4]
    assert scheduler.crossover == 1
    assert [scheduler.mode(e, 0, train=False).base_mode for e in (2, 3)] == [Mode.ANN, Mode.SNN]
    mode = scheduler.mode(3, 2)
    for _ in range(2):  # it may be gone through again
        assert [m for m, _ in zip(mode, range(3), strict=False)] == [Mode.SNN, Mode.FIT, Mode.FIT]
    assert str(mode) == "Mode: FIT, crossover at 1"
    assert not mode.rates
    sample = bootstrap.LayerMode(2, Mode.SAMPLE)
    assert [m for m, _ in zip(sample, range(3), strict=False)] == [Mode.SAMPLE] * 3
    assert bootstrap.LayerMode(0, Mode.ANN).rates
    stat = slayer.utils.LearningStat()
    stat.add(0.5, 4, 3)
    scheduler.sync_snn_stat(stat)
    assert scheduler.snn_stat.best_accuracy
    assert scheduler.snn_stat.accuracy == 0.75
    scheduler.update_snn_stat()
    assert scheduler.snn_stat.accuracy_log == [0.75]
    assert stat.num_samples == 4


def test_mnist_is_learnt_by_rates_and_known_by_spikes(capsys):
    """The program of the benchmark, small: 800 pictures, 200 to test."""
    options = {"epochs": 3, "period": 2, "samples": 2, "hidden": 32, "batch": 40, "lr": 0.006}
    assert bootstrap_mnist.main([f"--{k}={v}" for k, v in options.items()]) > 0.6
    assert [line.count("Mode: SNN") for line in capsys.readouterr().out.splitlines()] == [1, 0, 1]


def test_a_file_is_of_the_spiking_network(tmp_path):
    torch.manual_seed(0)
    net, x = bootstrap_mnist.Network(16), torch.rand(4, 784) * 2 - 1
    spiking = bootstrap.LayerMode(0, Mode.SNN)
    path = slayer.export_hdf5(list(net.blocks), tmp_path / "net.net", input_shape=784)
    loaded = slayer.auto.SequentialNetwork(path).eval()
    steps = slayer.utils.time.replicate(x, bootstrap_mnist.STEPS)
    with torch.no_grad():
        assert torch.equal(loaded(steps).mean(-1), net(x, spiking))
    assert len(netx.hdf5.Network(path).layers) == 4


def test_blocks_that_spike_come_first_in_a_hybrid():
    torch.manual_seed(0)
    net = bootstrap_mnist.Network(16)
    x = torch.rand(8, 784) * 2 - 1
    with torch.no_grad():
        net(x, bootstrap.LayerMode(0, Mode.SAMPLE))
        net(x, bootstrap.LayerMode(0, Mode.FIT))
        mixed = net(x, bootstrap.LayerMode(2, Mode.ANN))
        steps = slayer.utils.time.replicate(x, bootstrap_mnist.STEPS)
        for block, mode in zip(net.blocks, (Mode.SNN, Mode.SNN, Mode.ANN, Mode.ANN), strict=True):
            steps = block(steps, mode=mode)
    assert torch.equal(mixed, steps.mean(-1))
    assert steps.shape[-1] == 1
