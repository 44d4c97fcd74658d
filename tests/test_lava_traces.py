"""Every library process reproduces what Lava computed, step by step."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import lavalike as lv
from lavalike import proc
from lavalike.errors import GradedMessageWarning
from tests.conftest import load_meta

FILES = [
    "lif_float",
    "lif_fixed",
    "lifreset_fixed",
    "lifrefractory_float",
    "ternarylif_fixed",
    "dense_float_binary",
    "dense_float_graded",
    "dense_fixed_mixed8",
    "dense_fixed_inh5",
    "delaydense_float",
    "conv_fixed_bits0",
    "conv_float_bits8",
    "sigma_fixed",
    "delta_fixed",
    "delta_float_cum",
    "sigmadelta_relu_fixed",
    "sigmadelta_unit_float",
    "rf_float",
    "rf_iz_fixed",
    "atrlif_float",
    "convintime_float",
    "deltaencoder_fixed",
    "gradedvec_fixed",
    "prodneuron_fixed",
    "s4d_complex_float",
]
GRADED = {
    "dense_float_binary",
    "conv_fixed_bits0",
}  # graded messages, recorded where each counts as a spike


def build(meta):
    params = {
        k: np.array(v) if isinstance(v, list) and k not in ("shape", "input_shape") else v
        for k, v in meta["params"].items()
    }
    if meta["process"] == "S4d":  # pairs of a real and an imaginary part
        params |= {k: params[k] @ [1, 1j] for k in "abc"}
    return getattr(proc, meta["process"])(**params)


@pytest.mark.parametrize("debug", [False, True], ids=["compiled", "python"])
@pytest.mark.parametrize("name", FILES)
def test_trace(conformance, name, debug):
    """Messages and states equal Lava's: exactly in fixed_pt, to 1e-6 in float64."""
    arrays, meta = load_meta(conformance(f"lava/{name}.npz"))
    process = build(meta)
    inputs = {k[3:]: v for k, v in arrays.items() if k.startswith("in_")}
    wanted = {k[4:]: v for k, v in arrays.items() if k.startswith(("out_", "var_"))}
    config = lv.RunConfig(precision=meta["tag"], dtype="float64", debug=debug)
    with pytest.warns(GradedMessageWarning) if name in GRADED else contextlib.nullcontext():
        rec = lv.simulate(process, inputs, config=config, record=list(wanted))
    for key, value in wanted.items():
        if config.fixed:
            np.testing.assert_array_equal(rec[key], value, err_msg=key)
        else:
            np.testing.assert_allclose(rec[key], value, rtol=1e-6, atol=1e-9, err_msg=key)
