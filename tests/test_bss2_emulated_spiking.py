"""Spiking mode on an emulated chip: what each spread, limit and converter does, and what is
injected into the model."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies as st

from lavalike.bss2 import Chip, Noise, calibrate, facts, spiking, use
from lavalike.bss2.errors import (
    CalibrationError,
    NoChipError,
    OperandError,
    RangeError,
    RecordingError,
    RoutingError,
)
from lavalike.bss2.spiking.converter import cadc, madc
from lavalike.bss2.spiking.events import budget, jittered, limited
from lavalike.bss2.spiking.modules import EventPropLIF, EventPropSynapse
from lavalike.bss2.spiking.neuron import Params, Recorded, integrate
from lavalike.bss2.spiking.scales import Voltage, chip_weights, voltage_of
from lavalike.bss2.spiking.transforms.weight_transforms import (
    linear_exponential_clamp,
    linear_saturating,
)
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.errors import InputError, InputTypeError

DT = 1e-6
TAU = 6e-6
QUIET = Noise.none()
LSB = Voltage(0.0, 0.0, 1.0)
COMMON = {
    "leak": 0.0,
    "reset": 0.0,
    "threshold": 1.0,
    "tau_mem": TAU,
    "tau_syn": TAU,
    "membrane_capacitance": TAU,
}


def only(**spreads):
    return dataclasses.replace(QUIET, **spreads)


def inputs(n=5, batch=6, steps=38, seed=0):
    return (
        torch.rand((steps, batch, n), generator=torch.Generator().manual_seed(seed)) < 0.08
    ).float()


class Net:
    """n_in - hidden LIF - 3 LI, with the same weights every time."""

    def __init__(
        self,
        hidden=30,
        n_in=5,
        synapse=spiking.Synapse,
        lif=spiking.LIF,
        neuron=None,
        readout=None,
        transform=linear_saturating,
        **experiment,
    ):
        self.e = spiking.Experiment(dt=DT, **experiment)
        torch.manual_seed(0)
        self.syn = synapse(n_in, hidden, self.e, transform=transform)
        self.lif = lif(hidden, self.e, **COMMON, **neuron or {})
        self.out = spiking.Synapse(hidden, 3, self.e)
        self.li = spiking.LI(3, self.e, leak=0.0, tau_mem=TAU, tau_syn=TAU, **readout or {})
        torch.nn.init.normal_(self.syn.weight, 0.8, 0.25)

    def __call__(self, x, runtime=None):
        h = self.lif(self.syn(spiking.LIFObservables(spikes=x)))
        y = self.li(self.out(h))
        spiking.run(self.e, len(x) if runtime is None else runtime)
        return h, y


def rounded(w):
    """bss2.md 6 g."""
    s = 63 / w.abs().max()
    return torch.trunc((s * w).abs() + 0.5) * w.sign() / s


# -- levels ----------------------------------------------------------------------------------------


def test_an_ideal_chip_is_the_simulation():
    x = inputs()
    (h, y), (h0, y0) = Net(chip=Chip(level="ideal"))(x), Net(mock=True)(x)
    assert torch.equal(h.spikes, h0.spikes)
    assert torch.equal(h.membrane_cadc, h0.membrane_cadc)
    assert torch.equal(y.membrane_cadc, y0.membrane_cadc)


@pytest.mark.parametrize("level", ["quantised", "emulated"])
def test_six_bits_are_the_equations_at_rounded_weights(level):
    net, reference, x = Net(chip=Chip(level=level, noise=QUIET)), Net(mock=True), inputs()
    with torch.no_grad():
        for s in (reference.syn, reference.out):
            s.weight.copy_(rounded(s.weight))
    (h, y), (h0, y0) = net(x), reference(x)
    assert torch.equal(h.spikes, h0.spikes)
    if level == "quantised":
        torch.testing.assert_close(h.membrane_cadc, h0.membrane_cadc)
    else:  # membranes are the CADC's
        assert (
            0
            < float((y.membrane_cadc - y0.membrane_cadc).detach().abs().median())
            < net.e.outcome.scales["LI 1"].trace
        )


def test_no_chip_and_the_current_one():
    net, x = Net(), inputs()
    with pytest.raises(NoChipError):
        net(x)
    with use(Chip(level="ideal")):
        assert torch.equal(net(x)[0].spikes, Net(mock=True)(x)[0].spikes)


def test_a_chip_is_the_same_in_every_experiment():
    x = inputs()

    def go(seed):
        net = Net(
            chip=Chip(
                seed, noise=only(leak=2.0, threshold=4.0, tau_mem=0.05, tau_syn=0.05, efficacy=0.1)
            )
        )
        return net(x)[0].spikes

    assert torch.equal(go(3), go(3))
    assert not torch.equal(go(3), go(4))


# -- in the loop -----------------------------------------------------------------------------------


def test_what_was_recorded_is_injected_and_the_gradient_is_the_models_there():
    net, x = Net(chip=Chip(5)), inputs()
    seen = {}
    for m in (net.lif, net.li):
        original = m.forward_func

        def keep(input, hw_data=None, original=original, m=m):
            seen[m] = hw_data, input
            return original(input, hw_data=hw_data)

        m.forward_func = keep
    h, y = net(x)
    hw, _i = seen[net.lif]
    assert torch.equal(h.spikes, hw.spikes)
    assert torch.equal(h.membrane_cadc, hw.membrane)
    assert torch.equal(y.membrane_cadc, seen[net.li][0].membrane)
    # in the model's unit: at rest at leak, up to the threshold
    assert h.membrane_cadc.min() > -2
    assert h.membrane_cadc.max() < 1.5
    weight = torch.randn(h.spikes.shape)
    (got,) = torch.autograd.grad((h.spikes * weight).sum(), net.syn.weight, retain_graph=True)
    w = net.syn.weight.detach().clone().requires_grad_()
    model = integrate(x @ w.t(), net.lif.params(), DT, Recorded(hw.spikes, hw.membrane))
    (want,) = torch.autograd.grad((model.spikes * weight).sum(), w)
    torch.testing.assert_close(got, want)
    assert got.abs().max() > 0


def test_spikes_alone_can_be_injected():
    net = Net(chip=Chip(5), neuron={"enable_cadc_recording": False})
    h, y = net(inputs())
    model = integrate(
        inputs() @ net.syn.weight.t(), net.lif.params(), DT, Recorded(h.spikes.detach())
    )
    torch.testing.assert_close(h.membrane_cadc, model.membrane)  # as hxtorch: the model's
    assert set(h.spikes.unique().tolist()) <= {0.0, 1.0}
    y.membrane_cadc.sum().backward()
    assert net.syn.weight.grad.abs().max() > 0


def test_the_network_goes_on_with_the_chips_spikes_where_they_are_not_recorded():
    chip = Chip(5, noise=only(threshold=4.0))
    x = inputs()
    readout = {"trace_scale": 0.02}
    torch.testing.assert_close(
        Net(chip=chip, neuron={"enable_spike_recording": False}, readout=readout)(x)[
            1
        ].membrane_cadc,
        Net(chip=chip, readout=readout)(x)[1].membrane_cadc,
    )


# -- each spread -----------------------------------------------------------------------------------


def at_rest(noise, seed=2, **neuron):
    net = Net(chip=Chip(seed, noise=noise), neuron=neuron)
    h, _ = net(torch.zeros(38, 4, 5))
    return net, h


def test_leak_is_each_circuits_own():
    net, h = at_rest(only(leak=2.0))
    lsb = voltage_of(net.lif).lsb(h.membrane_cadc.detach())[-1, 0].numpy()
    own = net.e.outcome.chip.circuits.leak[net.e.outcome.placement["LIF 1"].circuits[:, 0]]
    np.testing.assert_array_equal(np.round(lsb), np.floor(80 + own + 1e-4))
    assert own.std() > 1


def test_joined_circuits_share_their_leak():
    net, h = at_rest(only(leak=4.0), neuron_structure=2)
    lsb = voltage_of(net.lif).lsb(h.membrane_cadc.detach())[-1, 0].numpy()
    own = net.e.outcome.chip.circuits.leak[net.e.outcome.placement["LIF 1"].circuits]
    assert own.shape == (30, 2)
    np.testing.assert_array_equal(np.round(lsb), np.floor(80 + own.mean(1) + 1e-4))


def test_time_constants_thresholds_and_resets_are_each_circuits_own():
    chip = Chip(7, noise=only(tau_mem=0.2, tau_syn=0.1, threshold=4.0, reset=2.0))
    net = Net(chip=chip)
    h, _ = net(inputs())
    own, circuits = chip.circuits, net.e.outcome.placement["LIF 1"].circuits[:, 0]

    def mine(name):
        return torch.from_numpy(getattr(own, name)[circuits])

    p = Params(
        reset=mine("reset") / 45,
        threshold=1 + mine("threshold") / 45,
        tau_mem=TAU * mine("tau_mem"),
        tau_syn=TAU * mine("tau_syn"),
        membrane_capacitance=TAU,
        refractory_time=DT,
    )
    assert torch.equal(
        h.spikes, integrate(inputs() @ rounded(net.syn.weight.detach()).t(), p, DT).spikes
    )
    assert not torch.equal(h.spikes, Net(chip=Chip(level="quantised"))(inputs())[0].spikes)


def test_synapses_are_each_their_own():
    """300 inputs: three circuits a neuron; excitatory weights on odd rows, inhibitory ones on
    even."""
    chip = Chip(7, noise=only(efficacy=0.1))
    net = Net(chip=chip, n_in=300, hidden=20)
    with torch.no_grad():
        net.syn.weight.copy_(torch.randint(-63, 64, (20, 300)) / 63 * 0.5)
        net.syn.weight[0, 0] = 0.5
    x = inputs(300, steps=12)
    h, _ = net(x)
    circuits = net.e.outcome.placement["LIF 1"].circuits
    assert circuits.shape == (20, 3)
    factor = np.empty((20, 300), np.float32)
    for n in range(20):
        for j in range(300):
            k = circuits[n, j // 128]
            factor[n, j] = chip.efficacy(k // 256)[
                2 * (j % 128) + (net.syn.weight[n, j] > 0), k % 256
            ]
    p = Params(tau_mem=TAU, tau_syn=TAU, membrane_capacitance=TAU, refractory_time=DT)
    assert torch.equal(
        h.spikes,
        integrate(x @ (net.syn.weight.detach() * torch.from_numpy(factor)).t(), p, DT).spikes,
    )
    assert abs(factor.std() - 0.1) < 0.01


def test_an_instances_calibration_is_that_of_its_file(tmp_path):
    calibration = calibrate(Chip(3, noise=only(leak=2.0)))
    calibration.save(tmp_path / "c.npz")
    instance = spiking.ExecutionInstance(str(tmp_path / "c.npz"))
    net, h = at_rest(only(leak=2.0), seed=3, execution_instance=instance)
    lsb = voltage_of(net.lif).lsb(h.membrane_cadc.detach())[-1, 0].numpy()
    own = calibration.circuits.leak[net.e.outcome.placement["LIF 1"].circuits[:, 0]]
    np.testing.assert_array_equal(np.round(lsb), np.floor(80 + own + 1e-4))
    with pytest.raises(CalibrationError, match="found chip 3's"):
        at_rest(only(leak=2.0), seed=4, execution_instance=instance)
    # taken from the next run on, in an instance of one's own or in the default one
    for own in (True, False):
        given = spiking.ExecutionInstance()
        late = Net(
            chip=Chip(3, noise=only(leak=2.0)), neuron={"execution_instance": given} if own else {}
        )
        late(torch.zeros(38, 4, 5))
        (given if own else late.e.default_execution_instance).load_calib(str(tmp_path / "c.npz"))
        again, _ = late(torch.zeros(38, 4, 5))
        torch.testing.assert_close(again.membrane_cadc, h.membrane_cadc)
    instance.load_calib(str(tmp_path / "none.npz"))
    with pytest.raises(CalibrationError, match="no such file"):
        at_rest(only(leak=2.0), seed=3, execution_instance=instance)


def test_thresholds_vary_from_sample_to_sample():
    net = Net(chip=Chip(noise=only(threshold_trial=3.0)))
    x = inputs(batch=1).expand(-1, 40, -1)
    first, second = net(x)[0].spikes, net(x)[0].spikes
    assert len({tuple(first[:, b].flatten().tolist()) for b in range(40)}) > 10
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    again = net(x)[0].spikes
    torch.manual_seed(1)
    assert torch.equal(again, net(x)[0].spikes)


def test_calibration_makes_rates_alike():
    """bss2.md 6 h: the spread of rates among neurons of one input."""

    def spread(calibrated):
        net = Net(chip=Chip(1, calibrated=calibrated), hidden=200)
        with torch.no_grad():
            net.syn.weight.fill_(0.8)
        rates = net(inputs(batch=20, steps=100))[0].spikes.detach().sum((0, 1))
        return float(rates.std() / rates.mean())

    assert spread(True) < 0.6 * spread(False)


# -- converters ------------------------------------------------------------------------------------


def test_the_cadc_samples_every_1_7_us_and_rounds_down():
    ramp = torch.arange(18.0).view(-1, 1, 1) * 3 + 0.45
    got, ends = cadc(ramp, LSB, 1e-6, 1.7e-6, 0.0, "linear", "x")
    times = np.arange(11) * 1.7
    samples = np.floor(0.45 + 3 * times)[: 10 + (times[-1] <= 17)]
    np.testing.assert_allclose(
        got.flatten(), np.interp(np.arange(18), times[: len(samples)], samples), atol=1e-4
    )
    assert ends == pytest.approx(1 / len(samples))  # the first sample reads 0
    nearest, _ = cadc(ramp, LSB, 1e-6, 1.7e-6, 0.0, "nearest", "x")
    assert set(nearest.flatten().tolist()) == set(samples.tolist())
    clipped, ends = cadc(
        torch.tensor([-5.0, 300.0]).view(-1, 1, 1), LSB, 2e-6, 1.7e-6, 0.0, "linear", "x"
    )
    assert clipped.flatten().tolist() == [0, 255]
    assert ends == 1.0
    with pytest.raises(RecordingError, match="x: the CADC's buffer holds 204800 samples"):
        cadc(torch.zeros(204802, 1, 1), LSB, 2e-6, 1.7e-6, 0.0, "linear", "x")


def test_cadc_noise():
    v = torch.full((1000, 3, 4), 100.5)
    got, _ = cadc(v, LSB, 1.7e-6, 1.7e-6, 1.5, "linear", "x")
    assert float(got.std()) == pytest.approx(np.hypot(1.5, 1 / np.sqrt(12)), rel=0.05)
    assert float(got.mean()) == pytest.approx(100, abs=0.1)


def test_madc_records_one_neuron_finely():
    samples = madc(torch.arange(110.0).unsqueeze(1), 1e-6)
    assert samples.shape == (2, 3235, 1)  # as many as hxtorch counts in 110 us
    times = samples[0, :, 0].double().numpy()
    expected = np.floor(np.minimum(times, 109e-6) * 4e6 + 1e-3) / 4  # the last step is held
    np.testing.assert_allclose(samples[1, :, 0], expected, atol=0.26)
    net = Net(chip=Chip(noise=QUIET), neuron={"enable_madc_recording": True, "record_neuron_id": 4})
    h, _ = net(inputs())
    assert (h.membrane_madc.shape[0], h.membrane_madc.shape[2]) == (2, 6)
    on_grid = np.interp(np.arange(38) * 1e-6, *h.membrane_madc[:, :, 0].numpy())
    reference = Net(chip=Chip(level="quantised"))(inputs())[0].membrane_cadc[:, 0, 4].detach()
    np.testing.assert_allclose(on_grid[:37], reference[:37], atol=0.04)


def test_readouts_are_fitted_to_the_converter_and_told_scales_are_kept():
    net = Net(chip=Chip(noise=QUIET))
    _, y = net(inputs())
    v = voltage_of(net.li, 1 / net.e.outcome.scales["LI 1"].trace).lsb(y.membrane_cadc.detach())
    # to 80 % of 30..210, around 120, with one LSB of rounding and what lies between samples
    assert float((v - 120).abs().max()) == pytest.approx(72, abs=4)
    told = Net(chip=Chip(noise=QUIET), readout={"trace_scale": 0.05, "trace_offset": -8.0})
    _, z = told(inputs())
    assert told.e.outcome.scales["LI 1"].trace == 0.05
    steps = z.membrane_cadc.detach() / 0.05
    assert float((steps[0] - steps[0].round()).abs().max()) < 1e-3
    first = net.e.outcome.scales["LI 1"].trace
    noisy = Net(chip=Chip(3))
    noisy(inputs())
    assert noisy.e.outcome.scales["LI 1"].trace == pytest.approx(
        first, rel=0.3
    )  # mismatch does not enter the fit
    with torch.no_grad():
        net.out.weight *= 0.1
    net(inputs())
    assert net.e.outcome.scales["LI 1"].trace == first  # fitted once
    net.e.fit_scales()
    net(inputs())
    assert net.e.outcome.scales["LI 1"].trace == pytest.approx(first / 10, rel=0.2)


@pytest.mark.parametrize("training", [True, False])
def test_a_silent_first_batch_fits_nothing(training):
    net, reference = Net(chip=Chip()), Net(chip=Chip())
    for m in (net.lif, net.li, net.syn, net.out):
        m.train(training)
    _, y = net(torch.zeros_like(inputs()))
    assert net.e.outcome.scales["LI 1"].trace == pytest.approx(
        1 / 72
    )  # as if it went to 1, 80 % of 30..210 LSB around 120
    assert 0 < float(y.membrane_cadc.detach().abs().max()) < 0.2  # mismatch and noise of a few LSB
    net(inputs())
    reference(inputs())
    scale, expected = net.e.outcome.scales["LI 1"], reference.e.outcome.scales["LI 1"]
    assert scale.saturated == 0
    assert scale.trace == pytest.approx(expected.trace, rel=0.3)


@pytest.mark.parametrize("training", [True, False])
def test_a_readout_that_outgrows_its_scale_is_read_again_in_the_same_pass(training):
    net, x = Net(chip=Chip(noise=QUIET)), inputs()
    net.li.train(training)
    net(x)
    before = net.e.outcome.scales["LI 1"].trace
    with torch.no_grad():
        net.out.weight *= 20  # as load_state_dict does
    _, y = net(x)
    after = net.e.outcome.scales["LI 1"]
    assert after.saturated == 0
    assert after.trace == pytest.approx(20 * before, rel=0.1)
    assert float(y.membrane_cadc.detach().abs().max()) == pytest.approx(72 * after.trace, rel=0.06)


def test_what_is_counted_from_the_first_sample_is_in_the_models_unit():
    plain, shifted = (
        Net(
            chip=Chip(noise=QUIET),
            neuron={"shift_cadc_to_first": s, "refractory_time": 2e-6},
            readout={"shift_cadc_to_first": s},
        )
        for s in (False, True)
    )
    for a, b in zip(plain(inputs()), shifted(inputs()), strict=True):
        torch.testing.assert_close(a.membrane_cadc, b.membrane_cadc, atol=1e-5, rtol=0)
    told = Net(
        chip=Chip(noise=only(leak=3.0)), neuron={"shift_cadc_to_first": True, "trace_scale": 0.02}
    )
    lsb = told(inputs())[0].membrane_cadc.detach() / 0.02
    assert float(lsb[0].abs().max()) == 0
    torch.testing.assert_close(lsb[::17], lsb[::17].round())  # samples every 1.7 us


# -- events ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 400),
    st.floats(0, 1),
    st.sampled_from([1e-7, 1e-6, 2.5e-6]),
)
def test_events_are_conserved(steps, batch, n, rate, dt):
    spikes = (torch.rand(steps, batch, n) < rate).float()
    arrived = limited(spikes, dt)
    assert bool((arrived <= spikes).all())
    counts, most = spikes.sum(2), budget(dt)
    taken = torch.randint(0, 2 * most, counts.shape)
    assert torch.equal(
        limited(spikes, dt, taken).sum(2), counts.minimum((most - taken).clamp(min=0))
    )
    assert torch.equal(
        arrived.sum(2), counts.clamp(max=most)
    )  # all where there is room, as many as fit where not
    moved = jittered(spikes, 3 * dt, dt)
    assert float(moved.sum()) <= float(spikes.sum())
    assert torch.equal(jittered(spikes, 0.0, dt), spikes)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}


def test_a_burst_over_the_link_is_cut_and_counted():
    net = Net(chip=Chip(noise=QUIET), n_in=200)
    x = torch.zeros(38, 2, 200)
    x[4] = 1
    net(x)
    (link,) = net.e.outcome.inputs
    assert (link.population, link.sent, link.delivered, link.dropped) == (
        "Synapse 1",
        400,
        250,
        150,
    )
    assert link.peak_rate == pytest.approx(400e6 / 2)
    assert "dropped" in str(net.e.outcome)


def test_all_that_reaches_an_instance_shares_its_link():
    e = spiking.Experiment(chip=Chip(noise=QUIET))
    a, b, back = (spiking.Synapse(n, 4, e) for n in (200, 100, 100))
    first, second = (spiking.LIF(4, e, **COMMON) for _ in range(2))
    x, y = (spiking.LIFObservables(spikes=torch.ones(10, 1, n)) for n in (200, 100))
    first(a(x), b(y))
    second(back(y))  # the same input, sent once
    spiking.run(e, 10)
    one, other = e.outcome.inputs
    assert (one.sent, other.sent) == (2000, 1000)
    assert one.delivered + other.delivered == 10 * budget(DT)
    assert 700 < one.delivered < 950  # each as much as it sends


def test_jitter_moves_spikes_by_its_spread():
    spikes = torch.zeros(200, 40, 50)
    spikes[100] = 1
    for sigma in (0.3, 2.0):
        at = jittered(spikes, sigma * 1e-6, 1e-6).nonzero()[:, 0].double()
        expected = np.round(np.random.default_rng(0).normal(0, sigma, 100_000))
        assert len(at) == 2000
        assert float(at.std()) == pytest.approx(expected.std(), rel=0.1)
        assert float(at.mean()) == pytest.approx(100, abs=0.2)
        assert float((at != 100).double().mean()) == pytest.approx((expected != 0).mean(), abs=0.04)


# -- networks --------------------------------------------------------------------------------------


def test_recurrence_runs_on_the_chip():
    def go(chip):
        e = spiking.Experiment(chip=chip)
        torch.manual_seed(0)
        syn, lif, rec = (
            spiking.Synapse(5, 30, e),
            spiking.LIF(30, e, **COMMON),
            spiking.Synapse(30, 30, e),
        )
        torch.nn.init.normal_(syn.weight, 0.8, 0.25)
        if chip.level == "ideal":
            with torch.no_grad():
                s = 63 / torch.cat([syn.weight, rec.weight], 1).abs().max()
                for m in (syn, rec):
                    m.weight.copy_(torch.trunc((s * m.weight).abs() + 0.5) * m.weight.sign() / s)
        h = spiking.HXModuleWrapper(e, lif=lif, rec=rec)(
            syn(spiking.LIFObservables(spikes=inputs()))
        )
        spiking.run(e, 38)
        return e, h, rec

    (e, h, rec), (_, h0, _) = go(Chip(noise=QUIET)), go(Chip(level="ideal"))
    assert torch.equal(h.spikes, h0.spikes)
    assert e.outcome.placement["LIF 1"].fan_in == 35
    h.spikes.sum().backward()
    assert rec.weight.grad.abs().max() > 0


def test_eventprop_and_aelif_on_the_chip():
    x = inputs()
    net, model = (
        Net(synapse=EventPropSynapse, lif=EventPropLIF, **k)
        for k in ({"chip": Chip(level="quantised")}, {"mock": True})
    )
    with torch.no_grad():
        model.syn.weight.copy_(rounded(model.syn.weight))
    h, h0 = net(x)[0], model(x)[0]
    assert torch.equal(h.spikes, h0.spikes)
    h.spikes.sum().backward()
    assert net.syn.weight.grad.abs().max() > 0
    adaptive = partial(
        spiking.AELIF,
        exponential_slope=0.2,
        exponential_threshold=0.8,
        spike_triggered_adaptation_increment=0.5,
    )
    a, b = Net(lif=adaptive, chip=Chip(level="quantised"))(x)[0], Net(lif=adaptive, mock=True)(x)[0]
    assert a.spikes.sum() > 0
    assert (a.spikes != b.spikes).float().mean() < 0.05
    assert not torch.equal(a.spikes, Net(chip=Chip(level="quantised"))(x)[0].spikes)


def test_large_networks_are_cut_into_instances():
    net = Net(chip=Chip(noise=QUIET), n_in=784, hidden=256)
    with torch.no_grad():
        net.syn.weight.copy_(torch.randn(256, 784) * 0.1)
    x = inputs(784, batch=2, steps=10)
    assert x.sum(2).max() <= budget(DT)  # nothing is lost
    h, _ = net(x)
    assert h.spikes.sum() > 100
    assert len(net.e.outcome.placement.instances) == 5  # as in its tutorial
    assert torch.equal(
        h.spikes, integrate(x @ rounded(net.syn.weight.detach()).t(), net.lif.params(), DT).spikes
    )
    # hidden spikes are recorded and replayed
    assert [(r.population, r.dropped) for r in net.e.outcome.inputs] == [
        ("Synapse 1", 0),
        ("Synapse 2", 0),
    ]


def test_dropout_and_software_layers_on_the_way():
    net = Net(chip=Chip(noise=QUIET))
    drop = spiking.BatchDropout(30, 0.5, net.e)
    h = net.lif(net.syn(spiking.LIFObservables(spikes=inputs())))
    y = net.li(net.out(drop(h)))
    spiking.run(net.e, 38)
    expected = integrate(
        h.spikes * drop.mask @ rounded(net.out.weight.detach()).t(), net.li.params(), DT
    ).membrane
    trace = net.e.outcome.scales["LI 1"].trace
    np.testing.assert_allclose(
        y.membrane_cadc[34].detach(), expected[34].detach() - trace / 2, atol=0.51 * trace
    )  # sampled at 34 us
    assert [r.population for r in net.e.outcome.inputs] == [
        "Synapse 1"
    ]  # what dropout leaves stays on the chip


@pytest.mark.parametrize("level", ["quantised", "emulated"])
def test_a_runtime_shorter_than_the_input_ends_the_run(level):
    net = Net(chip=Chip(level=level))
    h, y = net(inputs(), runtime=20)
    assert len(h.spikes) == len(y.membrane_cadc) == 20
    assert len(net(inputs(), runtime=np.int64(50))[0].spikes) == 38
    assert net.e.outcome.duration == pytest.approx(38e-6)
    # a connection that skips the hidden layer
    skip = spiking.Synapse(5, 3, net.e)
    given = spiking.LIFObservables(spikes=inputs())
    y = net.li(net.out(net.lif(net.syn(given))), skip(given))
    spiking.run(net.e, 20)
    assert y.membrane_cadc.shape == (20, 6, 3)
    y.membrane_cadc.sum().backward()
    assert skip.weight.grad.abs().max() > 0


def test_the_time_on_chip_is_that_of_all_samples():
    net = Net(chip=Chip())
    net.e.inter_batch_entry_wait = 1250  # 10 us
    net(inputs(batch=7))
    report = net.e.outcome.report
    assert report.time == pytest.approx(7 * 48e-6)
    assert "time on chip 336.0 us for 7 samples" in str(report)


def test_a_changed_dt_counts_from_the_next_run():
    net = Net(chip=Chip())
    net(inputs())
    net.e.dt = 2e-6
    net(inputs())
    assert net.e.outcome.duration == pytest.approx(76e-6)


def test_masked_neurons_are_silent_in_a_loop_on_the_chip():
    """Neuron 0 hears neuron 1 alone, which is masked."""
    e = spiking.Experiment(chip=Chip(level="quantised"))
    syn, lif, rec = (
        spiking.Synapse(1, 2, e),
        spiking.LIF(2, e, **COMMON | {"threshold": 0.1}),
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
        spiking.run(e, 30)
        assert h.spikes.bool().any(0).any(0).tolist() == expected


def test_a_population_lies_on_the_chip_it_names():
    chip = Chip(chips=4, noise=only(leak=2.0))
    net = Net(chip=chip, neuron={"chip_coordinate": 3})
    h, _ = net(torch.zeros(38, 4, 5))
    placed = net.e.outcome.placement["LIF 1"]
    assert set(placed.chip.tolist()) == {3}
    lsb = voltage_of(net.lif).lsb(h.membrane_cadc.detach())[-1, 0].numpy()
    np.testing.assert_array_equal(
        np.round(lsb), np.floor(80 + chip.neighbour(3).circuits.leak[placed.circuits[:, 0]] + 1e-4)
    )
    with pytest.raises(
        RoutingError, match=r"population 'LIF 1': it shall lie on chip 3, the setup has 2 \(0..1\)"
    ):
        Net(chip=Chip(chips=2), neuron={"chip_coordinate": 3})(inputs())


def test_instances_keep_apart():
    net = Net(chip=Chip(), readout={"execution_instance": spiking.ExecutionInstance(name="0")})
    net(inputs())
    assert [i.name for i in net.e.outcome.placement.instances] == ["1", "0"]
    both = [spiking.ExecutionInstance(name="a") for _ in range(2)]
    with pytest.raises(InputError, match="ExecutionInstance a: several have this name"):
        Net(
            chip=Chip(),
            neuron={"execution_instance": both[0]},
            readout={"execution_instance": both[1]},
        )(inputs())


def test_weight_scales():
    e = spiking.Experiment(chip=Chip())
    w = torch.tensor([[0.5, -1.0, 0.26, 3.0]])
    for transform, values, scale, clipped in (
        (linear_saturating, [11, -21, 5, 63], 21.0, 0),
        (partial(linear_saturating, scale=30.0), [15, -30, 8, 63], 30.0, 1),
        (partial(linear_exponential_clamp, cap=1.5), [21, -42, 11, 63], 42.0, 0),
        (partial(linear_saturating, min_weight=-20.0, max_weight=20.0), [11, -20, 5, 20], 21.0, 2),
        (lambda w: w * 10, [5, -10, 3, 30], 10.0, 0),
        (lambda w: torch.clamp(w * 30, -40, 40), [15, -30, 8, 40], 30.0, 0),
    ):
        s = spiking.Synapse(4, 1, e, transform=transform)
        s.weight.data = w
        (made,) = chip_weights([s])
        assert made.values.tolist() == [values]
        assert made.scale == pytest.approx(scale)
        assert made.clipped == clipped


def test_a_population_has_one_synaptic_gain():
    e = spiking.Experiment(chip=Chip())
    told, other, fitted = (
        spiking.Synapse(2, 3, e, transform=t)
        for t in (
            partial(linear_saturating, scale=60.0),
            partial(linear_exponential_clamp, cap=1.5),
            linear_saturating,
        )
    )
    assert [w.scale for w in chip_weights([fitted, told])] == [
        60.0,
        60.0,
    ]  # what is fitted follows what is told
    with pytest.raises(
        RangeError,
        match="Synapse 1 of scale 60, Synapse 2 of scale 42: projections to one population have the same LSB",
    ):
        chip_weights([told, fitted, other])


def test_model_and_chip_parameters():
    mixed = {
        n: spiking.MixedHXModelParameter(m, h)
        for n, m, h in (("leak", 0.0, 80), ("reset", 0.0, 70), ("threshold", 1.0, 150))
    }
    e = spiking.Experiment(chip=Chip())
    v = voltage_of(spiking.LIF(2, e, **mixed))
    assert (v.per_unit, v.lsb(1.0)) == (70.0, 150.0)
    assert voltage_of(spiking.LIF(2, e)).per_unit == 1.0  # the defaults are LSB
    assert voltage_of(spiking.LIF(2, e, leak=0.0, reset=0.0, threshold=0.5)).per_unit == 90.0
    assert (
        voltage_of(
            spiking.LIF(2, e, leak=0.0, reset=0.0, threshold=spiking.ModelParameter(1.0))
        ).per_unit
        == 45.0
    )
    assert (
        voltage_of(spiking.LIF(2, e, leak=0.0, reset=0.0, threshold=mixed["threshold"])).per_unit
        == 70.0
    )


# -- what does not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"n_in": 129, "neuron": {"neuron_structure": 1}},
            RoutingError,
            "neurons of 1 circuits take 128 signed inputs, got 129",
        ),
        (
            {"neuron": {"refractory_time": 4e-5}},
            RangeError,
            r"LIF 1: refractory_time on the chip is within 4e-08..3.2e-05 s, got 4e-05",
        ),
        (
            {"readout": {"i_synin_gm": 900}},
            RangeError,
            r"LI 1: i_synin_gm on the chip is within 30..800 LSB, got 900",
        ),
        (
            {"lif": lambda n, e, **k: spiking.LIF(n, e, **k | {"tau_mem": 100e-6})},
            RangeError,
            "tau_mem on the chip is within 5e-07..6e-05 s",
        ),
        (
            {
                "lif": lambda n, e, **k: spiking.LIF(
                    n, e, **k | {"threshold": spiking.MixedHXModelParameter(1.0, 230)}
                )
            },
            RangeError,
            "threshold on the chip is within 50..220 LSB, got 230",
        ),
        (
            {"lif": lambda n, e, **k: spiking.LIF(n, e, **k | {"reset": -2.0})},
            RangeError,
            "reset on the chip is within 50..160 LSB, got -10",
        ),
        (
            {"lif": lambda n, e, **k: spiking.LIF(n, e, **k | {"threshold": -1.0})},
            InputError,
            "LIF 1: the threshold lies above leak",
        ),
        (
            {"neuron": {"cadc_readout_source": "membrane"}},
            RecordingError,
            r"LIF 1: cadc_readout_source of an emulated chip is ReadoutSource\.VOLTAGE or ADAPTATION, got 'membrane'",
        ),
        (
            {"neuron": {"madc_readout_source": ReadoutSource.ADAPTATION}},
            RecordingError,
            "LIF 1: madc_readout_source is ADAPTATION, and its neurons have no adaptation current",
        ),
        (
            {
                "neuron": {
                    "execution_instance": spiking.ExecutionInstance(input_loopback=True, name="i")
                }
            },
            RoutingError,
            "i: input_loopback is",
        ),
        ({"hw_routing_func": print}, RoutingError, "Experiment: hw_routing_func is a real chip's"),
        (
            {"synapse": partial(spiking.Synapse, chip_coordinate=2)},
            RoutingError,
            "Synapse 1: synapses lie where LIF 1 lies, at which they end; chip_coordinate is 2 here and None there",
        ),
        (
            {"synapse": partial(spiking.Synapse, execution_instance=spiking.ExecutionInstance())},
            RoutingError,
            "execution_instance is .* here",
        ),
    ],
)
@pytest.mark.parametrize("level", ["quantised", "emulated"])
def test_what_the_chip_cannot_hold_is_refused(settings, error, message, level):
    net = Net(chip=Chip(level=level), **settings)
    with pytest.raises(error, match=message):
        net(inputs(settings.get("n_in", 5)))


def test_a_chip_is_a_number_when_the_layer_is_made_and_later():
    message = "LIF 1: chip_coordinate, the number of a chip, is an integer >= 0, got 1.0"
    with pytest.raises(InputTypeError, match=message):
        Net(chip=Chip(), neuron={"chip_coordinate": 1.0})
    net = Net(chip=Chip())
    net.lif.chip_coordinate = 1.0
    with pytest.raises(InputTypeError, match=message):
        net(inputs())


def test_a_trained_parameter_needs_its_way_to_the_chip():
    net = Net(chip=Chip())
    net.lif.tau_mem.make_trainable()
    with pytest.raises(
        ValueError,
        match="LIF 1: tau_mem: it is trained, but make_trainable was given no set_on_chip_func",
    ):
        net(inputs())
    net.lif.tau_mem.make_trainable(lambda v: v.clamp(1e-6, 60e-6))
    h, _ = net(inputs())
    h.spikes.sum().backward()
    assert net.lif.tau_mem.model_value.grad is not None


def test_recurrent_populations_fit_one_chip_or_are_refused():
    e = spiking.Experiment(chip=Chip())
    syn, lif, rec = (
        spiking.Synapse(5, 300, e),
        spiking.LIF(300, e, **COMMON),
        spiking.Synapse(300, 300, e),
    )
    spiking.HXModuleWrapper(e, lif=lif, rec=rec)(syn(spiking.LIFObservables(spikes=inputs())))
    with pytest.raises(
        RoutingError, match="a recurrent network has to fit one chip of 512 circuits"
    ):
        spiking.run(e, 38)


@pytest.mark.parametrize("runtime", [0, -3, 1.5, True])
def test_runtime_is_steps(runtime):
    with pytest.raises(ValueError, match=r"run: runtime is .* step.? of dt \(1e-06 s\), got"):
        Net(chip=Chip())(inputs(), runtime=runtime)


def test_recordings_the_chip_cannot_serve():
    fast = {"enable_madc_recording": True, "record_neuron_id": 0}
    with pytest.raises(
        RuntimeError,
        match="the MADC records 1 neuron of an experiment, got one of each of LIF 1, LI 1",
    ):
        Net(chip=Chip(), neuron=fast, readout=fast)(inputs())
    with pytest.raises(RecordingError, match="in SRAM and in DRAM"):
        Net(chip=Chip(), neuron={"enable_cadc_recording_placement_in_dram": True})(inputs())
    slow = {"enable_cadc_recording_placement_in_dram": True}
    assert len(Net(chip=Chip(), neuron=slow, readout=slow)(inputs())[0].membrane_cadc) == 38


def test_plasticity_rules_are_refused():
    ruled = partial(spiking.Synapse, plasticity_rule=object())
    with pytest.raises(
        ValueError,
        match="a plasticity rule and the CADC recording of LIF 1 both need the chip's processors",
    ):
        Net(chip=Chip(), synapse=ruled)(inputs())
    with pytest.raises(RoutingError, match="plasticity rules run on a real chip's processors"):
        Net(chip=Chip(), synapse=ruled, neuron={"enable_cadc_recording": False})(inputs())


def test_spikes_are_events():
    with pytest.raises(
        OperandError, match="Synapse 1: spikes to a chip are events, 0 or 1; got values from 0 to 2"
    ):
        Net(chip=Chip())(2 * inputs())


def test_what_has_no_place_on_the_chip():
    e = spiking.Experiment(chip=Chip())
    lif = spiking.LIF(3, e, **COMMON)
    lif(spiking.SynapseHandle(torch.ones(4, 1, 3)))
    with pytest.raises(
        RoutingError,
        match="LIF 1: what arrives comes from outside; on a chip only a Synapse reaches neurons",
    ):
        spiking.run(e, 4)
    spiking.Synapse(5, 3, e)(spiking.LIFObservables(spikes=inputs()))
    with pytest.raises(RoutingError, match="there is no population in the experiment"):
        spiking.run(e, 4)


def test_facts_are_used():
    assert budget(1e-6) == facts.EVENT_RATE * 1e-6 == 125
