"""The form of our HDF5 files of graphs: a text of JSON, arrays that it names by number, a digest.

Such a file holds plain data only. It is made in memory and then written, since HDF5 can neither go
on nor close after a write that failed.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lavalike.errors import GraphFileError

MAX_TEXT = 1 << 28  # bytes of JSON
MAX_ARRAYS = 1 << 16
MAX_DEPTH = 32  # of data within data
Json = Any


class Encoder:
    """Nested plain data as JSON, whose arrays are kept aside: None, bools, whole numbers, texts and
    lists as they are, and anything else as an object that says with its first key what it is.

    ``where`` begins what an error says. A subclass has more kinds (``other``);
    :class:`lavalike.contents.Decoder` makes the data again.
    """

    def __init__(self, where: str) -> None:
        self.where, self.arrays, self.depth = where, list[np.ndarray](), 0

    def fail(self, problem: str) -> NoReturn:
        raise GraphFileError(f"{self.where}: {problem}")

    def data(self, value: Any, what: str) -> Json:
        """``value`` as JSON; GraphFileError for what is no data, which is ``what``."""
        if self.depth > MAX_DEPTH:
            self.fail(f"{what:.200}: data are nested deeper than {MAX_DEPTH}")
        self.depth += 1
        try:
            return self._data(value, what)
        finally:
            self.depth -= 1

    def _data(self, value: Any, what: str) -> Json:
        cls = type(value)
        if value is None or cls in (bool, int, str):
            return value
        if cls is float:
            return {"float": value.hex()}
        if cls is complex:
            return {"complex": [value.real.hex(), value.imag.hex()]}
        if cls is bytes:
            return {"bytes": value.hex()}
        if cls is np.ndarray and holds(value.dtype):
            return self.array(value)
        if isinstance(value, np.generic) and holds(value.dtype):
            return {"scalar": value.dtype.str, "bytes": value.tobytes().hex()}
        if cls in (list, tuple):
            items = [self.data(x, f"{what}[{k}]") for k, x in enumerate(value)]
            return items if cls is list else {"tuple": items}
        if cls is dict:
            pairs = [
                [self.data(k, f"a key of {what}"), self.data(x, f"{what}[{k!r:.80}]")]
                for k, x in value.items()
            ]
            return {"dict": pairs}
        return self.other(value, what)

    def other(self, value: Any, what: str) -> Json:
        """What is of none of the kinds above."""
        self.fail(f"{what} is of class {type(value).__name__}, which no file holds")

    def array(self, value: np.ndarray) -> Json:
        kind, shape = value.dtype.kind, list(value.shape)
        if not holds(value.dtype):
            self.fail(f"an array of {value.dtype} is no data that a file holds")
        if kind == "U":
            dtype = value.dtype.newbyteorder("=").str
            return {"texts": value.reshape(-1).tolist(), "dtype": dtype, "shape": shape}
        native = value.dtype.newbyteorder("=")
        flat = np.ascontiguousarray(value, native).reshape(-1)
        if kind == "b":
            flat = flat.view(np.uint8)
        elif kind == "c":
            flat = flat.view(flat.real.dtype)
        self.arrays.append(flat)
        return {"array": len(self.arrays) - 1, "dtype": native.name, "shape": shape}

    def text(self, told: Json) -> bytes:
        """``told``, which names the arrays, as a file has it; GraphFileError for more than what a
        file is read with."""
        text = json.dumps(told, default=operator.index).encode()  # whole numbers may be NumPy's
        if len(text) > MAX_TEXT or len(self.arrays) > MAX_ARRAYS:
            self.fail(
                f"{len(self.arrays)} arrays and {len(text)} bytes of other data are to be written, and a file has at most {MAX_ARRAYS} and "
                f"{MAX_TEXT}; keep numbers in fewer and larger arrays"
            )
        return text


def holds(dtype: np.dtype) -> bool:
    """Whether a file holds arrays of it: numbers that HDF5 has a form of anywhere, and texts."""
    return dtype.kind in "biuU" or (dtype.kind in "fc" and np.finfo(dtype).bits <= 64)


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


def written(path: Path, name: str, text: bytes, arrays: Sequence[np.ndarray]) -> None:
    """Fill the file at ``path``, which is there (a draft): dataset ``name`` with ``text``, group
    ``arrays``, and ``digest``."""
    import h5py

    kept = {str(k): a if a.size else np.zeros(1, np.uint8) for k, a in enumerate(arrays)}
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file.create_dataset(name, data=np.frombuffer(text, np.uint8))
        file.create_dataset("digest", data=digest(text, kept))
        group = file.create_group("arrays")
        for key, array in kept.items():
            group.create_dataset(key, data=array)
        file.flush()
        path.write_bytes(file.id.get_file_image())
