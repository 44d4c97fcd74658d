"""Handles: what modules pass to one another before there is any data, and what holds the data after
a run.

Tensors are (time, batch, neuron).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import did_you_mean
from lavalike.bss2.errors import HandleError, OperandError
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.errors import InputError, InputTypeError, RunError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.module import HXModule


EARLIER = {"v_cadc": "membrane_cadc", "v_madc": "membrane_madc"}  # what hxtorch called them
_KINDS: dict[frozenset[str], type[Handle]] = {}  # by their observables: one class for each set


class _Factory(type):
    """``Handle(...)`` itself makes handles of the class that has these observables."""

    def __call__(cls, *values: Any, **named: Any) -> Any:
        if cls is not Handle:
            return super().__call__(*values, **named)
        if values and all(isinstance(v, str) for v in values):
            if not named.keys() <= set(values):
                raise InputTypeError(
                    f"Handle: {', '.join(sorted(named.keys() - set(values)))} is none of the observables "
                    f"{', '.join(values)} that were named first; name all, or none"
                )
            return kind_of(*values)(**named)
        return TensorHandle(*values) if values or not named else kind_of(*named)(**named)


class Handle(metaclass=_Factory):
    """Named observables. ``Handle(tensor)`` holds one tensor, ``Handle(spikes=x, rate=y)`` these
    two; ``type(Handle("spikes", "rate"))`` is the class of handles with these names, the same for
    every order of them.

    A class without a name of its own takes values by position in the alphabetical order of its
    names. What a handle does not hold is None: what was not recorded, and everything in what a
    module returned until :func:`lavalike.bss2.spiking.run` has filled it (:attr:`empty`).
    """

    names: tuple[str, ...] = ("tensor",)
    __hash__ = None  # type: ignore[assignment]  # equal ones are those that hold the same

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self.names, values, strict=False)) | named
        if (
            len(values) > len(self.names)
            or not given.keys() <= set(self.names)
            or len(given) < len(values) + len(named)
        ):
            near = "".join(did_you_mean(n, self.names) for n in named if n not in self.names)
            raise InputTypeError(
                f"{type(self).__name__}: observables are {', '.join(self.names)}; got {len(values)} values "
                f"and {', '.join(named) or 'no names'}{near}"
            )
        for name, value in given.items():
            if value is not None and not isinstance(value, torch.Tensor | AnalogObservable):
                raise InputTypeError(
                    f"{type(self).__name__}: {name} is a tensor (time, batch, neuron), an AnalogObservable or None, got "
                    f"{type(value).__name__}"
                )
        self._values: dict[str, Any] = dict.fromkeys(self.names) | given
        self._waits_for: str | None = None
        self._source: HXModule | None = None

    @classmethod
    def awaited(cls, module: HXModule) -> Any:
        """An empty handle that ``module`` will fill."""
        handle = cls()
        handle._waits_for, handle._source = module.name, module
        return handle

    @property
    def source(self) -> HXModule | None:
        """The layer whose output it is; None for an input."""
        return self._source

    @property
    def empty(self) -> bool:
        """Whether a run has still to fill it."""
        return self._waits_for is not None

    def holds(self, name: str) -> bool:
        """Whether there is something under ``name``."""
        return name in self.names and self._values[name] is not None

    def clone(self, other: Handle) -> None:
        """Take over what ``other`` holds. HandleError (AssertionError) where it has observables
        that this one has not."""
        missing = [n for n in other.names if n not in self.names]
        if missing:
            raise HandleError(
                f"{type(self).__name__}: has no {', '.join(missing)} to take over from {type(other).__name__}; "
                f"its observables are {', '.join(self.names)}"
            )
        self._values |= {n: getattr(other, n) for n in other.names}
        self._waits_for = None

    def __getattr__(self, name: str) -> Any:
        name = EARLIER.get(name, name)
        if name.startswith("_") or name not in self.names:
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}; its observables are {', '.join(self.names)}"
            )
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.names:
            self._values[name] = value
        else:
            super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle) or set(self.names) != set(other.names):
            return False
        return all(_same(self._values[n], other._values[n]) for n in self.names)

    def __repr__(self) -> str:
        if self.empty:
            return f"{type(self).__name__}(not run yet)"
        held = ", ".join(
            f"{n}={f'{tuple(v.shape)} {v.dtype}' if isinstance(v, torch.Tensor) else v}"
            for n, v in self._values.items()
        )
        return f"{type(self).__name__}({held})"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    return a is b


def kind_of(*names: str) -> type[Handle]:
    """The class of handles that have the observables ``names``."""
    key = frozenset(names)
    if key not in _KINDS:
        wrong = [
            n for n in names if not n.isidentifier() or n.startswith("_") or hasattr(Handle, n)
        ]
        if wrong:
            raise InputError(
                f"Handle: observables are named by words that a handle has no other use for, got {', '.join(map(repr, wrong))}"
            )
        ordered = tuple(sorted(key))
        _KINDS[key] = type(f"Handle_{'_'.join(ordered)}", (Handle,), {"names": ordered})
    return _KINDS[key]


class TensorHandle(Handle):
    """``tensor``: of software layers."""


class SynapseHandle(Handle):
    """``graded_spikes``: what arrives at neurons, each spike weighted."""

    names = ("graded_spikes",)


class LIFObservables(Handle):
    """``spikes``, ``membrane_cadc`` and ``current``: (time, batch, neuron); ``membrane_madc``:
    (2, samples, batch), time in s and voltage of the one recorded neuron.

    Example:
        >>> handle = bss2.spiking.LIFObservables(spikes=torch.zeros(50, 4, 20))
        >>> handle.spikes.shape
        torch.Size([50, 4, 20])
    """

    names: tuple[str, ...] = ("spikes", "membrane_cadc", "current", "membrane_madc")


class LIObservables(Handle):
    """:class:`LIFObservables` without spikes."""

    names: tuple[str, ...] = ("membrane_cadc", "current", "membrane_madc")


class AELIFObservables(LIFObservables):
    """:class:`LIFObservables`, and ``adaptation_cadc``, ``adaptation_madc``: the adaptation
    current, as the membrane."""

    names = (*LIFObservables.names, "adaptation_cadc", "adaptation_madc")


class AELIObservables(LIObservables):
    """:class:`AELIFObservables` without spikes."""

    names = (*LIObservables.names, "adaptation_cadc", "adaptation_madc")


for _kind in (
    TensorHandle,
    SynapseHandle,
    LIFObservables,
    LIObservables,
    AELIFObservables,
    AELIObservables,
):
    _KINDS[frozenset(_kind.names)] = _kind
NeuronHandle = LIFObservables
ReadoutNeuronHandle = LIObservables


def tensor_of(handle: Handle, names: tuple[str, ...], who: str) -> torch.Tensor:
    """The first of the observables ``names`` that ``handle`` holds; OperandError where it holds
    none, RunError where it waits for a run."""
    if handle.empty:
        raise RunError(
            f"{who}: {' or '.join(n for n in names if n in handle.names)} of {handle._waits_for}: not run yet; call "
            "run(experiment, runtime) first"
        )
    for name in names:
        value = getattr(handle, name) if name in handle.names else None
        if isinstance(value, torch.Tensor):
            return value
    raise OperandError(f"{who}: a handle with {' or '.join(names)} is expected, got {handle!r}")


def alike(xs: list[torch.Tensor], who: str, cut: bool = False) -> list[torch.Tensor]:
    """Tensors (..., time, batch, neuron) of what arrives together; with ``cut`` those that are
    longer end with the shortest."""
    if len({(x.dim(), x.shape[-2]) for x in xs}) > 1 or (
        not cut and len({x.shape[-3] for x in xs}) > 1
    ):
        raise OperandError(
            f"{who}: what arrives together has as many steps and samples, got shapes "
            f"{', '.join(str(tuple(x.shape)) for x in xs)} (time, batch, neuron)"
        )
    steps = min(x.shape[-3] for x in xs)
    return [x[..., :steps, :, :] for x in xs]


def spikes_of(handle: Handle, who: str) -> torch.Tensor:
    """Spikes of an input or a layer, (time, batch, neuron)."""
    x = tensor_of(handle, ("spikes", "tensor"), who)
    if x.dim() != 3:
        raise OperandError(
            f"{who}: spikes (time, batch, neuron) are expected, got shape {tuple(x.shape)}"
        )
    return x
