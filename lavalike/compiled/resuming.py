"""``lv.resume``: a run goes on from a checkpoint."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import PATH, arguments, instance, optional
from lavalike.backends.base import Derivations
from lavalike.compiler import refs
from lavalike.compiler.fingerprint import difference, fingerprint
from lavalike.container import Json
from lavalike.contents import WRONG, Decoder
from lavalike.errors import LavalikeError
from lavalike.model.config import RunConfig
from lavalike.process import AbstractProcess
from lavalike.runtime import checkpoint, generators, runtime
from lavalike.runtime.workers import Workers


@arguments(
    process=instance(AbstractProcess, words="a process"),
    path=PATH,
    config=optional(instance("lavalike.model.config.RunConfig", words="a RunConfig")),
)
def resume(
    process: AbstractProcess, path: str | os.PathLike[str], config: RunConfig | None = None
) -> int:
    """Put everything that ``process`` is connected to where a run with ``checkpoint=`` wrote it to
    ``path``; the next run gives the same bits as the one that was broken off would have.

    The graph is made by the program as it was then: the same processes, connections and parameters,
    which are compared; what steps change comes from the file, the count of steps with it, and so do
    the seed that was drawn where the RunConfig gives none, where :meth:`AbstractProcess.reset` goes
    back to, and, for Python models and chips, the states of the global generators of ``random``,
    NumPy and torch. What monitors recorded is not in it: rows begin anew with the next step.

    Args:
        process: any process of the graph.
        path: of the file. Its digest tells damage, and not who wrote it.
        config: as the run had it; default the last one used, or ``RunConfig()``.

    Returns:
        The count of steps done, ``process.step``.

    Raises:
        GraphFileError: the file is damaged, no checkpoint, or of another graph; it says which
            process differs in what.
        RunError: while it is running. Whatever compiling raises.

    Example::

        if Path("run.h5").exists():
            lv.resume(net, "run.h5", config)
        net.run(RunSteps(1_000_000 - net.step), config, checkpoint="run.h5", every=10_000)
    """
    reader = _Reader(Path(path))
    try:
        return reader.resume(process, config)
    except LavalikeError:
        raise
    except WRONG as e:
        reader.fail(f"is damaged: {type(e).__name__}: {e}")


class _Reader(Decoder):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found = self.read(checkpoint.NAME, checkpoint.WRITER, checkpoint.FORMAT)
        self.made: list[Any] = []

    def resume(self, process: AbstractProcess, config: RunConfig | None) -> int:
        found = self.found
        _, drawn = self.count(found)
        process.stop()
        now = runtime.prepare(process, config, drawn)
        varying = refs.varying(now.flat)
        problem = difference(found["graph"], fingerprint(now.flat, varying))
        if problem is None and now.config.seed != found["seed"]:
            problem = f"RunConfig.seed is {found['seed']} there and {now.config.seed} here"
        if problem is not None:
            self.fail(f"is of another graph than {process.path}: {problem}")
        if found["shares"] != now.program.shares:
            count, here = len(found["shares"]), len(now.program.shares)
            self.fail(
                f"was written by {count or 'no'} workers, and {here or 'none'} compute this graph, or other parts of it; resume with the "
                "RunConfig of then, and give it a partition"
            )
        if varying:  # which steps may have changed, and constants follow from
            process.stop()
            for var, value in zip(varying, found["vars"], strict=True):
                var.restore(self.array(value))
            now = runtime.prepare(process, now.config, drawn)
        state = self.state(found["state"], now)
        root = now.structure.root()
        if found["marked"] is not None:
            marked, values, held = found["marked"]
            states = [v for v in checkpoint.states(now.processes) if v.marked is not None]
            for var, value in zip(states, values, strict=True):
                var.marked = self.array(value)
            root.marked = marked
            now.marked = held and self.state(held, now)
        now.program.hold(state)
        root.step = now.program.step
        drawing = self.data(found["generators"])
        if isinstance(now.program, Workers):
            now.program.generate(drawing.get("shares", ()))
        else:
            generators.restore(drawing)
        return root.step

    def state(self, x: Json, now: runtime.Runtime) -> Any:
        step, parts = x
        mine = now.program.held()[1]
        if len(parts) != len(mine):
            self.fail(f"{len(parts)} parts there, {len(mine)} here")
        return step, tuple(self.alike(self.data(p), m) for p, m in zip(parts, mine, strict=True))

    def alike(self, value: Any, mine: Any) -> Any:
        """``value`` in the form of what this program has, whose own numbers it takes."""
        if isinstance(mine, Derivations):
            return mine
        if type(mine) in (list, tuple) and type(value) is type(mine) and len(value) == len(mine):
            return type(mine)(self.alike(v, m) for v, m in zip(value, mine, strict=True))
        if mine is None or value is None:  # of what comes with the first step
            return value
        shapes = [getattr(x, "shape", None) for x in (value, mine)]
        dtypes = [getattr(x, "dtype", None) for x in (value, mine)]
        if type(value) is not type(mine) or (
            type(mine) is not dict and (shapes[0] != shapes[1] or dtypes[0] != dtypes[1])
        ):
            self.fail(
                f"holds a {type(value).__name__} of shape {shapes[0]} where this graph has a {type(mine).__name__} of shape {shapes[1]}"
            )
        return value

    def data(self, x: Json, what: str = "") -> Any:
        if not self.depth:
            self.made = []
        if isinstance(x, dict) and "again" in x:
            return self.made[x["again"]]
        value = super().data(x, what)
        if not isinstance(value, checkpoint.FIXED):
            self.made.append(value)
        return value

    def other(self, x: Json, what: str) -> Any:
        match x:
            case {"tensor": array}:
                import torch

                return torch.tensor(self.array(array))
            case {"own": _}:
                return Derivations(-1)
            case {"generator": state}:
                return _generator(self.data(state))
            case {"random_state": state}:
                made = np.random.RandomState()
                made.set_state(self.data(state))
                return made
            case {"random": state}:
                drawing = random.Random()
                drawing.setstate(self.data(state))
                return drawing
        return super().other(x, what)


def _generator(state: Any) -> np.random.Generator:
    kinds = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937)
    made = {k.__name__: k for k in (*kinds, np.random.Philox, np.random.SFC64)}
    bits = made[state["bit_generator"]]()
    bits.state = state
    return np.random.Generator(bits)
