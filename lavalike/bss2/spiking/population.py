"""Populations: layers of neurons, LI, LIF and AELIF."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

import torch

from lavalike.arguments import (
    FLAG,
    arguments,
    did_you_mean,
    instance,
    integer,
    is_integer,
    optional,
    sequence,
    whole,
)
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import OperandError, OperandTypeError, RecordingError, RecordingTypeError
from lavalike.bss2.spiking.eventprop import as_eventprop, integrate_eventprop
from lavalike.bss2.spiking.handle import (
    AELIFObservables,
    AELIObservables,
    Handle,
    LIFObservables,
    LIObservables,
    SynapseHandle,
    alike,
    tensor_of,
)
from lavalike.bss2.spiking.module import ChipNumber, HXModule, chip_number
from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
from lavalike.bss2.spiking.neuron import ALPHA, Decaying, Integrated, Params, Recorded, integrate
from lavalike.bss2.spiking.parameter import (
    HXBaseParameter,
    HXTransformedModelParameter,
    as_parameter,
)
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.execution_instance import ExecutionInstance
    from lavalike.bss2.spiking.experiment import Experiment

Value = float | torch.Tensor | HXBaseParameter


class Readout(TypedDict, total=False):
    """What every population takes besides, for editors: the arguments of
    :class:`PopulationModule`."""

    execution_instance: ExecutionInstance | None
    chip_coordinate: ChipNumber | None
    enable_spike_recording: bool
    enable_cadc_recording: bool
    enable_cadc_recording_placement_in_dram: bool
    cadc_readout_source: Any
    enable_madc_recording: bool
    record_neuron_id: int | None
    madc_readout_source: Any
    placement_constraint: Sequence[Any] | None
    trace_offset: float | torch.Tensor | None
    trace_scale: float | torch.Tensor | None
    cadc_time_shift: float
    shift_cadc_to_first: bool
    interpolation_mode: str
    neuron_structure: int | SingleCompartmentNeuron | None


class Settings(Readout, total=False):
    """And what one that fires does."""

    method: str
    alpha: float


INTERPOLATIONS = ("linear", "nearest")
READ = ("cadc_readout_source", "madc_readout_source")
ABOVE_ZERO = ("tau_mem", "tau_syn", "tau_adap", "membrane_capacitance", "exponential_slope")
NOT_BELOW_ZERO = ("refractory_time", "holdoff_time")


def capacitance(value: float | torch.Tensor = 10e-6) -> HXBaseParameter:
    """``value`` in the model, all the chip has on the chip."""
    return HXTransformedModelParameter(value, _full_capacitance)


def _full_capacitance(value: Any) -> float:
    return facts.RANGES["membrane_capacitance"].high


class PopulationModule(HXModule):
    """A population: what LI, LIF and AELIF share. Arguments are theirs; see :class:`LIF`."""

    on_chip = True
    fires = True
    adapts = False
    methods: tuple[str, ...] = ("superspike", "eventprop")

    size: int
    method: str
    alpha: float
    execution_instance: ExecutionInstance | None
    chip_coordinate: ChipNumber | None
    enable_spike_recording: bool
    enable_cadc_recording: bool
    enable_cadc_recording_placement_in_dram: bool
    enable_madc_recording: bool
    record_neuron_id: int | None
    trace_offset: float | torch.Tensor | None
    trace_scale: float | torch.Tensor | None
    cadc_time_shift: float
    shift_cadc_to_first: bool
    interpolation_mode: str
    neuron_structure: int | None
    mask: torch.Tensor | None
    _parameter_names: tuple[str, ...]

    @arguments(
        execution_instance=optional(
            instance("lavalike.bss2.spiking.execution_instance.ExecutionInstance")
        ),
        shift_cadc_to_first=FLAG,
        **dict.fromkeys(
            (
                "enable_spike_recording",
                "enable_cadc_recording",
                "enable_cadc_recording_placement_in_dram",
                "enable_madc_recording",
            ),
            FLAG,
        ),
    )
    def __init__(
        self,
        size: int,
        experiment: Experiment,
        parameters: Mapping[str, Value | None],
        /,
        method: str = "superspike",
        alpha: float = ALPHA,
        execution_instance: ExecutionInstance | None = None,
        chip_coordinate: ChipNumber | None = None,
        enable_spike_recording: bool = True,
        enable_cadc_recording: bool = True,
        enable_cadc_recording_placement_in_dram: bool = False,
        cadc_readout_source: Any = ReadoutSource.VOLTAGE,
        enable_madc_recording: bool = False,
        record_neuron_id: int | None = None,
        madc_readout_source: Any = ReadoutSource.VOLTAGE,
        placement_constraint: Sequence[Any] | None = None,
        trace_offset: float | torch.Tensor | None = None,
        trace_scale: float | torch.Tensor | None = None,
        cadc_time_shift: float = 0,
        shift_cadc_to_first: bool = False,
        interpolation_mode: str = "linear",
        neuron_structure: int | SingleCompartmentNeuron | None = None,
    ) -> None:
        super().__init__(experiment)
        size = whole(size, 1, f"{self.name}: size")
        if method not in self.methods:
            raise _error(isinstance(method, str))(
                f"{self.name}: method is {' or '.join(map(repr, self.methods))}, got {method!r}"
                f"{did_you_mean(method, self.methods)}"
            )
        if isinstance(cadc_time_shift, torch.Tensor) or not _numbers(
            cadc_time_shift, -math.inf, False
        ):
            raise _error(
                _is_number(cadc_time_shift) and not isinstance(cadc_time_shift, torch.Tensor)
            )(f"{self.name}: cadc_time_shift is a finite number of steps, got {cadc_time_shift!r}")
        if isinstance(neuron_structure, SingleCompartmentNeuron):
            neuron_structure = neuron_structure.size
        elif neuron_structure is not None:
            neuron_structure = whole(
                neuron_structure,
                1,
                f"{self.name}: neuron_structure, a SingleCompartmentNeuron(n) or its n,",
            )
        for name, value in (("trace_offset", trace_offset), ("trace_scale", trace_scale)):
            if value is not None and not _numbers(
                value, 0.0 if name == "trace_scale" else -math.inf, name == "trace_scale"
            ):
                raise _error(_is_number(value))(
                    f"{self.name}: {name} is a finite number{' above 0' * (name == 'trace_scale')}, "
                    f"got {value!r}"
                )
        if interpolation_mode not in INTERPOLATIONS:
            raise _error(isinstance(interpolation_mode, str))(
                f"{self.name}: interpolation_mode is one of {', '.join(INTERPOLATIONS)}; got {interpolation_mode!r}"
                f"{did_you_mean(interpolation_mode, INTERPOLATIONS)}"
            )
        if chip_coordinate is not None:
            chip_number(chip_coordinate, self.name)
        if (enable_madc_recording or record_neuron_id is not None) and not (
            record_neuron_id is not None
            and is_integer(record_neuron_id)
            and 0 <= record_neuron_id < size
        ):
            error = (
                RecordingError
                if record_neuron_id is None or is_integer(record_neuron_id)
                else RecordingTypeError
            )
            raise error(
                f"{self.name}: the MADC records one neuron, record_neuron_id within 0..{size - 1}; got "
                f"{record_neuron_id!r}"
            )
        if not _numbers(alpha, 0.0, True):
            raise _error(_is_number(alpha))(f"{self.name}: alpha is above 0, got {alpha!r}")
        self.size, self.method, self.alpha = size, method, float(alpha)
        self.execution_instance, self.chip_coordinate = execution_instance, chip_coordinate
        self.enable_spike_recording, self.enable_cadc_recording = (
            enable_spike_recording,
            enable_cadc_recording,
        )
        self.enable_cadc_recording_placement_in_dram = enable_cadc_recording_placement_in_dram
        self.enable_madc_recording, self.record_neuron_id = enable_madc_recording, record_neuron_id
        self.trace_offset, self.trace_scale = trace_offset, trace_scale
        self.cadc_time_shift, self.shift_cadc_to_first = cadc_time_shift, shift_cadc_to_first
        self.cadc_readout_source, self.madc_readout_source = (
            cadc_readout_source,
            madc_readout_source,
        )
        self.placement_constraint = self._constraint(placement_constraint)
        self.interpolation_mode, self.neuron_structure = interpolation_mode, neuron_structure
        self.register_buffer("mask", None, persistent=False)
        self._parameter_names = tuple(
            n for n, v in parameters.items() if v is not None or n != "leak_adaptation"
        )
        for name in self._parameter_names:
            given = parameters[name]
            self._check(name, given.model_value if isinstance(given, HXBaseParameter) else given)
            assert given is not None  # _check has refused it
            setattr(self, name, as_parameter(given))

    def _constraint(self, given: Any) -> tuple[Any, ...] | None:
        """One place for each neuron, as told."""
        if given is None:
            return None
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise InputTypeError(
                f"{self.name}: placement_constraint is a list of places, the number of a neuron's first circuit "
                f"(0..{facts.CIRCUITS - 1}) or its coordinate, got {type(given).__name__}"
            )
        places = tuple(given)
        if len(places) != self.size:
            raise InputError(
                f"{self.name}: placement_constraint has a place for each of the {self.size} neurons, got {len(places)}"
            )
        for place in places:
            if (is_integer(place) or isinstance(place, bool | float | str)) and not (
                is_integer(place) and 0 <= place < facts.CIRCUITS
            ):
                raise _error(is_integer(place))(
                    f"{self.name}: placement_constraint holds numbers of circuits, 0..{facts.CIRCUITS - 1}, or coordinates, "
                    f"got {place!r}"
                )
        return places

    @property
    def first_circuits(self) -> tuple[int, ...] | None:
        """The circuits that placement_constraint names, where it holds numbers, or coordinates of
        :mod:`lavalike.bss2.halco`; None: nothing that an emulated chip knows."""
        if self.placement_constraint is None:
            return None
        found = tuple(
            int(p) if is_integer(p) else getattr(p, "circuit", None)
            for p in self.placement_constraint
        )
        return None if None in found else found  # type: ignore[return-value]  # no None is in it

    @property
    def told_scale(self) -> tuple[float | torch.Tensor, float | torch.Tensor] | None:
        """trace_offset and trace_scale, where either is told."""
        if self.trace_offset is None and self.trace_scale is None:
            return None
        offset = 0.0 if self.trace_offset is None else self.trace_offset
        return offset, 1.0 if self.trace_scale is None else self.trace_scale

    @property
    def notes_slow(self) -> bool:
        """Whether the CADC reads adaptation currents, not membranes."""
        return self.cadc_readout_source is ReadoutSource.ADAPTATION

    @property
    def notes_fast(self) -> bool:
        """The same of the MADC."""
        return self.madc_readout_source is ReadoutSource.ADAPTATION

    def params_dict(self) -> dict[str, HXBaseParameter]:
        """Its parameters by name."""
        return self.chip_parameters

    def seconds(self, name: str, value: Any) -> Any:
        """A parameter of the model's as the chip counts it."""
        return value

    def _check(self, name: str, value: Any) -> None:
        above = name in ABOVE_ZERO
        if not _numbers(value, 0.0 if above or name in NOT_BELOW_ZERO else -math.inf, above):
            limit = " above 0" if above else " >= 0" if name in NOT_BELOW_ZERO else ""
            raise _error(_is_number(value))(
                f"{self.name}: {name} is a finite number{limit}, or a tensor of one for each neuron, "
                f"got {value!r}"
            )

    @property
    def chip_parameters(self) -> dict[str, HXBaseParameter]:
        """By name: all that have a value for the model, the chip, or both."""
        return {n: getattr(self, n) for n in self._parameter_names}

    def params(self) -> Params:
        """The model's values."""
        known = Params.__dataclass_fields__
        for name, p in self.chip_parameters.items():
            self._check(name, p.model_value)  # training may have moved it
        values = {n: _value(p.model_value) for n, p in self.chip_parameters.items() if n in known}
        for name, v in values.items():
            if isinstance(v, torch.Tensor) and v.numel() > 1 and v.shape[-1] != self.size:
                raise OperandError(
                    f"{self.name}: {name} has shape {tuple(v.shape)}; one value or one for each of the {self.size} neurons "
                    f"is expected"
                )
        return self._params(values)

    def _params(self, values: dict[str, Any]) -> Params:
        return Params(**values, fire=self.fires, **self.terms())

    def terms(self) -> dict[str, Any]:
        """More fields of the parameters."""
        return {}

    def forward(self, *inputs: Handle) -> Handle:
        """Called again before a run: what it is called on arrives together, as hxtorch has it."""
        self.check_inputs(inputs)
        handle = self.experiment.again(self, inputs)
        return super().forward(*inputs) if handle is None else handle

    def check_inputs(self, inputs: Any) -> None:
        super().check_inputs(inputs)
        for h in inputs:
            if "graded_spikes" not in h.names and "tensor" not in h.names:
                raise OperandTypeError(
                    f"{self.name}: a SynapseHandle is expected, got {type(h).__name__}; put a Synapse before it"
                )

    def graded(self, input: Any, cut: bool = False) -> torch.Tensor:
        """The sum of all that arrives; ``cut``: what a chip recorded may end before its input
        does."""
        handles = input if isinstance(input, tuple) else (input,)
        xs = [tensor_of(h, ("graded_spikes", "tensor"), self.name) for h in handles]
        for x in xs:
            if x.shape[-1] != self.size:
                raise OperandError(
                    f"{self.name}: has {self.size} neurons, got graded spikes of shape {tuple(x.shape)} (time, batch, "
                    f"neuron)"
                )
        return xs[0] if len(xs) == 1 else torch.stack(alike(xs, self.name, cut)).sum(0)

    def integrated(
        self, x: torch.Tensor, params: Params, hw_data: Recorded | None = None
    ) -> Integrated:
        """The model of this layer over ``x``, differentiable."""
        dt = self.experiment.dt
        if self.method == "eventprop" and torch.is_grad_enabled():
            trained = [
                n
                for n, v in vars(params).items()
                if isinstance(v, torch.Tensor) and v.requires_grad
            ]
            if trained:
                raise InputError(
                    f"{self.name}: EventProp trains weights alone, {', '.join(trained)} would get no gradient; use method "
                    "'superspike' or a fixed value"
                )
        return (
            integrate_eventprop(x, params, dt, hw_data)
            if self.method == "eventprop"
            else integrate(x, params, dt, hw_data, self.alpha)
        )

    def forward_func(self, input: SynapseHandle, hw_data: Recorded | None = None) -> Handle:
        out = self.integrated(self.graded(input, hw_data is not None), self.params(), hw_data)
        handle = self.output_type(membrane_cadc=out.membrane, current=out.current)
        if out.spikes is not None:
            handle.spikes = (
                out.spikes if self.mask is None else out.spikes * self.mask.to(out.spikes)
            )
        if hw_data is not None:
            handle.membrane_madc = hw_data.madc
        if "adaptation_cadc" in handle.names:
            handle.adaptation_cadc = out.adaptation
            handle.adaptation_madc = None if hw_data is None else hw_data.adaptation.madc
        return handle

    def physics(self) -> Params:
        """The equations that the chip's circuits follow, with the model's values."""
        p = self.params()
        return as_eventprop(p) if self.method == "eventprop" else p

    @property
    def cadc_period(self) -> float:
        """s between two samples."""
        return (
            CADC_DRAM_PERIOD if self.enable_cadc_recording_placement_in_dram else facts.CADC_PERIOD
        )

    def extra_repr(self) -> str:
        return f"{self.size}, {super().extra_repr()}"


CADC_DRAM_PERIOD = 6e-6  # about, hxtorch


class LIF(PopulationModule):
    """Leaky integrate-and-fire neurons (equations: :mod:`lavalike.dynamics.adex`).

    A parameter is a number, a tensor (size,), or one of :mod:`lavalike.bss2.spiking.parameter`'s.
    Voltages given as plain numbers are the chip's LSB where leak, reset and threshold all lie in
    its ranges; else they are the model's, and leak and threshold are put at the chip's 80 and 125
    LSB.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> synapse = bss2.spiking.Synapse(20, 10, experiment)
        >>> lif = bss2.spiking.LIF(10, experiment)
        >>> spikes = bss2.spiking.LIFObservables(spikes=(torch.rand(50, 4, 20) < 0.1).float())
        >>> handle = lif(synapse(spikes))
        >>> bss2.spiking.run(experiment, 50)
        >>> handle.spikes.shape  # (time, batch, neurons)
        torch.Size([50, 4, 10])

    Args:
        size: neurons.
        experiment: to register in.
        leak, reset, threshold: defaults 80, 80, 125.
        tau_mem, tau_syn: s, default 10e-6 each.
        i_synin_gm, synapse_dac_bias: strength of the chip's synaptic input; checked against its
            range, handed on at level "hardware". Defaults 500, 600.
        membrane_capacitance: the model's is in s: an input of 1 raises the membrane by dt /
            membrane_capacitance. Default 10e-6, on the chip 63.
        refractory_time: s, default 1e-6; 0: none (on a chip, less than a step).
        holdoff_time: s, of the chip; as i_synin_gm. Default 0.
        method: "superspike" (surrogate gradient) or "eventprop" (takes an EventPropSynapse's
            output). Default "superspike".
        alpha: of the surrogate 1 / (alpha |x| + 1)**2. Default 50.
        execution_instance, chip_coordinate: where to place it, the chip by its number in the setup;
            default: chosen by the placement.
        enable_spike_recording, enable_cadc_recording: what the chip records and the model takes in;
            without it spikes or membranes are the model's. Defaults True.
        enable_cadc_recording_placement_in_dram: for long runs; a sample every 6 us instead of 1.7.
            All populations of a run alike. Default False.
        enable_madc_recording, record_neuron_id: record one neuron's membrane at 29.4 MHz and 10
            bits; one in an experiment.
        trace_offset, trace_scale: one number, or (size,). Where either is told, membrane = (CADC -
            128 - trace_offset) * trace_scale, as hxtorch counts, with 0 and 1 for the other.
            Default None: fitted, so that it is the model's.
        cadc_time_shift: steps, or a fraction of one, by which membranes are moved to earlier times.
            Default 0.
        shift_cadc_to_first: the first sample of each neuron is its trace_offset, or its leak where
            trace_scale is fitted. Default False.
        interpolation_mode: between CADC samples, "linear" or "nearest". Default "linear".
        neuron_structure: circuits joined to one neuron: a number, or a
            :class:`SingleCompartmentNeuron`. Default: as many as its inputs need.
        cadc_readout_source, madc_readout_source: what is read, a
            :class:`~lavalike.bss2.spiking.utils.readout_source.ReadoutSource`. Default VOLTAGE.
        placement_constraint: for each neuron the number of its first circuit, 0..511 (hemisphere x
            256 + column), or a coordinate of :mod:`lavalike.bss2.halco`, on one chip. An emulated
            chip reports other coordinates and places the population itself. Default None.

    ``mask``: a tensor (size,) of 0 and 1, set by the user: which neurons spike. None: all.
    """

    output_type = LIFObservables

    @arguments()
    def __init__(
        self,
        size: int,
        experiment: Experiment,
        leak: Value = 80.0,
        reset: Value = 80.0,
        threshold: Value = 125.0,
        tau_mem: Value = 10e-6,
        tau_syn: Value = 10e-6,
        i_synin_gm: Value = 500,
        membrane_capacitance: Value | None = None,
        refractory_time: Value = 1e-6,
        synapse_dac_bias: Value = 600,
        holdoff_time: Value = 0.0,
        *settings: Any,
        **named: Unpack[Settings],
    ) -> None:
        c = capacitance() if membrane_capacitance is None else membrane_capacitance
        super().__init__(
            size,
            experiment,
            {
                "leak": leak,
                "reset": reset,
                "threshold": threshold,
                "tau_syn": tau_syn,
                "tau_mem": tau_mem,
                "i_synin_gm": i_synin_gm,
                "membrane_capacitance": c,
                "refractory_time": refractory_time,
                "synapse_dac_bias": synapse_dac_bias,
                "holdoff_time": holdoff_time,
            },
            *settings,
            **named,
        )


class LI(PopulationModule):
    """Leaky integrators, which do not fire. Arguments as :class:`LIF`'s; those of its threshold
    (``reset``, ``threshold``, ``refractory_time``, ``holdoff_time``, ``method``, ``alpha``) are
    taken, by name, as a LIF's dictionary of parameters has them: a real chip is calibrated to them,
    and nothing is computed of them.

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> bss2.spiking.LI(3, experiment).size
        3
    """

    output_type = LIObservables
    fires = False

    @arguments()
    def __init__(
        self,
        size: int,
        experiment: Experiment,
        leak: Value = 80.0,
        tau_mem: Value = 10e-6,
        tau_syn: Value = 10e-6,
        i_synin_gm: Value = 500,
        membrane_capacitance: Value | None = None,
        synapse_dac_bias: Value = 600,
        *settings: Any,
        reset: Value | None = None,
        threshold: Value | None = None,
        refractory_time: Value | None = None,
        holdoff_time: Value | None = None,
        method: str = "superspike",
        alpha: float = ALPHA,
        **named: Unpack[Readout],
    ) -> None:
        if "enable_spike_recording" in named:
            raise InputTypeError(
                f"{type(self).__name__}: it does not fire; enable_spike_recording belongs to LIF"
            )
        firing = {
            "reset": reset,
            "threshold": threshold,
            "refractory_time": refractory_time,
            "holdoff_time": holdoff_time,
        }
        c = capacitance() if membrane_capacitance is None else membrane_capacitance
        super().__init__(
            size,
            experiment,
            {
                "leak": leak,
                "tau_syn": tau_syn,
                "tau_mem": tau_mem,
                "i_synin_gm": i_synin_gm,
                "membrane_capacitance": c,
                "synapse_dac_bias": synapse_dac_bias,
            }
            | {n: v for n, v in firing.items() if v is not None},
            method=method,
            alpha=alpha,
            **self._settings(settings, named),
        )

    def _settings(self, settings: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return _READOUT.bind(*settings, **named).arguments
        except TypeError as e:
            raise InputTypeError(f"{type(self).__name__}: {e}") from e


# LI's settings in order: those of a population that does not fire
_READOUT = inspect.Signature(
    [
        p
        for n, p in inspect.signature(PopulationModule).parameters.items()
        if n
        not in ("size", "experiment", "parameters", "method", "alpha", "enable_spike_recording")
    ]
)


class AELIF(PopulationModule):
    """Adaptive exponential leaky integrate-and-fire neurons, with terms that can be left out.
    Arguments beyond :class:`LIF`'s:

    Example:
        >>> experiment = bss2.spiking.Experiment(mock=True)
        >>> bss2.spiking.AELIF(10, experiment).size
        10

    Args:
        exponential_slope, exponential_threshold: of the exponential current, voltages. Defaults
            50e-3, 110.
        subthreshold_adaptation_strength, spike_triggered_adaptation_increment: a and b of the
            adaptation current. Default 1 each.
        clock_scale_adaptation_pulse: of the chip's adaptation pulses; at level "hardware". Default
            (5, 5).
        tau_adap: s, default 100e-6.
        leak_adaptation: the voltage the subthreshold adaptation is counted from. Default: leak.
        leaky, fire, exponential, subthreshold_adaptation, spike_triggered_adaptation: which terms
            there are. Default all.
    """

    output_type: type[Handle] = AELIFObservables
    methods = ("superspike",)

    subthreshold_adaptation_strength: HXBaseParameter
    spike_triggered_adaptation_increment: HXBaseParameter

    @arguments(
        clock_scale_adaptation_pulse=sequence(integer(0), 2),
        **dict.fromkeys(
            (
                "leaky",
                "fire",
                "exponential",
                "subthreshold_adaptation",
                "spike_triggered_adaptation",
            ),
            FLAG,
        ),
    )
    def __init__(
        self,
        size: int,
        experiment: Experiment,
        leak: Value = 80.0,
        reset: Value = 80.0,
        threshold: Value = 125.0,
        tau_mem: Value = 10e-6,
        tau_syn: Value = 10e-6,
        i_synin_gm: Value = 500,
        membrane_capacitance: Value | None = None,
        refractory_time: Value = 1e-6,
        synapse_dac_bias: Value = 600,
        holdoff_time: Value = 0.0,
        exponential_slope: Value = 50e-3,
        exponential_threshold: Value = 110.0,
        subthreshold_adaptation_strength: Value = 1.0,
        spike_triggered_adaptation_increment: Value = 1.0,
        clock_scale_adaptation_pulse: tuple[int, int] = (5, 5),
        tau_adap: Value = 100e-6,
        leak_adaptation: Value | None = None,
        leaky: bool = True,
        fire: bool = True,
        exponential: bool = True,
        subthreshold_adaptation: bool = True,
        spike_triggered_adaptation: bool = True,
        *settings: Any,
        **named: Unpack[Settings],
    ) -> None:
        c = capacitance() if membrane_capacitance is None else membrane_capacitance
        super().__init__(
            size,
            experiment,
            {
                "leak": leak,
                "reset": reset,
                "threshold": threshold,
                "tau_syn": tau_syn,
                "tau_mem": tau_mem,
                "i_synin_gm": i_synin_gm,
                "membrane_capacitance": c,
                "refractory_time": refractory_time,
                "synapse_dac_bias": synapse_dac_bias,
                "holdoff_time": holdoff_time,
                "exponential_slope": exponential_slope,
                "exponential_threshold": exponential_threshold,
                "subthreshold_adaptation_strength": subthreshold_adaptation_strength,
                "spike_triggered_adaptation_increment": spike_triggered_adaptation_increment,
                "tau_adap": tau_adap,
                "leak_adaptation": leak_adaptation,
            },
            *settings,
            **named,
        )
        self.clock_scale_adaptation_pulse = clock_scale_adaptation_pulse
        self.leaky, self.fires, self.exponential = leaky, fire, exponential
        self.subthreshold_adaptation, self.spike_triggered_adaptation = (
            subthreshold_adaptation,
            spike_triggered_adaptation,
        )
        self.adapts = subthreshold_adaptation or spike_triggered_adaptation
        self.output_type = {
            (True, True): AELIFObservables,
            (True, False): LIFObservables,
            (False, True): AELIObservables,
            (False, False): LIObservables,
        }[fire, self.adapts]

    def terms(self) -> dict[str, Any]:
        a, b = (
            self.subthreshold_adaptation_strength.model_value,
            self.spike_triggered_adaptation_increment.model_value,
        )
        return {
            "leaky": self.leaky,
            "exponential": self.exponential,
            "adaptation_strength": a if self.subthreshold_adaptation else 0.0,
            "adaptation_increment": b if self.spike_triggered_adaptation else 0.0,
        }


class EventPropLIF(LIF):
    """:class:`LIF` with EventProp's gradient; takes an EventPropSynapse's output."""

    __signature__: ClassVar = inspect.signature(LIF)

    def __init__(self, size: int, experiment: Experiment, *args: Any, **settings: Any) -> None:
        super().__init__(size, experiment, *args, **{"method": "eventprop"} | settings)


class _Exponential(PopulationModule):
    """What the two layers of hxtorch's older form share: their tau_mem and tau_syn are what a step
    keeps."""

    def _check(self, name: str, value: Any) -> None:
        super()._check(name, value)
        if name in KEPT and not _within(value, LEAST_KEPT, 1.0):
            raise InputError(
                f"{self.name}: {name} is what a step of {self.experiment.dt:g} s keeps, exp(-dt / tau), within "
                f"{LEAST_KEPT:g}..1, got {value!r}; give HXTransformedModelParameter(math.exp(-dt / tau), "
                "lambda keep: -dt / math.log(keep))"
            )

    def _params(self, values: dict[str, Any]) -> Params:
        keep = {f"keep_{n.removeprefix('tau_')}": values[n] for n in KEPT}
        times = {n: self.seconds(n, values[n]) for n in KEPT}
        return Decaying(**values | times | keep, fire=self.fires, **self.terms())

    def physics(self) -> Params:
        p = self.params()
        return Params(
            **{n: getattr(p, n) for n in Params.__dataclass_fields__ if n != "exact"}, exact=True
        )

    def seconds(self, name: str, value: Any) -> Any:
        return _seconds(self.experiment.dt, value) if name in KEPT else value

    def defaults(self, experiment: Any, named: Mapping[str, Any]) -> dict[str, Any]:
        """``named`` and 10 us where a time constant is not told."""
        dt = getattr(experiment, "dt", 1e-6)  # what is no Experiment is told further on
        return {
            n: HXTransformedModelParameter(math.exp(-dt / 10e-6), functools.partial(_seconds, dt))
            for n in KEPT
        } | dict(named)


KEPT = ("tau_mem", "tau_syn")
LEAST_KEPT = 0.01  # below it stands a time, which hxtorch would take for what is kept


class NeuronExp(_Exponential, LIF):
    """:class:`LIF` in hxtorch's older, exponential form; deprecated there. ``tau_mem`` and
    ``tau_syn`` of the model are exp(-dt / tau), what a step of it keeps, those of the chip in s:
    ``HXTransformedModelParameter(math.exp(-dt / tau), lambda keep: -dt / math.log(keep))``.
    Default: 10 us each."""

    methods = ("superspike",)

    __signature__: ClassVar = inspect.signature(LIF)

    @arguments()
    def __init__(self, size: int, experiment: Experiment, *settings: Any, **named: Any) -> None:
        super().__init__(size, experiment, *settings, **self.defaults(experiment, named))


class ReadoutNeuronExp(_Exponential, LI):
    """:class:`LI` in hxtorch's older, exponential form, as :class:`NeuronExp`."""

    __signature__: ClassVar = inspect.signature(LI)

    @arguments()
    def __init__(self, size: int, experiment: Experiment, *settings: Any, **named: Any) -> None:
        super().__init__(size, experiment, *settings, **self.defaults(experiment, named))


def _seconds(dt: float, keep: Any) -> Any:
    """The time constant of which a step of ``dt`` keeps ``keep``."""
    return -dt / (torch.log(keep) if isinstance(keep, torch.Tensor) else math.log(keep))


def _within(value: Any, low: float, high: float) -> bool:
    """Whether all of ``value`` is at least ``low`` and below ``high``."""
    if isinstance(value, torch.Tensor):
        return bool(((value >= low) & (value < high)).all())
    return bool(low <= value < high)


def _value(value: Any) -> Any:
    """A tensor of one number as the number, unless it is trained."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.requires_grad:
        return float(value)
    return value


def _is_number(value: Any) -> bool:
    """Whether ``value`` is of the right kind: a number or a tensor of such."""
    if isinstance(value, torch.Tensor):
        return not value.is_complex() and value.dtype != torch.bool
    return isinstance(value, Real) and not isinstance(value, bool)


def _error(kind: bool) -> type[InputError]:
    """What a wrong value raises whose ``kind`` is right or wrong."""
    return InputError if kind else InputTypeError


def _numbers(value: Any, least: float, above: bool) -> bool:
    """Whether ``value`` is a finite number, or a tensor of such, at least ``least``, or ``above``
    it."""
    if not _is_number(value):
        return False
    if isinstance(value, torch.Tensor):
        v = value.detach()
        return bool((v.isfinite() & (v > least if above else v >= least)).all())
    return math.isfinite(value) and (value > least if above else value >= least)
