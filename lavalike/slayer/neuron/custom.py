"""A neuron of one's own: any :class:`lavalike.dynamics.Dynamics` in slayer's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    choice,
    did_you_mean,
    instance,
    optional,
    sequence,
)
from lavalike.dynamics import Dynamics
from lavalike.errors import ExportError, InputError, InputTypeError
from lavalike.fused.arithmetic import shared
from lavalike.fused.surrogate import Surrogate
from lavalike.proc.custom import neuron_process
from lavalike.process import AbstractProcess
from lavalike.slayer.neuron.base import (
    COMMON,
    DROPOUT,
    NORM,
    P_SCALE,
    SPIKING,
    W_SCALE,
    Neuron,
    State,
)
from lavalike.slayer.spike import Slayer


class Custom(Neuron):
    """Input and output (batch, channel, ..., time); as many inputs as the dynamics has, one output.

    Args:
        dynamics: the step and its parameters.
        values: parameters by name, one number or one a channel. Default: those of
            ``dynamics.parameters``.
        learn: names of the parameters that are trained. Default: those that ``dynamics.parameters``
            says are.
        surrogate: the surrogate gradient, a function of the distance from threshold. Default
            slayer's exponential, ``Slayer(1, 1)``.
        reset_grad: what resets are differentiated to: "slayer" (not at all, default), "detach" or
            "full".
        norm: a class from :mod:`lavalike.slayer.neuron.norm`, one of it for each input, or None.
        dropout: an nn.Module, or None.
        persistent_state: a call goes on where the last one ended. Default False.
        arithmetic: "float" (default), or "grid": integers over ``s_scale``, what the process
            computes in fixed_pt; parameters are rounded as their ``counts`` tells, the gradient
            passes.
        scale: of weights, which are rounded to 2/scale by ``quantize_8bit``; states count in 1 /
            (64 scale) on the grid. Default 64.

    A block takes it where ``neuron_params`` are its arguments. ``process(shape)`` is the process
    that computes the same; a .net file holds it where its Dynamics has a ``kind``, all its
    parameters have keys, and it is trained on the grid, without a norm.
    """

    @arguments(
        dynamics=instance(Dynamics),
        values=optional(MAPPING),
        learn=optional(sequence(TEXT)),
        surrogate=optional(instance(Surrogate)),
        reset_grad=SPIKING["reset_grad"],
        norm=NORM,
        dropout=DROPOUT,
        persistent_state=FLAG,
        arithmetic=choice("float", "grid"),
        scale=COMMON["scale"],
    )
    def __init__(
        self,
        dynamics: Dynamics,
        values: Mapping[str, Any] | None = None,
        learn: Sequence[str] | None = None,
        surrogate: Surrogate | None = None,
        reset_grad: str = "slayer",
        norm: Callable[..., Any] | None = None,
        dropout: nn.Module | None = None,
        persistent_state: bool = False,
        arithmetic: str = "float",
        scale: int = W_SCALE,
    ) -> None:
        super().__init__(
            1,
            scale=scale,
            dropout=dropout,
            persistent_state=persistent_state,
            reset_grad=reset_grad,
        )
        self.dynamics, self.inputs = dynamics, len(dynamics.inputs)
        if len(dynamics.outputs) != 1:
            raise InputError(
                f"{self.label}: a neuron of slayer has one output, got {dynamics.outputs}"
            )
        if "t" in dynamics.arguments:
            raise InputError(
                f"{self.label}: a step that depends on the time step t cannot be trained"
            )
        if arithmetic == "grid" and (not dynamics.fixed or dynamics.floating):
            why = ", ".join(dynamics.floating) or "fixed=False"
            raise InputError(
                f"{self.label}: arithmetic='grid' needs a fixed-point form, which the step does not have: {why}"
            )
        given_surrogate = Slayer(1.0, 1.0) if surrogate is None else surrogate
        self.training_ = shared(
            fused.Training(given_surrogate, reset_grad, arithmetic, float(self.s_scale))
        )
        self._make_norms(norm)
        self._known = {p.name: p for p in dynamics.knobs}
        all_names = tuple(self._known)
        given = {n: p.default for n, p in self._known.items() if p.default is not None} | dict(
            values or {}
        )
        learn = [n for n, p in self._known.items() if p.trained] if learn is None else list(learn)
        for argument, names, error in (
            ("values", given, InputTypeError),
            ("learn", learn, InputError),
        ):
            strange = [n for n in names if n not in all_names]
            if strange:
                raise error(
                    f"{self.label}: {argument}: no parameter {strange[0]!r} among {all_names}"
                    f"{did_you_mean(strange[0], all_names)}"
                )
        missing = [n for n in all_names if n not in given]
        if missing:
            raise InputError(f"{self.label}: values: {all_names} are needed, {missing} missing")
        self.values = nn.ParameterDict()
        for name in all_names:
            self.values[name] = nn.Parameter(
                self._checked(name, given[name]), requires_grad=name in learn
            )

    def _make_norms(self, norm: Callable[..., Any] | None) -> None:
        self.norm = (
            None
            if norm is None
            else nn.ModuleList(norm(pre_hook_fx=self.quantize_8bit) for _ in range(self.inputs))
        )

    def _checked(self, name: str, value: Any) -> torch.Tensor:
        out = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
        low, high = self.limits(name)
        if out.dim() > 1 or not out.numel():
            raise InputError(
                f"{self.label}: values: {name} is one number or one a channel, got shape {tuple(out.shape)}"
            )
        if not bool(((out >= low) & (out <= high) & torch.isfinite(out)).all()):
            raise InputError(f"{self.label}: values: {name} is in {low}..{high}, got {value!r}")
        return out

    @property
    def label(self) -> str:
        return (
            f"custom.Custom({self.dynamics.name})" if "dynamics" in self.__dict__ else super().label
        )

    @property
    def norms(self) -> list[Any]:
        return [] if self.norm is None else list(self.norm)

    @property
    def threshold(self) -> float:
        raise InputError(
            f"{self.label}: has no threshold known to all neurons; its parameters are {tuple(self._known)}"
        )

    @property
    def device_params(self) -> dict[str, Any]:
        keys = {p.key: p.name for p in self.dynamics.parameters if p.key}
        without = [n for n in self._known if n not in keys.values()]
        for wrong, why in (
            (not self.dynamics.kind or without, f"the Dynamics has no kind, or {without} no key"),
            (
                self.training_.arithmetic != "grid",
                "arithmetic is 'float'; what a file computes is trained with 'grid'",
            ),
            (self.dynamics.graded, "its messages are graded"),
            (self.norms, "it has a norm"),
        ):
            if wrong:
                raise ExportError(
                    f"{self.label}: a .net file has no place for it: {why}; process(shape) runs it without a file"
                )
        neuron_process(self.dynamics)  # what loads it
        return {
            "type": self.dynamics.kind,
            **{key: self.integer(n) + self._known[n].offset for key, n in keys.items()},
        }

    def limits(self, name: str) -> tuple[float, float]:
        """What a parameter is kept within, in its own unit."""
        return self._known[name].low, self._known[name].high

    def used(self, name: str) -> torch.Tensor:
        """The parameter as the step gets it: within its limits; on the grid a whole number
        (gradient straight through)."""
        p = self.values[name]
        with torch.no_grad():  # in place, so that its gradient stays alive
            p.clamp_(*self.limits(name))
        known = self._known[name]
        if self.training_.arithmetic == "float":
            return 1 - p if known.counts == "loss" else p
        counted = p.double() * known.unit_of(self.s_scale)
        whole = counted + (counted.round() - counted).detach()
        return P_SCALE - known.offset - whole if known.counts == "loss" else whole

    def integer(self, name: str) -> Any:
        """The parameter as fixed_pt has it: an int, or an array of one a channel."""
        whole = (
            (self.values[name].detach().double() * self._known[name].unit_of(self.s_scale))
            .round()
            .long()
        )
        return int(whole) if whole.numel() == 1 else whole.cpu().numpy()

    def stream(
        self, *x: torch.Tensor, state: State | None = None, shift: bool = False
    ) -> tuple[torch.Tensor, State]:
        z = x if self.norm is None else [norm(v) for norm, v in zip(self.norm, x, strict=True)]
        (y,), after = self.scan(
            self.dynamics,
            z,
            lambda: {self._known[n].argument: self.used(n) for n in self.values},
            state,
            shift=shift,
        )
        return y, after

    def process(self, shape: Sequence[int], **kwargs: Any) -> AbstractProcess:
        """A process of ``neuron_process(dynamics)`` with the present values, for messages of
        ``shape`` (channel, ...).

        On the grid its fixed_pt computes the same integers, from inputs times ``s_scale``. A norm
        is not part of it.

        Args:
            kwargs: of the process: states to begin with, ``name``, ``checked``.
        """
        values = {n: p.detach().cpu().numpy() for n, p in self.values.items()}
        per_channel = (-1, *[1] * (len(shape) - 1))
        values = {
            n: np.broadcast_to(v.reshape(per_channel), shape) if v.size > 1 else v
            for n, v in values.items()
        }
        return neuron_process(self.dynamics)(shape=shape, scale=self.s_scale, **values, **kwargs)
