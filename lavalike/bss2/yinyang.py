"""The Yin-Yang plane (Kriener, Goeltz, Petrovici 2021, arXiv:2102.08211) and how the BrainScaleS-2
tutorials draw its points, in numpy alone: of :class:`lavalike.datasets.YinYangDataset` and
:class:`lavalike.bss2.spiking.datasets.yinyang.YinYangDataset`."""

from __future__ import annotations

import numpy as np

CLASSES = 3
WORDS = 4  # 32-bit words of the generator in one drawn point


def class_of(x: np.ndarray, y: np.ndarray, r_small: float, r_big: float) -> np.ndarray:
    """0 yin, 1 yang, 2 dot, int64, of points in the square of side ``2 r_big``."""
    d_right = np.sqrt((x - 1.5 * r_big) ** 2 + (y - r_big) ** 2)
    d_left = np.sqrt((x - 0.5 * r_big) ** 2 + (y - r_big) ** 2)
    dot = (d_right < r_small) | (d_left < r_small)
    yin = (
        (d_right <= r_small)
        | ((d_left > r_small) & (d_left <= 0.5 * r_big))
        | ((y > r_big) & (d_right > 0.5 * r_big))
    )
    return np.where(dot, 2, np.where(yin, 1, 0))


def points(
    rng: np.random.RandomState, n: int, r_small: float, r_big: float
) -> tuple[np.ndarray, np.ndarray]:
    """The next ``n`` points, float64 (n, 2), and their classes, int64 (n,): of ``rng`` first the
    wanted class ``randint(3)``, then ``rand(2) * 2 r_big`` until a point lies in the disc and in
    that class."""
    state = rng.get_state()
    words = np.empty(0, np.uint32)
    taken: tuple[np.ndarray, np.ndarray, int] | None = None
    while taken is None:
        # a sample takes 31 words on average at the default radii
        words = np.concatenate([words, rng.randint(0, 2**32, 40 * n + 400, np.uint32)])
        taken = _parse(words, n, r_small, r_big)
    x, y, used = taken
    rng.set_state(state)
    rng.randint(0, 2**32, used, np.uint32)
    return np.stack([x, y], 1), class_of(x, y, r_small, r_big)


def _parse(
    words: np.ndarray, n: int, r_small: float, r_big: float
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Points ``x``, ``y`` (float64) that the generator's words stand for and how many words they
    are; None: too few words.

    ``randint(3)`` takes words until the low two bits of one are below 3; ``rand`` makes a number of
    the high 27 and 26 bits of two.
    """
    count = len(words) - WORDS + 1
    uniform = (words[:-1] >> 5) * 67108864.0
    uniform += words[1:] >> 6
    uniform *= 2 * r_big / 9007199254740992.0
    x, y = uniform[:count], uniform[2 : 2 + count]
    label = class_of(x, y, r_small, r_big)
    label[np.sqrt((x - r_big) ** 2 + (y - r_big) ** 2) > r_big] = CLASSES
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
