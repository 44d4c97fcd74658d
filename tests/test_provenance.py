"""Whose a .net file is, and that it is as it was written: marks verify or are refused, never
overlooked."""

from __future__ import annotations

import shutil
import warnings

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.cli import main
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm
from netx import provenance
from tests.test_bad_files import unmarked

EXACT = lv.RunConfig(precision="fixed_pt")
CUBA = {"threshold": 0.4, "current_decay": 0.3, "voltage_decay": 0.1, "norm": MeanOnlyBatchNorm}
SDNN = {"threshold": 0.1, "activation": functional.relu}
cu, sd = slayer.block.cuba, slayer.block.sigma_delta


def cuba_net():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        cu.Conv(CUBA, 1, 2, 3, weight_scale=3, delay=True),
        cu.Flatten(),
        cu.Dense(CUBA, 18, 4, weight_scale=3),
    )
    return trained(net, (torch.rand(4, 1, 5, 5, 20) < 0.4).float())


def sdnn_net():
    torch.manual_seed(0)
    norm = {**SDNN, "norm": MeanOnlyBatchNorm}
    net = torch.nn.Sequential(
        sd.Input(SDNN),
        sd.Dense(norm, 6, 5, weight_scale=2),
        sd.Dense(norm, 5, 5, weight_scale=2),
        sd.Output(SDNN, 5, 2, weight_scale=2),
    )
    return trained(net, (torch.rand(4, 6, 20) * 64).round() / 64)


def trained(net, x):
    """Norms that moved away from zero: their biases are what a foreign file would have act too
    early."""
    for _ in range(20):
        net.train()(x)
    return net.eval(), x


def by_hand(net, path):
    """lava-dl's way."""
    with h5py.File(path, "w") as file:
        file.create_group("simulation")["Ts"] = 1
        layer = file.create_group("layer")
        for k, block in enumerate(net):
            block.export_hdf5(layer.create_group(f"{k}"))
    return path


def loaded(path):
    with pytest.warns(netx.NetFileWarning) as caught:
        net = netx.Network(path)
    assert len(caught) == 1
    return net, str(caught[0].message)


@pytest.fixture(params=["whole", "by hand"])
def ours(request, tmp_path):
    path = tmp_path / "ours.net"
    net, _ = sdnn_net()
    return slayer.export_hdf5(net, path) if request.param == "whole" else by_hand(net, path)


# -- files written by hand -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [cuba_net, sdnn_net])
def test_a_hand_written_file_computes_what_was_trained(make, tmp_path):
    net, x = make()
    file, message = loaded(by_hand(net, tmp_path / "n.net"))
    assert "layer: its layers are signed one by one: nothing vouches for their number" in message
    assert (file.ours, file.signed) == (True, False)
    assert file.lag == netx.Network(slayer.export_hdf5(net, tmp_path / "whole.net")).lag
    report = netx.compare(net, file, x)
    assert report, str(report)
    with torch.no_grad():
        want = net(x).numpy()
    assert want.any()
    got = file.decode(lv.simulate(file, {"inp": file.encode(x.numpy())}, config=EXACT)["out"])[
        ..., file.lag :
    ]
    np.testing.assert_array_equal(got, want[..., : got.shape[-1]])
    with pytest.raises(lv.NetFileError, match="refused by exact=True"):
        netx.Network(file.path_of_file, exact=True)


def test_signed_as_a_whole_it_has_nothing_to_warn_of(tmp_path, capsys):
    net, x = cuba_net()
    path = by_hand(net, tmp_path / "n.net")
    with pytest.warns(netx.NetFileWarning, match="nothing vouches"):
        assert main(["sign", str(path), str(path)]) == 0
    assert "3 layers, signed; they mean what slayer trained" in capsys.readouterr().out
    file = netx.Network(path)
    assert (file.ours, file.signed) == (True, True)
    assert netx.compare(net, file, x)
    assert main(["sign", str(path), str(tmp_path / "again.net")]) == 2
    assert "has a digest already" in capsys.readouterr().err
    with h5py.File(path, "r+") as f:
        del f["layer/2"]
    with pytest.raises(lv.NetFileError, match="@sha256: does not fit"):
        netx.Network(path)


# -- every mark ------------------------------------------------------------------------------------


def change(value):
    """Another value of the same type."""
    value = np.asarray(value)
    return np.bytes_(b"m" + value.tobytes()[1:]) if value.dtype.kind == "S" else value + 1


def attributes(path):
    with h5py.File(path, "r") as f:
        return [(node.name, key) for node in (f, *f["layer"].values()) for key in node.attrs]


def test_no_mark_can_go_change_or_be_renamed(ours):
    """Nor can one come: an error each time, which names a place, and never a file of lava-dl's."""
    places = attributes(ours)
    assert {key for _, key in places} >= {"delay_shift", "input_shape", "format_version", "sha256"}
    original = ours.read_bytes()
    for node, key in places:
        for how in ("gone", "changed", "renamed", "of variable length", "more"):
            ours.write_bytes(original)
            with h5py.File(ours, "r+") as f:
                attrs = f[node].attrs
                value = attrs[key]
                if how == "more":
                    attrs["another"] = 1
                else:
                    del attrs[key]
                if how in ("changed", "renamed"):
                    attrs[key if how == "changed" else f"q{key[1:]}"] = (
                        change(value) if how == "changed" else value
                    )
                elif how == "of variable length":
                    attrs[key] = str(value)
            with pytest.raises(lv.NetFileError) as info:
                netx.Network(ours)
            assert info.value.key, (node, key, how, str(info.value))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: f.__delitem__("layer/2"),
        lambda f: f.copy("layer/2", f["layer"], "4"),
        lambda f: (
            f.move("layer/1", "layer/x"),
            f.move("layer/2", "layer/1"),
            f.move("layer/x", "layer/2"),
        ),
        lambda f: f["layer/1/weight"].__setitem__((0, 0), 2),
        lambda f: f["layer/1"].create_dataset("delay", data=np.ones(5, np.float32)),
        lambda f: f.__delitem__("layer/2/bias"),
        lambda f: (
            f.create_group("layer/4").create_dataset("type", data=np.array([b"flatten"], "S10")),
            f["layer/4"].create_dataset("shape", data=np.array([2])),
        ),
        lambda f: f["layer/2"].move("bias", "bas"),
        lambda f: f["layer/1/neuron"].attrs.__setitem__("note", 1),
    ],
    ids=[
        "a layer gone",
        "a layer twice",
        "layers exchanged",
        "a weight",
        "a delay",
        "no bias",
        "a layer more",
        "a key",
        "a note",
    ],
)
def test_no_layer_can_change(ours, damage):
    """But for the last one's end in a file written by hand, whose warning says so."""
    with h5py.File(ours, "r+") as f:
        damage(f)
    with pytest.raises(lv.NetFileError) as info:
        netx.Network(ours)
    assert info.value.key


def test_what_a_hand_written_file_cannot_tell_it_warns_of(tmp_path):
    path = by_hand(sdnn_net()[0], tmp_path / "n.net")
    with h5py.File(path, "r+") as f:
        del f["layer/3"]
    file, message = loaded(path)
    assert len(file) == 3
    assert "nothing vouches for their number" in message


def test_without_the_roots_marks_its_layers_still_tell_whose_it_is(tmp_path):
    net, x = cuba_net()
    path = slayer.export_hdf5(net, tmp_path / "n.net")
    with h5py.File(path, "r+") as f:
        for key in list(f.attrs):
            del f.attrs[key]
    file, message = loaded(path)
    assert "nothing vouches" in message
    assert netx.compare(net, file, x)


def test_only_a_file_without_any_mark_is_lava_dls(tmp_path):
    """What other programs write at the root is no mark."""
    path = unmarked(slayer.export_hdf5(sdnn_net()[0], tmp_path / "n.net"))
    assert not netx.Network(path).ours
    with h5py.File(path, "r+") as f:
        f.attrs["producer"], f.attrs["format_version"], f.attrs["title"] = (
            "acme 1.0",
            3,
            "a network",
        )
    assert not netx.Network(path).ours
    with h5py.File(path, "r+") as f:
        f.attrs["producer"] = "lavalike 0.9"
    with pytest.raises(lv.NetFileError, match="@format_version: is 3; this release reads 1 and 2"):
        netx.Network(path)


def test_our_files_hold_no_strings_of_variable_length(ours):
    """Damaged ones hang HDF5."""
    found = []
    with h5py.File(ours, "r") as f:
        f.visititems(lambda name, item: found.append((name, item)))
        for name, item in found:
            assert not isinstance(item, h5py.Dataset) or item.dtype.kind in "biufS", name
            assert all(
                h5py.h5a.open(item.id, key.encode()).dtype.kind in "iuS" for key in item.attrs
            ), name
        assert (
            f["layer/1/neuron/type"][()].decode("ascii") == "SDNN"
        )  # as lava-dl's loader reads it
        assert f["layer/1/type"][0].decode("ascii") == "dense"


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_are_told_or_change_nothing(ours, seed):
    """120 files with one byte changed each."""
    rng = np.random.default_rng(seed)
    original = ours.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", netx.NetFileWarning)
        want = netx.reader.read(ours)
        for at in rng.integers(0, len(original), 40):
            ours.write_bytes(
                original[:at]
                + bytes([original[at] ^ 1 << int(rng.integers(8))])
                + original[at + 1 :]
            )
            try:
                got = netx.reader.read(ours)
            except lv.NetFileError:
                continue
            assert got.ours
            for a, b in zip(want.layers, got.layers, strict=True):
                assert (a.type, a.shape, a.delay_shift, a.input_shape, str(a.neuron)) == (
                    b.type,
                    b.shape,
                    b.delay_shift,
                    b.input_shape,
                    str(b.neuron),
                )
                assert all(
                    np.array_equal(a.arrays[key], b.arrays[key]) for key in a.arrays | b.arrays
                )


# -- version 0.3 -----------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path, conformance):
    """A copy of a file that 0.3.0 wrote, and its network's input and output."""

    def copy(name, kind):
        arrays = np.load(conformance("lavalike-0.3/recorded.npz"))
        path = tmp_path / f"{kind}.net"
        shutil.copy(conformance(f"lavalike-0.3/{kind}.net"), path)
        return path, arrays[f"{name}_x"], arrays[f"{name}_y"]

    return copy


@pytest.mark.parametrize("name", ["cuba", "sdnn"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_files_of_0_3_load_as_they_were_trained(old, name, by_hand):
    path, x, want = old(name, f"{name}_by_hand" if by_hand else name)
    if by_hand:
        file, message = loaded(path)
        assert "written layer by layer by lavalike 0.3: it has no digest" in message
    else:
        file = netx.Network(path)
    assert (file.ours, file.signed) == (True, not by_hand)
    got = file.decode(lv.simulate(file, {"inp": file.encode(x)}, config=EXACT)["out"])[
        ..., file.lag :
    ]
    np.testing.assert_array_equal(got, want[..., : got.shape[-1]])


def test_a_pool_of_0_3_leaves_out_what_fills_no_window(conformance):
    """7 x 9 pooled by 2 was 3 x 4; now it is 4 x 5, and the file's shape says which."""
    file, arrays = (
        netx.Network(conformance("lavalike-0.3/odd_pool.net")),
        np.load(conformance("lavalike-0.3/odd_pool.npz")),
    )
    assert (file.ours, file.signed) == (True, True)
    assert [layer.shape[::-1] for layer in file.layers] == [(2, 3, 4), (3, 2, 3), (3, 1, 1), (4,)]
    got = file.decode(lv.simulate(file, {"inp": file.encode(arrays["x"])}, config=EXACT)["out"])[
        ..., file.lag :
    ]
    want = arrays["y"][..., : got.shape[-1]]
    assert want.any()
    np.testing.assert_array_equal(got, want)


def test_a_damaged_file_of_0_3_is_refused(old):
    for place, key in attributes(old("sdnn", "sdnn")[0]):
        path = old("sdnn", "sdnn")[0]
        with h5py.File(path, "r+") as f:
            del f[place].attrs[key]
        with pytest.raises(lv.NetFileError):
            netx.Network(path)
    path = old("sdnn", "sdnn")[0]
    with h5py.File(path, "r+") as f:
        f.attrs["producer"] = "mavalike 0.3.0"
    with pytest.raises(lv.NetFileError, match="@producer: is not what lavalike writes"):
        netx.Network(path)
    path = old("sdnn", "sdnn_by_hand")[0]
    with h5py.File(path, "r+") as f:
        del f["layer/1"].attrs["delay_shift"]
    with pytest.raises(lv.NetFileError, match="layer/1@delay_shift: is missing"):
        netx.Network(path)


@pytest.mark.parametrize("kind", ["cuba", "cuba_by_hand"])
def test_signing_makes_a_file_of_0_3_one_of_this_version(old, kind, tmp_path):
    path, x, want = old("cuba", kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", netx.NetFileWarning)
        netx.sign(path, tmp_path / "signed.net")
    file = netx.Network(tmp_path / "signed.net")
    assert (file.ours, file.signed) == (True, True)
    got = file.decode(lv.simulate(file, {"inp": file.encode(x)}, config=EXACT)["out"])[
        ..., file.lag :
    ]
    np.testing.assert_array_equal(got, want[..., : got.shape[-1]])
    with h5py.File(tmp_path / "signed.net") as f:
        assert f.attrs["format_version"] == provenance.FORMAT_VERSION
        assert f["layer/0/neuron/type"].dtype.kind == "S"


# -- lava-dl's files, signed -----------------------------------------------------------------------


def test_a_signed_file_of_lava_dl_means_what_it_meant(tmp_path, conformance, capsys):
    source, path = conformance("lava-dl/edge/dense_bias.net"), tmp_path / "signed.net"
    assert main(["sign", str(source), str(path)]) == 0
    assert "they mean what lava-dl read" in capsys.readouterr().out
    before, after = netx.Network(source), netx.Network(path)
    assert (before.ours, before.signed, after.ours, after.signed) == (False, False, False, True)
    x = (np.random.default_rng(0).random((*before.inp.shape, 20)) < 0.4) * 1
    got = [lv.simulate(net, {"inp": x}, config=EXACT)["out"] for net in (before, after)]
    assert got[0].any()
    np.testing.assert_array_equal(*got)
    original = path.read_bytes()
    for damage in (
        lambda f: f["layer/0/weight"].__setitem__((0, 0), 2),
        lambda f: f.attrs.__delitem__("sha256"),
        lambda f: f.attrs.__delitem__("signed_by"),
        lambda f: f.attrs.__setitem__("producer", np.bytes_(b"lavalike 0.4")),
        lambda f: f["layer/0"].attrs.__setitem__("delay_shift", 1),
        lambda f: f.attrs.__delitem__("format_version"),
    ):
        path.write_bytes(original)
        with h5py.File(path, "r+") as f:
            damage(f)
        with pytest.raises(lv.NetFileError):
            netx.Network(path)


def test_what_cannot_be_signed_is_told(tmp_path, conformance, capsys):
    bad = conformance("lava-dl/edge/unsupported_foo.net")
    assert main(["sign", str(bad), str(tmp_path / "s.net")]) == 2
    assert "layer/0/type: unknown layer type 'foo'" in capsys.readouterr().err
    assert (
        main(
            [
                "sign",
                str(conformance("lava-dl/edge/dense_bias.net")),
                str(tmp_path / "no" / "s.net"),
            ]
        )
        == 2
    )
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
