"""Ends the workers of a graph in every way, at random steps, and counts what comes of it.

    python -m benchmarks.stress_workers [--times 100] [--seed 0]

raise: a model's step raises at a random step, in a random worker; the caller has to get that error,
and go on to the bits of one process. kill, hold: a worker gets SIGKILL or SIGSTOP at a random
moment; a WorkerError within a second, and no process is left. interrupt: the caller gets SIGINT;
all go on, to the bits of one process. parent: a process with workers gets SIGKILL; its workers end.
Each row counts what came of it as it should, what did not, and the longest wait.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

import lavalike as lv
from lavalike.proc import Dense
from lavalike.runtime import wiring
from lavalike.text import table

TWO = {"workers": 2, "partition": {"l0": 0, "l1": 1}}
PARENT = """
import lavalike as lv
from benchmarks.stress_workers import TWO, net
if __name__ == "__main__":
    a = net()[0]
    a.run(lv.RunSteps(1), lv.RunConfig(**TWO))
    print(*(h.pid for h in a.runtime.program.hands), flush=True)
    a.run(lv.RunSteps(10**9))
"""


class Leaky(lv.AbstractProcess):
    def __init__(self, name, n=20):
        super().__init__(name=name)
        self.a_in, self.s_out = lv.InPort((n,)), lv.OutPort((n,))
        self.v, self.at = lv.Var((n,), np.linspace(0, 1, n)), lv.Var((1,), 0, role="parameter")


@lv.implements(Leaky, backend="numba")
class LeakyModel(lv.NumbaModel):
    def step(a_in, s_out, v, at, t):
        for i in range(v.size):
            v[i] = 0.9 * v[i] + a_in[i] + 0.1
            s_out[i] = v[i] > 0.7
            v[i] -= 0.7 * s_out[i]
        if t == at[0]:
            raise ZeroDivisionError("asked for")


def net() -> tuple[Leaky, Leaky]:
    a, b = Leaky("l0"), Leaky("l1")
    g = np.random.default_rng(0)
    for k, (source, target) in enumerate(((a, b), (b, a), (a, a), (b, b))):
        joint = Dense(weights=g.normal(0, 0.1, (20, 20)), name=f"d{k}")
        source.s_out.connect(joint.s_in)
        joint.a_out.connect(target.a_in)
    return a, b


def as_one(pair: tuple[Leaky, Leaky]) -> bool:
    """Whether ``pair`` stands where one process would."""
    one = net()
    one[0].run(lv.RunSteps(pair[0].step))
    return all(np.array_equal(x.v.get(), y.v.get()) for x, y in zip(pair, one, strict=True))


def later(do: Callable[[], None], rng: random.Random) -> threading.Timer:
    timer = threading.Timer(rng.uniform(0.001, 0.1), do)
    timer.start()
    return timer


def raises(pair: tuple[Leaky, Leaky], rng: random.Random) -> bool:
    who, at = rng.choice(pair), pair[0].step + rng.randrange(1, 20_000)
    who.at.set(at)
    try:
        pair[0].run(lv.RunSteps(10**9))
    except ZeroDivisionError as e:
        right = pair[0].step == at - 1 and f"{who.name}, step {at}" in str(e)
    who.at.set(0)
    pair[0].stop()
    return right and as_one(pair)


def ends(sig: signal.Signals) -> Callable[[tuple[Leaky, Leaky], random.Random], bool]:
    def one(pair: tuple[Leaky, Leaky], rng: random.Random) -> bool:
        hands = pair[0].runtime.program.hands  # type: ignore[union-attr]
        hand, began = rng.choice(hands), []

        def strike() -> None:
            began.append(time.monotonic())
            os.kill(hand.pid, sig)

        timer = later(strike, rng)
        try:
            pair[0].run(lv.RunSteps(10**9))
        except lv.WorkerError:
            took = time.monotonic() - began[0]
        timer.join()
        pair[0].stop()
        return took < 1 and not any(h.process.is_alive() for h in hands)

    return one


def interrupts(pair: tuple[Leaky, Leaky], rng: random.Random) -> bool:
    timer = later(lambda: os.kill(os.getpid(), signal.SIGINT), rng)
    with contextlib.suppress(KeyboardInterrupt):
        pair[0].run(lv.RunSteps(10**9))
    timer.join()
    pair[0].run(lv.RunSteps(3))
    pair[0].stop()
    return as_one(pair)


def orphans(rng: random.Random) -> bool:
    child = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pids = [int(x) for x in child.stdout.readline().split()]
    time.sleep(rng.uniform(0.001, 0.1))
    child.kill()
    child.wait()
    limit = time.monotonic() + 1
    while any(wiring.state_of(p) not in "Z" for p in pids) and time.monotonic() < limit:
        time.sleep(0.01)
    child.stdout.close()
    return len(pids) == 2 and all(wiring.state_of(p) in "Z" for p in pids)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=100, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rng, rows = random.Random(args.seed), []
    kinds = {
        "raise": raises,
        "kill": ends(signal.SIGKILL),
        "hold": ends(signal.SIGSTOP),
        "interrupt": interrupts,
        "parent": None,
    }
    for name, kind in kinds.items():
        right, longest = 0, 0.0
        for _ in range(args.times):
            pair = net()
            if kind is not None:
                pair[0].run(lv.RunSteps(1), lv.RunConfig(**TWO))
            began = time.monotonic()
            right += orphans(rng) if kind is None else kind(pair, rng)
            longest = max(longest, time.monotonic() - began)
        rows.append([name, str(right), str(args.times - right), f"{longest:.2f}"])
        print(f"{name}: {right} of {args.times}", flush=True)
    print("\n" + table(["", "as it should", "not", "longest s"], rows))
    left = [p for p in multiprocessing.active_children() if p.name == "lavalike-worker"]
    print(f"\nworkers that wait for another graph: {len(left)}")


if __name__ == "__main__":
    main()
