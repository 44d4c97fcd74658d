"""How long a run lasts."""

from __future__ import annotations

from dataclasses import dataclass

from lavalike.arguments import FLAG, Rule, arguments, is_integer

STEPS = Rule("an integer >= 1", is_integer, lambda n: 1 <= n <= 2**62)


@arguments(late=True, num_steps=STEPS, blocking=FLAG)
@dataclass(frozen=True)
class RunSteps:
    """Run ``num_steps`` steps (1..2**62); with ``blocking=False`` return at once, ``wait()``
    joins.

    Example:
        >>> lif = proc.LIF(shape=(3,))
        >>> lif.run(lv.RunSteps(10))
        >>> lif.step
        10
    """

    num_steps: int
    blocking: bool = True

    def __post_init__(self) -> None:
        n, flag = self.num_steps, self.blocking
        if type(n) is int and 0 < n <= 2**62 and (flag is True or flag is False):
            return  # made for every run
        if not (STEPS.kind(n) and STEPS.value(n) and FLAG.kind(flag) and FLAG.value(flag)):
            raise TypeError("RunSteps")  # its rules are looked at only now


@dataclass(frozen=True)
class RunContinuous:
    """Run until ``pause()`` or ``stop()``; ``run`` returns at once.

    Example:
        >>> lif = proc.LIF(shape=(3,))
        >>> lif.run(lv.RunContinuous())
        >>> lif.pause()  # after the step in progress
        >>> lif.stop()
    """


RunCondition = RunSteps | RunContinuous
