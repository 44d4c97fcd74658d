"""slayer.block.soft_lif: rates of a softened threshold, trained, run as spiking LIFs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
import netx
from benchmarks import soft_lif as command
from lavalike import slayer
from lavalike.datasets import mnist_sample

soft = slayer.block.soft_lif
Neuron = slayer.neuron.soft_lif.Neuron
CUBA = {"threshold": 4.0, "current_decay": 0.25, "voltage_decay": 0.0625}


@pytest.mark.parametrize("decays", [(0.25, 0.0625), (1.0, 0.0), (0.5, 0.3)])
@torch.no_grad()
def test_the_hard_rate_is_the_spiking_neurons(decays):
    """Whole steps make the real rate a staircase; where the interval is of some steps, the rate is
    its mean line: between one spike more and one less in 400 steps of it."""
    neuron = Neuron(4, *decays, softness=0)
    x = torch.linspace(0, 4 * decays[0], 81)[None, :, None]
    rate = neuron(x)[0, :, 0]
    slayer.neuron.soft_lif.soften(neuron, False)
    spikes = neuron(x.expand(-1, -1, 4000))[0, :, -2000:].mean(-1)
    assert torch.equal(rate > 0, spikes > 0) or (rate > 0).sum() - (spikes > 0).sum() <= 1
    some = (spikes > 0) & (spikes < 0.5)
    assert some.sum() > 10
    assert ((1 / rate - 1 / spikes).abs()[some] < 0.75).all()
    assert (1 / rate - 1 / spikes)[some].mean().abs() < 0.15
    assert (rate <= 1).all()


def test_it_is_softened_finite_and_its_gradient_right():
    hard, mild = (Neuron(4, 0.25, 0.0625, softness=s).double() for s in (0.0, 1e-4))
    x = torch.linspace(0.1, 3, 20, dtype=torch.float64)[None, :, None].requires_grad_()
    torch.testing.assert_close(hard(x), mild(x), rtol=1e-6, atol=1e-9)
    near = Neuron(4, 0.25, 0.0625).double()
    x = torch.linspace(-0.1, 0.3, 9, dtype=torch.float64)[None, :, None].requires_grad_()
    assert torch.autograd.gradcheck(near, x)
    for neuron in (Neuron(4, 0.25, 0.0625), Neuron(4, 1.0, 0.0), Neuron(4, 0.5, 1.0)):
        wide = torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3])[None, :, None].requires_grad_()
        y = neuron(wide)
        y.sum().backward()
        assert y.isfinite().all()
        assert wide.grad.isfinite().all()
        assert (y.diff(dim=1) >= 0).all()
        assert (y <= 1).all()


def test_noise_is_of_training_and_of_what_fires():
    torch.manual_seed(0)
    neuron = Neuron(4, 0.25, 0.0625, noise=0.05)
    x = torch.tensor([0.05, 0.2]).repeat_interleave(4000)[None, :, None]
    clean = neuron.eval()(x)
    assert torch.equal(clean, neuron(x))
    noise = (neuron.train()(x) - clean).reshape(2, -1)
    assert not noise[0].any()
    assert noise[1].std().item() == pytest.approx(0.05, rel=0.05)
    assert abs(noise[1].mean().item()) < 4 * 0.05 / 4000**0.5


def test_decays_of_one_a_channel_train_and_rates_know_no_delay():
    params = CUBA | {
        "current_decay": [0.25, 0.5, 1.0],
        "shared_param": False,
        "requires_grad": True,
    }
    block = soft.Dense(params, 4, 3, weight_scale=4)
    x = torch.rand(2, 4, 1, generator=torch.Generator().manual_seed(0))
    y = block(x)
    assert y.shape == (2, 3, 1)
    assert block.delay_shift
    y.sum().backward()
    for p in block.parameters():
        assert p.grad.abs().sum() > 0
        assert p.grad.isfinite().all()
    streamed, state = block.stream(x)
    assert torch.equal(streamed, y)
    assert not state
    with torch.no_grad():
        block.neuron.current_decay.fill_(-5)  # where training may leave it
    assert block(x).isfinite().all()


def test_a_cuba_networks_checkpoint_is_a_soft_ones():
    """Trained as spikes, gone on with as rates, and back."""
    params = CUBA | {"requires_grad": True}
    made = [f.Dense(params, 4, 3) for f in (slayer.block.cuba, soft)]
    for source, target in (made, made[::-1]):
        with torch.no_grad():
            source.synapse.weight.normal_()
        target.load_state_dict(source.state_dict())
        assert torch.equal(target.synapse.weight, source.synapse.weight)
    slayer.neuron.soft_lif.soften(made[1], False)
    x = (torch.rand(2, 4, 20, generator=torch.Generator().manual_seed(0)) < 0.5).float() * 8
    assert made[0](x).sum() > 0
    assert torch.equal(*(block(x) for block in made))


def test_as_spikes_it_is_what_its_file_computes(tmp_path):
    """Input, convolution with a norm, dense and voltages, bit for bit in fixed_pt; and the voltages
    are in the mean those that the rates have."""
    torch.manual_seed(0)
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    net = torch.nn.Sequential(
        soft.Input(command.PIXEL),
        soft.Conv(CUBA | {"norm": norm}, 1, 3, 3, weight_scale=6),
        soft.Flatten(),
        soft.Dense(CUBA, 48, 6, weight_scale=4),
        soft.Affine(CUBA, 6, 2),
    )
    x = torch.rand(3, 1, 6, 6, 1, generator=torch.Generator().manual_seed(1))
    net(x)
    net.eval()
    path = slayer.export_hdf5(net, tmp_path / "net.net", input_shape=(1, 6, 6))
    graph = netx.hdf5.Network(path)
    steps = 120
    held = x.expand(*x.shape[:-1], steps)
    with torch.no_grad():
        rates = net(x)
        slayer.neuron.soft_lif.soften(net, False)
        trained = net(held)
    v = graph.layers[-1].neuron.v
    seen = lv.simulate(graph, {"inp": graph.encode(held)}, config=command.FIXED, record=[v])[v]
    lag = graph.lag
    np.testing.assert_array_equal(seen[..., lag:], (trained * 4096).numpy()[..., : steps - lag])
    mean = trained[..., steps // 2 :].mean(-1, keepdim=True)
    # of few neurons, whose rates are staircases
    assert (rates - mean).abs().mean() < 0.25 * rates.abs().mean()


def test_digits_trained_soft_run_as_spikes():
    """The command's own parts, on the sample: see benchmarks/soft_lif.py for all of MNIST."""
    learn, test = (command.images(mnist_sample(t), n) for t, n in ((True, 600), (False, 100)))
    torch.manual_seed(0)
    net = command.Network((4, 8), noise=0.02)
    command.train(net, learn, 4, batch=16, lr=8e-3)
    answers = command.soft_answers(net, test)
    spiking = command.spiking_answers(net, test, [40])[40]
    right = [(a == test.y.numpy()).mean() for a in (answers, spiking)]
    assert right[0] > 0.7
    assert abs(right[0] - right[1]) <= 0.04
    assert (answers == spiking).mean() > 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Neuron(4, 0.0, 0.1), r"soft_lif.Neuron: current_decay is at least 1/4096"),
        (
            lambda: soft.Affine(CUBA | {"voltage_decay": 0.0}, 2, 2)(torch.ones(1, 2, 1)),
            "voltage_decay is 0",
        ),
        (lambda: soft.Dense(CUBA | {"softness": -1.0}, 2, 2), "softness"),
        (lambda: soft.Dense(CUBA, 2, 2)(torch.ones(1, 2, 1).half()), "float16"),
    ],
)
def test_nonsense_is_refused_by_name(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()
