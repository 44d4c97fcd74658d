"""A network of blocks from its .net file, to go on training it, or as part of another."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import FLAG, MAPPING, PATH, TEXT, Rule, arguments, choice, optional
from lavalike.errors import InputError, LavalikeError
from lavalike.slayer import block, neuron
from lavalike.slayer.block.base import MAX_DELAY, Block
from lavalike.slayer.block.export import UNREACHABLE
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm
from lavalike.slayer.utils.quantize import quantize
from netx.reader import ALIKE, PARTS, Layer, read

FAMILIES = {
    "CUBA": "cuba",
    "ALIF": "alif",
    "RF_PHASE": "rf",
    "RF_IZHIKEVICH": "rf_iz",
    "ADRF_PHASE": "adrf",
    "ADRF_IZHIKEVICH": "adrf_iz",
    "SDNN": "sigma_delta",
}
BLOCKS = {
    "dense": "Dense",
    "dense_rec": "Recurrent",
    "conv": "Conv",
    "convT": "ConvT",
    "pool": "Pool",
    "unpool": "Unpool",
}
WEIGHT = 64  # what a weight of 1 is in a file
MODULE = Rule("a module of slayer.neuron", lambda v: hasattr(v, "neuron_params"))


@arguments(neuron_type=optional(TEXT))
def get_classes(neuron_type: str | None = None) -> tuple[ModuleType, ModuleType]:
    """``(slayer.neuron.<x>, slayer.block.<x>)`` of a neuron type as files write it; None: CUBA's.

    Raises:
        InputError: no slayer neuron has that type.
    """
    kind = "CUBA" if neuron_type is None else ALIKE.get(neuron_type, neuron_type)
    if kind not in FAMILIES:
        raise InputError(
            f"auto.get_classes: neuron_type: no neuron of slayer has type {neuron_type!r}; there are {sorted(FAMILIES)}"
        )
    return getattr(neuron, FAMILIES[kind]), getattr(block, FAMILIES[kind])


@arguments(neuron_handle=MAPPING, neuron_class=MODULE)
def get_neuron_params(neuron_handle: Mapping[str, Any], neuron_class: Any) -> dict[str, Any]:
    """Arguments of a Neuron of ``neuron_class``, a module such as slayer.neuron.cuba, that has the
    parameters in ``neuron_handle``: a file's neuron group, or a dict with its keys."""
    params: dict[str, Any] = neuron_class.neuron_params(
        {k: v[()] if hasattr(v, "shape") else v for k, v in neuron_handle.items()}
    )
    return params


class SequentialNetwork(nn.Module):
    """The blocks of a .net file, one a layer, as ``blocks``; in evaluation they compute what the
    file does, and :func:`lavalike.slayer.export_hdf5` writes it again.

        net = slayer.auto.SequentialNetwork("trained.net")
        spikes = net(x)                                          # (batch, *input shape, time)

    A bias becomes a norm's running mean, as which slayer writes it: training goes on with the norm.
    What a file does not hold is as in the blocks' defaults: surrogate gradients, weight scales,
    dropout. Weights that are not on the 8-bit grid of training are rounded to 1/64 instead.

    Example:
        >>> params = {"threshold": 1, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> path = slayer.export_hdf5(slayer.block.cuba.Dense(params, 6, 2), "one.net")
        >>> net = slayer.auto.SequentialNetwork(path)
        >>> net(torch.rand(4, 6, 20)).shape
        torch.Size([4, 2, 20])

    Args:
        network_config: path of the file, lavalike's or lava-dl's.
        persistent_state: neurons go on where the last call ended. Default False.
        reduction: of the output over time, "sum" or "mean"; None (default): none.
        weight_norm: train length and direction of the weights. Default False.
        count_log: return (output, event rates), one rate a layer. Default False.

    Raises:
        NetFileError: the file is damaged, foreign or hostile.
        InputError: a layer that no block computes; it is named.
    """

    @arguments(
        network_config=PATH,
        persistent_state=FLAG,
        reduction=optional(choice("sum", "mean")),
        weight_norm=FLAG,
        count_log=FLAG,
    )
    def __init__(
        self,
        network_config: str | os.PathLike[str],
        persistent_state: bool = False,
        reduction: str | None = None,
        weight_norm: bool = False,
        count_log: bool = False,
    ) -> None:
        super().__init__()
        self.persistent_state, self.reduction = persistent_state, reduction
        self.weight_norm, self.count_log = weight_norm, count_log
        self.blocks = nn.ModuleList()
        file = read(os.fspath(network_config))
        for layer in file.layers:
            try:
                neurons, blocks = get_classes(
                    None if layer.neuron is None else layer.neuron["type"]
                )
                made: Block = self._block(layer, blocks, neurons)
            except LavalikeError as e:
                raise type(e)(f"{file.path}: {layer.key}: {e}") from e
            made.shape, made.input_shape = layer.shape, layer.input_shape
            self.blocks.append(made)

    def _block(self, layer: Layer, blocks: Any, neurons: Any) -> Any:
        log, shift = {"count_log": self.count_log}, {}
        if layer.delay_shift is not None:
            shift = {"delay_shift": layer.delay_shift}
        if layer.type == "flatten":
            return blocks.Flatten(**log)
        if layer.type == "average":
            return blocks.Average(layer.shape[0], **log)
        params = self._params(layer, neurons)
        if layer.type == "input":
            affine = {
                k: float(layer.arrays[k].reshape(-1)[0]) / WEIGHT
                for k in ("weight", "bias")
                if k in layer.arrays
            }
            return blocks.Input(params, **affine, **shift, **log)
        name, options = BLOCKS[layer.type], log | shift
        if layer.neuron is None:
            name, options, params = "Affine", options | {"dynamics": False}, _never()
        elif params is None:
            name, params = "Affine", self._params(layer, neurons, 1.0)
        elif layer.neuron.get("sigma_output"):
            name, options = "Output", log
        if not hasattr(blocks, name) or (name in ("Affine", "Output") and layer.type != "dense"):
            raise InputError(
                f"a {layer.type} layer whose neurons do not spike is no block of {blocks.__name__}"
            )
        if "delay" in layer.arrays:
            if layer.arrays["delay"].max() > MAX_DELAY or layer.arrays["delay"].min() < 0:
                raise InputError(f"delays of a block are in 0..{MAX_DELAY}")
            options = options | {"delay": True}
        made = getattr(blocks, name)(params, **self._sizes(layer), **options)
        self._fill(layer, made)
        return made

    def _params(self, layer: Layer, neurons: Any, threshold: float = 0) -> dict[str, Any] | None:
        """Arguments of the neuron; None where there is none, or none that spikes and no
        ``threshold`` stands for its own."""
        if layer.neuron is None:
            return None
        stored = dict(layer.neuron)
        if np.all(stored.get("vThMant") == UNREACHABLE):
            if not threshold:
                return None
            stored["vThMant"] = int(threshold * WEIGHT)
        params = get_neuron_params(stored, neurons) | {"persistent_state": self.persistent_state}
        if any(n.startswith("bias") for n in layer.arrays) and layer.type != "input":
            params["norm"] = MeanOnlyBatchNorm
        return params

    def _sizes(self, layer: Layer) -> dict[str, Any]:
        """Arguments of the synapse, from the weight's own shape."""
        weight = _weights(layer, "weight")[0]
        if layer.type.startswith("dense"):
            out = math.prod(layer.shape)
            return {"in_neurons": weight.size // out, "out_neurons": out}
        if np.any(layer.arrays.get("outputPadding", 0)):
            raise InputError("no block has an outputPadding")
        window = tuple(weight.shape[2:4])
        named: dict[str, Any] = {
            n: _window(layer.arrays[n])
            for n in ("stride", "padding", "dilation")
            if n in layer.arrays
        }
        if layer.type in ("pool", "unpool"):
            return {"kernel_size": window, **named}
        groups = int(layer.arrays["groups"].reshape(-1)[0])
        rows, columns = weight.shape[:2]
        given, made = (columns * groups, rows) if layer.type == "conv" else (rows, columns * groups)
        return {
            "in_features": given,
            "out_features": made,
            "kernel_size": window,
            "groups": groups,
            **named,
        }

    def _fill(self, layer: Layer, made: Any) -> None:
        """Weights, biases and delays into a block."""
        synapses = [("weight", getattr(made, "synapse", None) or made.input_synapse)]
        if layer.type == "dense_rec":
            synapses.append(("weight_rec", made.recurrent_synapse))
        for name, synapse in synapses:
            parts = (synapse.real, synapse.imag) if synapse.complex else (synapse,)
            stored = _weights(layer, name)
            if len(stored) != len(parts):
                raise InputError(f"{name}: complex weights and resonators belong together")
            for part, values in zip(parts, stored, strict=True):
                weight = torch.from_numpy(values.astype(np.float32) / WEIGHT).reshape(part.shape)
                with torch.no_grad():
                    part.weight.copy_(weight)
                    if not torch.equal(part.effective_weight(), weight):
                        part.pre_hook_fx = functools.partial(quantize, step=1 / WEIGHT)
                if self.weight_norm and part.weight.requires_grad:
                    part.enable_weight_norm()
        biases = [
            layer.arrays[n] for n in ("bias", *(f"bias/{p}" for p in PARTS)) if n in layer.arrays
        ]
        norms = made.neuron.norms
        if not norms and not layer.neuron and any(map(np.any, biases)):
            raise InputError("bias: a layer without neurons has none in a block")
        for norm, values in zip(norms, biases, strict=bool(norms)):
            mean = torch.from_numpy(-values.reshape(-1).astype(np.float32) / WEIGHT)
            norm.fit(len(mean))
            norm.running_mean.copy_(mean)
            if not torch.equal(norm.bias * 1.0, -mean * WEIGHT):
                raise InputError("bias: a block's are even whole numbers in -254..256")
        if made.delay is not None:
            delays = torch.from_numpy(layer.arrays["delay"].astype(np.float32)).reshape(-1)
            with torch.no_grad():
                made.delay.delay.copy_(delays)

    def forward(self, spike: torch.Tensor) -> Any:
        """(batch, *input shape, time) to (batch, *output shape, time), or without time where there
        is a reduction; with count_log also the event rates, (layers,)."""
        rates = []
        for made in self.blocks:
            spike = made(spike)
            if self.count_log:
                spike, rate = spike
                rates.append(rate)
        if self.reduction is not None:
            spike = spike.sum(-1) if self.reduction == "sum" else spike.mean(-1)
        return (spike, torch.stack(rates)) if self.count_log else spike


def _never() -> dict[str, Any]:
    """A neuron that is not asked."""
    return {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 1.0}


def _window(values: np.ndarray) -> Any:
    found = [int(v) for v in values.reshape(-1)]
    return found[0] if len(found) == 1 else tuple(found)


def _weights(layer: Layer, name: str) -> list[np.ndarray]:
    """A weight, or its real and its imaginary part."""
    names = [name] if name in layer.arrays else [f"{name}/{part}" for part in PARTS]
    return [layer.arrays[n] for n in names]
