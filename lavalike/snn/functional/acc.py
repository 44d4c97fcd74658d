"""Accuracies of recordings of spikes ``[T, B, C]``: tensors of no axes on the recording's device,
in 0..1."""

from __future__ import annotations

import torch

from lavalike.arguments import arguments
from lavalike.snn.functional import _recording
from lavalike.snn.functional._recording import Recording
from lavalike.snn.functional.temporal import spike_times


@arguments(late=True)
def accuracy_rate(
    spk_out: Recording,
    targets: torch.Tensor,
    population_code: bool = False,
    num_classes: int | bool = False,
) -> torch.Tensor:
    """The share of samples whose labelled class fired most; of equals the lowest counts.

    Args:
        spk_out: ``[T, B, C]`` or a list of steps.
        targets: integer labels ``[B]``.
        population_code, num_classes: the outputs are ``num_classes`` equal groups, neighbours in
            one group.
    """
    _recording.check_classes(population_code, num_classes, "accuracy_rate")
    x = _recording.recording(spk_out, "accuracy_rate")
    targets = _recording.labels(targets, x, "accuracy_rate")
    count = _recording.by_class(x.detach().sum(0), population_code, num_classes, "accuracy_rate")
    return (count.argmax(-1) == targets).to(x.dtype).mean()


@arguments(late=True)
def accuracy_temporal(spk_out: Recording, targets: torch.Tensor) -> torch.Tensor:
    """The share of samples whose labelled class fired first; of equals the lowest counts, and who
    is silent fires last."""
    x = _recording.recording(spk_out, "accuracy_temporal")
    targets = _recording.labels(targets, x, "accuracy_temporal")
    return (spike_times(x.detach())[0].argmin(-1) == targets).to(x.dtype).mean()
