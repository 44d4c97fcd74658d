"""What the spiking tasks on BrainScaleS-2 share: the network, its training, and its two lives,
simulated and on an emulated chip."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from lavalike.bss2 import Chip, spiking

Batch = tuple[torch.Tensor, torch.Tensor]


class Outputs(NamedTuple):
    """``scores`` (batch, class): the readout's highest membranes; ``spikes`` (time, batch, neuron):
    the hidden layer's."""

    scores: torch.Tensor
    spikes: torch.Tensor


class Network(nn.Module):
    """Spikes (time, batch, inputs), a layer of LIF neurons, a readout of LI neurons, of each the
    highest membrane.

    Args:
        sizes: inputs, LIF neurons, classes.
        dt: of a step, s.
        tau: of membranes and synapses, s.
        chip: None: simulated. A network on a chip takes over weights from a simulated one by
            ``load_state_dict``.
        mean, spread: of the first weights of the hidden layer; ``readout_spread`` those of the
            readout, around 0.
        gain: of scores, as logits of a softmax.
        alpha: of the surrogate gradient.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int],
        dt: float,
        tau: float,
        chip: Chip | None = None,
        mean: float = 0.0,
        spread: float = 0.1,
        readout_spread: float = 0.1,
        gain: float = 3.0,
        alpha: float = 50.0,
    ) -> None:
        super().__init__()
        inputs, hidden, classes = sizes
        self.experiment = spiking.Experiment(mock=chip is None, dt=dt, chip=chip)
        value = spiking.MixedHXModelParameter
        taus = {"tau_mem": tau, "tau_syn": tau}
        capacitance = spiking.HXTransformedModelParameter(tau, lambda c: 63)
        self.hidden_synapse = spiking.Synapse(inputs, hidden, self.experiment)
        self.hidden = spiking.LIF(
            hidden,
            self.experiment,
            leak=value(0.0, 80),
            reset=value(0.0, 80),
            threshold=value(1.0, 150),
            **taus,
            membrane_capacitance=capacitance,
            alpha=alpha,
        )
        self.readout_synapse = spiking.Synapse(hidden, classes, self.experiment)
        self.readout = spiking.LI(
            classes,
            self.experiment,
            leak=spiking.ModelParameter(0.0),
            **taus,
            membrane_capacitance=capacitance,
        )
        self.decode = spiking.transforms.decode.MaxOverTime()
        self.gain = gain
        nn.init.normal_(self.hidden_synapse.weight, mean, spread)
        nn.init.normal_(self.readout_synapse.weight, 0.0, readout_spread)

    def forward(self, spikes: torch.Tensor) -> Outputs:
        hidden = self.hidden(self.hidden_synapse(spiking.LIFObservables(spikes=spikes)))
        readout = self.readout(self.readout_synapse(hidden))
        spiking.run(self.experiment, len(spikes))
        return Outputs(self.gain * self.decode(readout.membrane_cadc), hidden.spikes)


class Recipe(NamedTuple):
    """Adam, its rate rising over a tenth of the steps to ``rate`` and falling to 0 along a cosine;
    what is added to the loss: ``level`` times the mean squared score, ``burst`` times the mean
    squared number of a neuron's spikes."""

    rate: float
    level: float = 0.0
    burst: float = 0.0


def train(net: Network, epoch: Callable[[], Iterable[Batch]], steps: int, recipe: Recipe) -> float:
    """``steps`` steps on spikes and labels, as many epochs of them as that takes; seconds taken."""
    optimizer = torch.optim.Adam(net.parameters(), recipe.rate)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: (
            (k + 1) / rise
            if k < rise
            else 0.5 + 0.5 * math.cos(math.pi * (k - rise) / max(1, steps - rise))
        ),
    )
    began, done = time.perf_counter(), 0
    net.train()
    while done < steps:
        for spikes, labels in epoch():
            out = net(spikes)
            loss = functional.cross_entropy(out.scores, labels)
            if recipe.level:
                loss = loss + recipe.level * out.scores.square().mean()
            if recipe.burst:
                loss = loss + recipe.burst * out.spikes.sum(0).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
            if done == steps:
                break
    return time.perf_counter() - began


@torch.no_grad()
def decide(net: Network, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """Decided classes of spikes (time, batch, inputs)."""
    net.eval()
    return torch.cat([net(spikes).scores.argmax(1) for spikes in batches])
