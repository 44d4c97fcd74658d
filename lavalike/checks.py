"""Arguments that must be numbers: numpy's are taken as well, bools and text are not."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from lavalike.errors import InputError


def whole(value: Any, least: int, what: str, error: type[Exception] = InputError, most: int | None = None) -> int:
    """``value`` as an int within ``least``..``most``; else ``error``, which calls it ``what``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise error(f"{what} is an integer {f'>= {least}' if most is None else f'in {least}..{most}'}, got {value!r}")
    return number


def finite(value: Any, what: str, least: float = -math.inf, error: type[Exception] = InputError) -> float:
    """``value`` as a float, finite and not below ``least``; else ``error``, which calls it ``what``."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < least:
        raise error(f"{what} is a finite number{'' if least == -math.inf else f' >= {least:g}'}, got {value!r}")
    return float(value)
