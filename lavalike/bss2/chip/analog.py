"""One placed matrix product as the chip computes it, at every level, with the gradient of the
linear model.

Inputs and weights are rounded half to even, as hxtorch's mock does (its real path rounds half away
from zero), so that an emulated chip without spreads equals the mock bit for bit. The matrix is cut
into tiles of 128 signed rows x 256 columns; in each (bss2.md 1.3, 1.5)

    charge_j = sum_i (x_i + pulse_offset [x_i > 0]) * row_gain_i * w_ij
    v_j      = charge_j * gain * num_sends * column_gain_j + column_offset_j + noise
    v_j      = knee - (knee - floor_j) * (1 - exp(-(knee - v_j) / (knee - floor_j)))   below the knee
    out_j    = clamp(floor(v_j), -128, 127)

Tiles that share columns are added and the sum is limited to -128..127 once more. Noise is drawn
anew for each tile, output and call, after the inputs were sent ``num_sends`` times;
``torch.manual_seed`` rules it. Without spreads the factor and noise alone are left: the mock.
"""  # noqa: W505

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional, grad as gradients

from lavalike.arguments import whole
from lavalike.bss2.chip import facts, normal
from lavalike.bss2.chip.converters import Readout, digitise, empty, encode, hold, turned
from lavalike.bss2.errors import OperandError, RangeError

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip
    from lavalike.bss2.tiles import Tile

NAMES, CONVOLVED = ("x", "w"), ("input", "weight")  # what messages call inputs and weights


@dataclass(frozen=True)
class Array:
    """What a product meets on its way: a read-out for each part of rows, and the rows' own gains.

    Args:
        parts: (rows of the layer, their read-out).
        rows: relative gain of each weight's row, float32 (K, N), or None for 1.
        pulse_offset: added to every input above 0.
    """

    parts: tuple[tuple[range, Readout], ...]
    rows: torch.Tensor | None = None
    pulse_offset: float = 0.0

    def gains(self, w: torch.Tensor) -> torch.Tensor | None:
        """``rows``, lying in memory as ``w`` does."""
        if self.rows is None:
            return None
        return (self._turned if turned(w) else self.rows).to(w.device)

    @cached_property
    def _turned(self) -> torch.Tensor:
        assert self.rows is not None  # gains() asks for it then
        return self.rows.t().contiguous().t()


def product(
    x: torch.Tensor,
    w: torch.Tensor,
    chip: Chip,
    num_sends: int = 1,
    layer: str = "",
    tiles: Sequence[Tile] | None = None,
    gradient_gain: float | None = None,
    names: tuple[str, str] = NAMES,
) -> torch.Tensor:
    """``x @ w`` on ``chip``: float32 integers in -128..127 (level "ideal": any number), (B, N).

    Args:
        x: inputs (B, K), rounded to 0..31. RangeError for others, and for NaN.
        w: weights (K, N), rounded to -63..63. RangeError for others.
        chip: of a level that is computed here; OperandError for "hardware".
        num_sends: how often the inputs are sent: multiplies the signal, not the noise. Default 1.
        layer: whose product it is, for messages.
        tiles: where the weights lie; default: :func:`lavalike.bss2.tiles.tiles`.
        gradient_gain: gain of the linear model that gradients follow:
            ``dx = g @ w.T * gain * num_sends``, ``dw = x.T @ g * gain * num_sends``. Default: the
            chip's. Kept with the forward pass (hxtorch reads a global at backward).
        names: what the caller calls x and w, for messages.
    """
    _check(x, w, num_sends, layer, names)
    return _Product.apply(
        x.float(), w.float(), _run_on(chip, w.shape, num_sends, layer, names, tiles, gradient_gain)
    )


def mock_product(
    x: torch.Tensor,
    w: torch.Tensor,
    gain: float,
    noise_std: float,
    num_sends: int = 1,
    layer: str = "",
    names: tuple[str, str] = NAMES,
) -> torch.Tensor:
    """``x @ w`` in hxtorch's mock arithmetic: gain and noise, no fixed pattern. Shapes, ranges and
    gradients as :func:`product`."""
    _check(x, w, num_sends, layer, names)
    return _Product.apply(
        x.float(), w.float(), _run_mock(w.shape[0], gain, noise_std, num_sends, layer, names)
    )


def convolution(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: tuple[int, int],
    chip: Chip,
    num_sends: int = 1,
    layer: str = "",
    gradient_gain: float | None = None,
) -> torch.Tensor:
    """The :func:`product` of what each output sees, (B, C, H, W), with the kernels (O, C, KH, KW),
    without making copies of it."""
    _check_sends(num_sends, layer)
    shape = w[0].numel(), len(w)
    return _Convolution.apply(
        x.float(),
        w.float(),
        stride,
        _run_on(chip, shape, num_sends, layer, CONVOLVED, None, gradient_gain),
    )


def mock_convolution(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: tuple[int, int],
    gain: float,
    noise_std: float,
    num_sends: int = 1,
    layer: str = "",
) -> torch.Tensor:
    """:func:`convolution` in mock arithmetic."""
    _check_sends(num_sends, layer)
    return _Convolution.apply(
        x.float(),
        w.float(),
        stride,
        _run_mock(w[0].numel(), gain, noise_std, num_sends, layer, CONVOLVED),
    )


@dataclass(frozen=True)
class Run:
    """One use of the array (None: the ideal). ``factor``: output LSB for a product of 1; ``sigma``:
    noise, LSB; ``scale``: of gradients; ``names``: of inputs and weights."""

    array: Array | None
    factor: float
    sigma: float
    scale: float
    layer: str
    names: tuple[str, str]

    def keys(self, count: int) -> list[int]:
        """Of the noise, one for each of ``count`` parts of rows."""
        return normal.keys(count) if self.sigma else [0] * count


def _run_on(
    chip: Chip,
    shape: tuple[int, ...],
    num_sends: int,
    layer: str,
    names: tuple[str, str],
    tiles: Sequence[Tile] | None,
    gradient_gain: float | None,
) -> Run:
    if chip.level == "hardware":
        raise OperandError(
            f"{_where(layer)}: products at level 'hardware' are hxtorch's; call lavalike.bss2.perceptron.matmul"
        )
    factor = float(num_sends) * chip.gain
    scale = factor if gradient_gain is None else float(num_sends) * gradient_gain
    if chip.level == "ideal":
        return Run(None, factor, 0.0, scale, layer, names)
    array = _pattern(chip, *shape) if tiles is None else _assemble(chip, shape, tiles)
    return Run(array, factor, chip.noise.trial if chip.emulated else 0.0, scale, layer, names)


def _run_mock(
    k: int, gain: float, noise_std: float, num_sends: int, layer: str, names: tuple[str, str]
) -> Run:
    factor = float(num_sends) * gain
    return Run(_plain(k), factor, noise_std, factor, layer, names)


def _where(layer: str) -> str:
    return layer or "product"


def _check(
    x: torch.Tensor, w: torch.Tensor, num_sends: int, layer: str, names: tuple[str, str]
) -> None:
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[0]:
        raise OperandError(
            f"{_where(layer)}: inputs (batch, K) and weights (K, N) are expected, got {tuple(x.shape)} and {tuple(w.shape)} "
            f"for {names[0]} and {names[1]}"
        )
    if 0 in w.shape:
        raise OperandError(f"{_where(layer)}: weights (K, N) need K, N >= 1, got {tuple(w.shape)}")
    _check_sends(num_sends, layer)


def _check_sends(num_sends: int, layer: str) -> None:
    whole(num_sends, 1, f"{_where(layer)}: num_sends", OperandError)


# -- the array -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _plain(k: int) -> Array:
    rows = facts.SIGNED_ROWS
    return Array(tuple((range(a, min(a + rows, k)), Readout(1.0)) for a in range(0, k, rows)))


@functools.lru_cache(maxsize=64)
def _pattern(chip: Chip, k: int, n: int) -> Array:
    from lavalike.bss2.tiles import tiles

    return _assemble(chip, (k, n), tiles(k, n, chips=chip.chips)) if chip.emulated else _plain(k)


def _assemble(chip: Chip, shape: tuple[int, ...], tiles: Sequence[Tile]) -> Array:
    """The chip's patterns where the tiles lie, joined along the columns of the layer."""
    k, n = shape
    parts = sorted({(t.rows.start, t.rows.stop) for t in tiles})
    rows = np.ones((k, n), np.float32)
    factor, offset, span = (np.empty((len(parts), n), np.float32) for _ in range(3))
    covered = 0
    for t in tiles:
        part, there = parts.index((t.rows.start, t.rows.stop)), chip.neighbour(t.chip)
        columns, at = there.columns(t.hemisphere), slice(t.columns.start, t.columns.stop)
        count = len(t.columns)
        rows[t.rows.start : t.rows.stop, at] = there.rows(t.hemisphere)[: len(t.rows), None]
        factor[part, at], offset[part, at] = columns.gain[:count], columns.offset[:count]
        span[part, at] = (chip.noise.knee or 0.0) - columns.floor[:count]
        covered += len(t.rows) * count
    if covered != k * n:
        raise OperandError(
            f"the tiles hold {covered} weights, the layer has {k} x {n} = {k * n}; "
            f"cut it anew with tiles.tiles({k}, {n})"
        )
    bent = chip.emulated and chip.noise.knee is not None
    factors, offsets, spans = map(torch.from_numpy, (factor, offset, span))
    bends = [(chip.noise.knee, v, -1 / v) if bent else (None, None, None) for v in spans]
    reads = [Readout(f, o, 0.0, *bend) for f, o, bend in zip(factors, offsets, bends, strict=True)]
    return Array(
        tuple((range(*p), r) for p, r in zip(parts, reads, strict=True)),
        torch.from_numpy(rows),
        chip.noise.pulse_offset if chip.emulated else 0.0,
    )


# -- forward and backward --------------------------------------------------------------------------


def _weights(w: torch.Tensor, run: Run, array: Array) -> torch.Tensor:
    held = hold(w, array.gains(w))
    if held is None:
        rounded = w.round()
        bad = rounded[~(rounded.abs() <= facts.WEIGHT_MAX)]
        raise RangeError(
            f"{_where(run.layer)}: weights must round to -{facts.WEIGHT_MAX}..{facts.WEIGHT_MAX} (6 bits and the row's sign) "
            f"in {run.names[1]!r}, got {bad[0].item():g} in one of {len(bad)} of {w.numel()} outside; clip them "
            "(perceptron.nn.clamp_weight_) or scale them (scale_weight)"
        )
    return held


def _inputs(x: torch.Tensor, run: Run, array: Array) -> torch.Tensor:
    encoded = encode(x, array.pulse_offset)
    if encoded is None:
        rounded = x.round()
        bad = ~((rounded >= 0) & (rounded <= facts.INPUT_MAX))
        raise RangeError(
            f"{_where(run.layer)}: inputs must round to 0..{facts.INPUT_MAX} (5 bits), got {x[bad][0].item():g} "
            f"in one of {int(bad.sum())} of {x.numel()} values of {run.names[0]!r} outside; scale them "
            "(perceptron.nn.scale_input), clamp them, or put a ConvertingReLU before this layer"
        )
    return encoded


def _scaled(read: Readout, run: Run, device: torch.device) -> Readout:
    if not isinstance(read.factor, torch.Tensor):
        return Readout(run.factor, sigma=run.sigma)
    offset, span, rate = (
        None if v is None else v.to(device) for v in (read.offset, read.span, read.rate)
    )
    return Readout(read.factor.to(device) * run.factor, offset, run.sigma, read.knee, span, rate)


def _full(f: F) -> F:
    """``f(ctx, x, ...)`` without autocast: the passes are float32."""

    @functools.wraps(f)
    def full(ctx: Any, x: torch.Tensor, *others: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return f(ctx, x, *others)

    return cast("F", full)


class _Product(torch.autograd.Function):
    """Forward: the array's; backward: the linear model's, straight through rounding and
    saturation."""

    @staticmethod
    @_full
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, run: Run) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.scale = run.scale
        array = run.array
        if array is None:
            return torch.addmm(x.new_zeros(()), x, w, beta=0, alpha=run.factor)
        weights, inputs = _weights(w, run, array), _inputs(x, run, array)
        total: torch.Tensor | None = None
        for (rows, readout), key in zip(array.parts, run.keys(len(array.parts)), strict=True):
            part = inputs if len(array.parts) == 1 else inputs[:, rows.start : rows.stop]
            charge = torch.mm(
                part, weights[rows.start : rows.stop], out=empty((x.shape[0], w.shape[1]), x.device)
            )
            total = digitise(
                charge, _scaled(readout, run, x.device), key, total, rows.stop == w.shape[0]
            )
        assert total is not None  # there are rows
        return total

    @staticmethod
    @once_differentiable
    @_full
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = ctx.saved_tensors
        zero = grad.new_zeros(())
        of_x = (
            torch.addmm(zero, grad, w.t(), beta=0, alpha=ctx.scale, out=empty(x.shape, x.device))
            if ctx.needs_input_grad[0]
            else None
        )
        of_w = (
            torch.addmm(zero, x.t(), grad, beta=0, alpha=ctx.scale, out=empty(w.shape, w.device))
            if ctx.needs_input_grad[1]
            else None
        )
        return of_x, of_w, None


class _Convolution(torch.autograd.Function):
    """The same for a convolution: a part of rows is one with the rest of the kernel zero."""

    @staticmethod
    @_full
    def forward(
        ctx: Any, x: torch.Tensor, w: torch.Tensor, stride: tuple[int, int], run: Run
    ) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        ctx.scale, ctx.stride = run.scale, stride
        array = run.array
        if array is None:
            return functional.conv2d(x, w, stride=stride).mul_(run.factor)
        taps = w[0, 0].numel()
        inputs = _inputs(x, run, array)
        weights = _weights(w.flatten(1).t(), run, array).t()
        total: torch.Tensor | None = None
        for (rows, readout), key in zip(array.parts, run.keys(len(array.parts)), strict=True):
            channels = slice(rows.start // taps, -(-rows.stop // taps))
            kernel = weights
            if len(array.parts) > 1:
                kernel = torch.zeros_like(weights)
                kernel[:, rows.start : rows.stop] = weights[:, rows.start : rows.stop]
            charge = functional.conv2d(
                inputs[:, channels], kernel.reshape(w.shape)[:, channels], stride=stride
            ).contiguous()
            total = digitise(
                charge, _scaled(readout, run, x.device), key, total, rows.stop == taps * w.shape[1]
            )
        assert total is not None  # there are rows
        return total

    @staticmethod
    @once_differentiable
    @_full
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w = ctx.saved_tensors
        of_x = of_w = None
        if ctx.needs_input_grad[0]:
            of_x = gradients.conv2d_input(x.shape, w * ctx.scale, grad, stride=ctx.stride)
        if ctx.needs_input_grad[1]:
            of_w = gradients.conv2d_weight(x, w.shape, grad, stride=ctx.stride) * ctx.scale
        return of_x, of_w, None, None
