"""What bootstrap's blocks have besides slayer's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from lavalike.arguments import instance
from lavalike.bootstrap.ann_sampler import AnnSampler
from lavalike.bootstrap.routine import Mode
from lavalike.dynamics import lif
from lavalike.errors import InputError
from lavalike.slayer import axon
from lavalike.slayer.block import base
from lavalike.slayer.neuron.base import P_SCALE

MODE = instance(Mode)


class AbstractBlock(base.Block):
    """A block of slayer, called ``block(x, mode=Mode.ANN)``; arguments are slayer's, but the output
    is not shifted by a step unless ``delay_shift`` says so, and there are no delays.

    As ANN it takes and returns rates, (batch, *shape, 1); a tensor of more steps, such as what a
    spiking block before it sends, becomes its mean over time first. As SNN and SAMPLE it takes and
    returns messages over time. A norm acts on the drive in both; a cuba neuron's acts on a current
    that lasts, unless ``current_decay`` is 1, as it has to be with a norm.

    ``f`` is the :class:`lavalike.bootstrap.AnnSampler`, ``mode`` that of the last call.
    """

    shift_default = False
    fitted: ClassVar[bool] = True  # whether it answers rates as a function of its own

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.delay is not None:
            raise InputError(f"{self.label}: delay: rates have none; use delay=False")
        neuron = self.unit
        lasting = neuron is not None and neuron.norms and neuron.declaration is lif.LIF
        if lasting and bool((self.neuron.used("current_decay") != P_SCALE).any()):
            raise InputError(
                f"{self.label}: norm: it needs current_decay=1, or it would act on another current than that of rates"
            )
        if self.fitted:
            self.f = AnnSampler()
        self.mode = Mode.ANN

    @property
    def label(self) -> str:
        return f"bootstrap.{super().label}"

    def fit(self, channels: int | None = None) -> None:
        """Without an argument: fit the function to what was sampled, and forget half of that; with
        one, slayer's: give what is one a channel its size."""
        if channels is not None:
            super().fit(channels)
        elif self.fitted:
            self.f.fit()
            self.f.soft_clear()

    def respond(
        self, z: tuple[torch.Tensor, ...], state: base.State, shift: bool
    ) -> tuple[base.Signal, base.State]:
        if self.mode is not Mode.SAMPLE or not self.fitted:
            return super().respond(z, state, shift)
        drive = [z[0]]
        with contextlib.ExitStack() as hooks:
            for norm in self.neuron.norms:
                hook = norm.register_forward_hook(lambda m, args, out: drive.append(out))
                hooks.enter_context(hook)
            y, after = super().respond(z, state, False)
        assert isinstance(y, torch.Tensor)  # there are no families of (real, imag)
        self.f.append(y, drive[-1])
        return (axon.delay(y) if shift else y), after

    def forward(self, x: torch.Tensor, mode: Mode = Mode.ANN) -> Any:
        MODE.check(self.label, "mode", mode)
        self.mode = mode
        if mode in (Mode.SNN, Mode.SAMPLE) or not self.fitted:
            return super().forward(x)
        if mode is Mode.FIT:
            self.fit()
        y = self.answer(self.rates(x))
        return (y, base._rate(y)) if self.count_log else y

    def deployed(self, x: torch.Tensor) -> Any:
        return self(x, mode=Mode.SNN)

    def rates(self, x: torch.Tensor) -> torch.Tensor:
        """Means over time, as one step."""
        return x if x.shape[-1] == 1 else x.mean(-1, keepdim=True)

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        """The rates that rates cause."""
        (z,) = self.drive(x)
        if self.neuron.norms:
            z = self.neuron.norms[0](z)
        y: torch.Tensor = self.f(z)
        return y if self.neuron.drop is None else self.neuron.drop(y)


class Input(AbstractBlock, base.Input):
    """Brings data in, through a neuron; see slayer's."""

    def __init__(self, neuron_params: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        if neuron_params is None:
            raise InputError("bootstrap.Input: neuron_params: data come in through a neuron here")
        super().__init__(neuron_params, *args, **kwargs)


class Flatten(AbstractBlock, base.Flatten):
    """(batch, C, H, W, time) -> (batch, C*H*W, time), in every mode.

    Example:
        >>> from lavalike import bootstrap
        >>> bootstrap.block.cuba.Flatten()(torch.rand(4, 2, 5, 5, 30)).shape
        torch.Size([4, 50, 30])
    """

    fitted = False


class Dense(AbstractBlock, base.Dense):
    """All-to-all synapse and neuron; see slayer's."""


class Conv(AbstractBlock, base.Conv):
    """Convolution and neuron; see slayer's."""


class Affine(AbstractBlock, base.Affine):
    """Dense without a neuron: its output is the current, in every mode; arguments are slayer's.

    Example:
        >>> from lavalike import bootstrap
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = bootstrap.block.cuba.Affine(params, 20, 3)
        >>> drive = block((torch.rand(4, 20, 30) < 0.3).float())
    """

    fitted = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"dynamics": False} | kwargs)
        if self.dynamics:
            raise InputError(f"{self.label}: dynamics: its output is the current; use False")


BLOCKS = (Input, Flatten, Affine, Dense, Conv)
