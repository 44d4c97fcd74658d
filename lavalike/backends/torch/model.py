"""TorchModel: a process's step on tensors with a batch axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavalike.backends.torch import arithmetic
from lavalike.backends.torch.surrogate import Derivative, Surrogate, exponential
from lavalike.dynamics.dynamics import bind
from lavalike.model.config import RunConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess
from lavalike.process.units import Units

Tensors = dict[str, torch.Tensor]


class Heard(Tensors):
    """Inputs that note in ``names`` which of them were read."""

    names: set[str]

    @classmethod
    def of(cls, values: Tensors, names: set[str]) -> Heard:
        self = cls(values)
        self.names = names
        return self

    def __getitem__(self, key: str) -> torch.Tensor:
        self.names.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def _all(name: str) -> Any:
        def method(self: Heard, *args: Any) -> Any:
            self.names.update(dict.keys(self))
            return getattr(dict, name)(self, *args)

        return method

    keys, values, items, __iter__, pop, copy, __or__, __ror__ = map(
        _all, ("keys", "values", "items", "__iter__", "pop", "copy", "__or__", "__ror__"))
    del _all


class TorchModel(ProcessModel):
    """A differentiable model; floating_pt.

    Without delay, define ``step(t, inputs, state, c) -> (outputs, state)``; with ``delay=1`` define
    ``send(state, c) -> outputs`` and ``receive(t, inputs, state, c) -> state``. Inputs, outputs and state are
    dicts of tensors ``(batch, *shape)`` by the names of ports and state Vars; ``c`` is what ``constants``
    returns. Nothing is changed in place.

    ``sequence(inputs, state, c, first)`` does the same for tensors ``(batch, *shape, time)``; by default it
    calls ``step`` for every time step.
    """

    backend = "torch"
    surrogate: Surrogate | Derivative = exponential()
    looked = told = False  # at messages that count as spikes

    def constants(self, values: Tensors) -> dict[str, Any]:
        """From the Vars' values as tensors (nn.Parameters where trainable); ValueError when out of range."""
        return dict(values)

    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        outputs = self.send(state, c)
        return outputs, self.receive(t, inputs, state, c)

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        raise NotImplementedError(f"{type(self).__name__}: a TorchModel with delay defines send and receive")

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        raise NotImplementedError(f"{type(self).__name__}: a TorchModel with delay defines send and receive")

    def sequence(self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int) -> tuple[Tensors, Tensors]:
        columns = {name: x.unbind(-1) for name, x in dict.items(inputs)}
        rows: dict[str, list[torch.Tensor]] = {}
        for k in range(steps):
            now = {name: x[k] for name, x in columns.items()}
            out, state = self.step(first + k, Heard.of(now, inputs.names) if isinstance(inputs, Heard) else now, state, c)
            for name, x in out.items():
                rows.setdefault(name, []).append(x)
        return {name: torch.stack(x, -1) for name, x in rows.items()}, state


class DynamicsModel(TorchModel):
    """The model of every process with ``dynamics``."""

    precision = "floating_pt"

    def __init__(self, process: AbstractProcess, config: RunConfig) -> None:
        super().__init__(process, config)
        assert process.dynamics is not None
        self.dynamics = process.dynamics
        self._bound: tuple[Surrogate | Derivative, Any] | None = None

    def port_names(self) -> frozenset[str]:
        return frozenset((*self.dynamics.inputs, *self.dynamics.outputs))

    @property
    def function(self) -> Any:
        if self._bound is None or self._bound[0] is not self.surrogate:
            self._bound = (self.surrogate, bind(self.dynamics.step, arithmetic.table(self.surrogate)))
        return self._bound[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bound": None}  # made of the step when it is called

    def constants(self, values: Tensors) -> dict[str, Any]:
        derived = self.dynamics.derive(values, Units.of(self.process.proc_params), False)
        like = next(iter(values.values()), torch.zeros(0, dtype=getattr(torch, self.config.dtype)))
        out = {k: v if isinstance(v, torch.Tensor) else torch.as_tensor(v, device=like.device) for k, v in derived.items()}
        dtype = getattr(torch, self.config.dtype)
        return {k: v.to(dtype) if v.dtype.is_floating_point else v for k, v in out.items()}

    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        d = self.dynamics
        known = {"t": t, **c, **inputs, **state}
        results = self.function(*(known[a] for a in d.arguments))
        results = results if isinstance(results, tuple) else (results,)
        dtype = next(iter(inputs.values())).dtype if inputs else next(iter(state.values())).dtype
        cast = [x.to(dtype) if x.dtype == torch.bool else x for x in results]
        return dict(zip(d.outputs, cast, strict=False)), state | dict(zip(d.states, cast[len(d.outputs):], strict=True))
