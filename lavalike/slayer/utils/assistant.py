"""Assistant: the training, testing and validation of one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any

import torch
from torch import nn

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    TENSOR,
    Rule,
    arguments,
    instance,
    integer,
    optional,
    real,
    sequence,
)
from lavalike.errors import InputError
from lavalike.progress import Progress
from lavalike.slayer.utils import callbacks as _callbacks
from lavalike.slayer.utils.stats import LearningStat, LearningStats

_BATCHES = Rule(
    "batches (input, target), as a DataLoader gives them",
    lambda v: isinstance(v, Iterable) and not isinstance(v, str | dict | torch.Tensor),
)


def alone(net: nn.Module) -> nn.Module:
    """The module that DistributedDataParallel wraps, which talks to no other process; any other as
    it is."""
    return net.module if isinstance(net, nn.parallel.DistributedDataParallel) else net


class Assistant:
    """Runs a network on batches and keeps its statistics.

    Example:
        >>> params = {"threshold": 1, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> net = slayer.block.cuba.Dense(params, 6, 2)
        >>> stats = slayer.utils.LearningStats()
        >>> error = slayer.loss.SpikeRate(0.2, 0.02)
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> rate = slayer.classifier.Rate()
        >>> assistant = slayer.utils.Assistant(net, error, optimizer, stats, rate)
        >>> out = assistant.train(torch.rand(4, 6, 20), torch.tensor([0, 1, 0, 1]))
        >>> stats.training.num_samples
        4

    Args:
        net: returns ``output``, ``(output, count)`` with count_log, ``(output, net_loss)`` with
            lam, or ``(output, net_loss, count)`` with both. Within DistributedDataParallel each
            process trains on a share of the batch (:mod:`lavalike.slayer.distributed`); test and
            valid run what is inside, in this one alone.
        error: ``error(output, target) -> loss``, a mean over the batch for the statistics to be
            means too.
        optimizer: a torch optimizer; None where only test and valid are called.
        stats: a LearningStats, or None.
        classifier: ``classifier(output) -> labels`` of the targets' shape, for accuracies.
        count_log: the network returns event counts.
        lam: weight of the network's own loss, which is trained on but not counted in the
            statistics.
        callbacks: told of batches and epochs: objects with methods of
            :class:`~lavalike.slayer.utils.Callback`, or functions ``f(assistant, metrics)`` called
            at each epoch's end. With a loop of your own, call :meth:`end_epoch` in the place of
            ``stats.update()``.

    Attributes: ``epoch``: how many epochs are done.

    Example::

        assistant = Assistant(net, loss, optimizer, classifier=slayer.classifier.Rate(),
                              callbacks=[LogFile("run.csv")])
        stats = assistant.fit(train_loader, epochs=10, test=test_loader, progress=True)
    """

    @arguments(
        {"error": FUNCTION},
        net=instance(nn.Module),
        optimizer=optional(instance(torch.optim.Optimizer)),
        stats=optional(instance(LearningStats)),
        classifier=optional(FUNCTION),
        count_log=FLAG,
        lam=optional(real()),
        callbacks=sequence(Rule("a Callback or a function", _callbacks.is_callback)),
    )
    def __init__(
        self,
        net: nn.Module,
        error: Callable[..., torch.Tensor],
        optimizer: torch.optim.Optimizer | None,
        stats: LearningStats | None = None,
        classifier: Callable[..., torch.Tensor] | None = None,
        count_log: bool = False,
        lam: float | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.net, self.error, self.optimizer, self.stats = net, error, optimizer, stats
        self.classifier, self.count_log, self.lam = classifier, count_log, lam
        self.callbacks = tuple(map(_callbacks.check, callbacks))
        if self.callbacks and stats is None:
            self.stats = LearningStats()
        self.epoch, self._began, self._stopped = 0, time.perf_counter(), False

    @arguments(factor=real(above=0))
    def reduce_lr(self, factor: float = 10 / 3) -> None:
        """Divide the learning rates by ``factor``."""
        if self.optimizer is None:
            raise InputError("Assistant.reduce_lr: needs an optimizer, which was None")
        for group in self.optimizer.param_groups:
            group["lr"] /= factor

    @arguments(input=TENSOR, target=TENSOR, late=True)
    def train(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        """One optimisation step; returns the output, with the count if count_log."""
        if self.optimizer is None:
            raise InputError("Assistant.train: needs an optimizer, which was None")
        self.net.train()
        output, loss, net_loss, count = self._evaluate(
            input, target, self.stats.training if self.stats else None
        )
        total = loss if net_loss is None else loss + self.lam * net_loss
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self._tell("train", loss)
        return (output, count) if self.count_log else output

    @arguments(input=TENSOR, target=TENSOR, late=True)
    @torch.no_grad()
    def test(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        """Output of the network in eval mode, counted as testing."""
        self.net.eval()
        output, loss, _, count = self._evaluate(
            input, target, self.stats.testing if self.stats else None
        )
        self._tell("test", loss)
        return (output, count) if self.count_log else output

    @arguments(input=TENSOR, target=TENSOR, late=True)
    @torch.no_grad()
    def valid(self, input: torch.Tensor, target: torch.Tensor) -> Any:
        """Output of the network in eval mode, counted as validation."""
        self.net.eval()
        output, loss, _, count = self._evaluate(
            input, target, self.stats.validation if self.stats else None
        )
        self._tell("valid", loss)
        return (output, count) if self.count_log else output

    @arguments(
        train=_BATCHES,
        epochs=integer(1),
        test=optional(_BATCHES),
        valid=optional(_BATCHES),
        progress=FLAG,
    )
    def fit(
        self,
        train: Iterable[Any],
        epochs: int = 1,
        test: Iterable[Any] | None = None,
        valid: Iterable[Any] | None = None,
        progress: bool = False,
    ) -> LearningStats:
        """Train for some epochs: of each, every batch of ``train``, then of ``test`` and ``valid``.

        Args:
            train: gives batches (input, target) each time it is gone through: a DataLoader, a list.
            epochs: how many more. Default 1.
            test, valid: batches that are run in eval mode at each epoch's end.
            progress: show batches and an epoch's numbers on stderr, by tqdm where it is installed.
                Default False.

        Returns:
            The statistics.
        """
        if self.stats is None:
            self.stats = LearningStats()
        parts = [
            (run, batches)
            for run, batches in ((self.train, train), (self.test, test), (self.valid, valid))
            if batches is not None
        ]
        count = [len(b) if isinstance(b, Sized) else None for _, b in parts]
        total = None if None in count else epochs * sum(n for n in count if n is not None)
        bar = Progress("fit", total, "batch") if progress else None
        self._stopped = False
        _callbacks.call(self.callbacks, "on_fit_begin", self)
        try:
            for _ in range(epochs):
                _callbacks.call(self.callbacks, "on_epoch_begin", self)
                for run, batches in parts:
                    for input, target in batches:
                        run(input, target)
                        if bar is not None:
                            bar.update()
                told = self.end_epoch()
                if bar is not None:
                    bar.update(0, ", ".join(f"{n} {v:.4g}" for n, v in told.items() if "/" in n))
                if self._stopped:
                    break
        finally:
            if bar is not None:
                bar.close()
            _callbacks.call(self.callbacks, "on_fit_end", self)
        return self.stats

    def end_epoch(self) -> dict[str, float]:
        """Close the epoch: log its statistics, tell the callbacks. Returns what they are told.

        Callbacks find the statistics as they are at the epoch's end, before and after.
        """
        if self.stats is None:
            self.stats = LearningStats()
        told = _callbacks.metrics(self, self._began)
        self.stats.update()
        _callbacks.call(self.callbacks, "on_epoch_end", self, told)
        self.epoch += 1
        self._began = time.perf_counter()
        return told

    def stop(self) -> None:
        """Make the epoch under way the last of ``fit``."""
        self._stopped = True

    def _tell(self, phase: str, loss: torch.Tensor) -> None:
        if self.callbacks:
            _callbacks.call(self.callbacks, "on_batch_end", self, phase, float(loss.detach()))

    def _evaluate(
        self, input: torch.Tensor, target: torch.Tensor, stat: LearningStat | None
    ) -> tuple[Any, ...]:
        device = next((p.device for p in self.net.parameters()), torch.device("cpu"))
        input, target = input.to(device), target.to(device)
        parts = (self.net if torch.is_grad_enabled() else alone(self.net))(input)
        expected = 1 + self.count_log + (self.lam is not None)
        parts = (parts,) if expected == 1 else parts
        if not isinstance(parts, tuple) or len(parts) != expected:
            raise InputError(
                f"Assistant: with count_log={self.count_log} and lam={self.lam} the network returns {expected} values"
            )
        output = parts[0]
        net_loss = parts[1] if self.lam is not None else None
        count = parts[-1] if self.count_log else None
        loss = self.error(output, target)
        if stat is not None:
            stat.add(float(loss.detach()), len(input), self._correct(output.detach(), target))
        return output, loss, net_loss, count

    def _correct(self, output: torch.Tensor, target: torch.Tensor) -> float | None:
        """Samples classified correctly; with one label a step, each counts the share of its
        steps."""
        if self.classifier is None:
            return None
        label = self.classifier(output)
        if label.shape != target.shape:
            raise InputError(
                f"Assistant: the classifier's labels have shape {tuple(label.shape)}, the targets {tuple(target.shape)}; "
                "the same is expected"
            )
        return float((label == target).sum()) * len(target) / max(target.numel(), 1)
