"""Coordinates of neurons on the chip, in the words of halco, as far as programs for hxtorch place
neurons by them.

    from lavalike.bss2 import halco
    halco.LogicalNeuronOnDLS(
        SingleCompartmentNeuron(1).compartments,
        halco.AtomicNeuronOnDLS(halco.NeuronRowOnDLS(1), halco.NeuronColumnOnDLS(3)),
    )

A program that imports ``dlens_vx_v3.halco`` gets these by ``sys.modules["dlens_vx_v3.halco"] =
lavalike.bss2.halco`` before it, where the real one is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lavalike.arguments import arguments, instance, integer
from lavalike.bss2.chip import facts
from lavalike.bss2.spiking.morphology import Compartments
from lavalike.errors import InputTypeError


@arguments(value=integer(0, facts.HEMISPHERES - 1))
@dataclass(frozen=True)
class NeuronRowOnDLS:
    """A row of neurons, 0 or 1: a hemisphere."""

    value: int


@arguments(value=integer(0, facts.COLUMNS - 1))
@dataclass(frozen=True)
class NeuronColumnOnDLS:
    """A column of a row, 0..255."""

    value: int


@arguments(row=instance(NeuronRowOnDLS), column=instance(NeuronColumnOnDLS))
@dataclass(frozen=True)
class AtomicNeuronOnDLS:
    """One circuit."""

    row: NeuronRowOnDLS
    column: NeuronColumnOnDLS

    @property
    def circuit(self) -> int:
        """Its number, 0..511: row x 256 + column."""
        return self.row.value * facts.COLUMNS + self.column.value


@arguments(compartments=instance(Compartments), anchor=instance(AtomicNeuronOnDLS))
@dataclass(frozen=True)
class LogicalNeuronOnDLS:
    """A neuron of joined circuits, the first of which is ``anchor``; the others follow it in its
    row."""

    compartments: Compartments
    anchor: AtomicNeuronOnDLS

    @property
    def circuit(self) -> int:
        """The number of its first circuit."""
        return self.anchor.circuit

    def get_atomic_neurons(self) -> list[AtomicNeuronOnDLS]:
        """Its circuits."""
        first = self.anchor.column.value
        return [
            AtomicNeuronOnDLS(self.anchor.row, NeuronColumnOnDLS(first + k))
            for k in range(self.compartments.circuits)
        ]


def iter_all(kind: type) -> Iterator[object]:
    """All coordinates of a kind, AtomicNeuronOnDLS among them, in order."""
    rows = [NeuronRowOnDLS(h) for h in range(facts.HEMISPHERES)]
    columns = [NeuronColumnOnDLS(k) for k in range(facts.COLUMNS)]
    every: dict[type, list[object]] = {
        NeuronRowOnDLS: list(rows),
        NeuronColumnOnDLS: list(columns),
        AtomicNeuronOnDLS: [AtomicNeuronOnDLS(r, c) for r in rows for c in columns],
    }
    if kind not in every:
        raise InputTypeError(
            f"iter_all: coordinates of {', '.join(k.__name__ for k in every)} are listed, got {kind!r}"
        )
    yield from every[kind]
