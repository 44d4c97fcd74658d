"""Models that a program never imported: they lie beside the process, as Lava looks for them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import sys
from pathlib import Path

from lavalike.compat.model import candidates
from lavalike.process.process import AbstractProcess

_looked: set[Path] = set()
log = logging.getLogger("lava.models")


def models(process: AbstractProcess) -> list[type]:
    """The models of ``process`` after ``models.py`` and ``*model*.py`` beside the file of its class
    were imported, each once."""
    for cls in type(process).__mro__:
        if cls.__module__.startswith("lavalike.") or cls.__module__ in ("__main__", "builtins"):
            continue
        try:
            folder = Path(inspect.getfile(cls)).parent
        except (TypeError, OSError):  # made in a notebook, say
            continue
        if folder in _looked:
            continue
        package = cls.__module__.rpartition(".")[0]
        for path in sorted(folder.glob("*model*.py")):
            name = f"{package}.{path.stem}" if package else path.stem
            if name in sys.modules:
                continue
            log.info("%s: importing %s for models of %s", process.path, path, cls.__name__)
            importlib.import_module(name)
        _looked.add(folder)  # not where an import failed: the next run tells it again
    return candidates(process)
