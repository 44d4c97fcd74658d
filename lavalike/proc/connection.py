"""What all connections have in common, ours and those of other packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lavalike.arguments import SHAPE, arguments, integer, optional
from lavalike.errors import InputError, VarError
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class Connection(AbstractProcess):
    """Base of all connections: messages on ``s_in`` go through synapses, their sums leave on
    ``a_out``.

    What counts, compares or places connections asks this class, so a connection of one's own is a
    subclass that says :meth:`fan_out`, and one model a backend (docs/extending.md).

    Args:
        shape_in, shape_out: of a message on ``s_in`` and on ``a_out``; both ports and the state
            ``a_buff``, what is sent next, are made. Default None: the subclass assigns them.
        num_message_bits: 0 takes messages as spikes (any non-zero counts 1), more takes their
            values. Default 0.
        delay: steps between a message and what it causes, 0 or 1. 1 is Lava's, and makes every
            cycle through the connection legal; with 0 it delivers in the same step, and a cycle of
            such is a GraphError that names it when the graph is compiled. Default 1.

    Class attribute ``kind`` tells how the weights lie: ``"matrix"``, one of (out, in), which the
    torch model's ``matrix`` gives; ``"convolution"``; any other word for what is laid out for a
    chip synapse by synapse.

    Example::

        class OneToOne(Connection):
            def __init__(self, *, weights, **kwargs):
                super().__init__(shape_in=weights.shape, shape_out=weights.shape, **kwargs)
                self.weights = Var(weights.shape, weights, role="parameter", trainable=True)

            def fan_out(self):
                return np.ones(self.s_in.shape, int)
    """

    kind: ClassVar[str] = "matrix"
    max_delay: int = 0  # of a synapse, beyond ``delay``

    s_in: InPort
    a_out: OutPort
    a_buff: Var

    @arguments(
        error=VarError,
        shape_in=optional(SHAPE),
        shape_out=optional(SHAPE),
        num_message_bits=integer(0, 32),
        delay=integer(0, 1),
    )
    def __init__(
        self,
        *,
        shape_in: int | Sequence[int] | None = None,
        shape_out: int | Sequence[int] | None = None,
        num_message_bits: int = 0,
        delay: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self._delay = int(delay)
        self.num_message_bits = Var(
            (1,), num_message_bits, role="parameter", name="num_message_bits"
        )
        if shape_in is not None:
            self.s_in = InPort(shape_in)
        if shape_out is not None:
            self.a_out = OutPort(shape_out)
            self.a_buff = Var(self.a_out.shape, 0, name="a_buff")

    @property
    def delay(self) -> int:
        """Steps between a message and what it causes, 0 or 1, as it was made."""
        return self._delay

    @property
    def graded(self) -> bool:
        """Whether messages are taken for their values."""
        return int(self.num_message_bits.get()[0]) > 0

    def fan_out(self) -> np.ndarray:
        """How many synapses a message on each input goes through, of the shape of ``s_in``."""
        raise InputError(
            f"{self.path}: {type(self).__name__} does not say how many synapses an input has; give it a method fan_out(), "
            "integers of the shape of s_in"
        )
