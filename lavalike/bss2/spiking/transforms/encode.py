"""Values to spikes. Spikes are (time, batch, neuron)."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments, integer, optional, real
from lavalike.errors import InputError


class PixelsToSpikeTimes(torch.nn.Module):
    """Brighter pixels spike earlier: ``tau log(x / (x - threshold))``, ``t_max`` for those that do
    not reach the threshold.

    Example:
        >>> encode = bss2.spiking.transforms.encode.PixelsToSpikeTimes()
        >>> encode(torch.tensor([0.1, 0.9]))
        tensor([1., 1.])

    Args:
        tau: default 20.
        threshold: of the pixel values, default 0.2.
        t_max: the latest time, default 1.0.
        epsilon: added to the threshold of those just at it, default 1e-7.
    """

    @arguments(tau=real(above=0), threshold=real(), t_max=real(), epsilon=real(0))
    def __init__(
        self, tau: float = 20, threshold: float = 0.2, t_max: float = 1.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__()
        self.tau, self.threshold, self.t_max, self.epsilon = tau, threshold, t_max, epsilon

    def forward(self, pic: torch.Tensor) -> torch.Tensor:
        """Of pixels ``pic`` (any shape) the times, flattened after the first dimension where there
        are more than two."""
        x = pic.clamp(min=self.threshold + self.epsilon)
        times = self.tau * torch.log(x / (x - self.threshold))
        times = torch.where(pic < self.threshold, self.t_max, times).clamp(max=self.t_max)
        return times.flatten(1) if times.dim() > 2 else times


class SpikeTimesToDense(torch.nn.Module):
    """Spike times (batch, neuron) to dense spikes (size, batch, neuron): a 1 in step
    ``int(t / bin_width)``; times beyond the last step are lost.

    Example:
        >>> encode = bss2.spiking.transforms.encode.SpikeTimesToDense(bin_width=0.1, size=10)
        >>> encode(torch.tensor([[0.25, 0.5]])).shape
        torch.Size([10, 1, 2])

    Args:
        bin_width: of a step, in the unit of the times.
        size: steps. Default 100.
    """

    @arguments(bin_width=real(above=0), size=integer(1))
    def __init__(self, bin_width: float, size: int = 100) -> None:
        super().__init__()
        self.bin_width, self.size = bin_width, size

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        single = spikes.dim() == 1
        t = (spikes.unsqueeze(0) if single else spikes) / self.bin_width
        index = t.floor().clamp(0, self.size).long()  # one step more, for those that are lost
        dense = torch.zeros((self.size + 1, *t.shape), dtype=spikes.dtype, device=spikes.device)
        dense.scatter_(0, index.unsqueeze(0), (t >= 0).to(spikes.dtype).unsqueeze(0))
        return dense[:-1, 0] if single else dense[:-1]


class CoordinatesToSpikes(torch.nn.Module):
    """Coordinates in 0..1, (batch, n), to one spike each at ``t_early + x (t_late - t_early)``, in
    a dense (seq_length, batch, n), float32.

    Example:
        >>> encode = bss2.spiking.transforms.encode.CoordinatesToSpikes(30, 2e-6, 26e-6)
        >>> encode(torch.rand(4, 2)).shape
        torch.Size([30, 4, 2])

    Args:
        seq_length: steps.
        t_early, t_late: s.
        dt: of a step, s. Default 1e-6.
        t_bias: s; adds a last channel that always spikes in step ``int(t_bias / dt)``. Default
            None.
    """

    @arguments(
        seq_length=integer(1),
        t_early=real(),
        t_late=real(),
        dt=real(above=0),
        t_bias=optional(real()),
    )
    def __init__(
        self,
        seq_length: int,
        t_early: float,
        t_late: float,
        dt: float = 1e-6,
        t_bias: float | None = None,
    ) -> None:
        super().__init__()
        inside = round(t_late / dt) < seq_length and (
            t_bias is None or 0 <= _bin(t_bias, dt) < seq_length
        )
        if not (0 <= t_early <= t_late and inside):
            raise InputError(
                f"CoordinatesToSpikes: 0 <= t_early <= t_late and all times within {seq_length} steps of {dt:g} s are needed, "
                f"got {t_early!r}, {t_late!r}, t_bias {t_bias!r}"
            )
        self.seq_length, self.t_early, self.t_late, self.dt, self.t_bias = (
            seq_length,
            t_early,
            t_late,
            dt,
            t_bias,
        )

    def forward(self, coordinate_values: torch.Tensor) -> torch.Tensor:
        if coordinate_values.dim() != 2 or bool(
            (coordinate_values < 0).any() | (coordinate_values > 1).any()
        ):
            raise InputError(
                f"CoordinatesToSpikes: coordinates (batch, n) within 0..1 are expected, got {tuple(coordinate_values.shape)}, "
                f"{float(coordinate_values.min()):g} to {float(coordinate_values.max()):g}"
            )
        index = torch.round(
            (self.t_early + coordinate_values * (self.t_late - self.t_early)) / self.dt
        ).long()
        if self.t_bias is not None:
            index = torch.cat(
                [index, index.new_full((len(index), 1), _bin(self.t_bias, self.dt))], 1
            )
        dense = torch.zeros(
            (self.seq_length, *index.shape), dtype=torch.float32, device=coordinate_values.device
        )
        return dense.scatter_(0, index.unsqueeze(0), 1.0)


def _bin(t: float, dt: float) -> int:
    return int(t / dt + 1e-9)  # 2e-6 / 1e-6 may fall short of 2 by a rounding
