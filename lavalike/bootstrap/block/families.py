"""The families of blocks, ``bootstrap.block.cuba`` and so on, of neurons that spike where a state
reaches a threshold."""

from __future__ import annotations

import sys
from types import ModuleType

from lavalike.bootstrap.block import base
from lavalike.slayer.block import families
from lavalike.slayer.neuron import alif, cuba, lif

FAMILIES = {
    "cuba": families.Family("Bootstrap's blocks of CUBA neurons.", cuba.Neuron, base.BLOCKS),
    "lif": families.Family(
        "Bootstrap's blocks of LIF neurons without a current.",
        lif.Neuron,
        base.BLOCKS,
        example=families.FAMILIES["lif"].example,
    ),
    "alif": families.Family(
        "Bootstrap's blocks of adaptive LIF neurons.",
        alif.Neuron,
        base.BLOCKS,
        example=families.FAMILIES["alif"].example,
    ),
}
MODULES: dict[str, ModuleType] = {
    name: families.made(name, f, __package__) for name, f in FAMILIES.items()
}
sys.modules.update({m.__name__: m for m in MODULES.values()})
