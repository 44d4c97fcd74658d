"""Probes: a wish to have a Var or a port recorded in the steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.errors import InputError, RunError
from lavalike.process.sinks import File, Memory, Ring, Sink

if TYPE_CHECKING:
    from lavalike.process.ports import Port
    from lavalike.process.process import AbstractProcess
    from lavalike.process.var import Var

STAGED = 1 << 22  # bytes of what a stretch records where not all of it is kept as it is


@dataclass(eq=False)
class Probe:
    """One recorded target.

    Args:
        owner: who wants it.
        num_steps: at most so many steps, None: any number.
        sink: where rows go. Default: an array that grows.
        every: of every so many steps, those with ``step % every == 0``.
        index: flat indices of the target's elements that are kept, in ``shape``; None: all.
        packed: elements are 0 or 1 and kept as bits, eight a byte, each row from a byte of its own.
    """

    owner: AbstractProcess
    target: Var | Port
    num_steps: int | None = None
    sink: Sink = field(default_factory=Memory)
    every: int = 1
    index: np.ndarray | None = None
    shape: tuple[int, ...] = None  # type: ignore[assignment]  # the target's
    packed: bool = False
    recorded: int = 0  # steps of runs
    free: int = 0  # rows that a program goes on filling
    spans: list[tuple[int, int]] = field(
        default_factory=list
    )  # (row, step of that row), where steps do not go on
    expected: int = 0  # the step that the next row would be of, if they went on
    staged: np.ndarray | None = None
    told: Any = None  # of rows that have come

    def __post_init__(self) -> None:
        if self.shape is None:
            self.shape = self.target.shape
        self.plain = (
            self.every == 1
            and self.index is None
            and not self.packed
            and isinstance(self.sink, Memory)
        )

    @property
    def left(self) -> float:
        """How many steps more it takes."""
        return math.inf if self.num_steps is None else self.num_steps - self.recorded

    def row(self, dtype: np.dtype) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of what is kept of a step that is recorded in ``dtype``."""
        size = math.prod(self.shape)
        return ((-(-size // 8),), np.dtype(np.uint8)) if self.packed else (self.shape, dtype)

    def rows_of(self, steps: int, after: int) -> int:
        """Rows that so many steps after step ``after`` bring."""
        return (after + steps) // self.every - after // self.every

    def begin(self, steps: int | None, after: int, dtype: np.dtype) -> None:
        """Before a run: InputError where there is no room for it."""
        if steps is not None and steps > self.left:
            raise InputError(
                f"{self.owner.path}: {self.target!r} is probed for {self.num_steps} steps, {self.recorded} are "
                f"recorded and {steps} more were asked for; probe it again with a larger num_steps"
            )
        shape, kept = self.row(dtype)
        n = 0 if steps is None else self.rows_of(steps, after)
        try:
            if isinstance(self.sink, File):
                self.sink.open(shape, kept)
            elif isinstance(self.sink, Ring):
                n = self.sink.size
                self.sink.open(shape, kept)
            elif isinstance(self.sink, Memory) and steps is not None and steps > 1:
                row = (1, self.target.size) if self.plain else shape
                self.sink.room(n, row, kept, self.left + self.recorded)
        except (MemoryError, ValueError):  # beyond what there is, or can be
            size = n * math.prod(shape) * kept.itemsize / 2**30
            raise InputError(
                f"{self.owner.path}: {self.target!r} needs {size:.1f} GiB for {n} rows; record less, run fewer "
                "steps, or give a Recorder every=, index=, a smaller ring= or to="
            ) from None

    def most(self, dtype: np.dtype) -> float:
        """The most steps of one stretch."""
        return (
            self.left
            if self.plain
            else min(self.left, max(1, STAGED // (self.target.size * dtype.itemsize)))
        )

    def limit(self, num_steps: int) -> None:
        """Take at most so many steps all in all."""
        self.num_steps, self.free = num_steps, 0

    def room(self, steps: int, dtype: np.dtype, longer: bool = False) -> np.ndarray:
        """Rows (steps, 1, size) for the steps that come next, to be filled; ``longer``: and for
        those after them as there are."""
        if self.plain:
            assert isinstance(self.sink, Memory)
            most = self.left + self.recorded
            rows = self.sink.room(steps, (1, self.target.size), dtype, most, longer)
            self.free = len(rows)
            return rows
        if self.staged is None or len(self.staged) < steps or self.staged.dtype != dtype:
            self.staged = np.empty((steps, 1, self.target.size), dtype)
        return self.staged[:steps]

    def commit(self, steps: int, before: int) -> None:
        """So many of the rows are filled, of the steps after step ``before``."""
        if not steps:
            return
        if self.plain:
            self.recorded += steps
            self.free -= steps
            if before + 1 != self.expected or not self.spans:
                self._span(before + 1)
            self.expected = before + steps + 1
            self.sink.count += steps
        else:
            self._commit(steps, before)
        if self.told is not None and self.told.waiting:
            self.told.tell()

    def _commit(self, steps: int, before: int) -> None:
        self.recorded += steps
        assert self.staged is not None
        first = (
            self.every - before % self.every
        )  # the first step that is kept, counted from ``before``
        rows = self.staged[first - 1 : steps : self.every, 0]
        if not len(rows):
            return
        self._span(before + first)
        rows = rows if self.index is None else rows[:, self.index]
        if self.packed:
            bits = rows != 0
            if not np.array_equal(bits, rows):
                k = int(np.flatnonzero((bits != rows).any(1))[0])
                self.sink.append(np.packbits(bits[:k], axis=1))
                raise RunError(
                    f"{self.owner.path}: {self.target!r} holds {rows[k][bits[k] != rows[k]][0]} in step "
                    f"{before + first + k * self.every}, and packed=True keeps 0 and 1 only; record it without"
                )
            self.sink.append(np.packbits(bits, axis=1))
        else:
            self.sink.append(rows.reshape(-1, *self.shape))
        self.expected = before + first + len(rows) * self.every

    def _span(self, step: int) -> None:
        if step != self.expected or not self.spans:
            self.spans.append((self.sink.count, step))

    def data(self, first: int = 0) -> np.ndarray:
        """The rows that are kept from number ``first`` on, ``(rows, *shape)``; bool where
        packed."""
        rows = self.sink.read(first)
        if not len(rows):
            return np.empty((0, *self.shape), bool if self.packed else rows.dtype)
        if self.packed:
            rows = np.unpackbits(rows, axis=1, count=math.prod(self.shape)).astype(bool)
        return rows.reshape(-1, *self.shape)

    def steps(self) -> np.ndarray:
        """The step of each row that is kept, (rows,)."""
        count = self.sink.count
        out = np.empty(count, np.int64)
        for k, (row, step) in enumerate(self.spans):
            end = self.spans[k + 1][0] if k + 1 < len(self.spans) else count
            out[row:end] = step + np.arange(end - row) * self.every
        return out[self.sink.first :]

    def clear(self) -> None:
        """Forget what was recorded; ``num_steps`` counts anew."""
        self.sink.clear()
        self.recorded = self.free = 0
        self.spans.clear()
