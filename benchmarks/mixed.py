"""What mixing costs: ``python -m benchmarks.mixed``. Ratios within one process, minima of many
stretches taken in turns.

1. Two precisions in one kernel table against one, and against the mean of both: a loop LIF -> Dense
   -> LIF -> Dense, half of it in fixed_pt.
2. A boundary between numba and torch: a part of each, joined by delayed edges, against the two run
   alone over the same stretches.
3. A run of one step: the engine on one part, against its program called directly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.proc import LIF, Dense
from lavalike.process.ports import Port
from lavalike.runtime.engine import Engine, compiled

Run = Callable[[int], None]


def loop(n: int, fixed: tuple[bool, bool]) -> list[lv.AbstractProcess]:
    """LIF -> Dense -> LIF -> Dense -> back; ``fixed``: whether down and a, up and b have numbers of
    fixed_pt. About a seventh spikes."""
    g = np.random.default_rng(0)

    def neuron(name: str, whole: bool) -> LIF:
        if whole:
            return LIF(
                shape=(n,), du=2048, dv=410, vth=400, bias_mant=g.integers(2560, 7680, n), name=name
            )
        return LIF(shape=(n,), du=0.5, dv=0.1, vth=1.0, bias_mant=g.uniform(0.1, 0.3, n), name=name)

    def dense(name: str, whole: bool) -> Dense:
        return Dense(
            weights=2 * g.integers(-20, 21, (n, n)) if whole else g.normal(0, 0.02, (n, n)),
            name=name,
        )

    a, up, b, down = (
        neuron("a", fixed[0]),
        dense("up", fixed[1]),
        neuron("b", fixed[1]),
        dense("down", fixed[0]),
    )
    for source, target in (
        (a.s_out, up.s_in),
        (up.a_out, b.a_in),
        (b.s_out, down.s_in),
        (down.a_out, a.a_in),
    ):
        source.connect(target)
    return [a, up, b, down]


def engine(
    process: lv.AbstractProcess,
    config: lv.RunConfig,
    stimuli: tuple[lv.InPort, ...] = (),
    batch: int = 1,
    record: tuple[Port, ...] = (),
) -> Engine:
    return compiled(
        flatten(process, config, get_backend, stimuli), batch, list(record), get_backend
    )


def best(runs: Mapping[str, Run], steps: int, repeats: int) -> dict[str, float]:
    """Microseconds a step, of each the least."""
    least = dict.fromkeys(runs, np.inf)
    for run in runs.values():
        run(steps)
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run(steps)
            least[name] = min(least[name], (time.perf_counter() - began) / steps * 1e6)
    return least


def precisions(n: int, repeats: int) -> tuple[float, float, float]:
    half = lv.RunConfig(select={"up": "fixed_pt", "b": "fixed_pt"})
    mixed, plain = (
        engine(loop(n, (False, True))[0], half),
        engine(loop(n, (False, False))[0], lv.RunConfig()),
    )
    fixed = engine(loop(n, (True, True))[0], lv.RunConfig(precision="fixed_pt"))
    assert len(mixed.programs) == 1
    took = best(
        {
            "mixed": lambda k: mixed.run(k, {}, {}),
            "plain": lambda k: plain.run(k, {}, {}),
            "fixed": lambda k: fixed.run(k, {}, {}),
        },
        max(20, 200_000 // n),
        repeats,
    )
    return took["mixed"], took["plain"], took["fixed"]


def boundary(n: int, steps: int, repeats: int) -> tuple[float, float, float]:
    """A numba half whose Dense feeds a torch half, in stretches of ``steps``; each half alone is
    fed by an array, and records."""

    def half(name: str) -> tuple[LIF, Dense]:
        g = np.random.default_rng(1)
        lif = LIF(shape=(n,), du=0.5, dv=0.1, vth=1.0, bias_mant=g.uniform(0.1, 0.3, n), name=name)
        dense = Dense(weights=g.normal(0, 0.02, (n, n)), name=f"{name} out")
        lif.s_out.connect(dense.s_in)
        return lif, dense

    (first, joint), (second, last) = half("first"), half("second")
    joint.a_out.connect(second.a_in)
    both = engine(
        first, lv.RunConfig(select={"second": "torch", "second out": "torch"}), record=(last.a_out,)
    )
    alone, sends = half("alone")
    numba = engine(alone, lv.RunConfig(), record=(sends.a_out,))
    hears, end = half("hears")
    torch = engine(hears, lv.RunConfig(backend="torch"), (hears.a_in,), record=(end.a_out,))
    rows = np.zeros((steps, 1, n), np.float32)
    out = np.zeros((steps, 1, n), np.float32)
    took = best(
        {
            "both": lambda k: both.run(k, {}, {last.a_out: out}),
            "numba": lambda k: numba.run(k, {}, {sends.a_out: rows}),
            "torch": lambda k: torch.run(k, {hears.a_in: rows}, {end.a_out: out}),
        },
        steps,
        repeats,
    )
    return took["both"], took["numba"], took["torch"]


def one_step(repeats: int) -> tuple[float, float]:
    made = engine(loop(10, (False, False))[0], lv.RunConfig())
    (program,) = made.programs

    def through(run: Callable[..., None]) -> Run:
        def many(k: int) -> None:
            for _ in range(k):
                run(1, {}, {})

        return many

    took = best({"engine": through(made.run), "program": through(program.run)}, 1000, repeats)
    return took["engine"], took["program"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    print("two precisions in one table, us a step")
    for n in (20, 100, 1000):
        mixed, plain, fixed = precisions(n, repeats)
        print(
            f"  {n:>5} neurons a LIF: {mixed:8.3f} mixed, {plain:8.3f} floating_pt, {fixed:8.3f} fixed_pt: "
            f"{mixed / plain:.2f} of floating_pt, {2 * mixed / (plain + fixed):.2f} of the mean"
        )
    print("a numba and a torch part joined by a Dense, us a step")
    for n, steps in ((100, 10), (100, 100), (1000, 100)):
        both, numba, torch = boundary(n, steps, repeats)
        ratio = both / (numba + torch)
        print(
            f"  {n:>5} neurons, stretches of {steps:>3}: {both:8.2f} together, {numba:8.2f} + {torch:8.2f} alone: {ratio:.2f}"
        )
    whole, program = one_step(repeats)
    print(
        f"one step of one part: {whole:.2f} us through the engine, {program:.2f} us its program alone: {whole - program:.2f} more"
    )


if __name__ == "__main__":
    main()
