"""Arguments as the peers' users write them, by keyword too: each name of these takes the peer's."""

from __future__ import annotations

import importlib
import inspect

import pytest

torch = pytest.importorskip("torch")

from lavalike import bss2, slayer, snn
from lavalike.bss2 import spiking
from lavalike.errors import InputError

FORWARD = {  # modules, whose call takes these
    "slayer.auto": {"SequentialNetwork": "spike"},
    "slayer.axon.delay": {"Delay": "input"},
    "slayer.axon.delta": {"Delta": "input"},
    "slayer.dendrite.sigma": {"Sigma": "input"},
    "slayer.loss": {
        "SpikeTime": "input desired",
        "SpikeRate": "input label",
        "SpikeMax": "input label",
        "SpikeMoid": "input label",
    },
    "slayer.neuron.dropout": {"Dropout": "input"},
    "slayer.neuron.norm": {"MeanOnlyBatchNorm": "inp", "WgtScaleBatchNorm": "inp"},
    "slayer.synapse.layer": {
        "Dense": "input",
        "Conv": "input",
        "Pool": "input",
        "ConvTranspose": "input",
        "Unpool": "input",
    },
    "slayer.synapse.complex": {"Dense": "input", "Conv": "input", "Pool": "input"},
    **{
        f"slayer.neuron.{kind}": {"Neuron": "input"}
        for kind in ("cuba", "alif", "rf", "rf_iz", "adrf", "adrf_iz", "sigma_delta")
    },
    "snn": {
        "DeltaLeaky": "input_ mem",
        "LinearLeaky": "input_",
        "StateLeaky": "input_",
        "LeakyParallel": "input_",
    },
    "bss2.spiking.transforms.decode": {
        "MaxOverTime": "input",
        "SumOverTime": "input",
        "MeanOverTime": "input",
    },
    "bss2.spiking.transforms.encode": {
        "PixelsToSpikeTimes": "pic",
        "SpikeTimesToDense": "spikes",
        "CoordinatesToSpikes": "coordinate_values",
    },
}
CALLED = {  # functions, methods and what makes an object
    "slayer.axon.delay.delay": "input delay_val sampling_time",
    "slayer.axon.delay.Delay": "sampling_time max_delay grad_scale",
    "slayer.axon.delta.Delta": "threshold scale tau_grad scale_grad cum_error shared_param "
    "persistent_state requires_grad",
    "slayer.classifier.Rate.predict": "spike",
    "slayer.io.Event": "x_event y_event c_event t_event payload",
    "slayer.io.Event.show": "fig frame_rate pre_compute_frames repeat",
    "slayer.loss.SpikeRate": "true_rate false_rate moving_window reduction",
    "slayer.loss.SpikeMax": "moving_window mode reduction",
    "slayer.neuron.cuba.Neuron": "threshold current_decay voltage_decay tau_grad scale_grad scale "
    "norm dropout shared_param persistent_state requires_grad graded_spike",
    "slayer.neuron.cuba.Neuron.dynamics": "input",
    "slayer.neuron.alif.Neuron.dynamics": "input",
    "slayer.neuron.rf.Neuron.dynamics": "input",
    "slayer.neuron.adrf.Neuron.dynamics": "input",
    "slayer.neuron.alif.Neuron.spike": "voltage threshold refractory",
    "slayer.neuron.cuba.Neuron.spike": "voltage",
    "slayer.neuron.norm.MeanOnlyBatchNorm": "num_features momentum pre_hook_fx",
    "slayer.synapse.layer.Dense": "in_neurons out_neurons weight_scale weight_norm pre_hook_fx",
    "slayer.synapse.layer.Conv": "in_features out_features kernel_size stride padding dilation "
    "groups weight_scale weight_norm pre_hook_fx",
    "slayer.utils.int_utils.Q2Zero.backward": "ctx grad_output",
    "slayer.utils.int_utils.right_shift_to_zero": "x bits",
    "slayer.utils.quantize.quantize": "input step mode",
    "slayer.utils.time.replicate.replicate": "input num_steps",
    "slayer.utils.time.shift.shift": "input shift_val sampling_time",
    "bss2.perceptron.nn.scale_input": "x_in",
    "bss2.perceptron.nn.scale_weight": "weight",
    "bss2.perceptron.nn.clamp_weight_": "weight",
    "bss2.spiking.experiment.Experiment.connect": "module input_handles output_handle",
}


def named(path):
    """What ``lavalike.<path>`` is, modules before what packages call the same."""
    parts = path.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["lavalike", *parts[:k]]))
        except ImportError:
            continue
        for part in parts[k:]:
            found = getattr(found, part)
        return found
    raise AssertionError(path)


def taken(function):
    return [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]


@pytest.mark.parametrize("module", FORWARD)
def test_modules_are_called_with_the_peers_keywords(module):
    for name, arguments in FORWARD[module].items():
        had = taken(named(f"{module}.{name}").forward)
        assert had[: len(arguments.split())] == arguments.split(), name


def test_functions_take_the_peers_keywords_in_their_order():
    for name, arguments in CALLED.items():
        wanted = arguments.split()
        assert [a for a in taken(named(name)) if a in wanted] == wanted, name


def test_keywords_reach_what_they_name():
    x = torch.rand(2, 3, 5)
    late = importlib.import_module("lavalike.slayer.axon.delay").delay
    for steps in (late(input=x, delay_val=5, sampling_time=2), late(x, 2.9), late(x, 2)):
        assert torch.equal(steps[..., 2:], x[..., :3])
        assert not steps[..., :2].any()
    assert torch.equal(late(x)[..., 1:], x[..., :-1])
    assert torch.equal(slayer.utils.quantize(input=x, step=0.5), (x * 2).round() / 2)
    again = slayer.utils.time.replicate(x[..., 0], num_steps=4)
    assert torch.equal(again, x[..., :1].expand(2, 3, 4))
    neuron = slayer.neuron.cuba.Neuron(1.0, 0.5, 0.5)
    assert torch.equal(neuron(input=4 * x), neuron(4 * x))
    rf = slayer.neuron.rf.Neuron(1.0, 5, 0.1)
    assert torch.equal(rf(input=(x, x)), rf(x, x))
    label, loss = torch.tensor([0, 1]), slayer.loss.SpikeRate(0.2, 0.03)
    assert torch.equal(loss(input=x, label=label), loss(x, label))
    assert slayer.axon.Delay(channels=2).to("meta").device.type == "meta"
    assert spiking.transforms.decode.SumOverTime()(input=x).shape == (3, 5)
    assert bss2.perceptron.nn.scale_weight(weight=x).max() == pytest.approx(63)


def test_layers_take_an_execution_instance_and_a_chip():
    e, here = spiking.Experiment(), spiking.ExecutionInstance()

    def twice(x):
        return 2 * x

    for layer in (spiking.HXModule(e, here), spiking.HXModule(e, execution_instance=here)):
        assert layer.execution_instance is here
        assert layer.func is None
    for layer in (spiking.HXModule(e, twice), spiking.HXModule(e, here, (0, 0), twice)):
        assert layer.func is twice
    with pytest.raises(TypeError, match="two functions are given"):
        spiking.HXModule(e, twice, func=twice)
    source = spiking.InputNeuron(3, e, here, chip_coordinate=(0, 0))
    assert (source.execution_instance, source.chip_coordinate) == (here, (0, 0))
    with pytest.raises(InputError, match=r"one, 0; got \(0, 1\)"):
        spiking.LIF(3, e, chip_coordinate=(0, 1))


def test_a_chip_by_its_number_and_by_its_pair_are_one():
    e = spiking.Experiment(chip=bss2.Chip(seed=3, level="ideal"), dt=1e-6)
    synapse = spiking.Synapse(2, 3, e, chip_coordinate=(0, 0))
    lif = spiking.LIF(3, e, chip_coordinate=0, tau_mem=1e-5, tau_syn=1e-5)
    out = lif(synapse(spiking.Handle(torch.ones(20, 1, 2))))
    spiking.run(e, 20)
    assert out.spikes.shape[1:] == (1, 3)


def test_snntorchs_names_of_losses_and_quantisation():
    of = snn.functional
    for name in ("SpikeTime", "ce_temporal_loss", "mse_temporal_loss"):
        assert getattr(of.loss, name) is getattr(of, name)
    assert not hasattr(of.loss, "ce_spatial_loss")
    x = torch.tensor([-1.0, 0.2, 0.6, 9.0], requires_grad=True)
    y = of.quant.StateQuant.apply(x, torch.tensor([1.0, 0.0, 0.4]))
    assert y.tolist() == torch.tensor([0, 0, 0.4, 1]).tolist()
    (y * x.detach()).sum().backward()
    assert torch.equal(x.grad, x.detach())


def test_lists_of_all_neurons_are_refused_with_what_there_is():
    for neuron in (snn.Leaky, snn.RSynaptic, snn.SLSTM, snn.Alpha(0.9, 0.8)):
        with pytest.raises(InputError, match=r"reset_hidden: no list .* snn\.reset\(net\)"):
            neuron.reset_hidden()
        with pytest.raises(InputError, match=r"detach_hidden: no list .* snn\.detach\(net\)"):
            neuron.detach_hidden()


def test_devices_and_shapes_that_differ_are_told_with_layer_and_shape():
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.5}
    block, x = slayer.block.cuba.Dense(params, 4, 3), torch.ones(2, 4, 5)
    block.neuron.to("meta")
    with pytest.raises(InputError, match=r"cuba.Neuron: .* is on meta, the .* \(2, 3, 5\) on cpu"):
        block(x)
    block.synapse.to("meta")
    with pytest.raises(InputError, match=r"synapse.Dense: .* \(2, 4, 5\) is on cpu, the weight on"):
        block(x)
    state = slayer.block.cuba.Dense(params, 4, 3).state_dict()
    net = torch.nn.Sequential(slayer.block.cuba.Dense(params, 4, 3))
    for key, label in (
        ("neuron.current_decay", "cuba.Neuron"),
        ("synapse.weight", "synapse.Dense"),
    ):
        wrong = {f"0.{k}": v for k, v in state.items()} | {f"0.{key}": torch.ones(7)}
        name = key.split(".")[1]
        with pytest.raises(
            InputError, match=rf"{label} '0\.\w+': {name} .* has shape \(7,\), here"
        ):
            net.load_state_dict(wrong)
