"""What happens to spikes between host, chip and neurons: the link's event rate, and jitter. Spikes
are 0 or 1, (time, batch, neuron)."""

from __future__ import annotations

import math

import torch

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import OperandError


def budget(dt: float) -> int:
    """Events that the link carries in a step of ``dt``."""
    return max(1, int(facts.EVENT_RATE * dt + 1e-6))


def limited(spikes: torch.Tensor, dt: float, taken: torch.Tensor | None = None) -> torch.Tensor:
    """What arrives of ``spikes`` over a link of 125 million events a second: of a step with more, a
    random choice; the rest is lost.

    ``taken``: (time, batch), events of other senders that the link carries already.
    """
    room = (
        spikes.new_full(spikes.shape[:2], budget(dt))
        if taken is None
        else (budget(dt) - taken).clamp(min=0)
    )
    over = spikes.sum(2) > room
    if not bool(over.any()):
        return spikes
    rows = spikes[over]
    # events first, in random order
    rank = (torch.rand_like(rows) * rows).argsort(1, descending=True).argsort(1)
    arrived = spikes.clone()
    arrived[over] = rows * (rank < room[over].unsqueeze(1))
    return arrived


def jittered(spikes: torch.Tensor, sigma: float, dt: float) -> torch.Tensor:
    """Every spike moved by a normal time of standard deviation ``sigma`` (s), to the next step;
    within the run. Two that meet count once."""
    if sigma == 0:
        return spikes
    # most stay in their step: drawn are how many leave it, which ones, and how far, from beyond
    # half a step
    leaves = math.erfc(0.5 * dt / sigma / math.sqrt(2))
    count = int(
        torch.binomial(spikes.sum().double().cpu(), torch.tensor(leaves, dtype=torch.float64))
    )
    if count == 0:
        return spikes
    at = spikes.nonzero()
    t, b, n = at[torch.randperm(len(at), device=at.device)[:count]].unbind(1)
    tail = torch.rand(count, dtype=torch.float64, device=spikes.device) * leaves
    far = torch.special.ndtri(torch.minimum(tail, leaves - tail).clamp(min=1e-300)) * (sigma / dt)
    shift = torch.where(tail < leaves / 2, far, -far).round().long()
    out = spikes.clone()
    out[t, b, n] = 0
    out[(t + shift).clamp(0, len(spikes) - 1), b, n] = 1
    return out


def peak_rate(spikes: torch.Tensor, dt: float) -> float:
    """Most events of a step, 1/s."""
    return float(spikes.sum(2).max()) / dt


def check_spikes(spikes: torch.Tensor, who: str) -> None:
    if not bool(((spikes == 0) | (spikes == 1)).all()):
        raise OperandError(
            f"{who}: spikes to a chip are events, 0 or 1; got values from {float(spikes.min()):g} to "
            f"{float(spikes.max()):g}. "
            "Several events in a step need a shorter dt or several channels"
        )
