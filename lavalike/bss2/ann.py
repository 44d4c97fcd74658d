"""hxtorch.ann: an older name of :mod:`lavalike.bss2.perceptron`."""

from __future__ import annotations

from typing import Any

from lavalike.bss2 import perceptron

__path__: list[str] = []  # its submodules are perceptron's, see lavalike.bss2.hxtorch.aliases


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what the import system asks for is the module's own
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(perceptron, name)


def __dir__() -> list[str]:
    return dir(perceptron)
