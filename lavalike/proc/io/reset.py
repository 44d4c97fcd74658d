"""Reset: sets a Var of another process to a value, again and again."""

from __future__ import annotations

from typing import Any

from lavalike.arguments import arguments, instance, integer, numbers
from lavalike.errors import VarError
from lavalike.proc.io.pipes import refer
from lavalike.process import AbstractProcess, RefPort, Var


class Reset(AbstractProcess):
    """Sets a Var to ``reset_value`` at the end of the steps t with ``(t - 1) % interval == offset %
    interval``.

    What is recorded of such a step is the value that was set. Of several processes that read and
    set one Var in a step, those connected first act first.

    Args:
        reset_value: one number, which the Var holds. Default 0.
        interval: steps from one time to the next, >= 1. Default 1: every step.
        offset: steps before the first time, modulo ``interval``: -1 is the last of them. Default 0:
            the first step.

    Example::

        reset = Reset(interval=100)
        reset.connect_var(lif.v)
    """

    @arguments(error=VarError, reset_value=numbers(), interval=integer(1), offset=integer())
    def __init__(
        self,
        *,
        reset_value: Any = 0,
        interval: int = 1,
        offset: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.reset_value = Var((1,), reset_value, role="parameter")
        every(self, interval, offset)
        self.state = RefPort((1,))

    @arguments(error=VarError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Set ``var``, of another process. Once."""
        refer(self, "state", var)


def every(process: Any, interval: int, offset: int) -> None:
    """Give ``process`` the Vars that say in which steps it acts."""
    process.interval = Var((1,), int(interval), role="parameter")
    process.offset = Var((1,), int(offset) % int(interval), role="parameter")
