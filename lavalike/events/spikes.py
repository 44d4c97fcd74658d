"""Files of many samples in the layout of the Spiking Heidelberg Digits and Spiking Speech Commands
(Cramer et al. 2022, doi:10.1109/TNNLS.2020.3044364): HDF5 with

    spikes/times    of each sample its spikes' times in seconds
    spikes/units    of each sample its spikes' units
    labels          of each sample its class
    extra           speakers and the classes' names; left alone here

A file is read as untrusted (netx/trust.py): hard links only, plain types, and whatever HDF5's
library may do with damaged sequences happens first in a child process, which reads all of it once
when the file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.arguments import FLAG, PATH, Rule, arguments, integer, is_integer, optional
from lavalike.atomic import draft
from lavalike.errors import InputError, InputTypeError, MissingFileError
from lavalike.events.event import Event
from lavalike.events.table import in_time

UNITS = 700  # of SHD and SSC
_SAMPLES = Rule("an iterable of (Event, label)", lambda v: isinstance(v, Iterable))
NEEDED = ("spikes/times", "spikes/units", "labels")


class SpikeFile(Sequence[tuple[Event, int]]):
    """The samples of a file in the layout of SHD and SSC: a sequence of ``(Event, label)``, read
    one by one as they are asked for.

    Args:
        path: the file.
        units: how many there are; a unit beyond them is an error. None: any. Default 700.
        sort: sort each sample's spikes by time, where False makes times that run backwards an
            error. Default False.

    Events are in one dimension: x is the unit, c is 0, t in ms. ``labels`` (samples,) int64.

    Raises:
        MissingFileError: there is no file.
        InputError: the file is damaged, hostile or of another kind; it says file and place.

    Example::

        spikes = SpikeFile("shd_train.h5")
        event, label = spikes[0]
    """

    @arguments(path=PATH, units=optional(integer(1)), sort=FLAG)
    def __init__(
        self, path: str | os.PathLike[str], units: int | None = UNITS, sort: bool = False
    ) -> None:
        from netx import trust

        self.path, self.units, self.sort = Path(path), units, sort
        self._open: tuple[int, h5py.File] | None = None
        if not self.path.is_file():
            packed = self.path.with_name(self.path.name + ".gz")
            raise MissingFileError(
                f"{path}: no such file"
                + (f", but {packed.name} is there: unpack it first" if packed.exists() else "")
            )
        try:
            trust.check(self.path, self._error, sequences=True)
            file = self._file()
            sets = [self._dataset(file, key) for key in NEEDED]
            count = sets[2].shape[0]
            for key, d in zip(NEEDED, sets, strict=True):
                kind = d.dtype if key == "labels" else h5py.check_vlen_dtype(d.dtype)
                if kind is None or np.dtype(kind).kind not in "iuf":
                    raise self._error(key, f"holds {d.dtype}; numbers for each sample are expected")
                if d.shape != (count,):
                    raise self._error(key, f"has shape {d.shape}; labels has {count} samples")
            self.labels = self._labels(sets[2])
        except OSError as e:
            raise self._error("", f"no readable HDF5 file: {e}") from e

    def _error(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {key}: {problem}" if key else f"{self.path}: {problem}")

    def _file(self) -> h5py.File:
        """The file, opened anew in a process forked since."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = os.getpid(), h5py.File(self.path, "r")
        return self._open[1]

    def _dataset(self, file: h5py.File, key: str) -> h5py.Dataset:
        at: Any = file
        for name in key.split("/"):
            link = at.get(name, getlink=True) if isinstance(at, h5py.Group) else None
            if not isinstance(link, h5py.HardLink):
                problem = "is a link elsewhere" if link is not None else "is not there"
                raise self._error(
                    key,
                    f"{problem}; a file in the layout of SHD has spikes/times, spikes/units and labels",
                )
            at = at[name]
        if not isinstance(at, h5py.Dataset) or at.is_virtual or at.external or at.shape is None:
            raise self._error(key, "is no plain dataset")
        return at

    def _labels(self, found: h5py.Dataset) -> np.ndarray:
        labels = np.asarray(found[()])
        whole = labels.astype(np.int64)
        if not (whole == labels).all() or (whole < 0).any():
            raise self._error("labels", "holds other than whole numbers from 0 on")
        return whole

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not is_integer(index):
            raise InputTypeError(f"SpikeFile: an index is an integer, got {index!r}")
        k = int(index)
        if not -len(self) <= k < len(self):
            raise IndexError(f"SpikeFile: index {k} is beyond the {len(self)} samples")
        k %= len(self)
        file = self._file()
        times, units = (
            np.asarray(file[key][k], np.float64 if key == NEEDED[0] else None) for key in NEEDED[:2]
        )
        where = f"{self.path}: sample {k}"
        if times.shape != units.shape:
            raise InputError(f"{where}: {times.size} times and {units.size} units")
        if not np.isfinite(times).all():
            raise InputError(f"{where}: times: are finite, got NaN or infinity")
        if self.units is not None and units.size and units.max() >= self.units:
            raise InputError(
                f"{where}: units: {units.max()} is beyond the {self.units} there are; give the right units="
            )
        order = in_time(times, where, self.sort)
        if order is not None:
            times, units = times[order], units[order]
        try:
            event = Event(units, None, np.zeros(len(units), np.int64), times * 1e3)
        except InputError as e:
            raise InputError(f"{where}: {e}") from e
        return event, int(self.labels[k])

    def __iter__(self) -> Iterator[tuple[Event, int]]:
        return (self[k] for k in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def __repr__(self) -> str:
        return f"SpikeFile({self.path}: {len(self)} samples)"


@arguments(path=PATH, samples=_SAMPLES)
def write_spike_file(path: str | os.PathLike[str], samples: Iterable[tuple[Event, int]]) -> None:
    """Write samples in the layout of SHD and SSC, whole or not at all.

    Args:
        samples: pairs of an :class:`Event` in one dimension, without payloads and with channel 0
            only, and its class, from 0. Times are stored in seconds as float32 (SHD's own are
            float16), units as uint16.

    Raises:
        InputError: a sample that the layout cannot hold; it says which.
    """
    times, units, labels = [], [], []
    for k, sample in enumerate(samples):
        where = f"{path}: samples: number {k}"
        if not isinstance(sample, Sequence) or len(sample) != 2 or not isinstance(sample[0], Event):
            raise InputTypeError(
                f"{where}: (Event, label) is expected, got {type(sample).__name__}"
            )
        event, label = sample
        if not is_integer(label) or label < 0:
            raise InputError(f"{where}: a label is an integer >= 0, got {label!r}")
        if event.dim != 1 or event.graded or event.c.any():
            raise InputError(
                f"{where}: the layout has units and times only; y, payloads and channels beside 0 have no place in it"
            )
        if event.x.max(initial=0) >= 1 << 16:
            raise InputError(f"{where}: units are 0..65535, got {event.x.max()}")
        times.append((event.t / 1e3).astype(np.float32))
        units.append(event.x.astype(np.uint16))
        labels.append(int(label))
    with draft(path) as name, h5py.File(name, "w", locking=False) as file:
        group = file.create_group("spikes")
        for key, rows, dtype in (("times", times, np.float32), ("units", units, np.uint16)):
            d = group.create_dataset(key, (len(rows),), h5py.vlen_dtype(dtype))
            for k, row in enumerate(rows):
                d[k] = row
        file.create_dataset("labels", data=np.array(labels, np.int64))
