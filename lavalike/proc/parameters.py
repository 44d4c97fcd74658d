"""Parameters that are one number for all neurons or one each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lavalike.arguments import as_numbers, shown
from lavalike.errors import VarTypeError
from lavalike.process import AbstractProcess, Var


def parameter(shape: tuple[int, ...], value: Any, trainable: bool = False, name: str = "") -> Var:
    """A parameter Var of shape ``(1,)`` for a single number, which may become ``shape`` later, else
    of ``shape``."""
    each = shape
    if type(value) not in (int, float):
        value = array(name, value)
        if value.size == 1:
            value, shape = value.reshape(()), (1,)
    else:
        shape = (1,)
    var = Var(shape, value, role="parameter", trainable=trainable, name=name)
    var.each = each
    return var


def expose(outer: AbstractProcess, inner: AbstractProcess, names: Iterable[str]) -> None:
    """Give ``outer`` the Vars ``names`` of ``inner``, a process within it."""
    for name in names:
        var: Var = getattr(inner, name)
        mine = Var(var.shape, var.value, role=var.role, name=name)
        setattr(outer, name, mine)
        mine.alias(var)


def array(name: str, value: Any) -> np.ndarray:
    """``value`` as an array of real numbers; a VarError that names it otherwise, a TypeError too
    where it is none."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    numbers = as_numbers(value)
    if numbers is None or numbers.dtype.kind not in "biuf":
        raise VarTypeError(
            f"{name}: an array of real numbers without gaps is needed, got {shown(value)} ({type(value).__name__})"
        )
    return numbers
