"""The converters that read membranes: the CADC, one for each neuron, slow and of 8 bits; the MADC,
for one neuron, fast and of 10 bits.

Membranes lie on the dt grid, (time, batch, neuron); between its points they are taken to be
straight.
"""

from __future__ import annotations

import math

import torch

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RecordingError
from lavalike.bss2.spiking.scales import Voltage

CADC_MAX = 2**facts.CADC_BITS - 1


def cadc(
    v: torch.Tensor, voltage: Voltage, dt: float, period: float, noise: float, mode: str, who: str
) -> tuple[torch.Tensor, float]:
    """Membranes as the CADC gives them, in LSB, brought back to the dt grid; and the share of
    samples at either end of its range.

    Args:
        v: model's unit, on the dt grid.
        voltage: to LSB.
        dt, period: s, of the grid and between samples; samples are no denser than the grid.
        noise: LSB, of each sample.
        mode: between samples, "linear" or "nearest".
    """
    steps, ratio = len(v), max(period / dt, 1.0)
    count = int((steps - 1) / ratio + 1e-9) + 1
    if count > facts.CADC_SAMPLES:
        raise RecordingError(
            f"{who}: the CADC's buffer holds {facts.CADC_SAMPLES} samples, {steps} steps of {dt:g} s take {count}; "
            "run shorter, or set enable_cadc_recording=False"
        )
    samples = voltage.lsb(_at(v, torch.arange(count, dtype=torch.float64, device=v.device) * ratio))
    if noise:
        samples = samples.add_(torch.randn_like(samples), alpha=noise)
    samples = samples.floor_()
    ends = float(((samples <= 0) | (samples >= CADC_MAX)).float().mean())
    where = torch.arange(steps, dtype=torch.float64, device=v.device) / ratio
    return _at(samples.clamp_(0, CADC_MAX), where.round() if mode == "nearest" else where), ends


def madc(v: torch.Tensor, dt: float) -> torch.Tensor:
    """Of one neuron's membrane (time, batch), LSB, the MADC's samples, (2, samples, batch): time in
    s and LSB in steps of a quarter. The last step is held to its end."""
    count = math.floor(len(v) * dt * facts.MADC_RATE + 1e-6) + 1
    times = torch.arange(count, dtype=torch.float64, device=v.device) / facts.MADC_RATE
    step = (CADC_MAX + 1) / 2**facts.MADC_BITS
    values = (_at(v, times / dt) / step).floor_().mul_(step).clamp_(0, CADC_MAX)
    return torch.stack([times.to(v).unsqueeze(1).expand_as(values), values])


def shifted(v: torch.Tensor, steps: float) -> torch.Tensor:
    """Rows of ``v`` (time, ...) from ``steps`` later, or earlier below 0; what lies beyond either
    end is the first or the last."""
    at = torch.arange(len(v), dtype=torch.float64, device=v.device) + steps
    return _at(v, at.clamp(0, len(v) - 1))


def _at(v: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Rows of ``v`` at fractional positions, straight between neighbours, held beyond the last."""
    low = position.floor().clamp(max=len(v) - 1).long()
    part = (position - low).clamp(0, 1).to(v.dtype).view(-1, *[1] * (v.dim() - 1))
    first = v.index_select(0, low)
    if not bool(part.any()):
        return first
    return first.lerp_(v.index_select(0, (low + 1).clamp(max=len(v) - 1)), part.expand_as(first))
