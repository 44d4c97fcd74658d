"""Surrogate gradients by snnTorch's names.

Each call gives a :class:`~lavalike.fused.surrogate.Surrogate` for ``spike_grad=``: called with
``x = U - threshold`` it spikes (1 where x > 0) and has ``derivative(x)`` backward. They are finite
for every finite x, keep the dtype, and are equal and hashable by value. Defaults are snnTorch's:
``atan(alpha=2.0)``, ``fast_sigmoid(slope=25)``, ``sigmoid(slope=25)``, ``triangular(threshold=1)``,
``SFS(slope=25, B=1)``, ``LSO(slope=0.1)``, ``SSO(mean=0, variance=0.2)``.

``ATan.apply(x, alpha)`` and the like are the same by the names of snnTorch's autograd functions,
and ``spike_grad=ATan.apply`` is understood. So is a spike function of one's own, in PyTorch's way
(``MySpike.apply``, or a function that calls it): it is asked for its gradient, which no compiled
loop can, so such a neuron runs the plain loop, step by step.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.arguments import arguments, real, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.fused.ambient import transformed
from lavalike.fused.surrogate import (
    SURROGATE,
    Atan as atan,
    Boxcar as boxcar,
    Custom,
    Derivative,
    Exponential as slayer_exponential,
    FastSigmoid as fast_sigmoid,
    LeakyStep as LSO,
    Sigmoid as sigmoid,
    SparseFastSigmoid as SFS,
    StraightThrough as straight_through_estimator,
    Surrogate as Surrogate,
    Triangular as triangular,
    as_surrogate as as_surrogate,
)

__all__ = [
    "Surrogate",
    "as_surrogate",
    "atan",
    "fast_sigmoid",
    "sigmoid",
    "straight_through_estimator",
    "triangular",
    "boxcar",
    "slayer_exponential",
    "heaviside",
    "spike_rate_escape",
    "SFS",
    "LSO",
    "SSO",
    "custom_surrogate",
    "ATan",
    "FastSigmoid",
    "Sigmoid",
    "StraightThroughEstimator",
    "Triangular",
    "Heaviside",
    "SpikeRateEscape",
    "SparseFastSigmoid",
    "LeakySpikeOperator",
    "StochasticSpikeOperator",
    "CustomSurrogate",
]
PROBE = (-1.5, -0.25, 0.25, 1.5)  # where a function is asked what it is


class Looped:
    """Of a surrogate whose derivative only Python computes, step by step."""


def heaviside() -> LSO:
    """1 where x > 0, else 0: the spike itself."""
    return LSO(0.0)


@arguments(beta=real(above=0), slope=real(above=0))
def spike_rate_escape(beta: float = 1.0, slope: float = 25.0) -> slayer_exponential:
    """``slope exp(-beta |x|)`` (the escape rate of Gerstner and Kistler 2002); snnTorch centres it
    one unit above the threshold."""
    return slayer_exponential(tau=1 / beta, scale=2 * slope / beta)


@arguments(late=True)
@dataclass(frozen=True)
class SSO(Looped, Surrogate):
    """The stochastic spike operator: 1 where x > 0, elsewhere ``(u + mean) variance`` with ``u``
    uniform in -1/2..1/2, drawn anew in every step by torch's generator.

    ``variance`` is the factor that snnTorch calls so; ``mean`` may have either sign.

    Example:
        >>> lif = snn.Leaky(0.9, spike_grad=snn.surrogate.SSO())
    """

    mean: float = 0.0
    variance: float = 0.2

    def __post_init__(self) -> None:
        for name in ("mean", "variance"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise InputTypeError(
                    f"surrogate SSO: {name} is a finite number, got {shown(value)} ({type(value).__name__})"
                )
            if not math.isfinite(float(value)):
                raise InputError(f"surrogate SSO: {name} is a finite number, got {value!r}")
            object.__setattr__(self, name, float(value))

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        drawn = (torch.rand_like(x) - 0.5 + self.mean) * self.variance
        return torch.where(x > 0, torch.ones_like(x), drawn)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        raise InputError("surrogate SSO: its derivative is drawn, and is that of no function")


@arguments(late=True)
@dataclass(frozen=True)
class custom_surrogate(Custom):
    """``function(x)``, element-wise, is the derivative; or ``function(x, grad, spikes)``, as in
    snnTorch, the gradient: what arrives, ``grad``, times the derivative.

    To be fused it is written in torch's element-wise operations; to be pickled it is a function of
    a module. InputError where a function of three is not proportional to ``grad``: such a gradient
    is no surrogate's, write a ``torch.autograd.Function`` and give its ``apply``.

    Example:
        >>> spike_grad = snn.surrogate.custom_surrogate(lambda x: 1 / (1 + 10 * x.abs()) ** 2)
        >>> spk, mem = snn.Leaky(0.9, spike_grad=spike_grad)(torch.rand(4, 10), torch.zeros(4, 10))
    """

    def __post_init__(self) -> None:
        if not _of_three(self.function):
            super().__post_init__()
            return
        x = torch.tensor(PROBE, dtype=torch.float64)
        one, two = (self._gradient(x, torch.full_like(x, k)) for k in (1.0, 2.0))
        if not torch.allclose(two, 2 * one, rtol=1e-9, atol=0, equal_nan=True):
            raise InputError(
                f"surrogate custom_surrogate: function {shown(self.function)} is not proportional to the gradient it gets; "
                "write a torch.autograd.Function, and give its apply as spike_grad"
            )

    def _gradient(self, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        function: Callable[..., torch.Tensor] = self.function
        return function(x, grad, (x > 0).to(x.dtype))

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return (
            self._gradient(x, torch.ones_like(x)) if _of_three(self.function) else self.function(x)
        )


def _of_three(function: Any) -> bool:
    """Whether it is called with three arguments, and not with one."""
    try:
        signature = inspect.signature(function)
        signature.bind(None, None, None)
    except (TypeError, ValueError):  # no function, one without a signature, or of another count
        return False
    try:
        signature.bind(None)
    except TypeError:
        return True
    return False


# -- snnTorch's autograd functions -----------------------------------------------------------------


class _Applied:
    """A surrogate by the name of an autograd function: ``apply(x, ...)`` spikes; the numbers are
    those of the surrogate, in order."""

    made: Callable[..., Surrogate]

    def __init_subclass__(cls) -> None:
        def apply(x: torch.Tensor, *numbers: Any) -> torch.Tensor:
            return cls.made(*numbers)(x)

        apply.__doc__, apply.of = f"``{cls.__name__}`` of x.", cls  # type: ignore[attr-defined]  # functions have room
        apply.__qualname__ = f"{cls.__name__}.apply"
        cls.apply = staticmethod(apply)  # type: ignore[attr-defined]  # made here


class ATan(_Applied):
    """``ATan.apply(x, alpha=2.0)``: :class:`atan`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.ATan.apply(mem)
    """

    made = atan


class FastSigmoid(_Applied):
    """``FastSigmoid.apply(x, slope=25)``: :class:`fast_sigmoid`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.FastSigmoid.apply(mem)
    """

    made = fast_sigmoid


class Sigmoid(_Applied):
    """``Sigmoid.apply(x, slope=25)``: :class:`sigmoid`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.Sigmoid.apply(mem)
    """

    made = sigmoid


class StraightThroughEstimator(_Applied):
    """``StraightThroughEstimator.apply(x)``: :class:`straight_through_estimator`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.StraightThroughEstimator.apply(mem)
    """

    made = straight_through_estimator


class Triangular(_Applied):
    """``Triangular.apply(x, threshold=1)``: :class:`triangular`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.Triangular.apply(mem)
    """

    made = triangular


class Heaviside(_Applied):
    """``Heaviside.apply(x)``: :func:`heaviside`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.Heaviside.apply(mem)
    """

    made = staticmethod(heaviside)


class SpikeRateEscape(_Applied):
    """``SpikeRateEscape.apply(x, beta=1, slope=25)``: :func:`spike_rate_escape`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.SpikeRateEscape.apply(mem)
    """

    made = staticmethod(spike_rate_escape)


class SparseFastSigmoid(_Applied):
    """``SparseFastSigmoid.apply(x, slope=25, B=1)``: :class:`SFS`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.SparseFastSigmoid.apply(mem)
    """

    made = SFS


class LeakySpikeOperator(_Applied):
    """``LeakySpikeOperator.apply(x, slope=0.1)``: :class:`LSO`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.LeakySpikeOperator.apply(mem)
    """

    made = LSO


class StochasticSpikeOperator(_Applied):
    """``StochasticSpikeOperator.apply(x, mean=0, variance=0.2)``: :class:`SSO`.

    Example:
        >>> mem = torch.tensor([-0.5, 0.5], requires_grad=True)
        >>> spikes = snn.surrogate.StochasticSpikeOperator.apply(mem)
    """

    made = SSO


class CustomSurrogate(_Applied):
    """``CustomSurrogate.apply(x, function)``: :class:`custom_surrogate`."""

    made = custom_surrogate


# -- functions that spike --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked(Looped, Surrogate):
    """A function that spikes, with a gradient of its own."""

    function: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self) -> None:
        pass

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.function(at).sum(), at)
        return grad

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        raise InputError("surrogate of a spike function: only its derivative is known")


def spiking(spike_grad: Surrogate | Derivative | Callable[..., torch.Tensor]) -> Surrogate:
    """What a neuron may be given as ``spike_grad``: a Surrogate, a function that spikes (1 where
    x > 0, with a gradient), or one that gives the derivative."""
    made = getattr(spike_grad, "of", None)
    if isinstance(made, type) and issubclass(made, _Applied):
        return made.made()
    if isinstance(spike_grad, Surrogate) or not SURROGATE.kind(spike_grad) or transformed():
        return as_surrogate(spike_grad)
    function = getattr(spike_grad, "__self__", None)
    owned = isinstance(function, type) and issubclass(function, torch.autograd.Function)
    with torch.enable_grad():
        x = torch.tensor(PROBE, requires_grad=True)
        try:
            y = spike_grad(x)
        except Exception as e:  # a user's, of whatever it raises
            if not owned:
                return as_surrogate(spike_grad)
            raise InputError(
                f"spike_grad {shown(spike_grad)} is called with x, the distance to the threshold, and raised "
                f"{type(e).__name__}: {e}; give a function of x: lambda x: F.apply(x, ...)"
            ) from e
    fires = isinstance(y, torch.Tensor) and y.shape == x.shape and torch.equal(y, (x > 0).to(y))
    if fires and y.requires_grad:
        return _Asked(spike_grad)
    if fires or owned:
        why = "has no gradient" if fires else "gives something else than 1 where x > 0 and 0 else"
        raise InputError(
            f"spike_grad {shown(spike_grad)} spikes, but {why}; surrogate.heaviside() has the spike as its derivative, "
            "surrogate_disable=True is for none"
        )
    return as_surrogate(spike_grad)
