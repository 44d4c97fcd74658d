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
from lavalike.errors import InputError

CLASSES = 3
WORDS = 4  # 32-bit words of the generator in one drawn point


_SIZE, _SEED = integer(1), integer(0, 2**32 - 1)


@arguments(x=numbers(), y=numbers(), r_small=real(above=0), r_big=real(above=0))
def yin_yang_class(
    x: np.ndarray, y: np.ndarray, r_small: float = 0.1, r_big: float = 0.5
) -> np.ndarray:
    """0 yin, 1 yang, 2 dot for points in the square of side ``2 r_big``; the names are the
    published drawing's."""
    return _class(np.asarray(x), np.asarray(y), r_small, r_big)


def _class(x: np.ndarray, y: np.ndarray, r_small: float, r_big: float) -> np.ndarray:
    d_right = np.sqrt((x - 1.5 * r_big) ** 2 + (y - r_big) ** 2)
    d_left = np.sqrt((x - 0.5 * r_big) ** 2 + (y - r_big) ** 2)
    dot = (d_right < r_small) | (d_left < r_small)
    yin = (
        (d_right <= r_small)
        | ((d_left > r_small) & (d_left <= 0.5 * r_big))
        | ((y > r_big) & (d_right > 0.5 * r_big))
    )
    return np.where(dot, 2, np.where(yin, 1, 0))


class YinYangDataset(Dataset[tuple[torch.Tensor, int]]):
    """Pairs of ``(x, y, 1 - x, 1 - y)``, a float32 tensor, and a label 0, 1, 2; fresh ones on every
    access.

    The draws are the tutorials', bit for bit: of ``numpy.random.RandomState(seed)`` first the
    wanted class ``randint(3)``, then points ``rand(2) * 2 r_big`` until one lies in the disc and in
    that class. Which index is asked for plays no part.

    That holds in the process that made it. Each worker process of a DataLoader starts a stream of
    its own, from ``seed`` and the seed torch gives that worker (``torch.manual_seed`` or the
    loader's generator rules it), so that neither workers nor epochs repeat one another.

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
        at, labels = self.points(n)
        x, y = at.T
        return np.stack([x, y, 1 - x, 1 - y], 1).astype(np.float32), labels

    def points(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The next ``n`` points, float64 (n, 2), and their labels, int64 (n,)."""
        state = self.rng.get_state()
        words = np.empty(0, np.uint32)
        taken: tuple[np.ndarray, np.ndarray, int] | None = None
        while taken is None:
            # a sample takes 31 words on average at the default radii
            words = np.concatenate([words, self.rng.randint(0, 2**32, 40 * n + 400, np.uint32)])
            taken = self._parse(words, n)
        x, y, used = taken
        self.rng.set_state(state)
        self.rng.randint(0, 2**32, used, np.uint32)
        return np.stack([x, y], 1), _class(x, y, self.r_small, self.r_big)

    def _parse(self, words: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, int] | None:
        """Points ``x``, ``y`` (float64) that the generator's words stand for and how many words
        they are; None: too few words.

        ``randint(3)`` takes words until the low two bits of one are below 3; ``rand`` makes a
        number of the high 27 and 26 bits of two.
        """
        count = len(words) - WORDS + 1
        uniform = (words[:-1] >> 5) * 67108864.0
        uniform += words[1:] >> 6
        uniform *= 2 * self.r_big / 9007199254740992.0
        x, y = uniform[:count], uniform[2 : 2 + count]
        label = _class(x, y, self.r_small, self.r_big)
        label[np.sqrt((x - self.r_big) ** 2 + (y - self.r_big) ** 2) > self.r_big] = CLASSES
        wanted = words & 3
        ask = _next(wanted < CLASSES, 1)
        point = [_next(label == c, WORDS) for c in range(CLASSES)]
        position, at = 0, []
        for _ in range(n):
            if position >= count or (asked := ask[position]) >= count - 1:
                return None
            if (found := point[wanted[asked]][asked + 1]) >= count:
                return None
            at.append(found)
            position = found + WORDS
        return x[at], y[at], position


def _next(good: np.ndarray, step: int) -> np.ndarray:
    """For every index the first of index, index + step, ... that is good; the length or more where
    none is."""
    n = len(good)
    rows = -(-n // step)
    table = np.full(rows * step, rows * step)
    table[:n][good] = np.flatnonzero(good)
    return np.minimum.accumulate(table.reshape(rows, step)[::-1])[::-1].ravel()[:n]


@arguments(size=_SIZE, seed=_SEED)
def yin_yang(size: int, seed: int = 42) -> tuple[torch.Tensor, torch.Tensor]:
    """The first ``size`` samples (float32 (size, 4)) and labels (int64) of
    ``YinYangDataset(seed=seed)``."""
    return YinYangDataset(size=size, seed=seed).batch(size)
