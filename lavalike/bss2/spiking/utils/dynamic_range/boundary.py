"""Between which voltages a membrane moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.arguments import arguments
from lavalike.bss2.chip import facts
from lavalike.bss2.spiking.morphology import SingleCompartmentNeuron
from lavalike.bss2.spiking.utils.dynamic_range.helper import (
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


@arguments(**RULES)
def get_dynamic_range(
    neuron_structure: SingleCompartmentNeuron = SINGLE,
    calib_path: str | None = None,
    params: Mapping[str, Any] = NONE,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where membranes rest, and how far they are driven up and down; CADC LSB above 128, the mean
    over all neurons of a chip.

    An emulated chip's resting voltage is measured; the two ends are those of the supply, which its
    model has not (``facts.MEMBRANE_RANGE``). On a real one hxtorch measures all three.

    Args:
        neuron_structure: circuits joined to a neuron. Default 1.
        calib_path: of a calibration; default: the chip's own.
        params: of the neurons, as :class:`lavalike.bss2.spiking.LI`'s. Default: its defaults.
    """
    with chip_in_use() as chip:
        if chip.level == "hardware":
            made: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = on_hardware(
                "boundary",
                "get_dynamic_range",
                params,
                calib_path=calib_path,
                neuron_structure=neuron_structure,
            )
            return made
        still = torch.zeros(STEPS, SAMPLES, 1)
        rest = record(emulated(chip), params, calib_path, neuron_structure, still, 0.0)
    low, high = facts.MEMBRANE_RANGE
    up, down = (torch.tensor(float(end - facts.CADC_BASELINE)) for end in (high, low))
    return rest.mean(), up, down
