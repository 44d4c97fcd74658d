"""The words of :mod:`lavalike.dynamics.ops` for training: differentiable, and traceable by torch's
make_fx.

:class:`Training` says in which arithmetic, and what resets and spikes are differentiated to.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from lavalike.arguments import FLAG, TEXT, Rule, arguments, real
from lavalike.errors import InputError
from lavalike.fused.surrogate import spike

Words = dict[str, Callable[..., Any]]
# words that are a function of torch's, whatever the training
FUNCTIONS: Words = {
    "positive": torch.relu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sqrt": torch.sqrt,
    "log": torch.log,
    "absolute": torch.abs,
}
ONE = 4096  # decays count in 1/4096
HALF, FULL = 1 << 23, 1 << 24  # of what wraps into 24 bits
GRADIENTS = ("surrogate", "eventprop")
ARITHMETICS = ("float", "grid", "messages", "fixed", "checked")


def _save(ctx: Any, *tensors: torch.Tensor) -> None:
    """For backward and for forward-mode differentiation."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


class _Through(torch.autograd.Function):
    """``value`` forward, the gradient to ``source`` backward."""

    @staticmethod
    def forward(source: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None


class _Straight(_Through):
    """The same for transforms of torch.func; torch.compile takes no Function with a jvp."""

    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, source: torch.Tensor, value: Any) -> torch.Tensor:
        return source.clone()


class _Cross(torch.autograd.Function):
    """1 where re >= th as im passes zero upwards. Backward: the surrogate's ``phase(re - th, im)``
    to re and im, or where it has none its ``derivative(re - th)`` to re while im passes zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        re: torch.Tensor,
        im: torch.Tensor,
        before: torch.Tensor,
        th: torch.Tensor,
        scale: Any,
        surrogate: Any,
    ) -> torch.Tensor:
        return ((re >= th) & (im >= 0) & (before < 0)).to(re.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        re, im, before, th, scale, ctx.surrogate = inputs
        _save(ctx, re, im, before, th, scale if scale is not None else torch.ones_like(re))

    @staticmethod
    def _times(
        ctx: Any, g: torch.Tensor, h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """g by the derivative to re, h by that to im, where there is one."""
        re, im, before, th, scale = ctx.saved_tensors
        unit = 1 / scale
        x = (re - th) * unit
        if hasattr(ctx.surrogate, "phase"):
            of_re, of_im = ctx.surrogate.phase(x, im * unit)
            return g * of_re * unit, h * of_im * unit
        return torch.where(
            (im >= 0) & (before < 0), g * ctx.surrogate.derivative(x) * unit, 0.0
        ), None

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        g_re, g_im = _Cross._times(ctx, grad, grad)
        return g_re, g_im, None, -g_re, None, None

    @staticmethod
    def jvp(
        ctx: Any, re: torch.Tensor, im: torch.Tensor, before: Any, th: torch.Tensor, *others: Any
    ) -> torch.Tensor:
        of_re, of_im = _Cross._times(ctx, re - th, im)
        return of_re if of_im is None else of_re + of_im


class _Gate(torch.autograd.Function):
    """``d`` where |m| >= th, else 0. To d the gradient passes as if the gate were open; to th it is
    that of slayer (lava-dl 0.6, axon/delta): ``-d height exp(-(|m| - th) / tau) / th`` where |m| >
    th, ``-sign(d)`` elsewhere."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        d: torch.Tensor, m: torch.Tensor, th: torch.Tensor, tau: torch.Tensor, height: torch.Tensor
    ) -> torch.Tensor:
        return torch.where(m.abs() >= th, d, 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _save(ctx, *inputs)

    @staticmethod
    def _slope(ctx: Any) -> torch.Tensor:
        d, m, th, tau, height = ctx.saved_tensors
        size = m.abs()
        # a reciprocal of what all neurons share is taken once, a division in every step
        return torch.where(
            size > th, -d * torch.exp((th - size) * (1 / tau)) * (height * (1 / th)), -torch.sign(d)
        )

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return grad, None, grad * _Gate._slope(ctx), None, None

    @staticmethod
    def jvp(ctx: Any, d: torch.Tensor, m: Any, th: torch.Tensor, *others: Any) -> torch.Tensor:
        return d + th * _Gate._slope(ctx)


def in_full(value: Any) -> torch.Tensor:
    """A number in all its digits; torch's default would be float32."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=torch.float64)


def a_step_late(rows: torch.Tensor) -> torch.Tensor:
    """``rows`` (time, ...) one step later: zeros in the first."""
    return torch.cat([torch.zeros_like(rows[:1]), rows[:-1]])


def straight(source: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    through = _Through if torch.compiler.is_dynamo_compiling() else _Straight
    return through.apply(source, value.detach())


@arguments(
    surrogate=Rule(
        "a frozen dataclass with derivative(x)",
        lambda v: (
            dataclasses.is_dataclass(v)
            and not isinstance(v, type)
            and callable(getattr(v, "derivative", None))
        ),
    ),
    reset_grad=TEXT,
    arithmetic=TEXT,
    scale=real(above=0),
    gate_tau=real(above=0),
    gate_height=real(0),
    relative=FLAG,
    gradient=TEXT,
)
@dataclass(frozen=True)
class Training:
    """How a step is differentiated.

    Args:
        surrogate: a frozen dataclass with ``derivative(x)``, what a spike's derivative is taken to
            be at ``x = v - vth``.
        reset_grad: "slayer" (resets are not differentiated: the gradient passes through them),
            "detach" (a reset ends it; the spike that caused it has none) or "full" (that of the
            equation, the spike included).
        arithmetic: "float"; "grid": inputs and states are integers over ``scale``, rounded as in
            fixed_pt, straight through; "messages": float, with graded messages rounded down to
            multiples of 1/scale, straight through; "fixed": inputs, states and constants are the
            integers of fixed_pt, computed bit for bit (in float64), and what leaves 32 bits is
            counted; "checked": the same, and what leaves 24 bits is.
        scale: see arithmetic.
        relative: the surrogate is of ``(v - vth) / |vth|`` (of ``v`` where vth is 0), and its
            derivative by v that over ``|vth|``; not on the grid, where it is of
            ``(v - vth) / scale``. Default False.
        gate_tau, gate_height: of the gradient that a delta threshold gets.
        gradient: "surrogate", or "eventprop": spikes are differentiated by their times
            (:mod:`lavalike.fused.eventprop`), for which surrogate and reset_grad say nothing.
    """

    surrogate: Any
    reset_grad: str = "slayer"
    arithmetic: str = "float"
    scale: float = 4096.0
    gate_tau: float = 1.0
    gate_height: float = 1.0
    relative: bool = False
    gradient: str = "surrogate"

    def __post_init__(self) -> None:
        if self.reset_grad not in ("slayer", "detach", "full"):
            raise InputError(f"reset_grad is 'slayer', 'detach' or 'full', got {self.reset_grad!r}")
        if self.arithmetic not in ARITHMETICS:
            raise InputError(f"arithmetic is one of {ARITHMETICS}, got {self.arithmetic!r}")
        if self.gradient not in GRADIENTS:
            raise InputError(f"gradient is one of {GRADIENTS}, got {self.gradient!r}")

    def __copy__(self) -> Training:
        return self  # nothing of it changes

    def __deepcopy__(self, memo: Any) -> Training:
        return self

    @cached_property
    def key(self) -> Hashable:
        """What generated code depends on; numbers are run-time arguments."""
        fixed = tuple(
            (f.name, getattr(self.surrogate, f.name))
            for f in dataclasses.fields(self.surrogate)
            if not _is_number(getattr(self.surrogate, f.name))
        )
        return type(self.surrogate), fixed, self.reset_grad, self.arithmetic, self.relative

    @property
    def whole(self) -> bool:
        """Whether inputs, states and constants are the integers of fixed_pt."""
        return self.arithmetic in ("fixed", "checked")

    @property
    def numbers(self) -> dict[str, float]:
        """The run-time numbers, by name, in the order kernels take them."""
        own = {
            f"surrogate_{f.name}": float(getattr(self.surrogate, f.name))
            for f in dataclasses.fields(self.surrogate)
            if _is_number(getattr(self.surrogate, f.name))
        }
        return own | {
            "scale": float(self.scale),
            "gate_tau": float(self.gate_tau),
            "gate_height": float(self.gate_height),
        }

    def words(self, numbers: Mapping[str, torch.Tensor]) -> Words:
        """The table that :func:`lavalike.dynamics.dynamics.bind` takes, over ``numbers`` as
        tensors."""
        surrogate = object.__new__(type(self.surrogate))
        for f in dataclasses.fields(self.surrogate):
            object.__setattr__(
                surrogate,
                f.name,
                numbers.get(f"surrogate_{f.name}", getattr(self.surrogate, f.name)),
            )
        return _words(surrogate, self, numbers)


def shared(training: Training) -> Training:
    """``training``, or the one equal to it that was shared before: networks that are made alike run
    what torch.compile made of the first."""
    try:
        return _shared(training, training.key, tuple(training.numbers.values()))
    except TypeError:  # a surrogate without a hash
        return training


@functools.lru_cache(4096)
def _shared(training: Training, key: Hashable, numbers: tuple[float, ...]) -> Training:
    return training  # its own equality may leave fields out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(surrogate: Any, training: Training, numbers: Mapping[str, torch.Tensor]) -> Words:
    scale, reset_grad, arithmetic = numbers["scale"], training.reset_grad, training.arithmetic
    grid, relative = arithmetic == "grid", training.relative

    def tensor(value: Any, like: torch.Tensor) -> torch.Tensor:
        return value if isinstance(value, torch.Tensor) else torch.full_like(like, value)

    def pair(x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return tensor(x, y), tensor(y, x)

    def unit(th: torch.Tensor) -> torch.Tensor | None:
        """What distances from ``th`` are counted in."""
        if grid or not relative:
            return tensor(scale, th) if grid else None
        return torch.where(th.detach() == 0, 1.0, th.detach().abs())

    def fire(x: Any, th: Any, inclusive: bool) -> torch.Tensor:
        x, th = pair(x, th)
        return spike(x - th, unit(th.to(x.dtype)), inclusive, surrogate)

    def crosses(re: torch.Tensor, im: torch.Tensor, before: torch.Tensor, th: Any) -> torch.Tensor:
        th = tensor(th, re)
        return _Cross.apply(re, im, before, th, unit(th), surrogate)

    def where(s: Any, a: Any, b: Any) -> torch.Tensor:
        return torch.where(s.detach() != 0, a, b)

    def reset(s: torch.Tensor, v: torch.Tensor, to: Any) -> torch.Tensor:
        if reset_grad == "slayer":
            return straight(v, where(s, to, v))
        return where(s, to, v) if reset_grad == "detach" else v + s * (to - v)

    def lower(s: torch.Tensor, v: torch.Tensor, by: Any) -> torch.Tensor:
        return v - s * by if reset_grad == "full" else v - s.detach() * by

    def product(x: torch.Tensor, k: Any, one: Any = ONE) -> torch.Tensor:
        if not grid and not training.whole:
            return x * k
        exact = x * k / one
        return straight(exact, torch.trunc(exact))

    def scaled(x: torch.Tensor, k: Any, bits: Any) -> torch.Tensor:
        return product(x, k, torch.pow(2.0, bits)) if training.whole else product(x, k)

    def unscale(x: torch.Tensor, e: Any) -> torch.Tensor:
        if training.whole:
            y = x / torch.pow(2.0, e)
            return straight(y, torch.floor(y))
        y = x * e
        return y if arithmetic == "float" else straight(y, torch.floor(y * scale) / scale)

    def wrap(x: torch.Tensor) -> torch.Tensor:
        if not training.whole:
            return x
        down = torch.where(x > HALF, x - FULL, x)
        return torch.where(down <= -HALF, down + FULL, down)

    def clip(x: torch.Tensor) -> torch.Tensor:
        return x.clamp(1 - HALF, HALF - 1) if training.whole else x

    return {
        "wrap": wrap,
        "clip": clip,
        "where": where,
        "reset": reset,
        "lower": lower,
        "unscale": unscale,
        "leak": product,
        "scaled": scaled,
        "above": lambda x, th: fire(x, th, False),
        "reaches": lambda x, th: fire(x, th, True),
        "crosses": crosses,
        "gate": lambda d, m, th: _Gate.apply(
            d, m, th, tensor(numbers["gate_tau"], d), tensor(numbers["gate_height"], d)
        ),
        "both": lambda s, c: s * c,
        "carried": lambda x: x.detach(),
        "inject": straight,
        **FUNCTIONS,
        "lesser": lambda x, y: torch.minimum(*pair(x, y)),
        "greater": lambda x, y: torch.maximum(*pair(x, y)),
    }
