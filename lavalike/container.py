"""The form of our HDF5 files of graphs: a text of JSON, arrays that it names by number, a digest.

Such a file holds plain data only. It is made in memory and then written, since HDF5 can neither go
on nor close after a write that failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def digest(text: bytes, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of what a file holds, so that damage is told; it says nothing of who wrote it."""
    found = hashlib.blake2b(text, digest_size=32)
    for name in sorted(arrays):
        found.update(f"{name} ".encode())
        update(found, arrays[name])
    return np.frombuffer(found.digest(), np.uint8)


def update(found: Any, array: np.ndarray) -> None:
    """Take ``array`` into the hash ``found``: dtype, shape and bytes."""
    array = np.ascontiguousarray(array)
    found.update(f"{array.dtype.str} {array.shape}".encode())
    found.update(array.data.cast("B") if array.size else b"")


def image(name: str, text: bytes, arrays: Sequence[np.ndarray]) -> bytes:
    """The bytes of a file: dataset ``name`` with ``text``, group ``arrays``, and ``digest``."""
    import h5py

    kept = {str(k): a if a.size else np.zeros(1, np.uint8) for k, a in enumerate(arrays)}
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file.create_dataset(name, data=np.frombuffer(text, np.uint8))
        file.create_dataset("digest", data=digest(text, kept))
        group = file.create_group("arrays")
        for key, array in kept.items():
            group.create_dataset(key, data=array)
        file.flush()
        return bytes(file.id.get_file_image())


def written(path: Path, name: str, text: bytes, arrays: Sequence[np.ndarray]) -> None:
    """Fill the file at ``path``, which is there (a draft)."""
    path.write_bytes(image(name, text, arrays))
