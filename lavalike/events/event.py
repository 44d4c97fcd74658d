"""Event: spikes with place, channel and time; tensors and structured arrays of it, and views."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lavalike.arguments import (
    FLAG,
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

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")
MODES = ("OR", "SUM")
MAX_BYTES = 1 << 33  # of a tensor whose size the events tell
_TENSOR = instance(np.ndarray, "torch.Tensor", words="an array or a torch tensor")


def _listed(a: np.ndarray, name: str) -> None:
    if a.ndim == 0 or (a.size and a.dtype.kind not in "iufb"):
        raise InputTypeError(
            f"Event: {name} is a list of numbers, got {a.dtype} of shape {a.shape}"
        )


def _axis(values: Any, name: str) -> np.ndarray:
    """A copy of indices as int64."""
    a = np.asarray(values)
    _listed(a, name)
    if a.size and not (
        np.isfinite(a).all() and (a == np.floor(a)).all() and a.min() >= 0 and a.max() < 2**31
    ):
        raise InputError(
            f"Event: {name} are whole numbers in 0..2^31 - 1, got {a.min()}..{a.max()}"
        )
    return a.astype(np.int64)


def whole(t: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves to even."""
    if t.size and np.abs(t).max() >= 2**53:
        raise InputError(f"Event: a time of {np.abs(t).max():.3g} steps is beyond 2^53")
    return np.round(t).astype(np.int64)


def _drawn(low: int, high: int, like: Any) -> int:
    """A whole number in ``low..high`` of the generator that goes with ``like``."""
    if isinstance(like, np.ndarray):
        return int(np.random.randint(low, high + 1))  # noqa: NPY002  (the one that seeds are set of)
    import torch

    return int(torch.randint(low, high + 1, ()))


class Event:
    """Spikes with place, channel and time.

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

    Example::

        event = Event([3, 4], [7, 7], [1, 0], [0.0, 1.5])  # (x, y, polarity, ms) of two events
        event.to_tensor(sampling_time=0.5).shape  # (2, 8, 5, 4): channel, height, width, time
        Event.from_structured(recording)  # of tonic's or Prophesee's dtype, times in microseconds
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
                f"Event: {', '.join(lengths)} have one value an event each, got shapes {lengths}"
            )
        if not np.isfinite(self.t).all():
            raise InputError("Event: t_event: times are finite, got NaN or infinity")

    @property
    def dim(self) -> int:
        return 1 if self.y is None else 2

    @property
    def graded(self) -> bool:
        return self.p is not None

    def __len__(self) -> int:
        return len(self.x)

    def _bins(self, sampling_time: float) -> np.ndarray:
        return whole(self.t / sampling_time)

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
                    f"Event.to_tensor: events up to t = {self.t.max():.10g} ms make an array {shape} of "
                    f"{8 * math.prod(shape) / 2**30:.3g} GiB. Times are in ms from the recording's begin: subtract the first "
                    f"({self.t.min():.10g}), or divide microseconds by 1000; else a longer sampling_time, or dim"
                )
        try:
            empty = np.zeros(shape)
        except (MemoryError, ValueError) as e:
            raise InputError(
                f"Event.to_tensor: no memory for an array of shape {tuple(shape)}"
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
            random_shift: shift by a random number of steps, drawn from torch's generator for a
                tensor and from NumPy's global one for an array: a shorter recording anywhere inside
                the tensor, of a longer one any part that fills the tensor.
            binning_mode: "OR": 1 where there are events; "SUM": their number. Payloads of graded
                events are always summed.
        """
        shape = tuple(empty_tensor.shape)
        if len(shape) != 4 and not (len(shape) == 3 and self.dim == 1):
            wanted = "(channel, height, width, time)" + (
                " or (channel, width, time)" if self.dim == 1 else ""
            )
            raise InputError(f"Event: a tensor {wanted} is expected, got {shape}")
        t = self._bins(sampling_time)
        if random_shift and t.size:
            ends = sorted((-int(t.min()), shape[-1] - 1 - int(t.max())))
            t = t + _drawn(ends[0], ends[1], empty_tensor)
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
                f"Event.fill_tensor: {lost} of {len(self)} events are outside the tensor and left out: {spans} (t in steps of "
                f"{sampling_time:g} ms). Is the tensor too small, or another unit of time meant?",
                UserWarning,
                stacklevel=3,
            )
        index = tuple(a[inside] for a in place)
        values = np.ones(len(index[0])) if self.p is None else self.p[inside]
        add = binning_mode == "SUM" or self.graded
        if not isinstance(empty_tensor, np.ndarray):
            import torch

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

    # -- structured arrays -------------------------------------------------------------------------

    @classmethod
    @arguments(
        array=instance(np.ndarray, words="a structured array"),
        unit=optional(real(above=0)),
        sensor=optional(sequence(integer(1), 2)),
        sort=FLAG,
    )
    def from_structured(
        cls,
        array: np.ndarray,
        unit: float | None = None,
        sensor: tuple[int, int] | None = None,
        sort: bool = False,
    ) -> Event:
        """Events of a structured array (events,), as tonic, Prophesee and others have them.

        Args:
            array: fields x, y (none for events in one dimension), p and t, found by name in any
                order; other usual names (ts, timestamp, polarity, ...) are known too. Without p
                the channel is 0; polarities -1 and 1 are 0 and 1.
            unit: seconds of a 1 in t. Default 1e-6; times that are no whole microseconds then are
                an error.
            sensor: (width, height); an address beyond it is an error.
            sort: sort by time. Default False: times that run backwards are an error.

        Raises:
            InputError: a field is missing, doubled or unknown, or what ``sensor`` and ``sort`` say.
        """
        from lavalike.events.table import from_structured

        area = None if sensor is None else (int(sensor[0]), int(sensor[1]))
        return from_structured(array, unit, area, sort)

    @arguments(kind=choice("tonic", "prophesee"), unit=real(above=0))
    def to_structured(self, kind: str = "tonic", unit: float = 1e-6) -> np.ndarray:
        """The events as a structured array (events,).

        Args:
            kind: "tonic": fields x, y int16, t int64, p int8, or t, x, p int64 without y;
                "prophesee": x, y uint16, p int16, t int64.
            unit: seconds of a 1 in t; times are rounded to it. Default 1e-6.

        Raises:
            InputError: payloads, or a value beyond its field.
        """
        from lavalike.events.table import to_structured

        return to_structured(self, kind, unit)

    # -- views -------------------------------------------------------------------------------------

    @arguments(
        fig=optional(integer(0)), frame_rate=real(above=0), pre_compute_frames=FLAG, repeat=FLAG
    )
    def show(
        self,
        fig: int | None = None,
        frame_rate: float = 24,
        pre_compute_frames: bool = True,
        repeat: bool = False,
    ) -> None:
        """Show the events: in one dimension x over time, in two as they appear. Needs matplotlib.

        Args:
            fig: number of the figure; None: a new one.
            frame_rate, pre_compute_frames, repeat: see :meth:`anim`, for events in two dimensions.
                repeat: default False.
        """
        plt = needed("matplotlib.pyplot", "io.Event.show", "plot")
        if self.dim == 1:
            raster(self, ax=plt.figure(fig, clear=True).add_subplot())
            plt.show()
        else:
            self._film = self.anim(
                fig, frame_rate, pre_compute_frames, repeat
            )  # matplotlib stops a film nobody holds
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
        spike_tensor
        if isinstance(spike_tensor, np.ndarray)
        else spike_tensor.detach().cpu().numpy()
    )
    if a.ndim not in (3, 4):
        raise InputError(
            f"tensor_to_event: spike_tensor is (channel, height, width, time) or (channel, width, time), got {a.shape}"
        )
    if not np.isfinite(a).all():
        raise InputError("tensor_to_event: spike_tensor has NaN or infinite elements")
    index = a.nonzero()
    values = a[index]
    y = index[1] if a.ndim == 4 else None
    return Event(
        index[-2], y, index[0], index[-1] * sampling_time, None if (values == 1).all() else values
    )
