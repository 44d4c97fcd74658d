"""The demo's networks on an emulated BrainScaleS-2 chip, before and after training in the loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import lavalike as lv
import netx
from lavalike.backends.torch import exponential
from lavalike.bss2 import Chip
from lavalike.demo import networks
from lavalike.demo.data import Data

ROW = "BrainScaleS-2 (emulated)"
EPOCHS = {"LIF": 3, "sigma-delta": 4}
# of weights as files hold them, in 1/64
RATES = {"LIF": 0.05, "sigma-delta": 1.0}


@dataclass(frozen=True)
class OnChip:
    """A network that was trained in the loop, and how it is run."""

    loaded: netx.hdf5.Network
    config: lv.RunConfig


def on_chip(path: Path, seed: int) -> OnChip:
    """The network of a file, its own copy: training changes its weights."""
    return OnChip(netx.hdf5.Network(path), lv.RunConfig(backend="bss2", chip=Chip(seed=seed)))


def train(
    what: OnChip, data: Data, course: Any, bar: networks.Bar, epochs: int | None, seed: int
) -> None:
    """Forward on the chip, backward through the model; what is learnt is written back."""
    torch.manual_seed(seed)
    net, kind = what.loaded, course.kind
    module = lv.to_torch(
        net,
        forward="bss2",
        chip=what.config.chip,
        surrogate=exponential(0.3) if kind == "LIF" else None,
    )
    x, y = data.x_train, torch.from_numpy(data.y_train)
    epochs = min(epochs or EPOCHS[kind], EPOCHS[kind])
    optimizer = torch.optim.Adam(module.parameters(), RATES[kind])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, epochs * -(-len(y) // course.batch)
    )
    for _ in bar(range(epochs), f"{data.name}, {kind}, in the loop"):
        for index in torch.randperm(len(y)).split(course.batch):
            messages = net.encode(
                networks.inputs(data.name, course, x[index.numpy()], course.steps + net.lag)
            )
            out = (
                module(torch.from_numpy(messages.astype(np.float32)))[..., net.lag :]
                / net.out_layer.scale
            )
            loss = functional.cross_entropy(course.gain * networks.scores(course, out), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    module.write_back()
