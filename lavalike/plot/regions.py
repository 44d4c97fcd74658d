"""Which class a network gives each place of a plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lavalike.arguments import FUNCTION, TEXT, arguments, integer, optional, sequence, shown
from lavalike.errors import InputError
from lavalike.plot import canvas
from lavalike.plot.series import plain

MARGIN = 0.06  # around the points, of their range
SQUARE = (4.6, 4.4)


@arguments(predict=FUNCTION, resolution=integer(2, 4096), names=optional(sequence(TEXT, least=1)))
def decision_regions(
    predict: Callable[[np.ndarray], Any],
    points: Any,
    labels: Any,
    *,
    resolution: int = 200,
    names: Sequence[str] | None = None,
    ax: Any = None,
) -> Any:
    """Where in a plane a classifier says which class, and the points that it was asked to tell
    apart, each on the colour of its own class.

    Args:
        predict: a function of points (n, 2), a float32 array, called once: classes (n,), whole
            numbers from 0, or a score a class (n, classes), of which the largest counts.
        points: (points, 2).
        labels: their classes, (points,), whole numbers from 0.
        resolution: fields a side. Default 200.
        names: of the classes. Default None: their numbers.
        ax: matplotlib's axes. Default None: a new figure's.

    Returns:
        The axes.

    Raises InputError for shapes that do not fit, of what predict returns too.

    Example::

        plot.decision_regions(lambda p: net(torch.tensor(p)), points, labels)
    """
    who = "decision_regions"
    at, classes = plain(who, points, "points"), plain(who, labels, "labels")
    if at.ndim != 2 or at.shape[1] != 2 or not len(at) or not np.isfinite(at).all():
        raise InputError(f"{who}: points are (points, 2), finite, got shape {at.shape}")
    if classes.shape != (len(at),) or not _classes(classes):
        raise InputError(
            f"{who}: labels are whole numbers >= 0, one for each of {len(at)} points, got {shown(classes)} of shape {classes.shape}"
        )
    low, high = at.min(0), at.max(0)
    room = np.where(high > low, (high - low) * MARGIN, 0.5)
    low, high = low - room, high + room
    middle = (np.arange(resolution) + 0.5) / resolution
    x, y = np.meshgrid(*(a + (b - a) * middle for a, b in zip(low, high, strict=True)))
    fields = np.stack([x.reshape(-1), y.reshape(-1)], 1).astype(np.float32)
    said = plain(who, predict(fields), "what predict returns")
    if said.ndim == 2 and len(said) == len(fields) and said.shape[1]:
        said = said.argmax(1)
    if said.shape != (len(fields),) or not _classes(said):
        raise InputError(
            f"{who}: predict returns classes (n,) or scores (n, classes) of (n, 2) points, n = {len(fields)}, got shape {said.shape}"
        )
    count = 1 + int(max(said.max(), classes.max()))
    if names is not None and len(names) < count:
        raise InputError(f"{who}: names has {len(names)} of {count} classes")
    ax = canvas.axes(who, ax, SQUARE)
    from matplotlib.colors import ListedColormap, to_rgb

    solid = np.array([to_rgb(c) if isinstance(c, str) else c[:3] for c in canvas.colours(count)])
    ax.imshow(
        said.reshape(resolution, resolution),
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        aspect="auto",
        cmap=ListedColormap(0.35 * solid + 0.65),
        vmin=-0.5,
        vmax=count - 0.5,
        interpolation="nearest",
    )
    for k in range(count):
        mine = at[classes == k]
        name = str(k) if names is None else names[k]
        ax.scatter(*mine.T, color=[solid[k]], s=14, edgecolor="white", linewidth=0.4, label=name)
    ax.set(xlabel="x", ylabel="y", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.legend(
        title="class", loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize="small"
    )
    nearest = ((at - low) / (high - low) * resolution).astype(int).clip(0, resolution - 1)
    right = said.reshape(resolution, resolution)[nearest[:, 1], nearest[:, 0]] == classes
    canvas.titled(ax, [f"{right.mean():.1%} of {len(at):,} points lie in their class"])
    return ax


def _classes(values: np.ndarray) -> bool:
    return bool(values.dtype.kind in "biuf" and (values >= 0).all() and (values % 1 == 0).all())
