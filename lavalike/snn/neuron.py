"""A neuron of the step style: a module around any :class:`lavalike.dynamics.Dynamics`, the user's own included."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lavalike import fused
from lavalike.backends.torch.surrogate import Atan, Surrogate
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError
from lavalike.snn import record as recording

State = torch.Tensor | None


class Stateful(nn.Module):
    """A layer that keeps its states between calls, where ``init_hidden`` says so; they are no part of its state_dict or of copies.

    Args:
        names: of the states, in order.
        init_hidden: a call takes x alone and returns the output alone; the states stay in the module.
        output: with init_hidden, a call returns the states as well.
    """

    output_is_state = False  # the first state is the output itself, which a call then returns once

    def __init__(self, names: Sequence[str], init_hidden: bool, output: bool) -> None:
        super().__init__()
        self.state_names = tuple(names)
        self.init_hidden, self.output = init_hidden, output
        self._hidden: tuple[torch.Tensor, ...] | None = None

    @property
    def label(self) -> str:
        return f"snn.{type(self).__name__}"

    @property
    def hidden(self) -> dict[str, torch.Tensor]:
        """The states that init_hidden keeps, by name; empty before the first step."""
        return dict(zip(self.state_names, self._hidden or (), strict=False))

    def begin(self) -> tuple[torch.Tensor, ...]:
        """The states before the first step: empty tensors, which stand for zeros of whatever shape the input has."""
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        return tuple(torch.zeros(0, device=device) for _ in self.state_names)

    def reset_mem(self) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Forget what init_hidden keeps. Returns the states before the first step, as init_leaky, init_synaptic, ... do."""
        self.reset()
        states = self.begin()
        return states[0] if len(states) == 1 else states

    def reset(self) -> None:
        """Forget the states that init_hidden keeps."""
        self._hidden = None

    def detach(self) -> None:
        """Cut the states that init_hidden keeps off the graph (truncated backpropagation)."""
        if self._hidden is not None:
            self._hidden = tuple(s.detach() for s in self._hidden)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hidden": None}  # a copy begins anew

    def forward(self, x: torch.Tensor, *states: State, **named: State) -> Any:
        """A step; states by position or by name. Returns ``(output, *states)``, with init_hidden the output alone."""
        if self.init_hidden:
            if states or named:
                raise InputError(f"{self.label}: with init_hidden=True a call takes the input alone")
            states = self._hidden or ()
        given = dict(zip(self.state_names, states, strict=False))
        if len(states) > len(self.state_names) or named.keys() & given.keys() or named.keys() - set(self.state_names):
            got = f"{len(states)} states" + (f" and {', '.join(named)}" if named else "")
            raise InputError(f"{self.label}: a call takes the input and the states {', '.join(self.state_names)}; got {got}")
        given |= named
        out = self.step(x, [given.get(n) for n in self.state_names])
        if self.output_is_state:
            out = (out[0], *out[2:])
        if not self.init_hidden:
            return out
        self._hidden = out if self.output_is_state else out[1:]
        return out if self.output else out[0]

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        """One step: (output, *states); a state that is None or has no elements is 0."""
        raise NotImplementedError(f"{self.label} defines step(x, states)")

    def check_states(self, shape: Sequence[int], states: Sequence[State]) -> None:
        for name, s in zip(self.state_names, states, strict=True):
            if s is not None and s.numel() and s.shape != shape:
                remedy = "call lavalike.snn.reset(net)" if self.init_hidden else "take the states of reset_mem()"
                raise InputError(f"{self.label}: state {name} has shape {tuple(s.shape)}; expected {tuple(shape)}; {remedy} "
                                 "before a new sequence or another batch")


class Neuron(Stateful):
    """A layer of neurons, called step by step or on a whole sequence.

    ``out, *states = neuron(x, *states)`` is one step for x of shape (batch, ...); a state left out, None or of length 0 is zero.
    ``neuron.sequence(x)`` takes (time, batch, ...) and is one fused loop. Both are the same equations.

    Args:
        dynamics: the step and its parameters.
        values: parameters by name: a number, or a tensor of one a neuron (it broadcasts to x without the batch). Default:
            those of ``dynamics.parameters``.
        learn: names of the parameters that are trained. Default: those that ``dynamics.parameters`` says are. Training keeps them
            within their limits: where an update left these, the next call brings the parameter back.
        spike_grad: the surrogate gradient. Default ``surrogate.atan()``.
        reset_grad: "detach" (default), "full" or "slayer"; see :class:`lavalike.fused.Training`.
        init_hidden: keep the states in the module; a call takes x alone and returns the output alone. Default False.
        output: with init_hidden, return the states as well. Default False.

    Raises:
        InputError: parameters that are missing, unknown or out of range; in a call, shapes and dtypes (float32, float64, bfloat16).
    """

    def __init__(self, dynamics: Dynamics, values: Mapping[str, Any] | None = None, learn: Sequence[str] | None = None,
                 spike_grad: Surrogate | None = None, reset_grad: str = "detach", init_hidden: bool = False, output: bool = False) -> None:
        super().__init__(dynamics.states, init_hidden, output)
        known = {p.name: p for p in dynamics.parameters}
        given = {name: p.default for name, p in known.items()} | dict(values or {})
        learn = [n for n, p in known.items() if p.trained] if learn is None else list(learn)
        names = dynamics.constant_names
        missing, unknown = [n for n in names if n not in given], [n for n in (*given, *learn) if n not in names]
        if missing or unknown:
            raise InputError(f"{self.label}: parameters {names} are needed; missing {missing}, unknown {unknown}")
        self.dynamics = dynamics
        self.fused_training = fused.Training(Atan() if spike_grad is None else spike_grad, reset_grad)
        self._limits = {n: self.limits(n) for n in names}
        for name in names:
            self._keep(name, given[name], name in learn)

    def limits(self, name: str) -> tuple[float, float]:
        """The least and the greatest value of a parameter."""
        return next(((p.low, p.high) for p in self.dynamics.parameters if p.name == name), (-math.inf, math.inf))

    def _keep(self, name: str, value: Any, learn: bool) -> None:
        """As nn.Parameter where it is learnt, as a buffer otherwise."""
        value = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
        low, high = self._limits[name]
        wrong = value[~(torch.isfinite(value) & (value >= low) & (value <= high))]
        if wrong.numel():
            raise InputError(f"{self.label}: {self.called(name)} is in {low:g}..{high:g}, got {wrong[0].item():g}")
        if learn:
            setattr(self, name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def called(self, name: str) -> str:
        """A parameter's name among the arguments."""
        return name

    def values(self) -> dict[str, torch.Tensor]:
        """The step's parameters, brought back into their limits where training left them."""
        out = {}
        for name in self.dynamics.constant_names:
            value = getattr(self, name)
            if isinstance(value, nn.Parameter) and self._limits[name] != (-math.inf, math.inf):
                # not in the graph, where a parameter outside would never get a gradient again; and .data, because the steps
                # before have it saved for their gradients (after the first of them this changes nothing)
                value.data.clamp_(*self._limits[name])
            out[name] = value
        return out

    def sequence(self, x: torch.Tensor, *states: State, record: Sequence[str] = (),
                 steps: int | None = None) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
        """All steps of x, (time, batch, ...), in one fused loop; with ``steps`` x may be (1, batch, ...), the same in all of them.

        Returns outputs by name, (time, batch, ...), and the states that ``record`` names likewise; and the states after the last step.
        """
        if not isinstance(x, torch.Tensor) or x.dim() < 2 or not x.is_floating_point():
            got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputError(f"{self.label}: a sequence is a floating-point tensor (time, batch, ...), got {got}")
        if recording.current() is not None:
            raise InputError(f"{self.label}: sequence(...) is folded already; accelerate folds networks that call neurons step by step")
        given = {n: s for n, s in zip(self.state_names, states, strict=False) if s is not None and s.numel()}
        result = fused.scan(self.dynamics, self.fused_training, {self.dynamics.inputs[0]: x}, self.values(), given, record, steps=steps)
        return result.outputs, tuple(result.states[n] for n in self.state_names)

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        if not isinstance(x, torch.Tensor) or not x.dim() or not x.is_floating_point():
            got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputError(f"{self.label}: the input of a step is a floating-point tensor (batch, ...), got {got}")
        self.check_states(x.shape, states)
        record = recording.current()
        if record is not None:
            return record.neuron(self, x, states)
        outputs, after = self.sequence(x.unsqueeze(0), *states)
        return (outputs[self.dynamics.outputs[0]].squeeze(0), *after)


def reset(net: nn.Module) -> None:
    """Forget the states that neurons of ``net`` with init_hidden keep, however deeply nested."""
    for module in net.modules():
        if isinstance(module, Stateful):
            module.reset()


def detach(net: nn.Module) -> None:
    """Cut the states that neurons of ``net`` with init_hidden keep off the graph."""
    for module in net.modules():
        if isinstance(module, Stateful):
            module.detach()
