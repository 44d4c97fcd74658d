"""The Yin-Yang task with spikes: simulated, on an emulated BrainScaleS-2, and trained in the loop
there.

    python -m benchmarks.bss2_spiking_yin_yang [--seeds 5] [--epochs 40 15] [--quick]

Four coordinates and a bias, a spike each, 120 LIF neurons, 3 LI neurons (Goeltz et al. 2021;
settings of hxtorch's example). Every seed has weights, data and a chip of its own; the chip has the
default noise. "before" is the chip with the simulated network's weights, "control" with those of
the simulated network trained on for as long as in the loop.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import NamedTuple

import torch

from benchmarks.bss2_tasks import Batch, Network, Recipe, decide, train
from lavalike.bss2 import Chip
from lavalike.bss2.spiking.transforms.encode import CoordinatesToSpikes
from lavalike.datasets.yinyang import yin_yang
from lavalike.text import table

DT, TAU, STEPS = 1e-6, 6e-6, 38
ENCODER = CoordinatesToSpikes(STEPS, t_early=2e-6, t_late=26e-6, dt=DT, t_bias=2e-6)
BATCH = 100
SIMULATED, LOOP = Recipe(1e-2, level=1e-4), Recipe(5e-3, level=1e-4)


class Result(NamedTuple):
    """Per cent right on the test samples, and seconds."""

    simulated: float
    before: float
    control: float
    after: float
    seconds: float
    loop_seconds: float


def network(chip: Chip | None = None) -> Network:
    return Network((5, 120, 3), DT, TAU, chip, mean=0.8, spread=0.25, readout_spread=0.1)


def one(
    seed: int,
    epochs: tuple[int, int],
    size: int,
    tested: tuple[torch.Tensor, torch.Tensor],
    verbose: bool,
) -> Result:
    torch.manual_seed(seed)
    x, y = yin_yang(size, 42 + seed)

    def batches() -> Iterator[Batch]:
        for k in torch.randperm(size).split(BATCH):
            yield ENCODER(x[k]), y[k]

    def right(net: Network) -> float:
        decided = decide(net, (ENCODER(part) for part in tested[0].split(1000)))
        return 100 * float((decided == tested[1]).double().mean())

    def onto_chip(net: Network) -> Network:
        chip = network(Chip(seed + 1))
        chip.load_state_dict(net.state_dict())
        return chip

    steps = [n * -(-size // BATCH) for n in epochs]
    net = network()
    seconds = train(net, batches, steps[0], SIMULATED)
    simulated, before = right(net), right(onto_chip(net))
    chip = onto_chip(net)
    train(net, batches, steps[1], LOOP)
    control = right(onto_chip(net))
    loop_seconds = train(chip, batches, steps[1], LOOP)
    after = right(chip)
    if verbose:
        print(f"{chip.experiment.outcome}\n")
    return Result(simulated, before, control, after, seconds, loop_seconds)


def main(argv: Sequence[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(40, 15), metavar=("SIMULATED", "LOOP")
    )
    parser.add_argument("--size", type=int, default=5000, help="training samples")
    parser.add_argument("--tested", type=int, default=10_000, help="test samples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a quarter of the epochs, 2000 test samples"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.epochs, args.tested = 1, (10, 4), 2000
    torch.set_num_threads(args.threads)
    tested = yin_yang(args.tested, 10**6)
    results = [
        one(seed, tuple(args.epochs), args.size, tested, seed == 0) for seed in range(args.seeds)
    ]
    rows = [[str(seed), *cells(r)] for seed, r in enumerate(results)]
    if len(results) > 1:
        columns = list(zip(*results, strict=True))
        rows.append(["mean", *cells([mean(c) for c in columns])])
        rows.append(["sd", *cells([stdev(c) for c in columns])])
    print(
        table(
            [
                "seed",
                "simulated [%]",
                "chip, before",
                "control",
                "in the loop",
                "training [s]",
                "in the loop [s]",
            ],
            rows,
        )
    )
    return results


def cells(r: Sequence[float]) -> list[str]:
    return [*(f"{v:.2f}" for v in r[:4]), *(f"{v:.0f}" for v in r[4:])]


if __name__ == "__main__":
    main()
