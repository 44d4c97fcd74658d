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

import lavalike as lv
import netx
from lavalike import doctor, events, fused, slayer
from lavalike.backends import get_backend
from lavalike.cli import main
from lavalike.demo.data import Data, mnist_data, yin_yang, yin_yang_class
from lavalike.demo.run import demo, report, work
from tests.conftest import ROOT


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


# -- plot, report ----------------------------------------------------------------------------------

NIR = ROOT / "tests/data/nir/lif_norse.nir"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A folder of files that plot and report take, and of others."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("seen")
    rng = np.random.default_rng(0)
    spikes = (rng.random((2, 6, 12)) < 0.5).astype(np.int8)
    spikes[1] = 0
    spikes[1, 0, :3] = 1
    np.save(folder / "batch.npy", spikes)
    np.save(folder / "spikes.npy", spikes[0])
    np.save(folder / "values.npy", rng.normal(size=(2, 5)))
    np.save(folder / "complex.npy", np.ones((2, 3), complex))
    np.save(folder / "number.npy", np.float64(1))
    np.save(folder / "one.npy", np.ones((1, 8)))
    event = events.Event([3, 4], [7, 7], [1, 0], [0.0, 1.5])
    events.write(folder / "events.npy", event)
    events.write(folder / "events.csv", event)
    (folder / "bare.csv").write_text("0,3,7,1\n1500,4,7,0\n")
    process = lv.proc.Sigma(shape=(3,))
    recorded = lv.simulate(process, {"a_in": np.ones((2, 3, 4))}, record=["sigma"])
    recorded.save(folder / "run.h5")
    events.write_spike_file(folder / "shd.h5", [(events.Event([1], None, [0], [1.0]), 0)])
    params = {"threshold": 0.3, "current_decay": 0.5, "voltage_decay": 0.1}
    blocks = [slayer.block.cuba.Dense(params, *sizes) for sizes in ((6, 5), (5, 3))]
    slayer.export_hdf5(blocks, folder / "two.net")
    return folder


@pytest.mark.parametrize(
    ("words", "draws"),
    [
        ("spikes.npy", [("raster", (6, 12))]),
        ("spikes.npy --kind activity --dt 0.001", [("activity", (6, 12))]),
        ("values.npy", [("traces", (2, 5))]),
        ("batch.npy --sample 1 --kind raster", [("raster", (6, 12))]),
        ("events.npy", [("raster", 2)]),
        ("events.csv --kind raster", [("raster", 2)]),
        ("bare.csv --order txyp --unit 1e-3", [("raster", 2)]),
        ("run.h5 --of s_out --sample 1 --kind traces", [("traces", 2)]),
        ("run.h5 --kind activity", [("activity", 2)]),
        ("run.h5 --kind activity --of sigma", [("activity", 2)]),
        ("run.h5 --of sigma", []),
        ("two.net --of layers[1].synapse", [("weights", "Network.layers[1].synapse")]),
        (
            "two.net --of layers[0].synapse --kind connectivity",
            [("connectivity", "Network.layers[0].synapse")],
        ),
        (f"{NIR} --dt 1e-4", [("weights", "Network.layers['0']")]),
    ],
)
def test_plot_draws_what_a_file_holds(seen, words, draws, tmp_path, monkeypatch, capsys):
    from lavalike import plot

    monkeypatch.chdir(seen)
    drawn = []

    def noted(name, draw):
        def call(data, **kwargs):
            size = getattr(data, "path", None) or getattr(data, "shape", None) or len(data)
            drawn.append((name, size))
            return draw(data, **kwargs)

        return call

    for name in ("raster", "traces", "activity", "weights", "connectivity"):
        monkeypatch.setattr(plot, name, noted(name, getattr(plot, name)))
    out = tmp_path / "picture.png"
    assert main(["plot", *words.split(), "--out", str(out)]) == 0
    assert drawn == draws
    assert out.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr() == (f"{out}\n", "")


def test_an_array_that_is_a_batch_is_drawn_by_sample(seen, monkeypatch, tmp_path):
    from lavalike import plot

    took = []
    monkeypatch.setattr(plot, "raster", lambda data, **_: took.append(data) or plot.traces(data))
    file = str(seen / "batch.npy")
    assert main(["plot", file, "--sample", "1", "--out", str(tmp_path / "p.svg")]) == 0
    np.testing.assert_array_equal(took[0], np.load(file)[1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("spikes.npy --of v", "--of v: spikes.npy is an array without names; leave it out"),
        (
            "spikes.npy --kind weights",
            "--kind weights: of networks; spikes.npy is drawn as raster, traces",
        ),
        ("spikes.npy --input-shape 1 2 3", "--input-shape: spikes.npy is no network"),
        ("spikes.npy --convention norse", "--convention: spikes.npy is no network"),
        ("spikes.npy --unit 1", "--unit 1.0: spikes.npy is an array"),
        ("spikes.npy --dt 0", "dt is a number > 0"),
        ("spikes.npy --sample -1", "--sample is >= 0"),
        (
            "batch.npy --sample 2",
            "--sample 2: batch.npy has shape (2, 6, 12); (batch, *shape, time)",
        ),
        ("spikes.npy --out .", "--out .: cannot be written: . is a folder"),
        ("spikes.npy --out none/p.png", "--out none/p.png: cannot be written: none is no folder"),
        ("spikes.npy --out spikes.npy", "--out spikes.npy is what is read"),
        ("spikes.npy --out picture", "--out picture: its suffix says the format"),
        ("spikes.npy --out p.xyz", "--out p.xyz: cannot be written: Format 'xyz' is not supported"),
        ("complex.npy", "data is an array (*shape, time)"),
        ("number.npy", "data has shape (); expected (*shape, time)"),
        ("none.npy", "none.npy: not an npy file"),
        ("bare.csv", "give order="),
        ("bare.csv --order zz", "order is the columns' letters"),
        ("events.csv --order xypt", "its header 'x,y,p,t_us' names the columns"),
        ("events.csv --of x", "--of x: events.csv holds events; leave it out"),
        ("events.csv --sample 0", "--sample 0: events.csv holds events"),
        ("events.npy --dt 1e-3", "--dt 0.001: events.npy holds events"),
        ("events.csv --kind traces", "--kind traces: events are drawn as a raster"),
        ("run.h5 --of w", "'w' was not recorded"),
        ("run.h5 --kind raster", "data holds Sigma.s_out, Sigma.sigma; say which"),
        ("run.h5 --sample 2", "sample=2, and the batch is of 2"),
        ("run.h5 --kind activity --sample 0", "--sample 0: activity is the mean of the batch"),
        ("run.h5 --order tx", "--order tx: run.h5 is a Recording"),
        ("shd.h5", "a saved Recording an .h5"),
        ("two.net", "--of: name a connection of two.net: layers[0].synapse, layers[1].synapse"),
        ("two.net --of layers[0].synapsi", "did you mean 'layers[0].synapse'?"),
        ("two.net --kind raster", "--kind raster: two.net is a network"),
        ("two.net --sample 1", "--sample 1: two.net is a network"),
        ("two.net --dt 1", "--dt: two.net is a .net file"),
        (f"{NIR}", "dt: is missing"),
        (f"{NIR} --dt 1e-4 --input-shape 1 1 1", "is a .nir file, which has no use for it"),
        ("none.net", "none.net: there is no such file"),
        (".", ".: is a folder"),
    ],
)
def test_plot_says_in_one_line_what_it_cannot_draw(seen, words, says, monkeypatch, capsys):
    monkeypatch.chdir(seen)
    before = sorted(seen.iterdir())
    out = [] if "--out" in words else ["--out", "picture.png"]
    assert main(["plot", *words.split(), *out]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("lavalike: ")
    assert said.count("\n") == 1
    assert sorted(seen.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "title", "ran"),
    [
        ("two.net --input batch.npy", "two.net", "12 steps, 2 samples, fixed_pt on the numba"),
        (f"{NIR} --input one.npy --dt 1e-4", NIR.name, "8 steps, floating_pt on the numba backend"),
    ],
)
def test_report_of_a_file_runs_it_as_run_does(
    seen, words, title, ran, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(seen)
    out = tmp_path / "page.html"
    assert main(["report", *words.split(), "--out", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    text = out.read_text("utf-8")
    assert f"<h1>{title}</h1>" in text
    assert f'<p class="sub">{ran}' in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("two.net --input none.npy", "none.npy: not an npy file"),
        ("two.net --input complex.npy", "dtype complex128; expected real numbers"),
        ("two.net --input spikes.npy --steps 0", "steps is an integer >= 1"),
        ("two.net --input spikes.npy --steps 13", "input has 12 steps, the run 13"),
        ("two.net --input spikes.npy --dt 1", "--dt: two.net is a .net file"),
        ("two.net --input spikes.npy --convention nir", "--convention: two.net is a .net file"),
        ("two.net --input spikes.npy --input-shape 1 1 1", "input_shape=(1, 1, 1), but"),
        ("two.net --input spikes.npy --out .", "--out .: cannot be written: . is a folder"),
        (
            "two.net --input spikes.npy --out none/p.html",
            "none/p.html: cannot be written: none is no folder",
        ),
        ("two.net --input spikes.npy --out spikes.npy", "--out spikes.npy is what is read"),
        ("two.net --input spikes.npy --out two.net", "--out two.net is what is read"),
        ("spikes.npy --input spikes.npy", "spikes.npy: not a readable HDF5 file"),
        ("none.net --input spikes.npy", "none.net: there is no such file"),
        (f"{NIR} --input one.npy", "dt: is missing"),
        (f"{NIR} --input one.npy --dt 0", "dt is a number > 0"),
        (f"{NIR} --input one.npy --dt 1e-4 --values", "--values: "),
        (f"{NIR} --input one.npy --dt 1e-4 --convention nors", "did you mean 'norse'?"),
        (f"{NIR} --input spikes.npy --dt 1e-4", "(6, 12); expected (1, 'time')"),
    ],
)
def test_report_says_in_one_line_what_it_cannot_tell_of(seen, words, says, monkeypatch, capsys):
    monkeypatch.chdir(seen)
    before = {p: p.stat().st_mtime_ns for p in seen.iterdir()}
    assert main(["report", *words.split()]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("lavalike: ")
    assert said.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in seen.iterdir()} == before


def test_every_command_has_help(capsys):
    for command in (
        "demo",
        "run",
        "info",
        "sign",
        "compare",
        "check",
        "new",
        "plot",
        "report",
        "doctor",
        "warm",
    ):
        with pytest.raises(SystemExit) as e:
            main([command, "--help"])
        assert e.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: lavalike {command} ")


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


def test_compare_shows_how_far_it_is_in_a_terminal(program, tmp_path, monkeypatch, capsys):
    from lavalike.commands.targets import named

    slayer.export_hdf5(named(f"{program}:net"), tmp_path / "a.net")
    words = ["compare", f"{program}:net", str(tmp_path / "a.net")]
    assert main(words) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == plain.out
    assert "compare: 100%" in shown.err


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
        (["check", "PROGRAM:lif", "--model", "net"], "a ProcessModel is expected, this is [Dense("),
        (["check", "PROGRAM:lif", "--backend", "numa"], "did you mean 'numba'?"),
        (["check", "a.nir"], "a.nir: a .nir file; a .net file is expected"),
        (["compare", "a.nir", "b.net"], "a.nir: a .nir file; a .net file is expected"),
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
