"""Who wrote a .net file, and whether it still is as it was written.

Marks are attributes. A file of slayer.export_hdf5 has ``producer``, ``bias_start``,
``format_version`` and ``sha256`` at its root; every layer's group has ``delay_shift``,
``input_shape``, ``format_version`` and ``sha256``, written by its block. A layer's digest covers
its number and all that its group holds, the root's covers the root's attributes, all else beside
the layers, and the layers' digests. A file of lava-dl that ``lavalike sign`` went over has
``signed_by``, ``format_version`` and ``sha256`` at its root and keeps lava-dl's meaning.

lava-dl's files have no attributes. So a file with any mark verifies, or it is damaged; it is never
taken for one of lava-dl. Files of version 2 hold no variable-length strings: HDF5 loops for ever on
damaged ones. Version 1 (lavalike 0.3) had some, a digest that left out the root's attributes, and
none of single layers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from lavalike.errors import NetFileError
from netx.digest import digest as digest_of_version_1

FORMAT_VERSION = 2
PRODUCER = "lavalike"
BIAS_START = "first input"
ROOT_OURS = frozenset({"producer", "bias_start", "format_version", "sha256"})
ROOT_SIGNED = frozenset({"signed_by", "format_version", "sha256"})
LAYER_PLAIN = frozenset({"delay_shift", "input_shape"})
LAYER_MARKS = LAYER_PLAIN | {"format_version", "sha256"}
# names another program may well use: by themselves, and naming another program, they are no marks
COMMON_NAMES = frozenset({"producer", "format_version"})
MAX_ATTRIBUTE = 1 << 16  # bytes
PART = 1 << 22  # elements of a dataset hashed at a time
CHANGED = "does not fit the contents: the file was damaged or changed after its export"

Fail = Callable[[str, str], NetFileError]


@dataclass(frozen=True)
class Provenance:
    """``ours``: the layers mean what slayer trained, else what lava-dl read. ``signed``: the whole
    file has a digest that fits. ``warning``: what nothing vouches for, or ""."""

    ours: bool
    signed: bool
    warning: str = ""


def names(node: h5py.Group | h5py.Dataset) -> list[str]:
    """Names of a node's attributes, in order."""
    return sorted(a.name.decode() for a in _attributes(node.id))


def attribute(node: h5py.Group | h5py.Dataset, name: str, fail: Fail) -> Any:
    """A number, an array of numbers or a fixed-length string; its type and size are looked at
    before its value."""
    return _value(node.id, h5py.h5a.open(node.id, name.encode()), fail)[()]


def _attributes(node: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> list[h5py.h5a.AttrID]:
    return [h5py.h5a.open(node, index=k) for k in range(h5py.h5a.get_num_attrs(node))]


def _value(
    node: h5py.h5g.GroupID | h5py.h5d.DatasetID, found: h5py.h5a.AttrID, fail: Fail
) -> np.ndarray:
    dtype, shape = found.dtype, found.shape
    problem = ""
    if dtype.kind not in "biufS" or found.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        problem = "a number or a string of fixed length is expected"
    elif dtype.itemsize * math.prod(shape) > MAX_ATTRIBUTE:
        problem = f"is larger than {MAX_ATTRIBUTE} bytes"
    if problem:
        raise fail(f"{_key(node)}@{found.name.decode()}", problem)
    value = np.empty(shape, dtype)
    found.read(value)
    return value


def _key(node: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> str:
    return h5py.h5i.get_name(node).decode().strip("/")


def _text(node: h5py.Group, name: str, fail: Fail, version: int = FORMAT_VERSION) -> str:
    value = node.attrs[name] if version == 1 else attribute(node, name, fail)
    return value.decode() if isinstance(value, bytes) else str(value)


def version(file: h5py.File) -> int:
    """The format's version of a file that was examined and has one."""
    return int(file.attrs["format_version"])


def _version(node: h5py.Group, key: str, fail: Fail) -> int:
    value = np.asarray(attribute(node, "format_version", fail))
    if value.shape != () or value.dtype.kind not in "iu":
        raise fail(f"{key}@format_version", "one whole number is expected")
    return int(value)


class _Hash:
    """sha256 of names, types, shapes and values, each told apart from its neighbours."""

    def __init__(self, fail: Fail) -> None:
        self.sha, self.fail = hashlib.sha256(), fail

    def head(self, *what: object) -> None:
        self.sha.update(repr(what).encode() + b"\n")

    def attributes(
        self, node: h5py.h5g.GroupID | h5py.h5d.DatasetID, path: str, without: str = ""
    ) -> None:
        for name, found in sorted((a.name.decode(), a) for a in _attributes(node)):
            if name != without:
                value = _value(node, found, self.fail)
                self.head("attribute", path, name, value.dtype.str, value.shape)
                self.sha.update(value.tobytes())

    def items(self, group: h5py.h5g.GroupID, path: str, without: Iterable[str] = ()) -> None:
        """All in a group, and below."""
        for name in sorted({n.decode() for n in group} - set(without)):
            self.item(h5py.h5o.open(group, name.encode()), f"{path}/{name}")

    def item(self, node: h5py.h5g.GroupID | h5py.h5d.DatasetID, path: str) -> None:
        """A dataset, or a group and all below."""
        if isinstance(node, h5py.h5g.GroupID):
            self.head("group", path, len(node))
            self.attributes(node, path)
            self.items(node, path)
            return
        dtype, shape = node.dtype, node.shape
        if dtype.kind not in "biufS":
            raise self.fail(
                _key(node),
                "numbers or a string of fixed length are expected in a file with a digest",
            )
        self.head("data", path, dtype.str, shape)
        self.attributes(node, path)
        if math.prod(shape) <= PART:
            value = np.empty(shape, dtype)
            node.read(h5py.h5s.ALL, h5py.h5s.ALL, value)
            self.sha.update(value.data)
            return
        rows, data = max(1, PART // math.prod(shape[1:])), h5py.Dataset(node)
        for start in range(0, shape[0], rows):
            self.sha.update(np.ascontiguousarray(data[start : start + rows]).data)


def layer_digest(group: h5py.Group, number: str, fail: Fail) -> str:
    """Of all that layer ``number`` holds, but for the digest itself."""
    h = _Hash(fail)
    h.head("layer", number, len(group))
    h.attributes(group.id, "", "sha256")
    h.items(group.id, "")
    return h.sha.hexdigest()


def _root_digest(file: h5py.File, layers: dict[str, str], fail: Fail) -> str:
    h = _Hash(fail)
    h.head("file", sorted(layers.items()))
    root = file["/"].id
    h.attributes(root, "", "sha256")
    h.items(root, "", ["layer"] if layers else [])
    if layers:
        h.attributes(file["layer"].id, "layer")
        h.items(file["layer"].id, "layer", layers)
    return h.sha.hexdigest()


def _layers(file: h5py.File) -> dict[str, h5py.Group]:
    found = file.get("layer")
    return (
        {n: found[n] for n in found if isinstance(found[n], h5py.Group)}
        if isinstance(found, h5py.Group)
        else {}
    )


# -- writing ---------------------------------------------------------------------------------------


def _unexpected(key: str, problem: str) -> NetFileError:
    return NetFileError("", key, problem)


def sign_layer(group: h5py.Group) -> str:
    """Mark a layer's group, now whole, as one of this release; returns its digest."""
    group.attrs["format_version"] = FORMAT_VERSION
    digest = layer_digest(group, group.name.rsplit("/", 1)[-1], _unexpected)
    group.attrs["sha256"] = np.bytes_(digest)
    return digest


def sign_root(file: h5py.File, ours: bool) -> None:
    """Mark a whole file: ``ours``, whose layers are signed here too, or one that keeps lava-dl's
    meaning."""
    import lavalike

    program = np.bytes_(f"{PRODUCER} {lavalike.__version__}")
    for name in names(file):
        if name in ROOT_OURS | ROOT_SIGNED:
            del file.attrs[name]
    file.attrs["format_version"] = FORMAT_VERSION
    if ours:
        file.attrs["producer"], file.attrs["bias_start"] = program, np.bytes_(BIAS_START)
    else:
        file.attrs["signed_by"] = program
    digests = {
        n: sign_layer(g) if ours else layer_digest(g, n, _unexpected)
        for n, g in _layers(file).items()
    }
    file.attrs["sha256"] = np.bytes_(_root_digest(file, digests, _unexpected))


# -- reading ---------------------------------------------------------------------------------------


def examine(file: h5py.File, fail: Fail) -> Provenance:
    """Whose file it is; NetFileError where a mark does not verify."""
    root = frozenset(names(file)) & (ROOT_OURS | ROOT_SIGNED)
    layers = _layers(file)
    marks = {n: frozenset(names(g)) & LAYER_MARKS for n, g in layers.items()}
    if not root:
        return _by_layers(layers, marks, fail) if any(marks.values()) else Provenance(False, False)
    if root <= COMMON_NAMES and not any(marks.values()) and not _names_us(file, fail):
        return Provenance(False, False)
    if "format_version" not in root:
        raise fail(
            "@format_version",
            f"is missing beside {', '.join(sorted(root))}: the file was damaged or changed after its export",
        )
    version = _version(file, "", fail)
    if version not in (1, FORMAT_VERSION):
        raise fail("@format_version", f"is {version}; this release reads 1 and {FORMAT_VERSION}")
    whole = ROOT_SIGNED if version == FORMAT_VERSION and "signed_by" in root else ROOT_OURS
    if root != whole:
        name = min(root ^ whole)
        raise fail(
            f"@{name}",
            f"{'is missing' if name in whole else 'is unexpected'} beside {', '.join(sorted(root - {name}))}: "
            "the file was damaged or changed after its export",
        )
    if version == 1:
        _verify_1(file, fail)
        return Provenance(True, True)
    ours = whole == ROOT_OURS
    digests = {
        n: _verified(g, n, marks[n], fail) if ours else layer_digest(g, n, fail)
        for n, g in layers.items()
    }
    if _text(file, "sha256", fail) != _root_digest(file, digests, fail):
        raise fail("@sha256", CHANGED)
    if not ours and any(marks.values()):
        raise fail("@signed_by", "stands in a file whose layers are lavalike's own")
    return Provenance(ours, True)


def _names_us(file: h5py.File, fail: Fail) -> bool:
    if "producer" not in names(file):
        return False
    return _text(file, "producer", fail, 1).startswith(PRODUCER)


def _verify_1(file: h5py.File, fail: Fail) -> None:
    """A file of lavalike 0.3."""
    for group in _layers(file).values():
        for name in names(group):
            attribute(group, name, fail)  # of a plain type
    for name, right in (
        ("producer", _text(file, "producer", fail, 1).startswith(f"{PRODUCER} ")),
        ("bias_start", _text(file, "bias_start", fail, 1) == BIAS_START),
    ):
        if not right:
            raise fail(
                f"@{name}",
                "is not what lavalike writes: the file was damaged or changed after its export",
            )
    if _text(file, "sha256", fail, 1) != digest_of_version_1(file):
        raise fail("@sha256", CHANGED)


def _verified(group: h5py.Group, number: str, marks: frozenset[str], fail: Fail) -> str:
    """A layer's digest, which is the one it has."""
    key = f"layer/{number}"
    for name in ("format_version", "sha256"):
        if name not in marks:
            raise fail(
                f"{key}@{name}",
                "is missing: the layer was damaged, changed or added after its export",
            )
    version = _version(group, key, fail)
    if version != FORMAT_VERSION:
        raise fail(f"{key}@format_version", f"is {version} in a file of version {FORMAT_VERSION}")
    computed = layer_digest(group, number, fail)
    if _text(group, "sha256", fail) != computed:
        raise fail(
            f"{key}@sha256",
            "does not fit the contents: the layer was damaged, changed or moved after its export",
        )
    return computed


def _by_layers(
    layers: dict[str, h5py.Group], marks: dict[str, frozenset[str]], fail: Fail
) -> Provenance:
    """A file written by hand, a block's export_hdf5 for every layer: nothing stands at its root."""
    if any(m - LAYER_PLAIN for m in marks.values()):
        for number, group in layers.items():
            _verified(group, number, marks[number], fail)
        return Provenance(
            True,
            False,
            "its layers are signed one by one: nothing vouches for their number "
            "(slayer.export_hdf5 or `lavalike sign` do)",
        )
    for number, found in marks.items():
        if found != LAYER_PLAIN:
            raise fail(
                f"layer/{number}@{min(LAYER_PLAIN - found)}",
                "is missing: another layer has it, which lavalike wrote",
            )
        for name in LAYER_PLAIN:
            attribute(layers[number], name, fail)
    return Provenance(
        True,
        False,
        "written layer by layer by lavalike 0.3: it has no digest that vouches for its contents "
        "(slayer.export_hdf5 or `lavalike sign` give one)",
    )
