"""MNIST on an emulated BrainScaleS-2: one convolution and two dense layers, trained in mock, then
in the loop on the chip.

    python -m benchmarks.bss2_mnist [--data mnist.npz] [--epochs 4 3 3] [--chip 1] [--threads 1]

A network in floating point is trained first; its weights, brought into the chip's ranges, are
trained on in mock arithmetic and then with the forward pass on an emulated chip with the default
noise, in 5-bit inputs, 6-bit weights and 8-bit outputs throughout. The control is trained in mock
for as long. Augmentation: small rotations, scalings and shifts.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from lavalike import bss2
from lavalike.bss2 import facts, perceptron
from lavalike.datasets import MNIST
from lavalike.text import table

CHANNELS, KERNEL, STRIDE, HIDDEN = 16, 7, 3, 256
SHIFT = 2  # outputs up to 124 become inputs up to 31
BATCH, TEMPERATURE = 200, 8.0  # a logit is so many LSB
PLACES = ((28 - KERNEL) // STRIDE + 1) ** 2


def float_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, CHANNELS, KERNEL, STRIDE),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(CHANNELS * PLACES, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 10),
    )


def chip_network() -> nn.Sequential:
    layers = perceptron.nn
    return nn.Sequential(
        layers.Conv2d(1, CHANNELS, KERNEL, STRIDE),
        layers.ConvertingReLU(SHIFT),
        nn.Flatten(),
        layers.Linear(CHANNELS * PLACES, HIDDEN),
        layers.ConvertingReLU(SHIFT),
        layers.Linear(HIDDEN, 10, avg=10),
    )


@torch.no_grad()
def transfer(
    source: nn.Sequential, target: nn.Sequential, x: torch.Tensor, scale: float = facts.INPUT_MAX
) -> None:
    """Weights, biases and sends of ``target`` so that it computes what ``source`` does, scaled into
    the chip's ranges.

    ``x`` is what ``source`` expects, and ``scale`` times it what ``target`` does. Outputs of a
    layer before a ConvertingReLU fill its range but for one in a thousand; those of the last one
    reach 100 LSB.
    """
    for index, (layer, placed) in enumerate(zip(source, target, strict=True)):
        x = layer(x)
        if not isinstance(placed, perceptron.nn.MACLayer):
            continue
        last = index == len(source) - 1
        shift = 0 if last else target[index + 1].shift
        full = 100.0 if last else facts.INPUT_MAX * 2**shift
        top = x.abs() if last else x
        out = full / top.flatten()[torch.randperm(top.numel())[:1_000_000]].quantile(0.999).item()
        factor = out / (perceptron.get_mock_parameter().gain * scale)
        placed.num_sends = math.ceil(
            factor
            * layer.weight.abs().flatten()[:1_000_000].quantile(0.999).item()
            / facts.WEIGHT_MAX
        )
        placed.weight.copy_(layer.weight * factor / placed.num_sends).clamp_(
            -facts.WEIGHT_MAX, facts.WEIGHT_MAX
        )
        placed.bias.copy_(layer.bias * out)
        scale = out / 2**shift


def augment(x: torch.Tensor) -> torch.Tensor:
    """Images (B, 1, 28, 28), each rotated, scaled and shifted a little."""
    n = len(x)
    angle, size = torch.empty(n).uniform_(-0.17, 0.17), torch.empty(n).uniform_(0.9, 1.1)
    move = torch.empty(n, 2, 1).uniform_(-0.12, 0.12)
    c, s = angle.cos() * size, angle.sin() * size
    turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    grid = functional.affine_grid(torch.cat([turn, move], 2), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def train(
    net: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    epochs: int,
    lr: float,
    scale: float = 1.0,
    temperature: float = 1.0,
    batch: int = BATCH,
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Adam, the learning rate rising to ``lr`` and falling to 0. ``net`` sees
    ``scale * change(x)``; logits are outputs / temperature."""
    if not epochs:
        return
    optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=epochs * -(-len(x) // batch), pct_start=0.1
    )
    for _ in range(epochs):
        for k in torch.randperm(len(x)).split(batch):
            seen = x[k] if change is None else change(x[k])
            loss = functional.cross_entropy(net(scale * seen) / temperature, y[k])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor, scale: float = 1.0) -> float:
    """Per cent right."""
    right = sum(
        int((net(scale * a).argmax(1) == b).sum())
        for a, b in zip(x.split(1000), y.split(1000), strict=True)
    )
    return 100 * right / len(x)


def images(path: Path, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    data = MNIST(path, train)
    return data.data[:, None] / 255, data.targets


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz",
    )
    parser.add_argument(
        "--epochs", type=int, nargs=3, default=(4, 3, 3), metavar=("FLOAT", "MOCK", "LOOP")
    )
    parser.add_argument("--chip", type=int, default=1, help="seed of the emulated chip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (x, y), test = images(args.data, True), images(args.data, False)
    chip, rows, began = bss2.Chip(args.chip), [], time.perf_counter()

    def row(name: str, net: nn.Sequential, mock: bool | None = None) -> None:
        scale = 1.0 if mock is None else float(facts.INPUT_MAX)
        with bss2.use(chip), perceptron.mock_mode(mock):
            rows.append(
                [name, f"{accuracy(net, *test, scale):.2f}", f"{time.perf_counter() - began:.0f}"]
            )
        print("  ".join(rows[-1]), flush=True)

    source, net = float_network(), chip_network()
    train(source, x, y, args.epochs[0], 2e-3, change=augment)
    row("floating point", source)
    transfer(source, net, x[:5000])
    row("mock, as transferred", net, True)
    with perceptron.mock_mode(True):
        train(net, x, y, args.epochs[1], 0.5, facts.INPUT_MAX, TEMPERATURE, change=augment)
    row("mock, trained", net, True)
    row("chip, before", net, False)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with perceptron.mock_mode(True):
        train(net, x, y, args.epochs[2], 0.3, facts.INPUT_MAX, TEMPERATURE, change=augment)
    row("chip, after as many epochs in mock (control)", net, False)
    net.load_state_dict(state)
    with bss2.use(chip):
        train(net, x, y, args.epochs[2], 0.3, facts.INPUT_MAX, TEMPERATURE, change=augment)
    row("chip, after training in the loop", net, False)
    print("\n" + table(["MNIST, 10,000 test images", "right [%]", "s"], rows))
    placed = bss2.place(net, x.shape[1:])
    sends = [m.num_sends for m in net if isinstance(m, perceptron.nn.MACLayer)]
    print(
        f"\n{chip!r}; {len(placed.tiles)} tiles in {placed.runs} runs of one chip; inputs sent {sends} times"
    )


if __name__ == "__main__":
    main()
