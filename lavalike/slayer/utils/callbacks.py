"""What an Assistant calls as training goes on, and two that write its numbers down."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lavalike.arguments import FLAG, PATH, TEXT, Rule, arguments, did_you_mean, shown
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.slayer.utils.assistant import Assistant

PHASES = {"train": "training", "test": "testing", "valid": "validation"}
COLUMNS = (
    "epoch",
    "seconds",
    *(f"{value}/{phase}" for value in ("loss", "accuracy") for phase in PHASES),
    "lr",
)


class Callback:
    """A base that does nothing, with every call there is. Any object that has some of these methods
    will do; a plain function is called as ``on_epoch_end``.

    Example::

        class Best(Callback):
            def on_epoch_end(self, assistant, metrics):
                if assistant.stats.testing.best_accuracy:
                    slayer.utils.save_weights("best.safetensors", assistant.net)
    """

    def on_fit_begin(self, assistant: Assistant) -> None:
        """``fit`` begins."""

    def on_epoch_begin(self, assistant: Assistant) -> None:
        """An epoch of ``fit`` begins; ``assistant.epoch`` is its number, from 0."""

    def on_batch_end(self, assistant: Assistant, phase: str, loss: float) -> None:
        """A batch is done: ``phase`` is "train", "test" or "valid", ``loss`` its mean loss."""

    def on_epoch_end(self, assistant: Assistant, metrics: Mapping[str, float]) -> None:
        """An epoch is done: ``metrics`` has "epoch", "seconds" since the last, "lr" of the
        optimizer's first group, and "loss/train", "accuracy/test" and so on of the phases that had
        samples. ``assistant.stop()`` here makes it the last of ``fit``."""

    def on_fit_end(self, assistant: Assistant) -> None:
        """``fit`` is done, or was left by an error."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def is_callback(value: Any) -> bool:
    """Whether ``value`` is a function, or has one of a Callback's methods."""
    return not isinstance(value, type) and (
        callable(value) or any(callable(getattr(value, h, None)) for h in HOOKS)
    )


def check(value: Any) -> Any:
    """``value``; InputTypeError for a method that looks like a call and is none."""
    for name in dir(value):
        if name.startswith("on_") and name not in HOOKS and callable(getattr(value, name)):
            near = did_you_mean(name, HOOKS) or f"; there are {', '.join(HOOKS)}"
            raise InputTypeError(
                f"Assistant: callbacks: {type(value).__name__}.{name} is never called{near}"
            )
    return value


def call(callbacks: tuple[Any, ...], hook: str, *values: Any) -> None:
    """Have every one of ``callbacks`` that has it do ``hook``."""
    for callback in callbacks:
        found: Callable[..., Any] | None = getattr(callback, hook, None)
        if found is not None:
            found(*values)
        elif hook == "on_epoch_end" and not any(hasattr(callback, h) for h in HOOKS):
            callback(*values)


class ScalarWriter(Callback):
    """Hands an epoch's numbers to anything with ``add_scalar(tag, value, step)``: torch's
    ``SummaryWriter`` for TensorBoard, or one like it.

    Args:
        writer: it stays open.
        prefix: before each tag. Default none.

    Example::

        from torch.utils.tensorboard import SummaryWriter  # needs tensorboard

        assistant = Assistant(net, error, optimizer, callbacks=[ScalarWriter(SummaryWriter())])
    """

    @arguments(
        writer=Rule(
            "an object with add_scalar(tag, value, step)",
            lambda v: callable(getattr(v, "add_scalar", None)),
        ),
        prefix=TEXT,
    )
    def __init__(self, writer: Any, prefix: str = "") -> None:
        self.writer, self.prefix = writer, prefix

    def on_epoch_end(self, assistant: Assistant, metrics: Mapping[str, float]) -> None:
        for tag, value in metrics.items():
            if tag != "epoch":
                self.writer.add_scalar(f"{self.prefix}{tag}", value, int(metrics["epoch"]))

    def on_fit_end(self, assistant: Assistant) -> None:
        if callable(getattr(self.writer, "flush", None)):
            self.writer.flush()


class LogFile(Callback):
    """Writes an epoch's numbers as a line of a file, which is whole after every epoch.

    Args:
        path: ends in .csv (a header, then a row an epoch, empty where there is no value) or .jsonl
            (an object a line). Its folder exists.
        append: go on behind what is there. Default False: the file begins anew, with the first
            epoch.

    Raises:
        InputError: another kind of file; or the header that is there is another.
    """

    @arguments(path=PATH, append=FLAG)
    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path, self.append = Path(path), bool(append)
        self.kind = self.path.suffix.lower()
        if self.kind not in (".csv", ".jsonl"):
            raise InputError(f"LogFile: path ends in .csv or .jsonl, got {shown(str(path))}")
        if not self.path.parent.is_dir():
            raise InputError(f"LogFile: path: {self.path.parent} is no folder")
        self._begun = False

    def on_epoch_end(self, assistant: Assistant, metrics: Mapping[str, float]) -> None:
        there = self.path.exists() and self.path.stat().st_size > 0
        going_on = self._begun or (self.append and there)
        if going_on and not self._begun and self.kind == ".csv":
            with self.path.open(newline="", encoding="utf-8") as f:
                head = next(csv.reader(f), [])
            if head != list(COLUMNS):
                raise InputError(
                    f"{self.path}: its header {','.join(head)[:60]!r} is not a log's; give another path, or append=False"
                )
        with self.path.open("a" if going_on else "w", newline="", encoding="utf-8") as f:
            self._write(f, metrics, not going_on)
        self._begun = True

    def _write(self, f: TextIO, metrics: Mapping[str, float], first: bool) -> None:
        if self.kind == ".jsonl":
            f.write(json.dumps(dict(metrics)) + "\n")
            return
        rows = csv.writer(f)
        if first:
            rows.writerow(COLUMNS)
        rows.writerow([metrics.get(name, "") for name in COLUMNS])


def metrics(assistant: Assistant, began: float) -> dict[str, float]:
    """What ``on_epoch_end`` is told of an epoch that is about to be closed."""
    out: dict[str, float] = {"epoch": assistant.epoch, "seconds": time.perf_counter() - began}
    assert assistant.stats is not None
    for value in ("loss", "accuracy"):
        for phase, name in PHASES.items():
            found = getattr(getattr(assistant.stats, name), value)
            if found is not None:
                out[f"{value}/{phase}"] = float(found)
    if assistant.optimizer is not None:
        out["lr"] = float(assistant.optimizer.param_groups[0]["lr"])
    return out
