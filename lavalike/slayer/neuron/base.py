"""What all neurons share: scales, threshold, parameters, the loop over time, quantisation,
normalisation, dropout."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from lavalike import fused
from lavalike.arguments import FLAG, Rule, arguments, choice, integer, numbers, real
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError
from lavalike.fused.ambient import functional, transformed
from lavalike.fused.arithmetic import shared
from lavalike.slayer.axon.sized import Sized, draw
from lavalike.slayer.layout import over_time
from lavalike.slayer.spike import Graded, GradedPhase, Slayer
from lavalike.slayer.states import Number as Number, State as State, Stateful
from lavalike.slayer.utils.quantize import quantize
from lavalike.text import settings

W_SCALE = 64
P_SCALE = 4096

# what arguments of neurons may be; a threshold of 2**18 - 1 stands for none in files
LIMIT = (1 << 18) - 1
DECAY = Rule(
    "a number in 0..1, a pair (low, high), or one a channel",
    numbers(0, 1, kinds="iuf").kind,
    numbers(0, 1, kinds="iuf").value,
)
NORM = Rule(
    "a class from slayer.neuron.norm (or a function with its arguments) or None",
    lambda v: v is None or (callable(v) and not isinstance(v, nn.Module)),
)
DROPOUT = Rule(
    "a module (slayer.neuron.Dropout(p)) or None",
    lambda v: v is None or (callable(v) and not isinstance(v, type)),
)
COMMON = {
    "tau_grad": real(above=0),
    "scale_grad": real(above=0),
    "scale": integer(1, 1 << 12),
    "norm": NORM,
    "dropout": DROPOUT,
    "shared_param": FLAG,
    "persistent_state": FLAG,
    "requires_grad": FLAG,
}
SPIKING = COMMON | {
    "threshold": real(above=0),
    "graded_spike": FLAG,
    "reset_grad": choice("slayer", "detach", "full"),
}


class Neuron(Sized, Stateful):
    """Base of the neurons.

    Args:
        threshold: > 0, one number, rounded down to a multiple of 1/scale; at most (2^18 - 2)/scale,
            what a file can hold.
        tau_grad, scale_grad: width (in thresholds) and height of the surrogate gradient.
        scale: of weights; states count in 1 / (64 scale).
        norm: a class from :mod:`lavalike.slayer.neuron.norm`, or None.
        dropout: an nn.Module, or None.
        shared_param: decays of one value for all channels; else one a channel, drawn when the
            channels are known, at the latest at the first call: within 1 % of the value given, or
            within a pair (low, high); an array or tensor, or a list of three or more, is taken as
            it is, one value a channel. Default True.
        persistent_state: a call goes on where the last one ended (until ``reset_state`` or another
            batch size); the state is no part of the state dict, and no gradient passes from call to
            call. Default False.
        requires_grad: whether the decays are trained. Default False.
        graded_spike: send the state that spiked instead of 1. Default False.
        reset_grad: what resets are differentiated to: "slayer" (not at all, default), "detach" or
            "full".

    Input and output: (batch, channel, ..., time). ``stream(x, state)`` is the same without hidden
    state. ``overflows`` counts state values that left 24 bits since the last ``reset_overflows``:
    where it is 0, fixed_pt computes the same bits.

    ``dynamics(x)`` are the states over time as they meet the threshold, one tensor like x each, and
    ``spike(*states)`` the spikes that they cause, so that ``forward`` is one after the other; a
    bfloat16 x has states in float32, which holds them. A class says which they are, and what
    ``current_state`` and the like are called in it: states between two calls, one number or
    (batch, channel, ...), from which the next call goes on whoever set them, and where
    ``persistent_state`` keeps what the call leaves. They are rounded to the grid as they are set;
    what is read may be a copy, so a new value is assigned (``neuron.voltage_state *= 0``).

    ``shape`` is (channel, ...) of the last call. ``debug = True``: each call is computed by the
    plain torch loop as well, and a RunError tells where the two differ.
    """

    tau_factor: ClassVar[float] = 100.0
    scale_factor: ClassVar[float] = 0.1
    inputs: int = 1
    pair: ClassVar[str] = ""  # what two inputs are called
    surrogate_class: ClassVar[type[Slayer]] = Slayer
    p_scale: ClassVar[int] = P_SCALE
    declaration: ClassVar[
        Dynamics
    ]  # says what its parameters are, and how a file and the step call them
    overflows: torch.Tensor
    debug: bool = False
    unjittered: ClassVar[tuple[str, ...]] = (
        "threshold_decay",
        "refractory_decay",
    )  # of a channel the number given, as in lava-dl

    @arguments(**SPIKING)
    def __init__(
        self,
        threshold: float,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        norm: Callable[..., Any] | None = None,
        dropout: nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        reset_grad: str = "slayer",
    ) -> None:
        super().__init__()
        self.w_scale, self.s_scale = int(scale), int(scale) * W_SCALE
        self._threshold = int(threshold * self.w_scale) / self.w_scale
        if self._threshold == 0:
            raise InputError(
                f"{self.label}: threshold {threshold} is below the resolution of 1/{self.w_scale}"
            )
        if not self._threshold * self.w_scale < LIMIT:
            raise InputError(
                f"{self.label}: threshold is at most {(LIMIT - 1) / self.w_scale:.10g}, which no state of 24 bits reaches, "
                f"got {threshold!r}"
            )
        tau_grad, scale_grad = float(tau_grad), float(scale_grad)
        self.tau_rho = tau_grad * self._threshold
        self.scale_rho = scale_grad
        self.shared_param, self.persistent_state = bool(shared_param), bool(persistent_state)
        self.requires_grad, self.graded_spike = bool(requires_grad), bool(graded_spike)
        self.decays: list[str] = []  # parameters stored times 4096
        surrogate = self.surrogate_class(
            self.tau_rho * self.tau_factor, scale_grad * self.scale_factor
        )
        self.training_ = shared(fused.Training(surrogate, reset_grad, "grid", float(self.s_scale)))
        self._make_norms(norm)
        self.drop = dropout
        self._ranges: dict[str, tuple[float, float]] = {}
        self.register_buffer("overflows", torch.zeros((), dtype=torch.int64), persistent=False)

    def _make_norms(self, norm: Callable[..., Any] | None) -> None:
        self.norm = norm(pre_hook_fx=self.quantize_8bit) if norm is not None else None

    def extra_repr(self) -> str:
        """The threshold and the parameters, as they are given; of one a channel how many."""
        values: dict[str, Any] = {"threshold": self.threshold}
        for name in self.decays:
            value = getattr(self, name).detach()
            values[name] = value / self.p_scale
        more = {
            n: getattr(self, n) for n in ("graded_spike", "persistent_state") if getattr(self, n)
        }
        learnt = [n for n in self.decays if getattr(self, n).requires_grad]
        return settings(values | {"scale": self.w_scale} | more, *learnt)

    @property
    def label(self) -> str:
        return f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}"

    @property
    def norms(self) -> list[Any]:
        """The norms in use, one an input."""
        return [] if self.norm is None else [self.norm]

    @property
    def threshold(self) -> float:
        return self._threshold

    @property
    def v_th_mant(self) -> int:
        """The threshold as an integer in 1/scale."""
        return round(self._threshold * self.w_scale)

    @property
    def scale(self) -> int:
        """Of weights: what 1 is in a file."""
        return self.w_scale

    @property
    def ref_delay(self) -> int:
        """Refractory period in steps: always 1, none."""
        return 1

    @property
    def weight_exponent(self) -> int:
        """Bits of the states beyond the 6 that they have more than weights."""
        return int(math.log2(self.s_scale // self.w_scale)) - 6

    @property
    def num_neurons(self) -> int | None:
        """Neurons of a sample in the last call."""
        return None if self.shape is None else math.prod(self.shape)

    @property
    def complex(self) -> bool:
        """Whether it takes (real, imag)."""
        return self.inputs == 2

    @property
    def device(self) -> torch.device:
        return self.overflows.device

    @property
    def device_params(self) -> dict[str, Any]:
        """What goes into the HDF5 file."""
        raise NotImplementedError(f"{self.label}: a Neuron defines device_params")

    @property
    def timed(self) -> bool:
        """Whether an answer belongs to its step, which a rate does not."""
        return True

    def grade(
        self, s: torch.Tensor, *state: torch.Tensor, threshold: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Graded spikes of spikes, the state that they send (of a phase also imag) and the
        threshold it met."""
        met = self._threshold if threshold is None else threshold.detach()
        surrogate: Any = self.training_.surrogate
        return (Graded if len(state) == 1 else GradedPhase).apply(
            s, *state, met, surrogate.tau, surrogate.scale
        )

    def reset_overflows(self) -> None:
        self.overflows.zero_()

    def quantize_8bit(self, weight: torch.Tensor, descale: bool = False) -> torch.Tensor:
        """``weight`` on Loihi's grid of 2/scale, within [-256, 254]/scale; integers with
        ``descale``."""
        out = quantize(weight, 2 / self.w_scale).clamp(-256 / self.w_scale, 254 / self.w_scale)
        return out * self.w_scale if descale else out

    # -- parameters --------------------------------------------------------------------------------

    def add_parameter(self, name: str, value: Number) -> None:
        """A decay in 0..1, kept as slayer keeps it, times 4096; one value, or one a channel once
        ``fit`` knows how many."""
        self.decays.append(name)
        if one_a_channel(value):
            start = torch.as_tensor(value, dtype=torch.float32).detach()
            if start.dim() > 1 or not start.numel():
                raise InputError(
                    f"{self.label}: {name} is one value, or one a channel, got shape {tuple(start.shape)}"
                )
            if start.numel() > 1:
                self.separate(name, start.numel())
                setattr(self, name, nn.Parameter(start * P_SCALE, requires_grad=self.requires_grad))
                return
            value = float(start)
        low, high = sorted(map(float, value if isinstance(value, Sequence) else (value, value)))
        if self.shared_param and low != high:
            raise InputError(
                f"{self.label}: {name} is one number where parameters are shared, got {value!r}; "
                "shared_param=False draws from a range"
            )
        if not self.shared_param:
            self._ranges[name] = (
                (0.99 * low, min(1.01 * low, 1.0))
                if low == high and name not in self.unjittered
                else (low, high)
            )
        setattr(
            self,
            name,
            nn.Parameter(
                torch.tensor([(low + high) / 2 * P_SCALE], dtype=torch.float32),
                requires_grad=self.requires_grad,
            ),
        )

    def separate(self, name: str, channels: int) -> None:
        """Refuse ``channels`` values where channels share one."""
        if self.shared_param:
            raise InputError(
                f"{self.label}: {name} is one number where parameters are shared, got {channels}; "
                "shared_param=False takes one a channel"
            )

    def unsized(self) -> Iterable[str]:
        return self._ranges

    def size(self, name: str, channels: int) -> None:
        """Draw a parameter for every channel."""
        low, high = self._ranges[name]
        self._set(name, (low + (high - low) * draw(channels)) * P_SCALE)

    def _set(self, name: str, value: torch.Tensor) -> None:
        old = getattr(self, name)
        # the same parameter object: an optimizer may have it already
        old.data = value.to(old)
        self._ranges.pop(name, None)

    def fit(self, channels: int) -> None:
        """Give what is channel-wise its size, so that a state dict loads before the first call."""
        for norm in self.norms:
            if isinstance(norm, Sized):
                norm.fit(channels)
        super().fit(channels)
        for name in self.decays:
            count = getattr(self, name).numel()
            if count not in (1, channels):
                raise InputError(
                    f"{self.label}: {name} has {count} values, one a channel; there are {channels} channels"
                )

    def limits(self, name: str) -> tuple[float, float]:
        """What training keeps a parameter within, times 4096."""
        return 0, P_SCALE

    def used(self, name: str) -> torch.Tensor:
        """The parameter in use: an integer in 1/4096 (rounded, gradient straight through), brought
        back into its limits where training left them; in place, so that its gradient stays
        alive."""
        p: nn.Parameter = getattr(self, name)
        if functional():
            return p + (p.clamp(*self.limits(name)).round() - p).detach()
        with torch.no_grad():
            p.clamp_(*self.limits(name))
        return p + (p.round() - p).detach() if p.requires_grad else p.round()

    def clamp(self) -> None:
        """Bring the decays back into their limits, as every call does."""
        for name in self.decays:
            self.used(name)

    def assign(self, name: str, value: Number) -> None:
        """Set a decay, in 1/4096: one number, or one a channel."""
        values = torch.as_tensor(value, dtype=torch.float32).detach().reshape(-1)
        low, high = self.limits(name)
        if not values.numel() or not bool(((values >= low) & (values <= high)).all()):
            raise InputError(
                f"{self.label}: {name} is in {low}..{high} (1/{P_SCALE}), one number or one a channel, got {value!r}"
            )
        if values.numel() > 1:
            self.separate(name, values.numel())
        self._set(name, values)

    def integer(self, name: str) -> Any:
        """The parameter as it is deployed: an int, or an array of one a channel."""
        values = getattr(self, name).detach().clamp(*self.limits(name)).round().long()
        return int(values) if values.numel() == 1 else values.cpu().numpy()

    def stored(self) -> dict[str, Any]:
        """The parameters as they are deployed, by their keys in a file."""
        return {
            p.key: self.integer(p.training)
            if p.counts != "state"
            else self.v_th_mant
            if p.training == "threshold"
            else round(getattr(self, p.training) * self.w_scale)
            for p in self.declaration.parameters
            if p.key and p.training
        }

    def counted(self, *names: str) -> dict[str, Any]:
        """The step's constants of the parameters ``names``, slayer's names, on the grid."""
        known = {p.training: p for p in self.declaration.parameters if p.training}
        return {
            known[n].argument: getattr(self, n) * self.s_scale
            if known[n].counts == "state"
            else P_SCALE - self.used(n)
            if known[n].counts == "loss"
            else self.used(n)
            for n in names
        }

    # -- time --------------------------------------------------------------------------------------

    def check(self, inputs: Sequence[torch.Tensor]) -> None:
        """Refuse inputs that are no (batch, channel, ..., time), or not alike."""
        x = inputs[0]
        if x.dim() < 3 or 0 in x.shape:
            raise InputError(
                f"{self.label}: input has shape {tuple(x.shape)}; expected (batch, channel, ..., time), none of them 0"
            )
        if x.dtype not in (torch.float32, torch.float64, torch.bfloat16):
            raise InputError(
                f"{self.label}: input has dtype {x.dtype}; expected float32, float64 or bfloat16"
            )
        self.saw(x)
        for other in inputs[1:]:
            if other.shape != x.shape or other.dtype != x.dtype:
                raise InputError(
                    f"{self.label}: real input has shape {tuple(x.shape)} and dtype {x.dtype}, imag {tuple(other.shape)} "
                    f"and {other.dtype}; both are to be alike"
                )

    def scan(
        self,
        dynamics: Dynamics,
        inputs: Sequence[torch.Tensor],
        parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        state: State | None = None,
        shift: bool = False,
        training: fused.Training | None = None,
    ) -> tuple[list[torch.Tensor], State]:
        """``dynamics`` over the whole of (batch, channel, ..., time): its outputs in that layout,
        and the state after it.

        ``parameters`` as a function is called when those of one a channel have their size.
        """
        self.check(inputs)
        x = inputs[0]
        own = {s: state[s] for s in dynamics.states if s in state} if state else {}
        self.fitting(own, x)
        self.fit(x.shape[1])
        values = parameters if isinstance(parameters, Mapping) else parameters()
        for n, p in values.items():
            if isinstance(p, torch.Tensor) and p.dim() and p.device != x.device:
                raise InputError(
                    f"{self.label}: {n} is on {p.device}, the input of shape {tuple(x.shape)} on {x.device}; they must be on one "
                    "device"
                )
            if isinstance(p, torch.Tensor) and p.numel() not in (1, x.shape[1]):
                raise InputError(
                    f"{self.label}: {n} has {p.numel()} values, one a channel; the input has shape {tuple(x.shape)}"
                )
        outputs, after, overflows = over_time(
            dynamics, training or self.training_, inputs, values, own, shift, self.debug
        )
        if not transformed():  # a trace has no values to look at
            for s, value in after.items():
                if not bool(torch.isfinite(value.detach().sum())):
                    raise InputError(
                        f"{self.label}: state {s} became NaN or infinite: so were some input values "
                        "(diverged weights do that too)"
                    )
        if not functional():  # where nothing outside may be changed
            with torch.no_grad():
                self.overflows += overflows
        return outputs, after

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        """(output, state after it) of inputs that follow on ``state`` (None: from rest). Pure.

        With ``shift`` the output leaves one step late.
        """
        raise NotImplementedError(f"{self.label}: a Neuron defines stream")

    def affine(
        self, *inputs: torch.Tensor, state: State | None = None
    ) -> tuple[tuple[torch.Tensor, ...], State]:
        """The states that a spike would reset, without threshold and reset, and the state after
        them. Pure."""
        raise NotImplementedError(f"{self.label}: a Neuron of Affine blocks defines affine")

    def respond(self, *x: torch.Tensor, shift: bool = False) -> torch.Tensor:
        """``stream`` from the states that are kept, or were set, else from rest."""
        y, after = self.stream(*x, state=self.kept(len(x[0])), shift=shift)
        self.keep(after)
        return y if self.drop is None else self.drop(y)

    def forward(self, input: Any, *more: torch.Tensor) -> torch.Tensor:
        return self.respond(*self.taken((input, *more)))

    def taken(self, x: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
        """The inputs of a call: one by one, or as a tuple."""
        x = tuple(x[0]) if len(x) == 1 and isinstance(x[0], tuple | list) else x
        if len(x) != self.inputs:
            raise InputError(f"{self.label}: takes {self.inputs} inputs{self.pair}, got {len(x)}")
        return x

    def on_grid(self, state: torch.Tensor) -> torch.Tensor:
        return (state * self.s_scale).trunc() / self.s_scale

    def fired(self, word: str, *values: Any) -> torch.Tensor:
        """A spike by the word that the step says it with, of states outside of a loop, and with its
        gradient."""
        training = dataclasses.replace(self.training_, arithmetic="float")
        numbers = {n: values[0].new_tensor(v) for n, v in training.numbers.items()}
        out: torch.Tensor = training.words(numbers)[word](*values)
        return out


def one_a_channel(value: Number) -> bool:
    """Whether ``value`` is an array, or a list that is no pair: taken as it is."""
    return isinstance(value, np.ndarray | torch.Tensor) or (
        isinstance(value, Sequence) and len(value) != 2
    )


def deployed(name: str) -> property:
    """``cx_<name>``: a parameter as it is deployed, an int in 1/4096, or an array of one a channel;
    settable."""
    return property(
        lambda self: self.integer(name),
        lambda self, value: self.assign(name, value),
        doc=deployed.__doc__,
    )


def seen(x: torch.Tensor) -> torch.Tensor:
    """An input whose states are seen: bfloat16 would not hold them."""
    return x.float() if x.dtype == torch.bfloat16 else x


def from_device(
    device_params: Mapping[str, Any], declaration: Dynamics, scale: int, p_scale: int = P_SCALE
) -> dict[str, Any]:
    """Arguments of a neuron from its ``device_params``, whose keys ``declaration`` knows: states
    count in 1/scale, decays in 1/p_scale.

    Values of one a channel come as arrays, with ``shared_param=False``; a decay that is one number
    is then spread over them.
    """
    known = [p for p in declaration.parameters if p.key and p.training]
    missing = sorted(p.key for p in known if p.key not in device_params)
    if missing:
        raise InputError(f"neuron_params: device_params lack {', '.join(missing)}")
    found = {
        p: np.asarray(device_params[p.key], np.float64).reshape(-1)
        / (scale if p.counts == "state" else p_scale)
        for p in known
    }
    channels = max(v.size for v in found.values())
    params: dict[str, Any] = {
        p.training: float(v[0])
        if v.size == 1 and (channels == 1 or p.counts == "state")
        else np.broadcast_to(v, channels).copy()
        for p, v in found.items()
    }
    return params if channels == 1 else params | {"shared_param": False}
