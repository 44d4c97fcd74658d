"""NIR files (HDF5) read as untrusted data, and written.

    /version
    /node/type, /node/edges, /node/nodes/<name>/{type, parameters}, /node/metadata

A subgraph is a node that has ``edges`` and ``nodes`` again. A file's bytes are looked through
before HDF5 is (:mod:`netx.trust`); links, storage outside the file and nesting beyond 32 graphs are
refused by name, and what the messages of all nodes need is summed up before a graph is handed on.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.arguments import ANY, PATH, arguments, shown
from lavalike.errors import ExportError, NetFileError, NirError
from netx import sizes, trust, writer
from netx.nir import graph as graphs
from netx.nir.graph import KINDS, Graph, NirWarning
from netx.reader import Reader

VERSION = "1.0.8"  # of NIR: what our files say they are written in
LEVELS = 2 * graphs.MAX_DEPTH + 8  # groups within groups; metadata are nested in up to four
MAX_TEXTS = 2 * graphs.MAX_EDGES
MAX_TEXT = 1 << 20  # bytes of one


@arguments(path=PATH)
def read(path: str | os.PathLike[str]) -> Graph:
    """The graph of a file, checked: every type, parameter, edge and shape.

    A ``v_reset`` that is missing, as in files before NIR 1.0.5, is zero. What has one meaning
    though NIR does not allow it is a NirWarning.

    Raises:
        NirError: the file is not there, damaged or hostile, was written by a NIR of another
            generation, holds what is no graph, or asks for more memory than it may: 1 GiB and 16
            times its own size.
    """
    source = _Source(Path(path), exact=False)
    return source.opened(source.graph)


class _Source(Reader):
    """One pass over a NIR file."""

    depth = LEVELS

    def fail(self, key: str, problem: str) -> NetFileError:
        node, parameter = _place(key)
        return NirError(self.path, node, parameter, problem)

    def drop(self, key: str, problem: str) -> None:
        warnings.warn(f"{self.path}: {key}: {problem}", NirWarning, stacklevel=5)

    def _declared(self, key: str, count: int, item: int, text: bool, stored: int) -> None:
        if text and (count > MAX_TEXTS or count * item > max(trust.MAX_HEAP, 4 * stored)):
            raise self.fail(key, f"{count} texts are too many")
        super()._declared(key, count, item, False, stored)

    def graph(self, file: h5py.File) -> Graph:
        self.look(file)
        limit = sizes.SMALL + sizes.RATIO * self.path.stat().st_size
        if self.bytes > limit:
            raise self.fail("", f"declares {self.bytes} bytes; a file of its size may hold {limit}")
        self.inflate()
        self._version(file)
        for name in file:
            if name not in ("version", "node"):
                self.drop(name, "is unknown, not used")
        if not isinstance(file.get("node"), h5py.Group):
            raise self.fail("node", "a group is expected" if "node" in file else "is missing")
        graph = Graph.of(self._graph(file["node"], "node"), source=str(self.path))
        budget(graph, self.path.stat().st_size)
        return graph

    def _version(self, file: h5py.File) -> None:
        if "version" not in file:
            self.drop("version", "is missing; the file is read as one of NIR 1.0")
            return
        text = self._value(file["version"], "version")
        found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\b.*", text) if isinstance(text, str) else None
        if found is None:
            raise self.fail("version", f"is {shown(text)}; one as '1.0.8' is expected")
        if int(found[1]) > 1:
            raise self.fail("version", f"is {text}; known are the files of NIR 0 and 1")

    def _graph(self, group: h5py.Group, key: str) -> dict[str, Any]:
        nodes = group.get("nodes")
        if not isinstance(nodes, h5py.Group) or not isinstance(group.get("edges"), h5py.Dataset):
            raise self.fail(key, "a graph has a group 'nodes' and the texts 'edges'")
        unknown = sorted(set(group) - {"nodes", "edges", "type", "metadata"})
        if unknown:
            raise self.fail(f"{key}/{unknown[0]}", "is nothing that a graph has")
        made: dict[str, Any] = {}
        for name in nodes:
            at = f"{key}/nodes/{name}"
            node = nodes[name]
            if not isinstance(node, h5py.Group):
                raise self.fail(at, "a group is expected")
            if "type" not in node:
                inner = sorted(n for n in node if isinstance(node[n], h5py.Group))
                raise self.fail(
                    at,
                    f"has no type; was it {name}/{inner[0]}? '/' separates groups, and a node's name has none"
                    if inner
                    else "has no type",
                )
            kind = self._value(node["type"], f"{at}/type")
            if kind == "NIRGraph":
                made[name] = self._graph(node, at)
                continue
            if kind not in KINDS:
                raise self.fail(
                    f"{at}/type",
                    f"is {shown(kind)}, no node of NIR that is known; known are {', '.join(KINDS)}",
                )
            made[name] = {n: self._item(node[n], f"{at}/{n}") for n in node}
        return {
            "type": self._value(group["type"], f"{key}/type") if "type" in group else "NIRGraph",
            "nodes": made,
            "edges": self._edges(group["edges"], f"{key}/edges"),
            "metadata": self._item(group["metadata"], f"{key}/metadata")
            if "metadata" in group
            else {},
        }

    def _edges(self, item: h5py.Dataset, key: str) -> list[tuple[str, str]]:
        if item.shape == (0,) or item.shape == (0, 2):
            return []
        if h5py.check_string_dtype(item.dtype) is None or item.ndim != 2 or item.shape[1] != 2:
            raise self.fail(
                key, f"texts of shape (edges, 2) are expected, found shape {item.shape}"
            )
        texts = self._value(item, key)
        return [(str(a), str(b)) for a, b in texts]

    def _item(self, item: Any, key: str) -> Any:
        """A dataset's value; a group's as a dictionary."""
        if isinstance(item, h5py.Group):
            return {n: self._item(item[n], f"{key}/{n}") for n in item}
        return self._value(item, key)

    def _value(self, item: Any, key: str) -> Any:
        self.here = key
        if not isinstance(item, h5py.Dataset):
            raise self.fail(key, "numbers or texts are expected, found a group")
        if item.shape is None:
            raise self.fail(key, "is empty")
        text = h5py.check_string_dtype(item.dtype)
        if text is None and item.dtype.kind not in "biuf":
            raise self.fail(key, f"dtype {item.dtype} is not allowed; numbers and texts are")
        value = item[()]
        if text is None:
            array = np.asarray(value)
            if array.ndim == 0:
                return array[()]
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            array.flags.writeable = False
            return array
        try:
            if isinstance(value, np.ndarray):
                return np.array([_decoded(v) for v in value.reshape(-1)], object).reshape(
                    value.shape
                )
            return _decoded(value)
        except UnicodeDecodeError:
            raise self.fail(key, "is no text in UTF-8") from None


def _decoded(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _place(key: str) -> tuple[str, str]:
    """The node, and its parameter, that a key of a file belongs to: ``node/nodes/a/nodes/b/tau``
    is ("a/b", "tau")."""
    parts = key.strip("/").split("/")
    if parts[0] != "node" or len(parts) == 1:
        return "", key
    names: list[str] = []
    at = 1
    while at + 1 < len(parts) and parts[at] == "nodes":
        names.append(parts[at + 1])
        at += 2
    return "/".join(names), "/".join(parts[at:])


def budget(graph: Graph, stored: int) -> None:
    """Raise where the messages, weights and windows of a graph need more memory than a file of
    ``stored`` bytes may ask for."""
    flat = graph.flat()
    limit, total = sizes.SMALL + sizes.RATIO * stored, 0
    for name, (into, out) in graphs.inferred(flat).items():
        p = flat.nodes[name].params  # type: ignore[union-attr]  # a flat graph has no graphs
        total += math.prod(out) * sizes.NEURON
        total += sum(v.size for v in p.values() if isinstance(v, np.ndarray)) * sizes.NUMBER
        if "stride" in p and p["padding"] != "same":
            padded = [n + 2 * q for n, q in zip(into[1:], p["padding"], strict=True)]
            total += into[0] * math.prod(padded) * sizes.NUMBER
        if "kernel_size" in p:
            total += into[0] * math.prod(p["kernel_size"]) * sizes.WEIGHT
        if total > limit:
            raise graph.error(
                name,
                "",
                f"the nodes up to this one need {total} bytes",
                f"a file of {stored} bytes may ask for {limit}",
            )


# -- writing ---------------------------------------------------------------------------------------


@arguments(path=PATH, graph=ANY)
def write(path: str | os.PathLike[str], graph: Any) -> Path:
    """Write a graph; the same graph gives the same bytes, and the file is whole or not there.

    ``nir.read`` reads it: 1.0.8, and, where no neuron resets to another voltage than 0, 1.0.4 too,
    which knows no ``v_reset``; one that is 0 is what a reader takes where there is none, and is
    not written.

    Args:
        path: the file.
        graph: a :class:`Graph`, or what :meth:`Graph.of` takes.

    Returns:
        The path.

    Raises:
        NirError: the graph is none.
        ExportError: metadata that a file cannot hold; the file cannot be written.
    """
    graph, target = Graph.of(graph), Path(path)
    with writer.atomic_file(target, lambda draft: None) as file:
        _text(file, "version", VERSION)
        _write_graph(file.create_group("node"), graph, target, "")
    return target


def _write_graph(group: h5py.Group, graph: Graph, path: Path, key: str) -> None:
    _text(group, "type", "NIRGraph")
    ends = [end.encode() for edge in graph.edges for end in edge]
    group.create_dataset("edges", data=_fixed(ends).reshape(-1, 2))
    nodes = group.create_group("nodes")
    for name, node in graph.nodes.items():
        at = f"{key}{name}"
        inner = nodes.create_group(name)
        if isinstance(node, Graph):
            _write_graph(inner, node, path, f"{at}/")
            continue
        _text(inner, "type", node.type)
        for parameter, value in node.params.items():
            if parameter == "v_reset" and not np.any(value):
                continue
            if isinstance(value, str):
                _text(inner, parameter, value)
            else:
                inner.create_dataset(
                    parameter,
                    data=np.asarray(value, np.int64) if isinstance(value, tuple) else value,
                )
        if node.metadata:
            _notes(inner.create_group("metadata"), node.metadata, path, f"{at}: metadata")
    if graph.metadata:
        _notes(group.create_group("metadata"), graph.metadata, path, f"{key}metadata")


def _notes(
    group: h5py.Group, notes: Mapping[str, Any], path: Path, key: str, depth: int = 0
) -> None:
    for name, value in notes.items():
        at = f"{key}.{name}"
        if not isinstance(name, str) or not name or "/" in name or name == "." or depth > 3:
            raise ExportError(
                f"{path}: {at}: metadata are named by texts without '/', nested at most four deep"
            )
        if isinstance(value, Mapping):
            _notes(group.create_group(name), value, path, at, depth + 1)
        elif isinstance(value, str):
            _text(group, name, value)
        else:
            array = _noted(value)
            if array is None:
                raise ExportError(
                    f"{path}: {at}: is {shown(value)}; texts, numbers, arrays of either and "
                    "dictionaries of those can be written"
                )
            group.create_dataset(name, data=array)


def _noted(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind in "OU" and array.size:
        texts = array.reshape(-1).tolist()
        if not all(isinstance(t, str) for t in texts):
            return None
        return _fixed([t.encode() for t in texts]).reshape(array.shape)
    return array if array.dtype.kind in "biufS" and array.size else None


def _text(group: h5py.Group, name: str, text: str) -> None:
    """A text of fixed length: those of variable length hang HDF5 when they are damaged."""
    data = text.encode() or b"\0"
    group.create_dataset(name, data=_fixed([data]).reshape(()))


def _fixed(texts: list[bytes]) -> np.ndarray:
    length = max((1, *map(len, texts)))
    return np.array(texts, h5py.string_dtype("utf-8", length))
