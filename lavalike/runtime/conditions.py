"""How long a run lasts."""

from __future__ import annotations

from dataclasses import dataclass

from lavalike.arguments import FLAG, Rule, arguments, is_integer


@arguments(num_steps=Rule("an integer >= 1", is_integer, lambda n: 1 <= n <= 2**62), blocking=FLAG)
@dataclass(frozen=True)
class RunSteps:
    """Run ``num_steps`` steps (1..2**62); with ``blocking=False`` return at once, ``wait()`` joins."""

    num_steps: int
    blocking: bool = True


@dataclass(frozen=True)
class RunContinuous:
    """Run until ``pause()`` or ``stop()``; ``run`` returns at once."""


RunCondition = RunSteps | RunContinuous
