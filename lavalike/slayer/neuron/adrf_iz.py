"""Izhikevich's resonate-and-fire with a rising threshold; its states are not reset."""

from __future__ import annotations

from lavalike.dynamics import adaptive
from lavalike.fused.surrogate import Exponential
from lavalike.slayer.neuron import adrf
from lavalike.slayer.neuron.resonator import neuron_params as neuron_params


class Neuron(adrf.Neuron):
    __doc__ = adrf.Neuron.__doc__

    surrogate_class = Exponential
    declaration = adaptive.ADRF_IZ
    dynamics_, seen_ = adaptive.ADRF_IZ, adaptive.ADRF_IZ_SEEN
    phase = False
