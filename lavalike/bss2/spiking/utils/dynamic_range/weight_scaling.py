"""What a weight of the model is on the chip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.arguments import arguments, integer
from lavalike.bss2.chip import facts
from lavalike.bss2.spiking.experiment import Experiment
from lavalike.bss2.spiking.handle import LIFObservables
from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
from lavalike.bss2.spiking.parameter import as_parameter
from lavalike.bss2.spiking.population import LI
from lavalike.bss2.spiking.run import run
from lavalike.bss2.spiking.synapse import Synapse
from lavalike.bss2.spiking.utils.dynamic_range.helper import (
    DT,
    NONE,
    RULES,
    SAMPLES,
    SINGLE,
    STEPS,
    chip_in_use,
    emulated,
    on_hardware,
    record,
)
from lavalike.bss2.spiking.utils.dynamic_range.threshold import (
    measured_threshold,
    model_threshold,
)

KNOWN = ("leak", "tau_mem", "tau_syn")
AT = 10  # step of the one input


@arguments(weight_step=integer(1), **RULES)
def get_weight_scaling(
    params: Mapping[str, Any] = NONE,
    weight_step: int = 1,
    calib_path: str | None = None,
    neuron_structure: SingleCompartmentNeuron = SINGLE,
) -> torch.Tensor:
    """``scale`` of a synapse's transform: the weight on the chip for which its membranes follow the
    model's of weight 1, in units of the threshold; a scalar.

    Args:
        params: of the neurons, as :class:`lavalike.bss2.spiking.LIF`'s.
        weight_step: into how many weights, -63 to 63, the chip's are swept. Default 1: one, -63.
        calib_path: of a calibration; default: the chip's own.
        neuron_structure: circuits joined to a neuron. Default 1.
    """
    with chip_in_use() as chip:
        if chip.level == "hardware":
            made: torch.Tensor = on_hardware(
                "weight_scaling",
                "get_weight_scaling",
                params,
                weight_step=weight_step,
                calib_path=calib_path,
                neuron_structure=neuron_structure,
            )
            return made
        chip = emulated(chip)
        x = torch.zeros(STEPS, SAMPLES, 1)
        x[AT] = 1
        weights = torch.linspace(-facts.WEIGHT_MAX, facts.WEIGHT_MAX, weight_step).round()
        heights = torch.stack(
            [
                _height(record(chip, params, calib_path, neuron_structure, x, float(w)))
                for w in weights
            ]
        )
        reached = measured_threshold(params, calib_path, neuron_structure, chip)
    on_chip = (weights.unsqueeze(1) * heights).sum(0) / weights.square().sum()  # LSB per LSB
    return (_model_height(params) / on_chip).mean() * reached / model_threshold(params)


def _height(membrane: torch.Tensor) -> torch.Tensor:
    """How far the membranes are moved, (neuron,), mean over samples: the value furthest from
    rest."""
    moved = (membrane - membrane[: AT - 1].mean(0)).mean(1)
    furthest = moved.abs().argmax(0, keepdim=True)
    return moved.gather(0, furthest)[0]


def _model_height(params: Mapping[str, Any]) -> float:
    """Of the model, for a weight of 1."""
    experiment = Experiment(mock=True, dt=DT)
    synapse = Synapse(1, 1, experiment)
    known: dict[str, Any] = {
        n: as_parameter(v).model_value for n, v in params.items() if n in KNOWN
    }
    neuron = LI(1, experiment, **known)
    x = torch.zeros(STEPS, 1, 1)
    x[AT] = 1
    with torch.no_grad():
        synapse.weight.fill_(1.0)
        handle = neuron(synapse(LIFObservables(spikes=x)))
        run(experiment)
    return float(_height(handle.membrane_cadc))
