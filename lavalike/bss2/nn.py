"""hxtorch.nn: the oldest name of :mod:`lavalike.bss2.perceptron.nn`."""

from __future__ import annotations

from typing import Any

from lavalike.bss2.perceptron import nn


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what the import system asks for is the module's own
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(nn, name)


def __dir__() -> list[str]:
    return dir(nn)
