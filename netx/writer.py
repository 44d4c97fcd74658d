"""Writing .net files: the pieces lava-dl's format is made of, and files that are whole or not
there.

On top of lava-dl's keys a file of lavalike carries marks, see :mod:`netx.provenance`, among them
``delay_shift`` on every layer's group. A bias acts from the step in which a layer's first input can
reach it: ``bias_start = "first input"``. Strings are of fixed length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike import atomic
from lavalike.errors import ExportError
from netx import provenance


@contextlib.contextmanager
def atomic_file(path: Path, check: Callable[[Path], None]) -> Iterator[h5py.File]:
    """An open file, in memory, that is on the disk under the name ``path`` when the block, and
    ``check`` of what was written, end without an error."""
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    try:
        with atomic.draft(path) as draft:
            draft.write_bytes(image)
            check(draft)
    except OSError as e:
        raise ExportError(f"{path}: cannot be written: {e.strerror or e}") from e


def write_type(group: h5py.Group, kind: str) -> None:
    """A layer's type as lava-dl writes it: shape (1,), ten bytes."""
    group.create_dataset("type", data=np.array([kind.encode()], "S10"))


def write_neuron(group: h5py.Group, params: Mapping[str, Any]) -> None:
    """A neuron's device parameters."""
    for key, value in params.items():
        group.create_dataset(
            key, data=np.bytes_(value.encode()) if isinstance(value, str) else value
        )


def sign_layer(group: h5py.Group) -> None:
    """Mark a layer's group, now whole, as ours."""
    provenance.sign_layer(group)


def sign(file: h5py.File) -> None:
    """Mark a whole file as ours."""
    provenance.sign_root(file, ours=True)
