"""Data sets, as hxtorch.spiking.datasets names them."""

from lavalike.bss2.spiking.datasets import yinyang as yinyang
