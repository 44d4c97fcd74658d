"""What it costs to set a parameter of a million elements, against a copy of it.

    python -m benchmarks.values [--repeats 30]

``set`` looks for NaN and takes a copy; once a network has run, the model derives its constants
anew, which for weights lays them out input-major in the arithmetic of the run. Each is done in turn
with the copy; the fastest of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import lavalike as lv
from lavalike.proc import LIF, Dense, Sparse
from lavalike.text import table

N = 1000


def parameters() -> dict[str, tuple[lv.Var, np.ndarray]]:
    """Parameters of a million elements by name, with a value for each."""
    g = np.random.default_rng(0)
    matrix, vector, places = g.normal(size=(N, N)), g.random(N * N), g.integers(0, N, (2, N * N))
    found: dict[str, tuple[lv.Var, np.ndarray]] = {}
    for runs in (False, True):
        dense, sparse = (
            Dense(weights=matrix),
            Sparse(rows=places[0], cols=places[1], data=vector, shape=(N, N)),
        )
        lif = LIF(shape=(N * N,), bias_mant=vector)
        for process, var, value in (
            (dense, dense.weights, matrix),
            (sparse, sparse.weights, vector),
            (lif, lif.bias_mant, vector),
        ):
            if runs:
                process.run(lv.RunSteps(1))
            found[f"{var.path}{', between runs' if runs else ''}"] = var, value
    return found


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args(argv)
    rows = []
    for name, (var, value) in parameters().items():
        took = [
            (seconds(value.copy), seconds(lambda var=var, value=value: var.set(value)))
            for _ in range(args.repeats)
        ]
        copied, set_ = (min(x) for x in zip(*took, strict=True))
        rows.append([name, f"{copied * 1e3:.2f}", f"{set_ * 1e3:.2f}", f"{set_ / copied:.1f}"])
    print(table(["parameter", "copy ms", "set ms", "ratio"], rows))


if __name__ == "__main__":
    main()
