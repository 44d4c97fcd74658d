"""fused.in_stretches: values and gradients of one call, with the memory of a stretch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike import fused, slayer, snn


def layers():
    torch.manual_seed(0)
    fc, lif, read = torch.nn.Linear(6, 5), snn.Leaky(0.9), snn.Synaptic(0.7, 0.8)
    net = torch.nn.ModuleList([fc, lif, read]).double()

    def function(x, states):
        out, a = lif.sequence(fc(x), *states[0])
        out, b = read.sequence(out["s_out"], *states[1], record=("mem",))
        return out["mem"], (a, b)

    return net, function


@pytest.mark.parametrize("steps", [7, 10, 30, 100])
def test_values_and_gradients_are_those_of_one_call(steps):
    """Whatever the stretches; a state's gradient passes from one to the next."""
    net, function = layers()
    x = torch.rand(30, 3, 6, generator=torch.Generator().manual_seed(1)).double() * 3
    x.requires_grad_()
    recipe = torch.sin(torch.arange(30 * 3 * 5.0).double()).reshape(30, 3, 5)
    found = []
    for run in (
        lambda: function(x, ((), ())),
        lambda: fused.in_stretches(function, x, ((), ()), steps=steps),
    ):
        y, states = run()
        loss = (y * recipe).sum() + sum(s.sum() for pair in states for s in pair)
        found.append([y, *torch.autograd.grad(loss, [x, *net.parameters()])])
    for a, b in zip(*found, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_slayers_blocks_stream_in_stretches():
    """Time last, messages on their way from stretch to stretch."""
    torch.manual_seed(0)
    neuron = {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1}
    blocks = torch.nn.ModuleList(
        [slayer.block.cuba.Dense(neuron, a, b, weight_scale=3) for a, b in ((6, 8), (8, 4))]
    )

    def function(x, states):
        after = []
        for block, state in zip(blocks, states, strict=True):
            x, state = block.stream(x, state)
            after.append(state)
        return x, after

    x = (torch.rand(2, 6, 40, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    whole = x
    for block in blocks:
        whole = block(whole)
    y, _ = fused.in_stretches(function, x, [None, None], steps=9, dim=-1)
    assert whole.sum() > 20
    assert torch.equal(y, whole)
    grads = [
        torch.autograd.grad(
            (z * torch.linspace(0, 1, 40)).sum(), [block.synapse.weight for block in blocks]
        )
        for z in (y, whole)
    ]
    for a, b in zip(*grads, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_kept_is_not_what_all_steps_need():
    """Of autograd's own: nothing of a stretch; each is computed once more, the last one first."""
    _, function = layers()
    x = torch.rand(400, 2, 6).double()
    kept, calls = {}, []

    def saved(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() != x.untyped_storage().data_ptr():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def counted(part, states):
        calls.append(len(calls))
        return function(part, states)

    found = []
    for run in (
        lambda: function(x, ((), ())),
        lambda: fused.in_stretches(counted, x, ((), ()), steps=20),
    ):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(saved, lambda t: t):
            y, _ = run()
        found.append(sum(kept.values()))
        y.sum().backward()
    assert found[1] < found[0] / 20
    assert len(calls) == 2 * 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: fused.in_stretches(lambda x, s: x, x, steps=2),
            r"returns a pair \(output, state\), got Tensor",
        ),
        (
            lambda x: fused.in_stretches(lambda x, s: (x, s), x[:0], steps=2),
            "an axis of x with steps, got 0",
        ),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(lv.InputError, match=message):
        call(torch.ones(4, 2))
