"""``lavalike new``: a project to begin from, with a test that passes."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path

from lavalike.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
KINDS = {
    "process": "a process with a model of its own, run by numba",
    "training": "a network trained in PyTorch, exported, loaded and run",
    "bss2": "a network trained in the loop with an emulated BrainScaleS-2",
}
TAKEN = {*sys.stdlib_module_names, "lavalike", "netx", "tests"}
NAME = "my_project"  # in the templates, of the package


def new(folder: Path, kind: str) -> list[Path]:
    """Write a project of a kind into a folder that is not there yet, or is empty; its files.

    Raises InputError for a folder that holds something, or whose name no package may have.
    """
    name = folder.name.replace("-", "_")
    if not name.isidentifier() or keyword.iskeyword(name) or name in TAKEN:
        raise InputError(
            f"new {folder}: the folder's name is the package's: letters, digits and _, and nothing that "
            f"Python has by that name; got {folder.name!r}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"new {folder}: is there already, and not an empty folder; name another")
    written = []
    try:
        for source in sorted((TEMPLATES / kind).rglob("*")):
            if not source.is_file() or source.suffix == ".pyc":
                continue
            target = folder / str(source.relative_to(TEMPLATES / kind)).replace(NAME, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text("utf-8").replace(NAME, name), "utf-8")
            written.append(target)
    except OSError as e:
        raise InputError(f"new {folder}: cannot be written: {e}") from e
    return written
