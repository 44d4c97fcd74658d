"""The command line: demo, run, info, doctor."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import tomllib

import numpy as np
import pytest
import torch

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
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith("--help\n")


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


# -- check, compare, new ---------------------------------------------------------------------------

PROGRAM = """
import torch
import lavalike as lv
from lavalike import proc, slayer

P = {"threshold": 0.3, "current_decay": 0.5, "voltage_decay": 0.1}
torch.manual_seed(0)
net = [slayer.block.cuba.Dense(P, 6, 5, weight_scale=3), slayer.block.cuba.Dense(P, 5, 3, weight_scale=3)]


def lif():
    return proc.LIF(shape=(2,))


class Twice(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((2,)), lv.OutPort((2,))


@lv.implements(Twice, backend="torch", precision="floating_pt")
class Right(lv.TorchModel):
    def step(self, t, inputs, state, c):
        return {"s_out": 2 * inputs["a_in"]}, state


@lv.implements(Twice, backend="torch", precision="floating_pt")
class Wrong(lv.TorchModel):
    def step(self, t, inputs, state, c):
        return {"s_out": len(inputs["a_in"]) * inputs["a_in"]}, state  # of the batch's size
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "trained_here.py"
    path.write_text(PROGRAM)
    return path


def rows(text):
    return [re.split(r"  +", line.strip()) for line in text.splitlines()[2:]]


def test_compare_says_where_a_network_and_a_file_or_two_files_differ(program, tmp_path, capsys):
    from lavalike.commands.targets import named

    net = named(f"{program}:net")
    a, b = (
        slayer.export_hdf5(net, tmp_path / "a.net"),
        tmp_path / "b.net",
    )
    old = net[1].synapse.weight.detach().clone()
    with torch.no_grad():
        net[1].synapse.weight[2, 1] += 2
    slayer.export_hdf5(net, b)
    assert main(["compare", str(a), str(b)]) == 1
    (row,) = rows(capsys.readouterr().out)
    assert row[0] == "layers[1].synapse.weights"
    assert row[3] == "1 of 15"
    assert main(["compare", str(a), str(a)]) == 0
    assert capsys.readouterr().out == "equal\n"
    assert main(["compare", f"{program}:net", str(b)]) == 0
    with torch.no_grad():
        net[1].synapse.weight.copy_(old.mul(-1))
    assert main(["compare", f"{program}:net", str(a)]) == 1
    assert "first difference: layer 1" in capsys.readouterr().out


def test_check_holds_files_processes_and_models_to_their_rules(program, net_file, capsys):
    assert main(["check", str(net_file)]) == 0
    found = rows(capsys.readouterr().out)
    assert [r[1] for r in found] == ["yes"] * 5
    assert found[-1][2] == "numba computes it; torch computes it"
    assert main(["check", f"{program}:lif", "--backend", "numba"]) == 0
    capsys.readouterr()
    assert main(["check", f"{program}:Twice", "--model", "Right"]) == 0
    assert main(["check", f"{program}:Twice", "--model", "Wrong"]) == 1
    assert "Wrong keeps a model's rules  NO" in capsys.readouterr().out


def test_a_file_that_lavas_loader_would_have_clipped_fails_the_check(tmp_path, capsys):
    import h5py

    net = [
        slayer.block.cuba.Dense(
            {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}, 2, 2
        )
    ]
    slayer.export_hdf5(net, tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as ours, h5py.File(tmp_path / "b.net", "w") as theirs:
        ours.copy("layer", theirs)

        def plain(name, item):
            for key in list(item.attrs):
                del item.attrs[key]

        theirs.visititems(plain)
        theirs["layer/0/weight"][0, 0] = 300
    assert main(["check", str(tmp_path / "b.net"), "--backend", "numba"]) == 1
    found = {r[0]: r[1] for r in rows(capsys.readouterr().out)}
    assert found["nothing is dropped or clipped"] == "NO"
    assert found["a digest vouches for it"] == "NO"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["check", "PROGRAM:nett"], "has no 'nett'; did you mean 'net'?"),
        (["check", "PROGRAM:P"], "a process is expected, this is a dict"),
        (["check", "no_such_module:x"], "no module of that name"),
        (["check", "none.py:x"], "no such file"),
        (["check", "none.net"], "there is no such file"),
        (["check", "none.net", "--model", "M"], "--model=M needs program.py:NAME"),
        (["compare", "a.net", "b.net", "--input", "x.npy"], "for a trained network"),
        (["new", "class"], "the folder's name is the package's"),
        (["new", "full"], "is there already"),
        (["chekc", "a"], "did you mean 'check'?"),
        (["demo", "--sed", "3"], "did you mean '--seed'?"),
        (["new", "a", "--template", "traning"], "did you mean 'training'?"),
        (["run", "a.net"], "--input, --output"),
    ],
)
def test_every_error_of_the_command_line_is_one_line_and_status_2(
    given, said, program, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "of").mkdir(parents=True)
    try:
        status = main([word.replace("PROGRAM", program.name) for word in given])
    except SystemExit as e:  # as argparse ends
        status = e.code
    text = capsys.readouterr().err
    assert status == 2
    assert text.count("\n") == 1
    assert said in text


@pytest.mark.parametrize("kind", ["process", "training", "bss2"])
def test_a_new_project_passes_its_own_tests(kind, tmp_path, monkeypatch, capsys):
    folder = tmp_path / f"my-own-{kind}"
    assert main(["new", str(folder), "--template", kind]) == 0
    assert "next: cd" in capsys.readouterr().out
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert not [p for p in files if "my_project" in p.read_text("utf-8")]
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"my_own_{kind}"
    monkeypatch.syspath_prepend(folder)
    (path,) = (folder / "tests").glob("test_*.py")
    tests = {k: v for k, v in runpy.run_path(str(path)).items() if k.startswith("test_")}
    assert tests
    for test in tests.values():
        test(**dict.fromkeys(inspect.signature(test).parameters, tmp_path))
    if kind == "process":
        runpy.run_module(f"my_own_{kind}", run_name="__main__")
        assert "[[0 0 0 1" in capsys.readouterr().out


def test_the_report_of_a_bug_says_what_decides_and_not_who(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = doctor.bug_report()
    assert "OMP_NUM_THREADS=3" in text
    assert "cores" in text
    assert os.path.expanduser("~") not in text or os.path.expanduser("~") == "/"
    assert main(["doctor", "--report"]) == 0
