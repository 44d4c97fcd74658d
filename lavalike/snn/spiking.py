"""What all neurons of the step style share: a threshold, what a spike counts, how it resets, and
the checkpoints of snnTorch and of older versions, which load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import (
    FLAG,
    TEXT,
    F,
    Rule,
    arguments,
    did_you_mean,
    either,
    integer,
    optional,
    or_false,
    real,
    sequence,
    shown,
)
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError, InputTypeError
from lavalike.fused.ambient import stored, transformed
from lavalike.fused.surrogate import SURROGATE, Surrogate
from lavalike.snn.neuron import RESET_GRAD, Neuron, State, Stateful, within
from lavalike.snn.surrogate import atan, spiking

LEAST = 1e-6  # of a threshold
MECHANISMS = ("subtract", "zero", "none")  # by snnTorch's numbers for them
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class NoGradient(Surrogate):
    """0 everywhere."""

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


# beta, alpha, threshold, V and graded_spikes_factor are looked at where they are kept
QUANT = Rule(
    "a function that quantises (functional.quant.state_quant(...)) or False",
    lambda v: v is None or isinstance(v, bool) or callable(v),
    lambda v: v is not True,
)
RC = replace(or_false(real(above=0)), words="a number > 0 (or None or False, where it follows)")
SIZE = either(integer(1), sequence(integer(1), 2))
RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "surrogate_disable",
            "init_hidden",
            "inhibition",
            "learn_beta",
            "learn_alpha",
            "learn_threshold",
            "learn_recurrent",
            "learn_graded_spikes_factor",
            "output",
            "reset_delay",
            "all_to_all",
            "bias",
        ),
        FLAG,
    ),
    "spike_grad": optional(SURROGATE),
    "reset_mechanism": TEXT,
    "reset_grad": RESET_GRAD,
    "state_quant": QUANT,
    **dict.fromkeys(("linear_features", "conv2d_channels"), optional(integer(1))),
    **dict.fromkeys(
        ("input_size", "hidden_size", "in_channels", "out_channels", "in_features", "channels"),
        integer(1),
    ),
    "out_features": integer(1),
    "kernel_size": optional(SIZE),
    **dict.fromkeys(("R", "C"), RC),
    "time_step": real(above=0),
}


def only(*names: str, **more: Rule) -> Callable[[F], F]:
    """Rules of a neuron's arguments: ``names`` and ``more``."""
    return arguments(**{n: RULES[n] for n in names}, **more)


def takes(*names: str, **more: Rule) -> Callable[[F], F]:
    """:func:`only`, and those that all have."""
    common = (
        "spike_grad",
        "surrogate_disable",
        "init_hidden",
        "inhibition",
        "learn_threshold",
        "reset_mechanism",
        "state_quant",
        "output",
    )
    return only(*common, *names, **more)


def surrogate_of(
    label: str, spike_grad: Callable[..., torch.Tensor] | None, surrogate_disable: bool
) -> Surrogate:
    if surrogate_disable:
        if spike_grad is not None:
            raise InputError(f"{label}: give spike_grad or surrogate_disable, not both")
        return NoGradient()
    return atan() if spike_grad is None else spiking(spike_grad)


class SpikingNeuron(Stateful):
    """Base of all neurons here, and of a neuron of one's own whose ``forward`` calls ``fire`` and
    ``mem_reset``.

    Example:
        >>> isinstance(snn.Leaky(beta=0.9), snn.SpikingNeuron)
        True

    Args:
        threshold: > 0, a number or a tensor of one a neuron. Default 1.
        spike_grad: the surrogate gradient; a Surrogate, a function that gives the derivative, or
            one that spikes. Default ``surrogate.atan()``.
        surrogate_disable: spikes have no gradient at all. Default False.
        init_hidden, output: kept for ``forward``, see :class:`lavalike.snn.neuron.Stateful`.
            Default False.
        inhibition: of a sample's neurons only the one with the highest membrane spikes; x is
            (batch, neurons). Default False.
        learn_threshold: train the threshold. Default False.
        reset_mechanism: "subtract" (default), "zero" or "none".
        state_quant: a function that quantises states after each step,
            ``functional.quant.state_quant(...)``. Default False: they stay as they are.
        graded_spikes_factor: what a spike counts, a number or a tensor of one a neuron. Default 1.
        learn_graded_spikes_factor: train it. Default False.

    ``state_dict`` has snnTorch's keys (``threshold``, ``graded_spikes_factor``,
    ``reset_mechanism_val``, ``beta``, ...), and what snnTorch or an older version of this library
    saved loads: the reset mechanism is then the checkpoint's, decays outside 0..1 are brought back
    there (snnTorch clamps them in every step). InputError, with layer and key, for values that are
    not finite, not positive where they must be, or of another shape.

        class Mine(snn.SpikingNeuron):
            def forward(self, x, mem):
                mem = 0.9 * mem + x - self.mem_reset(mem) * self.threshold
                return self.fire(mem), mem
    """

    @classmethod
    def reset_hidden(cls) -> None:
        """snnTorch's: InputError that names ``snn.reset``. No list of all neurons is kept here."""
        raise InputError(
            f"snn.{cls.__name__}.reset_hidden: no list of all neurons of a process is kept; snn.reset(net) resets those of a network, "
            "and of one neuron its own"
        )

    @classmethod
    def detach_hidden(cls) -> None:
        """snnTorch's: InputError that names ``snn.detach``."""
        raise InputError(
            f"snn.{cls.__name__}.detach_hidden: no list of all neurons of a process is kept; snn.detach(net) detaches those of a "
            "network, and of one neuron its own"
        )

    threshold: torch.Tensor
    graded_spikes_factor: torch.Tensor
    reset_mechanism_val: torch.Tensor

    reset_dict: Mapping[str, int] = {name: k for k, name in enumerate(MECHANISMS)}
    _resets = True  # whether a spike resets at all
    _renamed: Mapping[str, str] = {"vth": "threshold"}  # what older versions called a parameter
    _dropped: tuple[str, ...] = ()  # keys of other versions that say nothing new

    @takes("learn_graded_spikes_factor")
    def __init__(
        self,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
    ) -> None:
        self._own(
            (),
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )

    def _own(
        self,
        names: Sequence[str],
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
    ) -> None:
        """What ``__init__`` does, of a layer with states ``names``."""
        Stateful.__init__(self, names, init_hidden, output)
        self._mechanism(reset_mechanism)
        self._keep("threshold", threshold, learn_threshold)
        self._keep("graded_spikes_factor", graded_spikes_factor, learn_graded_spikes_factor)
        self._reset_mechanism, self._grade = reset_mechanism, None
        if self._resets:
            value = torch.as_tensor(self.reset_dict[reset_mechanism])
            self.register_buffer("reset_mechanism_val", value)
        self._surrogate = surrogate_of(self.label, spike_grad, surrogate_disable)
        self._inhibition, self._state_quant = bool(inhibition), state_quant or None

    _grade: tuple[Any, int, bool] | None

    def limits(self, name: str) -> tuple[float, float]:
        return {
            "alpha": (0.0, 1.0),
            "beta": (0.0, 1.0),
            "threshold": (LEAST, math.inf),
            **dict.fromkeys(("R", "C", "time_step", "tau"), (TINY, math.inf)),
            "delta_threshold": (0.0, math.inf),
        }.get(name, (-math.inf, math.inf))

    def called(self, name: str) -> str:
        return name

    # -- what may be set -----------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reset_mechanism_val" and name in self._buffers:
            self.reset_mechanism = self._mechanism_of(value, name)
        else:
            super().__setattr__(name, value)

    def _mechanism(self, value: Any) -> None:
        known = MECHANISMS if self._resets else ("none",)
        if not isinstance(value, str):
            raise InputTypeError(
                f"{self.label}: reset_mechanism is one of {', '.join(known)}, got {shown(value)} ({type(value).__name__})"
            )
        if value not in known:
            raise InputError(
                f"{self.label}: reset_mechanism is one of {', '.join(known)}, got {value!r}{did_you_mean(value, known)}"
            )

    def _mechanism_of(self, value: Any, what: str) -> str:
        """The reset mechanism that snnTorch's number stands for."""
        number = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        if isinstance(number, bool) or number not in range(len(MECHANISMS)):
            raise InputError(
                f"{self.label}: {what} is 0 (subtract), 1 (zero) or 2 (none), got {shown(value)}"
            )
        return MECHANISMS[int(number)]

    @property
    def reset_mechanism(self) -> str:
        """How a spike resets; may be set."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, value: str) -> None:
        self._mechanism(value)
        self._reset_mechanism = value
        if self._resets:
            old = self.reset_mechanism_val
            self._buffers["reset_mechanism_val"] = torch.full_like(old, self.reset_dict[value])
        self._switch()

    def _switch(self) -> None:
        """Compute what the reset mechanism asks for."""

    def _together(self, inhibition: bool, state_quant: Any) -> None:
        """InputError for what does not go together."""

    @property
    def spike_grad(self) -> Surrogate:
        """The surrogate gradient, called with ``mem - threshold`` a spike; may be set."""
        return self._surrogate

    @spike_grad.setter
    def spike_grad(self, value: Callable[..., torch.Tensor]) -> None:
        SURROGATE.check(self.label, "spike_grad", value)
        self._surrogate = spiking(value)

    @property
    def inhibition(self) -> bool:
        """Whether only the highest membrane of a sample spikes; may be set."""
        return self._inhibition

    @inhibition.setter
    def inhibition(self, value: bool) -> None:
        FLAG.check(self.label, "inhibition", value)
        self._together(bool(value), self._state_quant)
        self._inhibition = bool(value)

    @property
    def state_quant(self) -> Any:
        """What quantises states after each step, or False; may be set."""
        return self._state_quant or False

    @state_quant.setter
    def state_quant(self, value: Any) -> None:
        QUANT.check(self.label, "state_quant", value)
        self._together(self._inhibition, value or None)
        self._state_quant = value or None

    # -- spikes --------------------------------------------------------------------------------

    def _now(self, name: str) -> torch.Tensor:
        """A parameter, brought back into its limits where training left them."""
        value: torch.Tensor = getattr(self, name)
        return within(value, self._limits[name]) if name in self._parameters else value

    def fire(self, mem: torch.Tensor) -> torch.Tensor:
        """Spikes of membranes ``mem``: graded_spikes_factor where mem > threshold, else 0; of a
        quantised mem, if there is ``state_quant``."""
        if self._state_quant is not None:
            mem = self._state_quant(mem)
        return self._weighed(self.spike_grad(mem - self._now("threshold").to(mem.dtype)))

    def fire_inhibition(self, batch_size: int, mem: torch.Tensor) -> torch.Tensor:
        """Spikes of membranes ``mem`` (batch, neurons): of the highest membrane of each sample, if
        it is above the threshold; of equals, the first. The factor of spikes is left out."""
        if mem.dim() != 2 or len(mem) != batch_size:
            raise InputError(
                f"{self.label}: inhibition is among the neurons of a sample; membranes are (batch, neurons), got "
                f"{tuple(mem.shape)} and batch_size {batch_size}"
            )
        x = mem - self._now("threshold").to(mem.dtype)
        highest = torch.nn.functional.one_hot(x.argmax(1), x.shape[1]).to(x.dtype)
        return self.spike_grad(x) * highest

    def mem_reset(self, mem: torch.Tensor) -> torch.Tensor:
        """1 where membranes ``mem`` are above the threshold, else 0, without a gradient."""
        return (mem > self._now("threshold")).to(mem.dtype).detach()

    @property
    def _graded(self) -> bool:
        """Whether spikes count anything but 1, asked once for every value that the factor gets."""
        factor = self.graded_spikes_factor
        if (
            isinstance(factor, nn.Parameter)
            or torch.compiler.is_compiling()
            or transformed()
            or factor.is_meta
            or factor.is_inference()
        ):
            return True
        if self._grade is None or self._grade[0] is not factor or self._grade[1] != factor._version:
            self._grade = factor, factor._version, bool((factor != 1).any())
        return self._grade[2]

    def _weighed(self, spk: torch.Tensor) -> torch.Tensor:
        return spk * self.graded_spikes_factor.to(spk.dtype) if self._graded else spk

    # -- checkpoints ---------------------------------------------------------------------------

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *more: Any, **named: Any
    ) -> None:
        where = f"{self.label} {prefix[:-1]!r}" if prefix else self.label
        for old, new in self._renamed.items():
            if prefix + old in state_dict:
                state_dict.setdefault(prefix + new, state_dict.pop(prefix + old))
        for name in self._dropped:
            state_dict.pop(prefix + name, None)
        if not self._resets:
            state_dict.pop(f"{prefix}reset_mechanism_val", None)
        # what not every version saved; the neuron has it from its arguments
        for name in ("graded_spikes_factor", "reset_mechanism_val", "C", "time_step"):
            if name in self._buffers and f"{prefix}threshold" in state_dict:
                state_dict.setdefault(prefix + name, self._buffers[name])
        for name in self._limits:
            value = state_dict.get(prefix + name)
            if isinstance(value, torch.Tensor) and stored(value):
                state_dict[prefix + name] = self._loaded(where, name, value)
        mechanism = state_dict.get(f"{prefix}reset_mechanism_val")
        if self._resets and isinstance(mechanism, torch.Tensor) and stored(mechanism):
            what = f"reset_mechanism_val of the checkpoint's {prefix[:-1]!r}"
            self.reset_mechanism = self._mechanism_of(mechanism, what)
            state_dict[f"{prefix}reset_mechanism_val"] = self.reset_mechanism_val.clone()
        super()._load_from_state_dict(state_dict, prefix, *more, **named)

    def _loaded(self, where: str, name: str, value: torch.Tensor) -> torch.Tensor:
        """A checkpoint's value of a parameter as the neuron can have it."""
        mine: torch.Tensor = getattr(self, name)
        if value.numel() == 1 and mine.numel() == 1:
            value = value.reshape(mine.shape)  # (1,) is what snnTorch makes of some numbers
        if value.shape != mine.shape:
            raise InputError(
                f"{where}: {name} of the checkpoint has shape {tuple(value.shape)}, here {tuple(mine.shape)}; make the neuron "
                f"with a {name} of that shape"
            )
        low, high = self._limits[name]
        value = value.to(mine.dtype)
        if name in ("alpha", "beta"):
            value = torch.where(value.isnan(), value, value.clamp(low, high))
        wrong = ~(value.isfinite() & (value >= low) & (value <= high))
        if bool(wrong.any()):
            raise InputError(
                f"{where}: {name} is in {low:g}..{high:g}, the checkpoint has {value[wrong].flatten()[0].item():g}"
            )
        return value

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_inhibition" not in self.__dict__:
            self._renew()

    def _renew(self) -> None:
        """Bring what version 0.3 or 0.4 pickled to what it would be today."""
        kept: Any
        for kept in (self._parameters, self._buffers):
            for old, new in self._renamed.items():
                if old in kept:
                    kept[new] = kept.pop(old)
        mine = self.__dict__
        mechanism = mine.pop("reset_mechanism", None) or mine["_reset_mechanism"]
        mine.pop("_graded", None)
        mine.update(_reset_mechanism=mechanism, _grade=None, _inhibition=False, _state_quant=None)
        self._buffers.setdefault("graded_spikes_factor", torch.ones(()))
        self._buffers["reset_mechanism_val"] = torch.as_tensor(self.reset_dict[mechanism])
        self._limits = {
            n: self.limits(n)
            for n in (*self._parameters, *self._buffers)
            if n != "reset_mechanism_val"
        }


class LIF(SpikingNeuron):
    """A :class:`SpikingNeuron` with a decay ``beta`` of its membrane, base of the leaky ones.

    Example:
        >>> isinstance(snn.Leaky(beta=0.9), snn.LIF)
        True

    Args:
        beta: in 0..1, a number or a tensor of one a neuron.
        learn_beta: train it; it stays within 0..1. Default False.
        The others: see SpikingNeuron.
    """

    beta: torch.Tensor

    @takes("learn_beta", "learn_graded_spikes_factor")
    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
    ) -> None:
        self._own(
            (),
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )
        self._keep("beta", beta, learn_beta)


class Fused(Neuron, LIF):
    """A LIF whose step is a Dynamics, one for each reset mechanism: of ``late``, whose reset comes
    in the step after the spike, or of ``prompt``, in that of the spike itself."""

    late: Mapping[str, Dynamics]
    prompt: Mapping[str, Dynamics] | None = None
    _arguments_of: Mapping[str, str] = {"beta": "beta", "threshold": "vth"}
    _once = Neuron._once | {"all_to_all", "reset_delay"}

    def __init__(
        self,
        values: Mapping[str, Any],
        learn: Mapping[str, bool],
        threshold: Any,
        spike_grad: Callable[..., torch.Tensor] | None,
        surrogate_disable: bool,
        init_hidden: bool,
        inhibition: bool,
        learn_threshold: bool,
        reset_mechanism: str,
        state_quant: Any,
        output: bool,
        reset_grad: str,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
    ) -> None:
        kinds = self.late if reset_delay or self.prompt is None else self.prompt
        self._own(
            next(iter(kinds.values())).states,
            threshold,
            None,
            False,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )
        del self.__dict__["_surrogate"]  # the training has it
        for name, value in values.items():
            self._keep(name, value, learn.get(name, False))
        names = dict.fromkeys((*self._arguments_of, *self._limits))  # as the arguments come
        self._limits = {n: self._limits[n] for n in names if n in self._limits}
        self._kinds = dict(kinds)
        self.__dict__["reset_delay"] = bool(reset_delay)
        self._together(self._inhibition, self._state_quant)
        self._bind(surrogate_of(self.label, spike_grad, surrogate_disable), reset_grad)

    def _bind(self, spike_grad: Surrogate, reset_grad: str) -> None:
        self._compute(
            self._kinds[self._reset_mechanism],
            {name: (argument, False) for name, argument in self._arguments_of.items()},
            spike_grad,
            reset_grad,
        )

    def limits(self, name: str) -> tuple[float, float]:
        return SpikingNeuron.limits(self, name)

    def called(self, name: str) -> str:
        return name

    def _switch(self) -> None:
        self.__dict__["dynamics"] = self._kinds[self._reset_mechanism]

    def _together(self, inhibition: bool, state_quant: Any) -> None:
        if (inhibition or state_quant is not None) and not self.reset_delay:
            name = "inhibition" if inhibition else "state_quant"
            raise InputError(
                f"{self.label}: {name} acts after a step, in which reset_delay=False has reset already; leave one of them out"
            )

    # -- steps ---------------------------------------------------------------------------------

    @property
    def _stepwise(self) -> bool:
        """Whether something happens between steps."""
        return self._inhibition or self._state_quant is not None

    def _joined(self, now: torch.Tensor, after: Sequence[State]) -> torch.Tensor:
        """A step's input, of which the states before may be a part."""
        return now

    def _scan(
        self,
        inputs: Sequence[torch.Tensor],
        states: Sequence[State],
        record: Sequence[str] = (),
        steps: int | None = None,
    ) -> Any:
        if not self._stepwise:
            outputs, after = super()._scan(inputs, states, record, steps)
            if self._graded:
                outputs["s_out"] = self._weighed(outputs["s_out"])
            return outputs, after
        (x,) = inputs
        if steps is not None:
            x = x.expand(steps, *x.shape[1:])
        if not len(x):
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}: no steps")
        given = (*states, *[None] * (len(self.state_names) - len(states)))
        after = tuple(s if s is not None and s.numel() else x.new_zeros(x.shape[1:]) for s in given)
        rows: list[tuple[torch.Tensor, ...]] = []
        for now in x.unbind(0):
            outputs, after = super()._scan([self._joined(now, after).unsqueeze(0)], after)
            spk, after = self._settled(outputs["s_out"].squeeze(0), after)
            kept = dict(zip(self.state_names, after, strict=True))
            rows.append((spk, *(kept[n].to(now.dtype) for n in record)))
        columns = map(torch.stack, zip(*rows, strict=True))
        return dict(zip(("s_out", *record), columns, strict=True)), after

    def _settled(
        self, spk: torch.Tensor, after: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Spikes and states of a step, quantised and inhibited."""
        if not (self._inhibition or self._state_quant is not None):
            return self._weighed(spk), after
        states = dict(zip(self.state_names, after, strict=True))
        if self._state_quant is not None:
            states |= {n: self._state_quant(s) for n, s in states.items() if n != "spk"}
        mem = states["mem"]
        fired = self.fire_inhibition(len(mem), mem) if self._inhibition else self.fire(mem)
        fired = fired.to(spk.dtype)
        if "spk" in states:
            states["spk"] = fired
        return fired, tuple(states.values())

    def _renew(self) -> None:
        super()._renew()
        mine = self.__dict__
        named = mine.get("_kinds", {}).get("subtract", mine["dynamics"]).step.__name__
        late, prompt = self.late, self.prompt or {}
        of_late, of_prompt = ({d.step.__name__ for d in k.values()} for k in (late, prompt))
        now = named in of_prompt - of_late
        mine.update(_kinds=dict(prompt if now else late), reset_delay=not now)
        training = mine["fused_training"]
        self._bind(training.surrogate, training.reset_grad)
