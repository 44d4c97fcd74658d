"""Izhikevich's resonate-and-fire: a spike where imag reaches the threshold; then real = 0 and imag
just below the threshold."""

from __future__ import annotations

from typing import Any

from lavalike.dynamics import resonator
from lavalike.slayer.neuron.resonator import Resonator, neuron_params as neuron_params


class Neuron(Resonator):
    __doc__ = Resonator.__doc__

    declaration = resonator.RF_IZ
    dynamics_, seen_ = resonator.RF_IZ, resonator.RF_IZ_SEEN

    def constants(self) -> dict[str, Any]:
        constants = super().constants()
        return constants | {"after": constants["vth"] - 1}
