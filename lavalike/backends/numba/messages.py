"""The exchange of a share with its neighbours by messages, as a row of the table: functions of MPI,
called by their addresses.

To each neighbour goes one block in an exchange: its number, then the words that this one hears. A
block of the size that is expected is taken; an older one, of a run that was given up, is dropped.
Where none comes within about a millisecond, or one of another size does, the row returns to Python.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from lavalike.backends.numba.exchange import (
    NUMBER,
    PUBLISHED,
    WAITED,
    copy_words,
    recall,
    remember,
    too_long,
)

# words of ``mpi``: addresses of its functions, its handles for the ranks and for bytes, a tag
ISEND, TEST, IPROBE, GET_COUNT, RECV, COMM, BYTE, TAG = range(8)
FUNCTIONS = ("MPI_Isend", "MPI_Test", "MPI_Iprobe", "MPI_Get_count", "MPI_Recv")
# words of a neighbour: its rank, the address of its request, first word and number of words of the
# block that it gets and of the block that comes of it, and the number of the last that came
RANK, REQUEST, OUT, OUT_WORDS, IN, IN_WORDS, CAME = range(7)
# words of ``scratch``: whether there is something, its bytes, the code of an error, and a status
FLAG, COUNT, ERROR, HEAD = range(4)


@intrinsic
def call(typingctx, function, values):
    """``((int (*)(...)) function)(*values)``, of numbers in 64 bits: where C's is an int, or a
    handle of 32 bits, it takes the lower half of the register."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        given = [builder.extract_value(args[1], k) for k in range(len(signature.args[1]))]
        kind = ir.FunctionType(ir.IntType(32), [word] * len(given)).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), given)

    return types.int32(types.int64, values), codegen


def messages(
    t, out, inp, state, tape, peers, given, taken, blocks, scratch, mpi, base, at, give_way
):
    """One exchange. ``out``, ``inp``: this share's own memory; ``peers``: see RANK; ``given``,
    ``taken``: of each run of words that goes into a block, or comes in one, where it is, where it
    goes to, and its length; ``blocks``: all of them, from address ``base`` on; ``scratch``: see
    FLAG, from address ``at`` on."""
    if recall(t, inp, state, tape):
        return 0
    number = state[NUMBER] + 1
    flag, count, status = at + 8 * FLAG, at + 8 * COUNT, at + 8 * HEAD
    tag, byte, comm = mpi[TAG], mpi[BYTE], mpi[COMM]
    bad, spins = 0, 0
    if state[PUBLISHED] != number:  # not when it comes back after it waited
        for p in range(peers.shape[0]):  # what was sent before is no longer read
            scratch[FLAG] = 0
            while True:
                bad |= call(mpi[TEST], (peers[p, REQUEST], flag, status))
                if scratch[FLAG] != 0 or bad != 0:
                    break
                spins += 1
                if too_long(spins, give_way):
                    return WAITED
        for c in range(given.shape[0]):
            copy_words(out, given[c, 0], blocks, given[c, 1], given[c, 2])
        for p in range(peers.shape[0]):
            first, size, rank = peers[p, OUT], 8 * peers[p, OUT_WORDS], peers[p, RANK]
            blocks[first] = number
            block, request = base + 8 * first, peers[p, REQUEST]
            bad |= call(mpi[ISEND], (block, size, byte, rank, tag, comm, request))
        state[PUBLISHED] = number
    for p in range(peers.shape[0]):
        first, size, rank = peers[p, IN], 8 * peers[p, IN_WORDS], peers[p, RANK]
        while peers[p, CAME] != number and bad == 0:
            scratch[FLAG] = scratch[COUNT] = 0
            bad |= call(mpi[IPROBE], (rank, tag, comm, flag, status))
            if scratch[FLAG] != 0:
                bad |= call(mpi[GET_COUNT], (status, byte, count))
                if scratch[COUNT] != size:
                    return WAITED
                bad |= call(mpi[RECV], (base + 8 * first, size, byte, rank, tag, comm, status))
                peers[p, CAME] = blocks[first]
            else:
                spins += 1
                if too_long(spins, give_way):
                    return WAITED
    if bad != 0:
        scratch[ERROR] = bad
        return WAITED
    for c in range(taken.shape[0]):
        copy_words(blocks, taken[c, 0], inp, taken[c, 1], taken[c, 2])
    state[NUMBER] = number
    remember(t, inp, state, tape)
    return 0
