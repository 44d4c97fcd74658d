"""The contract between a backend, the compiler and the engine.

A backend computes parts of a graph and nothing else: the compiler chooses models, cuts the graph
and orders it, the engine owns time, hands messages from part to part, records, and reads and writes
Vars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lavalike.compiler.parts import Part
from lavalike.errors import VarError
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess, OutPort, Port, Var

Rows = Mapping[Port, np.ndarray]  # (steps, batch, size) each


class Derivations(int):
    """How often a program derived constants anew, in a snapshot of it: a number of its own, and no
    state. A file of the snapshot leaves it out, as whoever reads it makes a program with the
    parameters of then."""


class Program(Protocol):
    """A part, compiled, with its states.

    ``step`` counts the steps done. Between runs ``read`` and ``write`` serve the Vars of its nodes.

    Besides what is below a program may have: ``record(targets)``, which lets runs record those too
    (without it a new program is made); ``again(steps)``, so many steps as the last ``run`` did
    them, on in the rows behind those that it was given, which may be longer then, with ``goes_on``,
    whether it may follow; ``stepper(heard, recordings)``, a call that does what
    ``run(1, heard, recordings)`` does, always in the same arrays; ``values(var)``, the Var over the
    batch, (batch, *shape), with ``put(var, value, sample)``, which sets a state in one sample
    (without them RefPorts of models in Python refer to its Vars in a batch of one only).
    """

    @property
    def step(self) -> int: ...

    def run(self, steps: int, heard: Rows, recordings: Mapping[Port | Var, np.ndarray]) -> None:
        """Do ``steps`` steps.

        Args:
            heard: for each port that the part hears an array (steps, batch, size), of the dtype
                that ``part.dtype_of(port)`` says.
            recordings: arrays (steps, batch, size) to fill, of OutPorts that other parts hear and
                of what is recorded; dtype as ``dtype_of`` says.
        """

    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        """What ``port`` will send in the next ``steps`` steps, at most the ``lag`` of its model:
        (steps, batch, size)."""

    def dtype_of(self, target: Port | Var) -> np.dtype:
        """The dtype in which ``target`` is recorded."""

    def read(self, var: Var) -> np.ndarray:
        """The Var's value, without batch (the first sample's where there is one)."""

    def write(self, var: Var, value: np.ndarray) -> None:
        """Set a state, or derive a model's constants anew; VarError leaves everything as it was."""

    def snapshot(self) -> Any:
        """All that steps change, as it is now; a value that later steps leave alone. Data, nested
        (:mod:`lavalike.runtime.checkpoint`): anything else keeps a run from being continued from a
        file."""

    def restore(self, snapshot: Any) -> None:
        """Be as when ``snapshot`` was taken, of this program or of one of an equal part."""


class Backend(Protocol):
    """Builds programs for parts.

    Besides what is below a backend may have: ``options``, a dataclass of those it takes
    (:class:`lavalike.RunConfig`'s keywords and ``options``; a part has it as ``target.options``);
    ``precisions`` that it computes in, default all that its models say; ``whole``, True where a
    program runs all steps at once, as a chip does; ``host``, the backend of nodes that it leaves
    out; ``accepts(flat, nodes, target)``, the Target of each of ``nodes`` that it takes, or a text
    that says why it does not; and ``manages(kind, node, owner, var)``, a model with which a program
    of it acts on ``var``, of its node ``owner``, at the end of a step as the library's model in
    Python of ``node`` does (``kind``: its class's ``rows``), or None.
    """

    name: str

    def general_model(self, process: AbstractProcess) -> type[ProcessModel] | None:
        """The model this backend derives from ``process.dynamics``, if any."""

    def build(self, part: Part, batch: int, recordable: Sequence[Port | Var]) -> Program:
        """A program for ``part`` whose states are the processes' present values, ``batch``
        times."""


def check_real(
    path: str, value: np.ndarray, takes: str, remedy: str, complexes: bool = False
) -> None:
    """VarError where Var ``path`` holds texts or, without ``complexes``, complex numbers: ``takes``
    says who takes real numbers, ``remedy`` what to do."""
    if value.dtype.kind in ("U" if complexes else "cU"):
        kind = "texts" if value.dtype.kind == "U" else "complex numbers"
        takes += " numbers" if complexes else " real numbers"
        raise VarError(f"{path}: holds {kind}, and {takes}; {remedy}")


def one_for_all(path: str) -> VarError:
    """The error for setting parameter ``path`` in one sample of a batch."""
    return VarError(
        f"{path}: a parameter, one value for all samples of a batch, and only one of them sets it; refer to a state, or run samples "
        "one after another"
    )


def int32(path: str, value: np.ndarray) -> np.ndarray:
    """The value of Var ``path`` as fixed_pt holds it; VarError where it cannot."""
    with np.errstate(invalid="ignore", over="ignore"):  # too large for an integer: told here
        out = value.astype(np.int32)
    if not np.array_equal(out, value):
        raise VarError(
            f"{path}: fixed_pt holds whole numbers of 32 bits, not {value[out != value].flat[0]}"
        )
    return out
