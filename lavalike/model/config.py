"""RunConfig: which model stands in for which process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip

Precision = Literal["floating_pt", "fixed_pt"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a graph is run.

    Args:
        backend: ``"numba"``, ``"torch"``, ``"bss2"`` or the name of an installed backend.
        precision: ``"floating_pt"``, or ``"fixed_pt"`` for Loihi's integers, bit for bit.
        select: exceptions: a process, process class or name mapped to a model class.
        dtype: ``"float32"`` or ``"float64"``, of floating_pt.
        threads: of the numba backend; a batch is shared out over them. Default: one a core. No result depends on it.
        chip: of the bss2 backend, a :class:`lavalike.bss2.Chip`. Default: the one in use (:func:`lavalike.bss2.use`).
        dt: of the bss2 backend: seconds a step lasts on the chip. Default 1e-6.
        debug: run the numba backend's kernels as plain Python, with bounds checks and full tracebacks; ``threads`` and ``debug`` are of the
            bss2 backend too where parts of a graph stay on the host.
    """

    backend: str = "numba"
    precision: Precision = "floating_pt"
    select: Mapping[Any, type] = field(default_factory=dict)
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    debug: bool = False
    chip: Chip | None = None
    dt: float = 1e-6

    def __post_init__(self) -> None:
        if self.precision not in ("floating_pt", "fixed_pt"):
            raise InputError(f"RunConfig: precision is 'floating_pt' or 'fixed_pt', got {self.precision!r}")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"RunConfig: dtype is 'float32' or 'float64', got {self.dtype!r}")
        for key, model in self.select.items():
            if not isinstance(model, type):
                raise InputError(f"RunConfig: select maps to model classes, got {model!r} for {key!r}; one graph runs on one backend")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"RunConfig: threads is >= 1, got {self.threads}")
        if isinstance(self.dt, bool) or not isinstance(self.dt, Real) or not 0 < self.dt < float("inf"):
            raise InputError(f"RunConfig: dt is a time > 0 s, got {self.dt!r}")
        if self.chip is not None:
            from lavalike.bss2.chip import Chip

            if not isinstance(self.chip, Chip):
                raise InputError(f"RunConfig: chip is a lavalike.bss2.Chip, got {self.chip!r}; Chip(level=...) makes one")
        if self.backend != "bss2" and (self.chip is not None or self.dt != 1e-6):
            raise InputError(f"RunConfig: chip and dt belong to backend='bss2', this is {self.backend!r}")

    @property
    def fixed(self) -> bool:
        return self.precision == "fixed_pt"
