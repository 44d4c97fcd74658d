"""MNIST, trained alone or over several processes with the same file.

    python -m benchmarks.mnist_train [--net slayer|snn] [--data mnist.npz] [--epochs 4]
    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.mnist_train --checkpoint run.pt

slayer: CUBA blocks by the Assistant; snn: a loop of Leaky neurons in snnTorch's words, folded by
accelerate. With --double the losses of both ways are equal to 1e-6. With --checkpoint it is written
after each epoch, and a run with the same file goes on from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lavalike import slayer, snn
from lavalike.datasets import MNIST, mnist_sample

STEPS, HIDDEN = 12, 128


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        neuron = {
            "threshold": 1.0,
            "current_decay": 0.5,
            "voltage_decay": 0.1,
            "tau_grad": 0.1,
            "scale_grad": 3,
            "norm": slayer.neuron.norm.MeanOnlyBatchNorm,
        }
        dense = slayer.block.cuba.Dense
        self.blocks = nn.ModuleList(
            [dense(neuron, a, b, weight_scale=2) for a, b in ((784, HIDDEN), (HIDDEN, 10))]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[..., None].expand(-1, -1, STEPS)
        for block in self.blocks:
            x = block(x)
        return x.mean(-1)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, 10)
        self.lif1, self.lif2 = snn.Leaky(beta=0.9), snn.Leaky(beta=0.9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem1, mem2, total = self.lif1.init_leaky(), self.lif2.init_leaky(), 0.0
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            total = total + spk2
        return total / STEPS


def images(path: Path | None, train: bool, dtype: torch.dtype, most: int | None) -> TensorDataset:
    data = mnist_sample(train) if path is None else MNIST(path, train)
    return TensorDataset(data.data.flatten(1).to(dtype)[:most] / 255, data.targets[:most])


def error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(8 * output, target)


def trainer(
    kind: str, net: nn.Module, optimizer: torch.optim.Optimizer, stats: slayer.utils.LearningStats
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """A step of the training, counted."""
    if kind == "slayer":
        assistant = slayer.utils.Assistant(
            net, error, optimizer, stats, classifier=lambda output: output.argmax(1)
        )
        return assistant.train
    model = snn.accelerate(net, error, optimizer)

    def train(x: torch.Tensor, y: torch.Tensor) -> None:
        output, loss = model(x, y)
        stats.training.add(float(loss), len(y), float((output.argmax(1) == y).sum()))

    return train


def main(argv: list[str] | None = None) -> list[float]:
    """The training loss of each epoch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=("slayer", "snn"), default="slayer")
    parser.add_argument("--data", type=Path, help="default: the sample that ships with lavalike")
    parser.add_argument("--most", type=int, help="so many images of it at most")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=80, help="of all processes together")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--double", action="store_true", help="train in float64")
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args(argv)
    dtype = torch.float64 if args.double else torch.float32
    with slayer.distributed.setup() as ranks:
        torch.manual_seed(args.seed)
        net = ranks.wrap((Blocks() if args.net == "slayer" else Loop()).to(dtype))
        optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
        data, stats = images(args.data, True, dtype, args.most), slayer.utils.LearningStats()
        sampler = ranks.sampler(data, seed=args.seed)
        loader = DataLoader(data, ranks.share(args.batch), sampler=sampler)
        train = trainer(args.net, net, optimizer, stats)
        first = 0
        if args.checkpoint is not None and (state := ranks.load(args.checkpoint)) is not None:
            ranks.alone(net).load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
            stats.load_state_dict(state["stats"])
            first = state["epoch"]
        for epoch in range(first, args.epochs):
            began = time.perf_counter()
            sampler.set_epoch(epoch)
            for x, y in loader:
                train(x.to(ranks.device), y.to(ranks.device))
            ranks.gather(stats)
            if ranks.main:
                took = time.perf_counter() - began
                print(f"epoch {epoch + 1} of {args.epochs}: {stats}, {took:.1f} s", flush=True)
            stats.update()
            if args.checkpoint is not None:
                ranks.save(
                    args.checkpoint,
                    net=ranks.alone(net).state_dict(),
                    optimizer=optimizer.state_dict(),
                    stats=stats.state_dict(),
                    epoch=epoch + 1,
                )
    return stats.training.loss_log


if __name__ == "__main__":
    main()
