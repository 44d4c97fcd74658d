"""Stand-ins: what the compiler takes for a model until the graph is cut into parts of the chip and parts of the host."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from lavalike.backends.numba import BACKEND as HOST
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel, SubProcessModel, select
from lavalike.process import AbstractProcess


def host_config(config: RunConfig) -> RunConfig:
    """``config`` for the parts that stay on the host."""
    return dataclasses.replace(config, backend=HOST.name, select={}, chip=None, dt=1e-6)


class StandIn(ProcessModel):
    """Holds the numba model of its process, whose delay it has; ``host`` computes it where the chip does not."""

    backend = "bss2"
    precision = "floating_pt"
    kind: ClassVar[type[ProcessModel]]

    def __init__(self, process: AbstractProcess, config: RunConfig) -> None:
        super().__init__(process, config)
        self.host = self.kind(process, host_config(config))

    def port_names(self) -> frozenset[str] | None:
        return self.host.port_names()


def stand_in(process: AbstractProcess) -> type[StandIn] | None:
    """For a process that the numba backend has a model of; None where a graph of other processes stands in."""
    found = select(process, RunConfig(backend=HOST.name), HOST.general_model, None)
    if issubclass(found, SubProcessModel):
        return None
    return type(f"StandIn{found.__name__}", (StandIn,), {"kind": found, "delay": found.delay})
