"""What a neuron is made of."""

from __future__ import annotations

from lavalike.bss2 import facts
from lavalike.checks import whole


class SingleCompartmentNeuron:
    """A neuron of several circuits joined to one membrane: it takes 128 signed inputs for each.

    Args:
        size: circuits, 1..512.
        expand_horizontally: circuits of one hemisphere side by side, which is where the placement puts them where there is room; handed
            to hxtorch. Default False.
    """

    def __init__(self, size: int, expand_horizontally: bool = False) -> None:
        self.size = whole(size, 1, "SingleCompartmentNeuron: size", most=facts.CIRCUITS)
        self.expand_horizontally = expand_horizontally

    def __repr__(self) -> str:
        return f"SingleCompartmentNeuron({self.size})"
