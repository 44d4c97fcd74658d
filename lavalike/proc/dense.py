"""Connections by weights. Each delivers in step t what it accumulated in step t-1, so a cycle through one is legal; with ``delay=0``
in the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np

from lavalike.arguments import SHAPE, arguments, integer, is_integer, shown
from lavalike.dynamics.weights import SignMode
from lavalike.errors import VarError, VarTypeError
from lavalike.proc.connection import Connection
from lavalike.proc.parameters import array, parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class _Options(TypedDict, total=False):
    """What every connection with weights takes besides, for editors: see :class:`_Weighted`."""

    weight_exp: int
    num_weight_bits: int
    sign_mode: SignMode
    num_message_bits: int
    delay: int
    name: str | None


class _Weighted(Connection):
    """A connection with weights of so many bits."""

    @arguments(
        error=VarError, weight_exp=integer(), num_weight_bits=integer(1, 9), sign_mode=integer(0, 3)
    )
    def __init__(
        self,
        *,
        weight_exp: int = 0,
        num_weight_bits: int = 8,
        sign_mode: SignMode = SignMode.NULL,
        num_message_bits: int = 0,
        delay: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(num_message_bits=num_message_bits, delay=delay, name=name)
        self.num_weight_bits = int(num_weight_bits)
        self.sign_mode = SignMode(sign_mode)
        self.weight_exp = Var((1,), weight_exp, role="parameter", name="weight_exp")


def _matrix(owner: str, weights: Any) -> np.ndarray:
    arr = array(f"{owner}: weights", weights)
    if arr.ndim != 2 or 0 in arr.shape:
        raise VarError(f"{owner}: weights have shape (out, in), got {arr.shape}")
    return arr


def _whole(numbers: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # NaN and infinity are not
        return bool(np.array_equal(numbers, numbers.astype(np.int64)))


class _Matrix(_Weighted):
    """What connections with a matrix of weights have in common."""

    def _keep(self, weights: np.ndarray, plastic: bool = False) -> None:
        self.s_in = InPort((weights.shape[1],))
        self.a_out = OutPort((weights.shape[0],))
        self.weights = Var(
            weights.shape,
            weights,
            role="state" if plastic else "parameter",
            trainable=not plastic,
            name="weights",
        )

    def fan_out(self) -> np.ndarray:
        return np.full(self.s_in.shape, self.a_out.size)


class Dense(_Matrix):
    """All-to-all: ``a_out[t+1] = weights @ s_in[t]``.

    Args:
        weights: (out, in). fixed_pt: integers, -256..255 mixed, 0..255 or -255..0.
        num_message_bits, delay: see :class:`Connection`. Defaults 0 and 1; with ``delay=0`` ``a_out[t] = weights @ s_in[t]``.
        weight_exp, num_weight_bits, sign_mode: see :mod:`lavalike.dynamics.weights`. Defaults 0, 8, found out.
    """

    @arguments(error=VarError)
    def __init__(self, *, weights: Any, **kwargs: Unpack[_Options]) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self._keep(weights)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")


class DelayDense(_Matrix):
    """Dense with a delay for every synapse: a message of step t arrives in step ``t + 1 + delays``.

    Args:
        delays: one int or (out, in) ints, >= 0 (<= 63 in fixed_pt).
        max_delay: at least the largest delay; default that.

    All else as in :class:`Dense`, but ``delay`` is 1.
    """

    kind = "delays"
    delays: Var
    a_buff: Var

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(
        self, *, weights: Any, delays: Any, max_delay: int = 0, **kwargs: Unpack[_Options]
    ) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        _arrives_later(self)
        self._keep(weights)
        _delayed(
            self,
            "DelayDense",
            array("DelayDense: delays", delays),
            delays,
            f"{weights.shape}",
            max_delay,
        )


def _arrives_later(process: Connection) -> None:
    """VarError for ``delay=0``, which synapses with delays of their own do not have."""
    if not process.delay:
        raise VarError(
            f"{type(process).__name__}: delay is 1, what delays count from, not 0; for the same step there are Dense and Sparse"
        )


def _delayed(
    process: Any,
    owner: str,
    d: np.ndarray,
    given: Any,
    each: str,
    max_delay: int,
) -> None:
    """Give ``process``, whose weights it has, the delays ``d`` and room for what is under way; VarError says what was ``given``, and that
    ``each`` are expected."""
    if d.shape not in ((), process.weights.shape) or not _whole(d) or d.min() < 0:
        raise VarError(f"{owner}: delays is an int >= 0 or {each} of them, got {given!r:.60}")
    process.max_delay = max(int(max_delay), int(d.max()))
    process.delays = Var(process.weights.shape, d.astype(np.int64), role="parameter", name="delays")
    process.a_buff = Var((process.a_out.size, process.max_delay + 1), 0, name="a_buff")


@dataclass(frozen=True)
class _Entries:
    """The synapses that are stored, row by row where they come from a matrix."""

    shape: tuple[int, int]
    rows: np.ndarray
    cols: np.ndarray
    data: np.ndarray

    @classmethod
    def of(cls, owner: str, weights: Any, rows: Any, cols: Any, data: Any, shape: Any) -> _Entries:
        given = {"rows": rows, "cols": cols, "data": data, "shape": shape}
        missing = [k for k, v in given.items() if v is None]
        if (weights is None) == bool(missing) or (weights is not None and len(missing) < 4):
            raise VarTypeError(
                f"{owner}: give weights, a matrix (out, in), or rows, cols, data and shape"
                + (
                    f"; missing: {', '.join(missing)}"
                    if weights is None and len(missing) < 4
                    else "; both are given"
                    if weights is not None
                    else ""
                )
            )
        if weights is None:
            return cls._listed(owner, rows, cols, data, shape)
        if hasattr(weights, "tocsr"):
            coo = weights.tocsr().tocoo()
            _matrix(owner, np.broadcast_to(np.float64(0), coo.shape))
            return cls(coo.shape, coo.row.astype(np.int64), coo.col.astype(np.int64), coo.data)
        dense = _matrix(owner, weights)
        rows, cols = np.nonzero(dense)
        return cls(dense.shape, rows, cols, dense[rows, cols])

    @classmethod
    def _listed(cls, owner: str, rows: Any, cols: Any, data: Any, shape: Any) -> _Entries:
        SHAPE.check(owner, "shape", shape, VarError)
        if is_integer(shape) or len(shape) != 2:
            raise VarError(f"{owner}: shape is (out, in), got {shown(shape)}")
        places = []
        for name, value, size in (("rows", rows, int(shape[0])), ("cols", cols, int(shape[1]))):
            index = array(f"{owner}: {name}", value)
            if (
                index.ndim != 1
                or not _whole(index)
                or (index.size and (index.min() < 0 or index.max() >= size))
            ):
                raise VarError(
                    f"{owner}: {name} are integers in one row, 0..{size - 1} for shape {tuple(shape)}, got {shown(value)}"
                )
            places.append(index.astype(np.int64))
        values = array(f"{owner}: data", data)
        if len(places[0]) != len(places[1]) or values.shape not in ((), places[0].shape):
            raise VarError(
                f"{owner}: rows and cols are of one length, data is one number or as many; got {len(places[0])}, "
                f"{len(places[1])} and data of shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise VarError(f"{owner}: data is finite, got {shown(data)}")
        return cls(
            (int(shape[0]), int(shape[1])),
            places[0],
            places[1],
            np.broadcast_to(values, places[0].shape),
        )


class _Stored(_Weighted):
    """What connections with stored entries have in common."""

    def _keep(self, entries: _Entries) -> None:
        if not len(entries.data):
            raise VarError(
                f"{type(self).__name__}: no weight is non-zero; leave the connection out"
            )
        self.s_in = InPort((entries.shape[1],))
        self.a_out = OutPort((entries.shape[0],))
        self.rows, self.cols = entries.rows, entries.cols
        self.weights = Var(
            (len(entries.data),), entries.data, role="parameter", trainable=True, name="weights"
        )

    def _of_each(self, name: str, given: Any, entries: _Entries, matrix: bool) -> np.ndarray:
        """What was given as a matrix, or one a stored synapse, as the latter; ``matrix``: whether the weights were one."""
        owner = type(self).__name__
        if hasattr(given, "tocsr"):
            if given.shape != entries.shape:
                raise VarError(
                    f"{owner}: {name} of shape {given.shape} does not fit weights {entries.shape}"
                )
            return np.asarray(given.tocsr()[entries.rows, entries.cols]).reshape(-1)
        each = array(f"{owner}: {name}", given)
        if matrix and each.shape == entries.shape:
            return each[entries.rows, entries.cols]
        return each

    def _later(self, delays: Any, entries: _Entries, matrix: bool, max_delay: int) -> None:
        """Synapses with delays of their own."""
        _arrives_later(self)
        d = self._of_each("delays", delays, entries, matrix)
        each = f"{entries.shape}" if matrix else f"{len(entries.data)}"
        _delayed(self, type(self).__name__, d, delays, each, max_delay)

    def fan_out(self) -> np.ndarray:
        return np.bincount(self.cols, minlength=self.s_in.size)

    def remade(self, arguments: dict[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = {
            "rows": self.rows,
            "cols": self.cols,
            "data": Var.get(self.weights),
            "shape": (self.a_out.size, self.s_in.size),
        }
        if "delays" in arguments:
            entries["delays"] = Var.get(self.delays)  # type: ignore[attr-defined]  # of DelaySparse, which takes delays
        return {n: v for n, v in arguments.items() if n != "weights"} | entries

    def to_dense(self) -> np.ndarray:
        """The weights as an array (out, in)."""
        out = np.zeros((self.a_out.size, self.s_in.size), self.weights.get().dtype)
        np.add.at(out, (self.rows, self.cols), self.weights.get())
        return out


class Sparse(_Stored):
    """Dense that stores only the non-zero weights.

    Args:
        weights: an array (out, in) or a SciPy sparse matrix. Or, without it:
        rows, cols: outputs and inputs of the synapses, integers. Two synapses between the same two add up.
        data: their weights, or one for all.
        shape: (out, in).

    The Var ``weights`` holds the stored entries, row by row where they come from a matrix and in their own order else; ``rows`` and
    ``cols`` say where they stand. All else as in :class:`Dense`.

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
        **kwargs: Unpack[_Options],
    ) -> None:
        entries = _Entries.of(type(self).__name__, weights, rows, cols, data, shape)
        super().__init__(**kwargs)
        self._keep(entries)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")


class DelaySparse(_Stored):
    """DelayDense that stores only the non-zero weights, and a delay for each: memory grows with the synapses.

    Args:
        weights, or rows, cols, data and shape: see :class:`Sparse`.
        delays: one int for all, (out, in) ints as an array or a SciPy sparse matrix, or one for each of ``rows``; >= 0 (<= 63 in fixed_pt).
        max_delay: at least the largest delay; default that.

    The Var ``delays`` holds the stored entries' delays in the order of ``weights``; ``a_buff`` (out, max_delay + 1) what arrives in the
    next steps. All else as in :class:`DelayDense`, whose outputs are the same bits in numba.
    """

    kind = "delays"
    delays: Var
    a_buff: Var

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(
        self,
        *,
        delays: Any,
        weights: Any = None,
        rows: Any = None,
        cols: Any = None,
        data: Any = None,
        shape: Any = None,
        max_delay: int = 0,
        **kwargs: Unpack[_Options],
    ) -> None:
        entries = _Entries.of("DelaySparse", weights, rows, cols, data, shape)
        super().__init__(**kwargs)
        self._keep(entries)
        self._later(delays, entries, weights is not None, max_delay)


class Delay(AbstractProcess):
    """Hands its input on one step later, unchanged."""

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.a_out = OutPort(shape)
        self.a_buff = Var(self.s_in.shape, 0, name="a_buff")


class DelayLine(AbstractProcess):
    """Hands each element of its input on ``delays`` steps later, unchanged: ``s_out[t] = s_in[t - delays]``. A delay
    of 0 is none at all, so a line closes no cycle.

    Args:
        delays: one int for all elements or an array that broadcasts to ``shape``, >= 0.
        max_delay: at least the largest delay; default that.

    The Var ``a_buff`` (*shape, max_delay) holds the inputs of the last steps, the last one first.
    """

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(
        self, *, shape: Sequence[int], delays: Any, max_delay: int = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.s_out = OutPort(shape)
        d = array("DelayLine: delays", delays)
        if d.dtype.kind not in "iuf" or not _whole(d) or d.size == 0 or d.min() < 0:
            raise VarError(f"DelayLine: delays are integers >= 0, got {delays!r:.60}")
        self.max_delay = max(int(max_delay), int(d.max()), 1)
        self.delays = parameter(self.s_in.shape, d.astype(np.int64), name="delays")
        self.a_buff = Var((*self.s_in.shape, self.max_delay), 0, time_last=True, name="a_buff")
