"""Protocols, phases and domains: what orders the steps of processes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from lavalike.errors import InputError


class AbstractSyncProtocol:
    """Base of the protocols."""


class LoihiProtocol(AbstractSyncProtocol):
    """Phases of a step: spikes, then management and learning where a model asks for them."""


class AsyncProtocol(AbstractSyncProtocol):
    """A process that runs beside the steps of others."""


class Phase(enum.IntEnum):
    """Phases of LoihiProtocol."""

    SPK = 1
    PRE_MGMT = 2
    LRN = 3
    POST_MGMT = 4
    HOST = 5


class SyncDomain:
    """Processes that keep step with each other; everything connected does here."""

    def __init__(self, name: str, protocol: AbstractSyncProtocol, processes: Sequence[Any]) -> None:
        if not isinstance(processes, list | tuple):
            raise InputError(f"SyncDomain {name!r}: processes is a list, got {processes!r:.60}")
        self.name, self.protocol, self.processes = name, protocol, list(processes)


class ActorType(enum.Enum):
    """How Lava runs its models; here they run in the caller's process."""

    MultiProcessing = 0
