"""``lavalike plot``: a file of spikes, values, events or weights as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lavalike import npy, plot
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
    sample: int | None,
    dt: float | None,
    order: str | None,
    unit: float | None,
) -> None:
    """Draw what ``file`` holds into ``out``, whose suffix says the format.

    Args:
        network: what the file holds where that is a network.
        kind: as the function of :mod:`lavalike.plot`. Default: a raster of spikes and events,
            traces of other values, weights of a network.
        of: what of a recording, or the path of a connection of a network. Default: all that is
            recorded; the only connection.
        sample: which of a batch. Default: a recording's first; an array has none.
        dt: seconds a step, for the axis of time.
        order, unit: of events, as :func:`lavalike.events.read` takes them.

    Raises InputError for an option that what is drawn has no use for.
    """
    if not out.suffix:
        raise InputError(f"--out {out}: its suffix says the format: .png, .svg or .pdf")
    over_steps = {"--sample": sample, "--dt": dt}
    of_events = {"--order": order, "--unit": unit}
    if network is not None:
        _no(over_steps | of_events, f"{file} is a network")
        ax = _of_network(file, network, kind or "weights", of)
    elif kind not in (None, *OVER_TIME):
        raise InputError(f"--kind {kind}: of networks; {file} is drawn as {', '.join(OVER_TIME)}")
    else:
        data = _data(file, order, unit)
        if plot.series.is_events(data):
            _no({"--of": of} | over_steps, f"{file} holds events")
            if kind not in (None, "raster"):
                raise InputError(f"--kind {kind}: events are drawn as a raster")
            ax = plot.raster(data)
        elif plot.series.is_recording(data):
            _no(of_events, f"{file} is a Recording")
            ax = _of_recording(data, kind, of, sample, dt)
        else:
            _no({"--of": of} | of_events, f"{file} is an array without names")
            ax = _of_array(file, data, kind, sample, dt)
    figure = np.ravel(ax)[0].figure
    try:
        figure.savefig(out, bbox_inches="tight", dpi=150)
    except (OSError, ValueError) as e:
        raise InputError(f"--out {out}: cannot be written: {' '.join(str(e).split())}") from e
    finally:
        needed("matplotlib.pyplot", "lavalike plot", "plot").close(figure)


def _no(options: dict[str, Any], why: str) -> None:
    """InputError for the first option that is given."""
    for name, given in options.items():
        if given is not None:
            raise InputError(f"{name} {given}: {why}; leave it out")


def _data(file: Path, order: str | None, unit: float | None) -> Any:
    """An array, a Recording, or events."""
    from lavalike import Recording, events

    suffix = file.suffix.lower()
    if suffix == ".npy" and order is None:
        array = npy.read(file)
        if array.dtype.names is None:
            return array
    try:
        if suffix in (".h5", ".hdf5"):
            return Recording.load(file)
        return events.read(file, order=order, unit=unit)
    except LavalikeError as e:
        raise InputError(
            f"{e}; an array is a .npy, a saved Recording an .h5, a network a .net or .nir file"
        ) from e


def _of_recording(
    data: Any, kind: str | None, of: str | None, sample: int | None, dt: float | None
) -> Any:
    if kind == "activity":
        _no({"--sample": sample}, "activity is the mean of the batch")
        return plot.activity(data, of=None if of is None else [of], dt=dt)
    if kind is None:
        return data.plot(of, sample=sample or 0, dt=dt)
    return getattr(plot, kind)(data, of=of, sample=sample or 0, dt=dt)


def _of_array(
    file: Path, data: np.ndarray, kind: str | None, sample: int | None, dt: float | None
) -> Any:
    if sample is not None:
        if data.ndim < 2 or sample >= len(data):
            raise InputError(
                f"--sample {sample}: {file} has shape {data.shape}; (batch, *shape, time) with more samples is expected"
            )
        data = data[sample]
    if kind is None:
        kind = "raster" if np.isin(data, (0, 1)).all() else "traces"
    return getattr(plot, kind)(data, dt=dt)


def _of_network(file: Path, network: AbstractProcess, kind: str, of: str | None) -> Any:
    if kind in OVER_TIME:
        raise InputError(
            f"--kind {kind}: {file} is a network; draw what was recorded of a run of it"
        )
    known = {
        targets.place(p, network): p
        for p in walk(network)
        if any(v.name in ("weights", "weight") for v in p.vars)
    }
    if of is None and len(known) == 1:
        of = next(iter(known))
    if of not in known:
        raise InputError(
            f"--of{f' {of}' if of else ''}: name a connection of {file}: {', '.join(known) or 'it has none'}"
            f"{did_you_mean(of or '', known)}"
        )
    return getattr(plot, kind)(known[of])
