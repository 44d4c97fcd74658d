"""Spike-timing dependent plasticity of a layer's weights, in snnTorch's words (after SpikingJelly).

A trace is ``trace' = trace - trace / tau + spike``; a step's change of a weight,

    f_post(w) post pre_trace - f_pre(w) pre post_trace

summed over the batch and, in a convolution, over its places. Traces of None begin at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional, grad as weights

from lavalike.arguments import FLAG, FUNCTION, arguments, instance, real, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.snn.functional import probe
from lavalike.snn.neuron import NET

Trace = torch.Tensor | float | None
Function = Callable[[torch.Tensor], torch.Tensor]
Layer = nn.Linear | nn.Conv1d | nn.Conv2d
_TAU = real(above=0)
_COMMON = {"tau_pre": _TAU, "tau_post": _TAU, "f_pre": FUNCTION, "f_post": FUNCTION}
_LINEAR = instance(nn.Linear, words="an nn.Linear")


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


def _spikes(who: str, name: str, value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        raise InputTypeError(
            f"{who}: {name} is a torch tensor, got {shown(value)} ({type(value).__name__})"
        )
    return value.detach()


def _unfit(
    who: str, pre: torch.Tensor, post: torch.Tensor, layer: Layer, why: str = ""
) -> InputError:
    return InputError(
        f"{who}: in_spike {tuple(pre.shape)} and out_spike {tuple(post.shape)} are no input and output of {layer}{why}"
    )


def _leaked(trace: Trace, spike: torch.Tensor, left: float) -> torch.Tensor:
    """A trace after a step that leaves ``left`` of it."""
    return spike.clone() if trace is None else trace * left + spike


def _products(layer: Layer, pre: torch.Tensor, post: torch.Tensor) -> torch.Tensor:
    """Sums of ``post`` times ``pre`` over batch and places, one for each weight: of a linear map
    post = W pre, the derivative to W."""
    if isinstance(layer, nn.Linear):
        return post.flatten(0, -2).T @ pre.flatten(0, -2)
    padding: Any = layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        sides = layer._reversed_padding_repeated_twice
        pre, padding = functional.pad(pre, sides, mode=mode), 0
    of_weight: Any = (
        weights.conv1d_weight if isinstance(layer, nn.Conv1d) else weights.conv2d_weight
    )
    shape = layer.weight.shape
    return of_weight(pre, shape, post, layer.stride, padding, layer.dilation, layer.groups)


def _step(
    who: str,
    layer: Layer,
    in_spike: Any,
    out_spike: Any,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function,
    f_post: Function,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pre, post = _spikes(who, "in_spike", in_spike), _spikes(who, "out_spike", out_spike)
    weight = layer.weight.detach()
    axes = weight.dim()  # of a linear layer's batch, too
    inner = weight.shape[1] if isinstance(layer, nn.Linear) else layer.in_channels
    fits = pre.dim() == post.dim() == axes and len(pre) == len(post)
    if not fits or (pre.shape[1], post.shape[1]) != (inner, weight.shape[0]):
        raise _unfit(who, pre, post, layer)
    trace_pre = _leaked(trace_pre, pre, 1 - 1 / tau_pre)
    trace_post = _leaked(trace_post, post, 1 - 1 / tau_post)
    try:
        change = f_post(weight) * _products(layer, trace_pre, post)
        change = change - f_pre(weight) * _products(layer, pre, trace_post)
    except RuntimeError as e:
        raise _unfit(who, pre, post, layer, f": {e}") from e
    return trace_pre, trace_post, change


@arguments(fc=_LINEAR, **_COMMON)
def stdp_linear_single_step(
    fc: nn.Linear,
    in_spike: torch.Tensor,
    out_spike: torch.Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function = _same,
    f_post: Function = _same,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A step of an nn.Linear: (trace_pre, trace_post, change of the weight).

    Args:
        fc: the layer.
        in_spike, out_spike: (batch, in_features), (batch, out_features).
        trace_pre, trace_post: after the step before, or None.
        tau_pre, tau_post: time constants in steps, > 0.
        f_pre, f_post: of the weights, the factors of depression and of potentiation. Default: the
            weights themselves.
    """
    return _step(
        "stdp_linear_single_step",
        fc,
        in_spike,
        out_spike,
        trace_pre,
        trace_post,
        tau_pre,
        tau_post,
        f_pre,
        f_post,
    )


@arguments(conv=instance(nn.Conv2d, words="an nn.Conv2d"), **_COMMON)
def stdp_conv2d_single_step(
    conv: nn.Conv2d,
    in_spike: torch.Tensor,
    out_spike: torch.Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function = _same,
    f_post: Function = _same,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A step of an nn.Conv2d, of any stride, padding, dilation and groups; spikes and traces
    (batch, channels, height, width) of its input and output. See
    :func:`stdp_linear_single_step`."""
    return _step(
        "stdp_conv2d_single_step",
        conv,
        in_spike,
        out_spike,
        trace_pre,
        trace_post,
        tau_pre,
        tau_post,
        f_pre,
        f_post,
    )


@arguments(conv=instance(nn.Conv1d, words="an nn.Conv1d"), **_COMMON)
def stdp_conv1d_single_step(
    conv: nn.Conv1d,
    in_spike: torch.Tensor,
    out_spike: torch.Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function = _same,
    f_post: Function = _same,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A step of an nn.Conv1d; spikes and traces (batch, channels, length). See
    :func:`stdp_conv2d_single_step`."""
    return _step(
        "stdp_conv1d_single_step",
        conv,
        in_spike,
        out_spike,
        trace_pre,
        trace_post,
        tau_pre,
        tau_post,
        f_pre,
        f_post,
    )


def _eligible(
    who: str,
    fc: nn.Linear,
    in_spike: Any,
    out_spike: Any,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function,
    f_post: Function,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pre, post = _spikes(who, "in_spike", in_spike), _spikes(who, "out_spike", out_spike)
    weight = fc.weight.detach()
    if pre.shape[-1:] != weight.shape[1:] or post.shape[-1:] != weight.shape[:1]:
        raise _unfit(who, pre, post, fc)
    trace_pre = _leaked(trace_pre, pre, math.exp(-1 / tau_pre))
    trace_post = _leaked(trace_post, post, math.exp(-1 / tau_post))
    eligibility = f_post(weight) * (post.unsqueeze(-1) * trace_pre.unsqueeze(-2))
    eligibility = eligibility - f_pre(weight) * (trace_post.unsqueeze(-1) * pre.unsqueeze(-2))
    return trace_pre, trace_post, eligibility


@arguments(fc=_LINEAR, **_COMMON)
def mstdp_linear_single_step(
    fc: nn.Linear,
    in_spike: torch.Tensor,
    out_spike: torch.Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Function = _same,
    f_post: Function = _same,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A step of reward-modulated STDP (Florian 2007): (trace_pre, trace_post, eligibility), the
    last (batch, out_features, in_features), which a reward multiplies. Traces decay by
    ``exp(-1 / tau)`` a step. Arguments: :func:`stdp_linear_single_step`."""
    return _eligible(
        "mstdp_linear_single_step",
        fc,
        in_spike,
        out_spike,
        trace_pre,
        trace_post,
        tau_pre,
        tau_post,
        f_pre,
        f_post,
    )


@arguments(fc=_LINEAR, tau_trace=_TAU, **_COMMON)
def mstdpet_linear_single_step(
    fc: nn.Linear,
    in_spike: torch.Tensor,
    out_spike: torch.Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    tau_trace: float,
    f_pre: Function = _same,
    f_post: Function = _same,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`mstdp_linear_single_step` of one sample, spikes (in_features,) and (out_features,),
    eligibility (out_features, in_features), which the caller sums into an eligibility trace:
    ``trace_e' = trace_e exp(-1 / tau_trace) + eligibility / tau_trace``. ``tau_trace`` is looked at
    and is that sum's."""
    pre = _spikes("mstdpet_linear_single_step", "in_spike", in_spike)
    if pre.dim() != 1:
        raise InputError(
            f"mstdpet_linear_single_step: in_spike is of one sample, (in_features,), got {tuple(pre.shape)}"
        )
    return _eligible(
        "mstdpet_linear_single_step",
        fc,
        in_spike,
        out_spike,
        trace_pre,
        trace_post,
        tau_pre,
        tau_post,
        f_pre,
        f_post,
    )


STEPS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.Linear: stdp_linear_single_step,
    nn.Conv1d: stdp_conv1d_single_step,
    nn.Conv2d: stdp_conv2d_single_step,
}


class STDPLearner(nn.Module):
    """Records the spikes before and after a layer, and changes its weights by them.

        learner = STDPLearner(net.fc, net.lif, tau_pre=2.0, tau_post=2.0, f_pre=..., f_post=...)
        for x in steps:
            net(x)
        learner.step()           # weight.grad -= change: an optimizer's step applies it
        learner.reset()          # before another sequence

    Example:
        >>> fc, lif = torch.nn.Linear(10, 5, bias=False), snn.Leaky(0.9)
        >>> learner = snn.functional.stdp_learner.STDPLearner(fc, lif, tau_pre=2.0, tau_post=2.0)

    Args:
        synapse: an nn.Linear, nn.Conv1d or nn.Conv2d.
        sn: the layer of neurons whose (first) output are the spikes after it.
        tau_pre, tau_post: time constants in steps, > 0.
        f_pre, f_post: of the weights, see :func:`stdp_linear_single_step`.
    """

    @arguments(
        synapse=instance(
            nn.Linear, nn.Conv1d, nn.Conv2d, words="an nn.Linear, nn.Conv1d or nn.Conv2d"
        ),
        sn=NET,
        **_COMMON,
    )
    def __init__(
        self,
        synapse: Layer,
        sn: nn.Module,
        tau_pre: float,
        tau_post: float,
        f_pre: Function = _same,
        f_post: Function = _same,
    ) -> None:
        super().__init__()
        self.tau_pre, self.tau_post = tau_pre, tau_post
        self.f_pre, self.f_post = f_pre, f_post
        self.synapse = synapse
        self.in_spike_monitor = probe.InputMonitor(synapse, type(synapse), _spike)
        self.out_spike_monitor = probe.OutputMonitor(sn, type(sn), _spike)
        self.trace_pre: torch.Tensor | None = None
        self.trace_post: torch.Tensor | None = None

    def reset(self) -> None:
        """Forget records and traces."""
        for monitor in (self.in_spike_monitor, self.out_spike_monitor):
            monitor.clear_recorded_data()
        self.trace_pre = self.trace_post = None

    def disable(self) -> None:
        """Record nothing from now on."""
        self.in_spike_monitor.disable()
        self.out_spike_monitor.disable()

    def enable(self) -> None:
        """Record from now on."""
        self.in_spike_monitor.enable()
        self.out_spike_monitor.enable()

    @arguments(on_grad=FLAG, scale=real())
    def step(self, on_grad: bool = True, scale: float = 1.0) -> torch.Tensor | None:
        """Work off the recorded steps.

        Args:
            on_grad: take the change, times ``scale``, off the weight's gradient (default), or
                return it.
            scale: its factor. Default 1.

        Raises InputError where nothing was recorded, or not as many inputs as outputs.
        """
        before, after = self.in_spike_monitor.records, self.out_spike_monitor.records
        if not before or len(before) != len(after):
            raise InputError(
                f"STDPLearner: {len(before)} inputs and {len(after)} outputs are recorded; call the network once a step, with "
                "both layers, before step()"
            )
        kind = next(k for k in STEPS if isinstance(self.synapse, k))
        change: torch.Tensor | None = None
        for x, y in zip(before, after, strict=True):
            self.trace_pre, self.trace_post, now = STEPS[kind](
                self.synapse,
                x,
                y,
                self.trace_pre,
                self.trace_post,
                self.tau_pre,
                self.tau_post,
                self.f_pre,
                self.f_post,
            )
            change = now if change is None else change + now
        assert change is not None
        self.in_spike_monitor.clear_recorded_data()
        self.out_spike_monitor.clear_recorded_data()
        change = change * scale
        if not on_grad:
            return change
        weight = self.synapse.weight
        weight.grad = -change if weight.grad is None else weight.grad - change
        return None


def _spike(value: Any) -> torch.Tensor:
    """A call's input, or the first of its outputs."""
    x: torch.Tensor = value[0] if isinstance(value, tuple) else value
    return x.detach()
