"""An npy file that a user names."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from lavalike.errors import InputError


def read(path: str | os.PathLike[str], who: str = "") -> np.ndarray:
    """The array in an npy file; InputError, which begins with ``who``, where it holds none."""
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as e:
        raise InputError(f"{who}{path}: not an npy file: {e}") from e
    if not isinstance(x, np.ndarray):
        raise InputError(f"{who}{path}: one array in an npy file is expected, not an npz")
    return x
