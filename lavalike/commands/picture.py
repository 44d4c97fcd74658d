"""``lavalike plot``: a file of spikes, values, events or weights as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lavalike import plot
from lavalike.arguments import did_you_mean
from lavalike.commands import targets
from lavalike.errors import InputError, LavalikeError
from lavalike.extras import needed
from lavalike.process import AbstractProcess
from lavalike.process.process import walk

OVER_TIME = ("raster", "traces", "activity")


def picture(
    file: Path,
    out: Path,
    network: AbstractProcess | None,
    kind: str | None,
    of: str | None,
    sample: int,
    dt: float | None,
) -> None:
    """Draw what ``file`` holds into ``out``, whose suffix says the format.

    Args:
        network: what the file holds where that is a network.
        kind: as the function of :mod:`lavalike.plot`. Default: a raster of spikes and events,
            traces of other values, weights of a network.
        of: what of a recording, or the path of a connection of a network. Default: all that is
            recorded; the only connection.
        sample: which of a batch.
        dt: seconds a step, for the axis of time.
    """
    if network is not None:
        ax = _of_network(file, network, kind or "weights", of)
    else:
        data = _data(file)
        if kind not in (None, *OVER_TIME):
            raise InputError(
                f"--kind {kind}: of networks; {file} is drawn as {', '.join(OVER_TIME)}"
            )
        ax = _over_time(data, kind, of, sample, dt)
    figure = np.ravel(ax)[0].figure
    try:
        figure.savefig(out, bbox_inches="tight", dpi=150)
    except (OSError, ValueError) as e:
        raise InputError(f"--out {out}: cannot be written: {' '.join(str(e).split())}") from e
    needed("matplotlib.pyplot", "lavalike plot", "plot").close(figure)


def _data(file: Path) -> Any:
    """An array, a Recording, or events."""
    from lavalike import Recording, events

    if file.suffix == ".npy":
        return targets.array(file)
    if file.suffix in (".h5", ".hdf5"):
        return Recording.load(file)
    try:
        return events.read(file)
    except LavalikeError as e:
        raise InputError(
            f"{e}; an array is a .npy, a saved Recording an .h5, a network a .net or .nir file"
        ) from e


def _over_time(data: Any, kind: str | None, of: str | None, sample: int, dt: float | None) -> Any:
    if plot.series.is_events(data):
        if kind not in (None, "raster"):
            raise InputError(f"--kind {kind}: events are drawn as a raster")
        return plot.raster(data)
    if plot.series.is_recording(data):
        if kind is None:
            return data.plot(*([] if of is None else [of]), sample=sample, dt=dt)
        return getattr(plot, kind)(data, of=_one(kind, of), sample=sample, dt=dt)
    if of is not None:
        raise InputError(f"--of {of}: an array has no names; leave it out")
    if kind is None:
        kind = "raster" if np.isin(data, (0, 1)).all() else "traces"
    return getattr(plot, kind)(data, dt=dt)


def _one(kind: str, of: str | None) -> Any:
    return [of] if kind == "activity" and of is not None else of


def _of_network(file: Path, network: AbstractProcess, kind: str, of: str | None) -> Any:
    if kind in OVER_TIME:
        raise InputError(
            f"--kind {kind}: {file} is a network; draw what was recorded of a run of it"
        )
    known = {
        p.path[len(network.path) :].lstrip("."): p
        for p in walk(network)
        if any(v.name == "weights" or v.name == "weight" for v in p.vars)
    }
    if of is None and len(known) == 1:
        of = next(iter(known))
    if of not in known:
        raise InputError(
            f"--of {of}: name a connection of {file}: {', '.join(known) or 'it has none'}{did_you_mean(of or '', known)}"
        )
    return getattr(plot, kind)(known[of])
