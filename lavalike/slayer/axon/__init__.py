"""Axons: delays and delta coding."""

from lavalike.slayer.axon.delay import (
    DELAY_GRADIENT as DELAY_GRADIENT,
    Delay as Delay,
    after as after,
    delay as delay,
)
from lavalike.slayer.axon.delta import Delta as Delta
from lavalike.slayer.axon.sized import Sized as Sized
