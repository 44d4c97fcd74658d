"""Data sets of events: those of public layouts, read from a folder, and one drawn by a model.

Items are ``(Event, label)``, events with t in ms; :class:`lavalike.events.Frames` makes frames of
them for a DataLoader. Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from lavalike.arguments import FLAG, PATH, arguments, choice, instance, integer, optional, real
from lavalike.errors import InputError, MissingFileError
from lavalike.events import SHAPES, Event, EventCamera, binary, moving_shapes
from lavalike.events.aedat import read_aedat
from lavalike.events.spikes import SpikeFile
from lavalike.events.table import content

GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
KEPT = 2  # recordings of DVS Gesture that stay in memory


def _folder(path: Path, *names: str, what: str) -> Path:
    """``path``, or the folder of one of ``names`` in it, that has what is looked for."""
    for place in (*(path / n for n in names), path):
        if place.exists():
            return place
    raise MissingFileError(f"{path}: no such folder; {what} is expected")


class NMNIST(Dataset[tuple[Event, int]]):
    """N-MNIST (Orchard et al. 2015, doi:10.3389/fnins.2015.00437): MNIST's digits before a moving
    event camera of 34 x 34 pixels.

    Args:
        root: the folder that has Train and Test, each with folders 0..9 of .bin files.
        train: the part to train on. Default True.
        sort: sort events by time, where False makes times that run backwards an error. Default
            False.

    Items ``(Event, digit)`` in the order of digits and files' names. ``targets`` int64 (samples,).

    Raises:
        MissingFileError: the layout is not there.
        InputError: when an item is read: its file is damaged, or has addresses beyond 34 x 34.
    """

    @arguments(root=PATH, train=FLAG, sort=FLAG)
    def __init__(
        self, root: str | os.PathLike[str], train: bool = True, sort: bool = False
    ) -> None:
        part = "Train" if train else "Test"
        folder = Path(root) / part
        self.sort = bool(sort)
        self.files = [(f, d) for d in range(10) for f in sorted((folder / str(d)).glob("*.bin"))]
        if not self.files:
            raise MissingFileError(
                f"{folder}: no .bin files in folders 0..9; N-MNIST unpacked has {part}/0/00002.bin and so on"
            )
        self.targets = np.array([d for _, d in self.files])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Event, int]:
        file, digit = self.files[index]
        return binary.read_dataset(file, binary.NMNIST, self.sort), digit


class DVSGesture(Dataset[tuple[Event, int]]):
    """DVS128 Gesture (Amir et al., CVPR 2017): eleven gestures before an event camera of 128 x 128
    pixels.

    Args:
        root: the folder of the recordings (.aedat 3.1, and ``_labels.csv`` beside each), with
            trials_to_train.txt and trials_to_test.txt; or the one around it.
        train: the part to train on. Default True.
        sort: sort events by time, where False makes times that run backwards an error. Default
            False.

    Items ``(Event, gesture)``, 0..10 in the order of ``GESTURES``, t in ms from the gesture's
    begin. ``targets`` int64 (samples,). A recording is read as a whole and has about a dozen of
    them, of which the last two stay in memory: to train in random order, write each item once to
    a file of its own (``lavalike.events.write``).

    Raises:
        MissingFileError: a file of the layout is not there.
        InputError: a file is damaged; it says which and where.
    """

    SENSOR = (128, 128)

    @arguments(root=PATH, train=FLAG, sort=FLAG)
    def __init__(
        self, root: str | os.PathLike[str], train: bool = True, sort: bool = False
    ) -> None:
        self.folder = _folder(
            Path(root), "DvsGesture", "DVSGesture", what="DVS128 Gesture, unpacked,"
        )
        self.sort = bool(sort)
        listed = self.folder / f"trials_to_{'train' if train else 'test'}.txt"
        names = [n.strip() for n in content(listed).decode("ascii", "replace").splitlines()]
        self.items: list[tuple[Path, int, int, int]] = []
        for name in filter(None, names):
            if Path(name).name != name or not name.endswith(".aedat"):
                raise InputError(
                    f"{listed}: {name[:60]!r} is no recording's name (userNN_light.aedat)"
                )
            self.items += self._windows(self.folder / name)
        self.targets = np.array([label for _, label, _, _ in self.items], np.int64)
        self._kept: OrderedDict[Path, Event] = OrderedDict()

    @staticmethod
    def _windows(recording: Path) -> list[tuple[Path, int, int, int]]:
        """(recording, gesture, begin, end in microseconds) of each line of its labels."""
        path = recording.with_name(recording.stem + "_labels.csv")
        lines = [s.strip() for s in content(path).decode("ascii", "replace").splitlines()]
        head = [s.strip() for s in lines[0].split(",")] if lines else []
        wanted = ["class", "startTime_usec", "endTime_usec"]
        if sorted(head) != sorted(wanted):
            raise InputError(
                f"{path}: line 1 is {','.join(head)[:60]!r}; {','.join(wanted)} is expected"
            )
        out = []
        for k, line in enumerate(lines[1:], 2):
            if not line:
                continue
            try:
                row = dict(zip(head, map(int, line.split(",")), strict=True))
            except ValueError as e:
                raise InputError(
                    f"{path}: line {k} is {line[:60]!r}; three whole numbers are expected"
                ) from e
            gesture, begin, end = (row[n] for n in wanted)
            if not (1 <= gesture <= len(GESTURES) and 0 <= begin <= end):
                raise InputError(
                    f"{path}: line {k}: class is in 1..{len(GESTURES)} and the times go forward, got {line[:60]!r}"
                )
            out.append((recording, gesture - 1, begin, end))
        return out

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Event, int]:
        path, gesture, begin, end = self.items[index]
        event = self._recording(path)
        a, b = np.searchsorted(event.t, (begin / 1000, end / 1000))
        assert event.y is not None
        t = np.round(event.t[a:b] * 1000 - begin) / 1000  # whole microseconds as before
        return Event(event.x[a:b], event.y[a:b], event.c[a:b], t), gesture

    def _recording(self, path: Path) -> Event:
        if path not in self._kept:
            self._kept[path] = read_aedat(path, None, self.SENSOR, self.sort)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]


class SHD(Dataset[tuple[Event, int]]):
    """Spiking Heidelberg Digits (Cramer et al. 2022, doi:10.1109/TNNLS.2020.3044364): spoken
    digits in German and English, as 700 channels of a model of the cochlea.

    Args:
        root: the folder that has shd_train.h5 and shd_test.h5.
        train: the part to train on. Default True.
        sort: sort each sample by time, where False makes times that run backwards an error. Default
            False.

    Items ``(Event, class)``, events in one dimension, x 0..699. ``targets`` int64 (samples,).

    Raises:
        MissingFileError, InputError: as :class:`lavalike.events.SpikeFile`.
    """

    @arguments(root=PATH, train=FLAG, sort=FLAG)
    def __init__(
        self, root: str | os.PathLike[str], train: bool = True, sort: bool = False
    ) -> None:
        self.file = SpikeFile(Path(root) / f"shd_{'train' if train else 'test'}.h5", sort=sort)
        self.targets = self.file.labels

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int) -> tuple[Event, int]:
        return self.file[index]


class SSC(Dataset[tuple[Event, int]]):
    """Spiking Speech Commands, of the same layout and source as :class:`SHD`: 35 words.

    Args:
        root: the folder that has ssc_train.h5, ssc_valid.h5 and ssc_test.h5.
        part: "train", "valid" or "test". Default "train".
        sort: as :class:`SHD`.
    """

    @arguments(root=PATH, part=choice("train", "valid", "test"), sort=FLAG)
    def __init__(
        self, root: str | os.PathLike[str], part: str = "train", sort: bool = False
    ) -> None:
        self.file = SpikeFile(Path(root) / f"ssc_{part}.h5", sort=sort)
        self.targets = self.file.labels

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, index: int) -> tuple[Event, int]:
        return self.file[index]


class MovingShapes(Dataset[tuple[Event, int]]):
    """Moving shapes seen by a simulated event camera, drawn when it is made:
    :func:`lavalike.events.moving_shapes` and :class:`lavalike.events.EventCamera` say how.

    Args:
        train: draws to train on; False: others, to test on. Default True.
        samples: how many. Default None: 1024 to train on, 256 to test on.
        size: pixels along either axis, at least 12. Default 24.
        duration: of a recording in ms, at least 5. Default 50.
        camera: default ``EventCamera()``.
        seed: of all draws. Default 0.

    Items ``(Event, shape)``, 0..3 in the order of ``classes``: disc, square, triangle, cross.
    ``events`` holds all of them, ``targets`` int64 (samples,). It is a model: no figure obtained
    with it says what a network achieves before a camera.

    Example::

        from lavalike import datasets, events

        train = events.Frames(datasets.MovingShapes(), dt=2.0, shape=(2, 24, 24), steps=25)
        frames, shape = train[0]  # (2, 24, 24, 25) float32, 0..3
    """

    classes = SHAPES

    @arguments(
        train=FLAG,
        samples=optional(integer(1)),
        size=integer(12),
        duration=real(5),
        camera=optional(instance(EventCamera)),
        seed=integer(0),
    )
    def __init__(
        self,
        train: bool = True,
        samples: int | None = None,
        size: int = 24,
        duration: float = 50.0,
        camera: EventCamera | None = None,
        seed: int = 0,
    ) -> None:
        count = (1024 if train else 256) if samples is None else samples
        self.events, self.targets = moving_shapes(count, bool(train), size, duration, camera, seed)

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> tuple[Event, int]:
        return self.events[index], int(self.targets[index])
