"""netx reproduces, bit for bit, what lava-dl's netx computed in Lava from the same files."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lavalike as lv
import netx
from tests.conftest import load_meta

EXACT = lv.RunConfig(precision="fixed_pt")
EDGE = [
    "conv_asym",
    "conv_basic",
    "conv_flatten_dense",
    "cuba_reset5_off2",
    "dense_1d_weight",
    "dense_bias",
    "dense_delay_axonal_out",
    "dense_loihi_type",
    "dense_mixed_even",
    "dense_no_neuron",
    "dense_rec",
    "rf_exact",
    "rf_iz",
    "sdnn_conv",
    "sdnn_dense",
    "sdnn_spike_exp3",
    "sdnn_vth0",
]
NETS = [
    "pilotnet_lif_reset16",
    "pilotnet_sdnn_act0_skip1",
    "pilotnet_sdnn_gt_input",
    "pilotnet_sdnn_square_act0_skip1",
    "tinynet_bias_noreset",
    "tinynet_spikes_skip1",
]


def check(recording, net_path, **kwargs):
    arrays, meta = load_meta(recording)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", netx.NetFileWarning)
        net = netx.hdf5.Network(net_config=net_path, **meta.get("net_kwargs", {}), **kwargs)
    if "output_message_bits" in meta:
        assert [int(b) for b in meta["output_message_bits"]][-1] == net.output_message_bits
        assert len(meta["layers"]) == len(net)
    steps = meta.get("steps", arrays["input"].shape[-1])
    inputs = {}
    if meta.get("drive") == "bias":
        net.in_layer.neuron.bias_mant.set(arrays["input"])
    else:
        x = arrays["input"].astype(np.int64)
        inputs = {net.inp: np.concatenate([x] * -(-steps // x.shape[-1]), -1)[..., :steps]}
    record = {}
    for key in arrays:
        name = key.split("_", 1)
        if key.startswith("layer"):
            layer = net.layers[int(name[0][5:])]
            record[key] = (
                layer.out
                if name[1] == "s_out"
                else getattr(layer.neuron, name[1].removesuffix("_final"))
            )
    rec = lv.simulate(
        net, inputs, steps, EXACT, record=list({id(t): t for t in record.values()}.values())
    )
    assert record
    for key, target in record.items():
        got = rec[target][..., -1] if key.endswith("_final") else rec[target]
        np.testing.assert_array_equal(got, arrays[key], err_msg=key)


@pytest.mark.parametrize("name", EDGE)
def test_single_features(conformance, name):
    check(conformance(f"lava-dl/edge/{name}.npz"), conformance(f"lava-dl/edge/{name}.net"))


@pytest.mark.parametrize("name", NETS)
def test_published_networks(conformance, name):
    _, meta = load_meta(conformance(f"lava-dl/netx/{name}.npz"))
    check(conformance(f"lava-dl/netx/{name}.npz"), conformance(f"lava-dl/nets/{meta['netfile']}"))


@pytest.mark.parametrize(
    "name", ["dense_mixed_even", "conv_flatten_dense", "sdnn_dense", "dense_delay_axonal_out"]
)
def test_sparse_synapses_compute_the_same(conformance, name):
    check(
        conformance(f"lava-dl/edge/{name}.npz"),
        conformance(f"lava-dl/edge/{name}.net"),
        sparse_fc_layer=True,
    )


EXPORTED = [
    "block_cuba_Conv",
    "block_cuba_Dense",
    "block_sigma_delta_Dense",
    "cuba_dense_small",
    "sdnn_small_fixedth_nonorm",
]


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_networks(conformance, name):
    check(
        conformance(f"lava-dl/slayer/nets/{name}_netx.npz"),
        conformance(f"lava-dl/slayer/nets/{name}.net"),
    )
