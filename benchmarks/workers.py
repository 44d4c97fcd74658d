"""Two worker processes against one process, and against a hand-written loop on one and two threads.

    python -m benchmarks.workers [--neurons 4000] [--seconds 2]
    python -m benchmarks.workers --paper
    python -m benchmarks.workers --mpi

Four populations of LIF neurons in a ring, each connected all-to-all with itself and the next, a few
per cent of them spiking per step. The hand-written loop is one compiled function for this network,
whose populations two threads share (Numba's prange). All run in turn, several times; minima are
printed. Then what an exchange between two processes takes that do nothing else, and what it takes
to start two workers, beside an interpreter that takes its first step of a small network (kernels
are in the cache). What the model of cost says (lavalike/compiler/cut.py) stands beside what was
measured, with the activity that there was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from multiprocessing import reduction

import numba
import numpy as np

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.compiler import cut as cutting
from lavalike.compiler.flat import flatten
from lavalike.proc import LIF, Dense
from lavalike.runtime import wiring, workers
from lavalike.text import table

POPULATIONS = 4
BYTES = (80, 800, 8000)
EXCHANGES = 200_000
TURNS = 5
FIRST = """
import numpy as np, lavalike as lv
from benchmarks.workers import ring
if __name__ == "__main__":
    ring(20)[0][0].run(lv.RunSteps(1))
"""


def ring(n: int, pops: int = POPULATIONS, seed: int = 0) -> tuple[list[LIF], list[list[Dense]]]:
    """Populations, and of each the connections to itself and to the next."""
    g = np.random.default_rng(seed)
    lifs, joints = [], []
    for k in range(pops):
        period = g.uniform(15, 60, n)
        bias = (1 / period + 0.015).astype(np.float32)
        lifs.append(LIF(shape=(n,), du=0.5, dv=0.015, vth=1.0, bias_mant=bias, name=f"l{k}"))
    for k in range(pops):
        joints.append([])
        for j in dict.fromkeys((k, (k + 1) % pops)):
            w = g.standard_normal((n, n), np.float32) * np.float32(0.02 / np.sqrt(n / 100))
            joints[k].append(Dense(weights=w, name=f"d{k}{j}"))
            lifs[k].s_out.connect(joints[k][-1].s_in)
            joints[k][-1].a_out.connect(lifs[j].a_in)
    return lifs, joints


@numba.njit(nogil=True)
def fire(u, v, acc, bias, fired, keep_u, keep_v):
    """A step of one population; how many fired, which are in ``fired``."""
    count = 0
    for i in range(u.size):
        u[i] = u[i] * keep_u + acc[i]
        v[i] = v[i] * keep_v + u[i] + bias[i]
        acc[i] = 0
        if v[i] > 1:
            v[i] = 0
            fired[count] = i
            count += 1
    return count


@numba.njit(nogil=True)
def deliver(acc, rows, fired, count):
    for c in range(count):
        row = rows[fired[c]]
        for i in range(acc.size):
            acc[i] += row[i]


@numba.njit(nogil=True, parallel=True)
def by_hand(steps, u, v, acc, bias, own, onward, fired, count, keep_u, keep_v):
    """``own``, ``onward``: weights by input of each population to itself and to the next."""
    pops = len(u)
    spikes = 0
    for _ in range(steps):
        for k in numba.prange(pops):
            count[k] = fire(u[k], v[k], acc[k], bias[k], fired[k], keep_u, keep_v)
        for k in numba.prange(pops):
            before = k - 1 if k else pops - 1
            deliver(acc[k], own[k], fired[k], count[k])
            deliver(acc[k], onward[before], fired[before], count[before])
        spikes += count.sum()
    return spikes


def hand_written(lifs, joints):
    pops, n = len(lifs), lifs[0].shape[0]
    zero = [np.zeros((pops, n), np.float32) for _ in range(3)]
    bias = np.stack([lif.bias_mant.get() for lif in lifs])
    own, onward = (np.stack([j[k].weights.get().T for j in joints]) for k in (0, 1))
    half, keep = np.float32(0.5), np.float32(1) - np.float32(0.015)
    fired, count = np.zeros((pops, n), np.int64), np.zeros(pops, np.int64)

    def run(steps: int, threads: int) -> int:
        numba.set_num_threads(threads)
        return by_hand(steps, *zero, bias, own, onward, fired, count, half, keep)

    return run


def in_turn(runs, seconds: float) -> dict[str, float]:
    """Seconds a step of each of ``runs``, the least of several turns."""
    steps, best = {}, dict.fromkeys(runs, np.inf)
    for name, run in runs.items():
        run(20)  # warms up: the activity settles
        n = 20
        while True:
            began = time.perf_counter()
            run(n)
            took = time.perf_counter() - began
            if took > seconds / TURNS / 4:
                break
            n *= 2
        steps[name] = max(1, int(n * seconds / TURNS / took))
    for _ in range(TURNS):
        for name, run in runs.items():
            began = time.perf_counter()
            run(steps[name])
            best[name] = min(best[name], (time.perf_counter() - began) / steps[name])
    return best


def against_hand(n: int, seconds: float) -> None:
    lifs, joints = ring(n)
    hand = hand_written(lifs, joints)
    pairs = {"l0": 0, "l1": 0, "l2": 1, "l3": 1}
    one, _ = ring(n)
    one[0].run(lv.RunSteps(1), lv.RunConfig())
    lifs[0].run(lv.RunSteps(1), lv.RunConfig(workers=2, partition=pairs))
    runs = {
        "by hand, one thread": lambda s: hand(s, 1),
        "by hand, two threads": lambda s: hand(s, 2),
        "one process": lambda s: one[0].run(lv.RunSteps(s)),
        "two workers": lambda s: lifs[0].run(lv.RunSteps(s)),
    }
    us = {name: 1e6 * s for name, s in in_turn(runs, seconds).items()}
    active = hand(100, 1) / (100 * POPULATIONS * n)
    usual, cutting.ACTIVE = cutting.ACTIVE, active
    made = cutting.cut(lifs[0].runtime.flat, 2, pairs)
    cutting.ACTIVE = usual
    said = {"one process": made.alone, "two workers": made.predicted}
    rows = [
        [name, f"{x:.1f}", f"{1e6 * said[name]:.1f}" if name in said else ""]
        for name, x in us.items()
    ]
    print(f"{POPULATIONS} x {n} neurons, {100 * active:.1f} % active\n")
    print(table(["", "us a step", "predicted"], rows))
    by_hand_gain = us["by hand, one thread"] / us["by hand, two threads"]
    gain = us["one process"] / us["two workers"]
    print(
        f"\nsecond thread by hand: {by_hand_gain:.2f} times as fast; second worker: {gain:.2f}; ratio {gain / by_hand_gain:.2f}\n"
    )
    lifs[0].stop()
    one[0].stop()


def meeting(rank: int, size: int, exchange_of):
    """A function that does so many exchanges of ``size`` bytes each way with another process, as a
    table of one row; ``exchange_of``: makes the exchange, of a layout and a wiring."""
    from lavalike.backends.numba import exchange, kernels
    from lavalike.backends.numba.kernels import Spec
    from lavalike.backends.numba.program import Op, kind_of

    made = pair(size)
    meets = exchange_of(wiring.Layout(made, 1), wiring.Wiring(made, rank))
    meets.begin(1)
    function, values = meets.row()
    values = [None, *values]
    names = function.__code__.co_varnames[: len(values)]
    kinds = [("t", 0) if v is None else kind_of(v) for v in values]
    spec = Spec(function, tuple(zip(names, kinds, strict=True)), returns=True)
    op = Op(spec, values, [False] * len(values), "")
    rows, where = np.array(op.row(1), np.int64), np.zeros(4, np.int64)
    block = kernels.engine_block(rows, where)
    walk = kernels.engine(block)

    def run(count: int, kept: Op = op) -> None:  # whose arrays the row points to
        first, last = 1, count
        while first <= last:
            block[3], block[4], where[3] = first, last - first + 1, first - 1
            if walk() == exchange.WAITED:
                meets.waited()
            first = int(where[3]) + 1

    return run


def pair(size: int):
    """Two shares that send each other ``size`` bytes a step."""
    lifs, _ = ring(size // 4, 2)
    return cutting.cut(flatten(lifs[0], lv.RunConfig(), get_backend), 2, {"l0": 0, "l1": 1})


def through(fd: int):
    from lavalike.runtime.shared import SharedExchange

    return lambda layout, wires: SharedExchange(layout, wires, fd)


def other(size: int, pipe, memory) -> None:
    """The second process of an exchange."""
    run = meeting(1, size, through(memory.detach()))
    pipe.send("ready")
    while pipe.recv():
        run(EXCHANGES)


def ranks() -> None:
    """One of two ranks, which exchange by MPI; rank 0 prints."""
    from mpi4py import MPI

    from lavalike.runtime.mpi import Exchange

    comm, rows = MPI.COMM_WORLD, []
    for k, size in enumerate(BYTES):
        run = meeting(comm.rank, size, lambda a, b, k=k: Exchange(a, b, comm, k + 1, [0]))
        best = np.inf
        for _ in range(TURNS):
            comm.Barrier()
            began = time.perf_counter()
            run(EXCHANGES // 4)
            best = min(best, (time.perf_counter() - began) / (EXCHANGES // 4))
        rows.append([f"{size:,}", f"{1e9 * best:.0f}"])
    if comm.rank == 0:
        print(table(["bytes each way", "ns an exchange by MPI"], rows), flush=True)


def by_mpi() -> None:
    launcher = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or "mpiexec"
    command = [launcher, "-n", "2", sys.executable, "-m", "benchmarks.workers", "--rank"]
    subprocess.run(command, check=True)


def exchanges() -> None:
    context = multiprocessing.get_context("spawn")
    rows = []
    for size in BYTES:
        fd = wiring.memory(wiring.Layout(pair(size), 1).size)
        ours, theirs = context.Pipe()
        child = context.Process(target=other, args=(size, theirs, Handed(fd)), daemon=True)
        child.start()
        run = meeting(0, size, through(fd))
        ours.recv()
        best = np.inf
        for _ in range(TURNS):
            ours.send(True)
            began = time.perf_counter()
            run(EXCHANGES)
            best = min(best, (time.perf_counter() - began) / EXCHANGES)
        ours.send(False)
        child.join()
        os.close(fd)
        rows.append([f"{size:,}", f"{1e9 * best:.0f}"])
    print(table(["bytes each way", "ns an exchange"], rows))


class Handed:
    """A descriptor for a process that is being spawned."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self):
        return _taken, (reduction.DupFd(self.fd),)


def _taken(handed):
    return handed


def starting() -> None:
    def interpreter() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST], check=True)
        return time.perf_counter() - began

    def pair() -> float:
        workers._end_idle()
        lifs, _ = ring(20)
        began = time.perf_counter()
        lifs[0].run(lv.RunSteps(1), lv.RunConfig(workers=2, partition={"l0": 0, "l2": 1}))
        took = time.perf_counter() - began
        lifs[0].stop()
        return took

    interpreter(), pair()  # whose kernels are in the cache from here on
    one = min(interpreter() for _ in range(TURNS))
    two = min(pair() for _ in range(TURNS))
    print(
        f"\nfirst step in an interpreter of its own {one:.2f} s, with two workers {two:.2f} s: {two / one:.2f} times"
    )


def paper() -> None:
    """What the model of cost says of a million neurons with a thousand synapses each on 16
    machines, none of which is here."""
    neurons, synapses, machines = 10**6, 10**9, 16
    entry = 4 + 4 + 1  # bytes: index, weight, delay
    wire, latency = 1e-10, 5e-6  # seconds a byte and a message of a network of 10 GB/s
    print(
        f"{neurons:,} neurons, {synapses:,} synapses of {entry} bytes on {machines} machines: "
        f"{synapses * entry / machines / 2**30:.2f} GiB each\n"
    )
    rows = []
    for active in (0.05, 0.005, 0.0005):
        compute = (
            cutting.NEURON * neurons + active * synapses * cutting.STORED
        ) / machines + cutting.SCANNED * neurons
        heard = 4 * neurons * (machines - 1) / machines
        swap = latency * (machines - 1) + wire * heard  # in every step: rows of tables do
        rows.append(
            [
                *(f"{100 * active:g} %", f"{1e6 * compute:,.0f}"),
                *(f"{1e6 * swap:,.0f}", f"{1e6 * (compute + swap):,.0f}"),
                f"{heard / 2**20:.2f}",
            ]
        )
    head = ["active", "compute us", "exchange us", "step us", "MiB heard"]
    print(table(head, rows))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--neurons", type=int, default=4000, help="of a population")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way")
    parser.add_argument(
        "--paper", action="store_true", help="only what the model says of 16 machines"
    )
    parser.add_argument("--mpi", action="store_true", help="only exchanges between two MPI ranks")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.paper or args.mpi or args.rank:
        (paper if args.paper else by_mpi if args.mpi else ranks)()
        return
    against_hand(args.neurons, args.seconds)
    exchanges()
    starting()


if __name__ == "__main__":
    main()
