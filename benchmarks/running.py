"""What a run of one step costs beside the step itself, what recording costs, and what 1,000
processes cost to build and start.

    python -m benchmarks.running [--seconds 1]

Chains of LIF and Dense of 10 neurons, of 1, 101 and 1,001 processes, stepped by
``run(RunSteps(1))`` and by one run of many steps, in turn; with and without a Monitor on one of the
voltages. The fastest stretch of each counts: other work on the machine only adds time. Building is
of 1,001 processes with their 1,000 connections; compile and start is their first
``run(RunSteps(1))`` with all kernels in the cache. Recording is of N numbers, the voltages of
neurons or what synapses with delays send in the next 8 steps (a ring, which turns and lies
otherwise than its Var), in every step by a Recorder whose array exists (it was filled and cleared
before), as what a step costs more than without, beside NumPy's copy of as many rows into an array
that exists.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np

import lavalike as lv
from lavalike.proc import LIF, DelaySparse, Dense, Monitor, Recorder
from lavalike.text import table

SIZES = (1, 101, 1001)


def chain(processes: int, size: int = 10) -> LIF:
    """LIF -> Dense -> LIF -> ...; the first one."""
    lifs = [LIF(shape=(size,), bias_mant=0.2, vth=1.0) for _ in range(processes // 2 + 1)]
    for a, b in itertools.pairwise(lifs):
        dense = Dense(weights=np.eye(size))
        a.s_out.connect(dense.s_in)
        dense.a_out.connect(b.a_in)
    return lifs[0]


def stepping(processes: int, monitored: bool, seconds: float) -> tuple[float, float]:
    """Seconds of a step run by itself, and of one among many."""
    lif, monitor = chain(processes), Monitor()
    if monitored:
        monitor.probe(lif.v, 10**8)
    lif.run(lv.RunSteps(100))
    one = many = np.inf
    count = 20 if processes > 500 else 100
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(count):
            lif.run(lv.RunSteps(1))
        middle = time.perf_counter()
        lif.run(lv.RunSteps(count))
        one = min(one, (middle - began) / count)
        many = min(many, (time.perf_counter() - middle) / count)
    return one, many


def building(repeats: int = 7) -> tuple[float, float]:
    """Seconds to build 1,001 processes, and to compile and start them."""
    built = started = np.inf
    for _ in range(repeats):
        gc.collect()
        began = time.perf_counter()
        lif = chain(1001)
        middle = time.perf_counter()
        lif.run(lv.RunSteps(1))
        built, started = min(built, middle - began), min(started, time.perf_counter() - middle)
    return built, started


def voltages(size: int) -> lv.Var:
    return LIF(shape=(size,), du=0.1, dv=0.1, vth=10.0, bias_mant=0.1).v


def ring(size: int) -> lv.Var:
    each = np.arange(size // 8)
    return DelaySparse(
        rows=each, cols=each, data=np.ones(len(each)), delays=each % 8, shape=(len(each),) * 2
    ).a_buff


def recording(make: Callable[[int], lv.Var], size: int, seconds: float) -> tuple[float, float]:
    """Seconds that a recorded step costs more, and those of a copy."""
    steps = max(64, min(20_000, 2**24 // (4 * size)))
    first, second = make(size), make(size)
    recorded, plain = first.process, second.process
    assert recorded is not None
    assert plain is not None
    recorder = Recorder()
    recorder.add(first)
    row, rows = np.zeros(size, np.float32), np.empty((steps, size), np.float32)
    best = dict.fromkeys(("recorded", "plain", "copied"), np.inf)
    # kernels are loaded, and the size of a stretch is learnt
    for process in (recorded, plain, recorded, plain):
        process.run(lv.RunSteps(steps))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        recorder.clear()
        for name, call in (
            ("recorded", lambda: recorded.run(lv.RunSteps(steps))),
            ("plain", lambda: plain.run(lv.RunSteps(steps))),
            ("copied", lambda: np.copyto(rows, row)),
        ):
            began = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - began) / steps)
    return best["recorded"] - best["plain"], best["copied"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row. Default 1")
    seconds = parser.parse_args(argv).seconds
    rows = []
    for processes in SIZES:
        for monitored in (False, True):
            one, many = (x * 1e6 for x in stepping(processes, monitored, seconds))
            row = (
                processes,
                "yes" if monitored else "",
                f"{one:.2f}",
                f"{many:.2f}",
                f"{one - many:.2f}",
            )
            rows.append(row)
    print(table(("processes", "monitor", "run(1) us", "a step us", "more us"), rows))
    rows = []
    for make in (voltages, ring):
        for size in (16, 104, 1000, 2000, 10_000, 100_000):
            more, copied = (x * 1e9 for x in recording(make, size, seconds))
            numbers = f"{more:.0f}", f"{copied:.0f}", f"{more / copied:.2f}"
            rows.append((make.__name__, f"{size}", f"{4 * size}", *numbers))
    print("\n" + table(("of", "N", "bytes a step", "recording ns", "copy ns", "ratio"), rows))
    built, started = building()
    print(
        f"\n1,001 processes: built in {built:.3f} s, compiled and started in {started:.3f} s, together {built + started:.3f} s"
    )


if __name__ == "__main__":
    main()
