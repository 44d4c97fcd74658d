"""Lava's helpers: weights' bits, convolutions as functions, raster plots, saving."""

from __future__ import annotations

import enum
import math
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.dynamics.weights import RANGE, SignMode, sign_mode_of
from lavalike.errors import InputError, InputTypeError, VarError
from lavalike.extras import needed
from lavalike.proc.conv import conv_size
from lavalike.process import AbstractProcess

# -- weights


@dataclass
class OptimizedWeights:
    """Weights as Loihi stores them in the fewest bits; they count ``weights * 2**weight_exp``."""

    weights: Any
    num_weight_bits: int
    weight_exp: int


def determine_sign_mode(weights: Any) -> SignMode:
    """The narrowest mode that holds ``weights``."""
    return sign_mode_of(weights)


def _determine_weight_exp(weights: Any, sign_mode: SignMode) -> int:
    """The exponent with which the largest weight fills 8 bits."""
    low, high = float(weights.min()), float(weights.max())
    if low == high == 0:
        return 0
    mixed = sign_mode is SignMode.MIXED
    most, least = (127.0, -128.0) if mixed else (255.0, -255.0)
    scales = [most / high] if high > 0 and sign_mode is not SignMode.INHIBITORY else []
    scales += [least / low] if low < 0 and sign_mode is not SignMode.EXCITATORY else []
    return -(math.floor(math.log2(min(scales))) + mixed)


def _determine_num_weight_bits(weights: Any, weight_exp: int, sign_mode: SignMode) -> int:
    """The fewest bits that lose nothing of ``weights``."""
    whole = np.asarray(weights).astype(np.int64)
    if not whole.any():
        common = 8  # zeros are multiples of anything
    else:
        step = int(np.gcd.reduce(np.abs(whole[whole != 0])))
        common = min((step & -step).bit_length() - 1, 8)
    return 8 + weight_exp - common + (sign_mode is SignMode.MIXED)


def optimize_weight_bits(
    weights: Any, sign_mode: SignMode, loihi2: bool | None = False
) -> OptimizedWeights:
    """Weights of 8 bits in the fewest bits. VarError where they leave the range of ``sign_mode``.

    Args:
        weights: integers, an array or a scipy.sparse matrix.
        loihi2: without the bits that are zero, as Loihi 2 stores them. Default False.
    """
    low, high = RANGE[SignMode(sign_mode)]
    if weights.max() > high or weights.min() < low:
        raise VarError(
            f"weights: {low}..{high} in {SignMode(sign_mode).name}, got {weights.min()}..{weights.max()}"
        )
    data = weights.data if hasattr(weights, "tocsr") else weights
    exp = _determine_weight_exp(weights, sign_mode)
    bits = _determine_num_weight_bits(data, exp, sign_mode)
    out = np.asarray(data).astype(np.int32) << -exp
    if loihi2:
        divisor = (1 << (8 - bits)) * (2 if sign_mode is SignMode.MIXED else 1)
        out = np.trunc(out / divisor).astype(np.int32)
    if data is not weights:
        matrix = weights.copy()
        matrix.data = out
        return OptimizedWeights(matrix, bits, exp)
    return OptimizedWeights(out, bits, exp)


def truncate_weights(
    weights: Any, sign_mode: SignMode, num_weight_bits: int, max_num_weight_bits: int = 8
) -> Any:
    """``weights`` without the bits that ``num_weight_bits`` do not hold: towards zero, in MIXED
    downwards."""
    mixed = sign_mode is SignMode.MIXED
    drop = max_num_weight_bits - num_weight_bits + mixed
    whole = np.asarray(weights).astype(np.int32)
    if sign_mode is SignMode.INHIBITORY:
        return -((-whole >> drop) << drop)
    return (whole >> drop) << drop


def clip_weights(weights: Any, sign_mode: SignMode, num_bits: int) -> Any:
    """``weights`` within what ``num_bits`` hold of ``sign_mode``'s range."""
    high = 2**num_bits - 1
    low = {SignMode.MIXED: -high - 1, SignMode.INHIBITORY: -high}.get(sign_mode, 0)
    return np.clip(weights, low, 0 if sign_mode is SignMode.INHIBITORY else high)


def find(matrix: Any, explicit_zeros: bool = False) -> tuple[Any, Any, Any]:
    """Rows, columns and values of what a scipy.sparse matrix stores, zeros too where asked for."""
    coo = matrix.tocoo()
    there = slice(None) if explicit_zeros else coo.data != 0
    return coo.row[there], coo.col[there], coo.data[there]


# -- convolutions

TORCH_IS_AVAILABLE = False


class TensorOrder(enum.IntEnum):
    """How an image lies in an array."""

    NCHW = 1
    CHWN = 2
    HWCN = 3
    NWHC = 4


def make_tuple(value: Any) -> tuple[Any, Any]:
    """``value`` as two, a single one standing for both."""
    values = [value] if np.isscalar(value) else [*value]
    if len(values) not in (1, 2):
        raise InputError(f"value: one or two numbers are expected, got {value!r:.60}")
    return values[0], values[-1]


def signed_clamp(x: Any, bits: int) -> Any:
    """``x`` wrapped into ``bits`` bits with a sign."""
    half = 1 << (bits - 1)
    return (x + half) % (2 * half) - half


def output_shape(
    input_shape: Any, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[int, int, int]:
    """Shape (x, y, channels) of a convolution's output; InputError where nothing is left."""
    x, y = (
        int(conv_size(input_shape[k], kernel_size[k], stride[k], padding[k], dilation[k]))
        for k in range(2)
    )
    if min(x, y) < 1:
        raise InputError(
            f"a kernel {tuple(kernel_size)} leaves {x} x {y} of an input {tuple(input_shape)}"
        )
    return x, y, out_channels


def _taps(shape: Any, weight: Any, stride: Any, dilation: Any) -> Any:
    """For each tap of a flipped kernel: its place in the weights, and the padded input's elements
    that it meets."""
    for a in range(weight.shape[1]):
        for b in range(weight.shape[2]):
            x = (weight.shape[1] - 1 - a) * dilation[0] + stride[0] * np.arange(shape[0])
            y = (weight.shape[2] - 1 - b) * dilation[1] + stride[1] * np.arange(shape[1])
            yield a, b, x, y


def conv_scipy(
    input_: Any,
    weight: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> np.ndarray:
    """The convolution of an image (x, y, channels) with ``weight`` (out, kx, ky, in / groups), the
    kernel flipped; float64."""
    groups = int(groups)
    shape = output_shape(
        input_.shape, weight.shape[0], weight.shape[1:3], stride, padding, dilation
    )
    if input_.shape[2] != weight.shape[3] * groups or weight.shape[0] % groups:
        raise InputError(
            f"weight {weight.shape} in {groups} groups does not fit an input {input_.shape}"
        )
    padded = np.pad(input_, ((padding[0],) * 2, (padding[1],) * 2, (0, 0)))
    padded = padded.reshape(*padded.shape[:2], groups, -1)
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.zeros((*shape[:2], groups, kernel.shape[1]))
    for a, b, x, y in _taps(shape, weight, stride, dilation):
        out += np.einsum("xygc,gkc->xygk", padded[x[:, None], y], kernel[:, :, a, b])
    return out.reshape(shape)


def conv(
    input_: Any,
    weight: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> np.ndarray:
    """:func:`conv_scipy`, in the weights' dtype."""
    return conv_scipy(input_, weight, kernel_size, stride, padding, dilation, groups).astype(
        weight.dtype
    )


def conv_to_sparse(
    input_shape: Any,
    output_shape: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    group: int,
    order: TensorOrder = TensorOrder.NWHC,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A convolution as (destination, source, weight) of each synapse, flat indices of images as
    ``order`` lies them.

    NWHC is Lava's convolution, NCHW torch's correlation and HWCN TensorFlow's; InputError for
    another order.
    """
    # an image's axes as (x, y, c), a kernel's as (out, x, y, in), and whether the kernel is not
    # flipped
    ways = {
        TensorOrder.NWHC: ((0, 1, 2), (0, 1, 2, 3), False),
        TensorOrder.NCHW: ((2, 1, 0), (0, 3, 2, 1), True),
        TensorOrder.HWCN: ((1, 0, 2), (3, 1, 0, 2), True),
    }
    if order not in ways:
        raise InputError(f"order is one of {[o.name for o in ways]}, got {order!r:.60}")
    image, lies, plain = ways[order]
    turn = slice(None) if order is TensorOrder.NWHC else slice(None, None, -1)
    stride, padding, dilation = ([*make_tuple(v)][turn] for v in (stride, padding, dilation))
    weight = np.transpose(kernel, lies)
    if plain:
        weight = weight[:, ::-1, ::-1]
    source = np.arange(math.prod(input_shape)).reshape(input_shape).transpose(image)
    target = np.arange(math.prod(output_shape)).reshape(output_shape).transpose(image)
    padded = np.pad(source, ((padding[0],) * 2, (padding[1],) * 2, (0, 0)), constant_values=-1)
    rows, cols, values = [], [], []
    outs, ins = weight.shape[0] // group, weight.shape[3]
    for a, b, x, y in _taps(target.shape, weight, stride, dilation):
        met = padded[x[:, None], y]
        for g in range(group):
            src = met[:, :, None, g * ins : (g + 1) * ins]
            dst = target[:, :, g * outs : (g + 1) * outs, None]
            w = weight[None, None, g * outs : (g + 1) * outs, a, b]
            dst, src, w = np.broadcast_arrays(dst, src, w)
            there = src >= 0
            rows.append(dst[there])
            cols.append(src[there])
            values.append(w[there])
    return np.concatenate(rows), np.concatenate(cols), np.concatenate(values)


# -- pictures and files


def raster_plot(
    spikes: Any,
    stride: int = 6,
    fig: Any = None,
    figsize: tuple[float, float] | None = None,
    marker: str = "o",
    markersize: float = 1.5,
    color: Any = None,
    alpha: float = 1,
    xlabel: str = "Time Steps",
    ylabel: str = "Neurons",
) -> Any:
    """Spikes (neurons, steps) of every ``stride``-th neuron as dots over time, in a figure of
    matplotlib, which is returned."""
    spikes = np.asarray(spikes)
    if spikes.ndim != 2 or 0 in spikes.shape:
        raise InputError(
            "Parameter <spikes> must have exactly two dimensions and they must be non-empty."
        )
    if not np.isin(spikes, (0, 1)).all():
        raise InputError("All values in spikes must be either 0 or 1.")
    if stride > len(spikes):
        raise InputError("Stride must not be greater than the number of neurons.")
    if fig is not None and figsize is not None:
        raise InputError("Must use at most one of the following: fig, figsize.")
    plt = needed("matplotlib.pyplot", "raster_plot", "plot")
    if fig is None:
        fig = plt.figure(figsize=(18, 3) if figsize is None else figsize)
    axes = fig.gca()
    neurons, steps = np.nonzero(spikes[::stride])
    axes.plot(
        steps,
        neurons * stride,
        linestyle=" ",
        marker=marker,
        markersize=markersize,
        color=color,
        alpha=alpha,
    )
    axes.set_xlim(-1, spikes.shape[1])
    axes.set_yticks([])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return fig


def save(processes: Any, filename: str, executable: Any = None) -> None:
    """Pickle processes, and an Executable beside them, into ``filename.pickle``."""
    from lavalike.compat.runtime import Executable

    given = processes if isinstance(processes, list) else [processes]
    if not all(isinstance(p, AbstractProcess) for p in given):
        raise InputTypeError(f"save: processes are processes, got {processes!r:.60}")
    if executable is not None and not isinstance(executable, Executable):
        raise InputTypeError(f"save: executable is an Executable, got {executable!r:.60}")
    with open(_pickle("save", filename), "wb") as f:
        pickle.dump((processes, executable), f)


def load(filename: str) -> tuple[Any, Any]:
    """What :func:`save` wrote: (processes, executable). A pickle runs code: load files of your own
    only."""
    with open(_pickle("load", filename), "rb") as f:
        processes, executable = pickle.load(f)
    return processes, executable


def _pickle(what: str, filename: Any) -> str:
    if not isinstance(filename, str):
        raise InputTypeError(f"{what}: filename is a text, got {filename!r:.60}")
    return filename if filename.endswith(".pickle") else filename + ".pickle"


def inv_sqrt(s_fp: int, n_iters: int = 5, b_fraction: int = 12) -> int:
    """1 / sqrt(s_fp), both in ``2**-b_fraction``, as InvSqrt computes it in fixed_pt, which takes 5
    of Newton's steps."""
    from lavalike.backends.numba.graded import STEPS, InvSqrtModel, guesses

    if n_iters != STEPS:
        raise InputError(f"inv_sqrt: n_iters is {STEPS}, got {n_iters}")
    out = np.zeros(1, np.int64)
    step: Any = InvSqrtModel.step  # a plain function of arrays
    step(np.array([s_fp], np.int64), out, guesses(b_fraction), b_fraction)
    return int(out[0])
