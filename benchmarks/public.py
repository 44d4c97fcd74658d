"""The benchmark that neuromorphic libraries publish: one linear layer of n inputs and n outputs and
one layer of LIF neurons, batch 16, 500 steps; forward and backward, milliseconds and peak memory.

    python -m benchmarks.public [--sizes 512 2048] [--device cpu] [--threads 1] [--rounds 5]

Published tables have n = 512, 4096, 8192 and 16384, on a GPU; on a CPU the largest take minutes a
round. One input in ten is a spike. Peers that are installed take part (``pip install snntorch norse
spikingjelly sinabs``; on a GPU SpikingJelly by its Triton backend, and by CuPy where that is
installed), and the loop in plain torch. Ours is there as a library neuron, and as one that a user
writes in eight lines.

Every way runs in an interpreter of its own, in turns; medians. Memory is the peak of the process
in its first pass, forward and backward, beyond what it had before, which is the libraries, the
weights and the input (CPU: the process's resident memory; GPU: torch's allocator). A library that
refuses is said to. No GPU has run it yet.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lavalike.text import table

BATCH, STEPS, BETA = 16, 500, 0.9
WAYS = {
    "lavalike": None,
    "lavalike, own neuron": None,
    "torch loop": None,
    "snnTorch": "snntorch",
    "Norse": "norse",
    "SpikingJelly": "spikingjelly",
    "SpikingJelly, CuPy": "cupy",
    "Sinabs": "sinabs",
}


def network(way: str, n: int, device: str) -> Callable[[Any], Any]:
    """A function of spikes (steps, batch, n), to spikes of that shape; and its module."""
    import torch
    from torch import nn

    from lavalike import fused, snn
    from lavalike.dynamics import Dynamics
    from lavalike.dynamics.ops import above
    from lavalike.fused.products import linear

    fc = nn.Linear(n, n, bias=False, device=device)
    with torch.no_grad():
        fc.weight.copy_(torch.randn(n, n, generator=torch.Generator().manual_seed(0)) / n**0.5)

    def step_by_step(cell: Any, gain: float = 1.0) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            state, out = None, []
            for z in x.unbind(0):
                spikes, state = cell(fc(z) * gain if gain != 1 else fc(z), state)
                out.append(spikes)
            return torch.stack(out)

        return run

    if way == "lavalike":
        lif = snn.Leaky(BETA).to(device)
        return lambda x: lif.sequence(linear(x.flatten(0, 1), fc.weight).view(*x.shape))[0]["s_out"]
    if way == "lavalike, own neuron":

        def leaky(a_in, v, beta, vth):
            v = beta * v + a_in
            s_out = above(v, vth)
            return s_out, v - s_out * vth

        own = Dynamics(leaky, ("a_in",), ("s_out",), ("v",))
        training = fused.Training(snn.surrogate.atan(), "detach")

        def scanned(x: Any) -> Any:
            current = linear(x.flatten(0, 1), fc.weight).view(*x.shape)
            return fused.scan(own, training, {"a_in": current}, {"beta": BETA, "vth": 1.0}).outputs[
                "s_out"
            ]

        return scanned
    if way == "torch loop":
        atan = snn.surrogate.atan()

        def cell(current: Any, v: Any) -> Any:
            v = current if v is None else BETA * v + current
            spikes = atan(v - 1)
            return spikes, v - spikes.detach()

        return step_by_step(cell)
    if way == "snnTorch":
        import snntorch

        neuron: Any = snntorch.Leaky(BETA).to(device)
        return step_by_step(
            lambda z, s: neuron(z, neuron.init_leaky().to(device) if s is None else s)
        )
    if way == "Norse":
        from norse.torch.module.lif_box import LIFBoxCell, LIFBoxParameters

        neuron = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(100.0))).to(device)
        return step_by_step(neuron, 10.0)
    if way.startswith("SpikingJelly"):
        from spikingjelly.activation_based import functional, neuron as neurons

        on = "torch" if device == "cpu" else "cupy" if "CuPy" in way else "triton"
        kind = {"tau": 1 / (1 - BETA), "decay_input": False, "v_reset": None, "detach_reset": True}
        jelly: Any = neurons.LIFNode(**kind, step_mode="m").to(device)
        jelly.backend = on

        def multi(x: Any) -> Any:
            functional.reset_net(jelly)
            return jelly(fc(x))

        return multi
    import sinabs.layers

    layer: Any = sinabs.layers.LIF(tau_mem=-1 / torch.log(torch.tensor(BETA)), norm_input=False)
    layer = layer.to(device)

    def batch_first(x: Any) -> Any:
        layer.reset_states()
        return layer(fc(x.movedim(0, 1))).movedim(1, 0)

    return batch_first


# -- a process of its own --------------------------------------------------------------------------


def resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak(threading.Thread):
    """The most resident memory while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.on = resident(), True
        self.start()

    def run(self) -> None:
        while self.on:
            self.most = max(self.most, resident())
            time.sleep(0.002)

    def end(self) -> int:
        self.on = False
        self.join()
        return self.most


def child(way: str, n: int, device: str, threads: int) -> None:
    """Reads lines: each is a round, whose milliseconds are printed; an empty one ends it."""
    import torch

    torch.set_num_threads(threads)
    try:
        few = (torch.rand(8, 2, 64) < 0.1).float().to(device)
        network(way, 64, device)(few).sum().backward()  # loads and compiles what there is
        pass_ = network(way, n, device)
        generator = torch.Generator().manual_seed(1)
        x = (torch.rand(STEPS, BATCH, n, generator=generator) < 0.1).float().to(device)
        gpu = device != "cpu"
        if gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before, peak = torch.cuda.memory_allocated(), None
        else:
            before, peak = resident(), Peak()

        def once() -> tuple[float, float, float]:
            marks = []

            def mark() -> None:
                if gpu:
                    torch.cuda.synchronize()
                marks.append(time.perf_counter())

            mark()
            out = pass_(x)
            mark()
            out.sum().backward()
            mark()
            rate = float(out.detach().mean())
            return 1e3 * (marks[1] - marks[0]), 1e3 * (marks[2] - marks[1]), rate

        once()
        used = (torch.cuda.max_memory_allocated() if peak is None else peak.end()) - before
        once()
    except Exception as e:  # whatever a peer raises: it takes no part
        print(json.dumps({"refused": f"{type(e).__name__}: {e}"[:300]}), flush=True)
        return
    print(json.dumps({"peak": used}), flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        print(json.dumps(once()), flush=True)


# -- all of them -----------------------------------------------------------------------------------


def measure(n: int, device: str, threads: int, rounds: int) -> list[list[str]]:
    rows, running, peaks = [], {}, {}
    for way, needs in WAYS.items():
        if needs is not None and importlib.util.find_spec(needs) is None:
            continue
        if "CuPy" in way and device == "cpu":
            continue
        command = [sys.executable, "-m", "benchmarks.public", "--child", way, "--sizes", str(n)]
        made = subprocess.Popen(
            [*command, "--device", device, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        said = json.loads(made.stdout.readline() or '{"refused": "its process ended"}')
        if "refused" in said:
            rows.append([str(n), way, "refused", said["refused"][:60], "", "", ""])
            made.communicate()
            continue
        running[way], peaks[way] = made, said["peak"]
    took: dict[str, list[Any]] = {way: [] for way in running}
    for _ in range(rounds):
        for way, made in running.items():
            made.stdin.write("once\n")
            made.stdin.flush()
            took[way].append(json.loads(made.stdout.readline()))
    whole = {w: statistics.median(a + b for a, b, _ in x) for w, x in took.items()}
    for way, made in running.items():
        made.communicate("\n")
        forward, backward = (statistics.median(x[k] for x in took[way]) for k in (0, 1))
        rows.append(
            [
                *(str(n), way, f"{forward:.1f}", f"{backward:.1f}"),
                *(f"{whole[way] / whole['lavalike']:.2f}", f"{peaks[way] / 2**20:.0f}"),
                f"{100 * took[way][0][2]:.1f} %",
            ]
        )
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        child(args.child, args.sizes[0], args.device, args.threads)
        return
    rows = []
    for n in args.sizes:
        rows += measure(n, args.device, args.threads, args.rounds)
    head = ["n", "", "forward ms", "backward ms", "of lavalike's", "peak MiB", "spikes"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
