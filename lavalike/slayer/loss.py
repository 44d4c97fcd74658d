"""Losses on spike trains ``(batch, neuron, time)`` or ``(batch, channel, height, width, time)``,
space collapsed.

``reduction`` is "sum" or "mean". With ``moving_window`` the loss is taken at every step, from the
rates in the last ``moving_window`` steps; labels are then one a step, ``(batch, time)``, or still
one a sample, ``(batch,)``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import TENSOR, arguments, choice, integer, optional, real
from lavalike.errors import InputError
from lavalike.slayer.classifier import LOSS_MODE, collapse, log_confidence, moving_rate
from lavalike.slayer.utils.filter import FIR
from lavalike.slayer.utils.time import replicate

REDUCTION = choice("sum", "mean")
WINDOWED = {"moving_window": optional(integer(1)), "reduction": REDUCTION}


def _check_labels(label: torch.Tensor, classes: int, name: str) -> torch.Tensor:
    if (
        label.numel() == 0
        or label.dtype.is_floating_point
        or label.dtype == torch.bool
        or label.min() < 0
        or label.max() >= classes
    ):
        span = f"{label.min()}..{label.max()}" if label.numel() else "none"
        raise InputError(
            f"{name}: labels are integers in 0..{classes - 1}, got {label.dtype}, {span}"
        )
    return label.long()


class _RateLoss(nn.Module):
    """What the losses on rates share: the window, the reduction, and the checks of spikes and
    labels."""

    def __init__(self, moving_window: int | None, reduction: str) -> None:
        super().__init__()
        self.moving_window = None if moving_window is None else int(moving_window)
        self.reduction = reduction

    @property
    def name(self) -> str:
        return f"loss.{type(self).__name__}"

    def _rate(self, spike: torch.Tensor) -> torch.Tensor:
        """Rates, (batch, neuron), or with a window (batch, neuron, time)."""
        spike = collapse(spike, self.name)
        return (
            spike.mean(-1) if self.moving_window is None else moving_rate(spike, self.moving_window)
        )

    def _label(self, label: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        """Integer labels, (batch,), or with a window (batch, time)."""
        shapes = list(dict.fromkeys((rate.shape[:1], rate.shape[:1] + rate.shape[2:])))
        if label.shape not in shapes:
            allowed = "or one a step" if self.moving_window else "or with moving_window one a step"
            raise InputError(
                f"{self.name}: labels have shape {tuple(label.shape)}; one a sample, {allowed}: "
                f"{' or '.join(str(tuple(s)) for s in shapes)}"
            )
        label = _check_labels(label, rate.shape[1], self.name)
        return replicate(label, rate.shape[2]) if label.dim() < rate.dim() - 1 else label


class SpikeTime(nn.Module):
    """Squared distance of filtered spike trains (van Rossum): the sum over time of
    ``(h * (s - s_desired))^2``.

    ``h`` is ``exp(-t / time_constant)``, convolved with itself ``filter_order - 1`` times, cut off
    after ``length`` steps.

    Example:
        >>> spikes = (torch.rand(4, 3, 20) < 0.2).float()
        >>> slayer.loss.SpikeTime()(spikes, spikes)  # the same spikes
        tensor(0.)

    Args:
        time_constant: in steps.
        length: steps of the filter.
        filter_order: how often the filter is applied.
        reduction: "sum" or "mean".
    """

    @arguments(
        time_constant=real(above=0), length=integer(1), filter_order=integer(1), reduction=REDUCTION
    )
    def __init__(
        self,
        time_constant: float = 5,
        length: int = 100,
        filter_order: int = 1,
        reduction: str = "sum",
    ) -> None:
        super().__init__()
        self.reduction = reduction
        once = np.exp(-np.arange(length) / time_constant)
        response = once
        for _ in range(filter_order - 1):
            response = np.convolve(response, once)[:length]
        self.filter = FIR(torch.from_numpy(response))

    @arguments(input=TENSOR, desired=TENSOR)
    def forward(self, input: torch.Tensor, desired: torch.Tensor) -> torch.Tensor:
        """The loss of spikes ``input`` for spikes ``desired``, of the same shape."""
        if input.shape != desired.shape:
            raise InputError(
                f"loss.SpikeTime: spikes {tuple(input.shape)} and desired spikes {tuple(desired.shape)} differ in shape"
            )
        error = self.filter(collapse(input, "loss.SpikeTime") - collapse(desired, "loss.SpikeTime"))
        return error.square().sum() if self.reduction == "sum" else error.square().mean()


class SpikeRate(_RateLoss):
    """Squared distance of firing rates from ``true_rate`` for the labelled neuron and
    ``false_rate`` for others.

    Example:
        >>> spikes = (torch.rand(4, 3, 20) < 0.2).float()
        >>> loss = slayer.loss.SpikeRate(true_rate=0.2, false_rate=0.02, reduction="sum")
        >>> loss(spikes, torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])

    Args:
        true_rate, false_rate: in 0..1.
        moving_window: length of the window in which rates are taken; None: all time.
        reduction: "sum" or "mean".
    """

    @arguments(true_rate=real(0, 1), false_rate=real(0, 1), **WINDOWED)
    def __init__(
        self,
        true_rate: float,
        false_rate: float,
        moving_window: int | None = None,
        reduction: str = "sum",
    ) -> None:
        super().__init__(moving_window, reduction)
        self.true_rate, self.false_rate = true_rate, false_rate

    @arguments(input=TENSOR, label=TENSOR)
    def forward(self, input: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        rate = self._rate(input)
        hot = (
            functional.one_hot(self._label(label, rate), rate.shape[1])
            .to(rate.dtype)
            .movedim(-1, 1)
        )
        return functional.mse_loss(
            rate, self.true_rate * hot + self.false_rate * (1 - hot), reduction=self.reduction
        )


class SpikeMax(_RateLoss):
    """Negative log-likelihood of the labelled neuron, its confidence taken from the rates.

    Example:
        >>> spikes = (torch.rand(4, 3, 40) < 0.2).float()
        >>> slayer.loss.SpikeMax()(spikes, torch.tensor([0, 1, 2, 0])).shape
        torch.Size([])

    Args:
        moving_window: length of the window in which rates are taken; None: all time.
        mode: "probability": rate / (sum of rates + 1e-6); "softmax": the softmax of the rates.
        reduction: "sum" or "mean".

    Where the labelled neuron is silent the loss and its gradient stay finite, see
    ``classifier.log_confidence``.
    """

    @arguments(mode=LOSS_MODE, **WINDOWED)
    def __init__(
        self, moving_window: int | None = None, mode: str = "probability", reduction: str = "sum"
    ) -> None:
        super().__init__(moving_window, reduction)
        self.mode = mode

    @arguments(input=TENSOR, label=TENSOR)
    def forward(self, input: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        rate = self._rate(input)
        confidence = log_confidence(rate, self.mode, self.moving_window or input.shape[-1], 1e-6)
        return functional.nll_loss(confidence, self._label(label, rate), reduction=self.reduction)


class SpikeMoid(_RateLoss):
    """Binary cross-entropy of ``sigmoid((rate - theta) / alpha)``, for targets of any number of
    neurons.

    Example:
        >>> spikes = (torch.rand(4, 3, 40) < 0.2).float()
        >>> slayer.loss.SpikeMoid()(spikes, torch.eye(3)[[0, 1, 2, 0]]).shape
        torch.Size([])

    Args:
        moving_window: length of the window in which rates are taken; None: all time.
        reduction: "sum" or "mean".
        alpha: width of the sigmoid, > 0.
        theta: the rate at which the probability is one half.

    Targets are in 0..1, ``(batch, neuron)``, or with a window also ``(batch, neuron, time)``.
    """

    @arguments(alpha=real(above=0), theta=real(), **WINDOWED)
    def __init__(
        self,
        moving_window: int | None = None,
        reduction: str = "sum",
        alpha: float = 1,
        theta: float = 0,
    ) -> None:
        super().__init__(moving_window, reduction)
        self.alpha, self.theta = alpha, theta

    @arguments(input=TENSOR, label=TENSOR)
    def forward(self, input: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        rate = self._rate(input)
        if label.shape not in (rate.shape[:2], rate.shape):
            steps = ", or one a neuron and step" if self.moving_window else ""
            raise InputError(
                f"{self.name}: targets have shape {tuple(label.shape)}; expected one a neuron, {tuple(rate.shape[:2])}{steps}"
            )
        target = label.to(rate.dtype)
        if not bool(((target >= 0) & (target <= 1)).all()):
            raise InputError(
                f"{self.name}: targets are in 0..1, got {target.min()}..{target.max()}"
            )
        target = replicate(target, rate.shape[2]) if target.dim() < rate.dim() else target
        return functional.binary_cross_entropy_with_logits(
            (rate - self.theta) / self.alpha, target, reduction=self.reduction
        )


class SparsityEnforcer:
    """Penalty on events: ``lam`` times the sum over what was appended of
    ``relu(mean |x| - max_rate)^2``.

    Append every layer's output in a forward pass, add ``loss`` to the loss, then ``clear()``.

    Example:
        >>> enforcer = slayer.loss.SparsityEnforcer(max_rate=0.01, lam=1)
        >>> enforcer.append(torch.rand(4, 10, 30))
        >>> enforcer.loss > 0
        tensor(True)

    Args:
        max_rate: mean magnitude below which nothing is charged.
        lam: factor of the loss.
    """

    @arguments(max_rate=real(0), lam=real())
    def __init__(self, max_rate: float = 0.01, lam: float = 1.0) -> None:
        self.max_rate, self.lam = max_rate, lam
        self.loss_list: list[torch.Tensor] = []

    @arguments(x=TENSOR)
    def append(self, x: torch.Tensor) -> None:
        """Charge ``x``, of any shape."""
        if x.numel() == 0:
            raise InputError(f"loss.SparsityEnforcer: a tensor of shape {tuple(x.shape)} is empty")
        self.loss_list.append(functional.relu(x.abs().mean() - self.max_rate).square())

    def clear(self) -> None:
        """Forget what was appended."""
        self.loss_list = []

    @property
    def loss(self) -> torch.Tensor:
        """The penalty; 0 where nothing was appended."""
        return self.lam * torch.stack(self.loss_list).sum() if self.loss_list else torch.zeros(())
