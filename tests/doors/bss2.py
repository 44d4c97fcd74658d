"""BrainScaleS-2, emulated: hxtorch's words."""

import tempfile
from pathlib import Path

import torch

from lavalike import bss2
from lavalike.bss2 import perceptron, snn, spiking
from tests.doors.table import (
    ANY,
    CHOICE,
    COUNT,
    FLAG,
    FRACTION,
    FUNCTION,
    INDEX,
    INF,
    INTEGER,
    NAN,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    REAL,
    bad,
    optional,
    row,
)

FOLDER = Path(tempfile.mkdtemp())

# -- the chip --------------------------------------------------------------------------------------------------

SPREADS = (
    "column_gain",
    "column_offset",
    "row_gain",
    "trial",
    "pulse_offset",
    "leak",
    "reset",
    "threshold",
    "threshold_trial",
    "tau_mem",
    "tau_syn",
    "efficacy",
    "cadc",
    "jitter",
)

# -- perceptron mode -------------------------------------------------------------------------------------------

X, W = torch.ones(2, 4), torch.ones(4, 3)
NAN_X = torch.full((2, 4), NAN)
OPERAND = bad("x", None, 3)
SENDS = {"num_sends": COUNT, "wait_between_events": COUNT, "mock": FLAG}
MADC = {"madc_recording_neuron_id": INDEX, "madc_recording_path": bad(3)}
LAYER = {"layer": bad(3)}
STRIDE = bad("1", 1.5, None, values=(0,))
CONV = {"input": OPERAND, "weight": OPERAND, "bias": bad("x", 3), "stride": STRIDE, **SENDS, **LAYER}
TRANSFORMS = {"input_transform": bad(3, "x"), "weight_transform": bad(3, "x")}
MAC = {"num_sends": optional(COUNT), "wait_between_events": COUNT, "mock": FLAG, **TRANSFORMS}
LAYERS = {
    "in_channels": COUNT,
    "out_channels": COUNT,
    "kernel_size": bad("3", 1.5, None, values=(0,)),
    "stride": STRIDE,
    "padding": bad(1.5, None, values=(-1,)),
    "dilation": bad("1", 1.5, None, values=(0,)),
    "groups": COUNT,
    "bias": FLAG,
    "padding_mode": CHOICE,
    **MAC,
}
ONE_D = {"input": torch.ones(1, 2, 6), "weight": torch.ones(3, 2, 3), "mock": True}
TWO_D = {"input": torch.ones(1, 2, 6, 6), "weight": torch.ones(3, 2, 3, 3), "mock": True}
CHANNELS = {"in_channels": 2, "out_channels": 3, "kernel_size": 3}

# -- spiking mode ----------------------------------------------------------------------------------------------


def experiment(**sizes):
    return lambda: {**sizes, "experiment": spiking.Experiment(mock=True)}


def instance(**sizes):
    return lambda: {**sizes, "instance": snn.Instance(mock=True)}


EXPERIMENT = {"experiment": bad(3, None)}


def called():
    """An experiment with a layer that waits to be run."""
    experiment = spiking.Experiment(mock=True)
    synapse, lif = spiking.Synapse(3, 2, experiment), spiking.LIF(2, experiment)
    lif(synapse(spiking.LIFObservables(spikes=torch.zeros(4, 1, 3))))
    return {"experiment": experiment}


def trace():
    """A recorded chain, and what goes into it."""
    path = FOLDER / "chain"
    tracer = perceptron.InferenceTracer(str(path))
    tracer.start()
    perceptron.relu(X, mock=True)
    tracer.stop()
    return {"input": X, "filename": str(path)}


VALUE = bad("x", None, values=(NAN,))
LI = {
    "size": COUNT,
    **EXPERIMENT,
    **dict.fromkeys(("leak", "tau_syn", "tau_mem", "i_synin_gm", "synapse_dac_bias"), VALUE),
    "membrane_capacitance": optional(VALUE),
}
LI |= {
    "method": CHOICE,
    "alpha": POSITIVE,
    "execution_instance": bad(3, "x"),
    "chip_coordinate": bad("0", 1.5, values=(-1,)),
    **dict.fromkeys(
        (
            "enable_spike_recording",
            "enable_cadc_recording",
            "enable_cadc_recording_placement_in_dram",
            "enable_madc_recording",
            "shift_cadc_to_first",
        ),
        FLAG,
    ),
    "cadc_readout_source": ANY,
    "madc_readout_source": ANY,
    "placement_constraint": ANY,  # handed to hxtorch as they are
    "record_neuron_id": bad("0", 1.5),
    "trace_offset": REAL,
    "trace_scale": POSITIVE,
    "cadc_time_shift": INTEGER,
    "interpolation_mode": CHOICE,
    "neuron_structure": bad("1", 1.5, values=(0,)),
    "parameters": ANY,  # made by the layer
}
LIF = LI | dict.fromkeys(("reset", "threshold", "refractory_time", "holdoff_time"), VALUE)
ADEX = LIF | dict.fromkeys(
    ("exponential_slope", "exponential_threshold", "subthreshold_adaptation_strength", "spike_triggered_adaptation_increment", "tau_adap"),
    VALUE,
)
ADEX |= {"leak_adaptation": optional(VALUE), "clock_scale_adaptation_pulse": bad(3, "x", None)}
ADEX |= dict.fromkeys(("leaky", "fire", "exponential", "subthreshold_adaptation", "spike_triggered_adaptation"), FLAG)
SYNAPSE = {
    **EXPERIMENT,
    "execution_instance": bad(3, "x"),
    "chip_coordinate": bad("0", 1.5, values=(-1,)),
    "device": bad(1.5),
    "dtype": bad(3, "x"),
    "transform": FUNCTION,
    "plasticity_rule": bad(3),
}

ROWS = [
    row(
        "lavalike.bss2.Chip",
        {},
        seed=INTEGER,
        level=CHOICE,
        calibrated=FLAG,
        noise=bad(3, None),
        gain=POSITIVE,
        chips=COUNT,
        calibration=bad(3, "x"),
    ),
    row(
        "lavalike.bss2.Noise",
        {},
        **dict.fromkeys(SPREADS, NOT_NEGATIVE),
        floor=bad(3, "x", None, values=((1.0, NAN),)),
        knee=bad("1", values=(NAN,)),
    ),
    row(
        "lavalike.bss2.calibrate",
        lambda: {"chip": bss2.Chip(seed=1, calibrated=False), "repetitions": 2},
        chip=bad(3, None),
        target=bad(3),
        repetitions=COUNT,
        seed=INTEGER,
    ),
    row("lavalike.bss2.use", lambda: {"chip": bss2.Chip(level="ideal")}, chip=bad(3, None)),
    row(
        "lavalike.bss2.place",
        lambda: {"model": torch.nn.Sequential(perceptron.nn.Linear(4, 3)), "input_shape": (4,)},
        model=bad(3, None),
        input_shape=bad("3", 2.5, values=((0,),)),
        chips=COUNT,
        batch=COUNT,
    ),
    row("lavalike.bss2.CalibrationPath", {"value": "x"}, value=PATH),
    row("lavalike.bss2.HWDBPath", {}, path=bad(3), version=bad(3)),
    row("lavalike.bss2.MockParameter", {}, noise_std=NOT_NEGATIVE, gain=POSITIVE),
    row("lavalike.bss2.set_mock_parameter", {"parameter": bss2.MockParameter()}, parameter=bad(3, None)),
    row("lavalike.bss2.InferenceTracer", {"filename": str(FOLDER / "trace")}, filename=PATH),
    row("lavalike.bss2.inference_trace", trace, input=OPERAND, filename=PATH),
    row("lavalike.bss2.add", {"input": X, "other": X, "mock": True}, input=OPERAND, other=bad("x", None), alpha=REAL, mock=FLAG),
    row("lavalike.bss2.argmax", {"input": X, "mock": True}, input=OPERAND, dim=bad("1", 1.5, values=(7,)), keepdim=FLAG, mock=FLAG),
    row("lavalike.bss2.relu", {"input": X, "mock": True}, input=OPERAND, mock=FLAG),
    row("lavalike.bss2.converting_relu", {"input": X, "mock": True}, input=OPERAND, shift=INDEX, mock=FLAG),
    row(
        "lavalike.bss2.mac",
        {"x": X, "weights": W, "mock": True},
        x=bad("x", None, values=(NAN_X,)),
        weights=OPERAND,
        **SENDS,
        **MADC,
        **LAYER,
    ),
    row(
        "lavalike.bss2.matmul",
        {"input": X, "other": W, "mock": True},
        input=bad("x", None, values=(NAN_X,)),
        other=OPERAND,
        **SENDS,
        **MADC,
        **LAYER,
    ),
    row("lavalike.bss2.conv1d", ONE_D, **CONV),
    row("lavalike.bss2.conv2d", TWO_D, **CONV),
    row("lavalike.bss2.expanded_conv1d", ONE_D, **CONV, num_expansions=COUNT),
    row("lavalike.bss2.ann.mock_mode", {"mock": True}, mock=bad("x")),
    row("lavalike.bss2.ann.observe", {}, model=bad(3, "x")),
    row(
        "lavalike.bss2.perceptron.nn.Linear",
        {"in_features": 4, "out_features": 3},
        in_features=COUNT,
        out_features=COUNT,
        bias=FLAG,
        avg=COUNT,
        **MAC,
    ),
    row("lavalike.bss2.perceptron.nn.Conv1d", CHANNELS, **LAYERS),
    row("lavalike.bss2.perceptron.nn.Conv2d", CHANNELS, **LAYERS),
    row("lavalike.bss2.perceptron.nn.ExpandedConv1d", CHANNELS, **LAYERS, num_expansions=optional(COUNT)),
    row("lavalike.bss2.perceptron.nn.ReLU", {}, mock=FLAG),
    row("lavalike.bss2.perceptron.nn.ConvertingReLU", {}, shift=INDEX, mock=FLAG),
    row("lavalike.bss2.perceptron.nn.scale_input", {"x": X}, x=OPERAND),
    row("lavalike.bss2.perceptron.nn.scale_weight", {"w": W}, w=OPERAND),
    row("lavalike.bss2.perceptron.nn.clamp_weight_", {"w": W}, w=OPERAND),
    row("lavalike.bss2.spiking.Experiment", {}, mock=FLAG, dt=bad("1", None, values=(0.0, NAN, INF)), hw_routing_func=bad(3), chip=bad(3)),
    row("lavalike.bss2.spiking.ExecutionInstance", {}, calib_path=bad(3), calib_cache_dir=bad(3), input_loopback=FLAG, name=bad(3)),
    row("lavalike.bss2.spiking.InputNeuron", experiment(size=3), size=COUNT, **EXPERIMENT),
    row("lavalike.bss2.spiking.SpikeSource", experiment(size=3), size=COUNT, **EXPERIMENT),
    row("lavalike.bss2.spiking.LI", experiment(size=3), **LI),
    row("lavalike.bss2.spiking.LIF", experiment(size=3), **LIF),
    row("lavalike.bss2.spiking.AELIF", experiment(size=3), **ADEX),
    row("lavalike.bss2.spiking.NeuronExp", experiment(size=3), **LIF),
    row("lavalike.bss2.spiking.ReadoutNeuronExp", experiment(size=3), **LI),
    row("lavalike.bss2.spiking.BatchDropout", experiment(size=3, dropout=0.5), size=COUNT, dropout=FRACTION, **EXPERIMENT),
    row("lavalike.bss2.spiking.Synapse", experiment(in_features=3, out_features=2), in_features=COUNT, out_features=COUNT, **SYNAPSE),
    row("lavalike.bss2.spiking.SparseSynapse", experiment(connections=torch.eye(3).to_sparse()), connections=OPERAND, **SYNAPSE),
    row(
        "lavalike.bss2.spiking.run",
        called,
        experiment=bad(3, None),
        runtime=optional(COUNT),
    ),
    row("lavalike.bss2.spiking.ModelParameter", {"model_value": 1.0}, model_value=VALUE),
    row("lavalike.bss2.spiking.HXParameter", {"model_value": 1.0}, model_value=VALUE),
    row(
        "lavalike.bss2.spiking.MixedHXModelParameter", {"model_value": 1.0, "hardware_value": 1.0}, model_value=VALUE, hardware_value=VALUE
    ),
    row("lavalike.bss2.spiking.HXTransformedModelParameter", {"model_value": 1.0, "func": abs}, model_value=VALUE, func=FUNCTION),
]
HANDLE = "observables by name, checked when it is made: tests/test_bss2_spiking.py"
OLDER = "the layer of spiking that has a row, in the older spelling"
EXEMPT = {
    "lavalike.bss2.Calibration": "what calibrate returns",
    "lavalike.bss2.Placement": "what place returns",
    "lavalike.bss2.current_chip": "takes no argument",
    "lavalike.bss2.get_mock_parameter": "takes no argument",
    "lavalike.bss2.measure_mock_parameter": "takes no argument",
    "lavalike.bss2.get_unique_identifier": "takes no argument",
    "lavalike.bss2.init_hardware": "needs a chip: tests/test_bss2_hardware.py",
    "lavalike.bss2.init_hardware_minimal": "takes no argument",
    "lavalike.bss2.release_hardware": "takes no argument",
    "lavalike.bss2.ann.Observation": "what observe gives",
    "lavalike.bss2.perceptron.nn.Layer": "base of the layers, which have rows",
    "lavalike.bss2.perceptron.nn.MACLayer": "base of the layers, which have rows",
    "lavalike.bss2.spiking.HXModule": "base of the layers, which have rows",
    "lavalike.bss2.spiking.HXModuleWrapper": "takes modules under names of one's own",
    "lavalike.bss2.spiking.MixinHXModelMapper": "a mixin of torch modules, takes nothing",
    **{f"lavalike.bss2.spiking.{name}": HANDLE for name in ("LIFObservables", "LIObservables", "SynapseHandle", "TensorHandle")},
    "lavalike.bss2.snn.Handle": HANDLE,
    **{f"lavalike.bss2.snn.{name}": OLDER for name in ("AELIF", "BatchDropout", "InputNeuron", "LI", "LIF", "SparseSynapse", "Synapse")},
    "lavalike.bss2.snn.Projection": "base of the synapses, which have rows",
    "lavalike.bss2.snn.CUBALIFParams": "a tuple of LIF's parameters, checked by LIF",
    "lavalike.bss2.snn.CUBALIParams": "a tuple of LI's parameters, checked by LI",
}
