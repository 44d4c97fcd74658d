"""Forward and backward of a LIF in a graph, as ``to_torch`` runs it, against the fused loop alone: their ratio in one process.

    python -m benchmarks.to_torch [--rounds 30]

T steps of (batch, neurons) in float32, forward and backward, on one thread, both in turns; minima and their ratio are printed. The loop
alone is given time-major tensors, as it works on them. A graph takes and returns (batch, neurons, time): "as given" are tensors that lie
so in memory, which are transposed on the way in and whose gradient is on the way back; "time-major" are views of time-major ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

import lavalike as lv
from lavalike import fused
from lavalike.dynamics import lif
from lavalike.fused.surrogate import exponential
from lavalike.proc import LIF
from lavalike.text import table


def seconds(calls: list[Callable[[], None]], rounds: int) -> list[float]:
    """The quickest run of each, all in turns."""
    best = [float("inf")] * len(calls)
    for k in range(rounds + 3):
        for j, call in enumerate(calls):
            start = time.perf_counter()
            call()
            if k >= 3:
                best[j] = min(best[j], time.perf_counter() - start)
    return best


def measured(batch: int, neurons: int, steps: int, rounds: int) -> list[float]:
    """Seconds of the loop alone, of the graph as given, of the graph time-major."""
    torch.manual_seed(0)
    rows = torch.randn(steps, batch, neurons) * 0.5 + 0.1
    there = torch.randn_like(rows)
    module = lv.to_torch(LIF(shape=(neurons,), du=0.3, dv=0.1, vth=1.0, bias_mant=0.05))
    training = fused.Training(exponential(), "detach", relative=True)
    bias = torch.tensor([0.05], requires_grad=True)
    constants = {
        "keep_u": torch.tensor([0.7]),
        "keep_v": torch.tensor([0.9]),
        "gain": 1.0,
        "bias": bias,
        "vth": torch.tensor([1.0]),
    }

    x = rows.clone().requires_grad_()

    def alone() -> None:
        fused.scan(lif.LIF, training, {"a_in": x}, constants).outputs["s_out"].backward(there)
        x.grad = bias.grad = None

    def graph(x: torch.Tensor, gradient: torch.Tensor) -> None:
        module(x).backward(gradient)
        x.grad = None
        module.zero_grad()

    last, last_there = (v.movedim(0, -1) for v in (rows, there))
    given = last.contiguous().requires_grad_(), last_there.contiguous()
    major = last.detach().requires_grad_(), last_there
    return seconds([alone, lambda: graph(*given), lambda: graph(*major)], rounds)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = []
    for batch, neurons in ((1, 100), (32, 128), (32, 1024)):
        alone, given, major = measured(batch, neurons, 128, args.rounds)
        lines.append(
            (batch, neurons, f"{1e3 * alone:.3f}", f"{given / alone:.2f}", f"{major / alone:.2f}")
        )
    print(table(("batch", "neurons", "scan ms", "as given", "time-major"), lines))


if __name__ == "__main__":
    main()
