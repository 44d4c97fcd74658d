"""What slayer exports loads and computes the same, or is refused by name."""

from __future__ import annotations

import os
import stat

import h5py
import numpy as np
import pytest
import torch

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm
from tests.test_bad_files import unmarked

EXACT = lv.RunConfig(precision="fixed_pt")
CUBA = {"threshold": 0.5, "current_decay": 0.5, "voltage_decay": 0.1}
SDNN = {"threshold": 0.1}
cu, sd = slayer.block.cuba, slayer.block.sigma_delta


def both(blocks, x, tmp_path, **kwargs):
    """(trained, loaded) outputs, aligned."""
    net = torch.nn.Sequential(*blocks).eval()
    with torch.no_grad():
        want = net(x).numpy()
    loaded = netx.Network(slayer.export_hdf5(blocks, tmp_path / "n.net"), **kwargs)
    held = torch.cat([x, x[..., -1:].expand(*x.shape[:-1], loaded.lag)], -1)
    rec = lv.simulate(loaded, {"inp": loaded.encode(held)}, config=EXACT)
    return want, loaded.decode(rec["out"])[..., loaded.lag :]


def test_sigma_delta_delays_keep_each_neurons_own_bias_start(tmp_path):
    block = sd.Dense(SDNN, 4, 2, delay=True)
    with torch.no_grad():
        block.synapse.weight.fill_(0.5)
        block.delay.delay.copy_(torch.tensor([0.0, 4.0]))
    block.neuron.set_bias([1.0, 1.0])
    want, got = both([sd.Input(SDNN), block], torch.full((1, 4, 12), 0.5), tmp_path)
    np.testing.assert_array_equal(want, got)


def test_a_first_sigma_delta_layer_takes_values(tmp_path):
    torch.manual_seed(0)
    x = torch.round(torch.rand(2, 4, 10) * 64) / 64
    want, got = both([sd.Dense(SDNN, 4, 5, weight_scale=3)], x, tmp_path)
    assert want.any()
    np.testing.assert_array_equal(want, got)


def test_sums_of_many_large_values_stay_exact(tmp_path):
    torch.manual_seed(0)
    block = sd.Dense({"threshold": 0.02}, 64, 1)
    with torch.no_grad():
        block.synapse.weight[:, :32] = 3.96875
        block.synapse.weight[:, 32:] = -3.96875
    first = sd.Dense({"threshold": 0.02}, 8, 64)
    with torch.no_grad():
        first.synapse.weight.copy_(0.5 + 0.1 * (torch.rand(64, 8, 1, 1, 1) - 0.5))
    want, got = both(
        [sd.Input({"threshold": 0.02}), first, block], torch.rand(8, 8, 10) * 3, tmp_path
    )
    assert int(block.neuron.overflows) == 0
    np.testing.assert_array_equal(want, got)


def test_a_saturated_inhibitory_layer_loads(tmp_path):
    block = cu.Dense(CUBA, 3, 2)
    with torch.no_grad():
        block.synapse.weight.fill_(-4.0)
    loaded = netx.Network(slayer.export_hdf5([block], tmp_path / "n.net"))
    assert loaded.layers[0].synapse.weights.get().min() == -256
    lv.simulate(loaded, steps=2, config=EXACT)


def test_affine_without_dynamics_adds_up_its_current(tmp_path):
    torch.manual_seed(0)
    x = (torch.rand(2, 5, 12) < 0.4).float()
    block = cu.Affine(CUBA, 5, 3, dynamics=False, delay_shift=False, weight_scale=3)
    with torch.no_grad():
        want = block.eval()(x).cumsum(-1).numpy()
    loaded = netx.Network(slayer.export_hdf5([block], tmp_path / "n.net"))
    neuron = loaded.layers[0].neuron
    v = lv.simulate(loaded, {"inp": loaded.encode(x)}, config=EXACT, record=[neuron.v])[neuron.v]
    np.testing.assert_array_equal(v[..., 1:] / 4096, want[..., :-1])


def test_resets_begin_with_each_layer_in_files_of_ours(tmp_path):
    """Reset once, at its first step, a layer computes what it computes without: no bias is
    wiped."""
    torch.manual_seed(0)
    blocks = [
        cu.Input(CUBA),
        *(
            cu.Dense({**CUBA, "norm": MeanOnlyBatchNorm}, a, b, weight_scale=3)
            for a, b in ((4, 6), (6, 5), (5, 3))
        ),
    ]
    for block in blocks[1:]:
        block.neuron.norm.running_mean.fill_(-0.25)
    x = torch.rand(2, 4, 16)
    want, got = both(blocks, x, tmp_path, reset_interval=1000)
    np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (
            lambda: [cu.Input(CUBA), sd.Dense(SDNN, 4, 5)],
            r"layer 1: sigma_delta\.Dense after blocks of another family",
        ),
        (
            lambda: [cu.Input(None, weight=2.0), cu.Dense(CUBA, 4, 5)],
            r"cuba\.Input: weight and bias need a neuron",
        ),
        (lambda: [sd.Input({**SDNN, "scale": 32})], "scale is 32; files count in 1/64"),
        (list, "would not load: layer: a group"),
        (
            lambda: [cu.Dense(CUBA, 4, 3), cu.Dense(CUBA, 5, 2)],
            "would not load: layer/1/weight: shape",
        ),
        (lambda: [cu.Flatten()], "would not load: layer: no layer is left to run"),
        (lambda: torch.nn.Linear(2, 2), "Linear is no sequence of slayer blocks"),
    ],
)
def test_what_cannot_be_exported_faithfully_is_refused(blocks, message, tmp_path):
    with pytest.raises(lv.ExportError, match=message):
        slayer.export_hdf5(blocks(), tmp_path / "n.net", input_shape=(4,))
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_network_is_not_exported(tmp_path):
    block = cu.Dense({**CUBA, "norm": MeanOnlyBatchNorm}, 3, 2)
    block.neuron.norm.running_mean.fill_(float("nan"))
    with pytest.raises(lv.ExportError, match="NaN"):
        slayer.export_hdf5(block, tmp_path / "n.net")
    with pytest.raises(lv.ExportError, match="cannot be written"):
        slayer.export_hdf5(cu.Dense(CUBA, 3, 2), tmp_path / "nowhere" / "n.net")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_an_exported_file_has_the_mode_of_any_new_file(tmp_path):
    path = slayer.export_hdf5(cu.Dense(CUBA, 3, 2), tmp_path / "n.net")
    (tmp_path / "other").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_an_average_layer_sums_its_groups(tmp_path):
    """netx reads average layers: decode divides by the group."""
    block = cu.Dense(
        {"threshold": 0.3, "current_decay": 1.0, "voltage_decay": 0.5}, 4, 6, weight_scale=3
    )
    path = slayer.export_hdf5(block, tmp_path / "n.net")
    with h5py.File(unmarked(path), "r+") as f:
        f["layer/1/type"] = np.array([b"average"], "S10")
        f["layer/1/shape"] = np.array([2])
    net = netx.Network(path)
    x = (np.random.default_rng(0).random((4, 20)) < 0.6) * 1
    rec = lv.simulate(net, {"inp": x}, config=EXACT, record=[net.layers[0].out])
    spikes = rec[net.layers[0].out]
    assert spikes.any()
    np.testing.assert_allclose(
        net.decode(rec["out"])[:, 1:], spikes.reshape(2, 3, 20).mean(1)[:, :-1], rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["decay", "threshold"])
def test_a_parameter_out_of_its_range_finds_back(kind):
    """Brought back in place, not by a clamp that stops its gradient."""
    if kind == "decay":
        neuron = slayer.neuron.cuba.Neuron(100.0, 0.3, 0.1, requires_grad=True)
        parameter, call = neuron.current_decay, neuron.voltage
    else:
        neuron = slayer.neuron.sigma_delta.Neuron(0.1, requires_grad=True)
        parameter, call = neuron.delta.threshold, neuron
    with torch.no_grad():
        parameter.fill_(-1.0)
    torch.manual_seed(0)
    call(torch.rand(1, 2, 10)).sum().backward()
    assert parameter.grad.abs().sum() > 0
    assert parameter.item() >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cu.Dense(CUBA, 3, 2)(torch.full((1, 3, 4), float("nan"))), "NaN or infinite"),
        (lambda: cu.Dense(CUBA, 3, 2)(torch.zeros(1, 3, 0)), r"input has shape \(1, 3, 0\)"),
        (lambda: cu.Dense(CUBA, 3, 2)(torch.zeros(1, 3)), r"expected \(batch, N, time\)"),
        (lambda: cu.Dense(CUBA, 3, 2)(torch.zeros(1, 4, 5)), r"expected \(batch, 3, time\)"),
        (
            lambda: cu.Dense(CUBA, 3, 2)(torch.zeros(1, 3, 5, dtype=torch.float16)),
            "dtype torch.float16",
        ),
        (
            lambda: cu.Conv(CUBA, 3, 2, 3)(torch.zeros(1, 3, 5)),
            "expected .batch, 3, height, width, time.",
        ),
        (lambda: cu.Dense({**CUBA, "threshold": 0}, 3, 2), "threshold is a number > 0"),
        (lambda: cu.Dense({**CUBA, "threshold": float("inf")}, 3, 2), "threshold is a number > 0"),
        (lambda: cu.Dense({**CUBA, "threshold": 5000}, 3, 2), "threshold is at most 4095.96875"),
        (
            lambda: cu.Dense({**CUBA, "current_decay": 1.5}, 3, 2),
            r"current_decay is a number in 0\.\.1",
        ),
        (lambda: sd.Dense({**SDNN, "scale": 0}, 3, 2), "scale is an integer in 1..4096"),
        (
            lambda: slayer.loss.SpikeRate(0.5, 0.1)(
                torch.zeros(4, 3, 4), torch.zeros(4, 4, dtype=torch.long)
            ),
            "one a sample",
        ),
        (
            lambda: slayer.loss.SpikeRate(0.5, 0.1)(torch.zeros(2, 3, 4), torch.tensor([0, 5])),
            r"integers in 0\.\.2",
        ),
    ],
)
def test_bad_tensors_are_told(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()


def test_one_step_and_another_batch_size_are_fine():
    block = cu.Dense({**CUBA, "norm": MeanOnlyBatchNorm}, 3, 2)
    for batch, time in ((4, 1), (3, 7), (1, 1)):
        assert block(torch.ones(batch, 3, time)).shape == (batch, 2, time)
    params = {**CUBA, "dropout": slayer.neuron.Dropout(0.5, inplace=True)}
    cu.Dense(params, 3, 2)(torch.rand(2, 3, 6)).sum().backward()
    assert (
        slayer.loss.SpikeRate(0.5, 0.1)(
            torch.zeros(2, 3, 4), torch.tensor([0, 1], dtype=torch.uint8)
        )
        > 0
    )


def test_encode_refuses_what_no_message_holds(tmp_path):
    net = netx.Network(slayer.export_hdf5(cu.Dense(CUBA, 3, 2), tmp_path / "n.net"))
    for x, message in (
        (np.full((3, 2), 3.0), "takes spikes, 0 or 1"),
        (np.full((3, 2), 2.0**40), "beyond 32-bit"),
        (np.full((3, 2), 1j), "an array or a tensor of real numbers"),
    ):
        with pytest.raises(lv.InputError, match=message):
            net.encode(x)
