"""The model of a population: what its parameters mean, and :func:`integrate`, one fused pass over
time.

The equations are :mod:`lavalike.dynamics.adex`'s.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lavalike.bss2.errors import OperandError
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.dynamics import Dynamics
from lavalike.dynamics.adex import neuron
from lavalike.errors import InputError
from lavalike.fused import Training, scan
from lavalike.fused.surrogate import FastSigmoid

Value = float | torch.Tensor
ALPHA = 50.0


@dataclass(frozen=True)
class Params:
    """A population's parameters: one number, or tensors that broadcast to (batch, neuron). Voltages
    in any unit, times in s.

    Args:
        leak, reset, threshold: voltages. Defaults 0, 0, 1.
        tau_mem, tau_syn: time constants. Default 10 us each.
        membrane_capacitance: in units in which a current of 1 raises the membrane by dt /
            membrane_capacitance a step. Default 10e-6.
        refractory_time: how long the membrane is held at reset after a spike; 0: not at all.
            Default 0.
        fire: spikes and resets. Default True.
        leaky: False leaves the leak out; the membrane begins at 0 then.
        exponential: the exponential current, with exponential_slope and exponential_threshold.
        adaptation_strength, adaptation_increment: a and b of the adaptation current, tau_adap its
            time constant, leak_adaptation the voltage a is counted from (None: leak). Both 0: no
            adaptation. Defaults 0, 0, 100 us, None.
        exact: decays exp(-dt / tau), and the input scaled by 1 - exp(-dt / tau_mem): hxtorch's
            older form.
    """

    leak: Value = 0.0
    reset: Value = 0.0
    threshold: Value = 1.0
    tau_mem: Value = 10e-6
    tau_syn: Value = 10e-6
    membrane_capacitance: Value = 10e-6
    refractory_time: Value = 0.0
    fire: bool = True
    leaky: bool = True
    exponential: bool = False
    exponential_slope: Value = 1.0
    exponential_threshold: Value = 1.0
    adaptation_strength: Value = 0.0
    adaptation_increment: Value = 0.0
    tau_adap: Value = 100e-6
    leak_adaptation: Value | None = None
    exact: bool = False

    @property
    def adapting(self) -> bool:
        return _any(self.adaptation_strength) or _any(self.adaptation_increment)

    @property
    def refractory(self) -> bool:
        return self.fire and _any(self.refractory_time)

    def constants(self, dt: float) -> dict[str, Value]:
        """What the equations take, for steps of ``dt``."""
        gain: Value
        dv: Value
        keep: Value
        if self.exact:
            gain, dv, keep = 1 - _decay(dt, self.tau_mem), 1.0, _decay(dt, self.tau_syn)
        else:
            gain, dv, keep = (
                dt / self.membrane_capacitance,
                self.membrane_capacitance / self.tau_mem,
                1 - dt / self.tau_syn,
            )
        return {
            "gain": gain,
            "dv": dv,
            "leak": self.leak,
            "keep": keep,
            "vth": self.threshold,
            "reset": self.reset,
            "period": _steps(self.refractory_time / dt),
            "slope": self.exponential_slope,
            "knee": self.exponential_threshold,
            "keep_w": 1 - dt / self.tau_adap,
            "pull": dt / self.tau_adap * self.adaptation_strength,
            "jump": self.adaptation_increment,
            "e_adapt": self.leak if self.leak_adaptation is None else self.leak_adaptation,
        }

    def start(self) -> Value:
        """Where membranes begin."""
        return self.leak if self.leaky or _any(self.adaptation_strength) else 0.0


@dataclass(frozen=True)
class Decaying(Params):
    """Parameters of hxtorch's older form, whose time constants are told by how much of a membrane
    and of a current a step keeps.

    Args:
        keep_mem, keep_syn: exp(-dt / tau_mem), exp(-dt / tau_syn). Defaults 0.9.
    """

    keep_mem: Value = 0.9
    keep_syn: Value = 0.9

    def constants(self, dt: float) -> dict[str, Value]:
        return super().constants(dt) | {"gain": 1 - self.keep_mem, "dv": 1.0, "keep": self.keep_syn}


class _Recorded(NamedTuple):
    spikes: torch.Tensor | None = None
    membrane: torch.Tensor | None = None
    madc: torch.Tensor | None = None


class Recorded(_Recorded):
    """What a chip recorded: ``spikes`` and ``membrane``, (time, batch, neuron), and ``madc``, (2,
    samples, batch); None: nothing.

    Attributes:
        voltage: ``membrane`` and ``madc`` as hxtorch names them,
            :class:`lavalike.bss2.spiking.observables.AnalogObservable`.
        adaptation: the same of the adaptation current, where a readout source is set to it.
    """

    adaptation = AnalogObservable()

    @classmethod
    def of(
        cls, spikes: torch.Tensor | None, voltage: AnalogObservable, adaptation: AnalogObservable
    ) -> Recorded:
        """Of spikes and the two quantities that converters read."""
        made = cls(spikes, voltage.cadc, voltage.madc)
        made.adaptation = adaptation
        return made

    @property
    def voltage(self) -> AnalogObservable:
        return AnalogObservable(self.membrane, self.madc)


class Integrated(NamedTuple):
    """``spikes`` (None for neurons that do not fire), ``membrane`` (after resets), ``current``:
    (time, batch, neuron); ``states`` after the last step; ``adaptation``: as the current, None for
    neurons that do not adapt."""

    spikes: torch.Tensor | None
    membrane: torch.Tensor
    current: torch.Tensor
    states: dict[str, torch.Tensor]
    adaptation: torch.Tensor | None = None


def integrate(
    x: torch.Tensor,
    params: Params,
    dt: float,
    hw: Recorded | None = None,
    alpha: float = ALPHA,
    states: dict[str, torch.Tensor] | None = None,
    recurrent: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> Integrated:
    """Run a population over weighted input spikes.

    Args:
        x: (time, batch, neuron), float32 or float64.
        params: of the population.
        dt: s.
        hw: recorded spikes and membranes to inject: their values, the model's gradients. Steps
            beyond the recording are left out.
        alpha: of the surrogate gradient 1 / (alpha |v - threshold| + 1)**2 (SuperSpike). Default
            50.
        states: to begin with, as :class:`Integrated` returns them. Default: membranes at leak, the
            rest 0.
        recurrent: weights (neuron, neuron), (out, in), by which spikes come back as input in the
            step after. Goes step by step.
        mask: (neuron,) of 0 and 1: whose spikes are seen, outside and by ``recurrent``. Default:
            all.
    """
    check_input(x)
    hw = Recorded() if hw is None else hw
    given = {
        n: r
        for n, r in (
            ("fired", hw.spikes if params.fire else None),
            ("seen", hw.membrane),
            ("noted", hw.adaptation.cadc if params.adapting else None),
        )
        if r is not None
    }
    for name, r in given.items():
        if r.shape[1:] != x.shape[1:]:
            what = {"fired": "spikes", "seen": "membranes", "noted": "adaptation currents"}[name]
            raise OperandError(
                f"integrate: recorded {what} have shape {tuple(r.shape)}; "
                f"expected {('time', *x.shape[1:])}"
            )
    steps = min(len(v) for v in (x, *given.values()))
    d = neuron(
        params.fire,
        params.refractory,
        params.exponential,
        params.adapting,
        "fired" in given,
        "seen" in given,
        params.leaky,
        "noted" in given,
    )
    inputs = {"a_in": x[:steps]} | {n: r[:steps].to(x.dtype) for n, r in given.items()}
    start = (
        {"v": torch.as_tensor(params.start(), dtype=x.dtype, device=x.device)}
        if states is None
        else states
    )
    seen = mask.to(x) if mask is not None and params.fire else None
    go = functools.partial(
        _pass, d, Training(FastSigmoid(alpha), "detach"), params.constants(dt), seen
    )
    return go(inputs, start) if recurrent is None else _recurring(go, inputs, start, recurrent)


def _pass(
    d: Dynamics,
    training: Training,
    constants: dict[str, Value],
    mask: torch.Tensor | None,
    inputs: dict[str, torch.Tensor],
    states: dict[str, torch.Tensor],
) -> Integrated:
    fires, adapts = "s_out" in d.outputs, "w" in d.states
    wanted = (*["i", "v"][: 1 + fires], *["w"] * adapts)
    out = scan(d, training, inputs, constants, states, wanted)
    spikes = out.outputs.get("s_out")
    spikes = spikes if spikes is None or mask is None else spikes * mask
    membrane = out.outputs["v" if fires else "v_out"]
    return Integrated(spikes, membrane, out.outputs["i"], out.states, out.outputs.get("w"))


def _recurring(
    go: Callable[..., Integrated],
    inputs: dict[str, torch.Tensor],
    states: dict[str, torch.Tensor],
    recurrent: torch.Tensor,
) -> Integrated:
    rows: list[Integrated] = []
    for t in range(len(inputs["a_in"])):
        now = {n: x[t : t + 1] for n, x in inputs.items()}
        sent = rows[-1].spikes if rows else None
        if sent is not None:
            now["a_in"] = now["a_in"] + sent @ recurrent.t()
        rows.append(go(now, states))
        states = rows[-1].states
    return Integrated(
        _joined([r.spikes for r in rows]),
        torch.cat([r.membrane for r in rows]),
        torch.cat([r.current for r in rows]),
        states,
        _joined([r.adaptation for r in rows]),
    )


def _joined(parts: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Of all steps, or None where there is nothing of any."""
    there = [p for p in parts if p is not None]
    return torch.cat(there) if there else None


def check_input(x: torch.Tensor) -> None:
    if x.dim() != 3 or x.dtype not in (torch.float32, torch.float64):
        raise OperandError(
            f"a float32 or float64 tensor (time, batch, neuron) is expected as input, got {x.dtype} {tuple(x.shape)}"
        )
    if 0 in x.shape:
        raise InputError(
            f"a run of no length: input has shape {tuple(x.shape)} (time, batch, neuron), none may be 0"
        )


def _decay(dt: float, tau: Value) -> Value:
    return torch.exp(-dt / tau) if isinstance(tau, torch.Tensor) else math.exp(-dt / tau)


def _steps(period: Value) -> Value:
    """Whole where only rounding keeps it from that: 3e-6 / 1e-6 is not 3, and the rest would hold
    the membrane for a step more."""
    if not isinstance(period, torch.Tensor):
        return round(period) if abs(period - round(period)) <= 1e-9 * max(1.0, period) else period
    whole = torch.round(period)
    return torch.where(
        (period - whole).abs() <= 16 * torch.finfo(period.dtype).eps * whole, whole, period
    )


def _any(value: Value) -> bool:
    """Whether it acts; what is trained does, whatever its value is now."""
    return (
        value.requires_grad or bool((value != 0).any())
        if isinstance(value, torch.Tensor)
        else value != 0
    )
