"""MNIST (LeCun, Cortes, Burges), from the original idx files, from an npz file, or the 1,000 images
that ship with the package."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.utils.data import Dataset

from lavalike.arguments import FLAG, FUNCTION, PATH, arguments, optional
from lavalike.datasets.transforms import ToTensor
from lavalike.errors import InputError

SIDE = 28
MOST = 1_000_000  # images in a file; more is taken for a damaged header
DAMAGES = (
    OSError,
    EOFError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
)


class MNIST(Dataset[tuple[Any, int]]):
    """Handwritten digits as pairs of image and label.

    Args:
        root: an npz file with x_train, y_train, x_test and y_test (keras' form), or a folder with
            that file as ``mnist.npz``, or with the idx files ``train-images-idx3-ubyte``,
            ``train-labels-idx1-ubyte``, ``t10k-...``, plain or ``.gz``, there or in ``MNIST/raw``
            (torchvision's layout). idx files are preferred, plain before compressed.
        train: the training images (60,000 in the original), else the test images (10,000).
        transform: applied to the image, a uint8 array (28, 28, 1). Default transforms.ToTensor():
            float32 (1, 28, 28) in 0..1.

    ``data`` (N, 28, 28) uint8 and ``targets`` (N,) int64 hold all of it as tensors.

    Raises:
        InputError: a file is missing or damaged; the message says which, what was expected and what
            is there.
    """

    @arguments(root=PATH, train=FLAG, transform=optional(FUNCTION))
    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        self.path, images, labels = _find(Path(root), train)
        if (
            images.shape[1:] != (SIDE, SIDE)
            or images.dtype != np.uint8
            or labels.shape != (len(images),)
            or len(images) == 0
        ):
            raise InputError(
                f"{self.path}: expected uint8 images (N, {SIDE}, {SIDE}) and labels (N,); found {images.dtype} {images.shape} "
                f"and {labels.dtype} {labels.shape}"
            )
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
            raise InputError(
                f"{self.path}: labels are integers in 0..9; found {labels.dtype} in {labels.min()}..{labels.max()}"
            )
        self.transform = ToTensor() if transform is None else transform
        self._images = images
        self.data, self.targets = (
            torch.from_numpy(images),
            torch.from_numpy(labels.astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self._images[index][:, :, None].copy()), int(self.targets[index])


@arguments(train=FLAG, transform=optional(FUNCTION))
def mnist_sample(train: bool = True, transform: Callable[[np.ndarray], Any] | None = None) -> MNIST:
    """The images that ship with the package: 800 to train on, 200 to test, each digit equally
    often; see data/README.md."""
    return MNIST(Path(__file__).parent / "data" / "mnist_sample.npz", train, transform)


def _find(root: Path, train: bool) -> tuple[Path, np.ndarray, np.ndarray]:
    """The file with the images, images, labels."""
    if root.is_file():
        return root, *_npz(root, train)
    part = "train" if train else "t10k"
    for folder in (root, root / "MNIST" / "raw"):
        found = [
            next(
                (p for end in ("", ".gz") if (p := folder / f"{part}-{name}-ubyte{end}").is_file()),
                None,
            )
            for name in ("images-idx3", "labels-idx1")
        ]
        if found[0] is not None and found[1] is not None:
            return found[0], _idx(found[0], 3), _idx(found[1], 1)
        if found != [None, None]:
            there, missing = ("images-idx3", "labels-idx1")[:: 1 if found[0] is not None else -1]
            raise InputError(
                f"{folder / f'{part}-{missing}-ubyte'}: no such file (nor .gz), though {part}-{there}-ubyte is there"
            )
    if (root / "mnist.npz").is_file():
        return root / "mnist.npz", *_npz(root / "mnist.npz", train)
    raise InputError(
        f"{root}: expected a folder with {part}-images-idx3-ubyte and {part}-labels-idx1-ubyte (plain or .gz) or mnist.npz, "
        f"or an npz file; found {'none of them' if root.is_dir() else 'no such file or folder'}. "
        "Correct root; lavalike.datasets.mnist_sample() needs no files"
    )


def _idx(path: Path, axes: int) -> np.ndarray:
    """An idx file of unsigned bytes with ``axes`` axes: 0, 0, 8, axes, the sizes as big-endian
    uint32, the bytes."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if head != bytes([0, 0, 8, axes]):
                raise InputError(
                    f"{path}: expected an idx file of unsigned bytes with {axes} axes, which begins with 0000080{axes}; "
                    f"found {head.hex() or 'nothing'}"
                )
            sizes = struct.unpack(f">{axes}I", file.read(4 * axes))
            if sizes[0] > MOST or any(n != SIDE for n in sizes[1:]):
                raise InputError(
                    f"{path}: expected at most {MOST:,} items{f' of {SIDE}x{SIDE}' if axes == 3 else ''}; found sizes {sizes}"
                )
            return _bytes(file, path, sizes)
    except InputError:
        raise
    except DAMAGES as e:
        raise InputError(f"{path}: damaged: {e}") from e


def _bytes(file: BinaryIO | gzip.GzipFile, path: Path, sizes: tuple[int, ...]) -> np.ndarray:
    expected = math.prod(sizes)
    content = file.read(expected + 1)
    if len(content) != expected:
        found = "more" if len(content) > expected else len(content)
        raise InputError(f"{path}: expected {expected} bytes for sizes {sizes}; found {found}")
    return np.frombuffer(bytearray(content), np.uint8).reshape(sizes)


def _npz(path: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels. Headers are read first: a member is allocated only as far as the file says
    it goes."""
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for key in ("x_train", "y_train") if train else ("x_test", "y_test"):
                if f"{key}.npy" not in archive.namelist():
                    found = ", ".join(archive.namelist()[:8]) or "none"
                    raise InputError(
                        f"{path}: expected the arrays x_train, y_train, x_test, y_test; found {found}"
                    )
                with archive.open(f"{key}.npy") as file:
                    arrays.append(
                        _npy(file, f"{path}: {key}", archive.getinfo(f"{key}.npy").file_size)
                    )
    except InputError:
        raise
    except DAMAGES as e:
        raise InputError(f"{path}: damaged, or not an npz file: {e}") from e
    return arrays[0], arrays[1]


def _npy(file: Any, name: str, size: int) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise InputError(f"{name}: expected npy format 1.0 or 2.0; found {version}")
    shape, fortran, dtype = read(file)
    expected, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if (
        dtype.kind not in "iu"
        or fortran
        or not 0 < len(shape) <= 3
        or not 0 < shape[0] <= MOST
        or expected != there
    ):
        raise InputError(
            f"{name}: expected integers (N, {SIDE}, {SIDE}) or (N,) in C order, N up to {MOST:,}, filling the {there} bytes "
            f"there are; found {dtype} {shape}{' in Fortran order' if fortran else ''}"
        )
    content = file.read(expected)
    if len(content) != expected:
        raise InputError(f"{name}: expected {expected} bytes; found {len(content)}")
    return np.frombuffer(bytearray(content), dtype).reshape(shape)
