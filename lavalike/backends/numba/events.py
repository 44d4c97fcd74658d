"""Finding the inputs that are not zero: one vector compare for 32 of them, then one turn for each
that is not."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from lavalike.backends.numba.kernels import inlined

WIDTH = 32  # inputs a compare; LLVM cuts it into what the machine has (SSE2, AVX, NEON)


@intrinsic
def differ(typingctx, inputs, first, number):
    """Bit q: ``inputs[first + q] != number``, q below WIDTH. Not looked at: whether all of them lie
    within ``inputs``."""
    if (
        not isinstance(inputs, types.Array)
        or inputs.layout != "C"
        or inputs.ndim != 1
        or not isinstance(inputs.dtype, types.Number)
    ):
        raise TypingError(f"inputs is a C-contiguous vector of numbers, got {inputs}")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0].dtype
        item = context.get_data_type(kind)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        vector = ir.VectorType(item, WIDTH)
        loaded = builder.load(
            builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())
        )
        loaded.align = (
            kind.bitwidth // 8
        )  # of an item: a vector's own would fault where the block does not begin at one
        floating = isinstance(kind, types.Float)
        one = context.cast(builder, args[2], signature.args[2], kind)
        lane = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.IntType(32)(0))
        number = builder.shuffle_vector(
            lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        )
        hit = (
            builder.fcmp_unordered("!=", loaded, number)
            if floating
            else builder.icmp_signed("!=", loaded, number)
        )
        return builder.zext(builder.bitcast(hit, ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(inputs, types.intp, number), codegen


@intrinsic
def lowest(typingctx, bits):
    """The place of the lowest bit that is set; ``bits`` is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


@inlined
def list_events(inputs, events, odd):
    """Write the indices of non-zero ``inputs`` to ``events``, in order; how many there are.
    ``odd[0]`` is 1 once one of them was not 1. No branch asks for a single input: where spikes
    stand is what a processor cannot foresee."""
    size = inputs.size
    other = 0
    count = 0
    j = 0
    while j < size:
        first = min(j, size - 32)  # the last block goes back over inputs that were looked at
        if first >= 0:
            bits = differ(inputs, first, 0) >> (j - first) << (j - first)
        else:
            first = 0
            bits = 0
            for q in range(size):
                bits |= (inputs[q] != 0) << q
        while bits != 0:
            k = first + lowest(bits)
            events[count] = k
            other |= inputs[k] != 1
            count += 1
            bits &= bits - 1
        j += 32
    if other:
        odd[0] = 1
    return count
