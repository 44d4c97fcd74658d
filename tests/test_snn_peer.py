"""snnTorch's checkpoints and numbers, checkpoints of older versions, and what only snnTorch's users
ask for: monitors, quantised states, plasticity, epochs, plots, parts of data sets.

``tests/data/snntorch-1.0`` holds what snnTorch 1.0.0 computed: constructor, state_dict, inputs,
spikes, membranes and the inputs' gradients.
"""

from __future__ import annotations

import copy
import importlib
import math
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lavalike import snn
from lavalike.errors import InputError, LavalikeError, NotRecordedError
from lavalike.snn import backprop, functional as SF, spikeplot, surrogate as sg, utils
from lavalike.snn.functional import probe, quant, stdp_learner
from tests.conftest import ROOT

DATA = ROOT / "tests" / "data"
RECORDED = torch.load(DATA / "snntorch-1.0" / "neurons.pt")


def made(case):
    """The neuron, made with other numbers than its checkpoint has."""
    more = {"state_quant": quant.state_quant(**case["quant"])} if case["quant"] else {}
    return getattr(snn, case["name"])(**case["here"], **more)


def answers(neuron, x, pair=False):
    """Spikes and membranes of all steps."""
    if not neuron.state_names:
        out = neuron(x)
        return out if isinstance(out, tuple) else (out, out)
    states = neuron.reset_mem()
    states = states if isinstance(states, tuple) else (states,)
    spikes, membranes = [], []
    for now in x:
        if pair:
            spk, states = neuron(now, states)
        else:
            spk, *_ = out = neuron(now, *states)
            states = out[-len(states) :]
        spikes.append(spk)
        membranes.append(states[0 if pair else -1])
    return torch.stack(spikes), torch.stack(membranes)


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RECORDED, ids=lambda c: c["name"])
def test_a_checkpoint_of_snntorch_computes_what_it_did_there(case):
    """Spikes to the bit; membranes and gradients to the rounding of some ten sums."""
    neuron = made(case)
    neuron.load_state_dict(case["state"])
    x = case["x"].clone().requires_grad_()
    spk, mem = answers(neuron, x, case["pair"])
    if case["name"] == "AssociativeLeaky":  # a product of spikes and floats
        torch.testing.assert_close(spk, case["spk"], rtol=1e-6, atol=1e-6)
    else:
        assert torch.equal(spk, case["spk"])
        assert spk.any()
    torch.testing.assert_close(mem, case["mem"], rtol=2e-6, atol=2e-6)
    (spk * torch.linspace(0, 1, spk.numel()).view(spk.shape)).sum().backward()
    # snnTorch divides an association by the product of its decays, here down to 1e-5, plus 1e-8
    loose = 100 if case["name"] == "AssociativeLeaky" else 1
    scale = case["grad"].abs().max().item()
    torch.testing.assert_close(x.grad, case["grad"], rtol=1e-5 * loose, atol=2e-6 * loose * scale)


def test_the_keys_of_a_state_dict_are_snntorchs():
    never_reset = ("DeltaLeaky", "StateLeaky", "LinearLeaky", "LeakyParallel", "AssociativeLeaky")
    for case in RECORDED:
        if case["name"] in never_reset:  # without what says nothing: a reset, beta beside tau
            continue
        ours = {*made(case).state_dict()} - {"exact"}
        assert ours == {k for k in case["state"] if k != "recurrent.V"}, case["name"]


VERSIONS = {"lavalike-0.3": ("0.3", "0.4"), "lavalike-0.4": ("0.4",)}


def older():
    """The network of the old files, with other numbers."""
    return nn.ModuleDict(
        {
            "leaky": snn.Leaky(0.5, learn_beta=True, learn_threshold=True),
            "zero": snn.Leaky(torch.full((3,), 0.5), torch.ones(3), reset_mechanism="zero"),
            "synaptic": snn.Synaptic(0.5, 0.5, learn_alpha=True, reset_delay=False),
            "alpha": snn.Alpha(0.5, 0.2, reset_mechanism="subtract"),
            "lapicque": snn.Lapicque(0.5),
            "own": snn.RLeaky(0.5, all_to_all=False),
            "dense": snn.RLeaky(0.5, linear_features=3),
            "rsynaptic": snn.RSynaptic(0.5, 0.5, all_to_all=False),
            "slstm": snn.SLSTM(3, 3, reset_mechanism="zero"),
        }
    )


@pytest.mark.parametrize("kind", ["state_dict", "modules 0.3", "modules 0.4"])
def test_checkpoints_of_older_versions_compute_what_they_did(kind):
    """A state_dict whose keys are of before 0.5 (vth, resistance), and modules pickled whole. Their
    Lapicque is the exact one, whatever is made today, and stays so when it is saved again."""
    old = torch.load(DATA / "lavalike-0.3" / "snn_state.pt")
    net = older()
    if kind == "state_dict":
        net.load_state_dict(old["state"])
    else:
        net = torch.load(DATA / f"lavalike-{kind[-3:]}" / "snn_modules.pt", weights_only=False)
    again = older()
    again.load_state_dict(net.state_dict())
    for which in (net, copy.deepcopy(net), again):
        for name, neuron in which.items():
            assert torch.equal(answers(neuron, old["x"])[0], old["answers"][name]), name
    assert (again["lapicque"].integrator, older()["lapicque"].integrator) == ("exact", "euler")
    net["leaky"].reset_mechanism, net["leaky"].threshold = "zero", 0.7  # they are today's neurons
    other = snn.Leaky(0.8, 0.7, reset_mechanism="zero", graded_spikes_factor=2.0)
    assert torch.equal(answers(net["leaky"], old["x"])[0], answers(other, old["x"])[0])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("beta", torch.tensor(math.nan), r"snn.Leaky '1': beta is in 0..1, the checkpoint has nan"),
        ("threshold", torch.tensor(-1.0), r"snn.Leaky '1': threshold is in 1e-06..inf, .* has -1"),
        (
            "beta",
            torch.full((4,), 0.5),
            r"snn.Leaky '1': beta of the checkpoint has shape \(4,\), here \(\); make the neuron with",
        ),
        ("reset_mechanism_val", torch.tensor(7), r"reset_mechanism_val .* is 0 \(subtract\), 1"),
    ],
)
def test_a_checkpoint_with_wrong_values_is_refused_with_its_place(key, value, message):
    net = nn.Sequential(nn.Linear(1, 1), snn.Leaky(0.5))
    state = net.state_dict() | {f"1.{key}": value}
    with pytest.raises(InputError, match=message):
        net.load_state_dict(state)


def test_what_a_checkpoint_says_beside_numbers():
    """A decay out of 0..1 is brought back, as snnTorch does in every step; the reset mechanism is
    the checkpoint's; what is missing altogether is torch's error."""
    neuron = snn.Leaky(0.5)
    state = snn.Leaky(0.5, reset_mechanism="zero").state_dict()
    neuron.load_state_dict(state | {"beta": torch.tensor(1.03)})
    assert (neuron.beta.item(), neuron.reset_mechanism, int(neuron.reset_mechanism_val)) == (
        1,
        "zero",
        1,
    )
    assert neuron(torch.ones(1, 1), torch.full((1, 1), 3.0))[1].item() == 1
    del state["beta"], state["graded_spikes_factor"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "beta"\.'):
        neuron.load_state_dict(state)
    recurrent = snn.RLeaky(0.5, linear_features=2)
    state = recurrent.state_dict() | {"graded_spikes_factor": torch.tensor(2.0)}
    with pytest.raises(InputError, match=r"graded_spikes_factor is in 1..1, the checkpoint has 2"):
        recurrent.load_state_dict(state)


def test_parameters_come_in_snntorchs_order():
    """In which an optimizer's checkpoint counts them."""
    neuron = snn.Synaptic(0.5, 0.5, learn_alpha=True, learn_beta=True, learn_threshold=True)
    assert [n for n, _ in neuron.named_parameters()] == ["threshold", "beta", "alpha"]
    neuron = snn.RLeaky(0.5, all_to_all=False, learn_beta=True)
    assert [n for n, _ in neuron.named_parameters()] == ["beta", "V"]


# -- neurons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("integrator", ["euler", "exact"])
def test_lapicques_circuit(integrator):
    """mem' of mem 0.5 and x 0.3, from R, C and the step; what is set later or learnt."""

    def step(R, C, T=1.0):
        loss = T / (R * C)
        if integrator == "euler":
            return (1 - loss) * 0.5 + T / C * 0.3
        return math.exp(-loss) * 0.5 + (1 - math.exp(-loss)) * R * 0.3

    def of(neuron):
        return neuron(torch.full((1, 1), 0.3), torch.full((1, 1), 0.5))[1].item()

    k = {"integrator": integrator}
    ln2 = math.log(2)
    for neuron, expected in (
        (snn.Lapicque(0.5, **k), step(1, 1 / ln2)),
        (snn.Lapicque(R=5.0, C=2, **k), step(5, 2)),
        (snn.Lapicque(False, 5.0, 2.0, 0.1, **k), step(5, 2, 0.1)),
        (snn.Lapicque(0.5, C=2.0, **k), step(1 / (2 * ln2), 2)),
        (snn.Lapicque(0.5, R=2.0, learn_beta=True, **k), step(2, 1 / (2 * ln2))),
    ):
        assert of(neuron) == pytest.approx(expected, rel=1e-6)
        assert neuron.beta.item() == pytest.approx(
            math.exp(-neuron.time_step / (neuron.R * neuron.C)), rel=1e-6
        )
    neuron = snn.Lapicque(R=5.0, C=2.0, **k)
    for name, value, expected in (("R", 4, (4, 2)), ("C", 3, (4, 3)), ("time_step", 2, (4, 3, 2))):
        setattr(neuron, name, value)
        assert of(neuron) == pytest.approx(step(*expected), rel=1e-6)
    neuron.beta = 0.5
    assert of(neuron) == pytest.approx(step(4, 2 / (4 * ln2), 2), rel=1e-6)
    learnt = snn.Lapicque(0.5, learn_beta=True, **k)
    learnt(torch.ones(1, 1), torch.zeros(1, 1))[1].sum().backward()
    assert learnt.beta.grad != 0
    learnt.beta.data.fill_(0.25)
    assert learnt.C.item() == pytest.approx(1 / (2 * ln2), rel=1e-6)
    assert learnt.state_dict()["C"] == learnt.C
    with pytest.raises(InputError, match=r"snn.Lapicque: C follows from beta, which is learnt"):
        learnt.C = 2.0


def test_states_that_are_kept_have_their_names():
    neuron = snn.Synaptic(0.5, 0.5, init_hidden=True)
    assert neuron.mem.numel() == 0
    neuron.mem = torch.full((1, 2), 0.8)
    neuron(torch.zeros(1, 2))
    assert torch.equal(neuron.mem, torch.full((1, 2), 0.4))
    assert torch.equal(neuron.syn, neuron.hidden["syn"])
    neuron.mem = None
    assert neuron.mem.numel() == 0
    with pytest.raises(InputError, match=r"state mem is a torch tensor or None, got 3 \(int\)"):
        neuron.mem = 3
    with pytest.raises(AttributeError, match=r"snn.Leaky: mem is a state, which a call takes"):
        snn.Leaky(0.5).mem  # noqa: B018


def test_a_step_with_both_a_kept_and_a_given_state_is_a_type_error():
    for neuron in (
        snn.Leaky(0.5, init_hidden=True),
        snn.SLSTM(2, 2, init_hidden=True),
        snn.DeltaLeaky(beta=0.5, init_hidden=True),
    ):
        with pytest.raises(TypeError, match=r"with init_hidden=True a call takes the input alone"):
            neuron(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(TypeError, match=r"snn.DeltaLeaky: .* the pair \(mem, mem_prev\)"):
        snn.DeltaLeaky(beta=0.5)(torch.ones(1, 2))


@pytest.mark.parametrize("kind", ["Leaky", "RLeaky"])
def test_inhibition_and_quantised_states_in_steps_a_sequence_and_later(kind):
    """Steps and a sequence agree; set later they act as if made so; with reset_delay=False they are
    refused."""
    make = {
        "Leaky": lambda **k: snn.Leaky(0.8, 0.6, **k),
        "RLeaky": lambda **k: snn.RLeaky(0.8, V=0.3, all_to_all=False, threshold=0.6, **k),
    }[kind]
    x = torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(0))
    rounded = quant.state_quant(3, threshold=0.6)
    plain = answers(make(), x)[0]
    for name, value in (("inhibition", True), ("state_quant", rounded)):
        neuron, later = make(**{name: value}), make()
        spk, mem = answers(neuron, x)
        setattr(later, name, value)
        assert torch.equal(answers(later, x)[0], spk)
        assert not torch.equal(plain, spk)
        outputs, states = neuron.sequence(x, record=["mem"])
        assert torch.equal(outputs["s_out"], spk)
        assert torch.equal(outputs["mem"], mem)
        assert torch.equal(states[-1], mem[-1])
        setattr(later, name, False)
        assert torch.equal(answers(later, x)[0], plain)
        with pytest.raises(InputError, match=f"{name} acts after a step, in which reset_delay"):
            make(reset_delay=False, **{name: value})
        with pytest.raises(InputError, match=f"{name} acts after a step"):
            setattr(make(reset_delay=False), name, value)
    assert answers(make(inhibition=True), x)[0].sum(2).max() == 1
    with pytest.raises(InputError, match=r"inhibition is among the neurons of a sample"):
        make(inhibition=True)(torch.ones(1, 2, 3))


def test_accelerate_folds_neurons_with_quantised_states():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif = nn.Linear(3, 4), snn.Leaky(0.8, state_quant=quant.state_quant(4))

        def forward(self, x):
            mem, out = self.lif.reset_mem(), []
            for now in x:
                spk, mem = self.lif(self.fc(now), mem)
                out.append(spk + mem)
            return torch.stack(out)

    net, x = Net(), torch.rand(5, 2, 3) * 4
    torch.testing.assert_close(snn.accelerate(net, lambda out, y: out.sum())(x, x[0])[0], net(x))


def test_a_neuron_of_ones_own_from_the_base():
    class Mine(snn.SpikingNeuron):
        def forward(self, x, mem):
            mem = 0.5 * mem + x - self.mem_reset(mem) * self.threshold
            return self.fire(mem), mem

    x = torch.rand(8, 2, 3) * 2
    mine, leaky = Mine(graded_spikes_factor=2.0), snn.Leaky(0.5, graded_spikes_factor=2.0)
    mem = other = torch.zeros(2, 3)
    for now in x:
        spk, mem = mine(now, mem)
        expected, other = leaky(now, other)
        assert torch.equal(spk, expected)
    assert isinstance(leaky, snn.LIF)
    assert isinstance(snn.SLSTM(1, 1), snn.SpikingNeuron)
    assert torch.equal(
        snn.LIF(0.9, threshold=2.0).fire(torch.tensor([2.0, 2.5])), torch.tensor([0.0, 1])
    )


def test_what_sums_over_time_says_what_it_cannot_do():
    neuron = snn.StateLeaky(0.9, 2, learn_beta=True)
    for call in (
        lambda: neuron.mem_reset(torch.ones(1, 2)),
        lambda: neuron.fire_inhibition(1, None),
    ):
        with pytest.raises(NotImplementedError, match=r"snn.StateLeaky: ") as e:
            call()
        assert isinstance(e.value, LavalikeError)
    for x, message in (
        (
            torch.ones(4, 2),
            r"floating-point \(time, batch, channels\), 2 of the last; got \(4, 2\)",
        ),
        (torch.ones(4, 1, 3), r"2 of the last; got \(4, 1, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            neuron(x)
    with pytest.raises(InputError, match=r"reset_mechanism is one of none, got 'zero'"):
        neuron.reset_mechanism = "zero"
    neuron.beta = 0.5
    assert (neuron.tau.item(), neuron.beta.item()) == pytest.approx((2, 0.5))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        snn.StateLeaky(0.9, 2, output=False)
        snn.StateLeaky(0.9, 2, output=False, learn_threshold=True)
    assert [str(w.message).split(": ")[1][:12] for w in told] == ["output=False"]


def test_a_window_of_steps_is_a_sum_of_so_many():
    x = torch.rand(30, 2, 3, dtype=torch.float64)
    neuron = snn.StateLeaky(0.9, 3, kernel_truncation_steps=4, output=False).double()
    d = math.exp(-1 / neuron.tau.item())
    padded = torch.cat([torch.zeros(3, 2, 3, dtype=torch.float64), x])
    expected = sum(d**k * padded[3 - k : 33 - k] for k in range(4))
    torch.testing.assert_close(neuron(x), expected, rtol=0, atol=1e-14)


def test_associations_of_a_long_sequence_stay_exact():
    """The products of all decays, by which snnTorch divides, vanish after some hundred steps."""
    torch.manual_seed(0)
    neuron = snn.AssociativeLeaky(2, 2, 2, use_q_projection=False)
    x = torch.randn(600, 1, 2)
    spk = neuron(x)
    S = torch.zeros(2, 2)
    for t, now in enumerate(x[:, 0]):
        S = S * torch.sigmoid(neuron.to_alpha(now)) + torch.outer(
            neuron.to_v(now), neuron.to_k(now)
        )
        assert torch.equal(spk[t, 0], (S > 1).float().flatten()), t
    assert spk[500:].any()


# -- layers ----------------------------------------------------------------------------------------


def test_normalisation_through_time_has_a_norm_for_each_step():
    for norm, shape in ((snn.BatchNormTT1d(3, 2), (5, 3)), (snn.BatchNormTT2d(3, 2), (5, 3, 2, 2))):
        assert [n.bias for n in norm] == [None, None]
        assert sorted({k.split(".")[1] for k in norm.state_dict()}) == [
            "num_batches_tracked",
            "running_mean",
            "running_var",
            "weight",
        ]
        y = norm[1](torch.randn(shape) + 4)
        torch.testing.assert_close(y.mean(), torch.zeros(()), rtol=0, atol=1e-5)
        assert not norm[0].running_mean.any()


def test_graded_spikes_are_of_neurons():
    layer = snn.GradedSpikes(3, 2.0)
    layer.weights.data[1] = 5
    assert layer(torch.ones(3, 3))[0].tolist() == [2, 5, 2]
    assert layer(torch.ones(4, 3))[3].tolist() == [2, 5, 2]
    assert layer(torch.ones(3, 1))[:, 0].tolist() == [2, 5, 2]
    assert (snn.GradedSpikes(50).weights >= 0.5).all()
    with pytest.raises(InputError, match=r"x has 3 neurons in its last axis .* got shape \(4, 2\)"):
        layer(torch.ones(4, 2))


# -- surrogates ------------------------------------------------------------------------------------


def gradient(spike_grad, x):
    """A neuron's spikes and the gradient of their sum to the input, of mem = x - 1."""
    at = x.clone().requires_grad_()
    spk, _ = snn.Leaky(0.5, spike_grad=spike_grad)(at + 1)
    spk.sum().backward()
    return spk.detach(), at.grad


@pytest.mark.parametrize(
    ("name", "numbers", "surrogate"),
    [
        ("ATan", (3.0,), sg.atan(3.0)),
        ("FastSigmoid", (7,), sg.fast_sigmoid(7)),
        ("Sigmoid", (), sg.sigmoid()),
        ("StraightThroughEstimator", (), sg.straight_through_estimator()),
        ("Triangular", (0.5,), sg.triangular(0.5)),
        ("Heaviside", (), sg.heaviside()),
        ("SpikeRateEscape", (1, 2), sg.spike_rate_escape(1, 2)),
        ("SparseFastSigmoid", (5, 0.5), sg.SFS(5, 0.5)),
        ("LeakySpikeOperator", (0.2,), sg.LSO(0.2)),
    ],
)
def test_autograd_functions_by_snntorchs_names(name, numbers, surrogate):
    function = getattr(sg, name).apply
    x = torch.linspace(-1, 1, 8).view(2, 4)
    at = x.clone().requires_grad_()
    spk = function(at, *numbers)
    spk.sum().backward()
    assert torch.equal(spk, (x > 0).float())
    assert torch.equal(at.grad, surrogate.derivative(x))
    default = surrogate if not numbers else type(surrogate)
    if not numbers:
        assert snn.Leaky(0.5, spike_grad=function).spike_grad == default


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 / (1 + x.abs())


def test_a_spike_function_of_ones_own_is_asked_for_its_gradient():
    """Not taken for the derivative, which it looks like; its like in snnTorch is a closure."""
    x = torch.linspace(-1, 1, 8).view(2, 4)
    for function in (Spike.apply, lambda v: Spike.apply(v)):
        spk, grad = gradient(function, x)
        assert torch.equal(spk, (x + 1 > 1).float())
        torch.testing.assert_close(grad, 3 / (1 + (x + 1 - 1).abs()))
    seq = torch.rand(6, 2, 4)
    mine, same = (snn.Leaky(0.5, spike_grad=f) for f in (Spike.apply, lambda v: 3 / (1 + v.abs())))
    grads = []
    for neuron in (mine, same):
        given = seq.clone().requires_grad_()
        neuron.sequence(given)[0]["s_out"].square().sum().backward()
        grads.append(given.grad)
    torch.testing.assert_close(*grads)
    with pytest.raises(InputError, match=r"spikes, but has no gradient; surrogate.heaviside\(\)"):
        snn.Leaky(0.5, spike_grad=lambda v: (v > 0).float())


def test_custom_surrogates_of_three_arguments():
    def fast(input_, grad_input, spikes):
        return grad_input / (5 * input_.abs() + 1.0) ** 2

    x = torch.linspace(-1, 1, 8).view(2, 4)
    torch.testing.assert_close(
        gradient(sg.custom_surrogate(fast), x)[1], gradient(sg.fast_sigmoid(5), x)[1]
    )
    assert torch.equal(
        sg.custom_surrogate(lambda i, g, s: g * s).derivative(x), (x > 0).to(x.dtype)
    )
    with pytest.raises(InputError, match=r"is not proportional to the gradient it gets"):
        sg.custom_surrogate(lambda i, g, s: g.clamp(-1, 1))


def test_the_stochastic_operator_draws_below_the_threshold():
    x = torch.cat([torch.full((1, 5000), -0.5), torch.full((1, 5000), 0.5)])
    torch.manual_seed(0)
    _, grad = gradient(sg.SSO(mean=0.25, variance=0.4), x)
    assert (grad[1] == 1).all()
    assert -0.1 <= grad[0].min() < -0.09
    assert 0.29 < grad[0].max() <= 0.3
    assert grad[0].mean().item() == pytest.approx(0.1, abs=0.01)


# -- functional ------------------------------------------------------------------------------------


def net(**hidden):
    return nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.5, **hidden), nn.Identity())


def test_monitors_record_call_by_call():
    whole = net(init_hidden=True)
    x = torch.rand(3, 2, 3).requires_grad_()
    with (
        probe.OutputMonitor(whole, snn.Leaky) as out,
        probe.InputMonitor(whole, (nn.Linear,), lambda v: v.sum()) as given,
        probe.AttributeMonitor("mem", True, whole, snn.Leaky) as before,
        probe.AttributeMonitor("mem", False, whole, snn.Leaky) as after,
        probe.GradOutputMonitor(whole, nn.Linear) as grads,
        probe.GradInputMonitor(whole, nn.Identity) as first,
    ):
        spikes = [whole(now) for now in x]
        out.disable()
        whole(x[0])
        assert not out.is_enable()
        sum(s.sum() for s in spikes).backward()
    assert out.monitored_layers == ["1"]
    assert all(torch.equal(a, b) for a, b in zip(out["1"], spikes, strict=True))
    assert torch.equal(out[-1], spikes[-1])
    assert given.records[:3] == [now.sum() for now in x]
    assert before[0].numel() == 0
    assert all(torch.equal(a, b) for a, b in zip(before.records[1:], after.records, strict=False))
    assert [g.shape for g in grads.records] == [(2, 4)] * 3
    assert torch.equal(first.records[0], torch.ones(2, 4))
    whole(x[0])
    assert len(after.records) == 4
    after.clear_recorded_data()
    assert after["1"] == []
    with pytest.raises(NotRecordedError, match=r"OutputMonitor: layers are 1, got 'lif'"):
        out["lif"]
    with pytest.raises(InputError, match=r"OutputMonitor: instance: the network has no module of "):
        probe.OutputMonitor(whole, nn.Conv2d)


def test_an_attribute_that_a_call_takes_and_returns_is_found():
    neuron = snn.Synaptic(0.5, 0.5)
    x, syn, mem = torch.rand(3, 2, 3)
    with (
        probe.AttributeMonitor("syn", False, neuron) as after,
        probe.AttributeMonitor("mem", True, neuron) as before,
    ):
        out = neuron(x, syn, mem=mem)
    assert torch.equal(after[0], out[1])
    assert torch.equal(before[0], mem)


def test_quantised_values_are_the_nearest_level():
    q = quant.state_quant(2, threshold=1.5, lower_limit=0.0, upper_limit=0.0)
    assert q.levels == pytest.approx((-1.5, -0.5, 0.5, 1.5))
    x = torch.tensor([-9.0, -1.01, -1.0, 0.2, math.nan, 0.9, 9.0], requires_grad=True)
    y = q(x)
    assert y.tolist()[:4] == [-1.5, -1.5, -1.5, 0.5]
    assert y.isnan().tolist() == x.isnan().tolist()
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(7))
    middle = quant.state_quant(3, uniform=False, thr_centered=False, upper_limit=0.0).levels
    assert middle[:4] == pytest.approx([-v for v in middle[:3:-1]])
    gaps = np.diff(middle[4:])
    assert gaps[0] / gaps[1] == pytest.approx(0.3)
    steep = quant.state_quant(16, uniform=False, multiplier=1e200).levels
    assert len(steep) == 2**16
    assert (np.diff(steep) >= 0).all()


def unrolled(conv, pre, post, trace_pre, trace_post, f_pre, f_post):
    """The change of a convolution's weights, weight by weight, place by place."""
    w = conv.weight.detach()
    change = torch.zeros_like(w)
    (s,), (p,), (d,) = conv.stride, conv.padding, conv.dilation
    padded, traced = (nn.functional.pad(v, (p, p)) for v in (pre, trace_pre))
    inner = w.shape[1]
    for o in range(w.shape[0]):
        group = o // (w.shape[0] // conv.groups)
        for i in range(inner):
            c = group * inner + i
            for k in range(w.shape[2]):
                for y in range(post.shape[2]):
                    at = y * s + k * d
                    gain = (traced[:, c, at] * post[:, o, y]).sum() * f_post(w)[o, i, k]
                    loss = (padded[:, c, at] * trace_post[:, o, y]).sum() * f_pre(w)[o, i, k]
                    change[o, i, k] += gain - loss
    return change


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}],
    ids=["plain", "strided", "grouped"],
)
def test_plasticity_of_a_convolution(options):
    torch.manual_seed(0)
    conv = nn.Conv1d(2, 4, 3, **options)
    pre, trace_pre = (torch.rand(2, 2, 9) < 0.5).float(), torch.rand(2, 2, 9)
    post = (torch.rand_like(conv(pre)) < 0.5).float()
    trace_post = torch.rand_like(post)
    after_pre, after_post, change = stdp_learner.stdp_conv1d_single_step(
        conv, pre, post, trace_pre, trace_post, 2.0, 4.0, torch.abs, torch.square
    )
    torch.testing.assert_close(after_pre, trace_pre / 2 + pre)
    torch.testing.assert_close(after_post, trace_post * 0.75 + post)
    expected = unrolled(conv, pre, post, after_pre, after_post, torch.abs, torch.square)
    torch.testing.assert_close(change, expected, rtol=1e-5, atol=1e-6)
    flat = nn.Conv2d(
        2,
        4,
        (1, 3),
        **{k: (v if k == "groups" else (1, v)) for k, v in options.items() if k != "padding"},
        padding=(0, options.get("padding", 0)),
    )
    flat.weight.data.copy_(conv.weight.unsqueeze(2))
    *_, same = stdp_learner.stdp_conv2d_single_step(
        flat,
        *(v.unsqueeze(2) for v in (pre, post, trace_pre, trace_post)),
        2.0,
        4.0,
        torch.abs,
        torch.square,
    )
    torch.testing.assert_close(same.squeeze(2), change, rtol=1e-5, atol=1e-6)


def test_plasticity_of_a_linear_layer_and_its_eligibility():
    fc = nn.Linear(2, 1)
    fc.weight.data = torch.tensor([[0.5, 2.0]])
    pre, post = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]])
    trace = torch.tensor([[0.4, 0.6]]), torch.tensor([[0.8]])
    one = stdp_learner.stdp_linear_single_step(fc, pre, post, *trace, 2.0, 4.0)
    torch.testing.assert_close(one[0], torch.tensor([[1.2, 0.3]]))
    torch.testing.assert_close(one[1], torch.tensor([[1.6]]))
    torch.testing.assert_close(one[2], torch.tensor([[0.5 * (1.2 - 1.6), 2 * 0.3]]))
    e = [math.exp(-1 / tau) for tau in (2, 4)]
    many = stdp_learner.mstdp_linear_single_step(fc, pre, post, *trace, 2.0, 4.0)
    single = stdp_learner.mstdpet_linear_single_step(
        fc, pre[0], post[0], trace[0][0], trace[1][0], 2.0, 4.0, 8.0
    )
    expected = [0.5 * (0.4 * e[0] + 1 - (0.8 * e[1] + 1)), 2 * 0.6 * e[0]]
    torch.testing.assert_close(many[2], torch.tensor([[expected]]))
    torch.testing.assert_close(single[2], torch.tensor([expected]))
    with pytest.raises(InputError, match=r"in_spike is of one sample"):
        stdp_learner.mstdpet_linear_single_step(fc, pre, post, None, None, 2.0, 4.0, 8.0)


def test_a_learner_works_off_the_recorded_steps():
    fc, lif = nn.Linear(3, 2), snn.Leaky(0.5, 0.1)
    learner = stdp_learner.STDPLearner(fc, lif, 2.0, 2.0, torch.ones_like, torch.ones_like)
    x = (torch.rand(4, 5, 3) < 0.5).float()
    mem, traces, expected = lif.reset_mem(), (None, None), 0
    for now in x:
        spk, mem = lif(fc(now), mem)
        *traces, change = stdp_learner.stdp_linear_single_step(
            fc, now, spk, *traces, 2.0, 2.0, torch.ones_like, torch.ones_like
        )
        expected = expected + change
    torch.testing.assert_close(learner.step(on_grad=False, scale=0.5), expected / 2)
    with pytest.raises(InputError, match=r"STDPLearner: 0 inputs and 0 outputs are recorded"):
        learner.step()
    learner.reset()
    learner.disable()
    lif(fc(x[0]))
    learner.enable()
    lif(fc(x[0]))
    learner.step()
    learner.reset()
    spk, _ = lif(fc(x[0]))
    assert torch.equal(fc.weight.grad, -learner.step(on_grad=False))


def test_times_of_spikes():
    spk = torch.tensor([[[0.0, 1]], [[0, 0]], [[1, 0]], [[0, 0]]])
    times, wanted = SF.SpikeTime(on_target=1, off_target=-1)(spk, torch.tensor([0]))
    assert (times.tolist(), wanted.tolist()) == ([[2, 0]], [[1, 3]])
    times, _ = SF.SpikeTime(on_target=1, off_target=-1, tolerance=2)(spk, torch.tensor([0]))
    assert times.tolist() == [[1, 0]]
    assert isinstance(SF.ce_rate_loss(), SF.LossFunctions)


# -- training, plots, data -------------------------------------------------------------------------


def trained(epoch, steps=6, batches=2, loss=None, **k):
    """The loss an epoch returns, and the weights after it, beside those of a loop by hand."""
    torch.manual_seed(0)
    each = k.pop("each")
    whole = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True, output=True))
    plain = copy.deepcopy(whole)
    data = [(torch.rand(steps, 2, 3) * 2, torch.randint(4, (2,))) for _ in range(batches)]
    loss = loss or SF.ce_rate_loss()
    membranes = isinstance(loss, backprop.OF_MEMBRANES)
    result = epoch(
        whole,
        data,
        torch.optim.SGD(whole.parameters(), 0.3),
        loss,
        regularization=SF.l1_rate_sparsity(0.01),
        **k,
    )
    optimizer, total = torch.optim.SGD(plain.parameters(), 0.3), 0.0
    for x, y in data:
        snn.reset(plain)
        for part in x.split(each):
            rows = [plain(now) for now in part]
            spk, mem = (torch.stack(v) for v in zip(*rows, strict=True))
            value = loss(mem if membranes else spk, y) + 0.01 * spk.sum()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            snn.detach(plain)
            total += value.item() * len(part) / steps / batches
    assert result.item() == pytest.approx(total, rel=1e-5)
    assert not result.requires_grad
    assert torch.equal(whole[0].weight, plain[0].weight)


@pytest.mark.parametrize(
    ("epoch", "k"),
    [
        (backprop.BPTT, {"each": 6}),
        (backprop.RTRL, {"each": 1}),
        (backprop.TBPTT, {"each": 4, "K": 4}),
        (backprop.TBPTT, {"each": 3, "K": 3, "loss": SF.mse_membrane_loss()}),
        (backprop.TBPTT, {"each": 6, "K": False}),
    ],
    ids=["BPTT", "RTRL", "left over", "membranes", "all"],
)
def test_epochs_are_the_loop_by_hand(epoch, k):
    trained(epoch, **k)


def test_what_an_epoch_asks_for():
    hidden = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True))
    x, y = torch.rand(2, 3), torch.tensor([0, 1])
    sgd = torch.optim.SGD(hidden.parameters(), 0.1)
    constant = {"num_steps": 3, "time_var": False}
    assert backprop.BPTT(hidden, [(x, y)], sgd, SF.ce_rate_loss(), **constant) > 0
    moving = x.expand(3, 2, 3).transpose(0, 1)
    assert backprop.BPTT(hidden, [(moving, y)], sgd, SF.ce_rate_loss(), time_first=False) > 0
    with pytest.raises(InputError, match="the last layer has output=True"):
        backprop.BPTT(hidden, [(x, y)], sgd, SF.mse_membrane_loss(), **constant)
    with pytest.raises(InputError, match=r"TBPTT: 1 \(snn.Leaky\) is called once a step .* init_h"):
        backprop.TBPTT(net(), [(x, y)], sgd, SF.ce_rate_loss(), **constant)
    with pytest.raises(TypeError, match=r"RTRL: criterion is a loss of lavalike.snn.functional"):
        backprop.RTRL(hidden, [(x, y)], sgd, nn.CrossEntropyLoss(), **constant)


def test_parts_of_data_sets():
    def dataset(kind):
        return SimpleNamespace(data=kind(range(10)), targets=kind(range(100, 110)))

    for kind in (list, lambda v: torch.tensor(list(v)), lambda v: np.array(list(v))):
        part = utils.data_subset(dataset(kind), 3, 1)
        assert [int(v) for v in part.data] == [3, 4, 5]
        assert [int(v) for v in part.targets] == [103, 104, 105]
        train, val = utils.valid_split(dataset(kind), dataset(kind), 0.3, seed=4)
        drawn = np.random.default_rng(4).choice(10, 7, replace=False)
        assert [int(v) for v in train.data] == drawn.tolist()
        assert [int(v) for v in val.targets] == sorted({*range(100, 110)} - {*(drawn + 100)})
    assert utils.reset is snn.reset


def test_plots():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    spk = torch.tensor([[0, 1], [1, 1], [0, 0]])
    points = spikeplot.raster(spk, ax, s=2).get_offsets()
    assert points.tolist() == [[0, 1], [1, 0], [1, 1]]
    with pytest.raises(
        InputError, match=r"raster: data of one sample, time first, have 1 or 2 axes"
    ):
        spikeplot.raster(torch.ones(2, 3, 4), ax)
    assert spikeplot.spike_count(spk, figure, ax, ["a", "b"], time_step=0.1) is None
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.lines[-1].get_xdata().tolist() == [1, 2]
    film = spikeplot.spike_count(spk, figure, ax, ["a", "b"], animate=True, interpolate=2)
    frames = list(film.new_frame_seq())
    assert len(frames) == 6
    assert frames[-1][1].get_xdata().tolist() == [1, 2]
    film._draw_was_started = True  # no window shows it
    images = spikeplot.animator(torch.rand(3, 4, 5), figure, ax)
    assert len(list(images.new_frame_seq())) == 3
    images._draw_was_started = True
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    drawn = pyplot.figure()
    spikeplot.traces(torch.rand(5, 2), torch.ones(5, 2), dim=(1, 2), spk_height=3, titles=["one"])
    assert [a.get_title() for a in drawn.axes] == ["one", ""]
    assert drawn.axes[0].lines[0].get_ydata().min() >= 3
    pyplot.close(drawn)
    with pytest.raises(InputError, match=r"more fields than data has neurons, 2"):
        spikeplot.traces(torch.rand(5, 2))


def test_plots_without_matplotlib_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"spikeplot needs matplotlib: .*lavalike\[plot\]"
    ):
        spikeplot.traces(torch.rand(3, 9))


def test_modules_by_snntorchs_names():
    for path, name in (
        ("_neurons.stateleaky", "StateLeaky"),
        ("_neurons.deltaleaky", "DeltaLeaky"),
        ("_neurons.neurons", "SpikingNeuron"),
        ("_neurons.leaky", "Leaky"),
        ("_neurons.sconv2dlstm", "SConv2dLSTM"),
        ("_layers.bntt", "BatchNormTT1d"),
    ):
        module = importlib.import_module(f"lavalike.snn.{path}")
        assert getattr(module, name) is getattr(snn, name)
