"""Seconds to load NIR files, and to their first step.

    python -m benchmarks.nir_load [--files FOLDER] [--repeats N]

The paper's recurrent Braille networks and its convolutional network (tests/data/nir): the file
alone, the file as a graph of processes, and its first step on numba with kernels that are compiled
already; each the least of so many in turn, in one interpreter.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np

import lavalike as lv
from lavalike.text import table
from netx.nir import NirWarning, from_nir, read

FILES = Path(__file__).parent.parent / "tests" / "data" / "nir"
NAMES = (
    "braille_noDelay_bias_zero",
    "braille_noDelay_noBias_subtract_subgraph",
    "cnn_sinabs",
    "lif_norse",
)
CONFIG = lv.RunConfig(precision="floating_pt")


def seconds(path: Path) -> tuple[float, float, float]:
    began = time.perf_counter()
    read(path)
    read_in = time.perf_counter()
    net = from_nir(path, dt=1e-4)
    loaded = time.perf_counter()
    lv.simulate(net, {"inp": np.ones((*net.inp.shape, 1))}, config=CONFIG)
    return read_in - began, loaded - read_in, time.perf_counter() - loaded


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=Path, default=FILES)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", NirWarning)
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
    for name in NAMES:
        seconds(args.files / f"{name}.nir")  # its kernels
    for _ in range(args.repeats):
        for name, found in times.items():
            found.append(seconds(args.files / f"{name}.nir"))
    rows = [[name, *(f"{s:.3f}" for s in np.min(found, 0))] for name, found in times.items()]
    print(table(["file", "read s", "from_nir s", "first step s"], rows))


if __name__ == "__main__":
    main()
