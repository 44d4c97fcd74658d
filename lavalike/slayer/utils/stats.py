"""LearningStats: loss and accuracy over epochs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from lavalike.arguments import TEXT, arguments
from lavalike.atomic import write_atomically
from lavalike.errors import InputError
from lavalike.extras import needed

GAP = math.nan  # the epochs in which a phase had no samples


class LearningStat:
    """One of training, testing, validation.

    Within an epoch ``add`` batches (or raise num_samples, loss_sum and correct_samples); ``update``
    closes it.

    Example:
        >>> stat = slayer.utils.LearningStat()
        >>> stat.loss_sum, stat.num_samples = 3.0, 4
        >>> stat.loss
        0.75

    Args:
        loss_str, loss_unit, accuracy_str, accuracy_unit: how the two are called when printed.

    Attributes:
        loss_log, accuracy_log: a value an epoch, NaN where there were no samples, or none were
            classified.
        min_loss, max_accuracy: the best of them, None before the first.
        valid_loss_log, valid_accuracy_log: whether any epoch has one.
    """

    @arguments(loss_str=TEXT, loss_unit=TEXT, accuracy_str=TEXT, accuracy_unit=TEXT)
    def __init__(
        self,
        loss_str: str = "loss",
        loss_unit: str = "",
        accuracy_str: str = "accuracy",
        accuracy_unit: str = "",
    ) -> None:
        self.loss_str, self.loss_unit, self.accuracy_str, self.accuracy_unit = (
            loss_str,
            loss_unit,
            accuracy_str,
            accuracy_unit,
        )
        self.loss_log: list[float] = []
        self.accuracy_log: list[float] = []
        self.min_loss: float | None = None
        self.max_accuracy: float | None = None
        self._best = (False, False)
        self.reset()

    @property
    def valid_loss_log(self) -> bool:
        return not all(map(math.isnan, self.loss_log))

    @property
    def valid_accuracy_log(self) -> bool:
        return not all(map(math.isnan, self.accuracy_log))

    @property
    def correct_samples(self) -> float:
        """Correctly classified samples of the epoch so far."""
        return self._correct_samples

    @correct_samples.setter
    def correct_samples(self, value: float) -> None:
        self._correct_samples, self._classified = value, True

    @property
    def loss(self) -> float | None:
        """Mean loss of the epoch so far; None before its first sample."""
        return self.loss_sum / self.num_samples if self.num_samples else None

    @property
    def accuracy(self) -> float | None:
        """Share of correct samples of the epoch so far; None where nothing was classified."""
        return (
            self.correct_samples / self.num_samples
            if self.num_samples and self._classified
            else None
        )

    @property
    def best_loss(self) -> bool:
        """Whether the loss is below that of every epoch before.

        Judged of the epoch under way if it has samples, else of the one last closed: at an epoch's
        end the answer is the same before and after ``update``. The first epoch is the best so far;
        NaN never is.
        """
        return self._best[0] if self.loss is None else self._below(self.loss)

    @property
    def best_accuracy(self) -> bool:
        """Whether the accuracy is above that of every epoch before, as ``best_loss`` is judged."""
        return self._best[1] if self.loss is None else self._above(self.accuracy)

    def _below(self, loss: float | None) -> bool:
        return (
            loss is not None
            and not math.isnan(loss)
            and (self.min_loss is None or loss < self.min_loss)
        )

    def _above(self, accuracy: float | None) -> bool:
        return (
            accuracy is not None
            and not math.isnan(accuracy)
            and (self.max_accuracy is None or accuracy > self.max_accuracy)
        )

    def add(self, loss: float, samples: int, correct: float | None = None) -> None:
        """Count a batch: its mean loss, its size, and how many were classified correctly."""
        self.num_samples += samples
        self.loss_sum += loss * samples
        if correct is not None:
            self.correct_samples += correct

    def reset(self) -> None:
        """Forget the epoch under way."""
        self.loss_sum, self.num_samples = 0.0, 0
        self._correct_samples, self._classified = 0.0, False

    def update(self) -> None:
        """Log the epoch, judge it, start the next."""
        self._log(
            GAP if self.loss is None else self.loss, GAP if self.accuracy is None else self.accuracy
        )
        self.reset()

    def _log(self, loss: float, accuracy: float) -> None:
        self._best = (self._below(loss), self._above(accuracy))
        self.loss_log.append(loss)
        self.accuracy_log.append(accuracy)
        if self._best[0]:
            self.min_loss = loss
        if self._best[1]:
            self.max_accuracy = accuracy

    def restore(self, losses: Sequence[float], accuracies: Sequence[float]) -> None:
        """Take over the logs of other epochs, and judge them again."""
        self.loss_log, self.accuracy_log, self.min_loss, self.max_accuracy, self._best = (
            [],
            [],
            None,
            None,
            (False, False),
        )
        for loss, accuracy in zip(losses, accuracies, strict=True):
            self._log(float(loss), float(accuracy))
        self.reset()

    def state_dict(self) -> dict[str, Any]:
        """Numbers to continue from, the epoch under way included."""
        return {
            "loss_log": list(self.loss_log),
            "accuracy_log": list(self.accuracy_log),
            "loss_sum": self.loss_sum,
            "num_samples": self.num_samples,
            "correct_samples": self._correct_samples if self._classified else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.restore(state["loss_log"], state["accuracy_log"])
        self.loss_sum, self.num_samples = state["loss_sum"], state["num_samples"]
        if state["correct_samples"] is not None:
            self.correct_samples = state["correct_samples"]

    def __str__(self) -> str:
        def part(name: str, unit: str, value: float | None, best: float | None, word: str) -> str:
            if value is None or (math.isnan(value) and best is None):
                return ""
            text = f"{name} = {value:11.5f}" + (f" {unit}" if unit else "")
            return text + (f" ({word} = {best:11.5f})" if best is not None else "")

        running = self.num_samples > 0
        loss = self.loss if running else (self.loss_log[-1] if self.loss_log else None)
        accuracy = (
            self.accuracy if running else (self.accuracy_log[-1] if self.accuracy_log else None)
        )
        return "    ".join(
            filter(
                None,
                (
                    part(self.loss_str, self.loss_unit, loss, self.min_loss, "min"),
                    part(self.accuracy_str, self.accuracy_unit, accuracy, self.max_accuracy, "max"),
                ),
            )
        )


class LearningStats:
    """Statistics of training, testing and validation, an epoch a row.

    As text: ``Train loss =     0.08724 (min =     0.06125)    accuracy = ... (max = ...) | Test  loss = ... | Valid ...``,
    of the epoch under way or last closed; phases without samples are left out.

    Example:
        >>> stats = slayer.utils.LearningStats()
        >>> stats.training.loss_sum, stats.training.num_samples = 3.0, 4
        >>> stats.update()  # an epoch ends
        >>> stats.training.loss_log
        [0.75]

    Args:
        loss_str, loss_unit, accuracy_str, accuracy_unit: how the two are called when printed.
    """  # noqa: W505

    @arguments(loss_str=TEXT, loss_unit=TEXT, accuracy_str=TEXT, accuracy_unit=TEXT)
    def __init__(
        self,
        loss_str: str = "loss",
        loss_unit: str = "",
        accuracy_str: str = "accuracy",
        accuracy_unit: str = "",
    ) -> None:
        names = (loss_str, loss_unit, accuracy_str, accuracy_unit)
        self.training, self.testing, self.validation = (
            LearningStat(*names),
            LearningStat(*names),
            LearningStat(*names),
        )
        self._printed = 0

    def _phases(self) -> tuple[tuple[str, LearningStat], ...]:
        return ("Train", self.training), ("Test ", self.testing), ("Valid", self.validation)

    def _texts(self) -> list[str]:
        return [f"{name} {text}" for name, stat in self._phases() if (text := str(stat))]

    def update(self) -> None:
        """Close the epoch in all three; the next ``print`` starts on new lines."""
        for _, stat in self._phases():
            stat.update()
        self.new_line()

    def new_line(self) -> None:
        """Have the next ``print`` go below what is printed, not over it."""
        self._printed = 0

    def __str__(self) -> str:
        return " | ".join(self._texts())

    def print(
        self,
        epoch: int,
        iter: int | None = None,
        time_elapsed: float | None = None,
        header: str | Sequence[str] | None = None,
        dataloader: Sized | None = None,
    ) -> None:
        """Print the epoch so far; in a terminal over what the call before printed for it.

        Args:
            epoch: its number.
            iter: number of the batch, from 0.
            time_elapsed: seconds the batch took.
            header: lines to print above.
            dataloader: its length tells how far the epoch is; needs iter.
        """
        if dataloader is not None and iter is None:
            raise InputError(
                "LearningStats.print: dataloader tells the share of batches done; give iter too"
            )
        line = f"Epoch {epoch:4d}"
        if iter is not None:
            line += f", batch {iter:5d}"
        if dataloader is not None:
            line += f" of {len(dataloader)} ({100 * (iter + 1) / max(len(dataloader), 1):.0f} %)"  # type: ignore[operator]  # a dataloader comes with iter, see above
        if time_elapsed is not None:
            line += f", {time_elapsed:.3g} s a batch"
        lines = [*([header] if isinstance(header, str) else header or []), line, *self._texts()]
        over = f"\033[{self._printed}A" if self._printed and sys.stdout.isatty() else ""
        clear = "\033[K" if sys.stdout.isatty() else ""
        sys.stdout.write(over + "".join(f"{clear}{text}\n" for text in lines))
        sys.stdout.flush()
        self._printed = len(lines)

    def plot(
        self,
        figures: tuple[int, int] = (1, 2),
        figsize: tuple[float, float] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Draw losses, on a logarithmic scale where all are positive, and accuracies where there
        are any. Needs matplotlib.

        Args:
            figures: numbers of the two figures.
            figsize: in inches.
            path: folder to write loss.png and accuracy.png to.
        """
        plt = needed("matplotlib.pyplot", "LearningStats.plot", "plot")
        first = self.training
        for number, log, name, unit, file in (
            (figures[0], "loss_log", first.loss_str, first.loss_unit, "loss.png"),
            (figures[1], "accuracy_log", first.accuracy_str, first.accuracy_unit, "accuracy.png"),
        ):
            curves = [
                (label.strip(), getattr(stat, log))
                for label, stat in self._phases()
                if getattr(stat, f"valid_{log}")
            ]
            if not curves and log == "accuracy_log":
                continue
            figure = plt.figure(number, clear=True)
            if figsize is not None:
                figure.set_size_inches(figsize)
            axes = figure.add_subplot()
            for label, values in curves:
                axes.plot(values, label=label, marker="." if len(values) == 1 else None)
            if (
                curves
                and log == "loss_log"
                and all(v > 0 for _, values in curves for v in values if not math.isnan(v))
            ):
                axes.set_yscale("log")
            axes.set_xlabel("epoch")
            axes.set_ylabel(f"{name} [{unit}]" if unit else name)
            if curves:
                axes.legend()
            if path is not None:
                figure.savefig(Path(path) / file)

    def save(self, path: str | os.PathLike[str] = "") -> None:
        """Write loss.txt and accuracy.txt to the folder ``path``.

        A line an epoch, with training, testing and validation in columns, nan for none; ``load``
        and numpy.loadtxt read them.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        stats = [stat for _, stat in self._phases()]
        for file, logs in (
            ("loss.txt", [s.loss_log for s in stats]),
            ("accuracy.txt", [s.accuracy_log for s in stats]),
        ):
            rows = zip(*logs, strict=True)
            text = "# train test valid\n" + "".join(
                " ".join(repr(v) for v in row) + "\n" for row in rows
            )
            write_atomically(folder / file, lambda f, text=text: f.write(text.encode()))  # type: ignore[misc]  # text is bound, not passed

    def load(self, path: str | os.PathLike[str] = "") -> None:
        """Take over what ``save`` wrote to the folder ``path``; the epoch under way starts anew.

        Raises:
            FileNotFoundError: a file is missing.
            InputError: a file is damaged; the statistics are as before.
        """
        losses, accuracies = (_columns(Path(path) / file) for file in ("loss.txt", "accuracy.txt"))
        if len(losses[0]) != len(accuracies[0]):
            raise InputError(
                f"{path}: loss.txt has {len(losses[0])} epochs, accuracy.txt {len(accuracies[0])}"
            )
        for (_, stat), loss, accuracy in zip(self._phases(), losses, accuracies, strict=True):
            stat.restore(loss, accuracy)
        self.new_line()

    def state_dict(self) -> dict[str, Any]:
        """Numbers to continue from, for a checkpoint."""
        return {
            "training": self.training.state_dict(),
            "testing": self.testing.state_dict(),
            "validation": self.validation.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        for name in ("training", "testing", "validation"):
            getattr(self, name).load_state_dict(state[name])


def _columns(path: Path) -> list[list[float]]:
    rows = []
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        if line.startswith("#"):
            continue
        try:
            row = [float(v) for v in line.split()]
        except ValueError:
            row = []
        if len(row) != 3:
            raise InputError(
                f"{path}: line {number} is {line!r}; three numbers (train, test, valid) are expected"
            )
        rows.append(row)
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
