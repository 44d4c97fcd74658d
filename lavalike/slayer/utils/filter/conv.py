"""Convolution and correlation over the last axis, time."""

from __future__ import annotations

import torch
from torch.nn import functional

from lavalike.arguments import TENSOR, arguments, real
from lavalike.errors import InputError


def filtered(input: torch.Tensor, weight: torch.Tensor, ahead: bool) -> torch.Tensor:
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


def kernel_of(filter: torch.Tensor) -> torch.Tensor:
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
    return filtered(input, kernel_of(filter).flip(-1), False).reshape(input.shape) * sampling_time


@arguments(input=TENSOR, filter=TENSOR, sampling_time=real(above=0))
def corr(input: torch.Tensor, filter: torch.Tensor, sampling_time: float = 1) -> torch.Tensor:
    """Correlation, the adjoint of ``conv``:
    ``y[t] = sampling_time * sum_k filter[k] input[t + k]``."""
    return filtered(input, kernel_of(filter), True).reshape(input.shape) * sampling_time
