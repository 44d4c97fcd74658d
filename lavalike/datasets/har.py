"""Human activity recognition with a telephone worn at the waist: the public data set's files, or a
model of the motion.

The files are those of Anguita et al., "A public domain dataset for human activity recognition using
smartphones" (ESANN 2013; UCI repository): windows of 128 readings at 50 Hz of the accelerometer
without gravity (g), the gyroscope (rad/s) and the accelerometer (g), x along the body. They cannot
be shipped with this package.

The model (:func:`simulate`) draws windows of the same kind. A subject has a step frequency, an
impulse, habits of posture and a way of wearing the telephone; a window has a phase, a strength and
disturbances.

- walking: harmonics of the step frequency along and across the body, of half of it sideways and in
  rotation;
- upstairs: slower, leaning forward, smoother, rotating more in pitch; downstairs: faster, with a
  damped impact at every step;
- sitting, standing: gravity at the posture's pitch, which overlaps between subjects, with breathing
  and sway;
- laying: gravity across the body, to either side;
- all: noise of the sensors, a constant error of the gyroscope, at times an unrelated movement.

It is a model to try networks and training on, with classes as confusable as the author thought fit.
It is not the data set, and no figure obtained with it says what a network achieves on people.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from lavalike.arguments import (
    FLAG,
    PATH,
    Rule,
    arguments,
    integer,
    is_integer,
    optional,
    whole,
)
from lavalike.errors import InputError

ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "laying")
CHANNELS = tuple(
    f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"
)
LENGTH, RATE = 128, 50.0  # readings of a window, Hz
SUBJECTS, TRAIN_SUBJECTS = 30, 21  # as in the data set

# of walking, upstairs, downstairs: step frequency (Hz), its harmonics along the body and fore-aft
# (g), sideways (g), rotation in pitch and yaw (rad/s), impact (g), pitch (rad)
GAIT = np.array(
    [
        [1.85, 0.26, 0.12, 0.06, 0.16, 0.10, 0.12, 0.35, 0.45, 0.15, 0.00],
        [1.60, 0.22, 0.10, 0.03, 0.18, 0.06, 0.13, 0.60, 0.45, 0.08, 0.16],
        [1.95, 0.28, 0.16, 0.09, 0.16, 0.12, 0.15, 0.50, 0.55, 0.55, 0.05],
    ]
)


class HAR(Dataset[tuple[torch.Tensor, int]]):
    """Pairs of a window, float32 (9, 128) in the order of ``CHANNELS``, and its activity, 0..5 in
    the order of ``ACTIVITIES``.

    Args:
        path: the data set's folder, with train, test and activity_labels.txt, or the one around it;
            None: the model. Default None.
        train: the part to train on, 21 subjects, else the other 9. Default True.
        windows: the model's windows of each subject and activity. Default 50, so that there are
            6300 and 2700.
        seed: of the model's subjects and windows. Default 0.

    ``data`` (n, 9, 128) float32, ``targets`` (n,) and ``subjects`` (n,) int64, from 1, hold all of
    it as tensors.

    Raises:
        InputError: a file is missing or damaged; the message says which, what was expected and what
            is there.
    """

    @arguments(
        path=optional(PATH),
        train=FLAG,
        windows=Rule("an integer >= 1", is_integer),
        seed=integer(0),
    )
    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        train: bool = True,
        windows: int = 50,
        seed: int = 0,
    ) -> None:
        made = simulate(train, windows, seed) if path is None else load(Path(path), train)
        self.data, self.targets, self.subjects = map(torch.from_numpy, made)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.data[index], int(self.targets[index])


def load(path: Path, train: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows (n, 9, 128), activities 0..5 and subjects of one part of the data set at ``path``."""
    inner = path / "UCI HAR Dataset"
    root, part = inner if inner.is_dir() else path, "train" if train else "test"
    names = _lines(root / "activity_labels.txt")
    want = [
        ["1", "WALKING"],
        ["2", "WALKING_UPSTAIRS"],
        ["3", "WALKING_DOWNSTAIRS"],
        ["4", "SITTING"],
        ["5", "STANDING"],
        ["6", "LAYING"],
    ]
    if names != want:
        raise InputError(
            f"{root / 'activity_labels.txt'}: expected the lines {'; '.join(map(' '.join, want))}; "
            f"found {'; '.join(map(' '.join, names[:8]))}"
        )
    labels = _numbers(root / part / f"y_{part}.txt", 1)[:, 0]
    if not np.isin(labels, np.arange(1, len(ACTIVITIES) + 1)).all():
        raise InputError(
            f"{root / part / f'y_{part}.txt'}: activities are integers in 1..6; found {labels.min():g}..{labels.max():g}"
        )
    subjects = _numbers(root / part / f"subject_{part}.txt", 1, len(labels))[:, 0]
    signals = [
        _numbers(root / part / "Inertial Signals" / f"{c}_{part}.txt", LENGTH, len(labels))
        for c in CHANNELS
    ]
    return (
        np.stack(signals, 1).astype(np.float32),
        labels.astype(np.int64) - 1,
        subjects.astype(np.int64),
    )


def _lines(path: Path) -> list[list[str]]:
    try:
        return [
            line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()
        ]
    except FileNotFoundError as e:
        raise InputError(
            f"{path}: no such file; a folder with activity_labels.txt, train and test is expected. "
            "HAR() without a path draws windows from a model"
        ) from e
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read as text: {e}") from e


def _numbers(path: Path, columns: int, rows: int | None = None) -> np.ndarray:
    """A text file of so many finite numbers a line, and so many lines."""
    lines = _lines(path)
    wrong = next((k for k, line in enumerate(lines) if len(line) != columns), None)
    if wrong is not None:
        raise InputError(
            f"{path}: expected {columns} numbers in every line; found {len(lines[wrong])} in line {wrong + 1}"
        )
    if not lines or (rows is not None and len(lines) != rows):
        raise InputError(
            f"{path}: expected {rows if rows is not None else 'at least one of'} lines; found {len(lines)}"
        )
    try:
        values = np.array(lines, dtype=np.float64)
    except ValueError as e:
        raise InputError(f"{path}: expected numbers: {e}") from e
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise InputError(
            f"{path}: expected finite numbers; found {values[tuple(bad[0])]} in line {bad[0][0] + 1}"
        )
    return values


def simulate(
    train: bool = True, windows: int = 50, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows (n, 9, 128), activities 0..5 and subjects of the model; subjects 1..21 to train on,
    22..30 to test."""
    windows, seed = (
        whole(windows, 1, "HAR: windows of a subject and activity"),
        whole(seed, 0, "HAR: seed"),
    )
    who = range(1, TRAIN_SUBJECTS + 1) if train else range(TRAIN_SUBJECTS + 1, SUBJECTS + 1)
    activity = np.repeat(np.arange(len(ACTIVITIES)), windows)
    data = [_subject(np.random.default_rng([seed, subject]), activity) for subject in who]
    return (
        np.concatenate(data),
        np.tile(activity, len(who)),
        np.repeat(np.array(who), len(activity)),
    )


def _subject(rng: np.random.Generator, activity: np.ndarray) -> np.ndarray:
    """One subject's windows (n, 9, 128)."""
    gait = GAIT * (1 + 0.18 * rng.standard_normal(GAIT.shape))  # habits
    gait[:, 0] = GAIT[:, 0] * (
        1 + 0.07 * rng.standard_normal() + 0.03 * rng.standard_normal(len(GAIT))
    )
    posture = {
        "sitting": rng.normal(-0.30, 0.14),
        "standing": rng.normal(-0.02, 0.06),
        "laying": rng.normal(1.45, 0.15),
    }
    worn = _rotation(*rng.normal(0, 0.07, 3))
    gyro_error = rng.normal(0, 0.02, 3)

    n = len(activity)
    t = np.arange(LENGTH) / RATE
    moving = activity < len(GAIT)
    sitting, standing = (activity == ACTIVITIES.index(name) for name in ("sitting", "standing"))
    p = np.where(moving[:, None], gait[np.minimum(activity, len(GAIT) - 1)], 0)[:, :, None]
    vigour = rng.lognormal(0, 0.15, (n, 1))
    frequency = p[:, 0] * (1 + 0.03 * rng.standard_normal((n, 1)))
    wander = 0.03 * np.cumsum(rng.standard_normal((n, LENGTH)), 1) / np.sqrt(RATE)
    phase = frequency * t + rng.random((n, 1)) + np.where(moving[:, None], wander, 0)
    step, stride = 2 * np.pi * phase, np.pi * phase
    since = np.mod(phase, 1) / np.maximum(frequency, 1)  # s since the foot touched the ground
    impact = p[:, 9] * np.exp(-since / 0.05) * np.cos(2 * np.pi * 11 * since)

    body = (
        np.stack(
            [
                p[:, 1] * np.cos(step)
                + p[:, 2] * np.cos(2 * step + 0.7)
                + p[:, 3] * np.cos(3 * step + 1.9)
                + impact,
                p[:, 6] * np.sin(stride) + 0.3 * p[:, 6] * np.sin(3 * stride + 0.4),
                p[:, 4] * np.sin(step + 0.9) + p[:, 5] * np.sin(2 * step) + 0.4 * impact,
            ],
            1,
        )
        * vigour[:, :, None]
    )
    turn = (
        np.stack(
            [
                p[:, 8] * np.cos(stride + 0.3),
                p[:, 7] * np.cos(step + 1.2),
                0.6 * p[:, 8] * np.sin(stride),
            ],
            1,
        )
        * vigour[:, :, None]
    )

    # at rest: breathing of sitting and laying, sway of standing
    slow = 2 * np.pi * (rng.uniform(0.2, 0.35, (n, 1)) * t + rng.random((n, 1)))
    sway = np.where(standing, 0.012, np.where(moving, 0, 0.005))[:, None] * np.sin(slow)
    body[:, 2] += sway
    turn[:, 1] += 2 * sway
    # someone reaches for something
    stirs = (rng.random(n) < 0.15) & ~moving
    bump = np.exp(-(((t - rng.uniform(0.3, 2.2, (n, 1))) / 0.25) ** 2)) * stirs[:, None]
    body += bump[:, None] * rng.normal(0, 0.08, (n, 3, 1))
    turn += bump[:, None] * rng.normal(0, 0.3, (n, 3, 1))

    pitch = (
        p[:, 10, 0]
        + np.where(sitting, posture["sitting"], 0)
        + np.where(standing, posture["standing"], 0)
        + rng.normal(0, 0.05, n)
    )
    lying = ~(moving | sitting | standing)
    roll = np.where(
        lying, posture["laying"] * np.where(rng.random(n) < 0.8, 1, -1), 0
    ) + rng.normal(0, 0.03, n)
    gravity = np.stack(
        [np.cos(pitch) * np.cos(roll), np.sin(roll), np.sin(pitch) * np.cos(roll)], 1
    )[:, :, None]
    gravity = worn @ (gravity / np.linalg.norm(gravity, axis=1, keepdims=True))
    body = worn @ body + 0.012 * rng.standard_normal(body.shape)
    turn = worn @ turn + gyro_error[:, None] + 0.02 * rng.standard_normal(turn.shape)
    return np.concatenate([body, turn, body + gravity], 1).astype(np.float32)


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    """By a, b, c (rad) about x, then y, then z."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(v), np.sin(v)) for v in (a, b, c))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    return np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]]) @ about_y @ about_x
