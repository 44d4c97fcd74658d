"""Neurons: cuba, sigma_delta; normalisation and dropout."""

from lavalike.slayer.neuron import cuba as cuba, norm as norm, sigma_delta as sigma_delta
from lavalike.slayer.neuron.dropout import Dropout as Dropout
