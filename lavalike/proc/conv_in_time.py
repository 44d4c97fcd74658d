"""Convolution along time."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import arguments
from lavalike.errors import VarError
from lavalike.proc.connection import Connection
from lavalike.proc.parameters import array
from lavalike.process import InPort, OutPort, Var


class ConvInTime(Connection):
    """All-to-all with a kernel in time: ``a_out[t] = sum_k weights[k] @ s_in[t - K + k]``, the
    newest of K messages by the last of the kernel's K matrices (reference: Lava 0.11,
    proc/conv_in_time; torch's Conv1d computes the same from the first K messages on).

    Args:
        weights: (K, out, in). fixed_pt: whole numbers, as they are.
        num_message_bits: see :class:`Connection`. Default 0.

    The Var ``a_buff`` (out, K) is what is sent in the next steps, the next one first. Its ``delay``
    is 1.

    Example::

        ConvInTime(weights=np.ones((3, 2, 5)), num_message_bits=8)
    """

    kind = "delays"
    a_buff: Var

    @arguments(error=VarError)
    def __init__(self, *, weights: Any, num_message_bits: int = 0, name: str | None = None) -> None:
        weights = array("ConvInTime: weights", weights)
        if weights.ndim != 3 or 0 in weights.shape:
            raise VarError(f"ConvInTime: weights have shape (K, out, in), got {weights.shape}")
        super().__init__(num_message_bits=num_message_bits, name=name)
        taps, n_out, n_in = weights.shape
        self.max_delay = taps - 1
        self.s_in, self.a_out = InPort((n_in,)), OutPort((n_out,))
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True, name="weights")
        self.a_buff = Var((n_out, taps), 0, name="a_buff")

    def fan_out(self) -> np.ndarray:
        taps, n_out, _ = self.weights.shape
        return np.full(self.s_in.shape, taps * n_out)
