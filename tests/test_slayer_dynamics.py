"""What lava-dl's programs ask of neurons besides forward: ``dynamics`` and ``spike``, states
between calls, the same as functions; and its names of modules and bases.

Plain loops, whose equality with the compiled ones tests/test_fused.py has of every Dynamics, unless
a test asks for ``compiled``.
"""

from __future__ import annotations

import importlib
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from lavalike import fused, slayer
from lavalike.errors import InputError, RunError
from tests.conftest import ROOT

CUBA = {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1}
RISING = {"threshold_step": 0.2, "threshold_decay": 0.2, "refractory_decay": 0.25}
RF = {"threshold": 0.3, "period": 10, "decay": 0.08}
KINDS = {
    "cuba": CUBA,
    "lif": {"threshold": 0.5, "voltage_decay": 0.1},
    "alif": CUBA | RISING,
    "rf": RF,
    "rf_iz": RF,
    "adrf": RF | RISING,
    "adrf_iz": RF | RISING,
}
STATES = {  # what lava-dl calls a state between calls, of which of dynamics' states it is the last
    "cuba": {"current_state": 0, "voltage_state": 1},
    "lif": {"voltage_state": 0},
    "alif": {"current_state": 0, "voltage_state": 1, "threshold_state": 2, "refractory_state": 3},
    "rf": {"real_state": 0, "imag_state": 1},
    "rf_iz": {"real_state": 0, "imag_state": 1},
    "adrf": {"real_state": 0, "imag_state": 1, "threshold_state": 2, "refractory_state": 3},
    "adrf_iz": {"real_state": 0, "imag_state": 1, "threshold_state": 2, "refractory_state": 3},
}


@pytest.fixture(autouse=True)
def loops(request):
    if "compiled" in request.fixturenames:
        yield
    else:
        with fused.plain_loops():
            yield


@pytest.fixture
def compiled():
    pass


def make(kind, **more):
    return getattr(slayer.neuron, kind).Neuron(**KINDS[kind] | more)


def drive(kind, time=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = 2 if "rf" in kind else 1
    return [torch.randn(2, 3, time, generator=generator, requires_grad=True) for _ in range(count)]


def sent(unit, states):
    """``spike`` of the states that it takes: those that decide."""
    used = {slayer.neuron.cuba.Neuron: states[1:], slayer.neuron.alif.Neuron: states[1:]}
    return unit.spike(*used.get(type(unit), states))


@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_spike_of_dynamics_gradient_included(kind):
    unit, x = make(kind, requires_grad=True), drive(kind)
    states = unit.dynamics(tuple(x) if len(x) == 2 else x[0])
    assert len(states) == len(STATES[kind])
    found, due = sent(unit, states), unit(*x)
    assert 0 < due.mean() < 0.5
    assert torch.equal(found, due)
    weight = torch.linspace(-1, 1, due.numel()).reshape(due.shape)
    wanted = [*x, *unit.parameters()]
    grads = [torch.autograd.grad((weight * s).sum(), wanted) for s in (found, due)]
    for got, right in zip(*grads, strict=True):
        assert torch.allclose(got, right, rtol=1e-4, atol=1e-5 * float(right.abs().max()))


@pytest.mark.parametrize("kind", ["cuba", "alif", "adrf", "rf_iz"])
def test_graded_spikes_too_and_dropout_acts_on_them(kind):
    unit, x = make(kind, graded_spike=True), drive(kind)
    found = sent(unit, unit.dynamics(*x))
    assert torch.equal(found, unit(*x))
    assert len(found.detach().unique()) > 2
    unit.drop = nn.Threshold(1e9, 7.0)
    assert set(sent(unit, unit.dynamics(*x)).detach().flatten().tolist()) == {7.0}


def test_states_are_the_equations_in_whole_numbers():
    """An adaptive LIF and an adaptive resonator, written out."""

    def leak(x, k):
        return math.trunc(x * k / 4096)

    unit, (x,) = make("alif"), drive("alif")
    du, dv, dt, dr = (
        4096 - d
        for d in (
            unit.cx_current_decay,
            unit.cx_voltage_decay,
            unit.cx_threshold_decay,
            unit.cx_refractory_decay,
        )
    )
    rest, step = round(unit.threshold * 4096), round(unit.threshold_step * 4096)
    u = v = rise = r = 0
    rows = []
    for value in x[1, 2].tolist():
        u = leak(u, du) + int(np.float32(value) * np.float32(4096))
        v = leak(v, dv) + u
        rise, r = leak(rise, dt), leak(r, dr)
        rows.append((u, v, rest + rise, r))
        if v >= rest + rise + r:
            rise, r = rise + step, r + 2 * (rest + rise)
    got = torch.stack(unit.dynamics(x))[:, 1, 2].T * 4096
    assert got.tolist() == [list(map(float, row)) for row in rows]
    assert unit.v_th_step == 12
    assert unit.weight_exponent == 0
    assert unit.num_neurons == 3


@pytest.mark.parametrize("kind", KINDS)
def test_states_go_on_from_call_to_call_and_can_be_set(kind):
    x, unit = drive(kind), make(kind, persistent_state=True)
    with torch.no_grad():
        whole = unit.dynamics(*x)
        spikes, last = sent(unit, whole), {n: getattr(unit, n).clone() for n in STATES[kind]}
        rest = {n: unit.threshold if n == "threshold_state" else 0.0 for n in last}
        for n, value in rest.items():  # as lava-dl's programs do
            setattr(unit, n, getattr(unit, n) * 0 + value)
        parts, sends = [], []
        for part in ((0, 13), (13, 30)):
            parts.append(unit.dynamics(*(v[..., slice(*part)] for v in x)))
            sends.append(sent(unit, parts[-1]))
        for got, due in zip(zip(*parts, strict=True), whole, strict=True):
            assert torch.equal(torch.cat(got, -1), due)
        assert torch.equal(torch.cat(sends, -1), spikes)
        for n, value in last.items():
            assert torch.equal(getattr(unit, n), value), n
        # what one neuron kept another goes on from, without keeping anything itself
        fresh = make(kind)
        first = make(kind, persistent_state=True)
        first(*(v[..., :13] for v in x))
        for n in last:
            setattr(fresh, n, getattr(first, n))
        for _ in range(2):
            assert torch.equal(fresh(*(v[..., 13:] for v in x)), spikes[..., 13:])
        with pytest.raises(InputError, match=r"state \w+ has shape"):
            fresh(*(v[:1] for v in x))
        fresh.reset_state()
        assert torch.equal(fresh(*x), spikes)


def test_one_number_is_every_neurons_state_and_lies_on_the_grid():
    unit = make("cuba")
    assert unit.voltage_state.tolist() == [0]
    unit.voltage_state = 0.4 + 0.4 / 4096
    assert unit.voltage_state * 4096 == math.trunc(0.4 * 4096 + 0.4)
    _, voltage = unit.dynamics(torch.zeros(2, 3, 1))
    assert (voltage * 4096 == math.trunc(math.trunc(0.4 * 4096) * (4096 - 410) / 4096)).all()
    with pytest.raises(InputError, match="a state is finite"):
        unit.current_state = torch.tensor(math.nan)
    with pytest.raises(AttributeError):
        _ = make("lif").current_state


def test_states_move_with_the_module_in_their_own_precision():
    unit = make("cuba", persistent_state=True)
    unit(drive("cuba")[0].detach())
    moved = unit.double()
    assert moved.voltage_state.dtype == torch.float32
    assert unit.to("meta").voltage_state.device.type == "meta"


def test_states_of_compiled_loops(compiled):
    unit, x = make("cuba"), drive("cuba")[0].detach()
    found = unit.dynamics(x)
    with fused.plain_loops():
        due = unit.dynamics(x)
    assert all(map(torch.equal, found, due))
    assert torch.equal(unit.spike(found[1]), unit(x))


def test_bfloat16_states_come_in_what_holds_them():
    unit, x = make("cuba"), drive("cuba")[0].detach().bfloat16()
    _, voltage = unit.dynamics(x)
    assert voltage.dtype == torch.float32
    assert torch.equal(unit.spike(voltage), unit(x).float())


def test_a_block_goes_on_from_its_neurons_states():
    torch.manual_seed(0)
    block = slayer.block.cuba.Dense(CUBA | {"persistent_state": True}, 4, 3, weight_scale=4)
    x = (torch.rand(2, 4, 12, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    with torch.no_grad():
        first = block(x)
        assert block.neuron.voltage_state.shape == (2, 3)
        block.neuron.current_state *= 0
        block.neuron.voltage_state *= 0
        block.neuron.voltage_state = 5.0
        assert block(x)[..., 1].all()  # shifted by a step
        block.reset_state()
        assert first.any()
        assert torch.equal(block(x), first)
        assert not torch.equal(block(x), first)
        plain = slayer.block.cuba.Dense(CUBA, 4, 3)
        plain.neuron.voltage_state = 5.0
        assert plain(x)[..., 1].all()
        assert not plain(x)[..., 0].any()


def test_sigma_and_delta_keep_the_states_of_their_neuron():
    unit = slayer.neuron.sigma_delta.Neuron(0.1, persistent_state=True)
    x = torch.rand(2, 3, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = unit(x)
        assert torch.allclose(unit.sigma.pre_state, x.sum(-1))
        for part, name in (("sigma", "pre"), ("delta", "pre"), ("delta", "residual")):
            module = getattr(unit, part)
            setattr(module, f"{name}_state", getattr(module, f"{name}_state") * 0)
        assert torch.equal(torch.cat([unit(x[..., :5]), unit(x[..., 5:])], -1), whole)
        sums = unit.sigma(unit.delta(x[..., :1]))  # by themselves, from where the neuron was
        assert not torch.allclose(sums, x[..., :1])
    unit.delta.error_state = 0.0
    with pytest.raises(InputError, match="cum_error=False accumulates no error"):
        unit.delta.error_state = 1.0


def test_decays_can_be_set_as_they_are_deployed():
    unit = make("cuba")
    unit.cx_current_decay = 1024
    assert unit.cx_current_decay == 1024
    assert unit.current_decay.item() == 1024
    with pytest.raises(InputError, match=r"current_decay is in 0..4096"):
        unit.cx_current_decay = 5000
    with pytest.raises(InputError, match="shared_param=False takes one a channel"):
        unit.cx_voltage_decay = [1, 2, 3]
    turning = make("rf", shared_param=False)
    turning.period, turning.decay = [8.0, 12.0, 20.0], 0.1
    assert np.allclose(turning.period, [8, 12, 20], rtol=1e-3)
    assert np.allclose(turning.decay, 0.1, atol=1e-3)
    turning.lam, turning.frequency = 0.05, 0.1
    assert np.allclose(turning.lam, 0.05, atol=1e-3)
    assert np.allclose(turning.period, 10, rtol=1e-3)
    with pytest.raises(InputError, match="period"):
        turning.period = 2.0
    unit.current_decay.data.fill_(9999)
    unit.clamp()
    assert unit.current_decay.item() == 4096


def test_debug_compares_with_the_plain_loop(compiled, monkeypatch):
    unit, x = make("cuba"), drive("cuba")[0].detach()
    unit.debug = True
    unit(x)

    def wrong(*args, **kwargs):
        result = fused.scan(*args, **kwargs)
        for y in result.outputs.values():
            y[7] = 5
        return result

    monkeypatch.setattr(fused, "reference", wrong)
    with pytest.raises(RunError, match=r"debug: s_out of the compiled loop.* first in step 7"):
        unit(x)


# -- the same as functions -------------------------------------------------------------------------

functions = slayer.neuron.dynamics


def counted(unit, *names):
    return {n: torch.tensor([float(getattr(unit, f"cx_{n}"))]) for n in names}


def test_the_functions_compute_what_the_neurons_do():
    scale = 4096
    x, y = (v.detach() for v in drive("rf"))
    with torch.no_grad():
        cuba, alif = make("cuba"), make("alif")
        d = counted(alif, "current_decay", "voltage_decay", "threshold_decay", "refractory_decay")
        leaky = functions.leaky_integrator.dynamics
        u = leaky(x, d["current_decay"], 0, scale)
        v = leaky(u, d["voltage_decay"], torch.zeros(1), scale)
        rising = {
            "ref_state": 0,
            "ref_decay": d["refractory_decay"],
            "th_state": torch.tensor([alif.threshold]),
            "th_decay": d["threshold_decay"],
            "th_scale": alif.threshold_step,
            "w_scale": scale,
        }
        th, r = functions.adaptive_threshold.dynamics(v, th0=alif.threshold, **rising)
        for got, due in zip((u, v, th, r), alif.dynamics(x), strict=True):
            assert torch.equal(got, due)
        # a CUBA's comparison is strict
        limit = cuba.threshold + 1 / scale
        v = leaky(u, d["voltage_decay"], 0, scale, threshold=limit)
        assert torch.equal(v, cuba.dynamics(x)[1])
        adrf, iz, adrf_iz = make("adrf"), make("rf_iz"), make("adrf_iz")
        turn = counted(adrf, "sin_decay", "cos_decay") | {"real_state": 0, "imag_state": 0}
        turn["w_scale"] = scale
        rising |= {"th_state": adrf.threshold, "th0": adrf.threshold}
        re, im = functions.resonator.dynamics(x, y, **turn)
        th, r = functions.adaptive_phase_th.dynamics(re, im, 0, **rising)
        for got, due in zip((re, im, th, r), adrf.dynamics(x, y), strict=True):
            assert torch.equal(got, due)
        found = functions.adaptive_resonator.dynamics(x, y, **turn | rising)
        for got, due in zip(found, adrf_iz.dynamics(x, y), strict=True):
            assert torch.equal(got, due)
        found = functions.resonator.dynamics(x, y, **turn, threshold=iz.threshold)
        for got, due in zip(found, iz.dynamics(x, y), strict=True):
            assert torch.equal(got, due)


def test_a_function_goes_on_from_its_states_and_trains_its_decay():
    x = drive("cuba")[0].detach()
    decay = torch.tensor([300.0], requires_grad=True)
    state = torch.full((2, 3), 0.25)
    y = functions.leaky_integrator.dynamics(x, decay, state, 4096, debug=True)
    first = (torch.trunc(state * 3796 / 4096 * 4096) + torch.trunc(x[..., 0] * 4096)) / 4096
    assert torch.equal(y[..., 0], first)
    (grad,) = torch.autograd.grad(y.sum(), decay)
    step = 64.0  # in 1/4096
    more = functions.leaky_integrator.dynamics(x, decay.detach() + step, state, 4096)
    less = functions.leaky_integrator.dynamics(x, decay.detach() - step, state, 4096)
    assert abs(float(grad) / float((more - less).sum() / (2 * step)) - 1) < 0.05
    # a threshold that depends on what is trained
    sent = slayer.spike.Spike.apply(y, decay / 4096, 1.0, 1.0)
    assert torch.equal(sent, (y >= 300 / 4096).float())
    one, zero = torch.ones(2), torch.tensor([0.0, 1.0])
    assert functions.leaky_integrator.persistent_state(one, zero).tolist() == [1, 0]
    assert functions.resonator.persistent_real_state(one, zero).tolist() == [1, 0]
    assert functions.resonator.persistent_imag_state(one, zero, 2.0, 4).tolist() == [1, 1.75]
    assert functions.adaptive_threshold.persistent_ref_state(one, zero, one).tolist() == [1, 3]
    assert functions.adaptive_phase_th.persistent_th_state(one, zero, 0.5).tolist() == [1, 1.5]
    with pytest.raises(InputError, match=r"state u has shape \(3,\)"):
        functions.leaky_integrator.dynamics(x, 9, torch.zeros(3), 4096)
    with pytest.raises(InputError, match=r"parameter keep_u has shape \(2,\)"):
        functions.leaky_integrator.dynamics(x, [1.0, 2.0], 0, 4096)


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("axon.delay", "delay Delay"),
        ("axon.delta", "Delta"),
        ("dendrite.sigma", "Sigma"),
        ("spike.spike", "Spike"),
        ("spike.complex", "Spike"),
        ("utils.time.shift", "shift"),
        ("utils.time.replicate", "replicate"),
        ("utils.filter.conv", "conv corr"),
        ("utils.filter.fir", "FIR FIRBank"),
        ("utils.utils", "dotdict staticproperty diagonal_mask event_rate"),
    ],
)
def test_modules_lie_where_lava_dl_has_them_and_packages_have_their_names(module, names):
    package = module.rpartition(".")[0]
    there = importlib.import_module(f"lavalike.slayer.{module}")
    front = importlib.import_module(f"lavalike.slayer.{'utils' if package == 'utils' else package}")
    for name in names.split():
        assert getattr(there, name) is getattr(front, name) or module == "spike.complex"
        assert callable(getattr(front, name))  # the function, not the module of its name


def test_the_page_names_what_there_is():
    page = (ROOT / "docs/from_lava_dl.md").read_text(encoding="utf-8")
    table = page.split("<!-- names -->")[1].split("<!-- /names -->")[0]
    rows = [line.split("|")[1:3] for line in table.strip().splitlines()[2:]]
    assert len(rows) > 20
    for modules, names in rows:
        found, full = [], ""
        for name in re.findall(r"`([\w.]+)`", modules):
            full = full.rpartition(".")[0] + name if name.startswith(".") else name
            found.append(importlib.import_module(f"lavalike.{full}"))
        for name in re.findall(r"`(\w+)`", names):
            assert any(hasattr(m, name) for m in found), f"{modules}: {name}"


def test_blocks_of_ones_own_by_family_and_base():
    class Mine(slayer.block.cuba.AbstractCuba, slayer.block.base.AbstractDense):
        pass

    torch.manual_seed(0)
    mine = Mine(CUBA, 4, 3)
    torch.manual_seed(0)
    x = (torch.rand(2, 4, 9, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    assert torch.equal(mine(x), slayer.block.cuba.Dense(CUBA, 4, 3)(x))
    assert isinstance(slayer.block.rf.Conv(RF, 1, 1, 3), slayer.block.rf.AbstractRF)
    names = (
        "Input Flatten Average Affine TimeDecimation Dense Conv Pool ConvT Unpool KWTA Recurrent"
    )
    for name in (*names.split(), "Residual"):
        assert isinstance(getattr(slayer.block.base, f"Abstract{name}"), type)


def test_step_delay_goes_on_where_the_neuron_does():
    block, x = nn.Module(), torch.arange(1.0, 7).reshape(1, 1, 6)
    late = slayer.block.base.step_delay
    assert late(block, x).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    block.neuron = make("cuba", persistent_state=True)
    parts = [late(block, x[..., :2]), late(block, x[..., 2:])]
    assert torch.cat(parts, -1).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert late(block, x.expand(2, 1, 6))[..., 0].tolist() == [[0], [0]]  # another batch


def test_a_synapse_of_ones_own_is_normalised_and_quantised():
    class Mine(nn.Conv3d, slayer.synapse.layer.GenericLayer):
        def forward(self, x):
            return self._conv_forward(x, self.effective_weight(), None)

    mine = Mine(2, 3, (1, 1, 1), bias=False)
    x, before = torch.ones(1, 2, 1, 1, 4), mine.weight.detach().clone()
    out = mine(x)
    mine.enable_weight_norm()
    assert mine.weight_norm_enabled
    assert [n for n, _ in mine.named_parameters()] == [
        "weight_g",
        "weight_v",
    ]
    assert torch.allclose(mine(x), out)
    assert torch.allclose(mine.weight, before)
    mine(x).sum().backward()
    assert mine.grad_norm > 0
    assert mine.shape == (3, 2, 1, 1, 1)
    assert not mine.complex
    mine.disable_weight_norm()
    mine.pre_hook_fx = lambda w: 0 * w
    assert torch.allclose(mine.weight, before)
    assert not mine(x).any()
    pair = slayer.synapse.complex.Dense(4, 3)
    pair.enable_weight_norm()
    assert pair.complex
    assert pair.weight_norm_enabled
    assert pair.shape == (3, 4, 1, 1, 1)
    with pytest.raises(InputError, match="its weight is fixed"):
        slayer.synapse.Pool(2).enable_weight_norm()


def test_recurrence_by_a_matrix_is_that_by_the_synapse():
    recurrent = slayer.utils.recurrent
    z = drive("cuba")[0].detach()
    synapse = slayer.synapse.Dense(3, 3, weight_scale=3, pre_hook_fx=make("cuba").quantize_8bit)
    outs, grads = [], []
    for way in (
        recurrent.custom_recurrent,
        recurrent.custom_recurrent_ground_truth_1,
        recurrent.custom_recurrent_ground_truth_2,
        lambda z, n, s: recurrent.CustomRecurrent.apply(
            z, n, n.quantize_8bit(s.weight[:, :, 0, 0, 0])
        ),
    ):
        synapse.zero_grad()
        outs.append(way(z, make("cuba", persistent_state=True), synapse))
        outs[-1].sum().backward()
        grads.append(synapse.weight.grad.clone())
    assert outs[0].any()
    assert all(torch.equal(o, outs[0]) for o in outs)
    assert grads[0].any()
    assert all(torch.allclose(g, grads[0], rtol=1e-4) for g in grads)
    with pytest.raises(InputError, match="recurrent_mat has shape"):
        recurrent.CustomRecurrent.apply(z, make("cuba"), torch.eye(4))


def test_small_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = slayer.classifier.Rate()

    net = Net()
    assert [n for n, _ in net.named_children()] == ["classifier"]
    spikes = torch.tensor([[[0.0, 0, 1], [1, 1, 0]]])
    assert net.classifier(spikes).tolist() == [1] == slayer.classifier.Rate.predict(spikes).tolist()
    stat = slayer.utils.LearningStat()
    stat.update()
    assert not stat.valid_loss_log
    assert not stat.valid_accuracy_log
    stat.add(0.5, 2)
    stat.update()
    assert stat.valid_loss_log
    assert not stat.valid_accuracy_log
    norm = slayer.neuron.norm.WgtScaleBatchNorm()
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)) * 8 + 3
    assert norm.num_features is None
    norm(x)
    mean, kept = norm.running_mean.clone(), norm.running_var.clone()
    norm.update = False
    assert torch.equal(norm(x), norm.eval()(x))
    assert norm.num_features == 3
    assert torch.equal(norm.running_mean, mean)
    assert torch.equal(norm.running_var, kept)
    norm.reset_parameters()
    assert not norm.running_mean.any()
    assert norm.weight_exp == 0
    assert norm.std(kept * 0 + 60) == 8
    assert slayer.neuron.rf.Neuron(
        0.3, [20, 10], 0.1, shared_param=False
    ).complex  # in either order
