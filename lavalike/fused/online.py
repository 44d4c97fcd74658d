"""Learning forward in time: gradients of a step's loss from eligibility traces, with memory that
does not grow with the steps.

A neuron's states h follow its input x by its own step alone: ``h[t] = f(h[t-1], x[t])``,
``s[t] = g(h[t-1], x[t])``. What a weight w did to them, ``e = dh/dw``, follows from the one step's
derivatives, which torch.autograd takes of the same Dynamics,

    e[t] = f_h e[t-1] + f_x dx/dw,      ds[t]/dw = g_h e[t-1] + g_x dx/dw

so that dL/dw is the sum over steps of ``dL/ds[t] ds[t]/dw``, with ``dL/ds[t]`` of that step alone
(e-prop: Bellec et al. 2020, A solution to the learning dilemma for recurrent networks of spiking
neurons). That is the gradient of back-propagation through time wherever losses reach weights
through the states of their own neurons only: in the last layer of a network, and in all before it
where what lies between keeps no state. Where f_h and f_x are the same for all neurons, and resets
are not differentiated, all weights of an input have one trace, of that input (OTTT: Xiao et al.
2022, Online training through time for spiking neural networks).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lavalike.dynamics import Dynamics
from lavalike.errors import InputError
from lavalike.fused.arithmetic import Training, straight
from lavalike.fused.trace import steps as stepper

Tensors = dict[str, torch.Tensor]
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
RULES = ("eprop", "online")


@dataclass(frozen=True)
class Source:
    """What drives a neuron: a message ``x`` through ``synapse``, an affine function of it;
    ``matrix`` gives its (weight, bias or None) where it is a matrix."""

    synapse: Callable[[torch.Tensor], torch.Tensor]
    x: torch.Tensor
    matrix: Callable[[], tuple[torch.Tensor, torch.Tensor | None]] | None = None


@dataclass
class Traces:
    """Before a step: ``states`` of the neuron, what each source's weights, its bias and the
    parameters did to these, by state."""

    states: Tensors
    of_weights: list[Tensors] = field(default_factory=list)
    of_bias: Tensors = field(default_factory=dict)
    of_parameters: dict[str, Tensors] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        return len(next(iter(self.states.values())))


@dataclass(frozen=True)
class _Slopes:
    """Of one step, elementwise: of each state and output, by ``wrt``."""

    states: dict[str, Tensors]
    outputs: dict[str, Tensors]


def look(
    who: str, x: torch.Tensor, form: str, fits: bool, module: torch.nn.Module, traces: Traces | None
) -> None:
    """InputError unless ``x`` is the input of a step, of ``form``, that ``fits``, on the device of
    ``module`` and of the batch of ``traces``."""
    if not fits or 0 in x.shape or x.dtype not in DTYPES:
        raise InputError(
            f"{who}: the input of a step is {form} of float32, float64 or bfloat16, got {tuple(x.shape)}, {x.dtype}"
        )
    held = next((p.device for p in module.parameters()), x.device)
    if held != x.device:
        raise InputError(
            f"{who}: the input is on {x.device}, the layer on {held}; move one to the other"
        )
    if traces is not None and traces.batch != len(x):
        raise InputError(
            f"{who}: input has shape {tuple(x.shape)}, the states are of a batch of {traces.batch}; call reset() before a new "
            "sequence or another batch"
        )


def step(
    who: str,
    rule: str,
    dynamics: Dynamics,
    training: Training,
    sources: Sequence[Source],
    parameters: Mapping[str, torch.Tensor],
    traces: Traces | None,
) -> tuple[Tensors, Tensors, Traces]:
    """One step of a layer: its outputs and states, whose gradients are those of the traces, and
    what the next one needs. No graph reaches into another step.

    Args:
        who: what errors begin with.
        rule: "eprop", a trace for each weight (batch, out, in), or "online", one for each input.
        sources: what drives the neuron, which has one input.
        parameters: the step's constants; those that require a gradient get one.
        traces: what the last step returned; None: the first step, from rest.
    """
    if rule == "online":  # resets are not differentiated, or no two neurons had the same slopes
        training = dataclasses.replace(training, reset_grad="slayer")
    (name,) = dynamics.inputs
    drives = [s.synapse(s.x) for s in sources]
    drive = sum(d.detach() for d in drives)
    assert isinstance(drive, torch.Tensor)
    like = torch.zeros_like(drive)
    if traces is None:
        traces = Traces(dict.fromkeys(dynamics.states, like))
    constants = {
        n: (v.detach() if v.numel() > 1 else v.detach().reshape(())).to(drive).expand(drive.shape)
        for n, v in parameters.items()
    }
    trained = [n for n, v in parameters.items() if v.requires_grad]
    run = _bound(dynamics, training, drive.dtype, drive.device)
    if not torch.is_grad_enabled():
        now, after = run({name: drive}, traces.states, constants)
        return now, after, Traces(after)
    now, slopes, after = _differentiated(run, {name: drive}, traces.states, constants, trained)
    new = Traces(after)

    def carried(old: Tensors, wrt: str) -> tuple[Tensors, Tensors]:
        """(of the states after, of all outputs) what something did that adds 1 to ``wrt``."""

        def total(of: Tensors) -> torch.Tensor:
            out = of[wrt]
            for s, e in old.items():
                out = out + of[s] * e
            return out

        return {k: total(v) for k, v in slopes.states.items()}, {
            k: total(v) for k, v in slopes.outputs.items()
        }

    lines: Tensors = {}

    def add(result: str, line: torch.Tensor) -> None:
        lines[result] = lines[result] + line if result in lines else line

    for n in trained:
        own, out = carried(traces.of_parameters.get(n, {}), n)
        new.of_parameters[n] = own
        value = parameters[n]
        for result, e in (out | own).items():
            add(result, e * value)
    own, out = carried(traces.of_bias, name)
    new.of_bias, of_bias = own, out | own
    for k, (source, d) in enumerate(zip(sources, drives, strict=True)):
        old = traces.of_weights[k] if traces.of_weights else None
        if rule == "eprop":
            traced, found = _by_weight(source, slopes, name, old, of_bias)
        else:
            traced, found = _by_input(who, source, d, slopes, name, old, of_bias)
        new.of_weights.append(traced)
        for result, line in found.items():
            add(result, line)
    states, outputs = ({n: straight(lines[n], v) for n, v in of.items()} for of in (after, now))
    return outputs, states, new


def _differentiated(
    run: Callable[..., Any],
    inputs: Tensors,
    states: Tensors,
    constants: Tensors,
    trained: Sequence[str],
) -> tuple[Tensors, _Slopes, Tensors]:
    """A step's outputs, its slopes by the input, each state and what is trained, and the states
    after it."""
    wrt = (*inputs, *states, *trained)
    with torch.enable_grad():
        leaves = {
            n: v.detach().requires_grad_(n in wrt) for n, v in (inputs | states | constants).items()
        }
        outputs, after = run(*({n: leaves[n] for n in of} for of in (inputs, states, constants)))
        primals, slopes = [leaves[n] for n in wrt], {}
        for n, y in (outputs | after).items():  # neurons are independent: of ones, each one's own
            found = (
                torch.autograd.grad(
                    y, primals, torch.ones_like(y), True, allow_unused=True, materialize_grads=True
                )
                if y.requires_grad
                else [torch.zeros_like(p) for p in primals]
            )
            slopes[n] = dict(zip(wrt, found, strict=True))
    return (
        {n: y.detach() for n, y in outputs.items()},
        _Slopes({n: slopes[n] for n in after}, {n: slopes[n] for n in outputs}),
        {n: y.detach() for n, y in after.items()},
    )


@functools.lru_cache(256)
def _bound(
    dynamics: Dynamics, training: Training, dtype: torch.dtype, device: torch.device
) -> Callable[..., Any]:
    """``step(inputs, states, constants)``, its numbers bound once for all steps."""
    numbers = {
        n: torch.full((), v, dtype=dtype, device=device) for n, v in training.numbers.items()
    }
    return functools.partial(stepper(dynamics, training), numbers=numbers)


def _by_weight(
    source: Source, slopes: _Slopes, name: str, old: Tensors | None, of_bias: Tensors
) -> tuple[Tensors, Tensors]:
    """A trace for each weight: those after the step, and of each result what its gradient goes
    through."""
    assert source.matrix is not None
    weight, bias = source.matrix()
    x = source.x.detach()
    results = slopes.outputs | slopes.states
    passed = torch.nn.functional.linear(source.x, weight.detach())
    traces, lines = {}, {}
    for result, slope in results.items():
        e = slope[name][..., None] * x[:, None]
        for s, before in (old or {}).items():
            e = e + slope[s][..., None] * before
        if result in slopes.states:
            traces[result] = e
        line = torch.einsum("boi,oi->bo", e, weight) + slope[name] * passed
        lines[result] = line if bias is None else line + of_bias[result] * bias
    return traces, lines


def _by_input(
    who: str,
    source: Source,
    drive: torch.Tensor,
    slopes: _Slopes,
    name: str,
    old: Tensors | None,
    of_bias: Tensors,
) -> tuple[Tensors, Tensors]:
    """A trace for each input."""
    x = source.x.detach()
    traces: Tensors = {}
    for result, slope in slopes.states.items():
        e = _one(who, result, slope[name]) * x
        for s, before in (old or {}).items():
            e = e + _one(who, result, slope[s]) * before
        traces[result] = e
    nothing = source.synapse(torch.zeros_like(x))  # its bias
    moved = {s: source.synapse(e) - nothing for s, e in (old or {}).items()}
    results, lines = slopes.outputs | slopes.states, {}
    for result, slope in results.items():
        line = slope[name] * (drive - nothing) + of_bias[result] * nothing
        for s, z in moved.items():
            line = line + slope[s] * z
        lines[result] = line
    return traces, lines


def _one(who: str, state: str, slope: torch.Tensor) -> torch.Tensor:
    """The slope that all neurons have; InputError where they differ."""
    first = slope.reshape(-1)[0]
    if not bool((slope == first).all()):
        raise InputError(
            f"{who}: rule='online' has one trace for an input, and the slopes of {state} differ among its neurons, "
            f"{float(slope.min()):g}..{float(slope.max()):g}; give all one decay, or take rule='eprop'"
        )
    return first
