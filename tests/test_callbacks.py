"""Assistant: fit, callbacks, and what writes its numbers down."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from lavalike import InputError, slayer
from lavalike.slayer.utils import Assistant, Callback, LearningStats, LogFile, ScalarWriter


def assistant(*callbacks, stats=None):
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    return Assistant(
        net, functional.cross_entropy, optimizer, stats, lambda y: y.argmax(1), callbacks=callbacks
    )


def batches(n=3):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, 6, 4, generator=g)
    return [(a, (a.sum(1) > 0).long()) for a in x]


def test_fit_is_the_loop_written_out():
    a, b = assistant(), assistant(stats=LearningStats())
    fitted = a.fit(batches(), 3, test=batches(1), valid=batches(2))
    for _ in range(3):
        for x, y in batches():
            b.train(x, y)
        for x, y in batches(1):
            b.test(x, y)
        for x, y in batches(2):
            b.valid(x, y)
        b.stats.update()
    assert fitted.state_dict() == b.stats.state_dict()
    assert all(map(torch.equal, a.net.parameters(), b.net.parameters()))
    assert a.epoch == 3
    assert fitted is a.stats


class Told(Callback):
    def __init__(self):
        self.seen = []

    def on_fit_begin(self, assistant):
        self.seen.append("begin")

    def on_epoch_begin(self, assistant):
        self.seen.append(assistant.epoch)

    def on_batch_end(self, assistant, phase, loss):
        self.seen.append(phase)
        assert loss > 0

    def on_epoch_end(self, assistant, metrics):
        self.seen.append(metrics)
        if metrics["epoch"] == 1:
            assistant.stop()

    def on_fit_end(self, assistant):
        self.seen.append("end")


def test_callbacks_are_told_in_order_and_stop():
    told, epochs = Told(), []
    a = assistant(told, lambda assistant, metrics: epochs.append(metrics["epoch"]))
    a.fit(batches(2), 5, test=batches(1))
    first, second = (m for m in told.seen if isinstance(m, dict))
    train = ["train", "train", "test"]
    assert told.seen == ["begin", 0, *train, first, 1, *train, second, "end"]
    assert epochs == [0, 1]
    assert list(first) == [
        "epoch",
        "seconds",
        "loss/train",
        "loss/test",
        "accuracy/train",
        "accuracy/test",
        "lr",
    ]
    assert second["loss/train"] == a.stats.training.loss_log[1] < first["loss/train"]
    assert second["accuracy/test"] == a.stats.testing.accuracy_log[1]
    a.fit(batches(2))  # goes on counting, and what stopped it is over
    assert (a.epoch, told.seen[-1], epochs) == (3, "end", [0, 1, 2])


def test_a_loop_of_ones_own_ends_its_epochs():
    epochs = []
    a = assistant(lambda assistant, metrics: epochs.append(metrics))
    a.train(*batches(1)[0])
    told = a.end_epoch()
    assert epochs == [told]
    assert told["loss/train"] == a.stats.training.loss_log[0]
    assert "loss/test" not in told


def test_an_error_in_an_epoch_ends_the_fit():
    told = Told()
    with pytest.raises(RuntimeError):
        assistant(told).fit([(torch.ones(2, 3), torch.zeros(2, dtype=torch.long))])
    assert told.seen == ["begin", 0, "end"]


def test_what_is_no_callback_is_told():
    class Misspelt:
        def on_epoch_ended(self, assistant, metrics): ...

    class Both(Misspelt, Callback): ...

    for wrong in (Misspelt(), 3, Told):
        with pytest.raises(TypeError, match="callbacks is a sequence of a Callback or a function"):
            assistant(wrong)
    with pytest.raises(
        TypeError, match=r"Both\.on_epoch_ended is never called; did you mean 'on_epoch_end'"
    ):
        assistant(Both())


def test_a_scalar_writer_is_handed_every_number():
    rows, flushed = [], []
    writer = SimpleNamespace(
        add_scalar=lambda *row: rows.append(row), flush=lambda: flushed.append(1)
    )
    assistant(ScalarWriter(writer, "run/")).fit(batches(), 2)
    assert [(tag, step) for tag, _, step in rows] == [
        (f"run/{tag}", step)
        for step in (0, 1)
        for tag in ("seconds", "loss/train", "accuracy/train", "lr")
    ]
    assert flushed == [1]


def read(table):
    return list(csv.DictReader(table.read_text().splitlines()))


def test_log_files(tmp_path):
    table, lines = tmp_path / "run.csv", tmp_path / "run.jsonl"
    a = assistant(LogFile(table), LogFile(lines))
    a.fit(batches(), 2, test=batches(1))
    rows = read(table)
    objects = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [int(r["epoch"]) for r in rows] == [o["epoch"] for o in objects] == [0, 1]
    assert [float(r["loss/test"]) for r in rows] == a.stats.testing.loss_log
    assert [o["accuracy/train"] for o in objects] == a.stats.training.accuracy_log
    assert {r["loss/valid"] for r in rows} == {""}
    assistant(LogFile(table, append=True), LogFile(lines)).fit(batches())  # on behind, and anew
    assert [r["epoch"] for r in read(table)] == ["0", "1", "0"]
    assert len(lines.read_text().splitlines()) == 1
    table.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"its header 'a,b' is not a log's"):
        assistant(LogFile(table, append=True)).fit(batches())
    for path, problem in (
        (tmp_path / "run.txt", "ends in .csv or .jsonl"),
        (tmp_path / "no/run.csv", "no is no folder"),
    ):
        with pytest.raises(InputError, match=problem):
            LogFile(path)


def test_progress_of_a_fit_is_shown_when_it_is_asked_for(capsys):
    assistant().fit(batches(), 2)
    assert capsys.readouterr() == ("", "")
    assistant().fit(batches(), 2, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "6/6" in shown.err
    assert "loss/train 0." in shown.err
    assistant().fit(iter(batches()), progress=True)  # of a length nobody knows
    assert "fit: 3batch" in capsys.readouterr().err


def test_slayer_has_them_by_name():
    assert {"Callback", "LogFile", "ScalarWriter", "save_weights", "load_weights"} <= {
        *dir(slayer.utils)
    }
