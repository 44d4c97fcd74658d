"""hxtorch.nn: the oldest name of :mod:`lavalike.bss2.perceptron.nn`."""

from __future__ import annotations

from lavalike.bss2.hxtorch import aliases
from lavalike.bss2.perceptron import nn

__getattr__ = aliases.answered_by(nn, __name__)


def __dir__() -> list[str]:
    return dir(nn)
