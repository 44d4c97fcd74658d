"""What a spiking block answers to a constant drive, as a piecewise linear function."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import TENSOR, Rule, arguments, integer, is_real, real
from lavalike.errors import InputError, RunError
from lavalike.extras import needed

RANGE = Rule(
    "a pair (low, high), 0 <= low < high <= 1",
    lambda v: isinstance(v, list | tuple) and len(v) == 2 and all(map(is_real, v)),
    lambda v: 0 <= v[0] < v[1] <= 1,
)
LEAST = 0.8  # of the highest rate that is taken for the limit


class AnnSampler(nn.Module):
    """Collects pairs of drive ``z`` and rate ``a``, both means over time, and answers a drive with
    the rate of the piecewise linear function through their centres.

    ``fit`` divides the rates between two shares of the highest one into bins; a centre is the
    medians of a bin's pairs, moved from the bin's last centre by a tenth. From the first two
    centres on the line goes down to rate 0, from the last two up to the highest rate, which stays:
    a rate rises nowhere else, and falls nowhere. Backward the slope is scaled so that a unit of
    drive that saturates counts as one, and ``eps`` lets a little pass everywhere.

    Example:
        >>> from lavalike import bootstrap
        >>> bootstrap.ann_sampler.AnnSampler().__class__.__name__
        'AnnSampler'

    Args:
        num_centers: bins. Default 5; less than half the steps of a sample.
        sample_range: shares of the highest rate between which they lie. Default (0.1, 0.9).
        eps: added to the slope backward, > 0. Default 1e-5.

    Attributes: ``centers``, (points, 2), z and a in rising order, None before the first ``fit``;
    with it ``slopes``, (points - 1,), ``max``, the highest rate, and ``scale``, z where it is
    reached over it. ``z``, ``a``: the pairs, arrays. The function is part of the state dict, the
    pairs are not.
    """

    _centers: torch.Tensor
    alpha = 0.1  # share of new points in a centre that was there before

    @arguments(num_centers=integer(1), sample_range=RANGE, eps=real(above=0))
    def __init__(
        self,
        num_centers: int = 5,
        sample_range: Sequence[float] = (0.1, 0.9),
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.num_centers, self.sample_range, self.eps = num_centers, tuple(sample_range), eps
        self.register_buffer("_centers", torch.zeros(0, 2, dtype=torch.float64))
        self.clear()

    @property
    def centers(self) -> np.ndarray | None:
        return self._centers.cpu().numpy() if len(self._centers) else None

    @property
    def slopes(self) -> np.ndarray:
        z, a = self._fitted().cpu().numpy().T
        slopes: np.ndarray = np.diff(a) / np.diff(z)
        return slopes

    @property
    def max(self) -> float:
        return float(self._fitted()[-1, 1])

    @property
    def scale(self) -> float:
        z, a = self._fitted()[-1].tolist()
        return float(z / a)

    def _fitted(self) -> torch.Tensor:
        if not len(self._centers):
            raise RunError(
                "bootstrap.AnnSampler: no function was fitted yet: run batches in Mode.SAMPLE, then one in Mode.FIT"
            )
        return self._centers

    @arguments(a=TENSOR, z=TENSOR)
    def append(self, a: torch.Tensor, z: torch.Tensor) -> None:
        """Note the means over time of spikes ``a`` and of the drive ``z`` that caused them, both
        (..., time)."""
        if a.shape != z.shape:
            raise InputError(
                f"bootstrap.AnnSampler: spikes {tuple(a.shape)} and drive {tuple(z.shape)} differ in shape"
            )
        for pairs, value in ((self._a, a), (self._z, z)):
            pairs.append(value.detach().float().mean(-1).flatten().cpu().numpy())

    @property
    def a(self) -> np.ndarray:
        return _joined(self._a)

    @property
    def z(self) -> np.ndarray:
        return _joined(self._z)

    def clear(self) -> None:
        """Forget all pairs."""
        self._a: list[np.ndarray] = []
        self._z: list[np.ndarray] = []

    def soft_clear(self) -> None:
        """Forget every second pair, drawn by torch's generator."""
        a, z = self.a, self.z
        left = torch.randperm(len(a))[len(a) // 2 :].numpy()
        self._a, self._z = [a[left]], [z[left]]

    def fit(self) -> None:
        """Fit the function to the pairs.

        Raises:
            RunError: there are none.
        """
        a, z = self.a, self.z
        if not len(a):
            raise RunError("bootstrap.AnnSampler: nothing was sampled: run batches in Mode.SAMPLE")
        highest = max(float(a[a >= self.sample_range[1] * a.max()].mean()), LEAST)
        first, last = (share * highest for share in self.sample_range)
        edges = np.linspace(first, last, self.num_centers + 1)
        before = np.zeros((0, 2)) if self.centers is None else self.centers[1:-1]
        points = []
        for low, high in itertools.pairwise(edges):
            old = before[(before[:, 1] > low) & (before[:, 1] <= high)]
            some = (a > low) & (a <= high)
            new = np.array([np.median(z[some]), np.median(a[some])]) if some.any() else None
            if len(old):
                kept = old.mean(0)
                points.append(kept if new is None else self.alpha * new + (1 - self.alpha) * kept)
            elif new is not None:
                points.append(new)
        self._centers = torch.from_numpy(_rising(points, highest)).to(self._centers.device)

    @arguments(z=TENSOR)
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Rates of drives ``z``, of any shape."""
        out: torch.Tensor = _PiecewiseLinear.apply(z, self._fitted(), self.eps)
        return out

    def plot(self, figsize: tuple[float, float] | None = None) -> Any:
        """Pairs and function, as a matplotlib figure of ``figsize`` inches."""
        plt = needed("matplotlib.pyplot", "AnnSampler.plot", "plot")
        centers, z = self._fitted().cpu().numpy(), self.z
        figure, axes = plt.subplots(figsize=figsize)
        axes.plot(z, self.a, ".", alpha=0.05, label="samples")
        ends = np.array([min([*z, centers[0, 0]]), max([*z, centers[-1, 0]])])
        at = np.concatenate([ends[:1], centers[:, 0], ends[1:]])
        axes.plot(at, np.concatenate([[0], centers[:, 1], [self.max]]), label="fit")
        axes.plot(*centers.T, "o")
        axes.set_xlabel("drive")
        axes.set_ylabel("rate")
        axes.legend()
        return figure

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any
    ) -> None:
        # of as many points as were found; lava-dl's state dicts have none
        own = state_dict.setdefault(f"{prefix}_centers", self._centers)
        self._centers = self._centers.new_zeros(own.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _rising(points: list[np.ndarray], highest: float) -> np.ndarray:
    """Centres, rising in both, with the ends of their line at 0 and ``highest``."""
    rising: list[np.ndarray] = []
    for point in points:
        if not rising or (point[0] > rising[-1][0] and point[1] > rising[-1][1]):
            rising.append(point)
    if not rising:
        rising = [np.zeros(2), np.ones(2)]  # of nothing the slope is 1
    if len(rising) == 1:
        rising = [np.zeros(2), *rising] if rising[0][0] > 0 else [*rising, rising[0] + 1]
    inner = np.array(rising)
    first, last = (np.diff(two, axis=0)[0] for two in (inner[:2], inner[-2:]))
    start = [inner[0, 0] - inner[0, 1] * first[0] / first[1], 0.0]
    end = [inner[-1, 0] + (highest - inner[-1, 1]) * last[0] / last[1], highest]
    between = inner[(inner[:, 1] > 0) & (inner[:, 1] < highest)]
    return np.vstack([start, between, end])


class _PiecewiseLinear(torch.autograd.Function):
    """The function through ``centers``, level before and behind them. Backward: its slope, times z
    over a of the last centre, plus eps."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, centers: torch.Tensor, eps: float) -> torch.Tensor:
        at, rate = centers.to(z.dtype).t().contiguous()
        slopes = torch.diff(rate) / torch.diff(at)
        piece = torch.bucketize(z.contiguous(), at)  # 0: before, len(at): behind
        level = torch.cat([rate[:1], rate])
        slopes = torch.cat([slopes.new_zeros(1), slopes, slopes.new_zeros(1)])
        begin = torch.cat([at[:1], at])
        ctx.save_for_backward(piece, slopes * (at[-1] / rate[-1]) + eps)
        return level[piece] + slopes[piece] * (z - begin[piece])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        piece, slopes = ctx.saved_tensors
        return grad * slopes[piece], None, None
