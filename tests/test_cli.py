"""The command line: demo, run, info, doctor."""

from __future__ import annotations

import re

import numpy as np
import pytest

import netx
from lavalike import doctor, fused, slayer
from lavalike.backends import get_backend
from lavalike.cli import main
from lavalike.demo.data import Data, mnist_data, yin_yang, yin_yang_class
from lavalike.demo.run import demo, report, work


@pytest.fixture
def net_file(tmp_path):
    family = slayer.block.cuba
    params = {"threshold": 0.3, "current_decay": 0.5, "voltage_decay": 0.1}
    return slayer.export_hdf5(
        [family.Dense(params, 6, 5, weight_scale=3), family.Dense(params, 5, 3, weight_scale=3)],
        tmp_path / "a.net",
    )


def test_run_writes_what_simulate_computes(net_file, tmp_path, capsys):
    x = (np.random.default_rng(0).random((2, 6, 12)) < 0.5).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "y.npy"
    outputs = {}
    for backend, precision in (
        ("numba", "fixed_pt"),
        ("numba", "floating_pt"),
        ("torch", "floating_pt"),
    ):
        assert (
            main(
                [
                    "run",
                    str(net_file),
                    "--input",
                    str(tmp_path / "x.npy"),
                    "--output",
                    str(out),
                    "--backend",
                    backend,
                    "--precision",
                    precision,
                ]
            )
            == 0
        )
        outputs[backend, precision] = np.load(out)
        assert outputs[backend, precision].shape == (2, 3, 12)
    np.testing.assert_array_equal(outputs["numba", "floating_pt"], outputs["torch", "floating_pt"])
    assert "(2, 3, 12)" in capsys.readouterr().out


def test_info_and_doctor_print_tables(net_file, capsys):
    assert main(["info", str(net_file)]) == 0
    assert "dense" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "numba" in text
    assert "ready" in text
    assert "emulated chips; hxtorch: " in text


def test_errors_are_one_line_and_status_2(net_file, tmp_path, capsys):
    assert main(["info", str(tmp_path / "none.net")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    np.save(tmp_path / "x.npy", np.zeros((7, 3)))
    assert (
        main(
            [
                "run",
                str(net_file),
                "--input",
                str(tmp_path / "x.npy"),
                "--output",
                str(tmp_path / "y.npy"),
            ]
        )
        == 2
    )
    assert "expected (6, 'time')" in capsys.readouterr().err
    assert main(["demo", "--epochs", "0"]) == 2
    capsys.readouterr()
    assert main(["demo", "--data", str(net_file)]) == 2
    assert "not an npz file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--output": "nowhere/y.npy"}, "y.npy: cannot be written: nowhere is no folder"),
        ({"--output": "."}, "--output .: cannot be written: . is a folder"),
        ({"--output": "a.net"}, "--output a.net is what is read, a.net; name another file"),
        ({"--output": "x.npy"}, "--output x.npy is what is read, x.npy; name another file"),
        ({"--input": "none.npy"}, "none.npy: not an npy file"),
        ({"--input": "."}, ".: not an npy file"),
        ({"--input": "objects.npy"}, "objects.npy: not an npy file: Object arrays"),
        ({"--input": "two.npz"}, "not an npz"),
        ({"--input": "complex.npy"}, "complex128; expected real numbers"),
        ({"--input": "promises.npy"}, "promises.npy: not an npy file"),
        ({"--input": "a.net"}, "a.net: not an npy file"),
        ({"--backend": "numa"}, "did you mean 'numba'?"),
        ({"--steps": "0"}, "steps is an integer >= 1, got 0"),
        ({"--steps": "5"}, "input has 4 steps, the run 5"),
        ({"file": "x.npy"}, "x.npy: not a readable HDF5 file"),
        ({"file": "."}, ".: "),
        ({"file": "none.net"}, "none.net: there is no such file"),
    ],
)
def test_run_says_in_one_line_what_it_cannot_use(
    net_file, tmp_path, monkeypatch, capsys, changes, says
):
    """Status 2, and no file is touched."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((6, 4)))
    np.save("objects.npy", np.array([None, 1], object))
    np.save("complex.npy", np.zeros((6, 4), complex))
    np.savez("two.npz", a=1, b=2)
    header = (
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117)
        + b"\n"
    )
    (tmp_path / "promises.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    )
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    options = {"file": "a.net", "--input": "x.npy", "--output": "y.npy"} | changes
    assert (
        main(["run", options.pop("file"), *(word for pair in options.items() for word in pair)])
        == 2
    )
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.startswith("lavalike: ")
    assert said.err.count("\n") == 1
    assert before == {p: p.read_bytes() for p in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "file"], "--out file: no folder"),
        (["--out", "file/under"], "under: no folder"),
        (["--seed", "-1"], "--seed is in 0..4294967295, got -1"),
        (["--seed", str(2**32)], "--seed is in"),
        (["--data", "none.npz"], "none.npz: not an npz file"),
        (["--data", "."], ".: not an npz file"),
        (["--epochs", "-1"], "--epochs is >= 1"),
    ],
)
def test_the_demo_refuses_before_it_trains(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["demo", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["inf"],
        [],
        ["run"],
        ["info"],
        ["doctor", "more"],
        ["run", "a.net", "--inptu", "x"],
        ["warm", "--now"],
        ["run", "a.net", "--input", "x", "--output", "y", "--precision", "fixed"],
        ["run", "a.net", "--input", "x", "--output", "y", "--steps", "many"],
    ],
)
def test_unknown_commands_and_options_are_status_2(words, capsys):
    with pytest.raises(SystemExit) as e:
        main(words)
    assert e.value.code == 2
    assert "error" in capsys.readouterr().err


def test_ctrl_c_is_status_130(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "report", interrupted)
    assert main(["doctor"]) == 130


def test_doctor_tells_of_a_broken_backend(monkeypatch):
    def broken(name):
        if name == "torch":
            raise OSError("libtorch.so: cannot open shared object file")
        return get_backend(name)

    monkeypatch.setattr(doctor, "get_backend", broken)
    assert re.search(r"torch +broken +OSError: libtorch.so", doctor.report())


def test_yin_yang_is_the_published_figure():
    """Classes at known points, and samples of every class inside the disc."""
    points = np.array([[0.75, 0.5], [0.25, 0.5], [0.25, 0.8], [0.5, 0.05], [0.12, 0.5]])
    np.testing.assert_array_equal(yin_yang_class(*points.T), [2, 2, 1, 0, 1])
    x, y = yin_yang(600, 0)
    assert (np.hypot(x[:, 0] - 0.5, x[:, 1] - 0.5) <= 0.5).all()
    np.testing.assert_array_equal(yin_yang_class(x[:, 0], x[:, 1]), y)
    assert (np.bincount(y) > 150).all()


def test_the_demo_runs_and_the_file_predicts_what_was_trained(tmp_path, capsys):
    """A short demo: every fixed_pt prediction equals the trained network's, and the picture is
    there."""
    done = demo(folder=tmp_path, epochs=2)
    for trained in done:
        fixed = trained.results[1]
        assert fixed.backend == "numba fixed_pt"
        assert fixed.agreement == 1.0
        assert all(r.agreement > 0.9 for r in trained.results)
        assert netx.Network(trained.path).ours
        assert all(0 < o.synops < o.macs for _, o in trained.operations)
    assert (tmp_path / "lavalike_demo_yin-yang.png").stat().st_size > 10_000
    assert "synaptic ops a step" in capsys.readouterr().out


def test_the_demo_on_a_chip(tmp_path):
    """A small one: trained, on the chip, trained there for an epoch; its row, and its decision
    regions."""
    data = Data("yin-yang", *yin_yang(100, 0), *yin_yang(100, 1))
    with fused.plain_loops():
        done = work(data, "LIF", tmp_path, 1, 0, bss2=True)
    before, after = done.on_chip
    assert before.backend == after.backend == "BrainScaleS-2 (emulated)"
    assert not np.array_equal(before.predictions, after.predictions)
    (row,) = (line for line in report(data, [done]).splitlines() if "BrainScaleS-2" in line)
    assert (
        f"{100 * before.accuracy:.2f} %, {100 * after.accuracy:.2f} % after training in the loop"
        in row
    )


def test_the_mnist_reader(tmp_path):
    g = np.random.default_rng(0)
    arrays = {
        "x_train": g.integers(0, 256, (20, 28, 28), np.uint8),
        "y_train": np.arange(20, dtype=np.uint8) % 10,
        "x_test": g.integers(0, 256, (5, 28, 28), np.uint8),
        "y_test": np.arange(5, dtype=np.uint8),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    data = mnist_data(tmp_path / "m.npz")
    assert data.x_train.shape == (20, 784)
    assert data.x_train.max() <= 1
    assert data.classes == 10
