"""Programs in hxtorch's words, of the same steps as the BrainScaleS-2 notebooks that use it: the
analog product looked at, perceptrons trained in the loop, a spiking network looked at and aligned
with its chip, Yin-Yang by surrogate gradients and by EventProp, a network in parts.

As a program does that runs where hxtorch is not installed, they call lavalike.bss2 by its name.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lavalike import bss2
from lavalike.bss2.chip import set_current

pytestmark = pytest.mark.filterwarnings("ignore::lavalike.bss2.EmulatedChipWarning")


@pytest.fixture(autouse=True)
def _hxtorch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hxtorch", bss2)
    monkeypatch.setitem(sys.modules, "dlens_vx_v3", bss2)
    monkeypatch.setitem(sys.modules, "dlens_vx_v3.halco", bss2.halco)
    monkeypatch.chdir(tmp_path)
    for name in ("hagen_cocolist.pbin", "spiking_calix-native.pkl"):
        (tmp_path / name).touch()  # of a real chip: what is in it does not matter here
    torch.manual_seed(0)
    threads, mock = torch.get_num_threads(), bss2.perceptron.get_mock_parameter()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    bss2.perceptron.set_mock_parameter(mock)
    bss2.release_hardware()
    set_current(None)
    for name in [n for n in sys.modules if n.startswith("hxtorch.")]:
        del sys.modules[name]


# -- products --------------------------------------------------------------------------------------


def test_an_analog_product_is_noisy_linear_in_its_middle_and_ends_softly():
    import hxtorch

    hxtorch.init_hardware(hxtorch.CalibrationPath("hagen_cocolist.pbin"))
    made = hxtorch.perceptron.matmul(torch.full((100,), 15.0), torch.full((100, 10), 21.0))
    assert made.shape == (10,)
    assert float(made.mean()) == pytest.approx(0.002 * 100 * 15 * 21, abs=8)
    again = [
        hxtorch.perceptron.matmul(
            torch.tensor([0.0, 0.0, 12.0]), torch.full((3, 256), 21.0), num_sends=100
        )
        for _ in range(20)
    ]
    columns = torch.stack(again)
    assert 1.0 < float(columns.std(0).mean()) < 3.5  # from trial to trial
    assert 1.0 < float(columns.mean(0).std()) < 6.0  # from neuron to neuron
    weight = torch.arange(-63, 64.0).repeat_interleave(2)
    line = hxtorch.perceptron.matmul(torch.tensor([12.0]), weight.unsqueeze(0), num_sends=100)
    middle = weight.abs() < 30
    slope, _ = np.polyfit(weight[middle], line[middle], 1)
    assert slope == pytest.approx(0.002 * 100 * 12, rel=0.1)
    assert line.max() == 127.0
    assert -128 <= float(line.min()) < -80
    hxtorch.release_hardware()


def test_perceptrons_are_trained_in_mock_mode_and_go_on_in_the_loop():
    import hxtorch
    import hxtorch.perceptron.nn as hxnn
    from hxtorch.perceptron import MockParameter, set_mock_parameter

    from lavalike.datasets import yin_yang

    hxtorch.init_hardware(hxtorch.CalibrationPath("hagen_cocolist.pbin"))
    found = hxtorch.perceptron.measure_mock_parameter()
    assert found.gain == pytest.approx(0.002, rel=0.1)
    set_mock_parameter(MockParameter(noise_std=found.noise_std, gain=0.0034))

    def network(mock):
        return torch.nn.Sequential(
            hxnn.Linear(4, 40, mock=mock),
            hxnn.ConvertingReLU(shift=1, mock=mock),
            hxnn.Linear(40, 3, mock=mock, avg=3),
        )

    data, labels = yin_yang(600)
    inputs = (data * 31).round()

    def train(model, epochs):
        optimizer = torch.optim.Adam(model.parameters(), lr=2.0)
        for _ in range(epochs):
            for k in range(0, 600, 100):
                optimizer.zero_grad()
                scores = model(inputs[k : k + 100]) / 20
                torch.nn.functional.cross_entropy(scores, labels[k : k + 100]).backward()
                optimizer.step()

    def accuracy(model):
        with torch.no_grad():
            return float((model(inputs).argmax(1) == labels).float().mean())

    mock = network(True)
    train(mock, 15)
    assert accuracy(mock) > 0.6
    real = network(False)
    real.load_state_dict(mock.state_dict())
    before = [p.clone() for p in real.parameters()]
    train(real, 2)
    assert accuracy(real) > 0.55
    assert all(not torch.equal(a, b) for a, b in zip(before, real.parameters(), strict=True))


# -- spikes ----------------------------------------------------------------------------------------

PAIRS = {"leak": (0.0, 80), "reset": (0.0, 80), "threshold": (1.0, 125)}


def test_a_neuron_is_looked_at_and_its_model_aligned_with_it():
    import hxtorch
    import hxtorch.snn as hxsnn
    from hxtorch.snn.transforms.weight_transforms import linear_saturating

    hxtorch.init_hardware()

    def neuron(inputs, mock=False, weight=1.0, scale=63.0, runs=3, pairs=True, **settings):
        traces = []
        for _ in range(runs):
            experiment = hxsnn.Experiment(dt=1e-6, mock=mock)
            experiment.default_execution_instance.load_calib("spiking_calix-native.pkl")
            transform = partial(linear_saturating, scale=scale)
            synapse = hxsnn.Synapse(1, 1, experiment=experiment, transform=transform)
            both = {n: hxsnn.MixedHXModelParameter(*v) for n, v in PAIRS.items()} if pairs else {}
            lif = hxsnn.LIF(1, experiment=experiment, cadc_time_shift=-1, **both, **settings)
            synapse.weight.data.fill_(weight)
            handle = lif(synapse(hxsnn.LIFObservables(spikes=inputs)))
            assert (handle.spikes, handle.membrane_cadc) == (None, None)  # before the run
            hxsnn.run(experiment, 50)
            traces.append(handle.membrane_cadc.detach().numpy().reshape(-1))
        return np.stack(traces), handle

    spikes = torch.zeros(50, 1, 1)
    spikes[[10, 15, 20, 30]] = 1
    record = {"enable_madc_recording": True, "record_neuron_id": 0}
    _, seen = neuron(spikes, weight=63, scale=1.0, runs=1, pairs=False, **record)
    assert seen.spikes.shape == seen.membrane_cadc.shape == (50, 1, 1)
    assert seen.membrane_madc.shape == (2, 1471, 1)
    # what is told is in the converter's unit, counted from 128: where the neuron rests, and how far
    # above it is its threshold
    told = {"trace_offset": 0.0, "trace_scale": 1.0}
    baseline = neuron(torch.zeros(50, 1, 1), **told)[0].mean()
    assert baseline == pytest.approx(80 - 128, abs=8)
    driven, _ = neuron(torch.ones(50, 1, 1), weight=0.2, trace_offset=baseline, trace_scale=1.0)
    threshold = driven.max(1).mean()
    assert 30 < threshold < 60
    one = torch.zeros(50, 1, 1)
    one[10] = 1
    aligned = {"trace_offset": baseline, "trace_scale": 1 / threshold, "scale": threshold}
    chip, model = neuron(one, **aligned)[0].mean(0), neuron(one, mock=True, runs=1)[0][0]
    assert chip[:9] == pytest.approx(0, abs=0.1)
    assert chip.max() == pytest.approx(model.max(), rel=0.4)  # one neuron has its own synapse

    # a readout follows a target on the chip
    experiment = hxsnn.Experiment(mock=False)
    experiment.default_execution_instance.load_calib(calib_path="spiking_calix-native.pkl")
    synapse = hxsnn.Synapse(64, 3, experiment, transform=partial(linear_saturating, scale=55))
    readout = hxsnn.LI(
        3,
        experiment,
        tau_mem=10e-6,
        tau_syn=10e-6,
        leak=hxsnn.MixedHXModelParameter(0.0, 80.0),
        shift_cadc_to_first=True,
        trace_scale=1 / threshold,
        trace_offset=baseline,
    )
    inputs = (torch.rand(100, 1, 64) < 0.03).float()
    target = torch.sin(torch.linspace(0, 6, 100)).view(-1, 1, 1) * torch.tensor([1.0, -1.0, 0.5])
    optimizer = torch.optim.Adam(synapse.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        handle = readout(synapse(hxsnn.LIFObservables(spikes=inputs)))
        hxsnn.run(experiment, 100)
        loss = torch.nn.functional.mse_loss(handle.membrane_cadc, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    hxtorch.release_hardware()


class EventPropSynapse:
    """Made in the program, of hxtorch's functions."""

    @staticmethod
    def layers():
        import hxtorch.snn as hxsnn
        import hxtorch.snn.functional as F

        class Synapse(hxsnn.Synapse):
            def forward_func(self, input):
                return hxsnn.SynapseHandle(
                    graded_spikes=F.EventPropSynapseFunction.apply(input.spikes, self.weight)
                )

        class LIF(hxsnn.LIF):
            def forward_func(self, input, hw_data=None):
                names = ("leak", "reset", "threshold", "tau_syn", "tau_mem")
                values = [torch.as_tensor(getattr(self, n).model_value) for n in names]
                spikes, membrane, current = F.EventPropLIFFunction.apply(
                    input.graded_spikes, *values, hw_data, self.experiment.dt
                )
                return hxsnn.LIFObservables(spikes=spikes, membrane_cadc=membrane, current=current)

        return Synapse, LIF


@pytest.mark.parametrize(("eventprop", "mock"), [(False, True), (False, False), (True, False)])
def test_yin_yang_is_learned_by_first_spikes(eventprop, mock):
    import hxtorch
    import hxtorch.snn as hxsnn
    from dlens_vx_v3 import halco
    from hxtorch.snn.datasets.yinyang import YinYangDataset
    from hxtorch.snn.transforms import weight_transforms
    from hxtorch.snn.transforms.decode import MaxOverTime
    from hxtorch.snn.transforms.encode import CoordinatesToSpikes

    Synapse, LIF = EventPropSynapse.layers() if eventprop else (hxsnn.Synapse, hxsnn.LIF)
    dt, hidden, repeats = 1e-6, 40, 1 if mock else 3

    class SNN(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.experiment = hxsnn.Experiment(mock=mock, dt=dt)
            self.experiment.default_execution_instance.load_calib("spiking_calix-native.pkl")
            scaled = partial(weight_transforms.linear_saturating, scale=66.39)
            common = {
                "experiment": self.experiment,
                "tau_mem": 6e-6,
                "tau_syn": 6e-6,
                "leak": hxsnn.MixedHXModelParameter(0.0, 80),
                "i_synin_gm": 500,
                "synapse_dac_bias": 1000,
                "trace_scale": 0.0147,
                "cadc_time_shift": 0.0,
                "shift_cadc_to_first": True,
            }
            self.first = Synapse(5 * repeats, hidden, experiment=self.experiment, transform=scaled)
            self.hidden = LIF(
                hidden,
                reset=hxsnn.MixedHXModelParameter(0.0, 80),
                threshold=hxsnn.MixedHXModelParameter(1.0, 150),
                enable_cadc_recording=not eventprop,
                **common,
            )
            self.second = hxsnn.Synapse(hidden, 3, experiment=self.experiment, transform=scaled)
            places = [
                halco.LogicalNeuronOnDLS(
                    hxsnn.morphology.SingleCompartmentNeuron(1).compartments,
                    halco.AtomicNeuronOnDLS(halco.NeuronRowOnDLS(1), halco.NeuronColumnOnDLS(n)),
                )
                for n in range(3)
            ]
            self.readout = hxsnn.LI(3, placement_constraint=places, **common)
            w = torch.randn(hidden, 5) * 0.25 + (1.2 if mock else 0.3)
            self.first.weight.data = w.repeat(1, repeats)
            torch.nn.init.normal_(self.second.weight, 0.0, 0.1)

        def forward(self, spikes):
            seen = hxsnn.LIFObservables(spikes=spikes.repeat(1, 1, repeats))
            self.fired = self.hidden(self.first(seen))
            traces = self.readout(self.second(self.fired))
            hxtorch.snn.run(self.experiment, spikes.shape[0])
            return traces.membrane_cadc

    log = hxtorch.logger.get("grenade.backend")
    hxtorch.logger.set_loglevel(log, hxtorch.logger.LogLevel.ERROR)
    data = YinYangDataset(r_big=0.5, r_small=0.1, size=500)
    loader = torch.utils.data.DataLoader(data, batch_size=50, shuffle=True)
    encoder, decoder = CoordinatesToSpikes(38, 2e-6, 26e-6, dt, 2e-6), MaxOverTime()
    if not mock:
        hxtorch.init_hardware()
    net = SNN()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    accuracies = []
    for _ in range(6):
        right = 0
        for x, y in loader:
            optimizer.zero_grad()
            scores = decoder(net(encoder(x))) * (1.0 if mock else 10.0)
            loss = torch.nn.functional.cross_entropy(scores, y) + 4e-4 * (scores**2).mean()
            loss.backward()
            optimizer.step()
            right += int((scores.argmax(1) == y).sum())
        accuracies.append(right / 500)
    assert accuracies[-1] > 0.5
    assert net.fired.spikes.sum() > 0
    if not mock:
        placed = net.experiment.outcome.placement[net.readout.name].circuits
        assert placed.tolist() == [[256], [257], [258]]


def test_a_network_in_parts_is_trained_on_the_chip_that_measured_its_scales():
    """Two hidden parts, an execution instance each, of neurons of joined circuits; a readout that
    hears both."""
    import hxtorch
    import hxtorch.spiking as hxsnn
    import hxtorch.spiking.functional as F
    from hxtorch.snn.parameter import HXParameter, MixedHXModelParameter
    from hxtorch.spiking.transforms import weight_transforms
    from hxtorch.spiking.utils.dynamic_range.threshold import get_trace_scaling
    from hxtorch.spiking.utils.dynamic_range.weight_scaling import get_weight_scaling

    from lavalike.datasets import yin_yang

    params = {
        "tau_syn": HXParameter(5.7e-6),
        "tau_mem": HXParameter(6e-6),
        "leak": MixedHXModelParameter(0.0, 80),
        "reset": MixedHXModelParameter(0.0, 80),
        "threshold": MixedHXModelParameter(1.0, 120),
        "alpha": 50,
    }
    wide = hxsnn.morphology.SingleCompartmentNeuron(size=8, expand_horizontally=False)
    weight_scale = get_weight_scaling(params, weight_step=3, neuron_structure=wide)
    trace_scale = get_trace_scaling(params, neuron_structure=wide).item()
    assert 0.7 < trace_scale * 40 < 1.3
    assert float(weight_scale) * trace_scale == pytest.approx(
        get_weight_scaling(params, 3, neuron_structure=wide).item() * trace_scale, rel=0.1
    )

    class Synapse(hxsnn.Synapse):
        def forward_func(self, inputs):
            return hxsnn.SynapseHandle(
                graded_spikes=F.linear_exponential_clamp(
                    inputs.spikes, self.weight, cap=63.0 / weight_scale, start_weight=0.0,
                    quantize=True,
                )
            )  # fmt: skip

    class SNN(torch.nn.Module):
        def __init__(self, parts=2, n_in=200, size=8):
            super().__init__()
            self.experiment = hxsnn.Experiment(mock=False, dt=1e-6)
            self.experiment.inter_batch_entry_wait = 125 * 50
            transform = partial(weight_transforms.linear_saturating, scale=weight_scale)
            scaled = {"trace_scale": trace_scale, "cadc_time_shift": 1, "shift_cadc_to_first": True}
            self.first, self.hidden, self.second = (torch.nn.ModuleList() for _ in range(3))
            last = hxsnn.ExecutionInstance()
            for _ in range(parts):
                here = hxsnn.ExecutionInstance()
                on = {"experiment": self.experiment, "execution_instance": here}
                self.first.append(Synapse(n_in, size, transform=transform, **on))
                self.hidden.append(hxsnn.LIF(size, **params, neuron_structure=wide, **on, **scaled))
                self.second.append(
                    Synapse(
                        size, 3, experiment=self.experiment, execution_instance=last,
                        transform=transform,
                    )
                )  # fmt: skip
            self.readout = hxsnn.LI(
                size=3,
                **params,
                experiment=self.experiment,
                execution_instance=last,
                **scaled,
            )
            for layer in self.first:
                torch.nn.init.normal_(layer.weight, 0.02, 0.1)
            for layer in self.second:
                torch.nn.init.normal_(layer.weight, 0.01, 0.2)

        def forward(self, spikes):
            traces = None
            self.fired = []
            for first, hidden, second in zip(self.first, self.hidden, self.second, strict=True):
                z = hidden(first(hxsnn.LIFObservables(spikes=spikes)))
                self.fired.append(z)
                traces = self.readout(second(z))  # once for each part: they arrive together
            hxsnn.run(self.experiment, spikes.shape[0] + 2)
            return traces.membrane_cadc

    hxtorch.init_hardware()
    data, labels = yin_yang(60, 1)
    when = (data[:, :4].repeat(1, 50) * 29).round().long()
    spikes = torch.zeros(30, 60, 200).scatter_(0, when.unsqueeze(0), 1.0)
    net = SNN()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        scores = net(spikes).amax(0) * 3
        loss = torch.nn.functional.cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(f.spikes.sum() > 0 for f in net.fired)
    placement = net.experiment.outcome.placement
    assert len(placement.instances) == 3
    assert placement[net.hidden[0].name].circuits.shape == (8, 8)
    assert net.experiment.outcome.notes == []
    assert sum(p.grad.abs().sum() > 0 for p in net.parameters()) == 4
