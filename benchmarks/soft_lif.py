"""A convolutional network trained with softened, noisy rates, run as spiking LIFs in fixed_pt.

    python -m benchmarks.soft_lif [--data mnist.npz] [--epochs 6] [--noise 0 0.02 0.05 0.1]

Each row is a training with another noise (spikes a step): the test images that the rates get right,
those that the exported network, loaded as a process graph of LIFs and run in fixed_pt, gets right
after so many steps, and how many of both answers are the same. Scores are the voltages of the last
layer, averaged over the second half of the steps. Without --data it is the sample that ships with
lavalike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import lavalike as lv
import netx
from lavalike import slayer
from lavalike.datasets import MNIST, mnist_sample
from lavalike.text import table

FIXED = lv.RunConfig(precision="fixed_pt")
# input neurons neither leak nor forget: their rate is proportional to their pixel
PIXEL = {"threshold": 2.0, "current_decay": 1.0, "voltage_decay": 0.0, "softness": 0.0}
NEURON = {"threshold": 4.0, "current_decay": 0.25, "voltage_decay": 0.0625, "softness": 0.002}
CHUNK = 250


class Network(nn.Module):
    """Pixels, two convolutions, one dense layer of voltages.

    Args:
        channels: of the convolutions.
        noise: of rates in training.
    """

    def __init__(self, channels: tuple[int, int] = (16, 32), noise: float = 0.0) -> None:
        super().__init__()
        soft, neuron = slayer.block.soft_lif, NEURON | {"noise": noise}
        first, second = channels
        self.blocks = nn.ModuleList(
            [
                soft.Input(PIXEL),
                soft.Conv(neuron, 1, first, 5, stride=2, weight_scale=4),
                soft.Conv(neuron, first, second, 3, stride=2, weight_scale=4),
                soft.Flatten(),
                soft.Affine(NEURON, 25 * second, 10, weight_scale=2),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@dataclass
class Images:
    """``x`` (N, 1, 28, 28, 1) in 0..1, ``y`` (N,)."""

    x: torch.Tensor
    y: torch.Tensor


def images(data: MNIST, most: int | None = None) -> Images:
    """At most so many of all, drawn: a file may have them in the order of their digits."""
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most]
    return Images(data.data[index][:, None, :, :, None].float() / 255, data.targets[index])


def train(net: Network, data: Images, epochs: int, batch: int = 64, lr: float = 2e-3) -> None:
    """Cross-entropy of the voltages, which thresholds make large."""
    optimizer = torch.optim.Adam(net.parameters(), lr)
    steps = epochs * -(-len(data.y) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for index in torch.randperm(len(data.y)).split(batch):
            loss = functional.cross_entropy(scores(net, data.x[index]), data.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()


def scores(net: Network, x: torch.Tensor) -> torch.Tensor:
    """(N, 10), voltages of the rates in thresholds."""
    return net(x)[..., 0] / NEURON["threshold"] / 8


def soft_answers(net: Network, data: Images) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([scores(net, x).argmax(1) for x in data.x.split(1000)]).numpy()


def spiking_answers(net: Network, data: Images, steps: Sequence[int]) -> dict[int, np.ndarray]:
    """Answers of the exported network after so many steps each."""
    with tempfile.TemporaryDirectory() as folder:
        path = slayer.export_hdf5(net, Path(folder) / "net.net", input_shape=(1, 28, 28))
        graph = netx.hdf5.Network(path)
    voltage = graph.layers[-1].neuron.v
    found: dict[int, list[np.ndarray]] = {n: [] for n in steps}
    for x in data.x.split(CHUNK):
        held = x.expand(*x.shape[:-1], max(steps)).numpy()
        seen = lv.simulate(graph, {"inp": graph.encode(held)}, config=FIXED, record=[voltage])
        for n, answers in found.items():
            answers.append(seen[voltage][..., n // 2 : n].mean(-1).argmax(1))
    return {n: np.concatenate(answers) for n, answers in found.items()}


def main(argv: list[str] | None = None) -> dict[float, tuple[float, float]]:
    """By noise, the shares that rates and that spikes get right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="default: the sample that ships with lavalike")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.02, 0.05, 0.1])
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--most", type=int, help="so many images at most, of each part")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    made = [mnist_sample(t) if args.data is None else MNIST(args.data, t) for t in (True, False)]
    learn, test = (images(d, args.most) for d in made)
    print(f"{len(learn.y):,} images to train on, {len(test.y):,} to test\n")
    right, rows = {}, []
    for noise in args.noise:
        torch.manual_seed(args.seed)
        net, began = Network(noise=noise), time.perf_counter()
        train(net, learn, args.epochs)
        trained = time.perf_counter()
        soft, spiking = soft_answers(net, test), spiking_answers(net, test, args.steps)
        ran, truth = time.perf_counter(), test.y.numpy()
        shares = [float((a == truth).mean()) for a in (soft, *spiking.values())]
        right[noise] = shares[0], shares[-1]
        rows.append(
            [
                f"{noise:g}",
                *(f"{100 * s:.2f}" for s in shares),
                f"{100 * (soft == spiking[args.steps[-1]]).mean():.2f}",
                f"{trained - began:.0f}",
                f"{ran - trained:.0f}",
            ]
        )
    head = ["noise", "soft [%]", *(f"{n} steps [%]" for n in args.steps), "same [%]"]
    print(table([*head, "training [s]", "running [s]"], rows))
    return right


if __name__ == "__main__":
    main()
