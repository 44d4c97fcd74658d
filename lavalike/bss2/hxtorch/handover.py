"""Our spiking experiments handed to the real hxtorch: the same synapses and neurons, run there,
injected into our model.

No chip has run this; see :mod:`lavalike.bss2.hxtorch.hardware`. What its layers compute is not
differentiated: the spikes and membranes that it returns are injected into our layers, as those of
an emulated chip are. Where neither a transform nor a trace_scale tells the scales, they follow from
:data:`DRIVE`; tell them once the setup has been measured.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import NoChipError, OperandError, RoutingError
from lavalike.bss2.hxtorch import hardware
from lavalike.bss2.populations import circuits
from lavalike.bss2.spiking.events import check_spikes
from lavalike.bss2.spiking.handle import spikes_of
from lavalike.bss2.spiking.neuron import Recorded
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.bss2.spiking.population import AELIF, READ, PopulationModule
from lavalike.bss2.spiking.scales import (
    VOLTAGES,
    Voltage,
    chip_value,
    finite_weights,
    reset_of,
    voltage_of,
)
from lavalike.bss2.spiking.synapse import Projection, SparseSynapse
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.bss2.spiking.wrapper import HXModuleWrapper
from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.experiment import ExecutionInstance, Experiment, LayerCall
    from lavalike.bss2.spiking.module import HXModule

# Membrane LSB that a synapse of weight 1 on the chip is worth where the model has a weight of 1:
# hxtorch's own tests find 45 LSB (threshold 125, leak 80) for a weight scale of 50 +- 20 %
DRIVE = 0.9
_SETTINGS = (
    "alpha",
    "enable_spike_recording",
    "enable_cadc_recording",
    "enable_cadc_recording_placement_in_dram",
    "enable_madc_recording",
    "record_neuron_id",
    "cadc_time_shift",
    "shift_cadc_to_first",
    "interpolation_mode",
    "chip_coordinate",
    "placement_constraint",
    *READ,
)
_TERMS = (
    "leaky",
    "exponential",
    "subthreshold_adaptation",
    "spike_triggered_adaptation",
    "clock_scale_adaptation_pulse",
)


def run_experiment(
    experiment: Experiment, nodes: list[LayerCall], runtime: int | None
) -> dict[HXModule, Recorded]:
    """Run what was called on the connected chip: of each population what was recorded, for its
    model to take in.

    Args:
        experiment: keeps what was handed over, so that the chip is set up once.
        nodes: the calls, producers before consumers. Layers in software before the chip are
            computed, to know its inputs.
        runtime: steps of dt. Default: the input's.

    Raises:
        NoChipError: no hxtorch, or one without spiking mode.
        RoutingError: layers that cannot be handed over.
    """
    if experiment.handed_over is None or experiment.handed_over.dt != experiment.dt:
        experiment.handed_over = HandedOver(experiment.dt)
    return experiment.handed_over.run(experiment, nodes, runtime)


@dataclass
class HandedOver:
    """An experiment of hxtorch's, its layers by ours. It is made anew when a population is no
    longer set up as it was: a chip is calibrated again then, unless an execution instance has a
    calibration.

    Args:
        dt: s.
        mock: hxtorch's own mock instead of the chip. Default False.
    """

    dt: float
    mock: bool = False
    made: dict[HXModule, Any] = field(default_factory=dict)
    given: dict[HXModule, dict[str, Any]] = field(default_factory=dict)
    instances: dict[ExecutionInstance, tuple[Any, str | None]] = field(default_factory=dict)
    fitted: dict[PopulationModule, float] = field(default_factory=dict)
    arriving: dict[PopulationModule, list[Projection]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.real = hardware.spiking()

    def run(
        self, ours: Experiment, nodes: list[LayerCall], runtime: int | None
    ) -> dict[HXModule, Recorded]:
        """See :func:`run_experiment`."""
        for node in nodes:
            if isinstance(node.module, HXModuleWrapper):
                raise RoutingError(
                    f"{node.module.name}: recurrent layers are not handed to hxtorch; write them with its HXModuleWrapper"
                )
        self.arriving = _arriving(nodes)
        self.set_up(ours, [n.module for n in nodes if isinstance(n.module, PopulationModule)])
        targets = {p: target for target, group in self.arriving.items() for p in group}
        known: dict[int, Any] = {}
        steps: list[int] = []
        for node in nodes:
            m = node.module
            if isinstance(m, Projection):
                known[id(node.outputs[0])] = self.synapse(m, targets)(
                    self.source(node, known, steps)
                )
            elif isinstance(m, PopulationModule):
                known[id(node.outputs[0])] = self.neurons(m)(*(known[id(h)] for h in node.inputs))
            elif not any(h.empty for h in node.inputs):
                m.execute(node.inputs, node.outputs)
        if not known:
            raise RoutingError(
                "run: there is no synapse and no population in the experiment; on a chip there is nothing to run"
            )
        self.real.run(self.experiment, min(steps) if runtime is None else int(runtime))
        return {
            n.module: _recorded(n.module, known[id(n.outputs[0])], self.voltage(n.module))
            for n in nodes
            if isinstance(n.module, PopulationModule)
        }

    def set_up(self, ours: Experiment, populations: list[PopulationModule]) -> None:
        """hxtorch's experiment and instances, and what its populations are to be given."""
        wanted: dict[HXModule, dict[str, Any]] = {p: self.settings(p) for p in populations}
        if not self.given or any(
            p in self.given and not _same(self.given[p], s) for p, s in wanted.items()
        ):
            told = {} if ours.hw_routing_func is None else {"hw_routing_func": ours.hw_routing_func}
            self.experiment = self.real.Experiment(
                mock=self.mock, dt=self.dt, **_known(self.real.Experiment, told, "Experiment")
            )
            for kept in (self.made, self.given, self.instances):
                kept.clear()
        self.given |= wanted
        if ours.inter_batch_entry_wait or getattr(self.experiment, "inter_batch_entry_wait", None):
            self.experiment.inter_batch_entry_wait = ours.inter_batch_entry_wait

    def source(self, node: LayerCall, known: dict[int, Any], steps: list[int]) -> Any:
        """The real handle of what a synapse hears."""
        given = node.inputs[0]
        if id(given) in known:
            return known[id(given)]
        if given.empty:
            raise RoutingError(
                f"{node.module.name}: what it hears passes through a layer computed in software, after the chip has run; on "
                "a chip only populations and inputs reach synapses. For dropout set the population's mask"
            )
        spikes = spikes_of(given, node.module.name)
        check_spikes(spikes, node.module.name)
        steps.append(len(spikes))
        return self.real.input(spikes)

    # -- layers ------------------------------------------------------------------------------------

    def synapse(self, p: Projection, targets: dict[Projection, PopulationModule]) -> Any:
        """hxtorch's synapse, with our weights as they are now."""
        if p not in targets:
            raise RoutingError(
                f"{p.name}: no population takes what it sends; on a chip a synapse ends at neurons"
            )
        transform, w = self.transform(p, targets[p]), finite_weights(p)
        instance = self.instance(p)
        if p not in self.made:
            common = {
                "execution_instance": instance,
                "chip_coordinate": p.chip_coordinate,
                "plasticity_rule": p.plasticity_rule,
            }
            common = {n: v for n, v in common.items() if v is not None} | {"transform": transform}
            first: tuple[Any, ...]
            if isinstance(p, SparseSynapse):
                kind, first = (
                    self.real.SparseSynapse,
                    (p.mask.t().to_sparse().float(), self.experiment),
                )
            else:
                kind, first = self.real.Synapse, (p.in_features, p.out_features, self.experiment)
            self.made[p] = kind(*first, **_known(kind, common, p.name))
        layer = self.made[p]
        layer.transform = transform
        with torch.no_grad():
            layer.weight.data = (
                w.t().sparse_mask(layer.weight.coalesce()) if layer.weight.is_sparse else w.clone()
            )
        return layer

    def transform(self, p: Projection, target: PopulationModule) -> Any:
        """From our weights to the chip's; without a scale of its own such that the chip's membrane
        follows the model's."""
        t, voltage = p.transform, self.voltage(target)
        if t is linear_saturating:
            return functools.partial(
                self.real.linear_saturating, scale=_mean(voltage.per_unit) / DRIVE
            )
        if isinstance(t, functools.partial) and t.func is linear_saturating:
            return functools.partial(self.real.linear_saturating, **t.keywords)
        return t

    def voltage(self, p: PopulationModule) -> Voltage:
        """The voltage scale of a population; a readout's is free: its largest weight is made 63 at
        first, and it stays so."""
        if p not in self.fitted and not p.fires and p.trace_scale is None and p in self.arriving:
            first = self.arriving[p][0]
            told = (
                first.transform.keywords.get("scale")
                if isinstance(first.transform, functools.partial)
                else None
            )
            largest = float(finite_weights(first).abs().max())
            self.fitted[p] = DRIVE * (
                told if told is not None else facts.WEIGHT_MAX / largest if largest > 0 else 1.0
            )
        return voltage_of(p, self.fitted.get(p))

    def settings(self, p: PopulationModule) -> dict[str, Any]:
        """What hxtorch's layer is given: numbers, and pairs of the model's value and the chip's."""
        v = self.voltage(p)
        values = {n: self.parameter(p, n, v) for n in p.chip_parameters} | _changed(p)
        joined = p.neuron_structure or circuits(sum(_fan_in(a) for a in self.arriving.get(p, ())))
        if joined > 1:
            values["neuron_structure"] = joined
        if _fitted(p):
            return values | {
                "trace_scale": 1 / _mean(v.per_unit),
                "trace_offset": _mean(v.zero_lsb - v.zero * v.per_unit) - facts.CADC_BASELINE,
            }
        offset, scale = p.told_scale or (0.0, 1.0)
        return values | {"trace_scale": scale, "trace_offset": offset}

    def neurons(self, p: PopulationModule) -> Any:
        """hxtorch's LIF, LI or AELIF."""
        instance = self.instance(p)
        if p not in self.made:
            kind = getattr(
                self.real, "AELIF" if isinstance(p, AELIF) else "LIF" if p.fires else "LI"
            )
            if kind is None:
                raise OperandError(f"{p.name}: this hxtorch has no {type(p).__name__}; use LIF")
            values = {
                n: self.real.MixedHXModelParameter(*v) if isinstance(v, _Pair) else v
                for n, v in self.given[p].items()
            }
            for n in READ:
                if isinstance(values.get(n), ReadoutSource):
                    values[n] = self.readout_source(p, values[n])
            if p.first_circuits is not None:
                values["placement_constraint"] = self.places(p, values.get("neuron_structure", 1))
            elif p.placement_constraint is not None:
                values["placement_constraint"] = list(p.placement_constraint)
            if instance is not None:
                values["execution_instance"] = instance
            _known(kind, values, p.name)
            if "neuron_structure" in values:
                if self.real.SingleCompartmentNeuron is None:
                    raise OperandError(
                        f"{p.name}: this hxtorch has no SingleCompartmentNeuron, for {values['neuron_structure']} circuits "
                        "a neuron; use fewer inputs, or a newer one"
                    )
                values["neuron_structure"] = self.real.SingleCompartmentNeuron(
                    values["neuron_structure"]
                )
            self.made[p] = kind(p.size, self.experiment, **values)
        layer = self.made[p]
        if p.mask is not None or getattr(layer, "mask", None) is not None:
            layer.mask = p.mask
        return layer

    def readout_source(self, p: PopulationModule, source: ReadoutSource) -> Any:
        """hxtorch's word for what a converter reads."""
        kind = self.real.ReadoutSource
        if kind is None:
            raise OperandError(
                f"{p.name}: this hxtorch has no ReadoutSource, for {source.name}; leave it at VOLTAGE, or use a newer one"
            )
        return getattr(kind, source.name)

    def places(self, p: PopulationModule, joined: int) -> list[Any]:
        """halco's coordinates of neurons of ``joined`` circuits whose first ones were told by
        number."""
        halco = hardware.halco()
        structure = self.real.SingleCompartmentNeuron
        if structure is None:
            raise OperandError(
                f"{p.name}: this hxtorch has no SingleCompartmentNeuron, for placement_constraint; leave it out"
            )
        compartments = structure(joined).compartments
        return [
            halco.LogicalNeuronOnDLS(
                compartments,
                halco.AtomicNeuronOnDLS(
                    halco.NeuronRowOnDLS(k // facts.COLUMNS),
                    halco.NeuronColumnOnDLS(k % facts.COLUMNS),
                ),
            )
            for k in p.first_circuits or ()
        ]

    def parameter(self, p: PopulationModule, name: str, v: Voltage) -> Any:
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
            return _Pair(
                *(x.clone() if isinstance(x, torch.Tensor) else x for x in (model, chip))
            )  # training changes it in place
        return model

    def instance(self, layer: Projection | PopulationModule) -> Any:
        """hxtorch's execution instance for a layer's, with its calibration file; None where nothing
        is said of it."""
        ours = layer.execution_instance
        if ours is None:
            ours = layer.experiment.default_execution_instance
            if ours.calib_path is None and ours.calib_cache_dir is None and not ours.input_loopback:
                return None
        kind = self.real.ExecutionInstance
        if kind is None:
            raise OperandError(f"{layer.name}: this hxtorch has no ExecutionInstance; leave it out")
        if ours not in self.instances:
            told = {
                n: v
                for n, v in vars(ours).items()
                if n not in ("name", "chip") and v not in (None, False)
            }
            made = kind(**_known(kind, told, f"{layer.name}: ExecutionInstance"))
            if ours.chip is not None:
                made.chip = ours.chip
            self.instances[ours] = made, ours.calib_path
        made, path = self.instances[ours]
        if path != ours.calib_path:
            made.load_calib(ours.calib_path)
            self.instances[ours] = made, ours.calib_path
        return made


class _Pair(NamedTuple):
    """A parameter's value in the model and on the chip."""

    model: Any
    chip: Any


def _fitted(p: PopulationModule) -> bool:
    """Whether membranes come back in the model's unit, and not as the user scales them."""
    return p.trace_scale is None and (p.trace_offset is None or p.shift_cadc_to_first)


def _recorded(p: PopulationModule, handle: Any, voltage: Voltage) -> Recorded:
    """What the chip recorded of a population, in our units."""
    spikes, membrane, madc, noted, noted_madc = (
        getattr(handle, n, None) if wanted else None
        for n, wanted in (
            ("spikes", p.fires and p.enable_spike_recording),
            ("membrane_cadc", p.enable_cadc_recording and not p.notes_slow),
            ("membrane_madc", p.enable_madc_recording and not p.notes_fast),
            ("adaptation_cadc", p.enable_cadc_recording and p.notes_slow),
            ("adaptation_madc", p.enable_madc_recording and p.notes_fast),
        )
    )
    if membrane is not None and p.shift_cadc_to_first and _fitted(p):
        membrane = membrane + voltage.zero  # counted from the first sample, which is at leak
    return Recorded.of(
        spikes, AnalogObservable(membrane, madc), AnalogObservable(noted, noted_madc)
    )


def _arriving(nodes: list[LayerCall]) -> dict[PopulationModule, list[Projection]]:
    """The projections that end at each population."""
    made = {id(n.outputs[0]): n.module for n in nodes if isinstance(n.module, Projection)}
    return {
        n.module: [made[id(h)] for h in n.inputs if id(h) in made]
        for n in nodes
        if isinstance(n.module, PopulationModule)
    }


def _fan_in(p: Projection) -> int:
    return int(p.mask.sum(1).max()) if isinstance(p, SparseSynapse) else p.in_features


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_equal(a[n], b[n]) for n in a)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, _Pair) and isinstance(b, _Pair):
        return _equal(a.model, b.model) and _equal(a.chip, b.chip)
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _changed(p: PopulationModule) -> dict[str, Any]:
    """Settings that are not at their default, as an older hxtorch has fewer."""
    defaults = {
        n: a.default
        for kind in (PopulationModule, AELIF)
        for n, a in inspect.signature(kind).parameters.items()
    }
    values = {n: getattr(p, n) for n in _SETTINGS}
    if isinstance(p, AELIF):
        values |= {n: getattr(p, n) for n in _TERMS} | {"fire": p.fires}
    return {n: v for n, v in values.items() if v != defaults[n]}


def _known(kind: Any, values: dict[str, Any], who: str) -> dict[str, Any]:
    """``values``; InputError for what has no argument there."""
    unknown = [n for n in values if n not in inspect.signature(kind).parameters]
    if unknown:
        raise InputError(
            f"{who}: this hxtorch's {kind.__name__} takes no {', '.join(unknown)}, which is "
            f"{', '.join(repr(values[n]) for n in unknown)} here; leave it out, or use a newer one"
        )
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
    SingleCompartmentNeuron: Any
    ReadoutSource: Any

    def input(self, spikes: torch.Tensor) -> Any:
        """A handle that holds input spikes."""
        names = inspect.signature(self.handle).parameters
        return self.handle(spikes=spikes) if "spikes" in names else self.handle(spikes)


def names(module: Any, found: Any) -> Names:
    """Collected from ``hxtorch.spiking`` or ``hxtorch.snn``; ``found(name)`` imports one of its
    modules, None where there is none."""

    def first(*spelled: str, within: str = "", needed: bool = True) -> Any:
        for place in (module, found(within) if within else None):
            for name in spelled:
                if getattr(place, name, None) is not None:
                    return getattr(place, name)
        if needed:
            raise NoChipError(
                f"{module.__name__}: none of {', '.join(spelled)} is there; repair the installation of hxtorch"
            )
        return None

    return Names(
        module,
        first("Experiment", "Instance"),
        first("run"),
        first("Synapse"),
        first("SparseSynapse", needed=False),
        first("LIF", "Neuron"),
        first("LI", "ReadoutNeuron"),
        first("AELIF", needed=False),
        first("ExecutionInstance", needed=False),
        first("MixedHXModelParameter", within="parameter"),
        first("linear_saturating", within="transforms.weight_transforms"),
        first("LIFObservables", "NeuronHandle", "Handle"),
        first("SingleCompartmentNeuron", within="morphology", needed=False),
        first("ReadoutSource", within="utils.readout_source", needed=False),
    )
