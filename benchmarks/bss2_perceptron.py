"""What perceptron mode costs, in one run: placed products against torch's Linear with fake
quantisation, and the host's share of training.

    python -m benchmarks.bss2_perceptron [--threads 1] [--rounds 21]

Fake quantisation is what any quantisation-aware training does: round, clamp, straight-through
gradients, of inputs and weights. It draws no noise; the levels do where it says so ("emulated,
quiet" has a fixed pattern and no trial noise). Programs take turns; medians.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike import bss2
from lavalike.bss2 import perceptron
from lavalike.bss2.chip.analog import mock_product, product
from lavalike.text import table


class Rounded(torch.autograd.Function):
    """Round, clamp, straight through."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return x.round().clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return grad, None, None


def medians(programs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Milliseconds; of one thread those it computed, which other programs on the machine do not
    lengthen."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for p in programs:
        p()
    times: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for p, t in zip(programs, times, strict=True):
            start = clock()
            p()
            t.append(clock() - start)
    return [statistics.median(t) * 1e3 for t in times]


def products(batch: int, k: int, n: int, rounds: int) -> list[list[str]]:
    """One row forward, one forward and backward."""
    x = (torch.rand(batch, k) * 31).requires_grad_()
    w = ((torch.rand(n, k) - 0.5) * 120).requires_grad_()
    grad = torch.randn(batch, n)
    quantised, quiet, emulated = (
        bss2.Chip(level="quantised"),
        bss2.Chip(noise=bss2.Noise(trial=0.0)),
        bss2.Chip(),
    )
    forward: list[Callable[[], torch.Tensor]] = [
        lambda: functional.linear(Rounded.apply(x, 0, 31), Rounded.apply(w, -63, 63)),
        lambda: product(x, w.t(), quantised),
        lambda: product(x, w.t(), quiet),
        lambda: product(x, w.t(), emulated),
        lambda: mock_product(x, w.t(), 0.002, 2.0),
    ]

    def both(program: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def step() -> None:
            x.grad = w.grad = None
            program().backward(grad)

        return step

    def noise() -> None:
        for _ in range(-(-k // 128)):
            torch.empty(batch, n).normal_()

    rows = []
    for name, programs in (("forward", forward), ("+ backward", [both(p) for p in forward])):
        fake, *ours, drawing = medians([*programs, noise], rounds)
        rows.append(
            [
                batch,
                f"{k} x {n}",
                name,
                f"{fake:.2f}",
                *(f"{t / fake:.2f}" for t in ours),
                f"{drawing / fake:.2f}",
            ]
        )
    return rows


def dense(*sizes: int) -> nn.Sequential:
    made: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        made += [perceptron.nn.Linear(a, b), perceptron.nn.ConvertingReLU()]
    return nn.Sequential(*made[:-1])


def mnist() -> nn.Sequential:
    """One convolution and two dense layers, placed on 1 + 4 + 1 tiles."""
    return nn.Sequential(
        perceptron.nn.Conv2d(1, 16, 7, stride=3),
        perceptron.nn.ConvertingReLU(),
        nn.Flatten(),
        perceptron.nn.Linear(1024, 128),
        perceptron.nn.ConvertingReLU(),
        perceptron.nn.Linear(128, 10),
    )


class Products(nn.Module):
    """The matrix products of a network and nothing else; torch's own layers, without biases."""

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for m in model:
            if isinstance(m, nn.Linear):
                self.layers.append(nn.Linear(m.in_features, m.out_features, bias=False))
            elif isinstance(m, nn.Conv2d):
                self.layers.append(
                    nn.Conv2d(m.in_channels, m.out_channels, m.kernel_size, m.stride, bias=False)
                )
            elif isinstance(m, nn.Flatten):
                self.layers.append(m)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def training(name: str, model: nn.Sequential, shape: tuple[int, ...], rounds: int) -> list[str]:
    """A training step on an emulated chip, in mock arithmetic, and its products alone (forward and
    backward)."""
    x, target = torch.rand(shape) * 31, torch.randint(0, 10, shape[:1])
    optimizer, bare = torch.optim.Adam(model.parameters(), 0.1), Products(model)
    chip = bss2.Chip()

    def step(mock: bool) -> None:
        with bss2.use(chip), perceptron.mock_mode(mock):
            loss = functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def alone() -> None:
        bare.zero_grad()
        bare(x).sum().backward()

    emulated, mock, only = medians([lambda: step(False), lambda: step(True), alone], rounds)
    return [
        name,
        shape[0],
        f"{emulated:.2f}",
        f"{mock:.2f}",
        f"{only:.2f}",
        f"{emulated / only:.2f}",
        f"{1 - only / emulated:.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sizes = ((128, 128), (128, 256), (256, 512), (784, 256))
    rows = [
        r for batch in (350, 10_000) for k, n in sizes for r in products(batch, k, n, args.rounds)
    ]
    print(
        f"Time over that of Linear with fake quantisation, {args.threads} thread(s); in the last column that of drawing as many numbers "
        "with torch's normal_\n"
    )
    print(
        table(
            (
                "batch",
                "K x N",
                "pass",
                "fake, ms",
                "quantised",
                "emulated, quiet",
                "emulated",
                "mock",
                "normal_",
            ),
            rows,
        )
    )
    networks: list[tuple[str, nn.Sequential, tuple[int, ...]]] = [
        ("4-128-10", dense(4, 128, 10), (350, 4)),
        ("784-512-10", dense(784, 512, 10), (350, 784)),
        ("conv, 1024-128-10", mnist(), (100, 1, 28, 28)),
        ("conv, 1024-128-10", mnist(), (2000, 1, 28, 28)),
    ]
    print(
        "\nA training step (loss, gradients and Adam included) and its matrix products alone, ms\n"
    )
    print(
        table(
            (
                "network",
                "batch",
                "emulated",
                "mock",
                "products",
                "emulated / products",
                "host's share",
            ),
            [training(*n, args.rounds) for n in networks],
        )
    )


if __name__ == "__main__":
    main()
