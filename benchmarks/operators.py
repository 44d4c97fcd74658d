"""What torch.compile makes of networks: time of a training step, compiled over not, in turn.

    python -m benchmarks.operators [--backend inductor] [--repeat 20]

"sequence" calls each neuron once for all steps (one operator each), "steps" once a step (torch's
own operations), "slayer" is two cuba blocks with weight norm. Minima of ``--repeat`` steps in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lavalike import slayer, snn

BATCH, STEPS = 128, 25


class Sequence(nn.Module):
    """784-1000-10, (time, batch, 784)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(784, 1000), snn.Leaky(0.95, learn_beta=True)
        self.fc2, self.lif2 = nn.Linear(1000, 10), snn.Leaky(0.95, learn_beta=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.lif1.sequence(self.fc1(x))[0]["s_out"]
        return self.lif2.sequence(self.fc2(spikes), record=("mem",))[0]["mem"]


class Steps(Sequence):
    """The same, step by step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, out = None, None, []
        for now in x:
            spikes, a = self.lif1(self.fc1(now), a)
            _, b = self.lif2(self.fc2(spikes), b)
            out.append(b)
        return torch.stack(out)


def blocks() -> nn.Module:
    params = {"threshold": 1.25, "current_decay": 0.25, "voltage_decay": 0.03}
    cuba = slayer.block.cuba
    return nn.Sequential(
        cuba.Dense(params, 784, 512, weight_norm=True),
        cuba.Dense(params, 512, 10, weight_norm=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--repeat", type=int, default=20)
    args = parser.parse_args()
    rows: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
        "sequence": (Sequence, (torch.rand(STEPS, BATCH, 784) < 0.1).float()),
        "steps": (Steps, (torch.rand(5, BATCH, 784) < 0.1).float()),
        "slayer": (blocks, (torch.rand(BATCH, 784, STEPS) < 0.1).float()),
    }
    print(f"{'':10}{'plain ms':>10}{'compiled ms':>13}{'ratio':>8}{'first s':>9}")
    for name, (make, x) in rows.items():
        torch._dynamo.reset()
        net = make()
        compiled = torch.compile(net, backend=args.backend, fullgraph=True)
        began = time.perf_counter()
        times: dict[Any, list[float]] = {net: [], compiled: []}
        step(compiled, x)
        first = time.perf_counter() - began
        step(net, x)
        for _ in range(args.repeat):
            for f, taken in times.items():
                began = time.perf_counter()
                step(f, x)
                taken.append(time.perf_counter() - began)
        plain, fast = (min(t) * 1e3 for t in times.values())
        print(f"{name:10}{plain:10.1f}{fast:13.1f}{fast / plain:8.2f}{first:9.1f}")


def step(net: Any, x: torch.Tensor) -> None:
    net.zero_grad()
    net(x).sum().backward()


if __name__ == "__main__":
    main()
