"""Synapses with a real and an imaginary weight: from spikes to the two inputs of a resonator."""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import torch
from torch import nn

from lavalike.slayer.synapse import layer


class ComplexLayer(nn.Module):
    """What all pairs of synapses ``real`` and ``imag`` have, also one's own, which assigns them
    after ``super().__init__()``.

    Example:
        >>> dense = slayer.synapse.complex.Dense(20, 10)
        >>> isinstance(dense, slayer.synapse.complex.ComplexLayer), dense.shape
        (True, torch.Size([10, 20, 1, 1, 1]))
    """

    complex: bool = True
    real: Any
    imag: Any

    def __getattr__(self, name: str) -> Any:
        # sizes, kernel and the like are those of either part
        if name in (
            "in_neurons",
            "out_neurons",
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "groups",
            "axes",
            "output_size",
            "shape",
        ):
            return getattr(self.real, name)
        return super().__getattr__(name)

    @property
    def pre_hook_fx(self) -> layer.Hook | None:
        hook: layer.Hook | None = self.real.pre_hook_fx
        return hook

    @pre_hook_fx.setter
    def pre_hook_fx(self, hook: layer.Hook | None) -> None:
        self.real.pre_hook_fx = self.imag.pre_hook_fx = hook

    @property
    def weight_norm_enabled(self) -> bool:
        enabled: bool = self.real.weight_norm_enabled
        return enabled

    weight_norm = weight_norm_enabled

    def enable_weight_norm(self) -> None:
        self.real.enable_weight_norm()
        self.imag.enable_weight_norm()

    def disable_weight_norm(self) -> None:
        self.real.disable_weight_norm()
        self.imag.disable_weight_norm()

    @property
    def grad_norm(self) -> float:
        """Root of the sum of both parts' squares, see :class:`lavalike.slayer.synapse.Synapse`."""
        return math.hypot(self.real.grad_norm, self.imag.grad_norm)

    def forward(self, input: torch.Tensor, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.real(input, *args), self.imag(input, *args)


class _Complex(ComplexLayer):
    """``(real(x), imag(x))``; both synapses have the arguments of the class of this name in
    :mod:`lavalike.slayer.synapse`."""

    part: ClassVar[type[layer.Synapse]]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        cls.__signature__ = inspect.signature(cls.part)  # for editors and help()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.real, self.imag = self.part(*args, **kwargs), self.part(*args, **kwargs)


class Dense(_Complex):
    __doc__ = _Complex.__doc__
    part = layer.Dense


class Conv(_Complex):
    __doc__ = _Complex.__doc__
    part = layer.Conv


class ConvTranspose(_Complex):
    __doc__ = _Complex.__doc__
    part = layer.ConvTranspose


class Pool(_Complex):
    __doc__ = _Complex.__doc__
    part = layer.Pool


class Unpool(_Complex):
    __doc__ = _Complex.__doc__
    part = layer.Unpool
