"""The adapter to the real hxtorch, against stand-ins with its documented signatures in its three
spellings. No chip is involved."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lavalike import bss2
from lavalike.bss2 import hardware, perceptron, spiking
from lavalike.bss2.hxtorch.connection import CalibrationPath, HWDBPath
from lavalike.bss2.perceptron import nn as layers
from lavalike.bss2.spiking import MixedHXModelParameter
from lavalike.bss2.spiking.neuron import Recorded, integrate
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating
from lavalike.bss2.spiking.utils.dynamic_range.threshold import get_trace_scaling
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.errors import InputError, InputTypeError
from tests.hxtorch_standin import arrays, connection, network as network_module

SPELLINGS = ("perceptron", "snn", "nn")


@pytest.fixture
def installed(monkeypatch):
    """``installed("snn")`` puts that stand-in before everything; without chip unless
    ``chip=True``."""
    connection.calls.clear()

    def forget():
        for name in [n for n in sys.modules if n.split(".")[0] == "hxtorch"]:
            del sys.modules[name]
        connection.held.clear()

    def install(spelling, chip=False):
        forget()
        monkeypatch.syspath_prepend(str(Path(__file__).parent / "hxtorch_standin" / spelling))
        if chip:
            monkeypatch.setenv("HXTORCH_STANDIN_CHIP", "1")
        else:
            monkeypatch.delenv("HXTORCH_STANDIN_CHIP", raising=False)

    yield install
    forget()


# -- three states ----------------------------------------------------------------------------------


def test_without_hxtorch_nothing_is_importable():
    assert hardware.availability() == "not importable"
    with pytest.raises(
        bss2.NoChipError, match="hxtorch is not installed: level 'hardware' needs it and a chip"
    ):
        hardware.perceptron()
    with pytest.raises(bss2.NoChipError, match="not installed"):
        hardware.convert(layers.Linear(2, 2))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_three_spellings_and_states(installed, spelling):
    installed(spelling)
    assert hardware.spelling() == spelling
    assert hardware.availability() == "mock only"
    assert hardware.perceptron().matmul is arrays.matmul
    installed(spelling, chip=True)
    assert hardware.availability() == "connected"
    assert connection.held == []  # let go again
    hardware.init()
    connection.calls.clear()
    assert hardware.availability() == "connected"  # held: nobody takes it twice
    assert connection.calls == []
    assert hardware.identifier() == "hxcube9fpga0chip0_1"


def test_a_broken_installation_is_told(installed, tmp_path, monkeypatch):
    (tmp_path / "hxtorch").mkdir()
    (tmp_path / "hxtorch" / "__init__.py").write_text("import grenade_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hardware.availability() == "not importable"
    with pytest.raises(
        bss2.NoChipError,
        match="'grenade_that_is_not_there', which it needs, is not; repair its installation",
    ):
        hardware.perceptron()


@pytest.mark.parametrize(
    ("door", "name", "kinds"),
    [
        (bss2.init_hardware, "hwdb_path", ("file", 3)),
        (bss2.init_hardware, "ann", ("yes", None, 2.0)),
        (hardware.connection, "path", ("file", 3)),
        (hardware.connection, "ann", ("yes", None, 2.0)),
        (hardware.convert, "model", (3, None)),
        (partial(hardware.convert, torch.nn.Linear(2, 3)), "mock", ("yes", 2.0)),
    ],
)
def test_wrong_arguments_are_told_before_a_chip_is_looked_for(door, name, kinds):
    """The doors without a row in tests/doors: they need hxtorch."""
    for kind in kinds:
        with pytest.raises(InputTypeError, match=rf"\b{name} is "):
            door(**{name: kind})
    with pytest.raises(InputTypeError, match=f"did you mean '{name}'"):
        door(**{name + "_": None})


@pytest.fixture
def named_hxtorch(monkeypatch):
    """lavalike.bss2 goes by hxtorch's name, as programs written for hxtorch are run."""
    monkeypatch.setitem(sys.modules, "hxtorch", bss2)
    yield
    for name in [n for n in sys.modules if n.startswith("hxtorch.")]:
        del sys.modules[name]


def test_lavalike_under_hxtorchs_name_is_no_hxtorch(named_hxtorch):
    """Looking for the real one in itself, it called itself for minutes."""
    import hxtorch

    assert hardware.availability() == "not importable"
    with pytest.warns(bss2.EmulatedChipWarning, match="emulated chip 0 is used"):
        hxtorch.init_hardware()
    assert hxtorch.get_unique_identifier() == "emulated chip 0"
    hxtorch.release_hardware()
    with pytest.warns(bss2.EmulatedChipWarning, match="emulated chip 0 is used"):
        hxtorch.init_hardware_minimal()
    hxtorch.release_hardware()
    for asked in (hardware.perceptron, hardware.spiking, hardware.identifier, hardware.init):
        with pytest.raises(bss2.NoChipError, match="hxtorch is not installed"):
            asked()


def test_a_package_hxtorch_that_hands_on_lavalike_is_no_hxtorch(installed, tmp_path, monkeypatch):
    (tmp_path / "hxtorch").mkdir()
    (tmp_path / "hxtorch" / "__init__.py").write_text("from lavalike.bss2 import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hardware.availability() == "not importable"


def test_modules_are_the_same_under_every_name(named_hxtorch):
    """None is loaded twice: a layer of hxtorch.perceptron.nn is one of lavalike's."""
    for name, same in (
        ("hxtorch.perceptron.nn", layers),
        ("lavalike.bss2.ann.nn", layers),
        ("hxtorch.spiking", spiking),
        ("lavalike.bss2.snn.parameter", spiking.parameter),
        ("hxtorch.snn.parameter", spiking.parameter),
        ("hxtorch.spiking.parameter", spiking.parameter),
        ("lavalike.bss2.snn.functional", spiking.functional),
        ("hxtorch.snn.transforms.decode", spiking.transforms.decode),
    ):
        module = importlib.import_module(name)
        assert module is same is sys.modules[name]
        assert module.__spec__.name == module.__name__
    import hxtorch.spiking.transforms.weight_transforms as transforms
    from hxtorch.spiking.parameter import MixedHXModelParameter as Parameter

    assert bss2.snn.parameter is spiking.parameter
    assert Parameter is MixedHXModelParameter
    assert transforms.linear_saturating is linear_saturating
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        importlib.import_module("hxtorch.snn.nothing")


# -- connection ------------------------------------------------------------------------------------


def test_a_connection_is_taken_once_and_let_go(installed):
    installed("perceptron", chip=True)
    with hardware.connection(CalibrationPath("c.pbin")) as chip:
        assert chip == "hxcube9fpga0chip0_1"
    assert connection.calls == [
        ("init_hardware", connection.CalibrationPath("c.pbin"), False),
        ("release_hardware",),
    ]
    connection.calls.clear()
    with pytest.raises(ZeroDivisionError), hardware.connection(HWDBPath("h", "v"), ann=True):
        raise ZeroDivisionError
    assert connection.calls == [
        ("init_hardware", connection.HWDBPath("h", "v"), True),
        ("release_hardware",),
    ]
    assert connection.held == []


def test_no_chip_is_no_chip_error(installed):
    installed("snn")
    with (
        pytest.raises(bss2.NoChipError, match="hxtorch found no chip: no executor backend"),
        hardware.connection(),
    ):
        pass
    with pytest.raises(bss2.NoChipError, match="hxtorch is not connected to a chip"):
        hardware.identifier()


def test_init_hardware_takes_the_real_chip_where_one_answers(installed):
    installed("perceptron", chip=True)
    bss2.init_hardware()
    try:
        assert bss2.current_chip().level == "hardware"
        assert bss2.get_unique_identifier() == "hxcube9fpga0chip0_1"
        found = perceptron.measure_mock_parameter()
        assert (found.noise_std, found.gain) == (1.9, 0.00186)
    finally:
        bss2.release_hardware()
    assert connection.held == []


# -- perceptron mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_our_operations_run_there(installed, spelling):
    installed(spelling, chip=True)
    torch.manual_seed(0)
    x, w = torch.randint(0, 32, (5, 300)).float(), torch.randint(-63, 64, (300, 7)).float()
    quantised = bss2.Chip(level="quantised")
    with bss2.use(quantised):
        expected = perceptron.converting_relu(perceptron.matmul(x, w), shift=1)
    bss2.init_hardware()
    try:
        assert torch.equal(perceptron.converting_relu(perceptron.matmul(x, w), shift=1), expected)
        assert torch.equal(
            perceptron.argmax(perceptron.add(perceptron.relu(expected), expected), dim=1),
            (2 * expected).argmax(1),
        )
    finally:
        bss2.release_hardware()


@pytest.mark.parametrize("spelling", ["perceptron", "snn"])
def test_a_network_is_converted_with_weights_and_settings(installed, spelling):
    installed(spelling)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        layers.Linear(20, 12, num_sends=3, avg=2),
        layers.ConvertingReLU(shift=1),
        torch.nn.Dropout(),
        torch.nn.Sequential(layers.Linear(12, 4, bias=False, wait_between_events=7), layers.ReLU()),
    ).eval()
    real = hardware.convert(model, mock=True)
    assert [
        type(m).__module__.split(".")[-1] for m in (real[0], real[1], real[3][0], real[3][1])
    ] == ["arrays"] * 4
    assert (
        real[0].num_sends,
        real[0].avg,
        real[0].mock,
        real[1].shift,
        real[3][0].wait_between_events,
    ) == (3, 2, True, 1, 7)
    assert real[3][0].bias is None
    assert not real[0].training
    x = torch.randint(0, 32, (6, 20)).float()
    with bss2.use(bss2.Chip(level="quantised")):
        assert torch.equal(real(x), model(x))
    assert isinstance(model[0], layers.Linear)  # the original stays
    real[0].weight.data.zero_()
    assert model[0].weight.any()
    fresh = layers.Linear(20, 12, num_sends=3, avg=2)
    fresh.load_state_dict(hardware.convert(model[0]).state_dict())
    assert torch.equal(fresh.weight, model[0].weight)


def test_convolutions_and_transforms_are_converted(installed):
    installed("perceptron")
    conv = layers.Conv2d(
        2, 3, (3, 5), stride=2, padding=1, input_transform=layers.scale_input, weight_transform=None
    )
    real = hardware.convert(conv)
    assert (real.kernel_size, real.stride, real.padding) == ((3, 5), (2, 2), (1, 1))
    assert real.input_transform is layers.scale_input
    assert real.weight_transform is None
    assert real.num_sends == conv.num_sends
    wide = layers.ExpandedConv1d(1, 4, 5)
    assert hardware.convert(wide).num_expansions == wide.num_expansions
    default = hardware.convert(layers.Conv1d(1, 2, 3))
    assert default.weight_transform is arrays.clamp_weight_


def test_what_an_old_hxtorch_does_not_know_is_refused(installed):
    installed("nn")
    assert hardware.convert(layers.Linear(3, 2)).mock is False
    with pytest.raises(
        InputError,
        match="layer '0': this hxtorch's Linear takes no avg, which is 5 here; leave it at its default",
    ):
        hardware.convert(torch.nn.Sequential(layers.Linear(3, 2, avg=5)))
    with pytest.raises(
        bss2.OperandError, match="layer 'ExpandedConv1d': this hxtorch has no ExpandedConv1d"
    ):
        hardware.convert(layers.ExpandedConv1d(1, 2, 3))


# -- spiking mode ----------------------------------------------------------------------------------


def network(experiment, **settings):
    """5-8-3; weights are multiples of what is one LSB on the chip, so that nothing is rounded
    there."""
    torch.manual_seed(0)
    hidden, out = spiking.Synapse(5, 8, experiment), spiking.Synapse(8, 3, experiment)
    lif = spiking.LIF(
        8, experiment, leak=0.0, reset=0.0, threshold=1.0, tau_mem=6e-6, tau_syn=6e-6, **settings
    )
    li = spiking.LI(3, experiment, leak=0.0, tau_mem=6e-6, tau_syn=6e-6)
    with torch.no_grad():
        hidden.weight.copy_(torch.randint(-20, 60, (8, 5)) / 50)
        out.weight.copy_(torch.randint(-63, 64, (3, 8)) / 63)
        out.weight[0, 0] = 1.0
    return hidden, lif, out, li


def passed(layers_, x, runtime=None):
    hidden, lif, out, li = layers_
    spikes = lif(hidden(spiking.LIFObservables(spikes=x)))
    readout = li(out(spikes))
    spiking.run(lif.experiment, runtime)
    return spikes, readout


def inputs():
    torch.manual_seed(1)
    return (torch.rand(40, 4, 5) < 0.15).float()


@pytest.mark.parametrize("spelling", ["perceptron", "snn"])
def test_an_experiment_runs_there_and_is_injected_here(installed, spelling):
    x = inputs()
    model = network(spiking.Experiment(mock=True))
    expected, traces = passed(model, x)
    assert expected.spikes.sum() > 20
    # the model's gradient at what the chip is to return
    hidden, lif, out, li = model
    made = integrate(
        x @ hidden.weight.t(),
        lif.params(),
        1e-6,
        Recorded(expected.spikes.detach(), expected.membrane_cadc.detach()),
    )
    made = integrate(
        made.spikes @ out.weight.t(),
        li.params(),
        1e-6,
        Recorded(None, traces.membrane_cadc.detach()),
    )
    made.membrane.max(0).values.sum().backward()

    installed(spelling, chip=True)
    bss2.init_hardware()
    try:
        ours = network(spiking.Experiment(chip=bss2.current_chip()))
        found, membranes = passed(ours, x, len(x))
        assert torch.equal(found.spikes, expected.spikes)
        torch.testing.assert_close(found.membrane_cadc, expected.membrane_cadc, atol=1e-4, rtol=0)
        torch.testing.assert_close(membranes.membrane_cadc, traces.membrane_cadc, atol=1e-4, rtol=0)
        membranes.membrane_cadc.max(0).values.sum().backward()
        torch.testing.assert_close(ours[0].weight.grad, model[0].weight.grad, atol=1e-5, rtol=1e-3)
        # the next batch: the same experiment there, with the weights as they are now
        count = len(network_module.made)
        with torch.no_grad():
            ours[0].weight.zero_()
        assert passed(ours, x, len(x))[0].spikes.sum() == 0
        assert len(network_module.made) == count
    finally:
        bss2.release_hardware()


def test_parameters_are_said_in_both_units(installed):
    installed("perceptron", chip=True)
    network_module.made.clear()
    with hardware.connection():
        experiment = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        passed(
            network(
                experiment,
                cadc_time_shift=1,
                alpha=40.0,
                execution_instance=spiking.ExecutionInstance("c.pbin"),
            ),
            inputs(),
            30,
        )
    there, hidden, lif, out, li = network_module.made
    assert there.dt == 1e-6
    given = lif.given
    assert (given["leak"].model_value, given["leak"].hardware_value) == (0.0, 80)
    assert (given["threshold"].model_value, given["threshold"].hardware_value) == (1.0, 125)
    assert given["tau_mem"] == 6e-6
    # hxtorch counts from 128
    assert (given["trace_offset"], given["trace_scale"]) == (80 - 128, pytest.approx(1 / 45))
    assert (given["cadc_time_shift"], given["alpha"], given["execution_instance"].calib_path) == (
        1,
        40.0,
        "c.pbin",
    )
    assert hidden.transform.keywords["scale"] == pytest.approx(50)
    assert out.transform.keywords["scale"] == pytest.approx(63)
    assert li.given["trace_scale"] == pytest.approx(1 / (0.9 * 63))
    assert li.given["leak"].hardware_value == 120


def test_told_scales_and_sparse_synapses_and_masks_are_handed_on(installed):
    installed("perceptron", chip=True)
    network_module.made.clear()
    with hardware.connection():
        experiment = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        connections = torch.eye(5, 8)
        sparse = spiking.SparseSynapse(
            connections, experiment, transform=partial(linear_saturating, scale=30.0)
        )
        lif = spiking.LIF(
            8,
            experiment,
            leak=MixedHXModelParameter(0.0, 90),
            reset=0.0,
            threshold=MixedHXModelParameter(1.0, 120),
            trace_scale=0.02,
            trace_offset=90,
            refractory_time=0.0,
        )
        lif.mask = torch.tensor([0.0] + [1.0] * 7)
        with torch.no_grad():
            sparse.weight.fill_(2.0)
        spikes = lif(sparse(spiking.LIFObservables(spikes=torch.ones(30, 1, 5))))
        spiking.run(experiment, 30)
    _, real, neuron = network_module.made
    assert real.transform.keywords == {"scale": 30.0}
    assert torch.equal(real.weight.detach().to_dense(), 2 * connections)
    assert (
        neuron.given["reset"].hardware_value,
        neuron.given["trace_scale"],
        neuron.given["trace_offset"],
    ) == (90, 0.02, 90)
    assert neuron.given["refractory_time"].hardware_value == 40e-9
    assert neuron.mask is lif.mask
    assert spikes.spikes[:, 0, 0].sum() == 0
    assert spikes.spikes[:, 0, 1].sum() > 0


def test_adaptive_neurons_and_readouts_with_a_told_scale(installed):
    installed("perceptron", chip=True)
    network_module.made.clear()
    with hardware.connection():
        experiment = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        hidden = spiking.Synapse(5, 4, experiment)
        neuron = spiking.AELIF(
            4, experiment, leak=0.0, reset=0.0, threshold=1.0, exponential=False, tau_adap=50e-6
        )
        out, li = (
            spiking.Synapse(4, 2, experiment, transform=partial(linear_saturating, scale=20.0)),
            spiking.LI(2, experiment, leak=0.0),
        )
        li(out(neuron(hidden(spiking.LIFObservables(spikes=inputs())))))
        spiking.run(experiment)
    _, _, adaptive, _, readout = network_module.made
    assert (adaptive.given["exponential"], adaptive.given["leaky"], adaptive.given["tau_adap"]) == (
        False,
        True,
        50e-6,
    )
    assert readout.given["trace_scale"] == pytest.approx(1 / (0.9 * 20))


def handed(kind):
    return [m for m in network_module.made if type(m).__name__ == kind]


def test_what_changes_between_runs_is_handed_on(installed):
    installed("perceptron", chip=True)
    network_module.made.clear()
    x = inputs()
    with hardware.connection():
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        threshold = MixedHXModelParameter(1.0, 125).make_trainable(lambda v: 80 + 45 * v)
        instance = spiking.ExecutionInstance("a.pbin", "cache", input_loopback=True)
        synapse = spiking.Synapse(5, 4, e)
        lif = spiking.LIF(
            4,
            e,
            leak=MixedHXModelParameter(0.0, 80),
            reset=MixedHXModelParameter(0.0, 80),
            threshold=threshold,
            tau_mem=MixedHXModelParameter(1e-5, 1e-5).make_trainable(lambda v: v),
            execution_instance=instance,
        )
        with torch.no_grad():
            synapse.weight.fill_(1.0)

        def go():
            h = lif(synapse(spiking.LIFObservables(spikes=x)))
            spiking.run(e, 40)
            return handed("LIF")[-1], h.spikes.sum().item()

        first, before = go()
        assert (first.given["threshold"].hardware_value, first.given["tau_mem"].hardware_value) == (
            125,
            pytest.approx(1e-5),
        )
        again, _ = go()
        assert again is first  # nothing is set up anew that stays
        with torch.no_grad():
            threshold.model_value.fill_(1.6)
            lif.tau_mem.model_value.fill_(2e-5)
        second, after = go()
        assert second.given["threshold"].hardware_value == 152
        assert second.given["tau_mem"].hardware_value == pytest.approx(2e-5)
        assert (
            second.given["execution_instance"].calib_cache_dir,
            second.given["execution_instance"].input_loopback,
        ) == ("cache", True)
        assert after < before
        lif.mask = torch.zeros(4)
        assert go()[1] == 0
        lif.mask = None
        assert go() == (second, after)
        instance.load_calib("b.pbin")
        assert go()[0].given["execution_instance"].calib_path == "b.pbin"
        assert e.handed_over.experiment.inter_batch_entry_wait is None
        e.inter_batch_entry_wait = 125
        go()
        assert e.handed_over.experiment.inter_batch_entry_wait == 125


def test_structures_and_what_only_a_chip_has_are_handed_on(installed):
    installed("perceptron", chip=True)
    network_module.made.clear()
    with hardware.connection():
        e = spiking.Experiment(hw_routing_func=len, chip=bss2.Chip(level="hardware"))
        e.default_execution_instance.load_calib("d.pbin")
        places = [object() for _ in range(4)]  # halco's coordinates
        wide, lif = (
            spiking.Synapse(300, 4, e),
            spiking.LIF(4, e, leak=0.0, reset=0.0, threshold=1.0, placement_constraint=places),
        )
        out, li = (
            spiking.Synapse(4, 2, e),
            spiking.LI(
                2,
                e,
                leak=0.0,
                neuron_structure=spiking.morphology.SingleCompartmentNeuron(2),
                cadc_readout_source="excitatory",
                shift_cadc_to_first=True,
            ),
        )
        h = li(out(lif(wide(spiking.LIFObservables(spikes=torch.zeros(40, 1, 300))))))
        spiking.run(e, 30)
    neuron, readout = handed("LIF")[0], handed("LI")[0]
    assert (neuron.given["neuron_structure"].size, readout.given["neuron_structure"].size) == (3, 2)
    assert (neuron.given["placement_constraint"], readout.given["cadc_readout_source"]) == (
        places,
        "excitatory",
    )
    assert neuron.given["execution_instance"].calib_path == "d.pbin"
    assert handed("Experiment")[0].hw_routing_func is len
    assert h.membrane_cadc.shape == (30, 1, 2)


def test_places_readouts_and_measurements_are_said_in_its_words(installed, monkeypatch):
    """Circuits by number become halco's coordinates, ours of a readout hxtorch's, and what is
    measured is measured there."""
    installed("perceptron", chip=True)
    network_module.made.clear()
    words = ("LogicalNeuronOnDLS", "AtomicNeuronOnDLS", "NeuronRowOnDLS", "NeuronColumnOnDLS")
    monkeypatch.setitem(
        sys.modules,
        "dlens_vx_v3.halco",
        SimpleNamespace(**{w: partial(lambda w, *given: (w, *given), w) for w in words}),
    )
    with hardware.connection(), bss2.use(bss2.Chip(level="hardware")):
        e = spiking.Experiment()
        syn = spiking.Synapse(5, 2, e)
        lif = spiking.AELIF(
            2,
            e,
            leak=0.0,
            reset=0.0,
            threshold=1.0,
            exponential=False,
            cadc_readout_source=ReadoutSource.ADAPTATION,
        )
        out, li = spiking.Synapse(2, 2, e), spiking.LI(2, e, placement_constraint=[3, 300])
        e.default_execution_instance.chip = whole = object()
        h = lif(syn(spiking.LIFObservables(spikes=inputs())))
        li(out(h))
        spiking.run(e, 30)
        params = {"threshold": MixedHXModelParameter(1.0, 125), "tau_mem": 1e-5}
        scaling = get_trace_scaling(params, "c.pbin", spiking.morphology.SingleCompartmentNeuron(2))
    assert h.adaptation_cadc is not None  # the model's: the stand-in records none
    assert handed("AELIF")[0].given["cadc_readout_source"] == "hal.adaptation"
    assert handed("LI")[0].given["placement_constraint"] == [
        (
            "LogicalNeuronOnDLS",
            1,
            ("AtomicNeuronOnDLS", ("NeuronRowOnDLS", row), ("NeuronColumnOnDLS", column)),
        )
        for row, column in ((0, 3), (1, 44))
    ]
    assert handed("AELIF")[0].given.get("execution_instance") is None or whole
    assert float(scaling) == pytest.approx(1 / 44)
    name, given, path, structure = next(m for m in network_module.made if type(m) is tuple)
    assert (name, path, structure.size) == ("get_trace_scaling", "c.pbin", 2)
    assert (given["threshold"].model_value, given["threshold"].hardware_value) == (1.0, 125)
    assert given["tau_mem"] == 1e-5


def test_what_hxtorch_says_is_told_and_its_faults_are_raised(installed, monkeypatch, tmp_path):
    installed("perceptron")
    with pytest.warns(bss2.EmulatedChipWarning, match="mock only, it says: no executor backend"):
        bss2.init_hardware()
    bss2.release_hardware()
    import hxtorch

    for error in (RecursionError, NotImplementedError, ValueError, TypeError):

        def broken(error=error):
            raise error("a fault")

        monkeypatch.setattr(hxtorch, "get_unique_identifier", broken)
        with pytest.raises(error, match="a fault"):
            hardware.availability()
        with pytest.raises(error, match="a fault"):
            bss2.init_hardware()
    installed("perceptron")
    (tmp_path / "hxtorch").mkdir()
    (tmp_path / "hxtorch" / "__init__.py").write_text("import grenade_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(bss2.EmulatedChipWarning, match="it says: .*'grenade_that_is_not_there'"):
        bss2.init_hardware()
    bss2.release_hardware()


def test_what_is_counted_from_the_first_sample_comes_back_in_the_models_unit(installed):
    installed("perceptron", chip=True)
    x = inputs()
    with hardware.connection():
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        synapse, lif = (
            spiking.Synapse(5, 4, e),
            spiking.LIF(4, e, leak=0.25, reset=0.0, threshold=1.0, shift_cadc_to_first=True),
        )
        skip, out, li = (
            spiking.Synapse(5, 2, e),
            spiking.Synapse(4, 2, e),
            spiking.LI(2, e, leak=0.0),
        )
        given = spiking.LIFObservables(spikes=x)
        h = lif(synapse(given))
        y = li(out(h), skip(given))
        spiking.run(e, 30)
    assert h.membrane_cadc[0].detach().tolist() == [[0.25] * 4] * 4
    assert y.membrane_cadc.shape == (30, 4, 2)  # the input goes on, the run does not


@pytest.mark.parametrize(
    ("spikes", "weight", "error", "message"),
    [
        (
            3.0,
            1.0,
            bss2.OperandError,
            "Synapse 1: spikes to a chip are events, 0 or 1; got values from 3 to 3",
        ),
        (float("nan"), 1.0, bss2.OperandError, "Synapse 1: spikes to a chip are events"),
        (1.0, float("nan"), bss2.RangeError, "Synapse 1: weights are finite"),
    ],
)
def test_what_is_no_event_or_weight_does_not_reach_hxtorch(
    installed, spikes, weight, error, message
):
    installed("perceptron", chip=True)
    with hardware.connection():
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        synapse, li = (
            spiking.Synapse(5, 4, e),
            spiking.LIF(4, e, leak=0.0, reset=0.0, threshold=1.0),
        )
        with torch.no_grad():
            synapse.weight.fill_(weight)
        li(synapse(spiking.LIFObservables(spikes=torch.full((40, 1, 5), spikes))))
        with pytest.raises(error, match=message):
            spiking.run(e, 40)


def test_what_is_not_handed_over_is_refused_by_name(installed):
    installed("snn", chip=True)
    x = spiking.LIFObservables(spikes=inputs())
    with hardware.connection():
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        hidden, lif, out, li = network(e, alpha=30.0)
        lif(hidden(x))
        with pytest.raises(
            InputError, match=r"LIF 1: this hxtorch's Neuron takes no alpha, which is 30\.0 here"
        ):
            spiking.run(e, 10)
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        hidden, lif, out, li = network(e)
        li(out(spiking.BatchDropout(8, 0.5, e)(lif(hidden(x)))))
        with pytest.raises(
            bss2.RoutingError,
            match=r"Synapse 2: what it hears passes through a layer computed in software.* mask",
        ):
            spiking.run(e, 10)
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        hidden, lif, out, li = network(e)
        spiking.HXModuleWrapper(e, lif=lif, back=spiking.Synapse(8, 8, e))(hidden(x))
        with pytest.raises(bss2.RoutingError, match="recurrent layers are not handed to hxtorch"):
            spiking.run(e, 10)
        e = spiking.Experiment(chip=bss2.Chip(level="hardware"))
        network(e)[0](x)
        with pytest.raises(bss2.RoutingError, match="Synapse 1: no population takes what it sends"):
            spiking.run(e, 10)


def test_no_spiking_mode_is_told(installed):
    installed("nn", chip=True)
    with pytest.raises(bss2.NoChipError, match="this hxtorch has no spiking mode"):
        passed(network(spiking.Experiment(chip=bss2.Chip(level="hardware"))), inputs(), 10)
