"""Synapses on tensors ``(batch, channel, (height, width,) time)``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.errors import InputError

Hook = Callable[[torch.Tensor], torch.Tensor]


def two(name: str, value: Any, low: int) -> tuple[int, int]:
    """One int or (height, width), each >= low."""
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < low for v in pair):
        raise InputError(f"{name} is one or two integers >= {low}, got {value!r}")
    return pair


class _Synapse(nn.Module):
    """A weight of shape ``(out, in, kernel height, kernel width, 1)``, as slayer stores all of them.

    With ``weight_norm`` it is ``weight_g * weight_v / |weight_v|``, norms taken per output.
    """

    def __init__(self, shape: tuple[int, ...], weight_scale: float, weight_norm: bool, pre_hook_fx: Hook | None) -> None:
        super().__init__()
        self.pre_hook_fx = pre_hook_fx
        self.exact_eval = False
        init = torch.empty(*shape, 1)
        nn.init.kaiming_uniform_(init, a=math.sqrt(5))
        init *= weight_scale
        if weight_norm:
            self.weight_g = nn.Parameter(torch.linalg.vector_norm(init, dim=(1, 2, 3, 4), keepdim=True))
            self.weight_v = nn.Parameter(init)
        else:
            self.weight = nn.Parameter(init)

    @property
    def weight_norm(self) -> bool:
        return "weight_v" in self._parameters

    def raw_weight(self) -> torch.Tensor:
        """The weight before quantisation."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0) if self.weight_norm else self.weight

    def effective_weight(self) -> torch.Tensor:
        """The weight in use."""
        w = self.raw_weight()
        return w if self.pre_hook_fx is None else self.pre_hook_fx(w)

    def operands(self, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and weight as they are multiplied: with ``exact_eval``, outside training, in float64, where sums of
        quantised values are exact in any order."""
        if x.dtype != weight.dtype:
            raise InputError(f"synapse.{type(self).__name__}: input has dtype {x.dtype}, the weight {weight.dtype}")
        return (x.double(), weight.double()) if self.exact_eval and not self.training else (x, weight)

    def disable_weight_norm(self) -> None:
        """Replace weight_g and weight_v by the weight they stand for."""
        if self.weight_norm:
            weight = self.raw_weight().detach()
            del self.weight_g, self.weight_v
            self.weight = nn.Parameter(weight)

    @property
    def grad_norm(self) -> float:
        """Norm of the weight's gradient (of weight_g with weight_norm) over its number of elements; 0 without one."""
        p = self.weight_g if self.weight_norm else self.weight
        return 0.0 if p.grad is None else float(p.grad.norm() / p.grad.numel())


class Dense(_Synapse):
    """``weight @ x``, for x of shape (batch, in_neurons, time).

    Args:
        in_neurons, out_neurons: sizes.
        weight_scale: factor on the initial weights. Default 1.
        weight_norm: default False.
        pre_hook_fx: applied to the weight in every call, a quantisation for instance.
    """

    def __init__(self, in_neurons: int, out_neurons: int, weight_scale: float = 1, weight_norm: bool = False,
                 pre_hook_fx: Hook | None = None) -> None:
        if not (isinstance(in_neurons, int) and in_neurons > 0 and isinstance(out_neurons, int) and out_neurons > 0):
            raise InputError(f"synapse.Dense: in_neurons and out_neurons are integers > 0, got {in_neurons!r}, {out_neurons!r}")
        super().__init__((out_neurons, in_neurons, 1, 1), weight_scale, weight_norm, pre_hook_fx)
        self.in_neurons, self.out_neurons = in_neurons, out_neurons

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        if x.dim() != 3 or x.shape[1] != self.in_neurons:
            raise InputError(f"synapse.Dense: input has shape {tuple(x.shape)}; expected (batch, {self.in_neurons}, time)")
        weight = self.effective_weight()[:, :, 0, 0, 0]
        y, weight = self.operands(x, weight if mask is None else weight * mask)
        return torch.matmul(weight, y).to(x.dtype)


class Conv(_Synapse):
    """Correlation with a kernel, for x of shape (batch, in_features, height, width, time).

    Args:
        kernel_size, stride, padding, dilation: one int or (height, width).
        groups, weight_scale, weight_norm, pre_hook_fx: see Dense.
    """

    def __init__(self, in_features: int, out_features: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1, weight_scale: float = 1, weight_norm: bool = False, pre_hook_fx: Hook | None = None) -> None:
        self.kernel_size, self.stride = two("kernel_size", kernel_size, 1), two("stride", stride, 1)
        self.padding, self.dilation, self.groups = two("padding", padding, 0), two("dilation", dilation, 1), groups
        if in_features % groups or out_features % groups:
            raise InputError(f"synapse.Conv: {groups} groups do not divide {in_features} and {out_features} features")
        super().__init__((out_features, in_features // groups, *self.kernel_size), weight_scale, weight_norm, pre_hook_fx)
        self.in_channels, self.out_channels = in_features, out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 5 or x.shape[1] != self.in_channels:
            raise InputError(f"synapse.Conv: input has shape {tuple(x.shape)}; expected (batch, {self.in_channels}, height, width, time)")
        y, weight = self.operands(x, self.effective_weight())
        y = functional.conv3d(y, weight, None, (*self.stride, 1), (*self.padding, 0), (*self.dilation, 1), self.groups)
        return y.to(x.dtype)


class Pool(nn.Module):
    """Sum pooling times a fixed weight, for x of shape (batch, features, height, width, time).

    Args:
        kernel_size: one int or (height, width).
        stride: default kernel_size. padding, dilation: one int or (height, width).
        weight_scale: the weight of each input. Default 1.
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, weight_scale: float = 1,
                 weight_norm: bool = False, pre_hook_fx: Hook | None = None) -> None:
        super().__init__()
        self.kernel_size = two("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else two("stride", stride, 1)
        self.padding, self.dilation = two("padding", padding, 0), two("dilation", dilation, 1)
        self.pre_hook_fx = pre_hook_fx
        if weight_norm:
            raise InputError("synapse.Pool: its weight is fixed; weight_norm does not apply")
        self.weight = nn.Parameter(torch.full((1, 1, *self.kernel_size, 1), float(weight_scale)), requires_grad=False)

    def effective_weight(self) -> torch.Tensor:
        return self.weight if self.pre_hook_fx is None else self.pre_hook_fx(self.weight)

    @property
    def grad_norm(self) -> float:
        return 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() != 5:
            raise InputError(f"synapse.Pool: input has shape {tuple(x.shape)}; expected (batch, features, height, width, time)")
        weight = self.effective_weight().expand(x.shape[1], -1, -1, -1, -1)
        return functional.conv3d(x, weight, None, (*self.stride, 1), (*self.padding, 0), (*self.dilation, 1), x.shape[1])
