"""What a process was made with: kept as long as it is light, so that a file can say how to make it
again."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

PLAIN = (type(None), bool, int, float, complex, str, bytes, type)


class Gone:
    """In the place of an argument that is no longer there, or that no copy takes along."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Made:
    """The arguments of a process's constructor.

    The library's processes have copies of the arrays they are given, so these are referred to
    weakly (``weak``). A pickle has the plain arguments only, since others may be what cannot be
    pickled.
    """

    __slots__ = ("args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], weak: bool = True) -> None:
        light = _light if weak else lambda value: value
        self.args = tuple(map(light, args))
        self.kwargs = {name: light(value) for name, value in kwargs.items()}

    def __reduce__(self) -> Any:
        args = tuple(map(_copied, self.args))
        return _again, (args, {name: _copied(value) for name, value in self.kwargs.items()})

    def __deepcopy__(self, memo: Any) -> Made:
        return self


def _again(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Made:
    made = Made((), {})
    made.args, made.kwargs = args, dict(kwargs)
    return made


def _light(value: Any) -> Any:
    if isinstance(value, PLAIN) or type(value) in (tuple, list, dict):
        return value
    try:
        return weakref.ref(value)
    except TypeError:  # a NumPy scalar, say
        return value


def _copied(value: Any) -> Any:
    """``value`` where all of it is plain data."""
    value = held(value)
    if isinstance(value, PLAIN[:-1]):
        return value
    if type(value) in (tuple, list) and not any(isinstance(_copied(x), Gone) for x in value):
        return value
    if type(value) is dict and not any(isinstance(_copied(x), Gone) for x in value.values()):
        return value
    return value if isinstance(value, Gone) else Gone(type(value).__name__)


def held(value: Any) -> Any:
    """An argument that :class:`Made` has; a :class:`Gone` where it is not there."""
    if not isinstance(value, weakref.ref):
        return value
    there = value()
    return Gone("object") if there is None else there
