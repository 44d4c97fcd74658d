"""The Yin-Yang data set as hxtorch.spiking has it: drawn once, kept, float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from lavalike.arguments import FUNCTION, arguments, integer, optional, real
from lavalike.bss2 import yinyang as plane
from lavalike.errors import InputError


class YinYangDataset(Dataset[tuple[Any, int]]):
    """``size`` pairs of (x, y, 1 - x, 1 - y), a float64 array, and a label 0, 1, 2, an int; the
    same pair for the same index. :class:`lavalike.datasets.YinYangDataset` draws fresh ones on
    every access instead, the same stream in float32.

    Args:
        r_small, r_big: radii of the dots and of the disc. Defaults 0.1, 0.5.
        size: samples, default 1000.
        seed: of ``numpy.random.RandomState``, default 42.
        transform: of each array, when it is taken. Default None.

    Raises:
        InputError: a size below 1, or not ``0 < 2 r_small < r_big``.
    """

    class_names = ("yin", "yang", "dot")

    @arguments(
        r_small=real(),
        r_big=real(),
        size=integer(1),
        seed=integer(0, 2**32 - 1),
        transform=optional(FUNCTION),
    )
    def __init__(
        self,
        r_small: float = 0.1,
        r_big: float = 0.5,
        size: int = 1000,
        seed: int = 42,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.r_small, self.r_big, self.transform = r_small, r_big, transform
        if not 0 < r_small < r_big / 2:
            raise InputError(
                f"YinYangDataset: 0 < r_small < r_big / 2 is needed, got r_small {r_small}, r_big {r_big}"
            )
        self.rng = np.random.RandomState(seed)
        self._points, labels = plane.points(self.rng, size, r_small, r_big)
        self._labels = labels.tolist()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        x, y = self._points[index]
        sample = np.array([x, y, 1.0 - x, 1.0 - y])
        return sample if self.transform is None else self.transform(sample), self._labels[index]

    def get_sample(self, goal: int | None = None) -> tuple[float, float, int]:
        """One more point and its class, of class ``goal`` where one is told."""
        if goal is not None and goal not in range(len(self.class_names)):
            raise InputError(
                f"YinYangDataset: goal is the number of a class, 0..{len(self.class_names) - 1}, got {goal!r}"
            )
        while True:
            x, y = self.rng.rand(2) * 2.0 * self.r_big
            if np.hypot(x - self.r_big, y - self.r_big) > self.r_big:
                continue
            label = self.which_class(x, y)
            if goal is None or label == goal:
                return float(x), float(y), label

    def which_class(self, x: float, y: float) -> int:
        """The class of a point, a place in ``class_names``."""
        at = np.float64(x), np.float64(y)
        return int(plane.class_of(*at, self.r_small, self.r_big))  # type: ignore[arg-type]  # numbers are arrays here

    def dist_to_right_dot(self, x: float, y: float) -> float:
        """From a point to the middle of the right dot."""
        return float(np.hypot(x - 1.5 * self.r_big, y - self.r_big))

    def dist_to_left_dot(self, x: float, y: float) -> float:
        """From a point to the middle of the left dot."""
        return float(np.hypot(x - 0.5 * self.r_big, y - self.r_big))
