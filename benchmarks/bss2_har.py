"""Human activity recognition on emulated BrainScaleS-2 chips: a convolution and two dense layers
with converting ReLUs.

    python -m benchmarks.bss2_har [--data "UCI HAR Dataset"] [--epochs 10 5 5] [--chips 5]
    [--threads 1]

Without --data the six activities are drawn from a model of the motion (lavalike.datasets.har): its
figures say what training in the loop gains, nothing about people. A network in floating point, its
weights in the chip's ranges, trained on in mock arithmetic; then for each chip as many epochs with
the forward pass on the chip, and in mock as control. Means over the chips.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.bss2_mnist import TEMPERATURE, accuracy, train, transfer
from lavalike import bss2
from lavalike.bss2 import facts, perceptron
from lavalike.datasets.har import ACTIVITIES, CHANNELS, HAR, LENGTH
from lavalike.text import table

INPUTS, OUTPUTS, KERNEL, STRIDE, HIDDEN = (
    2 * len(CHANNELS),
    16,
    7,
    4,
    128,
)  # 18 x 7 = 126 rows: one tile
WINDOWS = (LENGTH - KERNEL) // STRIDE + 1
RANGE = torch.tensor([1.0, 0.5, 0.7, 1.0, 1.0, 0.7, 1.5, 1.0, 1.0])[
    :, None
]  # of each channel, g and rad/s
BATCH, SHIFT = 100, 2


def unsigned(x: torch.Tensor) -> torch.Tensor:
    """Windows (n, 9, 128) as inputs (n, 18, 128) in 0..1: what is above 0 and what is below it,
    over the channel's range."""
    x = x / RANGE
    return torch.cat([x, -x], 1).clamp(0, 1)


def float_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(INPUTS, OUTPUTS, KERNEL, STRIDE),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(OUTPUTS * WINDOWS, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, len(ACTIVITIES)),
    )


def chip_network() -> nn.Sequential:
    layers = perceptron.nn
    return nn.Sequential(
        layers.Conv1d(INPUTS, OUTPUTS, KERNEL, STRIDE),
        layers.ConvertingReLU(SHIFT),
        nn.Flatten(),
        layers.Linear(OUTPUTS * WINDOWS, HIDDEN),
        layers.ConvertingReLU(SHIFT),
        layers.Linear(HIDDEN, len(ACTIVITIES), avg=5),
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="folder of the public data set; default: the model of the motion"
    )
    parser.add_argument(
        "--epochs", type=int, nargs=3, default=(10, 5, 5), metavar=("FLOAT", "MOCK", "LOOP")
    )
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    began, full = time.perf_counter(), float(facts.INPUT_MAX)
    (x, y), test = (
        (unsigned(d.data), d.targets) for d in (HAR(args.data), HAR(args.data, train=False))
    )

    source, net = float_network(), chip_network()
    train(source, x, y, args.epochs[0], 2e-3, batch=BATCH)
    rows = [["floating point", f"{accuracy(source, *test):.1f}", ""]]
    transfer(source, net, x[:1000])
    with perceptron.mock_mode(True):
        train(net, x, y, args.epochs[1], 0.5, full, TEMPERATURE, BATCH)
        rows.append(["mock", f"{accuracy(net, *test, full):.1f}", ""])
    state = {k: v.clone() for k, v in net.state_dict().items()}

    def again(mock: bool) -> float:
        net.load_state_dict(state)
        with perceptron.mock_mode(mock):
            train(net, x, y, args.epochs[2], 0.2, full, TEMPERATURE, BATCH)
        return accuracy(net, *test, full)

    for name, calibrated in (("chip", True), ("uncalibrated chip", False)):
        found = []
        for seed in range(args.chips):
            with bss2.use(bss2.Chip(seed, calibrated=calibrated)):
                net.load_state_dict(state)
                found.append((accuracy(net, *test, full), again(True), again(False)))
        for when, values in zip(
            ("before", "after mock (control)", "after training in the loop"),
            zip(*found, strict=True),
            strict=True,
        ):
            v = torch.tensor(values)
            rows.append([f"{name}, {when}", f"{v.mean():.1f}", f"{v.min():.1f}..{v.max():.1f}"])
    print(
        table(
            [f"HAR, {len(y):,} + {len(test[1]):,} windows", "right [%]", f"{args.chips} chips"],
            rows,
        )
    )
    print(
        f"\n{'data of the motion model' if args.data is None else args.data}; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
