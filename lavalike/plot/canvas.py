"""Axes to draw on, and how they are labelled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from lavalike.arguments import Rule, optional, real, shown
from lavalike.errors import InputTypeError
from lavalike.extras import needed

SIZE = (7.0, 3.2)  # inches of a new figure
MANY = 50_000  # dots beyond which a picture is an image
COLOURS = 10  # of the cycle, and lines that are told apart by it
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
TIME = optional(real(above=0))  # seconds a step


def _known(module: str, test: Callable[[Any, Any], bool]) -> Callable[[Any], bool]:
    """Whether a value passes ``test`` of a module of matplotlib's; where that is missing, each
    does, and what draws says so."""

    def takes(value: Any) -> bool:
        try:
            return test(importlib.import_module(module), value)
        except ModuleNotFoundError:
            return True

    return takes


COLOUR = optional(
    Rule(
        "a colour, as matplotlib names it",
        lambda v: isinstance(v, str | tuple | list),
        _known("matplotlib.colors", lambda m, v: bool(m.is_color_like(v))),
    )
)
COLOURS_OF_IMAGES = Rule(
    "the name of one of matplotlib's colormaps",
    lambda v: isinstance(v, str),
    _known("matplotlib", lambda m, v: v in m.colormaps),
)


def axes(who: str, ax: Any, size: tuple[float, float] = SIZE) -> Any:
    """``ax``, or a new figure's."""
    needed("matplotlib", f"lavalike.plot.{who}", "plot")
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not (hasattr(ax, "scatter") and hasattr(ax, "figure")):
        raise InputTypeError(
            f"{who}: ax is a matplotlib Axes, got {shown(ax)} ({type(ax).__name__})"
        )
    return ax


def pixels(ax: Any) -> tuple[int, int]:
    """Width and height of what is drawn on, in pixels, both at least 1."""
    box = ax.get_window_extent()
    return max(1, int(box.width)), max(1, int(box.height))


def scaled(dt: float | None, span: float) -> tuple[float, str]:
    """How long a step is on the axis of time, and the axis's label: steps, or the unit of time in
    which ``span`` steps are at least 1."""
    if dt is None:
        return 1.0, "step"
    unit, name = next((u for u in UNITS if span * dt >= u[0]), UNITS[-1])
    return dt / unit, f"time [{name}]"


def counted(axis: Any) -> None:
    """Ticks of ``axis`` at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def colours(count: int) -> list[Any]:
    """So many colours that are told apart: the usual cycle, or beyond it a map from dark to
    bright."""
    from matplotlib import colormaps

    if count <= COLOURS:
        return [f"C{k}" for k in range(count)]
    return [colormaps["viridis"](k / (count - 1)) for k in range(count)]


def beside(ax: Any, count: int) -> None:
    """A legend: within the axes for few entries, beside them for many."""
    if count <= 4:
        ax.legend(loc="best", fontsize="small", framealpha=0.8)
    else:
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize="small", frameon=False)


def titled(ax: Any, parts: Sequence[str]) -> None:
    text = ", ".join(p for p in parts if p)
    if text:
        ax.set_title(text, fontsize="medium", loc="left")
