"""Packages that only some calls need: imported when they are called, and told where they are
missing."""

from __future__ import annotations

import importlib
from typing import Any

from lavalike.errors import MissingExtraError


def needed(module: str, who: str, extra: str) -> Any:
    """The module; MissingExtraError, which says how ``lavalike[extra]`` is installed, where it is
    not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        package = module.partition(".")[0]
        if (e.name or "").partition(".")[0] != package:
            raise  # of what that package itself needs
        raise MissingExtraError(
            f"{who} needs {package}: pip install 'lavalike[{extra}]'", name=package
        ) from None
