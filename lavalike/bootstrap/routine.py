"""Which block is run as what, and when."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence

from lavalike.arguments import FLAG, arguments, instance, integer, optional, sequence
from lavalike.slayer.utils import LearningStat


class Mode(enum.Enum):
    """How a block is run: SNN: as it spikes; ANN: as the function that was fitted; SAMPLE: as SNN,
    and its rates are noted; FIT: the function is fitted to what was noted, then as ANN.

    Example:
        >>> from lavalike import bootstrap
        >>> [mode.name for mode in bootstrap.Mode]
        ['SNN', 'ANN', 'SAMPLE', 'FIT']
    """

    SNN = 0
    ANN = 1
    SAMPLE = 2
    FIT = 3


class LayerMode:
    """The mode of each block, from the first to the last; may be gone through again.

    Args:
        crossover: so many blocks, from the first, spike whatever the others do.
        base_mode: of the others; SAMPLE is of all.

    Attributes: ``rates``: whether the input is to be rates, one step, as no block spikes.
    """

    @arguments(crossover=integer(0), base_mode=instance(Mode))
    def __init__(self, crossover: int, base_mode: Mode) -> None:
        self.crossover, self.base_mode = crossover, base_mode

    @property
    def rates(self) -> bool:
        return self.base_mode in (Mode.ANN, Mode.FIT) and self.crossover == 0

    def __iter__(self) -> Iterator[Mode]:
        for k in itertools.count():
            spikes = k < self.crossover and self.base_mode is not Mode.SAMPLE
            yield Mode.SNN if spikes else self.base_mode

    def __str__(self) -> str:
        crossover = f", crossover at {self.crossover}" if self.crossover else ""
        return f"Mode: {self.base_mode.name}{crossover}"


class Scheduler:
    """When to sample, to fit, to train rates, to let spike.

    Args:
        num_sample_iter: batches that are sampled, before one that is fitted. Default 10.
        sample_period: epochs from one sampling to the next; in these epochs evaluation is of the
            spiking network, in others of the fitted one. Default 10.
        crossover_epochs: epochs at whose beginning one block more, from the first, is trained as it
            spikes. Default none.

    Attributes: ``crossover``: how many blocks these are now; ``snn_stat``: a LearningStat of the
    spiking network alone.
    """

    @arguments(
        num_sample_iter=integer(1),
        sample_period=integer(1),
        crossover_epochs=optional(sequence(integer(0))),
    )
    def __init__(
        self,
        num_sample_iter: int = 10,
        sample_period: int = 10,
        crossover_epochs: Sequence[int] | None = None,
    ) -> None:
        self.num_sample_iter, self.sample_period = num_sample_iter, sample_period
        self.crossover_epochs = crossover_epochs
        self.crossover = 0
        self.snn_stat = LearningStat()

    @arguments(epoch=integer(0), iteration=integer(0), train=FLAG)
    def mode(self, epoch: int, iteration: int, train: bool = True) -> LayerMode:
        """The blocks' modes in a batch.

        Args:
            epoch, iteration: number of the epoch, and of the batch within it.
            train: whether it is trained.
        """
        samples = epoch % self.sample_period == 0
        if not train:
            return LayerMode(self.crossover, Mode.SNN if samples else Mode.ANN)
        if iteration == 0 and epoch in (self.crossover_epochs or ()):
            self.crossover += 1
        if not samples or iteration > self.num_sample_iter:
            return LayerMode(self.crossover, Mode.ANN)
        return LayerMode(
            self.crossover, Mode.SAMPLE if iteration < self.num_sample_iter else Mode.FIT
        )

    @arguments(stat=instance(LearningStat))
    def sync_snn_stat(self, stat: LearningStat) -> None:
        """Take over the epoch under way of ``stat``, which counted the spiking network."""
        own = self.snn_stat
        own.reset()
        own.num_samples, own.loss_sum = stat.num_samples, stat.loss_sum
        if stat.accuracy is not None:
            own.correct_samples = stat.correct_samples

    def update_snn_stat(self) -> None:
        """Close its epoch."""
        self.snn_stat.update()
