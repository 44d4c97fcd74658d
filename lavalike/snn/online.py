"""A layer that learns forward in time (rules: :mod:`lavalike.fused.online`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lavalike.arguments import TENSOR, arguments, choice, instance, optional
from lavalike.errors import InputError
from lavalike.fused import online
from lavalike.snn.neuron import Neuron, Stateful
from lavalike.snn.spiking import SpikingNeuron


class Online(Stateful):
    """A synapse and a neuron, called step by step, whose gradients come from eligibility traces:
    after ``loss.backward()`` of a step its graph is gone, and memory does not grow with the steps.

    ``out, *states = layer(x)`` is a step for x (batch, ...); states and traces stay in the layer,
    until ``reset()`` (or :func:`lavalike.snn.reset`). A loss of each step is what such a layer
    learns from: what a step's messages do to losses of later steps, by the states of other layers,
    is not followed.

    Args:
        synapse: an nn.Linear; with "online" any module that is affine in x (convolutions,
            averages, flattenings).
        neuron: a :class:`lavalike.snn.Neuron` of one input, the user's own too; its states are kept
            here. Its surrogate, reset_grad and learnt parameters count.
        rule: "eprop" (default), a trace for each weight and sample: the gradient of
            back-propagation through time in the last layer, resets and decays of one a neuron
            included; "online": one for each input and sample, where all neurons have one decay,
            with resets not differentiated.
        recurrent: an nn.Linear from the neurons' last outputs to their input, trained likewise;
            what comes back through it is not followed further. Default None.

    Raises InputError for a synapse that is no matrix ("eprop") or not affine, decays that differ
    ("online"), and an input of another batch than the states'.

    Example::

        hidden = snn.Online(nn.Linear(700, 100), snn.Leaky(beta=0.9), recurrent=nn.Linear(100, 100))
        read = snn.Online(nn.Linear(100, 20), snn.Leaky(beta=0.9, reset_mechanism="none"))
        for now in x:  # of (time, batch, 700)
            spikes, _ = hidden(now)
            _, mem = read(spikes)
            (functional.cross_entropy(mem, labels) / len(x)).backward()
        optimizer.step()
    """

    __setattr__ = nn.Module.__setattr__  # it has no parameters of its own to look at

    @arguments(
        synapse=instance("torch.nn.modules.module.Module", words="a torch module"),
        neuron=instance(Neuron, words="a snn.Neuron"),
        rule=choice(*online.RULES),
        recurrent=optional(instance("torch.nn.modules.linear.Linear", words="an nn.Linear")),
    )
    def __init__(
        self,
        synapse: nn.Module,
        neuron: Neuron,
        rule: str = "eprop",
        recurrent: nn.Linear | None = None,
    ) -> None:
        super().__init__(neuron.state_names, False, False)
        if len(neuron.input_names) > 1 or neuron.output_count > 1:
            raise InputError(
                f"{self.label}: neuron: {neuron.label} has inputs {neuron.input_names} and {neuron.output_count} outputs; "
                "one of each is needed"
            )
        if neuron.init_hidden:
            raise InputError(
                f"{self.label}: neuron: the layer keeps its states; make it with init_hidden=False"
            )
        if neuron.gradient != "surrogate":
            raise InputError(
                f"{self.label}: neuron: gradient={neuron.gradient!r} needs all steps, which this layer never has; take 'surrogate'"
            )
        if getattr(neuron, "recurrent", None) is not None:
            raise InputError(
                f"{self.label}: neuron: {neuron.label} has a recurrent layer of its own; take one without, and give that layer as "
                "recurrent"
            )
        for name in ("inhibition", "state_quant"):
            if getattr(neuron, name, False):
                raise InputError(
                    f"{self.label}: neuron: {name} acts between steps, where no trace follows it; leave it out"
                )
        if "t" in neuron.dynamics.arguments:
            raise InputError(
                f"{self.label}: neuron: {neuron.dynamics.name} asks for t, which nobody tells it"
            )
        if rule == "eprop" and not isinstance(synapse, nn.Linear):
            raise InputError(
                f"{self.label}: synapse: rule='eprop' has a trace for each weight of an nn.Linear, got {type(synapse).__name__}; "
                "take rule='online'"
            )
        self.synapse, self.neuron, self.recurrent, self.rule = synapse, neuron, recurrent, rule
        self._traces: online.Traces | None = None
        self._last: torch.Tensor | None = None
        self._affine = isinstance(synapse, nn.Linear)

    def reset(self) -> None:
        """Forget states and traces."""
        super().reset()
        self._traces = self._last = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_traces": None, "_last": None}

    @arguments(x=TENSOR)
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]  # states are its own
        """A step: ``(out, *states)`` of x (batch, ...)."""
        online.look(self.label, x, "(batch, ...)", x.dim() > 1, self, self._traces)
        if not self._affine:
            self._look(x.detach())
        sources = [online.Source(self.synapse, x, self._matrix(self.synapse))]
        if self.recurrent is not None:
            last = self._last
            if last is None:
                last = x.new_zeros(len(x), self.recurrent.in_features)
            sources.append(online.Source(self.recurrent, last, self._matrix(self.recurrent)))
        neuron = self.neuron
        outputs, states, self._traces = online.step(
            self.label,
            self.rule,
            neuron.dynamics,
            neuron.fused_training,
            sources,
            neuron.values(),
            self._traces,
        )
        out = outputs[neuron.dynamics.outputs[0]]
        if isinstance(neuron, SpikingNeuron):
            out = neuron._weighed(out)
        self._last = out.detach()
        return (out, *(states[n] for n in self.state_names))

    @staticmethod
    def _matrix(synapse: nn.Module) -> Any:
        return (lambda: (synapse.weight, synapse.bias)) if isinstance(synapse, nn.Linear) else None

    @torch.no_grad()
    def _look(self, x: torch.Tensor) -> None:
        """InputError where the synapse is not affine in ``x``, once."""
        a, twice, zero = (self.synapse(v).double() for v in (x, 2 * x, torch.zeros_like(x)))
        if not torch.allclose(
            twice - zero, 2 * (a - zero), rtol=1e-3, atol=1e-4 * float(a.abs().max())
        ):
            raise InputError(
                f"{self.label}: synapse: {type(self.synapse).__name__} is not affine in x, so that its inputs have no traces; "
                "keep what is nonlinear between layers"
            )
        self._affine = True
