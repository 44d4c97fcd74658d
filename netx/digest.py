"""A hash of what a .net file says, independent of how HDF5 lays it out."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np


def digest(group: h5py.Group) -> str:
    """sha256 over names, shapes, dtypes, values and the layers' attributes below ``group``, in
    sorted order."""
    h = hashlib.sha256()

    def visit(node: h5py.Group, path: str) -> None:
        if path:
            for key in sorted(node.attrs):
                h.update(f"@{path}/{key}={np.asarray(node.attrs[key]).tolist()}\n".encode())
        for key in sorted(node):
            item = node[key]
            if isinstance(item, h5py.Group):
                h.update(f"{path}/{key}/\n".encode())
                visit(item, f"{path}/{key}")
            else:
                value = (
                    item.asstr()[()]
                    if h5py.check_string_dtype(item.dtype) and item.shape == ()
                    else np.asarray(item[()])
                )
                if isinstance(value, str):
                    h.update(f"{path}/{key}={value}\n".encode())
                else:
                    h.update(
                        f"{path}/{key} {value.dtype.str} {value.shape}\n".encode() + value.tobytes()
                    )

    visit(group, "")
    return h.hexdigest()
