"""How long a run lasts."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from lavalike.errors import InputError


@dataclass(frozen=True)
class RunSteps:
    """Run ``num_steps`` steps (>= 1); with ``blocking=False`` return at once, ``wait()`` joins."""

    num_steps: int
    blocking: bool = True

    def __post_init__(self) -> None:
        try:
            steps = operator.index(self.num_steps)
        except TypeError:
            steps = 0
        if isinstance(self.num_steps, bool) or steps < 1:
            raise InputError(f"RunSteps: num_steps is an integer >= 1, got {self.num_steps!r}")


@dataclass(frozen=True)
class RunContinuous:
    """Run until ``pause()`` or ``stop()``; ``run`` returns at once."""


RunCondition = RunSteps | RunContinuous
