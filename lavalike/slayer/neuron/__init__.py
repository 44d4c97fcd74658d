"""Neurons: cuba, lif, alif, rf, rf_iz, adrf, adrf_iz, sigma_delta, soft_lif; normalisation
and dropout; neurons of one's own; their states over time as functions."""

from lavalike.slayer.neuron import (
    adrf as adrf,
    adrf_iz as adrf_iz,
    alif as alif,
    cuba as cuba,
    dynamics as dynamics,
    lif as lif,
    norm as norm,
    rf as rf,
    rf_iz as rf_iz,
    sigma_delta as sigma_delta,
    soft_lif as soft_lif,
)
from lavalike.slayer.neuron.custom import Custom as Custom
from lavalike.slayer.neuron.dropout import Dropout as Dropout
