"""Backends by name: the built-in ones, and those of installed packages (entry points
``lavalike.backends``)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lavalike.arguments import did_you_mean
from lavalike.errors import BackendError, ModelSelectionError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from lavalike.backends.base import Backend

BUILT_IN = {
    "numpy": "lavalike.backends.numpy",
    "numba": "lavalike.backends.numba",
    "torch": "lavalike.backends.torch",
    "bss2": "lavalike.backends.bss2",
}


# the library's models in Python, which run beside any backend
PYTHON = "lavalike.backends.numpy.library"


def _installed() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # 20 ms, and few ask

    return list(entry_points(group="lavalike.backends"))


def names() -> list[str]:
    """The names of all backends; loads none."""
    return sorted({*BUILT_IN, *(e.name for e in _installed())})


def known(name: str) -> None:
    """BackendError unless there is a backend called ``name``; loads nothing."""
    if name not in BUILT_IN:
        there = names()
        if name not in there:
            raise BackendError(
                f"no backend called {name!r}; there are {there}{did_you_mean(name, there)}"
            )


def get_backend(name: str) -> Backend:
    """The backend called ``name``; importing it registers its models."""
    if name in BUILT_IN:
        importlib.import_module(PYTHON)
        try:
            return importlib.import_module(BUILT_IN[name]).BACKEND
        except ModuleNotFoundError as e:
            if e.name is not None and e.name.split(".")[0] == "lavalike":
                raise
            extra = "torch" if name == "bss2" else name
            raise ModelSelectionError(
                f"backend {name!r} needs {e.name}: pip install 'lavalike[{extra}]'"
            ) from e
    known(name)
    return next(e for e in _installed() if e.name == name).load()
