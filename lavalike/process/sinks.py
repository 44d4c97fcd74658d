"""Where recorded rows go: into an array that grows, into a ring, into an HDF5 file."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lavalike.errors import InputError, RunError

LEAST = 4096  # bytes of a Memory's first array
SLACK = 1 << 16  # bytes for what HDF5 writes beside rows
CHUNK = 1 << 18  # bytes that a File gathers before it writes them


class Sink(Protocol):
    """``count`` rows were taken since the last ``clear``, of which those from ``first`` on are
    still there."""

    count: int

    @property
    def first(self) -> int: ...

    def append(self, rows: np.ndarray) -> None:
        """Take ``rows`` (n, *shape)."""

    def read(self, first: int) -> np.ndarray:
        """A copy of the rows from number ``first`` on."""

    def clear(self) -> None:
        """Forget all rows; a File keeps those on disk and begins a new dataset."""


class Memory:
    """An array that grows as it fills, so that a row costs the same however many calls bring
    them."""

    first = 0

    def __init__(self) -> None:
        self.count = 0
        self.rows: np.ndarray | None = None  # of which ``count - earlier`` are filled
        self.full: list[np.ndarray] = []  # of other dtypes, before
        self.earlier = 0  # rows in those

    def room(
        self,
        n: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        most: float = np.inf,
        longer: bool = False,
    ) -> np.ndarray:
        """The ``n`` rows that come next, to be filled, and with ``longer`` those after them as
        there are; all in all there will be at most ``most``. ``count`` grows by what was filled."""
        rows, done = self.rows, self.count - self.earlier
        if rows is None or rows.dtype != dtype or rows.shape[1:] != shape:
            if done:
                self.full.append(rows[:done])  # type: ignore[index]  # something was done: there are rows
                self.earlier += done
            rows, done = None, 0
        if rows is None or len(rows) < done + n:
            least = LEAST // (int(np.prod(shape)) * dtype.itemsize)
            new = np.empty(
                (max(done + n, int(min(2 * done, most - self.earlier)), least), *shape), dtype
            )
            if rows is not None:
                new[:done] = rows[:done]
            self.rows = rows = new
        return rows[done : min(len(rows), most - self.earlier) if longer else done + n]

    def append(self, rows: np.ndarray) -> None:
        self.room(len(rows), rows.shape[1:], rows.dtype)[...] = rows
        self.count += len(rows)

    def read(self, first: int) -> np.ndarray:
        count, rows, earlier = (
            self.count,
            self.rows,
            self.earlier,
        )  # a run may go on meanwhile: what it fills lies behind
        if rows is None:
            return np.empty((0,))
        parts = [*self.full, rows[: count - earlier]]
        return np.concatenate(parts)[first:] if earlier else rows[first:count].copy()

    def clear(self) -> None:
        self.count, self.earlier = (
            0,
            0,
        )  # the array is filled anew: fresh memory costs more than what is written into it
        self.full.clear()


class Ring:
    """The last ``size`` rows."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.rows: np.ndarray | None = None
        self.busy = threading.Lock()  # a run writes while another thread reads

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "busy"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.busy = threading.Lock()

    @property
    def first(self) -> int:
        return max(0, self.count - self.size)

    def open(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Make room for rows of ``shape``."""
        if self.rows is None or self.rows.dtype != dtype:
            new = np.empty((self.size, *shape), dtype)
            if self.rows is not None:
                new[...] = self.rows
            self.rows = new

    def append(self, rows: np.ndarray) -> None:
        with self.busy:
            self.open(rows.shape[1:], rows.dtype)
            assert self.rows is not None
            at = self.count + len(rows) - min(len(rows), self.size)
            self.rows[np.arange(at, self.count + len(rows)) % self.size] = rows[-self.size :]
            self.count += len(rows)

    def read(self, first: int) -> np.ndarray:
        with self.busy:
            if self.rows is None:
                return np.empty((0,))
            return self.rows[np.arange(max(first, self.first), self.count) % self.size]

    def clear(self) -> None:
        self.count = 0


class Store:
    """An HDF5 file that several :class:`File` write to. What was written can be read at any moment,
    also by another program and after the disk was full: its structure is on disk before its rows
    (HDF5's single writer, multiple readers)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failed: str | None = None
        self.busy = threading.RLock()  # a run writes while another thread reads
        try:
            import h5py

            self.file: Any = h5py.File(path, "x", libver="latest")
        except FileExistsError:
            raise InputError(
                f"Recorder: to={str(path)!r} exists; give another name, or remove it"
            ) from None
        except OSError as e:
            raise InputError(f"Recorder: to={str(path)!r} cannot be made: {e}") from None

    def create(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype, notes: dict[str, Any]
    ) -> Any:
        if self.file.swmr_mode:
            raise RunError(
                f"Recorder: {name} comes after {self.path} was begun; add all targets before the first run, keep dtypes, and do "
                "not clear a file"
            )
        if self.failed is not None or not self.file:
            raise RunError(self.closed)
        itemsize = int(np.prod(shape)) * dtype.itemsize
        chunk = (max(1, CHUNK // itemsize), *shape)
        try:
            dataset = self.file.create_dataset(
                name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunk
            )
        except (OSError, ValueError, TypeError, RuntimeError) as e:
            raise RunError(f"Recorder: {name} in {self.path}: cannot be made: {e}") from None
        dataset.attrs.update(notes)
        return dataset

    @property
    def closed(self) -> str:
        return f"Recorder: {self.path} is closed" + (f": {self.failed}" if self.failed else "")

    def begin(self) -> None:
        if not self.file.swmr_mode:
            self.file.flush()
            self.file.swmr_mode = True

    def reserve(self, size: int) -> None:
        """OSError unless the file can grow by ``size`` bytes: HDF5 itself cannot go on, nor close,
        after a write that failed."""
        number = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            end = os.fstat(number).st_size
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(number, end, size + SLACK)
                else:
                    os.lseek(number, end, os.SEEK_SET)
                    zeros = bytes(size + SLACK)
                    while zeros:
                        zeros = zeros[os.write(number, zeros) :]
            except OSError:
                os.ftruncate(number, end)
                raise
        finally:
            os.close(number)

    def __getstate__(self) -> Any:
        if self.file:
            raise RunError(f"cannot copy what records to {self.path}; close() the Recorder first")
        return {k: v for k, v in self.__dict__.items() if k != "busy"} | {"file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.busy = threading.RLock()

    def close(self) -> None:
        if self.file:
            file, self.file = self.file, None
            try:
                file.close()
            except (OSError, RuntimeError) as e:
                if self.failed is None:
                    raise RunError(f"Recorder: {self.path}: {e}") from None


class File:
    """A dataset of a :class:`Store`, (rows, *shape). Rows are gathered to chunks before they are
    written."""

    first = 0

    def __init__(self, store: Store, name: str, notes: dict[str, Any]) -> None:
        self.store, self.name, self.notes = store, name, notes
        self.count, self.written = 0, 0
        self.dataset: Any = None
        self.dtype: np.dtype | None = None
        self.pending = Memory()

    def open(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Make the dataset for rows of ``shape``."""
        if not self.store.file:
            raise RunError(self.store.closed)
        if self.dtype == dtype:
            return
        if self.dataset is not None:
            raise RunError(
                f"Recorder: {self.name} in {self.store.path} has rows of {self.dtype}, and this run's are of {dtype}; give it "
                "another Recorder"
            )
        self.dataset, self.dtype = self.store.create(self.name, shape, dtype, self.notes), dtype

    def append(self, rows: np.ndarray) -> None:
        if not self.store.file:
            raise RunError(self.store.closed)
        with self.store.busy:
            self.pending.append(rows)
            self.count += len(rows)
        if self.pending.count >= self.dataset.chunks[0]:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        with self.store.busy:
            self._flush()

    def _flush(self) -> None:
        if not self.pending.count or not self.store.file:
            return
        rows = self.pending.read(0)
        try:
            self.store.begin()
            self.store.reserve(
                rows.nbytes + self.dataset.chunks[0] * rows[:1].nbytes
            )  # a chunk is written whole
            self.dataset.resize(self.written + len(rows), 0)
            self.dataset[self.written :] = rows
            self.dataset.flush()
        except (OSError, RuntimeError) as e:  # as h5py raises either
            self.store.failed = str(e)
            self.store.close()
            raise RunError(
                f"Recorder: {self.store.path}: {e}; {self.written} rows of {self.name} were written and can be read"
            ) from None
        self.written += len(rows)
        self.pending.clear()

    def read(self, first: int) -> np.ndarray:
        with self.store.busy:
            return self._read(first)

    def _read(self, first: int) -> np.ndarray:
        pending = self.pending.read(0)
        if self.dataset is None:
            return np.empty((0,))
        if self.store.file:
            rows = self.dataset[first : self.written]
        else:
            import h5py

            try:
                with h5py.File(self.store.path, "r", swmr=True) as file:
                    rows = file[self.name][first : self.written]
            except (OSError, KeyError) as e:
                raise RunError(f"Recorder: {self.store.path} cannot be read: {e}") from None
        return (
            np.concatenate([rows, pending[max(0, first - self.written) :]])
            if len(pending)
            else rows
        )

    def clear(self) -> None:
        raise RunError(
            f"Recorder: what is in {self.store.path} stays there; clear() is for memory and rings"
        )
