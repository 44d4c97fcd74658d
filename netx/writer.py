"""Writing .net files: the pieces lava-dl's format is made of, and files that are whole or not there.

On top of lava-dl's keys a file of lavalike carries root attributes ``producer``, ``format_version`` and ``sha256``
(of the contents), and on every layer group ``delay_shift``. A bias acts from the step in which a layer's first input
can reach it: ``bias_start = "first input"``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.errors import ExportError
from netx.digest import digest

FORMAT_VERSION = 1
PRODUCER = "lavalike"


@contextlib.contextmanager
def atomic_file(path: Path, check: Callable[[Path], None]) -> Iterator[h5py.File]:
    """An open file that takes the name ``path`` when the block, and ``check`` of the closed file, end without an error."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    except OSError as e:
        raise ExportError(f"{path}: cannot be written: {e.strerror}") from e
    os.close(handle)
    try:
        with h5py.File(name, "w") as file:
            yield file
        check(Path(name))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # as any new file, not as a temporary one
        try:
            os.replace(name, path)
        except OSError as e:
            raise ExportError(f"{path}: cannot be written: {e.strerror}") from e
    except BaseException:
        os.unlink(name)
        raise


def write_type(group: h5py.Group, kind: str) -> None:
    """A layer's type as lava-dl writes it: shape (1,), ten bytes."""
    group.create_dataset("type", data=np.array([kind.encode()], "S10"))


def write_neuron(group: h5py.Group, params: Mapping[str, Any]) -> None:
    """A neuron's device parameters."""
    for key, value in params.items():
        if isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        else:
            group.create_dataset(key, data=value)


def sign(file: h5py.File) -> None:
    """Add what tells a file of ours."""
    import lavalike

    file.attrs["producer"] = f"{PRODUCER} {lavalike.__version__}"
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["bias_start"] = "first input"
    file.attrs["sha256"] = digest(file)
