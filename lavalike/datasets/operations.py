"""Operations of a trained network, counted against the network of the same shape without spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.arguments import Rule, arguments, as_numbers, optional, real
from lavalike.errors import InputError


def _is_list(value: Any) -> bool:
    array = as_numbers(value)
    return array is not None and array.ndim > 0 and array.dtype.kind in "iuf"


_RULES = {
    "net": Rule(
        "a network with blocks", lambda v: hasattr(v, "blocks") and not isinstance(v, type)
    ),
    "counts": Rule("numbers, one for each block that has a neuron", _is_list),
    "mse": optional(real(0)),
}


@dataclass(frozen=True)
class LayerOperations:
    """One layer, a sample and time step: messages sent and synaptic operations made; neurons and
    multiply-accumulates of the ANN."""

    name: str
    shape: tuple[int, ...]
    events: float
    synops: float | None  # None where no synapse leads into the layer
    activations: int
    macs: float | None


@dataclass(frozen=True)
class Operations:
    """The layers and their totals. A ratio is inf where nothing was sent."""

    layers: tuple[LayerOperations, ...]
    mse: float | None
    events: float
    synops: float
    activations: int
    macs: float
    event_sparsity: float
    synop_sparsity: float


def fan_out(synapse: Any) -> float:
    """Synaptic operations of one message, borders of a convolution counted as if there were none
    (as lava-dl counts).

    Raises:
        InputError: the synapse is of no kind known here.
    """
    if hasattr(synapse, "real"):
        return fan_out(synapse.real) + fan_out(synapse.imag)
    kind = type(synapse).__name__
    if kind == "Dense":
        return float(synapse.out_neurons)
    if kind not in ("Conv", "Pool", "ConvTranspose", "Unpool"):
        raise InputError(
            f"compare_ops: does not know how many operations a message causes in {kind}; "
            "Dense, Conv, Pool, ConvTranspose, Unpool and their complex forms are known"
        )
    taps = math.prod(synapse.kernel_size)
    if kind in ("Conv", "Pool"):
        taps /= math.prod(synapse.stride)
    return taps * (synapse.out_channels / synapse.groups if hasattr(synapse, "out_channels") else 1)


@arguments(**_RULES)
def count_operations(net: Any, counts: Sequence[float], mse: float | None = None) -> Operations:
    """What ``compare_ops`` prints, without printing; the same arguments and errors."""
    blocks = list(net.blocks)
    spiking = [b for b in blocks if getattr(b, "neuron", None) is not None]
    numbers = np.asarray(as_numbers(counts), float)
    if numbers.shape != (len(spiking),):
        raise InputError(
            f"compare_ops: counts has shape {numbers.shape}; expected one number for each of the {len(spiking)} blocks "
            "that have a neuron, in their order (the mean over batches of what the network returned)"
        )
    if not np.isfinite(numbers).all() or (numbers < 0).any():
        raise InputError(f"compare_ops: counts are finite and >= 0, got {numbers.tolist()}")
    layers: list[LayerOperations] = []
    sent: float | None = None  # messages into the block; None where nobody counted them
    size = 0
    for i, block in enumerate(blocks):
        name = f"{type(block).__module__.rsplit('.', 1)[-1]}.{type(block).__name__} (block {i})"
        if block.shape is None:
            raise InputError(f"compare_ops: {name} does not know its shape: call the network once")
        values = math.prod(block.shape)
        if getattr(block, "neuron", None) is None:
            sent = sent if values == size else None
        else:
            synops = macs = None
            synapse = getattr(block, "synapse", None) or getattr(block, "input_synapse", None)
            if synapse is not None:
                if sent is None:
                    raise InputError(
                        f"compare_ops: the messages into {name} were not counted: the block before it has to have a neuron, "
                        "or to hand all messages on as Flatten does"
                    )
                each = fan_out(synapse)
                synops, macs = sent * each, size * each
                if hasattr(block, "recurrent_synapse"):
                    each = fan_out(block.recurrent_synapse)
                    synops, macs = synops + numbers[len(layers)] * each, macs + values * each
            sent = float(numbers[len(layers)])
            layers.append(
                LayerOperations(
                    f"layer-{len(layers)}", tuple(block.shape), sent, synops, values, macs
                )
            )
        size = values
    events, synops = float(numbers.sum()), math.fsum(v.synops or 0 for v in layers)
    activations, macs = sum(v.activations for v in layers), math.fsum(v.macs or 0 for v in layers)
    return Operations(
        tuple(layers),
        mse,
        events,
        synops,
        activations,
        macs,
        activations / events if events else math.inf,
        macs / synops if synops else math.inf,
    )


@arguments(**_RULES)
def compare_ops(net: Any, counts: Sequence[float], mse: float | None = None) -> Operations:
    """Print messages and synaptic operations of ``net`` beside activations and multiply-accumulates
    of the ANN of its shape.

    Args:
        net: has ``blocks``, called once so that their shapes are known.
        counts: messages a sample and time step, of each block that has a neuron.
        mse: printed below if given, in square radians, finite and >= 0.

    A convolution's synaptic operations are ``messages * out channels * kernel size / stride`` of
    the layer before, padding not considered (lava-dl's convention).

    Returns:
        The numbers, as Operations.
    Raises:
        InputError: counts do not fit the blocks, a block's shape is not known, or its synapse is of
            another kind.
    """
    result = count_operations(net, counts, mse)
    rule = "|" + "-" * 77 + "|"
    print(
        rule,
        "|                         |          SDNN           |           ANN           |",
        rule,
        "|         |     Shape     |  Events  |    Synops    | Activations|    MACs    |",
        rule,
        sep="\n",
    )
    for layer in result.layers:
        shape = (1, 1, *layer.shape) if len(layer.shape) == 1 else layer.shape[::-1]
        synops = "" if layer.synops is None else f"{layer.synops:.2f}"
        macs = "" if layer.macs is None else f"{layer.macs:.0f}"
        place = ",".join(f"{n:3d}" if k != 1 else f" {n:2d}" for k, n in enumerate(shape))
        print(
            f"| {layer.name:7s} | ({place}) | {layer.events:8.2f} | {synops:>12s} | {layer.activations:10d} | {macs:>10s} |"
        )
    total = f"{result.events:8.2f} | {result.synops:12.2f} | {result.activations:10d} | {result.macs:10.0f}"
    print(rule, f"|  Total  |               | {total} |", rule, "\n", sep="\n")
    if mse is not None:
        print(f"MSE            : {mse:.5g} sq. radians")
    print(f"Total neurons  : {result.activations}")
    print(f"Events sparsity: {result.event_sparsity:.2f}x")
    print(f"Synops sparsity: {result.synop_sparsity:.2f}x")
    return result
