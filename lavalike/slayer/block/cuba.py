"""Blocks of CUBA neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.slayer.block import base
from lavalike.slayer.neuron import cuba

UNREACHABLE = (1 << 18) - 1


class _Cuba(base.Block):
    neuron_class = cuba.Neuron


class Input(_Cuba, base.Input):
    __doc__ = base.Input.__doc__


class Flatten(_Cuba, base.Flatten):
    __doc__ = base.Flatten.__doc__


class Dense(_Cuba, base.Dense):
    __doc__ = base.Dense.__doc__


class Conv(_Cuba, base.Conv):
    __doc__ = base.Conv.__doc__


class Pool(_Cuba, base.Pool):
    __doc__ = base.Pool.__doc__


class Affine(_Cuba, base.Dense):
    """Dense whose output is the voltage, never reset; with ``dynamics=False`` the synapse's current.

    Exported, it is a layer whose neurons cannot spike: read their v (or, without dynamics, the change of v).
    """

    def __init__(self, neuron_params: Mapping[str, Any], in_neurons: int, out_neurons: int, *args: Any, dynamics: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(neuron_params, in_neurons, out_neurons, *args, **kwargs)
        self.dynamics = dynamics

    def respond(self, z: torch.Tensor) -> torch.Tensor:
        return self.neuron.voltage(z) if self.dynamics else z  # type: ignore[operator, union-attr]

    def device_params(self) -> dict[str, Any] | None:
        params = super().device_params()
        return params | {"vThMant": UNREACHABLE} if self.dynamics and params is not None else None
