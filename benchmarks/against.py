"""PilotNet and batches of convolutions, against another checkout of lavalike.

    python -m benchmarks.against CHECKOUT [--repeats 20]

For instance ``git worktree add ../former 0.4.0`` and its path. An interpreter each, one thread, in
turns; the fastest of each counts. A time is that of a long simulation less that of a short one, so
that nothing of compiling and starting is in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.pilotnet import DEFAULT
from lavalike.text import table

CHILD = """
import sys, time, warnings
import numpy as np, lavalike as lv, netx
from lavalike.proc import Conv, SigmaDelta, LIF
g = np.random.default_rng(0)
runs = {}

def add(name, process, port, made, config):
    def one(steps):
        began = time.perf_counter()
        lv.simulate(process, {port: made[..., :steps]}, config=config)
        return time.perf_counter() - began
    long, short = made.shape[-1], made.shape[-1] // 4
    one(short)
    runs[name] = lambda: (one(long) - one(short)) / (long - short)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    if sys.argv[1]:
        net = netx.hdf5.Network(sys.argv[1])
        frames = np.repeat(g.random((*net.inp.shape[::-1], 40)), 4, axis=-1)  # a quarter of the frames is new
        x = net.encode(frames) if frames.shape[:3] == (3, 33, 100) else net.encode(frames.transpose(1, 2, 0, 3))
        add("PilotNet, one", net, "inp", x, lv.RunConfig(precision="fixed_pt"))
    for precision in ("floating_pt", "fixed_pt"):
        for batch in (1, 16):
            conv = Conv(weight=g.integers(-8, 8, (16, 3, 3, 8)) * 2, input_shape=(32, 32, 8), padding=1)
            spikes = (g.random((batch, 32, 32, 8, 80)) < 0.05).astype(int)
            add(f"Conv {precision}, batch {batch}", conv, "s_in", spikes, lv.RunConfig(precision=precision, threads=1))
print("|".join(runs), flush=True)
for line in sys.stdin:
    print(runs[line.strip()](), flush=True)
"""


def child(checkout: Path, net: str) -> tuple[subprocess.Popen[str], list[str]]:
    """An interpreter of ``checkout``, and what it can time."""
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    made = subprocess.Popen(
        [sys.executable, "-c", CHILD, net],
        cwd=checkout,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert made.stdout is not None
    names = made.stdout.readline().strip()
    if not names:
        raise SystemExit(f"{checkout}: its interpreter ended; what it says stands above")
    return made, names.split("|")


def seconds(made: subprocess.Popen[str], name: str) -> float:
    assert made.stdin is not None
    assert made.stdout is not None
    print(name, file=made.stdin, flush=True)
    return float(made.stdout.readline())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--net", type=Path, default=DEFAULT, help="a PilotNet SDNN file")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args(argv)
    net = str(args.net.resolve()) if args.net.exists() else ""
    if not net:
        print(f"{args.net.name} is not there: convolutions only")
    (here, names), (there, _) = (
        child(path, net)
        for path in (Path(__file__).resolve().parent.parent, args.checkout.resolve())
    )
    best = {name: [float("inf"), float("inf")] for name in names}
    for _ in range(args.repeats):
        for name, pair in best.items():
            for k, made in enumerate((here, there)):
                pair[k] = min(pair[k], seconds(made, name))
    rows = [
        [name, f"{a * 1e6:.1f}", f"{b * 1e6:.1f}", f"{a / b:.2f}"] for name, (a, b) in best.items()
    ]
    print(table(["", "here us a step", "there us a step", "ratio"], rows))
    for made in (here, there):
        assert made.stdin is not None
        made.stdin.close()
        made.wait()


if __name__ == "__main__":
    main()
