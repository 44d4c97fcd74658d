"""Dense, Conv, ConvTranspose, Pool and Unpool.

Time is folded into the batch: one matrix product or convolution for all steps. Tensors whose time
is outermost in memory, as the neurons leave them, are multiplied where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    arguments,
    either,
    integer,
    is_integer,
    optional,
    real,
    sequence,
)
from lavalike.errors import InputError
from lavalike.fused import products
from lavalike.slayer.axon.sized import check_shapes
from lavalike.text import settings

Hook = Callable[[torch.Tensor], torch.Tensor]


# what arguments of synapses and blocks may be
COUNT, EXTENT, GAP = (
    integer(1),
    either(integer(1), sequence(integer(1), least=1)),
    either(integer(0), sequence(integer(0), least=1)),
)
KERNEL = {"kernel_size": EXTENT, "stride": EXTENT, "padding": GAP, "dilation": EXTENT}
POOL = KERNEL | {"stride": optional(EXTENT)}
WEIGHTS = {"weight_scale": real(), "weight_norm": FLAG, "pre_hook_fx": optional(FUNCTION)}


def extents(name: str, value: Any, low: int, axes: int) -> tuple[int, ...]:
    """One int, or one an axis, each >= low."""
    all_ = tuple(value) if isinstance(value, list | tuple) else (value,) * axes
    if len(all_) != axes or any(not is_integer(v) or v < low for v in all_):
        raise InputError(f"{name} is one integer >= {low} or {axes} of them, got {value!r}")
    return tuple(map(int, all_))


def _fold(x: torch.Tensor) -> torch.Tensor:
    """(batch, ..., time) -> (time * batch, ...)"""
    return x.movedim(-1, 0).flatten(0, 1)


def _unfold(y: torch.Tensor, time: int) -> torch.Tensor:
    return y.unflatten(0, (time, -1)).movedim(0, -1)


class GenericLayer(nn.Module):
    """What all synapses of a ``weight`` have, also one's own: quantisation, weight normalisation,
    the size of a gradient.

    With weight_norm the parameters are ``weight_g`` and ``weight_v``, and ``weight`` is ``weight_g
    * weight_v / |weight_v|``, norms taken over all but the first axis. ``complex``: whether there
    are two, :mod:`lavalike.slayer.synapse.complex`. ``pre_hook_fx``: what is applied to the weight
    in use, a quantisation for instance; None: nothing.

        class Mine(nn.Conv3d, GenericLayer):
            def forward(self, x):
                return self._conv_forward(x, self.effective_weight(), None)

    Example:
        >>> dense = slayer.synapse.Dense(20, 10, weight_scale=2)
        >>> isinstance(dense, slayer.synapse.GenericLayer), dense.shape
        (True, torch.Size([10, 20, 1, 1, 1]))
    """

    complex: bool = False
    _pre_hook_fx: Hook | None = None

    @property
    def pre_hook_fx(self) -> Hook | None:
        return self._pre_hook_fx

    @pre_hook_fx.setter
    def pre_hook_fx(self, hook: Hook | None) -> None:
        self._pre_hook_fx = hook

    @property
    def weight_norm_enabled(self) -> bool:
        return "weight_v" in self._parameters

    def __getattr__(self, name: str) -> Any:
        if name == "weight" and self.weight_norm_enabled:
            return self.raw_weight()
        return super().__getattr__(name)

    @property
    def shape(self) -> torch.Size:
        """Of the weight."""
        return (self.weight_v if self.weight_norm_enabled else self.weight).shape

    def raw_weight(self) -> torch.Tensor:
        """The weight before quantisation."""
        return (
            torch._weight_norm(self.weight_v, self.weight_g, 0)
            if self.weight_norm_enabled
            else self.weight
        )

    def effective_weight(self) -> torch.Tensor:
        """The weight in use."""
        w = self.raw_weight()
        return w if self._pre_hook_fx is None else self._pre_hook_fx(w)

    def enable_weight_norm(self) -> None:
        """Train length and direction of the weight instead of it; before an optimizer is made."""
        if not self.weight_norm_enabled:
            weight = self.weight.detach()
            over = tuple(range(1, weight.dim()))
            del self.weight
            self.weight_g = nn.Parameter(torch.linalg.vector_norm(weight, dim=over, keepdim=True))
            self.weight_v = nn.Parameter(weight)

    def disable_weight_norm(self) -> None:
        """Replace weight_g and weight_v by the weight they stand for."""
        if self.weight_norm_enabled:
            weight = self.raw_weight().detach()
            del self.weight_g, self.weight_v
            self.register_parameter("weight", nn.Parameter(weight))

    @property
    def grad_norm(self) -> float:
        """Norm of the weight's gradient (of weight_g with weight_norm) over its number of elements;
        0 without one."""
        p = self.weight_g if self.weight_norm_enabled else self.weight
        return 0.0 if p.grad is None else float(p.grad.norm() / p.grad.numel())


class Synapse(GenericLayer):
    """A weight of shape ``(out, in, kernel..., 1)``, as slayer stores all of them.

    ``exact_eval``: outside training multiply in float64, where sums of quantised values are exact
    in any order.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        weight_scale: float,
        weight_norm: bool,
        pre_hook_fx: Hook | None,
    ) -> None:
        super().__init__()
        self.pre_hook_fx = pre_hook_fx
        self.exact_eval = False
        init = torch.empty(*shape, 1)
        nn.init.kaiming_uniform_(init, a=math.sqrt(5))
        self.weight = nn.Parameter(init * weight_scale)
        if weight_norm:
            self.enable_weight_norm()

    weight_norm = GenericLayer.weight_norm_enabled

    @property
    def label(self) -> str:
        return f"synapse.{type(self).__name__}"

    def extra_repr(self) -> str:
        """The weight's shape, and what is not as usual."""
        values: dict[str, Any] = {"weight": tuple(self.shape)}
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "weight_norm": False}
        for name, value in usual.items():
            own = getattr(self, name, value)
            if {*own} != {value} if isinstance(own, tuple) else own != value:
                values[name] = own
        return settings(values)

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any
    ) -> None:
        # torch has two spellings of weight_norm: of a hook, and of a parametrization
        for own, other in (("weight_g", "original0"), ("weight_v", "original1")):
            value = state_dict.pop(f"{prefix}parametrizations.weight.{other}", None)
            if value is not None:
                state_dict[prefix + own] = value
        check_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def operands(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and weight as they are multiplied."""
        if x.dtype != weight.dtype:
            raise InputError(f"{self.label}: input has dtype {x.dtype}, the weight {weight.dtype}")
        if x.device != weight.device:
            raise InputError(
                f"{self.label}: input of shape {tuple(x.shape)} is on {x.device}, the weight on {weight.device}; they must be on "
                "one device"
            )
        return (
            (x.double(), weight.double()) if self.exact_eval and not self.training else (x, weight)
        )

    def check(self, x: torch.Tensor, channels: int | None, axes: int) -> None:
        names = ", ".join(
            (
                "batch",
                "channels" if channels is None else str(channels),
                *("depth", "height", "width")[3 - axes :],
                "time",
            )
        )
        if x.dim() != axes + 3 or (channels is not None and x.shape[1] != channels):
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}; expected ({names})")
        if 0 in x.shape:
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}; none may be 0")


class Dense(Synapse):
    """``weight @ x``, for x of shape (batch, in_neurons, time).

    Example:
        >>> slayer.synapse.Dense(20, 10)(torch.rand(4, 20, 30)).shape
        torch.Size([4, 10, 30])

    Args:
        in_neurons, out_neurons: sizes. Where in_neurons is a shape, x may have spatial axes as
            well, with as many neurons; they are taken in the order channel, height, width.
        weight_scale: factor on the initial weights. Default 1.
        weight_norm: default False.
        pre_hook_fx: applied to the weight in every call, a quantisation for instance.
    """

    @arguments(in_neurons=EXTENT, out_neurons=COUNT, **WEIGHTS)
    def __init__(
        self,
        in_neurons: Any,
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: Hook | None = None,
    ) -> None:
        self.spatial = not is_integer(in_neurons)
        self.in_neurons, self.out_neurons = (
            math.prod(map(int, in_neurons)) if self.spatial else int(in_neurons),
            int(out_neurons),
        )
        # lava-dl's, to whom a shape is (width, height, channels)
        given = tuple(in_neurons) if self.spatial else (1, 1, in_neurons)
        self.in_channels = int(given[2]) if len(given) == 3 else 1
        self.out_channels = self.out_neurons
        super().__init__(
            (self.out_neurons, self.in_neurons, 1, 1), weight_scale, weight_norm, pre_hook_fx
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any
    ) -> None:
        for name in (
            ("weight", "weight_v", "parametrizations.weight.original1") if self.spatial else ()
        ):
            value = state_dict.get(prefix + name)
            if (
                value is not None
                and value.dim() == 5
                and value.shape[1:].numel() == self.in_neurons
            ):
                # of a shape, lava-dl kept (out, C, H, W, 1): the same order
                state_dict[prefix + name] = value.reshape(len(value), self.in_neurons, 1, 1, 1)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, input: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if self.spatial and input.dim() > 3:
            input = input.flatten(1, -2)
        self.check(input, self.in_neurons, 0)
        weight = self.effective_weight()[:, :, 0, 0, 0]
        y, weight = self.operands(input, weight if mask is None else weight * mask)
        return _unfold(products.linear(_fold(y), weight), input.shape[-1]).to(input.dtype)


class _Kernel(Synapse):
    """What convolutions share. A kernel of three numbers makes it three-dimensional: (batch,
    channel, depth, height, width, time)."""

    def sizes(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> int:
        axes = len(kernel_size) if isinstance(kernel_size, list | tuple) else 2
        if axes not in (2, 3):
            raise InputError(
                f"{self.label}: kernel_size is one integer, (height, width) or (depth, height, width), got {kernel_size!r}"
            )
        self.axes = axes
        self.kernel_size, self.stride = (
            extents("kernel_size", kernel_size, 1, axes),
            extents("stride", stride, 1, axes),
        )
        self.padding, self.dilation = (
            extents("padding", padding, 0, axes),
            extents("dilation", dilation, 1, axes),
        )
        return axes

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """(height, width) of the output for those of the input."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // st + 1
            for n, p, d, k, st in zip(
                size, self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )

    def fits(self, x: torch.Tensor, channels: int | None) -> None:
        self.check(x, channels, self.axes)
        if min(self.output_size(tuple(x.shape[2:-1]))) < 1:
            raise InputError(
                f"{self.label}: an input of {tuple(x.shape[2:-1])} is smaller than the kernel {self.kernel_size}"
            )


class Conv(_Kernel):
    """Correlation with a kernel, for x of shape (batch, in_features, height, width, time).

    Example:
        >>> slayer.synapse.Conv(2, 8, 3)(torch.rand(4, 2, 12, 12, 10)).shape
        torch.Size([4, 8, 10, 10, 10])

    Args:
        kernel_size, stride, padding, dilation: one int or (height, width); a kernel of three is
            three-dimensional.
        groups, weight_scale, weight_norm, pre_hook_fx: see Dense.
    """

    @arguments(in_features=COUNT, out_features=COUNT, groups=COUNT, **KERNEL, **WEIGHTS)
    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: Hook | None = None,
    ) -> None:
        self.sizes(kernel_size, stride, padding, dilation)
        self.groups = grouped("synapse.Conv", in_features, out_features, groups)
        super().__init__(
            (out_features, in_features // groups, *self.kernel_size),
            weight_scale,
            weight_norm,
            pre_hook_fx,
        )
        self.in_channels, self.out_channels = in_features, out_features

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.fits(input, self.in_channels)
        y, weight = self.operands(input, self.effective_weight()[..., 0])
        y = _fold(y)
        if self.axes == 2 and y.dtype != torch.float64:  # a third faster with channels innermost
            y, weight = (
                y.contiguous(memory_format=torch.channels_last),
                weight.contiguous(memory_format=torch.channels_last),
            )
        conv = functional.conv2d if self.axes == 2 else functional.conv3d
        return _unfold(
            conv(y, weight, None, self.stride, self.padding, self.dilation, self.groups),
            input.shape[-1],
        ).to(input.dtype)


class ConvTranspose(_Kernel):
    """Transposed convolution, for x of shape (batch, in_features, height, width, time); the weight
    is (in, out / groups, ...).

    Arguments: see Conv.

    Example:
        >>> slayer.synapse.ConvTranspose(8, 2, 2, stride=2)(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 2, 12, 12, 10])
    """

    @arguments(in_features=COUNT, out_features=COUNT, groups=COUNT, **KERNEL, **WEIGHTS)
    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: Hook | None = None,
    ) -> None:
        self.sizes(kernel_size, stride, padding, dilation)
        self.groups = grouped("synapse.ConvTranspose", in_features, out_features, groups)
        super().__init__(
            (in_features, out_features // groups, *self.kernel_size),
            weight_scale,
            weight_norm,
            pre_hook_fx,
        )
        self.in_channels, self.out_channels = in_features, out_features

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(
            (n - 1) * st - 2 * p + d * (k - 1) + 1
            for n, p, d, k, st in zip(
                size, self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.fits(input, self.in_channels)
        y, weight = self.operands(input, self.effective_weight()[..., 0])
        conv = functional.conv_transpose2d if self.axes == 2 else functional.conv_transpose3d
        return _unfold(
            conv(_fold(y), weight, None, self.stride, self.padding, 0, self.groups, self.dilation),
            input.shape[-1],
        ).to(input.dtype)


class Pool(_Kernel):
    """Sum pooling times a fixed weight, for x of shape (batch, features, height, width, time).

    Where windows lie side by side (stride = kernel_size, no padding, no dilation) zeros complete
    the last one: 9 x 7 pooled by 2 is 5 x 4. Every other form has torch's sizes: what does not fill
    a window is left out.

    Example:
        >>> slayer.synapse.Pool(2)(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 8, 3, 3, 10])

    Args:
        kernel_size: one int or (height, width).
        stride: default kernel_size. padding, dilation: one int or (height, width).
        weight_scale: the weight of each input. Default 1.
    """

    @arguments(**POOL, **WEIGHTS)
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: Hook | None = None,
    ) -> None:
        self.sizes(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        if weight_norm:
            self.enable_weight_norm()
        super().__init__((1, 1, *self.kernel_size), 1, False, pre_hook_fx)
        self.weight = nn.Parameter(
            torch.full_like(self.weight, float(weight_scale)), requires_grad=False
        )

    def enable_weight_norm(self) -> None:
        raise InputError(f"{self.label}: its weight is fixed; weight_norm does not apply")

    @property
    def tiles(self) -> bool:
        """Whether windows lie side by side."""
        return self.stride == self.kernel_size and not any(self.padding) and {*self.dilation} == {1}

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return (
            tuple(-(-n // k) for n, k in zip(size, self.kernel_size, strict=True))
            if self.tiles
            else super().output_size(size)
        )

    def per_channel(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and weights, one kernel a channel."""
        self.fits(x, None)
        y, weight = self.operands(x, self.effective_weight()[..., 0])
        return _fold(y), weight.expand(x.shape[1], *weight.shape[1:])

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        y, weight = self.per_channel(input)
        if self.tiles:
            missing = [-n % k for n, k in zip(input.shape[2:-1], self.kernel_size, strict=True)]
            y = (
                functional.pad(y, [m for n in reversed(missing) for m in (0, n)])
                if any(missing)
                else y
            )
        conv = functional.conv2d if self.axes == 2 else functional.conv3d
        return _unfold(
            conv(y, weight, None, self.stride, self.padding, self.dilation, input.shape[1]),
            input.shape[-1],
        ).to(input.dtype)


class Unpool(Pool):
    """Every input spread over a kernel's window, times a fixed weight: the transpose of Pool, with
    its arguments.

    Example:
        >>> slayer.synapse.Unpool(2)(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 8, 12, 12, 10])
    """

    output_size = ConvTranspose.output_size

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        y, weight = self.per_channel(input)
        conv = functional.conv_transpose2d if self.axes == 2 else functional.conv_transpose3d
        return _unfold(
            conv(y, weight, None, self.stride, self.padding, 0, input.shape[1], self.dilation),
            input.shape[-1],
        ).to(input.dtype)


def grouped(label: str, in_features: int, out_features: int, groups: int) -> int:
    if in_features % groups or out_features % groups:
        raise InputError(
            f"{label}: {groups} groups do not divide {in_features} and {out_features} features"
        )
    return groups
