"""Op: one row of a program's table."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from lavalike.backends.numba import faults, kernels
from lavalike.backends.numba.kernels import Kind, Spec
from lavalike.errors import GraphError

# what Numba raises of a step that it cannot read, the latter from its inside
NOT_COMPILED = (NumbaError, AttributeError, NotImplementedError)


@dataclass(eq=False)
class Op:
    """One row of the table: a kernel, its arguments' values, and whose batch axis it does not see
    itself."""

    spec: Spec
    values: list[Any]
    per_sample: list[bool]
    owner: str
    looped: bool = False
    packed: np.ndarray | None = None

    @property
    def kinds(self) -> list[Kind]:
        return [kind for _, kind in self.spec.arguments]

    def sample(self, k: int) -> list[Any]:
        """The arguments for sample k."""
        return [
            v[k] if per and self.looped else v
            for v, per in zip(self.values, self.per_sample, strict=True)
        ]

    def row(self, batch: int) -> list[int]:
        """This op's row of the engine's table; packs the argument blocks on first use."""
        if self.packed is None:
            self.packed = self._pack(batch if self.looped else 1)
        try:
            address = kernels.address(self.spec)
        except NOT_COMPILED as e:
            if self.spec.trusted and not isinstance(e, NumbaError):
                raise
            if kernels.RETURNS in str(e):
                raise faults.returned(self.owner, self.spec) from None
            raise GraphError(f"{self.owner}: the model's step does not compile: {e}") from e
        return [address, kernels.address_of(self.packed), self.packed.strides[0], len(self.packed)]

    def _pack(self, samples: int) -> np.ndarray:
        """One argument block a sample: the first one's, its per-sample addresses moved on by a
        sample."""
        first = kernels.pack(self.sample(0), self.kinds)
        if not self.looped:
            return first.reshape(1, -1)
        blocks = np.tile(first, (samples, 1))
        slot = 0
        for value, per, kind in zip(self.values, self.per_sample, self.kinds, strict=True):
            if per and self.looped:
                blocks[:, slot] += np.arange(samples) * value.strides[0]
            slot += kernels.slots(kind)
        return blocks


name_of = functools.cache(str)  # of a dtype


def kind_of(value: Any) -> Kind:
    """The kind under which a bound value is handed to a kernel."""
    if isinstance(value, np.ndarray):
        return (name_of(value.dtype), value.ndim)
    if isinstance(value, np.float32 | np.bool_ | np.complexfloating):
        return (name_of(value.dtype), 0)
    return (
        "int64"
        if isinstance(value, int | np.integer)
        else "complex128"
        if isinstance(value, complex)
        else "float64",
        0,
    )
