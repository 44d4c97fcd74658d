"""RunConfig: which model stands in for which process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lavalike.arguments import FLAG, MAPPING, TEXT, arguments, choice, instance, integer, optional, real
from lavalike.backends import known
from lavalike.errors import InputError

if TYPE_CHECKING:
    from lavalike.bss2.chip import Chip

Precision = Literal["floating_pt", "fixed_pt"]


@arguments(backend=TEXT, precision=choice("floating_pt", "fixed_pt"), select=MAPPING, dtype=choice("float32", "float64"),
           threads=optional(integer(1)), debug=FLAG, chip=optional(instance("lavalike.bss2.chip.Chip", words="a lavalike.bss2.Chip")),
           dt=real(above=0), check=optional(choice("finite")))
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
        debug: run the numba backend's kernels as plain Python, with bounds checks and full tracebacks, and in floating_pt with
            ``check="finite"``; ``threads`` and ``debug`` are of the bss2 backend too where parts of a graph stay on the host.
        check: ``"finite"``: of the numba and torch backends: stop at the first NaN or infinity that a port or a state holds, with a
            RunError that names process, Var and step; the states are those of the step before. Costs a look at each of them a step.

    InputError for a wrong value, InputTypeError for one of the wrong kind or an unknown option.
    """

    backend: str = "numba"
    precision: Precision = "floating_pt"
    select: Mapping[Any, type] = field(default_factory=dict)
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    debug: bool = False
    chip: Chip | None = None
    dt: float = 1e-6
    check: Literal["finite"] | None = None

    def __post_init__(self) -> None:
        known(self.backend)
        for key, model in self.select.items():
            if not isinstance(model, type):
                raise InputError(f"RunConfig: select maps to model classes, got {model!r} for {key!r}; one graph runs on one backend")
        if self.backend != "bss2" and (self.chip is not None or self.dt != 1e-6):
            raise InputError(f"RunConfig: chip and dt belong to backend='bss2', this is {self.backend!r}")

    @property
    def fixed(self) -> bool:
        return self.precision == "fixed_pt"
