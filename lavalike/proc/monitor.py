"""Monitor: records Vars and ports while a graph runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import arguments, instance, integer
from lavalike.errors import InputError, VarError
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

    @arguments(error=VarError)
    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._targets: list[Probe] = []

    @arguments(target=instance(Var, Port, words="a Var or port of a process"), num_steps=integer(1))
    def probe(self, target: Var | Port, num_steps: int) -> None:
        """Record ``target`` for at most ``num_steps`` steps over all runs; once more with another
        limit changes that.

        Memory: num_steps x size x itemsize bytes.
        """
        if target.process is None:
            raise InputError(f"Monitor.probe: expected a Var or port of a process, got {target!r}")
        for known in self._targets:
            if known.target is target:
                known.limit(int(num_steps))
                return
        probe = Probe(self, target, int(num_steps))
        self._targets.append(probe)
        target.process.probes.append(probe)
        # not joined with the monitor: it may look at networks that have nothing to do with each
        # other
        target.process._structure.root().probed += 1

    def get_data(self) -> dict[str, dict[str, np.ndarray]]:
        """``{process path: {target name: (steps, *shape)}}`` of what was recorded so far; a second
        process of the same path goes by ``path#2``."""
        out: dict[str, dict[str, Any]] = {}
        names: dict[Any, str] = {}
        for probe in self._targets:
            owner: Any = probe.target.process
            if owner not in names:
                alike = [p for p in names if p.path == owner.path]
                names[owner] = f"{owner.path}#{len(alike) + 1}" if alike else owner.path
            out.setdefault(names[owner], {})[probe.target.name] = probe.data()
        return out
