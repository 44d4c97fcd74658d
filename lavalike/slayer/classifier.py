"""Classes from spike trains ``(batch, neuron, time)``."""

from __future__ import annotations

import torch


class Rate:
    """The class of the neuron that fired most."""

    @staticmethod
    def rate(spike: torch.Tensor) -> torch.Tensor:
        """Firing rates, (batch, neuron)."""
        return spike.mean(-1)

    @staticmethod
    def confidence(spike: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
        """Rates as shares of their sum."""
        rate = Rate.rate(spike)
        return rate / (rate.sum(1, keepdim=True) + eps)

    @staticmethod
    def predict(spike: torch.Tensor) -> torch.Tensor:
        """Labels, (batch,); the lowest of equal rates."""
        return Rate.rate(spike).argmax(1)

    def __call__(self, spike: torch.Tensor) -> torch.Tensor:
        return self.predict(spike)
