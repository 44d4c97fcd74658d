"""Connections. Each delivers in step t what it accumulated in step t-1, so a cycle through one is legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import arguments, integer
from lavalike.dynamics.weights import SignMode
from lavalike.errors import VarError
from lavalike.proc.parameters import array, parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class _Connection(AbstractProcess):
    @arguments(error=VarError, weight_exp=integer(), num_weight_bits=integer(1, 9), num_message_bits=integer(0, 32),
               sign_mode=integer(0, 3))
    def __init__(self, *, weight_exp: int = 0, num_weight_bits: int = 8, sign_mode: SignMode = SignMode.NULL,
                 num_message_bits: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.num_weight_bits = int(num_weight_bits)
        self.sign_mode = SignMode(sign_mode)
        self.weight_exp = Var((1,), weight_exp, role="parameter", name="weight_exp")
        self.num_message_bits = Var((1,), num_message_bits, role="parameter", name="num_message_bits")


def _matrix(owner: str, weights: Any) -> np.ndarray:
    arr = array(f"{owner}: weights", weights)
    if arr.ndim != 2 or 0 in arr.shape:
        raise VarError(f"{owner}: weights have shape (out, in), got {arr.shape}")
    return arr


def _whole(numbers: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # NaN and infinity are not
        return bool(np.array_equal(numbers, numbers.astype(np.int64)))


class Dense(_Connection):
    """All-to-all: ``a_out[t+1] = weights @ s_in[t]``.

    Args:
        weights: (out, in). fixed_pt: integers, -256..255 mixed, 0..255 or -255..0.
        num_message_bits: 0 takes messages as spikes (any non-zero counts 1), more takes their values.
        weight_exp, num_weight_bits, sign_mode: see :mod:`lavalike.dynamics.weights`. Defaults 0, 8, found out.
    """

    @arguments(error=VarError)
    def __init__(self, *, weights: Any, **kwargs: Any) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self.s_in = InPort((weights.shape[1],))
        self.a_out = OutPort((weights.shape[0],))
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True, name="weights")
        self.a_buff = Var((weights.shape[0],), 0, name="a_buff")


class DelayDense(_Connection):
    """Dense with a delay for every synapse: a message of step t arrives in step ``t + 1 + delay``.

    Args:
        delays: one int or (out, in) ints, >= 0 (<= 63 in fixed_pt).
        max_delay: at least the largest delay; default that.
    """

    @arguments(error=VarError, max_delay=integer(0))
    def __init__(self, *, weights: Any, delays: Any, max_delay: int = 0, **kwargs: Any) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self.s_in = InPort((weights.shape[1],))
        self.a_out = OutPort((weights.shape[0],))
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True, name="weights")
        d = array("DelayDense: delays", delays)
        if d.shape not in ((), weights.shape) or not _whole(d) or d.min() < 0:
            raise VarError(f"DelayDense: delays is an int >= 0 or {weights.shape} of them, got {delays!r:.60}")
        self.max_delay = max(int(max_delay), int(d.max()))
        self.delays = Var(weights.shape, d.astype(np.int64), role="parameter", name="delays")
        self.a_buff = Var((weights.shape[0], self.max_delay + 1), 0, name="a_buff")


class Sparse(_Connection):
    """Dense that stores only the non-zero weights.

    ``weights`` is a SciPy sparse matrix or an array (out, in); the Var of that name holds the stored entries
    row by row, ``rows`` and ``cols`` say where they stand.
    """

    @arguments(error=VarError)
    def __init__(self, *, weights: Any, **kwargs: Any) -> None:
        if hasattr(weights, "tocsr"):
            coo = weights.tocsr().tocoo()
            shape, rows, cols, data = coo.shape, coo.row, coo.col, coo.data
        else:
            dense = _matrix(type(self).__name__, weights)
            shape, (rows, cols) = dense.shape, np.nonzero(dense)
            data = dense[rows, cols]
        super().__init__(**kwargs)
        if len(data) == 0:
            raise VarError("Sparse: no weight is non-zero; leave the connection out")
        self.s_in = InPort((shape[1],))
        self.a_out = OutPort((shape[0],))
        self.rows, self.cols = rows.astype(np.int64), cols.astype(np.int64)
        self.weights = Var((len(data),), data, role="parameter", trainable=True, name="weights")
        self.a_buff = Var((shape[0],), 0, name="a_buff")

    def to_dense(self) -> np.ndarray:
        """The weights as an array (out, in)."""
        out = np.zeros((self.a_out.size, self.s_in.size), self.weights.get().dtype)
        np.add.at(out, (self.rows, self.cols), self.weights.get())
        return out


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
    def __init__(self, *, shape: Sequence[int], delays: Any, max_delay: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.s_out = OutPort(shape)
        d = array("DelayLine: delays", delays)
        if d.dtype.kind not in "iuf" or not _whole(d) or d.size == 0 or d.min() < 0:
            raise VarError(f"DelayLine: delays are integers >= 0, got {delays!r:.60}")
        self.max_delay = max(int(max_delay), int(d.max()), 1)
        self.delays = parameter(self.s_in.shape, d.astype(np.int64), name="delays")
        self.a_buff = Var((*self.s_in.shape, self.max_delay), 0, time_last=True, name="a_buff")
