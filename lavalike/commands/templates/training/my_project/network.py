"""The data, the network, and how it is trained."""

from __future__ import annotations

import torch

from lavalike import slayer

CLASSES, INPUTS, STEPS = 3, 24, 16
PARAMS = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}


def data(samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes (samples, INPUTS, STEPS) whose rates are highest in the third of the inputs that their
    class names, and the classes."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=g)
    which = torch.arange(INPUTS) * CLASSES // INPUTS
    rates = torch.where(which == labels[:, None], 0.4, 0.1)[..., None]
    x = torch.rand(samples, INPUTS, STEPS, generator=g) < rates
    return x.float(), labels


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        slayer.block.cuba.Dense(PARAMS, INPUTS, 32),
        slayer.block.cuba.Dense(PARAMS, 32, CLASSES),
    )


def train(net: torch.nn.Module, epochs: int = 40) -> None:
    """Adam on the cross entropy of the spike counts."""
    x, labels = data(128)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(epochs):
        loss = torch.nn.functional.cross_entropy(net(x).sum(-1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(net: torch.nn.Module) -> float:
    """On samples that training did not see."""
    x, labels = data(256, seed=1)
    with torch.no_grad():
        return float((net(x).sum(-1).argmax(-1) == labels).float().mean())
