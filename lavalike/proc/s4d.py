"""Diagonal state space models as neurons. Equations and what their parameters mean:
:mod:`lavalike.dynamics.s4d`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import arguments, integer
from lavalike.dynamics import s4d
from lavalike.errors import VarError
from lavalike.proc.neuron import Neuron, declared
from lavalike.proc.parameters import expose
from lavalike.proc.sparse import Sparse
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class S4d(Neuron):
    """A linear state of complex numbers a neuron:
    ``s4_state = a s4_state + b a_in; s_out = Re(2 c s4_state)``. floating_pt only.

    Example::

        S4d(shape=(2,), a=[0.9 + 0.2j, 0.5], b=0.1, c=[1.0, 1.0 - 1.0j])
    """

    dynamics = s4d.S4D
    a_in: InPort
    s_out: OutPort
    s4_state: Var
    a: Var
    b: Var
    c: Var

    @declared(s4d.S4D)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        a: Any,
        b: Any,
        c: Any,
        s4_state: Any = 0,
        name: str | None = None,
    ) -> None: ...


class SigmaS4dDelta(Neuron):
    """A linear state between a sigma and a delta:
    ``sigma += a_in; s4_state = a s4_state + b sigma``, and of ``2 c s4_state`` the changes are sent
    that reach vth. floating_pt only.

    Example:
        >>> neuron = proc.SigmaS4dDelta(shape=(1,), vth=0.1, a=0.9, b=1.0, c=0.5)
        >>> lv.simulate(neuron, {"a_in": np.array([[1.0, 0, 0]])})["s_out"].round(2)
        array([[1.  , 0.9 , 0.81]], dtype=float32)
    """

    dynamics = s4d.SIGMA_S4D_DELTA
    a_in: InPort
    s_out: OutPort
    sigma: Var
    act: Var
    residue: Var
    s4_state: Var
    vth: Var
    a: Var
    b: Var
    c: Var

    @declared(s4d.SIGMA_S4D_DELTA)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        a: Any,
        b: Any,
        c: Any,
        sigma: Any = 0,
        act: Any = 0,
        residue: Any = 0,
        s4_state: Any = 0,
        name: str | None = None,
    ) -> None: ...


class SigmaS4dDeltaLayer(AbstractProcess):
    """SigmaS4dDelta with several states a channel, between two connections: one hands each channel
    to all of its states, the other adds up what they send. What is heard in step t leaves in step t
    + 2. floating_pt only.

    Example:
        >>> layer = proc.SigmaS4dDeltaLayer(shape=(2,), vth=0.1, a=0.9, b=1.0, c=0.5, d_states=3)
        >>> lv.simulate(layer, {"s_in": np.ones((2, 5))}, steps=5)["a_out"].shape
        (2, 5)

    Args:
        shape: (channels,).
        vth, a, b, c: of :class:`SigmaS4dDelta`; a, b, c one number or (channels * d_states,), the
            states of a channel side by side.
        d_states: states a channel. Default 1.
        num_message_bits: of both connections. Default 24.

    The Vars ``a``, ``b``, ``c`` and ``s4_state`` are those of the neurons.
    """

    @arguments(error=VarError, d_states=integer(1), num_message_bits=integer(1, 32))
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        vth: Any,
        a: Any,
        b: Any,
        c: Any,
        d_states: int = 1,
        num_message_bits: int = 24,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.s_in, self.a_out = InPort(shape), OutPort(shape)
        if len(self.s_in.shape) != 1:
            raise VarError(f"SigmaS4dDeltaLayer: shape is (channels,), got {self.s_in.shape}")
        (channels,) = self.s_in.shape
        states = np.arange(channels * int(d_states))
        ends = states // int(d_states)  # the channel of each
        self.spread = Sparse(
            rows=states,
            cols=ends,
            data=1.0,
            shape=(len(states), channels),
            num_message_bits=num_message_bits,
        )
        self.neurons = SigmaS4dDelta(shape=(len(states),), vth=vth, a=a, b=b, c=c)
        self.gather = Sparse(
            rows=ends,
            cols=states,
            data=1.0,
            shape=(channels, len(states)),
            num_message_bits=num_message_bits,
        )
        expose(self, self.neurons, ("a", "b", "c", "s4_state"))
        self.s_in.connect(self.spread.s_in)
        self.spread.a_out.connect(self.neurons.a_in)
        self.neurons.s_out.connect(self.gather.s_in)
        self.gather.a_out.connect(self.a_out)
