"""What runs processes: the room above registers it (``lavalike/runtime/__init__.py``), so that this
one knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from lavalike.errors import RunError

_loads: list[Callable[[], ModuleType]] = []
_loaded: list[ModuleType] = []


def run_by(load: Callable[[], ModuleType]) -> None:
    """Processes are run by what ``load`` returns, asked for when something runs: ``start``,
    ``mark`` and ``reset`` of it."""
    _loads[:], _loaded[:] = [load], []


def runner() -> ModuleType:
    """What runs processes. RunError where nothing does."""
    if not _loaded:
        if not _loads:
            raise RunError("nothing here runs processes; import lavalike")
        _loaded.append(_loads[0]())
    return _loaded[0]
