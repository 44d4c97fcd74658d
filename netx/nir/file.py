"""NIR files (HDF5) read as untrusted data, and written."""

from __future__ import annotations

import os
from typing import Any

import h5py

from netx.nir.graph import Graph


def read(path: str | os.PathLike[str]) -> Graph:
    """The graph of a file.

    Raises:
        NirError: the file is not there, damaged or hostile, or its graph is none.
    """
    with h5py.File(path, "r") as file:
        return Graph.of(_tree(file), source=str(path))


def _tree(group: h5py.Group) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            tree[name] = _tree(item)
        else:
            value = item[()]
            tree[name] = value.decode() if isinstance(value, bytes) else value
    return tree
