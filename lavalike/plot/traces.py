"""Values over time: traces of neurons, and how active layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lavalike.arguments import Rule, arguments, integer, is_integer, optional, real
from lavalike.errors import InputError, InputTypeError, NotRecordedError
from lavalike.plot import canvas
from lavalike.plot.series import is_events, is_recording, plain, series

FIRST = 10  # traces that are drawn unless neurons are named
LEGEND = 12  # traces beyond which none is named
_NEURONS = optional(
    Rule(
        "a list of neurons' numbers, in C order, from 0",
        lambda v: (
            isinstance(v, Sequence | np.ndarray | range)
            and not isinstance(v, str | bytes)
            and all(map(is_integer, v))
        ),
        lambda v: len(v) > 0 and min(v) >= 0,
    )
)


@arguments(sample=integer(0), dt=canvas.TIME, neurons=_NEURONS, threshold=optional(real()))
def traces(
    data: Any,
    *,
    of: Any = None,
    sample: int = 0,
    neurons: Sequence[int] | None = None,
    threshold: float | None = None,
    dt: float | None = None,
    ax: Any = None,
) -> Any:
    """Membrane potentials, or any values, over time: a line a neuron.

    Args:
        data: an array ``(*shape, time)``, a Recording, or a dict of arrays.
        of: a Recording's port, Var or name, or a dict's key. Default None: the only one.
        sample: which of a Recording's batch. Default 0.
        neurons: which, counted in C order. Default None: the first 10, and the title says of how
            many.
        threshold: where a dashed line is drawn. Default None: nowhere.
        dt: seconds a step. Default None: the axis counts steps, see :func:`lavalike.plot.raster`.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        The axes.

    Raises as :func:`lavalike.plot.raster`; InputError for a neuron that is not there.

    Example::

        plot.traces(rec, of="lif.v", neurons=[0, 3], threshold=1.0)
    """
    one = series("traces", data, of, sample)
    count, time = one.values.shape
    chosen = [*range(min(count, FIRST))] if neurons is None else [int(k) for k in neurons]
    if max(chosen) >= count:
        raise InputError(f"traces: neurons: {max(chosen)}, and there are {count}, from 0")
    ax = canvas.axes("traces", ax)
    scale, label = canvas.scaled(dt, time)
    at = (one.first + np.arange(time)) * scale
    for k, colour in zip(chosen, canvas.colours(len(chosen)), strict=True):
        place = np.unravel_index(k, one.shape) if one.shape else ()
        name = ", ".join(str(int(i)) for i in place)
        ax.plot(at, one.values[k], color=colour, lw=1.2, label=f"neuron {name}".strip())
    if threshold is not None:
        ax.axhline(threshold, color="0.4", ls="--", lw=1, label="threshold")
    lines = len(chosen) + (threshold is not None)
    if 1 < lines <= LEGEND:
        canvas.beside(ax, lines)
    ax.set_xlim(at[0], at[-1] if time > 1 else at[0] + scale)
    ax.set_xlabel(label)
    ax.set_ylabel(one.name.rpartition(".")[2] or "value")
    if dt is None:
        canvas.counted(ax.xaxis)
    some = f"{len(chosen)} of {count:,} neurons" if len(chosen) < count else ""
    canvas.titled(ax, [one.name, some, one.note])
    return ax


@arguments(dt=canvas.TIME)
def activity(
    data: Any, *, of: Sequence[Any] | None = None, dt: float | None = None, ax: Any = None
) -> Any:
    """How active layers are: which share of each one's elements is not 0 in each step, a line a
    layer; of a batch the mean. The legend has each one's mean.

    Args:
        data: a Recording, a dict of arrays ``(..., time)`` by name, or one array.
        of: which of a Recording or dict, ports, Vars or names. Default None: all of them.
        dt: seconds a step. Default None: the axis counts steps, see :func:`lavalike.plot.raster`.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        The axes.

    Raises as :func:`lavalike.plot.raster`.

    Example::

        plot.activity(rec, of=[layer.out for layer in net.layers])
    """
    if is_events(data) or (of is not None and not isinstance(data, Mapping)):
        raise InputTypeError(
            "activity: of and data: layers of a Recording or of a dict are expected, or one array"
        )
    if isinstance(of, str | bytes) or not (of is None or isinstance(of, Sequence)):
        raise InputTypeError(f"activity: of is a list of ports, Vars or names, got {of!r:.60}")
    layers: dict[str, np.ndarray] = {}
    for key, value in shares(data, of):
        layers[key if key not in layers else f"{key}#{len(layers) + 1}"] = value
    first = int(data.steps[0]) if is_recording(data) else 0
    ax = canvas.axes("activity", ax)
    longest = max(map(len, layers.values()))
    scale, label = canvas.scaled(dt, longest)
    for (name, share), colour in zip(layers.items(), canvas.colours(len(layers)), strict=True):
        at = (first + np.arange(len(share))) * scale
        text = f"{name}: {share.mean():.2%}" if name else f"mean {share.mean():.2%}"
        ax.plot(at, share, color=colour, lw=1.2, label=text)
    from matplotlib.ticker import PercentFormatter

    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylim(bottom=0)
    ax.set_xlim(first * scale, (first + max(longest - 1, 1)) * scale)
    ax.set_xlabel(label)
    ax.set_ylabel("active neurons")
    if dt is None:
        canvas.counted(ax.xaxis)
    canvas.beside(ax, len(layers))
    return ax


def shares(data: Any, of: Sequence[Any] | None) -> list[tuple[str, np.ndarray]]:
    """Of each layer the name and the share of its elements that is not 0, (time,)."""
    if not isinstance(data, Mapping):
        return [("", _share(plain("activity", data)))]
    keys = [*data] if of is None else [*of]
    if not keys or (is_recording(data) and not len(data.steps)):  # type: ignore[attr-defined]  # a Recording has
        raise NotRecordedError("activity: data holds nothing; simulate(record=[...]) records more")
    found = []
    for key in keys:
        if not is_recording(data) and key not in data:
            raise NotRecordedError(f"activity: of: {key!r:.60} is not in data")
        name = data.called(key) if is_recording(data) else str(key)  # type: ignore[attr-defined]  # a Recording has it
        found.append((name, _share(plain("activity", data[key], f"data[{name}]"))))
    return found


def _share(array: np.ndarray) -> np.ndarray:
    if not array.ndim or not array.size:
        raise InputError(f"activity: data has shape {array.shape}; expected (..., time), none 0")
    return (array != 0).reshape(-1, array.shape[-1]).mean(0)
