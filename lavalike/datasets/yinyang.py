"""The Yin-Yang data set (Kriener, Goeltz, Petrovici 2021, arXiv:2102.08211), as the BrainScaleS-2
tutorials draw it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from lavalike.arguments import (
    arguments,
    integer,
    numbers,
    real,
    whole,
)
from lavalike.bss2.yinyang import class_of, points
from lavalike.errors import InputError

_SIZE, _SEED = integer(1), integer(0, 2**32 - 1)


@arguments(x=numbers(), y=numbers(), r_small=real(above=0), r_big=real(above=0))
def yin_yang_class(
    x: np.ndarray, y: np.ndarray, r_small: float = 0.1, r_big: float = 0.5
) -> np.ndarray:
    """0 yin, 1 yang, 2 dot for points in the square of side ``2 r_big``; the names are the
    published drawing's."""
    return class_of(np.asarray(x), np.asarray(y), r_small, r_big)


class YinYangDataset(Dataset[tuple[torch.Tensor, int]]):
    """Pairs of ``(x, y, 1 - x, 1 - y)``, a float32 tensor, and a label 0, 1, 2; fresh ones on every
    access.

    The draws are the tutorials', bit for bit: of ``numpy.random.RandomState(seed)`` first the
    wanted class ``randint(3)``, then points ``rand(2) * 2 r_big`` until one lies in the disc and in
    that class. Which index is asked for plays no part.

    That holds in the process that made it. Each worker process of a DataLoader starts a stream of
    its own, from ``seed`` and the seed torch gives that worker (``torch.manual_seed`` or the
    loader's generator rules it), so that neither workers nor epochs repeat one another.

    Example:
        >>> points, labels = datasets.YinYangDataset(seed=1).batch(5)
        >>> points.shape, labels.shape
        (torch.Size([5, 4]), torch.Size([5]))

    Args:
        r_small: radius of the dots. Default 0.1.
        r_big: radius of the disc, which touches the axes. Default 0.5.
        size: the length it tells; an epoch. Default 1000.
        seed: of the generator, 0..2**32 - 1. Default 42.

    Raises:
        InputError: ``size`` below 1, a seed outside its range, or not ``0 < r_small < r_big / 2``,
            where every class has points to find.
        IndexError: an index beyond ``size``.
    """

    @arguments(r_small=real(), r_big=real(), size=_SIZE, seed=_SEED)
    def __init__(
        self, r_small: float = 0.1, r_big: float = 0.5, size: int = 1000, seed: int = 42
    ) -> None:
        if not 0 < r_small < r_big / 2:
            raise InputError(
                f"YinYangDataset: 0 < r_small < r_big / 2 is needed, got r_small {r_small}, r_big {r_big}"
            )
        self.size, self.seed = int(size), int(seed)
        self.rng = np.random.RandomState(self.seed)
        self.r_small, self.r_big = r_small, r_big
        self._worker: int | None = None  # seed of the worker process whose stream this is

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[torch.Tensor, int]]:
        for index in indices:
            if not -self.size <= index < self.size:
                raise IndexError(
                    f"YinYangDataset: index {index} is beyond the {self.size} samples of an epoch"
                )
        samples, labels = self.batch(len(indices))
        return list(zip(samples, labels.tolist(), strict=True))

    def batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The next ``n`` samples, float32 (n, 4), and their labels, int64 (n,): what ``n`` accesses
        give, in a tenth of the time."""
        n, worker = whole(n, 0, "YinYangDataset: samples of a batch"), get_worker_info()
        if worker is not None and worker.seed != self._worker:
            self._worker = worker.seed
            self.rng = np.random.RandomState(
                np.random.MT19937(np.random.SeedSequence([self.seed, worker.seed]))
            )
        samples, labels = self._draw(n)
        return torch.from_numpy(samples), torch.from_numpy(labels)

    def _draw(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        at, labels = points(self.rng, n, self.r_small, self.r_big)
        x, y = at.T
        return np.stack([x, y, 1 - x, 1 - y], 1).astype(np.float32), labels


@arguments(size=_SIZE, seed=_SEED)
def yin_yang(size: int, seed: int = 42) -> tuple[torch.Tensor, torch.Tensor]:
    """The first ``size`` samples (float32 (size, 4)) and labels (int64) of
    ``YinYangDataset(seed=seed)``."""
    return YinYangDataset(size=size, seed=seed).batch(size)
