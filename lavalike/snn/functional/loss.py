"""Losses on recordings of spikes or membranes ``[T, B, C]``, by snnTorch's names, arguments and
defaults.

A recording is a tensor, or a list of its steps ``[B, C]``; half precision is computed in float32.
Labels are integers ``[B]``. ``reduction`` is "mean" (over all that is left of the batch and the
classes), "sum" or "none". ``weight`` ``[C]`` multiplies the loss of every sample by that of its
class; "mean" then divides by the number of samples, not by the weights' sum. With
``population_code`` the outputs are ``num_classes`` equal groups, neighbours in one group. Wrong
shapes raise InputError with the loss's name; labels out of range InputError on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from lavalike.arguments import FLAG, arguments, real, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.snn import spikegen
from lavalike.snn.functional import _recording
from lavalike.snn.functional._recording import Recording


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    who: str,
    weight: torch.Tensor | None = None,
    reduction: str = "none",
) -> torch.Tensor:
    """Of ``logits [N, C]``; no label means "ignore"."""
    try:
        return functional.cross_entropy(
            logits, targets, weight, ignore_index=-(2**63), reduction=reduction
        )
    except IndexError as e:
        raise InputError(
            f"{who}: targets are labels, integers in 0..{logits.shape[-1] - 1}: {e}"
        ) from e


def on_off(
    targets: torch.Tensor, classes: int, on: float, off: float, like: torch.Tensor, who: str
) -> torch.Tensor:
    """``on`` for the labelled class, ``off`` for the others, ``[..., C]``."""
    hot = spikegen.one_hot(targets.long().flatten(), classes, who).to(like.dtype)
    return (off + hot * (on - off)).unflatten(0, targets.shape)


class LossFunctions:
    """Base of the losses: called with a recording and targets.

    Example:
        >>> isinstance(snn.functional.ce_rate_loss(), snn.functional.LossFunctions)
        True
    """

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@arguments(**_recording.CLASSES, **_recording.LOSS)
@dataclass(eq=False)
class ce_rate_loss(LossFunctions):
    """Cross entropy of the outputs at every step, averaged over time: the labelled class is to fire
    all the time.

    Example:
        >>> spikes = (torch.rand(20, 4, 10) < 0.2).float()  # (time, batch, classes)
        >>> snn.functional.ce_rate_loss()(spikes, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    population_code: bool = False
    num_classes: int | bool = False
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _recording.check_classes(self.population_code, self.num_classes, "ce_rate_loss")
        _recording.check_reduction(self.reduction, "ce_rate_loss")

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(spk_out, "ce_rate_loss")
        targets = _recording.labels(targets, x, "ce_rate_loss")
        x = _recording.by_class(x, self.population_code, self.num_classes, "ce_rate_loss")
        loss = (
            cross_entropy(x.flatten(0, 1), targets.repeat(len(x)), "ce_rate_loss")
            .view(x.shape[:2])
            .mean(0)
        )
        return _recording.reduced(
            _recording.weighted(loss, targets, self.weight, x.shape[-1], "ce_rate_loss"),
            self.reduction,
        )


@arguments(**_recording.CLASSES, **_recording.LOSS)
@dataclass(eq=False)
class ce_count_loss(LossFunctions):
    """Cross entropy of the numbers of spikes; of membranes, if these are given, their sums over
    time.

    Example:
        >>> spikes = (torch.rand(20, 4, 10) < 0.2).float()
        >>> snn.functional.ce_count_loss()(spikes, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    population_code: bool = False
    num_classes: int | bool = False
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _recording.check_classes(self.population_code, self.num_classes, "ce_count_loss")
        _recording.check_reduction(self.reduction, "ce_count_loss")

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(spk_out, "ce_count_loss")
        targets = _recording.labels(targets, x, "ce_count_loss")
        count = _recording.by_class(
            x.sum(0), self.population_code, self.num_classes, "ce_count_loss"
        )
        loss = cross_entropy(count, targets, "ce_count_loss")
        return _recording.reduced(
            _recording.weighted(loss, targets, self.weight, count.shape[-1], "ce_count_loss"),
            self.reduction,
        )


@arguments(**_recording.LOSS)
@dataclass(eq=False)
class ce_max_membrane_loss(LossFunctions):
    """Cross entropy of the membranes' greatest values over time (Zenke's SpyTorch).

    Example:
        >>> mem = torch.rand(20, 4, 10)
        >>> snn.functional.ce_max_membrane_loss()(mem, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _recording.check_reduction(self.reduction, "ce_max_membrane_loss")

    def __call__(self, mem_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(mem_out, "ce_max_membrane_loss", name="mem_out")
        targets = _recording.labels(targets, x, "ce_max_membrane_loss")
        loss = cross_entropy(x.max(0).values, targets, "ce_max_membrane_loss")
        return _recording.reduced(
            _recording.weighted(loss, targets, self.weight, x.shape[-1], "ce_max_membrane_loss"),
            self.reduction,
        )


@arguments(correct_rate=real(), incorrect_rate=real(), **_recording.CLASSES, **_recording.LOSS)
@dataclass(eq=False)
class mse_count_loss(LossFunctions):
    """Squared distance of the numbers of spikes from ``T correct_rate`` for the labelled class and
    ``T incorrect_rate`` for the others (whole spikes, rounded down), divided by T (after slayer's
    SpikeRate).

    With a population code both numbers are those of a whole group. "none" gives
    ``[B, num_classes]``.

    Example:
        >>> spikes = (torch.rand(20, 4, 10) < 0.2).float()
        >>> loss = snn.functional.mse_count_loss(correct_rate=0.8, incorrect_rate=0.1)
        >>> loss(spikes, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    correct_rate: float = 1
    incorrect_rate: float = 0
    population_code: bool = False
    num_classes: int | bool = False
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.correct_rate <= 1 and 0 <= self.incorrect_rate <= 1):
            raise InputError(
                f"mse_count_loss: rates are in 0..1, got {self.correct_rate}, {self.incorrect_rate}"
            )
        _recording.check_classes(self.population_code, self.num_classes, "mse_count_loss")
        _recording.check_reduction(self.reduction, "mse_count_loss")

    def __call__(self, spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(spk_out, "mse_count_loss")
        targets = _recording.labels(targets, x, "mse_count_loss")
        count = _recording.by_class(
            x.sum(0), self.population_code, self.num_classes, "mse_count_loss"
        )
        steps, classes = len(x), count.shape[-1]
        most = steps * (x.shape[-1] // classes)
        # 100 * 0.29 is 28.999...96
        on, off = (
            math.floor(most * rate + 1e-9) for rate in (self.correct_rate, self.incorrect_rate)
        )
        loss = (count - on_off(targets, classes, on, off, x, "mse_count_loss")).square()
        return (
            _recording.reduced(
                _recording.weighted(loss, targets, self.weight, classes, "mse_count_loss"),
                self.reduction,
            )
            / steps
        )


@arguments(time_var_targets=FLAG, on_target=real(), off_target=real(), **_recording.LOSS)
@dataclass(eq=False)
class mse_membrane_loss(LossFunctions):
    """Squared distance of membranes from their targets, averaged over time.

    ``targets`` are labels, which stand for ``on_target`` and ``off_target``: ``[B]``, or with
    ``time_var_targets`` one a step, ``[T, B]``; or the membranes themselves, floating-point
    ``[B, C]`` or ``[T, B, C]``, without ``weight``. "none" gives ``[B, C]``.

    Example:
        >>> mem = torch.rand(20, 4, 10)
        >>> snn.functional.mse_membrane_loss()(mem, torch.tensor([0, 1, 2, 3])).shape
        torch.Size([])
    """

    time_var_targets: bool = False
    on_target: float = 1
    off_target: float = 0
    reduction: str = "mean"
    weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _recording.check_reduction(self.reduction, "mse_membrane_loss")

    def __call__(self, mem_out: Recording, targets: torch.Tensor) -> torch.Tensor:
        x = _recording.recording(mem_out, "mse_membrane_loss", name="mem_out")
        shape = x.shape if self.time_var_targets else x.shape[1:]
        if not isinstance(targets, torch.Tensor):
            raise InputTypeError(
                f"mse_membrane_loss: targets are a torch tensor, got {shown(targets)} ({type(targets).__name__})"
            )
        given = targets.is_floating_point()
        if targets.shape != (shape if given else shape[:-1]) or (given and self.weight is not None):
            axes = (
                "[T, B], or membranes [T, B, C]"
                if self.time_var_targets
                else "[B], or membranes [B, C]"
            )
            raise InputError(
                f"mse_membrane_loss: targets of shape {tuple(targets.shape)}, {targets.dtype}, for a recording of shape "
                f"{tuple(x.shape)}; expected labels {axes} without weight (time_var_targets={self.time_var_targets})"
            )
        wanted = (
            targets.to(x.dtype)
            if given
            else on_off(
                targets, x.shape[-1], self.on_target, self.off_target, x, "mse_membrane_loss"
            )
        )
        loss = (x - wanted).square()
        return _recording.reduced(
            _recording.weighted(loss, targets, self.weight, x.shape[-1], "mse_membrane_loss").mean(
                0
            ),
            self.reduction,
        )


def __getattr__(name: str) -> Any:
    """The losses of spike times, which are written with these and have a module of their own."""
    if name not in ("SpikeTime", "ce_temporal_loss", "mse_temporal_loss"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lavalike.snn.functional import temporal

    return getattr(temporal, name)
