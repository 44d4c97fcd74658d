"""Filters over the last axis, time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import TENSOR, arguments, integer, numbers, optional, real
from lavalike.errors import InputError


def _filtered(input: torch.Tensor, weight: torch.Tensor, ahead: bool) -> torch.Tensor:
    """(..., time) -> (rows, filters, time): ``weight`` (filters, 1, length) slid over what was, or
    with ``ahead`` will be."""
    if input.dim() < 1 or input.numel() == 0:
        raise InputError(
            f"utils.filter: a signal (..., time) that is not empty is expected, got {tuple(input.shape)}"
        )
    rows = input.reshape(-1, 1, input.shape[-1])
    rows = rows if rows.is_floating_point() else rows.float()
    gap = weight.shape[-1] - 1
    return functional.conv1d(functional.pad(rows, (0, gap) if ahead else (gap, 0)), weight.to(rows))


def _kernel(filter: torch.Tensor) -> torch.Tensor:
    if filter.dim() != 1 or filter.numel() == 0:
        raise InputError(
            f"utils.filter: a filter has one axis, time, and is not empty; got {tuple(filter.shape)}"
        )
    return filter.reshape(1, 1, -1)


@arguments(input=TENSOR, filter=TENSOR, sampling_time=real(above=0))
def conv(input: torch.Tensor, filter: torch.Tensor, sampling_time: float = 1) -> torch.Tensor:
    """Causal convolution: ``y[t] = sampling_time * sum_k filter[k] input[t - k]``.

    Args:
        input: (..., time).
        filter: impulse response, (length,).
        sampling_time: duration of a step.
    """
    return _filtered(input, _kernel(filter).flip(-1), False).reshape(input.shape) * sampling_time


@arguments(input=TENSOR, filter=TENSOR, sampling_time=real(above=0))
def corr(input: torch.Tensor, filter: torch.Tensor, sampling_time: float = 1) -> torch.Tensor:
    """Correlation, the adjoint of ``conv``:
    ``y[t] = sampling_time * sum_k filter[k] input[t + k]``."""
    return _filtered(input, _kernel(filter), True).reshape(input.shape) * sampling_time


class FIR(nn.Module):
    """A fixed filter over time.

    Args:
        fir_response: impulse response, (length,); None: ``exp(-t / time_constant)`` for ``length``
            steps.
        time_constant: in the unit of sampling_time.
        length: number of steps.
        sampling_time: duration of a step.
    """

    filter: torch.Tensor

    @arguments(
        fir_response=optional(numbers(ndim=1, kinds="iuf")),
        time_constant=real(above=0),
        length=integer(1),
        sampling_time=real(above=0),
    )
    def __init__(
        self,
        fir_response: torch.Tensor | Sequence[float] | None = None,
        time_constant: float = 1,
        length: int = 20,
        sampling_time: float = 1,
    ) -> None:
        super().__init__()
        if fir_response is None:
            fir_response = torch.exp(
                -torch.arange(length, dtype=torch.float64) * (sampling_time / time_constant)
            )
        response = torch.as_tensor(fir_response).detach().to(torch.float32, copy=True)
        _kernel(response)
        self.register_buffer("filter", response)
        self.sampling_time = sampling_time

    @property
    def impulse_response(self) -> np.ndarray:
        """What the filter answers to a 1, (length,), the present step first."""
        return self.filter.cpu().numpy().copy()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., time) -> (..., time)."""
        return conv(input, self.filter, self.sampling_time)


class FIRBank(nn.Module):
    """Learnable filters over time, each applied to every channel.

    ``weight`` is (num_filter, 1, 1, 1, length), as of a Conv3d: its last element acts on the
    present step.

    Args:
        num_filter: number of filters.
        filter_length: their length, in the unit of sampling_time.
        sampling_time: duration of a step.
        scale: factor of the initial weights, uniform in +-1 / sqrt(length).

    Attributes: ``num_filter``; ``filter_length``, in steps.
    """

    @arguments(
        num_filter=integer(1),
        filter_length=real(above=0),
        sampling_time=real(above=0),
        scale=real(),
    )
    def __init__(
        self, num_filter: int, filter_length: float, sampling_time: float = 1, scale: float = 1
    ) -> None:
        super().__init__()
        length = int(filter_length / sampling_time)
        if length < 1:
            raise InputError(
                f"utils.filter.FIRBank: filter_length is >= sampling_time, got {filter_length}, {sampling_time}"
            )
        self.num_filter, self.filter_length, self.sampling_time = (
            int(num_filter),
            length,
            sampling_time,
        )
        weight = torch.empty(self.num_filter, 1, 1, 1, length)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.weight = nn.Parameter(weight * scale)

    @property
    def impulse_response(self) -> np.ndarray:
        """What the filters answer to a 1, (num_filter, filter_length), the present step first."""
        return self.weight.detach().reshape(self.num_filter, -1).flip(-1).cpu().numpy()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(batch, channels, ..., time) -> (batch, num_filter * channels, ..., time): all channels
        of the first filter, then of the next."""
        if input.dim() < 3:
            raise InputError(
                f"utils.filter.FIRBank: input has shape {tuple(input.shape)}; expected (batch, channels, ..., time)"
            )
        y = _filtered(input, self.weight.reshape(self.num_filter, 1, -1), False)
        y = y.reshape(*input.shape[:-1], self.num_filter, input.shape[-1]).movedim(-2, 1)
        return y.flatten(1, 2) * self.sampling_time
