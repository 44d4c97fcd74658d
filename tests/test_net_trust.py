"""Files that cannot be trusted: refused with the key, before HDF5 or a weight is touched; and
nonsense options of netx.Network."""

from __future__ import annotations

import struct
import subprocess
import types
import zlib

import h5py
import numpy as np
import pytest

import lavalike as lv
import netx
from benchmarks import fuzz_files
from lavalike import slayer
from netx import hdf5, reader, sizes, trust

UNVOUCHED = pytest.mark.filterwarnings("ignore::netx.NetFileWarning")
LIF = {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1}


def write(path, edit=None, chain=((6, 6), (6, 3)), **kwargs):
    """Two dense layers as lava-dl writes them."""
    with h5py.File(path, "w", **kwargs) as f:
        for k, (i, o) in enumerate(chain):
            g = f.create_group(f"layer/{k}")
            g["type"], g["shape"], g["inFeatures"], g["outFeatures"] = (
                np.array([b"dense"], "S10"),
                np.array([o]),
                i,
                o,
            )
            g["weight"] = (np.arange(i * o).reshape(o, i) % 7 * 2 - 6).astype("f4")
            n = g.create_group("neuron")
            n["type"], n["iDecay"], n["vDecay"], n["vThMant"], n["refDelay"], n["gradedSpike"] = (
                "CUBA",
                1024,
                128,
                64,
                1,
                False,
            )
        if edit:
            edit(f)
    return path


def put(key, value, **kwargs):
    def edit(f):
        if key in f:
            del f[key]
        if value is not None:
            f.create_dataset(key, data=value, **kwargs)

    return edit


def marked(f):
    """The attributes of lavalike's layers; nothing vouches for them, so a warning may say so."""
    for group in f["layer"].values():
        group.attrs["delay_shift"], group.attrs["input_shape"] = 1, np.array([6])


def attribute(key, name, value):
    def edit(f):
        marked(f)
        f[key].attrs[name] = value

    return edit


def refused(path, key, match=None, **kwargs):
    with pytest.raises(lv.NetFileError, match=match) as info:
        netx.Network(path, **kwargs)
    assert info.value.key == key
    assert info.value.path == str(path)
    return info.value


# -- bytes -----------------------------------------------------------------------------------------


def positions(data, sign):
    return [k for k in range(len(data)) if data.startswith(sign, k)]


def empty_object(data):
    at = data.index(b"GCOL") + 16
    data[at : at + 16] = bytes(16)


def heap_of_texts_ends_early(data):
    at = data.index(b"GCOL") + 8
    data[at : at + 8] = struct.pack("<Q", 32)


def tree_in_itself(data):
    at = data.index(b"TREE")
    data[at + 5] = 1
    data[at + 32 : at + 40] = struct.pack("<Q", at)


def free_list_in_a_circle(data):
    at = data.index(b"HEAP")
    free, segment = struct.unpack_from("<QQ", data, at + 16)
    assert free != 1
    data[segment + free : segment + free + 8] = struct.pack("<Q", free)


def group_in_itself(data):
    root = struct.unpack_from("<Q", data, 64)[0]
    at = data.index(b"SNOD") + 16
    data[at : at + 24] = struct.pack("<QII", root, 0, 0) + bytes(8)


def header_continues_in_itself(data):
    root = struct.unpack_from("<Q", data, 64)[0]
    data[root : root + 40] = struct.pack(
        "<BBHII4xHHB3xQQ", 1, 0, 1, 1, 24, 16, 16, 0, root + 16, 24
    )


def long_name(data):
    at = data.index(b"HEAP")
    size, _, segment = struct.unpack_from("<QQQ", data, at + 8)
    data[at + 16 : at + 24] = struct.pack("<Q", 1)  # no free block
    data[segment : segment + size] = b"x" * size


def data_elsewhere(data):
    at = next(
        k
        for k in range(0, len(data), 8)
        if data[k : k + 6] == b"\x08\0\x18\0\0\0" and data[k + 8 : k + 10] == b"\x03\x01"
    )
    data[at + 10 : at + 18] = struct.pack("<Q", len(data) - 2)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (empty_object, "heap of its text is damaged"),
        (heap_of_texts_ends_early, "heap of its text is damaged|not where it should be"),
        (tree_in_itself, "tree"),
        (free_list_in_a_circle, "heap of names"),
        (group_in_itself, "is linked twice"),
        (header_continues_in_itself, "block is met twice"),
        (long_name, "a name has no end"),
        (data_elsewhere, "declares .* bytes and stores 2$"),
    ],
)
def test_structures_are_checked_before_hdf5_is_asked(tmp_path, monkeypatch, damage, match):
    """HDF5's library loops, or worse, on some of these: it never sees them."""
    path = write(tmp_path / "x.net")
    assert not netx.Network(path).ours
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    monkeypatch.setattr(reader.h5py, "File", lambda *args: pytest.fail("HDF5 was asked"))
    with pytest.raises(lv.NetFileError, match=match):
        netx.Network(path)


def test_the_heap_s_damage_is_named(tmp_path):
    path = write(tmp_path / "x.net")
    data = bytearray(path.read_bytes())
    empty_object(data)
    path.write_bytes(data)
    with pytest.raises(lv.NetFileError) as info:
        trust.check(path, lambda key, problem: lv.NetFileError(path, key, problem))
    assert info.value.key == "layer/0/neuron/type"


def test_everything_that_h5py_writes_by_default_is_plain(tmp_path):
    """No process is started for it: numbers of all kinds, texts, compression, attributes, many
    members, compact data."""

    def edit(f):
        for k, dtype in enumerate(["i1", "u2", ">i4", "u8", "f2", ">f4", "f8", "?", "S7"]):
            f[f"simulation/{k}"] = (
                np.ones((2, 3), dtype) if dtype != "S7" else np.array([b"abc"], dtype)
            )
        data = np.arange(60).reshape(6, 10)
        f.create_dataset(
            "simulation/gzip",
            data=data,
            chunks=(4, 4),
            compression="gzip",
            shuffle=True,
            fletcher32=True,
        )
        f.create_dataset("simulation/chunks", data=data, chunks=(4, 4), maxshape=(None, 10))
        f.create_dataset("simulation/nothing", (3, 3), "f4")
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(
            f["simulation"].id,
            b"compact",
            h5py.h5t.NATIVE_INT32,
            h5py.h5s.create_simple((3,)),
            plist,
        )
        for k in range(200):
            f[f"simulation/member{k}"] = k
        f["layer/0"].attrs["note"] = "a text"
        f["layer/0"].attrs["numbers"] = np.arange(5)
        for k in range(20):
            f["simulation/gzip"].attrs[f"a{k}"] = k

    path = write(tmp_path / "x.net", edit)
    plain = trust.check(path, lambda key, problem: lv.NetFileError(path, key, problem))
    assert plain is not None
    assert sorted(plain.chunks) == ["simulation/chunks", "simulation/gzip"]
    assert len(netx.Network(path)) == 2


def test_a_file_of_another_form_is_read_in_a_child_first(tmp_path, monkeypatch):
    want = fuzz_files.fingerprint(netx.Network(write(tmp_path / "x.net")))
    path = write(tmp_path / "y.net", libver="latest")
    started = []
    run = subprocess.run
    monkeypatch.setattr(
        trust.subprocess,
        "run",
        lambda *args, **kwargs: started.append(kwargs["timeout"]) or run(*args, **kwargs),
    )
    assert fuzz_files.fingerprint(netx.Network(path)) == want
    assert len(started) == 1
    ends = iter(
        [
            types.SimpleNamespace(stdout=b"layer/0/weight\tnot readable: x", returncode=1),
            types.SimpleNamespace(stdout=b"", returncode=-11),
        ]
    )
    monkeypatch.setattr(trust.subprocess, "run", lambda *args, **kwargs: next(ends))
    monkeypatch.setattr(reader.h5py, "File", lambda *args: pytest.fail("HDF5 was asked"))
    refused(path, "layer/0/weight", "not readable: x")
    refused(path, "", "HDF5 dies reading it")

    def hangs(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("x", timeout)

    monkeypatch.setattr(trust.subprocess, "run", hangs)
    refused(path, "", "HDF5 does not end reading it within")


def test_what_the_child_says(tmp_path, capsys):
    """The child's own work, in this process: 0 for a sound file, else the key."""
    assert trust._try(str(write(tmp_path / "x.net", libver="latest"))) == 0
    path = write(
        tmp_path / "y.net",
        put("layer/0/weight", np.ones((6, 6), "f4"), chunks=(6, 6), compression="lzf"),
    )
    with h5py.File(path, "r+") as f:
        f["layer/0/weight"].id.write_direct_chunk((0, 0), b"\xff" * 40)
    assert trust._try(str(path)) == 1
    assert capsys.readouterr().out.startswith("layer/0/weight\tnot readable")


def test_a_chunk_that_inflates_without_end(tmp_path, monkeypatch):
    """13 kB that HDF5 inflates to gigabytes are refused after what the chunk declares."""
    path = write(
        tmp_path / "x.net",
        put("layer/0/weight", np.ones((6, 6), "f4"), chunks=(6, 6), compression="gzip"),
    )
    assert len(netx.Network(path)) == 2
    with h5py.File(path, "r+") as f:
        f["layer/0/weight"].id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 24), 9))
    whole = reader.Reader._whole
    monkeypatch.setattr(
        reader.Reader,
        "_whole",
        lambda self, item, *args, **kwargs: (
            whole(self, item, *args, **kwargs)
            if item.size < 30
            else pytest.fail("the weights were read")
        ),
    )
    refused(path, "layer/0/weight", "a chunk of 144 bytes inflates to more")


def test_a_bomb_for_a_small_layer_is_not_read(tmp_path, monkeypatch):
    def edit(f):
        del f["layer/0/weight"]
        data = np.zeros((2048, 2048), "f4")
        data[:, :8] = np.random.default_rng(0).random((2048, 8))
        f.create_dataset("layer/0/weight", data=data, chunks=(512, 512), compression="gzip")

    path = write(tmp_path / "x.net", edit)
    monkeypatch.setattr(trust.Plain, "inflate", lambda *args: pytest.fail("the bomb was inflated"))
    refused(path, "layer/0/weight", r"shape \(2048, 2048\) does not fit 6 neurons")


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("layer/0/inFeatures", 99, "is 99; the weights have 6"),
        ("layer/0/outFeatures", 99, "is 99"),
        ("layer/1/inFeatures", -1, "is -1"),
        ("layer/1/outFeatures", np.array([3, 3]), r"is \[3, 3\]"),
        ("layer/0/inFeatures", "six", "numbers are expected"),
        ("layer/0/neuron/refDelay", -5, "-5 is outside 0.."),
        ("layer/0/weight", np.ones((4, 6), "f4"), r"shape \(4, 6\) does not fit 6 neurons"),
        (
            "layer/1/weight",
            np.ones((6, 3), "f4"),
            r"shape \(6, 3\) does not fit 3 neurons with 6 inputs",
        ),
        ("layer/0/weight", np.ones((2, 3, 6, 1), "f4"), "does not fit"),
        ("layer/0/weight", np.ones(36, "f4"), "does not fit"),
        ("layer/1/weight", np.ones((1, 18), "f4"), "does not fit"),
        ("layer/0/weight", np.ones((6, 6), bool), "numbers are expected"),
        ("layer/0/shape", np.array([[6]]), "is expected"),
        ("layer/0/shape", np.arange(1, 100), "at most 3 numbers"),
        ("layer/0/shape", np.array([2, 3]), "is expected"),
        ("layer/0/shape", np.array([1 << 28]), "are more than"),
        ("layer/0/bias", np.ones((2, 3), "f4"), r"shape \(2, 3\)"),
        ("layer/0/bias", np.ones(5, "f4"), "5 values for 6 channels"),
        ("layer/0/neuron/iDecay", np.ones((2, 3), "i8"), r"shape \(2, 3\)"),
        ("layer/0/neuron/vDecay", True, "numbers are expected"),
        ("layer/0/neuron/gradedSpike", "yes", "one truth value"),
        ("layer/0/neuron/gradedSpike", np.array([True, False]), "one truth value"),
        ("layer/0/neuron/gradedSpike", 7, "one truth value"),
        ("layer/0/neuron/wgtExp", "x", "numbers are expected"),
        ("layer/0/type", np.array([b"\xff\xfe"], "S10"), "is no text in UTF-8"),
        ("layer/0/type", np.array([b"x" * 2000]), "a string of 2000 bytes"),
        ("layer/0/type", "y" * 300, r"unknown layer type 'y{70,79}\.\.\.; known"),
        ("layer/0/delay", np.ones((2, 3)), "fits neither"),
    ],
)
def test_contradictions_are_named(tmp_path, key, value, match):
    error = refused(write(tmp_path / "x.net", put(key, value)), key, match)
    assert len(str(error)) < len(str(tmp_path)) + 400


@UNVOUCHED
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delay_shift", np.array([1, 2, 3])),
        ("delay_shift", "maybe"),
        ("delay_shift", 2),
        ("delay_shift", 0.5),
        ("input_shape", "a"),
        ("input_shape", np.array([np.nan])),
        ("input_shape", np.array([6.7])),
        ("input_shape", np.array([6 + 1j])),
        ("input_shape", [0]),
        ("input_shape", [1 << 20, 1 << 20, 1]),
        ("input_shape", [2, 3]),
    ],
)
def test_attributes_are_named(tmp_path, name, value):
    refused(write(tmp_path / "x.net", attribute("layer/0", name, value)), f"layer/0@{name}")


@UNVOUCHED
def test_an_input_shape_that_contradicts_the_layer_before(tmp_path):
    path = write(tmp_path / "x.net", attribute("layer/1", "input_shape", np.array([7])))
    refused(path, "layer/1@input_shape", r"is \(7,\); the layer before has shape \(6,\)")


def conv(f, **changes):
    """An input layer and a convolution before the two dense layers, which take its 2 x 2 x 1
    values."""
    for k in (1, 0):
        f.move(f"layer/{k}", f"layer/{k + 3}")
    layers = {
        "0": {"type": "input", "shape": [2, 4, 4]},
        "1": {
            "type": "conv",
            "shape": [6, 2, 2],
            "inChannels": 2,
            "outChannels": 6,
            "kernelSize": [3, 3],
            "stride": [1, 1],
            "padding": [0, 0],
            "dilation": [1, 1],
            "groups": 1,
            "weight": np.ones((6, 2, 3, 3), "f4"),
        },
        "2": {"type": "flatten", "shape": [24, 1, 1]},
    }
    for k, values in layers.items():
        for name, value in values.items():
            value = changes.get(f"{k}/{name}", value)
            f[f"layer/{k}/{name}"] = np.array([value.encode()], "S10") if name == "type" else value
    n = f.create_group("layer/1/neuron")
    n["type"], n["iDecay"], n["vDecay"], n["vThMant"] = "CUBA", 1024, 128, 64


CONV = ((24, 6), (6, 3))


def test_convolutions_load(tmp_path):
    assert [x.kind for x in netx.Network(write(tmp_path / "x.net", conv, CONV)).layers] == [
        "conv",
        "dense",
        "dense",
    ]


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("1/inChannels", 3, "is 3; the weights have 2"),
        ("1/outChannels", 3, "is 3; the weights have 6"),
        ("1/kernelSize", [3, 5], r"is \[3, 5\]; the weights have \[3, 3\]"),
        ("1/weight", np.ones((2, 6, 3, 3), "f4"), "does not fit a layer of 6"),
        ("1/weight", np.ones((6, 3, 3, 3), "f4"), "does not fit 2 channels"),
        ("1/weight", np.ones((6, 18), "f4"), "is expected"),
        ("1/weight", np.ones((6, 2, 3, 3, 2), "f4"), "is expected"),
        ("1/groups", [1, 1], "one number"),
        ("1/stride", [1, 1, 1], "one or two integers"),
        ("1/shape", [24], r"\(C, H, W\) is expected"),
        ("1/shape", [6, 1, 4], r"is \(6, 1, 4\), the layer computes \(6, 2, 2\)"),
        ("2/shape", [23, 1, 1], "after a layer of shape"),
    ],
)
def test_contradictions_of_convolutions_are_named(tmp_path, key, value, match):
    refused(
        write(tmp_path / "x.net", lambda f: conv(f, **{key: value}), CONV), f"layer/{key}", match
    )


def test_an_input_layer_is_the_first(tmp_path):
    refused(
        write(tmp_path / "x.net", put("layer/1/type", np.array([b"input"], "S10"))),
        "layer/1/type",
        "an input layer is the first one",
    )


def test_a_foreign_file_s_flatten_at_the_end(tmp_path):
    def edit(f):
        f["layer/2/type"], f["layer/2/shape"] = np.array([b"flatten"], "S10"), np.array([3])

    refused(write(tmp_path / "x.net", edit), "layer/2", "has nothing to feed")


def sdnn(f):
    for k in (0, 1):
        del f[f"layer/{k}/neuron"]
        n = f.create_group(f"layer/{k}/neuron")
        n["type"], n["activation"], n["vThMant"] = "SDNN", "relu", 6


def test_sigma_output_and_what_it_does_not_take(tmp_path):
    """lava-dl's loader looks whether the key is there; where the value says otherwise a warning
    does."""

    def edit(value, bias=None):
        def change(f):
            sdnn(f)
            f["layer/1/neuron/sigma_output"] = value
            if bias is not None:
                f["layer/1/bias"] = bias

        return change

    net = netx.Network(write(tmp_path / "a.net", edit(True, np.zeros(3))))
    assert type(net.layers[1].neuron).__name__ == "Sigma"
    path = write(tmp_path / "b.net", edit(False))
    with pytest.warns(
        netx.NetFileWarning,
        match="layer/1/neuron/sigma_output: is False; Lava's loader takes any sigma_output as True",
    ):
        assert type(netx.Network(path).layers[1].neuron).__name__ == "Sigma"
    refused(path, "layer/1/neuron/sigma_output", "exact=True", exact=True)
    path = write(tmp_path / "c.net", edit(True, np.array([0, 2, 0])))
    with pytest.warns(
        netx.NetFileWarning, match="layer/1/bias: neurons with sigma_output take no bias"
    ):
        netx.Network(path)
    refused(path, "layer/1/bias", "exact=True", exact=True)
    refused(write(tmp_path / "d.net", edit("no")), "layer/1/neuron/sigma_output", "one truth value")


def test_unknown_keys_beside_the_layers(tmp_path):
    path = write(tmp_path / "x.net", put("surprise", 1))
    with pytest.warns(netx.NetFileWarning, match="surprise: unknown key, not used"):
        netx.Network(path)
    name = "n" * 500 + "\n"
    path = write(tmp_path / "y.net", put(f"layer/0/{name}", 1))
    with pytest.warns(netx.NetFileWarning) as seen:
        netx.Network(path)
    assert f"layer/0/{'n' * 77}...: unknown key" in str(seen[0].message)


@UNVOUCHED
def test_a_small_file_does_not_ask_for_much(tmp_path):
    """The sum over all layers counts; nothing is made before it is known."""

    def big(n):
        def edit(f):
            conv(
                f,
                **{
                    "0/shape": [2, n, n],
                    "1/shape": [6, n - 2, n - 2],
                    "2/shape": [6 * (n - 2) ** 2, 1, 1],
                },
            )
            del f["layer/0"], f["layer/3"], f["layer/4"], f["layer/2"]
            f.move("layer/1", "layer/0")
            marked(f)
            f["layer/0"].attrs["input_shape"] = [2, n, n]

        return edit

    assert len(netx.Network(write(tmp_path / "x.net", big(30)))) == 1
    refused(write(tmp_path / "y.net", big(2000)), "layer/0/shape", "the layers up to this one need")


def test_an_input_of_a_hundred_million_neurons(tmp_path):
    path = write(tmp_path / "x.net", lambda f: conv(f, **{"0/shape": [1, 1 << 13, 1 << 14]}), CONV)
    refused(path, "layer/1/weight", "does not fit 1 channels")


def test_the_budget_is_not_less_than_what_is_held(tmp_path):
    """For every kind of layer, what its processes hold is within what was counted before."""
    for path in fuzz_files.originals(tmp_path):
        layers = reader.read(path).layers
        counted = sum(
            sizes.need(layer, layers[k - 1] if k else None) for k, layer in enumerate(layers)
        )
        held = fuzz_files.held(netx.Network(path))
        shared = 400 * len(layers)  # parameters of one number, a few dozens a process
        assert held <= counted + shared, path.name


def test_a_network_that_does_not_fit_into_memory_is_a_net_file_error(tmp_path, monkeypatch):
    def full(*args):
        raise MemoryError

    monkeypatch.setattr(hdf5.Builder, "build", full)
    refused(write(tmp_path / "x.net"), "layer/0", "does not fit into memory")


def test_big_matrices_are_converted_in_pieces(tmp_path, monkeypatch):
    """The same numbers, and the same complaints, whatever the pieces."""
    g = np.random.default_rng(0)
    weight = g.integers(-128, 127, (6, 50)).astype("f4") * 2
    path = write(tmp_path / "x.net", put("layer/0/weight", weight), ((50, 6), (6, 3)))
    for block in (7, 50, 120, 1 << 18):
        monkeypatch.setattr(reader, "BLOCK", block)
        np.testing.assert_array_equal(netx.Network(path).layers[0].synapse.weights.get(), weight)
    monkeypatch.setattr(reader, "BLOCK", 7)
    for value, match in [(np.nan, "holds NaN"), (2.0**40, "outside")]:
        weight[5, 49] = value
        refused(
            write(tmp_path / "y.net", put("layer/0/weight", weight), ((50, 6), (6, 3))),
            "layer/0/weight",
            match,
        )
    weight[5, 49] = 1.5
    with pytest.warns(netx.NetFileWarning, match=r"layer/0/weight: fractions are cut off \(1\.5\)"):
        netx.Network(write(tmp_path / "z.net", put("layer/0/weight", weight), ((50, 6), (6, 3))))


# -- options ---------------------------------------------------------------------------------------


@UNVOUCHED
@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("num_layers", "2", 0),
        ("num_layers", 1.5, -1),
        ("skip_layers", "1", -1),
        ("skip_layers", None, 2),
        ("input_message_bits", "16", 33),
        ("input_message_bits", 1.5, -1),
        ("input_shape", "6", (0,)),
        ("input_shape", (1.5,), ()),
        ("input_shape", 6.0, (7,)),
        ("reset_interval", 1.5, 0),
        ("reset_interval", "a", 2**40),
        ("reset_offset", "a", 2**40),
        ("reset_offset", 0.5, 3),
        ("spike_exp", "a", 99),
        ("spike_exp", 1.5, -1),
        ("sparse_fc_layer", "no", None),
        ("exact", "no", None),
        ("name", 3, None),
    ],
)
def test_options_that_make_no_sense(tmp_path, name, kind, value):
    path = write(tmp_path / "x.net", marked)
    with pytest.raises(lv.InputError, match=rf"Network: {name} is") as info:
        netx.Network(path, **{name: kind})
    assert isinstance(info.value, TypeError)
    if value is not None:
        with pytest.raises(lv.InputError, match=rf"Network: {name}") as info:
            netx.Network(path, **{name: value})
        assert not isinstance(info.value, TypeError)


def test_bits_that_contradict_the_file_s_input_layer(tmp_path):
    delta, spiking = slayer.block.sigma_delta, slayer.block.cuba
    sd = slayer.export_hdf5(
        [delta.Input({"threshold": 0.1}), delta.Dense({"threshold": 0.1}, 6, 5)],
        tmp_path / "sd.net",
        (6,),
    )
    spikes = slayer.export_hdf5(
        [spiking.Input(LIF), spiking.Dense(LIF, 6, 5)], tmp_path / "cuba.net", (6,)
    )
    plain = slayer.export_hdf5(
        [spiking.Input(), spiking.Dense(LIF, 6, 5)], tmp_path / "plain.net", (6,)
    )
    for path, bits, skip, match in [
        (sd, 8, 0, "messages of 16 bits"),
        (spikes, 16, 0, "spikes"),
        (spikes, 1, 1, "spikes"),
    ]:
        with pytest.raises(
            lv.InputError,
            match=f"input_message_bits={bits}, but layer/0 of .*{path.name} sends {match}.*leave it out",
        ):
            netx.Network(path, input_message_bits=bits, skip_layers=skip)
    assert [netx.Network(sd, input_message_bits=b).input_message_bits for b in (0, 16)] == [16, 16]
    # what feeds a network whose input layer is left out is the caller's; a bare input layer sends
    # nothing of its own
    assert [
        netx.Network(sd, input_message_bits=b, skip_layers=1).input_message_bits for b in (0, 8, 24)
    ] == [16, 8, 24]
    assert [netx.Network(plain, input_message_bits=b).input_message_bits for b in (0, 8)] == [0, 8]
    with pytest.raises(lv.InputError, match=r"layer/1 of .* sends spikes"):
        netx.Network(
            slayer.export_hdf5(
                [
                    spiking.Dense(LIF, 6, 5) if k == 0 else spiking.Dense(LIF, 5, 5)
                    for k in range(3)
                ],
                tmp_path / "deep.net",
                (6,),
            ),
            input_message_bits=8,
            skip_layers=2,
        )


def test_a_path_and_keywords(tmp_path):
    for value in (None, 3, b"x"):
        with pytest.raises(lv.InputError, match="Network: net_config is a path"):
            netx.Network(value)
    with pytest.raises(lv.InputError, match="no argument 'spike_ex'; did you mean 'spike_exp'"):
        netx.Network(write(tmp_path / "x.net"), spike_ex=3)
    assert (
        len(
            netx.Network(
                net_config=str(write(tmp_path / "x.net")),
                reset_interval=4,
                reset_offset=-1,
                input_shape=6,
            )
        )
        == 2
    )


# -- files of ours ---------------------------------------------------------------------------------


def test_a_network_that_ends_in_flatten(tmp_path):
    """Its output is flat, channel, height, width, as the trained network's."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        slayer.block.cuba.Conv(LIF, 2, 3, 3, weight_scale=2), slayer.block.cuba.Flatten()
    ).eval()
    x = (torch.rand(1, 2, 6, 5, 12) < 0.5).float()
    want = net(x)
    assert want.sum() > 20
    loaded = netx.Network(slayer.export_hdf5(net, tmp_path / "n.net"))
    assert loaded.out.shape == want.shape[1:2]
    rec = lv.simulate(
        loaded, {loaded.inp: loaded.encode(x[0].numpy())}, config=lv.RunConfig(precision="fixed_pt")
    )
    got = loaded.decode(rec[loaded.out])
    steps = 12 - loaded.lag
    np.testing.assert_array_equal(got[..., loaded.lag :], want[0].detach().numpy()[..., :steps])
    layer = loaded.layers[0]
    rec = lv.simulate(
        loaded,
        {loaded.inp: loaded.encode(x[0].numpy())},
        config=lv.RunConfig(precision="fixed_pt"),
        record=[layer.out],
    )
    np.testing.assert_array_equal(loaded.decode(rec[layer.out], layer).reshape(got.shape), got)


def test_a_sample_of_damaged_files():
    """`python -m benchmarks.fuzz_files` tries thousands: none hangs, dies, loads as something else
    or ends in an untyped error."""
    for title, counts in fuzz_files.campaigns(60, 30, 40, 1):
        assert not counts.bad, f"{title}: {counts.bad}"
        assert counts.total("NetFileError") > 10
        assert sum(counts.ends.values()) in (60, 30, 40)
        if "wrong contents" in title:
            assert counts.keys == counts.total("NetFileError")
