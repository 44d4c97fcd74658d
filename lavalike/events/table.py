"""Events in columns that have names: structured arrays, .npy and .npz files, text files.

Names decide, in whatever order the columns stand. What they may be called:

    x   x, i, id, unit, unit_id, neuron, neuron_id, address
    y   y
    c   p, pol, polarity, c, channel, on
    t   t, ts, time, times, timestamp, spike_time, and these with a unit: t_us, time_ms, "t [s]"

tonic's arrays have the fields x, y, t, p (of audio t, x, p), Prophesee's x, y, p, t; both count
microseconds.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lavalike.arguments import did_you_mean
from lavalike.atomic import write_atomically
from lavalike.errors import InputError, InputTypeError, MissingFileError
from lavalike.events.event import Event

NAMES = {
    "x": ("x", "i", "id", "unit", "unit_id", "neuron", "neuron_id", "address"),
    "y": ("y",),
    "c": ("p", "pol", "polarity", "c", "channel", "on"),
    "t": ("t", "ts", "time", "times", "timestamp", "spike_time"),
}
MEANING = {name: field for field, names in NAMES.items() for name in names}
KNOWN = tuple(MEANING)
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
LETTERS = "xytp"  # of order=; p is Event's c
LARGEST = {
    "x": (1 << 16) - 1,
    "y": (1 << 16) - 1,
    "c": 255,
}  # what a column taken by place may hold
PLAIN = {  # kind: the fields, in this order
    "tonic": (("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "<i1")),
    "prophesee": (("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")),
}
AUDIO = (("t", "<i8"), ("x", "<i8"), ("p", "<i8"))  # tonic's, of events without y


def meaning(name: str) -> tuple[str, float | None] | None:
    """(field, seconds of a 1 where the name says so) of a column, or None for an unknown name."""
    word = name.strip().strip("\ufeff#\"' ").lower()
    if word in MEANING:
        return MEANING[word], None
    found = re.fullmatch(r"(.+?)[\s_]*[\[(]?([mnuµμ]?s)[\])]?", word)
    if found and MEANING.get(found[1]) == "t":
        return "t", UNITS[found[2]]
    return None


def by_names(names: Sequence[str], where: str, what: str) -> tuple[dict[str, int], float | None]:
    """Column of each field, and the unit that the name of t says."""
    out: dict[str, int] = {}
    unit = None
    for k, name in enumerate(names):
        found = meaning(name)
        if found is None:
            raise InputError(
                f"{where}: {what} {name!r} is none of an event's (x, y, p, t){did_you_mean(name, KNOWN)}; "
                f"leave it out"
            )
        if found[0] in out:
            raise InputError(
                f"{where}: two {what}s for {found[0]}, {names[out[found[0]]]!r} and {name!r}; leave one out"
            )
        out[found[0]] = k
        unit = found[1] if found[0] == "t" else unit
    for field in "xt":
        if field not in out:
            raise InputError(
                f"{where}: no {what} for {field} ({', '.join(NAMES[field])}) among {list(names)}"
            )
    return out, unit


def by_order(order: str, count: int, where: str) -> dict[str, int]:
    """Column of each field by ``order``, letters of xytp."""
    if len(order) != count:
        raise InputError(f"{where}: order {order!r} names {len(order)} columns, there are {count}")
    return {"c" if letter == "p" else letter: k for k, letter in enumerate(order)}


def right_order(order: object) -> bool:
    """Whether ``order`` names columns: letters of xytp, each once, x and t among them."""
    return (
        isinstance(order, str)
        and len(set(order)) == len(order)
        and set("xt") <= set(order) <= set(LETTERS)
    )


def looks_like_time(columns: Sequence[np.ndarray], taken: int) -> int | None:
    """The column that must be the time in place of column ``taken``, or None: it never runs
    backwards and goes further than any other, which ``taken`` does not."""
    if len(columns[0]) < 2:
        return None
    spans = [float(c.max()) - float(c.min()) for c in columns]
    forward = [bool((c[1:] >= c[:-1]).all()) for c in columns]
    best = int(np.argmax(spans))
    still = spans[taken] == 0
    if (
        best != taken
        and forward[best]
        and spans.count(spans[best]) == 1
        and (still or not forward[taken])
    ):
        return best
    return None


def in_time(t: np.ndarray, where: str, sort: bool, hint: str = "") -> np.ndarray | None:
    """Indices that bring ``t`` in order where ``sort`` is set, None where it is; InputError where
    times run backwards."""
    back = np.flatnonzero(t[1:] < t[:-1])
    if not back.size:
        return None
    if sort:
        return np.argsort(t, kind="stable")
    k = int(back[0]) + 1
    raise InputError(
        f"{where}: t runs backwards, {back.size} times of {len(t)}, first at event {k} ({t[k]:.10g} after {t[k - 1]:.10g}); "
        f"{hint or 'sort=True sorts the events by their times'}"
    )


def on_sensor(fields: dict[str, np.ndarray], sensor: tuple[int, int] | None, where: str) -> None:
    """InputError for the first event outside of ``sensor``, (width, height)."""
    if sensor is None:
        return
    for name, size in zip("xy", sensor, strict=True):
        a = fields.get(name)
        if a is None:
            continue
        bad = np.flatnonzero((a < 0) | (a >= size))
        if bad.size:
            k = int(bad[0])
            raise InputError(
                f"{where}: {name} = {a[k]:g} of event {k} is beyond the sensor of {sensor[0]} x {sensor[1]} "
                f"({bad.size} events are); give the right sensor=(width, height)"
            )


def made(
    fields: dict[str, np.ndarray],
    unit: float | None,
    where: str,
    sensor: tuple[int, int] | None,
    sort: bool,
    hint: str = "",
) -> Event:
    """The Event of columns; ``unit`` is the seconds of a 1 in t, where nobody says it 1e-6, which
    fractions cannot be."""
    on_sensor(fields, sensor, where)
    t = np.asarray(fields["t"])
    if t.dtype.kind == "f" and not np.isfinite(t).all():
        raise InputError(f"{where}: t: times are finite, got NaN or infinity")
    if unit is None:
        broken = np.flatnonzero(t != np.round(t))
        if broken.size:
            raise InputError(
                f"{where}: t = {t[broken[0]]:.10g} of event {broken[0]} is no whole number of microseconds; say what a 1 is: unit=1 for "
                "seconds, 1e-3 for milliseconds"
            )
        unit = 1e-6
    order = in_time(t, where, sort, hint)
    c = np.asarray(fields["c"]) if "c" in fields else np.zeros(len(t), np.int64)
    if c.size and c.dtype.kind in "if" and c.min() == -1 and np.isin(c, (-1, 1)).all():
        c = (c > 0).astype(np.int64)
    x, y = fields["x"], fields.get("y")
    if order is not None:
        x, c, t = x[order], c[order], t[order]
        y = None if y is None else y[order]
    try:
        return Event(x, y, c, in_ms(t, unit))
    except InputError as e:
        raise InputError(f"{where}: {e}") from e


def in_ms(t: np.ndarray, unit: float) -> np.ndarray:
    """Times in ms; those of whole microseconds are the nearest floats."""
    per = round(1e-3 / unit) if unit <= 1e-3 else 0
    if per and abs(per * unit / 1e-3 - 1) < 1e-12:
        return np.asarray(t, np.float64) / per
    return np.asarray(t, np.float64) * (unit * 1e3)


def from_ms(t: np.ndarray, unit: float) -> np.ndarray:
    """Times in ``unit`` seconds of times in ms."""
    per = round(1e-3 / unit) if unit <= 1e-3 else 0
    if per and abs(per * unit / 1e-3 - 1) < 1e-12:
        return t * per
    return t / (unit * 1e3)


# -- structured arrays -----------------------------------------------------------------------------


def from_structured(
    array: Any,
    unit: float | None = None,
    sensor: tuple[int, int] | None = None,
    sort: bool = False,
    where: str = "from_structured",
) -> Event:
    """See :meth:`Event.from_structured`."""
    if not isinstance(array, np.ndarray) or array.dtype.names is None:
        found = (
            f"{array.dtype} of shape {array.shape}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        raise InputTypeError(
            f"{where}: array is a structured NumPy array with the fields x, y, p, t, got {found}; events.from_array takes columns "
            "and order="
        )
    if array.ndim != 1:
        raise InputError(f"{where}: array has one axis of events, got shape {array.shape}")
    columns, said = by_names(array.dtype.names, where, "field")
    for k in columns.values():
        name = array.dtype.names[k]
        if array.dtype[name].kind not in "biuf" or array.dtype[name].shape:
            raise InputTypeError(f"{where}: field {name!r} holds numbers, got {array.dtype[name]}")
    fields = {field: array[array.dtype.names[k]] for field, k in columns.items()}
    return made(fields, unit or said, where, sensor, sort)


def to_structured(event: Event, kind: str, unit: float) -> np.ndarray:
    """See :meth:`Event.to_structured`."""
    if event.graded:
        raise InputError(
            "to_structured: these arrays hold no payloads; take Event(x, y, c, t) without them"
        )
    if event.y is None and kind != "tonic":
        raise InputError(
            f"to_structured: {kind}'s arrays hold events in two dimensions, these have no y"
        )
    dtype = np.dtype(list(AUDIO if event.y is None else PLAIN[kind]))
    out = np.empty(len(event), dtype)
    t = np.round(from_ms(event.t, unit))
    values = {"x": event.x, "y": event.y, "p": event.c, "t": t}
    for name in dtype.names or ():
        a, info = values[name], np.iinfo(dtype[name])
        assert a is not None
        if a.size and not (a.min() >= info.min and a.max() <= info.max):
            raise InputError(
                f"to_structured: field {name!r} of {kind}'s arrays is {dtype[name]}, {info.min}..{info.max}; "
                f"got {a.min():.10g}..{a.max():.10g}"
            )
        out[name] = a
    return out


def from_columns(
    array: np.ndarray,
    order: str,
    unit: float | None,
    sensor: tuple[int, int] | None,
    sort: bool,
    where: str,
) -> Event:
    """The Event of a plain array (events, columns) whose columns stand in ``order``."""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{where}: numbers (events, columns) are expected, got {array.dtype} of shape {array.shape}"
        )
    places = by_order(order, array.shape[1], where)
    columns = list(array.T)
    fields = {field: columns[k] for field, k in places.items()}
    plausible(fields, places, where, f"order={order!r}", "order")
    if not sort:
        not_swapped(
            columns, places, where, f"order={order!r}", "give the right order, or sort=True"
        )
    return made(fields, unit, where, sensor, sort)


def not_swapped(
    columns: Sequence[np.ndarray], places: dict[str, int], where: str, said: str, remedy: str
) -> None:
    """InputError where another column than the one taken for it must be the time."""
    other = looks_like_time(columns, places["t"])
    if other is not None:
        t = columns[places["t"]]
        does = "stands still" if (t == t[0]).all() else "runs backwards"
        raise InputError(
            f"{where}: {said} takes column {places['t']} for t, which {does}, while column {other} never runs backwards and goes "
            f"furthest; {remedy}"
        )


def plausible(
    fields: dict[str, np.ndarray],
    places: dict[str, int],
    where: str,
    said: str,
    argument: str,
) -> None:
    """InputError where a column cannot be what it is taken for."""
    for field, most in LARGEST.items():
        a = fields.get(field)
        if a is None or not a.size:
            continue
        shown = "p" if field == "c" else field
        finite = a if a.dtype.kind != "f" else a[np.isfinite(a)]
        low = -1 if field == "c" else 0
        if (
            len(finite) == len(a)
            and (a == np.floor(a)).all()
            and a.min() >= low
            and a.max() <= most
        ):
            continue
        raise InputError(
            f"{where}: {said} takes column {places[field]} for {shown}, which holds whole numbers in 0..{most}, and it holds "
            f"{a.min():.10g}..{a.max():.10g}; give the columns' right {argument}"
        )


# -- .npy, .npz ------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a .npy file, or the single one of a .npz; nothing is unpickled."""
    raw = io.BytesIO(content(path))
    try:
        found = np.load(raw, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                if len(found.files) != 1:
                    raise InputError(
                        f"{path}: an .npz file of events holds one array, this one {found.files}"
                    )
                found = found[found.files[0]]
    except InputError:
        raise
    except (
        Exception
    ) as e:  # the bytes are in memory: whatever numpy, zipfile or tokenize raise is about them
        raise InputError(f"{path}: no NumPy file of events, or damaged: {e}") from e
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path}: an array of events is expected, got {type(found).__name__}")
    return found


def content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as e:
        raise MissingFileError(f"{path}: no such file") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be read: {e.strerror or e}") from e


def save(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write one array, compressed where the name ends in .npz, whole or not at all."""
    if Path(path).suffix == ".npz":
        write_atomically(path, lambda f: np.savez_compressed(f, events=array))
    else:
        write_atomically(path, lambda f: np.save(f, array, allow_pickle=False))


# -- text ------------------------------------------------------------------------------------------


def read_text(
    path: str | os.PathLike[str],
    order: str | None,
    unit: float | None,
    sensor: tuple[int, int] | None,
    sort: bool,
) -> Event:
    """Events of a text file: a line an event, numbers divided by commas, semicolons, tabs or
    spaces, with a header that names the columns, or without one and with ``order``."""
    try:
        text = content(path).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: no text file: {e}") from e
    lines = text.splitlines()
    first = next((k for k, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise InputError(f"{path}: is empty; a line an event is expected")
    head = lines[first].strip()
    delimiter = next((d for d in ",;\t" if d in head), None)
    names = _cells(head.lstrip("# "), delimiter)
    if all(map(_is_number, names)):
        if order is None:
            raise InputError(
                f"{path}: has no header, so nothing says which of its {len(names)} columns is which; give order=, as 'txyp' "
                f"(its first line is {head[:60]!r})"
            )
        start, said = first, None
    elif order is not None:
        raise InputError(
            f"{path}: its header {head[:60]!r} names the columns; order={order!r} is for files without one: leave it out"
        )
    else:
        start = first + 1
    rows = _rows(path, lines, start, delimiter, len(names))
    where = str(path)
    if order is not None:
        return from_columns(rows, order, unit, sensor, sort, where)
    columns, said = by_names(names, where, "column")
    fields = {field: rows[:, k] for field, k in columns.items()}
    return made(fields, unit or said, where, sensor, sort)


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return line.split()
    return [c.strip() for c in next(csv.reader([line], delimiter=delimiter))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _rows(
    path: object, lines: list[str], start: int, delimiter: str | None, count: int
) -> np.ndarray:
    body = [
        (k, line)
        for k, line in enumerate(lines[start:], start + 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not body:
        return np.zeros((0, count))
    try:
        rows = np.loadtxt([line for _, line in body], delimiter=delimiter, ndmin=2, comments=None)
    except ValueError:
        rows = None
    if rows is None or rows.shape[1] != count:
        for k, line in body:
            cells = _cells(line, delimiter)
            if len(cells) != count or not all(map(_is_number, cells)):
                raise InputError(f"{path}: line {k} is {line[:60]!r}; {count} numbers are expected")
        raise InputError(f"{path}: {count} numbers a line are expected")
    return rows.reshape(-1, count)


def write_text(path: str | os.PathLike[str], event: Event, unit: float) -> None:
    """Write a header ``x,y,p,t`` (without y for events in one dimension) and a line an event; the
    name of t says the unit."""
    if event.graded:
        raise InputError(f"{path}: text files of events hold no payloads; write Event(x, y, c, t)")
    name = next((n for n, u in UNITS.items() if abs(u / unit - 1) < 1e-12), None)
    if name is None:
        raise InputError(
            f"{path}: the header of a text file says s, ms, us or ns; unit={unit:g} is none of them"
        )
    t = from_ms(event.t, unit)
    whole = bool((t == np.round(t)).all())
    columns: Iterable[tuple[str, np.ndarray | None, Callable[[Any], str]]] = (
        ("x", event.x, str),
        ("y", event.y, str),
        ("p", event.c, str),
        (f"t_{name}", t.astype(np.int64) if whole else t, str if whole else repr),
    )
    kept = [(n, a.tolist(), show) for n, a, show in columns if a is not None]
    out = [",".join(n for n, _, _ in kept)]
    out += [
        ",".join(show(v) for (_, _, show), v in zip(kept, row, strict=True))
        for row in zip(*(a for _, a, _ in kept), strict=True)
    ]
    text = "\n".join([*out, ""]).encode()

    def fill(f: BinaryIO) -> None:
        f.write(text)

    write_atomically(path, fill)
