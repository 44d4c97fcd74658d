"""Var as Lava's programs know it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.compat.errors import AliasError
from lavalike.compat.server import VarServer
from lavalike.errors import VarError
from lavalike.process import var as core
from lavalike.process.process import AbstractProcess

UNNAMED = "Unnamed variable"


class Var(core.Var):
    """A Var whose ``init`` may be changed until its process is compiled, whose values come back as
    float64, and which is set after its process was compiled only."""

    finite = False  # a buffer may begin with NaN

    def __init__(
        self, shape: Any, init: Any = 0, shareable: bool = True, name: str | None = None
    ) -> None:
        super().__init__(shape, init, shareable, name or UNNAMED)
        self.raw = init

    @property
    def init(self) -> Any:
        """What the Var is made of."""
        raw = self.__dict__.get("raw")
        return self.__dict__.get("given", self.value) if raw is None else raw

    @init.setter
    def init(self, value: Any) -> None:
        self.raw = value

    def _array(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        """As lavalike's, and: leading axes of 1 that ``shape`` does not have, and arrays of any
        Python objects."""
        if isinstance(value, np.ndarray) and value.dtype == object:
            array = value
        else:
            array = super()._array(value, dtype)
        while array.ndim > len(self.shape) and array.shape[0] == 1:
            array = array[0]
        return array

    @property
    def id(self) -> int:
        if "_id" not in self.__dict__:
            self._id = VarServer().register(self)
        return self._id

    @property
    def aliased_var(self) -> core.Var | None:
        return self.aliased

    @property
    def is_parameter(self) -> bool:
        return self.role == "parameter"

    @property
    def compiled(self) -> bool:
        """Whether its process has been compiled, so that the value counts, not ``init``."""
        return self.process is not None and "_compiled" in self.process.__dict__

    def settle(self) -> None:
        """Take ``init`` as it is by now for the value; its process is being compiled."""
        if self.__dict__.get("raw") is not None and self.aliased is None and not self.compiled:
            self.value = self._checked(self.raw, None)

    def restore(self, value: np.ndarray) -> None:
        """Hold what a Var of this name held in a file."""
        super().restore(value)
        self.raw = None

    def alias(self, other: core.Var) -> None:
        """Let ``other``, a Var of an inner process, hold the value; it begins with the other's, as
        in Lava."""
        if not isinstance(other, core.Var):
            raise AliasError(f"{self!r}: alias takes a Var, got {other!r}")
        if other.shape != self.shape or other.shareable != self.shareable:
            raise AliasError(
                f"{self!r} cannot be an alias of {other!r}: shapes {self.shape} and {other.shape}, shareable "
                f"{self.shareable} and {other.shareable}"
            )
        self.value = other.value
        super().alias(other)

    def validate_alias(self) -> None:
        """AliasError unless what this is an alias of belongs to an inner process."""
        if self.aliased is None:
            return
        at: AbstractProcess | None = self.aliased.process
        while at is not None and at is not self.process:
            at = at.parent
        if at is None or self.aliased.process is self.process:
            raise AliasError(f"{self!r}: {self.aliased!r} does not belong to a process inside it")

    def get(self, idx: Any = None) -> Any:
        """The value, float64; what ``init`` is before its process is compiled."""
        if self.aliased is not None:
            return self.aliased.get(idx)
        if not self.compiled:
            return self.init if idx is None else np.asarray(self.init)[idx]
        value = super().get(idx)
        return value.astype(np.float64) if value.dtype.kind in "biuf" else value

    def set(self, value: Any, idx: Any = None) -> None:
        """Replace the value; VarError before the process is compiled."""
        if self.aliased is None and not self.compiled:
            raise VarError(
                f"{self.path}: set() changes the value of a process that is compiled; before its first run() or compile() "
                "give it init="
            )
        if idx is None and isinstance(value, np.ndarray) and value.size == self.size:
            value = value.reshape(self.shape)  # Lava hands elements over one by one
        super().set(value, idx)
