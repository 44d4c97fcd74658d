"""What the model's numbers are on the chip: voltages in CADC LSB, weights in -63..63, and the
chip's ranges.

A firing population's leak and threshold, in the model and on the chip, fix its voltage scale. A
readout's is fitted to the range its membranes take, or told by its trace_scale. Weights are scaled
so that the largest of all that arrive at a population is 63, or as the transform of one of its
synapses says: a population has one synaptic gain, so that all have the same scale.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RangeError
from lavalike.bss2.spiking.parameter import HXBaseParameter, Plain
from lavalike.bss2.spiking.population import PopulationModule
from lavalike.bss2.spiking.synapse import Projection
from lavalike.bss2.spiking.transforms.weight_transforms import (
    linear_exponential_clamp,
    linear_saturating,
)
from lavalike.errors import InputError

Value = float | torch.Tensor
VOLTAGES = ("leak", "reset", "threshold")
LEAK, THRESHOLD, READOUT_LEAK = (
    80.0,
    125.0,
    120.0,
)  # LSB, where the user names none; a readout's in the middle of what the CADC reads well
SILENT = 1e-9
HEADROOM = 0.8  # of the CADC's reliable range that a fitted readout uses


@dataclass(frozen=True)
class Voltage:
    """``lsb = zero_lsb + (v - zero) * per_unit``"""

    zero: Value
    zero_lsb: Value
    per_unit: Value

    def lsb(self, v: Any) -> Any:
        return v * self.per_unit + (self.zero_lsb - self.zero * self.per_unit)

    def model(self, lsb: Any) -> Any:
        return lsb * (1 / self.per_unit) + (self.zero - self.zero_lsb / self.per_unit)


def voltage_of(population: PopulationModule, fitted: float | None = None) -> Voltage:
    """The voltage scale of ``population``; ``fitted``: LSB per unit of a readout's membrane.
    RangeError where the chip cannot hold it."""
    p = population.chip_parameters
    leak = p["leak"].model_value
    leak = leak.detach() if isinstance(leak, torch.Tensor) else leak
    if not population.fires:
        told = _told(p["leak"], "leak", population.name)
        zero = READOUT_LEAK if told is None else told
        scale = population.trace_scale
        free = 1.0 if fitted is None else fitted
        return Voltage(leak, zero, free if scale is None else 1 / scale)
    low: Value
    high: Value
    if all(isinstance(p[n], Plain) for n in VOLTAGES):
        if all(_within(n, p[n].model_value) for n in VOLTAGES):
            return Voltage(leak, leak, 1.0)
        low, high = LEAK, THRESHOLD
    else:
        both = [_told(p[n], n, population.name) for n in ("leak", "threshold")]
        low, high = (
            default if v is None else v for v, default in zip(both, (LEAK, THRESHOLD), strict=True)
        )
    check_range("leak", low, population.name)
    check_range("threshold", high, population.name)
    threshold = p["threshold"].model_value
    threshold = threshold.detach() if isinstance(threshold, torch.Tensor) else threshold
    if _all(leak == low) and _all(threshold == high):  # told in LSB, also at or below the leak
        return Voltage(leak, leak, 1.0)
    rise = threshold - leak
    per_unit = (high - low) / rise
    if not _all(per_unit > 0) or not _all(rise != 0):
        raise InputError(
            f"{population.name}: the threshold lies above leak, in the model and on the chip; got leak {leak}, threshold "
            f"{p['threshold'].model_value}, on the chip {low} and {high} LSB"
        )
    return Voltage(leak, low, per_unit)


def reset_of(population: PopulationModule, voltage: Voltage) -> Value:
    """Where the chip resets to, in the model's unit."""
    p = population.chip_parameters["reset"]
    lsb = None if isinstance(p, Plain) else p.on_chip(f"{population.name}: reset")
    lsb = (
        voltage.lsb(
            p.model_value.detach() if isinstance(p.model_value, torch.Tensor) else p.model_value
        )
        if lsb is None
        else lsb
    )
    check_range("reset", lsb, population.name)
    return voltage.model(lsb)


def chip_value(population: PopulationModule, name: str) -> Value:
    """A parameter other than a voltage as the chip is set, within its range; the model's where it
    has none of its own."""
    p = population.chip_parameters[name]
    value = p.on_chip(f"{population.name}: {name}")
    if value is None or (isinstance(p, Plain) and not p.trainable):
        value = population.seconds(name, p.model_value)
    check_range(name, value, population.name)
    return value


def check_range(name: str, value: Value, who: str) -> None:
    if name in facts.RANGES and not _within(name, value):
        r = facts.RANGES[name]
        bad = (
            float(value[(value < r.low) | (value > r.high)].flatten()[0])
            if isinstance(value, torch.Tensor)
            else value
        )
        raise RangeError(
            f"{who}: {name} on the chip is within {r.low:g}..{r.high:g} {r.unit}, got {bad:g}; change it, or give the chip "
            f"another value "
            "than the model: MixedHXModelParameter(model, chip)"
        )


def fit_readout(population: PopulationModule, membrane: torch.Tensor) -> float | None:
    """LSB per unit so that ``membrane`` keeps to HEADROOM of what the CADC reads reliably; None
    where it never leaves leak."""
    v = voltage_of(population)
    low, high = facts.CADC_RELIABLE
    up, down = float((membrane - v.zero).max()), float((v.zero - membrane).max())
    if max(up, down) <= SILENT:
        return None
    return HEADROOM * min(
        _lowest(high - v.zero_lsb) / max(up, SILENT), _lowest(v.zero_lsb - low) / max(down, SILENT)
    )


def unfitted(population: PopulationModule) -> float:
    """LSB per unit of a readout that nothing has moved yet: as if its membrane went to 1 and to
    -1."""
    v = voltage_of(population)
    low, high = facts.CADC_RELIABLE
    return HEADROOM * min(_lowest(high - v.zero_lsb), _lowest(v.zero_lsb - low))


@dataclass(frozen=True)
class ChipWeights:
    """``values``: (out, in), whole numbers in -63..63; ``scale``: LSB per unit of the model's
    weights; ``clipped``: how many were beyond."""

    values: torch.Tensor
    scale: float
    clipped: int


def finite_weights(projection: Projection) -> torch.Tensor:
    """The model's weights, (out, in)."""
    w = projection.matrix().detach()
    if not bool(w.isfinite().all()):
        raise RangeError(
            f"{projection.name}: weights are finite, some are nan or infinite; correct them"
        )
    return w


def chip_weights(projections: list[Projection]) -> list[ChipWeights]:
    """Of all projections to a population."""
    weights = [finite_weights(p) for p in projections]
    told = {p.name: _scale(p, w) for p, w in zip(projections, weights, strict=True)}
    known = {n: t for n, t in told.items() if t is not None}
    for name, scale in known.items():
        if not scale > 0:
            raise InputError(
                f"{name}: its transform turns weights around or to nothing (scale {scale:g}); they need one above 0"
            )
    if known and max(known.values()) > (1 + 1e-6) * min(known.values()):
        raise RangeError(
            f"{', '.join(f'{n} of scale {t:g}' for n, t in known.items())}: projections to one population have the same LSB "
            "per unit of weight, as it has one synaptic gain; give their transforms one scale"
        )
    largest = max((float(w.abs().max()) for w in weights), default=0.0)
    scale = next(iter(known.values()), facts.WEIGHT_MAX / largest if largest > 0 else 1.0)
    out = []
    for p, w in zip(projections, weights, strict=True):
        if _function(p) is linear_saturating:
            asked, wanted = w * scale, p.transform(w, scale=scale)
        else:
            asked = wanted = p.transform(w) * (
                scale if _function(p) is linear_exponential_clamp else 1.0
            )
        held = wanted.clamp(-facts.WEIGHT_MAX, facts.WEIGHT_MAX)
        half_away = torch.trunc(held + 0.5 * torch.sign(held))
        out.append(ChipWeights(half_away, scale, int(((asked - held).abs() > 0.5).sum())))
    return out


def _function(p: Projection) -> Any:
    return p.transform.func if isinstance(p.transform, functools.partial) else p.transform


def _scale(p: Projection, weights: torch.Tensor) -> float | None:
    """The scale that the projection's transform tells, of other functions that of most weights;
    None: to be fitted."""
    function, told = (
        _function(p),
        p.transform.keywords if isinstance(p.transform, functools.partial) else {},
    )
    if function is linear_saturating:
        return None if told.get("scale") is None else float(told["scale"])
    if function is linear_exponential_clamp:
        return facts.WEIGHT_MAX / told.get("cap", 1.5)
    there = weights != 0
    return (
        float((p.transform(weights)[there] / weights[there]).median())
        if bool(there.any())
        else None
    )


def _told(p: HXBaseParameter, name: str, who: str) -> Value | None:
    """The chip's value of a voltage; None: a plain number, the model's alone."""
    value = p.on_chip(f"{who}: {name}")
    if value is None or (isinstance(p, Plain) and not _within(name, value)):
        return None
    check_range(name, value, who)
    return value


def _within(name: str, value: Value) -> bool:
    r = facts.RANGES[name]
    slack = 1e-6 * r.high  # 2e-6 * 3 is not 6e-6
    low, high = r.low - slack, r.high + slack
    return (
        _all((value >= low) & (value <= high))
        if isinstance(value, torch.Tensor)
        else low <= value <= high
    )


def _all(value: Any) -> bool:
    return bool(value.all()) if isinstance(value, torch.Tensor) else bool(value)


def _lowest(value: Value) -> float:
    return float(value.min()) if isinstance(value, torch.Tensor) else float(value)
