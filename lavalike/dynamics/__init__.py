"""Neuron equations, each written once; every backend derives its models from them."""

from lavalike.dynamics.dynamics import (
    Dynamics as Dynamics,
    Parameter as Parameter,
    integral as integral,
    within as within,
)
from lavalike.process.units import Units as Units
