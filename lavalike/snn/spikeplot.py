"""Plots of spikes and membranes, in snnTorch's words. They need matplotlib: ``pip install
'lavalike[plot]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lavalike.arguments import (
    FLAG,
    TENSOR,
    TEXT,
    Rule,
    arguments,
    integer,
    optional,
    or_false,
    real,
    sequence,
)
from lavalike.errors import InputError
from lavalike.extras import needed
from lavalike.plot import film
from lavalike.plot.canvas import COLOURS_OF_IMAGES
from lavalike.plot.raster import dots

_STEPS, _SECONDS = or_false(integer(1)), or_false(real(above=0))
BLUE, ORANGE = "tab:blue", "tab:orange"


def _matplotlib() -> None:
    needed("matplotlib", "lavalike.snn.spikeplot", "plot")


def _shown(data: torch.Tensor, who: str, least: int, most: int) -> torch.Tensor:
    if not least <= data.dim() <= most or not data.numel():
        axes = f"{least}" if least == most else f"{least} or {most}"
        raise InputError(
            f"{who}: data of one sample, time first, have {axes} axes, got shape {tuple(data.shape)}"
        )
    return data.detach().cpu()


def _count(data: torch.Tensor, num_steps: Any, who: str) -> int:
    if num_steps and num_steps > len(data):
        raise InputError(f"{who}: num_steps is at most the {len(data)} steps, got {num_steps}")
    return int(num_steps or len(data))


@arguments(data=TENSOR)
def raster(data: torch.Tensor, ax: Any, **kwargs: Any) -> Any:
    """A point for each spike on ``ax``: its step, and its neuron.

    Args:
        data: spikes of one sample, [T] or [T, neurons].
        ax: matplotlib's axes.
        kwargs: of ``ax.scatter``.

    Returns what ``ax.scatter`` does. :func:`lavalike.plot.raster` labels the axes, and draws an
    image where there are too many spikes to see.
    """
    x = _shown(data, "raster", 1, 2)
    time, neuron = torch.nonzero(x if x.dim() == 2 else x.unsqueeze(1), as_tuple=True)
    return dots(ax, time.numpy(), neuron.numpy(), **kwargs)


@arguments(data=TENSOR, num_steps=_STEPS, interval=real(above=0), cmap=COLOURS_OF_IMAGES)
def animator(
    data: torch.Tensor,
    fig: Any,
    ax: Any,
    num_steps: int | bool = False,
    interval: float = 40,
    cmap: str = "plasma",
) -> Any:
    """A film of images: a frame a step.

    Args:
        data: of one sample, [T, height, width].
        fig, ax: matplotlib's figure and axes.
        num_steps: how many. Default False: all.
        interval: milliseconds a frame. Default 40.
        cmap: the colours. Default "plasma".

    Returns matplotlib's FuncAnimation: ``HTML(anim.to_html5_video())``, ``anim.save("a.gif")``.
    :func:`lavalike.plot.animate` makes films of what has its time last.
    """
    _matplotlib()
    x = _shown(data, "animator", 3, 3).float()
    ax.axis("off")
    frames = x[: _count(x, num_steps, "animator")].numpy()
    return film.images(ax, frames, interval, cmap, figure=fig)


@arguments(
    data=TENSOR,
    labels=sequence(Rule("a label", lambda v: isinstance(v, str | int | float))),
    num_steps=_STEPS,
    animate=FLAG,
    interpolate=integer(1),
    gridshader=FLAG,
    interval=real(above=0),
    time_step=_SECONDS,
)
def spike_count(
    data: torch.Tensor,
    fig: Any,
    ax: Any,
    labels: Sequence[Any],
    num_steps: int | bool = False,
    animate: bool = False,
    interpolate: int = 1,
    gridshader: bool = True,
    interval: float = 25,
    time_step: float | bool = False,
) -> Any:
    """Bars of how many spikes each output has sent; or a film of them as they grow.

    Args:
        data: spikes of one sample, [T, outputs].
        fig, ax: matplotlib's figure and axes.
        labels: of the outputs.
        num_steps: how many. Default False: all.
        animate: a film, in which a line runs along with the time; else the bars of the last step.
            Default False.
        interpolate: frames a step. Default 1.
        gridshader: every other column between the ticks is grey. Default True.
        interval: milliseconds a frame. Default 25.
        time_step: seconds a step, for the axis. Default False: in steps.

    Returns matplotlib's ArtistAnimation, or None without ``animate``.
    """
    _matplotlib()
    x = _shown(data, "spike_count", 2, 2).float()
    steps, outputs = _count(x, num_steps, "spike_count"), x.shape[1]
    if len(labels) != outputs:
        raise InputError(
            f"spike_count: one label an output is needed, {outputs}, got {len(labels)}"
        )
    counts = torch.cat([torch.zeros(1, outputs), x[:steps].cumsum(0)])
    places = list(range(1, outputs + 1))
    ax.set_xlim(0, steps)
    ax.set_yticks(places, [str(v) for v in labels])
    ax.set_xlabel("Time Step", fontsize=15)
    ax.set_ylabel("Labels", fontsize=15)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ticks = [t for t in ax.get_xticks() if 0 <= t <= steps]
    if gridshader:
        edges = [*ticks, float(steps)]
        for left, right in zip(edges[::2], edges[1::2], strict=False):
            ax.axvspan(left, right, zorder=0, facecolor="lightgrey", alpha=0.7)
    if time_step:
        ax.set_xlabel("Time [s]", fontsize=15)
        ax.set_xticks(ticks, [f"{t * time_step:g}" for t in ticks])

    def bars(t: int) -> list[Any]:
        now = counts[t].tolist()
        lines = ax.hlines(places, 0, now, color=BLUE, alpha=0.5, linewidth=8)
        (dots,) = ax.plot(now, places, "o", markersize=8, color=BLUE, alpha=0.6)
        return [lines, dots]

    if not animate:
        bars(steps)
        return None
    from matplotlib.animation import ArtistAnimation

    frames = [
        [*bars(i // interpolate), ax.axvline(i / interpolate, color=ORANGE, linewidth=3)]
        for i in range(steps * interpolate)
    ]
    return ArtistAnimation(fig, frames, interval=interval)


@arguments(
    data=TENSOR,
    spk=optional(TENSOR),
    dim=sequence(integer(1), 2),
    spk_height=real(),
    titles=optional(sequence(TEXT)),
)
def traces(
    data: torch.Tensor,
    spk: torch.Tensor | None = None,
    dim: Sequence[int] = (3, 3),
    spk_height: float = 5,
    titles: Sequence[str] | None = None,
) -> None:
    """Traces of neurons over time, each in a field of the current figure.

    Args:
        data: membranes of one sample, [T, neurons], at least as many as fields.
        spk: their spikes, of that shape, which ride on the traces. Default None.
        dim: rows and columns of fields. Default (3, 3).
        spk_height: of a spike. Default 5.
        titles: of the first fields. Default None.
    """
    _matplotlib()
    from matplotlib import pyplot

    x = _shown(data, "traces", 2, 2).float()
    if spk is not None:
        if spk.shape != x.shape:
            raise InputError(
                f"traces: spk is of data's shape {tuple(x.shape)}, got {tuple(spk.shape)}"
            )
        x = x + spk_height * spk.detach().cpu()
    rows, columns = dim
    if rows * columns > x.shape[1]:
        raise InputError(
            f"traces: dim {rows} x {columns} has more fields than data has neurons, {x.shape[1]}"
        )
    figure = pyplot.gcf()
    first: Any = None
    for k in range(rows * columns):
        ax = figure.add_subplot(rows, columns, k + 1, sharey=first)
        first = ax if first is None else first
        if titles is not None and k < len(titles):
            ax.set_title(titles[k])
        ax.plot(x[:, k].numpy())
        ax.axis("off")
