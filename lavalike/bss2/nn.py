"""hxtorch.nn: the oldest name of :mod:`lavalike.bss2.perceptron.nn`."""

from __future__ import annotations

from typing import Any

from lavalike.bss2.perceptron import nn


def __getattr__(name: str) -> Any:
    return getattr(nn, name)


def __dir__() -> list[str]:
    return dir(nn)
