"""Leaky, Synaptic, Alpha, Lapicque and their recurrent forms, in snnTorch's words (equations:
:mod:`lavalike.dynamics.membrane`).

Common arguments:
    beta, alpha: decay factors in 0..1, a number or a tensor of one a neuron; outside it is an error
    (snnTorch clamps). threshold: > 0, likewise; a spike is ``mem > threshold``. Default 1.
    spike_grad: a surrogate. Default ``surrogate.atan()``, as in snnTorch today; the older
    tutorials' is
        ``surrogate.straight_through_estimator()``.
    surrogate_disable: spikes have no gradient at all. Default False.
    init_hidden, output: see :class:`lavalike.snn.Neuron`. A state of another shape than the input
    is an error (snnTorch begins anew). learn_...: train the parameter; it stays within its range.
    reset_mechanism: "subtract" (default), "zero" or "none". A reset happens in the step after the
    spike. reset_delay: False resets in the step of the spike itself. Default True. (snnTorch
    differentiates such a reset: that is
        reset_grad="full" here. Where a membrane is above the threshold after its reset, snnTorch
        takes the threshold off before it compares; here every step that ends above it spikes.)
    reset_grad: what resets are differentiated to: "detach" (default, as in snnTorch), "full" or
    "slayer". inhibition, state_quant: not available; True raises.

Parameters (beta, threshold, ...), reset_mechanism, spike_grad, reset_grad, init_hidden and output
may be set later; the others are chosen once, and setting them is an error.

States are named as in snnTorch, and may be given by name. ``init_leaky()`` and the like are
``reset_mem()``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import (
    FLAG,
    TEXT,
    Rule,
    arguments,
    as_numbers,
    did_you_mean,
    either,
    integer,
    is_real,
    optional,
    real,
    sequence,
    shown,
)
from lavalike.dynamics import Dynamics, membrane
from lavalike.errors import InputError, InputTypeError
from lavalike.fused.ambient import transformed
from lavalike.fused.surrogate import SURROGATE, Atan, Surrogate, as_surrogate
from lavalike.snn import record as recording
from lavalike.snn.neuron import GRADIENT, NUMBERS, RESET_GRAD, Neuron, State, Stateful, within

LEAST = 1e-6  # of a threshold
MECHANISMS = ("none", "subtract", "zero")  # of SLSTM


@dataclass(frozen=True)
class _NoGradient(Surrogate):
    """0 everywhere."""

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


# beta, alpha, threshold, V and graded_spikes_factor are looked at where they are kept
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
    "gradient": GRADIENT,
    "state_quant": Rule(
        "False (a function that quantises is not available)",
        lambda v: v is None or isinstance(v, bool) or callable(v),
    ),
    **dict.fromkeys(("linear_features", "conv2d_channels"), optional(integer(1))),
    **dict.fromkeys(("input_size", "hidden_size"), integer(1)),
    "kernel_size": optional(either(integer(1), sequence(integer(1), 2))),
    "R": optional(real()),
    "C": optional(real()),
    "time_step": real(),
}


def _takes(*names: str) -> Any:
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
    return arguments(**{n: RULES[n] for n in (*common, *names)})


def _mechanism(label: str, value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, str):
        raise InputTypeError(
            f"{label}: reset_mechanism is one of {', '.join(known)}, got {shown(value)} ({type(value).__name__})"
        )
    if value not in known:
        raise InputError(
            f"{label}: reset_mechanism is one of {', '.join(known)}, got {value!r}{did_you_mean(value, known)}"
        )


def _surrogate(label: str, spike_grad: Surrogate | None, surrogate_disable: bool) -> Surrogate:
    if surrogate_disable:
        if spike_grad is not None:
            raise InputError(f"{label}: give spike_grad or surrogate_disable, not both")
        return _NoGradient()
    return Atan() if spike_grad is None else as_surrogate(spike_grad)


def _refuse(label: str, inhibition: bool, state_quant: Any) -> None:
    if inhibition or state_quant:
        raise InputError(
            f"{label}: {'inhibition' if inhibition else 'state_quant'} is not available; leave it False"
        )


class _Spiking(Neuron):
    """What the neurons of this file share. ``values`` and ``learn`` have the step's own names, in
    which the threshold is vth."""

    vth: torch.Tensor

    _aliases: Mapping[str, str] = {"threshold": "vth"}
    _once = Neuron._once | {"all_to_all", "time_step"}

    def __init__(
        self,
        kinds: Mapping[str, Dynamics],
        reset_mechanism: str,
        values: Mapping[str, Any],
        learn: Mapping[str, bool],
        spike_grad: Surrogate | None,
        surrogate_disable: bool,
        init_hidden: bool,
        inhibition: bool,
        state_quant: Any,
        output: bool,
        reset_grad: str,
    ) -> None:
        _mechanism(self.label, reset_mechanism, tuple(kinds))
        _refuse(self.label, inhibition, state_quant)
        super().__init__(
            kinds[reset_mechanism],
            values,
            [n for n, yes in learn.items() if yes],
            _surrogate(self.label, spike_grad, surrogate_disable),
            reset_grad,
            init_hidden,
            output,
        )
        self._kinds, self._reset_mechanism = dict(kinds), reset_mechanism

    @property
    def reset_mechanism(self) -> str:
        """How a spike resets; may be set."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, value: str) -> None:
        _mechanism(self.label, value, tuple(self._kinds))
        self._reset_mechanism, self.__dict__["dynamics"] = value, self._kinds[value]

    def limits(self, name: str) -> tuple[float, float]:
        return {"alpha": (0.0, 1.0), "beta": (0.0, 1.0), "vth": (LEAST, math.inf)}.get(
            name, (-math.inf, math.inf)
        )

    def called(self, name: str) -> str:
        return "threshold" if name == "vth" else name

    @property
    def threshold(self) -> torch.Tensor:
        return self.vth


class Leaky(_Spiking):
    """Leaky integrate-and-fire: ``spk, mem = leaky(x, mem)``;
    ``mem' = beta mem + x - R threshold``.

    Args:
        beta: decay of mem.
        graded_spikes_factor: what a spike counts, a number or a tensor of one a neuron; learnable.
            Default 1.
        The others: see the module.
    """

    beta: torch.Tensor
    graded_spikes_factor: torch.Tensor

    @_takes("learn_beta", "learn_graded_spikes_factor", "reset_delay", "reset_grad")
    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
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
        reset_delay: bool = True,
        reset_grad: str = "detach",
    ) -> None:
        super().__init__(
            membrane.LEAKY if reset_delay else membrane.LEAKY_NOW,
            reset_mechanism,
            {"beta": beta, "vth": threshold},
            {"beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )
        self._keep("graded_spikes_factor", graded_spikes_factor, learn_graded_spikes_factor)
        self._grade: tuple[Any, int, bool] | None = None

    @property
    def _graded(self) -> bool:
        """Whether spikes count anything but 1, asked once for every value that the factor gets."""
        factor = self.graded_spikes_factor
        if (
            isinstance(factor, nn.Parameter)
            or transformed()
            or factor.is_meta
            or factor.is_inference()
        ):
            return True
        if self._grade is None or self._grade[0] is not factor or self._grade[1] != factor._version:
            self._grade = factor, factor._version, bool((factor != 1).any())
        return self._grade[2]

    def _scan(
        self,
        inputs: Sequence[torch.Tensor],
        states: Sequence[State],
        record: Sequence[str] = (),
        steps: int | None = None,
    ) -> Any:
        outputs, after = super()._scan(inputs, states, record, steps)
        if self._graded:
            outputs["s_out"] = outputs["s_out"] * self.graded_spikes_factor.to(
                outputs["s_out"].dtype
            )
        return outputs, after

    init_leaky = Neuron.reset_mem


class Synaptic(_Spiking):
    """With a synaptic current: ``spk, syn, mem = synaptic(x, syn, mem)``;
    ``syn' = alpha syn + x; mem' = beta mem + syn' - R threshold``.

    Args:
        alpha, beta: decay of syn and of mem.
        gradient: "surrogate" (default), or with reset_delay=False "eventprop"; see
            :class:`lavalike.snn.Neuron`.
        The others: see the module.
    """

    @_takes("learn_alpha", "learn_beta", "reset_delay", "reset_grad", "gradient")
    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        reset_delay: bool = True,
        reset_grad: str = "detach",
        gradient: str = "surrogate",
    ) -> None:
        super().__init__(
            membrane.SYNAPTIC if reset_delay else membrane.SYNAPTIC_NOW,
            reset_mechanism,
            {"alpha": alpha, "beta": beta, "vth": threshold},
            {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )
        self.gradient = gradient

    init_synaptic = Neuron.reset_mem


class Alpha(_Spiking):
    """The alpha-shaped response: ``spk, syn_exc, syn_inh, mem = alpha(x, syn_exc, syn_inh, mem)``.

    ``exc' = alpha exc + x; inh' = beta inh - x; mem' = tau (exc' + inh')``,
    ``tau = ln alpha / (ln beta - ln alpha) + 1``.

    Args:
        alpha, beta: decay of syn_exc and of syn_inh, 0 < beta < alpha < 1. Learnt ones stay within
            1e-4..1 - 1e-4, beta 1e-4 below alpha.
        reset_mechanism: default "zero", of all three states; "subtract" lowers mem by the threshold
            in the one step after a spike (mem follows from the other two, which it leaves; snnTorch
            rewrites these).
        The others: see the module.
    """

    alpha: torch.Tensor
    beta: torch.Tensor
    tau: torch.Tensor

    @_takes("learn_alpha", "learn_beta", "reset_grad")
    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "zero",
        state_quant: Any = False,
        output: bool = False,
        reset_grad: str = "detach",
    ) -> None:
        self._ordered(alpha, beta)
        super().__init__(
            membrane.ALPHA,
            reset_mechanism,
            {"alpha": alpha, "beta": beta, "tau": 1.0, "vth": threshold},
            {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )
        del self.tau, self._limits["tau"]  # follows from alpha and beta

    def _ordered(self, alpha: Any, beta: Any) -> None:
        a, b = as_numbers(alpha), as_numbers(beta)
        if a is None or b is None:
            raise InputTypeError(
                f"{type(self).__name__}: alpha and beta are numbers, got {shown(alpha)}, {shown(beta)}"
            )
        meta = any(isinstance(v, torch.Tensor) and v.is_meta for v in (alpha, beta))
        if not meta and not bool(((a > b) & (b > 0) & (a < 1)).all()):
            raise InputError(
                f"snn.{type(self).__name__}: 0 < beta < alpha < 1 is needed, got alpha {alpha!r}, beta {beta!r}"
            )

    def _put(self, name: str, value: Any) -> None:
        if name in ("alpha", "beta"):
            self._checked(name, value)
            self._ordered(*(value if n == name else getattr(self, n) for n in ("alpha", "beta")))
        super()._put(name, value)

    def values(self) -> dict[str, torch.Tensor]:
        alpha, beta, vth = self.alpha, self.beta, self.vth
        if "alpha" in self._parameters:
            alpha = within(
                alpha,
                (2e-4, 1 - 1e-4),
                *([] if "beta" in self._parameters else [(beta.detach() + 1e-4, None)]),
            )
        if "beta" in self._parameters:
            beta = within(beta, (1e-4, None), (None, alpha.detach() - 1e-4))
        if "vth" in self._parameters:
            vth = within(vth, self._limits["vth"])
        a, b = torch.log(alpha), torch.log(beta)
        return {"alpha": alpha, "beta": beta, "tau": a / (b - a) + 1, "vth": vth}

    init_alpha = Neuron.reset_mem


class Lapicque(_Spiking):
    """The RC circuit: ``spk, mem = lapicque(x, mem)``;
    ``mem' = beta mem + (1 - beta) R x - reset``, ``beta = exp(-time_step / (R C))``.

    This is the exact solution for an input that is constant over a step: without input a membrane
    decays by beta a step (snnTorch's Euler step decays by 1 + ln beta, which is negative for small
    beta).

    Args:
        beta, R, C, time_step: beta, or R and C; with beta and one of R and C the other follows;
            with beta alone C = 1. Learning beta leaves R.
        The others: see the module.
    """

    beta: torch.Tensor
    resistance: torch.Tensor
    time_step: float

    @_takes("R", "C", "time_step", "learn_beta", "reset_grad")
    def __init__(
        self,
        beta: Any = None,
        R: float | None = None,
        C: float | None = None,
        time_step: float = 1,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        reset_grad: str = "detach",
    ) -> None:
        if not time_step > 0 or any(v is not None and not v > 0 for v in (R, C)):
            raise InputError(
                f"{self.label}: R, C and time_step are > 0, got {R!r}, {C!r}, {time_step!r}"
            )
        from_rc = None if R is None or C is None else math.exp(-time_step / (R * C))
        if beta is None:
            beta = from_rc
        if beta is None:
            raise InputError(f"{self.label}: give beta, or R and C")
        numbers = as_numbers(beta)
        if numbers is None or numbers.dtype.kind not in "iuf":
            raise InputTypeError(
                f"snn.{type(self).__name__}: beta is finite numbers, got {shown(beta)} ({type(beta).__name__})"
            )
        meta = isinstance(beta, torch.Tensor) and beta.is_meta
        if not meta and not bool(((numbers > 0) & (numbers < 1)).all()):
            raise InputError(f"{self.label}: beta is in 0..1, both excluded, got {beta!r}")
        if (
            from_rc is not None
            and not meta
            and not np.isclose(numbers, from_rc, rtol=1e-5, atol=1e-8).all()
        ):
            raise InputError(
                f"{self.label}: beta {beta!r} is not exp(-time_step / (R C)) = {from_rc:g}; give two of the three"
            )
        resistance: Any = R
        if R is None:
            decay = torch.as_tensor(beta, dtype=torch.float64).detach()
            resistance = -time_step / ((1.0 if C is None else C) * torch.log(decay))
        super().__init__(
            membrane.LAPICQUE,
            reset_mechanism,
            {"beta": beta, "resistance": resistance, "vth": threshold},
            {"beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )
        self.__dict__["time_step"] = time_step

    _aliases: Mapping[str, str] = {"threshold": "vth", "R": "resistance"}

    def limits(self, name: str) -> tuple[float, float]:
        return (
            (float(np.finfo(np.float32).tiny), math.inf)
            if name == "resistance"
            else super().limits(name)
        )

    def called(self, name: str) -> str:
        return "R" if name == "resistance" else super().called(name)

    @property
    def R(self) -> torch.Tensor:
        """The resistance."""
        return self.resistance

    @property
    def C(self) -> torch.Tensor:
        """The capacitance that beta and R stand for."""
        return -self.time_step / (self.resistance * torch.log(self.beta))

    init_lapicque = Neuron.reset_mem


class _Recurrent(_Spiking):
    """Spikes that come back one step later: through a dense or convolutional layer (all_to_all), or
    each to its own neuron, times V."""

    output_is_state = True
    all_to_all: bool
    recurrent: nn.Linear | nn.Conv2d

    def __init__(
        self,
        kinds: Mapping[str, Dynamics],
        V: Any,
        all_to_all: bool,
        linear_features: int | None,
        conv2d_channels: int | None,
        kernel_size: Any,
        learn_recurrent: bool,
        reset_mechanism: str,
        values: dict[str, Any],
        learn: dict[str, bool],
        *more: Any,
    ) -> None:
        if all_to_all and (linear_features is None) == (conv2d_channels is None):
            raise InputError(
                f"{self.label}: with all_to_all give linear_features, or conv2d_channels and kernel_size"
            )
        if not all_to_all and (
            linear_features is not None or conv2d_channels is not None or kernel_size is not None
        ):
            raise InputError(
                f"{self.label}: linear_features, conv2d_channels and kernel_size belong to all_to_all=True"
            )
        if all_to_all and (not is_real(V) or isinstance(V, torch.Tensor) or V != 1.0):
            if not isinstance(V, torch.Tensor):
                NUMBERS.check(self.label, "V", V)
            raise InputError(
                f"{self.label}: V is the factor of a neuron's own spike and belongs to all_to_all=False, got {shown(V)}"
            )
        if (conv2d_channels is None) != (kernel_size is None):
            raise InputError(f"{self.label}: conv2d_channels and kernel_size belong together")
        super().__init__(
            kinds,
            reset_mechanism,
            values | {"V": 0.0 if all_to_all else V},
            learn | {"V": learn_recurrent and not all_to_all},
            *more,
        )
        self.__dict__["all_to_all"] = bool(all_to_all)
        if all_to_all:
            if linear_features is not None:
                self.recurrent = nn.Linear(linear_features, linear_features)
            else:
                channels: Any = conv2d_channels
                self.recurrent = nn.Conv2d(channels, channels, kernel_size, padding="same")
            self.recurrent.requires_grad_(learn_recurrent)

    def _scan(
        self,
        inputs: Sequence[torch.Tensor],
        states: Sequence[State],
        record: Sequence[str] = (),
        steps: int | None = None,
    ) -> Any:
        if not self.all_to_all:
            return super()._scan(inputs, states, record, steps)
        (x,) = inputs
        if steps is not None:
            x = x.expand(steps, *x.shape[1:])
        given = (*states, *[None] * (len(self.state_names) - len(states)))
        after = tuple(s if s is not None and s.numel() else x.new_zeros(x.shape[1:]) for s in given)
        rows: list[dict[str, torch.Tensor]] = []
        for now in x.unbind(0):
            joined = now + self.recurrent(after[0].to(self.recurrent.weight.dtype)).to(now.dtype)
            out, after = super()._scan([joined.unsqueeze(0)], after, record)
            rows.append(out)
        if not rows:
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}: no steps")
        return {n: torch.cat([r[n] for r in rows]) for n in rows[0]}, after


class RLeaky(_Recurrent):
    """Leaky with recurrence: ``spk, mem = rleaky(x, spk, mem)``; ``V(spk)``, of the last step's
    spikes, joins x. "zero" resets mem to 0.

    Args:
        V: factor of each neuron's own spike, with all_to_all=False; a number or a tensor of one a
            neuron. Default 1.
        all_to_all: recurrence through a layer (default) or of each neuron to itself.
        linear_features: neurons of a dense layer. conv2d_channels, kernel_size: of a convolution.
            The layer is ``recurrent``.
        learn_recurrent: train the recurrence. Default True.
        The others: see the module.
    """

    @_takes(
        "all_to_all",
        "linear_features",
        "conv2d_channels",
        "kernel_size",
        "learn_beta",
        "learn_recurrent",
        "reset_delay",
        "reset_grad",
    )
    def __init__(
        self,
        beta: Any,
        V: Any = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: Any = None,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        reset_delay: bool = True,
        reset_grad: str = "detach",
    ) -> None:
        super().__init__(
            membrane.RLEAKY if reset_delay else membrane.RLEAKY_NOW,
            V,
            all_to_all,
            linear_features,
            conv2d_channels,
            kernel_size,
            learn_recurrent,
            reset_mechanism,
            {"beta": beta, "vth": threshold},
            {"beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )

    init_rleaky = Neuron.reset_mem


class RSynaptic(_Recurrent):
    """Synaptic with recurrence: ``spk, syn, mem = rsynaptic(x, spk, syn, mem)``. Arguments: see
    RLeaky and Synaptic."""

    @_takes(
        "all_to_all",
        "linear_features",
        "conv2d_channels",
        "kernel_size",
        "learn_alpha",
        "learn_beta",
        "learn_recurrent",
        "reset_delay",
        "reset_grad",
    )
    def __init__(
        self,
        alpha: Any,
        beta: Any,
        V: Any = 1.0,
        all_to_all: bool = True,
        linear_features: int | None = None,
        conv2d_channels: int | None = None,
        kernel_size: Any = None,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        reset_delay: bool = True,
        reset_grad: str = "detach",
    ) -> None:
        super().__init__(
            membrane.RSYNAPTIC if reset_delay else membrane.RSYNAPTIC_NOW,
            V,
            all_to_all,
            linear_features,
            conv2d_channels,
            kernel_size,
            learn_recurrent,
            reset_mechanism,
            {"alpha": alpha, "beta": beta, "vth": threshold},
            {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold},
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            state_quant,
            output,
            reset_grad,
        )

    init_rsynaptic = Neuron.reset_mem


class SLSTM(Stateful):
    """A long short-term memory whose output spikes: ``spk, syn, mem = slstm(x, syn, mem)``, with
    syn the cell's c and mem its h.

    States are of shape (batch, hidden_size) and last for as long as they are passed on, whatever
    input_size (snnTorch takes the input's shape for theirs, and where the two differ begins at 0 in
    every step).

    Args:
        input_size, hidden_size: of x (batch, input_size) and of the states.
        bias: of the cell, ``lstm_cell``. Default True.
        reset_mechanism: of mem: "none" (default), "subtract" or "zero", in the step after the
            spike.
        The others: see the module.
    """

    threshold: torch.Tensor

    @_takes("input_size", "hidden_size", "bias")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
    ) -> None:
        super().__init__(("syn", "mem"), init_hidden, output)
        _mechanism(self.label, reset_mechanism, MECHANISMS)
        _refuse(self.label, inhibition, state_quant)
        self._keep("threshold", threshold, learn_threshold)
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size, bias)
        self._reset_mechanism = reset_mechanism
        self._spike_grad = _surrogate(self.label, spike_grad, surrogate_disable)

    def limits(self, name: str) -> tuple[float, float]:
        return LEAST, math.inf

    @property
    def reset_mechanism(self) -> str:
        """How a spike resets; may be set."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, value: str) -> None:
        _mechanism(self.label, value, MECHANISMS)
        self._reset_mechanism = value

    @property
    def spike_grad(self) -> Surrogate:
        """The surrogate gradient; may be set."""
        return self._spike_grad

    @spike_grad.setter
    def spike_grad(self, value: Surrogate) -> None:
        SURROGATE.check(self.label, "spike_grad", value)
        self._spike_grad = as_surrogate(value)

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        if recording.current() is not None:
            raise InputError(
                f"accelerate: {self.label} cannot be folded: its states go through its weights in every step; train such a "
                "network with the plain loop"
            )
        cell = self.lstm_cell
        if (
            not isinstance(x, torch.Tensor)
            or x.dim() != 2
            or x.shape[1] != cell.input_size
            or x.dtype != cell.weight_ih.dtype
        ):
            got = (
                f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            )
            raise InputError(
                f"{self.label}: the input of a step is (batch, {cell.input_size}), {cell.weight_ih.dtype}; got {got}"
            )
        shape = (len(x), cell.hidden_size)
        self.check_states(shape, states)
        syn, mem = (x.new_zeros(shape) if s is None or not s.numel() else s for s in states)
        threshold = (
            within(self.threshold, self._limits["threshold"])
            if "threshold" in self._parameters
            else self.threshold
        )
        fired = (mem > threshold).to(mem.dtype).detach()
        mem, syn = cell(x, (mem, syn))
        if self.reset_mechanism == "subtract":
            mem = mem - fired * threshold
        elif self.reset_mechanism == "zero":
            mem = mem * (1 - fired)
        return self._spike_grad(mem - threshold), syn, mem

    init_slstm = Stateful.reset_mem
