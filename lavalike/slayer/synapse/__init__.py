"""Synapses on tensors ``(batch, channel, (height, width,) time)``; :mod:`.complex` has those of
resonators."""

from lavalike.slayer.synapse import complex as complex
from lavalike.slayer.synapse.layer import (
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    Dense as Dense,
    GenericLayer as GenericLayer,
    Hook as Hook,
    Pool as Pool,
    Synapse as Synapse,
    Unpool as Unpool,
)
