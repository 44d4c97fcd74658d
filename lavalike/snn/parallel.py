"""Neurons that no spike resets: their membranes are sums over time, so a call takes all steps at
once, (time, batch, ...). StateLeaky, LinearLeaky, LeakyParallel, AssociativeLeaky, in snnTorch's
words (equations: :mod:`lavalike.dynamics.membrane`)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lavalike import fused
from lavalike.arguments import (
    FLAG,
    Rule,
    arguments,
    as_numbers,
    instance,
    integer,
    optional,
    real,
    shown,
)
from lavalike.dynamics import Dynamics, membrane
from lavalike.errors import InputError, InputTypeError, NotAvailableError
from lavalike.snn import record as recording
from lavalike.snn.neuron import NUMBERS
from lavalike.snn.spiking import LIF, SpikingNeuron, only
from lavalike.snn.surrogate import atan

_SUM = fused.Training(atan())
_PLACE = {
    "device": Rule(
        "a torch device", lambda v: v is None or isinstance(v, str | int | torch.device)
    ),
    "dtype": optional(instance(torch.dtype, words="a torch dtype")),
}


class _Summed(SpikingNeuron):
    """Membranes of all steps in one fused loop, spikes of all of them at once."""

    _resets = False
    _axes = "(time, batch, channels)"

    def fire_inhibition(self, batch_size: int, mem: torch.Tensor) -> torch.Tensor:
        """NotAvailableError, which is a NotImplementedError: all steps are computed at once."""
        raise NotAvailableError(
            f"{self.label}: inhibition is among the neurons of a step, and all steps are computed at once; use snn.Leaky"
        )

    def mem_reset(self, mem: torch.Tensor) -> torch.Tensor:
        """NotAvailableError, which is a NotImplementedError: no spike resets the membrane."""
        raise NotAvailableError(
            f"{self.label}: its membrane is a sum over time, which no spike resets; use snn.Leaky"
        )

    def _together(self, inhibition: bool, state_quant: Any) -> None:
        if inhibition:
            self.fire_inhibition(0, self.threshold)

    def _looked(self, x: Any, size: int, axes: int = 3) -> torch.Tensor:
        """``x``, (time, batch, size) of floating-point numbers; InputError otherwise."""
        if recording.current() is not None:
            raise InputError(
                f"accelerate: {self.label} takes all steps at once, so nothing is to be folded; call the network as it is"
            )
        if not isinstance(x, torch.Tensor):
            raise InputTypeError(
                f"{self.label}: the input is a tensor {self._axes}, got {shown(x)} ({type(x).__name__})"
            )
        if x.dim() != axes or x.shape[-1] != size or not x.is_floating_point():
            raise InputError(
                f"{self.label}: the input is floating-point {self._axes}, {size} of the last; got {tuple(x.shape)}, {x.dtype}"
            )
        return x

    def _decays(self, beta: Any, size: int, each: str, rule: Rule = NUMBERS) -> np.ndarray:
        """``beta`` as numbers in 0..1, one or one for ``each`` of ``size``; an error otherwise."""
        numbers = as_numbers(beta.detach() if isinstance(beta, torch.Tensor) else beta)
        if numbers is None or numbers.dtype.kind not in "iuf":
            raise InputTypeError(
                f"{self.label}: beta is {rule.words}, got {shown(beta)} ({type(beta).__name__})"
            )
        if not bool(((numbers >= 0) & (numbers <= 1)).all()):
            raise InputError(f"{self.label}: beta is in 0..1, got {shown(beta)}")
        if numbers.shape not in ((), (1,), (size,)):
            raise InputError(
                f"{self.label}: beta is one number or one a {each}, ({size},), got shape {numbers.shape}"
            )
        return numbers

    @staticmethod
    def _membrane(
        dynamics: Dynamics,
        inputs: Mapping[str, torch.Tensor],
        parameters: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        return fused.scan(dynamics, _SUM, inputs, parameters).outputs["mem_out"]


class StateLeaky(_Summed, LIF):
    """A leaky integrator without reset: ``spk, mem = stateleaky(x)`` of all steps x
    (time, batch, channels), ``mem[t] = sum of exp(-k / tau) x[t - k]``, ``tau = 1 / (1 - beta)``.

    A step leaves ``exp(-1 / tau)`` of mem, as snnTorch's documentation, code and tests have it:
    that is not beta, but 0.905 for beta = 0.9, 0.607 for 0.5. The sum is one loop over time, not a
    convolution, so it costs the same per step however long the sequence.

    Example:
        >>> layer = snn.StateLeaky(beta=0.9, channels=10)
        >>> spk, mem = layer(torch.rand(50, 4, 10))

    Args:
        beta: in 0..1, one number or one a channel.
        channels: of x.
        threshold: a spike is ``mem > threshold``. Default 1.
        spike_grad, surrogate_disable, learn_threshold, state_quant: see
            :mod:`lavalike.snn.neurons`; mem is quantised after the sum.
        learn_beta: train ``tau``. Default False.
        output: return spikes and membranes (default), or with False the membranes alone; a
            UserWarning where something is said about spikes that are then none.
        graded_spikes_factor: what a spike counts, once (snnTorch multiplies it twice). Default 1.
        learn_graded_spikes_factor: train it. Default False.
        kernel_truncation_steps: only so many last steps count. Default None: all.

    ``beta`` may be read and set; the parameter is ``tau``.
    """

    tau: torch.Tensor
    _dropped = ("beta",)  # of which tau is made

    @only(
        "channels",
        "spike_grad",
        "surrogate_disable",
        "learn_beta",
        "learn_threshold",
        "state_quant",
        "output",
        "learn_graded_spikes_factor",
        kernel_truncation_steps=optional(integer(1)),
    )
    def __init__(
        self,
        beta: Any,
        channels: int,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        state_quant: Any = False,
        output: bool = True,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        kernel_truncation_steps: int | None = None,
    ) -> None:
        self._own(
            (),
            threshold,
            spike_grad,
            surrogate_disable,
            False,
            False,
            learn_threshold,
            "none",
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
        )
        self._keep("tau", self._tau(beta, channels), learn_beta)
        self.__dict__.update(
            channels=channels, kernel_truncation_steps=kernel_truncation_steps
        )  # chosen once
        told = {
            "spike_grad": spike_grad is not None,
            "surrogate_disable": surrogate_disable,
            "learn_threshold": learn_threshold,
            "learn_graded_spikes_factor": learn_graded_spikes_factor,
            "graded_spikes_factor": bool((torch.as_tensor(graded_spikes_factor) != 1).any()),
        }
        if not output and any(told.values()):
            names = ", ".join(n for n, said in told.items() if said)
            warnings.warn(
                f"{self.label}: output=False gives membranes and no spikes, of which {names} speaks",
                UserWarning,
                stacklevel=2,
            )

    channels: int
    kernel_truncation_steps: int | None
    _once = LIF._once | {"channels", "kernel_truncation_steps"}

    def _tau(self, beta: Any, channels: int) -> torch.Tensor:
        self._decays(beta, channels, "channel")
        if isinstance(beta, torch.Tensor) and beta.requires_grad:
            raise InputError(
                f"{self.label}: beta requires a gradient, but a neuron keeps a copy; learn_beta trains that"
            )
        return 1 / (1 - torch.as_tensor(beta, dtype=torch.get_default_dtype()) + 1e-12)

    @property
    def beta(self) -> torch.Tensor:
        """``(tau - 1) / tau``; may be set."""
        return (self.tau - 1) / self.tau

    @beta.setter
    def beta(self, value: Any) -> None:
        self.tau = self._tau(value, self.channels)

    def _over_time(self, x: torch.Tensor) -> torch.Tensor:
        left = torch.exp(-1 / self._now("tau"))  # of mem, by a step
        window = self.kernel_truncation_steps
        if window is not None and window < len(x):  # what leaves it is taken off as it leaves
            gone = (left**window).to(x.dtype) * x[:-window]
            x = torch.cat([x[:window], x[window:] - gone])
        return self._membrane(membrane.INTEGRATOR, {"a_in": x}, {"beta": left})

    def forward(self, input_: torch.Tensor) -> Any:  # type: ignore[override]  # all steps at once
        """All steps: (spikes, membranes), or the membranes where ``output`` is False."""
        mem = self._over_time(self._looked(input_, self.channels))
        if self._state_quant is not None:
            mem = self._state_quant(mem)
        return (self.fire(mem), mem) if self.output else mem


class LinearLeaky(StateLeaky):
    """A linear layer before a StateLeaky: ``spk, mem = linearleaky(x)`` of all steps x
    (time, batch, in_features).

    Example:
        >>> layer = snn.LinearLeaky(beta=0.9, in_features=10, out_features=20)
        >>> spk, mem = layer(torch.rand(50, 4, 10))

    Args:
        beta: in 0..1, one number or one for each of out_features.
        in_features, out_features, bias, device, dtype: of the layer, ``linear``.
        The others: see StateLeaky.
    """

    _axes = "(time, batch, in_features)"

    @only("in_features", "out_features", "bias", **_PLACE)
    def __init__(
        self,
        beta: Any,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        threshold: Any = 1.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        state_quant: Any = False,
        output: bool = True,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        kernel_truncation_steps: int | None = None,
    ) -> None:
        super().__init__(
            beta,
            out_features,
            threshold,
            spike_grad,
            surrogate_disable,
            learn_beta,
            learn_threshold,
            state_quant,
            output,
            graded_spikes_factor,
            learn_graded_spikes_factor,
            kernel_truncation_steps,
        )
        self.linear = nn.Linear(in_features, out_features, bias, device, dtype)

    def forward(self, input_: torch.Tensor) -> Any:  # type: ignore[override]  # all steps at once
        """All steps: (spikes, membranes), or the membranes where ``output`` is False."""
        return super().forward(self.linear(self._looked(input_, self.linear.in_features)))


class LeakyParallel(_Summed):
    """A linear layer and a rectified leaky integrator without reset: ``spk = leakyparallel(x)`` of
    all steps x (time, batch, input_size) or (time, input_size),
    ``mem' = max(0, W x + b + beta mem)``.

    Example:
        >>> layer = snn.LeakyParallel(input_size=10, hidden_size=20)
        >>> layer(torch.rand(50, 4, 10)).shape  # all steps at once
        torch.Size([50, 4, 20])

    Args:
        input_size, hidden_size: of x and of the neurons.
        beta: in 0..1, one number or one a neuron. Default None: as nn.RNN draws its weights.
        bias: of the layer. Default True.
        threshold: a spike is ``mem > threshold``. Default 1.
        dropout: share of mem that training leaves out, before it is compared with the threshold, in
            0..1. Default 0.
        spike_grad, surrogate_disable, learn_threshold, graded_spikes_factor,
            learn_graded_spikes_factor: see :mod:`lavalike.snn.neurons`.
        learn_beta: train the decays. Default False.
        weight_hh_enable: a membrane hears all others', through the whole of ``rnn.weight_hh_l0``,
            and that of nn.RNN is computed. Default False: its diagonal, the decays, in one fused
            loop.
        device, dtype: of the weights.

    The weights are those of ``rnn``, an nn.RNN, as in snnTorch's checkpoints.
    """

    _dropped = ("beta",)  # of which the weights were made
    _axes = "(time, batch, input_size)"

    @only(
        "input_size",
        "hidden_size",
        "bias",
        "spike_grad",
        "surrogate_disable",
        "learn_beta",
        "learn_threshold",
        "learn_graded_spikes_factor",
        dropout=real(0, 1),
        weight_hh_enable=FLAG,
        **_PLACE,
    )
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        beta: Any = None,
        bias: bool = True,
        threshold: Any = 1.0,
        dropout: float = 0.0,
        spike_grad: Callable[..., torch.Tensor] | None = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        weight_hh_enable: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._own(
            (),
            threshold,
            spike_grad,
            surrogate_disable,
            learn_threshold=learn_threshold,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
        )
        self.__dict__.update(dropout=float(dropout), weight_hh_enable=bool(weight_hh_enable))
        self.rnn = nn.RNN(
            input_size, hidden_size, nonlinearity="relu", bias=bias, device=device, dtype=dtype
        )
        weight: Any = self.rnn.weight_hh_l0  # a Module, for all that types know
        with torch.no_grad():
            if not weight_hh_enable:
                weight.copy_(torch.diag(weight.diagonal()))
            if beta is not None:
                numbers = self._decays(beta, hidden_size, "neuron", optional(NUMBERS))
                decays = torch.as_tensor(numbers).to(weight).expand(hidden_size)
                weight.copy_(
                    decays.expand(hidden_size, -1).T if weight_hh_enable else decays.diag()
                )
        weight.requires_grad_(learn_beta)
        if dtype is not None or device is not None:
            self.to(device=device, dtype=dtype)

    dropout: float
    weight_hh_enable: bool
    _once = SpikingNeuron._once | {"dropout", "weight_hh_enable"}

    @property
    def beta(self) -> torch.Tensor:
        """The decays, ``rnn.weight_hh_l0``'s diagonal."""
        weight: Any = self.rnn.weight_hh_l0
        decays: torch.Tensor = weight.diagonal()
        return decays

    def forward(self, input_: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # all steps at once
        """Spikes of all steps, (time, batch, hidden_size) or (time, hidden_size)."""
        rnn: Any = self.rnn
        batched = not isinstance(input_, torch.Tensor) or input_.dim() != 2
        input_ = self._looked(input_, rnn.input_size, 3 if batched else 2)
        input_ = input_ if batched else input_.unsqueeze(1)
        if self.weight_hh_enable:
            mem = rnn(input_)[0]
        else:
            bias = rnn.bias_ih_l0 + rnn.bias_hh_l0 if rnn.bias else None
            current = functional.linear(input_, rnn.weight_ih_l0, bias)
            mem = self._membrane(membrane.RECTIFIED, {"a_in": current}, {"beta": self.beta})
        if self.dropout:
            mem = functional.dropout(mem, self.dropout, self.training)
        spk = self.fire(mem)
        return spk if batched else spk.squeeze(1)


class AssociativeLeaky(_Summed):
    """Neurons on a matrix of associations: ``y = associativeleaky(x)`` of all steps x
    (time, batch, in_dim).

    ``S' = S diag(a) + v k^T``, where v, k and a = sigmoid(...) are linear in x; spikes are
    ``S' > threshold`` (1), of d_value x d_key neurons. With a readout y is the spikes, as a matrix,
    times a matrix q that is linear in x: (time, batch, d_value d_value); without it the spikes:
    (time, batch, d_value d_key).

    The sum is computed as it stands, step by step in one fused loop; snnTorch divides by the
    products of all decays, which vanish in long sequences.

    Example:
        >>> layer = snn.AssociativeLeaky(in_dim=10, d_value=4, d_key=4)
        >>> out = layer(torch.rand(50, 2, 10))

    Args:
        in_dim: of x.
        d_value, d_key: rows and columns of S.
        num_spiking_neurons: d_value d_key, or None, which stands for it. Default None.
        use_q_projection: read out. Default True.
    """

    _axes = "(time, batch, in_dim)"

    @arguments(
        in_dim=integer(1),
        d_value=integer(1),
        d_key=integer(1),
        num_spiking_neurons=optional(integer(1)),
        use_q_projection=FLAG,
    )
    def __init__(
        self,
        in_dim: int,
        d_value: int,
        d_key: int,
        num_spiking_neurons: int | None = None,
        use_q_projection: bool = True,
    ) -> None:
        count = d_value * d_key
        if num_spiking_neurons is not None and num_spiking_neurons != count:
            raise InputError(
                f"{self.label}: num_spiking_neurons is d_value * d_key = {count}, got {num_spiking_neurons}"
            )
        self._own((), output=True)
        self.__dict__.update(
            in_dim=in_dim,
            d_value=d_value,
            d_key=d_key,
            num_spiking_neurons=count,
            use_q_projection=bool(use_q_projection),
        )
        self.to_v = nn.Linear(in_dim, d_value)
        self.to_k = nn.Linear(in_dim, d_key)
        self.to_alpha = nn.Linear(in_dim, d_key)
        self.to_q = nn.Linear(in_dim, count) if use_q_projection else None

    in_dim: int
    d_value: int
    d_key: int
    num_spiking_neurons: int
    use_q_projection: bool
    _once = SpikingNeuron._once | {
        "in_dim",
        "d_value",
        "d_key",
        "num_spiking_neurons",
        "use_q_projection",
    }

    @classmethod
    @arguments(in_dim=integer(1), num_spiking_neurons=integer(1), use_q_projection=FLAG)
    def from_num_spiking_neurons(
        cls, in_dim: int, num_spiking_neurons: int, use_q_projection: bool = True
    ) -> AssociativeLeaky:
        """Of ``num_spiking_neurons``, a square number: as many rows as columns."""
        side = math.isqrt(num_spiking_neurons)
        if side * side != num_spiking_neurons:
            raise InputError(
                f"snn.AssociativeLeaky: num_spiking_neurons is a square number, got {num_spiking_neurons}"
            )
        return cls(in_dim, side, side, num_spiking_neurons, use_q_projection)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # all steps at once
        """Spikes or their readout, of all steps."""
        x = self._looked(x, self.in_dim)
        written = self.to_v(x).unsqueeze(-1) * self.to_k(x).unsqueeze(-2)
        decay = torch.sigmoid(self.to_alpha(x)).unsqueeze(-2).expand_as(written)
        mem = self._membrane(membrane.ASSOCIATIVE, {"a_in": written, "decay": decay}, {})
        spk = self.fire(mem)
        if self.to_q is None:
            return spk.flatten(2)
        q = self.to_q(x).unflatten(-1, (self.d_key, self.d_value))
        return (spk @ q).flatten(2)
