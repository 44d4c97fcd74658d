"""Arguments that must be numbers: numpy's are taken as well, bools and text are not."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

from lavalike.errors import InputError, LavalikeError, kind_error


def whole(
    value: Any,
    least: int,
    what: str,
    error: type[LavalikeError] = InputError,
    most: int | None = None,
) -> int:
    """``value`` as an int within ``least``..``most``; else ``error`` (its TypeError kin for no integer), which calls it ``what``."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        error = kind_error(error) if number is None else error
        raise error(
            f"{what} is an integer {f'>= {least}' if most is None else f'in {least}..{most}'}, got {value!r}"
        )
    return number


def finite(
    value: Any, what: str, least: float = -math.inf, error: type[LavalikeError] = InputError
) -> float:
    """``value`` as a float, finite and not below ``least``; else ``error`` (its TypeError kin for no number), which calls it ``what``."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < least:
        error = error if number else kind_error(error)
        raise error(
            f"{what} is a finite number{'' if least == -math.inf else f' >= {least:g}'}, got {value!r}"
        )
    return float(value)
