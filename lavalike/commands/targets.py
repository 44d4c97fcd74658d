"""What a word on the command line names: a file of a network, an array, or an object of a
program."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lavalike.arguments import did_you_mean
from lavalike.errors import InputError, LavalikeError
from lavalike.process import AbstractProcess

NETWORKS = (".net", ".h5", ".hdf5")


def is_object(target: str) -> bool:
    """Whether ``target`` is of the form ``program.py:NAME`` or ``package.module:NAME``."""
    head, colon, name = target.rpartition(":")
    return bool(colon and head and name.isidentifier()) and (
        head.endswith(".py") or all(part.isidentifier() for part in head.split("."))
    )


def named(target: str) -> Any:
    """The object that ``program.py:NAME`` or ``package.module:NAME`` names; the program is run as
    an import runs it.

    Raises InputError where there is no such file, module or name, or the program raises.
    """
    head, _, name = target.rpartition(":")
    module = _program(Path(head)) if head.endswith(".py") else _module(head)
    try:
        return getattr(module, name)
    except AttributeError:
        raise InputError(
            f"{target}: {head} has no {name!r}{did_you_mean(name, vars(module))}"
        ) from None


@functools.cache  # once: a model belongs to the class beside it
def _program(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # as `python program.py` would find its neighbours, and models their classes
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except LavalikeError:
        raise
    except Exception as e:  # whatever a user's program raises
        raise InputError(f"{path}: raised {type(e).__name__}: {_line(e)}") from e
    return module


def _module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise InputError(f"{name}: no module of that name: {_line(e)}") from e
    except LavalikeError:
        raise
    except Exception as e:  # whatever a user's module raises
        raise InputError(f"{name}: raised {type(e).__name__}: {_line(e)}") from e


def _line(e: BaseException) -> str:
    return " ".join(str(e).split())


def network(path: Path) -> Any:
    """The network of a .net file; InputError for a .nir file, whose looks are others'."""
    import netx

    if path.suffix.lower() == ".nir":
        raise InputError(
            f"{path}: a .nir file; a .net file is expected (lavalike info says what a .nir file holds)"
        )
    return netx.hdf5.Network(path)


def place(process: AbstractProcess, top: AbstractProcess) -> str:
    """The path of ``process`` below ``top``, whose own name is its file's or nobody's; "" of
    itself."""
    return process.path[len(top.path) :].lstrip(".")
