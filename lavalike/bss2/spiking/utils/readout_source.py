"""What a converter reads of a neuron."""

from __future__ import annotations

from enum import Enum


class ReadoutSource(Enum):
    """Of a population's ``cadc_readout_source`` and ``madc_readout_source``: its membranes, or its
    adaptation currents."""

    VOLTAGE = "membrane"
    ADAPTATION = "adaptation"
