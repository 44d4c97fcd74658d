"""slayer learns as people use it: delays from both sides, decays at their rate, recurrent
resonators; what lava-dl has is here too."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm

C = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
R = {"threshold": 0.3, "period": 10, "decay": 0.08}
A = {
    "threshold": 0.3,
    "threshold_step": 0.2,
    "current_decay": 0.3,
    "voltage_decay": 0.1,
    "threshold_decay": 0.2,
    "refractory_decay": 0.25,
}
AR = {
    "threshold": 0.3,
    "threshold_step": 0.2,
    "period": 10,
    "decay": 0.05,
    "threshold_decay": 0.2,
    "refractory_decay": 0.25,
}
block, neuron = slayer.block, slayer.neuron


# -- delays ----------------------------------------------------------------------------------------


def shifted_by_nine(start, difference, steps=300):
    """Where a delay ends that begins at ``start`` and is to be 9."""
    torch.manual_seed(1)
    x = (torch.rand(8, 1, 300) < 0.1).float()
    y = slayer.axon.delay(x, 9)
    delay = slayer.axon.Delay(channels=1, max_delay=62, delay_gradient=difference)
    delay.delay.data.fill_(start)
    error = slayer.loss.SpikeTime(time_constant=5)
    optimizer = torch.optim.Adam(slayer.utils.parameter_groups(delay, lr=0.003))
    for _ in range(steps):
        optimizer.zero_grad()
        error(delay(x), y).backward()
        optimizer.step()
    return float(delay.delay.detach())


@pytest.mark.parametrize("start", [0.5, 4.0, 14.0])
def test_the_central_difference_finds_a_delay_from_both_sides(start):
    assert 9 <= shifted_by_nine(start, "central") < 10


@pytest.mark.parametrize("start", [0.5, 14.0])
def test_lava_dls_difference_runs_past_it(start):
    assert shifted_by_nine(start, "forward") > 12


@pytest.mark.parametrize("difference", ["forward", "central"])
def test_the_delays_gradient_is_the_difference_it_is_called(difference):
    torch.manual_seed(0)
    x, g = torch.rand(2, 3, 12), torch.rand(2, 3, 12)
    delay = slayer.axon.Delay(channels=3, delay_gradient=difference)
    delay.delay.data = torch.tensor([1.3, 4.0, 13.5])  # the last one is later than the recording

    def by(more):
        return (slayer.utils.time.shift(x, (delay.delay.detach().floor() + more)) * g).sum((0, 2))

    (delay(x) * g).sum().backward()
    want = (by(1) - by(-1)) / 2 if difference == "central" else by(1) - by(0)
    np.testing.assert_allclose(delay.delay.grad, want, rtol=1e-5, atol=1e-5)


def test_every_block_with_delay_takes_the_difference_and_alone_it_is_refused():
    for family in ("cuba", "rf", "sigma_delta"):
        params = {"cuba": C, "rf": R, "sigma_delta": {"threshold": 0.1}}[family]
        made = getattr(block, family)
        for name, args in (
            ("Dense", (4, 3)),
            ("Conv", (1, 2, 3)),
            ("ConvT", (1, 2, 3)),
            ("Pool", (2,)),
            ("Unpool", (2,)),
            ("Recurrent", (4, 3)),
        ):
            if hasattr(made, name):
                cls = getattr(made, name)
                assert (
                    cls(params, *args, delay=True, delay_gradient="central").delay.delay_gradient
                    == "central"
                )
                assert cls(params, *args, delay=True).delay.delay_gradient == "forward"
                with pytest.raises(
                    lv.InputError, match="delay_gradient='central' needs delay=True"
                ):
                    cls(params, *args, delay_gradient="central")


@pytest.mark.parametrize("more", [{}, {"shared_param": False}])
def test_a_seed_gives_lava_dls_weights_with_delays_too(more):
    """lava-dl draws delays and the decays of channels at the first call: a block's weights come
    first, as torch's Conv3d draws them."""
    torch.manual_seed(5)
    want = torch.nn.Conv3d(12, 7, 1, bias=False).weight
    torch.manual_seed(5)
    net = torch.nn.Sequential(
        block.cuba.Dense({**C, **more}, 12, 7, delay=True),
        block.cuba.Dense({**C, **more}, 7, 3, delay=True),
    )
    assert torch.equal(net[0].synapse.weight, want)
    assert not torch.equal(net[0].delay.delay[:3], net[1].delay.delay)
    torch.manual_seed(5)
    again = block.cuba.Dense({**C, **more}, 12, 7, delay=True)
    assert torch.equal(
        again.delay.delay, net[0].delay.delay
    )  # and what is drawn behind them comes from the seed
    assert ((net[0].delay.delay >= 0) & (net[0].delay.delay < 1)).all()


# -- groups ----------------------------------------------------------------------------------------


def test_parameter_groups():
    net = torch.nn.Sequential(
        block.cuba.Dense({**C, "requires_grad": True}, 4, 3, delay=True),
        block.rf.Dense({**R, "requires_grad": True}, 3, 3),
        block.cuba.Dense(C, 3, 2),
    )
    net[2].synapse.weight.requires_grad_(False)
    weights, decays, delays = slayer.utils.parameter_groups(net, lr=0.01, delay_lr=0.2)
    assert [weights["lr"], decays["lr"], delays["lr"]] == [0.01, 40.96, 0.2]
    first, second = net[0].synapse, net[1].synapse
    assert [id(p) for p in weights["params"]] == [
        id(p) for p in (first.weight, second.real.weight, second.imag.weight)
    ]
    assert {id(p) for p in decays["params"]} == {
        id(p)
        for p in (
            net[0].neuron.current_decay,
            net[0].neuron.voltage_decay,
            net[1].neuron.sin_decay,
            net[1].neuron.cos_decay,
        )
    }
    assert [id(p) for p in delays["params"]] == [id(net[0].delay.delay)]
    optimizer = torch.optim.AdamW([weights, decays, delays], weight_decay=0.1)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0, 0]
    with pytest.raises(lv.InputError, match="Flatten has no parameter that requires a gradient"):
        slayer.utils.parameter_groups(block.cuba.Flatten(), lr=0.1)


def test_decays_move_at_their_rate():
    torch.manual_seed(0)
    x = (torch.rand(16, 1, 100) < 0.15).float()
    moved = []
    for grouped in (True, False):
        net = block.cuba.Dense(
            {"threshold": 0.5, "current_decay": 0.1, "voltage_decay": 0.1, "requires_grad": True},
            1,
            1,
        )
        net.synapse.weight.data.fill_(0.3)
        target = block.cuba.Dense(
            {"threshold": 0.5, "current_decay": 0.4, "voltage_decay": 0.7}, 1, 1
        )
        target.synapse.weight.data.fill_(0.3)
        y = target(x).detach()
        optimizer = torch.optim.Adam(
            slayer.utils.parameter_groups(net, lr=0.01) if grouped else net.parameters(), lr=0.01
        )
        for _ in range(60):
            optimizer.zero_grad()
            slayer.loss.SpikeTime()(net(x), y).backward()
            optimizer.step()
        moved.append(abs(float(net.neuron.voltage_decay.detach()) / 4096 - 0.1))
    assert moved[0] > 0.02
    assert moved[1] < 0.001  # as lava-dl's programs do


# -- the gradient of a loop ------------------------------------------------------------------------


def recurrent(family, params, steps, **options):
    torch.manual_seed(0)
    net = getattr(block, family).Recurrent(params, 12, 7, weight_scale=4, **options)
    y = net((torch.rand(2, 12, steps) < 0.3).float())
    ((y - 0.1) ** 2).mean().backward()
    part = (
        net.input_synapse.real
        if family in ("rf", "rf_iz", "adrf", "adrf_iz")
        else net.input_synapse
    )
    return y.detach(), part.weight.grad


def test_a_recurrent_resonators_gradient_is_bounded():
    assert (
        recurrent("rf", R, 20, bounded=False)[1].norm() > 1e11
    )  # the surrogate's mathematics, see the next test
    for steps in (20, 100):
        y, grad = recurrent("rf", R, steps)
        assert y.any()
        assert 0.1 < grad.norm() < 1e3
        assert 0 < recurrent("rf", R, steps, bptt=False)[1].norm() < 1e3


def test_unbounded_it_is_what_plain_autograd_gives():
    """The recurrence by hand in float64, its spikes those of spike.complex: the explosion is no
    error of the code."""
    torch.manual_seed(0)
    net = block.rf.Recurrent(R, 12, 7, weight_scale=4, bounded=False, delay_shift=False)
    x = (torch.rand(2, 12, 8) < 0.3).float()
    y = net(x)
    ((y - 0.1) ** 2).mean().backward()
    wr, wi, rr, ri = (
        s.effective_weight().detach().double()[:, :, 0, 0, 0]
        for s in (
            net.input_synapse.real,
            net.input_synapse.imag,
            net.recurrent_synapse.real,
            net.recurrent_synapse.imag,
        )
    )
    wr.requires_grad_()
    n = net.neuron
    sin, cos = (float(p.round()) / 4096 for p in (n.sin_decay, n.cos_decay))
    re = im = s = torch.zeros(2, 7, dtype=torch.float64)
    rows = []
    for t in range(8):
        z, before = x[..., t].double(), im
        re, im = (
            cos * re - sin * im + z @ wr.T + s @ rr.T,
            sin * re + cos * im + z @ wi.T + s @ ri.T,
        )
        s = slayer.spike.complex.Spike.apply(
            re[..., None], im[..., None], n.threshold, n.tau_rho * 0.5, 10.0, False, before.detach()
        )[..., 0]
        rows.append(s)
    hand = torch.stack(rows, -1)
    assert torch.equal(hand.float(), y)
    ((hand - 0.1) ** 2).mean().backward()
    got = net.input_synapse.real.weight.grad[:, :, 0, 0, 0].double()
    assert (got - wr.grad).norm() < 0.05 * wr.grad.norm()  # states count in 1/4096
    assert wr.grad.norm() > 100


@pytest.mark.parametrize(
    ("family", "params"), [("cuba", C), ("alif", A), ("rf_iz", R), ("adrf", AR)]
)
def test_a_loop_that_does_not_amplify_is_left_alone(family, params):
    exact = recurrent(family, params, 30, bounded=False)[1]
    np.testing.assert_allclose(
        recurrent(family, params, 30)[1], exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max())
    )


# -- graded spikes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["alif", "rf", "rf_iz", "adrf", "adrf_iz"])
def test_graded_spikes_send_the_state(kind):
    torch.manual_seed(0)
    params = {"alif": A, "rf": R, "rf_iz": R, "adrf": AR, "adrf_iz": AR}[kind]
    x = [torch.randn(2, 3, 60) * 0.5 for _ in range(1 if kind == "alif" else 2)]
    cls = getattr(neuron, kind).Neuron
    plain, graded = cls(**params), cls(**params, graded_spike=True)
    x[0].requires_grad_()
    s, g = plain(*x), graded(*x)
    assert 0 < s.mean() < 0.5
    if kind == "rf_iz":  # reset by its spikes
        assert torch.equal(g > 0, s > 0)
        assert (g[s > 0] >= plain.threshold).all()
    else:
        state = (
            neuron.cuba.Neuron(3.9, 0.3, 0.1).affine(*x)[0][0]
            if kind == "alif"
            else plain.affine(*x)[0][kind == "adrf_iz"]
        )
        assert torch.equal(g, s * state)
    assert graded.device_params["gradedSpike"] is True
    g.sum().backward()
    assert x[0].grad.isfinite().all()
    assert x[0].grad.any()
    y, state = graded.stream(*(v[..., :20] for v in x))
    z, _ = graded.stream(*(v[..., 20:] for v in x), state=state)
    assert torch.equal(torch.cat([y, z], -1), g)


def test_the_gradient_of_a_graded_spike_is_lava_dls():
    v = torch.linspace(-0.5, 1.5, 9).reshape(1, 1, 9).requires_grad_()
    s = slayer.spike.Spike.apply(v, 0.5, 0.25, 2.0, True, 0, 1)
    np.testing.assert_array_equal(s.detach(), (v * (v >= 0.5)).detach())
    s.sum().backward()
    np.testing.assert_allclose(
        v.grad, 2.0 * torch.exp((v.detach() - 0.5).clamp(max=0) / 0.25), rtol=1e-6
    )
    re, im = (
        torch.tensor([[[0.2, 0.7, 0.9]]], requires_grad=True),
        torch.tensor([[[-0.1, 0.2, -0.3]]], requires_grad=True),
    )
    s = slayer.spike.complex.Spike.apply(re, im, 0.5, 0.25, 2.0, True, 0, 1)
    np.testing.assert_allclose(s.detach(), [[[0, 0.7, 0]]])
    s.sum().backward()
    dr, di = torch.exp((re - 0.5).clamp(max=0) / 0.25), torch.exp(-im.abs() / 0.25) / 0.5
    step = 0.5 * (1 + torch.sign(re - 0.5) * (1 - 0.5 * dr))
    np.testing.assert_allclose(re.grad, (2 * dr * di).detach(), rtol=1e-6)
    np.testing.assert_allclose(im.grad, (-8 * torch.sign(im) * di * step).detach(), rtol=1e-6)


# -- pools of odd sizes, names, checkpoints --------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "kernel"), [((9, 7), 2), ((7, 8), 3), ((5, 4), (3, 2)), ((1, 5), 2), ((10, 7), 4)]
)
@pytest.mark.parametrize("family", ["cuba", "rf"])
@torch.no_grad()
def test_zeros_complete_the_last_window_of_a_pool(tmp_path, family, shape, kernel):
    torch.manual_seed(0)
    x = (torch.rand(2, 3, *shape, 20) < 0.4).float()
    kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
    missing = [-n % k for n, k in zip(shape, kernels, strict=True)]
    padded = functional.pad(x.movedim(-1, 0).flatten(0, 1), (0, missing[1], 0, missing[0]))
    want = functional.avg_pool2d(padded, kernel, divisor_override=1)
    assert torch.equal(slayer.synapse.Pool(kernel)(x).movedim(-1, 0).flatten(0, 1), want)
    params = C if family == "cuba" else R
    pool = getattr(block, family).Pool(params, kernel, weight_scale=0.5)
    size = tuple(-(-n // k) for n, k in zip(shape, kernels, strict=True))
    assert pool.output_shape((3, *shape)) == (3, *size)
    dense = getattr(block, family).Dense(params, 3 * math.prod(size), 4, weight_scale=3)
    net = torch.nn.Sequential(pool, block.cuba.Flatten(), dense).eval()
    assert net(x).any()
    report = netx.compare(net, slayer.export_hdf5(net, tmp_path / "n.net"), x)
    assert report, str(report)


def test_names_of_lava_dl():
    x = (torch.rand(2, 5, 30) < 0.3).float()
    q = slayer.utils.QUANTIZE_MODE
    assert float(slayer.utils.quantize(torch.tensor(0.9), mode=q.FLOOR)) == 0
    logs = torch.log_softmax(x.mean(-1), 1)
    assert torch.allclose(slayer.classifier.Rate.confidence(x, mode="logsoftmax"), logs)
    assert torch.allclose(slayer.classifier.MovingWindow(30, "logsoftmax")(x)[..., -1], logs)
    bank = slayer.utils.filter.FIRBank(3, 7)
    y = bank(x)
    assert (y.shape, bank.num_filter, bank.filter_length) == ((2, 15, 30), 3, 7)
    one = slayer.utils.filter.conv(x, torch.from_numpy(bank.impulse_response[1].copy()))
    torch.testing.assert_close(y[:, 5:10], one)
    np.testing.assert_allclose(
        slayer.utils.filter.FIR(time_constant=2, length=3).impulse_response,
        np.exp([0, -0.5, -1]),
        rtol=1e-6,
    )
    assert float(neuron.rf.Neuron(0.3, 10, 0.1).lam[0]) == pytest.approx(-math.log(0.9), rel=1e-3)
    b = block.rf.Dense(R, 12, 7, weight_scale=4)
    (b((torch.rand(2, 12, 40) < 0.3).float()) * torch.randn(2, 7, 40)).sum().backward()
    assert (
        0
        < b.synapse.grad_norm
        == pytest.approx(math.hypot(b.synapse.real.grad_norm, b.synapse.imag.grad_norm))
    )


def test_checkpoints_of_lava_dl_load():
    b = block.cuba.Dense(C, (4, 3, 2), 5, mask=torch.ones(5, 24))
    weight = torch.randn(5, 2, 3, 4, 1)  # (out, C, H, W, 1)
    b.load_state_dict(
        {**b.state_dict(), "synapse.weight": weight, "mask": torch.zeros(5, 24, 1, 1, 1)}
    )
    assert torch.equal(b.synapse.weight.flatten(1), weight.flatten(1))
    assert not b.mask.any()
    p = {"threshold": 0.1, "activation": functional.relu, "norm": MeanOnlyBatchNorm}
    out = block.sigma_delta.Output(p, 10, 3, weight_norm=True)
    out.load_state_dict({**out.state_dict(), "neuron.norm.running_mean": torch.zeros(1)})
    plain = block.sigma_delta.Output({"threshold": 0.1}, 10, 3)
    with pytest.raises(
        RuntimeError, match="running_mean"
    ):  # without a norm it is another network's
        plain.load_state_dict({**plain.state_dict(), "neuron.norm.running_mean": torch.zeros(1)})
    r = block.cuba.Recurrent(C, 4, 3)
    r.load_state_dict({**r.state_dict(), "spike_state": torch.zeros(2, 3)})
    k = block.cuba.KWTA(C, 4, 3, 1)
    state = {
        ("synapse.weight" if n == "input_synapse.weight" else n): v
        for n, v in k.state_dict().items()
    }
    k.load_state_dict(
        {**state, "self_excitation": torch.tensor([0.25]), "spike_state": torch.zeros(1)}
    )
    assert float(k.self_excitation.detach()) == 0.25


@pytest.mark.parametrize("in_neurons", [6, (3, 2, 1)])
def test_weight_norm_loads_in_both_spellings(in_neurons):
    b, c = (block.cuba.Dense(C, in_neurons, 4, weight_norm=True) for _ in range(2))
    other = {
        f"synapse.{a}": f"synapse.parametrizations.weight.{b}"
        for a, b in (("weight_g", "original0"), ("weight_v", "original1"))
    }
    c.load_state_dict({other.get(k, k): v for k, v in b.state_dict().items()})
    assert torch.equal(b.synapse.effective_weight(), c.synapse.effective_weight())


# -- doors -----------------------------------------------------------------------------------------


def test_lists_of_decays():
    b = block.cuba.Dense({**C, "current_decay": [0.1, 0.2, 0.3], "shared_param": False}, 4, 3)
    np.testing.assert_allclose(
        b.neuron.current_decay.detach(), np.array([0.1, 0.2, 0.3]) * 4096, rtol=1e-6
    )
    pair = (
        block.cuba.Dense(
            {**C, "current_decay": [0.1, 0.2], "shared_param": False}, 4, 9
        ).neuron.current_decay.detach()
        / 4096
    )
    assert len(pair) == 9
    assert ((pair >= 0.1) & (pair <= 0.2)).all()


D = block.cuba.Dense
NONSENSE = [
    (
        lambda: D({**C, "current_decay": [0.1, 0.2, 0.3], "shared_param": False}, 4, 5)(
            torch.zeros(1, 4, 3)
        ),
        "current_decay has 3 values",
    ),
    (
        lambda: D({**C, "current_decay": [0.1, 0.2, 0.3]}, 4, 3),
        "current_decay is one number where parameters are shared",
    ),
    (
        lambda: D({**C, "threshold": [1.0, 2.0]}, 4, 2),
        r"cuba\.Dense: neuron_params: Neuron: threshold is a number > 0, got \[1\.0, 2\.0\]",
    ),
    (
        lambda: D({**C, "dropout": 1.5}, 3, 2),
        r"dropout is a module \(slayer\.neuron\.Dropout\(p\)\) or None, got 1\.5",
    ),
    (lambda: D({**C, "threshold": 1e9}, 3, 2), "threshold is at most 4095.96875"),
    (lambda: D({**C, "norm": "bn"}, 3, 2), "norm is a class from slayer.neuron.norm"),
    (lambda: D({**C, "treshold": 1.0}, 3, 2), "no argument 'treshold'; did you mean 'threshold'"),
    (lambda: D({"threshold": 1.0, "current_decay": 0.5}, 3, 2), "voltage_decay is missing"),
    (lambda: D({**C, "voltage_decay": "0.1"}, 3, 2), "voltage_decay is a number in 0..1"),
    (lambda: D("cuba", 3, 2), "neuron_params is a dict, got 'cuba'"),
    (lambda: D({**C, 1: 2}, 3, 2), "keys of neuron_params are names"),
    (lambda: D(C, 3, 2, weight_scale=math.nan), "weight_scale is a finite number, got nan"),
    (lambda: D(C, 3, 2, delay="yes"), "delay is True or False, got 'yes'"),
    (
        lambda: D(C, 3, 2, delay=True, delay_gradient="backward"),
        "delay_gradient is 'forward' or 'central', got 'backward'",
    ),
    (lambda: D(C, -3, 2), "in_neurons is an integer >= 1"),
    (lambda: D(C, 3, 2, weigth_norm=True), "no argument 'weigth_norm'; did you mean 'weight_norm'"),
    (lambda: block.rf.Conv(R, 1, 2, 3, stride="a"), "stride is an integer >= 1"),
    (lambda: block.rf.Recurrent(R, 1, 2, bounded="x"), "bounded is True or False"),
    (
        lambda: slayer.classifier.Rate.confidence(torch.zeros(1, 2, 3), mode="softmx"),
        "did you mean 'softmax'",
    ),
    (lambda: slayer.loss.SpikeMax(reduction="sume"), "did you mean 'sum'"),
    (lambda: slayer.utils.Assistant(None, None, None), "net is a Module, got None"),
    (
        lambda: slayer.io.Event([1], None, [0], [1]).to_tensor(sampling_time="1"),
        "sampling_time is a number > 0",
    ),
]


@pytest.mark.parametrize(("call", "message"), NONSENSE, ids=[m for _, m in NONSENSE])
def test_nonsense_is_refused_by_name(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()
