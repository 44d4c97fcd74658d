"""Seconds from a cold interpreter: ``import lavalike``, and to the first step of a network never
seen before.

    python -m benchmarks.coldstart

Whole processes, timed from outside, medians of several; the kernel cache is warmed by a first run
with another network. An interpreter that does nothing is timed beside them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from lavalike.text import table

NETWORK = """
import sys, numpy as np, lavalike as lv
from lavalike.proc import LIF, Dense
n = int(sys.argv[1])
lif, dense = LIF(shape=(n,), du=.1, dv=.1, vth=1.0, bias_mant=.5), Dense(weights=np.random.rand(n, n))
lif.s_out.connect(dense.s_in); dense.a_out.connect(lif.a_in)
lif.run(lv.RunSteps(1))
"""
PROGRAMS = {
    "python, nothing": "pass",
    "import numpy": "import numpy",
    "import lavalike": "import lavalike",
    "first step, warm cache": NETWORK,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "LAVALIKE_CACHE": cache}
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", NETWORK, "3"], env=env, check=True)
        cold = time.perf_counter() - began
        times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        for k in range(args.repeats):
            for name, program in PROGRAMS.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", program, str(10 + k)], env=env, check=True)
                times[name].append(time.perf_counter() - began)
    rows = [[name, f"{np.median(t):.3f}"] for name, t in times.items()]
    print(
        table(
            ["process", "seconds"],
            [*rows, ["first step, empty cache (once a machine)", f"{cold:.3f}"]],
        )
    )


if __name__ == "__main__":
    main()
