"""Resonate-and-fire with a rising threshold (equations: :mod:`lavalike.dynamics.adaptive`, in
Loihi's integers)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from lavalike.arguments import FLAG, arguments, real
from lavalike.dynamics import adaptive
from lavalike.slayer.neuron.alif import ADAPTATION, Adapting, step_of
from lavalike.slayer.neuron.base import DECAY, SPIKING, W_SCALE, Number, deployed
from lavalike.slayer.neuron.resonator import PERIOD, Resonator, neuron_params as neuron_params
from lavalike.slayer.spike import Phase, Slayer


class Neuron(Adapting, Resonator):
    """A resonator whose threshold rises with every spike and falls back.

    Example:
        >>> neuron = slayer.neuron.adrf.Neuron(
        ...     threshold=0.2,
        ...     threshold_step=0.2,
        ...     period=10,
        ...     decay=0.02,
        ...     threshold_decay=0.1,
        ...     refractory_decay=0.1,
        ... )
        >>> x = torch.rand(1, 2, 30)
        >>> neuron((x, x)).shape
        torch.Size([1, 2, 30])

    Args:
        threshold_step: what a spike adds to the threshold; >= 0, rounded down to 1/scale.
        threshold_decay, refractory_decay: 0..1, trained if requires_grad.
        period, decay, threshold and the rest: see Resonator.
    """

    surrogate_class: ClassVar[type[Slayer]] = Phase
    declaration = adaptive.ADRF
    dynamics_, seen_ = adaptive.ADRF, adaptive.ADRF_SEEN
    phase = True

    @arguments(
        threshold_step=real(0),
        period=PERIOD,
        decay=DECAY,
        threshold_decay=DECAY,
        refractory_decay=DECAY,
        log_init=FLAG,
        **SPIKING,
    )
    def __init__(
        self,
        threshold: float,
        threshold_step: float,
        period: Number,
        decay: Number,
        threshold_decay: Number,
        refractory_decay: Number,
        tau_grad: float = 1,
        scale_grad: float = 1,
        scale: int = W_SCALE,
        norm: Any = None,
        dropout: nn.Module | None = None,
        shared_param: bool = True,
        persistent_state: bool = False,
        requires_grad: bool = False,
        graded_spike: bool = False,
        log_init: bool = True,
        reset_grad: str = "slayer",
    ) -> None:
        super().__init__(
            threshold,
            period,
            decay,
            tau_grad,
            scale_grad,
            scale,
            norm,
            dropout,
            shared_param,
            persistent_state,
            requires_grad,
            graded_spike,
            log_init,
            reset_grad,
        )
        self.threshold_step = step_of(self, threshold_step)
        self.add_parameter("threshold_decay", threshold_decay)
        self.add_parameter("refractory_decay", refractory_decay)

    cx_threshold_decay, cx_refractory_decay = (
        deployed("threshold_decay"),
        deployed("refractory_decay"),
    )

    def constants(self) -> dict[str, Any]:
        return super().constants() | self.counted(*ADAPTATION)
