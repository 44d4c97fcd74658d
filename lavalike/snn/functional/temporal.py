"""Losses on times of spikes; see :mod:`lavalike.snn.functional.loss` for what all losses share.

The time of a spike is its step. It has no derivative; backward, ``d time / d spike = -1`` at that
spike and 0 elsewhere: a stronger spike counts as an earlier one (snnTorch's sign estimator). A
neuron that does not fire counts as firing at the last step, T - 1, and its gradient arrives there,
so that silent neurons learn to fire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lavalike.arguments import FLAG, TEXT, arguments, numbers, real, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.snn.functional import _recording
from lavalike.snn.functional._recording import Recording
from lavalike.snn.functional.loss import LossFunctions, cross_entropy, on_off

_TIMES = {
    "target_is_time": FLAG,
    "on_target": numbers(),
    "off_target": numbers(),
    "tolerance": real(),
    "multi_spike": FLAG,
}


def spike_times(spk_out: torch.Tensor, count: int = 1) -> torch.Tensor:
    """Steps of the first ``count`` spikes (all that is not 0) of ``[T, ...]``, as ``[count, ...]``
    in its dtype."""
    steps = len(spk_out)
    t = torch.arange(steps, device=spk_out.device).view(-1, *[1] * (spk_out.dim() - 1))
    times = torch.where(spk_out != 0, t, steps - 1)
    first = (
        times.amin(0, keepdim=True)
        if count == 1
        else times.topk(count, dim=0, largest=False).values
    )
    spike = spk_out.gather(0, first)
    return first.to(spk_out.dtype) - (spike - spike.detach())


@arguments(**_TIMES, **_recording.LOSS)
@dataclass(eq=False)
class mse_temporal_loss(LossFunctions):
    """Squared distance of the times of first spikes from their targets, both divided by T.

    Example:
        >>> spikes = (torch.rand(20, 4, 10) < 0.2).float()
        >>> snn.functional.mse_temporal_loss()(spikes, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])

    Args:
        target_is_time: targets are times: ``[B, C]`` or ``[C]``; with ``multi_spike``
            ``[F, B, C]``. Else labels ``[B]``.
        on_target, off_target: time for the labelled class and for the others; with ``multi_spike``
            F times each. Negative ones count from the end, -1 being the last step.
        tolerance: times closer to their target than this have no loss.
        multi_spike: compare the first F spikes; those that a neuron lacks count as fired at the
            last step.
        reduction: "none" gives ``[B, C]`` or ``[F, B, C]``.
        weight: needs labels.
    """

    target_is_time: bool = False
    on_target: int | Sequence[int] | torch.Tensor = 0
    off_target: int | Sequence[int] | torch.Tensor = -1
    tolerance: float = 0
    multi_spike: bool = False
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _recording.check_reduction(self.reduction, "mse_temporal_loss")
        if self.tolerance < 0:
            raise InputError(f"mse_temporal_loss: tolerance is >= 0 steps, got {self.tolerance}")
        if self.target_is_time:
            if self.weight is not None:
                raise InputError(
                    "mse_temporal_loss: weight is by class and needs labels; with target_is_time=True leave it out"
                )
            return
        self._on: Any  # times, or a list of them with multi_spike
        self._off: Any
        self._on, self._off = (
            torch.as_tensor(x).tolist() for x in (self.on_target, self.off_target)
        )
        lists = [isinstance(x, list) for x in (self._on, self._off)]
        if lists != [self.multi_spike] * 2 or (
            self.multi_spike and not len(self._on) == len(self._off) > 0
        ):
            expected = (
                "F times each"
                if self.multi_spike
                else "one time each (multi_spike=True takes more)"
            )
            raise InputError(
                f"mse_temporal_loss: on_target {self.on_target}, off_target {self.off_target}; expected {expected}"
            )

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(spk_out, "mse_temporal_loss")
        times, wanted = self.times(x, targets)
        loss = ((times - wanted) / len(x)).square()
        loss = _recording.weighted(loss, targets, self.weight, x.shape[-1], "mse_temporal_loss")
        return _recording.reduced(loss if self.multi_spike else loss[0], self.reduction)

    def times(self, x: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Times of the first spikes of a recording, and those wanted, ``[F, B, C]``."""
        wanted = self._times(x, targets)
        if len(wanted) > len(x):
            raise InputError(
                f"mse_temporal_loss: {len(wanted)} spikes a neuron are wanted of a recording of shape {tuple(x.shape)}"
            )
        wanted = torch.where(wanted < 0, wanted + len(x), wanted)
        times = spike_times(x, len(wanted))
        if self.tolerance:
            times = torch.where((times - wanted).abs() < self.tolerance, wanted, times)
        return times, wanted

    def _times(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """``[F, B, C]`` in x's dtype."""
        if not isinstance(targets, torch.Tensor):
            raise InputTypeError(
                f"mse_temporal_loss: targets are a torch tensor, got {shown(targets)} ({type(targets).__name__})"
            )
        if self.target_is_time:
            shapes = (
                [(len(targets), *x.shape[1:])]
                if self.multi_spike and targets.dim()
                else [x.shape[1:], x.shape[2:]]
            )
            if tuple(targets.shape) not in map(tuple, shapes) or 0 in targets.shape:
                axes = "[F, B, C]" if self.multi_spike else "[B, C] or [C]"
                raise InputError(
                    f"mse_temporal_loss: target times of shape {tuple(targets.shape)} for a recording of shape "
                    f"{tuple(x.shape)}; expected {axes}"
                )
            times = targets.to(x.dtype)
            return times if self.multi_spike else times.expand(1, *x.shape[1:])
        targets = _recording.labels(targets, x, "mse_temporal_loss")
        pairs = (
            list(zip(self._on, self._off, strict=True))
            if self.multi_spike
            else [(self._on, self._off)]
        )
        if min(min(pair) for pair in pairs) < -len(x):
            raise InputError(
                f"mse_temporal_loss: on_target {self.on_target}, off_target {self.off_target} for a recording of shape "
                f"{tuple(x.shape)}; expected times of at least -{len(x)}"
            )
        return torch.stack(
            [on_off(targets, x.shape[-1], on, off, x, "mse_temporal_loss") for on, off in pairs]
        )


class SpikeTime(nn.Module):
    """Times of the first spikes beside the times they are to have: ``times, wanted = spiketime(
    spk_out, targets)``, both ``[B, C]``, or ``[F, B, C]`` with ``multi_spike``. Arguments: see
    :class:`mse_temporal_loss`.

    Example:
        >>> spikes = torch.zeros(20, 1, 2)
        >>> spikes[3, 0, 0] = spikes[7, 0, 1] = 1.0
        >>> times = snn.functional.SpikeTime()
    """

    @arguments(**_TIMES)
    def __init__(
        self,
        target_is_time: bool = False,
        on_target: int | Sequence[int] | torch.Tensor = 0,
        off_target: int | Sequence[int] | torch.Tensor = -1,
        tolerance: float = 0,
        multi_spike: bool = False,
    ) -> None:
        super().__init__()
        self.loss = mse_temporal_loss(target_is_time, on_target, off_target, tolerance, multi_spike)

    def forward(
        self, spk_out: Recording, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(times, wanted times), in steps; a time within the tolerance is the wanted one."""
        times, wanted = self.loss.times(_recording.recording(spk_out, "SpikeTime"), targets)
        return (times, wanted) if self.loss.multi_spike else (times[0], wanted[0])


@arguments(inverse=TEXT, **_recording.LOSS)
@dataclass(eq=False)
class ce_temporal_loss(LossFunctions):
    """Cross entropy of the times of first spikes, turned so that the earliest is the greatest:
    ``-time`` (``inverse="negate"``) or ``1 / (time + 1)`` ("reciprocal").

    Here "mean" with ``weight`` divides by the weights' sum, as in torch's CrossEntropyLoss and in
    snnTorch.

    Example:
        >>> spikes = (torch.rand(20, 4, 10) < 0.2).float()
        >>> snn.functional.ce_temporal_loss()(spikes, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    inverse: str = "negate"
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.inverse not in ("negate", "reciprocal"):
            raise InputError(
                f"ce_temporal_loss: inverse is 'negate' or 'reciprocal', got {self.inverse!r}"
            )
        _recording.check_reduction(self.reduction, "ce_temporal_loss")

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(spk_out, "ce_temporal_loss")
        targets = _recording.labels(targets, x, "ce_temporal_loss")
        first = spike_times(x)[0]
        logits = -first if self.inverse == "negate" else 1 / (first + 1)
        weight = _recording.class_weight(self.weight, x.shape[-1], x, "ce_temporal_loss")
        return cross_entropy(logits, targets, "ce_temporal_loss", weight, self.reduction)
