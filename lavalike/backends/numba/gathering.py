"""What an InPort reads: the sum of what others send, and the rows that make it; where nothing is to
be added, the sender's own buffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lavalike.backends.numba import transfer
from lavalike.backends.numba.ops import Op
from lavalike.compiler.flat import Term
from lavalike.process import Port


class Gathering:
    """Of a program of ``batch`` samples.

    Args:
        buffers: what each port sends, (batch, *shape).
        transfer: makes a row of a function of :mod:`lavalike.backends.numba.transfer`, a path and
            arrays.
    """

    def __init__(
        self, batch: int, buffers: Mapping[Port, np.ndarray], transfer: Callable[..., Op]
    ) -> None:
        self.batch, self.buffers, self.transfer = batch, buffers, transfer
        # what a port sends, in another dtype than its own
        self.converted: dict[tuple[Port, np.dtype], np.ndarray] = {}

    def sent(self, port: Port, dtype: np.dtype, ops: list[Op], path: str) -> np.ndarray:
        """What ``port`` sends, in ``dtype``: its buffer, or a copy that one row converts for all
        who hear it in that dtype. ``path``: who hears it first."""
        buffer = self.buffers[port]
        if buffer.dtype == dtype:
            return buffer
        if (port, dtype) not in self.converted:
            copy = self.converted[port, dtype] = np.zeros(buffer.shape, dtype)
            ops.append(
                self.transfer(
                    transfer.conversion(buffer.dtype, dtype), f"{port.path} -> {path}", buffer, copy
                )
            )
        return self.converted[port, dtype]

    def sum(
        self,
        terms: list[Term],
        port: Port,
        path: str,
        ops: list[Op],
        dtype: np.dtype,
        copy: bool = False,
    ) -> np.ndarray:
        """The buffer that holds the sum of ``terms``, with the ops that fill it; a sender's own
        where it can be."""
        shape = (self.batch, *port.shape)
        if not terms:
            return np.zeros(shape, dtype)
        whole = [t for t in terms if t.src is None and t.dst is None]
        if (
            len(terms) == 1
            and whole
            and not (copy and self.buffers[terms[0].source].dtype == dtype)
        ):
            return self.sent(terms[0].source, dtype, ops, path).reshape(shape)
        if (
            len(terms) == 1
            and terms[0].dst is None
            and terms[0].src is not None
            and not copy
            and self.batch == 1
        ):
            first, last = terms[0].src[0], terms[0].src[-1]
            if (
                last - first + 1 == len(terms[0].src) and (np.diff(terms[0].src) == 1).all()
            ):  # a run of elements: where it stands
                return (
                    self.sent(terms[0].source, dtype, ops, path)
                    .reshape(1, -1)[:, first : last + 1]
                    .reshape(shape)
                )
        target = np.zeros(shape, dtype)
        if len(whole) == len(terms) == 2:
            a, b = (self.sent(t.source, dtype, ops, path) for t in terms)
            ops.append(self.transfer(transfer.add_two, path, a, b, target))
            return target
        if len(terms) == 1 and terms[0].dst is None and terms[0].src is not None:
            source = self.sent(terms[0].source, dtype, ops, path).reshape(self.batch, -1)
            index = np.ascontiguousarray(terms[0].src, np.int64)
            ops.append(
                self.transfer(transfer.gather, path, source, target.reshape(self.batch, -1), index)
            )
            return target
        fresh = True
        for term in sorted(terms, key=lambda t: t not in whole):
            source = self.sent(term.source, dtype, ops, path)
            if term in whole:
                ops.append(
                    self.transfer(transfer.copy if fresh else transfer.add, path, source, target)
                )
            else:
                if fresh:
                    ops.append(self.transfer(transfer.clear, path, target))
                size = term.source.size
                src = np.arange(size) if term.src is None else term.src
                dst = np.arange(port.size) if term.dst is None else term.dst
                ops.append(
                    self.transfer(
                        transfer.gather_add,
                        path,
                        source.reshape(self.batch, -1),
                        target.reshape(self.batch, -1),
                        np.ascontiguousarray(src, np.int64),
                        np.ascontiguousarray(dst, np.int64),
                    )
                )
            fresh = False
        return target
