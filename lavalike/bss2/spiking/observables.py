"""What a chip records of one quantity of a population."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(eq=False)
class AnalogObservable:
    """``cadc``: (time, batch, neuron), every neuron, slowly; ``madc``: (2, samples, batch), time in
    s and value of one neuron. None: not recorded."""

    cadc: torch.Tensor | None = None
    madc: torch.Tensor | None = None
