"""What checked indices cost a user's own step: its time with bounds checks (the default) over that
of bounds=False.

    python -m benchmarks.bounds [--sizes 100 1000 10000] [--seconds 0.002]

Kinds of steps: a leaky sum, element by element and by whole arrays; a LIF with a branch; a matrix
times a vector in plain loops; a gather through an array of indices. The two forms run in turn, many
short stretches each, and each one's fastest stretch counts: other work on the machine only adds
time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import lavalike as lv
from benchmarks.recurrent import program
from lavalike.text import table


def leaky(a_in, s_out, v):
    for i in range(a_in.size):
        v[i] = v[i] * 0.9 + a_in[i]
        s_out[i] = v[i]


def whole(a_in, s_out, v):
    v *= 0.9
    v += a_in
    s_out[:] = v


def lif(a_in, s_out, u, v):
    for i in range(a_in.size):
        u[i] = u[i] * 0.5 + a_in[i]
        v[i] = v[i] * 0.9 + u[i]
        s_out[i] = v[i] > 1
        if s_out[i]:
            v[i] = 0


def dense(a_in, s_out, weights):
    for i in range(weights.shape[0]):
        total = s_out[i] * 0
        for j in range(weights.shape[1]):
            total += weights[i, j] * a_in[j]
        s_out[i] = total


def gather(a_in, s_out, index):
    for i in range(index.size):
        s_out[i] = a_in[index[i]]


STEPS: dict[str, Callable[..., None]] = {
    "leaky sum, element by element": leaky,
    "leaky sum, whole arrays": whole,
    "LIF, element by element": lif,
    "matrix times vector": dense,
    "gather by indices": gather,
}
WIDE = 10_000_000  # entries of a matrix that is worth measuring


def stepper(step: Callable[..., None], n: int, bounds: bool) -> Callable[[int], None]:
    """A function that does steps of a process of ``n`` neurons whose model is ``step``."""
    g = np.random.default_rng(0)

    class Own(lv.AbstractProcess):
        def __init__(self) -> None:
            super().__init__()
            self.a_in, self.s_out = lv.InPort((n,)), lv.OutPort((n,))
            self.u, self.v = lv.Var((n,), 0.0), lv.Var((n,), g.uniform(0, 1, n))
            if step is dense:
                self.weights = lv.Var((n, n), g.normal(size=(n, n)), role="parameter")

    members = {"step": step}
    if step is gather:
        members["derive"] = lambda self, values: {"index": g.permutation(n)}
    lv.implements(Own, backend="numba", bounds=bounds)(type("OwnModel", (lv.NumbaModel,), members))
    compiled = program(Own(), lv.RunConfig())
    return lambda steps: compiled.run(steps, {}, {})


def fastest(runs: list[Callable[[int], None]], seconds: float, stretches: int) -> list[float]:
    """Seconds a step of each, the shortest of so many stretches in turn."""
    for run in runs:
        run(1)  # compiles
    steps = 1
    while True:
        began = time.perf_counter()
        runs[0](steps)
        if time.perf_counter() - began > seconds:
            break
        steps *= 2
    best = [np.inf] * len(runs)
    for _ in range(stretches):
        for k, run in enumerate(runs):
            began = time.perf_counter()
            run(steps)
            best[k] = min(best[k], (time.perf_counter() - began) / steps)
    return best


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--seconds", type=float, default=0.002, help="a stretch")
    parser.add_argument("--stretches", type=int, default=200)
    args = parser.parse_args(argv)
    rows = []
    for name, step in STEPS.items():
        for n in args.sizes:
            if step is dense and n * n > WIDE:
                continue
            checked, free = fastest(
                [stepper(step, n, True), stepper(step, n, False)], args.seconds, args.stretches
            )
            rows.append(
                [name, str(n), f"{checked * 1e6:.2f}", f"{free * 1e6:.2f}", f"{checked / free:.2f}"]
            )
    print(table(["step", "neurons", "checked us", "unchecked us", "ratio"], rows))


if __name__ == "__main__":
    main()
