"""netx: files as processes."""

import functools

import h5py
import numpy as np
import torch

import netx
from lavalike import slayer
from lavalike.proc import LIF, RF
from tests.doors.table import (
    COUNT,
    FLAG,
    FOLDER,
    INDEX,
    NAN,
    OBJECT,
    PATH,
    SHAPE,
    TEXT,
    bad,
    optional,
    row,
)


@functools.cache
def trained():
    """A network, and its file."""
    torch.manual_seed(0)
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
    net = torch.nn.Sequential(
        slayer.block.cuba.Dense(params, 4, 3, delay_shift=False),
        slayer.block.cuba.Dense(params, 3, 2),
    )
    path = FOLDER / "net.net"
    slayer.export_hdf5(net, path)
    return net, path


def file():
    return {"net_config": trained()[1]}


def network():
    return netx.Network(trained()[1])


def unsigned():
    """A file whose blocks were exported one by one."""
    net, path = trained()
    path = path.with_name("unsigned.net")
    with h5py.File(path, "w") as file:
        for k, block in enumerate(net):
            block.export_hdf5(file.create_group(f"layer/{k}"))
    return path


PARAMS = bad(3, None, "x", values=({"vth": 3},))
BITS = bad("8", 1.5, None, values=(-1, 33))
WIDTH = bad("8", 1.5, None, values=(0, 10))
WHOLE = bad("3", 1.5, None)
GIVEN = {"shape": (2,), "neuron_params": {"neuron_proc": LIF}}
COMMON = {"shape": SHAPE, "neuron_params": PARAMS, "input_message_bits": BITS, "name": TEXT}
BIAS = bad("x", values=(np.ones(3),))
WEIGHT = bad("x", None, values=(np.ones((3, 4)), np.ones(3)))
SYNAPSE = COMMON | {
    "weight": WEIGHT,
    "delay": bad("x", values=(63, -1, np.ones(5, int))),
    "bias": BIAS,
    "num_weight_bits": WIDTH,
    "weight_exponent": WHOLE,
    "sparse_synapse": FLAG,
}
RINGS = {"neuron_proc": RF, "period": 7, "alpha": 0.1}
SQUARE = bad("x", None, values=(np.ones((2, 3)),))
ROWS = [
    row("netx.blocks.process.Input", GIVEN, **COMMON, transform=bad(3, "x"), bias=BIAS),
    row("netx.blocks.process.ComplexInput", GIVEN | {"neuron_params": RINGS}, **COMMON),
    row("netx.blocks.process.Dense", GIVEN | {"weight": np.ones((2, 4))}, **SYNAPSE),
    row(
        "netx.blocks.process.RecurrentDense",
        GIVEN | {"weight": np.ones((2, 4)), "weight_rec": np.ones((2, 2))},
        **SYNAPSE,
        weight_rec=SQUARE,
    ),
    row(
        "netx.blocks.process.ComplexDense",
        GIVEN
        | {
            "neuron_params": RINGS,
            "weight_real": np.ones((2, 4)),
            "weight_imag": np.ones((2, 4)),
        },
        **COMMON,
        weight_real=WEIGHT,
        weight_imag=WEIGHT,
        num_weight_bits_real=WIDTH,
        num_weight_bits_imag=WIDTH,
        weight_exponent_real=WHOLE,
        weight_exponent_imag=WHOLE,
        sparse_synapse=FLAG,
    ),
    row(
        "netx.blocks.process.Conv",
        {
            "shape": (2, 2, 1),
            "input_shape": (3, 3, 1),
            "neuron_params": {"neuron_proc": LIF},
            "weight": np.ones((1, 2, 2, 1)),
        },
        **COMMON,
        input_shape=SHAPE,
        weight=bad("x", None, values=(np.ones((2, 2)),)),
        bias=BIAS,
        stride=bad("x", None, 1.5, values=(0,)),
        padding=bad("x", None, 1.5, values=(-1,)),
        dilation=bad("x", None, 1.5, values=(0,)),
        groups=bad("x", None, 1.5, values=(0,)),
    ),
    row(
        "netx.Network",
        file,
        net_config=PATH,
        num_layers=optional(COUNT),
        skip_layers=INDEX,
        input_message_bits=bad("8", 1.5, None, values=(-1, 33)),
        input_shape=bad("3", 2.5, values=((0,), (-1, 2, 2))),
        reset_interval=optional(COUNT),
        reset_offset=bad("3", 1.5, None),
        spike_exp=bad("6", 1.5, None, values=(-1, 99)),
        sparse_fc_layer=FLAG,
        exact=FLAG,
        name=TEXT,
    ),
    row(
        "netx.Network.encode",
        {"x": np.ones((1, 4, 5))},
        network,
        x=bad("x", None, values=(np.ones((2, 2)), np.full((1, 4, 5), NAN))),
    ),
    row(
        "netx.Network.decode",
        {"y": np.ones((1, 2, 5))},
        network,
        y=bad("x", None, values=(np.ones(2),)),
        layer=bad(3, "x"),
    ),
    row(
        "netx.compare",
        lambda: {"net": trained()[0], "file": trained()[1]},
        net=bad(3, None),
        file=bad(3, None),
        x=bad("x", values=(np.ones(3),)),
        steps=COUNT,
        config=OBJECT,
        progress=FLAG,
    ),
    row(
        "netx.sign",
        lambda: {"source": unsigned(), "target": trained()[1].with_name("signed.net")},
        source=PATH,
        target=PATH,
    ),
]
EXEMPT = {
    "netx.blocks.process.NetLayer": "made by Network",
    "netx.blocks.process.AbstractBlock": "base of the blocks, which have rows",
    "netx.Comparison": "what compare returns",
}
