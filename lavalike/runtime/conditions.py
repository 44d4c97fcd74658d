"""How long a run lasts."""

from __future__ import annotations

from dataclasses import dataclass

from lavalike.arguments import FLAG, arguments, integer


@arguments(num_steps=integer(1, 2**62), blocking=FLAG)
@dataclass(frozen=True)
class RunSteps:
    """Run ``num_steps`` steps (1..2**62); with ``blocking=False`` return at once, ``wait()`` joins."""

    num_steps: int
    blocking: bool = True


@dataclass(frozen=True)
class RunContinuous:
    """Run until ``pause()`` or ``stop()``; ``run`` returns at once."""


RunCondition = RunSteps | RunContinuous
