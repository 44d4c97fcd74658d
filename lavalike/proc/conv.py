"""Convolutions on (x, y, channel) messages, as in Lava."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Required, TypedDict, Unpack

import numpy as np

from lavalike.arguments import FLAG, SHAPE, Rule, arguments, either, integer, is_integer, sequence
from lavalike.errors import VarError
from lavalike.proc.connection import Connection
from lavalike.proc.parameters import array
from lavalike.process import InPort, OutPort, Var


def pair(name: str, value: Any, low: int, owner: str = "Conv") -> tuple[int, int]:
    """``value`` as two ints >= low, a single one standing for both."""
    rule = either(integer(low), sequence(integer(low), 2))
    if type(value) is not int or value < low:
        value = value.tolist() if isinstance(value, np.ndarray) else value
        Rule(f"one or two integers >= {low}", rule.kind, rule.value).check(
            owner, name, value, VarError
        )
    return (int(value), int(value)) if is_integer(value) else (int(value[0]), int(value[1]))


def conv_size(n: int, k: int, stride: int, padding: int, dilation: int) -> int:
    """Outputs of a convolution along one axis, of ``n`` inputs and a kernel of ``k``."""
    return (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1


def transposed_size(
    n: int, k: int, stride: int, padding: int, dilation: int, output_padding: int
) -> int:
    """Outputs of a transposed convolution along one axis."""
    return (n - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1


class _Convolution(Connection):
    """What both directions share; ``size`` says how large the output is."""

    @arguments(
        error=VarError,
        groups=integer(1),
        weight_exp=integer(),
        num_weight_bits=integer(1, 9),
        checked=FLAG,
    )
    def __init__(
        self,
        *,
        weight: Any,
        input_shape: Sequence[int],
        padding: Any = 0,
        stride: Any = 1,
        dilation: Any = 1,
        groups: int = 1,
        weight_exp: int = 0,
        num_weight_bits: int = 8,
        num_message_bits: int = 0,
        delay: int = 1,
        checked: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(num_message_bits=num_message_bits, delay=delay, name=name)
        self.proc_params = {"checked": checked}
        owner = type(self).__name__
        weight = array(f"{owner}: weight", weight)
        SHAPE.check(owner, "input_shape", input_shape, VarError)
        self.s_in = InPort(input_shape)
        if weight.ndim != 4 or len(self.s_in.shape) != 3:
            ends = "out, kx, ky, in" if isinstance(self, Conv) else "in, kx, ky, out"
            raise VarError(
                f"{owner}: weight is ({ends}) and input_shape (x, y, in), got {weight.shape}, {input_shape}"
            )
        self.padding, self.stride, self.dilation = (
            pair("padding", padding, 0, owner),
            pair("stride", stride, 1, owner),
            pair("dilation", dilation, 1, owner),
        )
        self.groups = int(groups)
        fits = self.groups >= 1 and self.fits(weight.shape, self.s_in.shape[2])
        if not fits:
            raise VarError(
                f"{owner}: weight {weight.shape} in {groups} groups does not fit input {self.s_in.shape}"
            )
        self.weight_exp = Var((1,), weight_exp, role="parameter", name="weight_exp")
        self.num_weight_bits = num_weight_bits
        size = [
            self.size(axis, n, k)
            for axis, (n, k) in enumerate(zip(self.s_in.shape, weight.shape[1:3], strict=False))
        ]
        if min(size) < 1:
            raise VarError(
                f"{owner}: kernel {weight.shape[1:3]} with padding {self.padding} leaves nothing of input {self.s_in.shape}"
            )
        self.a_out = OutPort((*size, self.channels(weight.shape)))
        self.weight = Var(weight.shape, weight, role="parameter", trainable=True, name="weight")
        self.a_buff = Var(self.a_out.shape, 0, name="a_buff")

    def fan_out(self) -> np.ndarray:
        along = [
            np.array([len(self.taps(axis, x)) for x in range(self.s_in.shape[axis])])
            for axis in range(2)
        ]
        plane = np.multiply.outer(*along) * (self.a_out.shape[2] // self.groups)
        return np.broadcast_to(plane[..., None], self.s_in.shape)

    def fits(self, weight: tuple[int, ...], channels: int) -> bool:
        raise NotImplementedError

    def channels(self, weight: tuple[int, ...]) -> int:
        raise NotImplementedError

    def size(self, axis: int, n: int, k: int) -> int:
        raise NotImplementedError

    def taps(self, axis: int, position: int) -> list[tuple[int, int]]:
        """(tap, output) pairs an input at ``position`` along ``axis`` reaches, in rising order;
        taps count in the Var's order."""
        raise NotImplementedError


class Conv(_Convolution):
    """True convolution (the kernel is flipped): ``a_out[t+1] = weight * s_in[t]``.

    Example:
        >>> kernel = np.ones((4, 3, 3, 2))  # (out channels, kx, ky, in channels)
        >>> conv = proc.Conv(weight=kernel, input_shape=(8, 8, 2), padding=1, stride=2)
        >>> x = np.ones((8, 8, 2, 3))  # (x, y, channel, time)
        >>> lv.simulate(conv, {"s_in": x})["a_out"].shape
        (4, 4, 4, 3)

    Args:
        weight: (out channels, kx, ky, in channels / groups). fixed_pt: integers; the sum wraps into
            24 bits.
        input_shape: (x, y, in channels). The output is (x', y', out channels) with
            ``x' = floor((x + 2 padding - dilation (kx - 1) - 1) / stride + 1)``.
        padding, stride, dilation: one int or (x, y). Defaults 0, 1, 1.
        groups: default 1.
        num_message_bits, delay: see :class:`Connection`. Defaults 0 and 1.
        checked: the neuron behind looks for sums beyond 24 bits; do not wrap them. Default False.
    """

    kind = "convolution"

    def fits(self, weight: tuple[int, ...], channels: int) -> bool:
        return weight[0] % self.groups == 0 and channels == weight[3] * self.groups

    def channels(self, weight: tuple[int, ...]) -> int:
        return weight[0]

    def size(self, axis: int, n: int, k: int) -> int:
        return conv_size(n, k, self.stride[axis], self.padding[axis], self.dilation[axis])

    def taps(self, axis: int, position: int) -> list[tuple[int, int]]:
        k, out = self.weight.shape[1 + axis], self.a_out.shape[axis]
        first = position + self.padding[axis] - (k - 1) * self.dilation[axis]
        at = [(a, first + a * self.dilation[axis]) for a in range(k)]
        return [
            (a, x // self.stride[axis])
            for a, x in at
            if x % self.stride[axis] == 0 and 0 <= x // self.stride[axis] < out
        ]


class _Options(TypedDict, total=False):
    """What both directions take, for editors: see :class:`_Convolution`."""

    weight: Required[Any]
    input_shape: Required[Sequence[int]]
    padding: Any
    stride: Any
    dilation: Any
    groups: int
    weight_exp: int
    num_weight_bits: int
    num_message_bits: int
    delay: int
    checked: bool
    name: str | None


class ConvTranspose(_Convolution):
    """Transposed convolution, the adjoint of a convolution: an input adds its kernel at ``stride``
    times its place, ``a_out[t+1, x stride - padding + a dilation] += weight[c, a] s_in[t, x, c]``
    along both axes.

    Example:
        >>> up = proc.ConvTranspose(weight=np.ones((4, 2, 2, 1)), input_shape=(3, 3, 4), stride=2)
        >>> lv.simulate(up, {"s_in": np.ones((3, 3, 4, 2))})["a_out"].shape
        (6, 6, 1, 2)

    Args:
        weight: (in channels, kx, ky, out channels / groups). fixed_pt: integers; the sum wraps into
            24 bits.
        input_shape: (x, y, in channels). The output is (x', y', out channels) with
            ``x' = (x - 1) stride - 2 padding + dilation (kx - 1) + output_padding + 1``.
        padding, stride, dilation: one int or (x, y). Defaults 0, 1, 1.
        output_padding: further rows at the end, fewer than stride or dilation. Default 0.
        groups, num_message_bits, delay, checked: see :class:`Conv`.
    """

    kind = "transposed convolution"

    @arguments(error=VarError)
    def __init__(self, *, output_padding: Any = 0, **kwargs: Unpack[_Options]) -> None:
        self.output_padding = pair("output_padding", output_padding, 0, "ConvTranspose")
        super().__init__(**kwargs)
        for more, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if more >= max(s, d):
                raise VarError(
                    f"ConvTranspose: output_padding {self.output_padding} is less than stride {self.stride} or "
                    f"dilation {self.dilation}"
                )

    def fits(self, weight: tuple[int, ...], channels: int) -> bool:
        return weight[0] == channels and channels % self.groups == 0

    def channels(self, weight: tuple[int, ...]) -> int:
        return weight[3] * self.groups

    def size(self, axis: int, n: int, k: int) -> int:
        return transposed_size(
            n,
            k,
            self.stride[axis],
            self.padding[axis],
            self.dilation[axis],
            self.output_padding[axis],
        )

    def taps(self, axis: int, position: int) -> list[tuple[int, int]]:
        k, out = self.weight.shape[1 + axis], self.a_out.shape[axis]
        first = position * self.stride[axis] - self.padding[axis]
        return [
            (a, first + a * self.dilation[axis])
            for a in range(k)
            if 0 <= first + a * self.dilation[axis] < out
        ]
