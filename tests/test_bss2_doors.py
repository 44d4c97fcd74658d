"""The doors of lavalike.bss2: a wrong kind is a TypeError, a wrong value a ValueError, both a LavalikeError that names the argument.

A row: what is called, and for each argument values of a wrong kind and wrong values of the right kind. Each row also gets a misspelt
keyword. A public name without a row, or without a reason why it needs none, fails.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from lavalike import bss2
from lavalike.backends.bss2 import place_process
from lavalike.bss2 import Chip, hardware, perceptron as p, placement, snn, spiking
from lavalike.bss2.calibration import Target
from lavalike.bss2.perceptron import nn
from lavalike.bss2.placement import Population, place_populations, tiles
from lavalike.bss2.spiking import functional, morphology, parameter
from lavalike.bss2.spiking.transforms import encode, weight_transforms
from lavalike.errors import LavalikeError

NAN = float("nan")
X, W, IMAGE, KERNEL = torch.ones(2, 4), torch.ones(4, 3), torch.ones(1, 2, 5, 5), torch.ones(3, 2, 2, 2)


@dataclass
class Row:
    """``good``: arguments that work. ``kinds``, ``values``: by argument, what does not. ``bare``: it takes any keyword."""

    good: dict[str, Any]
    kinds: dict[str, list[Any]] = field(default_factory=dict)
    values: dict[str, list[Any]] = field(default_factory=dict)
    bare: bool = False


SENT = Row({}, {"num_sends": ["1", 2.5, True], "wait_between_events": ["1", 2.5], "mock": ["yes", None, 2.0]},
           {"num_sends": [0, -1], "wait_between_events": [0]})


def row(good, kinds=None, values=None, like=None):
    like = like or Row({})
    return Row(good, like.kinds | (kinds or {}), like.values | (values or {}))


FLAGS = ["yes", None, 2.0]
E = spiking.Experiment(mock=True)
OTHERS = {"num_sends": ["1", 2.5, True], "wait_between_events": ["1", 2.5], "mock": FLAGS, "input_transform": [3], "weight_transform": [3]}
LAYER = Row({}, OTHERS, {"num_sends": [0], "wait_between_events": [0]})
NEURON = Row({"size": 3, "experiment": E}, {
    "size": ["3", 2.5, True, None], "experiment": ["e", None], "leak": ["a", None, True, [1.0]], "tau_mem": ["a", 1j], "tau_syn": ["a"],
    "i_synin_gm": ["a"], "synapse_dac_bias": ["a"], "membrane_capacitance": ["a"], "execution_instance": ["a", 3],
    "enable_cadc_recording": FLAGS, "enable_cadc_recording_placement_in_dram": FLAGS, "enable_madc_recording": FLAGS,
    "shift_cadc_to_first": FLAGS, "trace_offset": ["a"], "trace_scale": ["a"], "cadc_time_shift": ["a", 1.5], "interpolation_mode": [3],
    "neuron_structure": ["a", 2.5]}, {
    "size": [0, -1], "leak": [NAN], "tau_mem": [0.0, -1e-6, NAN], "tau_syn": [0.0, float("inf")], "trace_offset": [NAN],
    "trace_scale": [0.0, NAN], "membrane_capacitance": [0.0], "interpolation_mode": ["lineer"], "neuron_structure": [0]})
FIRING = row(NEURON.good, {"threshold": ["a", None], "reset": ["a"], "refractory_time": ["a"], "holdoff_time": ["a"], "method": [3],
                           "alpha": ["a"], "enable_spike_recording": FLAGS},
             {"threshold": [NAN], "refractory_time": [-1.0], "holdoff_time": [-1.0], "method": ["superspikes"], "alpha": [0, NAN]}, NEURON)
SYNAPSE = Row({"in_features": 2, "out_features": 3, "experiment": E}, {
    "in_features": ["2", 2.5], "out_features": ["2", True], "experiment": [None], "execution_instance": [3], "transform": [3],
    "dtype": ["float32"]}, {"in_features": [0], "out_features": [-1]})
SOURCE = Row({"size": 3, "experiment": E}, {"size": ["3", 2.5], "experiment": [3]}, {"size": [0]})


def sizes(n):
    return row({"in_channels": 2, "out_channels": 3, "kernel_size": 2},
               {"in_channels": ["2", 2.5], "out_channels": [None], "kernel_size": ["2", 2.5], "stride": ["a"], "padding": [2.5],
                "dilation": ["a"], "groups": ["a"], "bias": ["yes"], "padding_mode": [3]},
               {"in_channels": [0], "out_channels": [0], "kernel_size": [0, (2,) * (n + 1)], "stride": [0], "padding": [-1, "smae"],
                "dilation": [0], "groups": [0], "padding_mode": ["zero"]}, LAYER)


class Mapped(spiking.MixinHXModelMapper, torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 3)


CONVOLVED = row({"input": IMAGE, "weight": KERNEL, "mock": True}, {"input": [[1.0], None], "weight": [3], "bias": [[1.0]], "stride": ["a"]},
                {"stride": [0, (1, 2, 3)], "input": [torch.ones(2)], "weight": [torch.ones(2)], "bias": [torch.ones(7)]}, SENT)
LINE = row({"input": IMAGE[..., 0], "weight": KERNEL[..., 0], "mock": True}, CONVOLVED.kinds, CONVOLVED.values)

ROWS: dict[Any, Row] = {
    bss2.Chip: Row({}, {"seed": ["1", 1.5, True], "level": [3, None], "calibrated": FLAGS, "noise": [None, 3], "gain": ["a", None],
                        "chips": ["2", 1.5], "calibration": [3, "file"]},
                   {"seed": [-1], "level": ["emulatd"], "gain": [0, 2, NAN], "chips": [0]}),
    bss2.Noise: Row({}, {"trial": ["a", None, True], "column_gain": ["a"], "knee": ["a", True], "floor": [-100, "ab", (None, 1)]},
                    {"trial": [-1, NAN, float("inf")], "knee": [5, NAN], "floor": [(1, 2), (-100,), (NAN, -90)]}),
    bss2.use: Row({"chip": Chip()}, {"chip": [3, None, Chip]}),
    bss2.CalibrationPath: Row({"value": "a"}, {"value": [None, 3]}, {"value": ["", "a\0b"]}),
    bss2.HWDBPath: Row({}, {"path": [3], "version": [3, None]}, {"path": [""]}),
    bss2.init_hardware: Row({}, {"hwdb_path": ["file", 3], "ann": FLAGS}),
    bss2.calibrate: Row({"chip": Chip()}, {"chip": [None, 3], "target": [3], "repetitions": ["a", 2.5], "seed": ["a"]},
                        {"chip": [Chip(level="ideal")], "repetitions": [1], "seed": [-1]}),
    bss2.Calibration.load: Row({"path": "x"}, {"path": [3, None], "chip": [3]}, {"path": ["", "not/there"]}),
    Target: Row({}, {"leak": ["a", None, True]}, {"leak": [10, NAN], "tau_mem": [1.0]}),
    bss2.place: Row({"model": torch.nn.Linear(2, 3), "input_shape": (2,)},
                    {"model": [3, None], "input_shape": ["2", 2.5, None], "chips": ["a", 1.5], "batch": ["a"]},
                    {"input_shape": [(0,), (3,)], "chips": [0], "batch": [0]}),
    # -- perceptron mode
    p.matmul: row({"input": X, "other": W, "mock": True}, {"input": [[1.0], None], "other": [np.ones((4, 3))]},
                  {"input": [torch.ones(2, 5), X * NAN, X * 99], "other": [W[:3], W * 99, W * NAN, torch.ones(2, 2, 2)]}, SENT),
    p.mac: row({"x": X, "weights": W, "mock": True}, {"x": [[1.0]], "weights": [3]}, {"x": [torch.ones(2, 5)], "weights": [W[0]]}, SENT),
    p.conv1d: LINE,
    p.conv2d: CONVOLVED,
    p.expanded_conv1d: row(LINE.good, {"num_expansions": ["a", 1.5]}, {"num_expansions": [0]}, LINE),
    p.add: Row({"input": X, "other": X}, {"input": [3, None], "other": [[1.0]], "alpha": ["1", None], "mock": FLAGS},
               {"alpha": [2, NAN], "other": [torch.ones(3)]}),
    p.argmax: Row({"input": X}, {"input": [3], "dim": ["a", 1.5], "keepdim": ["yes"], "mock": FLAGS},
                  {"dim": [2, -3], "input": [torch.ones(0)]}),
    p.relu: Row({"input": X}, {"input": [3, None, [1.0]], "mock": FLAGS}),
    p.converting_relu: Row({"input": X}, {"input": [3], "shift": ["a", 1.5], "mock": FLAGS}, {"shift": [-1]}),
    p.MockParameter: Row({}, {"gain": ["a", None, True], "noise_std": ["a"]}, {"gain": [0, 2, NAN], "noise_std": [-1, NAN]}),
    p.set_mock_parameter: Row({"parameter": p.MockParameter()}, {"parameter": [None, 0.002]}),
    p.mock_mode: Row({"mock": True}, {"mock": ["yes", 2.0]}),
    p.InferenceTracer: Row({"filename": "a"}, {"filename": [3, None]}, {"filename": [""]}),
    p.inference_trace: Row({"input": X, "filename": "a"}, {"input": [3], "filename": [3]}, {"filename": ["", "not/there"]}),
    p.observe: Row({}, {"model": [3, "a"]}),
    nn.Layer: Row({}, {"mock": FLAGS}),
    nn.MACLayer: LAYER,
    nn.Linear: row({"in_features": 2, "out_features": 3}, {"in_features": ["2", 2.5], "out_features": [True], "bias": ["yes"],
                                                           "avg": ["1"]}, {"in_features": [0], "out_features": [-1], "avg": [0]}, LAYER),
    nn.Conv1d: sizes(1),
    nn.Conv2d: sizes(2),
    nn.ExpandedConv1d: row(sizes(1).good, {"num_expansions": ["a"]}, {"num_expansions": [0]}, sizes(1)),
    nn.ReLU: Row({}, {"mock": FLAGS}),
    nn.ConvertingReLU: Row({}, {"shift": ["a", 1.5], "mock": FLAGS}, {"shift": [-1]}),
    nn.scale_input: Row({"x": X}, {"x": [3, "a"]}),
    nn.scale_weight: Row({"w": X}, {"w": [3, "a"]}),
    nn.clamp_weight_: Row({"w": X}, {"w": [3, "a"]}),
    # -- spiking mode
    spiking.Experiment: Row({}, {"mock": FLAGS, "dt": ["1us", None, True], "chip": [3]}, {"dt": [0, -1e-6, 2, NAN]}),
    spiking.ExecutionInstance: Row({}, {"calib_path": [3], "calib_cache_dir": [3], "input_loopback": FLAGS, "name": [3]},
                                   {"calib_path": [""]}),
    spiking.run: Row({"experiment": E, "runtime": 3}, {"experiment": [None, 3]}),
    spiking.LIF: FIRING,
    spiking.LI: NEURON,
    spiking.AELIF: row(FIRING.good, {"exponential_slope": ["a"], "tau_adap": ["a"], "leaky": FLAGS, "fire": FLAGS, "exponential": FLAGS,
                                     "clock_scale_adaptation_pulse": [5, (1.5, 2)], "subthreshold_adaptation": FLAGS},
                       {"exponential_slope": [0.0], "tau_adap": [0.0], "clock_scale_adaptation_pulse": [(1,), (-1, 2)]}, FIRING),
    spiking.NeuronExp: FIRING,
    spiking.ReadoutNeuronExp: NEURON,
    spiking.Synapse: SYNAPSE,
    spiking.SparseSynapse: Row({"connections": torch.ones(2, 3), "experiment": E},
                               {"connections": [3, [[1.0]]], "experiment": [None], "transform": [3]}, {"connections": [torch.ones(3)]}),
    spiking.SpikeSource: SOURCE,
    spiking.InputNeuron: SOURCE,
    spiking.BatchDropout: row(SOURCE.good | {"dropout": 0.5}, {"dropout": ["a", None]}, {"dropout": [1.5, -0.1, NAN]}, SOURCE),
    spiking.HXModule: Row({"experiment": E}, {"experiment": [None, 3]}),
    spiking.HXModuleWrapper: Row({"experiment": E}, {"experiment": [None, 3], "layer": [3]}, bare=True),
    spiking.LIFObservables: Row({}, {"spikes": [[1.0], 3], "membrane_cadc": ["a"]}),
    spiking.LIObservables: Row({}, {"membrane_cadc": ["a"]}),
    spiking.SynapseHandle: Row({}, {"graded_spikes": [[1.0]]}),
    spiking.TensorHandle: Row({}, {"tensor": [3]}),
    spiking.HXParameter: Row({"model_value": 1.0}, {"model_value": ["a", None]}, {"model_value": [NAN]}),
    spiking.ModelParameter: Row({"model_value": 1.0}, {"model_value": ["a"]}, {"model_value": [NAN]}),
    spiking.MixedHXModelParameter: Row({"model_value": 1.0, "hardware_value": 2.0}, {"model_value": ["a"], "hardware_value": ["a", None]},
                                       {"hardware_value": [NAN]}),
    spiking.HXTransformedModelParameter: Row({"model_value": 1.0, "func": abs}, {"model_value": ["a"], "func": [3]}),
    parameter.HXBaseParameter.make_trainable: Row({"self": spiking.HXParameter(1.0)}, {"set_on_chip_func": [3]}),
    morphology.SingleCompartmentNeuron: Row({"size": 2}, {"size": ["2", 2.5], "expand_horizontally": FLAGS}, {"size": [0, 513]}),
    functional.CUBALIFParams: Row({"tau_mem_inv": 1e5, "tau_syn_inv": 1e5}, {"tau_mem_inv": ["a"], "alpha": ["a"], "method": [3]},
                                  {"tau_mem_inv": [0.0, NAN], "tau_ref": [-1.0], "alpha": [0], "method": ["superspik"]}),
    functional.CUBALIParams: Row({"tau_mem_inv": 1e5, "tau_syn_inv": 1e5}, {"tau_syn_inv": ["a"], "v_leak": ["a"]}, {"tau_syn_inv": [0.0]}),
    functional.cuba_lif_integration: Row({"input": torch.ones(3, 1, 2), "params": functional.CUBALIFParams(1e5, 1e5)},
                                         {"input": [3], "params": [3, functional.CUBALIParams(1e5, 1e5)], "hw_data": [3], "dt": ["a"]},
                                         {"dt": [0, NAN], "input": [torch.ones(2)]}),
    functional.cuba_li_integration: Row({"input": torch.ones(3, 1, 2), "params": functional.CUBALIParams(1e5, 1e5)},
                                        {"input": [3], "params": [3], "dt": ["a"]}, {"dt": [0]}),
    encode.PixelsToSpikeTimes: Row({}, {"tau": ["a"], "threshold": ["a"], "t_max": [None], "epsilon": ["a"]},
                                   {"tau": [0, NAN], "epsilon": [-1]}),
    encode.SpikeTimesToDense: Row({"bin_width": 1.0}, {"bin_width": ["a"], "size": ["a", 2.5]}, {"bin_width": [0, NAN], "size": [0]}),
    encode.CoordinatesToSpikes: Row({"seq_length": 30, "t_early": 0.0, "t_late": 1e-5},
                                    {"seq_length": ["a", 2.5], "t_early": ["a"], "t_late": [None], "dt": ["a"], "t_bias": ["a"]},
                                    {"seq_length": [0], "t_early": [-1e-6, NAN], "t_late": [1.0], "dt": [0], "t_bias": [1.0]}),
    weight_transforms.linear_saturating: Row({"weight": W}, {"weight": [3], "scale": ["a"]}, {"scale": [NAN]}),
    weight_transforms.linear_exponential_clamp: Row({"weight": W}, {"weight": [3], "cap": ["a"], "quantize": FLAGS},
                                                    {"cap": [0, NAN], "start_weight": [64]}),
    # -- the older spelling
    snn.Synapse: row(SYNAPSE.good, {"func": [3]}, None, SYNAPSE),
    snn.LIF: row(FIRING.good, {"func": [3], "params": [3]}, None, FIRING),
    snn.LI: row(NEURON.good, {"func": [3], "params": [3]}, None, NEURON),
    # -- placement, the chip's other doors
    Population: Row({"name": "a", "size": 2, "fan_in": 3},
                    {"name": [3], "size": ["2", 2.5], "fan_in": ["a"], "recurrent": FLAGS, "circuits": [1.5], "instance": [3],
                     "sources": [3, (3,)], "inputs": ["a"], "chip": ["a"]},
                    {"size": [0], "fan_in": [-1], "circuits": [-1], "inputs": [-1], "chip": [-1]}),
    place_populations: Row({"populations": [Population("a", 2, 3)]}, {"populations": [3, ["a"]], "chips": ["a"]},
                           {"populations": [[]], "chips": [0]}),
    tiles: Row({"k": 2, "n": 3}, {"k": ["2"], "n": [2.5], "layer": [3], "chips": [1.5]}, {"k": [0], "n": [0], "chips": [0]}),
    placement.circuits: Row({"fan_in": 3}, {"fan_in": ["a", 2.5]}, {"fan_in": [-1]}),
    placement.neurons_per_chip: Row({"c": 1}, {"c": ["a", 1.5]}, {"c": [0, 513]}),
    Chip.columns: Row({"self": Chip(), "hemisphere": 0}, {"hemisphere": ["a", 0.0]}, {"hemisphere": [2, -1]}),
    Chip.rows: Row({"self": Chip(), "hemisphere": 0}, {"hemisphere": ["a"]}, {"hemisphere": [2, -1]}),
    Chip.efficacy: Row({"self": Chip(), "hemisphere": 0}, {"hemisphere": ["a"]}, {"hemisphere": [2, -1]}),
    Chip.neighbour: Row({"self": Chip(), "k": 0}, {"k": ["a", 1.5]}, {"k": [-1]}),
    nn.MACLayer.reset_parameters: Row({"self": nn.Linear(2, 3)}, {"weight_mean": ["a"], "relu_shift": ["a", 1.5]},
                                      {"weight_mean": [NAN], "relu_shift": [-1]}),
    hardware.convert: Row({"model": torch.nn.Linear(2, 3)}, {"model": [3], "mock": ["yes"]}),
    spiking.ExecutionInstance.load_calib: Row({"self": spiking.ExecutionInstance(), "path": "a"}, {"path": [3, None]}, {"path": [""]}),
    Mapped.map_from: Row({"self": Mapped(), "state_dict": {}, "mapping": {}}, {"state_dict": [3], "mapping": [["a"]], "map_all": FLAGS},
                         {"mapping": [{}]}),
    place_process: Row({"process": None}, {"process": [3, "a"]}),
}
NO_ROW = {  # what takes nothing of a user's that could be wrong
    "facts", "LEVELS", "current_chip", "HXBaseParameter", "as_parameter", "EmulatedChipWarning", "get_unique_identifier",
    "init_hardware_minimal",
    "release_hardware",
    "CalibrationError", "NoChipError", "OperandError", "RangeError", "RecordingError", "RoutingError", "Placement", "Calibration",
    "get_mock_parameter", "measure_mock_parameter", "Observation", "Handle", "MixinHXModelMapper", "snn", "perceptron", "spiking", "ann",
    "core", "nn", "hardware", "functional", "modules", "morphology", "parameter", "transforms",
}


def cases(kind):
    return list(_cases(kind))


def _cases(kind):
    for door, r in ROWS.items():
        for name, values in getattr(r, kind).items():
            for value in values:
                yield pytest.param(door, r, name, value, id=f"{door.__qualname__}-{name}-{str(value)[:12]!r}")


def call(door, given):
    """``door(**given)``; what is a context manager is entered."""
    given = dict(given)
    made = door(given.pop("self"), **given) if "self" in given else door(**given)
    if hasattr(made, "__enter__") and not isinstance(made, torch.Tensor):
        made.__enter__()
    return made


@pytest.mark.parametrize(("door", "row_", "name", "value"), cases("kinds"))
def test_wrong_kinds(door, row_, name, value):
    with pytest.raises(LavalikeError) as caught:
        call(door, row_.good | {name: value})
    assert isinstance(caught.value, TypeError), repr(caught.value)
    assert name.lower() in str(caught.value).lower(), str(caught.value)


@pytest.mark.parametrize(("door", "row_", "name", "value"), cases("values"))
def test_wrong_values(door, row_, name, value):
    with pytest.raises(LavalikeError) as caught:
        call(door, row_.good | {name: value})
    assert isinstance(caught.value, ValueError), repr(caught.value)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize(("door", "row_"), [pytest.param(d, r, id=d.__qualname__) for d, r in ROWS.items() if not r.bare])
def test_a_misspelt_keyword_is_told_with_the_right_one(door, row_):
    name = next(n for n in [*row_.kinds, *row_.good] if n != "self")
    wrong = name[:-1] + "x" + name[-1]
    with pytest.raises(LavalikeError, match=wrong) as caught:
        call(door, {n: v for n, v in row_.good.items() if n != name} | {wrong: row_.good.get(name)})
    assert isinstance(caught.value, TypeError)
    assert f"did you mean {name!r}" in str(caught.value) or len(name) < 4, str(caught.value)


def test_every_public_name_has_a_row():
    rows = {d.__qualname__.split(".")[-1] for d in ROWS} | NO_ROW
    older = {n for n in dir(snn) if inspect.isclass(getattr(snn, n)) and getattr(snn, n).__module__ != snn.__name__}
    for module in (bss2, p, nn, spiking, spiking.modules, functional, parameter, snn):
        for name in dir(module):
            value = getattr(module, name)
            public = not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
            home = module.__name__ if module in (nn, functional, parameter) else "lavalike.bss2"  # others gather what they show
            if public and value.__module__.startswith(home) and name not in older:
                assert value.__qualname__ in rows or name in rows or issubclass_of_a_row(value), f"{module.__name__}.{name}"


def issubclass_of_a_row(value):
    """Whether its ``__init__`` is one that has a row."""
    return inspect.isclass(value) and any(inspect.isclass(d) and value is not d and issubclass(value, d) for d in ROWS)
