"""A file holds what forward does: a network whose forward is another than the chain of its blocks
is refused, by the block's name."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm

EXACT = lv.RunConfig(precision="fixed_pt")
P = {"threshold": 0.5, "current_decay": 0.5, "voltage_decay": 0.1}
cu, sd, rf = slayer.block.cuba, slayer.block.sigma_delta, slayer.block.rf


class Net(nn.Module):
    """Three blocks, called as ``call(net, x, ...)`` says."""

    def __init__(self, call, blocks=None):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(blocks or [cu.Dense(P, 4, 4, weight_scale=4) for _ in range(3)])
        self.extra = cu.Dense(P, 4, 4, weight_scale=4)
        self.call = call

    def forward(self, *args):
        return self.call(self, *args)


def chain(net, x):
    for block in net.blocks:
        x = block(x)
    return x


def skip(net, x):
    a, b, c = net.blocks
    z = a(x)
    return c(b(z) + z)


def parallel(net, x):
    a, b, c = net.blocks
    return c((a(x) + b(x)).clamp(max=1))


def hooked(net, x):
    handle = net.blocks[0].register_forward_hook(lambda block, args, y: 2 * y)
    y = chain(net, x)
    handle.remove()
    return y


def dropped(net, x):
    a, b, c = net.blocks
    return c(b(nn.functional.dropout(a(x), 0.5)))


def through(net, order):
    def call(x):
        for k in order:
            x = net.blocks[k](x)
        return x

    return call


FIRST, SECOND, THIRD = (rf"block {k} \(cuba\.Dense\)" for k in range(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            skip,
            rf"{THIRD}: its input is not the output of {SECOND}: \d+ of 128 values were changed in between",
        ),
        (parallel, rf"{SECOND}: its input is not the output of {FIRST}: it is forward's own input"),
        (
            lambda n, x: through(n, (0, 2, 1))(x),
            rf"{SECOND} is not call 1 of forward: {THIRD} came instead",
        ),
        (lambda n, x: through(n, (0, 1, 1, 2))(x), rf"{SECOND} is called twice by forward"),
        (lambda n, x: through(n, (0, 1))(x), rf"{THIRD} is not called by forward"),
        (lambda n, x: n.blocks[1](n.blocks[0](x)), rf"{THIRD} is not called by forward"),
        (
            lambda n, x: n.blocks[2](n.blocks[1](0.5 * n.blocks[0](x))),
            rf"{SECOND}: its input is not the output of {FIRST}: \d+ of 128",
        ),
        (
            lambda n, x: n.blocks[2](n.blocks[1](n.blocks[0](x).flip(1))),
            rf"{SECOND}: its input is not the output of {FIRST}: \d+ of 128",
        ),
        (
            lambda n, x: n.blocks[2](n.blocks[1](n.blocks[0](x)[..., ::2])),
            r"it is a tensor of shape \(2, 4, 8\), not \(2, 4, 16\)",
        ),
        (
            lambda n, x: n.blocks[2](n.extra(n.blocks[1](n.blocks[0](x)))),
            rf"{THIRD}: .* it is the output of block 'extra' \(cuba\.Dense\)",
        ),
        (
            lambda n, x: chain(n, x).mean(-1),
            r"forward does not return the output .* of shape \(2, 4\), not \(2, 4, 16\)",
        ),
        (
            lambda n, x: -chain(n, x),
            rf"forward does not return the output of {THIRD}: \d+ of 128 values",
        ),
        (lambda n, x: (chain(n, x), n.blocks[0](x))[1], rf"{FIRST} is called twice by forward"),
        (
            lambda n, x: [n.extra(chain(n, x))],
            rf"forward does not return the output of {THIRD}: it is the output of block 'extra'",
        ),
        (
            lambda n, x: chain(n, 2 * x),
            rf"{FIRST}: its input is not forward's own input: \d+ of 128",
        ),
        (hooked, rf"{SECOND}: its input is not the output of {FIRST}: \d+ of 128"),
        (
            dropped,
            rf"{SECOND}: its input is not the output of {FIRST}: \d+ of 128",
        ),  # by hand it acts in eval mode too
        (
            lambda n, x, k: k * chain(n, x),
            r"forward raised TypeError for an input of \(2, 4, 16\).*\n?.*example=",
        ),
        (
            lambda n, x: chain(n, x) is x or None,
            rf"forward does not return the output of {THIRD}: it is a NoneType",
        ),
    ],
)
def test_another_forward_is_refused(call, message, tmp_path):
    net = Net(call)
    with pytest.raises(lv.ExportError, match=message):
        slayer.export_hdf5(net, tmp_path / "n.net")
    assert list(tmp_path.iterdir()) == []
    assert netx.Network(
        slayer.export_hdf5(list(net.blocks), tmp_path / "n.net")
    ).ours  # the chain, whatever forward does


def test_a_sequential_of_another_forward_is_refused(tmp_path):
    class Residual(nn.Sequential):
        def forward(self, x):
            for block in self:
                x = x + block(x)
            return x

    with pytest.raises(lv.ExportError, match=r"block 1 .*: its input is not the output of block 0"):
        slayer.export_hdf5(Residual(*Net(chain).blocks), tmp_path / "n.net")


def recorded(net, x):
    events = []
    for block in net.blocks:
        x = block(x)
        events.append(x.abs().mean())
    return x, sum(events), torch.stack(events)


def counted(net, x):
    count = []
    for block in net.blocks:
        x, rate = block(x)
        count.append(rate)
    return x, count


def early(net, x):
    """The flattening by hand, a detour without effect and an unused head."""
    a, b = net.blocks
    z = a(x).detach().clone()
    b.neuron.threshold  # noqa: B018
    return {"out": b(z.flatten(1, -2)), "head": z.mean()}


B = {"weight_scale": 4}


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (lambda: Net(chain), (4,)),
        (lambda: Net(recorded), (4,)),
        (
            lambda: Net(
                counted,
                [cu.Dense(P, 4, 5, count_log=True, **B), cu.Dense(P, 5, 4, count_log=True, **B)],
            ),
            (4,),
        ),
        (lambda: Net(early, [cu.Conv(P, 1, 2, 3, **B), cu.Dense(P, 18, 4, **B)]), (1, 5, 5)),
        (lambda: Net(lambda n, x, scale=None: (chain(n, x), scale)), (4,)),
        (
            lambda: Net(
                chain,
                [cu.Dense({**P, "persistent_state": True}, 4, 4, **B), cu.Dense(P, 4, 3, **B)],
            ),
            (4,),
        ),
        (lambda: Net(lambda n, x: chain(n, x.flatten(1, -2)), [cu.Dense(P, 4, 4, **B)]), (4,)),
        (
            lambda: nn.Sequential(
                cu.Conv(P, 1, 2, 3, **B),
                cu.Pool(P, 2, weight_scale=0.5),
                cu.Flatten(),
                cu.Dense(P, 8, 4, **B),
            ),
            (1, 6, 6),
        ),
        (
            lambda: Net(
                lambda n, x: chain(n, x),
                [
                    sd.Input({"threshold": 0.1}),
                    sd.Dense({"threshold": 0.1}, 4, 4),
                    sd.Output({"threshold": 0.1}, 4, 2),
                ],
            ),
            (4,),
        ),
        (
            lambda: nn.Sequential(
                rf.Dense({"threshold": 0.5, "period": 8, "decay": 0.1}, 4, 4, **B),
                rf.Affine({"threshold": 0.5, "period": 8, "decay": 0.1}, 4, 3, **B),
            ),
            (4,),
        ),
    ],
)
def test_forwards_that_are_the_chain_are_exported(net, shape, tmp_path):
    net = net()
    path = slayer.export_hdf5(net, tmp_path / "n.net", input_shape=shape)
    report = netx.compare(net, path)
    assert report, str(report)
    assert report.whole.same == report.whole.values > 0


def test_one_block_twice_in_a_row_is_the_chain_of_a_list_that_says_so(tmp_path):
    net = Net(lambda n, x: n.blocks[0](n.blocks[0](x)))
    block = net.blocks[0]
    net.blocks = nn.ModuleList([block, block])
    path = slayer.export_hdf5(net, tmp_path / "n.net")
    assert netx.compare(net, path)
    net.blocks = nn.ModuleList([block])
    with pytest.raises(lv.ExportError, match=rf"{FIRST} is called twice by forward"):
        slayer.export_hdf5(net, path)


def test_an_example_says_what_forward_takes(tmp_path):
    def call(net, image, steps):
        x = image["x"].unsqueeze(-1).expand(*image["x"].shape, steps)
        return chain(net, x)

    def flat(net, x):
        return chain(net, x.reshape(len(x), -1, x.shape[-1]))

    with pytest.raises(lv.ExportError, match="forward raised TypeError"):
        slayer.export_hdf5(Net(call), tmp_path / "n.net")
    with pytest.raises(
        lv.ExportError, match=rf"{FIRST}: its input is not forward's own input"
    ):  # the file has no such encoding
        slayer.export_hdf5(Net(call), tmp_path / "n.net", example=({"x": torch.rand(2, 4)}, 7))
    net = Net(lambda n, x, k: (chain(n, x), k))
    assert netx.Network(
        slayer.export_hdf5(net, tmp_path / "n.net", example=(torch.rand(1, 4, 3), 1))
    ).inp.shape == (4,)
    conv = Net(chain, [cu.Conv(P, 1, 2, 3, **B), cu.Flatten(), cu.Dense(P, 18, 3, **B)])
    with pytest.raises(
        lv.ExportError, match="does not know its shape: call the network once, or give input_shape"
    ):
        slayer.export_hdf5(conv, tmp_path / "n.net")
    assert netx.Network(
        slayer.export_hdf5(conv, tmp_path / "n.net", example=torch.rand(1, 1, 5, 5, 2))
    ).inp.shape == (5, 5, 1)
    dense = Net(flat, [cu.Dense(P, 4, 3, **B)])
    assert netx.Network(
        slayer.export_hdf5(dense, tmp_path / "n.net", example=torch.rand(1, 1, 2, 2, 5))
    ).inp.shape == (4,)
    with pytest.raises(lv.ExportError, match="example is what forward takes; list has none"):
        slayer.export_hdf5(list(net.blocks), tmp_path / "n.net", example=torch.rand(1, 4, 2))


class Busy(nn.Module):
    """Keeps what it can keep: counts, lists, buffers, a generator's numbers."""

    def __init__(self):
        super().__init__()
        params = {
            **P,
            "norm": MeanOnlyBatchNorm,
            "dropout": slayer.neuron.Dropout(0.5),
            "persistent_state": True,
        }
        self.blocks = nn.ModuleList(
            [cu.Dense(params, 4, 4, delay=True, **B), cu.Dense(params, 4, 3, delay=True, **B)]
        )
        self.register_buffer("calls", torch.zeros(()))
        self.norm, self.kept, self.count, self.last = nn.BatchNorm1d(4), [], {"n": 0}, None

    def forward(self, x):
        self.calls += 1
        self.kept.append(x)
        self.count["n"] += 1
        torch.rand(1)
        np.random.rand(1)  # noqa: NPY002
        random.random()
        self.norm(x)
        for block in self.blocks:
            x = self.last = block(x)
        return x


@pytest.mark.parametrize(
    "look",
    [
        lambda net, path: slayer.export_hdf5(net, path),
        lambda net, path: netx.compare(net, slayer.export_hdf5(list(net.blocks), path)),
    ],
)
def test_looking_at_a_network_leaves_it_as_it_was(look, tmp_path):
    torch.manual_seed(0)
    net = Busy()
    x = (torch.rand(3, 4, 9) < 0.5).float()
    net(x).sum().backward(retain_graph=True)
    net.blocks[1].eval()

    def facts():
        states = [b._state for b in net.blocks]
        return (
            net.state_dict(),
            [p.grad for p in net.parameters()],
            [m.training for m in net.modules()],
            states,
            list(net.kept),
            dict(net.count),
            [int(b.neuron.overflows) for b in net.blocks],
            net.last,
            torch.get_rng_state(),
            random.getstate(),
            np.random.get_state()[1],  # noqa: NPY002
            [sorted(vars(m)) for m in net.modules()],
            [b.shape for b in net.blocks],
        )

    def same(a, b):
        if isinstance(a, torch.Tensor | np.ndarray):
            return bool((a == b).all())
        if isinstance(a, dict):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list | tuple) else a == b

    before = facts()
    before = [{k: v.clone() for k, v in before[0].items()}, *before[1:]]
    look(net, tmp_path / "n.net")
    assert [same(a, b) for a, b in zip(before, facts(), strict=True)] == [True] * len(before)
    net.last.sum().backward()  # a graph that was kept still works


def test_compare_looks_at_forward_too(tmp_path):
    net = Net(skip)
    path = slayer.export_hdf5(list(net.blocks), tmp_path / "n.net")
    x = (torch.rand(3, 4, 40, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    assert netx.compare(list(net.blocks), path, x)
    report = netx.compare(net, path, x)
    assert not report
    assert all(layer.equal for layer in report.layers)
    with torch.no_grad():
        wrong = net(x) != chain(net, x)
    assert report.whole.values - report.whole.same == int(wrong.sum()) > 0  # lag 0
    assert (report.first.label, report.first.layer) == ("Net.forward", 3)
    assert report.first.step == int(wrong.any(0).any(0).nonzero()[0])
    assert "Net.forward" in str(report)
    mean = netx.compare(Net(lambda n, x: chain(n, x).mean(-1)), path, x)
    assert not mean
    assert "Net.forward returns (3, 4), not the last block's output of (3, 4, 40)" in str(mean)
    assert netx.compare(Net(recorded), path, x)
    with pytest.raises(
        lv.InputError, match=r"compare: Net\.forward raised TypeError for x of \(3, 4, 40\)"
    ):
        netx.compare(Net(lambda n, x, k: x), path, x)


def test_networks_that_end_in_flatten(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(cu.Conv(P, 1, 3, 3, **B), cu.Flatten())
    x = (torch.rand(2, 1, 5, 6, 14) < 0.5).float()
    with torch.no_grad():
        want = net(x).numpy()
    file = netx.Network(slayer.export_hdf5(net, tmp_path / "n.net"))
    assert (len(file), file.out.shape, file.out_layer.out.shape) == (1, (36,), (4, 3, 3))
    got = file.decode(lv.simulate(file, {"inp": file.encode(x.numpy())}, config=EXACT)["out"])
    np.testing.assert_array_equal(
        got[..., file.lag :], want[..., : 14 - file.lag]
    )  # channel, height, width, as torch flattens
    assert want.any()
    assert netx.compare(net, file, x)
    flat = [cu.Dense(P, 4, 3), cu.Flatten()]
    assert netx.Network(slayer.export_hdf5(flat, tmp_path / "flat.net")).out.shape == (3,)
