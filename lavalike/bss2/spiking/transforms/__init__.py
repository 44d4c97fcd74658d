"""Weights to the chip, values to spikes, spikes and membranes to scores."""

from lavalike.bss2.spiking.transforms import (
    decode as decode,
    encode as encode,
    weight_transforms as weight_transforms,
)
