"""Every layer a file can hold, against slayer's equations restated in plain integers."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

import lavalike as lv
import netx
from lavalike import operations, slayer
from lavalike.proc import Conv, ConvTranspose, DelayLine, io
from netx import writer
from tests.test_adaptive import adapted, rs

EXACT = lv.RunConfig(precision="fixed_pt")
TIME = 16


def write(path, layers, ours=True):
    """A file of ``layers``: {type, shape, delay_shift, input_shape, neuron, and datasets by
    key}."""
    with h5py.File(path, "w") as file:
        for k, layer in enumerate(layers):
            group = file.create_group(f"layer/{k}")
            writer.write_type(group, layer["type"])
            for key, value in layer.items():
                if key in ("delay_shift", "input_shape"):
                    if ours:
                        group.attrs[key] = value
                elif key == "neuron":
                    writer.write_neuron(group.create_group("neuron"), value)
                elif key != "type":
                    group.create_dataset(key, data=value)
        if ours:
            writer.sign(file)
    return path


# -- slayer's equations ----------------------------------------------------------------------------


def per_channel(value, like):
    """A number, or one a channel, for states (C, ...)."""
    value = np.asarray(value, np.int64)
    return value.reshape(-1, *[1] * (like.ndim - 1)) if value.size > 1 else value.reshape(())


def synapse(layer, key, x):
    """Weights on messages (C, H, W, T) or (N, T), slowly."""
    w = np.asarray(layer[key], np.int64)
    if layer["type"].startswith("dense"):
        return w @ x.reshape(-1, x.shape[-1])
    channels, height, width, time = x.shape
    transposed, pooling = layer["type"] in ("convT", "unpool"), "pool" in layer["type"]
    groups = channels if pooling else layer["groups"]
    if pooling:
        w = np.repeat(w, channels, 0)
    (sy, sx), (py, px), (dy, dx) = (layer[k] for k in ("stride", "padding", "dilation"))
    kh, kw = w.shape[2:]
    out = np.zeros((*layer["shape"], time), np.int64)
    per_in, per_out = channels // groups, out.shape[0] // groups
    for o in range(out.shape[0]):
        for c in range(per_in):
            i = o // per_out * per_in + c
            for a in range(kh):
                for b in range(kw):
                    weight = w[i, o % per_out, a, b] if transposed else w[o, c, a, b]
                    for y in range(height if transposed else out.shape[1]):
                        for z in range(width if transposed else out.shape[2]):
                            p, q = y * sy - py + a * dy, z * sx - px + b * dx
                            if transposed and 0 <= p < out.shape[1] and 0 <= q < out.shape[2]:
                                out[o, p, q] += weight * x[i, y, z]
                            elif not transposed and 0 <= p < height and 0 <= q < width:
                                out[o, y, z] += weight * x[i, p, q]
    return out


def respond(layer, z):
    """Messages of a layer whose drive from outside is ``z``: one array, or real and imaginary
    part."""
    p = layer["neuron"]
    kind = p["type"]
    shape, time = z[0].shape[:-1], z[0].shape[-1]
    state = [np.zeros(shape, np.int64) for _ in range(4)]
    at = {
        k: per_channel(v, state[0])
        for k, v in p.items()
        if k not in ("type", "activation", "sigma_output")
    }
    names = ["bias"] if len(z) == 1 else ["bias/real", "bias/imag"]
    bias = [per_channel(layer.get(n, 0), state[0]) for n in names]
    rec = [
        np.asarray(layer[n], np.int64)
        for n in ("weight_rec", "weight_rec/real", "weight_rec/imag")
        if n in layer
    ]
    vth, s, theta, rows = at["vThMant"] << 6, np.zeros(shape, np.int64), None, []
    if "thDecay" in at:
        threshold = {
            "vth": at["vThMant"],
            "threshold_step": at["vThStep"],
            "threshold_decay": at["thDecay"],
            "refractory_decay": at["refDecay"],
        }
        theta = vth + state[3]
    for t in range(time):
        now = [part[..., t] + (w @ s if rec else 0) for part, w in zip(z, rec or z, strict=False)]
        u, v, r, _ = state
        if kind in ("CUBA", "ALIF"):
            on_current = kind == "ALIF"
            u = rs(u * (4096 - at["iDecay"])) + ((now[0] + bias[0] * on_current) << 6)
            v = rs(v * (4096 - at["vDecay"])) + u + (bias[0] << 6) * (not on_current)
            if kind == "CUBA":
                s = (v > vth) * 1
                v = v * (1 - s)
            else:
                s, theta, r = adapted(v, True, theta, r, threshold)
        elif kind == "SDNN":
            # u: sum, v: activation, r: residue; messages and sums count in 1/4096, the state in
            # 1/64 of that
            u = u + now[0]
            x = np.maximum(u + (bias[0] << 12), 0)
            d = x - v + r
            s = np.where(np.abs(d) >= at["vThMant"] << 12, d, 0)
            v, r, s = x, d - s, s >> 6
        else:
            c, si, old = at["cosDecay"], at["sinDecay"], v
            u, v = (
                rs(c * u) - rs(si * v) + ((now[0] + bias[0]) << 6),
                rs(si * u) + rs(c * v) + ((now[1] + bias[1]) << 6),
            )
            phase = kind.endswith("PHASE")
            member, may = (u, (v >= 0) & (old < 0)) if phase else (v, True)
            if theta is not None:
                s, theta, r = adapted(member, may, theta, r, threshold)
            else:
                s = (may & (member >= vth)) * 1
                if not phase:
                    u, v = u * (1 - s), np.where(s, vth - 1, v)
        state = [u, v, r, state[3]]
        s = s * 1
        rows.append(s)
        assert max(np.abs(u).max(), np.abs(v).max()) < 1 << 23
    return np.stack(rows, -1)


def late(x, steps):
    """Each channel so many steps later."""
    steps, out = np.broadcast_to(steps, x.shape[:1]), np.zeros_like(x)
    for c, d in enumerate(steps):
        out[c, ..., d:] = x[c, ..., : x.shape[-1] - d]
    return out


def slayer_layer(layer, x):
    names = [k for k in ("weight", "weight/real", "weight/imag") if k in layer]
    y = respond(layer, [synapse(layer, k, x) for k in names])
    return late(y, np.asarray(layer.get("delay", 0), int) + layer["delay_shift"])


# -- random files ----------------------------------------------------------------------------------

RF_KINDS = ("RF_PHASE", "RF_IZHIKEVICH", "ADRF_PHASE", "ADRF_IZHIKEVICH")


@st.composite
def layers(draw, kind, shape, neuron):
    """A layer of ``kind`` on messages of ``shape`` (C, H, W) or (N,)."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    layer = {"type": kind, "delay_shift": draw(st.integers(0, 1)), "input_shape": np.array(shape)}
    parts = ("/real", "/imag") if neuron in RF_KINDS else ("",)
    scale = 12 if neuron == "SDNN" else 60

    def weights(*size):
        return rng.integers(-scale // 2, scale, size).astype(np.float32)

    if kind.startswith("dense"):
        rows, columns = draw(st.integers(1, 5)), int(np.prod(shape))
        layer["shape"] = (rows,)
        layer |= {f"weight{part}": weights(rows, columns) for part in parts}
        if kind == "dense_rec":
            layer |= {f"weight_rec{part}": weights(rows, rows) for part in parts}
    else:
        pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
        kernel, stride, dilation = (
            draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            draw(pair),
            draw(pair),
        )
        padding = draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))
        transposed = kind in ("convT", "unpool")
        more = (0, 0)
        if transposed and draw(st.booleans()):
            more = tuple(
                draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
            )
            layer["outputPadding"] = more
        size = [
            (n - 1) * s - 2 * p + d * (k - 1) + m + 1
            if transposed
            else (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d, m in zip(
                shape[1:], kernel, stride, padding, dilation, more, strict=True
            )
        ]
        if min(size) < 1:
            kernel, stride, padding, dilation, size = (1, 1), (1, 1), (0, 0), (1, 1), shape[1:]
            layer.pop("outputPadding", None)
        layer |= {"stride": stride, "padding": padding, "dilation": dilation}
        if kind in ("pool", "unpool"):
            layer |= {f"weight{part}": weights(1, 1, *kernel) for part in parts}
            channels = shape[0]
        else:
            groups = draw(st.sampled_from([1, shape[0]]))
            channels = groups * draw(st.integers(1, 2))
            ends = (shape[0], channels // groups) if transposed else (channels, shape[0] // groups)
            layer |= {"groups": groups} | {
                f"weight{part}": weights(*ends, *kernel) for part in parts
            }
        layer["shape"] = (channels, *size)
    channels = layer["shape"][0]

    def number(low, high):
        each = draw(st.booleans())
        return rng.integers(low, high, channels) if each else int(rng.integers(low, high))

    if draw(st.booleans()) and "pool" not in kind:
        layer |= {
            f"bias{part}": rng.integers(-20, 20, channels).astype(np.float32) for part in parts
        }
    if draw(st.booleans()):
        layer["delay"] = rng.integers(0, 5, channels).astype(np.float32)
    p = {
        "type": neuron,
        "vThMant": number(1, 80 if neuron in ("CUBA", "ALIF") else 25 if neuron in RF_KINDS else 8),
    }
    if neuron in ("CUBA", "ALIF"):
        p |= {"iDecay": number(0, 4097), "vDecay": number(400, 4097)}
    elif neuron in RF_KINDS:
        p |= {"sinDecay": number(500, 2600), "cosDecay": number(0, 2600)}
    if neuron == "SDNN":
        p["activation"] = "relu"
    if neuron.startswith("A"):
        p |= {"thDecay": number(0, 4097), "refDecay": number(0, 4097), "vThStep": number(0, 60)}
    layer["neuron"] = p
    return layer


@st.composite
def networks(draw, neuron, kind):
    """(layers, input): a layer of ``kind``, and perhaps a dense one behind it."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    stack = [draw(layers(kind, shape, neuron))]
    if draw(st.booleans()):
        stack.append(draw(layers("dense", stack[0]["shape"], neuron)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    x = (
        rng.integers(-40, 60, (*shape, TIME)) * 64
        if neuron == "SDNN"
        else (rng.random((*shape, TIME)) < 0.4) * 1
    )
    return stack, x


# slayer has no recurrent sigma-delta layer
CASES = [
    (neuron, kind)
    for neuron in ("CUBA", "ALIF", "SDNN", *RF_KINDS)
    for kind in (
        "conv",
        "convT",
        "pool",
        "unpool",
        "dense",
        *(["dense_rec"] if neuron != "SDNN" else []),
    )
]


@pytest.mark.parametrize(("neuron", "kind"), CASES)
def test_files_compute_slayers_equations(neuron, kind, tmp_path):
    @given(networks(neuron, kind))
    @settings(max_examples=4, deadline=None)
    def check(case):
        stack, x = case
        net = netx.Network(write(tmp_path / "n.net", stack))
        messages = x.transpose(2, 1, 0, 3) if len(net.inp.shape) == 3 else x.reshape(-1, TIME)
        sent = lv.simulate(
            net, {"inp": messages}, config=EXACT, record=[layer.out for layer in net.layers]
        )
        for k, (layer, block) in enumerate(zip(net.layers, stack, strict=True)):
            x = slayer_layer(block, x)
            got = sent[layer.out]
            got = got.transpose(*range(got.ndim - 1)[::-1], got.ndim - 1)[..., layer.lag :]
            np.testing.assert_array_equal(
                got, x[..., : got.shape[-1]], err_msg=f"layer {k}, {block['type']}"
            )

    check()


# -- single rules ----------------------------------------------------------------------------------


CUBA = {"type": "CUBA", "iDecay": 1000, "vDecay": 500, "vThMant": 20}
RF = {"type": "RF_PHASE", "sinDecay": 2215, "cosDecay": 3049, "vThMant": 10}
ADRF = RF | {"type": "ADRF_PHASE", "thDecay": 80, "refDecay": 100, "vThStep": 200}


def dense(rows, columns, neuron, seed=0, **more):
    weight = np.random.default_rng(seed).integers(-40, 90, (2, rows, columns)).astype(np.float32)
    parts = (
        {"weight": weight[0]}
        if "RF" not in neuron["type"]
        else {"weight/real": weight[0], "weight/imag": weight[1]}
    )
    return (
        {
            "type": "dense",
            "shape": (rows,),
            "delay_shift": 1,
            "input_shape": np.array([columns]),
            "neuron": neuron,
        }
        | parts
        | more
    )


def spikes(*shape, seed=0):
    return (np.random.default_rng(seed).random(shape) < 0.4) * 1


def test_a_delay_of_every_channel_acts_behind_the_neuron(tmp_path):
    """Not on what it receives: a recurrent layer's feedback is not delayed, and resonators keep
    their phase."""
    layer = dense(
        3,
        4,
        CUBA,
        type="dense_rec",
        weight_rec=np.full((3, 3), -30.0),
        delay=np.array([0.0, 2.0, 5.0]),
    )
    plain = {k: v for k, v in layer.items() if k != "delay"}
    x = spikes(4, 30)
    delayed, straight = (
        lv.simulate(netx.Network(write(tmp_path / "n.net", [v])), {"inp": x}, config=EXACT)["out"]
        for v in (layer, plain)
    )
    assert straight.any()
    np.testing.assert_array_equal(delayed, late(straight, [0, 2, 5]))


def test_a_layer_without_current_is_a_cuba_of_full_decay(tmp_path):
    layer = dense(3, 4, CUBA | {"iDecay": 4096})
    x = spikes(4, 30)
    net = netx.Network(write(tmp_path / "n.net", [layer]))
    rec = lv.simulate(net, {"inp": x}, config=EXACT, record=[net.layers[0].neuron.u])
    np.testing.assert_array_equal(
        rec[net.layers[0].neuron.u][:, 1:], (layer["weight"] @ x)[:, :-1] * 64
    )


def test_recurrent_blocks_compute_what_lava_dl_recorded(conformance, tmp_path):
    with np.load(conformance("lava-dl/slayer/block_cuba_Recurrent.npz")) as data:
        weight, rec = (
            np.clip(np.round(data[f"p_{k}_synapse.weight"][:, :, 0, 0, 0] * 32) * 2, -256, 254)
            for k in ("input", "recurrent")
        )
        decays = {
            k: int(np.round(data[f"p_neuron.{n}_decay"][0]))
            for k, n in (("iDecay", "current"), ("vDecay", "voltage"))
        }
        x, want = data["x"], data["out"]
    layer = {
        "type": "dense_rec",
        "shape": (7,),
        "delay_shift": 1,
        "input_shape": np.array([12]),
        "weight": weight,
        "weight_rec": rec,
        "neuron": {"type": "CUBA", "vThMant": int(0.4 * 64), **decays},
    }
    net = netx.Network(write(tmp_path / "n.net", [layer]))
    assert want.any()
    np.testing.assert_array_equal(
        lv.simulate(net, {"inp": net.encode(x)}, config=EXACT)["out"], want
    )


def test_adaptive_resonators_of_foreign_files_run_as_lava_ran_them(tmp_path):
    """As RF, with one warning; in a file of ours as themselves."""
    x = spikes(4, 80)
    with pytest.warns(
        netx.NetFileWarning, match="ADRF_PHASE runs as plain RF, without adaptation"
    ) as caught:
        foreign = netx.Network(write(tmp_path / "a.net", [dense(3, 4, ADRF)], ours=False))
    assert len(caught) == 1
    plain = netx.Network(write(tmp_path / "b.net", [dense(3, 4, RF)], ours=False))
    ours = netx.Network(write(tmp_path / "c.net", [dense(3, 4, ADRF)]))
    a, b, c = (lv.simulate(net, {"inp": x}, config=EXACT)["out"] for net in (foreign, plain, ours))
    np.testing.assert_array_equal(a, b)
    assert c.sum() < a.sum()


def test_both_names_of_a_complex_layer_are_read(tmp_path):
    x = spikes(4, 40)
    outs = [
        lv.simulate(
            netx.Network(write(tmp_path / "n.net", [dense(3, 4, RF, type=kind)])),
            {"inp": x},
            config=EXACT,
        )["out"]
        for kind in ("dense", "dense_comp")
    ]
    assert outs[0].any()
    np.testing.assert_array_equal(*outs)


def test_an_average_of_sigma_delta_messages_decodes_to_values(tmp_path):
    layer = dense(4, 3, {"type": "SDNN", "activation": "relu", "vThMant": 1})
    average = {"type": "average", "shape": (2,), "delay_shift": 0, "input_shape": np.array([4])}
    net = netx.Network(write(tmp_path / "n.net", [layer, average]))
    x = np.round(np.random.default_rng(0).random((3, 20)) * 64) / 64
    rec = lv.simulate(net, {"inp": net.encode(x)}, config=EXACT, record=[net.layers[0].out])
    values = net.decode(rec[net.layers[0].out], net.layers[0])
    assert values.any()
    np.testing.assert_array_equal(
        net.decode(rec["out"])[:, 1:], values.reshape(2, 2, 20).mean(1)[:, :-1]
    )


@pytest.mark.parametrize("neuron", ["CUBA", "ALIF", *RF_KINDS])
def test_other_models_come_close(neuron, tmp_path):
    """The floating-point models of numba and torch agree; fixed_pt rounds. Kernels run as plain
    Python are the same."""
    common = {
        "delay_shift": 1,
        "delay": np.array([0.0, 2.0]),
        "groups": 1,
        "stride": (2, 1),
        "padding": (0, 1),
        "dilation": (1, 1),
    }
    parts = ("/real", "/imag") if neuron in RF_KINDS else ("",)
    rng = np.random.default_rng(1)
    p = {
        "type": neuron,
        "vThMant": 30,
        "thDecay": 800,
        "refDecay": 1500,
        "vThStep": 20,
        "iDecay": 1000,
        "vDecay": 500,
        "sinDecay": 2000,
        "cosDecay": 3000,
    }
    p = {k: v for k, v in p.items() if k == "type" or k in netx.reader.neuron_keys(neuron)}
    layers = [
        common
        | {"type": kind, "shape": shape, "input_shape": np.array(before), "neuron": p}
        | {f"weight{part}": rng.integers(-40, 90, (2, 2, 2, 3)) for part in parts}
        | {f"bias{part}": np.array([5.0, -3.0]) for part in parts}
        for kind, before, shape in (("convT", (2, 3, 4), (2, 6, 4)), ("conv", (2, 6, 4), (2, 3, 4)))
    ]
    net = netx.Network(write(tmp_path / "n.net", layers))
    assert "delays to 2" in str(net)
    x = net.encode(spikes(3, 2, 3, 4, 30))
    double, debug = {"dtype": "float64"}, lv.RunConfig(precision="fixed_pt", debug=True)
    configs = [EXACT, lv.RunConfig(**double), lv.RunConfig(backend="torch", **double), debug]
    fixed, floating, on_torch, plain = (
        lv.simulate(net, {"inp": x if not c.debug else x[:1, ..., :8]}, config=c)["out"]
        for c in configs
    )
    assert fixed.any()
    assert (fixed != floating).mean() < 0.05
    assert (floating != on_torch).mean() < 0.005
    np.testing.assert_array_equal(plain, fixed[:1, ..., :8])


CONV = {
    "type": "convT",
    "shape": (2, 6, 6),
    "delay_shift": 1,
    "input_shape": np.array([2, 3, 3]),
    "weight": np.ones((2, 2, 2, 2)),
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "neuron": CUBA,
}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [CONV | {"shape": (2, 7, 6)}],
            r"layer/0/shape: is \(2, 7, 6\), the layer computes \(2, 6, 6\) from \(2, 3, 3\)",
        ),
        (
            [CONV | {"outputPadding": (2, 0), "shape": (2, 8, 6)}],
            r"output_padding \(0, 2\) is less than stride",
        ),
        (
            [CONV | {"weight": np.ones((3, 2, 2, 2))}],
            r"layer/0/weight: shape \(3, 2, 2, 2\) in 1 groups does not fit 2 channels",
        ),
        (
            [CONV | {"stride": (4096, 4096)}],
            r"layer/0/shape: is \(2, 6, 6\), the layer computes \(2, 8194, 8194\)",
        ),
        ([CONV | {"delay": np.arange(3.0)}], "layer/0/delay: 3 values for 2 channels"),
        (
            [CONV | {"neuron": CUBA | {"vThMant": np.arange(3)}}],
            "layer/0/neuron/vThMant: 3 values for 2 channels",
        ),
        ([CONV | {"neuron": RF}], "layer/0/weight: RF neurons need complex weights"),
        ([dense(3, 4, RF) | {"neuron": CUBA}], "layer/0/neuron: complex weights need an RF neuron"),
        (
            [dense(3, 4, RF) | {"bias": np.ones(3)}],
            "layer/0/bias: RF neurons take no bias that is not complex",
        ),
        (
            [dense(3, 4, CUBA) | {"bias/real": np.ones(3), "bias/imag": np.ones(3)}],
            "layer/0/bias/real: is complex, the layer's weight real",
        ),
        (
            [dense(3, 4, RF, type="dense_rec", weight_rec=np.ones((3, 3)))],
            "layer/0/weight_rec: is real, the layer's weight complex",
        ),
        ([dense(3, 4, ADRF | {"vThStep": -1})], r"layer/0/neuron/vThStep: -1 is outside 0\.\."),
        (
            [
                dense(3, 4, CUBA),
                {"type": "average", "shape": (1,), "delay_shift": 0, "input_shape": np.array([3])},
                dense(2, 1, CUBA),
            ],
            "layer/2/type: dense after an average",
        ),
    ],
)
def test_wrong_layers_are_named(tmp_path, layers, message):
    with pytest.raises(lv.NetFileError, match=message):
        netx.Network(write(tmp_path / "n.net", layers))


def test_delays_that_lava_dropped_are_dropped_with_a_warning(tmp_path):
    cases = [
        (CONV | {"delay": np.ones(2)}, "convolutions have no delays"),
        (dense(3, 4, RF, delay=np.ones(3)), "complex layers"),
    ]
    for layer, message in cases:
        with pytest.warns(netx.NetFileWarning, match=message):
            netx.Network(
                write(tmp_path / "n.net", [layer], ours=False),
                input_shape=layer["input_shape"][::-1],
            )


# -- the processes ---------------------------------------------------------------------------------


@given(
    st.integers(0, 1 << 30),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 1),
    st.sampled_from([1, 2]),
)
@settings(max_examples=30, deadline=None)
def test_a_transposed_convolution_is_torchs(seed, kernel, stride, dilation, padding, groups):
    rng = np.random.default_rng(seed)
    more = int(rng.integers(0, max(stride, dilation)))
    weight, x = (
        rng.normal(size=(4, kernel, kernel + 1, 3)),
        rng.normal(size=(4, 3, 4, 4, 5)) * (rng.random((4, 3, 4, 4, 5)) < 0.5),
    )
    kwargs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    t = [
        torch.from_numpy(v)
        for v in (weight.transpose(0, 3, 1, 2), x.transpose(4, 0, 3, 1, 2).reshape(-1, 4, 3, 4))
    ]
    if kernel == 1 and padding and stride + more < 2:
        return
    want = (
        functional.conv_transpose2d(t[1], t[0], None, output_padding=more, **kwargs)
        .unflatten(0, (5, 4))
        .permute(1, 3, 4, 2, 0)
    )
    process = ConvTranspose(
        weight=weight, input_shape=(3, 4, 4), num_message_bits=24, output_padding=more, **kwargs
    )
    for backend in ("numba", "torch"):
        got = lv.simulate(
            process, {"s_in": x}, config=lv.RunConfig(backend=backend, dtype="float64")
        )["a_out"]
        np.testing.assert_allclose(got[..., 1:], want[..., :-1], atol=1e-12)


def test_sums_of_a_transposed_convolution_wrap_into_24_bits():
    """As a convolution's, unless the neuron behind looks for them."""
    x = np.array([[[[1 << 16, 3, 0]]]])
    for checked, want in (
        (False, (((1 << 16) * 200 + (1 << 23)) % (1 << 24)) - (1 << 23)),
        (True, (1 << 16) * 200),
    ):
        process = ConvTranspose(
            weight=np.full((1, 1, 2, 1), 200),
            input_shape=(1, 1, 1),
            num_message_bits=24,
            checked=checked,
        )
        got = lv.simulate(process, {"s_in": x}, config=EXACT)["a_out"]
        np.testing.assert_array_equal(got[0, :, 0], [[0, want, 600]] * 2)


@given(
    st.integers(0, 1 << 30),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1]),
)
@settings(max_examples=15, deadline=None)
def test_synapses_of_an_input_are_counted(seed, groups, stride, dilation, padding):
    """Against a network of ones: what one spike at each input adds up to."""
    kwargs = {
        "input_shape": (4, 3, 2),
        "stride": stride,
        "dilation": dilation,
        "padding": padding,
        "groups": groups,
    }
    shapes = {ConvTranspose: (2, 2, 3, 2), Conv: (4, 2, 2, 2 // groups)}
    for kind, shape in shapes.items():
        if kind is Conv and dilation == 2 and padding == 0:
            shape = (4, 2, 1, 2 // groups)
        process = kind(weight=np.ones(shape), **kwargs)
        one = np.eye(24).reshape(24, 4, 3, 2, 1).repeat(2, -1)
        got = lv.simulate(process, {"s_in": one})["a_out"][..., 1].reshape(24, -1).sum(1)
        np.testing.assert_array_equal(operations.fan_out(process).reshape(-1), got)


@pytest.mark.parametrize("config", [EXACT, lv.RunConfig(backend="torch")], ids=["numba", "torch"])
@pytest.mark.parametrize(("longest", "cut"), [(1, 1), (3, 2), (5, 7), (14, 6)])
def test_a_delay_line_hands_on_each_element_later(config, longest, cut):
    """In a batch each sample for itself; a line that is given what another held goes on where that
    one ended."""
    rng = np.random.default_rng(longest)
    delays, x = rng.integers(0, longest + 1, (3, 2)), rng.integers(-9, 9, (2, 3, 2, 12))
    want = np.stack(
        [late(sample.reshape(6, 12), delays.reshape(-1)).reshape(3, 2, 12) for sample in x]
    )
    first = DelayLine(shape=(3, 2), delays=delays, max_delay=longest)
    rec = lv.simulate(first, {"s_in": x}, config=config, record=[first.a_buff])
    np.testing.assert_array_equal(rec["s_out"], want)
    held = rec[first.a_buff][0, ..., cut - 1]
    for k in range(min(cut, longest)):
        np.testing.assert_array_equal(held[..., k], x[0, ..., cut - 1 - k])
    second = DelayLine(shape=(3, 2), delays=delays, max_delay=longest)
    second.a_buff.set(held)
    np.testing.assert_array_equal(
        lv.simulate(second, {"s_in": x[0, ..., cut:]}, config=config)["s_out"], want[0, ..., cut:]
    )


def test_one_neuron_in_space_takes_parameters_of_its_shape():
    one = np.full((1, 1, 1), 3)
    assert (
        lv.proc.LIF(shape=(1, 1, 1), vth=one).vth.get()
        == DelayLine(shape=(1, 1, 1), delays=one).delays.get()
        == 3
    )


def test_a_constant_begins_after_its_start():
    for config in (EXACT, lv.RunConfig(backend="torch")):
        constant = io.source.Constant(shape=(2, 2), value=[[1, 2], [3, 4]], start=[[0, 1], [2, 9]])
        got = lv.simulate(constant, steps=4, config=config)["s_out"]
        np.testing.assert_array_equal(
            got, [[[1, 1, 1, 1], [0, 2, 2, 2]], [[0, 0, 3, 3], [0, 0, 0, 0]]]
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DelayLine(shape=(2,), delays=-1), "delays are integers >= 0"),
        (lambda: DelayLine(shape=(2,), delays=0.5), "delays are integers >= 0"),
        (lambda: DelayLine(shape=(2,), delays=[1, 2, 3]), "does not fit shape"),
        (
            lambda: ConvTranspose(weight=np.ones((2, 1, 1)), input_shape=(1, 1, 2)),
            r"weight is \(in, kx, ky, out\)",
        ),
        (
            lambda: ConvTranspose(weight=np.ones((3, 1, 1, 1)), input_shape=(1, 1, 2)),
            "does not fit input",
        ),
        (
            lambda: ConvTranspose(weight=np.ones((2, 1, 1, 1)), input_shape=(1, 1, 2), padding=1),
            "leaves nothing of input",
        ),
        (
            lambda: ConvTranspose(
                weight=np.ones((2, 1, 1, 1)), input_shape=(1, 1, 2), output_padding=1
            ),
            "output_padding .* is less than stride",
        ),
    ],
)
def test_processes_refuse_what_does_not_fit(call, message):
    with pytest.raises(lv.VarError, match=message):
        call()


# -- compare ---------------------------------------------------------------------------------------

P = {"threshold": 0.4, "current_decay": 0.3, "voltage_decay": 0.1}


def cuba_net():
    b = slayer.block.cuba
    torch.manual_seed(0)
    kwargs = {"weight_scale": 3}
    return torch.nn.Sequential(
        b.Conv(P, 1, 2, 3, delay=True, **kwargs),
        b.Flatten(),
        b.Dense(P, 18, 5, **kwargs),
        b.Affine(P, 5, 3, delay_shift=True, **kwargs),
    )


def sdnn_net():
    b, p = slayer.block.sigma_delta, {"threshold": 0.1}
    torch.manual_seed(0)
    return torch.nn.Sequential(
        b.Input(p), b.Dense(p, 6, 5, weight_scale=2), b.Output(p, 5, 2, weight_scale=2)
    )


@pytest.mark.parametrize(("make", "shape"), [(cuba_net, (1, 5, 5)), (sdnn_net, (6,))])
def test_a_file_is_equal_to_its_network(make, shape, tmp_path):
    net = make().train()
    path = slayer.export_hdf5(net, tmp_path / "n.net", input_shape=shape)
    result = netx.compare(net, path)
    assert result
    assert (result.equal, result.first, result.overflows) == (True, None, 0)
    assert all(m.training for m in net.modules())
    assert [x.same for x in result.layers] == [x.values for x in result.layers]
    assert "equal" in str(result)
    x = (
        torch.round(torch.rand(3, *shape, 9) * 2) / 2
        if make is sdnn_net
        else (torch.rand(3, *shape, 9) < 0.3).float()
    )
    assert netx.compare(net, netx.Network(path), x)


@pytest.mark.parametrize(("make", "shape", "k"), [(cuba_net, (1, 5, 5), 2), (sdnn_net, (6,), 1)])
def test_a_changed_weight_is_found(make, shape, k, tmp_path):
    """The first layer, step and neuron that differ, with both values."""
    net = make()
    path = slayer.export_hdf5(net, tmp_path / "n.net", input_shape=shape)
    with h5py.File(path, "r+") as file:
        weight = file[f"layer/{k}/weight"]
        weight[1, :] = weight[1, :] + 60
        writer.sign(file)
    result = netx.compare(net, path)
    layer = k - (make is cuba_net)  # a flatten layer is none of the graph
    assert not result
    first = result.first
    assert (first.layer, first.neuron) == (layer, (1,))
    assert first.trained != first.loaded
    assert [x.equal for x in result.layers[: layer + 1]] == [True] * layer + [False]
    assert (
        f"layer {layer} ({first.label}), step {first.step}, sample {first.sample}, neuron (1,)"
        in str(result)
    )


def test_an_overflow_is_reported(tmp_path):
    b = slayer.block.cuba
    net = torch.nn.Sequential(
        b.Dense({"threshold": 4000, "current_decay": 0.0, "voltage_decay": 0.0}, 2, 1)
    )
    with torch.no_grad():
        net[0].synapse.weight.fill_(3.9)
    result = netx.compare(net, slayer.export_hdf5(net, tmp_path / "n.net"), torch.ones(1, 2, 120))
    assert not result
    assert result.overflows > 0
    assert "left 24 bits" in result.error
    assert "the loaded network stopped" in str(result)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, path: netx.compare(net[:1], path), "has 3 layers, the network 1 blocks"),
        (
            lambda net, path: netx.compare(net, path, torch.zeros(1, 6, 2)),
            "x has 2 steps; the last layer lags 2, so at least 3",
        ),
        (
            lambda net, path: netx.compare([*net[:2], torch.nn.ReLU()], path),
            "block 2 is a ReLU, no slayer block",
        ),
        (lambda net, path: netx.compare(torch.nn.ReLU(), path), "no sequence of slayer blocks"),
        (
            lambda net, path: netx.compare(
                [*net[:2], slayer.block.sigma_delta.Output({"threshold": 0.1}, 5, 3)], path
            ),
            r"layer 2 \(sigma_delta.Output\) sends messages of shape \(3,\), in .* of \(2,\)",
        ),
    ],
)
def test_networks_that_are_not_the_files_are_told(call, message, tmp_path):
    net = sdnn_net()
    path = slayer.export_hdf5(net, tmp_path / "n.net", input_shape=(6,))
    with pytest.raises(lv.InputError, match=message):
        call(net, path)


# -- pools of odd sizes ----------------------------------------------------------------------------


def pool(shape, kernel=(2, 2), stride=None, ours=False, **more):
    """A pool of (2, 7, 9) whose voltage is 64 times its drive."""
    weight = np.arange(1, 1 + kernel[0] * kernel[1]).reshape(1, 1, *kernel)
    layer = {
        "type": "pool",
        "shape": np.array(shape),
        "weight": weight,
        "stride": np.array(stride or kernel),
        "padding": np.array([0, 0]),
        "dilation": np.array([1, 1]),
        "neuron": {"type": "CUBA", "iDecay": 4096, "vDecay": 4096, "vThMant": 1 << 17},
        **more,
    }
    return layer | ({"delay_shift": 0, "input_shape": np.array([2, 7, 9])} if ours else {})


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((2, 3, 4), (2, 2)), ((2, 4, 5), (2, 2)), ((2, 2, 4), (3, 2)), ((2, 3, 5), (3, 2))],
)
def test_a_pool_completes_its_last_window_where_the_file_s_shape_counts_it(
    tmp_path, shape, kernel, ours
):
    """lava-dl fills up with zeros; lavalike 0.3, and torch, leave out what fills no window."""
    layer = pool(shape, kernel, ours=ours)
    net = netx.Network(write(tmp_path / "p.net", [layer], ours), input_shape=(9, 7, 2))
    assert (net.ours, net.out.shape) == (ours, shape[::-1])
    x = np.random.default_rng(0).random((2, 7, 9)) < 0.5
    sizes = [n * k for n, k in zip(shape[1:], kernel, strict=True)]
    whole = np.zeros((2, *sizes), np.int64)
    rows, columns = (min(a, b) for a, b in zip(sizes, x.shape[1:], strict=True))
    whole[:, :rows, :columns] = x[:, :rows, :columns]
    want = np.einsum(
        "cakbl,kl->cab",
        whole.reshape(2, shape[1], kernel[0], shape[2], kernel[1]),
        layer["weight"][0, 0],
    )
    rec = lv.simulate(
        net,
        {"inp": net.encode(np.stack([x, 0 * x, 0 * x], -1))},
        config=EXACT,
        record=[net.layers[0].neuron.v],
    )
    v = rec[net.layers[0].neuron.v]
    assert want[:, -1].any()
    assert want[..., -1].any()
    assert (v.reshape(v.shape[-4:])[..., 1].transpose(2, 1, 0) == 64 * want).all()


@pytest.mark.parametrize(
    "layer",
    [
        pool((2, 4, 4)),
        pool((2, 3, 5)),
        pool((2, 5, 5)),
        pool((2, 4, 5), (3, 3), (2, 2)),
        pool((2, 4, 5), padding=np.array([1, 0])),
        pool((2, 4, 5), dilation=np.array([1, 2])),
    ],
)
def test_other_pools_have_one_size(tmp_path, layer):
    with pytest.raises(lv.NetFileError, match=r"layer/0/shape: is .*, the layer computes"):
        netx.Network(write(tmp_path / "p.net", [layer], False), input_shape=(9, 7, 2))
