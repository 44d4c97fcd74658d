"""The MNIST images that ship with the package, made from all of them.

    python -m benchmarks.mnist_sample mnist.npz lavalike/datasets/data/mnist_sample.npz

The first 80 training and the first 20 test images of each digit, in the order of the original.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lavalike.datasets import MNIST


def select(source: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for part, train, each in (("train", True, 80), ("test", False, 20)):
        data = MNIST(source, train)
        labels = data.targets.numpy()
        kept = np.sort(
            np.concatenate([np.flatnonzero(labels == digit)[:each] for digit in range(10)])
        )
        arrays |= {f"x_{part}": data.data.numpy()[kept], f"y_{part}": labels[kept].astype(np.uint8)}
    return arrays


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="what lavalike.datasets.MNIST reads")
    parser.add_argument("target", type=Path)
    args = parser.parse_args(argv)
    np.savez_compressed(args.target, **select(args.source))
    print(f"{args.target}: {args.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
