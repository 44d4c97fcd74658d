"""One door for files of events, whatever their kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import (
    FLAG,
    PATH,
    Rule,
    arguments,
    choice,
    instance,
    integer,
    optional,
    real,
    sequence,
)
from lavalike.errors import InputError, MissingFileError
from lavalike.events import binary, table
from lavalike.events.aedat import CAMERAS, read_aedat
from lavalike.events.event import Event

TEXT = (".csv", ".txt", ".tsv")
NUMPY = (".npy", ".npz")
WHAT = (
    ".aedat (2.0, 3.1), .bin (N-MNIST), .npy and .npz, .csv, .txt and .tsv; SHD's .h5 by SpikeFile"
)
UNIT = optional(real(above=0))
SENSOR = optional(sequence(integer(1), 2))
ORDER = Rule(
    "the columns' letters, as 'txyp': of x, y, t and p each once, x and t among them",
    lambda v: isinstance(v, str),
    table.right_order,
)


@arguments(
    path=PATH,
    order=optional(ORDER),
    unit=UNIT,
    sensor=SENSOR,
    camera=optional(choice(*CAMERAS)),
    sort=FLAG,
)
def read(
    path: str | os.PathLike[str],
    order: str | None = None,
    unit: float | None = None,
    sensor: tuple[int, int] | None = None,
    camera: str | None = None,
    sort: bool = False,
) -> Event:
    """The events of a file, by its kind:

    - ``.aedat``: AEDAT 2.0 and 3.1, known by how they begin; y from above, times as recorded.
    - ``.bin``: the 40 bits an event of N-MNIST and N-Caltech101.
    - ``.npy``, ``.npz``: a structured array, whose names decide, or a plain one (events, columns),
      which needs ``order``.
    - ``.csv``, ``.txt``, ``.tsv``: a line an event, with a header, whose names decide, or without
      one, which needs ``order``. Of spike times the columns are a neuron and a time.

    Args:
        order: the columns of a file that has no names, left to right, by letters: x, y, t, and p
            (polarity, or channel). For such files only.
        unit: seconds of a 1 in t. None: what a header says (``t_ms``), else 1e-6, and times that
            are no whole microseconds then are an error. Of files of cameras it is 1e-6 and nothing
            else.
        sensor: (width, height); an address beyond it is an error. None: the camera's, where a file
            names it.
        camera: of AEDAT 2.0, where the header names none: DVS128, DAVIS240, DAVIS346, DAVIS640.
        sort: sort the events by time. Default False: times that run backwards are an error.

    Returns:
        An :class:`Event`, t in ms.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is damaged, truncated or of another kind or version, columns cannot be
            what they are taken for, times run backwards, an address is beyond the sensor, or an
            argument does not go with the kind of file. It names file, field and remedy.

    Example::

        event = events.read("recording.aedat")
        event = events.read("spikes.csv", order="tx", unit=1e-3)  # ms and neuron, no header
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise MissingFileError(f"{path}: {what}; a file of events is expected: {WHAT}")
    with path.open("rb") as f:
        begin = f.read(9)
    kind = _kind(path, begin)
    given: dict[str, Any] = {"order": order, "unit": unit, "camera": camera}
    takes = {"aedat": ("camera",), "bin": ()}.get(kind, ("order", "unit"))
    for name, value in given.items():
        if value is not None and name not in takes:
            raise InputError(
                f"{path}: {name}={value!r} says nothing of a file of this kind ({kind}); leave it out"
            )
    area = None if sensor is None else (int(sensor[0]), int(sensor[1]))
    if kind == "aedat":
        return read_aedat(path, camera, area, sort)
    if kind == "bin":
        return binary.read_dataset(path, area, sort)
    if kind == "text":
        return table.read_text(path, order, unit, area, sort)
    array = table.load(path)
    if array.dtype.names is not None:
        if order is not None:
            raise InputError(
                f"{path}: its fields {array.dtype.names} have names; order={order!r} is for arrays without: leave it out"
            )
        return table.from_structured(array, unit, area, sort, str(path))
    if order is None:
        raise InputError(
            f"{path}: a plain array {array.shape}: nothing says which of its columns is which; give order=, as 'txyp'"
        )
    return table.from_columns(array, order, unit, area, sort, str(path))


def _kind(path: Path, begin: bytes) -> str:
    """aedat, bin, npy or text, by name, where the first bytes do not say another."""
    suffix = path.suffix.lower()
    if begin.startswith(b"#!AER-DAT"):
        return "aedat"
    if begin.startswith(b"\x89HDF"):
        raise InputError(
            f"{path}: an HDF5 file; events.SpikeFile reads those in the layout of SHD and SSC, netx.hdf5.Network .net files"
        )
    if begin.startswith(b"\x93NUMPY") or (begin.startswith(b"PK\x03\x04") and suffix != ".bin"):
        return "npy"
    kind = {".aedat": "aedat", ".bin": "bin", **dict.fromkeys(NUMPY, "npy")}.get(
        suffix, "text" if suffix in TEXT else ""
    )
    if not kind:
        raise InputError(f"{path}: its name ends in {suffix!r}; files of events are {WHAT}")
    return kind


@arguments(
    array=Rule("an array (events, columns)", lambda v: isinstance(v, np.ndarray)),
    order=ORDER,
    unit=UNIT,
    sensor=SENSOR,
    sort=FLAG,
)
def from_array(
    array: np.ndarray,
    order: str,
    unit: float | None = None,
    sensor: tuple[int, int] | None = None,
    sort: bool = False,
) -> Event:
    """The events of a plain array (events, columns), whose columns stand in ``order``; arguments
    and errors are those of :func:`read`."""
    area = None if sensor is None else (int(sensor[0]), int(sensor[1]))
    return table.from_columns(array, order, unit, area, sort, "from_array: array")


@arguments(path=PATH, event=instance(Event), unit=UNIT)
def write(path: str | os.PathLike[str], event: Event, unit: float | None = None) -> None:
    """Write events to a file, whole or not at all, as :func:`read` reads them, by its name's end.

    - ``.npy``, ``.npz``: a structured array with tonic's fields, in whole ``unit``.
    - ``.csv``, ``.txt``: a header ``x,y,p,t_us`` and a line an event; t is written in full.
    - ``.bin``: N-MNIST's 40 bits an event.

    Args:
        unit: seconds of a 1 in t. Default 1e-6. A text file's header says it, for s, ms, us or ns.

    Raises:
        InputError: what the kind of file cannot hold (payloads; an address or a time beyond its
            bits), or another kind: cameras write AEDAT, and the layout of SHD holds many samples,
            :func:`write_spike_file`.

    Example::

        events.write("recording.npy", event)
    """
    suffix = Path(path).suffix.lower()
    kinds: dict[str, Callable[[], None]] = {
        **dict.fromkeys(
            NUMPY, lambda: table.save(path, table.to_structured(event, "tonic", unit or 1e-6))
        ),
        **dict.fromkeys((".csv", ".txt"), lambda: table.write_text(path, event, unit or 1e-6)),
        ".bin": lambda: binary.write(path, event, 2),
    }
    if suffix not in kinds:
        raise InputError(
            f"write: path: {path} ends in {suffix!r}; events are written as {', '.join(kinds)}, many samples by write_spike_file"
        )
    if suffix == ".bin" and unit not in (None, 1e-6):
        raise InputError(f"{path}: .bin files count microseconds; leave unit={unit:g} out")
    try:
        kinds[suffix]()
    except OSError as e:
        raise InputError(f"{path}: cannot be written: {e.strerror or e}") from e
