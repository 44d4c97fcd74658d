"""What sends on its own, and what keeps what it heard. Equations:
:mod:`lavalike.dynamics.spiker`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments
from lavalike.dynamics import spiker
from lavalike.errors import VarError
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class Spiker(Neuron):
    """Sends ``payload`` every ``period`` steps, first in step ``period + 1``.

    Example:
        >>> lv.simulate(proc.Spiker(shape=(1,), period=3, payload=5), steps=9)["s_out"]
        array([[0., 0., 0., 5., 0., 0., 5., 0., 0.]], dtype=float32)
    """

    dynamics = spiker.SPIKER
    s_out: OutPort
    counter: Var
    period: Var
    payload: Var

    @declared(spiker.SPIKER)
    def __init__(
        self,
        *,
        shape: int | Sequence[int] = (1,),
        counter: Any = 0,
        period: Any = 10,
        payload: Any = 1,
        name: str | None = None,
    ) -> None: ...


class Receiver(AbstractProcess):
    """Keeps the message of the last step in the Var ``payload``.

    Example:
        >>> spiker = proc.Spiker(shape=(1,), period=1, payload=5)
        >>> receiver = proc.Receiver(shape=(1,))
        >>> spiker.s_out.connect(receiver.a_in)
        >>> spiker.run(lv.RunSteps(2))
        >>> receiver.payload.get()
        array([5.], dtype=float32)

    Args:
        shape: of one message. Default (1,).
    """

    @arguments(error=VarError)
    def __init__(self, *, shape: int | Sequence[int] = (1,), name: str | None = None) -> None:
        super().__init__(name=name)
        self.a_in = InPort(shape)
        self.payload = Var(self.a_in.shape, 0, name="payload")
