"""Blocks: synapse, neuron and delays in one layer, exported as one layer of a .net file.

A family (cuba, sigma_delta) supplies the neuron class and the default of ``delay_shift``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import h5py
import numpy as np
import torch
from torch import nn

from lavalike.errors import ExportError, InputError
from lavalike.slayer import axon, synapse
from lavalike.slayer.neuron.base import W_SCALE, Neuron
from lavalike.slayer.utils.quantize import quantize
from netx import writer

MAX_DELAY = 62


class Block(nn.Module):
    """Base of all blocks.

    Args:
        neuron_params: keyword arguments of the family's Neuron. Never changed here.
        delay: a learnable delay of 0..62 steps per output channel. Default False.
        delay_shift: shift the output by one step, as messages on the chip take one. Default: the family's.
        count_log: return ``(output, event rate)``.

    ``shape`` is the shape of one output message, known after the first call (or where it never varies).
    """

    neuron_class: ClassVar[Callable[..., Neuron]]
    shift_default: ClassVar[bool] = True
    kind: ClassVar[str]

    def __init__(self, neuron_params: Mapping[str, Any] | None, delay: bool = False, delay_shift: bool | None = None,
                 count_log: bool = False, channels: int | None = None) -> None:
        super().__init__()
        self.neuron = None if neuron_params is None else type(self).neuron_class(**neuron_params)
        if self.neuron is not None and channels is not None:
            self.neuron.fit(channels)
        self.delay = axon.Delay(max_delay=MAX_DELAY, channels=channels) if delay else None
        self.delay_shift = self.shift_default if delay_shift is None else bool(delay_shift)
        self.count_log = count_log
        self.shape: tuple[int, ...] | None = None
        self.input_shape: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        return f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}"

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Synapse and neuron."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> Any:
        """``(batch, *shape, time)`` to the same layout, with the event rate if count_log."""
        if x.dim() not in (3, 5) or 0 in x.shape:
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}; expected (batch, N, time) or (batch, C, H, W, time), none 0")
        self.input_shape = tuple(x.shape[1:-1])
        x = self.compute(x)
        if self.delay_shift:
            x = axon.delay(x, 1)
        if self.delay is not None:
            x = self.delay(x)
        self.shape = tuple(x.shape[1:-1])
        return (x, (x.detach() != 0).to(x.dtype).mean()) if self.count_log else x

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an output message for an input message of ``shape`` (C, H, W) or (N,)."""
        raise NotImplementedError

    # -- export ------------------------------------------------------------------------------------------

    def device_params(self) -> dict[str, Any] | None:
        return None if self.neuron is None else self.neuron.device_params  # type: ignore[no-any-return]

    def export_hdf5(self, handle: h5py.Group, input_shape: tuple[int, ...] | None = None) -> None:
        """Write this layer into the group ``handle``.

        Args:
            input_shape: shape of an input message, needed where the block was never called.
        """
        if input_shape is not None:
            self.input_shape = tuple(input_shape)
            self.shape = self.output_shape(self.input_shape)
        if self.shape is None or self.input_shape is None:
            raise ExportError(f"{handle.name}: {self.label} does not know its shape: call the network once, or give input_shape")
        if self.neuron is not None and self.neuron.w_scale != W_SCALE:
            raise ExportError(f"{handle.name}: {self.label}: scale is {self.neuron.w_scale}; files count in 1/{W_SCALE}")
        writer.write_type(handle, self.kind)
        handle.create_dataset("shape", data=np.array(self.shape, np.int64))
        handle.attrs["delay_shift"] = int(self.delay_shift)
        handle.attrs["input_shape"] = np.array(self.input_shape, np.int64)
        self.write(handle)
        if any(not bool(torch.isfinite(p).all()) for p in self.parameters()):
            raise ExportError(f"{handle.name}: {self.label}: a parameter is NaN or infinite: the training diverged")
        params = self.device_params()
        if params is not None:
            if params.get("activation", "relu") != "relu":
                raise ExportError(f"{handle.name}: {self.label}: activation {params['activation']!r} has no process; relu has")
            writer.write_neuron(handle.create_group("neuron"), params)

    def write(self, handle: h5py.Group) -> None:
        """The layer's own keys."""
        norm = self.neuron.norm if self.neuron is not None else None
        bias = getattr(self.neuron, "bias", None)
        if norm is not None:
            total = norm.bias
            if bias is not None and bool((bias != 0).any()):
                raise ExportError(f"{handle.name}: {self.label} has both a norm and set_bias; fold one into the other")
            handle.create_dataset("bias", data=_numbers(total.expand(self.shape[0])))  # type: ignore[index]
        elif bias is not None and bool((bias != 0).any()):
            handle.create_dataset("bias", data=_numbers(self.neuron.quantize_8bit(bias, descale=True).expand(self.shape[0])))  # type: ignore
        if self.delay is not None:
            self.delay.clamp()
            handle.create_dataset("delay", data=_numbers(self.delay.delay.floor()))


def _numbers(x: torch.Tensor) -> np.ndarray:
    if not bool(torch.isfinite(x).all()):
        raise ExportError("a parameter is NaN or infinite: the training diverged")
    return x.detach().cpu().numpy().astype(np.float32)


def _hook(block: Block, pre_hook_fx: synapse.Hook | None) -> synapse.Hook:
    return block.neuron.quantize_8bit if pre_hook_fx is None else pre_hook_fx  # type: ignore[union-attr]


def _weight(block: Block, weight: torch.Tensor, name: str) -> np.ndarray:
    """Weights in use, as integers of 1/scale; refused where they are none."""
    scaled = _numbers(weight) * block.neuron.w_scale  # type: ignore[union-attr]
    if not np.array_equal(scaled, np.round(scaled)) or scaled.min() < -256 or scaled.max() > 255:
        raise ExportError(f"{name}: {block.label}: weights are not integers of 1/64 in -256..255; use the neuron's quantize_8bit")
    return scaled


class Input(Block):
    """Brings data in: ``z = q(x) q(weight) + q(bias)``, quantised, through the neuron.

    Args:
        neuron_params: None hands z on.
        weight, bias: learnable numbers (None: 1 and 0). z is then rounded to 1/64, what a message can hold.
    """

    kind = "input"

    def __init__(self, neuron_params: Mapping[str, Any] | None = None, weight: float | None = None, bias: float | None = None,
                 delay_shift: bool | None = None, count_log: bool = False) -> None:
        super().__init__(neuron_params, False, delay_shift if neuron_params is not None else False, count_log)
        self.weight = None if weight is None else nn.Parameter(torch.tensor([float(weight)]))
        self.bias = None if bias is None else nn.Parameter(torch.tensor([float(bias)]))

    def _quantize(self, x: torch.Tensor) -> torch.Tensor:
        return quantize(x, 2 / 64).clamp(-256 / 64, 254 / 64)

    def _encode(self, z: torch.Tensor) -> torch.Tensor:
        return z if self.neuron is None else self.neuron(z)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        z = self._quantize(x)
        if self.weight is not None:
            z = quantize(z * self._quantize(self.weight), 1 / 64)
        if self.bias is not None:
            z = z + self._quantize(self.bias)
        return self._encode(z)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        if "bias" in handle:  # the norm's; the input layer's own bias has that name
            raise ExportError(f"{handle.name}: {self.label}: a norm in an Input block cannot be exported")
        if self.weight is not None or self.bias is not None:
            if self.neuron is None:
                raise ExportError(f"{handle.name}: {self.label}: weight and bias need a neuron to act on")
            one = torch.ones(1) if self.weight is None else self.weight
            zero = torch.zeros(1) if self.bias is None else self.bias
            handle.create_dataset("weight", data=_numbers(self._quantize(one) * 64))
            handle.create_dataset("bias", data=_numbers(self._quantize(zero) * 64))


class Flatten(Block):
    """(batch, C, H, W, time) -> (batch, C*H*W, time)."""

    kind = "flatten"

    def __init__(self, count_log: bool = False) -> None:
        super().__init__(None, False, False, count_log)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (int(np.prod(shape)),)

    def write(self, handle: h5py.Group) -> None:
        pass


class Dense(Block):
    """All-to-all synapse and neuron.

    Args:
        in_neurons, out_neurons, weight_scale, weight_norm, pre_hook_fx: see synapse.Dense; pre_hook_fx defaults to
            the neuron's 8-bit quantisation.
        mask: (out, in), multiplied to the weight.
    """

    kind = "dense"

    def __init__(self, neuron_params: Mapping[str, Any], in_neurons: int, out_neurons: int, weight_scale: float = 1,
                 weight_norm: bool = False, pre_hook_fx: synapse.Hook | None = None, delay: bool = False,
                 delay_shift: bool | None = None, mask: torch.Tensor | None = None, count_log: bool = False) -> None:
        super().__init__(neuron_params, delay, delay_shift, count_log, out_neurons)
        self.synapse = synapse.Dense(in_neurons, out_neurons, weight_scale, weight_norm, _hook(self, pre_hook_fx))
        if mask is not None and tuple(mask.shape) != (out_neurons, in_neurons):
            raise InputError(f"{self.label}: mask has shape {tuple(mask.shape)}; expected {(out_neurons, in_neurons)}")
        self.register_buffer("mask", mask)

    def respond(self, z: torch.Tensor) -> torch.Tensor:
        """The neuron's answer to the synapse's current."""
        return self.neuron(z)  # type: ignore[misc]

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.respond(self.synapse(x, self.mask))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.synapse.out_neurons,)

    def export_hdf5(self, handle: h5py.Group, input_shape: tuple[int, ...] | None = None) -> None:
        super().export_hdf5(handle, input_shape if input_shape is not None else (self.synapse.in_neurons,))

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        weight = self.synapse.effective_weight()[:, :, 0, 0, 0]
        handle.create_dataset("weight", data=_weight(self, weight if self.mask is None else weight * self.mask, handle.name))
        handle.create_dataset("inFeatures", data=self.synapse.in_neurons)
        handle.create_dataset("outFeatures", data=self.synapse.out_neurons)


class _Spatial(Block):
    """A synapse with a kernel, and a neuron."""

    synapse: Any

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.synapse(x))  # type: ignore[no-any-return, misc]

    def _out(self, channels: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        s = self.synapse
        if len(shape) != 3:
            raise ExportError(f"{self.label}: input_shape is (channels, height, width), got {shape}")
        size = [(n + 2 * p - d * (k - 1) - 1) // st + 1
                for n, p, d, k, st in zip(shape[1:], s.padding, s.dilation, s.kernel_size, s.stride, strict=True)]
        return (channels, *size)

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        s = self.synapse
        handle.create_dataset("weight", data=_weight(self, s.effective_weight()[..., 0], handle.name))
        for key, value in (("kernelSize", s.kernel_size), ("stride", s.stride), ("padding", s.padding), ("dilation", s.dilation)):
            handle.create_dataset(key, data=np.array(value, np.int64))


class Conv(_Spatial):
    """Convolution and neuron; arguments of synapse.Conv after neuron_params."""

    kind = "conv"

    def __init__(self, neuron_params: Mapping[str, Any], in_features: int, out_features: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1, weight_scale: float = 1, weight_norm: bool = False,
                 pre_hook_fx: synapse.Hook | None = None, delay: bool = False, delay_shift: bool | None = None,
                 count_log: bool = False) -> None:
        super().__init__(neuron_params, delay, delay_shift, count_log, out_features)
        self.synapse = synapse.Conv(in_features, out_features, kernel_size, stride, padding, dilation, groups, weight_scale, weight_norm,
                                    _hook(self, pre_hook_fx))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._out(self.synapse.out_channels, shape)

    def write(self, handle: h5py.Group) -> None:
        if self.delay is not None:
            raise ExportError(f"{handle.name}: {self.label}: netx has no convolution with delays; train with delay=False")
        super().write(handle)
        handle.create_dataset("inChannels", data=self.synapse.in_channels)
        handle.create_dataset("outChannels", data=self.synapse.out_channels)
        handle.create_dataset("groups", data=self.synapse.groups)


class Pool(_Spatial):
    """Sum pooling and neuron, without the norm; arguments of synapse.Pool after neuron_params."""

    kind = "pool"

    def __init__(self, neuron_params: Mapping[str, Any], kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 weight_scale: float = 1, weight_norm: bool = False, pre_hook_fx: synapse.Hook | None = None, delay: bool = False,
                 delay_shift: bool | None = None, count_log: bool = False) -> None:
        super().__init__({**neuron_params, "norm": None}, delay, delay_shift, count_log)
        self.synapse = synapse.Pool(kernel_size, stride, padding, dilation, weight_scale, weight_norm, _hook(self, pre_hook_fx))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._out(shape[0], shape)

    def write(self, handle: h5py.Group) -> None:
        if self.delay is not None:
            raise ExportError(f"{handle.name}: {self.label}: netx has no pooling with delays; train with delay=False")
        super().write(handle)
