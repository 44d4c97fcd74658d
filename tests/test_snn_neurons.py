"""Neurons of the step style: their equations, resets and gradients, and how long their states
last."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lavalike import fused, snn
from lavalike.dynamics import Dynamics, membrane
from lavalike.dynamics.dynamics import Parameter
from lavalike.dynamics.ops import above, leak, reset
from lavalike.errors import InputError
from lavalike.snn import surrogate as sg

STEPS, BATCH, SIZE = 21, 3, 5
RESETS = ("subtract", "zero", "none")
MAKERS = {
    "Leaky": lambda **k: snn.Leaky(0.8, **k),
    "Synaptic": lambda **k: snn.Synaptic(0.6, 0.8, **k),
    "Alpha": lambda **k: snn.Alpha(0.8, 0.6, **k),
    "Lapicque": lambda **k: snn.Lapicque(0.8, integrator="exact", **k),
    "RLeaky": lambda **k: snn.RLeaky(0.8, V=0.3, all_to_all=False, **k),
    "RSynaptic": lambda **k: snn.RSynaptic(0.6, 0.8, V=0.3, all_to_all=False, **k),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def data(*shape, dtype=torch.float32, seed=0):
    return (
        torch.randn(
            *(shape or (STEPS, BATCH, SIZE)),
            generator=torch.Generator().manual_seed(seed),
            dtype=torch.float64,
        ).to(dtype)
        + 0.4
    )


def stepped(neuron, x):
    """(outputs, states after each step) as lists of what a call returns."""
    states, rows = neuron.reset_mem(), []
    states = states if isinstance(states, tuple) else (states,)
    for now in x.unbind(0):
        row = neuron(now, *states)
        states = row[-len(states) :]
        rows.append(row)
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def run(neuron, x):
    """One neuron's outputs and membrane for a list of inputs, as lists."""
    spk, *_, mem = stepped(neuron, torch.tensor(x).reshape(-1, 1, 1))
    return spk.flatten().tolist(), [round(v, 6) for v in mem.flatten().tolist()]


# -- equations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neuron", "x", "spikes", "membrane"),
    [
        (snn.Leaky(0.5), [0.8, 0.8, 0.8, 0, 0], [0, 1, 0, 0, 0], [0.8, 1.2, 0.4, 0.2, 0.1]),
        (snn.Leaky(0.5), [1.6, 0, 0], [1, 0, 0], [1.6, -0.2, -0.1]),
        (snn.Leaky(0.5, reset_mechanism="zero"), [1.6, 0.3, 0], [1, 0, 0], [1.6, 0.3, 0.15]),
        (snn.Leaky(0.5, reset_mechanism="none"), [1.6, 1.0, 0], [1, 1, 0], [1.6, 1.8, 0.9]),
        (snn.Leaky(0.5, reset_delay=False), [1.6, 0, 0], [1, 0, 0], [0.6, 0.3, 0.15]),
        (snn.Leaky(0.5, reset_delay=False), [2.6, 0, 0], [1, 0, 0], [1.6, 0.8, 0.4]),
        (snn.Leaky(0.5, reset_delay=False, reset_mechanism="zero"), [1.6, 0.4], [1, 0], [0, 0.4]),
        (snn.Leaky(0.5, threshold=2.0), [2.0, 2.0], [0, 1], [2.0, 3.0]),
        (snn.Leaky(0.5, graded_spikes_factor=3.0), [1.6, 0], [3, 0], [1.6, -0.2]),
        (snn.Synaptic(0.5, 0.25), [1.0, 0, 0], [0, 0, 0], [1.0, 0.75, 0.4375]),
        (snn.Synaptic(0.5, 0.25), [1.6, 0, 0], [1, 0, 0], [1.6, 0.2, 0.45]),
        (snn.Synaptic(0.5, 0.25, reset_mechanism="zero"), [1.6, 0, 0], [1, 0, 0], [1.6, 0, 0.4]),
        (snn.Synaptic(0.5, 0.25, reset_delay=False), [1.6, 0, 0], [1, 0, 0], [0.6, 0.95, 0.6375]),
        (
            snn.Synaptic(0.5, 0.25, reset_delay=False, reset_mechanism="zero"),
            [1.6, 0, 0],
            [1, 0, 0],
            [0, 0.8, 0.6],
        ),
        (snn.Lapicque(0.25), [0.5, 0, 0], [0, 0, 0], [0.693147, -0.267759, 0.103434]),
        (
            snn.Lapicque(0.25, C=1.0, integrator="exact"),
            [1.0, 0, 0],
            [0, 0, 0],
            [0.541011, 0.135253, 0.033813],
        ),
        (
            snn.Lapicque(
                R=2.0,
                C=1 / math.log(2),
                time_step=2.0,
                reset_mechanism="zero",
                integrator="exact",
            ),
            [1.5, 1.5],
            [1, 0],
            [1.5, 0.0],
        ),
        (snn.RLeaky(0.5, V=0.3, all_to_all=False), [1.6, 0, 0], [1, 0, 0], [1.6, 0.1, 0.05]),
        (
            snn.RLeaky(0.5, V=0.3, all_to_all=False, reset_mechanism="zero"),
            [1.6, 0.3, 0],
            [1, 0, 0],
            [1.6, 0, 0],
        ),
        (
            snn.RLeaky(0.5, V=0.3, all_to_all=False, reset_delay=False),
            [1.6, 0, 0],
            [1, 0, 0],
            [0.6, 0.6, 0.3],
        ),
        (
            snn.RSynaptic(0.5, 0.25, V=0.3, all_to_all=False),
            [1.6, 0, 0],
            [1, 0, 0],
            [1.6, 0.5, 0.675],
        ),
        (
            snn.RSynaptic(0.5, 0.25, V=0.3, all_to_all=False, reset_mechanism="zero"),
            [1.6, 0, 0],
            [1, 0, 0],
            [1.6, 0, 0.55],
        ),
    ],
)
def test_known_values(neuron, x, spikes, membrane):
    """By hand from the equations of lavalike.dynamics.membrane: a spike is mem > threshold, its
    reset comes a step later."""
    spk, mem = run(neuron, x)
    assert spk == spikes
    assert mem == pytest.approx(membrane, abs=2e-6)


def test_alphas_known_values():
    """tau = ln a / (ln b - ln a) + 1 with a = 1/2, b = 1/4: 2."""
    mem = [0.0, 0.5, 0.375, 0.21875]
    assert run(snn.Alpha(0.5, 0.25), [1.0, 0, 0, 0])[1] == mem
    spk, mem = run(snn.Alpha(0.5, 0.25), [3.0, 0, 0, 1, 0])
    assert (spk, mem) == ([0, 1, 0, 0, 0], [0, 1.5, 0, 0, 0.5])
    spk, mem = run(snn.Alpha(0.5, 0.25, reset_mechanism="subtract"), [3.0, 0, 0])
    assert (spk, mem) == ([0, 1, 0], [0, 1.5, 0.125])


@given(beta=st.floats(0, 1), steps=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_the_impulse_response_is_beta_to_the_t(beta, steps):
    x = torch.zeros(steps, 1, 1, dtype=torch.float64)
    x[0] = 1
    neuron = snn.Leaky(beta, threshold=10).double()
    neuron.beta.fill_(beta)
    _, mem = stepped(neuron, x)
    expected = torch.tensor([beta**t for t in range(steps)], dtype=torch.float64)
    torch.testing.assert_close(mem.flatten(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("beta", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_lapicques_exact_decay_is_beta(beta):
    """Euler's step decays by 1 + ln beta, at beta = .3 negative (training.md 1.1)."""
    neuron = snn.Lapicque(beta, R=1.0, integrator="exact")
    _, mem = neuron(torch.zeros(1, 1), torch.full((1, 1), 0.5))
    assert mem.item() == pytest.approx(0.5 * beta, rel=1e-6)
    assert neuron.C.item() == pytest.approx(-1 / math.log(beta), rel=1e-4)


@makers
def test_without_input_states_decay_exactly(make):
    neuron = make()
    before = [data(BATCH, SIZE, seed=k).clamp(-0.9, 0.9) for k in range(len(neuron.state_names))]
    if neuron.output_is_state:
        before[0] = torch.zeros(BATCH, SIZE)
    states = dict(zip(neuron.state_names, before, strict=True))
    after = dict(
        zip(
            neuron.state_names,
            neuron(torch.zeros(BATCH, SIZE), **states)[-len(states) :],
            strict=True,
        )
    )
    decay = {"mem": 0.8, "syn": 0.6, "syn_exc": 0.8, "syn_inh": 0.6}
    for name in states.keys() - {"spk"} - ({"mem"} if len(states) > 1 else set()):
        assert torch.equal(after[name], states[name] * torch.tensor(decay[name]))
    if "syn" in states:
        torch.testing.assert_close(after["mem"], states["mem"] * 0.8 + states["syn"] * 0.6)


def test_recurrence_through_a_layer_sees_the_last_steps_spikes():
    neuron = snn.RLeaky(0.5, linear_features=2, reset_mechanism="none")
    neuron.recurrent.weight.data.copy_(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
    neuron.recurrent.bias.data.zero_()
    x = torch.tensor([[0.0, 1.5], [0.0, 0.0], [0.0, 0.0]]).unsqueeze(1)
    spk, mem = stepped(neuron, x)
    assert spk[:, 0].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert mem[:, 0].tolist() == [[0, 1.5], [2, 0.75], [1, 0.375]]
    conv = snn.RSynaptic(0.5, 0.5, conv2d_channels=2, kernel_size=3)
    assert conv(torch.rand(3, 2, 6, 4))[0].shape == (3, 2, 6, 4)


# -- one path or another ---------------------------------------------------------------------------


NOW = {"reset_delay": False, "reset_mechanism": "zero", "reset_grad": "full"}
VARIANTS = [
    *(("Leaky", {"reset_mechanism": r}) for r in RESETS),
    ("Leaky", {"reset_delay": False}),
    ("Leaky", NOW),
    ("Leaky", {"reset_grad": "slayer", "spike_grad": sg.fast_sigmoid(3)}),
    ("Synaptic", {}),
    ("Synaptic", NOW),
    ("Alpha", {}),
    ("Alpha", {"reset_mechanism": "subtract"}),
    ("Lapicque", {}),
    ("Lapicque", {"integrator": "exact"}),
    ("RLeaky", {}),
    ("RSynaptic", {}),
    ("RSynaptic", NOW),
]


def learnt(name, k, dtype, per_neuron):
    """A neuron all of whose parameters are trained, one value a neuron where told."""
    size = SIZE if per_neuron else 1
    values = {"beta": torch.linspace(0.5, 0.7, size), "threshold": torch.linspace(0.8, 1.2, size)}
    learn = {"learn_beta": True, "learn_threshold": True}
    if name in ("Synaptic", "RSynaptic", "Alpha"):
        values["alpha"], learn["learn_alpha"] = torch.linspace(0.75, 0.9, size), True
    if name in ("RLeaky", "RSynaptic"):
        values |= {"V": torch.linspace(-0.5, 0.5, size), "all_to_all": False}
    return getattr(snn, name)(**values, **learn, **k).to(dtype)


@pytest.mark.parametrize(
    ("name", "k", "dtype"),
    [
        *((*v, torch.float64) for v in VARIANTS),
        ("Leaky", {}, torch.float32),
        ("RSynaptic", {}, torch.float32),
    ],
)
def test_steps_a_sequence_and_the_reference_agree(name, k, dtype):
    """Outputs and states of steps and of the sequence to the bit; gradients, and all that the plain
    loop gives, to rounding."""
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    x = data(dtype=dtype)
    results = []
    for path in ("steps", "sequence", "reference"):
        neuron = learnt(name, k, dtype, per_neuron=True)
        given = x.clone().requires_grad_()
        record = [n for n in neuron.state_names if n != "spk"]
        if path == "steps":
            spk, *states = stepped(neuron, given)
            states = states[-len(record) :]
        else:
            if path == "sequence":
                outputs, last = neuron.sequence(given, record=record)
                assert all(
                    torch.equal(a, outputs[n][-1])
                    for n, a in zip(neuron.state_names, last, strict=True)
                    if n in record
                )
            else:
                outputs = fused.reference(
                    neuron.dynamics,
                    neuron.fused_training,
                    {"a_in": given},
                    neuron.values(),
                    record=record,
                ).outputs
            spk, states = outputs["s_out"], [outputs[n] for n in record]
        values = torch.stack([spk, *states])
        (values * data(*values.shape, dtype=dtype, seed=7)).sum().backward()
        results.append(
            (
                values.detach(),
                {"x": given.grad, **{n: p.grad for n, p in neuron.named_parameters()}},
            )
        )
    (steps, of_steps), (sequence, of_sequence), (reference, of_reference) = results
    assert torch.equal(steps, sequence)
    assert steps[0].any()
    assert not steps[0].all()
    torch.testing.assert_close(sequence, reference, rtol=tolerance, atol=tolerance)
    for name_, grad in of_reference.items():
        scale = grad.abs().max().item()
        assert scale > 0
        for other in (of_steps[name_], of_sequence[name_]):
            torch.testing.assert_close(other, grad, rtol=tolerance, atol=tolerance * scale)


def test_one_learnt_value_for_all_neurons_gets_the_sum_of_their_gradients():
    x = data(dtype=torch.float64)
    grads = []
    for per_neuron in (False, True):
        neuron = learnt("RSynaptic", {}, torch.float64, per_neuron)
        for name, value in {"alpha": 0.8, "beta": 0.6, "V": 0.1, "threshold": 1.0}.items():
            getattr(neuron, name).data.fill_(value)
        outputs, _ = neuron.sequence(x)
        outputs["s_out"].sum().backward()
        grads.append([p.grad.sum() for p in neuron.parameters()])
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_reset_grad_says_what_a_reset_is_differentiated_to():
    """One spike, "zero" reset: the later membrane knows nothing of the first input (detach), all
    (slayer), or less the spike's share."""
    grads = {}
    for kind in ("detach", "slayer", "full"):
        x = torch.tensor([1.5, 0.25], dtype=torch.float64).reshape(2, 1, 1).requires_grad_()
        _, (mem,) = (
            snn.Leaky(
                0.5,
                reset_mechanism="zero",
                reset_grad=kind,
                spike_grad=sg.straight_through_estimator(),
            )
            .double()
            .sequence(x)
        )
        mem.backward()
        grads[kind] = x.grad.flatten().tolist()
    assert grads == {"detach": [0, 1], "slayer": [0.5, 1], "full": [-0.75, 1]}
    with pytest.raises(
        InputError, match="reset_grad is 'slayer' or 'detach' or 'full', got 'none'"
    ):
        snn.Leaky(0.5, reset_grad="none")


def test_surrogates_are_selectable():
    x = torch.tensor([[0.7]], requires_grad=True)
    for grad, expected in (
        (None, sg.atan()),
        (sg.straight_through_estimator(), sg.straight_through_estimator()),
        (torch.exp, torch.exp),
    ):
        spk, _ = snn.Leaky(0.5, spike_grad=grad)(x)
        derivative = expected.derivative if hasattr(expected, "derivative") else expected
        torch.testing.assert_close(torch.autograd.grad(spk, x)[0], derivative(x.detach() - 1))
    for neuron in (snn.Leaky(0.5, surrogate_disable=True), snn.SLSTM(1, 1, surrogate_disable=True)):
        assert torch.autograd.grad(neuron(x)[0].sum(), x)[0].item() == 0


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_the_plain_loop_is_linear_in_time(steps):
    """Nodes of its autograd graph, and elements they hold: no step keeps or makes a tensor of all
    steps (training.md 0.2)."""

    def nodes(count):
        x = data(count, BATCH, SIZE).requires_grad_()
        result = fused.reference(
            membrane.LEAKY["subtract"],
            fused.Training(sg.atan()),
            {"a_in": x},
            {"beta": 0.9, "vth": 1.0},
        )
        seen, todo = set(), [result.outputs["s_out"].grad_fn]
        while todo:
            node = todo.pop()
            if node not in seen and node is not None:
                seen.add(node)
                todo += [n for n, _ in node.next_functions]
        assert not any(n.name().startswith("Select") for n in seen)
        return len(seen)

    assert nodes(2 * steps + 2) - nodes(2 * steps) == nodes(6) - nodes(4)


def test_a_sequence_is_one_operation():
    x = data(50, BATCH, SIZE).requires_grad_()
    outputs, _ = snn.Leaky(0.9).sequence(x)
    assert outputs["s_out"].grad_fn.name() == "ScanBackward"
    assert {n.name() for n, _ in outputs["s_out"].grad_fn.next_functions if n is not None} == {
        "torch::autograd::AccumulateGrad"
    }


def test_own_dynamics():
    """Any Dynamics is a layer; its Parameters say defaults, limits and what is trained."""
    neuron = snn.Neuron(HALF)
    assert {n: p.item() for n, p in neuron.named_parameters()} == {"rate": 0.5}
    spk, v = neuron(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    assert (spk.item(), v.item()) == (1, 1.5)
    with pytest.raises(InputError, match=r"snn.Neuron: values\['rate'\] is in 0..1, got 2"):
        snn.Neuron(HALF, {"rate": 2.0})
    with pytest.raises(
        InputError,
        match=r"parameters \('rate', 'vth'\) are needed; missing \['vth'\], unknown \['tau'\]",
    ):
        snn.Neuron(
            Dynamics(half, ("a_in",), ("s_out",), ("v",), parameters=(Parameter("rate", 0.5),)),
            {"tau": 1.0},
        )


def half(a_in, v, rate, vth):
    v = leak(v, rate) + a_in
    return above(v, vth), v


HALF = Dynamics(
    half,
    ("a_in",),
    ("s_out",),
    ("v",),
    parameters=(Parameter("rate", 0.5, 0, 1, trained=True), Parameter("vth", 1.0)),
)


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size_in", "size_out"), [(4, 4), (784, 10), (2, 7), (1, 1)])
@pytest.mark.parametrize("reset", RESETS)
def test_slstm_keeps_its_state_whatever_its_sizes(size_in, size_out, reset):
    """snnTorch compares the state's shape with the input's and begins anew in every step
    (training.md 1.1)."""
    torch.manual_seed(1)
    net = snn.SLSTM(size_in, size_out, reset_mechanism=reset, threshold=0.1)
    x = data(6, BATCH, size_in)
    spk, syn, mem = stepped(net, x)
    h = c = torch.zeros(BATCH, size_out)
    for t in range(6):
        fired = (h > 0.1).float()
        h, c = net.lstm_cell(x[t], (h, c))
        h = {"subtract": h - 0.1 * fired, "zero": h * (1 - fired), "none": h}[reset]
        torch.testing.assert_close((spk[t], syn[t], mem[t]), ((h > 0.1).float(), c, h))
    hidden = snn.SLSTM(size_in, size_out, reset_mechanism=reset, threshold=0.1, init_hidden=True)
    hidden.load_state_dict(net.state_dict())
    assert torch.equal(torch.stack([hidden(now) for now in x]), spk)
    assert torch.equal(hidden.hidden["mem"], mem[-1])


@makers
def test_init_hidden_keeps_the_states_until_reset(make):
    x = data()
    spk, *states = stepped(make(), x)
    inner = make(init_hidden=True)
    net = nn.Sequential(nn.Identity(), nn.ModuleList([nn.Sequential(inner)])[0])
    for _ in range(2):
        assert torch.equal(torch.stack([net(now) for now in x]), spk)
        assert torch.equal(inner.hidden["mem"], states[-1][-1])
        snn.reset(net)
        assert inner.hidden == {}
    shown = make(init_hidden=True, output=True)
    columns = [torch.stack(c) for c in zip(*(shown(now) for now in x), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(columns, [spk, *states], strict=True))


def test_detach_ends_the_graph():
    net = nn.Sequential(
        nn.Linear(SIZE, SIZE),
        snn.Leaky(0.9, init_hidden=True),
        snn.SLSTM(SIZE, 2, init_hidden=True),
    )
    for now in data(4, BATCH, SIZE):
        net(now).sum().backward()
        assert net[1].hidden["mem"].grad_fn is not None
        snn.detach(net)
        assert net[1].hidden["mem"].grad_fn is None
    net(now).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        net(now).sum().backward()


def test_states_are_zero_where_they_are_empty_none_or_left_out():
    x = data(BATCH, SIZE)
    neuron = snn.Synaptic(0.6, 0.8)
    full = neuron(x, torch.zeros_like(x), torch.zeros_like(x))
    for states in ((), (None,), (torch.zeros(0), None), neuron.init_synaptic()):
        assert all(torch.equal(a, b) for a, b in zip(neuron(x, *states), full, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(neuron(x, mem=x), neuron(x, None, x), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        *MAKERS.values(),
        lambda **k: snn.SLSTM(SIZE, 4, **k),
        lambda **k: snn.RLeaky(0.9, linear_features=SIZE, **k),
    ],
)
def test_neurons_are_copied_and_pickled_without_their_state_and_leak_nothing(make):
    neuron = make(init_hidden=True)
    x = data(BATCH, SIZE)
    first = neuron(x)
    keys = set(neuron.state_dict())
    assert not keys & {"mem", "syn", "spk", "_hidden"}
    for twin in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert twin.hidden == {}
        assert torch.equal(twin(x), first)
    fresh = make(init_hidden=True)
    fresh.load_state_dict(neuron.state_dict())
    assert torch.equal(fresh(x), first)
    dead = weakref.ref(neuron), weakref.ref(neuron.hidden["mem"])
    del neuron
    gc.collect()
    assert [d() for d in dead] == [None, None]


# -- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "k", "start", "out", "back"),
    [
        ("beta", {"learn_beta": True}, 0.9, 1.3, 1.0),
        ("beta", {"learn_beta": True}, 0.9, -0.2, 0.0),
        ("threshold", {"learn_threshold": True}, 1.0, -1.0, 1e-6),
    ],
)
def test_a_learnt_parameter_that_left_its_range_is_brought_back_and_keeps_its_gradient(
    name, k, start, out, back
):
    """Clamped in the graph its gradient would be 0 for ever (training.md 1.1)."""
    neuron = snn.Leaky(0.9, **k)
    parameter = getattr(neuron, name)
    assert parameter.item() == pytest.approx(start)
    parameter.data.fill_(out)
    x = data()
    spk, mem = stepped(neuron, x)
    (spk + mem).sum().backward()
    assert parameter.item() == pytest.approx(back)
    assert parameter.grad.abs().item() > 0


def test_alphas_learnt_decays_keep_their_order():
    neuron = snn.Alpha(0.9, 0.8, learn_alpha=True, learn_beta=True)
    neuron.alpha.data.fill_(0.5)
    stepped(neuron, data())[3].sum().backward()
    assert 0 < neuron.beta.item() < neuron.alpha.item() == 0.5
    assert all(bool(torch.isfinite(p.grad)) for p in neuron.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: snn.Leaky(1.1), r"snn.Leaky: beta is in 0..1, got 1.1"),
        (lambda: snn.Leaky(math.nan), r"snn.Leaky: beta is in 0..1, got nan"),
        (lambda: snn.Leaky(torch.tensor([0.5, -0.1])), r"snn.Leaky: beta is in 0..1, got -0.1"),
        (lambda: snn.Leaky(0.9, threshold=0.0), r"snn.Leaky: threshold is in 1e-06..inf, got 0"),
        (lambda: snn.Synaptic(2, 0.5), r"snn.Synaptic: alpha is in 0..1, got 2"),
        (
            lambda: snn.RSynaptic(0.5, -1, linear_features=2),
            r"snn.RSynaptic: beta is in 0..1, got -1",
        ),
        (
            lambda: snn.Alpha(0.5, 0.5),
            r"snn.Alpha: 0 < beta < alpha < 1 is needed, got alpha 0.5, beta 0.5",
        ),
        (lambda: snn.Lapicque(), r"snn.Lapicque: give beta, or R and C"),
        (lambda: snn.Lapicque(1.0), r"snn.Lapicque: beta is in 0..1, both excluded, got 1.0"),
        (
            lambda: snn.Lapicque(0.9, R=1, C=1),
            r"snn.Lapicque: beta 0.9 is not exp\(-time_step / \(R C\)\) = 0.367879; give two of the three",
        ),
        (
            lambda: snn.Lapicque(R=-1, C=1),
            r"Lapicque: R is a number > 0 \(or None or False, where it follows\), got -1",
        ),
        (
            lambda: snn.Leaky(0.9, reset_mechanism="soft"),
            r"snn.Leaky: reset_mechanism is one of subtract, zero, none, got 'soft'",
        ),
        (
            lambda: snn.SLSTM(1, 1, reset_mechanism="soft"),
            r"snn.SLSTM: reset_mechanism is one of subtract, zero, none, got 'soft'",
        ),
        (lambda: snn.SLSTM(1, 1, threshold=-1), r"snn.SLSTM: threshold is in 1e-06..inf, got -1"),
        (
            lambda: snn.SLSTM(1, 1, state_quant=True),
            r"SLSTM: state_quant is a function that quantises \(.*\) or False, got True",
        ),
        (
            lambda: snn.Leaky(0.9, spike_grad=sg.atan(), surrogate_disable=True),
            r"snn.Leaky: give spike_grad or surrogate_disable, not both",
        ),
        (
            lambda: snn.RLeaky(0.9),
            r"snn.RLeaky: with all_to_all give linear_features, or conv2d_channels and kernel_size",
        ),
        (
            lambda: snn.RLeaky(0.9, conv2d_channels=2),
            r"snn.RLeaky: conv2d_channels and kernel_size belong together",
        ),
        (
            lambda: snn.RLeaky(0.9, all_to_all=False, linear_features=2),
            r"snn.RLeaky: .* belong to all_to_all=True",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda n: n(torch.ones(2, 3, dtype=torch.int64)),
            r"snn.Leaky: the input of a step is a floating-point tensor \(batch, ...\), got \(2, 3\), torch.int64",
        ),
        (
            lambda n: n([1.0]),
            r"snn.Leaky: the input of a step is a floating-point tensor \(batch, ...\), got list",
        ),
        (
            lambda n: n(torch.ones(2, 3).half()),
            r"input has dtype torch.float16; expected float32, float64 or bfloat16",
        ),
        (lambda n: n(torch.ones(0, 3)), r"input has shape \(1, 0, 3\), 1 steps; none may be 0"),
        (
            lambda n: n(torch.ones(2, 3), torch.ones(4, 3)),
            r"snn.Leaky: state mem has shape \(4, 3\); expected \(2, 3\); take the states of reset_mem\(\)",
        ),
        (
            lambda n: n(torch.ones(2, 3), torch.ones(2, 3), None),
            r"snn.Leaky: a call takes the input and the states mem; got 2 states",
        ),
        (
            lambda n: n(torch.ones(2, 3), syn=None),
            r"snn.Leaky: a call takes the input and the states mem; got 0 states and syn",
        ),
        (lambda n: n(torch.ones(2, 3), None, mem=None), r"got 1 states and mem"),
        (
            lambda n: n.sequence(torch.ones(0, 2, 3)),
            r"input has shape \(0, 2, 3\), 0 steps; none may be 0",
        ),
        (
            lambda n: n.sequence(torch.ones(4)),
            r"snn.Leaky: a sequence is a floating-point tensor \(time, batch, ...\), got \(4,\), torch.float32",
        ),
        (
            lambda n: snn.Leaky(torch.full((5,), 0.9))(torch.ones(2, 3)),
            r"a parameter of shape \(5,\) does not broadcast to neurons of shape \(2, 3\)",
        ),
        (
            lambda n: snn.SLSTM(4, 2)(torch.ones(2, 3)),
            r"snn.SLSTM: the input of a step is \(batch, 4\), torch.float32; got \(2, 3\), torch.float32",
        ),
        (
            lambda n: snn.SLSTM(3, 2)(torch.ones(2, 3), torch.ones(2, 3)),
            r"snn.SLSTM: state syn has shape \(2, 3\); expected \(2, 2\)",
        ),
    ],
)
def test_calls_with_the_wrong_tensors_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(snn.Leaky(0.9))


def test_a_kept_state_of_another_batch_is_refused_with_the_remedy():
    neuron = snn.Leaky(0.9, init_hidden=True)
    neuron(torch.ones(4, 3))
    with pytest.raises(
        InputError,
        match=r"state mem has shape \(4, 3\); expected \(2, 3\); call lavalike.snn.reset\(net\) before",
    ):
        neuron(torch.ones(2, 3))
    with pytest.raises(InputError, match="with init_hidden=True a call takes the input alone"):
        neuron(torch.ones(4, 3), torch.ones(4, 3))


def test_bfloat16_inputs_give_bfloat16_spikes_and_float32_states():
    x = data(BATCH, SIZE).bfloat16()
    spk, mem = snn.Leaky(0.9)(x)
    assert (spk.dtype, mem.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(mem, x.float())


MADE = {
    "Leaky": lambda beta=0.7, **k: snn.Leaky(beta, **k),
    "Synaptic": lambda beta=0.7, **k: snn.Synaptic(0.6, beta, **k),
    "Alpha": lambda beta=0.5, **k: snn.Alpha(0.8, beta, **k),
    "Lapicque": lambda beta=0.7, **k: snn.Lapicque(beta, **k),
    "RLeaky": lambda beta=0.7, **k: snn.RLeaky(beta, all_to_all=False, V=0.5, **k),
    "RSynaptic": lambda beta=0.7, **k: snn.RSynaptic(0.6, beta, all_to_all=False, V=0.5, **k),
    "SLSTM": lambda **k: snn.SLSTM(4, 4, **k),
}


def trained(neuron):
    """Spikes, last states and the gradient to the input of eight steps."""
    x = (2 * torch.rand(8, 3, 4, generator=torch.Generator().manual_seed(2)) - 0.2).requires_grad_()
    states, total = (), 0
    for now in x:
        spk, *states = out = neuron(now, *states)
        total = total + spk.sum() + sum(s.sum() for s in states) / 4
        states = out if neuron.output_is_state else states
    total.backward()
    return torch.stack(out).detach(), x.grad


def alike(a, b):
    return all(torch.equal(x, y) for x, y in zip(trained(a), trained(b), strict=True))


def made(name, **kwargs):
    torch.manual_seed(0)  # of SLSTM's weights
    return MADE[name](**{"threshold": 0.3, **kwargs})


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize(
    ("attribute", "old", "new"),
    [
        ("reset_mechanism", "subtract", "zero"),
        ("reset_mechanism", "zero", "none"),
        ("reset_mechanism", "none", "subtract"),
        ("spike_grad", sg.atan(), sg.fast_sigmoid(3.0)),
        ("reset_grad", "detach", "full"),
        ("threshold", 0.3, 0.5),
        ("beta", 0.55, 0.7),
        ("R", 2.0, 3.0),
    ],
)
def test_what_is_set_later_acts(name, attribute, old, new):
    """As a neuron that was made with it, before and after a first call; and what was there before
    it acted otherwise."""
    neuron = made(name)
    if not hasattr(neuron, attribute):
        return
    neuron = made(name, **{attribute: old})
    before, after = made(name, **{attribute: old}), made(name, **{attribute: new})
    if attribute == "R":
        before, after, neuron = (snn.Lapicque(R=r, C=1.4, threshold=0.3) for r in (old, new, old))
    elif name == "Lapicque" and attribute == "beta":  # the resistance stays
        after = snn.Lapicque(new, R=before.R.item(), threshold=0.3)
    assert alike(neuron, before)
    setattr(neuron, attribute, new)
    assert (
        torch.equal(torch.as_tensor(getattr(neuron, attribute)), torch.as_tensor(new))
        if attribute in ("threshold", "beta", "R")
        else (getattr(neuron, attribute) == new)
    )
    assert alike(neuron, after)
    assert alike(copy.deepcopy(neuron), after)
    assert not alike(before, after)


def test_a_learnt_parameter_that_is_set_stays_the_optimisers():
    neuron = snn.Leaky(0.5, learn_beta=True)
    beta = neuron.beta
    neuron.beta = 0.75
    assert neuron.beta is beta
    assert beta.item() == 0.75
    with pytest.raises(
        InputError,
        match=r"snn.Leaky: beta is learnt and has shape \(\), got \(3,\); assign an nn.Parameter",
    ):
        neuron.beta = torch.full((3,), 0.5)
    neuron.beta = torch.nn.Parameter(torch.full((3,), 0.5))
    assert [p.shape for p in neuron.parameters()] == [(3,)]
    assert neuron(torch.ones(2, 3))[1].shape == (2, 3)


def test_a_tensor_that_is_assigned_keeps_its_gradient():
    neuron, made_of = snn.Leaky(0.5), torch.tensor(0.2, requires_grad=True)
    neuron.beta = torch.sigmoid(made_of)
    neuron(torch.ones(2, 3), torch.ones(2, 3))[1].sum().backward()
    assert made_of.grad > 0
    with pytest.raises(
        InputError, match=r"snn.Leaky: beta requires a gradient, but a neuron keeps a copy; learn_"
    ):
        snn.Leaky(torch.sigmoid(made_of))


def test_a_factor_of_spikes_that_comes_later_acts():
    x = torch.full((2, 3), 2.0)
    for change in (
        lambda n: setattr(n, "graded_spikes_factor", 3.0),
        lambda n: n.graded_spikes_factor.fill_(3.0),
        lambda n: n.load_state_dict(snn.Leaky(0.5, graded_spikes_factor=3.0).state_dict()),
    ):
        neuron = snn.Leaky(0.5)
        assert torch.equal(neuron(x)[0], torch.ones(2, 3))
        change(neuron)
        assert torch.equal(neuron(x)[0], torch.full((2, 3), 3.0))


@pytest.mark.parametrize(
    ("name", "attribute", "value", "message"),
    [
        (
            "Leaky",
            "reset_mechanism",
            "substract",
            r"snn.Leaky: reset_mechanism is one of .*, got 'substract'; did you mean 'subt",
        ),
        (
            "SLSTM",
            "reset_mechanism",
            1,
            r"snn.SLSTM: reset_mechanism is one of subtract, zero, none, got 1 \(int\)",
        ),
        ("Leaky", "spike_grad", sg.atan, r"snn.Leaky: spike_grad is a Surrogate .* got <class"),
        ("SLSTM", "spike_grad", "atan", r"snn.SLSTM: spike_grad is a Surrogate .* got 'atan'"),
        (
            "Leaky",
            "reset_grad",
            "ful",
            r"snn.Leaky: reset_grad is .* got 'ful'; did you mean 'full'\?",
        ),
        ("Leaky", "beta", 1.5, r"snn.Leaky: beta is in 0..1, got 1.5"),
        ("Leaky", "beta", "0.5", r"snn.Leaky: beta is finite numbers, got '0.5' \(str\)"),
        (
            "Leaky",
            "threshold",
            torch.tensor([1.0, math.nan]),
            r"snn.Leaky: threshold is in 1e-06..inf, got nan",
        ),
        ("SLSTM", "threshold", -1, r"snn.SLSTM: threshold is in 1e-06..inf, got -1"),
        ("Alpha", "beta", 0.9, r"snn.Alpha: 0 < beta < alpha < 1 is needed"),
        ("Lapicque", "R", -1, r"snn.Lapicque: R is in .*, got -1"),
        ("Lapicque", "C", 0, r"snn.Lapicque: C is in .*, got 0"),
        ("Lapicque", "time_step", -2, r"snn.Lapicque: time_step is in .*, got -2"),
        ("Lapicque", "integrator", "exact", r"snn.Lapicque: integrator is chosen when it is made"),
        ("RLeaky", "all_to_all", True, r"snn.RLeaky: all_to_all is chosen when it is made"),
        ("RLeaky", "linear_features", 3, r"snn.RLeaky: linear_features is chosen when it is made"),
        (
            "Leaky",
            "learn_beta",
            True,
            r"snn.Leaky: learn_beta is chosen when it is made, and setting it would do nothing; beta.requires_grad_",
        ),
        ("Leaky", "reset_delay", False, r"snn.Leaky: reset_delay is chosen when it is made"),
        ("Leaky", "inhibition", "yes", r"snn.Leaky: inhibition is True or False, got 'yes'"),
        (
            "Leaky",
            "state_quant",
            3,
            r"snn.Leaky: state_quant is a function that quantises .* got 3",
        ),
        ("Leaky", "reset_mechanism_val", 5, r"reset_mechanism_val is 0 \(subtract\), .*, got 5"),
        (
            "Leaky",
            "surrogate_disable",
            True,
            r"snn.Leaky: surrogate_disable is chosen when it is made",
        ),
        (
            "Leaky",
            "mem",
            torch.zeros(2, 3),
            r"snn.Leaky: mem is a state, which is passed to a call",
        ),
        ("Leaky", "dynamics", None, r"snn.Leaky: dynamics is chosen when it is made"),
        ("Leaky", "state_names", (), r"snn.Leaky: state_names is chosen when it is made"),
    ],
)
def test_what_cannot_be_set_is_refused(name, attribute, value, message):
    neuron = made(name)
    with pytest.raises(InputError, match=message):
        setattr(neuron, attribute, value)
    assert alike(neuron, made(name))


def test_a_users_own_attributes_are_his():
    class Own(snn.Leaky):
        def __init__(self, beta, time_step):
            super().__init__(beta)
            self.time_step, self.bias, self.layer = time_step, 2, torch.nn.Linear(1, 1)

    assert (Own(0.5, 3).time_step, Own(0.5, 3).bias) == (3, 2)


def balance(exc, inh, v, w, beta):
    v = leak(v, beta) + exc - inh
    w = leak(w, beta) + inh
    s = above(v, 1)
    return s, w, reset(s, v, 0), w


BALANCE = Dynamics(
    balance,
    ("exc", "inh"),
    ("s", "rate"),
    ("v", "w"),
    fixed=False,
    parameters=(Parameter("beta", 0.9, 0, 1, trained=True),),
)


def test_several_inputs_and_outputs():
    """Against the equations by hand; steps, a sequence and init_hidden; gradients to both
    inputs."""
    g = torch.Generator().manual_seed(4)
    exc, inh = (torch.rand(7, 3, 2, generator=g, requires_grad=True) for _ in range(2))
    layer, kept = snn.Neuron(BALANCE), snn.Neuron(BALANCE, init_hidden=True)
    v = w = torch.zeros(3, 2)
    states, spikes = (), 0
    for a, b in zip(exc, inh, strict=True):
        v, w = 0.9 * v + a - b, 0.9 * w + b
        s = (v > 1).float()
        spikes += s.sum()
        v = v * (1 - s)
        got, rate, *states = layer(a, b, *states)
        torch.testing.assert_close((got, rate, *states), (s, w, v, w))
        assert all(torch.equal(x, y) for x, y in zip(kept(a, b), (got, rate), strict=True))
    assert 2 < spikes < 42
    out, after = layer.sequence(exc, inh, record=["v"])
    assert {*out} == {"s", "rate", "v"}
    torch.testing.assert_close(after, tuple(states))
    torch.testing.assert_close(out["v"][-1], v)
    out["rate"].sum().backward()
    torch.testing.assert_close(
        inh.grad[:, 0, 0], torch.tensor([sum(0.9**k for k in range(7 - t)) for t in range(7)])
    )
    assert not exc.grad.any()
    named = layer(exc[0], inh[0], w=torch.ones(3, 2))
    torch.testing.assert_close(named[3], 0.9 + inh[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, x: n(x), r"snn.Neuron: a call takes the inputs exc, inh, by position; got 1"),
        (
            lambda n, x: n(x, None),
            r"snn.Neuron: the input of a step is a floating-point tensor \(batch, ...\), got NoneType",
        ),
        (
            lambda n, x: n(x, x[:1]),
            r"balance: input inh has shape \(1, 1, 2\), torch.float32; expected \(1, 3, 2\)",
        ),
        (
            lambda n, x: n(x, x.double()),
            r"balance: input inh has shape \(1, 3, 2\), torch.float64; expected \(1, 3, 2\), torch.float32",
        ),
        (
            lambda n, x: n(x, x, x, x, x),
            r"snn.Neuron: a call takes the inputs and the states v, w; got 3 states",
        ),
        (lambda n, x: n(x, x, vv=x), r"the states v, w; got 0 states and vv; did you mean 'v'"),
        (
            lambda n, x: n(x, x, 0.5),
            r"snn.Neuron: state v is a torch tensor or None, got 0.5 \(float\)",
        ),
        (
            lambda n, x: n.sequence(x[None]),
            r"snn.Neuron: a sequence takes the inputs exc, inh and the states v, w; got 1 tensors",
        ),
        (
            lambda n, x: n.sequence(x[None], x[None], record=["u"]),
            r"snn.Neuron: record names states, \('v', 'w'\), got 'u'",
        ),
        (
            lambda n, x: n.sequence(x[None], x[None], x[0]),
            r"snn.Neuron: state v has shape \(2,\); expected \(3, 2\)",
        ),
    ],
)
def test_calls_with_the_wrong_inputs_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(snn.Neuron(BALANCE), torch.rand(3, 2))
