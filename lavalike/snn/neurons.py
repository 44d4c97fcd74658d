"""Leaky, Synaptic, Alpha, Lapicque and their recurrent forms, in snnTorch's words (equations: :mod:`lavalike.dynamics.membrane`).

Common arguments:
    beta, alpha: decay factors in 0..1, a number or a tensor of one a neuron; outside it is an error (snnTorch clamps).
    threshold: > 0, likewise; a spike is ``mem > threshold``. Default 1.
    spike_grad: a surrogate. Default ``surrogate.atan()``, as in snnTorch today; the older tutorials' is
        ``surrogate.straight_through_estimator()``.
    surrogate_disable: spikes have no gradient at all. Default False.
    init_hidden, output: see :class:`lavalike.snn.Neuron`. A state of another shape than the input is an error (snnTorch begins anew).
    learn_...: train the parameter; it stays within its range.
    reset_mechanism: "subtract" (default), "zero" or "none". A reset happens in the step after the spike.
    reset_delay: False resets in the step of the spike itself. Default True. (snnTorch differentiates such a reset: that is
        reset_grad="full" here. Where a membrane is above the threshold after its reset, snnTorch takes the threshold off before it
        compares; here every step that ends above it spikes.)
    reset_grad: what resets are differentiated to: "detach" (default, as in snnTorch), "full" or "slayer".
    inhibition, state_quant: not available; True raises.

States are named as in snnTorch, and may be given by name. ``init_leaky()`` and the like are ``reset_mem()``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lavalike.backends.torch.surrogate import Atan, Surrogate, as_surrogate
from lavalike.dynamics import Dynamics, membrane
from lavalike.errors import InputError
from lavalike.snn import record as recording
from lavalike.snn.neuron import Neuron, State, Stateful

LEAST = 1e-6  # of a threshold


@dataclass(frozen=True)
class _NoGradient(Surrogate):
    """0 everywhere."""

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def _surrogate(label: str, spike_grad: Surrogate | None, surrogate_disable: bool) -> Surrogate:
    if surrogate_disable:
        if spike_grad is not None:
            raise InputError(f"{label}: give spike_grad or surrogate_disable, not both")
        return _NoGradient()
    return Atan() if spike_grad is None else as_surrogate(spike_grad)


def _refuse(label: str, inhibition: bool, state_quant: Any) -> None:
    if inhibition or state_quant:
        raise InputError(f"{label}: {'inhibition' if inhibition else 'state_quant'} is not available; leave it False")


class _Spiking(Neuron):
    """What the neurons of this file share. ``values`` and ``learn`` have the step's own names, in which the threshold is vth."""

    def __init__(self, kinds: Mapping[str, Dynamics], reset_mechanism: str, values: Mapping[str, Any], learn: Mapping[str, bool],
                 spike_grad: Surrogate | None, surrogate_disable: bool, init_hidden: bool, inhibition: bool, state_quant: Any,
                 output: bool, reset_grad: str) -> None:
        if reset_mechanism not in kinds:
            raise InputError(f"{self.label}: reset_mechanism is one of {', '.join(kinds)}, got {reset_mechanism!r}")
        _refuse(self.label, inhibition, state_quant)
        super().__init__(kinds[reset_mechanism], values, [n for n, yes in learn.items() if yes],
                         _surrogate(self.label, spike_grad, surrogate_disable), reset_grad, init_hidden, output)
        self.reset_mechanism = reset_mechanism

    def limits(self, name: str) -> tuple[float, float]:
        return {"alpha": (0.0, 1.0), "beta": (0.0, 1.0), "vth": (LEAST, math.inf)}.get(name, (-math.inf, math.inf))

    def called(self, name: str) -> str:
        return "threshold" if name == "vth" else name

    @property
    def threshold(self) -> torch.Tensor:
        return self.vth


class Leaky(_Spiking):
    """Leaky integrate-and-fire: ``spk, mem = leaky(x, mem)``; ``mem' = beta mem + x - R threshold``.

    Args:
        beta: decay of mem.
        graded_spikes_factor: what a spike counts, a number or a tensor of one a neuron; learnable. Default 1.
        The others: see the module.
    """

    def __init__(self, beta: Any, threshold: Any = 1.0, spike_grad: Surrogate | None = None, surrogate_disable: bool = False,
                 init_hidden: bool = False, inhibition: bool = False, learn_beta: bool = False, learn_threshold: bool = False,
                 reset_mechanism: str = "subtract", state_quant: Any = False, output: bool = False, graded_spikes_factor: Any = 1.0,
                 learn_graded_spikes_factor: bool = False, reset_delay: bool = True, reset_grad: str = "detach") -> None:
        super().__init__(membrane.LEAKY if reset_delay else membrane.LEAKY_NOW, reset_mechanism, {"beta": beta, "vth": threshold},
                         {"beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden, inhibition, state_quant,
                         output, reset_grad)
        factor = torch.as_tensor(graded_spikes_factor, dtype=torch.get_default_dtype()).detach().clone()
        self._graded = learn_graded_spikes_factor or bool((factor != 1).any())
        self.graded_spikes_factor: torch.Tensor
        if learn_graded_spikes_factor:
            self.graded_spikes_factor = nn.Parameter(factor)
        else:
            self.register_buffer("graded_spikes_factor", factor)

    def sequence(self, x: torch.Tensor, *states: State, record: Sequence[str] = (), steps: int | None = None) -> Any:
        outputs, after = super().sequence(x, *states, record=record, steps=steps)
        if self._graded:
            outputs["s_out"] = outputs["s_out"] * self.graded_spikes_factor.to(x.dtype)
        return outputs, after

    init_leaky = Neuron.reset_mem


class Synaptic(_Spiking):
    """With a synaptic current: ``spk, syn, mem = synaptic(x, syn, mem)``; ``syn' = alpha syn + x; mem' = beta mem + syn' - R threshold``.

    Args:
        alpha, beta: decay of syn and of mem.
        The others: see the module.
    """

    def __init__(self, alpha: Any, beta: Any, threshold: Any = 1.0, spike_grad: Surrogate | None = None, surrogate_disable: bool = False,
                 init_hidden: bool = False, inhibition: bool = False, learn_alpha: bool = False, learn_beta: bool = False,
                 learn_threshold: bool = False, reset_mechanism: str = "subtract", state_quant: Any = False, output: bool = False,
                 reset_delay: bool = True, reset_grad: str = "detach") -> None:
        super().__init__(membrane.SYNAPTIC if reset_delay else membrane.SYNAPTIC_NOW, reset_mechanism,
                         {"alpha": alpha, "beta": beta, "vth": threshold},
                         {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden,
                         inhibition, state_quant, output, reset_grad)

    init_synaptic = Neuron.reset_mem


class Alpha(_Spiking):
    """The alpha-shaped response: ``spk, syn_exc, syn_inh, mem = alpha(x, syn_exc, syn_inh, mem)``.

    ``exc' = alpha exc + x; inh' = beta inh - x; mem' = tau (exc' + inh')``, ``tau = ln alpha / (ln beta - ln alpha) + 1``.

    Args:
        alpha, beta: decay of syn_exc and of syn_inh, 0 < beta < alpha < 1. Learnt ones stay within 1e-4..1 - 1e-4, beta 1e-4 below alpha.
        reset_mechanism: default "zero", of all three states; "subtract" lowers mem by the threshold in the one step after a
            spike (mem follows from the other two, which it leaves; snnTorch rewrites these).
        The others: see the module.
    """

    def __init__(self, alpha: Any, beta: Any, threshold: Any = 1.0, spike_grad: Surrogate | None = None, surrogate_disable: bool = False,
                 init_hidden: bool = False, inhibition: bool = False, learn_alpha: bool = False, learn_beta: bool = False,
                 learn_threshold: bool = False, reset_mechanism: str = "zero", state_quant: Any = False, output: bool = False,
                 reset_grad: str = "detach") -> None:
        a, b = torch.as_tensor(alpha), torch.as_tensor(beta)
        if not bool(((a > b) & (b > 0) & (a < 1)).all()):
            raise InputError(f"{self.label}: 0 < beta < alpha < 1 is needed, got alpha {alpha!r}, beta {beta!r}")
        super().__init__(membrane.ALPHA, reset_mechanism, {"alpha": alpha, "beta": beta, "tau": 1.0, "vth": threshold},
                         {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden,
                         inhibition, state_quant, output, reset_grad)
        del self.tau  # follows from alpha and beta

    def values(self) -> dict[str, torch.Tensor]:
        alpha, beta = self.alpha.data, self.beta.data  # see Neuron.values
        if isinstance(self.alpha, nn.Parameter):
            alpha.clamp_(2e-4, 1 - 1e-4)
            if not isinstance(self.beta, nn.Parameter):
                alpha.clamp_(min=beta + 1e-4)
        if isinstance(self.beta, nn.Parameter):
            beta.clamp_(torch.tensor(1e-4, device=beta.device), alpha - 1e-4)
        if isinstance(self.vth, nn.Parameter):
            self.vth.data.clamp_(*self._limits["vth"])
        a, b = torch.log(self.alpha), torch.log(self.beta)
        return {"alpha": self.alpha, "beta": self.beta, "tau": a / (b - a) + 1, "vth": self.vth}

    init_alpha = Neuron.reset_mem


class Lapicque(_Spiking):
    """The RC circuit: ``spk, mem = lapicque(x, mem)``; ``mem' = beta mem + (1 - beta) R x - reset``, ``beta = exp(-time_step / (R C))``.

    This is the exact solution for an input that is constant over a step: without input a membrane decays by beta
    a step (snnTorch's Euler step decays by 1 + ln beta, which is negative for small beta).

    Args:
        beta, R, C, time_step: beta, or R and C; with beta and one of R and C the other follows; with beta alone C = 1.
            Learning beta leaves R.
        The others: see the module.
    """

    def __init__(self, beta: Any = None, R: float | None = None, C: float | None = None, time_step: float = 1, threshold: Any = 1.0,
                 spike_grad: Surrogate | None = None, surrogate_disable: bool = False, init_hidden: bool = False, inhibition: bool = False,
                 learn_beta: bool = False, learn_threshold: bool = False, reset_mechanism: str = "subtract", state_quant: Any = False,
                 output: bool = False, reset_grad: str = "detach") -> None:
        if not time_step > 0 or any(v is not None and not v > 0 for v in (R, C)):
            raise InputError(f"{self.label}: R, C and time_step are > 0, got {R!r}, {C!r}, {time_step!r}")
        from_rc = None if R is None or C is None else math.exp(-time_step / (R * C))
        if beta is None:
            beta = from_rc
        if beta is None:
            raise InputError(f"{self.label}: give beta, or R and C")
        decay = torch.as_tensor(beta, dtype=torch.float64).detach()
        if not bool(((decay > 0) & (decay < 1)).all()):
            raise InputError(f"{self.label}: beta is in 0..1, both excluded, got {beta!r}")
        if from_rc is not None and not bool(torch.isclose(decay, torch.tensor(from_rc, dtype=torch.float64)).all()):
            raise InputError(f"{self.label}: beta {beta!r} is not exp(-time_step / (R C)) = {from_rc:g}; give two of the three")
        resistance = R if R is not None else -time_step / ((1.0 if C is None else C) * torch.log(decay))
        super().__init__(membrane.LAPICQUE, reset_mechanism, {"beta": beta, "resistance": resistance, "vth": threshold},
                         {"beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden, inhibition, state_quant,
                         output, reset_grad)
        self.time_step = time_step

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
    """Spikes that come back one step later: through a dense or convolutional layer (all_to_all), or each to its own neuron, times V."""

    output_is_state = True

    def __init__(self, kinds: Mapping[str, Dynamics], V: Any, all_to_all: bool, linear_features: int | None, conv2d_channels: int | None,
                 kernel_size: Any, learn_recurrent: bool, reset_mechanism: str, values: dict[str, Any], learn: dict[str, bool],
                 *more: Any) -> None:
        if all_to_all and (linear_features is None) == (conv2d_channels is None):
            raise InputError(f"{self.label}: with all_to_all give linear_features, or conv2d_channels and kernel_size")
        if not all_to_all and (linear_features is not None or conv2d_channels is not None or kernel_size is not None):
            raise InputError(f"{self.label}: linear_features, conv2d_channels and kernel_size belong to all_to_all=True")
        if (conv2d_channels is None) != (kernel_size is None):
            raise InputError(f"{self.label}: conv2d_channels and kernel_size belong together")
        super().__init__(kinds, reset_mechanism, values | {"V": 0.0 if all_to_all else V},
                         learn | {"V": learn_recurrent and not all_to_all}, *more)
        self.all_to_all = all_to_all
        if all_to_all:
            self.recurrent: nn.Module = (nn.Linear(linear_features, linear_features) if linear_features is not None
                                         else nn.Conv2d(conv2d_channels, conv2d_channels, kernel_size, padding="same"))  # type: ignore[arg-type]
            self.recurrent.requires_grad_(learn_recurrent)

    def sequence(self, x: torch.Tensor, *states: State, record: Sequence[str] = (), steps: int | None = None) -> Any:
        if not self.all_to_all:
            return super().sequence(x, *states, record=record, steps=steps)
        if steps is not None:
            x = x.expand(steps, *x.shape[1:])
        given = (*states, *[None] * (len(self.state_names) - len(states)))
        after = tuple(s if s is not None and s.numel() else x.new_zeros(x.shape[1:]) for s in given)
        rows: list[dict[str, torch.Tensor]] = []
        for now in x.unbind(0):
            joined = now + self.recurrent(after[0].to(self.recurrent.weight.dtype)).to(now.dtype)
            out, after = super().sequence(joined.unsqueeze(0), *after, record=record)
            rows.append(out)
        if not rows:
            raise InputError(f"{self.label}: input has shape {tuple(x.shape)}: no steps")
        return {n: torch.cat([r[n] for r in rows]) for n in rows[0]}, after


class RLeaky(_Recurrent):
    """Leaky with recurrence: ``spk, mem = rleaky(x, spk, mem)``; ``V(spk)``, of the last step's spikes, joins x. "zero" resets mem to 0.

    Args:
        V: factor of each neuron's own spike, with all_to_all=False; a number or a tensor of one a neuron. Default 1.
        all_to_all: recurrence through a layer (default) or of each neuron to itself.
        linear_features: neurons of a dense layer. conv2d_channels, kernel_size: of a convolution. The layer is ``recurrent``.
        learn_recurrent: train the recurrence. Default True.
        The others: see the module.
    """

    def __init__(self, beta: Any, V: Any = 1.0, all_to_all: bool = True, linear_features: int | None = None,
                 conv2d_channels: int | None = None, kernel_size: Any = None, threshold: Any = 1.0, spike_grad: Surrogate | None = None,
                 surrogate_disable: bool = False, init_hidden: bool = False, inhibition: bool = False, learn_beta: bool = False,
                 learn_threshold: bool = False, learn_recurrent: bool = True, reset_mechanism: str = "subtract", state_quant: Any = False,
                 output: bool = False, reset_delay: bool = True, reset_grad: str = "detach") -> None:
        super().__init__(membrane.RLEAKY if reset_delay else membrane.RLEAKY_NOW, V, all_to_all, linear_features, conv2d_channels,
                         kernel_size, learn_recurrent, reset_mechanism, {"beta": beta, "vth": threshold},
                         {"beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden, inhibition, state_quant,
                         output, reset_grad)

    init_rleaky = Neuron.reset_mem


class RSynaptic(_Recurrent):
    """Synaptic with recurrence: ``spk, syn, mem = rsynaptic(x, spk, syn, mem)``. Arguments: see RLeaky and Synaptic."""

    def __init__(self, alpha: Any, beta: Any, V: Any = 1.0, all_to_all: bool = True, linear_features: int | None = None,
                 conv2d_channels: int | None = None, kernel_size: Any = None, threshold: Any = 1.0, spike_grad: Surrogate | None = None,
                 surrogate_disable: bool = False, init_hidden: bool = False, inhibition: bool = False, learn_alpha: bool = False,
                 learn_beta: bool = False, learn_threshold: bool = False, learn_recurrent: bool = True, reset_mechanism: str = "subtract",
                 state_quant: Any = False, output: bool = False, reset_delay: bool = True, reset_grad: str = "detach") -> None:
        super().__init__(membrane.RSYNAPTIC if reset_delay else membrane.RSYNAPTIC_NOW, V, all_to_all, linear_features, conv2d_channels,
                         kernel_size, learn_recurrent, reset_mechanism, {"alpha": alpha, "beta": beta, "vth": threshold},
                         {"alpha": learn_alpha, "beta": learn_beta, "vth": learn_threshold}, spike_grad, surrogate_disable, init_hidden,
                         inhibition, state_quant, output, reset_grad)

    init_rsynaptic = Neuron.reset_mem


class SLSTM(Stateful):
    """A long short-term memory whose output spikes: ``spk, syn, mem = slstm(x, syn, mem)``, with syn the cell's c and mem its h.

    States are of shape (batch, hidden_size) and last for as long as they are passed on, whatever input_size (snnTorch takes the input's
    shape for theirs, and where the two differ begins at 0 in every step).

    Args:
        input_size, hidden_size: of x (batch, input_size) and of the states.
        bias: of the cell, ``lstm_cell``. Default True.
        reset_mechanism: of mem: "none" (default), "subtract" or "zero", in the step after the spike.
        The others: see the module.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, threshold: Any = 1.0, spike_grad: Surrogate | None = None,
                 surrogate_disable: bool = False, init_hidden: bool = False, inhibition: bool = False, learn_threshold: bool = False,
                 reset_mechanism: str = "none", state_quant: Any = False, output: bool = False) -> None:
        super().__init__(("syn", "mem"), init_hidden, output)
        if reset_mechanism not in ("none", "subtract", "zero"):
            raise InputError(f"{self.label}: reset_mechanism is one of none, subtract, zero, got {reset_mechanism!r}")
        _refuse(self.label, inhibition, state_quant)
        value = torch.as_tensor(threshold, dtype=torch.get_default_dtype()).detach().clone()
        if not bool((value >= LEAST).all()):
            raise InputError(f"{self.label}: threshold is in {LEAST:g}..inf, got {threshold!r}")
        self.threshold: torch.Tensor
        if learn_threshold:
            self.threshold = nn.Parameter(value)
        else:
            self.register_buffer("threshold", value)
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size, bias)
        self.reset_mechanism = reset_mechanism
        self.spike_grad = _surrogate(self.label, spike_grad, surrogate_disable)

    def step(self, x: torch.Tensor, states: Sequence[State]) -> tuple[torch.Tensor, ...]:
        if recording.current() is not None:
            raise InputError(f"accelerate: {self.label} cannot be folded: its states go through its weights in every step; train such a "
                             "network with the plain loop")
        cell = self.lstm_cell
        if not isinstance(x, torch.Tensor) or x.dim() != 2 or x.shape[1] != cell.input_size or x.dtype != cell.weight_ih.dtype:
            got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise InputError(f"{self.label}: the input of a step is (batch, {cell.input_size}), {cell.weight_ih.dtype}; got {got}")
        shape = (len(x), cell.hidden_size)
        self.check_states(shape, states)
        syn, mem = (x.new_zeros(shape) if s is None or not s.numel() else s for s in states)
        if isinstance(self.threshold, nn.Parameter):
            self.threshold.data.clamp_(min=LEAST)  # see Neuron.values
        fired = (mem > self.threshold).to(mem.dtype).detach()
        mem, syn = cell(x, (mem, syn))
        if self.reset_mechanism == "subtract":
            mem = mem - fired * self.threshold
        elif self.reset_mechanism == "zero":
            mem = mem * (1 - fired)
        return self.spike_grad(mem - self.threshold), syn, mem

    init_slstm = Stateful.reset_mem
