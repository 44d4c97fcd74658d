"""Connections. Each delivers in step t what it accumulated in step t-1, so a cycle through one is legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.dynamics.weights import SignMode
from lavalike.errors import VarError
from lavalike.proc.parameters import parameter
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class _Connection(AbstractProcess):
    def __init__(self, *, weight_exp: int = 0, num_weight_bits: int = 8, sign_mode: SignMode = SignMode.NULL,
                 num_message_bits: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        if num_weight_bits not in range(1, 10):
            raise VarError(f"{type(self).__name__}: num_weight_bits is 1..8 (9 keeps every bit), got {num_weight_bits!r}")
        if num_message_bits not in range(33):
            raise VarError(f"{type(self).__name__}: num_message_bits is 0..32, got {num_message_bits!r}")
        self.num_weight_bits = int(num_weight_bits)
        try:
            self.sign_mode = SignMode(sign_mode)
        except ValueError:
            raise VarError(f"{type(self).__name__}: sign_mode is a SignMode, got {sign_mode!r}") from None
        self.weight_exp = Var((1,), weight_exp, role="parameter")
        self.num_message_bits = Var((1,), num_message_bits, role="parameter")


def _matrix(owner: str, weights: Any) -> np.ndarray:
    arr = np.asarray(weights)
    if arr.ndim != 2 or 0 in arr.shape:
        raise VarError(f"{owner}: weights have shape (out, in), got {arr.shape}")
    return arr


class Dense(_Connection):
    """All-to-all: ``a_out[t+1] = weights @ s_in[t]``.

    Args:
        weights: (out, in). fixed_pt: integers, -256..255 mixed, 0..255 or -255..0.
        num_message_bits: 0 takes messages as spikes (any non-zero counts 1), more takes their values.
        weight_exp, num_weight_bits, sign_mode: see :mod:`lavalike.dynamics.weights`. Defaults 0, 8, found out.
    """

    def __init__(self, *, weights: Any, **kwargs: Any) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self.s_in = InPort((weights.shape[1],))
        self.a_out = OutPort((weights.shape[0],))
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True)
        self.a_buff = Var((weights.shape[0],), 0)


class DelayDense(_Connection):
    """Dense with a delay for every synapse: a message of step t arrives in step ``t + 1 + delay``.

    Args:
        delays: one int or (out, in) ints, >= 0 (<= 63 in fixed_pt).
        max_delay: at least the largest delay; default that.
    """

    def __init__(self, *, weights: Any, delays: Any, max_delay: int = 0, **kwargs: Any) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self.s_in = InPort((weights.shape[1],))
        self.a_out = OutPort((weights.shape[0],))
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True)
        d = np.asarray(delays)
        if d.shape not in ((), weights.shape) or not np.array_equal(d, d.astype(np.int64)) or d.min() < 0:
            raise VarError(f"DelayDense: delays is an int >= 0 or {weights.shape} of them, got {delays!r:.60}")
        if max_delay < 0:
            raise VarError(f"DelayDense: max_delay is >= 0, got {max_delay}")
        self.max_delay = max(int(max_delay), int(d.max()))
        self.delays = Var(weights.shape, d.astype(np.int64), role="parameter")
        self.a_buff = Var((weights.shape[0], self.max_delay + 1), 0)


class Sparse(_Connection):
    """Dense that stores only the non-zero weights.

    ``weights`` is a SciPy sparse matrix or an array (out, in); the Var of that name holds the stored entries
    row by row, ``rows`` and ``cols`` say where they stand.
    """

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
        self.weights = Var((len(data),), data, role="parameter", trainable=True)
        self.a_buff = Var((shape[0],), 0)

    def to_dense(self) -> np.ndarray:
        """The weights as an array (out, in)."""
        out = np.zeros((self.a_out.size, self.s_in.size), self.weights.get().dtype)
        np.add.at(out, (self.rows, self.cols), self.weights.get())
        return out


class Delay(AbstractProcess):
    """Hands its input on one step later, unchanged."""

    def __init__(self, *, shape: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.a_out = OutPort(shape)
        self.a_buff = Var(self.s_in.shape, 0)


class DelayLine(AbstractProcess):
    """Hands each element of its input on ``delays`` steps later, unchanged: ``s_out[t] = s_in[t - delays]``. A delay
    of 0 is none at all, so a line closes no cycle.

    Args:
        delays: one int for all elements or an array that broadcasts to ``shape``, >= 0.
        max_delay: at least the largest delay; default that.

    The Var ``a_buff`` (*shape, max_delay) holds the inputs of the last steps, the last one first.
    """

    def __init__(self, *, shape: Sequence[int], delays: Any, max_delay: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.s_out = OutPort(shape)
        d = np.asarray(delays)
        if d.dtype.kind not in "iuf" or not np.array_equal(d, d.astype(np.int64)) or d.size == 0 or d.min() < 0:
            raise VarError(f"DelayLine: delays are integers >= 0, got {delays!r:.60}")
        if max_delay < 0:
            raise VarError(f"DelayLine: max_delay is >= 0, got {max_delay}")
        self.max_delay = max(int(max_delay), int(d.max()), 1)
        self.delays = parameter(self.s_in.shape, d.astype(np.int64))
        self.a_buff = Var((*self.s_in.shape, self.max_delay), 0, time_last=True)
