"""What a neuron is made of."""

from __future__ import annotations

from dataclasses import dataclass

from lavalike.arguments import FLAG, arguments, integer
from lavalike.bss2.chip import facts


@dataclass(frozen=True)
class Compartments:
    """What a :class:`SingleCompartmentNeuron` is, before it lies anywhere: ``circuits`` joined in
    its one compartment. It stands in a coordinate where halco's LogicalNeuronCompartments does."""

    circuits: int

    def get_compartments(self) -> dict[int, tuple[int, ...]]:
        """The circuits of each compartment, by number."""
        return {0: tuple(range(self.circuits))}


class SingleCompartmentNeuron:
    """A neuron of several circuits joined to one membrane: it takes 128 signed inputs for each.

    Args:
        size: circuits, 1..512.
        expand_horizontally: circuits of one hemisphere side by side, which is where the placement
            puts them where there is room; handed to hxtorch. Default False.
    """

    @arguments(size=integer(1, facts.CIRCUITS), expand_horizontally=FLAG)
    def __init__(self, size: int, expand_horizontally: bool = False) -> None:
        self.size = int(size)
        self.expand_horizontally = expand_horizontally

    @property
    def compartments(self) -> Compartments:
        """For a coordinate, as in ``placement_constraint``
        (:mod:`lavalike.bss2.halco`)."""
        return Compartments(self.size)

    def __repr__(self) -> str:
        return f"SingleCompartmentNeuron({self.size})"
