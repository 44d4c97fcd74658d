"""What stands for chips of Intel's in programs that ask first: there are none."""

from __future__ import annotations

import enum
from typing import Any

from lavalike.compat.errors import HardwareError


class _Never(type):
    @property
    def is_loihi2_available(cls) -> bool:
        return False

    @property
    def partition(cls) -> str | None:
        return None


class Loihi2(metaclass=_Never):
    """``Loihi2.is_loihi2_available`` is False."""

    @staticmethod
    def preferred_partition() -> None:
        """None."""


class ChipGeneration(enum.Enum):
    """Generations of Loihi."""

    N2A0 = 1
    N2B2 = 2
    N3B2 = 3
    N3B3 = 4
    N3C1 = 5


host: str | None = None  # no computer with a chip was chosen


def use_slurm_host(*args: Any, **kwargs: Any) -> None:
    """Nothing to reach by slurm: programs go on with simulation."""


def use_ethernet_host(*args: Any, **kwargs: Any) -> None:
    """Nothing to reach by ethernet: programs go on with simulation."""


def is_installed(*args: Any) -> bool:
    """Whether Intel's compiler is there: False."""
    return False


class CompilerOptions:
    """Options of the compiler for chips: they are kept, and there is nothing that reads them."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


class EmbeddedAllocationOrder(enum.IntEnum):
    """In which order a chip's processors are taken."""

    NORMAL = 1
    REVERSED = -1


class Profiler:
    """Measures runs on Intel's chips; there are none, so that there is no profile to be made."""

    @staticmethod
    def init(run_cfg: Any) -> Profiler:
        """HardwareError, as nothing runs on a chip."""
        raise HardwareError(
            f"Profiler.init: {type(run_cfg).__name__} runs on this computer, and what Lava profiles are Intel's chips; "
            "time.perf_counter() around run() tells what a run takes"
        )


class CallbackFx:
    """Called on a chip's host; a hardware run configuration refuses it."""


class NxSdkCallbackFx(CallbackFx):
    """Called on a chip's host."""


class IterableCallBack(NxSdkCallbackFx):
    """Called on a chip's host."""


class ConnectionConfig:
    """How spikes get to a chip; kept, and nothing here reads it."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)
