"""Convolution on (x, y, channel) messages, as in Lava."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.errors import VarError
from lavalike.process import AbstractProcess, InPort, OutPort, Var


def pair(name: str, value: Any, low: int) -> tuple[int, int]:
    """``value`` as two ints >= low, a single one standing for both."""
    got = np.broadcast_to(np.asarray(value), (2,)) if np.size(value) in (1, 2) else None
    if got is None or not np.array_equal(got, got.astype(int)) or got.min() < low:
        raise VarError(f"Conv: {name} is one or two integers >= {low}, got {value!r}")
    return int(got[0]), int(got[1])


class Conv(AbstractProcess):
    """True convolution (the kernel is flipped): ``a_out[t+1] = weight * s_in[t]``.

    Args:
        weight: (out channels, kx, ky, in channels / groups). fixed_pt: integers; the sum wraps into 24 bits.
        input_shape: (x, y, in channels). The output is (x', y', out channels) with
            ``x' = floor((x + 2 padding - dilation (kx - 1) - 1) / stride + 1)``.
        padding, stride, dilation: one int or (x, y). Defaults 0, 1, 1.
        groups: default 1.
        num_message_bits: as in Dense.
        checked: the neuron behind looks for sums beyond 24 bits; do not wrap them. Default False.
    """

    def __init__(self, *, weight: Any, input_shape: Sequence[int], padding: Any = 0, stride: Any = 1, dilation: Any = 1,
                 groups: int = 1, weight_exp: int = 0, num_weight_bits: int = 8, num_message_bits: int = 0,
                 checked: bool = False, name: str | None = None) -> None:
        super().__init__(name=name, checked=checked)
        weight = np.asarray(weight)
        self.s_in = InPort(input_shape)
        if weight.ndim != 4 or len(self.s_in.shape) != 3:
            raise VarError(f"Conv: weight is (out, kx, ky, in) and input_shape (x, y, in), got {weight.shape}, {input_shape}")
        self.padding, self.stride, self.dilation = pair("padding", padding, 0), pair("stride", stride, 1), pair("dilation", dilation, 1)
        self.groups = int(groups)
        x, y, channels = self.s_in.shape
        if groups < 1 or weight.shape[0] % groups or channels != weight.shape[3] * groups:
            raise VarError(f"Conv: weight {weight.shape} in {groups} groups does not fit input {self.s_in.shape}")
        self.weight_exp = Var((1,), weight_exp, role="parameter")
        self.num_weight_bits = num_weight_bits
        self.num_message_bits = Var((1,), num_message_bits, role="parameter")
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in
                zip((x, y), self.padding, self.dilation, weight.shape[1:3], self.stride, strict=True)]
        if min(size) < 1:
            raise VarError(f"Conv: kernel {weight.shape[1:3]} is larger than input {self.s_in.shape} with padding {self.padding}")
        self.a_out = OutPort((*size, weight.shape[0]))
        self.weight = Var(weight.shape, weight, role="parameter", trainable=True)
        self.a_buff = Var(self.a_out.shape, 0)
