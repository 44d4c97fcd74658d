"""The sigma-delta neuron (equations: :mod:`lavalike.dynamics.delta`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.errors import InputError
from lavalike.slayer.axon import Delta
from lavalike.slayer.dendrite import Sigma
from lavalike.slayer.neuron.base import W_SCALE, Neuron as _Neuron
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm as MeanOnlyBatchNorm

LIMIT_BITS = 23


class Neuron(_Neuron):
    """Sigma, norm, bias, activation, Delta, dropout.

    Args:
        threshold: of the Delta; rounded down to 1/scale as it is used, while training too.
        activation: a function such as ``functional.relu``. Default relu. Only relu can be exported.
        tau_grad, scale_grad, scale, norm, dropout, requires_grad: see the base class; requires_grad trains the threshold.

    Messages are multiples of 1 / (64 scale).
    """

    def __init__(self, threshold: float, activation: Callable[[torch.Tensor], torch.Tensor] = functional.relu, tau_grad: float = 1,
                 scale_grad: float = 1, scale: int = W_SCALE, norm: Callable[..., Any] | None = None,
                 dropout: nn.Module | None = None, shared_param: bool = True, requires_grad: bool = False) -> None:
        super().__init__(threshold, tau_grad, scale_grad, scale, norm, dropout, requires_grad)
        if not shared_param:
            raise InputError("sigma_delta.Neuron: thresholds of their own per channel (shared_param=False) are not supported")
        self.activation = activation
        self.sigma = Sigma()
        self.delta = Delta(threshold, self.s_scale, tau_grad, scale_grad, requires_grad, w_scale=self.w_scale)
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=False)

    def set_bias(self, bias: torch.Tensor | float) -> None:
        """A bias before the activation, one number or one a channel; quantised as it is used."""
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=torch.float32).reshape(-1), requires_grad=False)

    @property
    def threshold(self) -> float:
        return float(self.delta.effective_threshold().detach())

    @property
    def v_th_mant(self) -> int:
        return round(self.threshold * self.w_scale)

    @property
    def device_params(self) -> dict[str, Any]:
        """What goes into the HDF5 file."""
        return {"type": "SDNN", "activation": getattr(self.activation, "__name__", type(self.activation).__name__).lower(),
                "vThMant": self.v_th_mant}

    def count(self, state: torch.Tensor) -> None:
        """Count sums that leave the 24 bits of the deployed sigma."""
        with torch.no_grad():
            self.overflows += (state.abs() * (self.s_scale * self.w_scale) >= 2**LIMIT_BITS).sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.sigma(x)
        self.count(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.bias.numel() > 1 or self.bias.item() != 0:
            x = x + self.quantize_8bit(self.bias).reshape(1, -1, *[1] * (x.dim() - 2))
        y = self.delta(self.activation(x))
        return y if self.drop is None else self.drop(y)
