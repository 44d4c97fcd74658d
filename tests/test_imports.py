"""Imports point one way (docs/design.md): a room knows those below it. Those within functions
count, those for type checkers do not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

# from the ground up; rooms of one line do not know each other
LEVELS = [
    ("errors", "text", "atomic", "cache", "logs", "html", "netx.trust"),
    ("arguments", "container", "extras", "npy", "progress"),
    ("contents",),
    ("process",),
    ("dynamics", "learning"),
    ("proc",),
    ("fused", "networks", "plot"),
    ("model",),
    ("bss2",),
    ("compiler",),
    ("backends", "backends.base"),
    ("backends.numba", "backends.numpy", "backends.torch"),
    ("backends.bss2",),
    ("runtime",),
    ("record",),
    ("netx",),
    ("compiled", "fixed", "events", "weights"),
    ("operations", "snn", "slayer", "datasets", "sweep", "testing"),
    ("bootstrap", "report"),
    ("netx.comparison",),  # of what was trained with its file
    ("compat",),
    ("demo", "doctor", "mpi", "commands"),
    ("cli",),
]
LEVEL = {room: k for k, rooms in enumerate(LEVELS) for room in rooms}
TOP = {"", "__main__"}  # the packages' front doors, which name everything


def modules() -> dict[str, Path]:
    """By dotted name."""
    found = {}
    for package in ("lavalike", "netx"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    first, *rest = module.split(".")
    if first == "netx":
        return "" if not rest else module if module in LEVEL else "netx"
    return ".".join(rest[:2]) if rest[:1] == ["backends"] else "".join(rest[:1])


def imported(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ours that ``node`` imports when it runs."""
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(node, ast.If)
            and ast.unparse(node.test) == "TYPE_CHECKING"
            and child in node.body
        ):
            continue
        if isinstance(child, ast.Import):
            yield from (a.name for a in child.names if a.name in known)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "imports are absolute"
            names = (f"{child.module}.{a.name}" for a in child.names)
            yield from (
                n if n in known else str(child.module)
                for n in names
                if n in known or child.module in known
            )
        yield from imported(child, known)


def upwards() -> set[tuple[str, str]]:
    """(module, room above, or beside, that it imports)."""
    known = modules()
    strange = {room(m) for m in known} - LEVEL.keys() - TOP
    assert not strange, f"rooms without a level: {strange}"
    arrows = {
        (m, room(m), room(t))
        for m, path in known.items()
        for t in imported(ast.parse(path.read_text()), known)
    }
    between = {
        (m, here, there) for m, here, there in arrows if here != there and not {here, there} & TOP
    }
    return {(m, there) for m, here, there in between if LEVEL[there] >= LEVEL[here]}


def test_imports_point_one_way():
    found = upwards()
    assert not found, (
        f"imports upwards: {sorted(found)}; the room below may offer a hook, or what both need moves down"
    )


def test_a_type_that_is_ignored_has_a_reason():
    """``# type: ignore[code]  # why``, a few words; mypy warns of one that is not needed."""
    ignored = re.compile(r"#\s*type:\s*ignore(?!\[[a-z, -]+\]  # \S)")
    found = [
        f"{path.relative_to(ROOT)}:{k}"
        for path in modules().values()
        for k, line in enumerate(path.read_text().split("\n"), 1)
        if ignored.search(line)
    ]
    assert not found, f"no code, or no reason behind it: {found}"
