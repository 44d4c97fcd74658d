"""Yin-Yang in the loop (the published notebook's network and schedule): what a chip's fixed pattern
costs and what training on it gains.

    python -m benchmarks.bss2_yin_yang [--seeds 5] [--chips 20] [--gain-spread 0.1] [--offset-spread
    3]

4-128-3, every output the mean of five columns; 201 steps of Adam (lr 1, decay 0.99) in mock
arithmetic, 350 fresh samples each. Then on each emulated chip: before; after 16 more steps (lr 0.2,
decay 0.9) in mock arithmetic (the control); after the same in the loop. Accuracies on 10,000 other
samples, in percent.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch.nn import functional

from lavalike import bss2
from lavalike.bss2 import perceptron
from lavalike.datasets.yinyang import YinYangDataset, yin_yang
from lavalike.text import table

BATCH = 350


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        perceptron.nn.Linear(4, 128),
        perceptron.nn.ConvertingReLU(shift=1),
        perceptron.nn.Linear(128, 3, avg=5),
    )


def train(
    model: torch.nn.Module, data: YinYangDataset, lr: float, decay: float, epochs: int
) -> None:
    """As the notebook: one batch an epoch, one epoch more than said."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, decay)
    for _ in range(epochs + 1):
        x, target = data.batch(BATCH)
        optimizer.zero_grad()
        functional.cross_entropy(model(x * 31), target).backward()
        optimizer.step()
        scheduler.step()


def accuracy(model: torch.nn.Module, test: tuple[torch.Tensor, torch.Tensor]) -> float:
    with torch.no_grad():
        return 100 * (model(test[0] * 31).argmax(1) == test[1]).float().mean().item()


def pretrained(seed: int) -> torch.nn.Sequential:
    """Trained in mock arithmetic, with the mock parameters in force."""
    torch.manual_seed(seed)
    model = network()
    with perceptron.mock_mode(True):
        train(model, YinYangDataset(seed=42 + seed), 1.0, 0.99, 200)
    return model


def on_chip(
    model: torch.nn.Sequential, chip: bss2.Chip, seed: int, test: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float, float]:
    """Accuracy on the chip before, after the control, after training in the loop."""
    control, looped = copy.deepcopy(model), copy.deepcopy(model)
    with bss2.use(chip):
        before = accuracy(model, test)
        with perceptron.mock_mode(True):
            train(control, YinYangDataset(seed=1000 + seed), 0.2, 0.9, 15)
        train(looped, YinYangDataset(seed=1000 + seed), 0.2, 0.9, 15)
        return before, accuracy(control, test), accuracy(looped, test)


def noise(gain: float, offset: float) -> bss2.Noise:
    """Column gains and offsets, trial noise and the bent negative side; rows alike, as where the
    reference was computed."""
    return bss2.Noise(column_gain=gain, column_offset=offset, row_gain=0.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--gain-spread", type=float, default=0.1)
    parser.add_argument("--offset-spread", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, test = time.perf_counter(), yin_yang(10_000, 7)
    rows = []
    for gain in (0.002, 0.0034):
        perceptron.set_mock_parameter(perceptron.MockParameter(gain=gain))
        models = [pretrained(seed) for seed in range(args.seeds)]
        with perceptron.mock_mode(True):
            found = [accuracy(m, test) for m in models]
        rows.append([gain, args.seeds, *_spread(found)])
    print(table(("mock, gain", "seeds", "mean", "sd", "least", "most"), rows))
    spreads = noise(args.gain_spread, args.offset_spread)
    results = [
        on_chip(models[k % args.seeds], bss2.Chip(seed=k, gain=0.0034, noise=spreads), k, test)
        for k in range(args.chips)
    ]
    stages = ("before", "15 epochs in mock (control)", "15 epochs in the loop")
    print(
        f"\n{args.chips} emulated chips, gain 0.0034, column gains +-{args.gain_spread:.0%}, offsets +-{args.offset_spread:g} LSB\n"
    )
    print(
        table(
            ("on the chip", "mean", "sd", "least", "most"),
            [[s, *_spread([r[k] for r in results])] for k, s in enumerate(stages)],
        )
    )
    print(
        f"\nin the loop over control: {statistics.mean(r[2] - r[1] for r in results):+.1f} points, better on "
        f"{sum(r[2] > r[1] for r in results)} of {args.chips} chips; {time.perf_counter() - start:.0f} s"
    )


def _spread(values: list[float]) -> list[str]:
    return [
        f"{v:.1f}"
        for v in (statistics.mean(values), statistics.pstdev(values), min(values), max(values))
    ]


if __name__ == "__main__":
    main()
