"""Blocks that sigma-delta neurons have in place of the common ones;
:mod:`lavalike.slayer.block.families` makes the family of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import arguments
from lavalike.slayer.block import base
from lavalike.slayer.neuron import sigma_delta

if TYPE_CHECKING:  # the others, as an editor sees the family
    from lavalike.slayer.block.base import (
        Average as Average,
        Conv as Conv,
        ConvT as ConvT,
        Dense as Dense,
        Flatten as Flatten,
        Pool as Pool,
        Unpool as Unpool,
    )


class Input(base.Input):
    """Brings data in: ``q(x) q(weight) + q(bias)``, delta coded.

    Example:
        >>> params = {"threshold": 0.1}
        >>> block = slayer.block.sigma_delta.Input(params)
        >>> block(torch.rand(4, 20, 30)).shape
        torch.Size([4, 20, 30])
    """

    neuron: sigma_delta.Neuron

    def respond(
        self, z: tuple[torch.Tensor, ...], state: base.State, shift: bool
    ) -> tuple[base.Signal, base.State]:
        return (
            self.neuron.delta.stream(z[0], state, shift)
            if self.unit is not None
            else super().respond(z, state, shift)
        )


class Output(base.Dense):
    """Dense whose output is the sum of all it received: sigma decoding, no norm, dropout,
    activation or delta.

    Example:
        >>> params = {"threshold": 0.1, "activation": torch.relu}
        >>> block = slayer.block.sigma_delta.Output(params, 20, 3)
        >>> block(torch.rand(4, 20, 30)).shape  # (batch, outputs, time): values
        torch.Size([4, 3, 30])
    """

    neuron: sigma_delta.Neuron

    @arguments(**base.SIZES, **base.LOG)
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_neurons: Any,
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        count_log: bool = False,
        pre_hook_fx: Any = None,
    ) -> None:
        super().__init__(
            {**neuron_params, "norm": None, "dropout": None},
            in_neurons,
            out_neurons,
            weight_scale,
            weight_norm,
            pre_hook_fx,
            count_log=count_log,
        )
        self._normed = neuron_params.get("norm") is not None

    def _load_from_state_dict(self, state_dict: base.State, prefix: str, *rest: Any) -> None:
        if self._normed:  # lava-dl keeps the numbers of a norm that never acts
            for key in [k for k in state_dict if k.startswith(f"{prefix}neuron.norm.")]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def respond(
        self, z: tuple[torch.Tensor, ...], state: base.State, shift: bool
    ) -> tuple[base.Signal, base.State]:
        return self.neuron.decode(z[0], state)

    def device_params(self) -> dict[str, Any]:
        return {**self.neuron.device_params, "sigma_output": True}
