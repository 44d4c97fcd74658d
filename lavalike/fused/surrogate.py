"""Surrogate gradients: what a spike's derivative is taken to be.

Each is a function of the distance from threshold: ``v - vth`` in the step style and in slayer,
``(v - vth) / |vth|`` in :func:`lavalike.to_torch`. :class:`Surrogate` objects are small, frozen,
hashable and equal by value; ``derivative`` is written in element-wise torch operations without
branches, so that it is traced into fused kernels as it stands.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from lavalike.arguments import Rule, arguments, real, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.fused.ambient import transformed

Derivative = Callable[[torch.Tensor], torch.Tensor]


class Spike(torch.autograd.Function):
    """``Spike.apply(x, unit, inclusive, surrogate)``: 1 where x > 0 (>= 0),
    ``derivative(x / unit) / unit`` backward; unit None is 1.

    The one Heaviside: of neurons in graphs, in slayer and in the step style.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: torch.Tensor, unit: torch.Tensor | None, inclusive: bool, surrogate: Surrogate
    ) -> torch.Tensor:
        return ((x >= 0) if inclusive else (x > 0)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        x, unit, _, ctx.surrogate = inputs
        saved = [x] if unit is None else [x, unit]
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def times(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        x, *unit = ctx.saved_tensors
        if not unit:
            return grad * ctx.surrogate.derivative(x)
        per = (
            1 / unit[0]
        )  # of what all neurons share a reciprocal is taken once, a division in every step
        return grad * ctx.surrogate.derivative(x * per) * per

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return Spike.times(ctx, grad), None, None, None


class _ForwardSpike(Spike):
    """With forward-mode differentiation, which torch.compile does not take."""

    @staticmethod
    def jvp(ctx: Any, x: torch.Tensor, *others: Any) -> torch.Tensor:
        return Spike.times(ctx, x)


def spike(
    x: torch.Tensor, unit: torch.Tensor | None, inclusive: bool, surrogate: Surrogate
) -> torch.Tensor:
    """:class:`Spike`, differentiable in every mode."""
    kind = Spike if torch.compiler.is_compiling() or not transformed() else _ForwardSpike
    return kind.apply(x, unit, inclusive, surrogate)


@dataclass(frozen=True)
class Surrogate:
    """Called, a spike: 1 where x > 0, else 0, of x's shape and dtype, whose derivative backward is
    ``derivative(x)``.

    Subclasses are frozen dataclasses whose numbers are positive and finite (InputError otherwise).
    """

    _zero = False  # may a number be 0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number:
                raise InputTypeError(
                    f"surrogate {type(self).__name__}: {f.name} is a finite number {'>= 0' if self._zero else '> 0'}, got "
                    f"{shown(value)} ({type(value).__name__})"
                )
            if not (0 < value < math.inf or (value == 0 and self._zero)):
                least = ">= 0" if self._zero else "> 0"
                raise InputError(
                    f"surrogate {type(self).__name__}: {f.name} is a finite number {least}, got {value!r}"
                )
            object.__setattr__(self, f.name, float(value))

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        """Finite for every finite ``x``; of its shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__}: a Surrogate defines derivative(x)")

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        """The function whose derivative this is."""
        raise NotImplementedError(f"{type(self).__name__}: a Surrogate defines primitive(x)")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x, torch.Tensor):
            raise InputTypeError(
                f"surrogate {type(self).__name__}: x is a torch tensor, got {shown(x)} ({type(x).__name__})"
            )
        if not x.is_floating_point():
            raise InputError(
                f"surrogate {type(self).__name__}: input has dtype {x.dtype}; expected a floating-point type"
            )
        return spike(x, None, False, self)


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere (Bengio et al. 2013); of ``x``."""

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return x


@arguments(late=True)
@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """``1 / (1 + slope |x|)**2``, SuperSpike (Zenke and Ganguli 2018); of
    ``x / (1 + slope |x|)``."""

    slope: float = 25.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        r = 1 / (1 + self.slope * x.abs())
        return r * r

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return x / (1 + self.slope * x.abs())


@arguments(late=True)
@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """``slope e / (1 + e)**2`` with ``e = exp(-slope |x|)``; of ``1 / (1 + exp(-slope x))``."""

    slope: float = 25.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        # even in x, so |x| does, and the exponential cannot overflow
        e = torch.exp(-(self.slope * x.abs()))
        return self.slope * e / ((1 + e) * (1 + e))

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.slope * x)


@arguments(late=True)
@dataclass(frozen=True)
class Atan(Surrogate):
    """``(alpha / 2) / (1 + (pi / 2 alpha x)**2)`` (Fang et al. 2021); of
    ``atan(pi / 2 alpha x) / pi + 1/2``."""

    alpha: float = 2.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        u = math.pi / 2 * self.alpha * x
        return self.alpha / 2 / (1 + u * u)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.atan(math.pi / 2 * self.alpha * x) / math.pi + 0.5


@arguments(late=True)
@dataclass(frozen=True)
class Triangular(Surrogate):
    """``max(0, 1 - |x| / threshold) / threshold`` (Bellec et al. 2018), of area 1; of
    ``1/2 + u - u |u| / 2`` with ``u = x / threshold`` within -1..1.

    snnTorch's function of this name is no triangle: ``threshold`` below and ``-threshold`` above
    the threshold.
    """

    threshold: float = 1.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(1 - x.abs() / self.threshold) / self.threshold

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        u = (x / self.threshold).clamp(-1, 1)
        return 0.5 + u - u * u.abs() / 2


@arguments(late=True)
@dataclass(frozen=True)
class Boxcar(Surrogate):
    """``1 / width`` where ``|x| < width / 2``, else 0, of area 1; of ``x / width + 1/2`` within
    0..1."""

    width: float = 1.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return (x.abs() < self.width / 2).to(x.dtype) / self.width

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return (x / self.width + 0.5).clamp(0, 1)


@arguments(late=True)
@dataclass(frozen=True)
class Exponential(Surrogate):
    """``scale / (2 tau) exp(-|x| / tau)``, slayer's (Shrestha and Orchard 2018), of area ``scale``;
    of ``scale / 2 (1 + sign(x) (1 - exp(-|x| / tau)))``."""

    tau: float = 1.0
    scale: float = 1.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale / (2 * self.tau) * torch.exp(-x.abs() * (1 / self.tau))

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale / 2 * (1 - torch.sign(x) * torch.expm1(-x.abs() / self.tau))


@arguments(late=True)
@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    """:class:`FastSigmoid` where ``|x| < B``, else 0 (Perez-Nieves and Goodman 2021); of its
    primitive at x within -B..B.

    snnTorch's SFS lets through ``x > B`` instead.
    """

    slope: float = 25.0
    B: float = 1.0

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        r = (x.abs() < self.B).to(x.dtype) / (1 + self.slope * x.abs())
        return r * r

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        u = x.clamp(-self.B, self.B)
        return u / (1 + self.slope * u.abs())


@arguments(late=True)
@dataclass(frozen=True)
class LeakyStep(Surrogate):
    """1 where x > 0, ``slope`` (0 or more) elsewhere; of ``max(x, 0) + slope min(x, 0)``."""

    slope: float = 0.1
    _zero = True

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(x.dtype) * (1 - self.slope) + self.slope

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) - self.slope * torch.relu(-x)


@arguments(late=True)
@dataclass(frozen=True)
class Custom(Surrogate):
    """``function(x)``, element-wise, is the derivative.

    To be fused it is written in torch's element-wise operations; to be pickled it is a function of
    a module. snnTorch's ``f(input_, grad_input, spikes)`` gives the whole gradient; here it is what
    multiplies ``grad_input``.
    """

    function: Derivative

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputTypeError(
                f"surrogate Custom: function is a callable f(x) that gives the derivative, got {self.function!r}"
            )
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # a builtin without one
            return
        try:
            signature.bind(None)
        except TypeError as e:
            raise InputError(
                f"surrogate Custom: function takes x alone and gives the derivative, got {self.function!r} "
                f"with arguments {signature}"
            ) from e

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)

    def primitive(self, x: torch.Tensor) -> torch.Tensor:
        raise InputError("surrogate Custom: only its derivative is known")


@arguments(width=real(above=0), scale=real(above=0))
def exponential(width: float = 1.0, scale: float = 1.0) -> Exponential:
    """:class:`Exponential` with ``tau = width``."""
    return Exponential(width, scale)


@arguments(slope=real(above=0))
def fast_sigmoid(slope: float = 25.0) -> FastSigmoid:
    """:class:`FastSigmoid`."""
    return FastSigmoid(slope)


def straight_through() -> StraightThrough:
    """:class:`StraightThrough`."""
    return StraightThrough()


SURROGATE = Rule(
    "a Surrogate (surrogate.atan() and the like) or a function that gives the derivative",
    lambda v: callable(v) and not isinstance(v, type),
)


def as_surrogate(surrogate: Surrogate | Derivative) -> Surrogate:
    """``surrogate``; a plain function is taken to give the derivative."""
    if not SURROGATE.kind(surrogate):
        call = f"; did you mean {surrogate.__name__}()?" if isinstance(surrogate, type) else ""
        raise InputTypeError(
            f"as_surrogate: surrogate is {SURROGATE.words}, got {shown(surrogate)}{call}"
        )
    return surrogate if isinstance(surrogate, Surrogate) else Custom(surrogate)
