"""Modules called ``lava...``, answered by :mod:`lavalike.compat.table`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from lavalike.compat import table

ALIASES = {"lava.lib.dl.slayer": "lavalike.slayer", "lava.lib.dl.bootstrap": "lavalike.bootstrap"}
NAMESPACES = ("lava", "lava.lib", "lava.lib.dl")  # others put packages into lava.lib


class _Module(ModuleType):
    """A module of Lava's: its names are looked up when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in table.names(self.__name__):
            value = table.find(self.__name__, name)
            self.__dict__[name] = value
            return value
        if table.is_module(f"{self.__name__}.{name}"):  # of a package, without an import of its own
            return importlib.import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *table.TABLE.get(self.__name__, ())})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``lava`` and what is in it, and nothing else.

    What there is not is an ImportError with what there is, also for ``from lava... import name``:
    every module is a package, so that Python asks for the missing name as for a module.
    """

    def __init__(self) -> None:
        self.kept: dict[str, tuple[ModuleType, Any]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "lava" and not fullname.startswith("lava."):
            return None
        for theirs, ours in ALIASES.items():
            if fullname == theirs or fullname.startswith(theirs + "."):
                module = importlib.import_module(ours + fullname[len(theirs) :])
                self.kept[fullname] = module, module.__spec__
                return importlib.machinery.ModuleSpec(
                    fullname, self, is_package=hasattr(module, "__path__")
                )
        if fullname in NAMESPACES or table.is_module(fullname):
            spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
            if fullname in NAMESPACES[1:]:  # lava.lib.dnf and the like lie on disk
                parts = fullname.split(".")
                spec.submodule_search_locations = [
                    where for p in sys.path if os.path.isdir(where := os.path.join(p, *parts))
                ]
            return spec
        if fullname.startswith("lava.lib."):
            found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
            if found is not None or not fullname.startswith("lava.lib.dl."):
                return found
        # without name=, or ``from package import name`` would be told by Python in its own words
        raise ModuleNotFoundError(table.absent(fullname))

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        if spec.name in self.kept:
            return self.kept[spec.name][0]
        module = _Module(spec.name, f"Lava's {spec.name}, as lavalike.compat answers it.")
        names = table.TABLE.get(spec.name)
        if names is not None:
            module.__dict__["__all__"] = [n for n in names if not n.startswith("_")]
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.name in self.kept:
            module.__spec__ = self.kept.pop(spec.name)[1]


def install() -> None:
    """Answer imports of ``lava...`` from now on. ImportError where Lava itself is imported
    already."""
    if any(isinstance(f, Finder) for f in sys.meta_path):
        return
    there = sys.modules.get("lava")
    if there is not None and not isinstance(there, _Module):
        where = getattr(there, "__file__", None) or next(iter(getattr(there, "__path__", "?")))
        raise ImportError(
            f"lavalike.compat: lava is imported already, from {where}; a program has one of the two: import "
            "lavalike.compat.lava before anything of lava's, or run it as python -m lavalike.compat script.py"
        )
    sys.meta_path.insert(0, Finder())


def uninstall() -> None:
    """Take the finder off, and what it made out of ``sys.modules``; instances of its classes live
    on."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, Finder)]
    for name in [n for n in sys.modules if n == "lava" or n.startswith("lava.")]:
        del sys.modules[name]
