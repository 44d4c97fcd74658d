"""Data of the demo: Yin-Yang, drawn from its formula, and MNIST from a file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lavalike.datasets.yinyang import yin_yang_class as yin_yang_class
from lavalike.errors import InputError


@dataclass(frozen=True)
class Data:
    """Training and test inputs ``(samples, features)`` in 0..1 and integer labels."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.y_train.max()) + 1


def yin_yang(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (x, y, 1-x, 1-y) in the unit disc of the figure, the classes equally often, and their
    classes."""
    g = np.random.default_rng(seed)
    wanted = g.integers(0, 3, samples)
    points = np.empty((samples, 2))
    missing = np.arange(samples)
    while missing.size:
        drawn = g.random((missing.size, 2))
        inside = np.hypot(drawn[:, 0] - 0.5, drawn[:, 1] - 0.5) <= 0.5
        good = inside & (yin_yang_class(drawn[:, 0], drawn[:, 1]) == wanted[missing])
        points[missing[good]] = drawn[good]
        missing = missing[~good]
    return np.concatenate([points, 1 - points], 1), wanted


def yin_yang_data() -> Data:
    """8,000 training and 2,000 test samples."""
    return Data("yin-yang", *yin_yang(8000, 1), *yin_yang(2000, 2))


def mnist_data(path: Path) -> Data:
    """MNIST from an npz file with x_train, y_train, x_test, y_test (28x28, 0..255)."""
    try:
        with np.load(path, allow_pickle=False) as z:
            arrays = {k: z[k] for k in ("x_train", "y_train", "x_test", "y_test")}
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        EOFError,
        zipfile.BadZipFile,
    ) as e:
        raise InputError(
            f"{path}: not an npz file with x_train, y_train, x_test and y_test: {e}"
        ) from e
    x = {k: arrays[k].reshape(len(arrays[k]), -1) / 255 for k in ("x_train", "x_test")}
    if x["x_train"].shape[1] != x["x_test"].shape[1] or len(x["x_test"]) != len(arrays["y_test"]):
        raise InputError(
            f"{path}: shapes do not fit: " + ", ".join(f"{k} {v.shape}" for k, v in arrays.items())
        )
    return Data(
        "mnist",
        x["x_train"],
        arrays["y_train"].astype(np.int64),
        x["x_test"],
        arrays["y_test"].astype(np.int64),
    )
