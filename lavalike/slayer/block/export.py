"""How blocks are written: one group a layer, whole numbers of 1/64 (format: docs/design.md; netx
reads it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch

from lavalike.errors import ExportError
from lavalike.slayer.neuron.base import W_SCALE
from netx import writer

if TYPE_CHECKING:
    from lavalike.slayer.block.base import Block, Input

UNREACHABLE = (1 << 18) - 1  # a threshold no voltage exceeds


def block(self: Block, handle: h5py.Group, input_shape: tuple[int, ...] | None) -> None:
    """What all layers have, around their own keys."""
    if input_shape is not None:
        self.input_shape = tuple(input_shape)
        self.shape = self.output_shape(self.input_shape)
        self.fit(self.shape[0])
    if self.shape is None or self.input_shape is None:
        raise ExportError(
            f"{handle.name}: {self.label} does not know its shape: call the network once, or give input_shape"
        )
    if any(not bool(torch.isfinite(p).all()) for p in self.parameters()):
        raise ExportError(
            f"{handle.name}: {self.label}: a parameter is NaN or infinite: the training diverged"
        )
    neuron = self.unit
    if neuron is not None and neuron.w_scale != W_SCALE:
        raise ExportError(
            f"{handle.name}: {self.label}: scale is {neuron.w_scale}; files count in 1/{W_SCALE}"
        )
    if neuron is not None and neuron.graded_spike:
        raise ExportError(
            f"{handle.name}: {self.label}: graded spikes have no process; train with graded_spike=False"
        )
    if getattr(getattr(neuron, "delta", None), "cum_error", False):
        raise ExportError(
            f"{handle.name}: {self.label}: cum_error cannot be exported; train with cum_error=False"
        )
    writer.write_type(handle, self.kind)
    handle.create_dataset("shape", data=np.array(self.shape, np.int64))
    handle.attrs["delay_shift"] = int(self.delay_shift)
    handle.attrs["input_shape"] = np.array(self.input_shape, np.int64)
    self.write(handle)
    params = self.device_params()
    if params is not None:
        if params.get("activation", "relu") != "relu":
            raise ExportError(
                f"{handle.name}: {self.label}: activation {params['activation']!r} has no process; relu has"
            )
        writer.write_neuron(handle.create_group("neuron"), params)


def numbers(x: torch.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy().astype(np.float32)


def bias(self: Block, handle: h5py.Group) -> None:
    """A norm's running mean, or the neuron's own bias."""
    neuron = self.unit
    if neuron is None:
        return
    own: Any = getattr(neuron, "bias", None)
    set_bias = own is not None and bool((own != 0).any())
    channels = self.shape[0]  # type: ignore[index]  # a block that is exported was called
    for norm in neuron.norms:
        if not hasattr(norm, "bias"):
            raise ExportError(
                f"{handle.name}: {self.label}: {type(norm).__name__} has no bias a deployed neuron could take"
            )
        if getattr(norm, "weight_exp", None) is not None and bool((norm.weight_exp != 0).any()):
            factor = 2.0 ** -float(norm.weight_exp.max())
            raise ExportError(
                f"{handle.name}: {self.label}: {type(norm).__name__} scales the weights by {factor:g}; "
                "files hold no such factor: fold it into weight_scale and train with MeanOnlyBatchNorm"
            )
    if neuron.norms and set_bias:
        raise ExportError(
            f"{handle.name}: {self.label} has both a norm and set_bias; fold one into the other"
        )
    if len(neuron.norms) == 2:
        for part, norm in zip(("real", "imag"), neuron.norms, strict=True):
            handle.create_dataset(f"bias/{part}", data=numbers(norm.bias.expand(channels)))
    elif neuron.norms:
        handle.create_dataset("bias", data=numbers(neuron.norms[0].bias.expand(channels)))
    elif set_bias:
        handle.create_dataset(
            "bias", data=numbers(neuron.quantize_8bit(own, descale=True).expand(channels))
        )


def delay(self: Block, handle: h5py.Group) -> None:
    if self.delay is not None:
        handle.create_dataset("delay", data=numbers(self.delay.steps()))


def weights(self: Block, weight: torch.Tensor, name: str) -> np.ndarray:
    """Weights in use, as integers of 1/64; refused where they are none."""
    scaled = numbers(weight) * W_SCALE
    if not np.array_equal(scaled, np.round(scaled)) or scaled.min() < -256 or scaled.max() > 255:
        raise ExportError(
            f"{name}: {self.label}: weights are not integers of 1/64 in -256..255; use the neuron's quantize_8bit"
        )
    return scaled


def _parts(name: str, synapse: Any) -> list[tuple[str, Any]]:
    """(dataset, synapse) of a real synapse or of both parts of a complex one."""
    return (
        [(f"{name}/real", synapse.real), (f"{name}/imag", synapse.imag)]
        if hasattr(synapse, "real")
        else [(name, synapse)]
    )


def dense(
    self: Block, handle: h5py.Group, name: str, synapse: Any, mask: torch.Tensor | None
) -> None:
    for key, part in _parts(name, synapse):
        weight = part.effective_weight()[:, :, 0, 0, 0]
        handle.create_dataset(
            key, data=weights(self, weight if mask is None else weight * mask, handle.name)
        )
    handle.create_dataset("inFeatures", data=synapse.in_neurons)
    handle.create_dataset("outFeatures", data=synapse.out_neurons)


def feedback(self: Block, handle: h5py.Group, synapse: Any) -> None:
    for key, part in _parts("weight_rec", synapse):
        handle.create_dataset(
            key, data=weights(self, part.effective_weight()[:, :, 0, 0, 0], handle.name)
        )


def kernel(self: Block, handle: h5py.Group, synapse: Any) -> None:
    if synapse.axes != 2:
        raise ExportError(f"{handle.name}: {self.label}: three-dimensional kernels have no process")
    for key, part in _parts("weight", synapse):
        handle.create_dataset(key, data=weights(self, part.effective_weight()[..., 0], handle.name))
    for key, value in (
        ("kernelSize", synapse.kernel_size),
        ("stride", synapse.stride),
        ("padding", synapse.padding),
        ("dilation", synapse.dilation),
    ):
        handle.create_dataset(key, data=np.array(value, np.int64))


def input_(self: Input, handle: h5py.Group) -> None:
    if self.pre_hook_fx is not None:
        raise ExportError(
            f"{handle.name}: {self.label}: pre_hook_fx: what a file's input is rounded to is its own; use None"
        )
    if self.complex:
        raise ExportError(
            f"{handle.name}: {self.label}: a resonator's (real, imag) input has no process; begin with a Dense or Conv block"
        )
    if (
        self.unit is not None and self.neuron.norms
    ):  # the input layer's own bias has the name of the norm's
        raise ExportError(
            f"{handle.name}: {self.label}: a norm in an Input block cannot be exported"
        )
    bias(self, handle)
    if self.unit is None and self.delay_shift:
        raise ExportError(
            f"{handle.name}: {self.label}: delay_shift needs a neuron; use delay_shift=False"
        )
    if self.weight is None and self.bias is None:
        return
    if self.unit is None:
        raise ExportError(f"{handle.name}: {self.label}: weight and bias need a neuron to act on")
    if "bias" in handle:
        raise ExportError(
            f"{handle.name}: {self.label}: both the Input block and its neuron have a bias; fold one into the other"
        )
    one = torch.ones(1) if self.weight is None else self.weight
    zero = torch.zeros(1) if self.bias is None else self.bias
    handle.create_dataset("weight", data=numbers(self.quantize(one) * 64))
    handle.create_dataset("bias", data=numbers(self.quantize(zero) * 64))
