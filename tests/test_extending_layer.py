"""docs/extending.md, "Add a layer of netx", followed: what it says stands in each file, for a layer
of one weight a neuron."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import lavalike as lv
import netx
from lavalike.proc import Dense
from netx import layers, reader, sizes
from tests.test_netx_layers import EXACT, write

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
NEURON = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 100, "refDelay": 1}


def check(layer, stated, before, ours, fail):
    """sizes: its weights are as many as its neurons, and as the messages before."""
    if layer.type == "one_to_one":
        count, size = math.prod(layer.shape), math.prod(layer.shapes["weight"])
        if size != count or (before is not None and math.prod(before.shape) != count):
            raise fail(f"{layer.key}/weight", f"{size} weights of {count} neurons")
    return SIZES(layer, stated, before, ours, fail)


def build(self, layer, before, shape_in, bits, position):
    """layers: its processes, lag, scale, and what it sends."""
    if layer.type != "one_to_one":
        return BUILD(self, layer, before, shape_in, bits, position)
    out = layers.NetLayer(layer.type, shape_in)
    out.lag = (before.lag if before is not None else 0) + 1 - layer.delay_shift
    out.scale = self.scale(layer)
    out.synapse = Dense(
        weights=np.diag(layer.arrays["weight"]), num_weight_bits=9, num_message_bits=bits
    )
    out.neuron = self.neuron(layer, out.synapse.a_out.shape, position, out.lag)
    out.inp.connect(out.synapse.s_in)
    out.synapse.a_out.connect(out.neuron.a_in)
    out.send(out.neuron.s_out)
    return out


SIZES, BUILD = sizes.check, layers.Builder.build


@pytest.fixture
def added(monkeypatch):
    """The page's places, by the names it gives them."""
    section = PAGE.read_text(encoding="utf-8").split("## Add a layer of netx")[1]
    rooms = {f"netx/{m.__name__[5:]}.py": m for m in (reader, sizes, layers)}
    for line in section.splitlines():
        cells = re.findall(r"`([^`]+)`", line)
        for room in (rooms[c] for c in cells if c in rooms):
            for name in cells:
                if name.isupper() or name == "check":
                    assert hasattr(room, name), (
                        f"the page names {name}, which {room.__name__} has not"
                    )
    monkeypatch.setitem(reader.LAYER_KEYS, "one_to_one", {"weight", "bias"})
    monkeypatch.setitem(reader.NEEDED, "one_to_one", {"weight"})
    monkeypatch.setattr(sizes, "check", check)
    monkeypatch.setattr(layers.Builder, "build", build)


def test_a_layer_of_netx(added, tmp_path):
    """It loads, is measured before it is made, and computes what a dense layer with these weights
    on its diagonal computes."""
    w = np.array([40, -20, 90, 60], np.int32)
    tail = {"shape": [4], "delay_shift": 0, "neuron": NEURON, "input_shape": [4]}
    files = [
        write(tmp_path / f"{kind}.net", [{"type": kind, "weight": weight, **tail}])
        for kind, weight in (("one_to_one", w), ("dense", np.diag(w)))
    ]
    x = (np.random.default_rng(0).random((4, 40)) < 0.4) * 1.0
    got, want = (lv.simulate(netx.Network(f), {"inp": x}, config=EXACT)["out"] for f in files)
    assert np.array_equal(got, want)
    assert got.any()
    bad = write(tmp_path / "bad.net", [{"type": "one_to_one", "weight": w[:3], **tail}])
    with pytest.raises(netx.NetFileError, match=r"layer/0/weight.*3 weights of 4 neurons"):
        netx.Network(bad)
