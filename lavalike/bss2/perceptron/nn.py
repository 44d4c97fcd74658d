"""Layers of perceptron mode, with hxtorch's names, arguments, defaults and initialisation.

They are torch's own layers (a state_dict loads into either) whose product runs in the synapse
array. ``mock`` is said per layer, or for a whole run by :func:`lavalike.bss2.perceptron.mock_mode`.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch.nn import functional as torch_functional

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    TENSOR,
    Rule,
    arguments,
    choice,
    either,
    integer,
    optional,
    real,
    sequence,
)
from lavalike.bss2.chip import facts
from lavalike.bss2.perceptron import functional, trace
from lavalike.bss2.perceptron.mock import get_mock_parameter
from lavalike.errors import InputError

Transform = Callable[[torch.Tensor], torch.Tensor]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
_SENT = {"num_sends": optional(integer(1)), "wait_between_events": integer(1), "mock": FLAG}
_TRANSFORMS = {"input_transform": optional(FUNCTION), "weight_transform": optional(FUNCTION)}


def _convolution(dims: int) -> dict[str, Rule]:
    """Rules of a layer's arguments; sizes are one number, or one for each of so many dimensions."""

    def sizes(least: int) -> Rule:
        return either(integer(least), sequence(integer(least), dims))

    return {
        "in_channels": integer(1),
        "out_channels": integer(1),
        "kernel_size": sizes(1),
        "stride": sizes(1),
        "padding": either(choice("valid", "same"), sizes(0)),
        "dilation": sizes(1),
        "groups": integer(1),
        "bias": FLAG,
        "padding_mode": choice("zeros", "reflect", "replicate", "circular"),
        **_SENT,
        **_TRANSFORMS,
    }


@arguments(x_in=TENSOR, late=True)
def scale_input(x_in: torch.Tensor) -> torch.Tensor:
    """``x_in`` scaled so that its largest magnitude is 31."""
    return _scaled(x_in, facts.INPUT_MAX)


@arguments(weight=TENSOR, late=True)
def scale_weight(weight: torch.Tensor) -> torch.Tensor:
    """``weight`` scaled so that its largest magnitude is 63."""
    return _scaled(weight, facts.WEIGHT_MAX)


def _scaled(x: torch.Tensor, limit: int) -> torch.Tensor:
    largest = x.detach().abs().max() if x.numel() else 0
    return x * (limit / largest) if largest > 0 else x


@arguments(weight=TENSOR, late=True)
def clamp_weight_(weight: torch.Tensor) -> torch.Tensor:
    """``weight``, its data limited to -63..63 in place: what an optimiser pushed beyond comes back
    for good."""
    weight.data.clamp_(-facts.WEIGHT_MAX, facts.WEIGHT_MAX)
    return weight


class Layer(torch.nn.Module):
    """A layer of the chip.

    Example:
        >>> isinstance(bss2.nn.Linear(20, 10), bss2.nn.Layer)
        True

    Args:
        mock: computed in mock arithmetic; else on the current chip. Default False.
    """

    @arguments(mock=FLAG)
    def __init__(self, mock: bool = False) -> None:
        super().__init__()
        self.mock = mock

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            value = True if isinstance(value, torch.Tensor) else value
            if isinstance(value, tuple) and len(set(value)) == 1 and value[0] == parameter.default:
                continue  # torch keeps stride=1 as (1,)
            if value is not parameter.default and not (
                isinstance(value, str) and value == parameter.default
            ):
                shown.append(f"{name}={value.__name__ if inspect.isroutine(value) else value}")
        return f"{type(self).__name__}({', '.join(shown)})"


class MACLayer(Layer):
    """A layer with a product: weights within -63..63, inputs sent several times.

    Example:
        >>> isinstance(bss2.nn.Linear(20, 10), bss2.nn.MACLayer)
        True

    Args:
        num_sends: how often inputs are sent; None: chosen by :meth:`reset_parameters` so that
            weights use their range.
        wait_between_events: FPGA cycles of 8 ns. Default 5.
        mock: see :class:`Layer`.
        input_transform, weight_transform: functions or modules, applied to input and weight before
            the product; None: nothing. Default: none, and :func:`clamp_weight_`.

    InputError for numbers that are not integers >= 1, sizes of layers among them.
    """

    weight: torch.Tensor

    @arguments(**_SENT, **_TRANSFORMS)
    def __init__(
        self,
        num_sends: int | None = None,
        wait_between_events: int = facts.DEFAULT_WAIT,
        mock: bool = False,
        *,
        input_transform: Transform | None = None,
        weight_transform: Transform | None = clamp_weight_,
    ) -> None:
        super().__init__(mock)
        self._configure(num_sends, wait_between_events, mock)
        self._transform(input_transform, weight_transform)

    def _configure(self, num_sends: int | None, wait_between_events: int, mock: bool) -> None:
        """Before torch's constructor, which resets the parameters."""
        self.num_sends = None if num_sends is None else operator.index(num_sends)
        self.wait_between_events, self.mock = operator.index(wait_between_events), bool(mock)

    def _transform(self, of_input: Transform | None, of_weight: Transform | None) -> None:
        """After torch's constructor, as they may be modules."""
        self.input_transform, self.weight_transform = of_input, of_weight

    @arguments(weight_mean=real(), relu_shift=integer(0))
    def reset_parameters(self, weight_mean: float = 0.0, relu_shift: int = 1) -> None:
        """Weights normal around ``weight_mean``, so wide that a ConvertingReLU(``relu_shift``)
        behind keeps the inputs' variance.

        Uses the gain of the mock parameters in force now: set them before layers are made. Where
        ``num_sends`` is None it becomes the number of sends for which three standard deviations fit
        into the weights' range.
        """
        fan_in = self.weight[0].numel()
        std = 2**relu_shift * math.sqrt(2) / get_mock_parameter().gain / math.sqrt(fan_in)
        bound = std / (facts.INPUT_MAX / math.sqrt(3))
        if self.num_sends is None:
            self.num_sends = math.ceil(std / (facts.WEIGHT_MAX / 3))
        std /= self.num_sends
        torch.nn.init.trunc_normal_(
            self.weight, weight_mean, std, -facts.WEIGHT_MAX, facts.WEIGHT_MAX
        )
        bias = cast("torch.Tensor | None", self.bias)
        if bias is not None:
            torch.nn.init.uniform_(bias, -bound, bound)

    @property
    def label(self) -> str:
        """What messages and records call this layer."""
        outputs, inputs = self.weight.shape[0], self.weight[0].numel()
        return trace.name_of(self, f"{type(self).__name__}({inputs}, {outputs})")

    def _product(
        self,
        x: torch.Tensor,
        product: Callable[[torch.Tensor, torch.Tensor, dict[str, Any]], torch.Tensor],
    ) -> torch.Tensor:
        """The transforms, then ``product(x, weight, arguments)``."""
        counted = trace.observing() and self.weight_transform is not None
        clipped = int((self.weight.detach().abs() > facts.WEIGHT_MAX).sum()) if counted else 0
        weight = (
            self.weight if self.weight_transform is None else self.weight_transform(self.weight)
        )
        x = x if self.input_transform is None else self.input_transform(x)
        out = product(
            x,
            weight,
            {
                "num_sends": self.num_sends,
                "wait_between_events": self.wait_between_events,
                "mock": self.mock,
                "layer": self.label,
            },
        )
        trace.record_clipped(clipped)
        return out


class Linear(MACLayer, torch.nn.Linear):
    """``x @ weight.T + bias``; the bias is added digitally, rounded down to whole LSB (at level
    "ideal": as it is).

    Example:
        >>> layer = bss2.nn.Linear(20, 10, mock=True)
        >>> layer(torch.full((4, 20), 10.0)).shape
        torch.Size([4, 10])

    Args:
        in_features, out_features: sizes.
        bias: default True.
        num_sends, wait_between_events, mock, input_transform, weight_transform: see
            :class:`MACLayer`.
        avg: columns that compute each output, whose mean it is. Default 1.
    """

    @arguments(
        in_features=integer(1),
        out_features=integer(1),
        bias=FLAG,
        avg=integer(1),
        **_SENT,
        **_TRANSFORMS,
    )
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        num_sends: int | None = None,
        wait_between_events: int = facts.DEFAULT_WAIT,
        mock: bool = False,
        *,
        avg: int = 1,
        input_transform: Transform | None = None,
        weight_transform: Transform | None = clamp_weight_,
    ) -> None:
        self._configure(num_sends, wait_between_events, mock)
        torch.nn.Linear.__init__(self, in_features, out_features, bias)
        self.avg = operator.index(avg)
        self._transform(input_transform, weight_transform)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._product(input, self._linear)

    def _linear(
        self, x: torch.Tensor, weight: torch.Tensor, arguments: dict[str, Any]
    ) -> torch.Tensor:
        w = weight.t()
        out = functional.matmul(
            x, w if self.avg == 1 else w.repeat_interleave(self.avg, -1), **arguments
        )
        if self.avg > 1:
            out = out.unflatten(-1, (self.out_features, self.avg)).mean(-1)
        return out if self.bias is None else functional.add(out, self.bias, mock=self.mock)


class _Conv(MACLayer):
    """What convolutions share. Padding is done here, before the input transform."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: PaddingMode
    _reversed_padding_repeated_twice: list[int]

    def _pad(self, x: torch.Tensor) -> torch.Tensor:
        if any(d != 1 for d in self.dilation) or self.groups != 1:
            raise InputError(
                f"{self.label}: dilation and groups must be 1, got dilation={self.dilation}, groups={self.groups}; "
                "fill the kernel with zeros, or make a layer for each group"
            )
        both = self._reversed_padding_repeated_twice
        if not any(both):
            return x
        return torch_functional.pad(
            x, both, mode="constant" if self.padding_mode == "zeros" else self.padding_mode
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._product(self._pad(input), self._convolve)

    def _convolve(
        self, x: torch.Tensor, weight: torch.Tensor, arguments: dict[str, Any]
    ) -> torch.Tensor:
        convolve = functional.conv1d if weight.dim() == 3 else functional.conv2d
        return convolve(x, weight, self.bias, self.stride, **arguments)


class Conv1d(_Conv, torch.nn.Conv1d):
    """Convolution of (B, C, L). Arguments as torch.nn.Conv1d and :class:`MACLayer`.

    Dilation and groups other than 1: InputError (ValueError) at forward.

    Example:
        >>> layer = bss2.nn.Conv1d(2, 4, 3, mock=True)
        >>> layer(torch.full((4, 2, 16), 10.0)).shape
        torch.Size([4, 4, 14])
    """

    @arguments(**_convolution(1))
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: str | int | tuple[int] = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        num_sends: int | None = None,
        wait_between_events: int = facts.DEFAULT_WAIT,
        mock: bool = False,
        *,
        input_transform: Transform | None = None,
        weight_transform: Transform | None = clamp_weight_,
    ) -> None:
        self._configure(num_sends, wait_between_events, mock)
        torch.nn.Conv1d.__init__(
            self,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )
        self._transform(input_transform, weight_transform)


class Conv2d(_Conv, torch.nn.Conv2d):
    """Convolution of (B, C, H, W). Arguments as torch.nn.Conv2d and :class:`MACLayer`.

    Dilation and groups other than 1: InputError (ValueError) at forward.

    Example:
        >>> layer = bss2.nn.Conv2d(1, 4, 3, mock=True)
        >>> layer(torch.full((4, 1, 8, 8), 10.0)).shape
        torch.Size([4, 4, 6, 6])
    """

    @arguments(**_convolution(2))
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        num_sends: int | None = None,
        wait_between_events: int = facts.DEFAULT_WAIT,
        mock: bool = False,
        *,
        input_transform: Transform | None = None,
        weight_transform: Transform | None = clamp_weight_,
    ) -> None:
        self._configure(num_sends, wait_between_events, mock)
        torch.nn.Conv2d.__init__(
            self,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )
        self._transform(input_transform, weight_transform)


class ExpandedConv1d(Conv1d):
    """:class:`Conv1d` whose kernel is placed several times on the array, diagonally: so many
    outputs in one go.

    Example:
        >>> layer = bss2.nn.ExpandedConv1d(1, 4, 3, num_expansions=2, mock=True)
        >>> layer(torch.full((4, 1, 16), 10.0)).shape
        torch.Size([4, 4, 14])

    Args:
        num_expansions: how often; None: as often as one tile has columns and rows for, ``min(256 //
            out_channels, (128 // in_channels - kernel_size) // stride +
            1)``, at least once. For several channels hxtorch takes ``(128 - in_channels *
            kernel_size) // stride + 1`` instead, whose rows do not fit into one tile.
        others: as :class:`Conv1d`.
    """

    @arguments(num_expansions=optional(integer(1)), **_convolution(1))
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: str | int | tuple[int] = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        num_expansions: int | None = None,
        num_sends: int | None = None,
        wait_between_events: int = facts.DEFAULT_WAIT,
        mock: bool = False,
        *,
        input_transform: Transform | None = None,
        weight_transform: Transform | None = clamp_weight_,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            num_sends,
            wait_between_events,
            mock,
            input_transform=input_transform,
            weight_transform=weight_transform,
        )
        if num_expansions is None:
            room = (facts.SIGNED_ROWS // in_channels - self.kernel_size[0]) // self.stride[0] + 1
            num_expansions = max(1, min(facts.COLUMNS // out_channels, room))
        self.num_expansions = operator.index(num_expansions)

    def _convolve(
        self, x: torch.Tensor, weight: torch.Tensor, arguments: dict[str, Any]
    ) -> torch.Tensor:
        return functional.expanded_conv1d(
            x, weight, self.bias, self.stride, self.num_expansions, **arguments
        )


class ReLU(Layer):
    """:func:`lavalike.bss2.perceptron.relu`.

    Example:
        >>> bss2.nn.ReLU(mock=True)(torch.tensor([-5.0, 5.0]))
        tensor([0., 5.])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.relu(input, mock=self.mock)


class ConvertingReLU(Layer):
    """:func:`lavalike.bss2.perceptron.converting_relu`: outputs become inputs.

    Example:
        >>> bss2.nn.ConvertingReLU(shift=1, mock=True)(torch.tensor([-5.0, 20.0, 100.0]))
        tensor([ 0., 10., 31.])

    Args:
        shift: outputs are divided by ``2**shift``. Default 2.
    """

    @arguments(shift=integer(0), mock=FLAG)
    def __init__(self, shift: int = 2, mock: bool = False) -> None:
        super().__init__(mock)
        self.shift = operator.index(shift)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.converting_relu(input, self.shift, mock=self.mock)
