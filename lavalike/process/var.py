"""Vars: the named arrays of a process, holding the user's values in the user's units."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

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

    Example:
        >>> lif = proc.LIF(shape=(3,), vth=1.0)
        >>> lif.vth.set(2.0)
        >>> lif.vth.get(), lif.v.shape
        (array([2.]), (3,))

    Args:
        shape: shape of the value. ``(1,)`` stands for one value shared by all neurons.
        init: scalar, list or array of booleans, integers, floats, complex numbers or texts,
            broadcast to ``shape``; its dtype is the Var's. A user's model keeps the kind: floats
            and complex numbers in the precision of the run, booleans and integers as they are.
            Python's integers become floats where a step writes floats into them; with a NumPy array
            or number a dtype was asked for, and such a step is an error. Default 0.
        shareable: kept for Lava programs; RefPorts refuse a Var that is not shareable.
        name: taken from the attribute it is assigned to unless given.
        role: ``"state"`` changes from step to step, ``"parameter"`` only when it is set or trained.
        trainable: a parameter that ``to_torch`` turns into an ``nn.Parameter``.
        time_last: the last axis is time; models see it first, so that a step is contiguous.
    """

    finite: ClassVar[bool] = True  # NaN and infinity are refused

    @arguments(
        error=VarError,
        late=True,
        shareable=FLAG,
        name=optional(TEXT),
        role=choice("state", "parameter"),
        trainable=FLAG,
        time_last=FLAG,
    )
    def __init__(
        self,
        shape: int | Sequence[int],
        init: Any = 0,
        shareable: bool = True,
        name: str | None = None,
        *,
        role: Role = "state",
        trainable: bool = False,
        time_last: bool = False,
    ) -> None:
        flags = (True, False)
        if not (
            role in ("state", "parameter")
            and shareable in flags
            and trainable in flags
            and time_last in flags
            and (name is None or isinstance(name, str))
        ):
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
        self.each: tuple[int, ...] | None = (
            None  # of one number for all: the shape it has once it is one a neuron
        )
        self.value = self._checked(init, None)
        self.asked = hasattr(init, "dtype")  # whether for this dtype: a Python number is of any
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

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self.value.nbytes

    @property
    def untouched(self) -> bool:
        """Whether the value has not been made yet, as by a rule."""
        return False

    def __repr__(self) -> str:
        return f"{self.path} {self.shape}"

    def alias(self, other: Var) -> None:
        """Let ``other``, a Var of an inner process with the same shape, hold this Var's value."""
        if not isinstance(other, Var):
            raise VarTypeError(f"{self!r}: alias takes a Var, got {shown(other)}")
        if other.shape != self.shape:
            raise VarError(f"{self!r} cannot be an alias of {other!r}: shapes differ")
        chain = [other]
        while chain[-1] is not self and (inside := chain[-1].aliased) is not None:
            chain.append(inside)
        if chain[-1] is self:
            circle = " -> ".join(v.path for v in (self, *chain))
            raise VarError(f"{circle}: a circle of aliases, so that none of them holds a value")
        other.value = self.value
        self.aliased = other

    def _checked(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        """A new array of the Var's shape and ``dtype`` (None: the value's own) that holds
        ``value``; VarError."""
        arr = self._array(value, dtype)
        if self.finite and arr.dtype.kind in "fc" and not np.isfinite(arr).all():
            who = (
                "Var: init"
                if not self.name
                else self.path
                if self.process is None
                else f"{self.path}: value"
            )
            raise VarError(f"{who}: {int((~np.isfinite(arr)).sum())} values are NaN or infinite")
        if dtype is None or arr.dtype == dtype:
            return self._spread(arr, arr.dtype)
        if dtype.kind == "U":
            return self._spread(arr, np.promote_types(dtype, arr.dtype))
        with np.errstate(over="ignore", invalid="ignore"):  # too large for the dtype: told below
            cast = self._spread(arr, dtype)
        if dtype.kind in "fc":
            if arr.dtype.itemsize > dtype.itemsize and not np.isfinite(cast).all():
                lost = np.broadcast_to(arr, self.shape)[~np.isfinite(cast)].flat[0]
                raise VarError(
                    f"{self.path}: {lost} is beyond {dtype}, in which it runs; "
                    "RunConfig(dtype='float64') holds it"
                )
        elif not (np.broadcast_to(arr, self.shape) == cast).all():
            lost = np.broadcast_to(arr, self.shape)
            raise VarError(
                f"{self.path}: dtype is {dtype}; {lost[cast != lost].flat[0]} cannot be held in it without loss"
            )
        return cast

    def _spread(self, arr: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """A new array of the Var's shape and ``dtype`` that holds ``arr``."""
        try:
            if arr.ndim == 0 and not any(arr.tobytes()):
                return np.zeros(self.shape, dtype)  # pages that nobody has written take no memory
            out = np.empty(self.shape, dtype)
        except (MemoryError, ValueError):
            raise VarError(
                f"{self.path}: shape {self.shape} needs {self.size * arr.itemsize / 2**30:.0f} GiB"
            ) from None
        try:
            if arr.ndim > out.ndim:
                raise ValueError
            out[...] = arr
        except ValueError:
            raise VarError(
                f"{self.path}: value of shape {arr.shape} does not fit shape {self.shape}"
            ) from None
        return out

    def _array(self, value: Any, dtype: np.dtype | None) -> np.ndarray:
        """``value`` as an array of what a Var of ``dtype`` holds; VarError, which is a TypeError
        too, where it is none."""
        who = (
            f"{self.path}: value"
            if self.process is not None
            else self.path
            if self.name
            else "Var: init"
        )
        if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
            raise VarError(
                f"{who}: {int(np.ma.getmaskarray(value).sum())} values are behind a mask; fill them: value.filled(0)"
            )
        arr = value if type(value) is np.ndarray else as_numbers(value)
        if arr is None and isinstance(value, str | list | tuple):
            arr = _texts(value)
        kinds = (
            "biufcU"
            if dtype is None
            else "U"
            if dtype.kind == "U"
            else "biufc"
            if dtype.kind == "c"
            else "biuf"
        )
        if arr is None or arr.dtype.kind not in kinds:
            what = {"U": "texts", "biufc": "numbers", "biuf": "real numbers"}.get(
                kinds, "real numbers"
            )
            raise VarTypeError(
                f"{who}: {what} expected, got {shown(value, 60)} ({type(value).__name__})"
            )
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
        """Replace the value (or ``value[idx]``), keeping the dtype (integers become floats where
        some are given); derived constants follow.

        A parameter that is one number for all neurons becomes one a neuron where it is given as
        many, or an index beyond the first. Raises VarError when the value does not fit, and leaves
        everything as it was.
        """
        if self.aliased is not None:
            self.aliased.set(value, idx)
            self.shape = self.aliased.shape
            return
        old = self.value if self.binding is None else self.binding.read(self)
        settled = self.role == "state" and self.binding is not None
        before = self.shape
        try:
            if idx is None:
                self._grow(value)
                new = self._checked(value, old.dtype if settled else _wider(old.dtype, value))
            else:
                part = self._array(value, old.dtype)
                new = self._part(old, part, idx)
                new = self._checked(new, old.dtype if settled else _wider(old.dtype, part))
            self._write(new)
        except BaseException:
            self.shape = before
            raise

    def restore(self, value: np.ndarray) -> None:
        """Hold what a Var of this name held, in its dtype; VarError where it does not fit. Of a
        process that is not compiled."""
        self._grow(value)
        if value.shape != self.shape or (value.dtype.kind == "U") != (self.value.dtype.kind == "U"):
            raise VarError(
                f"{self.path}: {value.dtype} of shape {value.shape} does not fit {self.value.dtype} of shape {self.shape}"
            )
        self.value = self._checked(value, None)

    def _grow(self, value: Any) -> None:
        """One number for all takes one a neuron."""
        if self.each is not None and self.shape == (1,) and np.shape(value) not in ((), (1,)):
            with contextlib.suppress(ValueError):
                if np.broadcast_shapes(np.shape(value), self.each) == self.each:
                    self.shape = self.each

    def _part(self, old: np.ndarray, part: np.ndarray, idx: Any) -> np.ndarray:
        """``old`` with ``part`` at ``idx``, in a dtype that holds both."""
        dtype = np.result_type(old, part)
        try:
            try:
                old[idx]
            except IndexError:
                if self.each is None or self.shape != (1,):
                    raise
                old = np.broadcast_to(old, self.each)
                old[idx]
                self.shape = self.each
            new = old.astype(dtype)
            new[idx] = part
        except (ValueError, IndexError, TypeError) as e:
            raise self._index_error(idx)(
                f"{self.path}: cannot set index {idx!r} (idx): {e}"
            ) from None
        return new

    def _write(self, new: np.ndarray) -> None:
        if self.binding is not None:
            self.binding.write(self, new)
            self.value = new
            return
        with claims.lock:
            starts = self.process._structure.root().starting if self.process is not None else None
            if self.process is not None and (
                self.process.running or (starts is not None and not starts.here)
            ):
                raise RunError(
                    f"cannot set {self.path} while the process is running; pause() first"
                )
            self.value = new


class Deferred:
    """Arrays that are made by a rule when one is first asked for. Until then a worker process is
    sent the rule.

    ``make`` gives them by their names; each is taken once, by who holds it from then on.
    """

    rule: Any

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] | None = None

    @property
    def made(self) -> bool:
        return self._arrays is not None

    def make(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def take(self, name: str) -> np.ndarray:
        if self._arrays is None:
            self._arrays = self.make()
        return self._arrays.pop(name)

    def __getstate__(self) -> dict[str, Any]:
        """As arrays: a rule may not be found where they are read."""
        if self._arrays is None:
            self._arrays = self.make()
        return self.__dict__ | {"rule": None}


_deferred = threading.RLock()  # an array is taken once


class DeferredVar(Var):
    """A parameter whose value is the array ``which`` of ``source``, which nobody else holds."""

    def __init__(
        self, source: Deferred, which: str, shape: tuple[int, ...], dtype: np.dtype, **kwargs: Any
    ) -> None:
        self.source: Deferred | None = source
        self.which, self._dtype = which, dtype
        super().__init__((1,), dtype.type(0), role="parameter", **kwargs)
        self.shape = shape
        del self.__dict__["value"]

    @property
    def value(self) -> np.ndarray:
        held = self.__dict__
        if "value" not in held:
            with _deferred:
                if "value" not in held:
                    assert self.source is not None
                    held["value"] = self.source.take(self.which)
                    self.source = None
        return held["value"]

    @value.setter
    def value(self, value: np.ndarray) -> None:
        self.__dict__["value"] = value

    @property
    def untouched(self) -> bool:
        return "value" not in self.__dict__

    @property
    def nbytes(self) -> int:
        return self.size * self._dtype.itemsize if self.untouched else self.value.nbytes


def resolved(target: Any) -> Any:
    """A Var's innermost alias, which holds its value; anything else as it is."""
    while isinstance(target, Var) and target.aliased is not None:
        target = target.aliased
    return target


def _texts(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return None
    return array if array.dtype.kind == "U" else None


def _wider(dtype: np.dtype, value: Any) -> np.dtype:
    """A default parameter (an integer 0, say) may become a float; nothing else changes dtype."""
    numbers = as_numbers(value)
    new = dtype if numbers is None else numbers.dtype
    return new if dtype.kind in "iu" and new.kind == "f" else dtype
