"""Driving: dashboard views in sequences, the steering angle as label.

PilotNetDataset reads the recorded drive of the PilotNet example (S. Chen, MIT licence);
SyntheticDrive renders one. Both split a drive into sequences of consecutive frames and give
``(images (C, H, W, T), angles (T,))``, angles of the steering wheel in radians, positive to the
right.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    PATH,
    Rule,
    arguments,
    integer,
    is_integer,
    optional,
    real,
)
from lavalike.datasets.transforms import ToTensor
from lavalike.errors import InputError

TRAIN_SHARE, TEST_SHARE = 0.8, 0.2


_COUNT = integer(1)
_TRANSFORM = optional(FUNCTION)
_SIZE = Rule(
    "(height, width), both >= 8",
    lambda v: isinstance(v, Sequence) and all(map(is_integer, v)),
    lambda v: len(v) == 2 and min(v) >= 8,
)


class _Drive(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Sequences of a drive: ``starts`` are their first frames, ``_read`` gives images and angles of
    consecutive frames."""

    starts: np.ndarray

    def __init__(self, sequence: int, transform: Callable[[Any], torch.Tensor] | None) -> None:
        self.sequence = int(sequence)
        self.transform = ToTensor() if transform is None else transform

    def _read(self, start: int) -> tuple[Iterable[Any], np.ndarray]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, angles = self._read(int(self.starts[index]))
        frames = [self.transform(image) for image in images]
        if not all(isinstance(f, torch.Tensor) and f.shape == frames[0].shape for f in frames):
            raise InputError(
                f"{type(self).__name__}: the transform gave {type(frames[0]).__name__}s of different kinds or shapes; "
                "tensors (C, H, W) of one shape are expected, so it ends with ToTensor and Normalize"
            )
        return torch.stack(frames, dim=-1), torch.tensor(angles, dtype=frames[0].dtype)


class PilotNetDataset(_Drive):
    """The recorded drive, from the folder ``driving_dataset`` with ``<n>.jpg`` and ``data.txt``.

    A line of data.txt is ``<n>.jpg <angle in degrees>``, optionally followed by ``,<time>``; images
    may also lie in a folder ``data`` beside it. Needs Pillow to decode them.

    Args:
        path: folder that holds ``driving_dataset`` (or ``driving_dataset.zip``, see extract), or is
            it. Default "data".
        sequence: frames a sequence. Default 16; frames left over at the end are not used.
        train: 80 % of the sequences, else the other 20 %; drawn by lava-dl's permutation (seed 42),
            so both sets are its sets.
        visualize: do not permute: the train set is then the first 80 % in the order of the drive,
            the test set the last 20 %.
        transform: image to tensor (C, H, W); images are uint8 arrays (H, W, 3). Default
            transforms.ToTensor().
        extract: unpack driving_dataset.zip where the folder is missing. Default True.

    As in lava-dl, an angle of exactly zero (an anomaly of the recording) becomes the mean of its
    neighbours', except in the first frame of a sequence. Reference: lava-dl 0.6, tutorials,
    pilotnet_dataset.

    Raises:
        InputError: there is no data set, or it is damaged; the message names file and line.
    """

    @arguments(
        path=PATH, sequence=_COUNT, train=FLAG, visualize=FLAG, transform=_TRANSFORM, extract=FLAG
    )
    def __init__(
        self,
        path: str | os.PathLike[str] = "data",
        sequence: int = 16,
        train: bool = True,
        visualize: bool = False,
        transform: Callable[[Any], torch.Tensor] | None = None,
        extract: bool = True,
    ) -> None:
        super().__init__(sequence, transform)
        self.path = _folder(Path(path), extract)
        self.images = self.path / "data" if (self.path / "data").is_dir() else self.path
        self.names, self.angles = _labels(self.path / "data.txt")
        total = len(self.names) // sequence
        order = np.arange(total) if visualize else np.random.RandomState(42).permutation(total)
        share = len(self.names) / sequence
        kept = (
            order[: int(share * TRAIN_SHARE)] if train else order[total - int(share * TEST_SHARE) :]
        )
        if not len(kept):
            raise InputError(
                f"{self.path / 'data.txt'}: {len(self.names)} frames make {total} sequences of {sequence}: none is left for "
                f"{'training' if train else 'testing'}"
            )
        self.starts = kept * sequence

    def _read(self, start: int) -> tuple[list[np.ndarray], np.ndarray]:
        angles = self.angles[start : start + self.sequence].copy()
        for i in range(1, self.sequence):
            if abs(angles[i]) < 1e-5 and start + i + 1 < len(self.angles):
                angles[i] = (self.angles[start + i - 1] + self.angles[start + i + 1]) / 2
        return [
            _decode(self.images / name) for name in self.names[start : start + self.sequence]
        ], np.radians(angles)


def _folder(path: Path, extract: bool) -> Path:
    for folder in (path / "driving_dataset", path):
        if (folder / "data.txt").is_file():
            return folder
    archive = path / "driving_dataset.zip"
    if extract and archive.is_file():
        _unpack(archive)
        return _folder(path, False)
    hint = (
        f"driving_dataset.zip is there, and is unpacked with extract=True: {archive}"
        if archive.is_file()
        else (
            "Put the data set there (driving_dataset.zip, linked from github.com/SullyChen/driving-datasets), or correct path"
        )
    )
    raise InputError(
        f"{path / 'driving_dataset' / 'data.txt'}: no such file. {hint}; or train on a rendered drive, "
        "which needs no files: lavalike.datasets.SyntheticDrive"
    )


def _unpack(archive: Path) -> None:
    """To a temporary folder first, so that an interruption leaves no half of a data set."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".unpacking-") as temporary:
        try:
            with zipfile.ZipFile(archive) as z:
                z.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, zlib.error) as e:
            raise InputError(f"{archive}: not a whole zip file: {e}") from e
        found = next(Path(temporary).rglob("data.txt"), None)
        if found is None:
            raise InputError(
                f"{archive}: expected a folder with data.txt in it; found {len(list(Path(temporary).rglob('*')))} other files"
            )
        shutil.move(found.parent, archive.parent / "driving_dataset")


def _labels(path: Path) -> tuple[list[str], np.ndarray]:
    names, angles = [], []
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        if not line.strip():
            continue
        name, _, rest = " ".join(line.split()).partition(" ")
        try:
            angle = float(rest.split(",")[0])
        except ValueError:
            angle = math.nan
        if not math.isfinite(angle) or Path(name).name != name:
            raise InputError(
                f"{path}: line {number} is {line[:80]!r}; '<image file> <angle in degrees>' is expected"
            )
        names.append(name)
        angles.append(angle)
    return names, np.array(angles)


def _decode(path: Path) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "PilotNetDataset decodes JPEG files with Pillow: pip install pillow", name="PIL"
        ) from e
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such file, though data.txt lists it") from e
    except (UnidentifiedImageError, OSError, SyntaxError) as e:
        raise InputError(f"{path}: not a whole image: {e}") from e


class SyntheticDrive(_Drive):
    """A drive that is rendered: a winding road seen from the right lane, in changing light.

    Curvature, the car's wandering in the lane, light and shadows are sums of slow oscillations
    along the road, so every frame is a function of seed and frame number alone, and neighbouring
    frames are alike. The label is what pure pursuit (Coulter 1992, CMU-RI-TR-92-01) steers for the
    middle of the lane 14 m ahead: ``16 atan(2 L y / d^2)`` with wheelbase L = 2.7 m and steering
    ratio 16. Its standard deviation is about 0.3 rad.

    Example:
        >>> drive = datasets.SyntheticDrive(train=True, sequences=10)
        >>> images, angles = drive[0]
        >>> images.shape, angles.shape
        (torch.Size([3, 33, 100, 16]), torch.Size([16]))

    Args:
        sequence: frames a sequence. Default 16.
        train: the first 80 % of the drive, else the last 20 %: no test frame is beside a training
            frame.
        visualize: sequences in the order of the drive, not permuted.
        transform: image to tensor (C, H, W); images are uint8 arrays (H, W, 3). Default
            transforms.ToTensor().
        sequences: length of the whole drive. Default 500: 400 to train on and 100 to test.
        size: (height, width) of the images. Default (33, 100).
        seed: another road for another number.
        speed: metres a frame, above 0. Default 0.5.
        cache: keep rendered sequences, 9.9 kB a frame of the default size; a DataLoader's workers
            keep their own. Default True.
    """

    @arguments(
        sequence=_COUNT,
        train=FLAG,
        visualize=FLAG,
        transform=_TRANSFORM,
        sequences=_COUNT,
        size=_SIZE,
        seed=integer(0),
        speed=real(above=0),
        cache=FLAG,
    )
    def __init__(
        self,
        sequence: int = 16,
        train: bool = True,
        visualize: bool = False,
        transform: Callable[[Any], torch.Tensor] | None = None,
        sequences: int = 500,
        size: tuple[int, int] = (33, 100),
        seed: int = 0,
        speed: float = 0.5,
        cache: bool = True,
    ) -> None:
        super().__init__(sequence, transform)
        self.size = (int(size[0]), int(size[1]))
        self.seed, self.speed = int(seed), float(speed)
        self.road = Road(seed)
        kept = int(sequences * TRAIN_SHARE)
        order = np.arange(kept) if train else np.arange(kept, sequences)
        if not len(order):
            raise InputError(
                f"SyntheticDrive: {sequences} sequences leave none for training; at least 2 are needed"
            )
        self.starts = (
            order if visualize else np.random.default_rng((seed, 42)).permutation(order)
        ) * sequence
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] | None = {} if cache else None

    def _read(self, start: int) -> tuple[np.ndarray, np.ndarray]:
        if self._cache is not None and start in self._cache:
            images, angles = self._cache[start]
            return images.copy(), angles  # a transform may write into what it gets
        frames = np.arange(start, start + self.sequence)
        images = self.road.render(frames * self.speed, self.size)
        noise = np.stack(
            [
                np.random.default_rng((self.seed, int(f))).normal(0, 2.0, (*self.size, 1))
                for f in frames
            ]
        )
        images = np.clip(images + noise, 0, 255).astype(np.uint8)
        angles = self.road.steering(frames * self.speed)
        if self._cache is not None:
            self._cache[start] = images.copy(), angles
        return images, angles


class _Waves:
    """``sum a sin(w s + p)`` of random waves, with the wavelengths' range in metres and the sum's
    standard deviation."""

    def __init__(
        self, g: np.random.Generator, count: int, shortest: float, longest: float, deviation: float
    ) -> None:
        self.w = 2 * np.pi / np.exp(g.uniform(np.log(shortest), np.log(longest), count))
        self.p = g.uniform(0, 2 * np.pi, count)
        self.a = deviation * math.sqrt(2 / count)

    def __call__(self, s: np.ndarray, integrals: int = 0) -> np.ndarray:
        """The sum at ``s``, or its first or second integral."""
        phase = s[..., None] * self.w + self.p
        value = (np.sin(phase), -np.cos(phase), -np.sin(phase))[integrals]
        return self.a * (value / self.w**integrals).sum(-1)


class Road:
    """A road and what is around it, along the arc length s in metres.

    Flat ground under a pinhole camera 1.3 m up that looks ahead: ``v`` rows below the horizon is
    what is ``1.3 f / v`` metres away. Curvature is integrated twice, in closed form, for where the
    lane is at that distance. Focal lengths are 0.8 of the width and 1.2 of the height, so the field
    of view is 64 by 45 degrees for any size, and pixels need not be square.
    """

    WHEELBASE, RATIO, AHEAD = 2.7, 16.0, 14.0
    CAMERA, LANE, EDGE = 1.3, 3.5, 0.3  # m: height; width of a lane; asphalt beyond the line

    def __init__(self, seed: int) -> None:
        g = np.random.default_rng((seed, 7))
        self.curvature = _Waves(g, 16, 60, 400, 0.0065)  # 1/m, to the right
        self.offset = _Waves(
            g, 8, 40, 200, 0.2
        )  # m, of the car from the middle of its lane, to the right
        self.yaw = _Waves(
            g, 8, 40, 200, 0.012
        )  # rad, of the car from the road's direction, to the right
        self.light = _Waves(g, 8, 60, 500, 0.16)
        self.hue = _Waves(g, 8, 200, 900, 0.5)
        self.shade = _Waves(g, 12, 12, 60, 1.0)
        self.hills = _Waves(g, 10, 0.15, 1.5, 1.0)  # over the azimuth in rad
        self.grain = [_Waves(g, 5, 2.5, 9, 1.0) for _ in range(2)]

    def lane(self, s: np.ndarray, ahead: np.ndarray | np.float64) -> np.ndarray:
        """Where the middle of the lane is ``ahead`` metres before the car, in metres to the right;
        s broadcasts with ahead."""
        heading = self.curvature(s, 1) + self.yaw(s)
        return (
            self.curvature(s + ahead, 2) - self.curvature(s, 2) - heading * ahead - self.offset(s)
        )

    def steering(self, s: np.ndarray) -> np.ndarray:
        """Angle of the steering wheel in rad, positive to the right."""
        y = self.lane(s, np.float64(self.AHEAD))
        return self.RATIO * np.arctan(2 * self.WHEELBASE * y / self.AHEAD**2)

    def render(self, s: np.ndarray, size: tuple[int, int] = (33, 100)) -> np.ndarray:
        """Views at the arc lengths ``s`` (T,): float32 (T, height, width, 3), 0..255."""
        height, width = size
        focal = 0.8 * width
        horizon = 0.36 * height
        u = ((np.arange(width) + 0.5 - width / 2) / focal).astype(np.float32)
        v = np.arange(height) + 0.5 - horizon
        top = int((v <= 0).sum())
        light = np.exp(self.light(s)).astype(np.float32)[:, None, None]
        hue = np.tanh(self.hue(s)).astype(np.float32)[:, None, None]
        out = np.empty((len(s), height, width, 3), np.float32)
        out[:, :top] = self._sky(s, u, v[:top] / focal, hue)
        distance = self.CAMERA * 1.2 * height / v[top:]
        out[:, top:] = self._ground(s, u, distance, focal, hue)
        out *= light[..., None]
        return out

    def _sky(self, s: np.ndarray, u: np.ndarray, v: np.ndarray, hue: np.ndarray) -> np.ndarray:
        rise = (v / v[0]).astype(np.float32)[:, None]  # 0 at the horizon, 1 at the top
        sky = (
            np.stack([150 - 50 * rise, 175 - 30 * rise, 200 + 10 * rise], -1)[None]
            + 12 * hue[..., None]
        )
        azimuth = np.arctan(u) + (self.curvature(s, 1) + self.yaw(s))[:, None]
        ridge = (0.3 + 0.13 * self.hills(azimuth)).astype(np.float32)[:, None, :]
        cover = np.clip((ridge - rise) * len(v) + 0.5, 0, 1)[..., None]
        return sky + cover * (np.array([70, 92, 80], np.float32) - sky)

    def _ground(
        self, s: np.ndarray, u: np.ndarray, z: np.ndarray, focal: float, hue: np.ndarray
    ) -> np.ndarray:
        centre = self.lane(s[:, None], z[None]).astype(np.float32)[..., None]
        depth = z.astype(np.float32)[None, :, None]
        x = u * depth - centre  # m to the right of the middle of the lane
        footprint = depth / focal
        along = s[:, None] + z[None]

        def within(low: float, high: float) -> np.ndarray:
            """Share of a pixel between two lines beside the lane."""
            middle, half = (low + high) / 2, (high - low) / 2
            return np.clip(
                (half - np.abs(x - middle)) / footprint + 0.5,
                0,
                np.minimum(1, (high - low) / footprint),
            )

        half = self.LANE / 2
        near = np.clip(10 / z, 0.1, 1).astype(np.float32)[
            None, :, None
        ]  # texture fades where pixels are too coarse for it
        rough = self.grain[0](along).astype(np.float32)[..., None] * np.sin(
            2.1 * x + self.grain[1](along).astype(np.float32)[..., None]
        )
        rough *= near
        grass = np.stack(
            [86 + 14 * hue + 9 * rough, 104 - 6 * hue + 10 * rough, 62 + 6 * rough], -1
        )
        asphalt = 88 + 3 * rough + 8 * hue
        dashes = 1 / (
            1 + np.exp(-4 * (np.sin(2 * np.pi / 12 * along) * 12 / (2 * np.pi) + 0.5))
        )  # about 6.5 m in 12
        paint = np.maximum(
            within(half - 0.12, half + 0.12), within(-3 * half - 0.12, -3 * half + 0.12)
        )
        paint = np.maximum(
            paint, within(-half - 0.09, -half + 0.09) * dashes.astype(np.float32)[..., None]
        )
        tarmac = within(-3 * half - self.EDGE, half + self.EDGE)[..., None]
        road = (asphalt + paint * (205 - asphalt))[..., None]
        shadow = 1 - 0.3 / (1 + np.exp(-5 * (self.shade(along) - 1)))
        return (grass + tarmac * (road - grass)) * shadow.astype(np.float32)[..., None, None]
