"""What belongs to experiments besides their layers."""

from lavalike.bss2.spiking.utils import readout_source as readout_source
