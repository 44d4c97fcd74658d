"""Resonate-and-fire: a spike where real reaches the threshold as imag passes zero upwards; no
reset."""

from __future__ import annotations

from typing import ClassVar

from lavalike.dynamics import resonator
from lavalike.slayer.neuron.resonator import Resonator, neuron_params as neuron_params
from lavalike.slayer.spike import Phase, Slayer


class Neuron(Resonator):
    __doc__ = Resonator.__doc__

    tau_factor, scale_factor = 0.5, 10.0
    surrogate_class: ClassVar[type[Slayer]] = Phase
    declaration = resonator.RF
    dynamics_, seen_ = resonator.RF, resonator.RF_SEEN
    phase = True
