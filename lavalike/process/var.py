"""Vars: the named arrays of a process, holding the user's values in the user's units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from lavalike.arguments import FLAG, TEXT, arguments, as_numbers, choice, optional, shown
from lavalike.errors import RunError, VarError, VarTypeError
from lavalike.process import claims
from lavalike.process.ports import as_shape
from lavalike.process.structure import Shared, Structure

if TYPE_CHECKING:
    from lavalike.process.process import AbstractProcess

Role = Literal["state", "parameter"]


class Binding(Protocol):
    """What a compiled program offers the Vars of its processes between runs."""

    def read(self, var: Var) -> np.ndarray: ...
    def write(self, var: Var, value: np.ndarray) -> None: ...


class Var(Shared):
    """A named array of a process.

    Args:
        shape: shape of the value. ``(1,)`` stands for one value shared by all neurons.
        init: scalar, list or array, broadcast to ``shape``; its dtype is the Var's until a run gives a
            state the dtype of its model. Default 0.
        shareable: kept for Lava programs; RefPorts refuse a Var that is not shareable.
        name: taken from the attribute it is assigned to unless given.
        role: ``"state"`` changes from step to step, ``"parameter"`` only when it is set or trained.
        trainable: a parameter that ``to_torch`` turns into an ``nn.Parameter``.
        time_last: the last axis is time; models see it first, so that a step is contiguous.
    """

    @arguments(error=VarError, late=True, shareable=FLAG, name=optional(TEXT), role=choice("state", "parameter"), trainable=FLAG,
               time_last=FLAG)
    def __init__(self, shape: int | Sequence[int], init: Any = 0, shareable: bool = True, name: str | None = None, *,
                 role: Role = "state", trainable: bool = False, time_last: bool = False) -> None:
        flags = (True, False)
        if not (role in ("state", "parameter") and shareable in flags and trainable in flags and time_last in flags
                and (name is None or isinstance(name, str))):
            raise TypeError("Var")  # a Var is made often: its rules are looked at only now
        self.shape = as_shape(shape, name or "Var")
        self.shareable = shareable
        self.name = name or ""
        self.role: Role = role
        self.trainable = trainable
        self.time_last = time_last
        self.process: AbstractProcess | None = None
        self.binding: Binding | None = None
        self.aliased: Var | None = None
        self.value = self._checked(init, None)
        self.marked: np.ndarray | None = None  # the value that reset() gives a state

    def _shared(self) -> Structure | None:
        return None if self.process is None else self.process._structure

    def __getstate__(self) -> dict[str, Any]:
        value = self.value if self.binding is None else np.array(self.binding.read(self))
        return self.__dict__ | {"binding": None, "value": value}

    @property
    def path(self) -> str:
        own = self.name or "Var"
        return f"{self.process.path}.{own}" if self.process is not None else own

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"{self.path} {self.shape}"

    def alias(self, other: Var) -> None:
        """Let ``other``, a Var of an inner process with the same shape, hold this Var's value."""
        if not isinstance(other, Var):
            raise VarTypeError(f"{self!r}: alias takes a Var, got {shown(other)}")
        if other.shape != self.shape:
            raise VarError(f"{self!r} cannot be an alias of {other!r}: shapes differ")
        other.value = self.value
        self.aliased = other

    def _checked(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        arr = self._array(value)
        if arr.dtype.kind == "f" and not np.isfinite(arr).all():
            who = "Var: init" if not self.name else self.path if self.process is None else f"{self.path}: value"
            raise VarError(f"{who}: {int((~np.isfinite(arr)).sum())} values are NaN or infinite")
        if dtype is None or arr.dtype == dtype:
            return self._spread(arr)
        arr = self._spread(arr)
        if dtype.kind == "f":
            with np.errstate(over="ignore"):  # told below
                cast = arr.astype(dtype)
            if arr.dtype.itemsize > dtype.itemsize and not np.isfinite(cast).all():
                raise VarError(f"{self.path}: {arr[~np.isfinite(cast)].flat[0]} is beyond {dtype}, in which it runs; "
                               "RunConfig(dtype='float64') holds it")
            return cast
        with np.errstate(invalid="ignore"):  # too large for an integer: told below
            cast = arr.astype(dtype)
        if not np.array_equal(cast, arr):
            raise VarError(f"{self.path}: dtype is {dtype}; {arr[cast != arr].flat[0]} cannot be held in it without loss")
        return cast

    def _spread(self, arr: np.ndarray) -> np.ndarray:
        """A new array of the Var's shape that holds ``arr``."""
        try:
            out = np.empty(self.shape, arr.dtype)
        except (MemoryError, ValueError):
            raise VarError(f"{self.path}: shape {self.shape} needs {self.size * arr.itemsize / 2**30:.0f} GiB") from None
        try:
            if arr.ndim > out.ndim:
                raise ValueError
            out[...] = arr
        except ValueError:
            raise VarError(f"{self.path}: value of shape {arr.shape} does not fit shape {self.shape}") from None
        return out

    def _array(self, value: Any) -> np.ndarray:
        """``value`` as an array of real numbers; VarError, which is a TypeError too, where it is none."""
        who = f"{self.path}: value" if self.process is not None else self.path if self.name else "Var: init"
        if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
            raise VarError(f"{who}: {int(np.ma.getmaskarray(value).sum())} values are behind a mask; fill them: value.filled(0)")
        arr = value if type(value) is np.ndarray else as_numbers(value)
        if arr is None or arr.dtype.kind not in "biuf":
            raise VarTypeError(f"{who}: real numbers expected, got {shown(value, 60)} ({type(value).__name__})")
        return arr

    @arguments(error=VarError)
    def get(self, idx: Any = None) -> np.ndarray:
        """A copy of the value, ``value[idx]`` if ``idx`` is given (any NumPy index).

        Raises RunError while the process is running; pause it first.
        """
        if self.aliased is not None:
            return self.aliased.get(idx)
        value = self.value if self.binding is None else self.binding.read(self)
        if idx is None:
            return value.copy()
        try:
            return np.array(value[idx])
        except (IndexError, TypeError, ValueError) as e:
            raise self._index_error(idx)(f"{self.path}: idx {shown(idx)}: {e}") from None

    @staticmethod
    def _index_error(idx: Any) -> type[VarError]:
        return VarTypeError if isinstance(idx, str | float | complex) else VarError

    @arguments(error=VarError)
    def set(self, value: Any, idx: Any = None) -> None:
        """Replace the value (or ``value[idx]``), keeping the dtype; derived constants follow.

        Raises VarError when the value does not fit, and leaves everything as it was.
        """
        if self.aliased is not None:
            self.aliased.set(value, idx)
            return
        old = self.get()
        if idx is None:
            settled = self.role == "state" and self.binding is not None
            new = self._checked(value, old.dtype if settled else _wider(old.dtype, value))
        else:
            new = old.copy()
            part = self._array(value)
            new = old.astype(np.result_type(old, part))
            try:
                new[idx] = part
            except (ValueError, IndexError, TypeError) as e:
                raise self._index_error(idx)(f"{self.path}: cannot set index {idx!r} (idx): {e}") from None
            new = self._checked(new, old.dtype)
        if self.binding is not None:
            self.binding.write(self, new)
            self.value = new
            return
        with claims.lock:
            starts = self.process._structure.root().starting if self.process is not None else None
            if self.process is not None and (self.process.running or (starts is not None and not starts.here)):
                raise RunError(f"cannot set {self.path} while the process is running; pause() first")
            self.value = new


def resolved(target: Any) -> Any:
    """A Var's innermost alias, which holds its value; anything else as it is."""
    while isinstance(target, Var) and target.aliased is not None:
        target = target.aliased
    return target


def _wider(dtype: np.dtype, value: Any) -> np.dtype:
    """A default parameter (an integer 0, say) may become a float; nothing else changes dtype."""
    array = as_numbers(value)
    new = dtype if array is None else array.dtype
    return new if dtype.kind in "iub" and new.kind == "f" else dtype
