"""Networks of files and graphs, fine-tuned by to_torch in the arithmetic they run in, and written
back."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.bss2 import Chip
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.ops import above, reset
from lavalike.dynamics.weights import SignMode
from lavalike.proc import LIF, Dense
from lavalike.proc.custom import neuron_process

EXACT = lv.RunConfig(precision="fixed_pt")
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def loaded(folder):
    """A file of ours: pixels, a convolution, a dense layer; and its messages."""
    torch.manual_seed(0)
    block = slayer.block.cuba
    neuron = {"threshold": 1.0, "current_decay": 0.25, "voltage_decay": 0.0625}
    norm = {"norm": slayer.neuron.norm.MeanOnlyBatchNorm}
    net = torch.nn.Sequential(
        block.Input({"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.0}),
        block.Conv(neuron | norm, 1, 3, 3, stride=2, weight_scale=4),
        block.Flatten(),
        block.Dense(neuron, 12, 3, weight_scale=4),
    )
    x = torch.rand(6, 1, 5, 5, 1, generator=torch.Generator().manual_seed(1)).expand(
        -1, -1, -1, -1, 16
    )
    net(x)
    graph = netx.hdf5.Network(
        slayer.export_hdf5(net.eval(), folder / "net.net", input_shape=(1, 5, 5))
    )
    messages = torch.from_numpy(graph.encode(x.numpy())).double()
    return graph, messages


def tuned(module, x, lr, steps=12):
    """The losses of a fine-tuning."""
    optimizer, losses = torch.optim.Adam(module.parameters(), lr), []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(module(x).sum(-1), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        module.clamp_()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_file_is_tuned_in_loihis_integers(backend, tmp_path):
    """Weights and biases between whole numbers, straight through; what is written back computes, in
    fixed_pt on numba, the module's own bits."""
    graph, x = loaded(tmp_path)
    module = lv.to_torch(graph, select={graph: lv.Choice(backend=backend, precision="fixed_pt")})
    before = {v: v.get() for v in module._keys if v.trainable}
    losses = tuned(module, x, 3.0)
    assert min(losses[-3:]) < 0.6 * losses[0]
    y = module(x).detach()
    module.write_back()
    for v in before:
        assert v.get().dtype.kind == "i" or np.array_equal(v.get(), np.round(v.get()))
    assert sum(not np.array_equal(v.get(), old) for v, old in before.items()) >= 4
    assert np.array_equal(y, lv.simulate(graph, {"inp": x.numpy()}, config=EXACT)["out"])


def test_a_file_is_tuned_in_floating_point_and_on_a_chip(tmp_path):
    """And the chip's own spikes get better, of the graph that was written back."""
    graph, x = loaded(tmp_path)
    losses = tuned(lv.to_torch(graph), x, 2.0)
    assert min(losses[-3:]) < 0.6 * losses[0]
    chip = Chip(seed=1, level="quantised")
    module = lv.to_torch(graph, forward="bss2", chip=chip)
    losses = tuned(module, x, 2.0, 8)
    assert min(losses[-2:]) < losses[0]
    module.write_back()
    y = module(x).detach()
    run = lv.simulate(graph, {"inp": x.numpy()}, config=lv.RunConfig(backend="bss2", chip=chip))[
        "out"
    ]
    assert np.abs(run - y.numpy()).mean() < 0.1 * y.mean()


class Small(lv.AbstractProcess):
    def __init__(self, weights, **kwargs):
        super().__init__()
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.dense, self.lif = (
            Dense(weights=np.array(weights), **kwargs),
            LIF(shape=(2,), du=1200, dv=400, vth=30, bias_mant=[1, 1], bias_exp=[4, 6]),
        )
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


@pytest.mark.parametrize(
    ("weights", "bits", "limits"),
    [
        ([[20, -4], [6, 8]], {}, (-255, 255)),
        ([[20, 4], [6, 8]], {"sign_mode": "EXCITATORY"}, (0, 255)),
        ([[-20, -4], [-6, -8]], {"sign_mode": "INHIBITORY"}, (-255, 0)),
        ([[20, -4], [6, 8]], {"sign_mode": "MIXED", "num_weight_bits": 4}, (-256, 255)),
    ],
)
def test_what_left_its_range_is_an_error_or_brought_back(weights, bits, limits):
    """Whatever an optimiser made of it, weights and biases can be computed after clamp_."""
    if "sign_mode" in bits:
        bits = bits | {"sign_mode": SignMode[bits["sign_mode"]]}
    net = Small(weights, **bits)
    module = lv.to_torch(net, select={Small: "fixed_pt"})
    x = torch.ones(1, 2, 4)
    named = dict(module.named_parameters())
    for sign in (1, -1):
        with torch.no_grad():
            named["Small/dense/weights"].fill_(1e4 * sign)
            named["Small/lif/bias_mant"].fill_(1e9 * sign)
        with pytest.raises(lv.VarError, match=r"outside .*module.clamp_\(\) brings back"):
            module(x)
        module.clamp_()
        module(x)
        low, high = limits
        assert (named["Small/dense/weights"] == (high if sign > 0 else low)).all()
        assert (named["Small/lif/bias_mant"].abs() == 2**17 - 1).all()
        module.write_back()
        lv.simulate(net, {"inp": x.numpy()}, config=EXACT)


def own(a_in, v, beta, vth):
    v = v * beta + a_in
    s = above(v, vth)
    return s, reset(s, v, 0)


def test_a_parameter_of_ones_own_stays_between_its_limits():
    kind = Dynamics(
        own,
        inputs=("a_in",),
        outputs=("s_out",),
        states=("v",),
        parameters=(Parameter("beta", 0.8, 0, 1, trained=True), Parameter("vth", 1.0)),
        fixed=False,
    )
    neuron = neuron_process(kind)(shape=(2,))
    module = lv.to_torch(neuron)
    (beta,) = module.parameters()
    with torch.no_grad():
        beta.fill_(1.5)
    module.clamp_()
    assert (beta == 1).all()
    module.write_back()
    assert (neuron.beta.get() == 1).all()
