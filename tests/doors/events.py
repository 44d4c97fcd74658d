"""Events: files, frames, the simulated camera."""

import functools

import numpy as np

from lavalike import events
from tests.doors.table import (
    COUNT,
    FLAG,
    FOLDER,
    INDEX,
    NAN,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    REAL,
    also,
    bad,
    optional,
    row,
)

EVENT = events.Event([0, 1], [0, 1], [0, 1], [0.0, 2.0])
ARRAY = EVENT.to_structured()
ORDER = bad(3, values=("xyz", "xx", "xy", "txypq"))
SENSOR = bad(3, "x", values=((0, 3), (3,), (1, 1)))  # the last: events are beyond it
UNIT = optional(POSITIVE)
DT = POSITIVE
SHAPE = bad(3, "x", values=((2, 2), (0, 1, 1), (1, 1, 1)))
STEPS = {
    "dt": DT,
    "shape": SHAPE,
    "steps": optional(COUNT),
    "mode": bad(3, values=("AND",)),
    "start": optional(REAL),
}
EVENTS = bad(3, "x", None, [EVENT])
FILM = bad("x", None, values=(np.ones((2, 2)), np.full((2, 2, 2), -1.0)))


@functools.cache
def structured():
    events.write(FOLDER / "structured.npy", EVENT)
    return FOLDER / "structured.npy"


@functools.cache
def columns():
    (FOLDER / "columns.csv").write_text("0,1,0,0\n5,1,0,1\n")
    return FOLDER / "columns.csv"


@functools.cache
def spike_file():
    one = events.Event([3, 5], None, [0, 0], [0.0, 1.0])
    events.write_spike_file(FOLDER / "spikes.h5", [(one, 1)])
    return FOLDER / "spikes.h5"


PLAIN = np.array([[0, 1, 0, 0], [5, 1, 0, 1]])
ROWS = [
    row(
        "lavalike.events.read",
        lambda: {"path": columns(), "order": "txyp"},
        path=PATH,
        order=ORDER,
        unit=UNIT,
        sensor=SENSOR,
        camera=bad(3, values=("DVS127", "DVS128")),  # the last: no file of a camera
        sort=FLAG,
    ),
    row(
        "lavalike.events.write",
        lambda: {"path": FOLDER / "written.csv", "event": EVENT},
        path=also(PATH, values=("events.aedat",)),
        event=bad(3, "x", None),
        unit=UNIT,
    ),
    row(
        "lavalike.events.from_array",
        {"array": PLAIN, "order": "txyp"},
        array=bad(3, "x", None, values=(np.ones(3),)),
        order=also(ORDER, None),
        unit=UNIT,
        sensor=SENSOR,
        sort=FLAG,
    ),
    row(
        "lavalike.events.Event.from_structured",
        {"array": ARRAY},
        array=bad(3, None, np.ones(3)),
        unit=UNIT,
        sensor=SENSOR,
        sort=FLAG,
    ),
    row(
        "lavalike.events.Event.to_structured",
        {},
        lambda: EVENT,
        kind=bad(3, values=("sony",)),
        unit=POSITIVE,
    ),
    row("lavalike.events.frames", {"events": EVENT, "dt": 1.0}, events=EVENTS, **STEPS),
    row("lavalike.events.sparse_steps", {"events": EVENT, "dt": 1.0}, events=EVENTS, **STEPS),
    row(
        "lavalike.events.Frames",
        {"data": [(EVENT, 1)], "dt": 1.0},
        data=bad(3, "x", None),
        **{**STEPS, "shape": bad(3, "x", values=((2, 2), (0, 1, 1)))},
        sparse=FLAG,
    ),
    row(
        "lavalike.events.SpikeFile",
        lambda: {"path": spike_file()},
        path=PATH,
        units=optional(COUNT),
        sort=FLAG,
    ),
    row(
        "lavalike.events.write_spike_file",
        lambda: {"path": FOLDER / "out.h5", "samples": []},
        path=PATH,
        samples=bad(3, None, [3]),
    ),
    row(
        "lavalike.events.EventCamera",
        {},
        threshold=POSITIVE,
        mismatch=NOT_NEGATIVE,
        refractory=NOT_NEGATIVE,
        noise=NOT_NEGATIVE,
        seed=INDEX,
    ),
    row(
        "lavalike.events.EventCamera.__call__",
        {"film": np.ones((2, 2, 2))},
        events.EventCamera,
        film=also(FILM, values=(np.full((2, 2, 2), NAN),)),
        dt=POSITIVE,
    ),
    row(
        "lavalike.events.moving_shapes",
        {"samples": 1, "size": 12, "duration": 5.0},
        samples=COUNT,
        train=FLAG,
        size=also(COUNT, values=(11,)),
        duration=also(POSITIVE, values=(4.0,)),
        camera=bad(3, "x"),
        seed=INDEX,
    ),
]
EXEMPT = {
    "lavalike.events.Places": "what sparse_steps gives",
}
