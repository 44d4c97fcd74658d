"""EventProp: spikes forward, the adjoint equations backward (Wunderlich and Pehle 2021, as hxtorch
discretises them).

Forward the population of :func:`lavalike.bss2.spiking.neuron.integrate` without refractoriness,
with membrane_capacitance = tau_mem. Backward, from the last step to the first, with i the current
that the membrane of step t took:

    lam_i[t-1] = lam_i[t] + dt / tau_syn (lam_v[t] - lam_i[t])
    lam_v[t-1] = (1 - dt / tau_mem) lam_v[t],   where s[t]:  ((leak - reset + i) lam_v[t-1] + dL/ds[t]) / (leak - threshold + i)

To the weights goes tau_syn lam_i, to the input spikes lam_v - lam_i; the loss is a function of the
spikes.
"""  # noqa: W505

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from lavalike.bss2.errors import OperandError, OperandTypeError
from lavalike.bss2.spiking.neuron import Integrated, Params, Recorded, integrate
from lavalike.dynamics.adex import ADJOINT
from lavalike.fused import Training, products, scan
from lavalike.fused.arithmetic import a_step_late
from lavalike.fused.surrogate import FastSigmoid


class EventPropLIFFunction:
    """``apply(input, leak, reset, threshold, tau_syn, tau_mem, hw_data=None, dt=1e-6)``: spikes,
    membrane and current, (time, batch, neuron) each, of an EventPropSynapse's output (2, time,
    batch, neuron), with EventProp's gradient for it. The others get none.
    """

    @staticmethod
    def apply(
        input: torch.Tensor,
        leak: Any,
        reset: Any,
        threshold: Any,
        tau_syn: Any,
        tau_mem: Any,
        hw_data: Recorded | None = None,
        dt: float = 1e-6,
    ) -> Any:
        """See the class."""
        p = Params(*(_detached(v) for v in (leak, reset, threshold, tau_mem, tau_syn)))
        out = integrate_eventprop(input, p, dt, hw_data)
        return out.spikes, out.membrane, out.current


def _detached(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return float(value) if value.numel() == 1 else value.detach()


class EventPropSynapseFunction(torch.autograd.Function):
    """``apply(input, weight)``: an EventPropSynapse's output (2, time, batch, out), weighted spikes
    and zeros. The weights' gradient comes by the first half of the output's, the input spikes' by
    the second."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: None = None) -> torch.Tensor:
        if bias is not None:
            raise OperandTypeError("EventPropSynapseFunction: a synapse has no bias; leave it out")
        ctx.save_for_backward(x, weight)
        out = x.new_zeros(2, *x.shape[:2], len(weight))
        out[0] = weigh(x, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = grad[1] @ weight if ctx.needs_input_grad[0] else None
        of_weight = grad[0].flatten(0, 1).t() @ x.flatten(0, 1) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None


def weigh(spikes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(time, batch, in) by (out, in) to (time, batch, out): one product for all steps."""
    return products.linear(spikes.flatten(0, 1), weight).unflatten(0, spikes.shape[:2])


class _EventProp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, params: Params, dt: float, hw: Recorded | None) -> Any:
        out = integrate(x[0], params, dt, hw)
        assert out.spikes is not None  # params of neurons that fire
        steps = len(out.membrane)
        # counted as hxtorch does: an input acts on the current one step later
        current = a_step_late(out.current)
        ctx.setup = params, dt, x.shape
        ctx.save_for_backward(out.spikes, current)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(out.membrane, current)
        return out.spikes[:steps], out.membrane, current

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor | None, *_: Any) -> Any:
        params, dt, shape = ctx.setup
        spikes, current = ctx.saved_tensors
        out = spikes.new_zeros(shape)
        if grad is not None and len(spikes) > 1:
            steps = len(spikes)
            c = params.constants(dt)
            backwards = {
                "s": spikes[1:].flip(0),
                "i": current[:-1].flip(0),
                "grad": grad[1:].flip(0),
            }
            # "detach" and the surrogate differentiate nothing here
            made = scan(
                ADJOINT,
                Training(FastSigmoid(), "detach"),
                backwards,
                {
                    "rate": dt / params.tau_mem,
                    "rate_syn": dt / params.tau_syn,
                    "e_leak": c["leak"],
                    "vth": c["vth"],
                    "v_reset": c["reset"],
                },
                record=("lam_i",),
            ).outputs
            out[0, : steps - 1] = made["lam_i"].flip(0) * params.tau_syn
            out[1, : steps - 1] = made["down"].flip(0)
        return out, None, None, None


def integrate_eventprop(
    x: torch.Tensor, params: Params, dt: float, hw: Recorded | None = None
) -> Integrated:
    """:func:`lavalike.bss2.spiking.neuron.integrate` with EventProp's gradient.

    Args:
        x: (2, time, batch, neuron), of an EventPropSynapse.
        params: of neurons that fire; refractory_time and membrane_capacitance do not act.
        dt: s.
        hw: recorded spikes and membranes to inject.
    """
    if x.dim() != 4 or len(x) != 2:
        raise OperandError(
            f"EventProp: input (2, time, batch, neuron) of an EventPropSynapse is expected, got {tuple(x.shape)}"
        )
    spikes, membrane, current = _EventProp.apply(x, as_eventprop(params), dt, hw)
    return Integrated(spikes, membrane, current, {})


def as_eventprop(params: Params) -> Params:
    """``params`` as EventProp's equations take them."""
    return dataclasses.replace(params, refractory_time=0.0, membrane_capacitance=params.tau_mem)
