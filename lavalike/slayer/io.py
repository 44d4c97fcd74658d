"""Events: conversion to tensors, files, and views, in lava-dl's words; :mod:`lavalike.events` has
them, the files that others write, and needs no torch.

Binary files hold one event after another, big-endian, with no header; times are whole microseconds:

    1-D   40 bits: x 16, c 1, t 23
    2-D   40 bits: x 8, y 8, c 1, t 23
    3-D   56 bits: x 12, y 12, c 8, t 24 (the format of slayerPytorch's 3-D files)

NumPy files (.npy, or .npz with a single array) hold a row an event, ``x, y, c, t``, or ``x, c, t``
without y. No file is unpickled.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lavalike.arguments import PATH, Rule, arguments, choice, instance, optional, real
from lavalike.errors import InputError
from lavalike.events import Event as Event, binary, table, tensor_to_event as tensor_to_event

_FORMAT = Rule(
    "'xypt', or its letters in the columns' order",
    lambda v: isinstance(v, str),
    lambda v: sorted(v) == sorted("xypt"),
)


@arguments(filename=PATH)
def read_1d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in one dimension: 16 bits x, 1 bit c, 23 bits t in microseconds. InputError for a
    length that is no multiple of 5 bytes."""
    return binary.read(filename, 1)


@arguments(filename=PATH, td_event=instance(Event))
def encode_1d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in one dimension; times are rounded to microseconds. InputError for what the
    bits cannot hold."""
    binary.write(filename, td_event, 1)


@arguments(filename=PATH)
def read_2d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in two dimensions: 8 bits x, 8 bits y, 1 bit c, 23 bits t in microseconds. InputError
    as read_1d_spikes."""
    return binary.read(filename, 2)


@arguments(filename=PATH, td_event=instance(Event))
def encode_2d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in two dimensions; times are rounded to microseconds. InputError for what the
    bits cannot hold."""
    binary.write(filename, td_event, 2)


@arguments(filename=PATH)
def read_3d_spikes(filename: str | os.PathLike[str]) -> Event:
    """Events in two dimensions with up to 256 channels: 12 bits x, 12 bits y, 8 bits c, 24 bits t
    in microseconds."""
    return binary.read(filename, 3)


@arguments(filename=PATH, td_event=instance(Event))
def encode_3d_spikes(filename: str | os.PathLike[str], td_event: Event) -> None:
    """Write events in two dimensions with up to 256 channels; times are rounded to microseconds."""
    binary.write(filename, td_event, 3)


@arguments(filename=PATH, fmt=optional(_FORMAT), time_unit=optional(real(above=0)))
def read_np_spikes(
    filename: str | os.PathLike[str], fmt: str | None = None, time_unit: float | None = None
) -> Event:
    """Events of a .npy file, or a .npz file with a single array: a row an event.

    Args:
        fmt: which column is which, "xypt" as lava-dl's, "txyp" or any other order; a file without y
            has one column less. None: "xypt", unless another column must be the time, which is an
            error. A structured array's names decide; leave fmt out then.
        time_unit: seconds of 1 in the column t. Default 1e-3, of structured arrays 1e-6.

    Raises:
        InputError: the file is damaged, pickled, or holds something else; a column cannot be what
            it is taken for.
    """
    array = table.load(filename)
    where = str(filename)
    if array.dtype.names is not None:
        if fmt is not None:
            raise InputError(
                f"{filename}: its fields {array.dtype.names} have names, which decide; leave fmt={fmt!r} out"
            )
        return table.from_structured(array, time_unit, sort=False, where=where)
    if array.ndim != 2 or array.shape[1] not in (3, 4) or array.dtype.kind not in "iuf":
        raise InputError(
            f"{filename}: numbers (events, 4), or (events, 3) without y, are expected, got {array.dtype} of shape {array.shape}"
        )
    order = (fmt or "xypt").replace("y", "" if array.shape[1] == 3 else "y")
    places = table.by_order(order, array.shape[1], where)
    columns = list(array.astype(np.float64).T)
    if fmt is None:
        table.not_swapped(columns, places, where, "fmt='xypt'", f"give fmt=, {order!r} if it is so")
    fields = {field: columns[k] for field, k in places.items()}
    try:
        return Event(
            fields["x"], fields.get("y"), fields["c"], fields["t"] * ((time_unit or 1e-3) * 1e3)
        )
    except InputError as e:
        raise InputError(f"{filename}: {e}") from e


@arguments(filename=PATH, td_event=instance(Event), fmt=choice("xypt"), time_unit=real(above=0))
def encode_np_spikes(
    filename: str | os.PathLike[str], td_event: Event, fmt: str = "xypt", time_unit: float = 1e-3
) -> None:
    """Write events as rows ``x, y, c, t``, or ``x, c, t`` without y; compressed where the name ends
    in .npz.

    Args:
        fmt: "xypt".
        time_unit: seconds of 1 in the column t.
    """
    if td_event.graded:
        raise InputError(
            f"{filename}: 'xypt' files hold no payloads; encode Event(x, y, c, t) without them"
        )
    place = (td_event.x,) if td_event.y is None else (td_event.x, td_event.y)
    rows = np.stack([*place, td_event.c, td_event.t / (time_unit * 1e3)], 1).astype(np.float64)
    with Path(filename).open("wb") as f:
        if Path(filename).suffix == ".npz":
            np.savez_compressed(f, events=rows)
        else:
            np.save(f, rows, allow_pickle=False)
