"""Rasters: a dot a spike, or an image where there are too many to see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lavalike.arguments import arguments, integer
from lavalike.errors import InputTypeError
from lavalike.plot import canvas
from lavalike.plot.series import Points, is_events, points, series

THIN = 4.0  # points of height of a row from which on a spike is a bar
DOT = 5.0  # area of a dot in points, squared
FEW = 5_000  # dots that are drawn so large; of more each is smaller
CHUNK = 1 << 20  # points that are counted at a time, in the processor's cache
DARK = "0.15"


@arguments(sample=integer(0), dt=canvas.TIME, color=canvas.COLOUR)
def raster(
    data: Any,
    *,
    of: Any = None,
    sample: int = 0,
    dt: float | None = None,
    ax: Any = None,
    color: Any = None,
) -> Any:
    """When which neuron spiked: a mark for every element that is not 0, neurons upwards over time.

    Up to 50,000 spikes are marks at their exact places. More could not be told apart: they are
    drawn as an image, whose pixels are darker the more spikes lie in them (square root), as the
    scale beside it says; 10 million take less than 2 s.

    Args:
        data: an array ``(*shape, time)``, a Recording, a dict of arrays, or events.
        of: a Recording's port, Var or name, or a dict's key. Default None: the only one.
        sample: which of a Recording's batch. Default 0.
        dt: seconds a step, for the axis of time. Default None: it counts an array's columns from
            0, and a Recording's steps as processes do. Events have times in ms.
        ax: matplotlib's axes. Default None: a new figure's.
        color: of the marks, as matplotlib takes it. Default None: dark grey, and for events one a
            channel.

    Returns:
        The axes.

    Raises InputError for data without elements, NotRecordedError for what is not in it,
    MissingExtraError without matplotlib.

    Example::

        plot.raster(rec, of="hidden.s_out", dt=1e-3)
    """
    if is_events(data):
        found, dense, scale, label, title = points("raster", data), None, 1.0, "time [ms]", []
        _no_steps(of, sample, dt)
        steps: tuple[float, float] = found.span
    else:
        one = series("raster", data, of, sample)
        dense, title = one.values, [one.name, one.note]
        steps = (one.first - 0.5, one.first + dense.shape[1] - 0.5)
        scale, label = canvas.scaled(dt, dense.shape[1])
        found = None
    ax = canvas.axes("raster", ax)
    count = found.count if found is not None else len(dense)  # type: ignore[arg-type]  # one of them
    many = (len(found.times) if found is not None else np.count_nonzero(dense)) > canvas.MANY  # type: ignore[arg-type]  # one of them
    if many:
        bins = canvas.pixels(ax)
        picture = (
            sparse_image(found.times, found.rows, found.span, count, bins)
            if found is not None
            else dense_image(dense, bins)  # type: ignore[arg-type]  # one of them
        )
        _image(ax, *picture, steps[0] * scale, scale, found is None)
    else:
        if found is None:
            rows, times = np.nonzero(dense)  # type: ignore[arg-type]  # one of them
            found = Points((times + steps[0] + 0.5) * scale, rows, count, steps)
        _marks(ax, found, count, color)
    pad = 0.02 * (steps[1] - steps[0] or 1.0) if dense is None else 0.0
    ax.set_xlim((steps[0] - pad) * scale, (steps[1] + pad) * scale)
    ax.set_ylim(-0.5, count - 0.5)
    ax.set_xlabel(label)
    ax.set_ylabel(found.label if found is not None else "neuron")
    canvas.counted(ax.yaxis)
    if dt is None and dense is not None:
        canvas.counted(ax.xaxis)
    canvas.titled(ax, title)
    return ax


def _no_steps(of: Any, sample: int, dt: float | None) -> None:
    for name, given in (("of", of is not None), ("sample", bool(sample)), ("dt", dt is not None)):
        if given:
            raise InputTypeError(f"raster: {name} is of arrays and Recordings; events have none")


def dots(ax: Any, times: np.ndarray, rows: np.ndarray, **kwargs: Any) -> Any:
    """A point for each spike; what ``ax.scatter`` returns."""
    return ax.scatter(times, rows, **kwargs)


def _marks(ax: Any, found: Points, count: int, color: Any) -> None:
    height = canvas.pixels(ax)[1] * 72 / ax.figure.dpi / count
    bar = height >= THIN
    style: dict[str, Any] = (
        {"marker": "|", "s": min(0.8 * height, 14.0) ** 2, "linewidths": 1.2}
        if bar
        else {"marker": "o", "s": DOT if len(found.times) <= FEW else DOT / 4, "linewidths": 0}
    )
    if color is not None:
        style["color"] = color
    elif found.channels is not None:
        style["c"] = channel_colours(found.channels)
    else:
        style["color"] = DARK
    dots(ax, found.times, found.rows, **style)
    there = [] if color is not None or found.channels is None else [*np.unique(found.channels)]
    if 1 < len(there) <= canvas.COLOURS:
        from matplotlib.lines import Line2D

        shades = channel_colours(np.array(there))
        handles = [
            Line2D([], [], color=shade, marker="o", ms=4, ls="", label=f"channel {k}")
            for k, shade in zip(there, shades, strict=True)
        ]
        outside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
        ax.legend(handles=handles, frameon=False, fontsize="small", **outside)


def channel_colours(channels: np.ndarray) -> np.ndarray:
    """RGB of each event's channel."""
    from matplotlib import colormaps

    return np.asarray(colormaps["tab10"](channels % 10))[:, :3]


# -- images ----------------------------------------------------------------------------------------


def dense_image(values: np.ndarray, bins: tuple[int, int]) -> tuple[np.ndarray, float, int]:
    """How many elements of ``values`` (rows, time) are not 0 in each of at most ``bins`` fields of
    time and rows; how many steps and rows a field is."""
    rows, time = values.shape
    wide, high = math.ceil(time / bins[0]), math.ceil(rows / bins[1])
    starts = np.arange(0, time, wide)
    out = np.empty((math.ceil(rows / high), len(starts)), np.int64)
    for k, first in enumerate(range(0, rows, high)):
        active = values[first : first + high] != 0
        column = np.add.reduce(active.view(np.uint8), axis=0, dtype=np.int64)
        out[k] = np.add.reduceat(column, starts)
    return out, float(wide), high


def sparse_image(
    times: np.ndarray,
    rows: np.ndarray,
    span: tuple[float, float],
    count: int,
    bins: tuple[int, int],
) -> tuple[np.ndarray, float, int]:
    """:func:`dense_image` of points, whose fields are parts of ``span``."""
    high = -(-count // bins[1])  # exactly: rows may be more than floats count
    shape = -(-count // high), bins[0]
    wide = (span[1] - span[0]) / bins[0] or 1.0
    out = np.zeros(math.prod(shape), np.int64)
    for at in range(0, len(times), CHUNK):
        column = ((times[at : at + CHUNK] - span[0]) / wide).astype(np.int32)
        row = (rows[at : at + CHUNK] // high).astype(np.int32)
        out += np.bincount(
            row * np.int32(shape[1]) + np.minimum(column, bins[0] - 1), minlength=len(out)
        )
    return out.reshape(shape), wide, high


def _image(
    ax: Any, fields: np.ndarray, wide: float, high: int, start: float, scale: float, steps: bool
) -> None:
    from matplotlib.colors import PowerNorm

    extent = (
        start,
        start + fields.shape[1] * wide * scale,
        -0.5,
        fields.shape[0] * high - 0.5,
    )
    image = ax.imshow(
        fields,
        origin="lower",
        aspect="auto",
        extent=extent,
        interpolation="nearest",
        cmap="Greys",
        norm=PowerNorm(0.5, 0, max(1, int(fields.max()))),
    )
    across = f"{wide:.0f} step{'s' * (wide != 1)}" if steps else f"{wide:.3g} ms"
    each = f"({across} x {high} neuron{'s' * (high != 1)})"
    ax.figure.colorbar(image, ax=ax).set_label(f"spikes a pixel\n{each}", fontsize="small")
