"""snnTorch's modules of layers, under its names; both are :mod:`lavalike.snn.layers`."""

from __future__ import annotations

import sys

from lavalike.snn import layers as bntt, layers as graded_spikes

__path__: list[str] = []  # what lies below is registered here

sys.modules[f"{__name__}.bntt"] = sys.modules[f"{__name__}.graded_spikes"] = bntt
__all__ = ["bntt", "graded_spikes"]
