"""MNIST by bootstrap: a network of spiking neurons, trained as the network of rates that is fitted
to it.

    python -m benchmarks.bootstrap_mnist [--data mnist.npz] [--epochs 16] [--crossover 12]

Prints the test accuracy of the rates in every epoch, and of the spiking network, 8-bit weights and
16 steps a picture, in the epochs that sample and at the end; with --export it is written, and run
again from its file in fixed_pt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import netx
from lavalike import bootstrap, slayer
from lavalike.datasets import MNIST, mnist_sample

STEPS = 16


class Network(nn.Module):
    """784 inputs, two layers, ten currents."""

    def __init__(self, hidden: int = 512) -> None:
        super().__init__()
        neuron = {"threshold": 1.25, "current_decay": 1, "voltage_decay": 0.03}
        weights = {"weight_norm": True, "weight_scale": 2}
        block = bootstrap.block.cuba
        self.blocks = nn.ModuleList(
            [
                block.Input(neuron, weight=1, bias=0),
                block.Dense(neuron, 784, hidden, **weights),
                block.Dense(neuron, hidden, hidden, **weights),
                block.Affine(neuron, hidden, 10, **weights),
            ]
        )

    def forward(self, x: torch.Tensor, mode: bootstrap.LayerMode) -> torch.Tensor:
        """Rates (batch, 784) to (batch, 10), the mean currents."""
        x = x[..., None] if mode.rates else slayer.utils.time.replicate(x, STEPS)
        for block, m in zip(self.blocks, mode, strict=False):  # modes never end
            x = block(x, mode=m)
        return x.mean(-1)


def pictures(path: Path | None, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures in -1..1, (N, 784), and labels."""
    data = mnist_sample(train) if path is None else MNIST(path, train)
    return data.data.flatten(1).float() / 127.5 - 1, data.targets


def correct(
    net: Network, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], mode: bootstrap.LayerMode
) -> tuple[int, int]:
    """(correct, of so many)"""
    net.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in batches:
            right += int((net(x, mode).argmax(1) == y).sum())
            total += len(y)
    return right, total


def main(argv: list[str] | None = None) -> float:
    """The spiking network's share of correct test pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="default: the sample that ships with lavalike")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--period", type=int, default=5, help="epochs from sampling to sampling")
    parser.add_argument("--samples", type=int, default=10, help="batches that are sampled then")
    parser.add_argument(
        "--crossover", type=int, nargs="*", help="epochs from which one block more spikes"
    )
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    net = Network(args.hidden)
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    scheduler = bootstrap.Scheduler(args.samples, args.period, args.crossover)
    (x, y), test = pictures(args.data, True), pictures(args.data, False)
    tests = list(zip(*(t.split(500) for t in test), strict=True))
    spiking = bootstrap.LayerMode(0, bootstrap.Mode.SNN)
    share = 0.0
    for epoch in range(args.epochs):
        began = time.perf_counter()
        net.train()
        for k, part in enumerate(torch.randperm(len(x)).split(args.batch)):
            loss = functional.cross_entropy(net(x[part], scheduler.mode(epoch, k)), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
        seconds = time.perf_counter() - began
        mode = scheduler.mode(epoch, 0, train=False)
        last = epoch == args.epochs - 1
        line = f"epoch {epoch:3}  {seconds:6.1f} s"
        if mode.base_mode is bootstrap.Mode.ANN:
            right, total = correct(net, tests, mode)
            line += f"  {mode}: {100 * right / total:.2f} %"
        if last or mode.base_mode is bootstrap.Mode.SNN:
            right, total = correct(net, tests, spiking)
            share = right / total
            line += f"  {spiking}: {right} of {total}, {100 * share:.2f} %"
        print(line, flush=True)
    if args.export is not None:
        run(net, args.export, *tests[0])
    return share


def run(net: Network, path: Path, x: torch.Tensor, y: torch.Tensor) -> None:
    """Write the network, and compare its file, run in fixed_pt, with it."""
    slayer.export_hdf5(list(net.blocks), path, input_shape=784)
    steps = slayer.utils.time.replicate(x[:8], STEPS)
    print(f"{path}:\n{netx.compare(net.blocks, path, steps)}")


if __name__ == "__main__":
    main()
