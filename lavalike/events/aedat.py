"""AEDAT files 2.0 and 3.1, as iniVation's documentation describes them
(https://docs.inivation.com/software/software-advanced-usage/file-formats/).

    2.0   lines that begin with #, then pairs of 32-bit address and 32-bit time in microseconds,
          big-endian; what an address means depends on the camera, and y counts from below
    3.1   lines up to #!END-HEADER, then packets of events of one type, little-endian: a header of
          28 bytes with the type, the count of events and the upper bits of their times, then 8
          bytes a polarity event: its mark of validity, polarity, y, x, and its time in microseconds

Either way the events read have y from above, as in pictures and structured arrays, and their times
as recorded. What else a file holds (frames, readings of acceleration, external signals) is no
polarity event and is left out.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

import numpy as np

from lavalike.errors import InputError
from lavalike.events.event import Event
from lavalike.events.table import content, made


@dataclass(frozen=True)
class Camera:
    """A sensor, (width, height), and where an address of AEDAT 2.0 has what: (shift, bits) of x, y
    and polarity, and the bits that are 0 in polarity events."""

    sensor: tuple[int, int]
    x: tuple[int, int]
    y: tuple[int, int]
    c: tuple[int, int]
    other: int


_DAVIS = {"x": (12, 10), "y": (22, 9), "c": (11, 1), "other": 1 << 31 | 1 << 10}
CAMERAS = {
    "DVS128": Camera((128, 128), (1, 7), (8, 7), (0, 1), 1 << 15),
    "DAVIS240": Camera((240, 180), **_DAVIS),  # type: ignore[arg-type]  # of one table for three
    "DAVIS346": Camera((346, 260), **_DAVIS),  # type: ignore[arg-type]  # of one table for three
    "DAVIS640": Camera((640, 480), **_DAVIS),  # type: ignore[arg-type]  # of one table for three
}
POLARITY = 1  # the type of a packet of polarity events
TYPES = range(16)  # those that 3.1 defines, and room for its users'
PACKET = struct.Struct("<hhiiiiii")
END = b"#!END-HEADER"


def read_aedat(
    path: str | os.PathLike[str],
    camera: str | None,
    sensor: tuple[int, int] | None,
    sort: bool,
) -> Event:
    """The polarity events of an AEDAT file; see :func:`lavalike.events.read`."""
    data = content(path)
    found = re.match(rb"#!AER-DAT(\d+(?:\.\d+)?)\s*?\n", data)
    if found is None:
        raise InputError(
            f"{path}: no AEDAT file: it does not begin with #!AER-DAT and a version (those of version 1.0 need not; jAER saves "
            "them as 2.0)"
        )
    version = found[1].decode()
    if version == "2.0":
        return _read_2(path, data, camera, sensor, sort)
    if version == "3.1":
        return _read_3(path, data, camera, sensor, sort)
    remedy = {
        "4": "export it from DV as 3.1 or as a text file",
        "3": "convert it to 3.1",
        "1": "jAER saves it as 2.0",
    }.get(version.split(".")[0], "2.0 and 3.1 are read")
    raise InputError(f"{path}: AEDAT version {version} is not read here, 2.0 and 3.1 are; {remedy}")


def _camera(text: str) -> str | None:
    """The camera that a header's line names."""
    word = text.lower()
    if "dvs128" in word or "tmpdiff128" in word:
        return "DVS128"
    found = re.search(r"davis_?(240|346|640)", word)
    return f"DAVIS{found[1]}" if found else None


def _read_2(
    path: str | os.PathLike[str],
    data: bytes,
    camera: str | None,
    sensor: tuple[int, int] | None,
    sort: bool,
) -> Event:
    at, said = 0, None
    while data[at : at + 1] == b"#":
        end = data.find(b"\n", at)
        if end < 0:
            raise InputError(f"{path}: is truncated: it ends within its header")
        line = data[at:end].decode("latin-1")
        if "AEChip" in line:
            said = _camera(line.split(":", 1)[-1]) or said
        at = end + 1
    name = camera or said
    if name is None:
        raise InputError(
            f"{path}: its header names no camera known here, and the camera says what an address means; give camera=, one of "
            f"{', '.join(CAMERAS)}"
        )
    kind = CAMERAS[name]
    if (len(data) - at) % 8:
        raise InputError(
            f"{path}: is truncated, or damaged: {len(data) - at} bytes after the header are no whole number of events of 8 bytes"
        )
    raw = np.frombuffer(data, ">u4", offset=at).astype(np.int64).reshape(-1, 2)
    address, t = raw[:, 0], raw[:, 1]
    # the counter has 32 bits and begins again after 71 minutes
    back = np.flatnonzero(t[1:] < t[:-1] - (1 << 31))
    if back.size:
        t = t + (np.searchsorted(back, np.arange(len(t)), "left") << 32)
    mine = (address & kind.other) == 0
    address, t = address[mine], t[mine]
    fields = {
        field: address >> shift & ((1 << bits) - 1)
        for field, (shift, bits) in (("x", kind.x), ("y", kind.y), ("c", kind.c))
    }
    width, height = sensor or kind.sensor
    fields["y"] = height - 1 - fields["y"]  # y from above
    return made({**fields, "t": t}, 1e-6, str(path), (width, height), sort)


def _read_3(
    path: str | os.PathLike[str],
    data: bytes,
    camera: str | None,
    sensor: tuple[int, int] | None,
    sort: bool,
) -> Event:
    end = data.find(END)
    at = data.find(b"\n", end) + 1 if end >= 0 else 0
    if not at:
        raise InputError(f"{path}: is truncated, or damaged: its header has no {END.decode()}")
    head = data[:end].decode("latin-1")
    form = re.search(r"^#Format: *(\S+)", head, re.M)
    if form is not None and form[1].upper() != "RAW":
        raise InputError(
            f"{path}: AEDAT 3.1 of format {form[1]} is compressed and not read here; record it as RAW"
        )
    said = {_camera(s) for s in re.findall(r"^#-?Source -?\d+: *(.*)$", head, re.M)} - {None}
    name = camera or (said.pop() if len(said) == 1 else None)
    if sensor is None and name is not None:
        sensor = CAMERAS[name].sensor
    words, times = [], []
    while at < len(data):
        where = f"{path}: the packet at byte {at}"
        if at + PACKET.size > len(data):
            raise InputError(f"{where}: the file is truncated: it ends within the packet's header")
        kind, _, size, offset, overflow, _, number, valid = PACKET.unpack_from(data, at)
        if kind not in TYPES or number < 0 or size < 8 or overflow < 0 or not 0 <= valid <= number:
            raise InputError(
                f"{where}: is damaged: it is of type {kind} with {number} events of {size} bytes, {valid} of them valid"
            )
        at += PACKET.size
        if at + number * size > len(data):
            raise InputError(
                f"{where}: the file is truncated: {number} events of {size} bytes are declared, and {len(data) - at} bytes are left"
            )
        if kind == POLARITY:
            if size != 8 or offset != 4:
                raise InputError(
                    f"{where}: is damaged: polarity events have 8 bytes and their time at byte 4, these {size} and {offset}"
                )
            raw = np.frombuffer(data, "<u4", 2 * number, at).reshape(-1, 2)
            words.append(raw[:, 0])
            times.append(raw[:, 1].astype(np.int64) + (overflow << 31))
        at += number * size
    word = np.concatenate(words) if words else np.zeros(0, np.uint32)
    t = np.concatenate(times) if times else np.zeros(0, np.int64)
    marked = (word & 1).astype(bool)
    if len(word) and not marked.any():
        raise InputError(f"{path}: none of its {len(word)} polarity events is marked as valid")
    word, t = word[marked].astype(np.int64), t[marked]
    fields = {"x": word >> 17, "y": word >> 2 & 0x7FFF, "c": word >> 1 & 1, "t": t}
    return made(fields, 1e-6, str(path), sensor, sort)
