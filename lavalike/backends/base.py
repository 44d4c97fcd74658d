"""The contract between the runtime and a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from lavalike.compiler.graph import Graph
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, Port, Var


class Program(Protocol):
    """A compiled graph with its state.

    ``step`` counts the steps done. Between runs ``read`` and ``write`` serve the Vars. A program that has an attribute ``whole``,
    True, is called once a run, for all of its steps.
    """

    step: int

    def run(self, steps: int, stimuli: Mapping[Port, np.ndarray], recordings: Mapping[Port | Var, np.ndarray]) -> None:
        """Do ``steps`` steps.

        Args:
            stimuli: for each of the graph's stimuli an array (steps, batch, size) of ``message_dtype``.
            recordings: arrays (steps, batch, size) to fill; dtype as ``dtype_of`` says.
        """

    def dtype_of(self, target: Port | Var) -> np.dtype:
        """The dtype in which ``target`` is recorded."""

    def read(self, var: Var) -> np.ndarray:
        """The Var's value, without batch (the first sample's where there is one)."""

    def write(self, var: Var, value: np.ndarray) -> None:
        """Set a state, or derive a model's constants anew; VarError leaves everything as it was."""


class Backend(Protocol):
    """Compiles flat graphs into programs."""

    name: str

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        """The model this backend derives from ``process.dynamics``, if any."""

    def build(self, graph: Graph, batch: int, recordable: Sequence[Port | Var]) -> Program:
        """A program for ``graph`` whose state is the processes' present values, ``batch`` times."""
