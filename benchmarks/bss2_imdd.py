"""Demapping an IM/DD optical link with a spiking network, simulated and on an emulated
BrainScaleS-2, beside the linear equaliser.

    python -m benchmarks.bss2_imdd [--links LCD ECOC] [--noise 20 19 ...] [--chip 1] [--plot
    ber.svg] [--quick]

Received symbols reach 40 LIF neurons as spikes of receptive fields, four LI neurons decide by their
highest membranes (Arnold et al., J. Lightwave Technol. 2023; LCD: 112 GBd, 4 km, 7 taps; ECOC: 100
GBd, 5 km, 17 taps). The network is trained in simulation at the first noise level, and from there
trained on at each of the others; at each level its weights go to an emulated chip with the default
noise and are trained in the loop there. Bit errors are counted on other symbols, until --errors
wrong bits or --bits bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.bss2_tasks import Batch, Network, Recipe, decide, train
from lavalike.bss2 import Chip
from lavalike.datasets.imdd import ECOC, GRAY, LCD, LMMSE, Link, ReceptiveFields
from lavalike.text import table

LINKS = {"LCD": LCD, "ECOC": ECOC}
ENCODER = ReceptiveFields()
HIDDEN, TAU = 40, 6e-6
BATCH, CHUNK = 500, 5_000
FIRST, NEXT, LOOP = Recipe(1e-2), Recipe(5e-3), Recipe(3e-3)
Decider = Callable[[torch.Tensor], torch.Tensor]


class Point(NamedTuple):
    """Bit error rates, and the seconds that training took, in simulation and in the loop."""

    link: str
    noise: float
    lmmse: float
    simulated: float
    before: float
    after: float
    seconds: float
    loop_seconds: float


def network(link: Link, chip: Chip | None = None) -> Network:
    # the more inputs, the weaker each, so that the first neurons spike once or twice
    return Network(
        (link.taps * ENCODER.neurons, HIDDEN, len(GRAY)),
        ENCODER.dt,
        TAU,
        chip,
        mean=0.7 / link.taps,
        spread=0.5 / link.taps**0.5,
        readout_spread=0.2,
    )


def batches(link: Link, noise: float, steps: int, seed: int) -> Iterator[Batch]:
    """Spikes and symbols, fresh ones in every step."""
    blocks = max(1, link.block // BATCH)
    for k in range(-(-steps // blocks)):
        sample = link.sample(link.block, -noise, 1000 * seed + k)
        for features, symbols in zip(
            sample.features.split(BATCH), sample.symbols.split(BATCH), strict=True
        ):
            yield ENCODER(features), symbols


def error_rates(
    link: Link, noise: float, deciders: Sequence[Decider], bits: int, errors: int
) -> list[float]:
    """Of each, on the same symbols; each until it has made so many errors."""
    gray = torch.tensor(GRAY, dtype=torch.int8)
    wrong, seen = [0] * len(deciders), [0] * len(deciders)
    for k in range(-(-bits // (2 * CHUNK))):
        sample = link.sample(CHUNK, -noise, 10**9 + k)
        for j, decider in enumerate(deciders):
            if wrong[j] < errors:
                wrong[j] += int((gray[decider(sample.features)] != gray[sample.symbols]).sum())
                seen[j] += 2 * CHUNK
    return [w / s for w, s in zip(wrong, seen, strict=True)]


def decider(net: Network) -> Decider:
    return lambda features: decide(net, (ENCODER(part) for part in features.split(1000)))


def sweep(title: str, link: Link, args: argparse.Namespace) -> Iterator[Point]:
    """One level of noise after the other."""
    net, first = network(link), {}
    for number, noise in enumerate(args.noise):
        steps, recipe = (args.steps[0], FIRST) if number == 0 else (args.steps[1], NEXT)
        net.load_state_dict(first or net.state_dict())
        seconds = train(net, partial(batches, link, noise, steps, 2 * number + 1), steps, recipe)
        first = first or {name: value.clone() for name, value in net.state_dict().items()}
        lmmse = LMMSE.fit(link.sample(200_000, -noise, 7), link)
        before, chip = network(link, Chip(args.chip)), network(link, Chip(args.chip))
        before.load_state_dict(net.state_dict())
        chip.load_state_dict(net.state_dict())
        loop_seconds = train(
            chip, partial(batches, link, noise, args.steps[2], 2 * number + 2), args.steps[2], LOOP
        )
        rates = error_rates(
            link,
            noise,
            [lmmse, decider(net), decider(before), decider(chip)],
            args.bits,
            args.errors,
        )
        yield Point(title, noise, *rates, seconds, loop_seconds)
        if number == 0:
            print(f"\n{chip.experiment.outcome}\n")


def plot(points: Sequence[Point], path: Path) -> None:
    """Bit error rate over noise, a panel for each link."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(p.link for p in points))
    figure, axes = pyplot.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.6), squeeze=False, sharey=True
    )
    for axis, name in zip(axes[0], names, strict=True):
        mine = sorted((p for p in points if p.link == name), key=lambda p: p.noise)
        for field, label, style in (
            ("lmmse", "LMMSE", "k--"),
            ("simulated", "SNN, simulated", "C0o-"),
            ("after", "SNN, emulated chip, in the loop", "C1s-"),
        ):
            axis.semilogy(
                [p.noise for p in mine],
                [getattr(p, field) for p in mine],
                style,
                label=label,
                markersize=4,
            )
        axis.set(title=name, xlabel="signal over noise [dB]")
        axis.grid(True, which="both", alpha=0.3)
    axes[0][0].set_ylabel("bit error rate")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--links", nargs="+", choices=LINKS, default=["LCD", "ECOC"])
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        default=[20, 15, 16, 17, 18, 19, 21, 22, 23, 24],
        metavar="DB",
        help="levels, the first one trained at first",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        default=(3000, 500, 500),
        metavar=("FIRST", "NEXT", "LOOP"),
        help=f"of {BATCH} symbols",
    )
    parser.add_argument("--bits", type=int, default=1_000_000)
    parser.add_argument("--errors", type=int, default=300)
    parser.add_argument("--chip", type=int, default=1, help="seed of the emulated chip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="picture of the curves")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the first link and level only, less training, fewer bits",
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.links, args.noise, args.steps, args.bits = (
            args.links[:1],
            args.noise[:1],
            (400, 0, 40),
            80_000,
        )
    return args


def main(argv: Sequence[str] | None = None) -> list[Point]:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    points: list[Point] = []
    head = [
        "link",
        "dB",
        "LMMSE",
        "simulated",
        "chip, before",
        "chip, in the loop",
        "training [s]",
        "in the loop [s]",
    ]
    began = time.perf_counter()
    for name in args.links:
        for point in sweep(name, LINKS[name], args):
            points.append(point)
            print("  ".join(cells(point)), f"({time.perf_counter() - began:.0f} s)", flush=True)
    print(table(head, [cells(p) for p in sorted(points)]))
    if args.plot:
        plot(points, args.plot)
    return points


def cells(p: Point) -> list[str]:
    rates = (f"{r:.2e}" for r in (p.lmmse, p.simulated, p.before, p.after))
    return [p.link, f"{p.noise:g}", *rates, f"{p.seconds:.0f}", f"{p.loop_seconds:.0f}"]


if __name__ == "__main__":
    main()
