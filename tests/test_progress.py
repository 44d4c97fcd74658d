"""Progress: tqdm's bar or plain lines, on stderr, and nothing where nobody asks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import lavalike as lv
from lavalike import doctor, progress
from lavalike.proc import Sigma


def test_a_bar_and_plain_lines(monkeypatch, capsys):
    assert list(progress.tracked([1, 2], "work", "item")) == [1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "work: 100%" in shown.err
    assert "2/2" in shown.err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(progress, "LINES", -1.0)
    with progress.Progress("work", 3, "item") as bar:
        bar.update(2, "well")
    assert capsys.readouterr().err == "work: 2 of 3 items, 0 s; well\nwork: 2 of 3 items, 0 s\n"
    with pytest.raises(KeyError), progress.Progress("work") as bar:
        raise KeyError
    bar.close()  # once only
    assert capsys.readouterr().err == "work: 0 steps, 0 s\n"


def test_simulate_shows_its_steps_when_asked(capsys):
    x = np.ones((2, 50))
    plain = lv.simulate(Sigma(shape=(2,)), {"a_in": x})
    assert capsys.readouterr() == ("", "")
    shown = lv.simulate(Sigma(shape=(2,)), {"a_in": x}, progress=True)
    assert "50/50" in capsys.readouterr().err
    np.testing.assert_array_equal(plain["s_out"], shown["s_out"])


def test_a_run_that_fails_leaves_no_bar_open(capsys, monkeypatch):
    def fails(*args):
        raise lv.RunError("no")

    from lavalike.runtime import simulate

    monkeypatch.setattr(simulate.Stretches, "run", fails)
    with pytest.raises(lv.RunError):
        lv.simulate(Sigma(shape=(2,)), steps=9, progress=True)
    assert "0/9" in capsys.readouterr().err


def test_warm_shows_its_processes_when_asked(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_one_of_each", lambda fixed: [Sigma(shape=(2,))])
    doctor.warm()
    assert capsys.readouterr() == ("", "")
    doctor.warm(progress=True)
    assert "3/3" in capsys.readouterr().err


def test_compare_shows_its_blocks_when_asked(capsys, tmp_path):
    torch = pytest.importorskip("torch")
    import netx
    from lavalike import slayer

    torch.manual_seed(0)
    params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
    net = torch.nn.Sequential(slayer.block.cuba.Dense(params, 4, 3))
    slayer.export_hdf5(net, tmp_path / "a.net")
    capsys.readouterr()
    assert netx.compare(net, tmp_path / "a.net", steps=4)
    assert capsys.readouterr() == ("", "")
    assert netx.compare(net, tmp_path / "a.net", steps=4, progress=True)
    err = capsys.readouterr().err
    assert "compare: 100%" in err
    assert "simulate: 100%" in err
