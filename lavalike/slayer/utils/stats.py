"""LearningStats: loss and accuracy over epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class LearningStat:
    """One of training, testing, validation. ``update`` closes an epoch."""

    loss_sum: float = 0.0
    correct_samples: float = 0.0
    num_samples: int = 0
    min_loss: float | None = None
    max_accuracy: float | None = None
    best_loss: bool = False
    best_accuracy: bool = False
    loss_log: list[float] = field(default_factory=list)
    accuracy_log: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float | None:
        """Mean loss of the epoch so far."""
        return self.loss_sum / self.num_samples if self.num_samples else None

    @property
    def accuracy(self) -> float | None:
        """Share of correct samples of the epoch so far; None where nothing was classified."""
        return self.correct_samples / self.num_samples if self.num_samples and self.classified else None

    classified: bool = False

    def add(self, loss: float, samples: int, correct: float | None = None) -> None:
        self.num_samples += samples
        self.loss_sum += loss * samples
        if correct is not None:
            self.classified = True
            self.correct_samples += correct

    def reset(self) -> None:
        self.loss_sum, self.correct_samples, self.num_samples = 0.0, 0.0, 0

    def update(self) -> None:
        """Log the epoch, set best_loss and best_accuracy, start the next."""
        self.best_loss = self.best_accuracy = False
        if self.loss is not None:
            self.loss_log.append(self.loss)
            if self.min_loss is None or self.loss < self.min_loss:
                self.min_loss, self.best_loss = self.loss, True
        if self.accuracy is not None:
            self.accuracy_log.append(self.accuracy)
            if self.max_accuracy is None or self.accuracy > self.max_accuracy:
                self.max_accuracy, self.best_accuracy = self.accuracy, True
        self.reset()

    def __str__(self) -> str:
        parts = []
        loss = self.loss if self.loss is not None else (self.loss_log[-1] if self.loss_log else None)
        if loss is not None:
            parts.append(f"loss = {loss:.5f}" + (f" (min = {self.min_loss:.5f})" if self.min_loss is not None else ""))
        accuracy = self.accuracy if self.accuracy is not None else (self.accuracy_log[-1] if self.accuracy_log else None)
        if accuracy is not None:
            parts.append(f"accuracy = {accuracy:.5f}" + (f" (max = {self.max_accuracy:.5f})" if self.max_accuracy is not None else ""))
        return " ".join(parts)


class LearningStats:
    """Statistics of training, testing and validation."""

    def __init__(self) -> None:
        self.training, self.testing, self.validation = LearningStat(), LearningStat(), LearningStat()

    def update(self) -> None:
        """Close the epoch in all three."""
        for stat in (self.training, self.testing, self.validation):
            stat.update()

    def __str__(self) -> str:
        named = (("Train", self.training), ("Test", self.testing), ("Valid", self.validation))
        return " | ".join(f"{name} {text}" for name, stat in named if (text := str(stat)))

    def print(self, epoch: int) -> None:
        """One line for the epoch."""
        print(f"[epoch {epoch:3d}] {self}")

    def save(self, path: str | Path = ".") -> None:
        """loss.txt and accuracy.txt in ``path``: a line an epoch, training, testing and validation in columns."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        stats = (self.training, self.testing, self.validation)
        for name, logs in (("loss", [s.loss_log for s in stats]), ("accuracy", [s.accuracy_log for s in stats])):
            lines = ["# train test valid"]
            for k in range(max(map(len, logs))):
                lines.append(" ".join(f"{log[k]:.9g}" if k < len(log) else "-" for log in logs))
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
