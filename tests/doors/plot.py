"""Pictures, and the page of a network."""

import functools

import numpy as np

from lavalike.proc import LIF
from tests.doors.table import (
    CHOICE,
    COUNT,
    FLAG,
    FOLDER,
    FUNCTION,
    NAN,
    OBJECT,
    POSITIVE,
    REAL,
    SHAPE,
    bad,
    optional,
    row,
)

SPIKES = np.eye(3, 4)


@functools.cache
def axes():
    """Axes of no screen, which every picture is drawn on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def on(**arguments):
    def made():
        field = axes()
        field.clear()
        return {"ax": field, **arguments}

    return made


DATA = bad("x", None, values=(np.zeros((3, 0)),))
AX = bad(3, "x")
OVER_TIME = {
    "data": DATA,
    "of": bad(values=("nothing",)),  # an array has no names
    "sample": bad("3", 1.5, None, values=(-1, 2)),
    "dt": optional(POSITIVE),
    "ax": AX,
}
ROWS = [
    row(
        "lavalike.plot.raster",
        on(data=SPIKES),
        color=bad(3, values=("nonsense",)),
        **OVER_TIME,
    ),
    row(
        "lavalike.plot.traces",
        on(data=SPIKES),
        neurons=bad(3, "x", [0.5], values=([], [3], [-1])),
        threshold=optional(REAL),
        **OVER_TIME,
    ),
    row(
        "lavalike.plot.activity",
        on(data=SPIKES),
        data=DATA,
        of=bad(3, "x", ["x"]),  # an array has no names
        dt=optional(POSITIVE),
        ax=AX,
    ),
    row(
        "lavalike.plot.animate",
        on(data=SPIKES),
        rate=POSITIVE,
        cmap=bad(3, None, values=("nonsense",)),
        repeat=FLAG,
        **OVER_TIME,
    ),
    row(
        "lavalike.plot.weights",
        on(data=SPIKES),
        data=bad("x", None, values=(np.zeros((3, 0)), LIF(shape=(2,)))),
        kind=CHOICE,
        bins=COUNT,
        ax=AX,
    ),
    row(
        "lavalike.plot.connectivity",
        on(data=SPIKES),
        data=bad("x", None, values=(np.zeros((3, 0)), LIF(shape=(2,)))),
        ax=AX,
    ),
    row(
        "lavalike.plot.decision_regions",
        on(
            predict=lambda p: np.zeros(len(p)),
            points=np.eye(2),
            labels=[0, 1],
            resolution=3,
        ),
        predict=FUNCTION,
        points=bad("x", None, values=(np.ones(3), np.full((2, 2), NAN))),
        labels=bad("x", None, values=([0], [0, -1], [0.5, 1])),
        resolution=bad("3", 2.5, None, values=(1, 5000)),
        names=bad(3, "x", [3], values=([], ["a"])),
        ax=AX,
    ),
    row(
        "lavalike.report.report",
        lambda: {
            "network": LIF(shape=(2,)),
            "input": np.ones((2, 3)),
            "out": FOLDER / "page.html",
        },
        network=bad(3, None, values=("",)),
        input=bad(3, None, values=("", FOLDER / "none.npy")),
        out=bad(3, values=("", FOLDER)),
        values=FLAG,
        steps=optional(COUNT),
        input_shape=optional(SHAPE),
        dt=optional(POSITIVE),
        convention=bad(3),
        config=OBJECT,
    ),
]
EXEMPT: dict[str, str] = {}
