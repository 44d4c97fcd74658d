"""Networks of blocks from their files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

import netx
from lavalike import fused, slayer
from lavalike.errors import InputError, NetFileError
from tests.conftest import ROOT

CUBA = {"threshold": 0.6, "current_decay": 0.4, "voltage_decay": 0.1}
RF = {"threshold": 0.4, "period": 10.0, "decay": 0.1}
RISING = {"threshold_step": 0.25, "threshold_decay": 0.1, "refractory_decay": 0.2}
NORM = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}


@pytest.fixture(autouse=True)
def loops():
    with fused.plain_loops():
        yield


def spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def contents(path):
    found = {}
    with h5py.File(path) as f:
        f.visititems(
            lambda key, item: (
                found.update({key: np.array(item[()]).tolist()})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        for key in f["layer"]:
            found[key] = {
                n: np.array(v).tolist() for n, v in f["layer"][key].attrs.items() if n != "sha256"
            }
    return found


def networks():
    b = slayer.block
    yield (
        "dense",
        (6, 9),
        lambda: [
            b.cuba.Input(CUBA, weight=1.5, bias=0.25),
            b.cuba.Dense(CUBA | NORM, 6, 5, weight_scale=3, delay=True),
            b.cuba.Recurrent(CUBA, 5, 4, weight_scale=2),
            b.cuba.Affine(CUBA, 4, 3, weight_scale=2),
        ],
    )
    yield (
        "channels",
        (6, 9),
        lambda: [
            b.alif.Dense(CUBA | RISING | {"shared_param": False}, 6, 5, weight_scale=3),
            b.cuba.Affine(CUBA, 5, 3, dynamics=False, weight_scale=2),
        ],
    )
    yield (
        "spatial",
        (2, 9, 7, 8),
        lambda: [
            b.cuba.Conv(CUBA | NORM, 2, 4, (3, 2), stride=(2, 1), padding=1, weight_scale=3),
            b.cuba.Pool(CUBA, 2, weight_scale=1.5),
            b.cuba.Unpool(CUBA, 2),
            b.cuba.ConvT(CUBA, 4, 2, 3, groups=2, weight_scale=4),
            b.cuba.Flatten(),
            b.cuba.Dense(CUBA, 160, 3, weight_scale=5, delay_shift=False),
            b.cuba.Average(3),
        ],
    )
    yield (
        "turning",
        (6, 40),
        lambda: [
            b.rf.Dense(RF | NORM, 6, 5, weight_scale=8),
            b.rf_iz.Dense(RF, 5, 5, weight_scale=8),
            b.adrf.Dense(RF | RISING, 5, 4, weight_scale=8),
            b.adrf_iz.Dense(RF | RISING, 4, 3, weight_scale=8),
        ],
    )
    coded = {"threshold": 0.1}
    yield (
        "coded",
        (6, 9),
        lambda: [
            b.sigma_delta.Input(coded),
            b.sigma_delta.Dense(coded | NORM, 6, 5, weight_scale=2),
            b.sigma_delta.Output(coded, 5, 3, weight_scale=2),
        ],
    )


NETWORKS = {name: (shape, make) for name, shape, make in networks()}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_becomes_the_network_that_wrote_it(name, tmp_path):
    torch.manual_seed(1)
    shape, make = NETWORKS[name]
    blocks, x = torch.nn.Sequential(*make()), spikes(2, *shape)
    blocks(x)  # so that norms have a mean
    blocks.eval()
    path = slayer.export_hdf5(blocks, tmp_path / "a.net")
    net = slayer.auto.SequentialNetwork(path).eval()
    with torch.no_grad():
        found, due = net(x), blocks(x)
        assert torch.equal(found, due)
        assert due.any()
        assert [type(m) for m in net.blocks] == [type(m) for m in blocks]
        normed = slayer.auto.SequentialNetwork(path, weight_norm=True).eval()
        assert torch.equal(normed(x), due)
    # also without a call
    for k, again in enumerate((net, slayer.auto.SequentialNetwork(path))):
        written = contents(slayer.export_hdf5(again, tmp_path / f"{k}.net"))
        assert written == contents(path)


def test_it_trains_counts_reduces_and_goes_on(tmp_path):
    torch.manual_seed(1)
    blocks = [slayer.block.cuba.Dense(CUBA | NORM, 6, 5, weight_scale=3)]
    path = slayer.export_hdf5(blocks, tmp_path / "a.net")
    x = spikes(2, 6, 12)
    net = slayer.auto.SequentialNetwork(path, reduction="mean", count_log=True)
    y, rates = net(x)
    assert y.shape == (2, 5)
    assert rates.shape == (1,)
    y.sum().backward()
    assert net.blocks[0].synapse.grad_norm > 0
    kept = slayer.auto.SequentialNetwork(path, persistent_state=True).eval()
    with torch.no_grad():
        parts = torch.cat([kept(x[..., :5]), kept(x[..., 5:])], -1)
        assert torch.equal(parts, slayer.auto.SequentialNetwork(path).eval()(x))


@pytest.mark.filterwarnings("ignore::netx.reader.NetFileWarning")
@pytest.mark.parametrize(
    "name", ["cuba_reset5_off2", "dense_mixed_even", "dense_no_neuron", "dense_rec", "rf_exact"]
)
def test_files_of_lava_dl_become_blocks(name):
    """With their whole numbers."""
    file = ROOT / f"tests/data/lava-dl/edge/{name}.net"
    net = slayer.auto.SequentialNetwork(file)
    with h5py.File(file) as f:
        for k, block in enumerate(net.blocks):
            layer = f[f"layer/{k}"]
            assert block.kind == layer["type"][0].decode()
            if block.kind.startswith("dense"):
                synapse = getattr(block, "synapse", None) or block.input_synapse
                pair = (
                    [(synapse.real, "weight/real"), (synapse.imag, "weight/imag")]
                    if synapse.complex
                    else [(synapse, "weight")]
                )
                for part, key in pair:
                    weight = part.effective_weight().detach().numpy() * 64
                    assert np.array_equal(weight.reshape(-1), layer[key][()].reshape(-1))


def test_classes_and_parameters_of_a_neuron_type():
    assert slayer.auto.get_classes("LOIHI") == (slayer.neuron.cuba, slayer.block.cuba)
    assert slayer.auto.get_classes() == slayer.auto.get_classes("CUBA")
    stored = {"iDecay": np.array([1024]), "vDecay": 128, "vThMant": 80, "type": "CUBA"}
    params = slayer.auto.get_neuron_params(stored, slayer.neuron.cuba)
    assert params == {"current_decay": 0.25, "voltage_decay": 1 / 32, "threshold": 1.25}


@pytest.mark.filterwarnings("ignore::netx.reader.NetFileWarning")  # nothing vouches for its layers
def test_a_file_that_the_program_still_has_open_loads(tmp_path):
    with h5py.File(tmp_path / "a.net", "w") as f:
        slayer.block.cuba.Affine(CUBA, 6, 5, dynamics=False).export_hdf5(f.create_group("layer/0"))
        assert "neuron" not in netx.hdf5.Network(tmp_path / "a.net").net_config["layer"][0]
        assert slayer.auto.SequentialNetwork(tmp_path / "a.net").blocks[0].kind == "dense"


def test_what_no_block_is_names_file_and_layer(tmp_path):
    blocks = [slayer.block.cuba.Dense(CUBA, 6, 5)]
    path = slayer.export_hdf5(blocks, tmp_path / "a.net")
    with pytest.raises(NetFileError, match="no such file"):
        slayer.auto.SequentialNetwork(tmp_path / "none.net")
    with h5py.File(path, "r+") as f:
        f["layer/0/neuron/vThMant"][...] = (1 << 18) - 1
    with pytest.raises(NetFileError):  # changed since it was signed
        slayer.auto.SequentialNetwork(path)


def test_weights_beyond_the_grid_of_training_are_kept(tmp_path):
    hook = lambda w: slayer.utils.quantize(w, 1 / 64)  # noqa: E731
    block = slayer.block.cuba.Dense(CUBA, 3, 2, pre_hook_fx=hook)
    with torch.no_grad():
        block.synapse.weight.copy_(torch.arange(6.0).reshape(2, 3, 1, 1, 1) / 64)
    path = slayer.export_hdf5([block], tmp_path / "a.net")
    net = slayer.auto.SequentialNetwork(path)
    weight = net.blocks[0].synapse.effective_weight().flatten() * 64
    assert weight.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_bias_that_no_norm_has_is_refused(tmp_path):
    path = slayer.export_hdf5([slayer.block.cuba.Dense(CUBA, 3, 2)], tmp_path / "a.net")
    with h5py.File(path) as f, h5py.File(tmp_path / "b.net", "w") as g:
        f.copy("layer/0", g.create_group("layer"), "0")
        for name in list(g["layer/0"].attrs):
            del g["layer/0"].attrs[name]
        g["layer/0/bias"] = np.array([1.0, 2.0], np.float32)
    with pytest.raises(InputError, match=r"b.net: layer/0: bias: a block's are even"):
        slayer.auto.SequentialNetwork(tmp_path / "b.net")
