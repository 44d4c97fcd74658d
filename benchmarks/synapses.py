"""Many synapses with delays, built from a rule, run and recorded: seconds, and memory against the
bytes that they need.

    python -m benchmarks.synapses [--neurons 1000000] [--each 100] [--kind float|int8]

A population of LIF neurons, each with ``--each`` synapses back onto it, delays of 0 to 15 steps a
byte each, weights of 4 bytes (floating_pt) or of one (fixed_pt). What they need: weights, delays, 4
bytes for the output of each, where each input's begin, and the ring of what is under way. The peak
is what the process took at most beyond what it had taken for a small network of the same kind.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

import lavalike as lv
from lavalike.proc import LIF, DelaySparse, RandomSynapses, Recorder

DELAYS = 16


def peak() -> int:
    """The most memory that this process had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def network(neurons: int, each: int, fixed: bool) -> tuple[LIF, DelaySparse]:
    """A population and its synapses back onto it."""
    weight = 1 if fixed else 0.01
    rule = RandomSynapses(
        (neurons, neurons),
        per_input=each,
        data=(lambda rng, n: rng.integers(1, 3, n, dtype=np.int8))
        if fixed
        else (lambda rng, n: rng.random(n, dtype=np.float32) * np.float32(weight)),
        delays=lambda rng, n: rng.integers(0, DELAYS, n, dtype=np.uint8),
    )
    g = np.random.default_rng(0)
    bias = g.integers(0, 40, neurons) if fixed else g.random(neurons, dtype=np.float32)
    lif = LIF(
        shape=(neurons,), bias_mant=bias, vth=400 if fixed else 10, dv=200 if fixed else 0.05, du=0
    )
    synapses = DelaySparse(chunks=rule, shape=(neurons, neurons))
    lif.s_out.connect(synapses.s_in)
    synapses.a_out.connect(lif.a_in)
    return lif, synapses


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--neurons", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--kind", choices=("float", "int8"), default="float")
    args = parser.parse_args(argv)
    fixed = args.kind == "int8"
    config = lv.RunConfig(precision="fixed_pt" if fixed else "floating_pt")
    small, _ = network(DELAYS, 10, fixed)
    small.run(lv.RunSteps(5), config)  # what is compiled, is
    small.stop()
    before, began = peak(), time.perf_counter()
    lif, synapses = network(args.neurons, args.each, fixed)
    held = (synapses.weights.value, synapses.delays.value, synapses.rows, synapses.start)
    need = sum(a.nbytes for a in held if a is not None) + args.neurons * DELAYS * 4
    print(
        f"{args.neurons} neurons, {synapses.weights.size} synapses: {need / 2**20:.0f} MiB needed"
    )

    def tell(what: str, steps: int = 1) -> None:
        nonlocal began
        took = (time.perf_counter() - began) / steps
        print(f"{what:28} {took:8.3f} s, peak {(peak() - before) / need:.2f} of what they need")
        began = time.perf_counter()

    tell("built")
    lif.run(lv.RunSteps(1), config)
    tell("compiled, and the first step")
    lif.run(lv.RunSteps(20), config)
    tell("a step of the next 20", 20)
    recorder = Recorder()
    recorder.add(lif.s_out, packed=True)
    lif.run(lv.RunSteps(20), config)
    tell("a step of 20, recorded", 20)
    share = recorder[lif.s_out].mean()
    print(f"{share:.2%} of the neurons spiked in a step")


if __name__ == "__main__":
    main()
