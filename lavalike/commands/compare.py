"""``lavalike compare``: a trained network and its file, or two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import netx
from lavalike import npy
from lavalike.commands import targets
from lavalike.errors import InputError
from lavalike.process import AbstractProcess
from lavalike.process.process import walk
from lavalike.text import table


def compare(
    first: str, second: Path, x: Path | None, *, progress: bool = False
) -> tuple[str, bool]:
    """What differs between ``first`` and the file ``second``, as text, and whether nothing does.

    Args:
        first: ``program.py:NAME`` of a trained network, which is run beside the file layer by layer
            (:func:`netx.compare`), or another file, whose numbers are compared one by one.
        x: an npy file, (batch, \\*shape, time), that the trained network is run on.
        progress: show how far that is. Default False.
    """
    if targets.is_object(first):
        net = targets.named(first)
        given = None if x is None else npy.read(x)
        found = netx.compare(net, second, given, progress=progress)
        return str(found), found.equal
    if x is not None:
        raise InputError(
            f"compare: --input {x} is for a trained network; two files are compared number by number"
        )
    return _files(Path(first), second)


def _files(first: Path, second: Path) -> tuple[str, bool]:
    nets = [targets.network(path) for path in (first, second)]
    rows = differences(*nets)
    if not rows:
        return "equal", True
    return table(["where", first.name, second.name, "differ"], rows), False


def differences(a: AbstractProcess, b: AbstractProcess) -> list[list[Any]]:
    """A row for each process and Var that is another in ``b`` than in ``a``, or not there."""
    ours, theirs = ({targets.place(p, top) or "network": p for p in walk(top)} for top in (a, b))
    rows: list[list[Any]] = []
    for place in dict.fromkeys([*ours, *theirs]):
        pair = [side.get(place) for side in (ours, theirs)]
        kinds = ["-" if p is None else type(p).__name__ for p in pair]
        if kinds[0] != kinds[1]:
            rows.append([place, *kinds, "kind"])
            continue
        one, other = ({v.name: v.get() for v in p.vars} for p in pair if p is not None)
        for name in dict.fromkeys([*one, *other]):
            row = _numbers(one.get(name), other.get(name))
            if row is not None:
                rows.append([f"{place}.{name}", *row])
    return rows


def _numbers(a: np.ndarray | None, b: np.ndarray | None) -> list[str] | None:
    if a is None or b is None or a.shape != b.shape:
        return [*("-" if x is None else f"shape {x.shape}" for x in (a, b)), "shape"]
    other = np.flatnonzero((a != b).reshape(-1))
    if not other.size:
        return None
    at = other[0]
    return [f"{x.reshape(-1)[at]}" for x in (a, b)] + [f"{other.size:,} of {a.size:,}"]
