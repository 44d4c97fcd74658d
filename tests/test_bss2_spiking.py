"""Spiking mode in simulation: hxtorch's integrators and gradients, its objects, encoders,
errors."""

from __future__ import annotations

import json
import pickle
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st

from lavalike.bss2 import snn, spiking
from lavalike.bss2.errors import OperandError, RecordingError
from lavalike.bss2.spiking.eventprop import integrate_eventprop
from lavalike.bss2.spiking.modules import EventPropLIF, EventPropSynapse
from lavalike.bss2.spiking.neuron import Params, Recorded, integrate
from lavalike.bss2.spiking.transforms.decode import MaxOverTime, MeanOverTime, SumOverTime
from lavalike.bss2.spiking.transforms.encode import (
    CoordinatesToSpikes,
    PixelsToSpikeTimes,
    SpikeTimesToDense,
)
from lavalike.bss2.spiking.transforms.weight_transforms import (
    linear_exponential_clamp,
    linear_saturating,
)
from lavalike.dynamics.adex import neuron
from lavalike.errors import InputError, RunError
from lavalike.fused import plain_loops

DT = 1e-6


@pytest.fixture(scope="module")
def recorded(conformance):
    return json.loads(conformance("bss2/neurons_and_mac.json").read_text())


def dense(record):
    x = torch.zeros(record["shape"])
    for t, b, n, value in record["nonzero"]:
        x[t, b, n] = value
    return x


ROUNDED = (
    20 * 2.0**-23
)  # what values below 1 that decay by a tenth a step keep of ten steps' roundings, twice

# -- the integrator --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["psp_li_tau10", "psp_lif_tau10_th0.3", "const0.3_ref1us"])
def test_traces_are_hxtorchs(recorded, case):
    r = recorded[case]
    known = {k: v for k, v in r["kwargs"].items() if k in ("threshold", "refractory_time", "fire")}
    out = integrate(dense(r["input"]), Params(**known), DT)
    np.testing.assert_allclose(out.membrane.flatten(), r["v"], atol=ROUNDED)
    np.testing.assert_allclose(out.current.flatten(), r["i"], atol=ROUNDED)
    assert out.spikes is None or out.spikes.flatten().nonzero().flatten().tolist() == r["spikes"]


def test_known_values_in_float64():
    x = torch.zeros(60, 1, 1, dtype=torch.float64)
    x[10] = 1
    v = integrate(x, Params(fire=False), DT).membrane.flatten()
    assert v.dtype == torch.float64
    assert v.argmax() == 19
    np.testing.assert_allclose(v[11:15], [0.1, 0.18, 0.243, 0.2916], atol=1e-12)
    np.testing.assert_allclose(v[19], 0.387420489, atol=1e-12)
    # changing tau_mem alone does not rescale the input's effect
    assert integrate(x, Params(fire=False, tau_mem=5e-6), DT).membrane[11].item() == pytest.approx(
        0.1
    )


def test_the_exponential_form(recorded):
    r = recorded["exp_li_tau10"]
    x = torch.zeros(len(r["v"]), 1, 1)
    x[r["i"].index(1.0)] = 1
    out = integrate(x, Params(fire=False, exact=True), DT)
    np.testing.assert_allclose(out.membrane.flatten(), r["v"], atol=ROUNDED)
    np.testing.assert_allclose(out.current.flatten(), r["i"], atol=ROUNDED)


def test_surrogate_gradient(recorded):
    r = recorded["grad_w0.6"]
    s = torch.zeros(r["T"], 1, 1)
    s[r["input_steps"]] = 1
    w = torch.tensor(0.6, requires_grad=True)
    out = integrate(s * w, Params(threshold=r["threshold"]), DT, alpha=r["alpha"])
    assert out.spikes.flatten().nonzero().flatten().tolist() == r["spikes"]
    (dsum,) = torch.autograd.grad(out.spikes.sum(), w, retain_graph=True)
    (dmax,) = torch.autograd.grad(out.membrane.max(), w)
    assert dsum.item() == pytest.approx(r["dsumz_dw"], rel=1e-5)
    assert dmax.item() == pytest.approx(r["dmaxv_dw"], rel=1e-5)


class _Injected(torch.autograd.Function):
    @staticmethod
    def forward(ctx, model, recorded):
        return recorded.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class _SuperSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad / (ctx.alpha * ctx.saved_tensors[0].abs() + 1) ** 2, None


def plainly(x, p, spikes=None, membrane=None, alpha=50.0):
    """bss2.md 2.3, line by line, written apart from what it tests."""
    c, g = p.membrane_capacitance, p.membrane_capacitance / p.tau_mem
    v, i, w, ref = (torch.full_like(x[0], b) for b in (p.leak if p.leaky else 0, 0, 0, 0))
    zs, vs = [], []
    for t in range(len(x)):
        drive = i - w
        if p.leaky:
            drive = drive + g * (p.leak - v)
        if p.exponential:
            drive = drive + g * p.exponential_slope * torch.exp(
                (v - p.exponential_threshold) / p.exponential_slope
            )
        dv = DT / c * drive
        i = i * (1 - DT / p.tau_syn) + x[t]
        v = v + dv if membrane is None else _Injected.apply(v + dv, membrane[t])
        z = _SuperSpike.apply(v - p.threshold, alpha)
        z = z if spikes is None else _Injected.apply(z, spikes[t])
        w = (
            w * (1 - DT / p.tau_adap)
            + DT / p.tau_adap * p.adaptation_strength * (v - p.leak)
            + p.adaptation_increment * z
        )
        if membrane is None:
            v = (1 - z.detach()) * v + z.detach() * p.reset
        if p.refractory_time:
            m = (ref > 0).to(x.dtype)
            v = (1 - m) * v + m * p.reset
            v = v if membrane is None else _Injected.apply(v, membrane[t])
            z = (1 - m) * z
            z = z if spikes is None else _Injected.apply(z, spikes[t])
            ref = (1 - z.detach()) * torch.relu(ref - m) + z.detach() * p.refractory_time / DT
        zs.append(z)
        vs.append(v)
    return torch.stack(zs), torch.stack(vs)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.data())
def test_spikes_membranes_and_gradients_are_those_of_the_plain_equations(data):
    draw = data.draw
    g = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    leaky, exponential = draw(st.sampled_from([(False, True), (True, True), (True, False)]))
    p = Params(
        leak=draw(st.sampled_from([0.0, 0.25])),
        reset=draw(st.sampled_from([0.0, -0.5])),
        threshold=0.9,
        tau_mem=draw(st.sampled_from([4e-6, 1e-5])),
        tau_syn=6e-6,
        refractory_time=draw(st.sampled_from([0.0, 1e-6, 2.5e-6])),
        adaptation_strength=0.3,
        adaptation_increment=draw(st.sampled_from([0.0, 0.5])),
        tau_adap=2e-5,
        leaky=leaky,
        exponential=exponential,
        exponential_slope=0.3,
        exponential_threshold=0.8,
    )
    x = (torch.randn(19, 2, 3, generator=g, dtype=torch.float64) * 0.8).requires_grad_()
    z = (torch.rand(19, 2, 3, generator=g) < 0.2).double() if draw(st.booleans()) else None
    v = (
        torch.randn(19, 2, 3, generator=g, dtype=torch.float64) * 0.5 + 0.4
        if draw(st.booleans()) and z is not None
        else None
    )
    out = integrate(x, p, DT, Recorded(z, v), alpha=20.0)
    wanted = plainly(x, p, z, v, alpha=20.0)
    weight = torch.randn(2, 19, 2, 3, generator=g, dtype=torch.float64)
    torch.testing.assert_close((out.spikes, out.membrane), wanted, rtol=1e-9, atol=1e-11)
    (got,) = torch.autograd.grad((out.spikes * weight[0] + out.membrane * weight[1]).sum(), x)
    (want,) = torch.autograd.grad((wanted[0] * weight[0] + wanted[1] * weight[1]).sum(), x)
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)
    if z is not None:
        assert torch.equal(out.spikes, z)
        assert v is None or torch.equal(out.membrane, v)


def test_parameters_of_each_neuron_are_trained():
    tau = torch.tensor([5e-6, 1e-5, 2e-5], dtype=torch.float64, requires_grad=True)
    x = torch.rand(12, 2, 3, dtype=torch.float64)
    torch.autograd.gradcheck(
        lambda tau: integrate(x, Params(tau_mem=tau * 1e-6, fire=False), DT).membrane,
        (tau.detach() * 1e6).requires_grad_(),
    )
    one = integrate(x[:, :, :1], Params(tau_mem=5e-6, fire=False), DT).membrane
    torch.testing.assert_close(
        integrate(x, Params(tau_mem=tau, fire=False), DT).membrane[..., :1], one
    )


def test_a_recording_shorter_than_the_input_ends_the_run():
    out = integrate(torch.rand(9, 1, 2), Params(), DT, Recorded(torch.zeros(6, 1, 2)))
    assert out.spikes.shape == out.membrane.shape == (6, 1, 2)
    with pytest.raises(OperandError, match=r"recorded spikes have shape \(6, 1, 3\)"):
        integrate(torch.rand(9, 1, 2), Params(), DT, Recorded(torch.zeros(6, 1, 3)))


def test_the_equation_reads_as_printed():
    assert neuron().equation.splitlines() == [
        "v[t] = v[t-1] + gain (i[t-1] + dv (leak - v[t-1]))",
        "i[t] = keep i[t-1] + a_in[t]",
        "s_out[t] = v[t] > vth",
        "v[t] = reset where s_out[t]",
    ]
    assert "s_out[t] = fired[t]" in neuron(spikes=True).equation
    assert neuron(exponential=True, leaky=False).equation.startswith(
        "v[t] = v[t-1] + gain (i[t-1] + dv slope exp(min((v[t-1] - knee) / slope, 60.0)))\n"
    )


@pytest.mark.parametrize("dt", [1e-6, 5e-7, 1e-7])
@pytest.mark.parametrize("kind", ["number", "float32", "float64"])
def test_refractoriness_is_as_many_steps_as_asked(dt, kind):
    """3e-6 / 1e-6 is a little more than 3."""
    dtype = torch.float32 if kind == "float32" else torch.float64
    steps = torch.arange(1, 33, dtype=torch.float64)
    x = torch.ones(120, 1, 32, dtype=dtype)
    if kind == "number":
        z = torch.cat(
            [
                integrate(
                    x[..., :1], Params(refractory_time=float(n) * dt, threshold=0.05), dt
                ).spikes
                for n in steps
            ],
            2,
        )
    else:
        z = integrate(x, Params(refractory_time=(steps * dt).to(dtype), threshold=0.05), dt).spikes
    for n in range(32):
        assert z[:, 0, n].nonzero().flatten().diff()[-1] == n + 2, n


# -- EventProp -------------------------------------------------------------------------------------


def eventprop_plainly(x, grad, p):
    """Forward and adjoint steps of EventProp for x (T, B, N)."""
    T = len(x)
    i, v, z = (torch.zeros_like(x) for _ in range(3))
    v[0] = p.leak
    for t in range(T - 1):
        i[t + 1] = i[t] * (1 - DT / p.tau_syn) + x[t]
        v[t + 1] = v[t] + DT / p.tau_mem * (p.leak - v[t] + i[t + 1])
        z[t + 1] = (v[t + 1] > p.threshold).to(x.dtype)
        v[t + 1] = (1 - z[t + 1]) * v[t + 1] + z[t + 1] * p.reset
    li, lv = torch.zeros_like(x), torch.zeros_like(x)
    for t in range(T - 1, 0, -1):
        below, above = p.leak - p.threshold + i[t - 1], p.leak - p.reset + i[t - 1]
        li[t - 1] = li[t] + DT / p.tau_syn * (lv[t] - li[t])
        lv[t - 1] = lv[t] * (1 - DT / p.tau_mem)
        lv[t - 1] = (1 - z[t]) * lv[t - 1] + torch.nan_to_num(
            z[t] * above / below * lv[t - 1] + z[t] / below * grad[t], posinf=0, neginf=0
        )
    return z, v, i, torch.stack([li * p.tau_syn, lv - li])


def test_eventprop_is_hxtorchs_forward_and_adjoint():
    g = torch.Generator().manual_seed(1)
    p = Params(leak=0.1, reset=-0.2, threshold=0.8, tau_mem=6e-6, tau_syn=5e-6)
    x = torch.rand(30, 3, 4, generator=g, dtype=torch.float64) * 0.9
    both = torch.stack([x, torch.zeros_like(x)]).requires_grad_()
    out = integrate_eventprop(both, p, DT)
    weight = torch.randn(30, 3, 4, generator=g, dtype=torch.float64)
    z, v, i, wanted = eventprop_plainly(x, weight, p)
    assert z.sum() > 20
    torch.testing.assert_close((out.spikes, out.membrane, out.current), (z, v, i))
    (got,) = torch.autograd.grad((out.spikes * weight).sum(), both)
    torch.testing.assert_close(got, wanted)


def test_eventprop_points_where_spike_times_go():
    """The gradient of a spike's time by the weight, against the difference of the times on a fine
    grid."""
    fine = 1e-8

    def first_spike(w):
        x = torch.zeros(2, 3000, 1, 1, dtype=torch.float64)
        x[0, 100] = w
        out = integrate_eventprop(
            x.requires_grad_(), Params(threshold=0.5, tau_mem=1e-5, tau_syn=5e-6), fine
        )
        return out, x

    (out, x), (later, _), (earlier, _) = (first_spike(4.0 * k) for k in (1, 0.98, 1.02))
    when = [float(o.spikes.flatten().argmax()) * fine for o in (out, later, earlier)]
    slope = (when[2] - when[1]) / (0.04 * 4.0)
    out.spikes.flatten()[int(when[0] / fine + 0.5)].backward()
    # d(spike)/dw by EventProp is tau_syn lam_i at the input, lam counted per dt: minus the time's
    # derivative, over tau_mem
    assert x.grad[0, 100].item() / slope == pytest.approx(-1.0, rel=0.1)


def test_eventprop_layers():
    e = spiking.Experiment(mock=True)
    first, lif = EventPropSynapse(4, 8, e), EventPropLIF(8, e, leak=0.0, reset=0.0, threshold=0.5)
    second, out = (
        EventPropSynapse(8, 2, e),
        spiking.LIF(2, e, leak=0.0, reset=0.0, threshold=0.5, method="eventprop"),
    )
    for s in (first, second):
        torch.nn.init.uniform_(s.weight, 0.2, 1.0)
    h = out(second(lif(first(spiking.LIFObservables(spikes=(torch.rand(40, 3, 4) < 0.2).float())))))
    spiking.run(e)
    h.spikes.sum().backward()
    assert float(first.weight.grad.abs().sum()) > 0
    assert float(second.weight.grad.abs().sum()) > 0
    plain = spiking.Synapse(4, 8, e)
    lif(plain(spiking.LIFObservables(spikes=torch.zeros(40, 3, 4))))
    with pytest.raises(
        OperandError, match=r"EventProp: input \(2, time, batch, neuron\) of an EventPropSynapse"
    ):
        spiking.run(e)


# -- the objects -----------------------------------------------------------------------------------


def model(experiment, **settings):
    tau = 6e-6
    torch.manual_seed(0)
    layers = (
        spiking.Synapse(5, 30, experiment),
        spiking.LIF(
            30,
            experiment,
            leak=0.0,
            reset=0.0,
            threshold=1.0,
            tau_mem=tau,
            tau_syn=tau,
            membrane_capacitance=tau,
            **settings,
        ),
        spiking.Synapse(30, 3, experiment),
        spiking.LI(3, experiment, leak=0.0, tau_mem=tau, tau_syn=tau),
    )
    torch.nn.init.normal_(layers[0].weight, 0.8, 0.25)
    return layers


def inputs(seed=0, shape=(38, 6, 5)):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.08).float()


def test_a_network_is_its_equations():
    e = spiking.Experiment(mock=True)
    syn, lif, out, li = model(e)
    x = inputs()
    h = lif(syn(spiking.LIFObservables(spikes=x)))
    y = li(out(h))
    assert repr(y) == "LIObservables(not run yet)"
    assert y.empty
    assert (y.membrane_cadc, h.spikes, h.holds("spikes")) == (None, None, False)
    with pytest.raises(
        RunError, match=r"graded_spikes of Synapse 1: not run yet; call run\(experiment, runtime\)"
    ):
        lif.graded(spiking.Synapse(5, 30, spiking.Experiment(mock=True))(spiking.Handle(x)))
    spiking.run(e, 38)
    p = Params(tau_mem=6e-6, tau_syn=6e-6, membrane_capacitance=6e-6, refractory_time=1e-6)
    z, v = plainly(x @ syn.weight.t(), p)
    torch.testing.assert_close((h.spikes, h.membrane_cadc), (z, v))
    # the readout keeps the default capacitance of 10e-6
    torch.testing.assert_close(
        y.membrane_cadc,
        plainly(z @ out.weight.t(), Params(tau_mem=6e-6, tau_syn=6e-6, threshold=1e9))[1],
    )
    assert y.membrane_madc is None
    assert h.current.shape == (38, 6, 30)
    y.membrane_cadc.max(0).values.sum().backward()
    assert syn.weight.grad.abs().sum() > 0


def test_a_wrapper_brings_spikes_back_one_step_later():
    e = spiking.Experiment(mock=True)
    syn, lif, *_ = model(e)
    rec = spiking.Synapse(30, 30, e)
    x = inputs()
    wrapper = spiking.HXModuleWrapper(e, lif=lif, rec=rec)
    h = wrapper(syn(spiking.LIFObservables(spikes=x)))
    spiking.run(e)
    drive, z, rows = x @ syn.weight.t(), torch.zeros(6, 30), []
    p, states = lif.params(), None
    for t in range(38):
        out = integrate((drive[t] + z @ rec.weight.t()).unsqueeze(0), p, DT, states=states)
        z, states = out.spikes[0], out.states
        rows.append(z)
    assert torch.equal(h.spikes, torch.stack(rows))
    assert bool(h.spikes.any())
    # as hxtorch's: called on no handle, it takes over its layers' calls
    i = syn(spiking.LIFObservables(spikes=x))
    z = lif(i)
    r = rec(z)
    wrapper()
    spiking.run(e)
    assert torch.equal(z.spikes, h.spikes)
    torch.testing.assert_close(r.graded_spikes, z.spikes @ rec.weight.t())
    assert wrapper.contains([rec])
    assert not wrapper.contains([syn])


def test_a_layer_of_ones_own():
    class Double(spiking.HXModule):
        def forward_func(self, input, hw_data=None):
            return input.tensor * 2

    class Louder(spiking.Synapse):
        def forward_func(self, input):
            return spiking.SynapseHandle(3 * super().forward_func(input).graded_spikes)

    e = spiking.Experiment(mock=True)
    h = Double(e)(spiking.TensorHandle(torch.ones(2, 1, 1)))
    louder = Louder(4, 2, e)
    g = louder(spiking.InputNeuron(4, e)(spiking.Handle(torch.ones(5, 1, 4))))
    spiking.run(e)
    assert torch.equal(h.tensor, torch.full((2, 1, 1), 2.0))
    torch.testing.assert_close(g.graded_spikes, 3 * torch.ones(5, 1, 4) @ louder.weight.t())


def test_sparse_synapses_have_no_gradient_where_there_is_none():
    e = spiking.Experiment(mock=True)
    connections = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    s = spiking.SparseSynapse(connections.to_sparse(), e)
    h = s(spiking.LIFObservables(spikes=torch.ones(4, 2, 3)))
    spiking.run(e)
    h.graded_spikes.sum().backward()
    assert torch.equal(s.weight.grad != 0, connections.t() != 0)
    assert torch.equal(s.weight != 0, connections.t() != 0)


def test_batch_dropout():
    e = spiking.Experiment(mock=True)
    syn, lif, *_ = model(e)
    drop = spiking.BatchDropout(30, 0.5, e)
    i = syn(spiking.LIFObservables(spikes=inputs()))
    h = lif(i)
    d = drop(h)
    spiking.run(e)
    silent = drop.mask == 0
    assert 0 < silent.sum() < 30
    assert torch.equal(d.spikes, h.spikes * drop.mask)
    drop.eval()
    h = lif(syn(spiking.LIFObservables(spikes=inputs())))
    d = drop(h)
    spiking.run(e)
    assert torch.equal(d.spikes, h.spikes)
    assert drop(spiking.LIFObservables(spikes=inputs())).spikes is None
    with pytest.raises(
        TypeError,
        match="BatchDropout silences neurons, so it follows a population that fires; got an input",
    ):
        spiking.run(e)


def test_masked_neurons_are_silent():
    e = spiking.Experiment(mock=True)
    syn, lif, *_ = model(e)
    lif.mask = (torch.arange(30) % 2).float()
    h = lif(syn(spiking.LIFObservables(spikes=inputs())))
    spiking.run(e)
    assert h.spikes[..., 1::2].any()
    assert not h.spikes[..., ::2].any()


def test_masked_neurons_are_silent_in_a_loop():
    """Neuron 0 hears neuron 1 alone, which is masked."""
    e = spiking.Experiment(mock=True)
    syn, lif, rec = (
        spiking.Synapse(1, 2, e),
        spiking.LIF(2, e, leak=0.0, reset=0.0, threshold=0.1),
        spiking.Synapse(2, 2, e),
    )
    syn.weight.data, rec.weight.data = (
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
    )
    for mask, expected in ((None, [True, True]), (torch.tensor([1.0, 0.0]), [False, False])):
        lif.mask = mask
        h = spiking.HXModuleWrapper(e, lif=lif, rec=rec)(
            syn(spiking.LIFObservables(spikes=torch.ones(30, 1, 1)))
        )
        spiking.run(e)
        assert h.spikes.bool().any(0).any(0).tolist() == expected


def test_layers_are_pickled_and_tensors_move_with_them():
    e = spiking.Experiment(mock=True)
    layers = torch.nn.ModuleList(
        [
            spiking.LIF(3, e, threshold=torch.ones(3)),
            spiking.LI(3, e, leak=0.0),
            spiking.AELIF(3, e),
            spiking.LIF(
                3, e, reset=spiking.MixedHXModelParameter(torch.zeros(3), torch.full((3,), 80.0))
            ),
        ]
    )
    copy = pickle.loads(pickle.dumps(layers))
    assert copy[0].params().tau_mem == layers[0].params().tau_mem
    assert copy[0].chip_parameters["membrane_capacitance"].hardware_value == 63
    moved = layers.to("meta")
    assert moved[0].threshold.model_value.is_meta
    assert moved[3].reset.hardware_value.is_meta
    assert not layers.state_dict()  # what is set and not trained is not saved


def test_parameters():
    mixed = spiking.MixedHXModelParameter(1.0, 150)
    assert (mixed.model_value, mixed.hardware_value) == (1.0, 150)
    assert spiking.ModelParameter(2.0).hardware_value == 2.0
    assert spiking.HXParameter(3.0).hardware_value == 3.0
    assert spiking.HXTransformedModelParameter(10e-6, lambda c: 63).hardware_value == 63
    e = spiking.Experiment(mock=True)
    lif = spiking.LIF(3, e, leak=0.0, reset=0.0, threshold=mixed)
    lif.tau_mem.make_trainable()
    assert [n for n, _ in lif.named_parameters()] == ["tau_mem.model_value"]
    syn = spiking.Synapse(2, 3, e)
    h = lif(syn(spiking.LIFObservables(spikes=torch.ones(30, 1, 2))))
    spiking.run(e)
    h.membrane_cadc.sum().backward()
    assert lif.tau_mem.model_value.grad.abs() > 0
    with pytest.raises(
        InputError, match="tau_mem: it is trained, but make_trainable was given no set_on_chip_func"
    ):
        lif.tau_mem.on_chip("tau_mem")
    wide = spiking.LIF(3, e, threshold=torch.tensor([1.0, 2.0]))
    wide(syn(spiking.LIFObservables(spikes=torch.ones(30, 1, 2))))
    with pytest.raises(
        OperandError,
        match=r"threshold has shape \(2,\); one value or one for each of the 3 neurons",
    ):
        spiking.run(e)


def test_what_is_trained_acts_whatever_its_value_is():
    e = spiking.Experiment(mock=True)
    lif = spiking.AELIF(
        2,
        e,
        leak=0.0,
        reset=0.0,
        threshold=1.0,
        exponential=False,
        spike_triggered_adaptation_increment=0.0,
        subthreshold_adaptation_strength=spiking.ModelParameter(0.0).make_trainable(),
    )
    h = lif(spiking.SynapseHandle(torch.rand(20, 1, 2)))
    spiking.run(e)
    h.membrane_cadc.sum().backward()
    assert lif.subthreshold_adaptation_strength.model_value.grad.abs() > 0


def test_eventprop_trains_weights_alone():
    e = spiking.Experiment(mock=True)
    synapse, lif = EventPropSynapse(2, 3, e), EventPropLIF(3, e, leak=0.0, reset=0.0, threshold=0.5)
    lif.tau_mem.make_trainable()
    lif(synapse(spiking.Handle(torch.ones(9, 1, 2))))
    with pytest.raises(
        InputError, match="EventPropLIF 1: EventProp trains weights alone, tau_mem would get no"
    ):
        spiking.run(e)
    lif(synapse(spiking.Handle(torch.ones(9, 1, 2))))
    with torch.no_grad():
        spiking.run(e)
    with pytest.raises(InputError, match="method is 'superspike', got 'eventprop'"):
        spiking.AELIF(3, e, method="eventprop")


def test_aelif_leaves_terms_out():
    e = spiking.Experiment(mock=True)
    syn = spiking.Synapse(2, 3, e)
    torch.nn.init.constant_(syn.weight, 1.0)
    common = {"leak": 0.0, "reset": 0.0, "threshold": 1.0}
    plain = spiking.AELIF(
        3,
        e,
        **common,
        exponential=False,
        subthreshold_adaptation=False,
        spike_triggered_adaptation=False,
    )
    full = spiking.AELIF(
        3,
        e,
        **common,
        exponential_slope=0.2,
        exponential_threshold=0.9,
        spike_triggered_adaptation_increment=5.0,
    )
    lif, silent = (
        spiking.LIF(3, e, **common),
        spiking.AELIF(3, e, **common, fire=False, exponential=False, subthreshold_adaptation=False),
    )
    h = [m(syn(spiking.LIFObservables(spikes=torch.ones(40, 1, 2)))) for m in (plain,)]
    for m in (full, lif, silent):
        other = spiking.Synapse(2, 3, e)
        torch.nn.init.constant_(other.weight, 1.0)
        h.append(m(other(spiking.LIFObservables(spikes=torch.ones(40, 1, 2)))))
    spiking.run(e)
    assert torch.equal(h[0].spikes, h[2].spikes)
    assert 0 < h[1].spikes.sum() < h[0].spikes.sum()
    assert isinstance(h[3], spiking.LIObservables)
    assert h[3].membrane_cadc.max() > 1


def test_default_exponential_does_not_overflow():
    """hxtorch's own defaults, 80 to 125 LSB at a slope of 0.05, end in inf and nan."""
    x = torch.full((60, 1, 1), 20.0, requires_grad=True)
    out = integrate(
        x,
        Params(
            leak=80.0,
            reset=80.0,
            threshold=125.0,
            exponential=True,
            exponential_slope=50e-3,
            exponential_threshold=110.0,
        ),
        DT,
    )
    out.spikes.sum().backward()
    assert out.spikes.sum() > 1
    assert bool(x.grad.isfinite().all())
    assert bool(out.membrane.isfinite().all())


def test_float64_and_several_synapses():
    e = spiking.Experiment(mock=True)
    a, b = (
        spiking.Synapse(2, 3, e, dtype=torch.float64),
        spiking.Synapse(4, 3, e, dtype=torch.float64),
    )
    lif = spiking.LIF(3, e, leak=0.0, reset=0.0, threshold=0.4)
    x, y = torch.ones(9, 1, 2), torch.ones(9, 1, 4)
    h = lif(a(spiking.Handle(x)), b(spiking.Handle(y)))
    spiking.run(e)
    assert h.current.dtype == torch.float64
    torch.testing.assert_close(
        h.current[0], x[0].double() @ a.weight.t() + y[0].double() @ b.weight.t()
    )


# -- the older spelling ----------------------------------------------------------------------------


def test_the_posters_program():
    ins = snn.Instance(mock=True)
    syn1, lif1 = snn.Synapse(ins, 5, 30), snn.LIF(ins, 30, leak=0.0, reset=0.0, threshold=0.2)
    syn2, li2 = snn.Synapse(ins, 30, 4), snn.LI(ins, 4)
    x1 = syn1(snn.Handle(inputs()))
    x2 = lif1(x1)
    x3 = syn2(x2)
    x4 = li2(x3)
    snn.run(ins, 38)
    assert x4.membrane_cadc.shape == (38, 6, 4)
    x4.membrane_cadc.sum().backward()
    assert syn1.weight.grad is not None
    with pytest.raises(InputError, match="LIF: size is expected after the Instance"):
        snn.LIF(ins)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: snn.LIF(i, size=4),
        lambda i: snn.LIF(4, instance=i),
        lambda i: snn.Neuron(i, 4),
        lambda i: snn.AELIF(i, 4),
        lambda i: snn.LIF(i, 4, 80.0, 80.0, threshold=125.0),
        lambda i: snn.LIF(experiment=i, size=4),
    ],
)
def test_populations_in_the_earlier_spellings(make):
    ins = snn.Instance(mock=True)
    made = make(ins)
    assert (made.size, made.experiment, made.params().threshold) == (4, ins, 125.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: snn.Synapse(i, in_features=4, out_features=3),
        lambda i: snn.Synapse(4, 3, instance=i),
        lambda i: snn.Synapse(4, 3, i),
        lambda i: snn.SparseSynapse(i, torch.ones(4, 3)),
        lambda i: snn.Synapse(experiment=i, in_features=4, out_features=3),
    ],
)
def test_synapses_in_the_earlier_spellings(make):
    ins = snn.Instance(mock=True)
    made = make(ins)
    assert (made.in_features, made.out_features, made.experiment) == (4, 3, ins)
    assert snn.BatchDropout(ins, 4, 0.5).dropout == 0.5
    assert snn.InputNeuron(ins, 4).size == 4


def test_all_documented_arguments_have_their_place():
    e = spiking.Experiment(True, 1e-6, None)
    lif = spiking.LIF(
        4,
        e,
        80,
        80,
        125,
        1e-5,
        1e-5,
        500,
        63,
        1e-6,
        600,
        0.0,
        "superspike",
        30.0,
        None,
        None,
        True,
        True,
        False,
        None,
        True,
        3,
        None,
        None,
        1.0,
        2.0,
        3,
        True,
        "nearest",
        spiking.morphology.SingleCompartmentNeuron(2),
    )
    assert (
        lif.alpha,
        lif.record_neuron_id,
        lif.trace_offset,
        lif.trace_scale,
        lif.cadc_time_shift,
    ) == (30.0, 3, 1.0, 2.0, 3)
    assert (lif.shift_cadc_to_first, lif.interpolation_mode, lif.neuron_structure) == (
        True,
        "nearest",
        2,
    )
    li = spiking.LI(
        4,
        e,
        80,
        1e-5,
        1e-5,
        500,
        63,
        600,
        None,
        None,
        True,
        False,
        None,
        True,
        3,
        None,
        None,
        1.0,
        2.0,
    )
    assert (li.record_neuron_id, li.trace_scale) == (3, 2.0)
    with pytest.raises(TypeError, match="multiple values for argument"):
        spiking.LI(4, e, 80, 1e-5, 1e-5, 500, 63, 600, None, execution_instance=None)
    i = spiking.ExecutionInstance("c", "cache", True)
    assert (i.calib_path, i.calib_cache_dir, i.input_loopback) == ("c", "cache", True)
    e.default_execution_instance.load_calib("d")
    assert e.default_execution_instance.calib_path == "d"


def test_the_earlier_functional_interface():
    functional = snn.functional
    x = inputs()
    ins, e = snn.Instance(mock=True), spiking.Experiment(mock=True)
    torch.manual_seed(0)
    old = (
        snn.Synapse(5, 30, ins),
        snn.Neuron(
            30,
            experiment=ins,
            func=functional.cuba_lif_integration,
            params=functional.CUBALIFParams(1 / 6e-6, 1 / 6e-6),
        ),
        snn.Synapse(30, 3, ins),
        snn.ReadoutNeuron(
            3,
            ins,
            func=functional.cuba_li_integration,
            params=functional.CUBALIParams(1 / 6e-6, 1 / 6e-6),
        ),
    )
    new = model(e, refractory_time=0.0)
    new[3].membrane_capacitance = spiking.ModelParameter(6e-6)
    with torch.no_grad():
        for a, b in zip(old[::2], new[::2], strict=True):
            a.weight.copy_(b.weight)
    for a, b in zip(old[1::2], new[1::2], strict=True):
        assert a.params() == b.params()  # what a chip is set up with
    y, z = (
        layers[3](layers[2](layers[1](layers[0](snn.NeuronHandle(x))))) for layers in (old, new)
    )
    snn.run(ins, 38)
    spiking.run(e, 38)
    assert z.membrane_cadc.abs().max() > 0
    torch.testing.assert_close(y.v_cadc, z.v_cadc)
    assert z.v_madc is None
    with pytest.raises(InputError, match=r"params are of the functions of snn\.functional"):
        snn.LIF(ins, 4, params=3)


def test_func_is_what_a_layer_computes():
    seen = {}

    def neuron(input, params, dt, hw_data=None):
        seen.update(threshold=params.threshold, dt=dt, hw=hw_data)
        return input * 0 + 1, input

    class Weigh(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input, weight):
            ctx.save_for_backward(input)
            return input @ weight.t()

        @staticmethod
        def backward(ctx, grad):
            return None, (grad.flatten(0, 1).t() @ ctx.saved_tensors[0].flatten(0, 1)) * 7

    ins = snn.Instance(mock=True, dt=2e-6)
    syn = snn.Synapse(ins, 5, 3, func=Weigh)
    h = snn.LIF(3, ins, threshold=4.0, func=neuron)(syn(snn.Handle(inputs())))
    snn.run(ins, 38)
    assert seen == {"threshold": 4.0, "dt": 2e-6, "hw": None}
    assert bool((h.spikes == 1).all())
    h.membrane_cadc.sum().backward()
    torch.testing.assert_close(syn.weight.grad[0], 7 * inputs().sum((0, 1)))


# -- encoders, decoders, transforms, mapper --------------------------------------------------------


def test_coordinates_to_spikes(recorded):
    r = recorded["coord2spikes_T38_2_26_bias2"]
    spikes = CoordinatesToSpikes(38, 2e-6, 26e-6, 1e-6, 2e-6)(torch.tensor([r["x"]]))
    assert sorted(spikes.nonzero().tolist()) == sorted(r["nonzero"])
    assert spikes.shape == (38, 1, 5)
    with pytest.raises(InputError, match="all times within 26 steps of 1e-06 s are needed"):
        CoordinatesToSpikes(26, 2e-6, 26e-6)


def test_pixels_to_spike_times_to_dense():
    times = PixelsToSpikeTimes(tau=20, threshold=0.2, t_max=100.0)(
        torch.tensor([[0.1, 0.2, 0.4, 1.0]])
    )
    np.testing.assert_allclose(
        times, [[100.0, 100.0, 20 * np.log(2), 20 * np.log(1.25)]], rtol=1e-5
    )
    spikes = SpikeTimesToDense(1.0, size=50)(times)
    assert spikes.nonzero().tolist() == [
        [4, 0, 3],
        [13, 0, 2],
    ]  # those at t_max are beyond the last step


def test_decoders():
    x = torch.tensor([[[1.0, -1.0]], [[3.0, -4.0]]])
    assert MaxOverTime()(x).tolist() == [[3, -1]]
    assert SumOverTime()(x).tolist() == [[4, -5]]
    assert MeanOverTime()(x).tolist() == [[2, -2.5]]


def test_weight_transforms():
    w = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    assert linear_saturating(w, 40.0).tolist() == [-63, -20, 0, 20, 63]
    soft = linear_exponential_clamp(w, cap=1.5, start_weight=50)
    assert soft.tolist()[1:4] == [-0.5, 0.0, 0.5]
    assert -1.5 < soft[0] < -50 / 63 * 1.5
    soft.sum().backward()
    assert w.grad.tolist() == [1.0] * 5
    steps = linear_exponential_clamp(w, quantize=True).detach() / 1.5 * 63
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


def test_mapper():
    class Other(spiking.MixinHXModelMapper, torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)

    source = {
        f"{a}.{b}": v
        for a, l in (("l1", torch.nn.Linear(2, 3)), ("l2", torch.nn.Linear(3, 1)))
        for b, v in l.state_dict().items()
    }
    other = Other()
    other.map_from(source, {"l1": "first", "l2": "second"})
    assert torch.equal(other.second.bias, source["l2.bias"])
    with pytest.raises(InputError, match=r"l2\.weight is in no mapping"):
        other.map_from(source, {"l1": "first"})
    other.map_from(source, {"l1": "first"}, map_all=False)
    with pytest.raises(
        InputError, match=r"l1\.weight becomes third\.weight, which this model does not have"
    ):
        other.map_from(source, {"l1": "third", "l2": "second"})


# -- errors ----------------------------------------------------------------------------------------


def test_loops_need_a_wrapper():
    e = spiking.Experiment(mock=True)
    syn, lif, *_ = model(e)
    rec = spiking.Synapse(30, 30, e)
    z = lif(syn(spiking.LIFObservables(spikes=inputs())))
    lif(rec(z))
    with pytest.raises(
        ValueError, match="LIF 1 is its own input, a loop: put its layers into one HXModuleWrapper"
    ):
        spiking.run(e)
    lif(syn(spiking.LIFObservables(spikes=inputs())))
    lif(syn(spiking.LIFObservables(spikes=inputs())))
    with pytest.raises(ValueError, match="Synapse 1 was called twice in a pass"):
        spiking.run(e)


def test_handles_that_nobody_fills():
    e, other = spiking.Experiment(mock=True), spiking.Experiment(mock=True)
    _, lif, *_ = model(e)
    stray = spiking.Synapse(5, 30, other)(spiking.LIFObservables(spikes=inputs()))
    lif(stray)
    with pytest.raises(
        RunError, match="LIF 1: its input, a SynapseHandle of Synapse 1, is not connected"
    ):
        spiking.run(e)
    with pytest.raises(RunError, match="no layer of the experiment was called since the last run"):
        spiking.run(e)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda e: spiking.Synapse(0, 3, e),
            InputError,
            "Synapse: in_features is an integer >= 1, got 0",
        ),
        (
            lambda e: spiking.Synapse(2, 3, e)(torch.ones(2, 1, 2)),
            OperandError,
            r"Synapse 1: a handle is expected, got a tensor",
        ),
        (lambda e: spiking.LIF(2.5, e), InputError, "LIF 1: size is an integer >= 1, got 2.5"),
        (lambda e: spiking.LIF(2, "e"), InputError, "LIF: experiment is an Experiment, got str"),
        (
            lambda e: spiking.LIF(2, e, method="magic"),
            InputError,
            "LIF 1: method is 'superspike' or 'eventprop', got 'magic'",
        ),
        (
            lambda e: spiking.LIF(2, e, interpolation_mode="cubic"),
            InputError,
            "interpolation_mode is one of linear, nearest; got 'cubic'",
        ),
        (
            lambda e: spiking.LIF(2, e, enable_madc_recording=True, record_neuron_id=2),
            RecordingError,
            r"record_neuron_id within 0..1; got 2",
        ),
        (
            lambda e: spiking.LIF(2, e)(spiking.LIFObservables(spikes=torch.ones(2, 1, 2))),
            OperandError,
            "LIF 1: a SynapseHandle is expected",
        ),
        (
            lambda e: spiking.LI(2, e, enable_spike_recording=True),
            InputError,
            "LI: it does not fire",
        ),
        (
            lambda e: spiking.SparseSynapse(torch.ones(3), e),
            OperandError,
            r"SparseSynapse: connections is a tensor \(in, out\)",
        ),
        (
            lambda e: spiking.Experiment(dt=0),
            InputError,
            "Experiment: dt is the length of a step in s, got 0",
        ),
        (
            lambda e: spiking.LIFObservables(spikes=[1]),
            InputError,
            "LIFObservables: spikes is a tensor .* got list",
        ),
        (
            lambda e: spiking.LIFObservables(rate=torch.ones(1)),
            InputError,
            "LIFObservables: observables are spikes",
        ),
        (
            lambda e: spiking.BatchDropout(3, 1.0, e),
            InputError,
            "dropout is within 0..1, below 1; got 1.0",
        ),
        (
            lambda e: spiking.LIF(2, e, tau_mem=-1e-6),
            InputError,
            "LIF 1: tau_mem is a finite number above 0, or a tensor",
        ),
        (
            lambda e: spiking.LIF(2, e, tau_mem=0.0),
            InputError,
            "tau_mem is a finite number above 0",
        ),
        (
            lambda e: spiking.LIF(2, e, tau_syn=float("nan")),
            InputError,
            "tau_syn is a finite number above 0.* got nan",
        ),
        (
            lambda e: spiking.LIF(2, e, refractory_time=-1.0),
            InputError,
            "refractory_time is a finite number >= 0.* got -1.0",
        ),
        (
            lambda e: spiking.LIF(2, e, membrane_capacitance=torch.tensor([1.0, 0.0])),
            InputError,
            "membrane_capacitance is a finite number ab",
        ),
        (
            lambda e: spiking.LIF(2, e, leak="a"),
            InputError,
            "LIF 1: leak is a finite number, or a tensor of one for each neuron, got 'a'",
        ),
        (
            lambda e: spiking.LIF(2, e, threshold=None),
            InputError,
            "threshold is a finite number, .* got None",
        ),
        (
            lambda e: spiking.LIF(2, e, neuron_structure=2.0),
            InputError,
            r"neuron_structure, a SingleCompartmentNeuron\(n\) or its n, is",
        ),
        (
            lambda e: spiking.LI(2, e, neuron_structure=True),
            InputError,
            "is an integer >= 1, got True",
        ),
        (
            lambda e: spiking.LI(2, e, cadc_time_shift=float("inf")),
            InputError,
            "LI 1: cadc_time_shift is a finite number of steps, got inf",
        ),
        (
            lambda e: spiking.LI(2, e, trace_scale=0.0),
            InputError,
            "LI 1: trace_scale is a finite number above 0, got 0.0",
        ),
        (
            lambda e: spiking.morphology.SingleCompartmentNeuron(513),
            InputError,
            r"SingleCompartmentNeuron: size is an integer in 1..512",
        ),
    ],
)
def test_errors_name_layer_argument_and_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call(spiking.Experiment(mock=True))


def test_steps_of_another_length():
    fine, coarse = spiking.Experiment(mock=True, dt=5e-7), spiking.Experiment(mock=True)
    h = spiking.InputNeuron(5, fine)(spiking.LIFObservables(spikes=inputs()))
    spiking.run(fine)
    with pytest.raises(
        InputError,
        match="Synapse 1: a step is 1e-06 s here and 5e-07 s in the experiment of InputNeuron 1",
    ):
        spiking.Synapse(5, 3, coarse)(h)


def test_wrong_shapes_are_told_in_run():
    for x, message in (
        (torch.ones(4, 1, 3), r"Synapse 1: has 5 inputs, got spikes of shape \(4, 1, 3\)"),
        (torch.full((4, 1, 5), float("nan")), "Synapse 1: spikes are finite numbers, some are nan"),
        (
            torch.ones(4, 5),
            r"Synapse 1: spikes \(time, batch, neuron\) are expected, got shape \(4, 5\)",
        ),
        (torch.ones(0, 1, 5), "a run of no length"),
    ):
        e = spiking.Experiment(mock=True)
        syn, lif, *_ = model(e)
        lif(syn(spiking.LIFObservables(spikes=x)))
        with pytest.raises((OperandError, InputError), match=message):
            spiking.run(e)


def test_what_arrives_together_has_one_length():
    e = spiking.Experiment(mock=True)
    a, b, lif = spiking.Synapse(2, 3, e), spiking.Synapse(2, 3, e), spiking.LIF(3, e)
    for other in (torch.ones(5, 1, 2), torch.ones(9, 2, 2)):
        lif(a(spiking.Handle(torch.ones(9, 1, 2))), b(spiking.Handle(other)))
        with pytest.raises(
            OperandError,
            match="LIF 1: what arrives together has as many steps and samples, got shapes",
        ):
            spiking.run(e)


def test_trained_parameters_are_checked_in_every_run():
    e = spiking.Experiment(mock=True)
    lif = spiking.LIF(3, e)
    lif.tau_mem.make_trainable()
    with torch.no_grad():
        lif.tau_mem.model_value.fill_(-1e-6)
    lif(spiking.SynapseHandle(torch.rand(9, 1, 3)))
    with pytest.raises(InputError, match="LIF 1: tau_mem is a finite number above 0"):
        spiking.run(e)


def test_plain_loops_give_the_same():
    """The fused pass and torch's own loop, through the modules."""

    def go():
        e = spiking.Experiment(mock=True)
        syn, lif, out, li = model(e)
        y = li(out(lif(syn(spiking.LIFObservables(spikes=inputs())))))
        spiking.run(e)
        y.membrane_cadc.max(0).values.sum().backward()
        return y.membrane_cadc.detach(), syn.weight.grad

    fused = go()
    with plain_loops():
        torch.testing.assert_close(go(), fused, rtol=1e-4, atol=1e-5)


def test_transform_is_kept_for_the_chip():
    e = spiking.Experiment(mock=True)
    s = spiking.Synapse(2, 3, e, transform=partial(linear_saturating, scale=10.0))
    h = s(spiking.Handle(torch.ones(2, 1, 2)))
    spiking.run(e)
    torch.testing.assert_close(
        h.graded_spikes[0, 0], s.weight.sum(1)
    )  # in simulation weights are as they are
