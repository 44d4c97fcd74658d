"""Microseconds a step of a recurrent LIF-Dense network, against a hand-written event-driven loop of
the same network.

    python -m benchmarks.recurrent [--seconds 1]

The network: N LIF neurons with a bias each, all-to-all connected through Dense, 2-5 % of them
spiking per step. The hand-written loop is what a careful programmer would write for just this
network: one compiled function, weights input-major, one row added per spike. Both run on one
thread, in turn, several times; medians are printed. What must move: a spike reads one row of N
weights and updates N accumulators, so a step moves about (itemsize + 8) * N * spikes bytes, which
is printed as GB/s.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.proc import LIF, Dense
from lavalike.runtime.engine import compiled
from lavalike.text import table


@numba.njit(nogil=True)
def loop_float(steps, u, v, acc, bias, rows, keep_u, keep_v, vth):
    n, spikes = u.size, 0
    fired = np.empty(n, np.int64)
    for _ in range(steps):
        count = 0
        for i in range(n):
            u[i] = u[i] * keep_u + acc[i]
            v[i] = v[i] * keep_v + u[i] + bias[i]
            acc[i] = 0
            if v[i] > vth:
                v[i] = 0
                fired[count] = i
                count += 1
        for k in range(count):
            row = rows[fired[k]]
            for i in range(n):
                acc[i] += row[i]
        spikes += count
    return spikes


@numba.njit(nogil=True)
def loop_int8(steps, u, v, acc, bias, rows, keep_u, keep_v, vth):
    n, spikes = u.size, 0
    fired = np.empty(n, np.int64)
    for _ in range(steps):
        count = 0
        for i in range(n):
            p = np.int64(u[i]) * keep_u
            x = ((p + ((p >> 63) & 4095)) >> 12) + (np.int64(acc[i]) << 7)
            u[i] = x
            p = np.int64(v[i]) * keep_v
            y = ((p + ((p >> 63) & 4095)) >> 12) + x + bias[i]
            acc[i] = 0
            if y > vth:
                y = 0
                fired[count] = i
                count += 1
            v[i] = y
        for k in range(count):
            row = rows[fired[k]]
            for i in range(n):
                acc[i] += row[i]
        spikes += count
    return spikes


def network(n: int, fixed: bool, seed: int = 0) -> tuple[LIF, Dense]:
    """A network whose activity settles at a few per cent: drive by bias, weights balanced."""
    g = np.random.default_rng(seed)
    period = g.uniform(15, 60, n)
    if fixed:
        weights = 2 * g.integers(-16, 17, (n, n))
        lif = LIF(
            shape=(n,),
            du=2047,
            dv=64,
            vth=4000,
            bias_mant=(4000 * 64 / period + 4000).astype(int),
            bias_exp=0,
        )
    else:
        weights = (g.normal(size=(n, n)) * 0.02 / np.sqrt(n / 100)).astype(np.float32)
        lif = LIF(
            shape=(n,), du=0.5, dv=0.015, vth=1.0, bias_mant=(1 / period + 0.015).astype(np.float32)
        )
    dense = Dense(weights=weights)
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif, dense


def program(lif: LIF, config: lv.RunConfig, batch: int = 1):
    return compiled(flatten(lif, config, get_backend), batch, [], get_backend)


def stepper(made):
    """A function that runs steps of a compiled program."""
    return lambda steps: made.run(steps, {}, {})


def scatter(batched, lif: LIF) -> None:
    """Samples of a batch begin with other voltages, or all would spike alike and share every
    row."""
    g = np.random.default_rng(1)
    (program,) = batched.programs
    for share in getattr(program, "parts", [program]):
        v = share.states[share.part.node_of(lif)]["v"]
        v[...] = g.uniform(0, float(lif.vth.get()[0]) * (64 if v.dtype == np.int32 else 1), v.shape)


def hand_written(lif: LIF, dense: Dense, fixed: bool):
    """A function that runs steps of the hand-written loop and returns the number of spikes."""
    n = lif.shape[0]
    w = dense.weights.get()
    if fixed:
        state = [np.zeros(n, np.int32) for _ in range(3)]
        constants = (
            lif.bias_mant.get().astype(np.int32),
            np.ascontiguousarray(w.T // 2, np.int8),
            4095 - 2047,
            4096 - 64,
            4000 * 64,
        )
        return lambda steps: loop_int8(steps, *state, *constants)
    state = [np.zeros(n, np.float32) for _ in range(3)]
    one = np.float32(1)
    constants = (
        lif.bias_mant.get(),
        np.ascontiguousarray(w.T),
        one - np.float32(0.5),
        one - np.float32(0.015),
        one,
    )
    return lambda steps: loop_float(steps, *state, *constants)


def measure(run, seconds: float) -> float:
    """Seconds a step: as many steps as fit."""
    steps = 10
    while True:
        began = time.perf_counter()
        run(steps)
        took = time.perf_counter() - began
        if took > seconds:
            return took / steps
        steps = int(steps * max(2, min(10, 1.2 * seconds / max(took, 1e-6))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="per measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 4000])
    args = parser.parse_args(argv)
    rows = []
    for fixed in (False, True):
        config = lv.RunConfig(precision="fixed_pt" if fixed else "floating_pt")
        for n in args.sizes:
            lif, dense = network(n, fixed)
            hand, ours = hand_written(lif, dense, fixed), stepper(program(lif, config))
            many = program(lif, config, 64)
            scatter(many, lif)
            batched = stepper(many)
            spikes = hand(1000) / 1000
            ours(1000)
            batched(200)
            times = [
                (
                    measure(hand, args.seconds),
                    measure(ours, args.seconds),
                    measure(batched, args.seconds) / 64,
                )
                for _ in range(args.repeats)
            ]
            h, o, b = (float(np.median(x)) for x in zip(*times, strict=True))
            ratio = float(np.median([x[1] / x[0] for x in times]))
            gain = float(np.median([x[1] / x[2] for x in times]))
            moved = ((1 if fixed else 4) + 8) * n * spikes
            rows.append(
                [
                    config.precision,
                    str(n),
                    f"{100 * spikes / n:.1f} %",
                    f"{h * 1e6:.2f}",
                    f"{o * 1e6:.2f}",
                    f"{ratio:.2f}",
                    f"{b * 1e6:.2f}",
                    f"{gain:.2f}",
                    f"{moved / o / 1e9:.1f}",
                ]
            )
    print(
        table(
            [
                "precision",
                "neurons",
                "active",
                "hand us",
                "lavalike us",
                "ratio",
                "batch 64 us/sample",
                "gain",
                "GB/s",
            ],
            rows,
        )
    )


if __name__ == "__main__":
    main()
