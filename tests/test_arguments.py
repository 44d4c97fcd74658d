"""The rules of arguments: a wrong kind is a TypeError, a wrong value a ValueError, and both say
which argument of what."""

import numpy as np
import pytest

from lavalike.arguments import (
    FLAG,
    SHAPE,
    TEXT,
    arguments,
    choice,
    either,
    instance,
    integer,
    numbers,
    optional,
    real,
    sequence,
)
from lavalike.errors import InputError, VarError, VarTypeError


class Base:
    @arguments(shape=SHAPE, n=integer(1), name=optional(TEXT), mode=choice("sum", "mean"))
    def __init__(self, shape, n=1, *, name=None, mode="sum"):
        pass


class Derived(Base):
    @arguments(vth=numbers(0))
    def __init__(self, *, vth=1, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: Base("3"), TypeError, r"Base: shape is a shape \(.*\), got '3' \(str\)"),
        (lambda: Base((3, 0)), ValueError, r"Base: shape is a shape .*, got \(3, 0\)"),
        (lambda: Base(3, True), TypeError, r"Base: n is an integer >= 1, got True \(bool\)"),
        (lambda: Base(3, n=0), ValueError, "Base: n is an integer >= 1, got 0"),
        (lambda: Base(3, 1, 2), TypeError, "Base: 3 arguments by position, it takes 2: shape, n"),
        (lambda: Base(3, shape=3), TypeError, "Base: shape is given twice"),
        (lambda: Base(), TypeError, "Base: shape is missing"),
        (
            lambda: Base(3, mode="summ"),
            ValueError,
            "Base: mode is 'sum' or 'mean', got 'summ'; did you mean 'sum'?",
        ),
        (
            lambda: Derived(shpae=3),
            TypeError,
            "Derived: no argument 'shpae'; did you mean 'shape'?",
        ),
        (
            lambda: Derived(shape=3, vht=3),
            TypeError,
            "Derived: no argument 'vht'; did you mean 'vth'?",
        ),
        (
            lambda: Derived(shape=3, vth=[1, -1]),
            ValueError,
            r"Derived: vth is finite numbers >= 0, got \[1, -1\]",
        ),
        (
            lambda: Derived(shape=3, vth=[[1], [1, 2]]),
            TypeError,
            "Derived: vth is finite numbers >= 0",
        ),
        (
            lambda: Derived(shape=3, vth=np.nan),
            ValueError,
            "Derived: vth is finite numbers >= 0, got nan",
        ),
    ],
)
def test_what_is_wrong_is_named(call, kind, text):
    with pytest.raises(InputError, match=text) as caught:
        call()
    assert isinstance(caught.value, TypeError) == (kind is TypeError)


@pytest.mark.parametrize(
    ("rule", "good", "kinds", "values"),
    [
        (
            integer(0, 9),
            [0, 9, np.int8(3), np.array(3)],
            [True, 1.0, "1", None, [1], np.array([1])],
            [-1, 10],
        ),
        (
            real(0, below=1),
            [0, 0.5, np.float32(0.5), np.array(0.5)],
            [True, "1", None, 1j, [0.5]],
            [1, -0.1, np.nan, np.inf],
        ),
        (
            numbers(kinds="iu"),
            [1, [1, 2], np.ones((2, 2), int)],
            ["1", None, 1.5, [1.5], object(), print],
            [],
        ),
        (numbers(0, 1, ndim=2), [[[0, 1]]], ["x", [[1], [1, 2]]], [1, [1], [[2]], [[np.nan]]]),
        (FLAG, [True, 0, np.bool_(1)], [2, "yes", None, 1.0], []),
        (optional(real(0)), [None, 1], ["1"], [-1]),
        (either(integer(1), choice("all")), [1, "all"], [1.5, None], [0, "any"]),
        (sequence(integer(0), 2), [(1, 2), [0, 0]], [1, "12", (1, 2.5)], [(1,), (1, -1)]),
        (instance("numpy.ndarray"), [np.ones(1)], [1, [1]], []),
    ],
)
def test_rules(rule, good, kinds, values):
    for value in good:
        rule.check("f", "x", value)
    for value in kinds:
        with pytest.raises(TypeError, match="f: x is"):
            rule.check("f", "x", value)
    for value in values:
        with pytest.raises(ValueError, match="f: x is") as caught:
            rule.check("f", "x", value)
        assert not isinstance(caught.value, TypeError)


def test_the_error_is_the_doors_own():
    @arguments(error=VarError, x=real())
    def door(x):
        return x

    with pytest.raises(VarTypeError, match=r"door: x is a finite number"):
        door("a")
    with pytest.raises(VarError, match="no argument 'y'"):
        door(1, y=2)
    with pytest.raises(TypeError, match=r"has no \['y'\]"):
        arguments(y=real())(door)


def test_messages_stay_short():
    class Long:
        def __repr__(self):
            return "x" * 10_000

    with pytest.raises(TypeError) as caught:
        real().check("f", "x", Long())
    assert len(str(caught.value)) < 200
