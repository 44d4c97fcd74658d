"""Sizes that a file declares, compared with each other before anything of them is read or made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from netx.reader import Layer

Fail = Callable[[str, str], Exception]
INT32 = 2**31 - 1  # neurons and synapses are counted in 32 bits
MAX_DELAY = 62
# bytes: of a weight; of a neuron's states, parameters and sums; of any other number
WEIGHT, NEURON, NUMBER = 4, 64, 8
# layers may need so many bytes, and so many more for every byte of the file
SMALL, RATIO = 1 << 30, 16


def check(
    layer: Layer, stated: dict[str, np.ndarray], before: Layer | None, ours: bool, fail: Fail
) -> None:
    """The shapes of a layer's weights, biases and delays against its own shape and that of the
    layer before.

    ``layer.shapes`` holds what is declared; ``stated`` what the file says once more (inFeatures and
    so on).
    """
    if layer.type == "flatten":
        if before is not None and math.prod(before.shape) != math.prod(layer.shape):
            raise fail(f"{layer.key}/shape", f"{layer.shape} after a layer of shape {before.shape}")
    elif layer.input_shape is not None and before is not None:
        same = (
            layer.input_shape == before.shape
            if layer.spatial
            else math.prod(layer.input_shape) == math.prod(before.shape)
        )
        if not same:
            raise fail(
                f"{layer.key}@input_shape",
                f"is {layer.input_shape}; the layer before has shape {before.shape}",
            )
    want: dict[str, int | list[int]] = {}
    if layer.type in ("dense", "dense_rec"):
        want = _dense(layer, before, fail)
    elif layer.spatial:
        want = _kernel(layer, before, fail)
    for name, value in stated.items():
        key = f"{layer.key}/{name}"
        if name not in want:
            if value.min() < 0:
                raise fail(key, f"{value.min()} is negative")
            continue
        expected = want[name]
        got = value.reshape(-1).tolist()
        if isinstance(expected, list):
            fits = (got[:2] == expected and got[2:] in ([], [1])) or (
                len(got) == 1 and expected == got * 2
            )
        else:
            fits = got == [expected]
        if not fits:
            raise fail(key, f"is {got if len(got) > 1 else got[0]}; the weights have {expected}")
    for name, shape in layer.shapes.items():
        if name.startswith("bias"):
            per_channel(f"{layer.key}/{name}", shape, layer.channels, fail)


def per_channel(key: str, shape: tuple[int, ...], channels: int, fail: Fail) -> None:
    """One number, or one a channel along one axis."""
    size = math.prod(shape)
    if size != 1 and size != channels:
        raise fail(key, f"{size} values for {channels} channels")
    if size != 1 and max(shape) != size:
        raise fail(key, f"shape {shape}; one number or ({channels},) is expected")


def _columns(layer: Layer, shape: tuple[int, ...], rows: int, before: Layer | None) -> int | None:
    """Inputs of a dense layer; without a layer before, those its file says or its first weight
    has."""
    if before is not None:
        return math.prod(before.shape)
    if layer.input_shape is not None:
        return math.prod(layer.input_shape)
    return shape[1] if len(shape) == 2 else shape[0] if len(shape) == 1 and rows == 1 else None


def _dense(layer: Layer, before: Layer | None, fail: Fail) -> dict[str, int | list[int]]:
    rows = math.prod(layer.shape)
    columns = _columns(
        layer, layer.shapes["weight/real" if layer.complex else "weight"], rows, before
    )
    for name, shape in layer.shapes.items():
        key = f"{layer.key}/{name}"
        if name.startswith("weight"):
            inputs = rows if name.startswith("weight_rec") else columns
            if shape != (rows, inputs) and not (rows == 1 and shape == (inputs,)):
                raise fail(
                    key,
                    f"shape {shape} does not fit {rows} neurons{f' with {inputs} inputs' if inputs is not None else ''}",
                )
            if math.prod(shape) > INT32:
                raise fail(key, f"{math.prod(shape)} synapses are more than {INT32}")
        elif (
            name == "delay"
            and math.prod(shape) != 1
            and shape not in ((rows,), (columns,), (rows, columns))
        ):
            raise fail(key, f"shape {shape} fits neither {rows} neurons nor {columns} inputs")
    return {"inFeatures": int(columns or 0), "outFeatures": rows}


def _kernel(layer: Layer, before: Layer | None, fail: Fail) -> dict[str, int | list[int]]:
    transposed, pooling = layer.type in ("convT", "unpool"), layer.type in ("pool", "unpool")
    if len(layer.shape) != 3:
        raise fail(
            f"{layer.key}/shape",
            f"(C, H, W) is expected in a {layer.type} layer, found {layer.shape}",
        )
    inputs = before.shape if before is not None else layer.input_shape
    if inputs is not None and len(inputs) != 3:
        raise fail(
            f"{layer.key}/type",
            f"{layer.type} after a layer of shape {inputs}; (C, H, W) is expected",
        )
    groups = 1
    if not pooling:
        if layer.arrays["groups"].size != 1:
            raise fail(
                f"{layer.key}/groups",
                f"one number is expected, found {layer.arrays['groups'].size}",
            )
        groups = int(layer.arrays["groups"].reshape(-1)[0])
    for name, shape in layer.shapes.items():
        key = f"{layer.key}/{name}"
        if name == "delay":
            per_channel(key, shape, layer.channels, fail)
        if not name.startswith("weight"):
            continue
        kernel = shape[:4]
        if len(kernel) != 4 or shape[4:] not in ((), (1,)):
            axes = (
                "(1, 1, H, W)"
                if pooling
                else "(in, out, H, W)"
                if transposed
                else "(out, in, H, W)"
            )
            raise fail(key, f"shape {shape}; {axes} is expected")
        if pooling:
            if kernel[:2] != (1, 1):
                raise fail(key, f"shape {shape}; (1, 1, H, W) is expected")
            continue
        sent, taken = (
            (kernel[1] * groups, kernel[0]) if transposed else (kernel[0], kernel[1] * groups)
        )
        if sent != layer.shape[0]:
            raise fail(
                key,
                f"shape {shape} in {groups} groups does not fit a layer of {layer.shape[0]} channels",
            )
        if inputs is not None and taken != inputs[0]:
            raise fail(key, f"shape {shape} in {groups} groups does not fit {inputs[0]} channels")
    weight = layer.shapes["weight/real" if layer.complex else "weight"]
    sizes: dict[str, int | list[int]] = {"kernelSize": list(weight[2:4])}
    if not pooling:
        sizes |= {
            "inChannels": weight[0] if transposed else weight[1] * groups,
            "outChannels": layer.shape[0],
        }
    return sizes


def need(layer: Layer, before: Layer | None) -> int:
    """Bytes that a layer's processes hold, and that a run adds for padding and delays."""
    neurons = math.prod(layer.shape)
    weights = sum(
        math.prod(shape) for name, shape in layer.shapes.items() if name.startswith("weight")
    )
    total = weights * WEIGHT + neurons * (0 if layer.type == "flatten" else NEURON)
    inputs = before.shape if before is not None else layer.input_shape
    if layer.type == "average" and inputs is not None:
        total += neurons * math.prod(inputs) * WEIGHT
    if layer.spatial and inputs is not None:
        padding = (
            np.broadcast_to(layer.arrays["padding"].reshape(-1), (2,))
            if layer.arrays["padding"].size < 3
            else (0, 0)
        )
        total += (
            inputs[0]
            * math.prod(n + 2 * max(int(p), 0) for n, p in zip(inputs[1:], padding, strict=True))
            * NUMBER
        )
    if "delay" in layer.shapes:
        total += (weights if layer.type.startswith("dense") else 0) * NUMBER + neurons * (
            MAX_DELAY + 1
        ) * NUMBER
    return total


def budget(layers: Sequence[Layer], stored: int, fail: Fail) -> None:
    """All layers together need no more than a file of ``stored`` bytes may ask for."""
    total, limit = 0, SMALL + RATIO * stored
    for k, layer in enumerate(layers):
        total += need(layer, layers[k - 1] if k else None)
        if total > limit:
            raise fail(
                f"{layer.key}/shape",
                f"the layers up to this one need {total} bytes; a file of {stored} bytes may ask for {limit}",
            )
