"""fixed_pt holds whole numbers: what a user's step or equation would cut off is told, with its
line, what is meant is left alone."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba import NumbaModel, kinds
from lavalike.backends.numba.kernels import Spec
from lavalike.dynamics import Dynamics
from lavalike.dynamics.ops import above, leak, reset, unscale, where, wrap
from lavalike.process import InPort, OutPort, Var

FIXED = {"precision": "fixed_pt"}
HALF = 0.5


class Counter(lv.AbstractProcess):
    """One input, one output, and whole numbers n."""

    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = InPort((3,)), OutPort((3,))
        self.n = Var((3,), 4)


@numba.njit
def put(a, x):
    a[0] = x


@numba.njit
def halve(a):
    a //= 2
    a *= HALF


def element(a_in, s_out, n):
    s_out[:] = 0
    n[0] = n[0] * 0.9 + a_in[0]


def message(a_in, s_out, n):
    s_out[1] = n[1] / 2
    s_out[:] = a_in


def beside_whole(a_in, s_out, n):
    s_out[:] = 0
    n[1] = 1.0
    n[:] = a_in * HALF


def masked(a_in, s_out, n):
    s_out[:] = 0
    n[a_in == 0] = 2.5


def flat(a_in, s_out, n):
    s_out[:] = 0
    n.flat[0] = 2.5


def iterated(a_in, s_out, n):
    s_out[:] = 0
    for x in np.nditer(n):
        x[()] = 2.5


def filled(a_in, s_out, n):
    s_out[:] = 0
    n.fill(2.5)


def listed(a_in, s_out, n):
    s_out[:] = 0
    n[:] = [0.0, 1.0, 2.5]


def in_place(a_in, s_out, n):
    s_out[:] = 0
    n += np.sqrt(a_in)
    n -= 1


def in_place_before(a_in, s_out, n):
    s_out[:] = 0
    n *= 0.5


def by_a_helper(a_in, s_out, n):
    s_out[:] = 0
    put(n[1:], n.mean())


def in_place_by_a_helper(a_in, s_out, n):
    s_out[:] = 0
    halve(n)


def by_an_inner_function(a_in, s_out, n):
    def of(x):
        x[0] = 2.5

    of(n)
    s_out[:] = 0


def changed_array(a_in, s_out, n):
    x = np.zeros(3)
    x[0] = 0.5
    n[:] = x
    s_out[:] = 0


def summed_up(a_in, s_out, n):
    x = 0.0
    for i in range(3):
        x = x + a_in[i] * 0.25
    n[0] = x
    s_out[:] = 0


WRITES = {  # the line behind the def
    element: 2,
    message: 1,
    beside_whole: 3,
    masked: 2,
    flat: 2,
    iterated: 3,
    filled: 2,
    listed: 2,
    in_place: 2,
    in_place_before: 2,
    by_a_helper: 2,
    in_place_by_a_helper: 2,
    by_an_inner_function: 2,
    changed_array: 3,
    summed_up: 4,
}


def counter(step, precision="fixed_pt"):
    kind = type("Own", (Counter,), {})
    lv.implements(kind, backend="numba", precision=precision)(
        type("OwnModel", (NumbaModel,), {"step": step})
    )
    return kind()


@pytest.mark.parametrize("step", WRITES)
def test_a_step_that_would_cut_fractions_off_is_told(step):
    name = "s_out" if step is message else "n"
    line = step.__code__.co_firstlineno + WRITES[step]
    with pytest.raises(
        lv.GraphError,
        match=rf"^Own\.{name}: of int32, as all numbers of fixed_pt are, and OwnModel\.step \(.*test_whole_numbers.py:{line}\) "
        r"writes floats into it; round them there \(int\(x\)",
    ):
        lv.simulate(counter(step), steps=1, config=lv.RunConfig(**FIXED))


def meant(a_in, s_out, n):
    """Whole numbers by the way they are made, some of which Numba has as floats."""
    level = 1.0 if a_in[0] > 5 else 0.0
    for _ in range(2):
        level = level + 2.0
    n[0] = int(n[0] * 0.9)  # 3
    n[1] = np.floor(n[1] * 0.9) - 1.0  # 2
    n[2] = (n[2] // 1.5) * 3  # 6
    s_out[0] = max(level, 2.0)  # 5
    s_out[1] = round(a_in[1] * HALF) + math.floor(2.5)  # 4 + 2
    s_out[2] = a_in[2] >> 1 if n[2] > 3 else np.ceil(HALF)  # 3


@pytest.mark.parametrize("debug", [False, True])
def test_what_is_meant_is_left_alone(debug):
    process = counter(meant)
    got = lv.simulate(
        process,
        {"a_in": np.full((3, 1), 7)},
        config=lv.RunConfig(debug=debug, **FIXED),
        record=[process.n],
    )
    assert got["n"][:, 0].tolist() == [3, 2, 6]
    assert got["s_out"][:, 0].tolist() == [5, 6, 3]


def meant_of_arrays(a_in, s_out, n):
    fresh = np.zeros(3)
    n[:] = fresh + 8.0
    n //= 2
    n[1:] = (n[1:] * 0.75).astype(np.int32) >> 1
    n[:] = np.rint(a_in * HALF)
    n.fill(-1.0)
    put(n, 2.0)  # a helper knows of its argument that it is a float
    s_out[:] = np.full(3, 2.0)
    s_out[:2] = (1.0, 2.0)


def asked_whole(a_in, s_out, n):
    s_out[:] = 0
    n[0] = np.floor(a_in[0])


def found(step, message="int32"):
    """By array what a step does with floats: where it writes some, and where it may cut a fraction
    off."""
    first = step.__code__.co_firstlineno
    kinds_of = {"a_in": message, "s_out": message, "n": "int32"}
    spec = Spec(step, tuple((name, (dtype, 1)) for name, dtype in kinds_of.items()), trusted=False)
    return {
        name: (cut.line - first, cut.lost and cut.lost - first)
        for name, cut in kinds.fractions(spec).items()
    }


def test_what_is_written_is_told_apart():
    assert found(meant_of_arrays) == {"n": (2, 7), "s_out": (8, 0)}
    assert found(beside_whole) == {"n": (2, 3)}
    # rounded floats are whole in floating_pt too: no error; they make a Var of Python's numbers,
    # which hold less, one of floats
    assert found(asked_whole, "float64") == {"n": (2, 0)}


def unknown_operation(a_in, s_out, n):
    s_out[:] = 0
    n += 1
    np.copyto(n, n)


def removed(a_in, s_out, n):
    s_out[:] = 0
    n += 1
    np.round_(a_in)  # noqa: NPY003, NPY201  # that is what is tried


def by_keyword(a_in, s_out, n):
    s_out[:] = 0
    np.add(n, a_in, out=n)


@pytest.mark.parametrize("step", [unknown_operation, removed, by_keyword])
def test_what_does_not_compile_is_told_as_that(step):
    with pytest.raises(lv.GraphError, match=r"^Own: the model's step does not compile: "):
        lv.simulate(counter(step), steps=1, config=lv.RunConfig(**FIXED))


# -- equations -------------------------------------------------------------------------------------


def by_a_fraction(a_in, v, k):
    v = v * k + a_in
    return above(v, 10), v


def by_a_global(a_in, v, k):
    return v > 3, v * HALF


def by_a_root(a_in, v, k):
    v = a_in + math.sqrt(v * v + k)
    return above(v, 3), v


def within_a_word(a_in, v, k):
    v = where(a_in > 0, v / 2, v)
    return above(v, 3), v


def quarter(v):
    return wrap(v) * 0.25


def in_a_helper(a_in, v, k):
    v = quarter(v) + a_in
    return above(v, 3), reset(v > 3, v, 0)


def sent(a_in, v, k):
    return v / 2, v + a_in


def rounded(a_in, v, k):
    v = leak(v, k) + int(a_in * HALF) + unscale(a_in, 1) + a_in // 2 * 1.0
    s = above(v, 10.5)
    return s, reset(s, v, 0.0)


def equation(step, k=None):
    dynamics = Dynamics(
        step,
        ("a_in",),
        ("s_out",),
        ("v",),
        constants=None if k is None else lambda values, units, fixed: {"k": k},
    )

    class Own(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a_in, self.s_out = InPort((2,)), OutPort((2,))
            self.v, self.k = Var((2,), 4), Var((1,), 1024, role="parameter")

    Own.dynamics = dynamics
    return Own()


@pytest.mark.parametrize(
    ("step", "k", "what", "line"),
    [
        (by_a_fraction, 0.9, r"\.v:", 2),
        (by_a_global, None, r"\.v:", 1),
        (by_a_root, None, r"\.v:", 2),
        (within_a_word, None, r": what where\(\.\.\.\) is given", 1),
        (in_a_helper, None, r": what reset\(\.\.\.\) is given", 2),
        (sent, None, r"\.s_out:", 1),
    ],
)
def test_an_equation_that_would_cut_fractions_off_is_told(step, k, what, line):
    line += step.__code__.co_firstlineno
    place = rf"a fraction in {step.__name__} \(.*test_whole_numbers.py:{line}\), and fixed_pt holds whole"
    with pytest.raises(lv.GraphError, match=rf"^Own{what} may be {place}"):
        lv.simulate(equation(step, k), steps=1, config=lv.RunConfig(**FIXED))


def test_an_equation_of_whole_numbers_runs():
    """A decay may be a fraction of 1/4096, as that of ATRLIF's current; what is rounded or cannot
    be a fraction is no error."""
    process = equation(rounded, 1024.5)
    got = lv.simulate(
        process, {"a_in": np.full((2, 1), 7)}, config=lv.RunConfig(**FIXED), record=[process.v]
    )
    assert got["v"].tolist() == [[10], [10]]  # 1 + 3 + 3 + 3
    assert not equation(by_a_fraction).dynamics.may_leave([])  # nothing to look into
