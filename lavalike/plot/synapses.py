"""Weights, and who is connected to whom."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lavalike.arguments import arguments, choice, integer, shown
from lavalike.errors import InputError
from lavalike.plot import canvas
from lavalike.plot.raster import dense_image, dots, sparse_image
from lavalike.plot.series import plain
from lavalike.proc.connection import Connection
from lavalike.process import AbstractProcess, Var
from lavalike.process.process import walk

SQUARE = (4.6, 4.0)
SOME = 10  # connections that a message names


@arguments(kind=choice("histogram", "matrix"), bins=integer(1))
def weights(data: Any, *, kind: str = "histogram", bins: int = 60, ax: Any = None) -> Any:
    """How weights are distributed, or what they are.

    Args:
        data: a connection (its trainable Vars), a Var, or an array or tensor of any shape.
        kind: "histogram", or "matrix": rows are outputs, columns inputs, red above 0 and blue
            below; an array of two axes, or a connection that has one.
        bins: of the histogram at most; whole numbers in less of a range have one each. Default 60.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        The axes.

    Raises InputError for what has no weights, or no matrix of them, and for NaN and infinity.

    Example::

        plot.weights(net.layers[0].synapse)
        plot.weights(trained.weight, kind="matrix")
    """
    name, values = _weights("weights", data)
    if not values.size:
        raise InputError(f"weights: {name or 'data'} has no elements, shape {values.shape}")
    if not np.isfinite(values).all():
        lost = values.size - np.count_nonzero(np.isfinite(values))
        raise InputError(f"weights: {name or 'data'}: {lost} of {values.size} are NaN or infinite")
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if kind == "matrix" and values.ndim != 2:
        raise InputError(
            f"weights: {name or 'data'} has shape {values.shape}, and kind='matrix' draws two axes, (outputs, inputs)"
        )
    ax = canvas.axes("weights", ax, SQUARE if kind == "matrix" else canvas.SIZE)
    if kind == "matrix":
        most = max(-float(values.min()), float(values.max())) or 1.0
        image = ax.imshow(
            values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest"
        )
        ax.figure.colorbar(image, ax=ax, label="weight")
        ax.set(xlabel="input", ylabel="output")
        canvas.counted(ax.xaxis)
        canvas.counted(ax.yaxis)
        canvas.titled(ax, [name])
        return ax
    flat = values.reshape(-1)
    ax.stairs(*np.histogram(flat, edges(flat, bins)), fill=True, color="C0")
    ax.axvline(0, color="0.4", lw=0.8)
    ax.margins(x=0.02)
    ax.set(xlabel="weight", ylabel="synapses")
    zero = np.count_nonzero(flat == 0) / flat.size
    spread = f"mean {flat.mean():.3g}, std {flat.std():.3g}"
    canvas.titled(ax, [name, f"{flat.size:,} weights", spread, f"{zero:.0%} are 0"])
    return ax


def edges(flat: np.ndarray, bins: int) -> np.ndarray:
    """Borders of at most ``bins`` bins: about whole numbers, several in each where they are many;
    of others as wide as they must be."""
    low, high = float(flat.min()), float(flat.max())
    if flat.dtype.kind in "biu":
        wide = max(1, math.ceil((high - low + 1) / bins))
        return low - 0.5 + wide * np.arange(math.ceil((high - low + 1) / wide) + 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _weights(who: str, data: Any) -> tuple[str, np.ndarray]:
    """Name and values."""
    if isinstance(data, Var):
        return data.path, plain(who, data.get(), data.path)
    if isinstance(data, AbstractProcess):
        found = [plain(who, v.get(), v.path) for v in data.vars if v.trainable]
        if not isinstance(data, Connection) or not found:
            inside = [p.path for p in walk(data) if isinstance(p, Connection)]
            raise InputError(
                f"{who}: data: {data.path} ({type(data).__name__}) is no connection with weights; give a Var, or one of its "
                f"connections: {', '.join(inside[:SOME]) or 'it has none'}"
            )
        values = found[0] if len(found) == 1 else np.concatenate([a.reshape(-1) for a in found])
        return data.path, values
    return "", plain(who, data, "data, weights,")


@arguments()
def connectivity(data: Any, *, ax: Any = None) -> Any:
    """Which inputs reach which outputs: a mark for each synapse whose weight is not 0, inputs to
    the right, outputs upwards. More than 50,000 are drawn as an image, darker where there are more.

    Args:
        data: a connection of one synapse a weight (Dense, Sparse and their like), an array
            ``(outputs, inputs)``, or a SciPy sparse matrix.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        The axes.

    Raises InputError for a connection that shares its weights (a convolution's kernel,
    ``weights`` draws it), and for other processes, whose graph ``to_mermaid`` and ``to_dot`` draw.

    Example::

        plot.connectivity(net.recurrent)
    """
    name, shape, at = _synapses(data)
    count = int(np.count_nonzero(at)) if isinstance(at, np.ndarray) else len(at[0])
    ax = canvas.axes("connectivity", ax, SQUARE)
    if count > canvas.MANY:
        bins = canvas.pixels(ax)
        if isinstance(at, np.ndarray):
            fields, wide, high = dense_image(at, bins)
        else:  # as many inputs in each field
            wide = math.ceil(shape[1] / bins[0])
            span = (0.0, float(wide * math.ceil(shape[1] / wide)))
            columns = math.ceil(shape[1] / wide)
            fields, _, high = sparse_image(at[1], at[0], span, shape[0], (columns, bins[1]))
        extent = (-0.5, fields.shape[1] * wide - 0.5, -0.5, fields.shape[0] * high - 0.5)
        image = ax.imshow(
            fields / (wide * high),
            origin="lower",
            aspect="auto",
            extent=extent,
            interpolation="nearest",
            cmap="Greys",
            vmin=0,
        )
        ax.figure.colorbar(image, ax=ax, label="share of pairs that have a synapse")
    else:
        outputs, inputs = np.nonzero(at) if isinstance(at, np.ndarray) else at
        side = min(canvas.pixels(ax)[1] / shape[0], canvas.pixels(ax)[0] / shape[1])
        side *= 72 / ax.figure.dpi
        dots(
            ax, inputs, outputs, marker="s", s=max(0.4, min(side * 0.8, 8)) ** 2, color="0.15", lw=0
        )
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(-0.5, shape[0] - 0.5)
    ax.set(xlabel="input", ylabel="output")
    canvas.counted(ax.xaxis)
    canvas.counted(ax.yaxis)
    share = count / math.prod(shape)
    canvas.titled(ax, [name, f"{count:,} synapses, {share:.3g} of all pairs"])
    return ax


def _synapses(data: Any) -> tuple[str, tuple[int, int], Any]:
    """Name, (outputs, inputs), and a matrix, or the outputs and inputs of synapses."""
    if isinstance(data, AbstractProcess):
        values = getattr(data, "weights", None)
        if isinstance(data, Connection) and isinstance(values, Var):
            array, shape = np.asarray(values.get()), (data.a_out.size, data.s_in.size)
            rows, cols = getattr(data, "rows", None), getattr(data, "cols", None)
            if rows is not None and cols is not None and len(rows) == array.size:
                there = array.reshape(-1) != 0
                return data.path, shape, (np.asarray(rows)[there], np.asarray(cols)[there])
            if array.shape == shape:
                return data.path, shape, array
        why = (
            "shares its weights between synapses; plot.weights draws them"
            if isinstance(data, Connection)
            else "is no connection; give one, or draw the graph by to_mermaid() or to_dot()"
        )
        raise InputError(f"connectivity: data: {data.path} ({type(data).__name__}) {why}")
    if hasattr(data, "tocoo"):
        coo = data.tocoo()
        there = coo.data != 0
        return "", coo.shape, (coo.row[there], coo.col[there])
    array = plain("connectivity", data, "data, (outputs, inputs),")
    if array.ndim != 2 or not array.size:
        raise InputError(
            f"connectivity: data has shape {shown(array.shape)}; expected (outputs, inputs), none of them 0"
        )
    return "", array.shape, array
