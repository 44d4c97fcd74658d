"""Memory for large tensors that is kept when they are freed, and used again.

Memory fresh from the system costs a page fault for every 4096 bytes, more than a kernel takes to
fill them; a training step asks for the same sizes again and again. What lies idle is bounded;
:func:`release` gives it back.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np
import torch

from lavalike.errors import InputError
from lavalike.fused.ambient import stored

SMALL = 1 << 19  # bytes below which torch's own allocation is as good
LINE = 64  # bytes of a cache line
IDLE = 1 << 29  # bytes that may lie idle

_lock = threading.RLock()  # the collector may free a buffer while this thread has it
_idle: dict[int, list[np.ndarray]] = {}
_order: deque[int] = deque()  # sizes of the idle buffers, the longest idle first
_bytes = 0


class _Lease(np.ndarray):
    """A view of a buffer; the buffer goes back when the last tensor on it is gone."""

    def __del__(self) -> None:
        if type(self.base) is np.ndarray:  # a slice of the buffer, or the buffer itself
            _give_back(self.base if self.base.base is None else self.base.base)


def empty(shape: Any, dtype: torch.dtype) -> torch.Tensor:
    """As torch.empty, on the CPU."""
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return torch.empty(shape, dtype=dtype)
    buffer = _take(_rounded(size + LINE))
    start = -buffer.ctypes.data % LINE  # a vector across two cache lines is two reads
    return torch.from_numpy(buffer[start : start + size].view(_Lease)).view(dtype).view(shape)


def empty_like(x: torch.Tensor) -> torch.Tensor:
    """A contiguous tensor of x's shape, dtype and device."""
    return (
        empty(x.shape, x.dtype)
        if x.device.type == "cpu"
        else torch.empty_like(x, memory_format=torch.contiguous_format)
    )


def laid(x: torch.Tensor, last: bool) -> torch.Tensor:
    """``x`` (time, ...), or ``last`` (..., time), contiguous. Where time lies at the other end in
    memory it is a transpose of two axes, which torch does in blocks, several times as fast."""
    if not x.is_contiguous() and x.dim() > 2:
        other = x.movedim(-1, 0) if last else x.movedim(0, -1)
        if other.is_contiguous():
            return (
                (other.flatten(1) if last else other.flatten(0, -2)).t().contiguous().view(x.shape)
            )
    return x.contiguous()


def address(x: torch.Tensor, what: str) -> int:
    """Where a kernel on the CPU finds ``x``; InputError, which calls it ``what``, where it has no
    memory there."""
    if x.device.type == "cpu" and stored(x):
        try:
            at = x.data_ptr()
        except RuntimeError:  # a tensor of a transform
            at = 0
        if at or not x.numel():
            return at
    raise InputError(
        f"{what}: a {type(x).__name__} on {x.device} of shape {tuple(x.shape)} has no memory that a compiled loop can read; "
        "call and differentiate within lavalike.fused.plain_loops()"
    )


def release() -> None:
    """Give all idle memory back to the system."""
    global _bytes
    with _lock:
        _idle.clear()
        _order.clear()
        _bytes = 0


def _rounded(size: int) -> int:
    """Up to an eighth of its power of two, so that a last, smaller batch finds a buffer as well."""
    step = 1 << max(size.bit_length() - 4, 12)
    return -(-size // step) * step


def _take(size: int) -> np.ndarray:
    global _bytes
    with _lock:
        buffers = _idle.get(size)
        if buffers:
            _bytes -= size
            _order.remove(size)
            return buffers.pop()
    return np.empty(size, np.uint8)


def _give_back(buffer: np.ndarray) -> None:
    global _bytes
    size = buffer.nbytes
    if size > IDLE:
        return
    with _lock:
        _idle.setdefault(size, []).append(buffer)
        _order.append(size)
        _bytes += size
        while _bytes > IDLE:
            oldest = _order.popleft()
            _idle[oldest].pop(0)
            _bytes -= oldest
