"""A neuron of the step style: a module around any :class:`lavalike.dynamics.Dynamics`, the user's
own included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike import fused
from lavalike.arguments import (
    FLAG,
    MAPPING,
    TEXT,
    arguments,
    as_numbers,
    choice,
    did_you_mean,
    instance,
    keywords,
    numbers,
    optional,
    sequence,
    shown,
)
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError, InputTypeError
from lavalike.fused.ambient import transformed
from lavalike.fused.arithmetic import shared
from lavalike.fused.surrogate import SURROGATE, Surrogate
from lavalike.snn import record as recording
from lavalike.snn.surrogate import Looped, atan, spiking
from lavalike.text import settings

State = torch.Tensor | None
NUMBERS = numbers()
RESET_GRAD = choice("slayer", "detach", "full")
GRADIENT = choice("surrogate", "eventprop")


def within(value: torch.Tensor, *limits: tuple[Any, Any]) -> torch.Tensor:
    """A learnt ``value`` brought back into ``limits`` (low, high; numbers or tensors; None is
    none), one pair after the other."""
    if isinstance(value, nn.Parameter) and not transformed():
        # not in the graph, where a parameter outside would never get a gradient again; and .data,
        # because the steps before have it saved for their gradients (after the first of them this
        # changes nothing)
        for low, high in limits:
            value.data.clamp_(low, high)
        return value
    kept = value.detach()
    for low, high in limits:
        kept = kept.clamp(low, high)
    return value + (kept - value).detach()


class Stateful(nn.Module):
    """A layer that keeps its states between calls, where ``init_hidden`` says so: by their names
    (``layer.mem``, which may be set) and in ``hidden``; they are no part of its state_dict or of
    copies.

    Args:
        names: of the states, in order.
        init_hidden: a call takes x alone and returns the output alone; the states stay in the
            module.
        output: with init_hidden, a call returns the states as well.
    """

    output_is_state = False  # the first state is the output itself, which a call then returns once
    input_names: tuple[str, ...] = ("x",)
    output_count = 1
    _once = frozenset({"state_names", "dynamics"})  # set when made, and then no more
    _aliases: Mapping[str, str] = {}  # parameters that have another name among the arguments

    def __init__(self, names: Sequence[str], init_hidden: bool, output: bool) -> None:
        super().__init__()
        self._limits: dict[str, tuple[float, float]] = {}
        self.state_names = tuple(names)
        self.init_hidden, self.output = bool(init_hidden), bool(output)
        self._hidden: tuple[torch.Tensor, ...] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Parameters take numbers, within their limits; what cannot be changed any more, or would
        do nothing, is refused."""
        key, states = self._aliases.get(name, name), self.__dict__.get("state_names", ())
        if key in self.__dict__.get("_limits", ()) and (
            key in self._buffers or key in self._parameters
        ):
            self._put(key, value)
        elif name in states and self.init_hidden:
            self._put_state(name, value)
        elif name in self._once and name in self.__dict__:
            raise InputError(f"{self.label}: {name} is chosen when it is made; make a new one")
        elif name not in self.__dict__ and (name in states or name in _chosen(type(self).__mro__)):
            passed = "a state, which is passed to a call, or kept with init_hidden=True"
            what = passed if name in states else "chosen when it is made"
            remedy = f"{name[6:]}.requires_grad_(), or " if name.startswith("learn_") else ""
            raise InputError(
                f"{self.label}: {name} is {what}, and setting it would do nothing; {remedy}make a new one"
            )
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """A state that init_hidden keeps; before the first step an empty tensor, which stands for
        zeros."""
        states = self.__dict__.get("state_names", ())
        if name not in states:
            return super().__getattr__(name)
        if not self.init_hidden:
            raise AttributeError(
                f"{self.label}: {name} is a state, which a call takes and returns; init_hidden=True keeps it in the layer"
            )
        return (self._hidden or self.begin())[states.index(name)]

    def _put_state(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, torch.Tensor):
            raise InputTypeError(
                f"{self.label}: state {name} is a torch tensor or None, got {shown(value)} ({type(value).__name__})"
            )
        kept = dict(zip(self.state_names, self._hidden or self.begin(), strict=True))
        kept[name] = self.begin()[0] if value is None else value
        self._hidden = tuple(kept.values())

    def limits(self, name: str) -> tuple[float, float]:
        """The least and the greatest value of a parameter."""
        return -math.inf, math.inf

    def called(self, name: str) -> str:
        """A parameter's name among the arguments."""
        return name

    def _checked(self, name: str, value: Any) -> None:
        """InputError unless ``value`` is finite numbers within the parameter's limits; one on meta,
        or of a trace, is taken as it is."""
        if isinstance(value, torch.Tensor) and (transformed() or not fused.ambient.stored(value)):
            return
        array = as_numbers(value.detach() if isinstance(value, torch.Tensor) else value)
        if array is None or array.dtype.kind not in "iuf":
            raise InputTypeError(
                f"{self.label}: {self.called(name)} is {NUMBERS.words}, got {shown(value)} ({type(value).__name__})"
            )
        low, high = self._limits[name]
        wrong = array[~(np.isfinite(array) & (array >= low) & (array <= high))]
        if wrong.size:
            raise InputError(
                f"{self.label}: {self.called(name)} is in {low:g}..{high:g}, got {wrong.flat[0]:g}"
            )

    def _keep(self, name: str, value: Any, learn: bool, persistent: bool = True) -> None:
        """As nn.Parameter where it is learnt, as a buffer otherwise, which the state_dict holds if
        ``persistent``."""
        self._limits[name] = self.limits(name)
        self._checked(name, value)
        if isinstance(value, torch.Tensor) and value.requires_grad:
            called = self.called(name)
            raise InputError(
                f"{self.label}: {called} requires a gradient, but a neuron keeps a copy; learn_... trains that, and a tensor "
                f"that is assigned (neuron.{called if hasattr(type(self), called) else name} = tensor) is taken as it is"
            )
        value = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
        if learn:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value, persistent)

    def _put(self, name: str, value: Any) -> None:
        """A new value: into the parameter where it is learnt, which an optimiser may know; else in
        the buffer's place."""
        self._checked(name, value)
        old = getattr(self, name)
        if isinstance(value, nn.Parameter):
            super().__setattr__(name, value)
        elif name in self._parameters:
            new = torch.as_tensor(value, dtype=old.dtype, device=old.device).detach()
            if new.dim() and new.shape != old.shape:
                raise InputError(
                    f"{self.label}: {self.called(name)} is learnt and has shape {tuple(old.shape)}, got {tuple(new.shape)}; "
                    "assign an nn.Parameter, and give it to the optimiser"
                )
            with torch.no_grad():
                old.copy_(new)
        else:
            self._buffers[name] = (
                value
                if isinstance(value, torch.Tensor)
                else torch.as_tensor(value, dtype=old.dtype, device=old.device)
            )

    @property
    def label(self) -> str:
        return f"snn.{type(self).__name__}"

    def extra_repr(self) -> str:
        """Parameters, by their names among the arguments, and what differs from its default."""
        known = {v: k for k, v in self._aliases.items()}
        values = {known.get(n, n): getattr(self, n) for n in self._limits}
        learnt = [known.get(n, n) for n in self._limits if n in self._parameters]
        for name in ("reset_mechanism", "spike_grad"):
            if hasattr(self, name):
                values[name] = getattr(self, name)
        for name in ("init_hidden", "output"):
            if getattr(self, name):
                values[name] = True
        return settings(values, *learnt)

    @property
    def hidden(self) -> dict[str, torch.Tensor]:
        """The states that init_hidden keeps, by name; empty before the first step."""
        return dict(zip(self.state_names, self._hidden or (), strict=False))

    def begin(self) -> tuple[torch.Tensor, ...]:
        """The states before the first step: empty tensors, which stand for zeros of whatever shape
        the input has."""
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        return tuple(torch.zeros(0, device=device) for _ in self.state_names)

    def reset_mem(self) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Forget what init_hidden keeps. Returns the states before the first step, as init_leaky,
        init_synaptic, ... do."""
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
        """A step; states by position or by name. Returns ``(output, *states)``, with init_hidden
        the output alone.

        A neuron of several inputs takes these first, by position: ``neuron(a, b, *states)``; one of
        several outputs returns all.
        """
        more = len(self.input_names) - 1
        if more:
            if len(states) < more:
                raise InputTypeError(
                    f"{self.label}: a call takes the inputs {', '.join(self.input_names)}, by position; "
                    f"got {1 + len(states)}"
                )
            x, states = (x, *states[:more]), states[more:]  # type: ignore[assignment]  # several inputs are a tuple
        if self.init_hidden:
            if states or named:
                raise InputTypeError(
                    f"{self.label}: with init_hidden=True a call takes the input alone"
                )
            states = self._hidden or ()
        given = dict(zip(self.state_names, states, strict=False))
        if (
            len(states) > len(self.state_names)
            or named.keys() & given.keys()
            or named.keys() - set(self.state_names)
        ):
            got = f"{len(states)} states" + (f" and {', '.join(named)}" if named else "")
            near = "".join(
                did_you_mean(n, self.state_names) for n in named if n not in self.state_names
            )
            raise InputTypeError(
                f"{self.label}: a call takes the input{'s' if more else ''} and the states {', '.join(self.state_names)}; "
                f"got {got}{near}"
            )
        given |= named
        out = self.step(x, [given.get(n) for n in self.state_names])
        if self.output_is_state:
            out = (out[0], *out[2:])
        if not self.init_hidden:
            return out
        n = self.output_count
        self._hidden = out if self.output_is_state else out[n:]
        return out if self.output else out[0] if n == 1 else out[:n]

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        """One step: (output, *states); a state that is None or has no elements is 0."""
        raise NotImplementedError(f"{self.label} defines step(x, states)")

    def check_states(self, shape: Sequence[int], states: Sequence[State]) -> None:
        for name, s in zip(self.state_names, states, strict=True):
            if s is None:
                continue
            if not isinstance(s, torch.Tensor):
                raise InputTypeError(
                    f"{self.label}: state {name} is a torch tensor or None, got {shown(s)} ({type(s).__name__})"
                )
            if s.numel() and s.shape != shape:
                remedy = (
                    "call lavalike.snn.reset(net)"
                    if self.init_hidden
                    else "take the states of reset_mem()"
                )
                raise InputError(
                    f"{self.label}: state {name} has shape {tuple(s.shape)}; expected {tuple(shape)}; {remedy} "
                    "before a new sequence or another batch"
                )


class Neuron(Stateful):
    """A layer of neurons, called step by step or on a whole sequence.

    ``out, *states = neuron(x, *states)`` is one step for x of shape (batch, ...); a state left out,
    None or of length 0 is zero. ``neuron.sequence(x)`` takes (time, batch, ...) and is one fused
    loop. Both are the same equations. Dynamics of several inputs take all of them, of one shape, in
    order: ``neuron(a, b, *states)``; those of several outputs return all before the states.

    Parameters (``neuron.beta = 0.9``), ``spike_grad`` and ``reset_grad`` may be set later; what is
    chosen once is refused.

    Example:
        >>> def summing(a_in, v, beta):
        ...     v = beta * v + a_in
        ...     return v, v
        ...
        >>> beta = lv.Parameter("beta", 0.9, 0, 1, trained=True)
        >>> names = {"inputs": ("a_in",), "outputs": ("s_out",), "states": ("v",)}
        >>> layer = snn.Neuron(lv.Dynamics(summing, **names, parameters=(beta,)))
        >>> out, states = layer.sequence(torch.rand(20, 4, 10))  # (time, batch, neurons)
        >>> out["s_out"].shape
        torch.Size([20, 4, 10])

    Args:
        dynamics: the step and its parameters.
        values: parameters by name: a number, or a tensor of one a neuron (it broadcasts to x
            without the batch). Default: those of ``dynamics.parameters``.
        learn: names of the parameters that are trained. Default: those that ``dynamics.parameters``
            says are. Training keeps them within their limits: where an update left these, the next
            call brings the parameter back.
        spike_grad: the surrogate gradient. Default ``surrogate.atan()``.
        reset_grad: "detach" (default), "full" or "slayer"; see :class:`lavalike.fused.Training`.
        init_hidden: keep the states in the module; a call takes x alone and returns the output
            alone. Default False.
        output: with init_hidden, return the states as well. Default False.
        gradient: "surrogate" (default), or "eventprop": of Synaptic that is reset in the step it
            spikes in, spikes are differentiated by their times, exactly as steps become short
            (Wunderlich and Pehle 2021; :mod:`lavalike.dynamics.eventprop`), and spike_grad and
            reset_grad say nothing. A spike's time is seen in a sequence only: ``sequence(x)``, or
            a loop that accelerate folds.

    Raises:
        InputError: parameters that are missing, unknown or out of range; in a call, shapes and
            dtypes (float32, float64, bfloat16).
    """

    dynamics: Dynamics

    @arguments(
        dynamics=instance(Dynamics, words="a lavalike.Dynamics"),
        values=optional(MAPPING),
        learn=optional(sequence(TEXT)),
        spike_grad=optional(SURROGATE),
        reset_grad=RESET_GRAD,
        init_hidden=FLAG,
        output=FLAG,
        gradient=GRADIENT,
    )
    def __init__(
        self,
        dynamics: Dynamics,
        values: Mapping[str, Any] | None = None,
        learn: Sequence[str] | None = None,
        spike_grad: Surrogate | None = None,
        reset_grad: str = "detach",
        init_hidden: bool = False,
        output: bool = False,
        gradient: str = "surrogate",
    ) -> None:
        super().__init__(dynamics.states, init_hidden, output)
        if not dynamics.inputs or not dynamics.outputs:
            raise InputError(
                f"{self.label}: dynamics {dynamics.name} has inputs {dynamics.inputs} and outputs {dynamics.outputs}; "
                "at least one of each is needed"
            )
        known = {p.name: p for p in dynamics.knobs}
        given = {name: p.default for name, p in known.items() if p.default is not None} | dict(
            values or {}
        )
        learn = [n for n, p in known.items() if p.trained] if learn is None else list(learn)
        names = tuple(known)
        missing, unknown = (
            [n for n in names if n not in given],
            [n for n in given if n not in names],
        )
        if missing or unknown:
            hint = "".join(did_you_mean(n, names) for n in unknown[:1])
            raise (InputTypeError if unknown else InputError)(
                f"{self.label}: values: parameters {names} are needed; missing {missing}, unknown {unknown}{hint}"
            )
        for name in learn:
            if name not in names:
                raise InputError(
                    f"{self.label}: learn names parameters, {names}, got {name!r}{did_you_mean(name, names)}"
                )
        self._compute(
            dynamics,
            {n: (p.argument, p.counts == "loss") for n, p in known.items()},
            atan() if spike_grad is None else spiking(spike_grad),
            reset_grad,
        )
        self.gradient = gradient
        for name in names:
            self._keep(name, given[name], name in learn)

    def _compute(
        self,
        dynamics: Dynamics,
        arguments: Mapping[str, tuple[str, bool]],
        spike_grad: Surrogate,
        reset_grad: str,
    ) -> None:
        """Compute ``dynamics``; ``arguments``: by attribute, the step's argument that is made of
        it, and whether that is what it leaves of 1."""
        self.input_names, self.output_count = tuple(dynamics.inputs), len(dynamics.outputs)
        self.__dict__["dynamics"], self._names = dynamics, tuple(arguments)
        self._arguments = dict(arguments)
        self.fused_training = shared(fused.Training(spike_grad, reset_grad))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_arguments" not in self.__dict__:  # of a version before 0.5
            arguments = {n: (n, False) for n in (*self._parameters, *self._buffers)}
            training = self.fused_training
            self._compute(self.dynamics, arguments, training.surrogate, training.reset_grad)

    @property
    def spike_grad(self) -> Surrogate:
        """The surrogate gradient; may be set."""
        return self.fused_training.surrogate

    @spike_grad.setter
    def spike_grad(self, value: Surrogate) -> None:
        SURROGATE.check(self.label, "spike_grad", value)
        self.fused_training = shared(
            dataclasses.replace(self.fused_training, surrogate=spiking(value))
        )

    @property
    def reset_grad(self) -> str:
        """What resets are differentiated to; may be set."""
        return self.fused_training.reset_grad

    @reset_grad.setter
    def reset_grad(self, value: str) -> None:
        RESET_GRAD.check(self.label, "reset_grad", value)
        self.fused_training = shared(dataclasses.replace(self.fused_training, reset_grad=value))

    @property
    def gradient(self) -> str:
        """How spikes are differentiated; may be set."""
        return self.fused_training.gradient

    @gradient.setter
    def gradient(self, value: str) -> None:
        GRADIENT.check(self.label, "gradient", value)
        if value == "eventprop":
            fused.eventprop.replaced(self.dynamics)
        self.fused_training = shared(dataclasses.replace(self.fused_training, gradient=value))

    def limits(self, name: str) -> tuple[float, float]:
        return next(
            ((p.low, p.high) for p in self.dynamics.knobs if p.name == name), (-math.inf, math.inf)
        )

    def called(self, name: str) -> str:
        return (
            name if hasattr(self, name) else f"values[{name!r}]"
        )  # which it came from when it was made

    def values(self) -> dict[str, torch.Tensor]:
        """The step's parameters, brought back into their limits where training left them."""
        out = {}
        for name in self._names:
            value, limits = getattr(self, name), self._limits[name]
            out[name] = (
                within(value, limits)
                if name in self._parameters and limits != (-math.inf, math.inf)
                else value
            )
        return {a: 1 - out[n] if lost else out[n] for n, (a, lost) in self._arguments.items()}

    def sequence(
        self, x: torch.Tensor, *states: State, record: Sequence[str] = (), steps: int | None = None
    ) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
        """All steps of x, (time, batch, ...), in one fused loop; with ``steps`` x may be (1, batch,
        ...), the same in all of them.

        Returns outputs by name, (time, batch, ...), and the states that ``record`` names likewise;
        and the states after the last step. Of several inputs all are given first, as in a call.
        """
        return self._sequence((x, *states), record, steps)

    def _sequence(self, given: Sequence[Any], record: Sequence[str], steps: int | None) -> Any:
        k = len(self.input_names)
        inputs, states = given[:k], given[k:]
        if len(inputs) < k or len(states) > len(self.state_names):
            raise InputTypeError(
                f"{self.label}: a sequence takes the inputs {', '.join(self.input_names)} and the states "
                f"{', '.join(self.state_names)}; got {len(given)} tensors"
            )
        for x in inputs:
            if not isinstance(x, torch.Tensor) or x.dim() < 2 or not x.is_floating_point():
                raise _wrong(
                    x, f"{self.label}: a sequence is a floating-point tensor (time, batch, ...)"
                )
        if recording.current() is not None:
            raise InputError(
                f"{self.label}: sequence(...) is folded already; accelerate folds networks that call neurons step by step"
            )
        record = (record,) if isinstance(record, str) else tuple(record)
        for name in record:
            if name not in self.dynamics.states:
                raise InputError(
                    f"{self.label}: record names states, {self.dynamics.states}, got {shown(name)}"
                    f"{did_you_mean(name, self.dynamics.states)}"
                )
        self.check_states(
            inputs[0].shape[1:], [*states, *[None] * (len(self.state_names) - len(states))]
        )
        return self._scan(inputs, states, record, steps)

    def _scan(
        self,
        inputs: Sequence[torch.Tensor],
        states: Sequence[State],
        record: Sequence[str] = (),
        steps: int | None = None,
    ) -> Any:
        """What sequence returns, of inputs and states that are looked at."""
        given = {
            n: s
            for n, s in zip(self.state_names, states, strict=False)
            if s is not None and s.numel()
        }
        # what a surrogate of Python's own computes, no compiled loop can
        looped = isinstance(self.fused_training.surrogate, Looped)
        if looped and torch.compiler.is_compiling():
            raise InputError(
                f"{self.label}: the gradient of spike_grad {type(self.spike_grad).__name__} is Python's own, which is not "
                "compiled or exported; leave the neuron out of it, or take a surrogate of lavalike.snn.surrogate"
            )
        with fused.plain_loops() if looped else nullcontext():
            result = fused.scan(
                self.dynamics,
                self.fused_training,
                dict(zip(self.input_names, inputs, strict=True)),
                self.values(),
                given,
                record,
                steps=steps,
            )
        return result.outputs, tuple(result.states[n] for n in self.state_names)

    def step(self, x: Any, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        inputs = x if isinstance(x, tuple) else (x,)
        for now in inputs:
            if not isinstance(now, torch.Tensor) or not now.dim() or not now.is_floating_point():
                raise _wrong(
                    now,
                    f"{self.label}: the input of a step is a floating-point tensor (batch, ...)",
                )
        self.check_states(inputs[0].shape, states)
        record = recording.current()
        if record is not None:
            if len(inputs) > 1 or self.output_count > 1:
                raise InputError(
                    f"accelerate: {self.label} of several inputs or outputs cannot be folded; train such a network with the "
                    "plain loop, or with sequence(...)"
                )
            return record.neuron(self, x, states)
        if self.gradient == "eventprop" and torch.is_grad_enabled():
            raise InputError(
                f"{self.label}: gradient='eventprop' differentiates by times of spikes, which one step does not see; call "
                "sequence(x) for all steps, or train the loop with snn.accelerate"
            )
        outputs, after = self._scan([now.unsqueeze(0) for now in inputs], states)
        return (*(outputs[o].squeeze(0) for o in self.dynamics.outputs), *after)


def _wrong(x: Any, expected: str) -> InputError:
    if isinstance(x, torch.Tensor):
        return InputError(f"{expected}, got {tuple(x.shape)}, {x.dtype}")
    return InputTypeError(f"{expected}, got {type(x).__name__}")


@cache
def _chosen(mro: tuple[type, ...]) -> frozenset[str]:
    """Arguments of the library's neuron that a class with this ``mro`` is or extends, but for those
    that are properties to set."""
    ours = next(c for c in mro if c.__module__.startswith("lavalike.snn."))
    if ours is Stateful:
        return frozenset()
    names = (keywords(ours) or frozenset()) - {"init_hidden", "output"}
    found = {n: next((c.__dict__[n] for c in mro if n in c.__dict__), None) for n in names}
    return frozenset(n for n, p in found.items() if not isinstance(p, property) or p.fset is None)


NET = instance("torch.nn.modules.module.Module", words="a torch module")


@arguments(net=NET)
def reset(net: nn.Module) -> None:
    """Forget the states that neurons of ``net`` with init_hidden keep, however deeply nested."""
    for module in net.modules():
        if isinstance(module, Stateful):
            module.reset()


@arguments(net=NET)
def detach(net: nn.Module) -> None:
    """Cut the states that neurons of ``net`` with init_hidden keep off the graph."""
    for module in net.modules():
        if isinstance(module, Stateful):
            module.detach()
