"""A batch over threads: each has a program of its own for some of the samples, all share the
constants."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lavalike.backends.numba.program import NumbaProgram
from lavalike.compiler.parts import Part
from lavalike.process import OutPort, Port, Var


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lavalike-numba")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


class ThreadedProgram:
    """See :class:`lavalike.backends.base.Program`. An error is the one of the first sample that has
    one."""

    def __init__(
        self, part: Part, batch: int, recordable: Sequence[Port | Var], threads: int
    ) -> None:
        cuts = np.linspace(0, batch, threads + 1).astype(int)
        self.samples = [slice(a, b) for a, b in itertools.pairwise(cuts)]
        self.pool = _pool(threads)
        first = NumbaProgram(part, int(cuts[1]), recordable)
        for op in first.ops:
            op.row(first.batch)  # compiles, once, what the cache does not hold yet
        self.parts = [
            first,
            *(
                NumbaProgram(part, s.stop - s.start, recordable, first.constants, s.start)
                for s in self.samples[1:]
            ),
        ]

    @property
    def step(self) -> int:
        return self.parts[0].step

    def run(
        self,
        steps: int,
        stimuli: Mapping[Port, np.ndarray],
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        def share(k: int) -> None:
            s = self.samples[k]
            self.parts[k].run(
                steps,
                {p: x[:, s] for p, x in stimuli.items()},
                {t: x[:, s] for t, x in recordings.items()},
            )

        for done in [self.pool.submit(share, k) for k in range(len(self.parts))]:
            done.result()

    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        return np.concatenate([p.ahead(port, steps) for p in self.parts], 1)

    def snapshot(self) -> list[Any]:
        return [p.snapshot() for p in self.parts]

    def restore(self, snapshot: list[Any]) -> None:
        for part, own in zip(self.parts, snapshot, strict=True):
            part.restore(own)

    def dtype_of(self, target: Port | Var) -> np.dtype:
        return self.parts[0].dtype_of(target)

    def read(self, var: Var) -> np.ndarray:
        return self.parts[0].read(var)

    def values(self, var: Var) -> np.ndarray:
        return np.concatenate([part.values(var) for part in self.parts])

    def put(self, var: Var, value: np.ndarray, sample: int) -> None:
        k = next(k for k, s in enumerate(self.samples) if sample < s.stop)
        self.parts[k].put(var, value, sample - self.samples[k].start)

    def write(self, var: Var, value: np.ndarray) -> None:
        self.parts[0].write(var, value)
        for part in self.parts[1:]:
            part.write(var, value)
