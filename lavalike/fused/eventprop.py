"""A scan whose spikes are differentiated by their times (equations:
:mod:`lavalike.dynamics.eventprop`).

Forward is that of the plain scan, bit for bit. A loss is a function of pulses: ``dL/ds[t]`` is what
a pulse in step t would add, spikes or none, as synapses hand it down; moving a spike from t to the
next step changes it by ``dL/ds[t+1] - dL/ds[t]``, the derivative by its time. A loss on times,
whose derivative by a spike is minus that by its time, at the spike alone, says the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lavalike.dynamics import Dynamics
from lavalike.dynamics.eventprop import ADJOINT, FORMS, LINEAR, Form
from lavalike.errors import InputError
from lavalike.fused.ambient import differentiated, exporting, trained, transformed
from lavalike.fused.arithmetic import ONE, Training, a_step_late, in_full
from lavalike.fused.surrogate import StraightThrough

PLAIN = Training(StraightThrough(), "detach")  # the adjoint has no spikes


def replaced(dynamics: Dynamics) -> bool:
    """Whether EventProp has another gradient of ``dynamics``; InputError where it has none."""
    if dynamics.step in LINEAR:
        return False
    if dynamics.step not in FORMS:
        raise InputError(
            f"{dynamics.name}: EventProp is of neurons with a current and a membrane that is reset in the step it spikes in "
            "(slayer's cuba; snn.Synaptic with reset_delay=False); take gradient='surrogate'"
        )
    return True


def asked(dynamics: Dynamics, values: Iterable[Any]) -> bool:
    """Whether a gradient by ``values`` may be asked for; InputError where it is and traces or
    transforms look on. Nobody asks: the plain scan does, which they can see."""
    if not transformed():
        return True
    learns = [trained(v) for v in values if isinstance(v, torch.Tensor)]
    if not differentiated() and not (torch.is_grad_enabled() and any(learns)):
        return False
    if torch.compiler.is_dynamo_compiling() and not exporting():
        return True
    raise InputError(
        f"{dynamics.name}: EventProp's gradient is no operation that torch.func and traces see through; call it outside of "
        "them, for values alone within torch.no_grad(), or take gradient='surrogate'"
    )


def scan(
    run: Any,
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, Any],
    states: Mapping[str, torch.Tensor] | None,
    record: Sequence[str],
    shift: bool,
    steps: int | None,
) -> Any:
    """What ``run``, the scan with surrogates, returns, with EventProp's gradient."""
    form, training = FORMS[dynamics.step], dataclasses.replace(training, gradient="surrogate")
    (name,) = dynamics.inputs
    x, given = inputs[name], dict(states or {})
    count = len(x) if steps is None else steps
    names = dynamics.constant_names
    values = [in_full(parameters[n]) for n in names]
    firsts = [torch.as_tensor(given[s]) if s in given else x.new_zeros(()) for s in dynamics.states]
    call = _Call(run, dynamics, training, form, names, count)
    made = _EventProp.apply(call, x.expand(count, *x.shape[1:]), *firsts, *values)
    n = len(dynamics.outputs)
    outputs = dict(zip(dynamics.outputs, made[:n], strict=True))
    seen = dict(zip(dynamics.states, made[n:-1], strict=True))
    if shift:
        outputs = {k: a_step_late(y) for k, y in outputs.items()}
    final = {s: y[-1] for s, y in seen.items()}
    return outputs | {s: seen[s] for s in record}, final, made[-1]


@torch.compiler.disable(reason="EventProp's gradient is no operation that torch.compile takes")
def outside(*arguments: Any) -> Any:
    """:func:`scan` as a break in what torch.compile makes: of an error instead, dynamo would leave
    the functions on the way uncompiled for good, other neurons' too."""
    return scan(*arguments)


@dataclasses.dataclass(frozen=True)
class _Call:
    """What a scan is besides its tensors."""

    run: Any
    dynamics: Dynamics
    training: Training
    form: Form
    names: tuple[str, ...]
    steps: int

    def real(self, named: Mapping[str, torch.Tensor], name: str, missing: float) -> Any:
        """A constant in the user's unit."""
        return named[name] / self.unit(name) if name else missing

    def unit(self, name: str) -> float:
        """What 1 is among the step's constants."""
        if self.training.arithmetic != "grid":
            return 1.0
        return {self.form.keep_u: ONE, self.form.keep_v: ONE, "gain": 1.0}.get(
            name, self.training.scale
        )


class _EventProp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, x: torch.Tensor, *values: torch.Tensor) -> Any:
        d, k = call.dynamics, len(call.dynamics.states)
        firsts, params = values[:k], values[k:]
        given = {s: v.expand(x.shape[1:]) for s, v in zip(d.states, firsts, strict=True) if v.dim()}
        made = call.run(
            d,
            call.training,
            {d.inputs[0]: x},
            dict(zip(call.names, params, strict=True)),
            given,
            d.states,
        )
        seen = [made.outputs[s] for s in d.states]
        ctx.call = call
        ctx.save_for_backward(x, made.outputs[d.outputs[0]], *seen, *values)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(made.overflows)
        return (*(made.outputs[o] for o in d.outputs), *seen, made.overflows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        call: _Call = ctx.call
        d, form, k = call.dynamics, call.form, len(call.dynamics.states)
        x, s, *kept = ctx.saved_tensors
        real = torch.float64 if x.dtype == torch.float64 else torch.float32
        seen = dict(zip(d.states, (v.to(real) for v in kept[:k]), strict=True))
        firsts = dict(zip(d.states, kept[k : 2 * k], strict=True))
        named = dict(zip(call.names, kept[2 * k :], strict=True))
        names = (*d.outputs, *d.states)
        got = {n: g.to(real) for n, g in zip(names, grads, strict=False) if g is not None}
        u, v = seen[form.current] if form.current else x.to(real), seen[form.voltage]
        zero = x.new_zeros((1, *x.shape[1:]), dtype=real)

        def of(name: str) -> torch.Tensor:
            return got[name].flip(0) if name in got else zero

        by_pulse = got.get(d.outputs[0])
        by_time = zero if by_pulse is None else torch.cat([by_pulse[1:], zero]) - by_pulse
        constants = {
            "keep_u": call.real(named, form.keep_u, 0.0),
            "keep_v": call.real(named, form.keep_v, 0.0),
            "bias": call.real(named, form.bias, 0.0),
            "vth": call.real(named, "vth", 0.0),
            "resets": float(form.resets),
        }
        out = call.run(
            ADJOINT,
            PLAIN,
            {
                "s": s.to(real).flip(0),
                "u": u.flip(0),
                "v": v.flip(0),
                "q": by_time.flip(0),
                "of_u": of(form.current),
                "of_v": of(form.voltage),
                "of_out": of(d.outputs[1]) if len(d.outputs) > 1 else zero,
            },
            constants,
            steps=call.steps,
        )
        down, before, jumped = (out.outputs[n].flip(0) for n in ("down", "before", "jumped"))

        def previous(name: str) -> torch.Tensor:
            first = firsts[name].to(real).expand(x.shape[1:])
            return torch.cat([first[None], seen[name][:-1]])

        def of_constant(name: str) -> torch.Tensor:
            if name == form.keep_u:
                return down * previous(form.current)
            if name == form.keep_v:
                return before * previous(form.voltage)
            if name == form.bias:
                return before
            if name == "gain":
                return down * x
            # a spike that comes later by the threshold's growth, and all after its reset
            if form.resets:
                return s.to(real) * -jumped
            later = torch.cat([constants["keep_v"] * before[1:], zero])
            return s.to(real) * (later + got.get(form.voltage, zero) - jumped)

        of_constants = [
            (of_constant(n).sum(0).sum_to_size(value.shape) / call.unit(n)).to(value.dtype)
            if needed
            else None
            for n, value, needed in zip(
                call.names, kept[2 * k :], ctx.needs_input_grad[2 + k :], strict=True
            )
        ]
        at = {form.current: out.states["lam_u"], form.voltage: out.states["lam_v"]}
        at[form.current] = constants["keep_u"] * at[form.current]
        of_firsts = [
            at[s].sum_to_size(firsts[s].shape).to(firsts[s].dtype) if needed else None
            for s, needed in zip(d.states, ctx.needs_input_grad[2 : 2 + k], strict=True)
        ]
        gain = named.get("gain", 1.0)
        return None, (down * gain).to(x.dtype), *of_firsts, *of_constants
