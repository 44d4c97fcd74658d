"""Connections that store their synapses: memory grows with these, not with inputs times outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np

from lavalike.arguments import SHAPE, arguments, integer, is_integer, shown
from lavalike.errors import VarError, VarTypeError
from lavalike.proc.dense import (
    _arrives_later,
    _check_delays,
    _delayed,
    _matrix,
    _Options,
    _under_way,
    _Weighted,
    _whole,
)
from lavalike.proc.drawn import RandomSynapses
from lavalike.proc.parameters import array
from lavalike.process import InPort, OutPort, Var
from lavalike.process.var import Deferred, DeferredVar


@dataclass(frozen=True)
class _Entries:
    """The synapses that are stored: row by row where they come from a matrix, in their own order
    where they are listed, and by input where they come in chunks.

    ``start``, of entries in the order of their inputs, is where each input's begin, and ``cols`` is
    not kept. Of those that come in chunks there are ``placed`` alone.
    """

    shape: tuple[int, int]
    rows: np.ndarray | None
    cols: np.ndarray | None
    data: np.ndarray | None
    start: np.ndarray | None = None
    placed: _InChunks | None = None

    @property
    def count(self) -> int:
        return (
            len(self.data)
            if self.data is not None
            else self.placed.count
            if self.placed is not None
            else 0
        )

    @classmethod
    def of(
        cls,
        owner: str,
        weights: Any,
        rows: Any,
        cols: Any,
        data: Any,
        shape: Any,
        chunks: Any = None,
        lengths: tuple[int, ...] = (),
        max_delay: int = 0,
    ) -> _Entries:
        """From one of the three ways to say them. ``lengths`` that chunks may have: 4 with delays,
        which may be set up to ``max_delay`` later; none where the connection takes no chunks."""
        given = {
            "weights": weights,
            "rows": rows,
            "cols": cols,
            "data": data,
            "chunks": chunks,
            "shape": shape,
        }
        got = [n for n, v in given.items() if v is not None]
        form = got[0] if got else "weights"
        needed = {"weights": ["weights"], "chunks": ["chunks", "shape"]}.get(
            form, ["rows", "cols", "data", "shape"]
        )
        if got != needed:
            missing = [n for n in needed if n not in got]
            raise VarTypeError(
                f"{owner}: give weights, a matrix (out, in), or rows, cols, data and shape"
                + (", or chunks and shape; " if lengths else "; ")
                + (
                    f"missing: {', '.join(missing)}"
                    if missing and form != "weights"
                    else f"got {', '.join(got) or 'none'}"
                )
            )
        if form == "chunks":
            placed = _InChunks(owner, chunks, _shape(owner, shape), lengths, max_delay)
            return cls(placed.shape, None, None, None, placed.start, placed)
        if form == "rows":
            return cls._listed(owner, rows, cols, data, _shape(owner, shape))
        if hasattr(weights, "tocsr"):
            coo = weights.tocsr().tocoo()
            _matrix(owner, np.broadcast_to(np.float64(0), coo.shape))
            dtype = _narrow(coo.shape)
            return cls(coo.shape, coo.row.astype(dtype), coo.col.astype(dtype), coo.data)
        dense = _matrix(owner, weights)
        rows, cols = np.nonzero(dense)
        dtype, shape = _narrow(dense.shape), (dense.shape[0], dense.shape[1])
        return cls(shape, rows.astype(dtype), cols.astype(dtype), dense[rows, cols])

    @classmethod
    def _listed(
        cls, owner: str, rows: Any, cols: Any, data: Any, shape: tuple[int, int]
    ) -> _Entries:
        rows, cols, values = _checked(owner, rows, cols, data, shape)
        values = np.broadcast_to(values, rows.shape)
        dtype = _narrow(shape)
        if (cols[1:] < cols[:-1]).any():
            return cls(shape, rows.astype(dtype), cols.astype(dtype), values)
        counts = np.bincount(cols, minlength=shape[1])
        return cls(shape, rows.astype(dtype), None, values, begins(counts))


def _shape(owner: str, shape: Any) -> tuple[int, int]:
    SHAPE.check(owner, "shape", shape, VarError)
    if is_integer(shape) or len(shape) != 2:
        raise VarError(f"{owner}: shape is (out, in), got {shown(shape)}")
    return int(shape[0]), int(shape[1])


def _narrow(shape: tuple[int, ...]) -> Any:
    """A dtype of indices, of as few bits as hold them all."""
    return np.int32 if max(shape) <= 2**31 else np.int64


def begins(counts: np.ndarray) -> np.ndarray:
    """Where each of some rows begins, of which it counts the entries, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _checked(
    owner: str, rows: Any, cols: Any, data: Any, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, inputs and weights of some synapses; VarError where they are none."""
    places = []
    for name, value, size in (("rows", rows, shape[0]), ("cols", cols, shape[1])):
        index = array(f"{owner}: {name}", value)
        if (
            index.ndim != 1
            or not _whole(index)
            or (index.size and (index.min() < 0 or index.max() >= size))
        ):
            raise VarError(
                f"{owner}: {name} are integers in one row, 0..{size - 1} for shape {shape}, got {shown(value)}"
            )
        wide = index.dtype.kind == "i" and index.dtype.itemsize >= 4  # enough to count in
        places.append(index if wide else index.astype(np.int64))
    values = array(f"{owner}: data", data)
    if len(places[0]) != len(places[1]) or values.shape not in ((), places[0].shape):
        raise VarError(
            f"{owner}: rows and cols are of one length, data is one number or as many; got {len(places[0])}, "
            f"{len(places[1])} and data of shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise VarError(f"{owner}: data is finite, got {shown(data)}")
    return places[0], places[1], values


class _Chunk(NamedTuple):
    rows: np.ndarray
    cols: np.ndarray
    data: np.ndarray
    delays: np.ndarray | None


def _read(
    owner: str, chunks: Any, shape: tuple[int, int], lengths: tuple[int, ...]
) -> Iterator[_Chunk]:
    """The chunks, one after another, as arrays; VarError, with its number, for one that is none."""
    what = "(rows, cols, data, delays)" if 4 in lengths else "(rows, cols, data)"
    source = chunks() if callable(chunks) else chunks
    if isinstance(source, str | bytes) or not isinstance(source, Iterable):
        raise VarTypeError(
            f"{owner}: chunks are some {what}, or a function that returns them, got {shown(source)}"
        )
    for k, chunk in enumerate(source):
        where = f"{owner}: chunk {k}"
        if not isinstance(chunk, tuple | list) or len(chunk) not in lengths:
            raise VarTypeError(f"{where}: {what} is needed, got {shown(chunk)}")
        rows, cols, data = _checked(where, chunk[0], chunk[1], chunk[2], shape)
        delays = None
        if len(chunk) == 4:
            delays = array(f"{where}: delays", chunk[3])
            _check_delays(where, delays, rows.shape, chunk[3], f"{len(rows)}")
        yield _Chunk(rows, cols, data, delays)


class _InChunks(Deferred):
    """Synapses that come in chunks. They are read twice, to be counted here and to be placed, so
    that there is one chunk in memory beside what is kept; by a rule only when they are asked for.
    Of an iterator, which can be read only once, all chunks are kept until they are placed.

    Attributes:
        start: where each input's begin. dtype: of their weights. longest: of their delays; None:
            they have none. delay_dtype: of the delays, up to max_delay.
    """

    def __init__(
        self,
        owner: str,
        chunks: Any,
        shape: tuple[int, int],
        lengths: tuple[int, ...],
        max_delay: int,
    ) -> None:
        super().__init__()
        self.owner, self.shape, self.lengths, self.rule = owner, shape, lengths, chunks
        if not callable(chunks) and isinstance(chunks, Iterator):
            self.rule = [tuple(x for x in chunk if x is not None) for chunk in self._read()]
        counts = np.zeros(shape[1], np.int64)
        self.kinds: set[np.dtype] = set()
        self.delays: set[int | None] = set()  # the longest of each chunk
        for chunk in self._read():
            if len(chunk.cols) < shape[1] // 4:
                inputs, many = np.unique(chunk.cols, return_counts=True)
                counts[inputs] += many
            else:
                counts += np.bincount(chunk.cols, minlength=shape[1])
            self.kinds.add(chunk.data.dtype)
            self.delays.add(_longest(chunk))
        if len(self.delays) > 1 and None in self.delays:
            raise VarError(f"{owner}: some chunks have delays and others have none")
        self.start = begins(counts)
        self.count = int(self.start[-1])
        self.dtype = np.result_type(*self.kinds) if self.kinds else np.dtype(np.float64)
        self.longest = max((d for d in self.delays if d is not None), default=None)
        self.delay_dtype = np.min_scalar_type(max(self.longest or 0, max_delay))
        if not isinstance(chunks, RandomSynapses):
            self._arrays = self.make()
            self.rule = None

    def _read(self) -> Iterator[_Chunk]:
        return _read(self.owner, self.rule, self.shape, self.lengths)

    def make(self) -> dict[str, np.ndarray]:
        """``rows``, ``weights`` and, if there are any, ``delays``."""
        kept = {
            "rows": np.empty(self.count, _narrow(self.shape)),
            "weights": np.empty(self.count, self.dtype),
        }
        if self.longest is not None:
            kept["delays"] = np.empty(self.count, self.delay_dtype)
        start = self.start
        free = start[:-1].copy()  # the next place of each input
        again = VarError(
            f"{self.owner}: chunks gave other synapses when they were read again; seed what draws them"
        )
        for chunk in self._read():
            order = None
            cols = chunk.cols
            if (cols[1:] < cols[:-1]).any():
                order = np.argsort(cols, kind="stable")
                cols = cols[order]
            first = np.flatnonzero(np.diff(cols, prepend=-1))  # of each input's among them
            many = np.diff(first, append=len(cols))
            inputs = cols[first]
            if (
                (free[inputs] + many > start[inputs + 1]).any()
                or chunk.data.dtype not in self.kinds
                or _longest(chunk) not in self.delays
            ):
                raise again
            place = np.repeat(free[inputs] - first, many) + np.arange(len(cols))
            free[inputs] += many
            for name, given in zip(kept, (chunk.rows, chunk.data, chunk.delays), strict=False):
                if given is not None:
                    kept[name][place] = given if order is None or not given.ndim else given[order]
        if (free != start[1:]).any():
            raise again
        return kept


def _longest(chunk: _Chunk) -> int | None:
    """The longest delay of a chunk; None of one without."""
    return None if chunk.delays is None else int(chunk.delays.max(initial=0))


class _Stored(_Weighted):
    """What connections with stored entries have in common."""

    start: np.ndarray | None  # of synapses by input, where each input's begin
    _rows: np.ndarray | None
    _placed: _InChunks | None

    def _keep(self, entries: _Entries) -> None:
        if not entries.count:
            raise VarError(
                f"{type(self).__name__}: no weight is non-zero; leave the connection out"
            )
        self.s_in = InPort((entries.shape[1],))
        self.a_out = OutPort((entries.shape[0],))
        self._rows, self._cols, self.start = entries.rows, entries.cols, entries.start
        self._placed = entries.placed
        if entries.placed is not None:
            weights: Var = DeferredVar(
                *(entries.placed, "weights", (entries.count,), entries.placed.dtype),
                trainable=True,
                name="weights",
            )
        else:
            weights = Var(
                (entries.count,), entries.data, role="parameter", trainable=True, name="weights"
            )
        self.weights = weights

    @property
    def rows(self) -> np.ndarray:
        """The output of each synapse, of the shape of ``weights``."""
        if self._rows is None:
            assert self._placed is not None
            self._rows = self._placed.take("rows")
        return self._rows

    @property
    def cols(self) -> np.ndarray:
        """The input of each synapse, of the shape of ``weights``; ``rows`` are their outputs."""
        if self._cols is None:
            assert self.start is not None
            return np.repeat(np.arange(self.s_in.size, dtype=self.rows.dtype), np.diff(self.start))
        return self._cols

    def _of_each(self, name: str, given: Any, entries: _Entries, matrix: bool) -> np.ndarray:
        """What was given as a matrix, or one a stored synapse, as the latter; ``matrix``: whether
        the weights were one."""
        owner = type(self).__name__
        if hasattr(given, "tocsr"):
            if given.shape != entries.shape:
                raise VarError(
                    f"{owner}: {name} of shape {given.shape} does not fit weights {entries.shape}"
                )
            return np.asarray(given.tocsr()[self.rows, self.cols]).reshape(-1)
        each = array(f"{owner}: {name}", given)
        if matrix and each.shape == entries.shape:
            return each[self.rows, self.cols]
        return each

    def _later(self, delays: Any, entries: _Entries, matrix: bool, max_delay: int) -> None:
        """Synapses with delays of their own."""
        _arrives_later(self)
        owner = type(self).__name__
        if (delays is None) is (entries.placed is None or entries.placed.longest is None):
            raise VarTypeError(
                f"{owner}: delays is missing"
                if delays is None
                else f"{owner}: delays, and chunks that have delays of their own; give one of them"
            )
        placed = entries.placed
        if placed is not None and placed.longest is not None:
            self.max_delay = max(int(max_delay), placed.longest)
            self.delays: Var = DeferredVar(
                placed, "delays", (entries.count,), placed.delay_dtype, name="delays"
            )
            self.a_buff = _under_way(self)
            return
        each = f"{entries.shape}" if matrix else f"{entries.count}"
        d = self._of_each("delays", delays, entries, matrix)
        _delayed(self, owner, d, delays, each, max_delay)

    def fan_out(self) -> np.ndarray:
        if self.start is not None:
            return np.diff(self.start)
        return np.bincount(self.cols, minlength=self.s_in.size)

    def remade(self, arguments: dict[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = {
            "rows": self.rows,
            "cols": self.cols,
            "data": Var.get(self.weights),
            "shape": (self.a_out.size, self.s_in.size),
        }
        if isinstance(delays := getattr(self, "delays", None), Var):
            entries["delays"] = Var.get(delays)
        return {n: v for n, v in arguments.items() if n not in ("weights", "chunks")} | entries

    def to_dense(self) -> np.ndarray:
        """The weights as an array (out, in)."""
        out = np.zeros((self.a_out.size, self.s_in.size), self.weights.get().dtype)
        np.add.at(out, (self.rows, self.cols), self.weights.get())
        return out


class Sparse(_Stored):
    """Dense that stores only the non-zero weights.

    Args:
        weights: an array (out, in) or a SciPy sparse matrix. Or, without it:
        rows, cols: outputs and inputs of the synapses, integers. Two synapses between the same two
            add up.
        data: their weights, or one for all.
        chunks: the same in pieces, for more synapses than should be in memory twice: some
            ``(rows, cols, data)``, or a function that returns an iterator of them, as
            :class:`RandomSynapses` is. They are read twice, to be counted and to be placed, but for
            an iterator, whose chunks are kept until then.
        shape: (out, in).

    The Var ``weights`` holds the stored entries, row by row where they come from a matrix, in their
    own order where they are listed, by input where they come in chunks; ``rows`` and ``cols`` say
    where they stand. All else as in :class:`Dense`.

    What is kept of a synapse that came in a chunk is its weight in the chunk's dtype and 4 bytes
    for its output, and numba's kernel reads these where they stand if the weights are of the run's
    dtype. Others are kept once more, by input.

    Example::

        Sparse(rows=[0, 2], cols=[1, 1], data=0.5, shape=(3, 2))
    """

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        weights: Any = None,
        rows: Any = None,
        cols: Any = None,
        data: Any = None,
        shape: Any = None,
        chunks: Any = None,
        **kwargs: Unpack[_Options],
    ) -> None:
        entries = _Entries.of(type(self).__name__, weights, rows, cols, data, shape, chunks, (3,))
        super().__init__(**kwargs)
        self._keep(entries)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")


class DelaySparse(_Stored):
    """DelayDense that stores only the non-zero weights, and a delay for each: memory grows with the
    synapses.

    Example:
        >>> two = {"rows": [0, 1], "cols": [2, 0], "data": [1.0, 3.0], "shape": (2, 3)}
        >>> sparse = proc.DelaySparse(**two, delays=[0, 2])
        >>> x = np.zeros((3, 5))
        >>> x[:, 0] = 1
        >>> lv.simulate(sparse, {"s_in": x})["a_out"]
        array([[0., 1., 0., 0., 0.],
               [0., 0., 0., 3., 0.]], dtype=float32)

    Args:
        weights, or rows, cols, data and shape, or chunks and shape: see :class:`Sparse`. Chunks may
            be ``(rows, cols, data, delays)``.
        delays: one int for all, (out, in) ints as an array or a SciPy sparse matrix, or one for
            each of ``rows``; >= 0 (<= 63 in fixed_pt). Left out where chunks have them.
        max_delay: at least the largest delay; default that.

    The Var ``delays`` holds the stored entries' delays in the order of ``weights``; ``a_buff``
    (out, max_delay + 1) what arrives in the next steps. All else as in :class:`DelayDense`, whose
    outputs are the same bits in numba.
    """

    kind = "delays"
    delays: Var
    a_buff: Var

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(
        self,
        *,
        delays: Any = None,
        weights: Any = None,
        rows: Any = None,
        cols: Any = None,
        data: Any = None,
        shape: Any = None,
        chunks: Any = None,
        max_delay: int = 0,
        **kwargs: Unpack[_Options],
    ) -> None:
        entries = _Entries.of(
            "DelaySparse", weights, rows, cols, data, shape, chunks, (3, 4), max_delay
        )
        super().__init__(**kwargs)
        self._keep(entries)
        self._later(delays, entries, weights is not None, max_delay)
