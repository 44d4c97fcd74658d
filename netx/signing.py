"""A digest for a file that has none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.arguments import PATH, arguments
from lavalike.errors import InputError, NetFileError
from netx import provenance, reader, writer


@arguments(source=PATH, target=PATH)
def sign(source: str | Path, target: str | Path) -> reader.NetFile:
    """Copy a .net file with a digest of the whole.

    A file of lava-dl keeps the meaning that lava-dl gave it; from then on damage is told. One that
    lavalike wrote layer by layer is as one of slayer.export_hdf5 afterwards. Strings become strings
    of fixed length, links, chunks and compression plain data.

    Args:
        source: loads without an error.
        target: written whole or not at all; may be ``source``.

    Returns:
        What both hold.

    Raises:
        NetFileError: ``source`` is damaged, or holds what cannot be copied.
        InputError: it has a digest of this version already.
        ExportError: ``target`` cannot be written.
    """
    before = reader.read(source)

    def check(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", reader.NetFileWarning)  # said when ``source`` was read
            _equal(before, reader.read(path), source)

    with writer.atomic_file(Path(target), check) as new, h5py.File(source, "r") as old:
        if before.signed and provenance.version(old) == provenance.FORMAT_VERSION:
            raise InputError(f"{source}: has a digest already, and it fits")
        _copy(old, new, lambda key, problem: NetFileError(source, key, problem))
        provenance.sign_root(new, before.ours)
    return before


def _copy(old: h5py.Group, new: h5py.Group, fail: provenance.Fail) -> None:
    for name in provenance.names(old):
        if not (old.name == "/" and name in provenance.ROOT_OURS | provenance.ROOT_SIGNED):
            new.attrs[name] = provenance.attribute(old, name, fail)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy(item, new.create_group(name), fail)
            continue
        value: Any = item[()]
        if item.dtype.kind == "O":
            value = np.array(
                [v if isinstance(v, bytes) else str(v).encode() for v in np.ravel(value)], "S"
            ).reshape(item.shape)
        data = new.create_dataset(name, data=value)
        for key in provenance.names(item):
            data.attrs[key] = provenance.attribute(item, key, fail)


def _equal(before: reader.NetFile, after: reader.NetFile, source: str | Path) -> None:
    for a, b in zip(before.layers, after.layers, strict=True):
        same = (
            a.type,
            a.shape,
            a.delay_shift,
            a.input_shape,
            a.arrays.keys(),
            (a.neuron or {}).keys(),
        ) == (
            b.type,
            b.shape,
            b.delay_shift,
            b.input_shape,
            b.arrays.keys(),
            (b.neuron or {}).keys(),
        )
        if not same or not all(
            np.array_equal(x[k], y[k])
            for x, y in ((a.arrays, b.arrays), (a.neuron or {}, b.neuron or {}))
            for k in x
        ):
            raise NetFileError(source, a.key, "changed while it was copied")
