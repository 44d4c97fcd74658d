"""Regularisers of a layer's spikes ``[T, B, ...]``, or a list of steps; add them to the loss, one
for each layer.

Each is ``Lambda`` times a penalty. A rate is a neuron's spikes a step.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import torch

from lavalike.arguments import arguments
from lavalike.errors import InputError, InputTypeError
from lavalike.snn.functional import _recording
from lavalike.snn.functional._recording import Recording


def _check(who: str, Lambda: float, rate: float = 0.0) -> None:
    # no rules: a regulariser may be made inside what torch.compile reads
    for name, value in (("Lambda", Lambda), ("rate", rate)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputTypeError(
                f"{who}: {name} is a finite number >= 0, got {value!r} ({type(value).__name__})"
            )
    if not 0 <= Lambda < math.inf:
        raise InputError(f"{who}: Lambda is a finite number >= 0, got {Lambda}")
    if not 0 <= rate <= 1:
        raise InputError(f"{who}: rate is in 0..1 spikes a step, got {rate}")


@arguments(late=True)
@dataclass(frozen=True)
class l1_rate_sparsity:
    """``Lambda`` times the number of spikes of all samples and neurons.

    Example:
        >>> snn.functional.l1_rate_sparsity(1e-2)(torch.ones(20, 4, 10))
        tensor(8.)
    """

    Lambda: float = 1e-5

    def __post_init__(self) -> None:
        _check("l1_rate_sparsity", self.Lambda)

    def __call__(self, spk_out: Recording) -> torch.Tensor:
        return self.Lambda * _recording.recording(spk_out, "l1_rate_sparsity", "[T, B, ...]").sum()


@arguments(late=True)
@dataclass(frozen=True)
class l2_rate_sparsity:
    """``Lambda`` times the sum over samples and neurons of the squared number of spikes.

    Example:
        >>> snn.functional.l2_rate_sparsity(1e-2)(torch.ones(20, 4, 10)).shape
        torch.Size([])
    """

    Lambda: float = 1e-5

    def __post_init__(self) -> None:
        _check("l2_rate_sparsity", self.Lambda)

    def __call__(self, spk_out: Recording) -> torch.Tensor:
        return (
            self.Lambda
            * _recording.recording(spk_out, "l2_rate_sparsity", "[T, B, ...]").sum(0).square().sum()
        )


@arguments(late=True)
@dataclass(frozen=True)
class upper_rate:
    """``Lambda max(0, r - rate)**2`` with the layer's mean rate r, averaged over samples: a busy
    layer is quietened.

    After Zenke and Vogels 2021.

    Example:
        >>> snn.functional.upper_rate(0.5)(torch.ones(20, 4, 10)).shape
        torch.Size([])
    """

    rate: float
    Lambda: float = 1.0

    def __post_init__(self) -> None:
        _check("upper_rate", self.Lambda, self.rate)

    def __call__(self, spk_out: Recording) -> torch.Tensor:
        x = _recording.recording(spk_out, "upper_rate", "[T, B, ...]")
        return (
            self.Lambda
            * torch.relu(x.mean([k for k in range(x.dim()) if k != 1]) - self.rate).square().mean()
        )


@arguments(late=True)
@dataclass(frozen=True)
class lower_rate:
    """``Lambda max(0, rate - r)**2`` with every neuron's rate r, averaged over samples and neurons:
    silent neurons wake up.

    After Zenke and Vogels 2021.

    Example:
        >>> snn.functional.lower_rate(0.5)(torch.zeros(20, 4, 10)).shape
        torch.Size([])
    """

    rate: float
    Lambda: float = 1.0

    def __post_init__(self) -> None:
        _check("lower_rate", self.Lambda, self.rate)

    def __call__(self, spk_out: Recording) -> torch.Tensor:
        x = _recording.recording(spk_out, "lower_rate", "[T, B, ...]")
        return self.Lambda * torch.relu(self.rate - x.mean(0)).square().mean()
