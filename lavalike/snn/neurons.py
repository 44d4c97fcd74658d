"""Leaky, Synaptic, Alpha, Lapicque, DeltaLeaky and the recurrent forms, in snnTorch's words
(equations: :mod:`lavalike.dynamics.membrane`).

Common arguments:
    beta, alpha: decay factors in 0..1, a number or a tensor of one a neuron; outside it is an error
        (snnTorch clamps).
    threshold: > 0, likewise; a spike is ``mem > threshold``. Default 1.
    spike_grad: a surrogate. Default ``surrogate.atan()``, as in snnTorch today; the older
        tutorials' is ``surrogate.straight_through_estimator()``.
    surrogate_disable: spikes have no gradient at all. Default False.
    init_hidden, output: see :class:`lavalike.snn.Neuron`. A state of another shape than the input
        is an error (snnTorch begins anew).
    learn_...: train the parameter; it stays within its range.
    reset_mechanism: "subtract" (default), "zero" or "none". A reset happens in the step after the
        spike.
    reset_delay: False resets in the step of the spike itself. Default True. (snnTorch
        differentiates such a reset: that is reset_grad="full" here. Where a membrane is above the
        threshold after its reset, snnTorch takes the threshold off before it compares; here every
        step that ends above it spikes.)
    reset_grad: what resets are differentiated to: "detach" (default, as in snnTorch), "full" or
        "slayer".
    inhibition: only the highest membrane of a sample spikes, x (batch, neurons). Default False.
    state_quant: a function that quantises the states after each step
        (``functional.quant.state_quant(...)``). Default False. With either, a sequence goes step by
        step.

Parameters (beta, threshold, ...), reset_mechanism, spike_grad, reset_grad, inhibition, state_quant,
init_hidden and output may be set later; the others are chosen once, and setting them is an error.

States are named as in snnTorch, and may be given by name. ``init_leaky()`` and the like are
``reset_mem()``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.arguments import as_numbers, choice, is_real, shown
from lavalike.dynamics import Dynamics, membrane
from lavalike.errors import InputError, InputTypeError
from lavalike.snn.cells import SLSTM as SLSTM  # where it was before 0.5, and pickles look for it
from lavalike.snn.neuron import GRADIENT, NUMBERS, Neuron, State, within
from lavalike.snn.spiking import Fused, NoGradient as _NoGradient, takes  # noqa: F401  # likewise


class Leaky(Fused):
    """Leaky integrate-and-fire: ``spk, mem = leaky(x, mem)``;
    ``mem' = beta mem + x - R threshold``.

    Example:
        >>> leaky = snn.Leaky(beta=0.9)
        >>> mem = leaky.init_leaky()
        >>> for _ in range(3):
        ...     spk, mem = leaky(torch.full((1, 2), 0.6), mem)
        ...
        >>> mem.detach()
        tensor([[0.6260, 0.6260]])

    Args:
        beta: decay of mem.
        graded_spikes_factor: what a spike counts, a number or a tensor of one a neuron; learnable.
            Default 1.
        The others: see the module.
    """

    late: Mapping[str, Dynamics] = membrane.LEAKY
    prompt: Mapping[str, Dynamics] | None = membrane.LEAKY_NOW

    @takes("learn_beta", "learn_graded_spikes_factor", "reset_delay", "reset_grad")
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
        reset_delay: bool = True,
        reset_grad: str = "detach",
    ) -> None:
        super().__init__(
            {"beta": beta},
            {"beta": learn_beta},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
            graded_spikes_factor,
            learn_graded_spikes_factor,
            reset_delay,
        )

    init_leaky = Neuron.reset_mem


class Synaptic(Fused):
    """With a synaptic current: ``spk, syn, mem = synaptic(x, syn, mem)``;
    ``syn' = alpha syn + x; mem' = beta mem + syn' - R threshold``.

    Example:
        >>> synaptic = snn.Synaptic(alpha=0.8, beta=0.9)
        >>> syn, mem = synaptic.init_synaptic()
        >>> spk, syn, mem = synaptic(torch.rand(4, 10), syn, mem)

    Args:
        alpha, beta: decay of syn and of mem.
        gradient: "surrogate" (default), or with reset_delay=False "eventprop"; see
            :class:`lavalike.snn.Neuron`.
        The others: see the module.
    """

    late: Mapping[str, Dynamics] = membrane.SYNAPTIC
    prompt: Mapping[str, Dynamics] | None = membrane.SYNAPTIC_NOW
    _arguments_of: Mapping[str, str] = {"alpha": "alpha", "beta": "beta", "threshold": "vth"}

    @takes("learn_alpha", "learn_beta", "reset_delay", "reset_grad", gradient=GRADIENT)
    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
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
            {"beta": beta, "alpha": alpha},
            {"beta": learn_beta, "alpha": learn_alpha},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
            reset_delay=reset_delay,
        )
        self.gradient = gradient

    init_synaptic = Neuron.reset_mem


class Alpha(Fused):
    """The alpha-shaped response: ``spk, syn_exc, syn_inh, mem = alpha(x, syn_exc, syn_inh, mem)``.

    ``exc' = alpha exc + x; inh' = beta inh - x; mem' = tau (exc' + inh')``,
    ``tau = ln alpha / (ln beta - ln alpha) + 1``.

    Example:
        >>> neuron = snn.Alpha(alpha=0.8, beta=0.7)
        >>> syn_exc, syn_inh, mem = neuron.init_alpha()
        >>> spk, syn_exc, syn_inh, mem = neuron(torch.rand(4, 10), syn_exc, syn_inh, mem)

    Args:
        alpha, beta: decay of syn_exc and of syn_inh, 0 < beta < alpha < 1. Learnt ones stay within
            1e-4..1 - 1e-4, beta 1e-4 below alpha.
        reset_mechanism: default "zero", of all three states; "subtract" lowers mem by the threshold
            in the one step after a spike (mem follows from the other two, which it leaves; snnTorch
            rewrites these).
        The others: see the module.
    """

    alpha: torch.Tensor

    late: Mapping[str, Dynamics] = membrane.ALPHA
    _arguments_of: Mapping[str, str] = {
        "alpha": "alpha",
        "beta": "beta",
        "tau": "tau",
        "threshold": "vth",
    }

    @takes("learn_alpha", "learn_beta", "reset_grad")
    def __init__(
        self,
        alpha: Any,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
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
            {"beta": beta, "alpha": alpha},
            {"beta": learn_beta, "alpha": learn_alpha},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
        )

    def _ordered(self, alpha: Any, beta: Any) -> None:
        a, b = as_numbers(alpha), as_numbers(beta)
        if a is None or b is None:
            raise InputTypeError(
                f"{self.label}: alpha and beta are numbers, got {shown(alpha)}, {shown(beta)}"
            )
        meta = any(isinstance(v, torch.Tensor) and v.is_meta for v in (alpha, beta))
        if not meta and not bool(((a > b) & (b > 0) & (a < 1)).all()):
            raise InputError(
                f"{self.label}: 0 < beta < alpha < 1 is needed, got alpha {alpha!r}, beta {beta!r}"
            )

    def _put(self, name: str, value: Any) -> None:
        if name in ("alpha", "beta"):
            self._checked(name, value)
            self._ordered(*(value if n == name else getattr(self, n) for n in ("alpha", "beta")))
        super()._put(name, value)

    def values(self) -> dict[str, torch.Tensor]:
        alpha, beta = self.alpha, self.beta
        if "alpha" in self._parameters:
            alpha = within(
                alpha,
                (2e-4, 1 - 1e-4),
                *([] if "beta" in self._parameters else [(beta.detach() + 1e-4, None)]),
            )
        if "beta" in self._parameters:
            beta = within(beta, (1e-4, None), (None, alpha.detach() - 1e-4))
        a, b = torch.log(alpha), torch.log(beta)
        return {"alpha": alpha, "beta": beta, "tau": a / (b - a) + 1, "vth": self._now("threshold")}

    init_alpha = Neuron.reset_mem


class Lapicque(Fused):
    """The RC circuit: ``spk, mem = lapicque(x, mem)``, ``beta = exp(-time_step / (R C))``.

    ``integrator="euler"``, snnTorch's: ``mem' = (1 - time_step / (R C)) mem + time_step / C x - R``
    ``threshold``, the reset. A step of more than R C, beta below 0.368, turns the sign of mem, and
    one of more than 2 R C, beta below 0.135, makes it grow.

    ``integrator="exact"``: ``mem' = beta mem + (1 - beta) R x``, the solution for an input that is
    constant over a step.

    Example:
        >>> lapicque = snn.Lapicque(R=5, C=1e-3, time_step=1e-3)
        >>> spk, mem = lapicque(torch.rand(4, 10), lapicque.init_lapicque())

    Args:
        beta, R, C, time_step: beta, or R and C; with beta and one of R and C the other follows;
            with beta alone R = 1, as in snnTorch. All may be set later: then beta follows from the
            others, and C from beta. A learnt beta leaves R, and C follows.
        integrator: "euler" (default) or "exact", the only one before version 0.5, whose checkpoints
            set it (beta alone then meant C = 1).
        The others: see the module.
    """

    R: torch.Tensor
    time_step: torch.Tensor
    integrator: str

    late: Mapping[str, Dynamics] = membrane.LAPICQUE
    _once = Fused._once | {"integrator"}
    _arguments_of: Mapping[str, str] = {"beta": "decay", "R": "gain", "threshold": "vth"}
    _renamed: Mapping[str, str] = {**Fused._renamed, "resistance": "R"}

    @takes("R", "C", "time_step", "learn_beta", "reset_grad", integrator=choice("euler", "exact"))
    def __init__(
        self,
        beta: Any = None,
        R: Any = None,
        C: Any = None,
        time_step: Any = 1,
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
        reset_grad: str = "detach",
        integrator: str = "euler",
    ) -> None:
        values = self._circuit(beta, R, C, time_step)
        super().__init__(
            values,
            {"beta": learn_beta},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
        )
        self.__dict__["integrator"] = integrator

    def _circuit(self, beta: Any, R: Any, C: Any, time_step: Any) -> dict[str, Any]:
        """beta, time_step, R and C, of which some follow."""
        beta, R, C = (None if v is None or v is False else v for v in (beta, R, C))
        if beta is None and (R is None or C is None):
            raise InputError(f"{self.label}: give beta, or R and C")
        step, r, c = (None if v is None else float(v) for v in (time_step, R, C))
        assert step is not None
        follows = None if r is None or c is None else math.exp(-step / (r * c))
        if beta is None:
            beta = follows
        numbers = as_numbers(beta)
        if numbers is None or numbers.dtype.kind not in "iuf":
            raise InputTypeError(
                f"{self.label}: beta is {NUMBERS.words}, got {shown(beta)} ({type(beta).__name__})"
            )
        meta = isinstance(beta, torch.Tensor) and beta.is_meta
        if not meta and not bool(((numbers > 0) & (numbers < 1)).all()):
            raise InputError(f"{self.label}: beta is in 0..1, both excluded, got {beta!r}")
        if follows is not None and not meta:
            if not np.isclose(numbers, follows, rtol=1e-5, atol=1e-8).all():
                raise InputError(
                    f"{self.label}: beta {beta!r} is not exp(-time_step / (R C)) = {follows:g}; give two of the three"
                )
        elif follows is None:
            # as the neuron computes it, where it is set later
            kept = torch.as_tensor(beta, dtype=torch.get_default_dtype()).detach()
            if c is None:
                R = 1.0 if r is None else r
                C = _other(step, R, kept)
            else:
                R, C = _other(step, c, kept), c
        return {"beta": beta, "time_step": step, "R": R, "C": C}

    def limits(self, name: str) -> tuple[float, float]:
        return (1e-6, 1 - 1e-6) if name == "beta" else super().limits(name)

    def __getattr__(self, name: str) -> Any:
        if name == "C" and "beta" in self.__dict__.get("_parameters", ()):
            self._buffers["C"] = self._capacitance().detach()
        return super().__getattr__(name)

    def _capacitance(self) -> torch.Tensor:
        """What follows from beta."""
        return _other(self.time_step, self.R, self._now("beta"))

    def _put(self, name: str, value: Any) -> None:
        learnt = "beta" in self._parameters
        if name == "C" and learnt:
            raise InputError(f"{self.label}: C follows from beta, which is learnt; set beta or R")
        super()._put(name, value)
        if name == "beta":
            self._buffers["C"] = self._capacitance().detach()
        elif name in ("R", "C", "time_step") and not learnt:
            self._buffers["beta"] = torch.exp(-self.time_step / (self.R * self.C))

    def values(self) -> dict[str, torch.Tensor]:
        R, learnt = self.R, "beta" in self._parameters
        if self.integrator == "exact":
            decay = self._now("beta")
            gain = (1 - decay) * R
        else:
            C = self._capacitance() if learnt else self.C
            decay, gain = 1 - self.time_step / (R * C), self.time_step / C
        return {"decay": decay, "gain": gain, "vth": self._now("threshold")}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep: bool) -> None:
        _ = self.C  # as it follows now
        super()._save_to_state_dict(destination, prefix, keep)
        if self.integrator == "exact":
            destination[f"{prefix}exact"] = torch.ones((), dtype=torch.bool)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *more: Any, **named: Any
    ) -> None:
        beta, R = (state_dict.get(prefix + n) for n in ("beta", "resistance"))
        if isinstance(beta, torch.Tensor) and isinstance(
            R, torch.Tensor
        ):  # of a version before 0.5
            state_dict[f"{prefix}C"] = _other(self.time_step, R, beta)
            state_dict[f"{prefix}exact"] = torch.ones(())
        if f"{prefix}threshold" in state_dict or f"{prefix}vth" in state_dict:
            exact = state_dict.pop(f"{prefix}exact", None) is not None
            self.__dict__["integrator"] = "exact" if exact else "euler"
        super()._load_from_state_dict(state_dict, prefix, *more, **named)

    def _renew(self) -> None:
        kept: dict[str, Any] = {**self._parameters, **self._buffers}
        step, R, beta = self.__dict__.pop("time_step"), kept["resistance"], kept["beta"].detach()
        self._buffers["time_step"] = torch.full_like(R, float(step))
        self._buffers["C"] = _other(step, R, beta)
        self.__dict__["integrator"] = "exact"
        super()._renew()

    init_lapicque = Neuron.reset_mem


def _other(time_step: Any, one: Any, beta: torch.Tensor) -> torch.Tensor:
    """Of R and C the one, where there is the other."""
    return time_step / (one * torch.log(1 / beta))


class DeltaLeaky(Leaky):
    """Spikes where the membrane changes by more than ``delta_threshold`` in a step, either way:
    ``spk, (mem, mem_prev) = delta(x, (mem, mem_prev))``; ``mem' = beta mem + x``, which no spike
    resets. ``mem_prev`` is the membrane before.

    Example:
        >>> delta = snn.DeltaLeaky(beta=0.9)
        >>> out = delta(torch.rand(4, 10), delta.reset_mem())

    Args:
        delta_threshold: >= 0, a number or a tensor of one a neuron. Default 1.
        beta: decay of mem.
        init_hidden: the states stay in the layer; it returns the same pair as ever, as in snnTorch.
        graded_spikes_factor: see Leaky.
        threshold, learn_threshold, reset_mechanism, inhibition, state_quant, output, reset_delay:
            Leaky's, which say nothing here (an InputError where they are changed).
        The others: see the module.
    """

    late: Mapping[str, Dynamics] = {"none": membrane.DELTA}
    prompt = None
    _resets = False
    _arguments_of: Mapping[str, str] = {"beta": "beta", "delta_threshold": "step"}

    @takes("learn_beta", "learn_graded_spikes_factor", "reset_delay", "reset_grad")
    def __init__(
        self,
        delta_threshold: Any = 1.0,
        beta: Any = None,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "none",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        reset_grad: str = "detach",
    ) -> None:
        if beta is None:
            raise InputTypeError(f"{self.label}: beta is {NUMBERS.words}, and has no default")
        NUMBERS.check(self.label, "threshold", threshold)
        for name, changed in (
            ("threshold", not is_real(threshold) or threshold != 1),
            ("learn_threshold", learn_threshold),
            ("reset_delay", not reset_delay),
            ("inhibition", inhibition),
            ("state_quant", state_quant),
        ):
            if changed:
                raise InputError(
                    f"{self.label}: {name} says nothing here, since changes of mem spike and reset nothing; leave it out"
                )
        Fused.__init__(
            self,
            {"beta": beta},
            {"beta": learn_beta},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )
        self._keep("delta_threshold", delta_threshold, False, persistent=False)

    def _together(self, inhibition: bool, state_quant: Any) -> None:
        if inhibition or state_quant is not None:
            name = "inhibition" if inhibition else "state_quant"
            raise InputError(f"{self.label}: {name} says nothing here, where changes of mem spike")

    def forward(self, input_: torch.Tensor, mem: Sequence[State] | None = None) -> Any:  # type: ignore[override]  # its states come as a pair
        """A step: ``(spk, (mem, mem_prev))``; without init_hidden ``mem`` is the pair before, of
        tensors or None for zeros."""
        if self.init_hidden and mem is not None:
            raise InputTypeError(
                f"{self.label}: with init_hidden=True a call takes the input alone"
            )
        if not self.init_hidden and (
            not isinstance(mem, tuple | list) or len(mem) != len(self.state_names)
        ):
            raise InputTypeError(
                f"{self.label}: a call takes the input and the pair (mem, mem_prev), which reset_mem() begins; "
                f"got {shown(mem)}"
            )
        states = mem if mem is not None else self._hidden or (None, None)
        spk, *after = self.step(input_, list(states))
        if self.init_hidden:
            self._hidden = tuple(after)
        return spk, tuple(after)

    init_deltaleaky = Neuron.reset_mem


class _Recurrent(Fused):
    """Spikes that come back one step later: through a dense or convolutional layer (all_to_all), or
    each to its own neuron, times V."""

    output_is_state = True
    all_to_all: bool
    recurrent: nn.Linear | nn.Conv2d
    V: torch.Tensor

    def __init__(
        self,
        V: Any,
        all_to_all: bool,
        linear_features: int | None,
        conv2d_channels: int | None,
        kernel_size: Any,
        learn_recurrent: bool,
        values: dict[str, Any],
        learn: dict[str, bool],
        *more: Any,
        reset_delay: bool,
    ) -> None:
        if all_to_all and (linear_features is None) == (conv2d_channels is None):
            raise InputTypeError(
                f"{self.label}: with all_to_all give linear_features, or conv2d_channels and kernel_size"
            )
        if not all_to_all and (
            linear_features is not None or conv2d_channels is not None or kernel_size is not None
        ):
            raise InputTypeError(
                f"{self.label}: linear_features, conv2d_channels and kernel_size belong to all_to_all=True"
            )
        if all_to_all and (not is_real(V) or isinstance(V, torch.Tensor) or V != 1.0):
            if not isinstance(V, torch.Tensor):
                NUMBERS.check(self.label, "V", V)
            raise InputError(
                f"{self.label}: V is the factor of a neuron's own spike and belongs to all_to_all=False, got {shown(V)}"
            )
        if (conv2d_channels is None) != (kernel_size is None):
            raise InputTypeError(f"{self.label}: conv2d_channels and kernel_size belong together")
        super().__init__(values, learn, *more, reset_delay=reset_delay)  # type: ignore[misc]  # not among them
        self.__dict__["all_to_all"] = bool(all_to_all)
        self._keep(
            "V", 0.0 if all_to_all else V, learn_recurrent and not all_to_all, not all_to_all
        )
        if all_to_all:
            if linear_features is not None:
                self.recurrent = nn.Linear(linear_features, linear_features)
            else:
                channels: Any = conv2d_channels
                self.recurrent = nn.Conv2d(channels, channels, kernel_size, padding="same")
            self.recurrent.requires_grad_(learn_recurrent)

    def limits(self, name: str) -> tuple[float, float]:
        # what comes back are spikes as they are: another factor is V's, or the layer's weights'
        return (1.0, 1.0) if name == "graded_spikes_factor" else super().limits(name)

    @property
    def _stepwise(self) -> bool:
        return self.all_to_all or super()._stepwise

    def _joined(self, now: torch.Tensor, after: Sequence[State]) -> torch.Tensor:
        if not self.all_to_all:
            return now
        spk = after[0]
        assert spk is not None
        return now + self.recurrent(spk.to(self.recurrent.weight.dtype)).to(now.dtype)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *more: Any, **named: Any
    ) -> None:
        if self.all_to_all:
            state_dict.pop(f"{prefix}V", None)  # of a version before 0.5, which kept a zero
        elif f"{prefix}recurrent.V" in state_dict:  # snnTorch has it twice
            state_dict.setdefault(f"{prefix}V", state_dict.pop(f"{prefix}recurrent.V"))
        super()._load_from_state_dict(state_dict, prefix, *more, **named)

    def _renew(self) -> None:
        if self.all_to_all:
            self._non_persistent_buffers_set.add("V")
        super()._renew()


class RLeaky(_Recurrent):
    """Leaky with recurrence: ``spk, mem = rleaky(x, spk, mem)``; ``V(spk)``, of the last step's
    spikes, joins x. "zero" resets mem to 0.

    Example:
        >>> leaky = snn.RLeaky(beta=0.9, linear_features=10)
        >>> spk, mem = leaky.init_rleaky()
        >>> spk, mem = leaky(torch.rand(4, 10), spk, mem)

    Args:
        V: factor of each neuron's own spike, with all_to_all=False; a number or a tensor of one a
            neuron. Default 1.
        all_to_all: recurrence through a layer (default) or of each neuron to itself.
        linear_features: neurons of a dense layer. conv2d_channels, kernel_size: of a convolution.
            The layer is ``recurrent``.
        learn_recurrent: train the recurrence. Default True.
        The others: see the module.
    """

    late: Mapping[str, Dynamics] = membrane.RLEAKY
    prompt: Mapping[str, Dynamics] | None = membrane.RLEAKY_NOW
    _arguments_of: Mapping[str, str] = {"beta": "beta", "V": "V", "threshold": "vth"}

    @takes(
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
        spike_grad: Callable[..., torch.Tensor] | None = None,
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
            V,
            all_to_all,
            linear_features,
            conv2d_channels,
            kernel_size,
            learn_recurrent,
            {"beta": beta},
            {"beta": learn_beta},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
            reset_delay=reset_delay,
        )

    init_rleaky = Neuron.reset_mem


class RSynaptic(_Recurrent):
    """Synaptic with recurrence: ``spk, syn, mem = rsynaptic(x, spk, syn, mem)``. Arguments: see
    RLeaky and Synaptic.

    Example:
        >>> neuron = snn.RSynaptic(alpha=0.8, beta=0.9, linear_features=10)
        >>> spk, syn, mem = neuron.init_rsynaptic()
        >>> spk, syn, mem = neuron(torch.rand(4, 10), spk, syn, mem)
    """

    late: Mapping[str, Dynamics] = membrane.RSYNAPTIC
    prompt: Mapping[str, Dynamics] | None = membrane.RSYNAPTIC_NOW
    _arguments_of: Mapping[str, str] = {
        "alpha": "alpha",
        "beta": "beta",
        "V": "V",
        "threshold": "vth",
    }

    @takes(
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
        spike_grad: Callable[..., torch.Tensor] | None = None,
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
            V,
            all_to_all,
            linear_features,
            conv2d_channels,
            kernel_size,
            learn_recurrent,
            {"beta": beta, "alpha": alpha},
            {"beta": learn_beta, "alpha": learn_alpha},
            threshold,
            spike_grad,
            surrogate_disable,
            init_hidden,
            inhibition,
            learn_threshold,
            reset_mechanism,
            state_quant,
            output,
            reset_grad,
            reset_delay=reset_delay,
        )

    init_rsynaptic = Neuron.reset_mem
