"""The data, the network, and how it is trained on a chip."""

from __future__ import annotations

import torch

from lavalike import bss2
from lavalike.bss2 import perceptron

CLASSES, INPUTS = 3, 24


def data(samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations 0..31 (samples, INPUTS), largest in the third of the inputs that their class
    names, and the classes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=g)
    which = torch.arange(INPUTS) * CLASSES // INPUTS
    mean = torch.where(which == labels[:, None], 20.0, 8.0)
    return (mean + 6 * torch.randn(samples, INPUTS, generator=g)).clamp(0, 31), labels


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        perceptron.nn.Linear(INPUTS, 32),
        perceptron.nn.ConvertingReLU(),
        perceptron.nn.Linear(32, CLASSES),
    )


def train(net: torch.nn.Module, chip: bss2.Chip, epochs: int = 40) -> None:
    """Adam on the cross entropy; every forward is the chip's."""
    x, labels = data(128)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)  # of weights in -63..63
    with bss2.use(chip):
        for _ in range(epochs):
            loss = torch.nn.functional.cross_entropy(net(x) / 16, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(net: torch.nn.Module, chip: bss2.Chip) -> float:
    """On samples that training did not see, computed by the chip."""
    x, labels = data(256, seed=1)
    with bss2.use(chip), torch.no_grad():
        return float((net(x).argmax(-1) == labels).float().mean())
