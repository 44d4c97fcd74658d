"""What a membrane's way from leak to threshold is in the model's unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.arguments import arguments
from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
from lavalike.bss2.spiking.utils.dynamic_range.helper import (
    DT,
    RULES,
    SAMPLES,
    SINGLE,
    STEPS,
    chip_in_use,
    chip_value_of,
    emulated,
    on_hardware,
    parameter_of,
    record,
)

DRIVE = 1.5  # current, by that which would bring a membrane to its threshold


@arguments(**RULES)
def get_trace_scaling(
    params: Mapping[str, Any],
    calib_path: str | None = None,
    neuron_structure: SingleCompartmentNeuron = SINGLE,
) -> torch.Tensor:
    """``trace_scale``: the model's units that a CADC LSB is worth, the model's threshold by the
    measured one above leak, a scalar.

    Args:
        params: of the neurons, as :class:`lavalike.bss2.spiking.LIF`'s; the model's threshold is
            theirs.
        calib_path: of a calibration; default: the chip's own.
        neuron_structure: circuits joined to a neuron. Default 1.
    """
    with chip_in_use() as chip:
        if chip.level == "hardware":
            made: torch.Tensor = on_hardware(
                "threshold",
                "get_trace_scaling",
                params,
                calib_path=calib_path,
                neuron_structure=neuron_structure,
            )
            return made
        reached = measured_threshold(params, calib_path, neuron_structure, emulated(chip))
    return torch.as_tensor(model_threshold(params)) / reached


def model_threshold(params: Mapping[str, Any]) -> float | torch.Tensor:
    """What the model has for it; LIF's default where it is not told."""
    return parameter_of(params, "threshold").model_value


def measured_threshold(
    params: Mapping[str, Any], calib_path: Any, structure: SingleCompartmentNeuron, chip: Any
) -> torch.Tensor:
    """LSB from leak to where membranes turn back, mean over neurons and samples."""
    rise = chip_value_of(params, "threshold") - chip_value_of(params, "leak")
    weight = DRIVE * rise * DT / chip_value_of(params, "tau_syn")
    at_rest, driven = (
        record(
            chip, params, calib_path, structure, torch.full((STEPS, SAMPLES, 1), on), weight, False
        )
        for on in (0.0, 1.0)
    )
    return (driven - at_rest.mean((0, 1))).amax(0).mean()
