"""The exchange of a share with its neighbours, as a row of the table between the direct and the
delayed nodes of a step.

What others hear of this share lies in one run of memory, where its nodes write it; what it hears
lies in another, from which its connections read. The row copies the first into a block that all
processes have, one of two in turn, and says so by a counter (a store with release order); it waits
until its neighbours' counters say the same (loads with acquire order), and copies what they sent.
Who has waited for a millisecond returns to Python, which looks whether there is still someone to
wait for, and goes on in the same step.

Nobody is more than one exchange ahead of a neighbour, so two blocks suffice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from lavalike.backends.numba import kernels
from lavalike.backends.numba.kernels import Spec, nested
from lavalike.backends.numba.program import NumbaProgram, Op, kind_of
from lavalike.compiler.parts import Part
from lavalike.process import OutPort, Port, Var

WAITED = 7  # a kernel's status: a neighbour has not come
SPINS, YIELDS = (
    200,
    2000,
)  # looks at a counter at once, and with the core given away in between: about a millisecond
# what a row remembers: number of the last exchange, of the last one published, first step of the
# tape, and whether it is read or written
NUMBER, PUBLISHED, FIRST, TAPE = range(4)
READ, WRITTEN = 1, 2
TAPE_WORDS = 1 << 19  # of what is kept of messages
EXCHANGE = "exchange"  # the owner of the row


@intrinsic
def load_acquire(typingctx, address):
    """The word at ``address``; what was written before it was released is seen."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store_release(typingctx, address, value):
    """``value`` at ``address``; who sees it sees what was written before."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def call_plain(typingctx, function):
    """``((int (*)(void)) function)()``"""

    def codegen(context, builder, signature, args):
        target = builder.inttoptr(args[0], ir.FunctionType(ir.IntType(32), []).as_pointer())
        return builder.call(target, [])

    return types.int32(types.int64), codegen


def publish(counter, number):
    """Let the counter at an address be ``number``."""
    store_release(counter, number)


@nested
def too_long(spins, give_way):
    """Between two looks: whether there were looks for about a millisecond. After the first ones the
    core is given away."""
    if spins > SPINS:
        call_plain(give_way)
    return spins > SPINS + YIELDS


@nested
def arrived(base, peers, number, give_way):
    """Wait until the counters at words ``peers`` of what begins at ``base`` are ``number`` or more;
    False after about a millisecond."""
    for p in range(peers.size):
        spins = 0
        while load_acquire(base + 8 * peers[p]) < number:
            spins += 1
            if too_long(spins, give_way):
                return False
    return True


def await_all(base, peers, number, give_way):
    """``arrived``, for Python: WAITED where it is False."""
    return 0 if arrived(base, peers, number, give_way) else WAITED


@nested
def copy_words(source, first, target, at, words):
    """``words`` of ``source`` from ``first`` on, to ``target`` from ``at`` on."""
    # no index is a sum: the loop is of vectors
    block, into = source[first : first + words], target[at : at + words]
    for i in range(words):
        into[i] = block[i]


@nested
def recall(t, inp, state, tape):
    """Whether step ``t`` is done again: ``inp`` is what was heard then."""
    if state[TAPE] != READ:
        return False
    row = tape[t - state[FIRST]]
    for i in range(inp.size):
        inp[i] = row[i]
    return True


@nested
def remember(t, inp, state, tape):
    """Keep ``inp`` of step ``t`` where that may have to be done again."""
    if state[TAPE] == WRITTEN:
        row = tape[t - state[FIRST]]
        for i in range(inp.size):
            row[i] = inp[i]


def exchange(t, out, inp, shared, base, me, peers, mine, copies, state, tape, give_way):
    """One exchange. ``out``, ``inp``: this share's own memory; ``shared``: everybody's, from
    address ``base`` on, with the counter of this share at word ``me``, those of its neighbours at
    ``peers``, its two blocks at ``mine``, and of each run of words that it hears, in ``copies``,
    where it is in either block, its length and where it goes to."""
    if recall(t, inp, state, tape):
        return 0
    number = state[NUMBER] + 1
    if state[PUBLISHED] != number:  # not when it comes back after it waited
        copy_words(out, 0, shared, mine[number & 1], out.size)
        store_release(base + 8 * me, number)
        state[PUBLISHED] = number
    if not arrived(base, peers, number, give_way):
        return WAITED
    for c in range(copies.shape[0]):
        copy_words(shared, copies[c, number & 1], inp, copies[c, 3], copies[c, 2])
    state[NUMBER] = number
    remember(t, inp, state, tape)
    return 0


class Exchange(Protocol):
    """What an :class:`ExchangingProgram` exchanges by.

    ``out`` and ``inp`` are words (int64) of this share's own memory, ``sent`` and ``heard`` the
    bytes (first, last) in them where each port lies. ``state`` is what the row remembers, ``tape``
    has a row of words for every step that may have to be done once more. ``row``: a kernel and its
    arguments but ``t``.
    """

    out: np.ndarray
    inp: np.ndarray
    state: np.ndarray
    tape: np.ndarray
    sent: Mapping[OutPort, tuple[int, int]]
    heard: Mapping[OutPort, tuple[int, int]]

    def row(self) -> tuple[Any, Sequence[Any]]: ...

    def waited(self) -> None:
        """The row has waited, and is called again. Raises what ends the wait."""


class ExchangingProgram(NumbaProgram):
    """The nodes of a share, all of the numba backend, and its exchange."""

    def __init__(
        self, part: Part, batch: int, recordable: Sequence[Port | Var], exchange: Exchange
    ) -> None:
        self.exchange = exchange
        super().__init__(part, batch, recordable)
        if self.stops:  # what is heard is kept, since some steps may have to be done again
            exchange.tape = np.zeros(
                (max(1, TAPE_WORDS // max(1, exchange.inp.size)), exchange.inp.size), np.int64
            )
            exchange.state[TAPE] = WRITTEN
            place = next(k for k, op in enumerate(self.ops) if op.owner == EXCHANGE)
            self.ops[place : place + 1] = self._between()

    def _elsewhere(self) -> dict[Port, np.ndarray]:
        out: dict[Port, np.ndarray] = {}
        for memory, places in (
            (self.exchange.out, self.exchange.sent),
            (self.exchange.inp, self.exchange.heard),
        ):
            for port, (first, last) in places.items():
                array = memory.view(np.uint8)[first:last].view(self.part.dtype_of(port))
                out[port] = array.reshape(self.batch, *port.shape)
        return out

    def _between(self) -> list[Op]:
        function, values = self.exchange.row()
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        values = [None, *values]
        kinds = [("t", 0) if v is None else kind_of(v) for v in values]
        spec = Spec(function, tuple(zip(names, kinds, strict=True)), returns=True)
        return [Op(spec, values, [False] * len(values), EXCHANGE)]

    def _run_compiled(self, first: int, steps: int) -> None:
        if not self.stops:
            self._steps(first, steps)
            return
        rows = len(self.exchange.tape)
        for at in range(first, first + steps, rows):
            self._keep()
            self.exchange.state[FIRST] = at
            self._steps(at, min(rows, first + steps - at))

    def _steps(self, first: int, steps: int) -> None:
        slots, stopped = self.slots, self.stopped
        slots[3], slots[4], stopped[3] = first, steps, first - 1
        try:
            status = self.walk()
            while status == WAITED:
                row, t = int(stopped[0]), int(stopped[1])
                self.exchange.waited()
                status = self._walk(self.table[4 * row :], t, 1)
                if status:
                    stopped[0] += row
                elif t < first + steps - 1:
                    slots[3], slots[4] = t + 1, first + steps - 1 - t
                    status = self.walk()
        finally:
            self.step = stopped[3]
        if status:
            self._stop(status, self.table_ops, first)

    def _stop(self, status: int, ops: list[Op], first: int) -> None:
        state = self.exchange.state
        before = int(state[TAPE])
        if before == WRITTEN:
            state[TAPE] = READ  # steps are done again, and nobody exchanges anything
        try:
            super()._stop(status, ops, first)
        finally:
            state[TAPE] = before


class Call:
    """A kernel that Python calls: ``function`` of numbers and arrays, which are kept."""

    def __init__(self, function: Any, values: Sequence[Any]) -> None:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        kinds = [kind_of(v) for v in values]
        spec = Spec(function, tuple(zip(names, kinds, strict=True)), returns=function is await_all)
        self.kept, self.block = [*values], kernels.pack([*values], kinds)
        self.slots = {n: sum(map(kernels.slots, kinds[:k])) for k, n in enumerate(names)}
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
            kernels.address(spec)
        )
        self._at = kernels.address_of(self.block)

    def __call__(self, number: int) -> int:
        self.block[self.slots["number"]] = number
        return self._call(self._at, 0)


def give_way() -> int:
    """The address of what gives the core to another thread."""
    function: Any = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0
