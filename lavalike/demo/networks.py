"""The demo's two networks in slayer, and their training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lavalike import slayer
from lavalike.demo.data import Data


@dataclass(frozen=True)
class Course:
    """How one kind of network is built, fed and trained on one data set."""

    kind: str  # "LIF" or "sigma-delta"
    hidden: tuple[int, ...]
    steps: int
    epochs: int
    batch: int
    lr: float
    gain: float = (
        1.0  # of the scores in the loss: sigma-delta values must stay within 24 bits, +-32
    )


COURSES = {
    ("yin-yang", "LIF"): Course("LIF", (120,), 24, 25, 100, 4e-3),
    ("yin-yang", "sigma-delta"): Course("sigma-delta", (64, 32), 4, 60, 100, 3e-3, 5.0),
    ("mnist", "LIF"): Course("LIF", (400,), 12, 12, 128, 1e-3),
    ("mnist", "sigma-delta"): Course("sigma-delta", (256, 128), 2, 12, 128, 1e-3, 3.0),
}

CENTRES = np.linspace(0, 1, 12)


def features(data: str, kind: str, x: np.ndarray) -> np.ndarray:
    """What the network is shown, as a constant input: for Yin-Yang's LIFs each coordinate as twelve
    bumps, since one neuron's rate would say too little; else the values themselves."""
    if data == "yin-yang" and kind == "LIF":
        bumps = np.exp(-((x[:, :2, None] - CENTRES) ** 2) / (2 * 0.08**2))
        return bumps.reshape(len(x), -1)
    return x


def inputs(data: str, course: Course, x: np.ndarray, steps: int | None = None) -> np.ndarray:
    """(samples, features, steps)."""
    f = features(data, course.kind, x)
    return np.repeat(f[..., None], course.steps if steps is None else steps, -1).astype(np.float32)


Outputs = TypeVar("Outputs", np.ndarray, torch.Tensor)


class Network(nn.Module):
    """Blocks in a row."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def build(course: Course, sizes: list[int]) -> Network:
    """An untrained network with layers of ``sizes``, input and output included."""
    pairs = list(itertools.pairwise(sizes))
    if course.kind == "LIF":
        # the input neurons neither leak nor forget: they fire at a rate proportional to their value
        encoder = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.0}
        neuron = {
            "threshold": 1.0,
            "current_decay": 0.5,
            "voltage_decay": 0.1,
            "tau_grad": 0.01,
            "scale_grad": 10,
            "requires_grad": False,
            "norm": slayer.neuron.norm.MeanOnlyBatchNorm,
        }
        cuba = slayer.block.cuba
        return Network(
            [
                cuba.Input(encoder),
                *(cuba.Dense(neuron, a, b, weight_scale=2, weight_norm=True) for a, b in pairs),
            ]
        )
    neuron = {
        "threshold": 1 / 32,
        "activation": functional.relu,
        "tau_grad": 0.1,
        "requires_grad": False,
    }
    block = slayer.block.sigma_delta
    hidden = [
        block.Dense(
            {**neuron, "norm": slayer.neuron.norm.MeanOnlyBatchNorm},
            a,
            b,
            weight_scale=2,
            weight_norm=True,
        )
        for a, b in pairs[:-1]
    ]
    return Network(
        [
            block.Input({**neuron, "threshold": 1 / 64}),
            *hidden,
            block.Output(neuron, *pairs[-1], weight_scale=2),
        ]
    )


def scores(course: Course, y: Outputs) -> Outputs:
    """Class scores (samples, classes) of outputs (samples, classes, steps): spike counts, or the
    last value."""
    return y.sum(-1) if course.kind == "LIF" else y[..., -1]


Bar = Callable[[Iterable[int], str], Iterable[int]]


def train(
    data: Data, course: Course, bar: Bar, seed: int = 0
) -> tuple[Network, slayer.utils.LearningStats]:
    """Train with cross-entropy on the scores; the trained network in eval mode and its
    statistics."""
    torch.manual_seed(seed)
    x = torch.from_numpy(features(data.name, course.kind, data.x_train).astype(np.float32))
    y = torch.from_numpy(data.y_train)
    net = build(course, [x.shape[1], *course.hidden, data.classes])
    optimizer = torch.optim.Adam(net.parameters(), course.lr)
    batches = len(x) // course.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, course.epochs * batches)
    stats = slayer.utils.LearningStats()
    assistant = slayer.utils.Assistant(
        net,
        lambda out, label: functional.cross_entropy(course.gain * scores(course, out), label),
        optimizer,
        stats,
        lambda out: scores(course, out).argmax(1),
    )
    for _ in bar(range(course.epochs), f"{data.name}, {course.kind}"):
        for index in torch.randperm(len(x))[: batches * course.batch].split(course.batch):
            assistant.train(x[index][..., None].expand(-1, -1, course.steps), y[index])
            schedule.step()
        stats.update()
    return net.eval(), stats
