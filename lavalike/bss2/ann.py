"""hxtorch.ann: an older name of :mod:`lavalike.bss2.perceptron`."""

from __future__ import annotations

from lavalike.bss2 import perceptron
from lavalike.bss2.hxtorch import aliases

__path__: list[str] = []  # its submodules are perceptron's, see lavalike.bss2.hxtorch.aliases
__getattr__ = aliases.answered_by(perceptron, __name__)


def __dir__() -> list[str]:
    return dir(perceptron)
