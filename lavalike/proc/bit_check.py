"""BitCheck: whether a Var stays within so many bits."""

from __future__ import annotations

from lavalike.arguments import arguments, instance, integer
from lavalike.errors import VarError
from lavalike.proc.io.pipes import refer
from lavalike.process import AbstractProcess, RefPort, Var


class BitCheck(AbstractProcess):
    """Looks at the end of every step whether a Var's values are within signed integers of ``bits``
    bits, ``-2**(bits-1)..2**(bits-1)-1``.

    A fixed_pt model may hold more than a chip does; this tells before it is put there.

    Args:
        bits: 1..31. Default 24.

    Example::

        check = BitCheck(bits=16)
        check.connect_var(sigma.sigma)
        sigma.run(RunSteps(100))
        check.overflowed
    """

    @arguments(error=VarError, bits=integer(1, 31))
    def __init__(self, *, bits: int = 24, name: str | None = None) -> None:
        super().__init__(name=name)
        self.bits = Var((1,), int(bits), role="parameter")
        self.found = Var((1,), 0)
        self.state = RefPort((1,))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the Var that is looked at."""
        return self.state.shape

    @arguments(error=VarError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Look at ``var``, of another process. Once."""
        refer(self, "state", var)

    @property
    def overflowed(self) -> bool:
        """Whether a value was beyond them after any step."""
        return bool(self.found.get()[0])
