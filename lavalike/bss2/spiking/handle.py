"""Handles: what modules pass to one another before there is any data, and what holds the data after
a run.

Tensors are (time, batch, neuron).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lavalike.arguments import did_you_mean
from lavalike.bss2.errors import OperandError
from lavalike.errors import InputError, InputTypeError, RunError

if TYPE_CHECKING:
    from lavalike.bss2.spiking.module import HXModule


EARLIER = {"v_cadc": "membrane_cadc", "v_madc": "membrane_madc"}  # what hxtorch called them


class Handle:
    """Named observables. ``Handle(tensor)`` holds one tensor; ``Handle("spikes", "rate")`` makes a
    class of handles with these names.

    A handle that a module returned is empty until :func:`lavalike.bss2.spiking.run`; reading it
    before is a RunError. What was not recorded is None.
    """

    names: tuple[str, ...] = ("tensor",)

    def __new__(cls, *values: Any, **named: Any) -> Any:
        if cls is Handle and values and all(isinstance(v, str) for v in values):
            return type(f"Handle_{'_'.join(sorted(values))}", (Handle,), {"names": values})
        return super().__new__(TensorHandle if cls is Handle else cls)

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
            if value is not None and not isinstance(value, torch.Tensor):
                raise InputTypeError(
                    f"{type(self).__name__}: {name} is a tensor (time, batch, neuron) or None, got {type(value).__name__}"
                )
        self._values: dict[str, torch.Tensor | None] = dict.fromkeys(self.names) | given
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

    def clone(self, other: Handle) -> None:
        """Take over what ``other`` holds."""
        missing = [n for n in other.names if n not in self.names]
        if missing:
            raise InputError(
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
        if self._waits_for is not None:
            raise RunError(
                f"{name} of {self._waits_for}: not run yet; call run(experiment, runtime) first"
            )
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.names:
            self._values[name] = value
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        if self.empty:
            return f"{type(self).__name__}(not run yet)"
        held = ", ".join(
            f"{n}={'None' if v is None else f'{tuple(v.shape)} {v.dtype}'}"
            for n, v in self._values.items()
        )
        return f"{type(self).__name__}({held})"


class TensorHandle(Handle):
    """``tensor``: of software layers."""


class SynapseHandle(Handle):
    """``graded_spikes``: what arrives at neurons, each spike weighted."""

    names = ("graded_spikes",)


class LIFObservables(Handle):
    """``spikes``, ``membrane_cadc`` and ``current``: (time, batch, neuron); ``membrane_madc``:
    (samples, batch, 2), time in s and voltage of the one recorded neuron."""

    names = ("spikes", "membrane_cadc", "current", "membrane_madc")


class LIObservables(Handle):
    """:class:`LIFObservables` without spikes."""

    names = ("membrane_cadc", "current", "membrane_madc")


NeuronHandle = LIFObservables
ReadoutNeuronHandle = LIObservables


def tensor_of(handle: Handle, names: tuple[str, ...], who: str) -> torch.Tensor:
    """The first of the observables ``names`` that ``handle`` holds; OperandError where it holds
    none."""
    for name in names:
        value = getattr(handle, name) if name in handle.names else None
        if value is not None:
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
