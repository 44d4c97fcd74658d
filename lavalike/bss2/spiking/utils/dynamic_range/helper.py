"""What the three measurements share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from lavalike.arguments import MAPPING, PATH, Rule, instance, optional
from lavalike.bss2.chip import Chip, current_chip, facts
from lavalike.bss2.errors import NoChipError
from lavalike.bss2.hxtorch import hardware
from lavalike.bss2.hxtorch.connection import init_hardware, release_hardware
from lavalike.bss2.spiking.experiment import Experiment
from lavalike.bss2.spiking.handle import LIFObservables
from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
from lavalike.bss2.spiking.parameter import HXBaseParameter, HXParameter, as_parameter
from lavalike.bss2.spiking.population import LIF
from lavalike.bss2.spiking.run import run
from lavalike.bss2.spiking.synapse import Synapse
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating

STEPS, SAMPLES, DT = 100, 20, 1e-6  # of a measurement
# of LIF, as far as membranes follow from them
DEFAULTS = {
    "leak": 80.0,
    "reset": 80.0,
    "threshold": 125.0,
    "tau_mem": 10e-6,
    "tau_syn": 10e-6,
    "refractory_time": 1e-6,
}

SINGLE = SingleCompartmentNeuron(1)
NONE: Mapping[str, Any] = MappingProxyType({})  # of the parameters: all at their defaults
RULES: dict[str, Rule] = {
    "params": MAPPING,
    "calib_path": optional(PATH),
    "neuron_structure": instance(SingleCompartmentNeuron),
}


@contextmanager
def chip_in_use() -> Iterator[Chip]:
    """The current chip, or the one that init_hardware takes, for as long."""
    try:
        chip = current_chip()
    except NoChipError:
        init_hardware()
        try:
            yield current_chip()
        finally:
            release_hardware()
        return
    yield chip


def on_hardware(module: str, name: str, params: Mapping[str, Any], **settings: Any) -> Any:
    """hxtorch's own measurement, on the connected chip."""
    return hardware.dynamic_range(module, name, params, settings)


def emulated(chip: Chip) -> Chip:
    """``chip`` as it is emulated: a measurement at another level would only tell what was set."""
    return chip if chip.emulated else dataclasses.replace(chip, level="emulated")


def parameter_of(params: Mapping[str, Any], name: str) -> HXBaseParameter:
    """One of ``params``, or its default."""
    return as_parameter(params.get(name, DEFAULTS[name]))


def chip_value_of(params: Mapping[str, Any], name: str) -> Any:
    """What the chip's ``name`` is set to."""
    p = parameter_of(params, name)
    told = p.told()
    return p.model_value if told is None else told


def record(
    chip: Chip,
    params: Mapping[str, Any],
    calib_path: Any,
    structure: SingleCompartmentNeuron,
    inputs: torch.Tensor,
    weight: Any,
    passive: bool = True,
) -> torch.Tensor:
    """Membranes of a chip full of neurons whose model is in LSB as they are, above hxtorch's
    baseline, (time, batch, neuron): ``inputs`` (time, batch, 1) reach each with ``weight``.
    ``passive``: with a threshold that is never reached."""
    size = facts.CIRCUITS // structure.size
    experiment = Experiment(dt=DT, chip=chip)
    if calib_path is not None:
        experiment.default_execution_instance.load_calib(calib_path)
    synapse = Synapse(1, size, experiment, transform=partial(linear_saturating, scale=1.0))
    with torch.no_grad():
        synapse.weight.copy_(torch.as_tensor(weight).reshape(-1, 1).expand(size, 1))
    told: dict[str, Any] = {n: HXParameter(chip_value_of(params, n)) for n in DEFAULTS}
    if passive:
        told["threshold"] = HXParameter(facts.RANGES["threshold"].high)
    neurons = LIF(
        size,
        experiment,
        **told,
        neuron_structure=structure,
        trace_offset=0.0,
    )
    handle = neurons(synapse(LIFObservables(spikes=inputs)))
    with torch.no_grad():
        run(experiment, len(inputs))
    recorded: torch.Tensor = handle.membrane_cadc
    return recorded
