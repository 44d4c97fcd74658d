"""Blocks of sigma-delta neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.slayer import synapse
from lavalike.slayer.block import base
from lavalike.slayer.neuron import sigma_delta


class _SigmaDelta(base.Block):
    neuron_class = sigma_delta.Neuron
    shift_default = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(getattr(self, "synapse", None), synapse.Dense | synapse.Conv):
            # 64 x 4096 steps to 1: sums of many values would lose their last bits in float32
            self.synapse.exact_eval = True


class Input(_SigmaDelta, base.Input):
    """Brings data in: ``q(x) q(weight) + q(bias)``, delta coded."""

    def _encode(self, z: torch.Tensor) -> torch.Tensor:
        return z if self.neuron is None else self.neuron.delta(z)  # type: ignore[operator]


class Flatten(_SigmaDelta, base.Flatten):
    __doc__ = base.Flatten.__doc__


class Dense(_SigmaDelta, base.Dense):
    __doc__ = base.Dense.__doc__


class Conv(_SigmaDelta, base.Conv):
    __doc__ = base.Conv.__doc__


class Pool(_SigmaDelta, base.Pool):
    __doc__ = base.Pool.__doc__


class Output(_SigmaDelta, base.Dense):
    """Dense whose output is the sum of all it received: sigma decoding, no norm, activation or delta."""

    def __init__(self, neuron_params: Mapping[str, Any], in_neurons: int, out_neurons: int, weight_scale: float = 1,
                 weight_norm: bool = False, pre_hook_fx: Any = None, count_log: bool = False) -> None:
        super().__init__({**neuron_params, "norm": None}, in_neurons, out_neurons, weight_scale, weight_norm, pre_hook_fx,
                         count_log=count_log)

    def respond(self, z: torch.Tensor) -> torch.Tensor:
        y = self.neuron.sigma(z)  # type: ignore[operator, union-attr]
        self.neuron.count(y)  # type: ignore[operator, union-attr]
        return y

    def device_params(self) -> dict[str, Any] | None:
        return {**super().device_params(), "sigma_output": True}  # type: ignore[dict-item]
