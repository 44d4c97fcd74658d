"""netx: .net files (HDF5) and graphs of NIR as process graphs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lavalike.errors import NetFileError as NetFileError
from netx import blocks as blocks, hdf5 as hdf5
from netx.comparison import Comparison as Comparison, compare as compare
from netx.hdf5 import Network as Network
from netx.reader import NetFileWarning as NetFileWarning
from netx.signing import sign as sign

if TYPE_CHECKING:
    from netx import nir as nir

_LAZY = ("nir",)  # who reads .net files only does without it


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"netx.{name}")
    raise AttributeError(f"module 'netx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
