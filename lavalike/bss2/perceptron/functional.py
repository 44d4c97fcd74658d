"""Operations of perceptron mode, with hxtorch's names, arguments and defaults: tensors in, float32
tensors of integers out.

``mock=True`` computes hxtorch's mock arithmetic; ``mock=False`` runs on the current chip at its
level. Digital operations (add, argmax, relu, converting_relu) round and limit alike as mock,
without a chip and on one, but at level "ideal" they are floating point, without rounding and
limits, as the products are; they go to hxtorch only where the current chip is at level "hardware".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lavalike.arguments import (
    FLAG,
    TENSOR,
    TEXT,
    Rule,
    arguments,
    either,
    integer,
    is_real,
    optional,
    real,
    sequence,
    whole,
)
from lavalike.bss2.chip import Chip, facts
from lavalike.bss2.chip.analog import (
    CONVOLVED,
    convolution,
    mock_convolution,
    mock_product,
    product,
)
from lavalike.bss2.chip.converters import rectify
from lavalike.bss2.errors import OperandError, OperandTypeError, RecordingError
from lavalike.bss2.perceptron import trace
from lavalike.bss2.perceptron.mock import chip_for, get_mock_parameter, level_for, mocked

Stride = int | Sequence[int]
_STRIDE = either(integer(1), sequence(integer(1)))


def _door(**rules: Rule) -> Any:
    """Operations are called in every step: they check their values, and only where they fail it is
    looked what they were called with."""
    return arguments(error=OperandError, late=True, mock=FLAG, **rules)


_SENT = {"num_sends": integer(1), "wait_between_events": integer(1), "layer": TEXT}
_RECORDED = {"madc_recording_neuron_id": integer(0), "madc_recording_path": TEXT}
_CONVOLVED = {
    "input": TENSOR,
    "weight": TENSOR,
    "bias": optional(TENSOR),
    "stride": _STRIDE,
    **_SENT,
}


@trace.traced
@_door(input=TENSOR, other=TENSOR, **_SENT, **_RECORDED)
def matmul(
    input: torch.Tensor,
    other: torch.Tensor,
    num_sends: int = 1,
    wait_between_events: int = facts.DEFAULT_WAIT,
    mock: bool = False,
    madc_recording_neuron_id: int = 0,
    madc_recording_path: str = "",
    *,
    layer: str = "matmul",
) -> torch.Tensor:
    """``input @ other`` in the synapse array.

    Args:
        input: 1-D, 2-D, or more, whose leading dimensions are a batch; rounds to 0..31.
        other: weights, 1-D or 2-D, round to -63..63.
        num_sends: how often the inputs are sent. Default 1.
        wait_between_events: FPGA cycles of 8 ns between two events. It decides how long a run
            takes; only at level "hardware" does it change what is read. Default 5.
        mock: see the module. Default False.
        madc_recording_neuron_id, madc_recording_path: record this neuron's membrane into a file: at
            level "hardware" only.
        layer: (not hxtorch's) whose product it is, for messages and records.

    OperandError (RuntimeError): shapes. RangeError (OverflowError): values. NoChipError: no chip
    and not mock.
    """
    if input.dim() == 0 or other.dim() == 0:
        raise OperandError(
            f"{layer}: operands need at least one dimension, got {tuple(input.shape)} and {tuple(other.shape)} "
            "for input and other"
        )
    if other.dim() > 2:
        raise OperandError(
            f"{layer}: weights with {other.dim()} dimensions are not implemented yet; 1-D or 2-D are expected, "
            f"got {tuple(other.shape)} for other"
        )
    if input.shape[-1] != other.shape[0]:
        raise OperandError(
            f"{layer}: the last dimension of inputs and the first of weights differ, {tuple(input.shape)} and "
            f"{tuple(other.shape)} for input and other"
        )
    return _mac(
        input,
        other,
        num_sends,
        wait_between_events,
        mock,
        madc_recording_neuron_id,
        madc_recording_path,
        layer,
        ("input", "other") if layer == "matmul" else CONVOLVED,
    )


@trace.traced
@_door(x=TENSOR, weights=TENSOR, **_SENT, **_RECORDED)
def mac(
    x: torch.Tensor,
    weights: torch.Tensor,
    num_sends: int = 1,
    wait_between_events: int = facts.DEFAULT_WAIT,
    mock: bool = False,
    madc_recording_neuron_id: int = 0,
    madc_recording_path: str = "",
    *,
    layer: str = "mac",
) -> torch.Tensor:
    """:func:`matmul` for x 1-D or 2-D and weights 2-D."""
    if weights.dim() != 2 or x.dim() not in (1, 2):
        raise OperandError(
            f"{layer}: inputs with 1 or 2 and weights with 2 dimensions are expected, got {tuple(x.shape)} and "
            f"{tuple(weights.shape)} for x and weights"
        )
    return _mac(
        x,
        weights,
        num_sends,
        wait_between_events,
        mock,
        madc_recording_neuron_id,
        madc_recording_path,
        layer,
        ("x", "weights"),
    )


def _mac(
    input: torch.Tensor,
    other: torch.Tensor,
    num_sends: int,
    wait: int,
    mock: bool,
    neuron: int,
    path: str,
    layer: str,
    names: tuple[str, str],
) -> torch.Tensor:
    _check_settings(layer, neuron, path)
    if 0 in other.shape:
        raise OperandError(
            f"{layer}: weights (K, N) need K, N >= 1, got inputs {tuple(input.shape)} and weights {tuple(other.shape)}"
        )
    chip = chip_for(mock, f"{layer}()" if layer in ("mac", "matmul") else layer)
    num_sends, wait = _repeats(num_sends, wait, layer)
    if path and (chip is None or chip.level != "hardware"):
        where = "as mock" if chip is None else f"on {chip.identifier}"
        raise RecordingError(
            f"{layer}: membranes are recorded at level 'hardware' only, not {where}; leave madc_recording_path empty"
        )
    x, weights = (
        input if input.dim() <= 2 else input.flatten(0, -2),
        other.unsqueeze(1) if other.dim() == 1 else other,
    )
    if chip is not None and chip.level == "hardware":
        real, model = _real(), get_mock_parameter()
        real.set_mock_parameter(
            real.MockParameter(noise_std=model.noise_std, gain=model.gain)
        )  # its gradients read this
        out = real.mac(x, weights, num_sends, wait, False, neuron, path)
    else:
        out = _multiply(
            x if x.dim() == 2 else x.unsqueeze(0), weights, num_sends, chip, layer, names
        )
    out = out.reshape((*input.shape[:-1], *other.shape[1:])).contiguous()
    trace.record_product(layer, x, weights, out, num_sends, wait)
    trace.record(
        "mac",
        input,
        out,
        {"weights": other},
        num_sends=num_sends,
        wait_between_events=wait,
        mock=chip is None,
    )
    return out


def _repeats(num_sends: int, wait: int, layer: str) -> tuple[int, int]:
    return (
        whole(num_sends, 1, f"{layer}: num_sends", OperandError),
        whole(wait, 1, f"{layer}: wait_between_events (FPGA cycles)", OperandError),
    )


def _check_settings(layer: str, neuron: int = 0, path: str = "") -> None:
    """What is only looked at where something else fails."""
    if type(layer) is not str:
        TEXT.check("perceptron", "layer", layer, OperandError)
    if type(neuron) is not int or neuron < 0:
        _RECORDED["madc_recording_neuron_id"].check(
            layer, "madc_recording_neuron_id", neuron, RecordingError
        )
    if type(path) is not str:
        TEXT.check(layer, "madc_recording_path", path, RecordingError)


def _multiply(
    x: torch.Tensor,
    weights: torch.Tensor,
    num_sends: int,
    chip: Chip | None,
    layer: str,
    names: tuple[str, str],
) -> torch.Tensor:
    model = get_mock_parameter()
    if chip is None:
        return mock_product(x, weights, model.gain, model.noise_std, num_sends, layer, names)
    return product(x, weights, chip, num_sends, layer, gradient_gain=model.gain, names=names)


def _real() -> Any:
    from lavalike.bss2.hxtorch import hardware

    return hardware.perceptron()


# -- convolutions: unfolded to products ------------------------------------------------------------


@trace.traced
@_door(**_CONVOLVED)
def conv1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Stride = 1,
    num_sends: int = 1,
    wait_between_events: int = facts.DEFAULT_WAIT,
    mock: bool = False,
    *,
    layer: str = "conv1d",
) -> torch.Tensor:
    """Convolution of (B, C, L) with (O, C, K) as a product; ``bias`` (O,) is added in floating
    point, by torch. No padding."""
    return _convolve(1, input, weight, bias, stride, num_sends, wait_between_events, mock, layer)


@trace.traced
@_door(**_CONVOLVED)
def conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Stride = 1,
    num_sends: int = 1,
    wait_between_events: int = facts.DEFAULT_WAIT,
    mock: bool = False,
    *,
    layer: str = "conv2d",
) -> torch.Tensor:
    """Convolution of (B, C, H, W) with (O, C, KH, KW) as a product; ``bias`` (O,) is added in
    floating point, by torch. No padding."""
    return _convolve(2, input, weight, bias, stride, num_sends, wait_between_events, mock, layer)


@trace.traced
@_door(num_expansions=integer(1), **_CONVOLVED)
def expanded_conv1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Stride = 1,
    num_expansions: int = 1,
    num_sends: int = 1,
    wait_between_events: int = facts.DEFAULT_WAIT,
    mock: bool = False,
    *,
    layer: str = "expanded_conv1d",
) -> torch.Tensor:
    """:func:`conv1d` with the kernel placed ``num_expansions`` times, diagonally: so many
    neighbouring outputs at once.

    Copy i of kernel o lies in column ``o * num_expansions + i``. The last window is filled with
    zeros where the outputs do not divide.
    """
    num_expansions = whole(num_expansions, 1, f"{layer}: num_expansions", OperandError)
    (step,) = _check_convolution(1, input, weight, bias, stride, layer)
    outputs, channels, kernel = weight.shape
    wide = kernel + (num_expansions - 1) * step
    count = (input.shape[-1] - kernel) // step + 1
    windows = -(-count // num_expansions)
    missing = (windows - 1) * num_expansions * step + wide - input.shape[-1]
    x = functional.pad(input, (0, missing)) if missing > 0 else input
    diagonal = torch.stack(
        [
            functional.pad(weight, (i * step, wide - kernel - i * step))
            for i in range(num_expansions)
        ],
        1,
    )
    rows = _windows(x, (wide,), (num_expansions * step,), (windows,))
    out = matmul(
        rows,
        diagonal.reshape(outputs * num_expansions, channels * wide).t(),
        num_sends,
        wait_between_events,
        mock,
        layer=layer,
    )
    out = out.reshape(len(input), windows, outputs, num_expansions).transpose(1, 2)
    out = out.reshape(len(input), outputs, windows * num_expansions)[..., :count]
    return (out if bias is None else out + bias.float().unsqueeze(-1)).contiguous()


def _check_convolution(
    dims: int,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Stride,
    layer: str,
) -> tuple[int, ...]:
    """The stride for each dimension."""
    if input.dim() != dims + 2 or weight.dim() != dims + 2:
        raise OperandError(
            f"{layer}: inputs (batch, channels, {dims} more) and weights (outputs, channels, {dims} more) are expected, "
            f"got {tuple(input.shape)} and {tuple(weight.shape)} for input and weight"
        )
    if 0 in weight.shape:
        raise OperandError(
            f"{layer}: weights need at least one output, channel and row of the kernel, got weight {tuple(weight.shape)}"
        )
    if bias is not None and tuple(bias.shape) != (len(weight),):
        raise OperandError(
            f"{layer}: a bias of shape ({len(weight)},) is expected, one for each output, got {tuple(bias.shape)}"
        )
    if input.shape[1] != weight.shape[1]:
        raise OperandError(
            f"{layer}: inputs have {input.shape[1]} channels, weights {weight.shape[1]}; groups are not supported"
        )
    if any(k > n for k, n in zip(weight.shape[2:], input.shape[2:], strict=True)):
        raise OperandError(
            f"{layer}: the kernel {tuple(weight.shape[2:])} is larger than the input {tuple(input.shape[2:])}; pad it first"
        )
    steps = tuple(stride) if isinstance(stride, Sequence) else (stride,)
    steps = steps * dims if len(steps) == 1 else steps
    if len(steps) != dims:
        raise OperandError(f"{layer}: stride is one number or {dims}, got {stride!r}")
    return tuple(whole(s, 1, f"{layer}: stride", OperandError) for s in steps)


def _convolve(
    dims: int,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Stride,
    num_sends: int,
    wait: int,
    mock: bool,
    layer: str,
) -> torch.Tensor:
    _check_settings(layer)
    steps = _check_convolution(dims, input, weight, bias, stride, layer)
    places = tuple(
        (n - k) // s + 1 for n, k, s in zip(input.shape[2:], weight.shape[2:], steps, strict=True)
    )
    kernel = tuple(weight.shape[2:])
    chip = chip_for(mock, layer)
    if (
        input.device.type != "cpu"
        or trace.tracing()
        or (chip is not None and chip.level == "hardware")
    ):
        out = matmul(
            _windows(input, kernel, steps, places),
            weight.flatten(1).t(),
            num_sends,
            wait,
            mock,
            layer=layer,
        )
        out = (
            out.reshape(len(input), math.prod(places), len(weight))
            .transpose(1, 2)
            .reshape(len(input), len(weight), *places)
        )
    else:
        num_sends, wait = _repeats(num_sends, wait, layer)
        flat = dims == 1
        x, w = (input.unsqueeze(2), weight.unsqueeze(2)) if flat else (input, weight)
        step = (1, steps[0]) if flat else (steps[0], steps[1])
        model = get_mock_parameter()
        if chip is None:
            out = mock_convolution(x, w, step, model.gain, model.noise_std, num_sends, layer)
        else:
            out = convolution(x, w, step, chip, num_sends, layer, model.gain)
        out = out.squeeze(2) if flat else out
        if trace.observing():
            trace.record_product(
                layer,
                _windows(input.detach(), kernel, steps, places),
                weight.flatten(1).t(),
                out,
                num_sends,
                wait,
            )
    return out if bias is None else out.add_(bias.reshape(-1, *(1,) * dims))


def _windows(
    x: torch.Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], places: tuple[int, ...]
) -> torch.Tensor:
    """(batch * places, channels * kernel): what each output sees."""
    for d, (k, s) in enumerate(zip(kernel, stride, strict=True)):
        x = x.unfold(2 + d, k, s)
    dims = len(kernel)
    order = (0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims))
    return x.permute(order).reshape(len(x) * math.prod(places), x.shape[1] * math.prod(kernel))


# -- digital operations ----------------------------------------------------------------------------


@trace.traced
@_door(input=TENSOR, other=TENSOR, alpha=real())
def add(
    input: torch.Tensor, other: torch.Tensor, alpha: float = 1, mock: bool = False
) -> torch.Tensor:
    """Both rounded down and limited to -128..127, added, and limited again. Gradients go to both as
    they are.

    OperandError (RuntimeError): alpha other than 1; not mock: ``other`` with more dimensions than
    ``input``; shapes that do not match.
    """
    if alpha != 1 or not is_real(alpha):
        error = OperandError if is_real(alpha) else OperandTypeError
        raise error(f"add: only alpha=1 is supported, got {alpha!r}; multiply the operand before")
    level = level_for(mock, "add")
    if not mocked(mock, "add") and other.dim() > input.dim():
        raise OperandError(
            f"add: other has more dimensions than input, {tuple(other.shape)} and {tuple(input.shape)}; swap them"
        )
    if any(
        a != b and 1 not in (a, b)
        for a, b in zip(reversed(input.shape), reversed(other.shape), strict=False)
    ):
        raise OperandError(
            f"add: shapes {tuple(input.shape)} and {tuple(other.shape)} of input and other do not match"
        )
    if level == "hardware":
        out = _real().add(input, other, alpha)
    else:
        out = (
            input.float() + other.float()
            if level == "ideal"
            else _Add.apply(input.float(), other.float())
        )
    trace.record("add", input, out, {"other": other}, mock=level is None)
    return out


@trace.traced
@_door(input=TENSOR, dim=optional(integer()), keepdim=FLAG)
def argmax(
    input: torch.Tensor, dim: int | None = None, keepdim: bool = False, mock: bool = False
) -> torch.Tensor:
    """Where ``input``, rounded down and limited to -128..127, is largest; int64, without a
    gradient. As torch.argmax."""
    level, x = level_for(mock, "argmax"), input.detach().float()
    if dim is not None and not -max(x.dim(), 1) <= (
        dim := whole(dim, -max(x.dim(), 1), "argmax: dim", OperandError)
    ) < max(x.dim(), 1):
        raise OperandError(f"argmax: dim is one of the input's {x.dim()} dimensions, got {dim}")
    if not x.numel():
        raise OperandError(f"argmax: of no values, input {tuple(x.shape)}, none is the largest")
    if level == "hardware":
        out = _real().argmax(input, dim, keepdim)
    else:
        out = (x if level == "ideal" else _integers(x)).argmax(dim, keepdim)
    trace.record("argmax", input, out, dim=dim, keepdim=keepdim, mock=level is None)
    return out


@trace.traced
@_door(input=TENSOR)
def relu(input: torch.Tensor, mock: bool = False) -> torch.Tensor:
    """Rounded down and limited to 0..127; gradient where input > 0."""
    level = level_for(mock, "relu")
    if level == "hardware":
        out = _real().relu(input)
    else:
        out = (
            input.float().relu()
            if level == "ideal"
            else _Rectify.apply(input.float(), 0, facts.OUTPUT_MAX)
        )
    trace.record("relu", input, out, mock=level is None)
    return out


@trace.traced
@_door(input=TENSOR, shift=integer(0))
def converting_relu(input: torch.Tensor, shift: int = 2, mock: bool = False) -> torch.Tensor:
    """:func:`relu`, divided by ``2**shift``, rounded down and limited to 31: an output made an
    input. Gradient / ``2**shift``."""
    shift, level = (
        whole(shift, 0, "converting_relu: shift", OperandError),
        level_for(mock, "converting_relu"),
    )
    if level == "hardware":
        out = _real().converting_relu(input, shift)
    else:
        x, limit = input.float(), min(facts.INPUT_MAX, facts.OUTPUT_MAX >> shift)
        out = x.relu() * 2.0**-shift if level == "ideal" else _Rectify.apply(x, shift, limit)
    trace.record("converting_relu", input, out, shift=shift, mock=level is None)
    return out


def _integers(x: torch.Tensor) -> torch.Tensor:
    return x.floor().clamp_(facts.OUTPUT_MIN, facts.OUTPUT_MAX)


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.shapes = a.shape, b.shape
        return (_integers(a) + _integers(b)).clamp_(facts.OUTPUT_MIN, facts.OUTPUT_MAX)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(grad if grad.shape == s else grad.sum_to_size(s) for s in ctx.shapes)


class _Rectify(torch.autograd.Function):
    """floor(x / 2**shift) in 0..limit: of integers and powers of two, so that one rounding is as
    good as two."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shift: int, limit: int) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.shift, ctx.limit = shift, limit
        return rectify(x, shift, limit)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return rectify(x, ctx.shift, ctx.limit, grad), None, None
