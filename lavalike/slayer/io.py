"""Events: conversion to tensors, files, and views.

Binary files hold one event after another, big-endian, with no header; times are whole microseconds:

    1-D   40 bits: x 16, c 1, t 23
    2-D   40 bits: x 8, y 8, c 1, t 23
    3-D   56 bits: x 12, y 12, c 8, t 24 (the format of slayerPytorch's 3-D files)

NumPy files (.npy, or .npz with a single array) hold a row an event, ``x, y, c, t``, or ``x, c, t``
without y. No file is unpickled.
"""

from __future__ import annotations

import math
import os
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from lavalike.arguments import (
    FLAG,
    PATH,
    Rule,
    arguments,
    choice,
    instance,
    integer,
    optional,
    real,
    sequence,
)
from lavalike.errors import InputError, InputTypeError
from lavalike.extras import needed
from lavalike.plot import film, raster

Array = TypeVar("Array", np.ndarray, torch.Tensor)
MODES = ("OR", "SUM")
MAX_BYTES = 1 << 33  # of a tensor whose size the events tell
# how files of other kinds begin
FOREIGN = {
    b"\x93NUMPY": "a NumPy file: read_np_spikes",
    b"PK\x03\x04": "a zip or .npz file: read_np_spikes",
    b"\x89HDF": "an HDF5 file",
    b"#!AER-DAT": "an AEDAT file",
}
_TENSOR = Rule("an array or a torch tensor", lambda v: isinstance(v, np.ndarray | torch.Tensor))


def _listed(a: np.ndarray, name: str) -> None:
    if a.ndim == 0 or (a.size and a.dtype.kind not in "iufb"):
        raise InputTypeError(
            f"io.Event: {name} is a list of numbers, got {a.dtype} of shape {a.shape}"
        )


def _axis(values: Any, name: str) -> np.ndarray:
    """A copy of indices as int64."""
    a = np.asarray(values)
    _listed(a, name)
    if a.size and not (
        np.isfinite(a).all() and (a == np.floor(a)).all() and a.min() >= 0 and a.max() < 2**31
    ):
        raise InputError(
            f"io.Event: {name} are whole numbers in 0..2^31 - 1, got {a.min()}..{a.max()}"
        )
    return a.astype(np.int64)


def _whole(t: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves to even."""
    if t.size and np.abs(t).max() >= 2**53:
        raise InputError(f"io.Event: a time of {np.abs(t).max():.3g} steps is beyond 2^53")
    return np.round(t).astype(np.int64)


class Event:
    """Spikes with place, channel and time.

    Example:
        >>> x, y, polarity, ms = [1, 2], [0, 3], [0, 1], [0.5, 2.0]
        >>> event = slayer.io.Event(x, y, polarity, ms)
        >>> event.fill_tensor(torch.zeros(2, 4, 4, 3)).sum()
        tensor(2.)

    Args:
        x_event: x indices, (events,).
        y_event: y indices, or None for events in one dimension.
        c_event: channel (or polarity) indices.
        t_event: times in ms, finite.
        payload: values of graded events, None for spikes.

    Attributes: ``x``, ``y`` (or None), ``c`` (int64), ``t`` (float64), ``p`` (or None), ``graded``,
    ``dim`` (1 or 2). All are copies; channels keep their numbers.

    Raises:
        InputError: lists of different length, an index that is negative or no whole number, a time
            that is not finite.
    """

    @arguments()
    def __init__(
        self, x_event: Any, y_event: Any, c_event: Any, t_event: Any, payload: Any = None
    ) -> None:
        self.x, self.c = _axis(x_event, "x_event"), _axis(c_event, "c_event")
        self.y = None if y_event is None else _axis(y_event, "y_event")
        times = np.asarray(t_event)
        _listed(times, "t_event")
        self.t = np.array(times, np.float64)
        self.p = None if payload is None else np.array(payload)
        if self.p is not None:
            _listed(self.p, "payload")
        fields = {
            "x_event": self.x,
            "y_event": self.y,
            "c_event": self.c,
            "t_event": self.t,
            "payload": self.p,
        }
        lengths = {name: a.shape for name, a in fields.items() if a is not None}
        if len(set(lengths.values())) != 1 or self.x.ndim != 1:
            raise InputError(
                f"io.Event: {', '.join(lengths)} have one value an event each, got shapes {lengths}"
            )
        if not np.isfinite(self.t).all():
            raise InputError("io.Event: t_event: times are finite, got NaN or infinity")

    @property
    def dim(self) -> int:
        return 1 if self.y is None else 2

    @property
    def graded(self) -> bool:
        return self.p is not None

    def __len__(self) -> int:
        return len(self.x)

    def _bins(self, sampling_time: float) -> np.ndarray:
        return _whole(self.t / sampling_time)

    @arguments(sampling_time=real(above=0), dim=optional(sequence(integer(0), 4)))
    def to_tensor(
        self, sampling_time: float = 1, dim: tuple[int, int, int, int] | None = None
    ) -> np.ndarray:
        """Events as a float64 array (channel, height, width, time), 1 where there are any, summed
        payloads of graded ones.

        Args:
            sampling_time: ms of a step; events go to the nearest.
            dim: shape of the array; None: the smallest that holds all events from time 0 on.

        Raises:
            InputError: the array would take more than 8 GiB (times in another unit, or counted from
                an epoch), or there is no memory.
        """
        shape = dim
        if shape is None:
            used = (
                self.c,
                np.zeros_like(self.x) if self.y is None else self.y,
                self.x,
                self._bins(sampling_time),
            )
            c, h, w, t = (int(a.max(initial=-1)) + 1 for a in used)
            shape = c, h, w, t
            if 8 * math.prod(shape) > MAX_BYTES:
                raise InputError(
                    f"io.Event.to_tensor: events up to t = {self.t.max():.10g} ms make an array {shape} of "
                    f"{8 * math.prod(shape) / 2**30:.3g} GiB. Times are in ms from the recording's begin: subtract the first "
                    f"({self.t.min():.10g}), or divide microseconds by 1000; else a longer sampling_time, or dim"
                )
        try:
            empty = np.zeros(shape)
        except (MemoryError, ValueError) as e:
            raise InputError(
                f"io.Event.to_tensor: no memory for an array of shape {tuple(shape)}"
            ) from e
        return self.fill_tensor(empty, sampling_time)

    @arguments(
        empty_tensor=_TENSOR,
        sampling_time=real(above=0),
        random_shift=FLAG,
        binning_mode=choice(*MODES),
    )
    def fill_tensor(
        self,
        empty_tensor: Array,
        sampling_time: float = 1,
        random_shift: bool = False,
        binning_mode: str = "OR",
    ) -> Array:
        """Put the events into ``empty_tensor``, which is changed and returned. Events outside of it
        are left out, with one warning that counts them; with ``random_shift`` those outside in time
        are what was asked for.

        Args:
            empty_tensor: (channel, height, width, time), for events in one dimension also (channel,
                width, time).
            sampling_time: ms of a step; events go to the nearest.
            random_shift: shift by a random number of steps (torch's generator): a shorter recording
                anywhere inside the tensor, of a longer one any part that fills the tensor.
            binning_mode: "OR": 1 where there are events; "SUM": their number. Payloads of graded
                events are always summed.
        """
        shape = tuple(empty_tensor.shape)
        if len(shape) != 4 and not (len(shape) == 3 and self.dim == 1):
            wanted = "(channel, height, width, time)" + (
                " or (channel, width, time)" if self.dim == 1 else ""
            )
            raise InputError(f"io.Event: a tensor {wanted} is expected, got {shape}")
        t = self._bins(sampling_time)
        if random_shift and t.size:
            ends = sorted((-int(t.min()), shape[-1] - 1 - int(t.max())))
            t = t + int(torch.randint(ends[0], ends[1] + 1, ()))
        place = (
            (self.c, self.x, t)
            if len(shape) == 3
            else (self.c, np.zeros_like(self.x) if self.y is None else self.y, self.x, t)
        )
        fits = [(a >= 0) & (a < n) for a, n in zip(place, shape, strict=True)]
        inside = np.logical_and.reduce(fits)
        lost = int(np.count_nonzero(~np.logical_and.reduce(fits[:-1] if random_shift else fits)))
        if lost:
            axes = ("c", "x", "t") if len(shape) == 3 else ("c", "y", "x", "t")
            spans = ", ".join(
                f"{n} {a.min()}..{a.max()} of {size}"
                for n, a, size, ok in zip(axes, place, shape, fits, strict=True)
                if not ok.all() and not (random_shift and n == "t")
            )
            warnings.warn(
                f"io.Event.fill_tensor: {lost} of {len(self)} events are outside the tensor and left out: {spans} (t in steps of "
                f"{sampling_time:g} ms). Is the tensor too small, or another unit of time meant?",
                UserWarning,
                stacklevel=3,
            )
        index = tuple(a[inside] for a in place)
        values = np.ones(len(index[0])) if self.p is None else self.p[inside]
        add = binning_mode == "SUM" or self.graded
        if isinstance(empty_tensor, torch.Tensor):
            empty_tensor.index_put_(
                tuple(map(torch.from_numpy, index)),
                torch.from_numpy(values).to(empty_tensor),
                accumulate=add,
            )
        elif add:
            np.add.at(empty_tensor, index, values.astype(empty_tensor.dtype))
        else:
            empty_tensor[index] = 1
        return empty_tensor

    # -- views -------------------------------------------------------------------------------------

    @arguments(fig=optional(integer(0)), frame_rate=real(above=0))
    def show(self, fig: int | None = None, frame_rate: float = 24) -> None:
        """Show the events: in one dimension x over time, in two as they appear. Needs matplotlib.

        Args:
            fig: number of the figure; None: a new one.
            frame_rate: frames a second (of events and of the film), for events in two dimensions.
        """
        plt = needed("matplotlib.pyplot", "io.Event.show", "plot")
        if self.dim == 1:
            raster(self, ax=plt.figure(fig, clear=True).add_subplot())
            plt.show()
        else:
            self._film = self.anim(fig, frame_rate)  # matplotlib stops a film nobody holds
            plt.gcf().canvas.draw()
            plt.show()

    @arguments(
        fig=optional(integer(0)), frame_rate=real(above=0), pre_compute_frames=FLAG, repeat=FLAG
    )
    def anim(
        self,
        fig: int | None = None,
        frame_rate: float = 24,
        pre_compute_frames: bool = True,
        repeat: bool = True,
    ) -> Any:
        """A ``matplotlib.animation.FuncAnimation``: keep a reference to it; it can be saved, or
        shown by plt.show(). Needs matplotlib.

        Args:
            fig: number of the figure; None: a new one.
            frame_rate: frames a second, of events and of the film.
            pre_compute_frames: compute all pictures now, rather than each when it is shown (slower
                then, less memory now).
            repeat: start again at the end.
        """
        plt = needed("matplotlib.pyplot", "io.Event.anim", "plot")
        axes = plt.figure(fig, clear=True).add_subplot()
        return film.events(self, axes, frame_rate, repeat, pre_compute_frames)


@arguments(spike_tensor=_TENSOR, sampling_time=real(above=0))
def tensor_to_event(spike_tensor: np.ndarray | torch.Tensor, sampling_time: float = 1) -> Event:
    """The events of a tensor (channel, height, width, time), or (channel, width, time) for events
    in one dimension.

    Every element that is not 0 is an event; they are graded where any is not 1.

    Args:
        sampling_time: ms of a step.
    """
    a = (
        spike_tensor.detach().cpu().numpy()
        if isinstance(spike_tensor, torch.Tensor)
        else np.asarray(spike_tensor)
    )
    if a.ndim not in (3, 4):
        raise InputError(
            f"io.tensor_to_event: spike_tensor is (channel, height, width, time) or (channel, width, time), got {a.shape}"
        )
    if not np.isfinite(a).all():
        raise InputError("io.tensor_to_event: spike_tensor has NaN or infinite elements")
    index = a.nonzero()
    values = a[index]
    y = index[1] if a.ndim == 4 else None
    return Event(
        index[-2], y, index[0], index[-1] * sampling_time, None if (values == 1).all() else values
    )


# -- files -----------------------------------------------------------------------------------------

_LAYOUTS = {
    1: (("x", 16), ("c", 1), ("t", 23)),
    2: (("x", 8), ("y", 8), ("c", 1), ("t", 23)),
    3: (("x", 12), ("y", 12), ("c", 8), ("t", 24)),
}


def _read(filename: str | os.PathLike[str], kind: int) -> Event:
    layout = _LAYOUTS[kind]
    size = sum(bits for _, bits in layout) // 8
    content = Path(filename).read_bytes()
    for begin, what in FOREIGN.items():
        if content.startswith(begin):
            raise InputError(f"{filename}: no file of {kind}-D events, but {what}")
    raw = np.frombuffer(content, np.uint8)
    if raw.size % size:
        raise InputError(
            f"{filename}: {raw.size} bytes are no whole number of {kind}-D events of {size} bytes; the file is damaged, "
            "or of another kind"
        )
    word = np.zeros(raw.size // size, np.int64)
    for column in raw.reshape(-1, size).T:
        word = word << 8 | column
    fields = {}
    for name, bits in reversed(layout):
        fields[name], word = word & ((1 << bits) - 1), word >> bits
    t = fields["t"]
    # recordings go forward; the times of another format's bytes are a coin's
    back = int(np.count_nonzero(t[1:] < t[:-1]))
    if len(t) > 16 and 4 * back > len(t):
        warnings.warn(
            f"{filename}: {back} of {len(t)} events are earlier than the one before: is this a file of {kind}-D events?",
            UserWarning,
            stacklevel=3,
        )
    return Event(fields["x"], fields.get("y"), fields["c"], t / 1000)


def _encode(filename: str | os.PathLike[str], event: Event, kind: int) -> None:
    layout = _LAYOUTS[kind]
    if event.dim != min(kind, 2):
        raise InputError(
            f"{filename}: {kind}-D files hold events of {min(kind, 2)} dimensions, got {event.dim}"
        )
    if event.graded:
        raise InputError(
            f"{filename}: {kind}-D files hold no payloads; encode Event(x, y, c, t) without them"
        )
    fields = {"x": event.x, "c": event.c, "t": _whole(event.t * 1000)} | (
        {} if event.y is None else {"y": event.y}
    )
    word = np.zeros(len(event), np.int64)
    for name, bits in layout:
        value = fields[name]
        if value.size and not (value.min() >= 0 and value.max() < 1 << bits):
            unit = " microseconds" if name == "t" else ""
            raise InputError(
                f"{filename}: in {kind}-D files {name} has {bits} bits, 0..{(1 << bits) - 1}{unit}; "
                f"got {value.min()}..{value.max()}"
            )
        word = word << bits | value
    size = sum(bits for _, bits in layout) // 8
    Path(filename).write_bytes(
        word.astype(">i8").view(np.uint8).reshape(-1, 8)[:, 8 - size :].tobytes()
    )


@arguments(filename=PATH)
def read_1d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in one dimension: 16 bits x, 1 bit c, 23 bits t in microseconds. InputError for a
    length that is no multiple of 5 bytes."""
    return _read(filename, 1)


@arguments(filename=PATH, td_event=instance(Event))
def encode_1d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in one dimension; times are rounded to microseconds. InputError for what the
    bits cannot hold."""
    _encode(filename, td_event, 1)


@arguments(filename=PATH)
def read_2d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in two dimensions: 8 bits x, 8 bits y, 1 bit c, 23 bits t in microseconds. InputError
    as read_1d_spikes."""
    return _read(filename, 2)


@arguments(filename=PATH, td_event=instance(Event))
def encode_2d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in two dimensions; times are rounded to microseconds. InputError for what the
    bits cannot hold."""
    _encode(filename, td_event, 2)


@arguments(filename=PATH)
def read_3d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in two dimensions with up to 256 channels: 12 bits x, 12 bits y, 8 bits c, 24 bits t
    in microseconds."""
    return _read(filename, 3)


@arguments(filename=PATH, td_event=instance(Event))
def encode_3d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in two dimensions with up to 256 channels; times are rounded to microseconds."""
    _encode(filename, td_event, 3)


@arguments(filename=PATH, fmt=choice("xypt"), time_unit=real(above=0))
def read_np_spikes(
    filename: str | os.PathLike[str], fmt: str = "xypt", time_unit: float = 1e-3
) -> Event:
    """Events of a .npy file, or a .npz file with a single array: rows ``x, y, c, t``, or
    ``x, c, t`` without y.

    Args:
        fmt: "xypt".
        time_unit: seconds of 1 in the column t.

    Raises:
        InputError: the file is damaged, pickled, or holds something else.
    """
    raw = BytesIO(Path(filename).read_bytes())
    try:
        content = np.load(raw, allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            with content:
                if len(content.files) != 1:
                    raise InputError(
                        f"{filename}: an .npz file of events holds one array, this one {content.files}"
                    )
                content = content[content.files[0]]
    except InputError:
        raise
    except (
        Exception
    ) as e:  # the bytes are in memory: whatever numpy, zipfile or tokenize raise is about them
        raise InputError(f"{filename}: no NumPy file of events, or damaged: {e}") from e
    if (
        not isinstance(content, np.ndarray)
        or content.ndim != 2
        or content.shape[1] not in (3, 4)
        or content.dtype.kind not in "iuf"
    ):
        found = (
            f"{content.dtype} of shape {content.shape}"
            if isinstance(content, np.ndarray)
            else type(content).__name__
        )
        raise InputError(
            f"{filename}: numbers (events, 4), or (events, 3) without y, are expected, got {found}"
        )
    columns = content.astype(np.float64).T
    try:
        return Event(
            columns[0],
            columns[1] if len(columns) == 4 else None,
            columns[-2],
            columns[-1] * (time_unit * 1e3),
        )
    except InputError as e:
        raise InputError(f"{filename}: {e}") from e


@arguments(filename=PATH, td_event=instance(Event), fmt=choice("xypt"), time_unit=real(above=0))
def encode_np_spikes(
    filename: str | os.PathLike[str], td_event: Event, fmt: str = "xypt", time_unit: float = 1e-3
) -> None:
    """Write events as rows ``x, y, c, t``, or ``x, c, t`` without y; compressed where the name ends
    in .npz.

    Args:
        fmt: "xypt".
        time_unit: seconds of 1 in the column t.
    """
    if td_event.graded:
        raise InputError(
            f"{filename}: 'xypt' files hold no payloads; encode Event(x, y, c, t) without them"
        )
    place = (td_event.x,) if td_event.y is None else (td_event.x, td_event.y)
    rows = np.stack([*place, td_event.c, td_event.t / (time_unit * 1e3)], 1).astype(np.float64)
    with Path(filename).open("wb") as f:
        if Path(filename).suffix == ".npz":
            np.savez_compressed(f, events=rows)
        else:
            np.save(f, rows, allow_pickle=False)
