"""Binary files of events: one after another, big-endian, with no header; times are whole
microseconds:

    1-D   40 bits: x 16, c 1, t 23
    2-D   40 bits: x 8, y 8, c 1, t 23 (that of N-MNIST and N-Caltech101)
    3-D   56 bits: x 12, y 12, c 8, t 24 (the format of slayerPytorch's 3-D files)
"""

from __future__ import annotations

import os
import warnings
from typing import BinaryIO

import numpy as np

from lavalike.atomic import write_atomically
from lavalike.errors import InputError
from lavalike.events.event import Event, whole
from lavalike.events.table import content, made

# how files of other kinds begin
FOREIGN = {
    b"\x93NUMPY": "a NumPy file: read_np_spikes",
    b"PK\x03\x04": "a zip or .npz file: read_np_spikes",
    b"\x89HDF": "an HDF5 file",
    b"#!AER-DAT": "an AEDAT file",
}
LAYOUTS = {
    1: (("x", 16), ("c", 1), ("t", 23)),
    2: (("x", 8), ("y", 8), ("c", 1), ("t", 23)),
    3: (("x", 12), ("y", 12), ("c", 8), ("t", 24)),
}
NMNIST = (34, 34)  # the sensor's part that N-MNIST has
MARK, AFTER_MARK = 240, 1 << 13  # an N-Caltech101 event of y 240 adds so many us to those after it


def _fields(filename: str | os.PathLike[str], kind: int) -> dict[str, np.ndarray]:
    layout = LAYOUTS[kind]
    size = sum(bits for _, bits in layout) // 8
    data = content(filename)
    for begin, what in FOREIGN.items():
        if data.startswith(begin):
            raise InputError(f"{filename}: no file of {kind}-D events, but {what}")
    raw = np.frombuffer(data, np.uint8)
    if raw.size % size:
        raise InputError(
            f"{filename}: {raw.size} bytes are no whole number of {kind}-D events of {size} bytes; the file is damaged, "
            "or of another kind"
        )
    word = np.zeros(raw.size // size, np.int64)
    for column in raw.reshape(-1, size).T:
        word = word << 8 | column
    fields = {}
    for name, bits in reversed(layout):
        fields[name], word = word & ((1 << bits) - 1), word >> bits
    return fields


def read(filename: str | os.PathLike[str], kind: int) -> Event:
    """Events of a file of ``kind`` dimensions, in the file's order."""
    fields = _fields(filename, kind)
    t = fields["t"]
    # recordings go forward; the times of another format's bytes are a coin's
    back = int(np.count_nonzero(t[1:] < t[:-1]))
    if len(t) > 16 and 4 * back > len(t):
        warnings.warn(
            f"{filename}: {back} of {len(t)} events are earlier than the one before: is this a file of {kind}-D events?",
            UserWarning,
            stacklevel=4,
        )
    return Event(fields["x"], fields.get("y"), fields["c"], t / 1000)


def read_dataset(
    filename: str | os.PathLike[str], sensor: tuple[int, int] | None, sort: bool
) -> Event:
    """Events of a 2-D file as N-MNIST and N-Caltech101 have them: times go forward, and an event at
    y 240, where no sensor of these reaches, is no event, but 2^13 us for all after it."""
    fields = _fields(filename, 2)
    mark = fields["y"] == MARK
    if mark.any():
        fields["t"] = fields["t"] + AFTER_MARK * np.cumsum(mark)
        fields = {name: a[~mark] for name, a in fields.items()}
    return made(fields, 1e-6, str(filename), sensor, sort)


def write(filename: str | os.PathLike[str], event: Event, kind: int) -> None:
    """Write events to a file of ``kind`` dimensions; times are rounded to microseconds."""
    layout = LAYOUTS[kind]
    if event.dim != min(kind, 2):
        raise InputError(
            f"{filename}: {kind}-D files hold events of {min(kind, 2)} dimensions, got {event.dim}"
        )
    if event.graded:
        raise InputError(
            f"{filename}: {kind}-D files hold no payloads; encode Event(x, y, c, t) without them"
        )
    fields = {"x": event.x, "c": event.c, "t": whole(event.t * 1000)} | (
        {} if event.y is None else {"y": event.y}
    )
    word = np.zeros(len(event), np.int64)
    for name, bits in layout:
        value = fields[name]
        if value.size and not (value.min() >= 0 and value.max() < 1 << bits):
            unit = " microseconds" if name == "t" else ""
            raise InputError(
                f"{filename}: in {kind}-D files {name} has {bits} bits, 0..{(1 << bits) - 1}{unit}; "
                f"got {value.min()}..{value.max()}"
            )
        word = word << bits | value
    size = sum(bits for _, bits in layout) // 8
    data = word.astype(">i8").view(np.uint8).reshape(-1, 8)[:, 8 - size :].tobytes()

    def fill(f: BinaryIO) -> None:
        f.write(data)

    write_atomically(filename, fill)
