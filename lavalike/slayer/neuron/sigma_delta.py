"""The sigma-delta neuron (equations: :mod:`lavalike.dynamics.delta`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import FLAG, Rule, arguments, numbers
from lavalike.dynamics import delta
from lavalike.errors import InputError
from lavalike.fused.ambient import functional as pure, transformed
from lavalike.slayer.axon import Delta
from lavalike.slayer.dendrite import Sigma
from lavalike.slayer.neuron.base import COMMON, W_SCALE, Neuron as _Neuron, State, from_device
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm as MeanOnlyBatchNorm

LIMIT_BITS = 23
ACTIVATION = Rule("a function or a module", lambda v: callable(v) and not isinstance(v, type))


def neuron_params(device_params: Mapping[str, Any], scale: int = W_SCALE) -> dict[str, Any]:
    """Arguments of a Neuron that has these ``device_params``, as in a file's neuron group; its
    activation is relu."""
    return from_device(device_params, delta.SIGMA_DELTA_RELU, scale)


class Neuron(_Neuron):
    """Sigma, norm, bias, activation, Delta, dropout.

    Example:
        >>> neuron = slayer.neuron.sigma_delta.Neuron(threshold=0.1, activation=torch.relu)
        >>> neuron(torch.rand(4, 10, 20)).shape
        torch.Size([4, 10, 20])

    Args:
        threshold: of the Delta; rounded down to 1/scale as it is used, while training too. With
            shared_param=False also an array of one a channel.
        activation: a function such as ``functional.relu`` or a module. Default relu. Only relu can
            be exported.
        cum_error: compare the accumulated error with the threshold, not the last change. Cannot be
            exported. Default False.
        shared_param: one threshold for all channels, else one a channel (once channels are known).
            Default True.
        tau_grad, scale_grad, scale, norm, dropout, persistent_state, requires_grad: see the base
            class; requires_grad trains the threshold.

    Messages are multiples of 1 / (64 scale). What it keeps between calls is its parts':
    ``sigma.pre_state``, ``delta.pre_state``, ``delta.residual_state``, ``delta.error_state``.
    """

    declaration = delta.SIGMA_DELTA_RELU

    @arguments(
        threshold=numbers(above=0, kinds="iuf"), activation=ACTIVATION, cum_error=FLAG, **COMMON
    )
    def __init__(
        self,
        threshold: float | np.ndarray | torch.Tensor,
        activation: Callable[[torch.Tensor], torch.Tensor] = functional.relu,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        cum_error: bool = False,
        norm: Callable[..., Any] | None = None,
        dropout: nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
    ) -> None:
        given = torch.as_tensor(threshold).reshape(-1).tolist()
        if not given:
            raise InputError(
                f"{self.label}: threshold is one number, or one a channel, got {threshold!r}"
            )
        super().__init__(
            max(given),
            tau_grad,
            scale_grad,
            scale,
            norm,
            dropout,
            shared_param,
            persistent_state,
            requires_grad,
        )
        self.tau_rho = float(tau_grad) * int(min(given) * self.w_scale) / self.w_scale
        self.activation = activation
        self.sigma = Sigma(persistent_state)
        self.delta = Delta(
            threshold,
            self.s_scale,
            tau_grad,
            scale_grad,
            cum_error,
            shared_param,
            persistent_state,
            requires_grad,
            self.w_scale,
        )
        self.delta.label = self.sigma.label = self.label
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=False)

    # the parts keep the states, so that they go on by themselves as well
    @property
    def _state(self) -> State | None:
        return {**(self.sigma._state or {}), **(self.delta._state or {})} or None

    @_state.setter
    def _state(self, state: State | None) -> None:
        self.sigma._state = {"sigma": state["sigma"]} if state and "sigma" in state else None
        self.delta._state = {k: v for k, v in (state or {}).items() if k != "sigma"} or None

    @property
    def debug(self) -> bool:
        return self.delta.debug

    @debug.setter
    def debug(self, on: bool) -> None:
        self.delta.debug = on

    def set_bias(self, bias: torch.Tensor | float) -> None:
        """A bias before the activation, one number or one a channel; quantised as it is used."""
        self.bias = nn.Parameter(
            torch.as_tensor(bias, dtype=torch.float32).reshape(-1), requires_grad=False
        )

    @property
    def bias_is_set(self) -> bool:
        """Whether ``set_bias`` gave it one that is not 0."""
        return self.bias.numel() > 1 or self.bias.item() != 0

    def fit(self, channels: int) -> None:
        super().fit(channels)
        self.delta.fit(channels)

    @property
    def thresholds(self) -> torch.Tensor:
        """In use: one, or one a channel."""
        return self.delta.effective_threshold().detach()

    @property
    def threshold(self) -> float:
        return float(self.thresholds.max())

    @property
    def v_th_mant(self) -> Any:
        values = (self.thresholds * self.w_scale).round().long()
        return int(values) if values.numel() == 1 else values.cpu().numpy()

    @property
    def device_params(self) -> dict[str, Any]:
        return {
            "type": self.declaration.kind,
            "activation": getattr(
                self.activation, "__name__", type(self.activation).__name__
            ).lower(),
            **self.stored(),
        }

    def count(self, state: torch.Tensor) -> None:
        """Count sums that leave the 24 bits of the deployed sigma."""
        limit = 2**LIMIT_BITS / (self.s_scale * self.w_scale)
        if pure():  # where nothing outside may be changed
            return
        with torch.no_grad():
            low, high = torch.aminmax(state)
            # one pass where there is none, as nearly always; a trace has no values to look at
            if transformed() or bool(low <= -limit) or bool(high >= limit):
                self.overflows += (state.abs() >= limit).sum()

    def decode(self, x: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """The sum of all messages, and the state after it."""
        self.check([x])
        x, after = self.sigma.stream(x, state)
        self.count(x)
        return x, after

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        (z,) = x
        relu = self.activation in (functional.relu, torch.relu) or isinstance(
            self.activation, nn.ReLU
        )
        if (
            relu
            and not self.delta.cum_error
            and (self.norm is None or type(self.norm) is MeanOnlyBatchNorm)
        ):
            return self.fused(z, state, shift)
        z, before = self.decode(z, state)
        if self.norm is not None:
            z = self.norm(z)
        if transformed() or self.bias_is_set:
            z = z + self.quantize_8bit(self.bias).reshape(1, -1, *[1] * (z.dim() - 2))
        y, after = self.delta.stream(self.activation(z), state, shift)
        return y, before | after

    def fused(
        self, x: torch.Tensor, state: State | None, shift: bool
    ) -> tuple[torch.Tensor, State]:
        """All of it in one loop; a norm is a bias there, its mean a sum of the inputs: what came
        first counts in most of the sums."""
        self.check([x])
        self.fit(x.shape[1])
        bias = self.quantize_8bit(self.bias)
        if self.norm is not None:
            bias = bias - self.norm.mean(lambda: self._mean_sum(x, state))
        parameters = {"vth": self.delta.effective_threshold(), "bias": bias, "out_scale": 1.0}
        (y,), after = self.scan(
            delta.SIGMA_DELTA_RELU, [x], parameters, state, shift=shift, training=self.delta.coding
        )
        return y, after

    @staticmethod
    def _mean_sum(x: torch.Tensor, state: State | None) -> torch.Tensor:
        """The mean of the sums over batch, space and time, one a channel."""
        time = x.shape[-1]
        share = torch.arange(time, 0, -1, dtype=x.dtype, device=x.device) / time
        sums = torch.tensordot(x.movedim(-1, 0), share, ([0], [0]))
        if state is not None and "sigma" in state:
            sums = sums + state["sigma"]
        return sums.mean([0, *range(2, sums.dim())])
