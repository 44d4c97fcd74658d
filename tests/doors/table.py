"""What a row of the doors' test is: a public name, a call of it that is right, and for every
argument what is wrong.

A row of :mod:`tests.test_doors` asks four things of a door. The good call works. For every
argument, each sample of a wrong kind raises a LavalikeError that is a TypeError, each wrong value
one that is a ValueError and no TypeError, and both name the argument. Every argument's name
misspelt is a TypeError that says which was meant. And no argument of the signature is left out of
the row.
"""

from __future__ import annotations

import atexit
import importlib
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lavalike.errors import LavalikeError

FOLDER = Path(tempfile.mkdtemp())  # of files that rows read and write
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


@dataclass(frozen=True)
class Bad:
    """Samples of what an argument may not be. ``name`` is how the error calls it where that is not
    the argument's own name."""

    kinds: tuple[Any, ...] = ()
    values: tuple[Any, ...] = ()
    name: str = ""


NAN, INF = math.nan, math.inf
COUNT = Bad(("3", 2.5, None), (0, -1))
INDEX = Bad(("3", 1.5, None), (-1,))
INTEGER = Bad(("3", 2.5, None))
REAL = Bad(("1", None), (NAN, INF))
POSITIVE = Bad(("1", None), (0.0, -1.0, NAN, INF))
NOT_NEGATIVE = Bad(("1", None), (-1.0, NAN, INF))
FRACTION = Bad(("0.5", None), (1.5, -0.1, NAN))
NUMBERS = Bad(("a", None, [[1], [1, 2]]), (NAN, [1.0, INF]))
FLAG = Bad(("yes", 2, None))
TEXT = Bad((3,))
CHOICE = Bad((3,), ("nonsense",))
SHAPE = Bad(("3", 2.5, None), (0, (3, 0), ()))
PATH = Bad((3, None), ("",))
TENSOR = Bad(("x", None))
FUNCTION = Bad((3, "f"))
OBJECT = Bad((3, "x"))  # of some class
ANY = Bad()  # takes everything; so say why in the row


def optional(bad: Bad) -> Bad:
    """The same where None is right."""
    return Bad(tuple(k for k in bad.kinds if k is not None), bad.values, bad.name)


def also(bad: Bad, *kinds: Any, values: tuple[Any, ...] = ()) -> Bad:
    """The same with more samples."""
    return Bad(bad.kinds + kinds, bad.values + values, bad.name)


def bad(*kinds: Any, values: tuple[Any, ...] = (), name: str = "") -> Bad:
    """Samples of one's own."""
    return Bad(kinds, values, name)


@dataclass(frozen=True)
class Row:
    """One door.

    Args:
        path: dotted name of a class, function or, with ``make``, of a method.
        good: arguments of a call that works; or a function that makes them, where they are made
            anew a call.
        make: what the method is called on.
        bad: argument to :class:`Bad`.
    """

    path: str
    good: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    bad: Mapping[str, Bad] = field(default_factory=dict)
    make: Callable[[], Any] | None = None

    def target(self) -> Callable[..., Any]:
        found = find(self.path)
        return (
            getattr(self.make(), self.path.rpartition(".")[2]) if self.make is not None else found
        )

    def call(self, **changes: Any) -> Any:
        good = self.good() if callable(self.good) else self.good
        return self.target()(**{**good, **changes})

    def wrong(self) -> Iterator[str]:
        """What this door does not do as it should, a line each."""
        for name, samples in self.bad.items():
            called = samples.name or name
            for value in samples.kinds:
                yield from self._refused(name, called, value, True)
            for value in samples.values:
                yield from self._refused(name, called, value, False)
            misspelt = name[:-1] + name[-1] * 2
            try:
                good = dict(self.good() if callable(self.good) else self.good)
                self.target()(**good, **{misspelt: good.get(name, 1)})
            except LavalikeError as e:
                if not isinstance(e, TypeError) or f"did you mean '{name}'" not in str(e):
                    yield f"{misspelt}=: {type(e).__name__}: {e}"
            except Exception as e:
                yield f"{misspelt}=: {type(e).__name__}: {e}"
            else:
                yield f"{misspelt}=: no error"

    def _refused(self, name: str, called: str, value: Any, kind: bool) -> Iterator[str]:
        what = f"{name}={value!r:.60}"
        try:
            self.call(**{name: value})
        except LavalikeError as e:
            if isinstance(e, TypeError) != kind or not (kind or isinstance(e, ValueError)):
                yield f"{what}: {'kind' if kind else 'value'}, yet {type(e).__name__}: {e}"
            elif not re.search(rf"\b{re.escape(called)}\b", str(e)):
                yield f"{what}: does not name {called!r}: {e}"
        except Exception as e:
            yield f"{what}: {type(e).__name__}: {e}"
        else:
            yield f"{what}: no error"


def row(
    path: str,
    good: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = MappingProxyType({}),
    make: Callable[[], Any] | None = None,
    /,
    **bad: Bad,
) -> Row:
    """A :class:`Row`."""
    return Row(path, good, bad, make)


def find(path: str) -> Any:
    """The object a dotted path names; a function hides the module it has its name from."""
    first, *parts = path.split(".")
    found, name = importlib.import_module(first), first
    for part in parts:
        name = f"{name}.{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(name)
    return found
