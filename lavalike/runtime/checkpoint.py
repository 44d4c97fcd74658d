"""Checkpoints: all that steps change, in a file, as a run goes on; ``lavalike.resume`` reads them.

The file holds data only: numbers, texts, arrays, and tuples, lists and dicts of them. It is whole
or not there, whatever becomes of the program that writes it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike import atomic, container
from lavalike.backends.base import Derivations
from lavalike.compiler import refs
from lavalike.compiler.fingerprint import Fingerprint, fingerprint
from lavalike.container import Json
from lavalike.errors import GraphFileError, InputError, RunError
from lavalike.process.var import Var
from lavalike.runtime import generators
from lavalike.runtime.workers import Workers

if TYPE_CHECKING:
    from lavalike.process import AbstractProcess
    from lavalike.runtime.runtime import Runtime

FORMAT = 1
NAME = "checkpoint"  # of the text within the file
WRITER = "run(checkpoint=)"


# what nothing changes in place, so that nobody can tell whether it is there twice
FIXED = (type(None), bool, int, float, complex, str, bytes, tuple, np.generic)


class _Encoder(container.Encoder):
    """States; what is in those of a part at several places, as two attributes of a model may be one
    list, is so again."""

    def data(self, value: Any, what: str) -> Json:
        if not self.depth:
            self._seen: dict[int, tuple[int, Any]] = {}  # by id, which it keeps
        if id(value) in self._seen:
            return {"again": self._seen[id(value)][0]}
        found = super().data(value, what)
        if not isinstance(value, FIXED):
            self._seen[id(value)] = len(self._seen), value
        return found

    def other(self, value: Any, what: str) -> Json:
        if type(value) is Derivations:
            return {"own": "derivations"}
        if isinstance(value, np.random.Generator):
            return {"generator": self.data(value.bit_generator.state, what)}
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.data(value.get_state(legacy=False), what)}
        if type(value) is random.Random:
            return {"random": self.data(value.getstate(), what)}
        if hasattr(value, "detach"):
            return {"tensor": self.array(value.detach().cpu().numpy())}
        return self.fail(
            f"{what} is of class {type(value).__name__}, which no file holds, so the run cannot be continued from one; a "
            "checkpoint takes numbers, texts, arrays, NumPy's and Python's generators of random numbers, and lists, tuples and dicts of "
            "them: keep the rest out of the model's attributes, or run without checkpoint"
        )


class Checkpoint:
    """What a run writes to a file after the steps that ``every`` divides, and when it ends.

    Args:
        path: of the file, which takes the place of one that is there.
        every: None: only when the run ends.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None) -> None:
        self.path, self.every = Path(path), every
        self.written: int | None = None  # the step of what is in the file
        self._mine: Fingerprint = []

    def begin(self, runtime: Runtime) -> None:
        """Before the first step: GraphFileError for what cannot be continued from a file."""
        where = f"{self.path}: {runtime.processes[0].path}"
        if runtime.program.beside:
            names = [n.process.path for n in runtime.flat.nodes if hasattr(n.model, "run_async")]
            raise GraphFileError(
                f"{where}: {', '.join(names)} runs beside the steps, and where its code stands no file holds; run without checkpoint"
            )
        if self.every is not None and runtime.stretches.whole:
            raise InputError(
                f"{where}: every={self.every} cuts a run, and a chip does all steps of a run at once; leave every out, and call run for "
                "each stretch"
            )
        self._mine = fingerprint(runtime.flat, refs.varying(runtime.flat))
        self._text(runtime)

    def left(self, step: int) -> float:
        """How many steps from ``step`` on until one after which it is written."""
        return float("inf") if self.every is None else self.every - step % self.every

    def passed(self, runtime: Runtime) -> None:
        """A stretch is over."""
        if self.every is not None and runtime.program.step % self.every == 0:
            self.write(runtime)

    def write(self, runtime: Runtime) -> None:
        """Put what is now into the file, unless it is there; RunError where it cannot be
        written."""
        step = runtime.program.step
        if step == self.written:
            return
        text, arrays = self._text(runtime)
        try:
            with atomic.draft(self.path) as draft:
                container.written(draft, NAME, text, arrays)
        except OSError as e:
            kept = "nothing" if self.written is None else f"step {self.written}"
            raise RunError(
                f"{self.path}: the checkpoint after step {step} cannot be written: {e}; this run has written {kept} there, its states "
                "are those of this step, and run() goes on from it"
            ) from e
        self.written = step

    def _text(self, runtime: Runtime) -> tuple[bytes, list[np.ndarray]]:
        from lavalike import __version__

        flat, root = runtime.flat, runtime.structure.root()
        encoder = _Encoder(str(self.path))
        found = {
            "format": FORMAT,
            "lavalike": __version__,
            "step": runtime.program.step,
            "seed": runtime.config.seed,
            "drawn": flat.drawn,
            "graph": self._mine,
            "shares": runtime.program.shares,
            "vars": [encoder.array(runtime.program.read(v)) for v in refs.varying(runtime.flat)],
            "state": self._state(runtime, runtime.program.held(), encoder),
            "marked": None,
            "generators": encoder.data(_generators(runtime), "a generator of random numbers"),
        }
        if root.marked:  # by mark(): where reset() goes back to
            marks = [v.marked for v in states(runtime.processes) if v.marked is not None]
            state = None
            if runtime.marked is not None and not runtime.program.shares:
                state = self._state(runtime, runtime.marked, encoder)
            found["marked"] = [root.marked, [encoder.array(m) for m in marks], state]
        return encoder.text(found), encoder.arrays

    def _state(self, runtime: Runtime, state: Any, encoder: _Encoder) -> Json:
        step, parts = state
        parts_of = [[n.process.path for n in p.nodes] for p in runtime.program.plan.parts]
        names = map(", ".join, runtime.program.shares or parts_of)
        return [
            step,
            [
                encoder.data(x, f"what changes in {name[:80]}")
                for x, name in zip(parts, names, strict=True)
            ],
        ]


def states(processes: Iterable[AbstractProcess]) -> list[Var]:
    """The Vars of ``processes`` that are states, and hold them themselves."""
    return [v for p in processes for v in p.vars if v.role == "state" and v.aliased is None]


def _generators(runtime: Runtime) -> dict[str, Any]:
    """States of the global generators that models may draw from, each worker's where there are."""
    if not generators.drawn_from(runtime.flat.nodes):
        return {}
    if isinstance(runtime.program, Workers):
        return {"shares": runtime.program.generators()}
    return generators.states()
