"""Filters over the last axis, time, as modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lavalike.arguments import arguments, integer, numbers, optional, real
from lavalike.errors import InputError
from lavalike.slayer.utils.filter.conv import conv, filtered, kernel_of


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
        kernel_of(response)
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
        y = filtered(input, self.weight.reshape(self.num_filter, 1, -1), False)
        y = y.reshape(*input.shape[:-1], self.num_filter, input.shape[-1]).movedim(-2, 1)
        return y.flatten(1, 2) * self.sampling_time
