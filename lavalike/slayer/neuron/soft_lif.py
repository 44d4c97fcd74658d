"""The CUBA neuron as a rate with a softened threshold, to train deep networks that run as spikes
(Hunsberger and Eliasmith 2016, Training Spiking Deep Networks for Neuromorphic Hardware).

A constant input x has the current ``j = norm(x / current_decay)``. Above the rheobase
``V = threshold voltage_decay`` the neuron of :mod:`lavalike.dynamics.lif` reaches its threshold
after

    n = -log(1 + V / (j - V)) / log(1 - voltage_decay)

steps. It spikes in the next whole one, on average ``1/2 + n`` and at least 1, and so its rate is

    r = 1 / (1/2 + sqrt(n**2 + 1/4))

in spikes a step. The softened one has ``g log(1 + exp((j - V) / g))`` for ``j - V``, with ``g``
softness times the threshold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lavalike.arguments import FLAG, arguments, instance, real
from lavalike.errors import InputError
from lavalike.slayer.neuron import cuba
from lavalike.slayer.neuron.base import DECAY, P_SCALE, SPIKING, W_SCALE, Number, State
from lavalike.slayer.neuron.cuba import neuron_params as neuron_params
from lavalike.text import settings

LEAST = 2.0**-14  # a voltage that does not decay is taken to decay so
RULES = {n: r for n, r in SPIKING.items() if n != "graded_spike"} | {
    "current_decay": DECAY,
    "voltage_decay": DECAY,
    "softness": real(0),
    "noise": real(0),
}
FAR = -20.0  # below it log(1 + exp(z)) is exp(z)


class Neuron(cuba.Neuron):
    """A rate, trained as such; exported, and with ``soft = False``, the spiking CUBA neuron of the
    same numbers.

    Args:
        threshold, current_decay, voltage_decay: of the spiking neuron; current_decay at least
            1/4096.
        softness: width over which the threshold is softened, a current in thresholds a step (0:
            the neuron's own rate, whose gradient grows without bound at the rheobase). Default
            0.002.
        noise: standard deviation of what is added in training to the rate of a neuron above its
            rheobase, in spikes a step: what a spike train adds to its mean. Default 0.
        the others: see :class:`slayer.neuron.cuba.Neuron`; those of gradients act on the spiking
            one.

    Soft, each step's output is the rate that its input, lasting, would have: no state, and no
    delay_shift. ``affine`` is the voltage of such an input.

    Example::

        params = {"threshold": 4, "current_decay": 0.2, "voltage_decay": 0.05, "noise": 0.02}
        net = nn.Sequential(
            slayer.block.soft_lif.Dense(params, 784, 100),
            slayer.block.soft_lif.Affine(params, 100, 10),
        )
        scores = net(images[..., None])[..., 0]  # one step is enough
    """

    @arguments(**RULES)
    def __init__(
        self,
        threshold: float,
        current_decay: Number,
        voltage_decay: Number,
        softness: float = 0.002,
        noise: float = 0.0,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        norm: Any = None,
        dropout: nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        reset_grad: str = "slayer",
    ) -> None:
        super().__init__(
            threshold,
            current_decay,
            voltage_decay,
            tau_grad,
            scale_grad,
            scale,
            norm,
            dropout,
            shared_param,
            persistent_state,
            requires_grad,
            False,
            reset_grad,
        )
        if float(torch.as_tensor(current_decay).min()) * P_SCALE < 1:
            raise InputError(
                f"{self.label}: current_decay is at least 1/{P_SCALE}, as a current that lasts has no rate; "
                f"got {current_decay!r}"
            )
        self.softness, self.noise = float(softness), float(noise)
        self.soft = True

    def extra_repr(self) -> str:
        own = settings({"softness": self.softness, "noise": self.noise})
        return f"{super().extra_repr()}, {own}" + ("" if self.soft else ", soft=False")

    @property
    def timed(self) -> bool:
        """Whether it spikes."""
        return not self.soft

    def limits(self, name: str) -> tuple[float, float]:
        return (1 if name == "current_decay" else 0), P_SCALE

    def _decay(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A decay in 0..1, of each channel of ``x``."""
        value = self.used(name) / P_SCALE
        return value.reshape(-1, *[1] * (x.dim() - 2)) if value.numel() > 1 else value

    def steady(self, x: torch.Tensor) -> torch.Tensor:
        """The current, normalised, of an input that lasts."""
        self.check([x])
        self.fit(x.shape[1])
        u = x / self._decay("current_decay", x)
        return u if self.norm is None else self.norm(u)

    def rate(self, current: torch.Tensor) -> torch.Tensor:
        """Spikes a step of a ``current`` (batch, channel, ..., time) that lasts, in 0..1."""
        decay = self._decay("voltage_decay", current).clamp(LEAST, 1 - LEAST)
        rheobase = self.threshold * decay
        above = current - rheobase
        width = self.softness * self.threshold
        if width:
            z = above / width
            # of log(1 + exp(z)), which is exp(z) far below, and 0 in floating point farther still
            log = torch.where(
                z < FAR, z, torch.log(functional.softplus(torch.where(z < FAR, FAR, z)))
            )
            n = functional.softplus(torch.log(rheobase / width) - log)
        else:
            fires = above > 0
            n = torch.log1p(rheobase / torch.where(fires, above, 1.0))
        n = n / -torch.log1p(-decay)
        rate = 1 / (0.5 + torch.sqrt(n * n + 0.25))
        if not width:
            rate = torch.where(fires, rate, 0.0)
        if self.training and self.noise:
            rate = rate + self.noise * torch.randn_like(rate) * (above.detach() > 0)
        return rate

    def affine(
        self, *inputs: torch.Tensor, state: State | None = None
    ) -> tuple[tuple[torch.Tensor, ...], State]:
        """The voltage without threshold and reset, soft of an input that lasts."""
        if not self.soft:
            return super().affine(*inputs, state=state)
        (x,) = inputs
        current = self.steady(x)
        decay = self._decay("voltage_decay", x)
        if bool((decay == 0).any()):
            raise InputError(
                f"{self.label}: voltage_decay is 0: a voltage that does not decay has no value that lasts"
            )
        return (current / decay,), {}

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        if not self.soft:
            return super().stream(*x, state=state, shift=shift)
        (z,) = x
        return self.rate(self.steady(z)), {}


@arguments(net=instance("torch.nn.modules.module.Module", words="a torch module"), soft=FLAG)
def soften(net: nn.Module, soft: bool = True) -> None:
    """All soft_lif neurons of ``net`` as rates, or with ``soft=False`` as the spikes that are
    deployed."""
    for module in net.modules():
        if isinstance(module, Neuron):
            module.soft = bool(soft)
