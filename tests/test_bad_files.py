"""Damaged, foreign and hostile .net files: one typed error that names file and key, never a crash
or other contents."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import lavalike as lv
import netx
from lavalike import slayer
from netx.reader import read


@pytest.fixture
def ours(tmp_path):
    """A file of lavalike."""
    family = slayer.block.cuba
    params = {
        "threshold": 0.5,
        "current_decay": 0.3,
        "voltage_decay": 0.1,
        "norm": slayer.neuron.norm.MeanOnlyBatchNorm,
    }
    return slayer.export_hdf5(
        [family.Dense(params, 6, 5), family.Dense(params, 5, 3)], tmp_path / "ours.net"
    )


@pytest.fixture
def foreign(ours, tmp_path):
    """The same as lava-dl would have written it: no attributes."""
    path = tmp_path / "foreign.net"
    shutil.copy(ours, path)
    return unmarked(path)


def unmarked(path):
    """A file of ours without the marks of one."""
    with h5py.File(path, "r+") as f:
        for node in (f, *f["layer"].values()):
            for key in list(node.attrs):
                del node.attrs[key]
    return path


def replace(path, key, value=None, **kwargs):
    with h5py.File(path, "r+") as f:
        if key in f:
            del f[key]
        if value is not None or kwargs:
            f.create_dataset(key, data=value, **kwargs)


def test_both_kinds_load(ours, foreign):
    assert netx.Network(ours).ours
    assert not netx.Network(foreign).ours


def test_an_input_shape_that_the_first_weights_do_not_have_is_told(foreign):
    with pytest.raises(
        lv.NetFileError,
        match=r"layer/0/weight: shape \(5, 6\) does not fit 5 neurons with 7 inputs",
    ):
        netx.Network(foreign, input_shape=(7,))


def test_missing_file(tmp_path):
    with pytest.raises(lv.NetFileError, match=r"nothing\.net: there is no such file"):
        netx.Network(tmp_path / "nothing.net")


def test_not_hdf5(tmp_path):
    path = tmp_path / "text.net"
    path.write_text("hello")
    with pytest.raises(lv.NetFileError, match=r"text\.net: not a readable HDF5 file"):
        netx.Network(path)


def test_truncated(ours):
    data = ours.read_bytes()
    ours.write_bytes(data[: len(data) // 2])
    with pytest.raises(lv.NetFileError):
        netx.Network(ours)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer/0/weight", None, r"layer/0/weight: is missing in a dense layer"),
        ("layer/1/shape", None, r"layer/1/shape: is missing"),
        ("layer/0/type", None, r"layer/0/type: is missing"),
        (
            "layer/0/type",
            np.array([b"foo"], "S10"),
            r"layer/0/type: unknown layer type 'foo'; known are",
        ),
        (
            "layer/0/type",
            np.array([b"concat"], "S10"),
            r"'concat' is known to lava-dl, but no process here computes it",
        ),
        ("layer/0/neuron/type", "HH", r"layer/0/neuron/type: no process computes neuron type 'HH'"),
        (
            "layer/0/neuron/type",
            "ALIF",
            r"layer/0/neuron/refDecay: is missing in a neuron of type ALIF",
        ),
        ("layer/0/neuron/iDecay", 5000, r"layer/0/neuron/iDecay: 5000 is outside 0\.\.4096"),
        (
            "layer/0/neuron/vThMant",
            None,
            r"layer/0/neuron/vThMant: is missing in a neuron of type CUBA",
        ),
        (
            "layer/1/weight",
            np.zeros((3, 4), np.float32),
            r"layer/1/weight: shape \(3, 4\) does not fit 3 neurons with 5 inputs",
        ),
        ("layer/1/weight", np.full((3, 5), np.nan, np.float32), r"layer/1/weight: holds NaN"),
        ("layer/1/weight", np.array(["a"], "S3"), r"layer/1/weight: numbers are expected"),
        ("layer/1/bias", np.zeros(2, np.float32), r"layer/1/bias: 2 values for 3 channels"),
        ("layer/1/delay", np.array([-1, 0, 0], np.float32), r"layer/1/delay: -1 is negative"),
        ("layer/1/weight", np.full((3, 5), 300, np.float32), r"layer/1/weight: weights reach 300"),
        (
            "layer/1/weight",
            np.zeros((3, 5), np.complex64),
            r"layer/1/weight: dtype complex64 is not allowed",
        ),
        ("layer", None, r"layer: a group with one group a layer is expected"),
        ("layer/7", None, r"layer/7"),
    ],
)
def test_wrong_contents_are_named(foreign, key, value, message):
    if key == "layer/7":
        with h5py.File(foreign, "r+") as f:
            f.move("layer/1", "layer/7")
        message = r"layer: groups 0\.\.1 are expected"
    else:
        replace(foreign, key, value)
    with pytest.raises(lv.NetFileError, match=message) as info:
        netx.Network(foreign)
    assert info.value.path == str(foreign)


def test_unsupported_type_of_lava(conformance):
    with pytest.raises(lv.NetFileError, match=r"layer/0/type: unknown layer type 'foo'"):
        netx.Network(conformance("lava-dl/edge/unsupported_foo.net"))


def test_a_changed_file_of_ours_is_noticed(ours):
    replace(ours, "layer/0/neuron/vThMant", 33)
    with pytest.raises(lv.NetFileError, match=r"layer/0@sha256: does not fit the contents"):
        netx.Network(ours)


def test_links_and_foreign_storage_are_refused(foreign, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["w"] = np.zeros((3, 5))
    for make, message in [
        (
            lambda f: f.__setitem__(
                "layer/1/weight", h5py.ExternalLink(str(tmp_path / "other.h5"), "w")
            ),
            "is a ExternalLink",
        ),
        (
            lambda f: f.__setitem__("layer/1/weight", h5py.SoftLink("/layer/0/weight")),
            "is a SoftLink",
        ),
        (lambda f: f.__setitem__("layer/1/weight", f["layer/0/weight"]), "is linked twice"),
        (
            lambda f: f.create_dataset(
                "layer/1/weight", (3, 5), "f4", external=[(str(tmp_path / "raw"), 0, 60)]
            ),
            "outside the file",
        ),
        (
            lambda f: f.create_dataset("layer/1/weight", (1 << 17, 1 << 17), "f4", chunks=(64, 64)),
            "declares 68719476736 bytes and stores 0",
        ),
        (lambda f: f["layer/1"].__setitem__("loop", f["layer"]), "is linked twice"),
    ]:
        path = tmp_path / "hostile.net"
        shutil.copy(foreign, path)
        with h5py.File(path, "r+") as f:
            del f["layer/1/weight"]
            make(f)
        with pytest.raises(lv.NetFileError, match=message):
            netx.Network(path)


def test_legacy_warnings_become_errors_when_exact(foreign):
    replace(foreign, "layer/1/surprise", 1)
    with pytest.warns(netx.NetFileWarning, match="layer/1/surprise: unknown key, not used"):
        netx.Network(foreign)
    with pytest.raises(lv.NetFileError, match="refused by exact=True"):
        netx.Network(foreign, exact=True)
    replace(foreign, "layer/1/surprise")
    weight = np.array([[300, -1, 0, 0, 0]] * 3, np.float32)
    replace(foreign, "layer/1/weight", weight)
    with pytest.warns(netx.NetFileWarning, match=r"weights -1\.\.300 are clipped to -256\.\.254"):
        net = netx.Network(foreign)
    assert net.layers[1].synapse.weights.get().max() == 254
    with pytest.raises(lv.NetFileError, match="clipped"):
        netx.Network(foreign, exact=True)


@given(st.data())
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage_is_an_error_or_the_same_contents(ours, tmp_path, data):
    """Bytes flipped anywhere in a file of ours: NetFileError, or what was written."""
    original = ours.read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 20))):
        damaged[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.net"
    path.write_bytes(bytes(damaged))
    want = read(ours)
    try:
        got = read(path)
    except lv.NetFileError:
        return
    assert got.ours
    for a, b in zip(want.layers, got.layers, strict=True):
        assert (a.type, a.shape, a.neuron, a.delay_shift) == (
            b.type,
            b.shape,
            b.neuron,
            b.delay_shift,
        )
        for key in a.arrays:
            np.testing.assert_array_equal(a.arrays[key], b.arrays[key])


def test_export_is_all_or_nothing(tmp_path):
    """A refused export leaves no file, and an old one as it was; the error names the layer."""
    family = slayer.block.sigma_delta
    good = family.Dense({"threshold": 0.1}, 4, 3)
    bad = family.Dense({"threshold": 0.1, "activation": np.tanh}, 3, 2)
    path = tmp_path / "net.net"
    with pytest.raises(lv.ExportError, match=r"/layer/1: sigma_delta\.Dense: activation 'tanh'"):
        slayer.export_hdf5([good, bad], path)
    assert list(tmp_path.iterdir()) == []
    slayer.export_hdf5([good], path)
    before = path.read_bytes()
    with pytest.raises(lv.ExportError):
        slayer.export_hdf5([good, bad], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_export_refuses_what_it_cannot_say(tmp_path):
    family = slayer.block.cuba
    params = {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1}
    for blocks, message in [
        (
            [family.Conv(params, 1, 2, 3)],
            r"layer/0: cuba\.Conv does not know its shape: call the network once, or give input_shape",
        ),
        ([family.Dense(params, 3, 2, pre_hook_fx=lambda w: w)], "weights are not integers of 1/64"),
        ([slayer.synapse.Dense(3, 2)], "layer 0: Dense is no slayer block"),
    ]:
        with pytest.raises(lv.ExportError, match=message):
            slayer.export_hdf5(blocks, tmp_path / "x.net")


def test_options_are_checked(ours):
    with pytest.raises(lv.InputError, match="skip_layers=2 leaves none of 2 layers"):
        netx.Network(ours, skip_layers=2)
    with pytest.raises(lv.InputError, match="reset_interval is an integer in 1"):
        netx.Network(ours, reset_interval=0)
    net = netx.Network(ours)
    with pytest.raises(
        lv.InputError,
        match=r"encode: x, the input, has shape \(2, 5, 9\); expected \(\.\.\., 6, time\)",
    ):
        net.encode(np.zeros((2, 5, 9)))
    with pytest.raises(lv.InputError, match="no multiples"):
        net.encode(np.full((6, 9), 0.5))
    assert "dense" in str(net)
    assert len(net) == 2
