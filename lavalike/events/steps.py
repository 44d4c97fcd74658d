"""Events in steps of time: frames, or the few places of each step where something happened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lavalike.arguments import FLAG, Rule, arguments, choice, integer, optional, real, sequence
from lavalike.errors import InputError, InputTypeError
from lavalike.events.event import MAX_BYTES, MODES, Event, whole
from lavalike.events.table import from_structured

EDGE = 1e-6  # of a step: so much before a step's begin, a time counts as that begin
_SHAPE = sequence(integer(1), 3)
_EVENTS = Rule(
    "an Event, or a structured array of events",
    lambda v: isinstance(v, Event) or (isinstance(v, np.ndarray) and v.dtype.names is not None),
)
_DATASET = Rule(
    "a dataset: something with a length and items",
    lambda v: hasattr(v, "__getitem__") and hasattr(v, "__len__") and not isinstance(v, str | dict),
)
_STEPS = {
    "dt": real(above=0),
    "shape": optional(_SHAPE),
    "steps": optional(integer(1)),
    "start": optional(real()),
}


class Places(NamedTuple):
    """Where something happened in one step.

    ``place``: int64, ascending, into the flattened (channel, height, width). ``value``: as many, 1
    each or with "SUM" how many events (of graded events the sum of their payloads).
    """

    place: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class _Binned:
    shape: tuple[int, int, int]
    steps: int
    step: np.ndarray  # of each event, ascending
    index: np.ndarray  # of each event, into (channel, height, width)
    value: np.ndarray


def _binned(
    events: Any,
    dt: float,
    shape: Sequence[int] | None,
    steps: int | None,
    start: float | None,
    where: str,
) -> _Binned:
    event = events if isinstance(events, Event) else from_structured(events, where=where)
    y = np.zeros_like(event.x) if event.y is None else event.y
    if shape is None:
        c, h, w = (int(a.max(initial=0)) + 1 for a in (event.c, y, event.x))
    else:
        c, h, w = map(int, shape)
        for name, a, size in (("p", event.c, c), ("y", y, h), ("x", event.x, w)):
            bad = np.flatnonzero(a >= size)
            if bad.size:
                raise InputError(
                    f"{where}: {name} = {a[bad[0]]} of event {bad[0]} is beyond shape={(c, h, w)}, (channel, height, width); "
                    f"{bad.size} events are"
                )
    first = float(event.t.min(initial=math.inf)) if start is None else float(start)
    if not len(event):
        first = 0.0 if start is None else first
    early = np.flatnonzero(event.t < first)
    if early.size and not first:
        raise InputError(
            f"{where}: t = {event.t[early[0]]:.10g} ms of event {early[0]} is before start=0; {early.size} events are. start=None begins "
            "with the first event"
        )
    step = whole(np.floor((event.t - first) / dt + EDGE))
    if steps is None:
        count = int(step.max(initial=-1)) + 1
        if 4 * count * c * h * w > MAX_BYTES:
            raise InputError(
                f"{where}: events up to t = {event.t.max():.10g} ms make {count} steps of dt={dt:g} ms. start=None begins with the first "
                f"event (at {event.t.min():.10g} ms); else a longer dt, or steps"
            )
    else:
        count = int(steps)
    order = np.argsort(step, kind="stable")
    low, high = np.searchsorted(step[order], (0, count))  # what is asked for
    order = order[low:high]
    index = (event.c * h + y) * w + event.x
    value = np.ones(len(event), np.float32) if event.p is None else event.p.astype(np.float32)
    return _Binned((c, h, w), count, step[order], index[order], value[order])


def _places(found: _Binned, k: int, add: bool) -> Places:
    low, high = np.searchsorted(found.step, (k, k + 1))
    index, back = np.unique(found.index[low:high], return_inverse=True)
    if not add:
        return Places(index, np.ones(len(index), np.float32))
    return Places(index, np.bincount(back, found.value[low:high], len(index)).astype(np.float32))


def _add(event: Any, mode: str) -> bool:
    return mode == "SUM" or (isinstance(event, Event) and event.graded)


@arguments(events=_EVENTS, mode=choice(*MODES), **_STEPS)
def frames(
    events: Any,
    dt: float,
    shape: Sequence[int] | None = None,
    steps: int | None = None,
    mode: str = "OR",
    start: float | None = 0.0,
) -> Iterator[np.ndarray]:
    """Frames of a recording, one a step, made as they are taken: float32 (channel, height, width).

    Args:
        events: an :class:`Event`, or a structured array (times in microseconds).
        dt: ms of a step. Step k holds the events in [start + k dt, start + (k + 1) dt).
        shape: (channel, height, width). None: the smallest that holds all.
        steps: how many; later events are left out, missing ones are silent. None: up to the last
            event.
        mode: "OR": 1 where there are events; "SUM": their number. Payloads of graded events are
            always summed.
        start: ms at which step 0 begins; earlier events are left out. None: at the first event.
            Default 0, before which an event is an error.

    Raises:
        InputError: an event beyond ``shape`` or before ``start``.

    Example::

        for frame in frames(recording, dt=1.0, shape=(2, 128, 128)):
            network.step(frame)
    """
    found = _binned(events, dt, shape, steps, start, "frames")
    return _frames(found, _add(events, mode))


def _frames(found: _Binned, add: bool) -> Iterator[np.ndarray]:
    for k in range(found.steps):
        frame = np.zeros(math.prod(found.shape), np.float32)
        places = _places(found, k, add)
        frame[places.place] = places.value
        yield frame.reshape(found.shape)


@arguments(events=_EVENTS, mode=choice(*MODES), **_STEPS)
def sparse_steps(
    events: Any,
    dt: float,
    shape: Sequence[int] | None = None,
    steps: int | None = None,
    mode: str = "OR",
    start: float | None = 0.0,
) -> Iterator[Places]:
    """The same as :func:`frames` without the silence: of each step the :class:`Places` where
    something happened."""
    found = _binned(events, dt, shape, steps, start, "sparse_steps")
    add = _add(events, mode)
    return (_places(found, k, add) for k in range(found.steps))


class Frames(Sequence[tuple[Any, Any]]):
    """A dataset of events, seen as one of frames: item k is ``(frames, label)``, frames float32
    (channel, height, width, time), as slayer's blocks take them, or with ``sparse`` a list of
    :class:`Places`, one a step.

    Args:
        data: any dataset (torch's, a list, ours) whose items are events or ``(events, label)``;
            events are an :class:`Event` or a structured array, as tonic's.
        dt, shape, steps, mode, start: as :func:`frames` takes them. A loader that stacks samples
            needs ``shape`` and ``steps``, for all to be of one size.
        sparse: places in the place of frames. Default False.

    Made anew at each access, so what a dataset draws afresh stays fresh. It is a map-style dataset:
    torch's DataLoader takes it, and needs nothing else.

    Raises:
        InputError: what :func:`frames` raises, with the number of the item.

    Example::

        train = Frames(datasets.MovingShapes(), dt=2.0, shape=(2, 24, 24), steps=25)
        loader = torch.utils.data.DataLoader(train, batch_size=32, shuffle=True)
    """

    @arguments(data=_DATASET, mode=choice(*MODES), sparse=FLAG, **_STEPS)
    def __init__(
        self,
        data: Any,
        dt: float,
        shape: Sequence[int] | None = None,
        steps: int | None = None,
        mode: str = "OR",
        start: float | None = 0.0,
        sparse: bool = False,
    ) -> None:
        self.data, self.dt, self.shape, self.steps = data, dt, shape, steps
        self.mode, self.start, self.sparse = mode, start, bool(sparse)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        item = self.data[index]
        pair = isinstance(item, tuple | list) and len(item) == 2
        events = item[0] if pair else item
        if not _EVENTS.kind(events):
            raise InputTypeError(
                f"Frames: item {index} is {_EVENTS.words} or (events, label), got {type(events).__name__}"
            )
        found = _binned(
            events, self.dt, self.shape, self.steps, self.start, f"Frames: item {index}"
        )
        add = _add(events, self.mode)
        if self.sparse:
            out: Any = [_places(found, k, add) for k in range(found.steps)]
        else:
            out = np.zeros((math.prod(found.shape), found.steps), np.float32)
            if add:
                np.add.at(out, (found.index, found.step), found.value)
            else:
                out[found.index, found.step] = 1
            out = out.reshape(*found.shape, found.steps)
        return (out, item[1]) if pair else out

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))
