"""What the arguments of a public door may be, said once, beside its signature.

    @arguments(shape=SHAPE, rate=real(0, 1), mode=choice("sum", "mean"), name=optional(TEXT))
    def __init__(self, *, shape, rate=0.5, mode="sum", name=None): ...

A value of the wrong kind is an error that is also a TypeError, a wrong value of the right kind one
that is also a ValueError; both name the door, the argument, what it takes and what it got. A
keyword that the door does not have is a TypeError with the nearest that it has. Rules only look:
the function gets what the caller gave.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np

from lavalike.errors import InputError, LavalikeError, kind_error

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    """What an argument may be.

    Args:
        words: what is expected, as a message says it: "an integer >= 1".
        kind: whether a value is of the right kind.
        value: whether one of the right kind has a right value.
        near: words a misspelt value is compared with.
    """

    words: str
    kind: Callable[[Any], bool]
    value: Callable[[Any], bool] = lambda value: True
    near: tuple[str, ...] = ()

    def check(
        self, door: str, name: str, value: Any, error: type[LavalikeError] = InputError
    ) -> None:
        """Raise ``error`` (its TypeError kin where the kind is wrong) unless ``value`` may be
        argument ``name`` of ``door``."""
        self.look(f"{door}: {name}", value, error)

    def look(self, what: str, value: Any, error: type[LavalikeError] = InputError) -> None:
        """:meth:`check` of a value that the message calls ``what``."""
        if not self.kind(value):
            grad = (
                "; no gradient passes here: detach() it"
                if getattr(value, "requires_grad", False) is True
                else ""
            )
            raise kind_error(error)(
                f"{what} is {self.words}, got {shown(value)} ({type(value).__name__}){grad}"
            )
        if not self.value(value):
            hint = did_you_mean(value, self.near) if isinstance(value, str) else ""
            raise error(f"{what} is {self.words}, got {shown(value)}{hint}")


def shown(value: Any, width: int = 80) -> str:
    """``value`` in a message: one line of at most ``width`` characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception as e:  # a repr of the user's own
        text = f"<{type(value).__name__}, whose repr raises {type(e).__name__}>"
    return text if len(text) <= width else text[: width - 3] + "..."


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """ "; did you mean 'x'?" where one of ``names`` is near ``name``, else nothing."""
    near = difflib.get_close_matches(str(name), list(names), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# -- rules -----------------------------------------------------------------------------------------


def _limits(
    low: float | None, high: float | None, above: float | None = None, below: float | None = None
) -> str:
    if low is not None and high is not None:
        return f" in {low}..{high}"
    words = [
        f" {sign} {x}"
        for sign, x in ((">=", low), (">", above), ("<=", high), ("<", below))
        if x is not None
    ]
    return " and".join(words)


def _inside(
    value: Any,
    low: float | None,
    high: float | None,
    above: float | None = None,
    below: float | None = None,
) -> bool:
    return bool(
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def is_integer(value: Any) -> bool:
    """Whether ``value`` is one whole number: an int, of NumPy or a tensor too, but no bool."""
    if type(value) is int:
        return True
    if (
        isinstance(value, bool | np.bool_ | str | list | tuple)
        or getattr(value, "ndim", False)
        or _is_bool(value)
    ):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def is_real(value: Any) -> bool:
    """Whether ``value`` is one real number, of NumPy or a tensor too, but no bool and no text."""
    if isinstance(value, bool | np.bool_ | str | bytes | complex) or value is None:
        return False
    if isinstance(value, int | float):
        return True
    array = as_numbers(value)
    return array is not None and array.ndim == 0 and array.dtype.kind in "iuf"


def _is_bool(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def as_numbers(value: Any) -> np.ndarray | None:
    """``value`` (numbers, nested lists, arrays, tensors) as an array of bools, integers, floats or
    complex numbers, or None; also for a tensor that requires a gradient."""
    if hasattr(value, "detach"):
        if value.requires_grad:  # it would be dropped
            return None
        if value.device.type == "meta":
            return np.broadcast_to(np.zeros((), np.float32), tuple(value.shape))
        value = value.cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    if isinstance(value, str | bytes) or value is None or callable(value):
        return None
    if (
        isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any()
    ):  # what is behind the mask is not meant
        return None
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # ragged, or an object that is no array
        return None
    return array if array.dtype.kind in "biufc" else None


def integer(low: int | None = None, high: int | None = None) -> Rule:
    """One whole number in ``low..high``; no bool, no float."""
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    return Rule(
        f"an integer{_limits(low, high)}", is_integer, lambda v: least <= operator.index(v) <= most
    )


def real(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> Rule:
    """One real number within closed (``low``, ``high``) or open limits (``above``, ``below``); NaN
    never, infinity if said so."""

    def fits(value: Any) -> bool:
        value = float(value)
        return (
            value == value
            and (infinite or abs(value) != float("inf"))
            and _inside(value, low, high, above, below)
        )

    limits = _limits(low, high, above, below)
    return Rule(f"a number{limits}" if limits or infinite else "a finite number", is_real, fits)


def whole(
    value: Any,
    least: int,
    what: str,
    error: type[LavalikeError] = InputError,
    most: int | None = None,
) -> int:
    """``value`` as an int where :func:`integer` takes it; else its ``error``, which calls it
    ``what``."""
    integer(least, most).look(what, value, error)
    return operator.index(value)


def finite(
    value: Any, what: str, least: float | None = None, error: type[LavalikeError] = InputError
) -> float:
    """``value`` as a float where :func:`real` takes it; else its ``error``, which calls it
    ``what``."""
    real(least).look(what, value, error)
    return float(value)


def numbers(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    ndim: int | None = None,
    kinds: str = "biuf",
) -> Rule:
    """A number, or an array, list or tensor of numbers (``kinds`` of dtypes), finite, each in
    ``low..high``, of ``ndim`` axes."""

    def kind(value: Any) -> bool:
        if type(value) in (int, float):
            return type(value) is int or "f" in kinds
        array = as_numbers(value)
        return array is not None and array.dtype.kind in kinds

    def fits(value: Any) -> bool:
        if type(value) in (int, float) and not ndim:
            return math.isfinite(value) and _inside(value, low, high, above)
        array = as_numbers(value)
        assert array is not None
        if ndim is not None and array.ndim != ndim:
            return False
        if not array.size or array.dtype.kind == "b":
            return True
        if array.dtype.kind == "c":
            return bool(np.isfinite(array).all())
        least, most = array.min(), array.max()  # NaN is both, wherever it stands
        return (
            bool(np.isfinite(least) and np.isfinite(most))
            and _inside(least, low, None, above)
            and _inside(most, None, high)
        )

    what = "whole numbers" if set(kinds) <= set("biu") else "finite numbers"
    axes = "" if ndim is None else f" over {ndim} axes"
    return Rule(f"{what}{_limits(low, high, above)}{axes}", kind, fits)


def choice(*values: str) -> Rule:
    """One of ``values``."""
    return Rule(
        " or ".join(map(repr, values)), lambda v: isinstance(v, str), lambda v: v in values, values
    )


# whether torch.compile reads the code, which cannot look at the bases of a tensor's class; who
# loads torch tells
compiling: Callable[[], bool] = bool


def instance(*classes: type | str, words: str = "") -> Rule:
    """An object of one of ``classes``; a class may be named by its dotted path, so that its module
    need not be loaded."""
    names = [c if isinstance(c, str) else f"{c.__module__}.{c.__qualname__}" for c in classes]

    types = tuple(c for c in classes if isinstance(c, type))
    paths = {c for c in classes if isinstance(c, str)}

    @functools.cache
    def named(mro: tuple[type, ...]) -> bool:
        return any(f"{b.__module__}.{b.__qualname__}" in paths for b in mro)

    def takes(v: Any) -> bool:
        return isinstance(v, types) or compiling() or named(type(v).__mro__)

    words = words or "a " + " or ".join(n.rsplit(".", 1)[-1] for n in names)
    return Rule(words, takes if paths else lambda v: isinstance(v, types))


def optional(rule: Rule) -> Rule:
    """None, or what ``rule`` takes."""
    return Rule(
        f"{rule.words} or None",
        lambda v: v is None or rule.kind(v),
        lambda v: v is None or rule.value(v),
        rule.near,
    )


def or_false(rule: Rule) -> Rule:
    """False or None, which stand for nothing, or what ``rule`` takes."""
    return Rule(
        f"{rule.words} (or False)",
        lambda v: v is None or v is False or rule.kind(v),
        lambda v: v is None or v is False or rule.value(v),
        rule.near,
    )


def trained(rule: Rule) -> Rule:
    """What ``rule`` takes, and tensors of it through which gradients pass."""

    def plain(v: Any) -> Any:
        return v.detach() if hasattr(v, "detach") else v

    return Rule(rule.words, lambda v: rule.kind(plain(v)), lambda v: rule.value(plain(v)))


def either(*rules: Rule) -> Rule:
    """What one of ``rules`` takes."""
    return Rule(
        " or ".join(r.words for r in rules),
        lambda v: any(r.kind(v) for r in rules),
        lambda v: any(r.kind(v) and r.value(v) for r in rules),
        tuple(n for r in rules for n in r.near),
    )


def sequence(rule: Rule, length: int | None = None, least: int = 0) -> Rule:
    """A list or tuple of ``length`` (at least ``least``) of what ``rule`` takes."""
    count = f"{length} of: " if length is not None else f"at least {least} of: " if least else ""
    return Rule(
        f"a sequence of {count}{rule.words}",
        lambda v: (
            isinstance(v, Sequence | np.ndarray)
            and not isinstance(v, str | bytes)
            and all(rule.kind(x) for x in v)
        ),
        lambda v: (
            (length is None or len(v) == length)
            and len(v) >= least
            and all(rule.value(x) for x in v)
        ),
    )


ANY = Rule("anything", lambda v: True)
FLAG = Rule(
    "True or False", lambda v: isinstance(v, bool | np.bool_) or (is_integer(v) and v in (0, 1))
)
TEXT = Rule("a text", lambda v: isinstance(v, str))
FUNCTION = Rule("a function", callable)
MAPPING = Rule("a dict", lambda v: isinstance(v, Mapping))
PATH = Rule(
    "a path",
    lambda v: isinstance(v, str | os.PathLike),
    lambda v: str(v) != "" and "\0" not in str(v),
)
SHAPE = Rule(
    "a shape (a positive integer or a tuple of them)",
    lambda v: (
        is_integer(v) or (isinstance(v, list | tuple | np.ndarray) and all(map(is_integer, v)))
    ),
    lambda v: v > 0 if is_integer(v) else len(v) > 0 and all(x > 0 for x in v),
)
TENSOR = instance("torch.Tensor", words="a torch tensor")


# -- the door --------------------------------------------------------------------------------------


# **TABLE holds rules only, never error or late; a type checker knows from the overload that names
# which of the two are given
@overload
def arguments(more: Mapping[str, Rule] | None = None, /, **rules: Rule) -> Callable[[F], F]: ...
@overload
def arguments(
    more: Mapping[str, Rule] | None = None, /, *, error: type[LavalikeError], **rules: Rule
) -> Callable[[F], F]: ...
@overload
def arguments(
    more: Mapping[str, Rule] | None = None, /, *, late: bool, **rules: Rule
) -> Callable[[F], F]: ...
@overload
def arguments(
    more: Mapping[str, Rule] | None = None,
    /,
    *,
    error: type[LavalikeError],
    late: bool,
    **rules: Rule,
) -> Callable[[F], F]: ...
def arguments(
    more: Mapping[str, Rule] | None = None,
    /,
    *,
    error: Any = InputError,
    late: Any = False,
    **rules: Rule,
) -> Callable[[F], F]:
    """Decorator of a function, of an ``__init__``, or of a class (its ``__init__`` then): check
    what it is called with.

    Args:
        more: rules of arguments that have a name of this function's own, ``{"error": FUNCTION}``.
        error: what a wrong value raises; a wrong kind raises its kin that is a TypeError.
        late: look only where the function itself fails (no LavalikeError of its own): for what is
            called in every step, and checks its values itself. Default False.
        rules: argument to :class:`Rule`. A subclass's ``__init__`` that hands on ``**kwargs`` needs
            rules for its own only.

    A default is not checked. Arguments without a rule are not looked at, but unknown, missing and
    doubled ones are told.
    """
    rules = {**rules, **(more or {})}

    def decorate(target: F) -> F:
        if isinstance(target, type):
            cls: Any = target
            cls.__init__ = decorate(cls.__init__)
            return target
        parameters = list(inspect.signature(target).parameters.values())
        strange = set(rules) - {p.name for p in parameters}
        if strange:
            raise TypeError(f"arguments: {target.__qualname__} has no {sorted(strange)}")
        method = target.__name__ in ("__init__", "__new__")  # __new__: of a NamedTuple
        places = tuple(
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        )
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        needed = tuple(
            p.name
            for p in parameters
            if p.default is p.empty and p.name in named and p.name != "self"
        )
        defaults = {p.name: p.default for p in parameters}  # right where they are handed on, too
        any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)

        table = {name: (rule.kind, rule.value, defaults[name]) for name, rule in rules.items()}
        ruled = tuple(table.get(name) for name in places)

        def right(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
            """Whether no value is wrong and no name handed on is strange, in few operations;
            ``look`` says what else may be."""
            for value, rule in zip(args, ruled, strict=False):
                if (
                    rule is not None
                    and value is not rule[2]
                    and not (rule[0](value) and rule[1](value))
                ):
                    return False
            for name, value in kwargs.items():
                rule = table.get(name)
                if (
                    rule is not None
                    and value is not rule[2]
                    and not (rule[0](value) and rule[1](value))
                ):
                    return False
            return not open_ended or kwargs.keys() <= named

        def look(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            cls = (
                (args[0] if isinstance(args[0], type) else type(args[0]))
                if method and args
                else None
            )
            door = target.__qualname__ if cls is None else cls.__name__
            if kwargs:
                whole = (
                    keywords(cls) if cls is not None else None
                )  # a subclass's too: it may have handed on a misspelt one
                known = whole if open_ended else named
                if known is not None and not kwargs.keys() <= known:
                    _unknown(door, next(k for k in kwargs if k not in known), whole or known, error)
            if len(args) > len(places) and not any_number:
                raise kind_error(error)(
                    f"{door}: {len(args) - method} arguments by position, it takes {len(places) - method}: "
                    f"{', '.join(places[method:])}"
                )
            given = {**dict(zip(places, args, strict=False)), **kwargs}
            if len(given) < min(len(args), len(places)) + len(kwargs):
                twice = next(n for n in places[: len(args)] if n in kwargs)
                raise kind_error(error)(f"{door}: {twice} is given twice, by position and by name")
            for name in needed:
                if name not in given:
                    raise kind_error(error)(
                        f"{door}: {name} is missing{f'; it is {rules[name].words}' if name in rules else ''}"
                    )
            for name, rule in rules.items():
                if name in given and given[name] is not defaults[name]:
                    rule.check(door, name, given[name], error)

        @functools.wraps(target)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if not late:
                if not right(args, kwargs):
                    look(args, kwargs)
                try:
                    return target(*args, **kwargs)
                except LavalikeError:
                    raise
                except TypeError as e:  # a name missing, strange or doubled?
                    failed = e
                look(args, kwargs)
                raise failed
            try:
                return target(*args, **kwargs)
            except LavalikeError:
                raise
            except (TypeError, AttributeError, ValueError, LookupError, RuntimeError):
                look(args, kwargs)  # says what is wrong where an argument is at fault
                raise

        return checked  # type: ignore[return-value]  # as the function is called

    return decorate


def _unknown(door: str, name: str, known: Iterable[str], error: type[LavalikeError]) -> None:
    names = sorted({*known} - {"self"})
    raise kind_error(error)(
        f"{door}: no argument {name!r}{did_you_mean(name, names) or f'; it takes {names}'}"
    )


@functools.cache
def keywords(cls: type) -> frozenset[str] | None:
    """Keywords that ``cls`` takes: those of its ``__init__`` and, as long as that hands on
    ``**kwargs``, of its bases'; None: any."""
    names: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        if base is object:
            break
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return frozenset(names - {"self"})
    return None
