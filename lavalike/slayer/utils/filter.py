"""Filters over the last axis, time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lavalike.errors import InputError


def _filtered(input: torch.Tensor, weight: torch.Tensor, ahead: bool) -> torch.Tensor:
    """(..., time) -> (rows, filters, time): ``weight`` (filters, 1, length) slid over what was, or with ``ahead`` will be."""
    if input.dim() < 1 or input.numel() == 0:
        raise InputError(f"utils.filter: a signal (..., time) that is not empty is expected, got {tuple(input.shape)}")
    rows = input.reshape(-1, 1, input.shape[-1])
    rows = rows if rows.is_floating_point() else rows.float()
    gap = weight.shape[-1] - 1
    return functional.conv1d(functional.pad(rows, (0, gap) if ahead else (gap, 0)), weight.to(rows))


def _kernel(filter: torch.Tensor) -> torch.Tensor:
    if filter.dim() != 1 or filter.numel() == 0:
        raise InputError(f"utils.filter: a filter has one axis, time, and is not empty; got {tuple(filter.shape)}")
    return filter.reshape(1, 1, -1)


def conv(input: torch.Tensor, filter: torch.Tensor, sampling_time: float = 1) -> torch.Tensor:
    """Causal convolution: ``y[t] = sampling_time * sum_k filter[k] input[t - k]``.

    Args:
        input: (..., time).
        filter: impulse response, (length,).
        sampling_time: duration of a step.
    """
    return _filtered(input, _kernel(filter).flip(-1), False).reshape(input.shape) * sampling_time


def corr(input: torch.Tensor, filter: torch.Tensor, sampling_time: float = 1) -> torch.Tensor:
    """Correlation, the adjoint of ``conv``: ``y[t] = sampling_time * sum_k filter[k] input[t + k]``."""
    return _filtered(input, _kernel(filter), True).reshape(input.shape) * sampling_time


class FIR(nn.Module):
    """A fixed filter over time.

    Args:
        fir_response: impulse response, (length,); None: ``exp(-t / time_constant)`` for ``length`` steps.
        time_constant: in the unit of sampling_time.
        length: number of steps.
        sampling_time: duration of a step.
    """

    filter: torch.Tensor

    def __init__(self, fir_response: torch.Tensor | Sequence[float] | None = None, time_constant: float = 1, length: int = 20,
                 sampling_time: float = 1) -> None:
        super().__init__()
        if fir_response is None:
            if not (time_constant > 0 and length >= 1 and sampling_time > 0):
                raise InputError(f"utils.filter.FIR: time_constant, length and sampling_time are > 0, got {time_constant}, {length}, "
                                 f"{sampling_time}")
            fir_response = torch.exp(-torch.arange(length, dtype=torch.float64) * (sampling_time / time_constant))
        response = torch.as_tensor(fir_response).detach().to(torch.float32, copy=True)
        _kernel(response)
        self.register_buffer("filter", response)
        self.sampling_time = sampling_time

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., time) -> (..., time)."""
        return conv(input, self.filter, self.sampling_time)


class FIRBank(nn.Module):
    """Learnable filters over time, each applied to the whole input.

    ``weight`` is (num_filter, 1, 1, 1, length), as of a Conv3d: its last element acts on the present step.

    Args:
        num_filter: number of filters.
        filter_length: their length, in the unit of sampling_time.
        sampling_time: duration of a step.
        scale: factor of the initial weights, uniform in +-1 / sqrt(length).
    """

    def __init__(self, num_filter: int, filter_length: float, sampling_time: float = 1, scale: float = 1) -> None:
        super().__init__()
        length = int(filter_length / sampling_time) if sampling_time > 0 else 0
        if num_filter < 1 or length < 1:
            raise InputError(f"utils.filter.FIRBank: num_filter is >= 1 and filter_length >= sampling_time > 0, got {num_filter}, "
                             f"{filter_length}, {sampling_time}")
        self.sampling_time = sampling_time
        bound = scale / math.sqrt(length)
        self.weight = nn.Parameter(torch.empty(num_filter, 1, 1, 1, length).uniform_(-bound, bound))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(batch, 1, ..., time) -> (batch, num_filter, ..., time)."""
        if input.dim() < 3 or input.shape[1] != 1:
            raise InputError(f"utils.filter.FIRBank: input has shape {tuple(input.shape)}; expected (batch, 1, ..., time)")
        filters = self.weight.shape[0]
        y = _filtered(input, self.weight.reshape(filters, 1, -1), False)
        return y.reshape(input.shape[0], *input.shape[2:-1], filters, input.shape[-1]).movedim(-2, 1) * self.sampling_time
