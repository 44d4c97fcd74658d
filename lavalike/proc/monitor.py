"""Monitor: records Vars and ports while a graph runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.errors import InputError
from lavalike.process import AbstractProcess, Port, Var
from lavalike.process.monitor import Probe


class Monitor(AbstractProcess):
    """Records any number of targets, each in every step: Vars at its end, ports as sent.

    Example::

        monitor = Monitor()
        monitor.probe(lif.v, num_steps=100)
        lif.run(RunSteps(100))
        v = monitor.get_data()["lif"]["v"]      # (100, *shape)
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._targets: list[Probe] = []

    def probe(self, target: Var | Port, num_steps: int) -> None:
        """Record ``target`` for at most ``num_steps`` steps over all runs; memory: num_steps x size x itemsize."""
        if not isinstance(target, Var | Port) or target.process is None:
            raise InputError(f"Monitor.probe: expected a Var or port of a process, got {target!r}")
        if num_steps < 1:
            raise InputError(f"Monitor.probe({target!r}): num_steps is >= 1, got {num_steps}")
        probe = Probe(self, target, int(num_steps))
        self._targets.append(probe)
        target.process.probes.append(probe)

    def get_data(self) -> dict[str, dict[str, np.ndarray]]:
        """``{process path: {target name: (steps, *shape)}}`` of what was recorded so far."""
        out: dict[str, dict[str, Any]] = {}
        for probe in self._targets:
            out.setdefault(probe.target.process.path, {})[probe.target.name] = probe.data()  # type: ignore[union-attr]
        return out
