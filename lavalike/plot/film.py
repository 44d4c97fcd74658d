"""Films: images, events and rasters as time goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, arguments, integer, real
from lavalike.errors import InputError
from lavalike.plot import canvas
from lavalike.plot.raster import channel_colours, raster
from lavalike.plot.series import is_events, series

SQUARE = (4.6, 4.2)


@arguments(
    sample=integer(0),
    dt=canvas.TIME,
    rate=real(above=0),
    cmap=canvas.COLOURS_OF_IMAGES,
    repeat=FLAG,
)
def animate(
    data: Any,
    *,
    of: Any = None,
    sample: int = 0,
    dt: float | None = None,
    rate: float = 24,
    cmap: str = "viridis",
    repeat: bool = True,
    ax: Any = None,
) -> Any:
    """A film: of two dimensions an image a step, of one a raster over which a line runs.

    Args:
        data: ``(height, width, time)`` or ``(neurons, time)``, an array, a Recording's or a dict's;
            or events, whose frames are 1 / ``rate`` seconds of their time, a colour a channel.
        of: a Recording's port, Var or name, or a dict's key. Default None: the only one.
        sample: which of a Recording's batch. Default 0.
        dt: seconds a step, for the title's time. Default None: it counts steps.
        rate: frames a second. Default 24.
        cmap: colours of images. Default "viridis".
        repeat: start again at the end. Default True.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        ``matplotlib.animation.FuncAnimation``: keep it, as matplotlib stops a film that nobody
        holds. ``film.save("film.gif")`` writes it, ``HTML(film.to_jshtml())`` shows it in a
        notebook.

    Raises as :func:`lavalike.plot.raster`; InputError for other axes.

    Example::

        film = plot.animate(rec, of="camera.out", dt=1e-3)
    """
    if is_events(data):
        return events(data, canvas.axes("animate", ax, SQUARE), rate, repeat, eager=False)
    one = series("animate", data, of, sample)
    time = one.values.shape[1]
    scale, label = canvas.scaled(dt, time)
    if len(one.shape) == 2:
        ax = canvas.axes("animate", ax, SQUARE)
        frames = one.values.reshape(*one.shape, time)
        unit = label.partition(" ")[2].strip("[]")

        def told(k: int) -> str:
            at = (one.first + k) * scale
            return f"step {one.first + k}" if dt is None else f"{at:.4g} {unit}"

        return images(ax, np.moveaxis(frames, -1, 0), 1000 / rate, cmap, repeat, told)
    if len(one.shape) != 1:
        raise InputError(
            f"animate: data has shape {(*one.shape, 'time')}; expected (height, width, time) or (neurons, time)"
        )
    ax = raster(data, of=of, sample=sample, dt=dt, ax=canvas.axes("animate", ax))
    start = one.first * scale
    return line(ax, start, scale, time, 1000 / rate, repeat)


def images(
    ax: Any,
    frames: np.ndarray,
    interval: float,
    cmap: str,
    repeat: bool = True,
    told: Callable[[int], str] | None = None,
    figure: Any = None,
) -> Any:
    """A film of ``frames`` (time, height, width), each ``interval`` ms, in one scale of colours;
    ``told``: the title of each; ``figure``: by default that of ``ax``."""
    from matplotlib.animation import FuncAnimation

    low, high = float(frames.min()), float(frames.max())
    image = ax.imshow(
        frames[0], cmap=cmap, vmin=low, vmax=high, interpolation="nearest", animated=True
    )
    if told is not None:
        ax.figure.colorbar(image, ax=ax, shrink=0.75)
        ax.set(xlabel="x", ylabel="y")
    title = None if told is None else ax.set_title(told(0), fontsize="medium", loc="left")

    def draw(k: int) -> tuple[Any, ...]:
        image.set_data(frames[k])
        if title is None or told is None:
            return (image,)
        title.set_text(told(k))
        return image, title

    return FuncAnimation(
        ax.figure if figure is None else figure,
        draw,
        frames=len(frames),
        interval=interval,
        repeat=repeat,
        blit=told is None,
    )


def line(ax: Any, start: float, step: float, count: int, interval: float, repeat: bool) -> Any:
    """A film of a line that runs over ``ax`` from ``start``, ``step`` a frame."""
    from matplotlib.animation import FuncAnimation

    mark = ax.axvline(start, color="C1", lw=1.2)

    def draw(k: int) -> tuple[Any, ...]:
        mark.set_xdata([start + k * step] * 2)
        return (mark,)

    return FuncAnimation(ax.figure, draw, frames=count, interval=interval, repeat=repeat, blit=True)


def events(event: Any, ax: Any, rate: float, repeat: bool = True, eager: bool = True) -> Any:
    """A film of events, ``rate`` frames a second of their time and of the film; ``eager``: all
    pictures are computed now."""
    from matplotlib.animation import FuncAnimation

    step = 1000 / rate
    first = float(np.min(event.t, initial=math.inf)) if len(event.t) else 0.0
    count = int((np.max(event.t, initial=first) - first) // step) + 1
    if event.y is None:
        return line(raster(event, ax=ax), first + step, step, count, step, repeat)
    frame = np.clip((event.t - first) // step, 0, count - 1).astype(np.int64)

    def shown(k: int) -> np.ndarray:
        return picture(event, frame == k)

    pictures = [shown(k) for k in range(count)] if eager else None
    image = ax.imshow(shown(0), interpolation="nearest")
    ax.set(xlabel="x", ylabel="y")

    def draw(k: int) -> tuple[Any, ...]:
        image.set_data(shown(k) if pictures is None else pictures[k])
        return (image,)

    return FuncAnimation(ax.figure, draw, frames=count, interval=step, repeat=repeat, blit=True)


def picture(event: Any, chosen: np.ndarray) -> np.ndarray:
    """(height, width, 3): the chosen events on white, a colour a channel, later ones above."""
    made = np.ones((event.y.max(initial=0) + 1, event.x.max(initial=0) + 1, 3))
    made[event.y[chosen], event.x[chosen]] = channel_colours(event.c[chosen])
    return made
