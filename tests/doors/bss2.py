"""BrainScaleS-2, emulated: hxtorch's words."""

from types import SimpleNamespace

import numpy as np
import torch

from lavalike import bss2
from lavalike.bss2 import halco, perceptron, spiking
from lavalike.bss2.placement import Population
from lavalike.bss2.spiking import functional
from lavalike.proc import LIF as LIFProcess, Dense
from tests.doors import table
from tests.doors.table import (
    ANY,
    FOLDER,
    FUNCTION,
    INF,
    NAN,
    OBJECT,
    PATH,
    TEXT,
    also,
    bad,
    optional,
    row,
)

# a bool is no number here, and 2.0 no flag
COUNT, INDEX, INTEGER = also(table.COUNT, True), also(table.INDEX, True), also(table.INTEGER, True)
REAL, POSITIVE, NOT_NEGATIVE = (
    also(b, True, 1j) for b in (table.REAL, table.POSITIVE, table.NOT_NEGATIVE)
)
FRACTION, FLAG, CHOICE = also(table.FRACTION, True), also(table.FLAG, 2.0), also(table.CHOICE, None)

NIR = {
    "nodes": {
        "in": {"type": "Input", "shape": (2,)},
        "w": {"type": "Linear", "weight": np.ones((3, 2))},
        "li": {
            "type": "CubaLI",
            **{name: np.full(3, 0.01) for name in ("tau_mem", "tau_syn", "r", "v_leak")},
        },
        "out": {"type": "Output", "shape": (3,)},
    },
    "edges": [("in", "w"), ("w", "li"), ("li", "out")],
}
SPIKES = torch.ones(4, 1, 3)
GRID = SimpleNamespace(
    nodes={
        "li": SimpleNamespace(
            observables={"spikes": SimpleNamespace(data=np.ones((1, 4, 3)), dt=1e-6)}
        )
    }
)

# -- the chip --------------------------------------------------------------------------------------

HEMISPHERE = also(INDEX, values=(2,))
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
    "correlation",
    "cadc",
    "jitter",
)

# -- perceptron mode -------------------------------------------------------------------------------

X, W = torch.ones(2, 4), torch.ones(4, 3)
OPERAND = bad("x", None, 3, [1.0], np.ones((2, 4)))
INPUTS = also(OPERAND, values=(torch.ones(2, 5), X * NAN, X * 99))
WEIGHTS = also(OPERAND, values=(W[:3], W * 99, W * NAN, torch.ones(2, 2, 2)))
SENDS = {"num_sends": COUNT, "wait_between_events": COUNT, "mock": FLAG}
MADC = {"madc_recording_neuron_id": INDEX, "madc_recording_path": TEXT, "layer": TEXT}
STRIDE = bad("1", 1.5, None, values=(0, (1, 2, 3)))
BIAS = bad("x", 3, [1.0], values=(torch.ones(7),))
CONV = {
    "input": also(OPERAND, values=(torch.ones(2),)),
    "weight": also(OPERAND, values=(torch.ones(2),)),
    "bias": BIAS,
    "stride": STRIDE,
}
CONV |= {**SENDS, "layer": TEXT}
TRANSFORMS = {"input_transform": OBJECT, "weight_transform": OBJECT}
MAC = {"num_sends": optional(COUNT), "wait_between_events": COUNT, "mock": FLAG, **TRANSFORMS}


def layers(dims):
    """Of a convolution's layer, whose sizes are one number or ``dims``."""
    size = bad("3", 1.5, None, values=(0, (2,) * (dims + 1)))
    padding = bad(1.5, None, values=(-1, "smae"))
    sizes = {
        "kernel_size": size,
        "stride": size,
        "padding": padding,
        "dilation": size,
        "groups": COUNT,
    }
    return {
        "in_channels": COUNT,
        "out_channels": COUNT,
        **sizes,
        "bias": FLAG,
        "padding_mode": also(CHOICE, values=("zero",)),
        **MAC,
    }


ONE_D = {"input": torch.ones(1, 2, 6), "weight": torch.ones(3, 2, 3), "mock": True}
TWO_D = {"input": torch.ones(1, 2, 6, 6), "weight": torch.ones(3, 2, 3, 3), "mock": True}
CHANNELS = {"in_channels": 2, "out_channels": 3, "kernel_size": 3}

# -- spiking mode ----------------------------------------------------------------------------------


def experiment(**sizes):
    return lambda: {**sizes, "experiment": spiking.Experiment(mock=True)}


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


VALUE = bad("x", None, True, 1j, [1.0], values=(NAN, torch.tensor(INF)))
ABOVE = also(VALUE, values=(0.0, -1e-6))
NOT_BELOW = also(VALUE, values=(-1e-6,))
PLACED = {"execution_instance": OBJECT, "chip_coordinate": optional(INDEX)}
LI = {
    "size": COUNT,
    **EXPERIMENT,
    **dict.fromkeys(("leak", "i_synin_gm", "synapse_dac_bias"), VALUE),
    **dict.fromkeys(("tau_syn", "tau_mem"), ABOVE),
    "membrane_capacitance": optional(ABOVE),
    **dict.fromkeys(("reset", "threshold"), optional(VALUE)),
    **dict.fromkeys(("refractory_time", "holdoff_time"), optional(NOT_BELOW)),
    "method": also(CHOICE, values=("superspikes",)),
    "alpha": POSITIVE,
    # a layer that does not fire records no spikes: refused by name, whatever it is
    "enable_spike_recording": bad(True),
    **PLACED,
    **dict.fromkeys(
        (
            "enable_cadc_recording",
            "enable_cadc_recording_placement_in_dram",
            "enable_madc_recording",
            "shift_cadc_to_first",
        ),
        FLAG,
    ),
    "cadc_readout_source": ANY,  # handed to hxtorch as they are
    "madc_readout_source": ANY,
    "placement_constraint": bad(3, "abc", (1, 2, True), values=([1], (1, 2, 512))),
    "record_neuron_id": bad("0", 1.5, True, values=(-1, 3)),  # of three
    "trace_offset": optional(REAL),
    "trace_scale": optional(POSITIVE),
    "cadc_time_shift": REAL,
    "interpolation_mode": also(CHOICE, values=("lineer",)),
    "neuron_structure": optional(COUNT),
}
LIF = LI | {
    **dict.fromkeys(("reset", "threshold"), VALUE),
    **dict.fromkeys(("refractory_time", "holdoff_time"), NOT_BELOW),
    "method": also(CHOICE, values=("superspikes",)),
    "alpha": POSITIVE,
    "enable_spike_recording": FLAG,
}
ADEX = LIF | dict.fromkeys(
    (
        "exponential_threshold",
        "subthreshold_adaptation_strength",
        "spike_triggered_adaptation_increment",
    ),
    VALUE,
)
ADEX |= {"exponential_slope": ABOVE, "tau_adap": ABOVE, "leak_adaptation": optional(VALUE)}
ADEX |= {"clock_scale_adaptation_pulse": bad(5, "x", None, (1.5, 2), values=((1,), (-1, 2)))}
ADEX |= dict.fromkeys(
    ("leaky", "fire", "exponential", "subthreshold_adaptation", "spike_triggered_adaptation"), FLAG
)
SYNAPSE = {
    **EXPERIMENT,
    **PLACED,
    "device": bad(1.5, [], values=("gpu zero",)),
    "dtype": bad(3, "float32"),
    "transform": FUNCTION,
    "plasticity_rule": bad(3, "x", [1]),
}
CUBA = {"tau_mem_inv": 1e5, "tau_syn_inv": 1e5}
RATE = bad("x", None, values=(NAN, 0.0, [1.0, -1.0]))  # arrays are numbers here
VOLTAGE = bad("x", None, values=(NAN,))
OF_CUBA = {"tau_mem_inv": RATE, "tau_syn_inv": RATE, "v_leak": VOLTAGE}
TRACE = torch.ones(3, 1, 2)  # (time, batch, neuron)
OBSERVABLE = bad("x", 3, [1.0])
EXTERNAL = {
    "input": bad(3, None, values=(torch.ones(2),)),
    "hw_data": OBJECT,
    "dt": bad("1", None, True, values=(0.0, 1.0, NAN)),
}
OLDER = {"instance": OBJECT}
FUNC = {"func": OBJECT, "params": OBJECT}
FEATURES = {"in_features": 3, "out_features": 2}
CONNECTIONS = also(OPERAND, values=(torch.ones(3),))


ARRIVING = bad(3, None, (1,), values=(torch.ones(2),))
VOLTAGES = {"leak": 0.0, "reset": 0.0, "threshold": 1.0}
KEPT = {"tau_syn_exp": 0.9, "tau_mem_exp": 0.8}
STEP_FLAGS = functional.STEP_FLAGS
ADEX_NUMBERS = VOLTAGES | {
    **dict.fromkeys(("tau_syn", "c_mem", "tau_adap"), 1e-5),
    **dict.fromkeys(("g_l", "exp_slope", "exp_threshold"), 1.0),
    "subthreshold_adaptation_strength": 1.0,
    "spike_triggered_adaptation_increment": 0.1,
    "refractory_time": 0.0,
    "method": "superspike",
    "alpha": 50.0,
}


SMALL = {"params": {}, "neuron_structure": spiking.morphology.SingleCompartmentNeuron(128)}


class Mapped(spiking.MixinHXModelMapper, torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 3)


def calibration():
    """A calibration's file."""
    path = FOLDER / "calibration"
    if not path.exists():
        bss2.calibrate(bss2.Chip(seed=1, calibrated=False), repetitions=2).save(path)
    return {"path": path}


def process():
    """A graph that lies on a chip."""
    dense, lif = Dense(weights=np.eye(3)), LIFProcess(shape=(3,), vth=1, du=0.1, dv=0.1)
    dense.a_out.connect(lif.a_in)
    return {"process": lif}


ROWS = [
    row(
        "lavalike.bss2.Chip",
        {},
        seed=also(INTEGER, values=(-1,)),
        level=also(CHOICE, values=("emulatd",)),
        calibrated=FLAG,
        noise=bad(3, None),
        gain=also(POSITIVE, values=(2,)),
        chips=COUNT,
        calibration=bad(3, "file"),
    ),
    *(
        row(f"lavalike.bss2.Chip.{name}", {"hemisphere": 0}, bss2.Chip, hemisphere=HEMISPHERE)
        for name in ("columns", "rows", "efficacy", "correlation")
    ),
    row("lavalike.bss2.Chip.neighbour", {"k": 1}, bss2.Chip, k=INDEX),
    row(
        "lavalike.bss2.Noise",
        {},
        **dict.fromkeys(SPREADS, NOT_NEGATIVE),
        floor=bad(-100, "ab", None, (None, 1), values=((1.0, NAN), (1, 2), (-100,), (NAN, -90))),
        knee=bad("1", True, values=(5, NAN)),
    ),
    row(
        "lavalike.bss2.calibrate",
        lambda: {"chip": bss2.Chip(seed=1, calibrated=False), "repetitions": 2},
        chip=bad(3, None, values=(bss2.Chip(level="ideal"),)),
        target=bad(3),
        repetitions=also(COUNT, values=(1,)),
        seed=also(INTEGER, values=(-1,)),
    ),
    row(
        "lavalike.bss2.chip.calibration.OperatingPoint",
        {},
        **dict.fromkeys(("leak", "reset", "threshold"), also(REAL, values=(1000,))),
        **dict.fromkeys(("tau_mem", "tau_syn"), also(POSITIVE, values=(1.0,))),
    ),
    row(
        "lavalike.bss2.Calibration.load",
        calibration,
        path=also(PATH, values=("not/there",)),
        chip=OBJECT,
    ),
    row(
        "lavalike.bss2.Calibration.save",
        {"path": FOLDER / "saved"},
        lambda: bss2.Calibration.load(calibration()["path"]),
        path=PATH,
    ),
    row(
        "lavalike.bss2.use",
        lambda: {"chip": bss2.Chip(level="ideal")},
        chip=bad(3, None, bss2.Chip),
    ),
    row(
        "lavalike.bss2.place",
        lambda: {"model": torch.nn.Sequential(perceptron.nn.Linear(4, 3)), "input_shape": (4,)},
        model=bad(3, None),
        input_shape=bad("3", 2.5, None, values=((0,), (3,))),
        chips=COUNT,
        batch=COUNT,
    ),
    row(
        "lavalike.bss2.placement.Population",
        {"name": "a", "size": 2, "fan_in": 3},
        name=TEXT,
        size=COUNT,
        fan_in=INDEX,
        recurrent=FLAG,
        circuits=bad("1", 1.5, values=(-1,)),
        instance=TEXT,
        sources=bad(3, (3,)),
        inputs=optional(INDEX),
        chip=optional(INDEX),
        places=bad(3, (1.5, 2), values=((1,), (1, 512))),
    ),
    row(
        "lavalike.bss2.placement.place_populations",
        {"populations": [Population("a", 2, 3)]},
        populations=bad(3, ["a"], None, values=([],)),
        chips=COUNT,
    ),
    row(
        "lavalike.bss2.placement.tiles", {"k": 2, "n": 3}, k=COUNT, n=COUNT, layer=TEXT, chips=COUNT
    ),
    row("lavalike.bss2.placement.circuits", {"fan_in": 3}, fan_in=INDEX),
    row("lavalike.bss2.placement.neurons_per_chip", {"c": 1}, c=also(COUNT, values=(513,))),
    row(
        "lavalike.backends.bss2.place_process",
        process,
        process=bad(3, "a", None),
        chips=COUNT,
        config=OBJECT,
    ),
    row("lavalike.bss2.CalibrationPath", {"value": "x"}, value=also(PATH, values=("a\0b",))),
    row("lavalike.bss2.HWDBPath", {}, path=bad(3, values=("",)), version=bad(3, None)),
    row(
        # values are looked at where they are set, as hxtorch does
        "lavalike.bss2.MockParameter",
        {},
        noise_std=bad("1", None, True, 1j),
        gain=bad("1", None, True, 1j),
    ),
    row(
        "lavalike.bss2.set_mock_parameter",
        {"parameter": bss2.MockParameter()},
        parameter=bad(3, 0.002, None),  # values: tests/test_bss2_perceptron.py
    ),
    row("lavalike.bss2.InferenceTracer", {"filename": str(FOLDER / "trace")}, filename=PATH),
    row(
        "lavalike.bss2.inference_trace",
        trace,
        input=OPERAND,
        filename=also(PATH, values=("not/there",)),
    ),
    row(
        "lavalike.bss2.add",
        {"input": X, "other": X, "mock": True},
        input=OPERAND,
        other=also(OPERAND, values=(torch.ones(3),)),
        alpha=also(REAL, values=(2,)),
        mock=FLAG,
    ),
    row(
        "lavalike.bss2.argmax",
        {"input": X, "mock": True},
        input=also(OPERAND, values=(torch.ones(0),)),
        dim=bad("1", 1.5, values=(2, -3, 7)),
        keepdim=FLAG,
        mock=FLAG,
    ),
    row("lavalike.bss2.relu", {"input": X, "mock": True}, input=OPERAND, mock=FLAG),
    row(
        "lavalike.bss2.converting_relu",
        {"input": X, "mock": True},
        input=OPERAND,
        shift=INDEX,
        mock=FLAG,
    ),
    row(
        "lavalike.bss2.mac",
        {"x": X, "weights": W, "mock": True},
        x=INPUTS,
        weights=also(WEIGHTS, values=(W[0],)),
        **SENDS,
        **MADC,
    ),
    row(
        "lavalike.bss2.matmul",
        {"input": X, "other": W, "mock": True},
        input=INPUTS,
        other=WEIGHTS,
        **SENDS,
        **MADC,
    ),
    row("lavalike.bss2.conv1d", ONE_D, **CONV),
    row("lavalike.bss2.conv2d", TWO_D, **CONV),
    row("lavalike.bss2.expanded_conv1d", ONE_D, **CONV, num_expansions=COUNT),
    row("lavalike.bss2.ann.mock_mode", {"mock": True}, mock=bad("yes", 2.0)),
    row("lavalike.bss2.ann.observe", {}, model=OBJECT),
    row("lavalike.bss2.perceptron.nn.Layer", {}, mock=FLAG),
    row("lavalike.bss2.perceptron.nn.MACLayer", {}, **MAC),
    row(
        "lavalike.bss2.perceptron.nn.MACLayer.reset_parameters",
        {},
        lambda: perceptron.nn.Linear(2, 3),
        weight_mean=REAL,
        relu_shift=INDEX,
    ),
    row(
        "lavalike.bss2.perceptron.nn.Linear",
        {"in_features": 4, "out_features": 3},
        in_features=COUNT,
        out_features=COUNT,
        bias=FLAG,
        avg=COUNT,
        **MAC,
    ),
    row("lavalike.bss2.perceptron.nn.Conv1d", CHANNELS, **layers(1)),
    row("lavalike.bss2.perceptron.nn.Conv2d", CHANNELS, **layers(2)),
    row(
        "lavalike.bss2.perceptron.nn.ExpandedConv1d",
        CHANNELS,
        **layers(1),
        num_expansions=optional(COUNT),
    ),
    row("lavalike.bss2.perceptron.nn.ReLU", {}, mock=FLAG),
    row("lavalike.bss2.perceptron.nn.ConvertingReLU", {}, shift=INDEX, mock=FLAG),
    row("lavalike.bss2.perceptron.nn.scale_input", {"x_in": X}, x_in=OPERAND),
    row("lavalike.bss2.perceptron.nn.scale_weight", {"weight": W}, weight=OPERAND),
    row("lavalike.bss2.perceptron.nn.clamp_weight_", {"weight": W}, weight=OPERAND),
    row(
        "lavalike.bss2.spiking.Experiment",
        {},
        mock=FLAG,
        dt=bad("1us", None, True, values=(0.0, -1e-6, 2, NAN, INF)),
        hw_routing_func=OBJECT,
        chip=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.ExecutionInstance",
        {},
        calib_path=optional(PATH),
        calib_cache_dir=optional(PATH),
        input_loopback=FLAG,
        name=TEXT,
    ),
    row(
        "lavalike.bss2.spiking.ExecutionInstance.load_calib",
        {"calib_path": "a"},
        spiking.ExecutionInstance,
        calib_path=PATH,
    ),
    row("lavalike.bss2.spiking.HXModule", experiment(), **EXPERIMENT, **PLACED, func=OBJECT),
    row(
        "lavalike.bss2.spiking.HXModuleWrapper",
        experiment(),
        **EXPERIMENT,
        **dict.fromkeys(("execution_instance", "chip_coordinate", "func"), bad(3, print)),
    ),
    row(
        "lavalike.bss2.spiking.InputNeuron", experiment(size=3), size=COUNT, **EXPERIMENT, **PLACED
    ),
    row(
        "lavalike.bss2.spiking.SpikeSource", experiment(size=3), size=COUNT, **EXPERIMENT, **PLACED
    ),
    row("lavalike.bss2.spiking.LI", experiment(size=3), **LI),
    row("lavalike.bss2.spiking.LIF", experiment(size=3), **LIF),
    row("lavalike.bss2.spiking.AELIF", experiment(size=3), **ADEX),
    row("lavalike.bss2.spiking.NeuronExp", experiment(size=3), **LIF),
    row("lavalike.bss2.spiking.ReadoutNeuronExp", experiment(size=3), **LI),
    row("lavalike.bss2.spiking.modules.EventPropLIF", experiment(size=3), **LIF),
    row(
        "lavalike.bss2.spiking.BatchDropout",
        experiment(size=3, dropout=0.5),
        size=COUNT,
        dropout=FRACTION,
        **EXPERIMENT,
    ),
    row(
        "lavalike.bss2.spiking.Synapse",
        experiment(**FEATURES),
        **dict.fromkeys(FEATURES, COUNT),
        **SYNAPSE,
    ),
    row(
        "lavalike.bss2.spiking.modules.EventPropSynapse",
        experiment(**FEATURES),
        **dict.fromkeys(FEATURES, COUNT),
        **SYNAPSE,
    ),
    row(
        "lavalike.bss2.spiking.SparseSynapse",
        experiment(connections=torch.eye(3).to_sparse()),
        connections=CONNECTIONS,
        **SYNAPSE,
    ),
    row(
        "lavalike.bss2.spiking.ConversionConfig",
        {},
        dt=POSITIVE,
        calib_path=optional(PATH),
        weight_scale=POSITIVE,
        trace_scale=POSITIVE,
        trace_shift=REAL,
        cadc_recording=FLAG,
        mock=FLAG,
        input_loopback=FLAG,
        device=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.from_nir",
        {"graph": NIR},
        graph=ANY,  # a path, a dictionary, or what has nodes and edges; its errors name node and parameter
        cfg=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.to_nir",
        lambda: {"snn": spiking.from_nir(NIR), "input_sample": {"in": torch.ones(3, 1, 2)}},
        snn=bad(3, None, values=(torch.nn.Linear(2, 2),)),
        input_sample=ANY,  # what the network's own forward takes
    ),
    row(
        "lavalike.bss2.spiking.from_nir_data",
        lambda: {"nir_graph_data": GRID, "hxtorch_model": spiking.from_nir(NIR)},
        nir_graph_data=OBJECT,
        hxtorch_model=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.to_nir_data",
        lambda: {"hxtorch_dict": {"li": SPIKES}, "hxtorch_model": spiking.from_nir(NIR)},
        hxtorch_dict=OBJECT,
        hxtorch_model=OBJECT,
    ),
    row("lavalike.bss2.spiking.run", called, experiment=bad(3, None), runtime=optional(COUNT)),
    row(
        "lavalike.bss2.spiking.LIFObservables",
        {},
        **dict.fromkeys(("spikes", "membrane_cadc", "current", "membrane_madc"), OBSERVABLE),
    ),
    row(
        "lavalike.bss2.spiking.LIObservables",
        {},
        **dict.fromkeys(("membrane_cadc", "current", "membrane_madc"), OBSERVABLE),
    ),
    row(
        "lavalike.bss2.spiking.AELIFObservables",
        {},
        **dict.fromkeys((*spiking.AELIFObservables.names,), OBSERVABLE),
    ),
    row(
        "lavalike.bss2.spiking.AELIObservables",
        {},
        **dict.fromkeys((*spiking.AELIObservables.names,), OBSERVABLE),
    ),
    row("lavalike.bss2.spiking.SynapseHandle", {}, graded_spikes=OBSERVABLE),
    row("lavalike.bss2.spiking.TensorHandle", {}, tensor=OBSERVABLE),
    row(
        "lavalike.bss2.spiking.parameter.HXBaseParameter", {"model_value": 1.0}, model_value=VOLTAGE
    ),
    row("lavalike.bss2.spiking.ModelParameter", {"model_value": 1.0}, model_value=VOLTAGE),
    row("lavalike.bss2.spiking.HXParameter", {"value": 1.0}, value=VOLTAGE),
    row(
        "lavalike.bss2.spiking.MixedHXModelParameter",
        {"model_value": 1.0, "hardware_value": 1.0},
        model_value=VOLTAGE,
        hardware_value=VOLTAGE,
    ),
    row(
        "lavalike.bss2.spiking.HXTransformedModelParameter",
        {"model_value": 1.0, "transform_func": abs},
        model_value=VOLTAGE,
        transform_func=FUNCTION,
    ),
    row(
        "lavalike.bss2.spiking.parameter.HXBaseParameter.make_trainable",
        {},
        lambda: spiking.HXParameter(1.0),
        set_on_chip_func=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.MixinHXModelMapper.map_from",
        {"state_dict": Mapped().state_dict(), "mapping": {"weight": "weight", "bias": "bias"}},
        Mapped,
        state_dict=bad(3, None),
        mapping=bad(["a"], None, values=({},)),
        map_all=FLAG,
    ),
    row(
        "lavalike.bss2.spiking.morphology.SingleCompartmentNeuron",
        {"size": 2},
        size=also(COUNT, values=(513,)),
        expand_horizontally=FLAG,
    ),
    row(
        "lavalike.bss2.snn.CUBALIFParams",
        CUBA,
        **OF_CUBA,
        tau_ref=bad("x", None, values=(NAN, -1.0)),
        v_th=VOLTAGE,
        v_reset=VOLTAGE,
        alpha=POSITIVE,
        method=also(CHOICE, values=("superspik",)),
    ),
    row("lavalike.bss2.snn.CUBALIParams", CUBA, **OF_CUBA),
    row(
        "lavalike.bss2.spiking.functional.cuba_lif_integration",
        {"input": TRACE, "params": functional.CUBALIFParams(**CUBA)},
        params=bad(3, functional.CUBALIParams(**CUBA)),
        **EXTERNAL,
    ),
    row(
        "lavalike.bss2.spiking.functional.cuba_li_integration",
        {"input": TRACE, "params": functional.CUBALIParams(**CUBA)},
        params=bad(3, None),
        **EXTERNAL,
    ),
    row(
        "lavalike.bss2.spiking.functional.exp_cuba_lif_integration",
        {"input": TRACE, **VOLTAGES, **KEPT, "method": "superspike", "alpha": 50.0},
        input=ARRIVING,
        **dict.fromkeys(VOLTAGES, VOLTAGE),
        **dict.fromkeys(KEPT, RATE),
        method=also(CHOICE, values=("superspik",)),
        alpha=POSITIVE,
        hw_data=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.functional.exp_cuba_li_integration",
        {"input": (TRACE, TRACE), "leak": 0.0, **KEPT},
        input=ARRIVING,
        leak=VOLTAGE,
        **dict.fromkeys(KEPT, RATE),
        hw_data=OBJECT,
    ),
    row("lavalike.bss2.spiking.functional.CuBaStepCode", {}, **dict.fromkeys(STEP_FLAGS, FLAG)),
    row(
        "lavalike.bss2.spiking.functional.cuba_aelif_integration",
        lambda: {
            "input": TRACE,
            **ADEX_NUMBERS,
            "integration_step_code": functional.CuBaStepCode().generate(),
        },
        input=ARRIVING,
        **dict.fromkeys(VOLTAGES, VOLTAGE),
        **dict.fromkeys(
            (
                "exp_threshold",
                "subthreshold_adaptation_strength",
                "spike_triggered_adaptation_increment",
            ),
            VOLTAGE,
        ),
        **dict.fromkeys(("tau_syn", "c_mem", "exp_slope", "tau_adap"), RATE),
        g_l=optional(RATE),
        refractory_time=bad("x", None, values=(NAN, -1.0)),
        method=also(CHOICE, values=("superspik",)),
        alpha=POSITIVE,
        hw_data=OBJECT,
        dt=EXTERNAL["dt"],
        **dict.fromkeys(functional.TERMS, FLAG),
        integration_step_code=also(TEXT, None, values=("v = v + dv",)),
    ),
    row(
        "lavalike.bss2.spiking.functional.threshold",
        {"input": TRACE, "method": "superspike", "alpha": 50.0},
        input=OPERAND,
        method=also(CHOICE, values=("superspik",)),
        alpha=POSITIVE,
    ),
    row(
        "lavalike.bss2.spiking.functional.linear",
        {"input": X, "weight": W.t()},
        input=OPERAND,
        weight=OPERAND,
        bias=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.functional.linear_sparse",
        {"input": X, "weight": W.t()},
        input=OPERAND,
        weight=OPERAND,
        connections=OBJECT,
        bias=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.functional.linear_exponential_clamp",
        {"inputs": X, "weight": W.t()},
        inputs=OPERAND,
        weight=OPERAND,
        bias=OBJECT,
        cap=POSITIVE,
        start_weight=also(NOT_NEGATIVE, values=(64,)),
        quantize=FLAG,
    ),
    row(
        "lavalike.bss2.spiking.functional.batch_dropout",
        {"input": TRACE, "mask": torch.ones(2)},
        input=OPERAND,
        mask=OPERAND,
    ),
    row(
        "lavalike.bss2.spiking.functional.input_neuron",
        {"input": TRACE},
        input=OPERAND,
        hw_data=OBJECT,
    ),
    row(
        "lavalike.bss2.spiking.datasets.yinyang.YinYangDataset",
        {"size": 3},
        r_small=also(REAL, values=(0.0, 0.3)),
        r_big=also(REAL, values=(0.1,)),
        size=COUNT,
        seed=INDEX,
        transform=OBJECT,
    ),
    *(
        row(
            f"lavalike.bss2.spiking.utils.dynamic_range.{path}",
            SMALL,
            params=bad(3, None),
            calib_path=optional(PATH),
            neuron_structure=OBJECT,
            **more,
        )
        for path, more in {
            "boundary.get_dynamic_range": {},
            "threshold.get_trace_scaling": {},
            "weight_scaling.get_weight_scaling": {"weight_step": COUNT},
        }.items()
    ),
    row("lavalike.bss2.halco.NeuronRowOnDLS", {"value": 1}, value=also(INDEX, values=(2,))),
    row("lavalike.bss2.halco.NeuronColumnOnDLS", {"value": 1}, value=also(INDEX, values=(256,))),
    row(
        "lavalike.bss2.halco.AtomicNeuronOnDLS",
        {"row": halco.NeuronRowOnDLS(0), "column": halco.NeuronColumnOnDLS(1)},
        row=OBJECT,
        column=OBJECT,
    ),
    row(
        "lavalike.bss2.halco.LogicalNeuronOnDLS",
        {
            "compartments": spiking.morphology.SingleCompartmentNeuron(1).compartments,
            "anchor": halco.AtomicNeuronOnDLS(halco.NeuronRowOnDLS(0), halco.NeuronColumnOnDLS(1)),
        },
        compartments=OBJECT,
        anchor=OBJECT,
    ),
    row("lavalike.bss2.logger.get", {"name": "a"}, name=TEXT),
    row(
        "lavalike.bss2.logger.set_loglevel",
        {"logger": bss2.logger.get("tests.doors"), "level": bss2.logger.LogLevel.WARN},
        logger=OBJECT,
        level=bad(10, "INFO"),
    ),
    row(
        "lavalike.bss2.spiking.transforms.encode.PixelsToSpikeTimes",
        {},
        tau=POSITIVE,
        threshold=REAL,
        t_max=REAL,
        epsilon=NOT_NEGATIVE,
    ),
    row(
        "lavalike.bss2.spiking.transforms.encode.SpikeTimesToDense",
        {"bin_width": 1.0},
        bin_width=POSITIVE,
        size=COUNT,
    ),
    row(
        "lavalike.bss2.spiking.transforms.encode.CoordinatesToSpikes",
        {"seq_length": 30, "t_early": 0.0, "t_late": 1e-5},
        seq_length=COUNT,
        t_early=also(NOT_NEGATIVE, values=(-1e-6, 2e-5)),
        t_late=also(NOT_NEGATIVE, values=(1.0,)),
        dt=POSITIVE,
        t_bias=optional(also(NOT_NEGATIVE, values=(1.0,))),
    ),
    row(
        "lavalike.bss2.spiking.transforms.weight_transforms.linear_saturating",
        {"weight": W},
        weight=OPERAND,
        scale=VOLTAGE,
        min_weight=VOLTAGE,
        max_weight=VOLTAGE,
    ),
    row(
        "lavalike.bss2.spiking.transforms.weight_transforms.linear_exponential_clamp",
        {"weight": W},
        weight=OPERAND,
        cap=POSITIVE,
        start_weight=also(NOT_NEGATIVE, values=(64,)),
        quantize=FLAG,
    ),
    row(
        "lavalike.bss2.snn.Synapse",
        experiment(**FEATURES),
        **dict.fromkeys(FEATURES, COUNT),
        **SYNAPSE,
        **FUNC,
        **OLDER,
    ),
    row(
        "lavalike.bss2.snn.SparseSynapse",
        experiment(connections=torch.eye(3)),
        connections=CONNECTIONS,
        **SYNAPSE,
        **FUNC,
        **OLDER,
    ),
    row("lavalike.bss2.snn.LIF", experiment(size=3), **LIF, **FUNC, **OLDER),
    row("lavalike.bss2.snn.LI", experiment(size=3), **LI, **FUNC, **OLDER),
    row("lavalike.bss2.snn.AELIF", experiment(size=3), **ADEX, **FUNC, **OLDER),
    row(
        "lavalike.bss2.snn.BatchDropout",
        experiment(size=3, dropout=0.5),
        size=COUNT,
        dropout=FRACTION,
        **EXPERIMENT,
        **OLDER,
    ),
    row(
        "lavalike.bss2.snn.InputNeuron",
        experiment(size=3),
        size=COUNT,
        **EXPERIMENT,
        **PLACED,
        **OLDER,
    ),
]
INSIDE = "part of a population or a function of snn.functional, which have rows"
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
    "lavalike.bss2.spiking.MixinHXModelMapper": "a mixin of torch modules, takes nothing",
    "lavalike.bss2.snn.Handle": "a handle of any observables; those with names of their own have rows",
    "lavalike.bss2.spiking.modules.Population": "base of the populations, which have rows",
    "lavalike.bss2.spiking.parameter.Plain": "what a population makes of a number it was given, which it checks",
    "lavalike.bss2.spiking.parameter.as_parameter": "makes Plain of what a population was given and checks",
    **dict.fromkeys(
        (
            f"lavalike.bss2.spiking.functional.{name}"
            for name in ("Params", "Decaying", "Recorded", "capacitance", "integrate", "alike")
        ),
        INSIDE,
    ),
    **{
        f"lavalike.bss2.spiking.transforms.decode.{name}OverTime": "takes no argument"
        for name in ("Max", "Mean", "Sum")
    },
    "lavalike.bss2.snn.Projection": "base of the synapses, which have rows",
    "lavalike.bss2.spiking.functional.AnalogObservable": "what is in hw_data, which looks at it",
    "lavalike.bss2.spiking.functional.Keeping": "a kind of module, which nobody makes",
    **{
        f"lavalike.bss2.spiking.functional.EventProp{name}Function": "its apply takes what a layer has looked at"
        for name in ("LIF", "Synapse")
    },
    **{
        f"lavalike.bss2.spiking.utils.calib_helper.{name}": "needs a chip: tests/test_bss2_words.py"
        for name in ("nightly_calib_path", "nightly_calix_native_path")
    },
    "lavalike.bss2.halco.iter_all": "takes one of the kinds listed beside it: tests/test_bss2_words.py",
    "lavalike.bss2.halco.Compartments": "what a SingleCompartmentNeuron is",
    **{
        f"lavalike.bss2.logger.{name}": "as pylogging's: tests/test_bss2_words.py"
        for name in ("LogLevel", "Logger", "append_to_cout", "default_config", "get_root", "reset")
    },
}
