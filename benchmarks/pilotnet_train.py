"""PilotNet trained on a rendered drive: a sigma-delta network, and with --ann the ReLU network of
the same shape.

    python -m benchmarks.pilotnet_train [--epochs 40] [--ann] [--threads 2] [--checkpoint run.pt]
    python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.pilotnet_train --threads 1

The network and the recipe are those of lava-dl's PilotNet tutorial; the learning rate falls at 30,
60 and 80 % of the epochs. The error is that of the best epoch on the last 20 % of the drive, which
no training frame is beside; it is given with the variance of the test labels, what predicting their
mean would have as error. Over several processes each has its share of every batch; the event rate
loss, which is no mean over samples, is then that of each share. With --checkpoint a run goes on
after the last whole epoch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lavalike import slayer
from lavalike.datasets import SyntheticDrive, compare_ops, transforms
from lavalike.text import table

CONVOLUTIONS = (
    (3, 24, (2, 2), (0, 0)),
    (24, 36, (2, 2), (0, 0)),
    (36, 64, (2, 1), (1, 0)),
    (64, 64, (1, 1), (0, 0)),
)
DENSE = ((64 * 40, 100), (100, 50), (50, 10))
MILESTONES = (0.3, 0.6, 0.8)


def event_rate_loss(x: torch.Tensor, max_rate: float = 0.01) -> torch.Tensor:
    return functional.relu(x.abs().mean() - max_rate) ** 2


class SDNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        params = {
            "threshold": 0.1,
            "tau_grad": 0.5,
            "scale_grad": 1,
            "requires_grad": True,
            "shared_param": True,
            "activation": functional.relu,
        }
        cnn = {**params, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}
        dense = {**cnn, "dropout": slayer.neuron.Dropout(p=0.2)}
        block = slayer.block.sigma_delta
        weights = {"weight_scale": 2, "weight_norm": True}
        self.blocks = nn.ModuleList(
            [
                block.Input(params),
                *(
                    block.Conv(cnn, i, o, 3, stride=s, padding=p, **weights)
                    for i, o, s, p in CONVOLUTIONS
                ),
                block.Flatten(),
                *(block.Dense(dense, i, o, **weights) for i, o in DENSE),
                block.Output(dense, 10, 1, **weights),
            ]
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cost, count = x.new_zeros(()), []
        for block in self.blocks:
            x = block(x)
            if getattr(block, "neuron", None) is not None:
                cost = cost + event_rate_loss(x)
                count.append((x[..., 1:].detach() != 0).sum() / (x.shape[-1] - 1) / len(x))
        return x, cost, torch.stack(count)


class ANN(nn.Module):
    """Frame by frame, from initial weights as large as the SDNN's (weight_scale 2): with torch's
    own it hardly starts to learn."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [
            m for i, o, s, p in CONVOLUTIONS for m in (nn.Conv2d(i, o, 3, s, p), nn.ReLU())
        ]
        dense = [m for i, o in DENSE for m in (nn.Linear(i, o), nn.ReLU(), nn.Dropout(0.2))]
        self.layers = nn.Sequential(*convolutions, nn.Flatten(), *dense, nn.Linear(10, 1))
        with torch.no_grad():
            for layer in self.layers:
                if hasattr(layer, "weight"):
                    layer.weight *= 2

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        frames = x.movedim(-1, 1).flatten(0, 1)
        return self.layers(frames).reshape(len(x), 1, -1), x.new_zeros(()), x.new_zeros(0)


def drive(train: bool, sequences: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All of it in memory: rendering is not what is trained."""
    data = SyntheticDrive(
        train=train,
        sequences=sequences,
        cache=False,
        transform=transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
        ),
    )
    images, angles = zip(*(data[k] for k in range(len(data))), strict=True)
    return torch.stack(images), torch.stack(angles)


def train(
    net: nn.Module,
    training: tuple[torch.Tensor, ...],
    testing: tuple[torch.Tensor, ...],
    epochs: int,
    batch: int,
    lr: float,
    lam: float,
    ranks: slayer.distributed.Ranks,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[float, list[float]]:
    """Best mean squared error of the test set, and the events a frame of each layer in that
    epoch."""
    if ranks.size > 1:  # norms learn their channels
        net(training[0][:1])
    net = ranks.wrap(net, find_unused_parameters=True)
    optimizer = torch.optim.RAdam(net.parameters(), lr=lr, weight_decay=1e-5)
    assistant = slayer.utils.Assistant(
        net,
        lambda output, target: functional.mse_loss(output.flatten(), target.flatten()),
        optimizer,
        slayer.utils.LearningStats(),
        count_log=True,
        lam=lam,
    )
    sampler = ranks.sampler(TensorDataset(*training), seed=seed)
    loader = DataLoader(TensorDataset(*training), ranks.share(batch), sampler=sampler)
    first, best, counts = 0, float("inf"), []
    if checkpoint is not None and (state := ranks.load(checkpoint)) is not None:
        ranks.alone(net).load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        assistant.stats.load_state_dict(state["stats"])
        first, best, counts = state["epoch"], state["best"], state["counts"]
    for epoch in range(first, epochs):
        began = time.perf_counter()
        if epoch in {round(epochs * m) for m in MILESTONES}:
            assistant.reduce_lr()
        sampler.set_epoch(epoch)
        for images, angles in loader:
            assistant.train(images, angles)
        ranks.gather(assistant.stats)
        seen = [  # all of it in each process, with the same weights
            (len(index), assistant.test(*(t[index] for t in testing))[1].tolist())
            for index in torch.arange(len(testing[0])).split(batch)
        ]
        loss = assistant.stats.testing.loss
        if loss < best:
            best, counts = (
                loss,
                np.average([c for _, c in seen], axis=0, weights=[n for n, _ in seen]).tolist(),
            )
        if ranks.main:
            took = time.perf_counter() - began
            print(f"epoch {epoch + 1:3d} of {epochs}: {assistant.stats}, {took:.1f} s", flush=True)
        assistant.stats.update()
        if checkpoint is not None:
            ranks.save(
                checkpoint,
                net=ranks.alone(net).state_dict(),
                optimizer=optimizer.state_dict(),
                stats=assistant.stats.state_dict(),
                epoch=epoch + 1,
                best=best,
                counts=counts,
            )
    return best, counts


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--sequences", type=int, default=500, help="of 16 frames; 80 %% to train on"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--lam", type=float, default=0.01, help="weight of the event rate loss")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=4205)
    parser.add_argument("--ann", action="store_true", help="train the ReLU network too")
    parser.add_argument("--checkpoint", type=Path, help="of the SDNN")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    with slayer.distributed.setup() as ranks:
        rows, operations = trained(args, ranks)
    if ranks.main:
        print(table(["network", "mse, rad^2", "label variance", "mse / variance", "seconds"], rows))
        print(operations)


def trained(
    args: argparse.Namespace, ranks: slayer.distributed.Ranks
) -> tuple[list[list[str]], str]:
    """Rows of the table, and what the SDNN saves."""
    training, testing = drive(True, args.sequences), drive(False, args.sequences)
    variance = float(testing[1].var(correction=0))
    rows, saved = [], ""
    for kind in (SDNN, ANN)[: 1 + args.ann]:
        torch.manual_seed(args.seed)
        began = time.perf_counter()
        net = kind()
        error, counts = train(
            net,
            training,
            testing,
            args.epochs,
            args.batch,
            args.lr,
            args.lam,
            ranks,
            args.seed,
            args.checkpoint if kind is SDNN else None,
        )
        rows.append(
            [
                kind.__name__,
                f"{error:.5f}",
                f"{variance:.5f}",
                f"{error / variance:.4f}",
                f"{time.perf_counter() - began:.0f}",
            ]
        )
        if kind is SDNN and ranks.main:
            result = compare_ops(net, counts, error)
            saved = (
                f"events 1 in {result.event_sparsity:.1f} activations, "
                f"synaptic operations 1 in {result.synop_sparsity:.1f} multiply-accumulates"
            )
    return rows, saved


if __name__ == "__main__":
    main()
