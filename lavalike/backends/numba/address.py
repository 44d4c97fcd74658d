"""Addresses as run-time data: what lets one compiled kernel serve every network."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _pointer_to(dtype):
    @intrinsic
    def pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.int64), codegen

    return pointer


pointer_float32 = _pointer_to(types.float32)
pointer_float64 = _pointer_to(types.float64)
pointer_int64 = _pointer_to(types.int64)
pointer_int32 = _pointer_to(types.int32)
pointer_int16 = _pointer_to(types.int16)
pointer_int8 = _pointer_to(types.int8)
pointer_uint64 = _pointer_to(types.uint64)
pointer_uint32 = _pointer_to(types.uint32)
pointer_uint16 = _pointer_to(types.uint16)
pointer_uint8 = _pointer_to(types.uint8)
pointer_bool = _pointer_to(types.bool_)
pointer_complex64 = _pointer_to(types.complex64)
pointer_complex128 = _pointer_to(types.complex128)


@intrinsic
def call_kernel(typingctx, function, block, t):
    """``((int64 (*)(int64, int64)) function)(block, t)``"""

    def codegen(context, builder, signature, args):
        i64 = ir.IntType(64)
        target = builder.inttoptr(args[0], ir.FunctionType(i64, [i64, i64]).as_pointer())
        return builder.call(target, [args[1], args[2]])

    return types.int64(types.int64, types.int64, types.int64), codegen
