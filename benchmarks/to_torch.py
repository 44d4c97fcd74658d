"""Forward and backward of a LIF in a graph, as ``to_torch`` runs it, against the fused loop alone,
like with like.

    python -m benchmarks.to_torch [--rounds 30]

T steps of (batch, neurons) in float32, forward and backward, on one thread, in turns; minima and
their ratios are printed. Both train a bias for each neuron. A graph takes and returns (batch,
neurons, time). "time last" are tensors that lie so in memory, "time-major" views of tensors that
lie (time, batch, neurons), as loops want them: where time lies last, the loop turns tiles of them
in registers, whoever calls it. Each ratio is that of the graph to ``fused.scan`` on the same
memory; "last/major" is what the layout costs the loop alone.
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
    """Seconds of the loop alone, time-major and time last, and of the graph likewise."""
    torch.manual_seed(0)
    rows = torch.randn(steps, batch, neurons) * 0.5 + 0.1
    there = torch.randn_like(rows)
    module = lv.to_torch(LIF(shape=(neurons,), du=0.3, dv=0.1, vth=1.0, bias_mant=0.05))
    training = fused.Training(exponential(), "detach", relative=True)
    bias = torch.full((neurons,), 0.05, requires_grad=True)
    constants = {
        "keep_u": torch.tensor([0.7]),
        "keep_v": torch.tensor([0.9]),
        "gain": 1.0,
        "bias": bias,
        "vth": torch.tensor([1.0]),
    }

    def alone(x: torch.Tensor, gradient: torch.Tensor) -> None:
        fused.scan(lif.LIF, training, {"a_in": x}, constants).outputs["s_out"].backward(gradient)
        x.grad = bias.grad = None

    def graph(x: torch.Tensor, gradient: torch.Tensor) -> None:
        module(x).backward(gradient)
        x.grad = None
        module.zero_grad()

    def leaf(x: torch.Tensor) -> torch.Tensor:
        return x.detach().requires_grad_()

    last, last_there = (v.movedim(0, -1).contiguous() for v in (rows, there))
    xs = [leaf(x) for x in (rows, last.movedim(-1, 0), rows.movedim(0, -1), last)]
    calls = [
        lambda: alone(xs[0], there),
        lambda: alone(xs[1], last_there.movedim(-1, 0)),
        lambda: graph(xs[2], there.movedim(0, -1)),
        lambda: graph(xs[3], last_there),
    ]
    return seconds(calls, rounds)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines = []
    for batch, neurons in ((1, 100), (32, 128), (32, 1024)):
        major, last, of_major, of_last = measured(batch, neurons, 128, args.rounds)
        ratios = (of_major / major, of_last / last, last / major)
        lines.append((batch, neurons, f"{1e3 * major:.3f}", *(f"{r:.2f}" for r in ratios)))
    print(table(("batch", "neurons", "scan ms", "time-major", "time last", "last/major"), lines))


if __name__ == "__main__":
    main()
