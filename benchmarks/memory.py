"""Memory of a training over many steps: 100-256-10 leaky neurons, one forward and backward.

    python -m benchmarks.memory [--steps 500 1000 2000] [--batch 32] [--stretch 50]

Each case is a process of its own; printed is how far its resident memory rose over what it had
after a training of 20 steps (libraries and kernels loaded), in MiB, at its highest, and seconds.
"loop" is the step style with the graph of all steps, "folded" the same in fused loops
(neuron.sequence), "eventprop" that with CUBA neurons and gradients by times, "stretches" it within
fused.in_stretches, "eprop" and "online" are snn.Online, which learn from each step's loss. The
inputs, of which all but the last two have those of all steps, are counted in all cases.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lavalike import fused, snn
from lavalike.text import table

SIZES = (100, 256, 10)
CASES = ("loop", "folded", "eventprop", "stretches", "eprop", "online")
LOOSE = {"reset_grad": "slayer"}


def _layers(case: str) -> list[Any]:
    made = []
    for a, b in itertools.pairwise(SIZES):
        reset = "zero" if b != SIZES[-1] else "none"  # the last one's voltages are read
        if case == "eventprop":
            more = {"reset_delay": False, "gradient": "eventprop"}
            neuron: Any = snn.Synaptic(0.8, 0.9, reset_mechanism=reset, **more)
        else:
            neuron = snn.Leaky(0.9, reset_mechanism=reset, **LOOSE)
        made.append((nn.Linear(a, b), neuron))
    return made


def prepared(case: str, stretch: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A training step of an input (time, batch, 100): forward, the mean square of the last
    voltages, backward."""
    torch.manual_seed(0)
    layers = _layers(case)
    if case in ("eprop", "online"):
        first, last = (snn.Online(*layer, case) for layer in layers)

        def online(x: torch.Tensor) -> torch.Tensor:
            first.reset()
            last.reset()
            total = torch.zeros(())
            for now in x:
                loss = last(first(now)[0])[1].square().mean() / len(x)
                loss.backward()
                total += loss.detach()
            return total

        return online

    (fc1, one), (fc2, two) = layers

    def sequence(x: torch.Tensor, states: Any) -> Any:
        out, a = one.sequence(fc1(x), *states[0])
        out, b = two.sequence(fc2(out["s_out"]), *states[1], record=("mem",))
        return out["mem"], (a, b)

    def trained(x: torch.Tensor) -> torch.Tensor:
        if case == "loop":
            states, rows = [(), ()], []
            for now in x:
                s, *states[0] = one(fc1(now), *states[0])
                _, *states[1] = two(fc2(s), *states[1])
                rows.append(states[1][-1])
            mem = torch.stack(rows)
        elif case == "stretches":
            mem, _ = fused.in_stretches(sequence, x, ((), ()), steps=stretch)
        else:
            mem, _ = sequence(x, ((), ()))
        loss = mem.square().mean()
        loss.backward()
        return loss.detach()

    return trained


def peak() -> float:
    """MiB that this process had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def _measure(case: str, steps: int, batch: int, stretch: int, out: Any) -> None:
    torch.set_num_threads(1)
    step = prepared(case, stretch)
    step((torch.rand(20, batch, SIZES[0]) < 0.1).float())
    before, began = peak(), time.perf_counter()
    loss = step((torch.rand(steps, batch, SIZES[0]) < 0.1).float())
    out.put((peak() - before, time.perf_counter() - began, float(loss)))


def measured(case: str, steps: int, batch: int, stretch: int) -> tuple[float, float, float]:
    """(MiB, seconds, loss) in a process of its own."""
    context = multiprocessing.get_context("spawn")
    out = context.SimpleQueue()
    worker = context.Process(target=_measure, args=(case, steps, batch, stretch, out))
    worker.start()
    worker.join()
    if worker.exitcode:
        raise RuntimeError(f"{case}, {steps} steps: the process ended with {worker.exitcode}")
    found: tuple[float, float, float] = out.get()
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--stretch", type=int, default=50)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args(argv)
    rows = []
    for case in args.cases:
        made = [measured(case, n, args.batch, args.stretch) for n in args.steps]
        rows.append([case, *(f"{m[0]:.0f}" for m in made), f"{made[-1][1]:.1f}"])
        print(f"{case}: {made[-1][0]:.0f} MiB, {made[-1][1]:.1f} s", flush=True)
    head = ["", *(f"T = {n} [MiB]" for n in args.steps), f"T = {args.steps[-1]} [s]"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
