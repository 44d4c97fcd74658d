"""Our spiking experiments handed to the real hxtorch: the same synapses and neurons, run there, injected into our model.

No chip has run this; see :mod:`lavalike.bss2.hardware`. What its layers compute is not differentiated: the spikes and membranes that it
returns are injected into our layers, as those of an emulated chip are. Where neither a transform nor a trace_scale tells the scales, they
follow from :data:`DRIVE`; tell them once the setup has been measured.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from lavalike.bss2 import facts, hardware
from lavalike.bss2.errors import NoChipError, OperandError, RoutingError
from lavalike.bss2.spiking.handle import Handle, spikes_of
from lavalike.bss2.spiking.neuron import Recorded
from lavalike.bss2.spiking.population import AELIF, Population
from lavalike.bss2.spiking.scales import VOLTAGES, Voltage, chip_value, reset_of, voltage_of
from lavalike.bss2.spiking.synapse import Projection, SparseSynapse
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating
from lavalike.bss2.spiking.wrapper import HXModuleWrapper
from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import ExecutionInstance, Experiment, Node
    from lavalike.bss2.spiking.module import HXModule

# Membrane LSB that a synapse of weight 1 on the chip is worth where the model has a weight of 1: hxtorch's own tests find 45 LSB (threshold
# 125, leak 80) for a weight scale of 50 +- 20 %
DRIVE = 0.9
_SETTINGS = ("alpha", "enable_spike_recording", "enable_cadc_recording", "enable_cadc_recording_placement_in_dram", "enable_madc_recording",
             "record_neuron_id", "cadc_time_shift", "shift_cadc_to_first", "interpolation_mode", "chip_coordinate")
_TERMS = ("leaky", "exponential", "subthreshold_adaptation", "spike_triggered_adaptation", "clock_scale_adaptation_pulse")


def run_experiment(experiment: Experiment, nodes: list[Node], runtime: int | None) -> dict[HXModule, Recorded]:
    """Run what was called on the connected chip: of each population what was recorded, for its model to take in.

    Args:
        experiment: keeps what was handed over, so that the chip is set up once.
        nodes: the calls, producers before consumers. Layers in software before the chip are computed, to know its inputs.
        runtime: steps of dt. Default: the input's.

    Raises:
        NoChipError: no hxtorch, or one without spiking mode.
        RoutingError: layers that cannot be handed over.
    """
    if experiment.handed_over is None:
        experiment.handed_over = HandedOver(experiment.dt)
    return experiment.handed_over.run(nodes, runtime)


@dataclass
class HandedOver:
    """An experiment of hxtorch's, its layers by ours.

    Args:
        dt: s.
        mock: hxtorch's own mock instead of the chip. Default False.
    """

    dt: float
    mock: bool = False
    made: dict[int, Any] = field(default_factory=dict)
    instances: dict[int, Any] = field(default_factory=dict)
    voltages: dict[int, Voltage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.real = hardware.spiking()
        self.experiment = self.real.Experiment(mock=self.mock, dt=self.dt)

    def run(self, nodes: list[Node], runtime: int | None) -> dict[HXModule, Recorded]:
        """See :func:`run_experiment`."""
        for node in nodes:
            if isinstance(node.module, HXModuleWrapper):
                raise RoutingError(f"{node.module.name}: recurrent layers are not handed to hxtorch; write them with its HXModuleWrapper")
        targets = _targets(nodes)
        known: dict[int, Any] = {}
        steps: list[int] = []
        for node in nodes:
            m = node.module
            if isinstance(m, Projection):
                known[id(node.outputs[0])] = self.synapse(m, targets)(self.source(node, known, steps))
            elif isinstance(m, Population):
                known[id(node.outputs[0])] = self.neurons(m)(*(known[id(h)] for h in node.inputs))
            elif not any(h.empty for h in node.inputs):
                m.execute(node.inputs, node.outputs)
        if not known:
            raise RoutingError("run: there is no synapse and no population in the experiment; on a chip there is nothing to run")
        self.real.run(self.experiment, min(steps) if runtime is None else runtime)
        return {n.module: _recorded(n.module, known[id(n.outputs[0])]) for n in nodes if isinstance(n.module, Population)}

    def source(self, node: Node, known: dict[int, Any], steps: list[int]) -> Any:
        """The real handle of what a synapse hears."""
        given = node.inputs[0]
        if id(given) in known:
            return known[id(given)]
        if given.empty:
            raise RoutingError(f"{node.module.name}: what it hears passes through a layer computed in software, after the chip has run; on "
                               "a chip only populations and inputs reach synapses. For dropout set the population's mask")
        spikes = spikes_of(given, node.module.name)
        steps.append(len(spikes))
        return self.real.input(spikes)

    # -- layers -----------------------------------------------------------------------------------------------

    def synapse(self, p: Projection, targets: dict[int, Population]) -> Any:
        """hxtorch's synapse, with our weights as they are now."""
        if id(p) not in targets:
            raise RoutingError(f"{p.name}: no population takes what it sends; on a chip a synapse ends at neurons")
        target = targets[id(p)]
        transform = self.transform(p, target)
        if id(p) not in self.made:
            common = {"execution_instance": self.instance(p.execution_instance), "chip_coordinate": p.chip_coordinate,
                      "plasticity_rule": p.plasticity_rule}
            common = {n: v for n, v in common.items() if v is not None} | {"transform": transform}
            if isinstance(p, SparseSynapse):
                kind, first = self.real.SparseSynapse, (p.mask.t().to_sparse().float(), self.experiment)
            else:
                kind, first = self.real.Synapse, (p.in_features, p.out_features, self.experiment)
            self.made[id(p)] = kind(*first, **_known(kind, common, p.name))
        layer = self.made[id(p)]
        layer.transform = transform
        with torch.no_grad():
            w = p.matrix().detach()
            layer.weight.data = w.t().sparse_mask(layer.weight.coalesce()) if layer.weight.is_sparse else w.clone()
        return layer

    def transform(self, p: Projection, target: Population) -> Any:
        """From our weights to the chip's; without a scale of its own such that the chip's membrane follows the model's."""
        t, voltage = p.transform, self.voltage(target, p)
        if t is linear_saturating:
            return functools.partial(self.real.linear_saturating, scale=_mean(voltage.per_unit) / DRIVE)
        if isinstance(t, functools.partial) and t.func is linear_saturating:
            return functools.partial(self.real.linear_saturating, **t.keywords)
        return t

    def voltage(self, target: Population, p: Projection | None = None) -> Voltage:
        """The voltage scale of a population; a readout's is free: its largest weight is made 63 then, and it stays so."""
        if id(target) not in self.voltages:
            fitted = None
            if not target.fires and target.trace_scale == 1 and p is not None:
                told = p.transform.keywords.get("scale") if isinstance(p.transform, functools.partial) else None
                largest = float(p.matrix().detach().abs().max())
                fitted = DRIVE * (told if told is not None else facts.WEIGHT_MAX / largest if largest > 0 else 1.0)
            self.voltages[id(target)] = voltage_of(target, fitted)
        return self.voltages[id(target)]

    def neurons(self, p: Population) -> Any:
        """hxtorch's LIF, LI or AELIF."""
        if id(p) not in self.made:
            kind = getattr(self.real, "AELIF" if isinstance(p, AELIF) else "LIF" if p.fires else "LI")
            if kind is None:
                raise OperandError(f"{p.name}: this hxtorch has no {type(p).__name__}; use LIF")
            v = self.voltage(p)
            values = {n: self.parameter(p, n, v) for n in p.chip_parameters} | _changed(p)
            if p.execution_instance is not None:
                values["execution_instance"] = self.instance(p.execution_instance)
            if p.trace_scale == 1 and p.trace_offset == 0:
                values |= {"trace_scale": 1 / _mean(v.per_unit), "trace_offset": _mean(v.zero_lsb - v.zero * v.per_unit)}
            else:
                values |= {"trace_scale": p.trace_scale, "trace_offset": p.trace_offset}
            self.made[id(p)] = kind(p.size, self.experiment, **_known(kind, values, p.name))
        layer = self.made[id(p)]
        if p.mask is not None:
            layer.mask = p.mask
        return layer

    def parameter(self, p: Population, name: str, v: Voltage) -> Any:
        """The model's value and the chip's; a number where they are the same."""
        model = p.chip_parameters[name].model_value
        model = model.detach() if isinstance(model, torch.Tensor) else model
        if name == "reset":
            chip = _whole(v.lsb(reset_of(p, v)))
        elif name in VOLTAGES:
            chip = _whole(v.lsb(model))
        elif name == "refractory_time" and isinstance(model, float | int) and model == 0:
            chip = facts.RANGES[name].low  # a chip cannot do without
        else:
            chip = chip_value(p, name)
        if isinstance(model, torch.Tensor) or isinstance(chip, torch.Tensor) or model != chip:
            return self.real.MixedHXModelParameter(model, chip)
        return model

    def instance(self, ours: ExecutionInstance | None) -> Any:
        """hxtorch's execution instance for ours, with its calibration file."""
        if ours is None:
            return None
        if self.real.ExecutionInstance is None:
            raise OperandError(f"{ours.name}: this hxtorch has no ExecutionInstance; leave it out")
        if id(ours) not in self.instances:
            told = {} if ours.calib_path is None else {"calib_path": ours.calib_path}
            self.instances[id(ours)] = self.real.ExecutionInstance(**told)
        return self.instances[id(ours)]


def _recorded(p: Population, handle: Any) -> Recorded:
    """What the chip recorded of a population, in our units."""
    return Recorded(*(getattr(handle, n, None) if wanted else None for n, wanted in (
        ("spikes", p.fires and p.enable_spike_recording), ("membrane_cadc", p.enable_cadc_recording),
        ("membrane_madc", p.enable_madc_recording))))


def _targets(nodes: list[Node]) -> dict[int, Population]:
    """The population that each projection ends at."""
    ends: dict[int, Population] = {id(h): n.module for n in nodes if isinstance(n.module, Population) for h in n.inputs}
    made: dict[int, Handle] = {id(n.module): n.outputs[0] for n in nodes if isinstance(n.module, Projection)}
    return {m: ends[id(h)] for m, h in made.items() if id(h) in ends}


def _changed(p: Population) -> dict[str, Any]:
    """Settings that are not at their default, as an older hxtorch has fewer."""
    defaults = {n: a.default for kind in (Population, AELIF) for n, a in inspect.signature(kind).parameters.items()}
    values = {n: getattr(p, n) for n in _SETTINGS}
    if isinstance(p, AELIF):
        values |= {n: getattr(p, n) for n in _TERMS} | {"fire": p.fires}
    return {n: v for n, v in values.items() if v != defaults[n]}


def _known(kind: Any, values: dict[str, Any], who: str) -> dict[str, Any]:
    """``values``; InputError for what has no argument there."""
    unknown = [n for n in values if n not in inspect.signature(kind).parameters]
    if unknown:
        raise InputError(f"{who}: this hxtorch's {kind.__name__} takes no {', '.join(unknown)}, which is "
                         f"{', '.join(repr(values[n]) for n in unknown)} here; leave it out, or use a newer one")
    return values


def _mean(value: Any) -> float:
    return float(value.float().mean()) if isinstance(value, torch.Tensor) else float(value)


def _whole(value: Any) -> Any:
    return value.round() if isinstance(value, torch.Tensor) else round(value)


@dataclass(frozen=True)
class Names:
    """hxtorch.spiking's classes under their present names; None for what a version lacks."""

    module: Any
    Experiment: Any
    run: Any
    Synapse: Any
    SparseSynapse: Any
    LIF: Any
    LI: Any
    AELIF: Any
    ExecutionInstance: Any
    MixedHXModelParameter: Any
    linear_saturating: Any
    handle: Any

    def input(self, spikes: torch.Tensor) -> Any:
        """A handle that holds input spikes."""
        names = inspect.signature(self.handle).parameters
        return self.handle(spikes=spikes) if "spikes" in names else self.handle(spikes)


def names(module: Any, found: Any) -> Names:
    """Collected from ``hxtorch.spiking`` or ``hxtorch.snn``; ``found(name)`` imports one of its modules, None where there is none."""

    def first(*spelled: str, within: str = "", needed: bool = True) -> Any:
        for place in (module, found(within) if within else None):
            for name in spelled:
                if getattr(place, name, None) is not None:
                    return getattr(place, name)
        if needed:
            raise NoChipError(f"{module.__name__}: none of {', '.join(spelled)} is there; repair the installation of hxtorch")
        return None

    return Names(module, first("Experiment", "Instance"), first("run"), first("Synapse"), first("SparseSynapse", needed=False),
                 first("LIF", "Neuron"), first("LI", "ReadoutNeuron"), first("AELIF", needed=False),
                 first("ExecutionInstance", needed=False), first("MixedHXModelParameter", within="parameter"),
                 first("linear_saturating", within="transforms.weight_transforms"),
                 first("LIFObservables", "NeuronHandle", "Handle"))
