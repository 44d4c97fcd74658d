"""Connections by weights. Each delivers in step t what it accumulated in step t-1, so a cycle
through one is legal; with ``delay=0`` in the same step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from lavalike.arguments import arguments, integer
from lavalike.dynamics.weights import SignMode
from lavalike.errors import VarError
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
    if numbers.dtype.kind in "biu":
        return True
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

    Example:
        >>> dense = proc.Dense(weights=[[1.0, 2.0, 0.0]])
        >>> lv.simulate(dense, {"s_in": np.eye(3)})["a_out"]  # each message arrives a step later
        array([[0., 1., 2.]], dtype=float32)

    Args:
        weights: (out, in). fixed_pt: integers, -256..255 mixed, 0..255 or -255..0.
        num_message_bits, delay: see :class:`Connection`. Defaults 0 and 1; with ``delay=0``
            ``a_out[t] = weights @ s_in[t]``.
        weight_exp, num_weight_bits, sign_mode: see :mod:`lavalike.dynamics.weights`. Defaults 0, 8,
            found out.
    """

    @arguments(error=VarError)
    def __init__(self, *, weights: Any, **kwargs: Unpack[_Options]) -> None:
        weights = _matrix(type(self).__name__, weights)
        super().__init__(**kwargs)
        self._keep(weights)
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")


class DelayDense(_Matrix):
    """Dense with a delay for every synapse: a message of step t arrives in step ``t + 1 + delays``.

    Example:
        >>> dense = proc.DelayDense(weights=[[1.0, 2.0]], delays=[[0, 2]])
        >>> x = np.zeros((2, 5))
        >>> x[:, 0] = 1
        >>> lv.simulate(dense, {"s_in": x})["a_out"]
        array([[0., 1., 0., 2., 0.]], dtype=float32)

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


def _check_delays(owner: str, d: np.ndarray, shape: tuple[int, ...], given: Any, each: str) -> None:
    """VarError unless ``d``, which was ``given``, is an integer >= 0 or such ones of ``shape``."""
    if d.shape not in ((), shape) or not _whole(d) or (d.size and d.min() < 0):
        raise VarError(f"{owner}: delays is an int >= 0 or {each} of them, got {given!r:.60}")


def _delayed(
    process: Any,
    owner: str,
    d: np.ndarray,
    given: Any,
    each: str,
    max_delay: int,
) -> None:
    """Give ``process``, whose weights it has, the delays ``d`` and room for what is under way;
    VarError says what was ``given``, and that ``each`` are expected."""
    _check_delays(owner, d, process.weights.shape, given, each)
    process.max_delay = max(int(max_delay), int(d.max()))
    # of an array of integers as wide as it is, or as the largest delay that may be set
    most = np.min_scalar_type(process.max_delay)
    dtype = np.promote_types(d.dtype, most) if d.shape and d.dtype.kind in "iu" else np.int64
    process.delays = Var(process.weights.shape, d.astype(dtype), role="parameter", name="delays")
    process.a_buff = _under_way(process)


def _under_way(process: Any) -> Var:
    """What arrives in the next steps."""
    return Var((process.a_out.size, process.max_delay + 1), 0, name="a_buff")


class Delay(AbstractProcess):
    """Hands its input on one step later, unchanged.

    Example:
        >>> delay = proc.Delay(shape=(1,))
        >>> lv.simulate(delay, {"s_in": np.array([[1.0, 2, 3]])})["a_out"]
        array([[0., 1., 2.]], dtype=float32)
    """

    @arguments(error=VarError)
    def __init__(self, *, shape: Sequence[int], name: str | None = None) -> None:
        super().__init__(name=name)
        self.s_in = InPort(shape)
        self.a_out = OutPort(shape)
        self.a_buff = Var(self.s_in.shape, 0, name="a_buff")


class DelayLine(AbstractProcess):
    """Hands each element of its input on ``delays`` steps later, unchanged:
    ``s_out[t] = s_in[t - delays]``. A delay of 0 is none at all, so a line closes no cycle.

    Example:
        >>> line = proc.DelayLine(shape=(2,), delays=[0, 2])
        >>> x = np.tile([1.0, 2, 3, 4], (2, 1))
        >>> lv.simulate(line, {"s_in": x})["s_out"]
        array([[1., 2., 3., 4.],
               [0., 0., 1., 2.]], dtype=float32)

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
