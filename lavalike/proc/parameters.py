"""Parameters that are one number for all neurons or one each."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.process import Var


def parameter(shape: tuple[int, ...], value: Any, trainable: bool = False) -> Var:
    """A parameter Var of shape ``(1,)`` for a single number, else of ``shape``."""
    single = np.size(value) == 1
    return Var((1,) if single else shape, np.reshape(value, ()) if single else value, role="parameter", trainable=trainable)
