"""Microseconds a step of Brian2's CUBA network, against a compiled loop that does what Brian2's C++
does.

    python -m benchmarks.cuba [--repeats 60] [--brian2 PYTHON]

4000 neurons, 3200 excitatory and 800 inhibitory, each pair connected with probability 2 % (Vogels
and Abbott 2005, as in Brian2's examples/CUBA.py): exact integration of membrane and two exponential
currents, 5 ms of refractoriness, steps of 0.1 ms, about 6 spikes a second and neuron once it has
settled. Ours is a Dynamics of eight lines between two Sparse connections that hear slices of one
population. The loop is what Brian2 generates, written by hand: one pass over neurons a stage, a
list of targets a neuron, float64. Both run on one thread, in turn; the fastest stretch of each
counts. ``--brian2`` names a Python that has Brian2, and a C++ compiler beside it: its standalone
program of the same synapses is built once and takes its turns, at a tenth of the repeats, 5000
steps each.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
import time
from pathlib import Path

import numba
import numpy as np

import lavalike as lv
from benchmarks.recurrent import program, stepper
from lavalike.dynamics.ops import above, reaches, where
from lavalike.proc import Sparse, neuron_process
from lavalike.text import table

N, EXCITATORY, P, DT = 4000, 3200, 0.02, 0.1  # ms
TAU, TAU_E, TAU_I, REST, VTH, RESET, PERIOD = (
    20.0,
    5.0,
    10.0,
    -49.0,
    -50.0,
    -60.0,
    50.0,
)  # ms, mV; steps
W_E, W_I = 1.62, -9.0  # mV
KEEP, KEEP_E, KEEP_I = (math.exp(-DT / tau) for tau in (TAU, TAU_E, TAU_I))
OF_E, OF_I = (
    tau / (tau - TAU) * (math.exp(-DT / tau) - math.exp(-DT / TAU)) for tau in (TAU_E, TAU_I)
)


def cuba(a_e, a_i, ge, gi, v, left):
    ge = ge + a_e
    gi = gi + a_i
    v = where(reaches(0.0, left), REST + (v - REST) * KEEP + ge * OF_E + gi * OF_I, v)
    s_out = above(v, VTH)
    return (
        s_out,
        ge * KEEP_E,
        gi * KEEP_I,
        where(s_out, RESET, v),
        where(s_out, PERIOD - 1.0, left - 1.0),
    )


Cuba = neuron_process(
    lv.Dynamics(
        cuba,
        inputs=("a_e", "a_i"),
        outputs=("s_out",),
        states=("ge", "gi", "v", "left"),
        fixed=False,
    )
)


def synapses(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each neuron's synapses begin, their targets, and the voltages in the beginning."""
    g = np.random.default_rng(seed)
    hit = g.random((N, N)) < P
    return (
        np.concatenate([[0], hit.sum(1).cumsum()]),
        np.nonzero(hit)[1],
        RESET + g.random(N) * (VTH - RESET),
    )


def network(start: np.ndarray, target: np.ndarray, v: np.ndarray):
    """The population and its two connections, stored entry by entry."""
    cells = Cuba(shape=(N,), v=v)
    for part, weight, port in (
        (slice(0, EXCITATORY), W_E, cells.a_e),
        (slice(EXCITATORY, N), W_I, cells.a_i),
    ):
        first, last = start[part.start], start[part.stop]
        cols = np.repeat(
            np.arange(part.stop - part.start), np.diff(start[part.start : part.stop + 1])
        )
        connection = Sparse(
            rows=target[first:last], cols=cols, data=weight, shape=(N, part.stop - part.start)
        )
        cells.s_out[part].connect(connection.s_in)
        connection.a_out.connect(port)
    return cells


@numba.njit(nogil=True)
def loop(steps, ge, gi, v, last, now, start, target):
    """``last``: when each neuron spiked; ``now[0]``: steps done."""
    fired = np.empty(v.size, np.int32)
    spikes = 0
    for _ in range(steps):
        t = now[0]
        for i in range(v.size):
            if t - last[i] > PERIOD - 1:
                v[i] = REST + (v[i] - REST) * KEEP + ge[i] * OF_E + gi[i] * OF_I
            ge[i] *= KEEP_E
            gi[i] *= KEEP_I
        count = 0
        for i in range(v.size):
            if v[i] > VTH and t - last[i] > PERIOD - 1:
                fired[count] = i
                count += 1
                last[i] = t
        for k in range(count):
            j = fired[k]
            if j < EXCITATORY:
                for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                    ge[np.uint32(target[e])] += W_E
            else:
                for e in range(np.uint64(start[j]), np.uint64(start[j + 1])):
                    gi[np.uint32(target[e])] += W_I
        for k in range(count):
            v[fired[k]] = RESET
        now[0] += 1
        spikes += count
    return spikes


def hand_written(start: np.ndarray, target: np.ndarray, v: np.ndarray):
    state = np.zeros(N), np.zeros(N), v.copy(), np.full(N, -1000, np.int64), np.zeros(1, np.int64)
    wires = start.astype(np.int64), target.astype(np.int32)
    return lambda steps: loop(steps, *state, *wires)


BRIAN2 = """
import sys
import numpy as np
from brian2 import *

set_device("cpp_standalone", build_on_run=False)
defaultclock.dt = 0.1 * ms
start, target, begin = (np.load(f"{sys.argv[1]}/{name}.npy") for name in ("start", "target", "v"))
source = np.repeat(np.arange(len(begin)), np.diff(start))
cells = NeuronGroup(
    len(begin),
    '''dv/dt = (ge + gi - (v + 49 * mV)) / (20 * ms) : volt (unless refractory)
    dge/dt = -ge / (5 * ms) : volt
    dgi/dt = -gi / (10 * ms) : volt''',
    threshold="v > -50 * mV",
    reset="v = -60 * mV",
    refractory=5 * ms,
    method="exact",
)
cells.v = begin * mV
synapses = []
for some, effect in ((source < 3200, "ge += 1.62 * mV"), (source >= 3200, "gi -= 9 * mV")):
    synapses.append(Synapses(cells, cells, on_pre=effect))
    synapses[-1].connect(i=source[some], j=target[some])
net = Network(cells, *synapses)
net.run(400 * ms)
net.run(500 * ms)  # the one that is timed
device.build(f"{sys.argv[1]}/program", run=False)
"""
BRIAN2_STEPS = 5000


def brian2(python: str, folder: Path, wires: tuple[np.ndarray, ...]) -> Path | None:
    """The folder of Brian2's program, built; None where that Python has no Brian2."""
    if subprocess.run([python, "-c", "import brian2"], capture_output=True).returncode:
        return None
    for name, array in zip(("start", "target", "v"), wires, strict=True):
        np.save(folder / f"{name}.npy", array)
    subprocess.run([python, "-c", BRIAN2, str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder / "program"


def brian2_step(place: Path) -> float:
    """Seconds a step of its last run, as it tells them."""
    subprocess.run(["./main"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    return float((place / "results" / "last_run_info.txt").read_text().split()[0]) / BRIAN2_STEPS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200, help="per measurement")
    parser.add_argument("--brian2", metavar="PYTHON", help="one that has Brian2; default: none")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args: argparse.Namespace, folder: Path) -> None:
    wires = synapses()
    place = None if args.brian2 is None else brian2(args.brian2, folder, wires)
    hand, ours = (
        hand_written(*wires),
        {
            d: stepper(program(network(*wires), lv.RunConfig(dtype=d)))
            for d in ("float64", "float32")
        },
    )
    runs = {"loop (float64)": hand, **{f"lavalike {d}": run for d, run in ours.items()}}
    for run in runs.values():
        run(4000)  # till it has settled
    spikes = hand(2000) / 2000
    took: dict[str, list[float]] = {name: [] for name in runs}
    for k in range(args.repeats):
        if place is not None and k % 10 == 0:
            took.setdefault("Brian2's C++", []).append(brian2_step(place))
            began = (
                time.perf_counter()
            )  # as long a stretch, or a busy machine favours the short ones
            runs["lavalike float64"](BRIAN2_STEPS)
            took.setdefault(f"lavalike float64, {BRIAN2_STEPS} steps", []).append(
                (time.perf_counter() - began) / BRIAN2_STEPS
            )
        for name, run in runs.items():
            began = time.perf_counter()
            run(args.steps)
            took[name].append((time.perf_counter() - began) / args.steps)
    best = {name: min(times) for name, times in took.items()}
    rows = [
        [name, f"{best[name] * 1e6:.2f}", f"{best[name] / best['loop (float64)']:.2f}"]
        for name in best
    ]
    print(f"{spikes:.1f} spikes a step")
    print(table(["", "us a step", "ratio"], rows))
    if place is None:
        print("Brian2 is absent" if args.brian2 else "Brian2 is not asked for (--brian2 PYTHON)")
    else:
        ratio = best[f"lavalike float64, {BRIAN2_STEPS} steps"] / best["Brian2's C++"]
        print(f"lavalike float64 takes {ratio:.2f} of Brian2's C++")


if __name__ == "__main__":
    main()
