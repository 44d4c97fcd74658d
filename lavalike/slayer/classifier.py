"""Classes from spike trains.

Spikes are ``(batch, neuron, time)`` or ``(batch, channel, height, width, time)``; space is
collapsed into neurons, in the order channel, height, width. Rates are spikes a step.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import TENSOR, arguments, choice, instance, integer, optional, real
from lavalike.errors import InputError

MODES = ("probability", "softmax", "logsoftmax")
MODE = choice(*MODES)
LOSS_MODE = choice(*MODES[:2])  # of a log confidence, where "softmax" is its logarithm


def collapse(spike: torch.Tensor, label: str) -> torch.Tensor:
    """Spikes as ``(batch, neuron, time)``, in float32 where they were of less precision (rates need
    it).

    Raises:
        InputError: naming ``label``; another number of axes, or an empty one.
    """
    if spike.dim() not in (3, 5) or 0 in spike.shape:
        raise InputError(
            f"{label}: spikes (batch, neuron, time) or (batch, channel, height, width, time), no axis empty, are expected, "
            f"got {tuple(spike.shape)}"
        )
    spike = spike.flatten(1, -2)
    return spike if spike.dtype in (torch.float32, torch.float64) else spike.float()


def moving_rate(spike: torch.Tensor, window: int) -> torch.Tensor:
    """Rates in the last ``window`` steps, (batch, neuron, time); before the first step nothing
    fired."""
    return functional.avg_pool1d(functional.pad(spike, (window - 1, 0)), window, 1)


def log_confidence(rate: torch.Tensor, mode: str, window: int, eps: float) -> torch.Tensor:
    """Logarithm of the confidence in each neuron, for rates ``(batch, neuron, ...)`` taken over
    ``window`` steps.

    "probability" is log(rate / (sum of rates + eps)). Where a neuron is silent that is -inf, with a
    NaN gradient; there the logarithm goes on along its tangent at one spike a window: it counts as
    1/e of a spike, and a spike more lowers the loss by a bounded amount. Where all are silent the
    sum counts as one spike.
    """
    if mode == "softmax":
        return functional.log_softmax(rate, 1)
    one = 1 / window
    fired = rate > 0
    log_rate = torch.where(
        fired, torch.where(fired, rate, 1).log(), rate * window - 1 - math.log(window)
    )
    total = rate.sum(1, keepdim=True)
    return log_rate - (torch.where(total > 0, total, one) + eps).log()


def _confidence(rate: torch.Tensor, mode: str, eps: float) -> torch.Tensor:
    if mode == "logsoftmax":
        return functional.log_softmax(rate, 1)
    return (
        functional.softmax(rate, 1)
        if mode == "softmax"
        else rate / (rate.sum(1, keepdim=True) + eps)
    )


class Rate(nn.Module):
    """The class of the neuron that fired most. ``Rate()(spike)`` is ``Rate.predict(spike)``.

    Example:
        >>> spikes = torch.tensor([[[0.0, 0, 1], [1, 1, 1]]])  # (batch, classes, time)
        >>> slayer.classifier.Rate()(spikes)
        tensor([1])
    """

    @staticmethod
    @arguments(spike=TENSOR)
    def rate(spike: torch.Tensor) -> torch.Tensor:
        """Firing rates over all time, (batch, neuron)."""
        return collapse(spike, "classifier.Rate").mean(-1)

    @staticmethod
    @arguments(spike=TENSOR, mode=MODE, eps=real(above=0))
    def confidence(
        spike: torch.Tensor, mode: str = "probability", eps: float = 1e-6
    ) -> torch.Tensor:
        """Confidences, (batch, neuron): rates as shares of their sum (eps is added to it), their
        "softmax", or "logsoftmax"."""
        return _confidence(Rate.rate(spike), mode, eps)

    @staticmethod
    @arguments(spike=TENSOR)
    def predict(spike: torch.Tensor) -> torch.Tensor:
        """Labels, (batch,); the lowest of equal rates."""
        return Rate.rate(spike).argmax(1)

    def forward(self, spike: torch.Tensor) -> torch.Tensor:
        return self.predict(spike)


class MovingWindow(nn.Module):
    """The class at every step, from the rates in the last ``time_window`` steps.

    Example:
        >>> spikes = (torch.rand(2, 3, 30) < 0.2).float()
        >>> slayer.classifier.MovingWindow(10)(spikes).shape
        torch.Size([2, 30])

    Args:
        time_window: length of the window in steps.
        mode: what a call returns: None: labels, (batch, time); "probability", "softmax" or
            "logsoftmax": confidences, (batch, neuron, time).
        eps: added to the sum of rates in mode "probability".
    """

    @arguments(time_window=integer(1), mode=optional(MODE), eps=real(above=0))
    def __init__(self, time_window: int, mode: str | None = None, eps: float = 1e-6) -> None:
        super().__init__()
        self.time_window, self.mode, self.eps = int(time_window), mode, eps

    def rate(self, spike: torch.Tensor) -> torch.Tensor:
        """Firing rates in the window ending at each step, (batch, neuron, time)."""
        return moving_rate(collapse(spike, "classifier.MovingWindow"), self.time_window)

    @arguments(spike=TENSOR, mode=optional(MODE))
    def confidence(self, spike: torch.Tensor, mode: str | None = None) -> torch.Tensor:
        """Confidences, (batch, neuron, time), in ``mode``, or the classifier's, or
        "probability"."""
        return _confidence(self.rate(spike), mode or self.mode or "probability", self.eps)

    def predict(self, spike: torch.Tensor) -> torch.Tensor:
        """Labels, (batch, time); the lowest of equal rates."""
        return self.rate(spike).argmax(1)

    def forward(self, spike: torch.Tensor) -> torch.Tensor:
        return self.predict(spike) if self.mode is None else self.confidence(spike)


class NLL:
    """Log confidences of a rate classifier, for ``torch.nn.functional.nll_loss``.

        nll = NLL(MovingWindow(10))
        loss = functional.nll_loss(nll(spike), label)   # label (batch, time); (batch,) for Rate

    Example:
        >>> spikes = (torch.rand(2, 3, 30) < 0.2).float()
        >>> slayer.classifier.NLL()(spikes).shape
        torch.Size([2, 3])

    Args:
        classifier: a Rate (default) or a MovingWindow.
        mode: "probability" or "softmax"; None: the classifier's own, else "probability".
        eps: added to the sum of rates in mode "probability"; None: the classifier's own, else 1e-6.

    A silent neuron has a finite log confidence, see ``log_confidence``.
    """

    @arguments(
        classifier=optional(instance(Rate, MovingWindow)),
        mode=optional(LOSS_MODE),
        eps=optional(real(above=0)),
    )
    def __init__(
        self,
        classifier: Rate | MovingWindow | None = None,
        mode: str | None = None,
        eps: float | None = None,
    ) -> None:
        self.classifier = Rate() if classifier is None else classifier
        # the logarithm of either softmax mode is the same
        self.mode = (mode or getattr(self.classifier, "mode", None) or "probability").removeprefix(
            "log"
        )
        self.eps = getattr(self.classifier, "eps", 1e-6) if eps is None else eps

    def predict(self, spike: torch.Tensor) -> torch.Tensor:
        """The classifier's labels."""
        return self.classifier.predict(spike)

    def __call__(self, spike: torch.Tensor) -> torch.Tensor:
        """Log confidences, (batch, neuron), or (batch, neuron, time) of a MovingWindow."""
        window = (
            self.classifier.time_window
            if isinstance(self.classifier, MovingWindow)
            else spike.shape[-1]
        )
        return log_confidence(self.classifier.rate(spike), self.mode, window, self.eps)
