"""MNIST with one spike a pixel on one emulated BrainScaleS-2: 256 inputs, 246 LIF neurons of two
circuits each, 10 LI neurons.

    python -m benchmarks.bss2_spiking_mnist [--data mnist.npz] [--epochs 8 2] [--chip 1]
    [--uncalibrated] [--quick]

The network and the task of Cramer et al. (PNAS 2022): images of 16 x 16 pixels, brighter ones spike
earlier; all 512 neuron circuits are used. Trained in simulation, then in the loop on the chip,
which has the default noise. The control is trained in simulation for as long as in the loop.
Augmentation: small rotations, scalings and shifts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.bss2_mnist import augment, images
from benchmarks.bss2_tasks import Batch, Network, Recipe, decide, train
from lavalike.bss2 import Chip
from lavalike.bss2.spiking.transforms.encode import PixelsToSpikeTimes, SpikeTimesToDense
from lavalike.text import table

SIDE, CROP = 16, 2
DT, TAU, STEPS = 1e-6, 10e-6, 30
ENCODER = torch.nn.Sequential(
    torch.nn.Flatten(),
    PixelsToSpikeTimes(tau=6e-6, threshold=0.2, t_max=1.0),
    SpikeTimesToDense(DT, STEPS),
)
BATCH = 100
SIMULATED, LOOP = Recipe(5e-3, level=1e-5, burst=1e-5), Recipe(1e-3, level=1e-5, burst=1e-5)


def network(chip: Chip | None = None) -> Network:
    return Network(
        (SIDE * SIDE, 246, 10), DT, TAU, chip, mean=0.02, spread=0.1, readout_spread=0.1, alpha=25.0
    )


def small(x: torch.Tensor) -> torch.Tensor:
    """Images (n, 1, 28, 28) without their margins, (n, 1, 16, 16)."""
    inner = x[:, :, CROP:-CROP, CROP:-CROP]
    return functional.interpolate(
        inner, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False
    )


def main(argv: Sequence[str] | None = None) -> list[list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz",
    )
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(8, 2), metavar=("SIMULATED", "LOOP")
    )
    parser.add_argument("--chip", type=int, default=1, help="seed of the emulated chip")
    parser.add_argument(
        "--uncalibrated",
        action="store_true",
        help="a chip with the spreads it has before calibration",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a third of the images, two epochs and one, 1000 test images, no control",
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (x, y), (tested, labels) = images(args.data, True), images(args.data, False)
    if args.quick:
        args.epochs = (2, 1)
        x, y, tested, labels = x[::3], y[::3], tested[::10], labels[::10]
    x, tested = small(x), small(tested)
    rows, began = [], time.perf_counter()

    def batches() -> Iterator[Batch]:
        for k in torch.randperm(len(x)).split(BATCH):
            yield ENCODER(augment(x[k])), y[k]

    def row(name: str, net: Network) -> None:
        decided = decide(net, (ENCODER(part) for part in tested.split(500)))
        rows.append(
            [
                name,
                f"{100 * float((decided == labels).double().mean()):.2f}",
                f"{time.perf_counter() - began:.0f}",
            ]
        )
        print("  ".join(rows[-1]), flush=True)

    def onto_chip(net: Network) -> Network:
        chip = network(Chip(args.chip, calibrated=not args.uncalibrated))
        chip.load_state_dict(net.state_dict())
        return chip

    steps = [n * -(-len(x) // BATCH) for n in args.epochs]
    net = network()
    train(net, batches, steps[0], SIMULATED)
    row("simulated", net)
    row("chip, before", onto_chip(net))
    chip = onto_chip(net)
    train(chip, batches, steps[1], LOOP)
    row("chip, after training in the loop", chip)
    if not args.quick:
        train(net, batches, steps[1], LOOP)
        row("chip, after as many epochs in simulation (control)", onto_chip(net))
    print(
        f"\n{chip.experiment.outcome}\n\n"
        + table([f"MNIST, {SIDE} x {SIDE}, {len(tested):,} test images", "right [%]", "s"], rows)
    )
    return rows


if __name__ == "__main__":
    main()
