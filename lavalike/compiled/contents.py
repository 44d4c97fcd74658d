"""What a file of :mod:`lavalike.container`'s form holds, read as untrusted: its bytes are looked
through before HDF5 is asked (:mod:`netx.trust`), and its digest is compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.container import digest
from lavalike.errors import GraphFileError
from netx import trust

MAX_TEXT = 1 << 28  # bytes of JSON
# what comes of data that are not of the form that they should have
WRONG = (
    *(LookupError, TypeError, ValueError, ArithmeticError, AttributeError),
    *(StopIteration, MemoryError, RecursionError),
)


def contents(path: Path, name: str, writer: str) -> tuple[int, Any, dict[str, np.ndarray]]:
    """The file's size, the data that its text ``name`` says, and its arrays. ``writer``: what
    writes such a file. GraphFileError, which takes no more memory to find out than the file's size.
    """
    import h5py

    if not path.is_file():
        raise GraphFileError(f"{path}: there is no such file")
    size = path.stat().st_size
    try:
        _looked_through(path, size, writer)
        with h5py.File(path, "r") as file:
            if set(file) != {name, "digest", "arrays"} or not isinstance(
                file["arrays"], h5py.Group
            ):
                raise GraphFileError(f"{path}: no {name} is in it, as {writer} writes one")
            text = file[name]
            if text.dtype != np.uint8 or text.ndim != 1 or text.size > MAX_TEXT:
                raise GraphFileError(f"{path}: {name}: is no text")
            written = bytes(text[()])
            arrays = {key: np.asarray(a[()]) for key, a in file["arrays"].items()}
            if not np.array_equal(file["digest"][()], digest(written, arrays)):
                raise GraphFileError(
                    f"{path}: digest: does not fit what the file holds, which is damaged"
                )
            return size, json.loads(written.decode()), arrays
    except GraphFileError:
        raise
    except (OSError, RuntimeError, MemoryError, ValueError) as e:
        raise GraphFileError(f"{path}: cannot be read: {e}") from e


def _looked_through(path: Path, size: int, writer: str) -> None:
    """Each of its bytes is of one array at most, so reading all takes no more than its size."""
    foreign = f"is not of the form that {writer} writes"

    def damage(key: str, problem: str) -> GraphFileError:
        return GraphFileError(f"{path}: {key}: {problem}" if key else f"{path}: {problem}")

    try:
        with open(path, "rb") as file:
            plain = trust.Plain(file, size, damage)
    except trust.Other as e:
        raise GraphFileError(f"{path}: {foreign} ({e})") from None
    if plain.chunks or plain.attributes:
        raise GraphFileError(f"{path}: {foreign}")
    for key, (count, item, text, stored) in plain.data.items():
        if text or stored != count * item:
            raise damage(key, f"declares {count * item} bytes and stores {stored}")
    if sum(stored for *_, stored in plain.data.values()) > size:
        raise GraphFileError(f"{path}: its arrays lie on each other")


def array(x: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """What :meth:`lavalike.runtime.checkpoint.Encoder.array` made ``x`` of; one of WRONG where it
    is not of that form."""
    number, name, shape = x
    dtype, flat = np.dtype(name), arrays[str(number)]
    if dtype.kind not in "biufcU":
        raise ValueError(f"an array of {dtype}")
    if not math.prod(shape) or not dtype.itemsize:
        return np.empty(shape, dtype)
    return flat.view(dtype).reshape(shape)
