"""What is drawn over time, from arrays, Recordings and events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavalike.arguments import as_numbers, did_you_mean, shown
from lavalike.errors import InputError, InputTypeError, NotRecordedError

KINDS = "an array (*shape, time), a Recording, a dict of arrays, or events"


@dataclass
class Series:
    """Values over time of one port, Var or array: ``values`` (elements, time).

    ``first`` is the number of the first column; ``shape`` that of an element's index, ``name`` and
    ``note`` (the sample) go into a title.
    """

    values: np.ndarray
    shape: tuple[int, ...]
    name: str = ""
    note: str = ""
    first: int = 0

    @property
    def spiking(self) -> bool:
        """Whether it is 0 and 1 only."""
        values = self.values
        if values.dtype.kind == "b":
            return True
        if values.size and (values.min() < 0 or values.max() > 1):
            return False
        return values.dtype.kind in "iu" or bool(((values == 0) | (values == 1)).all())


@dataclass
class Points:
    """Spikes as points: ``times`` and ``rows`` of each, of ``count`` rows within ``span`` of time;
    ``label`` says what rows are, ``channels`` has each one's, or None."""

    times: np.ndarray
    rows: np.ndarray
    count: int
    span: tuple[float, float]
    label: str = "neuron"
    channels: np.ndarray | None = None


def is_events(data: Any) -> bool:
    return all(hasattr(data, name) for name in ("x", "y", "c", "t")) and hasattr(data, "dim")


def is_recording(data: Any) -> bool:
    return isinstance(data, Mapping) and hasattr(data, "batched") and hasattr(data, "steps")


def plain(who: str, value: Any, name: str = "data") -> np.ndarray:
    """``value`` as an array of real numbers; a tensor that requires a gradient too, as nothing is
    trained through a picture."""
    if hasattr(value, "detach"):
        value = value.detach()
    array = as_numbers(value)
    if array is None or array.dtype.kind == "c":
        raise InputTypeError(
            f"{who}: {name} is {KINDS if name == 'data' else 'an array of real numbers'}, "
            f"got {shown(value)} ({type(value).__name__})"
        )
    return array


def series(who: str, data: Any, of: Any, sample: int = 0) -> Series:
    """What ``data`` holds (under ``of``), of one sample."""
    if is_recording(data):
        return _recorded(who, data, of, sample)
    if isinstance(data, Mapping):
        key = _key(who, data, of)
        return _array(who, plain(who, data[key], f"data[{shown(key)}]"), str(key))
    if of is not None:
        raise InputError(
            f"{who}: of={shown(of)} names what is drawn of a Recording or a dict; data is neither"
        )
    if sample:
        raise InputError(f"{who}: sample={sample} is of a Recording's batch; index the array")
    return _array(who, plain(who, data), "")


def _array(who: str, array: np.ndarray, name: str) -> Series:
    if not array.ndim or not array.size:
        raise InputError(
            f"{who}: data has shape {array.shape}; expected (*shape, time), none of them 0"
        )
    shape = array.shape[:-1]
    return Series(array.reshape(math.prod(shape), array.shape[-1]), shape, name)


def _key(who: str, data: Mapping[Any, Any], of: Any) -> Any:
    if not data:
        raise NotRecordedError(f"{who}: data holds nothing; simulate(record=[...]) records more")
    if of is None:
        if len(data) > 1:
            names = ", ".join(str(getattr(k, "path", k)) for k in data)
            raise InputError(f"{who}: data holds {names}; say which with of=")
        return next(iter(data))
    if not is_recording(data) and of not in data:
        near = did_you_mean(of, map(str, data))
        raise NotRecordedError(
            f"{who}: of={shown(of)} is not in data{near}; there are {', '.join(map(str, data))}"
        )
    return of


def _recorded(who: str, data: Any, of: Any, sample: int) -> Series:
    if data and not len(data.steps):
        raise NotRecordedError(f"{who}: the Recording holds no step; simulate more of them")
    key = _key(who, data, of)
    name = data.called(key)
    values = plain(who, data[key], f"data[{name}]")
    if not data.batched:
        if sample:
            raise InputError(f"{who}: sample={sample}, and the Recording has no batch")
        note = ""
    elif sample < len(values):
        note = f"sample {sample} of {len(values)}" if len(values) > 1 else ""
        values = values[sample]
    else:
        raise InputError(f"{who}: sample={sample}, and the batch is of {len(values)}")
    made = _array(who, values, name)
    made.note, made.first = note, int(data.steps[0])
    return made


def points(who: str, event: Any) -> Points:
    """Events as points: times in ms, a row for each x, or of two dimensions for each pixel, y
    after y."""
    x, y, c = np.asarray(event.x), event.y, np.asarray(event.c)
    width = int(x.max(initial=0)) + 1
    rows = x if y is None else np.asarray(y) * width + x
    t = np.asarray(event.t, np.float64)
    span = (float(t.min()), float(t.max())) if len(t) else (0.0, 0.0)
    label = "x" if y is None else f"pixel (y x {width} + x)"
    return Points(t, rows, int(rows.max(initial=0)) + 1, span, label, c)


def stacked(data: Any, keys: Sequence[Any], sample: int, dt: float | None, ax: Any) -> Any:
    """Each of ``keys`` of a Recording as a raster or as traces, below each other; the axes."""
    from lavalike.plot.canvas import SIZE, axes
    from lavalike.plot.raster import raster
    from lavalike.plot.traces import traces

    found = [series("Recording.plot", data, key, sample) for key in keys]
    if len(keys) == 1:
        fields = [axes("Recording.plot", ax)]
    else:
        from lavalike.extras import needed

        pyplot = needed("matplotlib.pyplot", "Recording.plot", "plot")
        height = 0.4 + 0.75 * SIZE[1] * len(keys)
        _, fields = pyplot.subplots(
            len(keys), sharex=True, figsize=(SIZE[0], height), layout="constrained"
        )
    for field_, key, one in zip(fields, keys, found, strict=True):
        draw = raster if one.spiking and not data.is_var(key) else traces
        draw(data, of=key, sample=sample, dt=dt, ax=field_)
        if field_ is not fields[-1]:
            field_.set_xlabel("")
    return fields[0] if len(keys) == 1 else fields
