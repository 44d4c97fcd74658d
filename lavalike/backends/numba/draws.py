"""Random numbers by place: those of a step follow from a seed, the process, the step and the sample
alone, whatever was drawn before.

A generator that counts (Philox 4x32-10: Salmon et al. 2011) answers a counter of 128 bits with four
words of 32. Noise sources ask it element by element. A user's own step says ``np.random`` or
``random``, which Numba computes from a Mersenne Twister that each thread has: before every call its
624 words are filled anew, so that neither threads nor how a run is cut decide what is drawn.
"""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types as numba_types
from numba.core.dispatcher import Dispatcher
from numba.cpython import randomimpl
from numba.extending import intrinsic

from lavalike.backends.numba.address import pointer_int32
from lavalike.backends.numba.kernels import NUMPY, PYTHON, jit
from lavalike.dynamics.dynamics import outside

LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
ROUNDS = 10
NOISE = 0  # the stream of a source; NUMPY and PYTHON are those of users' steps
# of a Mersenne Twister; around them in Numba's state: an index, and a normal number that is left
# over
WORDS = 624


@jit
def philox(numbers, t, stream, block):
    """Four words for ``block`` of a ``stream`` of step ``t``; ``numbers``: key and sample."""
    key = np.uint64(numbers[0])
    c0, c1 = np.uint64(block), np.uint64(t) & LOW
    c2, c3 = (np.uint64(t) >> HIGH) | (np.uint64(stream) << np.uint64(24)), np.uint64(numbers[1])
    k0, k1 = key & LOW, key >> HIGH
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> HIGH) ^ c1 ^ k0, p1 & LOW, (p0 >> HIGH) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return c0, c1, c2, c3


@jit
def fill(words, numbers, t, stream):
    for block in range(WORDS // 4):
        four = philox(numbers, t, stream, block)
        for k in range(4):
            words[4 * block + k] = np.int32(np.uint32(four[k]))


def _state(whose: str) -> Any:
    """The address of this thread's generator."""

    @intrinsic
    def address(typingctx):
        def codegen(context, builder, signature, args):
            state = randomimpl.get_state_ptr(context, builder, whose)
            return builder.ptrtoint(state, ir.IntType(64))

        return numba_types.int64(), codegen

    return address


_numpy_state = _state("np")
_python_state = _state("py")


@jit
def _seed(address, numbers, t, stream):
    state = carray(pointer_int32(address), (WORDS + 5,))
    state[0] = 0  # none of the words is used up
    fill(state[1 : WORDS + 1], numbers, t, stream)
    state[WORDS + 1] = 0  # no normal number is left over
    state[WORDS + 4] = 1


@jit
def seed_numpy(numbers, t):
    """Let this thread's ``np.random`` of compiled code begin anew."""
    _seed(_numpy_state(), numbers, t, NUMPY)


@jit
def seed_python(numbers, t):
    """Likewise ``random``."""
    _seed(_python_state(), numbers, t, PYTHON)


def seed_compiled(draws: int, numbers: np.ndarray, t: int) -> None:
    """Both of this thread, as far as ``draws`` tells that they are used."""
    if draws & NUMPY:
        seed_numpy(numbers, t)
    if draws & PYTHON:
        seed_python(numbers, t)


@contextmanager
def seeded(draws: int, numbers: np.ndarray, t: int) -> Iterator[None]:
    """NumPy's and Python's own generators as the compiled ones are seeded; as they were before,
    afterwards."""
    before = np.random.get_state(), random.getstate()  # noqa: NPY002  (the one that a step names)
    words = np.zeros(WORDS, np.int32)
    try:
        if draws & NUMPY:
            fill(words, numbers, t, NUMPY)
            np.random.set_state(("MT19937", words.view(np.uint32), 0, 0, 0.0))  # noqa: NPY002
        if draws & PYTHON:
            fill(words, numbers, t, PYTHON)
            random.setstate((3, (*words.view(np.uint32).tolist(), 0), None))
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


def drawn(function: Any, above: tuple[Any, ...] = ()) -> int:
    """Which generators a step uses, itself or in a helper: NUMPY, PYTHON, both added up, or 0."""
    plain = getattr(function, "py_func", function)
    found = 0
    if not isinstance(plain, types.FunctionType) or plain in above:
        return 0
    for _, value in outside(plain):
        owner = getattr(value, "__self__", None)
        if value is np.random or isinstance(owner, np.random.RandomState):
            found |= NUMPY
        elif value is random or isinstance(owner, random.Random):
            found |= PYTHON
        elif isinstance(value, Dispatcher | types.FunctionType) and not _foreign(value):
            found |= drawn(value, (*above, plain))
    return found


def _foreign(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "").split(".")[0] in ("numpy", "numba")
