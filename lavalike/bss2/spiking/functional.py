"""Integration of neurons as functions, under the names and parameters of hxtorch's earlier
functional interface.

As a layer's ``func`` (:mod:`lavalike.bss2.snn`) they compute what
:class:`lavalike.bss2.spiking.LIF` and ``LI`` do; the layer takes its settings from their
parameters, so that a chip is set up alike.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch

from lavalike.arguments import (
    FLAG,
    TENSOR,
    TEXT,
    Rule,
    arguments,
    choice,
    instance,
    numbers,
    optional,
    real,
    trained,
)
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import OperandError, OperandTypeError
from lavalike.bss2.hxtorch.aliases import Keeping
from lavalike.bss2.spiking.eventprop import (
    EventPropLIFFunction as EventPropLIFFunction,
    EventPropSynapseFunction as EventPropSynapseFunction,
)
from lavalike.bss2.spiking.handle import Handle, alike
from lavalike.bss2.spiking.neuron import ALPHA, Decaying, Params, Recorded, Value, integrate
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.bss2.spiking.population import capacitance
from lavalike.errors import InputError
from lavalike.fused import surrogate

__path__: list[str] = []  # its submodules are itself, see lavalike.bss2.hxtorch.aliases
TERMS = (
    "leaky",
    "fire",
    "refractory",
    "exponential",
    "subthreshold_adaptation",
    "spike_triggered_adaptation",
)
STEP_FLAGS = (
    *TERMS,
    "hw_voltage_trace_available",
    "hw_adaptation_trace_available",
    "hw_spikes_available",
)
DT = 1e-6  # of the older form, whose constants hold their step


class CUBALIFParams(NamedTuple):
    """``tau_mem_inv``, ``tau_syn_inv``: 1 / s; ``tau_ref``: s; ``v_leak``, ``v_th``, ``v_reset``:
    voltages; ``alpha``: of the surrogate."""

    tau_mem_inv: Value
    tau_syn_inv: Value
    tau_ref: Value = 0.0
    v_leak: Value = 0.0
    v_th: Value = 1.0
    v_reset: Value = 0.0
    alpha: float = ALPHA
    method: str = "superspike"

    def settings(self) -> dict[str, Any]:
        """Of a LIF."""
        return {
            "leak": self.v_leak,
            "reset": self.v_reset,
            "threshold": self.v_th,
            "refractory_time": self.tau_ref,
            "alpha": self.alpha,
            "method": self.method,
            **_times(self.tau_mem_inv, self.tau_syn_inv),
        }


class CUBALIParams(NamedTuple):
    """As :class:`CUBALIFParams`."""

    tau_mem_inv: Value
    tau_syn_inv: Value
    v_leak: Value = 0.0

    def settings(self) -> dict[str, Any]:
        """Of an LI."""
        return {"leak": self.v_leak, **_times(self.tau_mem_inv, self.tau_syn_inv)}


def _checked(cls: Any) -> None:
    """What a NamedTuple is made with is looked at: its class statement takes no __new__ of its
    own."""
    rules = {"tau_mem_inv": numbers(above=0), "tau_syn_inv": numbers(above=0), "v_leak": numbers()}
    if "v_th" in cls._fields:
        rules |= {
            "tau_ref": numbers(0),
            "v_th": numbers(),
            "v_reset": numbers(),
            "alpha": real(above=0),
            "method": choice("superspike", "eventprop"),
        }
    cls.__new__ = arguments(**rules)(cls.__new__)


_checked(CUBALIFParams)
_checked(CUBALIParams)
_INTEGRATED: dict[str, Rule] = {
    "input": TENSOR,
    "hw_data": optional(instance(Recorded)),
    "dt": real(above=0, below=1),
}


@arguments(params=instance(CUBALIFParams), **_INTEGRATED)
def cuba_lif_integration(
    input: torch.Tensor,
    params: CUBALIFParams,
    hw_data: Recorded | None = None,
    dt: float = 1e-6,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Spikes, membrane and current, (time, batch, neuron) each, of the weighted spikes ``input``;
    ``hw_data``: recorded ones to inject."""
    if params.method != "superspike":
        raise InputError(
            f"cuba_lif_integration: method is 'superspike', got {params.method!r}; EventPropLIF has its own layer"
        )
    tau = 1 / params.tau_mem_inv
    p = Params(
        params.v_leak, params.v_reset, params.v_th, tau, 1 / params.tau_syn_inv, tau, params.tau_ref
    )
    out = integrate(input, p, dt, hw_data, float(params.alpha))
    return out.spikes, out.membrane, out.current  # type: ignore[return-value]  # a LIF has one membrane and one current


@arguments(params=instance(CUBALIParams), **_INTEGRATED)
def cuba_li_integration(
    input: torch.Tensor, params: CUBALIParams, hw_data: Recorded | None = None, dt: float = 1e-6
) -> torch.Tensor:
    """The membrane, (time, batch, neuron), of the weighted spikes ``input``."""
    tau = 1 / params.tau_mem_inv
    p = Params(
        params.v_leak,
        tau_mem=tau,
        tau_syn=1 / params.tau_syn_inv,
        membrane_capacitance=tau,
        fire=False,
    )
    return integrate(input, p, dt, hw_data).membrane


CUBA: dict[str, Rule] = {
    "input": Rule(
        "a tensor (time, batch, neuron), or a tuple of some that arrive together",
        lambda v: (
            isinstance(v, torch.Tensor)
            or (isinstance(v, tuple) and all(isinstance(x, torch.Tensor) for x in v))
        ),
    ),
    "hw_data": optional(instance(Recorded, Handle, words="a Recorded, or a Handle of its parts")),
}


_VOLTAGE, _KEPT, _TIME = trained(numbers()), trained(numbers(above=0)), trained(numbers(above=0))


@arguments(
    leak=_VOLTAGE,
    reset=_VOLTAGE,
    threshold=_VOLTAGE,
    tau_syn_exp=_KEPT,
    tau_mem_exp=_KEPT,
    method=choice("superspike"),
    alpha=real(above=0),
    **CUBA,
)
def exp_cuba_lif_integration(
    input: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    leak: Value,
    reset: Value,
    threshold: Value,
    tau_syn_exp: Value,
    tau_mem_exp: Value,
    method: str,
    alpha: float,
    hw_data: Recorded | Handle | None = None,
) -> tuple[torch.Tensor | None, ...]:
    """hxtorch's older, exponential LIF: ``v = keep (v - leak) + leak + (1 - keep) i``, then ``i =
    keep i + x``.

    Args:
        input: weighted spikes (time, batch, neuron), or a tuple of what arrives together.
        leak, reset, threshold: voltages.
        tau_mem_exp, tau_syn_exp: what a step keeps, exp(-dt / tau).
        method, alpha: of the surrogate gradient, as :class:`lavalike.bss2.spiking.LIF`.
        hw_data: what a chip recorded, to inject. Default None.

    Returns:
        Spikes, membrane and current, (time, batch, neuron), and the recording of the MADC or None.
    """
    p = Decaying(leak, reset, threshold, keep_mem=tau_mem_exp, keep_syn=tau_syn_exp)
    hw = _recorded(hw_data)
    out = integrate(_together(input, "exp_cuba_lif_integration"), p, DT, hw, float(alpha))
    return *_own(out.spikes, out.membrane, out.current), None if hw is None else hw.madc


@arguments(leak=_VOLTAGE, tau_syn_exp=_KEPT, tau_mem_exp=_KEPT, **CUBA)
def exp_cuba_li_integration(
    input: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    leak: Value,
    tau_syn_exp: Value,
    tau_mem_exp: Value,
    hw_data: Recorded | Handle | None = None,
) -> tuple[torch.Tensor | None, ...]:
    """:func:`exp_cuba_lif_integration` of neurons that do not fire: membrane and current, and the
    recording of the MADC or None."""
    p = Decaying(leak, fire=False, keep_mem=tau_mem_exp, keep_syn=tau_syn_exp)
    hw = _recorded(hw_data)
    out = integrate(_together(input, "exp_cuba_li_integration"), p, DT, hw)
    return *_own(out.membrane, out.current), None if hw is None else hw.madc


_STEPS: dict[str, CuBaStepCode] = {}  # by what generate() returned


class CuBaStepCode:
    """Which terms an integration step has, and which of its quantities a chip recorded. hxtorch
    prints such a step as source text that it executes; here :meth:`generate` names the one that is
    put together of the equation's terms.

    Args:
        leaky, fire, refractory, exponential, subthreshold_adaptation, spike_triggered_adaptation:
            terms, as of :class:`lavalike.bss2.spiking.AELIF`. Defaults True, True and False for the
            others.
        hw_voltage_trace_available, hw_adaptation_trace_available, hw_spikes_available: what of
            ``hw_data`` is injected. Defaults False.
    """

    @arguments(**dict.fromkeys(STEP_FLAGS, FLAG))
    def __init__(
        self,
        leaky: bool = True,
        fire: bool = True,
        refractory: bool = False,
        exponential: bool = False,
        subthreshold_adaptation: bool = False,
        spike_triggered_adaptation: bool = False,
        hw_voltage_trace_available: bool = False,
        hw_adaptation_trace_available: bool = False,
        hw_spikes_available: bool = False,
    ) -> None:
        self.leaky, self.fire, self.refractory = leaky, fire, refractory
        self.exponential = exponential
        self.subthreshold_adaptation = subthreshold_adaptation
        self.spike_triggered_adaptation = spike_triggered_adaptation
        self.hw_voltage_trace_available = hw_voltage_trace_available
        self.hw_adaptation_trace_available = hw_adaptation_trace_available
        self.hw_spikes_available = hw_spikes_available

    def generate(self) -> str:
        """The name of the step, for :func:`cuba_aelif_integration`."""
        text = "step: " + ", ".join(n for n in STEP_FLAGS if getattr(self, n))
        _STEPS[text] = self
        return text


@arguments(
    **dict.fromkeys(
        (
            "leak",
            "reset",
            "threshold",
            "exp_threshold",
            "subthreshold_adaptation_strength",
            "spike_triggered_adaptation_increment",
        ),
        _VOLTAGE,
    ),
    **dict.fromkeys(("tau_syn", "c_mem", "exp_slope", "tau_adap"), _TIME),
    g_l=optional(_TIME),
    refractory_time=trained(numbers(0)),
    method=choice("superspike"),
    alpha=real(above=0),
    dt=real(above=0, below=1),
    **dict.fromkeys(TERMS, FLAG),
    integration_step_code=TEXT,
    **CUBA,
)
def cuba_aelif_integration(
    input: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    leak: Value,
    reset: Value,
    threshold: Value,
    tau_syn: Value,
    c_mem: Value,
    g_l: Value | None,
    refractory_time: Value,
    method: str,
    alpha: float,
    exp_slope: Value,
    exp_threshold: Value,
    subthreshold_adaptation_strength: Value,
    spike_triggered_adaptation_increment: Value,
    tau_adap: Value,
    hw_data: Recorded | Handle | None = None,
    dt: float = 1e-6,
    leaky: bool = True,
    fire: bool = True,
    refractory: bool = False,
    exponential: bool = False,
    subthreshold_adaptation: bool = False,
    spike_triggered_adaptation: bool = False,
    integration_step_code: str,
) -> tuple[torch.Tensor | None, ...]:
    """The neuron of :mod:`lavalike.dynamics.adex` over weighted spikes.

    Args:
        input: (time, batch, neuron), or a tuple of what arrives together.
        leak, reset, threshold, tau_syn, refractory_time, tau_adap, exp_slope, exp_threshold,
            subthreshold_adaptation_strength, spike_triggered_adaptation_increment: as of
            :class:`lavalike.bss2.spiking.AELIF`.
        c_mem, g_l: of the membrane, whose time constant is c_mem / g_l; g_l None: 1.
        method, alpha: of the surrogate gradient.
        hw_data: what a chip recorded; as much of it is injected as the step says. Default None.
        dt: s, default 1e-6.
        leaky, fire, refractory, exponential, subthreshold_adaptation, spike_triggered_adaptation:
            terms; the step has the same.
        integration_step_code: of :meth:`CuBaStepCode.generate`.

    Returns:
        Membrane, its MADC recording or None, current, adaptation current, its MADC recording or
        None, spikes (0 of neurons that do not fire).

    Raises:
        OperandError: a step that ``CuBaStepCode`` did not make: text is not executed. Write a
            layer's ``forward_func`` for equations of your own.
        InputError: terms that differ from the step's, or a step that injects what is not recorded.
    """
    who = "cuba_aelif_integration"
    step = _STEPS.get(integration_step_code)
    if step is None:
        raise OperandError(
            f"{who}: integration_step_code is what CuBaStepCode(...).generate() returned; source text is not executed. Write "
            "a layer's forward_func for equations of your own"
        )
    asked = {
        "leaky": leaky,
        "fire": fire,
        "refractory": refractory,
        "exponential": exponential,
        "subthreshold_adaptation": subthreshold_adaptation,
        "spike_triggered_adaptation": spike_triggered_adaptation,
    }
    other = [n for n, on in asked.items() if on != getattr(step, n)]
    if other:
        raise InputError(
            f"{who}: {other[0]} is {asked[other[0]]} here and {not asked[other[0]]} in the step; say it alike in both"
        )
    hw = _recorded(hw_data)
    told = Recorded() if hw is None else hw
    found = {
        "hw_spikes_available": told.spikes,
        "hw_voltage_trace_available": told.membrane,
        "hw_adaptation_trace_available": told.adaptation.cadc,
    }
    for name, value in found.items():
        if getattr(step, name) and value is None:
            raise InputError(
                f"{who}: the step has {name}, but hw_data holds no such recording; leave it out of CuBaStepCode"
            )
    injected = Recorded.of(
        told.spikes if step.hw_spikes_available else None,
        AnalogObservable(told.membrane if step.hw_voltage_trace_available else None, told.madc),
        told.adaptation if step.hw_adaptation_trace_available else AnalogObservable(),
    )
    p = Params(
        leak,
        reset,
        threshold,
        c_mem if g_l is None else c_mem / g_l,
        tau_syn,
        c_mem,
        refractory_time if refractory else 0.0,
        fire,
        leaky,
        exponential,
        exp_slope,
        exp_threshold,
        subthreshold_adaptation_strength if subthreshold_adaptation else 0.0,
        spike_triggered_adaptation_increment if spike_triggered_adaptation else 0.0,
        tau_adap,
    )
    x = _together(input, who)
    out = integrate(x, p, dt, injected, float(alpha))
    still = torch.zeros_like(out.membrane)
    membrane, current, adaptation, spikes = _own(
        out.membrane,
        out.current,
        still if out.adaptation is None else out.adaptation,
        still if out.spikes is None else out.spikes,
    )
    return membrane, told.madc, current, adaptation, told.adaptation.madc, spikes


@arguments(input=TENSOR, method=choice("superspike"), alpha=real(above=0))
def threshold(input: torch.Tensor, method: str, alpha: float) -> torch.Tensor:
    """1 where ``input`` is above 0, with the gradient ``1 / (alpha |input| + 1)**2``."""
    return surrogate.spike(input, None, False, surrogate.FastSigmoid(float(alpha)))


@arguments(input=TENSOR, weight=TENSOR, bias=optional(TENSOR))
def linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``input @ weight.T + bias``."""
    return torch.nn.functional.linear(input, weight, bias)


@arguments(input=TENSOR, weight=TENSOR, connections=optional(TENSOR), bias=optional(TENSOR))
def linear_sparse(
    input: torch.Tensor,
    weight: torch.Tensor,
    connections: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`linear` with the weights where ``connections`` (out, in) is not 0; ``weight`` is left
    as it is."""
    w = weight if connections is None else weight * (connections != 0)
    return torch.nn.functional.linear(input, w, bias)


@arguments(
    inputs=TENSOR,
    weight=TENSOR,
    bias=optional(TENSOR),
    cap=real(above=0),
    start_weight=real(0, facts.WEIGHT_MAX),
    quantize=FLAG,
)
def linear_exponential_clamp(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    cap: float = 1.5,
    start_weight: float = 61.0,
    quantize: bool = False,
) -> torch.Tensor:
    """:func:`linear` with weights that follow an exponential towards ``cap`` from ``start_weight``
    / 63 of it on; with ``quantize`` rounded to multiples of cap / 63, which the gradient passes as
    if nothing was rounded. (The transform of the same name in ``transforms.weight_transforms``
    passes the bend so, too.)"""
    cap = float(cap)
    unit = cap / facts.WEIGHT_MAX
    bend = start_weight * unit
    room, size = cap - bend, weight.abs()
    over = (size - bend).clamp(min=0)
    bent = cap - room * torch.exp(-over / room) if room > 0 else size.clamp(max=cap)
    w = torch.where(size > bend, weight.sign() * bent, weight)
    if quantize:
        w = w + (torch.round(w / unit) * unit - w).detach()
    return torch.nn.functional.linear(inputs, w, bias)


@arguments(input=TENSOR, mask=TENSOR)
def batch_dropout(input: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``input`` where ``mask`` (neuron,) is not 0, else 0."""
    return input * mask.to(input.device)


@arguments(input=TENSOR, hw_data=optional(TENSOR))
def input_neuron(input: torch.Tensor, hw_data: torch.Tensor | None = None) -> torch.Tensor:
    """``input``, or what was recorded of it: the recording's values, the input's gradient."""
    if hw_data is None:
        return input
    recorded = hw_data.to(input)[: len(input)]
    x = input[: len(recorded)]
    return x + (recorded - x).detach()


def _own(*outputs: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    """Tensors that may be changed in place, as hxtorch's may."""
    return tuple(None if x is None else x.clone() for x in outputs)


def _together(input: torch.Tensor | tuple[torch.Tensor, ...], who: str) -> torch.Tensor:
    return torch.stack(alike(list(input), who)).sum(0) if isinstance(input, tuple) else input


def _recorded(hw_data: Recorded | Handle | None) -> Recorded | None:
    """``hw_data``, also of hxtorch's form: a handle of ``spikes``, ``voltage``, ``adaptation``."""
    if hw_data is None or isinstance(hw_data, Recorded):
        return hw_data
    parts: dict[str, Any] = {
        n: getattr(hw_data, n, None) for n in ("spikes", "voltage", "adaptation")
    }
    for name in ("voltage", "adaptation"):
        if parts[name] is None:
            parts[name] = AnalogObservable()
        elif not isinstance(parts[name], AnalogObservable):
            raise OperandTypeError(
                f"hw_data: {name} is an AnalogObservable(cadc, madc), got {type(parts[name]).__name__}"
            )
    return Recorded.of(**parts)


def _times(tau_mem_inv: Value, tau_syn_inv: Value) -> dict[str, Any]:
    tau = 1 / tau_mem_inv
    return {"tau_mem": tau, "tau_syn": 1 / tau_syn_inv, "membrane_capacitance": capacitance(tau)}


sys.modules[__name__].__class__ = Keeping
