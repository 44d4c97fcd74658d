"""snnTorch's modules of neurons, under its names: ``snntorch._neurons.stateleaky`` is
``lavalike.snn._neurons.stateleaky``, one of the modules here."""

from __future__ import annotations

import sys

from lavalike.snn import cells, neurons, parallel, spiking

__path__: list[str] = []  # what lies below is registered here

_NAMED = {
    neurons: (
        "alpha",
        "deltaleaky",
        "lapicque",
        "leaky",
        "rleaky",
        "rsynaptic",
        "synaptic",
    ),
    cells: ("sconv2dlstm", "slstm"),
    parallel: ("associative", "leakyparallel", "linearleaky", "stateleaky"),
    spiking: ("neurons",),
}
for _module, _names in _NAMED.items():
    for _name in _names:
        sys.modules[f"{__name__}.{_name}"] = globals()[_name] = _module
