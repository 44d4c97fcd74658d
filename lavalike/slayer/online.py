"""A block that learns forward in time (rules: :mod:`lavalike.fused.online`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lavalike.arguments import TENSOR, arguments, choice, instance
from lavalike.dynamics import lif as equations
from lavalike.errors import InputError
from lavalike.fused import online
from lavalike.slayer.block.base import Block, Conv, Dense
from lavalike.slayer.neuron import cuba, lif


class Online(nn.Module):
    """A Dense or Conv block of cuba or lif neurons, called step by step, whose gradients come from
    eligibility traces: memory does not grow with the steps. See :class:`lavalike.snn.Online`.

    ``spikes, voltage = layer(x)`` is a step for x (batch, channel, ..., 1), voltage that after a
    reset; both are what the block computes, and its parameters those that train and are exported.
    States and traces stay in the layer until ``reset()``.

    Example:
        >>> params = {"threshold": 1, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> layer = slayer.Online(slayer.block.cuba.Dense(params, 6, 2, delay_shift=False))
        >>> spikes, voltage = layer(torch.rand(4, 6, 1))  # one step

    Args:
        block: without norm, delay, dropout and graded spikes, with delay_shift=False: a loss is of
            the step's own spikes. One that is to read voltages has a threshold that none reaches.
        rule: "eprop" (default), a trace for each weight and sample, of Dense blocks; "online", one
            for each input and sample, where all neurons have one decay.

    Raises InputError for a block that is none of these, and an input of another batch than the
    states'.
    """

    @arguments(block=instance(Block, words="a slayer block"), rule=choice(*online.RULES))
    def __init__(self, block: Block, rule: str = "eprop") -> None:
        super().__init__()
        neuron: Any = block.unit
        wrong = {
            f"block is a Dense or Conv block, got {block.label}": not isinstance(
                block, Dense | Conv
            ),
            f"neurons are cuba's or lif's, got those of {block.label}": type(neuron)
            not in (cuba.Neuron, lif.Neuron),
            "delay_shift=True; make it with False": block.delay_shift,
            "a learnable delay, which has no trace": block.delay is not None,
        }
        if not any(wrong.values()):
            wrong = {
                "a norm, whose mean is that of all steps": neuron.norm is not None,
                "dropout": neuron.drop is not None,
                "graded spikes": neuron.graded_spike,
                "gradient='eventprop', which needs all steps": neuron.training_.gradient
                != "surrogate",
                "weights without a matrix; take rule='online'": rule == "eprop"
                and not isinstance(block, Dense),
            }
        for what, there in wrong.items():
            if there:
                raise InputError(f"slayer.Online: block {block.label}: {what}")
        self.block, self.rule = block, rule
        self._traces: online.Traces | None = None

    def reset(self) -> None:
        """Forget states and traces."""
        self._traces = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_traces": None}

    def _matrix(self) -> tuple[torch.Tensor, None]:
        block: Any = self.block
        weight = block.synapse.effective_weight()[:, :, 0, 0, 0]
        return weight if block.mask is None else weight * block.mask, None

    @arguments(x=TENSOR)
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A step: (spikes, voltage) of x (batch, channel, ..., 1)."""
        block, neuron = self.block, self.block.neuron
        who = f"slayer.Online: {block.label}"
        fits = x.dim() > 2 and x.shape[-1] == 1
        online.look(who, x, "(batch, channel, ..., 1)", fits, self, self._traces)

        def synapse(message: torch.Tensor) -> torch.Tensor:
            return block.drive(message[..., None])[0][..., 0]

        names = ["voltage_decay", "threshold"]
        more = {}
        dynamics = equations.FIRE
        if type(neuron) is cuba.Neuron:
            names, more, dynamics = (
                ["current_decay", *names],
                {"gain": 1.0, "bias": 0.0},
                equations.LIF,
            )
        constants = {}
        for n, value in (neuron.counted(*names) | more).items():
            made = value if isinstance(value, torch.Tensor) else x.new_full((), value)
            constants[n] = made.reshape(-1, *[1] * (x.dim() - 3)) if made.numel() > 1 else made
        matrix = self._matrix if self.rule == "eprop" else None
        outputs, states, self._traces = online.step(
            who,
            self.rule,
            dynamics,
            neuron.training_,
            [online.Source(synapse, x[..., 0], matrix)],
            constants,
            self._traces,
        )
        return outputs["s_out"][..., None], states["v"][..., None] / neuron.s_scale
